package lab

import (
	"bytes"
	"math"
	"net"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

var oneZero = [2]string{"0", "1"}

func bridgeKind() *Kind {
	zeroOne := Switch{1, oneZero, false}
	return &Kind{Name: "bridge", prefix: "br", check: checkBridge, Options: []*Option{
		{Name: "stp", ip: "stp_state", Doc: "run the spanning tree protocol", attr: nl.IFLA_BR_STP_STATE, Value: Switch{4, oneZero, false}},
		{Name: "forward_delay", Doc: "time in each of listening and learning, 2 to 30 s with STP", attr: nl.IFLA_BR_FORWARD_DELAY, Value: Time{0, 30 * time.Second, userHZ, false}},
		{Name: "hello_time", Doc: "between hellos, 1 to 10 s", attr: nl.IFLA_BR_HELLO_TIME, Value: Time{time.Second, 10 * time.Second, userHZ, false}},
		{Name: "max_age", Doc: "of a hello, 6 to 40 s", attr: nl.IFLA_BR_MAX_AGE, Value: Time{6 * time.Second, 40 * time.Second, userHZ, false}},
		{Name: "ageing_time", Doc: "how long an address is remembered", attr: nl.IFLA_BR_AGEING_TIME, Value: Time{0, 1000000 * time.Second, userHZ, false}},
		{Name: "priority", Doc: "of the bridge, for the spanning tree", attr: nl.IFLA_BR_PRIORITY, Value: Number{Size: 2, Min: 0, Max: 65535}},
		{Name: "group_fwd_mask", Doc: "link-local groups that are forwarded", attr: nl.IFLA_BR_GROUP_FWD_MASK, Value: Number{Size: 2, Min: 0, Max: 65535}},
		{Name: "vlan_filtering", Doc: "obey VLAN tags; needs CONFIG_BRIDGE_VLAN_FILTERING", attr: nl.IFLA_BR_VLAN_FILTERING, Value: zeroOne},
		{Name: "fdb_flush", Doc: "forget the addresses that were learnt", attr: nl.IFLA_BR_FDB_FLUSH, Change: true, Value: Flag{}},
		{Name: "group_address", Doc: "where BPDUs go: 01:80:c2:00:00:0X", attr: nl.IFLA_BR_GROUP_ADDR, Value: MAC{Group: true}},
		{Name: "no_linklocal_learn", Doc: "learn no addresses from link-local frames", attr: unix.IFLA_BR_MULTI_BOOLOPT, Value: Bit{1, oneZero}},
		{Name: "vlan_protocol", Doc: "of the tags: 802.1Q or 802.1ad", attr: nl.IFLA_BR_VLAN_PROTOCOL, Value: vlanProtocol},
		{Name: "vlan_default_pvid", Doc: "the VLAN of new ports, 1 unless given; 0 for none", attr: nl.IFLA_BR_VLAN_DEFAULT_PVID, Value: Number{Size: 2, Max: 4094}},
		{Name: "vlan_stats_enabled", Doc: "count by VLAN", attr: nl.IFLA_BR_VLAN_STATS_ENABLED, Value: zeroOne},
		{Name: "vlan_stats_per_port", Doc: "count by VLAN and port; set while no port has VLANs", attr: unix.IFLA_BR_VLAN_STATS_PER_PORT, Value: zeroOne},
		mcastOption("mcast_snooping", nl.IFLA_BR_MCAST_SNOOPING),
		{Name: "mcast_vlan_snooping", Doc: "the same by VLAN; needs vlan_filtering", attr: unix.IFLA_BR_MULTI_BOOLOPT, Value: Bit{2, oneZero}},
		{Name: "mcast_router", Doc: "the host is a multicast router: 0 never, 1 when it is heard, 2 always", attr: nl.IFLA_BR_MCAST_ROUTER, Value: Number{Size: 1, Max: 2}},
		{Name: "mcast_query_use_ifaddr", Doc: "queries come from the bridge's address, not 0.0.0.0", attr: nl.IFLA_BR_MCAST_QUERY_USE_IFADDR, Value: zeroOne},
		mcastOption("mcast_querier", nl.IFLA_BR_MCAST_QUERIER),
		{Name: "mcast_hash_elasticity", Doc: "of no effect since Linux 5.0, where it is 16", attr: nl.IFLA_BR_MCAST_HASH_ELASTICITY, Value: Number{Size: 4, Max: math.MaxUint32}},
		{Name: "mcast_hash_max", Doc: "how many groups are remembered, a power of 2", attr: nl.IFLA_BR_MCAST_HASH_MAX, Value: Number{Size: 4, Min: 1, Max: 1 << 31}},
		mcastOption("mcast_last_member_count", nl.IFLA_BR_MCAST_LAST_MEMBER_CNT),
		mcastOption("mcast_startup_query_count", nl.IFLA_BR_MCAST_STARTUP_QUERY_CNT),
		mcastOption("mcast_last_member_interval", nl.IFLA_BR_MCAST_LAST_MEMBER_INTVL),
		mcastOption("mcast_membership_interval", nl.IFLA_BR_MCAST_MEMBERSHIP_INTVL),
		mcastOption("mcast_querier_interval", nl.IFLA_BR_MCAST_QUERIER_INTVL),
		mcastOption("mcast_query_interval", nl.IFLA_BR_MCAST_QUERY_INTVL),
		mcastOption("mcast_query_response_interval", nl.IFLA_BR_MCAST_QUERY_RESPONSE_INTVL),
		mcastOption("mcast_startup_query_interval", nl.IFLA_BR_MCAST_STARTUP_QUERY_INTVL),
		{Name: "mcast_stats_enabled", Doc: "count multicast messages", attr: nl.IFLA_BR_MCAST_STATS_ENABLED, Value: zeroOne},
		mcastOption("mcast_igmp_version", nl.IFLA_BR_MCAST_IGMP_VERSION),
		mcastOption("mcast_mld_version", nl.IFLA_BR_MCAST_MLD_VERSION),
		{Name: "nf_call_iptables", Doc: "pass IPv4 to iptables (module br_netfilter)", attr: nl.IFLA_BR_NF_CALL_IPTABLES, Value: zeroOne},
		{Name: "nf_call_ip6tables", Doc: "pass IPv6 to ip6tables", attr: nl.IFLA_BR_NF_CALL_IP6TABLES, Value: zeroOne},
		{Name: "nf_call_arptables", Doc: "pass ARP to arptables", attr: nl.IFLA_BR_NF_CALL_ARPTABLES, Value: zeroOne},
	}}
}

// mcastOption is an option of multicast snooping, which a bridge has for itself and for
// each VLAN, by the attribute that it has there.
func mcastOption(name string, attr int) *Option {
	zeroOne, count := Switch{1, oneZero, false}, Number{Size: 4, Max: math.MaxUint32}
	long := Time{0, 1000000 * time.Second, userHZ, true}
	atLeastSecond := Time{time.Second, 1000000 * time.Second, userHZ, true}
	for _, o := range []Option{
		{Name: "mcast_snooping", Doc: "send groups only where they are wanted (RFC 4541)", Value: zeroOne},
		{Name: "mcast_querier", Doc: "ask who wants which group", Value: zeroOne},
		{Name: "mcast_igmp_version", Doc: "2 or 3", Value: Number{Size: 1, Min: 2, Max: 3}},
		{Name: "mcast_mld_version", Doc: "1 or 2", Value: Number{Size: 1, Min: 1, Max: 2}},
		{Name: "mcast_last_member_count", Doc: "how often it asks when a member leaves", Value: count},
		{Name: "mcast_last_member_interval", Doc: "between those when a member leaves", Value: long},
		{Name: "mcast_startup_query_count", Doc: "how many queries it begins with", Value: count},
		{Name: "mcast_startup_query_interval", Doc: "between the first queries", Value: atLeastSecond},
		{Name: "mcast_membership_interval", Doc: "how long a member is remembered", Value: long},
		{Name: "mcast_querier_interval", Doc: "how long another querier is remembered", Value: long},
		{Name: "mcast_query_interval", Doc: "between queries", Value: atLeastSecond},
		{Name: "mcast_query_response_interval", Doc: "how long members may take to answer", Value: long},
	} {
		if o.Name == name {
			o.attr = attr
			return &o
		}
	}
	panic("no option " + name)
}

func checkBridge(c chosen) error {
	if n, ok := c.given("mcast_hash_max").(int); ok && n&(n-1) != 0 {
		return Usage("like 4096", "mcast_hash_max: %d is no power of 2", n)
	}
	mac, ok := c.given("group_address").(net.HardwareAddr)
	if ok && (mac[5] > 15 || mac[5] >= 1 && mac[5] <= 3 || !bytes.Equal(mac[:5], bridgeGroup[:5])) {
		return Usage("the last byte is 0, or from 4 to f", "group_address: %s is no link-local group (01:80:c2:00:00:0X)", mac)
	}
	return nil
}

// bridgeGroup is where the BPDUs of IEEE 802.1D go.
var bridgeGroup = [6]byte{0x01, 0x80, 0xc2, 0, 0, 0}
