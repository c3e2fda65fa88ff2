package lab

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/process"
	"nsscript/runtime/world"
)

// What the programs of a namespace see of the machine (package world) is made when
// its first program starts, or when the script asks for a file there.

// world makes the lab's world, once.
func (l *Lab) makeWorld() (err error) {
	if l.world != nil {
		return nil
	}
	if l.world, err = world.New(l.options.Host); err != nil {
		return err
	}
	if l.options.Host {
		return nil
	}
	if l.hosts, err = newHostTable(l.world.SetHosts); err != nil {
		return err
	}
	for _, ns := range l.all() {
		if err := l.hosts.addNamed(ns); err != nil {
			return err
		}
	}
	return nil
}

// addNamed adds a namespace that has a name.
func (t *hostTable) addNamed(ns *Namespace) error {
	if ns.gone != "" || !ns.root && !ns.named() {
		return nil
	}
	return t.add(ns)
}

// introduce makes the lab's programs know a new namespace.
func (l *Lab) introduce(ns *Namespace) error {
	if l.hosts == nil {
		return nil
	}
	return errors.Join(l.hosts.addNamed(ns), l.hosts.update())
}

// strip is for a namespace that is deleted.
func (ns *Namespace) strip() {
	if ns.view != nil {
		ns.view.Release()
		ns.view = nil
	}
	if t := ns.lab.hosts; t != nil {
		t.remove(ns)
		_ = t.update() // the next program says what is wrong
	}
}

// stage is where the namespace's programs start: enter runs a function on a thread
// that is in the namespace and in its view, until leave is called.
func (ns *Namespace) stage() (enter process.Enter, leave func(), err error) {
	if ns.root && ns.lab.options.Host {
		return ns.open() // it is the machine
	}
	v, err := ns.look()
	if err == nil {
		err = ns.lab.refresh()
	}
	if err == nil {
		err = ns.resolve()
	}
	if err != nil {
		return nil, nil, &Error{Op: "show programs of " + ns.String() + " their files", Kind: KindKernel, Err: err}
	}
	fd, err := ns.openFD()
	if err != nil {
		return nil, nil, err
	}
	if !v.Hold() {
		unix.Close(fd)
		return nil, nil, ns.check()
	}
	leave = func() { unix.Close(fd); v.Release() }
	return func(fn func() error) error { return v.Do(fd, fn) }, leave, nil
}

// look is the namespace's view.
func (ns *Namespace) look() (*world.View, error) {
	if ns.view != nil {
		return ns.view, nil
	}
	if err := ns.lab.makeWorld(); err != nil {
		return nil, err
	}
	fd, err := ns.openFD()
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	name := ns.Name
	if ns.root {
		name = ns.String()
	}
	ns.view, err = ns.lab.world.View(world.Options{Name: name, Net: fd, Root: ns.root})
	return ns.view, err
}

// refresh brings up to date what all views share.
func (l *Lab) refresh() error {
	if l.hosts == nil {
		return nil
	}
	gone, err := l.world.SyncNames()
	if err != nil {
		return err
	}
	l.hosts.forget(gone)
	if err := l.hosts.update(); err != nil || !l.hosts.isLost() {
		return err
	}
	for _, ns := range l.all() {
		l.hosts.remove(ns)
		if err := l.hosts.addNamed(ns); err != nil {
			return err
		}
	}
	return l.hosts.update()
}

// WriteFile makes text the content of a file that only the programs of this namespace
// see, those that run already, too. What the machine has at the path stays as it is.
func (ns *Namespace) WriteFile(ctx context.Context, path, text string) error {
	files, _, err := checkFiles(map[string]string{path: text}, nil)
	if err != nil {
		return err
	}
	return ns.furnish(ctx, files, nil)
}

// furnish gives the namespace files and directories of its own.
func (ns *Namespace) furnish(ctx context.Context, files map[string]string, private []string) error {
	if len(files)+len(private) == 0 {
		return nil
	}
	if err := ns.check(); err != nil {
		return err
	}
	if ns.root && ns.lab.options.Host {
		return Usage("make a namespace for it", "the root namespace is the machine itself: a file of its own would be the machine's")
	}
	start := time.Now()
	v, err := ns.look()
	if err == nil {
		err = v.Furnish(files, private)
	}
	if err != nil {
		err = ns.fileError(err)
	}
	for _, dir := range private {
		ns.lab.emit(ctx, "private", ns, start, err, arg("path", dir))
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		ns.lab.emit(ctx, "write_file", ns, start, err, arg("path", path), arg("bytes", strconv.Itoa(len(files[path]))))
		if path == resolvConf {
			ns.resolvConf = nil
		}
	}
	return err
}

// checkFiles refuses files= and private= that make no sense, and cleans the paths.
func checkFiles(files map[string]string, private []string) (map[string]string, []string, error) {
	clean := map[string]string{}
	taken := map[string]bool{}
	take := func(path string) (string, error) {
		if err := world.CheckPath(path); err != nil {
			return "", Usage(`like "/etc/frr/frr.conf"`, "%v", err)
		}
		path = filepath.Clean(path)
		if taken[path] {
			return "", Usage("", "%s is given twice", path)
		}
		taken[path] = true
		return path, nil
	}
	for path, text := range files {
		p, err := take(path)
		if err != nil {
			return nil, nil, err
		}
		clean[p] = text
	}
	var dirs []string
	for _, dir := range private {
		p, err := take(dir)
		if err != nil {
			return nil, nil, err
		}
		dirs = append(dirs, p)
	}
	slices.Sort(dirs) // what is in another comes later
	return clean, dirs, nil
}

// fileError says what could not be laid, where.
func (ns *Namespace) fileError(err error) error {
	var at *world.PathError
	if !errors.As(err, &at) {
		return kernelError(err, "", "show programs of %s their files", ns)
	}
	e := &Error{Op: fmt.Sprintf("make %s%s", at.Path, where(ns)), Kind: KindUsage, Err: at.Err}
	switch {
	case errors.Is(err, unix.EISDIR):
		e.Op, e.Err, e.Hint = fmt.Sprintf("%s is a directory%s", at.Path, where(ns)), nil, "name a file in it; private= makes a directory the namespace's own"
	case errors.Is(err, unix.ENOTDIR):
		e.Op, e.Err = fmt.Sprintf("%s: what should be a directory is a file%s", at.Path, where(ns)), nil
	default:
		e.Kind = KindKernel
	}
	return e
}
