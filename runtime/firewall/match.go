package firewall

import (
	"bytes"
	"cmp"
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// value is one value, or a range of them, of a field: its bytes and its words.
type value struct {
	first, last []byte
	words       string
}

func (v value) single() bool { return bytes.Equal(v.first, v.last) }

// match compares what is in register 1 with values: with one directly, with several
// by a set without a name.
func (c *compiler) match(what string, kind nftables.SetDatatype, values []value) error {
	slices.SortFunc(values, func(a, b value) int { return bytes.Compare(a.first, b.first) })
	for i := 1; i < len(values); i++ {
		if bytes.Compare(values[i].first, values[i-1].last) <= 0 {
			return wrong("%s and %s overlap", values[i-1].words, values[i].words)
		}
	}
	c.say(what)
	if len(values) == 1 {
		c.say(values[0].words)
		c.compare(values[0])
		return nil
	}
	var words []string
	set := Set{KeyType: kind.GetNFTMagic(), KeyLen: int(kind.Bytes)}
	for _, v := range values {
		words = append(words, v.words)
		set.Interval = set.Interval || !v.single()
	}
	for _, v := range values {
		set.Elements = append(set.Elements, Element{Key: v.first})
		if set.Interval {
			if end, overflow := next(v.last); !overflow {
				set.Elements = append(set.Elements, Element{Key: end, End: true})
			}
		}
	}
	c.sets = append(c.sets, set)
	c.say("{ " + strings.Join(words, ", ") + " }")
	c.add(&expr.Lookup{SourceRegister: 1}) // of which set is known when it is sent
	return nil
}

// compare compares register 1 with one value or a range.
func (c *compiler) compare(v value) {
	if v.single() {
		c.add(&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: v.first})
		return
	}
	if mask := prefixMask(v.first, v.last); mask != nil {
		c.add(&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: uint32(len(mask)), Mask: mask, Xor: make([]byte, len(mask))},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: v.first})
		return
	}
	c.add(&expr.Cmp{Op: expr.CmpOpGte, Register: 1, Data: v.first}, &expr.Cmp{Op: expr.CmpOpLte, Register: 1, Data: v.last})
}

// prefixMask is the mask of a range of addresses that is a prefix, as nft compares
// one; nil for another range, and for ports.
func prefixMask(first, last []byte) []byte {
	if len(first) < 4 {
		return nil
	}
	mask := make([]byte, len(first))
	for i := range mask {
		mask[i] = ^(first[i] ^ last[i])
	}
	ones := true
	for i := range 8 * len(mask) {
		bit := mask[i/8]&(0x80>>(i%8)) != 0
		if bit && !ones || !bit && (first[i/8]|^last[i/8])&(0x80>>(i%8)) != 0 {
			return nil
		}
		ones = ones && bit
	}
	return mask
}

// next is the number after one.
func next(data []byte) (end []byte, overflow bool) {
	end = slices.Clone(data)
	for i := len(end) - 1; i >= 0; i-- {
		if end[i]++; end[i] != 0 {
			return end, false
		}
	}
	return nil, true
}

// addresses are the family and the source's and the destination's address.
func (r *Rule) addresses(c *compiler) error {
	c.family = r.Family
	for _, m := range []struct {
		ranges []Range
		key    string
		at     [2]uint32 // in the headers of IPv4 and IPv6
	}{{r.Src, "saddr", [2]uint32{12, 8}}, {r.Dst, "daddr", [2]uint32{16, 24}}} {
		if len(m.ranges) == 0 {
			continue
		}
		var values []value
		for _, a := range m.ranges {
			if err := c.restrict(familyOf(a.First), fmt.Sprintf("%s %s", m.key, a)); err != nil {
				return err
			}
			values = append(values, value{a.First.AsSlice(), a.Last.AsSlice(), a.String()})
		}
		c.network()
		name, at, size, kind := "ip", m.at[0], uint32(4), nftables.TypeIPAddr
		if c.family == 6 {
			name, at, size, kind = "ip6", m.at[1], 16, nftables.TypeIP6Addr
		}
		c.add(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: at, Len: size})
		if err := c.match(name+" "+m.key, kind, values); err != nil {
			return err
		}
	}
	if r.Family != 0 && !c.nf {
		c.say("meta nfproto", map[int]string{4: "ipv4", 6: "ipv6"}[c.family])
		c.network()
	}
	return nil
}

// restrict restricts the rule to a family, if it is not yet to the other.
func (c *compiler) restrict(family int, why string) error {
	if c.family != 0 && c.family != family {
		return wrong("%s is of IPv%d, and the rule is for IPv%d: make a rule for each family", why, family, c.family)
	}
	c.family = family
	return nil
}

// network adds the comparison that nft implies before a field of the network header.
func (c *compiler) network() {
	if c.nf {
		return
	}
	c.nf = true
	proto := byte(unix.NFPROTO_IPV4)
	if c.family == 6 {
		proto = unix.NFPROTO_IPV6
	}
	c.add(&expr.Meta{Key: expr.MetaKeyNFPROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}})
}

func familyOf(a netip.Addr) int {
	if a.Is4() {
		return 4
	}
	return 6
}

func (a Range) String() string {
	switch mask := prefixMask(a.First.AsSlice(), a.Last.AsSlice()); {
	case a.First == a.Last:
		return a.First.String()
	case mask != nil:
		bits := 0
		for _, b := range mask {
			for ; b != 0; b <<= 1 {
				bits++
			}
		}
		return fmt.Sprintf("%s/%d", a.First, bits)
	}
	return fmt.Sprintf("%s-%s", a.First, a.Last)
}

// Prefix is a prefix as a range.
func Prefix(p netip.Prefix) Range {
	first := p.Masked().Addr()
	last := first.AsSlice()
	for i := p.Bits(); i < 8*len(last); i++ {
		last[i/8] |= 0x80 >> (i % 8)
	}
	end, _ := netip.AddrFromSlice(last)
	return Range{first, end}
}

// protocols by the names that nft and /etc/protocols have.
var protocols = map[string]byte{"icmp": 1, "igmp": 2, "tcp": 6, "udp": 17, "gre": 47, "esp": 50, "ah": 51, "icmpv6": 58, "ospf": 89,
	"ipip": 4, "pim": 103, "vrrp": 112, "sctp": 132, "udplite": 136, "dccp": 33}

// ported are those whose header begins with two ports.
var ported = []string{"tcp", "udp", "sctp", "udplite", "dccp"}

// KnownProtocol tells whether there is a protocol of that name.
func KnownProtocol(name string) bool { return protocols[name] != 0 }

// ProtocolNames are the names of the protocols.
func ProtocolNames() []string {
	var names []string
	for n := range protocols {
		names = append(names, n)
	}
	slices.SortFunc(names, func(a, b string) int { return cmp.Compare(protocols[a], protocols[b]) })
	return names
}

// protocol is the transport protocol, with the type of a message of ICMP.
func (r *Rule) protocol(c *compiler) error {
	names := r.Protocols
	if len(r.ICMPTypes) > 0 && len(names) == 0 {
		names = []string{"icmp"}
		if c.family == 6 {
			names = []string{"icmpv6"}
		}
	}
	if len(names) == 0 {
		return nil
	}
	var values []value
	for _, n := range names {
		number, known := protocols[n]
		if !known {
			return wrong("%q is no protocol; there are %s", n, strings.Join(ProtocolNames(), " "))
		}
		values = append(values, value{[]byte{number}, []byte{number}, n})
	}
	if len(r.ICMPTypes) > 0 {
		return r.icmp(c, names)
	}
	if len(names) == 1 && len(r.Sport)+len(r.Dport) > 0 { // the words "tcp dport" say it
		c.transport(protocols[names[0]])
		return nil
	}
	c.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1})
	c.proto = true
	return c.match("meta l4proto", nftables.TypeInetProto, values)
}

// transport adds the comparison that nft implies before a field of the transport
// header.
func (c *compiler) transport(proto byte) {
	if !c.proto {
		c.proto = true
		c.add(&expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{proto}})
	}
}

// Types of messages by nft's words (RFC 792, RFC 4443, RFC 4861).
var (
	icmpTypes = map[string]byte{"echo-reply": 0, "destination-unreachable": 3, "source-quench": 4, "redirect": 5, "echo-request": 8,
		"router-advertisement": 9, "router-solicitation": 10, "time-exceeded": 11, "parameter-problem": 12, "timestamp-request": 13,
		"timestamp-reply": 14, "info-request": 15, "info-reply": 16, "address-mask-request": 17, "address-mask-reply": 18}
	icmpv6Types = map[string]byte{"destination-unreachable": 1, "packet-too-big": 2, "time-exceeded": 3, "parameter-problem": 4,
		"echo-request": 128, "echo-reply": 129, "mld-listener-query": 130, "mld-listener-report": 131, "mld-listener-done": 132,
		"nd-router-solicit": 133, "nd-router-advert": 134, "nd-neighbor-solicit": 135, "nd-neighbor-advert": 136, "nd-redirect": 137,
		"router-renumbering": 138, "mld2-listener-report": 143}
)

func (r *Rule) icmp(c *compiler, names []string) error {
	types, kind, family := icmpTypes, nftables.TypeICMPType, 4
	if names[0] == "icmpv6" {
		types, kind, family = icmpv6Types, nftables.TypeICMP6Type, 6
	}
	if len(names) != 1 || names[0] != "icmp" && names[0] != "icmpv6" {
		return wrong(`icmp_type: it is of proto="icmp" or proto="icmpv6", one of them`)
	}
	if err := c.restrict(family, "proto "+names[0]); err != nil {
		return err
	}
	var values []value
	for _, t := range r.ICMPTypes {
		number, known := types[t]
		if !known {
			n, err := strconv.ParseUint(t, 10, 8)
			if err != nil {
				return wrong("icmp_type: %q is no type of %s; there are %s", t, names[0], strings.Join(sortedKeys(types), " "))
			}
			number = byte(n)
		}
		values = append(values, value{[]byte{number}, []byte{number}, t})
	}
	c.transport(protocols[names[0]])
	c.add(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1})
	return c.match(names[0]+" type", kind, values)
}

func sortedKeys(types map[string]byte) []string {
	var names []string
	for n := range types {
		names = append(names, n)
	}
	slices.Sort(names)
	return names
}

// ports are the ports of the transport header.
func (r *Rule) ports(c *compiler) error {
	if len(r.Sport)+len(r.Dport) == 0 {
		return nil
	}
	for _, p := range r.Protocols {
		if !slices.Contains(ported, p) {
			return wrong("proto: %s has no ports", p)
		}
	}
	name := "th"
	switch len(r.Protocols) {
	case 0:
		return wrong(`ports need a protocol that has some, like proto="tcp"`)
	case 1:
		name = r.Protocols[0]
	}
	for _, m := range []struct {
		ports []Ports
		key   string
		at    uint32
	}{{r.Sport, "sport", 0}, {r.Dport, "dport", 2}} {
		if len(m.ports) == 0 {
			continue
		}
		var values []value
		for _, p := range m.ports {
			values = append(values, value{binary.BigEndian.AppendUint16(nil, p.First), binary.BigEndian.AppendUint16(nil, p.Last), p.String()})
		}
		c.add(&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: m.at, Len: 2})
		if err := c.match(name+" "+m.key, nftables.TypeInetService, values); err != nil {
			return err
		}
	}
	return nil
}

// States are those of connections (nf_conntrack_common.h), in the order in which nft
// lists them.
var States = []struct {
	Name string
	bit  uint32
}{{"invalid", expr.CtStateBitINVALID}, {"established", expr.CtStateBitESTABLISHED}, {"related", expr.CtStateBitRELATED},
	{"new", expr.CtStateBitNEW}, {"untracked", expr.CtStateBitUNTRACKED}}

const statusDNAT = 1 << 5 // IPS_DST_NAT

// connection is the state of the connection and the mark of the packet.
func (r *Rule) connection(c *compiler) error {
	var bits uint32
	var names []string
	for _, s := range States {
		if slices.Contains(r.States, s.Name) {
			bits, names = bits|s.bit, append(names, s.Name)
		}
	}
	for _, s := range r.States {
		if !slices.Contains(names, s) {
			return wrong("state: %q is no state of a connection; there are invalid established related new untracked", s)
		}
	}
	if bits != 0 {
		c.say("ct state", strings.Join(names, ","))
		c.add(&expr.Ct{Key: expr.CtKeySTATE, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(bits), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
	}
	if r.Translated {
		c.say("ct status dnat")
		c.add(&expr.Ct{Key: expr.CtKeySTATUS, Register: 1},
			&expr.Bitwise{SourceRegister: 1, DestRegister: 1, Len: 4, Mask: binaryutil.NativeEndian.PutUint32(statusDNAT), Xor: make([]byte, 4)},
			&expr.Cmp{Op: expr.CmpOpNeq, Register: 1, Data: make([]byte, 4)})
	}
	if r.Mark != nil {
		c.say("meta mark", fmt.Sprintf("0x%08x", *r.Mark))
		c.add(&expr.Meta{Key: expr.MetaKeyMARK, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint32(*r.Mark)})
	}
	return nil
}
