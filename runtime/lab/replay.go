package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// What is to be put back later is kept as the kernel told it: the body of the
// message of a dump is that of the request that makes the object again, with all
// attributes, also those that this package knows nothing of.

// Attributes that golang.org/x/sys/unix does not have (include/uapi/linux).
const (
	ifaProto         = 11 // IFA_PROTO, if_addr.h
	ifaProtoKernelLL = 3  // IFAPROT_KERNEL_LL, the last of the kernel's own
	ndaProtocol      = 12 // NDA_PROTOCOL, neighbour.h
	ndaFlagsExt      = 15 // NDA_FLAGS_EXT, neighbour.h
	ntfExtManaged    = 1  // NTF_EXT_MANAGED, neighbour.h
)

// bodies dumps a table; the request's body is head.
func (ns *Namespace) bodies(kind int, head []byte) ([][]byte, error) {
	var all [][]byte
	err := ns.conn.dump(func() *nl.NetlinkRequest {
		r := request(kind, 0)
		r.AddRawData(head)
		return r
	}, func() { all = nil }, func(body []byte) error {
		all = append(all, append([]byte(nil), body...))
		return nil
	})
	return all, err
}

// replay makes the object of a dump's message again.
func (ns *Namespace) replay(kind, flags int, body []byte) error {
	r := request(kind, unix.NLM_F_CREATE|flags)
	r.AddRawData(body)
	return ns.conn.do(r)
}

// withAttributes copies a body whose header has head bytes, and of the
// attributes those that keep says; it may change their values in place.
func withAttributes(body []byte, head int, keep func(kind int, value []byte) bool) []byte {
	out := append([]byte(nil), body[:head]...)
	for b := body[head:]; len(b) >= unix.SizeofRtAttr; {
		length := u16(b)
		if length < unix.SizeofRtAttr || length > len(b) {
			break
		}
		end := min(align4(length), len(b))
		start := len(out)
		out = append(out, b[:end]...)
		kind := u16(b[2:]) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
		if !keep(kind, out[start+unix.SizeofRtAttr:start+length]) {
			out = out[:start]
		}
		b = b[end:]
	}
	return out
}

// putU32 writes an attribute's value, if it has room for one.
func putU32(b []byte, v uint32) {
	if len(b) >= 4 {
		binary.NativeEndian.PutUint32(b, v)
	}
}

// keptAddr is an address with the body that makes it again.
type keptAddr struct {
	rawAddr
	body []byte
}

// keptAddrs lists the addresses of all links.
func (ns *Namespace) keptAddrs() ([]keptAddr, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []keptAddr
	bodies, err := ns.bodies(unix.RTM_GETADDR, nl.NewIfAddrmsg(unix.AF_UNSPEC).Serialize())
	for _, body := range bodies {
		if a, ok := parseAddr(body); ok {
			all = append(all, keptAddr{a, body})
		}
	}
	return all, err
}

// addrID is what makes an address one in the kernel.
type addrID struct {
	index, bits int
	ip, peer    netip.Addr
}

func (a *keptAddr) id(index int) addrID { return addrID{index, a.PrefixLen, a.IP, a.Peer} }

// aged is the body when some time has passed: finite lifetimes have become
// shorter. It is nil for an address that has ended.
func (a *keptAddr) aged(passed time.Duration) []byte {
	ended := false
	aged := withAttributes(a.body, unix.SizeofIfAddrmsg, func(kind int, v []byte) bool {
		if kind == unix.IFA_CACHEINFO && len(v) >= 8 {
			for _, lifetime := range [][]byte{v, v[4:]} {
				if left := u32(lifetime); left != ^uint32(0) {
					putU32(lifetime, left-min(left, uint32(passed.Seconds())))
				}
			}
			ended = u32(v[4:]) == 0
		}
		return true
	})
	if ended {
		return nil
	}
	return aged
}

// rawRoute is a route with the body that makes it again.
type rawRoute struct {
	*Route
	body []byte
}

// userHops are the RTNH_F_ flags of a route or next hop that are not the
// kernel's own remarks.
const userHops = unix.RTNH_F_ONLINK | unix.RTNH_F_PERVASIVE

// rawRoutes lists what others than the kernel made, of all tables.
func (ns *Namespace) rawRoutes() ([]rawRoute, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []rawRoute
	for _, family := range []int{unix.AF_INET, unix.AF_INET6} {
		bodies, err := ns.dumpRoutes(family, false)
		if err != nil {
			return nil, err
		}
		for _, body := range bodies {
			r, ok := ns.parseRoute(body)
			if !ok || r.Cloned || r.Proto == unix.RTPROT_KERNEL || r.Proto == unix.RTPROT_RA {
				continue
			}
			all = append(all, replayable(r, body))
		}
	}
	return all, nil
}

// replayable takes from a route's body what is only told: remarks on next hops,
// ages, and what a nexthop object (ip-nexthop(8)) says for it.
func replayable(r *Route, body []byte) rawRoute {
	raw := rawRoute{Route: r}
	byObject := false
	for kind := range attributes(body[unix.SizeofRtMsg:]) {
		byObject = byObject || kind == rtaNHID
	}
	raw.body = withAttributes(body, unix.SizeofRtMsg, func(kind int, v []byte) bool {
		switch kind {
		case unix.RTA_CACHEINFO:
			return false
		case unix.RTA_OIF, unix.RTA_GATEWAY, unix.RTA_VIA:
			return !byObject
		case unix.RTA_MULTIPATH:
			eachHop(v, func(hop []byte) { hop[2] &= userHops })
			return !byObject
		}
		return true
	})
	flags := raw.body[8:unix.SizeofRtMsg]
	putU32(flags, u32(flags)&userHops)
	return raw
}

// eachHop walks the struct rtnexthop of an RTA_MULTIPATH.
func eachHop(b []byte, fn func(hop []byte)) {
	for len(b) >= unix.SizeofRtNexthop {
		length := u16(b)
		if length < unix.SizeofRtNexthop || length > len(b) {
			return
		}
		fn(b[:length])
		b = b[min(align4(length), len(b)):]
	}
}

// renumber makes a route's body name a link by another ifindex.
func (r *rawRoute) renumber(old, index int) {
	change := func(b []byte) {
		if u32(b) == uint32(old) {
			putU32(b, uint32(index))
		}
	}
	r.body = withAttributes(r.body, unix.SizeofRtMsg, func(kind int, v []byte) bool {
		switch kind {
		case unix.RTA_OIF:
			change(v)
		case unix.RTA_MULTIPATH:
			eachHop(v, func(hop []byte) { change(hop[4:]) })
		}
		return true
	})
}

// put makes the route again. Of IPv6, a remainder of it may be there: without
// the hops of a link, or without the source that was an address of it.
func (r *rawRoute) put(passed time.Duration) error {
	flags := unix.NLM_F_APPEND
	if r.Dst.Addr().Is6() && (len(r.Hops) > 0 || r.Src.IsValid()) {
		flags = unix.NLM_F_REPLACE
	}
	body := r.body
	if r.Expires > 0 {
		if r.Expires <= passed {
			return nil
		}
		left := nl.NewRtAttr(unix.RTA_EXPIRES, nl.Uint32Attr(uint32((r.Expires - passed).Seconds())))
		body = append(append([]byte(nil), body...), left.Serialize()...)
	}
	return r.NS.replay(unix.RTM_NEWROUTE, flags, body)
}

// remove takes the route away.
func (r *rawRoute) remove(ctx context.Context) error {
	req := request(unix.RTM_DELROUTE, 0)
	req.AddRawData(r.body)
	start := time.Now()
	err := r.NS.conn.do(req)
	r.NS.lab.emit(ctx, "route delete", r.NS, start, err, r.args()...)
	if err != nil && !isGone(err) {
		return kernelError(err, "", "delete route %s%s", r.Route, where(r.NS))
	}
	return nil
}

// rawNeighbor is an entry of the neighbour table or of a bridge's forwarding
// database with the body that makes it again.
type rawNeighbor struct {
	index int
	body  []byte
	lasts bool // a user made it: it is no memory of what was heard
	many  bool // a VXLAN's that has several destinations for the address
}

// nudValid are the states of an entry that says something (NUD_VALID of
// include/net/neighbour.h).
const nudValid = unix.NUD_PERMANENT | unix.NUD_NOARP | unix.NUD_REACHABLE | unix.NUD_PROBE | unix.NUD_STALE | unix.NUD_DELAY

// rawNeighbors lists the neighbours, proxies and entries of forwarding databases.
func (ns *Namespace) rawNeighbors() ([]rawNeighbor, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []rawNeighbor
	for _, table := range []struct{ family, flags byte }{
		{unix.AF_UNSPEC, 0}, {unix.AF_UNSPEC, unix.NTF_PROXY}, {unix.AF_BRIDGE, 0},
	} {
		bodies, err := ns.bodies(unix.RTM_GETNEIGH, []byte{table.family, 0, 0, 0, 0, 0, 0, 0, 0, 0, table.flags, 0})
		if err != nil {
			return nil, err
		}
		for _, body := range bodies {
			if n, ok := parseRawNeighbor(body); ok {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// parseRawNeighbor leaves out what the kernel makes by itself: entries for
// groups, and what bridges have learnt and will learn again.
func parseRawNeighbor(body []byte) (n rawNeighbor, ok bool) {
	if len(body) < unix.SizeofNdMsg {
		return n, false
	}
	family, state, flags := body[0], u16(body[8:]), body[10]
	var group, toAll, remote, protocol bool
	n.index = int(u32(body[4:]))
	n.body = withAttributes(body, unix.SizeofNdMsg, func(kind int, v []byte) bool {
		switch kind {
		case unix.NDA_CACHEINFO, unix.NDA_PROBES, unix.NDA_MASTER:
			return false
		case unix.NDA_DST:
			ip, _ := netip.AddrFromSlice(v)
			remote = family == unix.AF_BRIDGE
			group = group || ip.IsMulticast() || ip.IsUnspecified() || ip.IsLoopback()
		case unix.NDA_LLADDR:
			toAll = family == unix.AF_BRIDGE && len(v) == 6 && (v[0]&1 != 0 || bytes.Count(v, []byte{0}) == 6)
		case ndaProtocol:
			protocol = true
		}
		return true
	})
	n.lasts = flags&(unix.NTF_PROXY|unix.NTF_EXT_LEARNED) != 0 || state&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 || protocol
	n.many = toAll && remote
	switch {
	case group, toAll && !remote:
		return n, false
	case family == unix.AF_BRIDGE:
		n.body[10] |= tableOf(body)
		return n, n.lasts
	case state&(unix.NUD_PROBE|unix.NUD_DELAY) != 0:
		binary.NativeEndian.PutUint16(n.body[8:], unix.NUD_STALE)
	}
	return n, n.lasts || state&nudValid != 0
}

// tableOf is the NTF_ flag for the table that a dumped entry of a forwarding
// database is of: the kernel says SELF for a link's own, and nothing for a bridge's.
func tableOf(body []byte) byte {
	if master := masterOf(body); body[10]&unix.NTF_SELF != 0 || master == int(u32(body[4:])) {
		return unix.NTF_SELF
	}
	return unix.NTF_MASTER
}

// renumber makes the entry one of another ifindex.
func (n *rawNeighbor) renumber(index int) {
	n.index = index
	n.body = append([]byte(nil), n.body...)
	putU32(n.body[4:], uint32(index))
}

// put makes the entry again; of what was heard, the newer word counts.
func (n *rawNeighbor) put(ns *Namespace) error {
	flags := unix.NLM_F_EXCL
	switch {
	case n.many:
		flags = unix.NLM_F_APPEND
	case n.lasts:
		flags = unix.NLM_F_REPLACE
	}
	return ns.replay(unix.RTM_NEWNEIGH, flags, n.body)
}
