package probe

import (
	"context"
	"errors"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// How a ping waits. A reply over veth is there before sendto(2) returns; one
// within a millisecond is cheapest waited for with the thread; for anything
// longer the thread is left to others and the socket put into the runtime's
// epoll, which also takes the context's end. A thousand lost pings so need few
// threads.
const (
	briefly    = time.Millisecond
	maxBlocked = 8 // threads that wait briefly at once
	slice      = 5 * time.Millisecond
)

var blocked atomic.Int32

// wait returns when there may be something to receive, when it is until, or
// when the context ends; the caller looks which it was. fresh is when the last request went out.
func (s *pingSocket) wait(ctx context.Context, fresh, until time.Time) {
	if s.file == nil {
		if s.block(earlier(until, fresh.Add(briefly))) || !time.Now().Before(until) {
			return
		}
		s.park(ctx)
	}
	s.parked(ctx, until)
}

// block is waitBriefly for the socket.
func (s *pingSocket) block(limit time.Time) bool { return waitBriefly(s.poll[:], limit) }

// waitBriefly waits with the thread. It reports whether something came; it does not
// wait if too many others do so.
func waitBriefly(poll []unix.PollFd, limit time.Time) bool {
	left := time.Until(limit)
	if left <= 0 {
		return false
	}
	defer blocked.Add(-1)
	if blocked.Add(1) > maxBlocked {
		return false
	}
	for left > 0 {
		ts := unix.NsecToTimespec(int64(left))
		n, err := unix.Ppoll(poll, &ts, nil)
		if err != unix.EINTR {
			return n > 0 || err != nil
		}
		left = time.Until(limit)
	}
	return false
}

// park hands the socket to the runtime's poller; conn stays nil if that
// refuses it.
func (s *pingSocket) park(ctx context.Context) {
	file := os.NewFile(uintptr(s.fd), "icmp")
	s.file = file
	conn, err := file.SyscallConn()
	if err != nil || file.SetReadDeadline(time.Time{}) != nil {
		return
	}
	s.conn = conn
	if ctx.Done() != nil {
		s.stop = context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })
	}
}

// parked waits in the runtime's poller. The deadline is set before the context
// is looked at: whichever comes first, its end is seen.
func (s *pingSocket) parked(ctx context.Context, until time.Time) {
	if s.conn == nil {
		s.sleep(until)
		return
	}
	_ = s.file.SetReadDeadline(until)
	if ctx.Err() != nil {
		return
	}
	err := s.conn.Read(s.ready)
	if err != nil && !errors.Is(err, os.ErrDeadlineExceeded) {
		s.sleep(until)
	}
}

// ready reports whether something can be received, for RawConn.Read.
func (s *pingSocket) ready(uintptr) bool {
	n, err := unix.Poll(s.poll[:], 0)
	return n > 0 || err != nil
}

// sleep is the wait of last resort, where the poller does not take the socket.
func (s *pingSocket) sleep(until time.Time) {
	if s.ready(0) {
		return
	}
	time.Sleep(min(max(time.Until(until), 0), slice))
}

// earlier is the earlier of two times.
func earlier(a, b time.Time) time.Time {
	if a.Before(b) {
		return a
	}
	return b
}
