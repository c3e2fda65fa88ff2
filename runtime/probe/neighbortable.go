package probe

import (
	"encoding/binary"
	"fmt"
	"sync"

	"golang.org/x/sys/unix"
)

// The neighbour tables are the machine's: all namespaces share their room. Where one
// overflows, packets are lost that nobody reports, so a probe that is lost says so.

// NeighborTable is what the kernel tells of one (struct ndt_config and ndt_stats of
// linux/neighbour.h).
type NeighborTable struct {
	// Setting is the sysctl of the limit.
	Setting string
	// Limit is how many entries there is room for. Permanent ones are among Entries,
	// and do not count for it.
	Limit, Entries uint32
	// NoRoom is how often an entry found none since the machine started.
	NoRoom uint64
}

// Attributes of RTM_GETNEIGHTBL (linux/neighbour.h).
const (
	ndtaThresh3 = 4
	ndtaConfig  = 5
	ndtaStats   = 7
)

// firstLook is what the tables of IPv4 and IPv6 had lost before the first probe.
var firstLook [2]struct {
	once   sync.Once
	noRoom uint64
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
		if t, err := neighborTable(v6); err == nil {
			f.noRoom = t.NoRoom
		}
	})
}

// NeighborTables are those of IPv4 and IPv6, as far as the kernel has them.
func NeighborTables() []NeighborTable {
	var tables []NeighborTable
	for _, v6 := range []bool{false, true} {
		if t, err := neighborTable(v6); err == nil && t.Limit > 0 {
			tables = append(tables, t)
		}
	}
	return tables
}

// neighborTable asks for the table of a family in the thread's namespace, any one.
func neighborTable(v6 bool) (NeighborTable, error) {
	q, err := openRouteQuery(func(fn func() error) error { return fn() })
	if err != nil {
		return NeighborTable{}, err
	}
	defer q.close()
	return q.neighborTable(v6)
}

// neighborTable asks for the table of a family.
func (q routeQuery) neighborTable(v6 bool) (t NeighborTable, err error) {
	family := byte(unix.AF_INET)
	t.Setting = "net.ipv4.neigh.default.gc_thresh3"
	if v6 {
		family = unix.AF_INET6
		t.Setting = "net.ipv6.neigh.default.gc_thresh3"
	}
	answer, err := q.dump(unix.RTM_GETNEIGHTBL, []byte{family, 0, 0, 0})
	if err != nil || len(answer) < 4 {
		return t, errOr(err)
	}
	eachAttr(answer[4:], func(kind uint16, data []byte) {
		switch {
		case kind == ndtaThresh3 && len(data) >= 4:
			t.Limit = binary.NativeEndian.Uint32(data)
		case kind == ndtaConfig && len(data) >= 8:
			t.Entries = binary.NativeEndian.Uint32(data[4:])
		case kind == ndtaStats && len(data) >= 88:
			t.NoRoom = binary.NativeEndian.Uint64(data[80:])
		}
	})
	return t, nil
}

// overflow says, if a table has lost entries since the first probe, that it has.
func (q routeQuery) overflow(v6 bool) string {
	t, err := q.neighborTable(v6)
	lost := t.NoRoom - firstLook[tableOf(v6)].noRoom
	if err != nil || lost == 0 || t.NoRoom == 0 {
		return ""
	}
	return fmt.Sprintf("the machine's neighbour table, which all namespaces share, had no room %d times (%s is %d)", lost, t.Setting, t.Limit)
}
