package sandbox

import (
	"errors"
	"io/fs"
	"os"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestDiagnose holds for every setting that can forbid a private lab that it is
// named, alone, with its own fix.
func TestDiagnose(t *testing.T) {
	const clone = "/proc/sys/kernel/unprivileged_userns_clone"
	const apparmor = "/proc/sys/kernel/apparmor_restrict_unprivileged_userns"
	const maxUser = "/proc/sys/user/max_user_namespaces"
	ubuntu := map[string]string{clone: "1\n", apparmor: "0\n", maxUser: "95\n", "/proc/self/status": "Seccomp:\t0\n"}
	with := func(key, value string) map[string]string {
		files := map[string]string{key: value}
		for k, v := range ubuntu {
			if k != key {
				files[k] = v
			}
		}
		return files
	}
	for _, c := range []struct {
		name     string
		err      error
		files    map[string]string
		setting  string
		fix      string
		notFixes string
	}{
		{"Debian's switch", unix.EPERM, with(clone, "0\n"), "kernel.unprivileged_userns_clone=0", "sudo sysctl kernel.unprivileged_userns_clone=1", "apparmor"},
		{"AppArmor", unix.EACCES, with(apparmor, "1\n"), "kernel.apparmor_restrict_unprivileged_userns=1", "profile nsscript", "sysctl"},
		{"AppArmor, EPERM", unix.EPERM, with(apparmor, "1\n"), "kernel.apparmor_restrict_unprivileged_userns=1", "userns,", "sysctl"},
		{"no user namespaces", unix.ENOSPC, with(maxUser, "0\n"), "user.max_user_namespaces=0", "sudo sysctl user.max_user_namespaces=1000", "lsns"},
		{"no user namespaces, RHEL 7", unix.EPERM, with(maxUser, "0\n"), "user.max_user_namespaces=0", "sudo sysctl user.max_user_namespaces=1000", "lsns"},
		{"no user namespaces, Linux before 4.9", unix.EUSERS, with(maxUser, "0\n"), "user.max_user_namespaces=0", "sudo sysctl", "lsns"},
		{"no network namespaces", unix.ENOSPC, with("/proc/sys/user/max_net_namespaces", "0\n"), "user.max_net_namespaces=0", "user.max_net_namespaces=1000", "lsns"},
		{"no mount namespaces", unix.ENOSPC, with("/proc/sys/user/max_mnt_namespaces", "0\n"), "user.max_mnt_namespaces=0", "user.max_mnt_namespaces=1000", "lsns"},
		{"a limit reached", unix.ENOSPC, ubuntu, "user.max_*_namespaces", "lsns", "unprivileged_userns_clone"},
		{"seccomp", unix.EPERM, with("/proc/self/status", "Name:\tx\nSeccomp:\t2\n"), "seccomp", "seccomp profile", "apparmor"},
		{"no CONFIG_USER_NS", unix.EINVAL, ubuntu, "CONFIG_USER_NS", "kernel that has them", "seccomp"},
		{"ENOSYS of a seccomp filter", unix.ENOSYS, with("/proc/self/status", "Seccomp:\t2\n"), "seccomp", "seccomp profile", "CONFIG"},
		{"a chroot", unix.EPERM, ubuntu, "chroot", "as root", "sysctl"},
		{"no /proc", unix.EPERM, nil, "chroot", "as root", "sysctl"},
	} {
		t.Run(c.name, func(t *testing.T) {
			read := func(path string) ([]byte, error) {
				text, ok := c.files[path]
				if !ok {
					return nil, fs.ErrNotExist
				}
				return []byte(text), nil
			}
			err := diagnose(&os.PathError{Op: "fork/exec", Path: "nsscript", Err: c.err}, read)
			var f *Forbidden
			if !errors.As(err, &f) {
				t.Fatalf("got %v, want a Forbidden", err)
			}
			if !errors.Is(err, c.err) {
				t.Errorf("%v does not wrap %v", err, c.err)
			}
			if !strings.Contains(f.Setting, c.setting) {
				t.Errorf("setting is %q, want %q", f.Setting, c.setting)
			}
			if !strings.Contains(f.Fix, c.fix) || strings.Contains(f.Fix, c.notFixes) {
				t.Errorf("fix is %q, want one with %q and without %q", f.Fix, c.fix, c.notFixes)
			}
			if text := err.Error(); !strings.Contains(text, f.Setting) || !strings.Contains(text, f.Fix) {
				t.Errorf("the message lacks the setting or the fix: %s", text)
			}
		})
	}
	if err := diagnose(unix.ENOMEM, os.ReadFile); errors.As(err, new(*Forbidden)) || !errors.Is(err, unix.ENOMEM) {
		t.Errorf("ENOMEM: %v", err)
	}
}

func TestParseIDRange(t *testing.T) {
	for _, c := range []struct {
		text string
		want idRange
		ok   bool
	}{
		{"", idRange{}, false},
		{"ann:100000:65536\n", idRange{100000, 65536}, true},
		{"ann:100000:65536", idRange{100000, 65536}, true},
		{"1000:200000:65536\n", idRange{200000, 65536}, true},
		{"bob:1:2\n  ann:300000:10  \n", idRange{300000, 10}, true},
		{"ann:1:0\nann:400000:5\n", idRange{400000, 5}, true},
		{"ann:0:65536\n", idRange{}, false},
		{"ann:x:65536\nann:100000\n:100000:5\nann:1:-3\n", idRange{}, false},
		{"# comment\nanna:100000:65536\n", idRange{}, false},
		{"ann:1:2:3\n", idRange{}, false},
		{"ann:99999999999999999999:1\n", idRange{}, false},
	} {
		got, ok := parseIDRange(c.text, "ann", "1000")
		if got != c.want || ok != c.ok {
			t.Errorf("%q: %v, %v; want %v, %v", c.text, got, ok, c.want, c.ok)
		}
	}
}

func TestCrash(t *testing.T) {
	const exited, killed = syscall.WaitStatus(2 << 8), syscall.WaitStatus(unix.SIGKILL)
	for _, c := range []struct {
		status syscall.WaitStatus
		words  string
		want   string
	}{
		{exited, "runtime: goroutine stack exceeds 1000000000-byte limit\nfatal error: stack overflow\n\ngoroutine 1 [running]:\n", "nested too deeply"},
		{exited, "runtime: out of memory: cannot allocate 5-byte block (7 in use)\nfatal error: out of memory\n", "memory ran out (out of memory: cannot allocate 5-byte block (7 in use))"},
		{exited, "fatal error: concurrent map writes\n\ngoroutine 5 [running]:\n", "crashed: concurrent map writes"},
		{exited, "some words\npanic: oh\n\ngoroutine 1 [running]:\n", "crashed: panic: oh"},
		{exited, "runtime/cgo: pthread_create failed: Resource temporarily unavailable\nSIGABRT: abort\n", "no thread could be started"},
		{exited, "SIGSEGV: segmentation violation\nPC=0x1 m=0\n\ngoroutine 0 [idle]:\n", "crashed: SIGSEGV: segmentation violation"},
		{exited, "SIGNIFICANT: words\n", "crashed: exit status 2"},
		{exited, "", "crashed: exit status 2"},
		{killed, "", "signal 9 (killed): by somebody's kill -9, or by the kernel because memory ran out"},
	} {
		got := (&Crash{Status: c.status, Words: c.words}).Error()
		if !strings.Contains(got, c.want) {
			t.Errorf("%q: %q, want %q", c.words, got, c.want)
		}
		if strings.Contains(got, "\n") || strings.Contains(got, "goroutine") {
			t.Errorf("%q: not one readable line: %q", c.words, got)
		}
	}
}
