package lab

import (
	"math"

	"github.com/vishvananda/netlink/nl"
)

// redKind is tc-red(8).
func redKind() *QdiscKind {
	return &QdiscKind{Name: "red", check: checkRED, encode: encodeRED, decode: decodeRED, Options: []*Option{
		{Name: "limit", Doc: "how many bytes wait at most", Required: true, Value: Bytes{1, math.MaxInt32}},
		{Name: "avpkt", Doc: "how many bytes a packet has on average", Required: true, Value: Bytes{1, 65535}},
		{Name: "min", Doc: "at so many bytes, on average, packets begin to be marked or dropped: a third of max unless given", Value: Bytes{1, math.MaxInt32}},
		{Name: "max", Doc: "at so many, all with probability: a quarter of limit unless given", Value: Bytes{1, math.MaxInt32}},
		{Name: "probability", Doc: "the share of them at max, 2% unless given", Value: Share{Fraction: true}},
		{Name: "burst", Doc: "how many packets may come at once: (2·min + max) / (3·avpkt) unless given", Value: packets()},
		{Name: "bandwidth", Doc: "how fast the link is, for the time in which it is idle: 10mbit unless given", Value: Rate{4}},
		{Name: "ecn", Doc: "mark packets instead of dropping them, where they understand that", Value: eitherWord(1, "", "ecn")},
		{Name: "harddrop", Doc: "drop packets beyond max also where they could be marked", Value: eitherWord(1, "", "harddrop")},
		{Name: "adaptive", Doc: "change the probability so that the queue stays between min and max", Value: eitherWord(1, "", "adaptive")},
		{Name: "nodrop", Doc: "never drop early what cannot be marked", Value: eitherWord(1, "", "nodrop")},
	}}
}

// red is what the options of red come to, as tc reckons it.
type red struct {
	limit, min, max, avpkt, burst int
	probability                   float64
	wlog, plog, scell             int
	idle                          []byte // by how much the average falls while the link is idle
}

// redUnits is what sets the kinds with RED apart.
type redUnits struct {
	limit   string // the option that min and max are shares of
	packets bool   // they count packets, not bytes
}

func redOf(c chosen, u redUnits) (r red, err error) {
	r = red{limit: c.number(u.limit), min: c.number("min"), max: c.number("max"), avpkt: c.number("avpkt"), burst: c.number("burst"), probability: 0.02}
	if p := c.float("probability"); p > 0 {
		r.probability = p
	}
	if r.avpkt == 0 {
		r.avpkt = 1000
	}
	if r.max == 0 {
		if r.max = r.limit / 4; r.min > 0 && u == redBytes { // of red alone
			r.max = r.min * 3
		}
	}
	if r.min == 0 {
		r.min = r.max / 3
	}
	unit := 1 // of min and max, in bytes
	if u.packets {
		unit = r.avpkt
	}
	if r.burst == 0 {
		r.burst = (2*r.min + r.max) * unit / (3 * r.avpkt)
	}
	switch {
	case r.min < 1 || r.min >= r.max:
		return r, Usage("leave one of them out", "min %d is not less than max %d", r.min, r.max)
	case r.max > r.limit:
		return r, Usage("it is at most "+u.limit, "max %d is more than %s %d", r.max, u.limit, r.limit)
	}
	if r.wlog = r.average(r.min * unit); r.wlog < 0 {
		return r, inOption("burst", Usage("it is more than min / avpkt", "%d packets are too few", r.burst))
	}
	for p := r.probability / float64((r.max-r.min)*unit); r.plog < 32 && p <= 1; p *= 2 {
		r.plog++
	}
	return r, nil
}

// damped is with the table, for a link of that bandwidth.
func (r red) damped(c chosen) (red, error) {
	rate := uint64(10e6 / 8)
	if f := c.float("bandwidth"); f > 0 {
		rate = bytesPerSecond(f)
	}
	err := r.damp(rate)
	return r, err
}

// average is how slowly the average follows the queue, so that a burst passes
// (tc_red_eval_ewma); -1 when none does.
func (r *red) average(least int) int {
	a := float64(r.burst) + 1 - float64(least)/float64(r.avpkt)
	if a < 1 {
		return -1
	}
	w := 0.5
	for wlog := 1; wlog < 32; wlog, w = wlog+1, w/2 {
		if a <= (1-math.Pow(1-w, float64(r.burst)))/w {
			return wlog
		}
	}
	return -1
}

// damp makes the table of how the average falls (tc_red_eval_idle_damping).
func (r *red) damp(rate uint64) error {
	lw := -math.Log(1-1/float64(int(1)<<r.wlog)) / float64(xmitTime(rate, r.avpkt))
	most := 31 / lw
	for r.scell = 0; r.scell < 32 && most/float64(int(1)<<r.scell) >= 512; r.scell++ {
	}
	if r.scell == 32 {
		return inOption("bandwidth", Usage("", "it is too small for packets of %d bytes", r.avpkt))
	}
	r.idle = make([]byte, 256)
	for i := 1; i < 255; i++ {
		r.idle[i] = byte(min(float64(i<<r.scell)*lw, 31))
	}
	r.idle[255] = 31
	return nil
}

func dampedREDOf(c chosen, u redUnits) (red, error) {
	r, err := redOf(c, u)
	if err != nil {
		return r, err
	}
	return r.damped(c)
}

var redBytes = redUnits{limit: "limit"}

func checkRED(_ *Link, c chosen) error {
	_, err := dampedREDOf(c, redBytes)
	return err
}

// redFlags are TC_RED_* by option.
var redFlags = []string{"ecn", "harddrop", "adaptive", "nodrop"}

// encodeRED makes struct tc_red_qopt, the table and what is beside them.
func encodeRED(c chosen) []byte {
	r, _ := dampedREDOf(c, redBytes) // which checkRED found well
	var flags uint32
	for i, name := range redFlags {
		if c.on(name) {
			flags |= 1 << i
		}
	}
	historic := flags
	if flags > 7 { // all of them have to be in the later attribute
		historic = 0
	}
	parms := append(words32(uint32(r.limit), uint32(r.min), uint32(r.max)), byte(r.wlog), byte(r.plog), byte(r.scell), byte(historic))
	list := []*nl.RtAttr{nl.NewRtAttr(1, parms), nl.NewRtAttr(2, r.idle), nl.NewRtAttr(3, nl.Uint32Attr(uint32(r.probability*(1<<32))))}
	if flags > 7 {
		list = append(list, nl.NewRtAttr(4, words32(flags, 15))) // TCA_RED_FLAGS, a struct nla_bitfield32
	}
	return serialize(list)
}

// decodeRED leaves out what the kernel does not say: avpkt, burst and bandwidth.
func decodeRED(b []byte) (options []QdiscOption) {
	var flags uint32
	for kind, v := range attributes(b) {
		switch {
		case kind == 1 && len(v) >= 16:
			options = append(options, QdiscOption{"limit", int(u32(v))}, QdiscOption{"min", int(u32(v[4:]))}, QdiscOption{"max", int(u32(v[8:]))})
			flags |= uint32(v[15])
		case kind == 3:
			options = append(options, QdiscOption{"probability", float64(u32(v)) / (1 << 32)})
		case kind == 4:
			flags |= u32(v)
		}
	}
	for i, name := range redFlags {
		if flags&(1<<i) != 0 {
			options = append(options, QdiscOption{name, true})
		}
	}
	return options
}

// chokeKind is tc-choke(8), which counts in packets.
func chokeKind() *QdiscKind {
	return &QdiscKind{Name: "choke", check: checkChoke, encode: encodeChoke, decode: decodeRED, Options: []*Option{
		{Name: "limit", Doc: "how many packets wait at most", Required: true, Value: Number{Size: 4, Min: 1, Max: 128 << 10}},
		{Name: "bandwidth", Doc: "how fast the link is, for the time in which it is idle", Required: true, Value: Rate{4}},
		{Name: "min", Doc: "at so many packets, on average, packets begin to be marked or dropped: a third of max unless given", Value: packets()},
		{Name: "max", Doc: "at so many, all with probability: a quarter of limit unless given", Value: packets()},
		{Name: "avpkt", Doc: "how many bytes a packet has on average, 1000 unless given", Value: Bytes{1, 65535}},
		{Name: "burst", Doc: "how many packets may come at once: (2·min + max) / 3 unless given", Value: packets()},
		{Name: "probability", Doc: "the share of them at max, 2% unless given", Value: Share{Fraction: true}},
		{Name: "ecn", Doc: "mark packets instead of dropping them, where they understand that", Value: eitherWord(1, "", "ecn")},
	}}
}

var redPackets = redUnits{limit: "limit", packets: true}

func checkChoke(_ *Link, c chosen) error {
	_, err := dampedREDOf(c, redPackets)
	return err
}

// encodeChoke makes struct tc_red_qopt, the table and the probability.
func encodeChoke(c chosen) []byte {
	r, _ := dampedREDOf(c, redPackets) // which checkChoke found well
	parms := append(words32(uint32(r.limit), uint32(r.min), uint32(r.max)), byte(r.wlog), byte(r.plog), byte(r.scell), byte(bit(c.on("ecn"))))
	return serialize([]*nl.RtAttr{nl.NewRtAttr(1, parms), nl.NewRtAttr(2, r.idle), nl.NewRtAttr(3, nl.Uint32Attr(uint32(r.probability*(1<<32))))})
}

// Places of struct tc_sfq_qopt_v1, in numbers of 4 bytes, and its size.
const (
	sfqMin, sfqMax, sfqFlags, sfqProbability = 8, 9, 10, 11
	sizeofSFQ                                = 72
)

var redFlow = redUnits{limit: "redflowlimit"}

func checkSFQ(c chosen) error {
	if c.given("redflowlimit") != nil {
		_, err := redOf(c, redFlow)
		return err
	}
	for _, name := range []string{"min", "max", "avpkt", "burst", "probability", "ecn", "harddrop"} {
		if isOn(c.given(name)) {
			return Usage("like redflowlimit=60000", "%s needs redflowlimit", name)
		}
	}
	return nil
}

// sfqRED is the part of the struct from the limit on.
func sfqRED(c chosen) []byte {
	if c.given("redflowlimit") == nil {
		return nil
	}
	r, _ := redOf(c, redFlow) // which checkSFQ found well
	flags := byte(bit(c.on("ecn")) | bit(c.on("harddrop"))<<1)
	b := append(words32(uint32(r.limit), uint32(r.min), uint32(r.max)), byte(r.wlog), byte(r.plog), 0, flags)
	return append(b, nl.Uint32Attr(uint32(r.probability*(1<<32)))...)
}

// decodeSFQRED reads it.
func decodeSFQRED(b []byte) (options []QdiscOption) {
	if len(b) < sizeofSFQ || word32(b, sfqMin) == 0 {
		return nil
	}
	options = []QdiscOption{{"min", int(word32(b, sfqMin))}, {"max", int(word32(b, sfqMax))}, {"probability", float64(word32(b, sfqProbability)) / (1 << 32)}}
	for i, name := range []string{"ecn", "harddrop"} {
		if b[4*sfqFlags+3]&(1<<i) != 0 {
			options = append(options, QdiscOption{name, true})
		}
	}
	return options
}
