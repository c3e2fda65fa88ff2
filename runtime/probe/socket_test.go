package probe

import (
	"context"
	"net/netip"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	"golang.org/x/sys/unix"
)

// by pings by a socket.
func (s *Socket) by(t *testing.T, ns *testNS, dst string, change ...func(*PingRequest)) PingResult {
	t.Helper()
	req := PingRequest{Dst: netip.MustParseAddr(dst), Timeout: atMost}
	for _, fn := range change {
		fn(&req)
	}
	got, err := s.Ping(context.Background(), ns.enter, req)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// socketFor is a socket that has served a ping.
func socketFor(t *testing.T, ns *testNS, dst string) *Socket {
	t.Helper()
	s := &Socket{}
	t.Cleanup(s.Close)
	wantReplies(t, s.by(t, ns, dst), dst, 64)
	if !s.Open() {
		t.Fatal("the socket was not kept")
	}
	return s
}

func TestSocketServesAgain(t *testing.T) {
	a := newNS(t)
	routedFrom(t, a)
	s := socketFor(t, a, "10.0.1.2")
	first := s.kept
	count := func(r *PingRequest) { r.Count, r.Interval = 5, AtOnce }
	wantReplies(t, s.by(t, a, "10.0.2.2", count), "10.0.2.2", 63)
	wantError(t, s.by(t, a, "10.9.9.9"), KindNetUnreachable, "net unreachable, says 10.0.1.2")
	wantReplies(t, s.by(t, a, "10.0.1.2", size(9000)), "10.0.1.2", 64)
	// These have sockets of their own.
	wantError(t, s.by(t, a, "10.0.2.2", ttl(1)), KindTTLExceeded, "time to live exceeded, says 10.0.1.2")
	wantError(t, s.by(t, a, "10.0.2.2", df, size(1473)), KindTooBig, "message too big: MTU 1500 (EMSGSIZE)")
	wantReplies(t, s.by(t, a, "fd00:2::2"), "fd00:2::2", 63)
	wantReplies(t, s.by(t, a, "10.0.2.2"), "10.0.2.2", 63)
	if s.kept != first {
		t.Error("it is not the first socket any more")
	}
	six := socketFor(t, a, "fd00:1::2")
	wantReplies(t, six.by(t, a, "fd00:2::2", count), "fd00:2::2", 63)
	wantError(t, six.by(t, a, "fd00:9::9"), KindNetUnreachable, "net unreachable, says fd00:1::2")
	wantReplies(t, six.by(t, a, "fd00:2::2"), "fd00:2::2", 63)
	if !six.Open() {
		t.Error("the socket for IPv6 was not kept")
	}
}

// TestSocketSource: the source is chosen for each ping.
func TestSocketSource(t *testing.T) {
	a := newNS(t)
	routedFrom(t, a)
	s := socketFor(t, a, "10.0.1.2")
	six := socketFor(t, a, "fd00:1::2")
	link, err := a.link.LinkByName("eth0")
	a.must(err, "link")
	for _, cidr := range []string{"10.0.1.1/24", "fd00:1::1/64"} {
		old, err := netlink.ParseAddr(cidr)
		a.must(err, cidr)
		a.must(a.link.AddrDel(link, old), "remove "+cidr)
	}
	a.addr("eth0", "10.0.1.5/24", "fd00:1::5/64")
	a.settle("eth0")
	wantReplies(t, s.by(t, a, "10.0.1.2"), "10.0.1.2", 64)
	wantReplies(t, six.by(t, a, "fd00:1::2"), "fd00:1::2", 64)
}

// TestSocketLate: what comes late for one ping is not the next one's.
func TestSocketLate(t *testing.T) {
	a, b := newNS(t), newNS(t)
	join(a, "eth0", []string{"10.0.1.1/24", "fd00:1::1/64"}, b, "eth0", []string{"10.0.1.2/24", "fd00:1::2/64"})
	const late = 30 * time.Millisecond
	for _, dst := range []string{"10.0.1.2", "fd00:1::2"} {
		s := socketFor(t, a, dst)
		b.echoTwice(late)
		for range 3 {
			wantError(t, s.by(t, a, dst, within(500*time.Microsecond)), KindTimeout, "no reply within 500µs")
		}
		if !s.Open() {
			t.Fatal("the socket was not kept")
		}
		got := s.by(t, a, dst)
		wantReplies(t, got, dst, 64)
		if got.Min() < late {
			t.Errorf("answered in %v: the reply to an earlier ping", got.Min())
		}
		b.sysctl("net/ipv4/icmp_echo_ignore_all", "0")
		b.sysctl("net/ipv6/icmp/echo_ignore_all", "0")
	}
}

// TestSocketErrors: nor are errors.
func TestSocketErrors(t *testing.T) {
	a := newNS(t)
	routedFrom(t, a)
	for _, c := range []struct{ good, bad string }{{"10.0.1.2", "10.9.9.9"}, {"fd00:1::2", "fd00:9::9"}} {
		s := socketFor(t, a, c.good)
		for range 50 {
			s.by(t, a, c.bad, func(r *PingRequest) { r.Timeout = AtOnce })
			wantReplies(t, s.by(t, a, c.good), c.good, 64)
		}
	}
}

// TestSocketBroadcast: a socket that may send broadcasts is not kept; for another,
// a prohibit route and a broadcast are one error.
func TestSocketBroadcast(t *testing.T) {
	a := newNS(t)
	routedFrom(t, a)
	s := socketFor(t, a, "10.0.1.2")
	s.by(t, a, "10.0.1.255", within(time.Millisecond))
	if s.Open() {
		t.Error("it was kept")
	}
	a.route("10.8.0.0/24", "", unix.RTN_PROHIBIT)
	wantError(t, s.by(t, a, "10.8.0.1"), KindProhibited, "prohibited by a route of this namespace (EACCES)")
	wantReplies(t, s.by(t, a, "10.0.1.2"), "10.0.1.2", 64)
}

// TestPingAny ends with the first reply, however late, and else with its timeout.
func TestPingAny(t *testing.T) {
	a, b := pair(t)
	const late = 300 * time.Millisecond
	b.echoTwice(late)
	some := func(r *PingRequest) { r.Any, r.Interval = true, 10*time.Millisecond }
	for _, dst := range []string{"10.0.1.2", "fd00:1::2"} {
		got := ping(t, a, dst, some)
		if got.Received != 1 || got.Min() < late || got.Sent < 2 {
			t.Errorf("%+v", got)
		}
	}
	start := time.Now()
	wantError(t, ping(t, a, "10.0.1.9", some, within(100*time.Millisecond)), KindNoNeighbor, "10.0.1.9 did not answer ARP within 100ms")
	if took := time.Since(start); took < 100*time.Millisecond {
		t.Errorf("it ended after %v", took)
	}
	// A route that comes later is used.
	later := time.AfterFunc(50*time.Millisecond, func() { a.route("10.9.0.0/16", "10.0.1.2", unix.RTN_UNICAST) })
	defer later.Stop()
	b.addr("lo", "10.9.9.9/32")
	if got := ping(t, a, "10.9.9.9", some); got.Received != 1 {
		t.Errorf("%+v", got)
	}
}
