package sandbox_test

import (
	"os"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestNeighborTableFull: a probe that is lost to the machine's full neighbour table
// says so. The limit is lowered, so the machine has to be a throwaway.
func TestNeighborTableFull(t *testing.T) {
	labtest.Need(t, "kernel")
	const dir = "/proc/sys/net/ipv4/neigh/default/"
	for _, name := range []string{"gc_thresh1", "gc_thresh2", "gc_thresh3"} {
		before, err := os.ReadFile(dir + name)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = os.WriteFile(dir+name, before, 0o644) })
		if err := os.WriteFile(dir+name, []byte("6"), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	out := runScript(t, `load("@topo", "star")
print(ping_all(star(6).hosts, timeout="2s"))
`, "")
	if !strings.Contains(out, "gc_thresh3 is 6)") || !strings.Contains(out, "the machine's neighbour table") {
		t.Errorf("it does not say that the table is full:\n%s", out)
	}
}
