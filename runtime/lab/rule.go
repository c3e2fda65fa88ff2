package lab

import (
	"context"
	"encoding/binary"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Ports is a range of ports; First 0 for none.
type Ports struct{ First, Last int }

func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(p.First)
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// Rule is a rule of the routing policy, to make or read (ip-rule(8)).
type Rule struct {
	NS       *Namespace
	Family   int // AF_INET or AF_INET6
	Priority int // -1 to let the kernel choose
	Src, Dst netip.Prefix
	IIF, OIF string
	Mark     uint32
	Mask     uint32 // 0 with a Mark means all bits
	HasMark  bool
	TOS      int
	Proto    int // IPPROTO_*, or 0
	SPort    Ports
	DPort    Ports
	UIDs     *[2]uint32
	Invert   bool
	Action   int // FR_ACT_*; 0 is to_table
	Table    int
	Goto     int
	Suppress int // suppress_prefixlength, or -1
	// SuppressGroup is suppress_ifgroup: ignore routes over links of that group; -1
	// for none.
	SuppressGroup int
	// L3mdev uses the table of the VRF that the packet has to do with.
	L3mdev   bool
	TunID    *uint64 // the id of the tunnel that the packet came by
	Realms   uint32  // IPv4: what the rule gives to packets
	Protocol int     // RTPROT_*, who made it; 0 unless given
}

// ruleActions are the FR_ACT_ names of `ip rule`.
var ruleActions = []string{"unspec", "lookup", "goto", "nop", "res3", "res4", "blackhole", "unreachable", "prohibit"}

// ActionName is what the rule does, as `ip` prints it.
func (r *Rule) ActionName() string { return nameOf(ruleActions, r.Action) }

// RuleAction returns the FR_ACT_ number of "lookup", "goto", "nop",
// "blackhole", "unreachable" or "prohibit".
func RuleAction(name string) (int, error) {
	for i, n := range ruleActions {
		if n == name && i > 0 && !strings.HasPrefix(n, "res") {
			return i, nil
		}
	}
	return 0, Usage("actions are lookup, goto, nop, blackhole, unreachable and prohibit", "%q is no action of a rule", name)
}

func (r *Rule) message(kind, flags int) *nl.NetlinkRequest {
	req := request(kind, flags)
	var ruleFlags uint32
	if r.Invert {
		ruleFlags = unix.FIB_RULE_INVERT
	}
	table := r.Table
	if table > 255 {
		table = unix.RT_TABLE_UNSPEC
	}
	src, dst := max(r.Src.Bits(), 0), max(r.Dst.Bits(), 0)
	head := []byte{byte(r.Family), byte(dst), byte(src), byte(r.TOS), byte(table), 0, 0, byte(r.Action)}
	req.RawData = binary.NativeEndian.AppendUint32(head, ruleFlags)
	add := func(kind int, data []byte) {
		req.RawData = append(req.RawData, nl.NewRtAttr(kind, data).Serialize()...)
	}
	if r.Priority >= 0 {
		add(nl.FRA_PRIORITY, nl.Uint32Attr(uint32(r.Priority)))
	}
	if src > 0 {
		add(nl.FRA_SRC, r.Src.Masked().Addr().AsSlice())
	}
	if dst > 0 {
		add(nl.FRA_DST, r.Dst.Masked().Addr().AsSlice())
	}
	if r.IIF != "" {
		add(nl.FRA_IIFNAME, nl.ZeroTerminated(r.IIF))
	}
	if r.OIF != "" {
		add(nl.FRA_OIFNAME, nl.ZeroTerminated(r.OIF))
	}
	if r.HasMark {
		add(nl.FRA_FWMARK, nl.Uint32Attr(r.Mark))
		if r.Mask != 0 {
			add(nl.FRA_FWMASK, nl.Uint32Attr(r.Mask))
		}
	}
	if r.Proto != 0 {
		add(nl.FRA_IP_PROTO, nl.Uint8Attr(uint8(r.Proto)))
	}
	ports := func(kind int, p Ports) {
		if p.First != 0 {
			add(kind, append(nl.Uint16Attr(uint16(p.First)), nl.Uint16Attr(uint16(p.Last))...))
		}
	}
	ports(nl.FRA_SPORT_RANGE, r.SPort)
	ports(nl.FRA_DPORT_RANGE, r.DPort)
	if r.UIDs != nil {
		add(nl.FRA_UID_RANGE, append(nl.Uint32Attr(r.UIDs[0]), nl.Uint32Attr(r.UIDs[1])...))
	}
	if r.Table > 255 {
		add(nl.FRA_TABLE, nl.Uint32Attr(uint32(r.Table)))
	}
	if r.Goto > 0 {
		add(nl.FRA_GOTO, nl.Uint32Attr(uint32(r.Goto)))
	}
	if r.Suppress >= 0 {
		add(nl.FRA_SUPPRESS_PREFIXLEN, nl.Uint32Attr(uint32(r.Suppress)))
	}
	if r.SuppressGroup >= 0 {
		add(nl.FRA_SUPPRESS_IFGROUP, nl.Uint32Attr(uint32(r.SuppressGroup)))
	}
	if r.L3mdev {
		add(nl.FRA_L3MDEV, []byte{1})
	}
	if r.TunID != nil {
		add(nl.FRA_TUN_ID, binary.BigEndian.AppendUint64(nil, *r.TunID))
	}
	if r.Realms != 0 {
		add(nl.FRA_FLOW, nl.Uint32Attr(r.Realms))
	}
	if r.Protocol != 0 {
		add(nl.FRA_PROTOCOL, []byte{byte(r.Protocol)})
	}
	return req
}

// words are the rule's selectors and action as `ip rule add` takes them.
func (r *Rule) args() []event.Arg {
	var args []event.Arg
	add := func(key, value string) { args = append(args, arg(key, value)) }
	if r.Family == unix.AF_INET6 {
		add("family", "inet6")
	}
	if r.Priority >= 0 {
		add("priority", strconv.Itoa(r.Priority))
	}
	if r.Invert {
		add("not", "")
	}
	add("from", prefixWords(r.Src))
	if r.Dst.IsValid() {
		add("to", prefixWords(r.Dst))
	}
	if r.TOS != 0 {
		add("tos", fmt.Sprintf("%#02x", r.TOS))
	}
	if r.HasMark {
		mark := fmt.Sprintf("%#x", r.Mark)
		if r.Mask != 0 && r.Mask != ^uint32(0) {
			mark += fmt.Sprintf("/%#x", r.Mask)
		}
		add("fwmark", mark)
	}
	if r.IIF != "" {
		add("iif", r.IIF)
	}
	if r.OIF != "" {
		add("oif", r.OIF)
	}
	if r.UIDs != nil {
		add("uidrange", fmt.Sprintf("%d-%d", r.UIDs[0], r.UIDs[1]))
	}
	if r.Proto != 0 {
		add("ipproto", ProtocolName(r.Proto))
	}
	if r.SPort.First != 0 {
		add("sport", r.SPort.String())
	}
	if r.DPort.First != 0 {
		add("dport", r.DPort.String())
	}
	if r.TunID != nil {
		add("tun_id", strconv.FormatUint(*r.TunID, 10))
	}
	if r.Realms != 0 {
		add("realms", RealmsWords(r.Realms))
	}
	if r.Protocol != 0 {
		add("protocol", RouteProtocolName(r.Protocol))
	}
	switch r.Action {
	case unix.FR_ACT_TO_TBL:
		if r.L3mdev {
			add("l3mdev", "")
		} else {
			add("lookup", TableName(r.Table))
		}
		if r.Suppress >= 0 {
			add("suppress_prefixlength", strconv.Itoa(r.Suppress))
		}
		if r.SuppressGroup >= 0 {
			add("suppress_ifgroup", strconv.Itoa(r.SuppressGroup))
		}
	case unix.FR_ACT_GOTO:
		add("goto", strconv.Itoa(r.Goto))
	default:
		add(r.ActionName(), "")
	}
	return args
}

func prefixWords(p netip.Prefix) string {
	if !p.IsValid() || p.Bits() == 0 {
		return "all"
	}
	if p.IsSingleIP() {
		return p.Addr().String()
	}
	return p.String()
}

// String is the rule as `ip rule` prints it.
func (r *Rule) String() string {
	var w []string
	for _, a := range r.args() {
		switch {
		case a.Key == "family", a.Key == "protocol" && r.Protocol == unix.RTPROT_KERNEL:
			continue
		case a.Key == "priority":
			w = append(w, a.Value+":")
			continue
		}
		w = append(w, a.Key)
		if a.Value != "" {
			w = append(w, a.Value)
		}
	}
	return strings.Join(w, " ")
}

// AddRule makes a rule, as `ip rule add` does; with exist it takes one that is
// there and equal, of any priority where none is given.
func (ns *Namespace) AddRule(ctx context.Context, r Rule, exist bool) (*Rule, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if err := r.check(); err != nil {
		return nil, err
	}
	r.NS = ns
	if r.Action == 0 {
		r.Action = unix.FR_ACT_TO_TBL
	}
	if r.Action == unix.FR_ACT_TO_TBL && r.Table == 0 && !r.L3mdev {
		r.Table = unix.RT_TABLE_MAIN
	}
	if exist {
		if there, err := r.there(); err != nil || there != nil {
			return there, err
		}
	}
	start := time.Now()
	if r.Priority < 0 {
		// The kernel would take one less than the lowest it has but 0.
		if err := ns.choosePriority(&r); err != nil {
			return nil, err
		}
	}
	err := ns.conn.do(r.message(unix.RTM_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_EXCL))
	ns.lab.emit(ctx, "rule add", ns, start, err, r.args()...)
	if err != nil {
		return nil, r.refused(err)
	}
	ns.lab.claim(r.key())
	ns.lab.onUndo(r.Delete)
	return &r, r.forgotten(ctx)
}

// check refuses what the kernel would refuse without saying which.
func (r *Rule) check() error {
	for _, name := range []string{r.IIF, r.OIF} {
		if len(name) > maxLinkName {
			return Usage("", "rule: iif= and oif=: %q has %d bytes; the kernel allows %d", name, len(name), maxLinkName)
		}
	}
	toTable := r.Action == 0 || r.Action == unix.FR_ACT_TO_TBL
	switch {
	case r.L3mdev && (r.Table != 0 || !toTable):
		return Usage("", "rule: l3mdev= uses the table of a VRF: it goes with neither table= nor another action=")
	case (r.Suppress >= 0 || r.SuppressGroup >= 0) && !toTable:
		return Usage("", "rule: suppress_prefixlength= and suppress_ifgroup= are of a rule that uses a table")
	case r.Table != 0 && !toTable:
		return Usage("", "rule: table= is of a rule that uses one, not of action %s", r.ActionName())
	case r.Suppress > 32 && r.Family == unix.AF_INET:
		return Usage("", "rule: suppress_prefixlength=%d: a prefix length is at most 32 for IPv4", r.Suppress)
	case r.Realms != 0 && r.Family != unix.AF_INET:
		return Usage("", "rule: realms= is of IPv4")
	case r.Src.IsValid() && family(r.Src.Addr()) != r.Family, r.Dst.IsValid() && family(r.Dst.Addr()) != r.Family:
		return Usage("", "rule: src= and dst= are of one family, that of family=")
	}
	return nil
}

// there is a rule that is equal, or nil.
func (r *Rule) there() (*Rule, error) {
	rules, err := r.NS.Rules(r.Family)
	if err != nil {
		return nil, err
	}
	for _, there := range rules {
		like := *there
		if r.Priority < 0 {
			like.Priority = r.Priority
		}
		if like.String() == r.String() {
			return there, nil
		}
	}
	return nil, nil
}

func (r *Rule) refused(err error) error {
	e := kernelError(err, "", "add rule %s%s", r, where(r.NS))
	if strings.Contains(e.Words, "l3mdev support is not enabled") {
		return &Error{Op: "this kernel has no rules of l3mdev", Kind: KindMissing, Err: unwrapErrno(err), Words: e.Words,
			Hint: "it needs CONFIG_NET_L3_MASTER_DEV"}
	}
	return e
}

// forgotten takes a rule away of which the kernel has dropped what it cannot do.
func (r *Rule) forgotten(ctx context.Context) error {
	if r.Realms == 0 {
		return nil
	}
	if there, err := r.there(); err != nil || there != nil {
		return err
	}
	_ = r.Delete(ctx)
	return &Error{Op: "this kernel has no realms of routes", Kind: KindMissing, Hint: "it needs CONFIG_IP_ROUTE_CLASSID"}
}

// choosePriority does what the kernel does (fib_default_rule_pref in
// net/core/fib_rules.c), so that the rule's handle knows it.
func (ns *Namespace) choosePriority(r *Rule) error {
	rules, err := ns.Rules(r.Family)
	if err != nil {
		return err
	}
	r.Priority = 0
	if len(rules) > 1 && rules[1].Priority > 0 {
		r.Priority = rules[1].Priority - 1
	}
	return nil
}

// Delete takes the rule away.
func (r *Rule) Delete(ctx context.Context) error {
	if err := r.NS.check(); err != nil {
		return err
	}
	if err := r.NS.lab.mayDelete(r.key(), r); err != nil {
		return err
	}
	start := time.Now()
	err := r.NS.conn.do(r.message(unix.RTM_DELRULE, 0))
	r.NS.lab.emit(ctx, "rule delete", r.NS, start, err, r.args()...)
	if err != nil {
		return kernelError(err, "", "delete rule %s%s", r, where(r.NS))
	}
	r.NS.lab.onUndo(func(ctx context.Context) error { _, err := r.NS.AddRule(ctx, *r, false); return err })
	return nil
}

// Rules lists the rules of a family, or of both for 0, by priority.
func (ns *Namespace) Rules(family int) ([]*Rule, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []*Rule
	for _, fam := range []int{unix.AF_INET, unix.AF_INET6} {
		if family != 0 && family != fam {
			continue
		}
		var rules []*Rule
		err := ns.conn.dump(func() *nl.NetlinkRequest {
			req := request(unix.RTM_GETRULE, 0)
			req.AddRawData(append([]byte{byte(fam)}, make([]byte, 11)...))
			return req
		}, func() { rules = nil }, func(body []byte) error {
			if r, ok := parseRule(body); ok {
				r.NS = ns
				rules = append(rules, r)
			}
			return nil
		})
		if err != nil {
			return nil, kernelError(err, "", "list rules%s", where(ns))
		}
		all = append(all, rules...)
	}
	return all, nil
}

// parseRule reads the body of an RTM_NEWRULE message (struct fib_rule_hdr).
func parseRule(body []byte) (*Rule, bool) {
	if len(body) < 12 || body[0] != unix.AF_INET && body[0] != unix.AF_INET6 {
		return nil, false
	}
	r := &Rule{Family: int(body[0]), TOS: int(body[3]), Table: int(body[4]), Action: int(body[7]), Suppress: -1, SuppressGroup: -1,
		Invert: u32(body[8:])&unix.FIB_RULE_INVERT != 0}
	for kind, v := range attributes(body[12:]) {
		switch kind {
		case nl.FRA_PRIORITY:
			r.Priority = int(u32(v))
		case nl.FRA_SRC:
			if ip, ok := netip.AddrFromSlice(v); ok {
				r.Src = netip.PrefixFrom(ip, int(body[2]))
			}
		case nl.FRA_DST:
			if ip, ok := netip.AddrFromSlice(v); ok {
				r.Dst = netip.PrefixFrom(ip, int(body[1]))
			}
		case nl.FRA_IIFNAME:
			r.IIF = cstring(v)
		case nl.FRA_OIFNAME:
			r.OIF = cstring(v)
		case nl.FRA_FWMARK:
			r.Mark, r.HasMark = u32(v), true
		case nl.FRA_FWMASK:
			r.Mask = u32(v)
		case nl.FRA_IP_PROTO:
			r.Proto = u8(v)
		case nl.FRA_SPORT_RANGE:
			r.SPort = parsePorts(v)
		case nl.FRA_DPORT_RANGE:
			r.DPort = parsePorts(v)
		case nl.FRA_UID_RANGE:
			if len(v) >= 8 {
				r.UIDs = &[2]uint32{u32(v), u32(v[4:])}
			}
		case nl.FRA_TABLE:
			r.Table = int(u32(v))
		case nl.FRA_GOTO:
			r.Goto = int(u32(v))
		case nl.FRA_SUPPRESS_PREFIXLEN:
			r.Suppress = int(int32(u32(v)))
		case nl.FRA_SUPPRESS_IFGROUP:
			r.SuppressGroup = int(int32(u32(v)))
		case nl.FRA_L3MDEV:
			r.L3mdev = u8(v) != 0
		case nl.FRA_TUN_ID:
			if len(v) >= 8 {
				id := binary.BigEndian.Uint64(v)
				r.TunID = &id
			}
		case nl.FRA_FLOW:
			r.Realms = u32(v)
		case nl.FRA_PROTOCOL:
			r.Protocol = u8(v)
		}
	}
	return r, true
}

func parsePorts(v []byte) Ports {
	if len(v) < 4 {
		return Ports{}
	}
	return Ports{u16(v), u16(v[2:])}
}

// ipProtocols are those that rules and route lookups name.
var ipProtocols = map[string]int{"icmp": unix.IPPROTO_ICMP, "tcp": unix.IPPROTO_TCP, "udp": unix.IPPROTO_UDP,
	"ipv6-icmp": unix.IPPROTO_ICMPV6, "sctp": unix.IPPROTO_SCTP, "gre": unix.IPPROTO_GRE, "esp": unix.IPPROTO_ESP, "ah": unix.IPPROTO_AH,
	"ipencap": unix.IPPROTO_IPIP, "ipv6": unix.IPPROTO_IPV6, "mpls-in-ip": unix.IPPROTO_MPLS}

// Protocol returns the number of an IP protocol by name or number
// (/etc/protocols: "tcp", "udp", "icmp", "ipv6-icmp", "sctp", "gre", "esp", "ah",
// "ipencap", "ipv6", "mpls-in-ip").
func Protocol(name string) (int, error) {
	if n, ok := ipProtocols[name]; ok {
		return n, nil
	}
	if n, err := strconv.ParseUint(name, 10, 8); err == nil {
		return int(n), nil
	}
	return 0, Usage(`use "tcp", "udp", "icmp", "ipv6-icmp", "sctp" or a number`, "%q is no IP protocol", name)
}

// ProtocolName is the inverse of [Protocol].
func ProtocolName(n int) string {
	for name, number := range ipProtocols {
		if n == number {
			return name
		}
	}
	return strconv.Itoa(n)
}
