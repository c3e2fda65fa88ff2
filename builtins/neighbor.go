package builtins

import (
	"net"
	"net/netip"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func (env *Env) neighbor(n *lab.Neighbor) *Record {
	return record("neighbor", n.String(), n,
		field{"ip", starlark.String(n.IP.String())}, field{"mac", text(n.MAC.String())}, field{"dev", env.link(n.Dev)},
		field{"state", text(n.StateName())}, field{"proxy", starlark.Bool(n.Proxy)}, field{"router", starlark.Bool(n.Router)},
		field{"extern_learn", starlark.Bool(n.Learned)}, field{"managed", starlark.Bool(n.Managed)}, field{"proto", starlark.String(lab.RouteProtocolName(n.Proto))})
}

func neighborSpecs() []*Spec {
	return []*Spec{{
		Name: "neighbor", Family: familyAddrs, Returns: "neighbor", Like: "ip neigh add IP lladdr MAC dev LINK",
		Doc: "Makes an entry of the neighbour table, permanent unless nud= says another state, or with proxy=True one that answers for another host.",
		Params: []Param{required("link", tLink, "on which link"), required("ip", tAddress, "the neighbour"), optional("mac", tMAC, "", "its MAC address"),
			keyword("proxy", tBool, "False", "answer for it"), keyword("router", tBool, "False", "it is a router"),
			keyword("nud", tNud, "\"permanent\"", "its state: permanent, noarp, reachable, stale, none, incomplete, delay, probe or failed"),
			keyword("extern_learn", tBool, "False", "a control plane has learned it: the kernel does not forget it"),
			keyword("managed", tBool, "False", "the kernel finds out its MAC address and keeps it resolved"), keyword("use", tBool, "False", "find out its MAC address at once, as a packet would"),
			keyword("proto", tRouteProto, "\"unspec\"", "who made it, by number or name"),
			keyword("replace", tBool, "False", "take the place of one that is there"), keyword("change", tBool, "False", "take the place of one that has to be there"),
			keyword("exist", tBool, "False", "take the one that is there if it has these properties")},
		Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nneighbor(a, \"10.0.0.9\", \"02:00:00:00:00:09\")\n" +
			"expect.eq([(n.ip, n.state) for n in root.neighbors if n.state == \"permanent\"], [(\"10.0.0.9\", \"permanent\")])",
		Fn: func(c *Call) (starlark.Value, error) {
			k := get[*lab.Link](c, "link", nil)
			ip, err := c.only("ip", netip.Addr{})
			if err != nil {
				return nil, err
			}
			n := lab.Neighbor{IP: ip, MAC: get[net.HardwareAddr](c, "mac", nil), Proxy: get(c, "proxy", false), Router: get(c, "router", false),
				Learned: get(c, "extern_learn", false), Managed: get(c, "managed", false), Use: get(c, "use", false), Proto: get(c, "proto", 0)}
			if err := c.nud(&n); err != nil {
				return nil, err
			}
			how, err := c.howToMake()
			if err != nil {
				return nil, err
			}
			made, err := k.AddNeighbor(c.Ctx, n, how)
			if err != nil {
				return nil, err
			}
			return c.Env.neighbor(made), nil
		},
	}}
}

var tNud = named("a state of a neighbour", `"stale"`, 0, 0, lab.NudState)

// nud sets the state that was asked for, and refuses what does not go with it.
func (c *Call) nud(n *lab.Neighbor) error {
	if c.Given("nud") {
		n.InState(get(c, "nud", 0))
	}
	// The kernel finds out itself what is not known yet.
	finds := n.Managed || n.Use || c.Given("nud") && n.State&(unix.NUD_NONE|unix.NUD_INCOMPLETE|unix.NUD_FAILED|unix.NUD_NOARP) == n.State
	switch {
	case n.Proxy && (n.Managed || n.Use || n.Learned || c.Given("nud")):
		return lab.Usage("", "neighbor: proxy= goes with neither nud=, use=, managed= nor extern_learn=")
	case (n.Managed || n.Use) && (n.MAC != nil || n.State != 0):
		return lab.Usage("", "neighbor: use= and managed= let the kernel find out the MAC address: they go with neither mac= nor nud=")
	case n.MAC == nil && !n.Proxy && !finds:
		return lab.Usage(`a good one is mac="02:00:00:00:00:01"`, "neighbor: mac= is missing")
	}
	return nil
}
