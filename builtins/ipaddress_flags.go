package builtins

import (
	"net/netip"
	"slices"

	"go.starlark.net/starlark"
)

// ipFlag makes an attribute of a test. Tests get an IPv4-mapped IPv6 address as
// the IPv4 address and see no scope.
func ipFlag(is func(netip.Addr) bool) func(netip.Addr) starlark.Value {
	return func(a netip.Addr) starlark.Value { return starlark.Bool(is(a.Unmap().WithZone(""))) }
}

func ipIsMulticast(a netip.Addr) bool   { return a.IsMulticast() }        // 224.0.0.0/4, ff00::/8
func ipIsLoopback(a netip.Addr) bool    { return a.IsLoopback() }         // 127.0.0.0/8, ::1
func ipIsLinkLocal(a netip.Addr) bool   { return a.IsLinkLocalUnicast() } // 169.254.0.0/16, fe80::/10
func ipIsUnspecified(a netip.Addr) bool { return a.IsUnspecified() }      // 0.0.0.0, ::
func ipIsReserved(a netip.Addr) bool    { return ipIn(a, ipReserved) }
func ipIsSiteLocal(a netip.Addr) bool   { return ipIn(a, ipSiteLocal) }
func ipIsPrivate(a netip.Addr) bool     { return ipIn(a, ipPrivate) && !ipIn(a, ipPrivateExcept) }
func ipIsGlobal(a netip.Addr) bool      { return !ipIsPrivate(a) && !ipIn(a, ipShared) }

var (
	// ipPrivate has what IANA's special-purpose address registries call not
	// globally reachable, ipPrivateExcept the globally reachable parts of it.
	// https://www.iana.org/assignments/iana-ipv4-special-registry
	// https://www.iana.org/assignments/iana-ipv6-special-registry
	ipPrivate = ipPrefixes(
		"0.0.0.0/8", "10.0.0.0/8", "127.0.0.0/8", "169.254.0.0/16", "172.16.0.0/12",
		"192.0.0.0/24", "192.0.0.170/31", "192.0.2.0/24", "192.168.0.0/16",
		"198.18.0.0/15", "198.51.100.0/24", "203.0.113.0/24", "240.0.0.0/4",
		"255.255.255.255/32",
		"::/128", "::1/128", "::ffff:0:0/96", "64:ff9b:1::/48", "100::/64",
		"2001::/23", "2001:db8::/32", "2002::/16", "3fff::/20", "fc00::/7", "fe80::/10")
	ipPrivateExcept = ipPrefixes(
		"192.0.0.9/32", "192.0.0.10/32",
		"2001:1::1/128", "2001:1::2/128", "2001:3::/32", "2001:4:112::/48",
		"2001:20::/28", "2001:30::/28")
	// ipShared is neither private nor global (RFC 6598).
	ipShared = ipPrefixes("100.64.0.0/10")
	// ipReserved has class E (RFC 1112, section 4) and what IANA's list of the
	// IPv6 address space calls reserved by IETF.
	// https://www.iana.org/assignments/ipv6-address-space
	ipReserved = ipPrefixes(
		"240.0.0.0/4",
		"::/8", "100::/8", "200::/7", "400::/6", "800::/5", "1000::/4", "4000::/3",
		"6000::/3", "8000::/3", "a000::/3", "c000::/3", "e000::/4", "f000::/5",
		"f800::/6", "fe00::/9")
	// ipSiteLocal is deprecated by RFC 3879.
	ipSiteLocal = ipPrefixes("fec0::/10")
)

func ipPrefixes(texts ...string) []netip.Prefix {
	all := make([]netip.Prefix, len(texts))
	for i, text := range texts {
		all[i] = netip.MustParsePrefix(text)
	}
	return all
}

// ipIn says whether a, which has no scope, is in one of the prefixes.
func ipIn(a netip.Addr, prefixes []netip.Prefix) bool {
	return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool { return p.Contains(a) })
}
