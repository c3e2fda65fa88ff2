package builtins

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
	"nsscript/runtime/process"
)

// tReady says when a program is ready.
var tReady = &Type{Name: "a port, a regular expression, or a function of the process", Good: "8080", Convert: func(c *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Int:
		n, ok := v.Int64()
		if !ok || n < 1 || n > 65535 {
			return nil, fmt.Errorf("%s is no port: it is from 1 to 65535", v)
		}
		return &lab.Ready{Port: int(n)}, nil
	case starlark.String:
		line, err := regexp.Compile("(?m)" + string(v))
		if err != nil {
			return nil, err
		}
		return &lab.Ready{Line: line}, nil
	case starlark.Callable:
		return &lab.Ready{Test: c.readyTest(v)}, nil
	}
	return nil, errType
}}

// ready is the argument of that name, with its deadline.
func (c *Call) ready() *lab.Ready {
	r := get[*lab.Ready](c, "ready", nil)
	if r != nil {
		r.Timeout = get(c, "timeout", 10*time.Second)
	}
	return r
}

// readyTest calls a function of the script as a round of eventually().
func (c *Call) readyTest(fn starlark.Callable) func(context.Context, *process.Process) (bool, string, error) {
	return func(ctx context.Context, p *process.Process) (bool, string, error) {
		outer := c.Thread.Local(contextKey)
		defer c.Thread.SetLocal(contextKey, outer)
		c.Thread.SetLocal(contextKey, ctx)
		_, found, err := c.round(fn, &Process{p, c.Env})
		return found == "", "its function: " + strings.TrimLeft(found, ": "), err
	}
}

// started is a program of spawn() and where the script started it.
type started struct {
	process *process.Process
	pos     event.Pos
	via     []event.Pos
}

// remember notes a program that has to be looked after at the end.
func (c *Call) remember(p *process.Process) {
	pos, via := c.outermost()
	c.Env.started = append(c.Env.started, started{p, pos, via})
}

// asked are signals by which somebody asks a program to end.
var asked = []int{128 + int(unix.SIGHUP), 128 + int(unix.SIGINT), 128 + int(unix.SIGTERM)}

// ReportDead reports, as failed checks, programs of spawn() that have died and
// the script does not know. A run that was interrupted has no use for it.
func (env *Env) ReportDead() {
	if env.Ctx.Err() != nil && !errors.Is(context.Cause(env.Ctx), ErrLimit) {
		return
	}
	for _, s := range env.started {
		s.process.Settle()
		code, ended := s.process.Code()
		if !ended || s.process.Noticed() || code == 0 || slices.Contains(asked, code) {
			continue
		}
		hint := lab.ExitHint(s.process.Output())
		if hint != "" {
			hint = " (" + hint + ")"
		}
		text := fmt.Sprintf("%s has died and nobody noticed: exit status %d%s%s",
			strings.Join(s.process.Argv, " "), code, hint, lab.LastLines(s.process.Output()))
		env.report(CheckFailure{Check: "spawn", Text: text, Pos: s.pos, Via: s.via})
	}
}

// Programs are those of spawn(), on a line each, with the last lines of what they printed
// below it.
func (env *Env) Programs() []string {
	var all []string
	for _, s := range env.started {
		s.process.Settle()
		text := strings.ReplaceAll(strings.Join(s.process.Argv, " "), "\n", " ")
		if code, ended := s.process.Code(); ended {
			text += fmt.Sprintf(" (exit status %d)", code)
		}
		all = append(all, text+lab.LastLines(s.process.Output()))
	}
	return all
}
