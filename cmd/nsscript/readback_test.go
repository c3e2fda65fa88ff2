package main

import (
	"testing"

	"nsscript/runtime/labtest"
)

// TestRouteKeepsItsDetails: a route that `ip` made reads back with its type of
// service and locked metrics, and is deleted by them.
func TestRouteKeepsItsDetails(t *testing.T) {
	labtest.Need(t, "iproute2")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
a, b = veth("a", "b", addr="10.0.0.1/24", up=True)
exec_in(root, "ip route add 192.0.2.0/24 via 10.0.0.9; ip route add 192.0.2.0/24 via 10.0.0.9 tos 0x10 mtu lock 1300 advmss 1200")
def table(): return [(r.tos, r.mtu, r.advmss, r.locked, str(r)) for r in root.routes if r.dst == "192.0.2.0/24"]
expect.eq(table(), [
    (0x10, 1300, 1200, ["mtu"], "192.0.2.0/24 tos 0x10 via 10.0.0.9 dev a mtu lock 1300"),
    (None, None, None, [], "192.0.2.0/24 via 10.0.0.9 dev a"),
])
delete([r for r in root.routes if r.tos == 0x10][0])
left = json.decode(exec_in(root, "ip -j route show 192.0.2.0/24").stdout)
expect.eq([(r["gateway"], r.get("tos")) for r in left], [("10.0.0.9", None)])
`)))
}
