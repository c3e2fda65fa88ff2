package builtins

import (
	"math"
	"net/netip"
	"time"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func (env *Env) nexthop(n *lab.Nexthop) *Record {
	var members []starlark.Value
	for _, m := range n.Group {
		members = append(members, starlark.Tuple{starlark.MakeInt(m.ID), starlark.MakeInt(max(m.Weight, 1))})
	}
	group, buckets, idle, unbalanced := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if n.Group != nil {
		group = starlark.NewList(members)
	}
	if r := n.Resilient; r != nil {
		buckets, idle, unbalanced = number(r.Buckets), optionalSeconds(r.IdleTimer), optionalSeconds(r.UnbalancedTimer)
	}
	return record("nexthop", n.String(), n,
		field{"id", starlark.MakeInt(n.ID)}, field{"via", addrText(n.Via)}, field{"dev", env.link(n.Dev)},
		field{"encap", encapText(n.Encap)}, field{"onlink", starlark.Bool(n.OnLink)}, field{"blackhole", starlark.Bool(n.Blackhole)}, field{"fdb", starlark.Bool(n.FDB)},
		field{"group", group}, field{"type", text(n.TypeName())}, field{"buckets", buckets},
		field{"idle_timer", idle}, field{"unbalanced_timer", unbalanced},
		field{"scope", starlark.String(lab.ScopeName(n.Scope))}, field{"proto", starlark.String(lab.RouteProtocolName(n.Proto))})
}

func optionalSeconds(d *time.Duration) starlark.Value {
	if d == nil {
		return starlark.None
	}
	return seconds(*d)
}

var tNexthopID = intType("an id", "1", 1, math.MaxUint32)

// tNexthop is the id of a nexthop object, or what nexthop() returned.
var tNexthop = &Type{Name: "a nexthop object or its id", Good: "1", Convert: func(c *Call, v starlark.Value) (any, error) {
	if r, ok := v.(*Record); ok {
		if n, ok := r.object.(*lab.Nexthop); ok {
			return n.ID, nil
		}
	}
	return tNexthopID.Convert(c, v)
}}

var tWeight = intType("a weight", "2", 1, 256)

// tMember is a member of a group: a nexthop object, or a tuple of one and its weight.
var tMember = &Type{Name: "a nexthop object, its id, or a tuple of one of them and a weight", Good: "(1, 2)", Convert: func(c *Call, v starlark.Value) (any, error) {
	object, weight := v, any(1)
	if pair, ok := v.(starlark.Tuple); ok {
		if len(pair) != 2 {
			return nil, errType
		}
		var err error
		if weight, err = tWeight.Convert(c, pair[1]); err != nil {
			return nil, err
		}
		object = pair[0]
	}
	id, err := tNexthop.Convert(c, object)
	if err != nil {
		return nil, err
	}
	return lab.Member{ID: id.(int), Weight: weight.(int)}, nil
}}

// tWholeSeconds is a time that `ip` says in whole seconds.
var tWholeSeconds = &Type{Name: "a time with a unit, in whole seconds", Good: `"60s"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	d, err := tUnitDuration.Convert(c, v)
	if err != nil {
		return nil, err
	}
	if d := d.(time.Duration); d%time.Second != 0 || d > math.MaxUint32/100*time.Second {
		return nil, lab.Usage("", "%v is out of range: it is of whole seconds, from 0 to %d s", v, math.MaxUint32/100)
	}
	return d, nil
}}

func nexthopSpecs() []*Spec {
	return []*Spec{
		{
			Name: "nexthop", Family: familyAddrs, Returns: "nexthop", Like: "ip nexthop add id ID via GATEWAY",
			Doc: "Makes a nexthop object: one next hop, or a group of them with weights, that routes go by (route(…, nhid=)). " +
				"A group hashes flows by thresholds (type=\"mpath\"), or keeps them where they are when members come and go (type=\"resilient\"). " +
				"Times are of whole seconds. The scope is the kernel's choice.",
			Params: []Param{
				required("ns", tNetnsRef, "where"), required("id", tNexthopID, "its number, from 1"),
				keyword("via", tAddress, "", "the gateway"), keyword("dev", tLink, "", "the link to send by"),
				keyword("onlink", tBool, "False", "the gateway is on the link although no subnet says so"),
				keyword("encap", tEncap, "", "what goes around packets, in the words of `ip route`"),
				keyword("blackhole", tBool, "False", "drop what goes by it"),
				keyword("fdb", tBool, "False", "for a VXLAN's forwarding entries: a gateway without a link, or a group of such"),
				keyword("group", listOf(tMember, "a list of nexthop objects, ids, or tuples of one and a weight"), "", "its members; a weight is from 1 to 256"),
				keyword("type", wordOf([]string{"mpath", "resilient"}), "\"mpath\"", "of a group"),
				keyword("buckets", intType("a number of buckets", "64", 1, 65535), "", "of a resilient group, which has to have them"),
				keyword("idle_timer", tWholeSeconds, "\"120s\"", "a bucket without packets for so long may move"),
				keyword("unbalanced_timer", tWholeSeconds, "\"0s\"", "after so long out of balance, buckets in use move too; 0 for never"),
				keyword("proto", tRouteProto, "", "who made it, by number or name"), keyword("family", tFamily, "4", "4 or 6, where no gateway tells"),
				keyword("replace", tBool, "False", "take the place of one that is there"),
				keyword("exist", tBool, "False", "take the one that is there if it has these properties"),
			},
			Example: "a, b = veth(\"a\", \"b\", addr=[\"10.0.0.1/24\", \"10.0.1.1/24\"], up=True)\nup(b)\n" +
				"one = nexthop(root, 1, via=\"10.0.0.2\", dev=a)\nnexthop(root, 2, via=\"10.0.1.2\", dev=a)\n" +
				"group = nexthop(root, 10, group=[(one, 2), 2])\nr = route(root, \"192.0.2.0/24\", nhid=group)\n" +
				"expect.eq((r.nhid, group.group), (10, [(1, 2), (2, 1)]))\n" +
				"expect.eq([(n.id, n.via) for n in root.nexthops], [(1, \"10.0.0.2\"), (2, \"10.0.1.2\"), (10, None)])",
			Fn: addNexthop,
		},
		{
			Name: "nexthop_buckets", Family: familyAddrs, Returns: "list of bucket", Like: "ip nexthop bucket list id ID",
			Doc:    "Lists the buckets of a resilient group: index, nexthop (the id of the member) and idle, the time since a packet last went by it.",
			Params: []Param{required("ns", tNetnsRef, "where"), required("id", tNexthop, "the group")},
			Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nup(b)\nnexthop(root, 1, via=\"10.0.0.2\", dev=a)\nnexthop(root, 2, via=\"10.0.0.3\", dev=a)\n" +
				"g = nexthop(root, 3, group=[1, 2], type=\"resilient\", buckets=4)\n" +
				"expect.eq(sorted([x.nexthop for x in nexthop_buckets(root, g)]), [1, 1, 2, 2])",
			Fn: func(c *Call) (starlark.Value, error) {
				buckets, err := get[*lab.Namespace](c, "ns", nil).Buckets(get(c, "id", 0))
				if err != nil {
					return nil, err
				}
				var items []starlark.Value
				for _, b := range buckets {
					words := "index " + itoa(b.Index) + " nhid " + itoa(b.Nexthop)
					items = append(items, record("bucket", words, b, field{"index", starlark.MakeInt(b.Index)},
						field{"nexthop", starlark.MakeInt(b.Nexthop)}, field{"idle", seconds(b.Idle)}))
				}
				return c.Env.lineRows(items), nil
			},
		},
	}
}

func addNexthop(c *Call) (starlark.Value, error) {
	how, err := c.howToMake()
	if err != nil {
		return nil, err
	}
	family := get(c, "family", 0)
	via, err := c.only("via", anyOf(family))
	if err != nil {
		return nil, err
	}
	if family != 0 && via.IsValid() && via.Is4() != (family == unix.AF_INET) {
		return nil, lab.Usage("", "nexthop: via= %s is not of the family asked for", via)
	}
	n := lab.Nexthop{ID: get(c, "id", 0), Family: family, Via: via, Dev: get[*lab.Link](c, "dev", nil), OnLink: get(c, "onlink", false),
		Blackhole: get(c, "blackhole", false), FDB: get(c, "fdb", false), Proto: get(c, "proto", 0)}
	if c.Given("group") {
		n.Group = []lab.Member{}
		for _, m := range get[[]any](c, "group", nil) {
			n.Group = append(n.Group, m.(lab.Member))
		}
	}
	if n.Resilient, err = c.resilient(); err != nil {
		return nil, err
	}
	ns := get[*lab.Namespace](c, "ns", nil)
	if text := get(c, "encap", ""); text != "" {
		if n.Encap, err = ns.ParseEncap(text); err != nil {
			return nil, err
		}
	}
	made, err := ns.AddNexthop(c.Ctx, n, how)
	if err != nil {
		return nil, err
	}
	return c.Env.nexthop(made), nil
}

// resilient are the properties of a resilient group, or nil.
func (c *Call) resilient() (*lab.Resilient, error) {
	switch t := get(c, "type", "mpath"); {
	case t == "resilient":
		return &lab.Resilient{Buckets: get(c, "buckets", 0), IdleTimer: pointer[time.Duration](c, "idle_timer"),
			UnbalancedTimer: pointer[time.Duration](c, "unbalanced_timer")}, nil
	case t != "mpath":
		return nil, lab.Usage(`"mpath" or "resilient"`, "nexthop: type: there is no %q", t)
	}
	for _, name := range []string{"buckets", "idle_timer", "unbalanced_timer"} {
		if c.Given(name) {
			return nil, lab.Usage(`type="resilient"`, "nexthop: %s= is of a resilient group", name)
		}
	}
	return nil, nil
}

// anyOf is an address of a family, for [Call.only]; the zero Addr for 0.
func anyOf(family int) netip.Addr {
	switch family {
	case unix.AF_INET:
		return netip.IPv4Unspecified()
	case unix.AF_INET6:
		return netip.IPv6Unspecified()
	}
	return netip.Addr{}
}
