package probe

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Exchange says what to ask a server for.
type Exchange struct {
	Dialing
	// Send is what is said; nil makes a TCP probe connect and no more.
	Send []byte
	// Timeout is for all of it.
	Timeout time.Duration
}

// ExchangeResult is what came of an [Exchange].
type ExchangeResult struct {
	// Reply is what came back, also when it was not all.
	Reply []byte
	// Took is the time from the beginning to the end of the reply, or until the
	// connection was there when nothing was said.
	Took time.Duration
	// Local and Remote are the two ends; invalid when there was no connection.
	Local, Remote netip.AddrPort
	// Err is why it failed; nil when it did not.
	Err *PingError
}

// MaxReply is how much of a reply is read.
const MaxReply = 64 << 20

// TCP connects, says what there is to say, closes its direction and reads until
// the other end closes, too. What the network does is in the result; the error
// is as that of [Ping].
func TCP(ctx context.Context, enter Enter, x Exchange) (ExchangeResult, error) {
	return exchange(ctx, enter, x, func(conn net.Conn) ([]byte, error) {
		quiet(conn)
		if x.Send == nil {
			return nil, nil
		}
		if _, err := conn.Write(x.Send); err != nil {
			return nil, err
		}
		if err := conn.(*net.TCPConn).CloseWrite(); err != nil {
			return nil, err
		}
		reply, err := io.ReadAll(io.LimitReader(conn, MaxReply+1))
		switch {
		case errors.Is(err, os.ErrDeadlineExceeded) && len(reply) > 0:
			err = &PingError{Kind: KindTimeout, After: x.Timeout, text: fmt.Sprintf("the other end did not close the connection within %v", x.Timeout)}
		case len(reply) > MaxReply:
			reply, err = reply[:MaxReply], &PingError{Kind: KindOther, text: fmt.Sprintf("the reply is larger than %d MiB", MaxReply>>20)}
		}
		return reply, err
	})
}

// quiet makes a connection bear errors of ICMP, as TCP does (RFC 1122 section
// 4.2.3.9); while it was made they were news.
func quiet(conn net.Conn) {
	onSocket(conn, func(fd int) {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 0)
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 0)
	})
}

// onSocket calls fn with a connection's descriptor.
func onSocket(conn any, fn func(fd int)) {
	if raw, err := conn.(interface {
		SyscallConn() (syscall.RawConn, error)
	}).SyscallConn(); err == nil {
		_ = raw.Control(func(fd uintptr) { fn(int(fd)) })
	}
}

// UDP sends one datagram and waits for one that answers it.
func UDP(ctx context.Context, enter Enter, x Exchange) (ExchangeResult, error) {
	x.UDP = true
	return exchange(ctx, enter, x, func(conn net.Conn) ([]byte, error) {
		if _, err := conn.Write(x.Send); err != nil {
			return nil, err
		}
		reply := make([]byte, 1<<16)
		n, err := conn.Read(reply)
		return reply[:n], err
	})
}

// exchange connects, lets talk and says how it went.
func exchange(outer context.Context, enter Enter, x Exchange, talk func(net.Conn) ([]byte, error)) (ExchangeResult, error) {
	ctx, cancel := context.WithTimeout(outer, x.Timeout)
	defer cancel()
	var r ExchangeResult
	began := time.Now()
	conn, err := dial(ctx, enter, x.Dialing)
	if err == nil {
		defer conn.Close()
		defer context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })()
		onSocket(conn, func(fd int) { r.Local, r.Remote = ends(fd) })
		if r.Reply, err = talk(conn); err != nil {
			err = ofConn(conn, err)
		}
	}
	r.Took = time.Since(began)
	if outer.Err() != nil {
		return r, context.Cause(outer)
	}
	return r, r.fail(err, enter, x)
}

// fail puts an error into the result, if it is one of the network.
func (r *ExchangeResult) fail(err error, enter Enter, x Exchange) error {
	if err == nil {
		return nil
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = &PingError{Kind: KindTimeout, After: x.Timeout}
	}
	if !errors.As(err, &r.Err) {
		return err
	}
	if r.Err.vague(x.To.Addr().Is6()) {
		r.Err.explain(enter, x.To.Addr(), 0)
	}
	return nil
}

// ofConn is an error of a connection with what its socket knows about it.
func ofConn(conn net.Conn, err error) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return err
	}
	onSocket(conn, func(fd int) { err = failure(fd, errno) })
	return err
}

// ends are the two ends of a socket.
func ends(fd int) (local, remote netip.AddrPort) {
	if sa, err := unix.Getsockname(fd); err == nil {
		local = addrPort(fd, sa)
	}
	if sa, err := unix.Getpeername(fd); err == nil {
		remote = addrPort(fd, sa)
	}
	return local, remote
}
