package main

import (
	"os"
	"path/filepath"
	"testing"

	"nsscript/runtime/labtest"
)

// TestThousandPrograms: programs leave no thread, descriptor, zombie or mount namespace.
func TestThousandPrograms(t *testing.T) {
	n := "1000"
	if os.Getenv("NSSCRIPT_KERNEL") != "" {
		n = "50" // emulation is slow
	}
	runs(t, exitOK, nsscript(t, scriptFile(t, `
def held():
    return [exec_in(root, "ls /proc/1/%s | wc -l" % what).stdout.strip() for what in ["task", "fd"]] + \
        [exec_in(root, "cat /proc/[0-9]*/stat 2>/dev/null | grep -c ') Z ' || true").stdout.strip(), exec_in(root, "readlink /proc/[0-9]*/ns/mnt /proc/1/task/*/ns/mnt | sort -u | wc -l").stdout.strip()]

spaces = [netns(), netns("b", files={"/etc/nsscript-no-such": ""})]
for i in range(20):
    exec_in(spaces[i % 2], ["true"])
before = held()
for i in range(`+n+`):
    exec_in(spaces[i % 2], ["true"])
expect.eventually(lambda: [int(b) <= int(a) + 4 for a, b in zip(before, held())] == [True] * 4, timeout="60s")
`)))
}

// ownFiles lays files over what the machine has, and where it has nothing, and shows
// that programs see them and others do not.
const ownFiles = `
paths = ["/etc/passwd", "/etc/hosts", "/etc/nsscript-no-such/a.conf", "/usr/share/nsscript-no-such", "/var/run/nsscript-no-such/x", "/nsscript-no-such/x"]
passwd = read_file("/etc/passwd")
a, b = netns("a", files={p: "of a" for p in paths}, private=["/var/run/frr", "/var/lib/nsscript-no-such"]), netns("b")
veth("eth0", "eth0", ns=a, peer_ns=b, addr=["10.0.0.1/24", "fd00::1/64"], peer_addr=["10.0.0.2/24", "fd00::2/64"], up=True)
for p in paths:
    expect.eq(exec_in(a, ["cat", p]).stdout, "of a")
for p in paths[2:]:
    expect(not exec_in(b, ["test", "-s", p], check=False).ok, p)
expect.eq(exec_in(b, ["cat", "/etc/passwd"]).stdout, passwd)
exec_in(a, "touch /var/run/frr/x /var/lib/nsscript-no-such/x; echo more >> /etc/nsscript-no-such/a.conf; echo > /etc/nsscript-no-such/b")
expect.eq(exec_in(b, "hostname; cd /sys/class/net; ls -d */; getent ahostsv4 a | head -1").stdout.split(), ["b", "eth0/", "lo/", "10.0.0.1", "STREAM", "a"])
p = spawn(a, "until grep -q later /etc/passwd; do sleep 0.1; done; echo seen; sleep 600")
write_file(a, "/etc/passwd", "later")
expect.eventually(lambda: p.lines() == ["seen"], timeout="60s")
`

// TestOwnFiles: the same as every kind of user; the machine's own files stay what they
// are, and nothing is left.
func TestOwnFiles(t *testing.T) {
	untouched := func(t *testing.T) {
		t.Helper()
		for _, path := range []string{"/etc/nsscript-no-such", "/usr/share/nsscript-no-such", "/run/nsscript-no-such", "/var/lib/nsscript-no-such", "/nsscript-no-such"} {
			if _, err := os.Lstat(path); err == nil {
				t.Errorf("the machine has got %s", path)
			}
		}
		if left, _ := filepath.Glob("/run/frr/x"); left != nil {
			t.Errorf("the machine has got %v", left)
		}
	}
	before := map[string]string{}
	for _, path := range []string{"/etc/passwd", "/etc/hosts", "/proc/self/mountinfo"} {
		text, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		before[path] = string(text)
	}
	t.Run("root", func(t *testing.T) {
		labtest.Need(t, "root")
		runs(t, exitOK, nsscript(t, scriptFile(t, ownFiles)))
		untouched(t)
	})
	t.Run("nobody", func(t *testing.T) {
		labtest.Need(t, "nobody")
		runs(t, exitOK, asNobody(nsscript(t, scriptFile(t, ownFiles))))
		untouched(t)
	})
	t.Run("ordinary", func(t *testing.T) {
		runs(t, exitOK, asOrdinary(nsscript(t, scriptFile(t, ownFiles))))
		untouched(t)
	})
	for path, text := range before {
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s has changed: %v\n%s", path, err, now)
		}
	}
}
