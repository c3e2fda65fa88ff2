package main

import (
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// rich is a machine with what is easily lost: everything about a link that `ip`
// and bridge(8) can set.
var rich = state + `
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
all() {
	state
	ip -j route show table all
	ip -j -6 route show table all
	ip -j neigh show proxy
	ip -j nexthop
	ip neigh show nud noarp | grep -v '^ff\|^22' | sort
	bridge -j fdb show state static || true
	bridge -j fdb show state permanent || true
	for d in d0 e0 p0; do
		(cd /proc/sys/net; grep -rs . ipv4/conf/$d ipv4/neigh/$d ipv6/conf/$d ipv6/neigh/$d | sort)
	done
}
ip netns add green
ip link add br9 type bridge forward_delay 0
ip link add d0 type veth peer name d1
ip link add e0 type veth peer name e1
ip link add p0 type veth peer name p1
ip link set p0 master br9 txqueuelen 77 alias words group 5 promisc on
ip link property add dev p0 altname another-name-of-p0
ip link set p0 type bridge_slave cost 33 hairpin on isolated on
bridge fdb add 02:00:00:00:00:31 dev p0 master static
bridge fdb add 02:00:00:00:00:32 dev p0 self
for l in br9 d0 d1 e0 e1 p0 p1; do ip link set $l up; done
echo 2 > /proc/sys/net/ipv4/conf/p0/rp_filter
echo 1 > /proc/sys/net/ipv4/conf/p0/forwarding
echo 0 > /proc/sys/net/ipv6/conf/p0/accept_ra
echo 17 > /proc/sys/net/ipv4/neigh/p0/unres_qlen
ip addr add 10.4.0.1/24 dev d0 metric 50
ip addr add 10.4.0.2/24 dev d0 noprefixroute
ip addr add 10.4.1.1/24 dev d0 valid_lft 1000 preferred_lft 900
ip addr add 10.4.2.1 peer 10.4.2.2/32 dev d0 label d0:2
ip addr add fd04::1/64 dev d0 nodad metric 51
ip addr add fd04::2/64 dev d0 nodad noprefixroute
ip addr add fd04:1::1/64 dev d0 nodad valid_lft 1000 preferred_lft 0
ip addr add 10.6.0.1/24 dev e0
ip addr add fd06::1/64 dev e0 nodad
ip route add 198.18.0.0/24 dev d0 scope link
ip route add default via 198.18.0.9 dev d0 metric 77
ip route add 198.51.100.0/24 via 10.4.0.8 initcwnd 20 rto_min 70ms mtu lock 1300 tos 0x10 src 10.4.0.2 congctl reno
ip route append 198.51.100.0/24 via 10.4.0.7 tos 0x10
ip route add 203.0.113.0/24 nexthop via 10.4.0.8 weight 2 nexthop via 10.6.0.8
ip route add 192.0.2.0/24 via 10.6.0.8 src 10.4.0.2 table 9 proto static
ip route add local 10.99.0.0/16 dev d0
ip -6 route add 2001:db8:1::/48 via fd04::8 pref high initcwnd 21 hoplimit 9
ip -6 route add 2001:db8:2::/48 via fd04::8 expires 1000
ip -6 route add 2001:db8:3::/48 nexthop via fd04::8 weight 2 nexthop via fd06::8
ip -6 route add 2001:db8:4::/48 via fd06::8 src fd04::2
ip nexthop add id 7 via 10.4.0.5 dev d0
ip nexthop add id 8 via 10.6.0.5 dev e0
ip nexthop add id 3 group 7,2/8
ip nexthop add id 4 group 7/8 type resilient buckets 8 idle_timer 60
ip route add 198.19.0.0/24 nhid 7
ip route add 198.19.1.0/24 nhid 3
ip neigh add 10.4.0.66 lladdr 02:00:00:00:00:66 dev d0
ip neigh add 10.4.0.67 lladdr 02:00:00:00:00:67 dev d0 nud noarp protocol static
ip neigh add fd04::66 lladdr 02:00:00:00:00:66 dev d0 router
ip neigh add proxy 10.4.0.68 dev d0
ip neigh add proxy fd04::68 dev d0
settle
`

// TestHostUndoesLosses: what the kernel takes away beside what a change asks
// for comes back whole.
func TestHostUndoesLosses(t *testing.T) {
	for name, change := range map[string]string{
		"down":         `down(root["d0"], root["p0"])`,
		"up and down":  `up(root["d0"]); down(root["d0"]); up(root["d0"])`,
		"move":         `move(root["d0"], netns("x"))`,
		"move a port":  `move(root["p0"], netns("x"))`,
		"mtu":          `set_link(root["d0"], mtu=1000)`,
		"smallest mtu": `down(root["d0"]); set_link(root["d0"], mtu=68); up(root["d0"])`,
		"mac":          `set_link(root["d0"], mac="02:00:00:00:00:77")`,
		"arp":          `set_link(root["d0"], arp=False)`,
		"master":       `set_link(root["d0"], master=bridge("br8")); set_link(root["p0"], master=root["br8"])`,
		"no master":    `set_link(root["p0"], master=False)`,
		"no IPv6":      `sysctl(root, "net.ipv6.conf.d0.disable_ipv6", 1); sysctl(root, "net.ipv6.conf.all.disable_ipv6", 1)`,
		"delete": `
for a in root["d0"].addrs: catch(lambda: delete(a))
for table in [root.routes, routes(root, table="local")]:
    for r in table:
        if r.proto != "kernel": delete(r)
for n in root.neighbors: delete(n)`,
		"nexthops": `
delete(root.nexthops[-1])
nexthop(root, 7, via="10.4.0.6", dev=root["d0"], replace=True)
nexthop(root, 3, group=[7], replace=True)
nexthop(root, 9, blackhole=True, family=6)
route(root, "198.19.3.0/24", nhid=7)
nexthop(root, 6, blackhole=True, replace=True)
for n in root.nexthops: delete(n)`,
		"addresses": `
addr(root["d0"], "10.4.0.1/24", metric=60, replace=True)
addr(root["d0"], "10.4.1.1/24", valid="forever", replace=True)
addr(root["d0"], "fd04::1/64", valid="500s", replace=True)
addr(root["d0"], "10.4.7.1/24", replace=True)
flush(root, "addr", dev=root["e0"])
flush(root, "route", table=9)
flush(root, "rule", family=6)
neighbor(root["d0"], "10.4.0.66", "02:00:00:00:00:65", change=True, nud="noarp")`,
		"replace": `
route(root, "198.51.100.0/24", via="10.4.0.5", replace=True)
route(root, "203.0.113.0/24", via="10.4.0.5", replace=True)
route(root, "203.0.113.0/24", via="10.4.0.6", replace=True)
route(root, "203.0.114.0/24", via="10.4.0.6", replace=True)
route(root, "192.0.2.0/24", via="10.6.0.8", src="10.4.0.2", table=9, replace=True)
route(root, "2001:db8:1::/48", via="fd04::9", replace=True)
route(root, "2001:db8:3::/48", via="fd04::9", replace=True)
route(root, "2001:db8:5::/48", via="fd04::9", replace=True)
neighbor(root["d0"], "10.4.0.66", "02:00:00:00:00:65", replace=True)
neighbor(root["d0"], "10.4.0.67", "02:00:00:00:00:65", replace=True)
neighbor(root["d0"], "10.4.0.69", "02:00:00:00:00:69", replace=True)
neighbor(root["d0"], "fd04::66", "02:00:00:00:00:65", replace=True)
neighbor(root["d0"], "10.4.0.68", proxy=True, replace=True)`,
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			script := scriptFile(t, change+"\nfail(\"now\")\n")
			o := machine(t, rich+`
all > before
$NS --host --force `+script+` || true
cat before; echo ====; again all
`)
			before, after, _ := strings.Cut(o.stdout, "====\n")
			if diff := differences(settled(t, before), settled(t, after)); diff != "" {
				t.Errorf("not as it was:\n%s", diff)
			}
			holds(t, o.stderr, "fail: now")
			if strings.Contains(o.stderr, "cannot be undone") || strings.Contains(o.stderr, "not undone") {
				t.Errorf("stderr: %s", o.stderr)
			}
			if len(before) < 10000 {
				t.Errorf("the witness sees only %d bytes", len(before))
			}
		})
	}
}

// TestHostListsLosses: what the kernel takes away and cannot be made again is
// said.
func TestHostListsLosses(t *testing.T) {
	labtest.Need(t, "tc")
	script := scriptFile(t, `move(root["d0"], netns("x"))
fail("now")
`)
	o := machine(t, rich+`
tc qdisc add dev d0 root pfifo limit 5
$NS --host `+script+` || true
`)
	holds(t, o.stderr, "cannot be undone: qdisc pfifo of d0")
}
