package builtins

import (
	"encoding/json"
	"fmt"
	"strings"
	"time"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// Record is a snapshot with named fields: a route, an address, the result of a
// command. It stays what it was.
type Record struct {
	kind   string
	names  []string
	fields starlark.StringDict
	text   string // how it prints
	truth  bool
	object any // what it describes, for delete() and its like
}

// field is a name and a value of a Record.
type field struct {
	name  string
	value starlark.Value
}

func record(kind, text string, object any, fields ...field) *Record {
	r := &Record{kind: kind, text: text, truth: true, object: object, fields: starlark.StringDict{}}
	for _, f := range fields {
		r.names = append(r.names, f.name)
		r.fields[f.name] = f.value
	}
	return r
}

func (r *Record) String() string { return r.text }

// Type is what type() says.
func (r *Record) Type() string { return r.kind }

// Freeze does nothing: a record never changes.
func (r *Record) Freeze() {}

// Truth is False for a result that says "no" (a ping without a reply).
func (r *Record) Truth() starlark.Bool { return starlark.Bool(r.truth) }

// Hash is that of the text, so that equal records are equal keys.
func (r *Record) Hash() (uint32, error) { return starlark.String(r.kind + r.text).Hash() }

// Attr returns a field.
func (r *Record) Attr(name string) (starlark.Value, error) { return r.fields[name], nil }

// AttrNames lists the fields.
func (r *Record) AttrNames() []string { return r.names }

// CompareSameType compares fields by ==.
func (r *Record) CompareSameType(op syntax.Token, y starlark.Value, depth int) (bool, error) {
	o := y.(*Record)
	same := r.kind == o.kind && len(r.names) == len(o.names)
	for _, n := range r.names {
		if !same || o.fields[n] == nil {
			same = false
			break
		}
		eq, err := starlark.EqualDepth(r.fields[n], o.fields[n], depth-1)
		if err != nil {
			return false, err
		}
		same = eq
	}
	return equality(op, same, r.kind)
}

func equality(op syntax.Token, same bool, kind string) (bool, error) {
	switch op {
	case syntax.EQL:
		return same, nil
	case syntax.NEQ:
		return !same, nil
	}
	return false, fmt.Errorf("values of type %s have no order", kind)
}

// MarshalJSON is the record as an object; kernel objects in it are their names.
func (r *Record) MarshalJSON() ([]byte, error) { return marshalFields(r.names, r.fields) }

func marshalFields(names []string, fields starlark.StringDict) ([]byte, error) {
	var b strings.Builder
	b.WriteByte('{')
	n := 0
	for _, name := range names {
		if _, method := fields[name].(*starlark.Builtin); method {
			continue
		}
		if n++; n > 1 {
			b.WriteByte(',')
		}
		key, _ := json.Marshal(name)
		value, err := marshal(fields[name])
		if err != nil {
			return nil, err
		}
		b.Write(key)
		b.WriteByte(':')
		b.Write(value)
	}
	b.WriteByte('}')
	return []byte(b.String()), nil
}

// marshal is a field as JSON: kernel objects by name, so that an end does not
// lead to its peer and back without end.
func marshal(v starlark.Value) ([]byte, error) {
	switch v := v.(type) {
	case *Namespace:
		return json.Marshal(v.ns.String())
	case *Link:
		return json.Marshal(v.link.Name())
	case json.Marshaler:
		return v.MarshalJSON()
	case starlark.NoneType:
		return []byte("null"), nil
	case starlark.Bool:
		return json.Marshal(bool(v))
	case starlark.Int:
		return []byte(v.String()), nil
	case starlark.Float:
		return json.Marshal(float64(v))
	case starlark.String:
		return json.Marshal(string(v))
	case starlark.Bytes:
		return json.Marshal(string(v))
	case *starlark.Dict:
		names := make([]string, 0, v.Len())
		fields := starlark.StringDict{}
		for _, item := range v.Items() {
			key, ok := starlark.AsString(item[0])
			if n, isInt := item[0].(starlark.Int); isInt {
				key, ok = n.String(), true // a map of priorities
			}
			if !ok {
				return nil, fmt.Errorf("a key of a JSON object is a string, not %s", item[0].Type())
			}
			names, fields[key] = append(names, key), item[1]
		}
		return marshalFields(names, fields)
	case starlark.Iterable:
		parts := [][]byte{}
		iter := v.Iterate()
		defer iter.Done()
		for x := starlark.Value(nil); iter.Next(&x); {
			part, err := marshal(x)
			if err != nil {
				return nil, err
			}
			parts = append(parts, part)
		}
		out := []byte{'['}
		for i, p := range parts {
			if i > 0 {
				out = append(out, ',')
			}
			out = append(out, p...)
		}
		return append(out, ']'), nil
	}
	return json.Marshal(v.String())
}

// Table lays rows out in columns; the header may be nil.
func Table(header []string, rows [][]string) string {
	if header != nil {
		rows = append([][]string{header}, rows...)
	}
	var width []int
	for _, row := range rows {
		for i, cell := range row {
			if i == len(width) {
				width = append(width, 0)
			}
			width[i] = max(width[i], utf8.RuneCountInString(cell))
		}
	}
	var lines []string
	for _, row := range rows {
		var b strings.Builder
		for i, cell := range row {
			b.WriteString(cell)
			if i < len(row)-1 {
				b.WriteString(strings.Repeat(" ", width[i]-utf8.RuneCountInString(cell)+2))
			}
		}
		lines = append(lines, strings.TrimRight(b.String(), " "))
	}
	return strings.Join(lines, "\n")
}

// text is a string, or None for "".
func text(s string) starlark.Value {
	if s == "" {
		return starlark.None
	}
	return starlark.String(s)
}

// number is an int, or None for 0.
func number(n int) starlark.Value {
	if n == 0 {
		return starlark.None
	}
	return starlark.MakeInt(n)
}

// addrText is an address in canonical form, or None.
func addrText(ip interface {
	IsValid() bool
	String() string
}) starlark.Value {
	if !ip.IsValid() {
		return starlark.None
	}
	return starlark.String(ip.String())
}

// seconds is a time as scripts have it.
func seconds(d time.Duration) starlark.Float { return starlark.Float(d.Seconds()) }

func strs(list []string) starlark.Value {
	values := make([]starlark.Value, len(list))
	for i, s := range list {
		values[i] = starlark.String(s)
	}
	return starlark.NewList(values)
}
