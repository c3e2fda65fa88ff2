package builtins

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// tDNSType is a type of records.
var tDNSType = &Type{Name: "a type of DNS records", Good: `"AAAA"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	if !slices.Contains(probe.DNSTypes, strings.ToUpper(s)) {
		return nil, fmt.Errorf("%q is not one of %s", s, strings.Join(probe.DNSTypes, " "))
	}
	return strings.ToUpper(s), nil
}}

// tNameServer is where to ask: an address, one with a port, or a dns_server.
var tNameServer = &Type{Name: "an address, with or without a port, or a dns_server", Good: `"10.1.1.1"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	if s, ok := v.(*Server); ok && s.kind == "dns_server" {
		e := endpoint{Address{ns: s.ns}, s.server.Addr.Port()}
		if ip := s.server.Addr.Addr(); !ip.IsUnspecified() {
			e.addr = Address{ip: ip}
		}
		return e, nil
	}
	if a, err := tHost.Convert(c, v); err == nil {
		return endpoint{a.(Address), 53}, nil
	}
	return tEndpoint.Convert(c, v)
}}

func dnsSpecs() []*Spec {
	return []*Spec{
		{
			Name: "dns", Family: familyProbes, Returns: "dns: ok rcode answers error seconds", Like: "dig @SERVER NAME TYPE",
			Doc: "Asks a name server, by UDP and, when the answer was cut short, by TCP; no program is needed. Without server= it is that of the namespace's /etc/resolv.conf: the one that files= or /etc/netns/NAME/ has, those of its lease of DHCP, or the lab's first dns_server(). " +
				"answers are records with name, type, ttl (seconds) and data (as zone files have it, names with the last dot), in the order in which they came. " +
				"ok says that the rcode is NOERROR and that there are answers. That nobody answers is a result (rcode None, error says why) and not an error.",
			Params: []Param{
				required("ns", tNetnsRef, "who asks"), required("name", tString, "which name"), optional("type", tDNSType, "\"A\"", "of records"),
				keyword("server", tNameServer, "", "whom"), keyword("timeout", tDuration, "\"2s\"", "for all of it"),
				keyword("src", tAddress, "", "the source address"), keyword("sport", tPort, "", "the source port"),
			},
			Example: "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
				"dns_server(b, {\"www.lab\": \"10.0.0.2\", \"lab\": {\"MX\": \"10 mail.lab\"}})\n" +
				"expect.eq(dns(a, \"www.lab\").answers[0].data, \"10.0.0.2\")\nexpect.eq(dns(a, \"lab\", \"MX\", server=\"10.0.0.2\").answers[0].data, \"10 mail.lab.\")\n" +
				"expect.eq(dns(a, \"nothing.lab\").rcode, \"NXDOMAIN\")",
			Fn: askDNS,
		},
		{
			Name: "dns_server", Family: familyProbes, Returns: "dns_server: ns addr port running requests stop()", Like: "dnsmasq --host-record=…",
			Doc: "Answers a name server's questions until the lab ends, beside the script, by UDP and TCP. records is a dict by name, or a function that gets a request " +
				"(name type remote) and returns what stands in the dict; None is no such name. A value is an address or a list of them, another name (an alias, CNAME), a dict by type " +
				"({\"MX\": \"10 mail.lab\", \"TXT\": [\"a\", \"b\"]}), or an rcode (\"SERVFAIL\"). \"*.lab\" stands for all names below lab that have no entry. Addresses are found by their names of " +
				"in-addr.arpa and ip6.arpa, too. Other names do not exist (NXDOMAIN). requests are the last thousand. A function that fails counts as a failed check.",
			Params: []Param{
				required("ns", tNetnsRef, "where"), required("records", tRecords, "names and what they stand for, or a function"),
				keyword("port", tPort, "53", "which"), keyword("addr", tAddress, "", "one address to listen at; all, of both families, without"),
				keyword("ttl", intType("a time in seconds", "60", 0, 1<<31-1), "60", "how many seconds answers may be kept"),
			},
			Example: "blue = netns(\"blue\")\nup(blue[\"lo\"])\ns = dns_server(blue, {\"a.lab\": [\"192.0.2.1\", \"2001:db8::1\"], \"b.lab\": \"a.lab\"})\n" +
				"expect.eq([r.data for r in dns(blue, \"b.lab\", \"AAAA\").answers], [\"a.lab.\", \"2001:db8::1\"])\n" +
				"expect.eq(dns(blue, \"1.2.0.192.in-addr.arpa\", \"PTR\").answers[0].data, \"a.lab.\")\nexpect.eq(s.requests[0].name, \"b.lab\")",
			Fn: serveDNS,
		},
	}
}

func askDNS(c *Call) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	q := probe.DNSRequest{Name: get(c, "name", ""), Type: get(c, "type", "A"), Timeout: get(c, "timeout", 2*time.Second)}
	var err error
	if c.Given("server") {
		q.To, err = c.endpoint("server", ns)
	} else {
		var known bool
		if q.To, known, err = ns.Resolver(); err == nil && !known {
			err = lab.Usage("like server=\"10.1.1.1\", or start a dns_server()", "dns: server= is missing, and no dns_server runs in this lab")
		}
	}
	if err != nil {
		return nil, err
	}
	if q.From, err = c.source(q.To.Addr()); err != nil {
		return nil, err
	}
	r, err := ns.DNS(c.Ctx, q)
	if err != nil {
		return nil, err
	}
	return resolved(q, r), nil
}

// resolved is the result as a value.
func resolved(q probe.DNSRequest, r probe.DNSResult) *Record {
	ok := r.Err == nil && r.RCode == "NOERROR" && len(r.Answers) > 0
	lines := []string{fmt.Sprintf("dns %s %s: %s", q.Name, q.Type, r.RCode)}
	reason := starlark.Value(starlark.None)
	if r.Err != nil {
		reason, lines[0] = starlark.String(r.Err.Error()), fmt.Sprintf("dns %s %s: %v", q.Name, q.Type, r.Err)
	}
	switch {
	case r.Err == nil && r.RCode != "NOERROR":
		reason = starlark.String("the server says " + r.RCode)
	case r.Err == nil && !ok:
		reason = starlark.String(fmt.Sprintf("%s has no record of type %s", q.Name, q.Type))
	}
	var answers []starlark.Value
	for _, a := range r.Answers {
		line := fmt.Sprintf("%s %d %s %s", a.Name, a.TTL, a.Type, a.Data)
		lines = append(lines, line)
		answers = append(answers, record("answer", line, nil, field{"name", starlark.String(a.Name)}, field{"type", starlark.String(a.Type)},
			field{"ttl", starlark.MakeUint(uint(a.TTL))}, field{"data", starlark.String(a.Data)}))
	}
	rec := record("dns", strings.Join(lines, "\n"), nil, field{"ok", starlark.Bool(ok)}, field{"rcode", text(r.RCode)},
		field{"answers", starlark.NewList(answers)}, field{"error", reason}, field{"seconds", seconds(r.Took)})
	rec.truth = ok
	return rec
}

// tRecords is what a name server knows.
var tRecords = &Type{Name: "a dict of names, or a function", Good: `{"www.lab": "10.1.1.1"}`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Callable:
		return v, nil
	case *starlark.Dict:
		z := zone{}
		for _, item := range v.Items() {
			name, ok := starlark.AsString(item[0])
			if !ok {
				return nil, fmt.Errorf("%s is no name", item[0])
			}
			a, err := zoneEntry(name, item[1])
			if err != nil {
				return nil, fmt.Errorf("%s: %w", name, err)
			}
			z.add(canonical(name), a)
		}
		return z, nil
	}
	return nil, errType
}}

// canonical is a name as questions have it.
func canonical(name string) string { return strings.ToLower(strings.TrimSuffix(name, ".")) }

// zone are answers by name.
type zone map[string]probe.DNSAnswer

// add adds an entry, and the way back from its addresses.
func (z zone) add(name string, a probe.DNSAnswer) {
	z[name] = a
	for _, r := range a.Records {
		if ip, err := netip.ParseAddr(r.Data); err == nil && (r.Type == "A" || r.Type == "AAAA") && !strings.HasPrefix(name, "*") {
			back := reverseName(ip)
			e := z[back]
			e.RCode = "NOERROR"
			e.Records = append(e.Records, probe.DNSRecord{Name: back, Type: "PTR", Data: name})
			z[back] = e
		}
	}
}

// reverseName is an address as a name (RFC 1035 section 3.5, RFC 3596 section 2.5).
func reverseName(ip netip.Addr) string {
	b := ip.AsSlice()
	slices.Reverse(b)
	var labels []string
	for _, x := range b {
		if ip.Is4() {
			labels = append(labels, fmt.Sprint(x))
		} else {
			labels = append(labels, fmt.Sprintf("%x.%x", x&15, x>>4))
		}
	}
	if ip.Is4() {
		return strings.Join(labels, ".") + ".in-addr.arpa"
	}
	return strings.Join(labels, ".") + ".ip6.arpa"
}

// rcodesOfServers are the rcodes that a script may answer with.
var rcodesOfServers = []string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED"}

// zoneEntry is what stands for a name.
func zoneEntry(name string, v starlark.Value) (probe.DNSAnswer, error) {
	a := probe.DNSAnswer{RCode: "NOERROR"}
	add := func(kind string, v starlark.Value) error {
		s, ok := starlark.AsString(v)
		if !ok {
			s = word(v)
			if _, named := v.(*IPAddress); !named && kind == "" {
				return fmt.Errorf("got %s, want an address, a name, a dict by type, or a list", describe(v))
			}
		}
		if kind == "" {
			kind = "CNAME"
			if ip, err := netip.ParseAddr(s); err == nil && ip.Is4() {
				kind = "A"
			} else if err == nil {
				kind = "AAAA"
			} else if strings.Trim(s, "0123456789./") == "" || strings.Contains(s, ":") {
				return fmt.Errorf("%q is no IP address", s)
			}
		}
		r := probe.DNSRecord{Name: name, Type: kind, Data: s}
		a.Records = append(a.Records, r)
		return r.Check()
	}
	each := func(kind string, v starlark.Value) error {
		list, ok := v.(*starlark.List)
		if !ok {
			return add(kind, v)
		}
		for x := range list.Elements() {
			if err := add(kind, x); err != nil {
				return err
			}
		}
		return nil
	}
	if s, ok := starlark.AsString(v); ok && slices.Contains(rcodesOfServers, s) {
		a.RCode = s
		return a, nil
	}
	types, ok := v.(*starlark.Dict)
	if !ok {
		return a, each("", v)
	}
	for _, item := range types.Items() {
		kind, _ := starlark.AsString(item[0])
		if err := each(strings.ToUpper(kind), item[1]); err != nil {
			return a, err
		}
	}
	return a, nil
}

// find is the answer to a question: what stands for the name, or for all below a
// name above it.
func (z zone) find(name string) (probe.DNSAnswer, bool) {
	if a, ok := z[name]; ok {
		return a, true
	}
	for rest := name; ; {
		_, above, more := strings.Cut(rest, ".")
		if a, ok := z["*."+above]; ok {
			return a, true
		}
		if !more {
			return probe.DNSAnswer{RCode: "NXDOMAIN"}, false
		}
		rest = above
	}
}

// longestAlias is how many aliases in a row are followed.
const longestAlias = 8

// answerFrom picks the records of a type, and follows aliases.
func answerFrom(q probe.DNSQuestion, ttl uint32, find func(name string) (probe.DNSAnswer, bool)) probe.DNSAnswer {
	result := probe.DNSAnswer{RCode: "NOERROR"}
	name := q.Name
	for range longestAlias {
		a, known := find(name)
		if result.RCode = a.RCode; !known || a.RCode != "NOERROR" {
			break
		}
		alias := ""
		for _, r := range a.Records {
			if r.Type == q.Type || r.Type == "CNAME" {
				result.Records = append(result.Records, probe.DNSRecord{Name: name, Type: r.Type, Data: r.Data, TTL: ttl})
			}
			if r.Type == "CNAME" && q.Type != "CNAME" {
				alias = canonical(r.Data)
			}
		}
		if alias == "" {
			break
		}
		if _, ours := find(alias); !ours {
			break // somebody else's to know
		}
		name = alias
	}
	return result
}

func serveDNS(c *Call) (starlark.Value, error) {
	s := c.newServer()
	at, err := c.listening()
	if err != nil {
		return nil, err
	}
	if !c.Given("port") {
		at = netip.AddrPortFrom(at.Addr(), 53)
	}
	ttl := uint32(get(c, "ttl", 60))
	known, _ := c.values[c.at("records")].(zone)
	fn, _ := c.values[c.at("records")].(starlark.Callable)
	s.server, err = s.ns.ServeDNS(c.Ctx, at, func(q probe.DNSQuestion) probe.DNSAnswer {
		request := record("request", fmt.Sprintf("%s %s from %s", q.Name, q.Type, q.Remote), nil, field{"name", starlark.String(q.Name)},
			field{"type", starlark.String(q.Type)}, field{"remote", starlark.String(q.Remote.String())})
		s.note(request)
		if fn == nil {
			return answerFrom(q, ttl, known.find)
		}
		v, ok := s.call(fn, request)
		if !ok {
			return probe.DNSAnswer{RCode: "SERVFAIL"}
		}
		return answerFrom(q, ttl, func(name string) (probe.DNSAnswer, bool) { return s.scripted(v, q.Name, name) })
	})
	return s, err
}

// scripted is what a function of the script answered to a question.
func (s *Server) scripted(v starlark.Value, asked, name string) (probe.DNSAnswer, bool) {
	if v == starlark.None || name != asked {
		return probe.DNSAnswer{RCode: "NXDOMAIN"}, false
	}
	s.env.Lock()
	defer s.env.Unlock()
	a, err := zoneEntry(name, v)
	if err != nil {
		s.failed(lab.Usage("", "it returned something else: %v", err))
		return probe.DNSAnswer{RCode: "SERVFAIL"}, false
	}
	return a, true
}
