package lab

import (
	"slices"
	"strconv"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Metric is a property of the path of a route (RTAX_* of
// include/uapi/linux/rtnetlink.h, ip-route(8)). 0 is what has not been set.
type Metric struct {
	Name     string
	Doc      string
	Min, Max int
	// Units of a time, how many of the kernel's are in a millisecond; 0 for a number.
	Units int
	// Bool is a number that is 0 or 1.
	Bool bool
	// Lockable ones can be kept from path MTU discovery and TCP's learning.
	Lockable bool

	number int
}

const most32 = 1<<32 - 1

// Metrics are the metrics of routes but congctl, which is a name, and features.
func Metrics() []Metric {
	return []Metric{
		{Name: "mtu", Doc: "of the path, in bytes", Min: 68, Max: 65520, Lockable: true, number: unix.RTAX_MTU},
		{Name: "window", Doc: "the largest window to announce, in bytes", Min: 1, Max: most32, Lockable: true, number: unix.RTAX_WINDOW},
		{Name: "rtt", Doc: "the round trip time to begin with, in milliseconds", Min: 1, Max: most32 / 8, Units: 8, Lockable: true, number: unix.RTAX_RTT},
		{Name: "rttvar", Doc: "its variance to begin with, in milliseconds", Min: 1, Max: most32 / 4, Units: 4, Lockable: true, number: unix.RTAX_RTTVAR},
		{Name: "ssthresh", Doc: "the slow start threshold to begin with, in segments", Min: 1, Max: most32, Lockable: true, number: unix.RTAX_SSTHRESH},
		{Name: "cwnd", Doc: "the largest congestion window, in segments, if it is locked", Min: 1, Max: most32, Lockable: true, number: unix.RTAX_CWND},
		{Name: "advmss", Doc: "the segment size to announce, in bytes", Min: 1, Max: 65495, Lockable: true, number: unix.RTAX_ADVMSS},
		{Name: "reordering", Doc: "how far segments may be out of order", Min: 1, Max: most32, Lockable: true, number: unix.RTAX_REORDERING},
		{Name: "hoplimit", Doc: "the time to live of packets", Min: 1, Max: 255, Lockable: true, number: unix.RTAX_HOPLIMIT},
		{Name: "initcwnd", Doc: "the congestion window to begin with, in segments", Min: 1, Max: most32, Lockable: true, number: unix.RTAX_INITCWND},
		{Name: "rto_min", Doc: "the least retransmission timeout, in milliseconds; it is locked by itself", Min: 1, Max: most32, Units: 1, number: unix.RTAX_RTO_MIN},
		{Name: "initrwnd", Doc: "the window to announce at first, in segments", Min: 1, Max: most32, Lockable: true, number: unix.RTAX_INITRWND},
		{Name: "quickack", Doc: "acknowledge at once", Bool: true, number: unix.RTAX_QUICKACK},
		{Name: "fastopen_no_cookie", Doc: "TCP fast open without a cookie", Bool: true, number: unix.RTAX_FASTOPEN_NO_COOKIE},
	}
}

// LockableMetrics are those that lock= takes.
func LockableMetrics() []string {
	names := []string{"congctl"}
	for _, m := range Metrics() {
		if m.Lockable {
			names = append(names, m.Name)
		}
	}
	return names
}

// PathMetrics are the metrics of one route.
type PathMetrics struct {
	values [unix.RTAX_FASTOPEN_NO_COOKIE + 1]uint32
	// CongCtl is the congestion control of TCP connections by the route, or "".
	CongCtl string
	// ECN lets connections by the route use explicit congestion notification.
	ECN    bool
	locked uint32 // a bit for each RTAX_ metric
}

// featureECN is RTAX_FEATURE_ECN.
const featureECN = 1

// Set sets a metric, a time in milliseconds.
func (p *PathMetrics) Set(m Metric, value int) {
	p.values[m.number] = uint32(value * max(m.Units, 1))
	if m.number == unix.RTAX_RTO_MIN { // which counts only so, and `ip` does it
		p.locked |= 1 << m.number
	}
}

// Get is a metric, a time in milliseconds; 0 when it is not set.
func (p *PathMetrics) Get(m Metric) int { return int(p.values[m.number]) / max(m.Units, 1) }

// Lock locks a metric by its name.
func (p *PathMetrics) Lock(name string) {
	p.locked |= 1 << slices.Index(metrics, name)
}

// Locked are the metrics that are locked, by name.
func (p *PathMetrics) Locked() []string {
	var names []string
	for i, name := range metrics {
		if p.locked&(1<<i) != 0 {
			names = append(names, name)
		}
	}
	return names
}

// check refuses a lock without a value: the kernel has none of such.
func (p *PathMetrics) check() error {
	for _, name := range p.Locked() {
		i := slices.Index(metrics, name)
		if p.values[i] == 0 && (name != "congctl" || p.CongCtl == "") {
			return Usage(name+"=…, lock=["+strconv.Quote(name)+"]", "lock= names %s, which has no value", name)
		}
	}
	return nil
}

// attribute is RTA_METRICS, or nil when no metric is set.
func (p *PathMetrics) attribute() []byte {
	var b []byte
	add := func(kind int, data []byte) { b = append(b, attr(kind, data)...) }
	if p.locked != 0 {
		add(unix.RTAX_LOCK, nl.Uint32Attr(p.locked))
	}
	for number, value := range p.values {
		if value != 0 && number != unix.RTAX_FEATURES {
			add(number, nl.Uint32Attr(value))
		}
	}
	if p.CongCtl != "" {
		add(unix.RTAX_CC_ALGO, nl.ZeroTerminated(p.CongCtl))
	}
	if p.ECN {
		add(unix.RTAX_FEATURES, nl.Uint32Attr(featureECN))
	}
	if b == nil {
		return nil
	}
	return attr(unix.RTA_METRICS, b)
}

func (p *PathMetrics) parse(b []byte) {
	for kind, v := range attributes(b) {
		switch {
		case kind == unix.RTAX_LOCK:
			p.locked = u32(v)
		case kind == unix.RTAX_CC_ALGO:
			p.CongCtl = cstring(v)
		case kind == unix.RTAX_FEATURES:
			p.ECN = u32(v)&featureECN != 0
		case kind < len(p.values):
			p.values[kind] = u32(v)
		}
	}
}

// each calls fn with the words of `ip route` for each metric that is set.
func (p *PathMetrics) each(fn func(name, value string)) {
	lock := func(number int) string {
		if p.locked&(1<<number) != 0 && number != unix.RTAX_RTO_MIN {
			return "lock "
		}
		return ""
	}
	for _, m := range Metrics() {
		value := p.Get(m)
		switch {
		case value == 0:
		case m.Units > 0:
			fn(m.Name, lock(m.number)+strconv.Itoa(value)+"ms")
		default:
			fn(m.Name, lock(m.number)+strconv.Itoa(value))
		}
	}
	if p.ECN {
		fn("features", "ecn")
	}
	if p.CongCtl != "" {
		fn("congctl", lock(unix.RTAX_CC_ALGO)+p.CongCtl)
	}
}

// Milliseconds are a time as a metric has it, which is of whole ones.
func (m Metric) Milliseconds(d time.Duration) (int, error) {
	ms := d.Milliseconds()
	if d%time.Millisecond != 0 || ms < int64(m.Min) || ms > int64(m.Max) {
		return 0, Usage("", "%v is out of range: it is of whole milliseconds, from %d to %d", d, m.Min, m.Max)
	}
	return int(ms), nil
}

// metrics are the names of the RTAX_ metrics as `ip` prints them.
var metrics = []string{"", "lock", "mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit",
	"initcwnd", "features", "rto_min", "initrwnd", "quickack", "congctl", "fastopen_no_cookie"}
