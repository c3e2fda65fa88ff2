package lab

import (
	"errors"
	"math"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

// routeTypes are the names of `ip route`.
var routeTypes = []string{"none", "unicast", "local", "broadcast", "anycast", "multicast", "blackhole", "unreachable", "prohibit", "throw", "nat", "xresolve"}

// RouteType returns the RTN_ number of a type by name.
func RouteType(name string) (int, error) {
	for i, n := range routeTypes[:10] {
		if n == name && i > 0 {
			return i, nil
		}
	}
	return 0, Usage("types are "+strings.Join(routeTypes[1:10], ", "), "%q is no type of route", name)
}

// TypeName is the route's type as `ip` prints it.
func (r *Route) TypeName() string { return nameOf(routeTypes, r.Type) }

var protocols = map[int]string{
	0: "unspec", 1: "redirect", 2: "kernel", 3: "boot", 4: "static", 9: "ra", 11: "zebra", 12: "bird", 16: "dhcp",
	186: "bgp", 187: "isis", 188: "ospf", 189: "rip", 192: "eigrp", 8: "gated", 10: "mrt", 13: "dnrouted",
	14: "xorp", 15: "ntk", 17: "mrouted", 42: "babel",
}

// ProtoName is who made the route, as `ip` prints it (/etc/iproute2/rt_protos).
func (r *Route) ProtoName() string { return RouteProtocolName(r.Proto) }

// RouteProtocol returns the RTPROT_ number of who makes routes, rules and the
// like, by name ("static", "bgp" …).
func RouteProtocol(name string) (int, error) {
	for n, known := range protocols {
		if known == name {
			return n, nil
		}
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return int(n), nil
	}
	if n, ok := numberNamed("rt_protos", name, math.MaxUint8); ok {
		return n, nil
	}
	return 0, Usage(`use "static", "bgp", "ospf" …, a number up to 255 or a name of /etc/iproute2/rt_protos`, "%q is no routing protocol", name)
}

// RouteProtocolName is the inverse of [RouteProtocol].
func RouteProtocolName(n int) string {
	if name, ok := protocols[n]; ok {
		return name
	}
	return strconv.Itoa(n)
}

var tables = map[string]int{"default": unix.RT_TABLE_DEFAULT, "main": unix.RT_TABLE_MAIN, "local": unix.RT_TABLE_LOCAL}

// Table returns the number of a routing table by name ("main", "local",
// "default", or what /etc/iproute2/rt_tables has) or number.
func Table(name string) (int, error) {
	if n, ok := tables[name]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(name, 10, 32); err == nil && n > 0 {
		return int(n), nil
	}
	if n, ok := numberNamed("rt_tables", name, math.MaxUint32); ok {
		return n, nil
	}
	return 0, Usage(`use a number, "main", "local", "default" or a name of /etc/iproute2/rt_tables`, "%q is no routing table", name)
}

// TableName is how `ip` prints a table.
func TableName(n int) string {
	for name, number := range tables {
		if number == n {
			return name
		}
	}
	return strconv.Itoa(n)
}

// refusedBy says which route makes a lookup fail with an error (fib_props in
// net/ipv4/fib_semantics.c).
func refusedBy(err error) string {
	if kernelError(err, "", "").Words != "" {
		return "" // it is the question that is refused
	}
	switch {
	case errors.Is(err, unix.EINVAL):
		return "a blackhole route says so"
	case errors.Is(err, unix.EACCES):
		return "a prohibit route says so"
	case errors.Is(err, unix.EHOSTUNREACH):
		return "an unreachable route says so"
	case errors.Is(err, unix.ENETUNREACH):
		return "no route leads there"
	}
	return ""
}
