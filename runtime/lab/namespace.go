package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/netns"
	"nsscript/runtime/process"
	"nsscript/runtime/world"
)

// Namespace is a network namespace of a lab.
type Namespace struct {
	// Name is what it is called under /run/netns; empty for the root and for
	// one that was found by a pid.
	Name string
	// Path leads to it in the file system.
	Path string

	lab  *Lab
	conn *conn
	id   netns.ID
	root bool
	made bool // by this lab, so that it may be deleted
	dad  bool // duplicate address detection is the kernel's business

	links map[int]*Link // handles by ifindex
	next  int           // the next ifindex to choose
	// fallbacks is how many modules with fallback devices were known when next was
	// last looked for, plus 1.
	fallbacks int
	gone      string // how it was deleted, or ""

	leases     map[int]*leased // of DHCP, by the links' indexes
	view       *world.View     // what its programs see; nil until there was one
	cgroup     *os.File        // where its programs start; nil without limits
	resolvConf *string         // what the lab has written to its /etc/resolv.conf; nil for nothing
	firewall   *Firewall
	tracks     bool // connections, for TrackConnections
}

func (ns *Namespace) String() string {
	switch {
	case ns.root:
		return "root"
	case ns.Name != "":
		return ns.Name
	}
	return ns.Path
}

// IsRoot tells whether it is the lab's root namespace.
func (ns *Namespace) IsRoot() bool { return ns.root }

// NamespaceSpec says which namespace to make or to find.
type NamespaceSpec struct {
	// Name under /run/netns; empty for the next free ns0, ns1 … With PID or
	// Path it may stay empty.
	Name string
	// PID finds the namespace of a process, Path one by a file.
	PID  int
	Path string
	// Exist accepts one that is there already under Name.
	Exist bool
	// DAD leaves duplicate address detection (RFC 4862) to the kernel, which
	// keeps an address unusable for a second or more. Without it the lab gives
	// every IPv6 address the flag nodad.
	DAD bool
	// Files are the contents of files, by their paths, that only the programs of
	// this namespace see; Private are directories that it has to itself, empty at
	// first. Nothing of the machine's is touched.
	Files   map[string]string
	Private []string
	// Limits are for the programs of this namespace together.
	Limits process.Limits
}

// AddNamespace makes a namespace and binds it at /run/netns/NAME, as
// `ip netns add` does, or finds one by PID or Path.
func (l *Lab) AddNamespace(ctx context.Context, s NamespaceSpec) (*Namespace, error) {
	files, private, err := checkFiles(s.Files, s.Private)
	if err != nil {
		return nil, err
	}
	before := len(l.byID)
	ns, err := l.addNamespace(ctx, s)
	if err != nil {
		return nil, err
	}
	if err = ns.furnish(ctx, files, private); err == nil {
		err = ns.limit(ctx, s.Limits)
	}
	if err != nil {
		if ns.made && len(l.byID) > before {
			err = errors.Join(err, ns.Delete(ctx))
		}
		return nil, err
	}
	return ns, nil
}

func (l *Lab) addNamespace(ctx context.Context, s NamespaceSpec) (*Namespace, error) {
	if s.PID != 0 || s.Path != "" {
		return l.findNamespace(s)
	}
	if s.Name == "" {
		s.Name = l.freeName()
	}
	if err := checkNamespaceName(s.Name); err != nil {
		return nil, err
	}
	l.begin()
	start := time.Now()
	settings := l.resets()
	ns, err := l.makeNamespace(s, settings)
	if errors.Is(err, unix.EEXIST) {
		if s.Exist {
			return l.findNamespace(NamespaceSpec{Name: s.Name, Path: filepath.Join(RunDir, s.Name)})
		}
		err = kernelError(unix.EEXIST, `use another name, or exist=True to take the one that is there`, "make namespace %s", s.Name)
	} else if err != nil {
		err = kernelError(err, "", "make namespace %s", s.Name)
	}
	l.emit(ctx, "netns add", nil, start, err, arg("name", s.Name))
	if err != nil {
		return nil, err
	}
	l.spaces = append(l.spaces, ns)
	l.byID[ns.id] = ns
	if len(l.spaces) == manyNamespaces {
		growDescriptorTable()
	}
	l.onUndo(func(ctx context.Context) error { return ns.Delete(ctx) })
	ns.emitSettings(ctx, settings)
	return ns, l.introduce(ns)
}

// makeNamespace makes the namespace, its bind mount and its sysctls. What it
// has made it removes again when a later step fails.
func (l *Lab) makeNamespace(s NamespaceSpec, settings []setting) (_ *Namespace, err error) {
	if l.options.Host {
		if err := shareRunDir(); err != nil {
			return nil, err
		}
	}
	path := filepath.Join(RunDir, s.Name)
	if err := unix.Mknod(path, unix.S_IFREG, 0); err != nil {
		return nil, err
	}
	ns := &Namespace{Name: s.Name, Path: path, lab: l, made: true, next: 2, dad: s.DAD || l.options.Host}
	defer func() {
		if err != nil {
			if ns.conn != nil {
				ns.conn.close()
			}
			_ = unix.Unmount(path, unix.MNT_DETACH)
			_ = unix.Unlink(path)
		}
	}()
	err = netns.New(func() error {
		if err := unix.Mount("/proc/thread-self/ns/net", path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("bind it at %s: %w", path, err)
		}
		if err := applySettings(settings); err != nil {
			return err
		}
		var err error
		ns.conn, err = openConn()
		return err
	})
	if err != nil {
		return nil, err
	}
	var st unix.Stat_t
	if err := unix.Stat(path, &st); err != nil {
		return nil, err
	}
	ns.id = netns.ID{Dev: uint64(st.Dev), Ino: st.Ino}
	return ns, nil
}

// shareRunDir makes /run/netns as ip-netns(8) makes it on a machine: a shared
// mount, so that names reach other mount namespaces.
func shareRunDir() error {
	if err := os.MkdirAll(RunDir, 0o755); err != nil {
		return err
	}
	err := unix.Mount("", RunDir, "none", unix.MS_SHARED|unix.MS_REC, "")
	if errors.Is(err, unix.EINVAL) { // it is not a mount point yet
		if err = unix.Mount(RunDir, RunDir, "none", unix.MS_BIND|unix.MS_REC, ""); err == nil {
			err = unix.Mount("", RunDir, "none", unix.MS_SHARED|unix.MS_REC, "")
		}
	}
	if err != nil {
		return fmt.Errorf("share %s: %w", RunDir, err)
	}
	return nil
}

// findNamespace returns the handle of a namespace that exists: the lab's own
// one where it is of the lab.
func (l *Lab) findNamespace(s NamespaceSpec) (*Namespace, error) {
	path := s.Path
	if s.PID == 1 && !l.options.Host {
		return l.Root, nil // also where /proc is an outer one, with another pid 1
	}
	if s.PID != 0 {
		path = procDir(s.PID) + "/ns/net"
	}
	fd, err := netns.Open(path)
	if errors.Is(err, os.ErrNotExist) && s.PID != 0 {
		return nil, &Error{Op: fmt.Sprintf("find the namespace of process %d", s.PID), Kind: KindGone, Err: unix.ESRCH,
			Hint: "the process has ended, or is not one of this lab"}
	}
	if err != nil {
		return nil, kernelError(err, "", "find namespace %s", path)
	}
	defer unix.Close(fd)
	id, err := netns.IDOf(fd)
	if err != nil {
		return nil, err
	}
	if known := l.byID[id]; known != nil && known.gone == "" {
		return known, nil
	}
	ns := &Namespace{Name: s.Name, Path: path, lab: l, id: id, dad: true}
	if err := netns.Do(fd, func() (err error) { ns.conn, err = openConn(); return err }); err != nil {
		return nil, kernelError(err, "", "enter namespace %s", path)
	}
	if s.PID != 0 {
		ns.unpin()
	}
	if ns.Name == "" && filepath.Dir(path) == RunDir {
		ns.Name = filepath.Base(path)
	}
	l.byID[id] = ns
	if ns.Name != "" {
		l.spaces = append(l.spaces, ns)
	}
	return ns, l.introduce(ns)
}

// procDir is the directory of a process of the lab. Where the lab has to use an
// outer /proc, which counts its processes otherwise, the process is the one
// whose innermost id (NSpid of proc(5)) is pid and that is in our pid namespace.
func procDir(pid int) string {
	dir := fmt.Sprintf("/proc/%d", pid)
	if self, err := os.Readlink("/proc/self"); err != nil || self == strconv.Itoa(os.Getpid()) {
		return dir
	}
	ours, _ := os.Readlink("/proc/self/ns/pid")
	statuses, _ := filepath.Glob("/proc/[0-9]*/status")
	for _, path := range statuses {
		b, err := os.ReadFile(path)
		if err != nil || !strings.Contains(string(b), "\t"+strconv.Itoa(pid)+"\n") {
			continue
		}
		for line := range strings.Lines(string(b)) {
			ids, ok := strings.CutPrefix(line, "NSpid:")
			if !ok || !strings.HasSuffix(strings.TrimSpace(ids), "\t"+strconv.Itoa(pid)) {
				continue
			}
			if theirs, err := os.Readlink(filepath.Dir(path) + "/ns/pid"); err == nil && theirs == ours {
				return filepath.Dir(path)
			}
		}
	}
	return "/proc/no-process-" + strconv.Itoa(pid)
}

// unpin makes the handle of a process's namespace let it go: such a namespace
// ends with its last process, whoever has looked at it.
func (ns *Namespace) unpin() {
	ns.conn.close()
	ns.conn.reopen = func() (socket int, err error) {
		fd, err := ns.reach()
		if err != nil {
			return -1, err
		}
		defer unix.Close(fd)
		err = netns.Do(fd, func() error {
			c, err := openConn()
			if err == nil {
				socket = c.fd
			}
			return err
		})
		return socket, err
	}
}

// reach opens the namespace by its path, if it is still the one meant.
func (ns *Namespace) reach() (int, error) {
	fd, err := netns.Open(ns.Path)
	if err == nil {
		id, e := netns.IDOf(fd)
		if e == nil && id == ns.id {
			return fd, nil
		}
		unix.Close(fd)
	}
	return -1, &Error{Op: fmt.Sprintf("the namespace %s ended with its process", ns), Kind: KindGone}
}

// Namespace returns the lab's namespace of a name, or nil.
func (l *Lab) Namespace(name string) *Namespace {
	for _, ns := range l.spaces {
		if ns.Name == name && ns.named() {
			return ns
		}
	}
	return nil
}

func (l *Lab) freeName() string {
	for ; ; l.unnamed++ {
		name := "ns" + strconv.Itoa(l.unnamed)
		if unix.Access(filepath.Join(RunDir, name), unix.F_OK) != nil {
			return name
		}
	}
}

// checkNamespaceName refuses what cannot be a file name (ip-netns(8)).
func checkNamespaceName(name string) error {
	switch {
	case name == "." || name == ".." || strings.ContainsRune(name, '/') || strings.ContainsRune(name, 0):
		return Usage(`a name is a file name under /run/netns, like "blue"`, "%q cannot name a namespace", name)
	case len(name) > unix.NAME_MAX:
		return Usage("", "a namespace's name of %d bytes is too long; %d are allowed", len(name), unix.NAME_MAX)
	case name == "root":
		return Usage("", `"root" is the name of the lab's root namespace`)
	}
	return nil
}

// named tells whether the namespace's name still leads to it.
func (ns *Namespace) named() bool {
	var st unix.Stat_t
	return unix.Stat(filepath.Join(RunDir, ns.Name), &st) == nil && ns.id == netns.ID{Dev: uint64(st.Dev), Ino: st.Ino}
}

// check refuses a namespace that was deleted. Every operation passes here, so
// it is also where the first one makes the lab begin.
func (ns *Namespace) check() error {
	ns.lab.begin()
	if ns.gone != "" {
		return &Error{Op: fmt.Sprintf("namespace %s was %s", ns, ns.gone), Kind: KindGone}
	}
	return nil
}

// do runs fn with its thread in the namespace.
func (ns *Namespace) do(fn func() error) error {
	enter, leave, err := ns.open()
	if err != nil {
		return err
	}
	defer leave()
	return enter(fn)
}

// open returns a function that runs another one with its thread in the namespace,
// also when the handle is deleted meanwhile, until leave is called.
func (ns *Namespace) open() (enter func(fn func() error) error, leave func(), err error) {
	fd, err := ns.openFD()
	if err != nil {
		return nil, nil, err
	}
	return func(fn func() error) error { return netns.Do(fd, fn) }, func() { unix.Close(fd) }, nil
}

// Delete removes the name, as `ip netns delete` does. The namespace itself ends
// with the last process in it; its links end with it.
func (ns *Namespace) Delete(ctx context.Context) error {
	if err := ns.check(); err != nil {
		return err
	}
	l := ns.lab
	foreign := ns.foreignLinks()
	start := time.Now()
	err := ns.delete()
	l.emit(ctx, "netns delete", nil, start, err, arg("name", ns.Name))
	if err != nil {
		return err
	}
	if !ns.made {
		l.cannotUndo("netns delete " + ns.Name)
	}
	for _, name := range foreign {
		l.cannotUndo(fmt.Sprintf("link %s went with namespace %s", name, ns.Name))
	}
	l.pings.close(func(s *pingSocket) bool { return s.ns == ns })
	ns.leavePartitions()
	ns.gone = deleted(ctx, "")
	ns.strip()
	if slices.ContainsFunc(l.resolvers, func(r resolver) bool { return r.ns == ns }) {
		_ = l.resolveAll() // the next program says what is wrong
	}
	ns.leaveGroup()
	for _, link := range ns.links {
		link.bury(deleted(ctx, " with its namespace"))
	}
	delete(l.byID, ns.id)
	l.unnamed = 0
	for i, other := range l.spaces {
		if other == ns {
			l.spaces = append(l.spaces[:i], l.spaces[i+1:]...)
			break
		}
	}
	return nil
}

func (ns *Namespace) delete() error {
	switch {
	case ns.root:
		return Usage("", "the root namespace cannot be deleted: it ends with the lab")
	case ns.Name == "":
		return Usage("stop the process instead", "%s has no name that could be deleted: it ends with its last process", ns)
	case !ns.made && ns.lab.options.Host && !ns.lab.options.Force:
		return Usage("run with --force to delete it all the same", "namespace %s was not made by this run", ns)
	}
	path := filepath.Join(RunDir, ns.Name)
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) {
		return kernelError(err, "", "delete namespace %s", ns)
	}
	if err := unix.Unlink(path); err != nil {
		return kernelError(err, "", "delete namespace %s", ns)
	}
	ns.conn.close()
	return nil
}

// deleted says how something ended: "deleted with its namespace at lab.star:3:1".
func deleted(ctx context.Context, how string) string {
	if pos := event.PosOf(ctx); pos.File != "" {
		how += " at " + pos.String()
	}
	return "deleted" + how
}

// chooseIndex returns the ifindex for a new link. Choosing it spares asking
// the kernel which it chose; on a machine others choose too, so 0, "you do it".
func (ns *Namespace) chooseIndex() int {
	if ns.lab.options.Host && ns.root || !ns.made && !ns.root {
		return 0
	}
	if ns.next < 2 {
		ns.next = 2
	}
	ns.skipFallbacks(len(ns.lab.fallbacks) + 1)
	ns.next++
	return ns.next - 1
}

// skipFallbacks makes chooseIndex go on behind the devices that a kernel's modules
// bring, when known is how many of them are. What one newborn namespace has, the
// next one has too: the kernel is asked once.
func (ns *Namespace) skipFallbacks(known int) {
	if ns.fallbacks >= known {
		return
	}
	newborn, born := ns.fallbacks == 0 && ns.newborn(), &ns.lab.born
	ns.fallbacks = known
	if newborn && born.fallbacks == known {
		ns.next = max(ns.next, born.next)
		return
	}
	ns.skipTaken(ns.next)
	if newborn {
		born.fallbacks, born.next = known, ns.next
	}
}

// newborn tells whether the namespace has no links but those that each is born with.
func (ns *Namespace) newborn() bool {
	for index := range ns.links {
		if index != loopback {
			return false
		}
	}
	return ns.made && ns.lab.alone()
}

// skipTaken makes chooseIndex go on behind the links that there are, where the index
// is that of one, and tells whether it is. Others than the lab make links: where a
// kernel has the modules of tunnels, each namespace has their fallback devices
// (tunl0, gre0 …), and it gets more of them when the first tunnel of a kind is made.
func (ns *Namespace) skipTaken(index int) bool {
	if index == 0 {
		return false
	}
	if _, err := ns.conn.get(getLink(index, "")); err != nil {
		return false
	}
	_, infos, _ := ns.Links()
	for _, info := range infos {
		ns.next = max(ns.next, info.Index+1)
	}
	return true
}

// withdraw takes back what was to follow a birth, of the link that has its index:
// the kernel refuses the birth then and does what follows.
func (s *LinkSpec) withdraw(index int) bool {
	if !s.NS.skipTaken(index) {
		return false
	}
	rs := []*nl.NetlinkRequest{setFlags(index, 0, unix.IFF_UP)}
	if s.Master != nil {
		rs = append(rs, setMaster(index, 0))
	}
	for _, a := range s.Addrs {
		rs = append(rs, newAddr(unix.RTM_DELADDR, 0, index, a))
	}
	_ = s.NS.conn.do(rs...)
	return true
}
