package builtins

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
)

const familyFlow = "Structure of a script"

func flowSpecs() []*Spec {
	return []*Spec{
		{
			Name: "catch", Family: familyChecks, Returns: "error: message op errno kind pos hint; or None",
			Doc:     "Calls a function and returns its error as a value, or None. It does not stop failed checks, fail() and skip().",
			Params:  []Param{required("fn", tCallable, "the function")},
			Example: "veth(\"a\", \"b\")\ne = catch(lambda: veth(\"a\", \"c\"))\nexpect.eq(e.errno, \"EEXIST\")\nexpect.eq(catch(lambda: None), None)",
			Fn: func(c *Call) (starlark.Value, error) {
				_, err := starlark.Call(c.Thread, get[starlark.Callable](c, "fn", nil), nil, nil)
				if err == nil {
					return starlark.None, nil
				}
				if passes(err) || c.Ctx.Err() != nil {
					return nil, err
				}
				return c.Env.failure(err), nil
			},
		},
		{
			Name: "fail", Family: familyChecks,
			Doc:    "Fails with a message, as a failed require does.",
			Params: []Param{required("message", tString, "what is wrong")},
			Fn: func(c *Call) (starlark.Value, error) {
				pos, via := c.outermost()
				f := CheckFailure{Check: "fail", Text: get(c, "message", ""), Pos: pos, Via: via}
				if t, ok := c.Thread.Local(trialKey).(*trial); ok {
					t.failures = append(t.failures, f)
				} else {
					c.Env.report(f)
				}
				return nil, &Stop{f.Text}
			},
		},
		{
			Name: "skip", Family: familyChecks,
			Doc:    "Ends the script because it cannot run here; a script that checked nothing before exits with 4.",
			Params: []Param{required("reason", tString, "what is missing")},
			Fn: func(c *Call) (starlark.Value, error) {
				return nil, &Skip{get(c, "reason", ""), c.Env.position(c.Thread)}
			},
		},
		{
			Name: "sleep", Family: familyFlow,
			Doc:     "Waits. Other functions of parallel() go on meanwhile.",
			Params:  []Param{required("duration", tDuration, "in seconds, or with a unit")},
			Example: "t = now()\nsleep(\"20ms\")\nexpect.ge(now() - t, 0.02)",
			Fn: func(c *Call) (starlark.Value, error) {
				if !c.sleep(get(c, "duration", time.Duration(0))) {
					return nil, context.Cause(c.Ctx)
				}
				return nil, nil
			},
		},
		{
			Name: "now", Family: familyFlow, Returns: "seconds, a float",
			Doc:     "The time since the script began, by a clock that only goes forward.",
			Example: "t = now()\nexpect.ge(now(), t)",
			Fn:      func(c *Call) (starlark.Value, error) { return seconds(time.Since(c.Env.began)), nil },
		},
		{
			Name: "param", Family: familyFlow, Returns: "the value",
			Doc: "Declares what `nsscript FILE name=value` may set, typed by its default. A name that no param declares is an error before anything is built.",
			Params: []Param{required("name", tString, "its name"), required("default", tAny, "the value unless set"),
				keyword("help", tString, "", "a line for people"), keyword("cases", tAny, "", "values to test: `nsscript test` runs each test with each of them")},
			Example: "hosts = param(\"hosts\", 4, help=\"how many\")\nexpect.eq(hosts, 4)",
			Fn:      param,
		},
		{
			Name: "parallel", Family: familyFlow, Returns: "list of results, in order",
			Doc:    "Calls functions at once: their waiting overlaps, their evaluation does not. The first error cancels the others and is raised.",
			Params: []Param{required("functions", listOf(tCallable, "a list of functions"), "what to call")},
			Example: "t = now()\nexpect.eq(parallel([lambda: sleep(\"50ms\"), lambda: 7]), [None, 7])\n" +
				"parallel([lambda: sleep(\"50ms\")] * 10)\nexpect.lt(now() - t, 0.4)",
			Fn: parallel,
		},
	}
}

// failure is an error as a value.
func (env *Env) failure(err error) *Record {
	reason := cause(err)
	op, kind, hint := starlark.Value(starlark.None), "script", starlark.Value(starlark.None)
	var e *lab.Error
	if errors.As(err, &e) {
		op, kind, hint = starlark.String(e.Op), e.Kind, text(e.Hint)
	}
	pos := starlark.Value(starlark.None)
	var ev *starlark.EvalError
	if errors.As(err, &ev) {
		for _, f := range ev.CallStack {
			if f.Pos.Line > 0 && !strings.HasPrefix(f.Pos.Filename(), "@") {
				pos = starlark.String(env.place(event.Pos{File: f.Pos.Filename(), Line: int(f.Pos.Line), Col: int(f.Pos.Col)}).String())
			}
		}
	}
	return record("error", reason.Error(), nil,
		field{"message", starlark.String(reason.Error())}, field{"op", op}, field{"errno", text(lab.Errno(err))},
		field{"kind", starlark.String(kind)}, field{"pos", pos}, field{"hint", hint})
}

// KindArgument marks errors in a name=value of the command line: one that the script does
// not ask for, or whose value does not fit.
const KindArgument = "argument"

func param(c *Call) (starlark.Value, error) {
	name, def := get(c, "name", ""), get[starlark.Value](c, "default", starlark.None)
	c.Env.Asked[name] = true
	cases, err := paramCases(c, name, def)
	if err != nil {
		return nil, err
	}
	given, ok := c.Env.Args[name]
	if !ok {
		if i, chosen := c.Env.Cases[name]; chosen && i < len(cases) {
			return cases[i], nil
		}
		return def, nil
	}
	bad := func(want string) error {
		return &lab.Error{Kind: KindArgument, Op: fmt.Sprintf("%s=%s: %q is not %s", name, given, given, want)}
	}
	switch def.(type) {
	case starlark.Bool:
		switch strings.ToLower(given) {
		case "true", "1", "yes", "on":
			return starlark.True, nil
		case "false", "0", "no", "off":
			return starlark.False, nil
		}
		return nil, bad("True or False")
	case starlark.Int:
		base := 0
		if decimal().MatchString(given) { // 010 is ten
			base = 10
		}
		n, err := strconv.ParseInt(given, base, 64)
		if err != nil {
			return nil, bad("a whole number")
		}
		return starlark.MakeInt64(n), nil
	case starlark.Float:
		f, err := strconv.ParseFloat(given, 64)
		if err != nil {
			return nil, bad("a number")
		}
		return starlark.Float(f), nil
	case starlark.String, starlark.NoneType:
		return starlark.String(given), nil
	}
	return nil, &lab.Error{Kind: KindArgument, Op: fmt.Sprintf("param %s cannot be set from the command line", name),
		Hint: "only one whose default is a string, a number, a truth value or None"}
}

// paramCases are the values of cases=, each of the default's type.
func paramCases(c *Call, name string, def starlark.Value) ([]starlark.Value, error) {
	given := get[starlark.Value](c, "cases", nil)
	if given == nil {
		return nil, nil
	}
	list, ok := given.(starlark.Sequence)
	if !ok || list.Len() == 0 {
		return nil, lab.Usage("like cases=[1280, 1500, 9000]", "param: cases: %s is no list of values", show(given))
	}
	var cases []starlark.Value
	for v := range starlark.Elements(list) {
		if n, whole := v.(starlark.Int); whole && def.Type() == "float" {
			v = n.Float()
		}
		if def != starlark.None && v.Type() != def.Type() {
			return nil, lab.Usage("", "param: cases: %s is no %s, which the default of %s is", show(v), def.Type(), name)
		}
		cases = append(cases, v)
	}
	return cases, nil
}

var decimal = sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(`^[+-]?[0-9]+$`) })

// parallel runs each function on a thread of its own; the interpreter lock is
// what keeps them apart.
func parallel(c *Call) (starlark.Value, error) {
	fns := get[[]any](c, "functions", nil)
	ctx, cancel := context.WithCancelCause(c.Ctx)
	defer cancel(nil)
	results, failures := make([]starlark.Value, len(fns)), make([]error, len(fns))
	trials := make([]*trial, len(fns))
	var wg sync.WaitGroup
	for i, fn := range fns {
		t := c.Env.NewThread(fmt.Sprintf("parallel %d", i))
		t.SetLocal(contextKey, ctx)
		trials[i] = &trial{round: c.inRound()}
		t.SetLocal(trialKey, trials[i])
		stop := context.AfterFunc(ctx, func() { t.Cancel("cancelled") })
		wg.Go(func() {
			defer stop()
			c.Env.Lock()
			defer c.Env.Unlock()
			results[i], failures[i] = Guard(func() (starlark.Value, error) { return starlark.Call(t, fn.(starlark.Callable), nil, nil) })
			if failures[i] != nil {
				cancel(context.Canceled)
			}
		})
	}
	c.Blocking(wg.Wait)
	c.passOn(trials)
	if err := firstFailure(failures); err != nil {
		return nil, fmt.Errorf("%w", err) // an EvalError as it is would pass for this call's own
	}
	return starlark.NewList(results), nil
}

// passOn reports the failed checks of the functions in the order of the list.
func (c *Call) passOn(trials []*trial) {
	outer, nested := c.Thread.Local(trialKey).(*trial)
	pos, via := c.outermost()
	for _, t := range trials {
		if nested {
			outer.held += t.held
		}
		for _, f := range t.failures {
			f.Via = append(append([]event.Pos{}, via...), append([]event.Pos{f.Pos}, f.Via...)...)
			f.Pos = pos
			if nested {
				outer.failures = append(outer.failures, f)
			} else {
				c.Env.report(f)
			}
		}
	}
}

// firstFailure prefers what caused the others to be cancelled.
func firstFailure(failures []error) error {
	var first error
	for _, err := range failures {
		if err == nil {
			continue
		}
		cancelled := errors.Is(err, context.Canceled) || strings.Contains(err.Error(), "Starlark computation cancelled")
		if !cancelled {
			return err
		}
		if first == nil {
			first = err
		}
	}
	return first
}
