package main

import (
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestFOU holds UDP ports of foo over UDP against `ip fou`, and sends through what
// they take the header off.
func TestFOU(t *testing.T) {
	witness(t, `
a, b = netns("a"), netns("b")
la, lb = veth("eth0", "eth0", ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)

def shown():
    return sorted([x.strip() for x in exec_in(b, "ip fou show").stdout.splitlines() if x])

f = fou(b, 5555, ipproto="ipencap")
g = fou(b, 5556, gue=True, local="10.0.0.2", peer="10.0.0.1", peer_port=7000, dev=lb)
h = fou(b, 5557, ipproto=47, family=6)
i = fou(b, 5558, gue=True, local="fd00::2")
expect.eq(shown(), ["port 5555 ipproto 4", "port 5556 gue local 10.0.0.2 peer 10.0.0.1 peer_port 7000 dev eth0", "port 5557 ipproto 47 -6", "port 5558 gue -6 local fd00::2"])
expect.eq([(x.port, x.family, x.ipproto, x.gue, x.local, x.peer, x.peer_port, x.dev) for x in b.fous], [
    (5555, 4, "ipencap", False, None, None, None, None), (5556, 4, None, True, "10.0.0.2", "10.0.0.1", 7000, lb),
    (5557, 6, "gre", False, None, None, None, None), (5558, 6, None, True, "fd00::2", None, None, None)])
expect.eq((str(g), [x.port for x in a.fous]), ("port 5556 local 10.0.0.2 peer 10.0.0.1 peer_port 7000 dev eth0 gue", []))
expect.eq(fou(b, 5555, ipproto=4, exist=True), f)
expect.fails(lambda: fou(b, 5555, ipproto=47, exist=True), "there is fou port 5555 ipproto 4, not port 5555 ipproto 47")
expect.fails(lambda: fou(b, 5555, ipproto=4), "add fou port 5555 ipproto 4 in b: ")
json.encode(b)
json.encode(state(b))
delete(g, h, i)
expect.eq([x.port for x in b.fous], [5555])
expect.eq([x.port for x in state(b).fous], [5555])
expect.fails(lambda: delete(g), "delete fou port 5556")

# A tunnel into the port, and its other direction by generic UDP encapsulation.
fou(a, 6080, gue=True)
ipip("t0", ns=a, local="10.0.0.1", remote="10.0.0.2", encap="fou", encap_dport=5555, addr="192.168.0.1/24", up=True)
ipip("t0", ns=b, local="10.0.0.2", remote="10.0.0.1", encap="gue", encap_dport=6080, encap_csum=True, addr="192.168.0.2/24", up=True)
c = capture(lb, proto="udp")
expect.reachable(a, "192.168.0.2")
expect.packet(c, lambda p: p.udp.dport == 5555)
expect.packet(c, lambda p: p.udp.dport == 6080)
delete(f)
expect.unreachable(a, "192.168.0.2")
`)
}

// TestHostUndoesFOU: a port that a failed script has made is gone, and the machine's own
// that it deleted is back.
func TestHostUndoesFOU(t *testing.T) {
	script := scriptFile(t, `
fou(root, 5601, ipproto="gre")
delete(root.fous[0])
fail("now")
`)
	o := machine(t, `
ip fou add port 5600 gue || exit 0
ip fou show > before
$NS --host --force `+script+` || true
cat before; echo ====; ip fou show; ip fou del port 5600
`)
	before, after, made := strings.Cut(o.stdout, "====\n")
	if !made {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	if before != after || !strings.Contains(before, "5600") {
		t.Errorf("not as it was:\n%s", o.stdout)
	}
	holds(t, o.stderr, "fail: now")
}

// TestFOUWithoutRoot: the kernel leaves these ports to the machine's root, wherever they
// are, and the error says so.
func TestFOUWithoutRoot(t *testing.T) {
	labtest.Need(t, "nobody")
	o := finish(t, asNobody(nsscript(t, scriptFile(t, `fou(netns("a"), 5555, ipproto=4)`))))
	if o.code == exitCannot {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	holds(t, o.stderr, "lab.star:1:1: error: add fou port 5555 ipproto 4 in a: operation not permitted (EPERM)", "lets only the machine's root do that")
}

// TestToken: the addresses that a router's advertisements make end as the token says,
// and --host sets it back.
func TestToken(t *testing.T) {
	labtest.Need(t, "iproute2", "ipv6")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
lan, host = netns("lan"), netns("host")
r, h = veth("r", "h", ns=lan, peer_ns=host)
def shown(): return exec_in(host, "ip token list dev h").stdout.strip()
set_link(h, token="::5")
expect.eq((h.token, r.token, shown()), ("::5", None, "token ::5 dev h"))
set_link(h, token="::1234:5678:9abc:def0", mtu=1400)
expect.eq((h.token, shown()), ("::1234:5678:9abc:def0", "token ::1234:5678:9abc:def0 dev h"))
set_link(h, token=False)
expect.eq((h.token, shown()), (None, "token :: dev h"))
x, y = veth("x", "y", ns=host, token="::7")
expect.eq((x.token, y.token), ("::7", "::7"))
expect.fails(lambda: set_link(host["lo"], token="::5"), "set token of lo in host: invalid argument")

addr(r, "fe80::1/64")
set_link(h, token="::5")
up(r, h)
radvd(r, "2001:db8::/64", interval="1s")
expect.eventually(lambda: "2001:db8::5" in [a.ip for a in h.addrs], timeout="20s")
`)))
}
