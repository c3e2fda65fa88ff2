package probe

import (
	"context"
	"fmt"
	"io"
	"maps"
	"net"
	"net/netip"
	"slices"
	"sync"
	"time"

	"nsscript/runtime/packet"
)

// DHCPGrant is what a client is given.
type DHCPGrant struct {
	IP          netip.Addr
	Time        time.Duration // of the lease; [packet.DHCPInfinite] for ever
	Router, DNS []netip.Addr
	Domain      string
	MTU         int // 0 says nothing
	Routes      []packet.DHCPRoute
	Options     packet.DHCPOptions // as they are, before all others
}

// DHCPQuestion is what a client says.
type DHCPQuestion struct {
	Type     packet.DHCPType
	MAC      packet.MAC
	Want     netip.Addr // the address that it asks for, or has; invalid for any
	Hostname string
	ClientID []byte
	Relay    netip.Addr // the agent that passed it on; invalid for none
	Options  packet.DHCPOptions
	// Offer is what the server would give it; invalid for nothing.
	Offer netip.Addr
}

// DHCPVerdict is what a server does with a question.
type DHCPVerdict int

// The verdicts.
const (
	DHCPGive   DHCPVerdict = iota // what stands in the grant
	DHCPRefuse                    // DHCPNAK
	DHCPSilent                    // nothing
)

// DHCPService says what a server of DHCP gives to whom.
type DHCPService struct {
	// Index and Dev are of the link whose clients are served; 0 and "" for those of
	// relay agents alone.
	Index int
	Dev   string
	// Server is the server's own address, Subnet that of its clients.
	Server netip.Addr
	Subnet netip.Prefix
	// First to Last are addresses to give, but those of Taken.
	First, Last netip.Addr
	Taken       []netip.Addr
	Reserved    map[packet.MAC]netip.Addr
	// Grant is what all get.
	Grant DHCPGrant
	// Answer, unless it is nil, is asked about each DHCPDISCOVER, DHCPREQUEST and
	// DHCPINFORM, and may change the grant.
	Answer func(q DHCPQuestion, g *DHCPGrant) DHCPVerdict
	// Note is told of each message of a client; nil for nobody.
	Note func(q DHCPQuestion)
}

// DHCPBinding is an address that somebody has, or is offered.
type DHCPBinding struct {
	IP       netip.Addr
	MAC      packet.MAC
	Hostname string
	Expires  time.Time // zero for never
	// State is "offered", "bound" or "declined": somebody else has it, said a client.
	State string

	client string // the identifier, or the MAC address
}

func (b *DHCPBinding) expired(now time.Time) bool {
	return !b.Expires.IsZero() && now.After(b.Expires)
}

// offerTime is how long an offer is kept for its client.
const offerTime = time.Minute

// DHCPServer gives addresses to the clients of a link (RFC 2131), as the only server
// there: to a request for an address that nobody else has it says yes, and else no.
type DHCPServer struct {
	*Server
	service DHCPService
	conn    *net.UDPConn
	link    *linkUDP // nil for relay agents alone

	mu       sync.Mutex
	bindings map[netip.Addr]*DHCPBinding
}

// ServeDHCP begins to serve.
func ServeDHCP(enter Enter, service DHCPService) (*DHCPServer, error) {
	conn, err := boundUDP(enter, netip.AddrPortFrom(netip.IPv4Unspecified(), dhcpServerPort), service.Dev)
	if err != nil {
		return nil, err
	}
	s := &DHCPServer{service: service, conn: conn, bindings: map[netip.Addr]*DHCPBinding{}}
	s.Server = &Server{Addr: netip.AddrPortFrom(service.Server, dhcpServerPort), listener: s.sockets(), open: map[io.Closer]bool{}}
	if service.Index != 0 {
		if s.link, err = openLinkUDP(enter, service.Index); err != nil {
			conn.Close()
			return nil, err
		}
	}
	s.busy.Go(s.serve)
	return s, nil
}

// sockets closes both.
func (s *DHCPServer) sockets() io.Closer { return closer(func() { s.conn.Close(); s.closeLink() }) }

func (s *DHCPServer) closeLink() {
	if s.link != nil {
		s.link.close()
	}
}

type closer func()

func (c closer) Close() error { c(); return nil }

// serve answers until the server is closed.
func (s *DHCPServer) serve() {
	data := make([]byte, 1<<16)
	for {
		n, err := s.conn.Read(data)
		if !s.Running() {
			return
		}
		if err != nil {
			_ = sleep(context.Background(), 10*time.Millisecond) // the link is down, say
			continue
		}
		m, err := packet.ParseDHCP(data[:n])
		if err != nil || m.Reply || m.GIAddr.IsValid() && !s.service.Subnet.Contains(m.GIAddr) || !m.GIAddr.IsValid() && s.link == nil {
			continue
		}
		s.message(m)
	}
}

// message serves one message.
func (s *DHCPServer) message(m *packet.DHCP) {
	q := question(m)
	if s.service.Note != nil {
		s.service.Note(q)
	}
	if server := m.Options.Addr(packet.DHCPServerID); server.IsValid() && server != s.service.Server {
		s.withdraw(q)
		return
	}
	switch q.Type {
	case packet.DHCPDiscover:
		q.Offer = s.choose(q)
		s.decide(m, q, packet.DHCPOffer)
	case packet.DHCPRequest:
		if q.Want.IsValid() && s.free(q.Want, q) {
			q.Offer = q.Want
		}
		s.decide(m, q, packet.DHCPAck)
	case packet.DHCPInform:
		s.decide(m, q, packet.DHCPAck)
	case packet.DHCPRelease:
		s.forget(q, m.CIAddr)
	case packet.DHCPDecline:
		s.decline(q)
	}
}

// question is what a message says.
func question(m *packet.DHCP) DHCPQuestion {
	q := DHCPQuestion{Type: m.Type(), MAC: m.CHAddr, Want: m.Options.Addr(packet.DHCPRequestedIP), Hostname: m.Options.Text(packet.DHCPHostName),
		ClientID: m.Options[packet.DHCPClientID], Relay: m.GIAddr, Options: m.Options}
	if !q.Want.IsValid() {
		q.Want = m.CIAddr
	}
	return q
}

// client is who asks, for the table of bindings.
func (q *DHCPQuestion) client() string {
	if q.ClientID != nil {
		return string(q.ClientID)
	}
	return "\x01" + string(q.MAC[:]) // as an identifier of RFC 2132, section 9.14
}

// decide makes the answer, with the script's word if it has one.
func (s *DHCPServer) decide(m *packet.DHCP, q DHCPQuestion, kind packet.DHCPType) {
	g := s.service.Grant
	g.IP = q.Offer
	verdict := DHCPGive
	if s.service.Answer != nil {
		verdict = s.service.Answer(q, &g)
	}
	informs := q.Type == packet.DHCPInform
	switch {
	case verdict == DHCPSilent:
		return
	case q.Type == packet.DHCPRequest && (verdict == DHCPRefuse || g.IP != q.Want):
		s.answer(m, s.refusal(m))
		return
	case verdict == DHCPRefuse || !informs && !g.IP.IsValid():
		return // nothing to offer
	case !informs:
		s.bind(q, g, kind)
	}
	s.answer(m, s.reply(m, g, kind))
}

// refusal is a DHCPNAK.
func (s *DHCPServer) refusal(m *packet.DHCP) *packet.DHCP {
	a := &packet.DHCP{Reply: true, XID: m.XID, CHAddr: m.CHAddr, GIAddr: m.GIAddr, Broadcast: m.GIAddr.IsValid(),
		Options: packet.DHCPOptions{packet.DHCPMessageType: {byte(packet.DHCPNak)}, packet.DHCPMessage: []byte("address not available")}}
	a.Options.SetAddrs(packet.DHCPServerID, s.service.Server)
	return a
}

// reply is a DHCPOFFER or DHCPACK.
func (s *DHCPServer) reply(m *packet.DHCP, g DHCPGrant, kind packet.DHCPType) *packet.DHCP {
	a := &packet.DHCP{Reply: true, XID: m.XID, CHAddr: m.CHAddr, GIAddr: m.GIAddr, CIAddr: m.CIAddr, Broadcast: m.Broadcast, Options: packet.DHCPOptions{}}
	if kind == packet.DHCPOffer {
		a.CIAddr = netip.Addr{}
	}
	o := a.Options
	if m.Type() != packet.DHCPInform {
		a.YIAddr = g.IP
		o.SetTime(packet.DHCPLeaseTime, g.Time)
	}
	mask := net.CIDRMask(s.service.Subnet.Bits(), 32)
	o[packet.DHCPSubnetMask], o[packet.DHCPBroadcast] = mask, LastOf(s.service.Subnet).AsSlice()
	o.SetAddrs(packet.DHCPRouter, g.Router...)
	o.SetAddrs(packet.DHCPDNS, g.DNS...)
	o.SetRoutes(g.Routes)
	if g.Domain != "" {
		o[packet.DHCPDomain] = []byte(g.Domain)
	}
	if g.MTU != 0 {
		o[packet.DHCPMTU] = []byte{byte(g.MTU >> 8), byte(g.MTU)}
	}
	maps.Copy(o, g.Options)
	o[packet.DHCPMessageType] = []byte{byte(kind)}
	o.SetAddrs(packet.DHCPServerID, s.service.Server)
	return a
}

// LastOf is the last address of an IPv4 subnet, to which broadcasts go.
func LastOf(p netip.Prefix) netip.Addr {
	ip, mask := p.Addr().As4(), net.CIDRMask(p.Bits(), 32)
	for i := range ip {
		ip[i] |= ^mask[i]
	}
	return netip.AddrFrom4(ip)
}

// answer sends an answer to where the client can hear it (RFC 2131, section 4.1): by
// the relay agent, to the address that it has, to its MAC address, or to all.
func (s *DHCPServer) answer(m, a *packet.DHCP) {
	me := netip.AddrPortFrom(s.service.Server, dhcpServerPort)
	refused := a.Type() == packet.DHCPNak
	switch {
	case m.GIAddr.IsValid():
		_, _ = s.conn.WriteToUDPAddrPort(a.Bytes(), netip.AddrPortFrom(m.GIAddr, dhcpServerPort))
	case m.CIAddr.IsValid() && !refused:
		_, _ = s.conn.WriteToUDPAddrPort(a.Bytes(), netip.AddrPortFrom(m.CIAddr, dhcpClientPort))
	case m.Broadcast || refused || !a.YIAddr.IsValid():
		_ = s.link.send(broadcastMAC, me, netip.AddrPortFrom(netip.AddrFrom4([4]byte{255, 255, 255, 255}), dhcpClientPort), a.Bytes())
	default:
		_ = s.link.send(m.CHAddr, me, netip.AddrPortFrom(a.YIAddr, dhcpClientPort), a.Bytes())
	}
}

// reservedFor tells whose an address is by reservation.
func (s *DHCPServer) reservedFor(ip netip.Addr) (packet.MAC, bool) {
	for mac, r := range s.service.Reserved {
		if r == ip {
			return mac, true
		}
	}
	return packet.MAC{}, false
}

// free tells whether the client may have an address: its own, the one reserved for
// it, or one of the pool that nobody else has.
func (s *DHCPServer) free(ip netip.Addr, q DHCPQuestion) bool {
	if r, ok := s.service.Reserved[q.MAC]; ok {
		return ip == r
	}
	s.mu.Lock()
	b := s.bindings[ip]
	s.mu.Unlock()
	if b != nil && b.client == q.client() && b.State != "declined" {
		return true
	}
	if _, reserved := s.reservedFor(ip); reserved || !s.inPool(ip) {
		return false
	}
	return b == nil || b.expired(time.Now())
}

func (s *DHCPServer) inPool(ip netip.Addr) bool {
	return ip.Is4() && !ip.Less(s.service.First) && !s.service.Last.Less(ip) && !slices.Contains(s.service.Taken, ip)
}

// choose is the address to offer (RFC 2131, section 4.3.1): the client's own, the one
// that it wants, the first that nobody has had, the one that expired first.
func (s *DHCPServer) choose(q DHCPQuestion) netip.Addr {
	if r, ok := s.service.Reserved[q.MAC]; ok {
		return r
	}
	if own := s.own(q); own.IsValid() {
		return own
	}
	if q.Want.IsValid() && s.free(q.Want, q) {
		return q.Want
	}
	var oldest DHCPBinding
	for ip := s.service.First; !s.service.Last.Less(ip); ip = ip.Next() {
		if !s.free(ip, q) {
			continue
		}
		s.mu.Lock()
		b := s.bindings[ip]
		s.mu.Unlock()
		if b == nil {
			return ip
		}
		if !oldest.IP.IsValid() || b.Expires.Before(oldest.Expires) {
			oldest = *b
		}
	}
	return oldest.IP
}

// own is the address that the client has, or had last.
func (s *DHCPServer) own(q DHCPQuestion) netip.Addr {
	s.mu.Lock()
	defer s.mu.Unlock()
	for ip, b := range s.bindings {
		if b.client == q.client() && b.State != "declined" {
			return ip
		}
	}
	return netip.Addr{}
}

// bind notes who has an address now, or is offered it.
func (s *DHCPServer) bind(q DHCPQuestion, g DHCPGrant, kind packet.DHCPType) {
	b := &DHCPBinding{IP: g.IP, MAC: q.MAC, Hostname: q.Hostname, State: "bound", client: q.client()}
	if g.Time != packet.DHCPInfinite {
		b.Expires = time.Now().Add(g.Time)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if kind == packet.DHCPOffer {
		if old := s.bindings[g.IP]; old != nil && old.State == "bound" && old.client == b.client && !old.expired(time.Now()) {
			return // which it keeps until it asks for more
		}
		b.State, b.Expires = "offered", time.Now().Add(offerTime)
	}
	for ip, old := range s.bindings { // one address for each
		if old.client == b.client && old.State != "declined" {
			delete(s.bindings, ip)
		}
	}
	s.bindings[g.IP] = b
}

// withdraw forgets an offer to a client that took another server's.
func (s *DHCPServer) withdraw(q DHCPQuestion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	maps.DeleteFunc(s.bindings, func(_ netip.Addr, b *DHCPBinding) bool { return b.client == q.client() && b.State == "offered" })
}

// forget ends a binding.
func (s *DHCPServer) forget(q DHCPQuestion, ip netip.Addr) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bindings[ip]; b != nil && b.client == q.client() {
		delete(s.bindings, ip)
	}
}

// decline keeps an address that somebody else uses, says its client, from all for as
// long as a lease lasts.
func (s *DHCPServer) decline(q DHCPQuestion) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if b := s.bindings[q.Want]; b != nil && b.client == q.client() {
		b.State = "declined"
	}
}

// Leases are the bindings, by address, without those that have expired.
func (s *DHCPServer) Leases() []DHCPBinding {
	s.mu.Lock()
	defer s.mu.Unlock()
	var list []DHCPBinding
	for _, b := range s.bindings {
		if !b.expired(time.Now()) {
			list = append(list, *b)
		}
	}
	slices.SortFunc(list, func(a, b DHCPBinding) int { return a.IP.Compare(b.IP) })
	return list
}

// Check finds out whether the service can be: its addresses are of its subnet.
func (s *DHCPService) Check() error {
	for _, ip := range append(slices.Collect(maps.Values(s.Reserved)), s.First, s.Last) {
		if !s.Subnet.Contains(ip) {
			return fmt.Errorf("%s is not in the subnet %s", ip, s.Subnet)
		}
	}
	return nil
}
