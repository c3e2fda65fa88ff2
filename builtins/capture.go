package builtins

import (
	"context"
	"fmt"
	"path/filepath"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

// Capture records packets. It is live.
type Capture struct {
	capture *lab.Capture
	env     *Env
	where   *where // a function of the script, which only this thread may call; or nil

	judged  int       // frames that where was asked about, or that were wrapped
	packets []*Packet // those that passed
	full    bool      // that the memory is used up has been said
}

func (c *Capture) String() string {
	state := "running"
	if !c.capture.Running() {
		state = "stopped"
	}
	s := fmt.Sprintf("%s, %s, %d packets", c.capture, state, len(c.capture.Frames(0)))
	if c.where != nil {
		s = fmt.Sprintf("%s, %s, %d packets of %d so far", c.capture, state, len(c.packets), c.judged)
	}
	return s + c.losses()
}

// losses says how many packets are missing, after a comma; or nothing.
func (c *Capture) losses() (s string) {
	fast, full := c.capture.Dropped()
	if fast > 0 {
		s += fmt.Sprintf(", %d dropped because they came too fast", fast)
	}
	if full > 0 {
		s += fmt.Sprintf(", %d dropped because memory=%d is used up", full, c.capture.Memory())
	}
	return s
}

// Type is what type() says.
func (c *Capture) Type() string { return "capture" }

// Freeze does nothing.
func (c *Capture) Freeze() {}

// Truth is True.
func (c *Capture) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (c *Capture) Hash() (uint32, error) { return hashPointer(c.capture) }

// CompareSameType: one capture, one value.
func (c *Capture) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, c.capture == y.(*Capture).capture, "capture")
}

// AttrNames lists the attributes.
func (c *Capture) AttrNames() []string {
	return []string{"packets", "count", "dropped", "running", "wait", "stop", "save"}
}

// Attr is the capture's state.
func (c *Capture) Attr(name string) (starlark.Value, error) {
	switch name {
	case "packets":
		if err := c.update(); err != nil {
			return nil, err
		}
		return c.rows(), nil
	case "count":
		if c.where == nil {
			return starlark.MakeInt(len(c.capture.Frames(0))), nil
		}
		err := c.update()
		return starlark.MakeInt(len(c.packets)), err
	case "dropped":
		fast, full := c.capture.Dropped()
		return starlark.MakeUint64(fast + full), nil
	case "running":
		return starlark.Bool(c.capture.Running()), nil
	}
	for _, m := range captureMethods() {
		if m.Name == "capture."+name {
			m.Fn = func(call *Call) (starlark.Value, error) { return captureFn[name](call, c) }
			return m.builtin(c.env), nil
		}
	}
	return nil, nil
}

// rows are the packets in the order of their times.
func (c *Capture) rows() *starlark.List {
	sorted := sortedByTime(c.packets)
	items, cells := make([]starlark.Value, len(sorted)), make([][]string, len(sorted))
	for i, p := range sorted {
		items[i], cells[i] = p, p.cells()
	}
	return c.env.rows(items, cells)
}

// MarshalJSON is the capture with its attributes.
func (c *Capture) MarshalJSON() ([]byte, error) { return marshalLive(c) }

// update takes what was recorded since the last time; where= is asked about it here,
// by who reads, and never while packets arrive. A packet that makes it fail is none of
// the capture's; the next reading goes on behind it.
func (c *Capture) update() error {
	for frames := c.capture.Frames(0); c.judged < len(frames); {
		// Counted first: where may wait, and let another function come here.
		p := c.env.captured(c.capture, frames[c.judged])
		c.judged++
		ok, err := c.where.holds(c.env.NewThread, p)
		if err != nil {
			return err
		}
		if ok {
			c.packets = append(c.packets, p)
		}
	}
	c.sayFull()
	return nil
}

// sayFull says once that packets are no longer kept.
func (c *Capture) sayFull() {
	if _, full := c.capture.Dropped(); full > 0 && !c.full && c.env.Note != nil {
		c.full = true
		c.env.Note("%s keeps no more packets: its memory, %d bytes, is used up", c.capture, c.capture.Memory())
	}
}

// where is a condition on packets: compiled, or a function of the script.
type where struct {
	conditions []packet.Condition
	match      *packet.Match
	fn         starlark.Callable
	words      string
}

// holds tells whether a packet is one of those; a nil where takes all.
func (w *where) holds(thread func(string) *starlark.Thread, p *Packet) (bool, error) {
	switch {
	case w == nil:
		return true, nil
	case w.fn == nil:
		return w.match.Holds(p.packet()), nil
	}
	v, err := starlark.Call(thread("where"), w.fn, starlark.Tuple{p}, nil)
	if err != nil {
		return false, fmt.Errorf("%w", err)
	}
	return bool(v.Truth()), nil
}

var tWhere = &Type{Name: "a layer, a dict of fields, or a function of a packet", Good: `{"ip.dst": "10.0.0.2", "udp.dport": 53}`,
	Convert: func(_ *Call, v starlark.Value) (any, error) {
		w := &where{}
		switch v := v.(type) {
		case starlark.String:
			w.conditions, w.words = []packet.Condition{{Key: string(v), Want: []any{true}}}, string(v)
		case *starlark.Dict:
			var err error
			if w.conditions, w.words, err = conditions(v); err != nil {
				return nil, err
			}
		case starlark.Callable:
			w.fn, w.words = v, v.Name()+"()"
			return w, nil
		default:
			return nil, errType
		}
		var err error
		w.match, err = packet.Compile(w.conditions)
		return w, err
	}}

// conditions are those of a dict.
func conditions(d *starlark.Dict) (list []packet.Condition, words string, err error) {
	var all []string
	for _, item := range d.Items() {
		key, ok := starlark.AsString(item[0])
		if !ok {
			return nil, "", fmt.Errorf("%s names no field of a packet", item[0])
		}
		c := packet.Condition{Key: key}
		values := []starlark.Value{item[1]}
		if seq, several := item[1].(starlark.Sequence); several {
			if _, one := item[1].(*IPNetwork); !one {
				values = nil
				for x := range starlark.Elements(seq) {
					values = append(values, x)
				}
			}
		}
		for _, v := range values {
			value, ok := goValue(v)
			if !ok {
				return nil, "", fmt.Errorf("%s: %s is no value of a field", key, describe(v))
			}
			c.Want = append(c.Want, value)
		}
		list, all = append(list, c), append(all, key+"="+item[1].String())
	}
	return list, strings.Join(all, ", "), nil
}

// tPoint is where to record.
var tPoint = &Type{Name: "a link, or a namespace for all of its links", Good: `root["eth0"]`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Link:
		return lab.CapturePoint{Link: v.link}, nil
	case *Namespace:
		return lab.CapturePoint{NS: v.ns}, nil
	case starlark.String:
		return nil, lab.Usage(fmt.Sprintf("a namespace finds its links by name: root[%s]", v), "got string %s, want a link", v)
	}
	return nil, errType
}}

// tDirection is whether packets come or go.
var tDirection = &Type{Name: `"in" or "out"`, Good: `"in"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v {
	case starlark.String("in"):
		return packet.In, nil
	case starlark.String("out"):
		return packet.Out, nil
	}
	return nil, errType
}}

const familyPackets = "Packets"

func captureSpecs() []*Spec {
	return []*Spec{{
		Name: "capture", Family: familyPackets, Returns: "capture: packets count dropped running wait() stop() save()", Like: "tcpdump -i DEV -w FILE",
		Doc: "Records packets, with the kernel's times, until stop() or the end of the lab; the link may still be down, and is not made promiscuous. " +
			"A namespace stands for all of its links, now and later. proto= and where= say which packets: where= is a layer (\"icmp\"), " +
			"a dict of fields that all have to be as it says ({\"ip.dst\": \"10.0.0.0/8\", \"tcp.flags\": \"SYN\"}; a list means any of its values, " +
			"None that the field is absent; src, dst, sport and dport are those of IPv4 or IPv6 and of UDP or TCP, \"inner.\" in front means the packet in a tunnel), " +
			"or a function of the packet, which is called when the script asks. dropped counts what is missing: packets that came faster than they were read, " +
			"and those that memory= was too small for. wait(where, timeout=\"5s\") returns the first packet, of all since the capture began, that is like that, " +
			"and fails when there is none. save(path) writes pcapng, relative to the script, with an interface for each link. " +
			"A packet has time (in seconds, as now() has it), link, direction, length, bytes, summary, malformed (None, or what is wrong with it), layers (their names), " +
			"the layers themselves (eth llc stp vlan mpls arp ip ipv6 srh icmp icmpv6 udp tcp dns vxlan gre geneve payload, each the outermost), " +
			"and inner, the packet in a tunnel or that an ICMP error quotes. A layer that is not there is False, and its fields are None.",
		Params: []Param{
			required("at", listOf(tPoint, "a link, a namespace, or a list of them"), "where"),
			keyword("proto", listOf(tString, "a layer, or a list of them"), "", "the packets that have one of these"),
			keyword("where", tWhere, "", "the packets that are like this"),
			keyword("direction", tDirection, "", "of packets, as the namespace sees it: in or out; both unless given"),
			keyword("snaplen", intType("a length in bytes", "96", 14, 1<<17), "", "how much of each packet is kept; all unless given"),
			keyword("memory", tBytes, "\"256mib\"", "how much all packets may take"),
		},
		Example: twoHosts + "cap = capture(b[\"eth0\"], proto=\"icmp\")\nping(a, b)\n" +
			"expect.eq([p.icmp.type for p in cap.packets], [8, 0])\nexpect.packet(cap, {\"icmp.type\": \"echo-reply\", \"dst\": \"10.0.0.1\"})\n" +
			"p = cap.wait(lambda p: p.direction == \"in\")\nexpect.eq((p.ip.ttl, p.ip.checksum_ok, p.tcp.dport, bool(p.tcp)), (64, True, None, False))\nprint(cap.packets)",
		Fn: newCapture,
	}}
}

func newCapture(c *Call) (starlark.Value, error) {
	s := lab.CaptureSpec{At: all[lab.CapturePoint](c, "at"), Direction: get(c, "direction", packet.Unknown),
		SnapLen: get(c, "snaplen", 0), Memory: get(c, "memory", 0)}
	if len(s.At) == 0 {
		return nil, lab.Usage("", "capture: at: the list is empty")
	}
	var list []packet.Condition
	if protos := all[string](c, "proto"); len(protos) > 0 {
		want := make([]any, len(protos))
		for i, name := range protos {
			want[i] = name
		}
		list = append(list, packet.Condition{Key: "proto", Want: want})
	}
	cap := &Capture{env: c.Env}
	if w := get[*where](c, "where", nil); w != nil && w.fn != nil {
		cap.where = w
	} else if w != nil {
		list = append(list, w.conditions...)
	}
	var err error
	if s.Match, err = packet.Compile(list); err != nil {
		return nil, lab.Usage("", "capture: proto: %v", err)
	}
	if cap.capture, err = c.Env.Lab.StartCapture(c.Ctx, s); err != nil {
		return nil, err
	}
	return cap, nil
}

func captureMethods() []*Spec {
	return []*Spec{
		{Name: "capture.wait", Returns: "packet",
			Doc:    "Returns the first packet, of all since the capture began, that is like where= says; waits for it, and fails when none came in time, with what was seen instead.",
			Params: []Param{optional("where", tWhere, "", "which packet"), keyword("timeout", tDuration, "\"5s\"", "at most so long")}},
		{Name: "capture.stop", Doc: "Ends the capture; what it has recorded stays."},
		{Name: "capture.save", Doc: "Writes the packets as a pcapng file, which Wireshark, tshark and tcpdump read: an interface for each link, with the times of the kernel, and what was dropped.",
			Params: []Param{required("path", nameType("a file's name", `"lab.pcapng"`), "the file; relative to the script")}},
	}
}

var captureFn = map[string]func(*Call, *Capture) (starlark.Value, error){
	"wait": func(c *Call, cap *Capture) (starlark.Value, error) {
		timeout := get(c, "timeout", 5*time.Second)
		p, err := c.firstPacket(cap, timeout)
		if err != nil || p != nil {
			return p, err
		}
		return nil, &lab.Error{Op: fmt.Sprintf("wait: no packet%s within %v; %s", like(get[*where](c, "where", nil)), timeout, cap.seen()), Kind: lab.KindTimeout}
	},
	"stop": func(c *Call, cap *Capture) (starlark.Value, error) {
		cap.capture.Halt(c.Ctx)
		return nil, nil
	},
	"save": func(c *Call, cap *Capture) (starlark.Value, error) {
		path := get(c, "path", "")
		if !filepath.IsAbs(path) {
			path = filepath.Join(filepath.Dir(c.Env.position(c.Thread).File), path)
		}
		if err := cap.update(); err != nil {
			return nil, err
		}
		frames := make([]probe.Frame, len(cap.packets))
		for i, p := range cap.packets {
			frames[i] = p.frame
		}
		return nil, cap.capture.Save(path, c.Env.position(c.Thread).String(), frames)
	},
}

// like is a condition in a message, after a space; or nothing.
func like(w *where) string {
	if w == nil {
		return ""
	}
	return " with " + w.words
}

// firstPacket waits for the first packet, of all since the capture began, for which the
// call's where= holds; nil when there is none in time, or none can come any more.
func (c *Call) firstPacket(cap *Capture, timeout time.Duration) (*Packet, error) {
	ctx, cancel := context.WithTimeout(c.Ctx, timeout)
	defer cancel()
	w := get[*where](c, "where", nil)
	same := func(string) *starlark.Thread { return c.Thread }
	more := true
	for next := 0; ; {
		if err := cap.update(); err != nil {
			return nil, err
		}
		for ; next < len(cap.packets); next++ {
			if ok, err := w.holds(same, cap.packets[next]); err != nil || ok {
				return cap.packets[next], err
			}
		}
		switch {
		case more:
			known := cap.judged
			c.Blocking(func() { more = cap.capture.Wait(ctx, known) })
		case c.Ctx.Err() != nil:
			return nil, context.Cause(c.Ctx)
		default: // and what others were judging meanwhile has been looked at
			return nil, nil
		}
	}
}

// mostSeen is how many packets a failure shows.
const mostSeen = 20

// seen lists what was recorded, a line for each packet.
func (c *Capture) seen() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s saw %d packets%s", c.capture, len(c.packets), c.losses())
	sorted := sortedByTime(c.packets)
	if n := len(sorted) - mostSeen; n > 0 {
		fmt.Fprintf(&b, ", the last %d of which are", mostSeen)
		sorted = sorted[n:]
	}
	for i, p := range sorted {
		if i == 0 {
			b.WriteString(":")
		}
		b.WriteString("\n  " + p.String())
	}
	return b.String()
}

// packetChecks are the checks of captures.
func packetChecks() []*check {
	params := []Param{required("capture", tCapture, "what was recorded"), optional("where", tWhere, "", "what the packet is like, as for capture()")}
	return []*check{
		{name: "packet", doc: "Checks that a packet is like where= says, of all that were recorded since the capture began or will be before the timeout. " +
			"A failure shows what was seen instead, a line for each packet.",
			params:  append(append([]Param(nil), params...), keyword("timeout", tDuration, "\"2s\"", "how long to wait")),
			example: twoHosts + "cap = capture(b, where={\"icmp\": True})\nping(a, b)\nexpect.packet(cap, {\"ip.src\": \"10.0.0.1\", \"icmp.type\": 8})",
			fn: func(c *Call) (string, error) {
				cap, timeout := get[*Capture](c, "capture", nil), get(c, "timeout", 2*time.Second)
				p, err := c.firstPacket(cap, timeout)
				if err != nil || p != nil {
					return "", err
				}
				return fmt.Sprintf("no packet%s within %v; %s", like(get[*where](c, "where", nil)), timeout, cap.seen()), nil
			}},
		{name: "no_packet", doc: "Checks that no packet is like where= says, of all that were recorded since the capture began or are while hold lasts.",
			params:  append(append([]Param(nil), params...), keyword("hold", tDuration, "\"1s\"", "how long to watch")),
			example: twoHosts + "cap = capture(b, proto=\"icmp\")\nping(a, b)\nexpect.no_packet(cap, {\"ip.src\": \"10.0.0.9\"}, hold=\"50ms\")",
			fn: func(c *Call) (string, error) {
				cap := get[*Capture](c, "capture", nil)
				p, err := c.firstPacket(cap, get(c, "hold", time.Second))
				if err != nil || p == nil {
					return "", err
				}
				return fmt.Sprintf("there is a packet%s:\n  %s", like(get[*where](c, "where", nil)), p), nil
			}},
	}
}

var tCapture = &Type{Name: "a capture", Good: "capture(root)", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if c, ok := v.(*Capture); ok {
		return c, nil
	}
	return nil, errType
}}
