package lab

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// The values that options of tc(8) take. None is rounded on its way to the kernel: what
// the kernel cannot count is refused.

// Rate is a rate in bits per second (float64). The kernel counts bytes per second, in
// Size bytes.
type Rate struct{ Size int }

func (r Rate) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(r.Size, int(bytesPerSecond(v))))}
}

// read leaves out the rate that means that there is none.
func (r Rate) read(b []byte) any {
	n := uint64(number(r.Size, b))
	if n == 0 || r.Size == 4 && n == math.MaxUint32 {
		return nil
	}
	return float64(n) * 8
}

func (r Rate) check(v any) error {
	most := float64(math.MaxUint32) * 8
	if r.Size == 8 {
		most = 1e15
	}
	switch f := v.(float64); {
	case f < 8 || f > most:
		return Usage(fmt.Sprintf("it is from 8 bit/s to %s", rateWord(most)), "%s is out of range", rateWord(f))
	case math.Mod(f, 8) != 0:
		return Usage("the kernel counts whole bytes a second, 8bit", "%vbit is not a multiple of 8", f)
	}
	return nil
}

func (Rate) words(v any) ([]string, bool) { return []string{rateWord(v.(float64))}, true }

func bytesPerSecond(v any) uint64 {
	f, _ := v.(float64)
	return uint64(f / 8)
}

// rateWord is a rate as tc takes it, in the largest unit that it is a multiple of.
func rateWord(f float64) string {
	for _, u := range []struct {
		scale float64
		name  string
	}{{1e9, "gbit"}, {1e6, "mbit"}, {1e3, "kbit"}} {
		if f >= u.scale && math.Mod(f, u.scale) == 0 {
			return strconv.FormatFloat(f/u.scale, 'f', -1, 64) + u.name
		}
	}
	return strconv.FormatFloat(f, 'f', -1, 64) + "bit"
}

// Bytes is a number of bytes (int) in 4 bytes.
type Bytes struct{ Min, Max int }

func (s Bytes) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(4, v.(int)))}
}

func (s Bytes) read(b []byte) any { return int(u32(b)) }

func (s Bytes) check(v any) error { return Number{Size: 4, Min: s.Min, Max: s.Max}.check(v) }

func (Bytes) words(v any) ([]string, bool) { return []string{strconv.Itoa(v.(int))}, true }

// Share is a share of 1 (float64); the kernel counts in 1/(2³²-1).
type Share struct {
	Fraction bool // how tc takes it, in place of percent
}

func (Share) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, nl.Uint32Attr(shareOf(v)))}
}

func (Share) read(b []byte) any { return share(u32(b)) }

func (Share) check(any) error { return nil }

func (s Share) words(v any) ([]string, bool) {
	if s.Fraction {
		return []string{strconv.FormatFloat(v.(float64), 'f', -1, 64)}, true
	}
	return []string{shareWord(v.(float64))}, true
}

func shareOf(v any) uint32 {
	f, _ := v.(float64)
	return uint32(math.RoundToEven(f * math.MaxUint32))
}

func share(n uint32) float64 { return float64(n) / math.MaxUint32 }

// shareWord is a share in percent, with all digits that the kernel tells apart.
func shareWord(f float64) string { return strconv.FormatFloat(f*100, 'g', 11, 64) + "%" }

// Span is a time (time.Duration) that the kernel counts in Units, in 4 bytes or in Size.
type Span struct {
	Unit time.Duration
	Size int
}

func (s Span) size() int { return max(s.Size, 4) }

func (s Span) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(s.size(), int(v.(time.Duration)/s.Unit)))}
}

func (s Span) read(b []byte) any {
	return (time.Duration(number(s.size(), b)) * s.Unit).Seconds()
}

func (s Span) check(v any) error {
	most := time.Duration(math.MaxInt64)
	if s.size() == 4 {
		most = math.MaxUint32 * s.Unit
	}
	switch d := v.(time.Duration); {
	case d > most:
		return Usage("it is at most "+most.String(), "%v is out of range", d)
	case d%s.Unit != 0:
		return Usage("the kernel counts in steps of "+s.Unit.String(), "%v is no multiple of %v", d, s.Unit)
	}
	return nil
}

func (Span) words(v any) ([]string, bool) { return []string{spanWord(v.(time.Duration))}, true }

// spanWord is a time as tc takes it, in the largest unit that it is a multiple of.
func spanWord(d time.Duration) string {
	for _, u := range []struct {
		unit time.Duration
		name string
	}{{time.Second, "s"}, {time.Millisecond, "ms"}, {time.Microsecond, "us"}} {
		if d%u.unit == 0 {
			return strconv.FormatInt(int64(d/u.unit), 10) + u.name
		}
	}
	return strconv.FormatFloat(float64(d)/1e3, 'f', -1, 64) + "us"
}

// Numbers are whole numbers ([]int), Count of them or fewer, of one byte each.
type Numbers struct{ Count, Max int }

func (n Numbers) attributes(attr int, v any) []*nl.RtAttr {
	var b []byte
	for _, x := range v.([]int) {
		b = append(b, byte(x))
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, b)}
}

func (n Numbers) read(b []byte) any {
	var list []int
	for _, x := range b {
		list = append(list, int(x))
	}
	return list
}

func (n Numbers) check(v any) error {
	list := v.([]int)
	if len(list) != n.Count {
		return Usage("", "there are %d numbers, not %d", len(list), n.Count)
	}
	for _, x := range list {
		if x < 0 || x > n.Max {
			return Usage(fmt.Sprintf("each is from 0 to %d", n.Max), "%d is out of range", x)
		}
	}
	return nil
}

func (n Numbers) words(v any) (words []string, named bool) {
	for _, x := range v.([]int) {
		words = append(words, strconv.Itoa(x))
	}
	return words, true
}

// Shares are shares of 1 ([]float64), at least Min and at most Max of them.
type Shares struct{ Min, Max int }

func (Shares) attributes(int, any) []*nl.RtAttr { return nil } // of a struct

func (Shares) read([]byte) any { return nil }

func (s Shares) check(v any) error {
	if n := len(v.([]float64)); n < s.Min || n > s.Max {
		return Usage(fmt.Sprintf("there are %d to %d", s.Min, s.Max), "there are %d shares", n)
	}
	return nil
}

func (Shares) words(v any) (words []string, named bool) { return shareWords(v.([]float64)), true }

// Seed is a number of 8 bytes (uint64).
type Seed struct{}

func (Seed) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, nl.Uint64Attr(v.(uint64)))}
}

func (Seed) read(b []byte) any { return u64(b) }

func (Seed) check(any) error { return nil }

func (Seed) words(v any) ([]string, bool) { return []string{strconv.FormatUint(v.(uint64), 10)}, true }

// Class is the number of a class (int) below a qdisc, as tc counts them: in hexadecimal.
type Class struct{}

func (Class) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, sized(4, v.(int)))}
}

func (Class) read(b []byte) any { return int(u32(b)) }

func (Class) check(v any) error { return Number{Size: 4, Max: math.MaxUint16}.check(v) }

func (Class) words(v any) ([]string, bool) {
	return []string{strconv.FormatInt(int64(v.(int)), 16)}, true
}

// parseTcHandle reads a handle as tc has it: "1:", "1:10", "root", "ingress", "ffff:fff2".
func parseTcHandle(text string) (uint32, error) {
	switch text {
	case "root":
		return tcRoot, nil
	case "ingress", "clsact":
		return tcIngress, nil
	}
	wrong := Usage(`like "1:" for a qdisc and "1:10" for a class, in hexadecimal`, "%q is no handle", text)
	major, minor, found := strings.Cut(text, ":")
	if !found {
		return 0, wrong
	}
	a, err := strconv.ParseUint("0"+major, 16, 16)
	if err != nil {
		return 0, wrong
	}
	b, err := strconv.ParseUint("0"+minor, 16, 16)
	if err != nil || a == 0 && b == 0 {
		return 0, wrong
	}
	return uint32(a)<<16 | uint32(b), nil
}
