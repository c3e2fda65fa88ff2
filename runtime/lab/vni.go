package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Attributes of RTM_NEWTUNNEL (include/uapi/linux/if_link.h).
const (
	vniEntry  = 1 // VXLAN_VNIFILTER_ENTRY
	vniStart  = 1 // VXLAN_VNIFILTER_ENTRY_
	vniEnd    = 2
	vniGroup  = 3
	vniGroup6 = 4
)

// VNI is a segment that a VXLAN with vnifilter takes part in.
type VNI struct {
	Link   *Link
	ID     int
	Remote netip.Addr // where its frames to unknown addresses go, also a group; or none
}

func (v *VNI) String() string {
	s := fmt.Sprintf("%s vni %d", v.Link.name, v.ID)
	if v.Remote.IsValid() {
		s += " remote " + v.Remote.String()
	}
	return s
}

// VNISpec are segments to take part in.
type VNISpec struct {
	First, Last int // 0 to 2²⁴-1
	Remote      netip.Addr
	Exist       bool
}

// vniHead is a struct tunnel_msg.
func vniHead(index int) []byte {
	return binary.NativeEndian.AppendUint32([]byte{unix.AF_BRIDGE, 0, 0, 0}, uint32(index))
}

func (s VNISpec) message(kind int, k *Link) *nl.NetlinkRequest {
	r := request(kind, 0)
	r.AddData(head(vniHead(k.index)))
	entry := nest(vniEntry)
	entry.AddRtAttr(vniStart, nl.Uint32Attr(uint32(s.First)))
	if s.Last != s.First {
		entry.AddRtAttr(vniEnd, nl.Uint32Attr(uint32(s.Last)))
	}
	switch {
	case !s.Remote.IsValid():
	case s.Remote.Is4():
		entry.AddRtAttr(vniGroup, s.Remote.AsSlice())
	default:
		entry.AddRtAttr(vniGroup6, s.Remote.AsSlice())
	}
	r.AddData(entry)
	return r
}

// args are the arguments of `bridge vni`.
func (s VNISpec) args(k *Link) []event.Arg {
	vni := strconv.Itoa(s.First)
	if s.Last != s.First {
		vni += "-" + strconv.Itoa(s.Last)
	}
	args := []event.Arg{arg("vni", vni)}
	switch {
	case !s.Remote.IsValid():
	case s.Remote.IsMulticast():
		args = append(args, arg("group", s.Remote.String()))
	default:
		args = append(args, arg("remote", s.Remote.String()))
	}
	return append(args, arg("dev", k.name))
}

// AddVNIs lets a VXLAN with vnifilter take part in segments, as `bridge vni add`
// does: of one that it takes part in it changes the remote end.
func (k *Link) AddVNIs(ctx context.Context, s VNISpec) ([]*VNI, error) {
	before, err := k.VNIs()
	if err != nil {
		return nil, err
	}
	if s.Exist {
		if there, err := s.existing(before); there != nil || err != nil {
			return there, err
		}
	}
	start := time.Now()
	err = k.ns.conn.do(s.message(unix.RTM_NEWTUNNEL, k))
	k.ns.lab.emit(ctx, "vni add", k.ns, start, err, s.args(k)...)
	if err != nil {
		return nil, k.vniError(errors.Join(err, k.restoreVNIs(before)), s)
	}
	for vni := s.First; vni <= s.Last; vni++ {
		k.ns.lab.claim(k.vniKey(vni))
	}
	k.ns.lab.onUndo(func(context.Context) error { return k.restoreVNIs(before) })
	now, err := k.VNIs()
	return slices.DeleteFunc(now, func(v *VNI) bool { return v.ID < s.First || v.ID > s.Last }), err
}

// existing are the segments of the spec, if all are there; an error when one differs.
func (s VNISpec) existing(all []*VNI) (there []*VNI, err error) {
	for _, v := range all {
		if v.ID < s.First || v.ID > s.Last {
			continue
		}
		if s.Remote.IsValid() && v.Remote != s.Remote {
			return nil, Usage("without exist=True it is changed", "%s is there, but its remote is not %s", v, s.Remote)
		}
		there = append(there, v)
	}
	if len(there) <= s.Last-s.First {
		return nil, nil
	}
	return there, nil
}

// vniError explains why the kernel did not take segments.
func (k *Link) vniError(err error, s VNISpec) error {
	hint := ""
	info, e := k.Info()
	switch {
	case e == nil && info.Kind != "vxlan":
		return Usage("vxlan(external=True, vnifilter=True) makes one", "%s is no VXLAN", k)
	case e == nil && info.Options["vnifilter"] != true:
		hint = "it takes vxlan(external=True, vnifilter=True)"
	case s.Remote.IsMulticast():
		hint = "a group takes a VXLAN with a dev"
	}
	return k.failed(err, hint, "add segments to %s", k)
}

// Delete takes the VXLAN out of the segment.
func (v *VNI) Delete(ctx context.Context) error {
	k := v.Link
	if err := k.ns.lab.mayDelete(k.vniKey(v.ID), v); err != nil {
		return err
	}
	before, err := k.VNIs()
	if err != nil {
		return err
	}
	s := VNISpec{First: v.ID, Last: v.ID}
	start := time.Now()
	err = k.ns.conn.do(s.message(unix.RTM_DELTUNNEL, k))
	k.ns.lab.emit(ctx, "vni delete", k.ns, start, err, s.args(k)...)
	if err != nil {
		return k.failed(err, "", "delete segment %s", v)
	}
	k.ns.lab.onUndo(func(context.Context) error { return k.restoreVNIs(before) })
	return nil
}

func (k *Link) vniKey(vni int) string { return fmt.Sprintf("vni %v %d %d", k.ns.id, k.index, vni) }

// restoreVNIs makes the link's segments what they were.
func (k *Link) restoreVNIs(before []*VNI) error {
	now, err := k.VNIs()
	if err != nil {
		return err
	}
	var failed []error
	has := func(list []*VNI, v *VNI) bool {
		return slices.ContainsFunc(list, func(w *VNI) bool { return *w == *v })
	}
	for _, v := range now {
		if !has(before, v) {
			failed = append(failed, k.ns.conn.do(VNISpec{First: v.ID, Last: v.ID}.message(unix.RTM_DELTUNNEL, k)))
		}
	}
	for _, v := range before {
		if !has(now, v) {
			failed = append(failed, k.ns.conn.do(VNISpec{First: v.ID, Last: v.ID, Remote: v.Remote}.message(unix.RTM_NEWTUNNEL, k)))
		}
	}
	return errors.Join(failed...)
}

// VNIs lists the segments that a VXLAN takes part in by vnifilter, in their order;
// any other link has none.
func (k *Link) VNIs() (all []*VNI, err error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	entries, err := k.entries(unix.RTM_GETTUNNEL, vniHead(0), vniEntry)
	if err != nil && !errors.Is(err, unix.EOPNOTSUPP) {
		return nil, k.failed(err, "", "list the segments of %s", k)
	}
	for _, v := range entries {
		all = append(all, parseVNIs(k, v)...)
	}
	slices.SortFunc(all, func(a, b *VNI) int { return a.ID - b.ID })
	return all, nil
}

// entries are the attributes of a kind in those messages of a dump that are of the link.
// Their header is a family and, from the fifth byte on, an ifindex: a struct
// br_vlan_msg, br_port_msg or tunnel_msg.
func (k *Link) entries(dump int, ask []byte, kind int) (all [][]byte, err error) {
	bodies, err := k.ns.bodies(dump, ask)
	for _, body := range bodies {
		if len(body) < 8 || int(u32(body[4:])) != k.index {
			continue
		}
		for a, v := range attributes(body[8:]) {
			if a == kind {
				all = append(all, v)
			}
		}
	}
	return all, err
}

// parseVNIs reads an entry, which is one segment or a range of equal ones.
func parseVNIs(k *Link, entry []byte) (all []*VNI) {
	first, last := 0, 0
	var remote netip.Addr
	for kind, b := range attributes(entry) {
		switch kind {
		case vniStart:
			first = int(u32(b))
		case vniEnd:
			last = int(u32(b))
		case vniGroup, vniGroup6:
			if ip, ok := netip.AddrFromSlice(b); ok && !ip.IsUnspecified() {
				remote = ip
			}
		}
	}
	for id := first; id <= max(first, last); id++ {
		all = append(all, &VNI{k, id, remote})
	}
	return all
}
