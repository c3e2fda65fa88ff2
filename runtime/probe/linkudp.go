package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/packet"
)

// linkUDP exchanges UDP datagrams over a link by a packet socket, whatever addresses
// the ends have: a client of DHCP has none yet, and its server cannot ask for the MAC
// address of one that nobody has.
type linkUDP struct {
	file  *os.File
	raw   syscall.RawConn
	index int
	in    packet.Packet // the one that is being read
	data  []byte
}

// openLinkUDP opens one; datagrams come from then on.
func openLinkUDP(enter Enter, index int) (*linkUDP, error) {
	fd := -1
	err := enter(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	u := &linkUDP{file: os.NewFile(uintptr(fd), "packet socket"), index: index, data: make([]byte, 1<<16)}
	err = unix.SetsockoptInt(fd, unix.SOL_PACKET, unix.PACKET_AUXDATA, 1)
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: index})
	}
	if err == nil {
		u.raw, err = u.file.SyscallConn()
	}
	if err != nil {
		u.file.Close()
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	return u, nil
}

var broadcastMAC = packet.MAC{255, 255, 255, 255, 255, 255}

// send sends a datagram to a MAC address.
func (u *linkUDP) send(to packet.MAC, src, dst netip.AddrPort, data []byte) error {
	b, err := packet.Craft([]packet.Spec{
		{Kind: packet.IPv4, Fields: map[string]any{"src": src.Addr(), "dst": dst.Addr()}},
		{Kind: packet.UDP, Fields: map[string]any{"sport": int(src.Port()), "dport": int(dst.Port())}},
		{Kind: packet.Payload, Data: data},
	})
	if err != nil {
		return err
	}
	address := &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_IP), Ifindex: u.index, Halen: uint8(len(to))}
	copy(address.Addr[:], to[:])
	failed := u.raw.Control(func(fd uintptr) { err = unix.Sendto(int(fd), b, 0, address) })
	if failed != nil {
		return failed
	}
	return err
}

// receive waits for a datagram to a port until the deadline. What is malformed, or
// has a wrong checksum that the sender did not leave to the hardware, is passed over.
// The data are good until the next one.
func (u *linkUDP) receive(ctx context.Context, port uint16, deadline time.Time) (data []byte, from netip.AddrPort, err error) {
	if err := u.file.SetReadDeadline(deadline); err != nil {
		return nil, from, err
	}
	if ctx.Err() != nil { // whose end may have been undone just now
		return nil, from, ctx.Err()
	}
	control := make([]byte, 128)
	for {
		var n, oobn int
		var failed error
		err := u.raw.Read(func(fd uintptr) bool {
			n, oobn, _, _, failed = unix.Recvmsg(int(fd), u.data, control, unix.MSG_DONTWAIT)
			return failed != unix.EAGAIN && failed != unix.EINTR
		})
		if err == nil && failed != unix.ENETDOWN { // which is said once when the link goes down
			err = failed
		}
		if err != nil {
			return nil, from, err
		}
		u.in.Decode(u.data[:n], n, packet.IPv4)
		u.in.Unfinished = unfinished(control[:oobn])
		if data, from, ok := u.datagram(port); ok {
			return data, from, nil
		}
	}
}

// datagram is the packet's, if it is one to the port.
func (u *linkUDP) datagram(port uint16) (data []byte, from netip.AddrPort, ok bool) {
	ip, udp := u.in.Layer(packet.IPv4, 0), u.in.Layer(packet.UDP, 0)
	if ip == nil || udp == nil || udp.End > len(u.in.Data) || udp.Fragment {
		return nil, from, false
	}
	get := func(l *packet.Layer, name string) any { return u.in.Get(l, l.Kind.Field(name)) }
	if get(udp, "dport") != int(port) || get(udp, "checksum_ok") == false {
		return nil, from, false
	}
	src, _ := get(ip, "src").(netip.Addr)
	sport, _ := get(udp, "sport").(int)
	return u.in.Data[udp.Body:udp.End], netip.AddrPortFrom(src, uint16(sport)), true
}

// unfinished tells from the control messages of a packet socket whether the
// transport's checksum was left to the hardware (packet(7), PACKET_AUXDATA).
func unfinished(control []byte) bool {
	for {
		level, kind, data, rest, ok := nextControl(control)
		if !ok {
			return false
		}
		if level == unix.SOL_PACKET && kind == unix.PACKET_AUXDATA && len(data) >= 4 {
			return binary.NativeEndian.Uint32(data)&statusUnfinished != 0
		}
		control = rest
	}
}

// stop makes who waits return.
func (u *linkUDP) stop() { _ = u.file.SetReadDeadline(time.Unix(1, 0)) }

func (u *linkUDP) close() { _ = u.file.Close() }

// boundUDP opens a UDP socket of IPv4 in the namespace, bound to an address and, when
// dev is not "", to a link.
func boundUDP(enter Enter, at netip.AddrPort, dev string) (*net.UDPConn, error) {
	fd, err := newSocket(enter, false, unix.SOCK_DGRAM)
	if err != nil {
		return nil, err
	}
	file := os.NewFile(uintptr(fd), "socket")
	defer file.Close()
	if dev != "" {
		err = unix.BindToDevice(fd, dev)
	}
	if err == nil {
		err = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_BROADCAST, 1)
	}
	if err == nil {
		err = unix.Bind(fd, &unix.SockaddrInet4{Port: int(at.Port()), Addr: at.Addr().As4()})
	}
	if err != nil {
		return nil, err
	}
	conn, err := net.FilePacketConn(file)
	if err != nil {
		return nil, err
	}
	return conn.(*net.UDPConn), nil
}
