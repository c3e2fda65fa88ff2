// Package suite is what a run of tests is made of: which files and tests there are,
// who runs when, what came of each, and how that is told. It knows neither scripts nor
// labs: its callers read files and run tests.
package suite

import (
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"
)

// Test is one test with one choice of cases.
type Test struct {
	File string
	// Func is the test function; "" where the file has none and its top level is the
	// test.
	Func string
	// Case is the choice of cases as names have it, like "mtu=1280,ipv6=True".
	Case string
	// Cases say for each parameter with cases which of them it is.
	Cases map[string]int
	// Args are the name=value arguments of the file.
	Args map[string]string
	// Round counts the runs of the same test, from 2 on.
	Round int
	// Broken is what is wrong with the file, so that it cannot be run; "" when nothing is.
	Broken string
}

// Name is what the test is called: FILE:FUNCTION[CASE], and #2 when it runs again.
func (t Test) Name() string { return t.File + t.suffix() }

// Short is the name without the file, unless the file's top level is the test.
func (t Test) Short() string {
	if t.Func == "" {
		return t.Name()
	}
	return strings.TrimPrefix(t.suffix(), ":")
}

func (t Test) suffix() string {
	text := ""
	if t.Func != "" {
		text = ":" + t.Func
	}
	if t.Case != "" {
		text += "[" + t.Case + "]"
	}
	if t.Round > 1 {
		text += "#" + strconv.Itoa(t.Round)
	}
	return text
}

// Outcome is what came of a test.
type Outcome string

// Outcomes.
const (
	Pass  Outcome = "pass"
	Fail  Outcome = "fail"  // a check did not hold
	Error Outcome = "error" // the script is wrong, an operation failed, its lab ended
	Skip  Outcome = "skip"  // it cannot run here
	Flaky Outcome = "flaky" // it passed, but not at its first attempt
)

// Report is a line of JSON that the lab's process writes: a failed check when it
// happens, or the end.
type Report struct {
	Failure string `json:"failure,omitempty"`
	End     *End   `json:"end,omitempty"`
}

// End is what the lab's process says last.
type End struct {
	Outcome Outcome `json:"outcome"`
	// Reason is what ended the test before its end, or why it was skipped.
	Reason string `json:"reason,omitempty"`
	// Checks counts expect and require, Failed those that did not hold.
	Checks int `json:"checks"`
	Failed int `json:"failed"`
	// SetUp tells that the top level failed, and the test was not called.
	SetUp bool `json:"set_up,omitempty"`
	// Events are the last operations, and Programs what spawn() started, with the last
	// lines of what they printed; both only of a test that did not pass.
	Events   []string `json:"events,omitempty"`
	Programs []string `json:"programs,omitempty"`
}

// Result is what came of a test, with all that there is to say about it.
type Result struct {
	Test
	End
	// Failures are the failed checks, as they are shown.
	Failures []string
	// Output is what the test printed.
	Output string
	// Began is when its lab was started, and Took the time from there to its end.
	Began time.Time
	Took  time.Duration
	// Attempts is how often the test was run.
	Attempts int
}

// Bad tells whether a test is not well: it failed, could not be judged, or is flaky.
func (r *Result) Bad() bool { return r.Outcome != Pass && r.Outcome != Skip }

// Summary counts outcomes.
type Summary struct {
	Count map[Outcome]int
	Took  time.Duration
	// Left is how many tests have no result.
	Left int
	// Ended is why the run ended before its end; "" when it did not.
	Ended string
}

// Total is how many tests have a result.
func (s *Summary) Total() int {
	n := 0
	for _, c := range s.Count {
		n += c
	}
	return n
}

// Select keeps the tests whose name run matches and skip does not; nil matches, and
// skips, nothing in particular.
func Select(tests []Test, run, skip *regexp.Regexp) []Test {
	return slices.DeleteFunc(slices.Clone(tests), func(t Test) bool {
		return run != nil && !run.MatchString(t.Name()) || skip != nil && skip.MatchString(t.Name())
	})
}

// Axis is a parameter with its cases, as they are shown.
type Axis struct {
	Param  string
	Values []string
}

// Matrix is a test with every choice of cases, the last parameter changing fastest.
func Matrix(t Test, axes []Axis) []Test {
	tests := []Test{t}
	for _, a := range axes {
		var more []Test
		for _, t := range tests {
			for i, v := range a.Values {
				more = append(more, t.with(a.Param, v, i))
			}
		}
		tests = more
	}
	return tests
}

func (t Test) with(param, value string, i int) Test {
	cases := map[string]int{param: i}
	for k, v := range t.Cases {
		cases[k] = v
	}
	t.Cases = cases
	if t.Case != "" {
		t.Case += ","
	}
	t.Case += param + "=" + value
	return t
}
