package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// nft is one transaction: the program takes its commands as one argument.
func nft(e event.Event, _ bool) []command {
	var commands []string
	for _, a := range e.Args {
		commands = append(commands, a.Value)
	}
	return one(append(inside(e), "nft", strings.Join(commands, "; ")))
}
