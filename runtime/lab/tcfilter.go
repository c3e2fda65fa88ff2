package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math/bits"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/bpf"
	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// Filter is a filter of a link's qdisc or class at one moment.
type Filter struct {
	Link *Link
	Kind string
	// Parent is what it belongs to: "1:", "1:10", "ingress", "egress".
	Parent   string
	Protocol string
	Pref     int
	Handle   string
	Words    []string // as tc takes them, of those that the lab has made

	node tcNode
}

// FilterSpec is a filter that a link is to have.
type FilterSpec struct {
	Kind, Parent string
	// Protocol is a name that tc has for a kind of frames, "ip", "ipv6", "arp", "all", or
	// its number.
	Protocol string
	// Pref is its place among the filters of the same parent, the lowest first; 0 for
	// behind those that there are.
	Pref int
	// Handle is the mark that fw looks for, or what the kernel shall call the filter.
	Handle int
	// ClassID is the class of what it matches, or "".
	ClassID string
	Match   []string // in tc's words, each with its values
	Actions []string // in tc's words
	// Object and Section are the program of bpf; Direct has it say what becomes of the packet.
	Object, Section string
	Direct          bool
}

// Places of filters of clsact (TC_H_MIN_INGRESS and TC_H_MIN_EGRESS of pkt_sched.h).
const clsactIngress, clsactEgress uint32 = 0xfffffff2, 0xfffffff3

// filterKind is where a kind of filter has what all may have (pkt_cls.h).
type filterKind struct {
	classID, actions int
	encode           func(s *FilterSpec, protocol int) ([]*nl.RtAttr, error)
}

var filterKinds = map[string]filterKind{
	"u32":      {1, 7, encodeU32},
	"flower":   {1, 3, encodeFlower},
	"matchall": {1, 2, nil},
	"fw":       {1, 4, encodeFW},
	"bpf":      {3, 1, nil},
}

// FilterKinds are the kinds of filters that can be made.
func FilterKinds() []string { return []string{"u32", "flower", "matchall", "fw", "bpf"} }

// etherTypes are the names that tc has for kinds of frames.
var etherTypes = map[string]int{"all": unix.ETH_P_ALL, "ip": unix.ETH_P_IP, "ipv4": unix.ETH_P_IP, "ipv6": unix.ETH_P_IPV6, "arp": unix.ETH_P_ARP,
	"802.1Q": unix.ETH_P_8021Q, "802.1ad": unix.ETH_P_8021AD, "mpls_uc": unix.ETH_P_MPLS_UC}

// etherType finds a kind of frames by its name or number.
func etherType(name string) (int, error) {
	if name == "" {
		name = "all"
	}
	if n, ok := etherTypes[name]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(name, 0, 16); err == nil {
		return int(n), nil
	}
	return 0, Usage("all, ip, ipv6, arp, 802.1Q, 802.1ad, mpls_uc or a number", "protocol: there is no %q", name)
}

// AddFilter makes a filter.
func (k *Link) AddFilter(ctx context.Context, s FilterSpec) (*Shaping, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	n, file, err := k.filterNode(&s)
	if err != nil {
		if file != nil {
			_ = file.Close()
		}
		return nil, err
	}
	n.program = file
	before, err := k.filtersAt(n.parent)
	if err != nil {
		return nil, k.failed(err, "", "list filters of %s", k)
	}
	pref := uint32(s.Pref)
	for _, o := range before {
		if s.Pref == 0 && o.info>>16 < 0xc000 {
			pref = max(pref, o.info>>16)
		}
	}
	if s.Pref == 0 {
		pref++
	}
	n.info |= pref << 16
	made := &n
	if err := k.putFilter(ctx, made, before); err != nil {
		return nil, k.filterError(err, made)
	}
	k.filters = append(k.filters, made)
	change := &Shaping{Links: []*Link{k}, Handle: filterHandle(n.kind, n.handle), back: []undo{func(ctx context.Context) error { return k.dropFilter(ctx, *made) }}}
	k.ns.lab.onUndo(change.Undo)
	return change, nil
}

// putFilter makes a filter and finds out how the kernel calls it.
func (k *Link) putFilter(ctx context.Context, n *tcNode, before []tcNode) error {
	if err := k.putNode(ctx, "add", *n); err != nil {
		return err
	}
	after, err := k.filtersAt(n.parent)
	for _, o := range after {
		if !slices.ContainsFunc(before, o.isSame) && o.info == n.info {
			n.handle = o.handle
		}
	}
	return err
}

// restoreFilter makes a filter again. The tables that those of u32 are in have new
// numbers.
func (k *Link) restoreFilter(ctx context.Context, n tcNode) error {
	before, err := k.filtersAt(n.parent)
	if err != nil {
		return err
	}
	made := &n
	if i := slices.IndexFunc(k.filters, func(f *tcNode) bool { return f.isSame(n) }); i >= 0 {
		made = k.filters[i]
	}
	if n.kind == "u32" {
		made.handle = 0
	}
	return k.putFilter(ctx, made, before)
}

// filterNode is the filter as the kernel takes it, and the program that it needs open.
func (k *Link) filterNode(s *FilterSpec) (n tcNode, file *os.File, err error) {
	kind, known := filterKinds[s.Kind]
	if !known {
		return n, nil, inOption("kind", Usage("they are "+orList(FilterKinds()), "there is no filter %q", s.Kind))
	}
	protocol, err := etherType(s.Protocol)
	if err != nil {
		return n, nil, err
	}
	n = tcNode{what: "filter", kind: s.Kind, info: uint32(bits.ReverseBytes16(uint16(protocol)))}
	if n.parent, err = k.filterParent(s.Parent); err != nil {
		return n, nil, err
	}
	var list []*nl.RtAttr
	if kind.encode != nil {
		if list, err = kind.encode(s, protocol); err != nil {
			return n, nil, err
		}
	}
	for _, m := range s.Match {
		if s.Kind == "fw" { // of tc, a part of the handle
			n.mask = "/" + strings.TrimPrefix(m, "mask ")
			continue
		}
		if s.Kind == "u32" {
			n.words = append(n.words, "match")
		}
		n.words = append(n.words, strings.Fields(m)...)
	}
	if s.Handle > 0 {
		n.handle = uint32(s.Handle)
	}
	if s.Kind == "bpf" {
		if file, err = bpf.Load(s.Object, s.Section, bpf.SchedCls); err != nil {
			if errors.Is(err, unix.EPERM) {
				return n, nil, kernelError(err, "programs are loaded by root of the machine alone (CAP_BPF)", "load section %s of %s", s.Section, s.Object)
			}
			return n, nil, Usage("", "object: %v", err)
		}
		list = append(list, nl.NewRtAttr(6, nl.Uint32Attr(uint32(file.Fd()))), nl.NewRtAttr(7, nl.ZeroTerminated(filepath.Base(s.Object)+":["+s.Section+"]")))
		n.words = append(n.words, "object-file", s.Object, "section", s.Section)
		if s.Direct {
			list = append(list, nl.NewRtAttr(8, nl.Uint32Attr(1))) // TCA_BPF_FLAG_ACT_DIRECT
			n.words = append(n.words, "direct-action")
		}
	}
	if s.ClassID != "" {
		class, err := parseTcHandle(s.ClassID)
		if err != nil {
			return n, file, inOption("classid", err)
		}
		list = append(list, nl.NewRtAttr(kind.classID, nl.Uint32Attr(class)))
		n.words = append(n.words, "classid", s.ClassID)
	}
	if len(s.Actions) > 0 {
		actions, err := k.actions(kind.actions, s.Actions)
		if err != nil {
			return n, file, inOption("actions", err)
		}
		list = append(list, actions)
		for _, a := range s.Actions {
			n.words = append(append(n.words, "action"), strings.Fields(a)...)
		}
	}
	n.data = serialize(list)
	return n, file, nil
}

// filterParent is where a filter goes: of "", the root qdisc of the link.
func (k *Link) filterParent(name string) (uint32, error) {
	switch name {
	case "egress":
		return clsactEgress, nil
	case "", "ingress":
		list, err := k.Qdiscs()
		if err != nil {
			return 0, err
		}
		for _, q := range list {
			switch {
			case name == "" && q.parent == tcRoot && q.handle != 0:
				return q.handle, nil
			case name == "ingress" && q.Kind == "ingress":
				return q.handle, nil
			case name == "ingress" && q.Kind == "clsact":
				return clsactIngress, nil
			}
		}
		if name == "ingress" {
			return 0, inOption("parent", Usage("clsact(link) makes it", "%s has no place for filters of what comes in", k))
		}
		return 0, inOption("parent", Usage("like htb(link), or clsact(link) and parent=\"ingress\"", "%s has no qdisc that filters could belong to", k))
	}
	h, err := parseTcHandle(name)
	if err != nil {
		return 0, inOption("parent", err)
	}
	return h, nil
}

func (k *Link) filterError(err error, n *tcNode) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		if e := missing(err, feature.Filter, n.kind); e != nil {
			return e
		}
		for i, w := range n.words {
			if w != "action" {
				continue
			}
			name := n.words[i+1]
			if _, isVerdict := verdicts[name]; isVerdict {
				name = "gact"
			}
			if e := missing(err, feature.Action, name); e != nil {
				return e
			}
		}
	}
	hint := ""
	if errors.Is(err, unix.EEXIST) {
		hint = "there is one of that pref and handle"
	}
	return k.failed(err, hint, "add filter %s to %s", n.kind, k)
}

func (n tcNode) isSame(o tcNode) bool {
	return n.info == o.info && n.handle == o.handle && n.parent == o.parent
}

// dropFilter takes one away; of what is gone, it has nothing to do.
func (k *Link) dropFilter(ctx context.Context, n tcNode) error {
	if err := k.check(); err != nil {
		return err
	}
	k.filters = slices.DeleteFunc(k.filters, func(f *tcNode) bool { return f.isSame(n) })
	there, err := k.filtersAt(n.parent)
	if err != nil {
		return k.failed(err, "", "list filters of %s", k)
	}
	if !slices.ContainsFunc(there, func(o tcNode) bool { return o.info == n.info && o.handle != n.handle }) {
		n.handle = 0 // all of its place, with what the kernel made for it
	}
	if err := k.dropNode(ctx, n); err != nil && !errors.Is(err, unix.ENOENT) && !errors.Is(err, unix.EINVAL) {
		return k.failed(err, "", "delete filter %s of %s", n.kind, k)
	}
	return nil
}

// Delete takes the filter away.
func (f *Filter) Delete(ctx context.Context) error {
	k := f.Link
	if !slices.ContainsFunc(k.filters, func(o *tcNode) bool { return o.isSame(f.node) }) { // not the lab's own
		if err := k.ns.lab.mayDelete("", f); err != nil {
			return err
		}
	}
	before := f.node
	if err := k.dropFilter(ctx, f.node); err != nil {
		return err
	}
	k.ns.lab.onUndo(func(ctx context.Context) error { return k.restoreFilter(ctx, before) })
	return nil
}

// filtersAt are the filters of a parent.
func (k *Link) filtersAt(parent uint32) (all []tcNode, err error) {
	err = k.ns.conn.dump(func() *nl.NetlinkRequest { return tcRequest(unix.RTM_GETTFILTER, 0, k.index, 0, parent, 0) },
		func() { all = nil }, func(body []byte) error {
			if n, ok := parseFilter(body); ok {
				all = append(all, n)
			}
			return nil
		})
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.ENOENT) { // what takes none
		err = nil
	}
	return all, err
}

// parseFilter reads the body of an RTM_NEWTFILTER; of u32, the tables that the kernel
// makes for itself are none.
func parseFilter(body []byte) (n tcNode, ok bool) {
	if len(body) < sizeofTcMsg {
		return n, false
	}
	n = tcNode{what: "filter", handle: u32(body[8:]), parent: u32(body[12:]), info: u32(body[16:])}
	for kind, v := range attributes(body[sizeofTcMsg:]) {
		switch kind {
		case tcaKind:
			n.kind = cstring(v)
		case tcaOption:
			n.data = slices.Clone(v)
		}
	}
	n.seen = string(n.data)
	n.data = asGiven(n.kind, n.data)
	return n, n.kind != "" && n.data != nil && (n.handle != 0 || n.kind == "cgroup") && (n.kind != "u32" || n.handle&0xfff != 0)
}

// filterFlags are the attributes in which the kernel tells, beside what it was asked for
// (TCA_CLS_FLAGS_SKIP_HW and _SKIP_SW), whether hardware has the filter.
var filterFlags = map[string]int{"u32": 11, "flower": 22, "matchall": 3, "bpf": 9}

// asGiven are a filter's options as the kernel takes them.
func asGiven(kind string, data []byte) []byte {
	flags, known := filterFlags[kind]
	if !known || data == nil {
		return data
	}
	list := []*nl.RtAttr{}
	for a, v := range attributes(data) {
		if a == flags {
			v = nl.Uint32Attr(u32(v) & 3)
		}
		list = append(list, nl.NewRtAttr(a, slices.Clone(v)))
	}
	return append([]byte{}, serialize(list)...)
}

// filtersOf are those of the qdiscs and classes.
func (k *Link) filtersOf(all []tcNode) ([]tcNode, error) {
	var filters []tcNode
	for _, n := range all {
		parents := []uint32{n.handle}
		if n.kind == "clsact" {
			parents = []uint32{clsactIngress, clsactEgress}
		}
		for _, p := range parents {
			list, err := k.filtersAt(p)
			if err != nil {
				return nil, k.failed(err, "", "list filters of %s", k)
			}
			for _, f := range list {
				f.parent = p
				if i := slices.IndexFunc(k.filters, func(o *tcNode) bool { return o.isSame(f) }); i >= 0 {
					f = *k.filters[i]
				}
				if !slices.ContainsFunc(filters, f.isSame) {
					filters = append(filters, f)
				}
			}
		}
	}
	return filters, nil
}

// Filters lists those of the link's qdiscs and classes.
func (k *Link) Filters() ([]*Filter, error) {
	nodes, err := k.queueing()
	if err != nil {
		return nil, err
	}
	var all []*Filter
	for _, n := range nodes {
		if n.what == "filter" {
			all = append(all, &Filter{Link: k, Kind: n.kind, Parent: n.place(), Protocol: n.protocol(), Pref: int(n.info >> 16),
				Handle: filterHandle(n.kind, n.handle), Words: n.words, node: n})
		}
	}
	return all, nil
}

// String is the filter as tc prints it.
func (f *Filter) String() string {
	w := []string{"parent", f.Parent, "protocol", f.Protocol, "pref", strconv.Itoa(f.Pref), f.Kind}
	if f.Handle != "" {
		w = append(w, "handle", f.Handle)
	}
	return strings.Join(append(w, f.Words...), " ")
}

// place is what a filter belongs to.
func (n *tcNode) place() string {
	switch n.parent {
	case clsactIngress, tcIngress &^ 0xffff:
		return "ingress"
	case clsactEgress:
		return "egress"
	}
	return tcHandle(n.parent)
}

func (n *tcNode) protocol() string {
	number := int(bits.ReverseBytes16(uint16(n.info)))
	for _, name := range []string{"all", "ip", "ipv6", "arp", "802.1Q", "802.1ad", "mpls_uc"} {
		if etherTypes[name] == number {
			return name
		}
	}
	return fmt.Sprintf("%#x", number)
}

// filterHandle is a filter's handle as tc prints it: of u32, in three parts.
func filterHandle(kind string, h uint32) string {
	if kind == "u32" {
		return fmt.Sprintf("%x::%x", h>>20, h&0xfff)
	}
	return fmt.Sprintf("%#x", h)
}

// filterArgs say which filter it is, as tc takes it.
func (n *tcNode) filterArgs() []event.Arg {
	args := []event.Arg{arg("protocol", n.protocol()), arg("pref", strconv.Itoa(int(n.info>>16)))}
	if n.handle != 0 {
		args = append(args, arg("handle", filterHandle(n.kind, n.handle)+n.mask))
	}
	return args
}

// bigEndian is a number in network byte order.
func bigEndian(n uint32) []byte { return binary.BigEndian.AppendUint32(nil, n) }
