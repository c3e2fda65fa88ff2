package builtins

import (
	"errors"
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func prefixText(p netip.Prefix) starlark.Value {
	if !p.IsValid() {
		return starlark.None
	}
	return starlark.String(p.String())
}

func portsText(p lab.Ports) starlark.Value {
	if p.First == 0 {
		return starlark.None
	}
	return starlark.String(p.String())
}

func (env *Env) rule(r *lab.Rule) *Record {
	mark, uids, suppress, proto := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if r.HasMark {
		mark = starlark.MakeUint64(uint64(r.Mark))
	}
	if r.UIDs != nil {
		uids = starlark.String(strconv.Itoa(int(r.UIDs[0])) + "-" + strconv.Itoa(int(r.UIDs[1])))
	}
	if r.Suppress >= 0 {
		suppress = starlark.MakeInt(r.Suppress)
	}
	group, tunnel := starlark.Value(starlark.None), starlark.Value(starlark.None)
	if r.SuppressGroup >= 0 {
		group = starlark.MakeInt(r.SuppressGroup)
	}
	if r.TunID != nil {
		tunnel = starlark.MakeUint64(*r.TunID)
	}
	if r.Proto != 0 {
		proto = starlark.String(lab.ProtocolName(r.Proto))
	}
	family := "inet"
	if r.Family == unix.AF_INET6 {
		family = "inet6"
	}
	return record("rule", r.String(), r,
		field{"priority", starlark.MakeInt(r.Priority)}, field{"src", prefixText(r.Src)}, field{"dst", prefixText(r.Dst)},
		field{"iif", text(r.IIF)}, field{"oif", text(r.OIF)}, field{"mark", mark}, field{"tos", number(r.TOS)},
		field{"ipproto", proto}, field{"sport", portsText(r.SPort)}, field{"dport", portsText(r.DPort)}, field{"uidrange", uids},
		field{"invert", starlark.Bool(r.Invert)}, field{"action", starlark.String(r.ActionName())}, field{"table", number(r.Table)},
		field{"goto", number(r.Goto)}, field{"suppress_prefixlength", suppress}, field{"suppress_ifgroup", group},
		field{"l3mdev", starlark.Bool(r.L3mdev)}, field{"tun_id", tunnel}, field{"realms", realmsText(r.Realms)}, field{"proto", starlark.String(lab.RouteProtocolName(r.Protocol))}, field{"family", starlark.String(family)})
}

func (env *Env) ruleRows(rules []*lab.Rule) *starlark.List {
	var items []starlark.Value
	var cells [][]string
	for _, r := range rules {
		row := []string{r.String()}
		if r.Family == unix.AF_INET6 { // there are rules of the same words for IPv4
			row = append(row, "inet6")
		}
		items, cells = append(items, env.rule(r)), append(cells, row)
	}
	return env.rows(items, cells)
}

// tMark is a mark, or a mark and a mask.
var tMark = &Type{Name: "a mark, or mark/mask", Good: `"0x10/0xff"`, Range: &[2]int64{0, math.MaxUint32}, Convert: func(_ *Call, v starlark.Value) (any, error) {
	mark, mask, masked := strings.Cut(strings.Trim(v.String(), `"`), "/")
	m, err := strconv.ParseUint(mark, 0, 32)
	k := uint64(0)
	if err == nil && masked {
		k, err = strconv.ParseUint(mask, 0, 32)
	}
	if _, number := v.(starlark.Int); number && err != nil || errors.Is(err, strconv.ErrRange) {
		return nil, fmt.Errorf("%s is out of range: it is from 0 to %d", word(v), math.MaxUint32)
	}
	if err != nil {
		return nil, errType
	}
	return [2]uint32{uint32(m), uint32(k)}, nil
}}

func ruleSpecs() []*Spec {
	return []*Spec{{
		Name: "rule", Family: familyAddrs, Returns: "rule", Like: "ip rule add from SRC lookup TABLE",
		Doc: "Makes a rule of the routing policy: packets that all selectors match use the table (or meet the action). " +
			"The priority is one less than the lowest that is there unless given, as the kernel has it.",
		Params: []Param{
			required("ns", tNetnsRef, "where"), keyword("priority", tPriority, "", "the least comes first"),
			keyword("src", tDst, "", "the source's subnet"), keyword("dst", tDst, "", "the destination's subnet"),
			keyword("iif", tWord, "", "came in by this link"), keyword("oif", tWord, "", "the socket is bound to this link"),
			keyword("mark", tMark, "", "mark, or \"mark/mask\""), keyword("tos", tByte, "", "type of service"),
			keyword("ipproto", tProtocol, "", "tcp, udp …"), keyword("sport", tPorts, "", "source ports"), keyword("dport", tPorts, "", "destination ports"),
			keyword("uidrange", tUIDs, "", "users, like \"1000-1999\""), keyword("invert", tBool, "False", "match the others"),
			keyword("table", tTable, "\"main\"", "which table to use"), keyword("action", tAction, "\"lookup\"", "blackhole, unreachable, prohibit …"),
			keyword("suppress_prefixlength", intType("a prefix length", "0", 0, 128), "", "ignore routes with at most this prefix length"),
			keyword("suppress_ifgroup", intType("a group of links", "7", 0, math.MaxInt32), "", "ignore routes over links of this group"),
			keyword("l3mdev", tBool, "False", "use the table of the VRF that the packet has to do with"),
			keyword("tun_id", tTunID, "", "came by the tunnel of this id"), keyword("realms", tRealms, "", "what packets get (IPv4)"),
			keyword("proto", tRouteProto, "\"unspec\"", "who made it, by number or name"),
			keyword("goto", tUint32, "", "go on with the rule of this priority"), keyword("family", tFamily, "4", "4 or 6"),
			keyword("exist", tBool, "False", "take the one that is there if it is equal"),
		},
		Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nroute(root, \"default\", via=\"10.0.0.2\", table=100)\n" +
			"r = rule(root, src=\"10.9.0.0/16\", table=100, priority=1000)\nexpect.eq(r.table, 100)\ndelete(r)",
		Fn: addRule,
	}}
}

// linkWord is a link of a rule: its name, which need not exist yet, and the link
// if that was given.
type linkWord struct {
	name string
	link *lab.Link
}

// tWord is a link or its name.
var tWord = &Type{Name: "a link or its name", Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Link:
		return linkWord{v.link.Name(), v.link}, nil
	case starlark.String:
		return linkWord{name: string(v)}, nil
	}
	return nil, errType
}}

// word is the name of a link given by a parameter; a link has to be in the
// namespace that the rule is for.
func (c *Call) word(param string, ns *lab.Namespace) (string, error) {
	w := get(c, param, linkWord{})
	if w.link == nil {
		return w.name, nil
	}
	return w.name, w.link.In(ns, param)
}

// tTunID is the id of a tunnel, of 64 bits.
var tTunID = &Type{Name: "a whole number", Good: "7", Convert: func(_ *Call, v starlark.Value) (any, error) {
	i, ok := v.(starlark.Int)
	if !ok {
		return nil, errType
	}
	n, ok := i.Uint64()
	if !ok {
		return nil, fmt.Errorf("%s is out of range: it is from 0 to %d", i, uint64(math.MaxUint64))
	}
	return n, nil
}}

var tUIDs = &Type{Name: "a range of users", Good: `"1000-1999"`, Range: &[2]int64{0, math.MaxUint32}, Convert: func(_ *Call, v starlark.Value) (any, error) {
	first, last, ranged := strings.Cut(strings.Trim(v.String(), `"`), "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 32)
	b, err2 := strconv.ParseUint(last, 10, 32)
	if _, number := v.(starlark.Int); number && err1 != nil || errors.Is(err1, strconv.ErrRange) || errors.Is(err2, strconv.ErrRange) {
		return nil, fmt.Errorf("%s is out of range: it is from 0 to %d", word(v), math.MaxUint32)
	}
	if err1 != nil || err2 != nil || b < a {
		return nil, errType
	}
	return [2]uint32{uint32(a), uint32(b)}, nil
}}

func addRule(c *Call) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	iif, err := c.word("iif", ns)
	if err != nil {
		return nil, err
	}
	oif, err := c.word("oif", ns)
	if err != nil {
		return nil, err
	}
	r := lab.Rule{Priority: get(c, "priority", -1), Src: get(c, "src", netip.Prefix{}), Dst: get(c, "dst", netip.Prefix{}),
		IIF: iif, OIF: oif, TOS: get(c, "tos", 0), Proto: get(c, "ipproto", 0),
		SPort: get(c, "sport", lab.Ports{}), DPort: get(c, "dport", lab.Ports{}), UIDs: pointer[[2]uint32](c, "uidrange"),
		Invert: get(c, "invert", false), Action: get(c, "action", 0), Table: get(c, "table", 0),
		Goto: get(c, "goto", 0), Suppress: get(c, "suppress_prefixlength", -1), SuppressGroup: get(c, "suppress_ifgroup", -1),
		L3mdev: get(c, "l3mdev", false), TunID: pointer[uint64](c, "tun_id"), Realms: get(c, "realms", uint32(0)), Protocol: get(c, "proto", 0), Family: get(c, "family", 0)}
	if m := pointer[[2]uint32](c, "mark"); m != nil {
		r.HasMark, r.Mark, r.Mask = true, m[0], m[1]
	}
	if r.Goto != 0 {
		r.Action = unix.FR_ACT_GOTO
	}
	if r.Family == 0 {
		r.Family = unix.AF_INET
		if r.Src.IsValid() && r.Src.Addr().Is6() || r.Dst.IsValid() && r.Dst.Addr().Is6() {
			r.Family = unix.AF_INET6
		}
	}
	made, err := ns.AddRule(c.Ctx, r, get(c, "exist", false))
	if err != nil {
		return nil, err
	}
	return c.Env.rule(made), nil
}
