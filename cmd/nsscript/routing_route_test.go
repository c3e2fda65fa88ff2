package main

import (
	"testing"

	"nsscript/runtime/labtest"
)

var routeCases = []routingCase{
	{`route(root, "192.0.2.0/24", via="10.0.0.2")`, "route", `{"dst": "192.0.2.0/24", "gateway": "10.0.0.2", "dev": "a", "protocol": "boot", "scope": "global"}`,
		`{"dst": "192.0.2.0/24", "via": "10.0.0.2", "dev": "a", "proto": "boot", "table": 254, "type": "unicast", "scope": "global", "tos": null, "realms": null,
		"quickack": false, "encap": null, "expires": null, "pref": null, "redirected": false, "flags": [], "hops": [], "locked": []}`},
	{`route(root, "192.0.2.0/24", via="10.0.0.2", mtu=1400, advmss=1300, window=70000, rtt="100ms", rttvar="50ms", ssthresh=7, cwnd=9, reordering=5,
	hoplimit=33, initcwnd=20, initrwnd=30, rto_min="70ms", quickack=True, fastopen_no_cookie=True, features="ecn", congctl="reno",
	lock=["mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit", "initcwnd", "initrwnd", "congctl"])`, "route",
		`{"dst": "192.0.2.0/24", "metrics": [{"mtu": 1400, "window": 70000, "rtt": 100, "rttvar": 50, "ssthresh": 7, "cwnd": 9, "advmss": 1300, "reordering": 5,
		"hoplimit": 33, "initcwnd": 20, "rto_min": 70, "initrwnd": 30, "quickack": 1, "congestion": "reno", "fastopen_no_cookie": 1, "ecn": null}]}`,
		`{"mtu": 1400, "window": 70000, "rtt": 0.1, "rttvar": 0.05, "ssthresh": 7, "cwnd": 9, "advmss": 1300, "reordering": 5, "hoplimit": 33, "initcwnd": 20,
		"initrwnd": 30, "rto_min": 0.07, "quickack": true, "fastopen_no_cookie": true, "features": "ecn", "congctl": "reno",
		"locked": ["mtu", "window", "rtt", "rttvar", "ssthresh", "cwnd", "advmss", "reordering", "hoplimit", "initcwnd", "rto_min", "initrwnd", "congctl"]}`},
	{`route(root, "192.0.2.0/24", dev=a, proto="static", src="10.0.0.1", tos=0x10, metric=4294967295, table=4294967295, scope="host")`, "route show table 4294967295",
		`{"dst": "192.0.2.0/24", "dev": "a", "protocol": "static", "prefsrc": "10.0.0.1", "metric": 4294967295, "tos": "0x10", "scope": "host"}`,
		`{"proto": "static", "src": "10.0.0.1", "tos": 16, "metric": 4294967295, "table": 4294967295, "scope": "host"}`},
	{`route(root, "192.0.2.0/24", via="fd00::2", dev=a)`, "route", `{"dst": "192.0.2.0/24", "via": {"family": "inet6", "host": "fd00::2"}}`, `{"via": "fd00::2"}`},
	{`route(root, "192.0.2.0/24", via="198.51.100.1", dev=a, onlink=True)`, "route", `{"dst": "192.0.2.0/24", "gateway": "198.51.100.1", "flags": ["onlink"]}`, `{"onlink": true}`},
	{`route(root, "192.0.2.0/24", via="10.0.0.2", realms="10/20")`, "route", `{"dst": "192.0.2.0/24", "flow": {"from": "10", "to": "20"}}`, `{"realms": "10/20"}`},
	{`route(root, "192.0.2.0/24", via="10.0.0.2", realms=20)`, "route", `{"dst": "192.0.2.0/24", "flow": {"to": "20"}}`, `{"realms": "20"}`},
	{`route(root, "192.0.2.0/24", hops=[hop(via="10.0.0.2", weight=256, realms="7"), hop(via="198.51.100.1", dev=c, onlink=True)])`, "route",
		`{"dst": "192.0.2.0/24", "nexthops": [{"gateway": "10.0.0.2", "dev": "a", "weight": 256, "flow": {"to": "7"}, "flags": []},
		{"gateway": "198.51.100.1", "dev": "c", "weight": 1, "flags": ["onlink"]}]}`, `{"via": null}`},
	{`route(root, "192.0.2.0/24", type="local", dev=a)`, "route show table local", `{"type": "local", "dst": "192.0.2.0/24", "scope": "host"}`, `{"type": "local", "table": 255, "scope": "host"}`},
	{`route(root, "192.0.2.255", type="broadcast", dev=a)`, "route show table local", `{"type": "broadcast", "dst": "192.0.2.255", "scope": "link"}`, `{"type": "broadcast"}`},
	{`route(root, "239.1.0.0/16", type="multicast", dev=a)`, "route", `{"type": "multicast", "dst": "239.1.0.0/16"}`, `{"type": "multicast"}`},
	{`route(root, "2001:db8::7", type="anycast", dev=a)`, "-6 route show table local", `{"type": "anycast", "dst": "2001:db8::7"}`, `{"type": "anycast"}`},
	{`route(root, "192.0.2.0/24", type="throw")`, "route", `{"type": "throw", "dst": "192.0.2.0/24"}`, `{"type": "throw", "dev": null}`},
	{`route(root, "192.0.2.0/24", type="unreachable", table="default")`, "route show table default", `{"type": "unreachable", "dst": "192.0.2.0/24"}`, `{"type": "unreachable", "table": 253}`},
	{`route(root, "192.0.2.0/24", type="prohibit")`, "route", `{"type": "prohibit", "dst": "192.0.2.0/24"}`, `{"type": "prohibit"}`},
	{`route(root, "192.0.2.0/24", type="blackhole")`, "route", `{"type": "blackhole", "dst": "192.0.2.0/24"}`, `{"type": "blackhole"}`},
	{`route(root, "2001:db8::/32", via="fd00::2", pref="high", hoplimit=9, congctl="reno", metric=5)`, "-6 route",
		`{"dst": "2001:db8::/32", "gateway": "fd00::2", "pref": "high", "metric": 5, "metrics": [{"hoplimit": 9, "congestion": "reno"}]}`,
		`{"pref": "high", "hoplimit": 9, "congctl": "reno", "metric": 5}`},
	{`route(root, "2001:db8::/32", via="fd00::2", pref="low")`, "-6 route", `{"dst": "2001:db8::/32", "pref": "low", "metric": 1024}`, `{"pref": "low"}`},
	{`route(root, "2001:db8::/32", via="fd00::2", expires="1000s")`, "-6 route", `{"dst": "2001:db8::/32", "gateway": "fd00::2"}`, `{"via": "fd00::2"}`},
	{`route(root, "2001:db8::/32", src_prefix="fd01::/64", via="fd00::2")`, "-6 route", `{"dst": "2001:db8::/32", "from": "fd01::/64", "gateway": "fd00::2"}`,
		`{"src_prefix": "fd01::/64", "src": null}`},
	{`route(root, "default", src_prefix="fd01::7", via="fd00::2")`, "-6 route", `{"dst": "default", "from": "fd01::7"}`, `{"src_prefix": "fd01::7"}`},
	{`route(root, "192.0.2.0/24", dev=a, replace=True)`, "route", `{"dst": "192.0.2.0/24", "dev": "a", "scope": "link"}`, `{"scope": "link"}`},

	// Encapsulations, in the words of `ip route`.
	{`route(root, "192.0.2.0/24", via="10.0.0.2", encap="mpls 100/1048575 ttl 3")`, "route", `{"dst": "100/1048575", "encap": "mpls", "ttl": 3}`, `{"encap": "mpls 100/1048575 ttl 3"}`},
	{`route(root, "192.0.2.0/24", dev=a, encap="ip id 7 src 10.0.0.1 dst 10.0.0.9 ttl 4 tos 8 key csum seq")`, "route",
		`{"dst": "10.0.0.9", "src": "10.0.0.1", "encap": "ip", "id": 7, "ttl": 4, "tos": 8, "key": true, "csum": true, "seq": true}`, `{"encap": "ip id 7 dst 10.0.0.9 src 10.0.0.1 tos 8 ttl 4 key csum seq"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="ip6 id 7 src fd00::1 dst fd00::9 hoplimit 4 tc 8 key csum seq")`, "-6 route",
		`{"dst": "fd00::9", "src": "fd00::1", "encap": "ip6", "id": 7, "hoplimit": 4, "tc": 8, "key": true}`, `{"encap": "ip6 id 7 dst fd00::9 src fd00::1 tc 8 hoplimit 4 key csum seq"}`},
	{`route(root, "2001:db8::1", via="fd00::2", encap="ila 2001:db8:0:1 csum-mode neutral-map ident-type luid hook-type output")`, "-6 route",
		`{"encap": "ila", "locator": "2001:db8:0:1", "csum_mode": "neutral-map", "ident_type": "luid", "hook_type": "output"}`,
		`{"encap": "ila 2001:db8:0:1 csum-mode neutral-map ident-type luid hook-type output"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="seg6 mode encap segs fc00::1,fc00::2")`, "-6 route", `{"encap": "seg6", "mode": "encap", "segs": ["fc00::1", "fc00::2"]}`,
		`{"encap": "seg6 mode encap segs fc00::1,fc00::2"}`},
	{`route(root, "192.0.2.0/24", dev=a, encap="seg6 mode encap segs fc00::1")`, "route", `{"encap": "seg6", "mode": "encap", "segs": ["fc00::1"]}`, `{"encap": "seg6 mode encap segs fc00::1"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="seg6 mode inline segs fc00::1")`, "-6 route", `{"encap": "seg6", "mode": "inline", "segs": ["fc00::1", "::"]}`,
		`{"encap": "seg6 mode inline segs fc00::1"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="seg6 mode l2encap segs fc00::1")`, "-6 route", `{"encap": "seg6", "mode": "l2encap"}`, `{"encap": "seg6 mode l2encap segs fc00::1"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="seg6 mode encap.red segs fc00::1,fc00::3")`, "-6 route", `{"encap": "seg6", "mode": "encap.red"}`, `{"encap": "seg6 mode encap.red segs fc00::1,fc00::3"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="seg6 mode l2encap.red segs fc00::1,fc00::3")`, "-6 route", `{"encap": "seg6", "mode": "l2encap.red"}`,
		`{"encap": "seg6 mode l2encap.red segs fc00::1,fc00::3"}`},
	{`route(root, "2001:db8::/32", dev=a, encap="seg6 mode encap segs fc00::1 hmac 7")`, "-6 route", `{"encap": "seg6", "hmac": "0x7"}`, `{"encap": "seg6 mode encap segs fc00::1 hmac 7"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End")`, "-6 route", `{"encap": "seg6local", "action": "End"}`, `{"encap": "seg6local action End"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End count")`, "-6 route", `{"encap": "seg6local", "action": "End"}`, `{"encap": "seg6local action End count"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End flavors next-csid lblen 48 nflen 16")`, "-6 route",
		`{"encap": "seg6local", "action": "End", "flavors": ["next-csid"], "lblen": 48, "nflen": 16}`, `{"encap": "seg6local action End flavors next-csid lblen 48 nflen 16"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End flavors psp")`, "-6 route", `{"action": "End", "flavors": ["psp"]}`, `{"encap": "seg6local action End flavors psp"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.X nh6 fd00::9")`, "-6 route", `{"action": "End.X", "nh6": "fd00::9"}`, `{"encap": "seg6local action End.X nh6 fd00::9"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.T table 77")`, "-6 route", `{"action": "End.T", "table": "77"}`, `{"encap": "seg6local action End.T table 77"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.DX2 oif c")`, "-6 route", `{"action": "End.DX2", "oif": "c"}`, `{"encap": "seg6local action End.DX2 oif c"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.DX4 nh4 10.0.0.9")`, "-6 route", `{"action": "End.DX4", "nh4": "10.0.0.9"}`, `{"encap": "seg6local action End.DX4 nh4 10.0.0.9"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.DX6 nh6 fd00::9")`, "-6 route", `{"action": "End.DX6", "nh6": "fd00::9"}`, `{"encap": "seg6local action End.DX6 nh6 fd00::9"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.DT6 table main")`, "-6 route", `{"action": "End.DT6", "table": "main"}`, `{"encap": "seg6local action End.DT6 table main"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.B6 srh segs fc00::1,fc00::2")`, "-6 route", `{"action": "End.B6", "srh": {"segs": ["fc00::1", "fc00::2", "::"]}}`,
		`{"encap": "seg6local action End.B6 srh segs fc00::1,fc00::2"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.B6.Encaps srh segs fc00::1 hmac 9")`, "-6 route", `{"action": "End.B6.Encaps", "srh": {"segs": ["fc00::1"], "hmac": "0x9"}}`,
		`{"encap": "seg6local action End.B6.Encaps srh segs fc00::1 hmac 9"}`},
	{`route(root, "2001:db8::/32", via="fd00::2", encap="rpl segs fd00::3,fd00::4")`, "-6 route", `{"encap": "rpl", "segs": ["fd00::3", "fd00::4"]}`, `{"encap": "rpl segs fd00::3,fd00::4"}`},
	{`route(root, "2001:db8::/32", via="fd00::2", encap="ioam6 freq 1/3 mode encap tundst fd00::7 trace prealloc type 0x800000 ns 5 size 12")`, "-6 route",
		`{"encap": "ioam6", "freqk": 1, "freqn": 3, "mode": "encap", "tundst": "fd00::7", "type": "0x800000", "ns": 5, "size": 12}`,
		`{"encap": "ioam6 freq 1/3 mode encap tundst fd00::7 trace prealloc type 0x800000 ns 5 size 12"}`},
	{`route(root, "2001:db8::/32", via="fd00::2", encap="ioam6 trace prealloc type 0x800000 ns 1 size 4")`, "-6 route", `{"encap": "ioam6", "mode": "inline", "size": 4}`,
		`{"encap": "ioam6 mode inline trace prealloc type 0x800000 ns 1 size 4"}`},
	{`route(root, "192.0.2.0/24", dev=a, encap="xfrm if_id 7 link_dev c")`, "route", `{"encap": "xfrm", "if_id": 7, "link_dev": "c"}`, `{"encap": "xfrm if_id 7 link_dev c"}`},
	{`route(root, "192.0.2.0/24", dev=a, encap="bpf in obj pass.o out obj pass.o section lwt_out xmit obj pass.o section lwt_xmit/drop headroom 14")`, "route",
		`{"encap": "bpf", "in": "pass.o:[lwt_in]", "out": "pass.o:[lwt_out]", "xmit": "pass.o:[lwt_xmit/drop]"}`,
		`{"encap": "bpf in pass.o:[lwt_in] out pass.o:[lwt_out] xmit pass.o:[lwt_xmit/drop]"}`},
	{`route(root, "2001:db8::1", dev=a, encap="seg6local action End.BPF endpoint obj pass.o")`, "-6 route", `{"action": "End.BPF", "endpoint": "pass.o:[lwt_seg6local]"}`,
		`{"encap": "seg6local action End.BPF endpoint pass.o:[lwt_seg6local]"}`},
	{`route(root, "192.0.2.0/24", hops=[hop(via="10.0.0.2", encap="ip id 1 dst 10.0.0.9"), hop(via="10.0.2.2", encap="seg6 mode encap segs fc00::1")])`, "route",
		`{"dst": "192.0.2.0/24", "nexthops": [{"encap": "ip", "id": 1, "src": "0.0.0.0", "dst": "10.0.0.9", "ttl": 0, "tos": 0, "gateway": "10.0.0.2", "dev": "a", "weight": 1, "flags": []},
		{"encap": "seg6", "mode": "encap", "segs": ["fc00::1"], "gateway": "10.0.2.2", "dev": "c", "weight": 1, "flags": []}]}`, `{"encap": null}`},
	{`nexthop(root, 7, via="fd00::2", dev=a, encap="seg6 mode encap segs fc00::1")`, "nexthop", `{"id": 7, "encap": "seg6", "segs": ["fc00::1"], "gateway": "fd00::2"}`,
		`{"encap": "seg6 mode encap segs fc00::1"}`},

	// MPLS.
	{`route(root, 100, as_to="200/300", via="10.0.0.2", proto="static")`, "-f mpls route", `{"dst": "100", "to": "200/300", "via": {"family": "inet", "host": "10.0.0.2"}, "dev": "a", "protocol": "static"}`,
		`{"dst": "100", "as_to": "200/300", "via": "10.0.0.2", "dev": "a", "ttl_propagate": null}`},
	{`route(root, 100, via="fd00::2", ttl_propagate=False)`, "-f mpls route", `{"dst": "100", "via": {"family": "inet6", "host": "fd00::2"}, "ttl-propogate": false}`, `{"as_to": null, "via": "fd00::2", "ttl_propagate": false}`},
	{`route(root, 100, dev=root["lo"])`, "-f mpls route", `{"dst": "100", "dev": "lo"}`, `{"dev": "lo", "via": null}`},
	{`route(root, 101, hops=[hop(via="10.0.0.2", as_to=200), hop(via="10.0.2.2", as_to=300)])`, "-f mpls route", `{"dst": "101", "nexthops": [{"to": "200", "via": {"family": "inet", "host": "10.0.0.2"}, "dev": "a", "flags": []},
		{"to": "300", "via": {"family": "inet", "host": "10.0.2.2"}, "dev": "c", "flags": []}]}`, `{"via": null}`},
}

// TestRoutes holds every option of a route against what `ip` reads.
func TestRoutes(t *testing.T) { testRouting(t, routeCases) }

// TestTunnelOptions: what kernels since 6.15 die of is kept from them, and others
// take it.
func TestTunnelOptions(t *testing.T) {
	labtest.Need(t, "kernel")
	testRouting(t, []routingCase{
		{`route(root, "192.0.2.0/24", dev=a, encap="ip id 7 dst 10.0.0.9 geneve_opts 1:2:01020304,3:4:0506070805060708")`, "route",
			`{"geneve_opts": [{"class": 1, "type": 2, "data": "01020304"}, {"class": 3, "type": 4, "data": "0506070805060708"}]}`,
			`{"encap": "ip id 7 dst 10.0.0.9 geneve_opts 1:2:01020304,3:4:0506070805060708"}`},
		{`route(root, "192.0.2.0/24", dev=a, encap="ip id 7 dst 10.0.0.9 vxlan_opts 456")`, "route", `{"vxlan_opts": [{"gbp": 456}]}`, `{"encap": "ip id 7 dst 10.0.0.9 vxlan_opts 456"}`},
		{`route(root, "2001:db8::/32", dev=a, encap="ip6 id 7 dst fd00::9 erspan_opts 2::1:33")`, "-6 route", `{"erspan_opts": [{"ver": 2, "index": 0, "dir": 1, "hwid": 33}]}`,
			`{"encap": "ip6 id 7 dst fd00::9 erspan_opts 2::1:33"}`},
		{`route(root, "192.0.2.0/24", dev=a, encap="ip id 7 dst 10.0.0.9 erspan_opts 1:99")`, "route", `{"erspan_opts": [{"ver": 1, "index": 99, "dir": 0, "hwid": 0}]}`,
			`{"encap": "ip id 7 dst 10.0.0.9 erspan_opts 1:99"}`},
	})
}
