package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Move puts the link into another namespace, as `ip link set L netns NS` does.
// The kernel sets it down and takes its addresses off. A move waits for RCU
// (19 ms): a link that is born in its namespace costs a fortieth.
func (k *Link) Move(ctx context.Context, to *Namespace) error {
	if err := k.check(); err != nil {
		return err
	}
	fd, err := to.openFD()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	from := k.ns
	before := k.beforeMove()
	r := setFlags(k.index, 0, 0)
	r.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd))))
	start := time.Now()
	err = from.conn.do(r)
	from.lab.emit(ctx, "link set", from, start, err, arg("dev", k.name), arg("netns", nsArg(to)))
	switch {
	case errors.Is(err, unix.EINVAL):
		return k.failed(err, "the kernel keeps such links (lo, a bridge's or tunnel's own device) in the namespace they were born in", "move %s to %s", k, to)
	case errors.Is(err, unix.EEXIST), errors.Is(err, unix.EBUSY):
		return k.failed(err, "rename it first", "move %s to %s: there is a link of that name or index", k, to)
	case err != nil:
		return k.failed(err, "", "move %s to %s", k, to)
	}
	if from == to {
		return nil
	}
	from.forget(k)
	if err := to.receive(k); err != nil {
		return err
	}
	k.resetLink(ctx)
	before.list()
	from.lab.onUndo(func(ctx context.Context) error {
		return errors.Join(k.Move(ctx, from), before.restore(ctx))
	})
	return nil
}

// linkMoved is what a link of the machine loses by a move.
type linkMoved struct {
	link     *Link
	up       bool
	qdisc    string
	port     keptPort
	lost     kept
	settings *lostSettings
}

// beforeMove reads what a move undone must bring back.
func (k *Link) beforeMove() linkMoved {
	if !k.isForeign() {
		return linkMoved{}
	}
	info, err := k.Info()
	if err != nil {
		return linkMoved{}
	}
	return linkMoved{link: k, up: info.Up(), qdisc: info.Qdisc, port: k.keepPort(), lost: k.keep(), settings: k.keepLinkSettings()}
}

// defaultQdiscs are queueing disciplines that the kernel gives by itself.
var defaultQdiscs = []string{"", "noop", "noqueue", "mq", "pfifo_fast", "fq_codel", "fq"}

// list says what will not come back.
func (m linkMoved) list() {
	if !slices.Contains(defaultQdiscs, m.qdisc) {
		m.link.ns.lab.cannotUndo(fmt.Sprintf("qdisc %s of %s", m.qdisc, m.link.name))
	}
}

// restore brings back what is missing in an order that does no harm: settings
// decide about addresses, some masters take only links that are down, and an
// address gives a route only to a link that is up.
func (m linkMoved) restore(ctx context.Context) error {
	if m.link == nil {
		return nil
	}
	err := errors.Join(m.settings.restore(ctx), m.port.restore(ctx))
	if m.up {
		err = errors.Join(err, m.link.SetUp(ctx, true))
	}
	return errors.Join(err, m.lost.restore(ctx))
}

// receive makes the handle of a link that was moved here follow it. The kernel
// keeps the index unless it is taken.
func (ns *Namespace) receive(k *Link) error {
	index, err := ns.indexOf(k.name)
	if err != nil {
		return kernelError(err, "", "find %s after its move to %s", k.name, ns)
	}
	if ns.links == nil {
		ns.links = map[int]*Link{}
	}
	if ns.next <= index && index < 1<<20 {
		ns.next = index + 1
	}
	k.ns, k.index = ns, index
	ns.links[index] = k
	return nil
}

// keptPort is what makes a link a port: its master and, of a bridge, the port's
// own options, which end when it leaves.
type keptPort struct {
	link    *Link
	master  *Link // nil for no port
	options []byte
	vlans   []*VLAN
}

// keepPort reads whose port the link is.
func (k *Link) keepPort() (p keptPort) {
	body, err := k.ns.conn.get(getLink(k.index, ""))
	if err != nil || len(body) < unix.SizeofIfInfomsg {
		return p
	}
	p.link = k
	for kind, v := range attributes(body[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_MASTER:
			p.master = k.ns.linkAt(int(u32(v)))
		case unix.IFLA_LINKINFO:
			p.options = portOptions(v)
		}
	}
	if p.master != nil {
		p.vlans, _ = k.VLANs()
	}
	return p
}

// portOptions takes from an IFLA_LINKINFO the options of a bridge's port that
// can be set.
func portOptions(linkInfo []byte) []byte {
	data := bridgePort(linkInfo)
	if data == nil {
		return nil
	}
	return withAttributes(data, 0, func(kind int, _ []byte) bool { return !isTold(kind) })
}

// isTold tells of an IFLA_BRPORT_ attribute whether it is only told, not set
// (br_port_policy in net/bridge/br_netlink.c): the STP's state, ids and timers,
// what is done at once, and counters.
func isTold(kind int) bool {
	switch kind {
	case nl.IFLA_BRPORT_STATE, 26, 35, 36, 38, 41: // PAD, MRP_RING_OPEN, MRP_IN_OPEN, MCAST_EHT_HOSTS_CNT, MCAST_N_GROUPS
		return true
	}
	return kind >= nl.IFLA_BRPORT_ROOT_ID && kind <= nl.IFLA_BRPORT_FLUSH
}

// restore makes the link a port again, with its options and VLANs.
func (p keptPort) restore(ctx context.Context) error {
	if p.master == nil {
		return nil
	}
	k := p.link
	err := k.Set(ctx, LinkChange{Master: p.master})
	if err != nil || p.options == nil {
		return err
	}
	if err := k.putPort(p.options); err != nil {
		return k.failed(err, "", "restore the options of port %s", k)
	}
	return k.restoreVLANs(ctx, p.vlans)
}
