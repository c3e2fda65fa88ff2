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
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"runtime"
	"strconv"
	"strings"
	"sync"
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
	messageFD  = 4 // a pipe with what Options.Message says
	stderrFD   = 5 // the user's stderr; absent with Options.RawStderr
	journalFD  = 6 // what it does to the machine; with Options.Host
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
	// Host makes no namespaces: the inner process acts on the machine itself,
	// under the outer one's eyes. It has all the time it wants to end, also when
	// the outer process is gone.
	Host bool
	// Message says what the inner process wants to know of the machine and
	// cannot see; it runs beside the start. nil says nothing.
	Message func() string
}

// config is what the outer process tells the inner one.
type config struct {
	Keep      []string
	RawStderr bool
	Host      bool
	// AwaitIDs: the user namespace has no ids yet; wait for them.
	AwaitIDs bool
}

// String is the configuration as the environment carries it: a letter for each
// switch, and the directories in quotes. (encoding/json takes longer than the
// rest of the start.)
func (c config) String() string {
	b := []byte{' '}
	if c.RawStderr {
		b = append(b, 'r')
	}
	if c.AwaitIDs {
		b = append(b, 'i')
	}
	if c.Host {
		b = append(b, 'h')
	}
	for _, dir := range c.Keep {
		b = strconv.AppendQuote(append(b, ' '), dir)
	}
	return string(b)
}

// parseConfig reads what String wrote.
func parseConfig(text string) (c config, err error) {
	if !strings.HasPrefix(text, " ") {
		return c, errors.New("no configuration")
	}
	switches, rest, _ := strings.Cut(text[1:], " ")
	c.RawStderr, c.AwaitIDs = strings.Contains(switches, "r"), strings.Contains(switches, "i")
	c.Host = strings.Contains(switches, "h")
	for rest != "" {
		quoted, err := strconv.QuotedPrefix(rest)
		if err != nil {
			return c, err
		}
		dir, err := strconv.Unquote(quoted)
		if err != nil {
			return c, err
		}
		c.Keep = append(c.Keep, dir)
		rest = strings.TrimPrefix(rest[len(quoted):], " ")
	}
	return c, nil
}

// Inside tells whether this process is the inner one, the lab's pid 1.
func Inside() bool { return os.Getenv(marker) != "" }

// ErrInterrupted: the user asked for the end before the inner process could be
// told of it.
var ErrInterrupted = errors.New("interrupted")

// Run starts the program again, with the same arguments, inside a private lab,
// and waits for it. It forwards signals, and it dies with the inner process and
// the inner process with it. Call it on the program's first thread: the inner
// process dies with the thread that started it (PR_SET_PDEATHSIG, prctl(2)).
//
// The program is to end then, with that status: it keeps catching signals, since
// to stop that takes a while.
//
// The error is a [*Forbidden] when this machine does not allow it,
// [ErrInterrupted] when the user ended it at once, and a [*Crash] when the inner
// process did not end by itself; else the status is what the inner process exited
// with.
func Run(o Options) (status int, err error) {
	cfg := config{Keep: o.Keep, RawStderr: o.RawStderr, Host: o.Host}
	var ids *idMaps
	rootless := os.Geteuid() != 0 && !o.Host
	if rootless {
		ids = findIDMaps()
	}
	in, err := start(cfg, rootless, ids)
	if errors.Is(err, unix.EPERM) && !rootless && !o.Host {
		// root without CAP_SYS_ADMIN, as in a container: like anybody else.
		in, err = start(cfg, true, nil)
	}
	if err != nil {
		return 0, diagnose(err, os.ReadFile)
	}
	// A signal that comes before this ends us, and that ends the inner process.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	go in.forward(signals)
	in.tell(o.Message)
	ws, err := in.reap()
	defer in.close()
	if err != nil {
		return 0, fmt.Errorf("wait for the lab: %w", err)
	}
	return in.verdict(ws)
}

// inner is the running inner process as the outer one sees it.
type inner struct {
	pid      int
	lifeline *os.File
	message  *os.File
	crash    *os.File // what the Go runtime wrote to descriptor 2; or nil
	journal  *os.File // what was done to the machine; or nil
	// interrupted is set when somebody asked for the end.
	interrupted atomic.Bool

	mu   sync.Mutex // guards gone
	gone bool       // the pid may be somebody else's
}

// start starts the inner process.
func start(cfg config, userns bool, ids *idMaps) (*inner, error) {
	cfg.AwaitIDs = userns && ids != nil
	pair, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, fmt.Errorf("socketpair: %w", err)
	}
	in := &inner{lifeline: os.NewFile(uintptr(pair[0]), "lifeline")}
	theirs := os.NewFile(uintptr(pair[1]), "lifeline")
	defer theirs.Close()
	listen, say, err := os.Pipe()
	if err != nil {
		in.close()
		return nil, err
	}
	defer listen.Close()
	in.message = say

	files := []uintptr{0, 1, 2, theirs.Fd(), listen.Fd()} // in the order of their numbers
	if !cfg.RawStderr {
		if in.crash, err = memoryFile("nsscript-crash"); err != nil {
			in.close()
			return nil, err
		}
		files[2] = in.crash.Fd()
		files = append(files, 2)
	}
	attr := &syscall.SysProcAttr{Cloneflags: namespaces, Pdeathsig: unix.SIGKILL}
	if cfg.Host {
		if in.journal, err = memoryFile("nsscript-journal"); err != nil {
			in.close()
			return nil, err
		}
		files = append(files, in.journal.Fd())
		attr = &syscall.SysProcAttr{Pdeathsig: unix.SIGTERM}
	}
	if userns {
		setUserNamespace(attr, ids)
	}
	// Not os/exec: that first starts another process to see whether the kernel
	// has pidfds.
	in.pid, err = syscall.ForkExec(selfPath(), os.Args, &syscall.ProcAttr{
		Env: append(os.Environ(), marker+"="+cfg.String()), Files: files, Sys: attr,
	})
	if err != nil {
		in.close()
		return nil, err
	}
	if cfg.AwaitIDs {
		if err := ids.apply(in.pid); err != nil {
			_ = unix.Kill(in.pid, unix.SIGKILL)
			_, _ = in.reap()
			in.close()
			return nil, err
		}
		_, _ = in.lifeline.Write([]byte{sayIDs})
	}
	return in, nil
}

// memoryFile makes a file that two processes share and no file system has.
func memoryFile(name string) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC)
	if err != nil {
		return nil, fmt.Errorf("memfd_create: %w", err)
	}
	return os.NewFile(uintptr(fd), name), nil
}

// selfPath is this program. Its real path is used where it can be, so that the
// process has the program's name and not "exe".
func selfPath() string {
	path, err := os.Executable()
	if err != nil || unix.Access(path, unix.X_OK) != nil {
		return "/proc/self/exe"
	}
	return path
}

// tell says the message. The inner process is starting meanwhile, and it may
// end without having listened.
func (in *inner) tell(message func() string) {
	if message != nil {
		_, _ = io.WriteString(in.message, message())
	}
	in.message.Close()
}

func (in *inner) close() {
	in.lifeline.Close()
	in.message.Close()
	if in.crash != nil {
		in.crash.Close()
	}
	if in.journal != nil {
		in.journal.Close()
	}
}

// forwarded are the signals that a user or a supervisor sends to the outer
// process and means for the lab.
var forwarded = []os.Signal{unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT, unix.SIGUSR1, unix.SIGUSR2, unix.SIGWINCH, unix.SIGTSTP, unix.SIGCONT}

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

// forward passes signals on. A pid 1 does not stop by itself at SIGTSTP (Ctrl-Z):
// it is stopped, and this process too, until SIGCONT comes and is passed on.
func (in *inner) forward(signals <-chan os.Signal) {
	for s := range signals {
		if s == unix.SIGTSTP {
			in.signal(unix.SIGSTOP)
			_ = unix.Kill(os.Getpid(), unix.SIGSTOP)
			continue
		}
		in.interrupt(s)
		in.signal(s.(syscall.Signal))
	}
}

// signal sends a signal as long as the pid is the inner process's.
func (in *inner) signal(s syscall.Signal) {
	in.mu.Lock()
	defer in.mu.Unlock()
	if !in.gone {
		_ = unix.Kill(in.pid, s)
	}
}

// reap waits for the end of the inner process and gives its pid back.
func (in *inner) reap() (ws syscall.WaitStatus, err error) {
	err = ignoringEINTR(func() error {
		return unix.Waitid(unix.P_PID, in.pid, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		return 0, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.gone = true
	err = ignoringEINTR(func() error {
		_, err := syscall.Wait4(in.pid, &ws, 0, nil)
		return err
	})
	return ws, err
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != unix.EINTR {
			return err
		}
	}
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
		return 0, ErrInterrupted
	}
	c := &Crash{Status: ws, Words: string(words)}
	if in.journal != nil {
		c.Done = string(readAll(in.journal))
	}
	return 0, c
}

// announced tells whether the inner process said that it would end.
func (in *inner) announced() bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(in.lifeline.Fd()), b[:], unix.MSG_DONTWAIT)
	return err == nil && n == 1
}

// readAll returns what was written to a memfd, at most its first 256 KiB.
func readAll(f *os.File) []byte {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	b := make([]byte, min(info.Size(), 256<<10))
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
	// Done is what State.Journal was told, with Options.Host.
	Done string
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
