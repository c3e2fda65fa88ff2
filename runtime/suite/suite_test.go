package suite

import (
	"bytes"
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync/atomic"
	"testing"
	"time"
)

func named(names ...string) (tests []Test) {
	for _, n := range names {
		tests = append(tests, Test{File: n})
	}
	return tests
}

func namesOf(tests []Test) (names []string) {
	for _, t := range tests {
		names = append(names, t.Name())
	}
	return names
}

func same(t *testing.T, got, want []string) {
	t.Helper()
	if !slices.Equal(got, want) {
		t.Errorf("got  %q\nwant %q", got, want)
	}
}

func TestFiles(t *testing.T) {
	t.Chdir(t.TempDir())
	for _, f := range []string{"b_test.star", "a/x_test.star", "a/.git/y_test.star", "a/z.star", "none/z.star"} {
		if err := os.MkdirAll(filepath.Dir(f), 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(f, nil, 0o644); err != nil {
			t.Fatal(err)
		}
	}
	for _, c := range []struct{ paths, want []string }{
		{[]string{"."}, []string{"a/x_test.star", "b_test.star"}},
		{[]string{"b_test.star", ".", "./b_test.star"}, []string{"b_test.star", "a/x_test.star"}},
		{[]string{"a/z.star", "a/.git"}, []string{"a/z.star", "a/.git/y_test.star"}},
	} {
		got, err := Files(c.paths)
		if err != nil {
			t.Error(err)
		}
		same(t, got, c.want)
	}
	for _, bad := range []string{"none", "missing"} {
		if got, err := Files([]string{bad}); err == nil {
			t.Errorf("%s: %q", bad, got)
		}
	}
}

func TestMatrix(t *testing.T) {
	tests := Matrix(Test{File: "f", Func: "test_x"}, []Axis{{"a", []string{"1", "2"}}, {"b", []string{"x", "y"}}})
	same(t, namesOf(tests), []string{"f:test_x[a=1,b=x]", "f:test_x[a=1,b=y]", "f:test_x[a=2,b=x]", "f:test_x[a=2,b=y]"})
	for i, n := range tests {
		if n.Cases["a"] != i/2 || n.Cases["b"] != i%2 {
			t.Errorf("%s is %v", n.Name(), n.Cases)
		}
	}
	same(t, namesOf(Select(tests, regexp.MustCompile("a=2"), regexp.MustCompile("b=x"))), []string{"f:test_x[a=2,b=y]"})
	same(t, namesOf(Matrix(Test{File: "f"}, nil)), []string{"f"})
	if len(tests) != 4 {
		t.Error("Select changes what it is given")
	}
}

// TestRun: results are told in order whoever ends first, and as many run at once as
// are to.
func TestRun(t *testing.T) {
	const jobs, n = 4, 40
	var names, told []string
	for i := range n {
		names = append(names, fmt.Sprint(i))
	}
	var running, most atomic.Int32
	first := make(chan struct{})
	ended := 0
	r := Runner{Jobs: jobs,
		Test: func(_ context.Context, test Test) Result {
			if now := running.Add(1); now > most.Load() {
				most.Store(now)
			}
			defer running.Add(-1)
			switch test.File {
			case "0":
				<-first // the others of the first four end before it
			case "4":
				close(first)
			}
			outcome := Pass
			if test.File == "7" {
				outcome = Fail
			}
			return Result{Test: test, End: End{Outcome: outcome}}
		},
		Tell:     func(r Result) { told = append(told, r.Name()) },
		Progress: func(n, bad int) { ended = n },
	}
	s := r.Run(t.Context(), named(names...))
	same(t, told, names)
	if most.Load() > jobs || ended != n || s.Total() != n || s.Count[Fail] != 1 || s.Count[Pass] != n-1 {
		t.Errorf("%d at once, %d ended, %+v", most.Load(), ended, s)
	}
}

// TestRunEnds: after the end of its context nothing is begun, and what was running has
// no result.
func TestRunEnds(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	var told []string
	r := Runner{Jobs: 1,
		Test: func(_ context.Context, test Test) Result {
			if test.File == "b" {
				cancel()
			}
			return Result{Test: test, End: End{Outcome: Pass}}
		},
		Tell: func(r Result) { told = append(told, r.Name()) },
	}
	s := r.Run(ctx, named("a", "b", "c"))
	same(t, told, []string{"a"})
	if s.Total() != 1 {
		t.Errorf("%+v", s)
	}
}

func TestReadOutput(t *testing.T) {
	if got := ReadOutput(strings.NewReader("short\n")); got != "short\n" {
		t.Errorf("%q", got)
	}
	for _, n := range []int{mostOutput - 1, mostOutput, mostOutput + 1, 5*mostOutput + 7} {
		text := "begin" + strings.Repeat("x", n-8) + "end"
		got := ReadOutput(strings.NewReader(text))
		if n <= mostOutput {
			if got != text {
				t.Errorf("%d bytes are %d", n, len(got))
			}
			continue
		}
		note := fmt.Sprintf("\n… %d bytes left out …\n", n-mostOutput)
		if !strings.HasPrefix(got, "begin") || !strings.HasSuffix(got, "end") || len(got) != mostOutput+len(note) || !strings.Contains(got, note) {
			t.Errorf("%d bytes are %d", n, len(got))
		}
	}
}

// results are one of each outcome, with all that there can be to say.
func results() []Result {
	test := func(fn string, e End) Result {
		return Result{Test: Test{File: "lan_test.star", Func: fn}, End: e, Took: 12345 * time.Microsecond}
	}
	pass := test("test_pass", End{Outcome: Pass, Checks: 2})
	pass.Output = "hello\n"
	fail := test("test_fail", End{Outcome: Fail, Checks: 2, Failed: 1, Events: []string{"lan_test.star:1:1: ip netns add a  (1ms)"},
		Programs: []string{"sh -c loop (exit status 1)\none\ntwo"}})
	fail.Case, fail.Failures = `name=<"é">`, []string{"lan_test.star:4:5: expect.eq: got 1, want 2\n    expect.eq(1, 2)\n    ^"}
	fail.Output = "no line's end, and a \x1b[31mcolour"
	broken := test("test_error", End{Outcome: Error, SetUp: true, Reason: "lan_test.star:1:1: error: no\n  hint: do"})
	skip := test("test_skip", End{Outcome: Skip, Reason: "this kernel has no # wireguard (lan_test.star:9:1)"})
	flaky := test("test_flaky", End{Outcome: Flaky})
	flaky.Failures, flaky.Attempts = []string{"lan_test.star:7:1: expect: False does not hold"}, 3
	other := Result{Test: Test{File: "dir/plain.star"}, End: End{Outcome: Pass}, Took: time.Second}
	all := []Result{pass, fail, broken, skip, flaky, other}
	for i := range all {
		all[i].Began = time.Date(2026, 1, 2, 3, 4, 5+i, 0, time.UTC)
	}
	return all
}

func summary() Summary {
	return Summary{Count: map[Outcome]int{Pass: 2, Fail: 1, Error: 1, Skip: 1, Flaky: 1}, Took: 1234 * time.Millisecond}
}

func plain(_ int, text string) string { return text }

func TestPretty(t *testing.T) {
	var b bytes.Buffer
	p := &Pretty{W: &b, All: true, Paint: plain}
	for _, r := range results() {
		p.Tell(r)
	}
	p.End(summary())
	golden(t, "pretty", b.String())

	b.Reset()
	p.All = false
	p.Tell(results()[0])
	if b.Len() > 0 {
		t.Errorf("of a test that passes it says %q", b.String())
	}
}

func writeFile(t *testing.T, path, text string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
		t.Fatal(err)
	}
}

// golden compares a text with testdata/NAME; with UPDATE_GOLDEN set it becomes that.
func golden(t *testing.T, name, got string) {
	t.Helper()
	path := filepath.Join("testdata", name)
	if os.Getenv("UPDATE_GOLDEN") != "" {
		writeFile(t, path, got)
	}
	want, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	if got != string(want) {
		t.Errorf("got:\n%s\nwant:\n%s", got, want)
	}
}

func TestShard(t *testing.T) {
	var names []string
	for i := range 100 {
		names = append(names, fmt.Sprintf("f%d_test.star", i))
	}
	tests := named(names...)
	var all []string
	for i := 1; i <= 4; i++ {
		s, err := ParseShard(fmt.Sprintf("%d/4", i))
		if err != nil {
			t.Fatal(err)
		}
		part := namesOf(s.Of(tests))
		if len(part) < 10 {
			t.Errorf("part %d has %d of 100 tests", i, len(part))
		}
		fewer := namesOf(s.Of(tests[:50]))
		same(t, part[:len(fewer)], fewer) // more tests move none
		all = append(all, part...)
	}
	slices.Sort(all)
	slices.Sort(names)
	same(t, all, names)
	for _, bad := range []string{"", "1", "0/2", "3/2", "a/b", "1/", "-1/2", "1/2/3"} {
		if s, err := ParseShard(bad); err == nil {
			t.Errorf("%q is %v", bad, s)
		}
	}
}

func TestRepeatAndShuffle(t *testing.T) {
	same(t, namesOf(Repeat(named("a", "b"), 3)), []string{"a", "b", "a#2", "b#2", "a#3", "b#3"})
	order := func(seed uint64) []string {
		tests := named("a", "b", "c", "d", "e", "f", "g", "h")
		Shuffle(tests, seed)
		return namesOf(tests)
	}
	same(t, order(7), order(7))
	if slices.Equal(order(7), order(8)) {
		t.Error("two seeds give the same order")
	}
	sorted := order(7)
	slices.Sort(sorted)
	same(t, sorted, []string{"a", "b", "c", "d", "e", "f", "g", "h"})
}

// TestRetries: a test that passes later is flaky and has the details of its first
// attempt; one that does not has those of its last.
func TestRetries(t *testing.T) {
	attempts := map[string]int{}
	var told []Result
	r := Runner{Jobs: 1, Retries: 2,
		Test: func(_ context.Context, test Test) Result {
			attempts[test.File]++
			n := attempts[test.File]
			result := Result{Test: test, End: End{Outcome: Fail}, Failures: []string{fmt.Sprint(n)}}
			if test.File == "good" || test.File == "flaky" && n == 2 {
				result.Outcome = Pass
			}
			return result
		},
		Tell: func(r Result) { told = append(told, r) },
	}
	s := r.Run(t.Context(), append(named("good", "flaky", "bad"), Test{File: "broken", Broken: "x"}))
	for i, want := range []Result{
		{End: End{Outcome: Pass}, Attempts: 1, Failures: []string{"1"}}, {End: End{Outcome: Flaky}, Attempts: 2, Failures: []string{"1"}},
		{End: End{Outcome: Fail}, Attempts: 3, Failures: []string{"3"}}, {End: End{Outcome: Fail}, Attempts: 1, Failures: []string{"1"}},
	} {
		got := told[i]
		if got.Outcome != want.Outcome || got.Attempts != want.Attempts || !slices.Equal(got.Failures, want.Failures) {
			t.Errorf("%s: %+v", got.Name(), got)
		}
	}
	if s.Count[Flaky] != 1 || s.Total() != 4 {
		t.Errorf("%+v", s)
	}
}

func TestFailFast(t *testing.T) {
	var told []string
	r := Runner{Jobs: 1, FailFast: true,
		Test: func(_ context.Context, test Test) Result {
			outcome := Skip
			if test.File == "b" {
				outcome = Error
			}
			return Result{Test: test, End: End{Outcome: outcome}}
		},
		Tell: func(r Result) { told = append(told, r.Name()) },
	}
	s := r.Run(t.Context(), named("a", "b", "c", "d"))
	same(t, told, []string{"a", "b"})
	if s.Left != 2 {
		t.Errorf("%+v", s)
	}
}
