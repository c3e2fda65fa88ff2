package lab_test

import (
	"context"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"testing"
	"time"

	"nsscript/runtime/lab"
	"nsscript/runtime/labtest"
	"nsscript/runtime/probe"
	"nsscript/runtime/process"
)

// held counts what operations could leave in the process: descriptors, threads,
// goroutines, children that nobody has waited for.
func held(t *testing.T) [4]int {
	t.Helper()
	fds, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	children := 0
	files, _ := filepath.Glob("/proc/self/task/*/children")
	for _, f := range files {
		text, _ := os.ReadFile(f)
		children += len(strings.Fields(string(text)))
	}
	return [4]int{len(fds), tasks(t), runtime.NumGoroutine(), children}
}

// TestThousandOperations: programs, probes, servers and captures leave no descriptor,
// thread, goroutine or zombie.
func TestThousandOperations(t *testing.T) {
	labtest.NoLeaks(t)
	l, ctx := newLab(t), context.Background()
	a, b := namespace(t, l, "a"), namespace(t, l, "b")
	at := netip.MustParseAddrPort("10.0.0.2:80")
	x, y := spec(a), spec(b)
	x.Addrs, y.Addrs = []lab.AddrSpec{{Prefix: netip.MustParsePrefix("10.0.0.1/24"), Scope: -1}}, []lab.AddrSpec{{Prefix: netip.MustParsePrefix("10.0.0.2/24"), Scope: -1}}
	x.Up, y.Up = true, true
	if _, _, err := l.AddVeth(ctx, x, y); err != nil {
		t.Fatal(err)
	}
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	all := func() {
		_, err := a.Exec(ctx, process.Spec{Argv: []string{"/bin/true"}}, true)
		must(err)
		p, err := b.Spawn(ctx, process.Spec{Argv: []string{"/bin/sleep", "600"}}, nil)
		must(err)
		must(l.Stop(ctx, p, time.Minute))
		c, err := l.StartCapture(ctx, lab.CaptureSpec{At: []lab.CapturePoint{{NS: a}}})
		must(err)
		r, err := a.Ping(ctx, probe.PingRequest{Dst: at.Addr(), Timeout: 10 * time.Second})
		must(err)
		if r.Received != 1 {
			t.Fatalf("ping: %v", r.Err)
		}
		s, err := b.ServeHTTP(ctx, at, false, func(probe.WebRequest) probe.WebAnswer { return probe.WebAnswer{Status: 200} })
		must(err)
		web, err := a.HTTP(ctx, probe.HTTPRequest{Dialing: probe.Dialing{To: at}, Method: "GET", URL: "http://10.0.0.2/", Header: http.Header{}, Timeout: 10 * time.Second})
		must(err)
		must(web.Err)
		must(l.StopServer(ctx, s))
		c.Halt(ctx)
	}
	rounds := 250
	if os.Getenv("NSSCRIPT_KERNEL") != "" {
		rounds = 20 // emulation is slow
	}
	for range 5 {
		all()
	}
	before := held(t)
	for range rounds {
		all()
	}
	// A few threads more may be there by chance; what ends does so a moment later.
	var now [4]int
	for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
		now = held(t)
		if now[0] <= before[0]+3 && now[1] <= before[1]+8 && now[2] <= before[2]+3 && now[3] <= before[3] {
			return
		}
	}
	t.Errorf("%d rounds: descriptors, threads, goroutines, children were %v, and are %v", rounds, before, now)
}
