package lab_test

import (
	"context"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
	"nsscript/runtime/process"
)

// rawSockets counts the process's raw ICMP sockets.
func rawSockets(t *testing.T) int {
	t.Helper()
	files, err := os.ReadDir("/proc/self/fd")
	if err != nil {
		t.Fatal(err)
	}
	n := 0
	for _, f := range files {
		fd, _ := strconv.Atoi(f.Name())
		kind, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_TYPE)
		proto, _ := unix.GetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_PROTOCOL)
		if kind == unix.SOCK_RAW && (proto == unix.IPPROTO_ICMP || proto == unix.IPPROTO_ICMPV6) {
			n++
		}
	}
	return n
}

func mustPing(t *testing.T, ns *lab.Namespace, dst string) {
	t.Helper()
	r, err := ns.Ping(context.Background(), probe.PingRequest{Dst: netip.MustParseAddr(dst), Timeout: 10 * time.Second})
	if err != nil || r.Err != nil {
		t.Fatalf("%s to %s: %v, %v", ns, dst, err, r.Err)
	}
}

// TestPingSockets: sockets are kept for the next pings, not many, and nobody sees
// them.
func TestPingSockets(t *testing.T) {
	ctx := context.Background()
	l := newLab(t)
	hub := namespace(t, l, "hub")
	var spaces []*lab.Namespace
	for i := range 6 {
		ns := namespace(t, l, fmt.Sprintf("n%d", i))
		if _, _, err := l.AddVeth(ctx, spec(hub), spec(ns, fmt.Sprintf("10.0.%d.1/24", i), fmt.Sprintf("fd00:%d::1/64", i))); err != nil {
			t.Fatal(err)
		}
		spaces = append(spaces, ns)
		lo, err := ns.Link("lo")
		if err == nil {
			err = lo.SetUp(ctx, true)
		}
		if err != nil {
			t.Fatal(err)
		}
	}
	all := func() {
		for i, ns := range spaces {
			mustPing(t, ns, fmt.Sprintf("10.0.%d.1", i))
			mustPing(t, ns, fmt.Sprintf("fd00:%d::1", i))
		}
	}
	all()
	all()
	if n := rawSockets(t); n == 0 || n > 8 {
		t.Errorf("%d sockets are kept", n)
	}
	last := spaces[len(spaces)-1]
	r, err := last.Exec(ctx, process.Spec{Argv: []string{"cat", "/proc/net/raw", "/proc/net/raw6"}}, true)
	if err != nil || strings.Count(r.Stdout, "\n") != 2 {
		t.Errorf("a program sees a socket (%v)\n%s", err, r.Stdout)
	}
	if n := rawSockets(t); n != 0 {
		t.Errorf("%d sockets are kept beside a program", n)
	}

	all()
	if list, err := last.Sockets(); err != nil || len(list) > 0 {
		t.Errorf("a list of sockets has %v, %v", list, err)
	}
	all()
	before, _, err := hub.Links()
	if err == nil {
		err = last.Delete(ctx)
	}
	if err != nil {
		t.Fatal(err)
	}
	waitUntil(t, "the namespace ends, and its veth with it", func() bool {
		after, _, err := hub.Links()
		return err == nil && len(after) == len(before)-1
	})
	spaces = spaces[:len(spaces)-1]

	p, err := l.Root.Spawn(ctx, process.Spec{Argv: []string{"/bin/sleep", "60"}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	all()
	if n := rawSockets(t); n != 0 {
		t.Errorf("%d sockets are kept beside a process", n)
	}
	if err := l.Stop(ctx, p, time.Second); err != nil {
		t.Fatal(err)
	}
}

// waitUntil waits for a condition.
func waitUntil(t *testing.T, what string, met func() bool) {
	t.Helper()
	for deadline := time.Now().Add(20 * time.Second); !met(); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("it does not come that %s", what)
		}
	}
}
