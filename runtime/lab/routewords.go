package lab

import (
	"fmt"
	"math"
	"net/netip"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// DstString is the destination as `ip` prints it: "default" for all.
func (r *Route) DstString() string {
	switch {
	case r.Label != nil:
		return r.Label.String()
	case r.Dst.Bits() == 0:
		return "default"
	case r.Dst.IsSingleIP():
		return r.Dst.Addr().String()
	}
	return r.Dst.String()
}

// FromString is the subnet of the packets that the route is for, as `ip` writes it; ""
// for all.
func (r *Route) FromString() string {
	if r.From.IsSingleIP() {
		return r.From.Addr().String()
	}
	if r.From.IsValid() {
		return r.From.String()
	}
	return ""
}

// words calls add with the arguments of `ip route add` that come after what says
// where to.
func (r *Route) words(add func(key, value string)) {
	if r.From.IsValid() {
		add("from", r.FromString())
	}
	if r.TOS != 0 {
		add("tos", fmt.Sprintf("%#02x", r.TOS))
	}
	if r.Nexthop != 0 {
		add("nhid", strconv.Itoa(r.Nexthop))
	}
	if r.NewDst != nil {
		add("as", r.NewDst.String())
	}
	if r.Encap != nil && r.Nexthop == 0 {
		add("encap", r.Encap.ip)
	}
	if r.Via.IsValid() && r.Nexthop == 0 {
		add("via", viaWords(r.Via, r.family()))
	}
	if r.Dev != nil && r.Nexthop == 0 {
		add("dev", r.Dev.name)
	}
	if r.Src.IsValid() {
		add("src", r.Src.String())
	}
	if r.Metric != 0 {
		add("metric", strconv.Itoa(r.Metric))
	}
	if r.Table != unix.RT_TABLE_MAIN && r.Table != 0 {
		add("table", TableName(r.Table))
	}
	if r.Proto != unix.RTPROT_BOOT {
		add("proto", r.ProtoName())
	}
	if r.family() == unix.AF_INET {
		add("scope", ScopeName(r.Scope))
	}
	if r.Realms != 0 {
		add("realms", RealmsWords(r.Realms))
	}
	r.Metrics.each(add)
	if r.Pref != "" && r.Pref != "medium" {
		add("pref", r.Pref)
	}
	if r.TTLPropagate != nil {
		add("ttl-propagate", map[bool]string{true: "enabled", false: "disabled"}[*r.TTLPropagate])
	}
	if r.Expires != 0 && !r.Cloned {
		add("expires", strconv.Itoa(int(r.Expires.Seconds())))
	}
	if r.OnLink {
		add("onlink", "")
	}
	for _, h := range r.Hops {
		if r.Nexthop == 0 {
			add("nexthop", h.words(r.family()))
		}
	}
}

// args are the arguments of `ip route add`.
func (r *Route) args() []event.Arg {
	args := []event.Arg{arg("dst", r.DstString())}
	switch r.family() {
	case unix.AF_INET6:
		args = append(args, arg("family", "inet6"))
	case unix.AF_MPLS:
		args = append(args, arg("family", "mpls"))
	}
	if r.Type != unix.RTN_UNICAST {
		args = append(args, arg("type", r.TypeName()))
	}
	r.words(func(key, value string) { args = append(args, arg(key, value)) })
	return args
}

// goneArgs are those that tell `ip route del` which one. A program cannot be
// told again, nor how long the route had yet.
func (r *Route) goneArgs() []event.Arg {
	one := *r
	one.Expires = 0
	if one.Encap != nil && !one.Encap.tellsAll() {
		one.Encap = nil
	}
	return one.args()
}

// String is the route as `ip route` prints it.
func (r *Route) String() string {
	var w []string
	if r.Type != unix.RTN_UNICAST && r.Type != 0 {
		w = append(w, r.TypeName())
	}
	w = append(w, r.DstString())
	hop := 0
	r.words(func(key, value string) {
		if key == "scope" && r.Scope == unix.RT_SCOPE_UNIVERSE || key == "proto" && r.Proto == unix.RTPROT_UNSPEC {
			return
		}
		w = append(w, key)
		if value != "" {
			w = append(w, value)
		}
		if key == "nexthop" {
			w = append(w, shownRemarks(r.Hops[hop].flags)...)
			hop++
		}
	})
	return strings.Join(append(w, shownRemarks(r.flags)...), " ")
}

// RealmsWords are realms as `ip` writes them: "from/to", or the one of the
// destination.
func RealmsWords(realms uint32) string {
	if from := realms >> 16; from != 0 {
		return fmt.Sprintf("%d/%d", from, realms&0xffff)
	}
	return strconv.FormatUint(uint64(realms&0xffff), 10)
}

// ParseRealms is the inverse of [RealmsWords].
func ParseRealms(text string) (uint32, error) {
	from, to, both := strings.Cut(text, "/")
	if !both {
		from, to = "0", from
	}
	a, err1 := realm(from)
	b, err2 := realm(to)
	if err1 != nil || err2 != nil || b == 0 {
		return 0, Usage(`"10/20", or "20" for that of the destination; they are from 1 to 65535, or names of /etc/iproute2/rt_realms`, "%q are no realms", text)
	}
	return uint32(a<<16 | b), nil
}

func realm(word string) (uint64, error) {
	n, err := strconv.ParseUint(word, 0, 16)
	if err != nil {
		if named, ok := numberNamed("rt_realms", word, math.MaxUint16); ok {
			return uint64(named), nil
		}
	}
	return n, err
}

func viaWords(via netip.Addr, of int) string {
	switch {
	case family(via) == of:
		return via.String()
	case via.Is6():
		return "inet6 " + via.String()
	}
	return "inet " + via.String()
}

// words are a next hop as `ip route` takes it.
func (h *Hop) words(family int) string {
	var w []string
	if h.NewDst != nil {
		w = append(w, "as", h.NewDst.String())
	}
	if h.Via.IsValid() {
		w = append(w, "via", viaWords(h.Via, family))
	}
	if h.Dev != nil {
		w = append(w, "dev", h.Dev.name)
	}
	if family != unix.AF_MPLS {
		w = append(w, "weight", strconv.Itoa(max(h.Weight, 1)))
	}
	if h.Realms != 0 {
		w = append(w, "realms", RealmsWords(h.Realms))
	}
	if h.OnLink {
		w = append(w, "onlink")
	}
	if h.Encap != nil {
		w = append(w, "encap", h.Encap.ip)
	}
	return strings.Join(w, " ")
}
