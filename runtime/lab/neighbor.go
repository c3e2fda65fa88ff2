package lab

import (
	"bytes"
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
	State  int // NUD_* bits; of one to make, 0 is permanent
	Proxy  bool
	Router bool
	// Learned entries are a control plane's (NTF_EXT_LEARNED): the kernel does not
	// forget them.
	Learned bool
	// Managed entries are kept resolved by the kernel (NTF_EXT_MANAGED, since 5.16).
	Managed bool
	// Use asks for the neighbour at once, as a packet to it would (NTF_USE).
	Use   bool
	Proto int // RTPROT_*, who made it; 0 unless given

	none bool // NUD_NONE was asked for
}

// NudState is the NUD_ number of a state by name ("reachable", "stale" …); "none"
// is 0.
func NudState(name string) (int, error) {
	names := []string{"none"}
	for _, s := range nudStates {
		if s.name == name {
			return s.bit, nil
		}
		names = append(names, s.name)
	}
	if name == "none" {
		return 0, nil
	}
	return 0, Usage("states are "+strings.Join(names, ", "), "%q is no state of a neighbour", name)
}

// InState sets the state that an entry is to be made in.
func (n *Neighbor) InState(state int) { n.State, n.none = state, state == 0 }

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
	if n.Learned {
		bits |= unix.NTF_EXT_LEARNED
	}
	if n.Use && kind == unix.RTM_NEWNEIGH {
		bits |= unix.NTF_USE
	}
	head := []byte{byte(family(n.IP)), 0, 0, 0}
	head = binary.NativeEndian.AppendUint32(head, uint32(n.Dev.index))
	head = binary.NativeEndian.AppendUint16(head, uint16(n.State))
	r.RawData = append(head, bits, 0)
	r.RawData = append(r.RawData, nl.NewRtAttr(unix.NDA_DST, n.IP.AsSlice()).Serialize()...)
	if n.MAC != nil {
		r.RawData = append(r.RawData, attr(unix.NDA_LLADDR, n.MAC)...)
	}
	if n.Proto != 0 {
		r.RawData = append(r.RawData, attr(ndaProtocol, []byte{byte(n.Proto)})...)
	}
	if n.Managed && kind == unix.RTM_NEWNEIGH {
		r.RawData = append(r.RawData, attr(ndaFlagsExt, nl.Uint32Attr(ntfExtManaged))...)
	}
	return r
}

// neighborFlag is an NTF_ flag in `ip`'s word.
type neighborFlag struct {
	set  bool
	name string
}

func (n *Neighbor) flags() []neighborFlag {
	return []neighborFlag{{n.Router, "router"}, {n.Proxy, "proxy"}, {n.Use, "use"}, {n.Managed, "managed"}, {n.Learned, "extern_learn"}}
}

// finds tells whether the kernel asks the network for the MAC address, whatever it is
// told (neigh_add in net/core/neighbour.c).
func (n *Neighbor) finds() bool { return n.Use || n.Managed }

func (n *Neighbor) args() []event.Arg {
	args := []event.Arg{arg("to", n.IP.String())}
	if n.Proxy {
		args[0].Key = "proxy"
	}
	if n.MAC != nil {
		args = append(args, arg("lladdr", n.MAC.String()))
	}
	args = append(args, arg("dev", n.Dev.name))
	for _, flag := range n.flags() {
		if flag.set && flag.name != "proxy" {
			args = append(args, arg(flag.name, ""))
		}
	}
	if n.Proto != 0 {
		args = append(args, arg("protocol", RouteProtocolName(n.Proto)))
	}
	if !n.Proxy && (n.none || !n.finds()) { // which begins in no state
		args = append(args, arg("nud", n.StateName()))
	}
	return args
}

func (n *Neighbor) String() string {
	s := fmt.Sprintf("%s dev %s", n.IP, n.Dev.name)
	if n.MAC != nil {
		s += " lladdr " + n.MAC.String()
	}
	for _, f := range n.flags() {
		if f.set {
			s += " " + f.name
		}
	}
	if state := n.StateName(); state != "" {
		s += " " + strings.ToUpper(state)
	}
	return s
}

// neighborWays are what says to the kernel how to make an entry, by [Make].
var neighborWays = map[Make]struct {
	flags int
	op    string
}{
	Add:     {unix.NLM_F_CREATE | unix.NLM_F_EXCL, "neigh add"},
	Exist:   {unix.NLM_F_CREATE | unix.NLM_F_EXCL, "neigh add"},
	Replace: {unix.NLM_F_CREATE | unix.NLM_F_REPLACE, "neigh replace"},
	Change:  {unix.NLM_F_REPLACE, "neigh change"},
}

// AddNeighbor makes an entry, permanent unless another state or none is asked for,
// as `ip neigh add`, replace or change does.
func (k *Link) AddNeighbor(ctx context.Context, n Neighbor, how Make) (*Neighbor, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	n.Dev = k
	if !n.Proxy && n.State == 0 && !n.none && !n.finds() {
		n.State = unix.NUD_PERMANENT
	}
	if how == Exist {
		if there, err := n.there(); err != nil || there != nil {
			return there, err
		}
	}
	way := neighborWays[how]
	before := n.keepNeighbor()
	start := time.Now()
	err := k.ns.conn.do(n.message(unix.RTM_NEWNEIGH, way.flags))
	k.ns.lab.emit(ctx, way.op, k.ns, start, err, n.args()...)
	if err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EEXIST):
			hint = "replace=True replaces the entry"
		case errors.Is(err, unix.ENOENT):
			hint = "change=True needs one that is there: replace=True makes one where there is none"
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
	if !n.finds() {
		return &n, nil
	}
	return n.found()
}

// found is the entry with what the kernel has found out so far.
func (n *Neighbor) found() (*Neighbor, error) {
	all, err := n.Dev.ns.Neighbors()
	if err != nil {
		return nil, err
	}
	for _, there := range all {
		if there.key() == n.key() {
			return there, nil
		}
	}
	return n, nil
}

// there is the entry for the same address when it has the properties asked for.
// The state of one that comes and goes by itself is not among them.
func (n *Neighbor) there() (*Neighbor, error) {
	there, err := n.found()
	if err != nil || there == n {
		return nil, err
	}
	asked := *n
	asked.Use = false
	lasting := unix.NUD_PERMANENT | unix.NUD_NOARP
	if n.Use || n.State&lasting == 0 && there.State&lasting == 0 {
		asked.State = there.State
	}
	return there, differs(there, asked.args(), there.args())
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
// those of NOARP for loopback and groups, then the proxies.
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

// isHost tells an entry of NOARP that somebody made from those that the kernel
// makes by itself, for groups and loopback.
func (n *Neighbor) isHost() bool {
	return len(n.MAC) == 6 && n.MAC[0]&1 == 0 && !bytes.Equal(n.MAC, make([]byte, 6)) && !n.IP.IsMulticast() && !n.IP.IsLoopback()
}

// parseNeighbor reads the body of an RTM_NEWNEIGH message (struct ndmsg).
func parseNeighbor(body []byte) (*Neighbor, int, bool) {
	if len(body) < unix.SizeofNdMsg || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
		return nil, 0, false
	}
	n := &Neighbor{State: u16(body[8:]), Proxy: body[10]&unix.NTF_PROXY != 0, Router: body[10]&unix.NTF_ROUTER != 0,
		Learned: body[10]&unix.NTF_EXT_LEARNED != 0}
	for kind, v := range attributes(body[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_DST:
			n.IP, _ = netip.AddrFromSlice(v)
		case unix.NDA_LLADDR:
			n.MAC = net.HardwareAddr(append([]byte(nil), v...))
		case ndaProtocol:
			n.Proto = u8(v)
		case ndaFlagsExt:
			n.Managed = u32(v)&ntfExtManaged != 0
		}
	}
	shown := n.Proxy || n.Managed || n.Proto != 0 || n.Learned || n.State&^unix.NUD_NOARP != 0 || n.State != 0 && n.isHost()
	return n, int(u32(body[4:])), shown && n.IP.IsValid()
}
