package lab

import (
	"errors"
	"slices"

	"golang.org/x/sys/unix"
)

// rawNexthop is a nexthop object (ip-nexthop(8)) with the body that makes it
// again. Scripts make none, but routes of a machine may go by them, and they end
// when their link goes down.
type rawNexthop struct {
	id, index int // index is 0 for a group
	members   []int
	body      []byte
}

// Attributes and header of a nexthop object (include/uapi/linux/nexthop.h).
const (
	nhaID, nhaGroup, nhaOIF = 1, 2, 5
	sizeofNhMsg             = 8
)

// rawNexthops lists the nexthop objects; a kernel before 5.3 has none.
func (ns *Namespace) rawNexthops() ([]rawNexthop, error) {
	bodies, err := ns.bodies(unix.RTM_GETNEXTHOP, make([]byte, sizeofNhMsg))
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil
	}
	var all []rawNexthop
	for _, body := range bodies {
		if n, ok := parseNexthop(body); ok {
			all = append(all, n)
		}
	}
	return all, err
}

// parseNexthop leaves out what is only told: scope, flags and counters.
func parseNexthop(body []byte) (n rawNexthop, ok bool) {
	if len(body) < sizeofNhMsg {
		return n, false
	}
	n.body = withAttributes(body, sizeofNhMsg, func(kind int, v []byte) bool {
		switch kind {
		case nhaID:
			n.id = int(u32(v))
		case nhaOIF:
			n.index = int(u32(v))
		case nhaGroup: // struct nexthop_grp
			for ; len(v) >= 8; v = v[8:] {
				n.members = append(n.members, int(u32(v)))
			}
		case 3, 4, 6, 7, 8, 11: // GROUP_TYPE, BLACKHOLE, GATEWAY, ENCAP_TYPE, ENCAP, FDB
		default:
			return false
		}
		return true
	})
	n.body[1] = 0
	putU32(n.body[4:], u32(n.body[4:])&userHops)
	return n, n.id != 0
}

// nexthopsOf chooses those over a link, and then the groups that they are in.
func nexthopsOf(all []rawNexthop, index int) []rawNexthop {
	var own []rawNexthop
	ids := map[int]bool{}
	for _, n := range all {
		if n.index == index {
			own, ids[n.id] = append(own, n), true
		}
	}
	for _, n := range all {
		if slices.ContainsFunc(n.members, func(id int) bool { return ids[id] }) {
			own = append(own, n)
		}
	}
	return own
}

// putNexthops makes again what is missing of nexthop objects of the link.
func (k *Link) putNexthops(objects []rawNexthop) error {
	if len(objects) == 0 {
		return nil
	}
	now, err := k.ns.rawNexthops()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, n := range now {
		there[string(n.body)] = true
	}
	var failed []error
	for _, n := range objects {
		body := withAttributes(n.body, sizeofNhMsg, func(kind int, v []byte) bool {
			if kind == nhaOIF {
				putU32(v, uint32(k.index))
			}
			return true
		})
		if there[string(body)] {
			continue
		}
		if err := k.ns.replay(unix.RTM_NEWNEXTHOP, unix.NLM_F_REPLACE, body); err != nil {
			failed = append(failed, k.failed(err, "", "restore nexthop %d of %s", n.id, k))
		}
	}
	return errors.Join(failed...)
}
