// Package probe asks questions of a network from inside a namespace, without
// any other program: does an address answer, how fast, and if not, who says so.
package probe

import (
	"context"
	"fmt"
	"math"
	"net/netip"
	"time"
)

// Enter runs fn on a thread that is in the namespace the probe is about and
// returns fn's error. Sockets that fn opens belong to that namespace for life,
// wherever they are used later; probes do all else outside of it. A probe may
// call it more than once, never from within fn.
type Enter func(fn func() error) error

// Limits and defaults of a [PingRequest].
const (
	// NoPayload as Size sends the 8 bytes of the echo header alone.
	NoPayload = -1
	// AtOnce as Interval or Timeout is a time of 0.
	AtOnce time.Duration = math.MinInt64

	defaultPayload  = 56
	defaultInterval = time.Second
	defaultTimeout  = time.Second
	maxPayload4     = 65535 - 20 - echoHeader // RFC 791: total length is 16 bits
	maxPayload6     = 65535 - echoHeader      // RFC 8200: the header is not counted
)

// PingRequest says what to send. The zero value of a field is its default;
// only Dst is needed.
type PingRequest struct {
	// Dst is an IPv4 or IPv6 address. A link-local one carries a zone, an
	// interface name or number of the namespace, unless Dev is set.
	Dst netip.Addr
	// Count is the number of requests, default 1.
	Count int
	// Interval is from one request to the next, whether or not the first is
	// answered by then, as in ping(8); default 1 s, AtOnce for no pause.
	Interval time.Duration
	// Any ends the ping with the first reply. Timeout is then that of the whole
	// ping, to whose end every request waits, and Count as many as it has room for.
	Any bool
	// Timeout is how long each request waits for its reply, default 1 s. A
	// reply that comes later is not counted; with AtOnce none is.
	Timeout time.Duration
	// Size is the payload in bytes, after the 8 bytes of the ICMP header and
	// without the IP header: default 56, NoPayload for none, at most 65507
	// (IPv4) or 65527 (IPv6).
	Size int
	// TTL is the time to live or hop limit, 1 to 255; default the kernel's.
	TTL int
	// TOS is the type of service or traffic class byte, default 0.
	TOS int
	// DF forbids fragments: a request that is larger than the path's MTU fails
	// with KindTooBig. Without it IPv4 sends no DF bit, so that routers may
	// fragment, and IPv6, where only the sender can, sends a request again in
	// fragments when a router reports that it was too big.
	DF bool
	// Src is the source address, one of the namespace's; default the route's.
	Src netip.Addr
	// Dev binds the socket to an interface (SO_BINDTODEVICE).
	Dev string
}

// PingResult is what came of a [PingRequest].
type PingResult struct {
	Dst netip.Addr
	// Sent counts requests, those that the kernel refused to send included;
	// Received those answered in time, each once.
	Sent, Received int
	// RTTs are the round-trip times of the answered requests as replies
	// arrived, up to the kernel's receive timestamp.
	RTTs []time.Duration
	// TTL and Src are the time to live (hop limit) and the source of the last
	// reply; 0 and invalid without one.
	TTL int
	Src netip.Addr
	// Err is the last error, nil if every request was answered.
	Err *PingError
}

// Loss is the share of requests without an answer, from 0 to 1; 0 if nothing
// was sent.
func (r PingResult) Loss() float64 {
	if r.Sent == 0 {
		return 0
	}
	return float64(r.Sent-r.Received) / float64(r.Sent)
}

// Min is the shortest round-trip time, 0 without replies.
func (r PingResult) Min() time.Duration {
	var least time.Duration
	for i, rtt := range r.RTTs {
		if i == 0 || rtt < least {
			least = rtt
		}
	}
	return least
}

// Max is the longest round-trip time, 0 without replies.
func (r PingResult) Max() time.Duration {
	var most time.Duration
	for _, rtt := range r.RTTs {
		most = max(most, rtt)
	}
	return most
}

// Avg is the mean round-trip time, 0 without replies.
func (r PingResult) Avg() time.Duration {
	if len(r.RTTs) == 0 {
		return 0
	}
	return time.Duration(math.Round(r.mean()))
}

// Mdev is the standard deviation of the round-trip times, as ping(8) has it;
// 0 without replies.
func (r PingResult) Mdev() time.Duration {
	if len(r.RTTs) == 0 {
		return 0
	}
	mean, squares := r.mean(), 0.0
	for _, rtt := range r.RTTs {
		squares += (float64(rtt) - mean) * (float64(rtt) - mean)
	}
	return time.Duration(math.Round(math.Sqrt(squares / float64(len(r.RTTs)))))
}

// mean is the mean round-trip time in nanoseconds; there is at least one.
func (r PingResult) mean() float64 {
	sum := 0.0
	for _, rtt := range r.RTTs {
		sum += float64(rtt)
	}
	return sum / float64(len(r.RTTs))
}

// Ping sends ICMP echo requests from a namespace and waits for the replies.
//
// What the network does is in the result, whose Err has the last failure. The
// error is for what is no ping at all: a request that makes no sense (no such
// device, a source that is not an address of the namespace, sizes out of
// range), a socket that could not be had, or the context's end, within some
// milliseconds, with the result so far.
//
// It needs net.ipv4.ping_group_range in the namespace to include the group of
// the process (icmp(7)); else CAP_NET_RAW there, for a raw socket.
func Ping(ctx context.Context, enter Enter, req PingRequest) (PingResult, error) {
	p := newPinger(req)
	if err := p.req.possible(ctx); err != nil {
		return p.res, err
	}
	sock, err := openSocket(enter, &p.req, p.req.Any)
	if err != nil {
		return p.res, err
	}
	defer sock.close()
	err = p.ping(ctx, enter, sock)
	return p.res, err
}

// possible refuses what no network could answer, and what comes too late.
func (req *PingRequest) possible(ctx context.Context) error {
	if err := req.check(); err != nil {
		return fmt.Errorf("ping %v: %w", req.Dst, err)
	}
	return ctx.Err()
}

// withDefaults fills in what was left out; no payload becomes size 0.
func (req PingRequest) withDefaults() PingRequest {
	req.Dst, req.Src = req.Dst.Unmap(), req.Src.Unmap()
	if req.Count == 0 {
		req.Count = 1
	}
	req.Interval = span(req.Interval, defaultInterval)
	req.Timeout = span(req.Timeout, defaultTimeout)
	if req.Any {
		req.Count = int(req.Timeout/max(req.Interval, time.Millisecond)) + 1
	}
	switch req.Size {
	case 0:
		req.Size = defaultPayload
	case NoPayload:
		req.Size = 0
	}
	return req
}

// span is a time of a request: def when it was left out.
func span(d, def time.Duration) time.Duration {
	switch d {
	case 0:
		return def
	case AtOnce:
		return 0
	}
	return d
}

// check refuses what no network could answer.
func (req *PingRequest) check() error {
	largest := maxPayload6
	if req.Dst.Is4() {
		largest = maxPayload4
	}
	switch {
	case !req.Dst.IsValid():
		return fmt.Errorf("no destination")
	case req.Src.IsValid() && req.Src.Is4() != req.Dst.Is4():
		return fmt.Errorf("source %v and destination are not of one family", req.Src)
	case req.Count < 0:
		return fmt.Errorf("count %d is negative", req.Count)
	case req.Interval < 0:
		return fmt.Errorf("interval %v is negative", req.Interval)
	case req.Timeout < 0:
		return fmt.Errorf("timeout %v is negative", req.Timeout)
	case req.Size < 0 || req.Size > largest:
		return fmt.Errorf("size %d is not from 0 to %d", req.Size, largest)
	case req.TTL < 0 || req.TTL > 255:
		return fmt.Errorf("ttl %d is not from 1 to 255", req.TTL)
	case req.TOS < 0 || req.TOS > 255:
		return fmt.Errorf("tos %d is not from 0 to 255", req.TOS)
	case needsZone(req.Dst) && req.Dst.Zone() == "" && req.Dev == "":
		return fmt.Errorf("a link-local address needs a zone (%v%%eth0) or a device", req.Dst)
	}
	return nil
}

// needsZone reports whether an address means nothing without an interface.
func needsZone(a netip.Addr) bool {
	return a.Is6() && (a.IsLinkLocalUnicast() || a.IsLinkLocalMulticast() || a.IsInterfaceLocalMulticast())
}
