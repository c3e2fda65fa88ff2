package examples_test

import "testing"

// everyWord says what no other test does of the words of iproute2's usage texts
// (docs/coverage.md): what is so by default, what ends an option, and values.
const everyWord = `
a, b = netns("a"), netns("b")
p, q = veth("p", "q", ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr="10.0.0.2/24", up=True)

def vary(l, more={}):
    set_link(l, seq=False, csum=False, key=False)
    set_link(l, iseq=True, icsum=True, ikey=1, **more)
    set_link(l, iseq=False, oseq=True, icsum=False, ocsum=True, ikey=False, okey=2)
    set_link(l, oseq=False, ocsum=False, okey=False)

on4 = dict(dev=p, ttl=9, tos="inherit", pmtudisc=True, fwmark=7)
on6 = dict(dev=p, hoplimit=9, encaplimit=7, tclass="inherit", flowlabel=5, dscp="inherit", fwmark=7, allow_localremote=True)
off4 = dict(ttl="inherit", pmtudisc=False, ignore_df=True)
off6 = dict(tclass=9, flowlabel="inherit", allow_localremote=False)
for make, name in [(gre, "gre1"), (gretap, "tap1")]:
    l = make(name, ns=a, local="10.0.0.1", remote="10.0.0.9", key=5, seq=True, csum=True, **on4)
    vary(l, off4)
    set_link(l, ignore_df=False)
for make, name, remote in [(ip6gre, "gre6", "fd00::9"), (ip6gretap, "tap6", "fd00::8")]:
    vary(make(name, ns=a, local="fd00::1", remote=remote, key=5, seq=True, csum=True, **on6), off6)
gretap("tap2", ns=a, external=True)
ip6gretap("tap7", ns=a, external=True)
e = erspan("ers1", ns=a, local="10.0.0.1", remote="10.0.0.9", ikey=5, okey=5, iseq=True, oseq=True, erspan_ver=2, erspan_dir="ingress", erspan_hwid=3, **on4)
set_link(e, **off4)
set_link(e, ignore_df=False)
erspan("ers2", ns=a, external=True)
e = ip6erspan("ers6", ns=a, local="fd00::1", remote="fd00::9", ikey=5, okey=5, iseq=True, oseq=True, erspan_ver=2, erspan_dir="ingress", erspan_hwid=3, **on6)
set_link(e, **off6)
ip6erspan("ers7", ns=a, external=True)
ipip("tun1", ns=a, local="10.0.0.1", remote="10.0.0.9", **on4)
s = sit("sit1", ns=a, mode="ipip", local="10.0.0.1", remote="10.0.0.9", **on4)
set_link(s, ttl="inherit", pmtudisc=False)
sit("sit2", ns=a, mode="mplsip", local="10.0.0.1", remote="10.0.0.8")
set_link(ip6tnl("tun6", ns=a, local="fd00::1", remote="fd00::9", **on6), **off6)
vti6("vti6", ns=a, local="fd00::1", remote="fd00::9", ikey=5, okey=6, fwmark=7)
xfrm("ipsec0", ns=a, external=True)
geneve("gnv1", ns=a, id=1, remote="10.0.0.9", df="unset", udpcsum=False, udp6zerocsumtx=False, udp6zerocsumrx=False)
vxlan("vx1", ns=a, id=1, remote="10.0.0.9", df="unset", learning=True, proxy=False, rsc=False, l2miss=False, l3miss=False, udpcsum=True,
      udp6zerocsumtx=False, udp6zerocsumrx=False, remcsumtx=False, remcsumrx=False, external=False, vnifilter=False)

bond1 = bond("bond1", ns=a, mode="active-backup", primary_reselect="always", fail_over_mac="none", arp_validate="none", xmit_hash_policy="layer2")
for validate, policy in [("active", "layer2+3"), ("backup", "encap2+3"), ("filter", "encap3+4"), ("filter_backup", "layer2")]:
    set_link(bond1, arp_validate=validate, xmit_hash_policy=policy)
set_link(bond1, arp_validate="none", primary_reselect="failure")
set_link(bond1, active_slave=False)
set_link(bond("bond2", ns=a, mode="802.3ad", lacp_rate="slow", ad_select="stable"), ad_select="count")
bond("bond3", ns=a, mode="balance-rr")
bridge("br1", ns=a, vlan_filtering=True, vlan_protocol="802.1ad", vlan_default_pvid=7, vlan_stats_enabled=True, vlan_stats_per_port=True,
       mcast_vlan_snooping=True, nf_call_iptables=True, nf_call_ip6tables=True, nf_call_arptables=True)
dummy("d1", ns=a, up=True)
bridge("br2", ns=a, vlan_protocol="802.1Q")
vlan("vlan1", parent=p, id=7, protocol="802.1Q")
macvlan("mv1", parent=p, mode="bridge", flag="null")
ipvlan("iv1", parent=q, mode="l2", flag="bridge")

red = vrf("red", ns=a, table=77, up=True)
sysctl(a, "net/vrf/strict_mode", 1)
route(a, "2001:db8:4::1", dev=red, encap="seg6local action End.DT4 vrftable 77")
route(a, "2001:db8:5::1", dev=red, encap="seg6local action End.DT46 vrftable 77")
route(a, "192.0.2.0/24", via="10.0.0.2", proto="kernel")
nexthop(a, 7, via="10.0.0.2", dev=p, encap="mpls 100")      # loads MPLS
sysctl(a, "net/mpls/platform_labels", 1000)
route(a, 100, via="10.0.0.2", ttl_propagate=True)
rule(a, priority=100, src="10.9.0.0/16", table="local")
for nud, n in [("delay", 20), ("probe", 21), ("failed", 22), ("incomplete", 23)]:
    neighbor(p, "10.0.0.%d" % n, None if n > 21 else "02:00:00:00:00:09", nud=nud)
nexthop(b, 8, via="10.0.0.1", dev=q)
rule(b, priority=101, src="10.9.0.0/16", table=77)
flush(b, "nexthop")
flush(b, "rule", family=6)
flush(b, "addr", dev=q)
`

// TestExplainedWords proves them at once.
func TestExplainedWords(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	explained(t, everyWord)
}
