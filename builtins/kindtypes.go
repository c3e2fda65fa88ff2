package builtins

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net"
	"net/netip"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// optionType is what a script gives for an option.
func optionType(o *lab.Option) *Type {
	switch v := o.Value.(type) {
	case lab.Number:
		return intType("a whole number", "", int64(v.Min), int64(v.Max))
	case lab.Time:
		return tUnitDuration
	case lab.Word:
		return wordOf(v.Words)
	case lab.AddrGenMode:
		return wordOf(v.Words())
	case lab.Addr:
		return tPlainAddress
	case lab.Addrs:
		return tAddresses
	case lab.Hops:
		return tHopsOf
	case lab.PortRange:
		return tPorts
	case lab.Inheritable:
		return numberOr(v)
	case lab.Key:
		return tKey
	case lab.OtherLink:
		return tMaster
	case lab.MAC:
		if v.Group {
			return tAnyMAC
		}
		return tMAC
	case lab.MACs:
		return tMACs
	case lab.QosMap:
		return tQosMap
	case lab.ProtoDownReason:
		return tReason
	case lab.Token:
		return tToken
	case lab.Prefix:
		return tSubnet
	case lab.SCI:
		return tSCI
	case lab.SCIPort:
		return tPort
	case lab.Rate:
		return tBitrate
	case lab.Bytes:
		return tSize
	case lab.Share:
		return tShare
	case lab.Shares:
		return listTyped[float64](tShare, "a share or a list of them", `("1%", "25%")`)
	case lab.Span:
		return tUnitDuration
	case lab.Numbers:
		return listTyped[int](tByte, "a list of numbers", "[0, 1, 2]")
	case lab.Class:
		return tClass
	case lab.Curve:
		return tCurve
	case lab.Seed:
		return tSeed
	}
	return tBool
}

// tPlainAddress is an address that is none of a namespace's or link's.
var tPlainAddress = &Type{Name: "an IP address", Good: `"10.0.0.2"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	a, err := tAddress.Convert(c, v)
	if err != nil {
		return nil, err
	}
	if ip := a.(Address).ip; ip.IsValid() {
		return ip, nil
	}
	return nil, errType
}}

// tToken is an interface identifier, or False for none.
var tToken = &Type{Name: "an interface identifier, or False", Good: `"::5"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if v == starlark.False {
		return netip.IPv6Unspecified(), nil
	}
	return tPlainAddress.Convert(c, v)
}}

// tHopsOf is a time to live or type of service, or "inherit".
var tHopsOf = &Type{Name: `a number from 0 to 255, or "inherit"`, Good: "64", Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok && s == "inherit" {
		return s, nil
	}
	return tByte.Convert(c, v)
}}

// wordOf is one of some words.
func wordOf(words []string) *Type {
	return &Type{Name: "one of " + strings.Join(words, ", "), Good: fmt.Sprintf("%q", words[0]), Convert: func(_ *Call, v starlark.Value) (any, error) {
		if s, ok := starlark.AsString(v); ok {
			return s, nil
		}
		return nil, errType
	}}
}

// numberOr is a number, or the one word that an option takes instead.
func numberOr(v lab.Inheritable) *Type {
	name, good := fmt.Sprintf("a number from 0 to %d, or %q", v.Max, v.Word), "64"
	if v.Max < 0 {
		name, good = fmt.Sprintf("%q", v.Word), fmt.Sprintf("%q", v.Word)
	}
	number := intType(name, good, 0, int64(v.Max))
	return &Type{Name: name, Good: good, Convert: func(c *Call, x starlark.Value) (any, error) {
		if s, ok := starlark.AsString(x); ok {
			return s, nil
		}
		if v.Max < 0 {
			return nil, errType
		}
		return number.Convert(c, x)
	}}
}

// tKey is the key of a tunnel: a number, or the same as an IPv4 address is written.
var tKey = &Type{Name: "a number of 32 bits, or one with dots, or False", Good: "5", Convert: func(c *Call, v starlark.Value) (any, error) {
	if v == starlark.False {
		return false, nil
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return tUint32.Convert(c, v)
	}
	ip, err := netip.ParseAddr(s)
	if err != nil || !ip.Is4() {
		return nil, fmt.Errorf("%q is no key", s)
	}
	b := ip.As4()
	return int(b[0])<<24 | int(b[1])<<16 | int(b[2])<<8 | int(b[3]), nil
}}

// tMACs is a list of MAC addresses, or one.
var tMACs = &Type{Name: "a MAC address or a list of them", Good: `"02:00:00:00:00:01"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	return listAs[net.HardwareAddr](c, listOf(tMAC, "a MAC address or a list of them"), v)
}}

// tAddresses is a list of IP addresses, or one.
var tAddresses = &Type{Name: "an IP address or a list of them", Good: `["10.0.0.1"]`, Convert: func(c *Call, v starlark.Value) (any, error) {
	return listAs[netip.Addr](c, listOf(tPlainAddress, "an IP address or a list of them"), v)
}}

// listAs converts to a list of one type.
func listAs[T any](c *Call, t *Type, v starlark.Value) (any, error) {
	converted, err := t.Convert(c, v)
	if err != nil {
		return nil, err
	}
	list := []T{}
	for _, x := range converted.([]any) {
		list = append(list, x.(T))
	}
	return list, nil
}

// tQosMap is a dict of priorities.
var tQosMap = &Type{Name: "a dict of priorities", Good: "{3: 5}", Convert: func(_ *Call, v starlark.Value) (any, error) {
	d, ok := v.(*starlark.Dict)
	if !ok {
		return nil, errType
	}
	m := map[int]int{}
	for _, item := range d.Items() {
		var pair [2]int
		for i, x := range item {
			if err := starlark.AsInt(x, &pair[i]); err != nil {
				return nil, fmt.Errorf("%s is no priority", x)
			}
		}
		m[pair[0]] = pair[1]
	}
	return m, nil
}}

// tReason is a dict of a bit and whether it is set.
var tReason = &Type{Name: "a dict of a reason", Good: "{3: True}", Convert: func(_ *Call, v starlark.Value) (any, error) {
	d, ok := v.(*starlark.Dict)
	if !ok {
		return nil, errType
	}
	m := map[int]bool{}
	for _, item := range d.Items() {
		var n int
		set, ok := item[1].(starlark.Bool)
		if err := starlark.AsInt(item[0], &n); err != nil || !ok {
			return nil, errType
		}
		m[n] = bool(set)
	}
	return m, nil
}}

// tSubnet is a subnet.
var tSubnet = &Type{Name: "a subnet", Good: `"2001:db8::/32"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	return toPrefix(v)
}}

// tSCI is a secure channel identifier: 16 hexadecimal digits, or a MAC address and a
// port.
var tSCI = &Type{Name: "16 hexadecimal digits, or a MAC address and a port", Good: `("02:00:00:00:00:01", 1)`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if pair, ok := v.(starlark.Tuple); ok && len(pair) == 2 {
		return sciOf(c, pair[0], pair[1])
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	b, err := hex.DecodeString(s)
	if err != nil || len(b) != 8 {
		return nil, fmt.Errorf("%q is no secure channel identifier", s)
	}
	return b, nil
}}

func sciOf(c *Call, address, port starlark.Value) (any, error) {
	mac, err := tMAC.Convert(c, address)
	if err != nil {
		return nil, err
	}
	n, err := tPort.Convert(c, port)
	if err != nil {
		return nil, err
	}
	return binary.BigEndian.AppendUint16([]byte(mac.(net.HardwareAddr)), uint16(n.(int))), nil
}
