package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/sandbox"
)

// catchSignals begins to catch what asks for the end. That takes a while (the
// runtime changes one signal after the other), so it happens beside the start;
// the function that it returns waits for it.
func catchSignals() func() <-chan os.Signal {
	signals, ready := make(chan os.Signal, 1), make(chan struct{})
	go func() {
		signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
		// A write to a pipe that nobody reads is an error then, and not the end.
		signal.Notify(make(chan os.Signal, 1), unix.SIGPIPE)
		close(ready)
	}()
	return func() <-chan os.Signal {
		<-ready
		return signals
	}
}

// errInterrupted is why a run ends after Ctrl-C.
var errInterrupted = errors.New("interrupted")

var interruptedOnce sync.Once

// sayInterrupted says so once, with where the script was if that is known: the script
// may end just when its time is up.
func sayInterrupted(where string) {
	interruptedOnce.Do(func() { fmt.Fprintln(os.Stderr, "nsscript: interrupted"+where) })
}

// interruptible is a context that ends at SIGINT, SIGTERM or SIGHUP. A run that
// does not end then is ended: in a private lab nothing can be left behind, and on
// the machine stuck has undone what it can.
func (s *settings) interruptible(st *sandbox.State) (context.Context, context.CancelFunc) {
	ctx, cancel := context.WithCancelCause(context.Background())
	signals := s.signals() // from here on; nothing has been done before
	go func() {
		select {
		case <-signals:
		case <-st.Interrupted:
		}
		cancel(errInterrupted)
		grace := time.Second / 2
		if s.host {
			grace = 30 * time.Second // the machine's own network is being restored
		}
		time.Sleep(grace)
		sayInterrupted("")
		st.Exit(exitInterrupted)
	}()
	return ctx, func() { cancel(nil) }
}
