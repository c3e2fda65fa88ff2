package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// macsecChange has a key's identifier and the key as two words.
func macsecChange(e event.Event, _ bool) []command {
	w := append(ip(e, "macsec", verb(e)), e.Get("dev"))
	for _, a := range without(e.Args, "dev") {
		w = append(append(w, a.Key), strings.Fields(a.Value)...)
	}
	return one(w)
}
