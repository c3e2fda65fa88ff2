package feature

import (
	"encoding/binary"
	"errors"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// loopback is lo's ifindex, in every namespace; it is down in a new one.
const loopback = 1

// Numbers of include/uapi that golang.org/x/sys/unix does not have.
const (
	tcaKind, tcaOptions = 1, 2
	handleRoot          = 0xffffffff // TC_H_ROOT
	handleIngress       = 0xfffffff1 // TC_H_INGRESS
	dumpFlags           = unix.NLM_F_DUMP
	createFlags         = unix.NLM_F_CREATE | unix.NLM_F_EXCL
)

// link makes a link of the kind, with a name that none can have: the kernel knows
// the kind before it looks at the name.
func (p *prober) link(f *Feature) error {
	err := p.ask(unix.NETLINK_ROUTE, message(unix.RTM_NEWLINK, createFlags, make([]byte, unix.SizeofIfInfomsg),
		nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("/")), linkInfo(f.Name)))
	return refused(err, unix.EOPNOTSUPP)
}

func linkInfo(kind string) *nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(kind))
	if kind == "veth" { // or the peer would be made first
		peer := info.AddRtAttr(unix.IFLA_INFO_DATA, nil).AddRtAttr(nl.VETH_INFO_PEER, make([]byte, unix.SizeofIfInfomsg))
		peer.AddRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("/"))
	}
	return info
}

// bridgeOption makes a bridge and looks whether it has the attribute of the feature: a kernel
// without it does not refuse the attribute.
func (p *prober) bridgeOption(f *Feature) error {
	if p.bridge == nil {
		p.bridge = map[int]bool{}
		name := nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated("br"))
		birth := message(unix.RTM_NEWLINK, createFlags, make([]byte, unix.SizeofIfInfomsg), name, linkInfo("bridge"))
		read := message(unix.RTM_GETLINK, unix.NLM_F_ACK, make([]byte, unix.SizeofIfInfomsg), name)
		_, body, err := p.batch(unix.NETLINK_ROUTE, birth, read)
		if err != nil {
			return err
		}
		if len(body) > unix.SizeofIfInfomsg {
			data := attribute(body[unix.SizeofIfInfomsg:], unix.IFLA_LINKINFO, unix.IFLA_INFO_DATA)
			eachAttribute(data, func(kind uint16, _ []byte) { p.bridge[int(kind)] = true })
		}
	}
	// Of vlan_filtering itself a kernel without it says that it is off.
	option := map[string]int{"vlan_filtering": nl.IFLA_BR_VLAN_DEFAULT_PVID, "mcast_snooping": nl.IFLA_BR_MCAST_SNOOPING}[f.Name]
	if !p.bridge[option] {
		return errAbsent
	}
	return nil
}

func (p *prober) rules4(*Feature) error { return p.rules(unix.AF_INET) }
func (p *prober) rules6(*Feature) error { return p.rules(unix.AF_INET6) }

func (p *prober) rules(family byte) error {
	head := make([]byte, 12) // struct fib_rule_hdr
	head[0] = family
	return refused(p.ask(unix.NETLINK_ROUTE, message(unix.RTM_GETRULE, dumpFlags, head)), unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
}

func (p *prober) nexthops(*Feature) error {
	return refused(p.ask(unix.NETLINK_ROUTE, message(unix.RTM_GETNEXTHOP, dumpFlags, make([]byte, 8))), unix.EOPNOTSUPP)
}

// newRoute is a request for a route by lo. That is down, so that none is made.
func newRoute(attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	msg := nl.RtMsg{}
	msg.Family, msg.Dst_len, msg.Type = unix.AF_INET, 24, unix.RTN_UNICAST
	msg.Table, msg.Protocol, msg.Scope = unix.RT_TABLE_MAIN, unix.RTPROT_STATIC, unix.RT_SCOPE_LINK
	dst := nl.NewRtAttr(unix.RTA_DST, []byte{192, 0, 2, 0}) // TEST-NET-1, RFC 5737
	return message(unix.RTM_NEWROUTE, createFlags, msg.Serialize(), append([]*nl.RtAttr{dst}, attrs...)...)
}

// multipath asks for a route with one next hop: a kernel without multipath routing
// finds the attribute invalid, another that lo is down.
func (p *prober) multipath(*Feature) error {
	hop := binary.NativeEndian.AppendUint16(nil, unix.SizeofRtNexthop)
	hop = binary.NativeEndian.AppendUint32(append(hop, 0, 0), loopback)
	return refused(p.ask(unix.NETLINK_ROUTE, newRoute(nl.NewRtAttr(unix.RTA_MULTIPATH, hop))), unix.EINVAL)
}

// subtrees asks for a route of IPv6 for packets from lo's address, which is down.
func (p *prober) subtrees(*Feature) error {
	msg := nl.RtMsg{}
	msg.Family, msg.Src_len, msg.Type, msg.Table, msg.Protocol = unix.AF_INET6, 128, unix.RTN_UNICAST, unix.RT_TABLE_MAIN, unix.RTPROT_STATIC
	src := nl.NewRtAttr(unix.RTA_SRC, append(make([]byte, 15), 1))
	oif := nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(loopback))
	return refused(p.ask(unix.NETLINK_ROUTE, message(unix.RTM_NEWROUTE, createFlags, msg.Serialize(), src, oif)), unix.EINVAL, unix.EOPNOTSUPP, unix.EAFNOSUPPORT)
}

// encapTypes are LWTUNNEL_ENCAP_* of include/uapi/linux/lwtunnel.h.
var encapTypes = map[string]uint16{"mpls": 1, "ip": 2, "ila": 3, "ip6": 4, "seg6": 5, "bpf": 6, "seg6local": 7, "rpl": 8, "ioam6": 9, "xfrm": 10}

// encap asks for a route with the type alone, of which the kernel looks whether it
// knows it.
func (p *prober) encap(f *Feature) error {
	kind := nl.NewRtAttr(unix.RTA_ENCAP_TYPE, nl.Uint16Attr(encapTypes[f.Name]))
	oif := nl.NewRtAttr(unix.RTA_OIF, nl.Uint32Attr(loopback))
	return refused(p.ask(unix.NETLINK_ROUTE, newRoute(oif, kind)), unix.EOPNOTSUPP)
}

// tcMessage is a request about lo's queueing.
func tcMessage(kind int, handle, parent, info uint32, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	head := make([]byte, 4, 20) // struct tcmsg
	for _, n := range []uint32{loopback, handle, parent, info} {
		head = binary.NativeEndian.AppendUint32(head, n)
	}
	return message(kind, unix.NLM_F_CREATE|unix.NLM_F_REPLACE, head, attrs...)
}

func kindAttr(name string) *nl.RtAttr { return nl.NewRtAttr(tcaKind, nl.ZeroTerminated(name)) }

// qdisc gives lo the queueing discipline, without options. Some are refused for
// want of them, or of several queues.
func (p *prober) qdisc(f *Feature) error {
	err := p.putQdisc(f.Name)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return refused(p.ask(unix.NETLINK_ROUTE, message(unix.RTM_GETQDISC, dumpFlags, make([]byte, 20))), unix.EOPNOTSUPP)
	}
	return refused(err, unix.ENOENT)
}

// putQdisc takes a new handle each time: under one that is there, the kernel does not
// look for the kind.
func (p *prober) putQdisc(name string) error {
	p.handle += 1 << 16
	handle, parent := p.handle, uint32(handleRoot)
	if name == "ingress" || name == "clsact" {
		handle, parent = handleIngress&0xffff0000, handleIngress
	}
	return p.ask(unix.NETLINK_ROUTE, tcMessage(unix.RTM_NEWQDISC, handle, parent, 0, kindAttr(name)))
}

// filterParent makes sure of a qdisc that filters can be attached to, one that is in
// the kernel; 0 when there is none.
func (p *prober) filterParent() uint32 {
	if p.parent != 0 {
		return p.parent
	}
	for _, name := range []string{"ingress", "fq_codel", "drr", "sfq"} {
		if _, ask := p.kernel.status(Find(Qdisc, name)); !ask || p.putQdisc(name) != nil {
			continue
		}
		p.parent = p.handle
		if name == "ingress" {
			p.parent = handleIngress & 0xffff0000
		}
		break
	}
	return p.parent
}

// filter adds one without options.
func (p *prober) filter(f *Feature) error {
	parent := p.filterParent()
	if parent == 0 {
		return errUnasked
	}
	return refused(p.putFilter(f.Name, parent), unix.ENOENT, unix.EOPNOTSUPP)
}

func (p *prober) putFilter(name string, parent uint32, options ...*nl.RtAttr) error {
	p.prio++ // one kind for each priority
	protocol := uint32(nl.Swap16(unix.ETH_P_ALL))
	return p.ask(unix.NETLINK_ROUTE, tcMessage(unix.RTM_NEWTFILTER, 0, parent, p.prio<<16|protocol, append([]*nl.RtAttr{kindAttr(name)}, options...)...))
}

// match adds the filter basic with the match, without data.
func (p *prober) match(f *Feature) error {
	_, ask := p.kernel.status(Find(Filter, "basic"))
	parent := p.filterParent()
	if !ask || parent == 0 {
		return errUnasked
	}
	const basicMatches, treeHeader, treeList = 2, 1, 2 // TCA_BASIC_EMATCHES, TCA_EMATCH_TREE_*
	options := nl.NewRtAttr(tcaOptions, nil)
	tree := options.AddRtAttr(basicMatches, nil)
	tree.AddRtAttr(treeHeader, nl.Uint32Attr(1)) // struct tcf_ematch_tree_hdr: one match
	head := append(nl.Uint16Attr(0), nl.Uint16Attr(matchKinds[f.Name])...)
	tree.AddRtAttr(treeList, nil).AddRtAttr(1, append(head, 0, 0, 0, 0)) // struct tcf_ematch_hdr
	return refused(p.putFilter("basic", parent, options), unix.ENOENT, unix.EOPNOTSUPP)
}

// action makes one without options.
func (p *prober) action(f *Feature) error {
	const table, kind = 1, 1 // TCA_ACT_TAB, TCA_ACT_KIND
	list := nl.NewRtAttr(table, nil)
	list.AddRtAttr(1, nil).AddRtAttr(kind, nl.ZeroTerminated(f.Name))
	return refused(p.ask(unix.NETLINK_ROUTE, message(unix.RTM_NEWACTION, unix.NLM_F_CREATE, make([]byte, 4), list)), unix.ENOENT, unix.EOPNOTSUPP)
}

// diag asks for sockets of the protocol.
func (p *prober) diag(f *Feature) error {
	const byFamily = 20 // SOCK_DIAG_BY_FAMILY
	head := []byte{unix.AF_INET, 0, 0, 0}
	size := 56 // struct inet_diag_req_v2
	switch f.Name {
	case "tcp":
		head[1] = unix.IPPROTO_TCP
	case "udp":
		head[1] = unix.IPPROTO_UDP
	case "raw":
		head[1] = unix.IPPROTO_RAW
	case "unix":
		head[0], size = unix.AF_UNIX, 24 // struct unix_diag_req
	case "packet":
		head[0], size = unix.AF_PACKET, 20 // struct packet_diag_req
	}
	return refused(p.ask(unix.NETLINK_SOCK_DIAG, message(byFamily, dumpFlags, append(head, make([]byte, size-4)...))), unix.ENOENT)
}

// generic is the probe of a family of generic netlink.
func generic(family string) func(*prober, *Feature) error {
	return func(p *prober, _ *Feature) error {
		name := nl.NewRtAttr(unix.CTRL_ATTR_FAMILY_NAME, nl.ZeroTerminated(family))
		return refused(p.ask(unix.NETLINK_GENERIC, message(unix.GENL_ID_CTRL, 0, []byte{unix.CTRL_CMD_GETFAMILY, 1, 0, 0}, name)), unix.ENOENT)
	}
}
