package probe

import (
	"context"
	"net/netip"
	"testing"

	"golang.org/x/sys/unix"
)

// benchPing pings b from a, which is settled, with one request after the
// other. The enter given is that of a runtime whose thread is in the namespace
// already.
func benchPing(b *testing.B, ctx context.Context, dst string) {
	ns, _ := pair(b)
	req := PingRequest{Dst: netip.MustParseAddr(dst)}
	err := ns.enter(func() error {
		return loopPings(b, ctx, func(fn func() error) error { return fn() }, req)
	})
	ns.must(err, "ping")
}

func loopPings(b *testing.B, ctx context.Context, enter Enter, req PingRequest) error {
	b.ReportAllocs()
	var rtt int64
	for i := 0; b.Loop(); i++ {
		got, err := Ping(ctx, enter, req)
		if err != nil {
			return err
		}
		if got.Err != nil {
			return got.Err
		}
		rtt += int64(got.RTTs[0])
	}
	b.ReportMetric(float64(rtt)/float64(b.N), "rtt-ns")
	return nil
}

func BenchmarkPing(b *testing.B)  { benchPing(b, context.Background(), "10.0.1.2") }
func BenchmarkPing6(b *testing.B) { benchPing(b, context.Background(), "fd00:1::2") }

// BenchmarkPingCancelable is with a context that can end.
func BenchmarkPingCancelable(b *testing.B) {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	benchPing(b, ctx, "10.0.1.2")
}

// BenchmarkPingEnter goes into the namespace and back for every ping.
func BenchmarkPingEnter(b *testing.B) {
	ns, _ := pair(b)
	req := PingRequest{Dst: netip.MustParseAddr("10.0.1.2")}
	ns.must(loopPings(b, context.Background(), ns.enter, req), "ping")
}

// BenchmarkPingFloor is the least that a ping can be: one socket for all,
// a request, a reply, nothing measured.
func BenchmarkPingFloor(b *testing.B) {
	ns, _ := pair(b)
	fd := -1
	ns.must(ns.enter(func() (err error) {
		fd, err = unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, unix.IPPROTO_ICMP)
		return err
	}), "socket")
	defer unix.Close(fd)
	to := &unix.SockaddrInet4{Addr: [4]byte{10, 0, 1, 2}}
	packet, buffer := newEcho(false, 0, defaultPayload), make([]byte, 200)
	var seq uint16
	for b.Loop() {
		seq++
		stampEcho(packet, seq, false)
		ns.must(unix.Sendto(fd, packet, 0, to), "send")
		_, _, err := unix.Recvfrom(fd, buffer, 0)
		ns.must(err, "receive")
	}
}
