package builtins

import (
	"context"
	"io"
	"sync"
	"time"

	starjson "go.starlark.net/lib/json"
	starmath "go.starlark.net/lib/math"
	"go.starlark.net/starlark"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
)

// Env is what the builtins of one run share.
type Env struct {
	// Ctx ends with the run: deadline, interruption.
	Ctx context.Context
	// Lab is where operations go.
	Lab *lab.Lab
	// Out is where print() writes.
	Out io.Writer
	// Args are the script's name=value arguments, for param().
	Args map[string]string
	// Cases say, for parameters that have cases, which of them it is.
	Cases map[string]int
	// Asked are the names that param() was called with.
	Asked map[string]bool
	// Failed is told of every failed check; it prints.
	Failed func(CheckFailure)
	// Note is told what a user may want to know (the choice of an address).
	Note func(format string, args ...any)
	// NewThread makes a Starlark thread with this run's limits, for parallel().
	NewThread func(name string) *starlark.Thread
	// Place moves a position from a call's parenthesis, which is where Starlark
	// says that it is, to the beginning of the function's name; may be nil.
	Place func(event.Pos) event.Pos
	// Lines are the lines of a file of the script; may be nil.
	Lines func(file string) []string

	lock   sync.Mutex // the interpreter lock
	locked time.Time  // when its holder got it
	began  time.Time
	checks checks
	tables tables
	root   *Namespace

	started []started
	tasks   []*task
}

// New completes an Env and returns the names that scripts find predeclared.
func New(env *Env) starlark.StringDict {
	env.began = time.Now()
	env.Asked = map[string]bool{}
	env.Ctx = lab.WithWait(env.Ctx, env.unlocked)
	env.root = &Namespace{env: env}
	if env.Lab != nil { // tests of the interpreter have none
		env.root.ns = env.Lab.Root
	}
	names := starlark.StringDict{"root": env.root, "json": starjson.Module, "math": starmath.Module}
	for _, f := range registry() {
		for _, name := range f.names {
			f.add(names, name, env)
		}
	}
	return names
}

// Lock takes the interpreter lock: Starlark code of one lab never runs in two
// places at once.
func (env *Env) Lock() {
	env.lock.Lock()
	env.locked = time.Now()
}

// Unlock gives the interpreter lock back.
func (env *Env) Unlock() { env.lock.Unlock() }

// unlocked runs what waits without the interpreter lock, so that waiting overlaps.
// fn must touch neither Starlark values nor the lab's.
func (env *Env) unlocked(fn func()) {
	env.Unlock()
	defer env.Lock()
	fn()
}

// patience is how long a function of parallel() may keep the interpreter lock.
const patience = 100 * time.Millisecond

// Yield lets others have the interpreter lock when its holder has had it for
// long: a function that computes without end does not stop the others.
func (env *Env) Yield() {
	if time.Since(env.locked) > patience {
		env.Unlock()
		env.Lock()
	}
}

const contextKey = "nsscript.ctx"

// context is the thread's own context (parallel() cancels one), or the run's.
func (env *Env) context(t *starlark.Thread) context.Context {
	if ctx, ok := t.Local(contextKey).(context.Context); ok {
		return ctx
	}
	return env.Ctx
}

// Summary counts the checks so far.
func (env *Env) Summary() (checks, failed int) {
	env.checks.mu.Lock()
	defer env.checks.mu.Unlock()
	return env.checks.count, env.checks.failed
}

// CheckFailure is a failed expect or require.
type CheckFailure struct {
	Check string    // "expect.eq"
	Text  string    // both values, the message
	Pos   event.Pos // the outermost line of the script
	Via   []event.Pos
}
