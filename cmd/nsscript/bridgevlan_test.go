package main

import "testing"

// TestVNIs holds the segments of a VXLAN against `bridge vni`.
func TestVNIs(t *testing.T) {
	witness(t, `
def shown():
    list = []
    for x in json.decode(exec_in(root, "bridge -j vni show").stdout):
        for v in x["vnis"]:
            list.append((x["ifname"], v["vni"], v.get("vniEnd"), v.get("remote") or v.get("group")))
    return list

p, q = veth("p", "q", up=True)
vx = vxlan("vx0", external=True, vnifilter=True, dev=p, dstport=4789)
other = vxlan("vx1", external=True, vnifilter=True, dstport=4790)
v = vni(vx, 100, remote="10.0.0.2")
r = vni(vx, "200-203", group="239.1.1.1")
vni(vx, 300)
vni(other, 16777215, remote="fd00::9")
expect.eq(shown(), [("vx0", 100, None, "10.0.0.2"), ("vx0", 200, 203, "239.1.1.1"), ("vx0", 300, None, None), ("vx1", 16777215, None, "fd00::9")])
expect.eq([(x.vni, x.remote) for x in vx.vnis], [(100, "10.0.0.2")] + [(n, "239.1.1.1") for n in range(200, 204)] + [(300, None)])
expect.eq(([x.vni for x in r], v.vni, v.link, str(v)), ([200, 201, 202, 203], 100, vx, "vx0 vni 100 remote 10.0.0.2"))
json.encode(vx.vnis)

# A change of what is there, what exist=True takes and what not, and the end.
vni(vx, 100, remote="10.0.0.3")
expect.eq(vni(vx, 100, remote="10.0.0.3", exist=True), vx.vnis[0])
expect.eq(len(vni(vx, "200-202", exist=True)), 3)
expect.fails(lambda: vni(vx, 100, remote="10.0.0.4", exist=True), "vx0 vni 100 remote 10.0.0.3 is there, but its remote is not 10.0.0.4")
delete(r[1])
expect.fails(lambda: delete(r[1]), "delete segment")
expect.eq(shown()[:3], [("vx0", 100, None, "10.0.0.3"), ("vx0", 200, None, "239.1.1.1"), ("vx0", 202, 203, "239.1.1.1")])
expect.fails(lambda: vni(other, "5-6", group="239.1.1.1"), "add segments to vx1")
expect.eq(len(other.vnis), 1)
`)
}

// TestBridgeVLANGlobal holds what a bridge does in its VLANs against `bridge vlan
// global`.
func TestBridgeVLANGlobal(t *testing.T) {
	witness(t, `
br = bridge("br0", vlan_filtering=True, mcast_vlan_snooping=True)
bridge_vlan(br, "10-12")
options = dict(mcast_querier=True, mcast_igmp_version=3, mcast_mld_version=2, mcast_last_member_count=3, mcast_last_member_interval="2s",
    mcast_startup_query_count=4, mcast_startup_query_interval="3s", mcast_membership_interval="5s", mcast_querier_interval="6s",
    mcast_query_interval="7s", mcast_query_response_interval="800ms", mcast_snooping=False)
bridge_vlan_global(br, "10-11", **options)
bridge_vlan_global(br, 12, mcast_query_interval="1s")

shown = {}
for x in json.decode(exec_in(root, "bridge -j vlan global show").stdout):
    for v in x["vlans"]:
        for vid in range(v["vlan"], v.get("vlanEnd", v["vlan"]) + 1):
            shown[vid] = v
expect.eq(sorted(shown), [1, 10, 11, 12])
for v in br.global_vlans:
    for name in options:
        ours, its = getattr(v, name), shown[v.vid][name]
        expect.eq(int(ours * 100 + 0.5) if type(ours) == "float" else int(ours), its, "%d %s" % (v.vid, name))
ten, twelve = br.global_vlans[1], br.global_vlans[3]
expect.eq((ten.vid, ten.mcast_querier, ten.mcast_igmp_version, ten.mcast_query_response_interval, ten.mcast_snooping), (10, True, 3, 0.8, False))
expect.eq((twelve.vid, twelve.mcast_query_interval, twelve.mcast_querier), (12, 1.0, False))
json.encode(br.global_vlans)

# All or nothing.
expect.fails(lambda: bridge_vlan_global(br, "12-13", mcast_query_interval="9s"), "set options of VLAN 12-13 of br0")
expect.eq(br.global_vlans[3].mcast_query_interval, 1.0)
`)
}
