package builtins

import (
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"slices"
	"strings"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
)

// Call is one call of a builtin, unpacked.
type Call struct {
	// Ctx ends with the script's deadline; it carries the position.
	Ctx    context.Context
	Env    *Env
	Thread *starlark.Thread

	spec   *Spec
	self   *Firewall     // of which it is a method
	looked time.Duration // for addresses of names, see lookup
	values []any         // nil where the argument was left out or None
}

// errType makes the wrapper say which type was wanted.
var errType = errors.New("wrong type")

// builtin makes the Starlark value of a Spec.
func (s *Spec) builtin(env *Env) *starlark.Builtin {
	return builtin(s.Name, func() *Spec { return s }, env)
}

// builtin makes the Starlark value of a Spec that is asked for at the first call.
// Every builtin passes through here: it unpacks the arguments, knows the position,
// and keeps a panic, which is a bug of ours, from the user.
func builtin(name string, spec func() *Spec, env *Env) *starlark.Builtin {
	return starlark.NewBuiltin(name, func(t *starlark.Thread, _ *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (result starlark.Value, err error) {
		defer func() {
			if p := recover(); p != nil {
				result, err = nil, bug(name, p)
			}
		}()
		c := &Call{Env: env, Thread: t, spec: spec()}
		c.Ctx = event.WithPos(env.context(t), func() event.Pos { return env.position(t) })
		if err := c.unpack(args, kwargs); err != nil {
			return nil, err
		}
		v, err := c.spec.Fn(c)
		if err != nil {
			return nil, c.interrupted(lab.Scarce(c.named(err)))
		}
		if v == nil {
			v = starlark.None
		}
		return v, nil
	})
}

// Guard runs Starlark code. What makes a builtin of the language itself panic, like a
// list that no memory can hold, is an error. Where it was is not known any more.
func Guard[T any](run func() (T, error)) (result T, err error) {
	defer func() {
		if p := recover(); p != nil {
			err = bug("the script", p)
		}
	}()
	return run()
}

// bug is a panic of ours, as an error; or one of Starlark's, when it is asked for more
// than there can be.
func bug(name string, p any) error {
	if e, ok := p.(runtime.Error); ok && strings.Contains(e.Error(), "out of range") && strings.Contains(e.Error(), "make") {
		return lab.Usage("", "%s: a value is asked for that no memory can hold", name)
	}
	if os.Getenv("NSSCRIPT_DEBUG") != "" {
		os.Stderr.Write(debug.Stack())
	}
	return &lab.Error{Op: fmt.Sprintf("%s: internal error: %v", name, p), Kind: "bug",
		Hint: "this is a bug in nsscript; with NSSCRIPT_DEBUG=1 it prints where"}
}

// named names the builtin in an error of one of its options, "state: …", that was
// found farther down.
func (c *Call) named(err error) error {
	usage, ok := err.(*lab.Error)
	if !ok || usage.Kind != lab.KindUsage {
		return err
	}
	option, _, found := strings.Cut(usage.Op, ":")
	words := strings.Fields(option) // of "encap mpls", the first
	if !found || len(words) == 0 || len(words) > 2 || c.index(words[0]) < 0 {
		return err
	}
	other := *usage
	other.Op = c.spec.Name + ": " + usage.Op
	return &other
}

// interrupted replaces the consequences of the end of the run by its reason.
func (c *Call) interrupted(err error) error {
	if c.Env.Ctx.Err() != nil && errors.Is(err, c.Env.Ctx.Err()) {
		return context.Cause(c.Env.Ctx)
	}
	return err
}

// position is where in the script a builtin was called: the innermost frame
// that is neither a builtin's nor the standard library's.
func (env *Env) position(t *starlark.Thread) event.Pos {
	var inner event.Pos
	for depth := 0; depth < t.CallStackDepth(); depth++ {
		f := t.CallFrame(depth)
		if f.Pos.Line == 0 {
			continue
		}
		pos := event.Pos{File: f.Pos.Filename(), Line: int(f.Pos.Line), Col: int(f.Pos.Col)}
		if !strings.HasPrefix(pos.File, "@") {
			return env.place(pos)
		}
		if inner.File == "" {
			inner = pos
		}
	}
	return env.place(inner)
}

// place is a position whose column is where the call's name begins.
func (env *Env) place(pos event.Pos) event.Pos {
	if env.Place == nil {
		return pos
	}
	return env.Place(pos)
}

// unpack assigns the arguments to the Spec's parameters.
func (c *Call) unpack(args starlark.Tuple, kwargs []starlark.Tuple) error {
	c.values = make([]any, len(c.spec.Params))
	given := make([]bool, len(c.spec.Params))
	next := 0
	for i, p := range c.spec.Params {
		if p.Variadic {
			var rest []any
			for n, v := range args[min(next, len(args)):] {
				value, err := c.convert(p, fmt.Sprintf("argument %d", next+n+1), v)
				if err != nil {
					return err
				}
				rest = append(rest, value)
			}
			if p.Required && len(rest) == 0 {
				return lab.Usage(c.spec.Signature(), "%s: no %s was given", c.spec.Name, strings.TrimPrefix(p.Type.Name, "a "))
			}
			c.values[i], given[i], next = rest, true, len(args)
			continue
		}
		if p.KeywordOnly || p.Keywords || next >= len(args) {
			continue
		}
		if err := c.set(i, args[next]); err != nil {
			return err
		}
		given[i] = true
		next++
	}
	if next < len(args) {
		return c.tooMany(len(args), next)
	}
	for _, kv := range kwargs {
		name := string(kv[0].(starlark.String))
		i := c.index(name)
		if i < 0 || c.spec.Params[i].Variadic || c.spec.Params[i].Keywords {
			if !c.keep(kv) {
				return c.unknown(name)
			}
			continue
		}
		if given[i] {
			return lab.Usage("", "%s: %s is given twice", c.spec.Name, name)
		}
		if err := c.set(i, kv[1]); err != nil {
			return err
		}
		given[i] = true
	}
	for i, p := range c.spec.Params {
		if p.Required && !given[i] {
			return lab.Usage(c.spec.Signature(), "%s: %s= is missing", c.spec.Name, p.Name)
		}
	}
	return nil
}

// keep gives a keyword argument to the parameter that takes those of any name, if
// there is one.
func (c *Call) keep(kv starlark.Tuple) bool {
	i := slices.IndexFunc(c.spec.Params, func(p Param) bool { return p.Keywords })
	if i < 0 {
		return false
	}
	if kv[1] != starlark.None {
		list, _ := c.values[i].([]starlark.Tuple)
		c.values[i] = append(list, kv)
	}
	return true
}

func (c *Call) tooMany(got, taken int) error {
	hint := c.spec.Signature()
	for i, p := range c.spec.Params {
		if i >= taken && p.KeywordOnly {
			hint = "options are given by name, like " + p.Name + "=…: " + hint
			break
		}
	}
	noun := "arguments"
	if taken == 1 {
		noun = "argument"
	}
	return lab.Usage(hint, "%s takes %d %s by position, got %d", c.spec.Name, taken, noun, got)
}

func (c *Call) unknown(name string) error {
	var names []string
	for _, p := range c.spec.Params {
		names = append(names, p.Name)
	}
	hint := c.spec.Signature()
	if near := lab.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %s=?", near)
	}
	return lab.Usage(hint, "%s has no parameter %s", c.spec.Name, name)
}

func (c *Call) index(name string) int {
	for i, p := range c.spec.Params {
		if p.Name == name {
			return i
		}
	}
	return -1
}

// set converts one argument. None is what was left out, unless the type takes it.
func (c *Call) set(i int, v starlark.Value) error {
	p := c.spec.Params[i]
	if v == starlark.None && !p.Required && p.Type != tAny {
		return nil
	}
	value, err := c.convert(p, p.Name, v)
	if err != nil {
		return err
	}
	c.values[i] = value
	return nil
}

// convert converts an argument, which complaints call by a name.
func (c *Call) convert(p Param, name string, v starlark.Value) (any, error) {
	value, err := p.Type.Convert(c, v)
	if err == nil {
		return value, nil
	}
	hint := ""
	if p.Type.Good != "" {
		hint = "a good one is " + p.Type.Good
		if !p.Variadic {
			hint = "a good one is " + p.Name + "=" + p.Type.Good
		}
	}
	var known *lab.Error
	switch {
	case errors.Is(err, errType):
		return nil, lab.Usage(hint, "%s: %s: got %s, want %s", c.spec.Name, name, describe(v), p.Type.Name)
	case errors.As(err, &known):
		if known.Hint != "" {
			hint = known.Hint
		}
		return nil, &lab.Error{Op: fmt.Sprintf("%s: %s: %s", c.spec.Name, name, known.Error()), Kind: known.Kind, Hint: hint}
	}
	return nil, lab.Usage(hint, "%s: %s: %v", c.spec.Name, name, err)
}

// describe names a value in a complaint: its type, and itself when it is short.
func describe(v starlark.Value) string {
	switch v.(type) {
	case starlark.String, starlark.Int, starlark.Float, starlark.Bool:
		if s := v.String(); len(s) <= 40 {
			return v.Type() + " " + s
		}
	}
	return v.Type()
}

// Given tells whether a parameter was given (and not None).
func (c *Call) Given(name string) bool { return c.values[c.at(name)] != nil }

// at finds a parameter; asking for one that the Spec does not declare is a bug.
func (c *Call) at(name string) int {
	i := c.index(name)
	if i < 0 {
		panic("no parameter " + name)
	}
	return i
}

// get returns an argument, or def when it was left out.
func get[T any](c *Call, name string, def T) T {
	if v := c.values[c.at(name)]; v != nil {
		return v.(T)
	}
	return def
}

// pointer returns an argument, or nil when it was left out.
func pointer[T any](c *Call, name string) *T {
	if v, ok := c.values[c.at(name)].(T); ok {
		return &v
	}
	return nil
}

// all returns the arguments of a variadic parameter, or of one that takes a list.
func all[T any](c *Call, name string) []T {
	var list []T
	for _, v := range get[[]any](c, name, nil) {
		list = append(list, v.(T))
	}
	return list
}

// Blocking runs what waits without the interpreter lock. Operations of the lab do
// that by themselves.
func (c *Call) Blocking(fn func()) { c.Env.unlocked(fn) }

// sleep waits; false means that the call's context ended first.
func (c *Call) sleep(d time.Duration) (whole bool) {
	c.Blocking(func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			whole = true
		case <-c.Ctx.Done():
		}
	})
	return whole
}
