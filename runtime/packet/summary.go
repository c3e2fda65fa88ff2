package packet

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"strings"
)

// Summary is the packet in a line, in tcpdump's manner, without a time.
func (p *Packet) Summary() string { return p.SummaryOf(0) }

// SummaryOf is the packet from a level on: what is in a tunnel.
func (p *Packet) SummaryOf(level int) string {
	var b strings.Builder
	s := summary{p: p, b: &b}
	for s.i < len(p.Layers) && int(p.Layers[s.i].Level) < level {
		s.i++
	}
	for s.i < len(p.Layers) {
		s.layer()
	}
	if b.Len() == 0 {
		fmt.Fprintf(&b, "%d bytes", p.Length)
	}
	if k, why := p.Malformed(); k != None {
		fmt.Fprintf(&b, " [malformed %s: %s]", k, why)
	}
	return b.String()
}

// summary goes through the layers and writes.
type summary struct {
	p *Packet
	b *strings.Builder
	i int
}

// next returns the layer and goes on to the following one.
func (s *summary) next() *Layer {
	s.i++
	return &s.p.Layers[s.i-1]
}

// peek is the kind of the following layer.
func (s *summary) peek() Kind {
	if s.i < len(s.p.Layers) {
		return s.p.Layers[s.i].Kind
	}
	return None
}

func (s *summary) print(format string, args ...any) { fmt.Fprintf(s.b, format, args...) }

// get is a field as it prints; 0 or nil prints too.
func (s *summary) get(l *Layer, name string) any {
	return s.p.Get(l, l.Kind.Field(name))
}

func (s *summary) num(l *Layer, name string) int {
	n, _ := s.get(l, name).(int)
	return n
}

func (s *summary) layer() {
	l := s.next()
	switch l.Kind {
	case Ethernet:
		if k := s.peek(); k == Payload || k == None {
			s.print("%v > %v, ethertype 0x%04x, length %d", s.get(l, "src"), s.get(l, "dst"), s.num(l, "type"), s.p.Length-l.Start)
		}
	case LLC:
		if k := s.peek(); k == Payload || k == None {
			s.print("LLC, dsap 0x%02x ssap 0x%02x, length %d", s.num(l, "dsap"), s.num(l, "ssap"), l.End-l.Start)
		}
	case STP:
		s.stp(l)
	case VLAN:
		s.print("vlan %d, p %d, ", s.num(l, "id"), s.num(l, "pcp"))
		if k := s.peek(); k == Payload || k == None {
			s.print("ethertype 0x%04x", s.num(l, "type"))
		}
	case MPLS:
		s.mpls(l)
	case ARP:
		s.arp(l)
	case IPv4, IPv6:
		s.ip(l)
	case ICMP, ICMPv6:
		s.icmp(l)
	case UDP:
		s.udp(l)
	case TCP:
		s.tcp(l)
	case VXLAN:
		s.print("VXLAN, vni %d: ", s.num(l, "vni"))
	case GRE:
		s.print("GREv%d", s.num(l, "version"))
		if key := s.get(l, "key"); key != nil {
			s.print(", key=0x%x", key)
		}
		s.print(", length %d: ", l.End-l.Start)
	case Geneve:
		s.print("Geneve, vni %d: ", s.num(l, "vni"))
	case DNS:
		s.dns(l)
	}
}

func (s *summary) stp(l *Layer) {
	s.print("STP 802.1%s, ", [...]string{"d", "?", "w", "s"}[min(s.num(l, "version"), 3)])
	switch s.num(l, "type") {
	case bpduTCN:
		s.print("Topology Change")
		return
	case bpduRapid:
		s.print("Rapid STP")
	default:
		s.print("Config")
	}
	s.print(", bridge-id %04x.%v.%04x, root %04x.%v, cost %d", s.num(l, "bridge_priority"), s.get(l, "bridge_mac"), s.num(l, "port"),
		s.num(l, "root_priority"), s.get(l, "root_mac"), s.num(l, "root_cost"))
}

func (s *summary) mpls(l *Layer) {
	s.print("MPLS")
	h := s.p.header(l)
	for ; len(h) >= 4; h = h[4:] {
		s.print(" (label %d, tc %d, ", binary.BigEndian.Uint32(h)>>12, h[2]>>1&7)
		if h[2]&1 != 0 {
			s.print("[S], ")
		}
		s.print("ttl %d)", h[3])
	}
	s.print(" ")
}

func (s *summary) arp(l *Layer) {
	s.print("ARP, ")
	spa, tpa, sha := s.get(l, "spa"), s.get(l, "tpa"), s.get(l, "sha")
	switch op := s.num(l, "op"); {
	case spa == nil:
		s.print("op %d, hardware 0x%x, protocol 0x%04x", op, s.num(l, "hrd"), s.num(l, "pro"))
	case op == 1 && s.get(l, "tha") != (MAC{}):
		s.print("Request who-has %v (%v) tell %v", tpa, s.get(l, "tha"), spa)
	case op == 1 && spa == netip.IPv4Unspecified():
		s.print("Probe %v", tpa)
	case op == 1 && spa == tpa:
		s.print("Announcement %v", tpa)
	case op == 1:
		s.print("Request who-has %v tell %v", tpa, spa)
	case op == 2:
		s.print("Reply %v is-at %v", spa, sha)
	default:
		s.print("op %d from %v to %v", op, spa, tpa)
	}
	s.print(", length %d", s.p.Length-l.Start)
}

// ports are those of the transport that an IP layer carries.
func (s *summary) ports() (src, dst string) {
	if k := s.peek(); k != UDP && k != TCP {
		return "", ""
	}
	l := &s.p.Layers[s.i]
	return fmt.Sprintf(".%d", s.num(l, "sport")), fmt.Sprintf(".%d", s.num(l, "dport"))
}

func (s *summary) ip(l *Layer) {
	word, length, extensions := "IP", l.End-l.Body, []any(nil)
	if l.Kind == IPv6 {
		word = "IP6"
		extensions, _ = s.get(l, "extensions").([]any)
	}
	var srh *Layer
	if s.peek() == SRH {
		srh = s.next()
	}
	sport, dport := s.ports()
	s.print("%s %v%s > %v%s: ", word, s.get(l, "src"), sport, s.get(l, "dst"), dport)
	if srh != nil {
		s.print("SRH (%d left of %v) ", s.num(srh, "segments_left"), s.get(srh, "segments"))
	}
	if l.Fragment {
		offset, id, more := s.num(l, "frag_offset"), "id", s.get(l, "mf")
		if l.Kind == IPv6 {
			id = "frag_id"
		}
		s.print("frag (id %d, offset %d", s.num(l, id), 8*offset)
		if more == true {
			s.print("+")
		}
		s.print(") ")
	}
	if k := s.peek(); k != None && k != Payload {
		return
	}
	for _, n := range extensions {
		s.print("%v,", n)
	}
	s.print("proto %d, length %d", l.Proto, length)
}

func (s *summary) icmp(l *Layer) {
	word, kind, code := "ICMP", s.num(l, "type"), s.num(l, "code")
	if l.Kind == ICMPv6 {
		word = "ICMP6"
	}
	name := strings.ReplaceAll(strings.TrimPrefix(l.Kind.Field("type").NameOf(kind), "nd-"), "-", " ")
	if name == "" {
		name = fmt.Sprintf("type %d", kind)
	}
	s.print("%s %s", word, name)
	if code != 0 {
		s.print(", code %d", code)
	}
	for _, f := range [...]string{"id", "seq", "mtu", "gateway", "target"} {
		if f := l.Kind.Field(f); f != nil {
			if v := s.p.Get(l, f); v != nil {
				s.print(", %s %v", f.Name, v)
			}
		}
	}
	s.print(", length %d", l.End-l.Start)
	if k := s.peek(); k != None && k != Payload {
		s.print(": ")
	}
}

func (s *summary) udp(l *Layer) {
	switch s.peek() {
	case DNS, VXLAN, Geneve, MPLS:
		return
	}
	s.print("UDP, length %d", l.End-l.Body)
}

// flagLetters are TCP's flags as tcpdump shows them.
func flagLetters(n int) string {
	var b strings.Builder
	for i, letter := range [...]string{"F", "S", "R", "P", ".", "U", "E", "W"} {
		if n&(1<<i) != 0 {
			b.WriteString(letter)
		}
	}
	if b.Len() == 0 {
		return "none"
	}
	return b.String()
}

func (s *summary) tcp(l *Layer) {
	n, _ := s.p.number(l, TCP.Field("flags"))
	length := l.End - l.Body
	s.print("Flags [%s]", flagLetters(int(n)))
	switch seq := s.num(l, "seq"); {
	case length > 0:
		s.print(", seq %d:%d", seq, uint32(seq+length))
	case n&7 != 0: // FIN, SYN, RST
		s.print(", seq %d", seq)
	}
	if n&0x10 != 0 {
		s.print(", ack %d", s.num(l, "ack"))
	}
	s.print(", win %d, length %d", s.num(l, "window"), length)
	if s.peek() == DNS {
		s.print(" ")
	}
}

func (s *summary) dns(l *Layer) {
	h := s.p.header(l)
	s.print("%d", s.num(l, "id"))
	name, kind := s.get(l, "name"), s.get(l, "type")
	if s.get(l, "qr") != true {
		if s.get(l, "rd") == true {
			s.print("+")
		}
		s.print(" %v? %v (%d)", kind, name, l.End-l.Start)
		return
	}
	if code := s.get(l, "rcode"); code != "NOERROR" {
		s.print(" %v", code)
	}
	s.print(" %d/%d/%d", binary.BigEndian.Uint16(h[6:]), binary.BigEndian.Uint16(h[8:]), binary.BigEndian.Uint16(h[10:]))
	answers, _ := s.get(l, "answers").([]any)
	for i, a := range answers {
		if i > 0 {
			s.print(",")
		}
		r := a.(Record)
		s.print(" %v %v", r[1].Value, r[3].Value)
	}
	s.print(" (%d)", l.End-l.Start)
}
