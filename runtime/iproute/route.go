package iproute

import (
	"slices"
	"strings"

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
	slices.SortStableFunc(args, func(a, b event.Arg) int { return late(a) - late(b) })
	return one(append(w, arguments(args)...))
}

// late says which words `ip` wants after all others: the next hops, and before
// them an encapsulation that takes every word after it for its own.
func late(a event.Arg) int {
	switch {
	case a.Key == "nexthop":
		return 2
	case a.Key == "encap" && strings.HasPrefix(a.Value, "xfrm "):
		return 1
	}
	return 0
}

// routeFamily says which family is meant, where that is not IPv4 or `ip` would
// guess wrong: it takes a default route's from the first gateway.
func routeFamily(e event.Event) []string {
	switch e.Get("family") {
	case "inet6":
		return []string{"-6"}
	case "mpls":
		return []string{"-f", "mpls"}
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
