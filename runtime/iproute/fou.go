package iproute

import "nsscript/runtime/event"

// fouChange says the family, which a port has even where no address tells it.
func fouChange(e event.Event, _ bool) []command {
	var family []string
	if e.Get("family") == "inet6" {
		family = []string{"-6"}
	}
	w := append(ip(e, family...), "fou", verb(e))
	return one(append(w, arguments(without(e.Args, "family"))...))
}
