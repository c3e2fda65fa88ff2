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
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/sandbox/again"
)

// What the outer process says on the lifeline.
const (
	sayIDs       = 0 // the ids are mapped
	sayInterrupt = 1 // the user asks for the end
)

// Options of a private lab.
type Options struct {
	// Started is the inner process when it has been started already.
	Started *again.Process
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

// Inside tells whether this process is the inner one, the lab's pid 1.
func Inside() bool { return again.Inside() }

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
	in := &inner{Process: o.Started}
	if in.Process == nil {
		if in.Process, err = startAgain(o); err != nil {
			return 0, diagnose(err, os.ReadFile)
		}
	}
	defer in.Close()
	if in.AwaitIDs {
		if err := in.giveIDs(); err != nil {
			return 0, diagnose(err, os.ReadFile)
		}
	}
	// A signal that comes before this ends us, and that ends the inner process.
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	go in.forward(signals)
	in.tell(o.Message)
	ws, err := in.reap()
	if err != nil {
		return 0, fmt.Errorf("wait for the lab: %w", err)
	}
	return in.verdict(ws)
}

// startAgain starts the inner process.
func startAgain(o Options) (*again.Process, error) {
	c := again.Config{RawStderr: o.RawStderr, Host: o.Host, AwaitIDs: os.Geteuid() != 0 && !o.Host}
	p, err := again.Start(c)
	if errors.Is(err, unix.EPERM) && !c.AwaitIDs && !o.Host {
		// root without CAP_SYS_ADMIN, as in a container: like anybody else.
		c.AwaitIDs = true
		p, err = again.Start(c)
	}
	return p, err
}

// inner is the running inner process as the outer one sees it.
type inner struct {
	*again.Process
	// interrupted is set when somebody asked for the end.
	interrupted atomic.Bool

	mu   sync.Mutex // guards gone
	gone bool       // the pid may be somebody else's
}

// giveIDs maps the ids of the user namespace and says so; when that fails, it ends
// the inner process.
func (in *inner) giveIDs() error {
	err := mapIDs(in.PID)
	if err != nil {
		_ = unix.Kill(in.PID, unix.SIGKILL)
		_, _ = in.reap()
		return err
	}
	_, _ = in.Lifeline.Write([]byte{sayIDs})
	return nil
}

// tell says the message. The inner process is starting meanwhile, and it may
// end without having listened.
func (in *inner) tell(message func() string) {
	if message != nil {
		_, _ = io.WriteString(in.Message, message())
	}
	in.Message.Close()
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
	if !in.interrupted.CompareAndSwap(false, true) {
		return
	}
	_, _ = in.Lifeline.Write([]byte{sayInterrupt})
	if in.Journal == nil { // a private lab leaves nothing behind, however it ends
		time.AfterFunc(grace, func() { in.signal(unix.SIGKILL) })
	}
}

// grace is how long the inner process may take to end after an interruption. It may be
// in the middle of copying a string of gigabytes, which nothing else can stop.
const grace = 3 * time.Second

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
		_ = unix.Kill(in.PID, s)
	}
}

// reap waits for the end of the inner process and gives its pid back.
func (in *inner) reap() (ws syscall.WaitStatus, err error) {
	err = ignoringEINTR(func() error {
		return unix.Waitid(unix.P_PID, in.PID, nil, unix.WEXITED|unix.WNOWAIT, nil)
	})
	if err != nil {
		return 0, err
	}
	in.mu.Lock()
	defer in.mu.Unlock()
	in.gone = true
	err = ignoringEINTR(func() error {
		_, err := syscall.Wait4(in.PID, &ws, 0, nil)
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
	if in.Crash != nil {
		words = readAll(in.Crash)
	}
	if ws.Exited() && in.announced() {
		os.Stderr.Write(words) // not a crash, yet somebody wrote there: lose nothing
		return ws.ExitStatus(), nil
	}
	if in.interrupted.Load() && (ws.Exited() || in.Journal == nil && ws.Signal() == unix.SIGKILL) {
		return 0, ErrInterrupted
	}
	c := &Crash{Status: ws, Words: string(words)}
	if in.Journal != nil {
		c.Done = string(readAll(in.Journal))
	}
	return 0, c
}

// announced tells whether the inner process said that it would end.
func (in *inner) announced() bool {
	var b [1]byte
	n, _, err := unix.Recvfrom(int(in.Lifeline.Fd()), b[:], unix.MSG_DONTWAIT)
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

func init() {
	if Inside() {
		// The wait loop of [Reap] and PR_SET_PDEATHSIG belong to a thread.
		runtime.LockOSThread()
	}
}
