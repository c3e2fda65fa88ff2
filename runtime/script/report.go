package script

import (
	"errors"
	"fmt"
	"regexp"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/builtins"
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
		return r.message(posOf(bad.Pos), bad.Msg, "")
	}
	reason, trace := err, err
	var l *located
	if errors.As(err, &l) {
		reason, trace = l.err, l.at
	}
	frames, cause := unroll(trace)
	if l == nil {
		reason = cause
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
		for _, f := range e.CallStack {
			if f.Pos.Line > 0 {
				frames = append(frames, frame{posOf(f.Pos), f.Name})
			}
		}
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
	at := event.Pos{}
	if len(frames) > 0 {
		at = frames[len(frames)-1].pos
		frames = frames[:len(frames)-1]
	}
	switch {
	case errors.As(reason, &e):
		text, hint = e.Error(), e.Hint
	case errors.As(reason, &many) && len(many) > 0: // in a loaded file
		frames = append(frames, frame{at, "load"})
		at, text, hint = posOf(many[0].Pos), many[0].Msg, r.nameHint(many[0].Msg)
	case errors.As(reason, &bad):
		frames = append(frames, frame{at, "load"})
		at, text = posOf(bad.Pos), bad.Msg
	}
	text = strings.TrimSuffix(strings.TrimSuffix(text, ": limit"), ": "+builtins.ErrLimit.Error())
	if hint == "" {
		hint = r.shadowHint(at, text)
	}
	message := r.message(at, text, "")
	message += r.way(frames)
	if hint != "" {
		message += "\n  hint: " + hint
	}
	return message
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
	fmt.Fprintf(&b, "error: %s", text)
	b.WriteString(r.quote(at))
	if hint != "" {
		b.WriteString("\n  hint: " + hint)
	}
	return b.String()
}

// place is a position whose column is where the call's name begins.
func (r *Runner) place(at event.Pos) string {
	at.Col = r.column(at)
	return at.String()
}

// line is a line of a source text; ok is false when there is none.
func (r *Runner) line(at event.Pos) (string, bool) {
	lines := strings.Split(r.sources[at.File], "\n")
	if at.Line < 1 || at.Line > len(lines) || r.sources[at.File] == "" {
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
	var pad strings.Builder
	for i, c := range []rune(line) {
		if i >= r.column(at)-1 {
			break
		}
		if c == '\t' {
			pad.WriteRune('\t')
		} else {
			pad.WriteRune(' ')
		}
	}
	return fmt.Sprintf("\n    %s\n    %s^", line, pad.String())
}

var undefined = regexp.MustCompile(`^undefined: (\w+)`)

// nameHint proposes the name that an unknown one probably means.
func (r *Runner) nameHint(msg string) string {
	m := undefined.FindStringSubmatch(msg)
	if m == nil {
		return ""
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
	early   = regexp.MustCompile(`^(?:global|local) variable (\w+) referenced before assignment`)
	notCall = regexp.MustCompile(`^invalid call of non-function`)
)

// shadowHint explains errors that come from giving a variable the name of a
// builtin.
func (r *Runner) shadowHint(at event.Pos, msg string) string {
	name := ""
	if m := early.FindStringSubmatch(msg); m != nil {
		name = m[1]
	} else if notCall.MatchString(msg) {
		name = r.wordAt(at)
	}
	if name == "" || !r.names.Has(name) {
		return ""
	}
	line := r.assignedOn(at.File, name)
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

func (r *Runner) assignedOn(file, name string) int {
	f := r.files[file]
	if f == nil {
		return 0
	}
	line := 0
	walkAssigned(f, func(id *syntax.Ident) {
		if id.Name == name && line == 0 {
			line = int(id.NamePos.Line)
		}
	})
	return line
}

// assigned lists the names that a file gives values.
func assigned(f *syntax.File) []string {
	var names []string
	walkAssigned(f, func(id *syntax.Ident) { names = append(names, id.Name) })
	return names
}

// walkAssigned calls fn for every name that is assigned, defined or loaded.
func walkAssigned(f *syntax.File, fn func(*syntax.Ident)) {
	var targets func(e syntax.Expr)
	targets = func(e syntax.Expr) {
		switch e := e.(type) {
		case *syntax.Ident:
			fn(e)
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
		switch n := n.(type) {
		case *syntax.AssignStmt:
			targets(n.LHS)
		case *syntax.ForStmt:
			targets(n.Vars)
		case *syntax.DefStmt:
			fn(n.Name)
		case *syntax.LoadStmt:
			for _, id := range n.To {
				fn(id)
			}
		}
		return true
	})
}

// ExplainCheck is a failed check as a user wants to read it.
func (r *Runner) ExplainCheck(f builtins.CheckFailure) string {
	text := fmt.Sprintf("%s: %s: %s", r.place(f.Pos), f.Check, f.Text)
	text += r.quote(f.Pos)
	for _, p := range f.Via {
		text += "\n  in " + r.place(p)
		if line, ok := r.line(p); ok {
			text += ": " + strings.TrimSpace(line)
		}
	}
	return text
}
