package lab

import (
	"net/netip"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// ifla6Token is IFLA_INET6_TOKEN (include/uapi/linux/if_link.h).
const ifla6Token = 7

// tokenKind is an option of its own, since `ip token` sets it and not `ip link`.
var tokenKind = sync.OnceValue(func() *Kind {
	return &Kind{Name: "token", Options: []*Option{
		{Name: "token", Doc: "the last 64 bits of the addresses that routers' advertisements make, like \"::5\", or False (ip-token(8))", attr: unix.IFLA_AF_SPEC, Value: Token{}},
	}}
})

// Token is a link's interface identifier for SLAAC (netip.Addr, read as a string), the
// unspecified address for none.
type Token struct{}

func (Token) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nest(attr, nest(unix.AF_INET6, nl.NewRtAttr(ifla6Token, v.(netip.Addr).AsSlice())))}
}

// read leaves out the one that is none.
func (Token) read(b []byte) any {
	for family, spec := range attributes(b) {
		for kind, v := range attributes(spec) {
			if ip, ok := netip.AddrFromSlice(v); ok && family == unix.AF_INET6 && kind == ifla6Token && !ip.IsUnspecified() {
				return ip.String()
			}
		}
	}
	return nil
}

func (Token) check(v any) error {
	ip := v.(netip.Addr)
	if !ip.Is6() || ip.Zone() != "" || netip.PrefixFrom(ip, 64).Masked().Addr() != netip.IPv6Unspecified() {
		return Usage(`the last 64 bits, like "::5"`, "%s is no interface identifier", ip)
	}
	return nil
}

func (Token) words(v any) ([]string, bool) { return []string{v.(netip.Addr).String()}, true }

// back sets the old one back, which is there among others that are only told.
func (t Token) back(o Chosen, before []*nl.RtAttr) []*nl.RtAttr {
	ip := netip.IPv6Unspecified()
	if text, ok := t.read(dataOf(before, o.attr)).(string); ok {
		ip = netip.MustParseAddr(text)
	}
	return t.attributes(o.attr, ip)
}
