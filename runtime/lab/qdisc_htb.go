package lab

import (
	"bufio"
	"fmt"
	"math"
	"os"
	"strings"
	"sync"

	"github.com/vishvananda/netlink/nl"
)

// htbKind is tc-htb(8).
func htbKind() *QdiscKind {
	return &QdiscKind{Name: "htb", again: true, encode: encodeHTB, decode: decodeHTB, Classes: htbClassKind(), Options: []*Option{
		{Name: "default", Doc: "the class of packets that no filter knows: \"1:30\", or 0x30; they are not shaped unless it is given", Value: Class{}},
		{Name: "r2q", Doc: "a class's quantum is its rate in bytes per second divided by this, 10 unless given", Value: Number{Size: 4, Min: 1, Max: math.MaxInt32}},
		{Name: "direct_qlen", Doc: "how many packets that are not shaped may wait", Value: Number{Size: 4, Max: math.MaxInt32}},
	}}
}

// Attributes of htb (TCA_HTB_* of pkt_sched.h) that package nl has not.
const htbDirectQlen, htbRate64, htbCeil64 = 5, 6, 7

// encodeHTB makes struct tc_htb_glob, version 3.
func encodeHTB(c chosen) []byte {
	r2q := uint32(10)
	if n := c.number("r2q"); n > 0 {
		r2q = uint32(n)
	}
	list := []*nl.RtAttr{nl.NewRtAttr(nl.TCA_HTB_INIT, words32(3, r2q, uint32(c.number("default")), 0, 0))}
	if c.given("direct_qlen") != nil {
		list = append(list, nl.NewRtAttr(htbDirectQlen, sized(4, c.number("direct_qlen"))))
	}
	return serialize(list)
}

func decodeHTB(b []byte) []QdiscOption {
	var options []QdiscOption
	for kind, v := range attributes(b) {
		switch {
		case kind == nl.TCA_HTB_INIT && len(v) >= 20:
			options = append(options, QdiscOption{"default", int(u32(v[8:]))}, QdiscOption{"r2q", int(u32(v[4:]))})
		case kind == htbDirectQlen:
			options = append(options, QdiscOption{"direct_qlen", int(u32(v))})
		}
	}
	return options
}

func htbClassKind() *QdiscKind {
	return &QdiscKind{Name: "htb", again: true, check: checkHTBClass, encode: encodeHTBClass, decode: decodeHTBClass, Options: append([]*Option{
		{Name: "rate", Doc: "what the class has for sure", Required: true, Value: Rate{8}},
		{Name: "ceil", Doc: "what it may have when others leave some: rate unless given", Value: Rate{8}},
		{Name: "burst", Doc: "how much may leave at once at ceil's rate beyond rate", Value: Bytes{1, math.MaxUint32}},
		{Name: "cburst", Doc: "how much may leave at once", Value: Bytes{1, math.MaxUint32}},
		{Name: "prio", Doc: "who is asked first what to do with what others leave: 0", Value: Number{Size: 4, Max: 7}},
		{Name: "quantum", Doc: "how many bytes a class sends before the next has its turn", Value: Bytes{1, math.MaxInt32}},
	}, rateSpecOptions()...)}
}

func checkHTBClass(_ *Link, c chosen) error {
	if ceil := c.given("ceil"); ceil != nil && c.float("ceil") < c.float("rate") {
		return Usage("it is at least rate", "ceil %s is less than rate %s", rateWord(c.float("ceil")), rateWord(c.float("rate")))
	}
	return nil
}

// htbMTU is the packet that tc reckons a class's bursts for.
const htbMTU = 1600

// encodeHTBClass makes struct tc_htb_opt. Bursts that are left out are what leaves
// between two ticks of the kernel's timer, as tc has it.
func encodeHTBClass(c chosen) []byte {
	rate, ceil := bytesPerSecond(c.given("rate")), bytesPerSecond(c.given("ceil"))
	if ceil == 0 {
		ceil = rate
	}
	bucket := func(name string, rate uint64) int {
		if n := c.number(name); n > 0 {
			return n
		}
		return int(min(rate/timerHz()+htbMTU, math.MaxUint32))
	}
	parms := append(rateSpec(rate, c, htbMTU), rateSpec(ceil, c, htbMTU)...)
	parms = append(parms, words32(xmitTime(rate, bucket("burst", rate)), xmitTime(ceil, bucket("cburst", ceil)),
		uint32(c.number("quantum")), 0, uint32(c.number("prio")))...)
	list := []*nl.RtAttr{nl.NewRtAttr(nl.TCA_HTB_PARMS, parms)}
	if rate > math.MaxUint32 {
		list = append(list, nl.NewRtAttr(htbRate64, nl.Uint64Attr(rate)))
	}
	if ceil > math.MaxUint32 {
		list = append(list, nl.NewRtAttr(htbCeil64, nl.Uint64Attr(ceil)))
	}
	return serialize(list)
}

// timerHz is the resolution of the kernel's timers, which /proc/net/psched has as its
// fourth number.
var timerHz = sync.OnceValue(func() uint64 {
	f, err := os.Open("/proc/net/psched")
	if err != nil {
		return 1e9
	}
	defer f.Close()
	var t2us, us2t, resolution, hz uint64
	line, _ := bufio.NewReader(f).ReadString('\n')
	if _, err := fmt.Sscanf(strings.TrimSpace(line), "%x %x %x %x", &t2us, &us2t, &resolution, &hz); err != nil || hz == 0 {
		return 1e9
	}
	return hz
})

func decodeHTBClass(b []byte) []QdiscOption {
	var parms []byte
	var rate, ceil uint64
	for kind, v := range attributes(b) {
		switch {
		case kind == nl.TCA_HTB_PARMS && len(v) >= 44:
			parms, rate, ceil = v, max(rate, uint64(u32(v[8:]))), max(ceil, uint64(u32(v[20:])))
		case kind == htbRate64:
			rate = u64(v)
		case kind == htbCeil64:
			ceil = u64(v)
		}
	}
	if parms == nil {
		return nil
	}
	options := []QdiscOption{{"rate", float64(rate) * 8}, {"ceil", float64(ceil) * 8}, {"burst", xmitSize(rate, u32(parms[24:]))},
		{"cburst", xmitSize(ceil, u32(parms[28:]))}, {"prio", int(u32(parms[40:]))}, {"quantum", int(u32(parms[32:]))}}
	return append(options, readRateSpec(parms)...)
}
