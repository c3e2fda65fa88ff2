package builtins

import (
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func (env *Env) route(r *lab.Route) *Record {
	var hops []starlark.Value
	for i := range r.Hops {
		hops = append(hops, env.hop(nextHop{Hop: r.Hops[i], via: Address{ip: r.Hops[i].Via}}))
	}
	scope, expires, propagate := text(lab.ScopeName(r.Scope)), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if r.Expires != 0 {
		expires = seconds(r.Expires)
	}
	if r.TTLPropagate != nil {
		propagate = starlark.Bool(*r.TTLPropagate)
	}
	fields := []field{
		{"dst", starlark.String(r.DstString())}, {"via", addrText(r.Via)}, {"dev", env.link(r.Dev)},
		{"metric", number(r.Metric)}, {"table", starlark.MakeInt(r.Table)}, {"type", starlark.String(r.TypeName())},
		{"proto", starlark.String(r.ProtoName())}, {"scope", scope},
		{"src", addrText(r.Src)}, {"src_prefix", text(r.FromString())}, {"onlink", starlark.Bool(r.OnLink)},
		{"hops", starlark.NewList(hops)}, {"tos", number(r.TOS)}, {"nhid", number(r.Nexthop)}, {"encap", encapText(r.Encap)},
		{"as_to", labelsText(r.NewDst)}, {"ttl_propagate", propagate}, {"realms", realmsText(r.Realms)}, {"pref", text(r.Pref)},
		{"expires", expires}, {"locked", strs(r.Metrics.Locked())}, {"congctl", text(r.Metrics.CongCtl)},
		{"features", map[bool]starlark.Value{true: starlark.String("ecn"), false: starlark.None}[r.Metrics.ECN]},
		{"redirected", starlark.Bool(r.Redirected)}, {"flags", strs(r.Flags())},
	}
	for _, m := range lab.Metrics() {
		fields = append(fields, field{m.Name, metricValue(m, r.Metrics.Get(m))})
	}
	return record("route", r.String(), r, fields...)
}

// metricValue is a metric as scripts read it: a time in seconds.
func metricValue(m lab.Metric, n int) starlark.Value {
	switch {
	case m.Bool:
		return starlark.Bool(n != 0)
	case m.Units > 0 && n != 0:
		return seconds(time.Duration(n) * time.Millisecond)
	}
	return number(n)
}

func encapText(e *lab.Encap) starlark.Value {
	if e == nil {
		return starlark.None
	}
	return starlark.String(e.String())
}

func labelsText(l lab.Labels) starlark.Value { return text(l.String()) }

func realmsText(realms uint32) starlark.Value {
	if realms == 0 {
		return starlark.None
	}
	return starlark.String(lab.RealmsWords(realms))
}

// routeDst is where a route leads to: a subnet, or an MPLS label.
type routeDst struct {
	prefix netip.Prefix
	label  lab.Labels
}

var tRouteDst = &Type{Name: "a subnet, \"default\", or an MPLS label", Good: `"10.0.0.0/8"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if _, ok := v.(starlark.Int); ok {
		label, err := tLabel.Convert(c, v)
		if err != nil {
			return nil, err
		}
		return routeDst{label: lab.Labels{label.(int)}}, nil
	}
	p, err := tDst.Convert(c, v)
	if err != nil {
		return nil, err
	}
	return routeDst{prefix: p.(netip.Prefix)}, nil
}}

// tLabel is a label that a route may have: those below are reserved (RFC 3032).
var tLabel = intType("an MPLS label", "100", 16, 1<<20-1)

// tLabels are MPLS labels that go on a packet.
var tLabels = &Type{Name: "an MPLS label, or several like \"100/200\"", Good: "200", Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v.(type) {
	case starlark.Int, starlark.String:
		return lab.ParseLabels(word(v))
	}
	return nil, errType
}}

var tRealms = &Type{Name: "realms, \"FROM/TO\" or that of the destination", Good: `"10/20"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v.(type) {
	case starlark.Int, starlark.String:
		return lab.ParseRealms(word(v))
	}
	return nil, errType
}}

// tEncap is an encapsulation in the words of `ip route`. Its links are found when
// it is known in which namespace the route is.
var tEncap = nameType("an encapsulation in the words of `ip route`", `"seg6 mode encap segs fc00::1"`)

// oneOf is one of some words, checked at once.
func oneOf(words ...string) *Type {
	return &Type{Name: "one of " + strings.Join(words, ", "), Good: `"` + words[0] + `"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
		s, ok := starlark.AsString(v)
		if !ok {
			return nil, errType
		}
		if !slices.Contains(words, s) {
			hint := ""
			if near := lab.Nearest(s, words); near != "" {
				hint = "did you mean " + near + "?"
			}
			return nil, lab.Usage(hint, "there is no %q: they are %s", s, strings.Join(words, ", "))
		}
		return s, nil
	}}
}

// metricType is what a script gives for a metric: a time needs a unit, since the
// kernel's is not the second.
func metricType(m lab.Metric) *Type {
	switch {
	case m.Bool:
		return tBool
	case m.Units == 0:
		return intType("a whole number", "", int64(m.Min), int64(m.Max))
	}
	return &Type{Name: tUnitDuration.Name, Good: `"200ms"`, Convert: func(c *Call, v starlark.Value) (any, error) {
		d, err := tUnitDuration.Convert(c, v)
		if err != nil {
			return nil, err
		}
		return m.Milliseconds(d.(time.Duration))
	}}
}

// tExpires is a time in whole seconds.
var tExpires = &Type{Name: "a time in whole seconds, or with a unit", Good: `"60s"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	d, err := toDuration(v)
	if err == nil && (d < time.Second || d%time.Second != 0 || d > math.MaxInt32*time.Second) {
		return nil, lab.Usage("", "%v is out of range: it is of whole seconds, from 1 to %d", v, math.MaxInt32)
	}
	return d, err
}}

func routeSpec() *Spec {
	params := []Param{
		required("ns", tNetnsRef, "where"), required("dst", tRouteDst, "where to"),
		keyword("via", tAddress, "", "the gateway"), keyword("dev", tLink, "", "the link to send by"),
		keyword("metric", tUint32, "", "the least wins"), keyword("table", tTable, "\"main\"", "by number or name, or a VRF's"),
		keyword("type", tRouteType, "\"unicast\"", "what happens to packets"), keyword("scope", tScope, "", "as `ip` chooses unless given"),
		keyword("proto", tRouteProto, "\"boot\"", "who made it, by number or name"),
		keyword("src", tAddress, "", "the source address that is preferred"),
		keyword("src_prefix", tDst, "", "only packets from this subnet (IPv6; `ip`'s from)"),
		keyword("tos", tByte, "", "only packets with this type of service (IPv4)"),
		keyword("onlink", tBool, "False", "the gateway is on the link although no subnet says so"),
		keyword("hops", tHops, "", "several next hops (ECMP), made by hop()"),
		keyword("nhid", tNexthop, "", "the nexthop object to go by, or its id, instead of via=, dev= and hops="),
		keyword("encap", tEncap, "", "what goes around packets, in the words of `ip route`"),
		keyword("as_to", tLabels, "", "the labels that go in the place of an MPLS label; without, it is popped"),
		keyword("ttl_propagate", tBool, "", "of an MPLS route: the time to live goes from one header to the other"),
		keyword("realms", tRealms, "", "\"FROM/TO\", or that of the destination (IPv4)"),
		keyword("pref", oneOf("low", "medium", "high"), "\"medium\"", "of the router (IPv6, RFC 4191)"),
		keyword("expires", tExpires, "", "when it ends (IPv6), in whole seconds"),
		keyword("features", oneOf("ecn"), "", "\"ecn\": explicit congestion notification"),
		keyword("congctl", tString, "", "the congestion control of connections, like \"reno\""),
	}
	for _, m := range lab.Metrics() {
		params = append(params, keyword(m.Name, metricType(m), "", m.Doc))
	}
	params = append(params,
		keyword("lock", listOf(oneOf(lab.LockableMetrics()...), "a list of metrics"), "", "the metrics that path MTU discovery and TCP leave as they are"),
		keyword("replace", tBool, "False", "take the place of one that is there"),
		keyword("change", tBool, "False", "take the place of one that has to be there"),
		keyword("append", tBool, "False", "come after one that is there"), keyword("prepend", tBool, "False", "come before one that is there"),
		keyword("exist", tBool, "False", "take the one that is there if it has these properties"))
	return &Spec{
		Name: "route", Family: familyAddrs, Returns: "route", Like: "ip route add DST via GATEWAY",
		Doc: "Makes a route. dst is a subnet, an address, or \"default\" (of IPv6 when the gateway is, or \"::/0\"); a number is an MPLS label. " +
			"A gateway that is given as a namespace or link must have exactly one global address of the destination's family " +
			"(for \"default\": of IPv4, or of IPv6 if it has none of IPv4). " +
			"Types beside unicast are local, broadcast, anycast, multicast, blackhole, unreachable, prohibit and throw. " +
			"encap is mpls, ip, ip6, ila, seg6, seg6local, bpf, rpl, ioam6 or xfrm with what ip-route(8) has after it; " +
			"the files of programs are relative to the working directory, and may have maps, variables and functions; " +
			"what more libbpf can (CO-RE, pinned maps, functions of the kernel's) takes pinned FILE.",
		Params: params,
		Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nr = route(root, \"192.0.2.0/24\", via=\"10.0.0.2\", mtu=1400, lock=[\"mtu\"])\n" +
			"expect.eq((r.dst, r.via, r.dev, r.mtu, r.locked), (\"192.0.2.0/24\", \"10.0.0.2\", a, 1400, [\"mtu\"]))\n" +
			"expect.eq(route_get(root, \"192.0.2.7\").dev, a)\ndelete(r)\n" +
			"route(root, \"2001:db8::/32\", dev=a, encap=\"seg6 mode encap segs fc00::1,fc00::2\")",
		Fn: addRoute,
	}
}

// howToMake is what replace=, change=, append=, prepend= and exist= say, of which
// a builtin may have some.
func (c *Call) howToMake() (lab.Make, error) {
	how, given := lab.Add, ""
	for _, way := range []struct {
		name string
		how  lab.Make
	}{{"replace", lab.Replace}, {"change", lab.Change}, {"append", lab.Append}, {"prepend", lab.Prepend}, {"exist", lab.Exist}} {
		if c.index(way.name) < 0 || !get(c, way.name, false) {
			continue
		}
		if given != "" {
			return 0, lab.Usage("", "%s takes %s= or %s=, not both", c.spec.Name, given, way.name)
		}
		how, given = way.how, way.name
	}
	return how, nil
}

func addRoute(c *Call) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	how, err := c.howToMake()
	if err != nil {
		return nil, err
	}
	r, err := c.routeTo(ns)
	if err != nil {
		return nil, err
	}
	made, err := ns.AddRoute(c.Ctx, *r, how)
	if err != nil {
		return nil, err
	}
	return c.Env.route(made), nil
}

// routeTo is the route that the arguments describe.
func (c *Call) routeTo(ns *lab.Namespace) (*lab.Route, error) {
	one := c.Given("via") || c.Given("dev")
	switch {
	case c.Given("hops") && (one || c.Given("encap")):
		return nil, lab.Usage("a hop() has its own", "route takes hops=, or via=, dev= and encap=, not both")
	case c.Given("nhid") && (one || c.Given("hops") || c.Given("onlink") || c.Given("encap")):
		return nil, lab.Usage("the nexthop object has them", "route takes nhid=, or via=, dev=, onlink=, encap= and hops=, not both")
	}
	dst, via, hops, err := c.gateways(ns)
	if err != nil {
		return nil, err
	}
	src, err := c.only("src", dst.Addr())
	if err != nil {
		return nil, err
	}
	r := &lab.Route{Dst: dst, Label: get(c, "dst", routeDst{}).label, Via: via, Dev: get[*lab.Link](c, "dev", nil), Src: src, From: get(c, "src_prefix", netip.Prefix{}), Metric: get(c, "metric", 0),
		Table: get(c, "table", 0), Type: get(c, "type", 0), Scope: get(c, "scope", -1), Proto: get(c, "proto", 0), TOS: get(c, "tos", 0),
		OnLink: get(c, "onlink", false), Hops: hops, Nexthop: get(c, "nhid", 0),
		NewDst: get[lab.Labels](c, "as_to", nil), TTLPropagate: pointer[bool](c, "ttl_propagate"), Realms: get(c, "realms", uint32(0)),
		Pref: get(c, "pref", ""), Expires: get(c, "expires", time.Duration(0))}
	unicast := r.Type == 0 || r.Type == unix.RTN_UNICAST
	if unicast && !one && len(hops) == 0 && r.Nexthop == 0 {
		return nil, lab.Usage(`say via="10.0.0.1", dev=, hops=[…], or type="blackhole"`, "route to %s leads nowhere", r.DstString())
	}
	c.pathMetrics(&r.Metrics)
	if text := get(c, "encap", ""); text != "" {
		if r.Encap, err = ns.ParseEncap(text); err != nil {
			return nil, err
		}
	}
	return r, nil
}

// pathMetrics sets the metrics that were given.
func (c *Call) pathMetrics(p *lab.PathMetrics) {
	for _, m := range lab.Metrics() {
		switch v := c.values[c.at(m.Name)].(type) {
		case int:
			p.Set(m, v)
		case bool:
			if v {
				p.Set(m, 1)
			}
		}
	}
	p.CongCtl, p.ECN = get(c, "congctl", ""), c.Given("features")
	for _, name := range get[[]any](c, "lock", nil) {
		p.Lock(name.(string))
	}
}
