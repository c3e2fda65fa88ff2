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
	return &QdiscKind{Name: "netem", check: checkNetem, complete: completeNetem, encode: encodeNetem, decode: decodeNetem, words: netemWords, Options: []*Option{
		{Name: "delay", Doc: "how long each packet is held, in steps of 1 ns", Value: Span{Unit: 1, Size: 8}},
		{Name: "jitter", Doc: "by how much at most the delay varies, evenly to both sides", Value: Span{Unit: 1, Size: 8}},
		{Name: "delay_correlation", Doc: "of one delay with the one before", Value: Share{}},
		{Name: "loss", Doc: "the share of packets that are lost, each by itself", Value: Share{}},
		{Name: "loss_correlation", Doc: "of one loss with the one before; loss_gemodel says better how losses come in bursts", Value: Share{}},
		{Name: "loss_gemodel", Doc: "losses in bursts, by the model of Gilbert and Elliott: (p, r, 1-h, 1-k), the chance to go bad, to become good again (unless given, 1-p), and of a loss while bad (1) and good (0)",
			Value: Shares{1, 4}},
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
		{Name: "limit", Doc: "how many packets are held at most; what there can be of the smallest packets during the delay, unless given", Value: Number{Size: 4, Min: 1, Max: math.MaxUint32}},
	}}
}

func checkNetem(_ *Link, c chosen) error {
	needs := []struct{ option, other, hint string }{
		{"jitter", "delay", `like delay="100ms"`}, {"delay_correlation", "jitter", `like jitter="10ms"`}, {"loss_correlation", "loss", `like loss="1%"`},
		{"duplicate_correlation", "duplicate", `like duplicate="1%"`}, {"corrupt_correlation", "corrupt", `like corrupt="1%"`},
		{"reorder_correlation", "reorder", `like reorder="25%"`}, {"gap", "reorder", `like reorder="25%"`}, {"reorder", "delay", "a packet overtakes those that are held"},
		{"rate_overhead", "rate", `like rate="1mbit"`}, {"rate_cell", "rate", `like rate="1mbit"`}, {"rate_cell_overhead", "rate_cell", "like rate_cell=53"},
	}
	for _, n := range needs {
		if isOn(c.given(n.option)) && !isOn(c.given(n.other)) {
			return Usage(n.hint, "%s needs %s", n.option, n.other)
		}
	}
	if c.on("ecn") && !isOn(c.given("loss")) && c.given("loss_gemodel") == nil {
		return Usage(`like loss="1%"`, "ecn needs loss")
	}
	return c.exclude("loss", "loss_gemodel")
}

// isOn tells whether something is given and not 0.
func isOn(v any) bool { return v != nil && v != 0.0 && v != 0 && v != time.Duration(0) && v != false }

// Of packets that no rate slows down, there are no more in a second than a processor
// passes on; the smallest frame of Ethernet has 60 bytes. Each packet takes room only
// while it is there.
const (
	mostPackets     = 4e6
	smallestFrame   = 60
	netemDefault    = 1000 // of tc and the kernel
	mostJitterTimes = 1
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
	held := (c.span("delay") + c.span("jitter")*mostJitterTimes).Seconds()
	limit := netemDefault + int(min(math.Ceil(perSecond*held), math.MaxInt32))
	return c.with(&Option{Name: "limit", Value: Number{Size: 4}}, limit)
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
	if model, ok := c.given("loss_gemodel").([]float64); ok {
		p, r, h, k := gemodel(model)
		loss := nl.NewRtAttr(nl.TCA_NETEM_LOSS|unix.NLA_F_NESTED, nil)
		loss.AddRtAttr(netemLossGE, words32(shareOf(p), shareOf(r), math.MaxUint32-shareOf(h), shareOf(k)))
		list = append(list, loss)
	}
	b := words32(0, uint32(c.number("limit")), s("loss"), gap, s("duplicate"), 0)
	return append(b, serialize(list)...)
}

// Numbers of pkt_sched.h that package nl has not: NETEM_LOSS_GE, TCA_NETEM_LATENCY64 and
// TCA_NETEM_JITTER64.
const netemLossGE, netemLatency64, netemJitter64 = 2, 10, 11

// gemodel completes the four shares of the model.
func gemodel(given []float64) (p, r, h, k float64) {
	p, r, h = given[0], 1-given[0], 1
	for i, to := range []*float64{&p, &r, &h, &k} {
		if i < len(given) {
			*to = given[i]
		}
	}
	return p, r, h, k
}

// decodeNetem leaves out what is off.
func decodeNetem(b []byte) []QdiscOption {
	const head = 24
	if len(b) < head {
		return nil
	}
	var options []QdiscOption
	add := func(name string, value any) {
		if isOn(value) {
			options = append(options, QdiscOption{name, value})
		}
	}
	set := map[int][]byte{}
	for kind, v := range attributes(b[head:]) {
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
		if kind == netemLossGE {
			add("loss_gemodel", []float64{share(word32(v, 0)), share(word32(v, 1)), share(math.MaxUint32 - word32(v, 2)), share(word32(v, 3))})
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
	return append(options, QdiscOption{"limit", int(word32(b, 1))})
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
	option("loss", "loss", "loss_correlation")
	if model, ok := c.given("loss_gemodel").([]float64); ok {
		p, r, h, k := gemodel(model)
		w = append(w, "loss", "gemodel", shareWord(p), shareWord(r), shareWord(h), shareWord(k))
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
	return w
}
