package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Numbers of include/uapi/linux/if_bridge.h.
const (
	mdbSetEntry      = 1 // MDBA_SET_ENTRY
	mdbSetAttributes = 2 // MDBA_SET_ENTRY_ATTRS
	mdbSetSource     = 1 // MDBE_ATTR_SOURCE
	mdbMDB           = 1 // MDBA_MDB
	mdbEntry         = 1 // MDBA_MDB_ENTRY
	mdbEntryInfo     = 1 // MDBA_MDB_ENTRY_INFO
	mdbEntryTimer    = 1 // MDBA_MDB_EATTR_TIMER
	mdbEntrySource   = 4 // MDBA_MDB_EATTR_SOURCE

	sizeofMDBEntry = 28 // struct br_mdb_entry
)

// MDBEntry is an entry of a bridge's multicast database (bridge(8), "bridge mdb"):
// a group that is wanted on a port, or by the bridge itself.
type MDBEntry struct {
	Bridge, Port *Link
	Group        netip.Addr       // or
	MAC          net.HardwareAddr // a link-layer group
	Source       netip.Addr       // the only one that is wanted (IGMPv3, MLDv2); or none
	VLAN         int              // 0 for none
	Permanent    bool             // else it ends when no report comes (RFC 4541)
	Timer        time.Duration    // until then
}

func (e *MDBEntry) group() string {
	if e.Group.IsValid() {
		return e.Group.String()
	}
	return e.MAC.String()
}

func (e *MDBEntry) state() string {
	if e.Permanent {
		return "permanent"
	}
	return "temp"
}

func (e *MDBEntry) args() []event.Arg {
	args := []event.Arg{arg("dev", e.Bridge.name), arg("port", e.Port.name), arg("grp", e.group())}
	if e.Source.IsValid() {
		args = append(args, arg("src", e.Source.String()))
	}
	args = append(args, arg(e.state(), ""))
	if e.VLAN != 0 {
		args = append(args, arg("vid", strconv.Itoa(e.VLAN)))
	}
	return args
}

func (e *MDBEntry) String() string {
	var words []string
	for _, a := range e.args() {
		words = append(words, strings.TrimSpace(a.Key+" "+a.Value))
	}
	return strings.Join(words, " ")
}

func (e *MDBEntry) message(kind, flags int) *nl.NetlinkRequest {
	r := request(kind, flags)
	r.AddRawData(vlanHead(e.Bridge.index)) // struct br_port_msg is alike
	entry := binary.NativeEndian.AppendUint32(nil, uint32(e.Port.index))
	entry = append(entry, byte(bit(e.Permanent)), 0)
	entry = binary.NativeEndian.AppendUint16(entry, uint16(e.VLAN))
	address, proto := []byte(e.MAC), 0
	switch {
	case e.Group.Is4():
		address, proto = e.Group.AsSlice(), unix.ETH_P_IP
	case e.Group.Is6():
		address, proto = e.Group.AsSlice(), unix.ETH_P_IPV6
	}
	entry = append(append(entry, address...), make([]byte, 16-len(address))...)
	entry = append(binary.BigEndian.AppendUint16(entry, uint16(proto)), 0, 0)
	r.RawData = append(r.RawData, nl.NewRtAttr(mdbSetEntry, entry).Serialize()...)
	if e.Source.IsValid() {
		more := nl.NewRtAttr(mdbSetAttributes|unix.NLA_F_NESTED, nil)
		more.AddRtAttr(mdbSetSource, e.Source.AsSlice())
		r.RawData = append(r.RawData, more.Serialize()...)
	}
	return r
}

// sameEntry tells whether two are one to the kernel. One without a VLAN stands for
// one in each VLAN of the port.
func (e *MDBEntry) sameEntry(o *MDBEntry) bool {
	return e.Bridge == o.Bridge && e.Port == o.Port && e.group() == o.group() && e.Source == o.Source && (e.VLAN == 0 || e.VLAN == o.VLAN)
}

// AddMDB makes an entry for a group that is wanted behind a port, or by the
// bridge itself, as `bridge mdb add` does. With exist, one that is there and equal
// is as good.
func (k *Link) AddMDB(ctx context.Context, e MDBEntry, exist bool) (*MDBEntry, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	e.Port, e.Bridge = k, k
	if !k.isBridge() {
		var err error
		if e.Bridge, err = k.Master(); err != nil {
			return nil, err
		}
		if e.Bridge == nil || !e.Bridge.isBridge() {
			return nil, Usage("it takes a bridge, or a port of one", "%s is no port of a bridge", k)
		}
	}
	if exist {
		if there, err := e.existing(); there != nil || err != nil {
			return there, err
		}
	}
	start := time.Now()
	err := k.ns.conn.do(e.message(unix.RTM_NEWMDB, unix.NLM_F_CREATE|unix.NLM_F_EXCL))
	k.ns.lab.emit(ctx, "mdb add", k.ns, start, err, e.args()...)
	if err != nil {
		return nil, e.error(err)
	}
	k.ns.lab.claim(e.key())
	k.ns.lab.onUndo(e.remove)
	return &e, nil
}

// existing is the entry that is there already; an error when it differs.
func (e *MDBEntry) existing() (*MDBEntry, error) {
	all, err := e.Bridge.MDB()
	if err != nil {
		return nil, err
	}
	for _, there := range all {
		if !e.sameEntry(there) {
			continue
		}
		if there.Permanent != e.Permanent {
			return nil, Usage("delete it first, or ask for what it is", "%s is there, but its state is %s, not %s", there, there.state(), e.state())
		}
		return there, nil
	}
	return nil, nil
}

// error explains why the kernel did not take an entry (br_mdb_add in
// net/bridge/br_mdb.c).
func (e *MDBEntry) error(err error) error {
	hint := ""
	info, _ := e.Bridge.Info()
	switch {
	case errors.Is(err, unix.EEXIST):
		hint = "exist=True takes the one that is there"
	case info == nil:
	case !info.Up():
		hint = "up(bridge) first: a bridge has groups while it is up"
	case info.Options["mcast_snooping"] == false:
		hint = "the bridge does no multicast snooping (mcast_snooping=False)"
	}
	return e.Port.failed(err, hint, "add group %s to %s", e.group(), e.Port)
}

// Delete takes the entry away.
func (e *MDBEntry) Delete(ctx context.Context) error {
	if err := e.Port.check(); err != nil {
		return err
	}
	if err := e.Port.ns.lab.mayDelete(e.key(), e); err != nil {
		return err
	}
	if err := e.remove(ctx); err != nil {
		return err
	}
	e.Port.ns.lab.onUndo(func(ctx context.Context) error {
		_, err := e.Port.AddMDB(ctx, *e, false)
		return err
	})
	return nil
}

func (e *MDBEntry) remove(ctx context.Context) error {
	k := e.Port
	start := time.Now()
	err := k.ns.conn.do(e.message(unix.RTM_DELMDB, 0))
	k.ns.lab.emit(ctx, "mdb delete", k.ns, start, err, e.args()...)
	if err != nil {
		return k.failed(err, "", "delete group %s of %s", e.group(), k)
	}
	return nil
}

func (e *MDBEntry) key() string {
	return fmt.Sprintf("mdb %v %d %s %v %d", e.Port.ns.id, e.Port.index, e.group(), e.Source, e.VLAN)
}

// MDB lists the multicast database of a bridge.
func (k *Link) MDB() ([]*MDBEntry, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	tables, err := k.entries(unix.RTM_GETMDB, vlanHead(0), mdbMDB)
	if errors.Is(err, unix.EOPNOTSUPP) {
		return nil, nil // it snoops no multicast (CONFIG_BRIDGE_IGMP_SNOOPING)
	}
	if err != nil {
		return nil, kernelError(err, "", "list the groups of %s", k)
	}
	var all []*MDBEntry
	for _, table := range tables {
		for kind, entry := range attributes(table) {
			if kind == mdbEntry {
				all = append(all, k.parseMDB(entry)...)
			}
		}
	}
	return all, nil
}

// parseMDB reads an MDBA_MDB_ENTRY: a group, once for each of its ports.
func (k *Link) parseMDB(entry []byte) (all []*MDBEntry) {
	for kind, b := range attributes(entry) {
		if kind != mdbEntryInfo || len(b) < sizeofMDBEntry {
			continue
		}
		e := &MDBEntry{Bridge: k, Port: k.ns.linkAt(int(u32(b))), Permanent: b[4] == 1, VLAN: u16(b[6:])}
		switch binary.BigEndian.Uint16(b[24:]) {
		case unix.ETH_P_IP:
			e.Group, _ = netip.AddrFromSlice(b[8:12])
		case unix.ETH_P_IPV6:
			e.Group, _ = netip.AddrFromSlice(b[8:24])
		default:
			e.MAC = net.HardwareAddr(append([]byte(nil), b[8:14]...))
		}
		for kind, v := range attributes(b[sizeofMDBEntry:]) {
			switch kind {
			case mdbEntryTimer:
				e.Timer = time.Duration(u32(v)) * userHZ
			case mdbEntrySource:
				e.Source, _ = netip.AddrFromSlice(v)
			}
		}
		if e.Port != nil {
			all = append(all, e)
		}
	}
	return all
}
