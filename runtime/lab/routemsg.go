package lab

import (
	"encoding/binary"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes that golang.org/x/sys/unix does not have (include/uapi/linux/rtnetlink.h).
const (
	rtaNewDst       = 19 // RTA_NEWDST
	rtaPref         = 20 // RTA_PREF
	rtaEncapType    = 21 // RTA_ENCAP_TYPE
	rtaEncap        = 22 // RTA_ENCAP
	rtaTTLPropagate = 26 // RTA_TTL_PROPAGATE
	rtaNHID         = 30 // RTA_NH_ID

	rtcfRedirected = 0x40000 // RTCF_REDIRECTED, in_route.h
	mplsLabelBits  = 20
)

// prefs are the preferences of routers (RFC 4191) by their numbers.
var prefs = map[string]int{"medium": 0, "high": 1, "low": 3}

// family is that of the destination.
func (r *Route) family() int {
	if r.Label != nil {
		return unix.AF_MPLS
	}
	return family(r.Dst.Addr())
}

// message builds an RTM_NEWROUTE or RTM_DELROUTE.
func (r *Route) message(kind, flags int) *nl.NetlinkRequest {
	req := request(kind, flags)
	msg := &nl.RtMsg{}
	msg.Family = uint8(r.family())
	msg.Tos, msg.Protocol, msg.Scope, msg.Type = uint8(r.TOS), uint8(r.Proto), uint8(r.Scope), uint8(r.Type)
	msg.Dst_len, msg.Src_len = uint8(max(r.Dst.Bits(), 0)), uint8(max(r.From.Bits(), 0))
	if r.Label != nil {
		msg.Dst_len = mplsLabelBits
	}
	if kind == unix.RTM_DELROUTE {
		msg.Protocol = unix.RTPROT_UNSPEC
	}
	if r.OnLink {
		msg.Flags = unix.RTNH_F_ONLINK
	}
	if r.Cloned {
		msg.Flags |= unix.RTM_F_CLONED // the exception, not the route that it is of
	}
	if r.Table < 256 {
		msg.Table = uint8(r.Table)
	}
	req.AddData(msg)
	req.AddRawData(r.attributes(kind))
	return req
}

func (r *Route) attributes(kind int) (b []byte) {
	add := func(kind int, data []byte) { b = append(b, attr(kind, data)...) }
	number := func(kind, n int) {
		if n != 0 {
			add(kind, nl.Uint32Attr(uint32(n)))
		}
	}
	if r.Table >= 256 {
		number(unix.RTA_TABLE, r.Table)
	}
	switch {
	case r.Label != nil:
		add(unix.RTA_DST, r.Label.stack())
	case r.Dst.Bits() > 0:
		add(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
	}
	if r.From.Bits() > 0 {
		add(unix.RTA_SRC, r.From.Masked().Addr().AsSlice())
	}
	if r.Nexthop != 0 {
		number(rtaNHID, r.Nexthop)
	} else {
		b = append(b, r.towards(kind)...)
	}
	if r.Src.IsValid() {
		add(unix.RTA_PREFSRC, r.Src.AsSlice())
	}
	number(unix.RTA_PRIORITY, r.Metric)
	number(unix.RTA_FLOW, int(r.Realms))
	b = append(b, r.Metrics.attribute()...)
	if r.Pref != "" {
		add(rtaPref, []byte{byte(prefs[r.Pref])})
	}
	if r.TTLPropagate != nil {
		add(rtaTTLPropagate, []byte{byte(bit(*r.TTLPropagate))})
	}
	if r.Expires != 0 && kind == unix.RTM_NEWROUTE {
		add(unix.RTA_EXPIRES, nl.Uint32Attr(uint32(r.Expires.Seconds())))
	}
	return b
}

// towards are the attributes of the next hop or hops.
func (r *Route) towards(kind int) (b []byte) {
	if len(r.Hops) > 0 {
		b = append(b, attr(unix.RTA_MULTIPATH, r.multipath(kind))...)
	}
	if r.NewDst != nil {
		b = append(b, attr(rtaNewDst, r.NewDst.stack())...)
	}
	if r.Via.IsValid() {
		b = append(b, viaAttr(r.Via, r.family())...)
	}
	if r.Dev != nil {
		b = append(b, attr(unix.RTA_OIF, nl.Uint32Attr(uint32(r.Dev.index)))...)
	}
	return append(b, r.Encap.of(kind)...)
}

// of are an encapsulation's attributes in a request to make or to delete.
func (e *Encap) of(kind int) []byte {
	if e == nil || kind == unix.RTM_DELROUTE && !e.tellsAll() {
		return nil
	}
	return e.attributes(rtaEncapType, rtaEncap)
}

// viaAttr is a gateway; one of the other family needs RTA_VIA (RFC 8950).
func viaAttr(via netip.Addr, of int) []byte {
	if family(via) == of {
		return attr(unix.RTA_GATEWAY, via.AsSlice())
	}
	return attr(unix.RTA_VIA, append(nl.Uint16Attr(uint16(family(via))), via.AsSlice()...))
}

// multipath lists struct rtnexthop, each with its gateway.
func (r *Route) multipath(kind int) (b []byte) {
	for _, h := range r.Hops {
		var attrs []byte
		if h.Via.IsValid() {
			attrs = viaAttr(h.Via, r.family())
		}
		if h.NewDst != nil {
			attrs = append(attrs, attr(rtaNewDst, h.NewDst.stack())...)
		}
		if h.Realms != 0 {
			attrs = append(attrs, attr(unix.RTA_FLOW, nl.Uint32Attr(h.Realms))...)
		}
		attrs = append(attrs, h.Encap.of(kind)...)
		var flags, index int
		if h.OnLink {
			flags = unix.RTNH_F_ONLINK
		}
		if h.Dev != nil {
			index = h.Dev.index
		}
		b = binary.NativeEndian.AppendUint16(b, uint16(unix.SizeofRtNexthop+len(attrs)))
		b = append(b, byte(flags), byte(max(h.Weight, 1)-1))
		b = binary.NativeEndian.AppendUint32(b, uint32(index))
		b = append(b, attrs...)
	}
	return b
}

// parseRoute reads the body of an RTM_NEWROUTE message.
func (ns *Namespace) parseRoute(body []byte) (*Route, bool) {
	if len(body) < unix.SizeofRtMsg {
		return nil, false
	}
	m := nl.DeserializeRtMsg(body)
	r := &Route{NS: ns, Table: int(m.Table), Type: int(m.Type), Scope: int(m.Scope), Proto: int(m.Protocol), TOS: int(m.Tos),
		OnLink: m.Flags&unix.RTNH_F_ONLINK != 0, Cloned: m.Flags&unix.RTM_F_CLONED != 0, flags: m.Flags}
	switch m.Family {
	case unix.AF_INET:
		r.Dst = netip.PrefixFrom(netip.IPv4Unspecified(), int(m.Dst_len))
		r.Redirected = r.Cloned && m.Flags&rtcfRedirected != 0
	case unix.AF_INET6:
		r.Dst = netip.PrefixFrom(netip.IPv6Unspecified(), int(m.Dst_len))
		if m.Src_len > 0 && !r.Cloned {
			r.From = netip.PrefixFrom(netip.IPv6Unspecified(), int(m.Src_len))
		}
	case unix.AF_MPLS:
		r.Label = Labels{0}
	default:
		return nil, false
	}
	for kind, v := range attributes(body[unix.SizeofRtMsg:]) {
		ns.routeAttribute(r, kind, v)
	}
	if m.Family == unix.AF_INET6 {
		// The kernel does not say so: of IPv6, an exception is there for a path MTU,
		// and ends, or because of a redirect.
		r.Redirected = r.Cloned && r.Expires == 0
	}
	if e := encapOf(ns, body[unix.SizeofRtMsg:]); e != nil {
		r.Encap = e
	}
	return r, true
}

func (ns *Namespace) routeAttribute(r *Route, kind int, v []byte) {
	switch kind {
	case unix.RTA_DST:
		if r.Label != nil {
			r.Label = parseStack(v)
		} else if ip, ok := netip.AddrFromSlice(v); ok {
			r.Dst = netip.PrefixFrom(ip, r.Dst.Bits())
		}
	case unix.RTA_SRC:
		if ip, ok := netip.AddrFromSlice(v); ok && r.From.IsValid() {
			r.From = netip.PrefixFrom(ip, r.From.Bits())
		}
	case unix.RTA_GATEWAY, unix.RTA_VIA:
		r.Via = gateway(kind, v)
	case rtaNewDst:
		r.NewDst = parseStack(v)
	case unix.RTA_OIF:
		r.Dev = ns.linkAt(int(u32(v)))
	case unix.RTA_PREFSRC:
		r.Src, _ = netip.AddrFromSlice(v)
	case unix.RTA_PRIORITY:
		r.Metric = int(u32(v))
	case unix.RTA_TABLE:
		r.Table = int(u32(v))
	case unix.RTA_FLOW:
		r.Realms = u32(v)
	case unix.RTA_METRICS:
		r.Metrics.parse(v)
	case rtaPref:
		for name, n := range prefs {
			if n == u8(v) {
				r.Pref = name
			}
		}
	case rtaTTLPropagate:
		propagate := u8(v) != 0
		r.TTLPropagate = &propagate
	case unix.RTA_CACHEINFO:
		// struct rta_cacheinfo: the third number is rta_expires, in USER_HZ.
		if len(v) >= 12 {
			r.Expires = time.Duration(int32(u32(v[8:]))) * userHZ
		}
	case rtaNHID:
		r.Nexthop = int(u32(v))
	case unix.RTA_MULTIPATH:
		r.Hops = ns.parseHops(v)
	}
}

// encapOf is what attributes of a route or of one next hop say of an
// encapsulation, or nil.
func encapOf(ns *Namespace, attrs []byte) *Encap {
	kind, data := 0, []byte(nil)
	for k, v := range attributes(attrs) {
		switch k {
		case rtaEncapType:
			kind = u16(v)
		case rtaEncap:
			data = v
		}
	}
	if kind == 0 {
		return nil
	}
	return ns.readEncap(kind, data)
}

func gateway(kind int, v []byte) netip.Addr {
	if kind == unix.RTA_VIA && len(v) > 2 {
		v = v[2:]
	}
	ip, _ := netip.AddrFromSlice(v)
	return ip
}

func (ns *Namespace) parseHops(b []byte) (hops []Hop) {
	eachHop(b, func(hop []byte) {
		h := Hop{Weight: int(hop[3]) + 1, Dev: ns.linkAt(int(u32(hop[4:]))), OnLink: hop[2]&unix.RTNH_F_ONLINK != 0, flags: uint32(hop[2])}
		for kind, v := range attributes(hop[unix.SizeofRtNexthop:]) {
			switch kind {
			case unix.RTA_GATEWAY, unix.RTA_VIA:
				h.Via = gateway(kind, v)
			case rtaNewDst:
				h.NewDst = parseStack(v)
			case unix.RTA_FLOW:
				h.Realms = u32(v)
			}
		}
		h.Encap = encapOf(ns, hop[unix.SizeofRtNexthop:])
		hops = append(hops, h)
	})
	return hops
}

// routeFlags are the RTNH_F_ and RTM_F_ remarks of the kernel, as `ip` prints them.
var routeFlags = []struct {
	bit  uint32
	name string
}{
	{unix.RTNH_F_DEAD, "dead"}, {unix.RTNH_F_ONLINK, "onlink"}, {unix.RTNH_F_PERVASIVE, "pervasive"}, {unix.RTNH_F_OFFLOAD, "offload"},
	{unix.RTNH_F_TRAP, "trap"}, {unix.RTNH_F_LINKDOWN, "linkdown"}, {unix.RTNH_F_UNRESOLVED, "unresolved"},
}

func remarksOf(flags uint32) (names []string) {
	for _, f := range routeFlags {
		if flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// Flags are remarks of the kernel on the route, like "linkdown".
func (r *Route) Flags() []string { return remarksOf(r.flags) }

// Flags are remarks of the kernel on the hop, like "linkdown".
func (h *Hop) Flags() []string { return remarksOf(h.flags) }

// shownRemarks are those that say how a route or a hop is, and not how it was made.
func shownRemarks(flags uint32) []string { return remarksOf(flags &^ unix.RTNH_F_ONLINK) }
