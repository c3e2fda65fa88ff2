package lab

import (
	"encoding/binary"
	"math"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Attributes that the packages nl and unix do not have (include/uapi/linux/if_tunnel.h).
const (
	greIgnoreDF = nl.IFLA_GRE_COLLECT_METADATA + 1 + iota
	greFwmark
	greErspanIndex
	greErspanVer
	greErspanDir
	greErspanHwid
)

const (
	iptunFwmark = nl.IFLA_IPTUN_COLLECT_METADATA + 1
	vtiFwmark   = nl.IFLA_VTI_REMOTE + 1
)

// Flags of tunnels over IPv6 (include/uapi/linux/ip6_tunnel.h).
const (
	ip6IgnoreEncapLimit = 1 << iota
	ip6OrigTclass
	ip6OrigFlowlabel
	_ // a Mobile IPv6 device
	ip6CopyDSCP
	ip6OrigFwmark
	ip6AllowLocalRemote
)

func native16(n uint16) []byte { return binary.NativeEndian.AppendUint16(nil, n) }

// tunnelAttrs are the attributes of a family of tunnels.
type tunnelAttrs struct {
	local, remote, ttl, tos, pmtudisc, limit, flowinfo, flags, fwmark, external int
	encapType, encapFlags, encapSport, encapDport                               int
}

var greAttrs = tunnelAttrs{
	local: nl.IFLA_GRE_LOCAL, remote: nl.IFLA_GRE_REMOTE, ttl: nl.IFLA_GRE_TTL, tos: nl.IFLA_GRE_TOS, pmtudisc: nl.IFLA_GRE_PMTUDISC,
	limit: nl.IFLA_GRE_ENCAP_LIMIT, flowinfo: nl.IFLA_GRE_FLOWINFO, flags: nl.IFLA_GRE_FLAGS, fwmark: greFwmark, external: nl.IFLA_GRE_COLLECT_METADATA,
	encapType: nl.IFLA_GRE_ENCAP_TYPE, encapFlags: nl.IFLA_GRE_ENCAP_FLAGS, encapSport: nl.IFLA_GRE_ENCAP_SPORT, encapDport: nl.IFLA_GRE_ENCAP_DPORT,
}

var iptunAttrs = tunnelAttrs{
	local: nl.IFLA_IPTUN_LOCAL, remote: nl.IFLA_IPTUN_REMOTE, ttl: nl.IFLA_IPTUN_TTL, tos: nl.IFLA_IPTUN_TOS, pmtudisc: nl.IFLA_IPTUN_PMTUDISC,
	limit: nl.IFLA_IPTUN_ENCAP_LIMIT, flowinfo: nl.IFLA_IPTUN_FLOWINFO, flags: nl.IFLA_IPTUN_FLAGS, fwmark: iptunFwmark, external: nl.IFLA_IPTUN_COLLECT_METADATA,
	encapType: nl.IFLA_IPTUN_ENCAP_TYPE, encapFlags: nl.IFLA_IPTUN_ENCAP_FLAGS, encapSport: nl.IFLA_IPTUN_ENCAP_SPORT, encapDport: nl.IFLA_IPTUN_ENCAP_DPORT,
}

// options4 are those of tunnels over IPv4.
func (a tunnelAttrs) options4() []*Option {
	return []*Option{
		{Name: "remote", Doc: "the other end; any unless given", attr: a.remote, Value: Addr{Family: 4, Any: true}},
		{Name: "local", Doc: "the source address; the route's unless given", attr: a.local, Value: Addr{Family: 4}},
		{Name: "ttl", Doc: "of the outer packets: 1 to 255, or \"inherit\" (the default)", attr: a.ttl, Value: Hops{}, initial: "inherit"},
		{Name: "tos", Doc: "of the outer packets, or \"inherit\"", attr: a.tos, Value: Hops{Inherit: tosInherit}},
		{Name: "pmtudisc", Doc: "path MTU discovery; on unless False", attr: a.pmtudisc, Value: Switch{1, [2]string{"nopmtudisc", "pmtudisc"}, true}},
		{Name: "fwmark", Doc: "the mark by which the outer packets are routed", attr: a.fwmark, Value: Number{Size: 4, Max: math.MaxUint32}},
	}
}

// options6 are those of tunnels over IPv6. `ip` always says the hop limit and the
// limit of encapsulations; without them the kernel would take others.
func (a tunnelAttrs) options6() []*Option {
	return []*Option{
		{Name: "remote", Doc: "the other end; any unless given", attr: a.remote, Value: Addr{Family: 6, Any: true}},
		{Name: "local", Doc: "the source address; the route's unless given", attr: a.local, Value: Addr{Family: 6}},
		{Name: "hoplimit", Doc: "of the outer packets, 64 unless given", attr: a.ttl, Value: Number{Size: 1, Max: 255}, initial: 64},
		{Name: "encaplimit", Doc: "how many tunnels may follow in this one (RFC 2473), 4 unless given, or \"none\"", attr: a.limit,
			Value: Inheritable{Word: "none", Max: 255, size: 1, flags: a.flags, flag: ip6IgnoreEncapLimit}, initial: 4},
		{Name: "tclass", Doc: "the traffic class of the outer packets, or \"inherit\"", attr: a.flowinfo,
			Value: Inheritable{Word: "inherit", Max: 255, Hex: true, mask4: 0x0ff00000, shift: 20, flags: a.flags, flag: ip6OrigTclass}},
		{Name: "flowlabel", Doc: "of the outer packets, or \"inherit\"", attr: a.flowinfo,
			Value: Inheritable{Word: "inherit", Max: 1<<20 - 1, Hex: true, mask4: 0x000fffff, flags: a.flags, flag: ip6OrigFlowlabel}},
		{Name: "dscp", Doc: "\"inherit\": what comes out takes the DSCP of the outer packet", attr: a.flags,
			Value: Inheritable{Word: "inherit", Max: -1, flags: a.flags, flag: ip6CopyDSCP}},
		{Name: "fwmark", Doc: "the mark by which the outer packets are routed, or \"inherit\"", attr: a.fwmark,
			Value: Inheritable{Word: "inherit", Max: math.MaxUint32, size: 4, flags: a.flags, flag: ip6OrigFwmark}},
		{Name: "allow_localremote", Doc: "the other end may be an address of this host", attr: a.flags,
			Value: Bits{nl.Uint32Attr(ip6AllowLocalRemote), 0, [2]string{"noallow-localremote", "allow-localremote"}}},
	}
}

// encapOptions are those of a tunnel within UDP, and external. `ip` sums up UDP over
// IPv6 where the tunnel is one over IPv6.
func (a tunnelAttrs) encapOptions(six bool) []*Option {
	flag := func(bit uint16, word string) Bits { return Bits{native16(bit), 0, [2]string{"no" + word, word}} }
	csum6 := &Option{Name: "encap_csum6", Doc: "UDP checksums over IPv6", attr: a.encapFlags, Value: flag(2, "encap-udp6-csum")}
	if six {
		csum6.Doc, csum6.initial = "UDP checksums over IPv6; on unless False", true
	}
	return []*Option{
		{Name: "encap", Doc: "put it into UDP: fou, gue or none", attr: a.encapType, Value: Word{Size: 2, Words: []string{"none", "fou", "gue"}}},
		{Name: "encap_sport", Doc: "the source port; 0 for one that follows from the flow", attr: a.encapSport, ip: "encap-sport", Value: Number{Size: 2, Max: 65535, Swapped: true}},
		{Name: "encap_dport", Doc: "the destination port", attr: a.encapDport, ip: "encap-dport", Value: Number{Size: 2, Max: 65535, Swapped: true}},
		{Name: "encap_csum", Doc: "UDP checksums over IPv4", attr: a.encapFlags, Value: flag(1, "encap-csum")},
		csum6,
		{Name: "encap_remcsum", Doc: "remote checksum offload", attr: a.encapFlags, Value: flag(4, "encap-remcsum")},
		{Name: "external", Doc: "take the tunnel's addresses from routes and filters", attr: a.external, Value: Flag{}},
	}
}

// greOptions are GRE's own (RFC 2784, 2890).
func greOptions() []*Option {
	in, out := nl.IFLA_GRE_IFLAGS, nl.IFLA_GRE_OFLAGS
	flag := func(name, doc string, bits []byte, attr, other int) *Option {
		return &Option{Name: name, Doc: doc, attr: attr, Value: Bits{bits, other, [2]string{"no" + name, name}}}
	}
	both := Key{"key", nl.IFLA_GRE_IKEY, nl.IFLA_GRE_OKEY, in, out}
	return []*Option{
		{Name: "key", Doc: "tells tunnels between the same ends apart; False for none", attr: nl.IFLA_GRE_IKEY, Value: both},
		{Name: "ikey", Doc: "the key of what comes in", attr: nl.IFLA_GRE_IKEY, Value: Key{"ikey", nl.IFLA_GRE_IKEY, 0, in, 0}},
		{Name: "okey", Doc: "the key of what goes out", attr: nl.IFLA_GRE_OKEY, Value: Key{"okey", 0, nl.IFLA_GRE_OKEY, 0, out}},
		flag("seq", "number packets, and drop what comes out of order", greSeq, in, out),
		flag("iseq", "drop what comes out of order", greSeq, in, 0),
		flag("oseq", "number packets", greSeq, out, 0),
		flag("csum", "checksums: send them, and want them", greCsum, in, out),
		flag("icsum", "want checksums", greCsum, in, 0),
		flag("ocsum", "send checksums", greCsum, out, 0),
	}
}

// erspanKindOptions are those of mirrored traffic (draft-foschiano-erspan).
func erspanKindOptions() []*Option {
	return []*Option{
		{Name: "erspan_ver", Doc: "the version, 0 to 2; 1 unless given", attr: greErspanVer, Value: Number{Size: 1, Max: 2}, initial: 1},
		{Name: "erspan", Doc: "version 1: the index of the mirrored port", attr: greErspanIndex, Value: Number{Size: 4, Min: 1, Max: 1<<20 - 1}},
		{Name: "erspan_dir", Doc: "version 2: ingress or egress", attr: greErspanDir, Value: Word{Size: 1, Words: []string{"ingress", "egress"}}},
		{Name: "erspan_hwid", Doc: "version 2: the hardware's number", attr: greErspanHwid, Value: Number{Size: 2, Max: 63}},
	}
}

// greKind is GRE over IPv4 and IPv6, with IP packets, Ethernet frames (tap) or
// mirrored frames (erspan) in it.
func greKind(name string, six, ether, erspan bool) *Kind {
	k := &Kind{Name: name, Lower: MayHaveDev, lowerAttr: nl.IFLA_GRE_LINK,
		NoMAC: !ether, carrier: ofBirth, whole: true, check: checkTunnel}
	options := greAttrs.options4()
	if six {
		options = greAttrs.options6()
	} else {
		options = append(options, &Option{Name: "ignore_df", Doc: "fragment although the inner packet's don't-fragment bit says no; needs pmtudisc=False",
			attr: greIgnoreDF, Value: Switch{1, [2]string{"noignore-df", "ignore-df"}, true}})
	}
	k.Options = slices.Concat(options, greOptions(), greAttrs.encapOptions(six))
	if erspan {
		k.Options = append(k.Options, erspanKindOptions()...)
		k.check = checkErspan
	}
	return k
}

// protoMode is what a tunnel of IP packets carries.
func protoMode(words []string, values []int) *Option {
	return &Option{Name: "mode", Doc: "what it carries: " + orList(words), attr: nl.IFLA_IPTUN_PROTO,
		Value: Word{Size: 1, Words: words, values: values}, initial: "any", external: "any"}
}

func ipipKind() *Kind {
	mode := protoMode([]string{"any", "ipip", "mplsip"}, []int{0, unix.IPPROTO_IPIP, unix.IPPROTO_MPLS})
	return &Kind{Name: "ipip", Lower: MayHaveDev, lowerAttr: nl.IFLA_IPTUN_LINK,
		NoMAC: true, carrier: ofBirth, whole: true, check: checkTunnel,
		Options: slices.Concat([]*Option{mode}, iptunAttrs.options4(), iptunAttrs.encapOptions(false))}
}

// sitISATAP is SIT_ISATAP (include/uapi/linux/if_tunnel.h).
const sitISATAP = 1

func sitKind() *Kind {
	mode := protoMode([]string{"any", "ip6ip", "ipip", "mplsip"}, []int{0, unix.IPPROTO_IPV6, unix.IPPROTO_IPIP, unix.IPPROTO_MPLS})
	own := []*Option{
		{Name: "isatap", Doc: "an intra-site automatic tunnel (RFC 5214)", attr: nl.IFLA_IPTUN_FLAGS, Value: Bits{native16(sitISATAP), 0, [2]string{"", "isatap"}}},
		{Name: "sixrd_prefix", Doc: "the IPv6 subnet of a 6rd domain (RFC 5969)", attr: nl.IFLA_IPTUN_6RD_PREFIX, ip: "6rd-prefix",
			Value: Prefix{6, nl.IFLA_IPTUN_6RD_PREFIXLEN}},
		{Name: "sixrd_relay_prefix", Doc: "the IPv4 subnet of its ends", attr: nl.IFLA_IPTUN_6RD_RELAY_PREFIX, ip: "6rd-relay_prefix",
			Value: Prefix{4, nl.IFLA_IPTUN_6RD_RELAY_PREFIXLEN}},
	}
	// The kernel's has no external: it would read over it.
	around := slices.DeleteFunc(iptunAttrs.encapOptions(false), func(o *Option) bool { return o.Name == "external" })
	return &Kind{Name: "sit", Lower: MayHaveDev, lowerAttr: nl.IFLA_IPTUN_LINK,
		NoMAC: true, carrier: ofBirth, whole: true, check: checkSit,
		Options: slices.Concat([]*Option{mode}, iptunAttrs.options4(), own, around)}
}

func ip6tnlKind() *Kind {
	mode := protoMode([]string{"any", "ip6ip6", "ipip6"}, []int{0, unix.IPPROTO_IPV6, unix.IPPROTO_IPIP})
	return &Kind{Name: "ip6tnl", Lower: MayHaveDev, lowerAttr: nl.IFLA_IPTUN_LINK,
		NoMAC: true, carrier: ofBirth, whole: true, check: checkTunnel,
		Options: slices.Concat([]*Option{mode}, iptunAttrs.options6(), iptunAttrs.encapOptions(true))}
}

func vtiKind(name string, family int) *Kind {
	k := &Kind{Name: name, Lower: MayHaveDev, lowerAttr: nl.IFLA_VTI_LINK,
		NoMAC: true, carrier: ofBirth, whole: true, check: checkTunnel, Options: []*Option{
			{Name: "remote", Doc: "the other end", attr: nl.IFLA_VTI_REMOTE, Value: Addr{Family: family}},
			{Name: "local", Doc: "the source address", attr: nl.IFLA_VTI_LOCAL, Value: Addr{Family: family}},
			{Name: "key", Doc: "the mark of the IPsec policies and states that it uses", attr: nl.IFLA_VTI_IKEY, Value: Key{"key", nl.IFLA_VTI_IKEY, nl.IFLA_VTI_OKEY, 0, 0}},
			{Name: "ikey", Doc: "that of what comes in", attr: nl.IFLA_VTI_IKEY, Value: Key{"ikey", nl.IFLA_VTI_IKEY, 0, 0, 0}},
			{Name: "okey", Doc: "that of what goes out", attr: nl.IFLA_VTI_OKEY, Value: Key{"okey", 0, nl.IFLA_VTI_OKEY, 0, 0}},
			{Name: "fwmark", Doc: "the mark by which the outer packets are routed", attr: vtiFwmark, Value: Number{Size: 4, Max: math.MaxUint32}},
		}}
	return k
}

func xfrmKind() *Kind {
	return &Kind{Name: "xfrm", Lower: MayHaveDev, lowerAttr: unix.IFLA_XFRM_LINK,
		NoMAC: true, carrier: ofBirth, whole: true, said: []string{"if_id"}, check: checkXfrm, Options: []*Option{
			{Name: "if_id", Doc: "the number of the IPsec policies and states that it uses", attr: unix.IFLA_XFRM_IF_ID, Value: Number{Size: 4, Min: 1, Max: math.MaxUint32}},
			{Name: "external", Doc: "take the number from routes and filters", attr: unix.IFLA_XFRM_COLLECT_METADATA, Value: Flag{}},
		}}
}

func geneveKind() *Kind {
	zero := func(name string) Switch { return Switch{1, [2]string{"no" + name, name}, true} }
	return &Kind{Name: "geneve", said: []string{"id"}, carrier: ofRequest, check: checkGeneve, Options: []*Option{
		{Name: "id", Doc: "the segment (VNI), 0 to 16777215", attr: nl.IFLA_GENEVE_ID, Value: Number{Size: 4, Max: 1<<24 - 1}},
		{Name: "remote", Doc: "the other end", attr: nl.IFLA_GENEVE_REMOTE, Value: Addr{six: nl.IFLA_GENEVE_REMOTE6}},
		{Name: "ttl", Doc: "of the outer packets: 1 to 255, or \"inherit\"; 0 chooses", attr: nl.IFLA_GENEVE_TTL, Value: Hops{Inherited: nl.IFLA_GENEVE_TTL_INHERIT, Sized: true}},
		{Name: "tos", Doc: "of the outer packets, or \"inherit\"", attr: nl.IFLA_GENEVE_TOS, Value: Hops{Inherit: tosInherit}},
		{Name: "df", Doc: "the outer packets' don't-fragment bit: unset, set or inherit", attr: nl.IFLA_GENEVE_DF, Value: dontFragment},
		{Name: "flowlabel", Doc: "of outer IPv6 packets", attr: nl.IFLA_GENEVE_LABEL, Value: Number{Size: 4, Max: 1<<20 - 1, Swapped: true}},
		{Name: "dstport", Doc: "the UDP port, 6081 unless given", attr: nl.IFLA_GENEVE_PORT, Value: Number{Size: 2, Min: 1, Max: 65535, Swapped: true}},
		{Name: "udpcsum", Doc: "checksums over IPv4", attr: nl.IFLA_GENEVE_UDP_CSUM, Value: zero("udpcsum")},
		{Name: "udp6zerocsumtx", Doc: "send no checksums over IPv6", attr: nl.IFLA_GENEVE_UDP_ZERO_CSUM6_TX, Value: zero("udp6zerocsumtx")},
		{Name: "udp6zerocsumrx", Doc: "accept IPv6 without checksums", attr: nl.IFLA_GENEVE_UDP_ZERO_CSUM6_RX, Value: zero("udp6zerocsumrx")},
		{Name: "external", Doc: "take the tunnel's addresses from routes and filters", attr: nl.IFLA_GENEVE_COLLECT_METADATA, Value: Flag{}},
		{Name: "innerprotoinherit", Doc: "carry IP packets, not Ethernet frames; needs external", attr: nl.IFLA_GENEVE_INNER_PROTO_INHERIT, Value: Flag{}},
	}}
}
