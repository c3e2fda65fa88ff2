package probe

import (
	"context"
	"encoding/binary"
	"slices"
	"sync"
	"sync/atomic"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"

	"nsscript/runtime/packet"
)

// CapturePoint is where packets are recorded.
type CapturePoint struct {
	// Enter leads to the namespace.
	Enter Enter
	// Index is the link's, or 0 for all links of the namespace, now and later.
	Index int
}

// CaptureRequest says what to record.
type CaptureRequest struct {
	Points []CapturePoint
	// Match is what a packet has to be like; nil for any.
	Match *packet.Match
	// Direction is In, Out, or Unknown for both. Packets of a loopback link pass it
	// twice; of those only the arrival counts, unless Out is asked for.
	Direction packet.Direction
	// SnapLen is how many bytes of a packet are kept; 0 for all.
	SnapLen int
	// Memory is how many bytes all packets may take that are kept; 0 for
	// [DefaultCaptureMemory].
	Memory int
}

const (
	// DefaultCaptureMemory is what a capture keeps at most.
	DefaultCaptureMemory = 256 << 20
	// Memory that is shared with the kernel, for all points together and for one: 8
	// MiB are 50 ms of full packets at 1 Gbit/s.
	ringsMemory, mostRing, leastRing = 32 << 20, 8 << 20, 512 << 10
	chunkSize                        = 8 << 20
	// pause is how long packets gather before a ring is emptied again: to be woken
	// for each packet of a stream costs more than all else. Who asks for what was
	// recorded empties the rings by himself.
	pause = time.Millisecond
)

// Frame is a packet that was recorded.
type Frame struct {
	Point int // which of the request's
	Index int // of the link in its namespace
	// Time is the kernel's, in nanoseconds since 1970.
	Time int64
	// Data begins with the Ethernet header, where there is one.
	Data []byte
	// Length is how many bytes it had.
	Length    int
	Direction packet.Direction
	// Unfinished: the transport's checksum is left to the hardware.
	Unfinished bool
	// Hardware is the link's type (ARPHRD_*), Protocol the EtherType of the packet.
	Hardware, Protocol uint16
}

// Ethernet tells whether the packet has an Ethernet header.
func (f *Frame) Ethernet() bool {
	return f.Hardware == hardwareEthernet || f.Hardware == hardwareLoopback
}

// Cooked is the packet of a link without Ethernet with the header of Linux cooked
// captures (LINKTYPE_LINUX_SLL) in front.
func (f *Frame) Cooked() []byte {
	b := make([]byte, packet.CookedHeader, packet.CookedHeader+len(f.Data))
	if f.Direction == packet.Out {
		b[1] = packetOutgoing
	}
	binary.BigEndian.PutUint16(b[2:], f.Hardware)
	binary.BigEndian.PutUint16(b[14:], f.Protocol)
	return append(b, f.Data...)
}

// Decode takes the packet apart.
func (f *Frame) Decode(p *packet.Packet) {
	first := packet.Ethernet
	if !f.Ethernet() {
		first = packet.FromEtherType(f.Protocol)
	}
	p.Decode(f.Data, f.Length, first)
	p.Unfinished = f.Unfinished
}

// Capture records packets until it is stopped. Its methods may be called from
// several goroutines.
type Capture struct {
	request CaptureRequest
	readers sync.WaitGroup
	stopped atomic.Bool

	mu      sync.Mutex
	rings   []*ring
	frames  []Frame
	packet  packet.Packet // the one that is being matched
	chunk   []byte        // where frames' bytes go
	used    int           // bytes that are kept
	over    []uint64      // packets that there was no memory for, for each point
	closed  bool
	changed chan struct{} // closed when there are more frames
}

// StartCapture begins to record. Links may be down; packets come when they are up.
func StartCapture(r CaptureRequest) (*Capture, error) {
	if r.Memory == 0 {
		r.Memory = DefaultCaptureMemory
	}
	c := &Capture{request: r, over: make([]uint64, len(r.Points)), changed: make(chan struct{})}
	memory := min(max(ringsMemory/max(len(r.Points), 1), leastRing), mostRing)
	for _, p := range r.Points {
		err := p.Enter(func() error {
			ring, err := newRing(p.Index, r.SnapLen, memory)
			if err == nil {
				c.rings = append(c.rings, ring)
			}
			return err
		})
		if err != nil {
			for _, r := range c.rings {
				r.close()
			}
			return nil, err
		}
	}
	for i := range c.rings {
		c.readers.Go(func() { c.read(i) })
	}
	return c, nil
}

// read empties a ring until the capture ends. It waits in the runtime's poller, which
// takes no thread.
func (c *Capture) read(i int) {
	r := c.rings[i]
	conn, err := r.file.SyscallConn()
	if err != nil {
		return
	}
	for !c.stopped.Load() {
		err := conn.Read(func(fd uintptr) bool {
			// That a link is down is told as an error, once; it is no end.
			_, _ = unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
			c.mu.Lock()
			defer c.mu.Unlock()
			return r.ready()
		})
		if err != nil {
			time.Sleep(time.Millisecond) // the poller saw an error and nothing else
			continue
		}
		c.mu.Lock()
		before := len(c.frames)
		if !c.closed {
			r.drain(func(f *Frame) { c.keep(i, f) })
		}
		c.tell(before)
		c.mu.Unlock()
		time.Sleep(pause)
	}
}

// tell wakes those who wait, if there are more frames than before. The lock is held.
func (c *Capture) tell(before int) {
	if len(c.frames) > before {
		close(c.changed)
		c.changed = make(chan struct{})
	}
}

// keep records a packet, if it is one of those that are wanted. The lock is held.
func (c *Capture) keep(point int, f *Frame) {
	f.Point = point
	switch {
	case c.request.Direction != packet.Unknown:
		if f.Direction != c.request.Direction {
			return
		}
	case f.Hardware == hardwareLoopback && f.Direction == packet.Out:
		return
	}
	if n := c.request.SnapLen; n > 0 && len(f.Data) > n {
		f.Data = f.Data[:n]
	}
	if c.request.Match != nil {
		f.Decode(&c.packet)
		if !c.request.Match.Holds(&c.packet) {
			return
		}
	}
	size := len(f.Data) + int(unsafe.Sizeof(*f))
	if c.used+size > c.request.Memory {
		c.over[point]++
		return
	}
	c.used += size
	f.Data = c.store(f.Data)
	if len(c.frames) == cap(c.frames) {
		c.frames = slices.Grow(c.frames, max(len(c.frames), 16))
		preferHugePages(c.frames[len(c.frames):cap(c.frames)])
	}
	c.frames = append(c.frames, *f)
}

// store copies bytes to where they stay.
func (c *Capture) store(b []byte) []byte {
	if len(b) > cap(c.chunk)-len(c.chunk) {
		// Small captures take little, large ones few allocations.
		c.chunk = make([]byte, 0, max(len(b), min(max(c.used, 4<<10), chunkSize)))
		if cap(c.chunk) == chunkSize {
			preferHugePages(c.chunk[:chunkSize])
		}
	}
	from := len(c.chunk)
	c.chunk = append(c.chunk, b...)
	return c.chunk[from:len(c.chunk):len(c.chunk)]
}

// preferHugePages asks for large pages for the part of a list that can have them: to be
// given memory in small ones costs as much as all else that a packet takes (madvise(2)).
func preferHugePages[T any](list []T) {
	const huge = 2 << 20
	b := unsafe.Slice((*byte)(unsafe.Pointer(unsafe.SliceData(list))), len(list)*int(unsafe.Sizeof(*new(T))))
	skip := -int(uintptr(unsafe.Pointer(unsafe.SliceData(b)))) & (huge - 1)
	if whole := (len(b) - skip) &^ (huge - 1); whole > 0 {
		_ = unix.Madvise(b[skip:skip+whole], unix.MADV_HUGEPAGE)
	}
}

// Frames returns what was recorded, from a number on: all that the kernel had seen
// when it was called.
func (c *Capture) Frames(from int) []Frame {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp()
	return c.frames[min(from, len(c.frames)):len(c.frames):len(c.frames)]
}

func (c *Capture) catchUp() {
	if c.closed {
		return
	}
	before := len(c.frames)
	for i, r := range c.rings {
		r.catchUp(func(f *Frame) { c.keep(i, f) })
	}
	c.tell(before)
}

// Wait waits until there are more than n frames; false when the context or the
// capture ended first.
func (c *Capture) Wait(ctx context.Context, n int) (more bool) {
	for {
		c.mu.Lock()
		c.catchUp()
		more, closed, changed := len(c.frames) > n, c.closed, c.changed
		c.mu.Unlock()
		if more || closed {
			return more
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return false
		}
	}
}

// CaptureStats counts packets of a capture, or of one of its points.
type CaptureStats struct {
	// Received are those that the kernel saw, whether they were wanted or not.
	Received uint64
	// Dropped are those that were lost because they came faster than they were read,
	// Unkept those that the capture's memory was too small for.
	Dropped, Unkept uint64
}

// Stats counts the packets at each point.
func (c *Capture) Stats() []CaptureStats {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.catchUp()
	all := make([]CaptureStats, len(c.rings))
	for i, r := range c.rings {
		all[i] = CaptureStats{Received: r.received, Dropped: r.dropped, Unkept: c.over[i]}
	}
	return all
}

// Memory is how many bytes the capture keeps at most.
func (c *Capture) Memory() int { return c.request.Memory }

// Running tells whether packets can still come: it is not stopped, and one of its
// links is where it was.
func (c *Capture) Running() bool {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.closed {
		return false
	}
	for i, r := range c.rings {
		if c.request.Points[i].Index == 0 || !r.lost() {
			return true
		}
	}
	return false
}

// Stop ends the recording; what was recorded stays.
func (c *Capture) Stop() {
	c.mu.Lock()
	c.catchUp()
	first := !c.closed
	if first {
		c.closed = true
		close(c.changed)
		c.changed = make(chan struct{})
	}
	c.mu.Unlock()
	if !first {
		return
	}
	c.stopped.Store(true)
	for _, r := range c.rings {
		r.file.Close()
	}
	c.readers.Wait()
	for _, r := range c.rings {
		r.unmap()
	}
}
