// Package netns makes and enters network namespaces. It is the only place that
// calls unshare(2) and setns(2), and the only one that locks a goroutine to its
// thread, so that what must hold for threads is checked in one file: a thread
// is in its process's own namespace at all times except inside [Do] and [New];
// one that cannot return there is never used again.
package netns

import (
	"errors"
	"fmt"
	"os"
	"runtime"
	"sync"

	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// Pin locks the calling goroutine to its thread for good. main calls it in an
// init function, so that the thread that leads the process (whose namespace is
// what /proc/PID/ns/net shows) never enters another namespace; the goroutine
// that runs a script calls it because it is cheaper for a locked goroutine to
// enter namespaces.
func Pin() { runtime.LockOSThread() }

// home is the process's own network namespace. The first caller is on a thread
// that is at home, as all are outside Do and New. (vnetns.Get builds the path of
// the thread's ids, which are others where /proc is an outer pid namespace's.)
var home = sync.OnceValues(func() (vnetns.NsHandle, error) {
	fd, err := Open("/proc/thread-self/ns/net")
	return vnetns.NsHandle(fd), err
})

// enter moves the calling thread into the namespace that fd refers to.
func enter(fd int) error {
	if err := vnetns.Set(vnetns.NsHandle(fd)); err != nil {
		return fmt.Errorf("enter network namespace: %w", err)
	}
	return nil
}

// comeHome brings the thread back. When that fails, the goroutine stays locked
// to it, so the thread ends with the goroutine instead of serving others.
func comeHome(h vnetns.NsHandle) error {
	if err := vnetns.Set(h); err != nil {
		return fmt.Errorf("return to own network namespace: %w", err)
	}
	runtime.UnlockOSThread()
	return nil
}

// Do runs fn with its thread in the namespace that fd refers to, and returns
// fn's error. Goroutines that fn starts are not in that namespace; sockets that
// fn opens and processes that it starts are, for good.
func Do(fd int, fn func() error) error {
	h, err := home()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := enter(fd); err != nil {
		runtime.UnlockOSThread()
		return err
	}
	// A panic in fn must not leave the thread in the namespace either.
	done := false
	defer func() {
		if !done {
			_ = comeHome(h)
		}
	}()
	err = fn()
	done = true
	return errors.Join(err, comeHome(h))
}

// New makes a network namespace (CLONE_NEWNET) and runs fn inside; the
// namespace lives as long as something that fn made (a socket, a bind mount of
// /proc/thread-self/ns/net, a process) refers to it.
func New(fn func() error) error {
	h, err := home()
	if err != nil {
		return err
	}
	runtime.LockOSThread()
	if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("unshare: %w", err)
	}
	done := false
	defer func() {
		if !done {
			_ = comeHome(h)
		}
	}()
	err = fn()
	done = true
	return errors.Join(err, comeHome(h))
}

// OfSocket returns a descriptor of the namespace that the socket belongs to
// (SIOCGSKNS, ioctl_ns of net/socket.c); the caller closes it. With it a socket
// is all that need be held open for a namespace.
func OfSocket(socket int) (int, error) {
	fd, err := unix.IoctlRetInt(socket, unix.SIOCGSKNS)
	if err != nil {
		return -1, fmt.Errorf("namespace of a socket: %w", err)
	}
	return fd, nil
}

// Open returns a descriptor of the namespace at path (a bind mount under
// /run/netns, or /proc/PID/ns/net); the caller closes it.
func Open(path string) (int, error) {
	fd, err := unix.Open(path, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return -1, &os.PathError{Op: "open", Path: path, Err: err}
	}
	kind, err := unix.IoctlRetInt(fd, unix.NS_GET_NSTYPE)
	if err != nil || kind != unix.CLONE_NEWNET {
		unix.Close(fd)
		return -1, fmt.Errorf("%s is not a network namespace", path)
	}
	return fd, nil
}

// ID identifies a namespace: two descriptors of one namespace have the same ID.
type ID struct {
	Dev, Ino uint64
}

// IDOf returns the identity of the namespace that fd refers to.
func IDOf(fd int) (ID, error) {
	var st unix.Stat_t
	if err := unix.Fstat(fd, &st); err != nil {
		return ID{}, fmt.Errorf("stat of a network namespace: %w", err)
	}
	return ID{uint64(st.Dev), st.Ino}, nil
}
