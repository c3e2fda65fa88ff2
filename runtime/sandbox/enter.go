package sandbox

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/signal"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"

	"golang.org/x/sys/unix"

	"nsscript/runtime/sandbox/again"
)

// State is what [Enter] found and made.
type State struct {
	// Reduced says, a line each, what this private lab lacks because the
	// machine (a container that masks paths) does not allow it.
	Reduced []string
	// Message waits for what the outer process says in its Options.
	Message func() string

	// Interrupted is closed when the user asks the outer process for the end, and
	// with Options.Host when that process has gone.
	Interrupted <-chan struct{}

	// Journal takes what is done to the machine, a line each, for the case that
	// this process crashes; nil without Options.Host.
	Journal *os.File

	host bool

	lifeline  *os.File
	interrupt func() // closes Interrupted
}

// Enter makes the inner process the lab's: ids, mounts, standard error. Call it on
// the first thread, before anything else is done to the process. keep lists what
// the lab must still see although it is under /run, which the lab covers with its
// own: the script, the working directory, TMPDIR. Paths elsewhere are ignored.
func Enter(keep ...string) (*State, error) {
	cfg, err := again.ParseConfig(os.Getenv(again.Marker))
	if err == nil && !cfg.Host && os.Getpid() != 1 {
		err = errors.New("this process is no lab's first")
	}
	if err != nil {
		return nil, fmt.Errorf("the environment variable %s is not for users to set: %w", again.Marker, err)
	}
	os.Unsetenv(again.Marker)
	unix.CloseOnExec(again.LifelineFD)
	unix.CloseOnExec(again.MessageFD)
	// The lifeline must be non-blocking before NewFile sees it, so that waiting
	// for its end costs no thread.
	if err := unix.SetNonblock(again.LifelineFD, true); err != nil {
		return nil, fmt.Errorf("the environment variable %s is not for users to set: %w", again.Marker, err)
	}
	st := &State{Message: sync.OnceValue(readMessage), host: cfg.Host, lifeline: os.NewFile(again.LifelineFD, "lifeline")}
	interrupted := make(chan struct{})
	st.Interrupted, st.interrupt = interrupted, sync.OnceFunc(func() { close(interrupted) })
	if !cfg.RawStderr {
		unix.CloseOnExec(again.StderrFD)
		os.Stderr = os.NewFile(again.StderrFD, "/dev/stderr")
	}
	if cfg.AwaitIDs {
		if err := st.takeIDs(); err != nil {
			return nil, err
		}
	}
	if cfg.Host {
		unix.CloseOnExec(again.JournalFD)
		st.Journal = os.NewFile(again.JournalFD, "journal")
		go st.dieWithOuter()
		return st, nil
	}
	// Taking ids has cleared what the outer process had asked for at the start.
	if err := unix.Prctl(unix.PR_SET_PDEATHSIG, uintptr(unix.SIGKILL), 0, 0, 0); err != nil {
		return nil, fmt.Errorf("prctl: %w", err)
	}
	go st.dieWithOuter()
	if err := st.mounts(keep); err != nil {
		if isDenied(err) { // some machines allow the namespaces, and nothing in them
			err = diagnose(err, os.ReadFile)
		}
		return nil, err
	}
	return st, nil
}

// Users is how many users the lab has: those that the user namespace maps
// (user_namespaces(7)).
func (st *State) Users() int {
	text, err := os.ReadFile("/proc/self/uid_map")
	if err != nil {
		return 1
	}
	users := 0
	for line := range strings.Lines(string(text)) {
		if f := strings.Fields(line); len(f) == 3 {
			n, _ := strconv.Atoi(f[2]) // 2^32 - 1 at most
			users += n
		}
	}
	return users
}

func readMessage() string {
	f := os.NewFile(again.MessageFD, "message")
	defer f.Close()
	b, err := io.ReadAll(f)
	if err != nil {
		return "" // as if nothing had been said
	}
	return string(b)
}

// takeIDs waits until the outer process has mapped the ids and becomes root.
func (st *State) takeIDs() error {
	b := [1]byte{again.SayInterrupt}
	for b[0] != again.SayIDs {
		if n, err := st.lifeline.Read(b[:]); n != 1 {
			return fmt.Errorf("no ids came from the outer process: %w", err)
		}
		if b[0] == again.SayInterrupt {
			st.interrupt()
		}
	}
	if err := unix.Setresgid(0, 0, 0); err != nil {
		return fmt.Errorf("setresgid: %w", err)
	}
	if err := unix.Setresuid(0, 0, 0); err != nil {
		return fmt.Errorf("setresuid: %w", err)
	}
	return nil
}

// dieWithOuter ends the process when the outer one is gone: PR_SET_PDEATHSIG
// does not help when that happened before it was set.
func (st *State) dieWithOuter() {
	var b [1]byte
	for {
		n, err := st.lifeline.Read(b[:])
		if n == 1 && b[0] == again.SayInterrupt {
			st.interrupt()
		}
		if n == 0 && err != nil && !errors.Is(err, unix.EINTR) {
			if st.host {
				st.interrupt()
				return
			}
			os.Exit(137)
		}
	}
}

// Leave ends the inner process before it has become the lab's, or when it cannot,
// with a status that is meant.
func Leave(status int) {
	// As a socket, so that no other file is written to.
	_ = unix.Send(again.LifelineFD, []byte{1}, unix.MSG_NOSIGNAL)
	os.Exit(status)
}

// Exit ends the lab's process, and with it the lab, with a status that is meant.
func (st *State) Exit(status int) {
	_, _ = st.lifeline.Write([]byte{1})
	os.Exit(status)
}

// Reap waits, as a pid 1 has to, for the orphans of the lab until done is
// closed. Orphans belong to the process's first thread and the children of
// os/exec to the thread that started them, so __WNOTHREAD (wait(2)) tells them
// apart. It must be called on the first thread, where no process is started.
func (st *State) Reap(done <-chan struct{}) {
	children := make(chan os.Signal, 1)
	signal.Notify(children, unix.SIGCHLD)
	defer signal.Stop(children)
	for {
		select {
		case <-children:
			reapOrphans()
		case <-done:
			return
		}
	}
}

func reapOrphans() {
	for {
		pid, err := unix.Wait4(-1, nil, unix.WNOHANG|unix.WNOTHREAD, nil)
		if pid <= 0 && !errors.Is(err, unix.EINTR) {
			return
		}
	}
}

// mounts gives the lab its own /run, /proc and /sys.
func (st *State) mounts(keep []string) error {
	if err := unix.Mount("", "/", "", unix.MS_REC|unix.MS_PRIVATE, ""); err != nil {
		return fmt.Errorf("make mounts private: %w", err)
	}
	if err := ownRun(keep); err != nil {
		return err
	}
	const container = "; a container lifts this with --security-opt systempaths=unconfined (docker) or --security-opt unmask=ALL (podman)"
	err := unix.Mount("proc", "/proc", "proc", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, "")
	switch {
	case isDenied(err):
		st.Reduced = append(st.Reduced, "the lab sees the outer /proc (its processes have other pids there)"+container)
		st.readOnlySysctl(container)
	case err != nil:
		return fmt.Errorf("mount /proc: %w", err)
	}
	err = MountSys()
	switch {
	case isDenied(err):
		st.Reduced = append(st.Reduced, "the lab sees the outer /sys (not its own network devices there)"+container)
	case err != nil:
		return fmt.Errorf("mount /sys: %w", err)
	}
	return nil
}

// readOnlySysctl notes when an outer /proc cannot be used to set anything.
func (st *State) readOnlySysctl(advice string) {
	var fs unix.Statfs_t
	if unix.Statfs("/proc/sys/net", &fs) == nil && fs.Flags&unix.ST_RDONLY != 0 {
		st.Reduced = append(st.Reduced, "/proc/sys is read-only: sysctl() fails, and IPv6 addresses take a second to become usable"+advice)
	}
}

// lent are paths of the machine's /run that the lab must still see.
func lent(keep []string) []loan {
	loans := []loan{{path: "/run/current-system", readOnly: true}, {path: "/run/wrappers", readOnly: true}}
	if target, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil && isUnderRun(target) {
		loans = append(loans, loan{path: target, readOnly: true})
	}
	for _, path := range keep {
		switch real, err := filepath.EvalSymlinks(path); {
		case err != nil:
		case isUnderRun(real):
			loans = append(loans, loan{path: real})
		case real == "/run":
			loans = append(loans, filesOfRun()...)
		}
	}
	return loans
}

// filesOfRun are the files directly in the machine's /run, where a script may be,
// with others that it reads. Folders and sockets are not lent.
func filesOfRun() (loans []loan) {
	entries, _ := os.ReadDir("/run")
	for _, e := range entries {
		if e.Type().IsRegular() {
			loans = append(loans, loan{path: "/run/" + e.Name(), readOnly: true})
		}
	}
	return loans
}

func isUnderRun(path string) bool { return strings.HasPrefix(path, "/run/") }

type loan struct {
	path     string
	readOnly bool
	fd       int
	dir      bool
}

// ownRun covers /run with a tmpfs of the lab's, with /run/netns as `ip netns`
// wants it, and binds what is lent from the machine's into it.
func ownRun(keep []string) error {
	var loans []loan
	for _, l := range lent(keep) {
		if slices.ContainsFunc(loans, func(other loan) bool { return other.path == l.path }) {
			continue
		}
		var s unix.Stat_t
		fd, err := unix.Open(l.path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil || unix.Fstat(fd, &s) != nil {
			continue // the machine has none
		}
		l.fd, l.dir = fd, s.Mode&unix.S_IFMT == unix.S_IFDIR
		defer unix.Close(fd)
		loans = append(loans, l)
	}
	if err := unix.Mount("tmpfs", "/run", "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs on /run: %w", err)
	}
	if err := ownNames(); err != nil {
		return err
	}
	for _, l := range loans {
		if err := l.bind(); err != nil {
			return fmt.Errorf("bind the machine's %s: %w", l.path, err)
		}
	}
	return nil
}

// ownNames makes /run/netns as ip-netns(8) does, a shared mount: a copy of the mounts
// can be rid of all names by one call, or see all later ones.
func ownNames() error {
	const dir = "/run/netns"
	if err := os.Mkdir(dir, 0o755); err != nil {
		return err
	}
	if err := unix.Mount(dir, dir, "", unix.MS_BIND, ""); err != nil {
		return fmt.Errorf("bind %s: %w", dir, err)
	}
	if err := unix.Mount("", dir, "", unix.MS_SHARED, ""); err != nil {
		return fmt.Errorf("share %s: %w", dir, err)
	}
	return nil
}

// bind shows what l.fd refers to at the same path again.
func (l loan) bind() error {
	if err := os.MkdirAll(filepath.Dir(l.path), 0o755); err != nil {
		return err
	}
	if l.dir {
		if err := os.MkdirAll(l.path, 0o755); err != nil {
			return err
		}
	} else if err := os.WriteFile(l.path, nil, 0o644); err != nil {
		return err
	}
	if err := unix.Mount(fdPath(l.fd), l.path, "", unix.MS_BIND|unix.MS_REC, ""); err != nil {
		return err
	}
	if !l.readOnly {
		return nil
	}
	var fs unix.Statfs_t
	if err := unix.Statfs(l.path, &fs); err != nil {
		return err
	}
	// Flags that the machine set are locked: they have to be repeated.
	kept := uintptr(fs.Flags) & (unix.MS_NOSUID | unix.MS_NODEV | unix.MS_NOEXEC | unix.MS_NOATIME | unix.MS_NODIRATIME)
	if fs.Flags&unix.ST_RELATIME != 0 {
		kept |= unix.MS_RELATIME
	}
	return unix.Mount("", l.path, "", unix.MS_BIND|unix.MS_REMOUNT|unix.MS_RDONLY|kept, "")
}

func fdPath(fd int) string { return fmt.Sprintf("/proc/self/fd/%d", fd) }

// MountSys covers /sys with one of the calling thread's network namespace; what is
// mounted in the one before is shown there again.
func MountSys() error {
	var below []loan
	for _, path := range []string{"/sys/fs/cgroup", "/sys/fs/bpf"} {
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue
		}
		below = append(below, loan{path: path, fd: fd})
		defer unix.Close(fd)
	}
	if err := unix.Mount("sysfs", "/sys", "sysfs", unix.MS_NOSUID|unix.MS_NODEV|unix.MS_NOEXEC, ""); err != nil {
		return err
	}
	for _, l := range below {
		// Best effort: a lab works without, and a kernel may lack either.
		_ = unix.Mount(fdPath(l.fd), l.path, "", unix.MS_BIND|unix.MS_REC, "")
	}
	return nil
}
