package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

// small uses a bit of everything.
const small = `
blue, red = netns("blue"), netns("red")
a, b = veth("a", "b", ns=blue, peer_ns=red, addr=["10.1.1.1/24", "fd00::1/64"], peer_addr=["10.1.1.2/24", "fd00::2/64"], up=True)
up(a, b)
p4 = ping(blue, "10.1.1.2")
require(p4.ok, "IPv4: %s" % p4.error)
p6 = ping(blue, "fd00::2")
require(p6.ok, "IPv6: %s" % p6.error)
require.eq(exec_in(blue, "ls /run/netns").stdout.split(), ["blue", "red"])
spawn(red, ["sleep", "600"])
`

func TestUsers(t *testing.T) {
	ids := small + `print(exec_in(blue, "cat /proc/self/uid_map").stdout)
print("id", exec_in(blue, "id -u").stdout)
`
	t.Run("root", func(t *testing.T) {
		labtest.Need(t, "root")
		o := runs(t, exitOK, nsscript(t, scriptFile(t, ids)))
		holds(t, o.stdout, "4294967295", "id 0")
	})
	t.Run("nobody", func(t *testing.T) {
		labtest.Need(t, "nobody")
		o := runs(t, exitOK, asNobody(nsscript(t, scriptFile(t, ids))))
		holds(t, strings.Join(strings.Fields(o.stdout), " "), "0 65534 1 id 0")
	})
	t.Run("ordinary", func(t *testing.T) {
		o := runs(t, exitOK, asOrdinary(nsscript(t, scriptFile(t, ids))))
		holds(t, strings.Join(strings.Fields(o.stdout), " "), "0 1000 1 id 0")
	})
	t.Run("several ids", func(t *testing.T) {
		several := ids + `
print("nobody", exec_in(blue, "id -u; id -g; id -G; grep CapEff /proc/self/status", user="nobody").stdout)
print("seven", exec_in(blue, "setpriv --reuid=7 --regid=8 --clear-groups id -u").stdout)
print("both", exec_in(blue, "id -u; id -g; id -G", user=7, group=8).stdout)
print("group", exec_in(blue, "id -u; id -g", group="daemon").stdout)
print("more", exec_in(blue, "id -u; id -g; id -G", user="nobody", group="daemon").stdout)
print("tty", exec_in(blue, "id -u; test -t 0 && echo yes > /dev/tty", user="nobody", tty=True).stdout)
print("denied", catch(lambda: exec_in(blue, "ip link set a down 2>&1 || cat /proc/sys/net/ipv4/ip_forward > /proc/sys/net/ipv4/ip_forward", user="nobody")))
`
		o := runs(t, exitOK, asSeveral(t, nsscript(t, scriptFile(t, several))))
		holds(t, strings.Join(strings.Fields(o.stdout), " "),
			"0 65534 1 1 100000 65536", "id 0", "nobody 65534 65534 65534 CapEff: 0000000000000000", "seven 7",
			"both 7 8 8", "group 0 1", "more 65534 1 1 65534", "tty 65534 yes", "Permission denied")
	})
	t.Run("one id", func(t *testing.T) {
		cmd := asOrdinary(nsscript(t, scriptFile(t, `exec_in(netns("blue"), "id", user="nobody")`)))
		holds(t, runs(t, exitError, cmd).stderr, "lab.star:1:", "run a program as nobody", "uidmap", "subuid")
	})
	t.Run("one id, the program changes it", func(t *testing.T) {
		labtest.Need(t, "setpriv")
		cmd := asOrdinary(nsscript(t, scriptFile(t, `exec_in(netns("blue"), "setpriv --reuid=7 true")`)))
		holds(t, runs(t, exitError, cmd).stderr, "this program changes user; install uidmap and add a subuid range")
	})
}

// busy makes 50 namespaces with links, files, mounts and background processes
// that can be found by a mark, says so, and goes on making and deleting.
const busy = `
param("mark", "")
mark = param("mark", "")
hub = netns("hub")
br = bridge("br0", ns=hub, up=True)
for i in range(50):
    ns = netns("n%d" % i)
    l, p = veth("eth0", "p%d" % i, ns=ns, peer_ns=hub, addr="10.0.0.%d/24" % (i + 1), up=True)
    set_link(p, master=br)
    up(l, p)
    spawn(ns, ["sh", "-c", "sleep 600; : " + mark])
exec_in(hub, "touch /run/file /run/file-%s; mkdir /run/dir; (setsid sh -c 'sleep 600; : %s' > /dev/null 2>&1 &)" % (mark, mark))
print("ready")
i = 0
while True:
    ns = netns("more%d" % i)
    veth("eth0", "more%d" % i, ns=ns, peer_ns=hub)
    delete(ns)
    i += 1
`

// traces is what is left of labs, seen from the outside.
func traces(mark string) map[string]bool {
	found := map[string]bool{}
	for _, p := range labtest.Processes(mark) {
		found["process "+p] = true
	}
	spaces, _ := filepath.Glob("/proc/[0-9]*/ns/*")
	for _, path := range spaces {
		if target, err := os.Readlink(path); err == nil {
			found["namespace "+target] = true
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		found["mount "+line] = true
	}
	dev, _ := os.ReadFile("/proc/self/net/dev")
	for line := range strings.Lines(string(dev)) {
		name, _, _ := strings.Cut(line, ":")
		found["link "+name] = true
	}
	for _, dir := range []string{"/run", "/run/netns", "/dev/shm", os.TempDir()} {
		entries, _ := os.ReadDir(dir)
		for _, e := range entries {
			// Other programs use the directory for temporary files too.
			if dir == "/run" || dir == "/run/netns" || strings.Contains(e.Name(), mark) {
				found["file "+dir+"/"+e.Name()] = true
			}
		}
	}
	return found
}

// nothingNew waits, as long as patience lasts, until there are no traces that were not
// there before, and returns how long it took.
func nothingNew(t testing.TB, before map[string]bool, mark string) time.Duration {
	t.Helper()
	began := time.Now()
	var left []string
	for time.Since(began) < patience {
		left = nil
		for trace := range traces(mark) {
			if !before[trace] {
				left = append(left, trace)
			}
		}
		if len(left) == 0 {
			return time.Since(began)
		}
		time.Sleep(10 * time.Millisecond)
	}
	slices.Sort(left)
	t.Errorf("left behind:\n%s", strings.Join(left, "\n"))
	return time.Since(began)
}

// children are the processes that a process started.
func children(pid int) []int {
	var found []int
	paths, _ := filepath.Glob(fmt.Sprintf("/proc/%d/task/*/children", pid))
	for _, path := range paths {
		text, _ := os.ReadFile(path)
		for _, word := range strings.Fields(string(text)) {
			if n, err := strconv.Atoi(word); err == nil {
				found = append(found, n)
			}
		}
	}
	return found
}

// begin starts a command and waits until it has printed a line.
func begin(t testing.TB, cmd *exec.Cmd) (line string, rest io.Reader) {
	t.Helper()
	out, err := cmd.StdoutPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = cmd.Process.Kill() })
	var b [1]byte
	for {
		if n, err := out.Read(b[:]); n == 0 || err != nil {
			t.Fatalf("%s ended early: %q", strings.Join(cmd.Args, " "), line)
		}
		if b[0] == '\n' {
			return line, out
		}
		line += string(b[:])
	}
}

func TestKilled(t *testing.T) {
	for _, user := range []struct {
		name string
		as   func(*exec.Cmd) *exec.Cmd
	}{
		{"as they are", func(c *exec.Cmd) *exec.Cmd { return c }},
		{"rootless", asOrdinary},
	} {
		for _, victim := range []string{"parent", "child"} {
			t.Run(user.name+"/"+victim, func(t *testing.T) {
				mark := fmt.Sprintf("mark-%d-%s", time.Now().UnixNano(), victim)
				cmd := user.as(nsscript(t, scriptFile(t, busy), "mark="+mark))
				var stderr strings.Builder
				cmd.Stderr = &stderr
				before := traces(mark)
				begin(t, cmd)
				if n := len(labtest.Processes(mark)); n < 51 {
					t.Fatalf("%d processes run: not a busy script", n)
				}
				kids := children(cmd.Process.Pid)
				if len(kids) != 1 {
					t.Fatalf("the outer process has children %v, want one", kids)
				}
				if victim == "parent" {
					_ = cmd.Process.Kill()
					_ = cmd.Wait()
				} else {
					if err := unix.Kill(kids[0], unix.SIGKILL); err != nil {
						t.Fatal(err)
					}
					if code := await(t, cmd); code != exitError {
						t.Errorf("exit status %d, want %d", code, exitError)
					}
					holds(t, stderr.String(), "signal 9")
				}
				t.Logf("gone after %v", nothingNew(t, before, mark))
			})
		}
	}
}

// TestKilledFreesTheKernelsCount lets the kernel say that no namespace is left:
// a user namespace in which 60 network namespaces may exist has room for 50 more
// after a lab of 50 was killed.
func TestKilledFreesTheKernelsCount(t *testing.T) {
	labtest.Need(t, "userns")
	first := scriptFile(t, busy)
	second := scriptFile(t, "for i in range(50):\n    netns('n%d' % i)\nprint('again')")
	cmd := inUserns(nsscript(t, first), `echo 60 > /proc/sys/user/max_net_namespaces
"$1" "$2" || true
n=0
until "$1" -q `+second+` 2> /dev/null; do n=$((n + 1)); test $n -lt 600; sleep 0.1; done
set -- true`)
	_, rest := begin(t, cmd)
	outer := children(cmd.Process.Pid)
	if len(outer) != 1 {
		t.Fatalf("the shell has children %v", outer)
	}
	if err := unix.Kill(outer[0], unix.SIGKILL); err != nil {
		t.Fatal(err)
	}
	text, _ := io.ReadAll(rest)
	if code := await(t, cmd); code != 0 || !strings.Contains(string(text), "again") {
		t.Errorf("no room for a second lab: status %d, %q", code, text)
	}
}

func TestTwentyLabsAtOnce(t *testing.T) {
	file := scriptFile(t, small+`
print(sorted([l.name for l in blue.links]), exec_in(red, "ls /run/netns").stdout.split())
sleep(0.2)
expect.eq([n.name for n in namespaces()], ["blue", "red"])
require(ping(red, "10.1.1.1").ok)
`)
	var wg sync.WaitGroup
	outcomes := make([]outcome, 20)
	before := traces("lab.star")
	for i := range outcomes {
		cmd := nsscript(t, file)
		if i%2 == 1 {
			cmd = asOrdinary(cmd)
		}
		wg.Go(func() { outcomes[i] = finish(t, cmd) })
	}
	wg.Wait()
	for _, o := range outcomes {
		if o.code != exitOK || o.stdout != outcomes[0].stdout {
			t.Errorf("exit status %d\n%s%s", o.code, o.stdout, o.stderr)
		}
	}
	holds(t, outcomes[0].stdout, `["a", "lo"] ["blue", "red"]`)
	nothingNew(t, before, "lab.star")
}

func TestMaskedPaths(t *testing.T) {
	labtest.Need(t, "userns", "mount", "setpriv")
	const (
		maskProc     = "mount --bind /dev/null /proc/interrupts\nmount -t tmpfs -o ro tmpfs /proc/fs\n"
		readOnlyProc = "mount --bind /proc/sys /proc/sys\nmount -o remount,bind,ro,nosuid,nodev,noexec /proc/sys\n"
		maskSys      = "mount -t tmpfs -o ro tmpfs /sys/kernel\n"
		readOnlySys  = "mount --rbind /sys /sys\nmount -o remount,bind,ro,nosuid,nodev,noexec /sys\n"
	)
	script := small + `
print("proc", len(exec_in(blue, "cat /proc/self/status").stdout) > 0)
print("links", [l.name for l in blue.links])
dummy_end, _ = veth("d0", "d1", ns=blue)
move(dummy_end, 1)
print("root", [l.name for l in root.links])
print("done")
`
	for _, c := range []struct {
		name, mounts string
		reduced      []string
		whole        bool // nothing is reduced
	}{
		{"nothing", ":", nil, true},
		{"proc as docker masks it", maskProc + readOnlyProc, []string{"outer /proc", "/proc/sys is read-only", "systempaths=unconfined"}, false},
		{"proc, sysctls can be set", maskProc, []string{"outer /proc"}, false},
		{"sys", maskSys, []string{"outer /sys"}, false},
		{"sys read-only", readOnlySys, []string{"outer /sys"}, false},
		{"both", maskProc + readOnlyProc + maskSys + readOnlySys, []string{"outer /proc", "outer /sys", "read-only"}, false},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := nsscript(t, scriptFile(t, script))
			// As in a container, the mounts are not the user's to undo.
			cmd.Args = append([]string{"setpriv", "--bounding-set=-sys_admin", "--inh-caps=-all"}, cmd.Args...)
			o := runs(t, exitOK, inUserns(cmd, c.mounts))
			holds(t, o.stdout, "done")
			holds(t, o.stderr, c.reduced...)
			if got := strings.Contains(o.stderr, "reduced"); got == c.whole {
				t.Errorf("says that it is reduced: %v\n%s", got, o.stderr)
			}
			if n := strings.Count(o.stderr, "outer /proc"); n > 1 {
				t.Errorf("says %d times that it is reduced", n)
			}
		})
	}
}

func TestForbidden(t *testing.T) {
	labtest.Need(t, "userns")
	ordinary := func(cmd *exec.Cmd, before string) *exec.Cmd {
		c := inUserns(cmd, before)
		c.SysProcAttr.UidMappings[0].ContainerID = 1000
		c.SysProcAttr.GidMappings[0].ContainerID = 1000
		c.SysProcAttr.AmbientCaps = []uintptr{unix.CAP_SYS_ADMIN, unix.CAP_SYS_RESOURCE, unix.CAP_DAC_OVERRIDE}
		return c
	}
	for _, c := range []struct {
		name, before string
		words        []string
	}{
		{"no user namespaces", "echo 0 > /proc/sys/user/max_user_namespaces",
			[]string{"user.max_user_namespaces=0", "sudo sysctl user.max_user_namespaces="}},
		{"no network namespaces", "echo 0 > /proc/sys/user/max_net_namespaces",
			[]string{"user.max_net_namespaces=0", "sudo sysctl user.max_net_namespaces="}},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := runs(t, exitCannot, ordinary(nsscript(t, scriptFile(t, small)), c.before))
			holds(t, o.stderr, c.words...)
			holds(t, o.stderr, "does not allow a private lab")
			if strings.Contains(o.stderr, "goroutine") || o.stdout != "" {
				t.Errorf("stdout %q, stderr %q", o.stdout, o.stderr)
			}
		})
	}
	t.Run("chroot", func(t *testing.T) {
		labtest.Need(t, "root", "nobody")
		cmd := asNobody(nsscript(t, "/lab.star"))
		dir := labtest.PublicDir(t)
		for from, to := range map[string]string{labtest.Binary(t): "nsscript", scriptFile(t, small): "lab.star"} {
			text, err := os.ReadFile(from)
			if err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(filepath.Join(dir, to), text, 0o755); err != nil {
				t.Fatal(err)
			}
		}
		if out, _ := exec.Command("ldd", labtest.Binary(t)).CombinedOutput(); !strings.Contains(string(out), "not a dynamic") {
			labtest.Lacks(t, "static", "nsscript was built with cgo: CGO_ENABLED=0 makes it static")
		}
		cmd.Path, cmd.SysProcAttr.Chroot = "/nsscript", dir
		o := runs(t, exitCannot, cmd)
		holds(t, o.stderr, "chroot", "as root")
	})
}
