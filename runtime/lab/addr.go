package lab

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"math"
	"net"
	"net/netip"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// AddrSpec is an address to put on a link (ip-address(8)).
type AddrSpec struct {
	Prefix    netip.Prefix // the address and its prefix length
	Peer      netip.Prefix // the other end of a point-to-point link; or zero
	Broadcast netip.Addr   // none unless given, as `ip` does; ifconfig sets one
	Label     string
	Scope     int // RT_SCOPE_*, or -1 for `ip`'s choice: host for 127/8, else global
	NoDAD     bool
	Metric    int            // of the subnet's route; 0 for the kernel's choice
	Proto     int            // who made it (IFA_PROTO, since 5.18); 0 for nobody
	Flags     uint32         // IFA_F_* of AddrFlags, beside NoDAD
	Valid     *time.Duration // lifetimes, to the second; nil for ever
	Preferred *time.Duration // 0 makes it deprecated; nil for as long as it is valid
}

func (a AddrSpec) String() string { return a.Prefix.String() }

// args are the arguments of `ip addr add` on a link.
func (a AddrSpec) args(dev string) []event.Arg {
	args := []event.Arg{arg("address", a.Prefix.String()), arg("dev", dev)}
	add := func(key, value string) { args = append(args, arg(key, value)) }
	if a.Peer.IsValid() {
		add("peer", a.Peer.String())
	}
	if a.Broadcast.IsValid() {
		add("broadcast", a.Broadcast.String())
	}
	if a.Label != "" {
		add("label", a.Label)
	}
	if a.Scope >= 0 {
		add("scope", ScopeName(a.Scope))
	}
	if a.NoDAD {
		add("nodad", "")
	}
	for _, f := range addrFlags {
		if a.Flags&f.bit != 0 {
			add(f.name, "")
		}
	}
	if a.Metric != 0 {
		add("metric", strconv.Itoa(a.Metric))
	}
	if a.Proto != 0 {
		add("proto", strconv.Itoa(a.Proto))
	}
	if a.Valid != nil {
		add("valid_lft", strconv.FormatUint(uint64(lifetime(a.Valid)), 10))
	}
	if a.Preferred != nil {
		add("preferred_lft", strconv.FormatUint(uint64(lifetime(a.Preferred)), 10))
	}
	return args
}

// Address is what the kernel says of an address at one moment.
type Address struct {
	IP        netip.Addr
	PrefixLen int
	Link      *Link
	Scope     int
	Peer      netip.Addr
	Broadcast netip.Addr
	Label     string
	Metric    int      // of the subnet's route; 0 where that is not said
	Proto     int      // IFA_PROTO, who made it; 0 for nobody
	Flags     []string // as `ip` prints them: "tentative", "dynamic", "nodad" …
	Valid     uint32   // seconds left; 2^32-1 for ever
	Preferred uint32
}

// Prefix is the address with its prefix length.
func (a *Address) Prefix() netip.Prefix { return netip.PrefixFrom(a.IP, a.PrefixLen) }

func family(ip netip.Addr) int {
	if ip.Is4() {
		return unix.AF_INET
	}
	return unix.AF_INET6
}

// scopeOf is the scope of an address where nobody says another: of IPv6 the kernel's
// (ipv6_addr_scope in include/net/ipv6.h and rt_scope in net/ipv6/addrconf.c), of IPv4
// that of `ip`.
func scopeOf(ip netip.Addr) int {
	switch {
	case ip.IsLoopback():
		return unix.RT_SCOPE_HOST
	case ip.Is6() && (ip.IsLinkLocalUnicast() || ip.IsLinkLocalMulticast()):
		return unix.RT_SCOPE_LINK
	case ip.Is6() && siteLocal.Contains(ip):
		return unix.RT_SCOPE_SITE
	}
	return unix.RT_SCOPE_UNIVERSE
}

// siteLocal are addresses that RFC 3879 deprecates.
var siteLocal = netip.MustParsePrefix("fec0::/10")

// newAddr builds an RTM_NEWADDR or RTM_DELADDR.
func newAddr(kind, flags, index int, a AddrSpec) *nl.NetlinkRequest {
	r := request(kind, flags)
	ip := a.Prefix.Addr()
	scope := a.Scope
	if scope < 0 {
		scope = scopeOf(ip)
	}
	r.AddRawData([]byte{byte(family(ip)), byte(a.Prefix.Bits()), 0, byte(scope)})
	r.RawData = binary.NativeEndian.AppendUint32(r.RawData, uint32(index))
	attrs := func(kind int, data []byte) { r.RawData = append(r.RawData, nl.NewRtAttr(kind, data).Serialize()...) }
	attrs(unix.IFA_LOCAL, ip.AsSlice())
	if a.Peer.IsValid() {
		r.RawData[1] = byte(a.Peer.Bits())
		attrs(unix.IFA_ADDRESS, a.Peer.Addr().AsSlice())
	} else {
		attrs(unix.IFA_ADDRESS, ip.AsSlice())
	}
	if a.Broadcast.IsValid() {
		attrs(unix.IFA_BROADCAST, a.Broadcast.AsSlice())
	}
	if a.Label != "" {
		attrs(unix.IFA_LABEL, nl.ZeroTerminated(a.Label))
	}
	bits := a.Flags
	if a.NoDAD {
		bits |= unix.IFA_F_NODAD
	}
	if bits != 0 {
		attrs(unix.IFA_FLAGS, nl.Uint32Attr(bits))
	}
	if a.Metric != 0 {
		attrs(unix.IFA_RT_PRIORITY, nl.Uint32Attr(uint32(a.Metric)))
	}
	if a.Proto != 0 {
		attrs(ifaProto, []byte{byte(a.Proto)})
	}
	if a.Valid != nil || a.Preferred != nil {
		info := make([]byte, unix.SizeofIfaCacheinfo)
		binary.NativeEndian.PutUint32(info, a.preferred())
		binary.NativeEndian.PutUint32(info[4:], lifetime(a.Valid))
		attrs(unix.IFA_CACHEINFO, info)
	}
	return r
}

// lifetime is d in the kernel's whole seconds, a part of one counted as one;
// 2^32-1 (INFINITY_LIFE_TIME) for nil.
func lifetime(d *time.Duration) uint32 {
	if d == nil {
		return math.MaxUint32
	}
	return uint32(min(int64(math.Ceil(d.Seconds())), math.MaxUint32))
}

// preferred is for how long the address is preferred.
func (a AddrSpec) preferred() uint32 {
	if a.Preferred == nil {
		return lifetime(a.Valid)
	}
	return lifetime(a.Preferred)
}

// addrWays are what says to the kernel how to put an address, by [Make].
var addrWays = map[Make]struct {
	flags int
	op    string
}{
	Add:     {unix.NLM_F_CREATE | unix.NLM_F_EXCL, "addr add"},
	Exist:   {unix.NLM_F_CREATE | unix.NLM_F_EXCL, "addr add"},
	Replace: {unix.NLM_F_CREATE | unix.NLM_F_REPLACE, "addr replace"},
}

// AddAddr puts an address on the link, as `ip addr add`, or replace does, which
// gives one that is there other lifetimes, flags and metric.
func (k *Link) AddAddr(ctx context.Context, a AddrSpec, how Make) (*Address, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	if err := a.check(k); err != nil {
		return nil, err
	}
	if how == Exist || how == Replace {
		if there, err := k.there(a, how); err != nil || there != nil {
			return there, err
		}
	}
	a = a.in(k.ns)
	way := addrWays[how]
	before := k.keepAddr(a, how)
	start := time.Now()
	requests := []*nl.NetlinkRequest{newAddr(unix.RTM_NEWADDR, way.flags, k.index, a)}
	if a.Prefix.Addr().Is6() { // of which the kernel echoes nothing
		requests = append(requests, getAddr(k.index, a.Prefix.Addr()))
	}
	body, err := k.ns.conn.echo(requests...)
	if !refusedFirst(err) {
		err = nil // it was made, and has gone since
	}
	k.ns.lab.emit(ctx, way.op, k.ns, start, err, a.args(k.name)...)
	if err != nil {
		return nil, k.failed(err, addrHint(err, a), "add address %s to %s", a, k)
	}
	k.ns.lab.unsettle(k)
	k.ns.lab.claim(k.addrKey(a.Prefix))
	k.ns.lab.onUndo(func(ctx context.Context) error {
		if before != nil {
			return k.ns.replay(unix.RTM_NEWADDR, unix.NLM_F_REPLACE, before)
		}
		return k.deleteAddr(ctx, a)
	})
	made, ok := parseAddr(body)
	if !ok {
		return k.addressOf(a), nil
	}
	made.Link = k
	return &made.Address, nil
}

// there is the address when it has the properties asked for, to take it for one to be
// made. With Replace it is nil, or the error of one that the kernel would not make so.
func (k *Link) there(a AddrSpec, how Make) (*Address, error) {
	addrs, err := k.ns.Addrs(k)
	if err != nil {
		return nil, err
	}
	asked := a
	asked.Valid, asked.Preferred = nil, nil // what is there has some of them left
	fixed := asked
	fixed.Metric, fixed.Proto = 0, 0
	for _, there := range addrs {
		if there.Prefix() != a.Prefix {
			continue
		}
		spec := there.spec()
		if d := difference(fixed.args(k.name), spec.args(k.name)); d != "" && a.Prefix.Addr().Is4() {
			return nil, Usage("delete it first: of an IPv4 address, replace=True changes the lifetimes, metric and proto only", "%s is there, but %s", spec, d)
		}
		if how == Replace {
			return nil, nil
		}
		if err := differs(spec, asked.args(k.name), spec.args(k.name)); err != nil {
			return nil, err
		}
		return there, differs(spec, a.lasting(lifetime(a.Valid), a.preferred()), a.lasting(there.Valid, there.Preferred))
	}
	return nil, nil
}

// lasting says of those lifetimes that the spec has whether they end: how much of one
// is left changes by itself.
func (a AddrSpec) lasting(valid, preferred uint32) (args []event.Arg) {
	ends := func(seconds uint32) string {
		switch seconds {
		case math.MaxUint32:
			return "forever"
		case 0:
			return "0"
		}
		return "limited"
	}
	if a.Valid != nil {
		args = append(args, arg("valid_lft", ends(valid)))
	}
	if a.Valid != nil || a.Preferred != nil {
		args = append(args, arg("preferred_lft", ends(preferred)))
	}
	return args
}

// keepAddr is the body of the machine's address that is about to be changed, or nil.
func (k *Link) keepAddr(a AddrSpec, how Make) []byte {
	if !k.ns.lab.options.Host || how != Replace {
		return nil
	}
	all, _ := k.ns.keptAddrs()
	for _, kept := range all {
		if kept.index == k.index && kept.Prefix() == a.Prefix {
			return kept.body
		}
	}
	return nil
}

// check refuses a label that the kernel or `ip` would, with advice.
func (a AddrSpec) check(k *Link) error {
	six := a.Prefix.Addr().Is6()
	for _, f := range addrFlags {
		if a.Flags&f.bit != 0 && f.six && !six {
			return Usage("", "add address %s to %s: %s= is of IPv6", a, k, f.name)
		}
	}
	switch {
	case a.Flags&unix.IFA_F_OPTIMISTIC != 0 && a.NoDAD:
		return Usage("", "add address %s to %s: nodad= and optimistic= exclude each other", a, k)
	case a.NoDAD && !six:
		return Usage("", "add address %s to %s: nodad= is of IPv6", a, k)
	case six && a.Label != "":
		return Usage("", "add address %s to %s: label= is of IPv4", a, k)
	case six && a.Scope >= 0 && a.Scope != scopeOf(a.Prefix.Addr()):
		return Usage("", "add address %s to %s: its scope is %s: that of an IPv6 address is in the address", a, k, ScopeName(scopeOf(a.Prefix.Addr())))
	case a.Peer.IsValid() && a.Peer.Addr().Is6() != six:
		return Usage("", "add address %s to %s: peer= %s is of the other family", a, k, a.Peer)
	case a.Label == "":
		return nil
	case len(a.Label) > maxLinkName:
		return Usage("", "add address %s to %s: label= has %d bytes; the kernel allows %d", a, k, len(a.Label), maxLinkName)
	case !strings.HasPrefix(a.Label, k.name):
		return Usage(fmt.Sprintf("a good one is label=%q", k.name+":1"), "add address %s to %s: label=%q does not begin with the link's name", a, k, a.Label)
	}
	return nil
}

// getAddr asks for one IPv6 address.
func getAddr(index int, ip netip.Addr) *nl.NetlinkRequest {
	r := request(unix.RTM_GETADDR, 0)
	msg := nl.NewIfAddrmsg(unix.AF_INET6)
	msg.Index = uint32(index)
	r.AddData(msg)
	r.AddData(nl.NewRtAttr(unix.IFA_LOCAL, ip.AsSlice()))
	return r
}

// in is the address as a namespace wants it: without duplicate address
// detection where the namespace goes without.
func (a AddrSpec) in(ns *Namespace) AddrSpec {
	if a.Prefix.Addr().Is6() && !ns.dad && a.Flags&unix.IFA_F_OPTIMISTIC == 0 {
		a.NoDAD = true
	}
	return a
}

func addrHint(err error, a AddrSpec) string {
	switch {
	case errors.Is(err, unix.EEXIST):
		return "the link has this address already: exist=True takes it, replace=True gives it other lifetimes"
	case kernelError(err, "", "").Words != "":
		return ""
	case errors.Is(err, unix.EACCES) && a.Prefix.Addr().Is6(), errors.Is(err, unix.EINVAL) && a.Prefix.Addr().Is6():
		return "is IPv6 switched off (sysctl net.ipv6.conf.*.disable_ipv6), or the link's MTU below 1280?"
	}
	return ""
}

// addressOf describes an address as it was asked for, where the kernel says
// nothing of it any more.
func (k *Link) addressOf(a AddrSpec) *Address {
	ip := a.Prefix.Addr()
	scope := a.Scope
	if scope < 0 {
		scope = scopeOf(ip)
	}
	found := &Address{IP: ip, PrefixLen: a.Prefix.Bits(), Link: k, Scope: scope, Peer: a.Peer.Addr(),
		Broadcast: a.Broadcast, Label: a.Label, Valid: lifetime(a.Valid), Preferred: a.preferred()}
	if found.Label == "" && ip.Is4() {
		found.Label = k.name
	}
	if found.Preferred == 0 {
		found.Flags = append(found.Flags, "deprecated")
	}
	if a.NoDAD {
		found.Flags = append(found.Flags, "nodad")
	}
	if found.Valid != math.MaxUint32 {
		found.Flags = append(found.Flags, "dynamic")
	}
	return found
}

func (k *Link) deleteAddr(ctx context.Context, a AddrSpec) error {
	if err := k.check(); err != nil {
		return err
	}
	start := time.Now()
	err := k.ns.conn.do(newAddr(unix.RTM_DELADDR, 0, k.index, a))
	k.ns.lab.emit(ctx, "addr delete", k.ns, start, err, a.args(k.name)...)
	if err != nil {
		return k.failed(err, "", "delete address %s of %s", a, k)
	}
	return nil
}

// Delete takes the address off its link.
func (a *Address) Delete(ctx context.Context) error {
	spec := AddrSpec{Prefix: a.Prefix(), Scope: -1}
	if a.Peer.IsValid() && a.Peer != a.IP {
		spec.Peer = netip.PrefixFrom(a.Peer, a.PrefixLen)
	}
	if err := a.Link.ns.lab.mayDelete(a.Link.addrKey(a.Prefix()), spec); err != nil {
		return err
	}
	var before kept
	if a.Link.ns.lab.options.Host {
		before = a.Link.ns.belongings().of(a.Link, true)
	}
	if err := a.Link.deleteAddr(ctx, spec); err != nil {
		return err
	}
	a.Link.ns.lab.onUndo(before.restore)
	return nil
}

// addrFlags are the IFA_F_ flags as `ip` prints them.
var addrFlags = []struct {
	bit  uint32
	name string
	six  bool // only of IPv6
}{
	{unix.IFA_F_SECONDARY, "secondary", false}, {unix.IFA_F_TENTATIVE, "tentative", true}, {unix.IFA_F_DEPRECATED, "deprecated", true},
	{unix.IFA_F_HOMEADDRESS, "home", true}, {unix.IFA_F_NODAD, "nodad", true}, {unix.IFA_F_MANAGETEMPADDR, "mngtmpaddr", true},
	{unix.IFA_F_OPTIMISTIC, "optimistic", true}, {unix.IFA_F_NOPREFIXROUTE, "noprefixroute", false}, {unix.IFA_F_MCAUTOJOIN, "autojoin", false},
	{unix.IFA_F_DADFAILED, "dadfailed", true}, {unix.IFA_F_STABLE_PRIVACY, "stable-privacy", true},
}

// AddrFlags are the flags that an address can be given beside nodad.
var AddrFlags = map[string]uint32{"home": unix.IFA_F_HOMEADDRESS, "mngtmpaddr": unix.IFA_F_MANAGETEMPADDR,
	"optimistic": unix.IFA_F_OPTIMISTIC, "noprefixroute": unix.IFA_F_NOPREFIXROUTE, "autojoin": unix.IFA_F_MCAUTOJOIN}

type rawAddr struct {
	Address
	index    int
	flags    uint32
	byKernel bool // made by the kernel itself, which will make it again
}

// parseAddr reads the body of an RTM_NEWADDR message.
func parseAddr(body []byte) (rawAddr, bool) {
	if len(body) < unix.SizeofIfAddrmsg {
		return rawAddr{}, false
	}
	a := rawAddr{index: int(u32(body[4:])), flags: uint32(body[2])}
	a.PrefixLen, a.Scope = int(body[1]), int(body[3])
	var address netip.Addr
	for kind, v := range attributes(body[unix.SizeofIfAddrmsg:]) {
		switch kind {
		case unix.IFA_LOCAL:
			a.IP, _ = netip.AddrFromSlice(v)
		case unix.IFA_ADDRESS:
			address, _ = netip.AddrFromSlice(v)
		case unix.IFA_BROADCAST:
			a.Broadcast, _ = netip.AddrFromSlice(v)
		case unix.IFA_LABEL:
			a.Label = cstring(v)
		case unix.IFA_FLAGS:
			a.flags = u32(v)
		case unix.IFA_CACHEINFO:
			if len(v) >= 8 {
				a.Preferred, a.Valid = u32(v), u32(v[4:])
			}
		case ifaProto: // since 5.18; values above 3 are users' own
			a.Proto = u8(v)
			a.byKernel = u8(v) > 0 && u8(v) <= ifaProtoKernelLL
		case unix.IFA_RT_PRIORITY:
			a.Metric = int(u32(v))
		}
	}
	switch {
	case !a.IP.IsValid(): // IPv6 without a peer has only IFA_ADDRESS
		a.IP = address
	case address != a.IP:
		a.Peer = address
	}
	for _, f := range addrFlags {
		if a.flags&f.bit != 0 {
			if f.bit == unix.IFA_F_SECONDARY && a.IP.Is6() {
				a.Flags = append(a.Flags, "temporary") // the same bit
				a.byKernel = true
				continue
			}
			a.Flags = append(a.Flags, f.name)
		}
	}
	if a.flags&unix.IFA_F_PERMANENT == 0 {
		a.Flags = append(a.Flags, "dynamic")
	}
	return a, a.IP.IsValid()
}

// Addrs lists addresses: of one link, or of all when only is nil.
func (ns *Namespace) Addrs(only *Link) ([]*Address, error) {
	raw, err := ns.rawAddrs(unix.AF_UNSPEC)
	if err != nil {
		return nil, kernelError(err, "", "list addresses%s", where(ns))
	}
	var all []*Address
	for i := range raw {
		a := &raw[i]
		if only != nil && a.index != only.index {
			continue
		}
		if a.Link = ns.linkAt(a.index); a.Link != nil {
			all = append(all, &a.Address)
		}
	}
	return all, nil
}

func (ns *Namespace) rawAddrs(family int) ([]rawAddr, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	var raw []rawAddr
	err := ns.conn.dump(func() *nl.NetlinkRequest {
		r := request(unix.RTM_GETADDR, 0)
		r.AddData(nl.NewIfAddrmsg(family))
		return r
	}, func() { raw = nil }, func(body []byte) error {
		if a, ok := parseAddr(body); ok {
			raw = append(raw, a)
		}
		return nil
	})
	return raw, err
}

// scopes are the names of /etc/iproute2/rt_scopes.
var scopes = map[string]int{
	"global": unix.RT_SCOPE_UNIVERSE, "universe": unix.RT_SCOPE_UNIVERSE, "site": unix.RT_SCOPE_SITE,
	"link": unix.RT_SCOPE_LINK, "host": unix.RT_SCOPE_HOST, "nowhere": unix.RT_SCOPE_NOWHERE,
}

// Scope returns the number of a scope by name ("global", "site", "link",
// "host", "nowhere").
func Scope(name string) (int, error) {
	if n, ok := scopes[name]; ok {
		return n, nil
	}
	if n, ok := numberNamed("rt_scopes", name, math.MaxUint8); ok {
		return n, nil
	}
	return 0, Usage(`scopes are "global", "site", "link", "host" and "nowhere"`, "%q is no scope", name)
}

// ScopeName is the inverse of [Scope].
func ScopeName(n int) string {
	switch n {
	case unix.RT_SCOPE_UNIVERSE:
		return "global"
	case unix.RT_SCOPE_SITE:
		return "site"
	case unix.RT_SCOPE_LINK:
		return "link"
	case unix.RT_SCOPE_HOST:
		return "host"
	case unix.RT_SCOPE_NOWHERE:
		return "nowhere"
	}
	return strconv.Itoa(n)
}

// BroadcastOf is the highest address of a subnet, for broadcast="+"; the zero
// Addr where there is none (IPv6, /31, /32).
func BroadcastOf(p netip.Prefix) netip.Addr {
	if !p.Addr().Is4() || p.Bits() > 30 {
		return netip.Addr{}
	}
	b := p.Addr().As4()
	mask := net.CIDRMask(p.Bits(), 32)
	for i := range b {
		b[i] |= ^mask[i]
	}
	return netip.AddrFrom4(b)
}

// LowestOf is the lowest address of a subnet, for broadcast="-"; the zero Addr where
// there is none.
func LowestOf(p netip.Prefix) netip.Addr {
	if !BroadcastOf(p).IsValid() {
		return netip.Addr{}
	}
	return p.Masked().Addr()
}
