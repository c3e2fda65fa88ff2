package lab

import (
	"context"
	"errors"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// rawNexthop is a nexthop object (ip-nexthop(8)) with the body that makes it
// again. They end when their link goes down, and routes that go by them with them.
type rawNexthop struct {
	id, index int // index is 0 for a group
	members   []int
	resilient []byte // nested attributes, or nil
	body      []byte
}

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
		case nhaGroupType, nhaBlackhole, nhaGateway, nhaEncapType, nhaEncap, nhaFDB:
		case nhaResGroup:
			n.resilient = resilientWords(v)
			return false
		default:
			return false
		}
		return true
	})
	n.body[1] = 0
	putU32(n.body[4:], u32(n.body[4:])&userHops)
	if n.resilient != nil {
		r := nl.NewRtAttr(nhaResGroup|unix.NLA_F_NESTED, n.resilient)
		n.body = append(n.body, r.Serialize()...)
	}
	return n, n.id != 0
}

// resilientWords are the attributes of a resilient group but for how long it has
// been out of balance.
func resilientWords(nested []byte) []byte {
	return withAttributes(nested, 0, func(kind int, _ []byte) bool { return kind != nhaResUnbalancedTime && kind != 0 })
}

// keptNexthops are the nexthop objects of a namespace, and the routes, which may
// go by them, at one moment.
type keptNexthops struct {
	ns      *Namespace
	at      time.Time
	objects []rawNexthop
	routes  []rawRoute
}

// keepNexthops remembers what a change to the machine's nexthop objects may lose:
// routes and groups that go by one that is deleted end with it.
func (ns *Namespace) keepNexthops() (c keptNexthops) {
	if !ns.lab.options.Host {
		return c
	}
	c = keptNexthops{ns: ns, at: time.Now()}
	c.objects, _ = ns.rawNexthops()
	c.routes, _ = ns.rawRoutes()
	return c
}

func (c keptNexthops) has(id int) bool {
	return slices.ContainsFunc(c.objects, func(n rawNexthop) bool { return n.id == id })
}

// restore makes the objects, and then the routes, what they were.
func (c keptNexthops) restore(ctx context.Context) error {
	put := func(ctx context.Context) error { return c.ns.putRoutes(ctx, c.routes, c.at) }
	return errors.Join(c.ns.putNexthops(c.objects), orLate(ctx, put(ctx), put))
}

// putNexthops makes again what is missing of objects, groups after what is in them.
func (ns *Namespace) putNexthops(objects []rawNexthop) error {
	if len(objects) == 0 {
		return nil
	}
	now, err := ns.rawNexthops()
	if err != nil {
		return err
	}
	there := map[string]bool{}
	for _, n := range now {
		there[string(n.body)] = true
	}
	var failed []error
	for _, groups := range []bool{false, true} {
		for _, n := range objects {
			if there[string(n.body)] || (n.members != nil) != groups {
				continue
			}
			if err := ns.replay(unix.RTM_NEWNEXTHOP, unix.NLM_F_REPLACE, n.body); err != nil {
				failed = append(failed, kernelError(err, "", "restore nexthop %d%s", n.id, where(ns)))
			}
		}
	}
	return errors.Join(failed...)
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

// putNexthops makes again what is missing of nexthop objects of the link, which may have
// another index now.
func (k *Link) putNexthops(objects []rawNexthop) error {
	own := slices.Clone(objects)
	for i := range own {
		own[i].body = withAttributes(own[i].body, sizeofNhMsg, func(kind int, v []byte) bool {
			if kind == nhaOIF {
				putU32(v, uint32(k.index))
			}
			return true
		})
	}
	return k.ns.putNexthops(own)
}
