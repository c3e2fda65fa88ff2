package probe

import (
	"context"
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"os"
	"time"

	"golang.org/x/sys/unix"
)

// ARPRequest says whom to ask by ARP (RFC 826).
type ARPRequest struct {
	// Index, MAC and Src are of the link that asks; without a source it is an ARP
	// probe (RFC 5227).
	Index int
	MAC   net.HardwareAddr
	Src   netip.Addr
	// Dst is the address that is looked for.
	Dst netip.Addr
	// Gratuitous tells the others that Dst is here (RFC 5227 section 2.3) and waits
	// for nothing.
	Gratuitous bool
	// Count is the number of requests, Interval from one to the next, Timeout for
	// each reply.
	Count             int
	Interval, Timeout time.Duration
}

// ARPResult is what came of it.
type ARPResult struct {
	Sent int
	RTTs []time.Duration
	// MACs are the addresses that answered: several when the address is taken twice.
	MACs []net.HardwareAddr
}

// ARP operations and sizes of RFC 826.
const (
	arpRequest = 1
	arpReply   = 2
	arpSize    = 28
)

// packet is the request as it goes out, behind the Ethernet header.
func (q *ARPRequest) packet() []byte {
	b := []byte{0, 1, 8, 0, 6, 4, 0, arpRequest}
	b = append(b, q.MAC...)
	src := netip.IPv4Unspecified()
	switch {
	case q.Gratuitous:
		src = q.Dst
	case q.Src.IsValid():
		src = q.Src
	}
	b = append(b, src.AsSlice()...)
	b = append(b, make([]byte, 6)...)
	return append(b, q.Dst.AsSlice()...)
}

// answers tells who answers the request in a packet.
func (q *ARPRequest) answers(b []byte) (net.HardwareAddr, bool) {
	if len(b) < arpSize || b[4] != 6 || b[5] != 4 || binary.BigEndian.Uint16(b[6:]) != arpReply || netip.AddrFrom4([4]byte(b[14:18])) != q.Dst {
		return nil, false
	}
	return append(net.HardwareAddr{}, b[8:14]...), true
}

// ARP asks who has an address, from a link. The error is as that of [Ping].
func ARP(ctx context.Context, enter Enter, q ARPRequest) (r ARPResult, err error) {
	fd := -1
	err = enter(func() error {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_DGRAM|unix.SOCK_NONBLOCK|unix.SOCK_CLOEXEC, 0)
		return err
	})
	if err != nil {
		return r, fmt.Errorf("packet socket: %w", err)
	}
	file := os.NewFile(uintptr(fd), "arp")
	defer file.Close()
	const etherARP = unix.ETH_P_ARP>>8 | unix.ETH_P_ARP&0xff<<8 // in network order
	if err := unix.Bind(fd, &unix.SockaddrLinklayer{Protocol: etherARP, Ifindex: q.Index}); err != nil {
		return r, fmt.Errorf("packet socket: %w", err)
	}
	everybody := &unix.SockaddrLinklayer{Protocol: etherARP, Ifindex: q.Index, Halen: 6, Addr: [8]byte{255, 255, 255, 255, 255, 255}}
	defer context.AfterFunc(ctx, func() { _ = file.SetReadDeadline(time.Unix(1, 0)) })()
	for next := time.Now(); r.Sent < q.Count; next = next.Add(q.Interval) {
		if r.Sent > 0 && !sleep(ctx, time.Until(next)) {
			break
		}
		sent := time.Now()
		if err := unix.Sendto(fd, q.packet(), 0, everybody); err != nil {
			return r, fmt.Errorf("send: %w", err)
		}
		if r.Sent++; !q.Gratuitous {
			r.await(ctx, file, &q, sent)
		}
	}
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	return r, nil
}

// sleep waits; false means that the context ended first.
func sleep(ctx context.Context, d time.Duration) bool {
	select {
	case <-time.After(d):
		return true
	case <-ctx.Done():
		return false
	}
}

// await waits for the reply to a request.
func (r *ARPResult) await(ctx context.Context, file *os.File, q *ARPRequest, sent time.Time) {
	buffer := make([]byte, 256)
	_ = file.SetReadDeadline(sent.Add(q.Timeout))
	for ctx.Err() == nil {
		n, err := file.Read(buffer)
		if err != nil {
			return
		}
		if mac, ok := q.answers(buffer[:n]); ok {
			r.RTTs = append(r.RTTs, time.Since(sent))
			r.meet(mac)
			return
		}
	}
}

// meet notes who answered.
func (r *ARPResult) meet(mac net.HardwareAddr) {
	for _, known := range r.MACs {
		if known.String() == mac.String() {
			return
		}
	}
	r.MACs = append(r.MACs, mac)
}
