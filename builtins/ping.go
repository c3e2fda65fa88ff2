package builtins

import (
	"fmt"
	"net/netip"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

func (env *Env) pinged(r probe.PingResult) *Record {
	var rtts []starlark.Value
	for _, d := range r.RTTs {
		rtts = append(rtts, seconds(d))
	}
	stat := func(d time.Duration) starlark.Value {
		if len(r.RTTs) == 0 {
			return starlark.None
		}
		return seconds(d)
	}
	reason := starlark.Value(starlark.None)
	if r.Err != nil {
		reason = starlark.String(r.Err.Error())
	}
	rec := record("ping", pingText(r), nil,
		field{"ok", starlark.Bool(r.Received > 0)}, field{"sent", starlark.MakeInt(r.Sent)}, field{"received", starlark.MakeInt(r.Received)},
		field{"loss", starlark.Float(r.Loss())}, field{"rtts", starlark.NewList(rtts)}, field{"min", stat(r.Min())},
		field{"avg", stat(r.Avg())}, field{"max", stat(r.Max())}, field{"mdev", stat(r.Mdev())}, field{"ttl", number(r.TTL)},
		field{"src", addrText(r.Src)}, field{"error", reason})
	rec.truth = r.Received > 0
	return rec
}

func pingText(r probe.PingResult) string {
	if !r.Dst.IsValid() {
		return "ping: " + r.Err.Error()
	}
	s := fmt.Sprintf("ping %s: %d sent, %d received", r.Dst, r.Sent, r.Received)
	if len(r.RTTs) > 0 {
		s += fmt.Sprintf(", rtt %.3f ms, ttl %d", r.Avg().Seconds()*1000, r.TTL)
	}
	if r.Err != nil {
		s += ": " + r.Err.Error()
	}
	return s
}

const familyProbes = "Probes"

func pingSpecs() []*Spec {
	return []*Spec{{
		Name: "ping", Family: familyProbes, Returns: "ping: ok sent received loss rtts min avg max mdev ttl src error", Like: "ping DST",
		Doc: "Sends ICMP echo requests; no program is needed. Times are seconds, by the kernel's clock. That nobody answers is a result " +
			"(ok is False, error says why: no route, no ARP answer, unreachable and by whom, TTL exceeded and where, message too big and the MTU) and not an error.",
		Params: []Param{
			required("ns", tNetnsRef, "who sends"), required("dst", tHost, "to whom"),
			optional("count", tCount, "1", "how many requests"), keyword("interval", tDuration, "\"1s\"", "from one request to the next; 0 for no pause"),
			keyword("timeout", tDuration, "\"1s\"", "for each reply"), keyword("size", intType("a payload in bytes", "56", 0, 65507), "56", "bytes after the ICMP header"),
			keyword("ttl", tTTL, "", "time to live or hop limit"), keyword("tos", tByte, "", "type of service or traffic class"),
			keyword("df", tBool, "False", "never fragment"), keyword("src", tAddress, "", "the source address"), keyword("dev", tLink, "", "the link to send by"),
			keyword("family", tFamily, "", "4 or 6, when dst is a namespace"),
		},
		Example: "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"p = ping(a, b, count=3, interval=\"10ms\")\nexpect.eq((p.received, p.ttl, p.src), (3, 64, \"10.0.0.2\"))\n" +
			"expect.matches(ping(a, \"192.0.2.1\").error, \"ENETUNREACH\")",
		Fn: func(c *Call) (starlark.Value, error) {
			ns := get[*lab.Namespace](c, "ns", nil)
			r, err := c.pingRequest(ns)
			if lab.IsUnknownHost(err) {
				return c.Env.pinged(probe.PingResult{Err: probe.NoHost(err)}), nil
			}
			if err != nil {
				return nil, err
			}
			result, err := ns.Ping(c.Ctx, r)
			if err != nil {
				return nil, err
			}
			return c.Env.pinged(result), nil
		},
	}}
}

func (c *Call) pingRequest(ns *lab.Namespace) (probe.PingRequest, error) {
	dst, err := c.destination(get(c, "dst", Address{}), ns, get(c, "family", 0))
	if err != nil {
		return probe.PingRequest{}, err
	}
	src, err := c.only("src", dst)
	if err != nil {
		return probe.PingRequest{}, err
	}
	r := probe.PingRequest{Dst: dst, Src: src, Count: get(c, "count", 1), Interval: c.span("interval"),
		Timeout: c.span("timeout"), TTL: get(c, "ttl", 0), TOS: get(c, "tos", 0), DF: get(c, "df", false)}
	if c.Given("size") {
		if r.Size = get(c, "size", 0); r.Size == 0 {
			r.Size = probe.NoPayload
		}
	}
	dev, err := c.linkIn("dev", ns)
	if err != nil {
		return r, err
	}
	if dev != nil {
		r.Dev = dev.Name()
	}
	if r.Dev != "" {
		return r, nil
	}
	return r, c.needsLink(dst, "say %s%%eth0, or dev=")
}

// span is a time that a ping was given: none is the default, 0 is 0.
func (c *Call) span(param string) time.Duration {
	d := pointer[time.Duration](c, param)
	switch {
	case d == nil:
		return 0
	case *d == 0:
		return probe.AtOnce
	}
	return *d
}

// reach pings until somebody answers or the time is up, to whose end each request
// waits for its reply.
func (c *Call) reach(ns *lab.Namespace, dst netip.Addr, timeout time.Duration) (probe.PingResult, error) {
	timeout = max(timeout, 10*time.Millisecond) // so that one request has a chance
	interval := min(max(timeout/100, 5*time.Millisecond), 100*time.Millisecond)
	return ns.Ping(c.Ctx, probe.PingRequest{Dst: dst, Any: true, Interval: interval, Timeout: timeout})
}
