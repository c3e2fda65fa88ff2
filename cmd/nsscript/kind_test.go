package main

import (
	"encoding/json"
	"fmt"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nsscript/runtime/labtest"
)

// kindCases make a link x with every option of its kind, and say what `ip -j -d
// link` has to show of them and what the link's attributes are.
var kindCases = []struct {
	make, info, attributes string
}{
	{`dummy("x", mtu=1400)`, `{}`, `{}`},
	{`ifb("x")`, `{}`, `{}`},
	{`vlan("x", parent=p, id=7)`, `{"flags": ["REORDER_HDR"], "id": 7, "protocol": "802.1Q"}`,
		`{"id": 7, "protocol": "802.1Q", "reorder_hdr": true, "gvrp": false, "mvrp": false, "loose_binding": false, "bridge_binding": false}`},
	{`vlan("x", parent=p, id=4094, protocol="802.1ad", reorder_hdr=False, gvrp=True, mvrp=True, loose_binding=True, bridge_binding=True)`,
		`{"flags": ["GVRP", "MVRP", "LOOSE_BINDING", "BRIDGE_BINDING"], "id": 4094, "protocol": "802.1ad"}`,
		`{"id": 4094, "protocol": "802.1ad", "reorder_hdr": false, "gvrp": true, "mvrp": true, "loose_binding": true, "bridge_binding": true}`},
	{`macvlan("x", parent=p, mode="private", flag="nodst", bcqueuelen=77)`, `{"mode": "private", "nodst": true, "bcqueuelen": 77, "usedbcqueuelen": 77}`,
		`{"mode": "private", "flag": "nodst", "bcqueuelen": 77}`},
	{`macvlan("x", parent=p, mode="passthru", flag="nopromisc")`, `{"mode": "passthru", "nopromisc": true, "bcqueuelen": 1000, "usedbcqueuelen": 1000}`,
		`{"mode": "passthru", "flag": "nopromisc", "bcqueuelen": 1000}`},
	{`macvlan("x", parent=p, mode="vepa")`, `{"mode": "vepa", "bcqueuelen": 1000, "usedbcqueuelen": 1000}`, `{"mode": "vepa", "flag": "null", "bcqueuelen": 1000}`},
	{`macvlan("x", parent=p, mode="bridge")`, `{"mode": "bridge", "bcqueuelen": 1000, "usedbcqueuelen": 1000}`, `{"mode": "bridge", "flag": "null", "bcqueuelen": 1000}`},
	{`ipvlan("x", parent=p, mode="l2", flag="private")`, `{"mode": "l2", "private": true}`, `{"mode": "l2", "flag": "private"}`},
	{`ipvlan("x", parent=p, mode="l3", flag="vepa")`, `{"mode": "l3", "vepa": true}`, `{"mode": "l3", "flag": "vepa"}`},
	{`ipvlan("x", parent=p, mode="l3s")`, `{"mode": "l3s", "bridge": true}`, `{"mode": "l3s", "flag": "bridge"}`},
	{`vxlan("x", id=1)`, `{"id": 1, "port": 8472, "learning": true, "ageing": 300,
		"udp_csum": true, "udp_zero_csum6_tx": false, "udp_zero_csum6_rx": false, "ttl": 0, "df": "unset"}`,
		`{"id": 1, "dstport": 8472, "learning": true, "ageing": 300.0, "udpcsum": true, "external": false, "tos": 0, "ttl": 0, "df": "unset", "flowlabel": 0}`},
	{`vxlan("x", id=16777215, remote="10.0.0.9", local="10.0.0.1", dev=p, ttl=64, tos="inherit", df="set", dstport=4789, srcport="32768-60999",
	learning=False, proxy=True, rsc=True, l2miss=True, l3miss=True, ageing="60s", maxaddress=100, udpcsum=False, gbp=True)`,
		`{"id": 16777215, "remote": "10.0.0.9", "local": "10.0.0.1", "port_range": {"low": 32768, "high": 60999}, "port": 4789, "learning": false,
		"proxy": true, "rsc": true, "l2miss": true, "l3miss": true, "tos": "0x1", "ttl": 64, "df": "set", "ageing": 60, "limit": 100, "udp_csum": false, "gbp": true}`, `{"id": 16777215, "remote": "10.0.0.9", "local": "10.0.0.1", "ttl": 64, "tos": "inherit", "df": "set", "dstport": 4789, "srcport": "32768-60999",
		"learning": false, "proxy": true, "rsc": true, "l2miss": true, "l3miss": true, "ageing": 60.0, "maxaddress": 100, "udpcsum": false, "gbp": true}`},
	{`vxlan("x", id=2, group="239.1.1.1", dev=p, ttl="inherit")`, `{"group": "239.1.1.1"}`, `{"remote": "239.1.1.1", "ttl": "inherit"}`},
	{`vxlan("x", id=3, remote="fd00::9", local="fd00::1", flowlabel=1048575, udp6zerocsumtx=True, udp6zerocsumrx=True)`,
		`{"remote6": "fd00::9", "local6": "fd00::1", "label": "0xfffff", "udp_zero_csum6_tx": true, "udp_zero_csum6_rx": true}`, `{"remote": "fd00::9", "local": "fd00::1", "flowlabel": 1048575, "udp6zerocsumtx": true, "udp6zerocsumrx": true}`},
	{`vxlan("x", external=True, gpe=True, learning=False)`, `{"external": true, "gpe": true}`, `{"external": true, "gpe": true}`},
	{`vrf("x", table=77)`, `{"table": 77}`, `{"table": 77}`},
}

// TestKinds holds every kind of link with its options against what `ip` reads, in
// the parent's namespace and in another.
func TestKinds(t *testing.T) {
	labtest.Need(t, "iproute2")
	for _, c := range kindCases {
		for _, where := range []string{"", ", ns=other"} {
			t.Run(c.make+where, func(t *testing.T) {
				checkKind(t, strings.TrimSuffix(c.make, ")")+where+")", c.info, c.attributes)
			})
		}
	}
}

func checkKind(t *testing.T, birth, info, attributes string) {
	t.Helper()
	cmd := nsscript(t, "-q", scriptFile(t, `
p, q = veth("p", "q", up=True)
other = netns("other")
filler = [veth(ns=other) for _ in range(3)]   # so that indexes differ
x = `+birth+`
want = json.decode('''`+attributes+`''')
print(json.encode({name: getattr(x, name) for name in want}))
if x.kind in ("vlan", "macvlan", "ipvlan") or "dev=p" in '''`+birth+`''':
    expect.eq(x.parent, p)
print(exec_in(x.ns, "ip -j -d link show x").stdout)
before = len(x.ns.links)
ns = x.ns
delete(x)
expect.eq(len(ns.links), before - 1)
`))
	o := finish(t, cmd)
	if o.code == exitCannot && strings.Contains(o.stderr, "no links of kind") {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	if o.code != exitOK {
		t.Fatalf("exit status %d\n%s", o.code, o.stderr)
	}
	ours, theirs, _ := strings.Cut(o.stdout, "\n")
	if diff := cmp.Diff(decoded(t, attributes), decoded(t, ours)); diff != "" {
		t.Errorf("attributes: %s", diff)
	}
	list, _ := decoded(t, theirs).([]any)
	if len(list) != 1 {
		t.Fatalf("ip shows %s", theirs)
	}
	link, _ := list[0].(map[string]any)["linkinfo"].(map[string]any)
	shown, _ := link["info_data"].(map[string]any)
	for key, want := range decoded(t, info).(map[string]any) {
		if diff := cmp.Diff(want, shown[key]); diff != "" {
			t.Errorf("ip shows %s: %s\n%v", key, diff, shown)
		}
	}
	if kind, _, _ := strings.Cut(birth, "("); link["info_kind"] != kind {
		t.Errorf("ip says that it is a %v", link["info_kind"])
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(fmt.Errorf("%q: %w", text, err))
	}
	return v
}
