// Package iproute renders what a lab did as the commands of iproute2 that do
// the same: for a trace one line per event ([Line]), and for a whole run a shell
// script that builds the lab again ([Script]). It only computes: the words of an
// event come from who did the operation, in iproute2's own terms.
package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// command is a command line as words, before any quoting.
type command struct {
	words []string
	// mayFail marks the removal of what may not be there (yet).
	mayFail bool
	// input is the line that it reads; or "".
	input string
}

func one(words []string) []command { return []command{{words: words}} }

// renderers has an entry for each operation that changes a network.
var renderers = map[string]func(e event.Event, exact bool) []command{
	"netns add":         netnsChange,
	"netns delete":      netnsChange,
	"link add":          linkAdd,
	"link set":          linkSet,
	"link delete":       linkDelete,
	"link property add": linkProperty, "link property del": linkProperty,
	"addr add":    addrAdd,
	"addr delete": addrDelete, "addr replace": addrAdd,
	"addr renew":   addrRenew,
	"route add":    routeChange,
	"route change": routeChange, "route append": routeChange, "route prepend": routeChange,
	"route replace":   routeChange,
	"route delete":    routeChange,
	"nexthop add":     nexthopChange,
	"nexthop replace": nexthopChange,
	"nexthop delete":  nexthopChange,
	"rule add":        ruleChange,
	"rule delete":     ruleChange,
	"neigh add":       neighborChange,
	"neigh replace":   neighborChange, "neigh change": neighborChange,
	"neigh delete": neighborChange,
	"flush":        flush,
	"sysctl":       sysctl,

	"port set":        bridgeLink,
	"vlan add":        bridgeVLAN,
	"vlan set":        bridgeVLAN,
	"vlan delete":     bridgeVLAN,
	"vlan global set": bridgeVLANGlobal,
	"vni add":         bridgeVNI, "vni delete": bridgeVNI,
	"fdb add":     bridgeFDB,
	"fdb append":  bridgeFDB,
	"fdb replace": bridgeFDB,
	"fdb delete":  bridgeFDB,
	"mdb add":     bridgeMDB,
	"mdb delete":  bridgeMDB,

	"conntrack delete": connectionDelete,

	"nft": nft,

	"wg set":     wgSet,
	"macsec add": macsecChange, "macsec set": macsecChange, "macsec del": macsecChange,
	"tuntap add": tuntapAdd,

	"fou add": fouChange, "fou delete": fouChange,
	"qdisc add": tc, "qdisc replace": tc, "qdisc delete": tc,
	"class add": tc, "class replace": tc, "class delete": tc,
	"filter add": tc, "filter replace": tc, "filter delete": tc,

	"maddr add":    maddrChange,
	"maddr delete": maddrChange,
}

// Commands returns the command lines that do what the event says was done,
// whether or not it succeeded. It is nil for one that changes nothing of a
// network by itself (a ping, a program) and for an unknown one. Exact adds what
// makes the result equal to the last detail (MAC addresses, interface indexes,
// numbers of queues), so that the command reads like a textbook's without.
//
// A MAC address that the script asked for, and was not drawn, is shown anyway:
// the event says so with an argument "given" whose value is the other's key,
// "address" or "peer address".
func Commands(e event.Event, exact bool) []string {
	var lines []string
	for _, c := range render(e, exact) {
		line := join(c.words, quote)
		if c.mayFail {
			line += " 2>/dev/null || true"
		}
		if c.input != "" {
			line = "echo " + quote(c.input) + " | " + line
		}
		lines = append(lines, line)
	}
	return lines
}

func render(e event.Event, exact bool) []command {
	r := renderers[e.Op]
	if r == nil {
		return nil
	}
	return r(e, exact)
}

// Line is an event in one line, for a trace: its commands joined by "; ".
// A program is shown as `ip netns exec` runs it, without its input; a ping as
// ping(8) does it; what has no command by its own words. It contains no control
// characters: words that have some are written as $'…'.
func Line(e event.Event) string {
	switch e.Op {
	case "exec":
		return program(e, quotePrintable)
	case "spawn":
		return program(e, quotePrintable) + " &"
	case "process ready":
		return "wait until " + e.Get("pid") + " is ready: " + quotePrintable(e.Get("ready"))
	case "radvd":
		return join(radvd(e), quotePrintable)
	case "process stop":
		return "kill " + e.Get("pid")
	case "process signal":
		return "kill -" + e.Get("signal") + " " + e.Get("pid")
	}
	if words := probes[e.Op]; words != nil {
		return join(words(e), quotePrintable)
	}
	var lines []string
	for _, c := range render(e, false) {
		lines = append(lines, join(c.words, quotePrintable))
	}
	if lines == nil {
		return join(ownWords(e), quotePrintable)
	}
	return strings.Join(lines, "; ")
}

// ownWords are those of an event that has no renderer.
func ownWords(e event.Event) []string {
	var w []string
	if e.NS != "" {
		w = append(w, e.NS+":")
	}
	w = append(w, strings.Fields(e.Op)...)
	return append(w, arguments(e.Args)...)
}

// ip starts a command of ip(8) in the event's namespace.
func ip(e event.Event, words ...string) []string {
	switch {
	case e.NS == "":
		return append([]string{"ip"}, words...)
	case isPath(e.NS): // ip -n takes only names
		return append([]string{"nsenter", "--net=" + e.NS, "ip"}, words...)
	}
	return append([]string{"ip", "-n", e.NS}, words...)
}

// inside starts a command of any other program in the event's namespace.
func inside(e event.Event) []string {
	switch {
	case e.NS == "":
		return nil
	case isPath(e.NS):
		return []string{"nsenter", "--net=" + e.NS}
	}
	return []string{"ip", "netns", "exec", e.NS}
}

// isPath tells the path of a namespace without a name from a name, which has
// no slash (ip-netns(8)).
func isPath(ns string) bool { return strings.Contains(ns, "/") }

// arguments are the words of arguments as they stand. What has no value is a
// word by itself, except for an alias, which an empty value removes.
func arguments(args []event.Arg) []string {
	var w []string
	for _, a := range args {
		w = append(w, a.Key)
		if a.Value != "" || a.Key == "alias" {
			w = append(w, values(a)...)
		}
	}
	return w
}

// values splits a value that is several words of `ip`.
func values(a event.Arg) []string {
	switch a.Key {
	case "via", "nexthop", "encap",
		"mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit", "initcwnd", "initrwnd", "congctl": // which may be locked
		return strings.Fields(a.Value)
	}
	return []string{a.Value}
}

// without returns the arguments but those with the given keys.
func without(args []event.Arg, keys ...string) []event.Arg {
	var rest []event.Arg
next:
	for _, a := range args {
		for _, k := range keys {
			if a.Key == k {
				continue next
			}
		}
		rest = append(rest, a)
	}
	return rest
}

// verb is the last word of an operation, as people type it.
func verb(e event.Event) string {
	v := e.Op[strings.LastIndexByte(e.Op, ' ')+1:]
	if v == "delete" {
		return "del"
	}
	return v
}
