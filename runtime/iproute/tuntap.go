package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// tuntapAdd is two commands: `ip tuntap` knows of nothing that all links have.
func tuntapAdd(e event.Event, exact bool) []command {
	name := e.Get("name")
	w := ip(e, "tuntap", "add", "dev", name)
	for _, a := range e.Args {
		if key, ok := strings.CutPrefix(a.Key, "option "); ok {
			w = append(w, arguments([]event.Arg{{Key: key, Value: a.Value}})...)
		}
	}
	born := e
	born.Args = without(e.Args, "held")
	if set := birth(born, "", exact); len(set) > 0 {
		return []command{{words: w}, {words: append(append(ip(e, "link", "set"), device(name, "dev")...), set...)}}
	}
	return one(w)
}
