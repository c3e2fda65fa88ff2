package script

import (
	"context"
	"fmt"

	"go.starlark.net/starlark"

	"nsscript/builtins"
	"nsscript/runtime/lab"
)

// steps counts what all threads of a run have done together. Like all evaluation it is
// under the interpreter's lock.
type steps struct {
	total uint64
	// running are the threads that may do more, with what is in total of each.
	running map[*starlark.Thread]*uint64
}

// count adds what was done since the last time. A thread in no function has ended; if it
// is called once more it is counted again when it looks at its limits.
func (s *steps) count() uint64 {
	for t, counted := range s.running {
		now := t.ExecutionSteps()
		s.total += now - *counted
		*counted = now
		if now > 0 && t.CallStackDepth() == 0 {
			delete(s.running, t)
		}
	}
	return s.total
}

// thread makes a Starlark thread with the run's limits, of which the number of steps is
// that of all threads; each looks at it after at most a quantum.
func (r *Runner) thread(name string, fail context.CancelCauseFunc) *starlark.Thread {
	t := &starlark.Thread{Name: name, Load: r.load}
	counted := new(uint64)
	limited := r.options.MaxSteps > 0
	if limited && r.steps.running == nil {
		r.steps.running = map[*starlark.Thread]*uint64{}
	}
	t.OnMaxSteps = func(t *starlark.Thread) {
		if limited {
			r.steps.running[t] = counted
		}
		switch {
		case limited && r.steps.count() >= r.options.MaxSteps:
			stop(t, fail, fmt.Sprintf("the script took more than %d steps", r.options.MaxSteps), "--max-steps sets this limit")
		case t.CallStackDepth() > maxDepth:
			stop(t, fail, fmt.Sprintf("functions call each other %d deep", maxDepth), "a recursion without end?")
		}
		t.SetMaxExecutionSteps(t.ExecutionSteps() + r.nextLook())
		r.env.Yield()
	}
	if limited {
		r.steps.running[t] = counted
		r.steps.count() // of threads that have ended before they looked
	}
	t.SetMaxExecutionSteps(r.nextLook())
	return t
}

// nextLook is after how many steps a thread looks at the limits.
func (r *Runner) nextLook() uint64 {
	if r.options.MaxSteps == 0 {
		return quantum
	}
	left := r.options.MaxSteps - min(r.steps.total, r.options.MaxSteps)
	return min(quantum, max(left, 1))
}

// stop ends the whole run because of a limit.
func stop(t *starlark.Thread, fail context.CancelCauseFunc, what, hint string) {
	fail(&lab.Error{Op: what, Kind: "limit", Err: builtins.ErrLimit, Hint: hint})
	t.Cancel(what)
}
