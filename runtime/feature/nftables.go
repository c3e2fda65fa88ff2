package feature

import (
	"encoding/binary"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// families are NFPROTO_* (include/uapi/linux/netfilter.h).
var families = map[string]byte{"inet": 1, "ip": 2, "arp": 3, "netdev": 5, "bridge": 7, "ip6": 10}

// Attributes of include/uapi/linux/netfilter/nf_tables.h.
const (
	nftaTableName                              = 1
	nftaChainTable, nftaChainName              = 1, 3
	nftaChainHook, nftaChainType               = 4, 7
	nftaHookNumber, nftaHookPriority           = 1, 2
	nftaRuleTable, nftaRuleChain, nftaRuleList = 1, 2, 4
	nftaListElem, nftaExprName                 = 1, 1
)

// nfMessage is a request to nfnetlink. The batch's begin and end name the subsystem
// in its resource id.
func nfMessage(kind int, flags int, family byte, resource uint16, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	return message(kind, flags, binary.BigEndian.AppendUint16([]byte{family, 0}, resource), attrs...) // struct nfgenmsg
}

// nftables looks up what nf_tables answered. It is asked once for all that it may
// have: each batch that it refuses costs a grace period.
func (p *prober) nftables(f *Feature) error {
	if p.nft == nil {
		p.nft = map[*Feature]error{}
		if err := p.askNftables(f); err != nil {
			return err
		}
	}
	if err, asked := p.nft[f]; asked {
		return err
	}
	return errUnasked
}

// askNftables sends one batch that makes a table of each family and in it, for each
// feature, what has only its name.
func (p *prober) askNftables(wanted *Feature) error {
	var asked []*Feature // for each message of the batch, or nil
	var batch []*nl.NetlinkRequest
	add := func(f *Feature, r *nl.NetlinkRequest) { asked, batch = append(asked, f), append(batch, r) }
	const subsystem = unix.NFNL_SUBSYS_NFTABLES << 8
	add(nil, nfMessage(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	for _, f := range All() {
		if _, ask := p.kernel.status(f); f.Family == Table && (ask || wanted.Family != Table || f == wanted) {
			add(f, nfMessage(subsystem|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE, families[f.Name], 0, nl.NewRtAttr(nftaTableName, nl.ZeroTerminated("t"))))
			add(nil, nfMessage(subsystem|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, families[f.Name], 0,
				nl.NewRtAttr(nftaChainTable, nl.ZeroTerminated("t")), nl.NewRtAttr(nftaChainName, nl.ZeroTerminated("c"))))
		}
	}
	for _, f := range All() {
		if _, ask := p.kernel.status(f); !ask && f != wanted {
			continue
		}
		switch f.Family {
		case Chain:
			add(f, nfMessage(subsystem|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, families["ip"], 0, namedChain(f.Name)...))
		case Expression:
			add(f, nfMessage(subsystem|unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, familyOf(f.Name), 0, namedRule(f.Name)...))
		}
	}
	batch[len(batch)-1].Flags |= unix.NLM_F_ACK
	add(nil, nfMessage(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC, unix.NFNL_SUBSYS_NFTABLES))
	errs, _, err := p.batch(unix.NETLINK_NETFILTER, batch...)
	if err != nil {
		return err
	}
	for i, f := range asked {
		switch {
		case f == nil:
		case errs[0] != nil: // of the begin: there is no nf_tables
			p.nft[f] = errs[0]
		case f.Family == Table:
			p.nft[f] = refused(errs[i], unix.EAFNOSUPPORT, unix.EOPNOTSUPP)
		default: // any other refusal is of what the expression says
			p.nft[f] = refused(errs[i], unix.ENOENT)
		}
	}
	return nil
}

// familyOf is a family of tables that has the expression.
func familyOf(expression string) byte {
	switch expression {
	case "dup":
		return families["ip"]
	case "fwd", "tunnel":
		return families["netdev"]
	}
	return families["inet"]
}

// namedChain is a base chain of the type at the hook output, which all have.
func namedChain(kind string) []*nl.RtAttr {
	hook := nl.NewRtAttr(nftaChainHook, nil)
	hook.AddRtAttr(nftaHookNumber, binary.BigEndian.AppendUint32(nil, unix.NF_INET_LOCAL_OUT))
	hook.AddRtAttr(nftaHookPriority, make([]byte, 4))
	return []*nl.RtAttr{
		nl.NewRtAttr(nftaChainTable, nl.ZeroTerminated("t")), nl.NewRtAttr(nftaChainName, nl.ZeroTerminated(kind)),
		hook, nl.NewRtAttr(nftaChainType, nl.ZeroTerminated(kind)),
	}
}

// namedRule is a rule of one expression that has nothing but its name.
func namedRule(expression string) []*nl.RtAttr {
	list := nl.NewRtAttr(nftaRuleList|unix.NLA_F_NESTED, nil)
	list.AddRtAttr(nftaListElem|unix.NLA_F_NESTED, nil).AddRtAttr(nftaExprName, nl.ZeroTerminated(expression))
	return []*nl.RtAttr{nl.NewRtAttr(nftaRuleTable, nl.ZeroTerminated("t")), nl.NewRtAttr(nftaRuleChain, nl.ZeroTerminated("c")), list}
}

// ctnetlink asks for the table of connections.
func (p *prober) ctnetlink(*Feature) error {
	const get = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1 // IPCTNL_MSG_CT_GET
	return refused(p.ask(unix.NETLINK_NETFILTER, nfMessage(get, dumpFlags, unix.AF_INET, 0)), unix.EINVAL, unix.EOPNOTSUPP)
}
