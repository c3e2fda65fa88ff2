package script_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"nsscript/builtins"
	"nsscript/runtime/lab"
)

// badCalls are builtins that make or change what is no link, each with the arguments
// that it has to be given: of them, and of every option, each with a value that it does
// not take.
var badCalls = []struct {
	name, required string
	byPosition     bool
}{
	{"addr", `link=a, addresses="10.9.0.1/24"`, true}, {"maddr", `link=a, group="239.1.1.1"`, false}, {"neighbor", `link=a, ip="10.0.0.9", mac="02:00:00:00:00:09"`, false},
	{"route", `ns=root, dst="192.0.2.0/24", dev=a`, false}, {"nexthop", `ns=root, id=7, dev=a`, false}, {"rule", `ns=root`, false}, {"route_get", `ns=root, dst="10.0.0.9"`, false}, {"routes", `ns=root`, false},
	{"sysctl", `ns=root, key="net.ipv4.ip_forward"`, false}, {"flush", `ns=root, what="neigh"`, false},
	{"bridge_port", `ports=p`, true}, {"bridge_vlan", `link=p, vid=7`, false}, {"bridge_vlan_global", `bridge=br, vid=7, mcast_querier=True`, false}, {"vni", `link=vx, vni=7`, false},
	{"fdb", `link=p, mac="02:00:00:00:00:07"`, false}, {"mdb", `link=p, group="239.1.1.1"`, false}, {"fou", `ns=root, port=5555, ipproto=4`, false},
	{"set_link", `links=a`, true}, {"move", `link=a, ns=root`, false}, {"rename", `link=a, name="z"`, false}, {"wg_peer", `public_key=wg_key().public`, false}, {"macsec_sa", `an=0`, false},
	{"netem", `links=a`, true}, {"htb", `links=a`, true}, {"fq_codel", `links=a`, true}, {"fq", `links=a`, true}, {"cake", `links=a`, true}, {"prio", `links=a`, true}, {"sfq", `links=a`, true},
	{"ingress", `links=a`, true}, {"clsact", `links=a`, true},
	{"netns", ``, false}, {"state", `ns=root`, false}, {"hop", `dev=a`, false}, {"nexthop_buckets", `ns=root, id=7`, false}, {"ready", `namespaces=root`, true},
	{"red", `links=a, limit="100kb", avpkt="1kb"`, true}, {"tbf", `links=a, rate="1mbit", burst="2kb"`, true}, {"shape", `a=a, b=b`, false}, {"blackhole", `link=a`, false}, {"flap", `link=a, down="1s", up="1s"`, false},
	{"tun", ``, false}, {"tap", ``, false}, {"veth", ``, false}, {"wg_set", `link=a`, false}, {"macsec_rx", `sci="0200000000010001"`, false}, {"macsec_set", `link=a`, false},
	{"up", `links=a`, true}, {"down", `links=a`, true}, {"wg_key", ``, false}, {"conntrack_on", `ns=root`, false},
}

// badBuiltins is a script of them: with a wrong type and just out of the range of each
// number, prefixes that are too long, broken MAC addresses and times before now, and
// with a link and a namespace that are gone. The state of the lab is then as it was.
func badBuiltins(t *testing.T) (text string, cases int) {
	t.Helper()
	var b strings.Builder
	b.WriteString(badInputHead + `
br = bridge("br")
p, q = veth("p", "q", master=br)
vx = vxlan("vx", id=42)
addr(a, "10.0.0.1/24")
up(a, b)
lost, _ = veth("lost", "lost2")
delete(lost)
before = state(root)
`)
	for _, call := range badCalls {
		s, _ := builtins.Find(call.name)
		if s == nil {
			t.Fatalf("there is no builtin %s", call.name)
		}
		bad := func(p builtins.Param, value string, words ...string) {
			cases++
			var args []string
			given := false
			for _, word := range strings.Split(call.required, ", ") {
				name, good, _ := strings.Cut(word, "=")
				if name == p.Name {
					given, good = true, value
				}
				keyword := slices.ContainsFunc(s.Params, func(p builtins.Param) bool { return p.Name == name && p.KeywordOnly })
				if word != "" && (!call.byPosition || keyword) {
					good = name + "=" + good
				}
				if word != "" {
					args = append(args, good)
				}
			}
			if !given {
				args = append(args, p.Name+"="+value)
			}
			fmt.Fprintf(&b, "no(lambda: %s(%s), %s)\n", s.Name, strings.Join(args, ", "), starlarkList(words))
		}
		for _, p := range s.Params {
			if p.Type.Name == "a value" || p.Keywords {
				continue
			}
			if p.Name != "key" && !strings.Contains(p.Type.Name, "function") {
				bad(p, "no", named(s, p), "got function", p.Type.Name)
			}
			if r := p.Type.Range; r != nil {
				words := []string{named(s, p), "is out of range", fmt.Sprintf("from %d to %d", r[0], r[1])}
				bad(p, fmt.Sprint(r[0]-1), words...)
				bad(p, fmt.Sprint(r[1])+" + 1", words...)
			}
			for _, w := range []struct {
				types []string
				value string
				words []string
			}{
				{[]string{"an address with its prefix length", "a subnet", `a subnet or "default"`, `a subnet, "default", or an MPLS label`}, `"10.0.0.0/33"`, []string{"at most 32 for IPv4"}},
				{[]string{"an address with its prefix length", "a subnet", `a subnet or "default"`, `a subnet, "default", or an MPLS label`}, `"fd00::/129"`, []string{"128 for IPv6"}},
				{[]string{"a MAC address"}, `"02:00:00:00:00"`, []string{"MAC address"}},
				{[]string{"a time in seconds, or with a unit", "a time with a unit", "a time in whole seconds, or with a unit"}, `"-1s"`, []string{"-1s"}},
				{[]string{"a link"}, "lost", []string{"was deleted"}},
				{[]string{"a namespace, its name or a pid"}, "gone", []string{"was deleted"}},
			} {
				if s.Name == "hop" && w.value == "lost" {
					continue // it only describes: route() looks at the link
				}
				if slices.Contains(w.types, p.Type.Name) {
					bad(p, w.value, w.words...)
				}
			}
		}
	}
	b.WriteString("expect(not diff(before, state(root)), str(diff(before, state(root))))\nexpect.eq(namespaces(), [])\nprint(\"all\")\n")
	return b.String(), cases
}

// named is how a complaint about an argument begins.
func named(s *builtins.Spec, p builtins.Param) string {
	if p.Variadic {
		return s.Name + ": argument "
	}
	return s.Name + ": " + p.Name + ": "
}

func starlarkList(words []string) string {
	var quoted []string
	for _, w := range words {
		quoted = append(quoted, fmt.Sprintf("%q", w))
	}
	return "[" + strings.Join(quoted, ", ") + "]"
}

// TestBadBuiltins: every option of what makes or changes other things than links, with
// what it does not take: an error with a position that names the option and, of a
// number, the range; and nothing is made.
func TestBadBuiltins(t *testing.T) {
	text, cases := badBuiltins(t)
	o := job{Path: "badinput.star", Source: text}.start(t)
	if o.Ended != "" || !strings.Contains(o.Out, "all") || len(o.Reports) > 0 {
		t.Fatal(o.Ended, o.Reports, o.Out)
	}
	if cases < 600 {
		t.Errorf("only %d cases", cases)
	}
	for _, s := range builtins.Specs() {
		has := slices.ContainsFunc(badCalls, func(c struct {
			name, required string
			byPosition     bool
		}) bool {
			return c.name == s.Name
		})
		elsewhere := lab.KindOf(s.Name) != nil || strings.Contains(s.Name, ".") || slices.Contains([]string{"delete", "diff", "partition", "during", "schedule"}, s.Name)
		switch s.Family {
		case "Links", "Addresses, routes, neighbours", "Shaping and faults":
			if !has && !elsewhere {
				t.Errorf("%s gets no bad input", s.Name)
			}
		}
	}
}
