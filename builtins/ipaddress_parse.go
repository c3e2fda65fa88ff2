package builtins

import (
	"fmt"
	"math/bits"
	"net/netip"
	"strconv"
	"strings"
	"unicode/utf8"

	"go.starlark.net/starlark"
)

// ipParseAddr parses an address as Python does.
func ipParseAddr(text string) (netip.Addr, bool) {
	bare, scope, scoped := strings.Cut(text, "%")
	addr, err := netip.ParseAddr(bare)
	if err != nil || strings.Contains(text, "/") {
		return netip.Addr{}, false
	}
	if scoped {
		if addr.Is4() || scope == "" || strings.Contains(scope, "%") {
			return netip.Addr{}, false
		}
		addr = addr.WithZone(scope)
	}
	return addr, true
}

// ipAddrHint says what is wrong with an address, where that is easily missed.
func ipAddrHint(text string) string {
	if strings.TrimSpace(text) != text {
		return ": there is white space around it"
	}
	if bare, length, ok := strings.Cut(text, "/"); ok {
		if _, ok := ipParseAddr(bare); ok {
			return ": leave out the prefix length " + ipQuote("/"+length)
		}
		return ""
	}
	if fields := strings.Split(text, "."); len(fields) == 4 {
		for _, field := range fields {
			if len(field) > 1 && field[0] == '0' && strings.Trim(field, "0123456789") == "" {
				return ": " + ipQuote(field) + " has a leading zero"
			}
		}
	}
	return ""
}

// ipQuote quotes a string for an error, cutting what is too long for one.
func ipQuote(text string) string { return strconv.Quote(ipCut(text)) }

func ipCut(text string) string {
	const most = 80
	if len(text) <= most {
		return text
	}
	cut := most
	for cut > most-utf8.UTFMax && !utf8.RuneStart(text[cut]) {
		cut--
	}
	return text[:cut] + "…"
}

// ipIntText writes an int for an error.
func ipIntText(i starlark.Int) string {
	if n := i.BigInt().BitLen(); n > 256 {
		return fmt.Sprintf("an int of %d bits", n)
	}
	return i.String()
}

// ipParsePrefix gives the address and the prefix length of what NewIPNetwork and
// NewIPInterface take; kind and like are for the errors.
func ipParsePrefix(v starlark.Value, kind, like string) (netip.Addr, int, error) {
	switch v := v.(type) {
	case *IPNetwork:
		return v.addr, v.bits, nil
	case *IPInterface:
		return v.addr, v.bits, nil
	case *IPAddress, starlark.Int, starlark.Bytes:
		x, err := NewIPAddress(v)
		if err != nil {
			return netip.Addr{}, 0, err
		}
		return x.addr, x.addr.BitLen(), nil
	case starlark.String:
		text, length, ok := strings.Cut(string(v), "/")
		addr, good := ipParseAddr(text)
		n, why := addr.BitLen(), ""
		switch {
		case !good:
			why = ipAddrHint(text)
		case ok:
			n, why = ipParseLength(length, addr)
		}
		if !good || why != "" {
			return netip.Addr{}, 0, fmt.Errorf("%s is not an IP %s (%s)%s", ipQuote(string(v)), kind, like, why)
		}
		return addr, n, nil
	case starlark.Tuple:
		if len(v) != 2 {
			return netip.Addr{}, 0, fmt.Errorf("a tuple of %d is not an IP %s: it has two values, an address and a prefix length", len(v), kind)
		}
		x, err := NewIPAddress(v[0])
		if err != nil {
			return netip.Addr{}, 0, err
		}
		var n int
		var why string
		switch length := v[1].(type) {
		case starlark.String:
			n, why = ipParseLength(string(length), x.addr)
		case starlark.Int:
			n, why = ipParseLength(ipIntText(length), x.addr)
		default:
			why = ": a prefix length is an int, not a value of type " + length.Type()
		}
		if why != "" {
			return netip.Addr{}, 0, fmt.Errorf("the tuple with %s is not an IP %s%s", x, kind, why)
		}
		return x.addr, n, nil
	}
	return netip.Addr{}, 0, fmt.Errorf("an IP %s is a string (%s), not a value of type %s", kind, like, v.Type())
}

// ipParseLength parses a prefix length, or for IPv4 a netmask or a hostmask, as
// Python does: any number of leading zeros is fine, and of the masks that could
// be either, 0.0.0.0 and 255.255.255.255, both are netmasks. If it can't, why
// says so.
func ipParseLength(text string, addr netip.Addr) (n int, why string) {
	most := addr.BitLen()
	if text != "" && strings.Trim(text, "0123456789") == "" {
		digits := strings.TrimLeft(text[:len(text)-1], "0") + text[len(text)-1:]
		n, err := strconv.Atoi(digits)
		if err != nil || n > most {
			return 0, fmt.Sprintf(": a prefix length of %s is more than IPv%s's %d bits", ipCut(digits), ipVersion(addr), most)
		}
		return n, ""
	}
	if mask, err := netip.ParseAddr(text); err == nil && addr.Is4() && mask.Is4() {
		m := uint32(ipU128Of(mask).lo)
		for _, m := range []uint32{m, ^m} {
			if n := bits.LeadingZeros32(^m); m<<n == 0 {
				return n, ""
			}
		}
		return 0, ": the netmask " + text + " has ones after zeros"
	}
	if addr.Is4() {
		return 0, ": " + ipQuote(text) + " is not a prefix length (0 to 32) or a netmask (255.255.255.0)"
	}
	return 0, ": " + ipQuote(text) + " is not a prefix length (0 to 128)"
}
