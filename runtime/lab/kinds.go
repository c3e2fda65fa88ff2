package lab

import (
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var oneZero = [2]string{"0", "1"}

// kinds are the kinds of links that this package makes, with the options of `ip
// link add type KIND` (ip-link(8); include/uapi/linux/if_link.h has the attributes).
var kinds = []*Kind{
	{Name: "veth", Config: "CONFIG_VETH", Module: "veth", prefix: "eth"},
	{Name: "bridge", Config: "CONFIG_BRIDGE", Module: "bridge", prefix: "br", Options: []*Option{
		{Name: "stp", ip: "stp_state", Doc: "run the spanning tree protocol", attr: nl.IFLA_BR_STP_STATE, Value: Switch{4, oneZero}},
		{Name: "forward_delay", Doc: "time in each of listening and learning, 2 to 30 s with STP", attr: nl.IFLA_BR_FORWARD_DELAY, Value: Time{0, 30 * time.Second}},
		{Name: "hello_time", Doc: "between hellos, 1 to 10 s", attr: nl.IFLA_BR_HELLO_TIME, Value: Time{time.Second, 10 * time.Second}},
		{Name: "max_age", Doc: "of a hello, 6 to 40 s", attr: nl.IFLA_BR_MAX_AGE, Value: Time{6 * time.Second, 40 * time.Second}},
		{Name: "ageing_time", Doc: "how long an address is remembered", attr: nl.IFLA_BR_AGEING_TIME, Value: Time{0, 1000000 * time.Second}},
		{Name: "priority", Doc: "of the bridge, for the spanning tree", attr: nl.IFLA_BR_PRIORITY, Value: Number{2, 0, 65535}},
		{Name: "group_fwd_mask", Doc: "link-local groups that are forwarded", attr: nl.IFLA_BR_GROUP_FWD_MASK, Value: Number{2, 0, 65535}},
		{Name: "vlan_filtering", Doc: "obey VLAN tags; needs CONFIG_BRIDGE_VLAN_FILTERING", attr: nl.IFLA_BR_VLAN_FILTERING, Value: Switch{1, oneZero}},
		{Name: "mcast_snooping", Doc: "send groups only where they are wanted (RFC 4541)", attr: nl.IFLA_BR_MCAST_SNOOPING, Value: Switch{1, oneZero}},
	}},
	{Name: "dummy", Config: "CONFIG_DUMMY", Module: "dummy"},
	{Name: "ifb", Config: "CONFIG_IFB", Module: "ifb"},
	{Name: "vlan", Config: "CONFIG_VLAN_8021Q", Module: "8021q", Lower: NeedsLower, Options: []*Option{
		{Name: "id", Doc: "the VLAN, 0 to 4094", Required: true, attr: unix.IFLA_VLAN_ID, Value: Number{2, 0, 4094}},
		{Name: "protocol", Doc: "of the tag: 802.1Q or 802.1ad", attr: unix.IFLA_VLAN_PROTOCOL,
			Value: Word{Words: []string{"802.1Q", "802.1ad"}, values: []int{unix.ETH_P_8021Q, unix.ETH_P_8021AD}, Size: 2, swapped: true}},
		{Name: "reorder_hdr", Doc: "frames look untagged to programs", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x1}},
		{Name: "gvrp", Doc: "register the VLAN by GVRP", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x2}},
		{Name: "loose_binding", Doc: "stay up when the parent goes down", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x4}},
		{Name: "mvrp", Doc: "register the VLAN by MVRP", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x8}},
		{Name: "bridge_binding", Doc: "follow the state of the bridge's ports that are members", attr: unix.IFLA_VLAN_FLAGS, Value: Bit{0x10}},
	}},
	{Name: "macvlan", Config: "CONFIG_MACVLAN", Module: "macvlan", Lower: NeedsLower, Options: []*Option{
		{Name: "mode", Doc: "who may talk to whom: private, vepa, bridge, passthru or source", attr: unix.IFLA_MACVLAN_MODE,
			Value: Word{Size: 4, Words: []string{"private", "vepa", "bridge", "passthru", "source"}, values: []int{1, 2, 4, 8, 16}}},
		{Name: "flag", Doc: "null, nopromisc or nodst", attr: unix.IFLA_MACVLAN_FLAGS, Value: Word{Size: 2, Words: []string{"null", "nopromisc", "nodst"}}},
		{Name: "bcqueuelen", Doc: "frames to all that may wait", attr: unix.IFLA_MACVLAN_BC_QUEUE_LEN, Value: Number{4, 0, 1<<32 - 1}},
	}},
	{Name: "ipvlan", Config: "CONFIG_IPVLAN", Module: "ipvlan", Lower: NeedsLower, Options: []*Option{
		{Name: "mode", Doc: "l2, l3 or l3s", attr: unix.IFLA_IPVLAN_MODE, Value: Word{Size: 2, Words: []string{"l2", "l3", "l3s"}}},
		{Name: "flag", Doc: "who may talk to whom: bridge, private or vepa", attr: unix.IFLA_IPVLAN_FLAGS,
			Value: Word{Size: 2, Words: []string{"bridge", "private", "vepa"}, bare: true}},
	}},
	{Name: "vrf", Config: "CONFIG_NET_VRF", Module: "vrf", Options: []*Option{
		{Name: "table", Doc: "the routing table of its ports", Required: true, attr: unix.IFLA_VRF_TABLE, Value: Number{4, 1, 1<<32 - 1}},
	}},
}
