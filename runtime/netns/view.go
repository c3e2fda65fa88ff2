package netns

import (
	"errors"
	"fmt"
	"runtime"
	"sync"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// View is what programs see beside their network: a mount namespace and, if it has
// one, a UTS namespace (the hostname). It is there as long as somebody holds it or
// a process is in it.
type View struct {
	mnt, uts int // uts is -1 for that of the process

	mu    sync.Mutex
	holds int
}

// ErrViewGone: nobody holds the view any more.
var ErrViewGone = errors.New("the namespace's view of files has been closed")

// NewView makes a view that begins as a copy of another, or as what the process
// itself sees when from is nil, and calls build there, in the network namespace that
// fd refers to (in the process's own when it is negative). kinds are unshare(2)'s:
// CLONE_NEWNS and CLONE_NEWUTS. The caller holds the view.
func NewView(from *View, fd, kinds int, build func() error) (*View, error) {
	v := &View{mnt: -1, uts: -1, holds: 1}
	err := carry(func(p *porter) error {
		if err := p.enter(from); err != nil {
			return err
		}
		return p.inside(fd, func() error { return v.make(p, kinds, build) })
	})
	if err != nil {
		v.Release()
		return nil, err
	}
	return v, nil
}

func (v *View) make(p *porter, kinds int, build func() error) (err error) {
	p.in, p.at = false, nil
	if err := unix.Unshare(kinds); err != nil {
		return fmt.Errorf("unshare: %w", err)
	}
	if err := build(); err != nil {
		return err
	}
	if v.mnt, err = unix.Open("/proc/thread-self/ns/mnt", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return fmt.Errorf("open the new mount namespace: %w", err)
	}
	if kinds&unix.CLONE_NEWUTS != 0 {
		if v.uts, err = unix.Open("/proc/thread-self/ns/uts", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open the new UTS namespace: %w", err)
		}
	}
	return nil
}

// Do runs fn in the view and in the network namespace that fd refers to (in the
// process's own when it is negative). Its thread is one for all views, which never
// ends; the working directory there is /. fn must not wait for anything, nor call
// Do itself.
func (v *View) Do(fd int, fn func() error) error {
	if v != nil && !v.Hold() {
		return ErrViewGone
	}
	if v != nil {
		defer v.Release()
	}
	return carry(func(p *porter) error {
		if err := p.enter(v); err != nil {
			return err
		}
		return p.inside(fd, fn)
	})
}

// Hold keeps the view until Release is called once more; false when it has gone.
func (v *View) Hold() bool {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.holds == 0 {
		return false
	}
	v.holds++
	return true
}

// Release ends one hold; with the last, the view goes as soon as no process is in it.
func (v *View) Release() {
	v.mu.Lock()
	defer v.mu.Unlock()
	if v.holds--; v.holds > 0 {
		return
	}
	for _, fd := range []int{v.mnt, v.uts} {
		if fd >= 0 {
			unix.Close(fd)
		}
	}
}

// porter is the thread that goes into views and starts programs there. It is not one
// of Go's: it has a root and a working directory of its own (setns(2) asks for that),
// and the children that it has started are its own to wait for as long as it lives,
// which is for good.
type porter struct {
	in bool  // at is where it is; else nobody knows
	at *View // nil for the process's own
}

var errands = sync.OnceValue(func() chan<- func(*porter) {
	c := make(chan func(*porter))
	go func() {
		runtime.LockOSThread()
		p := &porter{in: true}
		if err := unix.Unshare(unix.CLONE_FS); err != nil {
			panic(fmt.Sprintf("unshare(CLONE_FS): %v", err)) // it cannot fail for a thread
		}
		for errand := range c {
			errand(p)
		}
	}()
	return c
})

// carry has the porter do something. A panic is the caller's.
func carry(fn func(*porter) error) error {
	type outcome struct {
		err      error
		panicked any
	}
	done := make(chan outcome, 1)
	errands() <- func(p *porter) {
		o := outcome{err: errors.New("the thread was left in between")}
		defer func() {
			o.panicked = recover()
			done <- o
		}()
		o.err = fn(p)
	}
	o := <-done
	if o.panicked != nil {
		panic(o.panicked)
	}
	return o.err
}

// enter brings the porter into a view, or home.
func (p *porter) enter(v *View) error {
	if p.in && p.at == v {
		return nil
	}
	p.in = false
	mnt, uts := -1, -1
	if v != nil {
		mnt, uts = v.mnt, v.uts
	}
	for _, ns := range []struct {
		fd, kind int
		own      string
	}{{mnt, unix.CLONE_NEWNS, "/proc/self/ns/mnt"}, {uts, unix.CLONE_NEWUTS, "/proc/self/ns/uts"}} {
		if err := setns(ns.fd, ns.kind, ns.own); err != nil {
			return err
		}
	}
	p.in, p.at = true, v
	return nil
}

// setns is setns(2), to the process's own namespace when fd is negative.
func setns(fd, kind int, own string) error {
	if fd < 0 {
		var err error
		if fd, err = unix.Open(own, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return fmt.Errorf("open %s: %w", own, err)
		}
		defer unix.Close(fd)
	}
	if err := unix.Setns(fd, kind); err != nil {
		return fmt.Errorf("enter a view of files: %w", err)
	}
	return nil
}

// inside runs fn in a network namespace and comes back, so that the thread does not
// keep that alive.
func (p *porter) inside(fd int, fn func() error) (err error) {
	if fd < 0 {
		return fn()
	}
	h, err := home()
	if err != nil {
		return err
	}
	if err := enter(fd); err != nil {
		return err
	}
	defer func() {
		if e := vnetns.Set(h); e != nil {
			err = errors.Join(err, fmt.Errorf("return to own network namespace: %w", e))
		}
	}()
	return fn()
}

// ReenterView takes a thread that builds a view to what has been mounted on /: its root
// is still what is below, until it enters the mount namespace that it is in once more.
func ReenterView() error { return setns(-1, unix.CLONE_NEWNS, "/proc/thread-self/ns/mnt") }
