package script_test

import (
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// tshark reads fields of every packet of a file, a line for each.
func tshark(t *testing.T, path string, fields ...string) []string {
	t.Helper()
	labtest.Need(t, "tshark")
	args := []string{"-n", "-r", path, "-T", "fields", "-E", "separator=|", "-E", "occurrence=f"}
	for _, f := range fields {
		args = append(args, "-e", f)
	}
	cmd := exec.Command("tshark", args...)
	var complaints strings.Builder
	cmd.Stderr = &complaints
	out, err := cmd.Output()
	if err != nil {
		t.Fatalf("tshark: %v\n%s", err, &complaints)
	}
	return strings.Split(strings.TrimSpace(string(out)), "\n")
}

// runIn runs a script that has to succeed, in a directory where it may save files.
func runIn(t *testing.T, dir, source string) outcome {
	t.Helper()
	o := job{Dir: dir, Path: "lab.star", Source: source}.start(t)
	if why, skipped := strings.CutPrefix(o.Ended, "skip: "); skipped {
		labtest.Lacks(t, "tun", why)
	}
	if o.Ended != "" || o.Failed > 0 {
		t.Fatalf("it ended by %q: %s", o.Ended, strings.Join(o.Reports, "\n"))
	}
	return o
}

// TestCaptureSave: Wireshark reads from the file what the script reads from the
// packets: an interface for each link, times, directions, comments.
func TestCaptureSave(t *testing.T) {
	labtest.Need(t, "tshark")
	dir := labtest.PublicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	o := runIn(t, dir, `
r, a, b = netns("r"), netns("a"), netns("b")
veth("left", "eth0", ns=r, peer_ns=a, addr="10.0.1.1/24", peer_addr="10.0.1.2/24", up=True)
veth("right", "eth0", ns=r, peer_ns=b, addr="10.0.2.1/24", peer_addr="10.0.2.2/24", up=True)
sysctl(r, "net.ipv4.ip_forward", 1)
route(a, "default", via="10.0.1.1")
route(b, "default", via="10.0.2.1")
cap = capture([a["eth0"], r, b["eth0"]], proto=["icmp", "udp"])
ping(a, "10.0.2.2", count=2, interval=0)
send(a["eth0"], pkt.ether(dst=r["left"].mac) / pkt.ip(src="10.0.1.2", dst="10.0.2.2") / pkt.udp(sport=1, dport=2, length=100) / "short")
cap.wait(lambda p: p.link == b["eth0"] and p.udp)
sleep(0.01)
cap.save("all.pcapng")
cap.save("all.pcapng")
for p in cap.packets:
    what = str(p.icmp.type) if p.icmp else "udp"
    print("|".join([p.link.name, "in " + p.link.ns.name, p.direction, str(p.ip.ttl), str(p.ip.id), what, p.malformed or ""]))
`)
	want := strings.Split(strings.TrimSpace(o.Out), "\n")
	got := tshark(t, filepath.Join(dir, "all.pcapng"), "frame.interface_name", "frame.interface_description", "frame.packet_flags_direction",
		"ip.ttl", "ip.id", "icmp.type", "frame.comment")
	if len(got) != len(want) || len(want) < 4*4+4 {
		t.Fatalf("tshark has\n%s\nthe script\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"))
	}
	for i := range want {
		w, g := strings.Split(want[i], "|"), strings.Split(got[i], "|")
		g[2] = map[string]string{"0x00000001": "in", "0x00000002": "out"}[g[2]]
		g[4] = decimal(g[4])
		if g[5] == "" {
			g[5] = "udp"
		}
		g[6] = strings.TrimPrefix(g[6], "malformed ")
		if !slices.Equal(w, g) {
			t.Errorf("packet %d: tshark has %q, the script %q", i, g, w)
		}
	}
	left, err := os.ReadDir(dir)
	if err != nil || len(left) != 1 {
		t.Errorf("in the directory are %v (%v)", left, err)
	}
}

// decimal is a number that tshark wrote in hexadecimal.
func decimal(s string) string {
	out, err := exec.Command("printf", "%d", s).Output()
	if err != nil {
		return s
	}
	return string(out)
}

// TestCaptureTcpdump: tcpdump beside the capture sees the same packets with the same
// bytes.
func TestCaptureTcpdump(t *testing.T) {
	labtest.Need(t, "tshark", "tcpdump", "root") // tcpdump becomes another user
	dir := labtest.PublicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(dir, "theirs.pcap")
	runIn(t, dir, `
a, b = netns("a"), netns("b")
veth(ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
ready(a, b)
p = spawn(b, ["tcpdump", "-n", "-U", "--immediate-mode", "-Z", "root", "-i", "eth0", "-w", "`+path+`", "icmp or (icmp6 and ip6[40] >= 128 and ip6[40] < 130) or vlan"], ready="listening on", timeout="30s")
cap = capture(b["eth0"], where=lambda p: p.icmp or p.icmpv6.id != None or p.vlan)
ping(a, "10.0.0.2", count=3, interval=0, size=100)
ping(a, "fd00::2", count=3, interval=0, size=1200)
send(a["eth0"], [pkt.ether(dst=b["eth0"].mac, src="02:00:00:00:00:01") / pkt.vlan(id=i) / "tagged" for i in range(3)])
expect.packet(cap, {"vlan.id": 2})
require.eventually(lambda: "vlan 2" in exec_in(b, ["tcpdump", "-n", "-e", "-r", "`+path+`"], check=False).stdout, timeout="20s")
p.stop()
cap.save("ours.pcapng")
`)
	fields := []string{"frame.len", "eth.src", "eth.type", "vlan.id", "ip.id", "ip.ttl", "icmp.checksum", "icmpv6.checksum", "icmp.seq"}
	theirs, ours := tshark(t, path, fields...), tshark(t, filepath.Join(dir, "ours.pcapng"), fields...)
	if !slices.Equal(theirs, ours) {
		t.Errorf("tcpdump has\n%s\nthe capture\n%s", strings.Join(theirs, "\n"), strings.Join(ours, "\n"))
	}
}

// holdTun makes a tun link whose packets nobody answers, as long as it runs.
const holdTun = `import fcntl, struct, sys, time
try:
    f = open("/dev/net/tun", "r+b", buffering=0)
except OSError as e:
    print("no tun:", e, flush=True)
    time.sleep(1000)
fcntl.ioctl(f, 0x400454ca, struct.pack("16sH22x", b"tun9", 0x1001))
print("there", flush=True)
time.sleep(1000)
`

// TestCaptureTun: the packets of a link without Ethernet begin with IP. They are
// recorded and sent so, and saved in a way that Wireshark reads.
func TestCaptureTun(t *testing.T) {
	labtest.Need(t, "tshark", "python3")
	dir := labtest.PublicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, "tun.py"), []byte(holdTun), 0o644); err != nil {
		t.Fatal(err)
	}
	o := runIn(t, dir, `
p = spawn(root, ["python3", "`+dir+`/tun.py"], ready=".", timeout="120s")
if "no tun" in p.output:
    skip(p.output)
addr(root["tun9"], "10.9.0.1/24", "fd09::1/64")
up(root["tun9"])
cap = capture(root, where={"eth": False, "src": ["10.9.0.1", "192.0.2.1", "fd09::1"], "proto": ["icmp", "udp", "icmpv6"]})
ping(root, "10.9.0.2", timeout=0)
ping(root, "fd09::2", timeout=0)
expect.fails(lambda: send(root["tun9"], pkt.ether() / pkt.ip()), "tun9 has no Ethernet")
send(root["tun9"], pkt.ip(src="192.0.2.1", dst="10.9.0.2") / pkt.udp(dport=9) / "x")
packets = [p for p in cap.packets if p.ip or p.icmpv6.type == 128]
expect.eq([(p.layers, p.link.name, p.direction) for p in packets],
    [(["ip", "icmp", "payload"], "tun9", "out"), (["ipv6", "icmpv6", "payload"], "tun9", "out"), (["ip", "udp", "payload"], "tun9", "out")])
cap.save("tun.pcapng")
print("\n".join(["%s|%s|%s|%s" % (p.ip.src or "", p.ip.dst or "", p.ipv6.src or "", p.ipv6.dst or "") for p in cap.packets]))
p.stop()
`)
	want := strings.Split(strings.TrimSpace(o.Out), "\n")
	if got := tshark(t, filepath.Join(dir, "tun.pcapng"), "ip.src", "ip.dst", "ipv6.src", "ipv6.dst"); !slices.Equal(got, want) {
		t.Errorf("tshark has %q, the script %q", got, want)
	}
}

// TestCaptureUnwritable: a file that cannot be written is an error, and nothing
// half-written stays; a symbolic link and a device are written to.
func TestCaptureUnwritable(t *testing.T) {
	dir := labtest.PublicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, `
cap = capture(root, proto="icmp")
ping(root, "127.0.0.1")
cap.save("/dev/null")
cap.save("here.pcapng")
expect.fails(lambda: cap.save("here.pcapng/x"), "save the capture to .*not a directory")
expect.fails(lambda: cap.save("."), "save the capture to .*directory")
expect.fails(lambda: cap.save("/dev/full"), "save the capture to /dev/full: no space left on device")
exec_in(root, "rm here.pcapng && ln -s there.pcapng here.pcapng && echo old > there.pcapng", cwd="`+dir+`")
cap.save("here.pcapng")
`)
	var names []string
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	for _, e := range entries {
		names = append(names, e.Name()+" "+e.Type().String()[:1])
	}
	if want := []string{"here.pcapng L", "there.pcapng -"}; !slices.Equal(names, want) {
		t.Errorf("in the directory are %q, want %q", names, want)
	}
	if b, err := os.ReadFile(filepath.Join(dir, "there.pcapng")); err != nil || len(b) < 200 {
		t.Errorf("the link's file has %d bytes: %v", len(b), err)
	}
}

// TestCaptureTogether: captures are asked, waited for and stopped by functions that run
// at once, with predicates of the script.
func TestCaptureTogether(t *testing.T) {
	o := runIn(t, "", `
ns = [netns("n%d" % i) for i in range(4)]
pairs = [veth(ns=ns[i], peer_ns=ns[(i + 1) % 4], addr="10.0.%d.1/24" % i, peer_addr="10.0.%d.2/24" % i, up=True) for i in range(4)]
everything = capture(ns, where=lambda p: p.icmp and p.direction == "in")
def watch(i):
    def f():
        cap = capture(pairs[i][1], proto="icmp")
        p = cap.wait(lambda p: p.icmp.type == 8, timeout="30s")
        expect.packet(cap, {"icmp.type": 0}, timeout="30s")
        expect.eq(p.ip.src, "10.0.%d.1" % i)
        n = everything.count
        cap.stop()
        expect.eventually(lambda: everything.count >= n, timeout="30s")
        return len(cap.packets) >= 2
    return f
def traffic(i):
    def f():
        for k in range(20):
            ping(ns[i], "10.0.%d.2" % i, timeout="30s")
            sleep(0.005)
            everything.packets
    return f
print(parallel([watch(i) for i in range(4)] + [traffic(i) for i in range(4)])[:4])
print(everything.count, everything.dropped)
`)
	if want := "[True, True, True, True]\n160 0\n"; o.Out != want {
		t.Errorf("printed %q, want %q", o.Out, want)
	}
}
