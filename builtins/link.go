package builtins

import (
	"maps"
	"net"
	"slices"
	"sort"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
)

// Link is the handle of a network interface. It is live.
type Link struct {
	link *lab.Link
	env  *Env
}

// String is the link's name. Another program may have changed it, so the kernel is
// asked.
func (l *Link) String() string {
	_, _ = l.link.Info()
	return l.link.Name()
}

// Type is what type() says.
func (l *Link) Type() string { return "link" }

// Freeze does nothing: the kernel's object changes all the same.
func (l *Link) Freeze() {}

// Truth is True.
func (l *Link) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (l *Link) Hash() (uint32, error) { return hashPointer(l.link) }

// CompareSameType: one interface, one value.
func (l *Link) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, l.link == y.(*Link).link, "link")
}

var linkAttrs = []string{"name", "ns", "index", "kind", "mac", "mtu", "up", "carrier", "state", "flags", "peer",
	"master", "parent", "addrs", "alias", "altnames", "txqueuelen", "group", "numtxqueues", "numrxqueues", "addrgenmode",
	"broadcast", "gso_max_size", "gso_max_segs", "gro_max_size", "protodown", "protodown_reason", "token", "qdiscs", "stats"}

// AttrNames lists the attributes, with those of the link's kind.
func (l *Link) AttrNames() []string {
	names := append([]string(nil), linkAttrs...)
	info, err := l.link.Info()
	if err != nil {
		return names
	}
	names = append(names, bridgeAttrs(info)...)
	if info.Kind == "wireguard" {
		names = append(names, wireguardAttrs...)
	}
	if info.Kind == "macsec" {
		names = append(names, macsecAttrs...)
	}
	names = append(names, l.tunNames(info)...)
	var options []string
	for _, o := range optionsOf(info) {
		if !slices.Contains(linkAttrs, o) {
			options = append(options, o)
		}
	}
	sort.Strings(options)
	return append(names, options...)
}

// linkRefs are attributes that lead to another object.
func (l *Link) refs(name string) (starlark.Value, bool, error) {
	var other *lab.Link
	var err error
	switch name {
	case "ns":
		return l.env.namespace(l.link.NS()), true, nil
	case "peer":
		other, err = l.link.Peer()
	case "master":
		other, err = l.link.Master()
	case "parent":
		other, err = l.link.Parent()
	case "dev":
		if info, e := l.link.Info(); e != nil || !hasDev(info.Kind) {
			return nil, e != nil, e
		}
		other, err = l.link.Parent()
	default:
		return nil, false, nil
	}
	return l.env.link(other), true, err
}

// link wraps a link; nil is None.
func (env *Env) link(k *lab.Link) starlark.Value {
	if k == nil {
		return starlark.None
	}
	return &Link{k, env}
}

// Attr asks the kernel.
func (l *Link) Attr(name string) (starlark.Value, error) {
	if v, known, err := l.refs(name); known {
		return v, err
	}
	if name == "maddrs" { // not among AttrNames: ns.maddrs has those of all links by one reading
		return l.env.memberships(l.link.NS(), l.link)
	}
	if name == "addrs" {
		if _, err := l.link.Info(); err != nil {
			return nil, err
		}
		addrs, err := l.link.NS().Addrs(l.link)
		if err != nil {
			return nil, err
		}
		return l.env.addrRows(nil, addrs)
	}
	if name == "qdiscs" {
		qdiscs, err := l.link.Qdiscs()
		return recordRows(l.env, qdiscs, l.env.qdisc), err
	}
	if name == "classes" { // not among AttrNames, since few links have some
		classes, err := l.link.Classes()
		return recordRows(l.env, classes, l.env.qdisc), err
	}
	if name == "filters" { // the same
		filters, err := l.link.Filters()
		return recordRows(l.env, filters, l.env.filter), err
	}
	if name == "state" || name == "flags" || name == "carrier" {
		l.env.Lab.Settle(l.env.Ctx) // after up(), the kernel needs a moment
	}
	info, err := l.link.Info()
	if err != nil {
		return nil, err
	}
	if info.Kind == "wireguard" && slices.Contains(wireguardAttrs, name) {
		return l.wireguard(name)
	}
	if info.Kind == "macsec" && slices.Contains(macsecAttrs, name) {
		return l.macsec(name)
	}
	if slices.Contains(bridgeAttrs(info), name) {
		return l.bridged(name, info)
	}
	if v := l.tunAttr(name, info); v != nil {
		return v, nil
	}
	return l.plain(name, info), nil
}

// plain are the attributes that are values; nil for one that there is not.
func (l *Link) plain(name string, info *lab.LinkInfo) starlark.Value {
	switch name {
	case "name":
		return starlark.String(info.Name)
	case "index":
		return starlark.MakeInt(info.Index)
	case "kind":
		return text(info.Kind)
	case "mac":
		return text(info.Address())
	case "mtu":
		return starlark.MakeInt(info.MTU)
	case "up":
		return starlark.Bool(info.Up())
	case "carrier":
		return starlark.Bool(info.Carrier && info.Up())
	case "state":
		return starlark.String(info.State)
	case "flags":
		return strs(info.FlagNames())
	case "alias":
		return text(info.Alias)
	case "altnames":
		return strs(info.AltNames)
	case "txqueuelen":
		return starlark.MakeInt(info.TxQLen)
	case "group":
		return starlark.MakeInt(info.Group)
	case "numtxqueues":
		return starlark.MakeInt(info.Queues)
	case "numrxqueues":
		return starlark.MakeInt(info.RxQueues)
	case "addrgenmode", "broadcast", "gso_max_size", "gso_max_segs", "gro_max_size", "protodown", "protodown_reason", "token":
		if v := l.env.optionValue(info.Common()[name]); v != nil {
			return v
		}
		return starlark.None
	case "stats":
		return statsRecord(info)
	}
	return l.option(name, info)
}

// option is the value of an option of the link's kind; None for one that is not
// set, nil for one that there is not.
func (l *Link) option(name string, info *lab.LinkInfo) starlark.Value {
	value := info.Options[name]
	if value == nil {
		value = info.PortOptions[name]
	}
	if v := l.env.optionValue(value); v != nil {
		return v
	}
	if slices.Contains(optionsOf(info), name) {
		return starlark.None
	}
	return nil
}

// optionValue is the value of an option as scripts have it; nil for none.
func (env *Env) optionValue(value any) starlark.Value {
	switch v := value.(type) {
	case bool:
		return starlark.Bool(v)
	case int:
		return starlark.MakeInt(v)
	case float64:
		return starlark.Float(v)
	case string:
		return starlark.String(v)
	case []string:
		return strs(v)
	case *lab.Link:
		return env.link(v)
	case map[int]bool:
		d := starlark.NewDict(len(v))
		for _, n := range slices.Sorted(maps.Keys(v)) {
			_ = d.SetKey(starlark.MakeInt(n), starlark.Bool(v[n]))
		}
		return d
	case map[int]int:
		d := starlark.NewDict(len(v))
		for _, from := range slices.Sorted(maps.Keys(v)) {
			_ = d.SetKey(starlark.MakeInt(from), starlark.MakeInt(v[from]))
		}
		return d
	}
	return nil
}

// optionsOf are the names of the options of the link's kind that can be read, and of
// those of the port that it is.
func optionsOf(info *lab.LinkInfo) (names []string) {
	if k := lab.KindOf(info.Kind); k != nil {
		for _, o := range k.Options {
			if !o.Change {
				names = append(names, o.Name)
			}
		}
	}
	for name := range info.PortOptions {
		names = append(names, name)
	}
	return names
}

// hasDev tells whether links of a kind may have a link that carries their packets.
func hasDev(kind string) bool {
	k := lab.KindOf(kind)
	return k != nil && k.Lower == lab.MayHaveDev
}

// statsRecord has every counter that the kernel has.
func statsRecord(info *lab.LinkInfo) *Record {
	var fields []field
	for i, n := range info.Stats {
		fields = append(fields, field{lab.StatNames[i], starlark.MakeUint64(n)})
	}
	fields = append(fields, field{"carrier_changes", starlark.MakeInt(info.CarrierChanges)})
	words := make([]string, len(fields))
	for i, f := range fields {
		words[i] = f.name + "=" + f.value.String()
	}
	return record("stats", strings.Join(words, " "), nil, fields...)
}

// MarshalJSON is the link with all its attributes.
func (l *Link) MarshalJSON() ([]byte, error) { return marshalLive(l) }

// linkRows are links as `ip -br link` prints them.
func (env *Env) linkRows(links []*lab.Link, infos []*lab.LinkInfo) *starlark.List {
	var items []starlark.Value
	var cells [][]string
	for i, k := range links {
		items = append(items, &Link{k, env})
		cells = append(cells, infos[i].Brief(shownName(k, infos[i])))
	}
	return env.rows(items, cells)
}

// shownName is the name with what is behind the "@", as `ip` prints it.
func shownName(k *lab.Link, info *lab.LinkInfo) string {
	switch {
	case info.Parent == 0:
		return info.Name
	case info.ParentNS >= 0:
		return info.Name + "@if" + itoa(info.Parent)
	}
	if peer, err := k.Peer(); err == nil && peer != nil {
		return info.Name + "@" + peer.Name()
	}
	if parent, err := k.Parent(); err == nil && parent != nil {
		return info.Name + "@" + parent.Name()
	}
	return info.Name
}

const familyLinks = "Links"

// linkParams are what every link constructor takes, after its own.
func linkParams() []Param {
	return append([]Param{
		keyword("mtu", tMTU, "", "in bytes; the kind's default unless given"),
		keyword("mac", tMAC, "", "drawn from --seed unless given"),
		keyword("txqueuelen", tUint32, "", "in packets"),
		keyword("master", tLink, "", "the bridge, bond or VRF to be a port of"),
		keyword("addr", tPrefixes, "", "an address or a list of them"),
		keyword("up", tBool, "False", "set it up"),
		keyword("numtxqueues", tQueues, "", "how many transmit queues it has"),
		keyword("numrxqueues", tQueues, "", "how many receive queues it has"),
		keyword("exist", tBool, "False", "take the one of that name that is there, if it has these properties"),
	}, changeParams()...)
}

// tQueues is a number of queues (rtnl_create_link of the kernel).
var tQueues = intType("a number of queues", "4", 1, 4096)

// changeParams are what set_link and, for after the birth, the constructors take.
func changeParams() []Param {
	params := []Param{
		keyword("alias", tString, "", "a text for people; \"\" removes it"),
		keyword("altname", tString, "", "another name, up to 127 bytes"),
		keyword("group", tUint32, "", "the number of a group of links"),
		keyword("promisc", tBool, "", "receive all frames"),
		keyword("arp", tBool, "", "resolve addresses"),
		keyword("multicast", tBool, "", "carry multicast"),
		keyword("allmulticast", tBool, "", "receive all groups"),
	}
	for _, k := range lab.CommonKinds() {
		for _, o := range k.Options {
			params = append(params, keyword(o.Name, optionType(o), "", o.Doc))
		}
	}
	return params
}

// change reads what changeParams declares; what a kind calls otherwise is not there.
func (c *Call) change() lab.LinkChange {
	change := lab.LinkChange{
		Alias: pointer[string](c, "alias"), AltName: pointer[string](c, "altname"), Promisc: pointer[bool](c, "promisc"),
		ARP: pointer[bool](c, "arp"), Multicast: pointer[bool](c, "multicast"), AllMulti: pointer[bool](c, "allmulticast"),
	}
	if i := c.index("group"); i >= 0 {
		if n, ok := c.values[i].(int); ok {
			change.Group = &n
		}
	}
	for _, k := range lab.CommonKinds() {
		for _, o := range k.Options {
			if c.Given(o.Name) {
				change.Add(k, lab.Chosen{Option: o, Given: c.values[c.at(o.Name)]})
			}
		}
	}
	return change
}

// linkSpec reads the options that linkParams declares; prefix is "" or "peer_".
func (c *Call) linkSpec(prefix string) lab.LinkSpec {
	s := lab.LinkSpec{
		MTU: get(c, "mtu", 0), TxQLen: get(c, "txqueuelen", -1),
		Master: get[*lab.Link](c, prefix+"master", nil), Up: get(c, "up", false),
		More: c.change(),
	}
	if c.index("exist") >= 0 { // not every kind has it
		s.Exist = get(c, "exist", false)
	}
	if c.index("numtxqueues") >= 0 { // tap and tun have none
		s.TxQueues, s.RxQueues = get(c, "numtxqueues", 0), get(c, "numrxqueues", 0)
	}
	if prefix != "" {
		s.More.AltName = nil // one name is of one link
	}
	if c.index(prefix+"mac") >= 0 { // not every kind has one
		s.MAC = get[net.HardwareAddr](c, prefix+"mac", nil)
	}
	for _, p := range get[[]any](c, prefix+"addr", nil) {
		s.Addrs = append(s.Addrs, plainAddr(p))
	}
	return s
}

func linkSpecs() []*Spec {
	return []*Spec{
		{
			Name: "veth", Family: familyLinks, Returns: "(link, link)", Like: "ip link add NAME type veth peer name PEER",
			Doc: "Makes a pair of virtual Ethernet interfaces, a cable (veth(4)): what is sent into one end comes out of the other. " +
				"Each end is born in its namespace; peer_ns is ns unless given. Both are down unless up=True. " +
				"Properties without peer_ are those of both ends, but for altname. A name that is left out is the next free eth0, eth1 … of the namespace.",
			Params: append(append([]Param{
				optional("name", tLinkName, "", "the first end's name"),
				optional("peer", tLinkName, "", "the other end's name"),
				keyword("ns", tNetnsRef, "root", "where the first end is born"),
				keyword("peer_ns", tNetnsRef, "ns", "where the other end is born"),
			}, linkParams()...),
				keyword("peer_mac", tMAC, "", "the other end's MAC address"),
				keyword("peer_master", tLink, "", "the bridge that the other end is a port of"),
				keyword("peer_addr", tPrefixes, "", "the other end's address or a list of them")),
			Example: "a, b = netns(\"a\"), netns(\"b\")\n" +
				"l, r = veth(\"l\", \"r\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
				"expect.eq(l.peer, r)\nexpect.reachable(a, \"10.0.0.2\")",
			Fn: func(c *Call) (starlark.Value, error) {
				a, b := c.linkSpec(""), c.linkSpec("peer_")
				a.Name, b.Name = get(c, "name", ""), get(c, "peer", "")
				a.NS = get(c, "ns", c.Env.Lab.Root)
				if a.Master != nil && !c.Given("ns") {
					a.NS = a.Master.NS()
				}
				b.NS = get(c, "peer_ns", a.NS)
				if b.Master != nil && !c.Given("peer_ns") {
					b.NS = b.Master.NS()
				}
				ka, kb, err := c.Env.Lab.AddVeth(c.Ctx, a, b)
				if err != nil {
					return nil, err
				}
				return starlark.Tuple{&Link{ka, c.Env}, &Link{kb, c.Env}}, nil
			},
		},
		{
			Name: "move", Family: familyLinks, Like: "ip link set LINK netns NS",
			Doc: "Puts a link into another namespace: a handle, a name, or the pid of a process in it (1 is the root namespace). " +
				"The kernel sets the link down and takes its addresses off. Moving takes the kernel 19 ms; a link that is born where it belongs costs a fortieth.",
			Params:  []Param{required("link", tLink, "what to move"), required("ns", tNetnsRef, "where to")},
			Example: "blue = netns(\"blue\")\na, b = veth(\"a\", \"b\")\nmove(b, blue)\nexpect(\"b\" in blue and \"b\" not in root)\nmove(b, 1)\nexpect.eq(b.ns, root)",
			Fn: func(c *Call) (starlark.Value, error) {
				return nil, get[*lab.Link](c, "link", nil).Move(c.Ctx, get[*lab.Namespace](c, "ns", nil))
			},
		},
		{
			Name: "up", Family: familyLinks, Like: "ip link set LINK up",
			Doc: "Sets links up. The next probe, program or check first lets them settle, " +
				"so that a packet that is sent right afterwards is not lost.",
			Params:  []Param{some("links", tLink, "what to set up")},
			Example: "blue = netns(\"blue\")\nup(blue[\"lo\"])\nexpect.reachable(blue, \"127.0.0.1\")",
			Fn:      func(c *Call) (starlark.Value, error) { return nil, c.setUp() },
		},
		{
			Name: "down", Family: familyLinks, Like: "ip link set LINK down",
			Returns: "fault: kind what active undo()",
			Doc:     "Sets links down. undo() of what it returns sets up those that were up, with the addresses and routes that the kernel took away.",
			Params:  []Param{some("links", tLink, "what to set down")},
			Example: "a, b = veth(\"a\", \"b\", addr=\"10.0.0.1/24\", up=True)\nroute(root, \"192.0.2.0/24\", via=\"10.0.0.2\")\nup(b)\nf = down(a)\nexpect.eq(b.carrier, False)\n" +
				"f.undo()\nexpect.eq([r.dst for r in root.routes if r.via], [\"192.0.2.0/24\"])",
			Fn: func(c *Call) (starlark.Value, error) {
				f, err := c.Env.Lab.SetDown(c.Ctx, all[*lab.Link](c, "links"))
				return c.Env.fault(f), err
			},
		},
		{
			Name: "rename", Family: familyLinks, Like: "ip link set LINK name NAME",
			Doc:     "Gives a link another name; the handle follows.",
			Params:  []Param{required("link", tLink, "what to rename"), required("name", tLinkName, "the new name")},
			Example: "a, b = veth(\"a\", \"b\")\nrename(a, \"uplink\")\nexpect.eq(a.name, \"uplink\")",
			Fn: func(c *Call) (starlark.Value, error) {
				return nil, get[*lab.Link](c, "link", nil).Rename(c.Ctx, get(c, "name", ""))
			},
		},
		{
			Name: "set_link", Family: familyLinks, Like: "ip link set LINK …",
			Doc: "Changes properties of links, also the options of their kind, by the names that the constructor has (set_link(br0, stp=True)), " +
				"and of a bond's port queue_id and prio. What is not given stays. master=False takes a port off its master.",
			Params: append(append([]Param{
				variadic("links", tLink, "what to change"),
				keyword("mtu", tMTU, "", "in bytes"),
				keyword("mac", tMAC, "", "the MAC address"),
				keyword("master", tMaster, "", "the bridge, bond or VRF to be a port of, or False"),
				keyword("txqueuelen", tUint32, "", "in packets"),
			}, changeParams()...), Param{Name: "options", Type: tAny, Keywords: true, Doc: "options of the links' kind"}),
			Example: "br0 = bridge(\"br0\")\nset_link(br0, ageing_time=\"60s\", mtu=1400)\nexpect.eq((br0.ageing_time, br0.mtu), (60.0, 1400))\n" +
				"a, b = veth(\"a\", \"b\")\nset_link(a, mtu=1400, alias=\"to the left\", altname=\"the-long-name-of-a\")\n" +
				"expect.eq((a.mtu, a.alias, a.altnames), (1400, \"to the left\", [\"the-long-name-of-a\"]))",
			Fn: setLink,
		},
	}
}

// tMaster is a link, or False for none.
var tMaster = &Type{Name: "a link, or False", Convert: func(c *Call, v starlark.Value) (any, error) {
	if v == starlark.False {
		return (*lab.Link)(nil), nil
	}
	return tLink.Convert(c, v)
}}

func setLink(c *Call) (starlark.Value, error) {
	change := c.change()
	change.MTU, change.MAC, change.TxQLen = pointer[int](c, "mtu"), get[net.HardwareAddr](c, "mac", nil), pointer[int](c, "txqueuelen")
	change.Master = get[*lab.Link](c, "master", nil)
	change.NoMaster = c.Given("master") && change.Master == nil
	change.Options = slices.Clip(change.Options) // each link adds its own
	links := all[*lab.Link](c, "links")
	changes := make([]lab.LinkChange, len(links))
	for i, k := range links {
		changes[i] = change
		if err := c.kindOptions(k, &changes[i]); err != nil {
			return nil, err
		}
	}
	for i, k := range links {
		if err := k.Set(c.Ctx, changes[i]); err != nil {
			return nil, err
		}
	}
	return nil, nil
}

// kindOptions finds what options mean for a link.
func (c *Call) kindOptions(k *lab.Link, change *lab.LinkChange) error {
	options := get[[]starlark.Tuple](c, "options", nil)
	if options == nil {
		return nil
	}
	own, port, err := k.Kinds()
	if err != nil {
		return err
	}
	for _, kv := range options {
		name := string(kv[0].(starlark.String))
		of, option := own, own.Option(name)
		if option == nil {
			of, option = port, port.Option(name)
		}
		if option == nil {
			return c.noOption(k, name, own)
		}
		value, err := c.convert(Param{Name: name, Type: optionType(option)}, name, kv[1])
		if err != nil {
			return err
		}
		change.Add(of, lab.Chosen{Option: option, Given: value})
	}
	return nil
}

// noOption says that a link has no such option.
func (c *Call) noOption(k *lab.Link, name string, own *lab.Kind) error {
	var names []string
	for _, p := range c.spec.Params {
		names = append(names, p.Name)
	}
	if own == nil {
		return lab.Usage(c.hint(name, names), "set_link has no parameter %s", name)
	}
	for _, o := range own.Options {
		names = append(names, o.Name)
	}
	return lab.Usage(c.hint(name, names), "%s is a %s, which has no option %s", k, own.Name, name)
}

// hint proposes the name that was probably meant.
func (c *Call) hint(name string, names []string) string {
	if near := lab.Nearest(name, names); near != "" {
		return "did you mean " + near + "=?"
	}
	return c.spec.Signature()
}

func (c *Call) setUp() error {
	for _, k := range all[*lab.Link](c, "links") {
		if err := k.SetUp(c.Ctx, true); err != nil {
			return err
		}
	}
	return nil
}
