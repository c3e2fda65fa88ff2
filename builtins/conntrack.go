package builtins

import (
	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

func conntrackSpecs() []*Spec {
	return []*Spec{{
		Name: "conntrack_on", Family: familyFirewall, Like: "nft add rule inet nsscript_conntrack track ct state new",
		Doc: "Makes a namespace track connections. The kernel does that only while something asks for it: NAT, or a rule that looks at the state of connections. " +
			"This is such a rule, in a table of its own. ns.conntrack lists the connections, delete() forgets one, flush(ns, \"conntrack\") all. " +
			"The sysctls net.netfilter.nf_conntrack_* say how long they are remembered. Called again it does nothing.",
		Params: []Param{required("ns", tNetnsRef, "where")},
		Example: twoHosts + "conntrack_on(b)\nping(a, b)\nc = b.conntrack[0]\nexpect.eq((c.proto, c.src, c.dst, c.reply.src), (\"icmp\", \"10.0.0.1\", \"10.0.0.2\", \"10.0.0.2\"))\n" +
			"delete(c)\nexpect.eq(b.conntrack, [])\nconntrack_on(b)\nprint(b.conntrack)",
		Fn: func(c *Call) (starlark.Value, error) {
			return nil, get[*lab.Namespace](c, "ns", nil).TrackConnections(c.Ctx)
		},
	}}
}
