package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Neighbor is an entry of the neighbour table, to make or read (ip-neighbour(8)).
type Neighbor struct {
	IP     netip.Addr
	MAC    net.HardwareAddr
	Dev    *Link
	State  int // NUD_* bits
	Proxy  bool
	Router bool
}

// nudStates are the NUD_ bits as `ip` prints them, in lower case.
var nudStates = []struct {
	bit  int
	name string
}{
	{unix.NUD_INCOMPLETE, "incomplete"}, {unix.NUD_REACHABLE, "reachable"}, {unix.NUD_STALE, "stale"},
	{unix.NUD_DELAY, "delay"}, {unix.NUD_PROBE, "probe"}, {unix.NUD_FAILED, "failed"},
	{unix.NUD_NOARP, "noarp"}, {unix.NUD_PERMANENT, "permanent"},
}

// StateName is the entry's state, "" for a proxy entry.
func (n *Neighbor) StateName() string {
	var names []string
	for _, s := range nudStates {
		if n.State&s.bit != 0 {
			names = append(names, s.name)
		}
	}
	return strings.Join(names, " ")
}

func (n *Neighbor) message(kind, flags int) *nl.NetlinkRequest {
	r := request(kind, flags)
	var bits byte
	if n.Proxy {
		bits |= unix.NTF_PROXY
	}
	if n.Router {
		bits |= unix.NTF_ROUTER
	}
	head := []byte{byte(family(n.IP)), 0, 0, 0}
	head = binary.NativeEndian.AppendUint32(head, uint32(n.Dev.index))
	head = binary.NativeEndian.AppendUint16(head, uint16(n.State))
	r.RawData = append(head, bits, 0)
	r.RawData = append(r.RawData, nl.NewRtAttr(unix.NDA_DST, n.IP.AsSlice()).Serialize()...)
	if n.MAC != nil {
		r.RawData = append(r.RawData, nl.NewRtAttr(unix.NDA_LLADDR, n.MAC).Serialize()...)
	}
	return r
}

func (n *Neighbor) args() []event.Arg {
	args := []event.Arg{arg("to", n.IP.String())}
	if n.Proxy {
		args[0].Key = "proxy"
	}
	if n.MAC != nil {
		args = append(args, arg("lladdr", n.MAC.String()))
	}
	args = append(args, arg("dev", n.Dev.name))
	if n.Router {
		args = append(args, arg("router", ""))
	}
	if !n.Proxy {
		args = append(args, arg("nud", n.StateName()))
	}
	return args
}

func (n *Neighbor) String() string {
	s := fmt.Sprintf("%s dev %s", n.IP, n.Dev.name)
	if n.MAC != nil {
		s += " lladdr " + n.MAC.String()
	}
	if n.Proxy {
		s += " proxy"
	}
	if state := n.StateName(); state != "" {
		s += " " + strings.ToUpper(state)
	}
	return s
}

// AddNeighbor makes a permanent (or proxy) entry, as `ip neigh add` or
// `replace` does.
func (k *Link) AddNeighbor(ctx context.Context, n Neighbor, replace bool) (*Neighbor, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	n.Dev = k
	if !n.Proxy && n.State == 0 {
		n.State = unix.NUD_PERMANENT
	}
	flags, op := unix.NLM_F_CREATE|unix.NLM_F_EXCL, "neigh add"
	if replace {
		flags, op = unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "neigh replace"
	}
	before := n.keepNeighbor()
	start := time.Now()
	err := k.ns.conn.do(n.message(unix.RTM_NEWNEIGH, flags))
	k.ns.lab.emit(ctx, op, k.ns, start, err, n.args()...)
	if err != nil {
		hint := ""
		if errors.Is(err, unix.EEXIST) {
			hint = "replace=True replaces the entry"
		}
		return nil, k.failed(err, hint, "add neighbour %s", &n)
	}
	k.ns.lab.claim(n.key())
	k.ns.lab.onUndo(func(ctx context.Context) error {
		if err := n.Delete(ctx); err != nil && !isGone(err) {
			return err
		}
		return k.putNeighbors(ctx, before)
	})
	return &n, nil
}

// Delete takes the entry away.
func (n *Neighbor) Delete(ctx context.Context) error {
	if err := n.Dev.check(); err != nil {
		return err
	}
	if err := n.Dev.ns.lab.mayDelete(n.key(), n); err != nil {
		return err
	}
	before := n.keepNeighbor()
	start := time.Now()
	err := n.Dev.ns.conn.do(n.message(unix.RTM_DELNEIGH, 0))
	n.Dev.ns.lab.emit(ctx, "neigh delete", n.Dev.ns, start, err, n.args()...)
	if err != nil {
		return n.Dev.failed(err, "", "delete neighbour %s", n)
	}
	n.Dev.ns.lab.onUndo(func(ctx context.Context) error { return n.Dev.putNeighbors(ctx, before) })
	return nil
}

// Neighbors lists what `ip neigh` shows: entries that say something, without
// those of NOARP (loopback and multicast), then the proxies.
func (ns *Namespace) Neighbors() ([]*Neighbor, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []*Neighbor
	for _, flags := range []byte{0, unix.NTF_PROXY} {
		var indexes []int
		var found []*Neighbor
		err := ns.conn.dump(func() *nl.NetlinkRequest {
			r := request(unix.RTM_GETNEIGH, 0)
			r.AddRawData([]byte{unix.AF_UNSPEC, 0, 0, 0, 0, 0, 0, 0, 0, 0, flags, 0})
			return r
		}, func() { indexes, found = nil, nil }, func(body []byte) error {
			if n, index, ok := parseNeighbor(body); ok && n.Proxy == (flags != 0) {
				indexes, found = append(indexes, index), append(found, n)
			}
			return nil
		})
		if err != nil {
			return nil, kernelError(err, "", "list neighbours%s", where(ns))
		}
		for i, n := range found {
			if n.Dev = ns.linkAt(indexes[i]); n.Dev != nil {
				all = append(all, n)
			}
		}
	}
	return all, nil
}

// parseNeighbor reads the body of an RTM_NEWNEIGH message (struct ndmsg).
func parseNeighbor(body []byte) (*Neighbor, int, bool) {
	if len(body) < unix.SizeofNdMsg || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
		return nil, 0, false
	}
	n := &Neighbor{State: u16(body[8:]), Proxy: body[10]&unix.NTF_PROXY != 0, Router: body[10]&unix.NTF_ROUTER != 0}
	for kind, v := range attributes(body[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_DST:
			n.IP, _ = netip.AddrFromSlice(v)
		case unix.NDA_LLADDR:
			n.MAC = net.HardwareAddr(append([]byte(nil), v...))
		}
	}
	shown := n.Proxy || n.State&^unix.NUD_NOARP != 0
	return n, int(u32(body[4:])), shown && n.IP.IsValid()
}

// Flush empties a table of the namespace: "route cache", "neigh" (all entries but
// the permanent ones), or "conntrack".
func (ns *Namespace) Flush(ctx context.Context, what string) error {
	start := time.Now()
	var err error
	switch what {
	case "route cache":
		err = ns.flushRouteCache()
	case "neigh":
		err = ns.flushNeighbors()
	case "conntrack":
		err = ns.flushConnections()
	default:
		return Usage(`it takes "route cache", "neigh" or "conntrack"`, "%q cannot be flushed", what)
	}
	ns.lab.emit(ctx, "flush", ns, start, err, arg("what", what))
	if err != nil {
		return kernelError(err, "", "flush %s%s", what, where(ns))
	}
	ns.lab.cannotUndo("flush " + what + where(ns))
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

func (ns *Namespace) flushNeighbors() error {
	entries, err := ns.Neighbors()
	if err != nil {
		return err
	}
	for _, n := range entries {
		if n.Proxy || n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 {
			continue
		}
		if err := ns.conn.do(n.message(unix.RTM_DELNEIGH, 0)); err != nil && !isGone(err) {
			return err
		}
	}
	return nil
}
