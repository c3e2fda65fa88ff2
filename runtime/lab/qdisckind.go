package lab

import (
	"math"
	"sync"
	"time"

	"github.com/vishvananda/netlink/nl"
)

// QdiscKind is a kind of queueing discipline, or of classes of one: its name and its
// options, as tc(8) has them.
type QdiscKind struct {
	Name    string
	Options []*Option
	// Classes are the options of its classes that can be made; nil for a kind whose
	// classes, if there are any, come with it.
	Classes *QdiscKind
	// Ingress is one that works on what comes in, at a place of its own.
	Ingress bool

	// again: the kernel does not take its options back as it tells them.
	again bool
	// lasting are the parts of the options that a change does not take away again, a bit
	// for each; nil for none.
	lasting func(data []byte) (parts int)
	// fixed are the parts of a class's options that a change neither adds nor takes away.
	fixed func(data []byte) (parts int)
	// check refuses options that do not go together; nil refuses none.
	check func(k *Link, c chosen) error
	// complete adds what is to be said where the script leaves it out.
	complete func(c chosen) []Chosen
	// encode makes TCA_OPTIONS where that is more than the options' attributes.
	encode func(c chosen) []byte
	// decode reads what encode makes.
	decode func(b []byte) []QdiscOption
	// words are the options as tc takes them, where that is not each by its name.
	words func(c chosen) []string
}

// qdiscKinds are the kinds whose options are known, in the order of the reference.
var qdiscKinds = sync.OnceValue(func() []*QdiscKind {
	return []*QdiscKind{
		netemKind(), tbfKind(), htbKind(), fqCodelKind(), fqKind(), cakeKind(), prioKind(), sfqKind(), redKind(),
		{Name: "ingress", Ingress: true}, {Name: "clsact", Ingress: true},
		fifoKind("pfifo", Number{Size: 4, Max: math.MaxUint32}), fifoKind("bfifo", Bytes{0, math.MaxUint32}),
		codelKind(), pieKind(), chokeKind(), drrKind(), qfqKind(), hfscKind(), {Name: "multiq"}, {Name: "pfifo_fast"}, {Name: "noqueue"}, {Name: "mq"},
	}
})

// QdiscKindOf finds a kind by its name; nil for one whose options are not known.
func QdiscKindOf(name string) *QdiscKind {
	for _, k := range qdiscKinds() {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Option finds an option by its name, or nil.
func (q *QdiscKind) Option(name string) *Option {
	for _, o := range q.Options {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// data is TCA_OPTIONS; nil when nothing is to be said.
func (q *QdiscKind) data(c chosen) []byte {
	if q.encode != nil {
		return q.encode(c)
	}
	var list []*nl.RtAttr
	for _, o := range c.options {
		list = append(list, o.Value.attributes(o.attr, o.Given)...)
	}
	return serialize(list)
}

// read reads TCA_OPTIONS.
func (q *QdiscKind) read(data []byte) (options []QdiscOption) {
	if q.decode != nil {
		return q.decode(data)
	}
	set := map[int][]byte{}
	for kind, v := range attributes(data) {
		set[kind] = v
	}
	for _, o := range q.Options {
		if v := o.in(set); v != nil {
			options = append(options, QdiscOption{o.Name, v})
		}
	}
	return options
}

// chosen is what was read, as it would be given.
func (q *QdiscKind) chosen(options []QdiscOption) chosen {
	var c chosen
	for _, o := range options {
		known := q.Option(o.Name)
		if known == nil {
			continue
		}
		given := o.Value
		if f, isTime := given.(float64); isTime {
			if _, span := known.Value.(Span); span {
				given = time.Duration(math.Round(f * float64(time.Second)))
			}
		}
		c.options = append(c.options, Chosen{known, given})
	}
	return c
}

// wordsOf are the options as tc takes them.
func (q *QdiscKind) wordsOf(c chosen) []string {
	if q.words != nil {
		return q.words(c)
	}
	var all []string
	for _, o := range c.options {
		all = append(all, o.tc()...)
	}
	return all
}

// tc is the option in tc's words.
func (o Chosen) tc() []string {
	words, named := o.Value.words(o.Given)
	name := o.Name
	if o.ip != "" {
		name = o.ip
	}
	if named {
		words = append([]string{name}, words...)
	}
	return words
}

// checkOptions refuses values out of range and options that do not go together.
func (q *QdiscKind) checkOptions(k *Link, c chosen) error {
	for _, o := range q.Options {
		if o.Required && c.given(o.Name) == nil {
			return Usage("", "%s= is missing", o.Name)
		}
	}
	for _, o := range c.options {
		if err := o.Value.check(o.Given); err != nil {
			return inOption(o.Name, err)
		}
	}
	if q.check == nil {
		return nil
	}
	return q.check(k, c)
}

// with are the options and one more.
func (c chosen) with(o *Option, given any) []Chosen {
	return append(append([]Chosen(nil), c.options...), Chosen{o, given})
}

func (c chosen) number(name string) int {
	n, _ := c.given(name).(int)
	return n
}

func (c chosen) float(name string) float64 {
	f, _ := c.given(name).(float64)
	return f
}

func (c chosen) span(name string) time.Duration {
	d, _ := c.given(name).(time.Duration)
	return d
}

// tick is the unit of struct tc_ratespec's companions: 64 ns (PSCHED_SHIFT of
// include/net/pkt_sched.h), which /proc/net/psched tells programs.
const tick = 64 * time.Nanosecond

// ticks is a time as the packet scheduler counts it.
func ticks(n uint32) time.Duration { return time.Duration(n) * tick }

// xmitTime is how long bytes take at a rate in bytes per second, in ticks, rounded as
// tc does (tc_calc_xmittime).
func xmitTime(rate uint64, bytes int) uint32 {
	if rate == 0 {
		return 0
	}
	return uint32(min(math.Ceil(1e6*(float64(bytes)/float64(rate))*15.625), math.MaxUint32))
}

// linkLayers are TC_LINKLAYER_* of pkt_sched.h.
var linkLayers = Word{Size: 1, Words: []string{"ethernet", "atm"}, values: []int{1, 2}}

// rateSpec is a struct tc_ratespec as tc makes it. cell_log is the scale of a table of
// times that kernels since 3.8 do not use; it is that of packets up to mtu.
func rateSpec(rate uint64, c chosen, mtu int) []byte {
	if rate == 0 {
		return make([]byte, sizeofRateSpec)
	}
	if mtu == 0 {
		mtu = 2047
	}
	cell := 0
	for mtu>>cell > 255 {
		cell++
	}
	layer := 1
	if c.given("linklayer") == "atm" {
		layer = 2
	}
	b := append([]byte{byte(cell), byte(layer)}, nl.Uint16Attr(uint16(c.number("overhead")))...)
	b = append(b, nl.Uint16Attr(0xffff)...) // cell_align -1
	b = append(b, nl.Uint16Attr(uint16(c.number("mpu")))...)
	return append(b, nl.Uint32Attr(uint32(min(rate, math.MaxUint32)))...)
}

const sizeofRateSpec = 12

// rateSpecOptions are those that all rates have in common.
func rateSpecOptions() []*Option {
	return []*Option{
		{Name: "mpu", Doc: "the least number of bytes that a packet counts for", Value: Bytes{0, math.MaxUint16}},
		{Name: "overhead", Doc: "bytes that each packet counts for in addition", Value: Bytes{0, math.MaxUint16}},
		{Name: "linklayer", Doc: "ethernet, or atm, whose cells of 53 bytes carry 48", Value: linkLayers},
	}
}

// readRateSpec reads the options that all rates have in common, where they are not
// what they are by default.
func readRateSpec(b []byte) (options []QdiscOption) {
	if mpu := u16(b[6:]); mpu != 0 {
		options = append(options, QdiscOption{"mpu", mpu})
	}
	if overhead := u16(b[2:]); overhead != 0 {
		options = append(options, QdiscOption{"overhead", overhead})
	}
	if b[1]&0xf == 2 {
		options = append(options, QdiscOption{"linklayer", "atm"})
	}
	return options
}

// words32 is a struct of numbers of 4 bytes.
func words32(numbers ...uint32) (b []byte) {
	for _, n := range numbers {
		b = append(b, nl.Uint32Attr(n)...)
	}
	return b
}

// ClassfulKinds are the kinds of which classes can be made.
func ClassfulKinds() (names []string) {
	for _, k := range qdiscKinds() {
		if k.Classes != nil {
			names = append(names, k.Name)
		}
	}
	return names
}

// OrList is a list as a sentence has it.
func OrList(words []string) string { return orList(words) }

// IsClass tells a class from a qdisc.
func (q *Qdisc) IsClass() bool { return q.class }
