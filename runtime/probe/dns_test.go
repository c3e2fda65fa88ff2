package probe

import (
	"testing"

	"golang.org/x/net/dns/dnsmessage"
)

// FuzzDNS: whatever comes, the server answers with a message that the client can
// read, or not at all, and the client does not fall over what a server says.
func FuzzDNS(f *testing.F) {
	name := dnsmessage.MustNewName("www.lab.")
	question := dnsmessage.Message{Header: dnsmessage.Header{ID: 7}, Questions: []dnsmessage.Question{{Name: name, Type: dnsmessage.TypeA, Class: dnsmessage.ClassINET}}}
	packed, err := question.Pack()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(packed)
	answered := reply(Request{Data: packed}, 512, answerA)
	f.Add(answered)
	f.Add([]byte{})
	f.Fuzz(func(t *testing.T, data []byte) {
		var r DNSResult
		_ = r.read(data)
		for _, a := range r.Answers {
			_ = a.Check()
		}
		if b := reply(Request{Data: data}, 512, answerA); b != nil {
			var back DNSResult
			if err := back.read(b); err != nil || back.RCode == "" {
				t.Errorf("% x is answered by % x: %v", data, b, err)
			}
		}
	})
}

func answerA(q DNSQuestion) DNSAnswer {
	return DNSAnswer{RCode: "NOERROR", Records: []DNSRecord{{Name: q.Name, Type: "A", Data: "192.0.2.1", TTL: 60}}}
}
