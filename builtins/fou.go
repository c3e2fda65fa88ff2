package builtins

import (
	"net/netip"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func (env *Env) fou(f *lab.FOU) *Record {
	family, proto := 4, starlark.Value(starlark.None)
	if f.Family == unix.AF_INET6 {
		family = 6
	}
	if !f.GUE {
		proto = starlark.String(lab.ProtocolName(f.Proto))
	}
	return record("fou", f.String(), f,
		field{"port", starlark.MakeInt(f.Port)}, field{"family", starlark.MakeInt(family)}, field{"ipproto", proto}, field{"gue", starlark.Bool(f.GUE)},
		field{"local", addrText(f.Local)}, field{"peer", addrText(f.Peer)}, field{"peer_port", number(f.PeerPort)}, field{"dev", env.link(f.Dev)})
}

func fouSpecs() []*Spec {
	return []*Spec{{
		Name: "fou", Family: familyLinks, Returns: "fou: port family ipproto gue local peer peer_port dev", Like: "ip fou add port PORT …",
		Doc: "Makes a UDP port whose datagrams the kernel takes the header off (foo over UDP): what gre, ipip, sit and their like with encap=\"fou\" or \"gue\" " +
			"send to. What is inside is of one protocol, or with gue=True of what the datagram says. ns.fous lists them. " +
			"It needs the kernel's module fou (of IPv6 fou6, too), which nothing loads by itself, and the machine's root.",
		Params: []Param{
			required("ns", tNetnsRef, "where"), required("port", tPort, "the UDP port"),
			keyword("ipproto", tProtocol, "", "what is inside, by number or name: ipip, gre, ipv6 … (or gue)"),
			keyword("gue", tBool, "False", "generic UDP encapsulation"),
			keyword("local", tPlainAddress, "", "only what is sent to this address"), keyword("peer", tPlainAddress, "", "only what comes from this address"),
			keyword("peer_port", tPort, "", "and from this port"), keyword("dev", tLink, "", "only what comes in by this link"),
			keyword("family", tFamily, "4, or that of local and peer", "of the datagrams"),
			keyword("exist", tBool, "False", "take the one that is there; that it differs is an error"),
		},
		Example: "a, b = netns(\"a\"), netns(\"b\")\n" +
			"veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"fou(a, 5555, ipproto=\"ipencap\")\nf = fou(b, 5555, ipproto=4)\n" +
			"ipip(\"t0\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", encap=\"fou\", encap_dport=5555, addr=\"192.168.0.1/24\", up=True)\n" +
			"ipip(\"t0\", ns=b, local=\"10.0.0.2\", remote=\"10.0.0.1\", encap=\"fou\", encap_dport=5555, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\nexpect.eq([(x.port, x.ipproto) for x in b.fous], [(5555, \"ipencap\")])\n" +
			"delete(f)\nexpect.eq(b.fous, [])\nexpect.unreachable(a, \"192.168.0.2\")",
		Fn: addFOU,
	}}
}

func addFOU(c *Call) (starlark.Value, error) {
	f := lab.FOU{Family: unix.AF_INET, Port: get(c, "port", 0), Proto: get(c, "ipproto", 0), GUE: get(c, "gue", false),
		Local: get(c, "local", netip.Addr{}), Peer: get(c, "peer", netip.Addr{}), PeerPort: get(c, "peer_port", 0), Dev: get[*lab.Link](c, "dev", nil)}
	six := get(c, "family", 0) == unix.AF_INET6
	for _, ip := range []netip.Addr{f.Local, f.Peer} {
		switch {
		case !ip.IsValid():
			continue
		case c.Given("family") && six != ip.Is6(), f.Local.IsValid() && f.Local.Is6() != ip.Is6():
			return nil, lab.Usage("leave one of them out", "fou: %v is of the other family", ip)
		}
		six = ip.Is6()
	}
	if six {
		f.Family = unix.AF_INET6
	}
	switch {
	case f.GUE && c.Given("ipproto"):
		return nil, lab.Usage("leave one of them out", "fou: ipproto and gue exclude each other")
	case !f.GUE && f.Proto == 0:
		return nil, lab.Usage("like ipproto=\"gre\", or gue=True", "fou: ipproto is missing: it is from 1 to 255")
	case f.Peer.IsValid() != c.Given("peer_port"):
		return nil, lab.Usage("", "fou: peer and peer_port go together")
	}
	made, err := get[*lab.Namespace](c, "ns", nil).AddFOU(c.Ctx, f, get(c, "exist", false))
	if err != nil {
		return nil, err
	}
	return c.Env.fou(made), nil
}
