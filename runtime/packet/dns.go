package packet

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"
)

// message is the DNS layer's bytes; nil when some were not captured.
func (p *Packet) message(l *Layer) []byte {
	if l.End > len(p.Data) {
		return nil
	}
	return p.bytes(l.Start, l.End)
}

// malformedDNS says what is wrong with a DNS message, which decoding leaves alone.
func (p *Packet) malformedDNS() (Kind, string) {
	for i := range p.Layers {
		l := &p.Layers[i]
		if l.Kind != DNS || l.Quoted || l.Fragment {
			continue
		}
		b := p.message(l)
		if b == nil {
			continue
		}
		var m dnsmessage.Message
		if err := m.Unpack(b); err != nil {
			return DNS, strings.TrimPrefix(err.Error(), "unpacking ")
		}
	}
	return None, ""
}

func dnsRcode(p *Packet, l *Layer) any { return DNSRcodeName(dnsmessage.RCode(p.header(l)[3] & 15)) }

// DNSRcodes are the names of the response codes of RFC 1035 and RFC 2136, from 0.
var DNSRcodes = [...]string{"NOERROR", "FORMERR", "SERVFAIL", "NXDOMAIN", "NOTIMP", "REFUSED", "YXDOMAIN", "YXRRSET", "NXRRSET", "NOTAUTH", "NOTZONE"}

// DNSRcodeName is the name of a response code.
func DNSRcodeName(code dnsmessage.RCode) string {
	if int(code) < len(DNSRcodes) {
		return DNSRcodes[code]
	}
	return "RCODE" + strconv.Itoa(int(code))
}

// firstQuestion is the first one; ok is false when there is none, or it cannot be read.
func firstQuestion(p *Packet, l *Layer) (q dnsmessage.Question, ok bool) {
	var parser dnsmessage.Parser
	if _, err := parser.Start(p.header(l)); err != nil {
		return q, false
	}
	q, err := parser.Question()
	return q, err == nil
}

func dnsName(p *Packet, l *Layer) any {
	if q, ok := firstQuestion(p, l); ok {
		return q.Name.String()
	}
	return nil
}

func dnsType(p *Packet, l *Layer) any {
	if q, ok := firstQuestion(p, l); ok {
		return DNSTypeName(q.Type)
	}
	return nil
}

// DNSTypeName is the name of a type of records, as RFC 3597 has it for one without.
// The names of dnsmessage would be in a table that is made at every start, twice.
func DNSTypeName(t dnsmessage.Type) string {
	switch t {
	case dnsmessage.TypeA:
		return "A"
	case dnsmessage.TypeNS:
		return "NS"
	case dnsmessage.TypeCNAME:
		return "CNAME"
	case dnsmessage.TypeSOA:
		return "SOA"
	case dnsmessage.TypeWKS:
		return "WKS"
	case dnsmessage.TypePTR:
		return "PTR"
	case dnsmessage.TypeHINFO:
		return "HINFO"
	case dnsmessage.TypeMINFO:
		return "MINFO"
	case dnsmessage.TypeMX:
		return "MX"
	case dnsmessage.TypeTXT:
		return "TXT"
	case dnsmessage.TypeAAAA:
		return "AAAA"
	case dnsmessage.TypeSRV:
		return "SRV"
	case dnsmessage.TypeOPT:
		return "OPT"
	case dnsmessage.TypeSVCB:
		return "SVCB"
	case dnsmessage.TypeHTTPS:
		return "HTTPS"
	case dnsmessage.TypeAXFR:
		return "AXFR"
	case dnsmessage.TypeALL:
		return "ALL"
	}
	return "TYPE" + strconv.Itoa(int(t))
}

func dnsQuestions(p *Packet, l *Layer) any {
	list := []any{}
	var parser dnsmessage.Parser
	if _, err := parser.Start(p.header(l)); err != nil {
		return list
	}
	for {
		q, err := parser.Question()
		if err != nil {
			return list
		}
		list = append(list, Record{{"name", q.Name.String()}, {"type", DNSTypeName(q.Type)}})
	}
}

func dnsAnswers(p *Packet, l *Layer) any {
	return dnsSection(p, l, nil, (*dnsmessage.Parser).Answer)
}

func dnsAuthorities(p *Packet, l *Layer) any {
	return dnsSection(p, l, []func(*dnsmessage.Parser) error{(*dnsmessage.Parser).SkipAllAnswers}, (*dnsmessage.Parser).Authority)
}

func dnsAdditionals(p *Packet, l *Layer) any {
	return dnsSection(p, l, []func(*dnsmessage.Parser) error{(*dnsmessage.Parser).SkipAllAnswers, (*dnsmessage.Parser).SkipAllAuthorities},
		(*dnsmessage.Parser).Additional)
}

// dnsSection reads the records of a section as far as they can be read.
func dnsSection(p *Packet, l *Layer, skip []func(*dnsmessage.Parser) error, next func(*dnsmessage.Parser) (dnsmessage.Resource, error)) any {
	list := []any{}
	var parser dnsmessage.Parser
	if _, err := parser.Start(p.header(l)); err != nil {
		return list
	}
	if parser.SkipAllQuestions() != nil {
		return list
	}
	for _, fn := range skip {
		if fn(&parser) != nil {
			return list
		}
	}
	for {
		r, err := next(&parser)
		if err != nil {
			return list
		}
		list = append(list, Record{{"name", r.Header.Name.String()}, {"type", DNSTypeName(r.Header.Type)},
			{"ttl", int(r.Header.TTL)}, {"data", dnsData(r.Body)}})
	}
}

// dnsData is a resource's data in the presentation of RFC 1035.
func dnsData(body dnsmessage.ResourceBody) string {
	switch r := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(r.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(r.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return r.CNAME.String()
	case *dnsmessage.NSResource:
		return r.NS.String()
	case *dnsmessage.PTRResource:
		return r.PTR.String()
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", r.Pref, r.MX)
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", r.Priority, r.Weight, r.Port, r.Target)
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d %d %d %d %d", r.NS, r.MBox, r.Serial, r.Refresh, r.Retry, r.Expire, r.MinTTL)
	case *dnsmessage.TXTResource:
		var quoted []string
		for _, s := range r.TXT {
			quoted = append(quoted, strconv.Quote(s))
		}
		return strings.Join(quoted, " ")
	case *dnsmessage.UnknownResource:
		return fmt.Sprintf(`\# %d %x`, len(r.Data), r.Data)
	}
	return ""
}
