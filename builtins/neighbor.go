package builtins

import (
	"net"
	"net/netip"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

func (env *Env) neighbor(n *lab.Neighbor) *Record {
	return record("neighbor", n.String(), n,
		field{"ip", starlark.String(n.IP.String())}, field{"mac", text(n.MAC.String())}, field{"dev", env.link(n.Dev)},
		field{"state", text(n.StateName())}, field{"proxy", starlark.Bool(n.Proxy)}, field{"router", starlark.Bool(n.Router)})
}

func (env *Env) neighborRows(list []*lab.Neighbor) *starlark.List {
	var items []starlark.Value
	for _, n := range list {
		items = append(items, env.neighbor(n))
	}
	return env.lineRows(items)
}

func neighborSpecs() []*Spec {
	return []*Spec{{
		Name: "neighbor", Family: familyAddrs, Returns: "neighbor", Like: "ip neigh add IP lladdr MAC dev LINK",
		Doc: "Makes a permanent entry of the neighbour table, or with proxy=True one that answers for another host.",
		Params: []Param{required("link", tLink, "on which link"), required("ip", tAddress, "the neighbour"), optional("mac", tMAC, "", "its MAC address"),
			keyword("proxy", tBool, "False", "answer for it"), keyword("router", tBool, "False", "it is a router (IPv6)"),
			keyword("replace", tBool, "False", "take the place of one that is there")},
		Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nneighbor(a, \"10.0.0.9\", \"02:00:00:00:00:09\")\n" +
			"expect.eq([(n.ip, n.state) for n in root.neighbors if n.state == \"permanent\"], [(\"10.0.0.9\", \"permanent\")])",
		Fn: func(c *Call) (starlark.Value, error) {
			k := get[*lab.Link](c, "link", nil)
			ip, err := c.only("ip", netip.Addr{})
			if err != nil {
				return nil, err
			}
			n := lab.Neighbor{IP: ip, MAC: get[net.HardwareAddr](c, "mac", nil), Proxy: get(c, "proxy", false), Router: get(c, "router", false)}
			if n.MAC == nil && !n.Proxy {
				return nil, lab.Usage(`a good one is mac="02:00:00:00:00:01"`, "neighbor: mac= is missing")
			}
			made, err := k.AddNeighbor(c.Ctx, n, get(c, "replace", false))
			if err != nil {
				return nil, err
			}
			return c.Env.neighbor(made), nil
		},
	}}
}
