package main

import (
	"testing"

	"nsscript/runtime/labtest"
)

// TestSockets holds ns.sockets against what `ss` lists, with listening, connected and
// unconnected sockets of both families, bound to a link, and of another process.
func TestSockets(t *testing.T) {
	labtest.Need(t, "ss", "perl", "ipv6")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
a, b = netns("a"), netns("b")
la, lb = veth("eth0", "eth0", ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
up(a["lo"])
server = spawn(a, ["perl", "-e", '''
use strict; use Socket qw(:DEFAULT :addrinfo inet_pton pack_sockaddr_in6 AF_INET6);
sub make {
    my ($family, $kind, $where, $dev) = @_;
    socket(my $s, $family, $kind, 0) or die "socket: $!";
    if ($dev) { setsockopt($s, SOL_SOCKET, 25, $dev) or die "SO_BINDTODEVICE: $!"; }
    bind($s, $where) or die "bind: $!";
    if ($kind == SOCK_STREAM) { listen($s, 5) or die "listen: $!"; }
    return $s;
}
my $any6 = chr(0) x 16;
my $own6 = inet_pton(AF_INET6, "fd00::1");
my $www = make(AF_INET, SOCK_STREAM, pack_sockaddr_in(80, inet_aton("10.0.0.1")));
my @keep = ($www, make(AF_INET6, SOCK_STREAM, pack_sockaddr_in6(443, $any6)),
    make(AF_INET, SOCK_DGRAM, pack_sockaddr_in(53, INADDR_ANY)), make(AF_INET6, SOCK_DGRAM, pack_sockaddr_in6(54, $own6)),
    make(AF_INET, SOCK_DGRAM, pack_sockaddr_in(67, INADDR_ANY), "eth0"));
socket(my $client, AF_INET, SOCK_STREAM, 0) or die;
connect($client, pack_sockaddr_in(80, inet_aton("10.0.0.1"))) or die "connect: $!";
accept(my $served, $www) or die "accept: $!";
socket(my $u, AF_INET, SOCK_DGRAM, 0) or die;
connect($u, pack_sockaddr_in(9, inet_aton("10.0.0.2"))) or die "connect: $!";
$| = 1; print "ready\n";
sleep 600;
'''], ready="ready", timeout="50s")

def theirs():
    rows = []
    for line in exec_in(a, "ss -H -tuanOep").stdout.splitlines():
        f = line.split()
        local, remote = f[4].replace("%eth0", ""), f[5]
        rows.append((f[0], f[1].lower(), local.replace("*:", "[::]:"), None if remote.endswith(":*") else remote,
            "%eth0" in f[4], int(re.search("pid=(\\d+)", line).groups[0]) if "pid=" in line else None, int(re.search("ino:(\\d+)", line).groups[0])))
    return sorted(rows)

def ours():
    return sorted([(s.proto, s.state, s.local, s.remote, s.dev != None, s.pid, s.inode) for s in a.sockets if s.proto != "raw"])

expect.eq(len(ours()), 8)
expect.eq(ours(), theirs())
expect.eq([s.pid for s in a.sockets if s.local == "0.0.0.0:67"], [server.pid])
expect.eq([s.dev for s in a.sockets if s.local == "0.0.0.0:67"], [la])
expect.eq(b.sockets, [])
expect.eq(a.sockets, a.sockets)
expect.matches(a.sockets, "(?m)^tcp +LISTEN +0 +5 +10.0.0.1:80 +\\* +pid=\\d+$")
expect.eq(json.decode(json.encode(a.sockets))[0]["proto"], "tcp")
`)))
}

// TestConntrack holds ns.conntrack against what `conntrack` lists.
func TestConntrack(t *testing.T) {
	labtest.Need(t, "conntrack", "nft", "ipv6")
	o := finish(t, nsscript(t, scriptFile(t, `
a, r, b = netns("a"), netns("r"), netns("b")
veth("eth0", "a0", ns=a, peer_ns=r, addr=["10.0.0.2/24", "fd00::2/64"], peer_addr=["10.0.0.1/24", "fd00::1/64"], up=True)
veth("eth0", "b0", ns=b, peer_ns=r, addr=["10.0.1.2/24", "fd01::2/64"], peer_addr=["10.0.1.1/24", "fd01::1/64"], up=True)
for ns, via in ((a, "10.0.0.1"), (b, "10.0.1.1")):
    route(ns, "default", via=via)
    route(ns, "::/0", via=via.replace("10.0.0.1", "fd00::1").replace("10.0.1.1", "fd01::1"))
sysctl(r, "net.ipv4.ip_forward", 1)
sysctl(r, "net.ipv6.conf.all.forwarding", 1)
expect.eq(r.conntrack, [])
expect.matches(r.conntrack, "nothing is tracked: ")
conntrack_on(a)
conntrack_on(a)
expect.matches(a.conntrack, "no connections: ")
require.reachable(a, "10.0.0.1")
expect.eq([str(c).replace(" %d " % c.timeout, " T ") for c in a.conntrack],
    [" ".join([w for i, w in enumerate(l.split()) if i != 1 and w != "use=1"]).replace(" %s " % l.split()[2], " T ", 1)
        for l in exec_in(a, "conntrack -L 2>/dev/null").stdout.splitlines()])
exec_in(r, "nft -f -", input='''
table ip nat {
  chain post {
    type nat hook postrouting priority 100
    oifname "b0" meta l4proto tcp masquerade
  }
}
table inet t {
  chain pre {
    type filter hook prerouting priority 0
    ct state new ct mark set 7
  }
}
''')
require.reachable(a, "10.0.1.2")
require.reachable(a, "fd01::2")
tcp_server(b, 80)
expect(tcp(a, "10.0.1.2:80", send="x").ok)
expect(not udp(a, "10.0.1.2:9", send="x", timeout="100ms").ok)

def theirs():
    rows = []
    for line in exec_in(r, "conntrack -L -f ipv4 2>/dev/null; conntrack -L -f ipv6 2>/dev/null").stdout.splitlines():
        f = line.split()
        # name, number, seconds, and of TCP a state
        words = [f[0]] + [w for w in f[3:] if w != "use=1" and w != "use=2"]
        rows.append(" ".join(words))
    return sorted(set(rows))

def ours():
    rows = []
    for c in r.conntrack:
        f = str(c).split()
        rows.append(" ".join([f[0]] + f[2:]))
    return sorted(rows)

# The two readings are a moment apart: a state may change between them.
require.eventually(lambda: ours() == theirs(), timeout="20s")
print("\n".join(theirs()))
expect.eq(len(ours()), 4)
ping_ = [c for c in r.conntrack if c.proto == "icmp"][0]
expect.eq((ping_.src, ping_.dst, ping_.icmp_type, ping_.icmp_code, ping_.sport, ping_.mark, ping_.state), ("10.0.0.2", "10.0.1.2", 8, 0, None, 7, None))
expect(ping_.timeout > 0 and ping_.timeout <= 30)
udp_ = [c for c in r.conntrack if c.proto == "udp"][0]
expect.eq((udp_.dport, udp_.reply.sport, udp_.reply.src), (9, 9, "10.0.1.2"))
tcp_ = [c for c in r.conntrack if c.proto == "tcp"][0]
expect.eq((tcp_.dst, tcp_.dport, tcp_.reply.dst, tcp_.status), ("10.0.1.2", 80, "10.0.1.1", ["assured", "snat"]))
expect.contains(["fin_wait", "close_wait", "last_ack", "time_wait", "close"], tcp_.state)
delete(udp_)
expect.eq([c.proto for c in r.conntrack if c.proto == "udp"], [])
expect.fails(lambda: delete(udp_), "is no longer tracked")
expect.eq(json.decode(json.encode(r.conntrack))[0]["mark"], 7)
flush(r, "conntrack")
expect.eq(r.conntrack, [])
`)))
	if o.code == exitCannot {
		labtest.Lacks(t, "conntrack in the kernel", o.stderr)
	}
	if o.code != exitOK {
		t.Errorf("exit status %d\n%s\n%s", o.code, o.stdout, o.stderr)
	}
}

// TestCounters holds link.stats against `ip -s -s`, while nothing is sent.
func TestCounters(t *testing.T) {
	labtest.Need(t, "iproute2")
	runs(t, exitOK, nsscript(t, scriptFile(t, `
a = netns("a")
la, lb = veth("eth0", "eth1", ns=a, peer_ns=root, addr="10.0.0.1/24", peer_addr="10.0.0.2/24", up=True)
sysctl(a, "net.ipv6.conf.all.disable_ipv6", 1)
sysctl(root, "net.ipv6.conf.all.disable_ipv6", 1)
ping(root, "10.0.0.1", count=3, interval="10ms")
down(lb)
down(la)
s = la.stats
told = json.decode(exec_in(a, "ip -j -s -s link show eth0").stdout)[0]["stats64"]
for way in ("rx", "tx"):
    for name, value in told[way].items():
        ours = name if name in ("multicast", "collisions", "carrier_changes") else way + "_" + name
        expect.eq((ours, getattr(s, ours)), (ours, value))
expect(s.rx_packets >= 3 and s.tx_bytes > 100)
expect.contains(dir(s), "rx_nohandler")
expect.matches(str(s), "^rx_packets=\\d+ ")
`)))
}

// TestQdiscs holds link.qdiscs against `tc`.
func TestQdiscs(t *testing.T) {
	labtest.Need(t, "tc")
	o := runs(t, exitOK, nsscript(t, scriptFile(t, `
a, b = veth("a", "b", up=True)
up(b)
def theirs():
    rows = []
    for q in json.decode(exec_in(root, "tc -j qdisc show dev a").stdout):
        rows.append((q["kind"], q["handle"], "root" if q.get("root") else q["parent"]))
    return rows
def ours(): return [(q.kind, q.handle, q.parent) for q in a.qdiscs]
def options(kind): return [q.options for q in a.qdiscs if q.kind == kind][0]
lacks = []
handles = ["%d:" % n for n in range(1, 20)]
def put(kind, words, want):
    exec_in(root, "tc qdisc del dev a root", check=False)
    r = exec_in(root, "tc qdisc add dev a root handle " + handles.pop() + " " + kind + " " + words, check=False)
    if r.code != 0 and "unknown" in r.stderr:
        lacks.append(kind)
        return
    expect.eq((r.code, r.stderr), (0, ""))
    expect.eq(ours(), theirs())
    got = options(kind)
    expect.eq({k: round(v * 1000000) if type(v) == "float" and v < 1 else v for k, v in got.items() if k in want}, want)

expect.eq(ours(), theirs())
put("pfifo", "limit 77", {"limit": 77})
put("bfifo", "limit 7700", {"limit": 7700})
put("tbf", "rate 8mbit burst 10000 limit 30000", {"rate": 8000000.0, "burst": 10000, "limit": 30000})
put("tbf", "rate 40gbit burst 1000000 limit 3000000", {"rate": 40000000000.0, "limit": 3000000})
put("htb", "default 30 r2q 5", {"default": 48, "r2q": 5})
put("prio", "bands 4", {"bands": 4})
put("fq_codel", "limit 100 target 4ms interval 90ms noecn", {"limit": 100, "target": 3999, "interval": 89999, "ecn": False})
put("netem", "delay 100ms 10ms loss 25% duplicate 1% corrupt 2% rate 1mbit limit 99",
    {"delay": 100000, "jitter": 10000, "loss": 250000, "duplicate": 10000, "corrupt": 20000, "rate": 1000000.0, "limit": 99})
put("netem", "delay 10ms reorder 50% gap 5", {"delay": 10000, "reorder": 500000, "gap": 5})
exec_in(root, "tc qdisc add dev a ingress")
expect.eq(ours(), theirs())
expect.matches(a.qdiscs, "(?m)^ingress ffff: parent ffff:fff1")
expect.eq(b.qdiscs[0].kind, "noqueue")
print(" ".join(lacks))
`)))
	if lacks := o.stdout; lacks != "\n" {
		labtest.Lacks(t, "qdiscs", lacks)
	}
}
