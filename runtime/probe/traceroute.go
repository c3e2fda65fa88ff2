package probe

import (
	"context"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"time"
)

// TraceRequest says whose way to find.
type TraceRequest struct {
	Dst netip.Addr
	Src netip.Addr
	// Proto is udp, icmp or tcp.
	Proto string
	// Port is where UDP begins to count (a port that nobody listens on), and where
	// TCP connects to.
	Port int
	// MaxTTL is how far to look, Queries how often at each distance.
	MaxTTL, Queries int
	// Timeout is for each reply.
	Timeout time.Duration
}

// Hop is one distance on the way.
type Hop struct {
	TTL int
	// IP is who answered; invalid when nobody did.
	IP   netip.Addr
	RTTs []time.Duration
	// Err is what was said instead of "time to live exceeded", or why there was no
	// answer.
	Err *PingError
}

// TraceResult is the way.
type TraceResult struct {
	// Reached says that the destination answered; it is the last hop then.
	Reached bool
	Hops    []Hop
}

// found is what one query found out.
type found struct {
	from    netip.Addr
	rtt     time.Duration
	reached bool
	err     *PingError
}

// stagger is how long the packets of one distance may go unanswered before those of
// the next are sent: routers limit how many errors they send (inet_peer_xrlim_allow
// in net/ipv4/icmp.c), and packets beyond the destination would use them up.
const stagger = 20 * time.Millisecond

// Traceroute finds the routers on the way to an address: it sends packets with one
// time to live after the other, and waits for all answers together. The error is
// as that of [Ping].
func Traceroute(ctx context.Context, enter Enter, q TraceRequest) (TraceResult, error) {
	t := tracer{q: q, enter: enter}
	t.answers = make([][]found, 0, q.MaxTTL)
	for ttl := 1; ttl <= q.MaxTTL && ctx.Err() == nil && t.ended() == 0; ttl++ {
		t.probe(ctx, ttl)
	}
	t.busy.Wait()
	for _, cancel := range t.cancels {
		cancel()
	}
	if ctx.Err() != nil {
		return TraceResult{}, context.Cause(ctx)
	}
	return assemble(t.answers), t.err
}

// tracer is a search under way.
type tracer struct {
	q     TraceRequest
	enter Enter
	busy  sync.WaitGroup

	mu      sync.Mutex // guards what follows
	answers [][]found  // by distance and query
	cancels []func()   // by distance
	end     int        // the least distance at which the destination answered; 0 for none
	err     error      // of what is no search at all
}

// ended is the least distance at which there is nothing more to find, or 0.
func (t *tracer) ended() int {
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.err != nil {
		return 1
	}
	return t.end
}

// probe sends the packets of one distance and waits a little for their answers.
func (t *tracer) probe(ctx context.Context, ttl int) {
	ctx, cancel := context.WithCancel(ctx)
	t.mu.Lock()
	t.answers, t.cancels = append(t.answers, make([]found, t.q.Queries)), append(t.cancels, cancel)
	t.mu.Unlock()
	var here sync.WaitGroup
	for n := range t.q.Queries {
		t.busy.Add(1)
		here.Go(func() {
			defer t.busy.Done()
			f, err := t.q.query(ctx, t.enter, ttl, n)
			t.take(ctx, ttl, n, f, err)
		})
	}
	done := make(chan struct{})
	go func() { here.Wait(); close(done) }()
	select {
	case <-done:
	case <-time.After(stagger):
	}
}

// take notes what a query found. Beyond the destination nothing is of interest.
func (t *tracer) take(ctx context.Context, ttl, n int, f found, err error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	switch {
	case ctx.Err() != nil:
		return
	case err != nil:
		t.err = err
	}
	t.answers[ttl-1][n] = f
	if f.reached && (t.end == 0 || ttl < t.end) {
		t.end = ttl
		for _, cancel := range t.cancels[ttl:] {
			cancel()
		}
	}
}

// assemble makes a way of what the queries found: up to the destination, or to the
// last who answered.
func assemble(answers [][]found) (r TraceResult) {
	last := 0
	for i, tries := range answers {
		hop := Hop{TTL: i + 1}
		for _, f := range tries {
			if f.from.IsValid() {
				hop.IP = f.from
				hop.RTTs = append(hop.RTTs, f.rtt)
				last = i + 1
			}
			if f.err != nil && f.err.Kind != KindTTLExceeded && !f.reached {
				hop.Err = f.err
			}
			r.Reached = r.Reached || f.reached
		}
		r.Hops = append(r.Hops, hop)
		if r.Reached || hop.Err != nil && hop.IP.IsValid() {
			return r
		}
	}
	r.Hops = r.Hops[:max(last, 1)]
	return r
}

// query sends one packet and waits for what is said about it.
func (q *TraceRequest) query(ctx context.Context, enter Enter, ttl, n int) (found, error) {
	if q.Proto == "icmp" {
		return q.echo(ctx, enter, ttl)
	}
	limited, cancel := context.WithTimeout(ctx, q.Timeout)
	defer cancel()
	d := Dialing{To: netip.AddrPortFrom(q.Dst, uint16(q.Port)), From: netip.AddrPortFrom(q.Src, 0), UDP: q.Proto == "udp", TTL: ttl}
	if d.UDP {
		d.To = netip.AddrPortFrom(q.Dst, uint16(q.Port+(ttl-1)*q.Queries+n))
	}
	sent := time.Now()
	conn, err := dial(limited, enter, d)
	if err == nil {
		defer conn.Close()
		if d.UDP {
			err = heard(limited, conn)
		}
	}
	f := found{rtt: time.Since(sent)}
	var known *PingError
	switch {
	case err == nil:
		f.from, f.reached = q.Dst, true
	case errors.Is(err, context.DeadlineExceeded), errors.Is(err, os.ErrDeadlineExceeded):
		if ctx.Err() != nil {
			return f, context.Cause(ctx)
		}
		f.err = &PingError{Kind: KindTimeout, After: q.Timeout}
	case errors.As(err, &known):
		f.err, f.from = known, known.From
		if known.Kind == KindRefused || known.Kind == KindPortUnreachable && known.From.WithZone("") == q.Dst.WithZone("") {
			f.from, f.reached = q.Dst, true
		}
	default:
		return f, err
	}
	return f, nil
}

// heard waits for a word about a datagram.
func heard(ctx context.Context, conn net.Conn) error {
	defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
	buffer := make([]byte, 32)
	if _, err := conn.Write(buffer); err != nil {
		return ofConn(conn, err)
	}
	_, err := conn.Read(buffer)
	if err != nil {
		return ofConn(conn, err)
	}
	return nil
}

// echo is a query by ICMP.
func (q *TraceRequest) echo(ctx context.Context, enter Enter, ttl int) (found, error) {
	r, err := Ping(ctx, enter, PingRequest{Dst: q.Dst, Src: q.Src, TTL: ttl, Timeout: q.Timeout})
	switch {
	case err != nil:
		return found{}, err
	case r.Received > 0:
		return found{from: r.Src, rtt: r.RTTs[0], reached: true}, nil
	}
	return found{from: r.Err.From, rtt: r.Err.After, err: r.Err}, nil
}
