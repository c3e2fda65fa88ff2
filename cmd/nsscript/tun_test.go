package main

import (
	"os"
	"testing"

	"nsscript/runtime/labtest"
)

// needTun skips where nobody but root may open the other end of such a link.
func needTun(t *testing.T) {
	t.Helper()
	f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0)
	if err != nil {
		labtest.Lacks(t, "tun", err.Error())
	}
	f.Close()
}

// TestTun holds tap() and tun() with their options against `ip`, and passes packets
// both ways.
func TestTun(t *testing.T) {
	needTun(t)
	witness(t, `
blue = netns("blue")
def shown(link):
    l = json.decode(exec_in(link.ns, "ip -j -d link show " + link.name).stdout)[0]
    return l, l["linkinfo"]["info_data"]

def arp(ip, mac):   # who has ip, to all
    return b"\xff\xff\xff\xff\xff\xff" + mac + b"\x08\x06\x00\x01\x08\x00\x06\x04\x00\x01" + mac + b"\x0a\x00\x00\x09" + b"\x00\x00\x00\x00\x00\x00" + ip

t = tap("t0", ns=blue, mac="02:00:00:00:00:01", mtu=1400, txqueuelen=77, addr="10.0.0.1/24", up=True)
l, data = shown(t)
expect.eq((l["address"], l["mtu"], l["txqlen"]), ("02:00:00:00:00:01", 1400, 77))
expect.eq(data, {"type": "tap", "pi": False, "vnet_hdr": False, "multi_queue": False, "persist": True})
expect.eq((t.mode, t.pi, t.vnet_hdr, t.multi_queue, t.persist, t.user, t.user_group, t.carrier), ("tap", False, False, False, True, None, None, True))

# What comes in by the file is answered there.
t.write(arp(b"\x0a\x00\x00\x01", b"\x02\x00\x00\x00\x00\x09"))
def answer():
    frame = t.read(timeout="20s")
    return frame if frame[12:14] == b"\x08\x06" and frame[20:22] == b"\x00\x02" else None
expect.eq(require.eventually(answer, timeout="20s")[6:12], b"\x02\x00\x00\x00\x00\x01")

# Reading waits for what comes, and lets the others go on meanwhile.
def ask():
    sleep("50ms")
    ping(blue, "10.0.0.7", timeout="10ms")
def read():
    for _ in range(20):
        frame = t.read(timeout="20s")
        if frame[12:14] == b"\x08\x06" and frame[38:42] == b"\x0a\x00\x00\x07":
            return True
got, _ = parallel([read, ask])
expect.eq(got, True)
sysctl(blue, "net.ipv6.conf.t0.disable_ipv6", 1)
def quiet():
    return t.read(timeout=0.05) == None
expect.eventually(quiet, timeout="20s")
began = now()
expect.eq(parallel([lambda: t.read(timeout="300ms")] * 3), [None, None, None])
expect.lt(now() - began, 20)

# Another program opens what the script lets go.
expect.fails(lambda: exec_in(blue, "ip tuntap add dev t0 mode tap"), "busy")
t.close()
expect.fails(lambda: t.read(), "has no .read")
expect.eq(t.carrier, False)
exec_in(blue, "ip tuntap del dev t0 mode tap")
expect.eq("t0" in blue, False)

# Without a reader, with every option.
p = tap("p0", user=0, group="root", pi=True, vnet_hdr=True, multi_queue=True, hold=False)
want = {"type": "tap", "pi": True, "vnet_hdr": True, "multi_queue": True, "persist": True, "user": "root", "group": "root"}
expect.eq(pick(shown(p)[1], list(want)), want)
expect.eq((p.user, p.user_group, p.pi, p.vnet_hdr, p.multi_queue, p.carrier), (0, 0, True, True, True, False))
expect.fails(lambda: p.read(), "has no .read")
expect.fails(lambda: tap("p0"), "there is a link of that name")
delete(p)
expect.eq("p0" in root, False)

# A bridge's port.
br = bridge("br0", up=True)
q = tap("q0", master=br, up=True)
expect.eq((q.master, [x.name for x in br.ports]), (br, ["q0"]))
expect.eventually(lambda: q.bridge_port.state == "forwarding", timeout="20s")

# TUN: IP packets. An echo request of 10.0.0.2 is answered.
u = tun(addr="10.0.0.1/24", up=True)
expect.eq((u.name, u.mode, shown(u)[1]["type"], u.mac), ("tun0", "tun", "tun", None))
request = b"\x45\x00\x00\x1c\x00\x00\x00\x00\x40\x01\x66\xdf\x0a\x00\x00\x02\x0a\x00\x00\x01\x08\x00\xf7\xfe\x00\x00\x00\x01"
u.write(request)
def reply():
    packet = u.read(timeout="20s")
    return packet if packet[9:10] == b"\x01" and packet[0:1] == b"\x45" else None
expect.eq(require.eventually(reply, timeout="20s")[20:21], b"\x00")
u.write(pkt.ip(src="10.0.0.2", dst="10.0.0.1") / pkt.icmp(type="echo-request", id=1, seq=1))
expect.eq(require.eventually(reply, timeout="20s")[20:21], b"\x00")
v = tun("v0", pi=True, up=True)
v.write(b"\x00\x00\x08\x00" + request)
expect.fails(lambda: v.write(b""), "write 0 bytes to v0")
down(v)
expect.fails(lambda: v.write(b"\x00\x00\x08\x00" + request), "EIO")
move(u, blue)
up(u)
addr(u, "10.0.0.1/24")
u.write(request)
expect.eq(require.eventually(reply, timeout="20s")[20:21], b"\x00")
delete(blue)
expect.fails(lambda: u.read(), "link tun0 was deleted with its namespace")
expect.fails(lambda: tap("w0", addr=["10.0.1.1/24", "10.0.1.1/24"]), "make tap w0 with addresses")
expect.eq("w0" in root, False)
`)
}

// TestTunEnds: a reader ends with the deadline and when it is interrupted.
func TestTunEnds(t *testing.T) {
	needTun(t)
	o := finish(t, nsscript(t, "--timeout", "1s", scriptFile(t, "t = tun(up=True)\nsysctl(root, 'net.ipv6.conf.tun0.disable_ipv6', 1)\nfor _ in range(1000): t.read()")))
	holds(t, o.stderr, "1s")
	if o.code != exitError {
		t.Errorf("exit status %d", o.code)
	}
	script := scriptFile(t, "t = tun(up=True)\nsysctl(root, 'net.ipv6.conf.tun0.disable_ipv6', 1)\nspawn(root, 'sleep 1; kill -INT $PPID')\nfor _ in range(1000): t.read()")
	if o := finish(t, nsscript(t, script)); o.code != exitInterrupted {
		t.Errorf("exit status %d\n%s", o.code, o.stderr)
	}
}

// TestHostUndoesTun: a failed run's are gone; a good one's stay, as `ip tuntap`'s.
func TestHostUndoesTun(t *testing.T) {
	needTun(t)
	good := scriptFile(t, `tap("good0", user=5); tun("good1", hold=False)`)
	bad := scriptFile(t, `tap("bad0"); tun("bad1", hold=False); fail("now")`)
	o := machine(t, `
$NS --host `+good+`
$NS --host `+bad+` || true
ip tuntap list
`)
	holds(t, o.stdout, "good0: tap persist user 5", "good1: tun persist")
	holds(t, o.stderr, "fail: now")
	if n := len(o.stdout); n > 120 {
		t.Errorf("too many are left:\n%s", o.stdout)
	}
}

// TestTunExist: exist=True takes the link that there is, if it is as asked for, and
// opens its other end again.
func TestTunExist(t *testing.T) {
	needTun(t)
	witness(t, `
t = tap("tap0", mac="02:00:00:00:00:01", user=0, addr="10.0.0.1/24", up=True)
same = tap("tap0", mac="02:00:00:00:00:01", user=0, addr="10.0.0.1/24", exist=True)
expect.eq(same, t)
t.close()
expect("read" not in dir(t))
expect.eq(tap("tap0", exist=True, hold=False), t)
expect("read" not in dir(t))
expect.eq(tap("tap0", exist=True), t)
t.write(pkt.ether(dst="ff:ff:ff:ff:ff:ff") / pkt.payload(b"x" * 46))
expect.eventually(lambda: t.stats.rx_packets > 0)
expect.fails(lambda: tun("tap0", exist=True), "tap0 is there, but its mode is tap, not tun")
expect.fails(lambda: tap("tap0", exist=True, pi=True), "its pi is false, not true")
expect.fails(lambda: tap("tap0", exist=True, user=1), "its user is 0, not 1")
expect.fails(lambda: tap("tap0", exist=True, group=1), "its user_group is none, not 1")
expect.fails(lambda: tap("tap0", exist=True, addr="10.0.0.2/24"), "it has no address 10.0.0.2/24")
expect.fails(lambda: tap(exist=True), "exist=True needs a name")
u = tun("tun0", exist=True)
expect.eq((u.mode, len(root.links)), ("tun", 3))
veth("eth0", "eth1")
expect.fails(lambda: tun("eth0", exist=True), "eth0 is there, but its kind is veth, not tun")
`)
}
