package lab

import (
	"context"
	"maps"
	"math"
	"strconv"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// commonKind are the options that links of every kind have, beside those of
// LinkChange (ip-link(8), "ip link set"): attributes of the link itself.
var commonKind = sync.OnceValue(func() *Kind {
	return &Kind{Name: "link", Options: []*Option{
		{Name: "addrgenmode", Doc: "how the kernel makes IPv6 addresses: eui64, none, stable_secret or random", attr: unix.IFLA_AF_SPEC, Value: AddrGenMode{}},
		{Name: "broadcast", Doc: "the MAC address of all", attr: unix.IFLA_BROADCAST, Value: MAC{Group: true}},
		{Name: "gso_max_size", Doc: "in bytes, of what is given to the link to segment", attr: unix.IFLA_GSO_MAX_SIZE, Value: Number{Size: 4, Min: 0, Max: 524280}},
		{Name: "gso_max_segs", Doc: "how many segments it makes of that", attr: unix.IFLA_GSO_MAX_SEGS, Value: Number{Size: 4, Min: 0, Max: math.MaxUint16}},
		{Name: "gro_max_size", Doc: "in bytes, of what is put together when receiving", attr: unix.IFLA_GRO_MAX_SIZE, Value: Number{Size: 4, Min: 0, Max: 524280}},
		{Name: "protodown", Doc: "a protocol wants the link to be down", attr: unix.IFLA_PROTO_DOWN, Value: Switch{1, offOn, false}},
		{Name: "protodown_reason", Doc: "why, one bit at a time, like {3: True}: protodown stays as long as one is set", attr: unix.IFLA_PROTO_DOWN_REASON, Value: ProtoDownReason{}},
		{Name: "carrier", Doc: "whether a dummy or its like has a carrier", attr: unix.IFLA_CARRIER, Value: Switch{1, offOn, false}},
	}}
})

// CommonKinds have the options that links of every kind have.
func CommonKinds() []*Kind { return []*Kind{commonKind(), tokenKind()} }

// isCommon tells whether a kind's options are attributes of the link itself.
func (k *Kind) isCommon() bool { return k == commonKind() || k == tokenKind() }

// addrGenModes are in the kernel's order (enum in6_addr_gen_mode).
var addrGenModes = Word{Size: 1, Words: []string{"eui64", "none", "stable_secret", "random"}}

// AddrGenMode is how the kernel makes a link's IPv6 addresses (string).
type AddrGenMode struct{}

func (AddrGenMode) attributes(attr int, v any) []*nl.RtAttr {
	mode := addrGenModes.attributes(unix.IFLA_INET6_ADDR_GEN_MODE, v)
	return []*nl.RtAttr{nest(attr, nest(unix.AF_INET6, mode...))}
}

func (AddrGenMode) read(b []byte) any {
	for family, spec := range attributes(b) {
		for kind, v := range attributes(spec) {
			if family == unix.AF_INET6 && kind == unix.IFLA_INET6_ADDR_GEN_MODE {
				return addrGenModes.read(v)
			}
		}
	}
	return nil
}

func (AddrGenMode) check(v any) error { return addrGenModes.check(v) }

func (AddrGenMode) words(v any) ([]string, bool) { return addrGenModes.words(v) }

// back sets the old one back, which is there among others that are only told.
func (m AddrGenMode) back(o Chosen, before []*nl.RtAttr) []*nl.RtAttr {
	v := m.read(dataOf(before, o.attr))
	if v == nil {
		return nil
	}
	return m.attributes(o.attr, v)
}

// ProtoDownReason are bits by which programs say why they want a link to be down
// (map[int]bool). The kernel only refuses to end protodown while one is set.
type ProtoDownReason struct{}

func (ProtoDownReason) attributes(attr int, v any) []*nl.RtAttr {
	var mask, value uint32
	for n, set := range v.(map[int]bool) {
		mask |= 1 << n
		if set {
			value |= 1 << n
		}
	}
	return []*nl.RtAttr{protoDownReason(attr, mask, value)}
}

func protoDownReason(attr int, mask, value uint32) *nl.RtAttr {
	return nest(attr, nl.NewRtAttr(unix.IFLA_PROTO_DOWN_REASON_MASK, nl.Uint32Attr(mask)),
		nl.NewRtAttr(unix.IFLA_PROTO_DOWN_REASON_VALUE, nl.Uint32Attr(value)))
}

// read has those that are set.
func (ProtoDownReason) read(b []byte) any {
	set := map[int]bool{}
	for n := range 32 {
		if protoDownBits(b)&(1<<n) != 0 {
			set[n] = true
		}
	}
	return set
}

func protoDownBits(b []byte) uint32 {
	for kind, v := range attributes(b) {
		if kind == unix.IFLA_PROTO_DOWN_REASON_VALUE && len(v) >= 4 {
			return u32(v)
		}
	}
	return 0
}

// check refuses several at once, which `ip` has no words for.
func (ProtoDownReason) check(v any) error {
	reasons := v.(map[int]bool)
	if len(reasons) != 1 {
		return Usage("like {3: True}", "one reason at a time, not %d", len(reasons))
	}
	for n := range reasons {
		if n < 0 || n > 31 {
			return Usage("it is a bit from 0 to 31, like {3: True}", "reason %d is out of range", n)
		}
	}
	return nil
}

func (ProtoDownReason) words(v any) ([]string, bool) {
	for n, set := range v.(map[int]bool) {
		return []string{strconv.Itoa(n), onOff(set)}, true
	}
	return nil, false
}

func (ProtoDownReason) back(o Chosen, before []*nl.RtAttr) []*nl.RtAttr {
	return []*nl.RtAttr{protoDownReason(o.attr, math.MaxUint32, protoDownBits(dataOf(before, o.attr)))}
}

// Words are the words that it takes.
func (AddrGenMode) Words() []string { return addrGenModes.Words }

// waits takes "up" away from a birth that is followed by a change, which the link is
// to have when it comes up, and tells whether it was there.
func (s *LinkSpec) waits() (up bool) {
	if s.More.isEmpty() {
		return false
	}
	up, s.Up = s.Up, false
	return up
}

func (c *LinkChange) isEmpty() bool {
	_, args := c.request(0)
	return len(args)+len(c.Options) == 0 && c.AltName == nil
}

// finish makes the changes that follow the birth.
func (k *Link) finish(ctx context.Context, s *LinkSpec, up bool) error {
	if s.More.isEmpty() {
		return nil
	}
	if err := k.Set(ctx, s.More); err != nil || !up {
		return err
	}
	return k.SetUp(ctx, true)
}

// Common are the values of the options that links of every kind have.
func (i *LinkInfo) Common() map[string]any {
	values := map[string]any{}
	for _, k := range CommonKinds() {
		maps.Copy(values, k.read(i.all))
	}
	return values
}
