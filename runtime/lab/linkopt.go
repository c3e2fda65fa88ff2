package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// Option is an option of a kind of link, as `ip link add type KIND` has it and
// under the kernel's own name.
type Option struct {
	Name     string
	Doc      string
	Required bool
	// Change is one that is only set by a change, and has no value to read.
	Change bool
	Value  Value
	attr   int    // in IFLA_INFO_DATA
	ip     string // the name that `ip` has for it, where that is another
	// initial is what `ip` says to the kernel where the option is left out; nil
	// where it says nothing.
	initial any
	// external is what it says instead where routes and filters say the rest.
	external any
	// late: the kernel takes it only when the link has its ports.
	late bool
	// since is the first Linux that has it, where those before ignore it without a word.
	since string
}

// Chosen is an option with the value that a link is to get.
type Chosen struct {
	*Option
	Given any // of the type that Value says
}

// Value is what an option takes and gives back.
type Value interface {
	// attributes are what says v to the kernel.
	attributes(attr int, v any) []*nl.RtAttr
	// read is the value in an attribute.
	read(b []byte) any
	// check refuses what the kernel would.
	check(v any) error
	// words are v as `ip` takes it after the option's name; named is false when it
	// takes them alone.
	words(v any) (words []string, named bool)
}

// sharing is a Value that has only some bits of an attribute.
type sharing interface {
	// mask has the bits of its own; nil when all of them are.
	mask(attr int) []byte
}

// spread is a Value that is read from several attributes.
type spread interface {
	gather(attr int, set map[int][]byte) any
}

// Number is a whole number (int) of 1, 2, 4 or 8 bytes, also in network byte order.
type Number struct {
	Size, Min, Max int
	Swapped        bool
}

func (n Number) attributes(attr int, v any) []*nl.RtAttr {
	b := sized(n.Size, v.(int))
	if n.Swapped {
		slices.Reverse(b)
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, b)}
}

func (n Number) read(b []byte) any {
	if n.Swapped {
		b = slices.Clone(b)
		slices.Reverse(b)
	}
	if n.Min < 0 {
		return int(int32(u32(b)))
	}
	return number(n.Size, b)
}

func (n Number) check(v any) error {
	if x := v.(int); x < n.Min || x > n.Max {
		return Usage(fmt.Sprintf("it is from %d to %d", n.Min, n.Max), "%d is out of range", x)
	}
	return nil
}

func (Number) words(v any) ([]string, bool) { return []string{strconv.Itoa(v.(int))}, true }

// Switch is a truth value (bool) of 1 or 4 bytes; Words are what `ip` says for
// False and True, and Bare that it says them without the option's name.
type Switch struct {
	Size  int
	Words [2]string
	Bare  bool
}

func (s Switch) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(s.Size, bit(v)))}
}

func (s Switch) read(b []byte) any { return number(s.Size, b) != 0 }

func (Switch) check(any) error { return nil }

func (s Switch) words(v any) ([]string, bool) { return []string{s.Words[bit(v)]}, !s.Bare }

// Flag is a truth value (bool) that is said by the presence of an attribute.
type Flag struct{}

func (Flag) attributes(attr int, v any) []*nl.RtAttr {
	if !v.(bool) {
		return nil
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, nil)}
}

func (Flag) read([]byte) any { return true }

func (Flag) check(any) error { return nil }

// `ip` has a word for True alone, the option's name.
func (Flag) words(v any) ([]string, bool) { return nil, v.(bool) }

// Time is a time.Duration that the kernel counts in Units, in 4 bytes or, when Wide,
// in 8; a script reads it in seconds, a float64.
type Time struct {
	Min, Max, Unit time.Duration
	Wide           bool
}

// userHZ is the unit of many times, a hundredth of a second (USER_HZ).
const userHZ = time.Second / 100

func (t Time) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(t.size(), t.units(v)))}
}

func (t Time) size() int {
	if t.Wide {
		return 8
	}
	return 4
}

func (t Time) read(b []byte) any {
	return (time.Duration(number(t.size(), b)) * t.Unit).Seconds()
}

func (t Time) check(v any) error {
	if d := v.(time.Duration); t.units(v) < t.units(t.Min) || t.units(v) > t.units(t.Max) {
		return Usage(fmt.Sprintf("it is from %v to %v", t.Min.Seconds(), t.Max.Seconds())+" s", "%v is out of range", d)
	}
	return nil
}

func (t Time) words(v any) ([]string, bool) { return []string{strconv.Itoa(t.units(v))}, true }

func (t Time) units(v any) int { return int(v.(time.Duration).Round(t.Unit) / t.Unit) }

// Word is one of some words (string), each with its number, in 1, 2 or 4 bytes.
type Word struct {
	Size  int
	Words []string
	// values are the words' numbers; nil for 0, 1, 2 …
	values []int
	// bare: `ip` takes the word without the option's name.
	bare bool
	// swapped: in network byte order.
	swapped bool
}

func (w Word) value(i int) int {
	if w.values == nil {
		return i
	}
	return w.values[i]
}

func (w Word) attributes(attr int, v any) []*nl.RtAttr {
	n := w.value(slices.Index(w.Words, v.(string)))
	if w.swapped {
		return []*nl.RtAttr{nl.NewRtAttr(attr, binary.BigEndian.AppendUint16(nil, uint16(n)))}
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(w.Size, n))}
}

func (w Word) read(b []byte) any {
	n := number(w.Size, b)
	if w.swapped && len(b) >= 2 {
		n = int(binary.BigEndian.Uint16(b))
	}
	for i, word := range w.Words {
		if w.value(i) == n {
			return word
		}
	}
	return strconv.Itoa(n)
}

func (w Word) check(v any) error {
	if s := v.(string); !slices.Contains(w.Words, s) {
		hint := "one of " + strings.Join(w.Words, ", ")
		if near := Nearest(s, w.Words); near != "" {
			hint = "did you mean " + near + "?"
		}
		return Usage(hint, "there is no %q", s)
	}
	return nil
}

func (w Word) words(v any) ([]string, bool) { return []string{v.(string)}, !w.bare }

// Bit is a truth value (bool) among others in a struct of values and mask, as
// ifla_vlan_flags and br_boolopt_multi are; `ip` has Words for False and True.
type Bit struct {
	Bit   uint32
	Words [2]string
}

func (f Bit) attributes(attr int, v any) []*nl.RtAttr {
	b := nl.Uint32Attr(f.Bit * uint32(bit(v)))
	return []*nl.RtAttr{nl.NewRtAttr(attr, append(b, nl.Uint32Attr(f.Bit)...))}
}

func (f Bit) mask(int) []byte { return append(nl.Uint32Attr(f.Bit), nl.Uint32Attr(f.Bit)...) }

func (f Bit) read(b []byte) any { return u32(b)&f.Bit != 0 }

func (Bit) check(any) error { return nil }

func (f Bit) words(v any) ([]string, bool) { return []string{f.Words[bit(v)]}, true }

// Addr is an address (netip.Addr), in the option's attribute or, of IPv6, in six; a
// link that has none reads back as nil. Multicast is what it has to be: remote and
// group share an attribute, and it reads back as remote, since every link has a
// group, a number, already.
type Addr struct {
	Multicast bool
	// Any takes also groups.
	Any bool
	// Family is 4 or 6 where it has to be that.
	Family int
	six    int
}

func (a Addr) attributes(attr int, v any) []*nl.RtAttr {
	ip := v.(netip.Addr)
	if ip.Is6() && a.six != 0 {
		attr = a.six
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, ip.AsSlice())}
}

func (a Addr) gather(attr int, set map[int][]byte) any {
	b := set[attr]
	if b == nil && a.six != 0 {
		b = set[a.six]
	}
	return a.read(b)
}

func (a Addr) read(b []byte) any {
	ip, ok := netip.AddrFromSlice(b)
	if !ok || ip.IsUnspecified() || a.Multicast {
		return nil
	}
	return ip.String()
}

func (a Addr) check(v any) error {
	switch ip := v.(netip.Addr); {
	case a.Family == 4 && !ip.Is4(), a.Family == 6 && (!ip.Is6() || ip.Is4In6()):
		return Usage("", "%v is no IPv%d address", ip, a.Family)
	case ip.Zone() != "":
		return Usage("say the link by dev=", "%v has a zone", ip)
	case a.Multicast && !ip.IsMulticast():
		return Usage("one host is remote=", "%v is no multicast group", ip)
	case !a.Multicast && !a.Any && ip.IsMulticast():
		return Usage(a.groupHint(), "%v is a multicast group", ip)
	}
	return nil
}

// groupHint says how a group is given, where one can be.
func (a Addr) groupHint() string {
	if a.six == nl.IFLA_VXLAN_GROUP6 {
		return "groups are group=, on a dev="
	}
	return ""
}

func (Addr) words(v any) ([]string, bool) { return []string{v.(netip.Addr).String()}, true }

// Hops is a time to live or a type of service: a number (int) of one byte, or
// "inherit" (string), which the attribute Inherited says by being there or, when
// Sized, by a 1 in it; without one, the number Inherit does.
type Hops struct {
	Inherited int
	Sized     bool
	Inherit   int
}

func (h Hops) attributes(attr int, v any) []*nl.RtAttr {
	n, isNumber := v.(int)
	switch {
	case isNumber:
		return []*nl.RtAttr{nl.NewRtAttr(attr, nl.Uint8Attr(uint8(n)))}
	case h.Sized:
		return []*nl.RtAttr{nl.NewRtAttr(h.Inherited, nl.Uint8Attr(1))}
	case h.Inherited != 0:
		return []*nl.RtAttr{nl.NewRtAttr(h.Inherited, nil)}
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, nl.Uint8Attr(uint8(h.Inherit)))}
}

func (h Hops) gather(attr int, set map[int][]byte) any {
	if b := set[h.Inherited]; h.Inherited != 0 && b != nil && (len(b) == 0 || u8(b) == 1) {
		return "inherit"
	}
	if b := set[attr]; b != nil {
		return h.read(b)
	}
	return nil
}

func (h Hops) read(b []byte) any {
	if n := u8(b); h.Inherited != 0 || n != h.Inherit {
		return n
	}
	return "inherit"
}

func (h Hops) check(v any) error {
	n, isNumber := v.(int)
	if isNumber && h.Inherited == 0 && n == h.Inherit {
		return Usage(`say "inherit"`, "%d means to inherit it", n)
	}
	return nil
}

// `ip` reads a type of service with the base 16 (rtnl_dsfield_a2n).
func (h Hops) words(v any) ([]string, bool) {
	if n, isNumber := v.(int); isNumber && h.Inherit == tosInherit {
		return []string{fmt.Sprintf("%#x", n)}, true
	}
	return []string{fmt.Sprint(v)}, true
}

// tosInherit is the type of service that means to inherit it.
const tosInherit = 1

// PortRange is a range of ports (Ports), both ends in network byte order.
type PortRange struct{}

func (PortRange) attributes(attr int, v any) []*nl.RtAttr {
	p := v.(Ports)
	b := binary.BigEndian.AppendUint16(nil, uint16(p.First))
	return []*nl.RtAttr{nl.NewRtAttr(attr, binary.BigEndian.AppendUint16(b, uint16(p.Last)))}
}

func (PortRange) read(b []byte) any {
	if len(b) < 4 {
		return nil
	}
	first, last := binary.BigEndian.Uint16(b), binary.BigEndian.Uint16(b[2:])
	return fmt.Sprintf("%d-%d", first, last)
}

func (PortRange) check(any) error { return nil }

func (PortRange) words(v any) ([]string, bool) {
	p := v.(Ports)
	return []string{strconv.Itoa(p.First), strconv.Itoa(p.Last)}, true
}

func sized(size, n int) []byte {
	switch size {
	case 1:
		return nl.Uint8Attr(uint8(n))
	case 2:
		return nl.Uint16Attr(uint16(n))
	case 8:
		return nl.Uint64Attr(uint64(n))
	}
	return nl.Uint32Attr(uint32(n))
}

func number(size int, b []byte) int {
	switch size {
	case 1:
		return u8(b)
	case 2:
		return u16(b)
	case 8:
		if len(b) < 8 {
			return 0
		}
		return int(binary.NativeEndian.Uint64(b))
	}
	return int(u32(b))
}

func bit(v any) int {
	if v.(bool) {
		return 1
	}
	return 0
}
