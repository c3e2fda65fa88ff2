package lab_test

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"path/filepath"
	"testing"
	"time"

	"nsscript/runtime/lab"
	"nsscript/runtime/labtest"
	"nsscript/runtime/netns"
	"nsscript/runtime/probe"
	"nsscript/runtime/process"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// newLab makes a lab whose root is the test process's namespace.
func newLab(t *testing.T) *lab.Lab {
	t.Helper()
	labtest.Need(t, "sandbox")
	l, err := lab.New(context.Background(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		for _, ns := range l.Namespaces() {
			_ = ns.Delete(context.Background())
		}
		l.Close()
	})
	return l
}

func namespace(t *testing.T, l *lab.Lab, name string) *lab.Namespace {
	t.Helper()
	ns, err := l.AddNamespace(context.Background(), lab.NamespaceSpec{Name: name})
	if err != nil {
		t.Fatal(err)
	}
	return ns
}

func spec(ns *lab.Namespace, cidrs ...string) lab.LinkSpec {
	s := lab.LinkSpec{NS: ns, TxQLen: -1, Up: true}
	for _, c := range cidrs {
		s.Addrs = append(s.Addrs, lab.AddrSpec{Prefix: netip.MustParsePrefix(c), Scope: -1})
	}
	return s
}

// The first packet must be neither lost nor late: linkwatch, bridge ports and IPv6
// addresses settle in work items that a probe must not outrun. What outruns them
// waits for a timer of a second, of linkwatch or of ARP.
const (
	onTime = 50 * time.Millisecond  // on the way, by the kernel's clock
	lost   = 500 * time.Millisecond // it came too early, and was sent again
)

// firstPing pings for the first time over something fresh and tells whether the
// packet was on time. One that was lost fails the test.
func firstPing(t *testing.T, ns *lab.Namespace, dst string) (good bool) {
	t.Helper()
	start := time.Now()
	r, err := ns.Ping(context.Background(), probe.PingRequest{Dst: netip.MustParseAddr(dst), Timeout: 20 * time.Second})
	if err != nil {
		t.Fatal(err)
	}
	took := time.Since(start)
	if r.Received != 1 || r.Max() > lost {
		t.Fatalf("first ping to %s took %v, of which %v on the way: %v", dst, took, r.RTTs, r.Err)
	}
	limit := onTime
	if os.Getenv("NSSCRIPT_KERNEL") != "" {
		limit *= 4 // under emulation the same work takes longer
	}
	// The time before it is sent is the kernel's: its workers, on a machine
	// that may be busy, make links and then addresses usable.
	if before := took - r.Max(); before > 2*lab.SettleLimit+5*time.Second {
		t.Errorf("it took %v to settle", before)
	}
	if r.Max() > limit {
		t.Logf("first ping to %s took %v on the way", dst, r.Max())
	}
	return r.Max() <= limit
}

// firstPings builds something fresh again and again and pings over it. A packet
// that is late because the machine is busy is on time with the next fresh one, or
// the one after; one that is late because it came too early is not.
func firstPings(t *testing.T, rounds int, build func(l *lab.Lab, i int) (ns *lab.Namespace, dst string)) {
	t.Helper()
	l := newLab(t)
	late := 0
	for i := range rounds {
		ns, dst := build(l, i)
		if firstPing(t, ns, dst) {
			late = 0
		} else if late++; late == 3 {
			t.Fatalf("three first pings one after the other were late, the last in round %d", i)
		}
		discard(l, i)
	}
}

// TestFirstPingVeth: no first ping over a fresh cable is lost to settling.
func TestFirstPingVeth(t *testing.T) {
	firstPings(t, 500, func(l *lab.Lab, i int) (*lab.Namespace, string) {
		a, b := namespace(t, l, fmt.Sprintf("a%d", i)), namespace(t, l, fmt.Sprintf("b%d", i))
		if _, _, err := l.AddVeth(context.Background(), spec(a, "10.0.0.1/24", "fd00::1/64"), spec(b, "10.0.0.2/24", "fd00::2/64")); err != nil {
			t.Fatal(err)
		}
		if i/2%2 == 0 {
			return a, "10.0.0.2"
		}
		return b, "fd00::1"
	})
}

// discard deletes the namespaces after every 50th round and lets the kernel
// clean up: while it does, it holds the lock (rtnl) that everything waits for,
// which is not what is measured here. Keeping all would fill the neighbour table.
func discard(l *lab.Lab, round int) {
	if round%50 != 49 {
		return
	}
	for _, ns := range l.Namespaces() {
		_ = ns.Delete(context.Background())
	}
	time.Sleep(700 * time.Millisecond)
}

// TestFirstPingBridge: nor over a fresh bridge.
func TestFirstPingBridge(t *testing.T) {
	firstPings(t, 100, func(l *lab.Lab, i int) (*lab.Namespace, string) {
		sw, a, b := namespace(t, l, fmt.Sprintf("s%d", i)), namespace(t, l, fmt.Sprintf("a%d", i)), namespace(t, l, fmt.Sprintf("b%d", i))
		br, err := l.AddLink(context.Background(), lab.KindOf("bridge"), spec(sw), nil, nil)
		if err != nil {
			t.Fatal(err)
		}
		for j, host := range []*lab.Namespace{a, b} {
			port := spec(sw)
			port.Master = br
			if _, _, err := l.AddVeth(context.Background(), port, spec(host, fmt.Sprintf("10.0.0.%d/24", j+1), fmt.Sprintf("fd00::%d/64", j+1))); err != nil {
				t.Fatal(err)
			}
		}
		if i/2%2 == 0 {
			return a, "10.0.0.2"
		}
		return b, "fd00::1"
	})
}

// rounds is how often a test makes something of which nothing may stay.
func rounds() int {
	if os.Getenv("NSSCRIPT_KERNEL") != "" {
		return 200 // under emulation
	}
	return 1000
}

// threads counts the threads of the process.
func threads(t *testing.T) int {
	t.Helper()
	list, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(list)
}

// leaksNothing calls a function often, and often again, and fails the test if
// that leaves anything behind. The Go runtime keeps a few threads for later.
func leaksNothing(t *testing.T, round func(l *lab.Lab)) {
	t.Helper()
	labtest.Need(t, "sandbox")
	labtest.NoLeaks(t)
	l := newLab(t)
	for range 20 {
		round(l)
	}
	before := threads(t)
	for range rounds() {
		round(l)
	}
	if n := threads(t); n > before+8 {
		t.Errorf("%d threads, %d before", n, before)
	}
}

// TestExecLeaksNothing: a thousand programs leave no descriptor, thread or zombie.
func TestExecLeaksNothing(t *testing.T) {
	leaksNothing(t, func(l *lab.Lab) {
		r, err := l.Root.Exec(context.Background(), process.Spec{Argv: []string{"/bin/echo", "hello"}}, true)
		if err != nil || r.Stdout != "hello\n" {
			t.Fatalf("%q, %v", r.Stdout, err)
		}
	})
}

// TestNamespacesLeakNothing: nor do a thousand namespaces, each with a cable to
// the root namespace and a process; they leave no mount, link or name either.
func TestNamespacesLeakNothing(t *testing.T) {
	leaksNothing(t, func(l *lab.Lab) {
		ctx := context.Background()
		ns := namespace(t, l, "a")
		if _, _, err := l.AddVeth(ctx, spec(l.Root), spec(ns)); err != nil {
			t.Fatal(err)
		}
		p, err := ns.Spawn(ctx, process.Spec{Argv: []string{"/bin/sleep", "60"}}, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(ns.Delete(ctx), l.Stop(ctx, p, time.Second)); err != nil {
			t.Fatal(err)
		}
	})
}

// TestThreadsComeHome: after entering namespaces the process is where it was.
func TestThreadsComeHome(t *testing.T) {
	l := newLab(t)
	home, err := os.Readlink("/proc/self/ns/net")
	if err != nil {
		t.Fatal(err)
	}
	ns := namespace(t, l, "a")
	if _, err := ns.Sysctl(context.Background(), "net.ipv4.ip_forward"); err != nil {
		t.Fatal(err)
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/ns/net")
	for _, task := range tasks {
		if at, err := os.Readlink(task); err == nil && at != home {
			t.Errorf("%s is %s, home is %s", task, at, home)
		}
	}
}

// TestDoReturnsAfterPanic: a panic inside a namespace brings the thread back.
func TestDoReturnsAfterPanic(t *testing.T) {
	l := newLab(t)
	ns := namespace(t, l, "a")
	fd, err := netns.Open(ns.Path)
	if err != nil {
		t.Fatal(err)
	}
	func() {
		defer func() { _ = recover() }()
		_ = netns.Do(fd, func() error { panic("on purpose") })
	}()
	at, _ := os.Readlink("/proc/thread-self/ns/net")
	home, _ := os.Readlink("/proc/self/ns/net")
	if at != home {
		t.Errorf("the thread is in %s, home is %s", at, home)
	}
}

// TestNearest: a misspelt word finds what it means, however short.
func TestNearest(t *testing.T) {
	for word, want := range map[string]string{"mtuu": "mtu", "vet": "veth", "bridgee": "bridge", "adrr": "addr", "xyzzy": "", "upp": "up", "up": "", "vth": "veth", "rote": "route"} {
		if got := lab.Nearest(word, []string{"mtu", "vti", "veth", "vlan", "bridge", "addr", "up", "route"}); got != want {
			t.Errorf("Nearest(%q) = %q, want %q", word, got, want)
		}
	}
}
