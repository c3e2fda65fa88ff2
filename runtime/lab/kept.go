package lab

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// kept is what belongs to a link at one moment: its addresses, neighbours and
// forwarding entries, and the routes over it. The kernel takes them away when the
// link goes down, moves, or gets another MAC address or a small MTU, and does not
// bring them back.
type kept struct {
	link      *Link
	index     int // the kernel may choose another when the link comes back
	at        time.Time
	addrs     []keptAddr
	nexthops  []rawNexthop
	routes    []rawRoute
	neighbors []rawNeighbor
}

// isForeign tells whether what the link loses is to be brought back: it is the
// machine's. One that this run has made is deleted in the end.
func (k *Link) isForeign() bool { return k.ns.lab.options.Host && !k.made }

// keep remembers what a change to the machine's link may lose.
func (k *Link) keep() (c kept) {
	if !k.isForeign() {
		return c
	}
	return k.keepAlways()
}

// keepAlways is keep in a private lab too.
func (k *Link) keepAlways() kept { return k.ns.belongings().of(k, false) }

// belongings are the tables of a namespace at one moment.
type belongings struct {
	at        time.Time
	addrs     []keptAddr
	nexthops  []rawNexthop
	routes    []rawRoute
	neighbors []rawNeighbor
}

// belongings reads the tables; what cannot be read cannot be restored either.
func (ns *Namespace) belongings() belongings {
	b := belongings{at: time.Now()}
	b.addrs, _ = ns.keptAddrs()
	b.nexthops, _ = ns.rawNexthops()
	b.routes, _ = ns.rawRoutes()
	b.neighbors, _ = ns.rawNeighbors()
	return b
}

// of is what belongs to one link; with all, also the addresses that the kernel
// makes by itself. A route whose source is an address of the link ends with that.
func (b belongings) of(k *Link, all bool) kept {
	c := kept{link: k, index: k.index, at: b.at, nexthops: nexthopsOf(b.nexthops, k.index)}
	own := map[netip.Addr]bool{}
	for _, a := range b.addrs {
		if a.index != k.index {
			continue
		}
		own[a.IP] = true
		if all || !a.byKernel && a.IP != k.ownAddress() {
			c.addrs = append(c.addrs, a)
		}
	}
	for _, r := range b.routes {
		if r.over(k) || own[r.Src] {
			c.routes = append(c.routes, r)
		}
	}
	for _, n := range b.neighbors {
		if n.index == k.index {
			c.neighbors = append(c.neighbors, n)
		}
	}
	return c
}

// ownAddress is the IPv6 address that the kernel makes of the link's MAC (RFC
// 4291, appendix A).
func (k *Link) ownAddress() netip.Addr {
	if k.mac == nil {
		_, _ = k.Info()
	}
	m := k.mac
	if len(m) != 6 {
		return netip.Addr{}
	}
	return netip.AddrFrom16([16]byte{0xfe, 0x80, 8: m[0] ^ 2, m[1], m[2], 0xff, 0xfe, m[3], m[4], m[5]})
}

func (r *Route) over(k *Link) bool {
	return r.Dev == k || slices.ContainsFunc(r.Hops, func(h Hop) bool { return h.Dev == k })
}

// restore brings back what is missing.
func (c kept) restore(ctx context.Context) error {
	if c.link == nil {
		return nil
	}
	return errors.Join(c.restoreAddrs(ctx), c.restoreNexthops(ctx), c.restoreRoutes(ctx), c.link.putNeighbors(ctx, c.neighbors))
}

// restoreAddrs keeps their order, which decides what is secondary and what is
// the source of packets: of IPv4 the kernel appends, of IPv6 it prepends.
func (c kept) restoreAddrs(ctx context.Context) error {
	now, err := c.link.ns.keptAddrs()
	if err != nil {
		return err
	}
	there := map[addrID]bool{}
	for _, a := range now {
		there[a.id(a.index)] = true
	}
	v4 := slices.IndexFunc(c.addrs, func(a keptAddr) bool { return a.IP.Is6() })
	if v4 < 0 {
		v4 = len(c.addrs)
	}
	v6 := slices.Clone(c.addrs[v4:])
	slices.Reverse(v6)
	var failed []error
	late := false
	for _, a := range append(slices.Clone(c.addrs[:v4]), v6...) {
		id := a.id(c.link.index)
		if there[id] && a.IP.Is4() && late {
			failed = append(failed, c.link.take(a))
			there[id] = false
		}
		if !there[id] {
			late = true
			failed = append(failed, c.link.putAddr(ctx, a, time.Since(c.at)))
		}
	}
	return errors.Join(failed...)
}

// putAddr makes an address again.
func (k *Link) putAddr(ctx context.Context, a keptAddr, passed time.Duration) error {
	body := a.aged(passed)
	if body == nil {
		return nil
	}
	putU32(body[4:], uint32(k.index))
	start := time.Now()
	err := k.ns.replay(unix.RTM_NEWADDR, unix.NLM_F_EXCL, body)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	spec := a.spec()
	k.ns.lab.emit(ctx, "addr add", k.ns, start, err, spec.args(k.name)...)
	if err != nil {
		return k.failed(err, "", "restore address %s of %s", spec, k)
	}
	return nil
}

// take removes an address that is to come after others.
func (k *Link) take(a keptAddr) error {
	spec := a.spec()
	if err := k.ns.conn.do(newAddr(unix.RTM_DELADDR, 0, k.index, spec)); err != nil && !isGone(err) {
		return k.failed(err, "", "restore address %s of %s", spec, k)
	}
	return nil
}

// spec is the address as it can be asked for.
func (a *Address) spec() AddrSpec {
	s := AddrSpec{Prefix: a.Prefix(), Broadcast: a.Broadcast, Label: a.Label, Scope: a.Scope,
		NoDAD: slices.Contains(a.Flags, "nodad"), Metric: a.Metric, Proto: a.Proto}
	for name, bit := range AddrFlags {
		if slices.Contains(a.Flags, name) {
			s.Flags |= bit
		}
	}
	if a.Peer.IsValid() && a.Peer != a.IP {
		s.Peer = netip.PrefixFrom(a.Peer, a.PrefixLen)
	}
	return s
}

func (c kept) restoreNexthops(ctx context.Context) error {
	put := func(context.Context) error { return c.link.putNexthops(c.nexthops) }
	return orLate(ctx, put(ctx), put)
}

func (c kept) restoreRoutes(ctx context.Context) error {
	routes := slices.Clone(c.routes)
	for i := range routes {
		if c.index != c.link.index {
			routes[i].renumber(c.index, c.link.index)
		}
	}
	put := func(ctx context.Context) error { return c.link.ns.putRoutes(ctx, routes, c.at) }
	return orLate(ctx, put(ctx), put)
}

// putRoutes makes again what is missing of routes. A route may need another one
// to its gateway, so it goes round as long as that helps.
func (ns *Namespace) putRoutes(ctx context.Context, routes []rawRoute, at time.Time) error {
	now, err := ns.rawRoutes()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, r := range now {
		there[string(r.body)] = true
	}
	var missing []rawRoute
	for _, r := range routes {
		if !there[string(r.body)] {
			missing = append(missing, r)
		}
	}
	var failed []error
	for before := len(missing) + 1; len(missing) < before; {
		before, failed = len(missing), nil
		missing = slices.DeleteFunc(missing, func(r rawRoute) bool {
			err := ns.putRoute(ctx, r, time.Since(at))
			if err != nil {
				failed = append(failed, err)
			}
			return err == nil
		})
	}
	return errors.Join(failed...)
}

func (ns *Namespace) putRoute(ctx context.Context, r rawRoute, passed time.Duration) error {
	start := time.Now()
	err := r.put(passed)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	if err != nil {
		return kernelError(err, "", "restore route %s%s", r.Route, where(ns))
	}
	ns.lab.emit(ctx, "route add", ns, start, nil, r.args()...)
	return nil
}

// putNeighbors makes again what is missing of a link's entries.
func (k *Link) putNeighbors(ctx context.Context, entries []rawNeighbor) error {
	now, err := k.ns.rawNeighbors()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, n := range now {
		there[string(n.body)] = true
	}
	var failed []error
	for _, n := range entries {
		n.renumber(k.index)
		if !there[string(n.body)] {
			failed = append(failed, k.putNeighbor(ctx, n))
		}
	}
	return errors.Join(failed...)
}

func (k *Link) putNeighbor(ctx context.Context, n rawNeighbor) error {
	start := time.Now()
	err := n.put(k.ns)
	if errors.Is(err, unix.EEXIST) {
		return nil
	}
	what := "forwarding entry"
	if shown, _, _ := parseNeighbor(n.body); shown != nil {
		shown.Dev = k
		what = "neighbour " + shown.String()
		k.ns.lab.emit(ctx, "neigh replace", k.ns, start, err, shown.args()...)
	}
	if err != nil {
		return k.failed(err, "", "restore %s of %s", what, k)
	}
	return nil
}

// keptRoutes are the routes that there were for one destination, table, metric
// and type of service: of these a new one may take the place.
type keptRoutes struct {
	ns     *Namespace
	key    string
	at     time.Time
	routes []rawRoute
}

// keepRoutes reads those that r may replace.
func (r *Route) keepRoutes() (c keptRoutes) {
	if !r.NS.lab.options.Host {
		return c
	}
	c = keptRoutes{ns: r.NS, key: r.key(), at: time.Now()}
	c.routes, _ = c.now()
	return c
}

func (c keptRoutes) now() ([]rawRoute, error) {
	routes, err := c.ns.rawRoutes()
	return slices.DeleteFunc(routes, func(r rawRoute) bool { return r.key() != c.key }), err
}

// restore makes the routes what they were, and in the same order: the first is
// the one that is used.
func (c keptRoutes) restore(ctx context.Context) error {
	now, err := c.now()
	if err != nil || slices.EqualFunc(now, c.routes, func(a, b rawRoute) bool { return string(a.body) == string(b.body) }) {
		return err
	}
	var failed []error
	for _, r := range now {
		failed = append(failed, r.remove(ctx))
	}
	put := func(ctx context.Context) error { return c.ns.putRoutes(ctx, c.routes, c.at) }
	return errors.Join(append(failed, orLate(ctx, put(ctx), put))...)
}

// keepNeighbor reads the entry that n may replace; none is possible.
func (n *Neighbor) keepNeighbor() (found []rawNeighbor) {
	if !n.Dev.ns.lab.options.Host {
		return nil
	}
	all, _ := n.Dev.ns.rawNeighbors()
	for _, r := range all {
		shown, index, _ := parseNeighbor(r.body)
		if shown != nil && index == n.Dev.index && shown.IP == n.IP && shown.Proxy == n.Proxy {
			found = append(found, r)
		}
	}
	return found
}
