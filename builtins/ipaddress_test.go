package builtins

import (
	"encoding/json"
	"math/big"
	"net/netip"
	"slices"
	"strings"
	"testing"

	starlarkjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
)

// ipEnv has the constructors under the names that Python's module has.
var ipEnv = starlark.StringDict{
	"json": starlarkjson.Module,
	"ip_address": starlark.NewBuiltin("ip_address", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var v starlark.Value
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "address", &v); err != nil {
			return nil, err
		}
		return ipNoNil(NewIPAddress(v))
	}),
	"ip_network": starlark.NewBuiltin("ip_network", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var v starlark.Value
		strict := true
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "address", &v, "strict?", &strict); err != nil {
			return nil, err
		}
		return ipNoNil(NewIPNetwork(v, strict))
	}),
	"ip_interface": starlark.NewBuiltin("ip_interface", func(_ *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		var v starlark.Value
		if err := starlark.UnpackArgs(b.Name(), args, kwargs, "address", &v); err != nil {
			return nil, err
		}
		return ipNoNil(NewIPInterface(v))
	}),
}

func ipNoNil[T starlark.Value](v T, err error) (starlark.Value, error) {
	if err != nil {
		return nil, err
	}
	return v, nil
}

// ipEval evaluates an expression in which A, N and I are the constructors.
func ipEval(expr string) (starlark.Value, error) {
	env := starlark.StringDict{"A": ipEnv["ip_address"], "N": ipEnv["ip_network"], "I": ipEnv["ip_interface"], "json": ipEnv["json"]}
	thread := &starlark.Thread{Name: "test"}
	thread.SetMaxExecutionSteps(1 << 20)
	return starlark.EvalOptions(&syntax.FileOptions{Set: true}, thread, "test", expr, env)
}

func TestIPAddressValues(t *testing.T) {
	for _, test := range []struct{ expr, want string }{
		// Addresses.
		{`A("10.1.1.1")`, `10.1.1.1`},
		{`str(A("FD00:0:0::1"))`, `"fd00::1"`},
		{`"%s, {}".format(A("::")) % A("1.2.3.4")`, `"1.2.3.4, ::"`},
		{`type(A("::"))`, `"IPAddress"`},
		{`bool(A("0.0.0.0"))`, `True`},
		{`[A(0), A(4294967295), A(4294967296), A((1 << 128) - 1)]`, `[0.0.0.0, 255.255.255.255, ::1:0:0, ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff]`},
		{`A(A("::1").packed), A(A("1.2.3.4").packed)`, `(::1, 1.2.3.4)`},
		{`A(A("::1"))`, `::1`},
		{`A("::ffff:1.2.3.4"), A("::ffff:102:304").ipv4_mapped, A("::1").ipv4_mapped, A("1.2.3.4").ipv4_mapped`, `(::ffff:1.2.3.4, 1.2.3.4, None, None)`},
		{`A("1.2.3.4").ipv6_mapped, A("::1").ipv6_mapped`, `(::ffff:1.2.3.4, None)`},
		{`A("::ffff:1.2.3.4") == A("1.2.3.4")`, `False`},
		{`[(a.version, a.max_prefixlen, a.packed, a.int()) for a in [A("1.2.3.4"), A("::ff")]]`,
			`[(4, 32, b"\x01\x02\x03\x04", 16909060), (6, 128, b"\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\x00\xff", 255)]`},
		{`A("fd00::1").exploded, A("fd00::1").compressed`, `("fd00:0000:0000:0000:0000:0000:0000:0001", "fd00::1")`},
		{`A("127.0.0.1").reverse_pointer`, `"1.0.0.127.in-addr.arpa"`},
		{`A("2001:db8::1").reverse_pointer`, `"1.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.0.8.b.d.0.1.0.0.2.ip6.arpa"`},
		{`A("2002:102:304::").sixtofour, A("::").sixtofour, A("1.2.3.4").sixtofour`, `(1.2.3.4, None, None)`},
		{`A("2001:0:4136:e378:8000:63bf:3fff:fdd2").teredo`, `(65.54.227.120, 192.0.2.45)`},
		{`A("10.1.1.1") + 1, A("10.1.1.1") - 2, A("10.1.1.1") + -2, A("::1") + (1 << 127), A("::") - -5`, `(10.1.1.2, 10.1.0.255, 10.1.0.255, 8000::1, ::5)`},
		{`A("0.0.0.0") + 4294967295, A("::ffff:ffff:ffff:ffff") + 1`, `(255.255.255.255, 0:0:0:1::)`},
		{`A("10.0.0.9") < A("10.0.0.10"), A("::2") >= A("::10"), A("::1") == A("0::1"), A("1.1.1.1") == "1.1.1.1"`, `(True, False, True, False)`},
		{`A("1.2.3.4") == A("::102:304"), A("1.2.3.4") != A("::102:304")`, `(False, True)`},
		{`sorted([A("10.0.0.10"), A("10.0.0.9"), A("9.255.0.0")])`, `[9.255.0.0, 10.0.0.9, 10.0.0.10]`},
		{`{A("::1"): 1, A("1.1.1.1"): 2}[A("0:0::1")]`, `1`},
		{`len(set([A("::1"), A("::0:1"), A("0.0.0.1"), A("::1%a")]))`, `3`},
		{`json.encode({"a": A("::1"), "n": N("10.0.0.0/8"), "i": I("10.0.0.1/8"), "h": N("10.0.0.0/30").hosts()})`,
			`"{\"a\":\"::1\",\"h\":[\"10.0.0.1\",\"10.0.0.2\"],\"i\":\"10.0.0.1/8\",\"n\":\"10.0.0.0/8\"}"`},
		{`[x for x in dir(A("::1")) if not hasattr(A("1.1.1.1"), x)]`, `[]`},
		// Scopes.
		{`A("fe80::1%eth0"), A("fe80::1%eth0").scope_id, A("fe80::1").scope_id`, `(fe80::1%eth0, "eth0", None)`},
		{`A("fe80::1%eth0").exploded, A("::ffff:1.2.3.4%e").exploded`, `("fe80:0000:0000:0000:0000:0000:0000:0001%eth0", "0000:0000:0000:0000:0000:ffff:1.2.3.4%e")`},
		{`A("fe80::1%a") == A("fe80::1"), A("fe80::1%a") < A("fe80::2"), A("fe80::1%a") + 1`, `(False, True, fe80::2)`},
		{`A("fe80::1%a").is_link_local, A("fe80::1%a") in N("fe80::/10")`, `(True, True)`},
		{`N("fe80::%a/64"), N("fe80::1%a/64", False), N("fe80::1%a")`, `(fe80::%a/64, fe80::/64, fe80::1%a/128)`},
		{`list(N("fe80::1%a").hosts()), A("fe80::1") in N("fe80::1%a").hosts(), A("fe80::1%a") in N("fe80::1%a").hosts()`, `([fe80::1%a], False, True)`},
		// Flags.
		{`[A(a).is_private for a in ["10.0.0.1", "100.64.0.1", "8.8.8.8", "192.0.0.9", "::ffff:10.0.0.1", "fd00::1", "2001:20::1"]]`, `[True, False, False, False, True, True, False]`},
		{`[A(a).is_global for a in ["10.0.0.1", "100.64.0.1", "8.8.8.8", "192.0.0.9", "::ffff:8.8.8.8", "::ffff:100.64.0.1"]]`, `[False, False, True, True, True, False]`},
		{`[A(a).is_multicast for a in ["224.0.0.1", "ff02::1", "::ffff:224.0.0.1", "1.1.1.1"]]`, `[True, True, True, False]`},
		{`[A(a).is_loopback for a in ["127.1.2.3", "::1", "::ffff:127.0.0.1", "::2"]]`, `[True, True, True, False]`},
		{`[A(a).is_reserved for a in ["240.0.0.1", "::1", "fd00::1", "2001::1"]]`, `[True, True, False, False]`},
		{`[A(a).is_unspecified for a in ["0.0.0.0", "::", "::1"]], A("fec0::1").is_site_local`, `([True, True, False], True)`},
		// Networks.
		{`N("10.0.0.0/24"), N("10.0.0.7"), N("fd00::/48"), N(5), N("10.0.0.0/0024")`, `(10.0.0.0/24, 10.0.0.7/32, fd00::/48, 0.0.0.5/32, 10.0.0.0/24)`},
		{`N("10.0.0.0/255.255.0.0"), N("10.0.0.0/0.0.255.255"), N("0.0.0.0/0.0.0.0"), N("1.2.3.4/255.255.255.255")`, `(10.0.0.0/16, 10.0.0.0/16, 0.0.0.0/0, 1.2.3.4/32)`},
		{`N(("10.0.0.0", 24)), N((167772160, "255.0.0.0")), N(A("::1")), N(N("::/8")), N(I("10.0.0.1/24"), strict=False)`, `(10.0.0.0/24, 10.0.0.0/8, ::1/128, ::/8, 10.0.0.0/24)`},
		{`N("10.0.0.99/24", strict=False), N("fd00::99/64", False)`, `(10.0.0.0/24, fd00::/64)`},
		{`[(n.network_address, n.broadcast_address, n.netmask, n.hostmask, n.prefixlen, n.num_addresses) for n in [N("10.0.0.0/24"), N("::/0")]]`,
			`[(10.0.0.0, 10.0.0.255, 255.255.255.0, 0.0.0.255, 24, 256), (::, ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, ::, ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, 0, 340282366920938463463374607431768211456)]`},
		{`[(n.with_prefixlen, n.with_netmask, n.with_hostmask, n.exploded, n.compressed) for n in [N("10.0.0.0/24"), N("fd00::/16")]]`,
			`[("10.0.0.0/24", "10.0.0.0/255.255.255.0", "10.0.0.0/0.0.0.255", "10.0.0.0/24", "10.0.0.0/24"), ("fd00::/16", "fd00::/ffff::", "fd00::/0:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fd00:0000:0000:0000:0000:0000:0000:0000/16", "fd00::/16")]`},
		{`list(N("10.0.0.0/30").hosts()), list(N("10.0.0.0/31").hosts()), list(N("10.0.0.5/32").hosts())`, `([10.0.0.1, 10.0.0.2], [10.0.0.0, 10.0.0.1], [10.0.0.5])`},
		{`list(N("::/126").hosts()), list(N("::/127").hosts()), list(N("::5/128").hosts())`, `([::1, ::2, ::3], [::, ::1], [::5])`},
		{`list(N("10.0.0.0/30")), [a for a in N("::/127")]`, `([10.0.0.0, 10.0.0.1, 10.0.0.2, 10.0.0.3], [::, ::1])`},
		{`N("10.0.0.0/24")[5], N("10.0.0.0/24")[-1], N("10.0.0.0/24")[-256], N("fd00::/64")[1 << 63], N("::/0")[-1], N("::/0")[-(1 << 128)]`,
			`(10.0.0.5, 10.0.0.255, 10.0.0.0, fd00::8000:0:0:0, ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff, ::)`},
		{`"10.0.0.9" in N("10.0.0.0/24"), A("10.0.1.9") in N("10.0.0.0/24"), A("::") in N("0.0.0.0/0"), "10.0.1.9" not in N("10.0.0.0/24"), I("10.0.0.9/8") in N("10.0.0.0/24")`, `(True, False, False, True, True)`},
		{`N("10.0.0.0/25") in N("10.0.0.0/24"), N("10.0.0.0/24").network_address in N("10.0.0.0/24")`, `(False, True)`},
		{`N("10.0.0.0/8") < N("10.0.0.0/9"), N("10.0.0.0/9") < N("10.128.0.0/9"), N("10.0.0.0/8") == N("10.0.0.0/255.0.0.0"), N("::/0") == N("0.0.0.0/0")`, `(True, True, True, False)`},
		{`N("10.0.0.0/8").compare_networks(N("10.0.0.0/9")), N("::/9").compare_networks("::/8"), N("::/9").compare_networks("::/9")`, `(-1, 1, 0)`},
		{`{N("10.0.0.0/8"): 1}[N(("10.0.0.0", 8))], bool(N("0.0.0.0/32")), type(N("::/0"))`, `(1, True, "IPNetwork")`},
		{`N("10.0.0.0/24").subnet_of(N("10.0.0.0/8")), N("10.0.0.0/24").subnet_of("11.0.0.0/8"), N("10.0.0.0/8").supernet_of(N("10.9.0.0/24")), N("::/0").subnet_of(N("::/0"))`, `(True, False, True, True)`},
		{`N("10.0.0.0/24").overlaps(N("10.0.0.128/25")), N("10.0.0.0/24").overlaps(other="10.0.0.0/8"), N("10.0.0.0/24").overlaps(N("10.0.1.0/24")), N("::/0").overlaps("0.0.0.0/0")`, `(True, True, False, False)`},
		{`N("192.0.2.0/28").address_exclude(N("192.0.2.1/32"))`, `[192.0.2.8/29, 192.0.2.4/30, 192.0.2.2/31, 192.0.2.0/32]`},
		{`N("::/8").address_exclude(N("::/8")), len(N("::/0").address_exclude(N("::1/128")))`, `([], 128)`},
		{`list(N("10.0.0.0/24").subnets()), list(N("10.0.0.0/24").subnets(2)), list(N("10.0.0.0/24").subnets(new_prefix=25)), list(N("10.0.0.0/24").subnets(prefixlen_diff=0))`,
			`([10.0.0.0/25, 10.0.0.128/25], [10.0.0.0/26, 10.0.0.64/26, 10.0.0.128/26, 10.0.0.192/26], [10.0.0.0/25, 10.0.0.128/25], [10.0.0.0/24])`},
		{`list(N("10.0.0.5/32").subnets()), list(N("::5/128").subnets(new_prefix=3))`, `([10.0.0.5/32], [::5/128])`},
		{`N("10.0.1.0/24").supernet(), N("10.0.1.0/24").supernet(8), N("10.0.1.0/24").supernet(new_prefix=8), N("0.0.0.0/0").supernet(), N("::/8").supernet(new_prefix=0)`, `(10.0.0.0/23, 10.0.0.0/16, 10.0.0.0/8, 0.0.0.0/0, ::/0)`},
		{`[(n.is_private, n.is_global, n.is_loopback, n.is_multicast, n.is_link_local, n.is_reserved, n.is_unspecified) for n in [N("10.0.0.0/8"), N("8.0.0.0/5"), N("100.64.0.0/10"), N("127.0.0.0/7", False)]]`,
			`[(True, False, False, False, False, False, False), (False, True, False, False, False, False, False), (False, False, False, False, False, False, False), (False, True, False, False, False, False, False)]`},
		// Sequences.
		{`len(N("10.0.0.0/8").hosts()), N("10.0.0.0/8").hosts()[70000], N("10.0.0.0/8").hosts()[-1], type(N("::/0").hosts())`, `(16777214, 10.1.17.113, 10.255.255.254, "IPSequence")`},
		{`N("fd00::/64").hosts()[0], N("fd00::/64").hosts()[-1], N("fd00::/64").hosts()[1 << 40], N("::/0").hosts()[-1]`, `(fd00::1, fd00::ffff:ffff:ffff:ffff, fd00::100:0:1, ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff)`},
		{`N("fd00::/32").subnets(new_prefix=96)[-1], N("::/0").subnets(128)[1 << 127], N("::/0").subnets(64)[3]`, `(fd00:0:ffff:ffff:ffff:ffff::/96, 8000::/128, 0:0:0:3::/64)`},
		{`N("10.0.0.0/24").hosts()`, `<hosts of 10.0.0.0/24>`},
		{`N("10.0.0.0/8").subnets(new_prefix=24)`, `</24 subnets of 10.0.0.0/8>`},
		{`N("10.0.0.0/8").hosts()[10:20:3], list(N("10.0.0.0/8").hosts()[10:20:3])`, `(<4 of the hosts of 10.0.0.0/8>, [10.0.0.11, 10.0.0.14, 10.0.0.17, 10.0.0.20])`},
		{`list(N("10.0.0.0/29").hosts()[::-1]), list(N("10.0.0.0/29").hosts()[::-2][1:]), list(N("10.0.0.0/29").hosts()[4:2]), bool(N("10.0.0.0/29").hosts()[4:2])`,
			`([10.0.0.6, 10.0.0.5, 10.0.0.4, 10.0.0.3, 10.0.0.2, 10.0.0.1], [10.0.0.4, 10.0.0.2], [], False)`},
		{`A("10.0.0.1") in N("10.0.0.0/8").hosts(), A("10.0.0.0") in N("10.0.0.0/8").hosts(), "10.255.255.255" in N("10.0.0.0/8").hosts(), "fd00::9" in N("fd00::/8").hosts(), 5 in N("fd00::/8").hosts()`, `(True, False, False, True, False)`},
		{`[A("10.0.0.%d" % i) in N("10.0.0.0/24").hosts()[8:3:-2] for i in range(1, 11)]`, `[False, False, False, False, True, False, True, False, True, False]`},
		{`N("10.1.0.0/16") in N("10.0.0.0/8").subnets(8), N("10.1.0.0/17") in N("10.0.0.0/8").subnets(8), "11.0.0.0/16" in N("10.0.0.0/8").subnets(8), "10.3.0.0/16" in N("10.0.0.0/8").subnets(8)`, `(True, False, False, True)`},
		{`zip(N("fd00::/64").hosts(), ["a", "b"]), zip(["a"], N("0.0.0.0/0").subnets(32))`, `([(fd00::1, "a"), (fd00::2, "b")], [("a", 0.0.0.0/32)])`},
		{`bool(N("::/0").subnets(128)), N("::/0").subnets(128) == N("::/0").subnets(128)`, `(True, False)`},
		// Interfaces.
		{`I("10.0.0.9/24"), I("10.0.0.9"), I("fd00::1/64"), I(("10.0.0.9", "255.0.0.0")), I(7)`, `(10.0.0.9/24, 10.0.0.9/32, fd00::1/64, 10.0.0.9/8, 0.0.0.7/32)`},
		{`[(i.ip, i.network, i.prefixlen, i.netmask, i.hostmask) for i in [I("10.0.0.9/24"), I("fd00::1/64")]]`, `[(10.0.0.9, 10.0.0.0/24, 24, 255.255.255.0, 0.0.0.255), (fd00::1, fd00::/64, 64, ffff:ffff:ffff:ffff::, ::ffff:ffff:ffff:ffff)]`},
		{`[(i.with_prefixlen, i.with_netmask, i.with_hostmask, i.compressed, i.exploded) for i in [I("10.0.0.9/24"), I("fe80::1%e/16")]]`,
			`[("10.0.0.9/24", "10.0.0.9/255.255.255.0", "10.0.0.9/0.0.0.255", "10.0.0.9/24", "10.0.0.9/24"), ("fe80::1/16", "fe80::1/ffff::", "fe80::1/0:ffff:ffff:ffff:ffff:ffff:ffff:ffff", "fe80::1%e/16", "fe80:0000:0000:0000:0000:0000:0000:0001/16")]`},
		{`I("10.0.0.9/24").version, I("::/24").max_prefixlen, I("10.0.0.9/24").packed, I("10.0.0.9/24").int(), I("10.0.0.9/24").is_private, I("10.0.0.9/24").reverse_pointer`, `(4, 128, b"\n\x00\x00\t", 167772169, True, "9.0.0.10.in-addr.arpa")`},
		{`I("fe80::1%e/64").ip, I("fe80::1%e/64").scope_id, I("fe80::1%e/64").network`, `(fe80::1, "e", fe80::/64)`},
		{`I("10.0.0.9/24") + 1, I("10.0.0.9/24") - 1`, `(10.0.0.10/32, 10.0.0.8/32)`},
		{`I("10.0.0.9/24") == I("10.0.0.9/25"), I("10.0.0.9/24") == I(("10.0.0.9", 24)), I("10.0.0.9/32") == A("10.0.0.9"), I("10.0.0.9/24") > I("10.0.0.8/25"), I("10.0.0.9/24") < I("10.0.0.10/24")`, `(False, True, False, False, True)`},
		{`{I("10.0.0.9/24"): 1}[I("10.0.0.9/255.255.255.0")], type(I("::")), bool(I("0.0.0.0/0"))`, `(1, "IPInterface", True)`},
		{`I("::1/128").is_loopback, I("::1/64").is_loopback, I("127.0.0.1/1").is_loopback, I("::/128").is_unspecified, I("::/0").is_unspecified, I("0.0.0.0/32").is_unspecified`, `(True, False, True, True, False, False)`},
		{`[x for x in dir(A("::1")) if not hasattr(I("1.1.1.1"), x)]`, `[]`},
	} {
		if v, err := ipEval(test.expr); err != nil {
			t.Errorf("%s: %v", test.expr, err)
		} else if v.String() != test.want {
			t.Errorf("%s:\n is %s\nnot %s", test.expr, v, test.want)
		}
	}
}

func TestIPAddressErrors(t *testing.T) {
	for _, test := range []struct{ expr, want string }{
		{`A("10.1.1.300")`, `"10.1.1.300" is not an IP address (like "10.1.1.1" or "fd00::1")`},
		{`A("")`, `"" is not an IP address (like "10.1.1.1" or "fd00::1")`},
		{`A("10.1.1.01")`, `: "01" has a leading zero`},
		{`A(" 10.1.1.1")`, `: there is white space around it`},
		{`A("10.1.1.1/24")`, `: leave out the prefix length "/24"`},
		{`A("fe80::1%")`, `is not an IP address`},
		{`A("1.1.1.1%eth0")`, `is not an IP address`},
		{`A("fe80::1%a%b")`, `is not an IP address`},
		{`A("x" * 1000)`, `"` + strings.Repeat("x", 80) + `…" is not an IP address`},
		{`A(-1)`, `-1 is not an IP address as a number (IPv4 below 2**32, IPv6 below 2**128)`},
		{`A(1 << 128)`, `340282366920938463463374607431768211456 is not an IP address as a number`},
		{`A((1 << 500) * (1 << 500))`, `an int of 1001 bits is not an IP address as a number`},
		{`A(b"abc")`, `3 bytes are not an IP address (4 bytes are IPv4, 16 are IPv6)`},
		{`A(None)`, `an IP address is a string (like "10.1.1.1" or "fd00::1") or an int, not a value of type NoneType`},
		{`A(True)`, `not a value of type bool`},
		{`A(I("10.1.1.1/24"))`, `10.1.1.1/24 is an IPInterface, not an IP address (like "10.1.1.1" or "fd00::1"): its .ip is one`},
		{`A(N("10.1.1.0/24"))`, `: its .network_address is one`},
		{`A("255.255.255.255") + 1`, `255.255.255.255 + 1 is outside of IPv4 (0.0.0.0 to 255.255.255.255)`},
		{`A("::") - 1`, `:: - 1 is outside of IPv6 (:: to ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff)`},
		{`A("::") + (1 << 500) * (1 << 500)`, `:: + an int of 1001 bits is outside of IPv6`},
		{`A("1.1.1.2") - A("1.1.1.1")`, `addresses can't be subtracted (a.int() - b.int() is how far apart they are)`},
		{`1 + A("1.1.1.2")`, `unknown binary op: int + IPAddress`},
		{`A("1.1.1.2") + "1"`, `unknown binary op: IPAddress + string`},
		{`A("1.1.1.1") < A("::1")`, `1.1.1.1 and ::1 are not of the same version`},
		{`A("1.1.1.1") < I("1.1.1.1")`, `IPAddress < IPInterface not implemented`},
		{`A("1.1.1.1").is_privat`, `IPAddress has no .is_privat field or method (did you mean .is_private?)`},
		{`A("1.1.1.1").int(3)`, `int: got 1 arguments, want at most 0`},

		{`N("10.1.1.5/24")`, `"10.1.1.5/24" has host bits set: its network is "10.1.1.0/24"`},
		{`N("10.1.1.5/255.255.255.0")`, `"10.1.1.5/24" has host bits set: its network is "10.1.1.0/24"`},
		{`N("fd00::1/64")`, `its network is "fd00::/64"`},
		{`N("10.1.1.300/24")`, `"10.1.1.300/24" is not an IP network (like "10.1.1.0/24" or "fd00::/64")`},
		{`N("10.1.1.0/33")`, `: a prefix length of 33 is more than IPv4's 32 bits`},
		{`N("::/129")`, `: a prefix length of 129 is more than IPv6's 128 bits`},
		{`N("::/" + "9" * 1000)`, `9…" is not an IP network`},
		{`N("10.1.1.0/")`, `: "" is not a prefix length (0 to 32) or a netmask (255.255.255.0)`},
		{`N("10.1.1.0/-1")`, `: "-1" is not a prefix length`},
		{`N("10.1.1.0/8/8")`, `: "8/8" is not a prefix length`},
		{`N("10.1.1.0/255.0.255.0")`, `: the netmask 255.0.255.0 has ones after zeros`},
		{`N("::/ffff::")`, `: "ffff::" is not a prefix length (0 to 128)`},
		{`N(None)`, `an IP network is a string (like "10.1.1.0/24" or "fd00::/64"), not a value of type NoneType`},
		{`N(("10.0.0.0", 33))`, `the tuple with 10.0.0.0 is not an IP network: a prefix length of 33 is more than IPv4's 32 bits`},
		{`N(("10.0.0.0", None))`, `: a prefix length is an int, not a value of type NoneType`},
		{`N(("10.0.0.0", -1))`, `: "-1" is not a prefix length`},
		{`N(("10.0.0.0",))`, `a tuple of 1 is not an IP network`},
		{`N(("10.0.0", 8))`, `"10.0.0" is not an IP address`},
		{`N(-1)`, `-1 is not an IP address as a number`},
		{`N("10.0.0.0/24")[256]`, `index 256 is out of range: the last of the addresses of 10.0.0.0/24 is 255`},
		{`N("10.0.0.0/24")[-257]`, `index -257 is out of range`},
		{`N("::/0")[1 << 128]`, `is out of range: the last of the addresses of ::/0 is 340282366920938463463374607431768211455`},
		{`N("10.0.0.0/24")["a"]`, `the index of the addresses of 10.0.0.0/24 is an int, not a value of type string`},
		{`len(N("10.0.0.0/24"))`, `value of type IPNetwork has no len`},
		{`"10.0.0" in N("10.0.0.0/24")`, `in 10.0.0.0/24: "10.0.0" is not an IP address`},
		{`"10.0.0.0/25" in N("10.0.0.0/24")`, `: leave out the prefix length "/25"`},
		{`5 in N("10.0.0.0/24")`, `in 10.0.0.0/24: an IP address is wanted (like "10.1.1.1" or "fd00::1"), not a value of type int`},
		{`N("10.0.0.0/24") + 1`, `10.0.0.0/24 + 1: a network can't be added to (net[i] is its address number i`},
		{`N("10.0.0.0/24") < N("::/0")`, `10.0.0.0/24 and ::/0 are not of the same version`},
		{`N("10.0.0.0/24").subnet_of(N("::/0"))`, `subnet_of: 10.0.0.0/24 and ::/0 are not of the same version`},
		{`N("10.0.0.0/24").supernet_of(A("10.0.0.1"))`, `supernet_of: an IPNetwork is wanted, or a string (like "10.1.1.0/24" or "fd00::/64"), not a value of type IPAddress`},
		{`N("10.0.0.0/24").overlaps(I("10.0.0.1"))`, `not a value of type IPInterface`},
		{`N("10.0.0.0/24").overlaps("10.0.0.1/8")`, `overlaps: "10.0.0.1/8" has host bits set`},
		{`N("10.0.0.0/24").address_exclude(N("10.0.1.0/24"))`, `address_exclude: 10.0.1.0/24 is not contained in 10.0.0.0/24`},
		{`N("10.0.0.0/24").address_exclude(N("::/0"))`, `are not of the same version`},
		{`N("10.0.0.0/24").compare_networks(N("::/0"))`, `are not of the same version`},
		{`N("10.0.0.0/24").subnets(9)`, `subnets: 10.0.0.0/24 can't have subnets with a prefix length of 33: IPv4 has at most 32`},
		{`N("10.0.0.0/24").subnets(-1)`, `subnets: prefixlen_diff is -1, but must be at least 0`},
		{`N("10.0.0.0/24").subnets(new_prefix=23)`, `subnets: new_prefix 23 must be at least 24, the prefix length of 10.0.0.0/24`},
		{`N("10.0.0.0/24").subnets(2, new_prefix=25)`, `prefixlen_diff and new_prefix can't both be given`},
		{`N("10.0.0.0/24").subnets(new_prefix="25")`, `subnets: for parameter new_prefix: got string, want int`},
		{`N("10.0.0.0/24").subnets(new_prefix=1 << 80)`, `for parameter new_prefix`},
		{`N("10.0.0.0/24").subnets(1 << 80)`, `for parameter prefixlen_diff`},
		{`N("10.0.0.0/24").supernet(25)`, `supernet: 10.0.0.0/24 has no supernet with a prefix length shorter by 25`},
		{`N("10.0.0.0/24").supernet(-1)`, `prefixlen_diff is -1, but must be at least 0`},
		{`N("10.0.0.0/24").supernet(new_prefix=25)`, `supernet: new_prefix 25 must be from 0 to 24`},
		{`N("10.0.0.0/24").supernet(new_prefix=-1)`, `supernet: new_prefix -1 must be from 0 to 24`},
		{`N("10.0.0.0/24").hosts(1)`, `hosts: got 1 arguments, want at most 0`},

		{`len(N("fd00::/64").hosts())`, `value of type IPSequence has no len`},
		{`len(N("10.0.0.0/7").subnets(25))`, `value of type IPSequence has no len`},
		{`N("fd00::/126").hosts()[3]`, `IPSequence index 3 out of range`},
		{`N("fd00::/64").hosts()[1 << 64]`, `index 18446744073709551616 is out of range: the last of the hosts of fd00::/64 is 18446744073709551614`},
		{`{N("fd00::/64").hosts(): 1}`, `unhashable type: IPSequence`},
		{`{N("fd00::/127").hosts(): 1}`, `unhashable type: IPSequence`},
		{`json.encode(N("fd00::/64").hosts())`, `the hosts of fd00::/64 are too many for JSON`},
		{`"10.0.0" in N("10.0.0.0/24").hosts()`, `"10.0.0" is not an IP address`},
		{`"10.0.0.1/24" in N("10.0.0.0/24").subnets()`, `has host bits set`},

		{`I("10.1.1.300/24")`, `"10.1.1.300/24" is not an IP interface (like "10.1.1.1/24" or "fd00::1/64")`},
		{`I([])`, `an IP interface is a string (like "10.1.1.1/24" or "fd00::1/64"), not a value of type list`},
		{`I("10.0.0.0/24") < I("::/0")`, `10.0.0.0/24 and ::/0 are not of the same version`},
		{`I("0.0.0.0/24") - 1`, `0.0.0.0/24 - 1 is outside of IPv4`},
		{`I("10.0.0.0/24").hosts()`, `IPInterface has no .hosts field or method`},
	} {
		if v, err := ipEval(test.expr); err == nil {
			t.Errorf("%s is %s, want an error", test.expr, v)
		} else if !strings.Contains(err.Error(), test.want) {
			t.Errorf("%s:\n      error %s\nlacks part %s", test.expr, err, test.want)
		}
	}
}

// The cost of all that doesn't iterate is the same for ::/0 as for a /30.
func TestIPAddressBounded(t *testing.T) {
	const exprs = `[(n[7], n[-7], "::9" in n, n.hosts()[5], n.hosts()[-5], "::9" in n.hosts(), n.subnets(100)[5], n.subnets(100)[-5],
		"::/100" in n.subnets(100), str(n.hosts()), bool(n.subnets(128)), n.subnets(128)[1 << 100]) for n in [N("::/0")]]`
	allocs := testing.AllocsPerRun(5, func() {
		if _, err := ipEval(exprs); err != nil {
			t.Fatal(err)
		}
	})
	if allocs > 2000 {
		t.Errorf("%v allocations", allocs)
	}
	// A loop over more than can be ends where it is left.
	env := starlark.StringDict{"N": ipEnv["ip_network"]}
	const program = `
def first(it, n):
    got = []
    for x in it:
        if len(got) == n:
            break
        got.append(x)
    return got
a = first(N("fd00::/64").hosts(), 3)
b = first(N("0.0.0.0/0"), 3)
c = first(N("fd00::/32").subnets(new_prefix=96), 3)
d = first(N("10.0.0.0/8").hosts(), 3)
`
	globals, err := starlark.ExecFileOptions(&syntax.FileOptions{}, &starlark.Thread{}, "test", program, env)
	if err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"a": "[fd00::1, fd00::2, fd00::3]",
		"b": "[0.0.0.0, 0.0.0.1, 0.0.0.2]",
		"c": "[fd00::/96, fd00::1:0:0/96, fd00::2:0:0/96]",
		"d": "[10.0.0.1, 10.0.0.2, 10.0.0.3]",
	} {
		if got := globals[name].String(); got != want {
			t.Errorf("%s is %s, not %s", name, got, want)
		}
	}
}

func TestIPAddressGo(t *testing.T) {
	for _, test := range []struct{ got, want any }{
		{IPAddressOf(netip.MustParseAddr("::1%e")).String(), "::1%e"},
		{IPAddressOf(netip.MustParseAddr("::1%e")).Addr(), netip.MustParseAddr("::1%e")},
		{IPNetworkOf(netip.MustParsePrefix("10.0.0.9/8")).String(), "10.0.0.0/8"},
		{IPNetworkOf(netip.MustParsePrefix("10.0.0.9/8")).Prefix(), netip.MustParsePrefix("10.0.0.0/8")},
		{IPInterfaceOf(netip.MustParsePrefix("10.0.0.9/8")).String(), "10.0.0.9/8"},
		{IPInterfaceOf(netip.MustParsePrefix("10.0.0.9/8")).Prefix(), netip.MustParsePrefix("10.0.0.9/8")},
		{IPInterfaceOf(netip.MustParsePrefix("10.0.0.9/8")).Addr(), netip.MustParseAddr("10.0.0.9")},
		{IPInterfaceOf(netip.MustParsePrefix("10.0.0.9/8")).Network().String(), "10.0.0.0/8"},
	} {
		if test.got != test.want {
			t.Errorf("%v, not %v", test.got, test.want)
		}
	}
	for _, v := range []starlark.HasAttrs{IPAddressOf(netip.IPv6Loopback()), IPNetworkOf(netip.MustParsePrefix("::/0")), IPInterfaceOf(netip.MustParsePrefix("::/0"))} {
		names := v.AttrNames()
		if !slices.IsSorted(names) || len(slices.Compact(slices.Clone(names))) != len(names) {
			t.Errorf("%s: names are not sorted or not unique: %v", v.Type(), names)
		}
		for _, name := range names {
			if attr, err := v.Attr(name); attr == nil || err != nil {
				t.Errorf("%s.%s: %v, %v", v.Type(), name, attr, err)
			}
		}
		if data, err := json.Marshal(v); err != nil || string(data) != `"`+v.String()+`"` {
			t.Errorf("JSON of %s: %s, %v", v, data, err)
		}
		v.Freeze()
	}
}

// The arithmetic is that of math/big, modulo 2**128.
func TestIPAddressU128(t *testing.T) {
	toBig := func(x ipU128) *big.Int { return x.toInt().BigInt() }
	modulus := new(big.Int).Lsh(big.NewInt(1), 128)
	mod := func(b *big.Int) *big.Int { return b.Mod(b, modulus) }
	edges := []uint64{0, 1, 2, 0xffff, 1 << 31, 1 << 32, 1<<63 - 1, 1 << 63, 1<<64 - 2, 1<<64 - 1}
	var all []ipU128
	for _, hi := range edges {
		for _, lo := range edges {
			all = append(all, ipU128{hi, lo})
		}
	}
	for _, x := range all {
		if back, neg, ok := ipU128OfInt(x.toInt()); back != x || neg || !ok {
			t.Errorf("%v as an int comes back as %v", x, back)
		}
		if back := ipU128Of(x.addr(false)); back != x {
			t.Errorf("%v as an address comes back as %v", x, back)
		}
		minus := starlark.MakeInt(0).Sub(x.toInt())
		if back, neg, ok := ipU128OfInt(minus); back != x || neg != (x != ipU128{}) || !ok {
			t.Errorf("-%v as an int comes back as %v, %v", x, back, neg)
		}
		for n := range uint(129) {
			if got, want := toBig(x.shl(n)), mod(new(big.Int).Lsh(toBig(x), n)); got.Cmp(want) != 0 {
				t.Errorf("%v << %d is %v, not %v", x, n, got, want)
			}
			if got, want := toBig(x.shr(n)), new(big.Int).Rsh(toBig(x), n); got.Cmp(want) != 0 {
				t.Errorf("%v >> %d is %v, not %v", x, n, got, want)
			}
		}
		for _, y := range all {
			if got, want := toBig(x.add(y)), mod(new(big.Int).Add(toBig(x), toBig(y))); got.Cmp(want) != 0 {
				t.Errorf("%v + %v is %v, not %v", x, y, got, want)
			}
			if got, want := toBig(x.sub(y)), mod(new(big.Int).Sub(toBig(x), toBig(y))); got.Cmp(want) != 0 {
				t.Errorf("%v - %v is %v, not %v", x, y, got, want)
			}
			if got, want := x.cmp(y), toBig(x).Cmp(toBig(y)); got != want {
				t.Errorf("%v cmp %v is %d, not %d", x, y, got, want)
			}
		}
	}
	for n := range uint(129) {
		want := new(big.Int).Sub(new(big.Int).Lsh(big.NewInt(1), n), big.NewInt(1))
		if got := toBig(ipOnes(n)); got.Cmp(want) != 0 {
			t.Errorf("%d ones are %v, not %v", n, got, want)
		}
	}
}

// FuzzIPAddress: no constructor panics, and what one makes is what its String
// and its JSON stand for.
func FuzzIPAddress(f *testing.F) {
	for _, text := range []string{
		"", "/", "%", "10.1.1.1", "10.1.1.1/24", "10.1.1.0/24", "10.1.1.0/255.255.255.0", "10.1.1.0/0.0.0.255", "10.1.1.0/0000032",
		"::", "::/0", "::1%eth0", "fe80::%e/64", "fe80::1%e/64", "::ffff:1.2.3.4/104", "::ffff:1.2.3.4%e", "1:2:3:4:5:6:7::", "::%\xff/1",
		"10.1.1.01", "1.2.3.4%e", "/24", "10.1.1.0/0.255.0.255", "4294967296",
	} {
		f.Add(text)
	}
	f.Fuzz(func(t *testing.T, text string) {
		constructors := []func(starlark.Value) (starlark.Value, error){
			func(v starlark.Value) (starlark.Value, error) { return ipNoNil(NewIPAddress(v)) },
			func(v starlark.Value) (starlark.Value, error) { return ipNoNil(NewIPNetwork(v, true)) },
			func(v starlark.Value) (starlark.Value, error) { return ipNoNil(NewIPNetwork(v, false)) },
			func(v starlark.Value) (starlark.Value, error) { return ipNoNil(NewIPInterface(v)) },
		}
		in := []starlark.Value{starlark.String(text), starlark.Bytes(text), starlark.MakeBigInt(new(big.Int).SetBytes([]byte(text)))}
		if addr, length, ok := strings.Cut(text, "/"); ok {
			in = append(in, starlark.Tuple{starlark.String(addr), starlark.String(length)})
		}
		for i, construct := range constructors {
			for _, v := range in {
				x, err := construct(v)
				if err != nil {
					if x != nil || len(err.Error()) > 2000 {
						t.Errorf("constructor %d of %s: %v, %v", i, v, x, err)
					}
					continue
				}
				back, err := construct(starlark.String(x.String()))
				if err != nil {
					t.Fatalf("constructor %d of %s: %s doesn't come back: %v", i, v, x, err)
				}
				if same, err := starlark.Equal(x, back); !same || err != nil {
					t.Errorf("constructor %d of %s: %s comes back as %s (%v)", i, v, x, back, err)
				}
				hash, _ := x.Hash()
				if other, _ := back.Hash(); hash != other {
					t.Errorf("constructor %d of %s: equal values have different hashes", i, v)
				}
				if _, err := json.Marshal(x); err != nil {
					t.Errorf("constructor %d of %s: %v", i, v, err)
				}
			}
		}
	})
}
