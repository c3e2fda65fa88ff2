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
