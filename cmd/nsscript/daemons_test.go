package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"nsscript/runtime/labtest"
)

// asSeveral makes cmd run as nobody, who has ranges of ids to lend.
func asSeveral(t testing.TB, cmd *exec.Cmd) *exec.Cmd {
	t.Helper()
	labtest.Need(t, "subuid", "setpriv")
	dir := labtest.PublicDir(t)
	if err := os.WriteFile(filepath.Join(dir, "ranges"), []byte("daemon:1:1\nnobody:100000:65536\n"), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, cmd.Args...)
	return inMounts(cmd, `touch /etc/subuid /etc/subgid
mount --bind `+dir+`/ranges /etc/subuid
mount --bind `+dir+`/ranges /etc/subgid`)
}

// eachUser runs a script as root, as an ordinary user with ranges of ids and as one
// without.
func eachUser(t *testing.T, script string) {
	t.Helper()
	for _, as := range []struct {
		name string
		user func(testing.TB, *exec.Cmd) *exec.Cmd
	}{
		{"root", func(t testing.TB, cmd *exec.Cmd) *exec.Cmd { labtest.Need(t, "root"); return cmd }},
		{"several ids", asSeveral},
		{"one id", func(_ testing.TB, cmd *exec.Cmd) *exec.Cmd { return asOrdinary(cmd) }},
	} {
		t.Run(as.name, func(t *testing.T) { runs(t, exitOK, as.user(t, nsscript(t, scriptFile(t, script)))) })
	}
}

// TestDnsmasq: a real server of DHCP gives our client an address, and the way and
// the names that come with it.
func TestDnsmasq(t *testing.T) {
	labtest.Need(t, "dnsmasq")
	eachUser(t, `
r, h = netns("r"), netns("h")
lan, eth0 = veth("lan", "eth0", ns=r, peer_ns=h, addr="10.0.0.1/24", up=True)
up(r["lo"])
# -d: it does not become another user.
spawn(r, ["dnsmasq", "-d", "-C", "/dev/null", "-i", "lan", "--bind-interfaces", "--dhcp-leasefile=/dev/null", "-F", "10.0.0.50,10.0.0.60,255.255.255.0,10m",
    "-O", "option:router,10.0.0.1", "-O", "option:mtu,1400", "-O", "121,10.9.0.0/16,10.0.0.3,0.0.0.0/0,10.0.0.1", "-s", "lab", "-K", "-A", "/www.lab/10.7.7.7", "--no-resolv", "--no-hosts", "-h"],
    ready="sockets bound exclusively|DHCP, IP range", timeout="60s")
lease = require.eventually(lambda: dhcp_client(eth0, hostname="laptop", request="10.0.0.55", timeout="20s"), timeout="100s")
expect.eq((lease.cidr, lease.router, lease.dns, lease.domain, lease.lease, lease.renewal, lease.mtu), ("10.0.0.55/24", "10.0.0.1", ["10.0.0.1"], "lab", 600.0, 300.0, 1400))
expect.eq([(r.dst, r.via) for r in lease.routes], [("10.9.0.0/16", "10.0.0.3"), ("0.0.0.0/0", "10.0.0.1")])
expect.eq(route_get(h, "10.9.0.1").via, "10.0.0.3")
expect.eq(dns(h, "www.lab", timeout="60s").answers[0].data, "10.7.7.7")
expect.eq(dns(h, "laptop.lab", timeout="60s").answers[0].data, "10.0.0.55")
expect.eq(lease.renew(timeout="60s").ip, "10.0.0.55")
lease.release()
expect.eq(dhcp_client(eth0, client_id="another", request="10.0.0.55", timeout="60s").ip, "10.0.0.55")
`)
}

// TestUdhcpc: a real client of DHCP gets from our server what the script gives it.
func TestUdhcpc(t *testing.T) {
	labtest.Need(t, "udhcpc", "ip")
	eachUser(t, `
r, h = netns("r"), netns("h")
lan, eth0 = veth("lan", "eth0", ns=r, peer_ns=h, addr="10.0.0.1/24", up=True)
s = dhcp_server(lan, pool="10.0.0.50-10.0.0.60", router=lan, dns=["10.0.0.1", "10.0.0.2"], domain="lab", lease="10m", mtu=1400,
    routes={"10.9.0.0/16": "10.0.0.3", "0.0.0.0/0": "10.0.0.1"}, options={42: b"\x0a\x00\x00\x07"})
told = exec_in(h, """cat > /run/said <<'EOF'
#!/bin/sh
echo $1 $ip $mask $router $domain $dns $lease $mtu $ntpsrv $staticroutes $serverid
EOF
chmod +x /run/said
exec udhcpc -f -n -q -i eth0 -s /run/said -x hostname:laptop -r 10.0.0.55 -O mtu -O ntpsrv -O staticroutes -t 20""", timeout="60s").stdout
expect.contains(told, "bound 10.0.0.55 24 10.0.0.1 lab 10.0.0.1 10.0.0.2 600 1400 10.0.0.7 10.9.0.0/16 10.0.0.3 0.0.0.0/0 10.0.0.1 10.0.0.1")
expect.eq([(l.ip, l.hostname, l.state) for l in s.leases], [("10.0.0.55", "laptop", "bound")])
`)
}

// webLab has nginx with a page, beside Python's http.server, and asks both by curl
// and by our own http.
const webLab = `
web, h = netns("web"), netns("h")
veth(ns=web, peer_ns=h, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
ready(web, h)
exec_in(web, "mkdir -p /run/www/tmp && chmod 755 /run/www && echo hello > /run/www/page && cat > /run/www/conf", input="""
daemon off;
pid /run/www/pid;
error_log stderr;
events {}
http {
  access_log off;
  client_body_temp_path /run/www/tmp; proxy_temp_path /run/www/tmp; fastcgi_temp_path /run/www/tmp; uwsgi_temp_path /run/www/tmp; scgi_temp_path /run/www/tmp;
  server { listen 80; listen [::]:80; root /run/www; location = /who { return 200 "$remote_addr"; } }
}
""")
nginx = spawn(web, ["nginx", "-e", "stderr", "-c", "/run/www/conf"], ready=80, timeout="60s")
spawn(web, ["python3", "-u", "-m", "http.server", "-d", "/run/www", "8000"], ready=8000, timeout="60s")
for port in ["", ":8000"]:
    url = "http://10.0.0.1%s/" % port
    ours = http(h, "GET", url + "page", timeout="60s")
    expect.eq((ours.status, ours.body), (200, "hello\n"))
    expect.eq(exec_in(h, ["curl", "-sS", "-m", "60", url + "page"]).stdout, ours.body)
    expect.eq(exec_in(h, ["curl", "-s", "-o", "/dev/null", "-m", "60", "-w", "%{http_code}", url + "none"]).stdout, "404")
    expect.eq(http(h, "GET", url + "none", timeout="60s").status, 404)
expect.eq(http(h, "GET", "http://[fd00::1]/who", timeout="60s").body, "fd00::2")

# curl asks our server, by name and over TLS.
ours = http_server(web, 443, lambda r: r.path + " " + r.body, tls=True)
exec_in(h, "cat > /run/ca.pem", input=ours.ca)
expect.eq(exec_in(h, ["curl", "-sS", "-m", "60", "--cacert", "/run/ca.pem", "-d", "data", "https://10.0.0.1/x?y=1"]).stdout, "/x data")
`

// TestNginx: real web servers answer our client, and ours a real client. nginx becomes
// another user, which one id does not let it.
func TestNginx(t *testing.T) {
	labtest.Need(t, "nginx", "curl", "python3")
	t.Run("root", func(t *testing.T) {
		labtest.Need(t, "root")
		runs(t, exitOK, nsscript(t, scriptFile(t, webLab)))
	})
	t.Run("several ids", func(t *testing.T) { runs(t, exitOK, asSeveral(t, nsscript(t, scriptFile(t, webLab)))) })
	t.Run("one id", func(t *testing.T) {
		holds(t, runs(t, exitError, asOrdinary(nsscript(t, scriptFile(t, webLab)))).stderr, "this program changes user; install uidmap and add a subuid range")
	})
}

// TestIperf3: throughput() finds what iperf3 does, within 15 %, where the link is what
// limits both: a busy machine gives one of two programs in turn several times as much.
// Which of them is faster where nothing does is for the benchmark to say.
func TestIperf3(t *testing.T) {
	labtest.Need(t, "iperf3", "tc")
	eachUser(t, `
a, b = netns("a"), netns("b")
veth("eth0", "eth1", ns=a, peer_ns=b, addr="10.0.0.1/24", peer_addr="10.0.0.2/24", up=True)
exec_in(a, "tc qdisc add dev eth0 root tbf rate 20mbit burst 16kb latency 50ms")
spawn(b, ["iperf3", "-s"], ready=5201, timeout="60s")
def theirs(*options):
    r = json.decode(exec_in(a, ["iperf3", "-J", "-c", "10.0.0.2", "-t", "1"] + list(options), timeout="60s").stdout)["end"]
    return r["sum_received" if "sum_received" in r else "sum"]["bits_per_second"]
for ours, options in [(lambda: throughput(a, b, 1), []), (lambda: throughput(a, b, 1, proto="udp", rate="10mbit"), ["-u", "-b", "10M"])]:
    def alike():
        x, y = ours().bits_per_second, theirs(*options)
        expect(abs(x - y) < 0.15 * y, "%d against %d" % (x, y))
    expect.eventually(alike, timeout="100s")
`)
}

// TestDig: a real client asks our name server.
func TestDig(t *testing.T) {
	labtest.Need(t, "dig")
	eachUser(t, `
a, b = netns("a"), netns("b")
veth(ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
dns_server(b, {"www.lab": ["10.0.0.2", "fd00::2"], "alias.lab": "www.lab", "lab": {"MX": ["10 mail.lab", "20 mail2.lab"], "TXT": "words"},
    "many.lab": ["10.1.%d.%d" % (i // 250, i % 250) for i in range(100)]})
def dig(words):
    return exec_in(a, ["dig", "+timeout=20"] + words.split()).stdout
expect.eq(dig("+short @10.0.0.2 alias.lab"), "www.lab.\n10.0.0.2\n")
expect.eq(dig("+short @fd00::2 -x 10.0.0.2"), "www.lab.\n")
expect.eq(dig("+short +tcp @10.0.0.2 lab MX"), "10 mail.lab.\n20 mail2.lab.\n")
expect.eq(dig("+short @b www.lab AAAA"), "fd00::2\n") # by the lab's /etc/hosts
expect.eq(dig("+short lab TXT"), "\"words\"\n") # and by /etc/resolv.conf
expect.eq(len(dig("+short +noedns +ignore @10.0.0.2 many.lab")), 0)
expect.eq(len(dig("+short +noedns @10.0.0.2 many.lab").split()), 100)
expect.contains(dig("@10.0.0.2 no.lab"), "status: NXDOMAIN")
`)
}
