package process

import (
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Limits of programs together, as control groups have them (cgroup v2,
// Documentation/admin-guide/cgroup-v2.rst); 0 is none.
type Limits struct {
	CPU    float64 // in processors: cpu.max
	Memory int64   // in bytes, swap included: memory.max
	PIDs   int     // processes and threads: pids.max
}

// cpuPeriod is the kernel's own period of cpu.max, in microseconds.
const cpuPeriod = 100_000

// files are the limits as the kernel wants them, with the controllers they need.
func (l Limits) files() (files [][2]string, controllers []string) {
	if l.CPU > 0 {
		controllers = append(controllers, "cpu")
		files = append(files, [2]string{"cpu.max", fmt.Sprintf("%d %d", int64(l.CPU*cpuPeriod), cpuPeriod)})
	}
	if l.Memory > 0 {
		controllers = append(controllers, "memory")
		files = append(files, [2]string{"memory.max", strconv.FormatInt(l.Memory, 10)}, [2]string{"memory.swap.max", "0"})
	}
	if l.PIDs > 0 {
		controllers = append(controllers, "pids")
		files = append(files, [2]string{"pids.max", strconv.Itoa(l.PIDs)})
	}
	return files, controllers
}

// Groups are the control groups of a lab, below one of its own.
type Groups struct {
	dir  string
	lock *os.File // tells other labs that it is in use
}

// NotDelegated says that limits cannot be set, since the machine lends this process no
// control group.
type NotDelegated struct{ Why string }

func (e *NotDelegated) Error() string { return "no control group for limits: " + e.Why }

// prefix is how a lab's group is called.
const prefix = "nsscript-"

// NewGroups makes a lab's group in the nearest one, of those that this process is in,
// that has the controllers and may be changed.
func NewGroups(l Limits) (*Groups, error) {
	_, controllers := l.files()
	above, err := delegated(controllers)
	if err != nil {
		return nil, err
	}
	sweep(above)
	for n := 0; ; n++ {
		g := &Groups{dir: filepath.Join(above, prefix+strconv.Itoa(os.Getpid())+"."+strconv.Itoa(n))}
		err := os.Mkdir(g.dir, 0o755)
		if errors.Is(err, os.ErrExist) {
			continue // of another pid namespace
		}
		if err != nil {
			return nil, err
		}
		if g.lock, err = os.Open(g.dir); err != nil {
			continue // swept before it was locked
		}
		if err := unix.Flock(int(g.lock.Fd()), unix.LOCK_EX); err != nil {
			return nil, err
		}
		if unix.Access(g.dir, unix.F_OK) == nil {
			return g, nil
		}
		g.lock.Close()
	}
}

// delegated finds the group to begin in.
func delegated(controllers []string) (string, error) {
	mount, own, err := ownGroup()
	if err != nil {
		return "", err
	}
	why := "this process may not change " + filepath.Join(mount, own)
	for at := own; ; at = path.Dir(at) {
		dir := filepath.Join(mount, at)
		if unix.Access(dir, unix.W_OK) == nil && unix.Access(filepath.Join(dir, "cgroup.procs"), unix.W_OK) == nil {
			missing, err := lacks(dir, controllers)
			if missing == "" {
				return dir, nil
			}
			why = noController(dir, missing, err)
		}
		if at == "/" || at == "." {
			return "", &NotDelegated{why}
		}
	}
}

// lacks is a controller that groups in dir cannot have, and why not; or "".
func lacks(dir string, controllers []string) (string, error) {
	for _, c := range controllers {
		if slices.Contains(words(filepath.Join(dir, "cgroup.subtree_control")), c) {
			continue
		}
		if err := os.WriteFile(filepath.Join(dir, "cgroup.subtree_control"), []byte("+"+c), 0); err != nil {
			return c, err
		}
	}
	return "", nil
}

// noController says why a group cannot have groups with a controller below it.
func noController(dir, controller string, err error) string {
	if errors.Is(err, unix.EBUSY) {
		return fmt.Sprintf("programs run in %s itself, so that no group below it can have the controller %s", dir, controller)
	}
	return dir + " has no controller " + controller
}

func words(file string) []string {
	text, _ := os.ReadFile(file)
	return strings.Fields(string(text))
}

// ownGroup is where cgroup v2 is mounted and which group this process is in.
func ownGroup() (mount, own string, err error) {
	groups, _ := os.ReadFile("/proc/self/cgroup")
	for line := range strings.Lines(string(groups)) {
		if rest, ok := strings.CutPrefix(line, "0::"); ok {
			own = strings.TrimSpace(rest)
		}
	}
	mounts, _ := os.ReadFile("/proc/self/mountinfo")
	for line := range strings.Lines(string(mounts)) {
		before, after, _ := strings.Cut(line, " - ")
		f := strings.Fields(before)
		if len(f) < 5 || !strings.HasPrefix(after, "cgroup2 ") {
			continue
		}
		below, err := filepath.Rel(f[3], own)
		if err == nil && !strings.HasPrefix(below, "..") {
			return f[4], path.Join("/", below), nil
		}
	}
	return "", "", &NotDelegated{"cgroup v2 is not mounted here"}
}

// sweep removes groups that killed labs have left.
func sweep(above string) {
	left, _ := filepath.Glob(filepath.Join(above, prefix+"*"))
	for _, dir := range left {
		f, err := os.Open(dir)
		if err != nil {
			continue
		}
		if unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB) == nil {
			removeAll(dir)
		}
		f.Close()
	}
}

func removeAll(dir string) {
	below, _ := filepath.Glob(filepath.Join(dir, "*", "cgroup.procs"))
	for _, file := range below {
		_ = unix.Rmdir(filepath.Dir(file))
	}
	_ = unix.Rmdir(dir)
}

// Group makes a group with limits. Programs start in it by its descriptor
// (Spec.Cgroup); the caller closes it.
func (g *Groups) Group(name string, l Limits) (*os.File, error) {
	files, controllers := l.files()
	for _, above := range []string{filepath.Dir(g.dir), g.dir} {
		if missing, err := lacks(above, controllers); missing != "" {
			return nil, &NotDelegated{noController(above, missing, err)}
		}
	}
	dir := filepath.Join(g.dir, name)
	if err := os.Mkdir(dir, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return nil, err
	}
	for _, f := range files {
		err := os.WriteFile(filepath.Join(dir, f[0]), []byte(f[1]), 0)
		if errors.Is(err, os.ErrNotExist) && f[0] == "memory.swap.max" {
			continue // no swap, or none that is counted
		}
		if err != nil {
			return nil, err
		}
	}
	return os.Open(dir)
}

// Close ends what still runs in the groups and removes them.
func (g *Groups) Close() {
	_ = os.WriteFile(filepath.Join(g.dir, "cgroup.kill"), []byte("1"), 0) // since Linux 5.14
	for range 200 {
		removeAll(g.dir)
		if unix.Access(g.dir, unix.F_OK) != nil {
			break
		}
		time.Sleep(5 * time.Millisecond)
	}
	g.lock.Close()
}
