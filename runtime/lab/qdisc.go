package lab

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Qdisc is a queueing discipline of a link at one moment (tc(8)).
type Qdisc struct {
	Kind string
	// Handle and Parent are as tc prints them: "1:", "root", "ffff:fff1", "1:10".
	Handle, Parent string
	// Options are those of the kinds that this package decodes: int, float64
	// (seconds; bits per second; a share of 1) or bool.
	Options []QdiscOption
}

// QdiscOption is an option of a qdisc.
type QdiscOption struct {
	Name  string
	Value any
}

// Numbers of include/uapi/linux/rtnetlink.h and pkt_sched.h.
const (
	sizeofTcMsg        = 20
	tcaKind, tcaOption = 1, 2
	tcRoot             = math.MaxUint32 // TC_H_ROOT
)

// Qdiscs lists the link's queueing disciplines, as `tc qdisc show dev L` does; a link
// that is down may have none.
func (k *Link) Qdiscs() ([]*Qdisc, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	all, err := k.ns.qdiscs()
	if err != nil {
		return nil, k.failed(err, "", "list qdiscs of %s", k)
	}
	return all[k.index], nil
}

// qdiscs lists those of all links, by ifindex.
func (ns *Namespace) qdiscs() (map[int][]*Qdisc, error) {
	all := map[int][]*Qdisc{}
	err := ns.conn.dump(func() *nl.NetlinkRequest {
		r := request(unix.RTM_GETQDISC, 0)
		r.AddRawData(make([]byte, sizeofTcMsg))
		return r
	}, func() { clear(all) }, func(body []byte) error {
		if q, index, ok := parseQdisc(body); ok {
			all[index] = append(all[index], q)
		}
		return nil
	})
	return all, err
}

// parseQdisc reads the body of an RTM_NEWQDISC (struct tcmsg).
func parseQdisc(body []byte) (q *Qdisc, index int, ok bool) {
	if len(body) < sizeofTcMsg {
		return nil, 0, false
	}
	q = &Qdisc{Handle: tcHandle(u32(body[8:])), Parent: tcHandle(u32(body[12:]))}
	var options []byte
	for kind, v := range attributes(body[sizeofTcMsg:]) {
		switch kind {
		case tcaKind:
			q.Kind = cstring(v)
		case tcaOption:
			options = v
		}
	}
	if decode := qdiscDecoders[q.Kind]; decode != nil {
		q.Options = decode(options)
	}
	return q, int(u32(body[4:])), q.Kind != ""
}

// tcHandle is a handle as tc prints it.
func tcHandle(h uint32) string {
	switch {
	case h == tcRoot:
		return "root"
	case h&0xffff == 0:
		return strconv.FormatUint(uint64(h>>16), 16) + ":"
	}
	return fmt.Sprintf("%x:%x", h>>16, h&0xffff)
}

// String is the qdisc as tc prints it, with options as this package has them.
func (q *Qdisc) String() string {
	w := []string{q.Kind, q.Handle}
	if q.Parent != "root" {
		w = append(w, "parent")
	}
	w = append(w, q.Parent)
	for _, o := range q.Options {
		w = append(w, fmt.Sprintf("%s %v", o.Name, o.Value))
	}
	return strings.Join(w, " ")
}

// qdiscDecoders read TCA_OPTIONS (include/uapi/linux/pkt_sched.h).
var qdiscDecoders = map[string]func([]byte) []QdiscOption{
	"pfifo": fifoOptions, "bfifo": fifoOptions, "prio": prioOptions, "tbf": tbfOptions, "htb": htbOptions,
	"netem": netemOptions, "fq_codel": fqCodelOptions,
}

// fifoOptions reads struct tc_fifo_qopt: packets, or bytes.
func fifoOptions(b []byte) []QdiscOption {
	return []QdiscOption{{"limit", int(u32(b))}}
}

// prioOptions reads struct tc_prio_qopt; priomap has 16 bands.
func prioOptions(b []byte) []QdiscOption {
	var bands []int
	for i := 4; i < len(b) && i < 20; i++ {
		bands = append(bands, int(b[i]))
	}
	return []QdiscOption{{"bands", int(u32(b))}, {"priomap", bands}}
}

// tbfOptions reads struct tc_tbf_qopt and what is longer than that holds. The
// bucket's size is told as the time that it lasts at the rate.
func tbfOptions(b []byte) []QdiscOption {
	var rate, peak uint64
	var limit, buffer, burst, minburst uint32
	for kind, v := range attributes(b) {
		switch kind {
		case 1: // TCA_TBF_PARMS: two struct tc_ratespec of 12 bytes, limit, buffer, mtu
			if len(v) >= 36 {
				rate, peak = uint64(u32(v[8:])), uint64(u32(v[20:]))
				limit, buffer, minburst = u32(v[24:]), u32(v[28:]), u32(v[32:])
			}
		case 4: // TCA_TBF_RATE64
			rate = u64(v)
		case 5: // TCA_TBF_PRATE64
			peak = u64(v)
		case 6: // TCA_TBF_BURST
			burst = u32(v)
		}
	}
	if burst == 0 {
		burst = uint32(math.Round(float64(rate) * ticks(buffer).Seconds()))
	}
	options := []QdiscOption{{"rate", float64(rate * 8)}, {"burst", int(burst)}, {"limit", int(limit)}}
	if peak > 0 {
		options = append(options, QdiscOption{"peakrate", float64(peak * 8)},
			QdiscOption{"minburst", int(math.Round(float64(peak) * ticks(minburst).Seconds()))})
	}
	return options
}

// ticks is a time as the packet scheduler counts it, in 64 ns (PSCHED_SHIFT).
func ticks(n uint32) time.Duration { return time.Duration(n) * 64 }

// htbOptions reads struct tc_htb_glob; default is a class's number, in hexadecimal
// where tc shows it.
func htbOptions(b []byte) []QdiscOption {
	var options []QdiscOption
	for kind, v := range attributes(b) {
		switch {
		case kind == 2 && len(v) >= 20: // TCA_HTB_INIT
			options = append(options, QdiscOption{"r2q", int(u32(v[4:]))}, QdiscOption{"default", int(u32(v[8:]))})
		case kind == 5: // TCA_HTB_DIRECT_QLEN
			options = append(options, QdiscOption{"direct_qlen", int(u32(v))})
		}
	}
	return options
}

// fqCodelOptions reads TCA_FQ_CODEL_*; times are in microseconds.
func fqCodelOptions(b []byte) []QdiscOption {
	names := []string{1: "target", 2: "limit", 3: "interval", 4: "ecn", 5: "flows", 6: "quantum", 7: "ce_threshold", 8: "drop_batch", 9: "memory_limit"}
	var options []QdiscOption
	for kind, v := range attributes(b) {
		if kind >= len(names) || names[kind] == "" {
			continue
		}
		o := QdiscOption{names[kind], int(u32(v))}
		switch o.Name {
		case "target", "interval", "ce_threshold":
			o.Value = (time.Duration(u32(v)) * time.Microsecond).Seconds()
		case "ecn":
			o.Value = u32(v) != 0
		}
		options = append(options, o)
	}
	return options
}

// netemOptions reads struct tc_netem_qopt and the attributes after it; what is off is
// left out.
func netemOptions(b []byte) []QdiscOption {
	const head = 24
	if len(b) < head {
		return nil
	}
	var options []QdiscOption
	add := func(name string, value any, on bool) {
		if on {
			options = append(options, QdiscOption{name, value})
		}
	}
	share := func(n uint32) float64 { return float64(n) / math.MaxUint32 }
	latency, jitter := ticks(u32(b)).Seconds(), ticks(u32(b[20:])).Seconds()
	options = append(options, QdiscOption{"limit", int(u32(b[4:]))})
	loss, gap, duplicate := u32(b[8:]), u32(b[12:]), u32(b[16:])
	var reorder, corrupt uint32
	var rate uint64
	for kind, v := range attributes(b[head:]) {
		switch kind {
		case 3: // TCA_NETEM_REORDER
			reorder = u32(v)
		case 4: // TCA_NETEM_CORRUPT
			corrupt = u32(v)
		case 6: // TCA_NETEM_RATE: struct tc_netem_rate
			rate = max(rate, uint64(u32(v)))
		case 8: // TCA_NETEM_RATE64
			rate = u64(v)
		case 10: // TCA_NETEM_LATENCY64, nanoseconds
			latency = time.Duration(u64(v)).Seconds()
		case 11: // TCA_NETEM_JITTER64
			jitter = time.Duration(u64(v)).Seconds()
		}
	}
	add("delay", latency, latency > 0)
	add("jitter", jitter, jitter > 0)
	add("loss", share(loss), loss > 0)
	add("duplicate", share(duplicate), duplicate > 0)
	add("reorder", share(reorder), reorder > 0)
	add("gap", int(gap), gap > 0)
	add("corrupt", share(corrupt), corrupt > 0)
	add("rate", float64(rate*8), rate > 0)
	return options
}
