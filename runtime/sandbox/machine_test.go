package sandbox_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"nsscript/runtime/labtest"
)

// These tests look at the machine itself, from outside any lab.
func TestMain(m *testing.M) { labtest.Outside(m) }

// big changes, in its lab, everything that it can name.
const big = `
blue, red = netns("blue"), netns("red")
a, b = veth("a", "b", ns=blue, peer_ns=red, addr=["10.1.1.1/24", "fd00::1/64"], peer_addr=["10.1.1.2/24", "fd00::2/64"], up=True)
up(a, b)
require(ping(blue, "10.1.1.2").ok)
x, y = veth("eth0", "nsscript1", addr="10.2.0.1/24", up=True)
up(y)
route(root, "default", via="10.2.0.9")
route(root, "192.0.2.0/24", type="blackhole", table=77)
rule(root, src="10.1.0.0/16", table=77)
for ns in [root, blue, red]:
    sysctl(ns, "net.ipv4.ip_forward", 1)
    sysctl(ns, "net.ipv6.conf.all.forwarding", 1)
    sysctl(ns, "net.ipv4.conf.all.rp_filter", 2)
exec_in(root, "mount -t tmpfs tmpfs /mnt && mkdir -p /run/nsscript-test && touch /run/nsscript-test/file && hostname nsscript-test")
spawn(red, ["sleep", "600"])
`

// runScript runs a script as a user: "" for the one who runs the tests.
func runScript(t *testing.T, text, user string) string {
	t.Helper()
	path := filepath.Join(labtest.PublicDir(t), "lab.star")
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(labtest.Binary(t), path)
	cmd.Dir = "/"
	if user == "nobody" {
		labtest.Need(t, "nobody")
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		if cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3 {
			labtest.Need(t, "userns") // skips, or fails where it is required
		}
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

// machineState is what a lab must not change: links, addresses, routes, rules,
// per-namespace sysctls, mounts, names of namespaces, the host's name. Counters
// and lifetimes are left out.
func machineState(t *testing.T) map[string]string {
	t.Helper()
	found := map[string]string{}
	for _, what := range []string{"-d link", "addr", "-4 route show table all", "-6 route show table all", "-4 rule", "-6 rule"} {
		out, err := exec.Command("ip", append([]string{"-j"}, strings.Fields(what)...)...).Output()
		if err != nil {
			t.Fatalf("ip %s: %v", what, err)
		}
		var objects []any
		if len(out) > 0 {
			if err := json.Unmarshal(out, &objects); err != nil {
				t.Fatalf("ip %s: %v", what, err)
			}
		}
		for i, o := range objects {
			if m, ok := o.(map[string]any); ok {
				withoutLifetimes(m)
			}
			text, _ := json.Marshal(o)
			found[fmt.Sprintf("ip %s %d", what, i)] = string(text)
		}
	}
	_ = filepath.WalkDir("/proc/sys/net", func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() || strings.HasSuffix(path, "_count") {
			return nil
		}
		if text, err := os.ReadFile(path); err == nil {
			found[path] = string(text)
		}
		return nil
	})
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		found["mount "+line] = ""
	}
	names, _ := os.ReadDir("/run/netns")
	for _, n := range names {
		found["/run/netns/"+n.Name()] = ""
	}
	for _, path := range []string{"/run/nsscript-test", "/proc/sys/kernel/hostname"} {
		text, err := os.ReadFile(path)
		found[path] = string(text) + fmt.Sprint(err)
	}
	return found
}

func withoutLifetimes(m map[string]any) {
	for _, key := range []string{"valid_life_time", "preferred_life_time", "expires", "stats", "stats64", "age", "gc_timer", "hello_timer", "tcn_timer"} {
		delete(m, key)
	}
	for _, v := range m {
		switch v := v.(type) {
		case map[string]any:
			withoutLifetimes(v)
		case []any:
			for _, x := range v {
				if m, ok := x.(map[string]any); ok {
					withoutLifetimes(m)
				}
			}
		}
	}
}

func TestTheMachineStaysAsItWas(t *testing.T) {
	labtest.Need(t, "iproute2")
	for _, user := range []string{"", "nobody"} {
		t.Run("as "+user, func(t *testing.T) {
			// The machine is others' too: what they change meanwhile is not there
			// in a second try.
			var diff []string
			for range 3 {
				before := machineState(t)
				runScript(t, big, user)
				time.Sleep(50 * time.Millisecond)
				after := machineState(t)
				diff = nil
				for key, value := range before {
					if got, ok := after[key]; !ok {
						diff = append(diff, "gone: "+key)
					} else if got != value {
						diff = append(diff, fmt.Sprintf("%s was %q, is %q", key, value, got))
					}
				}
				for key := range after {
					if _, ok := before[key]; !ok {
						diff = append(diff, "new: "+key)
					}
				}
				if len(diff) == 0 {
					return
				}
			}
			t.Errorf("changed:\n%s", strings.Join(diff, "\n"))
		})
	}
}

// defaults prints the sysctls of the root namespace and of a new one, and how a
// host with two links behaves: it must not forward.
const defaults = `
blue = netns("blue")
for ns in [root, blue]:
    print(exec_in(ns, "cd /proc/sys/net && grep -rs . . | grep -Ev 'stable_secret|_count|flow_limit|tcp_fastopen_key|ping_group_range' | sort").stdout)
print(exec_in(root, "cd /proc/sys/net && grep -s . ipv?/neigh/lo/*").stdout)
left, mid, right = netns("left"), netns("mid"), netns("right")
a, b = veth("a", "b", ns=left, peer_ns=mid, addr="10.0.1.1/24", peer_addr="10.0.1.2/24", up=True)
c, d = veth("c", "d", ns=mid, peer_ns=right, addr="10.0.2.1/24", peer_addr="10.0.2.2/24", up=True)
up(a, b, c, d)
route(left, "default", via="10.0.1.2")
route(right, "default", via="10.0.2.1")
print("one hop", ping(left, "10.0.1.2").ok)
print("two hops", ping(left, "10.0.2.2", timeout="200ms").ok)
print(exec_in(mid, "grep -rs . /proc/sys/net/ipv4/conf/b /proc/sys/net/ipv6/conf/b /proc/sys/net/ipv?/neigh/b | grep -v stable_secret | sort").stdout)
`

// inOuterLab runs the script in a network namespace whose sysctls are others.
func inOuterLab(t *testing.T, settings string) string {
	t.Helper()
	labtest.Need(t, "userns")
	path := filepath.Join(labtest.PublicDir(t), "lab.star")
	if err := os.WriteFile(path, []byte(defaults), 0o644); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command("sh", "-e", "-c", settings+"\nexec \"$@\"", "sh", labtest.Binary(t), path)
	cmd.SysProcAttr = labtest.UserNamespace()
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if err := cmd.Run(); err != nil {
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	return stdout.String()
}

func TestKernelDefaultsInAnOuterLab(t *testing.T) {
	plain := inOuterLab(t, ":")
	if !strings.Contains(plain, "one hop True") || !strings.Contains(plain, "two hops False") || strings.Count(plain, "\n") < 500 {
		t.Fatalf("no good witness:\n%s", plain)
	}
	other := inOuterLab(t, outerSysctls)
	compare(t, plain, other)
	compare(t, plain, runScript(t, defaults, ""))
}

// everythingElse changes whatever is a number, as no machine does.
const everythingElse = `
for f in ipv4/conf/all/* ipv4/conf/default/* ipv6/conf/all/* ipv6/conf/default/* ipv4/neigh/default/* ipv6/neigh/default/*; do
	v=$(cat $f 2> /dev/null) || continue
	case $f:$v in
	*/gc_*|*/mtu:*|*/disable_ipv6:*) ;;
	*:0) echo 1 > $f ;;
	*:1) echo 0 > $f ;;
	*:[0-9]*) echo $((v + 100)) > $f ;;
	esac 2> /dev/null || true
done`

const outerSysctls = `cd /proc/sys/net
echo 1 > ipv4/ip_forward
for d in all default lo; do
	echo 2 > ipv4/conf/$d/rp_filter
	echo 0 > ipv4/conf/$d/accept_redirects
	echo 0 > ipv4/conf/$d/send_redirects
	echo 1 > ipv4/conf/$d/arp_ignore
	echo 1 > ipv4/conf/$d/log_martians
	if test -d ipv6; then
		echo 1 > ipv6/conf/$d/forwarding
		echo 0 > ipv6/conf/$d/accept_ra
		echo 0 > ipv6/conf/$d/autoconf
		echo 33 > ipv6/conf/$d/hop_limit
	fi
done`

// compare compares two outputs of the script. A lab made by root shows some
// sysctls more than one of a user namespace: those are left out.
func compare(t *testing.T, want, got string) {
	t.Helper()
	a, b := commonLines(want, got), commonLines(got, want)
	shown := 0
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] && shown < 20 {
			t.Errorf("%q, want %q", b[i], a[i])
			shown++
		}
	}
	if len(a) != len(b) || len(a) < 500 {
		t.Errorf("%d lines, want %d", len(b), len(a))
	}
}

// commonLines are the lines of a that begin, up to a colon, as some line of b.
func commonLines(a, b string) []string {
	keys := map[string]bool{}
	for line := range strings.Lines(b) {
		key, _, _ := strings.Cut(strings.TrimSpace(line), ":")
		keys[key] = true
	}
	var common []string
	for line := range strings.Lines(a) {
		line = strings.TrimSpace(line)
		if key, _, _ := strings.Cut(line, ":"); keys[key] {
			common = append(common, line)
		}
	}
	return common
}

// TestKernelDefaultsWhateverTheMachines changes the machine's own sysctls, which
// new namespaces copy: only on a throwaway machine.
func TestKernelDefaultsWhateverTheMachines(t *testing.T) {
	labtest.Need(t, "kernel")
	keepSysctls(t)
	plain := runScript(t, defaults, "")
	if out, err := exec.Command("sh", "-e", "-c", outerSysctls+everythingElse).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	for _, inherit := range []string{"0", "1", "2", "3"} {
		t.Run("devconf_inherit_init_net="+inherit, func(t *testing.T) {
			if err := os.WriteFile("/proc/sys/net/core/devconf_inherit_init_net", []byte(inherit), 0); err != nil {
				t.Fatal(err)
			}
			compare(t, plain, runScript(t, defaults, ""))
			compare(t, plain, runScript(t, defaults, "nobody"))
			compare(t, plain, inOuterLab(t, outerSysctls))
		})
	}
	_ = os.WriteFile("/proc/sys/net/core/devconf_inherit_init_net", []byte("0"), 0)
}

// keepSysctls puts the machine's settings of interfaces back after the test:
// those of other packages are still to come.
func keepSysctls(t *testing.T) {
	t.Helper()
	before := map[string][]byte{}
	for _, pattern := range []string{"ipv?/conf/*/*", "ipv?/neigh/*/*", "ipv4/ip_forward"} {
		files, err := filepath.Glob("/proc/sys/net/" + pattern)
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range files {
			if value, err := os.ReadFile(f); err == nil {
				before[f] = value
			}
		}
	}
	t.Cleanup(func() {
		for range 2 { // some change others
			for f, value := range before {
				if now, err := os.ReadFile(f); err == nil && !bytes.Equal(now, value) {
					_ = os.WriteFile(f, value, 0)
				}
			}
		}
	})
}
