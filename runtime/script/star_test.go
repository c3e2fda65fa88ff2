package script_test

import (
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"
	"time"

	"nsscript/builtins"
	"nsscript/runtime/labtest"
)

// The files of testdata/star pin errors to lines. "---" on a line separates
// chunks; each chunk is a script in a lab of its own. On the line where an
// error or a failed check is to be reported stands
//
//	### "regexp"                what is reported there matches
//	### hint "regexp"           and its hint matches that
//
// where {line} and {line-2} stand for that line's number and a line before, and
// {line+1} for one after.
// An error inside a loaded file is expected on the line of the load. A chunk
// without such a comment has to succeed. A line "### options timeout=1s
// steps=1000 name=value" sets limits and arguments.

const starFiles = "../../testdata/star"

// chunk is a script and the errors that it has to have.
type chunk struct {
	job
	first int // its first line
	want  []*expectation
}

// expectation is a ### comment.
type expectation struct {
	line       int
	code       string // of the line
	text, hint *regexp.Regexp
	met        bool
}

func (e *expectation) String() string {
	s := fmt.Sprintf("line %d: ### %q", e.line, e.text)
	if e.hint != nil {
		s += fmt.Sprintf(" ### hint %q", e.hint)
	}
	return s
}

// readChunks splits a file.
func readChunks(t *testing.T, path string) []*chunk {
	t.Helper()
	b, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	dir, file := filepath.Split(path)
	c := &chunk{job: job{Dir: dir, Path: file}, first: 1}
	chunks := []*chunk{c}
	for i, line := range strings.Split(string(b), "\n") {
		if line == "---" {
			// The lines before keep their numbers.
			c = &chunk{job: job{Dir: dir, Path: file, Source: strings.Repeat("\n", i+1)}, first: i + 2}
			chunks = append(chunks, c)
			continue
		}
		c.Source += line + "\n"
		parts := strings.Split(line, "###")
		for _, comment := range parts[1:] {
			if err := c.expect(i+1, parts[0], strings.TrimSpace(comment)); err != nil {
				t.Fatalf("%s:%d: %v", path, i+1, err)
			}
		}
	}
	return chunks
}

var lineNumber = regexp.MustCompile(`\{line([-+]\d+)?\}`)

// expect understands one ### comment.
func (c *chunk) expect(line int, code, comment string) error {
	if options, ok := strings.CutPrefix(comment, "options "); ok {
		return c.setOptions(strings.Fields(options))
	}
	text, isHint := strings.CutPrefix(comment, "hint ")
	quoted, err := strconv.Unquote(strings.TrimSpace(text))
	if err != nil {
		return fmt.Errorf("### %s: %w", comment, err)
	}
	quoted = lineNumber.ReplaceAllStringFunc(quoted, func(m string) string {
		away, _ := strconv.Atoi(strings.TrimSuffix(strings.TrimPrefix(m, "{line"), "}"))
		return strconv.Itoa(line + away)
	})
	re, err := regexp.Compile(quoted)
	if err != nil {
		return err
	}
	if !isHint {
		c.want = append(c.want, &expectation{line: line, code: code, text: re})
		return nil
	}
	if len(c.want) == 0 || c.want[len(c.want)-1].line != line {
		return fmt.Errorf("### hint follows ### on its line")
	}
	c.want[len(c.want)-1].hint = re
	return nil
}

func (c *chunk) setOptions(options []string) (err error) {
	for _, o := range options {
		name, value, _ := strings.Cut(o, "=")
		switch name {
		case "timeout":
			c.Timeout, err = time.ParseDuration(value)
		case "steps":
			c.MaxSteps, err = strconv.ParseUint(value, 10, 64)
		case "memory":
			c.MaxMemory, err = strconv.ParseUint(value, 10, 64)
		default:
			if c.Args == nil {
				c.Args = map[string]string{}
			}
			c.Args[name] = value
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// reports splits what was reported: several errors of one file come as one text.
func reports(c *chunk, o outcome) []string {
	begin := regexp.MustCompile(`(?m)^` + regexp.QuoteMeta(c.Path) + `:\d+:\d+: `)
	var all []string
	for _, text := range o.Reports {
		from := 0
		for _, at := range begin.FindAllStringIndex(text, -1) {
			if at[0] > 0 {
				all = append(all, strings.TrimSpace(text[from:at[0]]))
				from = at[0]
			}
		}
		all = append(all, strings.TrimSpace(text[from:]))
	}
	return all
}

// lineOf is the line of the chunk's file at which something is reported: for
// an error inside a loaded file, that of the load.
func lineOf(c *chunk, report string) int {
	at := regexp.MustCompile(`(?:^|called from )` + regexp.QuoteMeta(c.Path) + `:(\d+):\d+`)
	m := at.FindStringSubmatch(report)
	if m == nil {
		return 0
	}
	n, _ := strconv.Atoi(m[1])
	return n
}

var hintLine = regexp.MustCompile(`(?m)^  hint: (.*)$`)

func (e *expectation) matches(c *chunk, report string) bool {
	if e.met || lineOf(c, report) != e.line || !e.text.MatchString(report) {
		return false
	}
	if e.hint == nil {
		return true
	}
	m := hintLine.FindStringSubmatch(report)
	return m != nil && e.hint.MatchString(m[1])
}

// needs are what chunks with these words need of the machine, which containers may not
// have.
var needs = map[string]string{"sysctl(": "sysctl", "@topo": "sysctl", "@routers": "sysctl", "/sys/": "sysfs"}

func (c *chunk) test(t *testing.T) {
	for word, need := range needs {
		if strings.Contains(c.Source, word) {
			labtest.Need(t, need)
		}
	}
	o := c.start(t)
	if reason, skipped := strings.CutPrefix(o.Ended, "skip: "); skipped && len(o.Reports) == 0 {
		if c.wantsSkip() {
			return
		}
		t.Skip(reason)
	}
	for _, report := range reports(c, o) {
		known := false
		for _, e := range c.want {
			if e.matches(c, report) {
				known, e.met = true, true
				break
			}
		}
		if !known {
			t.Errorf("not expected:\n%s", report)
		}
		c.checkCaret(t, report)
	}
	for _, e := range c.want {
		if !e.met {
			t.Errorf("%s:%s was not reported", c.Path, e)
		}
	}
	if t.Failed() && o.Out != "" {
		t.Logf("printed:\n%s", o.Out)
	}
}

// checkCaret: below its first line a report shows the line that it names, with a
// caret under something in the column that it names.
func (c *chunk) checkCaret(t *testing.T, report string) {
	t.Helper()
	m := regexp.MustCompile(`^` + regexp.QuoteMeta(c.Path) + `:(\d+):(\d+): `).FindStringSubmatch(report)
	if m == nil { // of a loaded file, or of the whole
		return
	}
	n, _ := strconv.Atoi(m[1])
	column, _ := strconv.Atoi(m[2])
	line := strings.Split(c.Source, "\n")[n-1]
	if plain := regexp.MustCompile(`^[ -~]{0,100}$`); !plain.MatchString(line) {
		return // shortened or escaped: TestLongLine
	}
	want := "\n    " + line + "\n    " + strings.Repeat(" ", column-1) + "^"
	if !strings.Contains(report+"\n", want+"\n") {
		t.Errorf("want %q below the first line of\n%s", want, report)
	}
}

// wantsSkip: a chunk that is about skip() says so.
func (c *chunk) wantsSkip() bool { return strings.Contains(c.Source, "# skips") }

func TestStar(t *testing.T) {
	for _, path := range starPaths(t) {
		t.Run(filepath.Base(path), func(t *testing.T) {
			t.Parallel()
			for _, c := range readChunks(t, path) {
				t.Run(strconv.Itoa(c.first), c.test)
			}
		})
	}
}

func starPaths(t *testing.T) []string {
	t.Helper()
	paths, err := filepath.Glob(filepath.Join(starFiles, "*.star"))
	if err != nil || len(paths) == 0 {
		t.Fatalf("no files in %s: %v", starFiles, err)
	}
	return paths
}

// TestStarIsComplete: every builtin has an error that is pinned to a line.
func TestStarIsComplete(t *testing.T) {
	var lines []string
	for _, path := range starPaths(t) {
		for _, c := range readChunks(t, path) {
			for _, e := range c.want {
				lines = append(lines, e.code)
			}
		}
	}
	for _, s := range builtins.Specs() {
		call := regexp.MustCompile(`(?:^|[^\w.])` + regexp.QuoteMeta(strings.Replace(s.Name, "firewall.", "fw.", 1)) + `\(`)
		found := false
		for _, line := range lines {
			found = found || call.MatchString(line)
		}
		if !found {
			t.Errorf("no error of %s is pinned to a line", s.Name)
		}
	}
}
