package packet

// Words for numbers, as nft and iptables have them.
var (
	etherTypes = []Name{{"ip", etherIPv4}, {"arp", etherARP}, {"vlan", etherVLAN}, {"ipv6", etherIPv6}, {"mpls", etherMPLS}}
	protocols  = []Name{{"icmp", protoICMP}, {"tcp", protoTCP}, {"udp", protoUDP}, {"ipv6", protoIPv6}, {"gre", protoGRE},
		{"esp", 50}, {"ah", protoAH}, {"icmpv6", protoICMPv6}, {"ospf", 89}, {"ipip", protoIPv4}, {"igmp", 2}, {"sctp", 132}, {"vrrp", 112}}
	arpOps    = []Name{{"request", 1}, {"reply", 2}}
	icmpTypes = []Name{{"echo-reply", 0}, {"destination-unreachable", 3}, {"source-quench", 4}, {"redirect", 5}, {"echo-request", 8},
		{"router-advertisement", 9}, {"router-solicitation", 10}, {"time-exceeded", 11}, {"parameter-problem", 12},
		{"timestamp-request", 13}, {"timestamp-reply", 14}}
	icmpv6Types = []Name{{"destination-unreachable", 1}, {"packet-too-big", 2}, {"time-exceeded", 3}, {"parameter-problem", 4},
		{"echo-request", 128}, {"echo-reply", 129}, {"mld-listener-query", 130}, {"mld-listener-report", 131}, {"mld-listener-done", 132},
		{"nd-router-solicit", routerSolicitation}, {"nd-router-advert", routerAdvertisement}, {"nd-neighbor-solicit", neighborSolicitation},
		{"nd-neighbor-advert", neighborAdvertisement}, {"nd-redirect", redirect}, {"mld2-listener-report", 143}}
)

// typed makes a condition on a header's first byte.
func typed(h []byte, types ...byte) bool {
	for _, t := range types {
		if len(h) > 0 && h[0] == t {
			return true
		}
	}
	return false
}

func icmpEcho(h []byte) bool       { return typed(h, 0, 8) }
func icmpv6Echo(h []byte) bool     { return typed(h, 128, 129) }
func hasTarget(h []byte) bool      { return typed(h, neighborSolicitation, neighborAdvertisement, redirect) }
func isAdvertised(h []byte) bool   { return typed(h, neighborAdvertisement) }
func isRouterAdvert(h []byte) bool { return typed(h, routerAdvertisement) }
func ethernetARP(h []byte) bool    { return len(h) > 5 && h[4] == 6 && h[5] == 4 }

// headers describes every layer. It is plain data, which costs nothing at the
// start of the program.
var headers = [kinds]header{
	None: {name: "none"},
	Ethernet: {name: "eth", size: 14, fields: []Field{
		{Name: "dst", As: Hardware, at: 0, bits: 48},
		{Name: "src", As: Hardware, at: 48, bits: 48},
		{Name: "type", at: 96, bits: 16, Auto: true, Names: etherTypes, Doc: "the EtherType; up to 1500 a length"},
	}},
	LLC: {name: "llc", size: 3, fields: []Field{
		{Name: "dsap", at: 0, bits: 8}, {Name: "ssap", at: 8, bits: 8}, {Name: "control", at: 16, bits: 8},
	}},
	STP: {name: "stp", size: 4, fields: []Field{
		{Name: "version", at: 16, bits: 8}, {Name: "type", at: 24, bits: 8, Doc: "0 configuration, 2 rapid, 128 topology change"},
		{Name: "topology_change", As: Bool, at: 39, bits: 1},
		{Name: "flags", at: 32, bits: 8},
		{Name: "root_priority", at: 40, bits: 16}, {Name: "root_mac", As: Hardware, at: 56, bits: 48}, {Name: "root_cost", at: 104, bits: 32},
		{Name: "bridge_priority", at: 136, bits: 16}, {Name: "bridge_mac", As: Hardware, at: 152, bits: 48}, {Name: "port", at: 200, bits: 16},
		{Name: "message_age", As: Seconds, at: 216, bits: 16}, {Name: "max_age", As: Seconds, at: 232, bits: 16},
		{Name: "hello_time", As: Seconds, at: 248, bits: 16}, {Name: "forward_delay", As: Seconds, at: 264, bits: 16},
	}},
	VLAN: {name: "vlan", size: 4, fields: []Field{
		{Name: "tpid", at: -16, bits: 16, Auto: true, Doc: "0x8100 for 802.1Q, 0x88a8 for 802.1ad"},
		{Name: "pcp", at: 0, bits: 3}, {Name: "dei", As: Bool, at: 3, bits: 1}, {Name: "id", at: 4, bits: 12},
		{Name: "type", at: 16, bits: 16, Auto: true, Names: etherTypes},
		{Name: "ids", As: List, read: vlanIDs, Doc: "of all tags, the outermost first"},
	}},
	MPLS: {name: "mpls", size: 4, fields: []Field{
		{Name: "label", at: 0, bits: 20}, {Name: "tc", at: 20, bits: 3}, {Name: "s", As: Bool, at: 23, bits: 1, Auto: true, Doc: "bottom of the stack"},
		{Name: "ttl", at: 24, bits: 8, Default: 64}, {Name: "labels", As: List, read: mplsLabels, Doc: "of the whole stack, the top first"},
	}},
	ARP: {name: "arp", size: 28, fields: []Field{
		{Name: "hrd", at: 0, bits: 16, Default: 1}, {Name: "pro", at: 16, bits: 16, Default: etherIPv4},
		{Name: "hln", at: 32, bits: 8, Default: 6}, {Name: "pln", at: 40, bits: 8, Default: 4},
		{Name: "op", at: 48, bits: 16, Default: 1, Names: arpOps},
		{Name: "sha", As: Hardware, at: 64, bits: 48, when: ethernetARP}, {Name: "spa", As: Address, at: 112, bits: 32, when: ethernetARP},
		{Name: "tha", As: Hardware, at: 144, bits: 48, when: ethernetARP}, {Name: "tpa", As: Address, at: 192, bits: 32, when: ethernetARP},
	}},
	IPv4: {name: "ip", size: 20, fields: []Field{
		{Name: "version", at: 0, bits: 4, Auto: true}, {Name: "ihl", at: 4, bits: 4, Auto: true, Doc: "in words of 4 bytes"},
		{Name: "tos", at: 8, bits: 8}, {Name: "dscp", at: 8, bits: 6}, {Name: "ecn", at: 14, bits: 2},
		{Name: "length", at: 16, bits: 16, Auto: true}, {Name: "id", at: 32, bits: 16},
		{Name: "df", As: Bool, at: 49, bits: 1}, {Name: "mf", As: Bool, at: 50, bits: 1}, {Name: "frag_offset", at: 51, bits: 13, Doc: "in units of 8 bytes"},
		{Name: "ttl", at: 64, bits: 8, Default: 64}, {Name: "proto", at: 72, bits: 8, Auto: true, Names: protocols},
		{Name: "checksum", at: 80, bits: 16, Auto: true}, {Name: "checksum_ok", As: Bool, read: checksumOK},
		{Name: "src", As: Address, at: 96, bits: 32}, {Name: "dst", As: Address, at: 128, bits: 32},
		{Name: "options", As: Bytes, read: ipOptions, extra: true},
	}},
	IPv6: {name: "ipv6", size: 40, fields: []Field{
		{Name: "version", at: 0, bits: 4, Auto: true}, {Name: "traffic_class", at: 4, bits: 8}, {Name: "dscp", at: 4, bits: 6}, {Name: "ecn", at: 10, bits: 2},
		{Name: "flow_label", at: 12, bits: 20}, {Name: "payload_length", at: 32, bits: 16, Auto: true},
		{Name: "next_header", at: 48, bits: 8, Auto: true, Names: protocols}, {Name: "hop_limit", at: 56, bits: 8, Default: 64},
		{Name: "src", As: Address, at: 64, bits: 128}, {Name: "dst", As: Address, at: 192, bits: 128},
		{Name: "extensions", As: List, read: ipv6Extensions, Doc: "the numbers of the extension headers"},
		{Name: "proto", read: ipv6Proto, Names: protocols, Doc: "the protocol after them"},
		{Name: "frag_id", read: fragmentID}, {Name: "frag_offset", read: fragmentOffset, Doc: "in units of 8 bytes"}, {Name: "mf", As: Bool, read: moreFragments},
	}},
	SRH: {name: "srh", size: 8, fields: []Field{
		{Name: "next_header", at: 0, bits: 8, Auto: true, Names: protocols}, {Name: "hdr_ext_len", at: 8, bits: 8, Auto: true, Doc: "in units of 8 bytes, without the first"},
		{Name: "routing_type", at: 16, bits: 8, Default: 4}, {Name: "segments_left", at: 24, bits: 8, Auto: true}, {Name: "last_entry", at: 32, bits: 8, Auto: true},
		{Name: "flags", at: 40, bits: 8}, {Name: "tag", at: 48, bits: 16},
		{Name: "segments", As: List, read: srhSegments, extra: true, Doc: "as they stand: the last one of the path first"},
	}},
	ICMP: {name: "icmp", size: 8, fields: []Field{
		{Name: "type", at: 0, bits: 8, Default: 8, Names: icmpTypes}, {Name: "code", at: 8, bits: 8}, {Name: "checksum", at: 16, bits: 16, Auto: true},
		{Name: "checksum_ok", As: Bool, read: checksumOK},
		{Name: "id", at: 32, bits: 16, when: icmpEcho}, {Name: "seq", at: 48, bits: 16, when: icmpEcho},
		{Name: "mtu", at: 48, bits: 16, when: func(h []byte) bool { return typed(h, 3) && h[1] == 4 }},
		{Name: "gateway", As: Address, at: 32, bits: 32, when: func(h []byte) bool { return typed(h, 5) }},
		{Name: "pointer", at: 32, bits: 8, when: func(h []byte) bool { return typed(h, 12) }},
	}},
	ICMPv6: {name: "icmpv6", size: 8, fields: []Field{
		{Name: "type", at: 0, bits: 8, Default: 128, Names: icmpv6Types}, {Name: "code", at: 8, bits: 8}, {Name: "checksum", at: 16, bits: 16, Auto: true},
		{Name: "checksum_ok", As: Bool, read: checksumOK},
		{Name: "id", at: 32, bits: 16, when: icmpv6Echo}, {Name: "seq", at: 48, bits: 16, when: icmpv6Echo},
		{Name: "mtu", at: 32, bits: 32, when: func(h []byte) bool { return typed(h, 2) }},
		{Name: "pointer", at: 32, bits: 32, when: func(h []byte) bool { return typed(h, 4) }},
		{Name: "router", As: Bool, at: 32, bits: 1, when: isAdvertised}, {Name: "solicited", As: Bool, at: 33, bits: 1, when: isAdvertised},
		{Name: "override", As: Bool, at: 34, bits: 1, when: isAdvertised},
		{Name: "target", As: Address, at: 64, bits: 128, when: hasTarget}, {Name: "dst", As: Address, at: 192, bits: 128, when: func(h []byte) bool { return typed(h, redirect) }},
		{Name: "hop_limit", at: 32, bits: 8, when: isRouterAdvert}, {Name: "managed", As: Bool, at: 40, bits: 1, when: isRouterAdvert},
		{Name: "other", As: Bool, at: 41, bits: 1, when: isRouterAdvert}, {Name: "router_lifetime", at: 48, bits: 16, when: isRouterAdvert, Doc: "in seconds"},
		{Name: "reachable_time", at: 64, bits: 32, when: isRouterAdvert, Doc: "in milliseconds"}, {Name: "retrans_timer", at: 96, bits: 32, when: isRouterAdvert, Doc: "in milliseconds"},
		{Name: "lladdr", As: Hardware, read: ndLinkLayer, extra: true, Doc: "of the option source or target link-layer address"},
		{Name: "prefixes", As: List, read: ndPrefixes, Doc: "of the prefix options"},
	}},
	UDP: {name: "udp", size: 8, fields: []Field{
		{Name: "sport", at: 0, bits: 16}, {Name: "dport", at: 16, bits: 16}, {Name: "length", at: 32, bits: 16, Auto: true},
		{Name: "checksum", at: 48, bits: 16, Auto: true}, {Name: "checksum_ok", As: Bool, read: checksumOK},
	}},
	TCP: {name: "tcp", size: 20, fields: []Field{
		{Name: "sport", at: 0, bits: 16}, {Name: "dport", at: 16, bits: 16}, {Name: "seq", at: 32, bits: 32}, {Name: "ack", at: 64, bits: 32},
		{Name: "data_offset", at: 96, bits: 4, Auto: true, Doc: "in words of 4 bytes"}, {Name: "flags", As: Flags, at: 104, bits: 8, Default: 2, Doc: "like \"SYN,ACK\""},
		{Name: "window", at: 112, bits: 16, Default: 65535}, {Name: "checksum", at: 128, bits: 16, Auto: true}, {Name: "checksum_ok", As: Bool, read: checksumOK},
		{Name: "urgent", at: 144, bits: 16}, {Name: "options", As: Bytes, read: tcpOptions, extra: true},
		{Name: "mss", read: tcpMSS, extra: true}, {Name: "wscale", read: tcpWindowScale, extra: true, Doc: "the shift of the window"},
		{Name: "sack_permitted", As: Bool, read: tcpSackPermitted, extra: true}, {Name: "ts_val", read: tcpTimestamp}, {Name: "ts_ecr", read: tcpTimestampEcho},
	}},
	DNS: {name: "dns", size: 12, fields: []Field{
		{Name: "id", at: 0, bits: 16}, {Name: "qr", As: Bool, at: 16, bits: 1, Doc: "True in a response"}, {Name: "opcode", at: 17, bits: 4},
		{Name: "aa", As: Bool, at: 21, bits: 1}, {Name: "tc", As: Bool, at: 22, bits: 1}, {Name: "rd", As: Bool, at: 23, bits: 1}, {Name: "ra", As: Bool, at: 24, bits: 1},
		{Name: "rcode", As: Text, read: dnsRcode, Doc: "\"NOERROR\", \"NXDOMAIN\" …"},
		{Name: "name", As: Text, read: dnsName, Doc: "of the first question"}, {Name: "type", As: Text, read: dnsType, Doc: "of the first question"},
		{Name: "questions", As: List, read: dnsQuestions, Doc: "each name type"}, {Name: "answers", As: List, read: dnsAnswers, Doc: "each name type ttl data"},
		{Name: "authorities", As: List, read: dnsAuthorities}, {Name: "additionals", As: List, read: dnsAdditionals},
	}},
	VXLAN: {name: "vxlan", size: 8, fields: []Field{
		{Name: "flags", at: 0, bits: 8, Default: 8}, {Name: "policy", at: 16, bits: 16, when: func(h []byte) bool { return h[0]&0x80 != 0 }, Doc: "the group policy id"},
		{Name: "vni", at: 32, bits: 24},
	}},
	GRE: {name: "gre", size: 4, fields: []Field{
		{Name: "version", at: 13, bits: 3}, {Name: "proto", at: 16, bits: 16, Auto: true, Names: etherTypes},
		{Name: "checksum", read: greChecksum}, {Name: "checksum_ok", As: Bool, read: checksumOK},
		{Name: "key", read: greKey, extra: true}, {Name: "seq", read: greSeq, extra: true},
	}},
	Geneve: {name: "geneve", size: 8, fields: []Field{
		{Name: "version", at: 0, bits: 2}, {Name: "oam", As: Bool, at: 8, bits: 1}, {Name: "critical", As: Bool, at: 9, bits: 1},
		{Name: "proto", at: 16, bits: 16, Auto: true, Names: etherTypes}, {Name: "vni", at: 32, bits: 24}, {Name: "options", As: Bytes, read: geneveOptions, extra: true},
	}},
	Payload: {name: "payload", fields: []Field{
		{Name: "bytes", As: Bytes, read: payloadBytes}, {Name: "text", As: Text, read: payloadText, Doc: "what is no UTF-8 replaced"},
		{Name: "length", read: payloadLength},
	}},
}
