package main

import (
	"testing"

	"nsscript/runtime/labtest"
)

// TestHalfMade: what a failed change has done before it failed is set back. `ip`
// is the witness.
func TestHalfMade(t *testing.T) {
	labtest.Need(t, "iproute2", "ipv6")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
a, b = veth("a", "b", addr=["10.0.0.1/24", "fd00::1/64"], up=True)
up(b)
ready(root)
route(root, "2001:db8::/32", via="fd00::9", metric=7)
neighbor(a, "fd00::9", "02:00:00:00:00:09")
sysctl(root, "net.ipv6.conf.a.accept_ra", 0)
c, d = veth("c", "d")
br = bridge("br0", ports=[c])

def state():
    ready(root)
    see = "ip -j link show $l; ip -j addr show dev $l | sed 's/life_time\":[0-9]*//g'; ip -j -6 route show dev $l; ip -j neigh show dev $l nud permanent; cat /proc/sys/net/ipv6/conf/$l/accept_ra"
    return exec_in(root, "for l in a c; do " + see + "; done").stdout.splitlines()

before = state()
for change in [
    lambda: set_link(a, mtu=1400, master=b),
    lambda: set_link(a, mtu=1000, alias="words", txqueuelen=7, group=3, altname="other-a", master=b),
    lambda: set_link(a, txqueuelen=5, master=b),
    lambda: set_link(c, alias="words", promisc=True, arp=False, mtu=1400, master=d),
]:
    expect.fails(change, "ENOTSUP")
    for was, now in zip(before, state()):
        expect.eq(now, was)
`)))
}

// TestRouteKeepsItsDetails: a route that `ip` made reads back with its type of
// service and locked metrics, and is deleted by them.
func TestRouteKeepsItsDetails(t *testing.T) {
	labtest.Need(t, "iproute2")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
a, b = veth("a", "b", addr="10.0.0.1/24", up=True)
exec_in(root, "ip route add 192.0.2.0/24 via 10.0.0.9; ip route add 192.0.2.0/24 via 10.0.0.9 tos 0x10 mtu lock 1300 advmss 1200")
def table(): return [(r.tos, r.mtu, r.advmss, r.locked, str(r)) for r in root.routes if r.dst == "192.0.2.0/24"]
expect.eq(table(), [
    (0x10, 1300, 1200, ["mtu"], "192.0.2.0/24 tos 0x10 via 10.0.0.9 dev a mtu lock 1300 advmss 1200"),
    (None, None, None, [], "192.0.2.0/24 via 10.0.0.9 dev a"),
])
delete([r for r in root.routes if r.tos == 0x10][0])
locked = route(root, "198.51.100.0/24", via="10.0.0.9", rtt="100ms", rto_min="70ms", congctl="reno", lock=["rtt", "congctl"])
expect.matches(exec_in(root, "ip route show 198.51.100.0/24").stdout, "rtt lock 100ms rto_min lock 70ms congctl lock reno")
left = json.decode(exec_in(root, "ip -j route show 192.0.2.0/24").stdout)
expect.eq([(r["gateway"], r.get("tos")) for r in left], [("10.0.0.9", None)])
`)))
}
