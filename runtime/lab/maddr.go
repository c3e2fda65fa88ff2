package lab

import (
	"bufio"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"slices"
	"strconv"
	"strings"
	"time"
	"unsafe"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Membership is a multicast group that a link receives (ip-maddress(8)).
type Membership struct {
	Link   *Link
	Group  netip.Addr       // or
	MAC    net.HardwareAddr // a link-layer group
	Users  int              // how many want it
	Static bool             // of a link-layer group: made by `ip maddr add`
}

// Address is the group.
func (m *Membership) Address() string {
	if m.Group.IsValid() {
		return m.Group.String()
	}
	return m.MAC.String()
}

// Family is that of the group, as ip(8) names it.
func (m *Membership) Family() string {
	switch {
	case m.Group.Is4():
		return "inet"
	case m.Group.Is6():
		return "inet6"
	}
	return "link"
}

func (m *Membership) String() string {
	s := fmt.Sprintf("%s %s %s users %d", m.Link.name, m.Family(), m.Address(), m.Users)
	if m.Static {
		s += " static"
	}
	return s
}

// JoinGroup makes the link receive a group: one of the link layer as `ip maddr add`
// does; one of IP by an address with the flag autojoin, so that the kernel is a
// member, and says so to routers, without a program that is.
func (k *Link) JoinGroup(ctx context.Context, m Membership, exist bool) (*Membership, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	m.Link = k
	if exist {
		if there, err := m.find(); err != nil || there != nil && (there.Static || there.Group.IsValid()) {
			return there, err
		}
	}
	if err := m.change(ctx, true); err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EEXIST):
			hint = "exist=True takes the one that is there"
		case errors.Is(err, unix.EINVAL) && !m.Group.IsValid():
			hint = "such a link has no filter of addresses"
		}
		return nil, k.failed(err, hint, "join group %s on %s", m.Address(), k)
	}
	k.ns.lab.claim(m.key())
	k.ns.lab.onUndo(func(ctx context.Context) error { return m.change(ctx, false) })
	made, err := m.find()
	if made == nil && err == nil {
		made = &m
	}
	return made, err
}

// Delete leaves the group.
func (m *Membership) Delete(ctx context.Context) error {
	k := m.Link
	if err := k.check(); err != nil {
		return err
	}
	if err := k.ns.lab.mayDelete(m.key(), m); err != nil {
		return err
	}
	if err := m.change(ctx, false); err != nil {
		return k.failed(err, "what programs and the kernel itself have joined is theirs to leave", "leave group %s on %s", m.Address(), k)
	}
	k.ns.lab.onUndo(func(ctx context.Context) error { return m.change(ctx, true) })
	return nil
}

func (m *Membership) change(ctx context.Context, join bool) error {
	k := m.Link
	start := time.Now()
	verb := "delete"
	if join {
		verb = "add"
	}
	if !m.Group.IsValid() {
		err := m.filter(join)
		k.ns.lab.emit(ctx, "maddr "+verb, k.ns, start, err, arg("address", m.MAC.String()), arg("dev", k.name))
		return err
	}
	kind, flags := unix.RTM_DELADDR, 0
	if join {
		kind, flags = unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL
	}
	spec := AddrSpec{Prefix: netip.PrefixFrom(m.Group, m.Group.BitLen()), Scope: -1}.in(k.ns)
	args := append(spec.args(k.name), arg("autojoin", ""))
	bits := uint32(unix.IFA_F_MCAUTOJOIN)
	if spec.NoDAD {
		bits |= unix.IFA_F_NODAD
	}
	spec.NoDAD = false // said here
	r := newAddr(kind, flags, k.index, spec)
	r.RawData = append(r.RawData, nl.NewRtAttr(unix.IFA_FLAGS, nl.Uint32Attr(bits)).Serialize()...)
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, "addr "+verb, k.ns, start, err, args...)
	return err
}

// filter is what `ip maddr` asks for, by SIOCADDMULTI and SIOCDELMULTI of
// netdevice(7).
func (m *Membership) filter(add bool) error {
	var request [unix.IFNAMSIZ + 24]byte // struct ifreq
	copy(request[:], m.Link.name)
	copy(request[unix.IFNAMSIZ+2:], m.MAC) // a struct sockaddr of family AF_UNSPEC
	code := uintptr(unix.SIOCDELMULTI)
	if add {
		code = unix.SIOCADDMULTI
	}
	return m.Link.ns.do(func() error {
		fd, err := unix.Socket(unix.AF_INET, unix.SOCK_DGRAM|unix.SOCK_CLOEXEC, 0)
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), code, uintptr(unsafe.Pointer(&request))); errno != 0 {
			return errno
		}
		return nil
	})
}

func (m *Membership) key() string {
	return fmt.Sprintf("maddr %v %d %s", m.Link.ns.id, m.Link.index, m.Address())
}

func (m *Membership) find() (*Membership, error) {
	all, err := m.Link.ns.Memberships(m.Link)
	if err != nil {
		return nil, err
	}
	if i := slices.IndexFunc(all, func(o *Membership) bool { return o.Address() == m.Address() }); i >= 0 {
		return all[i], nil
	}
	return nil, nil
}

// Memberships lists the groups that the links receive, or one of them: as `ip maddr`
// does, link by link.
func (ns *Namespace) Memberships(only *Link) ([]*Membership, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if only != nil {
		if _, err := only.Info(); err != nil {
			return nil, err
		}
	}
	var files [3]string
	err := ns.do(func() error {
		for i, name := range []string{"dev_mcast", "igmp", "igmp6"} {
			b, err := os.ReadFile("/proc/thread-self/net/" + name)
			if err != nil && !errors.Is(err, os.ErrNotExist) {
				return err
			}
			files[i] = string(b)
		}
		return nil
	})
	if err != nil {
		return nil, kernelError(err, "", "list multicast groups%s", where(ns))
	}
	found := parseMemberships(files[0], files[1], files[2])
	var all []*Membership
	for i := range found {
		if m := &found[i]; only == nil || found[i].index == only.index {
			if m.Link = ns.linkAt(m.index); m.Link != nil {
				all = append(all, &m.Membership)
			}
		}
	}
	slices.SortStableFunc(all, func(a, b *Membership) int { return a.Link.index - b.Link.index })
	return all, nil
}

// indexed is a membership of a link that is known by its index.
type indexed struct {
	Membership
	index int
}

// parseMemberships reads dev_mcast, igmp and igmp6 of /proc/net.
func parseMemberships(link, four, six string) (all []indexed) {
	each := func(text string, fn func(f []string)) {
		for lines := bufio.NewScanner(strings.NewReader(text)); lines.Scan(); {
			fn(strings.Fields(lines.Text()))
		}
	}
	number := func(text string) int {
		n, _ := strconv.Atoi(text)
		return n
	}
	each(link, func(f []string) { // index name users static address
		if len(f) != 5 {
			return
		}
		mac, _ := hex.DecodeString(f[4])
		all = append(all, indexed{Membership{MAC: mac, Users: number(f[2]), Static: number(f[3]) > 0}, number(f[0])})
	})
	index := 0
	each(four, func(f []string) { // a line for the link, and one for each group: in memory's order, users …
		switch {
		case len(f) > 1 && number(f[0]) > 0 && len(f[0]) < 8:
			index = number(f[0])
		case len(f) > 1 && len(f[0]) == 8:
			var b [4]byte
			if n, err := strconv.ParseUint(f[0], 16, 32); err == nil {
				binary.NativeEndian.PutUint32(b[:], uint32(n))
				all = append(all, indexed{Membership{Group: netip.AddrFrom4(b), Users: number(f[1])}, index})
			}
		}
	})
	each(six, func(f []string) { // index name address users …
		if len(f) < 4 {
			return
		}
		b, err := hex.DecodeString(f[2])
		if ip, ok := netip.AddrFromSlice(b); ok && err == nil {
			all = append(all, indexed{Membership{Group: ip, Users: number(f[3])}, number(f[0])})
		}
	})
	return all
}
