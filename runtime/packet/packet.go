// Package packet takes packets apart and puts them together: it decodes
// ([Packet.Decode]), matches ([Match]), describes in a line ([Packet.Summary]),
// crafts ([Craft]) and stores ([Writer]). It only computes.
//
// What a header looks like stands in one table (fields.go), which decoding,
// matching and crafting read. A Packet that is decoded again and again allocates
// nothing: layers are offsets into its bytes, and a field is read when it is asked
// for.
package packet

import (
	"fmt"
	"net"
)

// Kind is a layer's protocol.
type Kind uint8

// The layers that are known.
const (
	None     Kind = iota
	Ethernet      // IEEE 802.3
	LLC           // IEEE 802.2
	STP           // IEEE 802.1D
	VLAN          // IEEE 802.1Q
	MPLS          // RFC 3032, the whole stack
	ARP           // RFC 826
	IPv4          // RFC 791
	IPv6          // RFC 8200, with its extension headers
	SRH           // RFC 8754, one of those
	ICMP          // RFC 792
	ICMPv6        // RFC 4443 and 4861
	UDP           // RFC 768
	TCP           // RFC 9293
	DNS           // RFC 1035
	VXLAN         // RFC 7348
	GRE           // RFC 2784 and 2890
	Geneve        // RFC 8926
	Payload       // what no layer above claims
	kinds
)

// String is the layer's name in scripts.
func (k Kind) String() string {
	if k < kinds {
		return headers[k].name
	}
	return fmt.Sprintf("layer %d", uint8(k))
}

// KindOf finds a layer by its name in scripts, or None.
func KindOf(name string) Kind {
	for k := Ethernet; k < kinds; k++ {
		if headers[k].name == name {
			return k
		}
	}
	return None
}

// Names lists the layers as scripts name them, from the outside in.
func Names() []string {
	names := make([]string, 0, kinds-1)
	for k := Ethernet; k < kinds; k++ {
		names = append(names, headers[k].name)
	}
	return names
}

// Layer is where one is in the bytes of a packet.
type Layer struct {
	Kind Kind
	// Level is 0 outside, and one more in each tunnel or quoted packet.
	Level uint8
	// Proto is the number of the protocol above IPv4 or IPv6, after all extension
	// headers.
	Proto uint8
	// Fragment: the packet is a part of a fragmented one.
	Fragment bool
	// Quoted: in an ICMP error, where a packet may be cut short.
	Quoted bool
	// Start is where the header begins, Body where it ends, End where what it
	// carries ends: without padding, and beyond the bytes when a capture cut them.
	Start, Body, End int
}

// MAC is an Ethernet address.
type MAC [6]byte

func (m MAC) String() string { return net.HardwareAddr(m[:]).String() }

// Packet is a decoded packet. The zero value is ready for [Packet.Decode].
type Packet struct {
	// Data are the bytes, from the outermost header on.
	Data []byte
	// Length is how many there were on the wire.
	Length int
	// Unfinished: the sender left the transport's checksum to the hardware, so
	// that what stands there says nothing.
	Unfinished bool
	// Layers are what was found, from the outside in.
	Layers []Layer

	bad Kind   // the layer that is malformed, or None
	why string // and how
	arg [2]int // numbers for why
}

// Malformed says which layer is malformed and why; None and "" for a good packet.
// What came before it is decoded, and what follows is its payload.
func (p *Packet) Malformed() (layer Kind, why string) {
	if p.bad == None {
		return p.malformedDNS()
	}
	return p.bad, fmt.Sprintf(p.why, p.arg[0], p.arg[1])
}

// Layer finds the outermost layer of a kind at a level, or nil.
func (p *Packet) Layer(k Kind, level int) *Layer {
	for i := range p.Layers {
		if l := &p.Layers[i]; l.Kind == k && int(l.Level) == level {
			return l
		}
	}
	return nil
}

// Levels is the number of levels: 1, and one for each tunnel.
func (p *Packet) Levels() int {
	if len(p.Layers) == 0 {
		return 1
	}
	return int(p.Layers[len(p.Layers)-1].Level) + 1
}

// bytes are those of the packet from one offset to another, as far as they were
// captured.
func (p *Packet) bytes(from, to int) []byte {
	to = min(to, len(p.Data))
	if from >= to {
		return nil
	}
	return p.Data[from:to]
}

// header is the layer's own bytes, body what it carries.
func (p *Packet) header(l *Layer) []byte { return p.bytes(l.Start, l.Body) }
func (p *Packet) body(l *Layer) []byte   { return p.bytes(l.Body, l.End) }

// network is the IP header that a layer is carried by at its level, or nil.
func (p *Packet) network(l *Layer) *Layer {
	var found *Layer
	for i := range p.Layers {
		o := &p.Layers[i]
		if o.Start >= l.Start {
			break
		}
		if o.Level == l.Level && (o.Kind == IPv4 || o.Kind == IPv6) {
			found = o
		}
	}
	return found
}
