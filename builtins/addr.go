package builtins

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

func itoa(n int) string { return strconv.Itoa(n) }

// plainAddr is an address without options.
func plainAddr(p any) lab.AddrSpec { return lab.AddrSpec{Prefix: p.(netip.Prefix), Scope: -1} }

func (env *Env) address(a *lab.Address) *Record {
	family := "inet"
	if a.IP.Is6() {
		family = "inet6"
	}
	return record("address", a.Prefix().String(), a,
		field{"ip", starlark.String(a.IP.String())}, field{"prefixlen", starlark.MakeInt(a.PrefixLen)},
		field{"cidr", starlark.String(a.Prefix().String())}, field{"network", starlark.String(a.Prefix().Masked().String())},
		field{"family", starlark.String(family)}, field{"link", env.link(a.Link)},
		field{"scope", starlark.String(lab.ScopeName(a.Scope))}, field{"broadcast", addrText(a.Broadcast)},
		field{"peer", addrText(a.Peer)}, field{"label", text(a.Label)}, field{"flags", strs(a.Flags)},
		field{"metric", number(a.Metric)}, field{"proto", number(a.Proto)}, field{"valid", lifetime(a.Valid)}, field{"preferred", lifetime(a.Preferred)})
}

// lifetime is what is left of one in seconds, None for one that does not end.
func lifetime(left uint32) starlark.Value {
	if left == math.MaxUint32 {
		return starlark.None
	}
	return starlark.Float(left)
}

// addrRows are addresses as `ip -br addr` prints them: a line for each link.
// With ns, links without an address have a line too.
func (env *Env) addrRows(ns *lab.Namespace, addrs []*lab.Address) (starlark.Value, error) {
	var items []starlark.Value
	own := map[*lab.Link][]string{}
	for _, a := range addrs {
		items = append(items, env.address(a))
		shown := a.Prefix().String()
		if a.Peer.IsValid() { // whose length it is, as `ip` has it
			shown = fmt.Sprintf("%s peer %s/%d", a.IP, a.Peer, a.PrefixLen)
		}
		own[a.Link] = append(own[a.Link], shown)
	}
	var links []*lab.Link
	var infos []*lab.LinkInfo
	if ns != nil {
		var err error
		if links, infos, err = ns.Links(); err != nil {
			return nil, err
		}
	} else {
		for _, a := range addrs {
			if len(links) == 0 {
				info, err := a.Link.Info()
				if err != nil {
					return nil, err
				}
				links, infos = append(links, a.Link), append(infos, info)
			}
		}
	}
	var cells [][]string
	for i, k := range links {
		cells = append(cells, []string{shownName(k, infos[i]), strings.ToUpper(infos[i].State), strings.Join(own[k], " ")})
	}
	return env.rows(items, cells), nil
}

const familyAddrs = "Addresses, routes, neighbours"

func addrSpecs() []*Spec {
	return []*Spec{{
		Name: "addr", Family: familyAddrs, Returns: "address, or a list of them", Like: "ip addr add ADDRESS dev LINK",
		Doc: "Puts addresses on a link. Without a prefix length it is the longest, as for `ip`. There is no broadcast address unless " +
			"broadcast=\"+\" (the subnet's highest) or one is given. 127.0.0.0/8 gets scope host, others global.",
		Params: []Param{
			required("link", tLink, "the link"), variadic("addresses", tPrefix, "such as \"10.1.1.1/24\""),
			keyword("peer", tPrefix, "", "the other end of a point-to-point link"),
			keyword("scope", tScope, "", "global, site, link or host, or a number"),
			keyword("broadcast", tString, "", "an address, \"+\" or \"-\" (IPv4)"),
			keyword("label", tString, "", "an old-style name like eth0:1 (IPv4)"),
			keyword("nodad", tBool, "False", "no duplicate address detection for this one (IPv6)"),
			keyword("metric", tUint32, "", "of the route to its subnet"),
			keyword("proto", intType("a number", "4", 4, 255), "", "a number that says who made it (since 5.18); from 4, below are the kernel's own"),
			keyword("home", tBool, "False", "a home address (IPv6, RFC 6275)"), keyword("mngtmpaddr", tBool, "False", "the kernel makes temporary addresses like it (IPv6, RFC 8981)"),
			keyword("optimistic", tBool, "False", "usable before it is known that nobody else has it (IPv6, RFC 4429)"),
			keyword("noprefixroute", tBool, "False", "no route to its subnet"), keyword("autojoin", tBool, "False", "join the multicast group that it is"),
			keyword("valid", tAddrLifetime, "\"forever\"", "for how long it is valid"),
			keyword("preferred", tAddrLifetime, "", "for how long it is preferred; 0 makes it deprecated; as long as it is valid unless given"),
			keyword("replace", tBool, "False", "give one that is there other lifetimes, flags and metric"),
			keyword("exist", tBool, "False", "take the one that is there if it has these properties"),
		},
		Example: "a, b = veth(\"a\", \"b\")\nx = addr(a, \"10.1.1.1/24\", broadcast=\"+\")\n" +
			"expect.eq((x.ip, x.prefixlen, x.broadcast), (\"10.1.1.1\", 24, \"10.1.1.255\"))\nexpect.eq(a.addrs[0].cidr, \"10.1.1.1/24\")",
		Fn: addAddr,
	}}
}

// checkLifetimes refuses what the kernel would, in words that say why.
func checkLifetimes(valid, preferred *time.Duration) error {
	switch {
	case valid == nil:
		return nil
	case *valid == 0:
		return lab.Usage(`leave valid= out for an address that is valid for ever, or say valid="60s"`, "addr: valid=0: no address is valid for no time")
	case preferred != nil && *preferred > *valid:
		return lab.Usage("", "addr: preferred= is longer than valid=")
	}
	return nil
}

// tAddrLifetime is a time, or "forever".
var tAddrLifetime = &Type{Name: "a time in seconds, or with a unit, or \"forever\"", Good: `"60s"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok && s == "forever" {
		return nil, nil
	}
	return tDuration.Convert(c, v)
}}

// addrFlags are the flags that were given.
func (c *Call) addrFlags() (bits uint32) {
	for name, bit := range lab.AddrFlags {
		if get(c, name, false) {
			bits |= bit
		}
	}
	return bits
}

// broadcast is the broadcast address of an address with its prefix length.
func (c *Call) broadcast(p netip.Prefix) (netip.Addr, error) {
	b := get(c, "broadcast", "")
	if b != "" && !p.Addr().Is4() {
		return netip.Addr{}, lab.Usage("", "addr: broadcast= is of IPv4, and %s is of IPv6", p)
	}
	switch b {
	case "":
		return netip.Addr{}, nil
	case "+":
		return lab.BroadcastOf(p), nil
	case "-":
		return lab.LowestOf(p), nil
	default:
		ip, err := netip.ParseAddr(b)
		if err != nil || !ip.Is4() {
			return ip, lab.Usage(`a good one is broadcast="+"`, "addr: broadcast: %q is no IPv4 address", b)
		}
		return ip, nil
	}
}

func addAddr(c *Call) (starlark.Value, error) {
	how, err := c.howToMake()
	if err != nil {
		return nil, err
	}
	k := get[*lab.Link](c, "link", nil)
	prefixes := all[netip.Prefix](c, "addresses")
	if len(prefixes) == 0 {
		return nil, lab.Usage(`like addr(link, "10.1.1.1/24")`, "addr: no address was given")
	}
	var made []starlark.Value
	for _, p := range prefixes {
		s := lab.AddrSpec{Prefix: p, Scope: get(c, "scope", -1), Label: get(c, "label", ""), NoDAD: get(c, "nodad", false),
			Peer: get(c, "peer", netip.Prefix{}), Valid: pointer[time.Duration](c, "valid"), Preferred: pointer[time.Duration](c, "preferred"),
			Metric: get(c, "metric", 0), Proto: get(c, "proto", 0), Flags: c.addrFlags()}
		if err := checkLifetimes(s.Valid, s.Preferred); err != nil {
			return nil, err
		}
		if s.Broadcast, err = c.broadcast(p); err != nil {
			return nil, err
		}
		a, err := k.AddAddr(c.Ctx, s, how)
		if err != nil {
			return nil, err
		}
		made = append(made, c.Env.address(a))
	}
	if len(made) == 1 {
		return made[0], nil
	}
	return starlark.NewList(made), nil
}
