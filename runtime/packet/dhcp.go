package packet

import (
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"net/netip"
	"slices"
	"time"
)

// DHCP is a message of RFC 2131. Addresses that are 0.0.0.0 on the wire are invalid
// here.
type DHCP struct {
	Reply     bool   // BOOTREPLY, from a server
	XID       uint32 // of the transaction
	Secs      uint16 // since the client began
	Broadcast bool   // the client cannot receive unicast yet
	// The client's address that it has, that it is given, of the next server, of
	// the relay agent.
	CIAddr, YIAddr, SIAddr, GIAddr netip.Addr
	CHAddr                         MAC
	Options                        DHCPOptions
}

// DHCPOptions are options by their codes (RFC 2132), without pads and the end. A long
// one is in one piece (RFC 3396).
type DHCPOptions map[byte][]byte

// DHCPType is what a message is (RFC 2132, section 9.6).
type DHCPType byte

// The types of RFC 2131.
const (
	DHCPDiscover DHCPType = 1 + iota
	DHCPOffer
	DHCPRequest
	DHCPDecline
	DHCPAck
	DHCPNak
	DHCPRelease
	DHCPInform
)

var dhcpTypes = [...]string{DHCPDiscover: "discover", DHCPOffer: "offer", DHCPRequest: "request", DHCPDecline: "decline", DHCPAck: "ack", DHCPNak: "nak",
	DHCPRelease: "release", DHCPInform: "inform"}

func (t DHCPType) String() string {
	if int(t) < len(dhcpTypes) && dhcpTypes[t] != "" {
		return dhcpTypes[t]
	}
	return fmt.Sprintf("type %d", byte(t))
}

// Options of RFC 2132, and of RFC 3442.
const (
	DHCPSubnetMask      = 1
	DHCPRouter          = 3
	DHCPDNS             = 6
	DHCPHostName        = 12
	DHCPDomain          = 15
	DHCPMTU             = 26
	DHCPBroadcast       = 28
	DHCPRequestedIP     = 50
	DHCPLeaseTime       = 51
	dhcpOverload        = 52
	DHCPMessageType     = 53
	DHCPServerID        = 54
	DHCPParameters      = 55
	DHCPMessage         = 56
	DHCPRenewal         = 58
	DHCPRebinding       = 59
	DHCPClientID        = 61
	DHCPClasslessRoutes = 121
	dhcpPad, dhcpEnd    = 0, 255
)

const (
	dhcpFixed    = 236 // bytes before the magic cookie
	dhcpCookie   = 0x63825363
	dhcpLeast    = 300 // RFC 1542, section 2.1: relay agents drop what is shorter
	dhcpSname    = 44
	dhcpFile     = 108
	dhcpEthernet = 1
	dhcpFlag     = 0x8000
)

// ParseDHCP reads a message of an Ethernet client.
func ParseDHCP(b []byte) (*DHCP, error) {
	if len(b) < dhcpFixed+4 {
		return nil, fmt.Errorf("%d bytes are no DHCP message, which has %d at least", len(b), dhcpFixed+4)
	}
	if binary.BigEndian.Uint32(b[dhcpFixed:]) != dhcpCookie {
		return nil, errors.New("a BOOTP message without DHCP's magic cookie")
	}
	if b[0] != 1 && b[0] != 2 || b[1] != dhcpEthernet || b[2] != 6 {
		return nil, fmt.Errorf("op %d of hardware type %d with addresses of %d bytes, want Ethernet's", b[0], b[1], b[2])
	}
	m := &DHCP{Reply: b[0] == 2, XID: binary.BigEndian.Uint32(b[4:]), Secs: binary.BigEndian.Uint16(b[8:]),
		Broadcast: binary.BigEndian.Uint16(b[10:])&dhcpFlag != 0, CIAddr: dhcpAddr(b[12:]), YIAddr: dhcpAddr(b[16:]), SIAddr: dhcpAddr(b[20:]),
		GIAddr: dhcpAddr(b[24:]), CHAddr: MAC(b[28:34]), Options: DHCPOptions{}}
	if err := m.Options.parse(b[dhcpFixed+4:]); err != nil {
		return nil, err
	}
	return m, m.overloaded(b)
}

// overloaded reads the options that stand in the fields file and sname (RFC 2132,
// section 9.3), in this order (RFC 3396).
func (m *DHCP) overloaded(b []byte) error {
	over := m.Options[dhcpOverload]
	delete(m.Options, dhcpOverload)
	if len(over) != 1 {
		return nil
	}
	for _, part := range []struct {
		bit      byte
		from, to int
	}{{1, dhcpFile, dhcpFixed}, {2, dhcpSname, dhcpFile}} {
		if over[0]&part.bit == 0 {
			continue
		}
		if err := m.Options.parse(b[part.from:part.to]); err != nil {
			return err
		}
	}
	delete(m.Options, dhcpOverload)
	return nil
}

func dhcpAddr(b []byte) netip.Addr {
	ip := netip.AddrFrom4([4]byte(b[:4]))
	if ip.IsUnspecified() {
		return netip.Addr{}
	}
	return ip
}

// parse reads options until their end.
func (o DHCPOptions) parse(b []byte) error {
	for len(b) > 0 && b[0] != dhcpEnd {
		if b[0] == dhcpPad {
			b = b[1:]
			continue
		}
		if len(b) < 2 || len(b) < 2+int(b[1]) {
			return fmt.Errorf("option %d is longer than what is left of the message", b[0])
		}
		end := 2 + int(b[1])
		o[b[0]] = append(o[b[0]], b[2:end]...)
		if o[b[0]] == nil {
			o[b[0]] = []byte{}
		}
		b = b[end:]
	}
	return nil
}

// Bytes is the message as it goes over the wire: the type first among the options,
// and the others by their numbers.
func (m *DHCP) Bytes() []byte {
	b := make([]byte, dhcpFixed, dhcpLeast)
	b[0], b[1], b[2] = 1, dhcpEthernet, 6
	if m.Reply {
		b[0] = 2
	}
	binary.BigEndian.PutUint32(b[4:], m.XID)
	binary.BigEndian.PutUint16(b[8:], m.Secs)
	if m.Broadcast {
		binary.BigEndian.PutUint16(b[10:], dhcpFlag)
	}
	for at, ip := range map[int]netip.Addr{12: m.CIAddr, 16: m.YIAddr, 20: m.SIAddr, 24: m.GIAddr} {
		copy(b[at:], ip.AsSlice())
	}
	copy(b[28:], m.CHAddr[:])
	b = binary.BigEndian.AppendUint32(b, dhcpCookie)
	if kind, ok := m.Options[DHCPMessageType]; ok {
		b = appendDHCPOption(b, DHCPMessageType, kind)
	}
	for _, code := range slices.Sorted(maps.Keys(m.Options)) {
		if code != DHCPMessageType && code != dhcpPad && code != dhcpEnd {
			b = appendDHCPOption(b, code, m.Options[code])
		}
	}
	b = append(b, dhcpEnd)
	return append(b, make([]byte, max(0, dhcpLeast-len(b)))...)
}

// appendDHCPOption writes an option, in pieces when it is long (RFC 3396).
func appendDHCPOption(b []byte, code byte, data []byte) []byte {
	for len(data) > 255 {
		b = append(append(b, code, 255), data[:255]...)
		data = data[255:]
	}
	return append(append(b, code, byte(len(data))), data...)
}

// Type is what the message is; 0 when it does not say.
func (m *DHCP) Type() DHCPType {
	if v := m.Options[DHCPMessageType]; len(v) == 1 {
		return DHCPType(v[0])
	}
	return 0
}

// Addr is an option that is an address; invalid when it is none.
func (o DHCPOptions) Addr(code byte) netip.Addr {
	if v := o[code]; len(v) == 4 {
		return dhcpAddr(v)
	}
	return netip.Addr{}
}

// Addrs is an option that is a list of addresses.
func (o DHCPOptions) Addrs(code byte) (list []netip.Addr) {
	for v := o[code]; len(v) >= 4; v = v[4:] {
		list = append(list, netip.AddrFrom4([4]byte(v[:4])))
	}
	return list
}

// SetAddrs writes a list of addresses, unless it is empty.
func (o DHCPOptions) SetAddrs(code byte, list ...netip.Addr) {
	var b []byte
	for _, ip := range list {
		b = append(b, ip.AsSlice()...)
	}
	if b != nil {
		o[code] = b
	}
}

// DHCPInfinite is a time without an end (RFC 2131, section 3.3).
const DHCPInfinite = time.Duration(1<<32-1) * time.Second

// Time is an option that is a time in seconds; ok is false when it is none.
func (o DHCPOptions) Time(code byte) (d time.Duration, ok bool) {
	v := o[code]
	if len(v) != 4 {
		return 0, false
	}
	return time.Duration(binary.BigEndian.Uint32(v)) * time.Second, true
}

// SetTime writes a time, in whole seconds.
func (o DHCPOptions) SetTime(code byte, d time.Duration) {
	o[code] = binary.BigEndian.AppendUint32(nil, uint32(min(d, DHCPInfinite)/time.Second))
}

// Text is an option that is a text, without the NUL bytes that some send.
func (o DHCPOptions) Text(code byte) string {
	v := o[code]
	for len(v) > 0 && v[len(v)-1] == 0 {
		v = v[:len(v)-1]
	}
	return string(v)
}

// PrefixLen is the length of the subnet mask's prefix; ok is false without a mask of
// ones followed by zeros.
func (o DHCPOptions) PrefixLen() (bits int, ok bool) {
	v := o[DHCPSubnetMask]
	if len(v) != 4 {
		return 0, false
	}
	mask := binary.BigEndian.Uint32(v)
	for mask&(1<<31) != 0 {
		mask, bits = mask<<1, bits+1
	}
	return bits, mask == 0
}

// DHCPRoute is a static route (RFC 3442); its gateway is invalid for what is on the
// link.
type DHCPRoute struct {
	Dst netip.Prefix
	Via netip.Addr
}

// Routes are the classless static routes; those behind a malformed one are left out.
func (o DHCPOptions) Routes() (list []DHCPRoute) {
	for v := o[DHCPClasslessRoutes]; len(v) > 0; {
		bits := int(v[0])
		n := (bits + 7) / 8
		if bits > 32 || len(v) < 1+n+4 {
			break
		}
		var dst [4]byte
		copy(dst[:], v[1:1+n])
		list = append(list, DHCPRoute{netip.PrefixFrom(netip.AddrFrom4(dst), bits).Masked(), dhcpAddr(v[1+n:])})
		v = v[1+n+4:]
	}
	return list
}

// SetRoutes writes classless static routes, unless there are none.
func (o DHCPOptions) SetRoutes(list []DHCPRoute) {
	var b []byte
	for _, r := range list {
		dst, via := r.Dst.Masked().Addr().As4(), [4]byte{}
		if r.Via.IsValid() {
			via = r.Via.As4()
		}
		b = append(append(append(b, byte(r.Dst.Bits())), dst[:(r.Dst.Bits()+7)/8]...), via[:]...)
	}
	if b != nil {
		o[DHCPClasslessRoutes] = b
	}
}
