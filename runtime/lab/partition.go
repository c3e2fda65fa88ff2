package lab

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
	"nsscript/runtime/firewall"
	"nsscript/runtime/netns"
)

// partition keeps two groups of namespaces apart. Each member has a fence against the
// other group, in a table of its own (see firewall.Fence): it knows frames of neighbours
// by their MAC addresses, and what came through routers by its IP addresses, on its way
// in as well as on its way out, where a translator (NAT) in between has not changed them
// yet. Where a translator changes both addresses neither fence sees the other group in
// the packet, which passes. The members' links and addresses are followed: what comes later is fenced, too.
//
// The tables belong to sockets (NFT_TABLE_F_OWNER): `nft flush ruleset` leaves them
// alone, and the kernel takes them away should the process die.
type partition struct {
	lab   *Lab
	table string

	mu      sync.Mutex // of what follows: the lab's goroutine and follow share it
	groups  [2][]*fenced
	changes []fenceChange // that nobody has been told of
	wake    [2]int        // a pipe that makes follow look again, and whose end stops it
}

// fenced is a namespace with a fence.
type fenced struct {
	ns    *Namespace
	fence firewall.Fence
	owner int // the socket that the table belongs to
	news  int // tells of links and addresses
	self  firewall.Others
	links map[fencedKey]int
	made  int // how many links have been numbered
}

// fencedKey is a link under a name, since newer kernels hook to names.
type fencedKey struct {
	index int
	name  string
}

// fenceChange is what to tell the events.
type fenceChange struct {
	ns    *Namespace
	words []string
	start time.Time
	err   error
}

// Partition drops every frame between two groups of namespaces, whatever lies between
// them, until it is undone; with oneWay only what the first sends to the second.
func (l *Lab) Partition(ctx context.Context, a, b []*Namespace, oneWay bool) (*Fault, error) {
	if err := checkGroups(a, b); err != nil {
		return nil, err
	}
	l.Settle(ctx)
	p := &partition{lab: l, table: l.fenceName("partition"), wake: [2]int{-1, -1}}
	for g, group := range [2][]*Namespace{a, b} {
		for _, ns := range group {
			m := &fenced{ns: ns, owner: -1, news: -1, links: map[fencedKey]int{}}
			m.fence = firewall.Fence{Table: p.table, From: !oneWay || g == 1, To: !oneWay || g == 0, Resolving: oneWay, Words: l.watched()}
			p.groups[g] = append(p.groups[g], m)
		}
	}
	if err := p.begin(); err != nil {
		p.close()
		p.tell(ctx)
		return nil, p.failed(err)
	}
	p.tell(ctx)
	l.following = append(l.following, p)
	go p.follow()
	arrow := " | "
	if oneWay {
		arrow = " -> "
	}
	return l.beginFault(ctx, "partition", names(a)+arrow+names(b), p.heal), nil
}

// fenceName is a table's name: of a machine's namespaces other runs may have some, too.
func (l *Lab) fenceName(kind string) string {
	l.partitions++
	name := fmt.Sprintf("nsscript_%s%d", kind, l.partitions)
	if l.options.Host {
		name += fmt.Sprintf("_%d", os.Getpid())
	}
	return name
}

func checkGroups(a, b []*Namespace) error {
	for _, ns := range slices.Concat(a, b) {
		if err := ns.check(); err != nil {
			return err
		}
	}
	for _, ns := range a {
		if slices.Contains(b, ns) {
			return Usage("a namespace is on one side", "%s is in both groups", ns)
		}
	}
	return nil
}

// names lists objects as a script's reader knows them.
func names[T fmt.Stringer](list []T) string {
	var all []string
	for _, x := range list {
		all = append(all, x.String())
	}
	return strings.Join(all, " ")
}

func (p *partition) members() []*fenced { return slices.Concat(p.groups[0], p.groups[1]) }

// begin makes the fences.
func (p *partition) begin() error {
	if err := unix.Pipe2(p.wake[:], unix.O_CLOEXEC); err != nil {
		return os.NewSyscallError("pipe2", err)
	}
	for _, m := range p.members() {
		if err := m.open(); err != nil {
			return err
		}
		if err := m.read(m.ns.conn); err != nil {
			return err
		}
	}
	for g, group := range p.groups {
		others := p.of(1 - g).Without(p.of(g))
		for _, m := range group {
			m.fence.Others = others
			batch, words := m.fence.Create()
			if err := p.send(m, batch, words); err != nil {
				return err
			}
		}
	}
	return nil
}

// of is how the members of a group are recognized.
func (p *partition) of(group int) (all firewall.Others) {
	for _, m := range p.groups[group] {
		all.Join(m.self)
	}
	return all
}

// send makes a change to a member's table.
func (p *partition) send(m *fenced, batch *firewall.Batch, words []string) error {
	start := time.Now()
	err := batch.Send(m.owner)
	if p.lab.watched() {
		p.changes = append(p.changes, fenceChange{m.ns, words, start, err})
	}
	return err
}

// open opens the sockets of a member.
func (m *fenced) open() error {
	return m.ns.do(func() (err error) {
		if m.owner, err = firewall.Open(); err != nil {
			return err
		}
		m.news, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
		if err != nil {
			return os.NewSyscallError("socket", err)
		}
		groups := uint32(1<<(unix.RTNLGRP_LINK-1) | 1<<(unix.RTNLGRP_IPV4_IFADDR-1) | 1<<(unix.RTNLGRP_IPV6_IFADDR-1))
		return os.NewSyscallError("bind", unix.Bind(m.news, &unix.SockaddrNetlink{Family: unix.AF_NETLINK, Groups: groups}))
	})
}

// read reads how the member is recognized, and adds links that are new to its fence.
func (m *fenced) read(c *conn) error {
	var self firewall.Others
	links := map[fencedKey]int{}
	var fresh []firewall.FencedLink
	again := func() { self, links, fresh = firewall.Others{}, map[fencedKey]int{}, nil }
	err := c.dump(listLinks, again, func(body []byte) error {
		key, mac, ok := linkIdentity(body)
		if !ok {
			return nil
		}
		self.AddMAC(mac)
		if links[key] = m.links[key]; links[key] == 0 {
			m.made++
			links[key] = m.made
			fresh = append(fresh, firewall.FencedLink{Number: m.made, Name: key.name})
		}
		return nil
	})
	if err != nil {
		return err
	}
	var ips []netip.Addr
	err = c.dump(func() *nl.NetlinkRequest {
		r := request(unix.RTM_GETADDR, 0)
		r.AddData(nl.NewIfAddrmsg(unix.AF_UNSPEC))
		return r
	}, func() { ips = nil }, func(body []byte) error {
		if a, ok := parseAddr(body); ok {
			ips = append(ips, a.IP)
		}
		return nil
	})
	for _, ip := range ips {
		self.AddIP(ip)
	}
	m.self, m.links, m.fence.Links = self, links, fresh
	return err
}

// listLinks asks for all links without their counters (RTEXT_FILTER_SKIP_STATS).
func listLinks() *nl.NetlinkRequest {
	r := request(unix.RTM_GETLINK, 0)
	r.AddData(nl.NewIfInfomsg(unix.AF_UNSPEC))
	r.AddData(nl.NewRtAttr(unix.IFLA_EXT_MASK, nl.Uint32Attr(1<<3)))
	return r
}

// linkIdentity reads what a link is recognized by; lo is none that frames come by.
func linkIdentity(body []byte) (key fencedKey, mac net.HardwareAddr, ok bool) {
	if len(body) < unix.SizeofIfInfomsg {
		return key, nil, false
	}
	key.index = int(int32(u32(body[4:])))
	for kind, v := range attributes(body[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			key.name = cstring(v)
		case unix.IFLA_ADDRESS:
			mac = slices.Clone(v)
		}
	}
	return key, mac, u32(body[8:])&unix.IFF_LOOPBACK == 0
}

// follow keeps the fences up to date for what runs beside the script.
func (p *partition) follow() {
	for {
		p.mu.Lock()
		fds := []unix.PollFd{{Fd: int32(p.wake[0]), Events: unix.POLLIN}}
		for _, m := range p.members() {
			fds = append(fds, unix.PollFd{Fd: int32(m.news), Events: unix.POLLIN})
		}
		p.mu.Unlock()
		if _, err := unix.Poll(fds, -1); err != nil && err != unix.EINTR {
			return
		}
		if fds[0].Revents&unix.POLLHUP != 0 {
			unix.Close(int(fds[0].Fd))
			return
		}
		if fds[0].Revents != 0 { // a member has left: poll would keep its socket
			_, _ = unix.Read(int(fds[0].Fd), make([]byte, 64))
		}
		p.mu.Lock()
		p.refresh()
		p.mu.Unlock()
	}
}

// heard tells whether there was news, which are read.
func (m *fenced) heard() (any bool) {
	if m.news < 0 {
		return false
	}
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		_, _, err := unix.Recvfrom(m.news, *buffer, 0)
		switch {
		case err == nil, err == unix.ENOBUFS: // so many that some were lost
			any = true
		case err != unix.EINTR:
			return any
		}
	}
}

// refresh takes in what has changed.
func (p *partition) refresh() {
	changed := false
	for _, m := range p.members() {
		if !m.heard() || m.reread() != nil {
			continue
		}
		changed = true
		if fresh := m.fence.Links; len(fresh) > 0 {
			batch, words := m.fence.Change(fresh, firewall.Others{}, firewall.Others{})
			if p.send(m, batch, words) != nil { // it is gone again: news of that will come
				m.links = map[fencedKey]int{}
			}
		}
	}
	for g := 0; changed && g < 2; g++ {
		others := p.of(1 - g).Without(p.of(g))
		for _, m := range p.groups[g] {
			added, gone := others.Without(m.fence.Others), m.fence.Others.Without(others)
			if added.IsEmpty() && gone.IsEmpty() {
				continue
			}
			batch, words := m.fence.Change(nil, added, gone)
			if p.send(m, batch, words) == nil {
				m.fence.Others = others
			}
		}
	}
}

// reread reads the member anew, by a socket that no other goroutine uses.
func (m *fenced) reread() error {
	fd, err := netns.OfSocket(m.news)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	var c *conn
	if err := netns.Do(fd, func() (err error) { c, err = openConn(); return err }); err != nil {
		return err
	}
	defer c.close()
	return m.read(c)
}

// tell tells the events of what was changed.
func (p *partition) tell(ctx context.Context) {
	for _, c := range p.changes {
		var args []event.Arg
		for _, w := range c.words {
			args = append(args, arg("command", w))
		}
		p.lab.emit(ctx, "nft", c.ns, c.start, c.err, args...)
	}
	p.changes = nil
}

// followPartitions makes sure that what a probe or a program is about to send meets
// fences that know of all addresses.
func (l *Lab) followPartitions(ctx context.Context) {
	for _, p := range l.following {
		p.mu.Lock()
		p.refresh()
		p.tell(ctx)
		p.mu.Unlock()
	}
}

// leavePartitions lets go of a namespace that is being deleted: sockets would keep it.
func (ns *Namespace) leavePartitions() {
	for _, p := range ns.lab.following {
		p.mu.Lock()
		for g := range p.groups {
			p.groups[g] = slices.DeleteFunc(p.groups[g], func(m *fenced) bool {
				if m.ns != ns {
					return false
				}
				m.close()
				_, _ = unix.Write(p.wake[1], []byte{0})
				return true
			})
		}
		p.mu.Unlock()
	}
}

// heal takes the fences away.
func (p *partition) heal(ctx context.Context) error {
	p.lab.following = slices.DeleteFunc(p.lab.following, func(o *partition) bool { return o == p })
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.wake[1] >= 0 {
		unix.Close(p.wake[1])
		p.wake[1] = -1
	}
	var failed []error
	for _, m := range p.members() {
		batch, words := m.fence.Delete()
		failed = append(failed, p.send(m, batch, words))
	}
	p.tell(ctx)
	p.close()
	if err := errors.Join(remaining(errors.Join(failed...))...); err != nil {
		return kernelError(err, "", "heal partition")
	}
	return nil
}

// close closes what the members have open, and before it has begun the pipe.
func (p *partition) close() {
	for _, m := range p.members() {
		m.close()
	}
	p.groups = [2][]*fenced{}
	if p.wake[1] >= 0 {
		unix.Close(p.wake[0])
		unix.Close(p.wake[1])
	}
}

// close closes the sockets. That of nf_tables waits for a grace period where something
// was deleted just before (nft_rcv_nl_event), which nobody else needs to wait for.
func (m *fenced) close() {
	if m.news >= 0 {
		unix.Close(m.news)
	}
	if owner := m.owner; owner >= 0 {
		go unix.Close(owner)
	}
	m.owner, m.news = -1, -1
}

// failed explains why there can be no fence.
func (p *partition) failed(err error) error { return fenceError(err, "partition") }

func fenceError(err error, what string) error {
	for _, f := range []struct{ family, name string }{{feature.Table, "netdev"}, {feature.Expression, "fwd"}} {
		if lacking := missing(err, f.family, f.name); lacking != nil {
			return lacking
		}
	}
	if errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EINVAL) {
		return &Error{Op: what + ": this kernel has no chains of nf_tables that see what a link sends", Kind: KindMissing, Err: err,
			Hint: "Linux 5.17 and later has them with CONFIG_NETFILTER_EGRESS=y"}
	}
	return kernelError(err, "", "%s", what)
}

// Blackhole drops every frame that a link gets or sends, until it is undone. The carrier
// stays: neither side knows.
func (k *Link) Blackhole(ctx context.Context) (*Fault, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	l := k.ns.lab
	l.Settle(ctx)
	p := &partition{lab: l, wake: [2]int{-1, -1}}
	m := &fenced{ns: k.ns, owner: -1, news: -1, fence: firewall.Fence{Table: l.fenceName("blackhole"), All: true, Words: l.watched(),
		Links: []firewall.FencedLink{{Number: 1, Name: k.name}}}}
	p.groups[0] = []*fenced{m}
	err := k.ns.do(func() (err error) { m.owner, err = firewall.Open(); return err })
	if err != nil {
		return nil, kernelError(err, "", "blackhole %s", k)
	}
	batch, words := m.fence.Create()
	err = p.send(m, batch, words)
	p.tell(ctx)
	if err != nil {
		m.close()
		return nil, fenceError(err, "blackhole "+k.String())
	}
	l.following = append(l.following, p)
	return l.beginFault(ctx, "blackhole", k.String(), p.heal), nil
}
