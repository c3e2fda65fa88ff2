package main

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// daemonExamples are labs of real routing daemons, in scripts/examples/daemons, each
// with mistakes that its checks have to find.
var daemonExamples = []struct {
	name    string
	mutants [][2]string
}{
	{"ospf.star", [][2]string{
		{`down(r[0]["to-r2"])`, `down(r[1]["to-r2"])`},
		{"for ns in r:\n    frr(ns, \"zebra\")\n", "for ns in r[:2]:\n    frr(ns, \"zebra\")\n"},
	}},
	{"bgp.star", [][2]string{
		{"remote-as %d", "remote-as 1%d"},
		{`"no network 10.1.0.0/16"`, `"network 10.3.0.0/16"`},
	}},
}

// example copies the folder with one text of an example changed, where any user can
// read it.
func example(t *testing.T, name, old, changed string) string {
	t.Helper()
	dir := labtest.PublicDir(t)
	for _, file := range []string{name, "frr.star"} {
		b, err := os.ReadFile(filepath.Join("../../scripts/examples/daemons", file))
		if err != nil {
			t.Fatal(err)
		}
		text := string(b)
		if file == name && old != "" {
			if strings.Count(text, old) != 1 {
				t.Fatalf("%q is there %d times, want once", old, strings.Count(text, old))
			}
			text = strings.Replace(text, old, changed, 1)
		}
		if err := os.WriteFile(filepath.Join(dir, file), []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	return filepath.Join(dir, name)
}

// TestFRR: FRR's daemons route in a lab, as root and with ranges of ids. With one id
// they cannot become their own user, and the error says what to do.
func TestFRR(t *testing.T) {
	if os.Getenv("NSSCRIPT_KERNEL") != "" {
		t.Skip("an emulator is too slow for routing daemons with timers of seconds")
	}
	labtest.Need(t, "zebra", "vtysh")
	for _, e := range daemonExamples {
		path := example(t, e.name, "", "")
		t.Run(e.name+"/root", func(t *testing.T) {
			t.Parallel()
			labtest.Need(t, "root")
			runs(t, exitOK, nsscript(t, path))
		})
		t.Run(e.name+"/several ids", func(t *testing.T) {
			t.Parallel()
			runs(t, exitOK, asSeveral(t, nsscript(t, path)))
		})
		t.Run(e.name+"/one id", func(t *testing.T) {
			t.Parallel()
			holds(t, runs(t, exitError, asOrdinary(nsscript(t, path))).stderr, "this program changes user; install uidmap and add a subuid range")
		})
		for _, m := range e.mutants {
			t.Run(e.name+"/"+m[1], func(t *testing.T) {
				t.Parallel()
				if testing.Short() {
					t.Skip("left out by -short")
				}
				labtest.Need(t, "root")
				runs(t, exitCheckFailed, nsscript(t, example(t, e.name, m[0], m[1]), "patience=8s"))
			})
		}
	}
}
