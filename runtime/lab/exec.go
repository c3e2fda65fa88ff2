package lab

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
	"nsscript/runtime/inherit"
	"nsscript/runtime/process"
)

// Exec runs a program in the namespace and waits for its end, as
// `ip netns exec` does. A nonzero exit status is an error when check is set.
func (ns *Namespace) Exec(ctx context.Context, s process.Spec, check bool) (process.Result, error) {
	if err := ns.check(); err != nil {
		return process.Result{}, err
	}
	ns.lab.SettleIPv6(ctx, ns)
	enter, leave, err := ns.stage()
	if err != nil {
		return process.Result{}, err
	}
	defer leave()
	s.DieWithParent, s.Cgroup = ns.lab.options.Host, ns.cgroup
	ns.lab.beforeProgram()
	ns.lab.programs++
	start := time.Now()
	var r process.Result
	wait(ctx, func() { r, err = process.Run(ctx, enter, s) })
	ns.lab.programs--
	ns.emitExec(ctx, "exec", start, err, s, arg("code", strconv.Itoa(r.Code)))
	if err != nil {
		return r, ns.execError(err, s, r)
	}
	if check && r.Code != 0 {
		return r, &Error{Kind: KindCommand, Op: fmt.Sprintf("%s%s: exit status %d%s", quoted(s.Argv), where(ns), r.Code, lastWords(r)),
			Hint: ExitHint(r.Stderr)}
	}
	return r, nil
}

// Spawn starts a program in the namespace and returns at once, or with ready when
// that says so. It ends with the lab at the latest.
func (ns *Namespace) Spawn(ctx context.Context, s process.Spec, ready *Ready) (*process.Process, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if ready != nil && ready.Port != 0 {
		if by, err := ns.listens(ready.Port); err != nil || by != "" {
			return nil, taken(ns, ready.Port, by, err)
		}
	}
	ns.lab.SettleIPv6(ctx, ns)
	enter, leave, err := ns.stage()
	if err != nil {
		return nil, err
	}
	defer leave()
	s.DieWithParent, s.Cgroup = ns.lab.options.Host, ns.cgroup
	ns.lab.beforeProgram()
	start := time.Now()
	p, err := process.Start(enter, s)
	if err != nil {
		ns.emitExec(ctx, "spawn", start, err, s)
		return nil, ns.execError(err, s, process.Result{})
	}
	ns.emitExec(ctx, "spawn", start, nil, s, arg("pid", strconv.Itoa(p.Pid())))
	ns.lab.procs = append(ns.lab.procs, p)
	if ready == nil {
		return p, nil
	}
	start = time.Now()
	err = ns.await(ctx, p, ready)
	ns.lab.emit(ctx, "process ready", ns, start, err, arg("pid", strconv.Itoa(p.Pid())), arg("ready", ready.String()))
	if err != nil {
		p.Notice()
		return nil, errors.Join(err, ns.lab.Stop(ctx, p, 0))
	}
	return p, nil
}

// beforeProgram makes ready for a program: it sees no sockets of the lab's, and what
// links are like nobody knows any more without asking.
func (l *Lab) beforeProgram() {
	l.closePingSockets()
	l.runs++
}

// Stop asks a spawned process to end and kills it after grace.
func (l *Lab) Stop(ctx context.Context, p *process.Process, grace time.Duration) error {
	if !p.Running() {
		return nil
	}
	start := time.Now()
	var err error
	wait(ctx, func() { err = p.Stop(ctx, grace) })
	l.emit(ctx, "process stop", nil, start, err, arg("pid", strconv.Itoa(p.Pid())))
	return err
}

// Signal sends a signal to a spawned process's group.
func (l *Lab) Signal(ctx context.Context, p *process.Process, s syscall.Signal) error {
	start := time.Now()
	err := p.Signal(s)
	l.emit(ctx, "process signal", nil, start, err, arg("pid", strconv.Itoa(p.Pid())), arg("signal", strconv.Itoa(int(s))))
	return err
}

func (ns *Namespace) emitExec(ctx context.Context, op string, start time.Time, err error, s process.Spec, more ...event.Arg) {
	if !ns.lab.watched() {
		return
	}
	args := []event.Arg{}
	for _, a := range s.Argv {
		args = append(args, arg("argv", a))
	}
	for _, e := range s.Env {
		args = append(args, arg("env", e))
	}
	for _, a := range []event.Arg{arg("input", s.Input), arg("user", s.User), arg("group", s.Group), arg("cwd", s.Dir)} {
		if a.Value != "" {
			args = append(args, a)
		}
	}
	if s.TTY {
		args = append(args, arg("tty", ""))
	}
	ns.lab.emit(ctx, op, ns, start, err, append(args, more...)...)
}

func quoted(argv []string) string { return strings.Join(argv, " ") }

// lastWords are the last lines that a failed program printed.
func lastWords(r process.Result) string {
	text := r.Stderr
	if strings.TrimSpace(text) == "" {
		text = r.Stdout
	}
	return LastLines(text)
}

// LastLines are the last lines of a program's output for a message, each after a
// line's end: ten at most, and the first before them, which often is the cause; without
// what would upset a terminal.
func LastLines(text string) string {
	const most, width = 10, 500
	text = strings.TrimSpace(strings.ReplaceAll(text, "\r\n", "\n"))
	if text == "" {
		return ""
	}
	lines := strings.Split(text, "\n")
	if len(lines) > most+1 {
		lines = append([]string{lines[0], "…"}, lines[len(lines)-most:]...)
	}
	for i, l := range lines {
		if len(l) > width {
			l = l[:width] + " …"
		}
		lines[i] = printable(l)
	}
	return "\n" + strings.Join(lines, "\n")
}

// printable writes control characters and bytes that are no UTF-8 as Go does.
func printable(text string) string {
	quoted := strconv.Quote(text)
	if quoted == `"`+text+`"` {
		return text
	}
	return strings.NewReplacer(`\"`, `"`, `\\`, `\`, `\t`, "\t").Replace(quoted[1 : len(quoted)-1])
}

// ExitHint recognizes, by what it printed, a program that wanted to change its user
// where the lab has only one.
func ExitHint(printed string) string {
	if !oneID() {
		return ""
	}
	for _, word := range []string{"Couldn't change to", "change ownership", "setgroups", "setuid", "setgid", "setegid", "seteuid", "initgroups", "chown", "setresuid", "setresgid"} {
		if strings.Contains(printed, word) {
			return "this program changes user; install uidmap and add a subuid range"
		}
	}
	return ""
}

// oneID tells whether the lab's user namespace has a single user.
func oneID() bool {
	text, err := readProc("/proc/self/uid_map")
	if err != nil {
		return false
	}
	f := strings.Fields(text)
	return len(f) == 3 && f[2] == "1"
}

func readProc(path string) (string, error) {
	return inherit.ReadSysctl("../" + strings.TrimPrefix(path, "/proc/"))
}

// installHint says how to get a program.
func installHint(missing *process.NotFound) string {
	if missing.Of != "" {
		return "it is what the first line of that file names"
	}
	install := "install it"
	if p := feature.PackageOf(missing.Program); p != "" {
		install = "sudo apt install " + p
	}
	return fmt.Sprintf("%s, or ask first: which(%q)", install, missing.Program)
}

func (ns *Namespace) execError(err error, s process.Spec, r process.Result) error {
	e := &Error{Op: "run " + quoted(s.Argv) + where(ns), Kind: KindCommand, Err: err}
	var missing *process.NotFound
	var noIDs *process.NoIDs
	var noDir *process.NoDir
	switch {
	case errors.As(err, &missing):
		e.Kind = KindMissing
		e.Op, e.Err = missing.Error(), nil
		e.Hint = installHint(missing)
	case errors.As(err, &noDir) && s.User != "" && errors.Is(err, unix.EACCES):
		e.Hint = s.User + " may not enter it"
	case errors.As(err, &noDir):
	case errors.As(err, &noIDs):
		e.Hint = "install uidmap and add a subuid range, or run as root"
	case errors.As(err, new(Timeout)):
		e.Kind, e.Err = KindTimeout, errors.New(err.Error()+lastWords(r))
	case errors.Is(err, unix.EACCES) && s.User != "":
		e.Hint = "the file is not executable, or not for " + s.User
	case errors.Is(err, unix.EACCES):
		e.Hint = "the file is not executable"
	case errors.Is(err, unix.EAGAIN):
		e.Hint = ns.processLimit()
	case errors.Is(err, unix.ENOEXEC):
		e.Hint = "the file is no program of this machine, and no script whose first line begins with #!"
	}
	return e
}
