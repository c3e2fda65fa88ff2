package iproute

import (
	"cmp"
	"errors"
	"strings"
	"testing"

	"nsscript/runtime/event"
)

// ev makes an event: "key=value" or "key" for each argument.
func ev(op, ns string, args ...string) event.Event {
	e := event.Event{Op: op, NS: ns}
	for _, a := range args {
		key, value, _ := strings.Cut(a, "=")
		e.Args = append(e.Args, event.Arg{Key: key, Value: value})
	}
	return e
}

const (
	mac1 = "02:00:00:00:00:01"
	mac2 = "02:00:00:00:00:02"
	mac3 = "02:00:00:00:00:03"
	key1 = "6AwmNb2AMThTYkVwFa7NGYxw0WYmYDLYUwcBQ17F7WM="
	key2 = "uaCyZQUk4Sz5bFuvC4w1lHbH7sRPQHuN8Z0ZvGv0mX0="
)

// rendered are events with the commands for them; exact is "" where it makes no
// difference. Commands are divided by newlines. They build a lab in this order,
// which TestKernel does.
var rendered = []struct {
	e            event.Event
	plain, exact string
}{
	{ev("netns add", "", "name=blue"), "ip netns add blue", ""},
	{ev("netns add", "", "name=we ird"), "ip netns add 'we ird'", ""},
	{ev("netns delete", "", "name=blue"), "ip netns del blue", ""},
	{ev("netns add", "", "name=A"), "ip netns add A", ""},
	{ev("netns add", "", "name=B"), "ip netns add B", ""},

	{
		ev("link add", "", "type=veth", "name=veth0", "index=2", "address="+mac1, "peer name=veth1", "peer index=3", "peer address="+mac2),
		"ip link add veth0 type veth peer name veth1",
		"ip link add veth0 index 2 address " + mac1 + " numtxqueues 1 numrxqueues 1 " +
			"type veth peer name veth1 index 3 address " + mac2 + " numtxqueues 1 numrxqueues 1",
	},
	{
		ev("link add", "A", "type=veth", "name=veth0", "index=12", "address="+mac1, "mtu=1400", "txqueuelen=5",
			"peer name=veth1", "peer index=13", "peer address="+mac2, "peer mtu=1300", "peer txqueuelen=6", "peer netns=B"),
		"ip -n A link add veth0 mtu 1400 txqueuelen 5 type veth peer name veth1 mtu 1300 txqueuelen 6 netns B",
		"ip -n A link add veth0 index 12 address " + mac1 + " mtu 1400 txqueuelen 5 numtxqueues 1 numrxqueues 1 " +
			"type veth peer name veth1 index 13 address " + mac2 + " mtu 1300 txqueuelen 6 numtxqueues 1 numrxqueues 1 netns B",
	},
	{
		ev("link add", "A", "type=veth", "name=v2", "index=0", "address="+mac1, "given=peer address", "peer name=v3", "peer index=0", "peer address="+mac2, "peer netns=1"),
		"ip -n A link add v2 type veth peer name v3 address " + mac2 + " netns 1",
		"ip -n A link add v2 address " + mac1 + " numtxqueues 1 numrxqueues 1 type veth peer name v3 address " + mac2 + " numtxqueues 1 numrxqueues 1 netns 1",
	},
	{ev("link add", "A", "type=veth", "name=eth0.10", "peer name=e"), "ip -n A link add eth0.10 type veth peer name e",
		"ip -n A link add eth0.10 numtxqueues 1 numrxqueues 1 type veth peer name e numtxqueues 1 numrxqueues 1"},
	{ // Names that `ip link` could take for keywords.
		ev("link add", "A", "type=veth", "name=b", "index=20", "address="+mac1, "peer name=up", "peer index=21", "peer address="+mac2),
		"ip -n A link add name b type veth peer name up",
		"ip -n A link add name b index 20 address " + mac1 + " numtxqueues 1 numrxqueues 1 " +
			"type veth peer name up index 21 address " + mac2 + " numtxqueues 1 numrxqueues 1",
	},
	{
		ev("link add", "A", "type=bridge", "name=br0", "index=30", "address="+mac1, "mtu=1400", "option stp_state=0", "option forward_delay=400",
			"option hello_time=100", "option max_age=600", "option ageing_time=30000", "option priority=100", "option group_fwd_mask=8", "option mcast_snooping=0"),
		"ip -n A link add br0 mtu 1400 type bridge stp_state 0 forward_delay 400 hello_time 100 max_age 600 ageing_time 30000 priority 100 group_fwd_mask 8 mcast_snooping 0",
		"ip -n A link add br0 index 30 address " + mac1 + " mtu 1400 type bridge stp_state 0 forward_delay 400 hello_time 100 max_age 600 ageing_time 30000 priority 100 group_fwd_mask 8 mcast_snooping 0",
	},
	{
		ev("link add", "A", "type=bridge", "name=br1", "index=31", "address="+mac1, "option vlan_filtering=1"),
		"ip -n A link add br1 type bridge vlan_filtering 1",
		"ip -n A link add br1 index 31 address " + mac1 + " type bridge vlan_filtering 1",
	},
	{ // Not of this package's time yet, but in iproute2's order.
		ev("link add", "A", "type=vlan", "name=veth0.10", "index=32", "address="+mac1, "given=address", "link=veth0", "option id=10"),
		"ip -n A link add link veth0 name veth0.10 address " + mac1 + " type vlan id 10",
		"ip -n A link add link veth0 name veth0.10 index 32 address " + mac1 + " type vlan id 10",
	},

	{ev("link set", "", "dev=lo", "up"), "ip link set lo up", ""},
	{ev("link set", "A", "dev=lo", "up"), "ip -n A link set lo up", ""},
	{ev("link set", "A", "dev=veth0", "up"), "ip -n A link set veth0 up", ""},
	{ev("link set", "A", "dev=b", "up"), "ip -n A link set dev b up", ""},
	{ev("link set", "B", "dev=veth1", "up"), "ip -n B link set veth1 up", ""},
	{ev("link set", "A", "dev=v2", "down"), "ip -n A link set v2 down", ""},
	{
		ev("link set", "A", "dev=v2", "promisc=on", "arp=off", "multicast=off", "allmulticast=on", "mtu=1300", "address="+mac2, "alias=it's a $cable", "txqueuelen=9", "group=4", "master=br0"),
		"ip -n A link set v2 promisc on arp off multicast off allmulticast on mtu 1300 address " + mac2 + ` alias 'it'\''s a $cable' txqueuelen 9 group 4 master br0`, "",
	},
	{ev("link set", "A", "dev=v2", "alias=", "nomaster"), "ip -n A link set v2 alias '' nomaster", ""},
	{ev("link set", "A", "dev=v2", "name=eth9"), "ip -n A link set v2 name eth9", ""},
	{ev("link set", "A", "dev=eth9", "netns=B"), "ip -n A link set eth9 netns B", ""},
	{ev("link set", "B", "dev=eth9", "netns=1"), "ip -n B link set eth9 netns 1", ""},
	{ev("link property add", "", "dev=eth9", "altname=a-very-long-name;true"), "ip link property add dev eth9 altname 'a-very-long-name;true'", ""},
	{ev("link property del", "", "dev=eth9", "altname=a-very-long-name;true"), "ip link property del dev eth9 altname 'a-very-long-name;true'", ""},
	{ev("link delete", "", "dev=eth9"), "ip link del eth9", ""},
	{ev("link delete", "A", "dev=b"), "ip -n A link del dev b", ""},

	{ev("addr add", "A", "address=10.1.0.1/24", "dev=veth0"), "ip -n A addr add 10.1.0.1/24 dev veth0", ""},
	{ev("addr add", "A", "address=10.1.2.1/24", "dev=veth0", "broadcast=10.1.2.255", "label=veth0:x", "scope=link"), "ip -n A addr add 10.1.2.1/24 dev veth0 broadcast 10.1.2.255 label veth0:x scope link", ""},
	{ev("addr add", "A", "address=10.1.3.1/32", "dev=veth0", "peer=10.1.3.2/32"), "ip -n A addr add 10.1.3.1/32 dev veth0 peer 10.1.3.2/32", ""},
	{ev("addr delete", "A", "address=10.1.3.1/32", "dev=veth0", "peer=10.1.3.2/32", "scope=global"), "ip -n A addr del 10.1.3.1/32 dev veth0 peer 10.1.3.2/32", ""},
	{ev("addr add", "A", "address=fd01::1/64", "dev=veth0", "nodad"), "ip -n A addr add fd01::1/64 dev veth0 nodad", ""},
	{ev("addr add", "A", "address=fd02::1/64", "dev=veth0", "nodad", "valid_lft=600", "preferred_lft=300"), "ip -n A addr add fd02::1/64 dev veth0 nodad valid_lft 600 preferred_lft 300", ""},
	{ev("addr add", "A", "address=10.1.4.1/24", "dev=veth0", "valid_lft=600"), "ip -n A addr add 10.1.4.1/24 dev veth0 valid_lft 600 preferred_lft 600", ""},
	{ev("addr add", "A", "address=10.1.5.1/24", "dev=veth0", "preferred_lft=600"), "ip -n A addr add 10.1.5.1/24 dev veth0 preferred_lft 600", ""},
	{ev("addr delete", "A", "address=10.1.2.1/24", "dev=veth0"), "ip -n A addr del 10.1.2.1/24 dev veth0", ""},
	{
		ev("addr renew", "A", "address=fe80::7/64", "dev=veth0", "nodad"),
		"ip -n A addr del fe80::7/64 dev veth0 2>/dev/null || true\nip -n A addr add fe80::7/64 dev veth0 nodad", "",
	},

	{ev("route add", "A", "dst=default", "via=10.1.0.2", "dev=veth0", "scope=global"), "ip -n A route add default via 10.1.0.2 dev veth0", ""},
	{
		ev("route add", "A", "dst=10.9.0.0/24", "via=10.1.0.2", "dev=veth0", "src=10.1.0.1", "metric=5", "table=100", "proto=static", "scope=global", "mtu=1300", "advmss=1200"),
		"ip -n A route add 10.9.0.0/24 via 10.1.0.2 dev veth0 src 10.1.0.1 metric 5 table 100 proto static mtu 1300 advmss 1200", "",
	},
	{ev("route add", "A", "dst=10.9.1.0/24", "dev=veth0", "scope=link"), "ip -n A route add 10.9.1.0/24 dev veth0", ""},
	{ev("route replace", "A", "dst=10.9.1.0/24", "dev=veth0", "proto=77", "scope=global"), "ip -n A route replace 10.9.1.0/24 dev veth0 proto 77 scope global", ""},
	{ev("route add", "A", "dst=10.9.2.0/24", "type=unreachable", "scope=global"), "ip -n A route add unreachable 10.9.2.0/24", ""},
	{ev("route add", "A", "dst=10.9.3.0/24", "type=blackhole", "scope=global", "metric=7"), "ip -n A route add blackhole 10.9.3.0/24 metric 7", ""},
	{ev("route add", "A", "dst=default", "type=throw", "table=101", "scope=global"), "ip -n A route add throw default table 101", ""},
	{ev("route add", "A", "dst=10.9.4.0/24", "type=local", "dev=lo", "table=local", "scope=host"), "ip -n A route add local 10.9.4.0/24 dev lo table local", ""},
	{ev("route add", "A", "dst=10.9.5.0/24", "type=local", "dev=lo", "scope=host"), "ip -n A route add local 10.9.5.0/24 table main dev lo", ""},
	{ev("route add", "A", "dst=239.0.0.0/24", "type=multicast", "dev=veth0", "scope=link"), "ip -n A route add multicast 239.0.0.0/24 dev veth0", ""},
	{ev("route add", "A", "dst=10.9.6.0/24", "via=192.168.5.5", "dev=veth0", "scope=global", "onlink"), "ip -n A route add 10.9.6.0/24 via 192.168.5.5 dev veth0 onlink", ""},
	{ev("route add", "A", "dst=10.9.7.0/24", "via=inet6 fe80::5", "dev=veth0", "scope=global"), "ip -n A route add 10.9.7.0/24 via inet6 fe80::5 dev veth0", ""},
	{ev("route add", "A", "dst=default", "via=inet6 fe80::5", "dev=veth0", "metric=3", "scope=global"), "ip -n A -4 route add default via inet6 fe80::5 dev veth0 metric 3", ""},
	{
		ev("route add", "A", "dst=10.9.8.0/24", "scope=global", "nexthop=via 10.1.0.2 dev veth0 weight 1", "nexthop=via inet6 fe80::3 dev veth0 weight 3 onlink", "mtu=1300"),
		"ip -n A route add 10.9.8.0/24 mtu 1300 nexthop via 10.1.0.2 dev veth0 weight 1 nexthop via inet6 fe80::3 dev veth0 weight 3 onlink", "",
	},
	{ev("route add", "A", "dst=default", "family=inet6", "via=fd01::2", "dev=veth0"), "ip -n A -6 route add default via fd01::2 dev veth0", ""},
	{ev("route add", "A", "dst=fd03::/64", "family=inet6", "type=blackhole", "table=100"), "ip -n A -6 route add blackhole fd03::/64 table 100", ""},
	{
		ev("route add", "A", "dst=fd04::/64", "family=inet6", "nexthop=via fd01::2 dev veth0 weight 1", "nexthop=via fd01::3 dev veth0 weight 1"),
		"ip -n A -6 route add fd04::/64 nexthop via fd01::2 dev veth0 weight 1 nexthop via fd01::3 dev veth0 weight 1", "",
	},
	{ev("route add", "A", "dst=fd05::1", "family=inet6", "type=local", "dev=lo", "table=local"), "ip -n A -6 route add local fd05::1 dev lo table local", ""},
	{ev("addr replace", "A", "address=fd02::1/64", "dev=veth0", "nodad", "metric=5", "valid_lft=700"), "ip -n A addr replace fd02::1/64 dev veth0 nodad metric 5 valid_lft 700 preferred_lft 700", ""},
	{ev("neigh add", "A", "to=10.1.0.77", "lladdr="+mac1, "dev=veth0", "extern_learn", "protocol=static", "nud=permanent"),
		"ip -n A neigh add 10.1.0.77 lladdr " + mac1 + " dev veth0 extern_learn protocol static",
		"ip -n A neigh add 10.1.0.77 lladdr " + mac1 + " dev veth0 extern_learn protocol static nud permanent"},
	{ev("neigh change", "A", "to=10.1.0.77", "lladdr="+mac2, "dev=veth0", "nud=noarp"), "ip -n A neigh change 10.1.0.77 lladdr " + mac2 + " dev veth0 nud noarp", ""},
	{ev("flush", "A", "what=neigh", "dev=veth0", "family=inet6"), "ip -n A -6 neigh flush dev veth0", ""},
	{
		ev("route add", "A", "dst=10.9.10.0/24", "tos=0x10", "encap=ip id 7 dst 10.1.0.9", "dev=veth0", "scope=link", "mtu=lock 1300", "rtt=lock 100ms", "features=ecn", "congctl=lock reno"),
		"ip -n A route add 10.9.10.0/24 tos 0x10 encap ip id 7 dst 10.1.0.9 dev veth0 mtu lock 1300 rtt lock 100ms features ecn congctl lock reno", "",
	},
	{ev("route change", "A", "dst=10.9.10.0/24", "tos=0x10", "dev=veth0", "scope=link"), "ip -n A route change 10.9.10.0/24 tos 0x10 dev veth0", ""},
	{ev("route append", "A", "dst=10.9.10.0/24", "tos=0x10", "dev=veth0", "scope=host"), "ip -n A route append 10.9.10.0/24 tos 0x10 dev veth0 scope host", ""},
	{ev("route prepend", "A", "dst=10.9.11.0/24", "via=10.1.0.2", "scope=global"), "ip -n A route prepend 10.9.11.0/24 via 10.1.0.2", ""},
	{
		ev("route add", "A", "dst=fd06::/64", "family=inet6", "encap=seg6 mode encap segs fc00::1", "dev=veth0", "hoplimit=9", "pref=high", "expires=600"),
		"ip -n A -6 route add fd06::/64 encap seg6 mode encap segs fc00::1 dev veth0 hoplimit 9 pref high expires 600", "",
	},
	{ev("nexthop add", "A", "id=1", "via=10.1.0.2", "dev=veth0", "proto=static"), "ip -n A nexthop add id 1 via 10.1.0.2 dev veth0 proto static", ""},
	{ev("nexthop add", "A", "id=2", "family=inet6", "blackhole"), "ip -n A -6 nexthop add id 2 blackhole", ""},
	{ev("nexthop add", "A", "id=3", "via=10.7.0.2", "dev=veth0", "onlink"), "ip -n A nexthop add id 3 via 10.7.0.2 dev veth0 onlink", ""},
	{
		ev("nexthop add", "A", "id=4", "group=1/3,2", "type=resilient", "buckets=8", "idle_timer=60", "unbalanced_timer=0"),
		"ip -n A nexthop add id 4 group 1/3,2 type resilient buckets 8 idle_timer 60 unbalanced_timer 0", "",
	},
	{ev("nexthop add", "A", "id=5", "via=10.9.9.9", "fdb"), "ip -n A nexthop add id 5 via 10.9.9.9 fdb", ""},
	{ev("nexthop replace", "A", "id=5", "via=10.9.9.8", "fdb"), "ip -n A nexthop replace id 5 via 10.9.9.8 fdb", ""},
	{ev("route add", "A", "dst=10.9.9.0/24", "nhid=4", "scope=global"), "ip -n A route add 10.9.9.0/24 nhid 4", ""},
	{ev("nexthop delete", "A", "id=4", "group=1/3,2", "type=resilient"), "ip -n A nexthop del id 4", ""},
	{ev("route delete", "A", "dst=default", "via=10.1.0.2", "dev=veth0", "scope=global"), "ip -n A route del default via 10.1.0.2 dev veth0", ""},
	{ev("route delete", "A", "dst=10.9.2.0/24", "type=unreachable", "scope=global"), "ip -n A route del unreachable 10.9.2.0/24", ""},
	{ev("route delete", "A", "dst=10.9.5.0/24", "type=local", "dev=lo", "scope=host"), "ip -n A route del local 10.9.5.0/24 table main dev lo", ""},
	{
		ev("route delete", "A", "dst=10.9.8.0/24", "scope=global", "nexthop=via 10.1.0.2 dev veth0 weight 1", "nexthop=via inet6 fe80::3 dev veth0 weight 3 onlink", "mtu=1300"),
		"ip -n A route del 10.9.8.0/24 mtu 1300 nexthop via 10.1.0.2 dev veth0 weight 1 nexthop via inet6 fe80::3 dev veth0 weight 3 onlink", "",
	},
	{ev("route delete", "A", "dst=fd03::/64", "family=inet6", "type=blackhole", "dev=lo", "metric=1024", "table=100"), "ip -n A -6 route del blackhole fd03::/64 dev lo metric 1024 table 100", ""},

	{
		ev("rule add", "A", "priority=100", "not", "from=10.0.0.0/8", "to=10.1.0.0/16", "tos=0x10", "fwmark=0x1/0xff", "iif=veth0", "oif=lo", "uidrange=0-0", "ipproto=tcp", "sport=1-5", "dport=80", "lookup=100", "suppress_prefixlength=0"),
		"ip -n A rule add priority 100 not from 10.0.0.0/8 to 10.1.0.0/16 tos 0x10 fwmark 0x1/0xff iif veth0 oif lo uidrange 0-0 ipproto tcp sport 1-5 dport 80 lookup 100 suppress_prefixlength 0", "",
	},
	{ev("rule add", "A", "priority=101", "from=all", "blackhole"), "ip -n A rule add priority 101 from all blackhole", ""},
	{ev("rule add", "A", "priority=102", "from=all", "nop"), "ip -n A rule add priority 102 from all nop", ""},
	{ev("rule add", "A", "priority=103", "from=all", "to=10.7.0.1", "goto=32766"), "ip -n A rule add priority 103 from all to 10.7.0.1 goto 32766", ""},
	{ev("rule add", "A", "family=inet6", "priority=101", "from=fd00::/8", "lookup=main"), "ip -n A -6 rule add priority 101 from fd00::/8 lookup main", ""},
	{ev("rule delete", "A", "family=inet6", "priority=101", "from=fd00::/8", "lookup=main"), "ip -n A -6 rule del priority 101 from fd00::/8 lookup main", ""},
	{ev("rule delete", "A", "priority=101", "from=all", "blackhole"), "ip -n A rule del priority 101 from all blackhole", ""},

	{
		ev("neigh add", "A", "to=10.1.0.9", "lladdr="+mac2, "dev=veth0", "nud=permanent"),
		"ip -n A neigh add 10.1.0.9 lladdr " + mac2 + " dev veth0", "ip -n A neigh add 10.1.0.9 lladdr " + mac2 + " dev veth0 nud permanent",
	},
	{
		ev("neigh replace", "A", "to=fd01::9", "lladdr="+mac2, "dev=veth0", "router", "nud=permanent"),
		"ip -n A neigh replace fd01::9 lladdr " + mac2 + " dev veth0 router", "ip -n A neigh replace fd01::9 lladdr " + mac2 + " dev veth0 router nud permanent",
	},
	{ev("neigh add", "A", "to=10.1.0.10", "lladdr="+mac2, "dev=veth0", "nud=stale"), "ip -n A neigh add 10.1.0.10 lladdr " + mac2 + " dev veth0 nud stale", ""},
	{ev("neigh add", "A", "to=10.1.0.11", "dev=veth0", "nud="), "ip -n A neigh add 10.1.0.11 dev veth0 nud none", ""},
	{ev("neigh add", "A", "proxy=10.1.0.8", "dev=veth0"), "ip -n A neigh add proxy 10.1.0.8 dev veth0", ""},
	{ev("neigh add", "A", "proxy=fd01::8", "dev=veth0", "router"), "ip -n A neigh add proxy fd01::8 dev veth0 router", ""},
	{ev("neigh delete", "A", "proxy=fd01::8", "dev=veth0", "router"), "ip -n A neigh del proxy fd01::8 dev veth0", ""},
	{ev("neigh delete", "A", "to=fd01::9", "lladdr="+mac2, "dev=veth0", "router", "nud=permanent"), "ip -n A neigh del fd01::9 dev veth0", ""},

	{ev("link add", "A", "type=bridge", "name=br8", "index=40", "address="+mac1), "ip -n A link add br8 type bridge", "ip -n A link add br8 index 40 address " + mac1 + " type bridge"},
	{ev("link add", "A", "type=veth", "name=p8", "index=41", "address="+mac1, "peer name=q8", "peer index=42", "peer address="+mac2),
		"ip -n A link add p8 type veth peer name q8",
		"ip -n A link add p8 index 41 address " + mac1 + " numtxqueues 1 numrxqueues 1 type veth peer name q8 index 42 address " + mac2 + " numtxqueues 1 numrxqueues 1"},
	{ev("link set", "A", "dev=q8", "up"), "ip -n A link set q8 up", ""},
	{ev("link set", "A", "dev=p8", "up"), "ip -n A link set p8 up", ""},
	{ev("link set", "A", "dev=br8", "up"), "ip -n A link set br8 up", ""},
	{ev("link set", "A", "dev=p8", "master=br8"), "ip -n A link set p8 master br8", ""},
	{ev("link set", "A", "dev=p8", "type=bridge_slave", "cost=7", "isolated=on", "nobackup_port"), "ip -n A link set p8 type bridge_slave cost 7 isolated on nobackup_port", ""},
	{ev("vlan add", "A", "dev=p8", "vid=10-20", "untagged"), "bridge -n A vlan add vid 10-20 dev p8 untagged", ""},
	{ev("vlan add", "A", "dev=br8", "vid=10", "pvid", "self"), "bridge -n A vlan add vid 10 dev br8 pvid self", ""},
	{ev("vlan set", "A", "dev=p8", "vid=10", "state=blocking"), "bridge -n A vlan set vid 10 dev p8 state blocking", ""},
	{ev("vlan delete", "A", "dev=p8", "vid=12"), "bridge -n A vlan del vid 12 dev p8", ""},
	{ev("fdb add", "A", "to="+mac3, "dev=p8", "master", "sticky", "static"), "bridge -n A fdb add " + mac3 + " dev p8 master sticky static", ""},
	{ev("fdb replace", "A", "to="+mac3, "dev=p8", "master", "dynamic"), "bridge -n A fdb replace " + mac3 + " dev p8 master dynamic", ""},
	{ev("fdb delete", "A", "to="+mac3, "dev=p8", "master", "dynamic"), "bridge -n A fdb del " + mac3 + " dev p8 master dynamic", ""},
	{ev("link add", "A", "type=vxlan", "name=vx8", "index=43", "address="+mac1, "option id=8", "option dstport=4789"), "ip -n A link add vx8 type vxlan id 8 dstport 4789",
		"ip -n A link add vx8 index 43 address " + mac1 + " type vxlan id 8 dstport 4789"},
	{ev("fdb add", "A", "to=00:00:00:00:00:00", "dev=vx8", "dst=10.0.0.1", "self", "permanent"), "bridge -n A fdb add 00:00:00:00:00:00 dev vx8 dst 10.0.0.1 self permanent", ""},
	{ev("fdb append", "A", "to=00:00:00:00:00:00", "dev=vx8", "dst=10.0.0.2", "port=4790", "vni=9", "via=p8", "self", "permanent"),
		"bridge -n A fdb append 00:00:00:00:00:00 dev vx8 dst 10.0.0.2 port 4790 vni 9 via p8 self permanent", ""},
	{ev("mdb add", "A", "dev=br8", "port=p8", "grp=239.1.1.1", "permanent"), "bridge -n A mdb add dev br8 port p8 grp 239.1.1.1 permanent", ""},
	{ev("mdb delete", "A", "dev=br8", "port=p8", "grp=239.1.1.1", "permanent"), "bridge -n A mdb del dev br8 port p8 grp 239.1.1.1", ""},
	{ev("vlan global set", "A", "dev=br8", "vid=10", "mcast_querier=1", "mcast_query_interval=700"),
		"bridge -n A vlan global set dev br8 vid 10 mcast_querier 1 mcast_query_interval 700", ""},
	{ev("link add", "A", "type=vxlan", "name=vx9", "index=45", "option external", "option vnifilter", "option dstport=4799"),
		"ip -n A link add vx9 type vxlan external vnifilter dstport 4799", "ip -n A link add vx9 index 45 type vxlan external vnifilter dstport 4799"},
	{ev("vni add", "A", "vni=100-110", "remote=10.0.0.1", "dev=vx9"), "bridge -n A vni add vni 100-110 remote 10.0.0.1 dev vx9", ""},
	{ev("vni delete", "A", "vni=100", "dev=vx9"), "bridge -n A vni delete vni 100 dev vx9", ""},
	{ev("port set", "A", "dev=p8", "state=disabled"), "bridge -n A link set dev p8 state disabled", ""},

	{ev("link add", "A", "type=wireguard", "name=wg8", "index=44"), "ip -n A link add wg8 type wireguard", "ip -n A link add wg8 index 44 type wireguard"},
	{ev("wg set", "A", "dev=wg8", "private-key="+key1, "listen-port=5", "fwmark=0x7"),
		"echo " + key1 + " | ip netns exec A wg set wg8 private-key /dev/stdin listen-port 5 fwmark 0x7", ""},
	{ev("wg set", "A", "dev=wg8", "private-key="), "ip netns exec A wg set wg8 private-key /dev/null", ""},
	{ev("wg set", "A", "dev=wg8", "peer="+key2, "preshared-key="+key1, "endpoint=[fd00::1]:5", "persistent-keepalive=0", "allowed-ips="),
		"echo " + key1 + " | ip netns exec A wg set wg8 peer " + key2 + " preshared-key /dev/stdin endpoint '[fd00::1]:5' persistent-keepalive 0 allowed-ips ''", ""},
	{ev("wg set", "A", "dev=wg8", "peer="+key2, "remove"), "ip netns exec A wg set wg8 peer " + key2 + " remove", ""},

	{ev("link add", "A", "type=macsec", "name=ms8", "link=veth0", "index=46", "option port=9", "option encrypt=on"),
		"ip -n A link add link veth0 name ms8 type macsec port 9 encrypt on", "ip -n A link add link veth0 name ms8 index 46 type macsec port 9 encrypt on"},
	{ev("macsec add", "A", "dev=ms8", "tx", "sa=1", "pn=5", "off", "key=01000000000000000000000000000000 000102030405060708090a0b0c0d0e0f"),
		"ip -n A macsec add ms8 tx sa 1 pn 5 off key 01000000000000000000000000000000 000102030405060708090a0b0c0d0e0f", ""},
	{ev("macsec add", "A", "dev=ms8", "rx", "sci=0200000000010001"), "ip -n A macsec add ms8 rx sci 0200000000010001", ""},
	{ev("macsec set", "A", "dev=ms8", "rx", "sci=0200000000010001", "off"), "ip -n A macsec set ms8 rx sci 0200000000010001 off", ""},
	{ev("qdisc add", "A", "dev=veth0", "root", "handle=1:", "htb", "default=10"), "tc -n A qdisc add dev veth0 root handle 1: htb default 10", ""},
	{ev("qdisc replace", "A", "dev=veth0", "root", "handle=2:", "htb", "default=10"), "tc -n A qdisc replace dev veth0 root handle 2: htb default 10", ""},
	{ev("class add", "A", "dev=veth0", "parent=2:", "classid=2:10", "htb", "rate=1mbit"), "tc -n A class add dev veth0 parent 2: classid 2:10 htb rate 1mbit", ""},
	{ev("class replace", "A", "dev=veth0", "parent=2:", "classid=2:10", "htb", "rate=2mbit"), "tc -n A class replace dev veth0 parent 2: classid 2:10 htb rate 2mbit", ""},
	{ev("filter add", "A", "dev=veth0", "parent=2:", "protocol=ip", "pref=5", "handle=800::800", "u32", "match", "ip", "protocol", "1", "0xff", "classid=2:10"),
		"tc -n A filter add dev veth0 parent 2: protocol ip pref 5 handle 800::800 u32 match ip protocol 1 0xff classid 2:10", ""},
	{ev("filter replace", "A", "dev=veth0", "parent=2:", "protocol=ip", "pref=6", "u32", "match", "ip", "protocol", "6", "0xff", "classid=2:10"),
		"tc -n A filter replace dev veth0 parent 2: protocol ip pref 6 u32 match ip protocol 6 0xff classid 2:10", ""},
	{ev("filter delete", "A", "dev=veth0", "parent=2:", "protocol=ip", "pref=5", "u32"), "tc -n A filter del dev veth0 parent 2: protocol ip pref 5 u32", ""},
	{ev("filter delete", "A", "dev=veth0", "parent=2:", "protocol=ip", "pref=6", "u32"), "tc -n A filter del dev veth0 parent 2: protocol ip pref 6 u32", ""},
	{ev("class delete", "A", "dev=veth0", "classid=2:10"), "tc -n A class del dev veth0 classid 2:10", ""},
	{ev("qdisc delete", "A", "dev=veth0", "root"), "tc -n A qdisc del dev veth0 root", ""},
	{ev("fou add", "A", "family=inet", "port=5555", "ipproto=4"), "ip -n A fou add port 5555 ipproto 4", ""},
	{ev("fou add", "A", "family=inet6", "port=5556", "local=::1", "gue"), "ip -n A -6 fou add port 5556 local ::1 gue", ""},
	{ev("fou delete", "A", "family=inet6", "port=5556", "local=::1"), "ip -n A -6 fou del port 5556 local ::1", ""},
	{ev("link set", "A", "dev=veth0", "option token=::5"), "ip -n A token set ::5 dev veth0", ""},
	{ev("link set", "A", "dev=veth0", "option token=::"), "ip -n A token del dev veth0", ""},
	{ev("macsec del", "A", "dev=ms8", "tx", "sa=1"), "ip -n A macsec del ms8 tx sa 1", ""},

	{
		ev("tuntap add", "A", "option mode=tap", "option user=0", "option pi", "held", "name=t8", "address="+mac1, "given=address", "mtu=1400"),
		"ip -n A tuntap add dev t8 mode tap user 0 pi\nip -n A link set t8 address " + mac1 + " mtu 1400", "",
	},
	{
		ev("tuntap add", "A", "option mode=tap", "option vnet_hdr", "option multi_queue", "name=t9", "address="+mac1),
		"ip -n A tuntap add dev t9 mode tap vnet_hdr multi_queue",
		"ip -n A tuntap add dev t9 mode tap vnet_hdr multi_queue\nip -n A link set t9 address " + mac1,
	},
	{ev("tuntap add", "A", "option mode=tun", "name=u8"), "ip -n A tuntap add dev u8 mode tun", ""},

	{ev("maddr add", "A", "address=01:00:5e:01:02:03", "dev=veth0"), "ip -n A maddr add 01:00:5e:01:02:03 dev veth0", ""},
	{ev("maddr delete", "A", "address=01:00:5e:01:02:03", "dev=veth0"), "ip -n A maddr del 01:00:5e:01:02:03 dev veth0", ""},
	{ev("addr add", "A", "address=239.1.1.9/32", "dev=veth0", "autojoin"), "ip -n A addr add 239.1.1.9/32 dev veth0 autojoin", ""},

	{ev("flush", "A", "what=route cache"), "ip -n A route flush cache\nip -n A -6 route flush cache", ""},
	{ev("flush", "A", "what=neigh"), "ip -n A neigh flush all", ""},
	{ev("flush", "", "what=neigh"), "ip neigh flush all", ""},
	{ev("flush", "A", "what=conntrack"), "ip netns exec A conntrack -F", ""},
	{ev("nft", "A", "command=create table inet nsscript",
		"command=add chain inet nsscript input { type filter hook input priority filter; policy drop; }", "command=add rule inet nsscript input ip saddr 10.0.0.1 counter drop"),
		"ip netns exec A nft 'create table inet nsscript; add chain inet nsscript input { type filter hook input priority filter; policy drop; }; " +
			"add rule inet nsscript input ip saddr 10.0.0.1 counter drop'", ""},
	{ev("conntrack delete", "", "proto=udp", "src=10.0.0.1", "dst=10.0.0.2", "sport=1", "dport=2"),
		"conntrack -D --proto udp --src 10.0.0.1 --dst 10.0.0.2 --sport 1 --dport 2 2>/dev/null || true", ""},
	{ev("conntrack delete", "A", "proto=icmpv6", "src=fd00::1", "dst=fd00::2", "icmp-type=128", "icmp-code=0", "icmp-id=9"),
		"ip netns exec A conntrack -D --family ipv6 --proto icmpv6 --src fd00::1 --dst fd00::2 --icmp-type 128 --icmp-code 0 --icmp-id 9 2>/dev/null || true", ""},

	{ev("sysctl", "", "key=net/ipv4/ip_forward", "value=1"), "sysctl -qw net.ipv4.ip_forward=1", ""},
	{ev("sysctl", "A", "key=net/ipv4/conf/veth0/rp_filter", "value=2"), "ip netns exec A sysctl -qw net.ipv4.conf.veth0.rp_filter=2", ""},
	{ev("sysctl", "A", "key=net/ipv4/conf/eth0.10/forwarding", "value=1"), "ip netns exec A sysctl -qw net/ipv4/conf/eth0.10/forwarding=1", ""},
	{ev("sysctl", "A", "key=net/ipv4/ping_group_range", "value=0 0"), "ip netns exec A sysctl -qw 'net.ipv4.ping_group_range=0 0'", ""},

	// A namespace without a name is known by its path.
	{ev("link set", "/run/netns/B", "dev=lo", "up"), "nsenter --net=/run/netns/B ip link set lo up", ""},
	{ev("sysctl", "/run/netns/B", "key=net/ipv4/ip_forward", "value=1"), "nsenter --net=/run/netns/B sysctl -qw net.ipv4.ip_forward=1", ""},

	{ev("exec", "A", "argv=true"), "", ""},
	{ev("spawn", "A", "argv=true"), "", ""},
	{ev("ping", "A", "dst=10.0.0.1"), "", ""},
	{ev("teleport", "A", "to=mars"), "", ""},
}

func TestCommands(t *testing.T) {
	ops := map[string]bool{}
	for _, c := range rendered {
		ops[c.e.Op] = true
		if got := strings.Join(Commands(c.e, false), "\n"); got != c.plain {
			t.Errorf("%s %v:\n got %s\nwant %s", c.e.Op, c.e.Args, got, c.plain)
		}
		if got := strings.Join(Commands(c.e, true), "\n"); got != cmp.Or(c.exact, c.plain) {
			t.Errorf("exact %s %v:\n got %s\nwant %s", c.e.Op, c.e.Args, got, cmp.Or(c.exact, c.plain))
		}
	}
	for op := range renderers {
		if !ops[op] {
			t.Errorf("no test for %s", op)
		}
	}
}

func TestLine(t *testing.T) {
	for _, c := range []struct {
		e    event.Event
		want string
	}{
		{ev("netns add", "", "name=blue"), "ip netns add blue"},
		{ev("flush", "A", "what=route cache"), "ip -n A route flush cache; ip -n A -6 route flush cache"},
		{ev("addr renew", "A", "address=fe80::7/64", "dev=veth0", "nodad"), "ip -n A addr del fe80::7/64 dev veth0; ip -n A addr add fe80::7/64 dev veth0 nodad"},
		{ev("link set", "", "dev=lo", "alias=two\nlines\x1b[1m'"), `ip link set lo alias $'two\nlines\033[1m\''`},
		{ev("exec", "blue", "argv=echo", "argv=a b", "argv=$HOME", "input=x"), "ip netns exec blue echo 'a b' '$HOME'"},
		{ev("exec", "blue", "argv=/bin/sh", "argv=-c", "argv=a\nb"), `ip netns exec blue /bin/sh -c $'a\nb'`},
		{ev("exec", "", "argv=uname", "argv=-a"), "uname -a"},
		{ev("exec", "", "argv=echo", "argv=a"), "env echo a"},
		{ev("exec", "", "argv=a=b", "argv=c"), `sh -c 'exec "$@"' sh a=b c`},
		{ev("exec", "A", "argv=a=b", "argv=c"), "ip netns exec A a=b c"},
		{ev("exec", "A", "argv=a=b", "env=D=1"), `ip netns exec A env D=1 sh -c 'exec "$@"' sh a=b`},
		{ev("exec", "/proc/7/ns/net", "argv=id"), "nsenter --net=/proc/7/ns/net id"},
		{
			ev("exec", "blue", "argv=id", "env=A=1 2", "env=B=", "user=nobody", "cwd=/tmp/a b"),
			`(cd '/tmp/a b' && ip netns exec blue setpriv --reuid=nobody --regid="$(id -g nobody)" --init-groups env 'A=1 2' B= id)`,
		},
		{ev("exec", "", "argv=id", "cwd=-"), "(cd ./- && id)"},
		{ev("spawn", "blue", "argv=sleep", "argv=9"), "ip netns exec blue sleep 9 &"},
		{ev("exec", "A", "argv=id", "group=daemon", "tty"), "ip netns exec A script -qec 'setpriv --regid=daemon --keep-groups id' /dev/null"},
		{ev("exec", "A", "argv=id", "user=nobody", "group=daemon"), "ip netns exec A setpriv --reuid=nobody --regid=daemon --init-groups id"},
		{ev("exec", "A", "argv=id", "user=7", "group=8"), "ip netns exec A setpriv --reuid=7 --regid=8 --clear-groups id"},
		{ev("process ready", "A", "pid=7", "ready=port 80"), "wait until 7 is ready: 'port 80'"},
		{ev("ping", "", "dst=10.0.0.1"), "ping -c 1 10.0.0.1"},
		{ev("ping", "A", "dst=fe80::1%eth0", "count=3", "interval=0.2", "timeout=1", "size=100", "ttl=2", "src=fe80::2", "df"), "ip netns exec A ping -c 3 -i 0.2 -W 1 -s 100 -t 2 -I fe80::2 -M do fe80::1%eth0"},
		{ev("tcp", "A", "dst=10.0.0.1", "port=80", "timeout=2"), "ip netns exec A nc -z -w 2 10.0.0.1 80"},
		{ev("tcp", "A", "dst=10.0.0.1", "port=80", "send=x", "sport=7"), "ip netns exec A nc -N -p 7 10.0.0.1 80"},
		{ev("udp", "", "dst=fd00::1", "port=53", "send=x", "src=fd00::2"), "nc -u -s fd00::2 fd00::1 53"},
		{ev("http", "A", "method=POST", "url=http://b/", "timeout=5", "header=A: b c", "body=x"), "ip netns exec A curl -i -k -X POST -m 5 -H 'A: b c' --data-binary x http://b/"},
		{ev("http", "", "method=HEAD", "url=http://b/"), "curl -i -k -I http://b/"},
		{ev("dns", "A", "name=x", "type=MX", "server=10.0.0.2", "port=53", "timeout=2"), "ip netns exec A dig @10.0.0.2 -q x -t MX"},
		{ev("dns", "A", "name=x", "type=A", "server=10.0.0.2", "port=54"), "ip netns exec A dig @10.0.0.2 -p 54 -q x -t A"},
		{ev("throughput", "A", "dst=10.0.0.2", "seconds=2", "streams=4", "udp", "rate=1000"), "ip netns exec A iperf3 -c 10.0.0.2 -t 2 -P 4 -u -b 1000"},
		{ev("traceroute", "A", "dst=10.0.0.2", "proto=tcp", "max_ttl=30", "port=80"), "ip netns exec A traceroute -n -T -m 30 -p 80 10.0.0.2"},
		{ev("traceroute", "", "dst=fd00::2", "proto=icmp", "queries=1", "src=fd00::1"), "traceroute -n -I -q 1 -s fd00::1 fd00::2"},
		{ev("arping", "A", "dev=eth0", "dst=10.0.0.2", "count=1", "src=10.0.0.1"), "ip netns exec A arping -I eth0 -c 1 -s 10.0.0.1 10.0.0.2"},
		{ev("arping", "A", "dev=eth0", "dst=10.0.0.1", "count=1", "src=10.0.0.1", "gratuitous"), "ip netns exec A arping -I eth0 -c 1 -A 10.0.0.1"},
		{ev("tcp_server", "A", "port=80"), "A: tcp_server port 80"},
		{ev("teleport", "A", "to=mars", "alias=", "now"), "A: teleport to mars alias '' now"},
		{ev("flush", "", "what=\n"), `flush what $'\n'`},
	} {
		if got := Line(c.e); got != c.want {
			t.Errorf("%s %v:\n got %s\nwant %s", c.e.Op, c.e.Args, got, c.want)
		}
	}
}

// TestScriptNotes has what is noted once, and the library's lines.
func TestScriptNotes(t *testing.T) {
	renew := ev("addr renew", "blue", "address=fe80::1/64", "dev=veth1", "nodad")
	var events []event.Event
	for _, file := range []string{"@lab", "a.star", "b.star"} {
		renew.Pos = event.Pos{File: file, Line: 3, Col: 1}
		events = append(events, renew)
	}
	got := Script(events, false, nil)
	for text, want := range map[string]int{"The lab of a.star,": 1, "# @lab:3\n": 1, "# The kernel's own": 1, "# a.star:3": 0, "ip ": 0} {
		if n := strings.Count(got, text); n != want {
			t.Errorf("%q stands %d times, not %d, in\n%s", text, n, want, got)
		}
	}
}

func TestScript(t *testing.T) {
	at := func(line int, e event.Event) event.Event {
		e.Pos = event.Pos{File: "lab.star", Line: line, Col: 1}
		return e
	}
	failed := func(e event.Event, text string) event.Event {
		e.Err = errors.New(text)
		return e
	}
	events := []event.Event{
		ev("link set", "", "dev=lo", "up"),
		at(2, ev("netns add", "", "name=blue")),
		at(2, ev("sysctl", "blue", "key=net/ipv4/conf/all/rp_filter", "value=0")),
		at(3, ev("link add", "", "type=veth", "name=veth0", "index=2", "address="+mac1, "peer name=veth1", "peer index=3", "peer address="+mac2)),
		at(4, failed(ev("addr add", "blue", "address=10.0.0.1/24", "dev=veth1"), "no such\nlink")),
		at(5, ev("ping", "blue", "dst=10.0.0.1")),
		at(6, ev("exec", "blue", "argv=cat", "input=a $b\n'c'\n")),
		at(7, ev("exec", "blue", "argv=cat", "input=EOF\nEOF_\n", "cwd=/", "code=0")),
		at(8, ev("exec", "blue", "argv=cat", "input=no newline", "code=3")),
		at(9, ev("exec", "blue", "argv=cat", "input=a\x00b%\\'")),
		at(10, ev("exec", "blue", "argv=false", "code=1")),
		at(11, ev("spawn", "blue", "argv=sleep", "argv=1")),
		at(11, ev("spawn", "blue", "argv=cat", "input=x\n")),
		at(11, ev("process ready", "blue", "ready=port 80")),
		at(11, ev("process ready", "blue", "ready=its output matches up")),
		at(12, failed(ev("exec", "", "argv=nope"), "command not found: nope")),
		at(13, ev("addr renew", "blue", "address=fe80::1/64", "dev=veth1", "nodad")),
		at(14, ev("teleport", "blue", "to=mars")),
		at(14, ev("exec", "", "argv=ip", "argv=netns")),
	}
	const head = `#!/bin/sh
# The lab of lab.star, built with iproute2. It changes the network it is run in, as root;
# in namespaces that end with the shell, and without being root, it runs by
#   unshare -Urnmpf --mount-proc sh -c 'mount -t tmpfs tmpfs /run; sh THIS_FILE; exec sh -i'
`
	const want = head + `set -e
PATH=$PATH:/usr/sbin:/sbin

# the lab itself
ip link set lo up

# lab.star:2
ip netns add blue
ip netns exec blue sysctl -qw net.ipv4.conf.all.rp_filter=0

# lab.star:3
ip link add veth0 type veth peer name veth1

# lab.star:4
# failed, so it is left out: ip -n blue addr add 10.0.0.1/24 dev veth1: no such

# lab.star:5
# ip netns exec blue ping -c 1 10.0.0.1

# lab.star:6
ip netns exec blue cat <<'EOF'
a $b
'c'
EOF

# lab.star:7
(cd / && ip netns exec blue cat) <<'EOF__'
EOF
EOF_
EOF__

# lab.star:8
# exit status 3:
printf %s 'no newline' | ip netns exec blue cat || true

# lab.star:9
printf 'a\000b%%\\'\''' | ip netns exec blue cat

# lab.star:10
# exit status 1:
ip netns exec blue false </dev/null || true

# lab.star:11
ip netns exec blue sleep 1 &
ip netns exec blue cat <<'EOF' &
x
EOF
until ip netns exec blue ss -Hlntu 'sport = :80' | grep -q .; do sleep 0.1; done
# wait here until its output matches up

# lab.star:12
# failed, so it is left out: nope: command not found: nope

# lab.star:13
# The kernel's own IPv6 addresses (fe80::/64) are others than in the lab, and are
# checked before they can be used; with --exact they are the same.

# lab.star:14
# no command is known for: blue: teleport to mars
ip netns </dev/null
`
	if got := Script(events, false, nil); got != want {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
	exact := strings.Replace(want, "set -e", "# The root namespace must have no links yet, or their indexes may be in the way.\nset -e", 1)
	exact = strings.Replace(exact, "ip link add veth0 type veth peer name veth1",
		"ip link add veth0 index 2 address "+mac1+" numtxqueues 1 numrxqueues 1 type veth peer name veth1 index 3 address "+mac2+" numtxqueues 1 numrxqueues 1", 1)
	i, j := strings.Index(exact, "# The kernel's"), strings.Index(exact, "\n\n# lab.star:14")
	exact = exact[:i] + "ip -n blue addr del fe80::1/64 dev veth1 2>/dev/null || true\nip -n blue addr add fe80::1/64 dev veth1 nodad" + exact[j:]
	if got := Script(events, true, nil); got != exact {
		t.Errorf("exact: got:\n%s\nwant:\n%s", got, exact)
	}
}
