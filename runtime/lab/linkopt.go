package lab

import (
	"encoding/binary"
	"fmt"
	"math"
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
	Value    Value
	attr     int    // in IFLA_INFO_DATA
	ip       string // the name that `ip` has for it, where that is another
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
	// text is v as `ip` takes it after the option's name; named is false when it
	// takes the text alone.
	text(v any) (text string, named bool)
}

// Number is a whole number (int) of 1, 2 or 4 bytes.
type Number struct{ Size, Min, Max int }

func (n Number) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(n.Size, v.(int)))}
}

func (n Number) read(b []byte) any { return number(n.Size, b) }

func (n Number) check(v any) error {
	if x := v.(int); x < n.Min || x > n.Max {
		return Usage(fmt.Sprintf("it is from %d to %d", n.Min, n.Max), "%d is out of range", x)
	}
	return nil
}

func (Number) text(v any) (string, bool) { return strconv.Itoa(v.(int)), true }

// Switch is a truth value (bool) of 1 or 4 bytes; Words are what `ip` says for
// False and True.
type Switch struct {
	Size  int
	Words [2]string
}

func (s Switch) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(s.Size, bit(v)))}
}

func (s Switch) read(b []byte) any { return number(s.Size, b) != 0 }

func (Switch) check(any) error { return nil }

func (s Switch) text(v any) (string, bool) { return s.Words[bit(v)], true }

// Time is a time.Duration that the kernel counts in hundredths of a second
// (USER_HZ), in 4 bytes; a script reads it in seconds, a float64.
type Time struct{ Min, Max time.Duration }

const userHZ = 100

func (Time) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, nl.Uint32Attr(uint32(ticks(v))))}
}

func (Time) read(b []byte) any { return float64(u32(b)) / userHZ }

func (t Time) check(v any) error {
	if d := v.(time.Duration); ticks(v) < ticks(t.Min) || ticks(v) > ticks(t.Max) {
		return Usage(fmt.Sprintf("it is from %v to %v", t.Min.Seconds(), t.Max.Seconds())+" s", "%v is out of range", d)
	}
	return nil
}

func (Time) text(v any) (string, bool) { return strconv.Itoa(ticks(v)), true }

func ticks(v any) int { return int(math.Round(v.(time.Duration).Seconds() * userHZ)) }

// Word is one of some words (string), each with its number, in 2 or 4 bytes.
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

func (w Word) text(v any) (string, bool) { return v.(string), !w.bare }

// Bit is a truth value (bool) among others in a struct of flags and mask, as
// ifla_vlan_flags has them.
type Bit struct{ Bit uint32 }

func (f Bit) attributes(attr int, v any) []*nl.RtAttr {
	b := nl.Uint32Attr(f.Bit * uint32(bit(v)))
	return []*nl.RtAttr{nl.NewRtAttr(attr, append(b, nl.Uint32Attr(f.Bit)...))}
}

func (f Bit) read(b []byte) any { return u32(b)&f.Bit != 0 }

func (Bit) check(any) error { return nil }

func (Bit) text(v any) (string, bool) { return onOff(v.(bool)), true }

func sized(size, n int) []byte {
	switch size {
	case 1:
		return nl.Uint8Attr(uint8(n))
	case 2:
		return nl.Uint16Attr(uint16(n))
	}
	return nl.Uint32Attr(uint32(n))
}

func number(size int, b []byte) int {
	switch size {
	case 1:
		return u8(b)
	case 2:
		return u16(b)
	}
	return int(u32(b))
}

func bit(v any) int {
	if v.(bool) {
		return 1
	}
	return 0
}
