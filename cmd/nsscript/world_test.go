package main

import (
	"fmt"
	"os"
	"os/exec"
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
	t.Run("ordinary", func(t *testing.T) {
		runs(t, exitOK, asOrdinary(nsscript(t, scriptFile(t, ownFiles))))
		untouched(t)
	})
	t.Run("several ids", func(t *testing.T) {
		runs(t, exitOK, asSeveral(t, nsscript(t, scriptFile(t, ownFiles))))
		untouched(t)
	})
	for path, text := range before {
		if now, err := os.ReadFile(path); err != nil || string(now) != text {
			t.Errorf("%s has changed: %v\n%s", path, err, now)
		}
	}
}

// TestEtcNetns: what the machine has in /etc/netns is laid over /etc, on the machine
// itself as `ip netns exec` does it, and in a private lab; what is laid over a file there
// is not the machine's.
func TestEtcNetns(t *testing.T) {
	if os.Getenv("NSSCRIPT_KERNEL") != "" {
		t.Skip("which files are laid where is no kernel's business, and emulation is slow")
	}
	script := scriptFile(t, `
blue = netns("blue", files={"/etc/hostname": "mine", "/run/nsscript/x": "y", "/etc/new/dir/file": "z"}, private=["/var/tmp"])
red = netns("red")
link, _ = veth("eth0", "eth1", ns=blue, peer_ns=red, addr="10.0.0.1/24", peer_addr="10.0.0.2/24", up=True)
for run in [lambda cmd: exec_in(blue, cmd).stdout, lambda cmd: spawn(blue, cmd + "; echo done; sleep 600", ready="^done$", timeout="60s").output]:
    expect.contains(run("cat /etc/hosts /etc/resolv.conf /etc/dir/x /etc/hostname /run/nsscript/x /etc/new/dir/file; echo; ls /var/tmp"),
        "10.0.0.2 two\nnameserver 10.0.0.2\nin a directory\nmineyz\n")
expect.eq(exec_in(blue, "cd /sys/class/net && ls -d */; touch /var/tmp/x").stdout.split(), ["eth0/", "lo/"])
expect.eq(exec_in(red, "cat /etc/resolv.conf /run/nsscript/x 2> /dev/null; ls /etc/new 2> /dev/null; :").stdout, "nameserver 127.0.0.9\n")
expect.eq(exec_in(root, "cat /etc/hostname; ls /var/tmp").stdout, "the machine's\n")

# Probes find names as programs do.
expect(ping(blue, "two").ok and ping(blue, "red").ok)
dns_server(red, {"www.lab": "10.0.0.2"})
expect.eq(dns(blue, "www.lab").answers[0].data, "10.0.0.2")
expect(ping(blue, "www.lab").ok)
delete(blue, red)
`)
	o := machine(t, `mkdir /run/etc /run/tmp
for f in passwd group nsswitch.conf ld.so.cache; do [ ! -e /etc/$f ] || cp /etc/$f /run/etc; done
mkdir -p /run/etc/netns/blue/dir /run/etc/dir
echo "the machine's" > /run/etc/hostname
echo "127.0.0.1 localhost" > /run/etc/hosts
echo "nameserver 127.0.0.9" > /run/etc/resolv.conf
echo "10.0.0.2 two" > /run/etc/netns/blue/hosts
echo "nameserver 10.0.0.2" > /run/etc/netns/blue/resolv.conf
echo "in a directory" > /run/etc/netns/blue/dir/x
mount --bind /run/etc /etc
mount --bind /run/tmp /var/tmp
find /etc > /run/before
for how in --host --seed=0; do
	s=0; $NS $how `+script+` || s=$?
	echo "status $s"
done
find /etc | diff /run/before - && echo the same`)
	holds(t, o.stdout, "status 0\nstatus 0\nthe same")
}

// TestLimitsDelegated: an ordinary user has limits where a control group is lent to it,
// as systemd does it for sessions; where none is, the error says so.
func TestLimitsDelegated(t *testing.T) {
	labtest.Need(t, "kernel", "nobody", "setpriv")
	script := scriptFile(t, `
e = catch(lambda: netns("h1", cpu=0.5, memory="64mb", pids=20))
if e:
    fail(e.message)
h1 = netns("h1", exist=True)
expect.contains(exec_in(h1, "cat /proc/self/cgroup").stdout, "/netns-h1")
expect.eq(exec_in(h1, "head -c 100000000 /dev/zero | tail -c 100000000 | wc -c", check=False).stdout.strip(), "0")
expect.contains(catch(lambda: [spawn(h1, ["sleep", "600"]) for _ in range(30)]).message, "temporarily unavailable")
`)
	inGroup := func(group string) *exec.Cmd {
		cmd := nsscript(t, script)
		cmd.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, cmd.Args...)
		return inMounts(cmd, fmt.Sprintf(`top=$(sed -n 's/^[^ ]* [^ ]* [^ ]* [^ ]* \(\S*\) .* - cgroup2 .*/\1/p' /proc/self/mountinfo | head -1)
lent=$top/nsscript-test
echo "+cpu +memory +pids" > $top/cgroup.subtree_control
mkdir -p $lent/session
echo "+cpu +memory +pids" > $lent/cgroup.subtree_control || true
chown 65534 $lent $lent/cgroup.procs $lent/cgroup.subtree_control $lent/session $lent/session/cgroup.procs $lent/session/cgroup.subtree_control
echo $$ > $top/%s`, group))
	}
	runs(t, exitOK, inGroup("nsscript-test/session/cgroup.procs"))
	holds(t, runs(t, exitCheckFailed, inGroup("cgroup.procs")).stderr, "no control group for limits: this process may not change ")
}
