package probe

import (
	"encoding/binary"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// explain finds out more about the last error.
func (p *pinger) explain(enter Enter) {
	if p.res.Err != nil && p.res.Err.vague(p.sock.v6) {
		p.res.Err.explain(enter, p.req.Dst, p.outInterface())
	}
}

// vague tells whether the kernel's word does not tell enough: silence or "host
// unreachable" may be a next hop that does not resolve, and EINVAL is several
// things.
func (e *PingError) vague(v6 bool) bool {
	return e.Kind == KindTimeout && e.text == "" || e.Kind == KindNoBuffers || e.Kind == KindHostUnreachable && e.From.IsValid() || e.Errno == unix.EINVAL && v6
}

// explain asks the namespace's routes and neighbours (rtnetlink(7)) about a vague
// error and leaves it as it is if that fails.
func (e *PingError) explain(enter Enter, dst netip.Addr, index uint32) {
	nl, err := openRouteQuery(enter)
	if err != nil {
		return
	}
	defer nl.close()
	hop, err := nl.nextHop(dst, index)
	if err != nil {
		return
	}
	switch {
	case e.Errno == unix.EINVAL: // there is a route, so that was not it (ip6_finish_output2)
		*e = *sendError(unix.ENOBUFS)
		e.Errno = unix.EINVAL
	case e.Kind == KindTimeout && nl.unresolved(hop), e.Kind == KindHostUnreachable && nl.local(e.From):
		e.Kind, e.Neighbor = KindNoNeighbor, hop.addr
	}
	if e.Kind == KindTimeout || e.Kind == KindNoBuffers {
		e.note = nl.overflow(dst.Is6())
	}
}

// outInterface is the number of the interface that the request asks for, or 0.
func (p *pinger) outInterface() uint32 {
	if p.sock.to6.ZoneId != 0 || p.req.Dev == "" {
		return p.sock.to6.ZoneId
	}
	index, err := scopeOf(p.sock.fd, p.req.Dev)
	if err != nil {
		return 0
	}
	return index
}

// routeQuery asks a namespace about single routes and neighbours.
type routeQuery struct{ fd int }

// hop is where a route leads first: a gateway or the destination itself.
type hop struct {
	addr  netip.Addr
	index uint32 // of the interface
	local bool   // it is an address of the namespace
}

// openRouteQuery opens a route netlink socket in the namespace.
func openRouteQuery(enter Enter) (routeQuery, error) {
	q := routeQuery{fd: -1}
	err := enter(func() error {
		fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
		q.fd = fd
		return err
	})
	if err != nil {
		return q, err
	}
	patience := unix.NsecToTimeval(int64(time.Second))
	_ = unix.SetsockoptTimeval(q.fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &patience)
	return q, nil
}

func (q routeQuery) close() { _ = unix.Close(q.fd) }

// nextHop asks for the route to dst (RTM_GETROUTE). The error is the route's,
// such as ENETUNREACH, or EINVAL for a blackhole.
func (q routeQuery) nextHop(dst netip.Addr, oif uint32) (hop, error) {
	family := familyOf(dst)
	body := make([]byte, unix.SizeofRtMsg, 64)
	body[0], body[1] = family, byte(dst.BitLen())
	body = appendAttr(body, unix.RTA_DST, dst.AsSlice())
	if oif != 0 {
		body = appendAttr(body, unix.RTA_OIF, binary.NativeEndian.AppendUint32(nil, oif))
	}
	answer, err := q.ask(unix.RTM_GETROUTE, body)
	if err != nil || len(answer) < unix.SizeofRtMsg {
		return hop{}, errOr(err)
	}
	h := hop{addr: dst, local: answer[7] == unix.RTN_LOCAL}
	eachAttr(answer[unix.SizeofRtMsg:], func(kind uint16, data []byte) {
		switch {
		case kind == unix.RTA_OIF && len(data) >= 4:
			h.index = binary.NativeEndian.Uint32(data)
		case kind == unix.RTA_GATEWAY:
			if gateway, ok := netip.AddrFromSlice(data); ok {
				h.addr = gateway
			}
		case kind == unix.RTA_VIA && len(data) > 2:
			if gateway, ok := netip.AddrFromSlice(data[2:]); ok {
				h.addr = gateway
			}
		}
	})
	return h, nil
}

// local reports whether an address is the namespace's own.
func (q routeQuery) local(a netip.Addr) bool {
	h, err := q.nextHop(a, 0)
	return err == nil && h.local
}

// unresolved reports whether the neighbour table (RTM_GETNEIGH) has no
// link-layer address for a next hop although one was asked for.
func (q routeQuery) unresolved(h hop) bool {
	body := make([]byte, unix.SizeofNdMsg, 64)
	body[0] = familyOf(h.addr)
	binary.NativeEndian.PutUint32(body[4:], h.index)
	body = appendAttr(body, unix.NDA_DST, h.addr.AsSlice())
	answer, err := q.ask(unix.RTM_GETNEIGH, body)
	if err != nil || len(answer) < unix.SizeofNdMsg {
		return false
	}
	state := binary.NativeEndian.Uint16(answer[8:])
	return state&(unix.NUD_INCOMPLETE|unix.NUD_FAILED) != 0
}

// ask sends a request and gives the first answer without its header.
func (q routeQuery) ask(kind uint16, body []byte) ([]byte, error) {
	return q.send(kind, unix.NLM_F_REQUEST, body)
}

// dump sends a request for a list and gives its first item.
func (q routeQuery) dump(kind uint16, body []byte) ([]byte, error) {
	return q.send(kind, unix.NLM_F_REQUEST|unix.NLM_F_DUMP, body)
}

func (q routeQuery) send(kind, flags uint16, body []byte) ([]byte, error) {
	message := make([]byte, unix.SizeofNlMsghdr, unix.SizeofNlMsghdr+len(body))
	binary.NativeEndian.PutUint32(message[0:], uint32(cap(message)))
	binary.NativeEndian.PutUint16(message[4:], kind)
	binary.NativeEndian.PutUint16(message[6:], flags)
	message = append(message, body...)
	if err := unix.Sendto(q.fd, message, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, err
	}
	buffer := make([]byte, 4096)
	n, _, err := unix.Recvfrom(q.fd, buffer, 0)
	if err != nil {
		return nil, err
	}
	return openAnswer(buffer[:n])
}

// openAnswer takes the header off a netlink message, or the error out of it.
func openAnswer(b []byte) ([]byte, error) {
	if len(b) < unix.SizeofNlMsghdr {
		return nil, unix.EBADMSG
	}
	size := int(binary.NativeEndian.Uint32(b))
	kind := binary.NativeEndian.Uint16(b[4:])
	if size < unix.SizeofNlMsghdr || size > len(b) {
		return nil, unix.EBADMSG
	}
	body := b[unix.SizeofNlMsghdr:size]
	if kind != unix.NLMSG_ERROR {
		return body, nil
	}
	if len(body) < 4 {
		return nil, unix.EBADMSG
	}
	return nil, unix.Errno(-int32(binary.NativeEndian.Uint32(body)))
}

// appendAttr appends a netlink attribute.
func appendAttr(b []byte, kind uint16, data []byte) []byte {
	b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtAttr+len(data)))
	b = binary.NativeEndian.AppendUint16(b, kind)
	b = append(b, data...)
	return append(b, make([]byte, -len(data)&(unix.RTA_ALIGNTO-1))...)
}

// eachAttr calls fn for every whole netlink attribute.
func eachAttr(b []byte, fn func(kind uint16, data []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		size := int(binary.NativeEndian.Uint16(b))
		if size < unix.SizeofRtAttr || size > len(b) {
			return
		}
		fn(binary.NativeEndian.Uint16(b[2:])&^unix.NLA_F_NESTED, b[unix.SizeofRtAttr:size])
		aligned := (size + unix.RTA_ALIGNTO - 1) &^ (unix.RTA_ALIGNTO - 1)
		b = b[min(aligned, len(b)):]
	}
}

// familyOf is an address's family.
func familyOf(a netip.Addr) byte {
	if a.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// errOr is err, or EBADMSG without one.
func errOr(err error) error {
	if err != nil {
		return err
	}
	return unix.EBADMSG
}
