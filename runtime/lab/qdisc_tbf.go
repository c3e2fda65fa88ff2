package lab

import (
	"fmt"
	"math"

	"github.com/vishvananda/netlink/nl"
)

// ethernetHeader is what a link's frames have beside its MTU.
const ethernetHeader = 14

// tbfKind is tc-tbf(8). The bucket's size has to be asked for: how long a burst may be
// is what a token bucket is about.
func tbfKind() *QdiscKind {
	return &QdiscKind{Name: "tbf", check: checkTBF, encode: encodeTBF, decode: decodeTBF, Options: append([]*Option{
		{Name: "rate", Doc: "how fast packets leave", Required: true, Value: Rate{8}},
		{Name: "burst", Doc: "the size of the bucket: that much may leave at once", Required: true, Value: Bytes{1, math.MaxUint32}},
		{Name: "latency", Doc: "how long a packet may wait before it is dropped, in steps of 1 µs", Value: Span{Unit: 1000}},
		{Name: "limit", Doc: "instead of latency: how much may wait", Value: Bytes{1, math.MaxUint32}},
		{Name: "peakrate", Doc: "how fast packets of a burst leave", Value: Rate{8}},
		{Name: "mtu", Doc: "the size of the bucket of peakrate", Value: Bytes{1, math.MaxUint32}},
	}, rateSpecOptions()...)}
}

func checkTBF(k *Link, c chosen) error {
	switch {
	case c.given("latency") != nil && c.given("limit") != nil:
		return Usage("leave one of them out", "latency and limit exclude each other")
	case c.given("latency") == nil && c.given("limit") == nil:
		return Usage(`like latency="50ms"`, "latency= or limit= is missing")
	case c.given("peakrate") != nil && c.given("mtu") == nil:
		return Usage("like mtu=1540, at least what a frame has", "peakrate needs mtu")
	case c.given("mtu") != nil && c.given("peakrate") == nil:
		return Usage("it is the size of the bucket of peakrate", "mtu needs peakrate")
	case c.given("peakrate") != nil && c.float("peakrate") <= c.float("rate"):
		return Usage("leave it out", "peakrate %s is no more than rate %s", rateWord(c.float("peakrate")), rateWord(c.float("rate")))
	case tbfLimit(c) > math.MaxUint32:
		return inOption("latency", Usage("it times rate is at most 4 GiB", "%v is out of range", c.span("latency")))
	}
	info, err := k.Info()
	if err != nil {
		return err
	}
	for _, name := range []string{"burst", "mtu"} {
		if n := c.number(name); n > 0 && n < info.MTU+ethernetHeader {
			return inOption(name, Usage(fmt.Sprintf("at least %d, a frame of %s", info.MTU+ethernetHeader, k.name), "packets of more than %d bytes would never leave", n))
		}
	}
	return nil
}

// tbfLimit is how much may wait: what latency means, as tc reckons it.
func tbfLimit(c chosen) float64 {
	if n := c.number("limit"); n > 0 {
		return float64(n)
	}
	wait := func(rate, bucket string) float64 {
		return float64(bytesPerSecond(c.given(rate)))*float64(c.span("latency").Microseconds())/1e6 + float64(c.number(bucket))
	}
	limit := wait("rate", "burst")
	if c.given("peakrate") != nil {
		limit = min(limit, wait("peakrate", "mtu"))
	}
	return limit
}

// Attributes of tbf (TCA_TBF_* of pkt_sched.h) that package nl has not.
const (
	tbfRate64, tbfPrate64, tbfBurst, tbfPburst = 4, 5, 6, 7
)

// encodeTBF makes struct tc_tbf_qopt and what is more than that holds.
func encodeTBF(c chosen) []byte {
	rate, peak := bytesPerSecond(c.given("rate")), bytesPerSecond(c.given("peakrate"))
	burst, mtu := c.number("burst"), c.number("mtu")
	parms := append(rateSpec(rate, c, mtu), rateSpec(peak, c, mtu)...)
	parms = append(parms, words32(uint32(tbfLimit(c)), xmitTime(rate, burst), xmitTime(min(peak, math.MaxUint32), mtu))...)
	list := []*nl.RtAttr{nl.NewRtAttr(nl.TCA_TBF_PARMS, parms), nl.NewRtAttr(tbfBurst, sized(4, burst))}
	if rate > math.MaxUint32 {
		list = append(list, nl.NewRtAttr(tbfRate64, nl.Uint64Attr(rate)))
	}
	if peak > math.MaxUint32 {
		list = append(list, nl.NewRtAttr(tbfPrate64, nl.Uint64Attr(peak)))
	}
	if peak > 0 {
		list = append(list, nl.NewRtAttr(tbfPburst, sized(4, mtu)))
	}
	return serialize(list)
}

// decodeTBF reads struct tc_tbf_qopt. The kernel tells a bucket's size as the time that
// it lasts at the rate.
func decodeTBF(b []byte) []QdiscOption {
	var parms []byte
	var rate, peak uint64
	for kind, v := range attributes(b) {
		switch kind {
		case nl.TCA_TBF_PARMS:
			if len(v) >= 36 {
				parms, rate, peak = v, max(rate, uint64(u32(v[8:]))), max(peak, uint64(u32(v[20:])))
			}
		case tbfRate64:
			rate = u64(v)
		case tbfPrate64:
			peak = u64(v)
		}
	}
	if parms == nil {
		return nil
	}
	options := []QdiscOption{{"rate", float64(rate) * 8}, {"burst", xmitSize(rate, u32(parms[28:]))}, {"limit", int(u32(parms[24:]))}}
	if peak > 0 {
		options = append(options, QdiscOption{"peakrate", float64(peak) * 8}, QdiscOption{"mtu", xmitSize(peak, u32(parms[32:]))})
	}
	return append(options, readRateSpec(parms)...)
}

// xmitSize is how many bytes leave in a time at a rate in bytes per second.
func xmitSize(rate uint64, n uint32) int {
	return int(math.Round(float64(rate) * ticks(n).Seconds()))
}
