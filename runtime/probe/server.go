package probe

import (
	"errors"
	"fmt"
	"io"
	"net"
	"net/netip"
	"os"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Server answers in a namespace until it is closed.
type Server struct {
	// Addr is where; the unspecified address stands for all, of both families.
	Addr netip.AddrPort

	listener io.Closer
	also     *Server // that ends with this one; nil for none
	mu       sync.Mutex
	open     map[io.Closer]bool // connections
	closed   bool
	busy     sync.WaitGroup
}

// Request is what a client said.
type Request struct {
	Data []byte
	// Remote is the client as the server sees it.
	Remote netip.AddrPort
}

// patience is how long a connection may take to close after the last word.
const patience = 10 * time.Second

// Close ends the server and its connections, and waits for their handlers.
func (s *Server) Close() {
	s.Stop()
	s.busy.Wait()
	if s.also != nil {
		s.also.Close()
	}
}

// Stop ends the server and its connections.
func (s *Server) Stop() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.closed = true
	_ = s.listener.Close()
	for c := range s.open {
		_ = c.Close()
	}
	if s.also != nil {
		s.also.Stop()
	}
}

// Running tells whether it has not been stopped.
func (s *Server) Running() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	return !s.closed
}

// begin notes that a request is answered now, until busy.Done; false when it is
// too late for that.
func (s *Server) begin() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if !s.closed {
		s.busy.Add(1)
	}
	return !s.closed
}

// track notes a connection, so that Stop can end it, and that it is served until
// busy.Done; false when it is too late.
func (s *Server) track(c io.Closer) bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.closed {
		_ = c.Close()
		return false
	}
	s.open[c] = true
	s.busy.Add(1)
	return true
}

func (s *Server) forget(c io.Closer) {
	_ = c.Close()
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.open, c)
}

// bound opens a socket in the namespace that is bound to an address; an invalid
// address is any, of both families where the namespace has both.
func bound(enter Enter, kind int, at netip.AddrPort) (file *os.File, addr netip.AddrPort, err error) {
	both := !at.Addr().IsValid()
	if both {
		at = netip.AddrPortFrom(netip.IPv6Unspecified(), at.Port())
	}
	fd, err := newSocket(enter, at.Addr().Is6(), kind)
	if both && errors.Is(err, unix.EAFNOSUPPORT) {
		at = netip.AddrPortFrom(netip.IPv4Unspecified(), at.Port())
		fd, err = newSocket(enter, false, kind)
	}
	if err != nil {
		return nil, at, err
	}
	if both {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 0)
	}
	file = os.NewFile(uintptr(fd), "socket")
	if kind == unix.SOCK_STREAM {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	}
	sa, err := sockaddr(fd, at)
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	if err == nil && kind == unix.SOCK_STREAM {
		err = unix.Listen(fd, unix.SOMAXCONN)
	}
	if err != nil {
		file.Close()
		if errors.Is(err, unix.EADDRNOTAVAIL) {
			err = fmt.Errorf("it is not, or not yet, an address of the namespace: %w", err)
		}
		return nil, at, err
	}
	addr, _ = ends(fd)
	return file, addr, nil
}

// listen makes a TCP server that has not begun.
func listen(enter Enter, at netip.AddrPort) (*Server, net.Listener, error) {
	file, addr, err := bound(enter, unix.SOCK_STREAM, at)
	if err != nil {
		return nil, nil, err
	}
	defer file.Close()
	l, err := net.FileListener(file)
	if err != nil {
		return nil, nil, err
	}
	return &Server{Addr: addr, listener: l, open: map[io.Closer]bool{}}, l, nil
}

// Talk is one connection of a TCP server. It returns what to answer, and whether
// the connection is to be closed then; a request without data is the beginning
// of the connection.
type Talk func(r Request) (answer []byte, end bool)

// ServeTCP answers TCP connections. What one of them says is passed to its Talk as
// it comes, and the connection is closed when the other end closes it.
func ServeTCP(enter Enter, at netip.AddrPort, talk Talk) (*Server, error) {
	s, l, err := listen(enter, at)
	if err != nil {
		return nil, err
	}
	s.accept(l, func(conn *net.TCPConn, remote netip.AddrPort) { converse(conn, Request{Remote: remote}, talk) })
	return s, nil
}

// accept serves connections until the server is closed, each by itself.
func (s *Server) accept(l net.Listener, serve func(conn *net.TCPConn, remote netip.AddrPort)) {
	go func() {
		for {
			conn, err := l.Accept()
			if err != nil {
				if !s.Running() {
					return
				}
				time.Sleep(10 * time.Millisecond) // no descriptors left, say
				continue
			}
			if !s.track(conn) {
				continue
			}
			go func() {
				defer s.busy.Done()
				defer s.forget(conn)
				var remote netip.AddrPort
				onSocket(conn, func(fd int) { _, remote = ends(fd) })
				serve(conn.(*net.TCPConn), remote)
			}()
		}
	}()
}

// converse serves one connection.
func converse(conn *net.TCPConn, r Request, talk Talk) {
	buffer := make([]byte, 64<<10)
	for {
		answer, end := talk(r)
		if len(answer) > 0 {
			if _, err := conn.Write(answer); err != nil {
				return
			}
		}
		if end {
			break
		}
		n, err := conn.Read(buffer)
		if err != nil {
			break
		}
		r.Data = buffer[:n]
	}
	// Closing while something is unread would reset the connection, and the
	// answer could be lost on its way (RFC 1122 section 4.2.2.13).
	_ = conn.CloseWrite()
	_ = conn.SetReadDeadline(time.Now().Add(patience))
	_, _ = io.Copy(io.Discard, conn)
}

// ServeUDP answers datagrams, from the address that they were sent to; nil is no
// answer.
func ServeUDP(enter Enter, at netip.AddrPort, answer func(r Request) []byte) (*Server, error) {
	file, addr, err := bound(enter, unix.SOCK_DGRAM, at)
	if err != nil {
		return nil, err
	}
	s := &Server{Addr: addr, listener: file, open: map[io.Closer]bool{}}
	raw, err := file.SyscallConn()
	if err != nil {
		file.Close()
		return nil, err
	}
	onSocket(file, func(fd int) {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_PKTINFO, 1)
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVPKTINFO, 1)
	})
	s.busy.Go(func() {
		for s.datagram(raw, answer) {
		}
	})
	return s, nil
}

// datagram serves one datagram; false says that the server has ended.
func (s *Server) datagram(raw syscall.RawConn, answer func(r Request) []byte) bool {
	data, oob := make([]byte, 1<<16), make([]byte, 128)
	var n, oobn int
	var from unix.Sockaddr
	var failed error
	r := Request{}
	err := raw.Read(func(fd uintptr) bool {
		n, oobn, _, from, failed = unix.Recvmsg(int(fd), data, oob, unix.MSG_DONTWAIT)
		if failed == nil {
			r.Remote = addrPort(int(fd), from)
		}
		return failed != unix.EAGAIN && failed != unix.EINTR
	})
	if err != nil || !s.Running() {
		return false
	}
	if failed != nil {
		return true // an ICMP error about an earlier answer
	}
	r.Data = data[:n]
	reply := answer(r)
	if reply == nil {
		return true
	}
	_ = raw.Control(func(fd uintptr) {
		_ = unix.Sendmsg(int(fd), reply, ownAddress(oob[:oobn]), from, 0)
	})
	return true
}

// ownAddress is the control message that makes an answer come from where the
// question went: IP_PKTINFO of ip(7), IPV6_PKTINFO of RFC 3542.
func ownAddress(control []byte) []byte {
	for {
		level, kind, data, rest, ok := nextControl(control)
		switch {
		case !ok:
			return nil
		case level == unix.SOL_IP && kind == unix.IP_PKTINFO && len(data) >= unix.SizeofInet4Pktinfo:
			info := unix.Inet4Pktinfo{Spec_dst: [4]byte(data[4:8])}
			return unix.PktInfo4(&info)
		case level == unix.SOL_IPV6 && kind == unix.IPV6_PKTINFO && len(data) >= unix.SizeofInet6Pktinfo:
			info := unix.Inet6Pktinfo{Addr: [16]byte(data[:16])}
			if netip.AddrFrom16(info.Addr).IsMulticast() {
				return nil
			}
			return unix.PktInfo6(&info)
		}
		control = rest
	}
}
