package runtime_test

import (
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// linked is what the program is made of beside Go's net/http and what that takes
// itself (http() and TLS are in it), and why: each package costs every run some of
// its start, twice, whether a script uses it or not (docs/performance.md).
var linked = map[string]string{
	"go.starlark.net":                "the language",
	"github.com/vishvananda/netlink": "netlink messages",
	"github.com/vishvananda/netns":   "entering namespaces",
	"github.com/spf13/pflag":         "the command line",
	"github.com/creack/pty":          "exec_in(tty=True)",
	"github.com/mdlayher/ndp":        "radvd()",
	"github.com/google/nftables":     "firewall()",
	"github.com/mdlayher/netlink":    "with nftables",
	"github.com/mdlayher/socket":     "with nftables",
	"golang.org/x/sync":              "with nftables",
	"golang.org/x/net":               "messages of DNS, and of NDP",
	"golang.org/x/sys":               "system calls",
	"golang.org/x/text":              "with golang.org/x/net/idna, with ndp",

	"embed":         "the standard library, in Starlark",
	"encoding":      "interfaces of encoding/json and net",
	"encoding/csv":  "table()",
	"encoding/json": "json, --events, doctor --json",
	"flag":          "pflag takes it",
	"hash/fnv":      "Starlark takes it",
	"hash/maphash":  "Starlark takes it",
	"os/exec":       "exec_in(), spawn()",
	"os/signal":     "Ctrl-C",
	"os/user":       "exec_in(user=)",
	"regexp":        "re",
	"regexp/syntax": "re",
	"runtime/debug": "--version, and traces of our own bugs",
}

// TestLinked holds what the program is made of to that list. (A library for BPF
// once made each start a tenth longer, unnoticed.)
func TestLinked(t *testing.T) {
	labtest.Need(t, "go")
	takes := func(pkg string) []string {
		out, err := exec.Command("go", "list", "-deps", "-f", "{{with .Module}}{{.Path}}{{else}}{{.ImportPath}}{{end}}", pkg).Output()
		if err != nil {
			t.Fatal(err)
		}
		return strings.Fields(string(out))
	}
	http := map[string]bool{"nsscript": true}
	for _, name := range takes("net/http") {
		http[name] = true
	}
	seen := map[string]bool{}
	for _, name := range takes("nsscript/cmd/nsscript") {
		if seen[name] || http[name] || strings.Contains("/"+name+"/", "/internal/") || strings.HasPrefix(name, "vendor/") {
			continue
		}
		seen[name] = true
		if linked[name] == "" {
			t.Errorf("the program is made of %s now, too: say in this test what for, when nothing lighter does, or take it out", name)
		}
	}
	for name := range linked {
		if !seen[name] {
			t.Errorf("the program has no %s any more", name)
		}
	}
}

// TestNothingIsCompiledAtStart: a regular expression of a package costs every start up
// to a millisecond; sync.OnceValue compiles it when it is used.
func TestNothingIsCompiledAtStart(t *testing.T) {
	early := regexp.MustCompile(`(?m)^(?:var |\t)\w+ += regexp\.MustCompile`)
	for _, dir := range []string{"../builtins", "../cmd", "."} {
		err := filepath.WalkDir(dir, func(path string, _ fs.DirEntry, err error) error {
			if err != nil || !strings.HasSuffix(path, ".go") || strings.HasSuffix(path, "_test.go") {
				return err
			}
			text, err := os.ReadFile(path)
			if found := early.Find(text); found != nil {
				t.Errorf("%s: %s", path, found)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
