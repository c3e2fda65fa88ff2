package probe

import (
	"encoding/binary"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/net/dns/dnsmessage"

	"nsscript/runtime/packet"
)

// DNSQuestion is what a client of a name server wants to know.
type DNSQuestion struct {
	// Name is in lower case and without the last dot.
	Name   string
	Type   string
	Remote netip.AddrPort
}

// DNSAnswer is what it gets.
type DNSAnswer struct {
	// RCode is one of RFC 1035, like "NXDOMAIN".
	RCode   string
	Records []DNSRecord
}

// Check finds out whether a record can be answered.
func (r DNSRecord) Check() error {
	_, err := r.resource()
	return err
}

// resource is the record as a message has it.
func (r DNSRecord) resource() (dnsmessage.Resource, error) {
	name, err := dnsName(r.Name)
	if err != nil {
		return dnsmessage.Resource{}, err
	}
	body, err := r.body()
	if err != nil {
		return dnsmessage.Resource{}, err
	}
	header := dnsmessage.ResourceHeader{Name: name, Type: dnsType(r.Type), Class: dnsmessage.ClassINET, TTL: r.TTL}
	return dnsmessage.Resource{Header: header, Body: body}, nil
}

func (r DNSRecord) body() (dnsmessage.ResourceBody, error) {
	words := strings.Fields(r.Data)
	fields := map[string]int{"MX": 2, "SRV": 4, "SOA": 7}
	good := map[string]string{"MX": "10 mail.lab", "SRV": "0 5 80 www.lab", "SOA": "ns.lab root.lab 1 3600 600 86400 60"}
	if n := fields[r.Type]; n != 0 && len(words) != n {
		return nil, fmt.Errorf("%q is no %s record, like %q", r.Data, r.Type, good[r.Type])
	}
	var first error
	number := func(word string, bits int) uint64 {
		n, err := strconv.ParseUint(word, 10, bits)
		if err != nil && first == nil {
			first = fmt.Errorf("%q is no %s record, like %q", r.Data, r.Type, good[r.Type])
		}
		return n
	}
	name := func(text string) dnsmessage.Name {
		n, err := dnsName(text)
		if err != nil && first == nil {
			first = err
		}
		return n
	}
	var body dnsmessage.ResourceBody
	switch r.Type {
	case "A", "AAAA":
		ip, err := netip.ParseAddr(r.Data)
		switch {
		case err != nil || ip.Is4() != (r.Type == "A") || ip.Zone() != "":
			return nil, fmt.Errorf("%q is no %s record", r.Data, r.Type)
		case ip.Is4():
			return &dnsmessage.AResource{A: ip.As4()}, nil
		}
		return &dnsmessage.AAAAResource{AAAA: ip.As16()}, nil
	case "CNAME":
		body = &dnsmessage.CNAMEResource{CNAME: name(r.Data)}
	case "NS":
		body = &dnsmessage.NSResource{NS: name(r.Data)}
	case "PTR":
		body = &dnsmessage.PTRResource{PTR: name(r.Data)}
	case "MX":
		body = &dnsmessage.MXResource{Pref: uint16(number(words[0], 16)), MX: name(words[1])}
	case "SRV":
		body = &dnsmessage.SRVResource{Priority: uint16(number(words[0], 16)), Weight: uint16(number(words[1], 16)), Port: uint16(number(words[2], 16)), Target: name(words[3])}
	case "SOA":
		body = &dnsmessage.SOAResource{NS: name(words[0]), MBox: name(words[1]), Serial: uint32(number(words[2], 32)), Refresh: uint32(number(words[3], 32)),
			Retry: uint32(number(words[4], 32)), Expire: uint32(number(words[5], 32)), MinTTL: uint32(number(words[6], 32))}
	case "TXT":
		text := r.Data
		pieces := []string{}
		for len(text) > 255 {
			pieces, text = append(pieces, text[:255]), text[255:]
		}
		body = &dnsmessage.TXTResource{TXT: append(pieces, text)}
	default:
		return nil, fmt.Errorf("records of type %q are not known; those of %s are", r.Type, strings.Join(DNSTypes, " "))
	}
	return body, first
}

// ServeDNS answers a name server's questions, by UDP and TCP.
func ServeDNS(enter Enter, at netip.AddrPort, answer func(DNSQuestion) DNSAnswer) (*Server, error) {
	udp, err := ServeUDP(enter, at, func(r Request) []byte { return reply(r, 512, answer) })
	if err != nil {
		return nil, err
	}
	at = netip.AddrPortFrom(at.Addr(), udp.Addr.Port())
	tcp, l, err := listen(enter, at)
	if err != nil {
		udp.Close()
		return nil, err
	}
	tcp.accept(l, func(conn *net.TCPConn, remote netip.AddrPort) {
		for {
			question, err := readFramed(conn)
			if err != nil {
				return
			}
			packed := reply(Request{Data: question, Remote: remote}, 1<<16-1, answer)
			if packed == nil {
				return
			}
			framed := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
			if _, err := conn.Write(append(framed, packed...)); err != nil {
				return
			}
		}
	})
	udp.also = tcp
	return udp, nil
}

// reply answers one message, in so many bytes at most unless the client has room
// for more (RFC 6891); nil is no answer, to what is no question.
func reply(r Request, room int, answer func(DNSQuestion) DNSAnswer) []byte {
	var p dnsmessage.Parser
	h, err := p.Start(r.Data)
	if err != nil || h.Response {
		return nil
	}
	m := dnsmessage.Message{Header: dnsmessage.Header{ID: h.ID, Response: true, OpCode: h.OpCode, Authoritative: true, RecursionDesired: h.RecursionDesired, RecursionAvailable: true}}
	q, err := p.Question()
	switch {
	case err != nil:
		m.RCode = dnsmessage.RCodeFormatError
	case h.OpCode != 0:
		m.RCode = dnsmessage.RCodeNotImplemented
	default:
		m.Questions = []dnsmessage.Question{q}
		a := answer(DNSQuestion{Name: strings.ToLower(strings.TrimSuffix(q.Name.String(), ".")), Type: packet.DNSTypeName(q.Type), Remote: r.Remote})
		m.RCode, m.Answers = filled(a)
	}
	packed, err := m.Pack()
	if err == nil && len(packed) > max(room, offered(&p)) {
		m.Truncated, m.Answers = true, nil
		packed, err = m.Pack()
	}
	if err != nil {
		return nil
	}
	return packed
}

// filled is an answer as a message has it. Records that cannot be are a failure of
// the server's.
func filled(a DNSAnswer) (dnsmessage.RCode, []dnsmessage.Resource) {
	var list []dnsmessage.Resource
	for _, r := range a.Records {
		x, err := r.resource()
		if err != nil {
			return dnsmessage.RCodeServerFailure, nil
		}
		list = append(list, x)
	}
	for code, name := range packet.DNSRcodes {
		if name == a.RCode {
			return dnsmessage.RCode(code), list
		}
	}
	return dnsmessage.RCodeServerFailure, nil
}

// offered is how large an answer the rest of a question says that it may be.
func offered(p *dnsmessage.Parser) int {
	if p.SkipAllQuestions() != nil || p.SkipAllAnswers() != nil || p.SkipAllAuthorities() != nil {
		return 0
	}
	for {
		h, err := p.AdditionalHeader()
		if err != nil {
			return 0
		}
		if h.Type == dnsmessage.TypeOPT {
			return int(h.Class) // the payload size of EDNS
		}
		if p.SkipAdditional() != nil {
			return 0
		}
	}
}
