package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/packet"
)

// index is that of a link.
func (ns *testNS) index(name string) int {
	ns.t.Helper()
	link, err := ns.link.LinkByName(name)
	ns.must(err, "link "+name)
	return link.Attrs().Index
}

// capture begins one, which ends with the test.
func (ns *testNS) capture(r CaptureRequest, links ...string) *Capture {
	ns.t.Helper()
	for _, name := range links {
		r.Points = append(r.Points, CapturePoint{ns.enter, ns.index(name)})
	}
	c, err := StartCapture(r)
	ns.must(err, "capture")
	ns.t.Cleanup(c.Stop)
	return c
}

func where(t testing.TB, key string, want ...any) *packet.Match {
	t.Helper()
	m, err := packet.Compile([]packet.Condition{{Key: key, Want: want}})
	if err != nil {
		t.Fatal(err)
	}
	return m
}

// lines are the summaries of what was recorded.
func lines(c *Capture) []string {
	var list []string
	var p packet.Packet
	for _, f := range c.Frames(0) {
		f.Decode(&p)
		list = append(list, p.Summary())
	}
	return list
}

// TestCapturePing: what a ping sends and gets is there as soon as it has ended, with
// direction, time and length.
func TestCapturePing(t *testing.T) {
	a, _ := pair(t)
	c := a.capture(CaptureRequest{Match: where(t, "icmp", true)}, "eth0")
	before := time.Now()
	r, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Count: 3, Interval: AtOnce})
	a.must(err, "ping")
	if r.Received != 3 {
		t.Fatalf("%d replies", r.Received)
	}
	frames := c.Frames(0)
	if len(frames) != 6 {
		t.Fatalf("recorded %q", lines(c))
	}
	for i, f := range frames {
		want := packet.Out
		if i%2 == 1 {
			want = packet.In
		}
		if f.Direction != want || f.Length != 98 || len(f.Data) != 98 || f.Index != a.index("eth0") {
			t.Errorf("frame %d: %+v", i, f)
		}
		if at := time.Unix(0, f.Time); at.Before(before.Add(-time.Second)) || at.After(time.Now().Add(time.Second)) {
			t.Errorf("frame %d came at %v", i, at)
		}
	}
	for _, direction := range []packet.Direction{packet.In, packet.Out} {
		one := a.capture(CaptureRequest{Match: where(t, "icmp", true), Direction: direction, SnapLen: 42}, "eth0")
		_, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr("10.0.1.2")})
		a.must(err, "ping")
		frames := one.Frames(0)
		if len(frames) != 1 || frames[0].Direction != direction || len(frames[0].Data) != 42 || frames[0].Length != 98 {
			t.Errorf("direction %d: %+v", direction, frames)
		}
	}
	if s := c.Stats()[0]; s.Dropped != 0 || s.Unkept != 0 || s.Received < 8 {
		t.Errorf("%+v", s)
	}
}

// TestCaptureDown: a link that is down gives its packets when it comes up.
func TestCaptureDown(t *testing.T) {
	a, b := pair(t)
	for _, ns := range []*testNS{a, b} {
		link, err := ns.link.LinkByName("eth0")
		ns.must(err, "link")
		ns.must(ns.link.LinkSetDown(link), "down")
	}
	c := a.capture(CaptureRequest{Match: where(t, "ip", true)}, "eth0")
	if !c.Running() {
		t.Error("it does not run")
	}
	for range 2 {
		a.up("eth0")
		b.up("eth0")
		a.settle("eth0")
		b.settle("eth0")
		n := len(c.Frames(0))
		_, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Timeout: 10 * time.Second})
		a.must(err, "ping")
		ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
		defer cancel()
		if !c.Wait(ctx, n+1) {
			t.Fatalf("recorded %q", lines(c))
		}
		link, err := a.link.LinkByName("eth0")
		a.must(err, "link")
		a.must(a.link.LinkSetDown(link), "down")
	}
}

// TestCaptureLost: a capture whose link is gone runs no more, and keeps what it has.
func TestCaptureLost(t *testing.T) {
	a, _ := pair(t)
	c := a.capture(CaptureRequest{}, "eth0")
	n := len(c.Frames(0))
	link, err := a.link.LinkByName("eth0")
	a.must(err, "link")
	a.must(a.link.LinkDel(link), "delete")
	for deadline := time.Now().Add(10 * time.Second); c.Running(); time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("it still runs")
		}
	}
	if len(c.Frames(0)) < n {
		t.Error("packets are gone")
	}
}

// TestCaptureNamespace: all links of a namespace, also one that comes later, and
// packets on lo once.
func TestCaptureNamespace(t *testing.T) {
	a, b := newNS(t).allow(), newNS(t)
	c := a.capture(CaptureRequest{Points: []CapturePoint{{a.enter, 0}}, Match: where(t, "icmp", true)})
	join(a, "late", []string{"10.0.1.1/24"}, b, "eth0", []string{"10.0.1.2/24"})
	for _, dst := range []string{"10.0.1.2", "127.0.0.1"} {
		_, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr(dst), Timeout: 10 * time.Second})
		a.must(err, "ping "+dst)
	}
	var indexes []int
	for _, f := range c.Frames(0) {
		indexes = append(indexes, f.Index)
	}
	late := a.index("late")
	if want := []int{late, late, 1, 1}; !slices.Equal(indexes, want) {
		t.Errorf("links %v, want %v: %q", indexes, want, lines(c))
	}
}

// TestSend: frames arrive as they are, tags and wrong checksums too.
func TestSend(t *testing.T) {
	a, b := pair(t)
	c := b.capture(CaptureRequest{Match: where(t, "udp.dport", 7777)}, "eth0")
	specs := []packet.Spec{
		{Kind: packet.Ethernet, Fields: map[string]any{"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}},
		{Kind: packet.VLAN, Fields: map[string]any{"id": 10, "pcp": 3, "tpid": 0x88a8}},
		{Kind: packet.VLAN, Fields: map[string]any{"id": 20}},
		{Kind: packet.IPv4, Fields: map[string]any{"src": "192.0.2.1", "dst": "192.0.2.2"}},
		{Kind: packet.UDP, Fields: map[string]any{"dport": 7777, "checksum": 1}},
		{Kind: packet.Payload, Data: []byte(strings.Repeat("x", 1000))},
	}
	var sent [][]byte
	for _, s := range [][]packet.Spec{specs, slices.Delete(slices.Clone(specs), 2, 3), slices.Delete(slices.Clone(specs), 1, 3)} {
		frame, err := packet.Craft(s)
		a.must(err, "craft")
		sent = append(sent, frame)
	}
	n, err := Send(a.enter, a.index("eth0"), true, sent)
	if n != 3 || err != nil {
		t.Fatalf("%d sent: %v", n, err)
	}
	frames := c.Frames(0)
	if len(frames) != 3 {
		t.Fatalf("recorded %q", lines(c))
	}
	for i, f := range frames {
		if !slices.Equal(f.Data, sent[i]) || f.Length != len(sent[i]) {
			t.Errorf("frame %d:\n%x\n%x", i, f.Data, sent[i])
		}
	}
	if n, err := Send(a.enter, a.index("eth0"), true, [][]byte{make([]byte, 9000)}); n != 0 || !errors.Is(err, unix.EMSGSIZE) {
		t.Errorf("9000 bytes: %d sent, %v", n, err)
	}
	link, err := a.link.LinkByName("eth0")
	a.must(err, "link")
	a.must(a.link.LinkSetDown(link), "down")
	if n, err := Send(a.enter, a.index("eth0"), true, sent); n != 0 || !errors.Is(err, unix.ENETDOWN) {
		t.Errorf("on a link that is down: %d sent, %v", n, err)
	}
}

// TestCaptureMemory: what there is no memory for is counted.
func TestCaptureMemory(t *testing.T) {
	a, _ := pair(t)
	c := a.capture(CaptureRequest{Match: where(t, "icmp", true), Memory: 1000}, "eth0")
	_, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr("10.0.1.2"), Count: 10, Interval: AtOnce})
	a.must(err, "ping")
	n, s := len(c.Frames(0)), c.Stats()[0]
	if n == 0 || n > 10 || s.Unkept != uint64(20-n) || s.Dropped != 0 {
		t.Errorf("%d frames, %+v", n, s)
	}
}

// TestCaptureSegments: a packet that segmentation offload made, far longer than a
// slot, is recorded whole.
func TestCaptureSegments(t *testing.T) {
	a, b := pair(t)
	c := a.capture(CaptureRequest{Match: where(t, "tcp", true)}, "eth0")
	listener, conn := connectTCP(t, a, b)
	defer listener.Close()
	defer conn.Close()
	const size = 1 << 20 // the sender's packets grow with its window (tcp_tso_autosize)
	go func() { _, _ = conn.Write(make([]byte, size)) }()
	peer, err := listener.Accept()
	a.must(err, "accept")
	defer peer.Close()
	_ = peer.SetReadDeadline(time.Now().Add(20 * time.Second))
	for n := 0; n < size; {
		got, err := peer.Read(make([]byte, size))
		a.must(err, "read")
		n += got
	}
	longest, payload := 0, 0
	var p packet.Packet
	for _, f := range c.Frames(0) {
		f.Decode(&p)
		if f.Direction != packet.Out {
			continue
		}
		longest = max(longest, f.Length)
		if f.Length != len(f.Data) {
			t.Errorf("%d of %d bytes", len(f.Data), f.Length)
		}
		if l := p.Layer(packet.Payload, 0); l != nil {
			payload += l.End - l.Start
			if ok := p.Get(p.Layer(packet.TCP, 0), packet.TCP.Field("checksum_ok")); ok == false {
				t.Errorf("a wrong checksum: %s", p.Summary())
			}
		}
	}
	if longest < 2*slotSize || payload < size {
		t.Errorf("longest %d, payload %d", longest, payload)
	}
}

// connectTCP makes a connection from a to b.
func connectTCP(t testing.TB, a, b *testNS) (net.Listener, net.Conn) {
	t.Helper()
	var l net.Listener
	b.must(b.enter(func() (err error) {
		l, err = (&net.ListenConfig{}).Listen(context.Background(), "tcp4", "10.0.1.2:0")
		return err
	}), "listen")
	var conn net.Conn
	a.must(a.enter(func() (err error) {
		conn, err = (&net.Dialer{Timeout: 20 * time.Second}).Dial("tcp4", l.Addr().String())
		return err
	}), "dial")
	return l, conn
}

// TestCaptureStop: what was recorded stays, and nothing comes later; a second Stop and
// a Wait return at once.
func TestCaptureStop(t *testing.T) {
	a, _ := pair(t)
	c := a.capture(CaptureRequest{Match: where(t, "icmp", true)}, "eth0")
	ping := func() {
		_, err := Ping(context.Background(), a.enter, PingRequest{Dst: netip.MustParseAddr("10.0.1.2")})
		a.must(err, "ping")
	}
	ping()
	c.Stop()
	ping()
	c.Stop()
	if c.Running() || len(c.Frames(0)) != 2 || c.Wait(context.Background(), 2) {
		t.Errorf("running %v: %q", c.Running(), lines(c))
	}
}
