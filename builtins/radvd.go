package builtins

import (
	"fmt"
	"net/netip"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// Radvd is a router advertisement daemon on a link. It is live.
type Radvd struct {
	link       *lab.Link
	advertiser *probe.Advertiser
	env        *Env
}

func (r *Radvd) String() string {
	state := "stopped"
	if r.advertiser.Running() {
		state = "running"
	}
	return fmt.Sprintf("radvd on %s, %s", r.link, state)
}

// Type is what type() says.
func (r *Radvd) Type() string { return "radvd" }

// Freeze does nothing.
func (r *Radvd) Freeze() {}

// Truth is True.
func (r *Radvd) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (r *Radvd) Hash() (uint32, error) { return hashPointer(r.advertiser) }

// CompareSameType: one daemon, one value.
func (r *Radvd) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, r.advertiser == y.(*Radvd).advertiser, "radvd")
}

// AttrNames lists the attributes.
func (r *Radvd) AttrNames() []string {
	return []string{"link", "running", "sent", "solicited", "error", "stop"}
}

// Attr asks for the daemon's state.
func (r *Radvd) Attr(name string) (starlark.Value, error) {
	sent, solicited := r.advertiser.Counts()
	switch name {
	case "link":
		return &Link{r.link, r.env}, nil
	case "running":
		return starlark.Bool(r.advertiser.Running()), nil
	case "sent":
		return starlark.MakeInt(sent), nil
	case "solicited":
		return starlark.MakeInt(solicited), nil
	case "error":
		if err := r.advertiser.Err(); err != nil {
			return starlark.String(err.Error()), nil
		}
		return starlark.None, nil
	case "stop":
		stop := *radvdStop
		stop.Fn = func(c *Call) (starlark.Value, error) {
			return nil, c.Env.Lab.StopAdvertising(c.Ctx, r.advertiser, r.link.Name())
		}
		return stop.builtin(r.env), nil
	}
	return nil, nil
}

var radvdStop = &Spec{Name: "radvd.stop", Doc: "Ends the daemon, which tells the hosts that it is no router any more."}

// MarshalJSON is the daemon with its attributes.
func (r *Radvd) MarshalJSON() ([]byte, error) { return marshalLive(r) }

// tLifetime is a time that may have no end, in whole seconds on the wire.
var tLifetime = &Type{Name: "a time, or \"forever\"", Good: `"1h"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok && s == "forever" {
		return probe.Infinite, nil
	}
	return toDuration(v)
}}

var tIPv6 = &Type{Name: "an IPv6 address", Good: `"2001:db8::1"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if a, is := v.(*IPAddress); is {
		s, ok = a.Addr().String(), true
	}
	if !ok {
		return nil, errType
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is6() {
		return nil, fmt.Errorf("%q is no IPv6 address", s)
	}
	return ip, nil
}}

var tPrefix6 = &Type{Name: "an IPv6 prefix", Good: `"2001:db8:1::/64"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	p, err := toPrefix(v)
	if err != nil {
		return nil, err
	}
	if !p.Addr().Is6() {
		return nil, fmt.Errorf("%s is no IPv6 prefix", p)
	}
	return p.Masked(), nil
}}

func radvdSpecs() []*Spec {
	prefixes, routes := listOf(tPrefix6, "an IPv6 prefix, or a list of them"), listOf(tPrefix6, "an IPv6 prefix, or a list of them")
	return []*Spec{{
		Name: "radvd", Family: familyServers, Returns: "radvd: link running sent solicited error stop()", Like: "radvd",
		Doc: "Advertises a router on a link (RFC 4861), so that hosts configure IPv6 by themselves (RFC 4862); no program is needed. " +
			"It sends at once, by the interval, and to whoever solicits an advertisement, without the delays of RFC 4861, section 6.2.6. " +
			"stop() says that this is no default router any more; it ends with the lab at the latest. Forwarding is not its business: @lab's router() does.",
		Params: []Param{
			required("link", tLink, "where; it has to be up"), optional("prefix", prefixes, "", "the link's own; of 64 bits, for hosts to make addresses"),
			keyword("autonomous", tBool, "True", "hosts make addresses of the prefixes"), keyword("onlink", tBool, "True", "the prefixes are reached without a router"),
			keyword("valid", tLifetime, "\"24h\"", "how long such addresses live"), keyword("preferred", tLifetime, "\"4h\"", "how long they are used for something new"),
			keyword("lifetime", tDuration, "\"30m\"", "as a default router, at most 18h12m15s; 0 for none"),
			keyword("preference", tString, "\"medium\"", "among default routers: low, medium or high (RFC 4191)"),
			keyword("route", routes, "", "what else this router leads to (RFC 4191); hosts obey where accept_ra_rt_info_max_plen lets them"),
			keyword("managed", tBool, "False", "addresses are given by DHCPv6"), keyword("other", tBool, "False", "other settings are given by DHCPv6"),
			keyword("hop_limit", intType("a hop limit", "64", 0, 255), "64", "of packets that hosts send; 0 says nothing"),
			keyword("mtu", intType("an MTU in bytes", "1500", 1280, 65535), "", "of the link"),
			keyword("reachable", tDuration, "", "how long a neighbour counts as reachable"), keyword("retrans", tDuration, "", "between neighbour solicitations"),
			keyword("dns", listOf(tIPv6, "an IPv6 address, or a list of them"), "", "name servers (RFC 8106)"),
			keyword("search", listOf(tString, "a domain, or a list of them"), "", "search domains (RFC 8106)"),
			keyword("interval", tDuration, "\"10s\"", "from one advertisement to the next, at least 30ms"),
		},
		Example: "a, b = veth(\"a\", \"b\", peer_ns=netns(\"host\"), addr=\"2001:db8:1::1/64\", up=True)\n" +
			"r = radvd(a, \"2001:db8:1::/64\")\n" +
			"made = require.eventually(lambda: [x for x in b.addrs if x.ip.startswith(\"2001:db8:1:\")])\n" +
			"expect.reachable(b.ns, \"2001:db8:1::1\")\nexpect.eq([x.proto for x in b.ns.routes if x.dst == \"default\"], [\"ra\"])\nr.stop()",
		Fn: radvdFn,
	}}
}

func radvdFn(c *Call) (starlark.Value, error) {
	a := probe.Advertisement{HopLimit: get(c, "hop_limit", 64), Managed: get(c, "managed", false), Other: get(c, "other", false),
		Preference: get(c, "preference", "medium"), Lifetime: get(c, "lifetime", 30*time.Minute), MTU: get(c, "mtu", 0),
		Reachable: get(c, "reachable", time.Duration(0)), Retrans: get(c, "retrans", time.Duration(0)),
		Routes: all[netip.Prefix](c, "route"), DNS: all[netip.Addr](c, "dns"), Search: all[string](c, "search"),
		Interval: get(c, "interval", 10*time.Second)}
	valid, preferred := get(c, "valid", 24*time.Hour), get(c, "preferred", 4*time.Hour)
	switch {
	case a.Lifetime > 65535*time.Second:
		return nil, lab.Usage(`a good one is lifetime="30m"`, "radvd: lifetime: %v is more than 18h12m15s", a.Lifetime)
	case a.Interval < 30*time.Millisecond:
		return nil, lab.Usage(`a good one is interval="10s"`, "radvd: interval: %v is less than 30ms", a.Interval)
	case a.Reachable > time.Hour:
		return nil, lab.Usage(`a good one is reachable="30s"`, "radvd: reachable: %v is more than an hour (RFC 4861)", a.Reachable)
	case preferred > valid:
		return nil, lab.Usage("an address is preferred only while it is valid", "radvd: preferred: %v is more than valid, %v", preferred, valid)
	case a.Preference != "low" && a.Preference != "medium" && a.Preference != "high":
		return nil, lab.Usage("it is low, medium or high", "radvd: preference: there is no %q", a.Preference)
	}
	for _, p := range all[netip.Prefix](c, "prefix") {
		if p.Addr().IsLinkLocalUnicast() || p.Addr().IsMulticast() {
			return nil, lab.Usage(`a good one is prefix="2001:db8:1::/64"`, "radvd: prefix: %s is not advertised", p)
		}
		a.Prefixes = append(a.Prefixes, probe.AdvertisedPrefix{Prefix: p, OnLink: get(c, "onlink", true), Autonomous: get(c, "autonomous", true),
			Valid: valid, Preferred: preferred})
	}
	link := get[*lab.Link](c, "link", nil)
	s, err := link.Advertise(c.Ctx, a)
	if err != nil {
		return nil, err
	}
	return &Radvd{link, s, c.Env}, nil
}

const familyServers = "Servers"
