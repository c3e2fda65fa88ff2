package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

var onOffSwitch = Switch{1, [2]string{"off", "on"}, false}

// PortOptions are the options of a bridge's port, as `ip link set PORT type
// bridge_slave` and `bridge link set` have them (include/uapi/linux/if_link.h,
// IFLA_BRPORT_). What those have beside is for hardware that bridges.
var PortOptions = []*Option{
	{Name: "state", Doc: "disabled, listening, learning, forwarding or blocking; without a program that does the STP the kernel lets all but disabled ports forward again", attr: nl.IFLA_BRPORT_STATE,
		Value: Word{Size: 1, Words: portStates}},
	{Name: "priority", Doc: "of the port, for the spanning tree", attr: nl.IFLA_BRPORT_PRIORITY, Value: Number{Size: 2, Max: 63}},
	{Name: "cost", Doc: "of the path over it, for the spanning tree", attr: nl.IFLA_BRPORT_COST, Value: Number{Size: 4, Min: 1, Max: 65535}},
	{Name: "guard", Doc: "block it when it receives BPDUs", attr: nl.IFLA_BRPORT_GUARD, Value: onOffSwitch},
	{Name: "hairpin", Doc: "send frames back out of the port that they came in by", attr: nl.IFLA_BRPORT_MODE, Value: onOffSwitch},
	{Name: "fastleave", Doc: "forget a group at once when its member leaves", attr: nl.IFLA_BRPORT_FAST_LEAVE, Value: onOffSwitch},
	{Name: "mcast_fast_leave", Doc: "the same as fastleave, by its other name", attr: nl.IFLA_BRPORT_FAST_LEAVE, Value: onOffSwitch},
	{Name: "root_block", Doc: "never make it the root port", attr: nl.IFLA_BRPORT_PROTECT, Value: onOffSwitch},
	{Name: "learning", Doc: "learn where addresses are", attr: nl.IFLA_BRPORT_LEARNING, Value: onOffSwitch},
	{Name: "flood", Doc: "send frames to unknown addresses there", attr: nl.IFLA_BRPORT_UNICAST_FLOOD, Value: onOffSwitch},
	{Name: "mcast_flood", Doc: "send frames to unknown groups there", attr: nl.IFLA_BRPORT_MCAST_FLOOD, Value: onOffSwitch},
	{Name: "bcast_flood", Doc: "send broadcasts there", attr: nl.IFLA_BRPORT_BCAST_FLOOD, Value: onOffSwitch},
	{Name: "mcast_to_unicast", Doc: "send a group's frames to each member's own address", attr: nl.IFLA_BRPORT_MCAST_TO_UCAST, Value: onOffSwitch},
	{Name: "mcast_router", Doc: "a multicast router is there: 0 never, 1 when one is heard, 2 always, 3 for a while", attr: nl.IFLA_BRPORT_MULTICAST_ROUTER, Value: Number{Size: 1, Max: 3}},
	{Name: "proxy_arp", Doc: "answer ARP from the neighbour table", attr: nl.IFLA_BRPORT_PROXYARP, Value: onOffSwitch},
	{Name: "proxy_arp_wifi", Doc: "the same, as IEEE 802.11 wants it", attr: nl.IFLA_BRPORT_PROXYARP_WIFI, Value: onOffSwitch},
	{Name: "neigh_suppress", Doc: "answer ARP and neighbour solicitations instead of flooding them", attr: nl.IFLA_BRPORT_NEIGH_SUPPRESS, Value: onOffSwitch},
	{Name: "group_fwd_mask", Doc: "link-local groups that are forwarded", attr: nl.IFLA_BRPORT_GROUP_FWD_MASK, Value: Number{Size: 2, Max: 65535}},
	{Name: "vlan_tunnel", Doc: "map VLANs to tunnel ids, see bridge_vlan()", attr: nl.IFLA_BRPORT_VLAN_TUNNEL, Value: onOffSwitch},
	{Name: "isolated", Doc: "pass nothing between isolated ports", attr: nl.IFLA_BRPORT_ISOLATED, Value: onOffSwitch},
	{Name: "locked", Doc: "accept only addresses that the forwarding database has (IEEE 802.1X)", attr: nl.IFLA_BRPORT_LOCKED, Value: onOffSwitch},
	{Name: "backup_port", Doc: "the port that stands in when the carrier is lost, or False", attr: nl.IFLA_BRPORT_BACKUP_PORT, Value: OtherLink{none: "nobackup_port"}},
	{Name: "fdb_flush", Doc: "forget the addresses that were learnt there", attr: nl.IFLA_BRPORT_FLUSH, Change: true, Value: Flag{}},
}

// OtherLink is another link (*Link) of the namespace, by its index, or none (nil).
type OtherLink struct{ none string }

// linkIndex is how the kernel says which link.
type linkIndex int

func (OtherLink) attributes(attr int, v any) []*nl.RtAttr {
	index := 0
	if k := v.(*Link); k != nil {
		index = k.index
	}
	return []*nl.RtAttr{nl.NewRtAttr(attr, nl.Uint32Attr(uint32(index)))}
}

func (OtherLink) read(b []byte) any { return linkIndex(u32(b)) }

func (OtherLink) check(any) error { return nil }

func (o OtherLink) words(v any) ([]string, bool) {
	if k := v.(*Link); k != nil {
		return []string{k.name}, true
	}
	if o.none == "" {
		// `ip` has no word for it; the kernel takes one that is no port for none.
		return []string{"lo"}, true
	}
	return []string{o.none}, false
}

// PortValues are the options of a bridge's port as they are: int, bool, string or
// *Link; nil where the link is no port of a bridge.
func (k *Link) PortValues() (map[string]any, error) {
	data, err := k.portData()
	if err != nil || data == nil {
		return nil, err
	}
	values := (&Kind{Options: PortOptions}).read(data)
	for name, v := range values {
		if index, ok := v.(linkIndex); ok {
			values[name] = k.ns.linkAt(int(index))
		}
	}
	return values, nil
}

// portData is the IFLA_INFO_SLAVE_DATA of a bridge's port, or nil.
func (k *Link) portData() ([]byte, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	body, err := k.ns.conn.get(getLink(k.index, ""))
	if err != nil {
		return nil, k.failed(err, "", "read port %s", k)
	}
	if len(body) < unix.SizeofIfInfomsg {
		return nil, nil
	}
	for kind, v := range attributes(body[unix.SizeofIfInfomsg:]) {
		if kind == unix.IFLA_LINKINFO {
			return bridgePort(v), nil
		}
	}
	return nil, nil
}

// bridgePort takes the options of a bridge's port from an IFLA_LINKINFO.
func bridgePort(linkInfo []byte) []byte {
	bridge := false
	for kind, v := range attributes(linkInfo) {
		switch kind {
		case unix.IFLA_INFO_SLAVE_KIND:
			bridge = cstring(v) == "bridge"
		case unix.IFLA_INFO_SLAVE_DATA:
			if bridge {
				return v
			}
		}
	}
	return nil
}

// SetPort changes options of a bridge's port, as `ip link set PORT type
// bridge_slave` does, all or none. The state goes last and by a message of its
// own, that of `bridge link set`: after the other the bridge looks at the carrier
// again, and lets a port forward that has one.
func (k *Link) SetPort(ctx context.Context, options []Chosen) error {
	if err := k.check(); err != nil {
		return err
	}
	if err := k.checkPort(options); err != nil {
		return err
	}
	before, _ := k.portData()
	isState := func(o Chosen) bool { return o.attr == nl.IFLA_BRPORT_STATE }
	state := slices.IndexFunc(options, isState)
	others := slices.DeleteFunc(slices.Clone(options), isState)
	undo := portBefore(before, others)
	err := k.setPort(ctx, others)
	if err == nil && state >= 0 {
		err = k.setPortState(ctx, options[state])
	}
	if err != nil {
		if len(options) > 1 && before != nil {
			_ = k.putPort(undo)
		}
		return k.portError(err, before != nil)
	}
	if k.isForeign() {
		k.ns.lab.onUndo(func(ctx context.Context) error { return k.restorePort(ctx, undo, before, state >= 0) })
	}
	return nil
}

func (k *Link) setPort(ctx context.Context, options []Chosen) error {
	if len(options) == 0 {
		return nil
	}
	var data []byte
	args := []event.Arg{arg("dev", k.name), arg("type", "bridge_slave")}
	for _, o := range options {
		for _, a := range o.Value.attributes(o.attr, o.Given) {
			data = append(data, a.Serialize()...)
		}
		for _, a := range optionArgs(o.Name, o) {
			args = append(args, arg(strings.TrimPrefix(a.Key, "option "), a.Value))
		}
	}
	start := time.Now()
	err := k.putPort(data)
	k.ns.lab.emit(ctx, "link set", k.ns, start, err, args...)
	return err
}

func (k *Link) setPortState(ctx context.Context, o Chosen) error {
	r := request(unix.RTM_SETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_BRIDGE)
	msg.Index = int32(k.index)
	r.AddData(msg)
	port := nl.NewRtAttr(unix.IFLA_PROTINFO|unix.NLA_F_NESTED, nil)
	for _, a := range o.Value.attributes(o.attr, o.Given) {
		port.AddChild(a)
	}
	r.AddData(port)
	start := time.Now()
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, "port set", k.ns, start, err, arg("dev", k.name), arg("state", o.Given.(string)))
	return err
}

// restorePort sets options back, and the state where that was changed.
func (k *Link) restorePort(ctx context.Context, undo, before []byte, state bool) error {
	if err := k.putPort(undo); err != nil {
		return k.failed(err, "", "restore the options of port %s", k)
	}
	if !state {
		return nil
	}
	o := PortOptions[0]
	for kind, v := range attributes(before) {
		if kind == o.attr {
			if err := k.setPortState(ctx, Chosen{o, o.Value.read(v)}); err != nil {
				return k.failed(err, "", "restore the state of port %s", k)
			}
		}
	}
	return nil
}

func (k *Link) checkPort(options []Chosen) error {
	given := map[int]string{}
	for _, o := range options {
		if err := o.Value.check(o.Given); err != nil {
			return inOption(o.Name, err)
		}
		if other := given[o.attr]; other != "" {
			return Usage("leave one of them out", "%s and %s are the same", other, o.Name)
		}
		given[o.attr] = o.Name
		if other, ok := o.Given.(*Link); ok && other != nil {
			if err := other.In(k.ns, o.Name); err != nil {
				return err
			}
		}
	}
	return nil
}

// portBefore is what sets the options back to what data has of them.
func portBefore(data []byte, options []Chosen) []byte {
	given := map[int]bool{}
	for _, o := range options {
		given[o.attr] = true
	}
	back := withAttributes(data, 0, func(kind int, _ []byte) bool {
		wanted := given[kind] && kind != nl.IFLA_BRPORT_FLUSH
		delete(given, kind)
		return wanted
	})
	if given[nl.IFLA_BRPORT_BACKUP_PORT] { // the kernel says nothing of none
		back = append(back, nl.NewRtAttr(nl.IFLA_BRPORT_BACKUP_PORT, nl.Uint32Attr(0)).Serialize()...)
	}
	return back
}

// putPort sends options of a bridge's port.
func (k *Link) putPort(data []byte) error {
	r := setFlags(k.index, 0, 0)
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated("bridge"))
	info.AddRtAttr(unix.IFLA_INFO_SLAVE_DATA, data)
	r.AddData(info)
	return k.ns.conn.do(r)
}

// portError explains why the kernel did not take options of a port
// (br_set_port_state and br_setport in net/bridge).
func (k *Link) portError(err error, isPort bool) error {
	hint := ""
	switch {
	case !isPort:
		return Usage("set_link(port, master=bridge) makes it one", "%s is no port of a bridge", k)
	case errors.Is(err, unix.EBUSY):
		hint = "the kernel runs STP on this bridge and chooses states by itself"
	case errors.Is(err, unix.ENETDOWN):
		hint = "a port's state can be set when it is up and has a carrier"
	}
	return k.failed(err, hint, "set the options of port %s", k)
}
