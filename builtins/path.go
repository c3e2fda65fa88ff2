package builtins

import (
	"context"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// tPathHop is who may be on a way: an address or what has some, or "*" for anybody, also
// somebody who does not answer.
var tPathHop = &Type{Name: "an address, a namespace, a link, or \"*\"", Good: `"10.1.1.1"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if v == starlark.String("*") {
		return Address{}, nil
	}
	return tHost.Convert(c, v)
}}

// pathCheck is expect.path.
func pathCheck() *check {
	return &check{
		name: "path", doc: "Checks which routers packets pass on the way to a destination, in order: each is a namespace, a link, an address, or \"*\" for anybody. " +
			"The destination itself may stand as the last, and has to be reached. The way is looked for as traceroute() does, again until the timeout. A failure shows what was seen.",
		params: append(append([]Param(nil), reachParams...), required("hops", tPath, "the routers"),
			keyword("timeout", tDuration, "\"3s\"", "how long to try"), keyword("proto", tTraceProto, "\"icmp\"", "of the packets"), keyword("family", tFamily, "", "4 or 6")),
		example: "load(\"@topo\", \"line\")\na, b, c, d = line(4).hosts\nexpect.path(a, d, [b, c])",
		fn:      checkPath,
	}
}

var tPath = &Type{Name: "a list of hops", Good: `[r1, "10.1.1.1"]`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if _, ok := v.(starlark.Sequence); !ok {
		return nil, errType
	}
	return listOf(tPathHop, "a list of hops").Convert(c, v)
}}

func checkPath(c *Call) (string, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	dst, err := c.destination(get(c, "dst", Address{}), ns, get(c, "family", 0))
	if err != nil {
		return "", err
	}
	want := all[Address](c, "hops")
	for i, a := range want {
		if a.name == "" {
			continue
		}
		if want[i].ip, err = c.destination(a, ns, familyOf(dst)); err != nil {
			return "", err
		}
		want[i].name = ""
	}
	q := probe.TraceRequest{Dst: dst, Proto: get(c, "proto", "icmp"), Port: 33434, MaxTTL: 30, Queries: 1, Timeout: time.Second}
	if q.Proto == "tcp" {
		q.Port = 80
	}
	timeout := get(c, "timeout", 3*time.Second)
	deadline := time.Now().Add(timeout)
	for pause := 10 * time.Millisecond; ; pause = min(2*pause, 500*time.Millisecond) {
		r, err := ns.Traceroute(c.Ctx, q)
		if err != nil {
			return "", err
		}
		owners, err := c.Env.Lab.Owners()
		if err != nil {
			return "", err
		}
		same, err := isPath(dst, r, want, owners)
		if err != nil || same {
			return "", err
		}
		if time.Now().Add(pause).After(deadline) {
			return fmt.Sprintf("the way from %s to %s is not %s; %s", ns, dst, hopNames(want), traced(dst, r, owners)), nil
		}
		if c.sleep(pause); c.Ctx.Err() != nil {
			return "", context.Cause(c.Ctx)
		}
	}
}

// isPath tells whether a way is the one that was wanted.
func isPath(dst netip.Addr, r probe.TraceResult, want []Address, owners map[netip.Addr]*lab.Namespace) (bool, error) {
	if !r.Reached {
		return false, nil
	}
	on := r.Hops[:len(r.Hops)-1]
	if len(want) == len(r.Hops) { // the destination stands as the last
		on = r.Hops
	}
	if len(want) != len(on) {
		return false, nil
	}
	for i, hop := range on {
		at := hop.IP
		if i == len(r.Hops)-1 {
			at = dst
		}
		if is, err := want[i].is(at, owners); err != nil || !is {
			return false, err
		}
	}
	return true, nil
}

// is tells whether an address is this one, or belongs to it; the zero Address is any.
func (a Address) is(ip netip.Addr, owners map[netip.Addr]*lab.Namespace) (bool, error) {
	switch {
	case !a.IsValid():
		return true, nil
	case a.link != nil:
		list, err := a.ns.Addrs(a.link)
		for _, own := range list {
			if own.IP == ip {
				return true, err
			}
		}
		return false, err
	case a.ns != nil:
		return owners[ip] == a.ns, nil
	}
	return a.ip == ip, nil
}

// hopNames are the hops as a failure shows them.
func hopNames(list []Address) string {
	names := make([]string, len(list))
	for i, a := range list {
		if names[i] = "*"; a.IsValid() {
			names[i] = a.String()
		}
	}
	return "[" + strings.Join(names, ", ") + "]"
}
