package main

import (
	"testing"

	"nsscript/runtime/labtest"
)

// TestCommonOptions: what links of every kind have is set at birth and later, is read
// back, and is what `ip` shows.
func TestCommonOptions(t *testing.T) {
	labtest.Need(t, "iproute2", "ipv6")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
one = netns("one")
options = dict(alias="words", group=7, numtxqueues=3, numrxqueues=2, promisc=True, arp=False, multicast=False, allmulticast=True,
    addrgenmode="none", gso_max_size=30000, gso_max_segs=20, gro_max_size=40000)
a, b = veth("a", "b", ns=one, altname="the-long-name-of-a", up=True, **options)
br = bridge("br", ns=one, altname="the-bridge", broadcast="ff:ff:ff:ff:ff:fe", up=True, **options)

def shown(l):
    return json.decode(exec_in(one, "ip -j -d link show " + l.name).stdout)[0]

for l in [a, b, br]:
    s = shown(l)
    expect.eq((s["ifalias"], s["group"], s["num_tx_queues"], s["num_rx_queues"], s["inet6_addr_gen_mode"]), ("words", "7", 3, 2, "none"), l.name)
    expect.eq((s["gso_max_size"], s["gso_max_segs"], s["gro_max_size"]), (30000, 20, 40000), l.name)
    for flag in ["UP", "PROMISC", "NOARP", "ALLMULTI"]:
        expect.contains(s["flags"], flag, l.name)
    expect("MULTICAST" not in s["flags"], l.name)
    expect.eq((l.alias, l.group, l.numtxqueues, l.numrxqueues, l.addrgenmode), ("words", 7, 3, 2, "none"))
    expect.eq((l.gso_max_size, l.gso_max_segs, l.gro_max_size, l.protodown), (30000, 20, 40000, False))
    expect.eq([x for x in l.addrs if x.family == 6], [])     # as addrgenmode says, from the start
expect.eq((a.altnames, b.altnames), (["the-long-name-of-a"], []))
expect.eq((br.broadcast, shown(br)["broadcast"]), ("ff:ff:ff:ff:ff:fe", "ff:ff:ff:ff:ff:fe"))
expect.eq(veth("a", "b", ns=one, altname="the-long-name-of-a", up=True, exist=True, **options), (a, b))
expect.eq(catch(lambda: veth("a", "b", ns=one, group=8, exist=True)).message, "a in one is there, but its group is 7, not 8")
expect.eq(catch(lambda: bridge("br", ns=one, gso_max_segs=21, exist=True)).message, "br in one is there, but its gso_max_segs is 20, not 21")

set_link(a, addrgenmode="random", txqueuelen=77)
expect.eq((a.addrgenmode, shown(a)["inet6_addr_gen_mode"], a.txqueuelen, shown(a)["txqlen"]), ("random", "random", 77, 77))
sysctl(one, "net/ipv6/conf/b/stable_secret", "2001:db8::1")
set_link(b, addrgenmode="stable_secret")
expect.eq((b.addrgenmode, shown(b)["inet6_addr_gen_mode"]), ("stable_secret", "stable_secret"))

set_link(a, b, addrgenmode="eui64", gso_max_size=25000, gso_max_segs=10, gro_max_size=50000, arp=True, promisc=False)
for l in [a, b]:
    s = shown(l)
    expect.eq((s["inet6_addr_gen_mode"], s["gso_max_size"], s["gso_max_segs"], s["gro_max_size"]), ("eui64", 25000, 10, 50000))
    expect("NOARP" not in s["flags"] and "PROMISC" not in s["flags"])

vx = vxlan("vx", ns=one, id=1, protodown=True)
expect.eq((vx.protodown, shown(vx)["proto_down"]), (True, True))
set_link(vx, protodown=False)
expect.eq(vx.protodown, False)
set_link(vx, protodown=True, protodown_reason={3: True})
set_link(vx, protodown_reason={7: True})
expect.eq((vx.protodown_reason, shown(vx)["proto_down_reason"]), ({3: True, 7: True}, ["3", "7"]))
expect.eq(catch(lambda: set_link(vx, protodown=False)).errno, "EBUSY")
set_link(vx, protodown_reason={3: False})
expect.eq((vx.protodown_reason, shown(vx)["proto_down_reason"]), ({7: True}, ["7"]))
set_link(vx, protodown_reason={7: False})
set_link(vx, protodown=False)
expect.eq((vx.protodown, vx.protodown_reason), (False, None))
for reason in [{}, {32: True}, {-1: True}, {1: True, 2: True}, {"x": True}, {1: 1}, 3]:
    expect(catch(lambda: set_link(vx, protodown_reason=reason)) != None, str(reason))
expect.eq(catch(lambda: set_link(a, mtu=1300, protodown=True)).errno, "ENOTSUP")
expect.eq(a.mtu, 1500)

before = [x.name for x in one.links]
for bad in [
    lambda: bridge("no", ns=one, addrgenmode="eui"), lambda: bridge("no", ns=one, gso_max_size=524281), lambda: bridge("no", ns=one, numtxqueues=0),
    lambda: bridge("no", ns=one, numrxqueues=4097), lambda: bridge("no", ns=one, broadcast="ff:ff"), lambda: bridge("no", ns=one, altname="a/b"),
    lambda: bridge("no", ns=one, protodown="yes"), lambda: bridge("no", ns=one, gso_max_segs=65536), lambda: bridge("no", ns=one, carrier=True, altname="the-bridge"),
    lambda: veth("no", "not", ns=one, altname="the-bridge"),
]:
    expect(catch(bad) != None)
    expect.eq([x.name for x in one.links], before)
`)))
}
