package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
	"nsscript/runtime/firewall"
)

// Connection is an entry of a namespace's table of tracked connections at one
// moment (conntrack(8)).
type Connection struct {
	NS    *Namespace
	Proto string // "tcp", "udp", "icmp", "icmpv6" … or a number
	// Orig is the direction of the first packet, Reply that of the answers, after
	// NAT.
	Orig, Reply Tuple
	State       string   // of TCP, as conntrack prints it, in lower case; else ""
	Status      []string // "unreplied", "assured", "offload" …
	Mark        uint32
	Zone        int
	Timeout     time.Duration // until it is forgotten

	family byte
	tuple  []byte // CTA_TUPLE_ORIG, which names the entry
}

// Tuple is one direction of a connection.
type Tuple struct {
	Src, Dst     netip.Addr
	SPort, DPort int // of TCP, UDP, SCTP, DCCP
	// Type, Code and ID are those of ICMP and ICMPv6.
	Type, Code, ID int
	// HasPorts and IsICMP tell which of them there are.
	HasPorts, IsICMP bool
}

// Attributes of include/uapi/linux/netfilter/nfnetlink_conntrack.h.
const (
	ctaTupleOrig, ctaTupleReply, ctaStatus, ctaProtoInfo = 1, 2, 3, 4
	ctaTimeout, ctaMark, ctaZone                         = 7, 8, 18
	ctGet, ctDelete                                      = unix.NFNL_SUBSYS_CTNETLINK<<8 | 1, unix.NFNL_SUBSYS_CTNETLINK<<8 | 2
)

// conntrackStates are those of TCP (nf_conntrack_tcp.h).
var conntrackStates = []string{"none", "syn_sent", "syn_recv", "established", "fin_wait", "close_wait", "last_ack", "time_wait", "close", "syn_sent2"}

// connectionStatus are bits of IPS_* (nf_conntrack_common.h) as conntrack prints them.
var connectionStatus = []struct {
	bit  uint32
	name string
}{{1 << 2, "assured"}, {1 << 4, "snat"}, {1 << 5, "dnat"}, {1 << 10, "fixed_timeout"}, {1 << 14, "offload"}, {1 << 15, "hw_offload"}}

// nfRequest starts a request to nfnetlink for a family of addresses.
func nfRequest(kind, flags int, family byte, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	r := request(kind, flags)
	r.AddRawData([]byte{family, 0, 0, 0}) // struct nfgenmsg
	for _, a := range attrs {
		r.AddRawData(a.Serialize())
	}
	return r
}

// Connections lists the tracked connections, in the kernel's order.
func (ns *Namespace) Connections() ([]*Connection, error) {
	var all []*Connection
	err := ns.netlink(unix.NETLINK_NETFILTER, func(c *conn) error {
		return c.dump(func() *nl.NetlinkRequest { return nfRequest(ctGet, 0, unix.AF_UNSPEC) }, func() { all = nil },
			func(body []byte) error {
				if e, ok := parseConnection(body); ok {
					e.NS = ns
					all = append(all, e)
				}
				return nil
			})
	})
	if err != nil {
		return nil, ns.conntrackError(err, "list tracked connections%s", where(ns))
	}
	return all, nil
}

func (ns *Namespace) conntrackError(err error, format string, args ...any) error {
	if errors.Is(err, unix.EINVAL) || errors.Is(err, unix.EOPNOTSUPP) || errors.Is(err, unix.EPROTONOSUPPORT) {
		if e := missing(err, feature.Conntrack, "list of tracked connections"); e != nil {
			return e
		}
	}
	return kernelError(err, "", format, args...)
}

// parseConnection reads the body of a message of ctnetlink.
func parseConnection(body []byte) (*Connection, bool) {
	if len(body) < 4 {
		return nil, false
	}
	e := &Connection{family: body[0]}
	var status uint32
	var proto int
	for kind, v := range attributes(body[4:]) {
		switch kind {
		case ctaTupleOrig:
			e.tuple = append([]byte(nil), v...)
			e.Orig, proto = parseTuple(v)
		case ctaTupleReply:
			e.Reply, _ = parseTuple(v)
		case ctaStatus:
			status = be32(v)
		case ctaMark:
			e.Mark = be32(v)
		case ctaZone:
			e.Zone = be16(v)
		case ctaTimeout:
			e.Timeout = time.Duration(be32(v)) * time.Second
		case ctaProtoInfo:
			e.State = tcpState(v)
		}
	}
	e.Proto = ProtocolName(proto)
	if proto == unix.IPPROTO_ICMPV6 {
		e.Proto = "icmpv6" // as conntrack has it
	}
	if status&(1<<1) == 0 { // IPS_SEEN_REPLY
		e.Status = append(e.Status, "unreplied")
	}
	for _, s := range connectionStatus {
		if status&s.bit != 0 {
			e.Status = append(e.Status, s.name)
		}
	}
	return e, e.Orig.Src.IsValid()
}

// tcpState is that in CTA_PROTOINFO, or "".
func tcpState(b []byte) string {
	for kind, v := range attributes(b) {
		if kind != 1 { // CTA_PROTOINFO_TCP
			continue
		}
		for kind, v := range attributes(v) {
			if kind == 1 { // CTA_PROTOINFO_TCP_STATE
				return nameOf(conntrackStates, u8(v))
			}
		}
	}
	return ""
}

// parseTuple reads CTA_TUPLE_ORIG or CTA_TUPLE_REPLY.
func parseTuple(b []byte) (t Tuple, proto int) {
	for kind, v := range attributes(b) {
		for part, v := range attributes(v) {
			switch {
			case kind == 1 && (part == 1 || part == 3): // CTA_IP_V4_SRC, CTA_IP_V6_SRC
				t.Src, _ = netip.AddrFromSlice(v)
			case kind == 1 && (part == 2 || part == 4):
				t.Dst, _ = netip.AddrFromSlice(v)
			case kind == 2: // CTA_TUPLE_PROTO
				if part == 1 {
					proto = u8(v)
				}
				t.read(part, v)
			}
		}
	}
	return t, proto
}

// read reads a part of CTA_TUPLE_PROTO.
func (t *Tuple) read(part int, v []byte) {
	switch part {
	case 2:
		t.SPort, t.HasPorts = be16(v), true
	case 3:
		t.DPort, t.HasPorts = be16(v), true
	case 4, 7: // CTA_PROTO_ICMP_ID, CTA_PROTO_ICMPV6_ID
		t.ID, t.IsICMP = be16(v), true
	case 5, 8:
		t.Type, t.IsICMP = u8(v), true
	case 6, 9:
		t.Code, t.IsICMP = u8(v), true
	}
}

// Values in network byte order; a short one reads as 0.

func be16(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	return int(binary.BigEndian.Uint16(b))
}

func be32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.BigEndian.Uint32(b)
}

// words are the tuple as conntrack prints it.
func (t Tuple) words() []string {
	w := []string{"src=" + t.Src.String(), "dst=" + t.Dst.String()}
	switch {
	case t.HasPorts:
		w = append(w, "sport="+strconv.Itoa(t.SPort), "dport="+strconv.Itoa(t.DPort))
	case t.IsICMP:
		w = append(w, "type="+strconv.Itoa(t.Type), "code="+strconv.Itoa(t.Code), "id="+strconv.Itoa(t.ID))
	}
	return w
}

// String is the tuple as conntrack prints it.
func (t Tuple) String() string { return strings.Join(t.words(), " ") }

// String is the entry as `conntrack -L` prints it.
func (e *Connection) String() string {
	w := []string{e.Proto, strconv.Itoa(int(e.Timeout.Seconds()))}
	if e.State != "" {
		w = append(w, strings.ToUpper(e.State))
	}
	w = append(w, e.Orig.words()...)
	flag := func(name string) {
		for _, s := range e.Status {
			if s == name {
				w = append(w, "["+strings.ToUpper(s)+"]")
			}
		}
	}
	flag("unreplied")
	w = append(w, e.Reply.words()...)
	flag("assured")
	flag("offload")
	w = append(w, fmt.Sprintf("mark=%d", e.Mark))
	if e.Zone != 0 {
		w = append(w, fmt.Sprintf("zone=%d", e.Zone))
	}
	return strings.Join(w, " ")
}

// args are the arguments of `conntrack -D`.
func (e *Connection) args() []event.Arg {
	args := []event.Arg{arg("proto", e.Proto), arg("src", e.Orig.Src.String()), arg("dst", e.Orig.Dst.String())}
	if e.Orig.HasPorts {
		args = append(args, arg("sport", strconv.Itoa(e.Orig.SPort)), arg("dport", strconv.Itoa(e.Orig.DPort)))
	}
	if e.Orig.IsICMP {
		args = append(args, arg("icmp-type", strconv.Itoa(e.Orig.Type)), arg("icmp-code", strconv.Itoa(e.Orig.Code)), arg("icmp-id", strconv.Itoa(e.Orig.ID)))
	}
	if e.Zone != 0 {
		args = append(args, arg("zone", strconv.Itoa(e.Zone)))
	}
	return args
}

// Delete forgets the connection, as `conntrack -D` does.
func (e *Connection) Delete(ctx context.Context) error {
	start := time.Now()
	attrs := []*nl.RtAttr{nl.NewRtAttr(ctaTupleOrig|unix.NLA_F_NESTED, e.tuple)}
	if e.Zone != 0 {
		attrs = append(attrs, nl.NewRtAttr(ctaZone, binary.BigEndian.AppendUint16(nil, uint16(e.Zone))))
	}
	err := e.NS.netlink(unix.NETLINK_NETFILTER, func(c *conn) error { return c.do(nfRequest(ctDelete, 0, e.family, attrs...)) })
	e.NS.lab.emit(ctx, "conntrack delete", e.NS, start, err, e.args()...)
	if errors.Is(err, unix.ENOENT) {
		return &Error{Op: fmt.Sprintf("the connection %s%s is no longer tracked", e.Orig, where(e.NS)), Kind: KindGone, Err: unwrapErrno(err)}
	}
	if err != nil {
		return kernelError(err, "", "delete connection %s%s", e.Orig, where(e.NS))
	}
	e.NS.lab.cannotUndo("conntrack delete " + e.Orig.String() + where(e.NS))
	return nil
}

// flushConnections forgets all connections, as `conntrack -F` does.
func (ns *Namespace) flushConnections() error {
	err := ns.netlink(unix.NETLINK_NETFILTER, func(c *conn) error { return c.do(nfRequest(ctDelete, 0, unix.AF_UNSPEC)) })
	if err != nil {
		return ns.conntrackError(err, "flush conntrack%s", where(ns))
	}
	return nil
}

// TrackConnections makes the namespace track connections from now on, by a table of
// nftables whose only rule asks for their state. Once is enough.
func (ns *Namespace) TrackConnections(ctx context.Context) error {
	if err := ns.check(); err != nil {
		return err
	}
	start := time.Now()
	err := ns.do(firewall.Track().Apply)
	if errors.Is(err, unix.EEXIST) { // also of another run
		ns.tracks = true
		return nil
	}
	table := "inet " + firewall.TrackTable
	ns.lab.emit(ctx, "nft", ns, start, err, arg("command", "create table "+table), arg("command", "add chain "+table+" track"),
		arg("command", "add rule "+table+" track "+firewall.TrackRule))
	if lacking := missing(err, feature.Expression, "ct"); err != nil && lacking != nil {
		return lacking
	}
	if err != nil {
		return kernelError(err, "", "track connections%s", where(ns))
	}
	ns.tracks = true
	ns.lab.onUndo(func(ctx context.Context) error {
		start := time.Now()
		err := ns.do(firewall.Untrack().Apply)
		ns.lab.emit(ctx, "nft", ns, start, err, arg("command", "delete table "+table))
		return err
	})
	return nil
}

// Tracks tells whether TrackConnections was called; rules of firewalls and NAT make a
// namespace track connections too.
func (ns *Namespace) Tracks() bool { return ns.tracks }
