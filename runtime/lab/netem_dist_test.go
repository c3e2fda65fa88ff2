package lab

import (
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// TestNetemTables holds the tables against the files that tc reads.
func TestNetemTables(t *testing.T) {
	ours := map[string]func() []int{"normal": normalTable, "pareto": paretoTable, "paretonormal": paretonormalTable, "experimental": experimentalTable}
	if len(ours) != len(netemTables) || len(ours) != len(netemDistributions.Words) {
		t.Errorf("%d tables, %d made, %d named", len(ours), len(netemTables), len(netemDistributions.Words))
	}
	for name, table := range ours {
		if n := len(netemTables[name]()); n != 2*4096 {
			t.Errorf("%s has %d bytes", name, n)
		}
		file := distFile(name)
		if file == "" {
			t.Logf("no %s.dist here", name)
			continue
		}
		theirs, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		_, numbers, _ := strings.Cut(string(theirs), "\n") // a comment
		var want []int
		for _, word := range strings.Fields(numbers) {
			n, err := strconv.Atoi(word)
			if err != nil {
				t.Fatal(err)
			}
			want = append(want, n)
		}
		got := table()
		got[0] = max(got[0], math.MinInt16) // as netemTable does
		if !slices.Equal(got, want) {
			for i := range min(len(got), len(want)) {
				if got[i] != want[i] {
					t.Errorf("%s: value %d is %d, in %s %d", name, i, got[i], file, want[i])
					break
				}
			}
		}
	}
}

// distFile is where iproute2 keeps a table, or "".
func distFile(name string) string {
	for _, pattern := range []string{"/usr/lib/tc/", "/usr/lib/*/tc/", "/usr/lib64/tc/", "/usr/share/tc/"} {
		if found, _ := filepath.Glob(pattern + name + ".dist"); len(found) > 0 {
			return found[0]
		}
	}
	return ""
}
