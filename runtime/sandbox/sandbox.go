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
	"os"
	"runtime"
	"strconv"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"

	"nsscript/runtime/sandbox/again"
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
	// Program is what is started; nil starts this process's arguments again.
	Program *again.Program
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
	p := o.Started
	if p == nil {
		if p, err = startAgain(o); err != nil {
			return 0, diagnose(err, os.ReadFile)
		}
	}
	defer p.Close()
	if err := identify(p); err != nil {
		return 0, err
	}
	p.Watch()
	o.tell(p)
	return wait(p)
}

// identify gives the inner process its ids, where it waits for them.
func identify(p *again.Process) error {
	if !p.AwaitIDs || p.Mapped() {
		return nil
	}
	if err := giveIDs(p); err != nil {
		return diagnose(err, os.ReadFile)
	}
	return nil
}

// tell says what the inner process wants to know, once.
func (o Options) tell(p *again.Process) {
	if p.Told() {
		return
	}
	said := ""
	if o.Message != nil {
		said = o.Message()
	}
	p.Tell(said)
}

func wait(p *again.Process) (status int, err error) {
	ws, err := p.Wait()
	if err != nil {
		return 0, fmt.Errorf("wait for the lab: %w", err)
	}
	return verdict(p, ws)
}

// startAgain starts the inner process.
func startAgain(o Options) (*again.Process, error) {
	c := again.Config{RawStderr: o.RawStderr, Host: o.Host, AwaitIDs: os.Geteuid() != 0 && !o.Host, Program: o.Program}
	p, err := again.Start(c)
	if errors.Is(err, unix.EPERM) && !c.AwaitIDs && !o.Host {
		// root without CAP_SYS_ADMIN, as in a container: like anybody else.
		c.AwaitIDs = true
		p, err = again.Start(c)
	}
	return p, err
}

// giveIDs maps the ids of the user namespace and says so; when that fails, it ends
// the inner process.
func giveIDs(p *again.Process) error {
	if err := mapIDs(p); err != nil {
		p.Signal(unix.SIGKILL)
		_, _ = p.Wait()
		return err
	}
	p.SayMapped()
	return nil
}

// verdict tells an exit of the inner process's own making, which it announced
// on the lifeline, from a crash.
func verdict(p *again.Process, ws syscall.WaitStatus) (int, error) {
	words := p.Words()
	if p.Announced() {
		os.Stderr.Write(words) // not a crash, yet somebody wrote there: lose nothing
		return ws.ExitStatus(), nil
	}
	if p.Interrupted() && (ws.Exited() || p.Journal == nil && ws.Signal() == unix.SIGKILL) {
		return 0, ErrInterrupted
	}
	return 0, &Crash{Status: ws, Words: string(words), Done: string(p.Done())}
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
