package main

import (
	"fmt"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"nsscript/runtime/labtest"
)

// neighbors is a line of namespaces whose neighbours are permanent entries, and the
// pairs that are next to each other.
const neighbors = `
n = %d
spaces = [netns("n%%d" %% i) for i in range(n)]
pairs = []
for i in range(1, n):
    cidr = "10.%%d.%%d." %% (i >> 8, i & 255)
    x, y = veth("e1", "e0", ns=spaces[i - 1], peer_ns=spaces[i], addr=cidr + "1/30", peer_addr=cidr + "2/30", up=True)
    neighbor(x, cidr + "2", y.mac)
    neighbor(y, cidr + "1", x.mac)
    pairs.append((spaces[i - 1], cidr + "2"))
require(ping_all(pairs, timeout="10s").ok)
`

const pingAtOnce = "t = now()\nr = ping_all(pairs, timeout=\"10s\")\nt = now() - t\nrequire(r.ok)\nprint(t)\n"

// BenchmarkPings: pings between the neighbours of a line of 1000, all at once, beside
// one program in C that keeps all of them in flight, and beside the ping program in
// each namespace, one after another.
func BenchmarkPings(b *testing.B) {
	labtest.Need(b, "cc", "ping")
	floor := filepath.Join(b.TempDir(), "pings")
	if text, err := exec.Command("cc", "-O2", "-o", floor, "../../testdata/floor/pings/pings.c").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	binary := build(b, "nsscript/cmd/nsscript")
	lab := fmt.Sprintf(neighbors, 1000)
	seconds := func(text string) func() time.Duration {
		return func() time.Duration { return time.Duration(measured(b, binary, lab+text) * 1e9) }
	}
	b.Run("c", func(b *testing.B) {
		pairs(b, 7, 3*time.Second, seconds(pingAtOnce), seconds(fmt.Sprintf(
			"list = \"\\n\".join([\"%%s %%s\" %% (ns.path, ip) for ns, ip in pairs])\nprint(float(exec_in(root, [%q], input=list).stdout.strip()) / 1e6)\n", floor)))
	})
	b.Run("program", func(b *testing.B) {
		pairs(b, 5, 3*time.Second, seconds(pingAtOnce), seconds(
			"t = now()\nfor ns, ip in pairs:\n    exec_in(ns, [\"ping\", \"-c\", \"1\", ip])\nprint(now() - t)\n"))
	})
}

// BenchmarkHTTP: a GET over a veth, from call to result, beside net/http over the
// loopback: one request for each connection, as a probe makes it.
func BenchmarkHTTP(b *testing.B) {
	binary := build(b, "nsscript/cmd/nsscript")
	const script = `
a, b = netns("a"), netns("b")
veth(ns=a, peer_ns=b, addr="10.0.0.1/24", peer_addr="10.0.0.2/24", up=True)
http_server(b, 80, {"/": "hello"})
require(http(a, "GET", "http://10.0.0.2/").ok)
t = now()
for _ in range(500):
    http(a, "GET", "http://10.0.0.2/")
print((now() - t) / 500)
`
	floor := build(b, "../../testdata/floor/http")
	theirs := fmt.Sprintf("ns = netns(\"a\")\nup(ns[\"lo\"])\nprint(exec_in(ns, [%q]).stdout.strip())\n", floor)
	pairs(b, 15, 0,
		func() time.Duration { return time.Duration(measured(b, binary, script) * 1e9) },
		func() time.Duration { return time.Duration(measured(b, binary, theirs) * 1e9) })
}

// BenchmarkThroughput: the time for a gigabit over one veth pair by throughput(),
// beside iperf3 in the same lab; a ratio below 1 is faster.
func BenchmarkThroughput(b *testing.B) {
	labtest.Need(b, "iperf3")
	binary := build(b, "nsscript/cmd/nsscript")
	const lab = "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n"
	ours := lab + "print(1e9 / throughput(a, b, 2).bits_per_second)\n"
	theirs := strings.Join([]string{lab + "spawn(b, [\"iperf3\", \"-s\"], ready=5201)",
		"r = json.decode(exec_in(a, [\"iperf3\", \"-J\", \"-c\", \"10.0.0.2\", \"-t\", \"2\"]).stdout)",
		"print(1e9 / r[\"end\"][\"sum_received\"][\"bits_per_second\"])\n"}, "\n")
	pairs(b, 7, 0,
		func() time.Duration { return time.Duration(measured(b, binary, ours) * 1e9) },
		func() time.Duration { return time.Duration(measured(b, binary, theirs) * 1e9) })
}
