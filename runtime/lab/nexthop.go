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
)

// Attributes and header of a nexthop object (include/uapi/linux/nexthop.h).
const (
	nhaID, nhaGroup, nhaGroupType, nhaBlackhole, nhaOIF, nhaGateway = 1, 2, 3, 4, 5, 6
	nhaEncapType, nhaEncap, nhaFDB, nhaResGroup, nhaResBucket       = 7, 8, 11, 12, 13

	nhaResBuckets, nhaResIdleTimer, nhaResUnbalancedTimer, nhaResUnbalancedTime = 1, 2, 3, 4
	nhaBucketIndex, nhaBucketIdleTime, nhaBucketNexthop                         = 1, 2, 3

	nexthopGroupResilient = 1 // NEXTHOP_GRP_TYPE_RES
	sizeofNhMsg           = 8
	sizeofNexthopGroup    = 8
	getNexthopBucket      = 118 // RTM_GETNEXTHOPBUCKET
)

// Nexthop is a nexthop object, to make or read (ip-nexthop(8)): one next hop, or a
// group of them, that routes go by (nhid).
type Nexthop struct {
	NS     *Namespace
	ID     int
	Family int // AF_INET or AF_INET6; 0 for that of Via, else IPv4. A group has none.
	Via    netip.Addr
	Dev    *Link
	OnLink bool
	Encap  *Encap
	// Blackhole drops what goes by it.
	Blackhole bool
	// FDB is for a VXLAN's forwarding entries: a gateway without a link, or a
	// group of such.
	FDB   bool
	Proto int // RTPROT_*, 0 unless given
	Scope int // only read: the kernel chooses it
	Group []Member
	// Resilient makes of the group one whose flows stay where they are when
	// members come and go; nil for one that hashes by thresholds (mpath).
	Resilient *Resilient
}

// Member is a nexthop object in a group.
type Member struct {
	ID     int
	Weight int // 1 to 256; 0 counts as 1
}

// Resilient are the properties of a resilient group.
type Resilient struct {
	Buckets         int            // 1 to 65535
	IdleTimer       *time.Duration // after which a bucket may move; nil for the kernel's 120 s
	UnbalancedTimer *time.Duration // after which buckets are moved by force; nil for 0, never
}

func (m Member) weight() int { return max(m.Weight, 1) }

func (m Member) String() string {
	if m.weight() == 1 {
		return strconv.Itoa(m.ID)
	}
	return fmt.Sprintf("%d,%d", m.ID, m.Weight)
}

// GroupWords are the members as `ip nexthop` takes them, "1,2/3".
func (n *Nexthop) GroupWords() string {
	var words []string
	for _, m := range n.Group {
		words = append(words, m.String())
	}
	return strings.Join(words, "/")
}

// TypeName is the type of a group, "mpath" or "resilient"; "" for no group.
func (n *Nexthop) TypeName() string {
	switch {
	case n.Group == nil:
		return ""
	case n.Resilient != nil:
		return "resilient"
	}
	return "mpath"
}

// family is what the header of a request says.
func (n *Nexthop) family() int {
	switch {
	case n.Group != nil:
		return unix.AF_UNSPEC
	case n.Via.IsValid():
		return family(n.Via)
	case n.Family == 0:
		return unix.AF_INET
	}
	return n.Family
}

// message builds an RTM_NEWNEXTHOP (struct nhmsg).
func (n *Nexthop) message(flags int) *nl.NetlinkRequest {
	r := request(unix.RTM_NEWNEXTHOP, flags)
	var bits uint32
	if n.OnLink {
		bits = unix.RTNH_F_ONLINK
	}
	r.AddRawData(binary.NativeEndian.AppendUint32([]byte{byte(n.family()), 0, byte(n.Proto), 0}, bits))
	add := func(kind int, data []byte) {
		r.RawData = append(r.RawData, nl.NewRtAttr(kind, data).Serialize()...)
	}
	add(nhaID, nl.Uint32Attr(uint32(n.ID)))
	if n.Group != nil {
		add(nhaGroup, n.members())
	}
	if n.Resilient != nil {
		add(nhaGroupType, nl.Uint16Attr(nexthopGroupResilient))
		add(nhaResGroup|unix.NLA_F_NESTED, n.Resilient.attributes())
	}
	if n.Blackhole {
		add(nhaBlackhole, nil)
	}
	if n.Dev != nil {
		add(nhaOIF, nl.Uint32Attr(uint32(n.Dev.index)))
	}
	if n.Via.IsValid() {
		add(nhaGateway, n.Via.AsSlice())
	}
	if n.FDB {
		add(nhaFDB, nil)
	}
	if n.Encap != nil {
		r.RawData = append(r.RawData, n.Encap.attributes(nhaEncapType, nhaEncap)...)
	}
	return r
}

// members are struct nexthop_grp.
func (n *Nexthop) members() (b []byte) {
	for _, m := range n.Group {
		b = binary.NativeEndian.AppendUint32(b, uint32(m.ID))
		b = append(b, byte(m.weight()-1), 0, 0, 0)
	}
	return b
}

func (r *Resilient) attributes() (b []byte) {
	add := func(kind int, data []byte) { b = append(b, nl.NewRtAttr(kind, data).Serialize()...) }
	add(nhaResBuckets, nl.Uint16Attr(uint16(r.Buckets)))
	for kind, d := range map[int]*time.Duration{nhaResIdleTimer: r.IdleTimer, nhaResUnbalancedTimer: r.UnbalancedTimer} {
		if d != nil {
			add(kind, nl.Uint32Attr(uint32(*d/userHZ)))
		}
	}
	return b
}

// args are the arguments of `ip nexthop add`.
func (n *Nexthop) args() []event.Arg {
	args := []event.Arg{arg("id", strconv.Itoa(n.ID))}
	add := func(key, value string) { args = append(args, arg(key, value)) }
	if n.family() == unix.AF_INET6 && !n.Via.IsValid() {
		add("family", "inet6")
	}
	if n.Group != nil {
		add("group", n.GroupWords())
	}
	if r := n.Resilient; r != nil {
		add("type", "resilient")
		add("buckets", strconv.Itoa(r.Buckets))
		if r.IdleTimer != nil {
			add("idle_timer", secondsWords(*r.IdleTimer))
		}
		if r.UnbalancedTimer != nil {
			add("unbalanced_timer", secondsWords(*r.UnbalancedTimer))
		}
	}
	if n.Encap != nil {
		add("encap", n.Encap.ip)
	}
	if n.Via.IsValid() {
		add("via", n.Via.String())
	}
	if n.Dev != nil {
		add("dev", n.Dev.name)
	}
	for _, flag := range []struct {
		set  bool
		name string
	}{{n.OnLink, "onlink"}, {n.Blackhole, "blackhole"}, {n.FDB, "fdb"}} {
		if flag.set {
			add(flag.name, "")
		}
	}
	if n.Proto != 0 {
		add("proto", RouteProtocolName(n.Proto))
	}
	return args
}

func secondsWords(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'g', -1, 64) }

// String is the object as `ip nexthop` prints it.
func (n *Nexthop) String() string {
	var w []string
	for _, a := range n.args() {
		switch {
		case a.Key == "family":
		case a.Value == "":
			w = append(w, a.Key)
		default:
			w = append(w, a.Key, a.Value)
		}
	}
	return strings.Join(w, " ")
}

func (n *Nexthop) key() string { return fmt.Sprintf("nexthop %v %d", n.NS.id, n.ID) }

// check refuses what makes no sense, before the kernel does without saying which.
func (n *Nexthop) check(ns *Namespace) error {
	one := n.Via.IsValid() || n.Dev != nil
	switch {
	case n.Encap != nil && !one:
		return Usage("", "nexthop %d: encap= goes with via= and dev=", n.ID)
	case n.Group != nil && (one || n.Blackhole || n.OnLink):
		return Usage("", "nexthop %d: group= goes with neither via=, dev=, onlink= nor blackhole=", n.ID)
	case n.Group == nil && n.Resilient != nil:
		return Usage("group=[1, 2]", "nexthop %d: type= and its options are a group's", n.ID)
	case n.Group != nil && len(n.Group) == 0:
		return Usage("group=[1, 2]", "nexthop %d: a group has at least one member", n.ID)
	case n.Blackhole && (one || n.OnLink):
		return Usage("", "nexthop %d: blackhole= goes with neither via=, dev= nor onlink=", n.ID)
	case n.FDB && (n.Dev != nil || n.Blackhole || n.OnLink):
		return Usage(`fdb=True, via="10.0.0.2"`, "nexthop %d: fdb= goes with neither dev=, onlink= nor blackhole=", n.ID)
	case n.Group == nil && !n.Blackhole && !one:
		return Usage(`say via="10.0.0.1", dev=, group=[…] or blackhole=True`, "nexthop %d leads nowhere", n.ID)
	case n.Via.IsValid() && n.Dev == nil && !n.FDB:
		return Usage("", "nexthop %d: dev= is missing: the link to the gateway", n.ID)
	case n.Resilient != nil && n.Resilient.Buckets == 0:
		return Usage("buckets=64", "nexthop %d: buckets= is missing: a resilient group has at least as many as members", n.ID)
	case n.Dev != nil:
		return n.Dev.In(ns, "dev")
	}
	return nil
}

// Make says what to do where an object of the same name or key is there.
type Make int

// The ways to make an object.
const (
	Add     Make = iota // refuse
	Replace             // take its place
	Exist               // take that one, if it has the properties asked for
	Change              // take its place; there has to be one
	Append              // come after it
	Prepend             // come before it
)

// AddNexthop makes a nexthop object, as `ip nexthop add` or `replace` does.
func (ns *Namespace) AddNexthop(ctx context.Context, n Nexthop, how Make) (*Nexthop, error) {
	defer n.Encap.close()
	if err := ns.check(); err != nil {
		return nil, err
	}
	if err := n.check(ns); err != nil {
		return nil, err
	}
	n.NS = ns
	if how == Exist {
		if there, err := ns.Nexthop(n.ID); err != nil || there != nil {
			if err == nil {
				err = differs(there, n.args(), there.args())
			}
			return there, err
		}
	}
	flags, op := unix.NLM_F_CREATE|unix.NLM_F_EXCL, "nexthop add"
	if how == Replace {
		flags, op = unix.NLM_F_CREATE|unix.NLM_F_REPLACE, "nexthop replace"
	}
	before := ns.keepNexthops()
	start := time.Now()
	body, err := ns.conn.echo(n.message(flags), getNexthop(n.ID))
	if !refusedFirst(err) {
		err = nil // it was made, and has gone since
	}
	if ns.lab.watched() {
		ns.lab.emit(ctx, op, ns, start, err, n.args()...)
	}
	if missing := n.Encap.missing(err); missing != nil {
		return nil, missing
	}
	if err != nil {
		return nil, kernelError(err, nexthopHint(err), "add nexthop %s%s", &n, where(ns))
	}
	made := &n
	if read, ok := ns.parseNexthopObject(body); ok {
		made = read
	}
	ns.lab.onUndo(func(ctx context.Context) error {
		if !before.has(n.ID) {
			return made.Delete(ctx)
		}
		return before.restore(ctx)
	})
	ns.lab.claim(n.key())
	return made, nil
}

func nexthopHint(err error) string {
	switch {
	case errors.Is(err, unix.EEXIST):
		return "there is one with this id: replace=True replaces it"
	case errors.Is(err, unix.ENETUNREACH), errors.Is(err, unix.EHOSTUNREACH):
		return "the gateway is in no subnet of the link: give the link an address there, or use onlink=True with dev="
	case errors.Is(err, unix.ENETDOWN):
		return "the link is down: up(link) first"
	}
	return ""
}

func getNexthop(id int) *nl.NetlinkRequest {
	r := request(unix.RTM_GETNEXTHOP, 0)
	r.AddRawData(make([]byte, sizeofNhMsg))
	r.RawData = append(r.RawData, nl.NewRtAttr(nhaID, nl.Uint32Attr(uint32(id))).Serialize()...)
	return r
}

// Nexthop reads the object with an id; nil when there is none.
func (ns *Namespace) Nexthop(id int) (*Nexthop, error) {
	body, err := ns.conn.get(getNexthop(id))
	if errors.Is(err, unix.ENOENT) {
		return nil, nil
	}
	if err != nil {
		return nil, kernelError(err, "", "read nexthop %d%s", id, where(ns))
	}
	n, ok := ns.parseNexthopObject(body)
	if !ok {
		return nil, kernelError(unix.EBADMSG, "", "read nexthop %d%s", id, where(ns))
	}
	return n, nil
}

// Nexthops lists the nexthop objects by their ids.
func (ns *Namespace) Nexthops() ([]*Nexthop, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	bodies, err := ns.bodies(unix.RTM_GETNEXTHOP, make([]byte, sizeofNhMsg))
	if err != nil {
		return nil, kernelError(err, "", "list nexthops%s", where(ns))
	}
	var all []*Nexthop
	for _, body := range bodies {
		if n, ok := ns.parseNexthopObject(body); ok {
			all = append(all, n)
		}
	}
	return all, nil
}

// parseNexthopObject reads the body of an RTM_NEWNEXTHOP message.
func (ns *Namespace) parseNexthopObject(body []byte) (*Nexthop, bool) {
	if len(body) < sizeofNhMsg {
		return nil, false
	}
	n := &Nexthop{NS: ns, Family: int(body[0]), Scope: int(body[1]), Proto: int(body[2]), OnLink: u32(body[4:])&unix.RTNH_F_ONLINK != 0}
	encap, data := 0, []byte(nil)
	for kind, v := range attributes(body[sizeofNhMsg:]) {
		switch kind {
		case nhaID:
			n.ID = int(u32(v))
		case nhaGroup:
			n.Group = []Member{}
			for ; len(v) >= sizeofNexthopGroup; v = v[sizeofNexthopGroup:] {
				// Since 6.13 the weight has a high byte.
				n.Group = append(n.Group, Member{int(u32(v)), int(v[4]) + int(v[5])<<8 + 1})
			}
		case nhaBlackhole:
			n.Blackhole = true
		case nhaOIF:
			n.Dev = ns.linkAt(int(u32(v)))
		case nhaGateway:
			n.Via, _ = netip.AddrFromSlice(v)
		case nhaFDB:
			n.FDB = true
		case nhaResGroup:
			n.Resilient = parseResilient(v)
		case nhaEncapType:
			encap = u16(v)
		case nhaEncap:
			data = v
		}
	}
	if encap != 0 {
		n.Encap = ns.readEncap(encap, data)
	}
	return n, n.ID != 0
}

func parseResilient(b []byte) *Resilient {
	r := &Resilient{}
	for kind, v := range attributes(b) {
		d := time.Duration(u32(v)) * userHZ
		switch kind {
		case nhaResBuckets:
			r.Buckets = u16(v)
		case nhaResIdleTimer:
			r.IdleTimer = &d
		case nhaResUnbalancedTimer:
			r.UnbalancedTimer = &d
		}
	}
	return r
}

// Delete takes the object away, and with it the routes that go by it.
func (n *Nexthop) Delete(ctx context.Context) error {
	if err := n.NS.check(); err != nil {
		return err
	}
	if err := n.NS.lab.mayDelete(n.key(), n); err != nil {
		return err
	}
	before := n.NS.keepNexthops()
	r := getNexthop(n.ID)
	r.Type = unix.RTM_DELNEXTHOP
	start := time.Now()
	err := n.NS.conn.do(r)
	n.NS.lab.emit(ctx, "nexthop delete", n.NS, start, err, n.args()...)
	if err != nil {
		return kernelError(err, "", "delete nexthop %s%s", n, where(n.NS))
	}
	n.NS.lab.onUndo(before.restore)
	return nil
}

// Bucket is a part of a resilient group's hash.
type Bucket struct {
	Index   int
	Idle    time.Duration // since a packet last went by it
	Nexthop int           // the member that it leads to
}

// Buckets lists the buckets of a resilient group (`ip nexthop bucket list id`).
func (ns *Namespace) Buckets(id int) ([]Bucket, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	switch n, err := ns.Nexthop(id); {
	case err != nil:
		return nil, err
	case n == nil:
		return nil, Usage("", "there is no nexthop %d%s", id, where(ns))
	case n.Resilient == nil:
		return nil, Usage(`type="resilient"`, "nexthop %s is no resilient group: it has no buckets", n)
	}
	head := append(make([]byte, sizeofNhMsg), nl.NewRtAttr(nhaID, nl.Uint32Attr(uint32(id))).Serialize()...)
	bodies, err := ns.bodies(getNexthopBucket, head)
	if err != nil {
		return nil, kernelError(err, "", "list buckets of nexthop %d%s", id, where(ns))
	}
	var all []Bucket
	for _, body := range bodies {
		if b, ok := parseBucket(body); ok {
			all = append(all, b)
		}
	}
	return all, nil
}

// parseBucket reads the body of an RTM_NEWNEXTHOPBUCKET message.
func parseBucket(body []byte) (b Bucket, ok bool) {
	if len(body) < sizeofNhMsg {
		return b, false
	}
	for kind, nested := range attributes(body[sizeofNhMsg:]) {
		if kind != nhaResBucket {
			continue
		}
		ok = true
		for kind, v := range attributes(nested) {
			switch kind {
			case nhaBucketIndex:
				b.Index = u16(v)
			case nhaBucketIdleTime:
				b.Idle = time.Duration(u64(v)) * userHZ
			case nhaBucketNexthop:
				b.Nexthop = int(u32(v))
			}
		}
	}
	return b, ok
}
