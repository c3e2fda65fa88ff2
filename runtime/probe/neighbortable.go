package probe

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// The neighbour tables are the machine's: all namespaces share their room. Where one
// overflows, packets are lost that nobody reports, so a probe that is lost says so.

// neighborTable is what the kernel tells of one (struct ndt_config and ndt_stats of
// linux/neighbour.h).
type neighborTable struct {
	entries, most uint32 // permanent entries count here, and not for the limit
	fulls         uint64 // how often an entry found no room
}

// Attributes of RTM_GETNEIGHTBL (linux/neighbour.h).
const (
	ndtaThresh3 = 4
	ndtaConfig  = 5
	ndtaStats   = 7
)

// firstLook is what the tables of IPv4 and IPv6 had lost before the first probe.
var firstLook [2]struct {
	once  sync.Once
	fulls uint64
}

func tableOf(v6 bool) int {
	if v6 {
		return 1
	}
	return 0
}

// lookFirst remembers, once, what a table has lost so far. The thread is in a
// namespace, any one.
func lookFirst(v6 bool) {
	f := &firstLook[tableOf(v6)]
	f.once.Do(func() {
		nl, err := openRouteQuery(func(fn func() error) error { return fn() })
		if err != nil {
			return
		}
		defer nl.close()
		if t, err := nl.neighborTable(v6); err == nil {
			f.fulls = t.fulls
		}
	})
}

// neighborTable asks for the table of a family.
func (q routeQuery) neighborTable(v6 bool) (t neighborTable, err error) {
	family := byte(unix.AF_INET)
	if v6 {
		family = unix.AF_INET6
	}
	answer, err := q.dump(unix.RTM_GETNEIGHTBL, []byte{family, 0, 0, 0})
	if err != nil || len(answer) < 4 {
		return t, errOr(err)
	}
	eachAttr(answer[4:], func(kind uint16, data []byte) {
		switch {
		case kind == ndtaThresh3 && len(data) >= 4:
			t.most = binary.NativeEndian.Uint32(data)
		case kind == ndtaConfig && len(data) >= 8:
			t.entries = binary.NativeEndian.Uint32(data[4:])
		case kind == ndtaStats && len(data) >= 88:
			t.fulls = binary.NativeEndian.Uint64(data[80:])
		}
	})
	return t, nil
}

// overflow says, if a table has lost entries since the first probe, that it has.
func (q routeQuery) overflow(v6 bool) string {
	t, err := q.neighborTable(v6)
	lost := t.fulls - firstLook[tableOf(v6)].fulls
	if err != nil || lost == 0 || t.fulls == 0 {
		return ""
	}
	family := "ipv4"
	if v6 {
		family = "ipv6"
	}
	return fmt.Sprintf("the machine's neighbour table, which all namespaces share, had no room %d times (net.%s.neigh.default.gc_thresh3 is %d)", lost, family, t.most)
}
