// Package examples_test holds the example scripts to what they say: each one
// passes, a twin of each with one mistake in it fails a check, and what the
// labs are is confirmed by iproute2.
package examples_test

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
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

// testMain builds the program unless NSSCRIPT_BINARY names one. Labs wait more than
// they compute (for links to settle, for replies that do not come), so that several run
// side by side, whatever the number of processors.
func testMain(m *testing.M) int {
	_ = flag.Set("test.parallel", "4")
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

// unlessShort leaves out with -short what proves tests and explanations, which is the
// same whoever does it.
func unlessShort(t *testing.T) {
	t.Helper()
	if testing.Short() {
		t.Skip("left out by -short")
	}
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
		t.Run(strings.TrimSuffix(name, ".star"), func(t *testing.T) {
			t.Parallel()
			test(t, name)
		})
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
        for family, words in [("", ["link", "addr", "neigh"]), ("-4", ["route show table all", "rule"]), ("-6", ["route show table all", "rule"])]:
            said = exec_in(ns, "ip -j -d %s -batch -" % family, input="\n".join(words)).stdout
            told.update(zip([(family + " " + w).strip() for w in words], said.splitlines()))
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
