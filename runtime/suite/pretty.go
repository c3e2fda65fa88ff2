package suite

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// Pretty tells results to people: those that are not well with all that there is to
// say, the others on request.
type Pretty struct {
	W io.Writer
	// All tells of tests that pass, too, with what they printed.
	All bool
	// Paint colours a text like a terminal does (ECMA-48).
	Paint func(color int, text string) string
}

// Colours of a terminal.
const (
	red    = 31
	green  = 32
	yellow = 33
)

// words are how outcomes are told, and their colours.
var words = map[Outcome]struct {
	text  string
	color int
}{Pass: {"PASS ", green}, Fail: {"FAIL ", red}, Error: {"ERROR", red}, Skip: {"SKIP ", yellow}, Flaky: {"FLAKY", yellow}}

// Tell tells one result.
func (p *Pretty) Tell(r Result) {
	if r.Outcome == Pass && !p.All {
		return
	}
	w := words[r.Outcome]
	head := p.Paint(w.color, w.text) + " " + r.Name()
	switch {
	case r.Outcome == Skip:
		head += ": " + r.Reason
	case r.Outcome == Flaky:
		head += fmt.Sprintf(" (it passed at attempt %d; this is the first)", r.Attempts)
	case r.SetUp:
		head += " (set-up: the top level failed)"
	}
	if r.Bad() && r.Outcome != Flaky && r.Attempts > 1 {
		head += fmt.Sprintf(" (%d attempts; this is the last)", r.Attempts)
	}
	fmt.Fprintf(p.W, "%s (%v)\n", head, short(r.Took))
	if r.Bad() {
		fmt.Fprint(p.W, indent(Detail(r)))
	} else if p.All {
		fmt.Fprint(p.W, indent(r.Output))
	}
}

// End tells the counts.
func (p *Pretty) End(s Summary) {
	var parts []string
	for _, o := range []struct {
		Outcome
		text string
	}{{Pass, "passed"}, {Fail, "failed"}, {Error, "error"}, {Flaky, "flaky"}, {Skip, "skipped"}} {
		n := s.Count[o.Outcome]
		if n == 0 {
			continue
		}
		text := fmt.Sprintf("%d %s", n, o.text)
		if o.Outcome == Error && n > 1 {
			text += "s"
		}
		parts = append(parts, p.Paint(words[o.Outcome].color, text))
	}
	if s.Left > 0 {
		parts = append(parts, fmt.Sprintf("%d not run", s.Left))
	}
	noun := "tests"
	if s.Total() == 1 {
		noun = "test"
	}
	fmt.Fprintf(p.W, "%d %s in %v: %s\n", s.Total(), noun, short(s.Took), strings.Join(parts, ", "))
}

// short is a duration as precisely as anybody wants it.
func short(d time.Duration) time.Duration {
	if d > time.Second {
		return d.Round(10 * time.Millisecond)
	}
	return d.Round(time.Millisecond)
}

// Detail is all that there is to say about a test that is not well: the failed checks,
// what ended it, its last operations, its programs, and what it printed.
func Detail(r Result) string {
	var b strings.Builder
	for _, f := range r.Failures {
		fmt.Fprintf(&b, "FAILED %s\n", f)
	}
	if r.Bad() && r.Reason != "" {
		fmt.Fprintf(&b, "%s\n", r.Reason)
	}
	section := func(title, text string) {
		if text == "" {
			return
		}
		fmt.Fprintf(&b, "%s:\n%s", title, indent(text))
	}
	section("last operations", strings.Join(r.Events, "\n"))
	for _, text := range r.Programs {
		head, printed, _ := strings.Cut(text, "\n")
		section("program "+head, printed)
	}
	section("output", r.Output)
	return b.String()
}

// indent moves lines to the right; each ends with a line's end.
func indent(text string) string {
	var b strings.Builder
	for line := range strings.Lines(text) {
		if line = strings.TrimSuffix(line, "\n"); line != "" {
			line = "    " + line
		}
		b.WriteString(line + "\n")
	}
	return b.String()
}
