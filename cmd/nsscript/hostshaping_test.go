package main

import (
	"path/filepath"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestHostUndoesShaping: the qdiscs, classes and filters of the machine's links are what
// they were when a script that changed them has failed.
func TestHostUndoesShaping(t *testing.T) {
	labtest.Need(t, "tc")
	o := machine(t, state+`
ip netns add m
ip -n m link add name a type veth peer name b
ip -n m link set dev a up
ip -n m link set dev b up
tc -n m qdisc add dev a root handle 1: htb default 20
tc -n m class add dev a parent 1: classid 1:1 htb rate 10mbit burst 15000
tc -n m class add dev a parent 1:1 classid 1:20 htb rate 2mbit ceil 10mbit
tc -n m qdisc add dev a parent 1:20 handle 20: pfifo limit 7
tc -n m filter add dev a parent 1: protocol ip pref 5 u32 match ip dst 10.0.0.0/8 classid 1:20
tc -n m qdisc add dev b root handle 7: tbf rate 1mbit burst 15000 limit 30000
all() {
	tc -n m qdisc | sed 's/direct_packets_stat [0-9]* //'
	for l in a b; do tc -n m class show dev $l; tc -n m filter show dev $l; tc -n m filter show dev $l ingress; done
}
all > before
$NS --host `+scriptFile(t, `
m = netns("m", exist=True)
a, b = m["a"], m["b"]
expect.fails(lambda: delete(a.qdiscs[0]), "was not made by this run")
tc.class_(a, "htb", parent="1:1", classid="1:20", rate="1mbit")
tc.class_(a, "htb", parent="1:1", classid="1:30", rate="1mbit")
tc.filter(a, "u32", protocol="ip", match="ip src 10.0.0.0/8", classid="1:30")
tc.qdisc(a, "pfifo", parent="1:20", limit=9)
tbf(a, rate="1mbit", burst=15000, latency="50ms")
clsact(a)
tbf(b, rate="2mbit", burst=15000, latency="50ms")
shape(a, b, rate="3mbit")
fail("now")
`)+` || true
all > after
cat before; echo ====; cat after
`)
	before, after, _ := strings.Cut(o.stdout, "====\n")
	if before != after || len(before) < 500 {
		t.Errorf("it was\n%s\nand is\n%s", before, after)
	}
	holds(t, o.stderr, "fail: now")
	if strings.Contains(o.stderr, "cannot be undone") || strings.Contains(o.stderr, "not undone") || strings.Contains(o.stderr, "expect.fails") {
		t.Errorf("stderr: %s", o.stderr)
	}
}

// TestFilterBPF: a filter is a program of an object file, which is there again when the
// qdisc that it belonged to is.
func TestFilterBPF(t *testing.T) {
	labtest.Need(t, "tc", "root")
	object, err := filepath.Abs("../../testdata/bpf/pass.o")
	if err != nil {
		t.Fatal(err)
	}
	o := finish(t, nsscript(t, "-q", scriptFile(t, `
a, b = veth("a", "b", up=True)
htb(a)
tc.class_(a, "htb", parent="1:", classid="1:1", rate="1mbit")
f = tc.filter(a, "bpf", object="`+object+`", section="lwt_in", classid="1:1")
def told(): return exec_in(root, "tc filter show dev a").stdout
expect.matches(told(), "flowid 1:1 pass.o:\\[lwt_in\\]")
before = state(root)
tbf(a, rate="1mbit", burst=15000, limit=30000).undo()
expect(not diff(before, state(root)), str(diff(before, state(root))))
expect.matches(told(), "flowid 1:1 pass.o:\\[lwt_in\\]")
expect.fails(lambda: tc.filter(a, "bpf", object="`+object+`", section="nix"), "no such section")
f.undo()
expect.eq(a.filters, [])
`)))
	if o.code == exitCannot {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	if o.code != exitOK {
		t.Errorf("exit status %d\n%s", o.code, o.stderr)
	}
}
