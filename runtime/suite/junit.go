package suite

import (
	"fmt"
	"io"
	"strings"
	"time"
)

// junit writes JUnit's XML as Jenkins, GitLab and others read it (xunit-plugin's
// junit-10.xsd): a testsuite for each file. It keeps results until the end, since
// the counts come before them.
type junit struct {
	w     io.Writer
	files []string // in the order of their first results
	of    map[string][]Result
}

func (j *junit) Tell(r Result) {
	if j.of == nil {
		j.of = map[string][]Result{}
	}
	if j.of[r.File] == nil {
		j.files = append(j.files, r.File)
	}
	j.of[r.File] = append(j.of[r.File], r)
}

func (j *junit) End(s Summary) {
	fmt.Fprintf(j.w, "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<testsuites name=\"nsscript\"%s time=\"%.3f\">\n", xmlCounts(s.Count, false), s.Took.Seconds())
	for _, f := range j.files {
		j.suite(f, j.of[f])
	}
	fmt.Fprintln(j.w, "</testsuites>")
}

func (j *junit) suite(file string, results []Result) {
	count := map[Outcome]int{}
	var took time.Duration
	began := results[0].Began
	for _, r := range results {
		count[r.Outcome]++
		took += r.Took
		if r.Began.Before(began) {
			began = r.Began
		}
	}
	fmt.Fprintf(j.w, "  <testsuite name=%s%s time=\"%.3f\" timestamp=\"%s\">\n", xmlValue(file), xmlCounts(count, true),
		took.Seconds(), began.UTC().Format("2006-01-02T15:04:05"))
	for _, r := range results {
		j.testcase(r)
	}
	fmt.Fprintln(j.w, "  </testsuite>")
}

// xmlCounts are attributes with the counts of outcomes; the schema counts skipped tests
// for a testsuite alone.
func xmlCounts(count map[Outcome]int, skipped bool) string {
	s := Summary{Count: count}
	text := fmt.Sprintf(` tests="%d" failures="%d" errors="%d"`, s.Total(), count[Fail]+count[Flaky], count[Error])
	if skipped {
		text += fmt.Sprintf(` skipped="%d"`, count[Skip])
	}
	return text
}

func (j *junit) testcase(r Result) {
	fmt.Fprintf(j.w, "    <testcase classname=%s name=%s time=\"%.3f\">\n", xmlValue(r.File), xmlValue(r.Short()), r.Took.Seconds())
	switch r.Outcome {
	case Skip:
		fmt.Fprintf(j.w, "      <skipped message=%s/>\n", xmlValue(r.Reason))
	case Fail, Flaky:
		j.bad("failure", r)
	case Error:
		j.bad("error", r)
	}
	if r.Output != "" {
		fmt.Fprintf(j.w, "      <system-out>%s</system-out>\n", xmlText(r.Output))
	}
	fmt.Fprintln(j.w, "    </testcase>")
}

func (j *junit) bad(element string, r Result) {
	kind := string(r.Outcome)
	if r.SetUp {
		kind = "set-up"
	}
	r.Output = "" // it is the system-out
	fmt.Fprintf(j.w, "      <%s type=%s message=%s>%s</%s>\n", element, xmlValue(kind), xmlValue(headline(r)), xmlText(Detail(r)), element)
}

func xmlText(s string) string {
	return strings.NewReplacer("&", "&amp;", "<", "&lt;", ">", "&gt;").Replace(text(s))
}

// xmlValue is an attribute's value with its quotes.
func xmlValue(s string) string {
	return `"` + strings.NewReplacer(`"`, "&quot;", "\n", "&#10;", "\t", "&#9;").Replace(xmlText(s)) + `"`
}
