package builtins

import (
	"fmt"
	"net/netip"
	"regexp"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// tHost is whom a probe is for: an address, what has one, or a name, which is that of a
// namespace or one that the sender looks up as its programs would.
var tHost = &Type{Name: "an address, a name, or a namespace or link that has an address", Good: tAddress.Good, Convert: func(c *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return tAddress.Convert(c, v)
	}
	return toHost(c, s)
}}

// hostName is a name of hosts(5) and DNS (RFC 1123 section 2.1), whose last part has a
// letter: what has none is an address, misspelt.
var hostName = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(?:[A-Za-z0-9_-]+\.)*[A-Za-z0-9_-]*[A-Za-z_][A-Za-z0-9_-]*\.?$`)
})

func toHost(c *Call, s string) (any, error) {
	if _, err := netip.ParseAddr(s); err == nil {
		return tAddress.Convert(c, starlark.String(s))
	}
	if c.Env != nil && c.Env.Lab != nil {
		if ns := c.Env.Lab.Named(s); ns != nil {
			return Address{ns: ns}, nil
		}
	}
	if !hostName().MatchString(s) {
		return tAddress.Convert(c, starlark.String(s)) // which says what is wrong
	}
	return Address{name: s}, nil
}

// lookup finds the address of a name for a sender. What it takes is of the call's own
// timeout.
func (c *Call) lookup(name string, from *lab.Namespace, family int) (netip.Addr, error) {
	const patience = 5 * time.Second // RES_TIMEOUT of resolv.conf(5)
	began, timeout := time.Now(), patience
	if c.index("timeout") >= 0 {
		timeout = get(c, "timeout", patience)
	}
	ip, err := from.Lookup(c.Ctx, name, family, timeout)
	c.looked += time.Since(began)
	if err == nil && c.Env.Note != nil {
		c.Env.Note("%s: %s means %s", c.Env.position(c.Thread), name, ip)
	}
	return ip, err
}

// remaining is what looking names up has left of the call's timeout.
func (c *Call) remaining(timeout time.Duration) time.Duration {
	left := get(c, "timeout", timeout)
	if c.looked == 0 {
		return left
	}
	return max(left-c.looked, time.Millisecond)
}

// needsLink refuses a link-local address without its link.
func (c *Call) needsLink(ip netip.Addr, hint string) error {
	if ip.Is6() && ip.IsLinkLocalUnicast() && ip.Zone() == "" {
		return lab.Usage(fmt.Sprintf(hint, ip), "%s: the link-local address %s needs a link", c.spec.Name, ip)
	}
	return nil
}
