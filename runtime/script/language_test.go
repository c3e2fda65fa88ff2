package script_test

import (
	"os"
	"regexp"
	"slices"
	"sort"
	"strings"
	"testing"

	"go.starlark.net/starlark"

	"nsscript/builtins"
)

func languagePage(t *testing.T) string {
	t.Helper()
	b, err := os.ReadFile("../../docs/language.md")
	if err != nil {
		t.Fatal(err)
	}
	return regexp.MustCompile("(?s)```.*?```").ReplaceAllString(string(b), "")
}

// TestLanguageNames: docs/language.md mentions every builtin, and no other.
func TestLanguageNames(t *testing.T) {
	page := languagePage(t)
	code := strings.Join(regexp.MustCompile("`[^`]+`").FindAllString(page, -1), "\n")
	for _, s := range builtins.Specs() {
		name := strings.Replace(strings.Replace(s.Name, "require", "expect", 1), "firewall.", "fw.", 1)
		if !regexp.MustCompile(`(^|[^\w.])` + regexp.QuoteMeta(name) + `($|[^\w])`).MatchString(code) {
			t.Errorf("docs/language.md does not mention %s", s.Name)
		}
	}
	index := builtins.Index()
	for _, m := range regexp.MustCompile(`(^|[^\w."])([a-z_]+(?:\.[a-z_]+)?)\(`).FindAllStringSubmatch(code, -1) {
		name := strings.Replace(m[2], "fw.", "firewall.", 1) // as scripts call the value
		if s, _ := builtins.Find(name); s != nil || starlark.Universe.Has(name) || strings.Contains(index, "\n  "+name+" ") {
			continue
		}
		t.Errorf("docs/language.md mentions %s(), which there is not", name)
	}
}

// TestLanguageParams: each keyword in a call that docs/language.md shows exists.
func TestLanguageParams(t *testing.T) {
	calls := regexp.MustCompile("`([a-z_.]+)\\(([^`]*)\\)")
	keyword := regexp.MustCompile(`([a-z_][a-z0-9_]*)=`)
	for _, m := range calls.FindAllStringSubmatch(languagePage(t), -1) {
		s, _ := builtins.Find(strings.Replace(m[1], "fw.", "firewall.", 1))
		if s == nil {
			continue
		}
		args := regexp.MustCompile(`hop\([^)]*\)`).ReplaceAllString(m[2], "")
		for _, k := range keyword.FindAllStringSubmatch(args, -1) {
			if !slices.ContainsFunc(s.Params, func(p builtins.Param) bool { return p.Name == k[1] }) {
				t.Errorf("docs/language.md: %s has no %s=", s.Name, k[1])
			}
		}
	}
}

// TestLanguageFields: the table of fields is what dir() of such values says.
func TestLanguageFields(t *testing.T) {
	o := job{Path: "fields.star", Source: `
blue = netns("blue")
a, b = veth("a", "b", peer_ns=blue, addr="10.0.0.1/24", peer_addr="10.0.0.2/24", up=True)
def show(name, *values):
    names = {}
    for v in values:
        for n in dir(v):
            names[n] = True
    print(name + ": " + " ".join(sorted(names)))
show("netns", blue)
fw = firewall(blue)
show("firewall", fw)
show("firewall rule", fw.accept())
show("link", a)
c, d = veth("c", "d", up=True)
br = bridge("br0", up=True, ports=[c])
show("bridge", br)
show("port", c)
if c.vlans:
    show("vlan", c.vlans[0])
show("bridge port", c.bridge_port)
show("fdb entry", c.fdb[0])
show("peer", wg_peer(wg_key()))
show("maddr", maddr(c, "01:00:5e:01:02:03"))
show("key", wg_key())
show("mdb entry", mdb(c, "239.1.1.1"))
show("stats", a.stats)
show("qdisc", a.qdiscs[0])
show("address", a.addrs[0])
show("route", root.routes[0])
show("hop", hop(dev=a))
show("rule", root.rules[0])
show("nexthop", nexthop(root, 1, via="10.0.0.2", dev=a))
show("bucket", nexthop_buckets(root, nexthop(root, 2, group=[1], type="resilient", buckets=1))[0])
show("neighbor", neighbor(a, "10.0.0.9", "02:00:00:00:00:09"))
show("exec result", exec_in(root, "true"))
show("process", spawn(root, "true"))
show("ping", ping(root, b))
show("radvd", radvd(a, "2001:db8::/64"))
show("ping_all", ping_all([root, blue]))
show("throughput", throughput(root, blue, "50ms"))
t = traceroute(root, b)
show("traceroute", t)
show("hop of a traceroute", t.hops[0])
show("arping", arping(a, "10.0.0.2"))
s = udp_server(blue, 7)
show("tcp", tcp(root, (b, 7)), udp(root, (b, 7)))
show("server", s, tcp_server(blue, 7))
show("request", s.requests[0])
show("socket", blue.sockets[0])
w = http_server(blue, 80)
show("http", http(root, "GET", "http://blue/"))
show("web server", w)
show("web request", w.requests[0])
d = dns_server(blue, {"x": "192.0.2.1"})
r = dns(root, "x")
show("dns", r)
show("answer", r.answers[0])
show("name request", d.requests[0])
l = dhcp_server(b)
show("lease server", l)
lease = dhcp_client(a, apply=False, timeout="60s")
show("lease", lease)
show("lease of a server", l.leases[0])
show("lease request", l.requests[0])
c = capture(a)
ping(root, b)
show("capture", c)
show("state", state(root))
show("diff", diff(state(root), state(blue)))
show("change", diff(state(root), state(blue)).removed[0])
show("packet", c.packets[0])
show("pkt", pkt.ip())
show("match", re.search("a", "a"))
show("error", catch(lambda: 1 // 0))
`}.start(t)
	if o.Ended != "" {
		t.Fatal(o.Reports)
	}
	fields := map[string]string{}
	for _, line := range strings.Split(strings.TrimSpace(o.Out), "\n") {
		name, list, _ := strings.Cut(line, ": ")
		fields[name] = list
	}
	// A bridge's and a port's are those of a link and their own.
	for _, kind := range []string{"bridge", "port"} {
		own := strings.Fields(fields[kind])
		own = slices.DeleteFunc(own, func(n string) bool { return slices.Contains(strings.Fields(fields["link"]), n) })
		fields[kind] = strings.Join(own, " ")
	}
	seen := map[string]bool{}
	_, table, _ := strings.Cut(languagePage(t), "## Fields of results")
	for _, m := range regexp.MustCompile(`(?m)^\| ([a-z_ ]+) \| (.*) \|$`).FindAllStringSubmatch(table, -1) {
		if m[1] == "value" || m[1] == "vlan" && fields["vlan"] == "" { // which this kernel may lack
			continue
		}
		var names []string
		for _, q := range regexp.MustCompile("`([^`]*)`").FindAllStringSubmatch(m[2], -1) {
			for _, n := range strings.Fields(q[1]) {
				n, _, _ = strings.Cut(n, "(")
				names = append(names, n)
			}
		}
		sort.Strings(names)
		seen[m[1]] = true
		if got := strings.Join(names, " "); got != fields[m[1]] {
			t.Errorf("docs/language.md says of %s\n     %s\nit is %s", m[1], got, fields[m[1]])
		}
	}
	for name, list := range fields {
		if !seen[name] {
			t.Errorf("docs/language.md lacks\n| %s | `%s` |", name, list)
		}
	}
}
