package main

import (
	"fmt"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// misc is what the machine has beside links of every kind, in a namespace, each part only
// where the kernel can do it.
const misc = `
m = netns("misc")
p, q = veth("p", "q", ns=m)
c, d = veth("c", "d", ns=m, addr=["10.1.0.1/24", "fd01::1/64"], alias="cable", altname="the-cable", token="::9", up=True)
up(d)
br = bridge("br", ns=m, ports=[p, q])
if catch(lambda: set_link(br, vlan_filtering=True, mcast_vlan_snooping=True)) == None:
    bridge_vlan(br, "10-12")
    bridge_vlan_global(br, 11, mcast_querier=True, mcast_query_interval="70s")
vx = catch(lambda: vxlan("vx", ns=m, external=True, vnifilter=True, dstport=4789)) == None
if vx and catch(lambda: vni(m["vx"], 100, remote="10.9.9.1")) == None:
    vni(m["vx"], "200-202", remote="10.9.9.2")
maddr(c, "239.1.1.1"), maddr(c, "ff05::7"), maddr(c, "01:00:5e:7f:00:09")
rule(m, priority=100, src="10.1.0.0/24", table=77)
rule(m, priority=101, family=6, iif=c, mark="5/7", ipproto="tcp", dport="80-90", suppress_prefixlength=3)
rule(m, priority=102, goto=200), rule(m, priority=200, action="prohibit", invert=True, tos=8)
catch(lambda: route(m, "2001:db8::/32", src_prefix="fd03::/64", via="fd01::9"))
`

// changeMisc changes each thing of misc, takes some away and adds others.
const changeMisc = `
m = netns("misc", exist=True)
c, p, br = m["c"], m["p"], m["br"]
for change in [dict(alias="other"), dict(token="::8"), dict(token=False), dict(altname="another"), dict(group=7), dict(promisc=True), dict(arp=False), dict(multicast=False), dict(allmulticast=True),
    dict(addrgenmode="none"), dict(broadcast="02:00:00:00:00:ff"), dict(gso_max_size=30000), dict(gso_max_segs=9), dict(gro_max_size=30000),
    dict(mtu=1400), dict(mac="02:00:00:00:00:77"), dict(txqueuelen=77), dict(protodown_reason={3: True}), dict(protodown=True)]:
    for k in (c, m["d"]):
        failed = catch(lambda: set_link(k, **change))
        expect(failed == None or failed.errno == "EOPNOTSUPP" or failed.errno == "ENOTSUP" or "altname" in change, "%s: %s" % (change, failed))
names = ["guard", "hairpin", "fastleave", "root_block", "learning", "flood", "mcast_flood", "bcast_flood", "mcast_to_unicast", "proxy_arp", "proxy_arp_wifi",
    "neigh_suppress", "vlan_tunnel", "isolated", "locked"]
for n in names:
    bridge_port(p, **{n: not getattr(p.bridge_port, n)})
bridge_port(p, priority=9, cost=77, mcast_router=2, group_fwd_mask=8)
if br.global_vlans:
    bridge_vlan_global(br, "10-11", mcast_querier=False, mcast_query_interval="9s", mcast_igmp_version=3, mcast_snooping=False)
    bridge_vlan_global(br, 12, mcast_last_member_count=7)
if "vx" in m and m["vx"].vnis:
    vni(m["vx"], 100, remote="10.9.9.7")
    vni(m["vx"], "300-301")
    delete(m["vx"].vnis[1])
delete(*[x for x in c.maddrs if x.group in ("239.1.1.1", "ff05::7", "01:00:5e:7f:00:09")])
maddr(c, "239.1.1.2"), maddr(c, "ff05::8"), maddr(c, "01:00:5e:7f:00:08"), maddr(c, "239.1.1.1")
delete(*[r for r in m.rules if r.priority in (100, 101, 102)])
rule(m, priority=103, dst="10.2.0.0/16", table=7), rule(m, priority=100, src="10.1.0.0/24", table=78)
for r in m.routes:
    if r.src_prefix:
        route(m, r.dst, src_prefix="fd03::/64", via="fd01::8", replace=True)
        delete([x for x in m.routes if x.src_prefix][0])
        route(m, r.dst, src_prefix="fd04::/64", via="fd01::8")
`

// TestHostUndoesTable: what a failed script changed of the machine's own links, of every
// kind that can be changed, and of what else there is, is as it was.
func TestHostUndoesTable(t *testing.T) {
	labtest.Need(t, "bridge")
	var make, change strings.Builder
	changes := 0
	for i, c := range kindCases {
		if c.change == "" || c.kind() == "dummy" { // whose state is "unknown" until its carrier has been set once
			continue
		}
		changes++
		fmt.Fprintf(&make, "p, q = veth(\"p%d\", \"q%d\", ns=m, up=True)\nfailed = catch(lambda: %s, ns=m))\n"+
			"if failed:\n    print(failed)\n    expect.eq(failed.kind, \"missing\")\n", i, i, strings.TrimSuffix(strings.Replace(c.make, `"x"`, fmt.Sprintf(`"x%d"`, i), 1), ")"))
		fmt.Fprintf(&change, "if \"x%d\" in m:\n    x = m[\"x%d\"]\n    %s\n", i, i, strings.ReplaceAll(c.change, "\n", " "))
	}
	if changes < 15 {
		t.Errorf("only %d changes", changes)
	}
	o := machine(t, state+`
all() {
	ip netns exec misc sh -c '
		ip -j -d link; ip token list; ip -j maddr | sed "s/,\"users\":[0-9]*//g"; ip -j -d addr; ip -j -6 route; ip -j rule; ip -j -6 rule
		for what in link vlan "vlan global" vni; do bridge -j -d $what show 2>/dev/null; done; true'
}
$NS --host `+scriptFile(t, misc+make.String())+` >&2
settle
for i in $(seq 100); do
	ip -n misc -6 -o addr show tentative | grep -q . || break
	sleep 0.1
done
all > before
$NS --host --force `+scriptFile(t, changeMisc+change.String()+"fail(\"now\")\n")+` || true
again all > /dev/null
cat before; echo ====; cat after
`)
	before, after, _ := strings.Cut(o.stdout, "====\n")
	if diff := differences(settled(t, before), settled(t, after)); diff != "" {
		t.Errorf("not as it was:\n%s", diff)
	}
	holds(t, o.stderr, "fail: now", "lab.star: 1 of ")
	if strings.Contains(o.stderr, "cannot be undone") || strings.Contains(o.stderr, "not undone") {
		t.Errorf("stderr: %s", o.stderr)
	}
	if len(before) < 10000 {
		t.Errorf("the witness sees only %d bytes", len(before))
	}
}
