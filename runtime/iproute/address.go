package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

func addrAdd(e event.Event, _ bool) []command {
	args := without(e.Args, "address")
	if e.Has("valid_lft") && !e.Has("preferred_lft") {
		// `ip` takes it to be for ever then, and refuses that.
		args = append(args, event.Arg{Key: "preferred_lft", Value: e.Get("valid_lft")})
	}
	return one(append(ip(e, "addr", addrVerb(e), e.Get("address")), arguments(args)...))
}

// addrVerb is "add" also for what is deleted before it (addrRenew).
func addrVerb(e event.Event) string {
	if v := verb(e); v == "replace" {
		return v
	}
	return "add"
}

// addrDelete needs the peer too where there is one.
func addrDelete(e event.Event, _ bool) []command {
	w := ip(e, "addr", "del", e.Get("address"))
	for _, a := range e.Args {
		if a.Key == "dev" || a.Key == "peer" {
			w = append(w, a.Key, a.Value)
		}
	}
	return one(w)
}

// addrRenew replaces an address that the kernel has given, or is about to give,
// by itself: `ip addr replace` would leave it tentative.
func addrRenew(e event.Event, exact bool) []command {
	del := addrDelete(e, exact)
	del[0].mayFail = true
	return append(del, addrAdd(e, exact)...)
}

// neighborChange leaves out what `ip neigh` does by itself: entries are
// permanent, and the address alone tells which one to delete.
func neighborChange(e event.Event, exact bool) []command {
	w := ip(e, "neigh", verb(e))
	args := e.Args
	switch {
	case verb(e) == "del":
		args = without(args, "lladdr", "nud", "router", "use", "managed", "extern_learn", "protocol")
	case !exact && e.Get("nud") == "permanent":
		args = without(args, "nud")
	}
	for _, a := range args {
		switch {
		case a.Key == "to":
			w = append(w, a.Value)
		case a.Key == "nud" && a.Value == "":
			w = append(w, "nud", "none")
		default:
			w = append(w, arguments([]event.Arg{a})...)
		}
	}
	return one(w)
}

// flush of the route cache is two commands: without -6, `ip` does IPv4 only.
func flush(e event.Event, _ bool) []command {
	switch e.Get("what") {
	case "route cache":
		return []command{{words: ip(e, "route", "flush", "cache")}, {words: ip(e, "-6", "route", "flush", "cache")}}
	case "neigh":
		var family []string
		switch e.Get("family") {
		case "inet":
			family = []string{"-4"}
		case "inet6":
			family = []string{"-6"}
		}
		w := append(ip(e, family...), "neigh", "flush")
		if e.Has("dev") {
			return one(append(w, "dev", e.Get("dev")))
		}
		return one(append(w, "all"))
	case "conntrack":
		return one(append(inside(e), "conntrack", "-F"))
	}
	return nil
}

// connectionDelete names the connection by the direction of its first packet. There
// is none before something has been sent.
func connectionDelete(e event.Event, _ bool) []command {
	w := append(inside(e), "conntrack", "-D")
	if strings.Contains(e.Get("src"), ":") {
		w = append(w, "--family", "ipv6")
	}
	for _, a := range e.Args {
		w = append(w, "--"+a.Key, a.Value)
	}
	return []command{{words: w, mayFail: true}}
}

// sysctl writes keys as people know them, with dots, unless one is in a part of
// it (net/ipv4/conf/eth0.10/forwarding).
func sysctl(e event.Event, _ bool) []command {
	key := e.Get("key")
	if !strings.Contains(key, ".") {
		key = strings.ReplaceAll(key, "/", ".")
	}
	return one(append(inside(e), "sysctl", "-qw", key+"="+e.Get("value")))
}

func maddrChange(e event.Event, _ bool) []command {
	return one(ip(e, "maddr", verb(e), e.Get("address"), "dev", e.Get("dev")))
}
