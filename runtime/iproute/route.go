package iproute

import (
	"slices"

	"nsscript/runtime/event"
)

func routeChange(e event.Event, _ bool) []command {
	w := append(ip(e, routeFamily(e)...), "route", verb(e))
	kind := e.Get("type")
	if kind != "" {
		w = append(w, kind)
	}
	w = append(w, e.Get("dst"))
	args := without(e.Args, "family", "type", "dst")
	if e.Get("scope") == defaultScope(e) {
		args = without(args, "scope")
	}
	if !e.Has("table") && defaultTable(kind) == "local" {
		args = append([]event.Arg{{Key: "table", Value: "main"}}, args...)
	}
	// `ip` wants the next hops last.
	slices.SortStableFunc(args, func(a, b event.Arg) int { return isHop(a) - isHop(b) })
	return one(append(w, arguments(args)...))
}

func isHop(a event.Arg) int {
	if a.Key == "nexthop" {
		return 1
	}
	return 0
}

// routeFamily says which family is meant, where that is not IPv4 or `ip` would
// guess wrong: it takes a default route's from the first gateway.
func routeFamily(e event.Event) []string {
	if e.Get("family") == "inet6" {
		return []string{"-6"}
	}
	if e.Get("dst") != "default" {
		return nil
	}
	for _, a := range e.Args {
		if (a.Key == "via" || a.Key == "nexthop") && slices.Contains(values(a), "inet6") {
			return []string{"-4"}
		}
	}
	return nil
}

// defaultTable is where `ip route` puts a route of that type (iproute_modify of
// iproute2).
func defaultTable(kind string) string {
	switch kind {
	case "local", "broadcast", "anycast", "nat":
		return "local"
	}
	return "main"
}

// defaultScope is what `ip route` takes when none is given, for IPv4.
func defaultScope(e event.Event) string {
	switch e.Get("type") {
	case "local", "nat":
		return "host"
	case "broadcast", "multicast", "anycast":
		return "link"
	case "", "unicast":
		if !e.Has("via") && !e.Has("nexthop") && !e.Has("nhid") {
			return "link"
		}
	}
	return "global"
}

// nexthopChange deletes by the id alone.
func nexthopChange(e event.Event, _ bool) []command {
	if verb(e) == "del" {
		return one(ip(e, "nexthop", "del", "id", e.Get("id")))
	}
	var family []string
	if e.Get("family") == "inet6" {
		family = []string{"-6"}
	}
	w := append(ip(e, family...), "nexthop", verb(e))
	return one(append(w, arguments(without(e.Args, "family"))...))
}

func ruleChange(e event.Event, _ bool) []command {
	var family []string
	if e.Get("family") == "inet6" {
		family = []string{"-6"}
	}
	w := append(ip(e, family...), "rule", verb(e))
	return one(append(w, arguments(without(e.Args, "family"))...))
}
