package lab

import (
	"context"
	"errors"
	"net/netip"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// RouteQuery asks which route a packet would take (`ip route get`).
type RouteQuery struct {
	Dst, Src     netip.Addr
	Dev, IIF     *Link
	Mark, TOS    int
	UID          int // -1 for the caller's
	Proto        int // IPPROTO_*, or 0
	SPort, DPort int
	FIBMatch     bool // the route itself, not what a packet makes of it
}

// RouteGet asks the kernel which route a packet would take.
func (ns *Namespace) RouteGet(ctx context.Context, q RouteQuery) (*Route, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	ns.lab.Settle(ctx)
	r := request(unix.RTM_GETROUTE, 0)
	msg := &nl.RtMsg{}
	bits := q.Dst.BitLen()
	msg.Family, msg.Dst_len, msg.Tos = uint8(family(q.Dst)), uint8(bits), uint8(q.TOS)
	if q.Dst.Is4() { // IPv6 tells the table in any case
		msg.Flags = unix.RTM_F_LOOKUP_TABLE
	}
	if q.FIBMatch {
		msg.Flags |= unix.RTM_F_FIB_MATCH
	}
	r.AddData(msg)
	add := func(kind int, data []byte) { r.AddData(nl.NewRtAttr(kind, data)) }
	add(unix.RTA_DST, q.Dst.AsSlice())
	if q.Src.IsValid() {
		msg.Src_len = uint8(bits)
		add(unix.RTA_SRC, q.Src.AsSlice())
	}
	if q.Dev != nil {
		add(unix.RTA_OIF, nl.Uint32Attr(uint32(q.Dev.index)))
	}
	if q.IIF != nil {
		add(unix.RTA_IIF, nl.Uint32Attr(uint32(q.IIF.index)))
	}
	if q.Mark != 0 {
		add(unix.RTA_MARK, nl.Uint32Attr(uint32(q.Mark)))
	}
	if q.UID >= 0 {
		add(unix.RTA_UID, nl.Uint32Attr(uint32(q.UID)))
	}
	if q.Proto != 0 {
		add(unix.RTA_IP_PROTO, nl.Uint8Attr(uint8(q.Proto)))
	}
	if q.SPort != 0 {
		add(unix.RTA_SPORT, nl.BEUint16Attr(uint16(q.SPort)))
	}
	if q.DPort != 0 {
		add(unix.RTA_DPORT, nl.BEUint16Attr(uint16(q.DPort)))
	}
	body, err := ns.conn.get(r)
	if err != nil {
		return nil, kernelError(err, q.hint(err), "route to %s%s", q.Dst, where(ns))
	}
	found, ok := ns.parseRoute(body)
	if !ok {
		return nil, kernelError(unix.EBADMSG, "", "route to %s%s", q.Dst, where(ns))
	}
	return found, nil
}

// hint says why there is no route: to a packet that comes in, it may be its source, or
// that nothing is forwarded (ip_route_input_slow in net/ipv4/route.c).
func (q *RouteQuery) hint(err error) string {
	switch {
	case q.IIF != nil && errors.Is(err, unix.EINVAL) && !q.Src.IsValid():
		return "a packet that comes in by iif= has a source: src="
	case q.IIF != nil && errors.Is(err, unix.EHOSTUNREACH):
		return "what comes in by iif= is forwarded only with sysctl net.ipv4.conf.LINK.forwarding, or an unreachable route says so"
	}
	return refusedBy(err)
}
