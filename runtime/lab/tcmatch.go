package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What filters look for, in the words of tc-u32(8), tc-flower(8) and tc-fw(8).

// u32Key is a struct tc_u32_key: bits of a packet at an offset.
type u32Key struct {
	mask, value uint32
	offset      int
}

// u32Fields are where the fields that u32 has names for are in a packet: offset and
// size in bytes, of a header without options.
var u32Fields = map[string]struct{ offset, size int }{
	"ip tos": {1, 1}, "ip dsfield": {1, 1}, "ip protocol": {9, 1}, "ip ttl": {8, 1}, "ip src": {12, 4}, "ip dst": {16, 4}, "ip sport": {20, 2}, "ip dport": {22, 2},
	"ip icmp_type": {20, 1}, "ip icmp_code": {21, 1},
	"ip6 protocol": {6, 1}, "ip6 hoplimit": {7, 1}, "ip6 src": {8, 16}, "ip6 dst": {24, 16}, "ip6 sport": {40, 2}, "ip6 dport": {42, 2},
}

func encodeU32(s *FilterSpec, _ int) ([]*nl.RtAttr, error) {
	if len(s.Match) == 0 {
		return nil, Usage(`like match="ip dst 10.0.0.0/8", or match="u32 0 0 at 0" for all`, "match= is missing")
	}
	var keys []u32Key
	for _, m := range s.Match {
		more, err := parseU32(m)
		if err != nil {
			return nil, inOption("match", err)
		}
		for _, key := range more {
			keys = join(keys, key)
		}
	}
	const terminal = 1
	sel := append([]byte{terminal, 0, byte(len(keys)), 0}, make([]byte, 12)...) // struct tc_u32_sel
	for _, key := range keys {
		sel = append(append(append(sel, bigEndian(key.mask)...), bigEndian(key.value&key.mask)...), words32(uint32(key.offset), 0)...)
	}
	return []*nl.RtAttr{nl.NewRtAttr(5, sel)}, nil
}

// join adds a key, or its bits to one of the same place.
func join(keys []u32Key, key u32Key) []u32Key {
	for i := range keys {
		if k := &keys[i]; k.offset == key.offset && (k.value^key.value)&k.mask&key.mask == 0 {
			k.value |= key.value & key.mask
			k.mask |= key.mask
			return keys
		}
	}
	return append(keys, key)
}

// parseU32 reads a match: "ip dst 10.0.0.0/8", "ip dport 80 0xffff", "u16 0x50 0xffff at 22".
func parseU32(text string) ([]u32Key, error) {
	w := strings.Fields(text)
	wrong := Usage(`like "ip dst 10.0.0.0/8", "ip dport 80 0xffff" or "u16 80 0xffff at 22"`, "%q is no match of u32", text)
	if len(w) < 3 {
		return nil, wrong
	}
	if size := map[string]int{"u8": 1, "u16": 2, "u32": 4}[w[0]]; size > 0 && len(w) == 5 && w[3] == "at" {
		offset, err := strconv.Atoi(w[4])
		if err != nil || offset%size != 0 {
			return nil, wrong
		}
		return numberKey(w[1], w[2], offset, size, wrong)
	}
	field, known := u32Fields[w[0]+" "+w[1]]
	switch {
	case !known:
		return nil, wrong
	case field.size < 4 && len(w) == 4:
		return numberKey(w[2], w[3], field.offset, field.size, wrong)
	case field.size < 4 || len(w) != 3:
		return nil, wrong
	}
	return prefixKeys(w[2], field.offset, field.size, wrong)
}

// numberKey is a number of a field and the bits of it that count.
func numberKey(value, mask string, offset, size int, wrong error) ([]u32Key, error) {
	v, err1 := strconv.ParseUint(value, 0, 8*size)
	m, err2 := strconv.ParseUint(mask, 0, 8*size)
	if err1 != nil || err2 != nil {
		return nil, wrong
	}
	shift := 8 * (4 - size - offset&3)
	return []u32Key{{uint32(m) << shift, uint32(v) << shift, offset &^ 3}}, nil
}

// prefixKeys are the bits of an address, which has size bytes.
func prefixKeys(text string, offset, size int, wrong error) (keys []u32Key, err error) {
	p, err := netip.ParsePrefix(text)
	if err != nil {
		ip, err := netip.ParseAddr(text)
		if err != nil {
			return nil, wrong
		}
		p = netip.PrefixFrom(ip, ip.BitLen())
	}
	if p.Addr().BitLen() != 8*size {
		return nil, wrong
	}
	value, mask := p.Addr().AsSlice(), net.CIDRMask(p.Bits(), 8*size)
	for i := 0; i < size; i += 4 {
		if m := binary.BigEndian.Uint32(mask[i:]); m != 0 || i == 0 {
			keys = append(keys, u32Key{m, binary.BigEndian.Uint32(value[i:]), offset + i})
		}
	}
	return keys, nil
}

// encodeFW looks for a mark, which the handle is: "mask 0xff" says which bits of it.
func encodeFW(s *FilterSpec, _ int) (list []*nl.RtAttr, err error) {
	if s.Handle == 0 {
		return nil, Usage("the mark that it looks for, like handle=6", "handle= is missing")
	}
	for _, m := range s.Match {
		text, ok := strings.CutPrefix(m, "mask ")
		mask, err := strconv.ParseUint(text, 0, 32)
		if !ok || err != nil {
			return nil, inOption("match", Usage(`like "mask 0xff"`, "%q is no match of fw", m))
		}
		list = append(list, nl.NewRtAttr(5, nl.Uint32Attr(uint32(mask))))
	}
	return list, nil
}

// flowerKeys are the attributes of what flower looks for, of the value and of its mask;
// of addresses and ports, those that the family and the protocol choose.
func encodeFlower(s *FilterSpec, protocol int) ([]*nl.RtAttr, error) {
	list := []*nl.RtAttr{}
	if protocol != unix.ETH_P_ALL {
		list = append(list, nl.NewRtAttr(8, nl.Uint16Attr(uint16(nl.Swap16(uint16(protocol)))))) // TCA_FLOWER_KEY_ETH_TYPE
	}
	transport := ""
	for _, m := range s.Match {
		w := strings.Fields(m)
		if len(w) != 2 {
			return nil, inOption("match", Usage(`like "dst_ip 10.0.0.0/8"`, "%q is no match of flower", m))
		}
		attrs, err := flowerKey(w[0], w[1], protocol, transport)
		if err != nil {
			return nil, inOption("match", err)
		}
		if w[0] == "ip_proto" {
			transport = w[1]
		}
		list = append(list, attrs...)
	}
	return list, nil
}

func flowerKey(name, text string, protocol int, transport string) ([]*nl.RtAttr, error) {
	wrong := Usage(`like "ip_proto tcp", "dst_ip 10.0.0.0/8", "dst_port 80", "src_mac 02:00:00:00:00:01" or "vlan_id 7"`, "%q is no match of flower", name+" "+text)
	both := func(attr int, value, mask []byte) []*nl.RtAttr {
		return []*nl.RtAttr{nl.NewRtAttr(attr, value), nl.NewRtAttr(attr+1, mask)}
	}
	switch name {
	case "ip_proto":
		n, err := Protocol(text)
		if err != nil || protocol != unix.ETH_P_IP && protocol != unix.ETH_P_IPV6 {
			return nil, wrong
		}
		return []*nl.RtAttr{nl.NewRtAttr(9, []byte{byte(n)})}, nil
	case "src_ip", "dst_ip":
		p, err := netip.ParsePrefix(text)
		if err != nil {
			ip, err := netip.ParseAddr(text)
			if err != nil {
				return nil, wrong
			}
			p = netip.PrefixFrom(ip, ip.BitLen())
		}
		attr, family := 10, unix.ETH_P_IP
		if p.Addr().Is6() {
			attr, family = 14, unix.ETH_P_IPV6
		}
		if family != protocol {
			return nil, Usage("protocol= says which", "%s is not of protocol %s", text, (&tcNode{info: uint32(nl.Swap16(uint16(protocol)))}).protocol())
		}
		if name == "dst_ip" {
			attr += 2
		}
		return both(attr, p.Masked().Addr().AsSlice(), net.CIDRMask(p.Bits(), p.Addr().BitLen())), nil
	case "src_port", "dst_port":
		n, err := strconv.ParseUint(text, 0, 16)
		attrs := map[string][2]int{"tcp": {18, 19}, "udp": {20, 21}, "sctp": {41, 42}}
		attr, known := attrs[transport]
		if err != nil {
			return nil, wrong
		}
		if !known {
			return nil, Usage(`say "ip_proto tcp" before it`, "ports need a protocol that has some")
		}
		at := attr[0]
		if name == "dst_port" {
			at = attr[1]
		}
		return []*nl.RtAttr{nl.NewRtAttr(at, binary.BigEndian.AppendUint16(nil, uint16(n)))}, nil
	case "dst_mac", "src_mac":
		mac, err := net.ParseMAC(text)
		if err != nil || len(mac) != 6 {
			return nil, wrong
		}
		attr := 4
		if name == "src_mac" {
			attr = 6
		}
		return both(attr, mac, []byte{255, 255, 255, 255, 255, 255}), nil
	case "vlan_id":
		n, err := strconv.ParseUint(text, 0, 12)
		if err != nil {
			return nil, wrong
		}
		return []*nl.RtAttr{nl.NewRtAttr(23, nl.Uint16Attr(uint16(n)))}, nil
	}
	return nil, wrong
}
