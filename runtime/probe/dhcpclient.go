package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"os"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/packet"
)

// Ports of DHCP (RFC 2131, section 4.1).
const (
	dhcpServerPort = 67
	dhcpClientPort = 68
)

// DHCPRequest says who asks for an address.
type DHCPRequest struct {
	Index     int // of the link
	Dev       string
	MAC       packet.MAC
	Hostname  string     // "" says none
	Want      netip.Addr // invalid for any
	ClientID  []byte     // nil says none: the MAC address is it
	Broadcast bool       // the server shall broadcast its answers
	// Timeout is for all of it.
	Timeout time.Duration
}

// DHCPLease is what a client got.
type DHCPLease struct {
	Prefix netip.Prefix // the address with its subnet
	Server netip.Addr
	// Time is how long it may be used; Renewal and Rebinding are when it should ask
	// its server, then any, for more (T1 and T2); [packet.DHCPInfinite] for ever.
	Time, Renewal, Rebinding time.Duration
	// Options are all that the server said.
	Options packet.DHCPOptions
}

// DHCPResult is what came of asking.
type DHCPResult struct {
	Lease *DHCPLease // nil when there is none
	Sent  int        // messages
	Took  time.Duration
	Err   error // why there is none
	// Refused: the server said no (DHCPNAK), so that the address is not to be used.
	Refused bool
}

// wanted is what the client asks for (RFC 2132, section 9.8).
var wanted = []byte{packet.DHCPSubnetMask, packet.DHCPRouter, packet.DHCPDNS, packet.DHCPHostName, packet.DHCPDomain, packet.DHCPMTU,
	packet.DHCPBroadcast, packet.DHCPLeaseTime, packet.DHCPRenewal, packet.DHCPRebinding, packet.DHCPClasslessRoutes}

const (
	firstPatience = time.Second // before a message is sent again; each time twice as long
	longPatience  = 16 * time.Second
	mostRequested = 4 // requests for an offer, before it counts as withdrawn
	mostRefused   = 3 // offers that the server did not stand by, before the client gives up
	afterRefusal  = 250 * time.Millisecond
)

// dhcpClient is a client while it asks.
type dhcpClient struct {
	*DHCPRequest
	link     *linkUDP
	began    time.Time
	deadline time.Time
	xid      uint32
	sent     int
}

var dhcpTransactions atomic.Uint32

func newDHCPClient(q *DHCPRequest) *dhcpClient {
	c := &dhcpClient{DHCPRequest: q, began: time.Now()}
	c.deadline = c.began.Add(q.Timeout)
	c.xid = binary.BigEndian.Uint32(q.MAC[2:]) ^ dhcpTransactions.Add(1)<<16
	return c
}

// DHCP asks for an address: DHCPDISCOVER, and DHCPREQUEST for the first offer (RFC
// 2131, section 3.1). It takes no other server's, and sends a message again after a
// second, two, four … without a random part. What the network does is in the result;
// the error is as that of [Ping].
func DHCP(ctx context.Context, enter Enter, q DHCPRequest) (r DHCPResult, err error) {
	c := newDHCPClient(&q)
	if c.link, err = openLinkUDP(enter, q.Index); err != nil {
		return r, err
	}
	defer c.link.close()
	defer context.AfterFunc(ctx, c.link.stop)()
	r.Lease, err = c.ask(ctx)
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	r.Sent, r.Took = c.sent, time.Since(c.began)
	var refused *nakError
	switch {
	case errors.As(err, &refused):
		r.Refused = true
	case errors.Is(err, os.ErrDeadlineExceeded):
		err = fmt.Errorf("no server answered within %v", q.Timeout)
	}
	r.Err = err
	return r, nil
}

// nakError says that the server refused.
type nakError struct {
	server netip.Addr
	why    string
}

func (e *nakError) Error() string {
	if e.why == "" {
		return fmt.Sprintf("%s refused", e.server)
	}
	return fmt.Sprintf("%s refused: %s", e.server, e.why)
}

// ask goes from a DHCPDISCOVER to a lease, and begins again when the server does not
// stand by its offer.
func (c *dhcpClient) ask(ctx context.Context) (*DHCPLease, error) {
	for refused := 0; ; {
		offer, err := c.exchange(ctx, c.discover(), 0, packet.DHCPOffer)
		if err != nil {
			return nil, err
		}
		answer, err := c.exchange(ctx, c.request(offer), mostRequested, packet.DHCPAck, packet.DHCPNak)
		switch {
		case errors.Is(err, errWithdrawn):
			continue
		case err != nil:
			return nil, err
		case answer.Type() == packet.DHCPAck:
			return newDHCPLease(answer)
		}
		if refused++; refused == mostRefused || !sleep(ctx, afterRefusal) {
			return nil, &nakError{answer.Options.Addr(packet.DHCPServerID), answer.Options.Text(packet.DHCPMessage)}
		}
	}
}

// message is one of the client's, with what all of them say.
func (c *dhcpClient) message(kind packet.DHCPType) *packet.DHCP {
	m := &packet.DHCP{XID: c.xid, Broadcast: c.Broadcast, CHAddr: c.MAC,
		Options: packet.DHCPOptions{packet.DHCPMessageType: {byte(kind)}}}
	if c.ClientID != nil {
		m.Options[packet.DHCPClientID] = c.ClientID
	}
	if kind == packet.DHCPRelease {
		return m
	}
	m.Options[packet.DHCPParameters] = wanted
	if c.Hostname != "" {
		m.Options[packet.DHCPHostName] = []byte(c.Hostname)
	}
	return m
}

func (c *dhcpClient) discover() *packet.DHCP {
	c.xid += 1 << 8
	m := c.message(packet.DHCPDiscover)
	if c.Want.IsValid() {
		m.Options.SetAddrs(packet.DHCPRequestedIP, c.Want)
	}
	return m
}

func (c *dhcpClient) request(offer *packet.DHCP) *packet.DHCP {
	m := c.message(packet.DHCPRequest)
	m.Options.SetAddrs(packet.DHCPRequestedIP, offer.YIAddr)
	m.Options.SetAddrs(packet.DHCPServerID, offer.Options.Addr(packet.DHCPServerID))
	return m
}

// errWithdrawn says that an offer's server does not answer any more.
var errWithdrawn = errors.New("the offer was withdrawn")

// exchange sends a message until an answer of these types comes, most times at most
// (0: until the deadline).
func (c *dhcpClient) exchange(ctx context.Context, m *packet.DHCP, most int, types ...packet.DHCPType) (*packet.DHCP, error) {
	patience := firstPatience
	for n := 1; ; n++ {
		m.Secs = uint16(time.Since(c.began) / time.Second)
		everybody := netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpServerPort)
		err := c.link.send(broadcastMAC, netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpClientPort), everybody, m.Bytes())
		if err != nil {
			return nil, fmt.Errorf("send: %w", err)
		}
		c.sent++
		until := time.Now().Add(patience)
		if until.After(c.deadline) {
			until = c.deadline
		}
		answer, err := c.await(ctx, m, until, types)
		if err == nil || ctx.Err() != nil || !errors.Is(err, os.ErrDeadlineExceeded) || !time.Now().Before(c.deadline) {
			return answer, err
		}
		if n == most {
			return nil, errWithdrawn
		}
		patience = min(2*patience, longPatience)
	}
}

// await waits for the answer to a message.
func (c *dhcpClient) await(ctx context.Context, m *packet.DHCP, until time.Time, types []packet.DHCPType) (*packet.DHCP, error) {
	for {
		data, _, err := c.link.receive(ctx, dhcpClientPort, until)
		if err != nil {
			return nil, err
		}
		if answer := c.answer(data, m, types); answer != nil {
			return answer, nil
		}
	}
}

// answer is the message in a datagram, if it answers this one.
func (c *dhcpClient) answer(data []byte, m *packet.DHCP, types []packet.DHCPType) *packet.DHCP {
	a, err := packet.ParseDHCP(data)
	if err != nil || !a.Reply || a.XID != m.XID || a.CHAddr != c.MAC || !a.Options.Addr(packet.DHCPServerID).IsValid() {
		return nil
	}
	if asked := m.Options.Addr(packet.DHCPServerID); asked.IsValid() && asked != a.Options.Addr(packet.DHCPServerID) {
		return nil
	}
	for _, t := range types {
		if a.Type() == t && (t == packet.DHCPNak || a.YIAddr.IsValid()) {
			return a
		}
	}
	return nil
}

// newDHCPLease reads an acknowledgement. Without a mask it is the class's, as in RFC
// 950; T1 and T2 are those of RFC 2131, section 4.4.5.
func newDHCPLease(m *packet.DHCP) (*DHCPLease, error) {
	bits, ok := m.Options.PrefixLen()
	if !ok {
		bits, _ = net.IP(m.YIAddr.AsSlice()).DefaultMask().Size()
	}
	d, ok := m.Options.Time(packet.DHCPLeaseTime)
	if !ok || d == 0 {
		return nil, fmt.Errorf("the answer of %s has no lease time", m.Options.Addr(packet.DHCPServerID))
	}
	lease := &DHCPLease{Prefix: netip.PrefixFrom(m.YIAddr, bits), Server: m.Options.Addr(packet.DHCPServerID), Time: d, Renewal: d / 2, Rebinding: d / 8 * 7,
		Options: m.Options}
	if d == packet.DHCPInfinite {
		lease.Renewal, lease.Rebinding = d, d
	}
	if t, ok := m.Options.Time(packet.DHCPRenewal); ok {
		lease.Renewal = t
	}
	if t, ok := m.Options.Time(packet.DHCPRebinding); ok {
		lease.Rebinding = t
	}
	return lease, nil
}

// DHCPRenew asks the server for more time (RFC 2131, section 4.4.5), by unicast from
// the address of the lease.
func DHCPRenew(ctx context.Context, enter Enter, q DHCPRequest, lease *DHCPLease) (r DHCPResult, err error) {
	c := newDHCPClient(&q)
	conn, err := c.toServer(enter, lease)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	defer context.AfterFunc(ctx, func() { _ = conn.SetReadDeadline(time.Unix(1, 0)) })()
	m := c.message(packet.DHCPRequest)
	m.CIAddr, m.Broadcast = lease.Prefix.Addr(), false
	answer, err := c.converse(ctx, conn, lease.Server, m)
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	switch {
	case err != nil:
	case answer.Type() == packet.DHCPNak:
		r.Refused, err = true, &nakError{lease.Server, answer.Options.Text(packet.DHCPMessage)}
	default:
		r.Lease, err = newDHCPLease(answer)
	}
	r.Sent, r.Took, r.Err = c.sent, time.Since(c.began), err
	return r, nil
}

// DHCPRelease tells the server that the address is not used any more (section
// 4.4.6). No answer is to be expected.
func DHCPRelease(enter Enter, q DHCPRequest, lease *DHCPLease) error {
	c := newDHCPClient(&q)
	conn, err := c.toServer(enter, lease)
	if err != nil {
		return err
	}
	defer conn.Close()
	m := c.message(packet.DHCPRelease)
	m.CIAddr, m.Broadcast = lease.Prefix.Addr(), false
	m.Options.SetAddrs(packet.DHCPServerID, lease.Server)
	_, err = conn.WriteToUDPAddrPort(m.Bytes(), netip.AddrPortFrom(lease.Server, dhcpServerPort))
	return err
}

func (c *dhcpClient) toServer(enter Enter, lease *DHCPLease) (*net.UDPConn, error) {
	conn, err := boundUDP(enter, netip.AddrPortFrom(lease.Prefix.Addr(), dhcpClientPort), c.Dev)
	if errors.Is(err, unix.EADDRNOTAVAIL) {
		err = fmt.Errorf("%s is not an address of the namespace any more: %w", lease.Prefix.Addr(), err)
	}
	return conn, err
}

// converse sends a request to the server until it answers.
func (c *dhcpClient) converse(ctx context.Context, conn *net.UDPConn, server netip.Addr, m *packet.DHCP) (*packet.DHCP, error) {
	data := make([]byte, 1<<16)
	for patience := firstPatience; time.Now().Before(c.deadline) && ctx.Err() == nil; patience = min(2*patience, longPatience) {
		if _, err := conn.WriteToUDPAddrPort(m.Bytes(), netip.AddrPortFrom(server, dhcpServerPort)); err != nil {
			return nil, fmt.Errorf("send: %w", err)
		}
		c.sent++
		until := time.Now().Add(patience)
		if until.After(c.deadline) {
			until = c.deadline
		}
		_ = conn.SetReadDeadline(until)
		for ctx.Err() == nil {
			n, err := conn.Read(data)
			if errors.Is(err, os.ErrDeadlineExceeded) {
				break
			}
			if err != nil {
				return nil, err
			}
			if a := c.answer(data[:n], m, []packet.DHCPType{packet.DHCPAck, packet.DHCPNak}); a != nil {
				return a, nil
			}
		}
	}
	return nil, fmt.Errorf("%s did not answer within %v", server, c.Timeout)
}
