package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"strconv"
	"sync/atomic"
	"syscall"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// pingSocket is an ICMP socket: a ping socket (icmp(7), net/ipv4/ping.c), on
// which the kernel chooses the identifier and delivers only what answers it,
// or a raw one where those are not allowed. It never blocks by itself.
type pingSocket struct {
	fd   int
	v6   bool
	raw  bool
	id   uint16 // of our requests, on a raw socket: it sees everybody's
	zone string // of a link-local destination, as requested
	to4  unix.SockaddrInet4
	to6  unix.SockaddrInet6

	tied    bool // to the destination
	special bool // set up otherwise than for a plain request

	// What recvmsg(2) fills in.
	msg  unix.Msghdr
	iov  unix.Iovec
	from [sizeSockaddr6]byte
	data [maxQuotedBytes]byte
	oob  [256]byte

	// See wait.go.
	poll [1]unix.PollFd
	file *os.File
	conn syscall.RawConn
	stop func() bool
}

// rawIDs numbers raw sockets, from somewhere that other processes are not at.
var rawIDs atomic.Uint32

func init() { rawIDs.Store(uint32(os.Getpid()) << 4) }

// openSocket makes a socket in the namespace and sets it up for a request. One
// that is to serve others, too, is not tied to the destination.
func openSocket(enter Enter, req *PingRequest, lasting bool) (*pingSocket, error) {
	s := &pingSocket{fd: -1, v6: req.Dst.Is6()}
	err := enter(s.create)
	if err == nil {
		err = s.configure(req)
	}
	if err == nil && s.raw {
		err = s.narrow()
	}
	if err != nil {
		s.close()
		return nil, fmt.Errorf("ping %v: %w", req.Dst, err)
	}
	if s.raw && !lasting && !req.Dst.IsMulticast() {
		_ = s.connect()
	}
	s.poll[0] = unix.PollFd{Fd: int32(s.fd), Events: unix.POLLIN}
	return s, nil
}

// create opens the socket, in the namespace.
func (s *pingSocket) create() error {
	lookFirst(s.v6)
	family, proto := unix.AF_INET, unix.IPPROTO_ICMP
	if s.v6 {
		family, proto = unix.AF_INET6, unix.IPPROTO_ICMPV6
	}
	const flags = unix.SOCK_NONBLOCK | unix.SOCK_CLOEXEC
	fd, err := unix.Socket(family, unix.SOCK_DGRAM|flags, proto)
	if err == unix.EACCES || err == unix.EPERM {
		if fd, err = unix.Socket(family, unix.SOCK_RAW|flags, proto); err == nil {
			s.raw = true
			s.id = uint16(rawIDs.Add(1))
		} else if err == unix.EPERM {
			return fmt.Errorf("ICMP socket: net.ipv4.ping_group_range of the namespace leaves this group out, and a raw socket: %w", err)
		}
	}
	if err != nil {
		return fmt.Errorf("ICMP socket: %w", err)
	}
	s.fd = fd
	return nil
}

// option is a socket option.
type option struct{ level, name, value int }

// configure sets options, source and destination. Errors are of the request.
func (s *pingSocket) configure(req *PingRequest) error {
	if req.Dev != "" {
		if err := unix.BindToDevice(s.fd, req.Dev); err != nil {
			return fmt.Errorf("device %q: %w", req.Dev, err)
		}
	}
	if err := s.address(req); err != nil {
		return err
	}
	options := s.options(req)
	for _, o := range options {
		if err := unix.SetsockoptInt(s.fd, o.level, o.name, o.value); err != nil {
			return fmt.Errorf("ICMP socket: option %d/%d: %w", o.level, o.name, err)
		}
	}
	return s.bind(req.Src)
}

// options are those that the request asks for and those that every ping needs.
func (s *pingSocket) options(req *PingRequest) []option {
	list := append(make([]option, 0, 8), option{unix.SOL_SOCKET, unix.SO_TIMESTAMPNS, 1})
	if s.v6 {
		return s.options6(req, list)
	}
	pmtu := unix.IP_PMTUDISC_DONT
	if req.DF {
		pmtu = unix.IP_PMTUDISC_DO
	}
	list = append(list, option{unix.SOL_IP, unix.IP_RECVERR, 1},
		option{unix.SOL_IP, unix.IP_RECVTTL, 1}, option{unix.SOL_IP, unix.IP_MTU_DISCOVER, pmtu})
	if req.TTL != 0 {
		name := unix.IP_TTL
		if req.Dst.IsMulticast() {
			name = unix.IP_MULTICAST_TTL
		}
		list = append(list, option{unix.SOL_IP, name, req.TTL})
	}
	if req.TOS != 0 {
		list = append(list, option{unix.SOL_IP, unix.IP_TOS, req.TOS})
	}
	return list
}

// options6 is options for IPv6.
func (s *pingSocket) options6(req *PingRequest, list []option) []option {
	list = append(list, option{unix.SOL_IPV6, unix.IPV6_RECVERR, 1},
		option{unix.SOL_IPV6, unix.IPV6_RECVHOPLIMIT, 1})
	if req.DF {
		list = append(list, option{unix.SOL_IPV6, unix.IPV6_MTU_DISCOVER, unix.IPV6_PMTUDISC_DO},
			option{unix.SOL_IPV6, unix.IPV6_DONTFRAG, 1})
	}
	if req.TTL != 0 {
		name := unix.IPV6_UNICAST_HOPS
		if req.Dst.IsMulticast() {
			name = unix.IPV6_MULTICAST_HOPS
		}
		list = append(list, option{unix.SOL_IPV6, name, req.TTL})
	}
	if req.TOS != 0 {
		list = append(list, option{unix.SOL_IPV6, unix.IPV6_TCLASS, req.TOS})
	}
	return list
}

// address fills in the destination's socket address.
func (s *pingSocket) address(req *PingRequest) error {
	if !s.v6 {
		s.to4.Addr = req.Dst.As4()
		return nil
	}
	s.to6.Addr, s.zone = req.Dst.As16(), req.Dst.Zone()
	if !needsZone(req.Dst) {
		return nil
	}
	if s.zone == "" {
		s.zone = req.Dev
	}
	scope, err := scopeOf(s.fd, s.zone)
	s.to6.ZoneId = scope
	return err
}

// bind sets the source address.
func (s *pingSocket) bind(src netip.Addr) error {
	if !src.IsValid() {
		return nil
	}
	addr, err := s.source(src)
	if err != nil {
		return err
	}
	err = unix.Bind(s.fd, addr)
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		return fmt.Errorf("source %v is not, or not yet, an address of the namespace: %w", src, err)
	}
	if err != nil {
		return fmt.Errorf("source %v: %w", src, err)
	}
	return nil
}

// source is the socket address to bind to; a link-local source without a zone
// has the destination's.
func (s *pingSocket) source(src netip.Addr) (unix.Sockaddr, error) {
	if !s.v6 {
		return &unix.SockaddrInet4{Addr: src.As4()}, nil
	}
	six := &unix.SockaddrInet6{Addr: src.As16()}
	if !needsZone(src) {
		return six, nil
	}
	six.ZoneId = s.to6.ZoneId
	if src.Zone() == "" {
		return six, nil
	}
	scope, err := scopeOf(s.fd, src.Zone())
	six.ZoneId = scope
	return six, err
}

// narrow makes a raw socket receive as little of others' traffic as it can: echo
// replies (raw(7) ICMP_FILTER, RFC 3542 ICMP6_FILTER), and those of one host when
// it is tied to that. It gets room for what still comes.
func (s *pingSocket) narrow() error {
	var err error
	if s.v6 {
		filter := unix.ICMPv6Filter{}
		for i := range filter.Data {
			filter.Data[i] = ^uint32(0)
		}
		filter.Data[echoReply6/32] &^= 1 << (echoReply6 % 32)
		err = unix.SetsockoptICMPv6Filter(s.fd, unix.IPPROTO_ICMPV6, unix.ICMPV6_FILTER, &filter)
	} else {
		err = unix.SetsockoptInt(s.fd, unix.SOL_RAW, unix.ICMP_FILTER, ^(1 << echoReply4))
	}
	if err != nil {
		return fmt.Errorf("ICMP socket: filter: %w", err)
	}
	_ = unix.SetsockoptInt(s.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 1<<20)
	return nil
}

// send sends an echo request.
func (s *pingSocket) send(packet []byte) error {
	if s.v6 {
		return unix.Sendto(s.fd, packet, unix.MSG_DONTWAIT, &s.to6)
	}
	return unix.Sendto(s.fd, packet, unix.MSG_DONTWAIT, &s.to4)
}

// receive takes one message: a reply, or with MSG_ERRQUEUE in flags an error.
// The slices are valid until the next call. EAGAIN says that there is none.
func (s *pingSocket) receive(flags int) (data, control []byte, errno unix.Errno) {
	s.iov.Base = &s.data[0]
	s.iov.SetLen(len(s.data))
	s.msg = unix.Msghdr{Name: &s.from[0], Namelen: sizeSockaddr6, Iov: &s.iov, Control: &s.oob[0]}
	s.msg.SetIovlen(1)
	s.msg.SetControllen(len(s.oob))
	n, _, errno := unix.Syscall(unix.SYS_RECVMSG, uintptr(s.fd),
		uintptr(unsafe.Pointer(&s.msg)), uintptr(flags|unix.MSG_DONTWAIT))
	if errno != 0 {
		return nil, nil, errno
	}
	return s.data[:n], s.oob[:s.msg.Controllen], 0
}

// reply takes one echo reply of ours out of what receive gave.
func (s *pingSocket) reply(data []byte) (seq uint16, ok bool) {
	want := uint8(echoReply4)
	if s.v6 {
		want = echoReply6
	} else if s.raw {
		data = skipIP4(data)
	}
	id, seq, ok := parseEcho(data, want)
	return seq, ok && (!s.raw || id == s.id)
}

// sender is the source of the message that receive gave last.
func (s *pingSocket) sender() netip.Addr {
	return s.named(decodeSockaddr(s.from[:s.msg.Namelen], ""))
}

// named gives an address in the destination's zone the zone's requested name.
func (s *pingSocket) named(a netip.Addr) netip.Addr {
	if a.Zone() != "" && a.Zone() == strconv.FormatUint(uint64(s.to6.ZoneId), 10) {
		return a.WithZone(s.zone)
	}
	return a
}

// pathMTU is the MTU towards the destination as the kernel knows it, 0 if it
// does not say. It connects the socket, which getsockopt(2) wants (ip(7)).
func (s *pingSocket) pathMTU() int {
	level, name := unix.SOL_IP, unix.IP_MTU
	if s.v6 {
		level, name = unix.SOL_IPV6, unix.IPV6_MTU
	}
	if s.connect() != nil {
		return 0
	}
	mtu, err := unix.GetsockoptInt(s.fd, level, name)
	if err != nil {
		return 0
	}
	return mtu
}

// connect ties the socket to the destination, for good.
func (s *pingSocket) connect() error {
	s.tied = true
	if s.v6 {
		return unix.Connect(s.fd, &s.to6)
	}
	return unix.Connect(s.fd, &s.to4)
}

// close gives the socket back.
func (s *pingSocket) close() {
	if s.stop != nil {
		s.stop()
	}
	if s.file != nil {
		_ = s.file.Close()
	} else if s.fd >= 0 {
		_ = unix.Close(s.fd)
	}
	s.fd, s.file = -1, nil
}

// elapsed is the round-trip time: to the receive timestamp, unless the clock
// was set in between, which shows as more than passed until now.
func elapsed(sent, stamp time.Time) time.Duration {
	until := time.Since(sent)
	if stamp.IsZero() {
		return until
	}
	if rtt := time.Duration(stamp.UnixNano() - sent.UnixNano()); rtt >= 0 && rtt <= until {
		return rtt
	}
	return until
}
