package builtins

import (
	"errors"
	"fmt"
	"net/netip"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

func serveDHCP(c *Call) (starlark.Value, error) {
	place, pool := get(c, "link", dhcpPlace{}), get(c, "pool", addrRange{})
	s := &Server{kind: c.spec.Name, ns: place.ns, env: c.Env}
	s.pos, s.via = c.outermost()
	service := probe.DHCPService{First: pool.first, Last: pool.last, Subnet: get(c, "subnet", netip.Prefix{}), Reserved: get(c, "reserved", map[packet.MAC]netip.Addr(nil)),
		Grant: probe.DHCPGrant{Time: get(c, "lease", time.Hour), Router: all[netip.Addr](c, "router"), DNS: all[netip.Addr](c, "dns"), Domain: get(c, "domain", ""),
			MTU: get(c, "mtu", 0), Routes: get(c, "routes", []packet.DHCPRoute(nil)), Options: get(c, "options", packet.DHCPOptions(nil))},
		Note: func(q probe.DHCPQuestion) { s.note(dhcpQuestion(q)) }}
	if err := checkGrant(&service.Grant); err != nil {
		return nil, lab.Usage(`a good one is lease="1h"`, "dhcp_server: %v", err)
	}
	if fn := get[starlark.Callable](c, "reply", nil); fn != nil {
		service.Answer = func(q probe.DHCPQuestion, g *probe.DHCPGrant) probe.DHCPVerdict { return s.grant(fn, q, g) }
	}
	server, err := place.ns.ServeDHCP(c.Ctx, place.link, service)
	if err != nil {
		return nil, err
	}
	s.server = server.Server
	s.extra = []liveField{{"leases", func() starlark.Value { return c.Env.dhcpLeases(server.Leases()) }}}
	return s, nil
}

func checkGrant(g *probe.DHCPGrant) error {
	switch {
	case g.Time < time.Second:
		return fmt.Errorf("lease: %v is less than a second", g.Time)
	case len(g.Domain) > 255:
		return errors.New("domain: a name has 255 bytes at most")
	}
	return nil
}

// dhcpQuestion is a client's message as a value.
func dhcpQuestion(q probe.DHCPQuestion) *Record {
	return record("request", fmt.Sprintf("%s from %s", q.Type, q.MAC), nil,
		field{"type", starlark.String(q.Type.String())}, field{"mac", starlark.String(q.MAC.String())}, field{"want", addrText(q.Want)},
		field{"hostname", text(q.Hostname)}, field{"client_id", text(string(q.ClientID))}, field{"relay", addrText(q.Relay)},
		field{"options", optionDict(q.Options)}, field{"offer", addrText(q.Offer)})
}

// dhcpLeases are the bindings of a server as a table.
func (env *Env) dhcpLeases(list []probe.DHCPBinding) starlark.Value {
	items, cells := make([]starlark.Value, len(list)), [][]string{}
	for i, b := range list {
		expires := starlark.Value(starlark.None)
		left := "forever"
		if !b.Expires.IsZero() {
			rest := max(0, time.Until(b.Expires))
			expires, left = seconds(rest), rest.Round(time.Second).String()
		}
		row := []string{b.IP.String(), b.MAC.String(), b.Hostname, b.State, left}
		cells = append(cells, row)
		items[i] = record("lease", fmt.Sprintf("%s %s %s", b.IP, b.MAC, b.State), nil, field{"ip", addrText(b.IP)}, field{"mac", starlark.String(b.MAC.String())},
			field{"hostname", text(b.Hostname)}, field{"state", starlark.String(b.State)}, field{"expires", expires})
	}
	return env.rows(items, cells)
}

// grants are the keys of what a function of the script gives a client.
var grants = map[string]struct {
	as  *Type
	set func(g *probe.DHCPGrant, v any)
}{
	"ip":     {tIPv4, func(g *probe.DHCPGrant, v any) { g.IP = v.(netip.Addr) }},
	"router": {listOf(tIPv4, "an IPv4 address, or a list of them"), func(g *probe.DHCPGrant, v any) { g.Router = as[netip.Addr](v) }},
	"dns":    {listOf(tIPv4, "an IPv4 address, or a list of them"), func(g *probe.DHCPGrant, v any) { g.DNS = as[netip.Addr](v) }},
	"domain": {tString, func(g *probe.DHCPGrant, v any) { g.Domain = v.(string) }},
	"mtu":    {tMTUv4, func(g *probe.DHCPGrant, v any) { g.MTU = v.(int) }},
	"routes": {tDHCPRoutes, func(g *probe.DHCPGrant, v any) { g.Routes = v.([]packet.DHCPRoute) }},
	"lease":  {tLifetime, func(g *probe.DHCPGrant, v any) { g.Time = v.(time.Duration) }},
	"options": {tDHCPOptions, func(g *probe.DHCPGrant, v any) {
		g.Options = v.(packet.DHCPOptions)
	}},
}

func as[T any](list any) (out []T) {
	for _, v := range list.([]any) {
		out = append(out, v.(T))
	}
	return out
}

// grant asks a function of the script what to give.
func (s *Server) grant(fn starlark.Callable, q probe.DHCPQuestion, g *probe.DHCPGrant) probe.DHCPVerdict {
	v, ok := s.call(fn, dhcpQuestion(q))
	if !ok {
		return probe.DHCPSilent
	}
	s.env.Lock()
	defer s.env.Unlock()
	switch v := v.(type) {
	case starlark.NoneType:
		return probe.DHCPSilent
	case starlark.Bool:
		if !v {
			return probe.DHCPRefuse
		}
		return probe.DHCPGive
	case *starlark.Dict:
		if err := s.regrant(v, g); err != nil {
			s.failed(lab.Usage("", "it returned something else: %v", err))
			return probe.DHCPSilent
		}
		return probe.DHCPGive
	}
	s.failed(lab.Usage("", "it returned %s, want True, False, None or a dict", describe(v)))
	return probe.DHCPSilent
}

// regrant changes a grant as a dict says.
func (s *Server) regrant(d *starlark.Dict, g *probe.DHCPGrant) error {
	for _, item := range d.Items() {
		key, _ := starlark.AsString(item[0])
		to, known := grants[key]
		if !known {
			return fmt.Errorf("there is no %s to give; there are ip router dns domain mtu routes lease options", item[0])
		}
		v, err := to.as.Convert(&Call{Env: s.env}, item[1])
		if errors.Is(err, errType) {
			err = fmt.Errorf("got %s, want %s", describe(item[1]), to.as.Name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
		to.set(g, v)
	}
	return checkGrant(g)
}
