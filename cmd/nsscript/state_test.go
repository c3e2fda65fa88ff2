package main

import (
	"testing"

	"nsscript/runtime/labtest"
)

// everything is a lab with a bit of each table, as far as the kernel has them.
const everything = `
r = netns("r")
a, b = veth("a", "b", ns=r, peer_ns=netns("far"), addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
br = bridge("br0", ns=r, up=True)
p, q = veth("p", "q", ns=r, master=br, up=True)
up(q)
addr(q, "10.1.0.1/24", broadcast="+")
route(r, "default", via="10.0.0.2")
route(r, "::/0", via="fd00::2")
route(r, "192.0.2.0/24", type="blackhole", table=100)
route(r, "198.51.100.0/24", hops=[hop(via="10.0.0.2", weight=2), hop(via="10.0.0.3")])
rule(r, priority=100, src="10.9.0.0/16", table=100)
neighbor(a, "10.0.0.9", "02:00:00:00:00:09")
neighbor(a, "10.0.0.8", proxy=True)
nexthop(r, 7, via="10.0.0.2", dev=a)
fdb(p, "02:00:00:00:00:07")
mdb(p, "239.1.1.1")
maddr(a, "01:00:5e:7f:00:09")
sysctl(r, "net.ipv4.ip_forward", 1)
require.reachable(r, "10.0.0.2")
`

// TestStateMissesNothing: what iproute2 shows of a namespace is in its state, and
// nothing else.
func TestStateMissesNothing(t *testing.T) {
	labtest.Need(t, "ip", "bridge", "tc", "ipv6")
	runs(t, exitOK, nsscript(t, scriptFile(t, everything+`
def told(words):
    "what a program prints as JSON: each line may be a list of its own"
    rows = []
    for line in exec_in(r, words).stdout.splitlines():
        if line: rows += json.decode(line)
    return rows
tables = {"main": 254, "local": 255, "default": 253}
def table_of(x): return tables[x] if x in tables else int(x)
def same(what, ours, theirs):
    for x in ours:
        if x not in theirs: fail("%s: only state() has %s" % (what, x))
    for x in theirs:
        if x not in ours: fail("%s: state() misses %s" % (what, x))
    expect.eq((what, len(ours)), (what, len(theirs)))

s = state(r)
same("links", [(l.name, l.mtu, l.mac, l.txqueuelen, l.master) for l in s.links],
    [(l["ifname"], l["mtu"], l["address"], l["txqlen"], l.get("master")) for l in told("ip -j -d link")])
same("addrs", [(x.link, x.ip, x.prefixlen, x.scope, x.broadcast) for x in s.addrs],
    [(l["ifname"], x["local"], x["prefixlen"], x["scope"], x.get("broadcast")) for l in told("ip -j addr") for x in l["addr_info"]])
same("routes", [(x.dst, x.table, x.type, x.dev if not x.hops else None, x.via, x.metric, x.proto, len(x.hops), x.src) for x in s.routes],
    [(x["dst"], table_of(x.get("table", "main")), x.get("type", "unicast"), x.get("dev"), x.get("gateway"), x.get("metric") or None, x.get("protocol", "boot"),
        len(x.get("nexthops", [])), x.get("prefsrc")) for x in told("ip -j -4 route show table all") + told("ip -j -6 route show table all")])
same("rules", [(x.priority, x.table, x.src) for x in s.rules],
    [(x["priority"], table_of(x["table"]), None if x["src"] == "all" else "%s/%d" % (x["src"], x.get("srclen", 32)))
        for x in told("ip -j -4 rule") + told("ip -j -6 rule")])
same("neighbors", [(x.ip, x.dev, x.mac) for x in s.neighbors],
    [(x["dst"], x["dev"], x.get("lladdr")) for x in told("ip -j neigh") + told("ip -j neigh show proxy") if "lladdr" in x or "proxy" in x])
same("nexthops", [(x.id, x.via, x.dev) for x in s.nexthops], [(x["id"], x.get("gateway"), x.get("dev")) for x in told("ip -j nexthop")])
same("fdb", [(x.mac, x.port, x.vlan, x.master) for x in s.fdb],
    [(x["mac"], x["ifname"], x.get("vlan"), "self" not in x.get("flags", [])) for x in told("bridge -j fdb show")])
same("mdb", [(x.bridge, x.port, x.group, x.vlan) for x in s.mdb],
    [(x["dev"], x["port"], x["grp"], x.get("vid")) for top in told("bridge -j mdb show") for x in top.get("mdb", [])])
same("vlans", [(x.port, x.vid) for x in s.vlans], [(x["ifname"], v["vlan"]) for x in told("bridge -j vlan show") for v in x["vlans"]])
same("maddrs", [(x.link, x.group) for x in s.maddrs],
    [(l["ifname"], x["link"]) for l in told("ip -j maddr") for x in l["maddr"] if "static" in x.get("features", "")])
same("mroutes", [(x.src, x.dst) for x in s.mroutes], [(x["src"], x["dst"]) for x in told("ip -j mroute")])
same("qdiscs", [(x.dev, x.kind, x.handle) for x in s.qdiscs], [(x["dev"], x["kind"], x["handle"]) for x in told("tc -j qdisc show")])
expect.contains([(x.key, x.value) for x in s.sysctls], ("net.ipv4.ip_forward", "1"))
require.eventually(lambda: state(r) == state(r))
decoded = json.decode(json.encode(s))
expect.eq(sorted(decoded), sorted([n for n in dir(s)]))
expect.eq(decoded["links"][0]["name"], "lo")
`)))
}

// TestDiff: each kind of change is told, in the words of its table, and taking it back
// leaves no difference.
func TestDiff(t *testing.T) {
	labtest.Need(t, "ipv6")
	runs(t, exitOK, nsscript(t, scriptFile(t, everything+`
before = state(r)
def changes(fn):
    was = state(r)
    fn()
    return diff(was, state(r))

d = changes(lambda: set_link(a, mtu=1400, alias="words"))
expect.eq([(c.what, c.before.name, c.fields) for c in d.changed if c.what == "link"], [("link", "a", {"mtu": (1500, 1400), "alias": (None, "words")})])
expect.contains(str(d), "~ link a: mtu 1500 → 1400, alias None → words")
d = changes(lambda: addr(a, "10.0.0.77/24"))
expect.eq([(c.what, c.after.cidr) for c in d.added if c.what == "addr"], [("addr", "10.0.0.77/24")])
expect.contains(str(d), "+ addr 10.0.0.77/24 dev a")
d = changes(lambda: route(r, "default", via="10.0.0.3", replace=True))
expect.eq(str(d), "~ route default family inet table 254 type unicast: via 10.0.0.2 → 10.0.0.3")
expect.eq([(c.what, c.fields) for c in d.changed], [("route", {"via": ("10.0.0.2", "10.0.0.3")})])
d = changes(lambda: delete([x for x in a.maddrs if x.static][0]))
expect.contains(str(d), "- maddr " + str(before.maddrs[0]))
maddr(a, "01:00:5e:7f:00:09")
d = changes(lambda: delete([x for x in r.rules if x.priority == 100][0]))
expect.eq(str(d), "- rule 100: from 10.9.0.0/16 lookup 100")
d = changes(lambda: sysctl(r, "net.ipv6.conf.a.accept_ra", 0))
expect.eq(str(d), "+ sysctl net.ipv6.conf.a.accept_ra = 0")
d = changes(lambda: neighbor(a, "10.0.0.9", "02:00:00:00:00:0a", replace=True))
expect.eq(str(d), "~ neighbor 10.0.0.9 dev a: mac 02:00:00:00:00:09 → 02:00:00:00:00:0a")
d = changes(lambda: [ping(r, "10.0.0.2", count=2, interval="10ms"), sleep("20ms")])
expect.eq((str(d), bool(d)), ("no difference", False))

set_link(a, mtu=1500, alias="")
delete([x for x in a.addrs if x.ip == "10.0.0.77"][0])
route(r, "default", via="10.0.0.2", replace=True)
rule(r, priority=100, src="10.9.0.0/16", table=100)
sysctl(r, "net.ipv6.conf.a.accept_ra", 1)
neighbor(a, "10.0.0.9", "02:00:00:00:00:09", replace=True)
expect.eq(str(diff(before, state(r))), "no difference")
print(diff(state(r), state(root)))
`)))
}
