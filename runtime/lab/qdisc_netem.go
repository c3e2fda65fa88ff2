package lab

import (
	"math"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// netemKind is tc-netem(8). A correlation is how much a packet's chance depends on that
// of the packet before it.
func netemKind() *QdiscKind {
	return &QdiscKind{Name: "netem", check: checkNetem, complete: completeNetem, encode: encodeNetem, decode: decodeNetem, words: netemWords, lasting: netemLasting, Options: []*Option{
		{Name: "delay", Doc: "how long each packet is held, in steps of 1 ns", Value: Span{Unit: 1, Size: 8}},
		{Name: "jitter", Doc: "by how much at most the delay varies, evenly to both sides; with distribution, its standard deviation; up to 2.147483647s", Value: Span{Unit: 1, Size: 8}},
		{Name: "delay_correlation", Doc: "of one delay with the one before", Value: Share{}},
		{Name: "distribution", Doc: "how the delay varies: normal, pareto, paretonormal or experimental, which the kernel does not tell again", Value: netemDistributions},
		{Name: "loss", Doc: "the share of packets that are lost, each by itself", Value: Share{}},
		{Name: "loss_correlation", Doc: "of one loss with the one before; loss_gemodel says better how losses come in bursts", Value: Share{}},
		{Name: "loss_gemodel", Doc: "losses in bursts, by the model of Gilbert and Elliott: (p, r, 1-h, 1-k), the chance to go bad, to become good again (unless given, 1-p), and of a loss while bad (1) and good (0)",
			Value: Shares{1, 4}},
		{Name: "loss_state", Doc: "losses by a Markov chain of four states: (p13, p31, p32, p23, p14), the chance to go from the state of good receipt (1) to that of a burst of losses (3) and back (unless given, 1-p13), " +
			"from a burst to receipt within it (2) and back (0% and 100%), and to a single loss (4; 0%)", Value: Shares{1, 5}},
		{Name: "ecn", Doc: "mark packets as having met congestion instead of losing them, where they say that they understand that", Value: Switch{4, [2]string{"", "ecn"}, true}},
		{Name: "duplicate", Doc: "the share of packets that come twice", Value: Share{}},
		{Name: "duplicate_correlation", Doc: "of one with the one before", Value: Share{}},
		{Name: "corrupt", Doc: "the share of packets in which one bit is turned", Value: Share{}},
		{Name: "corrupt_correlation", Doc: "of one with the one before", Value: Share{}},
		{Name: "reorder", Doc: "the share of packets that are sent at once, before those that are held", Value: Share{}},
		{Name: "reorder_correlation", Doc: "of one with the one before", Value: Share{}},
		{Name: "gap", Doc: "of reorder: only each such packet may be sent at once, 1 unless given", Value: Number{Size: 4, Min: 1, Max: math.MaxInt32}},
		{Name: "rate", Doc: "how fast packets leave", Value: Rate{8}},
		{Name: "rate_overhead", Doc: "bytes that each packet counts for in addition, or fewer", Value: Number{Size: 4, Min: math.MinInt32, Max: math.MaxInt32}},
		{Name: "rate_cell", Doc: "packets are sent in cells of that many bytes", Value: Number{Size: 4, Max: math.MaxInt32}},
		{Name: "rate_cell_overhead", Doc: "bytes that each cell counts for in addition, or fewer", Value: Number{Size: 4, Min: math.MinInt32, Max: math.MaxInt32}},
		{Name: "slot_min", Doc: "packets leave together, in slots that are at least so long apart", Value: Span{Unit: 1, Size: 8}},
		{Name: "slot_max", Doc: "and at most so long, slot_min unless given", Value: Span{Unit: 1, Size: 8}},
		{Name: "slot_distribution", Doc: "how far slots are apart: as with distribution, about slot_delay with the standard deviation slot_jitter", Value: netemDistributions},
		{Name: "slot_delay", Doc: "of slot_distribution: how far slots are apart on average", Value: Span{Unit: 1, Size: 8}},
		{Name: "slot_jitter", Doc: "of slot_distribution: its standard deviation, up to 2.147483647s", Value: Span{Unit: 1, Size: 8}},
		{Name: "slot_packets", Doc: "how many packets leave in a slot at most", Value: packets()},
		{Name: "slot_bytes", Doc: "how many bytes leave in a slot at most", Value: Bytes{1, math.MaxInt32}},
		{Name: "seed", Doc: "that chance is the same each time: where the random numbers begin (Linux 6.7)", Value: Seed{}, since: "6.7"},
		{Name: "limit", Doc: "how many packets are held at most; what there can be of the smallest packets during the delay, unless given", Value: Number{Size: 4, Min: 1, Max: math.MaxUint32}},
	}}
}

func checkNetem(_ *Link, c chosen) error {
	needs := []struct{ option, other, hint string }{
		{"jitter", "delay", `like delay="100ms"`}, {"delay_correlation", "jitter", `like jitter="10ms"`}, {"loss_correlation", "loss", `like loss="1%"`},
		{"duplicate_correlation", "duplicate", `like duplicate="1%"`}, {"corrupt_correlation", "corrupt", `like corrupt="1%"`},
		{"reorder_correlation", "reorder", `like reorder="25%"`}, {"gap", "reorder", `like reorder="25%"`}, {"reorder", "delay", "a packet overtakes those that are held"},
		{"rate_overhead", "rate", `like rate="1mbit"`}, {"rate_cell", "rate", `like rate="1mbit"`}, {"rate_cell_overhead", "rate_cell", "like rate_cell=53"},
		{"distribution", "jitter", `like jitter="10ms"`}, {"slot_distribution", "slot_jitter", `like slot_jitter="100us"`},
		{"slot_delay", "slot_distribution", `like slot_distribution="normal"`}, {"slot_jitter", "slot_distribution", `like slot_distribution="normal"`},
	}
	for _, n := range needs {
		if isOn(c.given(n.option)) && !isOn(c.given(n.other)) {
			return Usage(n.hint, "%s needs %s", n.option, n.other)
		}
	}
	if c.on("ecn") && !isOn(c.given("loss")) && c.given("loss_gemodel") == nil && c.given("loss_state") == nil {
		return Usage(`like loss="1%"`, "ecn needs loss")
	}
	for _, name := range []string{"jitter", "slot_jitter"} {
		if d := c.span(name); d > mostJitter {
			return inOption(name, Usage("it is at most "+mostJitter.String(), "%v is out of range", d))
		}
	}
	for _, pair := range [][2]string{{"loss", "loss_gemodel"}, {"loss", "loss_state"}, {"loss_gemodel", "loss_state"}, {"slot_min", "slot_distribution"}, {"slot_max", "slot_distribution"}} {
		if err := c.exclude(pair[0], pair[1]); err != nil {
			return err
		}
	}
	return checkSlot(c)
}

// checkSlot refuses slots that no packet could leave in, and what belongs to none.
func checkSlot(c chosen) error {
	if least, most := c.span("slot_min"), c.span("slot_max"); c.given("slot_max") != nil && most < least {
		return inOption("slot_max", Usage("it is at least slot_min", "%v is less than slot_min %v", most, least))
	}
	for _, name := range []string{"slot_packets", "slot_bytes"} {
		if c.given(name) != nil && !hasSlot(c) {
			return Usage(`like slot_min="800us"`, "%s needs slot_min, slot_max or slot_distribution", name)
		}
	}
	return nil
}

func hasSlot(c chosen) bool {
	return isOn(c.given("slot_min")) || isOn(c.given("slot_max")) || isOn(c.given("slot_jitter"))
}

// mostJitter is what the kernel reckons with, in nanoseconds of 4 bytes.
const mostJitter = math.MaxInt32 * time.Nanosecond

// isOn tells whether something is given and not 0.
func isOn(v any) bool { return v != nil && v != 0.0 && v != 0 && v != time.Duration(0) && v != false }

// Of packets that no rate slows down, there are no more in a second than a processor
// passes on; the smallest frame of Ethernet has 60 bytes. Each packet takes room only
// while it is there.
const (
	mostPackets     = 4e6
	smallestFrame   = 60
	netemDefault    = 1000 // of tc and the kernel
	mostJitterTimes = 4    // of a distribution's table, whose greatest value is 32767 / netemScale
)

// completeNetem says a limit, so that none is lost for want of room that comes while
// the one before it is held. Packets that come faster than the rate still find an end
// of the queue, a thousand packets behind that.
func completeNetem(c chosen) []Chosen {
	if c.given("limit") != nil {
		return c.options
	}
	perSecond := mostPackets
	if rate := c.float("rate"); rate > 0 {
		perSecond = min(perSecond, rate/8/smallestFrame)
	}
	held := (longest(c.span("delay"), c.span("jitter"), c.given("distribution")) +
		max(c.span("slot_min"), c.span("slot_max"), longest(c.span("slot_delay"), c.span("slot_jitter"), c.given("slot_distribution")))).Seconds()
	limit := netemDefault + int(min(math.Ceil(perSecond*held), math.MaxInt32))
	return c.with(&Option{Name: "limit", Value: Number{Size: 4}}, limit)
}

// longest is the longest time that there can be.
func longest(mean, jitter time.Duration, distribution any) time.Duration {
	if distribution != nil {
		jitter *= mostJitterTimes
	}
	return mean + jitter
}

// encodeNetem makes struct tc_netem_qopt and attributes after it. It says all of them,
// since what is left out of a change stays.
func encodeNetem(c chosen) []byte {
	s := func(name string) uint32 { return shareOf(c.given(name)) }
	gap := uint32(c.number("gap"))
	if isOn(c.given("reorder")) {
		gap = max(gap, 1)
	}
	rate := bytesPerSecond(c.given("rate"))
	list := []*nl.RtAttr{
		nl.NewRtAttr(nl.TCA_NETEM_CORR, words32(s("delay_correlation"), s("loss_correlation"), s("duplicate_correlation"))),
		nl.NewRtAttr(nl.TCA_NETEM_REORDER, words32(s("reorder"), s("reorder_correlation"))),
		nl.NewRtAttr(nl.TCA_NETEM_CORRUPT, words32(s("corrupt"), s("corrupt_correlation"))),
		nl.NewRtAttr(nl.TCA_NETEM_RATE, words32(uint32(min(rate, math.MaxUint32)), uint32(c.number("rate_overhead")), uint32(c.number("rate_cell")), uint32(c.number("rate_cell_overhead")))),
		nl.NewRtAttr(nl.TCA_NETEM_ECN, sized(4, bit(c.on("ecn")))),
		nl.NewRtAttr(netemLatency64, nl.Uint64Attr(uint64(c.span("delay")))),
		nl.NewRtAttr(netemJitter64, nl.Uint64Attr(uint64(c.span("jitter")))),
	}
	if rate > math.MaxUint32 {
		list = append(list, nl.NewRtAttr(nl.TCA_NETEM_RATE64, nl.Uint64Attr(rate)))
	}
	list = append(list, netemLoss(c)...)
	list = append(list, netemSlot(c)...)
	if name, ok := c.given("distribution").(string); ok {
		list = append(list, nl.NewRtAttr(nl.TCA_NETEM_DELAY_DIST, netemTables[name]()))
	}
	if n, ok := c.given("seed").(uint64); ok {
		list = append(list, nl.NewRtAttr(netemSeed, nl.Uint64Attr(n)))
	}
	b := words32(0, uint32(c.number("limit")), s("loss"), gap, s("duplicate"), 0)
	return append(b, serialize(list)...)
}

// Numbers of pkt_sched.h that package nl has not: NETEM_LOSS_GI and _GE, and from
// TCA_NETEM_LATENCY64 to TCA_NETEM_PRNG_SEED.
const (
	netemLossGI, netemLossGE         = 1, 2
	netemLatency64, netemJitter64    = 10, 11
	netemSlots, netemSlotDist        = 12, 13
	netemSeed                        = 14
	sizeofNetemQopt, sizeofNetemSlot = 24, 40
)

// netemLoss is the model of losses, if one is chosen: struct tc_netem_gemodel or
// tc_netem_gimodel, whose p14 is before p23.
func netemLoss(c chosen) []*nl.RtAttr {
	loss := nl.NewRtAttr(nl.TCA_NETEM_LOSS|unix.NLA_F_NESTED, nil)
	if model, ok := c.given("loss_gemodel").([]float64); ok {
		m := gemodel(model)
		loss.AddRtAttr(netemLossGE, words32(shareOf(m[0]), shareOf(m[1]), math.MaxUint32-shareOf(m[2]), shareOf(m[3])))
		return []*nl.RtAttr{loss}
	}
	if model, ok := c.given("loss_state").([]float64); ok {
		m := gimodel(model)
		loss.AddRtAttr(netemLossGI, words32(shareOf(m[0]), shareOf(m[1]), shareOf(m[2]), shareOf(m[4]), shareOf(m[3])))
		return []*nl.RtAttr{loss}
	}
	return nil
}

// netemSlot is struct tc_netem_slot, all 0 where there are no slots, and the table.
func netemSlot(c chosen) []*nl.RtAttr {
	least, most := c.span("slot_min"), c.span("slot_max")
	if c.given("slot_max") == nil {
		most = least
	}
	var b []byte
	for _, d := range []time.Duration{least, most} {
		b = append(b, nl.Uint64Attr(uint64(d))...)
	}
	b = append(b, words32(uint32(c.number("slot_packets")), uint32(c.number("slot_bytes")))...)
	for _, name := range []string{"slot_delay", "slot_jitter"} {
		b = append(b, nl.Uint64Attr(uint64(c.span(name)))...)
	}
	list := []*nl.RtAttr{nl.NewRtAttr(netemSlots, b)}
	if name, ok := c.given("slot_distribution").(string); ok {
		list = append(list, nl.NewRtAttr(netemSlotDist, netemTables[name]()))
	}
	return list
}

// netemLasting: the kernel keeps a table that it has been given.
func netemLasting(data []byte) (parts int) {
	for kind := range attributes(data[min(sizeofNetemQopt, len(data)):]) {
		switch kind {
		case nl.TCA_NETEM_DELAY_DIST:
			parts |= 1
		case netemSlotDist:
			parts |= 2
		}
	}
	return parts
}

// gemodel completes the four shares p, r, 1-h and 1-k of the model.
func gemodel(given []float64) []float64 {
	return completed(given, []float64{0, 1 - given[0], 1, 0})
}

// gimodel completes the five shares p13, p31, p32, p23 and p14 of the model.
func gimodel(given []float64) []float64 {
	return completed(given, []float64{0, 1 - given[0], 0, 1, 0})
}

// completed are what is given and, of the rest, what there is unless it is.
func completed(given, otherwise []float64) []float64 {
	return append(given[:len(given):len(given)], otherwise[len(given):]...)
}

// decodeNetem leaves out what is off.
func decodeNetem(b []byte) []QdiscOption {
	if len(b) < sizeofNetemQopt {
		return nil
	}
	var options []QdiscOption
	add := func(name string, value any) {
		if isOn(value) {
			options = append(options, QdiscOption{name, value})
		}
	}
	set := map[int][]byte{}
	for kind, v := range attributes(b[sizeofNetemQopt:]) {
		set[kind] = v
	}
	at := func(attr, n int) uint32 { return word32(set[attr], n) }
	delay, jitter := ticks(word32(b, 0)), ticks(word32(b, 5))
	if v := set[netemLatency64]; v != nil {
		delay = time.Duration(u64(v))
	}
	if v := set[netemJitter64]; v != nil {
		jitter = time.Duration(u64(v))
	}
	rate := uint64(at(nl.TCA_NETEM_RATE, 0))
	if v := set[nl.TCA_NETEM_RATE64]; v != nil {
		rate = u64(v)
	}
	reorder := share(at(nl.TCA_NETEM_REORDER, 0))
	add("delay", delay.Seconds())
	add("jitter", jitter.Seconds())
	add("delay_correlation", share(at(nl.TCA_NETEM_CORR, 0)))
	add("loss", share(word32(b, 2)))
	add("loss_correlation", share(at(nl.TCA_NETEM_CORR, 1)))
	for kind, v := range attributes(set[nl.TCA_NETEM_LOSS]) {
		s := func(n int) float64 { return share(word32(v, n)) }
		switch kind {
		case netemLossGE:
			add("loss_gemodel", []float64{s(0), s(1), share(math.MaxUint32 - word32(v, 2)), s(3)})
		case netemLossGI:
			add("loss_state", []float64{s(0), s(1), s(2), s(4), s(3)})
		}
	}
	add("ecn", at(nl.TCA_NETEM_ECN, 0) != 0)
	add("duplicate", share(word32(b, 4)))
	add("duplicate_correlation", share(at(nl.TCA_NETEM_CORR, 2)))
	add("corrupt", share(at(nl.TCA_NETEM_CORRUPT, 0)))
	add("corrupt_correlation", share(at(nl.TCA_NETEM_CORRUPT, 1)))
	add("reorder", reorder)
	add("reorder_correlation", share(at(nl.TCA_NETEM_REORDER, 1)))
	if reorder > 0 {
		add("gap", int(word32(b, 3)))
	}
	add("rate", float64(rate)*8)
	add("rate_overhead", int(int32(at(nl.TCA_NETEM_RATE, 1))))
	add("rate_cell", int(at(nl.TCA_NETEM_RATE, 2)))
	add("rate_cell_overhead", int(int32(at(nl.TCA_NETEM_RATE, 3))))
	options = append(options, decodeSlot(set[netemSlots])...)
	if v := set[netemSeed]; v != nil {
		options = append(options, QdiscOption{"seed", u64(v)})
	}
	return append(options, QdiscOption{"limit", int(word32(b, 1))})
}

// decodeSlot reads a struct tc_netem_slot.
func decodeSlot(b []byte) (options []QdiscOption) {
	if len(b) < sizeofNetemSlot {
		return nil
	}
	spans := []struct {
		name string
		at   int
	}{{"slot_min", 0}, {"slot_max", 8}, {"slot_delay", 24}, {"slot_jitter", 32}}
	for _, s := range spans {
		if d := time.Duration(u64(b[s.at:])); d != 0 {
			options = append(options, QdiscOption{s.name, d.Seconds()})
		}
	}
	for i, name := range []string{"slot_packets", "slot_bytes"} {
		if n := word32(b, 4+i); n != 0 {
			options = append(options, QdiscOption{name, int(n)})
		}
	}
	return options
}

// word32 is a number of 4 bytes in a struct of them; 0 beyond its end.
func word32(b []byte, n int) uint32 { return u32(b[min(4*n, len(b)):]) }

// netemWords are tc's: what belongs to an option stands behind it.
func netemWords(c chosen) []string {
	var w []string
	more := func(names ...string) {
		for _, name := range names {
			switch v := c.given(name).(type) {
			case time.Duration:
				w = append(w, spanWord(v))
			case float64:
				w = append(w, shareWord(v))
			case int:
				w = append(w, strconv.Itoa(v))
			default:
				return
			}
		}
	}
	option := func(word string, names ...string) {
		if isOn(c.given(names[0])) {
			w = append(w, word)
			more(names...)
		}
	}
	if n := c.number("limit"); n > 0 {
		w = append(w, "limit", strconv.FormatInt(int64(n), 10))
	}
	option("delay", "delay", "jitter", "delay_correlation")
	if name, ok := c.given("distribution").(string); ok {
		w = append(w, "distribution", name)
	}
	option("loss", "loss", "loss_correlation")
	if model, ok := c.given("loss_gemodel").([]float64); ok {
		w = append(append(w, "loss", "gemodel"), shareWords(gemodel(model))...)
	}
	if model, ok := c.given("loss_state").([]float64); ok {
		w = append(append(w, "loss", "state"), shareWords(gimodel(model))...)
	}
	if c.on("ecn") {
		w = append(w, "ecn")
	}
	option("duplicate", "duplicate", "duplicate_correlation")
	option("corrupt", "corrupt", "corrupt_correlation")
	option("reorder", "reorder", "reorder_correlation")
	if isOn(c.given("reorder")) && c.given("gap") != nil {
		w = append(w, "gap", strconv.Itoa(c.number("gap")))
	}
	if f := c.float("rate"); f > 0 {
		w = append(w, "rate", rateWord(f))
		for _, name := range []string{"rate_overhead", "rate_cell", "rate_cell_overhead"} { // each stands at its place
			if c.given("rate_overhead") != nil || c.given("rate_cell") != nil {
				w = append(w, strconv.Itoa(c.number(name)))
			}
		}
	}
	w = append(w, slotWords(c)...)
	if n, ok := c.given("seed").(uint64); ok {
		w = append(w, "seed", strconv.FormatUint(n, 10))
	}
	return w
}

// slotWords are those of slots, at the end of which are packets and bytes.
func slotWords(c chosen) []string {
	if !hasSlot(c) {
		return nil
	}
	w := []string{"slot"}
	if name, ok := c.given("slot_distribution").(string); ok {
		w = append(w, "distribution", name, spanWord(c.span("slot_delay")), spanWord(c.span("slot_jitter")))
	} else {
		w = append(w, spanWord(c.span("slot_min")))
		if c.given("slot_max") != nil {
			w = append(w, spanWord(c.span("slot_max")))
		}
	}
	for _, name := range []string{"packets", "bytes"} {
		if n := c.number("slot_" + name); n > 0 {
			w = append(w, name, strconv.Itoa(n))
		}
	}
	return w
}

func shareWords(shares []float64) (w []string) {
	for _, s := range shares {
		w = append(w, shareWord(s))
	}
	return w
}
