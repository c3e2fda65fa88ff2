package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

// lasting has a test that starts a program which ignores signals, leaves it, and does
// not end; the file is there when it runs.
const lasting = `
mark, ready = param("mark", ""), param("ready", "")
blue = netns("blue")
def test_lasts():
    spawn(blue, ["sh", "-c", "trap '' INT TERM; touch $0; while :; do sleep 600; done; : $1", ready, mark])
    sleep(600)
def test_well():
    expect(True)
`

// TestTestKilled: whoever is killed, a test's lab, the runner, or all of it by Ctrl-C,
// nothing is left, and what is left to say is said.
func TestTestKilled(t *testing.T) {
	for _, victim := range []string{"lab", "runner", "interrupted"} {
		t.Run(victim, func(t *testing.T) {
			mark := fmt.Sprintf("mark-%d-%s", time.Now().UnixNano(), victim)
			ready := filepath.Join(labtest.PublicDir(t), "ready")
			file := scriptFile(t, lasting)
			cmd := nsscript(t, "test", "-j", "1", file, "mark="+mark, "ready="+ready)
			var stdout, stderr strings.Builder
			cmd.Stdout, cmd.Stderr = &stdout, &stderr
			before := traces(mark)
			if err := cmd.Start(); err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = cmd.Process.Kill() })
			awaitFile(t, ready)
			kids := children(cmd.Process.Pid)
			if len(kids) != 1 {
				t.Fatalf("the runner has children %v, want one", kids)
			}
			pid, signal, status := kids[0], unix.SIGKILL, exitError
			switch victim {
			case "runner":
				pid, status = cmd.Process.Pid, -1
			case "interrupted":
				pid, signal, status = cmd.Process.Pid, unix.SIGINT, exitInterrupted
			}
			if err := unix.Kill(pid, signal); err != nil {
				t.Fatal(err)
			}
			if code := await(t, cmd); code != status {
				t.Errorf("exit status %d, want %d", code, status)
			}
			switch victim {
			case "lab":
				holds(t, stdout.String(), "ERROR "+file+":test_lasts (", "ended by signal 9", "2 tests in", "1 passed, 1 error")
			case "interrupted":
				holds(t, stdout.String(), "2 not run")
				holds(t, stderr.String(), "nsscript: interrupted after 0 tests")
			}
			nothingNew(t, before, mark)
		})
	}
}

// awaitFile waits, as long as patience lasts, until there is a file.
func awaitFile(t *testing.T, path string) {
	t.Helper()
	for began := time.Now(); ; time.Sleep(10 * time.Millisecond) {
		if _, err := os.Stat(path); err == nil {
			return
		}
		if time.Since(began) > patience {
			t.Fatalf("%s did not come", path)
		}
	}
}

// TestTestRootless: an ordinary user's tests run, too.
func TestTestRootless(t *testing.T) {
	file := scriptFile(t, "blue = netns('blue')\ndef test_a():\n    netns('red')\ndef test_b():\n    netns('red')\n")
	holds(t, runs(t, exitOK, asOrdinary(nsscript(t, "test", file))).stdout, "2 passed")
}
