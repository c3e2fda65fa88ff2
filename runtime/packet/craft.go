package packet

import (
	"encoding/binary"
	"fmt"
	"math"
	"net/netip"
	"strings"
)

// Spec is a layer to craft.
type Spec struct {
	Kind Kind
	// Fields are those that are given; what [Craft] would fill in (lengths,
	// checksums, the next protocol) stays as it is given here, also when it is wrong.
	Fields map[string]any
	// Data is what a Payload carries.
	Data []byte
}

// CanCraft lists the layers that [Craft] makes, in the order of the documentation.
func CanCraft() []Kind {
	return []Kind{Ethernet, VLAN, MPLS, ARP, IPv4, IPv6, SRH, ICMP, ICMPv6, UDP, TCP, VXLAN, GRE, Geneve, Payload}
}

// maxPacket is as long as an IPv4 packet can be, with room for tunnels around it.
const maxPacket = 1 << 17

// crafted is a layer of a packet that is being built.
type crafted struct {
	Spec
	at, size int // where its header is
}

// craft is a packet that is being built.
type craft struct {
	layers []crafted
	b      []byte
}

// Craft builds a packet of layers, the outermost first.
func Craft(specs []Spec) ([]byte, error) {
	c := craft{}
	for _, s := range specs {
		if s.Kind == Payload {
			c.layers = append(c.layers, crafted{s, len(c.b), 0})
			c.b = append(c.b, s.Data...)
			continue
		}
		h, err := s.header()
		if err != nil {
			return nil, fmt.Errorf("%s: %w", s.Kind, err)
		}
		c.layers = append(c.layers, crafted{s, len(c.b), len(h)})
		c.b = append(c.b, h...)
		if len(c.b) > maxPacket {
			return nil, fmt.Errorf("a packet of more than %d bytes", maxPacket)
		}
	}
	for i := range c.layers {
		if err := c.announce(i); err != nil {
			return nil, fmt.Errorf("%s: %w", c.layers[i].Kind, err)
		}
	}
	// What is given comes last but for checksums, which cover it.
	for i := range c.layers {
		if err := c.assign(i); err != nil {
			return nil, fmt.Errorf("%s: %w", c.layers[i].Kind, err)
		}
	}
	for i := len(c.layers) - 1; i >= 0; i-- {
		c.checksum(i)
	}
	return c.b, nil
}

// header makes the layer's header with its defaults and the parts that make it
// longer.
func (s Spec) header() ([]byte, error) {
	size := headers[s.Kind].size
	if s.Kind == ICMPv6 {
		size = max(size, fixedND(byte(s.number("type", 128))))
	}
	h := make([]byte, size)
	for i := range headers[s.Kind].fields {
		if f := &headers[s.Kind].fields[i]; f.Default != 0 {
			put(h, f.at, f.bits, f.Default)
		}
	}
	more, err := s.options(h)
	if err != nil {
		return nil, err
	}
	return append(h, more...), nil
}

// number is a field that is given as a number or a word, or def.
func (s Spec) number(name string, def int) int {
	switch v := s.Fields[name].(type) {
	case int:
		return v
	case string:
		if n, ok := s.Kind.Field(name).byName(v); ok {
			return n
		}
	}
	return def
}

// options are the parts of a header that are not always there.
func (s Spec) options(h []byte) ([]byte, error) {
	switch s.Kind {
	case IPv4, TCP:
		return s.padded(40)
	case Geneve:
		return s.padded(252)
	case SRH:
		return s.segments()
	case ICMPv6:
		return s.linkLayerOption()
	case GRE:
		var b []byte
		for _, o := range [...]struct {
			name string
			flag byte
		}{{"key", 0x20}, {"seq", 0x10}} {
			if v, given := s.Fields[o.name]; given {
				n, ok := v.(int)
				if !ok || n < 0 || n > math.MaxUint32 {
					return nil, fmt.Errorf("%s: %s does not fit into 32 bits", o.name, text(v))
				}
				h[0] |= o.flag
				b = binary.BigEndian.AppendUint32(b, uint32(n))
			}
		}
		return b, nil
	}
	return nil, nil
}

// padded are the options as they are given, and those of TCP that have names, filled
// up to words of 4 bytes.
func (s Spec) padded(most int) ([]byte, error) {
	var b []byte
	if s.Kind == TCP {
		if v, given := s.Fields["mss"]; given {
			n, ok := v.(int)
			if !ok || n < 0 || n > math.MaxUint16 {
				return nil, fmt.Errorf("mss: %s does not fit into 16 bits", text(v))
			}
			b = append(b, 2, 4, byte(n>>8), byte(n))
		}
		if s.Fields["sack_permitted"] == true {
			b = append(b, 4, 2)
		}
		if v, given := s.Fields["wscale"]; given {
			n, ok := v.(int)
			if !ok || n < 0 || n > math.MaxUint8 {
				return nil, fmt.Errorf("wscale: %s does not fit into 8 bits", text(v))
			}
			b = append(b, 3, 3, byte(n))
		}
	}
	switch v := s.Fields["options"].(type) {
	case string:
		b = append(b, v...)
	case []byte:
		b = append(b, v...)
	}
	for len(b)%4 != 0 {
		b = append(b, 0)
	}
	if len(b) > most {
		return nil, fmt.Errorf("options of %d bytes are more than %d", len(b), most)
	}
	return b, nil
}

func (s Spec) segments() ([]byte, error) {
	list, _ := s.Fields["segments"].([]any)
	if len(list) == 0 || len(list) > 127 {
		return nil, fmt.Errorf("segments: want 1 to 127 IPv6 addresses")
	}
	var b []byte
	for _, v := range list {
		a, err := toAddress(v, 128)
		if err != nil {
			return nil, fmt.Errorf("segments: %w", err)
		}
		b = append(b, a.AsSlice()...)
	}
	return b, nil
}

// linkLayerOption is that of neighbour discovery: of the source, but in an
// advertisement and a redirect of the target.
func (s Spec) linkLayerOption() ([]byte, error) {
	v, given := s.Fields["lladdr"]
	if !given {
		return nil, nil
	}
	t := s.number("type", 128)
	if fixedND(byte(t)) == 0 {
		return nil, fmt.Errorf("lladdr: type %d is no neighbour discovery", t)
	}
	mac, err := ParseMAC(v)
	kind := byte(1)
	if t == neighborAdvertisement || t == redirect {
		kind = 2
	}
	return append([]byte{kind, 1}, mac[:]...), err
}

// put writes a run of bits.
func put(b []byte, at, bits int, n uint64) {
	for i := at + bits - 1; i >= at; i-- {
		mask := byte(0x80) >> (i % 8)
		if n&1 != 0 {
			b[i/8] |= mask
		} else {
			b[i/8] &^= mask
		}
		n >>= 1
	}
}

// set writes a field of a layer by its name.
func (c *craft) set(l *crafted, name string, n uint64) {
	f := l.Kind.Field(name)
	put(c.b, l.at*8+f.at, f.bits, n)
}

// announce fills in what says how long the layer is and what comes next.
func (c *craft) announce(i int) error {
	l := &c.layers[i]
	length := len(c.b) - l.at
	next := c.next(i)
	switch l.Kind {
	case IPv4, IPv6, UDP:
		if length > math.MaxUint16 {
			return fmt.Errorf("%d bytes are more than its length can say", length)
		}
	}
	switch l.Kind {
	case Ethernet, VLAN:
		c.set(l, "type", uint64(etherTypeOf(next)))
	case GRE, Geneve:
		c.set(l, "proto", uint64(etherTypeOf(next)))
		if l.Kind == Geneve {
			c.b[l.at] = byte((l.size - 8) / 4)
		}
	case MPLS:
		if next != MPLS {
			c.set(l, "s", 1)
		}
	case IPv4:
		c.set(l, "version", 4)
		c.set(l, "ihl", uint64(l.size/4))
		c.set(l, "length", uint64(length))
		c.set(l, "proto", uint64(protoOf(next)))
	case IPv6:
		c.set(l, "version", 6)
		c.set(l, "payload_length", uint64(length-l.size))
		c.set(l, "next_header", uint64(protoOf(next)))
	case SRH:
		c.set(l, "next_header", uint64(protoOf(next)))
		c.set(l, "hdr_ext_len", uint64(l.size/8-1))
		c.set(l, "last_entry", uint64((l.size-8)/16-1))
		c.set(l, "segments_left", uint64((l.size-8)/16-1))
	case UDP:
		c.set(l, "length", uint64(length))
	case TCP:
		c.set(l, "data_offset", uint64(l.size/4))
	}
	return nil
}

// next is the kind of the layer after one; None when there is none.
func (c *craft) next(i int) Kind {
	if i+1 < len(c.layers) {
		return c.layers[i+1].Kind
	}
	return None
}

// etherTypeOf is what announces a layer; IEEE's number for experiments where none is
// known.
func etherTypeOf(k Kind) uint16 {
	switch k {
	case Ethernet:
		return etherBridged
	case IPv4:
		return etherIPv4
	case IPv6:
		return etherIPv6
	case ARP:
		return etherARP
	case VLAN:
		return etherVLAN
	case MPLS:
		return etherMPLS
	}
	return 0x88b5
}

// protoOf is what announces a layer in IP; RFC 3692's number for experiments where
// none is known.
func protoOf(k Kind) uint8 {
	switch k {
	case ICMP:
		return protoICMP
	case ICMPv6:
		return protoICMPv6
	case UDP:
		return protoUDP
	case TCP:
		return protoTCP
	case GRE:
		return protoGRE
	case IPv4:
		return protoIPv4
	case IPv6:
		return protoIPv6
	case SRH:
		return protoRouting
	case Ethernet:
		return protoEthernet
	case None:
		return protoNoNext
	}
	return 253
}

// assign writes what is given over what was filled in.
func (c *craft) assign(i int) error {
	l := &c.layers[i]
	for name := range l.Fields {
		if f := l.Kind.Field(name); f == nil || !f.Craftable() {
			return fmt.Errorf("no field %s that can be given; there are %s", name, strings.Join(craftable(l.Kind), ", "))
		}
	}
	if l.Kind == UDP { // unless it is given
		switch c.next(i) {
		case VXLAN:
			c.set(l, "dport", portVXLAN)
		case Geneve:
			c.set(l, "dport", portGeneve)
		}
	}
	fields := headers[l.Kind].fields
	for i := range fields {
		f := &fields[i]
		v, given := l.Fields[f.Name]
		if !given || f.bits == 0 { // or part of the options
			continue
		}
		if l.at*8+f.at < 0 || f.at+f.bits > 8*l.size {
			return fmt.Errorf("%s: there is no place for it here", f.Name)
		}
		if err := c.write(l, f, v); err != nil {
			return fmt.Errorf("%s: %w", f.Name, err)
		}
	}
	return nil
}

func craftable(k Kind) []string {
	var names []string
	for i := range headers[k].fields {
		if f := &headers[k].fields[i]; f.Craftable() {
			names = append(names, f.Name)
		}
	}
	return names
}

// write writes one field.
func (c *craft) write(l *crafted, f *Field, v any) error {
	switch f.As {
	case Address:
		a, err := toAddress(v, f.bits)
		copy(c.b[l.at+f.at/8:], a.AsSlice())
		return err
	case Hardware:
		mac, err := ParseMAC(v)
		copy(c.b[l.at+f.at/8:], mac[:])
		return err
	}
	want, err := place{l.Kind, f}.value(v)
	if err != nil {
		return err
	}
	if want.low != want.hi || want.absent || want.compares == nil {
		return fmt.Errorf("%s is not one value", text(v))
	}
	if f.bits < 64 && want.low>>f.bits != 0 {
		return fmt.Errorf("%s does not fit into %d bits", text(v), f.bits)
	}
	put(c.b, l.at*8+f.at, f.bits, want.low)
	return nil
}

func toAddress(v any, bits int) (netip.Addr, error) {
	a, ok := v.(netip.Addr)
	if s, text := v.(string); text {
		parsed, err := netip.ParseAddr(s)
		a, ok = parsed.WithZone(""), err == nil
	}
	family := "IPv4"
	if bits == 128 {
		family = "IPv6"
	}
	if !ok || a.BitLen() != bits {
		return netip.Addr{}, fmt.Errorf("%s is no %s address", text(v), family)
	}
	return a, nil
}

// checksum computes the layer's, unless it is given.
func (c *craft) checksum(i int) {
	l := &c.layers[i]
	if _, given := l.Fields["checksum"]; given {
		return
	}
	whole := c.b[l.at:]
	var at int
	var n uint64
	switch l.Kind {
	case IPv4:
		at, whole = 10, whole[:l.size]
	case ICMP:
		at = 2
	case ICMPv6:
		at, n = 2, c.pseudo(i, protoICMPv6, len(whole))
	case UDP:
		at, n = 6, c.pseudo(i, protoUDP, len(whole))
	case TCP:
		at, n = 16, c.pseudo(i, protoTCP, len(whole))
	default:
		return
	}
	ok := fold(sum(whole, n))
	if ok == 0 && l.Kind == UDP {
		ok = 0xffff // 0 is "no checksum"
	}
	binary.BigEndian.PutUint16(c.b[l.at+at:], ok)
}

// pseudo sums the pseudo header of the IP layer below; of none, 0.
func (c *craft) pseudo(i int, proto uint8, length int) uint64 {
	var last []byte // the destination that a routing header says
	for i--; i >= 0; i-- {
		l := &c.layers[i]
		h := c.b[l.at:]
		switch l.Kind {
		case SRH:
			if h[3] > 0 && l.size >= 24 {
				last = h[8:24]
			}
			continue
		case IPv4:
			return pseudo(h[12:16], h[16:20], proto, length)
		case IPv6:
			if last == nil {
				last = h[24:40]
			}
			return pseudo(h[8:24], last, proto, length)
		}
		return 0
	}
	return 0
}
