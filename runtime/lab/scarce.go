package lab

import (
	"errors"
	"fmt"
	"os"
	"strings"

	"golang.org/x/sys/unix"
)

// Scarce adds to an error that descriptors have run out which limit that is.
func Scarce(err error) error {
	hint := ""
	switch {
	case errors.Is(err, unix.EMFILE):
		var limit unix.Rlimit
		_ = unix.Getrlimit(unix.RLIMIT_NOFILE, &limit)
		hint = fmt.Sprintf("a process may have %d files open here (ulimit -n), and each namespace, server and capture takes some: ulimit -Hn says how far it can be raised", limit.Cur)
	case errors.Is(err, unix.ENFILE):
		hint = "the machine has as many files open as it allows: sysctl fs.file-nr shows them, fs.file-max is the limit"
	default:
		return err
	}
	if e, ok := err.(*Error); ok && e.Hint != "" {
		return err
	}
	return &Error{Kind: KindKernel, Err: err, Hint: hint}
}

// processLimit says which limit keeps a program of the namespace from being started
// (EAGAIN of fork(2)): its own, or the user's.
func (ns *Namespace) processLimit() string {
	if ns.cgroup != nil {
		read := func(file string) string {
			b, _ := os.ReadFile(fmt.Sprintf("/proc/self/fd/%d/%s", ns.cgroup.Fd(), file))
			return strings.TrimSpace(string(b))
		}
		if most := read("pids.max"); most != "" && most == read("pids.current") {
			return fmt.Sprintf("%s has as many processes as it may: pids=%s", ns, most)
		}
	}
	var limit unix.Rlimit
	if unix.Getrlimit(unix.RLIMIT_NPROC, &limit) == nil && limit.Cur < 1<<31 {
		return fmt.Sprintf("this user may have %d processes and threads (ulimit -u), or a control group has fewer (pids.max)", limit.Cur)
	}
	return "a control group has as many processes as it may (pids.max), or the machine (kernel.threads-max)"
}
