// Package examples_test holds the example scripts to what they say: each one
// passes, a twin of each with one mistake in it fails a check, and what the
// labs are is confirmed by iproute2.
package examples_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"nsscript/runtime/labtest"
)

var binary string

func TestMain(m *testing.M) { os.Exit(testMain(m)) }

// testMain builds the program unless NSSCRIPT_BINARY names one.
func testMain(m *testing.M) int {
	if binary = os.Getenv("NSSCRIPT_BINARY"); binary != "" {
		return m.Run()
	}
	dir, err := os.MkdirTemp("", "nsscript-examples")
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 1
	}
	defer os.RemoveAll(dir)
	binary = filepath.Join(dir, "nsscript")
	build := exec.Command("go", "build", "-o", binary, "nsscript/cmd/nsscript")
	build.Env = append(os.Environ(), "CGO_ENABLED=0")
	if out, err := build.CombinedOutput(); err != nil {
		fmt.Fprintf(os.Stderr, "build nsscript: %v\n%s", err, out)
		return 1
	}
	return m.Run()
}

// result is how a program ended.
type result struct {
	code           int
	stdout, stderr string
}

func run(t *testing.T, input string, argv ...string) result {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), argv[0], argv[1:]...)
	cmd.WaitDelay = 5 * time.Second
	var stdout, stderr bytes.Buffer
	cmd.Stdin, cmd.Stdout, cmd.Stderr = strings.NewReader(input), &stdout, &stderr
	err := cmd.Run()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return result{-1, "", argv[0] + ": " + err.Error()}
	}
	return result{cmd.ProcessState.ExitCode(), stdout.String(), stderr.String()}
}

// source is the text of an example.
func source(t *testing.T, name string) string {
	t.Helper()
	b, err := os.ReadFile(name)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// eachExample runs a test for every example.
func eachExample(t *testing.T, test func(t *testing.T, name string)) {
	names, err := filepath.Glob("*.star")
	if err != nil || len(names) == 0 {
		t.Fatalf("no examples: %v", err)
	}
	for _, name := range names {
		t.Run(strings.TrimSuffix(name, ".star"), func(t *testing.T) { test(t, name) })
	}
}

func TestExamples(t *testing.T) {
	eachExample(t, func(t *testing.T, name string) {
		r := run(t, "", binary, name)
		if !lacking(t, r) && r.code != 0 {
			t.Errorf("exit status %d, want 0\n%s%s", r.code, r.stdout, r.stderr)
		}
		if !strings.HasPrefix(source(t, name), "# ") {
			t.Error("the first line does not say what it teaches")
		}
	})
}

// lacking skips a test whose script this kernel cannot run.
func lacking(t *testing.T, r result) bool {
	t.Helper()
	if r.code == 3 && strings.Contains(r.stderr, "this kernel has no ") {
		labtest.Lacks(t, "kinds", r.stderr)
	}
	if r.code == 3 && strings.Contains(r.stderr, "/dev/net/tun") {
		labtest.Lacks(t, "tun", r.stderr)
	}
	return false
}

// mutant is an example with one mistake.
type mutant struct {
	name     string
	old, new string
	args     []string
}

var mutants = map[string][]mutant{
	"blue.star": {
		{name: "wrong mask", old: `"10.1.1.1/24", broadcast`, new: `"10.1.1.1/16", broadcast`},
		{name: "left down", old: "up(veth1)\n", new: ""},
		{name: "no broadcast address", old: `, broadcast = "+"`, new: ""},
		{name: "wrong end moved", old: "move(veth1, blue)", new: "move(veth0, blue)"},
		{name: "other end up", old: "up(veth1)\n", new: "up(veth1, veth0)\n"},
		{name: "same mac", old: `veth("veth0", "veth1")`, new: `veth("veth0", "veth1", mac = "02:00:00:00:00:01", peer_mac = "02:00:00:00:00:01")`},
	},
	"namespaces_in_operation.star": {
		{name: "lo left down", old: `up(netns1["lo"])  #`, new: "#"},
		{name: "lo up from the start", old: `netns1 = netns("netns1")`, new: "netns1 = netns(\"netns1\")\nup(netns1[\"lo\"])"},
		{name: "left down", old: "up(veth0, veth1)", new: "up(veth0)"},
		{name: "wrong subnet", old: `"10.1.1.1/24"`, new: `"10.1.2.1/24"`},
		{name: "moved elsewhere", old: "move(veth1, 1)", new: `move(veth1, netns("elsewhere"))`},
		{name: "not deleted", old: "delete(netns1)", new: "print(netns1)"},
		{name: "process ended before", old: "delete(netns1)", new: "p.stop()\ndelete(netns1)\nsleep(0.2)"},
		{name: "a way out for packets", old: `netns1, "127.0.0.1", hold`, new: `root, "127.0.0.1", hold`},
	},
	"two_hosts.star": {
		{name: "wrong mask", old: `addr(b, "10.0.0.2/24")`, new: `addr(b, "10.0.0.2/32")`},
		{name: "wrong subnet", old: `addr(b, "10.0.0.2/24")`, new: `addr(b, "10.0.1.2/24")`},
		{name: "up too early", old: "up(a)\n", new: "up(a, b)\n"},
		{name: "wrong end down", old: "down(b)", new: "up(b)"},
		{name: "address of the other", old: `"10.0.0.9"`, new: `"10.0.0.2"`},
	},
	"switch.star": {
		{name: "wrong mask", old: `"10.0.0.%d/24" % (i + 1)`, new: `"10.0.0.%d/%d" % (i + 1, 32 if i == 3 else 24)`},
		{name: "an address", old: `switch("sw")`, new: `switch("sw", addr = "10.0.0.9/24")`},
		{name: "wrong port down", old: "down(sw.ports[3])", new: "down(sw.ports[2])"},
		{name: "flooded", old: "expect.lt(hosts[2]", new: "ping(hosts[0], hosts[2], count = 50, interval = \"1ms\")\nexpect.lt(hosts[2]"},
	},
	"router.star": {
		{name: "missing route", old: `route(h, "default", via = gateway)`, new: `(i, n) == (0, 3) or route(h, "default", via = gateway)`},
		{name: "wrong mask", old: `"%s/24" % net[n]`, new: `"%s/%d" % (net[n], 16 if (i, n) == (0, 3) else 24)`},
		{name: "still forwarding", old: `"net.ipv4.ip_forward", 0`, new: `"net.ipv4.ip_forward", 1`},
		{name: "one more hop", old: `ttl = 1)`, new: `ttl = 2)`},
	},
	"dual_stack.star": {
		{name: "missing route", old: `route(h, "::/0", via = v6)`, new: "pass"},
		{name: "wrong mask", old: `"2001:db8:2::1/64"]`, new: `"2001:db8:2::1/128"]`},
		{name: "not a router", old: `r = router("r")`, new: `r = host("r")`},
		{name: "still forwarding", old: `conf.all.forwarding", 0`, new: `conf.all.forwarding", 1`},
		{name: "both stop", old: `"net.ipv6.conf.all.forwarding", 0`, new: `"net.ipv4.ip_forward", 0`},
	},
	"capture.star": {
		{name: "not a router", old: `router("r"), host("b")`, new: `host("r"), host("b")`},
		{name: "another ttl", old: `ping(a, b).ttl`, new: `ping(a, b, ttl = 32).ttl`},
		{name: "a good checksum", old: `, checksum = 0xbad`, new: ``},
		{name: "a bad checksum", old: `[datagram(7001), `, new: `[datagram(7001, checksum = 0xbad), `},
	},
	"ipv6_only.star": {
		{name: "wrong prefix", old: `daemon = radvd(lan, "2001:db8:1::/64"`, new: `daemon = radvd(lan, "2001:db8:3::/64"`},
		{name: "no default route", old: "mtu = 1400)\nfor", new: "mtu = 1400, lifetime = 0)\nfor"},
		{name: "not a router", old: `r = router("r")`, new: `r = host("r")`},
		{name: "no MTU", old: ", mtu = 1400)\n", new: ")\n"},
		{name: "goes on", old: "daemon.stop()\nrequire.eventually", new: "catch(lambda: 1)\nexpect.eventually"},
	},
	"macvlan.star": {
		{name: "all may talk", old: `mode = mode, addr`, new: `mode = "bridge", addr`},
		{name: "nobody may talk", old: `mode = mode, addr`, new: `mode = "private", addr`},
		{name: "left down", old: `(i + 1), up = True)`, new: `(i + 1), up = i != 2)`},
	},
	"policy_routing.star": {
		{name: "tables swapped", old: "rule(r, src = subnet, table = table", new: "rule(r, src = subnet, table = 203 - table"},
		{name: "a default for all", old: "# The rules choose", new: "route(r, \"default\", via = \"192.0.2.2\")\n# The rules choose"},
		{name: "other rule deleted", old: "x.table == 102][0]", new: "x.table == 101][0]"},
	},
	"bond.star": {
		{name: "carrier not watched", old: `miimon = "20ms", `, new: ""},
		{name: "other cable cut", old: "down(ports[0][1])", new: "down(ports[1][1])"},
		{name: "another mode", old: `mode = "active-backup"`, new: `mode = "broadcast"`},
	},
	"gre.star": {
		{name: "another key", old: `remote = "2001:db8:b::1", key = 7`, new: `remote = "2001:db8:b::1", key = 9`},
		{name: "not forwarded", old: `router("middle")`, new: `host("middle")`},
		{name: "an MTU of its own", old: `addr = ["10.4.0.1/30"`, new: `mtu = 1400, addr = ["10.4.0.1/30"`},
		{name: "keys agree", old: "key = 8", new: "key = 7"},
	},
	"wireguard.star": {
		{name: "another key", old: "wg_peer(key_b, endpoint", new: "wg_peer(wg_key(), endpoint"},
		{name: "no way to the other", old: `route(a, "default", via = "192.0.2.9")`, new: "pass"},
		{name: "any source let in", old: `allowed_ips = ["10.9.0.1/32"]`, new: `allowed_ips = ["10.9.0.0/24"]`},
		{name: "peer not removed", old: "wg_set(wg_b, remove = [key_a])", new: "pass"},
	},
	"vrf.star": {
		{name: "one table", old: `("blue", 20)):
    v =`, new: `("blue", 20)):
    table = 10
    v =`},
		{name: "no VRF for one", old: "name = \"%s-%d\" % (color, i))\n", new: "name = \"%s-%d\" % (color, i))\n        i == 2 and set_link(r[\"%s-%d\" % (color, i)], master = False)\n"},
		{name: "stays", old: `set_link(r["red-2"], master = False)`, new: "pass"},
	},
	"ecmp.star": {
		{name: "hashed by addresses alone", old: `fib_multipath_hash_policy", 1)`, new: `fib_multipath_hash_policy", 0)`},
		{name: "weights swapped", old: "weight = first", new: "weight = 57 - first"},
		{name: "a fixed port", old: "sport = 1024 + i", new: "sport = 1024"},
	},
	"icmp_redirect.star": {
		{name: "no detour", old: `route(r1, "203.0.113.0/24", via = "10.0.0.2")`, new: `delete(r1["eth0"].addrs[0])`},
		{name: "not flushed", old: `flush(h, "route cache")`, new: "pass"},
		{name: "sends on", old: `sysctl(r1, "net.ipv4.conf.eth0.send_redirects", 0)`, new: "pass"},
	},
	"srv6.star": {
		{name: "no way round", old: "segs fc00:2::1,fc00:3::1,fc00:4::1", new: "segs fc00:4::1"},
		{name: "no segment", old: `route(r2, "fc00:2::1", dev = r2["eth0"], encap = "seg6local action End")`, new: "pass"},
		{name: "still there", old: "delete([x for x in r3.routes if x.dst == \"fc00:3::1\"][0])", new: "pass"},
	},
	"vlan_trunk.star": {
		{name: "VLANs ignored", old: "vlan_filtering = True", new: "vlan_filtering = False"},
		{name: "another VLAN on the trunk", old: "    for vid in (100, 101):", new: "    for vid in (101, 102):"},
		{name: "tagged to the hosts", old: "pvid = True, untagged = True", new: "pvid = True"},
		{name: "other VLAN removed", old: "trunk[0].vlans if v.vid == 101", new: "trunk[0].vlans if v.vid == 100"},
	},
	"vxlan.star": {
		{name: "another segment", old: "id = 42", new: "id = 42 + i // 3"},
		{name: "no flooding", old: "        if other != vtep:\n", new: "        if False:\n"},
		{name: "no learning", old: "id = 42,", new: "id = 42, learning = False,"},
		{name: "still flooding", old: "        delete(e)", new: "        pass"},
	},
	"leaf_spine.star": {
		{name: "host left down", old: "net.routers[:2], net.routers[2:]\n", new: "net.routers[:2], net.routers[2:]\ndown(leaves[0][\"eth2\"])\n", args: []string{"hosts=2"}},
		{name: "missing route", old: "# All pairs", new: "delete([r for r in leaves[0].routes if r.dst == \"default\"][0])\nroute(leaves[0], \"default\", via = \"172.16.0.1\")\n#", args: []string{"hosts=2"}},
		{name: "both spines cut off", old: "for l in spines[0].links:", new: "for l in list(spines[0].links) + list(spines[1].links):", args: []string{"hosts=2"}},
	},
}

// TestMutants shows that the checks of the examples can fail. Most of the time
// they wait for replies that do not come, so they run side by side.
func TestMutants(t *testing.T) {
	slots := make(chan bool, 6)
	eachExample(t, func(t *testing.T, name string) {
		t.Parallel()
		if len(mutants[name]) < 2 {
			t.Fatal("there are no mutants of it")
		}
		for _, m := range mutants[name] {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				if n := strings.Count(source(t, name), m.old); n != 1 {
					t.Errorf("%q is there %d times, want once", m.old, n)
				}
				twin := strings.Replace(source(t, name), m.old, m.new, 1)
				slots <- true
				r := run(t, twin, append([]string{binary, "-"}, m.args...)...)
				<-slots
				if !lacking(t, r) && r.code != 1 {
					t.Errorf("exit status %d, want 1\n%s%s", r.code, r.stdout, r.stderr)
				}
			})
		}
	})
}

// shapes are the topologies of @topo, with the greatest number of routers that
// a packet passes on its way.
var shapes = []struct {
	call                                     string
	hosts, routers, switches, links, longest int
}{
	{"line(1)", 1, 0, 0, 0, 0}, {"line(2)", 2, 0, 0, 1, 0}, {"line(9)", 9, 0, 0, 8, 7},
	{"ring(3)", 3, 0, 0, 3, 0}, {"ring(4)", 4, 0, 0, 4, 1}, {"ring(9)", 9, 0, 0, 9, 3},
	{"star(1)", 1, 0, 1, 1, 0}, {"star(5)", 5, 0, 1, 5, 0}, {"mesh(2)", 2, 0, 0, 1, 0}, {"mesh(5)", 5, 0, 0, 10, 0},
	{"tree(1, 1)", 1, 1, 0, 1, 0}, {"tree(2, 3)", 9, 4, 0, 12, 3}, {"tree(3, 2)", 8, 7, 0, 14, 5},
	{"leaf_spine()", 4, 4, 0, 8, 3}, {"leaf_spine(3, 3, 5)", 5, 6, 0, 14, 3}, {"leaf_spine(1, 1, 2)", 2, 2, 0, 3, 1},
	{"fat_tree(2)", 2, 5, 0, 6, 5}, {"fat_tree()", 16, 20, 0, 48, 5},
}

// everyAddress pings every address of every host from every other one, but in
// a mesh, where nobody forwards, only the one at their own cable.
const everyAddress = `
longest = 0
for a in net.hosts:
    for b in net.hosts:
        if a == b:
            continue
        for dst in [b] if is_mesh else [x for x in b.addrs if x.family == "inet" and x.link.name != "lo"]:
            p = ping(a, dst)
            expect(p.ok, "%s to %s: %s" % (a, b, p))
            longest = max(longest, 64 - (p.ttl or 0))
expect.eq(longest, want_longest)
expect.eq([len(x) for x in (net.hosts, net.routers, net.switches, net.links)], want)

learnt, permanent = 0, 0
for ns in namespaces():
    for n in ns.neighbors:
        if "." in n.ip:
            learnt += int(n.state != "permanent")
            permanent += int(n.state == "permanent")
if static:
    expect.eq((learnt, permanent), (0, len(net.hosts) * (len(net.hosts) - 1) if net.switches else 2 * len(net.links)))
else:
    expect.eq(permanent, 0)
`

func TestTopologies(t *testing.T) {
	for _, s := range shapes {
		for _, static := range []string{"False", "True"} {
			call := strings.Replace(s.call, ")", ", static_neighbors = "+static+")", 1)
			call = strings.Replace(call, "(, ", "(", 1)
			t.Run(call, func(t *testing.T) {
				name, _, _ := strings.Cut(call, "(")
				text := fmt.Sprintf("load(\"@topo\", %q)\nnet, static, is_mesh, want_longest = %s, %s, %v, %d\nwant = [%d, %d, %d, %d]\n",
					name, call, static, starlarkBool(name == "mesh"), s.longest, s.hosts, s.routers, s.switches, s.links)
				if r := run(t, text+everyAddress, binary, "-"); r.code != 0 {
					t.Errorf("exit status %d, want 0\n%s%s", r.code, r.stdout, r.stderr)
				}
			})
		}
	}
}

func starlarkBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// needs skips a test that needs programs which are not installed; it fails
// instead where NSSCRIPT_REQUIRE, a list of packages, has the package.
func needs(t *testing.T, pkg string, programs ...string) {
	t.Helper()
	for _, p := range programs {
		if _, err := exec.LookPath(p); err == nil {
			continue
		}
		if slices.Contains(strings.FieldsFunc(os.Getenv("NSSCRIPT_REQUIRE"), func(r rune) bool { return r == ',' || r == ' ' }), pkg) {
			t.Fatalf("%s is not installed (package %s), and NSSCRIPT_REQUIRE asks for it", p, pkg)
		}
		t.Skipf("%s is not installed (package %s)", p, pkg)
	}
}

// object is a JSON object.
type object = map[string]any

// parse reads JSON that a program printed; nothing at all is an empty list.
func parse(t testing.TB, text string) []object {
	t.Helper()
	var list []object
	// iproute2 6.1 prints two lists for some commands, one after the other.
	for d := json.NewDecoder(strings.NewReader(text)); d.More(); {
		var part []object
		if err := d.Decode(&part); err != nil {
			t.Fatalf("no JSON: %v\n%s", err, text)
		}
		for _, o := range part {
			if len(o) > 0 { // ip -j addr prints {} for a link that its filter leaves out
				list = append(list, o)
			}
		}
	}
	return list
}

// text is a value as one line of JSON, whose keys are sorted.
func text(v any) string {
	b, err := json.Marshal(v)
	if err != nil {
		return err.Error()
	}
	return string(b)
}

// same reports what of two sets is on one side only.
func same(t *testing.T, what string, got, want []object) {
	t.Helper()
	lines := func(list []object) []string {
		var out []string
		for _, o := range list {
			out = append(out, text(o))
		}
		slices.Sort(out)
		return out
	}
	g, w := lines(got), lines(want)
	if slices.Equal(g, w) {
		return
	}
	for _, l := range g {
		if !slices.Contains(w, l) {
			t.Errorf("%s: only nsscript has %s", what, l)
		}
	}
	for _, l := range w {
		if !slices.Contains(g, l) {
			t.Errorf("%s: only iproute2 has  %s", what, l)
		}
	}
	if len(g) != len(w) {
		t.Errorf("%s: nsscript has %d, iproute2 %d", what, len(g), len(w))
	}
}

// witness is what is appended to an example: it prints what nsscript's own
// attributes say of every namespace, and then what `ip` says.
const witness = `
def _witness():
    for ns in [root] + namespaces():
        told = {}
        for words in ("link", "addr", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule", "neigh"):
            told[words] = exec_in(ns, "ip -j -d " + words).stdout
        peers = {str(l.index): l.peer.index if l.peer else None for l in ns.links}
        got = {"ip": told, "ns": ns.name, "links": ns.links, "addrs": ns.addrs,
            "routes": ns.routes, "rules": ns.rules, "neighbors": ns.neighbors, "peers": peers}
        told["neigh afterwards"] = exec_in(ns, "ip -j -d neigh").stdout
        print("WITNESS " + json.encode(got))
_witness()
`

// TestWitness compares nsscript's attributes with what iproute2 reads, field
// by field, in every namespace of every example.
func TestWitness(t *testing.T) {
	needs(t, "iproute2", "ip")
	eachExample(t, func(t *testing.T, name string) {
		r := run(t, source(t, name)+witness, binary, "-")
		if !lacking(t, r) && r.code != 0 {
			t.Fatalf("exit status %d, want 0\n%s", r.code, r.stderr)
		}
		seen := 0
		for line := range strings.Lines(r.stdout) {
			data, ok := strings.CutPrefix(line, "WITNESS ")
			if !ok {
				continue
			}
			var w reading
			if err := json.Unmarshal([]byte(data), &w); err != nil {
				t.Fatal(err)
			}
			seen++
			w.compare(t)
		}
		if seen == 0 {
			t.Error("no namespace was read")
		}
	})
}

// reading is one namespace as witness prints it.
type reading struct {
	IP                                     map[string]string
	NS                                     string
	Links, Addrs, Routes, Rules, Neighbors []object
	Peers                                  map[string]any
}

func (w *reading) compare(t *testing.T) {
	var links, addrs, routes, rules, neighbors []object
	for _, l := range parse(t, w.IP["link"]) {
		links = append(links, w.link(t, l))
	}
	for _, l := range parse(t, w.IP["addr"]) {
		for _, a := range list(l["addr_info"]) {
			addrs = append(addrs, address(l, a))
		}
	}
	for _, r := range parse(t, w.IP["-4 route show table all"]+w.IP["-6 route show table all"]) {
		if r["table"] != "local" { // .routes leaves that table out
			routes = append(routes, routeOf(r))
		}
	}
	for _, family := range []string{"inet", "inet6"} {
		for _, r := range parse(t, w.IP[map[string]string{"inet": "-4 rule", "inet6": "-6 rule"}[family]]) {
			rules = append(rules, ruleOf(r, family))
		}
	}
	for _, n := range parse(t, w.IP["neigh"]) {
		neighbors = append(neighbors, neighborOf(n))
	}
	var afterwards []object
	for _, n := range parse(t, w.IP["neigh afterwards"]) {
		afterwards = append(afterwards, neighborOf(n))
	}
	for _, l := range w.Links {
		// Counters go on between the two readings; addresses are compared below.
		delete(l, "stats")
		delete(l, "addrs")
		l["peer_index"] = w.Peers[fmt.Sprint(l["index"])]
		delete(l, "peer")
		sortStrings(l["flags"])
		sortStrings(l["ports"])
	}
	for _, a := range w.Addrs {
		sortStrings(a["flags"])
	}
	for _, r := range w.Routes {
		for _, h := range list(r["hops"]) {
			maps.DeleteFunc(h, func(key string, _ any) bool { return key != "via" && key != "dev" && key != "weight" })
		}
	}
	same(t, w.NS+" links", known(w.Links, links), links)
	same(t, w.NS+" addrs", alike(w.Addrs, addrs), addrs)
	same(t, w.NS+" routes", alike(w.Routes, routes), routes)
	same(t, w.NS+" rules", alike(w.Rules, rules), rules)
	// The kernel learns neighbours and forgets them while this goes on: what both
	// readings of ip have must be there, and nothing that neither has.
	before, after := settled(neighbors), settled(afterwards)
	same(t, w.NS+" neighbors", common(settled(alike(w.Neighbors, append(neighbors, afterwards...))), before, after), common(before, after, before))
}

// known leaves out of links what ip's reading of the same leaves out: the options of
// kinds, which other tests hold against it.
func known(links, others []object) []object {
	for i, l := range links {
		for _, other := range others {
			if l["index"] == other["index"] {
				maps.DeleteFunc(links[i], func(key string, _ any) bool { _, there := other[key]; return !there })
			}
		}
	}
	return links
}

// alike leaves out of what is read what is not made of ip's reading here.
func alike(read, others []object) []object {
	for _, o := range read {
		maps.DeleteFunc(o, func(key string, _ any) bool {
			return !slices.ContainsFunc(others, func(other object) bool { _, there := other[key]; return there })
		})
	}
	return read
}

// common leaves out of some neighbours those that only one of two readings has.
func common(neighbors, before, after []object) []object {
	has := func(list []object, n object) bool {
		return slices.ContainsFunc(list, func(o object) bool { return text(o) == text(n) })
	}
	return slices.DeleteFunc(slices.Clone(neighbors), func(n object) bool { return has(before, n) != has(after, n) })
}

// settled leaves out neighbours that are being asked for or did not answer,
// which come and go, and the states that change with time.
func settled(neighbors []object) []object {
	var out []object
	for _, n := range neighbors {
		if n["mac"] == nil && n["proxy"] == false {
			continue
		}
		if n["state"] != "permanent" {
			delete(n, "state")
		}
		out = append(out, n)
	}
	return out
}

func sortStrings(v any) {
	list, _ := v.([]any)
	slices.SortFunc(list, func(a, b any) int { return strings.Compare(fmt.Sprint(a), fmt.Sprint(b)) })
}

func list(v any) []object {
	var out []object
	items, _ := v.([]any)
	for _, item := range items {
		out = append(out, item.(object))
	}
	return out
}

// anyOf is a value, or another one where there is none.
func anyOf(v, otherwise any) any {
	if items, ok := v.([]any); v == nil || ok && items == nil {
		return otherwise
	}
	return v
}

// link is a link of `ip -j -d link` under nsscript's names.
func (w *reading) link(t testing.TB, l object) object {
	info, _ := l["linkinfo"].(object)
	flags, _ := l["flags"].([]any)
	kind := info["info_kind"]
	if l["link_type"] == "loopback" {
		kind = "loopback" // ip has no kind for lo
	}
	peer := l["link_index"]
	if name, ok := l["link"]; ok { // in the same namespace ip says the name
		for _, other := range parse(t, w.IP["link"]) {
			if other["ifname"] == name {
				peer = other["ifindex"]
			}
		}
	}
	group := anyOf(l["group"], "default")
	if group == "default" {
		group = float64(0)
	}
	o := object{
		"name": l["ifname"], "ns": w.NS, "index": l["ifindex"], "kind": kind, "mac": l["address"], "mtu": l["mtu"],
		"up": slices.Contains(flags, any("UP")), "carrier": slices.Contains(flags, any("LOWER_UP")),
		"state": strings.ToLower(fmt.Sprint(l["operstate"])), "flags": flags, "peer_index": peer, "master": l["master"],
		"parent": nil, "alias": l["ifalias"], "altnames": anyOf(l["altnames"], []any{}), "txqueuelen": l["txqlen"],
		"group": group,
	}
	sortStrings(flags)
	switch kind {
	case "veth", "loopback":
		return o
	case "bridge":
	default: // of a lower link in another namespace ip does not know the name
		delete(o, "parent")
		if l["link_netnsid"] == nil {
			o["parent"] = l["link"]
		}
		o["peer_index"] = nil
		return o
	}
	var ports []any
	for _, p := range parse(t, w.IP["link"]) {
		if p["master"] == l["ifname"] {
			ports = append(ports, p["ifname"])
		}
	}
	sortStrings(ports)
	o["ports"] = anyOf(ports, []any{})
	data := info["info_data"].(object)
	for _, k := range []string{"ageing_time", "forward_delay", "hello_time", "max_age"} {
		o[k] = data[k].(float64) / 100 // ip prints hundredths of a second
	}
	var mask int
	fmt.Sscanf(strings.TrimPrefix(fmt.Sprint(data["group_fwd_mask"]), "0x"), "%x", &mask)
	o["group_fwd_mask"], o["priority"] = float64(mask), data["priority"]
	o["stp"], o["vlan_filtering"], o["mcast_snooping"] = data["stp_state"] != 0.0, data["vlan_filtering"] != 0.0, data["mcast_snooping"] != 0.0
	return o
}

// address is one of `ip -j -d addr`.
func address(l, a object) object {
	flags := []any{}
	for _, f := range []string{"dadfailed", "deprecated", "dynamic", "home", "mngtmpaddr", "nodad", "noprefixroute", "optimistic", "secondary", "temporary", "tentative"} {
		if a[f] == true {
			flags = append(flags, f)
		}
	}
	cidr := fmt.Sprintf("%v/%v", a["local"], a["prefixlen"])
	return object{
		"ip": a["local"], "prefixlen": a["prefixlen"], "cidr": cidr, "network": netip.MustParsePrefix(cidr).Masked().String(),
		"family": a["family"], "link": l["ifname"], "scope": a["scope"], "broadcast": a["broadcast"], "peer": a["address"],
		"label": a["label"], "flags": flags,
	}
}

var tables = map[any]float64{"main": 254, "local": 255, "default": 253}

func tableOf(v any) any {
	if n, ok := tables[v]; ok {
		return n
	}
	n, err := strconv.Atoi(fmt.Sprint(v))
	if err != nil {
		return v
	}
	return float64(n)
}

// routeOf is a route of `ip -j -d route`.
func routeOf(r object) object {
	hops := []any{}
	for _, h := range list(r["nexthops"]) {
		hops = append(hops, object{"via": h["gateway"], "dev": h["dev"], "weight": h["weight"]})
	}
	var mtu, advmss any
	for _, m := range list(r["metrics"]) {
		mtu, advmss = anyOf(m["mtu"], mtu), anyOf(m["advmss"], advmss)
	}
	flags, _ := r["flags"].([]any)
	if r["metric"] == 0.0 {
		r["metric"] = nil
	}
	return object{
		"dst": r["dst"], "via": r["gateway"], "dev": r["dev"], "metric": r["metric"], "table": tableOf(r["table"]), "type": r["type"],
		"proto": r["protocol"], "scope": r["scope"], "src": r["prefsrc"], "mtu": mtu, "advmss": advmss,
		"onlink": slices.Contains(flags, any("onlink")), "hops": hops, "tos": r["tos"], "locked": []any{}, // the examples lock none
	}
}

// ruleOf is a rule of `ip -j -d rule`. The examples make none; those of the
// kernel have nothing but a priority and a table.
func ruleOf(r object, family string) object {
	o := object{"priority": r["priority"], "table": tableOf(r["table"]), "action": "lookup", "family": family, "invert": false}
	for _, k := range []string{"src", "dst", "iif", "oif", "mark", "tos", "ipproto", "sport", "dport", "uidrange", "goto", "suppress_prefixlength"} {
		o[k] = r[k]
		if r[k] == "all" {
			o[k] = nil
		}
		if length, ok := r[k+"len"]; ok {
			o[k] = fmt.Sprintf("%v/%v", r[k], length)
		}
	}
	return o
}

// neighborOf is an entry of `ip -j -d neigh`.
func neighborOf(n object) object {
	_, router := n["router"]
	states, _ := n["state"].([]any)
	var state any
	if len(states) > 0 {
		state = strings.ToLower(fmt.Sprint(states[0]))
	}
	return object{"ip": n["dst"], "mac": n["lladdr"], "dev": n["dev"], "state": state, "proxy": false, "router": router}
}
