package main

import (
	"os"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"
)

// TestBrokenPipe: when nobody reads on, the run ends as other programs do, without
// a word.
func TestBrokenPipe(t *testing.T) {
	for _, args := range [][]string{{}, {"explain"}} {
		cmd := nsscript(t, append(args, scriptFile(t, "netns('a')\nfor i in range(20000):\n    print('line %d' % i)"))...)
		r, w, err := os.Pipe()
		if err != nil {
			t.Fatal(err)
		}
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = w, &stderr
		if len(args) > 0 {
			r.Close() // what explain prints comes at the end
		}
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		w.Close()
		_, _ = r.Read(make([]byte, 10))
		r.Close()
		code := await(t, cmd)
		if len(args) > 0 {
			holds(t, stderr.String(), "broken pipe")
			if code != exitError {
				t.Errorf("%v: exit status %d", args, code)
			}
			continue
		}
		if code != exitBrokenPipe || stderr.String() != "" {
			t.Errorf("exit status %d, stderr %q", code, stderr.String())
		}
	}
}

// TestFullDisk: what cannot be written is an error.
func TestFullDisk(t *testing.T) {
	file := scriptFile(t, "netns('a')\nprint(1)")
	for _, args := range [][]string{{file}, {"explain", file}, {"doc"}, {"doc", "veth"}, {"--help"}, {"--version"}, {"run", "--help"}} {
		full, err := os.OpenFile("/dev/full", os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		cmd := nsscript(t, args...)
		var stderr strings.Builder
		cmd.Stdout, cmd.Stderr = full, &stderr
		if err := cmd.Start(); err != nil {
			t.Fatal(err)
		}
		full.Close()
		if code := await(t, cmd); code != exitError || !strings.Contains(stderr.String(), "no space left on device") {
			t.Errorf("%v: exit status %d, stderr %s", args, code, stderr.String())
		}
	}
}

// TestStopAndContinue: Ctrl-Z stops the script, too, although its process is a
// pid 1, which has no stop signals of its own.
func TestStopAndContinue(t *testing.T) {
	t.Parallel()
	cmd := nsscript(t, scriptFile(t, "print('begun')\nfor i in range(300):\n    sleep('10ms')\nprint('done')"))
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	_, stdout := begin(t, cmd)
	if err := unix.Kill(cmd.Process.Pid, unix.SIGTSTP); err != nil {
		t.Fatal(err)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		_, _ = stdout.Read(make([]byte, 100))
	}()
	select {
	case <-done:
		t.Error("the script went on")
	case <-time.After(5 * time.Second): // the script takes three
	}
	if err := unix.Kill(cmd.Process.Pid, unix.SIGCONT); err != nil {
		t.Fatal(err)
	}
	<-done
	if code := await(t, cmd); code != exitOK {
		t.Errorf("exit status %d", code)
	}
}
