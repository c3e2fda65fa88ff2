package lab

import (
	"context"
	"errors"
	"net/netip"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/feature"
)

// Hop is one next hop of a route.
type Hop struct {
	Via    netip.Addr
	Dev    *Link
	Weight int // 1 to 256; 0 counts as 1
	OnLink bool
	Encap  *Encap
	NewDst Labels // of an MPLS route: the labels instead
	Realms uint32

	flags uint32 // RTNH_F_*
}

// Route is a route to make, or one that was read (ip-route(8)).
type Route struct {
	NS           *Namespace
	Dst          netip.Prefix // zero bits of the family for the default route
	Label        Labels       // of an MPLS route instead: one label
	NewDst       Labels       // the labels that go in its place; none to pop it
	Via          netip.Addr
	Dev          *Link
	Src          netip.Addr   // the preferred source
	From         netip.Prefix // IPv6: only packets from there (CONFIG_IPV6_SUBTREES)
	Encap        *Encap
	Metric       int // the least wins
	Table        int // 0 is the main table when a route is made
	Type         int // RTN_*; 0 is unicast
	Scope        int // RT_SCOPE_*, or -1 for `ip`'s choice
	Proto        int // RTPROT_*; 0 is boot, as `ip` has it
	TOS          int // IPv4: only packets with this type of service
	Hops         []Hop
	OnLink       bool
	Metrics      PathMetrics
	Realms       uint32        // IPv4: of the source in the upper half, of the destination in the lower
	Pref         string        // IPv6: "low", "medium" or "high" (RFC 4191)
	TTLPropagate *bool         // MPLS: nil for the sysctl's choice
	Expires      time.Duration // IPv6 and the cache: when the route ends; 0 for never
	Nexthop      int           // the nexthop object that stands for Via, Dev and Hops, or 0

	Cloned     bool // from the cache of exceptions
	Redirected bool // and there because of a redirect

	flags uint32
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
	if r.family() != unix.AF_INET {
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

// routeWays are what says to the kernel how to make a route, by [Make].
var routeWays = map[Make]struct {
	flags int
	op    string
}{
	Add:     {unix.NLM_F_CREATE | unix.NLM_F_EXCL, "route add"},
	Exist:   {unix.NLM_F_CREATE | unix.NLM_F_EXCL, "route add"},
	Replace: {unix.NLM_F_CREATE | unix.NLM_F_REPLACE, "route replace"},
	Change:  {unix.NLM_F_REPLACE, "route change"},
	Append:  {unix.NLM_F_CREATE | unix.NLM_F_APPEND, "route append"},
	Prepend: {unix.NLM_F_CREATE, "route prepend"},
}

// AddRoute makes a route, as `ip route add`, replace, change, append or prepend
// does.
func (ns *Namespace) AddRoute(ctx context.Context, r Route, how Make) (*Route, error) {
	defer r.closeEncaps()
	if err := ns.check(); err != nil {
		return nil, err
	}
	if err := r.check(ns); err != nil {
		return nil, err
	}
	r.NS = ns
	r.normalize()
	if how == Exist {
		if there, err := r.there(); err != nil || there != nil {
			return there, err
		}
	}
	way := routeWays[how]
	var before keptRoutes
	if way.flags&unix.NLM_F_EXCL == 0 {
		before = r.keepRoutes()
	}
	start := time.Now()
	body, err := ns.conn.echo(r.message(unix.RTM_NEWROUTE, way.flags))
	if r.Label != nil && errors.Is(err, unix.EOPNOTSUPP) && ns.loadMPLS() {
		body, err = ns.conn.echo(r.message(unix.RTM_NEWROUTE, way.flags))
	}
	if ns.lab.watched() {
		ns.lab.emit(ctx, way.op, ns, start, err, r.args()...)
	}
	if err != nil {
		return nil, r.refused(err)
	}
	made := r.made(body)
	if way.flags&unix.NLM_F_EXCL == 0 {
		ns.lab.onUndo(before.restore)
	} else {
		ns.lab.onUndo(made.Delete)
	}
	ns.lab.claim(made.key())
	return made, r.forgotten(ctx, made)
}

// there is the route of the same key when it has the properties asked for.
func (r *Route) there() (*Route, error) {
	asked := *r
	asked.Expires = 0 // what is there has some of it left
	routes, err := r.NS.Routes(RouteFilter{Table: r.Table, Family: r.family()})
	var other error
	for _, there := range routes {
		if there.key() != r.key() {
			continue
		}
		if err := differs(there, asked.args(), there.args()); err == nil {
			return there, nil
		} else if other == nil {
			other = err
		}
	}
	return nil, errors.Join(err, other)
}

// forgotten takes a route away of which the kernel has dropped what it cannot do.
func (r *Route) forgotten(ctx context.Context, made *Route) error {
	if r.Realms == made.Realms || r.Realms == 0 {
		return nil
	}
	_ = made.Delete(ctx)
	return lacks(unix.EOPNOTSUPP, feature.Find(feature.Routing, "realms of routes"))
}

func (r *Route) closeEncaps() {
	r.Encap.close()
	for _, h := range r.Hops {
		h.Encap.close()
	}
}

// refused is the error of a route that the kernel did not accept.
func (r *Route) refused(err error) error {
	for _, h := range append([]Hop{{Encap: r.Encap}}, r.Hops...) {
		if missing := h.Encap.missing(err); missing != nil {
			return missing
		}
	}
	if r.Label != nil && errors.Is(err, unix.EOPNOTSUPP) {
		if e := missing(err, feature.Routing, "MPLS"); e != nil {
			return e
		}
	}
	if r.From.Bits() > 0 && errors.Is(err, unix.EINVAL) {
		if e := missing(err, feature.Routing, "routes of IPv6 by source"); e != nil {
			return e
		}
	}
	return kernelError(err, r.hint(err), "add route %s%s", r, where(r.NS))
}

// loadMPLS makes the kernel load its module, which it does by itself for routes
// with encap mpls and not for those of labels.
func (ns *Namespace) loadMPLS() bool {
	e := &Encap{kind: &encapKind{number: 1}}
	probe := request(unix.RTM_NEWROUTE, unix.NLM_F_CREATE)
	probe.AddData(&nl.RtMsg{RtMsg: unix.RtMsg{Family: unix.AF_INET, Table: unix.RT_TABLE_MAIN, Type: unix.RTN_UNICAST}})
	probe.AddRawData(e.attributes(rtaEncapType, rtaEncap))
	err := ns.conn.do(probe)
	return err != nil && !errors.Is(err, unix.EOPNOTSUPP)
}

// made is the route as the kernel tells it. It tells nothing when the route was
// there already and took its own place.
func (r *Route) made(body []byte) *Route {
	if read, ok := r.NS.parseRoute(body); ok {
		return read
	}
	routes, _ := r.NS.Routes(RouteFilter{Table: r.Table, Family: r.family()})
	for _, there := range routes {
		if there.key() == r.key() {
			return there
		}
	}
	return r
}

// check refuses what the kernel would ignore or refuse without saying which.
func (r *Route) check(ns *Namespace) error {
	six, four := r.family() == unix.AF_INET6, r.family() == unix.AF_INET
	switch {
	case r.Pref != "" && !six:
		return Usage("", "route to %s: pref= is of IPv6", r.DstString())
	case r.Expires != 0 && !six:
		return Usage("", "route to %s: expires= is of IPv6", r.DstString())
	case r.From.IsValid() && (!six || !r.From.Addr().Is6()):
		return Usage("a rule() chooses by source, too", "route to %s: src_prefix= is of IPv6", r.DstString())
	case r.TOS != 0 && !four:
		return Usage("", "route to %s: tos= is of IPv4", r.DstString())
	case r.Realms != 0 && !four:
		return Usage("", "route to %s: realms= is of IPv4", r.DstString())
	case r.Scope > 0 && !four:
		return Usage("", "route to %s: scope= is of IPv4", r.DstString())
	case r.Src.IsValid() && family(r.Src) != r.family():
		return Usage("", "route to %s: src= %s is of another family", r.DstString(), r.Src)
	case r.refuses() && (r.Via.IsValid() || len(r.Hops) > 0 || r.Encap != nil || r.Nexthop != 0):
		return Usage("", "route to %s: packets for a route of type %s go nowhere: it has no via=, hops=, nhid= or encap=", r.DstString(), r.TypeName())
	case r.Label != nil && (r.Metrics != PathMetrics{} || r.Metric != 0 || r.Src.IsValid()):
		return Usage("", "route for label %s: metric=, src= and what is said of the path are of IP", r.DstString())
	case r.TOS&3 != 0:
		return Usage("a good one is tos=0x10", "route to %s: tos=%#x: the lowest two bits are ECN's", r.DstString(), r.TOS)
	case (r.NewDst != nil || r.TTLPropagate != nil) && r.Label == nil:
		return Usage("route(ns, 100, as_to=200, via=\"10.0.0.2\")", "route to %s: as_to= and ttl_propagate= are of MPLS routes", r.DstString())
	}
	if err := r.Metrics.check(); err != nil {
		return err
	}
	return r.checkLinks(ns)
}

// refuses tells whether packets that meet the route go no further.
func (r *Route) refuses() bool {
	switch r.Type {
	case unix.RTN_BLACKHOLE, unix.RTN_UNREACHABLE, unix.RTN_PROHIBIT, unix.RTN_THROW:
		return true
	}
	return false
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
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return "the gateway is in no subnet of a link that is up: give the link an address there, set it up(), or use onlink=True with dev="
	case errors.Is(err, unix.ENETDOWN):
		return "the link is down: up(link) first"
	case errors.Is(err, unix.ENOENT):
		return "change=True needs one that is there: replace=True makes one where there is none"
	case errors.Is(err, unix.EINVAL) && r.Label != nil:
		return "sysctl net.mpls.platform_labels says how many labels there are, from 16; sysctl net.mpls.conf.LINK.input lets them in"
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
		r.NS.lab.emit(ctx, "route delete", r.NS, start, err, r.goneArgs()...)
	}
	if err != nil {
		return kernelError(err, "", "delete route %s%s", r, where(r.NS))
	}
	r.NS.lab.onUndo(before.restore)
	return nil
}

// RouteFilter chooses routes. The zero filter is what `ip route` and
// `ip -6 route` show together with the tables that scripts made: all but the
// local table and the cache.
type RouteFilter struct {
	Table  int // 0 for all but local
	Family int // AF_INET, AF_INET6, AF_MPLS, or 0 for the first two
	Type   int // RTN_*, or 0 for all
	Cache  bool
}

// Routes lists routes.
func (ns *Namespace) Routes(f RouteFilter) ([]*Route, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []*Route
	families := []int{f.Family}
	if f.Family == 0 {
		families = []int{unix.AF_INET, unix.AF_INET6}
	}
	for _, fam := range families {
		bodies, err := ns.dumpRoutes(fam, f.Cache)
		if err != nil {
			return nil, kernelError(err, "", "list routes%s", where(ns))
		}
		for _, body := range bodies {
			if r, ok := ns.parseRoute(body); ok && r.family() == fam && f.matches(r) {
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
