package main

import (
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestWireGuard holds what wireguard() and wg_set() make against `wg show`, and
// sends packets through it: with the transport in namespaces of their own, by
// link_netns and by a move, and when an endpoint's address changes.
func TestWireGuard(t *testing.T) {
	labtest.Need(t, "wg")
	witness(t, `
def dump(ns):
    lines = [l.split("\t") for l in exec_in(ns, "wg show wg0 dump").stdout.splitlines()]
    return lines[0], lines[1:]

a, b, ta, tb = netns("a"), netns("b"), netns("ta"), netns("tb")
la, lb = veth("eth0", "eth0", ns=ta, peer_ns=tb, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
ka, kb, other, shared = wg_key(), wg_key(), wg_key(), wg_key()
for k in [ka, kb, other]:
    expect.eq(exec_in(root, ["wg", "pubkey"], input=k.private + "\n").stdout.strip(), k.public)

wa = wireguard("wg0", ns=a, link_netns=ta, private_key=ka, port=51820, fwmark=0x77, addr=["192.168.0.1/24", "fd99::1/64"], up=True, peers=[
    wg_peer(kb, endpoint="10.0.0.2:51821", allowed_ips=["192.168.0.2", "10.8.0.0/16", "fd99::/64"], keepalive=25, preshared_key=shared),
    wg_peer(other.public, endpoint="[fd00::9]:4000")])
own, peers = dump(a)
expect.eq(own, [ka.private, ka.public, "51820", "0x77"])
p = {x[0]: x for x in peers}[kb.public]
expect.eq(p[1:3] + sorted(p[3].split(",")) + p[7:], [shared.private, "10.0.0.2:51821", "10.8.0.0/16", "192.168.0.2/32", "fd99::/64", "25"])
expect.eq([x for x in peers if x[0] == other.public], [[other.public, "(none)", "[fd00::9]:4000", "(none)", "0", "0", "0", "off"]])
expect.eq((wa.private_key, wa.public_key, wa.listen_port, wa.fwmark), (ka.private, ka.public, 51820, 0x77))
ours = {x.public_key: x for x in wa.peers}
expect.eq((ours[kb.public].endpoint, sorted(ours[kb.public].allowed_ips), ours[kb.public].keepalive, ours[kb.public].preshared_key),
    ("10.0.0.2:51821", ["10.8.0.0/16", "192.168.0.2/32", "fd99::/64"], 25.0, shared.private))
expect.eq((ours[other.public].endpoint, ours[other.public].allowed_ips, ours[other.public].keepalive, ours[other.public].latest_handshake, ours[other.public].rx_bytes),
    ("[fd00::9]:4000", [], None, None, 0))

# The other end moves out of the namespace of its packets.
wb = wireguard("wg0", ns=tb, private_key=kb, port=51821, peers=[wg_peer(ka, allowed_ips=["192.168.0.1", "fd99::1"], preshared_key=shared)])
move(wb, b)
addr(wb, "192.168.0.2/24", "fd99::2/64")
up(wb)
expect.eq((wb.public_key, wb.peers[0].endpoint), (kb.public, None))
expect.reachable(a, "192.168.0.2", timeout="20s")
expect.reachable(b, "fd99::1", timeout="20s")
p = wb.peers[0]
expect.eq(p.endpoint, "10.0.0.1:51820")
expect(p.rx_bytes > 0 and p.tx_bytes > 0 and p.latest_handshake > 1e9, str((p.rx_bytes, p.tx_bytes, p.latest_handshake)))
expect.eq(int(dump(b)[1][0][4]), int(p.latest_handshake))

# An endpoint follows a peer that has moved.
delete(lb.addrs[0])
addr(lb, "10.0.0.3/24")
expect.reachable(b, "192.168.0.1", timeout="20s")
expect.eventually(lambda: {x.public_key: x.endpoint for x in wa.peers}[kb.public] == "10.0.0.3:51821", timeout="20s")
expect.reachable(a, "192.168.0.2", timeout="20s")

# Changes: what is not given stays.
wg_set(wa, port=4000, peers=[wg_peer(kb, allowed_ips=["192.168.0.0/24"], preshared_key=False, keepalive=0)])
expect.eq(dump(a)[0][2], "4000")
expect.eq([x[1:4] + x[7:] for x in dump(a)[1] if x[0] == kb.public], [["(none)", "10.0.0.3:51821", "192.168.0.0/24", "off"]])
wg_set(wa, remove=[other])
expect.eq([x[0] for x in dump(a)[1]], [kb.public])
before = dump(a)
expect.fails(lambda: wg_set(wa, fwmark=9, peers=[wg_peer(other), wg_peer(kb, endpoint="[fe80::1%nowhere]:9")]), "there is no link nowhere")
expect.eq(dump(a), before)
wg_set(wa, fwmark=0, peers=[wg_peer(other, allowed_ips=[])], replace_peers=True)
expect.eq((dump(a)[0][3], [x[0] for x in dump(a)[1]]), ("off", [other.public]))
wg_set(wa, private_key=False)
expect.eq((dump(a)[0][:2], wa.public_key, wa.private_key), (["(none)", "(none)"], None, None))
expect.fails(lambda: wireguard("wg0", ns=a, link_netns=ta, exist=True, fwmark=3), "its fwmark is 0, not 3")
expect.fails(lambda: wireguard("wg0", ns=a, link_netns=ta, exist=True, port=4001), "its port is 4000, not 4001")
expect.fails(lambda: wireguard("wg0", ns=a, link_netns=ta, exist=True, peers=[wg_peer(kb)]), "it has no peer ")
expect.fails(lambda: wireguard("wg0", ns=a, link_netns=ta, exist=True, peers=[wg_peer(other, keepalive=7)]), "of peer .*, its keepalive is 0s, not 7s")
expect.fails(lambda: wireguard("wg0", ns=a, link_netns=ta, exist=True, peers=[wg_peer(other, allowed_ips=["10.0.0.0/8"])]), "its allowed_ips are \\[\\], not \\[10.0.0.0/8\\]")
expect.eq(wireguard("wg0", ns=a, link_netns=ta, exist=True, port=4000, peers=[wg_peer(other, allowed_ips=[])]), wa)
many = ["10.%d.%d.0/24" % (i, j) for i in range(20) for j in range(120)]
wg_set(wa, peers=[wg_peer(kb, allowed_ips=many)])
expect.eq([sorted(x.allowed_ips) for x in wa.peers if x.public_key == kb.public], [sorted(many)])
expect.eq([sorted(x[3].split(",")) for x in dump(a)[1] if x[0] == kb.public], [sorted(many)])
delete(wa)
expect("wg0" not in a)
expect.fails(lambda: wireguard("wg1", ns=a, private_key=ka, peers=[wg_peer(ka)]), "wg1 in a cannot be a peer of itself")
expect("wg1" not in a)
`)
}

// TestWireGuardExplained: the explanation builds the same, and -v shows no keys.
func TestWireGuardExplained(t *testing.T) {
	labtest.Need(t, "wg", "iproute2", "mount", "sandbox")
	file := scriptFile(t, `
k, p, s = wg_key(), wg_key(), wg_key()
blue = netns("blue")
w = wireguard("wg0", ns=blue, private_key=k, port=5, fwmark=6, peers=[wg_peer(p, endpoint="[fd00::1]:7", allowed_ips=["10.0.0.0/8", "fd00::/8"], preshared_key=s, keepalive=9)])
wg_set(w, peers=[wg_peer(wg_key(), allowed_ips=[])])
print(exec_in(blue, "wg show wg0 dump").stdout)
print(k.private, s.private)
`)
	o := finish(t, nsscript(t, "-v", file))
	if o.code == exitCannot {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if o.code != exitOK || len(lines) != 5 {
		t.Fatalf("exit status %d\n%s\n%s", o.code, o.stdout, o.stderr)
	}
	for _, key := range strings.Fields(lines[4]) {
		if strings.Contains(o.stderr, key) {
			t.Errorf("-v shows the key %s:\n%s", key, o.stderr)
		}
	}
	holds(t, o.stderr, "wg set wg0 private-key /dev/stdin listen-port 5 fwmark 0x6")
	explained := finish(t, nsscript(t, "explain", file))
	built := machine(t, "sh -e -c "+shellQuoted(explained.stdout)+"\nip netns exec blue wg show wg0 dump")
	for _, line := range lines[:3] {
		if strings.Count(built.stdout, line) < 2 { // once by the script's own exec_in
			t.Errorf("no %q in\n%s", line, built.stdout)
		}
	}
}

func shellQuoted(text string) string { return "'" + strings.ReplaceAll(text, "'", `'\''`) + "'" }

// TestHostUndoesWireGuard: the machine's own tunnel has its keys and peers again.
func TestHostUndoesWireGuard(t *testing.T) {
	labtest.Need(t, "wg")
	script := scriptFile(t, `
w = root["wg9"]
wg_set(w, private_key=wg_key(), port=3, peers=[wg_peer(wg_key(), allowed_ips="10.0.0.0/8")])
wg_set(w, replace_peers=True, fwmark=4)
wireguard("wg8", private_key=wg_key())
fail("now")
`)
	o := machine(t, `
ip link add wg9 type wireguard || exit 0
wg genkey > key
wg set wg9 private-key key listen-port 9 fwmark 5 peer $(wg genkey | wg pubkey) allowed-ips 10.9.0.0/16,fd00::/8 endpoint 10.0.0.1:9 persistent-keepalive 7 preshared-key key
wg show all dump > before
$NS --host `+script+` || true
cat before; echo ====; wg show all dump
`)
	before, after, made := strings.Cut(o.stdout, "====\n")
	if !made {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	if before != after || len(before) < 100 {
		t.Errorf("not as it was:\n%s", differences(before, after))
	}
	holds(t, o.stderr, "fail: now")
}
