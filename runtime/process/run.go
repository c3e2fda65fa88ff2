package process

import (
	"bytes"
	"context"
	"errors"
	"os"
	"os/exec"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// MaxOutput is how much of each output stream is kept; what comes after is
// read and thrown away.
const MaxOutput = 64 << 20

// Result is a program that has ended.
type Result struct {
	Argv      []string
	Code      int // exit status; 128 + N when signal N ended it, as a shell has it
	Stdout    string
	Stderr    string
	Took      time.Duration
	Truncated bool // it printed more than MaxOutput
}

// bounded keeps the first MaxOutput bytes of what is written to it. The buffer is
// no embedded one: io.Copy would find its ReadFrom, which has no bounds.
type bounded struct {
	kept bytes.Buffer
	cut  bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := MaxOutput - b.kept.Len()
	if len(p) > room {
		b.cut = true
		b.kept.Write(p[:room])
		return len(p), nil
	}
	return b.kept.Write(p)
}

// Run runs a program to its end. When ctx ends first, the program's process
// group is killed and the error is ctx's cause; the Result has what it printed.
// When ctx has ended before, nothing is started: whether a program can be faster
// than its killer would be left to chance.
func Run(ctx context.Context, enter Enter, s Spec) (Result, error) {
	if ctx.Err() != nil {
		return Result{Argv: s.Argv}, context.Cause(ctx)
	}
	var stdout, stderr bounded
	began := time.Now()
	c, err := launch(enter, s, &stdout, &stderr)
	if err != nil {
		return Result{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-c.Process.Pid, unix.SIGKILL) })
	err = c.wait()
	stop()
	r := Result{
		Argv: s.Argv, Code: exitCode(c.ProcessState), Stdout: stdout.kept.String(), Stderr: stderr.kept.String(),
		Took: time.Since(began), Truncated: stdout.cut || stderr.cut,
	}
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) && !errors.Is(err, exec.ErrWaitDelay) {
		return r, err
	}
	if ctx.Err() != nil && r.Code == 128+int(unix.SIGKILL) {
		return r, context.Cause(ctx)
	}
	return r, nil
}

// exitCode is -1 when it is not known: when the thread that started the process
// has ended, the process is the first thread's, which reaps it as an orphan
// (wait(2)). That happens only when the lab ends.
func exitCode(s *os.ProcessState) int {
	if s == nil {
		return -1
	}
	if ws, ok := s.Sys().(syscall.WaitStatus); ok && ws.Signaled() {
		return 128 + int(ws.Signal())
	}
	return s.ExitCode()
}
