package main

import (
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

func TestInterrupted(t *testing.T) {
	scripts := []struct{ name, text string }{
		{"sleep", `sleep(600)`},
		{"exec_in", `exec_in(netns(), ["sleep", "600"])`},
		{"a program that ignores signals", `exec_in(netns(), "trap '' INT TERM; while :; do sleep 600; done")`},
		{"ping", `
blue = netns()
a, _ = veth("a", "b", ns=blue, addr="10.0.0.1/24", up=True)
ping(blue, "10.0.0.9", count=1000, timeout="600s")`},
		{"all probes at once", `
blue = netns()
a, b = veth("a", "b", ns=blue, peer_ns=root, addr="10.0.0.1/24", peer_addr="10.0.0.2/24", up=True)
neighbor(a, "10.0.0.9", "02:00:00:00:00:09") # where nobody is
long, cap = "600s", capture(b, proto="vlan")
parallel([
    lambda: ping(blue, "10.0.0.9", count=1000, timeout=long),
    lambda: ping_all([(blue, "10.0.0.9")], timeout=long),
    lambda: arping(a, "10.0.0.9", count=1000, timeout=long),
    lambda: traceroute(blue, "10.0.0.9", timeout=long),
    lambda: tcp(blue, "10.0.0.9:80", timeout=long),
    lambda: udp(blue, "10.0.0.9:80", timeout=long),
    lambda: http(blue, "GET", "http://10.0.0.9/", timeout=long),
    lambda: dns(blue, "x", server="10.0.0.9", timeout=long),
    lambda: throughput(blue, root, long),
    lambda: throughput(blue, root, long, proto="udp", rate="1mbit"),
    lambda: dhcp_client(a, timeout=long),
    lambda: cap.wait(timeout=long),
    lambda: expect.packet(cap, timeout=long),
    lambda: expect.no_packet(cap, hold=long),
    lambda: expect.path(blue, "10.0.0.9", [], timeout=long),
    lambda: expect.reachable(blue, "10.0.0.9", timeout=long),
    lambda: expect.unreachable(blue, "10.0.0.9", hold=long),
    lambda: expect.always(lambda: True, hold=long),
    lambda: spawn(blue, ["sleep", "600"], ready=99, timeout=long),
])`},
		{"endless loop", "while True:\n    pass"},
		// One call of Starlark's that takes minutes and looks at nothing.
		{"one long step", "x = []\nfor i in range(300000):\n    x = [x]\nstr(x)"},
		{"check", `expect.eventually(lambda: False, timeout="600s")`},
	}
	for _, s := range scripts {
		for _, how := range []struct {
			name  string
			sig   syscall.Signal
			group bool
		}{
			{"to the parent", unix.SIGINT, false},
			{"to the group, as a terminal does", unix.SIGINT, true},
			{"SIGTERM", unix.SIGTERM, false},
		} {
			t.Run(s.name+"/"+how.name, func(t *testing.T) {
				t.Parallel()
				mark := fmt.Sprintf("mark-%d", time.Now().UnixNano())
				cmd := nsscript(t, scriptFile(t, "param('mark', '')\nspawn(netns('bg'), ['sh', '-c', 'sleep 600; : "+mark+"'])\nprint('begun')\n"+s.text), "mark="+mark)
				cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
				var stderr strings.Builder
				cmd.Stderr = &stderr
				begin(t, cmd)
				time.Sleep(100 * time.Millisecond)
				target := cmd.Process.Pid
				if how.group {
					target = -target
				}
				began := time.Now()
				if err := unix.Kill(target, how.sig); err != nil {
					t.Fatal(err)
				}
				code := await(t, cmd)
				// The scripts take ten minutes; the end takes a second at most, and
				// what a busy machine adds.
				if took := time.Since(began); code != exitInterrupted || took > patience/4 {
					t.Errorf("exit status %d after %v", code, took)
				}
				holds(t, stderr.String(), "nsscript: interrupted")
				if strings.Contains(stderr.String(), "goroutine") || strings.Count(stderr.String(), "interrupted") > 1 {
					t.Errorf("stderr: %s", stderr.String())
				}
				for time.Since(began) < patience {
					if len(labtest.Processes(mark)) == 0 {
						return
					}
					time.Sleep(10 * time.Millisecond)
				}
				t.Errorf("left behind: %v", labtest.Processes(mark))
			})
		}
	}
}

func TestCrashReport(t *testing.T) {
	for _, c := range []struct{ name, limits, text, words string }{
		{"stack overflow", ":", `json.decode("[" * 20000000)`, "nested too deeply"},
		// Too little for the 4 GB of addresses that Starlark reserves, which it says.
		{"out of memory", "ulimit -v 2000000", "x = 'x' * 1000\nwhile True:\n    x = x + x", "memory ran out"},
		{"out of memory in small steps", "ulimit -v 2000000", "x = []\nwhile True:\n    x.append('a' * 10000000 + str(len(x)))", "memory ran out"},
	} {
		t.Run(c.name, func(t *testing.T) {
			cmd := nsscript(t, scriptFile(t, c.text))
			cmd.Args = append([]string{"sh", "-e", "-c", c.limits + "\nexec \"$@\"", "sh"}, cmd.Args...)
			cmd.Path, _ = exec.LookPath("sh")
			o := runs(t, exitError, cmd)
			holds(t, o.stderr, c.words)
			if strings.Count(o.stderr, "\n") > 5 || strings.Contains(o.stderr, "goroutine") || strings.Contains(o.stderr, ".go:") {
				t.Errorf("no readable report:\n%s", o.stderr)
			}
		})
	}
	for _, c := range []struct{ name, text, words string }{
		{"nested parentheses", "x = " + strings.Repeat("(", 200000) + "1" + strings.Repeat(")", 200000), "nesting"},
		{"recursion", "def f():\n    return f()\nf()", "recursion"},
		{"comparison", "x = []\ny = []\nfor i in range(1000000):\n    x = [x]\n    y = [y]\nx == y", "recursion depth"},
	} {
		t.Run(c.name, func(t *testing.T) {
			o := runs(t, exitError, nsscript(t, scriptFile(t, c.text)))
			holds(t, o.stderr, "lab.star:", c.words)
			if strings.Contains(o.stderr, "goroutine") {
				t.Errorf("a Go trace:\n%s", o.stderr)
			}
		})
	}
}

func TestExitStatus(t *testing.T) {
	for _, c := range []struct {
		code int
		text string
		args []string
	}{
		{exitOK, "expect(True)", nil},
		{exitCheckFailed, "expect(False)", nil},
		{exitCheckFailed, "require(False)", nil},
		{exitError, "1 // 0", nil},
		{exitError, "this is no Starlark", nil},
		{exitCannot, `exec_in(root, ["no-such-program-anywhere"])`, nil},
		{exitSkipped, "skip('not today')", nil},
		{exitUsage, "", []string{"unknown=1"}},
		{exitUsage, "", []string{"--no-such-flag"}},
		{exitUsage, "", []string{"word"}},
		{exitError, "while True:\n    pass", []string{"--timeout=100ms"}},
	} {
		o := finish(t, nsscript(t, append([]string{scriptFile(t, c.text)}, c.args...)...))
		if o.code != c.code {
			t.Errorf("%s %v: exit status %d, want %d\n%s", c.text, c.args, o.code, c.code, o.stderr)
		}
	}
}

func TestStandardInput(t *testing.T) {
	cmd := nsscript(t, "-", "n=3")
	cmd.Stdin = strings.NewReader("print('read', param('n', 1))")
	o := runs(t, exitOK, cmd)
	if o.stdout != "read 3\n" {
		t.Errorf("stdout: %q", o.stdout)
	}
	holds(t, o.stderr, "-: 0 checks")
}

// TestTerminal runs nsscript on a terminal of its own and types Ctrl-C there.
func TestTerminal(t *testing.T) {
	labtest.Need(t, "terminal")
	master, err := os.OpenFile("/dev/ptmx", os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer master.Close()
	if err := unix.IoctlSetPointerInt(int(master.Fd()), unix.TIOCSPTLCK, 0); err != nil {
		t.Fatal(err)
	}
	n, err := unix.IoctlGetInt(int(master.Fd()), unix.TIOCGPTN)
	if err != nil {
		t.Fatal(err)
	}
	slave, err := os.OpenFile(fmt.Sprintf("/dev/pts/%d", n), os.O_RDWR|unix.O_NOCTTY, 0)
	if err != nil {
		t.Fatal(err)
	}
	cmd := nsscript(t, scriptFile(t, "expect(False, 'in colour')\nprint('begun')\nsleep(600)"))
	cmd.Env = append(os.Environ(), "NO_COLOR=", "TERM=xterm")
	cmd.Stdin, cmd.Stdout, cmd.Stderr = slave, slave, slave
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Setctty: true}
	if err := cmd.Start(); err != nil {
		t.Fatal(err)
	}
	slave.Close()
	var text strings.Builder
	var b [256]byte
	for !strings.Contains(text.String(), "begun") {
		n, err := master.Read(b[:])
		if err != nil {
			t.Fatalf("%v after %q", err, text.String())
		}
		text.Write(b[:n])
	}
	if _, err := master.WriteString("\x03"); err != nil {
		t.Fatal(err)
	}
	code := await(t, cmd)
	rest, _ := io.ReadAll(master) // ends with EIO
	text.Write(rest)
	if code != exitInterrupted {
		t.Errorf("exit status %d", code)
	}
	holds(t, text.String(), "\x1b[31mFAILED", "interrupted")
}

// TestScriptUnderRun has everything that the lab covers with its own /run: the
// script, what it loads and reads, the working directory, TMPDIR, resolv.conf.
func TestScriptUnderRun(t *testing.T) {
	labtest.Need(t, "userns", "mount")
	const script = `
load("lib.star", "answer")
print(answer, read_file("data.txt").strip(), exec_in(root, "pwd; ls /run; touch here; mktemp > /dev/null && cat /etc/resolv.conf").stdout.split())
print(catch(lambda: exec_in(root, "echo > /run/resolv/conf")))
`
	cmd := nsscript(t, "script/lab.star")
	file := scriptFile(t, script)
	o := runs(t, exitOK, inUserns(cmd, `mount -t tmpfs tmpfs /run
mkdir -p /run/user/1000/script /run/tmp /run/secret /run/resolv
cp `+file+` /run/user/1000/script/lab.star
echo 'answer = 42' > /run/user/1000/script/lib.star
echo data > /run/user/1000/script/data.txt
echo '# of /run' > /run/resolv/conf
mount --bind /run/resolv/conf /etc/resolv.conf || true
cd /run/user/1000
export TMPDIR=/run/tmp`))
	holds(t, o.stdout, "42 data", `"/run/user/1000"`, `"netns"`, `"tmp"`)
	if strings.Contains(o.stdout, "secret") {
		t.Errorf("the lab sees all of the machine's /run: %s", o.stdout)
	}
}

// TestScriptInRun: a script directly in /run, where the folders are not lent.
func TestScriptInRun(t *testing.T) {
	labtest.Need(t, "userns", "mount")
	file := scriptFile(t, `load("lib.star", "answer")
print(answer, exec_in(root, "ls /run").stdout.split(), catch(lambda: exec_in(root, "echo > /run/lib.star")))
`)
	o := runs(t, exitOK, inUserns(nsscript(t, "/run/lab.star"), `mount -t tmpfs tmpfs /run
mkdir /run/secret
cp `+file+` /run/lab.star
echo 'answer = 42' > /run/lib.star
cd /run`))
	holds(t, o.stdout, "42\n", `["lab.star", "lib.star", "netns"]`, "Read-only file system")
}

// TestInterruptedEarly: a signal that comes while the lab is being made is not
// lost, though its pid 1 has no handler yet.
func TestInterruptedEarly(t *testing.T) {
	labtest.Need(t, "sandbox")
	script := scriptFile(t, "sleep(600)")
	for delay := time.Duration(0); delay < 20*time.Millisecond; delay += time.Millisecond {
		cmd := nsscript(t, script)
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		time.Sleep(delay)
		if err := cmd.Process.Signal(unix.SIGINT); err != nil {
			t.Fatal(err)
		}
		code := await(t, cmd)
		ws := cmd.ProcessState.Sys().(syscall.WaitStatus)
		// Before the runtime has started, the signal itself ends the process.
		if code != exitInterrupted && ws.Signal() != unix.SIGINT {
			t.Errorf("after %v: exit status %d", delay, code)
		}
	}
}
