package builtins

import (
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

var (
	tQdiscKind = nameType("a kind of queueing discipline", `"fq_codel"`)
	tHandle    = nameType("a handle", `"1:"`)
	tClassID   = nameType("a class's handle", `"1:10"`)
)

func tcSpecs() []*Spec {
	return []*Spec{
		{
			Name: "tc.qdisc", Family: familyShaping, Returns: returnsShaping, Like: "tc qdisc replace dev LINK root KIND …",
			Doc: "Gives a link a queueing discipline of any kind that the kernel has, with the options of tc(8): of those with a builtin, of pfifo, bfifo, codel and pie, and without options any other." + inPlace,
			Params: []Param{required("link", tLink, "whose packets"), required("kind", tQdiscKind, "which"), keyword("parent", tTcPlace, "\"root\"", "the class that it is below"),
				keyword("handle", tHandle, "", "its number, in hexadecimal; the next that is free unless given"), {Name: "options", Type: tAny, Keywords: true, Doc: "those of the kind"}},
			Example: "a, b = veth(\"a\", \"b\", up=True)\nq = tc.qdisc(a, \"pfifo\", limit=77)\nexpect.eq((a.qdiscs[0].kind, a.qdiscs[0].options[\"limit\"]), (\"pfifo\", 77))\n" +
				"tc.qdisc(a, \"pfifo\", limit=78)\nexpect.eq((q.handle, a.qdiscs[0].options[\"limit\"]), (\"1:\", 78))\nq.undo()\nexpect.eq(a.qdiscs[0].kind, \"noqueue\")",
			Fn: func(c *Call) (starlark.Value, error) {
				kind := kindNamed(get(c, "kind", ""))
				options, err := c.spread(kind, get[[]starlark.Tuple](c, "options", nil))
				if err != nil {
					return nil, err
				}
				return c.shaped(lab.SetQdisc(c.Ctx, []*lab.Link{get[*lab.Link](c, "link", nil)},
					lab.QdiscSpec{Kind: kind, Parent: get(c, "parent", ""), Handle: get(c, "handle", ""), Options: options}))
			},
		},
		{
			Name: "tc.class_", Family: familyShaping, Returns: returnsShaping, Like: "tc class replace dev LINK parent PARENT classid ID KIND …",
			Doc: "Makes a class of a queueing discipline of a link (htb, drr), or changes the one that is there. link.classes lists them, each with .stats. " +
				"undo() takes it away again, or makes it what it was.",
			Params: []Param{required("link", tLink, "whose packets"), required("kind", tQdiscKind, "that of the qdisc"),
				{Name: "parent", Type: tTcPlace, Required: true, KeywordOnly: true, Doc: "the qdisc or class that it is below"},
				{Name: "classid", Type: tClassID, Required: true, KeywordOnly: true, Doc: "its number, in hexadecimal"}, {Name: "options", Type: tAny, Keywords: true, Doc: "those of the kind: " + classOptions()}},
			Example: "a, b = veth(\"a\", \"b\", up=True)\nq = htb(a)\nx = tc.class_(a, \"htb\", parent=q, classid=\"1:10\", rate=\"1mbit\", ceil=\"2mbit\")\n" +
				"tc.qdisc(a, \"pfifo\", parent=x, limit=5)\nexpect.eq([(c.handle, c.options[\"rate\"]) for c in a.classes], [(\"1:10\", 1e6)])\nx.undo()\nexpect.eq(len(a.classes), 0)",
			Fn: func(c *Call) (starlark.Value, error) {
				kind := lab.QdiscKindOf(get(c, "kind", ""))
				if kind == nil || kind.Classes == nil {
					return nil, lab.Usage("classes can be made of "+lab.OrList(lab.ClassfulKinds()), "tc.class_: kind: %q has none that can be made", get(c, "kind", ""))
				}
				options, err := c.spread(kind.Classes, get[[]starlark.Tuple](c, "options", nil))
				if err != nil {
					return nil, err
				}
				return c.shaped(get[*lab.Link](c, "link", nil).SetClass(c.Ctx,
					lab.QdiscSpec{Kind: kind.Classes, Parent: get(c, "parent", ""), Handle: get(c, "classid", ""), Options: options}))
			},
		},
	}
}

// classOptions are the options of all classes.
func classOptions() string {
	var all []string
	for _, name := range lab.ClassfulKinds() {
		var names []string
		for _, o := range lab.QdiscKindOf(name).Classes.Options {
			names = append(names, o.Name)
		}
		all = append(all, name+" "+strings.Join(names, " "))
	}
	return strings.Join(all, "; ")
}

// kindNamed is a kind of qdisc; one that is not known has no options.
func kindNamed(name string) *lab.QdiscKind {
	if k := lab.QdiscKindOf(name); k != nil {
		return k
	}
	return &lab.QdiscKind{Name: name}
}
