package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Hop is one next hop of a route.
type Hop struct {
	Via    netip.Addr
	Dev    *Link
	Weight int // 1 to 256; 0 counts as 1
	OnLink bool
}

// Route is a route to make, or one that was read (ip-route(8)).
type Route struct {
	NS      *Namespace
	Dst     netip.Prefix // zero bits of the family for the default route
	Via     netip.Addr
	Dev     *Link
	Src     netip.Addr // the preferred source
	Metric  int
	Table   int // 0 is the main table when a route is made
	Type    int // RTN_*; 0 is unicast
	Scope   int // RT_SCOPE_*, or -1 for `ip`'s choice
	Proto   int // RTPROT_*; 0 is boot, as `ip` has it
	MTU     int
	AdvMSS  int
	TOS     int    // IPv4: only packets with this type of service
	Locked  uint32 // a bit for each RTAX_ metric that path MTU discovery and its like must not change
	Hops    []Hop
	OnLink  bool
	Cloned  bool // from the cache of exceptions
	Nexthop int  // the nexthop object that stands for Via, Dev and Hops, or 0
}

// DstString is the destination as `ip` prints it: "default" for all.
func (r *Route) DstString() string {
	if r.Dst.Bits() == 0 {
		return "default"
	}
	if r.Dst.IsSingleIP() {
		return r.Dst.Addr().String()
	}
	return r.Dst.String()
}

// normalize fills in what `ip route add` does (iproute_modify of iproute2).
func (r *Route) normalize() {
	if r.Type == 0 {
		r.Type = unix.RTN_UNICAST
	}
	if r.Table == 0 {
		r.Table = unix.RT_TABLE_MAIN
		switch r.Type {
		case unix.RTN_LOCAL, unix.RTN_BROADCAST, unix.RTN_ANYCAST, unix.RTN_NAT:
			r.Table = unix.RT_TABLE_LOCAL
		}
	}
	if r.Proto == 0 {
		r.Proto = unix.RTPROT_BOOT
	}
	if r.Scope >= 0 {
		return
	}
	r.Scope = unix.RT_SCOPE_UNIVERSE
	if r.Dst.Addr().Is6() {
		return
	}
	switch r.Type {
	case unix.RTN_LOCAL, unix.RTN_NAT:
		r.Scope = unix.RT_SCOPE_HOST
	case unix.RTN_BROADCAST, unix.RTN_MULTICAST, unix.RTN_ANYCAST:
		r.Scope = unix.RT_SCOPE_LINK
	case unix.RTN_UNICAST:
		if !r.Via.IsValid() && len(r.Hops) == 0 && r.Nexthop == 0 {
			r.Scope = unix.RT_SCOPE_LINK
		}
	}
}

// message builds an RTM_NEWROUTE or RTM_DELROUTE.
func (r *Route) message(kind, flags int) *nl.NetlinkRequest {
	req := request(kind, flags)
	msg := &nl.RtMsg{}
	msg.Family = uint8(family(r.Dst.Addr()))
	msg.Dst_len, msg.Tos = uint8(r.Dst.Bits()), uint8(r.TOS)
	msg.Protocol, msg.Scope, msg.Type = uint8(r.Proto), uint8(r.Scope), uint8(r.Type)
	if kind == unix.RTM_DELROUTE {
		msg.Protocol = unix.RTPROT_UNSPEC
	}
	if r.OnLink {
		msg.Flags = unix.RTNH_F_ONLINK
	}
	req.AddData(msg)
	add := func(kind int, data []byte) { req.AddData(nl.NewRtAttr(kind, data)) }
	if r.Table < 256 {
		msg.Table = uint8(r.Table)
	} else {
		add(unix.RTA_TABLE, nl.Uint32Attr(uint32(r.Table)))
	}
	if r.Dst.Bits() > 0 {
		add(unix.RTA_DST, r.Dst.Masked().Addr().AsSlice())
	}
	switch {
	case r.Nexthop != 0:
		add(rtaNHID, nl.Uint32Attr(uint32(r.Nexthop)))
	case len(r.Hops) > 0:
		add(unix.RTA_MULTIPATH, r.multipath())
	}
	if r.Via.IsValid() && r.Nexthop == 0 {
		req.AddData(viaAttr(r.Via, r.Dst.Addr()))
	}
	if r.Dev != nil && r.Nexthop == 0 {
		add(unix.RTA_OIF, nl.Uint32Attr(uint32(r.Dev.index)))
	}
	if r.Src.IsValid() {
		add(unix.RTA_PREFSRC, r.Src.AsSlice())
	}
	if r.Metric != 0 {
		add(unix.RTA_PRIORITY, nl.Uint32Attr(uint32(r.Metric)))
	}
	if r.MTU != 0 || r.AdvMSS != 0 || r.Locked != 0 {
		metrics := nl.NewRtAttr(unix.RTA_METRICS, nil)
		if r.Locked != 0 {
			metrics.AddRtAttr(unix.RTAX_LOCK, nl.Uint32Attr(r.Locked))
		}
		if r.MTU != 0 {
			metrics.AddRtAttr(unix.RTAX_MTU, nl.Uint32Attr(uint32(r.MTU)))
		}
		if r.AdvMSS != 0 {
			metrics.AddRtAttr(unix.RTAX_ADVMSS, nl.Uint32Attr(uint32(r.AdvMSS)))
		}
		req.AddData(metrics)
	}
	return req
}

// viaAttr is a gateway; one of the other family needs RTA_VIA (RFC 8950).
func viaAttr(via, dst netip.Addr) *nl.RtAttr {
	if via.Is4() == dst.Is4() {
		return nl.NewRtAttr(unix.RTA_GATEWAY, via.AsSlice())
	}
	data := append(nl.Uint16Attr(uint16(family(via))), via.AsSlice()...)
	return nl.NewRtAttr(unix.RTA_VIA, data)
}

// multipath lists struct rtnexthop, each with its gateway.
func (r *Route) multipath() []byte {
	var b []byte
	for _, h := range r.Hops {
		var attrs []byte
		if h.Via.IsValid() {
			attrs = viaAttr(h.Via, r.Dst.Addr()).Serialize()
		}
		var flags, index, weight int
		if h.OnLink {
			flags = unix.RTNH_F_ONLINK
		}
		if h.Dev != nil {
			index = h.Dev.index
		}
		if h.Weight > 1 {
			weight = h.Weight - 1
		}
		b = append(b, nl.Uint16Attr(uint16(unix.SizeofRtNexthop+len(attrs)))...)
		b = append(b, byte(flags), byte(weight))
		b = append(b, nl.Uint32Attr(uint32(index))...)
		b = append(b, attrs...)
	}
	return b
}

// args are the arguments of `ip route add`.
func (r *Route) args() []event.Arg {
	args := []event.Arg{arg("dst", r.DstString())}
	add := func(key, value string) { args = append(args, arg(key, value)) }
	if r.Dst.Addr().Is6() {
		add("family", "inet6")
	}
	if r.Type != unix.RTN_UNICAST {
		add("type", r.TypeName())
	}
	if r.TOS != 0 {
		add("tos", fmt.Sprintf("%#02x", r.TOS))
	}
	if r.Nexthop != 0 {
		add("nhid", strconv.Itoa(r.Nexthop))
	}
	if r.Via.IsValid() && r.Nexthop == 0 {
		add("via", viaWords(r.Via, r.Dst.Addr()))
	}
	if r.Dev != nil && r.Nexthop == 0 {
		add("dev", r.Dev.name)
	}
	if r.Src.IsValid() {
		add("src", r.Src.String())
	}
	if r.Metric != 0 {
		add("metric", strconv.Itoa(r.Metric))
	}
	if r.Table != unix.RT_TABLE_MAIN {
		add("table", TableName(r.Table))
	}
	if r.Proto != unix.RTPROT_BOOT {
		add("proto", r.ProtoName())
	}
	if r.Dst.Addr().Is4() {
		add("scope", ScopeName(r.Scope))
	}
	if r.MTU != 0 {
		add("mtu", r.metricWords(unix.RTAX_MTU, r.MTU))
	}
	if r.AdvMSS != 0 {
		add("advmss", r.metricWords(unix.RTAX_ADVMSS, r.AdvMSS))
	}
	if r.OnLink {
		add("onlink", "")
	}
	for _, h := range r.Hops {
		if r.Nexthop == 0 {
			add("nexthop", h.words(r.Dst.Addr()))
		}
	}
	return args
}

// String is the route as `ip route` prints it.
func (r *Route) String() string {
	var w []string
	if r.Type != unix.RTN_UNICAST && r.Type != 0 {
		w = append(w, r.TypeName())
	}
	w = append(w, r.DstString())
	if r.TOS != 0 {
		w = append(w, "tos", fmt.Sprintf("%#02x", r.TOS))
	}
	if r.Nexthop != 0 {
		w = append(w, "nhid", strconv.Itoa(r.Nexthop))
	}
	if r.Via.IsValid() {
		w = append(w, "via", viaWords(r.Via, r.Dst.Addr()))
	}
	if r.Dev != nil {
		w = append(w, "dev", r.Dev.name)
	}
	if r.Table != unix.RT_TABLE_MAIN && r.Table != 0 {
		w = append(w, "table", TableName(r.Table))
	}
	if r.Proto != unix.RTPROT_BOOT {
		w = append(w, "proto", r.ProtoName())
	}
	if r.Scope > unix.RT_SCOPE_UNIVERSE && r.Dst.Addr().Is4() {
		w = append(w, "scope", ScopeName(r.Scope))
	}
	if r.Src.IsValid() {
		w = append(w, "src", r.Src.String())
	}
	if r.Metric != 0 {
		w = append(w, "metric", strconv.Itoa(r.Metric))
	}
	if r.MTU != 0 {
		w = append(w, "mtu", r.metricWords(unix.RTAX_MTU, r.MTU))
	}
	if r.OnLink {
		w = append(w, "onlink")
	}
	for _, h := range r.Hops {
		w = append(w, "nexthop", h.words(r.Dst.Addr()))
	}
	return strings.Join(w, " ")
}

// AddRoute makes a route, as `ip route add` (or replace) does.
func (ns *Namespace) AddRoute(ctx context.Context, r Route, replace bool) (*Route, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if err := r.checkLinks(ns); err != nil {
		return nil, err
	}
	r.NS = ns
	r.normalize()
	flags, op := unix.NLM_F_CREATE|unix.NLM_F_EXCL, "route add"
	if replace {
		flags, op = unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "route replace"
	}
	var before keptRoutes
	if replace {
		before = r.keepRoutes()
	}
	start := time.Now()
	body, err := ns.conn.echo(r.message(unix.RTM_NEWROUTE, flags))
	if ns.lab.watched() {
		ns.lab.emit(ctx, op, ns, start, err, r.args()...)
	}
	if err != nil {
		return nil, kernelError(err, r.hint(err), "add route %s%s", &r, where(ns))
	}
	made := r.made(body)
	if replace {
		ns.lab.onUndo(before.restore)
	} else {
		ns.lab.onUndo(made.Delete)
	}
	ns.lab.claim(made.key())
	return made, nil
}

// made is the route as the kernel tells it. It tells nothing when the route was
// there already and took its own place.
func (r *Route) made(body []byte) *Route {
	if read, ok := r.NS.parseRoute(body); ok {
		return read
	}
	routes, _ := r.NS.Routes(RouteFilter{Table: r.Table, Family: family(r.Dst.Addr())})
	for _, there := range routes {
		if there.key() == r.key() {
			return there
		}
	}
	return r
}

func (r *Route) checkLinks(ns *Namespace) error {
	devs := []*Link{r.Dev}
	for _, h := range r.Hops {
		devs = append(devs, h.Dev)
	}
	for _, k := range devs {
		if k == nil {
			continue
		}
		if err := k.check(); err != nil {
			return err
		}
		if k.ns != ns {
			return Usage("", "dev %s is not in %s", k, ns)
		}
	}
	return nil
}

func (r *Route) hint(err error) string {
	switch {
	case errors.Is(err, unix.EEXIST):
		return "there is such a route: replace=True replaces it, another metric= adds a second"
	case errors.Is(err, unix.ENETUNREACH):
		return "the gateway is in no subnet of a link that is up: give the link an address there, set it up(), or use onlink=True with dev="
	case errors.Is(err, unix.ENETDOWN):
		return "the link is down: up(link) first"
	case errors.Is(err, unix.EINVAL) && r.Src.IsValid():
		return "src= has to be an address of this namespace"
	}
	return ""
}

// Delete takes the route away.
func (r *Route) Delete(ctx context.Context) error {
	if err := r.NS.check(); err != nil {
		return err
	}
	if err := r.NS.lab.mayDelete(r.key(), r); err != nil {
		return err
	}
	before := r.keepRoutes()
	start := time.Now()
	err := r.NS.conn.do(r.message(unix.RTM_DELROUTE, 0))
	if r.NS.lab.watched() {
		r.NS.lab.emit(ctx, "route delete", r.NS, start, err, r.args()...)
	}
	if err != nil {
		return kernelError(err, "", "delete route %s%s", r, where(r.NS))
	}
	r.NS.lab.onUndo(before.restore)
	return nil
}

// parseRoute reads the body of an RTM_NEWROUTE message.
func (ns *Namespace) parseRoute(body []byte) (*Route, bool) {
	if len(body) < unix.SizeofRtMsg {
		return nil, false
	}
	m := nl.DeserializeRtMsg(body)
	if m.Family != unix.AF_INET && m.Family != unix.AF_INET6 {
		return nil, false
	}
	r := &Route{NS: ns, Table: int(m.Table), Type: int(m.Type), Scope: int(m.Scope), Proto: int(m.Protocol), TOS: int(m.Tos),
		OnLink: m.Flags&unix.RTNH_F_ONLINK != 0, Cloned: m.Flags&unix.RTM_F_CLONED != 0}
	any := netip.IPv4Unspecified()
	if m.Family == unix.AF_INET6 {
		any = netip.IPv6Unspecified()
	}
	r.Dst = netip.PrefixFrom(any, int(m.Dst_len))
	for kind, v := range attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_DST:
			if ip, ok := netip.AddrFromSlice(v); ok {
				r.Dst = netip.PrefixFrom(ip, int(m.Dst_len))
			}
		case unix.RTA_GATEWAY, unix.RTA_VIA:
			r.Via = gateway(kind, v)
		case unix.RTA_OIF:
			r.Dev = ns.linkAt(int(u32(v)))
		case unix.RTA_PREFSRC:
			r.Src, _ = netip.AddrFromSlice(v)
		case unix.RTA_PRIORITY:
			r.Metric = int(u32(v))
		case unix.RTA_TABLE:
			r.Table = int(u32(v))
		case unix.RTA_METRICS:
			for kind, v := range attributes(v) {
				switch kind {
				case unix.RTAX_LOCK:
					r.Locked = u32(v)
				case unix.RTAX_MTU:
					r.MTU = int(u32(v))
				case unix.RTAX_ADVMSS:
					r.AdvMSS = int(u32(v))
				}
			}
		case rtaNHID:
			r.Nexthop = int(u32(v))
		case unix.RTA_MULTIPATH:
			r.Hops = ns.parseHops(v)
		}
	}
	return r, true
}

func gateway(kind int, v []byte) netip.Addr {
	if kind == unix.RTA_VIA && len(v) > 2 {
		v = v[2:]
	}
	ip, _ := netip.AddrFromSlice(v)
	return ip
}

func (ns *Namespace) parseHops(b []byte) []Hop {
	var hops []Hop
	for len(b) >= unix.SizeofRtNexthop {
		length := u16(b)
		if length < unix.SizeofRtNexthop || length > len(b) {
			break
		}
		h := Hop{Weight: int(b[3]) + 1, Dev: ns.linkAt(int(u32(b[4:]))), OnLink: b[2]&unix.RTNH_F_ONLINK != 0}
		for kind, v := range attributes(b[unix.SizeofRtNexthop:length]) {
			if kind == unix.RTA_GATEWAY || kind == unix.RTA_VIA {
				h.Via = gateway(kind, v)
			}
		}
		hops = append(hops, h)
		b = b[min(align4(length), len(b)):]
	}
	return hops
}

// RouteFilter chooses routes. The zero filter is what `ip route` and
// `ip -6 route` show together with the tables that scripts made: all but the
// local table and the cache.
type RouteFilter struct {
	Table  int // 0 for all but local
	Family int // AF_INET, AF_INET6 or 0
	Type   int // RTN_*, or 0 for all
	Cache  bool
}

// Routes lists routes.
func (ns *Namespace) Routes(f RouteFilter) ([]*Route, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []*Route
	for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
		if f.Family != 0 && f.Family != fam {
			continue
		}
		bodies, err := ns.dumpRoutes(fam, f.Cache)
		if err != nil {
			return nil, kernelError(err, "", "list routes%s", where(ns))
		}
		for _, body := range bodies {
			if r, ok := ns.parseRoute(body); ok && f.matches(r) {
				all = append(all, r)
			}
		}
	}
	return all, nil
}

// dumpRoutes copies the messages, since reading a route may ask for its link.
func (ns *Namespace) dumpRoutes(family int, cache bool) ([][]byte, error) {
	var bodies [][]byte
	err := ns.conn.dump(func() *nl.NetlinkRequest {
		r := request(unix.RTM_GETROUTE, 0)
		msg := &nl.RtMsg{}
		msg.Family = uint8(family)
		if cache {
			msg.Flags = unix.RTM_F_CLONED
		}
		r.AddData(msg)
		return r
	}, func() { bodies = nil }, func(body []byte) error {
		bodies = append(bodies, append([]byte(nil), body...))
		return nil
	})
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EAFNOSUPPORT) {
		return nil, nil // a kernel without IPv6
	}
	return bodies, err
}

func (f RouteFilter) matches(r *Route) bool {
	switch {
	case r.Cloned != f.Cache, f.Type != 0 && r.Type != f.Type:
		return false
	case f.Table != 0:
		return r.Table == f.Table
	}
	return r.Table != unix.RT_TABLE_LOCAL
}

// RouteQuery asks which route a packet would take (`ip route get`).
type RouteQuery struct {
	Dst, Src     netip.Addr
	Dev, IIF     *Link
	Mark, TOS    int
	UID          int // -1 for the caller's
	Proto        int // IPPROTO_*, or 0
	SPort, DPort int
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
	msg.Flags = unix.RTM_F_LOOKUP_TABLE
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
		return nil, kernelError(err, refusedBy(err), "route to %s%s", q.Dst, where(ns))
	}
	found, ok := ns.parseRoute(body)
	if !ok {
		return nil, kernelError(unix.EBADMSG, "", "route to %s%s", q.Dst, where(ns))
	}
	return found, nil
}
