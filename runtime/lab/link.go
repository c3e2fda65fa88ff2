package lab

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"net"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
)

// Link is the handle of a network interface. It follows the lab's own moves and
// renames; what it shows is asked of the kernel each time.
type Link struct {
	ns    *Namespace
	index int
	name  string
	mac   net.HardwareAddr // as last seen: tells the link from one that took its place
	peer  *Link            // a veth's other end, where it is known
	gone  string           // how it was deleted, or ""
	made  bool             // by this lab
	kind  string           // as last seen; "" before
	runs  int              // how many programs had run then
	tun   *tunFile         // the other end, where the lab has it
	noARP bool             // as last seen: it resolves no addresses, as many tunnels
	// queued are the qdiscs and classes that the lab has given it, by handle.
	queued  map[uint32]tcNode
	filters []*tcNode
	loss    uint32 // the share that nftables drops in place of netem, of 2³²-1
}

// Name is the link's name as the lab knows it, without asking the kernel.
func (k *Link) Name() string { return k.name }

// NS is the namespace that the link is in.
func (k *Link) NS() *Namespace { return k.ns }

// Index is the link's ifindex.
func (k *Link) Index() int { return k.index }

func (k *Link) String() string { return k.name + where(k.ns) }

// In refuses a link that is not in a namespace, under a name for what it is
// there: its index and its name would mean another link, or none.
func (k *Link) In(ns *Namespace, role string) error {
	if err := k.check(); err != nil {
		return err
	}
	if k.ns != ns {
		return Usage("", "%s %s is not in %s", role, k, ns)
	}
	return nil
}

// bury marks the handle as one of a link that is no more.
func (k *Link) bury(how string) {
	if k.gone == "" {
		k.gone = how
	}
	_ = k.LetGo()
}

// handle returns the one handle of a link of this namespace.
func (ns *Namespace) handle(index int, name string) *Link {
	if k := ns.links[index]; k != nil && k.gone == "" {
		k.name = name
		return k
	}
	if ns.links == nil {
		ns.links = map[int]*Link{}
	}
	k := &Link{ns: ns, index: index, name: name}
	ns.links[index] = k
	return k
}

func (ns *Namespace) forget(k *Link) {
	if ns.links[k.index] == k {
		delete(ns.links, k.index)
	}
}

// getLink starts a request for one link, by index or by name.
func getLink(index int, name string) *nl.NetlinkRequest {
	r := request(unix.RTM_GETLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	r.AddData(msg)
	if name != "" {
		kind := unix.IFLA_IFNAME
		if len(name) > maxLinkName {
			kind = unix.IFLA_ALT_IFNAME
		}
		r.AddData(nl.NewRtAttr(kind, nl.ZeroTerminated(name)))
	}
	return r
}

// Info asks the kernel for the link.
func (k *Link) Info() (*LinkInfo, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	body, err := k.ns.conn.get(getLink(k.index, ""))
	if errors.Is(err, unix.ENODEV) {
		return nil, k.lost()
	}
	if err != nil {
		return nil, kernelError(err, "", "read link %s", k)
	}
	info := parseLink(body)
	if k.kind != "" && !k.same(info) {
		return nil, k.replaced(info)
	}
	k.kind, k.runs = info.Kind, k.ns.lab.runs
	k.name, k.mac, k.noARP = info.Name, info.MAC, info.Flags&unix.IFF_NOARP != 0
	info.resolve(k.ns)
	if len(body) > unix.SizeofIfInfomsg {
		info.all = body[unix.SizeofIfInfomsg:]
	}
	return info, nil
}

// resolve puts the handles of links in place of their indexes in the options.
func (i *LinkInfo) resolve(ns *Namespace) {
	for name, v := range i.Options {
		index, ok := v.(linkIndex)
		if !ok {
			continue
		}
		if other := ns.linkAt(int(index)); other != nil {
			i.Options[name] = other
		} else {
			delete(i.Options, name)
		}
	}
}

// check refuses a link that the script has deleted.
func (k *Link) check() error {
	if err := k.ns.check(); err != nil {
		return &Error{Op: fmt.Sprintf("link %s was %s", k.name, deletedWith(k)), Kind: KindGone}
	}
	if k.gone != "" {
		return &Error{Op: fmt.Sprintf("link %s was %s", k.name, k.gone), Kind: KindGone}
	}
	return k.look()
}

// look looks once after each program that has run whether the link is still the
// one that it was: where a program deletes a link and makes another, that may get
// the same index.
func (k *Link) look() error {
	if k.kind == "" || k.runs == k.ns.lab.runs {
		return nil
	}
	k.runs = k.ns.lab.runs
	_, err := k.Info()
	return err
}

// same tells whether what the kernel shows under the link's index can be the link:
// of its kind and, a veth, with the same other end or the same MAC. (Another program
// may have changed the MAC, or moved the other end.)
func (k *Link) same(info *LinkInfo) bool {
	if info.Kind != k.kind {
		return false
	}
	return k.peer == nil || info.Parent == k.peer.index || bytes.Equal(info.MAC, k.mac)
}

// replaced says that another link has the link's index.
func (k *Link) replaced(info *LinkInfo) error {
	e := &Error{Kind: KindGone, Hint: fmt.Sprintf("take that one: %s[%q]", k.ns, info.Name),
		Op: fmt.Sprintf("link %s is no longer there: another program made a link of kind %s, %s, in its place", k, info.Kind, info.Name)}
	k.bury("replaced by another program")
	k.ns.forget(k)
	return e
}

func deletedWith(k *Link) string {
	if k.gone != "" {
		return k.gone
	}
	return k.ns.gone
}

// lost says what became of a link that the kernel no longer finds where the
// lab left it.
func (k *Link) lost() error {
	e := &Error{Kind: KindGone, Err: unix.ENODEV}
	switch {
	case k.peer != nil && k.peer.gone != "":
		e.Op = fmt.Sprintf("link %s went with its other end, which was %s", k, k.peer.gone)
	case k.peer != nil && k.peer.ns.gone != "":
		e.Op = fmt.Sprintf("link %s went with its other end, which was %s", k, k.peer.ns.gone)
	default:
		e.Op = fmt.Sprintf("link %s is no longer there: another program deleted it or moved it away", k)
		if ns := k.foundIn(); ns != nil {
			e.Op = fmt.Sprintf("link %s is no longer there: another program moved it to %s", k, ns)
			e.Hint = fmt.Sprintf("take it from there: %s[%q]", ns, k.name)
		} else if other, err := k.ns.Link(k.name); err == nil && other != nil && other != k {
			e.Op = fmt.Sprintf("link %s is no longer there: another program put another one of that name in its place", k)
			e.Hint = fmt.Sprintf("take that: %s[%q]", k.ns, k.name)
		}
	}
	return e
}

// foundIn looks for a lost link, by name and MAC address, in the other
// namespaces of the lab.
func (k *Link) foundIn() *Namespace {
	for _, ns := range k.ns.lab.all() {
		if ns == k.ns {
			continue
		}
		body, err := ns.conn.get(getLink(0, k.name))
		if err == nil && k.mac != nil && parseLink(body).MAC.String() == k.mac.String() {
			return ns
		}
	}
	return nil
}

// Links lists the namespace's links in the order of their indexes.
func (ns *Namespace) Links() ([]*Link, []*LinkInfo, error) {
	if err := ns.check(); err != nil {
		return nil, nil, err
	}
	var infos []*LinkInfo
	err := ns.conn.dump(func() *nl.NetlinkRequest {
		r := request(unix.RTM_GETLINK, 0)
		r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
		return r
	}, func() { infos = nil }, func(body []byte) error {
		infos = append(infos, parseLink(body))
		return nil
	})
	if err != nil {
		return nil, nil, kernelError(err, "", "list links%s", where(ns))
	}
	links := make([]*Link, len(infos))
	for n, info := range infos {
		links[n] = ns.handle(info.Index, info.Name)
		links[n].mac = info.MAC
		info.resolve(ns)
	}
	return links, infos, nil
}

// Link finds a link by its name or alternative name; nil if there is none.
func (ns *Namespace) Link(name string) (*Link, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if name == "lo" && ns.bornWithLoopback() {
		k := ns.handle(loopback, name)
		k.mac = make(net.HardwareAddr, 6)
		return k, nil
	}
	body, err := ns.conn.get(getLink(0, name))
	if errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ERANGE) || errors.Is(err, unix.EINVAL) {
		return nil, nil
	}
	if err != nil {
		return nil, kernelError(err, "", "find link %s%s", name, where(ns))
	}
	info := parseLink(body)
	k := ns.handle(info.Index, info.Name)
	k.mac = info.MAC
	return k, nil
}

// loopback is the index of each namespace's first link (LOOPBACK_IFINDEX of
// include/net/flow.h), which cannot be deleted or moved.
const loopback = 1

// bornWithLoopback tells, without asking the kernel, that lo is called so: nobody
// has renamed it.
func (ns *Namespace) bornWithLoopback() bool {
	k := ns.links[loopback]
	return (ns.made || ns.root) && ns.lab.alone() && (k == nil || k.name == "lo")
}

// alone tells whether nobody else can have changed the links of the lab.
func (l *Lab) alone() bool { return l.runs == 0 && !l.options.Host }

// linkAt returns the handle for an ifindex that a route or neighbour names, or
// nil for 0 and for one that is gone meanwhile.
func (ns *Namespace) linkAt(index int) *Link {
	if index == 0 {
		return nil
	}
	if k := ns.links[index]; k != nil && k.gone == "" {
		return k
	}
	body, err := ns.conn.get(getLink(index, ""))
	if err != nil {
		return nil
	}
	info := parseLink(body)
	return ns.handle(info.Index, info.Name)
}

// Peer returns a veth's other end, or nil: what is no veth has none, and one
// whose other end is in no namespace of this lab has none that can be reached.
func (k *Link) Peer() (*Link, error) {
	if k.peer != nil && k.peer.gone == "" && k.peer.ns.gone == "" {
		return k.peer, nil
	}
	info, err := k.Info()
	if err != nil || info.Kind != "veth" || info.Parent == 0 {
		return nil, err
	}
	ns := k.ns
	if info.ParentNS >= 0 {
		if ns = k.ns.byNetnsID(info.ParentNS); ns == nil {
			return nil, nil
		}
	}
	if k.peer = ns.linkAt(info.Parent); k.peer != nil {
		k.peer.peer = k
	}
	return k.peer, nil
}

// byNetnsID finds the lab's namespace that has an id in this one
// (RTM_GETNSID, ip-netns(8) "list-id").
func (ns *Namespace) byNetnsID(id int) *Namespace {
	for _, other := range ns.lab.all() {
		if other.check() == nil && ns.netnsID(other) == id {
			return other
		}
	}
	return nil
}

// netnsID is the id of another namespace in this one, or -1.
func (ns *Namespace) netnsID(other *Namespace) int {
	fd, err := other.openFD()
	if err != nil {
		return -1
	}
	defer unix.Close(fd)
	r := request(unix.RTM_GETNSID, 0)
	r.AddData(nl.NewRtGenMsg())
	r.AddData(nl.NewRtAttr(unix.NETNSA_FD, nl.Uint32Attr(uint32(fd))))
	body, err := ns.conn.get(r)
	if err != nil || len(body) < 4 {
		return -1
	}
	for kind, v := range attributes(body[4:]) {
		if kind == unix.NETNSA_NSID {
			return int(int32(u32(v)))
		}
	}
	return -1
}

// Master returns the bridge, bond or VRF that the link is a port of, or nil.
func (k *Link) Master() (*Link, error) {
	info, err := k.Info()
	if err != nil {
		return nil, err
	}
	return k.ns.linkAt(info.Master), nil
}

// Parent returns the lower link of a VLAN and its like, or nil: there is none, or it
// is in no namespace of this lab.
func (k *Link) Parent() (*Link, error) {
	info, err := k.Info()
	index := 0
	if err == nil {
		index = info.Parent
		if kind := KindOf(info.Kind); kind != nil && kind.lowerAttr != 0 {
			index = info.Dev // a tunnel's IFLA_LINK is itself
		}
	}
	if err != nil || info.Kind == "veth" || index == 0 {
		return nil, err
	}
	ns := k.ns
	if info.ParentNS >= 0 {
		ns = k.ns.byNetnsID(info.ParentNS)
	}
	if ns == nil {
		return nil, nil
	}
	return ns.linkAt(index), nil
}

// Ports lists the links whose master this is, and what each is like.
func (k *Link) Ports() (ports []*Link, infos []*LinkInfo, err error) {
	if err := k.check(); err != nil {
		return nil, nil, err
	}
	links, all, err := k.ns.Links()
	if err != nil {
		return nil, nil, err
	}
	for n, info := range all {
		if info.Master == k.index {
			ports, infos = append(ports, links[n]), append(infos, info)
		}
	}
	return ports, infos, nil
}

// setFlags starts a request that changes IFF_ flags of a link.
func setFlags(index int, flags, change uint32) *nl.NetlinkRequest {
	r := request(unix.RTM_NEWLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	msg.Flags, msg.Change = flags, change
	r.AddData(msg)
	return r
}

// SetUp sets the link up or down, as `ip link set L up` does.
func (k *Link) SetUp(ctx context.Context, up bool) error {
	if err := k.check(); err != nil {
		return err
	}
	if !up {
		// What the kernel does because a link came up (its IPv6 addresses) must
		// not depend on how soon afterwards it goes down.
		k.ns.lab.Settle(ctx)
	}
	var flags uint32
	word := "down"
	if up {
		flags, word = unix.IFF_UP, "up"
	}
	was := k.ns.lab.options.Host && k.isUp()
	before := k.keep()
	start := time.Now()
	err := k.ns.conn.do(setFlags(k.index, flags, unix.IFF_UP))
	k.ns.lab.emit(ctx, "link set", k.ns, start, err, arg("dev", k.name), arg(word, ""))
	if err != nil {
		return k.failed(err, "", "set %s %s", k, word)
	}
	k.ns.lab.unsettle(k)
	if was != up {
		k.ns.lab.onUndo(func(ctx context.Context) error {
			return errors.Join(k.SetUp(ctx, !up), before.restore(ctx))
		})
	}
	return nil
}

func (k *Link) isUp() bool {
	info, err := k.Info()
	return err == nil && info.Up()
}

// failed wraps the kernel's answer to an operation on the link. That it has no
// such device means that somebody took the link away.
func (k *Link) failed(err error, hint, format string, args ...any) error {
	if errors.Is(err, unix.ENODEV) {
		if _, e := k.Info(); e != nil {
			return e
		}
	}
	return kernelError(err, hint, format, args...)
}

// Delete removes the link, a veth with its other end.
func (k *Link) Delete(ctx context.Context) error {
	if err := k.check(); err != nil {
		return err
	}
	if k.ns.lab.options.Host && !k.made && !k.ns.lab.options.Force {
		return Usage("run with --force to delete it all the same", "link %s was not made by this run", k)
	}
	r := request(unix.RTM_DELLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(k.index)
	r.AddData(msg)
	start := time.Now()
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, "link delete", k.ns, start, err, arg("dev", k.name))
	if err != nil {
		return k.failed(err, "", "delete link %s", k)
	}
	if !k.made {
		k.ns.lab.cannotUndo("link delete " + k.String())
	}
	k.bury(deleted(ctx, ""))
	k.ns.forget(k)
	if k.peer != nil {
		k.peer.bury(deleted(ctx, " with its other end"))
		k.peer.ns.forget(k.peer)
	}
	return nil
}

// openFD returns a descriptor of the namespace; the caller closes it.
func (ns *Namespace) openFD() (int, error) {
	if err := ns.check(); err != nil {
		return -1, err
	}
	if ns.conn.reopen != nil {
		return ns.reach()
	}
	return netns.OfSocket(ns.conn.fd)
}

// isGone tells whether err says that the object no longer exists.
func isGone(err error) bool {
	var e *Error
	return errors.As(err, &e) && e.Kind == KindGone ||
		errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ESRCH) || errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EADDRNOTAVAIL)
}

// maxLinkName is IFNAMSIZ - 1 (include/uapi/linux/if.h).
const maxLinkName = unix.IFNAMSIZ - 1

// checkLinkName refuses what the kernel would (dev_valid_name in net/core/dev.c),
// with advice.
func checkLinkName(name string) error {
	switch {
	case len(name) > maxLinkName:
		return Usage(fmt.Sprintf("use a short name and set_link(link, altname=%q)", name),
			"link name %q has %d bytes; the kernel allows %d", name, len(name), maxLinkName)
	case name == "" || name == "." || name == ".." || strings.ContainsAny(name, "/: \t\n\v\f\r\x00"):
		return Usage(`a name has no "/", ":" or white space, like "eth0"`, "%q cannot name a link", name)
	}
	return nil
}
