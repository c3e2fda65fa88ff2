package builtins

import (
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
			Name: "flush", Family: familyAddrs, Like: "ip route flush cache; ip neigh flush all; conntrack -F",
			Doc: "Empties a table of the namespace: \"route cache\" (route exceptions), \"neigh\" (neighbours, without permanent ones) " +
				"or \"conntrack\" (tracked connections).",
			Params:  []Param{required("ns", tNetnsRef, "where"), required("what", tString, "\"route cache\", \"neigh\" or \"conntrack\"")},
			Example: "flush(root, \"neigh\")\nexpect.eq(len(root.neighbors), 0)",
			Fn: func(c *Call) (starlark.Value, error) {
				return nil, get[*lab.Namespace](c, "ns", nil).Flush(c.Ctx, get(c, "what", ""))
			},
		},
	}
}
