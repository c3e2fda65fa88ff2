package examples_test

import (
	"regexp"
	"strings"
	"testing"
)

// mutant is an example with one mistake.
type mutant struct {
	name     string
	old, new string
	args     []string
}

var mutants = map[string][]mutant{
	"blue.star": {
		{name: "wrong mask", old: `"10.1.1.1/24", broadcast`, new: `"10.1.1.1/16", broadcast`},
		{name: "left down", old: "up(veth1)\n", new: ""},
		{name: "no broadcast address", old: `, broadcast = "+"`, new: ""},
		{name: "wrong end moved", old: "move(veth1, blue)", new: "move(veth0, blue)"},
		{name: "other end up", old: "up(veth1)\n", new: "up(veth1, veth0)\n"},
		{name: "same mac", old: `veth("veth0", "veth1")`, new: `veth("veth0", "veth1", mac = "02:00:00:00:00:01", peer_mac = "02:00:00:00:00:01")`},
	},
	"namespaces_in_operation.star": {
		{name: "lo left down", old: `up(netns1["lo"])  #`, new: "#"},
		{name: "lo up from the start", old: `netns1 = netns("netns1")`, new: "netns1 = netns(\"netns1\")\nup(netns1[\"lo\"])"},
		{name: "left down", old: "up(veth0, veth1)", new: "up(veth0)"},
		{name: "wrong subnet", old: `"10.1.1.1/24"`, new: `"10.1.2.1/24"`},
		{name: "moved elsewhere", old: "move(veth1, 1)", new: `move(veth1, netns("elsewhere"))`},
		{name: "not deleted", old: "delete(netns1)", new: "print(netns1)"},
		{name: "process ended before", old: "delete(netns1)", new: "p.stop()\ndelete(netns1)\nsleep(0.2)"},
		{name: "a way out for packets", old: `netns1, "127.0.0.1", hold`, new: `root, "127.0.0.1", hold`},
	},
	"two_hosts.star": {
		{name: "wrong mask", old: `addr(b, "10.0.0.2/24")`, new: `addr(b, "10.0.0.2/32")`},
		{name: "wrong subnet", old: `addr(b, "10.0.0.2/24")`, new: `addr(b, "10.0.1.2/24")`},
		{name: "up too early", old: "up(a)\n", new: "up(a, b)\n"},
		{name: "wrong end down", old: "down(b)", new: "up(b)"},
		{name: "address of the other", old: `"10.0.0.9"`, new: `"10.0.0.2"`},
	},
	"switch.star": {
		{name: "wrong mask", old: `"10.0.0.%d/24" % (i + 1)`, new: `"10.0.0.%d/%d" % (i + 1, 32 if i == 3 else 24)`},
		{name: "an address", old: `switch("sw")`, new: `switch("sw", addr = "10.0.0.9/24")`},
		{name: "wrong port down", old: "down(sw.ports[3])", new: "down(sw.ports[2])"},
		{name: "flooded", old: "expect.lt(hosts[2]", new: "ping(hosts[0], hosts[2], count = 50, interval = \"1ms\")\nexpect.lt(hosts[2]"},
	},
	"router.star": {
		{name: "missing route", old: `route(h, "default", via = gateway)`, new: `(i, n) == (0, 3) or route(h, "default", via = gateway)`},
		{name: "wrong mask", old: `"%s/24" % net[n]`, new: `"%s/%d" % (net[n], 16 if (i, n) == (0, 3) else 24)`},
		{name: "still forwarding", old: `"net.ipv4.ip_forward", 0`, new: `"net.ipv4.ip_forward", 1`},
		{name: "one more hop", old: `ttl = 1)`, new: `ttl = 2)`},
	},
	"dual_stack.star": {
		{name: "missing route", old: `route(h, "::/0", via = v6)`, new: "pass"},
		{name: "wrong mask", old: `"2001:db8:2::1/64"]`, new: `"2001:db8:2::1/128"]`},
		{name: "not a router", old: `r = router("r")`, new: `r = host("r")`},
		{name: "still forwarding", old: `conf.all.forwarding", 0`, new: `conf.all.forwarding", 1`},
		{name: "both stop", old: `"net.ipv6.conf.all.forwarding", 0`, new: `"net.ipv4.ip_forward", 0`},
	},
	"nat.star": {
		{name: "no masquerade", old: "masquerade = fw.masquerade(oif = outside)", new: "masquerade = fw.accept(hook = \"forward\", oif = outside)"},
		{name: "masquerade on the other side", old: "fw.masquerade(oif = outside)", new: "fw.masquerade(oif = inside)"},
		{name: "answers dropped", old: "\"established,related\"", new: "\"related\""},
		{name: "open from outside", old: "forward = \"drop\"", new: "forward = \"accept\""},
		{name: "forwarded to the other host", old: "\"192.168.1.10:80\", iif", new: "\"192.168.1.11:80\", iif"},
		{name: "forwarding not allowed", old: "dst = hosts[0], proto", new: "dst = hosts[1], proto"},
	},
	"double_nat.star": {
		{name: "another address outside", old: `wan_addr = "203.0.113.2/24")`, new: `wan_addr = "203.0.113.3/24")`},
		{name: "another address between", old: `wan_addr = "100.64.0.2/10"`, new: `wan_addr = "100.64.0.3/10"`},
		{name: "server knows the inside", old: `expect.unreachable(server, "192`, new: "route(server, \"192.168.1.0/24\", via = \"203.0.113.2\")\nroute(outer.ns, \"192.168.1.0/24\", via = \"100.64.0.2\")\nouter.firewall.accept(hook = \"forward\")\ninner.firewall.accept(hook = \"forward\")\nexpect.unreachable(server, \"192"},
	},
	"firewall.star": {
		{name: "the other subnet", old: `src = "10.0.1.0/24")`, new: `src = "10.0.0.0/24")`},
		{name: "everything dropped", old: `fw.drop(proto = "icmp", src`, new: `fw.drop(src`},
		{name: "to the wrong host", old: `local.dnat("10.0.0.2", hook`, new: `local.dnat("10.0.0.3", hook`},
		{name: "not masqueraded", old: `same = local.masquerade(oif = a["eth0"], src = "192.0.2.1")`, new: `same = local.masquerade(oif = a["eth0"], src = "192.0.2.9")`},
		{name: "not redirected", old: `proto = "tcp", dport = 8000)`, new: `proto = "tcp", dport = 8001)`},
	},
	"partition.star": {
		{name: "another side", old: `partition(minority, majority)`, new: `partition(nodes[:3], nodes[3:])`},
		{name: "not healed", old: "split.heal()\nfor x in minority:\n    expect.reachable(x, \"10.0.0.44\", timeout = \"10s\")", new: "for x in minority:\n    expect.reachable(x, \"10.0.0.44\", timeout = \"100ms\")"},
		{name: "both ways", old: `, one_way = True)`, new: `)`},
		{name: "carrier lost", old: `during(blackhole(port), dead)`, new: `during(down(port), dead)`},
	},
	"capture.star": {
		{name: "not a router", old: `router("r"), host("b")`, new: `host("r"), host("b")`},
		{name: "another ttl", old: `ping(a, b).ttl`, new: `ping(a, b, ttl = 32).ttl`},
		{name: "a good checksum", old: `, checksum = 0xbad`, new: ``},
		{name: "a bad checksum", old: `[datagram(7001), `, new: `[datagram(7001, checksum = 0xbad), `},
	},
	"own_files.star": {
		{name: "no directory of its own", old: `private = ["/var/run/greeter"],`, new: `private = [],`},
		{name: "the same words", old: `greets("bob", "good day")`, new: `greets("bob", "hello")`},
		{name: "a file of the root's", old: `ns = netns(`, new: "write_file(root, \"/etc/greeter\", \"\")\n    ns = netns("},
		{name: "not rewritten", old: `write_file(alice, "/etc/greeter/greeter.conf", "goodbye")`, new: "pass"},
		{name: "address stays", old: `delete([x for x in bob.addrs if x.family == "inet"][0])`, new: "pass"},
	},
	"ipv6_only.star": {
		{name: "wrong prefix", old: `daemon = radvd(lan, "2001:db8:1::/64"`, new: `daemon = radvd(lan, "2001:db8:3::/64"`},
		{name: "no default route", old: "mtu = 1400)\nfor", new: "mtu = 1400, lifetime = 0)\nfor"},
		{name: "not a router", old: `r = router("r")`, new: `r = host("r")`},
		{name: "no MTU", old: ", mtu = 1400)\n", new: ")\n"},
		{name: "goes on", old: "daemon.stop()\nrequire.eventually", new: "catch(lambda: 1)\nexpect.eventually"},
	},
	"traceroute.star": {
		{name: "not a router", old: `router("r1"), router("r2")`, new: `host("r1"), router("r2")`},
		{name: "another way back", old: `route(r2, "10.0.1.0/24", via = "10.0.2.1")`, new: `route(r2, "10.0.1.0/24", via = "10.0.3.2")`},
		{name: "no hole", old: "delete([x for x in r2.routes", new: "print([x for x in r2.routes"},
	},
	"throughput.star": {
		{name: "not a router", old: `router("r")`, new: `host("r")`},
		{name: "too slow", old: `proto = "udp", rate = "2mbit"`, new: `proto = "udp", rate = "100kbit"`},
		{name: "still a way", old: `down(r["out"])`, new: "pass"},
	},
	"http.star": {
		{name: "no way back", old: `route(web, "default", via = "10.0.2.1")`, new: "pass"},
		{name: "for nobody", old: `headers = {"X-Forwarded-For": client}, `, new: ""},
		{name: "not over TLS", old: `"https://10.0.2.2/").body`, new: `"http://10.0.2.2/").body`},
		{name: "another status", old: "(410,", new: "(404,"},
	},
	"dns.star": {
		{name: "no alias", old: `"ftp.lab": "www.lab"`, new: `"ftp.lab": "10.0.0.80"`},
		{name: "no wildcard", old: `"*.dev.lab"`, new: `"dev.lab"`},
		{name: "one answer for all", old: `else "203.0.113.80"`, new: `else "10.0.0.80"`},
	},
	"dhcp.star": {
		{name: "no reservation", old: `reserved = {printer.mac: "10.0.0.9"}`, new: "reserved = {}"},
		{name: "no router", old: ", router = lan, dns", new: ", dns"},
		{name: "not released", old: "leases[0].release()", new: "pass"},
	},
	"macvlan.star": {
		{name: "all may talk", old: `mode = mode, addr`, new: `mode = "bridge", addr`},
		{name: "nobody may talk", old: `mode = mode, addr`, new: `mode = "private", addr`},
		{name: "left down", old: `(i + 1), up = True)`, new: `(i + 1), up = i != 2)`},
	},
	"policy_routing.star": {
		{name: "tables swapped", old: "rule(r, src = subnet, table = table", new: "rule(r, src = subnet, table = 203 - table"},
		{name: "a default for all", old: "# The rules choose", new: "route(r, \"default\", via = \"192.0.2.2\")\n# The rules choose"},
		{name: "other rule deleted", old: "x.table == 102][0]", new: "x.table == 101][0]"},
	},
	"bond.star": {
		{name: "carrier not watched", old: `miimon = "20ms", `, new: ""},
		{name: "other cable cut", old: "down(ports[0][1])", new: "down(ports[1][1])"},
		{name: "another mode", old: `mode = "active-backup"`, new: `mode = "broadcast"`},
	},
	"gre.star": {
		{name: "another key", old: `remote = "2001:db8:b::1", key = 7`, new: `remote = "2001:db8:b::1", key = 9`},
		{name: "not forwarded", old: `router("middle")`, new: `host("middle")`},
		{name: "an MTU of its own", old: `addr = ["10.4.0.1/30"`, new: `mtu = 1400, addr = ["10.4.0.1/30"`},
		{name: "keys agree", old: "key = 8", new: "key = 7"},
	},
	"wireguard.star": {
		{name: "another key", old: "wg_peer(key_b, endpoint", new: "wg_peer(wg_key(), endpoint"},
		{name: "no way to the other", old: `route(a, "default", via = "192.0.2.9")`, new: "pass"},
		{name: "any source let in", old: `allowed_ips = ["10.9.0.1/32"]`, new: `allowed_ips = ["10.9.0.0/24"]`},
		{name: "peer not removed", old: "wg_set(wg_b, remove = [key_a])", new: "pass"},
	},
	"shaping.star": {
		{name: "a wide uplink", old: `slow = tbf(uplink, rate = "4mbit"`, new: `slow = tbf(uplink, rate = "400mbit"`},
		{name: "not changed", old: `tbf(uplink, rate = "8mbit"`, new: `tbf(uplink, rate = "4mbit"`},
		{name: "another protocol", old: `match = "ip protocol 17 0xff"`, new: `match = "ip protocol 6 0xff"`},
		{name: "all to one class", old: `default = "1:20"`, new: `default = "1:10"`},
	},
	"delay.star": {
		{name: "one way alone", old: `delay = ("40ms", "60ms")`, new: `delay = ("40ms", "1ms")`},
		{name: "no loss", old: `loss = "50%"`, new: `loss = "0%"`},
		{name: "not undone", old: "way.undo()", new: "pass"},
	},
	"vrf.star": {
		{name: "one table", old: `("blue", 20)):
    v =`, new: `("blue", 20)):
    table = 10
    v =`},
		{name: "no VRF for one", old: "name = \"%s-%d\" % (color, i))\n", new: "name = \"%s-%d\" % (color, i))\n        i == 2 and set_link(r[\"%s-%d\" % (color, i)], master = False)\n"},
		{name: "stays", old: `set_link(r["red-2"], master = False)`, new: "pass"},
	},
	"ecmp.star": {
		{name: "hashed by addresses alone", old: `fib_multipath_hash_policy", 1)`, new: `fib_multipath_hash_policy", 0)`},
		{name: "weights swapped", old: "weight = first", new: "weight = 57 - first"},
		{name: "a fixed port", old: "sport = 1024 + i", new: "sport = 1024"},
	},
	"icmp_redirect.star": {
		{name: "no detour", old: `route(r1, "203.0.113.0/24", via = "10.0.0.2")`, new: `delete(r1["eth0"].addrs[0])`},
		{name: "not flushed", old: `flush(h, "route cache")`, new: "pass"},
		{name: "sends on", old: `sysctl(r1, "net.ipv4.conf.eth0.send_redirects", 0)`, new: "pass"},
	},
	"srv6.star": {
		{name: "no way round", old: "segs fc00:2::1,fc00:3::1,fc00:4::1", new: "segs fc00:4::1"},
		{name: "no segment", old: `route(r2, "fc00:2::1", dev = r2["eth0"], encap = "seg6local action End")`, new: "pass"},
		{name: "still there", old: "delete([x for x in r3.routes if x.dst == \"fc00:3::1\"][0])", new: "pass"},
	},
	"vlan_trunk.star": {
		{name: "VLANs ignored", old: "vlan_filtering = True", new: "vlan_filtering = False"},
		{name: "another VLAN on the trunk", old: "    for vid in (100, 101):", new: "    for vid in (101, 102):"},
		{name: "tagged to the hosts", old: "pvid = True, untagged = True", new: "pvid = True"},
		{name: "other VLAN removed", old: "trunk[0].vlans if v.vid == 101", new: "trunk[0].vlans if v.vid == 100"},
	},
	"vxlan.star": {
		{name: "another segment", old: "id = 42", new: "id = 42 + i // 3"},
		{name: "no flooding", old: "        if other != vtep:\n", new: "        if False:\n"},
		{name: "no learning", old: "id = 42,", new: "id = 42, learning = False,"},
		{name: "still flooding", old: "        delete(e)", new: "        pass"},
	},
	"leaf_spine.star": {
		{name: "host left down", old: "net.routers[:2], net.routers[2:]\n", new: "net.routers[:2], net.routers[2:]\ndown(leaves[0][\"eth2\"])\n", args: []string{"hosts=2"}},
		{name: "missing route", old: "# All pairs", new: "delete([r for r in leaves[0].routes if r.dst == \"default\"][0])\nroute(leaves[0], \"default\", via = \"172.16.0.1\")\n#", args: []string{"hosts=2"}},
		{name: "both spines cut off", old: "for l in spines[0].links:", new: "for l in list(spines[0].links) + list(spines[1].links):", args: []string{"hosts=2"}},
	},
}

// longWaits are for a busy machine. What a mutant waits for never comes.
var longWaits = regexp.MustCompile(`timeout = "[1-9]0s"`)

// TestMutants shows that the checks of the examples can fail.
func TestMutants(t *testing.T) {
	unlessShort(t)
	eachExample(t, func(t *testing.T, name string) {
		if len(mutants[name]) < 2 {
			t.Fatal("there are no mutants of it")
		}
		for _, m := range mutants[name] {
			t.Run(m.name, func(t *testing.T) {
				t.Parallel()
				if n := strings.Count(source(t, name), m.old); n != 1 {
					t.Errorf("%q is there %d times, want once", m.old, n)
				}
				twin := longWaits.ReplaceAllString(strings.Replace(source(t, name), m.old, m.new, 1), `timeout = "3s"`)
				r := run(t, twin, append([]string{binary, "-"}, m.args...)...)
				if !lacking(t, r) && r.code != 1 {
					t.Errorf("exit status %d, want 1\n%s%s", r.code, r.stdout, r.stderr)
				}
			})
		}
	})
}
