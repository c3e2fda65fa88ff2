package builtins

import (
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func (env *Env) route(r *lab.Route) *Record {
	var hops []starlark.Value
	for i := range r.Hops {
		hops = append(hops, env.hop(nextHop{r.Hops[i], Address{ip: r.Hops[i].Via}}))
	}
	return record("route", r.String(), r,
		field{"dst", starlark.String(r.DstString())}, field{"via", addrText(r.Via)}, field{"dev", env.link(r.Dev)},
		field{"metric", number(r.Metric)}, field{"table", starlark.MakeInt(r.Table)}, field{"type", starlark.String(r.TypeName())},
		field{"proto", starlark.String(r.ProtoName())}, field{"scope", starlark.String(lab.ScopeName(r.Scope))},
		field{"src", addrText(r.Src)}, field{"mtu", number(r.MTU)}, field{"advmss", number(r.AdvMSS)},
		field{"onlink", starlark.Bool(r.OnLink)}, field{"hops", starlark.NewList(hops)}, field{"tos", number(r.TOS)},
		field{"nhid", number(r.Nexthop)}, field{"locked", strs(r.LockedNames())})
}

// nextHop is a hop() value: its gateway may be a namespace or a link, whose
// address depends on the route that the hop will be of.
type nextHop struct {
	lab.Hop
	via Address
}

// in is the hop for routes to a destination; see [Call.only] for like.
func (h nextHop) in(like netip.Addr) (lab.Hop, error) {
	via, err := h.via.only(like)
	h.Via = via
	return h.Hop, err
}

func (env *Env) hop(h nextHop) *Record {
	words := "nexthop"
	if h.via.IsValid() {
		words += " via " + h.via.String()
	}
	if h.Dev != nil {
		words += " dev " + h.Dev.Name()
	}
	weight := max(h.Weight, 1)
	return record("hop", words+" weight "+itoa(weight), h,
		field{"via", addrText(h.via)}, field{"dev", env.link(h.Dev)}, field{"weight", starlark.MakeInt(weight)})
}

func (env *Env) routeRows(routes []*lab.Route) *starlark.List {
	var items []starlark.Value
	for _, r := range routes {
		items = append(items, env.route(r))
	}
	return env.lineRows(items)
}

func (env *Env) ruleRows(rules []*lab.Rule) *starlark.List {
	var items []starlark.Value
	for _, r := range rules {
		items = append(items, env.rule(r))
	}
	return env.lineRows(items)
}

func (env *Env) neighborRows(list []*lab.Neighbor) *starlark.List {
	var items []starlark.Value
	for _, n := range list {
		items = append(items, env.neighbor(n))
	}
	return env.lineRows(items)
}

func prefixText(p netip.Prefix) starlark.Value {
	if !p.IsValid() {
		return starlark.None
	}
	return starlark.String(p.String())
}

func portsText(p lab.Ports) starlark.Value {
	if p.First == 0 {
		return starlark.None
	}
	return starlark.String(p.String())
}

func (env *Env) rule(r *lab.Rule) *Record {
	mark, uids, suppress, proto := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if r.HasMark {
		mark = starlark.MakeUint64(uint64(r.Mark))
	}
	if r.UIDs != nil {
		uids = starlark.String(strconv.Itoa(int(r.UIDs[0])) + "-" + strconv.Itoa(int(r.UIDs[1])))
	}
	if r.Suppress >= 0 {
		suppress = starlark.MakeInt(r.Suppress)
	}
	if r.Proto != 0 {
		proto = starlark.String(lab.ProtocolName(r.Proto))
	}
	family := "inet"
	if r.Family == unix.AF_INET6 {
		family = "inet6"
	}
	return record("rule", r.String(), r,
		field{"priority", starlark.MakeInt(r.Priority)}, field{"src", prefixText(r.Src)}, field{"dst", prefixText(r.Dst)},
		field{"iif", text(r.IIF)}, field{"oif", text(r.OIF)}, field{"mark", mark}, field{"tos", number(r.TOS)},
		field{"ipproto", proto}, field{"sport", portsText(r.SPort)}, field{"dport", portsText(r.DPort)}, field{"uidrange", uids},
		field{"invert", starlark.Bool(r.Invert)}, field{"action", starlark.String(r.ActionName())}, field{"table", number(r.Table)},
		field{"goto", number(r.Goto)}, field{"suppress_prefixlength", suppress}, field{"family", starlark.String(family)})
}

func (env *Env) neighbor(n *lab.Neighbor) *Record {
	return record("neighbor", n.String(), n,
		field{"ip", starlark.String(n.IP.String())}, field{"mac", text(n.MAC.String())}, field{"dev", env.link(n.Dev)},
		field{"state", text(n.StateName())}, field{"proxy", starlark.Bool(n.Proxy)}, field{"router", starlark.Bool(n.Router)})
}

// tHops is a list of hop() values.
var tHops = &Type{Name: "a list of hop()", Good: `[hop(via="10.0.0.1"), hop(via="10.0.1.1")]`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	seq, ok := v.(starlark.Sequence)
	if !ok {
		return nil, errType
	}
	var hops []nextHop
	for i := range starlark.Elements(seq) {
		r, ok := i.(*Record)
		if !ok {
			return nil, errType
		}
		h, ok := r.object.(nextHop)
		if !ok {
			return nil, errType
		}
		hops = append(hops, h)
	}
	return hops, nil
}}

func routeSpecs() []*Spec {
	return []*Spec{
		{
			Name: "route", Family: familyAddrs, Returns: "route", Like: "ip route add DST via GATEWAY",
			Doc: "Makes a route. dst is a subnet, an address, or \"default\" (of IPv6 when the gateway is, or \"::/0\"). " +
				"A gateway that is given as a namespace or link must have exactly one global address of the destination's family " +
				"(for \"default\": of IPv4, or of IPv6 if it has none of IPv4). " +
				"Types beside unicast are local, broadcast, anycast, multicast, blackhole, unreachable, prohibit and throw.",
			Params: []Param{
				required("ns", tNetnsRef, "where"), required("dst", tDst, "where to"),
				keyword("via", tAddress, "", "the gateway"), keyword("dev", tLink, "", "the link to send by"),
				keyword("metric", tUint32, "", "the least wins"), keyword("table", tTable, "\"main\"", "by number or name"),
				keyword("type", tRouteType, "\"unicast\"", "what happens to packets"), keyword("scope", tScope, "", "as `ip` chooses unless given"),
				keyword("src", tAddress, "", "the source address that is preferred"), keyword("mtu", tMTU, "", "of the path, in bytes"),
				keyword("advmss", tUint16, "", "the segment size to announce, in bytes"),
				keyword("onlink", tBool, "False", "the gateway is on the link although no subnet says so"),
				keyword("hops", tHops, "", "several next hops (ECMP), made by hop()"),
				keyword("nhid", tNexthop, "", "the nexthop object to go by, or its id, instead of via=, dev= and hops="),
				keyword("replace", tBool, "False", "take the place of one that is there"),
			},
			Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nr = route(root, \"192.0.2.0/24\", via=\"10.0.0.2\")\n" +
				"expect.eq((r.dst, r.via, r.dev), (\"192.0.2.0/24\", \"10.0.0.2\", a))\nexpect.eq(route_get(root, \"192.0.2.7\").dev, a)\ndelete(r)",
			Fn: addRoute,
		},
		{
			Name: "hop", Family: familyAddrs, Returns: "hop", Like: "nexthop via GATEWAY weight N",
			Doc: "Describes one next hop of a route with several.",
			Params: []Param{keyword("via", tAddress, "", "the gateway; the route decides its family"), keyword("dev", tLink, "", "the link"),
				keyword("weight", intType("a weight", "2", 1, 256), "1", "its share, 1 to 256"), keyword("onlink", tBool, "False", "see route()")},
			Example: "a, b = veth(\"a\", \"b\", addr=[\"10.0.0.1/24\", \"10.0.1.1/24\"], up=True)\n" +
				"route(root, \"192.0.2.0/24\", hops=[hop(via=\"10.0.0.2\", weight=2), hop(via=\"10.0.1.2\")])\n" +
				"expect.eq([h.weight for h in root.routes if h.hops for h in h.hops], [2, 1])",
			Fn: func(c *Call) (starlark.Value, error) {
				h := nextHop{via: get(c, "via", Address{})}
				h.Hop = lab.Hop{Dev: get[*lab.Link](c, "dev", nil), Weight: get(c, "weight", 1), OnLink: get(c, "onlink", false)}
				return c.Env.hop(h), nil
			},
		},
		{
			Name: "routes", Family: familyAddrs, Returns: "list of route", Like: "ip route show",
			Doc: "Lists routes, IPv4 first: those of all tables but local, unless a table is named. cache=True lists the exceptions " +
				"(redirects, path MTUs) instead.",
			Params: []Param{required("ns", tNetnsRef, "where"), keyword("table", tTable, "", "by number or name"),
				keyword("family", tFamily, "", "4 or 6"), keyword("type", tRouteType, "", "only these"), keyword("cache", tBool, "False", "exceptions")},
			Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nup(b)\nexpect.contains([r.dst for r in routes(root, family=4)], \"10.0.0.0/24\")\n" +
				"expect.eq([r.dst for r in routes(root, table=\"local\", type=\"broadcast\", family=4)], [\"10.0.0.255\", \"127.255.255.255\"])",
			Fn: func(c *Call) (starlark.Value, error) {
				list, err := get[*lab.Namespace](c, "ns", nil).Routes(lab.RouteFilter{Table: get(c, "table", 0),
					Family: get(c, "family", 0), Type: get(c, "type", 0), Cache: get(c, "cache", false)})
				return c.Env.routeRows(list), err
			},
		},
		{
			Name: "route_get", Family: familyAddrs, Returns: "route", Like: "ip route get DST",
			Doc: "Asks the kernel which route a packet would take. That there is none is an error with the kernel's words.",
			Params: []Param{required("ns", tNetnsRef, "where"), required("dst", tAddress, "where to"),
				keyword("src", tAddress, "", "the packet's source"), keyword("dev", tLink, "", "it must leave by"), keyword("iif", tLink, "", "it came in by"),
				keyword("mark", tUint32, "", "its mark"), keyword("tos", tByte, "", "its type of service"), keyword("uid", tUint32, "", "its sender's user"),
				keyword("ipproto", tProtocol, "", "tcp, udp …"), keyword("sport", tUint16, "", "source port"), keyword("dport", tUint16, "", "destination port")},
			Example: "up(root[\"lo\"])\nexpect.eq(route_get(root, \"127.0.0.1\").dev, root[\"lo\"])",
			Fn:      routeGet,
		},
		{
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
		},
	}
}

func addRoute(c *Call) (starlark.Value, error) {
	if c.Given("hops") && (c.Given("via") || c.Given("dev")) {
		return nil, lab.Usage("", "route takes hops=, or via= and dev=, not both")
	}
	if c.Given("nhid") && (c.Given("via") || c.Given("dev") || c.Given("hops") || c.Given("onlink")) {
		return nil, lab.Usage("the nexthop object has them", "route takes nhid=, or via=, dev=, onlink= and hops=, not both")
	}
	dst, via, hops, err := c.gateways()
	if err != nil {
		return nil, err
	}
	src, err := c.only("src", dst.Addr())
	if err != nil {
		return nil, err
	}
	r := lab.Route{Dst: dst, Via: via, Dev: get[*lab.Link](c, "dev", nil), Src: src, Metric: get(c, "metric", 0),
		Table: get(c, "table", 0), Type: get(c, "type", 0), Scope: get(c, "scope", -1), MTU: get(c, "mtu", 0),
		AdvMSS: get(c, "advmss", 0), OnLink: get(c, "onlink", false), Hops: hops,
		Nexthop: get(c, "nhid", 0)}
	unicast := r.Type == 0 || r.Type == unix.RTN_UNICAST
	if unicast && !via.IsValid() && r.Dev == nil && len(hops) == 0 && r.Nexthop == 0 {
		return nil, lab.Usage(`say via="10.0.0.1", dev=, hops=[…], or type="blackhole"`, "route to %s leads nowhere", r.DstString())
	}
	made, err := get[*lab.Namespace](c, "ns", nil).AddRoute(c.Ctx, r, get(c, "replace", false))
	if err != nil {
		return nil, err
	}
	return c.Env.route(made), nil
}

// gateways are a route's destination and its gateways: all of one family, that of
// the destination, or for "default" that of the first gateway.
func (c *Call) gateways() (dst netip.Prefix, via netip.Addr, hops []lab.Hop, err error) {
	dst = get(c, "dst", netip.Prefix{})
	like := dst.Addr()
	if dst.Bits() == 0 && like.Is4() {
		like = netip.Addr{}
	}
	if via, err = c.only("via", like); err != nil {
		return dst, via, nil, err
	}
	for _, h := range get[[]nextHop](c, "hops", nil) {
		hop, err := h.in(like)
		if err != nil {
			return dst, via, nil, err
		}
		if hops = append(hops, hop); !like.IsValid() {
			like = hop.Via
		}
	}
	if most := mostHops(hops); len(hops) > most {
		return dst, via, nil, lab.Usage("", "route: %d hops are too many: a message to the kernel has room for %d", len(hops), most)
	}
	if dst.Bits() == 0 && (via.Is6() || len(hops) > 0 && hops[0].Via.Is6()) {
		dst = netip.PrefixFrom(netip.IPv6Unspecified(), 0)
	}
	return dst, via, hops, nil
}

// mostHops is how many next hops the attribute RTA_MULTIPATH has room for, whose
// length has 16 bits: each a struct rtnexthop and its gateway.
func mostHops(hops []lab.Hop) int {
	gateway := 0
	for _, h := range hops {
		if h.Via.IsValid() {
			gateway = max(gateway, unix.SizeofRtAttr+h.Via.BitLen()/8)
		}
	}
	return (math.MaxUint16 - unix.SizeofRtAttr) / (unix.SizeofRtNexthop + gateway)
}

func routeGet(c *Call) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	dst, err := c.destination(get(c, "dst", Address{}), ns, 0)
	if err != nil {
		return nil, err
	}
	src, err := c.only("src", dst)
	if err != nil {
		return nil, err
	}
	dev, err := c.linkIn("dev", ns)
	if err != nil {
		return nil, err
	}
	iif, err := c.linkIn("iif", ns)
	if err != nil {
		return nil, err
	}
	q := lab.RouteQuery{Dst: dst, Src: src, Dev: dev, IIF: iif,
		Mark: get(c, "mark", 0), TOS: get(c, "tos", 0), UID: get(c, "uid", -1), Proto: get(c, "ipproto", 0),
		SPort: get(c, "sport", 0), DPort: get(c, "dport", 0)}
	r, err := ns.RouteGet(c.Ctx, q)
	if err != nil {
		return nil, err
	}
	return c.Env.route(r), nil
}

// tMark is a mark, or a mark and a mask.
var tMark = &Type{Name: "a mark, or mark/mask", Good: `"0x10/0xff"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	mark, mask, masked := strings.Cut(strings.Trim(v.String(), `"`), "/")
	m, err := strconv.ParseUint(mark, 0, 32)
	k := uint64(0)
	if err == nil && masked {
		k, err = strconv.ParseUint(mask, 0, 32)
	}
	if err != nil {
		return nil, errType
	}
	return [2]uint32{uint32(m), uint32(k)}, nil
}}

func ruleSpecs() []*Spec {
	return []*Spec{{
		Name: "rule", Family: familyAddrs, Returns: "rule", Like: "ip rule add from SRC lookup TABLE",
		Doc: "Makes a rule of the routing policy: packets that all selectors match use the table (or meet the action). " +
			"The priority is one less than the lowest that is there unless given, as the kernel has it.",
		Params: []Param{
			required("ns", tNetnsRef, "where"), keyword("priority", tPriority, "", "the least comes first"),
			keyword("src", tDst, "", "the source's subnet"), keyword("dst", tDst, "", "the destination's subnet"),
			keyword("iif", tWord, "", "came in by this link"), keyword("oif", tWord, "", "the socket is bound to this link"),
			keyword("mark", tMark, "", "mark, or \"mark/mask\""), keyword("tos", tByte, "", "type of service"),
			keyword("ipproto", tProtocol, "", "tcp, udp …"), keyword("sport", tPorts, "", "source ports"), keyword("dport", tPorts, "", "destination ports"),
			keyword("uidrange", tUIDs, "", "users, like \"1000-1999\""), keyword("invert", tBool, "False", "match the others"),
			keyword("table", tTable, "\"main\"", "which table to use"), keyword("action", tAction, "\"lookup\"", "blackhole, unreachable, prohibit …"),
			keyword("suppress_prefixlength", intType("a prefix length", "0", 0, 128), "", "ignore routes with at most this prefix length"),
			keyword("goto", tUint32, "", "go on with the rule of this priority"), keyword("family", tFamily, "4", "4 or 6"),
		},
		Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nroute(root, \"default\", via=\"10.0.0.2\", table=100)\n" +
			"r = rule(root, src=\"10.9.0.0/16\", table=100, priority=1000)\nexpect.eq(r.table, 100)\ndelete(r)",
		Fn: addRule,
	}}
}

// linkWord is a link of a rule: its name, which need not exist yet, and the link
// if that was given.
type linkWord struct {
	name string
	link *lab.Link
}

// tWord is a link or its name.
var tWord = &Type{Name: "a link or its name", Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Link:
		return linkWord{v.link.Name(), v.link}, nil
	case starlark.String:
		return linkWord{name: string(v)}, nil
	}
	return nil, errType
}}

// word is the name of a link given by a parameter; a link has to be in the
// namespace that the rule is for.
func (c *Call) word(param string, ns *lab.Namespace) (string, error) {
	w := get(c, param, linkWord{})
	if w.link == nil {
		return w.name, nil
	}
	return w.name, w.link.In(ns, param)
}

var tUIDs = &Type{Name: "a range of users", Good: `"1000-1999"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	first, last, ranged := strings.Cut(strings.Trim(v.String(), `"`), "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 32)
	b, err2 := strconv.ParseUint(last, 10, 32)
	if err1 != nil || err2 != nil || b < a {
		return nil, errType
	}
	return [2]uint32{uint32(a), uint32(b)}, nil
}}

func addRule(c *Call) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	iif, err := c.word("iif", ns)
	if err != nil {
		return nil, err
	}
	oif, err := c.word("oif", ns)
	if err != nil {
		return nil, err
	}
	r := lab.Rule{Priority: get(c, "priority", -1), Src: get(c, "src", netip.Prefix{}), Dst: get(c, "dst", netip.Prefix{}),
		IIF: iif, OIF: oif, TOS: get(c, "tos", 0), Proto: get(c, "ipproto", 0),
		SPort: get(c, "sport", lab.Ports{}), DPort: get(c, "dport", lab.Ports{}), UIDs: pointer[[2]uint32](c, "uidrange"),
		Invert: get(c, "invert", false), Action: get(c, "action", 0), Table: get(c, "table", 0),
		Goto: get(c, "goto", 0), Suppress: get(c, "suppress_prefixlength", -1), Family: get(c, "family", 0)}
	if m := pointer[[2]uint32](c, "mark"); m != nil {
		r.HasMark, r.Mark, r.Mask = true, m[0], m[1]
	}
	if r.Goto != 0 {
		r.Action = unix.FR_ACT_GOTO
	}
	if r.Family == 0 {
		r.Family = unix.AF_INET
		if r.Src.IsValid() && r.Src.Addr().Is6() || r.Dst.IsValid() && r.Dst.Addr().Is6() {
			r.Family = unix.AF_INET6
		}
	}
	made, err := ns.AddRule(c.Ctx, r)
	if err != nil {
		return nil, err
	}
	return c.Env.rule(made), nil
}
