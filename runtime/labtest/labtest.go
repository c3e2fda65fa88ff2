// Package labtest lets tests use the real kernel without root and without
// touching the machine: [Main] runs a package's tests in a private lab of their
// own, [Need] says what a test cannot do without, and [Binary] builds nsscript
// for tests that drive it as users do.
package labtest

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
	"nsscript/runtime/sandbox"
)

func init() {
	// The inner process dies with the thread that started it, and pid 1's first
	// thread reaps: main stays where it is.
	netns.Pin()
}

// entered is the private lab that the tests run in, or nil.
var entered *sandbox.State

// noSandbox is why there is none, when [Main] tried to make one.
var noSandbox error

// Main runs a package's tests in a private lab: call it from TestMain. Where
// this machine does not allow one, the tests run where they are, and those that
// Need("sandbox") are skipped.
func Main(m *testing.M) {
	if fuzzing() && !sandbox.Inside() {
		// The fuzzer talks to its workers by descriptors that another start of
		// the program would lose.
		noSandbox = errors.New("no private lab while fuzzing")
		Outside(m)
	}
	if !sandbox.Inside() {
		status, err := runInside()
		if err == nil {
			os.Exit(status)
		}
		noSandbox = err
		Outside(m)
	}
	var err error
	wd, _ := os.Getwd()
	exe, _ := os.Executable()
	entered, err = sandbox.Enter(wd, filepath.Dir(exe), os.TempDir(), os.Getenv("GOCACHE"), filepath.Dir(os.Getenv("NSSCRIPT_BINARY")))
	if err != nil {
		fmt.Fprintf(os.Stderr, "private lab for the tests: %v\n", err)
		os.Exit(1)
	}
	done, status := make(chan struct{}), 0
	go func() {
		defer close(done)
		status = m.Run()
		atExit()
	}()
	entered.Reap(done)
	entered.Exit(status)
}

// fuzzing tells whether this is `go test -fuzz`, or one of its workers.
func fuzzing() bool {
	for _, a := range os.Args {
		if strings.HasPrefix(a, "-test.fuzz=") || a == "-test.fuzzworker" {
			return true
		}
	}
	return false
}

// Outside runs a package's tests on the machine itself. They may look at it, and
// drive a [Binary] that makes its own private labs.
func Outside(m *testing.M) {
	status := m.Run()
	atExit()
	os.Exit(status)
}

// atExit removes what the tests of a process had in common.
var atExit = func() {}

// runInside starts the test binary again in a private lab. The error says that
// there can be none; a test binary that crashed in it has a status.
func runInside() (status int, err error) {
	status, err = sandbox.Run(sandbox.Options{RawStderr: true})
	if errors.Is(err, sandbox.ErrInterrupted) {
		return 128 + int(unix.SIGINT), nil
	}
	var crash *sandbox.Crash
	if !errors.As(err, &crash) {
		return status, err
	}
	if crash.Status.Signaled() {
		fmt.Fprintln(os.Stderr, err)
		return 128 + int(crash.Status.Signal()), nil
	}
	return max(crash.Status.ExitStatus(), 1), nil // a panic, whose trace is on stderr
}

// Reduced is what that lab lacks, a line each.
func Reduced() []string {
	if entered == nil {
		return nil
	}
	return entered.Reduced
}

// PublicDir is like t.TempDir, and other users may enter it.
func PublicDir(t testing.TB) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "nsscript-test-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o755); err != nil {
		t.Fatal(err)
	}
	return dir
}

// KindNeeds are the options that a kind of link has to be given, beside its parent.
var KindNeeds = map[string]string{"vlan": "id=7", "vrf": "table=7", "vxlan": "id=7", "geneve": `id=7, remote="10.0.0.1"`,
	"erspan": "seq=True, key=7", "ip6erspan": "seq=True, key=7", "xfrm": "if_id=7"}
