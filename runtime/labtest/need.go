package labtest

import (
	"fmt"
	"os"
	"os/exec"
	"os/user"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"
)

// features are what [Need] knows beside programs, with a check that returns why
// a feature is not there, or "".
var features = map[string]func() string{
	// sandbox: the tests run in a private lab of their own.
	"sandbox": func() string {
		switch {
		case entered != nil:
			return ""
		case noSandbox != nil:
			return noSandbox.Error()
		}
		return "the tests of this package run on the machine itself"
	},
	// root: root with the ids of all users.
	"root": lacksRoot,
	// nobody: can become the user nobody.
	"nobody": lacksNobody,
	// subuid: can lend ranges of ids to users.
	"subuid": lacksSubuid,
	// userns: can make a user namespace.
	"userns":   sync.OnceValue(lacksUserns),
	"iproute2": func() string { return missing("ip") },
	"iproute2-6.1": func() string {
		out, err := exec.Command("ip", "-V").Output()
		if err != nil {
			return err.Error()
		}
		if !strings.Contains(string(out), "iproute2-6.1.") {
			return strings.TrimSpace(string(out)) + " is another release"
		}
		return ""
	},
	"ipv6": func() string {
		if _, err := os.Stat("/proc/sys/net/ipv6"); err != nil {
			return "this kernel has no IPv6"
		}
		return ""
	},
	// sysctl: per-namespace sysctls can be set.
	"sysctl": func() string {
		// Of the mount, not of the file: outside a lab the file is root's alone.
		if readOnly("/proc/sys/net") {
			return "/proc/sys is read-only"
		}
		return ""
	},
	// sysfs: a sysfs of one's own can be mounted.
	"sysfs": func() string {
		if readOnly("/sys") {
			return "/sys is read-only"
		}
		for _, line := range Reduced() {
			if strings.Contains(line, "/sys") {
				return line
			}
		}
		return ""
	},
	// terminal: a pseudo-terminal can be made.
	"terminal": func() string {
		fd, err := unix.Open("/dev/ptmx", unix.O_RDWR|unix.O_NOCTTY|unix.O_CLOEXEC, 0)
		if err != nil {
			return err.Error()
		}
		defer unix.Close(fd)
		n, err := unix.IoctlGetInt(fd, unix.TIOCGPTN)
		if err == nil {
			_, err = os.Stat(fmt.Sprintf("/dev/pts/%d", n))
		}
		if err != nil {
			return err.Error()
		}
		return ""
	},
	// kernel: the machine is a throwaway, as an emulator's guest is.
	"kernel": func() string {
		if os.Getenv("NSSCRIPT_KERNEL") == "" {
			return "NSSCRIPT_KERNEL is not set: this is no throwaway machine"
		}
		return lacksRoot()
	},
}

func readOnly(path string) bool {
	var fs unix.Statfs_t
	return unix.Statfs(path, &fs) == nil && fs.Flags&unix.ST_RDONLY != 0
}

func lacksRoot() string {
	if os.Geteuid() != 0 {
		return "not root"
	}
	if oneID() {
		return "root of a user namespace with one id"
	}
	return ""
}

func lacksNobody() string {
	if _, err := user.Lookup("nobody"); err != nil {
		return err.Error()
	}
	return lacksRoot()
}

func lacksSubuid() string {
	for _, program := range []string{"newuidmap", "newgidmap"} {
		if why := missing(program); why != "" {
			return why + " (Debian's package uidmap)"
		}
	}
	return lacksNobody()
}

// packages are Debian's that have a program.
var packages = map[string]string{"curl": "curl", "dig": "bind9-dnsutils", "dnsmasq": "dnsmasq-base", "ip": "iproute2", "tc": "iproute2", "iperf3": "iperf3", "nginx": "nginx-light",
	"ping": "iputils-ping", "tcpdump": "tcpdump", "tshark": "tshark", "udhcpc": "udhcpc", "vtysh": "frr", "zebra": "frr"}

// elsewhere are programs that PATH does not lead to.
var elsewhere = map[string]string{"zebra": "/usr/lib/frr/zebra"}

func missing(program string) string {
	path := program
	if elsewhere[program] != "" {
		path = elsewhere[program]
	}
	if _, err := exec.LookPath(path); err == nil {
		return ""
	}
	if p := packages[program]; p != "" {
		return "no program " + program + " (Debian's package " + p + ")"
	}
	return "no program " + program
}

// lacksUserns tries to make a user namespace.
func lacksUserns() string {
	cmd := exec.Command("true")
	cmd.SysProcAttr = UserNamespace()
	if err := cmd.Run(); err != nil {
		return fmt.Sprintf("no user namespaces: %v", err)
	}
	return ""
}

func oneID() bool {
	text, err := os.ReadFile("/proc/self/uid_map")
	f := strings.Fields(string(text))
	return err == nil && len(f) == 3 && f[2] == "1"
}

// Need skips the test unless the machine has what it needs: features (sandbox,
// root, nobody, subuid, userns, iproute2, iproute2-6.1, ipv6, sysctl, sysfs, terminal, kernel) or else
// programs. What the environment variable NSSCRIPT_REQUIRE lists, with commas,
// has to be there: the test fails instead.
func Need(t testing.TB, names ...string) {
	t.Helper()
	for _, name := range names {
		check := features[name]
		if check == nil {
			check = func() string { return missing(name) }
		}
		if why := check(); why != "" {
			Lacks(t, name, why)
		}
	}
}

// Lacks skips the test for want of something, or fails it when NSSCRIPT_REQUIRE
// says that it is here. "kinds" are all kinds of links.
func Lacks(t testing.TB, name, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("NSSCRIPT_REQUIRE"), ","), name) {
		t.Fatalf("needs %s, which NSSCRIPT_REQUIRE says is here: %s", name, why)
	}
	t.Skipf("needs %s: %s", name, why)
}
