package lab

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// MAC is a MAC address (net.HardwareAddr), of one link or, when Group, of many.
type MAC struct{ Group bool }

func (MAC) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, v.(net.HardwareAddr))}
}

func (MAC) read(b []byte) any {
	if len(b) != 6 {
		return nil
	}
	return net.HardwareAddr(b).String()
}

func (MAC) check(any) error { return nil }

func (MAC) words(v any) ([]string, bool) { return []string{v.(net.HardwareAddr).String()}, true }

// nest is an attribute of attributes.
func nest(attr int, children ...*nl.RtAttr) *nl.RtAttr {
	var b []byte
	for _, c := range children {
		b = append(b, c.Serialize()...)
	}
	return nl.NewRtAttr(attr|unix.NLA_F_NESTED, b)
}

// Addrs is a list of addresses ([]netip.Addr) of a Family, 4 or 6, with commas in
// between for `ip`; an empty one removes all.
type Addrs struct{ Family, Most int }

func (Addrs) attributes(attr int, v any) []*nl.RtAttr {
	var list []*nl.RtAttr
	for i, ip := range v.([]netip.Addr) {
		list = append(list, nl.NewRtAttr(i, ip.AsSlice()))
	}
	return []*nl.RtAttr{nest(attr, list...)}
}

func (a Addrs) read(b []byte) any {
	var list []string
	for _, v := range attributes(b) {
		if ip, ok := netip.AddrFromSlice(v); ok {
			list = append(list, ip.String())
		}
	}
	return list
}

func (a Addrs) check(v any) error {
	list := v.([]netip.Addr)
	if len(list) > a.Most {
		return Usage(fmt.Sprintf("at most %d", a.Most), "%d addresses are too many", len(list))
	}
	for _, ip := range list {
		if err := (Addr{Family: a.Family}).check(ip); err != nil {
			return err
		}
	}
	return nil
}

func (Addrs) words(v any) ([]string, bool) {
	var list []string
	for _, ip := range v.([]netip.Addr) {
		list = append(list, ip.String())
	}
	if list == nil {
		return []string{","}, true // an empty list
	}
	return []string{strings.Join(list, ",")}, true
}

// QosMap maps priorities (map[int]int), those of packets and the three bits of a
// VLAN tag (IEEE 802.1p), which the option's values are when Egress.
type QosMap struct{ Egress bool }

func (QosMap) attributes(attr int, v any) []*nl.RtAttr {
	m := v.(map[int]int)
	var list []*nl.RtAttr
	for _, from := range slices.Sorted(maps.Keys(m)) {
		b := append(nl.Uint32Attr(uint32(from)), nl.Uint32Attr(uint32(m[from]))...)
		list = append(list, nl.NewRtAttr(unix.IFLA_VLAN_QOS_MAPPING, b))
	}
	return []*nl.RtAttr{nest(attr, list...)}
}

func (QosMap) read(b []byte) any {
	m := map[int]int{}
	for kind, v := range attributes(b) {
		if kind == unix.IFLA_VLAN_QOS_MAPPING && len(v) >= 8 {
			m[int(u32(v))] = int(u32(v[4:]))
		}
	}
	return m
}

// back says the old priority of each, 0 where none was said.
func (q QosMap) back(o Chosen, before []*nl.RtAttr) []*nl.RtAttr {
	was, _ := q.read(dataOf(before, o.attr)).(map[int]int)
	m := map[int]int{}
	for from := range o.Given.(map[int]int) {
		m[from] = was[from]
	}
	return q.attributes(o.attr, m)
}

func (q QosMap) check(v any) error {
	for from, to := range v.(map[int]int) {
		tag, packet := from, to
		if q.Egress {
			tag, packet = to, from
		}
		if tag < 0 || tag > 7 {
			return Usage("a tag's is from 0 to 7", "priority %d is out of range", tag)
		}
		if packet < 0 || packet > 1<<32-1 {
			return Usage("a packet's is from 0 to 4294967295", "priority %d is out of range", packet)
		}
	}
	return nil
}

func (QosMap) words(v any) ([]string, bool) {
	m := v.(map[int]int)
	var list []string
	for _, from := range slices.Sorted(maps.Keys(m)) {
		list = append(list, strconv.Itoa(from)+":"+strconv.Itoa(m[from]))
	}
	return list, len(list) > 0
}

// MACs is a list of MAC addresses ([]net.HardwareAddr) of a macvlan, which Mode
// says what to do with (enum macvlan_macaddr_mode).
type MACs struct{ Mode int }

// The modes of MACs, and what `ip` calls them.
const (
	macsAdd = iota
	macsDel
	macsFlush
	macsSet
)

var macsWords = []string{"add", "del", "flush", "set"}

func (m MACs) attributes(_ int, v any) []*nl.RtAttr {
	list := v.([]net.HardwareAddr)
	mode := func(n int) *nl.RtAttr { return nl.NewRtAttr(nl.IFLA_MACVLAN_MACADDR_MODE, nl.Uint32Attr(uint32(n))) }
	switch {
	case len(list) == 0:
		return []*nl.RtAttr{mode(macsFlush)}
	case m.Mode != macsSet:
		return []*nl.RtAttr{mode(m.Mode), nl.NewRtAttr(nl.IFLA_MACVLAN_MACADDR, list[0])}
	}
	var all []*nl.RtAttr
	for _, mac := range list {
		all = append(all, nl.NewRtAttr(nl.IFLA_MACVLAN_MACADDR, mac))
	}
	return []*nl.RtAttr{mode(macsSet), nest(nl.IFLA_MACVLAN_MACADDR_DATA, all...)}
}

func (m MACs) read(b []byte) any {
	if m.Mode != macsSet {
		return nil
	}
	list := []string{}
	for _, v := range attributes(b) {
		list = append(list, net.HardwareAddr(v).String())
	}
	slices.Sort(list) // the kernel's order is that of a hash table
	return list
}

// back sets the list as it was, also after one was added or taken away.
func (MACs) back(_ Chosen, before []*nl.RtAttr) []*nl.RtAttr {
	list := []net.HardwareAddr{}
	for _, v := range attributes(dataOf(before, nl.IFLA_MACVLAN_MACADDR_DATA)) {
		list = append(list, v)
	}
	return MACs{macsSet}.attributes(0, list)
}

func (m MACs) check(v any) error {
	list := v.([]net.HardwareAddr)
	if m.Mode != macsSet && len(list) != 1 {
		return Usage("", "it is one address, not %d", len(list))
	}
	seen := map[string]bool{}
	for _, mac := range list {
		if seen[mac.String()] {
			return Usage("", "%s is there twice", mac)
		}
		seen[mac.String()] = true
	}
	return nil
}

func (m MACs) words(v any) ([]string, bool) {
	list := v.([]net.HardwareAddr)
	if len(list) == 0 {
		return []string{macsWords[macsFlush]}, true
	}
	w := []string{macsWords[m.Mode]}
	for _, mac := range list {
		w = append(w, mac.String())
	}
	return w, true
}

// Prefix is a subnet (netip.Prefix): its address in an attribute, the length of the
// prefix, in 2 bytes, in another.
type Prefix struct{ Family, length int }

func (p Prefix) attributes(attr int, v any) []*nl.RtAttr {
	subnet := v.(netip.Prefix)
	return []*nl.RtAttr{
		nl.NewRtAttr(attr, subnet.Addr().AsSlice()),
		nl.NewRtAttr(p.length, nl.Uint16Attr(uint16(subnet.Bits()))),
	}
}

func (p Prefix) gather(attr int, set map[int][]byte) any {
	ip, ok := netip.AddrFromSlice(set[attr])
	if bits := u16(set[p.length]); ok && bits > 0 {
		return netip.PrefixFrom(ip, bits).String()
	}
	return nil
}

func (Prefix) read([]byte) any { return nil }

func (p Prefix) check(v any) error {
	subnet := v.(netip.Prefix)
	switch {
	case subnet.Addr().Is4() != (p.Family == 4):
		return Usage("", "%v is no IPv%d subnet", subnet, p.Family)
	case subnet != subnet.Masked():
		return Usage(fmt.Sprintf("the subnet is %q", subnet.Masked()), "%v has bits beyond its prefix length", subnet)
	}
	return nil
}

func (Prefix) words(v any) ([]string, bool) { return []string{v.(netip.Prefix).String()}, true }

// SCI is a MACsec secure channel identifier (IEEE 802.1AE, 9.9): 8 bytes
// ([]byte), the first six an address, the others a port.
type SCI struct{}

func (SCI) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, bytes.Clone(v.([]byte)))}
}

func (SCI) read(b []byte) any {
	if len(b) != 8 {
		return nil
	}
	return fmt.Sprintf("%016x", binary.BigEndian.Uint64(b))
}

func (SCI) check(any) error { return nil }

func (SCI) words(v any) ([]string, bool) { return []string{fmt.Sprintf("%x", v.([]byte))}, true }
