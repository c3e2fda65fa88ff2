package lab

import (
	"encoding/binary"
	"fmt"
	"strconv"

	"github.com/vishvananda/netlink/nl"
)

// The values of tunnels' options, which share attributes with others.

// Bits is a truth value (bool): the same bits in one attribute or in two. `ip` has
// Words for False and True, without the option's name.
type Bits struct {
	bits  []byte
	other int       // the second attribute, or 0
	Words [2]string // "" where it has none
}

func (f Bits) attributes(attr int, v any) []*nl.RtAttr {
	b := make([]byte, len(f.bits))
	if v.(bool) {
		copy(b, f.bits)
	}
	list := []*nl.RtAttr{nl.NewRtAttr(attr, b)}
	if f.other != 0 {
		list = append(list, nl.NewRtAttr(f.other, append([]byte(nil), b...)))
	}
	return list
}

func (f Bits) mask(int) []byte { return f.bits }

func (f Bits) gather(attr int, set map[int][]byte) any {
	b, both := set[attr], true
	if f.other != 0 {
		both = f.isIn(set[f.other])
	}
	if b == nil {
		return nil
	}
	return both && f.isIn(b)
}

func (f Bits) read(b []byte) any { return f.isIn(b) }

func (f Bits) isIn(b []byte) bool {
	for i, bit := range f.bits {
		if i >= len(b) || b[i]&bit != bit {
			return false
		}
	}
	return true
}

func (Bits) check(any) error { return nil }

func (f Bits) words(v any) ([]string, bool) {
	if w := f.Words[bit(v)]; w != "" {
		return []string{w}, false
	}
	return nil, false
}

// Inheritable is a number (int) in Mask of an attribute, or else a word (string),
// which a flag in another attribute says.
type Inheritable struct {
	Word string
	Max  int // of the number; -1 for the word alone
	// Hex: `ip` reads the number with the base 16.
	Hex bool

	size  int    // of the attribute
	mask4 uint32 // of the number, in network byte order; 0 for a whole attribute
	shift int
	flags int // the attribute of the flag
	flag  uint32
}

func (x Inheritable) attributes(attr int, v any) []*nl.RtAttr {
	n, isNumber := v.(int)
	if !isNumber {
		list := []*nl.RtAttr{nl.NewRtAttr(x.flags, nl.Uint32Attr(x.flag))}
		if x.Max >= 0 {
			list = append(list, x.number(attr, 0))
		}
		return list
	}
	return []*nl.RtAttr{x.number(attr, n), nl.NewRtAttr(x.flags, nl.Uint32Attr(0))}
}

func (x Inheritable) number(attr, n int) *nl.RtAttr {
	if x.mask4 == 0 {
		return nl.NewRtAttr(attr, sized(x.size, n))
	}
	return nl.NewRtAttr(attr, binary.BigEndian.AppendUint32(nil, uint32(n)<<x.shift))
}

func (x Inheritable) mask(attr int) []byte {
	switch {
	case attr == x.flags:
		return nl.Uint32Attr(x.flag)
	case x.mask4 != 0:
		return binary.BigEndian.AppendUint32(nil, x.mask4)
	}
	return nil
}

func (x Inheritable) gather(attr int, set map[int][]byte) any {
	if u32(set[x.flags])&x.flag != 0 {
		return x.Word
	}
	if b := set[attr]; b != nil && x.Max >= 0 {
		return x.read(b)
	}
	return nil
}

func (x Inheritable) read(b []byte) any {
	if x.mask4 == 0 {
		return number(x.size, b)
	}
	if len(b) < 4 {
		return nil
	}
	return int(binary.BigEndian.Uint32(b) & x.mask4 >> x.shift)
}

func (x Inheritable) check(v any) error {
	n, isNumber := v.(int)
	switch {
	case !isNumber && v != x.Word, isNumber && x.Max < 0:
		return Usage("", "%v is not %q", v, x.Word)
	case isNumber && (n < 0 || n > x.Max):
		return Usage(fmt.Sprintf("it is from 0 to %d, or %q", x.Max, x.Word), "%d is out of range", n)
	}
	return nil
}

func (x Inheritable) words(v any) ([]string, bool) {
	if n, isNumber := v.(int); isNumber && x.Hex {
		return []string{fmt.Sprintf("%#x", n)}, true
	}
	return []string{fmt.Sprint(v)}, true
}

// Key is a number of 4 bytes (int) that tells tunnels between the same ends from
// each other, or false for none: of what comes in, of what goes out, or of
// both.
type Key struct {
	Name    string // "key", "ikey" or "okey"
	in, out int    // the attributes; 0 for a direction that it is not of
	// inFlags and outFlags are the attributes of GRE's flags, which say that there is
	// a key; 0 for tunnels whose key is always there.
	inFlags, outFlags int
}

// greFlags are those of RFC 2890, in network byte order (include/uapi/linux/if_tunnel.h).
var (
	greCsum = []byte{0x80, 0}
	greKey  = []byte{0x20, 0}
	greSeq  = []byte{0x10, 0}
)

func (k Key) attributes(_ int, v any) []*nl.RtAttr {
	n, given := v.(int)
	flags := []byte{0, 0}
	if given {
		flags = greKey
	}
	var list []*nl.RtAttr
	for _, a := range [][2]int{{k.in, k.inFlags}, {k.out, k.outFlags}} {
		if a[0] != 0 {
			list = append(list, nl.NewRtAttr(a[0], binary.BigEndian.AppendUint32(nil, uint32(n))))
		}
		if a[1] != 0 {
			list = append(list, nl.NewRtAttr(a[1], append([]byte(nil), flags...)))
		}
	}
	return list
}

func (k Key) mask(attr int) []byte {
	if attr == k.inFlags || attr == k.outFlags {
		return greKey
	}
	return nil
}

func (k Key) gather(_ int, set map[int][]byte) any {
	var found []int
	for _, a := range [][2]int{{k.in, k.inFlags}, {k.out, k.outFlags}} {
		if a[0] == 0 {
			continue
		}
		b := set[a[0]]
		if len(b) < 4 || a[1] != 0 && !(Bits{bits: greKey}).isIn(set[a[1]]) {
			return nil
		}
		found = append(found, int(binary.BigEndian.Uint32(b)))
	}
	if len(found) == 0 || len(found) == 2 && found[0] != found[1] {
		return nil
	}
	return found[0]
}

func (Key) read([]byte) any { return nil }

func (Key) check(any) error { return nil }

func (k Key) words(v any) ([]string, bool) {
	if n, given := v.(int); given {
		return []string{strconv.Itoa(n)}, true
	}
	if k.inFlags == 0 && k.outFlags == 0 {
		return []string{"0"}, true
	}
	return []string{"no" + k.Name}, false
}
