package main

import (
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// witness runs a script that compares what it made with what bridge(8) and ip(8)
// say of it.
func witness(t *testing.T, script string) {
	t.Helper()
	labtest.Need(t, "iproute2", "bridge")
	o := finish(t, nsscript(t, scriptFile(t, `
def bridge_j(words, ns=root):
    return json.decode(exec_in(ns, "bridge -j -d " + words).stdout or "[]")

def pick(x, names):
    return {n: x.get(n) for n in names}
`+script)))
	if o.code == exitCannot {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	if o.code != exitOK {
		t.Errorf("exit status %d\n%s\n%s", o.code, o.stdout, o.stderr)
	}
	if !strings.Contains(o.stderr, "all well") {
		t.Errorf("nothing was checked: %s", o.stderr)
	}
}

// TestBridgePort sets every option of a port, each to another value than it has.
func TestBridgePort(t *testing.T) {
	witness(t, `
a, p = veth("a", "p", up=True)
b, q = veth("b", "q", up=True)
br = bridge("br0", ports=[p, q], up=True)
def shown():
    data = json.decode(exec_in(root, "ip -j -d link show p").stdout)[0]["linkinfo"]["info_slave_data"]
    data["mcast_router"] = data.pop("multicast_router")
    data["group_fwd_mask"] = int(data["group_fwd_mask"], 16)
    return {k: v for k, v in data.items() if "timer" not in k}
names = ["priority", "cost", "guard", "hairpin", "fastleave", "root_block", "learning", "flood", "mcast_flood", "bcast_flood",
    "mcast_to_unicast", "mcast_router", "proxy_arp", "proxy_arp_wifi", "neigh_suppress", "group_fwd_mask", "vlan_tunnel", "isolated", "locked"]
def now():
    return {n: getattr(p.bridge_port, n) for n in names}
was = now()
other = {n: not v if type(v) == "bool" else 2 if n == "mcast_router" else 8 if n == "group_fwd_mask" else v + 1 for n, v in was.items()}
for want in [was, other, was]:
    for name in names:
        bridge_port(p, **{name: want[name]})
    expect.eq(now(), want)
    expect.eq(pick(shown(), names), want)
bridge_port(p, mcast_fast_leave=True, backup_port=q, state="disabled")
expect.eq(pick(shown(), ["fastleave", "backup_port", "state"]), {"fastleave": True, "backup_port": "q", "state": "disabled"})
expect.eq((p.bridge_port.mcast_fast_leave, p.bridge_port.backup_port, p.bridge_port.state), (True, q, "disabled"))
bridge_port(p, backup_port=False, state="forwarding")
expect.eq((p.bridge_port.backup_port, shown().get("backup_port")), (None, None))
expect.eq(a.bridge_port if hasattr(a, "bridge_port") else None, None)

# All or none: the last of these is refused, since only one is known.
exec_in(root, "ip link set q nomaster")
before = shown()
expect.fails(lambda: bridge_port(p, cost=9, learning=False, isolated=True, backup_port=q), "set the options of port p")
expect.eq(shown(), before)

# What was learnt is forgotten.
fdb(p, "02:00:00:00:00:09", dynamic=True)
bridge_port(p, fdb_flush=True)
expect.eq([e for e in br.fdb if e.mac == "02:00:00:00:00:09"], [])
`)
}

// TestFDB has the entries of a bridge and of a VXLAN.
func TestFDB(t *testing.T) {
	witness(t, `
a, p = veth("a", "p", up=True)
a2, q2 = veth("a2", "q2")
br = bridge("br0", ports=[p, q2], up=True)
fields = ["ifname", "master", "state", "flags", "dst", "port", "vni", "viaIf", "nhid", "src_vni"]
def shown(mac, dev="p"):
    return [pick(e, fields) for e in bridge_j("fdb show") if e["mac"] == mac and e["ifname"] == dev and e.get("vlan") == None]
def ours(mac, link=br):
    # A bridge that knows VLANs has one more entry for each VLAN of the port.
    return [e for e in link.fdb if e.mac == mac and e.vlan == None]
def entry(**own):
    return dict({n: None for n in fields}, ifname="p", **own)
m1, m2, m3, m4 = ["02:00:00:00:00:0%d" % i for i in range(1, 5)]
e = fdb(p, m1, static=True, sticky=True)
expect.eq(shown(m1), [entry(master="br0", state="static", flags=["sticky"])])
expect.eq((e.port, e.state, e.sticky, e.master), (p, "static", True, True))
expect.eq(fdb(p, m1, static=True, sticky=True, exist=True), ours(m1)[0])
expect.fails(lambda: fdb(p, m1, static=True, sticky=True), "EEXIST")
expect.fails(lambda: fdb(p, m1, dynamic=True, exist=True), "02:00:00:00:00:01 dev p master sticky static is there, but its state is static, not dynamic")
expect.fails(lambda: fdb(p, m1, static=True, exist=True), "is there, but it has sticky")
expect.fails(lambda: fdb(q2, m1, static=True, sticky=True, exist=True), "is there, but its dev is p, not q2")
fdb(p, m1, dynamic=True, replace=True)
expect.eq((ours(m1)[0].state, ours(m1)[0].sticky), ("dynamic", False))
delete(ours(m1)[0])
expect.eq((shown(m1), ours(m1)), ([], []))
fdb(p, m2)
expect.eq(shown(m2), [entry(master="br0", state="permanent", flags=[])])
fdb(p, m3, dynamic=True, extern_learn=True)
expect.eq((shown(m3)[0]["flags"], ours(m3)[0].extern_learn), (["extern_learn"], True))
fdb(p, m4, use=True)
expect.eq(ours(m4)[0].state, "dynamic")
fdb(br, m4, replace=True)
expect.eq([(e.port, e.state) for e in ours(m4)], [(br, "permanent")])
fdb(p, m1, master=False)
expect.eq(shown(m1), [entry(state="permanent", flags=["self"])])
expect.eq([(e.mac, e.master) for e in p.fdb if e.mac == m1], [(m1, False)])

vx = vxlan("vx0", id=42)
def far(**own):
    return dict(entry(state="permanent", flags=["self"]), ifname="vx0", **own)
all = "00:00:00:00:00:00"
x = fdb(vx, all, dst="10.0.0.2")
fdb(vx, all, dst="10.0.0.3", dstport=4790, vni=77, via=a, append=True)
expect.eq(sorted(shown(all, "vx0"), key=lambda e: e["dst"]), [far(dst="10.0.0.2"), far(dst="10.0.0.3", port=4790, vni=77, viaIf="a")])
expect.eq(sorted([(e.dst, e.dstport, e.vni, e.via) for e in vx.fdb]), [("10.0.0.2", None, None, None), ("10.0.0.3", 4790, 77, a)])
expect.eq(fdb(vx, all, dst="10.0.0.2", exist=True).dst, "10.0.0.2")
expect.fails(lambda: fdb(vx, all, dst="10.0.0.3", exist=True), "is there, but it has port 4790")
expect.fails(lambda: fdb(vx, all, dst="10.0.0.9", exist=True), "is there, but its dst is 10.0.0.[23], not 10.0.0.9")
delete(x)
expect.eq([e.dst for e in vx.fdb], ["10.0.0.3"])
fdb(vx, m1, dst="10.0.0.4", router=True)
fdb(vx, m1, dst="10.0.0.5", replace=True)
expect.eq([(e.dst, e.router) for e in vx.fdb if e.mac == m1], [("10.0.0.5", False)])
six = vxlan("vx1", id=43, local="fd00::1")
fdb(six, m1, dst="fd00::2")
expect.eq((shown(m1, "vx1")[0]["dst"], six.fdb[0].dst), ("fd00::2", "fd00::2"))
many = vxlan("vx2", external=True, dstport=4791)
fdb(many, m1, dst="10.0.0.6", vni=5, src_vni=6)
expect.eq((shown(m1, "vx2")[0]["src_vni"], many.fdb[0].src_vni, many.fdb[0].vni), (6, 6, 5))
exec_in(root, "ip nexthop add id 5 via 10.0.0.9 fdb; ip nexthop add id 6 group 5 fdb")
fdb(vx, m2, nhid=6)
expect.eq((shown(m2, "vx0")[0]["nhid"], [e.nhid for e in vx.fdb if e.mac == m2]), (6, [6]))
delete([e for e in vx.fdb if e.mac == m2][0])
expect.eq(shown(m2, "vx0"), [])
`)
}

// TestMDB has groups of addresses and of MAC addresses, on ports and for the
// bridge itself.
func TestMDB(t *testing.T) {
	witness(t, `
a, p = veth("a", "p", up=True)
br = bridge("br0", ports=[p], up=True)
def shown():
    return [(e["port"], e["grp"], e.get("src"), e["state"]) for e in bridge_j("mdb show")[0]["mdb"] if not e["grp"].startswith("ff02")]
m = mdb(p, "239.1.1.1", permanent=True)
mdb(p, "ff05::1")
mdb(p, "01:00:5e:00:00:99" if False else "03:00:00:00:00:09", permanent=True)
mdb(br, "239.1.1.2")
expect.eq(sorted(shown()), [("br0", "239.1.1.2", None, "temp"), ("p", "03:00:00:00:00:09", None, "permanent"),
    ("p", "239.1.1.1", None, "permanent"), ("p", "ff05::1", None, "temp")])
expect.eq(sorted([(e.group, e.port.name, e.permanent) for e in br.mdb if not e.group.startswith("ff02")]),
    [("03:00:00:00:00:09", "p", True), ("239.1.1.1", "p", True), ("239.1.1.2", "br0", False), ("ff05::1", "p", False)])
expect.gt([e.timer for e in br.mdb if e.group == "ff05::1"][0], 100)
expect.eq(m.timer, None)
expect.fails(lambda: mdb(p, "239.1.1.1", permanent=True), "EEXIST")
expect.eq(mdb(p, "239.1.1.1", permanent=True, exist=True), m)
expect.fails(lambda: mdb(p, "239.1.1.1", exist=True), "dev br0 port p grp 239.1.1.1 permanent is there, but its state is permanent, not temp")
exec_in(root, "ip link set br0 type bridge mcast_igmp_version 3")
s = mdb(p, "239.1.1.3", src="10.0.0.7", permanent=True)
expect.contains(shown(), ("p", "239.1.1.3", "10.0.0.7", "permanent"))
expect.eq([e.src for e in br.mdb if e.group == "239.1.1.3"], ["10.0.0.7"])
delete(m, s, *[e for e in br.mdb if e.group in ("ff05::1", "239.1.1.2", "03:00:00:00:00:09")])
expect.eq(shown(), [])
`)
}

// TestBridgeVLAN has VLANs, ranges, tunnels and states.
func TestBridgeVLAN(t *testing.T) {
	witness(t, `
br = bridge("br0", vlan_filtering=True, up=True)
a, p = veth("a", "p", up=True, peer_master=br)
b, q = veth("b", "q", up=True, peer_master=br)
one = bridge_vlan(p, 10, pvid=True, untagged=True)
expect.eq((one.vid, one.pvid, one.untagged, one.port, one.tunnel_id), (10, True, True, p, None))
some = bridge_vlan(p, "20-22")
expect.eq([(v.vid, v.pvid, v.untagged) for v in some], [(20, False, False), (21, False, False), (22, False, False)])
bridge_vlan(br, 10)
expect.contains(catch(lambda: fdb(p, "02:00:00:00:00:09", vlan=9)).hint, "p has to be in VLAN 9: bridge_vlan() first")
vlan("v7", parent=a, id=7, ingress_qos_map={3: 5, 1: 2})
expect.fails(lambda: vlan("v7", parent=a, id=7, ingress_qos_map={3: 4, 1: 2}, exist=True), "its ingress_qos_map is \\{1: 2, 3: 5\\}, not \\{1: 2, 3: 4\\}")
def shown(dev):
    out = {}
    for l in json.decode(exec_in(root, "bridge -j vlan show").stdout):
        for v in l["vlans"] if l["ifname"] == dev else []:
            for vid in range(v["vlan"], v.get("vlanEnd", v["vlan"]) + 1):
                out[vid] = v.get("flags", [])
    return out
expect.eq(shown("p"), {1: ["Egress Untagged"], 10: ["PVID", "Egress Untagged"], 20: [], 21: [], 22: []})
expect.eq(shown("br0"), {1: ["PVID", "Egress Untagged"], 10: []})
expect.eq([(v.port.name, v.vid) for v in br.vlans if v.port == br], [("br0", 1), ("br0", 10)])
expect.eq({v.vid: v.pvid for v in p.vlans}, {1: False, 10: True, 20: False, 21: False, 22: False})
expect.eq([v.vid for v in q.vlans], [1])

# What is there: equal, different, changed, deleted.
expect.eq(bridge_vlan(p, 10, pvid=True, untagged=True, exist=True), one)
expect.eq(len(bridge_vlan(p, "20-22", exist=True)), 3)
expect.fails(lambda: bridge_vlan(p, "20-22", untagged=True, exist=True), "p vid 20 is there already, with untagged=False")
expect.fails(lambda: bridge_vlan(p, 10, exist=True), "pvid=True")
bridge_vlan(p, 20, untagged=True)
delete([v for v in p.vlans if v.vid == 1][0], *some[1:])
expect.eq(shown("p"), {10: ["PVID", "Egress Untagged"], 20: ["Egress Untagged"]})

# A half of a call that is refused does not stay.
expect.fails(lambda: bridge_vlan(p, "30-31", tunnel_id=100), "add VLAN 30-31 to p")
expect.eq(sorted(shown("p").keys()), [10, 20])

# States, by RTM_NEWVLAN.
v = bridge_vlan(q, "40-41", state="blocking")
expect.eq([x.state for x in v], ["blocking", "blocking"])
states = {x["vlan"]: x["state"] for l in bridge_j("vlan show dev q") for x in l["vlans"]}
expect.eq((states[1], states[40]), ("forwarding", "blocking"))
expect.eq(bridge_vlan(q, 40, state="blocking", exist=True).vid, 40)
expect.fails(lambda: bridge_vlan(q, 40, state="learning", exist=True), "state=\"blocking\"")
set_bridge = exec_in(root, "ip link set br0 type bridge mcast_vlan_snooping 1")
expect.eq(bridge_vlan(q, 40, mcast_router=2).mcast_router, 2)

# VLANs that are segments of a VXLAN.
vx = vxlan("vx0", external=True, dstport=4789, master=br, up=True)
bridge_port(vx, vlan_tunnel=True)
bridge_vlan(vx, 10, tunnel_id=1000)
bridge_vlan(vx, "20-22", tunnel_id=2000)
expect.eq({x.vid: x.tunnel_id for x in vx.vlans}, {1: None, 10: 1000, 20: 2000, 21: 2001, 22: 2002})
tunnels = {}
for l in json.decode(exec_in(root, "bridge -j vlan tunnelshow").stdout):
    for x in l["tunnels"]:
        tunnels[x["vlan"]] = x["tunid"]
expect.eq((tunnels[10], tunnels[20]), (1000, 2000))
expect.fails(lambda: bridge_vlan(vx, 10, exist=True), "tunnel_id=1000")
delete([x for x in vx.vlans if x.vid == 10][0])
expect.eq([x.vid for x in vx.vlans], [1, 20, 21, 22])

# Frames obey them: a and b meet in VLAN 50, and not in VLAN 60.
ns1, ns2 = netns("ns1"), netns("ns2")
_, x = veth("eth0", "x", ns=ns1, peer_master=br, addr="10.0.0.1/24", up=True)
_, y = veth("eth0", "y", ns=ns2, peer_master=br, addr="10.0.0.2/24", up=True)
bridge_vlan(x, 50, pvid=True, untagged=True)
bridge_vlan(y, 60, pvid=True, untagged=True)
expect.unreachable(ns1, "10.0.0.2", hold="300ms")
bridge_vlan(y, 50, pvid=True, untagged=True)
expect.reachable(ns1, "10.0.0.2")
fdb(x, "02:00:00:00:00:77", vlan=50, static=True)
expect.contains([(e["mac"], e.get("vlan")) for e in bridge_j("fdb show dev x")], ("02:00:00:00:00:77", 50))
expect.contains([(e.mac, e.vlan) for e in br.fdb], ("02:00:00:00:00:77", 50))
mdb(x, "239.5.5.5", vlan=50, permanent=True)
expect.contains([(e["grp"], e.get("vid")) for e in bridge_j("mdb show")[0]["mdb"]], ("239.5.5.5", 50))
`)
}

// TestHostUndoesBridges: what a failed run did to the machine's own bridge is as it
// was, and what it says of entries that it did not make.
func TestHostUndoesBridges(t *testing.T) {
	labtest.Need(t, "bridge")
	script := scriptFile(t, `
br, p, q = root["br9"], root["p0"], root["q0"]
bridge_port(p, cost=7, isolated=False, learning=False, backup_port=q)
bridge_port(q, state="disabled")
if p.vlans:
    bridge_vlan(p, 10, pvid=True, untagged=True)
    bridge_vlan(p, "20-22")
    bridge_vlan(p, 5, untagged=True)
    bridge_vlan(br, 30)
    delete([v for v in p.vlans if v.vid == 6][0])
    set_link(q, master=False)
fdb(p, "02:00:00:00:00:31", dynamic=True, replace=True)
fdb(p, "02:00:00:00:00:33", static=True)
delete([e for e in br.fdb if e.mac == "02:00:00:00:00:34" and not e.vlan][0])
fdb(root["vx9"], "00:00:00:00:00:00", dst="10.9.9.3", append=True)
delete([e for e in root["vx9"].fdb if e.dst == "10.9.9.1"][0])
mdb(p, "239.1.1.2", permanent=True)
delete([e for e in br.mdb if e.group == "239.1.1.1"][0])
fail("now")
`)
	careful := scriptFile(t, `
p = root["p0"]
for x in [e for e in root["br9"].fdb if e.mac == "02:00:00:00:00:34"] + p.vlans + [e for e in root["br9"].mdb if e.permanent]:
    print(catch(lambda: delete(x)))
mine = fdb(p, "02:00:00:00:00:35", static=True)
delete(mine, mdb(p, "239.1.1.3"))
`)
	o := machine(t, `
all() {
	bridge -j -d link; bridge -j -d vlan || true; bridge -j vlan tunnelshow || true; bridge -j -d fdb; bridge -j -d mdb
}
ip link add br9 type bridge forward_delay 0 vlan_filtering 1 2>/dev/null || ip link add br9 type bridge forward_delay 0
for l in p q; do ip link add ${l}0 type veth peer name ${l}1; ip link set ${l}0 master br9; done
ip link add vx9 type vxlan id 9 dstport 4789
for l in br9 p0 p1 q0 q1 vx9; do echo 1 > /proc/sys/net/ipv6/conf/$l/disable_ipv6; ip link set $l up; done
ip link set p0 type bridge_slave cost 33 isolated on
if bridge vlan add vid 5-6 dev p0 2>/dev/null; then bridge vlan add vid 7 dev q0 pvid untagged; fi
for i in 1 2; do bridge fdb append 00:00:00:00:00:00 dev vx9 dst 10.9.9.$i; done
bridge fdb add 02:00:00:00:00:31 dev p0 master static
bridge fdb add 02:00:00:00:00:34 dev p0 master static sticky
bridge mdb add dev br9 port p0 grp 239.1.1.1 permanent
i=0; while [ $i -lt 100 ] && bridge link show dev q0 | grep -vq 'state forwarding'; do sleep 0.1; i=$((i+1)); done
all > before
$NS --host --force `+script+` || true
i=0; while [ $i -lt 100 ] && bridge link show dev q0 | grep -vq 'state forwarding'; do sleep 0.1; i=$((i+1)); done
all > after
echo == careful
$NS --host `+careful+`
all > afterwards
echo == before
cat before; echo ====; cat after; echo ====; cat afterwards
`)
	said, states, _ := strings.Cut(o.stdout, "== before\n")
	parts := strings.Split(states, "====\n")
	if len(parts) != 3 || len(parts[0]) < 1000 {
		t.Fatal("the witness did not see enough")
	}
	for _, after := range parts[1:] {
		if diff := differences(settled(t, parts[0]), settled(t, after)); diff != "" {
			t.Errorf("not as it was:\n%s", diff)
		}
	}
	holds(t, o.stderr, "fail: now")
	if strings.Contains(o.stderr, "cannot be undone") || strings.Contains(o.stderr, "not undone") {
		t.Errorf("stderr: %s", o.stderr)
	}
	holds(t, said, "02:00:00:00:00:34 dev p0 master sticky static was not made by this run", "grp 239.1.1.1 permanent")
}

// TestMaddr holds maddr() against `ip maddr`.
func TestMaddr(t *testing.T) {
	witness(t, `
blue = netns("blue")
a, b = veth("a", "b", ns=blue, addr=["10.0.0.1/24", "fd00::1/64"], up=True)
def shown():
    out = []
    for l in json.decode(exec_in(blue, "ip -j maddr").stdout):
        for m in l["maddr"]:
            out.append((l["ifname"], m["family"] if "family" in m else "link", m.get("address") or m["link"], m.get("users", 1), m.get("features") == "static"))
    return sorted(out)
def ours():
    return sorted([(m.link.name, m.family, m.group, m.users, m.static) for m in blue.maddrs])
expect.eventually(lambda: ours() == shown(), timeout="20s")
made = [maddr(a, "239.1.1.1"), maddr(a, "ff05::7"), maddr(a, "01:00:5e:7f:00:09")]
expect.eq([(m.family, m.group, m.static) for m in made], [("inet", "239.1.1.1", False), ("inet6", "ff05::7", False), ("link", "01:00:5e:7f:00:09", True)])
expect.eventually(lambda: ours() == shown(), timeout="20s")   # the kernel joins solicited-node groups a little later
for m in made:
    expect.contains([(x[0], x[2]) for x in shown()], ("a", m.group))
    expect.eq(maddr(a, m.group, exist=True).group, m.group)
expect.eq(sorted([m.group for m in a.maddrs]), sorted([m.group for m in blue.maddrs if m.link == a]))
delete(*made)
expect.eq([x for x in shown() if x[2] in [m.group for m in made]], [])
`)
}
