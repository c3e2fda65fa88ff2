package feature

import "sync"

// All lists every feature, family by family. The names of options and modules are
// those of the kernel's Kconfig files and Makefiles; CONFIG_ is added.
func All() []*Feature {
	once.Do(func() { table = makeTable() })
	return table
}

var (
	once  sync.Once
	table []*Feature
)

func makeTable() []*Feature {
	var all []*Feature
	add := func(family string, probe func(*prober, *Feature) error, rows ...[3]string) {
		for _, row := range rows {
			f := &Feature{Family: family, Name: row[0], Config: "CONFIG_" + row[1], Module: row[2]}
			f.probe = func(p *prober) error { return probe(p, f) }
			all = append(all, f)
		}
	}
	add(Link, (*prober).link, links...)
	add(Link, (*prober).tun, [][3]string{{"tun", "TUN", "tun"}, {"tap", "TUN", "tun"}}...)
	add(Bridge, (*prober).bridgeOption, [][3]string{
		{"vlan_filtering", "BRIDGE_VLAN_FILTERING", "bridge"}, {"mcast_snooping", "BRIDGE_IGMP_SNOOPING", "bridge"},
	}...)
	add(Bridge, file("/proc/sys/net/bridge"), [3]string{"br_netfilter", "BRIDGE_NETFILTER", "br_netfilter"})
	add(Routing, file("/proc/sys/net/ipv6"), [3]string{"IPv6", "IPV6", "ipv6"})
	add(Routing, (*prober).rules4, [3]string{"policy routing of IPv4", "IP_MULTIPLE_TABLES", ""})
	add(Routing, (*prober).rules6, [3]string{"policy routing of IPv6", "IPV6_MULTIPLE_TABLES", ""})
	add(Routing, (*prober).multipath, [3]string{"multipath routing", "IP_ROUTE_MULTIPATH", ""})
	add(Routing, (*prober).unasked, [3]string{"realms of routes", "IP_ROUTE_CLASSID", ""}) // which a kernel without drops silently
	add(Routing, (*prober).nexthops, [3]string{"nexthop objects", "INET", ""})
	add(Routing, file("/proc/thread-self/net/ip_mr_vif"), [3]string{"multicast routing of IPv4", "IP_MROUTE", ""})
	add(Routing, file("/proc/thread-self/net/ip6_mr_vif"), [3]string{"multicast routing of IPv6", "IPV6_MROUTE", ""})
	add(Routing, file("/proc/sys/net/mpls/platform_labels"), [3]string{"MPLS", "MPLS_ROUTING", "mpls_router"})
	add(Routing, file("/proc/sys/net/ipv6/conf/lo/seg6_require_hmac"), [3]string{"HMAC of SRv6", "IPV6_SEG6_HMAC", ""})
	add(Routing, (*prober).subtrees, [3]string{"routes of IPv6 by source", "IPV6_SUBTREES", ""})
	add(Routing, generic("fou"), [3]string{"foo over UDP", "NET_FOU", "fou"})
	add(Encap, (*prober).encap, encaps...)
	add(Qdisc, (*prober).qdisc, qdiscs...)
	add(Filter, (*prober).filter, filters...)
	add(Match, (*prober).match, matches...)
	add(Action, (*prober).action, actions...)
	add(Table, (*prober).nftables, tables...)
	add(Chain, (*prober).nftables, chains...)
	add(Expression, (*prober).nftables, expressions...)
	add(Conntrack, file("/proc/sys/net/netfilter/nf_conntrack_count"), [3]string{"connection tracking", "NF_CONNTRACK", "nf_conntrack"})
	add(Conntrack, (*prober).ctnetlink, [3]string{"list of tracked connections", "NF_CT_NETLINK", "nf_conntrack_netlink"})
	add(IPsec, (*prober).xfrm, [3]string{"xfrm", "XFRM_USER", "xfrm_user"})
	add(IPsec, (*prober).unasked, [][3]string{
		{"ESP of IPv4", "INET_ESP", "esp4"}, {"ESP of IPv6", "INET6_ESP", "esp6"}, {"AH of IPv4", "INET_AH", "ah4"}, {"AH of IPv6", "INET6_AH", "ah6"},
	}...)
	add(Socket, (*prober).socket, [][3]string{{"packet", "PACKET", "af_packet"}, {"mptcp", "MPTCP", ""}, {"sctp", "IP_SCTP", "sctp"}}...)
	add(Diag, (*prober).diag, [][3]string{
		{"tcp", "INET_TCP_DIAG", "tcp_diag"}, {"udp", "INET_UDP_DIAG", "udp_diag"}, {"raw", "INET_RAW_DIAG", "raw_diag"},
		{"unix", "UNIX_DIAG", "unix_diag"}, {"packet", "PACKET_DIAG", "af_packet_diag"},
	}...)
	add(Congestion, (*prober).congestion, [][3]string{
		{"cubic", "TCP_CONG_CUBIC", "tcp_cubic"}, {"bbr", "TCP_CONG_BBR", "tcp_bbr"}, {"dctcp", "TCP_CONG_DCTCP", "tcp_dctcp"},
	}...)
	return all
}

// links are the kinds, as `ip link add type` has them.
var links = [][3]string{
	{"veth", "VETH", "veth"}, {"bridge", "BRIDGE", "bridge"}, {"dummy", "DUMMY", "dummy"}, {"ifb", "IFB", "ifb"},
	{"vlan", "VLAN_8021Q", "8021q"}, {"macvlan", "MACVLAN", "macvlan"}, {"macvtap", "MACVTAP", "macvtap"},
	{"ipvlan", "IPVLAN", "ipvlan"}, {"ipvtap", "IPVTAP", "ipvtap"}, {"vrf", "NET_VRF", "vrf"}, {"bond", "BONDING", "bonding"},
	{"team", "NET_TEAM", "team"}, {"vxlan", "VXLAN", "vxlan"}, {"geneve", "GENEVE", "geneve"}, {"wireguard", "WIREGUARD", "wireguard"},
	{"gre", "NET_IPGRE", "ip_gre"}, {"gretap", "NET_IPGRE", "ip_gre"}, {"erspan", "NET_IPGRE", "ip_gre"},
	{"ip6gre", "IPV6_GRE", "ip6_gre"}, {"ip6gretap", "IPV6_GRE", "ip6_gre"}, {"ip6erspan", "IPV6_GRE", "ip6_gre"},
	{"ipip", "NET_IPIP", "ipip"}, {"sit", "IPV6_SIT", "sit"}, {"ip6tnl", "IPV6_TUNNEL", "ip6_tunnel"},
	{"vti", "NET_IPVTI", "ip_vti"}, {"vti6", "IPV6_VTI", "ip6_vti"}, {"xfrm", "XFRM_INTERFACE", "xfrm_interface"},
	{"macsec", "MACSEC", "macsec"}, {"nlmon", "NLMON", "nlmon"},
}

var encaps = [][3]string{
	{"mpls", "MPLS_IPTUNNEL", "mpls_iptunnel"}, {"ip", "LWTUNNEL", ""}, {"ip6", "LWTUNNEL", ""}, {"ila", "IPV6_ILA", "ila"},
	{"seg6", "IPV6_SEG6_LWTUNNEL", ""}, {"seg6local", "IPV6_SEG6_LWTUNNEL", ""}, {"bpf", "LWTUNNEL_BPF", ""},
	{"rpl", "IPV6_RPL_LWTUNNEL", ""}, {"ioam6", "IPV6_IOAM6_LWTUNNEL", ""}, {"xfrm", "XFRM_INTERFACE", "xfrm_interface"},
}

// qdiscs leaves out pfifo, bfifo, pfifo_fast, mq and noqueue, which all kernels with
// CONFIG_NET_SCHED have.
var qdiscs = [][3]string{
	{"pfifo", "NET_SCHED", ""}, {"netem", "NET_SCH_NETEM", "sch_netem"}, {"tbf", "NET_SCH_TBF", "sch_tbf"}, {"htb", "NET_SCH_HTB", "sch_htb"},
	{"hfsc", "NET_SCH_HFSC", "sch_hfsc"}, {"prio", "NET_SCH_PRIO", "sch_prio"}, {"multiq", "NET_SCH_MULTIQ", "sch_multiq"},
	{"fq", "NET_SCH_FQ", "sch_fq"}, {"fq_codel", "NET_SCH_FQ_CODEL", "sch_fq_codel"}, {"fq_pie", "NET_SCH_FQ_PIE", "sch_fq_pie"},
	{"codel", "NET_SCH_CODEL", "sch_codel"}, {"pie", "NET_SCH_PIE", "sch_pie"}, {"cake", "NET_SCH_CAKE", "sch_cake"},
	{"sfq", "NET_SCH_SFQ", "sch_sfq"}, {"red", "NET_SCH_RED", "sch_red"}, {"gred", "NET_SCH_GRED", "sch_gred"}, {"sfb", "NET_SCH_SFB", "sch_sfb"},
	{"choke", "NET_SCH_CHOKE", "sch_choke"}, {"drr", "NET_SCH_DRR", "sch_drr"}, {"qfq", "NET_SCH_QFQ", "sch_qfq"}, {"ets", "NET_SCH_ETS", "sch_ets"},
	{"hhf", "NET_SCH_HHF", "sch_hhf"}, {"skbprio", "NET_SCH_SKBPRIO", "sch_skbprio"}, {"plug", "NET_SCH_PLUG", "sch_plug"},
	{"cbs", "NET_SCH_CBS", "sch_cbs"}, {"etf", "NET_SCH_ETF", "sch_etf"}, {"taprio", "NET_SCH_TAPRIO", "sch_taprio"},
	{"mqprio", "NET_SCH_MQPRIO", "sch_mqprio"}, {"ingress", "NET_SCH_INGRESS", "sch_ingress"}, {"clsact", "NET_SCH_INGRESS", "sch_ingress"},
}

var filters = [][3]string{
	{"u32", "NET_CLS_U32", "cls_u32"}, {"flower", "NET_CLS_FLOWER", "cls_flower"}, {"matchall", "NET_CLS_MATCHALL", "cls_matchall"},
	{"basic", "NET_CLS_BASIC", "cls_basic"}, {"bpf", "NET_CLS_BPF", "cls_bpf"}, {"fw", "NET_CLS_FW", "cls_fw"},
	{"route", "NET_CLS_ROUTE4", "cls_route"}, {"flow", "NET_CLS_FLOW", "cls_flow"}, {"cgroup", "NET_CLS_CGROUP", "cls_cgroup"},
}

var matches = [][3]string{
	{"cmp", "NET_EMATCH_CMP", "em_cmp"}, {"nbyte", "NET_EMATCH_NBYTE", "em_nbyte"}, {"u32", "NET_EMATCH_U32", "em_u32"},
	{"meta", "NET_EMATCH_META", "em_meta"}, {"text", "NET_EMATCH_TEXT", "em_text"}, {"canid", "NET_EMATCH_CANID", "em_canid"},
	{"ipset", "NET_EMATCH_IPSET", "em_ipset"}, {"ipt", "NET_EMATCH_IPT", "em_ipt"},
}

// matchKinds are the numbers of extended matches (TCF_EM_* of pkt_cls.h).
var matchKinds = map[string]uint16{"cmp": 1, "nbyte": 2, "u32": 3, "meta": 4, "text": 5, "canid": 7, "ipset": 8, "ipt": 9}

var actions = [][3]string{
	{"gact", "NET_ACT_GACT", "act_gact"}, {"mirred", "NET_ACT_MIRRED", "act_mirred"}, {"police", "NET_ACT_POLICE", "act_police"},
	{"pedit", "NET_ACT_PEDIT", "act_pedit"}, {"vlan", "NET_ACT_VLAN", "act_vlan"}, {"nat", "NET_ACT_NAT", "act_nat"},
	{"csum", "NET_ACT_CSUM", "act_csum"}, {"skbedit", "NET_ACT_SKBEDIT", "act_skbedit"}, {"skbmod", "NET_ACT_SKBMOD", "act_skbmod"},
	{"tunnel_key", "NET_ACT_TUNNEL_KEY", "act_tunnel_key"}, {"ct", "NET_ACT_CT", "act_ct"}, {"connmark", "NET_ACT_CONNMARK", "act_connmark"},
	{"ctinfo", "NET_ACT_CTINFO", "act_ctinfo"}, {"bpf", "NET_ACT_BPF", "act_bpf"}, {"sample", "NET_ACT_SAMPLE", "act_sample"},
	{"mpls", "NET_ACT_MPLS", "act_mpls"}, {"gate", "NET_ACT_GATE", "act_gate"}, {"ife", "NET_ACT_IFE", "act_ife"}, {"simple", "NET_ACT_SIMP", "act_simple"},
}

var tables = [][3]string{
	{"ip", "NF_TABLES_IPV4", "nf_tables"}, {"ip6", "NF_TABLES_IPV6", "nf_tables"}, {"inet", "NF_TABLES_INET", "nf_tables"},
	{"arp", "NF_TABLES_ARP", "nf_tables"}, {"netdev", "NF_TABLES_NETDEV", "nf_tables"}, {"bridge", "NF_TABLES_BRIDGE", "nf_tables"},
}

var chains = [][3]string{{"nat", "NFT_NAT", "nft_chain_nat"}, {"route", "NF_TABLES", "nf_tables"}}

// expressions leaves out those that come with nf_tables itself.
var expressions = [][3]string{
	{"ct", "NFT_CT", "nft_ct"}, {"nat", "NFT_NAT", "nft_nat"}, {"masq", "NFT_MASQ", "nft_masq"}, {"redir", "NFT_REDIR", "nft_redir"},
	{"reject", "NFT_REJECT_INET", "nft_reject_inet"}, {"log", "NFT_LOG", "nft_log"}, {"limit", "NFT_LIMIT", "nft_limit"},
	{"quota", "NFT_QUOTA", "nft_quota"}, {"connlimit", "NFT_CONNLIMIT", "nft_connlimit"}, {"hash", "NFT_HASH", "nft_hash"},
	{"numgen", "NFT_NUMGEN", "nft_numgen"}, {"fib", "NFT_FIB_INET", "nft_fib_inet"}, {"socket", "NFT_SOCKET", "nft_socket"},
	{"tproxy", "NFT_TPROXY", "nft_tproxy"}, {"synproxy", "NFT_SYNPROXY", "nft_synproxy"}, {"osf", "NFT_OSF", "nft_osf"},
	{"tunnel", "NFT_TUNNEL", "nft_tunnel"}, {"xfrm", "NFT_XFRM", "nft_xfrm"}, {"queue", "NFT_QUEUE", "nft_queue"},
	{"flow_offload", "NFT_FLOW_OFFLOAD", "nft_flow_offload"}, {"dup", "NFT_DUP_IPV4", "nft_dup_ipv4"}, {"fwd", "NFT_FWD_NETDEV", "nft_fwd_netdev"},
	{"match", "NFT_COMPAT", "nft_compat"},
}
