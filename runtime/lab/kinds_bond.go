package lab

import (
	"math"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// bondModes are the modes of a bond (include/uapi/linux/if_bonding.h).
var bondModes = []string{"balance-rr", "active-backup", "balance-xor", "broadcast", "802.3ad", "balance-tlb", "balance-alb"}

// maxBondTargets is BOND_MAX_ARP_TARGETS (include/net/bonding.h).
const maxBondTargets = 16

func bondKind() *Kind {
	word := func(words ...string) Word { return Word{Size: 1, Words: words} }
	word4 := func(words ...string) Word { return Word{Size: 4, Words: words} }
	millis := Time{0, math.MaxInt32 * time.Millisecond, time.Millisecond, false}
	zeroOne := Switch{1, oneZero, false}
	return &Kind{Name: "bond", check: checkBond, Options: []*Option{
		{Name: "mode", Doc: "who sends: " + orList(bondModes), attr: nl.IFLA_BOND_MODE, Value: word(bondModes...)},
		{Name: "miimon", Doc: "how often the ports' carriers are looked at; 0s for never", attr: nl.IFLA_BOND_MIIMON, Value: millis},
		{Name: "updelay", Doc: "how long a carrier has to be there before the port is used; a multiple of miimon", attr: nl.IFLA_BOND_UPDELAY, Value: millis},
		{Name: "downdelay", Doc: "how long it has to be away before the port is not", attr: nl.IFLA_BOND_DOWNDELAY, Value: millis},
		{Name: "peer_notify_delay", Doc: "between announcements to peers after a failover; a multiple of miimon", attr: unix.IFLA_BOND_PEER_NOTIF_DELAY,
			Value: Time{0, 300 * time.Second, time.Millisecond, false}},
		{Name: "use_carrier", Doc: "look at the carrier, not at MII or ethtool", attr: nl.IFLA_BOND_USE_CARRIER, Value: zeroOne},
		{Name: "arp_interval", Doc: "how often arp_ip_target is asked, instead of miimon", attr: nl.IFLA_BOND_ARP_INTERVAL, Value: millis},
		{Name: "arp_ip_target", Doc: "IPv4 addresses that are asked by ARP, at most 16", attr: nl.IFLA_BOND_ARP_IP_TARGET, Value: Addrs{4, maxBondTargets}},
		{Name: "ns_ip6_target", Doc: "IPv6 addresses that are asked by neighbour discovery, at most 16", attr: unix.IFLA_BOND_NS_IP6_TARGET, Value: Addrs{6, maxBondTargets}},
		{Name: "arp_validate", Doc: "which ports' answers are checked", attr: nl.IFLA_BOND_ARP_VALIDATE,
			Value: word4("none", "active", "backup", "all", "filter", "filter_active", "filter_backup")},
		{Name: "arp_all_targets", Doc: "whether any or all targets have to answer", attr: nl.IFLA_BOND_ARP_ALL_TARGETS, Value: word4("any", "all")},
		{Name: "arp_missed_max", Doc: "how many questions may stay without an answer, 2 unless given", attr: unix.IFLA_BOND_MISSED_MAX, Value: Number{Size: 1, Min: 1, Max: 255}},
		{Name: "primary", Doc: "the port that is active whenever it can, or False", attr: nl.IFLA_BOND_PRIMARY, Value: OtherLink{}, late: true},
		{Name: "active_slave", Doc: "the port that is active now, or False to let the kernel choose", attr: nl.IFLA_BOND_ACTIVE_SLAVE, Value: OtherLink{"clear_active_slave"}, late: true},
		{Name: "primary_reselect", Doc: "when the primary port takes over again: always, better or failure", attr: nl.IFLA_BOND_PRIMARY_RESELECT, Value: word("always", "better", "failure")},
		{Name: "fail_over_mac", Doc: "who has the bond's MAC address: none (all ports), active or follow", attr: nl.IFLA_BOND_FAIL_OVER_MAC, Value: word("none", "active", "follow")},
		{Name: "xmit_hash_policy", Doc: "what chooses the port of a packet", attr: nl.IFLA_BOND_XMIT_HASH_POLICY,
			Value: word("layer2", "layer3+4", "layer2+3", "encap2+3", "encap3+4", "vlan+srcmac")},
		{Name: "resend_igmp", Doc: "how many membership reports follow a failover, 0 to 255", attr: nl.IFLA_BOND_RESEND_IGMP, Value: Number{Size: 4, Max: 255}},
		{Name: "num_grat_arp", Doc: "how many announcements to peers follow a failover", attr: nl.IFLA_BOND_NUM_PEER_NOTIF, Value: Number{Size: 1, Max: 255}},
		{Name: "num_unsol_na", Doc: "the same as num_grat_arp, by its IPv6 name", attr: nl.IFLA_BOND_NUM_PEER_NOTIF, Value: Number{Size: 1, Max: 255}},
		{Name: "all_slaves_active", Doc: "take frames from ports that are not active, too", attr: nl.IFLA_BOND_ALL_SLAVES_ACTIVE, Value: zeroOne},
		{Name: "min_links", Doc: "how many ports the bond's carrier needs", attr: nl.IFLA_BOND_MIN_LINKS, Value: Number{Size: 4, Max: math.MaxInt32}},
		{Name: "lp_interval", Doc: "between learning frames to peers' switches, 1 s unless given", attr: nl.IFLA_BOND_LP_INTERVAL, Value: Time{time.Second, math.MaxInt32 * time.Second, time.Second, false}},
		{Name: "packets_per_slave", Doc: "how many packets a port gets in turn, 1 unless given; 0 for chance", attr: nl.IFLA_BOND_PACKETS_PER_SLAVE, Value: Number{Size: 4, Max: 65535}},
		{Name: "tlb_dynamic_lb", Doc: "move flows between ports by their load", attr: nl.IFLA_BOND_TLB_DYNAMIC_LB, Value: zeroOne},
		{Name: "lacp_rate", Doc: "how often the peer is to send LACPDUs: slow or fast", attr: nl.IFLA_BOND_AD_LACP_RATE, Value: word("slow", "fast")},
		{Name: "lacp_active", Doc: "send LACPDUs unasked", attr: unix.IFLA_BOND_AD_LACP_ACTIVE, Value: Switch{1, offOn, false}},
		{Name: "ad_select", Doc: "which aggregator is used: stable, bandwidth or count", attr: nl.IFLA_BOND_AD_SELECT, Value: word("stable", "bandwidth", "count")},
		{Name: "ad_user_port_key", Doc: "the upper bits of the port key", attr: nl.IFLA_BOND_AD_USER_PORT_KEY, Value: Number{Size: 2, Max: 1023}},
		{Name: "ad_actor_sys_prio", Doc: "the priority of this system", attr: nl.IFLA_BOND_AD_ACTOR_SYS_PRIO, Value: Number{Size: 2, Min: 1, Max: 65535}},
		{Name: "ad_actor_system", Doc: "the MAC address of this system", attr: nl.IFLA_BOND_AD_ACTOR_SYSTEM, Value: MAC{}},
	}}
}

// bondPortKind are the options of a bond's port (`ip link set PORT type bond_slave`).
func bondPortKind() *Kind {
	return &Kind{Name: "bond_slave", Options: []*Option{
		{Name: "queue_id", Doc: "the queue by which filters choose this port", attr: nl.IFLA_BOND_SLAVE_QUEUE_ID, Value: Number{Size: 2, Max: 65535}},
		{Name: "prio", Doc: "which port is chosen to be active: the highest", attr: unix.IFLA_BOND_SLAVE_PRIO, Value: Number{Size: 4, Min: math.MinInt32, Max: math.MaxInt32}},
	}}
}

// bondModesOf are the modes in which an option means something; the kernel refuses
// it in others (drivers/net/bonding/bond_options.c). It is nil for all.
func bondModesOf(option string) []string {
	switch option {
	case "packets_per_slave":
		return bondModes[:1]
	case "arp_interval", "arp_validate":
		return bondModes[:4]
	case "primary", "active_slave":
		return []string{"active-backup", "balance-tlb", "balance-alb"}
	case "tlb_dynamic_lb":
		return bondModes[5:6]
	case "lacp_rate", "lacp_active", "ad_user_port_key", "ad_actor_sys_prio", "ad_actor_system":
		return bondModes[4:5]
	}
	return nil
}

func checkBond(c chosen) error {
	mode, _ := c.is("mode").(string)
	if mode == "" {
		mode = bondModes[0]
	}
	for _, o := range c.options {
		if modes := bondModesOf(o.Name); modes != nil && !slices.Contains(modes, mode) {
			return Usage("it belongs to mode "+orList(modes), "%s has no meaning in mode %s", o.Name, mode)
		}
	}
	if err := c.exclude("num_grat_arp", "num_unsol_na"); err != nil {
		return err
	}
	miimon := isLonger(c.is("miimon"))
	switch {
	case miimon && isLonger(c.given("arp_interval")):
		return Usage("leave one of them out", "miimon and arp_interval exclude each other")
	case isLonger(c.given("updelay")) && !miimon:
		return Usage(`like miimon="100ms"`, "updelay needs miimon")
	case isLonger(c.given("downdelay")) && !miimon:
		return Usage(`like miimon="100ms"`, "downdelay needs miimon")
	case isLonger(c.given("peer_notify_delay")) && !miimon && !isLonger(c.is("arp_interval")):
		return Usage(`like miimon="100ms"`, "peer_notify_delay needs miimon or arp_interval")
	}
	return nil
}

// isLonger tells whether a time, given or read, is more than 0.
func isLonger(v any) bool {
	switch v := v.(type) {
	case time.Duration:
		return v > 0
	case float64:
		return v > 0
	}
	return false
}
