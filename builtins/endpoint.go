package builtins

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

var tPort = intType("a port", "8080", 1, 65535)

// endpoint is an address and a port, resolved when it is known who asks.
type endpoint struct {
	addr Address
	port uint16
}

// String is as a script writes it.
func (e endpoint) String() string { return fmt.Sprintf("%s:%d", e.addr, e.port) }

// tEndpoint is "address:port", "name:port", or a pair whose first item leads to an address.
var tEndpoint = &Type{Name: "an address and a port", Good: `"10.1.1.1:80"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		if a, err := netip.ParseAddrPort(string(v)); err == nil && a.Port() != 0 {
			return endpoint{Address{ip: a.Addr().Unmap()}, a.Port()}, nil
		}
		name, digits, _ := strings.Cut(string(v), ":")
		port, err := strconv.ParseUint(digits, 10, 16)
		a, bad := toHost(c, name)
		if err != nil || port == 0 || bad != nil || a.(Address).ip.IsValid() {
			return nil, lab.Usage(`like "10.1.1.1:80", "[fd00::1]:80", "web:80", or (blue, 80)`, "%s is no address with a port", v)
		}
		return endpoint{a.(Address), uint16(port)}, nil
	case starlark.Tuple:
		if len(v) != 2 {
			return nil, fmt.Errorf("an address and a port are two items, not %d", len(v))
		}
		a, err := tHost.Convert(c, v[0])
		if err != nil {
			return nil, err
		}
		port, err := tPort.Convert(c, v[1])
		if err != nil {
			return nil, err
		}
		return endpoint{a.(Address), uint16(port.(int))}, nil
	}
	return nil, errType
}}

// endpoint resolves the argument of a name for a sender.
func (c *Call) endpoint(name string, from *lab.Namespace) (netip.AddrPort, error) {
	e := get(c, name, endpoint{})
	ip, err := c.destination(e.addr, from, 0)
	if err == nil {
		err = c.needsLink(ip, fmt.Sprintf("say [%%s%%%%eth0]:%d", e.port))
	}
	return netip.AddrPortFrom(ip, e.port), err
}

// source is the own end: src= and sport=.
func (c *Call) source(like netip.Addr) (netip.AddrPort, error) {
	ip, err := c.only("src", like)
	if err == nil && ip.IsValid() && ip.Is4() != like.Is4() {
		err = lab.Usage("", "%s: src %s and %s are not of one family", c.spec.Name, ip, like)
	}
	return netip.AddrPortFrom(ip, uint16(get(c, "sport", 0))), err
}

// endpointText is an address and a port, or None.
func endpointText(a netip.AddrPort) starlark.Value {
	if !a.Addr().IsValid() {
		return starlark.None
	}
	return starlark.String(a.String())
}
