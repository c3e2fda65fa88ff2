package iproute_test

import (
	"slices"
	"strings"
)

// reason is why a word is in no test.
func reason(u usage, word string) string {
	for _, r := range reasons {
		if (r.of == "" || slices.Contains(strings.Split(r.of, ", "), u.name())) && (r.words == "*" || words(r.words)[word]) {
			return r.why
		}
	}
	return untested
}

const (
	encapsulating  = "ip link help gre, ip link help gretap, ip link help erspan, ip link help ip6gre, ip link help ip6gretap, ip link help ip6erspan, ip link help ipip, ip link help sit, ip link help ip6tnl"
	ofReading      = "reading: lists and attributes do it"
	asSelector     = "selects what is shown or flushed: a script selects from a list"
	hardware       = "hardware only"
	byDefault      = "the default: nothing is said"
	notInTheKernel = "the kernel has no such thing"
)

// reasons is the closed list of what no test does; "*" are all words of a text that
// have no other reason.
var reasons = []struct{ of, words, why string }{
	{"", "show get save restore showdump xstats afstats monitor identify pids list-id", ofReading},

	{"ip help", "addrlabel amt ila ioam l2tp mptcp mrule netconf ntable ntbl sr tcpmetrics tunnel vrf xfrm",
		"no link, address, route, rule or neighbour: a script runs `ip` for it (exec_in)"},
	{"ip help", "mroute", "reading: ns.mroutes, held against `ip mroute`"},
	{"ip mroute help", "to from iif table local main all", asSelector},

	{"ip netns help", "attach", "the same as `netns add` for a namespace that is there: netns(pid=) finds it"},
	{"ip netns help", "set nsid auto target-nsid", "numbers that the kernel gives by itself when they are needed"},

	{"ip link help", "vf mac vlan qos proto rate max_tx_rate min_tx_rate spoofchk query_rss state auto enable disable trust node_guid port_guid parentdev", hardware},
	{"ip link help", "xdp xdpgeneric xdpdrv xdpoffload object section program verbose pinned", "programs that see packets before the links' own business: a script runs `ip` for it (exec_in)"},
	{"ip link help", "dynamic trailers", "a flag that nothing in the kernel obeys"},
	{"ip link help", "link-netns link-netnsid", "link_netns=, in other words: `ip -n THERE link add … netns HERE`"},
	{"ip link help", "vrf", asSelector},
	{"ip link help TYPE", "dsa ipoib rmnet wwan", hardware},
	{"ip link help TYPE", "netdevsim virt_wifi", "imitates hardware, for tests of the kernel"},
	{"ip link help TYPE", "vcan vxcan", "no IP: CAN"},
	{"ip link help TYPE", "macvtap ipvtap", "for virtual machines, whose programs want a device file: tap does it"},
	{"ip link help TYPE", "team team_slave", "needs a program that steers it: bond does it"},
	{"ip link help TYPE", "amt bareudp gtp", "not among the kinds of docs/language.md: a script runs `ip` for it (exec_in)"},
	{"ip link help TYPE", "bridge_slave bond_slave", "not a kind: the options of ports"},
	{"ip link help ipip", "6rd-prefix 6rd-relay_prefix 6rd-reset", "of sit, whose text is the same"},
	{"ip link help ip6gre, ip link help ip6gretap", "erspan_ver erspan erspan_dir ingress egress erspan_hwid", "of ip6erspan, whose text is the same"},
	{"ip link help gre, ip link help gretap", "erspan_ver erspan erspan_dir ingress egress erspan_hwid", "of erspan, whose text is the same"},
	{encapsulating, "noencap none", byDefault},
	{"ip link help geneve, ip link help vxlan", "auto", "ttl=0, which is the same"},
	{"ip link help geneve", "noexternal", byDefault},
	{"ip link help sit", "external", notInTheKernel + ": it reads over IFLA_IPTUN_COLLECT_METADATA"},
	{"ip link help sit", "6rd-reset", "sixrd_prefix= with another one, or delete"},
	{"ip link help erspan, ip link help ip6erspan", "noseq noiseq nooseq nokey noikey nookey csum icsum ocsum nocsum noicsum noocsum",
		notInTheKernel + ": ERSPAN has numbers and a key, and no checksums"},

	{"ip tuntap help", "del", "delete, in the words of `ip link`"},
	{"ip tuntap help", "one_queue", notInTheKernel + " since 3.7"},
	{"bridge link help, ip link help bridge_slave", "learning_sync hwmode vepa veb self", hardware},
	{"bridge link help, bridge vlan help", "master", byDefault},
	{"ip link help bridge_slave", "state", "bridge_port(state=), in the words of `bridge link`"},

	{"ip address help", "anycast", notInTheKernel + ": it reads over IFA_ANYCAST"},
	{"ip address help", "forever", byDefault},
	{"ip address help", "change", "the same as replace"},
	{"ip address help", "permanent dynamic secondary primary tentative deprecated dadfailed temporary to up master nomaster vrf vlan", asSelector},
	{"ip route help", "nat pervasive", notInTheKernel + " since 2.6"},
	{"ip route help", "End.BM End.S End.AS End.AM usp usd", notInTheKernel + " (6.18)"},
	{"ip route help", "rpl ioam6 trace prealloc ns size", "no kernel at hand has it: the messages are those of iproute2 (runtime/lab/encap_test.go)"},
	{"ip address help, ip rule help, ip nexthop help", "flush", "flush(), which deletes one after the other, as `ip` does"},
	{"ip route help", "cleanup", "`ip` (6.1) itself does not take it"},
	{"ip route help", "unicast boot medium global", byDefault},
	{"ip route help", "to", "a word that may be left out"},
	{"ip route help", "bridge", notInTheKernel + ": no gateway is one"},
	{"ip route help", "link", "MAC addresses as gateways, of MPLS only: give the neighbour one and route by its address"},
	{"ip route help", "iif oif mark vrf uid ipproto sport dport fibmatch", "reading: route_get, held against `ip route get`"},
	{"ip route help", "root match exact all", asSelector},
	{"ip rule help", "nat", notInTheKernel + " since 2.6"},
	{"ip nexthop help", "mpath", byDefault},
	{"ip nexthop help", "bucket index vrf master groups nhid", asSelector},
	{"ip neigh help", "to vrf nomaster", asSelector},
	{"bridge fdb help", "br brport state to nopermanent nostatic nodynamic added_by_user noadded_by_user noextern_learn nosticky offloaded nooffloaded", asSelector},
	{"bridge fdb help", "local", "the same as permanent"},
	{"bridge fdb help", "flush", "bridge(fdb_flush=), bridge_port(fdb_flush=) and delete do it"},
	{"bridge vlan help", "tunnelshow", ofReading},
	{"ip link help macsec, ip macsec help", "offload mac phy", hardware},
	{"ip link help macsec", "gcm-aes-128 strict", byDefault},
	{"ip link help macsec, ip macsec help", "address port", "the halves of sci, which is said whole"},
	{"ip fou help", "ipproto-name addr", "stands for a value"},
}
