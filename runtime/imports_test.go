package runtime_test

import (
	"go/parser"
	"go/token"
	"io/fs"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
)

// allowed says which packages of ours each folder may import: the house has one
// arrow (docs/architecture.md).
var allowed = map[string][]string{
	"runtime/bpf":      {},
	"runtime/event":    {},
	"runtime/inherit":  {},
	"runtime/netns":    {},
	"runtime/sandbox":  {"runtime/sandbox/again"},
	"runtime/process":  {},
	"runtime/probe":    {"runtime/netns", "runtime/packet"},
	"runtime/packet":   {},
	"runtime/firewall": {},
	"runtime/iproute":  {"runtime/event"},
	"runtime/feature":  {"runtime/netns"},
	"runtime/world":    {"runtime/netns", "runtime/sandbox"},
	"runtime/lab":      {"runtime/bpf", "runtime/event", "runtime/feature", "runtime/firewall", "runtime/inherit", "runtime/netns", "runtime/packet", "runtime/process", "runtime/probe", "runtime/world"},
	"builtins/std":     {},
	"builtins":         {"builtins/std", "runtime/event", "runtime/firewall", "runtime/lab", "runtime/packet", "runtime/process", "runtime/probe"},
	"runtime/script":   {"builtins", "builtins/std", "runtime/event", "runtime/lab"},
	"runtime/suite":    {},
	"runtime/labtest":  {"runtime/netns", "runtime/sandbox"},
	"cmd/nsscript":     {"cmd/nsscript/early", "builtins", "runtime/event", "runtime/feature", "runtime/inherit", "runtime/iproute", "runtime/lab", "runtime/netns", "runtime/sandbox", "runtime/sandbox/again", "runtime/script", "runtime/suite"},

	// What is initialized first imports next to nothing.
	"runtime/sandbox/again": {},
	"cmd/nsscript/early":    {"runtime/inherit", "runtime/sandbox/again"},
}

// outside says who alone may import a library.
var outside = map[string][]string{
	"go.starlark.net":                {"builtins", "runtime/script"},
	"github.com/vishvananda/netlink": {"runtime/feature", "runtime/lab"},
	"github.com/vishvananda/netns":   {"runtime/netns"},
	"github.com/google/nftables":     {"runtime/firewall"},
	"github.com/spf13/pflag":         {"cmd/nsscript"},
}

// TestImports holds every file that is no test to the one arrow.
func TestImports(t *testing.T) {
	err := filepath.WalkDir("..", func(path string, d fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		if d.IsDir() && (d.Name() == "testdata" || strings.HasPrefix(d.Name(), ".") && path != "..") {
			return fs.SkipDir
		}
		if strings.HasSuffix(path, ".go") && !strings.HasSuffix(path, "_test.go") {
			checkFile(t, path)
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
}

func checkFile(t *testing.T, path string) {
	t.Helper()
	f, err := parser.ParseFile(token.NewFileSet(), path, nil, parser.ImportsOnly)
	if err != nil {
		t.Error(err)
		return
	}
	folder := strings.TrimPrefix(filepath.ToSlash(filepath.Dir(path)), "../")
	ours, known := allowed[folder]
	if !known {
		t.Errorf("%s: say in this test what %s may import", path, folder)
	}
	for _, spec := range f.Imports {
		name, _ := strconv.Unquote(spec.Path.Value)
		if own, ok := strings.CutPrefix(name, "nsscript/"); ok && !slices.Contains(ours, own) {
			t.Errorf("%s imports %s, which is against the arrow", path, own)
		}
		for library, who := range outside {
			if (name == library || strings.HasPrefix(name, library+"/")) && !slices.Contains(who, folder) {
				t.Errorf("%s imports %s, which is for %v", path, name, who)
			}
		}
	}
}
