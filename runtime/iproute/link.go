package iproute

import (
	"slices"
	"strings"

	"nsscript/runtime/event"
)

func netnsChange(e event.Event, _ bool) []command {
	return one([]string{"ip", "netns", verb(e), e.Get("name")})
}

// linkWords are the keywords that `ip link` looks for where a link's name may
// stand (iplink_parse of iproute2); of abbreviated ones also the beginnings.
var (
	linkWords = strings.Fields(`addrgenmode allmulticast arp brd carrier group gro_ipv4_max_size gro_max_size
		gso_ipv4_max_size gso_max_segs gso_max_size index link-netns link-netnsid netns-immutable numrxqueues
		numtxqueues parentdev promisc protodown protodown_reason qlen state trailers up vf vrf
		xdp xdpdrv xdpgeneric xdpoffload`)
	abbreviated = strings.Fields(`address alias broadcast dev down dynamic help link master mode mtu multicast name
		netns nomaster txqlen txqueuelen type`)
)

// device names the link that `ip link` acts on, with the keyword before it
// ("dev" or "name") only where the name could be taken for something else.
func device(name, keyword string) []string {
	isBeginning := func(word string) bool { return strings.HasPrefix(word, name) }
	if strings.HasPrefix(name, "-") || slices.Contains(linkWords, name) || slices.ContainsFunc(abbreviated, isBeginning) {
		return []string{keyword, name}
	}
	return []string{name}
}

func linkAdd(e event.Event, exact bool) []command {
	w := ip(e, "link", "add")
	if parent := e.Get("link"); parent != "" {
		w = append(w, "link", parent, "name", e.Get("name"))
	} else {
		w = append(w, device(e.Get("name"), "name")...)
	}
	w = append(w, birth(e, "", exact)...)
	w = append(w, "type", e.Get("type"))
	for _, a := range e.Args {
		if key, ok := strings.CutPrefix(a.Key, "option "); ok {
			w = append(w, arguments([]event.Arg{{Key: key, Value: a.Value}})...)
		}
	}
	if name := e.Get("peer name"); name != "" {
		w = append(w, "peer", "name", name)
		w = append(w, birth(e, "peer ", exact)...)
	}
	return one(w)
}

// birth are the properties that a link is born with; prefix chooses those of a
// veth's other end.
func birth(e event.Event, prefix string, exact bool) []string {
	var own []event.Arg
	var netns string
	queues := false
	for _, a := range e.Args {
		key, ok := strings.CutPrefix(a.Key, prefix)
		if !ok || strings.Contains(key, " ") {
			continue
		}
		switch key {
		case "name", "type", "link", "given":
			continue
		case "netns": // the words before it read better side by side
			netns = a.Value
			continue
		case "numtxqueues", "numrxqueues":
			if !exact && a.Value == "1" {
				continue
			}
			queues = true
		case "index":
			if !exact || a.Value == "0" {
				continue
			}
		case "address":
			if !exact && !slices.Contains(e.All("given"), prefix+"address") {
				continue
			}
		}
		own = append(own, event.Arg{Key: key, Value: a.Value})
	}
	w := arguments(own)
	if exact && !queues && e.Get("type") == "veth" {
		// `ip` would give it one for each processor.
		w = append(w, "numtxqueues", "1", "numrxqueues", "1")
	}
	if netns != "" {
		w = append(w, "netns", netns)
	}
	return w
}

// linkSet is `ip token` for the one property that has a command of its own.
func linkSet(e event.Event, _ bool) []command {
	switch token := e.Get("option token"); token {
	case "":
	case "::":
		return one(ip(e, "token", "del", "dev", e.Get("dev")))
	default:
		return one(ip(e, "token", "set", token, "dev", e.Get("dev")))
	}
	w := append(ip(e, "link", "set"), device(e.Get("dev"), "dev")...)
	args := without(e.Args, "dev")
	for i, a := range args { // those of a kind
		args[i].Key = strings.TrimPrefix(a.Key, "option ")
	}
	return one(append(w, arguments(args)...))
}

func linkDelete(e event.Event, _ bool) []command {
	return one(append(ip(e, "link", "del"), device(e.Get("dev"), "dev")...))
}

func linkProperty(e event.Event, _ bool) []command {
	return one(append(ip(e, "link", "property", verb(e)), arguments(e.Args)...))
}
