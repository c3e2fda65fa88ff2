package builtins

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// tBitrate is a number of bits per second, or a string with a unit as tc(8) has
// them.
var tBitrate = &Type{Name: "bits per second, or a rate with a unit", Good: `"10mbit"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		m := regexp.MustCompile(`^([0-9.]+) ?([kmgt]?)(bit|bps)$`).FindStringSubmatch(strings.ToLower(s))
		if m == nil {
			return nil, fmt.Errorf("%q is no rate", s)
		}
		n, err := strconv.ParseFloat(m[1], 64)
		if err != nil {
			return nil, fmt.Errorf("%q is no rate", s)
		}
		n *= map[string]float64{"": 1, "k": 1e3, "m": 1e6, "g": 1e9, "t": 1e12}[m[2]]
		if m[3] == "bps" { // of tc: bytes per second
			n *= 8
		}
		v = starlark.Float(n)
	}
	f, ok := starlark.AsFloat(v)
	if !ok {
		return nil, errType
	}
	if !(f >= 1 && f <= 1e13) {
		return nil, fmt.Errorf("%v bit/s is out of range: it is from 1 to 1e13", v)
	}
	return f, nil
}}

var tTransport = oneOf("tcp", "udp")

func throughputSpecs() []*Spec {
	return []*Spec{{
		Name: "throughput", Family: familyProbes, Returns: "throughput: ok bits_per_second bytes seconds retransmits loss jitter error", Like: "iperf3 -c SERVER -t SECONDS",
		Doc: "Measures what goes through from a client to a server, two namespaces; no program is needed. TCP sends as fast as it goes, or at a rate; " +
			"retransmits counts the segments that were sent again. UDP sends datagrams of 1400 bytes at a rate; loss is the share that did not come, from 0 to 1, and jitter that of RFC 3550 in seconds. " +
			"What a protocol does not have is None. bytes are those of payload that came in seconds. That there is no way is a result (ok is False, error says why) and not an error.",
		Params: []Param{
			required("client", tNetnsRef, "who sends"), required("server", tNetnsRef, "who receives"),
			optional("seconds", tDuration, "2", "for how long"), keyword("proto", tTransport, "\"tcp\"", "\"tcp\" or \"udp\""),
			keyword("streams", intType("a number of connections", "4", 1, 128), "1", "connections at once"),
			keyword("rate", tBitrate, "no limit, UDP 1mbit", "of all streams together, like \"10mbit\""),
			keyword("addr", tHost, "", "which address of the server"), keyword("family", tFamily, "", "4 or 6"),
		},
		Example: "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"t = throughput(a, b, \"200ms\")\nprint(t)\nexpect.gt(t.bits_per_second, 1e6)\nu = throughput(a, b, \"200ms\", proto=\"udp\", rate=\"2mbit\")\nexpect.eq((u.ok, u.retransmits), (True, None))",
		Fn: func(c *Call) (starlark.Value, error) {
			client, server := get[*lab.Namespace](c, "client", nil), get[*lab.Namespace](c, "server", nil)
			to := get(c, "addr", Address{ns: server})
			ip, err := c.destination(to, client, get(c, "family", 0))
			if err != nil {
				return nil, err
			}
			q := probe.ThroughputRequest{To: ip, UDP: get(c, "proto", "tcp") == "udp", For: get(c, "seconds", 2*time.Second),
				Streams: get(c, "streams", 1), Rate: get(c, "rate", 0.0)}
			if q.UDP && q.Rate == 0 {
				q.Rate = 1e6
			}
			if q.For <= 0 {
				return nil, lab.Usage("", "throughput: nothing goes through in no time")
			}
			r, err := client.Throughput(c.Ctx, server, q)
			if err != nil {
				return nil, err
			}
			return measured(q, r), nil
		},
	}}
}

// measured is the result as a value.
func measured(q probe.ThroughputRequest, r probe.ThroughputResult) *Record {
	reason, retransmits, loss, jitter := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	text := fmt.Sprintf("throughput to %s: %s", q.To, rateText(r.BitsPerSecond()))
	switch {
	case r.Err != nil:
		reason, text = starlark.String(r.Err.Error()), fmt.Sprintf("throughput to %s: %v", q.To, r.Err)
	case q.UDP:
		loss, jitter = starlark.Float(r.Loss), seconds(r.Jitter)
		text += fmt.Sprintf(", loss %.1f %%, jitter %.3f ms", r.Loss*100, r.Jitter.Seconds()*1000)
	default:
		retransmits = starlark.MakeInt(r.Retransmits)
		text += fmt.Sprintf(", %d retransmits", r.Retransmits)
	}
	rec := record("throughput", text, nil, field{"ok", starlark.Bool(r.Err == nil)}, field{"bits_per_second", starlark.Float(r.BitsPerSecond())},
		field{"bytes", starlark.MakeInt64(r.Bytes)}, field{"seconds", seconds(r.Took)}, field{"retransmits", retransmits},
		field{"loss", loss}, field{"jitter", jitter}, field{"error", reason})
	rec.truth = r.Err == nil
	return rec
}

// rateText is a rate as people say it.
func rateText(bits float64) string {
	for _, u := range []struct {
		unit string
		size float64
	}{{"Gbit/s", 1e9}, {"Mbit/s", 1e6}, {"kbit/s", 1e3}} {
		if bits >= u.size {
			return fmt.Sprintf("%.2f %s", bits/u.size, u.unit)
		}
	}
	return fmt.Sprintf("%.0f bit/s", bits)
}
