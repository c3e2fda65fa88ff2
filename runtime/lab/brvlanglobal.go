package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// Attributes of what a bridge does in a whole VLAN (include/uapi/linux/if_bridge.h).
const (
	vlanDumpFlags  = 1 // BRIDGE_VLANDB_DUMP_FLAGS
	vlanDumpGlobal = 1 << 1

	vlanGlobal      = 2 // BRIDGE_VLANDB_GLOBAL_OPTIONS
	vlanGlobalID    = 1 // BRIDGE_VLANDB_GOPTS_
	vlanGlobalRange = 2
)

// VLANGlobalOptions are the options of `bridge vlan global set`; those of a bridge
// without mcast_vlan_snooping have no effect.
var VLANGlobalOptions = sync.OnceValue(func() []*Option {
	return []*Option{
		mcastOption("mcast_snooping", 3),
		mcastOption("mcast_querier", 15),
		mcastOption("mcast_igmp_version", 4),
		mcastOption("mcast_mld_version", 5),
		mcastOption("mcast_last_member_count", 6),
		mcastOption("mcast_last_member_interval", 8),
		mcastOption("mcast_startup_query_count", 7),
		mcastOption("mcast_startup_query_interval", 14),
		mcastOption("mcast_membership_interval", 10),
		mcastOption("mcast_querier_interval", 11),
		mcastOption("mcast_query_interval", 12),
		mcastOption("mcast_query_response_interval", 13),
	}
})

// VLANGlobal is what a bridge does in a whole VLAN.
type VLANGlobal struct {
	Bridge *Link
	ID     int
	Values map[string]any // int, bool or, of times, float64 in seconds
	data   []byte
}

// VLANGlobals lists what a bridge does in each of its VLANs; nothing on a kernel whose
// bridges know none.
func (k *Link) VLANGlobals() (all []*VLANGlobal, err error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	ask := append(vlanHead(k.index), nl.NewRtAttr(vlanDumpFlags, nl.Uint32Attr(vlanDumpGlobal)).Serialize()...)
	entries, err := k.entries(unix.RTM_GETVLAN, ask, vlanGlobal)
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, k.failed(err, "", "list the VLANs of %s", k)
	}
	for _, v := range entries {
		all = append(all, parseVLANGlobals(k, v)...)
	}
	return all, nil
}

// parseVLANGlobals reads the options of one VLAN, or of a range of equal ones.
func parseVLANGlobals(k *Link, data []byte) (all []*VLANGlobal) {
	first, last := 0, 0
	for kind, b := range attributes(data) {
		switch kind {
		case vlanGlobalID:
			first = u16(b)
		case vlanGlobalRange:
			last = u16(b)
		}
	}
	values := (&Kind{Options: VLANGlobalOptions()}).read(data)
	for id := first; id <= max(first, last); id++ {
		all = append(all, &VLANGlobal{k, id, values, data})
	}
	return all
}

// SetVLANGlobal changes what a bridge does in VLANs that it is itself a member of or
// one of its ports is, all or nothing, as `bridge vlan global set` does.
func (k *Link) SetVLANGlobal(ctx context.Context, first, last int, options []Chosen) error {
	if err := (&Kind{Options: VLANGlobalOptions()}).checkOptions(chosen{options: options}); err != nil {
		return err
	}
	before, err := k.VLANGlobals()
	if err != nil {
		return err
	}
	before = slices.DeleteFunc(before, func(v *VLANGlobal) bool { return v.ID < first || v.ID > last })
	vids := VLANSpec{First: first, Last: last}.vids()
	args := []event.Arg{arg("dev", k.name), arg("vid", vids)}
	for _, o := range options {
		words, _ := o.Value.words(o.Given)
		args = append(args, arg(o.Name, words[0]))
	}
	start := time.Now()
	err = k.putVLANGlobal(first, last, merge(nil, options))
	k.ns.lab.emit(ctx, "vlan global set", k.ns, start, err, args...)
	if err != nil {
		return k.vlanGlobalError(errors.Join(err, k.restoreVLANGlobals(before, options)), vids)
	}
	if k.isForeign() {
		k.ns.lab.onUndo(func(context.Context) error { return k.restoreVLANGlobals(before, options) })
	}
	return nil
}

// restoreVLANGlobals sets options of VLANs back.
func (k *Link) restoreVLANGlobals(before []*VLANGlobal, options []Chosen) error {
	var failed []error
	for _, v := range before {
		var was []*nl.RtAttr
		for kind, b := range attributes(v.data) {
			if slices.ContainsFunc(options, func(o Chosen) bool { return o.attr == kind }) {
				was = append(was, nl.NewRtAttr(kind, b))
			}
		}
		if err := k.putVLANGlobal(v.ID, v.ID, was); err != nil {
			failed = append(failed, fmt.Errorf("restore VLAN %d of %s: %w", v.ID, k, err))
		}
	}
	return errors.Join(failed...)
}

func (k *Link) putVLANGlobal(first, last int, options []*nl.RtAttr) error {
	r := request(unix.RTM_NEWVLAN, 0)
	r.AddData(head(vlanHead(k.index)))
	entry := nest(vlanGlobal)
	entry.AddRtAttr(vlanGlobalID, nl.Uint16Attr(uint16(first)))
	if last != first {
		entry.AddRtAttr(vlanGlobalRange, nl.Uint16Attr(uint16(last)))
	}
	for _, a := range options {
		entry.AddChild(a)
	}
	r.AddData(entry)
	return k.ns.conn.do(r)
}

// vlanGlobalError explains why the kernel did not take options of VLANs.
func (k *Link) vlanGlobalError(err error, vids string) error {
	info, e := k.Info()
	switch {
	case e == nil && info.Kind != "bridge":
		return Usage("it takes the bridge itself", "%s is no bridge", k)
	case errors.Is(err, unix.EOPNOTSUPP):
		if e := missing(err, feature.Bridge, "vlan_filtering"); e != nil {
			return e
		}
	case errors.Is(err, unix.ENOENT):
		return k.failed(err, "bridge_vlan(bridge, "+strconv.Quote(vids)+") makes the bridge a member", "set options of VLAN %s of %s", vids, k)
	}
	return k.failed(err, "", "set options of VLAN %s of %s", vids, k)
}
