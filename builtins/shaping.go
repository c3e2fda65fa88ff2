package builtins

import (
	"fmt"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
)

const familyShaping = "Shaping and faults"

// Shaping is a change of how links queue their packets, which can be taken back.
type Shaping struct {
	shaping *lab.Shaping
	env     *Env
}

func (s *Shaping) String() string { return "shaping of " + s.shaping.String() }

// Type is what type() says.
func (s *Shaping) Type() string { return "shaping" }

// Freeze does nothing.
func (s *Shaping) Freeze() {}

// Truth is True.
func (s *Shaping) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (s *Shaping) Hash() (uint32, error) { return hashPointer(s.shaping) }

// CompareSameType: one change, one value.
func (s *Shaping) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, s.shaping == y.(*Shaping).shaping, "shaping")
}

// AttrNames lists the attributes.
func (s *Shaping) AttrNames() []string { return []string{"links", "handle", "qdiscs", "undo"} }

// Attr asks the kernel for the qdiscs.
func (s *Shaping) Attr(name string) (starlark.Value, error) {
	switch name {
	case "links":
		var links []starlark.Value
		for _, k := range s.shaping.Links {
			links = append(links, s.env.link(k))
		}
		return s.env.lineRows(links), nil
	case "handle":
		return text(s.shaping.Handle), nil
	case "qdiscs":
		var all []*lab.Qdisc
		for _, k := range s.shaping.Links {
			list, err := k.Qdiscs()
			if err != nil {
				return nil, err
			}
			all = append(all, list...)
		}
		return recordRows(s.env, all, s.env.qdisc), nil
	case "undo":
		undo := &Spec{Name: "shaping.undo", Fn: func(c *Call) (starlark.Value, error) { return nil, s.shaping.Undo(c.Ctx) }}
		return undo.builtin(s.env), nil
	}
	return nil, nil
}

// MarshalJSON is the change with its qdiscs.
func (s *Shaping) MarshalJSON() ([]byte, error) { return marshalLive(s) }

// qdisc is a queueing discipline, or a class of one.
func (env *Env) qdisc(q *lab.Qdisc) *Record {
	options := starlark.NewDict(len(q.Options))
	for _, o := range q.Options {
		_ = options.SetKey(starlark.String(o.Name), env.qdiscOption(o.Value)) // a string has a hash
	}
	n := starlark.MakeUint64
	s := q.Stats
	stats := record("stats", fmt.Sprintf("sent %d bytes %d packets (dropped %d, overlimits %d requeues %d) backlog %db %dp", s.Bytes, s.Packets, s.Drops, s.Overlimits, s.Requeues, s.Backlog, s.Qlen), nil,
		field{"bytes", n(s.Bytes)}, field{"packets", n(s.Packets)}, field{"drops", n(s.Drops)}, field{"overlimits", n(s.Overlimits)},
		field{"requeues", n(s.Requeues)}, field{"backlog", n(s.Backlog)}, field{"qlen", n(s.Qlen)})
	fields := []field{{"kind", starlark.String(q.Kind)}, {"handle", starlark.String(q.Handle)}, {"parent", starlark.String(q.Parent)},
		{"options", options}, {"stats", stats}}
	if q.IsClass() {
		return record("class", q.String(), q, append(fields, field{"leaf", text(q.Leaf)})...)
	}
	return record("qdisc", q.String(), q, fields...)
}

// qdiscOption is an option's value as scripts have it.
func (env *Env) qdiscOption(v any) starlark.Value {
	var list []starlark.Value
	switch v := v.(type) {
	case uint64:
		return starlark.MakeUint64(v)
	case []int:
		for _, n := range v {
			list = append(list, starlark.MakeInt(n))
		}
	case []float64:
		for _, f := range v {
			list = append(list, starlark.Float(f))
		}
	default:
		return env.optionValue(v)
	}
	return starlark.NewList(list)
}

// qdiscPage is what the builtin of a kind of qdisc says of it; its options are the
// kind's own (lab.QdiscKind).
type qdiscPage struct {
	kind, doc, example string
}

func (page *qdiscPage) specs() []*Spec { return []*Spec{page.spec(lab.QdiscKindOf(page.kind))} }

func (page *qdiscPage) spec(k *lab.QdiscKind) *Spec {
	params := []Param{some("links", tLink, "whose packets")}
	params = append(params, qdiscParams(k)...)
	if k.Name == "netem" {
		params = append(params, keyword("fallback", tBool, "False", fallbackDoc))
	}
	if !k.Ingress {
		params = append(params, keyword("parent", tTcPlace, "\"root\"", "the class that it is below"),
			keyword("handle", nameType("a handle", `"1:"`), "", "its number, in hexadecimal; the next that is free unless given"))
	}
	return &Spec{
		Name: page.kind, Family: familyShaping, Returns: returnsShaping, Like: "tc qdisc replace dev LINK root " + page.kind,
		Doc:     page.doc + inPlace,
		Params:  params,
		Example: page.example,
		Fn: func(c *Call) (starlark.Value, error) {
			s := lab.QdiscSpec{Kind: k, Options: c.qdiscOptions(k)}
			if k.Name == "netem" {
				s.Fallback = get(c, "fallback", false)
			}
			if !k.Ingress {
				s.Parent, s.Handle = get(c, "parent", ""), get(c, "handle", "")
			}
			return c.shaped(lab.SetQdisc(c.Ctx, all[*lab.Link](c, "links"), s))
		},
	}
}

const (
	fallbackDoc    = "where the kernel has no netem, and loss alone is asked for of it, let nftables lose the packets"
	returnsShaping = "shaping: links handle qdiscs, and the method undo"
	inPlace        = " One that is there is changed in place: what waits in it stays. undo() restores what was there before, and delete() of the result does."
)

// shaped is the value of a change.
func (c *Call) shaped(s *lab.Shaping, err error) (starlark.Value, error) {
	if err != nil {
		return nil, err
	}
	return &Shaping{s, c.Env}, nil
}

// qdiscParams are the options of a kind.
func qdiscParams(k *lab.QdiscKind) (params []Param) {
	for _, o := range k.Options {
		params = append(params, Param{Name: o.Name, Type: optionType(o), Required: o.Required, KeywordOnly: true, Doc: o.Doc})
	}
	return params
}

// qdiscOptions are those that are given.
func (c *Call) qdiscOptions(k *lab.QdiscKind) (options []lab.Chosen) {
	for _, o := range k.Options {
		if c.Given(o.Name) {
			options = append(options, lab.Chosen{Option: o, Given: c.values[c.at(o.Name)]})
		}
	}
	return options
}

// spread are keyword arguments as the options of a kind.
func (c *Call) spread(k *lab.QdiscKind, kwargs []starlark.Tuple) (options []lab.Chosen, err error) {
	for _, kv := range kwargs {
		name := string(kv[0].(starlark.String))
		o := k.Option(name)
		if o == nil {
			return nil, noOption(k, name)
		}
		value, err := c.convert(Param{Name: name, Type: optionType(o)}, name, kv[1])
		if err != nil {
			return nil, err
		}
		options = append(options, lab.Chosen{Option: o, Given: value})
	}
	return options, nil
}

func noOption(k *lab.QdiscKind, name string) error {
	var names []string
	for _, o := range k.Options {
		names = append(names, o.Name)
	}
	hint := "it has none"
	if near := lab.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s=?", near)
	} else if len(names) > 0 {
		hint = "it has " + lab.OrList(names)
	}
	return lab.Usage(hint, "%s has no option %s", k.Name, name)
}
