package packet

import "encoding/binary"

// maxLayers bounds what a packet that was made to annoy can cost.
const maxLayers = 48

// EtherTypes (IEEE 802 numbers).
const (
	etherIPv4    = 0x0800
	etherARP     = 0x0806
	etherBridged = 0x6558 // transparent Ethernet bridging: a frame in a tunnel
	etherVLAN    = 0x8100
	etherIPv6    = 0x86dd
	etherMPLS    = 0x8847
	etherMPLSMc  = 0x8848
	etherQinQ    = 0x88a8
	etherQinQOld = 0x9100
)

// FromEtherType is the layer that an EtherType announces; Payload when it is
// unknown.
func FromEtherType(t uint16) Kind {
	switch t {
	case etherIPv4:
		return IPv4
	case etherARP:
		return ARP
	case etherBridged:
		return Ethernet
	case etherVLAN, etherQinQ, etherQinQOld:
		return VLAN
	case etherIPv6:
		return IPv6
	case etherMPLS, etherMPLSMc:
		return MPLS
	}
	return Payload
}

// IP protocol numbers.
const (
	protoHopByHop = 0
	protoICMP     = 1
	protoIPv4     = 4
	protoTCP      = 6
	protoUDP      = 17
	protoIPv6     = 41
	protoRouting  = 43
	protoFragment = 44
	protoGRE      = 47
	protoAH       = 51
	protoICMPv6   = 58
	protoNoNext   = 59
	protoDestOpts = 60
	protoMobility = 135
	protoEthernet = 143
)

// decoder goes through a packet from the outside in.
type decoder struct {
	p     *Packet
	at    int // where the next layer begins
	end   int // where what carries it says that it ends
	level uint8
	// fragment and quoted: lengths in the next layer speak of what is not here.
	fragment, quoted bool
}

// Decode takes data apart, of which there were length bytes on the wire and whose
// first layer is first: Ethernet, or IPv4 and its like on a link without. The
// Packet refers to data and is overwritten by the next Decode.
func (p *Packet) Decode(data []byte, length int, first Kind) {
	*p = Packet{Data: data, Length: max(length, len(data)), Layers: p.Layers[:0]}
	d := decoder{p: p, end: p.Length}
	for k := first; k != None; {
		if len(p.Layers) >= maxLayers-1 && k != Payload {
			k = d.bad(k, "%d layers are too many", maxLayers, 0)
		}
		k = d.layer(k)
	}
}

// layer decodes one layer and returns the kind of the next.
func (d *decoder) layer(k Kind) Kind {
	switch k {
	case Ethernet:
		return d.ethernet()
	case LLC:
		return d.llc()
	case STP:
		return d.stp()
	case VLAN:
		return d.vlan()
	case MPLS:
		return d.mpls()
	case ARP:
		return d.arp()
	case IPv4:
		return d.ipv4()
	case IPv6:
		return d.ipv6()
	case ICMP:
		return d.icmp()
	case ICMPv6:
		return d.icmpv6()
	case UDP:
		return d.udp()
	case TCP:
		return d.tcp()
	case DNS:
		return d.dns()
	case VXLAN:
		return d.vxlan()
	case GRE:
		return d.gre()
	case Geneve:
		return d.geneve()
	}
	return d.payload()
}

// bad marks the packet as malformed in a layer; the rest of it is payload.
func (d *decoder) bad(k Kind, why string, a, b int) Kind {
	if d.p.bad == None && !d.quoted {
		d.p.bad, d.p.why, d.p.arg = k, why, [2]int{a, b}
	}
	return Payload
}

// open begins a layer whose header has n bytes at least. When they are not there,
// because the packet is malformed or because its end was not captured, ok is false
// and next says how to go on.
func (d *decoder) open(k Kind, n int) (h []byte, next Kind, ok bool) {
	if d.at+n > d.end {
		return nil, d.bad(k, "%d bytes are too few for its header of %d", d.end-d.at, n), false
	}
	if d.at+n > len(d.p.Data) {
		return nil, Payload, false
	}
	d.p.Layers = append(d.p.Layers, Layer{Kind: k, Level: d.level, Fragment: d.fragment, Quoted: d.quoted,
		Start: d.at, Body: d.at + n, End: d.end})
	d.at += n
	return d.p.Data[d.at-n : d.at], None, true
}

// last is the layer that was opened last.
func (d *decoder) last() *Layer { return &d.p.Layers[len(d.p.Layers)-1] }

// grow makes the header of the last layer n bytes long in all, and returns it.
func (d *decoder) grow(n int) (h []byte, next Kind, ok bool) {
	l := d.last()
	if l.Start+n > d.end {
		return nil, d.bad(l.Kind, "its header is of %d bytes, and %d are there", n, d.end-l.Start), false
	}
	if l.Start+n > len(d.p.Data) {
		return nil, Payload, false
	}
	l.Body = l.Start + n
	d.at = l.Body
	return d.p.Data[l.Start:l.Body], None, true
}

// shorten lets the last layer end at an offset: what follows is padding.
func (d *decoder) shorten(end int) {
	d.end = end
	d.last().End = end
}

// available is the number of bytes from the last layer's beginning to its end.
func (d *decoder) available() int { return d.end - d.last().Start }

func (d *decoder) payload() Kind {
	if d.at < d.end {
		d.p.Layers = append(d.p.Layers, Layer{Kind: Payload, Level: d.level, Start: d.at, Body: d.at, End: d.end})
	}
	return None
}

// etherType is what follows a field that is an EtherType, or a length (IEEE 802.3).
func (d *decoder) etherType(h []byte) Kind {
	t := binary.BigEndian.Uint16(h)
	if t >= 0x600 {
		return FromEtherType(t)
	}
	if d.at+int(t) > d.end {
		return d.bad(d.last().Kind, "its length is %d, and %d bytes are there", int(t), d.end-d.at)
	}
	d.shorten(d.at + int(t))
	return LLC
}

func (d *decoder) ethernet() Kind {
	h, next, ok := d.open(Ethernet, 14)
	if !ok {
		return next
	}
	return d.etherType(h[12:])
}

func (d *decoder) vlan() Kind {
	h, next, ok := d.open(VLAN, 4)
	if !ok {
		return next
	}
	return d.etherType(h[2:])
}

func (d *decoder) llc() Kind {
	h, next, ok := d.open(LLC, 3)
	if !ok {
		return next
	}
	switch {
	case h[0] == 0x42 && h[1] == 0x42:
		return STP
	case h[0] == 0xaa && h[1] == 0xaa: // SNAP
		h, next, ok = d.grow(8)
		if !ok {
			return next
		}
		if h[3] == 0 && h[4] == 0 && h[5] == 0 {
			return FromEtherType(binary.BigEndian.Uint16(h[6:]))
		}
	}
	return Payload
}

// Types of BPDUs (IEEE 802.1D, 9.3).
const (
	bpduConfig = 0
	bpduRapid  = 2
	bpduTCN    = 0x80
)

func (d *decoder) stp() Kind {
	h, next, ok := d.open(STP, 4)
	if !ok {
		return next
	}
	switch h[3] {
	case bpduConfig:
		_, next, ok = d.grow(35)
	case bpduRapid:
		_, next, ok = d.grow(36)
	}
	if !ok {
		return next
	}
	return Payload
}

func (d *decoder) mpls() Kind {
	h, next, ok := d.open(MPLS, 4)
	for ok && h[len(h)-2]&1 == 0 { // not the bottom of the stack
		h, next, ok = d.grow(len(h) + 4)
	}
	if !ok {
		return next
	}
	if d.at < min(d.end, len(d.p.Data)) {
		switch d.p.Data[d.at] >> 4 {
		case 4:
			return IPv4
		case 6:
			return IPv6
		}
	}
	return Payload
}

func (d *decoder) arp() Kind {
	h, next, ok := d.open(ARP, 8)
	if !ok {
		return next
	}
	_, next, ok = d.grow(8 + 2*int(h[4]) + 2*int(h[5]))
	if !ok {
		return next
	}
	d.shorten(d.at) // the rest is padding
	return None
}
