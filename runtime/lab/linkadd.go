package lab

import (
	"context"
	"errors"
	"net"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// LinkSpec describes one link (or one end of a veth) to make.
type LinkSpec struct {
	NS     *Namespace       // where it is born; nil for the root
	Name   string           // empty for the next free eth0, eth1 …
	MTU    int              // bytes; 0 for the kind's default
	MAC    net.HardwareAddr // nil to draw one from the lab's seed
	TxQLen int              // packets; -1 for the kind's default
	Master *Link            // the bridge to be a port of, in the same namespace
	Addrs  []AddrSpec
	Up     bool
	// TxQueues and RxQueues are how many it has; 0 for one.
	TxQueues, RxQueues int
	// More is what is changed after the birth, before the link comes up.
	More LinkChange
	// Exist takes a link of that name that is there, if it is as asked for.
	Exist bool
	// Ports are links that become ports of it.
	Ports []*Link
	// Carrier is the namespace that carries a tunnel's packets; nil for its own.
	Carrier *Namespace

	given bool // the MAC was given, not drawn
	noMAC bool // the kind has none
}

// complete fills in what was left out and refuses what cannot be.
func (s *LinkSpec) complete(l *Lab) (auto bool, err error) {
	if s.NS == nil {
		s.NS = l.Root
	}
	if err := s.NS.check(); err != nil {
		return false, err
	}
	if s.given = s.MAC != nil; !s.given {
		if !s.noMAC {
			s.MAC = l.newMAC()
		}
	} else if err := checkMAC(s.MAC, strings.TrimSpace("make link "+s.Name)); err != nil {
		return false, err
	}
	for i, a := range s.Addrs {
		s.Addrs[i] = a.in(s.NS)
	}
	if s.Master != nil {
		if err := s.Master.check(); err != nil {
			return false, err
		}
		if s.Master.ns != s.NS {
			return false, Usage("a port is in its bridge's namespace", "master %s is not in %s", s.Master, s.NS)
		}
	}
	if s.Name == "" {
		s.Name, err = s.NS.freeLinkName("eth")
		return true, err
	}
	return false, checkLinkName(s.Name)
}

// freeLinkName returns the first of eth0, eth1 … that the namespace has not.
func (ns *Namespace) freeLinkName(prefix string) (string, error) {
	for i := 0; ; i++ {
		name := prefix + strconv.Itoa(i)
		k, err := ns.Link(name)
		if k == nil || err != nil {
			return name, err
		}
	}
}

// head adds what every RTM_NEWLINK says of a link: header, name, MAC, MTU …
func (s *LinkSpec) head(index int, up bool) (*nl.IfInfomsg, []nl.NetlinkRequestData) {
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	if up {
		msg.Flags, msg.Change = unix.IFF_UP, unix.IFF_UP
	}
	attrs := []nl.NetlinkRequestData{nl.NewRtAttr(unix.IFLA_IFNAME, nl.ZeroTerminated(s.Name))}
	if s.MAC != nil {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_ADDRESS, s.MAC))
	}
	if s.MTU != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_MTU, nl.Uint32Attr(uint32(s.MTU))))
	}
	if s.TxQLen >= 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_TXQLEN, nl.Uint32Attr(uint32(s.TxQLen))))
	}
	if s.TxQueues != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_NUM_TX_QUEUES, nl.Uint32Attr(uint32(s.TxQueues))))
	}
	if s.RxQueues != 0 {
		attrs = append(attrs, nl.NewRtAttr(unix.IFLA_NUM_RX_QUEUES, nl.Uint32Attr(uint32(s.RxQueues))))
	}
	return msg, attrs
}

// rest returns the requests that follow the birth of a link: port, up, addresses.
func (s *LinkSpec) rest(index int, born bool) []*nl.NetlinkRequest {
	var rs []*nl.NetlinkRequest
	if s.Master != nil && !born {
		rs = append(rs, setMaster(index, s.Master.index))
	}
	if s.Up && !born {
		rs = append(rs, setFlags(index, unix.IFF_UP, unix.IFF_UP))
	}
	for _, a := range s.Addrs {
		rs = append(rs, newAddr(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL, index, a))
	}
	return rs
}

// emit reports what making one end did, as separate operations of `ip`.
func (s *LinkSpec) emit(ctx context.Context, l *Lab) {
	if s.Master != nil {
		l.emit(ctx, "link set", s.NS, inOnePacket, nil, arg("dev", s.Name), arg("master", s.Master.name))
	}
	for _, a := range s.Addrs {
		l.emit(ctx, "addr add", s.NS, inOnePacket, nil, a.args(s.Name)...)
	}
	if s.Up {
		l.emit(ctx, "link set", s.NS, inOnePacket, nil, arg("dev", s.Name), arg("up", ""))
	}
}

// args are the arguments of the birth itself.
func (s *LinkSpec) args(index int) []event.Arg {
	args := []event.Arg{arg("name", s.Name), arg("index", strconv.Itoa(index))}
	if s.MAC != nil {
		args = append(args, arg("address", s.MAC.String()))
	}
	if s.given {
		args = append(args, arg("given", "address"))
	}
	if s.MTU != 0 {
		args = append(args, arg("mtu", strconv.Itoa(s.MTU)))
	}
	if s.TxQLen >= 0 {
		args = append(args, arg("txqueuelen", strconv.Itoa(s.TxQLen)))
	}
	if s.TxQueues != 0 {
		args = append(args, arg("numtxqueues", strconv.Itoa(s.TxQueues)))
	}
	if s.RxQueues != 0 {
		args = append(args, arg("numrxqueues", strconv.Itoa(s.RxQueues)))
	}
	return args
}

// newLink starts an RTM_NEWLINK that creates.
func newLink() *nl.NetlinkRequest {
	return request(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
}

// AddVeth makes a veth pair (veth(4)), each end born in its namespace: nothing
// is moved afterwards, which would cost forty times as much. Unless asked for more,
// both ends have one transmit and one receive queue, as one processor needs; `ip
// link` gives them one for each processor.
func (l *Lab) AddVeth(ctx context.Context, a, b LinkSpec) (*Link, *Link, error) {
	if a.Exist && (a.Name == "" || b.Name == "") {
		return nil, nil, Usage(`like "eth0", "eth1"`, "exist=True needs the names of both ends")
	}
	_, err := a.complete(l)
	if err != nil {
		return nil, nil, err
	}
	autoB, err := b.complete(l)
	if err != nil {
		return nil, nil, err
	}
	if autoB && a.NS == b.NS && a.Name == b.Name {
		if b.Name, err = nextName(b.NS, b.Name); err != nil {
			return nil, nil, err
		}
	}
	if ka, kb, err := existingVeth(&a, &b); err != nil || ka != nil {
		return ka, kb, err
	}
	for _, s := range []*LinkSpec{&a, &b} {
		s.TxQueues, s.RxQueues = max(s.TxQueues, 1), max(s.RxQueues, 1)
	}
	upA, upB := a.waits(), b.waits()
	ia, ib := chooseVethIndexes(a.NS, b.NS)
	start := time.Now()
	err = l.bearVeth(&a, &b, &ia, &ib)
	if err != nil && (a.withdraw(ia) || b.withdraw(ib)) {
		ia, ib = chooseVethIndexes(a.NS, b.NS)
		err = l.bearVeth(&a, &b, &ia, &ib)
	}
	if l.watched() {
		args := append([]event.Arg{arg("type", "veth")}, a.args(ia)...)
		for _, p := range b.args(ib) {
			if p.Key == "given" {
				p = arg("given", "peer "+p.Value)
			} else {
				p.Key = "peer " + p.Key
			}
			args = append(args, p)
		}
		if b.NS != a.NS {
			args = append(args, arg("peer netns", nsArg(b.NS)))
		}
		l.emit(ctx, "link add", a.NS, start, err, args...)
	}
	if err != nil {
		return nil, nil, l.vethError(err, &a, &b)
	}
	ka, kb := a.NS.adopt(ia, &a), b.NS.adopt(ib, &b)
	ka.peer, kb.peer = kb, ka
	ka.kind, kb.kind = "veth", "veth"
	ka.runs, kb.runs = l.runs, l.runs
	l.onUndo(ka.Delete)
	a.emit(ctx, l)
	b.emit(ctx, l)
	ka.resetLink(ctx)
	kb.resetLink(ctx)
	if err := ka.finish(ctx, &a, upA); err != nil {
		_ = ka.Delete(ctx)
		return nil, nil, err
	}
	if err := kb.finish(ctx, &b, upB); err != nil {
		_ = ka.Delete(ctx)
		return nil, nil, err
	}
	return ka, kb, nil
}

// chooseVethIndexes chooses different ones: a link whose lower link has the same
// index passes for one without; the kernel would take up to a second to announce its
// carrier (linkwatch_urgent_event in net/core/link_watch.c).
func chooseVethIndexes(a, b *Namespace) (ia, ib int) {
	ia, ib = a.chooseIndex(), b.chooseIndex()
	if ia == ib && ia != 0 {
		ib = b.chooseIndex()
	}
	return ia, ib
}

// nsArg names a namespace to `ip`: the root is the namespace of pid 1.
func nsArg(ns *Namespace) string {
	if ns.root {
		return "1"
	}
	return ns.String()
}

func nextName(ns *Namespace, taken string) (string, error) {
	for i := 0; ; i++ {
		name := "eth" + strconv.Itoa(i)
		if name == taken {
			continue
		}
		k, err := ns.Link(name)
		if k == nil || err != nil {
			return name, err
		}
	}
}

// adopt makes the handle of a link that was just born.
func (ns *Namespace) adopt(index int, s *LinkSpec) *Link {
	k := ns.handle(index, s.Name)
	k.made, k.mac = true, s.MAC
	if s.Up {
		ns.lab.unsettle(k)
	}
	return k
}

// bearVeth sends one packet to each end's namespace. What a failure leaves half
// made it removes.
func (l *Lab) bearVeth(a, b *LinkSpec, ia, ib *int) error {
	first := vethRequest(a, b, *ia, *ib)
	if b.NS != a.NS {
		fd, err := b.NS.openFD()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		first.peer.AddRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd)))
	}
	if *ia == 0 || *ib == 0 {
		return l.bearVethUnindexed(first.request, a, b, ia, ib)
	}
	restA, restB := a.rest(*ia, true), b.rest(*ib, false)
	one := append([]*nl.NetlinkRequest{first.request}, restA...)
	if b.NS == a.NS {
		one, restB = append(one, restB...), nil
	}
	if err := a.NS.conn.do(one...); err != nil {
		if refusedFirst(err) {
			return err
		}
		a.NS.remove(*ia)
		return err
	}
	if err := b.NS.conn.do(restB...); err != nil {
		a.NS.remove(*ia)
		return err
	}
	return nil
}

// bearVethUnindexed lets the kernel choose indexes, then asks for them.
func (l *Lab) bearVethUnindexed(first *nl.NetlinkRequest, a, b *LinkSpec, ia, ib *int) error {
	if err := a.NS.conn.do(first); err != nil {
		return err
	}
	finish := func() (err error) {
		if *ia, err = a.NS.indexOf(a.Name); err != nil {
			return err
		}
		if *ib, err = b.NS.indexOf(b.Name); err != nil {
			return err
		}
		if err := a.NS.conn.do(a.rest(*ia, true)...); err != nil {
			return err
		}
		return b.NS.conn.do(b.rest(*ib, false)...)
	}
	if err := finish(); err != nil {
		if *ia != 0 {
			a.NS.remove(*ia)
		}
		return err
	}
	return nil
}

func (ns *Namespace) indexOf(name string) (int, error) {
	body, err := ns.conn.get(getLink(0, name))
	if err != nil {
		return 0, err
	}
	return parseLink(body).Index, nil
}

// refusedFirst tells whether the birth itself was refused, so that there is
// nothing to remove.
func refusedFirst(err error) bool {
	var r *refusal
	return errors.As(err, &r) && r.index == 0
}

// remove deletes a half-made link.
func (ns *Namespace) remove(index int) {
	r := request(unix.RTM_DELLINK, 0)
	msg := nl.NewIfInfomsg(unix.AF_UNSPEC)
	msg.Index = int32(index)
	r.AddData(msg)
	_ = ns.conn.do(r)
}

type vethBirth struct {
	request *nl.NetlinkRequest
	peer    *nl.RtAttr
}

// vethRequest builds the RTM_NEWLINK of a pair. The first end may be born up
// and as a port; a peer cannot (ENOTCONN), so its turn comes afterwards.
func vethRequest(a, b *LinkSpec, ia, ib int) vethBirth {
	r := newLink()
	msg, attrs := a.head(ia, a.Up)
	r.AddData(msg)
	for _, attr := range attrs {
		r.AddData(attr)
	}
	if a.Master != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(a.Master.index))))
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated("veth"))
	data := info.AddRtAttr(unix.IFLA_INFO_DATA, nil)
	peer := data.AddRtAttr(nl.VETH_INFO_PEER, nil)
	msg, attrs = b.head(ib, false)
	peer.AddChild(msg)
	for _, attr := range attrs {
		peer.AddChild(attr)
	}
	r.AddData(info)
	return vethBirth{r, peer}
}

// vethError says which end, or which address, was refused.
func (l *Lab) vethError(err error, a, b *LinkSpec) error {
	if errors.Is(err, unix.EEXIST) && refusedFirst(err) {
		for _, s := range []*LinkSpec{a, b} {
			if k, e := s.NS.Link(s.Name); e == nil && k != nil {
				return kernelError(err, "use another name", "make veth %s: there is a link of that name in %s", s.Name, s.NS)
			}
		}
		if a.NS == b.NS && a.Name == b.Name {
			return Usage("give the ends different names, or put the peer elsewhere with peer_ns=", "both ends of the veth are named %s in %s", a.Name, a.NS)
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) {
		for _, s := range []*LinkSpec{a, b} {
			if s.Master == nil {
				continue
			}
			if hint := noMaster(s.Master); hint != "" {
				return kernelError(err, hint, "make veth %s and %s", a.Name, b.Name)
			}
		}
		if e := missing(err, feature.Link, "veth"); refusedFirst(err) && e != nil {
			return e
		}
	}
	for _, s := range []*LinkSpec{a, b} {
		if detail := s.blame(err); detail != "" {
			return kernelError(err, "", "make veth %s with %s", s.Name, detail)
		}
	}
	return kernelError(err, mtuHint(err, a.MTU, b.MTU), "make veth %s and %s", a.Name, b.Name)
}

// blame names the address that the kernel refused, if it was one.
func (s *LinkSpec) blame(err error) string {
	var r *refusal
	if !errors.As(err, &r) || len(s.Addrs) == 0 || refusedFirst(err) && r.errno != unix.EADDRINUSE && r.errno != unix.EEXIST {
		return ""
	}
	words := "addresses"
	for _, a := range s.Addrs {
		words += " " + a.String()
	}
	return words
}

func mtuHint(err error, mtus ...int) string {
	if !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ERANGE) {
		return ""
	}
	for _, mtu := range mtus {
		if mtu != 0 && (mtu < 68 || mtu > 65535) {
			return "an MTU is from 68 to 65535 bytes"
		}
	}
	return ""
}

func unwrapErrno(err error) error {
	var r *refusal
	if errors.As(err, &r) {
		return r.errno
	}
	return err
}
