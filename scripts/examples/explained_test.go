package examples_test

import (
	"net/netip"
	"os"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nsscript/builtins"
	"nsscript/runtime/labtest"
)

// dump is a shell script that prints all that there is in a namespace. First it
// waits until the kernel has noticed every carrier and has finished duplicate
// address detection, since the two labs are not of the same age.
const dump = `
i=0
while [ $i -lt 60 ] && ip -6 addr show tentative | grep -q .; do sleep 0.05; i=$((i+1)); done
for l in $(ip -o link | sed 's/^[0-9]*: //;s/[@:].*//'); do ip link show dev $l >/dev/null; done
echo "== ip"
printf '%s\n' link addr "neigh show nud permanent" "neigh show proxy" nexthop | ip -j -d -batch -
for f in -4 -6; do
	echo "== ip $f"
	printf '%s\n' "route show table all" rule | ip -j -d $f -batch -
done
for c in "bridge -j -d link" "bridge -j vlan" "bridge -j fdb"; do
	echo "== $c"
	$c
done
if command -v nft >/dev/null; then
	echo "== nft"
	echo "[$(nft -j list ruleset)]"
fi
if command -v tc >/dev/null; then
	echo "== tc"
	tc -d qdisc | sort
	for l in $(tc qdisc | sed -n 's/^qdisc [^ ]* [1-9a-f][0-9a-f]*: dev \([^ ]*\) .*/\1/p' | sort -u); do
		echo "on $l"
		printf '%s\n' "class show dev $l" "filter show dev $l" "filter show dev $l ingress" "filter show dev $l egress" | tc -force -d -batch - 2>/dev/null
	done
fi
echo "== sysctl"
cd /proc/sys && grep -rs '' net | sort
`

// cleanedUp gives the kernel time to take apart namespaces whose last process the
// script has stopped.
const cleanedUp = "sleep 1"

// inherent are fields that differ between two labs that are equal.
var inherent = map[string]bool{
	// What is left of a lifetime, and timers of a bridge.
	"valid_life_time": true, "preferred_life_time": true, "expires": true, "updated": true, "used": true,
	"gc_timer": true, "hello_timer": true, "tcn_timer": true, "topology_change_timer": true,
	"forward_delay_timer": true, "message_age_timer": true, "hold_timer": true,
	// What a bond sees of a link that was down for a moment depends on when it looks.
	"link_failure_count": true,
	// Numbers that a namespace gives to others when they first have to do with
	// each other, in whatever order, and the names that ip finds for them: the
	// same peer is told by its index (link_index) and by its own namespace.
	"link_netnsid": true, "link_netns": true,
	// A tunnel's over IPv6 is random.
	"permaddr": true,
	// What a rule of nftables has met, and numbers that depend on what was made and
	// deleted before.
	"packets": true, "bytes": true, "handle": true,
}

// inherentSysctl are settings of that kind.
var inherentSysctl = []string{
	"tcp_fastopen_key", "stable_secret", // random
	"nf_conntrack_count", "nf_conntrack_buckets", "nf_conntrack_max", // of the machine
	"netdev_rss_key", "random", "neigh/default/gc_",
	"vrf/strict_mode", // there as soon as some test has made a VRF
}

// strip removes what is inherent and sorts the flags.
func strip(v any) any {
	switch v := v.(type) {
	case object:
		// A table that belongs to nsscript's socket: one of the program nft would end with
		// it. (nft 1.0.6 prints anything as the flag.)
		if name, _ := v["name"].(string); strings.HasPrefix(name, "nsscript_") {
			delete(v, "flags")
		}
		if strings.Contains(text(v["flags"]), "timeout") { // what packets have added to a map
			delete(v, "elem")
		}
		for k, x := range v {
			if inherent[k] {
				delete(v, k)
				continue
			}
			strip(x)
		}
	case []any:
		for _, x := range v {
			strip(x)
		}
	}
	return v
}

// sections splits the output of dump, by namespace and command.
func sections(out string) map[string]string {
	all := map[string]string{}
	ns, at := "", ""
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "@@ "); ok {
			ns, at = strings.TrimSpace(name), ""
		} else if what, ok := strings.CutPrefix(line, "== "); ok && ns != "" {
			at = ns + ": " + strings.TrimSpace(what)
			all[at] = ""
		} else if at != "" {
			all[at] += line
		}
	}
	for what, random := range randomAddresses(all) {
		for _, ip := range random {
			all[what] = strings.ReplaceAll(all[what], `"`+ip+`"`, `"fe80::random"`)
		}
	}
	return all
}

// permanent is the address that a tunnel over IPv6 is born with, as `ip` prints it: 6
// random bytes in the place of an IPv6 address.
var permanent = regexp.MustCompile(`"permaddr":"([0-9a-f:]+)"`)

// randomAddresses are, of each section, the link-local addresses of its namespace's
// tunnels over IPv6, which the kernel makes of those bytes (addrconf_ifid_ip6tnl in
// net/ipv6/addrconf.c).
func randomAddresses(sections map[string]string) map[string][]string {
	found := map[string][]string{}
	for what := range sections {
		ns, _, _ := strings.Cut(what, ": ")
		for _, m := range permanent.FindAllStringSubmatch(sections[ns+": ip"], -1) {
			born, err := netip.ParseAddr(m[1])
			if err != nil {
				continue
			}
			b := born.As16()
			ip := netip.AddrFrom16([16]byte{0xfe, 0x80, 8: b[0] ^ 2, b[1], b[2], 0xff, 0xfe, b[3], b[4], b[5]})
			found[what] = append(found[what], ip.String())
		}
	}
	return found
}

// TestExplained is the proof that an operation is what `nsscript explain` says:
// the lab that `explain --exact` builds with iproute2 is the one of nsscript.
func TestExplained(t *testing.T) {
	unlessShort(t)
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	eachExample(t, func(t *testing.T, name string) { explained(t, source(t, name)) })
}

// TestExplainedBuiltins proves the same of the example of every builtin that
// changes a lab.
func TestExplainedBuiltins(t *testing.T) {
	unlessShort(t)
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	for _, s := range builtins.Specs() {
		switch s.Family {
		case "Namespaces and processes", "Links", "Addresses, routes, neighbours", "Probes", "Firewall and NAT", "Shaping and faults":
		default:
			continue
		}
		if s.Example == "" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			if s.Family == "Firewall and NAT" {
				labtest.Need(t, "nft")
			}
			t.Parallel()
			explained(t, s.Example)
		})
	}
}

// TestExplainedWithFallbackDevices proves the same where every namespace has the
// devices that modules of tunnels bring (tunl0, gre0 …), as most machines do when
// somebody uses tunnels: their indexes are in the way of those that the lab chooses.
func TestExplainedWithFallbackDevices(t *testing.T) {
	labtest.Need(t, "kernel", "iproute2")
	const setting = "/proc/sys/net/core/fb_tunnels_only_for_init_net"
	before, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setting, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(setting, before, 0o644) })
	if o := run(t, everyTunnel, binary, "-"); o.code != 0 { // loads the modules
		t.Fatalf("exit status %d, want 0\n%s", o.code, o.stderr)
	}
	explained(t, everyTunnel+"expect(\"gre0\" in root and \"ip6tnl0\" in root)\n")
}

// everyTunnel makes links of every kind that its modules may be missing for, with
// options of every sort, and changes some. It is one lab, since each takes its time.
const everyTunnel = `
a, b = netns("a"), netns("b")
p, q = veth("p", "q", ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr="10.0.0.2/24", up=True)
geneve("gnv", ns=a, id=1, remote="10.0.0.9", ttl="inherit", tos=16, df="set", dstport=7000, udpcsum=True, addr="10.9.0.1/24", up=True)
geneve("gnv", ns=b, link_netns=a, id=2, remote="fd00::9", flowlabel=7, udp6zerocsumrx=True)
gre("gre1", ns=a, local="10.0.0.1", remote="10.0.0.9", ttl=9, tos="inherit", key=5, seq=True, addr="10.8.0.1/24", up=True)
gre("gre2", dev=p, ns=b, remote="10.0.0.8", ikey=6, okey="1.2.3.4", csum=True, pmtudisc=False, ignore_df=True, fwmark=3, up=True)
gretap("tap1", ns=a, remote="10.0.0.9", okey=9, addr="10.7.0.1/24", up=True)
erspan("ers1", ns=a, remote="10.0.0.9", key=5, seq=True, erspan=77)
ip6gre("gre6", ns=a, local="fd00::1", remote="fd00::9", hoplimit=9, encaplimit="none", tclass=18, flowlabel="inherit", dscp="inherit", fwmark="inherit", allow_localremote=True, addrgenmode="none", up=True)
ip6gretap("tap6", ns=a, remote="fd00::9", key=3, tclass="inherit", up=True)
ip6erspan("ers6", ns=a, remote="fd00::9", key=5, seq=True, erspan_ver=2, erspan_dir="egress", erspan_hwid=7)
ipip("tun1", ns=a, dev=p, mode="mplsip", remote="10.0.0.9", local="10.0.0.1", ttl=4)
s = sit("sit1", ns=a, local="10.0.0.1", sixrd_prefix="2001:db8::/32", sixrd_relay_prefix="10.0.0.0/8")
t = ip6tnl("tun6", ns=a, mode="ipip6", remote="fd00::9", local="fd00::1", encaplimit=7, tclass=255, addr="10.6.0.1/24", addrgenmode="none", up=True)
v = vti("vti1", ns=a, local="10.0.0.1", remote="10.0.0.9", ikey=5, okey=6)
vti6("vti6", ns=a, local="fd00::1", remote="fd00::9", key=5)
x = xfrm("ipsec0", dev=p, if_id=42)
nlmon("nlmon0", ns=a, up=True)
p1, q1 = veth("p1", "q1", ns=a)
p2, q2 = veth("p2", "q2", ns=a)
b1 = bond("bond1", ns=a, mode="active-backup", miimon="100ms", updelay="200ms", primary=p2, ports=[p1, p2], fail_over_mac="active", num_grat_arp=3, arp_all_targets="all")
bond("bond2", ns=a, arp_interval="100ms", arp_ip_target=["10.0.0.2", "10.0.0.3"], ns_ip6_target="fd00::2", packets_per_slave=3)
bond("bond3", ns=a, mode="802.3ad", xmit_hash_policy="layer3+4", lacp_rate="fast", ad_select="count", ad_user_port_key=7, ad_actor_system="02:00:00:00:00:09")
br0 = bridge("br0", ns=a, group_address="01:80:c2:00:00:05", no_linklocal_learn=True, mcast_querier=True, mcast_query_interval="20s", mcast_hash_max=512, mcast_igmp_version=3)
vx = vxlan("vx1", ns=a, id=5, remote="10.0.0.9", remcsumtx=True, tos=16)
vxlan("vx2", ns=a, external=True, vnifilter=True, dstport=4790)
vl = vlan("vlan7", parent=p, id=7, ingress_qos_map={3: 5, 1: 2}, egress_qos_map={6: 7})
m = macvlan("mv", parent=p, mode="source", macaddr=["02:00:00:00:00:09", "02:00:00:00:00:08"])
set_link(br0, stp=True, ageing_time="30s", mtu=1400)
set_link(p1, queue_id=3, prio=-7)
set_link(b1, primary=p1, resend_igmp=4)
set_link(vx, remote="10.0.0.8", ageing="90s")
set_link(a["gre1"], tos=8, key=False)
set_link(a["gnv"], ttl=3)
set_link(t, hoplimit=3, tclass="inherit")
set_link(s, tos="inherit")
set_link(v, okey=9)
set_link(x, if_id=43)
set_link(vl, gvrp=True)
set_link(m, macaddr_del="02:00:00:00:00:08")
`

// TestExplainedTunnels proves all kinds of links at once.
func TestExplainedTunnels(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	explained(t, everyTunnel)
}

// explained compares the lab of a script with that of its explanation.
func explained(t *testing.T, script string) {
	t.Helper()
	// A program in a namespace first lets links and addresses settle, which
	// the explained script has to do as well.
	each := "\nfor _ns in [root] + namespaces():\n    print(\"@@ %s\\n%s\" % (_ns.name, exec_in(_ns, %s).stdout))\nprint(\"@@ \")\n"
	ours := run(t, script+strings.Replace(each, "exec_in(_ns, %s)", "exec_in(_ns, "+strconv.Quote(dump)+")", 1), binary, "-")
	if !lacking(t, ours) && ours.code != 0 {
		t.Fatalf("exit status %d, want 0\n%s", ours.code, ours.stderr)
	}
	exact := run(t, script+strings.Replace(each, "exec_in(_ns, %s)", `exec_in(_ns, ["true"])`, 1), binary, "explain", "--exact", "-")
	if exact.code != 0 {
		t.Fatalf("explain: exit status %d, want 0\n%s", exact.code, exact.stderr)
	}
	theirs := run(t, "", append(private(), "sh", "-c", `PATH=$PATH:/usr/sbin:/sbin
		mount -t tmpfs tmpfs /run && mkdir -p /run/netns && sh -c "$1$3" >&2 || exit 1
		echo "@@ root"; sh -c "$2"
		for ns in $(ls /run/netns); do echo "@@ $ns"; ip netns exec "$ns" sh -c "$2"; done`, "sh", exact.stdout, dump, "\n"+cleanedUp)...)
	if theirs.code != 0 {
		t.Fatalf("the script of explain --exact: exit status %d, want 0\n%s\n%s", theirs.code, exact.stdout, theirs.stderr)
	}
	// What hosts make of router advertisements is not made again.
	advertised := strings.Contains(script, "radvd(")
	got, want := sections(ours.stdout), sections(theirs.stdout)
	if len(got) == 0 {
		t.Fatal("nothing was read")
	}
	for what := range want {
		if _, ok := got[what]; !ok {
			t.Errorf("only iproute2 has %s", what)
		}
	}
	for what, text := range got {
		other, ok := want[what]
		switch {
		case advertised && (strings.HasSuffix(what, "ip -6") || strings.HasSuffix(what, "sysctl")):
		case !ok:
			t.Errorf("only nsscript has %s", what)
		case strings.HasSuffix(what, ": tc"):
			same(t, what, disciplines(text), disciplines(other))
		case strings.HasSuffix(what, "sysctl"):
			same(t, what, settings(text), settings(other))
		default:
			same(t, what, entries(t, what, text), entries(t, what, other))
		}
	}
}

// routing makes routes and their like with most of their options.
const routing = `
a, b = veth("a", "b", addr=["10.0.0.1/24", "10.0.1.1/24", "fd00::1/64"], up=True)
c, d = veth("c", "d", addr=["10.0.2.1/24", "fd02::1/64"], up=True)
up(b, d)
addr(c, "10.3.0.1/24", broadcast="-", label="c:x", scope="link", metric=77)
addr(c, "10.4.0.1/32", peer="10.4.0.9/32", noprefixroute=True)
addr(c, "10.4.1.1/24", "fd04::1/64", valid="1000s", preferred="500s")
addr(c, "fd03::1/64", home=True, metric=44)
addr(c, "fd03::1/64", home=True, preferred=0, replace=True)
one = nexthop(root, 1, via="10.0.0.2", dev=a, proto="static")
nexthop(root, 2, via="fd00::2", dev=a, encap="seg6 mode encap segs fc00::1")
nexthop(root, 3, via="10.0.2.2", dev=c, onlink=True)
nexthop(root, 4, blackhole=True, family=6)
nexthop(root, 10, group=[(one, 2), 3])
nexthop(root, 11, group=[1, 3], type="resilient", buckets=8, idle_timer="60s", unbalanced_timer="30s")
nexthop(root, 1, via="10.0.0.3", dev=a, replace=True)
route(root, "192.0.2.0/24", nhid=10)
route(root, "2001:db8:7::/48", nhid=2)
route(root, "192.0.3.0/24", via="10.0.0.2", mtu=1400, advmss=1300, window=70000, rtt="100ms", rttvar="50ms", ssthresh=7, cwnd=9, reordering=5, hoplimit=33,
      initcwnd=20, initrwnd=30, rto_min="70ms", quickack=True, fastopen_no_cookie=True, features="ecn", congctl="reno", lock=["mtu", "cwnd", "congctl"], realms="10/20")
route(root, "192.0.4.0/24", dev=a, proto="static", src="10.0.0.1", tos=0x10, metric=7, table=1000, scope="host")
route(root, "192.0.5.0/24", via="fd00::2", dev=a)
route(root, "192.0.6.0/24", hops=[hop(via="10.0.0.2", weight=2, realms=7), hop(via="10.0.2.2", encap="seg6 mode encap segs fc00::1")])
route(root, "192.0.7.0/24", via="10.0.0.2", encap="ip id 7 dst 10.0.0.9 ttl 4 key")
route(root, "192.0.8.0/24", via="10.0.0.2")
route(root, "192.0.8.0/24", via="10.0.0.3", append=True)
route(root, "192.0.8.0/24", via="10.0.0.4", prepend=True)
route(root, "192.0.8.0/24", via="10.0.0.5", change=True)
route(root, "2001:db8::/48", via="fd00::2", pref="high", expires="1000s", hoplimit=9)
route(root, "2001:db8:1::1", dev=a, encap="seg6local action End.DX4 nh4 10.0.0.9")
route(root, "2001:db8:2::1", dev=a, encap="seg6local action End.B6 srh segs fc00::1,fc00::2")
delete(route(root, "2001:db8:3::/48", dev=a, encap="ip6 id 7 dst fd00::9"))
rule(root, priority=100, src="10.9.0.0/16", dst="10.8.0.0/16", iif="a", oif=c, mark="0x10/0xff", tos=16, ipproto="tcp", sport="80-90", dport=443,
     uidrange="0-0", invert=True, table=77, suppress_prefixlength=0, suppress_ifgroup=9, tun_id=7, realms="3/4", proto="static")
rule(root, priority=102, action="blackhole", mark=7)
rule(root, priority=103, action="nop", family=6)
rule(root, priority=104, goto=32766)
neighbor(a, "10.0.0.9", "02:00:00:00:00:09", proto="static")
neighbor(a, "fd00::9", "02:00:00:00:00:09", router=True, extern_learn=True)
neighbor(a, "10.0.0.9", "02:00:00:00:00:08", change=True)
neighbor(a, "10.0.0.10", "02:00:00:00:00:09", nud="stale")
neighbor(a, "10.0.0.11", proxy=True)
flush(root, "neigh", dev=a)
flush(root, "addr", dev=d)
flush(root, "route", proto="static")
`

// TestExplainedRouting proves the same of addresses, routes, nexthop objects, rules
// and neighbours with most of their options.
func TestExplainedRouting(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	explained(t, routing)
}

// faulty is a lab that ends with faults.
const faulty = `
a, b, c = netns("a"), netns("b"), netns("c")
br0 = bridge("br0", up=True)
for i, ns in enumerate([a, b, c]):
    veth("eth0", "p%d" % i, ns=ns, peer_ns=root, peer_master=br0, addr=["10.0.0.%d/24" % (i + 1), "fd00::%d/64" % (i + 1)], up=True)
partition([a, b], [c])
partition([a], [b], one_way=True)
addr(c["eth0"], "10.0.0.9/24")
veth("eth1", "p9", ns=b, peer_ns=root, addr="10.1.0.1/24", up=True)
blackhole(c["eth0"])
conntrack_on(a)
expect.unreachable(a, "10.0.0.9", hold="50ms")
down(b["eth1"])
`

// TestExplainedFaults proves what tables of faults have in them.
func TestExplainedFaults(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	labtest.Need(t, "nft")
	explained(t, faulty)
}

// private is a command that runs another one in namespaces of its own.
func private() []string {
	if os.Geteuid() == 0 {
		return []string{"unshare", "-mpfn", "--mount-proc"}
	}
	return []string{"unshare", "-Urmpfn", "--mount-proc"}
}

// entries are the objects of a command's output that the script made.
func entries(t *testing.T, what, text string) []object {
	var out []object
	for _, o := range parse(t, text) {
		// A bridge learns from frames, and the frames of probes are not run again.
		if strings.HasSuffix(what, "fdb") && o["state"] != "permanent" {
			continue
		}
		if list, ok := o["addr_info"].([]any); ok {
			o["addr_info"] = slices.DeleteFunc(list, func(a any) bool { return a.(object)["dynamic"] == true })
		}
		out = append(out, strip(o).(object))
	}
	return out
}

// inherentQueueing are numbers of objects that depend on what was made before, and what
// is counted.
var inherentQueueing = regexp.MustCompile(`refcnt \d+|index \d+ ref \d+ bind \d+|\bfh [0-9a-f]+:|\bht [0-9a-f]+\b|^class (cake|fq_codel|sfq) .*|\bid \d+ tag \w+|\bjited\b|direct_packets_stat \w+|installed \d+ sec|used \d+ sec|firstused \d+ sec`)

// disciplines are the lines of tc's part.
func disciplines(text string) []object {
	var out []object
	for line := range strings.Lines(text) {
		if line = strings.Join(strings.Fields(inherentQueueing.ReplaceAllString(line, "")), " "); line != "" {
			out = append(out, object{"line": line})
		}
	}
	return out
}

// settings are the lines of sysctl's part.
func settings(text string) []object {
	var out []object
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && !slices.ContainsFunc(inherentSysctl, func(s string) bool { return strings.Contains(key, s) }) {
			out = append(out, object{key: value})
		}
	}
	return out
}
