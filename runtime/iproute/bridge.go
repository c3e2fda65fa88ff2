package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// bridge starts a command of bridge(8) in the event's namespace.
func bridge(e event.Event, words ...string) []string {
	w := ip(e, words...)
	for i, word := range w {
		if word == "ip" {
			w[i] = "bridge"
			break
		}
	}
	return w
}

func bridgeLink(e event.Event, _ bool) []command {
	return one(append(bridge(e, "link", verb(e)), arguments(e.Args)...))
}

// bridgeVLAN puts the VLAN before the link, as bridge(8) prints it.
func bridgeVLAN(e event.Event, _ bool) []command {
	w := append(bridge(e, "vlan", verb(e)), "vid", e.Get("vid"), "dev", e.Get("dev"))
	for _, a := range without(e.Args, "vid", "dev") {
		w = append(w, strings.Fields(a.Key)...)
		if a.Value != "" {
			w = append(w, a.Value)
		}
	}
	return one(w)
}

func bridgeFDB(e event.Event, _ bool) []command {
	w := append(bridge(e, "fdb", verb(e)), e.Get("to"))
	return one(append(w, arguments(without(e.Args, "to"))...))
}

// bridgeMDB leaves out of a deletion what does not tell entries apart.
func bridgeMDB(e event.Event, _ bool) []command {
	args := e.Args
	if verb(e) == "del" {
		args = without(args, "permanent", "temp")
	}
	return one(append(bridge(e, "mdb", verb(e)), arguments(args)...))
}

func bridgeVLANGlobal(e event.Event, _ bool) []command {
	return one(append(bridge(e, "vlan", "global", "set"), arguments(e.Args)...))
}

// bridgeVNI has the whole word "delete", the one that `bridge vni` knows.
func bridgeVNI(e event.Event, _ bool) []command {
	return one(append(bridge(e, strings.Fields(e.Op)...), arguments(e.Args)...))
}
