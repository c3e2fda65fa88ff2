package builtins

import (
	"cmp"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

// Packet is one that a capture has recorded, that a script has crafted, or what is in a
// tunnel of such a packet. It never changes.
type Packet struct {
	env     *Env
	capture *lab.Capture // nil for a crafted one
	frame   probe.Frame
	decoded *packet.Packet
	level   int
}

// captured wraps a packet of a capture.
func (env *Env) captured(c *lab.Capture, f probe.Frame) *Packet {
	return &Packet{env: env, capture: c, frame: f}
}

// packet is the decoded packet.
func (p *Packet) packet() *packet.Packet {
	if p.decoded == nil {
		p.decoded = &packet.Packet{}
		p.frame.Decode(p.decoded)
	}
	return p.decoded
}

// time is in seconds since the script began, as now() has it.
func (p *Packet) time() float64 {
	return time.Duration(p.frame.Time - p.env.began.UnixNano()).Seconds()
}

// String is the packet in a line, as tcpdump has it: time, link, direction, summary.
func (p *Packet) String() string { return strings.Join(p.cells(), " ") }

func (p *Packet) cells() []string {
	if p.capture == nil || p.level > 0 {
		return []string{p.summary()}
	}
	return []string{fmt.Sprintf("%.6f", p.time()), p.capture.Where(&p.frame), p.direction(), p.summary()}
}

func (p *Packet) direction() string {
	if p.frame.Direction == packet.Out {
		return "out"
	}
	return "in"
}

func (p *Packet) summary() string { return p.packet().SummaryOf(p.level) }

// Type is what type() says.
func (p *Packet) Type() string { return "packet" }

// Freeze does nothing: a packet never changes.
func (p *Packet) Freeze() {}

// Truth is True.
func (p *Packet) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (p *Packet) Hash() (uint32, error) {
	return starlark.String(fmt.Sprint(p.frame.Time, p.frame.Index, p.level)).Hash()
}

// CompareSameType: one packet of a capture is one value; crafted ones are equal when
// their bytes are.
func (p *Packet) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	o := y.(*Packet)
	same := p.capture == o.capture && p.level == o.level && p.frame.Time == o.frame.Time && p.frame.Point == o.frame.Point &&
		p.frame.Index == o.frame.Index && p.frame.Direction == o.frame.Direction && slices.Equal(p.frame.Data, o.frame.Data)
	return equality(op, same, "packet")
}

// AttrNames lists the attributes, layers last.
func (p *Packet) AttrNames() []string {
	names := []string{"length", "bytes", "summary", "malformed", "layers", "inner"}
	if p.capture != nil {
		names = append([]string{"time", "link", "direction"}, names...)
	}
	return append(names, packet.Names()...)
}

// Attr is a property of the packet or one of its layers.
func (p *Packet) Attr(name string) (starlark.Value, error) {
	switch name {
	case "length":
		return starlark.MakeInt(p.length()), nil
	case "bytes":
		return starlark.Bytes(p.bytes()), nil
	case "summary":
		return starlark.String(p.summary()), nil
	case "malformed":
		if kind, why := p.packet().Malformed(); kind != packet.None {
			return starlark.String(kind.String() + ": " + why), nil
		}
		return starlark.None, nil
	case "layers":
		var names []string
		for _, l := range p.packet().Layers {
			if int(l.Level) == p.level {
				names = append(names, l.Kind.String())
			}
		}
		return strs(names), nil
	case "inner":
		if p.level+1 >= p.packet().Levels() {
			return starlark.None, nil
		}
		inner := *p
		inner.level++
		return &inner, nil
	}
	if p.capture != nil {
		switch name {
		case "time":
			return starlark.Float(p.time()), nil
		case "link":
			return p.env.link(p.capture.Link(&p.frame)), nil
		case "direction":
			return starlark.String(p.direction()), nil
		}
	}
	if kind := packet.KindOf(name); kind != packet.None {
		return &PacketLayer{p, kind, p.packet().Layer(kind, p.level)}, nil
	}
	return nil, nil
}

// first is the outermost layer of the level.
func (p *Packet) first() *packet.Layer {
	for i := range p.packet().Layers {
		if l := &p.decoded.Layers[i]; int(l.Level) == p.level {
			return l
		}
	}
	return nil
}

// length is that on the wire.
func (p *Packet) length() int {
	if l := p.first(); p.level > 0 && l != nil {
		return l.End - l.Start
	}
	return p.frame.Length
}

// bytes are those that were recorded.
func (p *Packet) bytes() []byte {
	data := p.frame.Data
	if l := p.first(); p.level > 0 && l != nil {
		return data[min(l.Start, len(data)):min(l.End, len(data))]
	}
	return data
}

// MarshalJSON is the packet with the layers that it has; bytes are hexadecimal.
func (p *Packet) MarshalJSON() ([]byte, error) {
	names := p.AttrNames()
	fields := starlark.StringDict{}
	for _, name := range names {
		v, err := p.Attr(name)
		if err != nil {
			return nil, err
		}
		if l, ok := v.(*PacketLayer); ok && l.layer == nil {
			continue
		}
		fields[name] = v
	}
	names = slices.DeleteFunc(names, func(n string) bool { return fields[n] == nil })
	fields["bytes"] = starlark.String(hex.EncodeToString(p.bytes()))
	return marshalFields(names, fields)
}

// PacketLayer is a layer of a packet. One that the packet does not have is False, and
// its fields are None.
type PacketLayer struct {
	packet *Packet
	kind   packet.Kind
	layer  *packet.Layer
}

// String is the layer with its fields.
func (l *PacketLayer) String() string {
	if l.layer == nil {
		return "no " + l.kind.String()
	}
	var words []string
	fields := packet.Fields(l.kind)
	for i := range fields {
		if v := l.field(&fields[i]); v != starlark.None {
			words = append(words, fields[i].Name+"="+v.String())
		}
	}
	return l.kind.String() + "(" + strings.Join(words, ", ") + ")"
}

// Type is what type() says.
func (l *PacketLayer) Type() string { return "layer" }

// Freeze does nothing.
func (l *PacketLayer) Freeze() {}

// Truth tells whether the packet has the layer.
func (l *PacketLayer) Truth() starlark.Bool { return l.layer != nil }

// Hash makes it a key of a dict.
func (l *PacketLayer) Hash() (uint32, error) { return starlark.String(l.String()).Hash() }

// CompareSameType compares by the fields.
func (l *PacketLayer) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, l.String() == y.(*PacketLayer).String(), "layer")
}

// AttrNames lists the fields.
func (l *PacketLayer) AttrNames() []string {
	var names []string
	fields := packet.Fields(l.kind)
	for i := range fields {
		names = append(names, fields[i].Name)
	}
	return names
}

// Attr reads a field.
func (l *PacketLayer) Attr(name string) (starlark.Value, error) {
	f := l.kind.Field(name)
	if f == nil {
		return nil, nil
	}
	return l.field(f), nil
}

func (l *PacketLayer) field(f *packet.Field) starlark.Value {
	if l.layer == nil {
		return starlark.None
	}
	return fieldValue(l.packet.packet().Get(l.layer, f))
}

// MarshalJSON is an object of the fields; bytes are hexadecimal.
func (l *PacketLayer) MarshalJSON() ([]byte, error) {
	if l.layer == nil {
		return []byte("null"), nil
	}
	names, values := l.AttrNames(), starlark.StringDict{}
	for _, name := range names {
		v := l.field(l.kind.Field(name))
		if b, ok := v.(starlark.Bytes); ok {
			v = starlark.String(hex.EncodeToString([]byte(b)))
		}
		values[name] = v
	}
	return marshalFields(names, values)
}

// fieldValue is a field's value as scripts have it.
func fieldValue(v any) starlark.Value {
	switch v := v.(type) {
	case bool:
		return starlark.Bool(v)
	case int:
		return starlark.MakeInt(v)
	case float64:
		return starlark.Float(v)
	case string:
		return starlark.String(v)
	case []byte:
		return starlark.Bytes(v)
	case netip.Addr:
		return starlark.String(v.String())
	case packet.MAC:
		return starlark.String(v.String())
	case []any:
		var list []starlark.Value
		for _, x := range v {
			list = append(list, fieldValue(x))
		}
		return starlark.NewList(list)
	case packet.Record:
		var fields []field
		var words []string
		for _, part := range v {
			fields = append(fields, field{part.Name, fieldValue(part.Value)})
			words = append(words, fmt.Sprint(part.Value))
		}
		return record("record", strings.Join(words, " "), nil, fields...)
	}
	return starlark.None
}

// goValue is a value of a script as the packet package has it; ok is false for one
// that no field can have.
func goValue(v starlark.Value) (value any, ok bool) {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil, true
	case starlark.Bool:
		return bool(v), true
	case starlark.Int:
		n, fits := v.Int64()
		return int(n), fits
	case starlark.Float:
		return float64(v), true
	case starlark.String:
		return string(v), true
	case starlark.Bytes:
		return []byte(v), true
	case *IPAddress:
		return v.Addr(), true
	case *IPNetwork:
		return v.Prefix(), true
	case *IPInterface:
		return v.Addr(), true
	case *Record:
		if a, is := v.object.(*lab.Address); is {
			return a.IP, true
		}
	}
	return nil, false
}

var _ json.Marshaler = (*Packet)(nil)

// sortedByTime is a copy in the order of the kernel's times: packets of several links
// are read link by link.
func sortedByTime(packets []*Packet) []*Packet {
	sorted := slices.Clone(packets)
	slices.SortStableFunc(sorted, func(a, b *Packet) int { return cmp.Compare(a.frame.Time, b.frame.Time) })
	return sorted
}
