package probe

import (
	"context"
	"time"

	"golang.org/x/sys/unix"
)

// Sequence numbers have 16 bits, so that many requests can be in flight.
const maxFlying = 1 << 16

// request is one echo request.
type request struct {
	sent  time.Time // last time it went out
	due   time.Time // when it counts as lost
	state reqState
	again bool // sent a second time, in fragments
}

type reqState uint8

const (
	flying   reqState = iota + 1
	answered          // or failed: nothing about it is news
	lost              // timed out; an error may still come and say why
)

// pinger is a ping under way. Requests are numbered from 0; request n has
// sequence number n+1, as in ping(8).
type pinger struct {
	req    PingRequest
	res    PingResult
	sock   *pingSocket
	packet []byte
	list   []request // request n is list[n%len(list)]
	one    [1]request
	oldest int // no request before it is flying
	flying int // how many are
	began  time.Time
	last   time.Time // when something was sent last
	mtu    int       // from a local error, for the request being sent
}

// newPinger is a ping that has not begun.
func newPinger(req PingRequest) *pinger {
	req = req.withDefaults()
	return &pinger{req: req, res: PingResult{Dst: req.Dst}}
}

// ping sends the requests by a socket and finds out what became of them.
func (p *pinger) ping(ctx context.Context, enter Enter, sock *pingSocket) error {
	p.sock = sock
	p.prepare()
	if err := p.run(ctx, time.Now()); err != nil {
		return err
	}
	p.explain(enter)
	return nil
}

// prepare makes what run needs.
func (p *pinger) prepare() {
	p.packet = newEcho(p.sock.v6, p.sock.id, p.req.Size)
	p.list = p.one[:]
	if p.req.Count > 1 {
		p.list = make([]request, min(p.req.Count, maxFlying))
	}
	p.res.RTTs = make([]time.Duration, 0, min(p.req.Count, 1024))
}

// run sends the requests, the first of them at next, and collects what comes back
// until nothing more can.
func (p *pinger) run(ctx context.Context, next time.Time) error {
	p.began = next
	for {
		if p.res.Sent < p.req.Count && !time.Now().Before(next) {
			p.launch()
			next = p.following(next)
		}
		p.replies()
		if p.flying > 0 {
			p.expire(time.Now())
		}
		if p.done() {
			return nil
		}
		if err := ctx.Err(); err != nil {
			return err
		}
		p.sock.wait(ctx, p.last, p.wake(next))
	}
}

// done tells whether nothing more can come of it.
func (p *pinger) done() bool {
	return p.flying == 0 && p.res.Sent == p.req.Count || p.req.Any && p.res.Received > 0
}

// following is the time of the next request: at the interval, and when that
// could not be held, from now on.
func (p *pinger) following(next time.Time) time.Time {
	next = next.Add(p.req.Interval)
	if p.last.After(next) {
		return p.last
	}
	return next
}

// wake is until when there is nothing to do.
func (p *pinger) wake(next time.Time) time.Time {
	if p.flying == 0 {
		return next
	}
	due := p.at(p.oldest).due
	if p.res.Sent < p.req.Count && next.Before(due) {
		return next
	}
	return due
}

// at is request n.
func (p *pinger) at(n int) *request { return &p.list[n%len(p.list)] }

// launch makes and sends the next request.
func (p *pinger) launch() {
	n := p.res.Sent
	if p.oldest <= n-len(p.list) {
		p.lose(p.oldest)
		p.oldest++
	}
	*p.at(n) = request{state: flying}
	p.res.Sent++
	p.flying++
	p.transmit(n)
	if p.at(n).due = p.at(n).sent.Add(p.req.Timeout); p.req.Any {
		p.at(n).due = p.began.Add(p.req.Timeout)
	}
}

// transmit sends request n. What sendto(2) returns may be an error that an
// earlier packet left behind (ip(7)), or one that can be helped, so it is asked
// twice.
func (p *pinger) transmit(n int) {
	r := p.at(n)
	for try := 0; ; try++ {
		stampEcho(p.packet, uint16(n+1), p.sock.raw && !p.sock.v6)
		p.mtu = 0
		r.sent = time.Now()
		p.last = r.sent
		err := p.sock.send(p.packet)
		if err == nil {
			return
		}
		p.failures()
		if r.state != flying {
			return
		}
		errno, _ := err.(unix.Errno)
		if try == 0 && p.retry(errno) {
			continue
		}
		p.refuse(n, errno)
		return
	}
}

// retry reports whether sending again may help. Broadcasts have to be asked
// for (socket(7) SO_BROADCAST); a prohibit route gives the same error.
func (p *pinger) retry(errno unix.Errno) bool {
	switch errno {
	case unix.ENOBUFS, unix.EAGAIN:
		return false
	case unix.EMSGSIZE:
		return p.mtu == 0
	case unix.EACCES:
		p.sock.special = true
		_ = unix.SetsockoptInt(p.sock.fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	}
	return true
}

// refuse ends request n, which the kernel did not send.
func (p *pinger) refuse(n int, errno unix.Errno) {
	err := sendError(errno)
	if errno == unix.EMSGSIZE {
		if err.MTU = p.mtu; err.MTU == 0 {
			err.MTU = p.sock.pathMTU()
		}
	}
	p.fail(n, err)
}

// replies takes all that has come, replies and errors.
func (p *pinger) replies() {
	for range maxFlying {
		data, control, errno := p.sock.receive(0)
		switch errno {
		case 0:
			p.answer(data, control)
		case unix.EINTR:
		case unix.EAGAIN:
			return
		default: // the pending error: its details are in the queue
			p.failures()
		}
		if p.done() {
			return
		}
	}
}

// answer takes one reply. Those to requests that are over, duplicates among
// them, are not counted.
func (p *pinger) answer(data, control []byte) {
	seq, ok := p.sock.reply(data)
	if !ok {
		return
	}
	n, ok := p.number(seq)
	if !ok || p.at(n).state != flying {
		return
	}
	a := parseAncillary(control)
	rtt := elapsed(p.at(n).sent, a.stamp)
	if p.at(n).sent.Add(rtt).After(p.at(n).due) {
		return
	}
	p.settle(n, answered)
	p.res.Received++
	p.res.RTTs = append(p.res.RTTs, rtt)
	p.res.TTL, p.res.Src = a.ttl, p.sock.sender()
}

// failures takes all of the error queue (recvmsg(2) MSG_ERRQUEUE).
func (p *pinger) failures() {
	for {
		data, control, errno := p.sock.receive(unix.MSG_ERRQUEUE)
		if errno == unix.EINTR {
			continue
		}
		if errno != 0 {
			return
		}
		if e, ok := decodeQueued(control, data); ok {
			p.failure(&e, parseAncillary(control).stamp)
		}
	}
}

// failure takes one entry of the error queue, which came at a time.
func (p *pinger) failure(e *queuedError, came time.Time) {
	if e.origin == unix.SO_EE_ORIGIN_LOCAL && e.errno == unix.EMSGSIZE {
		p.mtu = int(e.info)
		return
	}
	if !e.fatal() || p.sock.raw && e.id != p.sock.id {
		return
	}
	n, ok := p.number(e.seq)
	if !ok || p.at(n).state == answered {
		return
	}
	e.offender = p.sock.named(e.offender)
	err := icmpError(e)
	err.After = elapsed(p.at(n).sent, came)
	if err.Kind == KindTooBig && !p.req.DF && !p.at(n).again && p.at(n).state == flying {
		p.at(n).again = true // the kernel knows the MTU now and will fragment
		p.transmit(n)
		return
	}
	p.fail(n, err)
}

// number is the latest request with a sequence number.
func (p *pinger) number(seq uint16) (n int, ok bool) {
	n = p.res.Sent - 1 - int(uint16(p.res.Sent)-seq)
	return n, n >= 0 && n >= p.res.Sent-len(p.list)
}

// expire ends the requests whose time is over. All have the same timeout, so
// the oldest is due first.
func (p *pinger) expire(now time.Time) {
	for ; p.oldest < p.res.Sent; p.oldest++ {
		r := p.at(p.oldest)
		if r.state == flying && now.Before(r.due) {
			return
		}
		p.lose(p.oldest)
	}
}

// lose ends request n without an answer, if it is flying.
func (p *pinger) lose(n int) {
	if p.at(n).state != flying {
		return
	}
	p.settle(n, lost)
	p.res.Err = &PingError{Kind: KindTimeout, After: p.req.Timeout}
}

// fail ends request n with an error.
func (p *pinger) fail(n int, err *PingError) {
	p.settle(n, answered)
	p.res.Err = err
}

// settle ends request n.
func (p *pinger) settle(n int, state reqState) {
	if p.at(n).state == flying {
		p.flying--
	}
	p.at(n).state = state
}
