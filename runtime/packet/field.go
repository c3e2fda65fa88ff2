package packet

import (
	"net/netip"
	"strings"
)

// Format is what a field's value is.
type Format uint8

// The formats, and the Go types of their values.
const (
	Number   Format = iota // int
	Bool                   // bool
	Address                // netip.Addr
	Hardware               // MAC
	Flags                  // string: "SYN,ACK"
	Text                   // string
	Bytes                  // []byte
	Seconds                // float64
	List                   // []any, of the other types and of Record
)

// Record is a value that has parts.
type Record []Part

// Part is one of them.
type Part struct {
	Name  string
	Value any
}

// Name is a word for a number.
type Name struct {
	Name string
	N    int
}

// Field describes a field of a header.
type Field struct {
	// Name is the RFC's, in lower case.
	Name string
	As   Format
	// Doc says more, where the name does not say it.
	Doc string
	// Auto: [Craft] fills it in unless it is given.
	Auto bool
	// Default is what [Craft] writes where nothing is given.
	Default uint64
	// Names are words for the numbers that have some.
	Names []Name

	at, bits int               // where it is in the header, in bits; bits is 0 for what is read
	when     func([]byte) bool // tells from the header whether it has the field; nil for always
	read     func(p *Packet, l *Layer) any
	extra    bool // [Craft] takes it though it has no fixed place
}

// header describes a kind of layer.
type header struct {
	name   string
	size   int // the least, in bytes
	fields []Field
}

// Fields are those of a kind of layer, in the order of the header.
func Fields(k Kind) []Field { return headers[k].fields }

// Field finds a field of a kind of layer, or nil.
func (k Kind) Field(name string) *Field {
	for i := range headers[k].fields {
		if f := &headers[k].fields[i]; f.Name == name {
			return f
		}
	}
	return nil
}

// Craftable tells whether [Craft] takes the field.
func (f *Field) Craftable() bool { return f.bits > 0 || f.extra }

// Get reads a field of a layer; nil when the packet does not have it.
func (p *Packet) Get(l *Layer, f *Field) any {
	if f.when != nil && !f.when(p.header(l)) {
		return nil
	}
	if f.bits == 0 {
		return f.read(p, l)
	}
	switch f.As {
	case Address, Hardware:
		from := l.Start + f.at/8
		b := p.bytes(from, min(from+f.bits/8, l.Body))
		if len(b) < f.bits/8 {
			return nil
		}
		if f.As == Hardware {
			return MAC(b)
		}
		a, _ := netip.AddrFromSlice(b)
		return a
	}
	n, ok := p.number(l, f)
	if !ok {
		return nil
	}
	switch f.As {
	case Bool:
		return n != 0
	case Flags:
		return flagText(n)
	case Seconds:
		return float64(n) / 256 // STP's timers
	}
	return int(n)
}

// number reads a run of at most 64 bits; ok is false when they are not there.
func (p *Packet) number(l *Layer, f *Field) (n uint64, ok bool) {
	from := l.Start*8 + f.at
	to := from + f.bits
	if from < 0 || to > 8*min(l.Body, len(p.Data)) {
		return 0, false
	}
	for i := from / 8; i*8 < to; i++ {
		n = n<<8 | uint64(p.Data[i])
	}
	if rest := to % 8; rest != 0 {
		n >>= 8 - rest
	}
	return n & (1<<f.bits - 1), true
}

// flagNames are those of TCP, lowest bit first (RFC 9293, RFC 3168).
var flagNames = [...]string{"FIN", "SYN", "RST", "PSH", "ACK", "URG", "ECE", "CWR"}

// flagOrder is how people write them.
var flagOrder = [...]uint8{1, 0, 2, 3, 4, 5, 6, 7}

// flagTexts are the combinations that nearly all packets have.
func flagText(n uint64) string {
	switch n {
	case 0x02:
		return "SYN"
	case 0x10:
		return "ACK"
	case 0x12:
		return "SYN,ACK"
	case 0x11:
		return "FIN,ACK"
	case 0x18:
		return "PSH,ACK"
	}
	var words []string
	for _, bit := range flagOrder {
		if n&(1<<bit) != 0 {
			words = append(words, flagNames[bit])
		}
	}
	return strings.Join(words, ",")
}

// parseFlags reads "SYN,ACK", in any order and case; "" is no flag.
func parseFlags(s string) (n uint64, ok bool) {
	if s == "" {
		return 0, true
	}
	for word := range strings.FieldsFuncSeq(strings.ToUpper(s), func(r rune) bool { return r == ',' || r == '|' || r == ' ' }) {
		found := false
		for bit, name := range flagNames {
			if name == word {
				n |= 1 << bit
				found = true
			}
		}
		if !found {
			return 0, false
		}
	}
	return n, true
}

// byName finds the number of a word.
func (f *Field) byName(word string) (int, bool) {
	for _, n := range f.Names {
		if strings.EqualFold(n.Name, word) {
			return n.N, true
		}
	}
	return 0, false
}

// NameOf is the word for a number, or "".
func (f *Field) NameOf(n int) string {
	for _, o := range f.Names {
		if o.N == n {
			return o.Name
		}
	}
	return ""
}
