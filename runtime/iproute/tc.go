package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// tc is a change of a queueing discipline, a class or a filter: the words of the event
// are those of tc(8), in its order.
func tc(e event.Event, _ bool) []command {
	noun, _, _ := strings.Cut(e.Op, " ")
	var w []string
	switch {
	case e.NS == "":
		w = []string{"tc"}
	case isPath(e.NS): // tc -n takes only names
		w = []string{"nsenter", "--net=" + e.NS, "tc"}
	default:
		w = []string{"tc", "-n", e.NS}
	}
	return one(append(append(w, noun, verb(e)), arguments(e.Args)...))
}
