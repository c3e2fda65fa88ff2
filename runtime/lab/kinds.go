package lab

import (
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var (
	oneZero      = [2]string{"0", "1"}
	dontFragment = Word{Size: 1, Words: []string{"unset", "set", "inherit"}}
)

// kinds are the kinds of links that this package makes, with the options of `ip
// link add type KIND` (ip-link(8); include/uapi/linux/if_link.h has the attributes).
var kinds = []*Kind{
	{Name: "veth", Config: "CONFIG_VETH", Module: "veth", prefix: "eth"},
	{Name: "bridge", Config: "CONFIG_BRIDGE", Module: "bridge", prefix: "br", Options: []*Option{
		{Name: "stp", ip: "stp_state", Doc: "run the spanning tree protocol", attr: nl.IFLA_BR_STP_STATE, Value: Switch{4, oneZero, false}},
		{Name: "forward_delay", Doc: "time in each of listening and learning, 2 to 30 s with STP", attr: nl.IFLA_BR_FORWARD_DELAY, Value: Time{0, 30 * time.Second, userHZ}},
		{Name: "hello_time", Doc: "between hellos, 1 to 10 s", attr: nl.IFLA_BR_HELLO_TIME, Value: Time{time.Second, 10 * time.Second, userHZ}},
		{Name: "max_age", Doc: "of a hello, 6 to 40 s", attr: nl.IFLA_BR_MAX_AGE, Value: Time{6 * time.Second, 40 * time.Second, userHZ}},
		{Name: "ageing_time", Doc: "how long an address is remembered", attr: nl.IFLA_BR_AGEING_TIME, Value: Time{0, 1000000 * time.Second, userHZ}},
		{Name: "priority", Doc: "of the bridge, for the spanning tree", attr: nl.IFLA_BR_PRIORITY, Value: Number{Size: 2, Min: 0, Max: 65535}},
		{Name: "group_fwd_mask", Doc: "link-local groups that are forwarded", attr: nl.IFLA_BR_GROUP_FWD_MASK, Value: Number{Size: 2, Min: 0, Max: 65535}},
		{Name: "vlan_filtering", Doc: "obey VLAN tags; needs CONFIG_BRIDGE_VLAN_FILTERING", attr: nl.IFLA_BR_VLAN_FILTERING, Value: Switch{1, oneZero, false}},
		{Name: "mcast_snooping", Doc: "send groups only where they are wanted (RFC 4541)", attr: nl.IFLA_BR_MCAST_SNOOPING, Value: Switch{1, oneZero, false}},
	}},
	{Name: "dummy", Config: "CONFIG_DUMMY", Module: "dummy"},
	{Name: "ifb", Config: "CONFIG_IFB", Module: "ifb"},
	{Name: "vlan", Config: "CONFIG_VLAN_8021Q", Module: "8021q", Lower: NeedsLower, Options: []*Option{
		{Name: "id", Doc: "the VLAN, 0 to 4094", Required: true, attr: unix.IFLA_VLAN_ID, Value: Number{Size: 2, Min: 0, Max: 4094}},
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
		{Name: "bcqueuelen", Doc: "frames to all that may wait", attr: unix.IFLA_MACVLAN_BC_QUEUE_LEN, Value: Number{Size: 4, Min: 0, Max: 1<<32 - 1}},
	}},
	{Name: "ipvlan", Config: "CONFIG_IPVLAN", Module: "ipvlan", Lower: NeedsLower, Options: []*Option{
		{Name: "mode", Doc: "l2, l3 or l3s", attr: unix.IFLA_IPVLAN_MODE, Value: Word{Size: 2, Words: []string{"l2", "l3", "l3s"}}},
		{Name: "flag", Doc: "who may talk to whom: bridge, private or vepa", attr: unix.IFLA_IPVLAN_FLAGS,
			Value: Word{Size: 2, Words: []string{"bridge", "private", "vepa"}, bare: true}},
	}},
	{Name: "vrf", Config: "CONFIG_NET_VRF", Module: "vrf", Options: []*Option{
		{Name: "table", Doc: "the routing table of its ports", Required: true, attr: unix.IFLA_VRF_TABLE, Value: Number{Size: 4, Min: 1, Max: 1<<32 - 1}},
	}},
	{Name: "vxlan", Config: "CONFIG_VXLAN", Module: "vxlan", Lower: MayHaveDev, lowerAttr: nl.IFLA_VXLAN_LINK, check: idOrExternal, Options: []*Option{
		{Name: "id", Doc: "the segment (VNI), 0 to 16777215", attr: nl.IFLA_VXLAN_ID, Value: Number{Size: 4, Max: 1<<24 - 1}},
		{Name: "remote", Doc: "the other end, where the forwarding table does not say", attr: nl.IFLA_VXLAN_GROUP, Value: Addr{six: nl.IFLA_VXLAN_GROUP6}},
		{Name: "group", Doc: "a multicast group instead; reads back as remote", attr: nl.IFLA_VXLAN_GROUP, Value: Addr{Multicast: true, six: nl.IFLA_VXLAN_GROUP6}},
		{Name: "local", Doc: "the source address", attr: nl.IFLA_VXLAN_LOCAL, Value: Addr{six: nl.IFLA_VXLAN_LOCAL6}},
		{Name: "ttl", Doc: "of the outer packets: 1 to 255, or \"inherit\"; 0 chooses", attr: nl.IFLA_VXLAN_TTL, Value: Hops{unix.IFLA_VXLAN_TTL_INHERIT}},
		{Name: "tos", Doc: "of the outer packets, or \"inherit\"", attr: nl.IFLA_VXLAN_TOS, Value: Hops{}},
		{Name: "df", Doc: "the outer packets' don't-fragment bit: unset, set or inherit", attr: unix.IFLA_VXLAN_DF, Value: dontFragment},
		{Name: "flowlabel", Doc: "of outer IPv6 packets", attr: unix.IFLA_VXLAN_LABEL, Value: Number{Size: 4, Max: 1<<20 - 1, Swapped: true}},
		{Name: "dstport", Doc: "the UDP port; the kernel's own is 8472, IANA's 4789", attr: nl.IFLA_VXLAN_PORT, Value: Number{Size: 2, Min: 1, Max: 65535, Swapped: true}},
		{Name: "srcport", Doc: "a range of source ports", attr: nl.IFLA_VXLAN_PORT_RANGE, Value: PortRange{}},
		{Name: "learning", Doc: "learn where addresses are", attr: nl.IFLA_VXLAN_LEARNING, Value: Switch{1, [2]string{"nolearning", "learning"}, true}},
		{Name: "proxy", Doc: "answer ARP from the neighbour table", attr: nl.IFLA_VXLAN_PROXY, Value: Switch{1, [2]string{"noproxy", "proxy"}, true}},
		{Name: "rsc", Doc: "route short circuit", attr: nl.IFLA_VXLAN_RSC, Value: Switch{1, [2]string{"norsc", "rsc"}, true}},
		{Name: "l2miss", Doc: "announce unknown MAC addresses", attr: nl.IFLA_VXLAN_L2MISS, Value: Switch{1, [2]string{"nol2miss", "l2miss"}, true}},
		{Name: "l3miss", Doc: "announce unknown IP addresses", attr: nl.IFLA_VXLAN_L3MISS, Value: Switch{1, [2]string{"nol3miss", "l3miss"}, true}},
		{Name: "ageing", Doc: "how long an address is remembered", attr: nl.IFLA_VXLAN_AGEING, Value: Time{0, 1000000 * time.Second, time.Second}},
		{Name: "maxaddress", Doc: "how many addresses are remembered; 0 for no limit", attr: nl.IFLA_VXLAN_LIMIT, Value: Number{Size: 4, Max: 1<<32 - 1}},
		{Name: "udpcsum", Doc: "checksums over IPv4", attr: nl.IFLA_VXLAN_UDP_CSUM, Value: Switch{1, [2]string{"noudpcsum", "udpcsum"}, true}},
		{Name: "udp6zerocsumtx", Doc: "send no checksums over IPv6", attr: nl.IFLA_VXLAN_UDP_ZERO_CSUM6_TX, Value: Switch{1, [2]string{"noudp6zerocsumtx", "udp6zerocsumtx"}, true}},
		{Name: "udp6zerocsumrx", Doc: "accept IPv6 without checksums", attr: nl.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, Value: Switch{1, [2]string{"noudp6zerocsumrx", "udp6zerocsumrx"}, true}},
		{Name: "external", Doc: "take the tunnel's addresses from routes and filters", attr: nl.IFLA_VXLAN_FLOWBASED, Value: Switch{1, [2]string{"noexternal", "external"}, true}},
		{Name: "gbp", Doc: "carry the group based policy", attr: nl.IFLA_VXLAN_GBP, Value: Flag{}},
		{Name: "gpe", Doc: "generic protocol extension", attr: unix.IFLA_VXLAN_GPE, Value: Flag{}},
	}},
}

// idOrExternal refuses, as `ip` does, a tunnel without a segment and one that has a
// segment of its own although routes and filters say it.
func idOrExternal(options []Chosen) error {
	id, external := false, false
	for _, o := range options {
		id = id || o.Name == "id"
		external = external || o.Name == "external" && o.Given.(bool)
	}
	switch {
	case id && external:
		return Usage("leave one of them out", "id and external exclude each other")
	case !id && !external:
		return Usage("like id=42, or external=True", "id is missing")
	}
	return nil
}
