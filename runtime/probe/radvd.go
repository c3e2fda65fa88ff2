package probe

import (
	"errors"
	"fmt"
	"net"
	"net/netip"
	"sync"
	"time"

	"github.com/mdlayher/ndp"
	"golang.org/x/net/ipv6"
)

// Advertisement is what a router says of itself and of its link (RFC 4861,
// section 4.2). Lifetimes of 0 say that something is not to be used any more.
type Advertisement struct {
	HopLimit       int // of packets that hosts send; 0 says nothing
	Managed, Other bool
	Preference     string        // low, medium or high (RFC 4191)
	Lifetime       time.Duration // as a default router, at most 18h12m15s
	Reachable      time.Duration // 0 says nothing
	Retrans        time.Duration // 0 says nothing
	MTU            int           // 0 says nothing
	MAC            net.HardwareAddr
	Prefixes       []AdvertisedPrefix
	Routes         []netip.Prefix // reached by this router (RFC 4191), as long as Lifetime
	DNS            []netip.Addr   // servers (RFC 8106)
	Search         []string       // domains (RFC 8106)
	// Interval is from one advertisement to the next.
	Interval time.Duration
}

// AdvertisedPrefix is one of a link (RFC 4861, section 4.6.2).
type AdvertisedPrefix struct {
	Prefix             netip.Prefix
	OnLink, Autonomous bool
	Valid, Preferred   time.Duration // Infinite or less
}

// Infinite is a lifetime without an end.
const Infinite = ndp.Infinity

var preferences = map[string]ndp.Preference{"low": ndp.Low, "medium": ndp.Medium, "high": ndp.High}

// Advertiser sends router advertisements: at once, then by the interval, and to
// whoever solicits one, without the delays by which RFC 4861 (section 6.2.6) keeps
// routers of one link from answering together. When it is stopped it says that it
// is no default router any more (section 6.2.5).
type Advertiser struct {
	conn *ndp.Conn
	ad   *ndp.RouterAdvertisement
	done chan struct{}
	stop sync.Once

	mu                 sync.Mutex
	sent, solicitation int
	err                error
}

var allNodes, allRouters = netip.MustParseAddr("ff02::1"), netip.MustParseAddr("ff02::2")

// Advertise starts to send on a link, which needs a link-local address.
func Advertise(enter Enter, dev string, a Advertisement) (*Advertiser, error) {
	s := &Advertiser{ad: a.message(), done: make(chan struct{})}
	if err := enter(func() error { return s.open(dev) }); err != nil {
		return nil, err
	}
	if err := s.send(allNodes); err != nil {
		s.conn.Close()
		return nil, err
	}
	go s.answer()
	go s.repeat(a.Interval)
	return s, nil
}

func (s *Advertiser) open(dev string) error {
	link, err := net.InterfaceByName(dev)
	if err != nil {
		return err
	}
	s.conn, _, err = ndp.Listen(link, ndp.LinkLocal)
	if err != nil {
		return err
	}
	var filter ipv6.ICMPFilter
	filter.SetAll(true)
	filter.Accept(ipv6.ICMPTypeRouterSolicitation)
	if err := errors.Join(s.conn.SetICMPFilter(&filter), s.conn.SetControlMessage(ipv6.FlagHopLimit, true), s.conn.JoinGroup(allRouters)); err != nil {
		s.conn.Close()
		return err
	}
	return nil
}

// message is the advertisement with its options.
func (a *Advertisement) message() *ndp.RouterAdvertisement {
	m := &ndp.RouterAdvertisement{CurrentHopLimit: uint8(a.HopLimit), ManagedConfiguration: a.Managed, OtherConfiguration: a.Other,
		RouterSelectionPreference: preferences[a.Preference], RouterLifetime: a.Lifetime, ReachableTime: a.Reachable, RetransmitTimer: a.Retrans}
	add := func(o ndp.Option) { m.Options = append(m.Options, o) }
	if len(a.MAC) > 0 {
		add(&ndp.LinkLayerAddress{Direction: ndp.Source, Addr: a.MAC})
	}
	if a.MTU > 0 {
		add(ndp.NewMTU(uint32(a.MTU)))
	}
	for _, p := range a.Prefixes {
		add(&ndp.PrefixInformation{PrefixLength: uint8(p.Prefix.Bits()), Prefix: p.Prefix.Masked().Addr(), OnLink: p.OnLink,
			AutonomousAddressConfiguration: p.Autonomous, ValidLifetime: p.Valid, PreferredLifetime: p.Preferred})
	}
	for _, r := range a.Routes {
		add(&ndp.RouteInformation{PrefixLength: uint8(r.Bits()), Prefix: r.Masked().Addr(), Preference: preferences[a.Preference], RouteLifetime: a.Lifetime})
	}
	if len(a.DNS) > 0 {
		add(&ndp.RecursiveDNSServer{Lifetime: a.Lifetime, Servers: a.DNS})
	}
	if len(a.Search) > 0 {
		add(&ndp.DNSSearchList{Lifetime: a.Lifetime, DomainNames: a.Search})
	}
	return m
}

func (s *Advertiser) send(to netip.Addr) error {
	err := s.conn.WriteTo(s.ad, nil, to)
	s.mu.Lock()
	defer s.mu.Unlock()
	if err != nil {
		s.err = err
		return err
	}
	s.sent++
	return nil
}

// repeat sends by the interval. An error does not end it: the link may be down for
// a while.
func (s *Advertiser) repeat(interval time.Duration) {
	t := time.NewTicker(interval)
	defer t.Stop()
	for {
		select {
		case <-s.done:
			return
		case <-t.C:
			_ = s.send(allNodes)
		}
	}
}

// answer sends to who solicits: to all when it has no address yet. What did not
// come from the link itself, or is malformed, is not answered (RFC 4861, section
// 6.1.1).
func (s *Advertiser) answer() {
	for {
		m, control, from, err := s.conn.ReadFrom()
		if errors.Is(err, net.ErrClosed) {
			return
		}
		if err != nil {
			select {
			case <-s.done:
				return
			case <-time.After(10 * time.Millisecond):
				continue
			}
		}
		if _, ok := m.(*ndp.RouterSolicitation); !ok || control == nil || control.HopLimit != ndp.HopLimit {
			continue
		}
		s.mu.Lock()
		s.solicitation++
		s.mu.Unlock()
		if from.IsUnspecified() {
			from = allNodes
		}
		_ = s.send(from)
	}
}

// Counts are how many advertisements were sent and how many solicitations came.
func (s *Advertiser) Counts() (sent, solicited int) {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.sent, s.solicitation
}

// Err is why the last one that failed could not be sent; nil when none failed.
func (s *Advertiser) Err() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.err
}

// Running tells whether it has not been stopped.
func (s *Advertiser) Running() bool {
	select {
	case <-s.done:
		return false
	default:
		return true
	}
}

// Stop says that this is no default router any more, and ends.
func (s *Advertiser) Stop() error {
	var err error
	s.stop.Do(func() {
		close(s.done)
		last := *s.ad
		last.RouterLifetime = 0
		if e := s.conn.WriteTo(&last, nil, allNodes); e != nil {
			err = fmt.Errorf("last advertisement: %w", e)
		}
		s.conn.Close()
	})
	return err
}
