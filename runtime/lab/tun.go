package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/user"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// TunSpec describes a TUN or TAP link (tuntap.rst of the kernel's documentation),
// whose other end is a file.
type TunSpec struct {
	LinkSpec
	TAP         bool   // carries Ethernet frames, else IP packets
	User, Group string // who may open the other end, by name or number; "" for who may administer the network
	PI          bool   // each packet comes after a struct tun_pi
	VNetHdr     bool   // and after a struct virtio_net_hdr
	MultiQueue  bool   // several may open the other end at once
	Hold        bool   // the lab opens the other end
}

func (s *TunSpec) mode() string {
	if s.TAP {
		return "tap"
	}
	return "tun"
}

// tunKind are the options that such links tell of (IFLA_TUN_).
func tunKind() *Kind {
	return &Kind{Name: "tun", NoMAC: true, Options: []*Option{
		{Name: "mode", attr: unix.IFLA_TUN_TYPE, Value: Word{Size: 1, Words: []string{"tun", "tap"}, values: []int{unix.IFF_TUN, unix.IFF_TAP}}},
		{Name: "user", attr: unix.IFLA_TUN_OWNER, Value: Number{Size: 4}},
		{Name: "user_group", attr: unix.IFLA_TUN_GROUP, Value: Number{Size: 4}},
		{Name: "pi", attr: unix.IFLA_TUN_PI, Value: Switch{1, [2]string{"off", "on"}, false}},
		{Name: "vnet_hdr", attr: unix.IFLA_TUN_VNET_HDR, Value: Switch{1, [2]string{"off", "on"}, false}},
		{Name: "multi_queue", attr: unix.IFLA_TUN_MULTI_QUEUE, Value: Switch{1, [2]string{"off", "on"}, false}},
		{Name: "persist", attr: unix.IFLA_TUN_PERSIST, Value: Switch{1, [2]string{"off", "on"}, false}},
	}}
}

const tunDevice = "/dev/net/tun"

// AddTun makes a TUN or TAP link as `ip tuntap add` does: it stays when nobody has
// its other end open.
func (l *Lab) AddTun(ctx context.Context, s TunSpec) (*Link, error) {
	if s.NS == nil {
		s.NS = l.Root
	}
	if err := s.NS.check(); err != nil {
		return nil, err
	}
	if s.Exist && s.Name == "" {
		return nil, Usage("like \""+s.mode()+"0\"", "exist=True needs a name")
	}
	if err := s.nameAfter(&Kind{Name: s.mode()}); err != nil {
		return nil, err
	}
	s.noMAC = !s.TAP
	if _, err := s.complete(l); err != nil {
		return nil, err
	}
	user, group, err := s.ids()
	if err != nil {
		return nil, err
	}
	if link, err := s.existing(user, group); link != nil || err != nil {
		return link, err
	}
	up := s.waits()
	start := time.Now()
	fd, index, err := s.bear(user, group)
	if l.watched() {
		l.emit(ctx, "tuntap add", s.NS, start, err, s.args()...)
	}
	if err != nil {
		return nil, s.failed(err)
	}
	if s.NS.next <= index {
		s.NS.next = index + 1
	}
	link := s.NS.adopt(index, &s.LinkSpec)
	if s.Hold {
		link.tun = &tunFile{f: os.NewFile(uintptr(fd), tunDevice), turn: make(chan struct{}, 1)}
	} else {
		unix.Close(fd)
	}
	l.onUndo(link.Delete)
	s.LinkSpec.emit(ctx, l)
	link.resetLink(ctx)
	if err := link.finish(ctx, &s.LinkSpec, up); err != nil {
		return nil, errors.Join(err, link.Delete(ctx))
	}
	return link, nil
}

// args are the arguments of `ip tuntap add`, and what `ip link set` gives the link
// in the same step.
func (s *TunSpec) args() []event.Arg {
	args := []event.Arg{arg("option mode", s.mode())}
	for _, o := range []event.Arg{arg("option user", s.User), arg("option group", s.Group)} {
		if o.Value != "" {
			args = append(args, o)
		}
	}
	for _, f := range []struct {
		name string
		set  bool
	}{{"pi", s.PI}, {"vnet_hdr", s.VNetHdr}, {"multi_queue", s.MultiQueue}} {
		if f.set {
			args = append(args, arg("option "+f.name, ""))
		}
	}
	if s.Hold {
		args = append(args, arg("held", ""))
	}
	for _, a := range s.LinkSpec.args(0) {
		if a.Key != "index" {
			args = append(args, a)
		}
	}
	return args
}

// ids are the numbers of the user and the group, or -1.
func (s *TunSpec) ids() (uid, gid int, err error) {
	uid, gid = -1, -1
	if s.User != "" {
		uid, err = idOf(s.User, func(name string) (string, error) {
			u, err := user.Lookup(name)
			if err != nil {
				return "", err
			}
			return u.Uid, nil
		})
		if err != nil {
			return uid, gid, Usage("", "user: there is no user %q on this machine", s.User)
		}
	}
	if s.Group != "" {
		gid, err = idOf(s.Group, func(name string) (string, error) {
			g, err := user.LookupGroup(name)
			if err != nil {
				return "", err
			}
			return g.Gid, nil
		})
		if err != nil {
			return uid, gid, Usage("", "group: there is no group %q on this machine", s.Group)
		}
	}
	return uid, gid, nil
}

func idOf(text string, find func(string) (string, error)) (int, error) {
	if id, err := strconv.ParseUint(text, 10, 31); err == nil {
		return int(id), nil
	}
	id, err := find(text)
	if err != nil {
		return 0, err
	}
	return strconv.Atoi(id)
}

// bear makes the link and what belongs to its birth; the file is its other end.
func (s *TunSpec) bear(uid, gid int) (fd, index int, err error) {
	fd = -1
	defer func() {
		if err != nil && fd >= 0 {
			if index != 0 {
				s.NS.remove(index)
			}
			unix.Close(fd)
		}
	}()
	err = s.NS.do(func() (err error) {
		fd, err = unix.Open(tunDevice, unix.O_RDWR|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
		if err != nil {
			return &os.PathError{Op: "open", Path: tunDevice, Err: err}
		}
		return s.configure(fd, uid, gid)
	})
	if err != nil {
		return fd, 0, err
	}
	if index, err = s.NS.indexOf(s.Name); err != nil {
		return fd, 0, err
	}
	r := request(unix.RTM_NEWLINK, 0)
	msg, attrs := s.head(index, false)
	r.AddData(msg)
	for _, a := range attrs {
		r.AddData(a)
	}
	return fd, index, s.NS.conn.do(append([]*nl.NetlinkRequest{r}, s.rest(index, false)...)...)
}

// flags are those of TUNSETIFF.
func (s *TunSpec) flags() uint16 {
	flags := uint16(unix.IFF_TUN)
	if s.TAP {
		flags = unix.IFF_TAP
	}
	for _, f := range []struct {
		bit uint16
		set bool
	}{{unix.IFF_NO_PI, !s.PI}, {unix.IFF_VNET_HDR, s.VNetHdr}, {unix.IFF_MULTI_QUEUE, s.MultiQueue}} {
		if f.set {
			flags |= f.bit
		}
	}
	return flags
}

// configure is what `ip tuntap add` does to the file.
func (s *TunSpec) configure(fd, uid, gid int) error {
	request, err := unix.NewIfreq(s.Name)
	if err != nil {
		return err
	}
	request.SetUint16(s.flags() | unix.IFF_TUN_EXCL) // the kernel would take one that is there
	if err := unix.IoctlIfreq(fd, unix.TUNSETIFF, request); err != nil {
		return err
	}
	if uid >= 0 {
		if err := unix.IoctlSetInt(fd, unix.TUNSETOWNER, uid); err != nil {
			return fmt.Errorf("user %s: %w", s.User, err)
		}
	}
	if gid >= 0 {
		if err := unix.IoctlSetInt(fd, unix.TUNSETGROUP, gid); err != nil {
			return fmt.Errorf("group %s: %w", s.Group, err)
		}
	}
	return unix.IoctlSetInt(fd, unix.TUNSETPERSIST, 1)
}

func (s *TunSpec) failed(err error) error {
	what := fmt.Sprintf("make %s %s", s.mode(), s.Name)
	var path *os.PathError
	switch {
	case errors.As(err, &path) && (errors.Is(err, unix.ENOENT) || errors.Is(err, unix.ENODEV) || errors.Is(err, unix.ENXIO)):
		if e := missing(err, feature.Link, "tun"); e != nil {
			return e
		}
		return &Error{Op: what, Kind: KindMissing, Err: err, Hint: "mkdir -p /dev/net; mknod -m 666 /dev/net/tun c 10 200"}
	case errors.As(err, &path):
		return &Error{Op: what, Kind: KindMissing, Err: err, Hint: "let all users open it, as udev does: chmod 666 " + tunDevice}
	case errors.Is(err, unix.EBUSY):
		return kernelError(err, "use another name", "%s: there is a link of that name in %s", what, s.NS)
	}
	if detail := s.blame(err); detail != "" {
		return kernelError(err, "", "%s with %s", what, detail)
	}
	hint := mtuHint(err, s.MTU)
	if errors.Is(err, unix.EINVAL) && (s.User != "" || s.Group != "") && oneID() {
		hint = "this lab has only one user; install uidmap and add a subuid range"
	}
	return kernelError(err, hint, "%s%s", what, where(s.NS))
}

// tunFile is the other end of a TUN or TAP link. One at a time reads.
type tunFile struct {
	f    *os.File
	turn chan struct{}
}

// Held tells whether the lab has the link's other end.
func (k *Link) Held() bool { return k.tun != nil }

// LetGo closes the other end: another program may open it.
func (k *Link) LetGo() error {
	t := k.tun
	if t == nil {
		return nil
	}
	k.tun = nil
	return t.f.Close()
}

// other is the other end, or why there is none.
func (k *Link) other() (*tunFile, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if k.tun == nil {
		return nil, Usage("", "the script does not hold the other end of %s any more", k)
	}
	return k.tun, nil
}

// maxPacket is the largest that such a link carries, with the headers before it.
const maxPacket = 1 << 16

// ReadPacket returns the next packet that was sent by the link; nil when none came
// until the timeout, which may be nil for none.
func (k *Link) ReadPacket(ctx context.Context, timeout *time.Duration) (packet []byte, err error) {
	t, err := k.other()
	if err != nil {
		return nil, err
	}
	var deadline time.Time
	if timeout != nil {
		deadline = time.Now().Add(*timeout)
	}
	buffer := make([]byte, maxPacket+64)
	n := 0
	wait(ctx, func() { n, err = t.read(ctx, deadline, buffer) })
	switch {
	case err == nil:
		return buffer[:n], nil
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case errors.Is(err, os.ErrDeadlineExceeded):
		return nil, nil
	}
	if _, e := k.other(); e != nil {
		return nil, e // it was deleted or let go meanwhile
	}
	return nil, k.failed(unwrapPath(err), "", "read from %s", k)
}

// read waits for its turn and for a packet, until the deadline or the end of ctx.
func (t *tunFile) read(ctx context.Context, deadline time.Time, buffer []byte) (int, error) {
	var late <-chan time.Time
	if !deadline.IsZero() {
		timer := time.NewTimer(time.Until(deadline))
		defer timer.Stop()
		late = timer.C
	}
	select {
	case t.turn <- struct{}{}:
	default:
		select {
		case t.turn <- struct{}{}:
		case <-late:
			return 0, os.ErrDeadlineExceeded
		case <-ctx.Done():
			return 0, ctx.Err()
		}
	}
	defer func() { <-t.turn }()
	for {
		if err := t.f.SetReadDeadline(deadline); err != nil {
			return 0, err
		}
		stop := context.AfterFunc(ctx, func() { _ = t.f.SetReadDeadline(time.Unix(1, 0)) })
		n, err := t.f.Read(buffer)
		stop()
		// That the context of an earlier reader has ended may wake this one.
		if errors.Is(err, os.ErrDeadlineExceeded) && ctx.Err() == nil && (deadline.IsZero() || time.Now().Before(deadline)) {
			continue
		}
		return n, err
	}
}

// WritePacket makes the link receive a packet.
func (k *Link) WritePacket(ctx context.Context, packet []byte) error {
	t, err := k.other()
	if err != nil {
		return err
	}
	k.ns.lab.SettleIPv6(ctx, k.ns)
	if _, err := t.f.Write(packet); err != nil {
		hint := ""
		switch {
		case errors.Is(err, unix.EIO):
			hint = "up(link) first"
		case errors.Is(err, unix.EINVAL):
			hint = "a tap takes Ethernet frames, a tun IP packets, after the headers that pi= and vnet_hdr= ask for"
		}
		return k.failed(unwrapPath(err), hint, "write %d bytes to %s", len(packet), k)
	}
	return nil
}

// unwrapPath is what happened to a file, without its name.
func unwrapPath(err error) error {
	var path *os.PathError
	if errors.As(err, &path) {
		return path.Err
	}
	return err
}
