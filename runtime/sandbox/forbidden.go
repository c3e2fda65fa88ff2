package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"

	"golang.org/x/sys/unix"
)

// Forbidden says that this machine does not let the user make a private lab.
type Forbidden struct {
	// Setting is the one thing that forbids it ("kernel.unprivileged_userns_clone=0").
	Setting string
	// Fix is the narrowest change that allows it.
	Fix string
	// Err is what the kernel answered.
	Err error
}

func (f *Forbidden) Error() string {
	return fmt.Sprintf("this machine does not allow a private lab: %s (%v)\n%s", f.Setting, f.Err, f.Fix)
}

func (f *Forbidden) Unwrap() error { return f.Err }

// limits are the per-user limits on namespaces (namespaces(7)); reaching one,
// or a limit of 0, makes clone(2) fail with ENOSPC.
var limits = []string{"user", "mnt", "pid", "net", "uts", "ipc"}

// diagnose finds out which setting made the start of the inner process fail.
// readFile is os.ReadFile, replaced in tests.
func diagnose(err error, readFile func(string) ([]byte, error)) error {
	value := func(path string) string {
		b, err := readFile(path)
		if err != nil {
			return ""
		}
		return strings.TrimSpace(string(b))
	}
	switch {
	case errors.Is(err, unix.ENOSPC), errors.Is(err, unix.EUSERS):
		for _, kind := range limits {
			if value("/proc/sys/user/max_"+kind+"_namespaces") == "0" {
				name := "user.max_" + kind + "_namespaces"
				return &Forbidden{name + "=0", "Allow some: sudo sysctl " + name + "=1000", err}
			}
		}
		return &Forbidden{"a limit user.max_*_namespaces is reached",
			"Raise it, or end what holds namespaces: lsns; sysctl -a | grep user.max_", err}
	case !errors.Is(err, unix.EPERM) && !errors.Is(err, unix.EACCES) && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOSYS):
		return fmt.Errorf("start the private lab: %w", err)
	case value("/proc/sys/kernel/unprivileged_userns_clone") == "0":
		return &Forbidden{"kernel.unprivileged_userns_clone=0",
			"Allow it: sudo sysctl kernel.unprivileged_userns_clone=1", err}
	case value("/proc/sys/user/max_user_namespaces") == "0":
		return &Forbidden{"user.max_user_namespaces=0",
			"Allow some: sudo sysctl user.max_user_namespaces=1000", err}
	case value("/proc/sys/kernel/apparmor_restrict_unprivileged_userns") == "1":
		return &Forbidden{"kernel.apparmor_restrict_unprivileged_userns=1", appArmorFix, err}
	case strings.Contains(value("/proc/self/status"), "Seccomp:\t2"):
		return &Forbidden{"a seccomp filter, as containers have one, refuses clone(CLONE_NEWUSER)",
			"Run the container with a seccomp profile that allows clone and unshare; the widest is --security-opt seccomp=unconfined.", err}
	case errors.Is(err, unix.EINVAL), errors.Is(err, unix.ENOSYS):
		return &Forbidden{"the kernel was built without a kind of namespace (CONFIG_USER_NS, CONFIG_NET_NS, CONFIG_PID_NS, CONFIG_UTS_NS, CONFIG_IPC_NS)",
			"Use a kernel that has them; as root only CONFIG_USER_NS can be missing.", err}
	default:
		return &Forbidden{"clone of namespaces was refused, and no setting that is known to do so is set (a chroot and SELinux also can)",
			"Run it as root (sudo), or outside the chroot.", err}
	}
}

// appArmorFix lets one program make user namespaces (Ubuntu 23.10 and later).
const appArmorFix = `Allow it for this program alone: write to /etc/apparmor.d/nsscript
    abi <abi/4.0>,
    include <tunables/global>
    profile nsscript /path/to/nsscript flags=(unconfined) { userns, }
with the path where nsscript is installed, then: sudo apparmor_parser -r /etc/apparmor.d/nsscript`

// isDenied tells whether a mount was refused as it is in containers that mask
// paths of /proc or /sys (mount_too_revealing in fs/namespace.c).
func isDenied(err error) bool {
	return errors.Is(err, fs.ErrPermission) || errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES)
}
