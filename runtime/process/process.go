// Package process runs programs: to their end ([Run]) or beside the script
// ([Start]). Where they run is the caller's business: it passes a function that
// calls another on a thread in the right namespace, and a process belongs to
// the namespace of the thread that started it.
package process

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to run.
type Spec struct {
	// Argv is the program and its arguments; a name without a slash is looked
	// up in PATH, in that of Env if it has one.
	Argv []string
	// Input is what the program reads on its standard input; empty for none.
	Input string
	// Env is added to the environment, as NAME=value.
	Env []string
	// Dir is the working directory; empty for the current one.
	Dir string
	// User runs the program as another user, by name or number.
	User string
	// DieWithParent ends the process when the thread that started it ends
	// (PR_SET_PDEATHSIG); needed where no pid namespace does that.
	DieWithParent bool
}

// Enter runs fn on a thread that is where the process shall be.
type Enter func(fn func() error) error

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

// NotFound says that there is no such program.
type NotFound struct{ Program string }

func (e *NotFound) Error() string { return fmt.Sprintf("command not found: %s", e.Program) }

// bounded keeps the first MaxOutput bytes of what is written to it.
type bounded struct {
	bytes.Buffer
	cut bool
}

func (b *bounded) Write(p []byte) (int, error) {
	room := MaxOutput - b.Len()
	if len(p) > room {
		b.cut = true
		b.Buffer.Write(p[:max(room, 0)])
		return len(p), nil
	}
	return b.Buffer.Write(p)
}

// command prepares an exec.Cmd in a process group of its own.
func command(s Spec) (*exec.Cmd, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return nil, errors.New("an empty command")
	}
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
	cmd.Dir = s.Dir
	if len(s.Env) > 0 {
		cmd.Env = append(os.Environ(), s.Env...)
	}
	if path, given := s.path(); given && !strings.Contains(s.Argv[0], "/") {
		cmd.Path, cmd.Err = lookUp(s.Argv[0], path, s.Dir)
	}
	if s.Input != "" {
		cmd.Stdin = strings.NewReader(s.Input)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.DieWithParent {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	// A background child of the program may hold its output open for ever.
	cmd.WaitDelay = time.Second
	if s.User != "" {
		c, err := credential(s.User)
		if err != nil {
			return nil, err
		}
		cmd.SysProcAttr.Credential = c
	}
	return cmd, nil
}

// path is the PATH of the program's own environment, if that has another one.
func (s *Spec) path() (path string, given bool) {
	for _, e := range s.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path, given = value, true
		}
	}
	return path, given
}

// lookUp finds a program as `env PATH=path name` does, in the program's own PATH
// and from its working directory; exec.Command looks in ours.
func lookUp(name, path, dir string) (string, error) {
	for _, at := range filepath.SplitList(path) {
		if !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		file, err := filepath.Abs(filepath.Join(at, name))
		if err != nil {
			return "", err
		}
		if _, err := exec.LookPath(file); err == nil {
			return file, nil
		}
	}
	return name, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// credential looks a user up, with all groups.
func credential(name string) (*syscall.Credential, error) {
	u, err := user.Lookup(name)
	if err != nil {
		if u, err = user.LookupId(name); err != nil {
			return nil, fmt.Errorf("no user %q on this machine", name)
		}
	}
	uid, err := strconv.ParseUint(u.Uid, 10, 32)
	if err != nil {
		return nil, err
	}
	gid, err := strconv.ParseUint(u.Gid, 10, 32)
	if err != nil {
		return nil, err
	}
	c := &syscall.Credential{Uid: uint32(uid), Gid: uint32(gid)}
	groups, _ := u.GroupIds()
	for _, g := range groups {
		if n, err := strconv.ParseUint(g, 10, 32); err == nil {
			c.Groups = append(c.Groups, uint32(n))
		}
	}
	return c, nil
}

// start starts cmd where enter leads and makes its errors readable.
func start(enter Enter, cmd *exec.Cmd, s Spec) error {
	err := enter(cmd.Start)
	if err == nil {
		return nil
	}
	if noDir := checkDir(s.Dir); noDir != nil {
		return noDir
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		return &NotFound{s.Argv[0]}
	case s.User != "" && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)):
		return &NoIDs{User: s.User, Err: err}
	}
	return err
}

// checkDir says what is wrong with a working directory. The kernel blames the
// program for it: chdir(2) and execve(2) fail alike in the new process.
func checkDir(dir string) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	var cause *os.PathError
	switch {
	case errors.As(err, &cause):
		err = cause.Err
	case err == nil && !info.IsDir():
		err = unix.ENOTDIR
	}
	if err == nil {
		return nil
	}
	return &os.PathError{Op: "change to the working directory", Path: dir, Err: err}
}

// NoIDs says that the lab has no ids to run a program as another user.
type NoIDs struct {
	User string
	Err  error
}

func (e *NoIDs) Error() string {
	return fmt.Sprintf("this lab cannot run a program as %s: it has only one user", e.User)
}
func (e *NoIDs) Unwrap() error { return e.Err }

// Run runs a program to its end. When ctx ends first, the program's process
// group is killed and the error is ctx's cause; the Result has what it printed.
// When ctx has ended before, nothing is started: whether a program can be faster
// than its killer would be left to chance.
func Run(ctx context.Context, enter Enter, s Spec) (Result, error) {
	cmd, err := command(s)
	if err != nil {
		return Result{}, err
	}
	var stdout, stderr bounded
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	if ctx.Err() != nil {
		return Result{Argv: s.Argv}, context.Cause(ctx)
	}
	began := time.Now()
	if err := start(enter, cmd, s); err != nil {
		return Result{}, err
	}
	stop := context.AfterFunc(ctx, func() { _ = unix.Kill(-cmd.Process.Pid, unix.SIGKILL) })
	err = cmd.Wait()
	stop()
	r := Result{
		Argv: s.Argv, Code: exitCode(cmd.ProcessState), Stdout: stdout.String(), Stderr: stderr.String(),
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

// Process is a program that runs beside the script.
type Process struct {
	Argv []string

	cmd    *exec.Cmd
	done   chan struct{}
	output tail
	code   int // valid when done is closed
}

// tail keeps the last bytes of what is written to it.
type tail struct {
	mu   sync.Mutex
	kept []byte
}

const maxTail = 1 << 20

func (t *tail) Write(p []byte) (int, error) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.kept = append(t.kept, p...)
	if over := len(t.kept) - maxTail; over > 0 {
		t.kept = append(t.kept[:0], t.kept[over:]...)
	}
	return len(p), nil
}

func (t *tail) String() string {
	t.mu.Lock()
	defer t.mu.Unlock()
	return string(t.kept)
}

// Start starts a program and returns at once. Its output is kept, the last
// mebibyte of it.
func Start(enter Enter, s Spec) (*Process, error) {
	cmd, err := command(s)
	if err != nil {
		return nil, err
	}
	p := &Process{Argv: s.Argv, cmd: cmd, done: make(chan struct{})}
	cmd.Stdout, cmd.Stderr = &p.output, io.Writer(&p.output)
	if err := start(enter, cmd, s); err != nil {
		return nil, err
	}
	go func() {
		awaitExit(cmd.Process)
		_ = cmd.Wait()
		p.code = exitCode(cmd.ProcessState)
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
func (p *Process) Pid() int { return p.cmd.Process.Pid }

// Running tells whether it has not ended.
func (p *Process) Running() bool {
	select {
	case <-p.done:
		return false
	default:
		return true
	}
}

// Code is the exit status (128 + N after signal N), and whether it has ended.
func (p *Process) Code() (code int, ended bool) {
	if p.Running() {
		return 0, false
	}
	return p.code, true
}

// Output is the last mebibyte of what it has printed so far, on both streams.
func (p *Process) Output() string { return p.output.String() }

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
