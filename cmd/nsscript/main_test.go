package main

import (
	"bytes"
	"errors"
	"flag"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

// The tests drive the binary as users do, in a private lab of the test binary's
// own: that outer lab is the machine on which they happen.
func TestMain(m *testing.M) {
	// Labs wait more than they compute, whatever the number of processors; but for an
	// emulator everything is a computation.
	if os.Getenv("NSSCRIPT_KERNEL") == "" {
		_ = flag.Set("test.parallel", "4")
	}
	labtest.Main(m)
}

// scriptFile writes a script where any user can read it.
func scriptFile(t testing.TB, text string) string {
	t.Helper()
	path := filepath.Join(labtest.PublicDir(t), "lab.star")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	return path
}

// nsscript prepares a run of the binary.
func nsscript(t testing.TB, args ...string) *exec.Cmd {
	t.Helper()
	labtest.Need(t, "sandbox")
	cmd := exec.Command(labtest.Binary(t), args...)
	cmd.Dir = "/"
	return cmd
}

// outcome is what came of a run.
type outcome struct {
	code           int
	stdout, stderr string
}

// finish runs a command to its end, as long as patience lasts.
func finish(t testing.TB, cmd *exec.Cmd) outcome {
	t.Helper()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	return outcome{await(t, cmd), stdout.String(), stderr.String()}
}

// patience is how long a command may take on a machine that is busy otherwise.
const patience = 8 * time.Minute

// await waits for the end of a command, as long as patience lasts.
func await(t testing.TB, cmd *exec.Cmd) int {
	t.Helper()
	watchdog := time.AfterFunc(patience, func() { _ = cmd.Process.Kill() })
	err := cmd.Wait()
	if !watchdog.Stop() {
		t.Errorf("%s did not end within %v", strings.Join(cmd.Args, " "), patience)
	}
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return cmd.ProcessState.ExitCode()
}

// runs runs a script and fails the test unless it ends with a status.
func runs(t testing.TB, code int, cmd *exec.Cmd) outcome {
	t.Helper()
	o := finish(t, cmd)
	if o.code != code {
		t.Fatalf("%s: exit status %d, want %d\nstdout: %s\nstderr: %s", strings.Join(cmd.Args, " "), o.code, code, o.stdout, o.stderr)
	}
	return o
}

// holds fails the test unless the text contains all words.
func holds(t testing.TB, text string, words ...string) {
	t.Helper()
	for _, w := range words {
		if !strings.Contains(text, w) {
			t.Errorf("no %q in:\n%s", w, text)
		}
	}
}

// asNobody makes cmd run as the user nobody.
func asNobody(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	cmd.Env = append(os.Environ(), "HOME=/nonexistent")
	return cmd
}

// asOrdinary makes cmd run as a user who is not root, whoever runs the tests: as
// user 1000 of a user namespace.
func asOrdinary(cmd *exec.Cmd) *exec.Cmd {
	cmd.SysProcAttr = &syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Geteuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{ContainerID: 1000, HostID: os.Getegid(), Size: 1}},
	}
	return cmd
}

// inMounts runs a shell command that may change the mounts, its own only, and
// then becomes cmd: "exec \"$@\"" is added.
func inMounts(cmd *exec.Cmd, before string) *exec.Cmd {
	c := exec.Command("sh", append([]string{"-e", "-c", before + "\nexec \"$@\"", "sh"}, cmd.Args...)...)
	c.Dir, c.Env = cmd.Dir, cmd.Env
	c.SysProcAttr = &syscall.SysProcAttr{Cloneflags: unix.CLONE_NEWNS}
	return c
}

// inUserns is inMounts as root of a user namespace, where the kernel is as
// careful as it is with containers.
func inUserns(cmd *exec.Cmd, before string) *exec.Cmd {
	c := inMounts(cmd, before)
	c.SysProcAttr = labtest.UserNamespace()
	return c
}
