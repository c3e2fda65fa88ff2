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
			Doc: "Gives a link a queueing discipline of any kind that the kernel has, with the options of tc(8): of those with a builtin, of pfifo, bfifo, codel, pie, choke and hfsc, and without options any other." + inPlace,
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
			Doc: "Makes a class of a queueing discipline of a link (htb, drr, qfq, hfsc), or changes the one that is there. link.classes lists them, each with .stats. " +
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
		filterSpec(),
	}
}

// tRules are words of tc, one string or several.
var tRules = listTyped[string](tString, "words of tc or a list of them", `"ip dst 10.0.0.0/8"`)

func filterSpec() *Spec {
	return &Spec{
		Name: "tc.filter", Family: familyShaping, Returns: "shaping: links handle, and the method undo", Like: "tc filter add dev LINK parent PARENT protocol P pref N KIND …",
		Doc: "Gives a link's packets to a class, or does something to them: u32 (which looks at bits of the packet), flower (at its fields), fw (at its mark, the handle), matchall, or bpf (a program of an object file). " +
			"match= and actions= are in tc's own words: \"ip dst 10.0.0.0/8\", \"ip dport 80 0xffff\", \"u16 80 0xffff at 22\" of u32; \"ip_proto tcp\", \"dst_ip 10.0.0.0/8\", \"dst_port 80\", \"src_mac …\", \"vlan_id 7\" of flower; \"mask 0xff\" of fw. " +
			"Actions are \"pass\", \"drop\", \"pipe\", \"mirred egress redirect dev ifb0\", \"police rate 1mbit burst 10k drop\", \"skbedit priority 1:10 mark 7\", \"pedit munge ip ttl set 5\" and \"csum ip and tcp\". " +
			"link.filters lists what there is.",
		Params: []Param{required("link", tLink, "whose packets"), required("kind", wordOf(lab.FilterKinds()), "which"),
			keyword("parent", tTcPlace, "\"root\"", "the qdisc or class that it belongs to: the root qdisc unless given, or \"ingress\" or \"egress\" of clsact()"),
			keyword("protocol", tString, "\"all\"", "of which frames: \"ip\", \"ipv6\", \"arp\", \"802.1Q\" …"),
			keyword("pref", intType("a preference", "10", 1, 65535), "", "who looks first: the lowest; behind those that there are unless given"),
			keyword("handle", tUint32, "", "of fw, the mark; or else what the kernel shall call it"),
			keyword("match", tRules, "", "what it looks for, all of it"), keyword("classid", tTcPlace, "", "the class of what it finds"),
			keyword("actions", tRules, "", "what becomes of it, one after the other"),
			keyword("object", tString, "", "of bpf: the file"), keyword("section", tString, "\"classifier\"", "the section of the file that has the program"),
			keyword("direct_action", tBool, "False", "the program says what becomes of the packet")},
		Example: twoHosts + "e = a[\"eth0\"]\nhtb(e, default=\"1:20\")\n" +
			"for c in (\"1:10\", \"1:20\"):\n    tc.class_(e, \"htb\", parent=\"1:\", classid=c, rate=\"10mbit\")\n" +
			"tc.filter(e, \"u32\", protocol=\"ip\", match=[\"ip protocol 1 0xff\", \"ip dst 10.0.0.2\"], classid=\"1:10\")\nping(a, b, count=5, interval=\"10ms\")\n" +
			"expect.ge(e.classes[0].stats.packets, 5)\ni = ifb(\"ifb0\", ns=b, up=True)\nclsact(b[\"eth0\"])\nf = tc.filter(b[\"eth0\"], \"u32\", parent=\"ingress\", protocol=\"ip\", match=\"ip protocol 1 0xff\", actions=\"mirred egress redirect dev ifb0\")\n" +
			"ping(a, b, count=3, interval=\"10ms\")\nexpect.ge(i.stats.tx_packets, 3)\nf.undo()\nexpect.reachable(a, b)\nprint(e.filters)",
		Fn: func(c *Call) (starlark.Value, error) {
			return c.shaped(get[*lab.Link](c, "link", nil).AddFilter(c.Ctx, lab.FilterSpec{
				Kind: get(c, "kind", ""), Parent: filterPlace(get(c, "parent", "")), Protocol: get(c, "protocol", ""), Pref: get(c, "pref", 0), Handle: get(c, "handle", 0),
				Match: get[[]string](c, "match", nil), ClassID: get(c, "classid", ""), Actions: get[[]string](c, "actions", nil),
				Object: get(c, "object", ""), Section: get(c, "section", "classifier"), Direct: get(c, "direct_action", false)}))
		},
	}
}

// filterPlace is where a filter goes; "root" is the qdisc there.
func filterPlace(parent string) string {
	if parent == "root" {
		return ""
	}
	return parent
}

// filter is a filter of tc.
func (env *Env) filter(f *lab.Filter) *Record {
	return record("filter", f.String(), f, field{"kind", starlark.String(f.Kind)}, field{"parent", starlark.String(f.Parent)},
		field{"protocol", starlark.String(f.Protocol)}, field{"pref", starlark.MakeInt(f.Pref)}, field{"handle", starlark.String(f.Handle)},
		field{"words", starlark.String(strings.Join(f.Words, " "))})
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
