package probe

import (
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/netip"
	"strings"
	"time"

	"golang.org/x/net/dns/dnsmessage"

	"nsscript/runtime/packet"
)

// DNSRequest says what to ask a name server (RFC 1035).
type DNSRequest struct {
	Dialing
	// Name need not end with a dot.
	Name string
	// Type is that of the records, like "AAAA"; see [DNSTypes].
	Type string
	// Timeout is for all of it; after a third of it an unanswered question is
	// asked again.
	Timeout time.Duration
}

// DNSRecord is a resource record: Data is as zone files have it, names end with a
// dot.
type DNSRecord struct {
	Name, Type, Data string
	TTL              uint32 // seconds
}

// DNSResult is what came of a [DNSRequest].
type DNSResult struct {
	// RCode is that of the answer, like "NXDOMAIN"; "" without one.
	RCode   string
	Answers []DNSRecord
	Took    time.Duration
	Err     *PingError
}

// DNSTypes are the types of records that can be asked for and answered.
var DNSTypes = []string{"A", "AAAA", "CNAME", "MX", "NS", "PTR", "SOA", "SRV", "TXT"}

// dnsType is the type of one of the names in [DNSTypes].
func dnsType(name string) dnsmessage.Type {
	for _, t := range []dnsmessage.Type{dnsmessage.TypeA, dnsmessage.TypeAAAA, dnsmessage.TypeCNAME, dnsmessage.TypeMX, dnsmessage.TypeNS,
		dnsmessage.TypePTR, dnsmessage.TypeSOA, dnsmessage.TypeSRV, dnsmessage.TypeTXT} {
		if packet.DNSTypeName(t) == name {
			return t
		}
	}
	return 0
}

// dnsName is a name as a message has it.
func dnsName(text string) (dnsmessage.Name, error) {
	whole := strings.TrimSuffix(text, ".") + "."
	name, err := dnsmessage.NewName(whole)
	if err != nil {
		return name, fmt.Errorf("%q is no name of the DNS: it has 253 bytes at most", text)
	}
	for label := range strings.SplitSeq(strings.TrimSuffix(whole, "."), ".") {
		if whole != "." && (label == "" || len(label) > 63) {
			return name, fmt.Errorf("%q is no name of the DNS: a label has 1 to 63 bytes", text)
		}
	}
	return name, nil
}

// DNS asks a name server, by UDP, and by TCP when the answer was cut short (RFC
// 7766). What the network and the server do is in the result; the error is as that
// of [Ping].
func DNS(outer context.Context, enter Enter, q DNSRequest) (DNSResult, error) {
	name, err := dnsName(q.Name)
	if err != nil {
		return DNSResult{}, err
	}
	m := dnsmessage.Message{
		Header:    dnsmessage.Header{ID: uint16(rand.Uint32()), RecursionDesired: true},
		Questions: []dnsmessage.Question{{Name: name, Type: dnsType(q.Type), Class: dnsmessage.ClassINET}},
	}
	packed, err := m.Pack()
	if err != nil {
		return DNSResult{}, err
	}
	var r DNSResult
	began := time.Now()
	answer, failed, err := q.ask(outer, enter, packed)
	r.Took, r.Err = time.Since(began), failed
	if err != nil || failed != nil {
		return r, err
	}
	if err := r.read(answer); err != nil {
		r.Err = &PingError{Kind: KindOther, text: "the answer is no DNS message: " + err.Error()}
	}
	return r, nil
}

// ask sends a message until an answer comes.
func (q *DNSRequest) ask(ctx context.Context, enter Enter, packed []byte) (answer []byte, failed *PingError, err error) {
	x := Exchange{Dialing: q.Dialing, Send: packed, Timeout: q.Timeout}
	x.UDP = true
	r, err := exchange(ctx, enter, x, func(conn net.Conn) ([]byte, error) { return askUDP(conn, packed, q.Timeout) })
	if err != nil || r.Err != nil || len(r.Reply) < 3 || r.Reply[2]&2 == 0 { // TC
		return r.Reply, r.Err, err
	}
	x.UDP = false
	r, err = exchange(ctx, enter, x, func(conn net.Conn) ([]byte, error) {
		quiet(conn)
		framed := binary.BigEndian.AppendUint16(nil, uint16(len(packed)))
		if _, err := conn.Write(append(framed, packed...)); err != nil {
			return nil, err
		}
		return readFramed(conn)
	})
	return r.Reply, r.Err, err
}

// askUDP sends a message, three times at most, until one with its number comes.
func askUDP(conn net.Conn, packed []byte, timeout time.Duration) ([]byte, error) {
	buffer := make([]byte, 1<<16)
	deadline := time.Now().Add(timeout)
	for try := 1; ; try++ {
		if _, err := conn.Write(packed); err != nil {
			return nil, err
		}
		if try < 3 {
			_ = conn.SetReadDeadline(deadline.Add(-timeout / 3 * time.Duration(3-try)))
		} else {
			_ = conn.SetReadDeadline(deadline)
		}
		n, err := 0, error(nil)
		for err == nil {
			n, err = conn.Read(buffer)
			if err == nil && n >= 12 && buffer[0] == packed[0] && buffer[1] == packed[1] {
				return buffer[:n], nil
			}
		}
		var late net.Error
		if !errors.As(err, &late) || !late.Timeout() || try == 3 || time.Now().After(deadline) {
			return nil, err
		}
	}
}

// readFramed reads a message as TCP carries it: behind its length.
func readFramed(r io.Reader) ([]byte, error) {
	var size [2]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	message := make([]byte, binary.BigEndian.Uint16(size[:]))
	_, err := io.ReadFull(r, message)
	return message, err
}

// read takes the answer apart.
func (r *DNSResult) read(packed []byte) error {
	var p dnsmessage.Parser
	h, err := p.Start(packed)
	if err != nil {
		return err
	}
	r.RCode = packet.DNSRcodeName(h.RCode)
	if err := p.SkipAllQuestions(); err != nil {
		return err
	}
	for {
		a, err := p.Answer()
		if errors.Is(err, dnsmessage.ErrSectionDone) {
			return nil
		}
		if err != nil {
			return err
		}
		r.Answers = append(r.Answers, DNSRecord{Name: a.Header.Name.String(), Type: packet.DNSTypeName(a.Header.Type), TTL: a.Header.TTL, Data: dataText(a.Body)})
	}
}

// dataText is a record's data as zone files have it.
func dataText(body dnsmessage.ResourceBody) string {
	switch b := body.(type) {
	case *dnsmessage.AResource:
		return netip.AddrFrom4(b.A).String()
	case *dnsmessage.AAAAResource:
		return netip.AddrFrom16(b.AAAA).String()
	case *dnsmessage.CNAMEResource:
		return b.CNAME.String()
	case *dnsmessage.NSResource:
		return b.NS.String()
	case *dnsmessage.PTRResource:
		return b.PTR.String()
	case *dnsmessage.MXResource:
		return fmt.Sprintf("%d %s", b.Pref, b.MX)
	case *dnsmessage.SRVResource:
		return fmt.Sprintf("%d %d %d %s", b.Priority, b.Weight, b.Port, b.Target)
	case *dnsmessage.SOAResource:
		return fmt.Sprintf("%s %s %d %d %d %d %d", b.NS, b.MBox, b.Serial, b.Refresh, b.Retry, b.Expire, b.MinTTL)
	case *dnsmessage.TXTResource:
		return strings.Join(b.TXT, "")
	case *dnsmessage.UnknownResource:
		return fmt.Sprintf("\\# %d %s", len(b.Data), hex.EncodeToString(b.Data)) // RFC 3597
	}
	return ""
}
