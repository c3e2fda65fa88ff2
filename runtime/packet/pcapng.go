package packet

import (
	"bufio"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
)

// Link-layer types (LINKTYPE_ values of the pcap registry).
const (
	LinkEthernet = 1
	// LinkCooked is for links without Ethernet: each packet has [CookedHeader] bytes
	// in front.
	LinkCooked   = 113
	CookedHeader = 16
)

// Interface is where packets of a capture were seen.
type Interface struct {
	// Name as it is in its namespace, Description where that is.
	Name, Description string
	Type              uint16 // LinkEthernet or LinkCooked
	SnapLen           int    // 0 for no limit
	// Received are the packets that passed, Dropped those of them that were not
	// kept. Only [Writer.Statistics] writes them.
	Received, Dropped uint64
}

// Direction is whether a packet came or went.
type Direction uint8

// The directions of a packet, as the host sees it.
const (
	Unknown Direction = iota
	In
	Out
)

// Captured is a packet of a file.
type Captured struct {
	Interface int   // its number
	Time      int64 // nanoseconds since 1970
	Data      []byte
	Length    int // on the wire
	Direction Direction
	Comment   string
}

// Blocks and options of pcapng (draft-ietf-opsawg-pcapng).
const (
	blockSection    = 0x0a0d0d0a
	blockInterface  = 1
	blockStatistics = 5
	blockPacket     = 6
	byteOrder       = 0x1a2b3c4d

	optEnd         = 0
	optComment     = 1
	optUserAppl    = 4 // of a section
	optName        = 2 // of an interface
	optDescription = 3
	optResolution  = 9
	optFlags       = 2 // of a packet
	optReceived    = 4 // of statistics
	optDropped     = 5
)

// Writer writes a file in the pcapng format, with times in nanoseconds.
type Writer struct {
	w    *bufio.Writer
	b    []byte // the block that is being built
	last int64
	err  error
}

// NewWriter begins a file with its interfaces, which packets name by number.
func NewWriter(w io.Writer, application, comment string, interfaces []Interface) *Writer {
	out := &Writer{w: bufio.NewWriterSize(w, 1<<16)}
	out.begin(blockSection)
	out.u32(byteOrder)
	out.u16(1)
	out.u16(0)
	out.u64(^uint64(0)) // the section's length is not known
	out.option(optComment, []byte(comment))
	out.option(optUserAppl, []byte(application))
	out.end()
	for _, i := range interfaces {
		out.begin(blockInterface)
		out.u16(i.Type)
		out.u16(0)
		out.u32(uint32(i.SnapLen))
		out.option(optName, []byte(i.Name))
		out.option(optDescription, []byte(i.Description))
		out.option(optResolution, []byte{9})
		out.end()
	}
	return out
}

// Write adds a packet.
func (w *Writer) Write(c Captured) {
	w.last = max(w.last, c.Time)
	w.begin(blockPacket)
	w.u32(uint32(c.Interface))
	w.time(c.Time)
	w.u32(uint32(len(c.Data)))
	w.u32(uint32(c.Length))
	w.b = append(w.b, c.Data...)
	w.pad()
	if c.Direction != Unknown {
		w.option(optFlags, binary.LittleEndian.AppendUint32(nil, uint32(c.Direction)))
	}
	w.option(optComment, []byte(c.Comment))
	w.end()
}

// Statistics says at a time how much an interface saw, and ends the file's part about
// it.
func (w *Writer) Statistics(number int, i Interface, time int64) {
	w.begin(blockStatistics)
	w.u32(uint32(number))
	w.time(max(time, w.last))
	w.option(optReceived, binary.LittleEndian.AppendUint64(nil, i.Received))
	w.option(optDropped, binary.LittleEndian.AppendUint64(nil, i.Dropped))
	w.end()
}

// Flush writes what is still held, and returns the first error.
func (w *Writer) Flush() error {
	if w.err != nil {
		return w.err
	}
	return w.w.Flush()
}

func (w *Writer) u16(n uint16) { w.b = binary.LittleEndian.AppendUint16(w.b, n) }
func (w *Writer) u32(n uint32) { w.b = binary.LittleEndian.AppendUint32(w.b, n) }
func (w *Writer) u64(n uint64) { w.b = binary.LittleEndian.AppendUint64(w.b, n) }

// time writes the upper half first.
func (w *Writer) time(ns int64) {
	w.u32(uint32(uint64(ns) >> 32))
	w.u32(uint32(ns))
}

func (w *Writer) pad() {
	for len(w.b)%4 != 0 {
		w.b = append(w.b, 0)
	}
}

// begin starts a block, whose length follows at its end.
func (w *Writer) begin(kind uint32) {
	w.b = w.b[:0]
	w.u32(kind)
	w.u32(0)
}

// option adds one, unless it is empty.
func (w *Writer) option(code uint16, value []byte) {
	if len(value) == 0 {
		return
	}
	value = value[:min(len(value), 0xffff)]
	w.u16(code)
	w.u16(uint16(len(value)))
	w.b = append(w.b, value...)
	w.pad()
}

// end writes the block out.
func (w *Writer) end() {
	w.u16(optEnd)
	w.u16(0)
	n := uint32(len(w.b) + 4)
	w.u32(n)
	binary.LittleEndian.PutUint32(w.b[4:], n)
	if w.err == nil {
		_, w.err = w.w.Write(w.b)
	}
}

// File is what [Read] found.
type File struct {
	Application, Comment string
	Interfaces           []Interface
	Packets              []Captured
}

var errShort = errors.New("the file ends in the middle of a block")

// Read reads a pcapng file of one section, of this machine's byte order and with
// times in nanoseconds: what [Writer] writes.
func Read(b []byte) (*File, error) {
	f := &File{}
	for len(b) > 0 {
		if len(b) < 12 {
			return f, errShort
		}
		kind, n := binary.LittleEndian.Uint32(b), binary.LittleEndian.Uint32(b[4:])
		if n < 12 || n%4 != 0 || uint64(n) > uint64(len(b)) {
			return f, errShort
		}
		if err := f.block(kind, b[8:n-4]); err != nil {
			return f, err
		}
		b = b[n:]
	}
	return f, nil
}

// fixed is how long blocks are before their data and options.
func fixed(kind uint32) int {
	switch kind {
	case blockSection:
		return 16
	case blockInterface:
		return 8
	case blockPacket:
		return 20
	}
	return 12 // statistics
}

func (f *File) block(kind uint32, b []byte) error {
	if len(b) < fixed(kind) {
		return errShort
	}
	u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(b[at:]) }
	rest := b[fixed(kind):]
	switch kind {
	case blockSection:
		if u32(0) != byteOrder {
			return fmt.Errorf("its byte order is %x", u32(0))
		}
		return eachPcapOption(rest, func(code uint16, v []byte) {
			switch code {
			case optComment:
				f.Comment = string(v)
			case optUserAppl:
				f.Application = string(v)
			}
		})
	case blockInterface:
		i := Interface{Type: binary.LittleEndian.Uint16(b), SnapLen: int(u32(4))}
		err := eachPcapOption(rest, func(code uint16, v []byte) {
			switch code {
			case optName:
				i.Name = string(v)
			case optDescription:
				i.Description = string(v)
			}
		})
		f.Interfaces = append(f.Interfaces, i)
		return err
	case blockPacket:
		c := Captured{Interface: int(u32(0)), Time: int64(uint64(u32(4))<<32 | uint64(u32(8))), Length: int(u32(16))}
		n := uint64(u32(12))
		if padded := (n + 3) &^ 3; c.Interface >= len(f.Interfaces) || padded > uint64(len(rest)) {
			return errShort
		}
		c.Data = rest[:n]
		err := eachPcapOption(rest[(n+3)&^3:], func(code uint16, v []byte) {
			switch {
			case code == optComment:
				c.Comment = string(v)
			case code == optFlags && len(v) == 4:
				c.Direction = Direction(v[0] & 3)
			}
		})
		f.Packets = append(f.Packets, c)
		return err
	case blockStatistics:
		if int(u32(0)) >= len(f.Interfaces) {
			return errShort
		}
		i := &f.Interfaces[u32(0)]
		return eachPcapOption(rest, func(code uint16, v []byte) {
			switch {
			case code == optReceived && len(v) == 8:
				i.Received = binary.LittleEndian.Uint64(v)
			case code == optDropped && len(v) == 8:
				i.Dropped = binary.LittleEndian.Uint64(v)
			}
		})
	}
	return nil
}

// eachPcapOption calls fn for every option.
func eachPcapOption(b []byte, fn func(code uint16, v []byte)) error {
	for len(b) >= 4 {
		code, n := binary.LittleEndian.Uint16(b), int(binary.LittleEndian.Uint16(b[2:]))
		if code == optEnd {
			return nil
		}
		if 4+(n+3)&^3 > len(b) {
			return errShort
		}
		fn(code, b[4:4+n])
		b = b[4+(n+3)&^3:]
	}
	return nil
}
