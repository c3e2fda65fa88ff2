package builtins

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
	"golang.org/x/sys/unix"

	"nsscript/runtime/firewall"
	"nsscript/runtime/lab"
)

// Firewall is the packet filter of a namespace. It is live.
type Firewall struct {
	fw  *lab.Firewall
	env *Env
}

func (f *Firewall) String() string { return f.fw.String() }

// Type is what type() says.
func (f *Firewall) Type() string { return "firewall" }

// Freeze does nothing.
func (f *Firewall) Freeze() {}

// Truth is True.
func (f *Firewall) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (f *Firewall) Hash() (uint32, error) { return hashPointer(f.fw) }

// CompareSameType: one firewall, one value.
func (f *Firewall) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, f.fw == y.(*Firewall).fw, "firewall")
}

// AttrNames lists the attributes.
func (f *Firewall) AttrNames() []string {
	names := []string{"ns", "rules"}
	return append(names, firewallMethods...)
}

// firewallMethods are what a firewall can do; each has a Spec "firewall.NAME".
var firewallMethods = []string{"accept", "drop", "reject", "masquerade", "snat", "dnat", "redirect", "nat_type", "batch"}

// Attr is an attribute, or a method.
func (f *Firewall) Attr(name string) (starlark.Value, error) {
	switch name {
	case "ns":
		return f.env.namespace(f.fw.NS), nil
	case "rules":
		list, err := f.fw.Rules()
		if err != nil {
			return nil, err
		}
		var items []starlark.Value
		for _, r := range list {
			items = append(items, &FirewallRule{r, f.env})
		}
		return f.env.lineRows(items), nil
	}
	i := slices.Index(firewallMethods, name)
	if i < 0 {
		return nil, nil
	}
	m := *firewallMethod()[i]
	fn := m.Fn
	m.Fn = func(c *Call) (starlark.Value, error) {
		c.self = f
		return fn(c)
	}
	return m.builtin(f.env), nil
}

// MarshalJSON is the firewall with its rules.
func (f *Firewall) MarshalJSON() ([]byte, error) {
	rules, err := f.Attr("rules")
	if err != nil {
		return nil, err
	}
	return marshalFields([]string{"ns", "rules"}, starlark.StringDict{"ns": f.env.namespace(f.fw.NS), "rules": rules})
}

// FirewallRule is a rule of a firewall. It is live.
type FirewallRule struct {
	rule *lab.FirewallRule
	env  *Env
}

func (r *FirewallRule) String() string { return r.rule.Chain() + " " + r.rule.Expr() }

// Type is what type() says.
func (r *FirewallRule) Type() string { return "firewall_rule" }

// Freeze does nothing.
func (r *FirewallRule) Freeze() {}

// Truth is True.
func (r *FirewallRule) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (r *FirewallRule) Hash() (uint32, error) { return hashPointer(r.rule) }

// CompareSameType: one rule, one value.
func (r *FirewallRule) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, r.rule == y.(*FirewallRule).rule, "firewall_rule")
}

// AttrNames lists the attributes.
func (r *FirewallRule) AttrNames() []string {
	return []string{"ns", "chain", "expr", "packets", "bytes", "comment"}
}

// Attr asks the kernel for the counters.
func (r *FirewallRule) Attr(name string) (starlark.Value, error) {
	switch name {
	case "ns":
		return r.env.namespace(r.rule.Firewall.NS), nil
	case "chain":
		return starlark.String(r.rule.Chain()), nil
	case "expr":
		return starlark.String(r.rule.Expr()), nil
	case "comment":
		return text(r.rule.Rule.Comment), nil
	case "packets", "bytes":
		packets, bytes, err := r.rule.Counters()
		if name == "bytes" {
			packets = bytes
		}
		return starlark.MakeUint64(packets), err
	}
	return nil, nil
}

// MarshalJSON is the rule with its counters.
func (r *FirewallRule) MarshalJSON() ([]byte, error) { return marshalLive(r) }

const familyFirewall = "Firewall and NAT"

// routed is a host on each side of a router; the one on the right has no route back.
const routed = "a, r, b = netns(\"a\"), netns(\"r\"), netns(\"b\")\n" +
	"veth(\"eth0\", \"eth0\", ns=a, peer_ns=r, addr=\"10.0.1.2/24\", peer_addr=\"10.0.1.1/24\", up=True)\n" +
	"veth(\"eth1\", \"eth0\", ns=r, peer_ns=b, addr=\"10.0.2.1/24\", peer_addr=\"10.0.2.2/24\", up=True)\n" +
	"sysctl(r, \"net.ipv4.ip_forward\", 1)\nroute(a, \"default\", via=\"10.0.1.1\")\n"

var tPolicy = oneOf("accept", "drop")

func firewallSpecs() []*Spec {
	return []*Spec{{
		Name: "firewall", Family: familyFirewall, Returns: "firewall: ns rules, and the methods accept drop reject masquerade snat dnat redirect nat_type batch", Like: "nft add table inet nsscript; nft add chain …",
		Doc: "Makes the packet filter of a namespace: one table of nftables, \"inet nsscript\", that holds for IPv4 and IPv6 alike, or changes the policies of the one that is there. " +
			"A policy is what becomes of packets that no rule decides about. " +
			"Rules apply in the order of their calls; each is installed at once, or not at all. What is left out of a rule matches all. " +
			"print() of it shows what is installed as nft lists it, .rules the rules, each with .packets and .bytes; delete() takes rules and the firewall. " +
			"Tables that programs make (nft, iptables) work beside it.",
		Params: []Param{required("ns", tNetnsRef, "where"), keyword("input", tPolicy, "", "what becomes of packets to the namespace itself"),
			keyword("forward", tPolicy, "", "of packets that it forwards"), keyword("output", tPolicy, "", "of packets that it sends")},
		Example: twoHosts + "fw = firewall(b, input=\"drop\")\nfw.accept(state=\"established,related\")\nweb = fw.accept(proto=\"tcp\", dport=[80, \"8000-8080\"], src=\"10.0.0.0/24\")\n" +
			"tcp_server(b, 80, reply=\"hello\")\nexpect(tcp(a, \"10.0.0.2:80\").ok)\nexpect.unreachable(a, b, hold=\"100ms\")\nexpect.gt(web.packets, 0)\nprint(fw)",
		Fn: func(c *Call) (starlark.Value, error) {
			ns := get[*lab.Namespace](c, "ns", nil)
			fw, err := ns.SetFirewall(c.Ctx, lab.FirewallPolicies{Input: get(c, "input", ""), Forward: get(c, "forward", ""), Output: get(c, "output", "")})
			if err != nil {
				return nil, err
			}
			return &Firewall{fw, c.Env}, nil
		},
	}}
}

// tFirewallAddrs are addresses that a rule is for.
var tFirewallAddrs = listOf(&Type{Name: "an address, a subnet, or a range of addresses", Good: `"10.0.0.0/8"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		if first, last, span := strings.Cut(s, "-"); span {
			return addressRange(first, last)
		}
		if strings.Contains(s, "/") {
			p, err := tDst.Convert(c, v)
			if err != nil {
				return nil, err
			}
			return firewall.Prefix(p.(netip.Prefix)), nil
		}
	}
	if n, ok := v.(*IPNetwork); ok {
		p, err := toPrefix(n)
		return firewall.Prefix(p), err
	}
	a, err := tAddress.Convert(c, v)
	if err != nil {
		return nil, err
	}
	ip, err := a.(Address).only(netip.Addr{})
	return firewall.Range{First: ip, Last: ip}, err
}}, "an address, a subnet, a range of addresses, or a list of them")

func addressRange(first, last string) (any, error) {
	a, err := netip.ParseAddr(strings.TrimSpace(first))
	if err != nil {
		return nil, fmt.Errorf("%q is no IP address", first)
	}
	b, err := netip.ParseAddr(strings.TrimSpace(last))
	if err != nil {
		return nil, fmt.Errorf("%q is no IP address", last)
	}
	if a.Is4() != b.Is4() || b.Less(a) {
		return nil, fmt.Errorf("%s-%s is no range: it goes from a lower to a higher address of the same family", a, b)
	}
	return firewall.Range{First: a, Last: b}, nil
}

// tWords are words, in a list or with commas between.
var tWords = &Type{Name: "a word or several", Good: `["tcp", "udp"]`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		words := strings.FieldsFunc(s, func(r rune) bool { return r == ',' || r == ' ' })
		if len(words) == 0 {
			return nil, fmt.Errorf("it is empty")
		}
		return words, nil
	}
	seq, ok := v.(starlark.Sequence)
	if !ok {
		return nil, errType
	}
	var words []string
	for x := range starlark.Elements(seq) {
		s, ok := starlark.AsString(x)
		if !ok {
			return nil, errType
		}
		words = append(words, s)
	}
	return words, nil
}}

var (
	tFirewallPorts = listOf(tPorts, "a port, a range of ports, or a list of them")
	tHook          = oneOf("input", "forward", "output")
	tNATHook       = oneOf("prerouting", "output")
)

// tLogPrefix is True, or what the line begins with.
var tLogPrefix = &Type{Name: "True, or what the line begins with", Good: `"dropped: "`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Bool:
		if v {
			return "", nil
		}
		return nil, nil
	case starlark.String:
		return string(v), nil
	}
	return nil, errType
}}

// tTranslation is where NAT leads: an address, several, and ports.
var tTranslation = &Type{Name: "an address, with or without a port", Good: `"10.0.0.2:80"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		a, err := tAddress.Convert(c, v)
		if err != nil {
			return nil, err
		}
		ip, err := a.(Address).only(netip.Addr{})
		return firewall.Verdict{To: firewall.Range{First: ip, Last: ip}}, err
	}
	return parseTranslation(s)
}}

// parseTranslation reads "A", "A-B", "A:PORTS", "[A6]:PORTS".
func parseTranslation(s string) (any, error) {
	addr, ports := s, ""
	if i := strings.LastIndex(s, ":"); i >= 0 && (strings.Count(s, ":") == 1 || s[i-1] == ']') {
		addr, ports = s[:i], s[i+1:]
	}
	first, last, span := strings.Cut(strings.NewReplacer("[", "", "]", "").Replace(addr), "-")
	if !span {
		last = first
	}
	r, err := addressRange(first, last)
	if err != nil {
		return nil, err
	}
	v := firewall.Verdict{To: r.(firewall.Range)}
	if ports != "" {
		p, err := tPorts.Convert(nil, starlark.String(ports))
		if err != nil {
			return nil, err
		}
		v.Ports = nftPorts(p.(lab.Ports))
	}
	return v, nil
}

func nftPorts(p lab.Ports) firewall.Ports {
	return firewall.Ports{First: uint16(p.First), Last: uint16(p.Last)}
}

// matchParams say for which packets a rule is.
func matchParams(more ...Param) []Param {
	return append(more,
		keyword("src", tFirewallAddrs, "", "where from"), keyword("dst", tFirewallAddrs, "", "where to"),
		keyword("proto", tWords, "", "\"tcp\", \"udp\", \"icmp\" … or several"),
		keyword("icmp_type", tWords, "", "types in nft's words, like \"echo-request\"; of icmp, or of icmpv6 where the rule is for IPv6"),
		keyword("sport", tFirewallPorts, "", "the source port"), keyword("dport", tFirewallPorts, "", "the destination port"),
		keyword("iif", tWord, "", "the link that the packet came in by, also by its name, which may end with *"),
		keyword("oif", tWord, "", "the link that it leaves by"),
		keyword("state", tWords, "", "of the connection: \"new\", \"established,related\", \"invalid\", \"untracked\""),
		keyword("mark", tUint32, "", "the packet's mark"),
		keyword("family", tFamily, "", "4 or 6; both unless given, or said by an address"),
		keyword("limit", nameType("a limit in nft's words", `"10/second"`), "", "how many packets: \"10/second\", \"over 100/minute burst 20\""),
		keyword("log", tLogPrefix, "", "write a line to the kernel's log, which begins so; the kernel logs for the machine's own namespace alone, unless net.netfilter.nf_log_all_netns of the machine is 1"),
		keyword("comment", tString, "", "is listed with the rule"))
}

func natFlags() []Param {
	return []Param{keyword("random", tBool, "False", "draw the source port"), keyword("fully_random", tBool, "False", "draw it with more randomness"),
		keyword("persistent", tBool, "False", "the same address for each connection of a client")}
}

func firewallMethodSpecs() []*Spec {
	hook := keyword("hook", tHook, "\"input\"", "for which packets: to the namespace, forwarded, or sent by it")
	ruleSpec := func(name, doc, like, example string, def firewall.Hook, params []Param) *Spec {
		return &Spec{Name: "firewall." + name, Family: familyFirewall, Returns: "firewall_rule: ns chain expr packets bytes comment", Doc: doc, Like: like,
			Params: params, Example: example, Fn: func(c *Call) (starlark.Value, error) { return c.addRule(name, def) }}
	}
	nat := routed + "fw = firewall(r)\n"
	return []*Spec{
		ruleSpec("accept", "Adds a rule that lets packets pass.", "nft add rule inet nsscript input … counter accept",
			twoHosts+"fw = firewall(b, input=\"drop\")\nr = fw.accept(icmp_type=\"echo-request\")\nexpect.reachable(a, b)\nexpect.eq((r.packets, r.bytes), (1, 84))", firewall.Input, matchParams(hook)),
		ruleSpec("drop", "Adds a rule that drops packets without an answer.", "nft add rule inet nsscript input … counter drop",
			twoHosts+"r = firewall(b).drop(src=a)\nexpect.unreachable(a, b, hold=\"100ms\")\nexpect.gt(r.packets, 0)\ndelete(r)\nexpect.reachable(a, b)", firewall.Input, matchParams(hook)),
		ruleSpec("reject", "Adds a rule that drops packets and says so to the sender: by an error of ICMP, or by a reset.", "nft add rule inet nsscript input … counter reject",
			twoHosts+"fw = firewall(b)\nfw.reject(proto=\"tcp\", dport=80, answer=\"tcp reset\")\nfw.reject(icmp_type=\"echo-request\", answer=\"admin-prohibited\")\n"+
				"expect.contains(tcp(a, \"10.0.0.2:80\").error, \"refused\")\nexpect.contains(ping(a, b).error, \"prohibited\")", firewall.Input,
			append(matchParams(hook), keyword("answer", tString, "\"port-unreachable\"", "\"port-unreachable\", \"host-unreachable\", \"no-route\", \"admin-prohibited\" or \"tcp reset\""))),
		ruleSpec("masquerade", "Adds a rule that gives packets that leave the source address of the link that they leave by (NAPT, RFC 2663); answers are translated back.",
			"nft add rule inet nsscript postrouting … counter masquerade",
			nat+"fw.masquerade(oif=r[\"eth1\"])\ntcp_server(b, 80, reply=lambda req: req.remote)\nexpect.matches(tcp(a, \"10.0.2.2:80\", send=\"hi\").reply, \"10.0.2.1:\")", firewall.Postrouting,
			append(matchParams(keyword("ports", tPorts, "", "the ports to choose the source port from")), natFlags()...)),
		ruleSpec("snat", "Adds a rule that gives packets that leave another source address.", "nft add rule inet nsscript postrouting … counter snat ip to ADDRESS",
			nat+"fw.snat(\"10.0.2.1\", src=\"10.0.1.0/24\")\nexpect.reachable(a, b)", firewall.Postrouting,
			append(matchParams(required("to", tTranslation, "the address, or a range of them, with or without ports")), natFlags()...)),
		ruleSpec("dnat", "Adds a rule that gives packets another destination: of those that come in, or with hook=\"output\" of those that the namespace sends.",
			"nft add rule inet nsscript prerouting … counter dnat ip to ADDRESS",
			nat+"route(b, \"default\", via=\"10.0.2.1\")\nfw.dnat(proto=\"tcp\", dport=8080, to=\"10.0.2.2:80\")\ntcp_server(b, 80, reply=\"b\")\nexpect.eq(tcp(a, \"10.0.1.1:8080\", send=\"hi\").reply, \"b\")", firewall.Prerouting,
			append(matchParams(required("to", tTranslation, "the address, or a range of them, with or without ports"),
				keyword("hook", tNATHook, "\"prerouting\"", "for which packets")), natFlags()...)),
		ruleSpec("redirect", "Adds a rule that leads packets to the namespace itself, to another port with to=.", "nft add rule inet nsscript prerouting … counter redirect to :PORT",
			nat+"fw.redirect(proto=\"tcp\", dport=80, to=8080)\ntcp_server(r, 8080, reply=\"r\")\nexpect.eq(tcp(a, \"10.0.2.2:80\", send=\"hi\").reply, \"r\")", firewall.Prerouting,
			append(matchParams(keyword("to", tPorts, "", "the port or a range; that of the packet unless given"),
				keyword("hook", tNATHook, "\"prerouting\"", "for which packets")), natFlags()...)),
		natTypeSpec(nat),
		{Name: "firewall.batch", Family: familyFirewall, Like: "nft -f FILE",
			Doc:    "Calls a function, and installs the rules that it adds to this firewall in one transaction: all of them, or none when it fails.",
			Params: []Param{required("fn", tCallable, "what adds the rules")},
			Example: twoHosts + "fw = firewall(b)\ndef closed():\n    for port in range(1000, 1050):\n        fw.drop(proto=\"tcp\", dport=port)\n" +
				"fw.batch(closed)\nexpect.eq(len(fw.rules), 50)",
			Fn: func(c *Call) (starlark.Value, error) { return nil, c.batch() }},
	}
}

// firewallMethod are the Specs of firewallMethods, in that order.
var firewallMethod = sync.OnceValue(firewallMethodSpecs)

// firewallRule is the rule that a call asks for.
func (c *Call) firewallRule(name string, def firewall.Hook) (firewall.Rule, error) {
	r := firewall.Rule{Hook: def, Protocols: get[[]string](c, "proto", nil), ICMPTypes: get[[]string](c, "icmp_type", nil),
		Src: all[firewall.Range](c, "src"), Dst: all[firewall.Range](c, "dst"), States: get[[]string](c, "state", nil),
		Limit: get(c, "limit", ""), Comment: get(c, "comment", ""), Verdict: firewall.Verdict{Name: name}}
	for _, p := range all[lab.Ports](c, "sport") {
		r.Sport = append(r.Sport, nftPorts(p))
	}
	for _, p := range all[lab.Ports](c, "dport") {
		r.Dport = append(r.Dport, nftPorts(p))
	}
	if mark := pointer[int](c, "mark"); mark != nil {
		m := uint32(*mark)
		r.Mark = &m
	}
	if prefix := pointer[string](c, "log"); prefix != nil {
		r.Log, r.Prefix = true, *prefix
	}
	switch get(c, "family", 0) {
	case unix.AF_INET:
		r.Family = 4
	case unix.AF_INET6:
		r.Family = 6
	}
	var err error
	if r.IIf, err = c.word("iif", c.self.fw.NS); err != nil {
		return r, err
	}
	r.OIf, err = c.word("oif", c.self.fw.NS)
	c.fill(&r)
	return r, err
}

// fill sets what one kind of rule has and others have not.
func (c *Call) fill(r *firewall.Rule) {
	has := func(name string) bool { return c.index(name) >= 0 && c.Given(name) }
	if has("hook") {
		r.Hook = firewall.Hook(get(c, "hook", ""))
	}
	v := &r.Verdict
	switch v.Name {
	case "reject":
		v.With = get(c, "answer", "")
	case "snat", "dnat":
		to := get(c, "to", firewall.Verdict{})
		v.To, v.Ports = to.To, to.Ports
	case "masquerade":
		v.Ports = nftPorts(get(c, "ports", lab.Ports{}))
	case "redirect":
		v.Ports = nftPorts(get(c, "to", lab.Ports{}))
	}
	if c.index("random") >= 0 {
		v.Random, v.FullyRandom, v.Persistent = get(c, "random", false), get(c, "fully_random", false), get(c, "persistent", false)
	}
}

// batchKey is where a thread keeps the batch that its calls are of.
const batchKey = "nsscript.batch"

// batch are the rules of a firewall that are to be installed together.
type batch struct {
	fw    *lab.Firewall
	rules []*lab.FirewallRule
}

func (c *Call) addRule(name string, def firewall.Hook) (starlark.Value, error) {
	r, err := c.firewallRule(name, def)
	if err != nil {
		return nil, err
	}
	made, err := c.self.fw.NewRule(r)
	if err != nil {
		return nil, lab.Usage("", "%s: %v", c.spec.Name, err)
	}
	if b, ok := c.Thread.Local(batchKey).(*batch); ok && b.fw == c.self.fw {
		b.rules = append(b.rules, made)
		return &FirewallRule{made, c.Env}, nil
	}
	return &FirewallRule{made, c.Env}, c.self.fw.Add(c.Ctx, made)
}

func (c *Call) batch() error {
	if _, inside := c.Thread.Local(batchKey).(*batch); inside {
		return lab.Usage("", "firewall.batch: it is called inside of another batch")
	}
	b := &batch{fw: c.self.fw}
	c.Thread.SetLocal(batchKey, b)
	_, err := starlark.Call(c.Thread, get[starlark.Callable](c, "fn", nil), nil, nil)
	c.Thread.SetLocal(batchKey, nil)
	if err != nil || len(b.rules) == 0 {
		return err
	}
	return b.fw.Add(c.Ctx, b.rules...)
}
