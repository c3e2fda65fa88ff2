package lab

import (
	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// vlanProtocol is the kind of a VLAN's tag.
var vlanProtocol = Word{Words: []string{"802.1Q", "802.1ad"}, values: []int{unix.ETH_P_8021Q, unix.ETH_P_8021AD}, Size: 2, swapped: true}

var offOn = [2]string{"off", "on"}

func vlanKind() *Kind {
	return &Kind{Name: "vlan", Lower: NeedsLower, Options: []*Option{
		{Name: "id", Doc: "the VLAN, 0 to 4094", Required: true, attr: unix.IFLA_VLAN_ID, Value: Number{Size: 2, Min: 0, Max: 4094}},
		{Name: "protocol", Doc: "of the tag: 802.1Q or 802.1ad", attr: unix.IFLA_VLAN_PROTOCOL,
			Value: vlanProtocol},
		{Name: "reorder_hdr", Doc: "frames look untagged to programs", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x1, offOn}},
		{Name: "gvrp", Doc: "register the VLAN by GVRP", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x2, offOn}},
		{Name: "loose_binding", Doc: "stay up when the parent goes down", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x4, offOn}},
		{Name: "mvrp", Doc: "register the VLAN by MVRP", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x8, offOn}},
		{Name: "bridge_binding", Doc: "follow the state of the bridge's ports that are members", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x10, offOn}},
		{Name: "ingress_qos_map", Doc: "which priority packets get for the one in the tag, like {3: 5}", attr: unix.IFLA_VLAN_INGRESS_QOS, ip: "ingress-qos-map", Value: QosMap{}},
		{Name: "egress_qos_map", Doc: "which priority the tag gets for the packet's, like {5: 3}", attr: unix.IFLA_VLAN_EGRESS_QOS, ip: "egress-qos-map", Value: QosMap{Egress: true}},
	}}
}

func macvlanKind() *Kind {
	return &Kind{Name: "macvlan", Lower: NeedsLower, check: checkMacvlan, Options: []*Option{
		{Name: "mode", Doc: "who may talk to whom: private, vepa, bridge, passthru or source", attr: unix.IFLA_MACVLAN_MODE,
			Value: Word{Size: 4, Words: []string{"private", "vepa", "bridge", "passthru", "source"}, values: []int{1, 2, 4, 8, 16}}},
		{Name: "flag", Doc: "null, nopromisc or nodst", attr: unix.IFLA_MACVLAN_FLAGS, Value: Word{Size: 2, Words: []string{"null", "nopromisc", "nodst"}}},
		{Name: "macaddr", Doc: "mode source: the addresses from which frames are taken", attr: nl.IFLA_MACVLAN_MACADDR_DATA, Value: MACs{macsSet}},
		{Name: "macaddr_add", Doc: "adds one of them", attr: nl.IFLA_MACVLAN_MACADDR, ip: "macaddr", Change: true, Value: MACs{macsAdd}},
		{Name: "macaddr_del", Doc: "takes one of them away", attr: nl.IFLA_MACVLAN_MACADDR, ip: "macaddr", Change: true, Value: MACs{macsDel}},
		{Name: "bcqueuelen", Doc: "frames to all that may wait", attr: unix.IFLA_MACVLAN_BC_QUEUE_LEN, Value: Number{Size: 4, Min: 0, Max: 1<<32 - 1}},
	}}
}

func ipvlanKind() *Kind {
	return &Kind{Name: "ipvlan", Lower: NeedsLower, Options: []*Option{
		{Name: "mode", Doc: "l2, l3 or l3s", attr: unix.IFLA_IPVLAN_MODE, Value: Word{Size: 2, Words: []string{"l2", "l3", "l3s"}}},
		{Name: "flag", Doc: "who may talk to whom: bridge, private or vepa", attr: unix.IFLA_IPVLAN_FLAGS,
			Value: Word{Size: 2, Words: []string{"bridge", "private", "vepa"}, bare: true}},
	}}
}
