package examples_test

import "testing"

// everyQdisc gives links every kind of queueing discipline, with options of every sort,
// changes some in place, takes some back, and has classes and what is below them.
const everyQdisc = `
ns = netns("a")
def link(n): return veth("l%d" % n, "p%d" % n, ns=ns, peer_ns=ns, up=True)[0]
tbf(link(1), rate="10mbit", burst="20kb", latency="500us", peakrate="20mbit", mtu=1540, overhead=8, linklayer="atm")
l2 = link(2)
tbf(l2, rate="40gbit", burst="1mb", limit="3mb", handle="7:")
tbf(l2, rate="1234568bit", burst=15000, limit=30000)
l3 = link(3)
q = htb(l3, default="1:20", r2q=5)
tc.class_(l3, "htb", parent=q, classid="1:1", rate="100mbit", burst=15000, cburst=1600)
tc.class_(l3, "htb", parent="1:1", classid="1:10", rate="40gbit", ceil="50gbit", quantum=60000, prio=1)
tc.class_(l3, "htb", parent="1:1", classid="1:20", rate="1mbit", ceil="100mbit", mpu=64, overhead=4)
tc.class_(l3, "htb", parent="1:1", classid="1:20", rate="2mbit", ceil="100mbit")
tc.qdisc(l3, "pfifo", parent="1:20", limit=7)
tc.qdisc(l3, "bfifo", parent="1:10", limit=7000)
tc.class_(l3, "htb", parent="1:1", classid="1:30", rate="1mbit").undo()
tbf(l3, rate="1mbit", burst=15000, limit=30000).undo()
clsact(link(4))
ingress(link(5))
shape(link(6), link(7), rate=("1mbit", "2mbit"))
l8 = link(8)
ifb("ifb0", ns=ns, up=True)
clsact(l8)
tc.filter(l8, "u32", parent="ingress", protocol="ip", match=["ip dst 10.0.0.0/8", "ip protocol 6 0xff", "ip dport 80 0xffff"], actions="mirred egress redirect dev ifb0")
tc.filter(l8, "u32", parent="egress", protocol="ipv6", match="ip6 src fd00::/60", actions="mirred egress mirror dev ifb0", pref=7)
tc.filter(l3, "u32", protocol="ip", match="ip tos 0x10 0xff", classid="1:10")
tc.filter(l3, "u32", match="u32 0 0 at 0", classid="1:20")
tbf(l3, rate="1mbit", burst=15000, limit=30000).undo()
`

// everyModularQdisc are those that a kernel without modules may lack.
const everyModularQdisc = `
ns = netns("a")
def link(n): return veth("l%d" % n, "p%d" % n, ns=ns, peer_ns=ns, up=True)[0]
l10 = link(10)
netem(l10, delay="100500ns", jitter="33us", delay_correlation="25%", loss="0.3%", loss_correlation="7%", duplicate="1%", corrupt="0.001%", reorder="25%",
      reorder_correlation="50%", gap=5, rate="1mbit", rate_overhead=-4, rate_cell=53, rate_cell_overhead=5, limit=99)
netem(l10, delay="3s")
netem(l10, delay="2s", handle="3:")
netem(link(11), loss_gemodel=["1%", "10%", "70%", "0.1%"], ecn=True)
netem(link(12), rate="40gbit")
l30 = link(30)
sfq(l30, limit=3000, flows=512, divisor=16384, depth=64, redflowlimit=100000, min=8000, max=60000, probability=0.2, ecn=True, harddrop=True)
sfq(l30, limit=100).undo()
sfq(link(31), redflowlimit=60000, avpkt=500, burst=30)
tc.qdisc(link(32), "choke", limit=1000, bandwidth="10mbit", min=83, max=250, burst=200, probability=0.1, avpkt=900, ecn=True)
tc.qdisc(link(33), "choke", limit=200, bandwidth="1mbit")
l34 = link(34)
tc.class_(l34, "qfq", parent=tc.qdisc(l34, "qfq"), classid="1:7", weight=10, maxpkt=2048)
l35 = link(35)
tc.qdisc(l35, "hfsc", default="1:30")
tc.class_(l35, "hfsc", parent="1:", classid="1:1", sc="10mbit", ul="10mbit")
tc.class_(l35, "hfsc", parent="1:1", classid="1:30", rt=("5mbit", "10ms", "1mbit"), ls=(0, "2ms", "2mbit"), ul="8mbit")
tc.class_(l35, "hfsc", parent="1:1", classid="1:30", rt="1mbit", ls="2mbit", ul="9mbit").undo()
tc.class_(l35, "hfsc", parent="1:1", classid="1:40", ls="2mbit").undo()
tbf(l35, rate="1mbit", burst=15000, limit=30000).undo()
l27 = link(27)
netem(l27, delay="100ms", jitter="10ms", distribution="pareto", slot_min="800us", slot_max="1ms", slot_packets=32, slot_bytes=64000)
netem(l27, delay="100ms", jitter="10ms", loss_state=["1%", "20%", "30%", "40%", "5%"], ecn=True)
netem(link(28), slot_distribution="normal", slot_delay="2ms", slot_jitter="100us")
netem(l27, delay="1ms", jitter="1us", delay_correlation="25%", distribution="experimental", slot_distribution="paretonormal", slot_delay="2ms", slot_jitter="1ms", slot_packets=5).undo()
fq_codel(link(13), limit=100, flows=16, target="4ms", interval="90ms", quantum=300, ecn=False, ce_threshold="1ms", memory_limit="1mb", drop_batch=8)
fq(link(14), limit=100, flow_limit=7, quantum=3000, initial_quantum=9000, maxrate="10mbit", pacing=False, refill_delay="50ms", orphan_mask=255, low_rate_threshold="1mbit",
   ce_threshold="1ms", timer_slack="20us", horizon="5s", horizon_drop=False)
cake(link(15), bandwidth="10mbit", diffserv="diffserv4", isolate="dual-srchost", rtt="50ms", nat=True, wash=True, split_gso=False, ack_filter="ack-filter", ingress=True,
     atm="ptm", overhead=18, mpu=64, memlimit="2mb", fwmark=15)
cake(link(16), diffserv="besteffort")
prio(link(17), bands=4, priomap=[3, 2, 2, 2, 1, 2, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1])
sfq(link(18), limit=64, perturb="10s", quantum=3000, flows=64, divisor=512, depth=32, headdrop=True)
l19 = link(19)
red(l19, limit="400kb", avpkt=1000, min=30000, max=90000, burst=55, probability=0.1, bandwidth="10mbit", ecn=True, harddrop=True)
netem(l19, delay="1s").undo()
red(link(20), limit="60kb", avpkt=1000, ecn=True, nodrop=True)
tc.qdisc(link(21), "codel", limit=100, target="3ms", interval="40ms", ecn=True, ce_threshold="2ms")
tc.qdisc(link(22), "pie", limit=100, target="20ms", tupdate="30ms", alpha=3, beta=15, ecn=True, bytemode=True)
l23 = link(23)
tc.class_(l23, "drr", parent=tc.qdisc(l23, "drr"), classid="1:7", quantum=3000)
l26 = link(26)
htb(l26)
tc.class_(l26, "htb", parent="1:", classid="1:10", rate="10mbit")
tc.filter(l26, "u32", match="u32 0 0 at 0", actions="police rate 1mbit burst 10000 mtu 64kb drop")
tc.filter(l26, "u32", protocol="ip", match="ip protocol 17 0xff", actions=["pedit munge ip ttl set 5 munge ip dst set 10.0.0.9", "csum ip and udp", "skbedit priority 1:10 mark 7"])
tc.filter(l26, "flower", protocol="ip", match=["ip_proto tcp", "dst_ip 10.0.0.0/8", "src_ip 192.0.2.1", "dst_port 80"], classid="1:10")
tc.filter(l26, "flower", match=["dst_mac 02:00:00:00:00:09", "src_mac 02:00:00:00:00:08"], actions="pass")
tc.filter(l26, "u32", match="u16 0x50 0xffff at 22", actions="drop").undo()
tc.filter(l26, "fw", handle=6, match="mask 0xff", classid="1:10")
tc.filter(l26, "matchall", actions=["skbedit ptype host queue_mapping 1", "drop"])
shape(link(24), link(25), delay="10ms", jitter="1ms", loss="1%", rate="1mbit")
`

// TestExplainedShaping proves them, by what tc says of two labs, each at once. The tc
// of Debian 12 reckons the bucket of an htb class with times cut to microseconds:
// those here are whole ones.
func TestExplainedShaping(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge", "tc")
	needs(t, "util-linux", "unshare", "mount")
	t.Run("tbf and htb", func(t *testing.T) { explained(t, everyQdisc) })
	t.Run("others", func(t *testing.T) { explained(t, everyModularQdisc) })
}
