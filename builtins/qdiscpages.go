package builtins

// qdiscPages are the kinds of queueing disciplines that have a builtin, in the order of
// the reference.
var qdiscPages = []qdiscPage{
	{"netem", "Delays, loses, repeats, damages, reorders or slows down what links send (tc-netem(8)). It states all of it: what is left out is off. " +
		"Nothing is lost that is not asked for: limit is large enough for what can be held during the delay.",
		twoHosts + "f = netem(a[\"eth0\"], delay=\"50ms\")\nexpect.ge(ping(a, b).avg, 0.05)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"delay\"], 0.05)\n" +
			"netem(a[\"eth0\"], loss=\"100%\").undo()\nexpect.ge(ping(a, b).avg, 0.05)\nf.undo()\nexpect.eq(a[\"eth0\"].qdiscs[0].kind, \"noqueue\")"},
	{"tbf", "Slows links down by a token bucket (tc-tbf(8)): packets leave at rate, and burst may leave at once. What would wait longer than latency is dropped.",
		twoHosts + "q = tbf(a[\"eth0\"], rate=\"10mbit\", burst=\"20kb\", latency=\"50ms\")\nt = throughput(a, b, \"500ms\", proto=\"udp\", rate=\"20mbit\")\nexpect.lt(t.bits_per_second, 13e6)\n" +
			"expect.gt(q.qdiscs[0].stats.drops, 0)\nq.undo()\nexpect.eq(a[\"eth0\"].qdiscs[0].kind, \"noqueue\")"},
	{"htb", "Shares a link among classes (tc-htb(8)), which tc.class_() makes and tc.filter() chooses.",
		twoHosts + "q = htb(a[\"eth0\"], default=\"1:20\")\ntc.class_(a[\"eth0\"], \"htb\", parent=q, classid=\"1:1\", rate=\"10mbit\")\n" +
			"tc.class_(a[\"eth0\"], \"htb\", parent=\"1:1\", classid=\"1:20\", rate=\"2mbit\", ceil=\"10mbit\")\nexpect.reachable(a, b)\nexpect.gt(a[\"eth0\"].classes[1].stats.packets, 0)\nprint(a[\"eth0\"].classes)"},
	{"fq_codel", "Shares a link among flows and keeps its queue short (tc-fq_codel(8), RFC 8290).",
		twoHosts + "fq_codel(a[\"eth0\"], target=\"10ms\", ecn=False)\nexpect.reachable(a, b)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"ecn\"], False)"},
	{"fq", "Shares a link among flows and sends packets when their senders' pacing wants it (tc-fq(8)).",
		twoHosts + "fq(a[\"eth0\"], maxrate=\"10mbit\")\nexpect.reachable(a, b)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"maxrate\"], 10e6)"},
	{"cake", "Shapes a link, shares it among hosts and flows and keeps its queue short (tc-cake(8)).",
		twoHosts + "cake(a[\"eth0\"], bandwidth=\"10mbit\", isolate=\"dual-srchost\", rtt=\"50ms\")\nexpect.reachable(a, b)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"isolate\"], \"dual-srchost\")"},
	{"prio", "Has a queue for each of some bands, of which the first that is not empty is served (tc-prio(8)).",
		twoHosts + "prio(a[\"eth0\"], bands=4)\nexpect.reachable(a, b)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"bands\"], 4)"},
	{"sfq", "Serves flows in turn (tc-sfq(8)).",
		twoHosts + "sfq(a[\"eth0\"], perturb=\"10s\")\nexpect.reachable(a, b)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"perturb\"], 10.0)"},
	{"red", "Drops or marks packets the sooner the longer the queue is (tc-red(8)).",
		twoHosts + "red(a[\"eth0\"], limit=\"100kb\", avpkt=1000, min=\"10kb\", max=\"30kb\", ecn=True)\nexpect.reachable(a, b)\nexpect.eq(a[\"eth0\"].qdiscs[0].options[\"max\"], 30 * 1024)"},
	{"ingress", "Gives links a place for filters of what comes in, which tc.filter() puts there.",
		twoHosts + "ingress(a[\"eth0\"])\nexpect.contains([q.kind for q in a[\"eth0\"].qdiscs], \"ingress\")"},
	{"clsact", "Gives links two places for filters, \"ingress\" for what comes in and \"egress\" for what leaves, which tc.filter() puts there.",
		twoHosts + "c = clsact(a[\"eth0\"])\nexpect.contains([q.kind for q in a[\"eth0\"].qdiscs], \"clsact\")\nc.undo()\nexpect.eq([q.kind for q in a[\"eth0\"].qdiscs], [\"noqueue\"])"},
}
