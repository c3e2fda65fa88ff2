package packet

import (
	"encoding/binary"
	"net/netip"
	"strings"
)

// The readers of fields that have no fixed place.

func vlanIDs(p *Packet, l *Layer) any {
	var ids []any
	for i := range p.Layers {
		if o := &p.Layers[i]; o.Kind == VLAN && o.Level == l.Level {
			ids = append(ids, int(binary.BigEndian.Uint16(p.header(o))&0xfff))
		}
	}
	return ids
}

func mplsLabels(p *Packet, l *Layer) any {
	var labels []any
	for h := p.header(l); len(h) >= 4; h = h[4:] {
		labels = append(labels, int(binary.BigEndian.Uint32(h)>>12))
	}
	return labels
}

func ipOptions(p *Packet, l *Layer) any { return options(p, l, 20) }

// options are what a header has beyond its least length; nil for nothing.
func options(p *Packet, l *Layer, fixed int) any {
	if b := p.bytes(l.Start+fixed, l.Body); b != nil {
		return b
	}
	return nil
}

// eachExtension calls fn with the number and the bytes of each extension header of
// IPv6 until it returns false.
func eachExtension(p *Packet, l *Layer, fn func(proto byte, h []byte) bool) {
	h := p.header(l)
	if len(h) < 40 {
		return
	}
	proto, rest := h[6], h[40:]
	for isExtension(proto) && len(rest) >= 8 {
		n := 8 * (int(rest[1]) + 1)
		switch proto {
		case protoFragment:
			n = 8
		case protoAH:
			n = 4 * (int(rest[1]) + 2)
		}
		if n > len(rest) || !fn(proto, rest[:n]) {
			return
		}
		proto, rest = rest[0], rest[n:]
	}
}

func ipv6Extensions(p *Packet, l *Layer) any {
	list := []any{}
	eachExtension(p, l, func(proto byte, _ []byte) bool {
		list = append(list, int(proto))
		return true
	})
	return list
}

func ipv6Proto(_ *Packet, l *Layer) any { return int(l.Proto) }

// fragmentHeader is that of an IPv6 packet, or nil.
func fragmentHeader(p *Packet, l *Layer) (found []byte) {
	eachExtension(p, l, func(proto byte, h []byte) bool {
		if proto == protoFragment {
			found = h
		}
		return found == nil
	})
	return found
}

func fragmentID(p *Packet, l *Layer) any {
	if h := fragmentHeader(p, l); h != nil {
		return int(binary.BigEndian.Uint32(h[4:]))
	}
	return nil
}

func fragmentOffset(p *Packet, l *Layer) any {
	if h := fragmentHeader(p, l); h != nil {
		return int(binary.BigEndian.Uint16(h[2:]) >> 3)
	}
	return nil
}

func moreFragments(p *Packet, l *Layer) any {
	if h := fragmentHeader(p, l); h != nil {
		return h[3]&1 != 0
	}
	return nil
}

func srhSegments(p *Packet, l *Layer) any {
	h := p.header(l)
	list := []any{}
	for i := 0; i <= int(h[4]) && 8+16*(i+1) <= len(h); i++ {
		list = append(list, netip.AddrFrom16([16]byte(h[8+16*i:])))
	}
	return list
}

// eachOption goes through the options of neighbour discovery, each with its type
// and length in front.
func eachOption(p *Packet, l *Layer, fn func(o []byte)) {
	h := p.header(l)
	fixed := fixedND(h[0])
	if fixed == 0 || len(h) < fixed {
		return
	}
	for o := h[fixed:]; len(o) >= 2 && o[1] > 0 && 8*int(o[1]) <= len(o); o = o[8*int(o[1]):] {
		fn(o[:8*int(o[1])])
	}
}

func ndLinkLayer(p *Packet, l *Layer) (mac any) {
	eachOption(p, l, func(o []byte) {
		if (o[0] == 1 || o[0] == 2) && mac == nil {
			mac = MAC(o[2:8])
		}
	})
	return mac
}

func ndPrefixes(p *Packet, l *Layer) any {
	if fixedND(p.header(l)[0]) == 0 {
		return nil
	}
	list := []any{}
	eachOption(p, l, func(o []byte) {
		if o[0] == 3 && len(o) >= 32 {
			list = append(list, netip.PrefixFrom(netip.AddrFrom16([16]byte(o[16:32])), min(int(o[2]), 128)).String())
		}
	})
	return list
}

func tcpOptions(p *Packet, l *Layer) any { return options(p, l, 20) }

// tcpOption finds an option's value of n bytes, or nil.
func tcpOption(p *Packet, l *Layer, kind byte, n int) []byte {
	for b := p.bytes(l.Start+20, l.Body); len(b) > 0 && b[0] != 0; {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			return nil
		}
		if b[0] == kind && int(b[1]) == n+2 {
			return b[2:b[1]:b[1]]
		}
		b = b[b[1]:]
	}
	return nil
}

func tcpMSS(p *Packet, l *Layer) any {
	if o := tcpOption(p, l, 2, 2); o != nil {
		return int(binary.BigEndian.Uint16(o))
	}
	return nil
}

func tcpWindowScale(p *Packet, l *Layer) any {
	if o := tcpOption(p, l, 3, 1); o != nil {
		return int(o[0])
	}
	return nil
}

func tcpSackPermitted(p *Packet, l *Layer) any { return tcpOption(p, l, 4, 0) != nil }

func tcpTimestamp(p *Packet, l *Layer) any {
	if o := tcpOption(p, l, 8, 8); o != nil {
		return int(binary.BigEndian.Uint32(o))
	}
	return nil
}

func tcpTimestampEcho(p *Packet, l *Layer) any {
	if o := tcpOption(p, l, 8, 8); o != nil {
		return int(binary.BigEndian.Uint32(o[4:]))
	}
	return nil
}

// greOption is the word of GRE that a flag announces, or nil.
func greOption(p *Packet, l *Layer, flag byte) any {
	h := p.header(l)
	if h[0]&flag == 0 || h[0]&0x40 != 0 || h[1]&7 != 0 {
		return nil
	}
	at := 4
	for _, bit := range [3]byte{0x80, 0x20, 0x10} {
		if bit == flag {
			break
		}
		if h[0]&bit != 0 {
			at += 4
		}
	}
	if at+4 > len(h) {
		return nil
	}
	if flag == 0x80 {
		return int(binary.BigEndian.Uint16(h[at:]))
	}
	return int(binary.BigEndian.Uint32(h[at:]))
}

func greChecksum(p *Packet, l *Layer) any { return greOption(p, l, 0x80) }
func greKey(p *Packet, l *Layer) any      { return greOption(p, l, 0x20) }
func greSeq(p *Packet, l *Layer) any      { return greOption(p, l, 0x10) }

func geneveOptions(p *Packet, l *Layer) any { return options(p, l, 8) }

func payloadBytes(p *Packet, l *Layer) any { return p.body(l) }

func payloadText(p *Packet, l *Layer) any { return strings.ToValidUTF8(string(p.body(l)), "�") }

func payloadLength(_ *Packet, l *Layer) any { return l.End - l.Start }
