package builtins

import (
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

// The types of parameters. Each converts at the edge; what is behind it gets
// Go values.

var tAny = &Type{Name: "a value", Convert: func(_ *Call, v starlark.Value) (any, error) { return v, nil }}

var tString = &Type{Name: "a string", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		return s, nil
	}
	return nil, errType
}}

// tText is text, or bytes where those are no text.
var tText = &Type{Name: "a string or bytes", Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		return string(v), nil
	case starlark.Bytes:
		return string(v), nil
	}
	return nil, errType
}}

var tBool = &Type{Name: "True or False", Good: "True", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if b, ok := v.(starlark.Bool); ok {
		return bool(b), nil
	}
	return nil, errType
}}

// intType is a whole number within bounds.
func intType(what, good string, least, most int64) *Type {
	return &Type{Name: what, Good: good, Range: &[2]int64{least, most}, Convert: func(_ *Call, v starlark.Value) (any, error) {
		i, ok := v.(starlark.Int)
		if !ok {
			return nil, errType
		}
		n, ok := i.Int64()
		if !ok || n < least || n > most {
			return nil, fmt.Errorf("%s is out of range: it is from %d to %d", i, least, most)
		}
		return int(n), nil
	}}
}

var (
	tMTU      = intType("an MTU in bytes", "1500", 68, 65535)
	tUint32   = intType("a whole number", "", 0, math.MaxUint32)
	tUint16   = intType("a whole number", "", 0, 65535)
	tByte     = intType("a whole number", "", 0, 255)
	tTTL      = intType("a time to live", "64", 1, 255)
	tPID      = intType("a process id", "", 1, math.MaxInt32)
	tCount    = intType("a count", "3", 1, 1000000)
	tPriority = intType("a priority", "1000", 0, math.MaxUint32)
)

// nameType is a string that is not empty.
func nameType(what, good string) *Type {
	return &Type{Name: what, Good: good, Convert: func(_ *Call, v starlark.Value) (any, error) {
		s, ok := starlark.AsString(v)
		if !ok {
			return nil, errType
		}
		if s == "" {
			return nil, fmt.Errorf("%s is not empty", what)
		}
		return s, nil
	}}
}

var (
	tLinkName      = nameType("a link's name", `"eth0"`)
	tNamespaceName = nameType("a namespace's name", `"blue"`)
)

var tMAC = &Type{Name: "a MAC address", Good: `"02:00:00:00:00:01"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	mac, err := net.ParseMAC(s)
	if err != nil || len(mac) != 6 {
		return nil, fmt.Errorf("%q is no MAC address", s)
	}
	if mac[0]&1 != 0 {
		return nil, fmt.Errorf("%s is a multicast address; a link's has an even first byte", s)
	}
	return mac, nil
}}

// tDuration takes seconds, or a string with a unit.
var tDuration = &Type{Name: "a time in seconds, or with a unit", Good: `"250ms"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	return toDuration(v)
}}

// tUnitDuration takes only strings with a unit: the kernel's own unit is not
// the second, so a bare number would be ambiguous.
var tUnitDuration = &Type{Name: "a time with a unit", Good: `"4s"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if _, ok := v.(starlark.String); !ok {
		return nil, errType
	}
	return toDuration(v)
}}

func toDuration(v starlark.Value) (time.Duration, error) {
	if s, ok := starlark.AsString(v); ok {
		d, err := time.ParseDuration(strings.ReplaceAll(s, " ", ""))
		if err == nil && d < 0 {
			return 0, fmt.Errorf("%q is less than nothing: a time is from 0 on", s)
		}
		if err != nil {
			return 0, fmt.Errorf("%q is no time", s)
		}
		return d, nil
	}
	f, ok := starlark.AsFloat(v)
	if !ok {
		return 0, errType
	}
	if !(f >= 0 && f <= 1e9) {
		return 0, fmt.Errorf("%v s is out of range", v)
	}
	return time.Duration(f * float64(time.Second)), nil
}

// tPrefix is an address with its prefix length; without one, the longest, as
// `ip` has it.
var tPrefix = &Type{Name: "an address with its prefix length", Good: `"10.1.1.1/24"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	return toPrefix(v)
}}

func toPrefix(v starlark.Value) (netip.Prefix, error) {
	switch v := v.(type) {
	case *IPInterface:
		return v.Prefix(), nil
	case *IPNetwork:
		return v.Prefix(), nil
	case *IPAddress:
		return netip.PrefixFrom(v.Addr(), v.Addr().BitLen()), nil
	case *Record:
		if a, ok := v.object.(*lab.Address); ok {
			return a.Prefix(), nil
		}
	case starlark.String:
		return parsePrefix(string(v))
	}
	return netip.Prefix{}, errType
}

func parsePrefix(s string) (netip.Prefix, error) {
	if !strings.Contains(s, "/") {
		ip, err := netip.ParseAddr(s)
		if err != nil {
			return netip.Prefix{}, fmt.Errorf("%q is no address with a prefix length", s)
		}
		return netip.PrefixFrom(ip, ip.BitLen()), nil
	}
	p, err := netip.ParsePrefix(s)
	if err != nil {
		_, length, _ := strings.Cut(s, "/")
		if n, e := strconv.Atoi(length); e == nil && (n < 0 || n > 32 && !strings.Contains(s, ":") || n > 128) {
			return p, fmt.Errorf("%q: a prefix length is at most 32 for IPv4 and 128 for IPv6", s)
		}
		return p, fmt.Errorf("%q is no address with a prefix length", s)
	}
	return p, nil
}

// tPrefixes is one such or a list.
var tPrefixes = listOf(tPrefix, "an address with its prefix length, or a list of them")

// listOf takes one value of a type or a list of them; the Go value is []any.
func listOf(t *Type, name string) *Type {
	good := t.Good
	if strings.HasPrefix(name, "a list") {
		good = "[" + good + "]"
	}
	return &Type{Name: name, Good: good, Convert: func(c *Call, v starlark.Value) (any, error) {
		seq, ok := v.(starlark.Sequence)
		if _, one := v.(*IPNetwork); !ok || one {
			x, err := t.Convert(c, v)
			return []any{x}, err
		}
		var list []any
		iter := seq.Iterate()
		defer iter.Done()
		for x := starlark.Value(nil); iter.Next(&x); {
			converted, err := t.Convert(c, x)
			if errors.Is(err, errType) {
				return nil, lab.Usage("a good one is "+t.Good, "[%d]: got %s, want %s", len(list), describe(x), t.Name)
			}
			if err != nil {
				return nil, err
			}
			list = append(list, converted)
		}
		return list, nil
	}}
}

// tDst is the destination of a route: a subnet, an address, or "default".
var tDst = &Type{Name: "a subnet or \"default\"", Good: `"10.0.0.0/8"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		switch s {
		case "default", "0.0.0.0/0":
			return netip.PrefixFrom(netip.IPv4Unspecified(), 0), nil
		case "default6", "::/0":
			return netip.PrefixFrom(netip.IPv6Unspecified(), 0), nil
		}
	}
	p, err := toPrefix(v)
	if err == nil && p != p.Masked() {
		if _, text := v.(starlark.String); text {
			return nil, lab.Usage(fmt.Sprintf("the subnet is %q", p.Masked()), "%s has bits beyond its prefix length", p)
		}
		p = p.Masked()
	}
	return p, err
}}

var tNetns = &Type{Name: "a namespace", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if ns, ok := v.(*Namespace); ok {
		return ns.ns, nil
	}
	return nil, errType
}}

// tNetnsRef is a namespace's handle, its name, or the pid of a process in it.
var tNetnsRef = &Type{Name: "a namespace, its name or a pid", Convert: func(c *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Namespace:
		return v.ns, nil
	case starlark.String:
		if v == "root" {
			return c.Env.Lab.Root, nil
		}
		if ns := c.Env.Lab.Namespace(string(v)); ns != nil {
			return ns, nil
		}
		return nil, c.noNamespace(string(v))
	case starlark.Int:
		pid, ok := v.Int64()
		if !ok || pid < 1 {
			return nil, errors.New("a pid is at least 1")
		}
		if pid == 1 {
			return c.Env.Lab.Root, nil
		}
		return c.Env.Lab.AddNamespace(c.Ctx, lab.NamespaceSpec{PID: int(pid)})
	}
	return nil, errType
}}

func (c *Call) noNamespace(name string) error {
	names := []string{"root"}
	for _, ns := range c.Env.Lab.Namespaces() {
		names = append(names, ns.Name)
	}
	hint := ""
	if near := lab.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return lab.Usage(hint, "there is no namespace %q in this lab", name)
}

var tLink = &Type{Name: "a link", Good: `root["eth0"]`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Link:
		return v.link, nil
	case starlark.String:
		return nil, lab.Usage(fmt.Sprintf("a namespace finds its links by name: root[%s]", v), "got string %s, want a link", v)
	case starlark.Tuple:
		return nil, lab.Usage("veth() returns both ends: a, b = veth(…)", "got tuple, want a link")
	case *Namespace:
		return nil, lab.Usage(fmt.Sprintf(`a link of it is %s["eth0"]`, v), "got netns %s, want a link", v)
	}
	return nil, errType
}}

// Address is anything that leads to an IP address: it is resolved when it is
// known who asks for what.
type Address struct {
	ip   netip.Addr
	ns   *lab.Namespace
	link *lab.Link
	name string // which whoever asks has to look up
}

// IsValid tells whether there is one.
func (a Address) IsValid() bool { return a.ip.IsValid() || a.ns != nil || a.name != "" }

// String is the address, or what leads to it.
func (a Address) String() string {
	switch {
	case a.link != nil:
		return a.link.Name()
	case a.ns != nil:
		return a.ns.String()
	case a.name != "":
		return a.name
	}
	return a.ip.String()
}

var tAddress = &Type{Name: "an address, or a namespace or link that has one", Good: `"10.1.1.1"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *IPAddress:
		return Address{ip: v.Addr()}, nil
	case *IPInterface:
		return Address{ip: v.Addr()}, nil
	case *Namespace:
		return Address{ns: v.ns}, nil
	case *Link:
		return Address{ns: v.link.NS(), link: v.link}, nil
	case *Record:
		if a, ok := v.object.(*lab.Address); ok {
			return Address{ip: a.IP}, nil
		}
	case starlark.String:
		ip, err := netip.ParseAddr(string(v))
		if err != nil {
			if strings.Contains(string(v), "/") {
				return nil, fmt.Errorf("%s has a prefix length; an address has none", v)
			}
			if c.Env != nil && c.Env.Lab != nil && c.Env.Lab.Namespace(string(v)) != nil {
				return nil, lab.Usage(fmt.Sprintf("give the handle of the namespace: netns(%s, exist=True)", v), "%s is no IP address", v)
			}
			return nil, fmt.Errorf("%s is no IP address", v)
		}
		return Address{ip: ip}, nil
	}
	return nil, errType
}}

// destination resolves an address for a sender.
func (c *Call) destination(a Address, from *lab.Namespace, family int) (netip.Addr, error) {
	if a.name != "" {
		return c.lookup(a.name, from, family)
	}
	if a.ip.IsValid() {
		if family != 0 && (family == unix.AF_INET) != a.ip.Is4() {
			return a.ip, lab.Usage("", "%s is of the other family", a.ip)
		}
		return a.ip, nil
	}
	if a.link != nil {
		return a.ns.OnlyAddress(a.link, family)
	}
	ip, err := a.ns.AddressFor(from, family)
	if err == nil && c.Env.Note != nil {
		c.Env.Note("%s: %s means %s", c.Env.position(c.Thread), a.ns, ip)
	}
	return ip, err
}

func familyOf(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// only resolves an argument that must be unambiguous, in the family of like; in
// either, IPv4 before IPv6, when like is the zero Addr.
func (c *Call) only(name string, like netip.Addr) (netip.Addr, error) {
	return get(c, name, Address{}).only(like)
}

func (a Address) only(like netip.Addr) (netip.Addr, error) {
	if a.ip.IsValid() || a.ns == nil {
		return a.ip, nil
	}
	family := 0
	switch {
	case like.Is4():
		family = unix.AF_INET
	case like.Is6():
		family = unix.AF_INET6
	}
	return a.ns.OnlyAddress(a.link, family)
}

// linkIn is a link given by a parameter, which has to be in the namespace that
// the call is about.
func (c *Call) linkIn(param string, ns *lab.Namespace) (*lab.Link, error) {
	k := get[*lab.Link](c, param, nil)
	if k == nil {
		return nil, nil
	}
	return k, k.In(ns, param)
}

// tFamily is a family of addresses: 4 or 6, or as `ip` calls it.
var tFamily = &Type{Name: "4 or 6", Good: "6", Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch strings.Trim(v.String(), `"`) {
	case "4", "inet", "ipv4":
		return unix.AF_INET, nil
	case "6", "inet6", "ipv6":
		return unix.AF_INET6, nil
	}
	return nil, errType
}}

// named makes a type from a function that looks a name up; whole numbers from least to
// most pass.
func named(what, good string, least, most int64, find func(string) (int, error)) *Type {
	return &Type{Name: what, Good: good, Range: &[2]int64{least, most}, Convert: func(_ *Call, v starlark.Value) (any, error) {
		switch v := v.(type) {
		case starlark.String:
			return find(string(v))
		case starlark.Int:
			if n, ok := v.Int64(); ok && n >= least && n <= most {
				return int(n), nil
			}
			return nil, fmt.Errorf("%s is out of range: it is from %d to %d", v, least, most)
		}
		return nil, errType
	}}
}

var (
	tTableName  = named("a routing table, by number or name", `"main"`, 1, math.MaxUint32, lab.Table)
	tScope      = named("a scope", `"link"`, 0, 255, lab.Scope)
	tRouteType  = named("a type of route", `"blackhole"`, 0, 9, lab.RouteType)
	tProtocol   = named("an IP protocol", `"tcp"`, 0, 255, lab.Protocol)
	tRouteProto = named("a routing protocol, by number or name", `"static"`, 0, 255, lab.RouteProtocol)
	tAction     = named("an action", `"blackhole"`, 0, 8, lab.RuleAction)
)

// tTable is a routing table, or that of a VRF.
var tTable = &Type{Name: tTableName.Name, Good: tTableName.Good, Range: tTableName.Range, Convert: func(c *Call, v starlark.Value) (any, error) {
	k, ok := v.(*Link)
	if !ok {
		return tTableName.Convert(c, v)
	}
	info, err := k.link.Info()
	if err != nil {
		return nil, err
	}
	if info.Kind != "vrf" {
		return nil, fmt.Errorf("link %s is no VRF: it has no table", k)
	}
	return info.Options["table"], nil
}}

// tRouteFamily is a family of routes.
var tRouteFamily = &Type{Name: "4, 6 or \"mpls\"", Good: "6", Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok && s == "mpls" {
		return unix.AF_MPLS, nil
	}
	return tFamily.Convert(c, v)
}}

// tPorts is a port or a range of them.
var tPorts = &Type{Name: "a port, or a range of ports", Good: `"8000-8080"`, Range: &[2]int64{1, 65535}, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v.(type) {
	case starlark.Int, starlark.String:
	default:
		return nil, errType
	}
	text := strings.Trim(v.String(), `"`)
	first, last, ranged := strings.Cut(text, "-")
	if !ranged {
		last = first
	}
	a, err1 := strconv.ParseUint(first, 10, 16)
	b, err2 := strconv.ParseUint(last, 10, 16)
	if _, number := v.(starlark.Int); number && (err1 != nil || a == 0) || errors.Is(err1, strconv.ErrRange) || errors.Is(err2, strconv.ErrRange) {
		return nil, fmt.Errorf("%s is out of range: it is from 1 to 65535", word(v))
	}
	if err1 != nil || err2 != nil || a == 0 || b < a {
		return nil, fmt.Errorf("%s is no port or range of ports", v)
	}
	return lab.Ports{First: int(a), Last: int(b)}, nil
}}

var tCallable = &Type{Name: "a function", Good: "lambda: …", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if f, ok := v.(starlark.Callable); ok {
		return f, nil
	}
	return nil, errType
}}

var tRegexp = &Type{Name: "a regular expression", Good: `"^a+"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	re, err := regexp.Compile(s)
	if err != nil {
		return nil, fmt.Errorf("%w", err)
	}
	return re, nil
}}

// tArgv is a command: a list is argv, a string goes to the shell.
var tArgv = &Type{Name: "a command: a list of words, or a string for /bin/sh", Good: `["ip", "link"]`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		if strings.TrimSpace(s) == "" {
			return nil, errors.New("the command is empty")
		}
		return []string{"/bin/sh", "-c", s}, nil
	}
	seq, ok := v.(starlark.Sequence)
	if !ok {
		return nil, errType
	}
	var argv []string
	iter := seq.Iterate()
	defer iter.Done()
	for x := starlark.Value(nil); iter.Next(&x); {
		argv = append(argv, word(x))
	}
	if len(argv) == 0 || argv[0] == "" {
		return nil, errors.New("the command is empty")
	}
	if i := slices.IndexFunc(argv, func(s string) bool { return strings.ContainsRune(s, 0) }); i >= 0 {
		return nil, fmt.Errorf("word %d has a NUL byte", i)
	}
	return argv, nil
}}

// word is a value as a word of a command line.
func word(v starlark.Value) string {
	switch v := v.(type) {
	case starlark.String:
		return string(v)
	case starlark.Bytes:
		return string(v)
	case *Namespace:
		return v.ns.String()
	case *Link:
		return v.link.Name()
	}
	return v.String()
}

// tEnviron is a dict of environment variables.
var tEnviron = &Type{Name: "a dict of strings", Good: `{"LANG": "C"}`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	d, ok := v.(*starlark.Dict)
	if !ok {
		return nil, errType
	}
	var env []string
	for _, item := range d.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok || name == "" || strings.ContainsAny(name, "=\x00") {
			return nil, fmt.Errorf("%s cannot name an environment variable", item[0])
		}
		env = append(env, name+"="+word(item[1]))
	}
	return env, nil
}}

// tBytes is an amount of memory: a number of bytes, or with a unit. kb, mb and gb are
// powers of 1024, as tc(8) has them.
var tBytes = &Type{Name: "a number of bytes, or with a unit", Good: `"64mb"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	bad := fmt.Errorf("%s is no amount of memory", v)
	if i, ok := v.(starlark.Int); ok {
		if n, ok := i.Int64(); ok && n > 0 {
			return int(n), nil
		}
		return nil, bad
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	digits := strings.TrimRight(s, "bgikm")
	n, err := strconv.ParseInt(digits, 10, 32)
	shift, known := map[string]int{"b": 0, "kb": 10, "kib": 10, "mb": 20, "mib": 20, "gb": 30, "gib": 30}[s[len(digits):]]
	if err != nil || !known || n <= 0 {
		return nil, bad
	}
	return int(n) << shift, nil
}}
