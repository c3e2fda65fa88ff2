package lab

import (
	"encoding/binary"
	"net"
	"net/netip"
	"slices"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// LinkInfo is what the kernel says of a link at one moment.
type LinkInfo struct {
	Index    int
	Name     string
	Kind     string // "veth", "bridge" …; "loopback" for lo; "" for hardware
	MAC      net.HardwareAddr
	Hardware uint16 // ARPHRD_*
	MTU      int
	Flags    uint32 // IFF_*
	State    string // operational state as `ip` prints it, in lower case (RFC 2863)
	Carrier  bool
	Master   int // ifindex of the bridge, bond or VRF, or 0
	Parent   int // ifindex of the other end or lower link, or 0
	ParentNS int // the id of Parent's namespace, or -1 when it is this one
	Dev      int // ifindex, in ParentNS, of the link that carries a tunnel's packets, or 0
	Alias    string
	AltNames []string
	TxQLen   int
	Group    int
	Queues   int // transmit queues
	Promisc  bool
	Qdisc    string
	Stats    LinkStats
	// CarrierChanges counts how often the carrier came or went.
	CarrierChanges int
	Options        map[string]any // of the kind; int, bool, float64 (seconds), string or a list of these
	RxQueues       int
	all            []byte // the message's attributes, where it is kept
	// PortOptions are those of the port that it is of its master, a bond.
	PortOptions map[string]any
	// PortState is a bridge port's STP state (RFC 1493): "disabled",
	// "listening", "learning", "forwarding", "blocking"; "" for no port.
	PortState string
	PortKind  string // the kind of Master; "" for no port
}

// LinkStats are a link's counters, in the order of [StatNames].
type LinkStats []uint64

// StatNames are the counters of struct rtnl_link_stats64 (include/uapi/linux/if_link.h),
// in its order; those that a kernel does not have are not in a [LinkStats].
var StatNames = []string{"rx_packets", "tx_packets", "rx_bytes", "tx_bytes", "rx_errors", "tx_errors", "rx_dropped", "tx_dropped",
	"multicast", "collisions", "rx_length_errors", "rx_over_errors", "rx_crc_errors", "rx_frame_errors", "rx_fifo_errors",
	"rx_missed_errors", "tx_aborted_errors", "tx_carrier_errors", "tx_fifo_errors", "tx_heartbeat_errors", "tx_window_errors",
	"rx_compressed", "tx_compressed", "rx_nohandler", "rx_otherhost_dropped"}

// Up tells whether the link is administratively up.
func (i *LinkInfo) Up() bool { return i.Flags&unix.IFF_UP != 0 }

// Ethernet tells whether its packets have an Ethernet header.
func (i *LinkInfo) Ethernet() bool {
	return i.Hardware == unix.ARPHRD_ETHER || i.Hardware == unix.ARPHRD_LOOPBACK
}

// Address is the link-layer address as `ip` writes it: of a tunnel that has an IP
// address for one, that (ll_addr_n2a in iproute2's lib/ll_addr.c).
func (i *LinkInfo) Address() string {
	switch i.Hardware {
	case unix.ARPHRD_TUNNEL, unix.ARPHRD_TUNNEL6, unix.ARPHRD_SIT, unix.ARPHRD_IPGRE, unix.ARPHRD_IP6GRE:
		if ip, ok := netip.AddrFromSlice(i.MAC); ok {
			return ip.String()
		}
	}
	return i.MAC.String()
}

// Runs tells whether the layers above know of the carrier. A new link's state is
// "unknown" until they do; it stays so for the kinds that have no carrier (lo).
func (i *LinkInfo) Runs() bool {
	return i.State == "up" || i.State == "unknown" && i.Kind != "veth" && i.Kind != "bridge"
}

// operStates are the values of IFLA_OPERSTATE (include/uapi/linux/if.h).
var operStates = []string{"unknown", "notpresent", "down", "lowerlayerdown", "testing", "dormant", "up"}

var portStates = []string{"disabled", "listening", "learning", "forwarding", "blocking"}

// PortStates are the states of a bridge's port, for the spanning tree.
func PortStates() []string { return slices.Clone(portStates) }

func nameOf(names []string, i int) string {
	if i < len(names) {
		return names[i]
	}
	return "unknown"
}

// parseLink reads the body of an RTM_NEWLINK message.
func parseLink(body []byte) *LinkInfo {
	if len(body) < unix.SizeofIfInfomsg {
		return &LinkInfo{ParentNS: -1}
	}
	i := &LinkInfo{
		Index:    int(int32(binary.NativeEndian.Uint32(body[4:]))),
		Flags:    binary.NativeEndian.Uint32(body[8:]),
		Hardware: binary.NativeEndian.Uint16(body[2:]),
		ParentNS: -1,
	}
	if i.Hardware == unix.ARPHRD_LOOPBACK {
		i.Kind = "loopback"
	}
	for kind, v := range attributes(body[unix.SizeofIfInfomsg:]) {
		switch kind {
		case unix.IFLA_IFNAME:
			i.Name = cstring(v)
		case unix.IFLA_ADDRESS:
			i.MAC = net.HardwareAddr(append([]byte(nil), v...))
		case unix.IFLA_MTU:
			i.MTU = int(u32(v))
		case unix.IFLA_OPERSTATE:
			i.State = nameOf(operStates, u8(v))
		case unix.IFLA_CARRIER:
			i.Carrier = u8(v) == 1
		case unix.IFLA_MASTER:
			i.Master = int(u32(v))
		case unix.IFLA_LINK:
			i.Parent = int(u32(v))
		case unix.IFLA_LINK_NETNSID:
			i.ParentNS = int(int32(u32(v)))
		case unix.IFLA_IFALIAS:
			i.Alias = cstring(v)
		case unix.IFLA_TXQLEN:
			i.TxQLen = int(u32(v))
		case unix.IFLA_GROUP:
			i.Group = int(u32(v))
		case unix.IFLA_NUM_TX_QUEUES:
			i.Queues = int(u32(v))
		case unix.IFLA_NUM_RX_QUEUES:
			i.RxQueues = int(u32(v))
		case unix.IFLA_PROMISCUITY:
			i.Promisc = u32(v) > 0
		case unix.IFLA_QDISC:
			i.Qdisc = cstring(v)
		case unix.IFLA_STATS64:
			i.Stats = parseStats(v)
		case unix.IFLA_CARRIER_CHANGES:
			i.CarrierChanges = int(u32(v))
		case unix.IFLA_PROP_LIST:
			for kind, name := range attributes(v) {
				if kind == unix.IFLA_ALT_IFNAME {
					i.AltNames = append(i.AltNames, cstring(name))
				}
			}
		case unix.IFLA_LINKINFO:
			i.parseKind(v)
		}
	}
	return i
}

func (i *LinkInfo) parseKind(b []byte) {
	var data, portData []byte
	for kind, v := range attributes(b) {
		switch kind {
		case unix.IFLA_INFO_KIND:
			i.Kind = cstring(v)
		case unix.IFLA_INFO_DATA:
			data = v
		case unix.IFLA_INFO_SLAVE_KIND:
			i.PortKind = cstring(v)
		case unix.IFLA_INFO_SLAVE_DATA:
			portData = v
			if i.PortKind == "bridge" {
				for kind, v := range attributes(v) {
					if kind == nl.IFLA_BRPORT_STATE {
						i.PortState = nameOf(portStates, u8(v))
					}
				}
			}
		}
	}
	if k := portKindOf(i.PortKind); k != nil {
		i.PortOptions = k.read(portData)
	}
	if k := KindOf(i.Kind); k != nil && data != nil {
		i.Options = k.read(data)
		for kind, v := range attributes(data) {
			if k.lowerAttr != 0 && kind == k.lowerAttr {
				i.Dev = int(u32(v))
			}
		}
	}
}

func parseStats(b []byte) LinkStats {
	var stats LinkStats
	for ; len(b) >= 8 && len(stats) < len(StatNames); b = b[8:] {
		stats = append(stats, binary.NativeEndian.Uint64(b))
	}
	return stats
}

// flagNames are the IFF_ flags that `ip` prints between angle brackets, in its order.
var flagNames = []struct {
	bit  uint32
	name string
}{
	{unix.IFF_LOOPBACK, "LOOPBACK"}, {unix.IFF_BROADCAST, "BROADCAST"}, {unix.IFF_POINTOPOINT, "POINTOPOINT"},
	{unix.IFF_MULTICAST, "MULTICAST"}, {unix.IFF_NOARP, "NOARP"}, {unix.IFF_ALLMULTI, "ALLMULTI"},
	{unix.IFF_PROMISC, "PROMISC"}, {unix.IFF_MASTER, "MASTER"}, {unix.IFF_SLAVE, "SLAVE"},
	{unix.IFF_DEBUG, "DEBUG"}, {unix.IFF_DYNAMIC, "DYNAMIC"}, {unix.IFF_AUTOMEDIA, "AUTOMEDIA"},
	{unix.IFF_PORTSEL, "PORTSEL"}, {unix.IFF_NOTRAILERS, "NOTRAILERS"},
	{unix.IFF_UP, "UP"}, {unix.IFF_LOWER_UP, "LOWER_UP"}, {unix.IFF_DORMANT, "DORMANT"}, {unix.IFF_ECHO, "ECHO"},
}

// FlagNames lists the flags as `ip link` does (print_link_flags of iproute2).
func (i *LinkInfo) FlagNames() []string {
	var names []string
	if i.Up() && i.Flags&unix.IFF_RUNNING == 0 {
		names = append(names, "NO-CARRIER")
	}
	for _, f := range flagNames {
		if i.Flags&f.bit != 0 {
			names = append(names, f.name)
		}
	}
	return names
}

// Brief is the link's line in `ip -br link`.
func (i *LinkInfo) Brief(name string) []string {
	return []string{name, strings.ToUpper(i.State), i.Address(), "<" + strings.Join(i.FlagNames(), ",") + ">"}
}
