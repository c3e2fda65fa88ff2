package builtins

import (
	"context"
	"fmt"
	"os/exec"
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
	return []string{"pid", "argv", "running", "code", "output", "stop", "wait", "signal"}
}

// Attr asks for the process's state.
func (p *Process) Attr(name string) (starlark.Value, error) {
	switch name {
	case "pid":
		return starlark.MakeInt(p.process.Pid()), nil
	case "argv":
		return strs(p.process.Argv), nil
	case "running":
		return starlark.Bool(p.process.Running()), nil
	case "code":
		if code, ended := p.process.Code(); ended {
			return starlark.MakeInt(code), nil
		}
		return starlark.None, nil
	case "output":
		return starlark.String(p.process.Output()), nil
	}
	for _, m := range processMethods {
		if m.Name == "process."+name {
			bound := *m
			bound.Fn = func(c *Call) (starlark.Value, error) { return processFn[m.Name](c, p.process) }
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

var processMethods = []*Spec{
	{Name: "process.stop", Params: []Param{optional("timeout", tDuration, "\"2s\"", "from SIGTERM to SIGKILL")}},
	{Name: "process.wait", Params: []Param{optional("timeout", tDuration, "", "at most so long")}},
	{Name: "process.signal", Params: []Param{required("signal", tSignal, "which")}},
}

var processFn = map[string]func(*Call, *process.Process) (starlark.Value, error){
	"process.stop": func(c *Call, p *process.Process) (starlark.Value, error) {
		return nil, c.Env.Lab.Stop(c.Ctx, p, get(c, "timeout", 2*time.Second))
	},
	"process.wait": func(c *Call, p *process.Process) (starlark.Value, error) {
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
		code, _ := p.Code()
		return starlark.MakeInt(code), nil
	},
	"process.signal": func(c *Call, p *process.Process) (starlark.Value, error) {
		return nil, c.Env.Lab.Signal(c.Ctx, p, get(c, "signal", syscall.Signal(0)))
	},
}

// within is the call's context with the deadline that a parameter gives.
func (c *Call) within(param string) (context.Context, context.CancelFunc) {
	if d := pointer[time.Duration](c, param); d != nil {
		return context.WithTimeoutCause(c.Ctx, *d, lab.Timeout(*d))
	}
	return c.Ctx, func() {}
}

func (env *Env) result(r process.Result) *Record {
	rec := record("result", strings.TrimRight(r.Stdout, "\n"), nil,
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
		keyword("input", tString, "", "what it reads on standard input"), keyword("env", tEnviron, "", "added to the environment; the program is looked up in its PATH"),
		keyword("cwd", tString, "", "the working directory"), keyword("user", tString, "", "another user to run as; needs root or a subuid range"),
	}
}

func (c *Call) processSpec() process.Spec {
	return process.Spec{Argv: get[[]string](c, "cmd", nil), Input: get(c, "input", ""), Env: get[[]string](c, "env", nil),
		Dir: get(c, "cwd", ""), User: get(c, "user", "")}
}

func execSpecs() []*Spec {
	return []*Spec{
		{
			Name: "exec_in", Family: familyNamespaces, Returns: "result: code stdout stderr ok seconds argv truncated", Like: "ip netns exec NS CMD",
			Doc: "Runs a command in a namespace and waits for its end. A nonzero exit status is an error with what it printed, unless check=False. " +
				"After the timeout its whole process group is killed, and that is an error in any case. Of each output stream 64 MiB are kept.",
			Params: append(execParams(), keyword("timeout", tDuration, "", "at most so long"),
				keyword("check", tBool, "True", "a nonzero exit status is an error")),
			Example: "blue = netns(\"blue\")\nr = exec_in(blue, [\"cat\", \"/proc/net/dev\"])\nexpect.contains(r.stdout, \"lo:\")\n" +
				"expect.eq(exec_in(blue, \"exit 3\", check=False).code, 3)",
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
			Name: "spawn", Family: familyNamespaces, Returns: "process: pid argv running code output wait() stop() signal()", Like: "ip netns exec NS CMD &",
			Doc: "Starts a command in a namespace and goes on. It ends with the lab at the latest. " +
				"stop(timeout=\"2s\") sends SIGTERM to its process group and SIGKILL after the timeout; wait(timeout=) returns the exit status; " +
				"signal(\"HUP\") sends a signal, by name or number.",
			Params:  execParams(),
			Example: "blue = netns(\"blue\")\np = spawn(blue, [\"sleep\", \"60\"])\nexpect(p.running)\nexpect.eq(netns(pid=p.pid), blue)\np.stop()\nexpect.eq(p.running, False)",
			Fn: func(c *Call) (starlark.Value, error) {
				p, err := get[*lab.Namespace](c, "ns", nil).Spawn(c.Ctx, c.processSpec())
				if err != nil {
					return nil, err
				}
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
