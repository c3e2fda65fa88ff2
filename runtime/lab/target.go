package lab

import (
	"fmt"
	"net/netip"
	"slices"

	"golang.org/x/sys/unix"
)

// AddressFor chooses an address of the namespace for one that wants to reach it
// from another: its first global address in a subnet that both are in, else its
// first global one; IPv4 before IPv6 unless want (AF_INET or AF_INET6) says
// which. from may be nil.
func (ns *Namespace) AddressFor(from *Namespace, want int) (netip.Addr, error) {
	return (&Addresses{want: want}).For(ns, from)
}

// Addresses chooses addresses as AddressFor does, for many at a time: it asks each
// namespace once.
type Addresses struct {
	want  int
	known map[*Namespace][]netip.Prefix
}

// AddressesOf chooses in a family (AF_INET or AF_INET6), or in either when it is 0.
func AddressesOf(family int) *Addresses {
	return &Addresses{want: family, known: map[*Namespace][]netip.Prefix{}}
}

// For is the address of ns for one that is in from.
func (a *Addresses) For(ns, from *Namespace) (netip.Addr, error) {
	own, err := a.of(ns)
	if err != nil {
		return netip.Addr{}, err
	}
	if len(own) == 0 {
		return netip.Addr{}, noAddress(ns, a.want)
	}
	if from != nil {
		theirs, err := a.of(from)
		if err != nil {
			return netip.Addr{}, err
		}
		for _, x := range own {
			for _, y := range theirs {
				if x.Masked() == y.Masked() {
					return x.Addr(), nil
				}
			}
		}
	}
	return own[0].Addr(), nil
}

// of are the global addresses of a namespace.
func (a *Addresses) of(ns *Namespace) ([]netip.Prefix, error) {
	if own, ok := a.known[ns]; ok {
		return own, nil
	}
	own, err := ns.globals(a.want)
	if err == nil && a.known != nil {
		a.known[ns] = own
	}
	return own, err
}

// globals are the namespace's global addresses, IPv4 first.
func (ns *Namespace) globals(want int) ([]netip.Prefix, error) {
	raw, err := ns.rawAddrs(want)
	if err != nil {
		return nil, kernelError(err, "", "list addresses%s", where(ns))
	}
	var four, six []netip.Prefix
	for _, a := range raw {
		if a.Scope != unix.RT_SCOPE_UNIVERSE || a.IP.IsLoopback() {
			continue
		}
		if a.IP.Is4() {
			four = append(four, a.Prefix())
		} else {
			six = append(six, a.Prefix())
		}
	}
	return append(four, six...), nil
}

// noAddress says that there is no global address, of which family if one is
// wanted: there may be some of the other.
func noAddress(what fmt.Stringer, want int) error {
	words := map[int]string{unix.AF_INET: "IPv4 ", unix.AF_INET6: "IPv6 "}
	return Usage("give it one with addr(), or name an address", "%s has no global %saddress", what, words[want])
}

// OnlyAddress is the one global address of the namespace, or of one link of it
// when only is not nil, in a family (0 for IPv4, or IPv6 where there is none):
// what a gateway or a translation needs is ambiguous when there are several.
func (ns *Namespace) OnlyAddress(only *Link, want int) (netip.Addr, error) {
	raw, err := ns.rawAddrs(want)
	if err != nil {
		return netip.Addr{}, kernelError(err, "", "list addresses%s", where(ns))
	}
	var found []netip.Addr
	for _, a := range raw {
		if a.Scope == unix.RT_SCOPE_UNIVERSE && !a.IP.IsLoopback() && (only == nil || a.index == only.index) {
			found = append(found, a.IP)
		}
	}
	if slices.ContainsFunc(found, netip.Addr.Is4) {
		found = slices.DeleteFunc(found, netip.Addr.Is6)
	}
	var what fmt.Stringer = ns
	if only != nil {
		what = only
	}
	switch len(found) {
	case 0:
		return netip.Addr{}, noAddress(what, want)
	case 1:
		return found[0], nil
	}
	return netip.Addr{}, Usage("name the address that is meant", "%s has %d addresses: %v", what, len(found), found)
}
