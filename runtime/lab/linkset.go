package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// LinkChange is what `ip link set` changes; nil leaves a thing as it is.
type LinkChange struct {
	MTU       *int
	MAC       net.HardwareAddr
	Alias     *string // "" removes it
	AltName   *string // is added
	Master    *Link
	NoMaster  bool
	TxQLen    *int
	Group     *int
	Promisc   *bool
	ARP       *bool
	Multicast *bool
	AllMulti  *bool
	Options   []KindChange
}

// KindChange are options of a kind of link, or of the port that it is, to change.
type KindChange struct {
	Kind    *Kind
	Options []Chosen
}

// Add adds an option of a kind.
func (c *LinkChange) Add(kind *Kind, o Chosen) {
	for i := range c.Options {
		if c.Options[i].Kind.Name == kind.Name {
			c.Options[i].Options = append(c.Options[i].Options, o)
			return
		}
	}
	c.Options = append(c.Options, KindChange{kind, []Chosen{o}})
}

func setMaster(index, master int) *nl.NetlinkRequest {
	r := setFlags(index, 0, 0)
	r.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(master))))
	return r
}

// linkSwitch is a switch of `ip link set`, a flag of the link or its opposite.
type linkSwitch struct {
	name  string
	value *bool
	bit   uint32
	not   bool
}

func (c *LinkChange) switches() []linkSwitch {
	return []linkSwitch{
		{"promisc", c.Promisc, unix.IFF_PROMISC, false},
		{"arp", c.ARP, unix.IFF_NOARP, true},
		{"multicast", c.Multicast, unix.IFF_MULTICAST, false},
		{"allmulticast", c.AllMulti, unix.IFF_ALLMULTI, false},
	}
}

// flagBits are the switches as flags, and in `ip`'s words.
func (c *LinkChange) flagBits() (flags, change uint32, args []event.Arg) {
	for _, f := range c.switches() {
		if f.value == nil {
			continue
		}
		change |= f.bit
		if *f.value != f.not {
			flags |= f.bit
		}
		args = append(args, arg(f.name, onOff(*f.value)))
	}
	return flags, change, args
}

func onOff(on bool) string {
	if on {
		return "on"
	}
	return "off"
}

// request builds the message for a change, and what it says in `ip`'s words. An
// alternative name is a message of its own.
func (c *LinkChange) request(index int) (r *nl.NetlinkRequest, args []event.Arg) {
	flags, change, args := c.flagBits()
	r = setFlags(index, flags, change)
	add := func(kind int, data []byte, key, value string) {
		r.AddData(nl.NewRtAttr(kind, data))
		args = append(args, arg(key, value))
	}
	if c.MTU != nil {
		add(unix.IFLA_MTU, nl.Uint32Attr(uint32(*c.MTU)), "mtu", strconv.Itoa(*c.MTU))
	}
	if c.MAC != nil {
		add(unix.IFLA_ADDRESS, c.MAC, "address", c.MAC.String())
	}
	if c.Alias != nil {
		add(unix.IFLA_IFALIAS, []byte(*c.Alias), "alias", *c.Alias)
	}
	if c.TxQLen != nil {
		add(unix.IFLA_TXQLEN, nl.Uint32Attr(uint32(*c.TxQLen)), "txqueuelen", strconv.Itoa(*c.TxQLen))
	}
	if c.Group != nil {
		add(unix.IFLA_GROUP, nl.Uint32Attr(uint32(*c.Group)), "group", strconv.Itoa(*c.Group))
	}
	if c.Master != nil {
		add(unix.IFLA_MASTER, nl.Uint32Attr(uint32(c.Master.index)), "master", c.Master.name)
	} else if c.NoMaster {
		add(unix.IFLA_MASTER, nl.Uint32Attr(0), "nomaster", "")
	}
	return r, args
}

// setAltName adds an alternative name (`ip link property add`), or takes it away.
func (k *Link) setAltName(ctx context.Context, name string, add bool) error {
	kind, flags, op := uint16(unix.RTM_DELLINKPROP), uint16(0), "link property del"
	if add {
		kind, flags, op = unix.RTM_NEWLINKPROP, unix.NLM_F_CREATE|unix.NLM_F_EXCL|unix.NLM_F_APPEND, "link property add"
	}
	r := request(int(kind), int(flags))
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(k.index)
	r.AddData(msg)
	list := nl.NewRtAttr(unix.IFLA_PROP_LIST|unix.NLA_F_NESTED, nil)
	list.AddRtAttr(unix.IFLA_ALT_IFNAME, nl.ZeroTerminated(name))
	r.AddData(list)
	start := time.Now()
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, op, k.ns, start, err, arg("dev", k.name), arg("altname", name))
	return err
}

// check refuses what the kernel would take to its harm, or would refuse without
// saying which property it means.
func (c *LinkChange) check(k *Link) error {
	if c.Alias != nil && len(*c.Alias) > maxAlias {
		return Usage("", "set %s: alias= has %d bytes; the kernel allows %d", k, len(*c.Alias), maxAlias)
	}
	if c.AltName != nil {
		if err := checkAltName(*c.AltName); err != nil {
			return err
		}
	}
	if c.MAC != nil {
		if err := checkMAC(c.MAC, "set "+k.String()); err != nil {
			return err
		}
	}
	if c.Master == nil {
		return nil
	}
	if err := c.Master.check(); err != nil {
		return err
	}
	if c.Master.ns != k.ns {
		return Usage("a port is in its bridge's namespace", "link %s cannot be a port of %s", k, c.Master)
	}
	return nil
}

// maxAlias is IFALIASZ - 1, maxAltName ALTIFNAMSIZ - 1 (include/uapi/linux/if.h).
const (
	maxAlias   = 255
	maxAltName = 127
)

// checkAltName holds alternative names to what `ip` takes: the kernel would make
// also one that `ip` cannot name.
func checkAltName(name string) error {
	switch {
	case len(name) > maxAltName:
		return Usage("", "altname= has %d bytes; the kernel allows %d", len(name), maxAltName)
	case name == "" || strings.ContainsAny(name, "/ \t\n\v\f\r\x00"):
		return Usage(`an alternative name has no "/" or white space, like "uplink-to-the-provider"`, "altname=%q cannot name a link", name)
	}
	return nil
}

// checkMAC refuses what the kernel does (is_valid_ether_addr).
func checkMAC(mac net.HardwareAddr, op string) error {
	if len(mac) == 6 && (mac[0]&1 != 0 || mac.String() == "00:00:00:00:00:00") {
		return Usage(`a good one is "02:00:00:00:00:01"`, "%s: mac=%s is not a unicast MAC address", op, mac)
	}
	return nil
}

// Set changes properties of the link, as `ip link set` does, all or none.
func (k *Link) Set(ctx context.Context, c LinkChange) error {
	if err := k.check(); err != nil {
		return err
	}
	if err := c.check(k); err != nil {
		return err
	}
	before := k.beforeSet(&c)
	if err := k.set(ctx, &c); err != nil {
		_ = before.restore(ctx)
		c.unsettle(k)
		return k.setError(err, &c)
	}
	if err := k.setKinds(ctx, c.Options); err != nil {
		_ = before.restore(ctx)
		c.unsettle(k)
		return err
	}
	c.unsettle(k)
	k.ns.lab.onUndo(func(ctx context.Context) error {
		err := before.restore(ctx)
		if c.AltName != nil {
			err = errors.Join(err, k.setAltName(ctx, *c.AltName, false))
		}
		return err
	})
	return nil
}

// setKinds changes options of the link's kind and of the port that it is.
func (k *Link) setKinds(ctx context.Context, changes []KindChange) error {
	var backs []undo
	for _, o := range changes {
		back, err := k.setOptions(ctx, o.Kind, o.Options)
		if err != nil {
			for _, u := range slices.Backward(backs) {
				_ = u(ctx)
			}
			return err
		}
		backs = append(backs, back)
	}
	if k.isForeign() {
		for _, u := range backs {
			k.ns.lab.onUndo(u)
		}
	}
	return nil
}

// unsettle notes that a port has to begin to forward, and that another MTU may
// make the kernel give the link its IPv6 address again.
func (c *LinkChange) unsettle(k *Link) {
	if c.Master != nil || c.NoMaster || c.MTU != nil {
		k.ns.lab.unsettle(k)
	}
	if c.Master != nil {
		k.ns.lab.unsettle(c.Master) // its carrier follows its ports'
	}
}

// set makes the change: an alternative name by a message of its own, so that it
// goes first and is easily taken back.
func (k *Link) set(ctx context.Context, c *LinkChange) error {
	if c.AltName != nil {
		if err := k.setAltName(ctx, *c.AltName, true); err != nil {
			return err
		}
	}
	r, args := c.request(k.index)
	if len(args) == 0 {
		return nil
	}
	start := time.Now()
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, "link set", k.ns, start, err, append([]event.Arg{arg("dev", k.name)}, args...)...)
	if err != nil && c.AltName != nil {
		_ = k.setAltName(ctx, *c.AltName, false)
	}
	return err
}

// linkBefore is what a change of properties changes and what the kernel takes
// away with it.
type linkBefore struct {
	link     *Link
	change   *LinkChange
	info     *LinkInfo // nil where nothing needs to be set back
	port     keptPort
	lost     kept
	settings *lostSettings
}

// beforeSet reads what is needed to set a change back: on the machine when it is
// undone, in a private lab when it fails. The kernel changes one property after
// the other and leaves off at the first that fails, so a single one needs nothing.
func (k *Link) beforeSet(c *LinkChange) linkBefore {
	b := linkBefore{link: k, change: c}
	foreign := k.isForeign()
	if _, args := c.request(k.index); !foreign && len(args)+len(c.Options) < 2 {
		return b
	}
	if b.info, _ = k.Info(); b.info == nil {
		return b
	}
	shrinks := c.MTU != nil && *c.MTU < minMTU6 && b.info.MTU >= minMTU6
	if shrinks {
		b.settings = k.keepLinkSettings()
	}
	if foreign || shrinks {
		b.lost = k.keepAlways()
	}
	if c.Master != nil || c.NoMaster {
		b.port = k.keepPort()
	}
	return b
}

// minMTU6 is the least MTU of IPv6 (RFC 8200): below it the kernel takes away all
// that the link has of it (addrconf_notify in net/ipv6/addrconf.c).
const minMTU6 = 1280

// restore sets back what is not as it was.
func (b linkBefore) restore(ctx context.Context) error {
	if b.info == nil {
		return nil
	}
	k := b.link
	now, err := k.Info()
	if err != nil {
		return err
	}
	o := b.change.opposite(k, b.info, now)
	return errors.Join(k.set(ctx, &o), b.port.restore(ctx), b.settings.restore(ctx), b.lost.restore(ctx))
}

func (k *Link) setError(err error, c *LinkChange) error {
	hint := ""
	if c.MTU != nil {
		hint = mtuHint(err, *c.MTU)
	}
	if c.Master != nil && errors.Is(err, unix.EOPNOTSUPP) {
		hint = noMaster(c.Master)
	}
	if c.AltName != nil && errors.Is(err, unix.EEXIST) {
		return k.failed(err, "use another name", "set altname %s of %s: there is a link of that name", *c.AltName, k)
	}
	if c.Master != nil && hint == "" {
		return k.failed(err, k.notPort(err), "set %s, to be a port of %s", k, c.Master)
	}
	return k.failed(err, hint, "set %s", k)
}

// notPort explains why a link cannot be a port (br_add_if in
// net/bridge/br_if.c).
func (k *Link) notPort(err error) string {
	info, e := k.Info()
	switch {
	case errors.Is(err, unix.ELOOP):
		return "a bridge cannot be a port of another bridge"
	case e == nil && errors.Is(err, unix.EINVAL) && info.Kind == "loopback":
		return "a port is an Ethernet link; " + k.name + " is none"
	case e == nil && errors.Is(err, unix.EPERM) && info.Up():
		return "a bond takes only links that are down, and sets them up: down(link) first"
	}
	return ""
}

// noMaster explains that a link cannot have ports; "" when it can.
func noMaster(k *Link) string {
	info, err := k.Info()
	if err != nil || slices.Contains([]string{"bridge", "bond", "vrf"}, info.Kind) {
		return ""
	}
	kind := info.Kind
	if kind == "" {
		kind = "device"
	}
	return fmt.Sprintf("%s is a %s; only a bridge, bond or VRF has ports", k, kind)
}

// opposite is the change that restores what before says, where now differs from
// it, but for an alternative name.
func (c *LinkChange) opposite(k *Link, before, now *LinkInfo) LinkChange {
	var o LinkChange
	if c.MTU != nil && before.MTU != now.MTU {
		o.MTU = &before.MTU
	}
	if c.MAC != nil && before.MAC.String() != now.MAC.String() {
		o.MAC = before.MAC
	}
	if c.Alias != nil && before.Alias != now.Alias {
		o.Alias = &before.Alias
	}
	if c.TxQLen != nil && before.TxQLen != now.TxQLen {
		o.TxQLen = &before.TxQLen
	}
	if c.Group != nil && before.Group != now.Group {
		o.Group = &before.Group
	}
	if (c.Master != nil || c.NoMaster) && before.Master != now.Master {
		o.Master = k.ns.linkAt(before.Master)
		o.NoMaster = o.Master == nil
	}
	flag := func(changed *bool, bit uint32, not bool) *bool {
		if changed == nil || (before.Flags^now.Flags)&bit == 0 {
			return nil
		}
		was := before.Flags&bit != 0 != not
		return &was
	}
	o.Promisc = flag(c.Promisc, unix.IFF_PROMISC, false)
	o.ARP = flag(c.ARP, unix.IFF_NOARP, true)
	o.Multicast = flag(c.Multicast, unix.IFF_MULTICAST, false)
	o.AllMulti = flag(c.AllMulti, unix.IFF_ALLMULTI, false)
	return o
}

// Rename gives the link another name, as `ip link set L name NEW` does. Kernels
// before 6.2 refuse that (EBUSY) while the link is up; it is not set down behind
// the script's back, since that would cost it its routes.
func (k *Link) Rename(ctx context.Context, name string) error {
	if err := k.check(); err != nil {
		return err
	}
	if err := checkLinkName(name); err != nil {
		return err
	}
	old := k.name
	r := setFlags(k.index, 0, 0)
	r.AddData(nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(name)))
	start := time.Now()
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, "link set", k.ns, start, err, arg("dev", old), arg("name", name))
	switch {
	case errors.Is(err, unix.EBUSY):
		return k.failed(err, "this kernel renames only links that are down: down(link) first", "rename %s to %s", k, name)
	case errors.Is(err, unix.EEXIST):
		return k.failed(err, "use another name", "rename %s to %s: there is a link of that name", k, name)
	case err != nil:
		return k.failed(err, "", "rename %s to %s", k, name)
	}
	k.name = name
	k.ns.lab.onUndo(func(ctx context.Context) error { return k.Rename(ctx, old) })
	return nil
}
