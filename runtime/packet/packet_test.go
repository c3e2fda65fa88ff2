package packet

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
)

func decode(t testing.TB, specs ...Spec) *Packet {
	t.Helper()
	b, err := Craft(specs)
	if err != nil {
		t.Fatal(err)
	}
	p := &Packet{}
	p.Decode(b, len(b), specs[0].Kind)
	return p
}

// TestMatch: conditions that hold and that do not.
func TestMatch(t *testing.T) {
	udp := Spec{Kind: UDP, Fields: set{"sport": 1000, "dport": 8080}}
	plain := decode(t, eth, ip4, udp, hello)
	tunnel := decode(t, eth, ip6, Spec{Kind: UDP}, Spec{Kind: VXLAN, Fields: set{"vni": 42}}, eth, inner4,
		Spec{Kind: TCP, Fields: set{"flags": "SYN,ACK", "dport": 443}})
	labels := decode(t, eth, Spec{Kind: MPLS, Fields: set{"label": 16}}, Spec{Kind: MPLS, Fields: set{"label": 17}}, ip4, echo)
	for _, c := range []struct {
		p    *Packet
		key  string
		want []any
		ok   bool
	}{
		{plain, "udp", []any{true}, true},
		{plain, "udp", []any{false}, false},
		{plain, "tcp", []any{true}, false},
		{plain, "tcp", []any{false}, true},
		{plain, "tcp", []any{nil}, true},
		{plain, "proto", []any{"udp"}, true},
		{plain, "proto", []any{"tcp", "udp"}, true},
		{plain, "proto", []any{"tcp"}, false},
		{plain, "ip.ttl", []any{64}, true},
		{plain, "ip.ttl", []any{63}, false},
		{plain, "ip.ttl", []any{1, 64}, true},
		{plain, "ip.ttl", []any{"60-70"}, true},
		{plain, "ip.ttl", []any{nil}, false},
		{plain, "ipv6.hop_limit", []any{nil}, true},
		{plain, "ip.proto", []any{"udp"}, true},
		{plain, "ip.df", []any{false}, true},
		{plain, "ip.src", []any{"10.0.0.1"}, true},
		{plain, "ip.src", []any{"10.0.0.0/24"}, true},
		{plain, "ip.src", []any{"10.0.1.0/24"}, false},
		{plain, "src", []any{netip.MustParseAddr("10.0.0.1")}, true},
		{plain, "dst", []any{"10.0.0.1"}, false},
		{plain, "dport", []any{"8000-8080"}, true},
		{plain, "sport", []any{1001}, false},
		{plain, "tcp.flags", []any{"SYN"}, false},
		{plain, "eth.src", []any{"02:00:00:00:00:01"}, true},
		{plain, "eth.type", []any{"ip"}, true},
		{plain, "payload.text", []any{"hello, world"}, true},
		{plain, "payload.bytes", []any{[]byte("hello, world")}, true},
		{plain, "payload.length", []any{12}, true},
		{plain, "udp.checksum_ok", []any{true}, true},
		{plain, "ip.checksum_ok", []any{true}, true},
		{tunnel, "src", []any{"fd00::/16"}, true},
		{tunnel, "vxlan.vni", []any{42}, true},
		{tunnel, "ip.src", []any{"192.168.0.1"}, false},
		{tunnel, "inner.ip.src", []any{"192.168.0.1"}, true},
		{tunnel, "inner.dport", []any{443}, true},
		{tunnel, "inner.tcp.flags", []any{"ack|syn"}, true},
		{tunnel, "inner.tcp.flags", []any{"SYN"}, false},
		{tunnel, "inner.inner.ip", []any{false}, true},
		{labels, "mpls.label", []any{16}, true},
		{labels, "mpls.labels", []any{17}, true},
		{labels, "mpls.labels", []any{18}, false},
		{labels, "icmp.type", []any{"echo-request"}, true},
		{labels, "icmp.mtu", []any{nil}, true},
	} {
		m, err := Compile([]Condition{{c.key, c.want}})
		if err != nil {
			t.Errorf("%s=%v: %v", c.key, c.want, err)
			continue
		}
		if got := m.Holds(c.p); got != c.ok {
			t.Errorf("%s=%v on %s: %v", c.key, c.want, c.p.Summary(), got)
		}
	}
}

// TestMatchErrors: what is wrong with a condition.
func TestMatchErrors(t *testing.T) {
	for _, c := range []struct {
		key, err string
		want     any
	}{
		{"ipx", `"ipx" is no layer; there are eth, llc,`, true},
		{"ip.hops", "ip has no field hops; it has version, ihl,", 1},
		{"ip.src", `ip.src: "10.0.0.300" is no IP address and no subnet`, "10.0.0.300"},
		{"src", "src: 1 is no IP address and no subnet", 1},
		{"dport", `dport: "http" is no number that it could have`, "http"},
		{"dport", "dport: -1 is no number that it could have", -1},
		{"icmp.type", `icmp.type: "ping" is no number and none of echo-reply,`, "ping"},
		{"ip.df", "ip.df: want True or False, not 1", 1},
		{"tcp.flags", `tcp.flags: "SIN" are no flags; like "SYN,ACK"`, "SIN"},
		{"eth.src", `eth.src: "02:00" is no MAC address`, "02:00"},
		{"icmp", "icmp: a layer is there or not: want True or False", 8},
		{"proto", `"http" is no layer`, "http"},
		{"dns.name", "dns.name: want a string, not 1", 1},
	} {
		_, err := Compile([]Condition{{c.key, []any{c.want}}})
		if err == nil || !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("%s=%v: %v, want %s", c.key, c.want, err, c.err)
		}
	}
}

// TestCraftErrors: what cannot be crafted.
func TestCraftErrors(t *testing.T) {
	for _, c := range []struct {
		err   string
		specs []Spec
	}{
		{"ip: no field hops that can be given; there are version, ihl, ", []Spec{with(ip4, set{"hops": 1})}},
		{"ip: no field checksum_ok that can be given", []Spec{with(ip4, set{"checksum_ok": true})}},
		{"ip: ttl: 256 does not fit into 8 bits", []Spec{with(ip4, set{"ttl": 256})}},
		{"ip: ttl: -1 is no number", []Spec{with(ip4, set{"ttl": -1})}},
		{`ip: src: "fd00::1" is no IPv4 address`, []Spec{with(ip4, set{"src": "fd00::1"})}},
		{`ipv6: src: "10.0.0.1" is no IPv6 address`, []Spec{with(ip6, set{"src": "10.0.0.1"})}},
		{"ip: options of 44 bytes are more than 40", []Spec{with(ip4, set{"options": make([]byte, 41)})}},
		{`ip: proto: "carrier-pigeon" is no number and none of icmp, tcp`, []Spec{with(ip4, set{"proto": "carrier-pigeon"})}},
		{"ip: 70020 bytes are more than its length can say", []Spec{ip4, {Kind: Payload, Data: make([]byte, 70000)}}},
		{"srh: segments: want 1 to 127", []Spec{{Kind: SRH}}},
		{"icmpv6: lladdr: type 128 is no neighbour discovery", []Spec{{Kind: ICMPv6, Fields: set{"lladdr": "02:00:00:00:00:01"}}}},
		{"icmpv6: target: there is no place for it here", []Spec{{Kind: ICMPv6, Fields: set{"target": "fd00::1"}}}},
		{"tcp: mss: 70000 does not fit into 16 bits", []Spec{{Kind: TCP, Fields: set{"mss": 70000}}}},
		{"gre: key: -1 does not fit into 32 bits", []Spec{{Kind: GRE, Fields: set{"key": -1}}}},
		{`udp: dport: "1-2" is not one value`, []Spec{{Kind: UDP, Fields: set{"dport": "1-2"}}}},
	} {
		_, err := Craft(c.specs)
		if err == nil || !strings.HasPrefix(err.Error(), c.err) {
			t.Errorf("got %v, want %s", err, c.err)
		}
	}
}

// TestUnfinished: a checksum that was left to the hardware is neither right nor wrong.
func TestUnfinished(t *testing.T) {
	p := decode(t, eth, ip4, Spec{Kind: UDP, Fields: set{"checksum": 99}}, hello)
	udp, ok := p.Layer(UDP, 0), UDP.Field("checksum_ok")
	if got := p.Get(udp, ok); got != false {
		t.Errorf("a wrong checksum: %v", got)
	}
	p.Unfinished = true
	if got := p.Get(udp, ok); got != nil {
		t.Errorf("one that is left to the hardware: %v", got)
	}
	if got := p.Get(p.Layer(IPv4, 0), IPv4.Field("checksum_ok")); got != true {
		t.Errorf("that of IPv4: %v", got)
	}
}

// TestPcapngRoundTrip: what is written is read back.
func TestPcapngRoundTrip(t *testing.T) {
	want := &File{Application: "nsscript", Comment: "lab.star", Interfaces: []Interface{
		{Name: "eth0", Description: "in blue", Type: LinkEthernet, SnapLen: 96, Received: 1 << 40, Dropped: 3}, {Name: "tun0", Type: LinkCooked}},
		Packets: []Captured{{Interface: 0, Time: 1700000000123456789, Data: []byte("abc"), Length: 100, Direction: Out},
			{Interface: 1, Time: 1700000001123456789, Data: []byte("abcd"), Length: 4, Direction: In, Comment: "malformed"}, {Data: []byte{}}}}
	var b bytes.Buffer
	w := NewWriter(&b, want.Application, want.Comment, want.Interfaces)
	for _, c := range want.Packets {
		w.Write(c)
	}
	w.Statistics(0, want.Interfaces[0], 0)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	got, err := Read(b.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
	for n := range b.Len() {
		if _, err := Read(b.Bytes()[:n]); err == nil && n%4 != 0 {
			t.Errorf("the first %d bytes are a file", n)
		}
	}
}

// FuzzDecode: no packet makes the decoder fail, and what it finds lies within the
// packet.
func FuzzDecode(f *testing.F) {
	for _, s := range samples() {
		f.Add(s.bytes(f), uint16(0), byte(Ethernet))
	}
	f.Fuzz(func(t *testing.T, b []byte, more uint16, first byte) {
		kind := Kind(first)
		if kind == None || kind >= kinds {
			return
		}
		var p Packet
		p.Decode(b, len(b)+int(more), kind)
		if len(p.Layers) > maxLayers {
			t.Errorf("%d layers", len(p.Layers))
		}
		level := uint8(0)
		for _, l := range p.Layers {
			if l.Start < 0 || l.Body < l.Start || l.End > p.Length || l.Kind != SRH && l.Body > l.End || l.Level < level {
				t.Errorf("%+v of %d bytes", l, p.Length)
			}
			level = l.Level
		}
		everything(&p)
		_ = p.Summary()
	})
}

// FuzzRead: no file makes the reader fail.
func FuzzRead(f *testing.F) {
	var b bytes.Buffer
	w := NewWriter(&b, "a", "c", []Interface{{Name: "eth0", Type: LinkEthernet}})
	w.Write(Captured{Data: []byte("abc"), Length: 3, Direction: In, Comment: "x"})
	w.Statistics(0, Interface{Dropped: 1}, 0)
	if err := w.Flush(); err != nil {
		f.Fatal(err)
	}
	f.Add(b.Bytes())
	f.Fuzz(func(_ *testing.T, b []byte) { _, _ = Read(b) })
}

// TestAllocations: decoding and matching allocate nothing.
func TestAllocations(t *testing.T) {
	m, err := Compile([]Condition{{"dst", []any{"10.0.0.0/24"}}, {"udp.dport", []any{2000}}, {"ip.df", []any{false}}})
	if err != nil {
		t.Fatal(err)
	}
	b := decode(t, eth, ip4, Spec{Kind: UDP, Fields: set{"dport": 2000}}, hello).Data
	var p Packet
	if n := testing.AllocsPerRun(100, func() {
		p.Decode(b, len(b), Ethernet)
		if !m.Holds(&p) {
			t.Error("it does not match")
		}
	}); n != 0 {
		t.Errorf("%v allocations for a packet", n)
	}
}

// BenchmarkDecode is a packet of a stream, taken apart and matched.
func BenchmarkDecode(b *testing.B) {
	m, err := Compile([]Condition{{"dst", []any{"10.0.0.0/24"}}, {"tcp.dport", []any{80}}})
	if err != nil {
		b.Fatal(err)
	}
	data := decode(b, eth, ip4, Spec{Kind: TCP, Fields: set{"dport": 80, "flags": "ACK"}}, Spec{Kind: Payload, Data: make([]byte, 1460)}).Data
	b.ReportAllocs()
	b.SetBytes(int64(len(data)))
	var p Packet
	for b.Loop() {
		p.Decode(data, len(data), Ethernet)
		if !m.Holds(&p) {
			b.Fatal("it does not match")
		}
	}
}
