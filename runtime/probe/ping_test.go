package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// atMost is how long a test waits for what comes at once when the machine is not
// busy.
const atMost = 30 * time.Second

// ping is Ping of a request that makes sense.
func ping(t *testing.T, ns *testNS, dst string, change ...func(*PingRequest)) PingResult {
	t.Helper()
	req := PingRequest{Dst: netip.MustParseAddr(dst), Timeout: atMost}
	for _, fn := range change {
		fn(&req)
	}
	got, err := Ping(context.Background(), ns.enter, req)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

// wantReplies fails the test unless all requests were answered.
func wantReplies(t *testing.T, got PingResult, src string, ttl int) {
	t.Helper()
	if got.Err != nil {
		t.Fatalf("%v: %v", got.Dst, got.Err)
	}
	if got.Received != got.Sent || len(got.RTTs) != got.Sent || got.Loss() != 0 {
		t.Fatalf("%+v: not all answered", got)
	}
	if got.Src.String() != src || got.TTL != ttl {
		t.Fatalf("reply from %v with TTL %d, want %s and %d", got.Src, got.TTL, src, ttl)
	}
	if got.Min() <= 0 {
		t.Fatalf("round-trip times %v", got.RTTs)
	}
}

// wantError fails the test unless nothing came, for the given reason.
func wantError(t *testing.T, got PingResult, kind, text string) {
	t.Helper()
	if got.Err == nil {
		t.Fatalf("%v answered: %+v", got.Dst, got)
	}
	if got.Err.Kind != kind || got.Err.Error() != text {
		t.Fatalf("%v: %s: %v\nwant %s: %s", got.Dst, got.Err.Kind, got.Err, kind, text)
	}
	if got.Received != 0 || got.Sent == 0 || got.Loss() != 1 {
		t.Fatalf("%+v: counts", got)
	}
}

func within(d time.Duration) func(*PingRequest) { return func(r *PingRequest) { r.Timeout = d } }
func ttl(n int) func(*PingRequest)              { return func(r *PingRequest) { r.TTL = n } }
func size(n int) func(*PingRequest)             { return func(r *PingRequest) { r.Size = n } }
func df(r *PingRequest)                         { r.DF = true }

func TestPingAnswers(t *testing.T) {
	a, b := pair(t)
	link, err := b.link.LinkByName("eth0")
	a.must(err, "link")
	addrs := b.addrs(link)
	var local string
	for _, x := range addrs {
		if x.IP.IsLinkLocalUnicast() {
			local = x.IP.String()
		}
	}
	ours, err := a.link.LinkByName("eth0")
	a.must(err, "link")
	number := local + "%" + strconv.Itoa(ours.Attrs().Index)

	wantReplies(t, ping(t, a, "10.0.1.2"), "10.0.1.2", 64)
	wantReplies(t, ping(t, a, "fd00:1::2"), "fd00:1::2", 64)
	wantReplies(t, ping(t, a, "::ffff:10.0.1.2"), "10.0.1.2", 64)
	wantReplies(t, ping(t, a, "127.0.0.1"), "127.0.0.1", 64)
	wantReplies(t, ping(t, a, "::1"), "::1", 64)
	wantReplies(t, ping(t, a, local+"%eth0"), local+"%eth0", 64)
	wantReplies(t, ping(t, a, number), number, 64)
	dev := func(r *PingRequest) { r.Dev = "eth0" }
	wantReplies(t, ping(t, a, local, dev), local+"%eth0", 64)
	wantReplies(t, ping(t, a, "10.0.1.2", dev), "10.0.1.2", 64)
	if got := ping(t, a, "ff02::1%eth0"); got.Received != 1 || got.Err != nil {
		t.Fatalf("multicast: %+v", got)
	}
}

func TestPingSizes(t *testing.T) {
	a, _ := pair(t)
	for _, n := range []int{NoPayload, 1, 1400, 1472, 1473, 9000, maxPayload4} {
		wantReplies(t, ping(t, a, "10.0.1.2", size(n)), "10.0.1.2", 64)
		wantReplies(t, ping(t, a, "fd00:1::2", size(n)), "fd00:1::2", 64)
	}
	wantReplies(t, ping(t, a, "10.0.1.2", df, size(1472)), "10.0.1.2", 64)
	wantReplies(t, ping(t, a, "fd00:1::2", df, size(1452)), "fd00:1::2", 64)
}

// TestPingFields looks at the request as it arrives.
func TestPingFields(t *testing.T) {
	a, b := pair(t)
	a.addr("eth0", "10.0.1.7/24", "fd00:1::7/64")
	a.settle("eth0")
	fd := b.packets()
	defer unix.Close(fd)
	src := func(s string) func(*PingRequest) {
		return func(r *PingRequest) { r.Src, r.TOS, r.DF = netip.MustParseAddr(s), 0x28, true }
	}
	wantReplies(t, ping(t, a, "10.0.1.2", src("10.0.1.7"), ttl(9), size(NoPayload)), "10.0.1.2", 64)
	p := nextFrame(t, fd, unix.ETH_P_IP, 23, unix.IPPROTO_ICMP)
	if p[1] != 0x28 || p[6]&0x40 == 0 || p[8] != 9 || p[3] != 28 || netip.AddrFrom4([4]byte(p[12:16])).String() != "10.0.1.7" {
		t.Errorf("IPv4 request % x", p)
	}
	wantReplies(t, ping(t, a, "fd00:1::2", src("fd00:1::7"), ttl(9), size(100)), "fd00:1::2", 64)
	p = nextFrame(t, fd, unix.ETH_P_IPV6, 54, echoRequest6)
	if p[0] != 0x62 || p[1]>>4 != 8 || p[7] != 9 || p[5] != 108 || netip.AddrFrom16([16]byte(p[8:24])).String() != "fd00:1::7" {
		t.Errorf("IPv6 request % x", p)
	}
	wantReplies(t, ping(t, a, "10.0.1.2"), "10.0.1.2", 64)
	if p = nextFrame(t, fd, unix.ETH_P_IP, 23, unix.IPPROTO_ICMP); p[6] != 0 || p[3] != 84 {
		t.Errorf("default IPv4 request % x", p)
	}
}

func htons(v uint16) uint16 { return v<<8 | v>>8 }

// nextFrame is the IP packet of the next frame of an ethertype with a byte
// at an offset of the frame.
func nextFrame(t *testing.T, fd int, ethertype, offset int, value byte) []byte {
	t.Helper()
	for {
		frame := make([]byte, 2000)
		n, from, err := unix.Recvfrom(fd, frame, 0)
		if err != nil {
			t.Fatal(err)
		}
		ours := from.(*unix.SockaddrLinklayer).Pkttype == unix.PACKET_HOST
		if ours && n > offset && int(frame[12])<<8|int(frame[13]) == ethertype && frame[offset] == value {
			return frame[14:n]
		}
	}
}

func TestPingThroughRouter(t *testing.T) {
	a, _, _ := routed(t)
	wantReplies(t, ping(t, a, "10.0.2.2"), "10.0.2.2", 63)
	wantReplies(t, ping(t, a, "fd00:2::2"), "fd00:2::2", 63)
	got := ping(t, a, "10.0.2.2", ttl(1))
	wantError(t, got, KindTTLExceeded, "time to live exceeded, says 10.0.1.2")
	if got.Err.Type != 11 || got.Err.Code != 0 || got.Err.Errno != unix.EHOSTUNREACH {
		t.Errorf("%+v", got.Err)
	}
	wantError(t, ping(t, a, "fd00:2::2", ttl(1)), KindTTLExceeded, "time to live exceeded, says fd00:1::2")
}

func TestPingTooBig(t *testing.T) {
	a, r, b := routed(t)
	wantError(t, ping(t, a, "10.0.2.2", df, size(1473)), KindTooBig, "message too big: MTU 1500 (EMSGSIZE)")
	wantError(t, ping(t, a, "fd00:2::2", df, size(1453)), KindTooBig, "message too big: MTU 1500 (EMSGSIZE)")
	r.mtu("right", 1400)
	b.mtu("eth0", 1400)
	// Without DF it is fragmented on the way, or here once the MTU is known.
	wantReplies(t, ping(t, a, "10.0.2.2", size(1472)), "10.0.2.2", 63)
	wantReplies(t, ping(t, a, "fd00:2::2", size(1452)), "fd00:2::2", 63)

	got := ping(t, a, "10.0.2.2", df, size(1400))
	wantError(t, got, KindTooBig, "message too big for the path: MTU 1400, says 10.0.1.2")
	if got.Err.MTU != 1400 || !errors.Is(got.Err, unix.EMSGSIZE) {
		t.Errorf("%+v", got.Err)
	}
	wantError(t, ping(t, a, "10.0.2.2", df, size(1400)), KindTooBig, "message too big: MTU 1400 (EMSGSIZE)")
	wantError(t, ping(t, a, "fd00:2::2", df, size(1400)), KindTooBig, "message too big: MTU 1400 (EMSGSIZE)")
	wantReplies(t, ping(t, a, "10.0.2.2", df, size(1372)), "10.0.2.2", 63)

	a2, r2, b2 := routed(t)
	r2.mtu("right", 1400)
	b2.mtu("eth0", 1400)
	wantError(t, ping(t, a2, "fd00:2::2", df, size(1400)), KindTooBig, "message too big for the path: MTU 1400, says fd00:1::2")
	wantReplies(t, ping(t, a2, "fd00:2::2", df, size(1352)), "fd00:2::2", 63)
}

func TestPingLocalRoutes(t *testing.T) {
	a, _ := pair(t)
	wantError(t, ping(t, a, "10.9.9.9"), KindNoRoute, "no route, the network is unreachable (ENETUNREACH)")
	wantError(t, ping(t, a, "fd00:9::9"), KindNoRoute, "no route, the network is unreachable (ENETUNREACH)")
	for i, c := range []struct {
		route      int
		kind, text string
	}{
		{unix.RTN_BLACKHOLE, KindBlackhole, "blackhole route in this namespace (EINVAL)"},
		{unix.RTN_UNREACHABLE, KindUnreachable, "unreachable by a route of this namespace (EHOSTUNREACH)"},
		{unix.RTN_PROHIBIT, KindProhibited, "prohibited by a route of this namespace (EACCES)"},
	} {
		n := strconv.Itoa(i)
		a.route("10.8."+n+".0/24", "", c.route)
		a.route("fd00:8:"+n+"::/64", "", c.route)
		wantError(t, ping(t, a, "10.8."+n+".1"), c.kind, c.text)
		wantError(t, ping(t, a, "fd00:8:"+n+"::1"), c.kind, c.text)
	}
	for _, dst := range []string{"10.9.9.9", "fd00:9::9"} {
		got := ping(t, a, dst, func(r *PingRequest) { r.Count, r.Interval = 3, time.Millisecond })
		if got.Sent != 3 || got.Loss() != 1 || !errors.Is(got.Err, unix.ENETUNREACH) {
			t.Errorf("%+v", got)
		}
	}
}

func TestPingRouterRoutes(t *testing.T) {
	a, r, _ := routed(t)
	for i, c := range []struct {
		route                      int
		kind4, text4, kind6, text6 string
	}{
		{unix.RTN_UNREACHABLE, KindHostUnreachable, "host unreachable", KindNetUnreachable, "net unreachable"},
		{unix.RTN_PROHIBIT, KindProhibited, "prohibited (filtered)", KindProhibited, "prohibited (filtered)"},
	} {
		n := strconv.Itoa(i)
		r.route("10.8."+n+".0/24", "", c.route)
		r.route("fd00:8:"+n+"::/64", "", c.route)
		wantError(t, ping(t, a, "10.8."+n+".1"), c.kind4, c.text4+", says 10.0.1.2")
		wantError(t, ping(t, a, "fd00:8:"+n+"::1"), c.kind6, c.text6+", says fd00:1::2")
	}
	wantError(t, ping(t, a, "10.9.9.9"), KindNetUnreachable, "net unreachable, says 10.0.1.2")
	wantError(t, ping(t, a, "fd00:9::9"), KindNetUnreachable, "net unreachable, says fd00:1::2")
	r.route("10.7.0.0/24", "", unix.RTN_BLACKHOLE)
	r.route("fd00:7::/64", "", unix.RTN_BLACKHOLE)
	for _, dst := range []string{"10.7.0.1", "fd00:7::1"} {
		start := time.Now()
		wantError(t, ping(t, a, dst, within(60*time.Millisecond)), KindTimeout, "no reply within 60ms")
		if took := time.Since(start); took < 60*time.Millisecond {
			t.Errorf("took %v", took)
		}
	}
}

// TestPingNoNeighbor has the kernel give up early, and us before it does.
func TestPingNoNeighbor(t *testing.T) {
	a, _ := pair(t)
	a.route("10.8.0.0/16", "10.0.1.77", unix.RTN_UNICAST)
	wantError(t, ping(t, a, "10.0.1.9", within(50*time.Millisecond)), KindNoNeighbor, "10.0.1.9 did not answer ARP within 50ms")
	wantError(t, ping(t, a, "fd00:1::9", within(50*time.Millisecond)), KindNoNeighbor, "fd00:1::9 did not answer neighbour discovery within 50ms")
	wantError(t, ping(t, a, "10.8.0.1", within(50*time.Millisecond)), KindNoNeighbor, "10.0.1.77 did not answer ARP within 50ms")
	for _, v := range []string{"ipv4", "ipv6"} {
		a.sysctl("net/"+v+"/neigh/eth0/retrans_time_ms", "20")
		a.sysctl("net/"+v+"/neigh/eth0/mcast_solicit", "1")
	}
	wantError(t, ping(t, a, "10.0.1.10"), KindNoNeighbor, "10.0.1.10 did not answer ARP (EHOSTUNREACH)")
	wantError(t, ping(t, a, "fd00:1::10"), KindNoNeighbor, "fd00:1::10 did not answer neighbour discovery (EHOSTUNREACH)")
	got := ping(t, a, "10.8.0.2")
	wantError(t, got, KindNoNeighbor, "10.0.1.77 did not answer ARP (EHOSTUNREACH)")
	if got.Err.From.String() != "10.0.1.1" || got.Err.Neighbor.String() != "10.0.1.77" {
		t.Errorf("%+v", got.Err)
	}
}

func TestPingMany(t *testing.T) {
	a, _ := pair(t)
	for _, dst := range []string{"10.0.1.2", "fd00:1::2"} {
		start := time.Now()
		got := ping(t, a, dst, func(r *PingRequest) { r.Count, r.Interval = 20, 3*time.Millisecond })
		wantReplies(t, got, dst, 64)
		if took := time.Since(start); got.Sent != 20 || took < 57*time.Millisecond {
			t.Errorf("%d in %v", got.Sent, took)
		}
	}
	got := ping(t, a, "10.0.1.9", within(20*time.Millisecond), func(r *PingRequest) { r.Count, r.Interval = 5, 5*time.Millisecond })
	if got.Sent != 5 || got.Received != 0 || got.Err == nil || got.Err.Kind != KindNoNeighbor {
		t.Errorf("%+v", got)
	}
}

// echoTwice answers echo requests in the kernel's place, each twice and after
// a delay, until the test ends.
func (ns *testNS) echoTwice(delay time.Duration) {
	ns.t.Helper()
	ns.sysctl("net/ipv4/icmp_echo_ignore_all", "1")
	ns.sysctl("net/ipv6/icmp/echo_ignore_all", "1")
	fd := ns.packets()
	done := make(chan struct{})
	ns.t.Cleanup(func() { close(done) })
	go func() {
		for {
			frame := make([]byte, 2000)
			n, from, err := unix.Recvfrom(fd, frame, 0)
			select {
			case <-done:
				return // fd stays open: replies may still be on their way to it
			default:
			}
			if err != nil || !toReply(frame[:n]) {
				continue
			}
			time.AfterFunc(delay, func() {
				to := from.(*unix.SockaddrLinklayer)
				_ = unix.Sendto(fd, frame[:n], 0, to)
				_ = unix.Sendto(fd, frame[:n], 0, to)
			})
		}
	}()
}

// packets is a socket for the namespace's frames, with a receive timeout.
func (ns *testNS) packets() (fd int) {
	ns.t.Helper()
	ns.must(ns.enter(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, int(htons(unix.ETH_P_ALL)))
		return err
	}), "packet socket")
	tv := unix.NsecToTimeval(int64(time.Second))
	ns.must(unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &tv), "timeout")
	return fd
}

// toReply turns an echo request's frame into the reply's, if it is one.
func toReply(f []byte) bool {
	if len(f) < 62 {
		return false
	}
	src, size, icmp, request, reply := 26, 4, 34, byte(echoRequest4), byte(echoReply4)
	if f[12] == 0x86 {
		src, size, icmp, request, reply = 22, 16, 54, echoRequest6, echoReply6
	}
	if f[icmp] != request || f[12] == 8 && f[23] != unix.IPPROTO_ICMP || f[12] == 0x86 && f[20] != unix.IPPROTO_ICMPV6 {
		return false
	}
	swap(f[0:6], f[6:12])
	swap(f[src:src+size], f[src+size:src+2*size])
	f[icmp] = reply
	sum := uint32(^binary.BigEndian.Uint16(f[icmp+2:])) + uint32(^(uint16(request) << 8)) + uint32(reply)<<8 // RFC 1624
	sum = sum>>16 + sum&0xffff
	binary.BigEndian.PutUint16(f[icmp+2:], ^uint16(sum>>16+sum))
	return true
}

func swap(a, b []byte) {
	for i := range a {
		a[i], b[i] = b[i], a[i]
	}
}

// TestPingSlow waits in the runtime's poller, for replies that come twice.
func TestPingSlow(t *testing.T) {
	a, b := pair(t)
	b.echoTwice(15 * time.Millisecond)
	for _, dst := range []string{"10.0.1.2", "fd00:1::2"} {
		for _, n := range []int{1, 10} {
			got := ping(t, a, dst, func(r *PingRequest) { r.Count, r.Interval = n, 2*time.Millisecond })
			wantReplies(t, got, dst, 64)
			if got.Received != n || got.Min() < 14*time.Millisecond {
				t.Errorf("%+v", got)
			}
		}
	}
	got := ping(t, a, "10.0.1.2", within(5*time.Millisecond), func(r *PingRequest) { r.Count, r.Interval = 3, 20*time.Millisecond })
	wantError(t, got, KindTimeout, "no reply within 5ms")
}

// TestPingWraps sends more requests than there are sequence numbers. As fast as
// they go out a busy kernel drops some, but not all that come after the wrap.
func TestPingWraps(t *testing.T) {
	if testing.Short() {
		t.Skip("takes a second")
	}
	a, _ := pair(t)
	const wrapped = 10_000
	got := ping(t, a, "127.0.0.1", within(2*time.Second), func(r *PingRequest) { r.Count, r.Interval = maxFlying+wrapped, 1 })
	if got.Sent != maxFlying+wrapped || got.Received < got.Sent-wrapped/2 || len(got.RTTs) != got.Received {
		t.Errorf("%d sent, %d received, %d times: %v", got.Sent, got.Received, len(got.RTTs), got.Err)
	}
}

// TestPingRaw is without the right to ping sockets.
func TestPingRaw(t *testing.T) {
	a := newNS(t)
	routedFrom(t, a)
	wantReplies(t, ping(t, a, "10.0.2.2"), "10.0.2.2", 63)
	wantReplies(t, ping(t, a, "10.0.2.2", size(33)), "10.0.2.2", 63)
	wantReplies(t, ping(t, a, "fd00:2::2"), "fd00:2::2", 63)
	wantReplies(t, ping(t, a, "127.0.0.1"), "127.0.0.1", 64)
	wantReplies(t, ping(t, a, "::1"), "::1", 64)
	wantError(t, ping(t, a, "10.0.2.2", ttl(1)), KindTTLExceeded, "time to live exceeded, says 10.0.1.2")
	wantError(t, ping(t, a, "fd00:2::2", ttl(1)), KindTTLExceeded, "time to live exceeded, says fd00:1::2")
	wantError(t, ping(t, a, "10.9.9.9"), KindNetUnreachable, "net unreachable, says 10.0.1.2")
	wantError(t, ping(t, a, "10.0.2.2", df, size(1473)), KindTooBig, "message too big: MTU 1500 (EMSGSIZE)")
	wantError(t, ping(t, a, "fd00:2::2", df, size(1453)), KindTooBig, "message too big: MTU 1500 (EMSGSIZE)")
	concurrently(t, a, 100)
}

func TestPingCancel(t *testing.T) {
	a, r, _ := routed(t)
	r.route("10.7.0.0/24", "", unix.RTN_BLACKHOLE)
	for _, after := range []time.Duration{0, 300 * time.Microsecond, 30 * time.Millisecond} {
		ctx, cancel := context.WithTimeout(context.Background(), after)
		start := time.Now()
		got, err := Ping(ctx, a.enter, PingRequest{Dst: netip.MustParseAddr("10.7.0.1"), Timeout: 10 * atMost})
		cancel()
		if took := time.Since(start); took > after+atMost {
			t.Errorf("cancelled after %v, ended after %v", after, took)
		}
		if !errors.Is(err, context.DeadlineExceeded) || got.Received != 0 || got.Sent > 1 {
			t.Errorf("%+v, %v", got, err)
		}
	}
}

// concurrently pings b from a by many goroutines at once.
func concurrently(t *testing.T, a *testNS, n int) {
	t.Helper()
	var wg sync.WaitGroup
	for i := range n {
		dst := []string{"10.0.1.2", "fd00:1::2"}[i%2]
		wg.Go(func() {
			got, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr(dst), Timeout: atMost})
			if err != nil || got.Err != nil || got.Received != 1 {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	wg.Wait()
}

func TestPingConcurrent(t *testing.T) {
	a, _ := pair(t)
	concurrently(t, a, 300)
}

// TestPingThreads lets a thousand pings wait for nothing at once.
func TestPingThreads(t *testing.T) {
	a, r, _ := routed(t)
	r.route("10.7.0.0/24", "", unix.RTN_BLACKHOLE)
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	const pings = 1000
	before := len(list(t, "/proc/self/fd"))
	var wg sync.WaitGroup
	for range pings {
		wg.Go(func() {
			got, err := Ping(ctx, a.enter, PingRequest{Dst: netip.MustParseAddr("10.7.0.1"), Timeout: 10 * atMost})
			if !errors.Is(err, context.Canceled) {
				t.Errorf("%+v, %v", got, err)
			}
		})
	}
	// Until all have sent and most have given up waiting with their threads.
	for deadline := time.Now().Add(atMost); len(list(t, "/proc/self/fd")) < before+pings || blocked.Load() > 0; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Error("they do not come to wait")
			break
		}
	}
	// A thread each would be a thousand. How many there are depends on how long
	// the kernel keeps a call, a slow machine has more.
	if threads := len(list(t, "/proc/self/task")); threads > pings/4 {
		t.Errorf("%d threads for %d pings", threads, pings)
	}
	cancel()
	wg.Wait()
}

// list lists a directory.
func list(t *testing.T, dir string) []string {
	t.Helper()
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	return names
}

func TestPingBadRequests(t *testing.T) {
	a, _ := pair(t)
	for _, c := range []struct {
		req  PingRequest
		want string
	}{
		{PingRequest{}, "no destination"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Src: netip.MustParseAddr("fd00::1")}, "not of one family"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Count: -1}, "count -1"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Interval: -1}, "interval -1ns"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Timeout: -1}, "timeout -1ns"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Size: 65508}, "size 65508 is not from 0 to 65507"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Size: -2}, "size -2"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), TTL: 256}, "ttl 256"},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), TOS: 256}, "tos 256"},
		{PingRequest{Dst: netip.MustParseAddr("fe80::1")}, "needs a zone (fe80::1%eth0)"},
		{PingRequest{Dst: netip.MustParseAddr("fe80::1%eth7")}, `interface "eth7": no such device`},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Dev: "eth7"}, `device "eth7": no such device`},
		{PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Src: netip.MustParseAddr("10.0.1.9")}, "source 10.0.1.9 is not"},
		{PingRequest{Dst: netip.MustParseAddr("fd00:1::2"), Src: netip.MustParseAddr("fd00:1::9")}, "source fd00:1::9 is not"},
	} {
		got, err := Ping(context.Background(), a.enter, c.req)
		if err == nil || !strings.Contains(err.Error(), c.want) || got.Sent != 0 {
			t.Errorf("%+v: %v, want %q", c.req, err, c.want)
		}
	}
}
