// Package process runs programs: to their end ([Run]) or beside the script
// ([Start]). Where they run is the caller's business: it passes a function that
// calls another on a thread in the right namespace, and a process belongs to
// the namespace of the thread that started it.
package process

import (
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// Spec says what to run.
type Spec struct {
	// Argv is the program and its arguments; a name without a slash is looked
	// up in PATH, in that of Env if it has one.
	Argv []string
	// Input is what the program reads on its standard input; empty for none.
	Input string
	// Env is added to the environment, as NAME=value.
	Env []string
	// Dir is the working directory; empty for the current one, to which one that is
	// not absolute is relative.
	Dir string
	// User runs the program as another user, by name or number, with that user's
	// groups; the environment stays as it is.
	User string
	// Group makes another group the program's own, by name or number.
	Group string
	// TTY gives the program a terminal of 80 columns and 24 lines as its
	// controlling one; both streams are then one, as the terminal shows it.
	// Input is typed, and end of file after it.
	TTY bool
	// DieWithParent ends the process when the thread that started it ends
	// (PR_SET_PDEATHSIG); needed where no pid namespace does that.
	DieWithParent bool
	// Cgroup is the control group that it starts in; nil for ours.
	Cgroup *os.File
}

// Enter runs fn on a thread that is where the process shall be.
type Enter func(fn func() error) error

// NotFound says that there is no such program.
type NotFound struct {
	Program string
	Of      string // the script whose interpreter it is, or ""
}

func (e *NotFound) Error() string {
	if e.Of != "" {
		return fmt.Sprintf("the interpreter of %s is not there: %s", e.Of, e.Program)
	}
	return fmt.Sprintf("command not found: %s", e.Program)
}

// child is a program with what is at the other end of its streams.
type child struct {
	*exec.Cmd
	spec     Spec
	terminal *terminal // nil without one
}

// patience is how long a background child of a program that has ended may hold
// its output open.
const patience = time.Second

// launch starts a program where enter leads, where it is looked up, too.
func launch(enter Enter, s Spec, stdout, stderr io.Writer) (c *child, err error) {
	given := s.Dir
	if here, err := os.Getwd(); err == nil && !filepath.IsAbs(s.Dir) {
		s.Dir = filepath.Join(here, s.Dir)
	}
	err = enter(func() (err error) {
		if c, err = newChild(s, stdout, stderr); err != nil {
			return err
		}
		if given == "" && checkDir(s.Dir, c.SysProcAttr.Credential) != nil {
			c.Dir, c.spec.Dir = "/", "/" // nobody has asked for the other
		}
		return c.start()
	})
	if err == nil {
		return c, nil
	}
	return nil, err
}

// newChild prepares a program in a process group of its own.
func newChild(s Spec, stdout, stderr io.Writer) (*child, error) {
	if len(s.Argv) == 0 || s.Argv[0] == "" {
		return nil, errors.New("an empty command")
	}
	cmd := exec.Command(s.Argv[0], s.Argv[1:]...)
	cmd.Dir = s.Dir
	if len(s.Env) > 0 {
		cmd.Env = append(os.Environ(), s.Env...)
	}
	if path, given := s.path(); given && !strings.Contains(s.Argv[0], "/") {
		cmd.Path, cmd.Err = lookUp(s.Argv[0], path, s.Dir)
	}
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if s.DieWithParent {
		cmd.SysProcAttr.Pdeathsig = unix.SIGKILL
	}
	if s.Cgroup != nil {
		cmd.SysProcAttr.UseCgroupFD, cmd.SysProcAttr.CgroupFD = true, int(s.Cgroup.Fd())
	}
	cmd.WaitDelay = patience
	var err error
	if cmd.SysProcAttr.Credential, err = credential(s.User, s.Group); err != nil {
		return nil, err
	}
	c := &child{Cmd: cmd, spec: s}
	if s.TTY {
		c.terminal, err = openTerminal(cmd, stdout)
		return c, err
	}
	cmd.Stdout, cmd.Stderr = stdout, stderr
	if s.Input != "" {
		cmd.Stdin = strings.NewReader(s.Input)
	}
	return c, nil
}

// start starts the program and makes errors readable.
func (c *child) start() error {
	err := c.Start()
	if c.terminal != nil {
		c.terminal.begin(c.spec.Input, err == nil)
	}
	if err == nil {
		return nil
	}
	return startError(err, c)
}

// wait waits for the end of the program and of its output.
func (c *child) wait() error {
	err := c.Wait()
	if c.terminal != nil {
		c.terminal.end()
	}
	return err
}

// path is the PATH of the program's own environment, if that has another one.
func (s *Spec) path() (path string, given bool) {
	for _, e := range s.Env {
		if value, ok := strings.CutPrefix(e, "PATH="); ok {
			path, given = value, true
		}
	}
	return path, given
}

// lookUp finds a program as `env PATH=path name` does, in the program's own PATH
// and from its working directory; exec.Command looks in ours.
func lookUp(name, path, dir string) (string, error) {
	for _, at := range filepath.SplitList(path) {
		if !filepath.IsAbs(at) {
			at = filepath.Join(dir, at)
		}
		file, err := filepath.Abs(filepath.Join(at, name))
		if err != nil {
			return "", err
		}
		if _, err := exec.LookPath(file); err == nil {
			return file, nil
		}
	}
	return name, &exec.Error{Name: name, Err: exec.ErrNotFound}
}

// startError says why a program did not start.
func startError(err error, c *child) error {
	if noDir := checkDir(c.spec.Dir, c.SysProcAttr.Credential); noDir != nil {
		return noDir
	}
	other := c.spec.User
	if other == "" {
		other = c.spec.Group
	}
	switch {
	case errors.Is(err, exec.ErrNotFound), errors.Is(err, os.ErrNotExist):
		if i := interpreter(c.Path); i != "" {
			return &NotFound{Program: i, Of: c.spec.Argv[0]}
		}
		return &NotFound{Program: c.spec.Argv[0]}
	case other != "" && (errors.Is(err, unix.EPERM) || errors.Is(err, unix.EINVAL)):
		return &NoIDs{As: other, Err: err}
	}
	return err
}

// interpreter is the program that a script's first line names (execve(2)), or "":
// the kernel says that the script does not exist when that does not.
func interpreter(script string) string {
	f, err := os.Open(script)
	if err != nil {
		return ""
	}
	defer f.Close()
	head := make([]byte, 256) // BINPRM_BUF_SIZE
	n, _ := io.ReadFull(f, head)
	line, ok := strings.CutPrefix(string(head[:n]), "#!")
	line, _, _ = strings.Cut(line, "\n")
	if words := strings.Fields(line); ok && len(words) > 0 {
		return words[0]
	}
	return ""
}

// NoDir is a working directory that is none, or not for the program's user.
type NoDir struct {
	Dir string
	Err error
}

func (e *NoDir) Error() string {
	return fmt.Sprintf("change to the working directory %s: %v", e.Dir, e.Err)
}
func (e *NoDir) Unwrap() error { return e.Err }

// checkDir says what is wrong with a working directory. The kernel blames the
// program for it: chdir(2) and execve(2) fail alike in the new process.
func checkDir(dir string, as *syscall.Credential) error {
	if dir == "" {
		return nil
	}
	info, err := os.Stat(dir)
	var cause *os.PathError
	switch {
	case errors.As(err, &cause):
		err = cause.Err
	case err == nil && !info.IsDir():
		err = unix.ENOTDIR
	case err == nil && as == nil:
		err = unix.Access(dir, unix.X_OK)
	case err == nil && !mayEnter(dir, as):
		err = unix.EACCES
	}
	if err == nil {
		return nil
	}
	return &NoDir{dir, err}
}

// mayEnter tells whether a user may search a directory and all above it
// (path_resolution(7)), as far as their modes say it.
func mayEnter(dir string, as *syscall.Credential) bool {
	path, err := filepath.Abs(dir)
	if err != nil || as.Uid == 0 {
		return true
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	for {
		var st unix.Stat_t
		if unix.Stat(path, &st) != nil {
			return true
		}
		search := st.Mode & 1
		switch {
		case st.Uid == as.Uid:
			search = st.Mode >> 6 & 1
		case st.Gid == as.Gid || slices.Contains(as.Groups, st.Gid):
			search = st.Mode >> 3 & 1
		}
		if search == 0 || path == "/" {
			return search != 0
		}
		path = filepath.Dir(path)
	}
}

// NoIDs says that the lab has no ids to run a program as another user.
type NoIDs struct {
	As  string // the user or group
	Err error
}

func (e *NoIDs) Error() string {
	return fmt.Sprintf("this lab cannot run a program as %s: it has only one user", e.As)
}
func (e *NoIDs) Unwrap() error { return e.Err }
