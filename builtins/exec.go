package builtins

import (
	"context"
	"errors"
	"fmt"
	"math"
	"os/exec"
	"slices"
	"strings"
	"syscall"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
	"nsscript/runtime/process"
)

// Process is a program that runs beside the script. It is live.
type Process struct {
	process *process.Process
	env     *Env
}

func (p *Process) String() string {
	return fmt.Sprintf("process %d: %s", p.process.Pid(), strings.Join(p.process.Argv, " "))
}

// Type is what type() says.
func (p *Process) Type() string { return "process" }

// Freeze does nothing.
func (p *Process) Freeze() {}

// Truth is True.
func (p *Process) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (p *Process) Hash() (uint32, error) { return hashPointer(p.process) }

// CompareSameType: one process, one value.
func (p *Process) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, p.process == y.(*Process).process, "process")
}

// AttrNames lists the attributes.
func (p *Process) AttrNames() []string {
	return []string{"pid", "argv", "running", "code", "output", "lines", "stop", "wait", "signal"}
}

// Attr asks for the process's state.
func (p *Process) Attr(name string) (starlark.Value, error) {
	switch name {
	case "pid":
		return starlark.MakeInt(p.process.Pid()), nil
	case "argv":
		return strs(p.process.Argv), nil
	case "running":
		if running := p.process.Running(); running {
			return starlark.True, nil
		}
		p.process.Notice()
		return starlark.False, nil
	case "code":
		if code, ended := p.process.Code(); ended {
			p.process.Notice()
			return starlark.MakeInt(code), nil
		}
		return starlark.None, nil
	case "output":
		return starlark.String(p.process.Output()), nil
	}
	for _, m := range processMethods {
		if m.Name == "process."+name {
			bound := m.Spec
			bound.Fn = func(c *Call) (starlark.Value, error) { return m.do(c, p.process) }
			return bound.builtin(p.env), nil
		}
	}
	return nil, nil
}

// MarshalJSON is the process with its attributes.
func (p *Process) MarshalJSON() ([]byte, error) { return marshalLive(p) }

// tSignal is a signal by its number or its name (signal(7)).
var tSignal = &Type{Name: "a signal's name or number", Good: `"HUP"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Int:
		if n, ok := v.Int64(); ok && n >= 1 && n <= 64 {
			return syscall.Signal(n), nil
		}
		return nil, fmt.Errorf("%s is out of range: signals are numbered from 1 to 64", v)
	case starlark.String:
		name := strings.ToUpper(string(v))
		if !strings.HasPrefix(name, "SIG") {
			name = "SIG" + name
		}
		if s := unix.SignalNum(name); s != 0 {
			return s, nil
		}
		return nil, fmt.Errorf("there is no signal %s", v)
	}
	return nil, errType
}}

// processMethod is a method of processes, and what it does to one.
type processMethod struct {
	Spec
	do func(*Call, *process.Process) (starlark.Value, error)
}

var processMethods = []processMethod{
	{Spec{Name: "process.stop", Doc: "Sends SIGTERM to the process's group, and SIGKILL to what has not ended after the timeout.", Params: []Param{optional("timeout", tDuration, "\"2s\"", "from SIGTERM to SIGKILL")}},
		func(c *Call, p *process.Process) (starlark.Value, error) {
			p.Notice()
			return nil, c.Env.Lab.Stop(c.Ctx, p, get(c, "timeout", 2*time.Second))
		}},
	{Spec{Name: "process.wait", Returns: "the exit status; 128 + N after signal N", Doc: "Waits for the end of the process; one that does not end in time is an error, and goes on.", Params: []Param{optional("timeout", tDuration, "", "at most so long")}},
		func(c *Call, p *process.Process) (starlark.Value, error) {
			ctx, cancel := c.within("timeout")
			defer cancel()
			ended := false
			c.Blocking(func() { ended = p.Wait(ctx) })
			if !ended {
				if c.Ctx.Err() != nil {
					return nil, context.Cause(c.Ctx)
				}
				return nil, &lab.Error{Op: fmt.Sprintf("%s has not ended within %v", strings.Join(p.Argv, " "), get(c, "timeout", time.Duration(0))), Kind: lab.KindTimeout}
			}
			p.Notice()
			code, _ := p.Code()
			return starlark.MakeInt(code), nil
		}},
	{Spec{Name: "process.lines", Returns: "a list of strings", Doc: "The lines of the last mebibyte of what it has printed so far, on both streams, without their ends."},
		func(_ *Call, p *process.Process) (starlark.Value, error) { return strs(p.Lines()), nil }},
	{Spec{Name: "process.signal", Doc: "Sends a signal to the process's group.", Params: []Param{required("signal", tSignal, "which")}},
		func(c *Call, p *process.Process) (starlark.Value, error) {
			p.Notice()
			return nil, c.Env.Lab.Signal(c.Ctx, p, get(c, "signal", syscall.Signal(0)))
		}},
}

// within is the call's context with the deadline that a parameter gives.
func (c *Call) within(param string) (context.Context, context.CancelFunc) {
	if d := pointer[time.Duration](c, param); d != nil {
		return context.WithTimeoutCause(c.Ctx, *d, lab.Timeout(*d))
	}
	return c.Ctx, func() {}
}

func (env *Env) result(r process.Result) *Record {
	text := strings.TrimRight(r.Stdout, "\n")
	if r.Truncated {
		text += fmt.Sprintf("\n… there was more: of each stream %d MiB are kept", process.MaxOutput>>20)
	}
	if r.Code != 0 { // printed alone, a failure is not to look like nothing
		text = strings.TrimLeft(fmt.Sprintf("%s\n(exit status %d)", strings.TrimRight(text+"\n"+r.Stderr, "\n"), r.Code), "\n")
	}
	rec := record("result", text, nil,
		field{"code", starlark.MakeInt(r.Code)}, field{"stdout", starlark.String(r.Stdout)}, field{"stderr", starlark.String(r.Stderr)},
		field{"ok", starlark.Bool(r.Code == 0)}, field{"seconds", seconds(r.Took)}, field{"argv", strs(r.Argv)},
		field{"truncated", starlark.Bool(r.Truncated)})
	rec.truth = r.Code == 0
	return rec
}

// execParams are what exec_in and spawn share.
func execParams() []Param {
	return []Param{
		required("ns", tNetnsRef, "where"), required("cmd", tArgv, "a list is argv; a string goes to /bin/sh -c"),
		keyword("input", tText, "", "what it reads on standard input"), keyword("env", tEnviron, "", "added to the environment; the program is looked up in its PATH"),
		keyword("cwd", tString, "", "the working directory"), keyword("user", tIdentity, "", "another user to run as, by name or number; needs root or a subuid range"),
		keyword("group", tIdentity, "the user's", "a group to run as, by name or number"),
		keyword("tty", tBool, "False", "on a terminal of 80×24, where input is typed and then end of file"),
	}
}

func (c *Call) processSpec() process.Spec {
	return process.Spec{Argv: get[[]string](c, "cmd", nil), Input: get(c, "input", ""), Env: get[[]string](c, "env", nil),
		Dir: get(c, "cwd", ""), User: get(c, "user", ""), Group: get(c, "group", ""), TTY: get(c, "tty", false)}
}

// tIdentity is a user or a group.
var tIdentity = &Type{Name: "a name or a number", Good: `"nobody"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		if v == "" {
			return nil, errors.New("a name is not empty")
		}
		return string(v), nil
	case starlark.Int:
		if n, ok := v.Uint64(); ok && n < math.MaxUint32 {
			return v.String(), nil
		}
		return nil, fmt.Errorf("%s is out of range: it is from 0 to %d", v, math.MaxUint32-1)
	}
	return nil, errType
}}

func execSpecs() []*Spec {
	return []*Spec{
		{
			Name: "exec_in", Family: familyNamespaces, Returns: "result: code stdout stderr ok seconds argv truncated", Like: "ip netns exec NS CMD",
			Doc: "Runs a command in a namespace and waits for its end. A nonzero exit status is an error with what it printed, unless check=False. " +
				"After the timeout its whole process group is killed, and that is an error in any case. Of each output stream 64 MiB are kept; " +
				"truncated says that there was more. Output is text whose bytes are as the program wrote them, also those that are no UTF-8. " +
				"On a terminal (tty=True) both streams are one, stdout, with what was typed and with lines that end in \\r\\n.",
			Params: append(execParams(), keyword("timeout", tDuration, "", "at most so long"),
				keyword("check", tBool, "True", "a nonzero exit status is an error")),
			Example: "blue = netns(\"blue\")\nr = exec_in(blue, [\"cat\", \"/proc/net/dev\"])\nexpect.contains(r.stdout, \"lo:\")\n" +
				"expect.eq(exec_in(blue, \"exit 3\", check=False).code, 3)\nexpect.contains(exec_in(blue, \"tty\", tty=True).stdout, \"/dev/pts/\")",
			Fn: func(c *Call) (starlark.Value, error) {
				ctx, cancel := c.within("timeout")
				defer cancel()
				r, err := get[*lab.Namespace](c, "ns", nil).Exec(ctx, c.processSpec(), get(c, "check", true))
				if err != nil {
					return nil, err
				}
				return c.Env.result(r), nil
			},
		},
		{
			Name: "spawn", Family: familyNamespaces, Returns: "process: pid argv running code output lines() wait() stop() signal()", Like: "ip netns exec NS CMD &",
			Doc: "Starts a command in a namespace and goes on, at once or when it is ready: when some socket of the namespace listens on a port (TCP or UDP; none may before), " +
				"when a regular expression matches in its output (^ and $ are those of a line), or when a function that gets the process returns a true value. " +
				"One that ends before, or is not ready in time, is an error with the last lines of its output. It ends with the lab at the latest. " +
				"output is the last mebibyte of what it has printed so far, on both streams, lines() the same without line ends; " +
				"stop(timeout=\"2s\") sends SIGTERM to its process group and SIGKILL after the timeout; wait(timeout=) returns the exit status (128 + N after signal N); " +
				"signal(\"HUP\") sends a signal, by name or number. One that has died by the end of the script with another status than 0, and not by SIGHUP, SIGINT or SIGTERM, " +
				"without the script having asked for running or code, waited for it or stopped or signalled it, counts as a failed check.",
			Params: slices.Insert(execParams(), 2, optional("ready", tReady, "", "a port, a regular expression for its output, or a function of the process"),
				keyword("timeout", tDuration, "\"10s\"", "to get ready")),
			Example: "blue = netns(\"blue\")\np = spawn(blue, \"echo at work; sleep 60\", ready=\"^at work$\")\nexpect(p.running)\nexpect.eq(p.lines(), [\"at work\"])\n" +
				"expect.eq(netns(pid=p.pid), blue)\np.stop()\nexpect.eq(p.running, False)",
			Fn: func(c *Call) (starlark.Value, error) {
				if c.Given("timeout") && !c.Given("ready") {
					return nil, lab.Usage("stop() ends it; exec_in() has a timeout for the whole run", "spawn: timeout is for ready=, which is not given")
				}
				p, err := get[*lab.Namespace](c, "ns", nil).Spawn(c.Ctx, c.processSpec(), c.ready())
				if err != nil {
					return nil, err
				}
				c.remember(p)
				return &Process{p, c.Env}, nil
			},
		},
		{
			Name: "which", Family: familyNamespaces, Returns: "the program's path, or None", Like: "command -v PROGRAM",
			Doc:     "Finds a program in PATH: `if which(\"tcpdump\"):` guards steps that need it.",
			Params:  []Param{required("program", tString, "its name")},
			Example: "expect(which(\"sh\"))\nexpect.eq(which(\"no-such-program\"), None)",
			Fn: func(c *Call) (starlark.Value, error) {
				path, err := exec.LookPath(get(c, "program", ""))
				if err != nil {
					return starlark.None, nil
				}
				return starlark.String(path), nil
			},
		},
	}
}
