package lab

import (
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// FuzzParse gives every parser of the kernel's messages any bytes. A message
// that is cut short or makes no sense must not end the program.
func FuzzParse(f *testing.F) {
	f.Add([]byte{})
	f.Add(make([]byte, 16))
	// A struct ifinfomsg, IFLA_IFNAME "lo", IFLA_ADDRESS.
	f.Add([]byte{0, 0, 0x04, 0x03, 1, 0, 0, 0, 0x49, 0, 1, 0, 0, 0, 0, 0, 7, 0, 3, 0, 'l', 'o', 0, 0, 10, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0, 0})
	// A struct ifaddrmsg, IFA_ADDRESS and IFA_LOCAL 127.0.0.1.
	f.Add([]byte{2, 8, 0x80, 254, 1, 0, 0, 0, 8, 0, 1, 0, 127, 0, 0, 1, 8, 0, 2, 0, 127, 0, 0, 1})
	// A struct rtmsg of a default route, RTA_GATEWAY 10.0.0.1, RTA_TABLE main.
	f.Add([]byte{2, 0, 0, 0, 254, 3, 0, 1, 0, 0, 0, 0, 8, 0, 5, 0, 10, 0, 0, 1, 8, 0, 15, 0, 254, 0, 0, 0})
	// A struct ndmsg, NDA_DST, NDA_LLADDR.
	f.Add([]byte{2, 0, 0, 0, 1, 0, 0, 0, 0x80, 0, 0, 1, 8, 0, 1, 0, 10, 0, 0, 9, 10, 0, 2, 0, 2, 0, 0, 0, 0, 9, 0, 0})
	// An nlmsgerr: -EEXIST.
	f.Add([]byte{0xef, 0xff, 0xff, 0xff, 36, 0, 0, 0, 16, 0, 5, 6, 1, 0, 0, 0, 0, 0, 0, 0})
	empty := &Namespace{conn: &conn{fd: -1}} // that has no links
	f.Fuzz(func(_ *testing.T, body []byte) {
		if info := parseLink(body); info != nil {
			_ = info.Brief(info.Name)
			_ = info.FlagNames()
		}
		if a, ok := parseAddr(body); ok {
			_ = a.Prefix().String()
		}
		if r, ok := parseRule(body); ok {
			_ = r.String()
		}
		if n, _, ok := parseNeighbor(body); ok {
			_ = n.StateName()
		}
		if n, ok := parseRawNeighbor(body); ok {
			n.renumber(7)
		}
		if a, ok := parseAddr(body); ok {
			kept := keptAddr{a, body}
			_ = kept.aged(time.Second)
		}
		if len(body) >= unix.SizeofRtMsg {
			r := replayable(&Route{}, body)
			r.renumber(1, 2)
		}
		parseNexthop(body)
		if n, ok := empty.parseNexthopObject(body); ok {
			_ = n.String()
		}
		if r, ok := empty.parseRoute(body); ok {
			_ = r.String()
		}
		parseBucket(body)
		if s, _, ok := parseSocket(body); ok {
			_ = s.Local.String() + s.Remote.String()
		}
		if e, ok := parseConnection(body); ok {
			_ = e.String()
		}
		for _, class := range []bool{false, true} {
			if q, _, ok := parseQdisc(body, class); ok {
				_ = q.String()
			}
		}
		for _, kind := range qdiscKinds() {
			kind.read(body)
			if kind.Classes != nil {
				kind.Classes.read(body)
			}
		}
		portOptions(body)
		for _, flags := range []uint16{0, unix.NLM_F_ACK_TLVS, unix.NLM_F_ACK_TLVS | unix.NLM_F_CAPPED} {
			if r := parseAck(&unix.NlMsghdr{Flags: flags}, body); r != nil {
				_ = r.Error()
			}
		}
		parsePorts(body)
		if len(body) >= unix.NLMSG_HDRLEN {
			parseHeader(body)
		}
	})
}
