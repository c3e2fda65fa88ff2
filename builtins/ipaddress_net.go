package builtins

import (
	"cmp"
	"encoding/json"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// IPNetwork is an IPv4 or IPv6 network, as Python's ipaddress.IPv4Network and
// ipaddress.IPv6Network. It is immutable.
//
// Iterating gives all its addresses, net[5] and net[-1] one of them, and
// `addr in net` says whether it has an address. As in Python it has no length
// (num_addresses is it), and a network is never `in` a network: subnet_of says
// what one wants to know. To Starlark it is a Mapping, not Indexable, for an
// index may be any int.
type IPNetwork struct {
	addr netip.Addr // valid, no host bits set; with the scope where Python keeps it
	bits int
}

var (
	_ starlark.HasAttrs   = (*IPNetwork)(nil)
	_ starlark.HasBinary  = (*IPNetwork)(nil)
	_ starlark.Comparable = (*IPNetwork)(nil)
	_ starlark.Iterable   = (*IPNetwork)(nil)
	_ starlark.Container  = (*IPNetwork)(nil)
	_ starlark.Mapping    = (*IPNetwork)(nil)
	_ json.Marshaler      = (*IPNetwork)(nil)
)

// IPNetworkOf makes an IPNetwork of a valid prefix, without its host bits.
func IPNetworkOf(prefix netip.Prefix) *IPNetwork {
	return &IPNetwork{prefix.Masked().Addr(), prefix.Bits()}
}

// NewIPNetwork does what Python's ipaddress.ip_network does. It takes
//   - a string, an address with a prefix length ("10.0.0.0/24"), for IPv4 also
//     with a netmask or a hostmask ("10.0.0.0/255.255.255.0"), or with nothing,
//     which is one address;
//   - an int, bytes or an IPAddress, which is the network of that one address;
//   - a tuple of an address and a prefix length or mask;
//   - an IPNetwork or an IPInterface.
//
// If host bits are set, that is an error if strict, or else they are cleared.
func NewIPNetwork(v starlark.Value, strict bool) (*IPNetwork, error) {
	addr, n, err := ipParsePrefix(v, "network", ipLikeNet)
	if err != nil {
		return nil, err
	}
	net := ipMasked(addr, n)
	if strict && net.addr != addr {
		return nil, fmt.Errorf("%s has host bits set: its network is %q", ipQuote((&IPInterface{addr, n}).String()), net)
	}
	return net, nil
}

const ipLikeNet = `like "10.1.1.0/24" or "fd00::/64"`

// ipMasked clears the host bits of an address. As in Python its scope goes only
// if there were some.
func ipMasked(addr netip.Addr, n int) *IPNetwork {
	prefix, err := addr.Prefix(n)
	if err != nil || prefix.Addr() == addr.WithZone("") {
		return &IPNetwork{addr, n}
	}
	return &IPNetwork{prefix.Addr(), n}
}

// Prefix is the network as Go has it, which is without a scope.
func (x *IPNetwork) Prefix() netip.Prefix { return netip.PrefixFrom(x.addr.WithZone(""), x.bits) }

// String is the short form of the address and the prefix length.
func (x *IPNetwork) String() string        { return x.addr.String() + "/" + strconv.Itoa(x.bits) }
func (*IPNetwork) Type() string            { return "IPNetwork" }
func (*IPNetwork) Freeze()                 {} // immutable
func (*IPNetwork) Truth() starlark.Bool    { return true }
func (x *IPNetwork) Hash() (uint32, error) { return ipHash(*x), nil }

// MarshalJSON gives String as a JSON string.
func (x *IPNetwork) MarshalJSON() ([]byte, error) { return json.Marshal(x.String()) }

// AttrNames lists the attributes and methods.
func (*IPNetwork) AttrNames() []string { return ipNetNames }

// Attr gives an attribute or a method of Python's IPv4Network and IPv6Network.
func (x *IPNetwork) Attr(name string) (starlark.Value, error) {
	if f, ok := ipNetAttrs[name]; ok {
		return f(x), nil
	}
	if method, ok := ipNetMethods[name]; ok {
		return method.BindReceiver(x), nil
	}
	return nil, nil
}

// CompareSameType compares as Python does: by the address, then by the netmask;
// networks of different versions are unequal, and ordering them is an error.
func (x *IPNetwork) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	other, ok := y.(*IPNetwork)
	return ipCompare(op, x, y, ok, func() (bool, bool, int) {
		return *x == *other, x.addr.Is4() == other.addr.Is4(), x.order(other)
	})
}

func (x *IPNetwork) order(y *IPNetwork) int {
	return cmp.Or(
		x.addr.WithZone("").Compare(y.addr.WithZone("")),
		cmp.Compare(x.bits, y.bits),
		x.addr.Compare(y.addr))
}

// Binary knows no operation (`in` is Has): it is there to say what to use
// instead of network + int.
func (x *IPNetwork) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	if i, ok := y.(starlark.Int); ok && side == starlark.Left && (op == syntax.PLUS || op == syntax.MINUS) {
		return nil, fmt.Errorf("%s %s %s: a network can't be added to (net[i] is its address number i, net.network_address %s i that far from its first)", x, op, ipIntText(i), op)
	}
	return nil, nil
}

// Iterate goes over all addresses, with the first and the last.
func (x *IPNetwork) Iterate() starlark.Iterator { return x.all().Iterate() }

// Get is net[k], where a negative k counts from the end.
func (x *IPNetwork) Get(k starlark.Value) (starlark.Value, bool, error) { return x.all().Get(k) }

// Has says whether the network has an address, or an interface's address. The
// scope doesn't matter. Of the other version it has none, and as in Python it
// has no networks.
func (x *IPNetwork) Has(v starlark.Value) (bool, error) {
	switch v := v.(type) {
	case starlark.String:
		addr, err := NewIPAddress(v)
		if err != nil {
			return false, fmt.Errorf("in %s: %w", x, err)
		}
		return x.has(addr.addr), nil
	case *IPAddress:
		return x.has(v.addr), nil
	case *IPInterface:
		return x.has(v.addr), nil
	case *IPNetwork:
		return false, nil
	}
	return false, fmt.Errorf("in %s: an IP address is wanted (%s), not a value of type %s", x, ipLikeAddr, v.Type())
}

func (x *IPNetwork) has(a netip.Addr) bool { return x.Prefix().Contains(a.WithZone("")) }

// hostbits is the number of bits after the prefix.
func (x *IPNetwork) hostbits() uint { return uint(x.addr.BitLen() - x.bits) }

func (x *IPNetwork) hostmask() netip.Addr { return ipOnes(x.hostbits()).addr(x.addr.Is4()) }

func (x *IPNetwork) netmask() netip.Addr {
	return ipOnes(uint(x.addr.BitLen())).xor(ipOnes(x.hostbits())).addr(x.addr.Is4())
}

func (x *IPNetwork) broadcast() netip.Addr {
	return ipU128Of(x.addr).add(ipOnes(x.hostbits())).addr(x.addr.Is4())
}

func (x *IPNetwork) all() *ipSeq {
	return &ipSeq{what: "addresses of " + x.String(), first: ipU128Of(x.addr), last: ipOnes(x.hostbits()), is4: x.addr.Is4(), bits: -1}
}

// hosts has all addresses but, of an IPv4 network, the first and the last (RFC
// 1122, section 3.2.1.3), and of an IPv6 network the first, which is the
// routers' anycast address (RFC 4291, section 2.6.1). With only two addresses it
// has both (RFC 3021, RFC 6164), with one that one.
func (x *IPNetwork) hosts() *ipSeq {
	s := x.all()
	s.what = "hosts of " + x.String()
	switch {
	case x.hostbits() == 0:
		s.only = &IPAddress{x.addr}
	case x.hostbits() > 1:
		s.first = s.first.add(ipU128{lo: 1})
		s.last = s.last.sub(ipU128{lo: 1})
		if s.is4 {
			s.last = s.last.sub(ipU128{lo: 1})
		}
	}
	return s
}

func (x *IPNetwork) subnetOf(y *IPNetwork) bool { return y.bits <= x.bits && y.has(x.addr) }

// ipNetAttrs has the attributes of networks.
var ipNetAttrs = map[string]func(*IPNetwork) starlark.Value{
	"version":       func(x *IPNetwork) starlark.Value { return ipVersion(x.addr) },
	"max_prefixlen": func(x *IPNetwork) starlark.Value { return starlark.MakeInt(x.addr.BitLen()) },
	"prefixlen":     func(x *IPNetwork) starlark.Value { return starlark.MakeInt(x.bits) },
	"num_addresses": func(x *IPNetwork) starlark.Value { return starlark.MakeInt(1).Lsh(x.hostbits()) },

	"network_address":   func(x *IPNetwork) starlark.Value { return &IPAddress{x.addr} },
	"broadcast_address": func(x *IPNetwork) starlark.Value { return &IPAddress{x.broadcast()} },
	"netmask":           func(x *IPNetwork) starlark.Value { return &IPAddress{x.netmask()} },
	"hostmask":          func(x *IPNetwork) starlark.Value { return &IPAddress{x.hostmask()} },

	"compressed":     func(x *IPNetwork) starlark.Value { return starlark.String(x.String()) },
	"exploded":       func(x *IPNetwork) starlark.Value { return starlark.String(ipExplodedPrefix(x.addr, x.bits)) },
	"with_prefixlen": func(x *IPNetwork) starlark.Value { return starlark.String(x.String()) },
	"with_netmask":   func(x *IPNetwork) starlark.Value { return ipWithMask(x.addr, x.netmask()) },
	"with_hostmask":  func(x *IPNetwork) starlark.Value { return ipWithMask(x.addr, x.hostmask()) },

	"is_link_local":  ipNetFlag(ipIsLinkLocal),
	"is_loopback":    ipNetFlag(ipIsLoopback),
	"is_multicast":   ipNetFlag(ipIsMulticast),
	"is_reserved":    ipNetFlag(ipIsReserved),
	"is_site_local":  ipNetFlag(ipIsSiteLocal),
	"is_unspecified": ipNetFlag(ipIsUnspecified),
	"is_private":     func(x *IPNetwork) starlark.Value { return starlark.Bool(x.isPrivate()) },
	"is_global": func(x *IPNetwork) starlark.Value {
		shared := ipIn(x.Prefix().Addr(), ipShared) && ipIn(x.broadcast(), ipShared)
		return starlark.Bool(!x.isPrivate() && !shared)
	},
}

// ipNetFlag makes an attribute of a test that the first and the last address of
// the network must pass.
func ipNetFlag(is func(netip.Addr) bool) func(*IPNetwork) starlark.Value {
	flag := ipFlag(is)
	return func(x *IPNetwork) starlark.Value { return flag(x.addr).Truth() && flag(x.broadcast()).Truth() }
}

// isPrivate says, as Python does, whether the network is inside of one range of
// ipPrivate and has neither end in one of ipPrivateExcept. Here an IPv4-mapped
// network is only an IPv6 one.
func (x *IPNetwork) isPrivate() bool {
	first, last := x.Prefix().Addr(), x.broadcast()
	if ipIn(first, ipPrivateExcept) || ipIn(last, ipPrivateExcept) {
		return false
	}
	for _, p := range ipPrivate {
		if p.Contains(first) && p.Contains(last) {
			return true
		}
	}
	return false
}

func ipExplodedPrefix(addr netip.Addr, n int) string {
	return addr.WithZone("").StringExpanded() + "/" + strconv.Itoa(n)
}

func ipWithMask(addr, mask netip.Addr) starlark.Value {
	return starlark.String(addr.String() + "/" + mask.String())
}

// ipNetMethods has the methods of networks.
var ipNetMethods = map[string]*starlark.Builtin{
	"hosts":            ipNetMethod("hosts", ipNetHosts),
	"subnets":          ipNetMethod("subnets", ipNetSubnets),
	"supernet":         ipNetMethod("supernet", ipNetSupernet),
	"subnet_of":        ipNetMethod("subnet_of", ipNetSubnetOf),
	"supernet_of":      ipNetMethod("supernet_of", ipNetSupernetOf),
	"overlaps":         ipNetMethod("overlaps", ipNetOverlaps),
	"address_exclude":  ipNetMethod("address_exclude", ipNetAddressExclude),
	"compare_networks": ipNetMethod("compare_networks", ipNetCompareNetworks),
}

var ipNetNames = ipNames(ipNetAttrs, ipNames(ipNetMethods)...)

func ipNetMethod(name string, f func(*IPNetwork, *starlark.Builtin, starlark.Tuple, []starlark.Tuple) (starlark.Value, error)) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		v, err := f(b.Receiver().(*IPNetwork), b, args, kwargs)
		if err != nil && !strings.HasPrefix(err.Error(), b.Name()+": ") {
			err = fmt.Errorf("%s: %w", b.Name(), err)
		}
		return v, err
	})
}

func ipNetHosts(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
		return nil, err
	}
	return x.hosts().value(), nil
}

// ipNetSubnets is subnets(prefixlen_diff=1, new_prefix=None), the networks with
// a longer prefix that make up the network. Of a single address that is itself,
// whatever the arguments.
func ipNetSubnets(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	diff, err := x.prefixDiff(b, args, kwargs, +1)
	if err != nil {
		return nil, err
	}
	s := x.all()
	if x.hostbits() == 0 {
		s.what, s.bits, s.only = "subnets of "+x.String(), x.bits, x
		return s.value(), nil
	}
	if diff > int(x.hostbits()) {
		return nil, fmt.Errorf("%s can't have subnets with a prefix length of %d: IPv%s has at most %d", x, x.bits+diff, ipVersion(x.addr), x.addr.BitLen())
	}
	s.bits = x.bits + diff
	s.what = fmt.Sprintf("/%d subnets of %s", s.bits, x)
	s.last = ipOnes(uint(diff))
	s.shift = x.hostbits() - uint(diff)
	return s.value(), nil
}

// ipNetSupernet is supernet(prefixlen_diff=1, new_prefix=None), the network with
// a shorter prefix that has this one. Of a /0 that is itself, whatever the
// arguments.
func ipNetSupernet(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	diff, err := x.prefixDiff(b, args, kwargs, -1)
	if err != nil {
		return nil, err
	}
	if x.bits == 0 {
		return x, nil
	}
	if diff > x.bits {
		return nil, fmt.Errorf("%s has no supernet with a prefix length shorter by %d", x, diff)
	}
	return ipMasked(x.addr.WithZone(""), x.bits-diff), nil
}

// prefixDiff reads the arguments of subnets (way +1) and of supernet (way -1).
// The result is at least 0, and 0 for a network that can't be changed that way,
// for which Python doesn't look at the arguments.
func (x *IPNetwork) prefixDiff(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple, way int) (int, error) {
	diff := 1
	var prefix starlark.Value = starlark.None
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "prefixlen_diff?", &diff, "new_prefix?", &prefix); err != nil {
		return 0, err
	}
	if way > 0 && x.hostbits() == 0 || way < 0 && x.bits == 0 {
		return 0, nil
	}
	if prefix != starlark.None {
		n, err := starlark.AsInt32(prefix)
		if err != nil {
			return 0, fmt.Errorf("for parameter new_prefix: %w", err)
		}
		if diff != 1 {
			return 0, fmt.Errorf("prefixlen_diff and new_prefix can't both be given")
		}
		switch diff = (n - x.bits) * way; {
		case diff < 0 && way > 0:
			return 0, fmt.Errorf("new_prefix %d must be at least %d, the prefix length of %s", n, x.bits, x)
		case diff < 0 || n < 0:
			return 0, fmt.Errorf("new_prefix %d must be from 0 to %d, the prefix length of %s", n, x.bits, x)
		}
	}
	if diff < 0 {
		return 0, fmt.Errorf("prefixlen_diff is %d, but must be at least 0", diff)
	}
	return diff, nil
}

// otherNet reads the only argument: a network, or a string that is one. If
// sameVersion, it must be of the same version.
func (x *IPNetwork) otherNet(b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple, sameVersion bool) (*IPNetwork, error) {
	var v starlark.Value
	if err := starlark.UnpackArgs(b.Name(), args, kwargs, "other", &v); err != nil {
		return nil, err
	}
	switch v.(type) {
	case *IPNetwork, starlark.String:
	default:
		return nil, fmt.Errorf("an IPNetwork is wanted, or a string (%s), not a value of type %s", ipLikeNet, v.Type())
	}
	other, err := NewIPNetwork(v, true)
	if err == nil && sameVersion && other.addr.Is4() != x.addr.Is4() {
		err = fmt.Errorf("%s and %s are not of the same version", x, other)
	}
	return other, err
}

func ipNetSubnetOf(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	other, err := x.otherNet(b, args, kwargs, true)
	if err != nil {
		return nil, err
	}
	return starlark.Bool(x.subnetOf(other)), nil
}

func ipNetSupernetOf(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	other, err := x.otherNet(b, args, kwargs, true)
	if err != nil {
		return nil, err
	}
	return starlark.Bool(other.subnetOf(x)), nil
}

func ipNetOverlaps(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	other, err := x.otherNet(b, args, kwargs, false)
	if err != nil {
		return nil, err
	}
	return starlark.Bool(x.subnetOf(other) || other.subnetOf(x)), nil
}

// ipNetAddressExclude is address_exclude(other): the list of the networks, 128 at
// most, that have what other leaves of the network, in Python's order: the
// largest first.
func ipNetAddressExclude(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	other, err := x.otherNet(b, args, kwargs, true)
	if err != nil {
		return nil, err
	}
	if !other.subnetOf(x) {
		return nil, fmt.Errorf("%s is not contained in %s", other, x)
	}
	var rest []starlark.Value
	for n := x.bits + 1; n <= other.bits; n++ {
		// The half of the /(n-1) that doesn't have other.
		half := ipMasked(other.addr.WithZone(""), n)
		turned := ipU128Of(half.addr).xor(ipU128{lo: 1}.shl(half.hostbits()))
		rest = append(rest, &IPNetwork{turned.addr(x.addr.Is4()), n})
	}
	return starlark.NewList(rest), nil
}

// ipNetCompareNetworks is compare_networks(other): -1, 0 or 1.
func ipNetCompareNetworks(x *IPNetwork, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	other, err := x.otherNet(b, args, kwargs, true)
	if err != nil {
		return nil, err
	}
	return starlark.MakeInt(x.order(other)), nil
}
