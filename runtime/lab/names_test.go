package lab

import (
	"os"
	"path/filepath"
	"testing"
)

// TestNamesOfIproute2: tables, protocols, scopes and realms by the names of its files.
func TestNamesOfIproute2(t *testing.T) {
	own, usual := t.TempDir(), t.TempDir()
	defer func(dirs []string) { nameDirs = dirs }(nameDirs)
	nameDirs = []string{own, usual}
	for path, text := range map[string]string{
		own + "/rt_tables":          "# numbers\n100 blue # the first\n0x65\tred\n102\n4294967296 great\nx odd\n",
		own + "/rt_tables.d/a.conf": "103 green\n100 azure\n",
		own + "/rt_tables.d/README": "104 grey\n",
		usual + "/rt_tables":        "200 blue\n201 brown\n",
		own + "/rt_protos":          "77 mine\n256 great\n",
		own + "/rt_scopes":          "50 near\n",
		own + "/rt_realms":          "7 inside\n",
	} {
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	realms := func(name string) (int, error) {
		n, err := ParseRealms(name)
		return int(n), err
	}
	for _, c := range []struct {
		find func(string) (int, error)
		name string
		want int // -1 for none
	}{
		{Table, "blue", 100}, {Table, "red", 101}, {Table, "green", 103}, {Table, "azure", 100}, {Table, "brown", 201}, {Table, "main", 254}, {Table, "102", 102},
		{Table, "grey", -1}, {Table, "great", -1}, {Table, "odd", -1}, {Table, "Blue", -1}, {Table, "#", -1}, {Table, "", -1},
		{RouteProtocol, "mine", 77}, {RouteProtocol, "static", 4}, {RouteProtocol, "great", -1},
		{Scope, "near", 50}, {Scope, "link", 253}, {Scope, "far", -1},
		{realms, "inside", 7}, {realms, "inside/9", 7<<16 | 9}, {realms, "9/inside", 9<<16 | 7}, {realms, "outside", -1},
	} {
		got, err := c.find(c.name)
		if c.want < 0 && err == nil || c.want >= 0 && (err != nil || got != c.want) {
			t.Errorf("%q is %d, %v; want %d", c.name, got, err, c.want)
		}
	}
}
