package iproute

import (
	"strings"

	"nsscript/runtime/event"
)

// probes has, for each question that a lab asks its network, the command of a
// program that asks the same.
var probes = map[string]func(e event.Event) []string{
	"ping":       ping,
	"throughput": iperf,
	"traceroute": trace,
	"arping":     arping,
	"tcp":        exchange,
	"udp":        exchange,
	"http":       curl,
	"dns":        dig,

	"dhcp_client": udhcpc,
	"dhcp_server": dnsmasq,

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

// curl is the command of curl.
func curl(e event.Event) []string {
	w := append(inside(e), "curl", "-i", "-k")
	if method := e.Get("method"); method == "HEAD" {
		w = append(w, "-I")
	} else if method != "GET" {
		w = append(w, "-X", method)
	}
	if v := e.Get("timeout"); v != "" {
		w = append(w, "-m", v)
	}
	for _, header := range e.All("header") {
		w = append(w, "-H", header)
	}
	if e.Has("body") {
		w = append(w, "--data-binary", e.Get("body"))
	}
	return append(w, e.Get("url"))
}

// dig is the command of BIND's dig.
func dig(e event.Event) []string {
	w := append(inside(e), "dig", "@"+e.Get("server"))
	if port := e.Get("port"); port != "" && port != "53" {
		w = append(w, "-p", port)
	}
	return append(w, "-q", e.Get("name"), "-t", e.Get("type"))
}

// udhcpc is the command of BusyBox, which asks once.
func udhcpc(e event.Event) []string {
	if server := e.Get("server"); server != "" { // which signals tell a running one
		return ownWords(e)
	}
	w := append(inside(e), "udhcpc", "-f", "-n", "-q", "-i", e.Get("dev"))
	if v := e.Get("request"); v != "" {
		w = append(w, "-r", v)
	}
	if v := e.Get("hostname"); v != "" {
		w = append(w, "-x", "hostname:"+v)
	}
	return w
}

// dnsmasq is the command of dnsmasq(8) as a server of DHCP alone.
func dnsmasq(e event.Event) []string {
	w := append(inside(e), "dnsmasq", "-k", "-p", "0")
	if dev := e.Get("dev"); dev != "" {
		w = append(w, "-i", dev)
	}
	lease := e.Get("lease")
	if lease == "4294967295" {
		lease = "infinite"
	}
	w = append(w, "-F", e.Get("first")+","+e.Get("last")+","+lease)
	for _, o := range []struct{ key, name string }{{"router", "router"}, {"dns", "dns-server"}, {"domain", "domain-name"}} {
		if v := e.Get(o.key); v != "" {
			w = append(w, "-O", "option:"+o.name+","+v)
		}
	}
	for _, host := range e.All("host") {
		w = append(w, "-G", host)
	}
	return w
}

// iperf is the command of iperf3, whose server has to run on the other side.
func iperf(e event.Event) []string {
	w := append(inside(e), "iperf3", "-c", e.Get("dst"), "-t", e.Get("seconds"), "-P", e.Get("streams"))
	if e.Has("udp") {
		w = append(w, "-u")
	}
	if rate := e.Get("rate"); rate != "" {
		w = append(w, "-b", rate)
	}
	return w
}

// trace is the command of Dmitry Butskoy's traceroute.
func trace(e event.Event) []string {
	w := append(inside(e), "traceroute", "-n")
	switch e.Get("proto") {
	case "icmp":
		w = append(w, "-I")
	case "tcp":
		w = append(w, "-T")
	}
	for _, f := range []struct{ key, flag string }{{"max_ttl", "-m"}, {"queries", "-q"}, {"timeout", "-w"}, {"port", "-p"}, {"src", "-s"}} {
		if v := e.Get(f.key); v != "" {
			w = append(w, f.flag, v)
		}
	}
	return append(w, e.Get("dst"))
}

// arping is the command of iputils.
func arping(e event.Event) []string {
	w := append(inside(e), "arping", "-I", e.Get("dev"), "-c", e.Get("count"))
	if e.Has("gratuitous") {
		w = append(w, "-A")
	}
	if v := e.Get("src"); v != "" && !e.Has("gratuitous") {
		w = append(w, "-s", v)
	}
	return append(w, e.Get("dst"))
}
