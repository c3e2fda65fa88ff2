package builtins

// Values that behave as those of Python's ipaddress module: IPAddress here,
// IPNetwork in ipaddress_net.go, IPInterface in ipaddress_iface.go, and the
// lazy sequences of addresses and networks in ipaddress_seq.go.
//
// The model is Lib/ipaddress.py on CPython's main branch (towards 3.15). Older
// Pythons do some things otherwise: before 3.13 (3.12.4, 3.11.10) their tables of
// private ranges were incomplete (CVE-2024-4032), before 3.13 they wrote an
// IPv4-mapped IPv6 address as ::ffff:102:304 and not as ::ffff:1.2.3.4 (RFC 5952,
// section 5), and up to 3.13.0 most flags of such an address were not those of
// the IPv4 address.
//
// Where this differs from Python, on purpose:
//
//   - One type holds both versions, so every attribute is there for both: what
//     Python has for one version only (ipv4_mapped, ipv6_mapped, scope_id,
//     sixtofour, teredo) is None for the other, and is_site_local is False.
//   - x.int() stands for int(x), which Starlark can't extend, and repr(x) is
//     str(x), since a Starlark value has one written form.
//   - exploded and reverse_pointer of an address with a scope work (Python
//     raises), and reverse_pointer of an interface is that of its address
//     (Python's has the prefix length's digits in it; a network has none here).
//   - An interface's exploded, with_prefixlen, with_netmask and with_hostmask
//     write an IPv4-mapped address and its prefix as a network's do.
//   - Addresses that differ in their scope only are ordered by it (in Python
//     each is greater than the other).
//   - Starlark can't order an address and an interface: that is an error.
//   - A string will do for a network or an address where the meaning is clear:
//     "10.0.0.1" in net, net.subnet_of("10.0.0.0/8").
//   - hosts() and subnets() give lazy sequences, not generators: they have
//     indexing, `in`, and up to 2**24 elements also len() and slices. Wrong
//     arguments are errors at once, not at the first element. address_exclude
//     gives a list.

import (
	"encoding/json"
	"fmt"
	"hash/maphash"
	"maps"
	"net/netip"
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// IPAddress is an IPv4 or IPv6 address, as Python's ipaddress.IPv4Address and
// ipaddress.IPv6Address. It is immutable.
type IPAddress struct {
	addr netip.Addr // valid; an IPv4-mapped IPv6 address stays IPv6
}

var (
	_ starlark.HasAttrs   = (*IPAddress)(nil)
	_ starlark.HasBinary  = (*IPAddress)(nil)
	_ starlark.Comparable = (*IPAddress)(nil)
	_ json.Marshaler      = (*IPAddress)(nil)
)

// IPAddressOf makes an IPAddress of a valid address.
func IPAddressOf(addr netip.Addr) *IPAddress { return &IPAddress{addr} }

// NewIPAddress does what Python's ipaddress.ip_address does. It takes
//   - a string in one of the forms of RFC 4291, section 2.2, or dotted decimal
//     without leading zeros; IPv6 may have a scope, as in fe80::1%eth0
//     (RFC 4007, section 11);
//   - an int, below 2**32 an IPv4 address, from there an IPv6 address;
//   - bytes, 4 or 16 of them in network order;
//   - an IPAddress, which comes back as it is.
func NewIPAddress(v starlark.Value) (*IPAddress, error) {
	switch v := v.(type) {
	case *IPAddress:
		return v, nil
	case starlark.String:
		addr, ok := ipParseAddr(string(v))
		if !ok {
			return nil, fmt.Errorf("%s is not an IP address (%s)%s", ipQuote(string(v)), ipLikeAddr, ipAddrHint(string(v)))
		}
		return &IPAddress{addr}, nil
	case starlark.Int:
		if x, neg, ok := ipU128OfInt(v); ok && !neg {
			return &IPAddress{x.addr(x.hi == 0 && x.lo>>32 == 0)}, nil
		}
		return nil, fmt.Errorf("%s is not an IP address as a number (IPv4 below 2**32, IPv6 below 2**128)", ipIntText(v))
	case starlark.Bytes:
		if addr, ok := netip.AddrFromSlice([]byte(v)); ok {
			return &IPAddress{addr}, nil
		}
		return nil, fmt.Errorf("%d bytes are not an IP address (4 bytes are IPv4, 16 are IPv6)", len(v))
	case *IPInterface:
		return nil, fmt.Errorf("%s is an IPInterface, not an IP address (%s): its .ip is one", v, ipLikeAddr)
	case *IPNetwork:
		return nil, fmt.Errorf("%s is an IPNetwork, not an IP address (%s): its .network_address is one", v, ipLikeAddr)
	default:
		return nil, fmt.Errorf("an IP address is a string (%s) or an int, not a value of type %s", ipLikeAddr, v.Type())
	}
}

const ipLikeAddr = `like "10.1.1.1" or "fd00::1"`

// Addr is the address as Go has it.
func (x *IPAddress) Addr() netip.Addr { return x.addr }

// String is the short form: dotted decimal, or that of RFC 5952, with the scope.
func (x *IPAddress) String() string        { return x.addr.String() }
func (*IPAddress) Type() string            { return "IPAddress" }
func (*IPAddress) Freeze()                 {} // immutable
func (*IPAddress) Truth() starlark.Bool    { return true }
func (x *IPAddress) Hash() (uint32, error) { return ipHash(x.addr), nil }

// MarshalJSON gives String as a JSON string.
func (x *IPAddress) MarshalJSON() ([]byte, error) { return json.Marshal(x.String()) }

// AttrNames lists the attributes and methods.
func (*IPAddress) AttrNames() []string { return ipAddrNames }

// Attr gives an attribute or a method of Python's IPv4Address and IPv6Address,
// or int(), the address as a number.
func (x *IPAddress) Attr(name string) (starlark.Value, error) {
	if f, ok := ipAddrAttrs[name]; ok {
		return f(x.addr), nil
	}
	if name == "int" {
		return ipIntMethod.BindReceiver(x), nil
	}
	return nil, nil
}

// CompareSameType compares as Python does: addresses of different versions are
// unequal, and ordering them is an error.
func (x *IPAddress) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	other, ok := y.(*IPAddress)
	return ipCompare(op, x, y, ok, func() (bool, bool, int) {
		return x.addr == other.addr, x.addr.Is4() == other.addr.Is4(), x.addr.Compare(other.addr)
	})
}

// Binary does IPAddress + int and IPAddress - int. As in Python the sum has no
// scope, and leaving the version's range is an error.
func (x *IPAddress) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	addr, err := ipArith(x, x.addr, op, y, side)
	if err != nil || !addr.IsValid() {
		return nil, err
	}
	return &IPAddress{addr}, nil
}

// ipAddrAttrs has the attributes that addresses and interfaces share.
var ipAddrAttrs = map[string]func(netip.Addr) starlark.Value{
	"version":       ipVersion,
	"max_prefixlen": func(a netip.Addr) starlark.Value { return starlark.MakeInt(a.BitLen()) },
	"packed":        func(a netip.Addr) starlark.Value { return starlark.Bytes(a.AsSlice()) },
	"compressed":    func(a netip.Addr) starlark.Value { return starlark.String(a.String()) },
	"exploded":      func(a netip.Addr) starlark.Value { return starlark.String(ipExploded(a)) },

	"reverse_pointer": func(a netip.Addr) starlark.Value { return starlark.String(ipReversePointer(a)) },

	"is_global":      ipFlag(ipIsGlobal),
	"is_link_local":  ipFlag(ipIsLinkLocal),
	"is_loopback":    ipFlag(ipIsLoopback),
	"is_multicast":   ipFlag(ipIsMulticast),
	"is_private":     ipFlag(ipIsPrivate),
	"is_reserved":    ipFlag(ipIsReserved),
	"is_site_local":  ipFlag(ipIsSiteLocal),
	"is_unspecified": ipFlag(ipIsUnspecified),

	// RFC 4291, section 2.5.5.2.
	"ipv4_mapped": func(a netip.Addr) starlark.Value {
		if !a.Is4In6() {
			return starlark.None
		}
		return &IPAddress{a.Unmap()}
	},
	"ipv6_mapped": func(a netip.Addr) starlark.Value {
		if !a.Is4() {
			return starlark.None
		}
		return &IPAddress{netip.AddrFrom16(a.As16())}
	},
	// RFC 4007, section 11.
	"scope_id": func(a netip.Addr) starlark.Value {
		if a.Zone() == "" {
			return starlark.None
		}
		return starlark.String(a.Zone())
	},
	// RFC 3056, section 2: 2002:V4ADDR::/48.
	"sixtofour": func(a netip.Addr) starlark.Value {
		x := ipU128Of(a)
		if a.Is4() || x.hi>>48 != 0x2002 {
			return starlark.None
		}
		return &IPAddress{ipU128{lo: x.hi >> 16 & 0xffffffff}.addr(true)}
	},
	// RFC 4380, section 4: 2001::/32, the server, and the client's address
	// with its bits inverted.
	"teredo": func(a netip.Addr) starlark.Value {
		x := ipU128Of(a)
		if a.Is4() || x.hi>>32 != 0x20010000 {
			return starlark.None
		}
		return starlark.Tuple{
			&IPAddress{ipU128{lo: x.hi & 0xffffffff}.addr(true)},
			&IPAddress{ipU128{lo: ^x.lo & 0xffffffff}.addr(true)},
		}
	},
}

var ipAddrNames = ipNames(ipAddrAttrs, "int")

// ipIntMethod is the method int() of addresses and interfaces.
var ipIntMethod = starlark.NewBuiltin("int", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	switch x := b.Receiver().(type) {
	case *IPAddress:
		return ipU128Of(x.addr).toInt(), nil
	case *IPInterface:
		return ipU128Of(x.addr).toInt(), nil
	}
	return nil, fmt.Errorf("%s: not an address", b.Name())
})

func ipVersion(a netip.Addr) starlark.Value {
	if a.Is4() {
		return starlark.MakeInt(4)
	}
	return starlark.MakeInt(6)
}

// ipExploded is the form without "::" and with all zeros; as in Python 3.13 the
// last 32 bits of an IPv4-mapped address stay dotted decimal.
func ipExploded(a netip.Addr) string {
	if !a.Is4In6() {
		return a.StringExpanded()
	}
	text := a.WithZone("").StringExpanded()[:30] + a.Unmap().String()
	if a.Zone() != "" {
		text += "%" + a.Zone()
	}
	return text
}

// ipReversePointer is the name with the address's PTR records (RFC 1035, section
// 3.5, and RFC 3596, section 2.5).
func ipReversePointer(a netip.Addr) string {
	var b strings.Builder
	bytes := a.AsSlice()
	slices.Reverse(bytes)
	for _, c := range bytes {
		if a.Is4() {
			fmt.Fprintf(&b, "%d.", c)
		} else {
			fmt.Fprintf(&b, "%x.%x.", c&15, c>>4)
		}
	}
	if a.Is4() {
		return b.String() + "in-addr.arpa"
	}
	return b.String() + "ip6.arpa"
}

// ipArith does addr + int and addr - int for the value x that has the address.
// An operation that isn't one of these gives the zero Addr.
func ipArith(x starlark.Value, addr netip.Addr, op syntax.Token, y starlark.Value, side starlark.Side) (netip.Addr, error) {
	if op != syntax.PLUS && op != syntax.MINUS || side != starlark.Left {
		return netip.Addr{}, nil
	}
	switch y := y.(type) {
	case starlark.Int:
		by, down, ok := ipU128OfInt(y)
		if op == syntax.MINUS {
			down = !down
		}
		from, limit := ipU128Of(addr), ipOnes(uint(addr.BitLen()))
		switch {
		case ok && down && by.cmp(from) <= 0:
			return from.sub(by).addr(addr.Is4()), nil
		case ok && !down && by.cmp(limit.sub(from)) <= 0:
			return from.add(by).addr(addr.Is4()), nil
		}
		return netip.Addr{}, fmt.Errorf("%s %s %s is outside of IPv%s (%s to %s)",
			x, op, ipIntText(y), ipVersion(addr), ipU128{}.addr(addr.Is4()), limit.addr(addr.Is4()))
	case *IPAddress, *IPInterface:
		if op == syntax.MINUS {
			return netip.Addr{}, fmt.Errorf("%s - %s: addresses can't be subtracted (a.int() - b.int() is how far apart they are)", x, y)
		}
	}
	return netip.Addr{}, nil
}

// ipCompare is CompareSameType: compare, called if y has the Go type of x, says
// whether the values are equal, whether their versions are, and their order.
func ipCompare(op syntax.Token, x, y starlark.Value, same bool, compare func() (equal, versions bool, order int)) (bool, error) {
	equal, versions, order := false, false, 0
	if same {
		equal, versions, order = compare()
	}
	switch {
	case op == syntax.EQL:
		return equal, nil
	case op == syntax.NEQ:
		return !equal, nil
	case !same:
		return false, fmt.Errorf("%s %s %s not implemented", x.Type(), op, y.Type())
	case !versions:
		return false, fmt.Errorf("%s and %s are not of the same version", x, y)
	}
	switch op {
	case syntax.LT:
		return order < 0, nil
	case syntax.LE:
		return order <= 0, nil
	case syntax.GT:
		return order > 0, nil
	case syntax.GE:
		return order >= 0, nil
	}
	return false, fmt.Errorf("%s %s %s not implemented", x.Type(), op, y.Type())
}

var ipHashSeed = maphash.MakeSeed()

func ipHash[T comparable](v T) uint32 {
	h := maphash.Comparable(ipHashSeed, v)
	return uint32(h>>32) ^ uint32(h)
}

func ipNames[F any](attrs map[string]F, more ...string) []string {
	return slices.Sorted(slices.Values(slices.AppendSeq(more, maps.Keys(attrs))))
}
