package builtins

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// IPInterface is an address with the network it is in, as Python's
// ipaddress.IPv4Interface and ipaddress.IPv6Interface. It is immutable.
type IPInterface struct {
	addr netip.Addr // valid
	bits int
}

var (
	_ starlark.HasAttrs   = (*IPInterface)(nil)
	_ starlark.HasBinary  = (*IPInterface)(nil)
	_ starlark.Comparable = (*IPInterface)(nil)
	_ json.Marshaler      = (*IPInterface)(nil)
)

// IPInterfaceOf makes an IPInterface of a valid prefix.
func IPInterfaceOf(prefix netip.Prefix) *IPInterface {
	return &IPInterface{prefix.Addr(), prefix.Bits()}
}

// NewIPInterface does what Python's ipaddress.ip_interface does. It takes what
// NewIPNetwork takes; the host bits are the point of it.
func NewIPInterface(v starlark.Value) (*IPInterface, error) {
	if x, ok := v.(*IPInterface); ok {
		return x, nil
	}
	addr, n, err := ipParsePrefix(v, "interface", ipLikeIface)
	if err != nil {
		return nil, err
	}
	return &IPInterface{addr, n}, nil
}

const ipLikeIface = `like "10.1.1.1/24" or "fd00::1/64"`

// Addr is the address as Go has it, with the scope.
func (x *IPInterface) Addr() netip.Addr { return x.addr }

// Prefix is the address with the prefix length as Go has it, which is without a
// scope.
func (x *IPInterface) Prefix() netip.Prefix { return netip.PrefixFrom(x.addr.WithZone(""), x.bits) }

// Network is the network that the address is in.
func (x *IPInterface) Network() *IPNetwork { return ipMasked(x.addr, x.bits) }

// String is the short form of the address and the prefix length.
func (x *IPInterface) String() string        { return x.addr.String() + "/" + strconv.Itoa(x.bits) }
func (*IPInterface) Type() string            { return "IPInterface" }
func (*IPInterface) Freeze()                 {} // immutable
func (*IPInterface) Truth() starlark.Bool    { return true }
func (x *IPInterface) Hash() (uint32, error) { return ipHash(*x), nil }

// MarshalJSON gives String as a JSON string.
func (x *IPInterface) MarshalJSON() ([]byte, error) { return json.Marshal(x.String()) }

// AttrNames lists the attributes and methods.
func (*IPInterface) AttrNames() []string { return ipIfaceNames }

// Attr gives an attribute or a method of Python's IPv4Interface and
// IPv6Interface: those of the address too. prefixlen, which Python has at the
// network only, is here as well, and int(), the address as a number.
func (x *IPInterface) Attr(name string) (starlark.Value, error) {
	if f, ok := ipIfaceAttrs[name]; ok {
		return f(x), nil
	}
	if f, ok := ipAddrAttrs[name]; ok {
		return f(x.addr), nil
	}
	if name == "int" {
		return ipIntMethod.BindReceiver(x), nil
	}
	return nil, nil
}

// CompareSameType compares as Python does: by the network, then by the address;
// interfaces of different versions are unequal, and ordering them is an error.
func (x *IPInterface) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	other, ok := y.(*IPInterface)
	return ipCompare(op, x, y, ok, func() (bool, bool, int) {
		order := cmp.Or(x.Network().order(other.Network()), x.addr.Compare(other.addr))
		return *x == *other, x.addr.Is4() == other.addr.Is4(), order
	})
}

// Binary does IPInterface + int and IPInterface - int. As in Python the sum is
// an interface with the longest prefix length, and without a scope.
func (x *IPInterface) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	addr, err := ipArith(x, x.addr, op, y, side)
	if err != nil || !addr.IsValid() {
		return nil, err
	}
	return &IPInterface{addr, addr.BitLen()}, nil
}

// ipIfaceAttrs has the attributes that an address doesn't have, or has otherwise.
var ipIfaceAttrs = map[string]func(*IPInterface) starlark.Value{
	// As in Python, ip has no scope.
	"ip":        func(x *IPInterface) starlark.Value { return &IPAddress{x.addr.WithZone("")} },
	"network":   func(x *IPInterface) starlark.Value { return x.Network() },
	"prefixlen": func(x *IPInterface) starlark.Value { return starlark.MakeInt(x.bits) },
	"netmask":   func(x *IPInterface) starlark.Value { return &IPAddress{x.Network().netmask()} },
	"hostmask":  func(x *IPInterface) starlark.Value { return &IPAddress{x.Network().hostmask()} },

	"compressed": func(x *IPInterface) starlark.Value { return starlark.String(x.String()) },
	"exploded":   func(x *IPInterface) starlark.Value { return starlark.String(ipExplodedPrefix(x.addr, x.bits)) },

	// As in Python, these have no scope.
	"with_prefixlen": func(x *IPInterface) starlark.Value {
		return starlark.String(fmt.Sprintf("%s/%d", x.addr.WithZone(""), x.bits))
	},
	"with_netmask": func(x *IPInterface) starlark.Value {
		return ipWithMask(x.addr.WithZone(""), x.Network().netmask())
	},
	"with_hostmask": func(x *IPInterface) starlark.Value {
		return ipWithMask(x.addr.WithZone(""), x.Network().hostmask())
	},

	// An IPv6 interface is these only if all its network is. An IPv4 one is never
	// unspecified: Python compares it with 0.0.0.0, which has no network.
	"is_loopback": func(x *IPInterface) starlark.Value {
		is := ipFlag(ipIsLoopback)(x.addr).Truth()
		return is && (starlark.Bool(x.addr.Is4()) || ipNetFlag(ipIsLoopback)(x.Network()).Truth())
	},
	"is_unspecified": func(x *IPInterface) starlark.Value {
		is := x.addr.Is6() && x.addr.WithZone("").IsUnspecified()
		return starlark.Bool(is) && ipNetFlag(ipIsUnspecified)(x.Network()).Truth()
	},
}

var ipIfaceNames = ipNames(ipIfaceAttrs, ipAddrOnlyNames()...)

// ipAddrOnlyNames has the names an interface has of its address.
func ipAddrOnlyNames() (names []string) {
	for _, name := range ipAddrNames {
		if _, ok := ipIfaceAttrs[name]; !ok {
			names = append(names, name)
		}
	}
	return names
}
