package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

// CaptureSpec says what to record and where.
type CaptureSpec struct {
	// At are links, and namespaces for all of their links.
	At []CapturePoint
	// Match, Direction, SnapLen and Memory are as in [probe.CaptureRequest].
	Match     *packet.Match
	Direction packet.Direction
	SnapLen   int
	Memory    int
}

// CapturePoint is a link, or all links of a namespace.
type CapturePoint struct {
	Link *Link
	NS   *Namespace // of all links, when Link is nil
}

func (p CapturePoint) String() string {
	if p.Link != nil {
		return p.Link.String()
	}
	return p.NS.String()
}

func (p CapturePoint) ns() *Namespace {
	if p.Link != nil {
		return p.Link.ns
	}
	return p.NS
}

// Capture is a recording of packets, until it is stopped or the lab ends.
type Capture struct {
	*probe.Capture
	At []CapturePoint

	names []map[int]string // of links, by index, for each point
}

// StartCapture begins to record. A link may be down.
func (l *Lab) StartCapture(ctx context.Context, s CaptureSpec) (*Capture, error) {
	c := &Capture{At: s.At}
	r := probe.CaptureRequest{Match: s.Match, Direction: s.Direction, SnapLen: s.SnapLen, Memory: s.Memory}
	for _, p := range s.At {
		index, names, err := p.find()
		if err != nil {
			return nil, err
		}
		enter, leave, err := p.ns().open()
		if err != nil {
			return nil, err
		}
		defer leave()
		c.names = append(c.names, names)
		r.Points = append(r.Points, probe.CapturePoint{Enter: enter, Index: index})
	}
	start := time.Now()
	var err error
	c.Capture, err = probe.StartCapture(r)
	for _, p := range s.At {
		dev := "any"
		if p.Link != nil {
			dev = p.Link.name
		}
		l.emit(ctx, "capture", p.ns(), start, err, arg("dev", dev))
	}
	if err != nil {
		return nil, kernelError(err, "", "capture on %s", c.where())
	}
	l.closers = append(l.closers, c.Capture.Stop)
	return c, nil
}

// find returns the point's index, 0 for all links, and what they are called now.
func (p CapturePoint) find() (index int, names map[int]string, err error) {
	if p.Link != nil {
		info, err := p.Link.Info()
		if err != nil {
			return 0, nil, err
		}
		return info.Index, map[int]string{info.Index: info.Name}, nil
	}
	_, infos, err := p.NS.Links()
	names = map[int]string{}
	for _, info := range infos {
		names[info.Index] = info.Name
	}
	return 0, names, err
}

// where names the points.
func (c *Capture) where() string {
	var words []string
	for _, p := range c.At {
		words = append(words, p.String())
	}
	if len(words) > 4 {
		words = append(words[:3], fmt.Sprintf("%d more", len(words)-3))
	}
	return strings.Join(words, ", ")
}

func (c *Capture) String() string { return "capture on " + c.where() }

// Link is the link that a packet was seen on; nil when it is gone.
func (c *Capture) Link(f *probe.Frame) *Link {
	p := c.At[f.Point]
	if p.Link != nil {
		return p.Link
	}
	if p.NS.check() != nil {
		return nil
	}
	return p.NS.linkAt(f.Index)
}

// LinkName is what the link that a packet was seen on was called when the capture
// began, or is now if it came later.
func (c *Capture) LinkName(f *probe.Frame) string {
	name, known := c.names[f.Point][f.Index]
	if !known {
		name = "if" + strconv.Itoa(f.Index)
		if k := c.Link(f); k != nil {
			name = k.name
		}
		c.names[f.Point][f.Index] = name
	}
	return name
}

// Where names the link that a packet was seen on, with its namespace where the capture
// is about several.
func (c *Capture) Where(f *probe.Frame) string {
	name, at := c.LinkName(f), c.At[f.Point].ns()
	for _, p := range c.At {
		if p.ns() != at {
			return name + " in " + at.String()
		}
	}
	return name
}

// Dropped counts the packets that were lost: those that came too fast, and those that
// the capture's memory was too small for.
func (c *Capture) Dropped() (fast, full uint64) {
	for _, s := range c.Stats() {
		fast += s.Dropped
		full += s.Unkept
	}
	return fast, full
}

// Halt ends the recording.
func (c *Capture) Halt(ctx context.Context) {
	wait(ctx, c.Capture.Stop)
}

// Save writes packets of the capture to a pcapng file, in the order of their times: an
// interface for each link, with the packets that were lost there. A file that is there
// is replaced when the new one is complete; what fails leaves nothing behind.
func (c *Capture) Save(path, comment string, frames []probe.Frame) error {
	err := writeFile(path, func(f *os.File) error { return c.write(f, comment, frames) })
	if err != nil {
		var of *fs.PathError
		if errors.As(err, &of) {
			err = of.Err
		}
		return &Error{Op: "save the capture to " + path, Kind: KindUsage, Err: err}
	}
	return nil
}

// writeFile writes a file whole or not at all. What is no regular file (a pipe, a
// terminal) is written as it is.
func writeFile(path string, write func(f *os.File) error) error {
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	mode := fs.FileMode(0o644)
	if st, err := os.Stat(path); err == nil {
		if !st.Mode().IsRegular() {
			f, err := os.OpenFile(path, os.O_WRONLY, 0)
			if err != nil {
				return err
			}
			return errors.Join(write(f), f.Close())
		}
		mode = st.Mode().Perm()
	}
	f, err := os.OpenFile(fmt.Sprintf("%s.%d.part", path, os.Getpid()), os.O_WRONLY|os.O_CREATE|os.O_EXCL, mode)
	if err != nil {
		return err
	}
	if err = errors.Join(write(f), f.Close()); err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		os.Remove(f.Name())
	}
	return err
}

// linkOf is a link of a point.
type linkOf struct{ point, index int }

// write writes the file.
func (c *Capture) write(f *os.File, comment string, frames []probe.Frame) error {
	frames = slices.Clone(frames)
	slices.SortStableFunc(frames, func(a, b probe.Frame) int { return cmp.Compare(a.Time, b.Time) })
	interfaces, numbers, first := c.interfaces(frames)
	w := packet.NewWriter(f, "nsscript", comment, interfaces)
	var p packet.Packet
	for i := range frames {
		frame := &frames[i]
		record := packet.Captured{Interface: numbers[linkOf{frame.Point, frame.Index}], Time: frame.Time, Data: frame.Data,
			Length: frame.Length, Direction: frame.Direction}
		frame.Decode(&p)
		if kind, why := p.Malformed(); kind != packet.None {
			record.Comment = "malformed " + kind.String() + ": " + why
		}
		if !frame.Ethernet() {
			record.Data, record.Length = frame.Cooked(), record.Length+packet.CookedHeader
		}
		w.Write(record)
	}
	now := time.Now().UnixNano()
	for point, s := range c.Stats() {
		w.Statistics(first[point], packet.Interface{Received: s.Received, Dropped: s.Dropped + s.Unkept}, now)
	}
	return w.Flush()
}

// interfaces are the links of the file, their numbers in it, and the first of each
// point. Those of a point are in the order of their indexes.
func (c *Capture) interfaces(frames []probe.Frame) (list []packet.Interface, numbers map[linkOf]int, first []int) {
	cooked := map[linkOf]bool{}
	for i := range frames {
		c.LinkName(&frames[i]) // so that it is among the names
		cooked[linkOf{frames[i].Point, frames[i].Index}] = !frames[i].Ethernet()
	}
	numbers = map[linkOf]int{}
	for point, names := range c.names {
		indexes := make([]int, 0, len(names))
		for index := range names {
			indexes = append(indexes, index)
		}
		slices.Sort(indexes)
		first = append(first, len(list))
		for _, index := range indexes {
			key := linkOf{point, index}
			of := packet.Interface{Name: names[index], Type: packet.LinkEthernet, Description: "in " + c.At[point].ns().String()}
			if cooked[key] {
				of.Type = packet.LinkCooked
			}
			numbers[key] = len(list)
			list = append(list, of)
		}
	}
	return list, numbers, first
}

// Send sends frames as they are by the link: with their Ethernet header, on a link
// that has one. Words describe each.
func (k *Link) Send(ctx context.Context, frames [][]byte, words []string) error {
	if err := k.check(); err != nil {
		return err
	}
	k.ns.lab.Settle(ctx)
	info, err := k.Info()
	if err != nil {
		return err
	}
	enter, leave, err := k.ns.open()
	if err != nil {
		return err
	}
	defer leave()
	start := time.Now()
	sent := 0
	wait(ctx, func() { sent, err = probe.Send(enter, info.Index, info.Ethernet(), frames) })
	k.ns.lab.emit(ctx, "send", k.ns, start, err, sentArgs(k, words)...)
	if err == nil {
		return nil
	}
	hint := ""
	switch {
	case errors.Is(err, unix.ENETDOWN):
		hint = fmt.Sprintf("set it up first: up(%s[%q])", k.ns, k.name)
	case errors.Is(err, unix.EMSGSIZE):
		hint = fmt.Sprintf("the frame has %d bytes, and the link's MTU is %d", len(frames[sent]), info.MTU)
	}
	return k.failed(err, hint, "send frame %d of %d by %s", sent+1, len(frames), k)
}

// sentArgs describe the first frames and say how many there were.
func sentArgs(k *Link, words []string) []event.Arg {
	const shown = 3
	args := []event.Arg{arg("dev", k.name)}
	for _, w := range words[:min(len(words), shown)] {
		args = append(args, arg("frame", w))
	}
	if len(words) > shown {
		args = append(args, arg("frames", strconv.Itoa(len(words))))
	}
	return args
}
