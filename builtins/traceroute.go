package builtins

import (
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

var tTraceProto = oneOf("udp", "icmp", "tcp")

func traceSpecs() []*Spec {
	return []*Spec{
		{
			Name: "traceroute", Family: familyProbes, Returns: "traceroute: reached hops", Like: "traceroute -n DST",
			Doc: "Finds the routers on the way, by packets whose time to live (hop limit) is 1, 2, 3 …; no program is needed. proto is \"udp\" (to ports from port= on), " +
				"\"icmp\" or \"tcp\" (to port=). Each hop has ttl, ip (None when nobody answered), rtts (seconds), name (the lab's namespace that has the address) and error " +
				"(what was said instead of \"time to live exceeded\", or that nothing was). The destination, if it is reached, is the last hop. A router that runs Linux sends six such errors to one host at once and then one a second (net.ipv4.icmp_ratelimit, icmp_ratemask).",
			Params: []Param{
				required("ns", tNetnsRef, "who asks"), required("dst", tHost, "whose way"),
				keyword("proto", tTraceProto, "\"udp\"", "of the packets"), keyword("port", tPort, "33434, tcp 80", "the destination port; udp counts from it"),
				keyword("max_ttl", tTTL, "30", "how far to look"), keyword("queries", intType("a number of packets", "3", 1, 10), "3", "packets for each distance"),
				keyword("timeout", tDuration, "\"1s\"", "for each reply"), keyword("src", tAddress, "", "the source address"),
				keyword("family", tFamily, "", "4 or 6, when dst is a namespace"),
			},
			Example: "load(\"@topo\", \"line\")\nnet = line(4)\nt = traceroute(net.hosts[0], net.hosts[-1], proto=\"icmp\")\nprint(t)\nexpect(t.reached)\nexpect.eq(t.hops[-1].name, net.hosts[-1].name)",
			Fn:      traceroute,
		},
		{
			Name: "arping", Family: familyProbes, Returns: "arping: ok mac macs sent received rtts error", Like: "arping -I LINK ADDRESS",
			Doc: "Asks by ARP who has an address on a link; no program is needed. mac is who answered first, macs all who did: more than one when the address is taken twice. " +
				"rtts are seconds. With gratuitous=True it tells the others that the address is here (RFC 5227) and waits for nothing. " +
				"That nobody answers is a result (ok is False) and not an error. For IPv6 there is ping().",
			Params: []Param{
				required("link", tLink, "by which"), required("ip", tHost, "whose"),
				optional("count", tCount, "1", "how many requests"), keyword("interval", tDuration, "\"1s\"", "from one request to the next"),
				keyword("timeout", tDuration, "\"1s\"", "for each reply"), keyword("src", tAddress, "the link's first", "the sender's address"),
				keyword("gratuitous", tBool, "False", "announce, and do not ask"),
			},
			Example: "a, b = netns(\"a\"), netns(\"b\")\nx, y = veth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
				"expect.eq(arping(x, \"10.0.0.2\").mac, y.mac)\nexpect(not arping(x, \"10.0.0.9\", timeout=\"50ms\"))",
			Fn: arping,
		},
	}
}

func traceroute(c *Call) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	dst, err := c.destination(get(c, "dst", Address{}), ns, get(c, "family", 0))
	if err != nil {
		return nil, err
	}
	if err := c.needsLink(dst, "say %s%%eth0"); err != nil {
		return nil, err
	}
	src, err := c.only("src", dst)
	if err != nil {
		return nil, err
	}
	q := probe.TraceRequest{Dst: dst, Src: src, Proto: get(c, "proto", "udp"), MaxTTL: get(c, "max_ttl", 30),
		Queries: get(c, "queries", 3), Timeout: get(c, "timeout", time.Second)}
	q.Port = get(c, "port", map[string]int{"udp": 33434, "tcp": 80}[q.Proto])
	if q.Proto == "udp" && q.Port+q.MaxTTL*q.Queries > 65536 {
		return nil, lab.Usage("", "traceroute: port: there is no room for %d ports from %d on", q.MaxTTL*q.Queries, q.Port)
	}
	r, err := ns.Traceroute(c.Ctx, q)
	if err != nil {
		return nil, err
	}
	owners, err := c.Env.Lab.Owners()
	if err != nil {
		return nil, err
	}
	return traced(dst, r, owners), nil
}

// traced is the result as a value.
func traced(dst netip.Addr, r probe.TraceResult, owners map[netip.Addr]*lab.Namespace) *Record {
	lines := []string{fmt.Sprintf("traceroute to %s:", dst)}
	if !r.Reached {
		lines[0] = fmt.Sprintf("traceroute to %s, which was not reached:", dst)
	}
	var hops []starlark.Value
	for _, h := range r.Hops {
		name, reason := starlark.Value(starlark.None), starlark.Value(starlark.None)
		line := fmt.Sprintf("%2d  *", h.TTL)
		if h.IP.IsValid() {
			line = fmt.Sprintf("%2d  %s", h.TTL, h.IP)
		}
		if owner := owners[h.IP]; owner != nil {
			name = starlark.String(owner.String())
			line += " (" + owner.String() + ")"
		}
		var rtts []starlark.Value
		for _, rtt := range h.RTTs {
			rtts = append(rtts, seconds(rtt))
			line += fmt.Sprintf("  %.3f ms", rtt.Seconds()*1000)
		}
		if h.Err != nil {
			reason = starlark.String(h.Err.Error())
			line += "  " + h.Err.Error()
		}
		lines = append(lines, line)
		hops = append(hops, record("hop", line, nil, field{"ttl", starlark.MakeInt(h.TTL)}, field{"ip", addrText(h.IP)},
			field{"rtts", starlark.NewList(rtts)}, field{"name", name}, field{"error", reason}))
	}
	rec := record("traceroute", strings.Join(lines, "\n"), nil, field{"reached", starlark.Bool(r.Reached)}, field{"hops", starlark.NewList(hops)})
	rec.truth = r.Reached
	return rec
}

func arping(c *Call) (starlark.Value, error) {
	k := get[*lab.Link](c, "link", nil)
	dst, err := c.destination(get(c, "ip", Address{}), k.NS(), 0)
	if err != nil {
		return nil, err
	}
	if !dst.Is4() {
		return nil, lab.Usage("neighbours of IPv6 are found by ping()", "arping: ip: %s is no IPv4 address", dst)
	}
	src, err := c.only("src", dst)
	if err != nil {
		return nil, err
	}
	if !src.IsValid() {
		if src, err = k.FirstIPv4(); err != nil {
			return nil, err
		}
	}
	if src.IsValid() && !src.Is4() {
		return nil, lab.Usage("", "arping: src: %s is no IPv4 address", src)
	}
	q := probe.ARPRequest{Dst: dst, Src: src, Gratuitous: get(c, "gratuitous", false), Count: get(c, "count", 1),
		Interval: get(c, "interval", time.Second), Timeout: get(c, "timeout", time.Second)}
	r, err := k.ARPing(c.Ctx, q)
	if err != nil {
		return nil, err
	}
	return arpinged(q, r), nil
}

// arpinged is the result as a value.
func arpinged(q probe.ARPRequest, r probe.ARPResult) *Record {
	var rtts, macs []starlark.Value
	for _, d := range r.RTTs {
		rtts = append(rtts, seconds(d))
	}
	mac, reason := starlark.Value(starlark.None), starlark.Value(starlark.None)
	for _, m := range r.MACs {
		macs = append(macs, starlark.String(m.String()))
		if mac == starlark.None {
			mac = starlark.String(m.String())
		}
	}
	ok, text := len(macs) > 0 || q.Gratuitous, fmt.Sprintf("arping %s: announced", q.Dst)
	switch {
	case q.Gratuitous:
	case ok:
		text = fmt.Sprintf("arping %s: %d sent, %d received, from %v", q.Dst, r.Sent, len(r.RTTs), r.MACs)
	default:
		reason = starlark.String(fmt.Sprintf("no reply within %v", q.Timeout))
		text = fmt.Sprintf("arping %s: no reply within %v", q.Dst, q.Timeout)
	}
	rec := record("arping", text, nil, field{"ok", starlark.Bool(ok)}, field{"mac", mac}, field{"macs", starlark.NewList(macs)},
		field{"sent", starlark.MakeInt(r.Sent)}, field{"received", starlark.MakeInt(len(r.RTTs))}, field{"rtts", starlark.NewList(rtts)}, field{"error", reason})
	rec.truth = ok
	return rec
}
