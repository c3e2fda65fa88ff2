package lab

import (
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var dontFragment = Word{Size: 1, Words: []string{"unset", "set", "inherit"}}

// vxlanVNIFilter is IFLA_VXLAN_VNIFILTER (include/uapi/linux/if_link.h).
const vxlanVNIFilter = unix.IFLA_VXLAN_DF + 1

func vxlanKind() *Kind {
	return &Kind{Name: "vxlan", Lower: MayHaveDev, lowerAttr: nl.IFLA_VXLAN_LINK, carrier: ofRequest, said: []string{"id"}, check: checkVxlan, Options: []*Option{
		{Name: "id", Doc: "the segment (VNI), 0 to 16777215", attr: nl.IFLA_VXLAN_ID, Value: Number{Size: 4, Max: 1<<24 - 1}},
		{Name: "remote", Doc: "the other end, where the forwarding table does not say", attr: nl.IFLA_VXLAN_GROUP, Value: Addr{six: nl.IFLA_VXLAN_GROUP6}},
		{Name: "group", Doc: "a multicast group instead; reads back as remote", attr: nl.IFLA_VXLAN_GROUP, Value: Addr{Multicast: true, six: nl.IFLA_VXLAN_GROUP6}},
		{Name: "local", Doc: "the source address", attr: nl.IFLA_VXLAN_LOCAL, Value: Addr{six: nl.IFLA_VXLAN_LOCAL6}},
		{Name: "ttl", Doc: "of the outer packets: 1 to 255, or \"inherit\"; 0 chooses", attr: nl.IFLA_VXLAN_TTL, Value: Hops{Inherited: unix.IFLA_VXLAN_TTL_INHERIT}},
		{Name: "tos", Doc: "of the outer packets, or \"inherit\"", attr: nl.IFLA_VXLAN_TOS, Value: Hops{Inherit: tosInherit}},
		{Name: "df", Doc: "the outer packets' don't-fragment bit: unset, set or inherit", attr: unix.IFLA_VXLAN_DF, Value: dontFragment},
		{Name: "flowlabel", Doc: "of outer IPv6 packets", attr: unix.IFLA_VXLAN_LABEL, Value: Number{Size: 4, Max: 1<<20 - 1, Swapped: true}},
		{Name: "dstport", Doc: "the UDP port; the kernel's own is 8472, IANA's 4789", attr: nl.IFLA_VXLAN_PORT, Value: Number{Size: 2, Min: 1, Max: 65535, Swapped: true}},
		{Name: "srcport", Doc: "a range of source ports", attr: nl.IFLA_VXLAN_PORT_RANGE, Value: PortRange{}},
		{Name: "learning", Doc: "learn where addresses are; on unless False, and off with external", attr: nl.IFLA_VXLAN_LEARNING, Value: Switch{1, [2]string{"nolearning", "learning"}, true}, external: false},
		{Name: "proxy", Doc: "answer ARP from the neighbour table", attr: nl.IFLA_VXLAN_PROXY, Value: Switch{1, [2]string{"noproxy", "proxy"}, true}},
		{Name: "rsc", Doc: "route short circuit", attr: nl.IFLA_VXLAN_RSC, Value: Switch{1, [2]string{"norsc", "rsc"}, true}},
		{Name: "l2miss", Doc: "announce unknown MAC addresses", attr: nl.IFLA_VXLAN_L2MISS, Value: Switch{1, [2]string{"nol2miss", "l2miss"}, true}},
		{Name: "l3miss", Doc: "announce unknown IP addresses", attr: nl.IFLA_VXLAN_L3MISS, Value: Switch{1, [2]string{"nol3miss", "l3miss"}, true}},
		{Name: "ageing", Doc: "how long an address is remembered", attr: nl.IFLA_VXLAN_AGEING, Value: Time{0, 1000000 * time.Second, time.Second, false}},
		{Name: "maxaddress", Doc: "how many addresses are remembered; 0 for no limit", attr: nl.IFLA_VXLAN_LIMIT, Value: Number{Size: 4, Max: 1<<32 - 1}},
		{Name: "udpcsum", Doc: "checksums over IPv4", attr: nl.IFLA_VXLAN_UDP_CSUM, Value: Switch{1, [2]string{"noudpcsum", "udpcsum"}, true}},
		{Name: "udp6zerocsumtx", Doc: "send no checksums over IPv6", attr: nl.IFLA_VXLAN_UDP_ZERO_CSUM6_TX, Value: Switch{1, [2]string{"noudp6zerocsumtx", "udp6zerocsumtx"}, true}},
		{Name: "udp6zerocsumrx", Doc: "accept IPv6 without checksums", attr: nl.IFLA_VXLAN_UDP_ZERO_CSUM6_RX, Value: Switch{1, [2]string{"noudp6zerocsumrx", "udp6zerocsumrx"}, true}},
		{Name: "remcsumtx", Doc: "remote checksum offload when sending", attr: nl.IFLA_VXLAN_REMCSUM_TX, Value: Switch{1, [2]string{"noremcsumtx", "remcsumtx"}, true}},
		{Name: "remcsumrx", Doc: "remote checksum offload when receiving", attr: nl.IFLA_VXLAN_REMCSUM_RX, Value: Switch{1, [2]string{"noremcsumrx", "remcsumrx"}, true}},
		{Name: "external", Doc: "take the tunnel's addresses from routes and filters", attr: nl.IFLA_VXLAN_FLOWBASED, Value: Switch{1, [2]string{"noexternal", "external"}, true}},
		{Name: "vnifilter", Doc: "only segments that are listed (bridge vni); needs external and Linux 5.18", attr: vxlanVNIFilter, Value: Switch{1, [2]string{"novnifilter", "vnifilter"}, true}},
		{Name: "gbp", Doc: "carry the group based policy", attr: nl.IFLA_VXLAN_GBP, Value: Flag{}},
		{Name: "gpe", Doc: "generic protocol extension", attr: unix.IFLA_VXLAN_GPE, Value: Flag{}},
	}}
}
