package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// Numbers of include/uapi/linux/if_bridge.h that nl and unix do not have.
const (
	bridgeFlagsMaster = 1 // BRIDGE_FLAGS_: whose table is meant
	bridgeFlagsSelf   = 2

	vlanOnlyOptions = 1 << 6 // BRIDGE_VLAN_INFO_ONLY_OPTS: it has to be there

	vlanEntry           = 1 // BRIDGE_VLANDB_ENTRY
	vlanEntryInfo       = 1 // BRIDGE_VLANDB_ENTRY_INFO
	vlanEntryRange      = 2
	vlanEntryState      = 3
	vlanEntryTunnelInfo = 4
	vlanEntryRouter     = 6 // BRIDGE_VLANDB_ENTRY_MCAST_ROUTER
	vlanTunnelInfoID    = 1 // BRIDGE_VLANDB_TINFO_ID
)

// VLANSpec is what a bridge's port, or the bridge itself, is to be a member of
// (bridge(8), "bridge vlan add" and "bridge vlan set").
type VLANSpec struct {
	First, Last    int  // 1 to 4094
	PVID, Untagged bool // what comes in untagged is of it; it goes out untagged
	Self           bool // of the bridge itself
	TunnelID       int  // of First, the following of the others; or 0
	State          string
	MCastRouter    *int
	Exist          bool
}

// VLAN is a VLAN that a port or a bridge is a member of.
type VLAN struct {
	Port           *Link
	ID             int
	PVID, Untagged bool
	TunnelID       int // or 0
	State          string
	MCastRouter    int
}

func (v *VLAN) String() string {
	s := fmt.Sprintf("%s vid %d", v.Port.name, v.ID)
	if v.PVID {
		s += " PVID"
	}
	if v.Untagged {
		s += " Egress Untagged"
	}
	if v.TunnelID != 0 {
		s += " tunnel_info id " + strconv.Itoa(v.TunnelID)
	}
	if v.State != "" && v.State != "forwarding" {
		s += " state " + v.State
	}
	return s
}

func (s VLANSpec) vids() string {
	if s.First == s.Last {
		return strconv.Itoa(s.First)
	}
	return fmt.Sprintf("%d-%d", s.First, s.Last)
}

func (s VLANSpec) check() error {
	switch {
	case s.PVID && s.First != s.Last:
		return Usage("say which one by a call of its own", "pvid: only one VLAN can be it, not %s", s.vids())
	case s.TunnelID != 0 && s.TunnelID+s.Last-s.First >= 1<<24:
		return Usage("", "tunnel_id: the last one of %s would be beyond 16777215", s.vids())
	case s.Self && s.TunnelID != 0:
		return Usage("", "tunnel_id is for ports of a bridge, not for the bridge itself")
	}
	return Word{Words: portStates}.checkGiven(s.State)
}

// checkGiven is check for a word that may be left out.
func (w Word) checkGiven(s string) error {
	if s == "" {
		return nil
	}
	return inOption("state", w.check(s))
}

// message is a change of the membership (RTM_SETLINK adds, RTM_DELLINK deletes).
func (s VLANSpec) message(kind int, k *Link) *nl.NetlinkRequest {
	r := request(kind, 0)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(k.index)
	r.AddData(msg)
	spec := nl.NewRtAttr(unix.IFLA_AF_SPEC, nil)
	whose := bridgeFlagsMaster
	if s.Self {
		whose = bridgeFlagsSelf
	}
	spec.AddRtAttr(nl.IFLA_BRIDGE_FLAGS, nl.Uint16Attr(uint16(whose)))
	var flags uint16
	if s.PVID {
		flags |= nl.BRIDGE_VLAN_INFO_PVID
	}
	if s.Untagged {
		flags |= nl.BRIDGE_VLAN_INFO_UNTAGGED
	}
	s.eachEnd(func(vid int, end uint16) {
		spec.AddRtAttr(nl.IFLA_BRIDGE_VLAN_INFO, vlanInfo(flags|end, vid))
	})
	if s.TunnelID != 0 {
		s.eachEnd(func(vid int, end uint16) {
			info := spec.AddRtAttr(nl.IFLA_BRIDGE_VLAN_TUNNEL_INFO|unix.NLA_F_NESTED, nil)
			info.AddRtAttr(nl.IFLA_BRIDGE_VLAN_TUNNEL_ID, nl.Uint32Attr(uint32(s.TunnelID+vid-s.First)))
			info.AddRtAttr(nl.IFLA_BRIDGE_VLAN_TUNNEL_VID, nl.Uint16Attr(uint16(vid)))
			info.AddRtAttr(nl.IFLA_BRIDGE_VLAN_TUNNEL_FLAGS, nl.Uint16Attr(end))
		})
	}
	r.AddData(spec)
	return r
}

// eachEnd visits one VLAN, or the two ends of a range.
func (s VLANSpec) eachEnd(fn func(vid int, end uint16)) {
	if s.First == s.Last {
		fn(s.First, 0)
		return
	}
	fn(s.First, nl.BRIDGE_VLAN_INFO_RANGE_BEGIN)
	fn(s.Last, nl.BRIDGE_VLAN_INFO_RANGE_END)
}

// vlanInfo is a struct bridge_vlan_info.
func vlanInfo(flags uint16, vid int) []byte {
	return append(nl.Uint16Attr(flags), nl.Uint16Attr(uint16(vid))...)
}

// settings changes what only RTM_NEWVLAN can say; nil where nothing of it is asked.
func (s VLANSpec) settings(k *Link) *nl.NetlinkRequest {
	if s.State == "" && s.MCastRouter == nil {
		return nil
	}
	r := request(unix.RTM_NEWVLAN, 0)
	r.AddRawData(vlanHead(k.index))
	entry := nl.NewRtAttr(vlanEntry|unix.NLA_F_NESTED, nil)
	entry.AddRtAttr(vlanEntryInfo, vlanInfo(vlanOnlyOptions, s.First))
	if s.Last != s.First {
		entry.AddRtAttr(vlanEntryRange, nl.Uint16Attr(uint16(s.Last)))
	}
	if s.State != "" {
		entry.AddRtAttr(vlanEntryState, nl.Uint8Attr(uint8(slices.Index(portStates, s.State))))
	}
	if s.MCastRouter != nil {
		entry.AddRtAttr(vlanEntryRouter, nl.Uint8Attr(uint8(*s.MCastRouter)))
	}
	r.RawData = append(r.RawData, entry.Serialize()...)
	return r
}

// vlanHead is a struct br_vlan_msg.
func vlanHead(index int) []byte {
	return binary.NativeEndian.AppendUint32([]byte{unix.AF_BRIDGE, 0, 0, 0}, uint32(index))
}

// args are the arguments of `bridge vlan add` or `del`, in its order.
func (s VLANSpec) args(k *Link) []event.Arg {
	args := []event.Arg{arg("dev", k.name), arg("vid", s.vids())}
	if s.TunnelID != 0 {
		last := s
		last.First, last.Last = s.TunnelID, s.TunnelID+s.Last-s.First
		args = append(args, arg("tunnel_info id", last.vids()))
	}
	for _, flag := range []struct {
		name string
		set  bool
	}{{"pvid", s.PVID}, {"untagged", s.Untagged}, {"self", s.Self}} {
		if flag.set {
			args = append(args, arg(flag.name, ""))
		}
	}
	return args
}

// settingArgs are the arguments of `bridge vlan set`.
func (s VLANSpec) settingArgs(k *Link) []event.Arg {
	args := []event.Arg{arg("dev", k.name), arg("vid", s.vids())}
	if s.State != "" {
		args = append(args, arg("state", s.State))
	}
	if s.MCastRouter != nil {
		args = append(args, arg("mcast_router", strconv.Itoa(*s.MCastRouter)))
	}
	return args
}

// AddVLANs makes a bridge's port, or the bridge itself, a member of VLANs, as
// `bridge vlan add` does: of one that it is a member of it changes the flags.
func (k *Link) AddVLANs(ctx context.Context, s VLANSpec) ([]*VLAN, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if err := s.check(); err != nil {
		return nil, err
	}
	before, err := k.VLANs()
	if err != nil {
		return nil, err
	}
	if s.Exist {
		if there, err := s.existing(before); there != nil || err != nil {
			return there, err
		}
	}
	if err := k.putVLANs(ctx, s); err != nil {
		return nil, k.vlanError(errors.Join(err, k.restoreVLANs(ctx, before)), s)
	}
	for vid := s.First; vid <= s.Last; vid++ {
		k.ns.lab.claim(k.vlanKey(vid))
	}
	k.ns.lab.onUndo(func(ctx context.Context) error { return k.restoreVLANs(ctx, before) })
	now, err := k.VLANs()
	return slices.DeleteFunc(now, func(v *VLAN) bool { return v.ID < s.First || v.ID > s.Last }), err
}

func (k *Link) putVLANs(ctx context.Context, s VLANSpec) error {
	start := time.Now()
	err := k.ns.conn.do(s.message(unix.RTM_SETLINK, k))
	k.ns.lab.emit(ctx, "vlan add", k.ns, start, err, s.args(k)...)
	r := s.settings(k)
	if err != nil || r == nil {
		return err
	}
	start = time.Now()
	err = k.ns.conn.do(r)
	k.ns.lab.emit(ctx, "vlan set", k.ns, start, err, s.settingArgs(k)...)
	return err
}

// existing are the VLANs of the spec, if all are there; an error when one differs.
func (s VLANSpec) existing(all []*VLAN) (there []*VLAN, err error) {
	for _, v := range all {
		if v.ID < s.First || v.ID > s.Last {
			continue
		}
		if diff := s.differs(v); diff != "" {
			return nil, Usage("without exist=True it is changed", "%s is there already, with %s", v, diff)
		}
		there = append(there, v)
	}
	if len(there) <= s.Last-s.First {
		return nil, nil
	}
	return there, nil
}

func (s VLANSpec) differs(v *VLAN) string {
	tunnel := s.TunnelID
	if tunnel != 0 {
		tunnel += v.ID - s.First
	}
	switch {
	case v.PVID != s.PVID:
		return fmt.Sprintf("pvid=%s", pyBool(v.PVID))
	case v.Untagged != s.Untagged:
		return fmt.Sprintf("untagged=%s", pyBool(v.Untagged))
	case v.TunnelID != tunnel:
		return fmt.Sprintf("tunnel_id=%d", v.TunnelID)
	case s.State != "" && v.State != s.State:
		return fmt.Sprintf("state=%q", v.State)
	case s.MCastRouter != nil && v.MCastRouter != *s.MCastRouter:
		return fmt.Sprintf("mcast_router=%d", v.MCastRouter)
	}
	return ""
}

// pyBool is a truth value as a script writes it.
func pyBool(b bool) string {
	if b {
		return "True"
	}
	return "False"
}

// spec is what makes the VLAN again.
func (v *VLAN) spec() VLANSpec {
	return VLANSpec{First: v.ID, Last: v.ID, PVID: v.PVID, Untagged: v.Untagged, TunnelID: v.TunnelID, Self: v.Port.isBridge()}
}

func (k *Link) isBridge() bool {
	info, err := k.Info()
	return err == nil && info.Kind == "bridge"
}

// Delete takes the port out of the VLAN.
func (v *VLAN) Delete(ctx context.Context) error {
	k := v.Port
	if err := k.check(); err != nil {
		return err
	}
	if err := k.ns.lab.mayDelete(k.vlanKey(v.ID), v); err != nil {
		return err
	}
	before, err := k.VLANs()
	if err != nil {
		return err
	}
	if err := v.remove(ctx); err != nil {
		return err
	}
	k.ns.lab.onUndo(func(ctx context.Context) error { return k.restoreVLANs(ctx, before) })
	return nil
}

func (v *VLAN) remove(ctx context.Context) error {
	k := v.Port
	s := VLANSpec{First: v.ID, Last: v.ID, Self: k.isBridge()}
	start := time.Now()
	err := k.ns.conn.do(s.message(unix.RTM_DELLINK, k))
	k.ns.lab.emit(ctx, "vlan delete", k.ns, start, err, s.args(k)...)
	if err != nil {
		return k.failed(err, "", "delete VLAN %s", v)
	}
	return nil
}

// restoreVLANs makes the link's VLANs what they were: to be the PVID one takes it
// from another.
func (k *Link) restoreVLANs(ctx context.Context, before []*VLAN) error {
	now, err := k.VLANs()
	if err != nil {
		return err
	}
	find := func(list []*VLAN, id int) *VLAN {
		if i := slices.IndexFunc(list, func(v *VLAN) bool { return v.ID == id }); i >= 0 {
			return list[i]
		}
		return nil
	}
	var failed []error
	for _, v := range now {
		if find(before, v.ID) == nil {
			failed = append(failed, v.remove(ctx))
		}
	}
	for _, v := range before {
		there := find(now, v.ID)
		if there != nil && *there == *v {
			continue
		}
		if there != nil && there.TunnelID != v.TunnelID {
			failed = append(failed, there.remove(ctx))
		}
		s := v.spec()
		if there == nil || there.State != v.State {
			s.State = v.State
		}
		failed = append(failed, k.putVLANs(ctx, s))
	}
	return errors.Join(failed...)
}

func (k *Link) vlanKey(vid int) string { return fmt.Sprintf("vlan %v %d %d", k.ns.id, k.index, vid) }

// vlanError explains why the kernel did not make VLANs.
func (k *Link) vlanError(err error, s VLANSpec) error {
	hint := ""
	info, e := k.Info()
	switch {
	case e != nil:
	case info.Kind != "bridge" && info.PortState == "":
		return Usage("it takes a bridge, or a port of one", "%s is no port of a bridge", k)
	case errors.Is(err, unix.EOPNOTSUPP):
		if e := missing(err, feature.Bridge, "vlan_filtering"); e != nil {
			return e
		}
	case s.TunnelID != 0 && errors.Is(err, unix.EINVAL):
		hint = "first let the port map VLANs to tunnel ids: bridge_port(port, vlan_tunnel=True)"
	}
	return k.failed(err, hint, "add VLAN %s to %s", s.vids(), k)
}

// VLANs lists what a port is a member of; of a bridge its own.
func (k *Link) VLANs() ([]*VLAN, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	all, err := k.ns.vlans(k.index, func(int) bool { return true })
	if err != nil {
		return nil, k.failed(err, "", "list the VLANs of %s", k)
	}
	return all, nil
}

// BridgeVLANs lists the VLANs of a bridge: those of its ports, and its own.
func (k *Link) BridgeVLANs() ([]*VLAN, error) {
	ports, _, err := k.Ports()
	if err != nil {
		return nil, err
	}
	all, err := k.ns.vlans(0, func(index int) bool {
		return index == k.index || slices.ContainsFunc(ports, func(p *Link) bool { return p.index == index })
	})
	if err != nil {
		return nil, kernelError(err, "", "list the VLANs of %s", k)
	}
	return all, nil
}

// vlans lists those of a link (0 for all) and of the links that are wanted: none of
// what is no bridge and no port, and on a kernel whose bridges know none.
func (ns *Namespace) vlans(index int, wanted func(index int) bool) ([]*VLAN, error) {
	bodies, err := ns.bodies(unix.RTM_GETVLAN, vlanHead(index))
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	var all []*VLAN
	for _, body := range bodies {
		if len(body) < 8 || !wanted(int(u32(body[4:]))) {
			continue
		}
		port := ns.linkAt(int(u32(body[4:])))
		if port == nil {
			continue
		}
		for kind, v := range attributes(body[8:]) {
			if kind == vlanEntry {
				all = append(all, parseVLANs(port, v)...)
			}
		}
	}
	return all, nil
}

// parseVLANs reads a BRIDGE_VLANDB_ENTRY, which is one VLAN or a range of equal
// ones, whose tunnel ids count up.
func parseVLANs(port *Link, entry []byte) (all []*VLAN) {
	v := VLAN{Port: port}
	last := 0
	for kind, b := range attributes(entry) {
		switch kind {
		case vlanEntryInfo:
			if len(b) >= 4 {
				flags := u16(b)
				v.PVID, v.Untagged = flags&nl.BRIDGE_VLAN_INFO_PVID != 0, flags&nl.BRIDGE_VLAN_INFO_UNTAGGED != 0
				v.ID = u16(b[2:])
			}
		case vlanEntryRange:
			last = u16(b)
		case vlanEntryState:
			v.State = nameOf(portStates, u8(b))
		case vlanEntryRouter:
			v.MCastRouter = u8(b)
		case vlanEntryTunnelInfo:
			for kind, id := range attributes(b) {
				if kind == vlanTunnelInfoID {
					v.TunnelID = int(u32(id))
				}
			}
		}
	}
	for first := v.ID; v.ID <= max(first, last); v.ID++ {
		one := v
		all = append(all, &one)
		if v.TunnelID != 0 {
			v.TunnelID++
		}
	}
	return all
}
