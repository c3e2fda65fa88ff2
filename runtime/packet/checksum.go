package packet

import (
	"encoding/binary"
	"math/bits"
)

// sum adds 16-bit words in one's complement (RFC 1071), eight bytes at a time.
func sum(b []byte, n uint64) uint64 {
	var carry uint64
	for len(b) >= 8 {
		n, carry = bits.Add64(n, binary.BigEndian.Uint64(b), 0)
		n += carry
		b = b[8:]
	}
	var rest [8]byte
	copy(rest[:], b)
	n, carry = bits.Add64(n, binary.BigEndian.Uint64(rest[:]), 0)
	return n + carry
}

// fold is the checksum of what was summed.
func fold(n uint64) uint16 {
	for n > 0xffff {
		n = n>>16 + n&0xffff
	}
	return ^uint16(n)
}

// pseudo sums the pseudo header of IPv4 (RFC 9293) or IPv6 (RFC 8200, 8.1): addresses
// of 4 or 16 bytes, the protocol and the length of what is above.
func pseudo(src, dst []byte, proto uint8, length int) uint64 {
	return sum(src, sum(dst, uint64(proto)+uint64(length)))
}

// checksumOK verifies the layer's checksum; nil when it cannot be, or there is none:
// bytes that were not captured, a fragment, a quoted packet, a checksum that was
// left to the hardware, UDP over IPv4 without one.
func checksumOK(p *Packet, l *Layer) any {
	if l.End > len(p.Data) || l.Quoted {
		if l.Kind != IPv4 || l.Body > len(p.Data) {
			return nil
		}
	}
	whole := p.bytes(l.Start, l.End)
	switch l.Kind {
	case IPv4:
		return fold(sum(p.header(l), 0)) == 0
	case GRE:
		if greChecksum(p, l) == nil {
			return nil
		}
		return fold(sum(whole, 0)) == 0
	}
	if p.Unfinished || l.Fragment {
		return nil
	}
	if l.Kind == ICMP {
		return fold(sum(whole, 0)) == 0
	}
	ip := p.network(l)
	if ip == nil {
		return nil
	}
	if l.Kind == UDP && whole[6] == 0 && whole[7] == 0 {
		if ip.Kind == IPv4 {
			return nil
		}
		return false // RFC 8200, 8.1
	}
	src, dst := p.addresses(ip)
	return fold(sum(whole, pseudo(src, dst, ip.Proto, len(whole)))) == 0
}

// addresses are those of the pseudo header: with a routing header the destination
// is the last segment.
func (p *Packet) addresses(ip *Layer) (src, dst []byte) {
	h := p.header(ip)
	if ip.Kind == IPv4 {
		return h[12:16], h[16:20]
	}
	src, dst = h[8:24], h[24:40]
	if srh := p.Layer(SRH, int(ip.Level)); srh != nil && srh.Start < ip.Body {
		if s := p.header(srh); s[3] > 0 && len(s) >= 24 {
			dst = s[8:24]
		}
	}
	return src, dst
}
