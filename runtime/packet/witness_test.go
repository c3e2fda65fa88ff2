package packet

import (
	"bytes"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// need skips a test for want of a program of a package of Debian, or fails it where
// the environment says that it has to be there.
func need(t testing.TB, program, of string) string {
	t.Helper()
	path, err := exec.LookPath(program)
	if err != nil {
		why := fmt.Sprintf("no program %s (Debian's package %s)", program, of)
		if slices.Contains(strings.Split(os.Getenv("NSSCRIPT_REQUIRE"), ","), program) {
			t.Fatal(why)
		}
		t.Skip(why)
	}
	return path
}

// corpus writes the samples to a file, one a second, and returns its path.
func corpus(t testing.TB) (path string, packets [][]byte) {
	t.Helper()
	path = filepath.Join(t.TempDir(), "corpus.pcapng")
	f, err := os.Create(path)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	w := NewWriter(f, "nsscript", "the corpus", []Interface{{Name: "eth0", Description: "in blue", Type: LinkEthernet}, {Name: "eth1", Type: LinkEthernet}})
	for i, s := range samples() {
		b := s.bytes(t)
		packets = append(packets, b)
		w.Write(Captured{Interface: i % 2, Time: int64(i)*1e9 + 123456789, Data: b, Length: len(b), Direction: Direction(1 + i%2), Comment: s.name})
	}
	w.Statistics(0, Interface{Received: 100, Dropped: 7}, 0)
	if err := w.Flush(); err != nil {
		t.Fatal(err)
	}
	return path, packets
}

// tsharkFields are names of Wireshark for ours. Where a packet has several, both
// mean the outermost.
var tsharkFields = map[string]string{
	"eth.dst": "eth.dst", "eth.src": "eth.src",
	"llc.dsap": "llc.dsap", "llc.ssap": "llc.ssap",
	"stp.root_mac": "stp.root.hw", "stp.root_cost": "stp.root.cost", "stp.bridge_mac": "stp.bridge.hw", "stp.port": "stp.port",
	"stp.hello_time": "stp.hello", "stp.max_age": "stp.max_age", "stp.forward_delay": "stp.forward", "stp.version": "stp.version", "stp.type": "stp.type",
	"vlan.pcp": "vlan.priority", "vlan.id": "vlan.id", "vlan.dei": "vlan.dei", "vlan.type": "vlan.etype",
	"mpls.label": "mpls.label", "mpls.tc": "mpls.exp", "mpls.s": "mpls.bottom", "mpls.ttl": "mpls.ttl",
	"arp.hrd": "arp.hw.type", "arp.pro": "arp.proto.type", "arp.hln": "arp.hw.size", "arp.pln": "arp.proto.size", "arp.op": "arp.opcode",
	"arp.sha": "arp.src.hw_mac", "arp.spa": "arp.src.proto_ipv4", "arp.tha": "arp.dst.hw_mac", "arp.tpa": "arp.dst.proto_ipv4",
	"ip.tos": "ip.dsfield", "ip.dscp": "ip.dsfield.dscp", "ip.ecn": "ip.dsfield.ecn", "ip.length": "ip.len", "ip.id": "ip.id",
	"ip.df": "ip.flags.df", "ip.mf": "ip.flags.mf", "ip.ttl": "ip.ttl", "ip.proto": "ip.proto", "ip.checksum": "ip.checksum",
	"ip.checksum_ok": "ip.checksum.status", "ip.src": "ip.src", "ip.dst": "ip.dst",
	"ipv6.traffic_class": "ipv6.tclass", "ipv6.flow_label": "ipv6.flow", "ipv6.payload_length": "ipv6.plen",
	"ipv6.next_header": "ipv6.nxt", "ipv6.hop_limit": "ipv6.hlim", "ipv6.src": "ipv6.src", "ipv6.dst": "ipv6.dst",
	"ipv6.frag_id": "ipv6.fraghdr.ident", "ipv6.mf": "ipv6.fraghdr.more",
	"srh.next_header": "ipv6.routing.nxt", "srh.segments_left": "ipv6.routing.segleft", "srh.last_entry": "ipv6.routing.srh.last_entry", "srh.tag": "ipv6.routing.srh.tag",
	"icmp.type": "icmp.type", "icmp.code": "icmp.code", "icmp.checksum": "icmp.checksum", "icmp.checksum_ok": "icmp.checksum.status",
	"icmp.id": "icmp.ident", "icmp.seq": "icmp.seq", "icmp.mtu": "icmp.mtu",
	"icmpv6.type": "icmpv6.type", "icmpv6.code": "icmpv6.code", "icmpv6.checksum": "icmpv6.checksum", "icmpv6.checksum_ok": "icmpv6.checksum.status",
	"icmpv6.id": "icmpv6.echo.identifier", "icmpv6.seq": "icmpv6.echo.sequence_number", "icmpv6.mtu": "icmpv6.mtu",
	"icmpv6.lladdr": "icmpv6.opt.linkaddr", "icmpv6.router": "icmpv6.nd.na.flag.r", "icmpv6.solicited": "icmpv6.nd.na.flag.s", "icmpv6.override": "icmpv6.nd.na.flag.o",
	"icmpv6.hop_limit": "icmpv6.nd.ra.cur_hop_limit", "icmpv6.managed": "icmpv6.nd.ra.flag.m", "icmpv6.other": "icmpv6.nd.ra.flag.o", "icmpv6.router_lifetime": "icmpv6.nd.ra.router_lifetime",
	"udp.sport": "udp.srcport", "udp.dport": "udp.dstport", "udp.length": "udp.length", "udp.checksum": "udp.checksum", "udp.checksum_ok": "udp.checksum.status",
	"tcp.sport": "tcp.srcport", "tcp.dport": "tcp.dstport", "tcp.seq": "tcp.seq_raw", "tcp.ack": "tcp.ack_raw", "tcp.window": "tcp.window_size_value",
	"tcp.flags": "tcp.flags", "tcp.checksum": "tcp.checksum", "tcp.checksum_ok": "tcp.checksum.status", "tcp.mss": "tcp.options.mss_val",
	"tcp.wscale": "tcp.options.wscale.shift", "tcp.ts_val": "tcp.options.timestamp.tsval", "tcp.ts_ecr": "tcp.options.timestamp.tsecr",
	"dns.id": "dns.id", "dns.qr": "dns.flags.response", "dns.opcode": "dns.flags.opcode", "dns.aa": "dns.flags.authoritative", "dns.rd": "dns.flags.recdesired",
	"dns.name": "dns.qry.name", "vxlan.vni": "vxlan.vni",
	"gre.proto": "gre.proto", "gre.key": "gre.key", "gre.seq": "gre.sequence_number",
	"geneve.version": "geneve.version", "geneve.proto": "geneve.proto_type", "geneve.vni": "geneve.vni",
}

// tshark asks for fields of every packet of a file: rows of columns.
func tshark(t testing.TB, path string, fields []string, options ...string) [][]string {
	t.Helper()
	args := append([]string{"-n", "-r", path, "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"}, options...)
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command(need(t, "tshark", "tshark"), args...)
	var complaints bytes.Buffer
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &complaints)
	}
	var rows [][]string
	for line := range strings.Lines(string(out)) {
		rows = append(rows, strings.Split(strings.TrimRight(line, "\n"), "|"))
	}
	return rows
}

// same compares a value of ours with what tshark printed; "" is None.
func same(ours any, theirs string) bool {
	number := func(s string) int64 {
		n, err := strconv.ParseInt(s, 0, 64)
		if err != nil {
			return -1
		}
		return n
	}
	switch v := ours.(type) {
	case nil:
		return theirs == ""
	case int:
		return number(theirs) == int64(v)
	case bool:
		return v && (theirs == "1" || theirs == "True") || !v && (theirs == "0" || theirs == "False")
	case float64:
		f, err := strconv.ParseFloat(theirs, 64)
		return err == nil && f == v
	case MAC:
		return theirs == v.String()
	case netip.Addr:
		return theirs == v.String()
	case string:
		return theirs == v || theirs+"." == v
	}
	return false
}

// TestWitness: what Wireshark reads in the packets of the corpus is what we read.
func TestWitness(t *testing.T) {
	path, packets := corpus(t)
	var ours, theirs []string
	for k := Ethernet; k < kinds; k++ {
		for _, f := range Fields(k) {
			if other := tsharkFields[k.String()+"."+f.Name]; other != "" {
				ours, theirs = append(ours, k.String()+"."+f.Name), append(theirs, other)
			}
		}
	}
	if len(ours) != len(tsharkFields) {
		t.Errorf("%d of %d names are fields of ours", len(ours), len(tsharkFields))
	}
	rows := tshark(t, path, append(theirs, "_ws.malformed"), "-o", "ip.check_checksum:TRUE", "-o", "udp.check_checksum:TRUE", "-o", "tcp.check_checksum:TRUE", "-o", "ip.defragment:FALSE", "-o", "ipv6.defragment:FALSE", "-o", "tcp.desegment_tcp_streams:FALSE")
	if len(rows) != len(packets) {
		t.Fatalf("%d packets in the file, %d written", len(rows), len(packets))
	}
	seen := map[string]int{}
	var p Packet
	for i, s := range samples() {
		p.Decode(packets[i], len(packets[i]), Ethernet)
		for j, name := range ours {
			compare(t, &p, s, name, rows[i][j], seen)
		}
	}
	for _, name := range ours {
		if seen[name] == 0 && name != "icmpv6.other" {
			t.Errorf("no packet of the corpus has %s", name)
		}
	}
}

// compare compares a field of a packet.
func compare(t *testing.T, p *Packet, s sample, name, theirs string, seen map[string]int) {
	at, err := findPlace(name)
	if err != nil {
		t.Fatal(err)
	}
	var l *Layer
	for level := 0; level < p.Levels() && l == nil; level++ {
		l = p.Layer(at.kind, level)
	}
	if l == nil {
		if theirs != "" && s.bad == "" {
			t.Errorf("%s: %s is absent, tshark has %s", s.name, name, theirs)
		}
		return
	}
	switch {
	case s.name == "qinq" && l.Kind == VLAN, name == "dns.aa" && theirs == "", l.Quoted && at.field.Name == "checksum_ok":
		return // Wireshark has other fields for an outer tag, and others for queries; it verifies what is quoted
	}
	v := p.Get(l, at.field)
	if strings.HasSuffix(name, "checksum_ok") { // 0 bad, 1 good, 2 unverified, 3 not present
		theirs = map[string]string{"0": "False", "1": "True"}[theirs]
	}
	if name == "tcp.flags" {
		n, _ := p.number(l, at.field)
		v = int(n)
	}
	if v == nil && theirs == "" {
		return
	}
	seen[name]++
	if !same(v, theirs) && s.bad == "" {
		t.Errorf("%s: %s is %v, tshark has %q", s.name, name, v, theirs)
	}
}

// TestWitnessMalformed: Wireshark, too, finds something wrong with the packets that
// are malformed for us, and nothing malformed in the others; it reads the rest of the
// file as it was written.
func TestWitnessMalformed(t *testing.T) {
	path, packets := corpus(t)
	rows := tshark(t, path, []string{"_ws.malformed", "_ws.expert.severity", "frame.comment", "frame.time_epoch", "frame.interface_name",
		"frame.packet_flags_direction"}, "-E", "occurrence=a")
	var p Packet
	for i, s := range samples() {
		p.Decode(packets[i], len(packets[i]), Ethernet)
		k, _ := p.Malformed()
		row := rows[i]
		const note = 4 << 20
		wrong := row[0] != ""
		for word := range strings.SplitSeq(row[1], ",") {
			severity, _ := strconv.Atoi(word)
			wrong = wrong || severity >= note
		}
		if k != None && !wrong && k != VXLAN { // whose flag Wireshark does not mind
			t.Errorf("%s: tshark finds nothing wrong: %q", s.name, row)
		}
		if k == None && row[0] != "" {
			t.Errorf("%s: tshark finds it malformed: %q", s.name, row)
		}
		if row[2] != s.name || row[3] != fmt.Sprintf("%d.123456789", i) || row[4] != fmt.Sprintf("eth%d", i%2) ||
			row[5] != fmt.Sprintf("0x%08x", 1+i%2) {
			t.Errorf("%s: the file says %q", s.name, row)
		}
	}
}
