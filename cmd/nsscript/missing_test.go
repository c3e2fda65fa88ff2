package main

import (
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"

	"nsscript/builtins"
	"nsscript/runtime/feature"
	"nsscript/runtime/labtest"
)

// TestMissingKinds: a kind of link that the kernel lacks is an error with the words of
// doctor, it leaves nothing behind, and a script that wants it ends with 3.
func TestMissingKinds(t *testing.T) {
	labtest.Need(t, "sandbox")
	o := finish(t, nsscript(t, "doctor", "--json"))
	var d diagnosis
	if err := json.Unmarshal([]byte(o.stdout), &d); err != nil {
		t.Fatal(err, o.stderr)
	}
	script := "a, b = veth(\"a\", \"b\")\ndef no(make):\n    e = catch(make)\n    print(json.encode([e.message, e.hint, e.kind]))\n"
	var missing []kernelFeature
	call := func(kind string) string {
		s, _ := builtins.Find(kind)
		var args []string
		if slices.ContainsFunc(s.Params, func(p builtins.Param) bool { return p.Name == "parent" }) {
			args = append(args, "parent=a")
		}
		if needs := labtest.KindNeeds[kind]; needs != "" {
			args = append(args, needs)
		}
		return fmt.Sprintf("%s(%s)", kind, strings.Join(append([]string{`"x"`}, args...), ", "))
	}
	for _, f := range d.Features {
		if s, _ := builtins.Find(f.Name); f.Family != feature.Link || f.Status != feature.Missing || s == nil {
			continue
		}
		missing = append(missing, f)
		script += "no(lambda: " + call(f.Name) + ")\n"
	}
	if missing == nil {
		t.Skip("this kernel has every kind")
	}
	o = runs(t, exitOK, nsscript(t, "-q", scriptFile(t, script+"expect.eq([l.name for l in root.links], [\"lo\", \"a\", \"b\"])\n")))
	lines := strings.Split(strings.TrimSpace(o.stdout), "\n")
	if len(lines) != len(missing) {
		t.Fatalf("%d errors of %d kinds: %s", len(lines), len(missing), o.stdout)
	}
	for i, f := range missing {
		var said []string
		if err := json.Unmarshal([]byte(lines[i]), &said); err != nil {
			t.Fatal(err)
		}
		if !strings.Contains(said[0], "this kernel has no links of kind "+f.Name+":") || said[1] != f.Advice || said[2] != "missing" {
			t.Errorf("%s: %q, and doctor says %q", f.Name, said, f.Advice)
		}
	}
	runs(t, exitCannot, nsscript(t, scriptFile(t, "a, b = veth(\"a\", \"b\")\n"+call(missing[len(missing)-1].Name)+"\n")))
}

// TestMissingSysctl: settings of what the kernel lacks are missing in doctor's words.
func TestMissingSysctl(t *testing.T) {
	labtest.Need(t, "sandbox")
	var d diagnosis
	if err := json.Unmarshal([]byte(finish(t, nsscript(t, "doctor", "--json")).stdout), &d); err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(d.Features, func(f kernelFeature) bool {
		return f.Family == feature.Routing && f.Name == "MPLS" && f.Status == feature.Missing
	})
	if i < 0 {
		t.Skip("this kernel has MPLS")
	}
	o := runs(t, exitCannot, nsscript(t, scriptFile(t, `sysctl(root, "net.mpls.platform_labels", 1000)`)))
	holds(t, o.stderr, "lab.star:1:1: error: this kernel has no MPLS", d.Features[i].Advice)
}
