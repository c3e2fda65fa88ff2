package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Numbers of include/uapi/linux/neighbour.h that unix does not have.
const (
	ndaNHID   = 13 // NDA_NH_ID
	ntfSticky = 0x40
)

// FDBEntry is an entry of a forwarding database (bridge(8), "bridge fdb"): of the
// bridge that a link is a port of (Master), or of the link itself, as a VXLAN has
// one.
type FDBEntry struct {
	Link   *Link
	MAC    net.HardwareAddr
	Master bool
	// State is "permanent" (of the bridge itself), "static", "dynamic", which
	// ends when nothing is heard for the ageing time, or "stale", which has.
	State string
	VLAN  int // 0 for none

	// Where a VXLAN sends to: an address, port and segment, by a link; or a
	// nexthop object.
	Dst         netip.Addr
	DstPort     int // 0 for the VXLAN's own
	VNI, SrcVNI int // -1 for the VXLAN's own
	Via         *Link
	NHID        int // 0 for none

	Sticky, ExternLearn, Router, Use bool

	own bool // Link is the bridge
}

// FDBVerb is how an entry is made beside one that is there.
type FDBVerb string

// The verbs of bridge(8).
const (
	FDBAdd     FDBVerb = "add"
	FDBAppend  FDBVerb = "append" // one more destination of an address
	FDBReplace FDBVerb = "replace"
)

// fdbStates are the NUD_ bits of states, as bridge(8) sets and names them.
var fdbStates = map[string]uint16{"permanent": unix.NUD_PERMANENT, "static": unix.NUD_NOARP | unix.NUD_REACHABLE, "dynamic": unix.NUD_REACHABLE}

// fdbState is a state as the kernel says it.
func fdbState(bits int) string {
	switch {
	case bits&unix.NUD_PERMANENT != 0:
		return "permanent"
	case bits&unix.NUD_NOARP != 0:
		return "static"
	case bits&unix.NUD_STALE != 0:
		return "stale"
	case bits&unix.NUD_REACHABLE != 0:
		return "dynamic"
	}
	return ""
}

// fdbFlag is an NTF_ flag with bridge(8)'s word for it.
type fdbFlag struct {
	name string
	bit  byte
	set  bool
}

func (e *FDBEntry) flags() []fdbFlag {
	return []fdbFlag{
		{"self", unix.NTF_SELF, !e.Master || e.own}, {"master", unix.NTF_MASTER, e.Master && !e.own}, {"use", unix.NTF_USE, e.Use},
		{"router", unix.NTF_ROUTER, e.Router}, {"extern_learn", unix.NTF_EXT_LEARNED, e.ExternLearn}, {"sticky", ntfSticky, e.Sticky},
	}
}

// args are the arguments of `bridge fdb add`.
func (e *FDBEntry) args() []event.Arg {
	args := []event.Arg{arg("to", e.MAC.String()), arg("dev", e.Link.name)}
	number := func(name string, n, none int) {
		if n != none {
			args = append(args, arg(name, strconv.Itoa(n)))
		}
	}
	number("vlan", e.VLAN, 0)
	if e.Dst.IsValid() {
		args = append(args, arg("dst", e.Dst.String()))
	}
	number("port", e.DstPort, 0)
	number("vni", e.VNI, -1)
	number("src_vni", e.SrcVNI, -1)
	number("nhid", e.NHID, 0)
	if e.Via != nil {
		args = append(args, arg("via", e.Via.name))
	}
	for _, f := range e.flags() {
		if f.set {
			args = append(args, arg(f.name, ""))
		}
	}
	if e.State != "" {
		args = append(args, arg(e.State, ""))
	}
	return args
}

func (e *FDBEntry) String() string {
	words := []string{e.MAC.String()}
	for _, a := range e.args()[1:] {
		words = append(words, a.Key)
		if a.Value != "" {
			words = append(words, a.Value)
		}
	}
	return strings.Join(words, " ")
}

func (e *FDBEntry) message(kind, flags int) *nl.NetlinkRequest {
	r := request(kind, flags)
	head := binary.NativeEndian.AppendUint32([]byte{unix.AF_BRIDGE, 0, 0, 0}, uint32(e.Link.index))
	head = binary.NativeEndian.AppendUint16(head, fdbStates[e.State])
	var bits byte
	for _, f := range e.flags() {
		if f.set {
			bits |= f.bit
		}
	}
	r.RawData = append(head, bits, 0)
	add := func(attr int, data []byte) { r.RawData = append(r.RawData, nl.NewRtAttr(attr, data).Serialize()...) }
	add(unix.NDA_LLADDR, e.MAC)
	if e.Dst.IsValid() {
		add(unix.NDA_DST, e.Dst.AsSlice())
	}
	if e.VLAN != 0 {
		add(unix.NDA_VLAN, nl.Uint16Attr(uint16(e.VLAN)))
	}
	if e.DstPort != 0 {
		add(unix.NDA_PORT, binary.BigEndian.AppendUint16(nil, uint16(e.DstPort)))
	}
	if e.VNI >= 0 {
		add(unix.NDA_VNI, nl.Uint32Attr(uint32(e.VNI)))
	}
	if e.SrcVNI >= 0 {
		add(unix.NDA_SRC_VNI, nl.Uint32Attr(uint32(e.SrcVNI)))
	}
	if e.NHID != 0 {
		add(ndaNHID, nl.Uint32Attr(uint32(e.NHID)))
	}
	if e.Via != nil {
		add(unix.NDA_IFINDEX, nl.Uint32Attr(uint32(e.Via.index)))
	}
	return r
}

// sameEntry tells whether two are one to the kernel.
func (e *FDBEntry) sameEntry(o *FDBEntry) bool {
	return e.Link == o.Link && e.sameAddress(o) && (e.Master || e.Dst == o.Dst || e.NHID != 0)
}

// sameAddress tells whether two are entries of one address in one table.
func (e *FDBEntry) sameAddress(o *FDBEntry) bool {
	return (e.Master || e.Link == o.Link) && e.Master == o.Master && e.MAC.String() == o.MAC.String() && e.VLAN == o.VLAN && e.SrcVNI == o.SrcVNI
}

// AddFDB makes an entry, as `bridge fdb add`, `append` or `replace` does. With
// exist, one that is there and equal is as good.
func (k *Link) AddFDB(ctx context.Context, e FDBEntry, verb FDBVerb, exist bool) (*FDBEntry, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	e.Link = k
	if err := e.check(); err != nil {
		return nil, err
	}
	if exist {
		if there, err := e.existing(verb); there != nil || err != nil {
			return there, err
		}
	}
	flags := unix.NLM_F_CREATE
	switch verb {
	case FDBAdd:
		flags |= unix.NLM_F_EXCL
	case FDBAppend:
		flags |= unix.NLM_F_APPEND
	case FDBReplace:
		flags |= unix.NLM_F_REPLACE
	}
	before := e.keep()
	start := time.Now()
	err := k.ns.conn.do(e.message(unix.RTM_NEWNEIGH, flags))
	k.ns.lab.emit(ctx, "fdb "+string(verb), k.ns, start, err, e.args()...)
	if err != nil {
		return nil, e.error(err)
	}
	k.ns.lab.claim(e.key())
	k.ns.lab.onUndo(func(ctx context.Context) error {
		if err := e.remove(ctx); err != nil && !isGone(err) {
			return err
		}
		return e.restore(ctx, before)
	})
	return &e, nil
}

func (e *FDBEntry) check() error {
	k := e.Link
	if e.Via != nil {
		if err := e.Via.In(k.ns, "via"); err != nil {
			return err
		}
	}
	if !e.Master {
		return nil
	}
	info, err := k.Info()
	if err != nil {
		return err
	}
	e.own = info.Kind == "bridge"
	if info.PortState == "" && !e.own {
		return Usage("master=False is the table of the link itself", "%s is no port of a bridge", k)
	}
	if e.Dst.IsValid() || e.NHID != 0 || e.VNI >= 0 || e.SrcVNI >= 0 || e.DstPort != 0 || e.Via != nil {
		return Usage("they belong to the table of the VXLAN itself: master=False", "dst, dstport, vni, src_vni, nhid and via mean nothing to a bridge")
	}
	return nil
}

func (e *FDBEntry) error(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EEXIST):
		hint = "replace=True replaces the entry, append=True gives the address one more destination"
	case errors.Is(err, unix.EINVAL) && e.Master && e.VLAN != 0:
		hint = fmt.Sprintf("%s has to be in VLAN %d: bridge_vlan() first", e.Link, e.VLAN)
	case errors.Is(err, unix.EINVAL) && !e.Master && e.State != "permanent":
		hint = "a link that is neither a VXLAN nor a port has only permanent entries"
	case errors.Is(err, unix.EOPNOTSUPP) && !e.Master:
		hint = "append= and replace= are for tables that have several entries for an address, as a VXLAN's"
	}
	return e.Link.failed(err, hint, "add forwarding entry %s", e)
}

// properties are what exist= compares, in the words of args: the state has a name here.
func (e *FDBEntry) properties() []event.Arg {
	f := *e
	f.State, f.Use = "", false
	return append(f.args()[1:], arg("state", e.State))
}

// existing is the entry that is there already, or an error that says in what the one
// whose place it would take differs.
func (e *FDBEntry) existing(verb FDBVerb) (*FDBEntry, error) {
	all, err := e.table()
	if err != nil {
		return nil, err
	}
	there := nearestEntry(e, all, verb)
	if there == nil {
		return nil, nil
	}
	asked, has := e.properties(), there.properties()
	if err := differs(there, asked, has); err != nil {
		return nil, err
	}
	for _, a := range has { // what is not said means the VXLAN's own, or no
		if valuesOf(asked, a.Key) == nil {
			return nil, Usage("replace=True makes it what is asked for", "%s is there, but it has %s", there, strings.TrimSpace(a.Key+" "+a.Value))
		}
	}
	return there, nil
}

// nearestEntry is the one of some entries that is e to the kernel; where e would be one
// more destination of its address, which only append makes, the one that is in its way.
func nearestEntry(e *FDBEntry, all []*FDBEntry, verb FDBVerb) (there *FDBEntry) {
	for _, o := range all {
		switch {
		case e.sameEntry(o):
			return o
		case verb == FDBAdd && there == nil && e.sameAddress(o):
			there = o
		}
	}
	return there
}

// table is where the kernel looks for the entry: the whole bridge of a port.
func (e *FDBEntry) table() ([]*FDBEntry, error) {
	if !e.Master || e.own {
		return e.Link.FDB()
	}
	bridge, err := e.Link.Master()
	if err != nil || bridge == nil {
		return nil, err
	}
	return bridge.FDB()
}

// keep reads the entries that e may replace, on the machine. An entry without a
// VLAN stands for one in each VLAN of the port, too.
func (e *FDBEntry) keep() (found []rawNeighbor) {
	if !e.Link.ns.lab.options.Host {
		return nil
	}
	all, _ := e.Link.ns.rawNeighbors()
	for _, r := range all {
		there := e.Link.ns.parseFDB(r.body)
		if there != nil && there.Link == e.Link && there.MAC.String() == e.MAC.String() && there.Master == e.Master && (e.VLAN == 0 || e.VLAN == there.VLAN) {
			found = append(found, r)
		}
	}
	return found
}

// restore makes the entries what they were.
func (e *FDBEntry) restore(ctx context.Context, before []rawNeighbor) error {
	failed := []error{e.Link.putNeighbors(ctx, before)}
	for _, now := range e.keep() {
		if !slices.ContainsFunc(before, func(was rawNeighbor) bool { return string(was.body) == string(now.body) }) {
			failed = append(failed, e.Link.ns.parseFDB(now.body).remove(ctx))
		}
	}
	return errors.Join(failed...)
}

// Delete takes the entry away.
func (e *FDBEntry) Delete(ctx context.Context) error {
	k := e.Link
	if err := k.check(); err != nil {
		return err
	}
	if err := k.ns.lab.mayDelete(e.key(), e); err != nil {
		return err
	}
	before := e.keep()
	if err := e.remove(ctx); err != nil {
		return err
	}
	k.ns.lab.onUndo(func(ctx context.Context) error { return e.restore(ctx, before) })
	return nil
}

func (e *FDBEntry) remove(ctx context.Context) error {
	k := e.Link
	start := time.Now()
	err := k.ns.conn.do(e.message(unix.RTM_DELNEIGH, 0))
	k.ns.lab.emit(ctx, "fdb delete", k.ns, start, err, e.args()...)
	if err != nil {
		return k.failed(err, "", "delete forwarding entry %s", e)
	}
	return nil
}

func (e *FDBEntry) key() string {
	return fmt.Sprintf("fdb %v %d %s %d %v %v", e.Link.ns.id, e.Link.index, e.MAC, e.VLAN, e.Dst, e.Master)
}

// FDB lists the forwarding database of a bridge; of any other link the entries of
// its own and those that its bridge has for it.
func (k *Link) FDB() ([]*FDBEntry, error) {
	info, err := k.Info()
	if err != nil {
		return nil, err
	}
	isBridge := info.Kind == "bridge"
	head := append([]byte{unix.AF_BRIDGE}, make([]byte, unix.SizeofNdMsg-1)...)
	if !isBridge {
		putU32(head[4:], uint32(k.index))
	}
	bodies, err := k.ns.bodies(unix.RTM_GETNEIGH, head)
	if err != nil {
		return nil, k.failed(err, "", "list the forwarding database of %s", k)
	}
	var all []*FDBEntry
	for _, body := range bodies {
		if len(body) < unix.SizeofNdMsg || isBridge && masterOf(body) != k.index {
			continue
		}
		if e := k.ns.parseFDB(body); e != nil {
			all = append(all, e)
		}
	}
	return all, nil
}

// masterOf is the bridge whose table an entry is of, or 0.
func masterOf(body []byte) int {
	for kind, v := range attributes(body[unix.SizeofNdMsg:]) {
		if kind == unix.NDA_MASTER {
			return int(u32(v))
		}
	}
	return 0
}

// parseFDB reads the body of an RTM_NEWNEIGH message of a forwarding database; nil
// for another and for one whose link is gone.
func (ns *Namespace) parseFDB(body []byte) *FDBEntry {
	if len(body) < unix.SizeofNdMsg || body[0] != unix.AF_BRIDGE {
		return nil
	}
	flags := body[10]
	e := &FDBEntry{State: fdbState(u16(body[8:])), VNI: -1, SrcVNI: -1, Master: flags&unix.NTF_SELF == 0,
		Router: flags&unix.NTF_ROUTER != 0, ExternLearn: flags&unix.NTF_EXT_LEARNED != 0, Sticky: flags&ntfSticky != 0}
	for kind, v := range attributes(body[unix.SizeofNdMsg:]) {
		switch kind {
		case unix.NDA_LLADDR:
			e.MAC = net.HardwareAddr(append([]byte(nil), v...))
		case unix.NDA_DST:
			e.Dst, _ = netip.AddrFromSlice(v)
		case unix.NDA_VLAN:
			e.VLAN = u16(v)
		case unix.NDA_PORT:
			if len(v) >= 2 {
				e.DstPort = int(binary.BigEndian.Uint16(v))
			}
		case unix.NDA_VNI:
			e.VNI = int(u32(v))
		case unix.NDA_SRC_VNI:
			e.SrcVNI = int(u32(v))
		case unix.NDA_IFINDEX:
			e.Via = ns.linkAt(int(u32(v)))
		case ndaNHID:
			e.NHID = int(u32(v))
		}
	}
	if e.Link = ns.linkAt(int(u32(body[4:]))); e.Link == nil || len(e.MAC) != 6 {
		return nil
	}
	e.own = masterOf(body) == e.Link.index
	return e
}
