package builtins

// kindPages are the kinds of links, in the order of the reference.
var kindPages = []kindPage{
	{"bridge", "Makes a bridge (IEEE 802.1D), a switch whose ports are the links that have it as master.",
		"sw = netns(\"sw\")\nbr0 = bridge(\"br0\", ns=sw, forward_delay=\"4s\", up=True)\n" +
			"veth(\"p1\", \"eth0\", master=br0, peer_ns=root, up=True)\nexpect.eq([p.name for p in br0.ports], [\"p1\"])\nexpect.eq(br0.forward_delay, 4.0)"},
	{"bond", "Makes a bond: links (its ports) that are used as one, which survives the loss of some. A port has to be down when it joins; the bond sets it up.",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"ports = [veth(\"p%d\" % i, \"q%d\" % i, ns=a, peer_ns=b) for i in range(2)]\n" +
			"bond0 = bond(\"bond0\", ns=a, mode=\"active-backup\", miimon=\"100ms\", ports=[p for p, q in ports], primary=ports[0][0], addr=\"10.0.0.1/24\", up=True)\n" +
			"br0 = bridge(\"br0\", ns=b, ports=[q for p, q in ports], addr=\"10.0.0.2/24\", up=True)\n" +
			"up(*[q for p, q in ports])\n" +
			"expect.reachable(a, \"10.0.0.2\")\n" +
			"expect.eventually(lambda: bond0.active_slave == ports[0][0])\n" +
			"down(ports[0][1])\n" +
			"expect.eventually(lambda: bond0.active_slave == ports[1][0])\n" +
			"expect.reachable(a, \"10.0.0.2\")\n" +
			"up(ports[0][1])\n" +
			"set_link(bond0, primary=False)\n" +
			"expect.eventually(lambda: catch(lambda: set_link(bond0, active_slave=ports[0][0])) == None)\n" +
			"expect.eq((bond0.mode, bond0.ports, bond0.active_slave, bond0.primary), (\"active-backup\", [p for p, q in ports], ports[0][0], None))"},
	{"dummy", "Makes a link that drops what is sent on it: a place for addresses and routes.",
		"d = dummy(\"dummy0\", addr=\"192.0.2.1/32\", up=True)\nexpect.reachable(root, \"192.0.2.1\")\nexpect.eq(d.kind, \"dummy\")"},
	{"ifb", "Makes an intermediate functional block: packets that are redirected to it pass its qdisc.",
		"i = ifb(\"ifb0\", up=True)\nexpect.eq(i.kind, \"ifb\")"},
	{"nlmon", "Makes a link on which captures see the netlink messages of its namespace.",
		"n = nlmon(\"nlmon0\", up=True)\n" +
			"expect.eq(n.kind, \"nlmon\")"},
	{"vlan", "Makes a link whose frames carry a VLAN tag (IEEE 802.1Q) on the parent. It is born beside the parent, or in ns.",
		"a, b = netns(\"a\"), netns(\"b\")\nla, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, up=True)\n" +
			"v = vlan(\"eth0.10\", parent=la, id=10, addr=\"10.0.10.1/24\", up=True)\n" +
			"vlan(\"eth0.10\", parent=lb, id=10, addr=\"10.0.10.2/24\", up=True)\nexpect.reachable(a, \"10.0.10.2\")\nexpect.eq((v.id, v.parent), (10, la))"},
	{"macvlan", "Makes a link with a MAC address of its own on the parent, as if it were plugged in beside it.",
		"a, b = netns(\"a\"), netns(\"b\")\np, q = veth(\"p\", \"q\", up=True)\n" +
			"macvlan(\"eth0\", parent=p, ns=a, mode=\"bridge\", addr=\"10.0.0.1/24\", up=True)\n" +
			"m = macvlan(\"eth0\", parent=p, ns=b, mode=\"bridge\", addr=\"10.0.0.2/24\", up=True)\nexpect.reachable(a, \"10.0.0.2\")\nexpect.eq(m.mode, \"bridge\")"},
	{"ipvlan", "Makes a link that shares the parent's MAC address and has IP addresses of its own.",
		"a, b = netns(\"a\"), netns(\"b\")\np, q = veth(\"p\", \"q\", up=True)\n" +
			"i = ipvlan(\"eth0\", parent=p, ns=a, mode=\"l2\", addr=\"10.0.0.1/24\", up=True)\n" +
			"ipvlan(\"eth0\", parent=p, ns=b, mode=\"l2\", addr=\"10.0.0.2/24\", up=True)\nexpect.reachable(a, \"10.0.0.2\")\nexpect.eq((i.mode, i.mac), (\"l2\", p.mac))"},
	{"vxlan", "Makes a link whose frames are carried by UDP (RFC 7348) to where the forwarding table, remote or group says.",
		"a, b = netns(\"a\"), netns(\"b\")\nla, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"vx = vxlan(\"vx0\", ns=a, id=42, remote=\"10.0.0.2\", dstport=4789, addr=\"192.168.0.1/24\", up=True)\n" +
			"vxlan(\"vx0\", ns=b, id=42, remote=\"10.0.0.1\", dstport=4789, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\nexpect.eq((vx.id, vx.remote, vx.dstport), (42, \"10.0.0.2\", 4789))"},
	{"vrf", "Makes a VRF, a set of links (its ports) whose packets are routed by a table of their own.",
		"red = vrf(\"red\", table=10, up=True)\na, b = veth(\"a\", \"b\", master=red, addr=\"10.0.0.1/24\", up=True)\n" +
			"expect.eq((red.table, a.master), (10, red))\nexpect.eq([r.dst for r in routes(root, table=10, family=4) if r.type == \"unicast\"], [\"10.0.0.0/24\"])"},
	{"geneve", "Makes a link whose frames are carried by UDP (RFC 8926) to remote.",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"g = geneve(\"gnv0\", ns=a, id=42, remote=\"10.0.0.2\", addr=\"192.168.0.1/24\", up=True)\n" +
			"geneve(\"gnv0\", ns=b, id=42, remote=\"10.0.0.1\", addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((g.id, g.remote, g.dstport), (42, \"10.0.0.2\", 6081))"},
	{"gre", "Makes a tunnel of IP packets over IPv4 (GRE, RFC 2784).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"t = gre(\"gre1\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", key=5, addr=\"192.168.0.1/24\", up=True)\n" +
			"gre(\"gre1\", ns=b, local=\"10.0.0.2\", remote=\"10.0.0.1\", key=5, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.remote, t.key, t.ttl), (\"10.0.0.2\", 5, \"inherit\"))"},
	{"gretap", "Makes a tunnel of Ethernet frames over IPv4 by GRE.",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"t = gretap(\"tap1\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", csum=True, addr=\"192.168.0.1/24\", up=True)\n" +
			"gretap(\"tap1\", ns=b, local=\"10.0.0.2\", remote=\"10.0.0.1\", csum=True, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.remote, t.csum, t.seq), (\"10.0.0.2\", True, False))"},
	{"erspan", "Makes a tunnel over IPv4 for frames that are mirrored (ERSPAN).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"t = erspan(\"ers1\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", key=5, seq=True, erspan=123, addr=\"192.168.0.1/24\", up=True)\n" +
			"erspan(\"ers1\", ns=b, local=\"10.0.0.2\", remote=\"10.0.0.1\", key=5, seq=True, erspan=123, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.erspan, t.erspan_ver, t.oseq), (123, 1, True))"},
	{"ip6gre", "Makes a tunnel of IP packets over IPv6 by GRE (RFC 7676).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"fd00::1/64\", peer_addr=\"fd00::2/64\", up=True)\n" +
			"t = ip6gre(\"gre1\", ns=a, local=\"fd00::1\", remote=\"fd00::2\", hoplimit=32, addr=\"192.168.0.1/24\", up=True)\n" +
			"ip6gre(\"gre1\", ns=b, local=\"fd00::2\", remote=\"fd00::1\", hoplimit=32, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.remote, t.hoplimit, t.encaplimit), (\"fd00::2\", 32, 4))"},
	{"ip6gretap", "Makes a tunnel of Ethernet frames over IPv6 by GRE.",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"fd00::1/64\", peer_addr=\"fd00::2/64\", up=True)\n" +
			"t = ip6gretap(\"tap1\", ns=a, local=\"fd00::1\", remote=\"fd00::2\", key=5, addr=\"192.168.0.1/24\", up=True)\n" +
			"ip6gretap(\"tap1\", ns=b, local=\"fd00::2\", remote=\"fd00::1\", key=5, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.remote, t.key), (\"fd00::2\", 5))"},
	{"ip6erspan", "Makes a tunnel over IPv6 for frames that are mirrored (ERSPAN).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"fd00::1/64\", peer_addr=\"fd00::2/64\", up=True)\n" +
			"t = ip6erspan(\"ers1\", ns=a, local=\"fd00::1\", remote=\"fd00::2\", key=5, seq=True, erspan_ver=2, erspan_hwid=7, addr=\"192.168.0.1/24\", up=True)\n" +
			"ip6erspan(\"ers1\", ns=b, local=\"fd00::2\", remote=\"fd00::1\", key=5, seq=True, erspan_ver=2, erspan_hwid=7, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.erspan_ver, t.erspan_dir, t.erspan_hwid), (2, \"ingress\", 7))"},
	{"ipip", "Makes a tunnel of IPv4 packets (or, by mode, MPLS) over IPv4 (RFC 2003).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"t = ipip(\"tun1\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", ttl=64, addr=\"192.168.0.1/24\", up=True)\n" +
			"ipip(\"tun1\", ns=b, local=\"10.0.0.2\", remote=\"10.0.0.1\", ttl=64, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.remote, t.ttl, t.mode), (\"10.0.0.2\", 64, \"any\"))"},
	{"sit", "Makes a tunnel of IPv6 packets (or, by mode, others) over IPv4 (RFC 4213).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"t = sit(\"six1\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", addr=\"fd01::1/64\", up=True)\n" +
			"sit(\"six1\", ns=b, local=\"10.0.0.2\", remote=\"10.0.0.1\", addr=\"fd01::2/64\", up=True)\n" +
			"expect.reachable(a, \"fd01::2\")\n" +
			"expect.eq((t.remote, t.pmtudisc), (\"10.0.0.2\", True))"},
	{"ip6tnl", "Makes a tunnel of IP packets over IPv6 (RFC 2473).",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"fd00::1/64\", peer_addr=\"fd00::2/64\", up=True)\n" +
			"t = ip6tnl(\"tun1\", ns=a, local=\"fd00::1\", remote=\"fd00::2\", mode=\"ipip6\", tclass=\"inherit\", addr=\"192.168.0.1/24\", up=True)\n" +
			"ip6tnl(\"tun1\", ns=b, local=\"fd00::2\", remote=\"fd00::1\", mode=\"ipip6\", tclass=\"inherit\", addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((t.remote, t.mode, t.tclass), (\"fd00::2\", \"ipip6\", \"inherit\"))"},
	{"vti", "Makes a tunnel over IPv4 whose packets are those that IPsec policies with its key choose.",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"v = vti(\"vti1\", ns=a, local=\"10.0.0.1\", remote=\"10.0.0.2\", key=5, up=True)\n" +
			"expect.eq((v.remote, v.ikey, v.okey), (\"10.0.0.2\", 5, 5))"},
	{"vti6", "Makes a tunnel over IPv6 whose packets are those that IPsec policies with its key choose.",
		"a, b = netns(\"a\"), netns(\"b\")\n" +
			"la, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"fd00::1/64\", peer_addr=\"fd00::2/64\", up=True)\n" +
			"v = vti6(\"vti1\", ns=a, local=\"fd00::1\", remote=\"fd00::2\", ikey=5, okey=6, up=True)\n" +
			"expect.eq((v.remote, v.ikey, v.okey, v.key), (\"fd00::2\", 5, 6, None))"},
	{"xfrm", "Makes a link whose packets are those that IPsec policies and states with its if_id choose.",
		"a, b = veth(\"a\", \"b\", up=True)\n" +
			"x = xfrm(\"ipsec0\", dev=a, if_id=42, up=True)\n" +
			"expect.eq((x.if_id, x.dev), (42, a))"},
}
