package probe

import (
	"encoding/binary"
	"net/netip"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// Sizes of what the kernel writes (linux/errqueue.h, linux/in.h, linux/in6.h).
const (
	sizeExtendedErr = int(unsafe.Sizeof(unix.SockExtendedErr{}))
	sizeTimespec    = int(unsafe.Sizeof(unix.Timespec{}))
	sizeSockaddr4   = unix.SizeofSockaddrInet4
	sizeSockaddr6   = unix.SizeofSockaddrInet6
)

// queuedError is one entry of a socket's error queue: struct
// sock_extended_err of ip(7), the offender, and which request it is about.
type queuedError struct {
	errno    unix.Errno
	origin   uint8 // SO_EE_ORIGIN_LOCAL, _ICMP, _ICMP6 …
	icmpType uint8
	icmpCode uint8
	info     uint32     // the MTU of EMSGSIZE
	offender netip.Addr // who sent the ICMP error; invalid if local
	id, seq  uint16     // of the request quoted in the ICMP error
	quoted   bool       // whether there is such a quotation
}

// ancillary is what the control messages of one recvmsg(2) say.
type ancillary struct {
	ttl     int       // 0 if absent
	stamp   time.Time // receive time, CLOCK_REALTIME; zero if absent
	queued  queuedError
	isError bool // queued was filled in
}

// parseAncillary reads control messages; what it does not know or what is cut
// short is left out.
func parseAncillary(control []byte) ancillary {
	var a ancillary
	for {
		level, kind, data, rest, ok := nextControl(control)
		if !ok {
			return a
		}
		a.add(level, kind, data)
		control = rest
	}
}

// nextControl splits off the first control message (cmsg(3)).
func nextControl(b []byte) (level, kind int32, data, rest []byte, ok bool) {
	var h unix.Cmsghdr
	if len(b) < unix.SizeofCmsghdr {
		return 0, 0, nil, nil, false
	}
	copy((*[unix.SizeofCmsghdr]byte)(unsafe.Pointer(&h))[:], b)
	if uint64(h.Len) < unix.SizeofCmsghdr || uint64(h.Len) > uint64(len(b)) {
		return 0, 0, nil, nil, false
	}
	data = b[unix.SizeofCmsghdr:h.Len]
	next := min(unix.CmsgSpace(len(data)), len(b))
	return h.Level, h.Type, data, b[next:], true
}

// add takes in one control message.
func (a *ancillary) add(level, kind int32, data []byte) {
	switch {
	case level == unix.SOL_SOCKET && kind == unix.SCM_TIMESTAMPNS && len(data) >= sizeTimespec:
		var ts unix.Timespec
		copy(unsafe.Slice((*byte)(unsafe.Pointer(&ts)), sizeTimespec), data)
		a.stamp = time.Unix(ts.Unix())
	case level == unix.SOL_IP && kind == unix.IP_TTL && len(data) >= 4,
		level == unix.SOL_IPV6 && kind == unix.IPV6_HOPLIMIT && len(data) >= 4:
		a.ttl = int(binary.NativeEndian.Uint32(data) & 0xff)
	case level == unix.SOL_IP && kind == unix.IP_RECVERR,
		level == unix.SOL_IPV6 && kind == unix.IPV6_RECVERR:
		if e, ok := decodeExtendedErr(data); ok {
			a.queued, a.isError = e, true
		}
	}
}

// decodeExtendedErr reads a sock_extended_err and the offender's socket
// address behind it, which is unspecified or missing for local errors.
func decodeExtendedErr(b []byte) (queuedError, bool) {
	if len(b) < sizeExtendedErr {
		return queuedError{}, false
	}
	return queuedError{
		errno:  unix.Errno(binary.NativeEndian.Uint32(b[0:])),
		origin: b[4], icmpType: b[5], icmpCode: b[6],
		info:     binary.NativeEndian.Uint32(b[8:]),
		offender: decodeSockaddr(b[sizeExtendedErr:], ""),
	}, true
}

// decodeSockaddr reads a sockaddr_in or sockaddr_in6; invalid for any other.
// A link-local address gets the zone, or the number in it if there is none.
func decodeSockaddr(b []byte, zone string) netip.Addr {
	if len(b) < 2 {
		return netip.Addr{}
	}
	family := binary.NativeEndian.Uint16(b)
	switch {
	case family == unix.AF_INET && len(b) >= sizeSockaddr4:
		return netip.AddrFrom4([4]byte(b[4:8]))
	case family == unix.AF_INET6 && len(b) >= sizeSockaddr6:
		addr := netip.AddrFrom16([16]byte(b[8:24])).Unmap()
		scope := binary.NativeEndian.Uint32(b[24:])
		if scope == 0 || !needsZone(addr) {
			return addr
		}
		if zone == "" {
			zone = strconv.FormatUint(uint64(scope), 10)
		}
		return addr.WithZone(zone)
	}
	return netip.Addr{}
}

// decodeQueued is one message of the error queue: its control messages, and
// its data, which begin with the request's ICMP header (ping_err in
// net/ipv4/ping.c) and are empty for local errors.
func decodeQueued(control, data []byte) (queuedError, bool) {
	a := parseAncillary(control)
	if !a.isError {
		return queuedError{}, false
	}
	e := a.queued
	switch e.origin {
	case unix.SO_EE_ORIGIN_ICMP:
		e.id, e.seq, e.quoted = parseEcho(data, echoRequest4)
	case unix.SO_EE_ORIGIN_ICMP6:
		e.id, e.seq, e.quoted = parseEcho(data, echoRequest6)
	}
	return e, true
}

// fatal reports whether the error ends its request: redirects and source
// quenches, which the kernel queues too, do not.
func (e *queuedError) fatal() bool {
	return e.quoted && e.errno != unix.EREMOTEIO && e.offender.IsValid()
}
