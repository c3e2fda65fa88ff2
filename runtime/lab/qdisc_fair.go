package lab

import (
	"math"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// The kinds that share a link among flows, or keep its queue short. Numbers of their
// attributes are in include/uapi/linux/pkt_sched.h.

// micros is a time that the kernel counts in microseconds.
var micros = Span{Unit: time.Microsecond}

func packets() Number { return Number{Size: 4, Min: 1, Max: math.MaxInt32} }

// eitherWord is a truth value whose words stand alone.
func eitherWord(size int, off, on string) Switch { return Switch{size, [2]string{off, on}, true} }

func fqCodelKind() *QdiscKind {
	return &QdiscKind{Name: "fq_codel", Options: []*Option{
		{Name: "limit", Doc: "how many packets wait at most, 10240 unless given", attr: 2, Value: packets()},
		{Name: "flows", Doc: "among how many queues flows are spread, 1024 unless given", attr: 5, Value: Number{Size: 4, Min: 1, Max: 65536}},
		{Name: "target", Doc: "how long packets may wait for good, 5 ms unless given", attr: 1, Value: micros},
		{Name: "interval", Doc: "for how long they may wait longer, 100 ms unless given", attr: 3, Value: micros},
		{Name: "quantum", Doc: "bytes that a queue sends before the next has its turn", attr: 6, Value: Bytes{1, math.MaxInt32}},
		{Name: "ecn", Doc: "mark packets instead of dropping them, where they understand that; so it is unless given", attr: 4, Value: eitherWord(4, "noecn", "ecn")},
		{Name: "ce_threshold", Doc: "mark packets that have waited longer", attr: 7, Value: micros},
		{Name: "memory_limit", Doc: "how much memory packets take at most, 32 MiB unless given", attr: 9, Value: Bytes{1, math.MaxInt32}},
		{Name: "drop_batch", Doc: "how many packets are dropped at once when the limit is met, 64 unless given", attr: 8, Value: packets()},
	}}
}

func codelKind() *QdiscKind {
	return &QdiscKind{Name: "codel", Options: []*Option{
		{Name: "limit", Doc: "how many packets wait at most", attr: 2, Value: packets()},
		{Name: "target", Doc: "how long packets may wait for good", attr: 1, Value: micros},
		{Name: "interval", Doc: "for how long they may wait longer", attr: 3, Value: micros},
		{Name: "ecn", Doc: "mark packets instead of dropping them", attr: 4, Value: eitherWord(4, "noecn", "ecn")},
		{Name: "ce_threshold", Doc: "mark packets that have waited longer", attr: 5, Value: micros},
	}}
}

func pieKind() *QdiscKind {
	return &QdiscKind{Name: "pie", Options: []*Option{
		{Name: "limit", Doc: "how many packets wait at most", attr: 2, Value: packets()},
		{Name: "target", Doc: "how long packets may wait for good", attr: 1, Value: micros},
		{Name: "tupdate", Doc: "how often the chance of a drop is reckoned anew", attr: 3, Value: micros},
		{Name: "alpha", Doc: "how much the wait changes it", attr: 4, Value: Number{Size: 4, Max: 32}},
		{Name: "beta", Doc: "how much the change of the wait does", attr: 5, Value: Number{Size: 4, Max: 32}},
		{Name: "ecn", Doc: "mark packets instead of dropping them", attr: 6, Value: eitherWord(4, "noecn", "ecn")},
		{Name: "bytemode", Doc: "long packets are dropped more often", attr: 7, Value: eitherWord(4, "nobytemode", "bytemode")},
	}}
}

func fqKind() *QdiscKind {
	return &QdiscKind{Name: "fq", Options: []*Option{
		{Name: "limit", Doc: "how many packets wait at most, 10000 unless given", attr: 1, Value: packets()},
		{Name: "flow_limit", Doc: "of one flow, 100 unless given", attr: 2, Value: packets()},
		{Name: "quantum", Doc: "bytes that a flow sends before the next has its turn", attr: 3, Value: Bytes{1, 1 << 20}},
		{Name: "initial_quantum", Doc: "bytes that a new flow sends first", attr: 4, Value: Bytes{1, math.MaxInt32}},
		{Name: "maxrate", Doc: "the most that one flow sends", attr: 7, Value: Rate{4}},
		{Name: "pacing", Doc: "send packets when their sender's pacing wants it; so it is unless given", attr: 5, Value: eitherWord(4, "nopacing", "pacing")},
		{Name: "refill_delay", Doc: "after how long without a packet a flow is new again", attr: 9, Value: micros},
		{Name: "orphan_mask", Doc: "among how many queues packets without a socket are spread, less 1", attr: 10, Value: Number{Size: 4, Max: math.MaxUint32}},
		{Name: "low_rate_threshold", Doc: "flows of at most that rate are not held back in batches", attr: 11, Value: Rate{4}},
		{Name: "ce_threshold", Doc: "mark packets that have waited longer", attr: 12, Value: micros},
		{Name: "timer_slack", Doc: "by how much a timer may be late", attr: 13, Value: Span{Unit: 1}},
		{Name: "horizon", Doc: "how far ahead a sender may ask for a packet to be sent", attr: 14, Value: micros},
		{Name: "horizon_drop", Doc: "drop packets beyond it, or else send them at it", attr: 15, Value: eitherWord(1, "horizon_cap", "horizon_drop")},
	}}
}

func cakeKind() *QdiscKind {
	diffserv := Word{Size: 4, Words: []string{"diffserv3", "diffserv4", "diffserv8", "besteffort", "precedence"}, bare: true}
	flows := Word{Size: 4, Words: []string{"flowblind", "srchost", "dsthost", "hosts", "flows", "dual-srchost", "dual-dsthost", "triple-isolate"}, bare: true}
	return &QdiscKind{Name: "cake", encode: encodeCake, Options: []*Option{
		{Name: "bandwidth", Doc: "how fast packets leave; as fast as they can unless given", attr: 2, Value: Rate{8}},
		{Name: "diffserv", Doc: "into which tins the DSCP sorts packets", attr: 3, Value: diffserv},
		{Name: "isolate", Doc: "whom the bandwidth is shared among", attr: 5, Value: flows},
		{Name: "rtt", Doc: "the round-trip time that flows are expected to have, 100 ms unless given", attr: 7, Value: micros},
		{Name: "nat", Doc: "look through NAT at whose packets those are", attr: 11, Value: eitherWord(4, "nonat", "nat")},
		{Name: "wash", Doc: "clear the DSCP", attr: 13, Value: eitherWord(4, "nowash", "wash")},
		{Name: "split_gso", Doc: "take long packets of offloads apart", attr: 17, Value: eitherWord(4, "no-split-gso", "split-gso")},
		{Name: "ack_filter", Doc: "drop ACKs of TCP that later ones make needless", attr: 16, Value: Word{Size: 4, Words: []string{"no-ack-filter", "ack-filter", "ack-filter-aggressive"}, bare: true}},
		{Name: "ingress", Doc: "count what is dropped, too: the link is behind", attr: 15, Value: eitherWord(4, "egress", "ingress")},
		{Name: "autorate_ingress", Doc: "find the bandwidth out", attr: 9, Value: eitherWord(4, "", "autorate-ingress")},
		{Name: "atm", Doc: "how the line frames packets: noatm, atm or ptm", attr: 4, Value: Word{Size: 4, Words: []string{"noatm", "atm", "ptm"}, bare: true}},
		{Name: "overhead", Doc: "bytes that each packet counts for in addition, or fewer", attr: 6, Value: Number{Size: 4, Min: -64, Max: 256}},
		{Name: "mpu", Doc: "the least number of bytes that a packet counts for", attr: 14, Value: Number{Size: 4, Max: 256}},
		{Name: "memlimit", Doc: "how much memory packets take at most", attr: 10, Value: Bytes{1, math.MaxInt32}},
		{Name: "fwmark", Doc: "the bits of the mark that choose a tin", attr: 18, Value: Number{Size: 4, Max: math.MaxUint32}},
	}}
}

// encodeCake adds, as tc does, the time that packets may wait for good to rtt.
func encodeCake(c chosen) []byte {
	var list []*nl.RtAttr
	for _, o := range c.options {
		list = append(list, o.Value.attributes(o.attr, o.Given)...)
		if o.Name == "rtt" {
			list = append(list, nl.NewRtAttr(8, sized(4, int(max(c.span("rtt").Microseconds()/20, 1))))) // TCA_CAKE_TARGET
		}
	}
	return serialize(list)
}

// fifoKind is struct tc_fifo_qopt.
func fifoKind(name string, limit Value) *QdiscKind {
	return &QdiscKind{Name: name, Options: []*Option{{Name: "limit", Doc: "how much waits at most", Value: limit}},
		encode: func(c chosen) []byte {
			if c.given("limit") == nil {
				return nil
			}
			return sized(4, c.number("limit"))
		},
		decode: func(b []byte) []QdiscOption { return []QdiscOption{{"limit", int(u32(b))}} }}
}

func drrKind() *QdiscKind {
	return &QdiscKind{Name: "drr", Classes: &QdiscKind{Name: "drr", Options: []*Option{
		{Name: "quantum", Doc: "bytes that the class sends before the next has its turn", attr: 1, Value: Bytes{1, math.MaxInt32}},
	}}}
}

// prioKind is struct tc_prio_qopt.
func prioKind() *QdiscKind {
	return &QdiscKind{Name: "prio", check: checkPrio, Options: []*Option{
		{Name: "bands", Doc: "how many classes, 3 unless given; the first is empty before the second has its turn", Value: Number{Size: 4, Min: 2, Max: 16}},
		{Name: "priomap", Doc: "a list of 16: the band of each priority of a packet", Value: Numbers{16, 15}},
	}, encode: func(c chosen) []byte {
		bands, list := prioOf(c)
		b := sized(4, bands)
		for _, n := range list {
			b = append(b, byte(n))
		}
		return b
	}, decode: func(b []byte) []QdiscOption {
		var bands []int
		for i := 4; i < len(b) && i < 20; i++ {
			bands = append(bands, int(b[i]))
		}
		return []QdiscOption{{"bands", int(u32(b))}, {"priomap", bands}}
	}}
}

func prioOf(c chosen) (bands int, priomap []int) {
	bands, priomap = 3, []int{1, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1} // prio2band of sch_generic.c
	if n := c.number("bands"); n > 0 {
		bands = n
	}
	if list, ok := c.given("priomap").([]int); ok {
		priomap = list
	}
	return bands, priomap
}

func checkPrio(_ *Link, c chosen) error {
	bands, priomap := prioOf(c)
	for _, n := range priomap {
		if n >= bands {
			return inOption("priomap", Usage("say priomap=", "there is no band %d among %d", n, bands))
		}
	}
	return nil
}

// sfqKind is struct tc_sfq_qopt_v1.
func sfqKind() *QdiscKind {
	return &QdiscKind{Name: "sfq", lasting: func(data []byte) int { return bit(word32(data, sfqMin) != 0) }, Options: []*Option{
		{Name: "limit", Doc: "how many packets wait at most, 127 unless given", Value: Number{Size: 4, Min: 2, Max: math.MaxInt32}},
		{Name: "perturb", Doc: "after how long flows are spread anew, in seconds", Value: Span{Unit: time.Second}},
		{Name: "quantum", Doc: "bytes that a flow sends before the next has its turn", Value: Bytes{1, math.MaxInt32}},
		{Name: "flows", Doc: "how many flows there can be, 127 unless given", Value: Number{Size: 4, Min: 1, Max: 65408}},
		{Name: "divisor", Doc: "among how many places flows are spread: a power of 2", Value: Number{Size: 4, Min: 1, Max: 65536}},
		{Name: "depth", Doc: "how many packets of one flow wait at most, 127 unless given", Value: Number{Size: 4, Min: 1, Max: 127}},
		{Name: "headdrop", Doc: "drop the oldest packet of a flow, not the latest", Value: eitherWord(4, "", "headdrop")},
		{Name: "redflowlimit", Doc: "RED within each flow: how many bytes of one wait at most, of which min and max are shares; the kernel does not tell it again", Value: Bytes{1, math.MaxInt32}},
		{Name: "min", Doc: "of RED: at so many bytes, on average, packets begin to be marked or dropped, a third of max unless given", Value: Bytes{1, math.MaxInt32}},
		{Name: "max", Doc: "of RED: at so many, all with probability, a quarter of redflowlimit unless given", Value: Bytes{1, math.MaxInt32}},
		{Name: "avpkt", Doc: "of RED: how many bytes a packet has on average, 1000 unless given", Value: Bytes{1, 65535}},
		{Name: "burst", Doc: "of RED: how many packets may come at once, (2·min + max) / (3·avpkt) unless given", Value: packets()},
		{Name: "probability", Doc: "of RED: the share of packets at max, 2% unless given", Value: Share{Fraction: true}},
		{Name: "ecn", Doc: "of RED: mark packets instead of dropping them, where they understand that", Value: eitherWord(1, "", "ecn")},
		{Name: "harddrop", Doc: "of RED: drop packets beyond max also where they could be marked", Value: eitherWord(1, "", "harddrop")},
	}, words: func(c chosen) (words []string) {
		for _, o := range c.options {
			if o.Name == "perturb" { // which tc takes without a unit
				words = append(words, "perturb", strconv.Itoa(int(c.span("perturb")/time.Second)))
				continue
			}
			words = append(words, o.tc()...)
		}
		return words
	}, check: func(_ *Link, c chosen) error {
		if n := c.number("divisor"); n&(n-1) != 0 {
			return inOption("divisor", Usage("it is a power of 2, up to 65536", "%d is none", n))
		}
		return checkSFQ(c)
	}, encode: func(c chosen) []byte {
		n := func(name string) uint32 { return uint32(c.number(name)) }
		b := words32(n("quantum"), uint32(c.span("perturb")/time.Second), n("limit"), n("divisor"), n("flows"), n("depth"), uint32(bit(c.on("headdrop"))))
		b = append(b, sfqRED(c)...)
		return append(b, make([]byte, sizeofSFQ-len(b))...)
	}, decode: func(b []byte) (options []QdiscOption) {
		for i, name := range []string{"quantum", "perturb", "limit", "divisor", "flows", "depth"} {
			switch n := word32(b, i); {
			case name == "perturb" && n > 0:
				options = append(options, QdiscOption{name, float64(n)})
			case n > 0:
				options = append(options, QdiscOption{name, int(n)})
			}
		}
		if word32(b, 6) != 0 {
			options = append(options, QdiscOption{"headdrop", true})
		}
		return append(options, decodeSFQRED(b)...)
	}}
}
