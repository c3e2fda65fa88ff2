package builtins

import (
	"math"
	"net/netip"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

// nextHop is a hop() value: its gateway may be a namespace or a link, whose
// address depends on the route that the hop will be of, and the links of its
// encapsulation are those of the route's namespace.
type nextHop struct {
	lab.Hop
	via   Address
	encap string
}

// in is the hop for routes of a namespace to a destination; see [Call.only] for
// like.
func (h nextHop) in(ns *lab.Namespace, like netip.Addr) (_ lab.Hop, err error) {
	if h.Via, err = h.via.only(like); err != nil || h.encap == "" {
		return h.Hop, err
	}
	h.Encap, err = ns.ParseEncap(h.encap)
	return h.Hop, err
}

func (h nextHop) encapText() starlark.Value {
	if h.Encap != nil {
		return starlark.String(h.Encap.String())
	}
	return text(h.encap)
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
		field{"via", addrText(h.via)}, field{"dev", env.link(h.Dev)}, field{"weight", starlark.MakeInt(weight)},
		field{"onlink", starlark.Bool(h.OnLink)}, field{"encap", h.encapText()}, field{"as_to", labelsText(h.NewDst)}, field{"realms", realmsText(h.Realms)}, field{"flags", strs(h.Flags())})
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
		routeSpec(),
		{
			Name: "hop", Family: familyAddrs, Returns: "hop", Like: "nexthop via GATEWAY weight N",
			Doc: "Describes one next hop of a route with several.",
			Params: []Param{keyword("via", tAddress, "", "the gateway; the route decides its family"), keyword("dev", tLink, "", "the link"),
				keyword("weight", intType("a weight", "2", 1, 256), "1", "its share, 1 to 256"), keyword("onlink", tBool, "False", "see route()"),
				keyword("encap", tEncap, "", "see route()"), keyword("as_to", tLabels, "", "see route()"), keyword("realms", tRealms, "", "see route()")},
			Example: "a, b = veth(\"a\", \"b\", addr=[\"10.0.0.1/24\", \"10.0.1.1/24\"], up=True)\n" +
				"route(root, \"192.0.2.0/24\", hops=[hop(via=\"10.0.0.2\", weight=2), hop(via=\"10.0.1.2\")])\n" +
				"expect.eq([h.weight for h in root.routes if h.hops for h in h.hops], [2, 1])",
			Fn: func(c *Call) (starlark.Value, error) {
				h := nextHop{via: get(c, "via", Address{}), encap: get(c, "encap", "")}
				h.Hop = lab.Hop{Dev: get[*lab.Link](c, "dev", nil), Weight: get(c, "weight", 1), OnLink: get(c, "onlink", false),
					NewDst: get[lab.Labels](c, "as_to", nil), Realms: get(c, "realms", uint32(0))}
				return c.Env.hop(h), nil
			},
		},
		{
			Name: "routes", Family: familyAddrs, Returns: "list of route", Like: "ip route show",
			Doc: "Lists routes, IPv4 first: those of all tables but local, unless a table is named; those of MPLS with family=\"mpls\". cache=True lists the exceptions " +
				"(redirects, path MTUs) instead.",
			Params: []Param{required("ns", tNetnsRef, "where"), keyword("table", tTable, "", "by number or name"),
				keyword("family", tRouteFamily, "", "4, 6 or \"mpls\""), keyword("type", tRouteType, "", "only these"), keyword("cache", tBool, "False", "exceptions")},
			Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nup(b)\nexpect.contains([r.dst for r in routes(root, family=4)], \"10.0.0.0/24\")\n" +
				"expect.eq([r.dst for r in routes(root, table=\"local\", type=\"broadcast\", family=4)], [\"10.0.0.255\", \"127.255.255.255\"])",
			Fn: func(c *Call) (starlark.Value, error) {
				list, err := get[*lab.Namespace](c, "ns", nil).Routes(lab.RouteFilter{Table: get(c, "table", 0),
					Family: get(c, "family", 0), Type: get(c, "type", 0), Cache: get(c, "cache", false)})
				return recordRows(c.Env, list, c.Env.route), err
			},
		},
		{
			Name: "route_get", Family: familyAddrs, Returns: "route", Like: "ip route get DST",
			Doc: "Asks the kernel which route a packet would take. That there is none is an error with the kernel's words.",
			Params: []Param{required("ns", tNetnsRef, "where"), required("dst", tAddress, "where to"),
				keyword("src", tAddress, "", "the packet's source"), keyword("dev", tLink, "", "it must leave by"), keyword("vrf", tLink, "", "its socket is bound to this VRF"), keyword("iif", tLink, "", "it came in by"),
				keyword("mark", tUint32, "", "its mark"), keyword("tos", tByte, "", "its type of service"), keyword("uid", tUint32, "", "its sender's user"),
				keyword("ipproto", tProtocol, "", "tcp, udp …"), keyword("sport", tUint16, "", "source port"), keyword("dport", tUint16, "", "destination port"),
				keyword("fibmatch", tBool, "False", "the route as it is in the table, not as the packet would have it")},
			Example: "up(root[\"lo\"])\nexpect.eq(route_get(root, \"127.0.0.1\").dev, root[\"lo\"])",
			Fn:      routeGet,
		},
	}
}

// gateways are a route's destination and its gateways: all of one family, that of
// the destination, or for "default" that of the first gateway.
func (c *Call) gateways(ns *lab.Namespace) (dst netip.Prefix, via netip.Addr, hops []lab.Hop, err error) {
	dst = get(c, "dst", routeDst{}).prefix
	like := dst.Addr()
	if dst.Bits() == 0 && like.Is4() {
		like = netip.Addr{}
	}
	if via, err = c.only("via", like); err != nil {
		return dst, via, nil, err
	}
	for _, h := range get[[]nextHop](c, "hops", nil) {
		hop, err := h.in(ns, like)
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
	if c.Given("vrf") {
		if dev, err = c.vrf(ns); err != nil {
			return nil, err
		}
	}
	iif, err := c.linkIn("iif", ns)
	if err != nil {
		return nil, err
	}
	q := lab.RouteQuery{Dst: dst, Src: src, Dev: dev, IIF: iif,
		Mark: get(c, "mark", 0), TOS: get(c, "tos", 0), UID: get(c, "uid", -1), Proto: get(c, "ipproto", 0),
		SPort: get(c, "sport", 0), DPort: get(c, "dport", 0), FIBMatch: get(c, "fibmatch", false)}
	r, err := ns.RouteGet(c.Ctx, q)
	if err != nil {
		return nil, err
	}
	return c.Env.route(r), nil
}

// vrf is the VRF that a packet's socket is bound to.
func (c *Call) vrf(ns *lab.Namespace) (*lab.Link, error) {
	if c.Given("dev") {
		return nil, lab.Usage("", "%s takes dev= or vrf=, not both", c.spec.Name)
	}
	k, err := c.linkIn("vrf", ns)
	if err != nil {
		return nil, err
	}
	info, err := k.Info()
	if err == nil && info.Kind != "vrf" {
		err = lab.Usage("", "%s: vrf: %s is no VRF", c.spec.Name, k)
	}
	return k, err
}
