// Package again starts a floor program again in new namespaces, in the cheapest
// way known: what nsscript's sandbox is measured against.
package again

import (
	"os"
	"runtime"
	"strconv"
	"syscall"
)

const inside = "NSSCRIPT_FLOOR_INSIDE=1"

// Sandboxed reports whether this process is the one in the new namespaces; in the
// other one it starts that, waits for its end and exits with its status, so that
// Sandboxed only returns inside. It is to be called first in main.
func Sandboxed() {
	if os.Getpid() == 1 && os.Getenv("NSSCRIPT_FLOOR_INSIDE") != "" {
		return
	}
	status, err := start()
	if err != nil {
		Fail("start again", err)
	}
	if status.Signaled() {
		os.Exit(128 + int(status.Signal()))
	}
	os.Exit(status.ExitStatus())
}

func start() (syscall.WaitStatus, error) {
	// PDEATHSIG follows the thread that forks.
	runtime.LockOSThread()
	defer runtime.UnlockOSThread()

	var status syscall.WaitStatus
	// The real path, not /proc/self/exe: it gives the process its name.
	path, err := os.Executable()
	if err != nil {
		return status, err
	}
	attr := &syscall.SysProcAttr{
		Cloneflags: syscall.CLONE_NEWNS | syscall.CLONE_NEWPID | syscall.CLONE_NEWNET |
			syscall.CLONE_NEWUTS | syscall.CLONE_NEWIPC,
		Pdeathsig: syscall.SIGKILL,
	}
	if os.Geteuid() != 0 {
		attr.Cloneflags |= syscall.CLONE_NEWUSER
		attr.UidMappings = []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}}
		attr.GidMappings = []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}}
	}
	pid, err := syscall.ForkExec(path, os.Args, &syscall.ProcAttr{
		Env:   append(os.Environ(), inside),
		Files: []uintptr{0, 1, 2},
		Sys:   attr,
	})
	if err != nil {
		return status, err
	}
	for {
		_, err = syscall.Wait4(pid, &status, 0, nil)
		if err != syscall.EINTR {
			return status, err
		}
	}
}

// Mount makes the mounts of nsscript's sandbox.
func Mount() error {
	if err := syscall.Mount("", "/", "", syscall.MS_REC|syscall.MS_PRIVATE, ""); err != nil {
		return err
	}
	const plain = syscall.MS_NOSUID | syscall.MS_NODEV
	for _, m := range []struct {
		kind, target, data string
		flags              uintptr
	}{
		{"tmpfs", "/run", "mode=755", plain},
		{"proc", "/proc", "", plain | syscall.MS_NOEXEC},
		{"sysfs", "/sys", "", plain | syscall.MS_NOEXEC},
	} {
		if err := syscall.Mount(m.kind, m.target, m.kind, m.flags, m.data); err != nil {
			return &os.PathError{Op: "mount", Path: m.target, Err: err}
		}
	}
	return syscall.Mkdir("/run/netns", 0o755)
}

// GrowTable makes room for n descriptors. Each doubling of the table of a process
// with threads waits for an RCU grace period, milliseconds: one growth, in the
// background, before anything needs it.
func GrowTable(n int) {
	var limit syscall.Rlimit
	if err := syscall.Getrlimit(syscall.RLIMIT_NOFILE, &limit); err != nil {
		return
	}
	if uint64(n) > limit.Cur {
		n = int(limit.Cur)
	}
	fd, _, errno := syscall.Syscall(syscall.SYS_FCNTL, 0, syscall.F_DUPFD_CLOEXEC, uintptr(n-1))
	if errno == 0 {
		syscall.Close(int(fd))
	}
}

// Fail ends the program.
func Fail(what string, err error) {
	os.Stderr.WriteString("floor: " + what + ": " + err.Error() + "\n")
	os.Exit(1)
}

// Number reads a whole number from 1 to most.
func Number(what, text string, most int) int {
	n, err := strconv.Atoi(text)
	if err != nil || n < 1 || n > most {
		os.Stderr.WriteString("floor: " + what + ": want a number from 1 to " + strconv.Itoa(most) + "\n")
		os.Exit(2)
	}
	return n
}
