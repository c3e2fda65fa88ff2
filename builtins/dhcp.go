package builtins

import (
	"errors"
	"fmt"
	"maps"
	"net"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

// dhcpPlace is where a server is: a link, or a namespace whose link has the subnet.
type dhcpPlace struct {
	ns   *lab.Namespace
	link *lab.Link
}

var tDHCPPlace = &Type{Name: "a link, or a namespace", Good: `root["eth0"]`, Convert: func(c *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Link:
		return dhcpPlace{v.link.NS(), v.link}, nil
	case *Namespace:
		return dhcpPlace{ns: v.ns}, nil
	}
	return nil, errType
}}

// addrRange are addresses from the first to the last.
type addrRange struct{ first, last netip.Addr }

// tRange is "first-last", or a subnet.
var tRange = &Type{Name: "a range of IPv4 addresses, or a subnet", Good: `"10.1.1.100-10.1.1.200"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok && strings.Contains(s, "-") {
		first, last, _ := strings.Cut(s, "-")
		a, err1 := netip.ParseAddr(strings.TrimSpace(first))
		b, err2 := netip.ParseAddr(strings.TrimSpace(last))
		if err1 != nil || err2 != nil || !a.Is4() || !b.Is4() || b.Less(a) {
			return nil, fmt.Errorf("%q is no range of IPv4 addresses", s)
		}
		return addrRange{a, b}, nil
	}
	p, err := tPrefix4.Convert(nil, v)
	if err != nil {
		return nil, err
	}
	return addrRange{p.(netip.Prefix).Addr(), probe.LastOf(p.(netip.Prefix))}, nil
}}

var tPrefix4 = &Type{Name: "an IPv4 subnet", Good: `"10.1.1.0/24"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	p, err := toPrefix(v)
	if err != nil {
		return nil, err
	}
	if !p.Addr().Is4() {
		return nil, fmt.Errorf("%s is no IPv4 subnet", p)
	}
	return p.Masked(), nil
}}

// tIPv4 is an address, or what has one.
var tIPv4 = &Type{Name: "an IPv4 address, or a link or namespace that has one", Good: `"10.1.1.1"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	a, err := tAddress.Convert(c, v)
	if err != nil {
		return nil, err
	}
	ip, err := a.(Address).only(netip.IPv4Unspecified())
	if err == nil && !ip.Is4() {
		err = fmt.Errorf("%s is no IPv4 address", ip)
	}
	return ip, err
}}

var tReserved = &Type{Name: "a dict of addresses by MAC address", Good: `{"02:00:00:00:00:01": "10.1.1.9"}`, Convert: func(c *Call, v starlark.Value) (any, error) {
	reserved := map[packet.MAC]netip.Addr{}
	return reserved, eachItem(c, v, tMAC, tIPv4, func(mac, ip any) { reserved[packet.MAC(mac.(net.HardwareAddr))] = ip.(netip.Addr) })
}}

var tDHCPRoutes = &Type{Name: "a dict of gateways by subnet", Good: `{"10.9.0.0/16": "10.1.1.1"}`, Convert: func(c *Call, v starlark.Value) (any, error) {
	var routes []packet.DHCPRoute
	err := eachItem(c, v, tPrefix4, tIPv4, func(dst, via any) {
		routes = append(routes, packet.DHCPRoute{Dst: dst.(netip.Prefix), Via: via.(netip.Addr)})
	})
	return routes, err
}}

// tDHCPOptions are options as they go over the wire, but those that are the server's
// own business.
var tDHCPOptions = &Type{Name: "a dict of texts or bytes by the options' numbers", Good: `{66: "tftp.lab"}`, Convert: func(c *Call, v starlark.Value) (any, error) {
	options := packet.DHCPOptions{}
	err := eachItem(c, v, intType("the number of an option", "66", 1, 254), tText, func(code, value any) {
		options[byte(code.(int))] = []byte(value.(string))
	})
	for _, code := range []byte{52, packet.DHCPMessageType, packet.DHCPServerID} {
		if _, given := options[code]; given && err == nil {
			err = fmt.Errorf("option %d is the server's own business", code)
		}
	}
	return options, err
}}

// eachItem converts the keys and values of a dict.
func eachItem(c *Call, v starlark.Value, key, value *Type, add func(key, value any)) error {
	d, ok := v.(*starlark.Dict)
	if !ok {
		return errType
	}
	for _, item := range d.Items() {
		k, err := key.Convert(c, item[0])
		if errors.Is(err, errType) {
			err = fmt.Errorf("got %s, want %s", describe(item[0]), key.Name)
		}
		if err != nil {
			return err
		}
		x, err := value.Convert(c, item[1])
		if errors.Is(err, errType) {
			err = fmt.Errorf("got %s, want %s", describe(item[1]), value.Name)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", word(item[0]), err)
		}
		add(k, x)
	}
	return nil
}

var tMTUv4 = intType("an MTU in bytes", "1400", 68, 65535)

func dhcpSpecs() []*Spec {
	list := listOf(tIPv4, "an IPv4 address, or a list of them")
	return []*Spec{
		{
			Name: "dhcp_client", Family: familyProbes, Like: "udhcpc -f -n -q -i LINK",
			Returns: "dhcp: ok ip prefixlen cidr router dns domain mtu routes lease renewal rebinding server options error seconds renew() release()",
			Doc: "Asks for an IPv4 address on a link by DHCP (RFC 2131) and configures it: the address for as long as the lease lasts (so that the kernel takes it away if nobody renews it), " +
				"the MTU, the static routes (RFC 3442) or else the default route, and the name server that dns() asks. With apply=False it only asks. No program is needed, and none stays: " +
				"renew() asks the server for more time, release() gives the address back. lease, renewal and rebinding are seconds, None for ever; options are all that the server said, by their numbers. " +
				"A message is sent again after 1, 2, 4 … 16 seconds. That nobody answers, or says no, is a result (ok is False, error says why) and not an error.",
			Params: []Param{
				required("link", tLink, "which; it has to be up"), keyword("timeout", tDuration, "\"10s\"", "for all of it"),
				keyword("hostname", tString, "", "the client's name"), keyword("request", tIPv4, "", "the address that it would like"),
				keyword("client_id", tText, "the MAC address", "who it is (option 61)"), keyword("broadcast", tBool, "False", "the server shall broadcast its answers"),
				keyword("metric", intType("a metric", "100", 0, 1<<32-1), "0", "of the routes"), keyword("apply", tBool, "True", "configure the link"),
			},
			Example: "r, h = netns(\"r\"), netns(\"h\")\na, b = veth(\"lan\", \"eth0\", ns=r, peer_ns=h, addr=\"10.0.0.1/24\", up=True)\n" +
				"dhcp_server(a, pool=\"10.0.0.100-10.0.0.200\", router=a)\nlease = dhcp_client(b, hostname=\"laptop\")\n" +
				"expect.eq((lease.cidr, lease.router, lease.server), (\"10.0.0.100/24\", \"10.0.0.1\", \"10.0.0.1\"))\nexpect.eq(route_get(h, \"192.0.2.1\").via, \"10.0.0.1\")",
			Fn: askDHCP,
		},
		{
			Name: "dhcp_server", Family: familyProbes, Returns: "dhcp_server: ns addr port running requests leases stop()", Like: "dnsmasq -k -p 0 -i LINK -F FIRST,LAST",
			Doc: "Gives IPv4 addresses to the clients of a link (RFC 2131) until the lab ends, beside the script and as the only server of the link; no program is needed. The link needs an address in the clients' subnet; " +
				"of a namespace it is the link that has one. A client gets the address that it had, or wants, or else the first that is free. leases are those that hold: each has ip, mac, hostname, state " +
				"(\"offered\", \"bound\", or \"declined\" when a client found the address taken) and expires (in so many seconds; None for never). reply= is asked about each message that wants an answer: it gets a request " +
				"(type mac want hostname client_id relay options, and offer: the address that it would get) and returns True to go on, None for no answer, False to refuse, or a dict of what this client gets instead " +
				"(ip router dns domain mtu routes lease options). requests are the last thousand messages. subnet= is for clients behind a relay agent (option giaddr). A function that fails counts as a failed check.",
			Params: []Param{
				required("link", tDHCPPlace, "whose clients; or a namespace"), keyword("pool", tRange, "the whole subnet", "addresses to give; not the namespace's own"),
				keyword("router", list, "", "the default router, or several"), keyword("dns", list, "", "name servers"), keyword("domain", tString, "", "the clients' domain"),
				keyword("lease", tLifetime, "\"1h\"", "how long an address may be used; at least a second"), keyword("reserved", tReserved, "", "addresses by MAC address"),
				keyword("mtu", tMTUv4, "", "of the link"), keyword("routes", tDHCPRoutes, "", "static routes (RFC 3442); with some, clients ignore router="),
				keyword("options", tDHCPOptions, "", "others, as they go over the wire"), keyword("subnet", tPrefix4, "the link's", "of the clients"),
				keyword("reply", tCallable, "", "a function of the request"),
			},
			Example: "r, h = netns(\"r\"), netns(\"h\")\na, b = veth(\"lan\", \"eth0\", ns=r, peer_ns=h, addr=\"10.0.0.1/24\", up=True)\n" +
				"s = dhcp_server(a, reserved={b.mac: \"10.0.0.7\"}, lease=\"10m\", dns=\"10.0.0.1\")\nexpect.eq(dhcp_client(b, hostname=\"laptop\").ip, \"10.0.0.7\")\n" +
				"expect.eq([(l.ip, l.mac, l.hostname, l.state) for l in s.leases], [(\"10.0.0.7\", b.mac, \"laptop\", \"bound\")])\nexpect.eq([r.type for r in s.requests], [\"discover\", \"request\"])",
			Fn: serveDHCP,
		},
	}
}

func askDHCP(c *Call) (starlark.Value, error) {
	link := get[*lab.Link](c, "link", nil)
	q := probe.DHCPRequest{Hostname: get(c, "hostname", ""), Want: get(c, "request", netip.Addr{}), Broadcast: get(c, "broadcast", false),
		Timeout: get(c, "timeout", 10*time.Second)}
	if len(q.Hostname) > 255 {
		return nil, lab.Usage("", "dhcp_client: hostname: a name has 255 bytes at most")
	}
	if c.Given("client_id") {
		// Type 0 says that it is no hardware address (RFC 2132, section 9.14).
		q.ClientID = append([]byte{0}, get(c, "client_id", "")...)
		if len(q.ClientID) < 2 || len(q.ClientID) > 255 {
			return nil, lab.Usage(`a good one is client_id="laptop"`, "dhcp_client: client_id: it has 1 to 254 bytes")
		}
	}
	r, err := link.DHCP(c.Ctx, q)
	if err != nil {
		return nil, err
	}
	d := &dhcpClient{link, q, get(c, "metric", 0), get(c, "apply", true), c.Env}
	return d.result(c, r)
}

// dhcpClient is who has a lease.
type dhcpClient struct {
	link    *lab.Link
	request probe.DHCPRequest
	metric  int
	apply   bool
	env     *Env
}

// result uses a lease, if that is wanted, and is it as a value.
func (d *dhcpClient) result(c *Call, r probe.DHCPResult) (starlark.Value, error) {
	if r.Lease == nil {
		rec := record("dhcp", fmt.Sprintf("dhcp %s: %v", d.link, r.Err), nil, append(leaseFields(nil), field{"ok", starlark.False},
			field{"error", starlark.String(r.Err.Error())}, field{"seconds", seconds(r.Took)})...)
		rec.truth = false
		return rec, nil
	}
	if d.apply {
		if err := d.link.UseLease(c.Ctx, r.Lease, d.metric); err != nil {
			return nil, err
		}
	}
	text := fmt.Sprintf("dhcp %s: %s from %s", d.link, r.Lease.Prefix, r.Lease.Server)
	if r.Lease.Time != packet.DHCPInfinite {
		text += fmt.Sprintf(" for %v", r.Lease.Time)
	}
	fields := append(leaseFields(r.Lease), field{"ok", starlark.True}, field{"error", starlark.None}, field{"seconds", seconds(r.Took)})
	return record("dhcp", text, nil, append(fields, d.methods(r.Lease)...)...), nil
}

// methods are what can be done with a lease.
func (d *dhcpClient) methods(lease *probe.DHCPLease) []field {
	renew, release := *dhcpRenew, *dhcpRelease
	renew.Fn = func(c *Call) (starlark.Value, error) {
		q := d.request
		q.Timeout = get(c, "timeout", 10*time.Second)
		r, err := d.link.RenewLease(c.Ctx, q, lease)
		if err != nil {
			return nil, err
		}
		if r.Refused && d.apply {
			err = d.link.DropLease(c.Ctx)
		}
		if err != nil {
			return nil, err
		}
		return d.result(c, r)
	}
	release.Fn = func(c *Call) (starlark.Value, error) { return nil, d.link.ReleaseLease(c.Ctx, d.request, lease) }
	return []field{{"renew", renew.builtin(d.env)}, {"release", release.builtin(d.env)}}
}

// leaseFields are those of a lease; None without one.
func leaseFields(l *probe.DHCPLease) []field {
	names := []string{"ip", "prefixlen", "cidr", "router", "dns", "domain", "mtu", "routes", "lease", "renewal", "rebinding", "server", "options"}
	fields := make([]field, len(names))
	for i, name := range names {
		fields[i] = field{name, starlark.None}
	}
	if l == nil {
		return fields
	}
	mtu := 0
	if v := l.Options[packet.DHCPMTU]; len(v) == 2 {
		mtu = int(v[0])<<8 | int(v[1])
	}
	router := netip.Addr{}
	if list := l.Options.Addrs(packet.DHCPRouter); len(list) > 0 {
		router = list[0]
	}
	var routes []starlark.Value
	for _, r := range l.Options.Routes() {
		routes = append(routes, record("route", fmt.Sprintf("%s via %s", r.Dst, r.Via), nil, field{"dst", starlark.String(r.Dst.String())}, field{"via", addrText(r.Via)}))
	}
	for i, v := range []starlark.Value{addrText(l.Prefix.Addr()), starlark.MakeInt(l.Prefix.Bits()), starlark.String(l.Prefix.String()), addrText(router),
		addrTexts(l.Options.Addrs(packet.DHCPDNS)), text(l.Options.Text(packet.DHCPDomain)), number(mtu), starlark.NewList(routes),
		leaseTime(l.Time), leaseTime(l.Renewal), leaseTime(l.Rebinding), addrText(l.Server), optionDict(l.Options)} {
		fields[i].value = v
	}
	return fields
}

func addrTexts(list []netip.Addr) starlark.Value {
	var texts []string
	for _, ip := range list {
		texts = append(texts, ip.String())
	}
	return strs(texts)
}

// leaseTime is a time in seconds; None for ever.
func leaseTime(d time.Duration) starlark.Value {
	if d == packet.DHCPInfinite {
		return starlark.None
	}
	return seconds(d)
}

// optionDict are options by their numbers, as they are on the wire.
func optionDict(o packet.DHCPOptions) starlark.Value {
	d := starlark.NewDict(len(o))
	for _, code := range slices.Sorted(maps.Keys(o)) {
		_ = d.SetKey(starlark.MakeInt(int(code)), starlark.Bytes(o[code]))
	}
	return d
}

var (
	dhcpRenew = &Spec{Name: "dhcp.renew", Returns: "dhcp, as dhcp_client() does", Doc: "Asks the server of the lease for more time; where it refuses, what the lease had put on the link is taken away.",
		Params: []Param{keyword("timeout", tDuration, "\"10s\"", "for all of it")}}
	dhcpRelease = &Spec{Name: "dhcp.release", Doc: "Gives the address back to the server, and takes from the link what the lease had put there."}
)
