package main

import (
	"encoding/json"
	"fmt"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nsscript/runtime/labtest"
)

// routingCase makes one object by an expression in the lab of routingLab.
type routingCase struct {
	make string // the expression
	show string // the arguments of the `ip -j` that lists such objects
	// want are fields that one object of that list has to have while it is there,
	// and none when it is deleted.
	want string
	// fields are those of what the expression returned.
	fields string
}

// routingLab is what the cases find: links with addresses and neighbours.
const routingLab = `
a, b = veth("a", "b", addr=["10.0.0.1/24", "10.0.1.1/24", "fd00::1/64"], up=True)
c, d = veth("c", "d", addr=["10.0.2.1/24", "fd02::1/64"], up=True)
up(b, d)
ready(root)
def plain(v): return v.name if type(v) == "link" else v
nexthop(root, 1, via="10.0.0.2", dev=a)
nexthop(root, 2, via="10.0.1.2", dev=a)
nexthop(root, 3, via="fd00::2", dev=a)
nexthop(root, 4, via="192.0.2.1", fdb=True)
catch(lambda: route(root, 999, via="10.0.0.2"))   # the kernel loads MPLS, if it has it
catch(lambda: sysctl(root, "net.mpls.platform_labels", 1000))
exec_in(root, "ip link add xf type xfrm dev lo if_id 99 && ip link del xf", check=False)   # and encap xfrm
`

var nexthopCases = []routingCase{
	{`nexthop(root, 7, via="10.0.0.9", dev=a)`, "nexthop", `{"id": 7, "gateway": "10.0.0.9", "dev": "a", "scope": "link"}`,
		`{"id": 7, "via": "10.0.0.9", "dev": "a", "scope": "link", "proto": "unspec", "onlink": false, "blackhole": false, "fdb": false, "group": null, "type": null}`},
	{`nexthop(root, 4294967295, via="fd00::9", dev=a, proto="static")`, "nexthop", `{"id": 4294967295, "gateway": "fd00::9", "dev": "a", "protocol": "static"}`,
		`{"id": 4294967295, "via": "fd00::9", "dev": "a", "proto": "static"}`},
	{`nexthop(root, 7, via="192.0.2.9", dev=a, onlink=True, proto=77)`, "nexthop", `{"id": 7, "gateway": "192.0.2.9", "dev": "a", "flags": ["onlink"], "protocol": "77"}`,
		`{"via": "192.0.2.9", "onlink": true, "proto": "77"}`},
	{`nexthop(root, 7, dev=a, family=6)`, "nexthop", `{"id": 7, "dev": "a"}`, `{"via": null, "dev": "a"}`},
	{`nexthop(root, 7, blackhole=True)`, "nexthop", `{"id": 7, "blackhole": null}`, `{"blackhole": true, "via": null}`},
	{`nexthop(root, 7, via="fd00::9", fdb=True)`, "nexthop", `{"id": 7, "gateway": "fd00::9", "fdb": null}`, `{"fdb": true, "dev": null}`},
	{`nexthop(root, 7, group=[4], fdb=True)`, "nexthop", `{"id": 7, "group": [{"id": 4}], "fdb": null}`, `{"fdb": true, "group": [[4, 1]]}`},
	{`nexthop(root, 7, group=[(1, 256), 2])`, "nexthop", `{"id": 7, "group": [{"id": 1, "weight": 256}, {"id": 2}]}`,
		`{"group": [[1, 256], [2, 1]], "type": "mpath", "buckets": null, "idle_timer": null}`},
	{`nexthop(root, 7, group=[1, (2, 3)], type="resilient", buckets=16, idle_timer="90s", unbalanced_timer="40s")`, "nexthop",
		`{"id": 7, "type": "resilient", "resilient_args": {"buckets": 16, "idle_timer": 90, "unbalanced_timer": 40, "unbalanced_time": 0}}`,
		`{"type": "resilient", "buckets": 16, "idle_timer": 90, "unbalanced_timer": 40}`},
	{`nexthop(root, 2, via="10.0.1.3", dev=a, replace=True)`, "nexthop", `{"id": 2, "gateway": "10.0.1.3"}`, `{"id": 2, "via": "10.0.1.3"}`},
	{`route(root, "192.0.2.0/24", nhid=1)`, "route", `{"dst": "192.0.2.0/24", "nhid": 1, "gateway": "10.0.0.2"}`, `{"nhid": 1, "via": "10.0.0.2", "scope": "global"}`},
	{`route(root, "2001:db8::/32", nhid=3)`, "-6 route", `{"dst": "2001:db8::/32", "nhid": 3, "gateway": "fd00::2"}`, `{"nhid": 3, "via": "fd00::2"}`},
}

// TestNexthops holds nexthop objects against what `ip` reads.
func TestNexthops(t *testing.T) { testRouting(t, nexthopCases) }

// rareEncap are encapsulations that Debian's kernel has not either.
var rareEncap = regexp.MustCompile(`encap (ila|rpl|ioam6):`)

// result is what one case prints.
type result struct {
	Error, Kind  string
	Fields       map[string]any
	While, After string
}

// testRouting runs the cases one after the other in one lab.
func testRouting(t *testing.T, cases []routingCase) {
	t.Helper()
	labtest.Need(t, "iproute2", "ipv6")
	var script strings.Builder
	script.WriteString(routingLab)
	for i, c := range cases {
		fmt.Fprintf(&script, `
def case_%d():
    x = %s
    fields = {n: plain(getattr(x, n)) for n in json.decode('''%s''')}
    show = lambda: exec_in(root, "ip -j -d %s").stdout
    there = show()
    delete(x)
    return dict(Fields=fields, While=there, After=show())

failed = catch(lambda: print(json.encode(case_%d())))
if failed:
    print(json.encode(dict(Error=failed.message, Kind=failed.kind)))
`, i, c.make, c.fields, c.show, i)
	}
	cmd := nsscript(t, "-q", scriptFile(t, script.String()))
	var err error
	if cmd.Dir, err = filepath.Abs("../../testdata/bpf"); err != nil { // where the programs of routes are
		t.Fatal(err)
	}
	o := finish(t, cmd)
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if o.code != exitOK || len(lines) != len(cases) {
		t.Fatalf("exit status %d, %d results of %d\n%s", o.code, len(lines), len(cases), o.stderr)
	}
	for i, c := range cases {
		t.Run(c.make, func(t *testing.T) { c.check(t, lines[i]) })
	}
}

func (c *routingCase) check(t *testing.T, line string) {
	var r result
	if err := json.Unmarshal([]byte(line), &r); err != nil {
		t.Fatal(err)
	}
	if r.Kind == "missing" {
		feature := "kinds"
		if rareEncap.MatchString(r.Error) {
			feature = "encaps"
		}
		labtest.Lacks(t, feature, r.Error)
	}
	if strings.Contains(r.Error, "Unsupported Flavor") {
		labtest.Lacks(t, "flavors", r.Error)
	}
	if strings.Contains(c.make, ".o") && strings.Contains(r.Error, "not permitted") {
		labtest.Lacks(t, "root", r.Error)
	}
	if r.Error != "" {
		t.Fatal(r.Error)
	}
	if diff := cmp.Diff(decoded(t, c.fields), any(r.Fields)); diff != "" {
		t.Errorf("fields: %s", diff)
	}
	if !c.shown(t, r.While) {
		t.Errorf("ip shows no %s:\n%s", c.want, r.While)
	}
	if c.shown(t, r.After) {
		t.Errorf("ip shows it still when it is deleted:\n%s", r.After)
	}
}

// shown tells whether an object of a list of `ip -j` has the fields.
func (c *routingCase) shown(t *testing.T, list string) bool {
	t.Helper()
	if strings.TrimSpace(list) == "" {
		return false
	}
	want := decoded(t, c.want).(map[string]any)
	objects := decoded(t, list).([]any)
	for _, o := range objects { // the addresses of a link are within it
		if addrs, ok := o.(map[string]any)["addr_info"].([]any); ok {
			objects = append(objects, addrs...)
		}
	}
next:
	for _, o := range objects {
		for key, value := range want {
			have, ok := o.(map[string]any)[key]
			if !ok || !cmp.Equal(value, have) {
				continue next
			}
		}
		return true
	}
	return false
}
