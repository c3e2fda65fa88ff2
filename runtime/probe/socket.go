package probe

import (
	"context"

	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
)

// Socket serves one ping after the other from one namespace: opening an ICMP
// socket there costs several times what a ping does. The zero value is one that
// the first ping opens. One ping at a time may use it.
//
// Only a raw socket is kept, whose requests get an identifier of their own for
// each ping: late replies and errors of earlier ones are told apart by it. It is
// tied to no destination, since it could not be untied (raw(7): connect(2) fixes
// the source, and to AF_UNSPEC ends receiving), and so hears the replies to
// others' requests, too: there should be one for each namespace, not many.
type Socket struct{ kept *pingSocket }

// Open tells whether there is a socket for the next ping.
func (s *Socket) Open() bool { return s.kept != nil }

// Close gives the socket back, if there is one.
func (s *Socket) Close() {
	if s.kept != nil {
		s.kept.close()
		s.kept = nil
	}
}

// Enter is the [Enter] of the namespace of an open socket.
func (s *Socket) Enter(fn func() error) error {
	fd, err := netns.OfSocket(s.kept.fd)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return netns.Do(fd, fn)
}

// Ping is [Ping] by this socket, where it suits the request.
func (s *Socket) Ping(ctx context.Context, enter Enter, req PingRequest) (PingResult, error) {
	p := newPinger(req)
	sock, err := s.forRequest(ctx, enter, &p.req)
	if err != nil {
		return p.res, err
	}
	err = p.ping(ctx, enter, sock)
	switch {
	case err != nil || !sock.lasts(&p.req):
		if s.kept == sock {
			s.kept = nil
		}
		sock.close()
	case s.kept == nil:
		s.kept = sock
	}
	return p.res, err
}

// forRequest is the socket that is kept, or another.
func (s *Socket) forRequest(ctx context.Context, enter Enter, req *PingRequest) (*pingSocket, error) {
	if err := req.possible(ctx); err != nil {
		return nil, err
	}
	if s.kept != nil && s.kept.v6 == req.Dst.Is6() && req.plain() {
		s.kept.renew(req)
		return s.kept, nil
	}
	return openSocket(enter, req, s.kept == nil && req.plain())
}

// plain tells whether the request wants a socket without anything that is said
// by a socket option or by binding.
func (req *PingRequest) plain() bool {
	return !req.Src.IsValid() && req.Dev == "" && req.TTL == 0 && req.TOS == 0 && !req.DF &&
		!req.Dst.IsMulticast() && !needsZone(req.Dst)
}

// lasts tells whether the socket can serve another request after this one.
func (s *pingSocket) lasts(req *PingRequest) bool {
	return s.raw && !s.tied && !s.special && s.file == nil && req.plain()
}

// renew makes a socket that has served another request ready for this one.
func (s *pingSocket) renew(req *PingRequest) {
	_ = s.address(req) // fails for an address with a zone only
	s.id = uint16(rawIDs.Add(1))
	for range maxFlying { // what has come for earlier requests
		if !s.ready(0) {
			return
		}
		_, _, _ = s.receive(0)
		_, _, _ = s.receive(unix.MSG_ERRQUEUE)
	}
}
