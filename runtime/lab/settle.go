package lab

import (
	"context"
	"errors"
	"net/netip"
	"slices"
	"time"

	"golang.org/x/sys/unix"
)

// SettleLimit bounds how long a probe waits for links to settle. The kernel may
// take a second to announce a carrier, by a timer that it does not start at once.
const SettleLimit = 2 * time.Second

// pending are objects that are about to become ready, each with when the first
// who needed it began to wait, or no time.
type pending[T comparable] map[T]time.Time

// await polls until no object is left that is not ready, or nobody should wait for
// any longer. Several may wait at once: an object stays until it is ready.
func (p pending[T]) await(ctx context.Context, limit time.Duration, ready func(T) bool) {
	for pause := 50 * time.Microsecond; ; pause = min(2*pause, 10*time.Millisecond) {
		now := time.Now()
		for x, since := range p {
			switch {
			case ready(x), !since.IsZero() && now.Sub(since) > limit:
				delete(p, x)
			case since.IsZero():
				p[x] = now
			}
		}
		if len(p) == 0 || !sleep(ctx, pause) {
			return
		}
	}
}

// unsettle notes that the link may not pass packets yet. The kernel tells the
// layers above of a new carrier in a work item (net/core/link_watch.c), at most
// once a second for links that are not urgent; a packet sent before may wait
// that long.
func (l *Lab) unsettle(k *Link) {
	for _, end := range []*Link{k, k.peer} {
		if end == nil {
			continue
		}
		l.fresh[end] = time.Time{}
		if !end.ns.dad {
			l.probing[end] = true
		}
	}
}

// Settle waits, two seconds at most, until every link that was set up since the
// last call passes packets: its carrier has reached the layers above, and a
// bridge forwards to it. Asking for the link (RTM_GETLINK) makes the kernel do
// what is pending.
func (l *Lab) Settle(ctx context.Context) {
	l.fresh.await(ctx, SettleLimit, func(k *Link) bool { return k.check() != nil || k.settled() })
	l.followPartitions(ctx)
}

// settled tells whether waiting longer would change nothing.
func (k *Link) settled() bool {
	info, err := k.Info()
	if err != nil || !info.Up() {
		return true // nothing will happen by itself
	}
	if !info.Carrier {
		// The other end went down, or is not up yet: what the layers above know
		// of the carrier has to follow.
		return info.State != "up" && (info.State != "unknown" || info.Kind != "veth")
	}
	if !info.Runs() {
		// What a bridge forwards does not wait for the bridge's own link, and
		// the kernel may take a second to tell that it runs.
		return info.Kind == "bridge" && !k.hasAddress()
	}
	if info.PortState == "" || info.PortState == "forwarding" {
		return true
	}
	return !k.willForward(info)
}

// hasAddress tells whether the link has an address of its own.
func (k *Link) hasAddress() bool {
	raw, err := k.ns.rawAddrs(unix.AF_UNSPEC)
	return err == nil && slices.ContainsFunc(raw, func(a rawAddr) bool { return a.index == k.index })
}

// willForward tells whether a bridge port that does not forward is about to:
// its bridge is up and runs no spanning tree, which would take half a minute.
func (k *Link) willForward(info *LinkInfo) bool {
	master := k.ns.linkAt(info.Master)
	if master == nil {
		return false
	}
	bridge, err := master.Info()
	return err == nil && bridge.Up() && bridge.Options["stp"] == false
}

// SettleIPv6 makes the IPv6 addresses that the kernel has given to links by
// itself usable at once, where the lab goes without duplicate address
// detection: in one namespace and at the other ends of its veths, or everywhere
// when ns is nil. It is done when IPv6 is about to be used and not when a link
// comes up, since a lab that uses none should not pay; and not by the sysctl
// accept_dad, since opening one costs more the more namespaces there are.
func (l *Lab) SettleIPv6(ctx context.Context, ns *Namespace) {
	l.Settle(ctx)
	for k := range l.probing {
		if ns == nil || k.ns == ns || k.peer != nil && k.peer.ns == ns {
			delete(l.probing, k)
			if k.check() == nil {
				k.acceptLinkLocal(ctx)
				l.arriving[k.ns] = time.Time{}
			}
		}
	}
	if l.autoconf {
		for _, x := range l.all() {
			if !x.dad && (ns == nil || x == ns) {
				l.arriving[x] = time.Time{}
			}
		}
	}
	l.arriving.await(ctx, dadLimit, func(ns *Namespace) bool { return ns.check() != nil || ns.receivesIPv6() })
}

// dadLimit is how long duplicate address detection may take: up to a second until it
// begins (rtr_solicit_delay in addrconf_dad_kick of net/ipv6/addrconf.c), one second for
// an answer, and what a busy machine needs.
const dadLimit = 5 * time.Second

// receivesIPv6 tells whether every IPv6 address of a link that runs has passed
// duplicate address detection, which those have that hosts make by themselves (RFC
// 4862), and has its local route. The kernel adds it in a work item (addrconf_dad_begin in
// net/ipv6/addrconf.c); until then packets to the address are dropped, also
// when it was never tentative.
func (ns *Namespace) receivesIPv6() bool {
	_, infos, err := ns.Links()
	if err != nil {
		return true
	}
	running := map[int]bool{}
	for _, info := range infos {
		running[info.Index] = info.Up() && info.Carrier
	}
	addrs, err := ns.rawAddrs(unix.AF_INET6)
	if err != nil {
		return true
	}
	routes, err := ns.Routes(RouteFilter{Family: unix.AF_INET6, Table: unix.RT_TABLE_LOCAL, Type: unix.RTN_LOCAL})
	if err != nil {
		return true
	}
	local := map[netip.Addr]bool{}
	for _, r := range routes {
		local[r.Dst.Addr()] = true
	}
	for _, a := range addrs {
		if !running[a.index] || a.flags&unix.IFA_F_DADFAILED != 0 {
			continue
		}
		if a.flags&unix.IFA_F_TENTATIVE != 0 && !ns.dad || a.flags&unix.IFA_F_TENTATIVE == 0 && !local[a.IP] {
			return false
		}
	}
	return true
}

// acceptLinkLocal replaces the link-local addresses that the kernel made by the
// same without duplicate address detection, also where that has just ended: what
// a lab looks like must not depend on how fast the machine is. Links that resolve no
// addresses (tunnels) go without it anyway (addrconf_dad_begin).
func (k *Link) acceptLinkLocal(ctx context.Context) {
	if k.noARP {
		return
	}
	raw, err := k.ns.rawAddrs(unix.AF_INET6)
	if err != nil {
		return
	}
	for _, a := range raw {
		if a.index != k.index || a.flags&unix.IFA_F_NODAD != 0 || !a.IP.IsLinkLocalUnicast() {
			continue
		}
		spec := AddrSpec{Prefix: netip.PrefixFrom(a.IP, a.PrefixLen), Scope: -1, NoDAD: true}
		start := time.Now()
		err := k.ns.conn.do(newAddr(unix.RTM_DELADDR, 0, k.index, spec),
			newAddr(unix.RTM_NEWADDR, unix.NLM_F_CREATE, k.index, spec))
		k.ns.lab.emit(ctx, "addr renew", k.ns, start, err, spec.args(k.name)...)
	}
}

// Ready waits until every link of the namespace that is up runs and no address
// is tentative (RFC 4862), at most until the timeout.
func (ns *Namespace) Ready(ctx context.Context, timeout time.Duration) error {
	if err := ns.check(); err != nil {
		return err
	}
	ns.lab.SettleIPv6(ctx, ns)
	deadline := time.Now().Add(timeout)
	for pause := 100 * time.Microsecond; ; pause = min(2*pause, 20*time.Millisecond) {
		missing, err := ns.notReady()
		if err != nil || missing == "" {
			return err
		}
		if time.Now().After(deadline) {
			return &Error{Op: missing, Kind: KindTimeout, Err: errTimeout(timeout), Hint: "a link runs when its other end is up too"}
		}
		if !sleep(ctx, pause) {
			return context.Cause(ctx)
		}
	}
}

func errTimeout(d time.Duration) error { return errors.New("not within " + d.String()) }

// notReady says what Ready waits for, or "".
func (ns *Namespace) notReady() (string, error) {
	links, infos, err := ns.Links()
	if err != nil {
		return "", err
	}
	for i, info := range infos {
		if info.Up() && !info.Runs() {
			return "link " + links[i].String() + " is up but does not run (" + info.State + ")", nil
		}
		if info.PortState != "" && info.PortState != "forwarding" && links[i].willForward(info) {
			return "bridge port " + links[i].String() + " is " + info.PortState, nil
		}
	}
	raw, err := ns.rawAddrs(unix.AF_INET6)
	if err != nil {
		return "", err
	}
	for _, a := range raw {
		if a.flags&unix.IFA_F_TENTATIVE != 0 {
			return "address " + a.IP.String() + " is tentative" + where(ns), nil
		}
	}
	return "", nil
}
