package packet

import "encoding/binary"

// above is the layer that an IP protocol number announces. A packet in a packet
// is on the next level.
func (d *decoder) above(proto byte) Kind {
	d.last().Proto = proto
	switch proto {
	case protoICMP:
		return ICMP
	case protoICMPv6:
		return ICMPv6
	case protoTCP:
		return TCP
	case protoUDP:
		return UDP
	case protoGRE:
		return GRE
	case protoIPv4:
		return d.tunnel(IPv4)
	case protoIPv6:
		return d.tunnel(IPv6)
	case protoEthernet:
		return d.tunnel(Ethernet)
	}
	return Payload
}

// tunnel begins a level.
func (d *decoder) tunnel(k Kind) Kind {
	if k == Payload {
		return k
	}
	d.level++
	d.fragment = false
	return k
}

func (d *decoder) ipv4() Kind {
	h, next, ok := d.open(IPv4, 20)
	if !ok {
		return next
	}
	if h[0]>>4 != 4 {
		return d.bad(IPv4, "its version is %d", int(h[0]>>4), 0)
	}
	size, total := int(h[0]&15)*4, int(binary.BigEndian.Uint16(h[2:]))
	if size < 20 {
		return d.bad(IPv4, "its header length is %d, less than 20", size, 0)
	}
	if h, next, ok = d.grow(size); !ok {
		return next
	}
	if next, ok = d.length(total, size); !ok {
		return next
	}
	part := binary.BigEndian.Uint16(h[6:])
	offset := part & 0x1fff
	d.fragment = part&0x2000 != 0 || offset != 0
	d.last().Fragment = d.fragment
	if offset != 0 {
		d.last().Proto = h[9]
		return Payload
	}
	return d.above(h[9])
}

// length judges the length in an IPv4 or UDP header, header included, and lets the
// layer end there. 0 is that of a packet too large for the field, which segmentation
// offload makes.
func (d *decoder) length(total, size int) (next Kind, ok bool) {
	l := d.last()
	switch {
	case total == 0, d.quoted && total > d.available():
		return None, true
	case total < size:
		return d.bad(l.Kind, "its length is %d, less than its header of %d bytes", total, size), false
	case total > d.available() && l.Kind == UDP && l.Fragment:
		return None, true
	case total > d.available():
		return d.bad(l.Kind, "its length is %d, and %d bytes are there", total, d.available()), false
	}
	d.shorten(l.Start + total)
	return None, true
}

func (d *decoder) ipv6() Kind {
	h, next, ok := d.open(IPv6, 40)
	if !ok {
		return next
	}
	if h[0]>>4 != 6 {
		return d.bad(IPv6, "its version is %d", int(h[0]>>4), 0)
	}
	if n := int(binary.BigEndian.Uint16(h[4:])); n > 0 {
		switch {
		case n <= d.end-d.at:
			d.shorten(d.at + n)
		case !d.quoted:
			return d.bad(IPv6, "its payload length is %d, and %d bytes are there", n, d.end-d.at)
		}
	}
	return d.extensions(h[6])
}

// extensions goes through the extension headers of IPv6, which are part of its layer.
func (d *decoder) extensions(proto byte) Kind {
	ip := len(d.p.Layers) - 1
	fragment := false
	for isExtension(proto) {
		from := d.p.Layers[ip].Body
		h, next, ok := d.extension(ip, 8)
		if !ok {
			return next
		}
		n := 8
		switch proto {
		case protoFragment:
			part := binary.BigEndian.Uint16(h[2:])
			if part>>3 != 0 {
				d.p.Layers[ip].Fragment, d.p.Layers[ip].Proto = true, h[0]
				d.at = d.p.Layers[ip].Body
				return Payload
			}
			fragment = part&1 != 0
		case protoAH:
			n = 4 * (int(h[1]) + 2)
		default:
			n = 8 * (int(h[1]) + 1)
		}
		if _, next, ok = d.extension(ip, n-8); !ok {
			return next
		}
		header := d.p.Data[from : from+n]
		if proto == protoRouting && header[2] == 4 {
			if next, ok = d.srh(ip, from, header); !ok {
				return next
			}
		}
		proto = header[0]
	}
	d.at = d.p.Layers[ip].Body
	d.fragment = fragment
	d.p.Layers[ip].Fragment = fragment
	if proto == protoNoNext {
		d.p.Layers[ip].Proto = proto
		return Payload
	}
	next := d.above(proto)
	d.p.Layers[ip].Proto = proto
	return next
}

// extension adds n bytes to the IPv6 layer, and returns them.
func (d *decoder) extension(ip, n int) (h []byte, next Kind, ok bool) {
	l := &d.p.Layers[ip]
	d.at = l.Body
	if d.at+n > d.end {
		return nil, d.bad(IPv6, "an extension header of %d bytes is longer than the %d that are there", n, d.end-d.at), false
	}
	if d.at+n > len(d.p.Data) {
		return nil, Payload, false
	}
	h = d.p.Data[d.at : d.at+n]
	l.Body += n
	d.at += n
	return h, None, true
}

// srh is a layer beside the IPv6 header that it belongs to.
func (d *decoder) srh(ip, from int, h []byte) (next Kind, ok bool) {
	d.p.Layers = append(d.p.Layers, Layer{Kind: SRH, Level: d.level, Quoted: d.quoted, Start: from, Body: from + len(h), End: d.end})
	if need := 8 + 16*(int(h[4])+1); need > len(h) {
		return d.bad(SRH, "its segments need %d bytes, and it has %d", need, len(h)), false
	}
	if h[3] > h[4]+1 {
		return d.bad(SRH, "%d segments are left of %d", int(h[3]), int(h[4])+1), false
	}
	return None, true
}

func isExtension(proto byte) bool {
	switch proto {
	case protoHopByHop, protoRouting, protoFragment, protoAH, protoDestOpts, protoMobility:
		return true
	}
	return false
}

func (d *decoder) icmp() Kind {
	h, next, ok := d.open(ICMP, 8)
	if !ok {
		return next
	}
	switch h[0] {
	case 3, 4, 5, 11, 12:
		return d.quote(IPv4)
	}
	return Payload
}

// quote begins the packet that an ICMP error is about.
func (d *decoder) quote(k Kind) Kind {
	if d.at == d.end {
		return None
	}
	d.quoted = true
	return d.tunnel(k)
}

// Types of ICMPv6 (RFC 4443, RFC 4861).
const (
	routerSolicitation    = 133
	routerAdvertisement   = 134
	neighborSolicitation  = 135
	neighborAdvertisement = 136
	redirect              = 137
)

// fixedND is how long a message of neighbour discovery is without its options, or 0
// for another type.
func fixedND(t byte) int {
	switch t {
	case routerSolicitation:
		return 8
	case routerAdvertisement:
		return 16
	case neighborSolicitation, neighborAdvertisement:
		return 24
	case redirect:
		return 40
	}
	return 0
}

func (d *decoder) icmpv6() Kind {
	h, next, ok := d.open(ICMPv6, 8)
	if !ok {
		return next
	}
	if h[0] >= 1 && h[0] <= 4 {
		return d.quote(IPv6)
	}
	fixed := fixedND(h[0])
	if fixed == 0 {
		return Payload
	}
	if h, next, ok = d.grow(fixed); !ok {
		return next
	}
	for n := len(h); d.at < d.end; n = len(h) {
		if h, next, ok = d.grow(n + 2); !ok {
			return next
		}
		if h[n+1] == 0 {
			return d.bad(ICMPv6, "its option %d has the length 0", int(h[n]), 0)
		}
		if h, next, ok = d.grow(n + 8*int(h[n+1])); !ok {
			return next
		}
	}
	return None
}

// Ports whose UDP packets are tunnels. 8472 is what Linux uses for VXLAN unless it
// is told 4789.
const (
	portDNS        = 53
	portMDNS       = 5353
	portLLMNR      = 5355
	portVXLAN      = 4789
	portVXLANLinux = 8472
	portGeneve     = 6081
	portMPLS       = 6635
)

func (d *decoder) udp() Kind {
	h, next, ok := d.open(UDP, 8)
	if !ok {
		return next
	}
	if next, ok = d.length(int(binary.BigEndian.Uint16(h[4:])), 8); !ok {
		return next
	}
	if d.at == d.end {
		return None
	}
	sport, dport := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	switch dport {
	case portVXLAN, portVXLANLinux:
		return VXLAN
	case portGeneve:
		return Geneve
	case portMPLS:
		return d.tunnel(MPLS)
	}
	for _, port := range [2]uint16{sport, dport} {
		switch port {
		case portDNS, portMDNS, portLLMNR:
			return DNS
		}
	}
	return Payload
}

func (d *decoder) tcp() Kind {
	h, next, ok := d.open(TCP, 20)
	if !ok {
		return next
	}
	size := int(h[12]>>4) * 4
	if size < 20 {
		return d.bad(TCP, "its data offset is %d bytes, less than 20", size, 0)
	}
	if h, next, ok = d.grow(size); !ok {
		return next
	}
	if kind, n := badOption(h[20:]); kind >= 0 {
		d.bad(TCP, "its option %d has the length %d", kind, n)
	}
	sport, dport := binary.BigEndian.Uint16(h), binary.BigEndian.Uint16(h[2:])
	if (sport == portDNS || dport == portDNS) && d.at+2 <= len(d.p.Data) && d.end-d.at > 2 &&
		int(binary.BigEndian.Uint16(d.p.Data[d.at:])) == d.end-d.at-2 {
		d.at += 2 // one whole message (RFC 1035, 4.2.2)
		return DNS
	}
	return Payload
}

// badOption finds an option of TCP with a length that cannot be; kind is -1 when
// there is none.
func badOption(b []byte) (kind, n int) {
	for len(b) > 0 && b[0] != 0 {
		if b[0] == 1 {
			b = b[1:]
			continue
		}
		if len(b) < 2 || b[1] < 2 || int(b[1]) > len(b) {
			if len(b) > 1 {
				n = int(b[1])
			}
			return int(b[0]), n
		}
		b = b[b[1]:]
	}
	return -1, 0
}

func (d *decoder) dns() Kind {
	if _, next, ok := d.open(DNS, 12); !ok {
		return next
	}
	// The whole message is the header: [Packet.Malformed] and the fields read it.
	d.last().Body = d.end
	d.at = d.end
	return None
}

func (d *decoder) vxlan() Kind {
	h, next, ok := d.open(VXLAN, 8)
	if !ok {
		return next
	}
	if h[0]&8 == 0 {
		return d.bad(VXLAN, "its flags %d do not say that it has a VNI", int(h[0]), 0)
	}
	return d.tunnel(Ethernet)
}

func (d *decoder) gre() Kind {
	h, next, ok := d.open(GRE, 4)
	if !ok {
		return next
	}
	if h[1]&7 != 0 || h[0]&0x40 != 0 { // another version, or the routing of RFC 1701
		return Payload
	}
	size := 4
	for _, bit := range [3]byte{0x80, 0x20, 0x10} { // checksum, key, sequence number
		if h[0]&bit != 0 {
			size += 4
		}
	}
	if h, next, ok = d.grow(size); !ok {
		return next
	}
	return d.tunnel(FromEtherType(binary.BigEndian.Uint16(h[2:])))
}

func (d *decoder) geneve() Kind {
	h, next, ok := d.open(Geneve, 8)
	if !ok {
		return next
	}
	if h[0]>>6 != 0 {
		return d.bad(Geneve, "its version is %d", int(h[0]>>6), 0)
	}
	if h, next, ok = d.grow(8 + 4*int(h[0]&0x3f)); !ok {
		return next
	}
	for o := h[8:]; len(o) > 0; {
		n := 4
		if len(o) >= 4 {
			n = 4 + 4*int(o[3]&0x1f)
		}
		if n > len(o) {
			return d.bad(Geneve, "an option of %d bytes is longer than the %d that are there", n, len(o))
		}
		o = o[n:]
	}
	return d.tunnel(FromEtherType(binary.BigEndian.Uint16(h[2:])))
}
