package builtins

import (
	"slices"
	"testing"
)

// TestFamilies: the names of each family are those of its Specs, in their order,
// and none is there twice.
func TestFamilies(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range registry() {
		var names []string
		for _, s := range f.specs() {
			names = append(names, s.Name)
			if seen[s.Name] {
				t.Errorf("there are two builtins %s", s.Name)
			}
			seen[s.Name] = true
		}
		if !slices.Equal(f.names, names) {
			t.Errorf("the registry has %q, the Specs are %q", f.names, names)
		}
	}
}
