package lab

import (
	"math"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// qfqKind is tc-qfq(8), which has no options of its own.
func qfqKind() *QdiscKind {
	return &QdiscKind{Name: "qfq", Classes: &QdiscKind{Name: "qfq", Options: []*Option{
		{Name: "weight", Doc: "the class's share, against that of the others; 1 unless given", attr: 1, Value: Number{Size: 4, Min: 1, Max: 1024}},
		{Name: "maxpkt", Doc: "how many bytes its largest packet has, those of the link unless given", attr: 2, Value: Bytes{512, 65536}},
	}}}
}

// hfscKind is tc-hfsc(7).
func hfscKind() *QdiscKind {
	return &QdiscKind{Name: "hfsc", Classes: hfscClassKind(), Options: []*Option{
		{Name: "default", Doc: "the class of packets that no filter knows: \"1:30\", or 0x30; they are dropped unless it is given", Value: Class{}},
	}, encode: func(c chosen) []byte { return nl.Uint16Attr(uint16(c.number("default"))) },
		decode: func(b []byte) []QdiscOption {
			if len(b) < 2 || u16(b) == 0 {
				return nil
			}
			return []QdiscOption{{"default", u16(b)}}
		}}
}

func hfscClassKind() *QdiscKind {
	return &QdiscKind{Name: "hfsc", check: checkHFSCClass, encode: encodeHFSCClass, fixed: hfscCurves, Options: []*Option{
		{Name: "rt", Doc: "what the class has for sure, a curve: a rate, or (m1, d, m2), the rate m1 for the time d and m2 after it", attr: 1, Value: Curve{}},
		{Name: "ls", Doc: "its share of what others leave, a curve", attr: 2, Value: Curve{}},
		{Name: "sc", Doc: "both rt and ls", Value: Curve{}},
		{Name: "ul", Doc: "the most that it has of what others leave, a curve", attr: 3, Value: Curve{}},
	}}
}

func checkHFSCClass(_ *Link, c chosen) error {
	for _, name := range []string{"rt", "ls"} {
		if err := c.exclude("sc", name); err != nil {
			return err
		}
	}
	switch {
	case c.given("sc") == nil && c.given("rt") == nil && c.given("ls") == nil && c.given("ul") == nil:
		return Usage(`like sc="1mbit"`, "rt=, ls= or sc= is missing")
	case c.given("ul") != nil && c.given("sc") == nil && c.given("ls") == nil:
		return Usage(`like ls="1mbit"`, "ul needs ls or sc")
	}
	return nil
}

// encodeHFSCClass makes a struct tc_service_curve of each; sc is two.
func encodeHFSCClass(c chosen) []byte {
	var list []*nl.RtAttr
	for _, o := range c.options {
		attrs := []int{o.attr}
		if o.Name == "sc" {
			attrs = []int{1, 2}
		}
		for _, attr := range attrs {
			list = append(list, o.Value.attributes(attr, o.Given)...)
		}
	}
	return serialize(list)
}

// hfscCurves: which curves a class has cannot be changed.
func hfscCurves(data []byte) (parts int) {
	for kind := range attributes(data) {
		parts |= 1 << kind
	}
	return parts
}

// Curve is a service curve ([]float64): m1 in bits per second, d in seconds and m2.
type Curve struct{}

func (Curve) attributes(attr int, v any) []*nl.RtAttr {
	m := v.([]float64)
	return []*nl.RtAttr{nl.NewRtAttr(attr, words32(uint32(m[0]/8), uint32(curveTime(m)/time.Microsecond), uint32(m[2]/8)))}
}

func (Curve) read(b []byte) any {
	return []float64{float64(word32(b, 0)) * 8, (time.Duration(word32(b, 1)) * time.Microsecond).Seconds(), float64(word32(b, 2)) * 8}
}

func (Curve) check(v any) error {
	m := v.([]float64)
	if m[0] == 0 && m[2] == 0 {
		return Usage("one of m1 and m2 is more", "a curve of nothing")
	}
	for _, rate := range []float64{m[0], m[2]} {
		if rate == 0 {
			continue
		}
		if err := (Rate{4}).check(rate); err != nil {
			return err
		}
	}
	return micros.check(curveTime(m))
}

func (Curve) words(v any) ([]string, bool) {
	m := v.([]float64)
	return []string{"m1", rateWord(m[0]), "d", spanWord(curveTime(m)), "m2", rateWord(m[2])}, true
}

func curveTime(m []float64) time.Duration {
	return time.Duration(math.Round(m[1] * float64(time.Second)))
}
