package firewall

import (
	"fmt"
	"math"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Fence keeps a namespace and others apart: on each link of the namespace it drops the
// frames that others sent, and those that go to them, by a table of the family netdev,
// which sees every frame before anything else of the namespace does.
type Fence struct {
	Table string
	// From drops what the others send, To what goes to them.
	From, To bool
	// Resolving lets pass what finds neighbours (ARP; RFC 4861): where it is fenced in one
	// direction, nothing goes in the other either, as soon as it is forgotten.
	Resolving bool
	// All drops every frame, whoever sends it.
	All    bool
	Links  []FencedLink
	Others Others
	// Words tells whether somebody wants to know changes in nft's words.
	Words bool
}

// FencedLink is a link with a number that chains are named by, since its name may have
// any character.
type FencedLink struct {
	Number int
	Name   string
}

// Others are how others are recognized: by the MAC addresses of their links where
// nothing lies between, else by their IP addresses.
type Others struct {
	sets [3]map[string]bool // by fenceSets, the bytes of each
}

// fenceSets are the sets of a fence.
var fenceSets = [3]struct {
	name, words string
	kind        uint32 // nft's number of the type
	size        int
}{{"macs", "ether_addr", 9, 6}, {"ipv4", "ipv4_addr", 7, 4}, {"ipv6", "ipv6_addr", 8, 16}}

// AddMAC adds a MAC address, if it is one of Ethernet.
func (o *Others) AddMAC(mac net.HardwareAddr) {
	if len(mac) == 6 && !slices.Equal(mac, make([]byte, 6)) {
		o.add(0, mac)
	}
}

// AddIP adds an address. One that is unique on a link alone, or in a namespace, says
// nothing of who sent a packet.
func (o *Others) AddIP(ip netip.Addr) {
	switch ip = ip.Unmap(); {
	case !ip.IsValid(), ip.IsLoopback(), ip.IsUnspecified():
	case ip.Is4():
		o.add(1, ip.AsSlice())
	case !ip.IsLinkLocalUnicast():
		o.add(2, ip.AsSlice())
	}
}

func (o *Others) add(set int, key []byte) {
	if o.sets[set] == nil {
		o.sets[set] = map[string]bool{}
	}
	o.sets[set][string(key)] = true
}

// Join adds all of some.
func (o *Others) Join(more Others) {
	for i, set := range more.sets {
		for key := range set {
			o.add(i, []byte(key))
		}
	}
}

// Without is what is not in other ones.
func (o Others) Without(other Others) (rest Others) {
	for i, set := range o.sets {
		for key := range set {
			if !other.sets[i][key] {
				rest.add(i, []byte(key))
			}
		}
	}
	return rest
}

// IsEmpty tells that there are none.
func (o Others) IsEmpty() bool { return len(o.sets[0])+len(o.sets[1])+len(o.sets[2]) == 0 }

// keys are those of a set, sorted.
func (o Others) keys(set int) (elements []Element) {
	var all []string
	for key := range o.sets[set] {
		all = append(all, key)
	}
	slices.Sort(all)
	for _, key := range all {
		elements = append(elements, Element{Key: []byte(key)})
	}
	return elements
}

// keyWords are keys in nft's words.
func keyWords(keys []Element) string {
	var texts []string
	for _, e := range keys {
		if len(e.Key) == 6 {
			texts = append(texts, net.HardwareAddr(e.Key).String())
			continue
		}
		ip, _ := netip.AddrFromSlice(e.Key)
		texts = append(texts, ip.String())
	}
	return "{ " + strings.Join(texts, ", ") + " }"
}

func (f *Fence) table() Table { return Table{unix.NFPROTO_NETDEV, f.Table} }

// fencing writes a transaction twice: as a batch, and in nft's words.
type fencing struct {
	*Fence
	batch Batch
	words []string
}

func (w *fencing) say(format string, args ...any) {
	if w.Words {
		w.words = append(w.words, fmt.Sprintf(format, args...))
	}
}

// Create makes the fence. Its table belongs to the socket that sends the batch.
func (f *Fence) Create() (*Batch, []string) {
	w := &fencing{Fence: f}
	w.batch.Create(f.table(), true)
	w.say("create table netdev %s", f.Table)
	for i, s := range fenceSets {
		if f.All {
			break
		}
		w.batch.Set(f.table(), Set{Name: s.name, KeyType: s.kind, KeyLen: s.size})
		w.say("add set netdev %s %s { type %s; }", f.Table, s.name, s.words)
		w.elements(i, f.Others, true)
	}
	for _, chain := range []string{"arriving", "leaving"} {
		w.batch.Chain(f.table(), BaseChain{Name: chain})
		w.say("add chain netdev %s %s", f.Table, chain)
		w.rules(chain)
	}
	w.hook(f.Links)
	return &w.batch, w.words
}

// Change adds links and others to the fence, and takes others out.
func (f *Fence) Change(links []FencedLink, added, gone Others) (*Batch, []string) {
	w := &fencing{Fence: f}
	for i := range fenceSets {
		w.elements(i, added, true)
		w.elements(i, gone, false)
	}
	w.hook(links)
	return &w.batch, w.words
}

// Delete takes the fence away.
func (f *Fence) Delete() (*Batch, []string) {
	b := &Batch{}
	b.Delete(f.table())
	return b, []string{"delete table netdev " + f.Table}
}

func (w *fencing) elements(set int, others Others, add bool) {
	keys := others.keys(set)
	if len(keys) == 0 {
		return
	}
	verb := "add"
	if !add {
		verb = "delete"
	}
	w.batch.Elements(w.table(), fenceSets[set].name, 0, add, keys)
	if w.Words {
		w.say("%s element netdev %s %s %s", verb, w.Table, fenceSets[set].name, keyWords(keys))
	}
}

// fenceHooks are NF_NETDEV_INGRESS and NF_NETDEV_EGRESS, with the chain that frames go to.
var fenceHooks = []struct {
	short, name, chain string
	number             uint32
}{{"in", "ingress", "arriving", 0}, {"out", "egress", "leaving", 1}}

// fencePriority is before whatever else looks at frames there.
const fencePriority = -500

func (w *fencing) hook(links []FencedLink) {
	for _, l := range links {
		for _, h := range fenceHooks {
			name := fmt.Sprintf("%s%d", h.short, l.Number)
			w.batch.Chain(w.table(), BaseChain{Name: name, Type: "filter", Hook: h.number, Priority: fencePriority, Device: l.Name})
			w.say("add chain netdev %s %s { type filter hook %s device \"%s\" priority %d; }", w.Table, name, h.name, l.Name, fencePriority)
			w.rule(name, "jump "+h.chain, &expr.Verdict{Kind: expr.VerdictJump, Chain: h.chain})
		}
	}
}

func (w *fencing) rule(chain, words string, exprs ...expr.Any) {
	w.batch.Rule(w.table(), chain, exprs, nil)
	w.say("add rule netdev %s %s %s", w.Table, chain, words)
}

// lost is where frames go that a namespace sends and nobody gets: to a link that there
// is not. The sender knows nothing of it, as of what is lost on its way; what is
// dropped at egress it is told of (ENOBUFS).
const lost = math.MaxInt32

// rules are those of the chain that all links' frames come through.
func (w *fencing) rules(chain string) {
	end := func(exprs ...expr.Any) []expr.Any {
		return append(exprs, &expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop})
	}
	words, ip4, ip6, field := "counter drop", uint32(12), uint32(8), "saddr"
	if chain == "leaving" {
		ip4, ip6, field = 16, 24, "daddr"
		words = fmt.Sprintf("counter fwd to %d", lost)
		end = func(exprs ...expr.Any) []expr.Any {
			return append(exprs, &expr.Counter{}, &expr.Immediate{Register: 1, Data: binaryutil.NativeEndian.PutUint32(lost)}, forward{register: 1})
		}
	}
	switch {
	case w.All:
		w.rule(chain, words, end()...)
		return
	case chain == "arriving" && !w.From, chain == "leaving" && !w.To:
		return
	}
	if w.Resolving {
		w.rule(chain, "meta protocol arp accept", append(ofProtocol(unix.ETH_P_ARP), &expr.Verdict{Kind: expr.VerdictAccept})...)
		w.rule(chain, "icmpv6 type nd-neighbor-solicit accept", solicitation(135)...)
		w.rule(chain, "icmpv6 type nd-neighbor-advert accept", solicitation(136)...)
	}
	if chain == "arriving" {
		w.rule(chain, "ether saddr @macs "+words, end(&expr.Meta{Key: expr.MetaKeyIIFTYPE, Register: 1},
			&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.NativeEndian.PutUint16(unix.ARPHRD_ETHER)},
			&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseLLHeader, Offset: 6, Len: 6}, &expr.Lookup{SourceRegister: 1, SetName: "macs"})...)
	}
	w.rule(chain, "ip "+field+" @ipv4 "+words, end(append(ofProtocol(unix.ETH_P_IP),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ip4, Len: 4}, &expr.Lookup{SourceRegister: 1, SetName: "ipv4"})...)...)
	w.rule(chain, "ip6 "+field+" @ipv6 "+words, end(append(ofProtocol(unix.ETH_P_IPV6),
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseNetworkHeader, Offset: ip6, Len: 16}, &expr.Lookup{SourceRegister: 1, SetName: "ipv6"})...)...)
}

// ofProtocol compares the protocol of a frame.
func ofProtocol(number uint16) []expr.Any {
	return []expr.Any{&expr.Meta{Key: expr.MetaKeyPROTOCOL, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: binaryutil.BigEndian.PutUint16(number)}}
}

// solicitation lets messages of a type of ICMPv6 pass.
func solicitation(kind byte) []expr.Any {
	return append(ofProtocol(unix.ETH_P_IPV6), &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_ICMPV6}},
		&expr.Payload{DestRegister: 1, Base: expr.PayloadBaseTransportHeader, Offset: 0, Len: 1},
		&expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{kind}}, &expr.Verdict{Kind: expr.VerdictAccept})
}
