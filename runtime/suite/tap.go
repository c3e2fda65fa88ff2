package suite

import (
	"fmt"
	"io"
	"strings"
)

// tap writes the Test Anything Protocol, version 13 (testanything.org).
type tap struct {
	w io.Writer
	n int
}

func (t *tap) Tell(r Result) {
	if t.n++; t.n == 1 {
		fmt.Fprintln(t.w, "TAP version 13")
	}
	not := ""
	if r.Bad() {
		not = "not "
	}
	line := fmt.Sprintf("%sok %d - %s", not, t.n, tapWords(r.Name()))
	if r.Outcome == Skip {
		line += " # SKIP " + tapWords(r.Reason)
	}
	fmt.Fprintln(t.w, line)
	fmt.Fprintf(t.w, "  ---\n  outcome: %s\n  duration_ms: %.3f\n", r.Outcome, r.Took.Seconds()*1000)
	if r.Bad() {
		fmt.Fprintf(t.w, "  detail: |\n%s", yamlBlock(text(Detail(r))))
	}
	fmt.Fprintln(t.w, "  ...")
}

func (t *tap) End(s Summary) {
	if t.n == 0 {
		fmt.Fprintln(t.w, "TAP version 13")
	}
	if s.Ended != "" {
		fmt.Fprintln(t.w, "Bail out! "+strings.ReplaceAll(text(s.Ended), "\n", " "))
		return
	}
	fmt.Fprintf(t.w, "1..%d\n", t.n)
}

// tapWords are words in a line, where # begins a directive.
func tapWords(s string) string {
	return strings.NewReplacer("\n", " ", `\`, `\\`, "#", `\#`).Replace(text(s))
}

// yamlBlock indents the lines of a literal by two, below a key that is indented by two.
func yamlBlock(s string) string {
	var b strings.Builder
	for line := range strings.Lines(s) {
		b.WriteString("    " + strings.TrimSuffix(line, "\n") + "\n")
	}
	return b.String()
}
