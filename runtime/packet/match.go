package packet

import (
	"bytes"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
)

// Match is a compiled condition on packets. The zero value holds for all.
type Match struct{ all []test }

// Condition is one of those that a [Match] is made of.
type Condition struct {
	// Key is a layer ("icmp"), a field of one ("ip.ttl"), or a field of whatever
	// layer has it: "src" and "dst" of IPv4 or IPv6, "sport" and "dport" of UDP or
	// TCP, and "proto", a layer's name. With "inner." in front it is about the packet
	// in the tunnel.
	Key string
	// Want are values of which one has to be there: int, bool, string, []byte,
	// netip.Addr, netip.Prefix, MAC or nil, for a field that is absent. A string is
	// read as what the field is: an address or subnet, a MAC address, a word for a
	// number, a range "8000-8080", flags.
	Want []any
}

// test is a condition that is ready: one of the fields has one of the values.
type test struct {
	level  int
	fields []place
	want   []value
}

// place is a field of a kind of layer; without a field, the layer itself.
type place struct {
	kind  Kind
	field *Field
}

// value is what a field may be.
type value struct {
	absent   bool
	low, hi  uint64 // of a number
	prefix   netip.Prefix
	mac      MAC
	text     string
	bytes    []byte
	compares func(v *value, p *Packet, l *Layer, f *Field) bool
}

// shorthands are fields that several layers have.
var shorthands = []struct {
	key   string
	kinds [2]Kind
}{{"src", [2]Kind{IPv4, IPv6}}, {"dst", [2]Kind{IPv4, IPv6}}, {"sport", [2]Kind{UDP, TCP}}, {"dport", [2]Kind{UDP, TCP}}}

// Compile makes a Match of conditions that all have to hold. The error says which is
// wrong and why.
func Compile(conditions []Condition) (*Match, error) {
	m := &Match{}
	for _, c := range conditions {
		t, err := c.compile()
		if err != nil {
			return nil, err
		}
		m.all = append(m.all, t...)
	}
	return m, nil
}

func (c Condition) compile() ([]test, error) {
	key, t := c.Key, test{}
	for {
		rest, ok := strings.CutPrefix(key, "inner.")
		if !ok {
			break
		}
		key, t.level = rest, t.level+1
	}
	if key == "proto" {
		return c.protocols(t)
	}
	for _, s := range shorthands {
		if s.key == key {
			for _, k := range s.kinds {
				t.fields = append(t.fields, place{k, k.Field(key)})
			}
		}
	}
	if t.fields == nil {
		at, err := findPlace(key)
		if err != nil {
			return nil, err
		}
		t.fields = []place{at}
	}
	for _, w := range c.Want {
		v, err := t.fields[0].value(w)
		if err != nil {
			return nil, fmt.Errorf("%s: %w", c.Key, err)
		}
		t.want = append(t.want, v)
	}
	return []test{t}, nil
}

// protocols tests whether one of the layers is there.
func (c Condition) protocols(t test) ([]test, error) {
	for _, w := range c.Want {
		name, _ := w.(string)
		k := KindOf(name)
		if k == None {
			return nil, unknownLayer(fmt.Sprint(w))
		}
		t.fields = append(t.fields, place{kind: k})
	}
	t.want = []value{{low: 1, hi: 1}}
	return []test{t}, nil
}

// findPlace finds the field that a key names.
func findPlace(key string) (place, error) {
	layer, name, dotted := strings.Cut(key, ".")
	k := KindOf(layer)
	if k == None {
		return place{}, unknownLayer(layer)
	}
	if !dotted {
		return place{kind: k}, nil
	}
	f := k.Field(name)
	if f == nil {
		return place{}, fmt.Errorf("%s has no field %s; it has %s", layer, name, strings.Join(fieldNames(k), ", "))
	}
	return place{k, f}, nil
}

func unknownLayer(name string) error {
	return fmt.Errorf("%q is no layer; there are %s", name, strings.Join(Names(), ", "))
}

func fieldNames(k Kind) []string {
	var names []string
	for _, f := range headers[k].fields {
		names = append(names, f.Name)
	}
	return names
}

// value reads what is wanted of a field.
func (at place) value(w any) (value, error) {
	if w == nil {
		return value{absent: true}, nil
	}
	f := at.field
	if f == nil {
		there, ok := w.(bool)
		if !ok {
			return value{}, fmt.Errorf("a layer is there or not: want True or False")
		}
		if !there {
			return value{absent: true}, nil
		}
		return value{low: 1, hi: 1}, nil
	}
	switch f.As {
	case Bool:
		if b, ok := w.(bool); ok {
			n := uint64(0)
			if b {
				n = 1
			}
			return value{low: n, hi: n, compares: sameNumber}, nil
		}
		return value{}, fmt.Errorf("want True or False, not %s", text(w))
	case Address:
		return addressValue(w)
	case Hardware:
		mac, err := ParseMAC(w)
		return value{mac: mac, compares: sameMAC}, err
	case Flags:
		if s, ok := w.(string); ok {
			if n, ok := parseFlags(s); ok {
				return value{low: n, hi: n, compares: sameNumber}, nil
			}
			return value{}, fmt.Errorf(`%q are no flags; like "SYN,ACK"`, s)
		}
	case Text:
		if s, ok := w.(string); ok {
			return value{text: s, compares: sameText}, nil
		}
		return value{}, fmt.Errorf("want a string, not %s", text(w))
	case Bytes:
		switch w := w.(type) {
		case string:
			return value{bytes: []byte(w), compares: sameBytes}, nil
		case []byte:
			return value{bytes: w, compares: sameBytes}, nil
		}
		return value{}, fmt.Errorf("want bytes, not %s", text(w))
	case List:
		return value{text: text(w), compares: inList}, nil
	}
	return f.numberValue(w)
}

func addressValue(w any) (value, error) {
	switch w := w.(type) {
	case netip.Addr:
		return value{prefix: netip.PrefixFrom(w, w.BitLen()), compares: inPrefix}, nil
	case netip.Prefix:
		return value{prefix: w.Masked(), compares: inPrefix}, nil
	case string:
		if a, err := netip.ParseAddr(w); err == nil {
			return value{prefix: netip.PrefixFrom(a.WithZone(""), a.BitLen()), compares: inPrefix}, nil
		}
		if p, err := netip.ParsePrefix(w); err == nil {
			return value{prefix: p.Masked(), compares: inPrefix}, nil
		}
	}
	return value{}, fmt.Errorf("%s is no IP address and no subnet", text(w))
}

// ParseMAC reads an Ethernet address.
func ParseMAC(w any) (MAC, error) {
	switch w := w.(type) {
	case MAC:
		return w, nil
	case string:
		if mac, err := net.ParseMAC(w); err == nil && len(mac) == 6 {
			return MAC(mac), nil
		}
	}
	return MAC{}, fmt.Errorf("%s is no MAC address", text(w))
}

// numberValue reads a number, a word for one, or a range.
func (f *Field) numberValue(w any) (value, error) {
	switch w := w.(type) {
	case int:
		if w >= 0 {
			return value{low: uint64(w), hi: uint64(w), compares: sameNumber}, nil
		}
	case float64:
		return value{text: text(w), compares: sameText}, nil
	case string:
		if n, ok := f.byName(w); ok {
			return value{low: uint64(n), hi: uint64(n), compares: sameNumber}, nil
		}
		low, hi, ranged := strings.Cut(w, "-")
		a, err1 := strconv.ParseUint(low, 0, 64)
		b, err2 := strconv.ParseUint(hi, 0, 64)
		if ranged && err1 == nil && err2 == nil && a <= b {
			return value{low: a, hi: b, compares: sameNumber}, nil
		}
		if len(f.Names) > 0 {
			return value{}, fmt.Errorf("%q is no number and none of %s", w, f.words())
		}
	}
	return value{}, fmt.Errorf("%s is no number that it could have", text(w))
}

func (f *Field) words() string {
	var words []string
	for _, n := range f.Names {
		words = append(words, n.Name)
	}
	return strings.Join(words, ", ")
}

// text is a value in a message and in comparisons.
func text(v any) string {
	switch v := v.(type) {
	case string:
		return strconv.Quote(v)
	case nil:
		return "None"
	}
	return fmt.Sprint(v)
}

// Holds tells whether all conditions hold for a packet.
func (m *Match) Holds(p *Packet) bool {
	for i := range m.all {
		if !m.all[i].holds(p) {
			return false
		}
	}
	return true
}

func (t *test) holds(p *Packet) bool {
	for i := range t.fields {
		at := &t.fields[i]
		l := p.Layer(at.kind, t.level)
		for j := range t.want {
			if t.want[j].is(p, l, at.field) {
				return true
			}
		}
	}
	return false
}

// is tells whether a field of a layer, which may be nil, has the value.
func (v *value) is(p *Packet, l *Layer, f *Field) bool {
	switch {
	case f == nil:
		return (l == nil) == v.absent
	case l == nil:
		return v.absent
	case v.absent:
		return p.Get(l, f) == nil
	}
	return v.compares(v, p, l, f)
}

func sameNumber(v *value, p *Packet, l *Layer, f *Field) bool {
	if f.bits > 0 {
		if f.when != nil && !f.when(p.header(l)) {
			return false
		}
		n, ok := p.number(l, f)
		return ok && n >= v.low && n <= v.hi
	}
	switch n := p.Get(l, f).(type) {
	case int:
		return n >= 0 && uint64(n) >= v.low && uint64(n) <= v.hi
	case bool:
		return n == (v.low != 0)
	}
	return false
}

func inPrefix(v *value, p *Packet, l *Layer, f *Field) bool {
	if f.when != nil && !f.when(p.header(l)) {
		return false
	}
	from := l.Start + f.at/8
	a, ok := netip.AddrFromSlice(p.bytes(from, min(from+f.bits/8, l.Body)))
	return ok && v.prefix.Contains(a)
}

func sameMAC(v *value, p *Packet, l *Layer, f *Field) bool {
	mac, ok := p.Get(l, f).(MAC)
	return ok && mac == v.mac
}

func sameText(v *value, p *Packet, l *Layer, f *Field) bool {
	switch got := p.Get(l, f).(type) {
	case string:
		return got == v.text
	case nil:
		return false
	default:
		return text(got) == v.text
	}
}

func sameBytes(v *value, p *Packet, l *Layer, f *Field) bool {
	b, ok := p.Get(l, f).([]byte)
	return ok && bytes.Equal(b, v.bytes)
}

// inList: a list has the value among its own.
func inList(v *value, p *Packet, l *Layer, f *Field) bool {
	list, _ := p.Get(l, f).([]any)
	for _, x := range list {
		if s, ok := x.(fmt.Stringer); ok {
			x = s.String()
		}
		if text(x) == v.text {
			return true
		}
	}
	return false
}
