package builtins

import (
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// bridgeAttrs are the attributes that a link has as a bridge or as a port of one,
// or because it has a forwarding database of its own.
func bridgeAttrs(info *lab.LinkInfo) []string {
	switch {
	case info.Kind == "bridge":
		return []string{"ports", "vlans", "global_vlans", "fdb", "mdb"}
	case info.PortState != "":
		names := []string{"bridge_port", "vlans", "fdb"}
		if info.Kind == "vxlan" {
			names = append(names, "vnis")
		}
		return names
	case info.Kind == "vxlan":
		return []string{"fdb", "vnis"}
	case info.Kind == "macvlan":
		return []string{"fdb"}
	case hasPorts(info.Kind):
		return []string{"ports"}
	}
	return nil
}

// bridged reads such an attribute.
func (l *Link) bridged(name string, info *lab.LinkInfo) (starlark.Value, error) {
	switch name {
	case "ports":
		ports, infos, err := l.link.Ports()
		return l.env.linkRows(ports, infos), err
	case "bridge_port":
		return l.env.bridgePort(l.link)
	case "vlans":
		read := l.link.VLANs
		if info.Kind == "bridge" {
			read = l.link.BridgeVLANs
		}
		vlans, err := read()
		return recordRows(l.env, vlans, l.env.vlan), err
	case "global_vlans":
		vlans, err := l.link.VLANGlobals()
		return recordRows(l.env, vlans, l.env.vlanGlobal), err
	case "vnis":
		vnis, err := l.link.VNIs()
		return recordRows(l.env, vnis, l.env.vni), err
	case "fdb":
		entries, err := l.link.FDB()
		return recordRows(l.env, entries, l.env.fdbEntry), err
	}
	entries, err := l.link.MDB()
	return recordRows(l.env, entries, l.env.mdbEntry), err
}

// recordRows is a list of kernel objects that prints a line for each.
func recordRows[T any](env *Env, objects []T, as func(T) *Record) *starlark.List {
	var items []starlark.Value
	for _, o := range objects {
		items = append(items, as(o))
	}
	return env.lineRows(items)
}

// bridgePort is a port's options; None for a link that is no port of a bridge.
func (env *Env) bridgePort(k *lab.Link) (starlark.Value, error) {
	values, err := k.PortValues()
	if err != nil || values == nil {
		return starlark.None, err
	}
	var fields []field
	var words []string
	for _, o := range lab.PortOptions {
		if o.Change {
			continue
		}
		v := starlark.Value(starlark.None)
		if plain := env.optionValue(values[o.Name]); plain != nil {
			v = plain
		}
		fields = append(fields, field{o.Name, v})
		if v != starlark.None {
			words = append(words, o.Name+" "+word(v))
		}
	}
	return record("bridge_port", strings.Join(words, " "), nil, fields...), nil
}

func (env *Env) vlan(v *lab.VLAN) *Record {
	return record("vlan", v.String(), v,
		field{"port", env.link(v.Port)}, field{"vid", starlark.MakeInt(v.ID)}, field{"pvid", starlark.Bool(v.PVID)},
		field{"untagged", starlark.Bool(v.Untagged)}, field{"tunnel_id", number(v.TunnelID)}, field{"state", text(v.State)},
		field{"mcast_router", starlark.MakeInt(v.MCastRouter)})
}

func (env *Env) fdbEntry(e *lab.FDBEntry) *Record {
	segment := func(n int) starlark.Value {
		if n < 0 {
			return starlark.None
		}
		return starlark.MakeInt(n)
	}
	return record("fdb", e.String(), e,
		field{"mac", starlark.String(e.MAC.String())}, field{"port", env.link(e.Link)}, field{"vlan", number(e.VLAN)},
		field{"dst", addrText(e.Dst)}, field{"state", text(e.State)}, field{"master", starlark.Bool(e.Master)},
		field{"dstport", number(e.DstPort)}, field{"vni", segment(e.VNI)}, field{"src_vni", segment(e.SrcVNI)},
		field{"via", env.link(e.Via)}, field{"nhid", number(e.NHID)}, field{"sticky", starlark.Bool(e.Sticky)},
		field{"extern_learn", starlark.Bool(e.ExternLearn)}, field{"router", starlark.Bool(e.Router)})
}

func (env *Env) mdbEntry(e *lab.MDBEntry) *Record {
	group := e.MAC.String()
	if e.Group.IsValid() {
		group = e.Group.String()
	}
	timer := starlark.Value(starlark.None)
	if !e.Permanent {
		timer = seconds(e.Timer)
	}
	return record("mdb", e.String(), e,
		field{"group", starlark.String(group)}, field{"port", env.link(e.Port)}, field{"bridge", env.link(e.Bridge)},
		field{"src", addrText(e.Source)}, field{"vlan", number(e.VLAN)}, field{"permanent", starlark.Bool(e.Permanent)}, field{"timer", timer})
}

// vids are a VLAN or a range of them, and tunnel ids alike.
type vids struct{ first, last int }

// rangeType is a whole number within bounds, or a range of them as a string.
func rangeType(what, good string, least, most int) *Type {
	return &Type{Name: what, Good: good, Range: &[2]int64{int64(least), int64(most)}, Convert: func(_ *Call, v starlark.Value) (any, error) {
		text, isText := starlark.AsString(v)
		if _, isInt := v.(starlark.Int); isInt {
			text = v.String()
		} else if !isText {
			return nil, errType
		}
		first, last, ranged := strings.Cut(text, "-")
		if !ranged || !isText {
			first, last = text, text
		}
		a, err1 := strconv.Atoi(first)
		b, err2 := strconv.Atoi(last)
		switch {
		case err1 != nil || err2 != nil:
			return nil, fmt.Errorf("%q is no number or range of numbers", text)
		case a < least || a > most || b < least || b > most:
			return nil, fmt.Errorf("%s is out of range: it is from %d to %d", text, least, most)
		case b < a:
			return nil, fmt.Errorf("%q ends before it begins", text)
		}
		return vids{a, b}, nil
	}}
}

var (
	tVIDs    = rangeType("a VLAN, or a range of them", `"10-20"`, 1, 4094)
	tVID     = intType("a VLAN", "10", 1, 4094)
	tVNI     = intType("a segment (VNI)", "42", 0, 1<<24-1)
	tUDPPort = intType("a port", "4789", 1, 65535)
	tTunnel  = intType("a tunnel id", "10", 1, 1<<24-1)
	tRouter  = intType("a number", "2", 0, 3)
)

// tAnyMAC is any MAC address, also of a group and of none.
var tAnyMAC = &Type{Name: "a MAC address", Good: `"02:00:00:00:00:01"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%q is no MAC address", s)
	}
	return mac, nil
}}

// tGroup is a multicast group: an address (netip.Addr), or a MAC address.
var tGroup = &Type{Name: "a multicast group", Good: `"239.1.1.1"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		if mac, err := net.ParseMAC(s); err == nil && len(mac) == 6 {
			if mac[0]&1 == 0 {
				return nil, fmt.Errorf("%s is the address of one link, not of a group", s)
			}
			return mac, nil
		}
	}
	ip, err := tPlainAddress.Convert(c, v)
	if err != nil {
		return nil, err
	}
	if !ip.(netip.Addr).IsMulticast() {
		return nil, fmt.Errorf("%s is no multicast group", ip)
	}
	return ip, nil
}}

func bridgeSpecs() []*Spec {
	var portParams []Param
	for _, o := range lab.PortOptions {
		portParams = append(portParams, keyword(o.Name, optionType(o), "", o.Doc))
	}
	exist := keyword("exist", tBool, "False", "take one that is there and equal; that it differs is an error")
	return []*Spec{
		{
			Name: "bridge_port", Family: familyLinks, Like: "ip link set PORT type bridge_slave …",
			Doc:    "Changes options of a bridge's ports. What is not given stays. They read back as the fields of port.bridge_port.",
			Params: append([]Param{variadic("ports", tLink, "which")}, portParams...),
			Example: "a, p = veth(\"a\", \"p\", up=True)\nbridge(\"br0\", ports=[p], up=True)\n" +
				"bridge_port(p, learning=False, isolated=True, cost=7)\n" +
				"expect.eq((p.bridge_port.learning, p.bridge_port.isolated, p.bridge_port.cost), (False, True, 7))",
			Fn: setBridgePort,
		},
		{
			Name: "bridge_vlan", Family: familyLinks, Returns: "vlan, or a list of them for a range", Like: "bridge vlan add vid VLAN dev PORT",
			Doc: "Makes a port of a bridge, or the bridge itself, a member of a VLAN or of a range of them (IEEE 802.1Q); of one that it is a member of " +
				"it changes the flags. Only a bridge with vlan_filtering=True obeys them, and each new port is a member of VLAN 1. " +
				"port.vlans are those of a port, br.vlans those of a bridge and its ports.",
			Params: []Param{
				required("link", tLink, "a port, or a bridge"), required("vid", tVIDs, "1 to 4094, or a range like \"10-20\""),
				keyword("pvid", tBool, "False", "what comes in untagged is of this VLAN"), keyword("untagged", tBool, "False", "its frames go out untagged"),
				keyword("tunnel_id", tTunnel, "", "the tunnel's segment that it is on a port with vlan_tunnel=True; of a range, that of the first"),
				keyword("state", wordOf(lab.PortStates()), "", "the port's state in this VLAN: disabled, listening, learning, forwarding or blocking"),
				keyword("mcast_router", tRouter, "", "see bridge_port(); for bridges with mcast_vlan_snooping"), exist,
			},
			Example: "br0 = bridge(\"br0\", vlan_filtering=True)\na, p = veth(\"a\", \"p\", peer_master=br0)\n" +
				"bridge_vlan(p, 10, pvid=True, untagged=True)\nbridge_vlan(p, \"20-22\")\nbridge_vlan(br0, 10)\n" +
				"expect.eq([v.vid for v in p.vlans], [1, 10, 20, 21, 22])\nexpect.eq([v.vid for v in p.vlans if v.pvid], [10])\n" +
				"delete(p.vlans[0])\nexpect.eq([(v.port.name, v.vid) for v in br0.vlans][-2:], [(\"p\", 21), (\"p\", 22)])",
			Fn: addVLANs,
		},
		{
			Name: "fdb", Family: familyLinks, Returns: "fdb: mac port vlan dst state master dstport vni src_vni via nhid sticky extern_learn router", Like: "bridge fdb add MAC dev LINK",
			Doc: "Makes an entry of a forwarding database: of the bridge that the link is a port of (then it says where an address is), or of the link itself " +
				"(then it says where a VXLAN sends frames to an address; 00:00:00:00:00:00 is for all that are unknown). " +
				"It is permanent, an address of the bridge itself, unless static or dynamic. br.fdb and link.fdb list entries.",
			Params: []Param{
				required("link", tLink, "a port, a bridge or a VXLAN"), required("mac", tAnyMAC, "whose frames"),
				keyword("dst", tPlainAddress, "", "the VXLAN's other end"), keyword("vlan", tVID, "", "in this VLAN only; else there is an entry for each VLAN of the port, and one without"),
				keyword("static", tBool, "False", "it stays where it is"), keyword("dynamic", tBool, "False", "it ends when nothing is heard for the ageing time"),
				keyword("permanent", tBool, "", "of the bridge itself; the default"),
				keyword("master", tBool, "", "the bridge's database (True) or the link's own (False); the bridge's unless the link is no port, or an option is of a VXLAN"),
				keyword("dstport", tUDPPort, "", "the other end's UDP port (`port` of bridge(8))"), keyword("vni", tVNI, "", "the segment there"),
				keyword("src_vni", tVNI, "", "the segment here, of a VXLAN with external=True"), keyword("via", tLink, "", "the link to send by"),
				keyword("nhid", tNexthop, "", "a nexthop object, or its id, instead of dst"), keyword("sticky", tBool, "False", "it stays where it is though it is heard elsewhere"),
				keyword("extern_learn", tBool, "False", "a program has learnt it"), keyword("use", tBool, "False", "as if it had just been heard"),
				keyword("router", tBool, "False", "it is a router"), keyword("append", tBool, "False", "one more destination"),
				keyword("replace", tBool, "False", "take the place of one that is there"), exist,
			},
			Example: "a, p = veth(\"a\", \"p\", up=True)\nbr0 = bridge(\"br0\", ports=[p], up=True)\nfdb(p, \"02:00:00:00:00:07\", static=True)\n" +
				"expect.eq([(e.port, e.state) for e in br0.fdb if e.mac == \"02:00:00:00:00:07\" and not e.vlan], [(p, \"static\")])\n" +
				"vx = vxlan(\"vx0\", id=42)\nfdb(vx, \"00:00:00:00:00:00\", dst=\"10.0.0.2\")\nfdb(vx, \"00:00:00:00:00:00\", dst=\"10.0.0.3\", append=True)\n" +
				"expect.eq([e.dst for e in vx.fdb], [\"10.0.0.2\", \"10.0.0.3\"])",
			Fn: addFDB,
		},
		{
			Name: "mdb", Family: familyLinks, Returns: "mdb: group port bridge src vlan permanent timer", Like: "bridge mdb add dev BRIDGE port PORT grp GROUP",
			Doc: "Makes an entry of a bridge's multicast database: the group is wanted on the port, or by the bridge itself. " +
				"It ends when no report comes (RFC 4541) unless permanent=True. The bridge must be up. br.mdb lists entries.",
			Params: []Param{
				required("link", tLink, "a port, or a bridge"), required("group", tGroup, "an address, or a MAC address of a group"),
				keyword("src", tPlainAddress, "", "only what this host sends"), keyword("vlan", tVID, "", "in this VLAN (`vid` of bridge(8)); else in all VLANs of the port, if the bridge obeys VLANs"),
				keyword("permanent", tBool, "False", "for ever"), exist,
			},
			Example: "a, p = veth(\"a\", \"p\", up=True)\nbr0 = bridge(\"br0\", ports=[p], up=True)\nm = mdb(p, \"239.1.1.1\", permanent=True)\n" +
				"expect.eq([(e.group, e.port) for e in br0.mdb if e.permanent], [(\"239.1.1.1\", p)])\ndelete(m)\nexpect.eq([e for e in br0.mdb if e.permanent], [])",
			Fn: addMDB,
		},
	}
}

func setBridgePort(c *Call) (starlark.Value, error) {
	var options []lab.Chosen
	for _, o := range lab.PortOptions {
		if c.Given(o.Name) {
			options = append(options, lab.Chosen{Option: o, Given: c.values[c.at(o.Name)]})
		}
	}
	for _, k := range all[*lab.Link](c, "ports") {
		if err := k.SetPort(c.Ctx, options); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

func addVLANs(c *Call) (starlark.Value, error) {
	k := get[*lab.Link](c, "link", nil)
	info, err := k.Info()
	if err != nil {
		return nil, err
	}
	v := get(c, "vid", vids{})
	made, err := k.AddVLANs(c.Ctx, lab.VLANSpec{First: v.first, Last: v.last, PVID: get(c, "pvid", false), Untagged: get(c, "untagged", false),
		Self: info.Kind == "bridge", TunnelID: get(c, "tunnel_id", 0), State: get(c, "state", ""), MCastRouter: pointer[int](c, "mcast_router"),
		Exist: get(c, "exist", false)})
	if err != nil {
		return nil, err
	}
	if len(made) == 1 && v.first == v.last {
		return c.Env.vlan(made[0]), nil
	}
	return recordRows(c.Env, made, c.Env.vlan), nil
}

func addFDB(c *Call) (starlark.Value, error) {
	k := get[*lab.Link](c, "link", nil)
	e := lab.FDBEntry{MAC: get[net.HardwareAddr](c, "mac", nil), VLAN: get(c, "vlan", 0), Dst: get(c, "dst", netip.Addr{}),
		DstPort: get(c, "dstport", 0), VNI: get(c, "vni", -1), SrcVNI: get(c, "src_vni", -1), Via: get[*lab.Link](c, "via", nil),
		NHID: get(c, "nhid", 0), Sticky: get(c, "sticky", false), ExternLearn: get(c, "extern_learn", false),
		Router: get(c, "router", false), Use: get(c, "use", false)}
	info, err := k.Info()
	if err != nil {
		return nil, err
	}
	ofVXLAN := c.Given("dst") || c.Given("dstport") || c.Given("vni") || c.Given("src_vni") || c.Given("via") || c.Given("nhid")
	e.Master = get(c, "master", !ofVXLAN && (info.PortState != "" || info.Kind == "bridge"))
	if e.State, err = c.onlyOne("permanent", "permanent", "static", "dynamic"); err != nil {
		return nil, err
	}
	verb, err := c.onlyOne("add", "append", "replace")
	if err != nil {
		return nil, err
	}
	if e.Dst.IsValid() && e.NHID != 0 {
		return nil, lab.Usage("", "fdb takes dst= or nhid=, not both")
	}
	made, err := k.AddFDB(c.Ctx, e, lab.FDBVerb(verb), get(c, "exist", false))
	if err != nil {
		return nil, err
	}
	return c.Env.fdbEntry(made), nil
}

// onlyOne is which of several truth values was given, of which at most one may be;
// def for none.
func (c *Call) onlyOne(def string, names ...string) (string, error) {
	chosen := ""
	for _, name := range names {
		if !get(c, name, false) {
			continue
		}
		if chosen != "" {
			return "", lab.Usage("leave one of them out", "%s: %s= and %s= exclude each other", c.spec.Name, chosen, name)
		}
		chosen = name
	}
	if chosen == "" {
		return def, nil
	}
	return chosen, nil
}

func addMDB(c *Call) (starlark.Value, error) {
	e := lab.MDBEntry{Source: get(c, "src", netip.Addr{}), VLAN: get(c, "vlan", 0), Permanent: get(c, "permanent", false)}
	switch group := c.values[c.at("group")].(type) {
	case netip.Addr:
		e.Group = group
	case net.HardwareAddr:
		e.MAC = group
	}
	if e.Source.IsValid() && (!e.Group.IsValid() || e.Source.Is4() != e.Group.Is4()) {
		return nil, lab.Usage("", "mdb: src: %s is not of the group's family", e.Source)
	}
	made, err := get[*lab.Link](c, "link", nil).AddMDB(c.Ctx, e, get(c, "exist", false))
	if err != nil {
		return nil, err
	}
	return c.Env.mdbEntry(made), nil
}
