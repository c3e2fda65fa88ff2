package main

import (
	"bytes"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"nsscript/runtime/labtest"
)

// The benchmarks run whole programs in pairs, ours and the floor in turn, and
// report the ratio of each pair: machines are noisy, a pair is not. A floor is a
// program that does the least that the same result needs (testdata/floor).
//
//	go test -run '^$' -bench . -benchtime 1x ./cmd/nsscript

// build builds a program without cgo, as the release is built.
func build(b *testing.B, pkg string) string {
	b.Helper()
	out := filepath.Join(b.TempDir(), filepath.Base(pkg))
	cmd := exec.Command("go", "build", "-o", out, pkg)
	cmd.Env = append(os.Environ(), "CGO_ENABLED=0")
	if text, err := cmd.CombinedOutput(); err != nil {
		b.Fatalf("build %s: %v\n%s", pkg, err, text)
	}
	return out
}

// timed runs a command and returns what it took.
func timed(b *testing.B, argv ...string) time.Duration {
	b.Helper()
	cmd := exec.Command(argv[0], argv[1:]...)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	start := time.Now()
	if err := cmd.Run(); err != nil {
		b.Fatalf("%v: %v\n%s", argv, err, stderr.String())
	}
	return time.Since(start)
}

// pairs runs ours and the floor in turn and reports medians, the median ratio
// and its spread (from the 10th to the 90th percentile). It rests after each run:
// the kernel is still taking down the namespaces of one when the next begins, and
// makes it wait.
func pairs(b *testing.B, n int, rest time.Duration, ours, floor func() time.Duration) {
	b.Helper()
	ours()
	floor()
	for b.Loop() {
		var a, f, ratios []float64
		for range n {
			x := ours().Seconds()
			time.Sleep(rest)
			y := floor().Seconds()
			time.Sleep(rest)
			a, f, ratios = append(a, x), append(f, y), append(ratios, x/y)
		}
		slices.Sort(a)
		slices.Sort(f)
		slices.Sort(ratios)
		b.ReportMetric(a[n/2]*1000, "ms")
		b.ReportMetric(f[n/2]*1000, "floor-ms")
		b.ReportMetric(ratios[n/2], "ratio")
		b.ReportMetric(ratios[n/10], "ratio-p10")
		b.ReportMetric(ratios[n-1-n/10], "ratio-p90")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkStart: an empty script beside a Go program that does nothing but
// start itself in the same six kinds of namespaces.
func BenchmarkStart(b *testing.B) {
	ours, floor := build(b, "nsscript/cmd/nsscript"), build(b, "../../testdata/floor/start")
	pairs(b, 60, 0,
		func() time.Duration { return timed(b, ours, "-q", os.DevNull) },
		func() time.Duration { return timed(b, floor) })
}

// lineScript builds N namespaces in a row, as testdata/floor/line does.
const lineScript = `
n = param("n", 100)
def cidr(i, host):
    b = i * 4 + host
    return "10.%d.%d.%d/30" % (b >> 16, (b >> 8) & 255, b & 255)
last = None
for i in range(n):
    ns = netns("n%d" % i)
    up(ns["lo"])
    if last:
        veth("e1", "e0", ns=last, peer_ns=ns, addr=cidr(i, 1), peer_addr=cidr(i, 2), up=True)
    last = ns
`

// BenchmarkLine: a line of N from Starlark through the binary, whole processes,
// beside raw netlink messages in the same sandbox.
func BenchmarkLine(b *testing.B) {
	ours, floor := build(b, "nsscript/cmd/nsscript"), build(b, "../../testdata/floor/line")
	script := filepath.Join(b.TempDir(), "line.star")
	if err := os.WriteFile(script, []byte(lineScript), 0o644); err != nil {
		b.Fatal(err)
	}
	for _, n := range []struct {
		nodes, pairs int
		rest         time.Duration
	}{{10, 30, 100 * time.Millisecond}, {100, 15, 300 * time.Millisecond}, {1000, 7, 3 * time.Second}} {
		b.Run(strconv.Itoa(n.nodes), func(b *testing.B) {
			pairs(b, n.pairs, n.rest,
				func() time.Duration { return timed(b, ours, "-q", script, fmt.Sprintf("n=%d", n.nodes)) },
				func() time.Duration { return timed(b, floor, strconv.Itoa(n.nodes)) })
		})
	}
}

// measured runs a script that prints one number of seconds.
func measured(b *testing.B, binary, text string) float64 {
	b.Helper()
	cmd := exec.Command(binary, "-q", "-")
	cmd.Stdin = strings.NewReader(text)
	var stderr bytes.Buffer
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	if err != nil {
		b.Fatalf("%v\n%s", err, stderr.String())
	}
	seconds, err := strconv.ParseFloat(strings.TrimSpace(string(out)), 64)
	if err != nil {
		b.Fatal(err)
	}
	return seconds
}

// BenchmarkExec: exec_in of /bin/true, output captured, beside Go's os/exec with
// captured output outside any namespace.
func BenchmarkExec(b *testing.B) {
	binary := build(b, "nsscript/cmd/nsscript")
	const runs = 200
	script := fmt.Sprintf("ns = netns(\"a\")\nexec_in(ns, [\"/bin/true\"])\nt = now()\nfor _ in range(%d):\n    exec_in(ns, [\"/bin/true\"])\nprint((now() - t) / %d)\n", runs, runs)
	pairs(b, 15, 0,
		func() time.Duration { return time.Duration(measured(b, binary, script) * 1e9) },
		func() time.Duration {
			start := time.Now()
			for range runs {
				cmd := exec.Command("/bin/true")
				var stdout, stderr bytes.Buffer
				cmd.Stdout, cmd.Stderr = &stdout, &stderr
				if err := cmd.Run(); err != nil {
					b.Fatal(err)
				}
			}
			return time.Since(start) / runs
		})
}

// BenchmarkExecView: exec_in of /bin/true with all that a program sees of its
// namespace (/sys, hostname, hosts, a file of its own), beside `ip netns exec` of it.
func BenchmarkExecView(b *testing.B) {
	labtest.Need(b, "iproute2")
	binary := build(b, "nsscript/cmd/nsscript")
	const script = "ns = netns(\"a\", files={\"/etc/nsscript-bench\": \"\"})\nexec_in(ns, [\"/bin/true\"])\nt = now()\nfor _ in range(200):\n    exec_in(%s)\nprint((now() - t) / 200)\n"
	run := func(words string) func() time.Duration {
		return func() time.Duration {
			return time.Duration(measured(b, binary, fmt.Sprintf(script, words)) * 1e9)
		}
	}
	pairs(b, 15, 0, run(`ns, ["/bin/true"]`), run(`root, ["ip", "netns", "exec", "a", "/bin/true"]`))
}

// BenchmarkPing: a ping over a settled veth from call to result. Beside it the
// same in C, a probe that enters the namespace, opens its socket and closes it
// (whole), and a C loop over one socket that is open already (socket).
func BenchmarkPing(b *testing.B) {
	labtest.Need(b, "cc")
	floor := filepath.Join(b.TempDir(), "ping")
	if text, err := exec.Command("cc", "-O2", "-o", floor, "../../testdata/floor/ping/ping.c").CombinedOutput(); err != nil {
		b.Fatalf("%v\n%s", err, text)
	}
	binary := build(b, "nsscript/cmd/nsscript")
	const lab = "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\nping(a, \"10.0.0.2\")\n"
	ours := lab + "t = now()\nfor _ in range(2000):\n    ping(a, \"10.0.0.2\")\nprint((now() - t) / 2000)\n"
	const result = "print(float(re.search(r\"[0-9.]+\", out).text) / 1e6)\n"
	for name, run := range map[string]string{
		"whole":  "out = exec_in(root, [%q, \"10.0.0.2\", \"2000\", a.path]).stdout\n",
		"socket": "sysctl(a, \"net.ipv4.ping_group_range\", \"0 0\")\nout = exec_in(a, [%q, \"10.0.0.2\", \"2000\"]).stdout\n",
	} {
		c := lab + fmt.Sprintf(run, floor) + result
		b.Run(name, func(b *testing.B) {
			pairs(b, 15, 0,
				func() time.Duration { return time.Duration(measured(b, binary, ours) * 1e9) },
				func() time.Duration { return time.Duration(measured(b, binary, c) * 1e9) })
		})
	}
}

// BenchmarkMemory: the peak resident memory of a lab of 1000 namespaces.
func BenchmarkMemory(b *testing.B) {
	binary := build(b, "nsscript/cmd/nsscript")
	for b.Loop() {
		cmd := exec.Command(binary, "-q", "-", "n=1000")
		cmd.Stdin = strings.NewReader(lineScript + "print(re.search(r\"VmHWM:\\s*(\\d+)\", read_file(\"/proc/1/status\")).groups[0])\n")
		out, err := cmd.Output()
		if err != nil {
			b.Fatal(err)
		}
		kib, err := strconv.Atoi(strings.TrimSpace(string(out)))
		if err != nil {
			b.Fatal(err)
		}
		b.ReportMetric(float64(kib)/1024, "MiB")
		b.ReportMetric(float64(cmd.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)/1024, "outer-MiB")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkPartition: 50 namespaces kept from 50 others, and back: milliseconds by
// the script's clock, the best of several, since other work on the machine only adds.
func BenchmarkPartition(b *testing.B) {
	binary := build(b, "nsscript/cmd/nsscript")
	const text = `
all = []
br = bridge("br0", up=True)
for i in range(100):
    all.append(netns("n%%d" %% i))
    veth("eth0", "p%%d" %% i, ns=all[i], peer_ns=root, peer_master=br, addr="10.0.0.%%d/24" %% (i + 1), up=True)
times = []
for _ in range(10):
    t = now()
    p = partition(all[:50], all[50:])
    u = now()
    p.heal()
    times.append([u - t, now() - u][%d])
    sleep("100ms")
print(min(times))
`
	for b.Loop() {
		b.ReportMetric(1000*measured(b, binary, fmt.Sprintf(text, 0)), "ms-partition")
		b.ReportMetric(1000*measured(b, binary, fmt.Sprintf(text, 1)), "ms-heal")
		b.ReportMetric(0, "ns/op")
	}
}

// BenchmarkFirewall: 1000 rules in one batch beside the program nft, which loads the same.
func BenchmarkFirewall(b *testing.B) {
	labtest.Need(b, "nft")
	binary := build(b, "nsscript/cmd/nsscript")
	const ours = `
ns = netns("a")
fw = firewall(ns)
def rules():
    for i in range(1000):
        fw.drop(src="10.%d.%d.0/24" % (i // 256, i % 256), proto="tcp", dport=1000 + i)
t = now()
fw.batch(rules)
print(now() - t)
`
	const theirs = `
ns = netns("a")
text = "table inet t {\n chain input {\n type filter hook input priority 0;\n"
for i in range(1000):
    text += "ip saddr 10.%d.%d.0/24 tcp dport %d counter drop\n" % (i // 256, i % 256, 1000 + i)
text += "}\n}\n"
exec_in(ns, ["nft", "-f", "-"], input="")
t = now()
exec_in(ns, ["nft", "-f", "-"], input=text)
print(now() - t)
`
	pairs(b, 11, 50*time.Millisecond,
		func() time.Duration { return time.Duration(measured(b, binary, ours) * 1e9) },
		func() time.Duration { return time.Duration(measured(b, binary, theirs) * 1e9) })
}
