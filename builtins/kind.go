package builtins

import (
	"fmt"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// kindPage is what the builtin of a kind of link says of it; its options are the
// kind's own (lab.Kind).
type kindPage struct {
	kind, doc, example string
}

var kindPages = []kindPage{
	{"bridge", "Makes a bridge (IEEE 802.1D), a switch whose ports are the links that have it as master.",
		"sw = netns(\"sw\")\nbr0 = bridge(\"br0\", ns=sw, forward_delay=\"4s\", up=True)\n" +
			"veth(\"p1\", \"eth0\", master=br0, peer_ns=root, up=True)\nexpect.eq([p.name for p in br0.ports], [\"p1\"])\nexpect.eq(br0.forward_delay, 4.0)"},
	{"dummy", "Makes a link that drops what is sent on it: a place for addresses and routes.",
		"d = dummy(\"dummy0\", addr=\"192.0.2.1/32\", up=True)\nexpect.reachable(root, \"192.0.2.1\")\nexpect.eq(d.kind, \"dummy\")"},
	{"ifb", "Makes an intermediate functional block: packets that are redirected to it pass its qdisc.",
		"i = ifb(\"ifb0\", up=True)\nexpect.eq(i.kind, \"ifb\")"},
	{"vlan", "Makes a link whose frames carry a VLAN tag (IEEE 802.1Q) on the parent. It is born beside the parent, or in ns.",
		"a, b = netns(\"a\"), netns(\"b\")\nla, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, up=True)\n" +
			"v = vlan(\"eth0.10\", parent=la, id=10, addr=\"10.0.10.1/24\", up=True)\n" +
			"vlan(\"eth0.10\", parent=lb, id=10, addr=\"10.0.10.2/24\", up=True)\nexpect.reachable(a, \"10.0.10.2\")\nexpect.eq((v.id, v.parent), (10, la))"},
	{"macvlan", "Makes a link with a MAC address of its own on the parent, as if it were plugged in beside it.",
		"a, b = netns(\"a\"), netns(\"b\")\np, q = veth(\"p\", \"q\", up=True)\n" +
			"macvlan(\"eth0\", parent=p, ns=a, mode=\"bridge\", addr=\"10.0.0.1/24\", up=True)\n" +
			"m = macvlan(\"eth0\", parent=p, ns=b, mode=\"bridge\", addr=\"10.0.0.2/24\", up=True)\nexpect.reachable(a, \"10.0.0.2\")\nexpect.eq(m.mode, \"bridge\")"},
	{"ipvlan", "Makes a link that shares the parent's MAC address and has IP addresses of its own.",
		"a, b = netns(\"a\"), netns(\"b\")\np, q = veth(\"p\", \"q\", up=True)\n" +
			"i = ipvlan(\"eth0\", parent=p, ns=a, mode=\"l2\", addr=\"10.0.0.1/24\", up=True)\n" +
			"ipvlan(\"eth0\", parent=p, ns=b, mode=\"l2\", addr=\"10.0.0.2/24\", up=True)\nexpect.reachable(a, \"10.0.0.2\")\nexpect.eq((i.mode, i.mac), (\"l2\", p.mac))"},
	{"vxlan", "Makes a link whose frames are carried by UDP (RFC 7348) to where the forwarding table, remote or group says.",
		"a, b = netns(\"a\"), netns(\"b\")\nla, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"vx = vxlan(\"vx0\", ns=a, id=42, remote=\"10.0.0.2\", dstport=4789, addr=\"192.168.0.1/24\", up=True)\n" +
			"vxlan(\"vx0\", ns=b, id=42, remote=\"10.0.0.1\", dstport=4789, addr=\"192.168.0.2/24\", up=True)\n" +
			"expect.reachable(a, \"192.168.0.2\")\nexpect.eq((vx.id, vx.remote, vx.dstport), (42, \"10.0.0.2\", 4789))"},
	{"vrf", "Makes a VRF, a set of links (its ports) whose packets are routed by a table of their own.",
		"red = vrf(\"red\", table=10, up=True)\na, b = veth(\"a\", \"b\", master=red, addr=\"10.0.0.1/24\", up=True)\n" +
			"expect.eq((red.table, a.master), (10, red))\nexpect.eq([r.dst for r in routes(root, table=10, family=4) if r.type == \"unicast\"], [\"10.0.0.0/24\"])"},
}

// specs is the builtin of a kind of link, a family of its own: a lab has few kinds.
func (page *kindPage) specs() []*Spec { return []*Spec{page.spec(lab.KindOf(page.kind))} }

func (page *kindPage) spec(k *lab.Kind) *Spec {
	params := []Param{optional("name", tLinkName, "", "the next free one of its kind unless given")}
	var mandatory, options []Param
	where := "root"
	switch k.Lower {
	case lab.MayHaveDev:
		where = "the dev's, or root"
		options = append(options, keyword("dev", tLink, "", "the link that carries its packets"))
	case lab.NeedsLower:
		where = "the parent's"
		mandatory = append(mandatory, Param{Name: "parent", Type: tLink, Required: true, KeywordOnly: true, Doc: "the link that it is on top of"})
	}
	for _, o := range k.Options {
		p := Param{Name: o.Name, Type: optionType(o), Required: o.Required, KeywordOnly: true, Doc: o.Doc}
		if o.Required {
			mandatory = append(mandatory, p)
		} else {
			options = append(options, p)
		}
	}
	params = append(append(params, mandatory...), keyword("ns", tNetnsRef, where, "where it is born"))
	if k.Name == "bridge" {
		params = append(params, keyword("ports", listOf(tLink, "a list of links"), "", "links that become its ports"))
	}
	return &Spec{
		Name: k.Name, Family: familyLinks, Returns: "link", Like: "ip link add NAME type " + k.Name,
		Doc:     page.doc + " It is down unless up=True. Options read back as attributes, times in seconds.",
		Params:  append(append(params, linkParams()...), options...),
		Example: page.example,
		Fn:      func(c *Call) (starlark.Value, error) { return c.newLink(k) },
	}
}

// optionType is what a script gives for an option.
func optionType(o *lab.Option) *Type {
	switch v := o.Value.(type) {
	case lab.Number:
		return intType("a whole number", "", int64(v.Min), int64(v.Max))
	case lab.Time:
		return tUnitDuration
	case lab.Word:
		return wordOf(v.Words)
	case lab.Addr:
		return tPlainAddress
	case lab.Hops:
		return tHopsOf
	case lab.PortRange:
		return tPorts
	case lab.OtherLink:
		return tMaster
	}
	return tBool
}

// tPlainAddress is an address that is none of a namespace's or link's.
var tPlainAddress = &Type{Name: "an IP address", Good: `"10.0.0.2"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	a, err := tAddress.Convert(c, v)
	if err != nil {
		return nil, err
	}
	if ip := a.(Address).ip; ip.IsValid() {
		return ip, nil
	}
	return nil, errType
}}

// tHopsOf is a time to live or type of service, or "inherit".
var tHopsOf = &Type{Name: `a number from 0 to 255, or "inherit"`, Good: "64", Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok && s == "inherit" {
		return s, nil
	}
	return tByte.Convert(c, v)
}}

// wordOf is one of some words.
func wordOf(words []string) *Type {
	return &Type{Name: "one of " + strings.Join(words, ", "), Good: fmt.Sprintf("%q", words[0]), Convert: func(_ *Call, v starlark.Value) (any, error) {
		if s, ok := starlark.AsString(v); ok {
			return s, nil
		}
		return nil, errType
	}}
}

func (c *Call) newLink(k *lab.Kind) (starlark.Value, error) {
	s := c.linkSpec("")
	s.Name, s.NS = get(c, "name", ""), get[*lab.Namespace](c, "ns", nil)
	var lower *lab.Link
	switch {
	case k.Lower == lab.NeedsLower:
		lower = get[*lab.Link](c, "parent", nil)
	case k.Lower == lab.MayHaveDev && c.Given("dev"):
		lower = get[*lab.Link](c, "dev", nil)
	case s.Master != nil && s.NS == nil:
		s.NS = s.Master.NS()
	}
	var options []lab.Chosen
	for _, o := range k.Options {
		if c.Given(o.Name) {
			options = append(options, lab.Chosen{Option: o, Given: c.values[c.at(o.Name)]})
		}
	}
	made, err := c.Env.Lab.AddLink(c.Ctx, k, s, lower, options)
	if err != nil {
		return nil, err
	}
	if k.Name == "bridge" {
		for _, p := range get[[]any](c, "ports", nil) {
			if err := p.(*lab.Link).Set(c.Ctx, lab.LinkChange{Master: made}); err != nil {
				_ = made.Delete(c.Ctx)
				return nil, err
			}
		}
	}
	return &Link{made, c.Env}, nil
}
