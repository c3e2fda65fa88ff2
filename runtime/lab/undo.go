package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// undo takes one change back.
type undo func(ctx context.Context) error

// onUndo remembers how to take back a change to the machine. A private lab
// remembers nothing: it ends with its process.
func (l *Lab) onUndo(u undo) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undos = append(l.undos, u)
}

// cannotUndo remembers a change to the machine that nothing can take back.
func (l *Lab) cannotUndo(what string) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lasting = append(l.lasting, what)
}

// Undo takes back, in reverse order, what this lab changed on the machine. It
// returns what cannot be taken back, in words, and the joined errors of what
// could not. What is gone already needs no undoing.
func (l *Lab) Undo(ctx context.Context) (lasting []string, err error) {
	l.mu.Lock()
	undos := l.undos
	lasting = l.lasting
	l.undos, l.lasting = nil, nil
	l.mu.Unlock()
	var failed []error
	for _, u := range slices.Backward(undos) {
		if err := u(ctx); err != nil && !isGone(err) {
			failed = append(failed, err)
		}
	}
	l.mu.Lock()
	l.undos = nil // undoing is not to be undone
	l.mu.Unlock()
	return lasting, errors.Join(failed...)
}

// claim remembers that this run made an object, so that it may delete it.
func (l *Lab) claim(key string) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimed == nil {
		l.claimed = map[string]bool{}
	}
	l.claimed[key] = true
}

// mayDelete refuses to delete from the machine, without --force, what this run
// did not make.
func (l *Lab) mayDelete(key string, what fmt.Stringer) error {
	if !l.options.Host || l.options.Force {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimed[key] {
		return nil
	}
	return Usage("run with --force to delete it all the same", "%s was not made by this run", what)
}

// Keys of what has no handle: what makes each of its kind one in the kernel.

func (k *Link) addrKey(p netip.Prefix) string {
	return fmt.Sprintf("addr %v %d %s", k.ns.id, k.index, p)
}

func (r *Route) key() string {
	metric := r.Metric
	if metric == 0 && r.Dst.Addr().Is6() {
		metric = 1024 // IP6_RT_PRIO_USER
	}
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	return fmt.Sprintf("route %v %s %d %d %d", r.NS.id, r.Dst, table, metric, r.TOS)
}

func (r *Rule) key() string { return fmt.Sprintf("rule %v %d %s", r.NS.id, r.Family, r) }

func (n *Neighbor) key() string {
	return fmt.Sprintf("neigh %v %d %s %v", n.Dev.ns.id, n.Dev.index, n.IP, n.Proxy)
}

// kept are a link's addresses and the routes over it at one moment. The kernel
// takes them away when the link goes down (routes, IPv6 addresses), moves (all)
// or gets a small MTU (IPv6), and does not bring them back.
type kept struct {
	link   *Link
	addrs  []*Address
	routes []*Route
}

// keep remembers what a change to the machine's link may lose.
func (k *Link) keep() (c kept) {
	if !k.ns.lab.options.Host {
		return c
	}
	c.link = k
	addrs, _ := k.ns.Addrs(k)
	for _, a := range addrs {
		// The kernel makes link-local and autoconfigured ones again by itself.
		if !slices.Contains(a.Flags, "dynamic") && a.IP != k.ownAddress() {
			c.addrs = append(c.addrs, a)
		}
	}
	routes, _ := k.ns.Routes(RouteFilter{})
	for _, r := range routes {
		if r.Proto != unix.RTPROT_KERNEL && r.Proto != unix.RTPROT_RA && !r.Cloned && r.over(k) {
			c.routes = append(c.routes, r)
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

// restoreAddrs and restoreRoutes bring back what is missing.
func (c kept) restoreAddrs(ctx context.Context) error {
	var failed []error
	for _, a := range c.addrs {
		if _, err := c.link.AddAddr(ctx, a.spec()); err != nil && !errors.Is(err, unix.EEXIST) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (c kept) restoreRoutes(ctx context.Context) error {
	var failed []error
	for _, r := range c.routes {
		if _, err := r.NS.AddRoute(ctx, *r, false); err != nil && !errors.Is(err, unix.EEXIST) {
			failed = append(failed, err)
		}
	}
	return errors.Join(failed...)
}

func (c kept) restore(ctx context.Context) error {
	return errors.Join(c.restoreAddrs(ctx), c.restoreRoutes(ctx))
}

// spec is what makes the address again.
func (a *Address) spec() AddrSpec {
	s := AddrSpec{Prefix: a.Prefix(), Broadcast: a.Broadcast, Label: a.Label, Scope: a.Scope,
		NoDAD: slices.Contains(a.Flags, "nodad")}
	if a.Peer.IsValid() && a.Peer != a.IP {
		s.Peer = netip.PrefixFrom(a.Peer, a.PrefixLen)
	}
	return s
}

// foreignLinks names the machine's links that would end with the namespace:
// those that were moved there. Hardware returns to the first namespace.
func (ns *Namespace) foreignLinks() []string {
	if !ns.lab.options.Host || !ns.made || ns.root {
		return nil
	}
	var names []string
	links, infos, _ := ns.Links()
	for i, k := range links {
		if !k.made && infos[i].Kind != "" {
			names = append(names, k.name)
		}
	}
	return names
}
