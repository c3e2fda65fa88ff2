package again

import (
	"os"
	"os/signal"
	"strconv"
	"sync"
	"sync/atomic"
	"syscall"
	"time"
)

// state is what is known of the inner process.
type state struct {
	mapped, told, watched bool
	interrupted           atomic.Bool // somebody asked for the end

	mu        sync.Mutex // guards gone
	gone      bool       // the pid may be somebody else's
	status    syscall.WaitStatus
	announced bool
}

// What the outer process says on the lifeline.
const (
	SayIDs       = 0 // the ids are mapped
	SayInterrupt = 1 // the user asks for the end
)

// MapOneID gives the user namespace of the inner process one id, the user's own, as
// anybody may, and says so; setgroups(2) is given up for that (user_namespaces(7)).
func (p *Process) MapOneID() error {
	if err := p.MapUID(); err != nil {
		return err
	}
	if err := p.MapGID(); err != nil {
		return err
	}
	p.SayMapped()
	return nil
}

// MapUID maps the user's id.
func (p *Process) MapUID() error {
	return p.writeMap("uid_map", "0 "+strconv.Itoa(os.Geteuid())+" 1")
}

// MapGID maps the group's.
func (p *Process) MapGID() error {
	if err := p.writeMap("setgroups", "deny"); err != nil {
		return err
	}
	return p.writeMap("gid_map", "0 "+strconv.Itoa(os.Getegid())+" 1")
}

// SayMapped tells the inner process that it has its ids.
func (p *Process) SayMapped() {
	_, _ = p.Lifeline.Write([]byte{SayIDs})
	p.mapped = true
}

// Mapped tells whether that was said.
func (p *Process) Mapped() bool { return p.mapped }

func (p *Process) writeMap(file, text string) error {
	return os.WriteFile("/proc/"+strconv.Itoa(p.PID)+"/"+file, []byte(text), 0)
}

// Tell says the message. The inner process is starting meanwhile, and it may end
// without having listened.
func (p *Process) Tell(message string) {
	_, _ = p.Message.WriteString(message)
	p.Message.Close()
	p.told = true
}

// Told tells whether the message was said.
func (p *Process) Told() bool { return p.told }

// forwarded are the signals that a user or a supervisor sends to the outer
// process and means for the lab.
var forwarded = []os.Signal{syscall.SIGINT, syscall.SIGTERM, syscall.SIGHUP, syscall.SIGQUIT, syscall.SIGUSR1, syscall.SIGUSR2, syscall.SIGWINCH, syscall.SIGTSTP, syscall.SIGCONT}

// Watch begins to pass signals on, once. One that comes before ends this process, and
// that ends the inner one. It never ends: to stop catching signals takes a while, and
// the program is to end with the inner process.
func (p *Process) Watch() {
	if p.watched {
		return
	}
	p.watched = true
	signals := make(chan os.Signal, 8)
	signal.Notify(signals, forwarded...)
	go p.forward(signals)
}

// forward passes signals on. A pid 1 does not stop by itself at SIGTSTP (Ctrl-Z):
// it is stopped, and this process too, until SIGCONT comes and is passed on.
func (p *Process) forward(signals <-chan os.Signal) {
	for s := range signals {
		if s == syscall.SIGTSTP {
			p.Signal(syscall.SIGSTOP)
			_ = syscall.Kill(os.Getpid(), syscall.SIGSTOP)
			continue
		}
		p.interrupt(s)
		p.Signal(s.(syscall.Signal))
	}
}

// interrupt says on the lifeline that somebody asks for the end: a signal that
// comes before the inner process has a handler is lost, since it is a pid 1.
func (p *Process) interrupt(s os.Signal) {
	if s != syscall.SIGINT && s != syscall.SIGTERM && s != syscall.SIGHUP && s != syscall.SIGQUIT {
		return
	}
	if !p.interrupted.CompareAndSwap(false, true) {
		return
	}
	_, _ = p.Lifeline.Write([]byte{SayInterrupt})
	if p.Journal == nil { // a private lab leaves nothing behind, however it ends
		time.AfterFunc(grace, func() { p.Signal(syscall.SIGKILL) })
	}
}

// Interrupted tells whether somebody asked for the end.
func (p *Process) Interrupted() bool { return p.interrupted.Load() }

// grace is how long the inner process may take to end after an interruption. It may be
// in the middle of copying a string of gigabytes, which nothing else can stop.
const grace = 3 * time.Second

// Signal sends a signal as long as the pid is the inner process's.
func (p *Process) Signal(s syscall.Signal) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if !p.gone {
		_ = syscall.Kill(p.PID, s)
	}
}

// Wait waits for the end of the inner process and gives its pid back; asked again, it
// says the same.
func (p *Process) Wait() (syscall.WaitStatus, error) {
	if p.gone {
		return p.status, nil
	}
	err := ignoringEINTR(func() error {
		const pid, exited, leave = 1, 4, 0x1000000 // P_PID, WEXITED, WNOWAIT of waitid(2)
		_, _, errno := syscall.Syscall6(syscall.SYS_WAITID, pid, uintptr(p.PID), 0, exited|leave, 0, 0)
		if errno != 0 {
			return errno
		}
		return nil
	})
	if err != nil {
		return 0, err
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.gone = true
	err = ignoringEINTR(func() error {
		_, err := syscall.Wait4(p.PID, &p.status, 0, nil)
		return err
	})
	p.announced = err == nil && p.status.Exited() && p.said()
	return p.status, err
}

// Announced tells whether it ended of its own making, which it said on the lifeline.
func (p *Process) Announced() bool { return p.announced }

func (p *Process) said() bool {
	var b [1]byte
	n, _, err := syscall.Recvfrom(int(p.Lifeline.Fd()), b[:], syscall.MSG_DONTWAIT)
	return err == nil && n == 1
}

func ignoringEINTR(call func() error) error {
	for {
		if err := call(); err != syscall.EINTR {
			return err
		}
	}
}

// Words are what the Go runtime wrote when it crashed, at most its first 256 KiB.
func (p *Process) Words() []byte { return readAll(p.Crash) }

// Done is what the inner process has done to the machine, with Config.Host.
func (p *Process) Done() []byte { return readAll(p.Journal) }

// readAll returns what was written to a memfd, or nothing of nil.
func readAll(f *os.File) []byte {
	info, err := f.Stat()
	if err != nil {
		return nil
	}
	b := make([]byte, min(info.Size(), 256<<10))
	n, _ := f.ReadAt(b, 0)
	return b[:n]
}
