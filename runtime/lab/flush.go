package lab

import (
	"context"
	"errors"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// FlushFilter chooses what of a table goes; the zero value is all of it.
type FlushFilter struct {
	Family int   // AF_INET, AF_INET6 or 0
	Dev    *Link // only what is of this link
	Table  int   // of routes; 0 is main, as for `ip`
	Proto  int   // of routes, rules and nexthop objects: RTPROT_*; 0 for all
}

// flushers are the tables that can be emptied with the parts of a filter that each
// knows.
var flushers = map[string]struct {
	knows string
	flush func(ns *Namespace, ctx context.Context, f FlushFilter) error
}{
	"addr":    {"dev family", (*Namespace).flushAddrs},
	"route":   {"dev family table proto", (*Namespace).flushRoutes},
	"rule":    {"family proto", (*Namespace).flushRules},
	"nexthop": {"dev proto", (*Namespace).flushNexthops},
	"neigh":   {"dev family", (*Namespace).flushNeighbors},
}

// Flushable tells which parts of a filter ("dev family") a table knows; ok is
// false for what is no table.
func Flushable(what string) (knows string, ok bool) {
	if what == "route cache" || what == "conntrack" {
		return "", true
	}
	f, ok := flushers[what]
	return f.knows, ok
}

// Flush empties a table of the namespace as `ip … flush` does: "addr", "route",
// "rule" (all but the first), "nexthop", "neigh" (all but permanent entries and
// proxies), "route cache" or "conntrack".
func (ns *Namespace) Flush(ctx context.Context, what string, f FlushFilter) error {
	if err := ns.check(); err != nil {
		return err
	}
	if f.Dev != nil {
		if err := f.Dev.In(ns, "dev"); err != nil {
			return err
		}
	}
	if table, ok := flushers[what]; ok {
		return table.flush(ns, ctx, f)
	}
	empty := ns.flushRouteCache
	if what == "conntrack" {
		empty = ns.flushConnections
	}
	start := time.Now()
	err := empty()
	ns.lab.emit(ctx, "flush", ns, start, err, arg("what", what))
	if err != nil {
		return kernelError(err, "", "flush %s%s", what, where(ns))
	}
	ns.lab.cannotUndo("flush " + what + where(ns))
	return nil
}

// gone is the error of a deletion but for that of what went with another object.
func gone(err error) error {
	if isGone(err) {
		return nil
	}
	return err
}

func (ns *Namespace) flushAddrs(ctx context.Context, f FlushFilter) error {
	addrs, err := ns.Addrs(f.Dev)
	for _, a := range addrs {
		if f.Family == 0 || family(a.IP) == f.Family {
			err = errors.Join(err, gone(a.Delete(ctx)))
		}
	}
	return err
}

func (ns *Namespace) flushRoutes(ctx context.Context, f FlushFilter) error {
	table := f.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	routes, err := ns.Routes(RouteFilter{Table: table, Family: f.Family})
	for _, r := range routes {
		if (f.Dev == nil || r.over(f.Dev)) && (f.Proto == 0 || r.Proto == f.Proto) {
			err = errors.Join(err, gone(r.Delete(ctx)))
		}
	}
	return err
}

func (ns *Namespace) flushRules(ctx context.Context, f FlushFilter) error {
	rules, err := ns.Rules(f.Family)
	for _, r := range rules {
		if r.Priority != 0 && (f.Proto == 0 || r.Protocol == f.Proto) {
			err = errors.Join(err, gone(r.Delete(ctx)))
		}
	}
	return err
}

func (ns *Namespace) flushNexthops(ctx context.Context, f FlushFilter) error {
	all, err := ns.Nexthops()
	for _, n := range all {
		if (f.Dev == nil || n.Dev == f.Dev) && (f.Proto == 0 || n.Proto == f.Proto) {
			err = errors.Join(err, gone(n.Delete(ctx)))
		}
	}
	return err
}

func (ns *Namespace) flushNeighbors(ctx context.Context, f FlushFilter) error {
	start := time.Now()
	entries, err := ns.Neighbors()
	for _, n := range entries {
		// As `ip` does, which spares no entry that was learned.
		kept := n.Proxy || n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 && !n.Learned
		if kept || f.Dev != nil && n.Dev != f.Dev || f.Family != 0 && family(n.IP) != f.Family {
			continue
		}
		err = errors.Join(err, gone(ns.conn.do(n.message(unix.RTM_DELNEIGH, 0))))
	}
	args := []event.Arg{arg("what", "neigh")}
	if f.Dev != nil {
		args = append(args, arg("dev", f.Dev.name))
	}
	switch f.Family {
	case unix.AF_INET:
		args = append(args, arg("family", "inet"))
	case unix.AF_INET6:
		args = append(args, arg("family", "inet6"))
	}
	ns.lab.emit(ctx, "flush", ns, start, err, args...)
	if err != nil {
		return kernelError(err, "", "flush neigh%s", where(ns))
	}
	ns.lab.cannotUndo("flush neigh" + where(ns))
	return nil
}

// flushRouteCache forgets route exceptions: those of IPv4 by the sysctl that
// `ip route flush cache` writes, those of IPv6 one by one.
func (ns *Namespace) flushRouteCache() error {
	if err := ns.do(func() error { return writeSysctl("net/ipv4/route/flush", "-1") }); err != nil {
		return err
	}
	cached, err := ns.Routes(RouteFilter{Family: unix.AF_INET6, Cache: true})
	if err != nil {
		return err
	}
	for _, r := range cached {
		req := r.message(unix.RTM_DELROUTE, 0)
		if err := ns.conn.do(req); err != nil && !errors.Is(err, unix.ESRCH) {
			return err
		}
	}
	return nil
}
