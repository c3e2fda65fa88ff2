package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

// leased is what a lease of DHCP put on a link.
type leased struct {
	prefix netip.Prefix
	routes []*Route
	dns    []netip.Addr
	domain string
}

// DHCP asks for an address on the link; see [probe.DHCP]. It changes nothing there:
// [Link.UseLease] does.
func (k *Link) DHCP(ctx context.Context, q probe.DHCPRequest) (r probe.DHCPResult, err error) {
	if err := k.dhcpClient(&q); err != nil {
		return r, err
	}
	args := []event.Arg{arg("dev", k.name), arg("timeout", seconds(q.Timeout))}
	if q.Want.IsValid() {
		args = append(args, arg("request", q.Want.String()))
	}
	if q.Hostname != "" {
		args = append(args, arg("hostname", q.Hostname))
	}
	err = k.ns.asking(ctx, "dhcp_client", false, args, func(enter probe.Enter) (err error) {
		r, err = probe.DHCP(ctx, enter, q)
		return err
	})
	return r, err
}

// dhcpClient says which link asks.
func (k *Link) dhcpClient(q *probe.DHCPRequest) error {
	info, err := k.Info()
	if err != nil {
		return err
	}
	if len(info.MAC) != 6 {
		return Usage("", "%s has no MAC address, so that DHCP is not for it", k)
	}
	if !info.Up() {
		return Usage(fmt.Sprintf("up(%s)", k.name), "%s is down", k)
	}
	q.Index, q.Dev, q.MAC = k.index, k.name, packet.MAC(info.MAC)
	return nil
}

// RenewLease asks for more time; see [probe.DHCPRenew].
func (k *Link) RenewLease(ctx context.Context, q probe.DHCPRequest, lease *probe.DHCPLease) (r probe.DHCPResult, err error) {
	if err := k.dhcpClient(&q); err != nil {
		return r, err
	}
	args := []event.Arg{arg("dev", k.name), arg("timeout", seconds(q.Timeout)), arg("server", lease.Server.String())}
	err = k.ns.asking(ctx, "dhcp_client", false, args, func(enter probe.Enter) (err error) {
		r, err = probe.DHCPRenew(ctx, enter, q, lease)
		return err
	})
	return r, err
}

// ReleaseLease tells the server, and takes from the link what the lease put there.
func (k *Link) ReleaseLease(ctx context.Context, q probe.DHCPRequest, lease *probe.DHCPLease) error {
	if err := k.dhcpClient(&q); err != nil {
		return err
	}
	args := []event.Arg{arg("dev", k.name), arg("server", lease.Server.String()), arg("release", "")}
	err := k.ns.asking(ctx, "dhcp_client", false, args, func(enter probe.Enter) error { return probe.DHCPRelease(enter, q, lease) })
	if err != nil {
		return err
	}
	return k.DropLease(ctx)
}

// UseLease puts on the link what a lease says, as dhclient(8) does: the address for
// as long as the lease lasts, the MTU, the static routes (RFC 3442) or else the
// default route, with a metric unless it is 0, and the name servers. What an earlier
// lease of the link had beside goes.
func (k *Link) UseLease(ctx context.Context, lease *probe.DHCPLease, metric int) error {
	now := &leased{prefix: lease.Prefix, dns: lease.Options.Addrs(packet.DHCPDNS), domain: lease.Options.Text(packet.DHCPDomain)}
	for _, r := range leaseRoutes(lease) {
		now.routes = append(now.routes, k.leaseRoute(lease, r, metric))
	}
	if err := k.dropLease(ctx, now); err != nil {
		return err
	}
	a := AddrSpec{Prefix: lease.Prefix, Broadcast: lease.Options.Addr(packet.DHCPBroadcast), Scope: -1}
	if lease.Time != packet.DHCPInfinite {
		a.Valid = &lease.Time
	}
	if _, err := k.AddAddr(ctx, a, Replace); err != nil {
		return err
	}
	k.ns.leases[k.index] = now
	if v := lease.Options[packet.DHCPMTU]; len(v) == 2 {
		mtu := int(v[0])<<8 | int(v[1])
		if err := k.Set(ctx, LinkChange{MTU: &mtu}); err != nil {
			return err
		}
	}
	for i, r := range now.routes {
		made, err := k.ns.AddRoute(ctx, *r, Replace)
		if err != nil {
			return err
		}
		now.routes[i] = made
	}
	return k.ns.resolveNow()
}

// leaseRoutes are the routes of a lease: with static ones the routers do not count
// (RFC 3442).
func leaseRoutes(lease *probe.DHCPLease) []packet.DHCPRoute {
	if list := lease.Options.Routes(); list != nil {
		return list
	}
	if routers := lease.Options.Addrs(packet.DHCPRouter); len(routers) > 0 {
		return []packet.DHCPRoute{{Dst: netip.PrefixFrom(netip.IPv4Unspecified(), 0), Via: routers[0]}}
	}
	return nil
}

func (k *Link) leaseRoute(lease *probe.DHCPLease, r packet.DHCPRoute, metric int) *Route {
	return &Route{NS: k.ns, Dst: r.Dst, Via: r.Via, Dev: k, Metric: metric, Proto: unix.RTPROT_DHCP, Scope: -1,
		OnLink: r.Via.IsValid() && !lease.Prefix.Contains(r.Via)}
}

// DropLease takes from the link what a lease put there, without a word to the server.
func (k *Link) DropLease(ctx context.Context) error {
	return errors.Join(k.dropLease(ctx, nil), k.ns.resolveNow())
}

// dropLease takes away what an earlier lease put on the link and the next one does
// not; nil is none.
func (k *Link) dropLease(ctx context.Context, next *leased) error {
	if k.ns.leases == nil {
		k.ns.leases = map[int]*leased{}
	}
	old := k.ns.leases[k.index]
	if old == nil {
		return nil
	}
	delete(k.ns.leases, k.index)
	for _, r := range old.routes {
		if next != nil && slices.ContainsFunc(next.routes, func(n *Route) bool { return n.Dst == r.Dst && n.Via == r.Via && n.Metric == r.Metric }) {
			continue
		}
		if err := r.Delete(ctx); err != nil && !isGone(err) {
			return err
		}
	}
	if next != nil && next.prefix == old.prefix {
		return nil
	}
	err := (&Address{IP: old.prefix.Addr(), PrefixLen: old.prefix.Bits(), Link: k}).Delete(ctx)
	if isGone(err) {
		return nil
	}
	return err
}

// ServeDHCP gives addresses to the clients of a link, or of the one of the
// namespace's that has an address in the subnet of the service's first; see
// [probe.ServeDHCP]. Without first and last it gives all of the subnet.
func (ns *Namespace) ServeDHCP(ctx context.Context, k *Link, s probe.DHCPService) (*probe.DHCPServer, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if err := ns.dhcpSubnet(k, &s); err != nil {
		return nil, err
	}
	if err := s.Check(); err != nil {
		return nil, Usage("", "dhcp_server: %v", err)
	}
	start := time.Now()
	server, err := probe.ServeDHCP(ns.do, s)
	if ns.lab.watched() {
		ns.lab.emit(ctx, "dhcp_server", ns, start, err, dhcpArgs(&s)...)
	}
	if err != nil {
		return nil, kernelError(err, "", "dhcp_server: listen on port 67%s", where(ns))
	}
	ns.lab.closers = append(ns.lab.closers, server.Stop)
	return server, nil
}

// dhcpSubnet finds the link and the subnet of a service.
func (ns *Namespace) dhcpSubnet(k *Link, s *probe.DHCPService) error {
	raw, err := ns.rawAddrs(unix.AF_INET)
	if err != nil {
		return kernelError(err, "", "list addresses%s", where(ns))
	}
	remote := s.Subnet.IsValid() // of the clients of a relay agent, unless it is a link's
	for _, a := range raw {
		own := a.Prefix().Masked()
		if s.Server.IsValid() || k != nil && a.index != k.index || a.IP.IsLoopback() ||
			s.First.IsValid() && !own.Contains(s.First) || remote && own != s.Subnet {
			continue
		}
		if link := ns.linkAt(a.index); link != nil {
			s.Index, s.Dev, s.Server, s.Subnet = link.index, link.name, a.IP, own
		}
	}
	if !s.Server.IsValid() && remote && k == nil {
		s.Server, err = ns.AddressFor(nil, unix.AF_INET)
		if err != nil {
			return err
		}
	}
	if !s.Server.IsValid() {
		return Usage("give the link an address in the subnet of its clients", "dhcp_server: %s has no IPv4 address in the pool's subnet", orNamespace(k, ns))
	}
	for _, a := range raw {
		s.Taken = append(s.Taken, a.IP)
	}
	if s.Subnet.Bits() < 31 { // RFC 3021
		s.Taken = append(s.Taken, s.Subnet.Addr(), probe.LastOf(s.Subnet))
	}
	if !s.First.IsValid() {
		s.First, s.Last = s.Subnet.Addr(), probe.LastOf(s.Subnet)
	}
	return nil
}

func orNamespace(k *Link, ns *Namespace) fmt.Stringer {
	if k != nil {
		return k
	}
	return ns
}

// dhcpArgs are what an event says, for iproute to make dnsmasq's options of.
func dhcpArgs(s *probe.DHCPService) []event.Arg {
	args := []event.Arg{arg("first", s.First.String()), arg("last", s.Last.String()), arg("lease", strconv.Itoa(int(s.Grant.Time.Seconds())))}
	if s.Dev != "" {
		args = append(args, arg("dev", s.Dev))
	}
	texts := func(key string, list []netip.Addr) {
		var words []string
		for _, ip := range list {
			words = append(words, ip.String())
		}
		if words != nil {
			args = append(args, arg(key, strings.Join(words, ",")))
		}
	}
	texts("router", s.Grant.Router)
	texts("dns", s.Grant.DNS)
	if s.Grant.Domain != "" {
		args = append(args, arg("domain", s.Grant.Domain))
	}
	var hosts []string
	for mac, ip := range s.Reserved {
		hosts = append(hosts, mac.String()+","+ip.String())
	}
	slices.Sort(hosts)
	for _, h := range hosts {
		args = append(args, arg("host", h))
	}
	return args
}
