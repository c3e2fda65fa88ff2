package iproute

import (
	"bufio"
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// insideMark says that the test binary was started again in namespaces of its
// own, as their pid 1. They end with it.
const insideMark = "NSSCRIPT_IPROUTE_TEST_INSIDE"

// lacking skips for want of something of the machine, or fails when the
// environment says that it has to be there.
func lacking(t *testing.T, what, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("NSSCRIPT_REQUIRE"), ","), what) {
		t.Fatal(why)
	}
	t.Skip(why)
}

// runInside runs the test of the calling function's name in namespaces of its
// own; false means that this is the process that is in them.
func runInside(t *testing.T) bool {
	if os.Getenv(insideMark) != "" {
		enter(t)
		return false
	}
	for _, program := range []string{"ip", "sysctl", "sh"} {
		if _, err := exec.LookPath(program); err != nil {
			lacking(t, "iproute2", err.Error())
		}
	}
	err := error(unix.EPERM)
	if os.Getuid() == 0 {
		err = startInside(t, &syscall.SysProcAttr{})
	}
	if errors.Is(err, unix.EPERM) {
		err = startInside(t, &syscall.SysProcAttr{
			Cloneflags:  unix.CLONE_NEWUSER,
			UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
			GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
		})
	}
	if err != nil {
		lacking(t, "sandbox", "no namespaces to test in: "+err.Error())
	}
	return true
}

func startInside(t *testing.T, attr *syscall.SysProcAttr) error {
	attr.Cloneflags |= unix.CLONE_NEWNET | unix.CLONE_NEWNS | unix.CLONE_NEWPID
	cmd := exec.CommandContext(t.Context(), "/proc/self/exe", "-test.run=^"+t.Name()+"$", "-test.v")
	cmd.Env = append(os.Environ(), insideMark+"=1")
	cmd.SysProcAttr = attr
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	err := cmd.Run()
	var exit *exec.ExitError
	switch {
	case errors.As(err, &exit):
		t.Errorf("inside: %s\n%s", err, out.Bytes())
	case err != nil:
		return err
	default:
		t.Logf("inside:\n%s", out.Bytes())
	}
	return nil
}

// enter gives the namespaces their own /run, /proc and, where that is allowed,
// /sys.
func enter(t *testing.T) {
	for _, m := range []struct {
		source, target, kind string
		flags                uintptr
	}{
		{"", "/", "", unix.MS_REC | unix.MS_PRIVATE},
		{"tmpfs", "/run", "tmpfs", 0},
		{"proc", "/proc", "proc", 0},
		{"sysfs", "/sys", "sysfs", 0},
	} {
		if err := unix.Mount(m.source, m.target, m.kind, m.flags, ""); err != nil && m.kind != "sysfs" {
			lacking(t, "sandbox", "cannot mount "+m.target+" in namespaces of its own: "+err.Error())
		}
	}
}

// shell is one that runs all command lines: to start one for each takes longer than what
// they do.
var shell = sync.OnceValues(func() (in io.Writer, out *bufio.Reader) {
	cmd := exec.Command("sh")
	stdin, err := cmd.StdinPipe()
	if err != nil {
		panic(err)
	}
	stdout, err := cmd.StdoutPipe()
	if err != nil {
		panic(err)
	}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	return stdin, bufio.NewReader(stdout)
})

// sh runs a command line.
func sh(line string) (string, error) {
	const mark = "@ status "
	in, out := shell()
	if _, err := fmt.Fprintf(in, "{ %s\n} </dev/null 2>&1; status=$?; echo; echo %s$status\n", line, mark); err != nil {
		return "", err
	}
	var said strings.Builder
	for {
		text, err := out.ReadString('\n')
		if err != nil {
			return said.String(), fmt.Errorf("the shell ended: %w", err)
		}
		status, end := strings.CutPrefix(strings.TrimSpace(text), mark)
		switch {
		case !end:
			said.WriteString(text)
		case status == "0":
			return strings.TrimSpace(said.String()), nil
		default:
			return strings.TrimSpace(said.String()), errors.New("exit status " + status)
		}
	}
}

// optional are parts of commands that not every kernel can do.
var optional = []string{"vlan_filtering", "type vlan", "bridge -n A vlan", "type wireguard", "wg set", "type macsec", "A macsec", " fou "}

// TestKernel runs every command of the table, in its order, and looks at the
// result with `ip` itself.
func TestKernel(t *testing.T) {
	if runInside(t) {
		return
	}
	for _, exact := range []bool{false, true} {
		name := "plain"
		if exact {
			name = "exact"
		}
		t.Run(name, func(t *testing.T) {
			for _, c := range rendered {
				for _, line := range Commands(c.e, exact) {
					build(t, line)
				}
			}
			inspect(t, exact)
			for _, line := range []string{"ip netns del A", "ip netns del B", "ip netns del 'we ird'", "ip link del veth0"} {
				if out, err := sh(line); err != nil {
					t.Fatalf("%s: %v: %s", line, err, out)
				}
			}
		})
	}
}

func build(t *testing.T, line string) {
	out, err := sh(line)
	switch {
	case err == nil:
		return
	case strings.HasPrefix(line, "nsenter ") && !has("nsenter"), strings.Contains(line, " nft ") && !has("nft"):
		t.Logf("left out, for there is no such program: %s", line)
		return
	}
	if f, err := os.OpenFile("/dev/net/tun", os.O_RDWR, 0); err == nil {
		f.Close()
	} else if strings.Contains(line, " t8 ") || strings.Contains(line, " t9 ") || strings.Contains(line, " u8 ") {
		t.Run("without tun", func(t *testing.T) { lacking(t, "tun", err.Error()) })
		return
	}
	if strings.Contains(line, "wg set") && !has("wg") {
		lacking(t, "wg", "no program wg (Debian's package wireguard-tools)")
	}
	for _, o := range optional {
		unsupported := strings.Contains(out, "not supported") || strings.Contains(out, "Unknown device type") ||
			(strings.Contains(line, "A macsec") || strings.Contains(line, " fou ")) && strings.Contains(out, "No such file") // of generic netlink
		if strings.Contains(line, o) && unsupported {
			t.Run("without "+o, func(t *testing.T) { lacking(t, o, "this kernel cannot "+line) })
			return
		}
	}
	t.Errorf("%s: %v: %s", line, err, out)
}

func has(program string) bool {
	_, err := exec.LookPath(program)
	return err == nil
}

// inspect compares what the table has built with what it says.
func inspect(t *testing.T, exact bool) {
	type finding struct {
		line string
		want []string
	}
	findings := []finding{
		{"ip -o link show veth0", []string{"veth0@veth1"}},
		{"ip -n A -o link show veth0", []string{"veth0@if", " mtu 1400 ", " qlen 5"}},
		{"ip -n B -o link show veth1", []string{"veth1@if", " mtu 1300 ", " qlen 6"}},
		{"ip -n A -d link show br0", []string{" forward_delay 400 ", " hello_time 100 ", " max_age 600 ", " ageing_time 30000 ", " priority 100 ", " group_fwd_mask 0x8 ", " mcast_snooping 0 "}},
		{"ip -n A -4 addr show dev veth0", []string{"inet 10.1.0.1/24 scope global veth0", "inet 10.1.4.1/24 scope global dynamic veth0"}},
		{"ip -n A -6 addr show dev veth0", []string{"fd01::1/64 scope global nodad", "fe80::7/64 scope link nodad"}},
		{"ip -n A -4 route show table all", []string{
			"default via inet6 fe80::5 dev veth0 metric 3", "10.9.1.0/24 dev veth0 proto 77 \n", "blackhole 10.9.3.0/24 metric 7",
			"10.9.0.0/24 via 10.1.0.2 dev veth0 table 100 proto static src 10.1.0.1 metric 5 mtu 1300 advmss 1200",
			"throw default table 101", "local 10.9.4.0/24 dev lo table local scope host", "10.9.6.0/24 via 192.168.5.5 dev veth0 onlink",
		}},
		{"ip -n A -6 route show default", []string{"default via fd01::2 dev veth0"}},
		{"ip -n A -6 route show fd04::/64", []string{"nexthop via fd01::2 dev veth0 weight 1", "nexthop via fd01::3 dev veth0 weight 1"}},
		{"ip -n A rule", []string{"100:	not from 10.0.0.0/8 to 10.1.0.0/16 tos 0x10 fwmark 0x1/0xff iif veth0 oif lo uidrange 0-0 ipproto tcp sport 1-5 dport 80 lookup 100 suppress_prefixlength 0", "102:	from all nop", "goto 32766"}},
		{"ip -n A neigh show nud permanent", []string{"10.1.0.9 dev veth0 lladdr " + mac2 + " PERMANENT"}},
		{"ip -n A neigh show proxy", []string{"10.1.0.8 dev veth0"}},
		{"ip netns exec A cat /proc/sys/net/ipv4/conf/veth0/rp_filter /proc/sys/net/ipv4/conf/eth0.10/forwarding", []string{"2\n1"}},
	}
	if exact {
		queues := " numtxqueues 1 numrxqueues 1 "
		findings = append(findings,
			finding{"ip -d -o link show veth0", []string{"2: veth0@", mac1, queues}},
			finding{"ip -d -o link show veth1", []string{"3: veth1@", mac2, queues}},
			finding{"ip -n A -d -o link show veth0", []string{"12: veth0@", mac1, queues}},
			finding{"ip -n B -d -o link show veth1", []string{"13: veth1@", mac2, queues}},
			finding{"ip -n A -o link show br0", []string{"30: br0: ", mac1}},
		)
	}
	for _, f := range findings {
		out, err := sh(f.line)
		if err != nil {
			t.Errorf("%s: %v: %s", f.line, err, out)
		}
		for _, want := range f.want {
			if !strings.Contains(out, want) {
				t.Errorf("%s does not show %q:\n%s", f.line, want, out)
			}
		}
	}
	for _, gone := range []string{"ip link show eth9", "ip -n A link show dev b", "ip netns exec blue true"} {
		if out, err := sh(gone); err == nil {
			t.Errorf("%s succeeds: %s", gone, out)
		}
	}
}

// TestKernelScript runs a whole script, which a shell reads from its standard
// input.
func TestKernelScript(t *testing.T) {
	if runInside(t) {
		return
	}
	dir := "/run/test"
	if err := os.Mkdir(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	shell := func(ns, text string, args ...string) event.Event {
		return ev("exec", ns, append([]string{"argv=/bin/sh", "argv=-c", "argv=" + text, "cwd=" + dir}, args...)...)
	}
	events := []event.Event{
		ev("link set", "", "dev=lo", "up"),
		ev("netns add", "", "name=blue"),
		ev("link add", "blue", "type=veth", "name=veth1", "index=5", "address="+mac1, "peer name=veth0", "peer index=6", "peer address="+mac2, "peer netns=1"),
		ev("addr add", "blue", "address=10.1.1.1/24", "dev=veth1"),
		ev("link set", "blue", "dev=veth1", "up"),
		ev("link set", "", "dev=veth0", "up"),
		ev("addr renew", "blue", "address=fe80::ff:fe00:1/64", "dev=veth1", "nodad"),
		ev("exec", "blue", "argv=cat"), // must not read the script
		shell("blue", "cat >input", "input=a\n'b' $c\n"),
		shell("", `printf %s "$X" >env; id -u >>env; cat >nul`, "env=X=it's", "input=\x00\x01%\\"),
		shell("blue", "ip -br addr >addr; exit 3", "code=3"),
		ev("spawn", "blue", "argv=/bin/sh", "argv=-c", "argv=cat >spawned", "cwd="+dir, "input=from afar"),
		shell("", "while ! [ -s spawned ]; do sleep 0.01; done"),
	}
	want := map[string]string{"input": "a\n'b' $c\n", "env": "it's0\n", "nul": "\x00\x01%\\", "spawned": "from afar"}
	if uids, err := os.ReadFile("/proc/self/uid_map"); err == nil && strings.Fields(string(uids))[2] != "1" && has("setpriv") {
		if err := os.Chmod(dir, 0o777); err != nil {
			t.Fatal(err)
		}
		events = append(events, shell("blue", `id -u -n >user; id -G -n | tr ' ' '\n' | sort >>user`, "user=nobody"))
		groups, err := sh("id -G -n nobody | tr ' ' '\\n' | sort")
		if err != nil {
			t.Fatal(err)
		}
		want["user"] = "nobody\n" + groups + "\n"
	}
	for _, exact := range []bool{false, true} {
		script := Script(events, exact, nil)
		cmd := exec.Command("sh")
		cmd.Stdin = strings.NewReader(script)
		if out, err := cmd.CombinedOutput(); err != nil || len(out) > 0 {
			t.Fatalf("%v: %s\nexact=%v:\n%s", err, out, exact, script)
		}
		for name, text := range want {
			got, err := os.ReadFile(filepath.Join(dir, name))
			if err != nil || string(got) != text {
				t.Errorf("%s is %q, not %q (%v), exact=%v:\n%s", name, got, text, err, exact, script)
			}
			os.Remove(filepath.Join(dir, name))
		}
		got, err := os.ReadFile(filepath.Join(dir, "addr"))
		if err != nil || !strings.Contains(string(got), "10.1.1.1/24") || exact && !strings.Contains(string(got), "fe80::ff:fe00:1/64") {
			t.Errorf("blue has %s (%v), exact=%v", got, err, exact)
		}
		if out, err := sh("ip link del veth0 && ip netns del blue"); err != nil {
			t.Fatalf("%v: %s", err, out)
		}
	}
}
