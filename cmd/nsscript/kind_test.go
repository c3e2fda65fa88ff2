package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"nsscript/runtime/labtest"
)

// kindCase makes a link x, perhaps changes it, and says what `ip -j -d link` has to
// show then of its kind, and what its attributes are.
type kindCase struct {
	make, change, info, attributes string
}

// kind is that of the link, the name of its builtin.
func (c kindCase) kind() string {
	kind, _, _ := strings.Cut(c.make, "(")
	return kind
}

// script checks the case: what is printed on a line is checked by checkKind.
func (c kindCase) script(n int, where string) string {
	attributes := "{}"
	if c.attributes != "" {
		attributes = c.attributes
	}
	return fmt.Sprintf(`
x = %s%s)
%s
check(%d, x, %q, json.decode('''%s'''))
`, strings.TrimSuffix(c.make, ")"), where, c.change, n, c.make, attributes)
}

// checkLink is what every case does with its link.
const checkLink = `
p, q = veth("p", "q", up=True)
other = netns("other")
filler = [veth(ns=other) for _ in range(3)]   # so that indexes differ

def plain(v):
    return {str(key): v[key] for key in v} if type(v) == "dict" else v

def check(n, x, birth, attributes):
    if x.kind in ("vlan", "macvlan", "ipvlan", "macsec") or "dev=p" in birth:
        expect.eq(x.parent, p, birth)
    ns, before = x.ns, len(x.ns.links)
    shown = json.decode(exec_in(ns, "ip -j -d link show x").stdout)[0]["linkinfo"]
    json.encode(x)
    print(json.encode({"case": n, "attributes": {name: plain(getattr(x, name)) for name in attributes},
        "kind": shown["info_kind"], "info": shown.get("info_data", {})}))
    delete(x)
    expect.eq(len(ns.links), before - 1, birth)
`

// TestKinds holds every kind of link with its options against what `ip` reads, in
// the parent's namespace and, the first of each kind, in another, in one lab for each
// kind.
func TestKinds(t *testing.T) {
	labtest.Need(t, "iproute2")
	kinds := map[string][]kindCase{}
	for _, c := range slices.Concat(kindCases, encapCases) {
		kinds[c.kind()] = append(kinds[c.kind()], c)
	}
	for _, kind := range slices.Sorted(maps.Keys(kinds)) {
		t.Run(kind, func(t *testing.T) { checkKinds(t, kinds[kind]) })
	}
}

func checkKinds(t *testing.T, cases []kindCase) {
	t.Helper()
	script := checkLink
	links := 0
	for n, c := range cases {
		script += c.script(n, "")
		links++
		if n == 0 || strings.Contains(c.make, "dev=p") { // a move takes the kernel its time
			script += c.script(n, ", ns=other")
			links++
		}
	}
	o := finish(t, nsscript(t, "-q", scriptFile(t, script)))
	if o.code == exitCannot {
		labtest.Lacks(t, "kinds", o.stderr)
	}
	if o.code != exitOK {
		t.Fatalf("exit status %d\n%s\n%s", o.code, o.stderr, o.stdout)
	}
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(lines) != links {
		t.Fatalf("%d links were checked, not %d", len(lines), links)
	}
	for _, line := range lines {
		got := decoded(t, line).(map[string]any)
		checkKind(t, cases[int(got["case"].(float64))], got)
	}
}

func checkKind(t *testing.T, c kindCase, got map[string]any) {
	t.Helper()
	if c.attributes != "" {
		if diff := cmp.Diff(decoded(t, c.attributes), got["attributes"]); diff != "" {
			t.Errorf("%s: attributes: %s", c.make, diff)
		}
	}
	shown, _ := got["info"].(map[string]any)
	for key, want := range decoded(t, c.info).(map[string]any) {
		if diff := cmp.Diff(want, shown[key]); diff != "" {
			t.Errorf("%s: ip shows %s: %s\n%v", c.make, key, diff, shown)
		}
	}
	if got["kind"] != c.kind() {
		t.Errorf("%s: ip says that it is a %v", c.make, got["kind"])
	}
}

func decoded(t *testing.T, text string) (v any) {
	t.Helper()
	if err := json.Unmarshal([]byte(text), &v); err != nil {
		t.Fatal(fmt.Errorf("%q: %w", text, err))
	}
	return v
}
