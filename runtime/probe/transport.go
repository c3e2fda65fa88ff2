package probe

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"strconv"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// newSocket opens a non-blocking socket in a namespace, that takes errors of ICMP
// with who sent them (ip(7) IP_RECVERR).
func newSocket(enter Enter, v6 bool, kind int) (fd int, err error) {
	family := unix.AF_INET
	if v6 {
		family = unix.AF_INET6
	}
	err = enter(func() error {
		lookFirst(v6)
		fd, err = unix.Socket(family, kind|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return -1, fmt.Errorf("socket: %w", err)
	}
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_V6ONLY, 1)
	}
	return fd, nil
}

// recvErr makes a socket keep the errors of ICMP in its queue.
func recvErr(fd int, v6 bool) {
	if v6 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_RECVERR, 1)
	} else {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_RECVERR, 1)
	}
}

// sockaddr is an address as a system call has it; the zone is a link of the
// socket's namespace.
func sockaddr(fd int, a netip.AddrPort) (unix.Sockaddr, error) {
	ip := a.Addr()
	if ip.Is4() {
		return &unix.SockaddrInet4{Addr: ip.As4(), Port: int(a.Port())}, nil
	}
	six := &unix.SockaddrInet6{Addr: ip.As16(), Port: int(a.Port())}
	if !needsZone(ip) || ip.Zone() == "" {
		return six, nil
	}
	scope, err := scopeOf(fd, ip.Zone())
	six.ZoneId = scope
	return six, err
}

// scopeOf is the number of a link, by name or number, in a socket's namespace.
func scopeOf(fd int, zone string) (uint32, error) {
	ifr, err := unix.NewIfreq(zone)
	if err == nil {
		err = unix.IoctlIfreq(fd, unix.SIOCGIFINDEX, ifr)
	}
	if err == nil {
		return ifr.Uint32(), nil
	}
	if n, bad := strconv.ParseUint(zone, 10, 31); bad == nil && n > 0 {
		return uint32(n), nil
	}
	return 0, fmt.Errorf("interface %q: %w", zone, err)
}

// addrPort is the address that a system call gave about a socket, whose namespace
// knows the name of a zone.
func addrPort(fd int, sa unix.Sockaddr) netip.AddrPort {
	switch sa := sa.(type) {
	case *unix.SockaddrInet4:
		return netip.AddrPortFrom(netip.AddrFrom4(sa.Addr), uint16(sa.Port))
	case *unix.SockaddrInet6:
		ip := netip.AddrFrom16(sa.Addr).Unmap()
		if sa.ZoneId != 0 && needsZone(ip) {
			ip = ip.WithZone(zoneOf(fd, sa.ZoneId))
		}
		return netip.AddrPortFrom(ip, uint16(sa.Port))
	}
	return netip.AddrPort{}
}

// zoneOf is the name of a link, or its number if it has none any more.
func zoneOf(fd int, index uint32) string {
	var ifr struct {
		name  [unix.IFNAMSIZ]byte
		index int32
		_     [20]byte
	}
	ifr.index = int32(index)
	if _, _, errno := unix.Syscall(unix.SYS_IOCTL, uintptr(fd), unix.SIOCGIFNAME, uintptr(unsafe.Pointer(&ifr))); errno != 0 {
		return strconv.FormatUint(uint64(index), 10)
	}
	return unix.ByteSliceToString(ifr.name[:])
}

// Dialing says what to connect to.
type Dialing struct {
	// To is an address and a port; a link-local address has a zone.
	To netip.AddrPort
	// From is the own address, whose parts may be left out.
	From netip.AddrPort
	// UDP makes it a UDP socket, whose address is then only remembered.
	UDP bool
	// TTL is the time to live or hop limit; 0 for the kernel's.
	TTL int
}

// dial connects a socket of the namespace within the context.
func dial(ctx context.Context, enter Enter, d Dialing) (net.Conn, error) {
	if err := ctx.Err(); err != nil {
		return nil, context.Cause(ctx)
	}
	kind := unix.SOCK_STREAM
	if d.UDP {
		kind = unix.SOCK_DGRAM
	}
	fd, err := newSocket(enter, d.To.Addr().Is6(), kind)
	if err != nil {
		return nil, err
	}
	recvErr(fd, d.To.Addr().Is6())
	if d.TTL != 0 && d.To.Addr().Is6() {
		_ = unix.SetsockoptInt(fd, unix.SOL_IPV6, unix.IPV6_UNICAST_HOPS, d.TTL)
	} else if d.TTL != 0 {
		_ = unix.SetsockoptInt(fd, unix.SOL_IP, unix.IP_TTL, d.TTL)
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	if err := bindTo(fd, d); err != nil {
		return nil, err
	}
	to, err := sockaddr(fd, d.To)
	if err != nil {
		return nil, err
	}
	switch err := unix.Connect(fd, to); err {
	case nil:
	case unix.EINPROGRESS:
		if err := connected(ctx, file); err != nil {
			return nil, err
		}
	default:
		return nil, failure(fd, err)
	}
	return net.FileConn(file)
}

// bindTo gives a socket its own address, or some of it.
func bindTo(fd int, d Dialing) error {
	if !d.From.Addr().IsValid() && d.From.Port() == 0 {
		return nil
	}
	from := d.From
	if !from.Addr().IsValid() {
		any := netip.IPv4Unspecified()
		if d.To.Addr().Is6() {
			any = netip.IPv6Unspecified()
		}
		from = netip.AddrPortFrom(any, from.Port())
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_REUSEADDR, 1)
	sa, err := sockaddr(fd, from)
	if err == nil {
		err = unix.Bind(fd, sa)
	}
	switch {
	case errors.Is(err, unix.EADDRNOTAVAIL):
		return fmt.Errorf("source %v is not, or not yet, an address of the namespace: %w", from.Addr(), err)
	case err != nil:
		return fmt.Errorf("source %v: %w", from, err)
	}
	return nil
}

// connected waits for the end of connect(2).
func connected(ctx context.Context, file *os.File) error {
	stop := context.AfterFunc(ctx, func() { _ = file.SetWriteDeadline(time.Unix(1, 0)) })
	defer stop()
	raw, err := file.SyscallConn()
	if err != nil {
		return err
	}
	var result error
	err = raw.Write(func(fd uintptr) bool {
		polled := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLOUT}}
		if n, err := unix.Poll(polled, 0); n == 0 || err != nil {
			return false
		}
		n, err := unix.GetsockoptInt(int(fd), unix.SOL_SOCKET, unix.SO_ERROR)
		if err != nil {
			result = err
		} else if n != 0 {
			result = failure(int(fd), unix.Errno(n))
		}
		return true
	})
	if err != nil && ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return errors.Join(err, result)
}

// failure is an error of a socket with what is in its queue about it.
func failure(fd int, err error) error {
	errno, ok := err.(unix.Errno)
	if !ok {
		return err
	}
	oob := make([]byte, 512)
	_, n, _, _, bad := unix.Recvmsg(fd, make([]byte, 256), oob, unix.MSG_ERRQUEUE|unix.MSG_DONTWAIT)
	if bad == nil {
		if a := parseAncillary(oob[:n]); a.isError && a.queued.offender.IsValid() &&
			(a.queued.origin == unix.SO_EE_ORIGIN_ICMP || a.queued.origin == unix.SO_EE_ORIGIN_ICMP6) {
			return icmpError(&a.queued)
		}
	}
	return socketError(errno)
}

// socketMeanings are errors that a transport knows and ICMP echo does not.
var socketMeanings = map[unix.Errno]meaning{
	unix.ECONNREFUSED: {KindRefused, "connection refused"},
	unix.ECONNRESET:   {KindReset, "connection reset"},
	unix.EPIPE:        {KindReset, "connection closed by the other end"},
	unix.EADDRINUSE:   {KindOther, "address already in use"},
	unix.EHOSTUNREACH: {KindHostUnreachable, "host unreachable"},
	unix.ETIMEDOUT:    {KindTimeout, "timed out"},
}

// socketError is an errno of a socket.
func socketError(errno unix.Errno) *PingError {
	if m, known := socketMeanings[errno]; known {
		return &PingError{Kind: m.kind, Errno: errno, text: m.text}
	}
	return sendError(errno)
}
