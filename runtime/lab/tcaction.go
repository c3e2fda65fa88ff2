package lab

import (
	"encoding/binary"
	"math"
	"net/netip"
	"regexp"
	"strconv"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
)

// Actions of filters, in the words of tc-actions(8).

// verdicts are what becomes of a packet (TC_ACT_* of pkt_cls.h).
var verdicts = map[string]int32{"ok": 0, "pass": 0, "reclassify": 1, "drop": 2, "shot": 2, "pipe": 3, "stolen": 4, "continue": -1}

// action is an action as the kernel takes it.
type action struct {
	kind  string
	attrs []*nl.RtAttr
}

// actions are the attribute of a filter that has them.
func (k *Link) actions(attr int, texts []string) (*nl.RtAttr, error) {
	list := nl.NewRtAttr(attr, nil)
	for i, text := range texts {
		w := strings.Fields(text)
		if len(w) == 0 {
			return nil, Usage(`like "drop" or "mirred egress redirect dev ifb0"`, "an action is empty")
		}
		a, err := k.action(w)
		if err != nil {
			return nil, err
		}
		one := list.AddRtAttr(i+1, nil)
		one.AddRtAttr(1, nl.ZeroTerminated(a.kind)) // TCA_ACT_KIND
		options := one.AddRtAttr(2, nil)            // TCA_ACT_OPTIONS
		for _, x := range a.attrs {
			options.AddChild(x)
		}
	}
	return list, nil
}

// generic is the head that all actions have (tc_gen of pkt_cls.h).
func generic(verdict int32) []byte { return words32(0, 0, uint32(verdict), 0, 0) }

func (k *Link) action(w []string) (action, error) {
	if v, ok := verdicts[w[0]]; ok && len(w) == 1 {
		return action{"gact", []*nl.RtAttr{nl.NewRtAttr(2, generic(v))}}, nil
	}
	parse := map[string]func([]string) ([]*nl.RtAttr, error){"mirred": k.mirred, "police": police, "skbedit": skbedit, "pedit": pedit, "csum": csum}[w[0]]
	if parse == nil {
		return action{}, Usage("pass, drop, reclassify, pipe, mirred, police, skbedit, pedit or csum", "there is no action %q", strings.Join(w, " "))
	}
	attrs, err := parse(w[1:])
	return action{w[0], attrs}, err
}

// mirred sends the packet, or a copy, to another link: "egress redirect dev ifb0".
func (k *Link) mirred(w []string) ([]*nl.RtAttr, error) {
	text := strings.Join(w, " ")
	wrong := Usage(`like "mirred egress redirect dev ifb0"`, "mirred: %q makes no sense", text)
	if len(w) != 4 || w[2] != "dev" {
		return nil, wrong
	}
	kinds := map[string]uint32{"egress redirect": 1, "egress mirror": 2, "ingress redirect": 3, "ingress mirror": 4}
	kind := kinds[w[0]+" "+w[1]]
	if kind == 0 {
		return nil, wrong
	}
	to, err := k.ns.Link(w[3])
	if err != nil {
		return nil, err
	}
	if to == nil {
		return nil, Usage("it has to be in the namespace of "+k.name, "mirred: there is no link %q", w[3])
	}
	verdict := verdicts["stolen"]
	if w[1] == "mirror" {
		verdict = verdicts["pipe"]
	}
	return []*nl.RtAttr{nl.NewRtAttr(2, append(generic(verdict), words32(kind, uint32(to.index))...))}, nil
}

// rateUnits and sizeUnits are those of tc(8): of 1000 bits, and of 1024 bytes.
var (
	rateText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9.]+)([kmgt]?)(bit|bps)$`) })
	sizeText = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^([0-9.]+)([kmg]?)b?$`) })
	scales   = map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}
	binaries = map[string]float64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}
)

func parseRate(text string) (float64, bool) {
	m := rateText().FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	f *= scales[m[2]]
	if m[3] == "bps" {
		f *= 8
	}
	return f, err == nil && Rate{8}.check(f) == nil
}

func parseSize(text string) (int, bool) {
	m := sizeText().FindStringSubmatch(strings.ToLower(text))
	if m == nil {
		return 0, false
	}
	f, err := strconv.ParseFloat(m[1], 64)
	f *= binaries[m[2]]
	return int(f), err == nil && f == math.Trunc(f) && f <= math.MaxUint32
}

// police is a struct tc_police: "rate 1mbit burst 10k mtu 64kb drop".
func police(w []string) ([]*nl.RtAttr, error) {
	text := strings.Join(w, " ")
	wrong := func(word string) error {
		return Usage(`like "police rate 1mbit burst 10k drop"`, "police: %q in %q makes no sense", word, text)
	}
	var rate float64
	var burst, mtu int
	verdict := verdicts["reclassify"]
	for len(w) > 0 {
		ok, taken := true, 2
		value := ""
		if len(w) > 1 {
			value = w[1]
		}
		switch w[0] {
		case "rate":
			rate, ok = parseRate(value)
		case "burst", "buffer", "maxburst":
			burst, ok = parseSize(value)
		case "mtu", "minburst":
			mtu, ok = parseSize(value)
		case "conform-exceed":
			verdict, ok = verdicts[value]
		default:
			verdict, ok = verdicts[w[0]]
			taken = 1
		}
		if !ok {
			return nil, wrong(w[0])
		}
		w = w[taken:]
	}
	if rate == 0 || burst == 0 {
		return nil, Usage(`like "police rate 1mbit burst 10k drop"`, "police: it needs rate and burst")
	}
	perSecond := bytesPerSecond(rate)
	spec := rateSpec(perSecond, chosen{}, mtu)
	parms := append(words32(0, uint32(verdict), 0, xmitTime(perSecond, burst), uint32(mtu)), spec...)
	parms = append(append(parms, make([]byte, sizeofRateSpec)...), words32(0, 0, 0)...)
	var table []byte // of times, which the kernel wants although it reckons them itself
	for i := 1; i <= 256; i++ {
		table = append(table, nl.Uint32Attr(xmitTime(perSecond, i<<spec[0]))...)
	}
	list := []*nl.RtAttr{nl.NewRtAttr(1, parms), nl.NewRtAttr(2, table)}
	if perSecond > math.MaxUint32 {
		list = append(list, nl.NewRtAttr(8, nl.Uint64Attr(perSecond))) // TCA_POLICE_RATE64
	}
	return list, nil
}

// packetTypes are PACKET_* of if_packet.h.
var packetTypes = map[string]uint16{"host": 0, "broadcast": 1, "multicast": 2, "otherhost": 3}

// skbedit changes what the kernel notes of a packet: "priority 1:10 mark 7".
func skbedit(w []string) ([]*nl.RtAttr, error) {
	list := []*nl.RtAttr{nl.NewRtAttr(2, generic(verdicts["pipe"]))}
	text := strings.Join(w, " ")
	if len(w) == 0 || len(w)%2 != 0 {
		return nil, Usage(`like "skbedit priority 1:10 mark 7"`, "skbedit: %q makes no sense", text)
	}
	for ; len(w) > 0; w = w[2:] {
		n, err := strconv.ParseUint(w[1], 0, 32)
		class, classErr := parseTcHandle(w[1])
		kind, known := packetTypes[w[1]]
		switch {
		case w[0] == "priority" && classErr == nil:
			list = append(list, nl.NewRtAttr(3, nl.Uint32Attr(class)))
		case w[0] == "queue_mapping" && err == nil && n <= math.MaxUint16:
			list = append(list, nl.NewRtAttr(4, nl.Uint16Attr(uint16(n))))
		case w[0] == "mark" && err == nil:
			list = append(list, nl.NewRtAttr(5, nl.Uint32Attr(uint32(n))))
		case w[0] == "ptype" && known:
			list = append(list, nl.NewRtAttr(7, nl.Uint16Attr(kind)))
		default:
			return nil, Usage("priority, mark, queue_mapping and ptype", "skbedit: %q makes no sense", w[0]+" "+w[1])
		}
	}
	return list, nil
}

// pedit sets a field of the packet: "munge ip ttl set 5", "munge ip dst set 10.0.0.9",
// "munge offset 8 u8 set 5". The checksum is csum's to mend.
func pedit(w []string) ([]*nl.RtAttr, error) {
	text := strings.Join(w, " ")
	wrong := Usage(`like "pedit munge ip ttl set 5" or "pedit munge offset 8 u8 set 5"`, "pedit: %q makes no sense", text)
	var keys []u32Key
	for len(w) > 0 {
		switch {
		case len(w) >= 5 && w[0] == "munge" && w[1] == "ip" && w[3] == "set":
			field, known := u32Fields["ip "+w[2]]
			value := w[4]
			if ip, err := netip.ParseAddr(value); err == nil && ip.Is4() && field.size == 4 {
				value = strconv.FormatUint(uint64(binary.BigEndian.Uint32(ip.AsSlice())), 10)
			}
			key, err := numberKey(value, strconv.FormatUint(1<<(8*field.size)-1, 10), field.offset, field.size, wrong)
			if !known || err != nil {
				return nil, wrong
			}
			keys, w = append(keys, key...), w[5:]
		case len(w) >= 6 && w[0] == "munge" && w[1] == "offset" && w[4] == "set":
			size := map[string]int{"u8": 1, "u16": 2, "u32": 4}[w[3]]
			offset, err := strconv.Atoi(w[2])
			if err != nil || size == 0 || offset < 0 || offset%size != 0 {
				return nil, wrong
			}
			key, err := numberKey(w[5], strconv.FormatUint(1<<(8*size)-1, 10), offset, size, wrong)
			if err != nil {
				return nil, err
			}
			keys, w = append(keys, key...), w[6:]
		default:
			return nil, wrong
		}
	}
	if keys == nil {
		return nil, wrong
	}
	b := append(generic(verdicts["pass"]), byte(len(keys)), 0, 0, 0) // struct tc_pedit_sel
	for _, key := range keys {
		b = append(append(append(b, bigEndian(^key.mask)...), bigEndian(key.value)...), words32(uint32(key.offset), 0, 0, 0)...)
	}
	return []*nl.RtAttr{nl.NewRtAttr(2, b)}, nil
}

// csumFlags are TCA_CSUM_UPDATE_FLAG_* of tc_csum.h.
var csumFlags = map[string]uint32{"ip4h": 1, "ip": 1, "icmp": 2, "igmp": 4, "tcp": 8, "udp": 16, "udplite": 32, "sctp": 64}

// csum mends checksums: "ip and tcp".
func csum(w []string) ([]*nl.RtAttr, error) {
	var flags uint32
	for _, name := range w {
		flag := csumFlags[name]
		if flag == 0 && name != "and" {
			return nil, Usage(`like "csum ip and tcp"`, "csum: there is no %q", name)
		}
		flags |= flag
	}
	if flags == 0 {
		return nil, Usage(`like "csum ip and tcp"`, "csum: of what?")
	}
	return []*nl.RtAttr{nl.NewRtAttr(1, append(generic(verdicts["pass"]), words32(flags)...))}, nil
}
