package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
)

// hostTable is the lab's /etc/hosts: the global addresses of each namespace, under its
// name. It is there from the first program on. The kernel tells every change to one
// socket, which listens to all namespaces that have a number where it is
// (NETLINK_LISTEN_ALL_NSID); that is in a namespace of its own, since `ip netns list`
// prints such numbers.
type hostTable struct {
	ids    *conn    // gives namespaces their numbers
	news   *os.File // the socket that listens
	socket int
	write  func(text string) error

	mu      sync.Mutex
	entries []*hostEntry
	changed bool
	lost    bool // news were lost: what is known may be wrong
}

// hostEntry is a namespace in the table.
type hostEntry struct {
	ns    *Namespace
	id    int32
	addrs []hostAddr
}

// hostAddr is an address and the link that has it.
type hostAddr struct {
	ip   netip.Addr
	link int
}

// quiet is how long changes are gathered before programs that run see them.
const quiet = 20 * time.Millisecond

// newHostTable begins a table that is written by a function.
func newHostTable(write func(text string) error) (*hostTable, error) {
	t := &hostTable{write: write, changed: true}
	err := netns.New(func() (err error) {
		if t.ids, err = openConn(); err != nil {
			return err
		}
		t.socket, err = listenEverywhere(unix.RTNLGRP_IPV4_IFADDR, unix.RTNLGRP_IPV6_IFADDR)
		return err
	})
	if err != nil {
		if t.ids != nil {
			t.ids.close()
		}
		return nil, err
	}
	t.news = os.NewFile(uintptr(t.socket), "netlink")
	go t.follow()
	return t, nil
}

// listenEverywhere opens a socket that hears what all namespaces with a number tell
// some groups.
func listenEverywhere(groups ...int) (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, unix.NETLINK_ROUTE)
	if err != nil {
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	err = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_LISTEN_ALL_NSID, 1)
	at := &unix.SockaddrNetlink{Family: unix.AF_NETLINK}
	for _, g := range groups {
		at.Groups |= 1 << (g - 1)
	}
	if err == nil {
		err = unix.Bind(fd, at)
	}
	if err != nil {
		unix.Close(fd)
		return -1, fmt.Errorf("listen to the addresses of all namespaces: %w", err)
	}
	// Room for what comes while nobody reads; the limit for all (rmem_max) is not ours.
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 8<<20)
	return fd, nil
}

func (t *hostTable) close() {
	t.news.Close()
	t.ids.close()
}

// add takes a namespace into the table.
func (t *hostTable) add(ns *Namespace) error {
	id, err := t.number(ns)
	if err != nil {
		return fmt.Errorf("number namespace %s: %w", ns, err)
	}
	raw, err := ns.rawAddrs(unix.AF_UNSPEC)
	if err != nil {
		return err
	}
	e := &hostEntry{ns: ns, id: id}
	for i := range raw {
		e.change(&raw[i], true)
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries, t.changed = append(t.entries, e), true
	return nil
}

// remove takes a namespace out.
func (t *hostTable) remove(ns *Namespace) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = slices.DeleteFunc(t.entries, func(e *hostEntry) bool { return e.ns == ns })
	t.changed = true
}

// Attributes of RTM_NEWNSID (include/uapi/linux/net_namespace.h).
const (
	netnsaNSID = 1
	netnsaFD   = 3
)

// number gives a namespace a number (nsid) where the socket is and returns it.
func (t *hostTable) number(ns *Namespace) (int32, error) {
	fd, err := ns.openFD()
	if err != nil {
		return 0, err
	}
	defer unix.Close(fd)
	ask := func(kind int) *nl.NetlinkRequest {
		r := request(kind, 0)
		r.AddData(head(make([]byte, 4))) // struct rtgenmsg, padded
		r.AddData(nl.NewRtAttr(netnsaFD, nl.Uint32Attr(uint32(fd))))
		return r
	}
	next := ask(unix.RTM_NEWNSID)
	next.AddData(nl.NewRtAttr(netnsaNSID, nl.Uint32Attr(1<<32-1))) // -1: the next free one
	if err := t.ids.do(next); err != nil && !errors.Is(err, unix.EEXIST) {
		return 0, err
	}
	body, err := t.ids.get(ask(unix.RTM_GETNSID))
	if err != nil {
		return 0, err
	}
	for kind, v := range attributes(body[min(4, len(body)):]) {
		if kind == netnsaNSID {
			return int32(u32(v)), nil
		}
	}
	return 0, unix.ENOENT
}

// change notes that an address came or went.
func (e *hostEntry) change(a *rawAddr, there bool) (changed bool) {
	if a.Scope != unix.RT_SCOPE_UNIVERSE || a.IP.IsLoopback() || !a.IP.IsValid() {
		return false
	}
	h := hostAddr{a.IP, a.index}
	i := slices.Index(e.addrs, h)
	switch {
	case there && i < 0:
		e.addrs = append(e.addrs, h)
	case !there && i >= 0:
		e.addrs = slices.Delete(e.addrs, i, i+1)
	default:
		return false
	}
	return true
}

// follow brings the table up to date for the programs that run.
func (t *hostTable) follow() {
	raw, err := t.news.SyscallConn()
	if err != nil {
		return
	}
	for {
		err := raw.Read(func(fd uintptr) bool {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
		if err != nil {
			return // it is closed
		}
		time.Sleep(quiet)
		_ = raw.Control(func(uintptr) { _ = t.update() }) // the next program says what is wrong
	}
}

// update takes in what the kernel has told and writes the table if it has changed.
func (t *hostTable) update() error {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.listen()
	if !t.changed {
		return nil
	}
	if err := t.write(t.text()); err != nil {
		return err
	}
	t.changed = false
	return nil
}

// forget takes out names that another program has deleted. The namespaces may go on
// without them.
func (t *hostTable) forget(names map[string]bool) {
	if len(names) == 0 {
		return
	}
	t.mu.Lock()
	defer t.mu.Unlock()
	t.entries = slices.DeleteFunc(t.entries, func(e *hostEntry) bool { return names[e.ns.Name] && !e.ns.named() })
	t.changed = true
}

// isLost tells, once, that the kernel had more to tell than there was room for.
func (t *hostTable) isLost() bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	lost := t.lost
	t.lost = false
	return lost
}

// listen reads what the kernel has told.
func (t *hostTable) listen() {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	control := make([]byte, unix.CmsgSpace(4))
	for {
		n, c, _, _, err := unix.Recvmsg(t.socket, *buffer, control, 0)
		switch {
		case err == unix.EINTR:
			continue
		case err == unix.ENOBUFS:
			t.lost = true
			continue
		case err != nil || n == 0:
			return
		}
		if e := t.entry(control[:c]); e != nil {
			t.changed = e.hear((*buffer)[:n]) || t.changed
		}
	}
}

// entry is the namespace that a message came from, as its control message says.
func (t *hostTable) entry(control []byte) *hostEntry {
	messages, err := unix.ParseSocketControlMessage(control)
	if err != nil {
		return nil
	}
	for _, m := range messages {
		if m.Header.Level != unix.SOL_NETLINK || m.Header.Type != unix.NETLINK_LISTEN_ALL_NSID || len(m.Data) < 4 {
			continue
		}
		id := int32(binary.NativeEndian.Uint32(m.Data))
		if i := slices.IndexFunc(t.entries, func(e *hostEntry) bool { return e.id == id }); i >= 0 {
			return t.entries[i]
		}
	}
	return nil
}

// hear takes in messages about the addresses of a namespace.
func (e *hostEntry) hear(b []byte) (changed bool) {
	for len(b) >= unix.SizeofNlMsghdr {
		h := parseHeader(b)
		if int(h.Len) < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
			return changed
		}
		if a, ok := parseAddr(b[unix.SizeofNlMsghdr:h.Len]); ok && (h.Type == unix.RTM_NEWADDR || h.Type == unix.RTM_DELADDR) {
			changed = e.change(&a, h.Type == unix.RTM_NEWADDR) || changed
		}
		b = b[min(align4(int(h.Len)), len(b)):]
	}
	return changed
}

// text is the table as hosts(5) has it, IPv4 first.
func (t *hostTable) text() string {
	var b strings.Builder
	b.WriteString("127.0.0.1\tlocalhost\n::1\tlocalhost ip6-localhost ip6-loopback\n")
	for _, e := range t.entries {
		if !isHostName(e.ns.String()) {
			continue
		}
		for _, six := range []bool{false, true} {
			for _, a := range e.addrs {
				if a.ip.Is6() == six {
					fmt.Fprintf(&b, "%s\t%s\n", a.ip, e.ns)
				}
			}
		}
	}
	return b.String()
}

// isHostName tells whether a name can stand in hosts(5).
func isHostName(name string) bool {
	return name != "localhost" && !strings.ContainsFunc(name, func(r rune) bool { return r <= ' ' || r == '#' || r == 0x7f })
}
