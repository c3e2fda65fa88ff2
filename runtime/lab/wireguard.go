package lab

import (
	"context"
	"crypto/ecdh"
	"encoding/base64"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// WGKey is a key of WireGuard: a private or public one of Curve25519, or one that
// both peers share.
type WGKey [32]byte

// ParseWGKey reads a key as wg(8) writes it.
func ParseWGKey(text string) (k WGKey, err error) {
	b, err := base64.StdEncoding.Strict().DecodeString(text)
	if err != nil || len(b) != len(k) {
		return k, errors.New("a key of WireGuard is 32 bytes in base64, which are 44 characters")
	}
	return WGKey(b), nil
}

func (k WGKey) String() string { return base64.StdEncoding.EncodeToString(k[:]) }

// IsZero tells whether there is none.
func (k WGKey) IsZero() bool { return k == WGKey{} }

// Public is the public key of a private one.
func (k WGKey) Public() WGKey {
	private, err := ecdh.X25519().NewPrivateKey(k[:])
	if err != nil {
		return WGKey{}
	}
	return WGKey(private.PublicKey().Bytes())
}

// NewWGKey draws a private key from the lab's seed.
func (l *Lab) NewWGKey() (k WGKey) {
	for i := 0; i < len(k); i += 8 {
		binary.LittleEndian.PutUint64(k[i:], l.rng.Uint64())
	}
	k[0] &= 248 // RFC 7748, section 5
	k[31] = k[31]&127 | 64
	return k
}

// WGPeer is a peer of a WireGuard link. In a change nil leaves a thing as it is.
type WGPeer struct {
	PublicKey    WGKey
	PresharedKey *WGKey         // zero for none
	Endpoint     netip.AddrPort // where it was last heard; or none
	AllowedIPs   []netip.Prefix // what it may send, and is sent; nil leaves them
	Keepalive    *time.Duration // in whole seconds; 0 for never

	// What is only read.
	LastHandshake    time.Time // zero for never
	RxBytes, TxBytes uint64
}

// WGChange is what `wg set` changes; nil leaves a thing as it is.
type WGChange struct {
	PrivateKey *WGKey // zero for none
	ListenPort *int   // 0 for any
	FwMark     *int   // of the encrypted packets; 0 for none
	Peers      []WGPeer
	Remove     []WGKey
	// Only removes the peers that are not in Peers.
	Only bool
}

// WGDevice is a WireGuard link's own state.
type WGDevice struct {
	PrivateKey, PublicKey WGKey // zero for none
	ListenPort, FwMark    int
	Peers                 []WGPeer
}

const wireguard = "wireguard"

// WireGuard asks the kernel for the link's state.
func (k *Link) WireGuard() (*WGDevice, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	d := &WGDevice{}
	err := k.ns.generic(wireguard, func(c *conn, family int) error {
		return c.dump(func() *nl.NetlinkRequest {
			r := genericRequest(family, unix.WG_CMD_GET_DEVICE, 0)
			r.AddData(nl.NewRtAttr(unix.WGDEVICE_A_IFINDEX, nl.Uint32Attr(uint32(k.index))))
			return r
		}, func() { *d = WGDevice{} }, func(body []byte) error {
			d.read(body[min(len(body), unix.GENL_HDRLEN):])
			return nil
		})
	})
	if err != nil {
		return nil, k.notWireGuard(err, "read %s", k)
	}
	return d, nil
}

// read adds what one message of a dump says: a peer with many addresses may go on
// in the next.
func (d *WGDevice) read(b []byte) {
	for kind, v := range attributes(b) {
		switch kind {
		case unix.WGDEVICE_A_PRIVATE_KEY:
			copy(d.PrivateKey[:], v)
		case unix.WGDEVICE_A_PUBLIC_KEY:
			copy(d.PublicKey[:], v)
		case unix.WGDEVICE_A_LISTEN_PORT:
			d.ListenPort = u16(v)
		case unix.WGDEVICE_A_FWMARK:
			d.FwMark = int(u32(v))
		case unix.WGDEVICE_A_PEERS:
			for _, p := range attributes(v) {
				peer := readWGPeer(p)
				if n := len(d.Peers); n > 0 && d.Peers[n-1].PublicKey == peer.PublicKey {
					d.Peers[n-1].AllowedIPs = append(d.Peers[n-1].AllowedIPs, peer.AllowedIPs...)
					continue
				}
				d.Peers = append(d.Peers, peer)
			}
		}
	}
}

func readWGPeer(b []byte) (p WGPeer) {
	p.PresharedKey, p.Keepalive, p.AllowedIPs = new(WGKey), new(time.Duration), []netip.Prefix{}
	for kind, v := range attributes(b) {
		switch kind {
		case unix.WGPEER_A_PUBLIC_KEY:
			copy(p.PublicKey[:], v)
		case unix.WGPEER_A_PRESHARED_KEY:
			copy(p.PresharedKey[:], v)
		case unix.WGPEER_A_ENDPOINT:
			p.Endpoint = readSockaddr(v)
		case unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL:
			*p.Keepalive = time.Duration(u16(v)) * time.Second
		case unix.WGPEER_A_LAST_HANDSHAKE_TIME: // struct __kernel_timespec
			if len(v) >= 16 && (u64(v) != 0 || u64(v[8:]) != 0) {
				p.LastHandshake = time.Unix(int64(u64(v)), int64(u64(v[8:])))
			}
		case unix.WGPEER_A_RX_BYTES:
			p.RxBytes = u64(v)
		case unix.WGPEER_A_TX_BYTES:
			p.TxBytes = u64(v)
		case unix.WGPEER_A_ALLOWEDIPS:
			for _, a := range attributes(v) {
				p.AllowedIPs = append(p.AllowedIPs, readAllowedIP(a))
			}
		}
	}
	return p
}

func readAllowedIP(b []byte) netip.Prefix {
	var ip netip.Addr
	bits := 0
	for kind, v := range attributes(b) {
		switch kind {
		case unix.WGALLOWEDIP_A_IPADDR:
			ip, _ = netip.AddrFromSlice(v)
		case unix.WGALLOWEDIP_A_CIDR_MASK:
			bits = u8(v)
		}
	}
	return netip.PrefixFrom(ip, bits)
}

// readSockaddr reads a struct sockaddr_in or sockaddr_in6.
func readSockaddr(b []byte) netip.AddrPort {
	switch {
	case len(b) >= unix.SizeofSockaddrInet6 && u16(b) == unix.AF_INET6:
		ip := netip.AddrFrom16([16]byte(b[8:24]))
		if zone := u32(b[24:]); zone != 0 {
			ip = ip.WithZone(strconv.Itoa(int(zone)))
		}
		return netip.AddrPortFrom(ip, uint16(be16(b[2:])))
	case len(b) >= unix.SizeofSockaddrInet4 && u16(b) == unix.AF_INET:
		return netip.AddrPortFrom(netip.AddrFrom4([4]byte(b[4:8])), uint16(be16(b[2:])))
	}
	return netip.AddrPort{}
}

// sockaddr is an address for the kernel; a zone is the name or the number of a
// link of the namespace.
func (ns *Namespace) sockaddr(a netip.AddrPort) ([]byte, error) {
	port := binary.BigEndian.AppendUint16(nil, a.Port())
	ip := a.Addr()
	if ip.Is4() {
		b := append(nl.Uint16Attr(unix.AF_INET), port...)
		return append(append(b, ip.AsSlice()...), make([]byte, 8)...), nil
	}
	zone, err := strconv.ParseUint(ip.Zone(), 10, 32)
	if err != nil && ip.Zone() != "" {
		index, err := ns.indexOf(ip.Zone())
		if err != nil {
			return nil, Usage("", "endpoint %s: there is no link %s%s", a, ip.Zone(), where(ns))
		}
		zone = uint64(index)
	}
	b := append(append(nl.Uint16Attr(unix.AF_INET6), port...), 0, 0, 0, 0)
	return append(append(b, ip.AsSlice()...), nl.Uint32Attr(uint32(zone))...), nil
}

// SetWireGuard changes the link's keys and peers, as `wg set` does, all or none.
func (k *Link) SetWireGuard(ctx context.Context, c WGChange) error {
	before, err := k.WireGuard()
	if err != nil {
		return err
	}
	if c.Only {
		c.Remove = append(c.Remove, before.without(c.Peers)...)
	}
	if err := k.checkWireGuard(c, before); err != nil {
		return err
	}
	if err := k.setWireGuard(ctx, c); err != nil {
		_ = k.restoreWireGuard(before)
		return k.notWireGuard(err, "set %s", k)
	}
	if k.isForeign() {
		k.ns.lab.onUndo(func(context.Context) error { return k.restoreWireGuard(before) })
	}
	return nil
}

// restoreWireGuard makes the link's state what it was; peers that stay keep their
// sessions.
func (k *Link) restoreWireGuard(before *WGDevice) error {
	now, err := k.WireGuard()
	if err != nil {
		return err
	}
	c := WGChange{PrivateKey: &before.PrivateKey, ListenPort: &before.ListenPort, FwMark: &before.FwMark, Peers: before.Peers}
	c.Remove = now.without(before.Peers)
	if err := k.putWireGuard(c); err != nil {
		return k.failed(err, "", "restore the keys and peers of %s", k)
	}
	return nil
}

// HasWireGuard tells whether the link has keys and peers already, which must then be
// as a change would make them; other peers are its own matter.
func (k *Link) HasWireGuard(c WGChange) (known bool, err error) {
	d, err := k.WireGuard()
	if err != nil || d.PrivateKey.IsZero() && len(d.Peers) == 0 {
		return false, err
	}
	asked, there := c.properties(d)
	diff := difference(asked, there)
	for _, p := range c.Peers {
		if diff == "" {
			diff = p.difference(d.Peers)
		}
	}
	if diff != "" {
		return true, Usage("wg_set() changes it", "%s is there, but %s", k, diff)
	}
	return true, nil
}

// properties are those of the change, but its peers, and what the device has of them.
func (c *WGChange) properties(d *WGDevice) (asked, there []event.Arg) {
	add := func(name, want, have string) {
		asked, there = append(asked, arg(name, want)), append(there, arg(name, have))
	}
	if c.PrivateKey != nil {
		add("public_key", c.PrivateKey.Public().String(), d.PrivateKey.Public().String())
	}
	if c.ListenPort != nil && *c.ListenPort != 0 {
		add("port", strconv.Itoa(*c.ListenPort), strconv.Itoa(d.ListenPort))
	}
	if c.FwMark != nil {
		add("fwmark", strconv.Itoa(*c.FwMark), strconv.Itoa(d.FwMark))
	}
	return asked, there
}

// difference says in what the peer of that key is not as asked for; "" when it is.
func (p WGPeer) difference(peers []WGPeer) string {
	i := slices.IndexFunc(peers, func(q WGPeer) bool { return q.PublicKey == p.PublicKey })
	if i < 0 {
		return "it has no peer " + p.PublicKey.String()
	}
	have := peers[i]
	sorted := func(list []netip.Prefix) string {
		return fmt.Sprint(slices.SortedFunc(slices.Values(list), func(a, b netip.Prefix) int { return strings.Compare(a.String(), b.String()) }))
	}
	what := ""
	switch {
	case p.PresharedKey != nil && *p.PresharedKey != *have.PresharedKey:
		what = "preshared_key is another"
	case p.Keepalive != nil && *p.Keepalive != *have.Keepalive:
		what = fmt.Sprintf("keepalive is %v, not %v", have.Keepalive, p.Keepalive)
	case p.Endpoint.IsValid() && p.Endpoint != have.Endpoint:
		what = fmt.Sprintf("endpoint is %v, not %v", have.Endpoint, p.Endpoint)
	case p.AllowedIPs != nil && sorted(p.AllowedIPs) != sorted(have.AllowedIPs):
		what = fmt.Sprintf("allowed_ips are %s, not %s", sorted(have.AllowedIPs), sorted(p.AllowedIPs))
	default:
		return ""
	}
	return "of peer " + p.PublicKey.String() + ", its " + what
}

// without are the peers that are none of some.
func (d *WGDevice) without(peers []WGPeer) (others []WGKey) {
	for _, p := range d.Peers {
		if !slices.ContainsFunc(peers, func(q WGPeer) bool { return q.PublicKey == p.PublicKey }) {
			others = append(others, p.PublicKey)
		}
	}
	return others
}

// checkWireGuard refuses what the kernel would pass over in silence: itself as a
// peer.
func (k *Link) checkWireGuard(c WGChange, before *WGDevice) error {
	own := before.PublicKey
	if c.PrivateKey != nil {
		own = c.PrivateKey.Public()
	}
	seen := map[WGKey]bool{}
	for _, p := range c.Peers {
		switch {
		case p.PublicKey == own && !own.IsZero():
			return Usage("a peer has the other end's public key", "%s cannot be a peer of itself", k)
		case seen[p.PublicKey]:
			return Usage("", "peer %s is given twice", p.PublicKey)
		}
		seen[p.PublicKey] = true
	}
	for _, key := range c.Remove {
		if !slices.ContainsFunc(before.Peers, func(p WGPeer) bool { return p.PublicKey == key }) {
			return Usage("", "%s has no peer %s", k, key)
		}
	}
	return nil
}

// setWireGuard changes the link itself and each peer by a message of its own, as
// explained by a command of its own: an attribute has at most 64 KiB.
func (k *Link) setWireGuard(ctx context.Context, c WGChange) error {
	parts := []WGChange{}
	if own := (WGChange{PrivateKey: c.PrivateKey, ListenPort: c.ListenPort, FwMark: c.FwMark}); len(own.args()) > 0 {
		parts = append(parts, own)
	}
	for _, key := range c.Remove {
		parts = append(parts, WGChange{Remove: []WGKey{key}})
	}
	for _, p := range c.Peers {
		parts = append(parts, WGChange{Peers: []WGPeer{p}})
	}
	for _, part := range parts {
		start := time.Now()
		err := k.putWireGuard(part)
		k.ns.lab.emit(ctx, "wg set", k.ns, start, err, append([]event.Arg{arg("dev", k.name)}, part.args()...)...)
		if err != nil {
			return err
		}
	}
	return nil
}

// args are the arguments of `wg set`.
func (c *WGChange) args() (args []event.Arg) {
	add := func(key, value string) { args = append(args, arg(key, value)) }
	if c.PrivateKey != nil {
		add("private-key", secret(*c.PrivateKey))
	}
	if c.ListenPort != nil {
		add("listen-port", strconv.Itoa(*c.ListenPort))
	}
	if c.FwMark != nil {
		add("fwmark", fmt.Sprintf("%#x", *c.FwMark))
	}
	for _, key := range c.Remove {
		add("peer", key.String())
		add("remove", "")
	}
	for _, p := range c.Peers {
		add("peer", p.PublicKey.String())
		if p.PresharedKey != nil {
			add("preshared-key", secret(*p.PresharedKey))
		}
		if p.Endpoint.IsValid() {
			add("endpoint", p.Endpoint.String())
		}
		if p.Keepalive != nil {
			add("persistent-keepalive", strconv.Itoa(int(*p.Keepalive/time.Second)))
		}
		if p.AllowedIPs != nil {
			var list []string
			for _, a := range p.AllowedIPs {
				list = append(list, a.String())
			}
			add("allowed-ips", strings.Join(list, ","))
		}
	}
	return args
}

// secret is a key, "" for none.
func secret(k WGKey) string {
	if k.IsZero() {
		return ""
	}
	return k.String()
}

// putWireGuard sends a change.
func (k *Link) putWireGuard(c WGChange) error {
	return k.ns.generic(wireguard, func(conn *conn, family int) error {
		r := genericRequest(family, unix.WG_CMD_SET_DEVICE, 0)
		add := func(kind int, data []byte) { r.AddData(nl.NewRtAttr(kind, data)) }
		add(unix.WGDEVICE_A_IFINDEX, nl.Uint32Attr(uint32(k.index)))
		if c.PrivateKey != nil {
			add(unix.WGDEVICE_A_PRIVATE_KEY, c.PrivateKey[:])
		}
		if c.ListenPort != nil {
			add(unix.WGDEVICE_A_LISTEN_PORT, nl.Uint16Attr(uint16(*c.ListenPort)))
		}
		if c.FwMark != nil {
			add(unix.WGDEVICE_A_FWMARK, nl.Uint32Attr(uint32(*c.FwMark)))
		}
		requests := []*nl.NetlinkRequest{r}
		for _, key := range c.Remove {
			peer := nest(0)
			peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, key[:])
			peer.AddRtAttr(unix.WGPEER_A_FLAGS, nl.Uint32Attr(unix.WGPEER_F_REMOVE_ME))
			requests = append(requests, k.peerRequest(family, peer))
		}
		for _, p := range c.Peers {
			peer, err := k.peerAttributes(p)
			if err != nil {
				return err
			}
			first := true
			for some := range slices.Chunk(p.AllowedIPs, mostAllowedIPs) {
				if !first {
					peer = nest(0)
					peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:])
				}
				first = false
				peer.AddChild(allowedIPs(some))
				requests = append(requests, k.peerRequest(family, peer))
			}
			if first {
				requests = append(requests, k.peerRequest(family, peer))
			}
		}
		for _, r := range requests {
			if err := conn.do(r); err != nil {
				return err
			}
		}
		return nil
	})
}

func (k *Link) peerRequest(family int, peer *nl.RtAttr) *nl.NetlinkRequest {
	r := genericRequest(family, unix.WG_CMD_SET_DEVICE, 0)
	r.AddData(nl.NewRtAttr(unix.WGDEVICE_A_IFINDEX, nl.Uint32Attr(uint32(k.index))))
	peers := nest(unix.WGDEVICE_A_PEERS)
	peers.AddChild(peer)
	r.AddData(peers)
	return r
}

func (k *Link) peerAttributes(p WGPeer) (*nl.RtAttr, error) {
	peer := nest(0)
	peer.AddRtAttr(unix.WGPEER_A_PUBLIC_KEY, p.PublicKey[:])
	if p.PresharedKey != nil {
		peer.AddRtAttr(unix.WGPEER_A_PRESHARED_KEY, p.PresharedKey[:])
	}
	if p.Endpoint.IsValid() {
		address, err := k.ns.sockaddr(p.Endpoint)
		if err != nil {
			return nil, err
		}
		peer.AddRtAttr(unix.WGPEER_A_ENDPOINT, address)
	}
	if p.Keepalive != nil {
		peer.AddRtAttr(unix.WGPEER_A_PERSISTENT_KEEPALIVE_INTERVAL, nl.Uint16Attr(uint16(*p.Keepalive/time.Second)))
	}
	if p.AllowedIPs != nil {
		peer.AddRtAttr(unix.WGPEER_A_FLAGS, nl.Uint32Attr(unix.WGPEER_F_REPLACE_ALLOWEDIPS))
	}
	return peer, nil
}

// mostAllowedIPs is how many addresses one message has room for: 64 KiB for 32
// bytes each.
const mostAllowedIPs = 1 << 10

func allowedIPs(prefixes []netip.Prefix) *nl.RtAttr {
	list := nest(unix.WGPEER_A_ALLOWEDIPS)
	for _, a := range prefixes {
		family := unix.AF_INET6
		if a.Addr().Is4() {
			family = unix.AF_INET
		}
		one := nest(0)
		one.AddRtAttr(unix.WGALLOWEDIP_A_FAMILY, nl.Uint16Attr(uint16(family)))
		one.AddRtAttr(unix.WGALLOWEDIP_A_IPADDR, a.Addr().AsSlice())
		one.AddRtAttr(unix.WGALLOWEDIP_A_CIDR_MASK, nl.Uint8Attr(uint8(a.Bits())))
		list.AddChild(one)
	}
	return list
}

// notWireGuard explains a refusal: the link is of another kind, or the kernel has
// no WireGuard at all.
func (k *Link) notWireGuard(err error, format string, args ...any) error {
	return k.notOfKind(wireguard, "WireGuard", err, format, args...)
}
