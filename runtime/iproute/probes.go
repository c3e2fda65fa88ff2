package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// probes has, for each question that a lab asks its network, the command of a
// program that asks the same.
var probes = map[string]func(e event.Event) []string{
	"ping":    ping,
	"tcp":     exchange,
	"udp":     exchange,
	"capture": tcpdump,
	"send":    ownWords, // no program crafts packets from a command line
}

func tcpdump(e event.Event) []string {
	return append(inside(e), "tcpdump", "-i", e.Get("dev"))
}

// isProbe tells a question, or a server that answers some, from what changes a lab.
func isProbe(e event.Event) bool {
	return probes[e.Op] != nil || strings.HasSuffix(e.Op, "_server")
}

// exchange is the command of netcat (OpenBSD's).
func exchange(e event.Event) []string {
	w := append(inside(e), "nc")
	if e.Op == "udp" {
		w = append(w, "-u")
	}
	if !e.Has("send") {
		w = append(w, "-z")
	} else if e.Op == "tcp" {
		w = append(w, "-N")
	}
	for _, f := range []struct{ key, flag string }{{"timeout", "-w"}, {"src", "-s"}, {"sport", "-p"}} {
		if v := e.Get(f.key); v != "" {
			w = append(w, f.flag, v)
		}
	}
	return append(w, e.Get("dst"), e.Get("port"))
}
