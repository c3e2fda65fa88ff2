package script

import (
	"errors"
	"fmt"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"unicode/utf8"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/builtins"
	"nsscript/builtins/std"
	"nsscript/runtime/event"
	"nsscript/runtime/lab"
)

// Explain is an error of a run as a user wants to read it: position, message,
// the source line with a caret, the way that led there, and advice.
func (r *Runner) Explain(err error) string {
	var many resolve.ErrorList
	if errors.As(err, &many) && !isEval(err) {
		var parts []string
		for _, e := range many {
			parts = append(parts, r.message(posOf(e.Pos), e.Msg, r.nameHint(e.Msg)))
		}
		return strings.Join(parts, "\n")
	}
	var bad syntax.Error
	if errors.As(err, &bad) && !isEval(err) {
		return r.message(posOf(bad.Pos), bad.Msg, r.syntaxHint(posOf(bad.Pos)))
	}
	reason, trace := err, err
	var l *located
	if errors.As(err, &l) {
		reason, trace = l.err, l.at
	}
	frames, cause := unroll(trace)
	switch n := len(frames); {
	case l == nil:
		reason = cause
	case n > 0:
		frames[n-1].pos = r.spinning(frames[n-1].pos)
	}
	return r.explainFrames(frames, reason)
}

func isEval(err error) bool {
	var e *starlark.EvalError
	return errors.As(err, &e)
}

// frame is a place on the way to an error.
type frame struct {
	pos event.Pos
	fn  string
}

// unroll lists the frames from the script's top level to the error, through
// load() too, and finds what went wrong there.
func unroll(err error) (frames []frame, cause error) {
	for {
		var e *starlark.EvalError
		if !errors.As(err, &e) {
			return frames, err
		}
		var stack []frame
		for _, f := range e.CallStack {
			if f.Pos.Line > 0 {
				stack = append(stack, frame{posOf(f.Pos), f.Name})
			}
		}
		// A module runs on the thread that loads it, whose stack its own has.
		if len(stack) < len(frames) || !slices.Equal(stack[:len(frames)], frames) {
			stack = append(frames, stack...)
		}
		frames = stack
		if err = e.Unwrap(); err == nil {
			return frames, errors.New(e.Msg)
		}
	}
}

func posOf(p syntax.Position) event.Pos {
	return event.Pos{File: p.Filename(), Line: int(p.Line), Col: int(p.Col)}
}

func (r *Runner) explainFrames(frames []frame, reason error) string {
	text, hint := reason.Error(), ""
	var many resolve.ErrorList
	var bad syntax.Error
	var e *lab.Error
	if n := len(frames); n > 1 && badCall().MatchString(text) && strings.HasPrefix(text, "function "+frames[n-1].fn+" ") {
		frames = frames[:n-1] // the caller is to blame
	}
	way, at := frames, event.Pos{}
	if n := len(frames); n > 0 {
		way, at = frames[:n-1], frames[n-1].pos
	}
	switch {
	case errors.As(reason, &e):
		text, hint = e.Error(), e.Hint
	case errors.As(reason, &many) && len(many) > 0: // in a loaded file
		way = frames
		at, text, hint = posOf(many[0].Pos), many[0].Msg, r.nameHint(many[0].Msg)
	case errors.As(reason, &bad):
		way = frames
		at, text = posOf(bad.Pos), bad.Msg
		hint = r.syntaxHint(at)
	}
	text = strings.TrimSuffix(text, ": "+builtins.ErrLimit.Error())
	if hint == "" {
		hint = r.shadowHint(at, text)
	}
	if m := notInModule().FindStringSubmatch(text); m != nil && r.loaded[m[2]] != nil {
		if near := lab.Nearest(m[1], r.loaded[m[2]].globals.Keys()); near != "" {
			hint = "did you mean " + near + "?"
		}
	}
	at, inside, way := r.ownPlace(at, way)
	message := r.message(at, text, "") + inside + r.way(way)
	if hint != "" {
		message += "\n  hint: " + hint
	}
	return message
}

// ownPlace moves an error inside the standard library to the line of the script
// that called it, and says where in the library it was.
func (r *Runner) ownPlace(at event.Pos, way []frame) (own event.Pos, inside string, rest []frame) {
	for strings.HasPrefix(at.File, "@") && len(way) > 0 {
		last := way[len(way)-1]
		line, _ := r.line(at)
		inside += fmt.Sprintf("\n  in %s: %s", r.place(at), strings.TrimSpace(line))
		at, way = last.pos, way[:len(way)-1]
	}
	return at, inside, way
}

// way is the rest of the backtrace, innermost first; a long one is cut in the
// middle.
func (r *Runner) way(frames []frame) string {
	var b strings.Builder
	const shown = 12
	for i := len(frames) - 1; i >= 0; i-- {
		if n := len(frames) - 1 - i; n == shown/2 && len(frames) > shown {
			fmt.Fprintf(&b, "\n  … %d more", len(frames)-shown)
			i -= len(frames) - shown
		}
		name := "in " + frames[i].fn
		if frames[i].fn == "<toplevel>" {
			name = "at top level"
		}
		fmt.Fprintf(&b, "\n  called from %s %s", r.place(frames[i].pos), name)
	}
	return b.String()
}

// message is one error with its source line.
func (r *Runner) message(at event.Pos, text, hint string) string {
	var b strings.Builder
	if at.File != "" {
		fmt.Fprintf(&b, "%s: ", r.place(at))
	}
	fmt.Fprintf(&b, "error: %s", tameLines(text))
	b.WriteString(r.quote(at))
	if hint != "" {
		b.WriteString("\n  hint: " + hint)
	}
	return b.String()
}

// named is a position whose column is where the call's name begins.
func (r *Runner) named(at event.Pos) event.Pos {
	at.Col = r.column(at)
	return at
}

// place is a position as messages have it.
func (r *Runner) place(at event.Pos) string { return r.named(at).String() }

// Source is the text of a line of a file that the run has read, or "".
func (r *Runner) Source(at event.Pos) string {
	text, _ := r.line(at)
	return text
}

// line is a line of a source text; ok is false when there is none.
func (r *Runner) line(at event.Pos) (string, bool) {
	lines := r.sources[at.File]
	if at.Line < 1 || at.Line > len(lines) || len(lines) == 1 && lines[0] == "" {
		return "", false
	}
	return strings.TrimRight(lines[at.Line-1], "\r"), true
}

// column moves from the parenthesis of a call, which is where Starlark says
// that it is, to the beginning of the function's name. Both count characters.
func (r *Runner) column(at event.Pos) int {
	line, ok := r.line(at)
	runes := []rune(line)
	col := at.Col
	if !ok || col < 1 || col > len(runes) || runes[col-1] != '(' {
		return max(col, 1)
	}
	for col > 1 && (runes[col-2] == '_' || runes[col-2] == '.' || isAlnum(runes[col-2])) {
		col--
	}
	return col
}

func isAlnum(c rune) bool {
	return c >= 'a' && c <= 'z' || c >= 'A' && c <= 'Z' || c >= '0' && c <= '9'
}

// quote is the source line with a caret.
func (r *Runner) quote(at event.Pos) string {
	line, ok := r.line(at)
	if !ok {
		return ""
	}
	runes, caret := []rune(line), r.column(at)-1
	before, after := "", ""
	if from := caret - widest/2; from > 0 && len(runes) > widest {
		runes, caret, before = runes[min(from, len(runes)):], min(caret, widest/2)+1, "…"
	}
	if len(runes) > widest {
		runes, after = runes[:widest], "…"
	}
	shown := before + tame(string(runes)) + after
	pad := []rune(shown)
	pad = pad[:min(caret, len(pad))]
	for i, c := range pad {
		if c != '\t' {
			pad[i] = ' '
		}
	}
	return fmt.Sprintf("\n    %s\n    %s^", shown, string(pad))
}

// widest is how much of a line a message shows.
const widest = 160

// tame replaces what would upset a terminal, one character by one.
func tame(text string) string {
	return strings.Map(func(c rune) rune {
		if c == '\t' || strconv.IsPrint(c) {
			return c
		}
		return utf8.RuneError
	}, text)
}

// tameLines is tame of a text of several lines.
func tameLines(text string) string {
	lines := strings.Split(text, "\n")
	for i := range lines {
		lines[i] = tame(lines[i])
	}
	return strings.Join(lines, "\n")
}

// pattern compiles an expression when it is needed: a script that is right needs
// none.
func pattern(expr string) func() *regexp.Regexp {
	return sync.OnceValue(func() *regexp.Regexp { return regexp.MustCompile(expr) })
}

// pythonOnly are statements of Python that Starlark has not, and what it has.
var pythonOnly = map[string]string{
	"import": `load("lib.star", "name") takes names from a file beside the script; json, math and re are there`,
	"from":   `load("lib.star", "name") takes names from a file beside the script; json, math and re are there`,
	"try":    "catch(fn) returns the error of a function, or None",
	"except": "catch(fn) returns the error of a function, or None",
	"raise":  `fail("…") ends the script`,
	"assert": "expect(condition, message) records a failed check, require(…) stops at it",
	"class":  "struct(name=value) makes a value with fields",
	"with":   "Starlark has no `with`",
	"del":    "delete(x) deletes what was made in the lab; d.pop(key) takes from a dict",
	"async":  "parallel([fn, …]) runs functions at once",
	"yield":  "Starlark has no generators: return a list",
	"global": "a function changes no global variable: return the value, or keep it in a dict or a list",
}

// syntaxHint says what to write instead of a statement that only Python has.
func (r *Runner) syntaxHint(at event.Pos) string {
	line, _ := r.line(at)
	word, _, _ := strings.Cut(strings.TrimSpace(line), " ")
	if hint, known := pythonOnly[strings.TrimRight(word, ":")]; known {
		return hint
	}
	if strings.Contains(line, `f"`) || strings.Contains(line, "f'") {
		return `"%s is %d" % (name, n) or "{} is {}".format(name, n) fill values in`
	}
	return ""
}

var undefined = pattern(`^undefined: (\w+)`)

// nameHint proposes the name that an unknown one probably means.
func (r *Runner) nameHint(msg string) string {
	m := undefined().FindStringSubmatch(msg)
	if m == nil {
		return ""
	}
	if lib := std.Defines(m[1]); lib != "" {
		return fmt.Sprintf("it is in the standard library: load(%q, %q)", lib, m[1])
	}
	if m[1] == "time" {
		return "there are now() and sleep(), whose seconds compare with numbers"
	}
	var names []string
	for n := range r.names {
		names = append(names, n)
	}
	for n := range starlark.Universe {
		names = append(names, n)
	}
	for _, f := range r.files {
		names = append(names, assigned(f)...)
	}
	if near := lab.Nearest(m[1], names); near != "" {
		return "did you mean " + near + "?"
	}
	return ""
}

var (
	early   = pattern(`^(?:global|local) variable (\w+) referenced before assignment`)
	notCall = pattern(`^invalid call of non-function`)
	// A function was given the wrong arguments; Starlark says so inside it.
	badCall     = pattern(`^function \S+ (missing|accepts|got an unexpected|got multiple|takes) `)
	notInModule = pattern(`^load: name (\S+) not found in module (\S+)`)
)

// shadowHint explains errors that come from giving a variable the name of a
// builtin.
func (r *Runner) shadowHint(at event.Pos, msg string) string {
	name := ""
	if m := early().FindStringSubmatch(msg); m != nil {
		name = m[1]
	} else if notCall().MatchString(msg) {
		if name = r.wordAt(at); strings.Contains(name, ".") {
			return "an attribute is read without parentheses"
		}
	}
	if name == "" || !r.names.Has(name) {
		return ""
	}
	line := r.assignedOn(at, name)
	if line == 0 {
		return ""
	}
	return fmt.Sprintf("`%s` is a builtin; it was assigned on line %d: give the variable another name", name, line)
}

// wordAt is the name of the function that is called at a position.
func (r *Runner) wordAt(at event.Pos) string {
	line, _ := r.line(at)
	runes := []rune(line)
	from, to := r.column(at)-1, at.Col-1
	if from < 0 || to > len(runes) || from >= to {
		return ""
	}
	return string(runes[from:to])
}

// assignedOn is the first line that gives the name a value in the innermost
// function around a place that does, or at top level; or 0.
func (r *Runner) assignedOn(at event.Pos, name string) int {
	f := r.files[at.File]
	if f == nil {
		return 0
	}
	line, depth := 0, -1
	walkAssigned(f, func(id *syntax.Ident, in []*syntax.DefStmt) {
		for _, def := range in {
			begin, end := def.Span()
			if at.Line < int(begin.Line) || at.Line > int(end.Line) {
				return // of another function
			}
		}
		if id.Name == name && len(in) > depth {
			line, depth = int(id.NamePos.Line), len(in)
		}
	})
	return line
}

// assigned lists the names that a file gives values.
func assigned(f *syntax.File) []string {
	var names []string
	walkAssigned(f, func(id *syntax.Ident, _ []*syntax.DefStmt) { names = append(names, id.Name) })
	return names
}

// walkAssigned calls fn for every name that is assigned, defined or loaded, and
// for parameters, with the functions that this is in, the outermost first.
func walkAssigned(f *syntax.File, fn func(*syntax.Ident, []*syntax.DefStmt)) {
	var path []syntax.Node // from the file to where the walk is
	in := func() (defs []*syntax.DefStmt) {
		for _, n := range path {
			if def, ok := n.(*syntax.DefStmt); ok {
				defs = append(defs, def)
			}
		}
		return defs
	}
	var targets func(e syntax.Expr)
	targets = func(e syntax.Expr) {
		switch e := e.(type) {
		case *syntax.Ident:
			fn(e, in())
		case *syntax.BinaryExpr: // a parameter with its default
			targets(e.X)
		case *syntax.UnaryExpr: // *args
			if e.X != nil {
				targets(e.X)
			}
		case *syntax.ParenExpr:
			targets(e.X)
		case *syntax.TupleExpr:
			for _, x := range e.List {
				targets(x)
			}
		case *syntax.ListExpr:
			for _, x := range e.List {
				targets(x)
			}
		}
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		if n == nil {
			path = path[:len(path)-1]
			return true
		}
		if def, ok := n.(*syntax.DefStmt); ok {
			fn(def.Name, in())
		}
		path = append(path, n)
		switch n := n.(type) {
		case *syntax.AssignStmt:
			targets(n.LHS)
		case *syntax.ForStmt:
			targets(n.Vars)
		case *syntax.DefStmt:
			for _, p := range n.Params {
				targets(p)
			}
		case *syntax.LoadStmt:
			for _, id := range n.To {
				fn(id, in())
			}
		}
		return true
	})
}

// ExplainCheck is a failed check as a user wants to read it.
func (r *Runner) ExplainCheck(f builtins.CheckFailure) string {
	text := fmt.Sprintf("%s: %s: %s", r.place(f.Pos), f.Check, tameLines(f.Text))
	text += r.quote(f.Pos)
	for _, p := range f.Via {
		text += "\n  in " + r.place(p)
		if line, ok := r.line(p); ok {
			line = tame(strings.TrimSpace(line))
			if runes := []rune(line); len(runes) > widest {
				line = string(runes[:widest]) + "…"
			}
			text += ": " + line
		}
	}
	return text
}
