package builtins

import (
	"net"
	"net/netip"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

func (env *Env) membership(m *lab.Membership) *Record {
	return record("maddr", m.String(), m,
		field{"link", env.link(m.Link)}, field{"family", starlark.String(m.Family())}, field{"group", starlark.String(m.Address())},
		field{"users", starlark.MakeInt(m.Users)}, field{"static", starlark.Bool(m.Static)})
}

// memberships are the groups of a namespace, or of one of its links.
func (env *Env) memberships(ns *lab.Namespace, k *lab.Link) (starlark.Value, error) {
	all, err := ns.Memberships(k)
	if err != nil {
		return nil, err
	}
	return recordRows(env, all, env.membership), nil
}

func maddrSpecs() []*Spec {
	return []*Spec{{
		Name: "maddr", Family: familyAddrs, Returns: "maddr: link family group users static", Like: "ip maddr add MAC dev LINK; ip addr add GROUP dev LINK autojoin",
		Doc: "Makes a link receive a multicast group: a MAC address by the link's filter; a group of IP as an address with the flag autojoin, " +
			"so that the kernel is a member and says so to routers (IGMP, MLD). link.maddrs and ns.maddrs list all groups that are received.",
		Params: []Param{required("link", tLink, "which"), required("group", tGroup, "an address, or a MAC address of a group"),
			keyword("exist", tBool, "False", "take the one that is there; of a MAC address it makes no difference")},
		Example: "a, b = veth(\"a\", \"b\", up=True)\nm = maddr(a, \"239.1.1.1\")\nmaddr(a, \"01:00:5e:7f:00:09\")\n" +
			"expect.contains([x.group for x in a.maddrs], \"239.1.1.1\")\nexpect.eq([x.group for x in root.maddrs if x.static], [\"01:00:5e:7f:00:09\"])\n" +
			"delete(m)\nexpect.eq([x.group for x in a.maddrs if x.group == \"239.1.1.1\"], [])",
		Fn: func(c *Call) (starlark.Value, error) {
			var m lab.Membership
			switch group := c.values[c.at("group")].(type) {
			case netip.Addr:
				m.Group = group
			case net.HardwareAddr:
				m.MAC = group
			}
			made, err := get[*lab.Link](c, "link", nil).JoinGroup(c.Ctx, m, get(c, "exist", false))
			if err != nil {
				return nil, err
			}
			return c.Env.membership(made), nil
		},
	}}
}
