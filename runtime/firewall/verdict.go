package firewall

import (
	"encoding/binary"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"

	"github.com/google/nftables/expr"
	"golang.org/x/sys/unix"
)

// Verdict is what a rule does with its packets.
type Verdict struct {
	// Name is accept, drop, reject, masquerade, snat, dnat or redirect.
	Name string
	// With is what reject answers, in nft's words; "" for port-unreachable.
	With string
	// To are the addresses that snat and dnat translate to.
	To Range
	// Ports are those that NAT translates to; none unless given.
	Ports Ports
	// Random, FullyRandom and Persistent are flags of NAT (nft(8), "NAT statements").
	Random, FullyRandom, Persistent bool
}

func (v *Verdict) nat() bool { return !slices.Contains([]string{"accept", "drop", "reject"}, v.Name) }

var limitWords = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^(over )?([1-9][0-9]{0,8})/(second|minute|hour|day|week)(?: burst ([1-9][0-9]{0,8})(?: packets)?)?$`)
})

var limitUnits = map[string]expr.LimitTime{"second": expr.LimitTimeSecond, "minute": expr.LimitTimeMinute, "hour": expr.LimitTimeHour,
	"day": expr.LimitTimeDay, "week": expr.LimitTimeWeek}

// limit is how many packets the rule takes.
func (r *Rule) limit(c *compiler) error {
	if r.Limit == "" {
		return nil
	}
	w := limitWords().FindStringSubmatch(r.Limit)
	if w == nil {
		return wrong(`limit: %q is no limit; a good one is "10/second", "over 100/minute" or "10/second burst 20"`, r.Limit)
	}
	rate, _ := strconv.Atoi(w[2])
	burst := 5 // nft's
	if w[4] != "" {
		burst, _ = strconv.Atoi(w[4])
	}
	c.say("limit rate", w[1]+w[2]+"/"+w[3])
	if w[4] != "" {
		c.say("burst", strconv.Itoa(burst), "packets")
	}
	c.add(&expr.Limit{Type: expr.LimitTypePkts, Rate: uint64(rate), Unit: limitUnits[w[3]], Burst: uint32(burst), Over: w[1] != ""})
	return nil
}

// maxPrefix is NF_LOG_PREFIXLEN without the byte that ends it.
const maxPrefix = 127

// log is a line in the kernel's log.
func (r *Rule) log(c *compiler) error {
	if !r.Log {
		return nil
	}
	if len(r.Prefix) > maxPrefix || strings.ContainsAny(r.Prefix, "\"\n") {
		return wrong("log: a prefix has at most %d bytes, and neither quotes nor line ends", maxPrefix)
	}
	e := &expr.Log{}
	c.say("log")
	if r.Prefix != "" {
		c.say("prefix", `"`+r.Prefix+`"`)
		e.Key, e.Data = 1<<unix.NFTA_LOG_PREFIX, []byte(r.Prefix)
	}
	c.add(e)
	return nil
}

// rejections are what a router answers (nft(8), "reject statement"): for both families
// the codes that they share.
var rejections = map[string]byte{"no-route": unix.NFT_REJECT_ICMPX_NO_ROUTE, "port-unreachable": unix.NFT_REJECT_ICMPX_PORT_UNREACH,
	"host-unreachable": unix.NFT_REJECT_ICMPX_HOST_UNREACH, "admin-prohibited": unix.NFT_REJECT_ICMPX_ADMIN_PROHIBITED}

func (v *Verdict) compile(c *compiler, r *Rule) error {
	switch v.Name {
	case "accept", "drop":
		kind := expr.VerdictAccept
		if v.Name == "drop" {
			kind = expr.VerdictDrop
		}
		c.say(v.Name)
		c.add(&expr.Verdict{Kind: kind})
		return nil
	case "reject":
		return v.reject(c, r)
	case "masquerade", "redirect":
		return v.here(c, r)
	}
	return v.translate(c, r)
}

func (v *Verdict) reject(c *compiler, r *Rule) error {
	switch code, known := rejections[v.With]; {
	case v.With == "" || v.With == "port-unreachable":
		c.say("reject")
		c.add(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: unix.NFT_REJECT_ICMPX_PORT_UNREACH})
	case v.With == "tcp reset":
		if !slices.Equal(r.Protocols, []string{"tcp"}) {
			return wrong(`reject_with: "tcp reset" answers TCP alone: add proto="tcp"`)
		}
		c.say("reject with tcp reset")
		c.add(&expr.Reject{Type: unix.NFT_REJECT_TCP_RST})
	case known:
		c.say("reject with icmpx", v.With)
		c.add(&expr.Reject{Type: unix.NFT_REJECT_ICMPX_UNREACH, Code: code})
	default:
		return wrong(`reject_with: %q is no answer; there are admin-prohibited host-unreachable no-route port-unreachable and "tcp reset"`, v.With)
	}
	return nil
}

// here translates to the address of the link that the packet leaves by (masquerade) or
// came in by (redirect).
func (v *Verdict) here(c *compiler, r *Rule) error {
	want := Postrouting
	if v.Name == "redirect" {
		want = Prerouting
	}
	if err := v.hook(r, want); err != nil {
		return err
	}
	c.say(v.Name)
	min, max, err := v.ports(c, r, 1)
	if err != nil {
		return err
	}
	if min != 0 {
		c.say("to", ":"+v.Ports.String())
	}
	flags := v.flags(c)
	if min != 0 && flags != 0 && v.Name == "masquerade" {
		return wrong("masquerade: ports and random=, fully_random= or persistent= exclude each other")
	}
	if v.Name == "redirect" {
		c.add(&expr.Redir{RegisterProtoMin: min, RegisterProtoMax: max, Flags: flags})
	} else {
		c.add(&expr.Masq{Random: v.Random, FullyRandom: v.FullyRandom, Persistent: v.Persistent, ToPorts: min != 0, RegProtoMin: min, RegProtoMax: max})
	}
	return nil
}

// translate is snat and dnat.
func (v *Verdict) translate(c *compiler, r *Rule) error {
	want, kind := Postrouting, expr.NATTypeSourceNAT
	if v.Name == "dnat" {
		want, kind = Prerouting, expr.NATTypeDestNAT
	}
	if err := v.hook(r, want); err != nil {
		return err
	}
	family, word, proto := familyOf(v.To.First), "ip", uint32(unix.NFPROTO_IPV4)
	if family == 6 {
		word, proto = "ip6", unix.NFPROTO_IPV6
	}
	// The kernel leaves packets of the other family alone (nft_nat_inet_eval).
	if err := c.restrict(family, "to "+v.To.First.String()); err != nil {
		return err
	}
	e := &expr.NAT{Type: kind, Family: proto, RegAddrMin: 1, Random: v.Random, FullyRandom: v.FullyRandom, Persistent: v.Persistent,
		Specified: !v.Ports.IsZero()}
	c.add(&expr.Immediate{Register: 1, Data: v.To.First.AsSlice()})
	last := uint32(1)
	to := v.To.First.String()
	if v.To.Last != v.To.First {
		c.add(&expr.Immediate{Register: 2, Data: v.To.Last.AsSlice()})
		e.RegAddrMax, last = 2, 2
		to += "-" + v.To.Last.String()
	}
	var err error
	if e.RegProtoMin, e.RegProtoMax, err = v.ports(c, r, last+1); err != nil {
		return err
	}
	if e.RegProtoMin != 0 {
		if family == 6 {
			to = "[" + v.To.First.String() + "]"
			if e.RegAddrMax != 0 {
				to += "-[" + v.To.Last.String() + "]"
			}
		}
		to += ":" + v.Ports.String()
	}
	c.say(v.Name, word, "to", to)
	v.flags(c)
	c.add(e)
	return nil
}

// hook refuses one where the kernel does no such translation (nft_nat.c).
func (v *Verdict) hook(r *Rule, want Hook) error {
	if r.Hook == want || want == Prerouting && r.Hook == Output {
		return nil
	}
	return wrong("hook: %s is done at %s, not at %s", v.Name, want, r.Hook)
}

// ports loads the ports to translate to into the registers from the given one on.
func (v *Verdict) ports(c *compiler, r *Rule, register uint32) (min, max uint32, err error) {
	if v.Ports.IsZero() {
		return 0, 0, nil
	}
	for _, p := range r.Protocols {
		if !slices.Contains(ported, p) {
			return 0, 0, wrong("proto: %s has no ports", p)
		}
	}
	if len(r.Protocols) == 0 {
		return 0, 0, wrong(`to: a port needs a protocol that has some, like proto="tcp"`)
	}
	c.add(&expr.Immediate{Register: register, Data: binary.BigEndian.AppendUint16(nil, v.Ports.First)})
	if v.Ports.Last == v.Ports.First {
		return register, 0, nil
	}
	c.add(&expr.Immediate{Register: register + 1, Data: binary.BigEndian.AppendUint16(nil, v.Ports.Last)})
	return register, register + 1, nil
}

// flags says those of NAT, and returns them as NF_NAT_RANGE_*.
func (v *Verdict) flags(c *compiler) (bits uint32) {
	var words []string
	for _, f := range []struct {
		set  bool
		word string
		bit  uint32
	}{{v.Random, "random", unix.NF_NAT_RANGE_PROTO_RANDOM}, {v.FullyRandom, "fully-random", unix.NF_NAT_RANGE_PROTO_RANDOM_FULLY},
		{v.Persistent, "persistent", unix.NF_NAT_RANGE_PERSISTENT}} {
		if f.set {
			words, bits = append(words, f.word), bits|f.bit
		}
	}
	if words != nil {
		c.say(strings.Join(words, ","))
	}
	return bits
}
