package probe

import (
	"encoding/binary"
	"net/netip"
	"strings"
	"testing"
	"time"
	"unsafe"

	"golang.org/x/sys/unix"
)

// control is one control message as the kernel writes it.
func control(level, kind int32, data []byte) []byte {
	b := make([]byte, unix.CmsgSpace(len(data)))
	h := (*unix.Cmsghdr)(unsafe.Pointer(&b[0]))
	h.Level, h.Type = level, kind
	h.SetLen(unix.CmsgLen(len(data)))
	copy(b[unix.CmsgLen(0):], data)
	return b
}

// extendedErr is a sock_extended_err with the offender behind it.
func extendedErr(errno unix.Errno, origin, icmp, code uint8, info uint32, offender netip.Addr, scope uint32) []byte {
	b := binary.NativeEndian.AppendUint32(nil, uint32(errno))
	b = append(b, origin, icmp, code, 0)
	b = binary.NativeEndian.AppendUint32(b, info)
	b = binary.NativeEndian.AppendUint32(b, 0)
	switch {
	case offender.Is4():
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET)
		b = append(append(b, 0, 0), offender.AsSlice()...)
		b = append(b, make([]byte, 8)...)
	case offender.Is6():
		b = binary.NativeEndian.AppendUint16(b, unix.AF_INET6)
		b = append(append(b, make([]byte, 6)...), offender.AsSlice()...)
		b = binary.NativeEndian.AppendUint32(b, scope)
	default:
		b = append(b, make([]byte, sizeSockaddr4)...)
	}
	return b
}

// echo is the head of a request with identifier 0x1234.
func echo(v6 bool, seq uint16) []byte {
	p := newEcho(v6, 0x1234, 4)
	stampEcho(p, seq, false)
	return p
}

var (
	router4 = netip.MustParseAddr("10.0.0.1")
	router6 = netip.MustParseAddr("fd00::1")
)

func TestDecodeQueued(t *testing.T) {
	v4 := extendedErr(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP, 11, 0, 0, router4, 0)
	v6 := extendedErr(unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP6, 2, 0, 1400, router6, 0)
	scoped := extendedErr(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP6, 1, 3, 0, netip.MustParseAddr("fe80::1"), 7)
	local := extendedErr(unix.EMSGSIZE, unix.SO_EE_ORIGIN_LOCAL, 0, 0, 1500, netip.Addr{}, 0)
	redirect := extendedErr(unix.EREMOTEIO, unix.SO_EE_ORIGIN_ICMP, 5, 1, 0, router4, 0)
	hops := append(control(unix.SOL_IP, unix.IP_TTL, []byte{60, 0, 0, 0}), control(unix.SOL_IP, unix.IP_RECVERR, v4)...)
	for _, c := range []struct {
		name          string
		control, data []byte
		want          queuedError
		fatal         bool
	}{
		{"v4", hops, echo(false, 7),
			queuedError{unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP, 11, 0, 0, router4, 0x1234, 7, true}, true},
		{"v6", control(unix.SOL_IPV6, unix.IPV6_RECVERR, v6), echo(true, 65535),
			queuedError{unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP6, 2, 0, 1400, router6, 0x1234, 65535, true}, true},
		{"scope", control(unix.SOL_IPV6, unix.IPV6_RECVERR, scoped), echo(true, 1),
			queuedError{unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP6, 1, 3, 0, netip.MustParseAddr("fe80::1%7"), 0x1234, 1, true}, true},
		{"local", control(unix.SOL_IP, unix.IP_RECVERR, local), nil,
			queuedError{unix.EMSGSIZE, unix.SO_EE_ORIGIN_LOCAL, 0, 0, 1500, netip.Addr{}, 0, 0, false}, false},
		{"redirect", control(unix.SOL_IP, unix.IP_RECVERR, redirect), echo(false, 1),
			queuedError{unix.EREMOTEIO, unix.SO_EE_ORIGIN_ICMP, 5, 1, 0, router4, 0x1234, 1, true}, false},
		{"quotes a reply", control(unix.SOL_IP, unix.IP_RECVERR, v4), []byte{0, 0, 0, 0, 0x12, 0x34, 0, 1},
			queuedError{unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP, 11, 0, 0, router4, 0, 0, false}, false},
		{"cut short", control(unix.SOL_IP, unix.IP_RECVERR, v4), echo(false, 1)[:7],
			queuedError{unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP, 11, 0, 0, router4, 0, 0, false}, false},
	} {
		got, ok := decodeQueued(c.control, c.data)
		if !ok || got != c.want || got.fatal() != c.fatal {
			t.Errorf("%s: %+v %v, fatal %v\nwant %+v", c.name, got, ok, got.fatal(), c.want)
		}
	}
	if _, ok := decodeQueued(control(unix.SOL_IP, unix.IP_RECVERR, v4[:15]), echo(false, 1)); ok {
		t.Error("decoded half an error")
	}
	if _, ok := decodeQueued(nil, echo(false, 1)); ok {
		t.Error("decoded nothing")
	}
}

func TestParseAncillary(t *testing.T) {
	ts := unix.NsecToTimespec(1234567890123456789)
	raw := unsafe.Slice((*byte)(unsafe.Pointer(&ts)), sizeTimespec)
	b := control(unix.SOL_SOCKET, unix.SCM_TIMESTAMPNS, raw)
	b = append(b, control(99, 99, []byte("unknown"))...)
	b = append(b, control(unix.SOL_IPV6, unix.IPV6_HOPLIMIT, binary.NativeEndian.AppendUint32(nil, 255))...)
	got := parseAncillary(b)
	if got.ttl != 255 || got.stamp.UnixNano() != 1234567890123456789 || got.isError {
		t.Errorf("%+v", got)
	}
	if got := parseAncillary(b[:len(b)-5]); got.ttl != 0 || got.stamp.IsZero() {
		t.Errorf("cut short: %+v", got)
	}
}

// FuzzDecodeQueued: whatever the bytes, no panic, and nothing out of nothing.
func FuzzDecodeQueued(f *testing.F) {
	v4 := extendedErr(unix.EHOSTUNREACH, unix.SO_EE_ORIGIN_ICMP, 11, 0, 0, router4, 0)
	v6 := extendedErr(unix.EMSGSIZE, unix.SO_EE_ORIGIN_ICMP6, 2, 0, 1400, netip.MustParseAddr("fe80::1"), 3)
	f.Add(control(unix.SOL_IP, unix.IP_RECVERR, v4), echo(false, 1))
	f.Add(control(unix.SOL_IPV6, unix.IPV6_RECVERR, v6), echo(true, 2))
	f.Add([]byte{}, []byte{})
	f.Fuzz(func(t *testing.T, control, data []byte) {
		e, ok := decodeQueued(control, data)
		if !ok {
			if e != (queuedError{}) {
				t.Errorf("refused, but %+v", e)
			}
			return
		}
		if len(control) < unix.SizeofCmsghdr+sizeExtendedErr || e.quoted && len(data) < echoHeader {
			t.Errorf("%d and %d bytes give %+v", len(control), len(data), e)
		}
		if text := icmpError(&e).Error(); text == "" || strings.Contains(text, "%!") {
			t.Errorf("%+v reads %q", e, text)
		}
		_, _, _ = parseEcho(skipIP4(data), echoReply4)
		eachAttr(data, func(uint16, []byte) {})
		_, _ = openAnswer(data)
	})
}

func TestErrorTexts(t *testing.T) {
	from := func(v6 bool, origin, icmp, code uint8, mtu uint32) string {
		offender := router4
		if v6 {
			offender = router6
		}
		return icmpError(&queuedError{origin: origin, icmpType: icmp, icmpCode: code, info: mtu, offender: offender}).Error()
	}
	const four, six = unix.SO_EE_ORIGIN_ICMP, unix.SO_EE_ORIGIN_ICMP6
	for _, c := range []struct{ got, want string }{
		{from(false, four, 3, 0, 0), "net unreachable, says 10.0.0.1"},
		{from(false, four, 3, 4, 1400), "message too big for the path: MTU 1400, says 10.0.0.1"},
		{from(false, four, 3, 4, 0), "message too big for the path, says 10.0.0.1"},
		{from(false, four, 3, 8, 0), "unreachable (code 8), says 10.0.0.1"},
		{from(false, four, 11, 0, 0), "time to live exceeded, says 10.0.0.1"},
		{from(false, four, 12, 0, 0), "parameter problem (code 0), says 10.0.0.1"},
		{from(false, four, 77, 1, 0), "ICMP error 77 code 1, says 10.0.0.1"},
		{from(true, six, 1, 1, 0), "prohibited (filtered), says fd00::1"},
		{from(true, six, 2, 0, 1280), "message too big for the path: MTU 1280, says fd00::1"},
		{from(true, six, 4, 1, 0), "parameter problem (code 1), says fd00::1"},
		{sendError(unix.ENETUNREACH).Error(), "no route, the network is unreachable (ENETUNREACH)"},
		{sendError(unix.ENOBUFS).Error(), "neighbour table or device queue full (ENOBUFS)"},
		{sendError(unix.EIO).Error(), "input/output error (EIO)"},
		{(&PingError{Kind: KindTimeout, After: time.Second}).Error(), "no reply within 1s"},
		{(&PingError{Kind: KindNoNeighbor, Neighbor: router4, After: time.Second}).Error(), "10.0.0.1 did not answer ARP within 1s"},
	} {
		if c.got != c.want {
			t.Errorf("got  %s\nwant %s", c.got, c.want)
		}
	}
}

func TestStatistics(t *testing.T) {
	r := PingResult{Sent: 4, Received: 3, RTTs: []time.Duration{3000, 1000, 2000}}
	if r.Loss() != 0.25 || r.Min() != 1000 || r.Max() != 3000 || r.Avg() != 2000 || r.Mdev() != 816 {
		t.Error(r.Loss(), r.Min(), r.Max(), r.Avg(), r.Mdev())
	}
	var none PingResult
	if none.Loss() != 0 || none.Min() != 0 || none.Max() != 0 || none.Avg() != 0 || none.Mdev() != 0 {
		t.Error("statistics of nothing")
	}
}

func TestChecksum(t *testing.T) {
	for _, n := range []int{0, 1, 55, 56} {
		p := newEcho(false, 0xbeef, n)
		stampEcho(p, 3, true)
		if checksum(p) != 0 {
			t.Errorf("payload %d: checksum of the whole is %#x", n, checksum(p))
		}
	}
}

func TestSequenceNumbers(t *testing.T) {
	p := &pinger{list: make([]request, maxFlying)}
	for _, c := range []struct {
		sent int
		seq  uint16
		n    int
		ok   bool
	}{
		{1, 1, 0, true}, {1, 2, 0, false}, {1, 0, 0, false}, {3, 2, 1, true},
		{65536, 0, 65535, true}, {65536, 1, 0, true}, {65537, 1, 65536, true}, {65537, 2, 1, true},
	} {
		p.res.Sent = c.sent
		if n, ok := p.number(c.seq); ok != c.ok || ok && n != c.n {
			t.Errorf("after %d, sequence number %d is request %d, %v", c.sent, c.seq, n, ok)
		}
	}
}
