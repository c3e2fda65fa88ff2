package lab

import (
	"context"
	"errors"
	"fmt"
	"math"
	"slices"
	"strconv"
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
var VLANGlobalOptions = func() []*Option {
	zeroOne := Switch{1, oneZero, false}
	count := Number{Size: 4, Max: math.MaxUint32}
	long := Time{0, 1000000 * time.Second, userHZ, true}
	atLeastSecond := Time{time.Second, 1000000 * time.Second, userHZ, true}
	return []*Option{
		{Name: "mcast_snooping", Doc: "send groups only where they are wanted (RFC 4541)", attr: 3, Value: zeroOne},
		{Name: "mcast_querier", Doc: "ask who wants which group", attr: 15, Value: zeroOne},
		{Name: "mcast_igmp_version", Doc: "2 or 3", attr: 4, Value: Number{Size: 1, Min: 2, Max: 3}},
		{Name: "mcast_mld_version", Doc: "1 or 2", attr: 5, Value: Number{Size: 1, Min: 1, Max: 2}},
		{Name: "mcast_last_member_count", Doc: "how often it asks when a member leaves", attr: 6, Value: count},
		{Name: "mcast_last_member_interval", Doc: "between those when a member leaves", attr: 8, Value: long},
		{Name: "mcast_startup_query_count", Doc: "how many queries it begins with", attr: 7, Value: count},
		{Name: "mcast_startup_query_interval", Doc: "between the first queries", attr: 14, Value: atLeastSecond},
		{Name: "mcast_membership_interval", Doc: "how long a member is remembered", attr: 10, Value: long},
		{Name: "mcast_querier_interval", Doc: "how long another querier is remembered", attr: 11, Value: long},
		{Name: "mcast_query_interval", Doc: "between queries", attr: 12, Value: atLeastSecond},
		{Name: "mcast_query_response_interval", Doc: "how long members may take to answer", attr: 13, Value: long},
	}
}()

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
	values := (&Kind{Options: VLANGlobalOptions}).read(data)
	for id := first; id <= max(first, last); id++ {
		all = append(all, &VLANGlobal{k, id, values, data})
	}
	return all
}

// SetVLANGlobal changes what a bridge does in VLANs that it is itself a member of or
// one of its ports is, all or nothing, as `bridge vlan global set` does.
func (k *Link) SetVLANGlobal(ctx context.Context, first, last int, options []Chosen) error {
	if err := (&Kind{Options: VLANGlobalOptions}).checkOptions(chosen{options: options}); err != nil {
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
