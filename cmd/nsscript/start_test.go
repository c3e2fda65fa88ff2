package main

import (
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nsscript/cmd/nsscript/early"
)

// TestStartsEarly: the inner process is started before most packages of the outer
// one are initialized.
func TestStartsEarly(t *testing.T) {
	cmd := nsscript(t, "--version")
	cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1")
	_, before, found := strings.Cut(finish(t, cmd).stderr, "init ")
	before, _, _ = strings.Cut(before, "init nsscript/cmd/nsscript/early ")
	if !found || strings.Contains(before, "\ninit main ") {
		t.Fatalf("no trace of initialization:\n%s", before)
	}
	for _, late := range []string{"reflect", "fmt", "regexp", "net", "net/http", "go.starlark.net/starlark", "nsscript/builtins"} {
		if strings.Contains(before, "\ninit "+late+" ") {
			t.Errorf("%s is initialized before the inner process is started", late)
		}
	}
}

// TestEndsEarly: of the two processes of a run only one initializes all packages, as
// root and as a user without newuidmap, which PATH does not lead to here.
func TestEndsEarly(t *testing.T) {
	for text, status := range map[string]int{"": exitOK, "expect(False)": exitCheckFailed, "1 // 0": exitError, "skip('x')": exitSkipped} {
		for _, cmd := range []*exec.Cmd{nsscript(t, scriptFile(t, text)), asOrdinary(nsscript(t, scriptFile(t, text)))} {
			cmd.Env = append(os.Environ(), "GODEBUG=inittrace=1", "PATH=/no/such")
			if n := strings.Count(runs(t, status, cmd).stderr, "init nsscript/builtins "); n != 1 {
				t.Errorf("%q: %d processes initialize all packages", text, n)
			}
		}
	}
}

// TestRunsEarly: only what runs a script in a private lab is.
func TestRunsEarly(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, v := range verbs() {
		if err := os.WriteFile(v.name, nil, 0o644); err != nil { // a verb it is, all the same
			t.Fatal(err)
		}
		runs := v.name == "run" || v.name == "explain"
		if early.Runs([]string{v.name, "lab.star"}) != runs {
			t.Errorf("%s: %v", v.name, !runs)
		}
	}
	file := filepath.Join(t.TempDir(), "lab.star")
	if err := os.WriteFile(file, nil, 0o644); err != nil {
		t.Fatal(err)
	}
	for args, runs := range map[string]bool{"": false, file: true, file + " n=1 -q": true, "-q " + file: true, "-": true, "-v -": true,
		file + " --host": false, "--host=true " + file: false, "run --host --rm " + file: false, "run --help": false, file + " -h": false,
		"--version": false, "help": false, "run": false, "no/file": false, "/tmp": false,
		"-test.v -test.run=Early": false} {
		if early.Runs(strings.Fields(args)) != runs {
			t.Errorf("%q: %v", args, !runs)
		}
	}
}
