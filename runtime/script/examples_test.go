package script_test

import (
	"os"
	"strings"
	"testing"

	"nsscript/builtins"
	"nsscript/runtime/labtest"
)

// TestExamples runs the example of every builtin, each in a lab of its own.
func TestExamples(t *testing.T) {
	for _, s := range builtins.Specs() {
		if s.Example == "" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			o := job{Path: s.Name + ".star", Source: s.Example, Timeout: 0}.start(t)
			needKinds(t, o)
			for _, r := range o.Reports {
				t.Error(r)
			}
			if o.Ended != "" {
				t.Errorf("it ended by %s", o.Ended)
			}
			if o.Checks == 0 && s.Name != "print" {
				t.Error("the example checks nothing")
			}
		})
	}
}

// needKinds skips a test whose script this kernel cannot run.
func needKinds(t *testing.T, o outcome) {
	t.Helper()
	for _, r := range o.Reports {
		if strings.Contains(r, "this kernel has no ") {
			labtest.Lacks(t, "kinds", r)
		}
		if strings.Contains(r, "/dev/net/tun: ") {
			labtest.Lacks(t, "tun", r)
		}
	}
}

// endings are builtins whose example would be the end of the script.
var endings = map[string]bool{"fail": true, "skip": true}

// TestSpecs: what every declaration has to have.
func TestSpecs(t *testing.T) {
	seen := map[string]bool{}
	for _, s := range builtins.Specs() {
		if seen[s.Name] {
			t.Errorf("%s is declared twice", s.Name)
		}
		seen[s.Name] = true
		if s.Doc == "" || s.Family == "" {
			t.Errorf("%s has no documentation or belongs to no family", s.Name)
		}
		if !strings.HasSuffix(s.Doc, ".") {
			t.Errorf("the documentation of %s does not end with a full stop: %q", s.Name, s.Doc)
		}
		if s.Example == "" && !endings[s.Name] {
			t.Errorf("%s has no example", s.Name)
		}
		checkParams(t, s)
		page, _ := builtins.Page(s.Name)
		if !strings.HasPrefix(page, s.Signature()) || !strings.Contains(strings.ReplaceAll(page, "\n    ", "\n"), "\n"+s.Example) {
			t.Errorf("the page of %s lacks something:\n%s", s.Name, page)
		}
	}
}

func checkParams(t *testing.T, s *builtins.Spec) {
	t.Helper()
	optional, names := false, map[string]bool{}
	for _, p := range s.Params {
		if p.Name == "" || p.Doc == "" || p.Type == nil || p.Type.Name == "" {
			t.Errorf("%s: the parameter %q is not documented", s.Name, p.Name)
		}
		if names[p.Name] {
			t.Errorf("%s has two parameters %s", s.Name, p.Name)
		}
		names[p.Name] = true
		switch {
		case p.Required && optional && !p.KeywordOnly:
			t.Errorf("%s: the required parameter %s comes after optional ones", s.Name, p.Name)
		case !p.Required && !p.Variadic:
			optional = true
		}
	}
}

// TestLibraryPages: every function of the standard library has a page.
func TestLibraryPages(t *testing.T) {
	index := builtins.Index()
	for _, name := range []string{"@lab.host", "@lab.router", "@lab.switch", "@lab.connect", "connect"} {
		if page, _ := builtins.Page(name); !strings.Contains(page, "load(\"@lab\"") {
			t.Errorf("the page of %s: %q", name, page)
		}
	}
	for _, line := range strings.Split(index, "\n") {
		if f := strings.Fields(line); strings.HasPrefix(line, "  ") && !strings.HasPrefix(line, "   ") && len(f) < 2 {
			t.Errorf("the index says nothing of %q", line)
		}
	}
	if page, near := builtins.Page("brigde"); page != "" || near != "bridge" {
		t.Errorf("brigde: %q, did you mean %q", page, near)
	}
}

// TestReference: docs/reference.md is what the code says.
func TestReference(t *testing.T) {
	b, err := os.ReadFile("../../docs/reference.md")
	if err != nil {
		t.Fatal(err)
	}
	if string(b) != builtins.Reference() {
		t.Error("docs/reference.md is stale: go run ./cmd/nsscript doc --markdown > docs/reference.md")
	}
}
