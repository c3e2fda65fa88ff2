package builtins

import (
	"context"
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"sync"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
)

// checks counts what expect and require have seen.
type checks struct {
	mu            sync.Mutex
	count, failed int
}

// Stop is what a failed require raises, and fail(): it ends the script (or the
// test), and catch() lets it through. It was reported when it was made.
type Stop struct{ Text string }

func (s *Stop) Error() string { return "stopped by a failed check: " + s.Text }

// Skip is what skip() raises.
type Skip struct {
	Reason string
	Pos    event.Pos
}

func (s *Skip) Error() string { return "skipped: " + s.Reason }

// group is expect or require: a function with methods.
type group struct {
	name    string
	self    *starlark.Builtin
	members starlark.StringDict
	names   []string
}

func (g *group) String() string        { return "<" + g.name + ">" }
func (g *group) Type() string          { return g.name }
func (g *group) Freeze()               {}
func (g *group) Truth() starlark.Bool  { return true }
func (g *group) Hash() (uint32, error) { return starlark.String(g.name).Hash() }
func (g *group) Name() string          { return g.name }
func (g *group) AttrNames() []string   { return g.names }

func (g *group) CallInternal(t *starlark.Thread, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
	if g.self == nil {
		return nil, lab.Usage(fmt.Sprintf("like %s.%s(…)", g.name, g.names[0]), "%s is a module, not a function", g.name)
	}
	return g.self.CallInternal(t, args, kwargs)
}

func (g *group) Attr(name string) (starlark.Value, error) {
	if v := g.members[name]; v != nil {
		return v, nil
	}
	hint := "it has " + strings.Join(g.names, ", ")
	if near := lab.Nearest(name, g.names); near != "" {
		hint = fmt.Sprintf("did you mean %s.%s?", g.name, near)
	}
	return nil, lab.Usage(hint, "%s has no .%s", g.name, name)
}

// add puts a builtin where its name says.
func (f *family) add(names starlark.StringDict, name string, env *Env) {
	if f.methods {
		return
	}
	first, method, dotted := strings.Cut(name, ".")
	switch name {
	case "load":
		return // a statement of the language; the Spec documents it
	case "struct":
		names[name] = newStruct()
		return
	}
	value := builtin(name, func() *Spec { return f.spec(name) }, env)
	if !dotted && name != "expect" && name != "require" {
		names[name] = value
		return
	}
	g, _ := names[first].(*group)
	if g == nil {
		g = &group{name: first, members: starlark.StringDict{}}
		names[first] = g
	}
	if !dotted {
		g.self = value
		return
	}
	g.members[method] = value
	g.names = append(g.names, method)
}

const familyChecks = "Verifying"

// check is one method of expect and require.
type check struct {
	name, doc, example string
	params             []Param
	// fn returns "" when the check holds, else what was found.
	fn func(c *Call) (string, error)
}

// checkSpecs makes the methods of expect or require.
func checkSpecs(group string) func() []*Spec {
	return func() []*Spec {
		var specs []*Spec
		for _, k := range append(append(checkTable(), packetChecks()...), pathCheck()) {
			specs = append(specs, k.spec(group))
		}
		return specs
	}
}

func (k *check) spec(group string) *Spec {
	name, does, returns := group, " A failure is recorded and the script goes on; at its end the exit status is 1.", "whether it held"
	if k.name != "" {
		name += "." + k.name
	}
	if group == "require" {
		does, returns = " A failure stops the script.", "True"
		if k.name == "eventually" {
			returns = "the value"
		}
	}
	example := k.example
	if group == "require" {
		example = strings.ReplaceAll(example, "expect", "require")
	}
	return &Spec{Name: name, Family: familyChecks, Returns: returns, Doc: k.doc + does, Example: example,
		Params: k.withMessage(),
		Fn: func(c *Call) (starlark.Value, error) {
			found, err := k.fn(c)
			if err != nil {
				return nil, err
			}
			if found == "" && group == "require" && k.name == "eventually" {
				c.held()
				return c.result(), nil
			}
			return c.verdict(found, group == "require")
		}}
}

// withMessage puts the message after the arguments that are given by position.
func (k *check) withMessage() []Param {
	at := slices.IndexFunc(k.params, func(p Param) bool { return p.KeywordOnly })
	if at < 0 {
		at = len(k.params)
	}
	return slices.Insert(slices.Clone(k.params), at, optional("message", tString, "", "shown when it fails"))
}

func (env *Env) counted(held bool) {
	env.checks.mu.Lock()
	defer env.checks.mu.Unlock()
	env.checks.count++
	if !held {
		env.checks.failed++
	}
}

const trialKey, resultKey = "nsscript.trial", "nsscript.result"

// result is what eventually's function returned last.
func (c *Call) result() starlark.Value {
	v, _ := c.Thread.Local(resultKey).(starlark.Value)
	return v
}

// trial collects the failures of checks: those inside eventually() and always(),
// of which only the last round counts, and those of parallel(), to report them in order.
type trial struct {
	failures []CheckFailure
	round    bool // of eventually() or always(), whose own verdict is what counts
	held     int
}

// inRound tells whether the caller runs inside a round of eventually() or always().
func (c *Call) inRound() bool {
	t, ok := c.Thread.Local(trialKey).(*trial)
	return ok && t.round
}

// held counts a check that holds.
func (c *Call) held() {
	if t, ok := c.Thread.Local(trialKey).(*trial); ok {
		t.held++
		if t.round {
			return
		}
	}
	c.Env.counted(true)
}

// verdict records the outcome of a check.
func (c *Call) verdict(found string, stop bool) (starlark.Value, error) {
	if found == "" {
		c.held()
		return starlark.True, nil
	}
	f := CheckFailure{Check: c.spec.Name, Text: found}
	if m := get(c, "message", ""); m != "" {
		f.Text += ": " + m
	}
	f.Pos, f.Via = c.outermost()
	if t, ok := c.Thread.Local(trialKey).(*trial); ok {
		t.failures = append(t.failures, f)
	} else {
		c.Env.report(f)
	}
	if stop {
		return nil, &Stop{f.Text}
	}
	return starlark.False, nil
}

// report counts a failure and shows it.
func (env *Env) report(f CheckFailure) {
	env.counted(false)
	if env.Failed != nil {
		env.Failed(f)
	}
}

// outermost is the line of the main script that led here, and the lines of
// helpers below it.
func (c *Call) outermost() (event.Pos, []event.Pos) {
	var path []event.Pos
	for _, f := range c.Thread.CallStack() {
		if f.Pos.Line > 0 {
			path = append(path, event.Pos{File: f.Pos.Filename(), Line: int(f.Pos.Line), Col: int(f.Pos.Col)})
		}
	}
	if len(path) == 0 {
		return event.Pos{}, nil
	}
	return path[0], path[1:]
}

// comparison makes a check of two values.
func comparison(name, words string, op syntax.Token, example string) *check {
	return &check{name: name, doc: "Checks that got " + words + " want.", example: example,
		params: []Param{required("got", tAny, "what is"), required("want", tAny, "what should be")},
		fn: func(c *Call) (string, error) {
			got, want := get[starlark.Value](c, "got", nil), get[starlark.Value](c, "want", nil)
			held, err := starlark.Compare(op, got, want)
			if err != nil {
				return "", lab.Usage("", "%s: %v", c.spec.Name, err)
			}
			if held {
				return "", nil
			}
			if op == syntax.EQL {
				return fmt.Sprintf("got %s, want %s", show(got), show(want)), nil
			}
			return fmt.Sprintf("got %s, which is not %s %s", show(got), op, show(want)), nil
		}}
}

// show is a value in a failure, quoted like source, not too long.
func show(v starlark.Value) string {
	s := v.String()
	if len(s) > 400 {
		s = s[:400] + "…"
	}
	return s
}

const twoHosts = "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n"

var reachParams = []Param{required("ns", tNetnsRef, "who sends"), required("dst", tHost, "to whom")}

// checkTable are the checks, in the order of the reference page.
func checkTable() []*check {
	return []*check{
		{name: "", doc: "Checks that a condition holds.", params: []Param{required("cond", tAny, "what should be true")},
			example: "expect(1 + 1 == 2, \"arithmetic works\")",
			fn: func(c *Call) (string, error) {
				v := get[starlark.Value](c, "cond", starlark.None)
				if v.Truth() {
					return "", nil
				}
				return fmt.Sprintf("%s does not hold", show(v)), nil
			}},
		comparison("eq", "equals", syntax.EQL, "expect.eq(1 + 1, 2)"),
		comparison("ne", "does not equal", syntax.NEQ, "expect.ne(1, 2)"),
		comparison("lt", "is less than", syntax.LT, "expect.lt(1, 2)"),
		comparison("le", "is at most", syntax.LE, "expect.le(2, 2)"),
		comparison("gt", "is greater than", syntax.GT, "expect.gt(2, 1)"),
		comparison("ge", "is at least", syntax.GE, "expect.ge(2, 2)"),
		{name: "contains", doc: "Checks that got (a text, list, dict, namespace …) contains want.",
			params:  []Param{required("got", tAny, "what is searched"), required("want", tAny, "what should be in it")},
			example: "expect.contains([1, 2], 2)\nexpect.contains(root, \"lo\")", fn: checkContains},
		{name: "matches", doc: "Checks that a text matches a regular expression (RE2), anywhere.",
			params:  []Param{required("got", tAny, "the text"), required("regexp", tRegexp, "the regular expression")},
			example: "expect.matches(\"10.1.1.1\", \"^10\\\\.\")",
			fn: func(c *Call) (string, error) {
				got, re := get[starlark.Value](c, "got", nil), get[*regexp.Regexp](c, "regexp", nil)
				if text, _ := c.Env.printed(got); re.MatchString(text) {
					return "", nil
				}
				return fmt.Sprintf("got %s, which does not match %q", show(got), re), nil
			}},
		{name: "fails", doc: "Checks that a function fails with an error that matches a regular expression (any, unless given).",
			params:  []Param{required("fn", tCallable, "the function"), optional("regexp", tRegexp, "", "what the error says")},
			example: "expect.fails(lambda: netns(\"a/b\"), \"cannot name\")", fn: checkFails},
		{name: "reachable", doc: "Checks that a ping is answered before the timeout; it is sent again until then.",
			params:  append(append([]Param(nil), reachParams...), keyword("timeout", tDuration, "\"2s\"", "how long to try"), keyword("family", tFamily, "", "4 or 6")),
			example: twoHosts + "expect.reachable(a, b)",
			fn: func(c *Call) (string, error) {
				ns := get[*lab.Namespace](c, "ns", nil)
				dst, err := c.destination(get(c, "dst", Address{}), ns, get(c, "family", 0))
				if lab.IsUnknownHost(err) {
					return fmt.Sprintf("%s does not reach it: %v", ns, err), nil
				}
				if err != nil {
					return "", err
				}
				r, err := c.reach(ns, dst, get(c, "timeout", 2*time.Second))
				if err != nil || r.Received > 0 {
					return "", err
				}
				return fmt.Sprintf("%s does not reach %s: %v", ns, dst, r.Err), nil
			}},
		{name: "unreachable", doc: "Checks that no ping is answered for as long as hold says.",
			params:  append(append([]Param(nil), reachParams...), keyword("hold", tDuration, "\"1s\"", "for how long"), keyword("family", tFamily, "", "4 or 6")),
			example: twoHosts + "expect.unreachable(a, \"192.0.2.1\", hold=\"100ms\")", fn: checkUnreachable},
		{name: "eventually", doc: "Calls a function until it returns a true value, with growing pauses. A failed check inside means \"not yet\"; only the last round is reported. A function whose checks all hold may return nothing.",
			params: []Param{required("fn", tCallable, "the function"), keyword("timeout", tDuration, "\"5s\"", "until then"),
				keyword("interval", tDuration, "", "from one call to the next, instead of growing pauses")},
			example: "n = []\ndef third():\n    n.append(1)\n    return len(n) == 3\nexpect.eventually(third)", fn: checkEventually},
		{name: "always", doc: "Checks that a function returns a true value every time for as long as hold says. A failed check inside ends it; a function whose checks all hold may return nothing.",
			params: []Param{required("fn", tCallable, "the function"), keyword("hold", tDuration, "\"1s\"", "for how long"),
				keyword("interval", tDuration, "\"20ms\"", "from one call to the next")},
			example: "expect.always(lambda: root[\"lo\"].up, hold=\"50ms\")", fn: checkAlways},
	}
}

func checkContains(c *Call) (string, error) {
	got, want := get[starlark.Value](c, "got", nil), get[starlark.Value](c, "want", nil)
	in, err := starlark.Binary(syntax.IN, want, got)
	if err != nil {
		if it, ok := got.(starlark.Iterable); ok {
			return containsElement(it, want)
		}
		return "", lab.Usage("", "%s: %v", c.spec.Name, err)
	}
	if in.Truth() {
		return "", nil
	}
	return fmt.Sprintf("%s is not in %s", show(want), show(got)), nil
}

func containsElement(got starlark.Iterable, want starlark.Value) (string, error) {
	for v := range starlark.Elements(got) {
		if eq, err := starlark.Equal(v, want); err == nil && eq {
			return "", nil
		}
	}
	return fmt.Sprintf("%s is not in %s", show(want), show(got)), nil
}

func checkFails(c *Call) (string, error) {
	v, err := starlark.Call(c.Thread, get[starlark.Callable](c, "fn", nil), nil, nil)
	if err == nil {
		return fmt.Sprintf("it did not fail; it returned %s", show(v)), nil
	}
	if passes(err) || c.Ctx.Err() != nil {
		return "", err
	}
	re := get[*regexp.Regexp](c, "regexp", nil)
	if re == nil || re.MatchString(cause(err).Error()) {
		return "", nil
	}
	return fmt.Sprintf("the error is %q, which does not match %q", cause(err), re), nil
}

// cause is an error without the position that Starlark wraps around it.
func cause(err error) error {
	var e *starlark.EvalError
	for errors.As(err, &e) && e.Unwrap() != nil {
		err = e.Unwrap()
	}
	return err
}

// passes tells whether an error is none that a script may catch: the end of the
// script by a check, by skip(), or from outside.
func passes(err error) bool {
	var stop *Stop
	var skip *Skip
	return errors.As(err, &stop) || errors.As(err, &skip) || errors.Is(err, context.Canceled) || errors.Is(err, ErrLimit)
}

// ErrLimit marks errors that end the whole script: its deadline, its limits.
var ErrLimit = errors.New("limit")

func checkUnreachable(c *Call) (string, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	dst, err := c.destination(get(c, "dst", Address{}), ns, get(c, "family", 0))
	if err != nil {
		return "", err
	}
	r, err := c.reach(ns, dst, get(c, "hold", time.Second))
	if err != nil || r.Received == 0 {
		return "", err
	}
	return fmt.Sprintf("%s reaches %s (%.3f ms, from %s)", ns, dst, r.Avg().Seconds()*1000, r.Src), nil
}

// round calls the function of eventually or always once; checks inside it only
// decide whether the round holds. found is "" when it does: the function returned
// a true value, or nothing and all of its checks held.
func (c *Call) round(fn starlark.Callable, args ...starlark.Value) (v starlark.Value, found string, err error) {
	outer := c.Thread.Local(trialKey)
	defer c.Thread.SetLocal(trialKey, outer)
	round := &trial{round: true}
	c.Thread.SetLocal(trialKey, round)
	v, err = starlark.Call(c.Thread, fn, args, nil)
	var stopped *Stop
	switch {
	case err != nil && !errors.As(err, &stopped):
		return nil, "", err
	case len(round.failures) > 0:
		return v, ": " + round.failures[0].Text, nil
	case bool(v.Truth()) || v == starlark.None && round.held > 0:
		return v, "", nil
	}
	return v, " it returned " + show(v), nil
}

func checkEventually(c *Call) (string, error) {
	timeout := get(c, "timeout", 5*time.Second)
	deadline := time.Now().Add(timeout)
	for pause := 2 * time.Millisecond; ; pause = min(2*pause, 200*time.Millisecond) {
		v, found, err := c.round(get[starlark.Callable](c, "fn", nil))
		if err != nil {
			return "", err
		}
		if found == "" {
			c.Thread.SetLocal(resultKey, v)
			return "", nil
		}
		wait := get(c, "interval", pause)
		if time.Now().Add(wait).After(deadline) {
			return fmt.Sprintf("not within %v; last%s", timeout, found), nil
		}
		c.sleep(wait)
		if c.Ctx.Err() != nil {
			return "", context.Cause(c.Ctx)
		}
	}
}

func checkAlways(c *Call) (string, error) {
	hold, interval := get(c, "hold", time.Second), get(c, "interval", 20*time.Millisecond)
	began := time.Now()
	for {
		_, found, err := c.round(get[starlark.Callable](c, "fn", nil))
		if err != nil {
			return "", err
		}
		after := time.Since(began)
		if found != "" {
			return fmt.Sprintf("after %v%s", after.Round(time.Millisecond), found), nil
		}
		if after >= hold {
			return "", nil
		}
		c.sleep(min(interval, hold-after))
		if c.Ctx.Err() != nil {
			return "", context.Cause(c.Ctx)
		}
	}
}
