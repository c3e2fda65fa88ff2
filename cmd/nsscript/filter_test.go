package main

import (
	"os"
	"runtime"
	"strings"
	"syscall"
	"testing"
	"unsafe"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

// filterVariable makes the test binary refuse namespaces to itself, by a seccomp
// filter such as containers have, and become the command that follows.
const filterVariable = "_NSSCRIPT_TEST_FILTER"

func init() {
	if os.Getenv(filterVariable) == "" {
		return
	}
	os.Unsetenv(filterVariable)
	runtime.LockOSThread()
	if err := refuseNamespaces(); err != nil {
		panic(err)
	}
	panic(syscall.Exec(os.Args[2], os.Args[2:], os.Environ()))
}

// refuseNamespaces installs what the default profile of Docker does about them:
// clone(2) and unshare(2) with a flag for a new namespace are EPERM, and clone3(2),
// whose flags a filter cannot see, is ENOSYS.
func refuseNamespaces() error {
	const (
		newNamespace = unix.CLONE_NEWNS | unix.CLONE_NEWCGROUP | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC |
			unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET
		load, equal, anyBit, answer = unix.BPF_LD | unix.BPF_W | unix.BPF_ABS, unix.BPF_JMP | unix.BPF_JEQ | unix.BPF_K,
			unix.BPF_JMP | unix.BPF_JSET | unix.BPF_K, unix.BPF_RET | unix.BPF_K
	)
	filter := []unix.SockFilter{
		{Code: load, K: 0}, // struct seccomp_data: the call's number
		{Code: equal, Jt: 5, K: unix.SYS_CLONE3},
		{Code: equal, Jt: 1, K: unix.SYS_CLONE},
		{Code: equal, Jf: 2, K: unix.SYS_UNSHARE},
		{Code: load, K: 16}, // its first argument (the low half: little-endian)
		{Code: anyBit, Jt: 2, K: newNamespace},
		{Code: answer, K: unix.SECCOMP_RET_ALLOW},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.ENOSYS)},
		{Code: answer, K: unix.SECCOMP_RET_ERRNO | uint32(unix.EPERM)},
	}
	if err := unix.Prctl(unix.PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0); err != nil {
		return err
	}
	program := unix.SockFprog{Len: uint16(len(filter)), Filter: &filter[0]}
	_, _, errno := unix.Syscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&program)))
	if errno != 0 {
		return errno
	}
	return nil
}

// TestSeccomp runs nsscript where a filter refuses namespaces.
func TestSeccomp(t *testing.T) {
	if runtime.GOARCH != "amd64" {
		t.Skip("the filter knows the numbers of amd64 alone")
	}
	exe, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	for _, user := range []string{"as started", "an ordinary user"} {
		t.Run(user, func(t *testing.T) {
			cmd := nsscript(t, scriptFile(t, "print(1)"))
			cmd.Path, cmd.Args = exe, append([]string{exe, "help"}, cmd.Args...) // nothing that is run early
			if user != "as started" {
				labtest.Need(t, "userns")
				asOrdinary(cmd)
			}
			cmd.Env = append(os.Environ(), filterVariable+"=1")
			o := runs(t, exitCannot, cmd)
			holds(t, o.stderr, "seccomp filter", "--security-opt seccomp=unconfined")
			if o.stdout != "" || strings.Contains(o.stderr, "goroutine") {
				t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
			}
		})
	}
}
