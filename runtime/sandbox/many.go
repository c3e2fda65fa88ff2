package sandbox

import (
	"os"
	"runtime"
	"sync"
	"syscall"

	"nsscript/runtime/sandbox/again"
)

// Lab is one of several private labs that a program looks after at once. No signals
// are forwarded to it: the program decides when it ends.
type Lab struct{ p *again.Process }

// Start starts a private lab and does not wait for it; it dies with this process. The
// error is a [*Forbidden] when this machine does not allow it.
func Start(o Options) (*Lab, error) {
	var p *again.Process
	var err error
	onStarter(func() { p, err = startAgain(o) })
	if err != nil {
		return nil, diagnose(err, os.ReadFile)
	}
	if err := identify(p); err != nil {
		p.Close()
		return nil, err
	}
	o.tell(p)
	return &Lab{p}, nil
}

// Wait waits for the lab's end, once; the error is a [*Crash] when its process did not
// end by itself.
func (l *Lab) Wait() (status int, err error) {
	defer l.p.Close()
	return wait(l.p)
}

// Kill ends the lab at once. The kernel removes all of it.
func (l *Lab) Kill() { l.p.Signal(syscall.SIGKILL) }

// starter runs functions on a thread that lasts as long as the process: labs die with
// the thread that started them (PR_SET_PDEATHSIG, prctl(2)).
var starter = sync.OnceValue(func() chan<- func() {
	calls := make(chan func())
	go func() {
		runtime.LockOSThread()
		for call := range calls {
			call()
		}
	}()
	return calls
})

func onStarter(call func()) {
	done := make(chan struct{})
	starter() <- func() {
		defer close(done)
		call()
	}
	<-done
}
