package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// MRoute is a multicast route, which a multicast routing program has made
// (`ip mroute`).
type MRoute struct {
	Src, Dst netip.Addr // an unspecified source is any
	IIF      *Link      // where packets have to come in; nil while that is not known
	Oifs     []OIF
	Table    int
	Resolved bool
	Packets  uint64
	Bytes    uint64
	WrongIF  uint64        // packets that came in elsewhere
	Idle     time.Duration // since a packet last went by it
}

// OIF is a link that a multicast route sends by.
type OIF struct {
	Dev *Link
	TTL int // that packets need at least
}

// Families and attributes of multicast routing (include/uapi/linux/rtnetlink.h).
const (
	familyIPMR  = 128 // RTNL_FAMILY_IPMR
	familyIP6MR = 129 // RTNL_FAMILY_IP6MR
	rtaMFCStats = 17  // RTA_MFC_STATS: packets, bytes, wrong_if
)

// MRoutes lists the multicast routes of all tables, IPv4 first.
func (ns *Namespace) MRoutes() ([]*MRoute, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var all []*MRoute
	for _, family := range []byte{familyIPMR, familyIP6MR} {
		bodies, err := ns.bodies(unix.RTM_GETROUTE, (&nl.RtMsg{RtMsg: unix.RtMsg{Family: family}}).Serialize())
		if err != nil && !errors.Is(err, unix.EOPNOTSUPP) { // of a kernel without them
			return nil, kernelError(err, "", "list multicast routes%s", where(ns))
		}
		for _, body := range bodies {
			// Without a handler of the family the kernel lists every other one.
			if len(body) >= unix.SizeofRtMsg && body[0] == family {
				all = append(all, ns.parseMRoute(body))
			}
		}
	}
	return all, nil
}

// parseMRoute reads the body of an RTM_NEWROUTE message of a multicast family.
func (ns *Namespace) parseMRoute(body []byte) *MRoute {
	m := nl.DeserializeRtMsg(body)
	r := &MRoute{Table: int(m.Table), Resolved: m.Flags&unix.RTNH_F_UNRESOLVED == 0}
	for kind, v := range attributes(body[unix.SizeofRtMsg:]) {
		switch kind {
		case unix.RTA_SRC:
			r.Src, _ = netip.AddrFromSlice(v)
		case unix.RTA_DST:
			r.Dst, _ = netip.AddrFromSlice(v)
		case unix.RTA_IIF:
			r.IIF = ns.linkAt(int(u32(v)))
		case unix.RTA_TABLE:
			r.Table = int(u32(v))
		case unix.RTA_EXPIRES:
			r.Idle = time.Duration(u64(v)) * userHZ
		case unix.RTA_MULTIPATH:
			eachHop(v, func(hop []byte) {
				r.Oifs = append(r.Oifs, OIF{ns.linkAt(int(u32(hop[4:]))), int(hop[3])})
			})
		case rtaMFCStats:
			if len(v) >= 24 {
				r.Packets, r.Bytes, r.WrongIF = u64(v), u64(v[8:]), binary.NativeEndian.Uint64(v[16:])
			}
		}
	}
	return r
}

// String is the route as `ip mroute` prints it.
func (r *MRoute) String() string {
	iif, state := "unresolved", "resolved"
	if r.IIF != nil {
		iif = r.IIF.name
	}
	if !r.Resolved {
		state = "unresolved"
	}
	w := []string{fmt.Sprintf("(%s,%s)", r.Src, r.Dst), "Iif:", iif}
	if len(r.Oifs) > 0 {
		w = append(w, "Oifs:")
	}
	for _, o := range r.Oifs {
		if o.Dev == nil {
			continue
		}
		w = append(w, o.Dev.name)
		if o.TTL > 1 {
			w = append(w, fmt.Sprintf("(ttl %d)", o.TTL))
		}
	}
	return strings.Join(append(w, "State:", state), " ")
}
