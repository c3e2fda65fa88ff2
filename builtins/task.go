package builtins

import (
	"context"
	"errors"
	"fmt"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
)

// task is what goes on beside the script: it has the interpreter lock whenever it does
// something, and gives it back while it waits.
type task struct {
	name    string
	env     *Env
	thread  *starlark.Thread
	cancel  context.CancelFunc
	done    chan struct{}
	err     error // of what it did; valid once done is closed
	noticed bool  // that the script knows of err
	pos     event.Pos
	via     []event.Pos
}

// begin starts a task.
func (c *Call) begin(name string, run func(ctx context.Context, t *task) error) *task {
	pos := c.Env.position(c.Thread)
	ctx, cancel := context.WithCancel(event.WithPos(c.Env.Ctx, func() event.Pos { return pos }))
	t := &task{name: name, env: c.Env, thread: c.Env.NewThread(name), cancel: cancel, done: make(chan struct{})}
	t.pos, t.via = c.outermost()
	t.thread.SetLocal(contextKey, ctx)
	stop := context.AfterFunc(ctx, func() { t.thread.Cancel("cancelled") })
	c.Env.tasks = append(c.Env.tasks, t)
	go func() {
		defer close(t.done)
		defer stop()
		c.Env.Lock()
		defer c.Env.Unlock()
		_, err := Guard(func() (struct{}, error) { return struct{}{}, run(ctx, t) })
		if ctx.Err() == nil { // what is called off does not fail
			t.err = err
		}
	}()
	return t
}

// sleep waits; false means that the task was called off.
func (t *task) sleep(ctx context.Context, d time.Duration) (whole bool) {
	t.env.unlocked(func() {
		timer := time.NewTimer(d)
		defer timer.Stop()
		select {
		case <-timer.C:
			whole = ctx.Err() == nil
		case <-ctx.Done():
		}
	})
	return whole
}

func (t *task) running() bool {
	select {
	case <-t.done:
		return false
	default:
		return true
	}
}

// stop calls the task off and waits for what it is doing, unless it is the task that
// calls.
func (t *task) stop(caller *starlark.Thread) {
	t.cancel()
	if caller != t.thread {
		t.env.unlocked(func() { <-t.done })
	}
}

// waiter is the method wait().
func (t *task) waiter() starlark.Value {
	s := &Spec{Name: t.name + ".wait", Fn: func(c *Call) (starlark.Value, error) {
		if c.Thread == t.thread {
			return nil, lab.Usage("", "%s.wait: a step cannot wait for its own schedule", t.name)
		}
		c.Blocking(func() {
			select {
			case <-t.done:
			case <-c.Ctx.Done():
			}
		})
		if t.running() {
			return nil, context.Cause(c.Ctx)
		}
		if t.err == nil {
			return nil, nil
		}
		t.noticed = true
		return nil, fmt.Errorf("%w", t.err) // an EvalError as it is would pass for this call's own
	}}
	return s.builtin(t.env)
}

// EndTasks calls off what still goes on beside the script, and reports what failed and
// nobody waited for.
func (env *Env) EndTasks() {
	for _, t := range env.tasks {
		t.stop(nil)
	}
	for _, t := range env.tasks {
		var stopped *Stop // has been reported
		if t.err == nil || t.noticed || errors.As(t.err, &stopped) {
			continue
		}
		env.report(CheckFailure{Check: t.name, Text: cause(t.err).Error(), Pos: t.pos, Via: t.via})
	}
	env.tasks = nil
}

// Schedule is what schedule() returns. It is live.
type Schedule struct {
	task  *task
	steps []step
}

func (s *Schedule) String() string { return fmt.Sprintf("schedule of %d steps", len(s.steps)) }

// Type is what type() says.
func (s *Schedule) Type() string { return "schedule" }

// Freeze does nothing.
func (s *Schedule) Freeze() {}

// Truth is True.
func (s *Schedule) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (s *Schedule) Hash() (uint32, error) { return hashPointer(s.task) }

// CompareSameType: one schedule, one value.
func (s *Schedule) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, s.task == y.(*Schedule).task, "schedule")
}

// AttrNames lists the attributes.
func (s *Schedule) AttrNames() []string { return []string{"running", "undo", "wait"} }

// Attr is an attribute, or a method.
func (s *Schedule) Attr(name string) (starlark.Value, error) {
	switch name {
	case "running":
		return starlark.Bool(s.task.running()), nil
	case "wait":
		return s.task.waiter(), nil
	case "undo":
		undo := &Spec{Name: "schedule.undo", Fn: func(c *Call) (starlark.Value, error) { s.task.stop(c.Thread); return nil, nil }}
		return undo.builtin(s.task.env), nil
	}
	return nil, nil
}

// MarshalJSON is the schedule with its attributes.
func (s *Schedule) MarshalJSON() ([]byte, error) { return marshalLive(s) }

func schedule(c *Call) (starlark.Value, error) {
	steps := get[[]step](c, "steps", nil)
	began := time.Now()
	t := c.begin("schedule", func(ctx context.Context, t *task) error {
		for _, s := range steps {
			if !t.sleep(ctx, time.Until(began.Add(s.after))) {
				return nil
			}
			t.env.Lab.Note(ctx, "step", event.Arg{Key: "after", Value: s.after.String()}, event.Arg{Key: "calls", Value: s.fn.Name()})
			if _, err := starlark.Call(t.thread, s.fn, nil, nil); err != nil {
				return err
			}
		}
		return nil
	})
	return &Schedule{t, steps}, nil
}
