package labtest

import (
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

// NoLeaks checks, when the test has ended, that it left nothing in the process
// or the lab that was not there before: descriptors, child processes, links of
// the root namespace, names under /run/netns, mounts. The kernel removes some
// things a moment later, so that it waits for them.
func NoLeaks(t testing.TB) {
	t.Helper()
	before := inventory()
	t.Cleanup(func() {
		var left []string
		for deadline := time.Now().Add(20 * time.Second); time.Now().Before(deadline); time.Sleep(20 * time.Millisecond) {
			left = left[:0]
			for _, thing := range inventory() {
				if !slices.Contains(before, thing) {
					left = append(left, thing)
				}
			}
			if len(left) == 0 {
				return
			}
		}
		t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	})
}

// inventory lists what a test could leave behind, a line each.
func inventory() []string {
	var found []string
	fds, _ := os.ReadDir("/proc/self/fd")
	home, _ := os.Readlink("/proc/self/ns/net")
	for _, fd := range fds {
		// Descriptors of the Go runtime (its poller) come once and stay, as does
		// the one that leads back to the process's own namespace.
		target, err := os.Readlink("/proc/self/fd/" + fd.Name())
		if target == home {
			home = "" // only the first
			continue
		}
		if err == nil && target != "anon_inode:[eventpoll]" && target != "anon_inode:[eventfd]" && !strings.HasPrefix(target, "/proc/") {
			found = append(found, "descriptor "+fd.Name()+": "+target)
		}
	}
	tasks, _ := filepath.Glob("/proc/self/task/*/children")
	for _, task := range tasks {
		text, _ := os.ReadFile(task)
		for _, pid := range strings.Fields(string(text)) {
			found = append(found, fmt.Sprintf("process %s: %s", pid, CommandLine(pid)))
		}
	}
	dev, _ := os.ReadFile("/proc/self/net/dev")
	for line := range strings.Lines(string(dev)) {
		if name, _, ok := strings.Cut(line, ":"); ok {
			found = append(found, "link "+strings.TrimSpace(name))
		}
	}
	names, _ := os.ReadDir("/run/netns")
	for _, name := range names {
		found = append(found, "namespace "+name.Name())
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		if f := strings.Fields(line); len(f) > 4 {
			found = append(found, "mount "+f[4])
		}
	}
	return found
}

// CommandLine is how a process was started, or "" when it is gone.
func CommandLine(pid string) string {
	text, _ := os.ReadFile("/proc/" + pid + "/cmdline")
	return strings.TrimSpace(strings.ReplaceAll(string(text), "\x00", " "))
}

// Processes lists the processes whose command line contains mark, zombies and
// the own one left out.
func Processes(mark string) []string {
	var found []string
	paths, _ := filepath.Glob("/proc/[0-9]*")
	for _, path := range paths {
		pid := filepath.Base(path)
		if line := CommandLine(pid); strings.Contains(line, mark) && pid != fmt.Sprint(os.Getpid()) {
			found = append(found, pid+": "+line)
		}
	}
	return found
}
