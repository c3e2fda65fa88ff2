// Package sandbox makes the private lab: the program starts itself again in new
// user (when it is not root), mount, pid, net, uts and ipc namespaces and
// becomes their pid 1. Whatever the lab makes (namespaces, links, mounts,
// processes, files under /run) belongs to these namespaces, so when that
// process ends, however it ends, the kernel removes all of it: no clean-up code
// is trusted with that.
//
// A program calls [Inside] first. Outside it calls [Run], which starts the
// program again and returns its exit status; inside it calls [Enter] and then
// [Reap] on its first thread.
//
// It isolates the network, not files: a script may run any program as the user
// who started it.
package sandbox

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync/atomic"
	"syscall"

	"golang.org/x/sys/unix"
)

// marker is the environment variable that tells the inner process what it is;
// [Enter] removes it.
const marker = "_NSSCRIPT_SANDBOX"

// The inner process's extra descriptors.
const (
	lifelineFD = 3 // a socket whose other end the outer process holds
	stderrFD   = 4 // the user's stderr; absent with Options.RawStderr
)

// What the outer process says on the lifeline.
const (
	sayIDs       = 0 // the ids are mapped
	sayInterrupt = 1 // the user asks for the end
)

// namespaces is what the inner process gets, beside a user namespace.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWPID | unix.CLONE_NEWNET | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC

// Options of a private lab.
type Options struct {
	// Keep lists directories that the lab must still see although they are
	// under /run, which the lab covers with its own: where the script is,
	// the working directory, TMPDIR. Others are ignored.
	Keep []string
	// RawStderr leaves the Go runtime's crash reports on stderr (test
	// binaries want them) instead of turning them into a [Crash].
	RawStderr bool
	// Message is for the inner process, which cannot see what the outer one
	// sees of the machine.
	Message string
}

// config is what the outer process tells the inner one.
type config struct {
	Keep      []string `json:",omitempty"`
	RawStderr bool     `json:",omitempty"`
	// AwaitIDs: the user namespace has no ids yet; wait for them.
	AwaitIDs bool   `json:",omitempty"`
	Message  string `json:",omitempty"`
}

// Inside tells whether this process is the inner one, the lab's pid 1.
func Inside() bool { return os.Getenv(marker) != "" }

// Run starts the program again, with the same arguments, inside a private lab,
// and waits for it. It forwards signals, and it dies with the inner process and
// the inner process with it. Call it on the program's first thread: the inner
// process dies with the thread that started it (PR_SET_PDEATHSIG, prctl(2)).
//
// The error is a [*Forbidden] when this machine does not allow it and a
// [*Crash] when the inner process did not end by itself; else the status is
// what the inner process exited with.
func Run(o Options) (status int, err error) {
	cfg := config{Keep: o.Keep, RawStderr: o.RawStderr, Message: o.Message}
	// From now on, so that no signal finds the inner process without us.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	defer signal.Stop(signals)
	var ids *idMaps
	rootless := os.Geteuid() != 0
	if rootless {
		ids = findIDMaps()
	}
	in, err := start(cfg, rootless, ids)
	if errors.Is(err, unix.EPERM) && !rootless {
		// root without CAP_SYS_ADMIN, as in a container: like anybody else.
		in, err = start(cfg, true, nil)
	}
	if err != nil {
		return 0, diagnose(err, os.ReadFile)
	}
	return in.wait(signals)
}

// inner is the running inner process as the outer one sees it.
type inner struct {
	cmd      *exec.Cmd
	lifeline *os.File
	crash    *os.File // what the Go runtime wrote to descriptor 2; or nil
	// interrupted is set when somebody asked for the end.
	interrupted atomic.Bool
}

// start starts the inner process.
func start(cfg config, userns bool, ids *idMaps) (*inner, error) {
	cfg.AwaitIDs = userns && ids != nil
	text, err := json.Marshal(cfg)
	if err != nil {
		return nil, err
	}
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	in := &inner{lifeline: os.NewFile(uintptr(pair[0]), "lifeline")}
	theirs := os.NewFile(uintptr(pair[1]), "lifeline")
	defer theirs.Close()

	in.cmd = selfCommand()
	in.cmd.Env = append(os.Environ(), marker+"="+string(text))
	in.cmd.Stdin, in.cmd.Stdout, in.cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	in.cmd.ExtraFiles = []*os.File{theirs}
	if !cfg.RawStderr {
		fd, err := unix.MemfdCreate("nsscript-crash", unix.MFD_CLOEXEC)
		if err != nil {
			return nil, fmt.Errorf("memfd_create: %w", err)
		}
		in.crash = os.NewFile(uintptr(fd), "crash")
		in.cmd.Stderr = in.crash
		in.cmd.ExtraFiles = append(in.cmd.ExtraFiles, os.Stderr)
	}
	in.cmd.SysProcAttr = &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: unix.SIGKILL}
	if userns {
		setUserNamespace(in.cmd.SysProcAttr, ids)
	}
	if err := in.cmd.Start(); err != nil {
		in.close()
		return nil, err
	}
	if cfg.AwaitIDs {
		if err := ids.apply(in.cmd.Process.Pid); err != nil {
			_ = in.cmd.Process.Kill()
			_ = in.cmd.Wait()
			in.close()
			return nil, err
		}
		_, _ = in.lifeline.Write([]byte{sayIDs})
	}
	return in, nil
}

// selfCommand runs this program again. Its real path is used where it can be,
// so that the process has the program's name and not "exe".
func selfCommand() *exec.Cmd {
	path, err := os.Executable()
	if err != nil || unix.Access(path, unix.X_OK) != nil {
		path = "/proc/self/exe"
	}
	cmd := exec.Command(path)
	cmd.Args = os.Args
	return cmd
}

func (in *inner) close() {
	in.lifeline.Close()
	if in.crash != nil {
		in.crash.Close()
	}
}

// forwarded are the signals that a user or a supervisor sends to the outer
// process and means for the lab.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH}

// interrupt says on the lifeline that somebody asks for the end: a signal that
// comes before the inner process has a handler is lost, since it is a pid 1.
func (in *inner) interrupt(s os.Signal) {
	if s != unix.SIGINT && s != unix.SIGTERM && s != unix.SIGHUP && s != unix.SIGQUIT {
		return
	}
	if in.interrupted.CompareAndSwap(false, true) {
		_, _ = in.lifeline.Write([]byte{sayInterrupt})
	}
}

// wait waits for the inner process, passing signals on.
func (in *inner) wait(signals <-chan os.Signal) (int, error) {
	defer in.close()
	done := make(chan struct{})
	defer close(done)
	go func() {
		for {
			select {
			case s := <-signals:
				in.interrupt(s)
				_ = in.cmd.Process.Signal(s)
			case <-done:
				return
			}
		}
	}()
	err := in.cmd.Wait()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		return 0, fmt.Errorf("wait for the lab: %w", err)
	}
	return in.verdict(in.cmd.ProcessState.Sys().(syscall.WaitStatus))
}

// verdict tells an exit of the inner process's own making, which it announced
// on the lifeline, from a crash.
func (in *inner) verdict(ws syscall.WaitStatus) (int, error) {
	var words []byte
	if in.crash != nil {
		words = readAll(in.crash)
	}
	if ws.Exited() && in.announced() {
		os.Stderr.Write(words) // not a crash, yet somebody wrote there: lose nothing
		return ws.ExitStatus(), nil
	}
	if in.interrupted.Load() && ws.Exited() {
		return 128 + int(unix.SIGINT), nil // it came before the inner process could be told
	}
	return 0, &Crash{Status: ws, Words: string(words)}
}

// announced tells whether the inner process said that it would end.
func (in *inner) announced() bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(in.lifeline.Fd()), b[:], unix.MSG_DONTWAIT)
	return err == nil && n == 1
}

// readAll returns what was written to a memfd, at most its first 256 KiB.
func readAll(f *os.File) []byte {
	b := make([]byte, 256<<10)
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}

func readTrimmed(path string) string {
	b, err := os.ReadFile(path)
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(b))
}

// Crash is an inner process that ended without meaning to: a fatal error of the
// Go runtime (a stack overflow cannot be recovered) or a signal, most often the
// kernel's out-of-memory killer.
type Crash struct {
	Status syscall.WaitStatus
	// Words is what the Go runtime wrote, for a bug report.
	Words string
}

func (c *Crash) Error() string {
	if c.Status.Signaled() {
		s := c.Status.Signal()
		text := fmt.Sprintf("the lab's process was ended by signal %d (%s)", int(s), s)
		if s == unix.SIGKILL {
			text += ": by somebody's kill -9, or by the kernel because memory ran out (see dmesg)"
		}
		return text
	}
	reason := "exit status " + strconv.Itoa(c.Status.ExitStatus())
	for line := range strings.Lines(c.Words) {
		if r, ok := crashReason(strings.TrimSpace(line)); ok {
			reason = r
			break
		}
	}
	return "the lab's process crashed: " + reason
}

// crashReason finds the line of a Go crash that says why, and puts the frequent
// ones into the words of somebody who wrote a script.
func crashReason(line string) (string, bool) {
	switch {
	case strings.HasPrefix(line, "runtime: goroutine stack exceeds"):
		return "data nested too deeply, or a recursion without end (its stack grew beyond all bounds)", true
	case strings.HasPrefix(line, "runtime: out of memory"), strings.HasPrefix(line, "runtime: cannot allocate"):
		return "memory ran out (" + strings.TrimPrefix(line, "runtime: ") + ")", true
	case strings.HasPrefix(line, "runtime: failed to create new OS thread"), strings.HasPrefix(line, "runtime/cgo: pthread_create failed"):
		return "no thread could be started: memory or a limit on processes (ulimit -u, pids.max) ran out", true
	case strings.HasPrefix(line, "fatal error: "), strings.HasPrefix(line, "panic: "), isSignalLine(line):
		return strings.TrimPrefix(line, "fatal error: "), true
	}
	return "", false
}

// isSignalLine recognizes how the Go runtime names a signal that ended it:
// "SIGSEGV: segmentation violation".
func isSignalLine(line string) bool {
	name, _, found := strings.Cut(line, ": ")
	return found && strings.HasPrefix(name, "SIG") && unix.SignalNum(name) != 0
}

// lastCap is the highest capability that this kernel knows.
func lastCap() uintptr {
	n, err := strconv.Atoi(readTrimmed("/proc/sys/kernel/cap_last_cap"))
	if err != nil {
		return unix.CAP_LAST_CAP
	}
	return uintptr(n)
}

// setUserNamespace adds a new user namespace. Without id ranges Go maps the one
// id while the child waits in fork. With ranges newuidmap has to do it, which
// happens after the child's exec: ambient capabilities carry its rights across
// that exec, since an unmapped user is not root there.
func setUserNamespace(a *syscall.SysProcAttr, ids *idMaps) {
	a.Cloneflags |= unix.CLONE_NEWUSER
	if ids != nil {
		for c := uintptr(0); c <= lastCap(); c++ {
			a.AmbientCaps = append(a.AmbientCaps, c)
		}
		return
	}
	a.UidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Geteuid(), Size: 1}}
	a.GidMappings = []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getegid(), Size: 1}}
}

func init() {
	if Inside() {
		// The wait loop of [Reap] and PR_SET_PDEATHSIG belong to a thread.
		runtime.LockOSThread()
	}
}
