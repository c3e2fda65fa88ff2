// Package world makes what the programs of a network namespace see of the machine:
// its own /sys and hostname, /etc/hosts with the names of the lab, what is in
// /etc/netns/NAME, files and directories of its own. Each namespace has a mount
// namespace for that (a [netns.View]), made when it is first needed, so that a
// program costs two more calls of setns(2) and nothing is mounted for it.
//
// Nothing is ever written to a file of the machine: what is laid over one is a file of
// a tmpfs, bound there, and a directory that lacks a name is covered (see cover.go).
package world

import (
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
	"nsscript/runtime/sandbox"
)

const (
	// runDir is where named namespaces are bound (ip-netns(8)).
	runDir = "/run/netns"
	// etcDir has a directory of files for each name (ip-netns(8)).
	etcDir = "/etc/netns"
	hosts  = "/etc/hosts"
)

// World is what the views of a lab's namespaces have in common. One goroutine at a
// time may call its methods, but for SetHosts.
type World struct {
	host bool
	base *netns.View // without names of namespaces, which every copy would have to copy

	names  int       // directory of links to the namespaces
	synced time.Time // when /run/netns had last changed as it is in names
	known  map[string]bool
	proc   string // of the lab's own process

	mu        sync.Mutex
	hostsFile *os.File
}

// New makes the world of a private lab, or of the machine itself.
func New(host bool) (*World, error) {
	w := &World{host: host, names: -1, known: map[string]bool{}}
	self, err := os.Readlink("/proc/self")
	if err != nil {
		return nil, err
	}
	w.proc = "/proc/" + self
	if w.base, err = netns.NewView(nil, -1, unix.CLONE_NEWNS, w.prepare); err != nil {
		w.Close()
		return nil, err
	}
	return w, nil
}

// prepare makes the view that the others are copies of. On the machine itself it
// follows the machine's mounts, as `ip netns exec` does. In a private lab a tmpfs has
// the lab's hosts and, in place of the bind mounts of /run/netns, links to them.
func (w *World) prepare() error {
	if w.host {
		if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_SLAVE, ""); err != nil {
			return fmt.Errorf("separate the mounts: %w", err)
		}
		return os.MkdirAll(runDir, 0o755)
	}
	if err := unix.Mount("", runDir, "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("separate %s: %w", runDir, err)
	}
	if err := unix.Unmount(runDir, unix.MNT_DETACH); err != nil {
		return fmt.Errorf("unmount %s: %w", runDir, err)
	}
	if err := unix.Mount("tmpfs", runDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	links := filepath.Join(runDir, "names")
	if err := os.Mkdir(links, 0o755); err != nil {
		return err
	}
	var err error
	if w.names, err = unix.Open(links, unix.O_PATH|unix.O_DIRECTORY|unix.O_CLOEXEC, 0); err != nil {
		return err
	}
	file := filepath.Join(runDir, "hosts")
	if w.hostsFile, err = os.OpenFile(file, os.O_CREATE|os.O_WRONLY, 0o644); err != nil {
		return err
	}
	v := &View{world: w, own: map[string]bool{}}
	if err := v.layOver(file, hosts); err != nil {
		return fmt.Errorf("lay %s over the machine's: %w", hosts, err)
	}
	return unix.Mount(links, runDir, "", unix.MS_BIND, "") // and nobody sees what is below
}

// Close lets go of it; views stay as long as somebody holds them.
func (w *World) Close() {
	if w.base != nil {
		w.base.Release()
	}
	if w.names >= 0 {
		unix.Close(w.names)
	}
	if w.hostsFile != nil {
		w.hostsFile.Close()
	}
}

// SetHosts makes text the lab's /etc/hosts, in the views that there are, too.
func (w *World) SetHosts(text string) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.hostsFile == nil {
		return nil
	}
	if _, err := w.hostsFile.WriteAt([]byte(text), 0); err != nil {
		return err
	}
	return w.hostsFile.Truncate(int64(len(text)))
}

// SyncNames makes /run/netns in the views what it is in the lab, and returns the names
// that are gone since the last time.
func (w *World) SyncNames() (gone map[string]bool, err error) {
	if w.names < 0 {
		return nil, nil
	}
	info, err := os.Stat(runDir)
	if err != nil || info.ModTime().Equal(w.synced) {
		return nil, err
	}
	entries, err := os.ReadDir(runDir)
	if err != nil {
		return nil, err
	}
	gone = w.known
	w.known = make(map[string]bool, len(entries))
	for _, e := range entries {
		name := e.Name()
		if !gone[name] {
			err := unix.Symlinkat(w.proc+"/root"+filepath.Join(runDir, name), w.names, name)
			if err != nil && !errors.Is(err, unix.EEXIST) {
				return nil, fmt.Errorf("link %s: %w", name, err)
			}
		}
		delete(gone, name)
		w.known[name] = true
	}
	for name := range gone {
		if err := unix.Unlinkat(w.names, name, 0); err != nil && !errors.Is(err, unix.ENOENT) {
			return nil, fmt.Errorf("unlink %s: %w", name, err)
		}
	}
	// Within a tick of the kernel's clock another change may come and not show.
	if time.Since(info.ModTime()) > 20*time.Millisecond {
		w.synced = info.ModTime()
	}
	return gone, nil
}

// Options of a view.
type Options struct {
	// Name of the namespace, "" for none: its hostname in a private lab, and which
	// directory of /etc/netns is laid over /etc.
	Name string
	// Net refers to the network namespace.
	Net int
	// Root says that it is the lab's root namespace: what programs do to /run/netns
	// there is done to the lab's.
	Root bool
}

// hostNameMax is HOST_NAME_MAX of <limits.h>.
const hostNameMax = 64

// View is what the programs of one namespace see.
type View struct {
	*netns.View
	world *World
	own   map[string]bool // paths that were asked for, or are laid over by a file
	free  []string        // directories where names can be made
}

// View makes a namespace's view. The caller holds it.
func (w *World) View(o Options) (*View, error) {
	v := &View{world: w, own: map[string]bool{}}
	names := -1
	if o.Root && !w.host {
		var err error
		if names, err = unix.OpenTree(unix.AT_FDCWD, runDir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE); err != nil {
			return nil, fmt.Errorf("clone %s: %w", runDir, err)
		}
		defer unix.Close(names)
	}
	kinds := unix.CLONE_NEWNS
	if !w.host {
		kinds |= unix.CLONE_NEWUTS
	}
	var err error
	v.View, err = netns.NewView(w.base, o.Net, kinds, func() error { return v.build(o, names) })
	if err != nil {
		return nil, err
	}
	return v, nil
}

func (v *View) build(o Options, names int) error {
	if !v.world.host && o.Name != "" {
		if err := unix.Sethostname([]byte(o.Name[:min(len(o.Name), hostNameMax)])); err != nil {
			return fmt.Errorf("set the hostname: %w", err)
		}
	}
	if names >= 0 {
		if err := unix.MoveMount(names, "", unix.AT_FDCWD, runDir, unix.MOVE_MOUNT_F_EMPTY_PATH); err != nil {
			return fmt.Errorf("show the lab's %s: %w", runDir, err)
		}
	}
	if !o.Root { // which has it already
		// A container that masks paths does not allow it; the lab has said so.
		if err := sandbox.MountSys(); err != nil && !isDenied(err) {
			return fmt.Errorf("mount /sys: %w", err)
		}
	}
	if o.Name == "" {
		return nil
	}
	return v.layEtc(filepath.Join(etcDir, o.Name))
}

func isDenied(err error) bool { return errors.Is(err, unix.EPERM) || errors.Is(err, unix.EACCES) }
