package main

import (
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestMACsec holds keys and channels against `ip macsec show`, and sees on the cable
// that what is sent is encrypted.
func TestMACsec(t *testing.T) {
	labtest.Need(t, "iproute2")
	witness(t, `
def shown(ns, name):
    return [x for x in json.decode(exec_in(ns, "ip -j macsec show").stdout) if x["ifname"] == name][0]

def sci(x):
    return int(x["sci"], 16)

a, b = netns("a"), netns("b")
la, lb = veth("eth0", "eth0", ns=a, peer_ns=b, up=True)
ka, kb = "11" * 32, "22" * 32
sent = {"tx": [macsec_sa(2, key=ka, id="a1", pn=7)], "cipher": "gcm-aes-256", "encodingsa": 2, "port": 9, "replay": True, "window": 5}
ma = macsec("ms0", parent=la, encrypt=True, addr="10.0.0.1/24", up=True, **sent)
mb = macsec("ms0", parent=lb, encrypt=True, cipher="gcm-aes-256", addr="10.0.0.2/24", up=True, tx=[macsec_sa(0, key=kb)],
    rx=[macsec_rx((ma.mac, 9), sa=[macsec_sa(2, key=ka, id="a1", pn=7), macsec_sa(3, key=kb, on=False)])])
macsec_set(ma, rx=[macsec_rx(mb.sci, sa=[macsec_sa(0, key=kb)])])

c = capture(la)
expect.reachable(a, "10.0.0.2", timeout="20s")
expect.packet(c, lambda p: p.eth.type == 0x88e5)
expect.no_packet(c, lambda p: bool(p.icmp), hold="100ms")
c.stop()

s = shown(a, "ms0")
expect.eq((s["encrypt"], s["replay"], s["window"], sci(s), s["encoding_sa"], s["cipher_suite"]), (True, True, 5, int(ma.sci, 16), 2, "GCM-AES-256"))
expect.eq([(x["an"], x["active"], x["key"][:4]) for x in s["sa_list"]], [(2, True, "a100")])
expect.eq([(sci(x), x["active"], [y["an"] for y in x["sa_list"]]) for x in s["rx_sc"]], [(int(mb.sci, 16), True, [0])])
s = shown(b, "ms0")
expect.eq([[(y["an"], y["active"]) for y in x["sa_list"]] for x in s["rx_sc"]], [[(2, True), (3, False)]])
expect.eq((ma.port, ma.sci[12:], ma.encodingsa, ma.window, ma.tx[0].id), (9, "0009", 2, 5, "a1" + "00" * 15))
expect(ma.tx[0].pn > 7 and ma.tx[0].stats.out_pkts_encrypted > 0 and mb.rx[0].sa[0].stats.in_pkts_ok > 0, str(ma.tx[0].stats) + str(mb.rx[0].sa[0].stats))

# Changes, all or nothing.
macsec_set(mb, rx=[macsec_rx(ma.sci, on=False, sa=[macsec_sa(3, on=True, pn=99)])])
x = shown(b, "ms0")["rx_sc"][0]
expect.eq((x["active"], [(y["an"], y["active"]) for y in x["sa_list"]]), (False, [(2, True), (3, True)]))
expect.eq([(y.an, y.pn) for y in mb.rx[0].sa if y.an == 3], [(3, 99)])
expect.fails(lambda: macsec_set(mb, tx=[macsec_sa(1, key=ka)], remove_rx=["0200000000090001"]), "has no channel 0200000000090001")
expect.eq([y.an for y in mb.tx], [0])
expect.fails(lambda: macsec_set(mb, tx=[macsec_sa(1)]), "no association 1")
expect.fails(lambda: macsec_set(mb, tx=[macsec_sa(1, key="33" * 16)]), "128 bits; gcm-aes-256 takes 256")
expect.fails(lambda: macsec_set(mb, tx=[macsec_sa(1, key=ka, salt="00" * 12, ssci=1)]), "no extended packet numbers")
expect.fails(lambda: macsec_set(mb, tx=[macsec_sa(1, key=ka, pn=1 << 32)]), "pn of association 1: 4294967296 is out of range")
expect.fails(lambda: macsec_set(mb, tx=[macsec_sa(1, key=ka), macsec_sa(1, key=ka)]), "given twice")
macsec_set(mb, remove_rx=[ma.sci], remove_tx=0)
s = shown(b, "ms0")
expect.eq((s["rx_sc"], s["sa_list"], mb.tx, mb.rx), ([], [], [], []))

# What is there.
expect.eq(macsec("ms0", parent=la, exist=True, encrypt=True, **sent), ma)
sent["tx"] = [macsec_sa(1, key=ka)]
expect.fails(lambda: macsec("ms0", parent=la, exist=True, **sent), "tx has no association 1")
sent["port"] = 8
expect.fails(lambda: macsec("ms0", parent=la, exist=True, **sent), "its port is 9, not 8")

# Extended packet numbers.
mx = macsec("ms1", parent=la, port=7, cipher="gcm-aes-xpn-128", tx=[macsec_sa(0, key="33" * 16, salt="0102030405060708090a0b0c", ssci=0x01020304, pn=(1 << 33) + 7)])
x = shown(a, "ms1")   # whose numbers have 32 bits
expect.eq((x["cipher_suite"], [(y["an"], y["pn"], y["ssci"]) for y in x["sa_list"]]), ("GCM-AES-XPN-128", [(0, 7, "0x1020304")]))
expect.eq((mx.tx[0].pn, mx.tx[0].ssci), ((1 << 33) + 7, 0x01020304))
expect.fails(lambda: macsec("ms2", parent=la, port=6, cipher="gcm-aes-xpn-128", tx=[macsec_sa(0, key="33" * 16)]), "takes a salt and an ssci")
expect("ms2" not in a)
expect.fails(lambda: set_link(mx, cipher="gcm-aes-128"), "cipher is chosen when the link is made")
`)
}

// TestHostUndoesMACsec: what was added to the machine's own link is taken away, and
// what is set is set back.
func TestHostUndoesMACsec(t *testing.T) {
	script := scriptFile(t, `
m = root["ms9"]
macsec_set(m, tx=[macsec_sa(0, on=False), macsec_sa(1, key="22" * 16)], rx=[macsec_rx("0200000000090001", sa=[macsec_sa(0, key="33" * 16)])])
set_link(m, encodingsa=1, encrypt=True, replay=True, window=9)
fail("now")
`)
	o := machine(t, `
ip link add v9 type veth peer v8
ip link add link v9 ms9 type macsec || exit 0
ip macsec add ms9 tx sa 0 pn 5 on key 01 00112233445566778899aabbccddeeff
ip macsec show > before
ip -d link show ms9 >> before
$NS --host `+script+` || true
cat before; echo ====; ip macsec show; ip -d link show ms9
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
