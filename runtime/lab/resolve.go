package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/probe"
)

// How names become addresses, for programs (resolv.conf(5)) and for probes.

const (
	resolvConf = "/etc/resolv.conf"
	hostsFile  = "/etc/hosts"
	dnsPort    = 53
)

// resolver is a name server of the lab and where it is.
type resolver struct {
	ns     *Namespace
	server *probe.Server
}

// ServeDNS answers a name server's questions; see [probe.ServeDNS]. The first such
// server of a lab is its resolver.
func (ns *Namespace) ServeDNS(ctx context.Context, at netip.AddrPort, answer func(probe.DNSQuestion) probe.DNSAnswer) (*probe.Server, error) {
	s, err := ns.serve(ctx, "dns_server", at, func(enter probe.Enter) (*probe.Server, error) { return probe.ServeDNS(enter, at, answer) })
	if err == nil {
		ns.lab.resolvers = append(ns.lab.resolvers, resolver{ns, s})
		err = ns.lab.resolveAll()
	}
	return s, err
}

// nameServers are those that a namespace asks, in order, and the domains in which it
// looks for a name without a dot.
type nameServers struct {
	at     []netip.AddrPort
	search []string
}

// Resolver is the name server for a namespace: that of the resolv.conf(5) that it was
// given, the first of its leases of DHCP, the lab's first that runs, or, on the machine
// itself, the machine's.
func (ns *Namespace) Resolver() (at netip.AddrPort, known bool, err error) {
	list, err := ns.nameServers()
	if err != nil || len(list.at) == 0 {
		return at, false, err
	}
	return list.at[0], true, nil
}

func (ns *Namespace) nameServers() (list nameServers, err error) {
	if text, own := ns.ownFile(resolvConf); own {
		return parseResolvConf(text), nil
	}
	if list = ns.leasedServers(); len(list.at) > 0 {
		return list, nil
	}
	for _, r := range ns.lab.resolvers {
		if !r.server.Running() || r.ns.gone != "" {
			continue
		}
		at := r.server.Addr
		if at.Addr().IsUnspecified() {
			ip := netip.AddrFrom4([4]byte{127, 0, 0, 1})
			if r.ns != ns {
				if ip, err = r.ns.AddressFor(ns, 0); err != nil {
					return list, err
				}
			}
			at = netip.AddrPortFrom(ip, at.Port())
		}
		list.at = append(list.at, at)
		return list, nil
	}
	if ns.lab.options.Host {
		text, _ := os.ReadFile(resolvConf) // no file, no server
		return parseResolvConf(string(text)), nil
	}
	return list, nil
}

// leasedServers are what leases of DHCP brought, by the links' indexes.
func (ns *Namespace) leasedServers() (list nameServers) {
	for _, i := range slices.Sorted(maps.Keys(ns.leases)) {
		for _, ip := range ns.leases[i].dns {
			list.at = append(list.at, netip.AddrPortFrom(ip, dnsPort))
		}
		if domain := ns.leases[i].domain; domain != "" {
			list.search = append(list.search, domain)
		}
	}
	return list
}

// ownFile is the text of a file that somebody has given the namespace's programs in
// place of the machine's or the lab's.
func (ns *Namespace) ownFile(path string) (text string, own bool) {
	if ns.view == nil {
		// What will be laid over it, by the name of the namespace (ip-netns(8)).
		b, err := os.ReadFile(filepath.Join("/etc/netns", ns.Name, filepath.Base(path)))
		return string(b), err == nil && ns.Name != ""
	}
	if path == resolvConf && ns.resolvConf != nil || !ns.view.Given(path) {
		return "", false
	}
	err := ns.view.Do(-1, func() error {
		b, err := os.ReadFile(path)
		text = string(b)
		return err
	})
	return text, err == nil
}

// parseResolvConf reads resolv.conf(5), as far as it says whom to ask and where.
func parseResolvConf(text string) (list nameServers) {
	for line := range strings.Lines(text) {
		words := strings.Fields(line)
		if len(words) < 2 {
			continue
		}
		switch words[0] {
		case "nameserver":
			if ip, err := netip.ParseAddr(words[1]); err == nil {
				list.at = append(list.at, netip.AddrPortFrom(ip, dnsPort))
			}
		case "search", "domain":
			list.search = words[1:]
		}
	}
	return list
}

// resolve makes /etc/resolv.conf name the namespace's name servers, unless somebody has
// said what is in that file; without any it is the machine's again.
func (ns *Namespace) resolve() error {
	if ns.lab.options.Host || ns.resolvConf == nil && (ns.view.Given(resolvConf) || len(ns.lab.resolvers)+len(ns.leases) == 0) {
		return nil
	}
	list, err := ns.nameServers()
	if err != nil {
		return nil // it cannot be reached from here
	}
	text := list.text()
	if text == "" {
		if ns.resolvConf == nil {
			return nil
		}
		b, _ := os.ReadFile(resolvConf) // which the machine may not have
		text = string(b)
	}
	if ns.resolvConf != nil && *ns.resolvConf == text {
		return nil
	}
	if err := ns.view.Furnish(map[string]string{resolvConf: text}, nil); err != nil {
		return err
	}
	ns.resolvConf = &text
	return nil
}

// text is the list as resolv.conf(5) has it, which knows no ports.
func (list *nameServers) text() string {
	var b strings.Builder
	for _, at := range list.at {
		if at.Port() == dnsPort {
			fmt.Fprintf(&b, "nameserver %s\n", at.Addr())
		}
	}
	if b.Len() > 0 && len(list.search) > 0 {
		fmt.Fprintf(&b, "search %s\n", strings.Join(list.search, " "))
	}
	return b.String()
}

// resolveNow is for the programs of the namespace that run when its name servers change.
func (ns *Namespace) resolveNow() error {
	if ns.view == nil {
		return nil
	}
	if err := ns.resolve(); err != nil {
		return kernelError(err, "", "write /etc/resolv.conf%s", where(ns))
	}
	return nil
}

// resolveAll does that in all namespaces: when a name server starts or ends.
func (l *Lab) resolveAll() error {
	for _, ns := range l.all() {
		if err := ns.resolveNow(); err != nil {
			return err
		}
	}
	return nil
}

// UnknownHost says that a namespace's name servers do not lead to an address.
type UnknownHost struct {
	// Name is the one that was looked for.
	Name string
	// Why is what the last server said.
	Why string
}

func (e *UnknownHost) Error() string { return fmt.Sprintf("no host %q: %s", e.Name, e.Why) }

// Named is the namespace of a name, the lab's root among them; nil without one.
func (l *Lab) Named(name string) *Namespace {
	if name == "root" {
		return l.Root
	}
	return l.Namespace(name)
}

// Lookup finds the address of a name that is no namespace's, as the programs of the
// namespace would: in the /etc/hosts that it was given, then by its name servers, A
// before AAAA unless want (AF_INET, AF_INET6) says which. When they do not know it, the
// error is an [*UnknownHost]; when there is nobody to ask, it says so and what is near.
func (ns *Namespace) Lookup(ctx context.Context, name string, want int, timeout time.Duration) (netip.Addr, error) {
	hosts := "127.0.0.1 localhost\n::1 localhost ip6-localhost ip6-loopback\n"
	if text, own := ns.ownFile(hostsFile); own {
		hosts = text + hosts
	} else if ns.lab.options.Host {
		b, _ := os.ReadFile(hostsFile)
		hosts = string(b) + hosts
	}
	if ip := findHost(hosts, name, want); ip.IsValid() {
		return ip, nil
	}
	servers, err := ns.nameServers()
	if err != nil {
		return netip.Addr{}, err
	}
	if len(servers.at) == 0 {
		return netip.Addr{}, ns.lab.noHost(name)
	}
	return ns.askFor(ctx, servers, name, want, timeout)
}

// noHost says that a name is none of the lab's.
func (l *Lab) noHost(name string) error {
	names := []string{"root", "localhost"}
	for _, ns := range l.Namespaces() {
		names = append(names, ns.Name)
	}
	hint := "a host is a namespace's name, or what a dns_server() knows"
	if near := Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return Usage(hint, "there is no host %q in this lab", name)
}

// findHost looks a name up in a text of hosts(5): the first address of the family, or
// the first of IPv4 and else of IPv6.
func findHost(text, name string, want int) (found netip.Addr) {
	for line := range strings.Lines(text) {
		line, _, _ = strings.Cut(line, "#")
		words := strings.Fields(line)
		if len(words) < 2 || !slices.ContainsFunc(words[1:], func(w string) bool { return strings.EqualFold(w, name) }) {
			continue
		}
		ip, err := netip.ParseAddr(words[0])
		switch {
		case err != nil || !ofFamily(ip, want):
		case ip.Is4() || want != 0:
			return ip
		case !found.IsValid():
			found = ip
		}
	}
	return found
}

func ofFamily(ip netip.Addr, want int) bool {
	return want == 0 || (want == unix.AF_INET) == ip.Is4()
}

// askFor asks the name servers: for a name without a dot in their domains first.
func (ns *Namespace) askFor(ctx context.Context, servers nameServers, name string, want int, timeout time.Duration) (netip.Addr, error) {
	names := []string{name}
	if !strings.Contains(name, ".") {
		names = nil
		for _, domain := range servers.search {
			names = append(names, name+"."+domain)
		}
		names = append(names, name)
	}
	deadline, why := time.Now().Add(timeout), ""
	for _, n := range names {
		for _, kind := range addressRecords[want] {
			r, at, err := ns.askInTurn(ctx, servers.at, n, kind, deadline)
			if err != nil {
				return netip.Addr{}, err
			}
			if r.Err != nil {
				return netip.Addr{}, &UnknownHost{name, fmt.Sprintf("%s: %v", at, r.Err)}
			}
			for _, a := range r.Answers {
				if ip, err := netip.ParseAddr(a.Data); err == nil && a.Type == kind {
					return ip, nil
				}
			}
			if why = fmt.Sprintf("%s says %s", at, r.RCode); r.RCode == "NOERROR" {
				why = fmt.Sprintf("%s has no address for it", at)
			}
		}
	}
	return netip.Addr{}, &UnknownHost{name, why}
}

// maxServers is how many name servers are asked (MAXNS of resolv.conf(5)).
const maxServers = 3

// askInTurn asks one name server after the other, as resolv.conf(5) says, until one has
// an answer, and returns what the last one that was asked said. Each gets its share of
// the time that is left.
func (ns *Namespace) askInTurn(ctx context.Context, servers []netip.AddrPort, name, kind string, deadline time.Time) (r probe.DNSResult, at netip.AddrPort, err error) {
	servers = servers[:min(len(servers), maxServers)]
	for i := range servers {
		at = servers[i]
		share := time.Until(deadline) / time.Duration(len(servers)-i)
		q := probe.DNSRequest{Dialing: probe.Dialing{To: at}, Name: name, Type: kind, Timeout: max(share, time.Millisecond)}
		if r, err = ns.DNS(ctx, q); err != nil || r.Err == nil && !declines[r.RCode] {
			break
		}
	}
	return r, at, err
}

// declines are the codes by which a server says that it cannot answer, so that the next
// is asked, as the resolver of glibc does (res_send.c); NXDOMAIN is an answer.
var declines = map[string]bool{"SERVFAIL": true, "NOTIMP": true, "REFUSED": true}

// addressRecords are the types of records with addresses of a family, 0 for either.
var addressRecords = map[int][]string{0: {"A", "AAAA"}, unix.AF_INET: {"A"}, unix.AF_INET6: {"AAAA"}}

// IsUnknownHost tells whether an error says that a name leads to no address.
func IsUnknownHost(err error) bool { return errors.As(err, new(*UnknownHost)) }
