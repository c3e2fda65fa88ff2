package lab

import (
	"fmt"
	"math"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Qdisc is a queueing discipline of a link, or a class of one, at one moment (tc(8)).
type Qdisc struct {
	Link *Link
	Kind string
	// Handle and Parent are as tc prints them: "1:", "root", "ffff:fff1", "1:10".
	Handle, Parent string
	// Leaf is the handle of the qdisc below a class, or "".
	Leaf string
	// Options are those of the kinds that this package decodes: int, float64
	// (seconds; bits per second; a share of 1), bool, string, []int or []float64.
	Options []QdiscOption
	Stats   QdiscStats

	class          bool
	handle, parent uint32
	info           uint32
	data           []byte // TCA_OPTIONS
}

// QdiscStats is what a qdisc or class has counted, and what waits in it.
type QdiscStats struct {
	Bytes                                uint64
	Packets, Drops, Overlimits, Requeues uint64
	Backlog, Qlen                        uint64 // bytes and packets that wait
}

// QdiscOption is an option of a qdisc.
type QdiscOption struct {
	Name  string
	Value any
}

// Numbers of include/uapi/linux/rtnetlink.h and pkt_sched.h.
const (
	sizeofTcMsg               = 20
	tcaKind, tcaOption        = 1, 2
	tcaStats2                 = 7
	tcRoot             uint32 = math.MaxUint32 // TC_H_ROOT
	tcIngress          uint32 = 0xfffffff1     // TC_H_INGRESS, TC_H_CLSACT
)

// Qdiscs lists the link's queueing disciplines, as `tc qdisc show dev L` does; a link
// that is down may have none.
func (k *Link) Qdiscs() ([]*Qdisc, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	all, err := k.ns.qdiscs()
	if err != nil {
		return nil, k.failed(err, "", "list qdiscs of %s", k)
	}
	for _, q := range all[k.index] {
		q.Link = k
	}
	return all[k.index], nil
}

// Classes lists the classes of the link's qdiscs, as `tc class show dev L` does.
func (k *Link) Classes() (all []*Qdisc, err error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	err = k.ns.conn.dump(func() *nl.NetlinkRequest { return tcRequest(unix.RTM_GETTCLASS, 0, k.index, 0, 0, 0) },
		func() { all = nil }, func(body []byte) error {
			if q, _, ok := parseQdisc(body, true); ok {
				q.Link = k
				all = append(all, q)
			}
			return nil
		})
	if err != nil {
		return nil, k.failed(err, "", "list classes of %s", k)
	}
	return all, nil
}

// tcRequest starts a message with a struct tcmsg.
func tcRequest(kind, flags, index int, handle, parent, info uint32) *nl.NetlinkRequest {
	r := request(kind, flags)
	r.AddData(head(words32(0, uint32(index), handle, parent, info)))
	return r
}

// qdiscs lists those of all links, by ifindex.
func (ns *Namespace) qdiscs() (map[int][]*Qdisc, error) {
	all := map[int][]*Qdisc{}
	err := ns.conn.dump(func() *nl.NetlinkRequest {
		return tcRequest(unix.RTM_GETQDISC, 0, 0, 0, 0, 0)
	}, func() { clear(all) }, func(body []byte) error {
		if q, index, ok := parseQdisc(body, false); ok {
			all[index] = append(all[index], q)
		}
		return nil
	})
	return all, err
}

// parseQdisc reads the body of an RTM_NEWQDISC or RTM_NEWTCLASS (struct tcmsg).
func parseQdisc(body []byte, class bool) (q *Qdisc, index int, ok bool) {
	if len(body) < sizeofTcMsg {
		return nil, 0, false
	}
	q = &Qdisc{class: class, handle: u32(body[8:]), parent: u32(body[12:]), info: u32(body[16:])}
	q.Handle, q.Parent = tcHandle(q.handle), tcHandle(q.parent)
	for kind, v := range attributes(body[sizeofTcMsg:]) {
		switch kind {
		case tcaKind:
			q.Kind = cstring(v)
		case tcaOption:
			q.data = slices.Clone(v)
		case tcaStats2:
			q.Stats = parseQdiscStats(v)
		}
	}
	if class && q.info != 0 {
		q.Leaf = tcHandle(q.info)
	}
	if kind := q.kind(); kind != nil {
		q.Options = kind.read(q.data)
	}
	return q, int(u32(body[4:])), q.Kind != ""
}

// kind is what is known of its options, or nil.
func (q *Qdisc) kind() *QdiscKind {
	kind := QdiscKindOf(q.Kind)
	if kind == nil || !q.class {
		return kind
	}
	return kind.Classes
}

// parseQdiscStats reads TCA_STATS2 (include/uapi/linux/gen_stats.h).
func parseQdiscStats(b []byte) (s QdiscStats) {
	for kind, v := range attributes(b) {
		switch {
		case kind == 1 && len(v) >= 12: // TCA_STATS_BASIC
			s.Bytes, s.Packets = u64(v), max(s.Packets, uint64(u32(v[8:])))
		case kind == 3 && len(v) >= 20: // TCA_STATS_QUEUE
			s.Qlen, s.Backlog, s.Drops = uint64(u32(v)), uint64(u32(v[4:])), uint64(u32(v[8:]))
			s.Requeues, s.Overlimits = uint64(u32(v[12:])), uint64(u32(v[16:]))
		case kind == 8: // TCA_STATS_PKT64
			s.Packets = u64(v)
		}
	}
	return s
}

// tcHandle is a handle as tc prints it.
func tcHandle(h uint32) string {
	switch {
	case h == tcRoot:
		return "root"
	case h&0xffff == 0:
		return strconv.FormatUint(uint64(h>>16), 16) + ":"
	}
	return fmt.Sprintf("%x:%x", h>>16, h&0xffff)
}

// String is the qdisc as tc prints it, with options as this package has them.
func (q *Qdisc) String() string {
	w := []string{q.Kind, q.Handle}
	if q.Parent != "root" {
		w = append(w, "parent")
	}
	w = append(w, q.Parent)
	if kind := q.kind(); kind != nil {
		w = append(w, kind.wordsOf(kind.chosen(q.Options))...)
	}
	return strings.Join(w, " ")
}
