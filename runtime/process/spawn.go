package process

import (
	"context"
	"os"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Process is a program that runs beside the script.
type Process struct {
	Argv []string

	child   *child
	done    chan struct{}
	output  tail
	code    int // valid when done is closed
	noticed atomic.Bool
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	mu      sync.Mutex
	kept    []byte
	written int64
}

const maxTail = 1 << 20

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.written += int64(len(p))
	t.kept = append(t.kept, p...)
	if len(t.kept) > 2*maxTail { // and not at each write
		t.kept = append(t.kept[:0], t.kept[len(t.kept)-maxTail:]...)
	}
	return len(p), nil
}

// read returns the last maxTail bytes, and how much was written.
func (t *tail) read() (text string, written int64) {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept[max(0, len(t.kept)-maxTail):]), t.written
}

// Start starts a program and returns at once. Its output is kept, the last
// mebibyte of it.
func Start(enter Enter, s Spec) (*Process, error) {
	p := &Process{Argv: s.Argv, done: make(chan struct{})}
	var err error
	if p.child, err = launch(enter, s, &p.output, &p.output); err != nil {
		return nil, err
	}
	go func() {
		awaitExit(p.child.Process)
		_ = p.child.wait()
		p.code = exitCode(p.child.ProcessState)
		close(p.done)
	}()
	return p, nil
}

// awaitExit waits for the end of a process without holding a thread, as
// os.Process.Wait does: the runtime's poller watches a pidfd. Where there is
// none, it returns at once.
func awaitExit(p *os.Process) {
	_ = p.WithHandle(func(handle uintptr) {
		fd, err := unix.FcntlInt(handle, unix.F_DUPFD_CLOEXEC, 0)
		if err != nil {
			return
		}
		if unix.SetNonblock(fd, true) != nil {
			unix.Close(fd)
			return
		}
		f := os.NewFile(uintptr(fd), "pidfd")
		defer f.Close()
		raw, err := f.SyscallConn()
		if err != nil {
			return
		}
		_ = raw.Read(func(fd uintptr) bool {
			fds := []unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}
			n, err := unix.Poll(fds, 0)
			return n > 0 || err != nil && err != unix.EINTR
		})
	})
}

// Pid is the process's id in the lab.
func (p *Process) Pid() int { return p.child.Process.Pid }

// Running tells whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Settle waits for Done when the process is gone from the system.
func (p *Process) Settle() {
	if unix.Kill(p.Pid(), 0) == unix.ESRCH {
		<-p.done
	}
}

// Code is the exit status (128 + N after signal N), and whether it has ended.
func (p *Process) Code() (code int, ended bool) {
	if p.Running() {
		return 0, false
	}
	return p.code, true
}

// Done is closed when it has ended and its output is complete.
func (p *Process) Done() <-chan struct{} { return p.done }

// Notice says that somebody has taken note of how it ended, or made it end.
func (p *Process) Notice() { p.noticed.Store(true) }

// Noticed tells whether Notice was called.
func (p *Process) Noticed() bool { return p.noticed.Load() }

// Output is the last mebibyte of what it has printed so far, on both streams.
func (p *Process) Output() string {
	text, _ := p.output.read()
	return text
}

// Printed is how many bytes it has printed so far.
func (p *Process) Printed() int64 {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.written
}

// Lines are the lines of the output, without their ends ("\n", or "\r\n" as a
// terminal has it). The last may be one that is not complete yet; the first is a
// whole one, also where the beginning of the output was dropped.
func (p *Process) Lines() []string {
	text, written := p.output.read()
	if int64(len(text)) < written {
		_, text, _ = strings.Cut(text, "\n")
	}
	if text == "" {
		return nil
	}
	lines := strings.Split(strings.TrimSuffix(text, "\n"), "\n")
	for i, l := range lines {
		lines[i] = strings.TrimSuffix(l, "\r")
	}
	return lines
}

// Wait waits for the end; false means that ctx ended first. A process that has
// ended needs no waiting, even when ctx has ended too.
func (p *Process) Wait(ctx context.Context) bool {
	select {
	case <-p.done:
		return true
	case <-ctx.Done():
		return !p.Running()
	}
}

// Signal sends a signal to the process's group.
func (p *Process) Signal(s syscall.Signal) error {
	if !p.Running() {
		return nil
	}
	if err := unix.Kill(-p.Pid(), s); err != nil && err != unix.ESRCH {
		return err
	}
	return nil
}

// Stop asks the process to end (SIGTERM) and kills it when it has not ended
// after grace.
func (p *Process) Stop(ctx context.Context, grace time.Duration) error {
	if err := p.Signal(unix.SIGTERM); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, grace)
	defer cancel()
	if !p.Wait(ctx) {
		p.Kill()
	}
	return nil
}

// Kill ends the process's group at once and waits until it is gone.
func (p *Process) Kill() {
	_ = p.Signal(unix.SIGKILL)
	<-p.done
}
