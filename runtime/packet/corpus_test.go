package packet

import (
	"encoding/hex"
	"strings"
	"testing"
)

// sample is a packet of the corpus.
type sample struct {
	name    string
	specs   []Spec
	raw     string // in hex, instead of specs
	summary string
	bad     string // the layer that is malformed
}

type set = map[string]any

var (
	eth    = Spec{Kind: Ethernet, Fields: set{"src": "02:00:00:00:00:01", "dst": "02:00:00:00:00:02"}}
	ip4    = Spec{Kind: IPv4, Fields: set{"src": "10.0.0.1", "dst": "10.0.0.2", "id": 7}}
	ip6    = Spec{Kind: IPv6, Fields: set{"src": "fd00::1", "dst": "fd00::2"}}
	hello  = Spec{Kind: Payload, Data: []byte("hello, world")}
	inner4 = Spec{Kind: IPv4, Fields: set{"src": "192.168.0.1", "dst": "192.168.0.2"}}
	echo   = Spec{Kind: ICMP, Fields: set{"id": 3, "seq": 4}}
)

func with(s Spec, fields set) Spec {
	all := set{}
	for k, v := range s.Fields {
		all[k] = v
	}
	for k, v := range fields {
		all[k] = v
	}
	s.Fields = all
	return s
}

func samples() []sample {
	udp := Spec{Kind: UDP, Fields: set{"sport": 1000, "dport": 2000}}
	tcp := Spec{Kind: TCP, Fields: set{"sport": 40000, "dport": 80, "seq": 1000}}
	dns := with(udp, set{"sport": 5000, "dport": 53})
	query, answer := unhex("123401000001000000000000076578616d706c6503636f6d0000010001"),
		unhex("123481800001000200000000076578616d706c6503636f6d0000010001c00c000100010000003c00045db8d822c00c000100010000003c00045db8d823")
	return []sample{
		{name: "arp request", specs: []Spec{eth, {Kind: ARP, Fields: set{"sha": "02:00:00:00:00:01", "spa": "10.0.0.1", "tpa": "10.0.0.2"}}},
			summary: "ARP, Request who-has 10.0.0.2 tell 10.0.0.1, length 28"},
		{name: "arp reply", specs: []Spec{eth, {Kind: ARP, Fields: set{"op": "reply", "sha": "02:00:00:00:00:02", "spa": "10.0.0.2", "tha": "02:00:00:00:00:01", "tpa": "10.0.0.1"}}},
			summary: "ARP, Reply 10.0.0.2 is-at 02:00:00:00:00:02, length 28"},
		{name: "ping", specs: []Spec{eth, ip4, echo, hello}, summary: "IP 10.0.0.1 > 10.0.0.2: ICMP echo request, id 3, seq 4, length 20"},
		{name: "pong", specs: []Spec{eth, with(ip4, set{"df": true, "tos": 0x48, "ttl": 3, "options": []byte{1, 1, 1, 0}}), with(echo, set{"type": 0}), hello},
			summary: "IP 10.0.0.1 > 10.0.0.2: ICMP echo reply, id 3, seq 4, length 20"},
		{name: "unreachable", specs: []Spec{eth, ip4, {Kind: ICMP, Fields: set{"type": 3, "code": 4, "mtu": 1400}}, inner4, udp, hello},
			summary: "IP 10.0.0.1 > 10.0.0.2: ICMP destination unreachable, code 4, mtu 1400, length 48: IP 192.168.0.1.1000 > 192.168.0.2.2000: UDP, length 12"},
		{name: "udp", specs: []Spec{eth, ip4, udp, hello}, summary: "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "udp without checksum", specs: []Spec{eth, ip4, with(udp, set{"checksum": 0}), hello}, summary: "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "udp with a wrong checksum", specs: []Spec{eth, ip4, with(udp, set{"checksum": 0xbeef}), hello}, summary: "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "ip with a wrong checksum", specs: []Spec{eth, with(ip4, set{"checksum": 1}), udp, hello}, summary: "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "syn", specs: []Spec{eth, ip4, with(tcp, set{"mss": 1460, "sack_permitted": true, "wscale": 7})},
			summary: "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [S], seq 1000, win 65535, length 0"},
		{name: "data", specs: []Spec{eth, ip6, with(tcp, set{"flags": "PSH,ACK", "ack": 77, "window": 500, "options": unhex("0101080a0000000100000002")}), hello},
			summary: "IP6 fd00::1.40000 > fd00::2.80: Flags [P.], seq 1000:1012, ack 77, win 500, length 12"},
		{name: "reset", specs: []Spec{eth, ip4, with(tcp, set{"flags": "RST", "checksum": 7})}, summary: "IP 10.0.0.1.40000 > 10.0.0.2.80: Flags [R], seq 1000, win 65535, length 0"},
		{name: "dns query", specs: []Spec{eth, ip4, dns, {Kind: Payload, Data: query}}, summary: "IP 10.0.0.1.5000 > 10.0.0.2.53: 4660+ A? example.com. (29)"},
		{name: "dns answer", specs: []Spec{eth, ip6, with(dns, set{"sport": 53, "dport": 5000}), {Kind: Payload, Data: answer}},
			summary: "IP6 fd00::1.53 > fd00::2.5000: 4660 2/0/0 A 93.184.216.34, A 93.184.216.35 (61)"},
		{name: "dns over tcp", specs: []Spec{eth, ip4, with(tcp, set{"dport": 53, "flags": "PSH,ACK"}), {Kind: Payload, Data: append([]byte{0, byte(len(query))}, query...)}},
			summary: "IP 10.0.0.1.40000 > 10.0.0.2.53: Flags [P.], seq 1000:1031, ack 0, win 65535, length 31 4660+ A? example.com. (29)"},
		{name: "ping6", specs: []Spec{eth, with(ip6, set{"traffic_class": 0x20, "flow_label": 0x12345, "hop_limit": 9}), {Kind: ICMPv6, Fields: set{"id": 1, "seq": 2}}, hello},
			summary: "IP6 fd00::1 > fd00::2: ICMP6 echo request, id 1, seq 2, length 20"},
		{name: "too big", specs: []Spec{eth, ip6, {Kind: ICMPv6, Fields: set{"type": "packet-too-big", "mtu": 1280}}, with(ip6, set{"src": "fd01::1", "payload_length": 1400}), udp, hello},
			summary: "IP6 fd00::1 > fd00::2: ICMP6 packet too big, mtu 1280, length 68: IP6 fd01::1.1000 > fd00::2.2000: UDP, length 12"},
		{name: "neighbour solicitation", specs: []Spec{eth, with(ip6, set{"hop_limit": 255, "dst": "ff02::1:ff00:2"}), {Kind: ICMPv6, Fields: set{"type": 135, "target": "fd00::2", "lladdr": "02:00:00:00:00:01"}}},
			summary: "IP6 fd00::1 > ff02::1:ff00:2: ICMP6 neighbor solicit, target fd00::2, length 32"},
		{name: "neighbour advertisement", specs: []Spec{eth, with(ip6, set{"hop_limit": 255}), {Kind: ICMPv6, Fields: set{"type": 136, "router": true, "solicited": true, "override": true, "target": "fd00::2", "lladdr": "02:00:00:00:00:02"}}},
			summary: "IP6 fd00::1 > fd00::2: ICMP6 neighbor advert, target fd00::2, length 32"},
		{name: "router advertisement", specs: []Spec{eth, with(ip6, set{"hop_limit": 255, "dst": "ff02::1"}),
			{Kind: ICMPv6, Fields: set{"type": 134, "hop_limit": 64, "managed": true, "router_lifetime": 1800, "lladdr": "02:00:00:00:00:01"}},
			{Kind: Payload, Data: unhex("030440c000015180000038400000000020010db8000000000000000000000000")}},
			summary: "IP6 fd00::1 > ff02::1: ICMP6 router advert, length 56"},
		{name: "vlan", specs: []Spec{eth, {Kind: VLAN, Fields: set{"id": 10, "pcp": 5}}, ip4, udp, hello}, summary: "vlan 10, p 5, IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "qinq", specs: []Spec{eth, {Kind: VLAN, Fields: set{"id": 100, "tpid": 0x88a8}}, {Kind: VLAN, Fields: set{"id": 10, "dei": true}}, ip4, udp, hello},
			summary: "vlan 100, p 0, vlan 10, p 0, IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "mpls", specs: []Spec{eth, {Kind: MPLS, Fields: set{"label": 100, "tc": 3}}, {Kind: MPLS, Fields: set{"label": 200, "ttl": 9}}, ip4, udp, hello},
			summary: "MPLS (label 100, tc 3, ttl 64) (label 200, tc 0, [S], ttl 9) IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 12"},
		{name: "vxlan", specs: []Spec{eth, ip4, {Kind: UDP, Fields: set{"sport": 5555, "checksum": 0}}, {Kind: VXLAN, Fields: set{"vni": 42}}, eth, inner4, echo, hello},
			summary: "IP 10.0.0.1.5555 > 10.0.0.2.4789: VXLAN, vni 42: IP 192.168.0.1 > 192.168.0.2: ICMP echo request, id 3, seq 4, length 20"},
		{name: "geneve", specs: []Spec{eth, ip6, {Kind: UDP, Fields: set{"sport": 5555}}, {Kind: Geneve, Fields: set{"vni": 42, "options": unhex("0102800100000007")}}, eth, inner4, tcp},
			summary: "IP6 fd00::1.5555 > fd00::2.6081: Geneve, vni 42: IP 192.168.0.1.40000 > 192.168.0.2.80: Flags [S], seq 1000, win 65535, length 0"},
		{name: "gre", specs: []Spec{eth, ip4, {Kind: GRE, Fields: set{"key": 9, "seq": 3}}, inner4, echo, hello},
			summary: "IP 10.0.0.1 > 10.0.0.2: GREv0, key=0x9, length 52: IP 192.168.0.1 > 192.168.0.2: ICMP echo request, id 3, seq 4, length 20"},
		{name: "gretap", specs: []Spec{eth, ip6, {Kind: GRE}, eth, inner4, udp, hello},
			summary: "IP6 fd00::1 > fd00::2: GREv0, length 58: IP 192.168.0.1.1000 > 192.168.0.2.2000: UDP, length 12"},
		{name: "ipip", specs: []Spec{eth, ip4, inner4, udp, hello}, summary: "IP 10.0.0.1 > 10.0.0.2: IP 192.168.0.1.1000 > 192.168.0.2.2000: UDP, length 12"},
		{name: "sit", specs: []Spec{eth, ip4, ip6, udp, hello}, summary: "IP 10.0.0.1 > 10.0.0.2: IP6 fd00::1.1000 > fd00::2.2000: UDP, length 12"},
		{name: "srv6", specs: []Spec{eth, ip6, {Kind: SRH, Fields: set{"segments": []any{"fd00::9", "fd00::2"}, "tag": 5}}, udp, hello},
			summary: "IP6 fd00::1.1000 > fd00::2.2000: SRH (1 left of [fd00::9 fd00::2]) UDP, length 12"},
		{name: "srv6 encap", specs: []Spec{eth, ip6, {Kind: SRH, Fields: set{"segments": []any{"fd00::9"}}}, inner4, echo, hello},
			summary: "IP6 fd00::1 > fd00::2: SRH (0 left of [fd00::9]) IP 192.168.0.1 > 192.168.0.2: ICMP echo request, id 3, seq 4, length 20"},
		{name: "first fragment", specs: []Spec{eth, with(ip4, set{"mf": true}), with(udp, set{"length": 3000}), hello},
			summary: "IP 10.0.0.1.1000 > 10.0.0.2.2000: frag (id 7, offset 0+) UDP, length 12"},
		{name: "last fragment", specs: []Spec{eth, with(ip4, set{"frag_offset": 185, "proto": 17}), hello}, summary: "IP 10.0.0.1 > 10.0.0.2: frag (id 7, offset 1480) proto 17, length 12"},
		{name: "fragment of ipv6", specs: []Spec{eth, with(ip6, set{"next_header": 44}), {Kind: Payload, Data: append(unhex("110005c800000063"), "abcdefgh"...)}},
			summary: "IP6 fd00::1 > fd00::2: frag (id 99, offset 1480) 44,proto 17, length 8"},
		{name: "hop by hop", specs: []Spec{eth, with(ip6, set{"next_header": 0}), {Kind: Payload, Data: unhex("3a000502000001008f00eb210000000104000000ff020000000000000000000000000016")}},
			summary: "IP6 fd00::1 > fd00::2: ICMP6 mld2 listener report, length 28"},
		{name: "stp", raw: "0180c200000002000000000300264242030000000000800002000000000100000000800002000000000180010000140002000f0000",
			summary: "STP 802.1d, Config, bridge-id 8000.02:00:00:00:00:01.8001, root 8000.02:00:00:00:00:01, cost 0"},
		{name: "unknown", raw: "02000000000202000000000188b50102030405", summary: "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 0x88b5, length 19"},
		{name: "padded", raw: "0200000000020200000000010800450000200007000040116" + "6c40a0000010a00000203e807d0000c0000616263640000000000000000000000000000",
			summary: "IP 10.0.0.1.1000 > 10.0.0.2.2000: UDP, length 4"},

		{name: "cut ip header", raw: "02000000000202000000000108004500", bad: "ip", summary: "02:00:00:00:00:01 > 02:00:00:00:00:02, ethertype 0x0800, length 16 [malformed ip: 2 bytes are too few for its header of 20]"},
		{name: "ihl", specs: []Spec{eth, with(ip4, set{"ihl": 4}), udp}, bad: "ip"},
		{name: "long ip", specs: []Spec{eth, with(ip4, set{"length": 999}), udp}, bad: "ip"},
		{name: "short ip", specs: []Spec{eth, with(ip4, set{"length": 10}), udp}, bad: "ip"},
		{name: "short udp", specs: []Spec{eth, ip4, with(udp, set{"length": 7}), hello}, bad: "udp"},
		{name: "long udp", specs: []Spec{eth, ip4, with(udp, set{"length": 700}), hello}, bad: "udp"},
		{name: "data offset", specs: []Spec{eth, ip4, with(tcp, set{"data_offset": 3}), hello}, bad: "tcp"},
		{name: "tcp option", specs: []Spec{eth, ip4, with(tcp, set{"options": []byte{2, 9, 1, 1}}), hello}, bad: "tcp"},
		{name: "dns", specs: []Spec{eth, ip4, dns, {Kind: Payload, Data: query[:25]}}, bad: "dns"},
		{name: "nd option", specs: []Spec{eth, ip6, {Kind: ICMPv6, Fields: set{"type": 133}}, {Kind: Payload, Data: make([]byte, 8)}}, bad: "icmpv6"},
		{name: "long ipv6", specs: []Spec{eth, with(ip6, set{"payload_length": 999}), udp}, bad: "ipv6"},
		{name: "vxlan without the flag", specs: []Spec{eth, ip4, {Kind: UDP}, {Kind: VXLAN, Fields: set{"flags": 0}}, eth}, bad: "vxlan"},
	}
}

func unhex(s string) []byte {
	b, err := hex.DecodeString(s)
	if err != nil {
		panic(err)
	}
	return b
}

func (s sample) bytes(t testing.TB) []byte {
	t.Helper()
	if s.raw != "" {
		return unhex(s.raw)
	}
	b, err := Craft(s.specs)
	if err != nil {
		t.Fatalf("%s: %v", s.name, err)
	}
	return b
}

// TestSummary: what each packet is in a line, and what is malformed.
func TestSummary(t *testing.T) {
	var p Packet
	for _, s := range samples() {
		b := s.bytes(t)
		p.Decode(b, len(b), Ethernet)
		kind, _ := p.Malformed()
		bad := ""
		if kind != None {
			bad = kind.String()
		}
		got := p.Summary()
		if bad != s.bad || s.summary != "" && got != s.summary {
			t.Errorf("%s:\n got %s\nwant %s (malformed %q)", s.name, got, s.summary, s.bad)
		}
		if s.bad != "" && !strings.Contains(got, "[malformed "+s.bad+": ") {
			t.Errorf("%s: %s", s.name, got)
		}
	}
}

// TestCut: a packet whose end was not captured is decoded as far as it goes, and is
// not malformed.
func TestCut(t *testing.T) {
	var whole, p Packet
	for _, s := range samples() {
		b := s.bytes(t)
		whole.Decode(b, len(b), Ethernet)
		if k, _ := whole.Malformed(); k != None {
			continue
		}
		for n := range b {
			p.Decode(b[:n], len(b), Ethernet)
			if k, why := p.Malformed(); k != None {
				t.Fatalf("%s, %d of %d bytes: %s: %s", s.name, n, len(b), k, why)
			}
			_ = p.Summary()
			everything(&p)
			for i, l := range p.Layers {
				if l.Kind != Payload && (i >= len(whole.Layers) || whole.Layers[i].Kind != l.Kind) {
					t.Fatalf("%s, %d of %d bytes: layer %d is %s", s.name, n, len(b), i, l.Kind)
				}
			}
		}
	}
}

// everything reads every field of every layer.
func everything(p *Packet) (n int) {
	for i := range p.Layers {
		for j := range Fields(p.Layers[i].Kind) {
			if p.Get(&p.Layers[i], &Fields(p.Layers[i].Kind)[j]) != nil {
				n++
			}
		}
	}
	return n
}
