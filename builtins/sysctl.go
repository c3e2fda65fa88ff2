package builtins

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

func sysctlSpecs() []*Spec {
	return []*Spec{
		{
			Name: "sysctl", Family: familyAddrs, Returns: "the value, a string", Like: "sysctl -w KEY=VALUE",
			Doc: "Sets a setting of the namespace, or returns it when no value is given. Keys are those of the network namespace, net.*; " +
				"slashes instead of dots keep dots of a link's name: \"net/ipv4/conf/eth0.10/rp_filter\".",
			Params: []Param{required("ns", tNetnsRef, "where"), required("key", tString, "such as \"net.ipv4.ip_forward\""),
				optional("value", tAny, "", "what to set; True and False are 1 and 0")},
			Example: "r = netns(\"r\")\nsysctl(r, \"net.ipv4.ip_forward\", 1)\nexpect.eq(sysctl(r, \"net.ipv4.ip_forward\"), \"1\")",
			Fn: func(c *Call) (starlark.Value, error) {
				ns, key := get[*lab.Namespace](c, "ns", nil), get(c, "key", "")
				value := get[starlark.Value](c, "value", starlark.None)
				if value == starlark.None {
					v, err := ns.Sysctl(c.Ctx, key)
					return starlark.String(v), err
				}
				text := word(value)
				switch value {
				case starlark.True:
					text = "1"
				case starlark.False:
					text = "0"
				}
				if err := ns.SetSysctl(c.Ctx, key, strings.TrimSpace(text)); err != nil {
					return nil, err
				}
				return starlark.String(text), nil
			},
		},
		{
			Name: "flush", Family: familyAddrs, Like: "ip addr|route|rule|nexthop|neigh flush; ip route flush cache; conntrack -F",
			Doc: "Empties a table of the namespace: \"addr\", \"route\" (of one table), \"rule\" (all but the first), \"nexthop\", " +
				"\"neigh\" (without permanent entries and proxies) \"route cache\" (route exceptions) or \"conntrack\" (tracked connections).",
			Params: []Param{required("ns", tNetnsRef, "where"), required("what", tString, "which table"),
				keyword("dev", tLink, "", "only what is of this link"), keyword("family", tFamily, "", "4 or 6"),
				keyword("table", tTable, "\"main\"", "of routes, by number or name"), keyword("proto", tRouteProto, "", "only what was made by this one")},
			Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nup(b)\nroute(root, \"192.0.2.0/24\", via=\"10.0.0.2\", proto=\"static\")\n" +
				"flush(root, \"route\", proto=\"static\")\nexpect.eq(len([r for r in root.routes if r.dst == \"192.0.2.0/24\"]), 0)\n" +
				"flush(root, \"addr\", dev=a)\nexpect.eq(len(a.addrs), 0)\nflush(root, \"neigh\")",
			Fn: flush,
		},
	}
}

func flush(c *Call) (starlark.Value, error) {
	what := get(c, "what", "")
	knows, ok := lab.Flushable(what)
	if !ok {
		return nil, lab.Usage(`it takes "addr", "route", "rule", "nexthop", "neigh", "route cache" or "conntrack"`, "%q cannot be flushed", what)
	}
	for _, part := range []string{"dev", "family", "table", "proto"} {
		if c.Given(part) && !slices.Contains(strings.Fields(knows), part) {
			return nil, lab.Usage("", "flush: %q has no %s=", what, part)
		}
	}
	return nil, get[*lab.Namespace](c, "ns", nil).Flush(c.Ctx, what, lab.FlushFilter{Family: get(c, "family", 0),
		Dev: get[*lab.Link](c, "dev", nil), Table: get(c, "table", 0), Proto: get(c, "proto", 0)})
}
