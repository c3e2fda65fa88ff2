package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"os/signal"
	"regexp"
	"runtime"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"nsscript/runtime/sandbox"
	"nsscript/runtime/script"
	"nsscript/runtime/suite"
)

var testVerb = verb{
	name: "test", usage: "test [FILE or DIR …] [name=value …]", short: "run tests, each in a fresh private lab",
	long: `Runs every function test_… of the scripts, each in a fresh private lab in which the
script's top level is run first. A directory is all files *_test.star below it, and
without any the working directory is; a script without test functions is one test, its
top level. A test is called FILE:FUNCTION; where param() has cases=, it runs once for
each: FILE:FUNCTION[mtu=1280]. name=value sets a parameter for all scripts that have it.

For example:
  nsscript test                              every test below the working directory
  nsscript test lan_test.star --run mtu=1280
  nsscript test --list scripts/examples

  nsscript test --shard 2/4 --retries 1 -o results.xml

Exit status: 0 all well; 1 a test failed or is flaky; 2 a test could not be judged, since a script
is wrong, an operation failed, or a top level did; 3 this machine can't; 4 all tests were
skipped; 64 wrong use, or no test is left to run; 130 interrupted.`,
}

func init() { testVerb.run = test }

// testRun is what the flags of a test run say.
type testRun struct {
	settings
	run, skip       string
	list, all       bool
	jobs            int
	format, output  string
	failFast        bool
	repeat, retries int
	shuffle         uint64
	shuffled        bool // --shuffle was given
	shard           string
}

// flags declares the flags.
func (s *testRun) flags(f *pflag.FlagSet) {
	f.StringVar(&s.run, "run", "", "only tests whose name matches this regular expression")
	f.StringVar(&s.skip, "skip", "", "no tests whose name matches this regular expression")
	f.StringVar(&s.shard, "shard", "", "only part I of N, as I/N; which part a test belongs to depends on its name alone")
	f.BoolVar(&s.list, "list", false, "print the names of the tests and run none")
	f.IntVarP(&s.jobs, "jobs", "j", runtime.NumCPU(), "how many tests run at once")
	f.BoolVar(&s.failFast, "fail-fast", false, "begin no more tests after one that failed or is an error")
	f.IntVar(&s.repeat, "repeat", 1, "run all so many times")
	f.IntVar(&s.retries, "retries", 0, "run a test that is not well so many times again; one that passes then is flaky")
	f.Uint64Var(&s.shuffle, "shuffle", 0, "run them in an order drawn from this seed")
	f.StringVar(&s.format, "format", "", "print results as tap, junit or json, as go test -json does; with --output in that file")
	f.StringVarP(&s.output, "output", "o", "", "write results to this file, too, as its suffix says: .tap, .xml (junit), .json, .jsonl")
	f.DurationVar(&s.timeout, "timeout", 2*time.Minute, "end each test after this long; 0 for never")
	f.Uint64Var(&s.maxSteps, "max-steps", 0, "end each test after so many steps of the interpreter; 0 for never")
	f.Uint64Var(&s.seed, "seed", 0, "draw MAC addresses from this seed")
	f.StringVar(&s.color, "color", "auto", "auto, always or never")
	f.BoolVarP(&s.quiet, "quiet", "q", false, "print no closing line and no progress")
	f.BoolVarP(&s.all, "verbose", "v", false, "print a line for tests that pass, too, and what they print")
}

// check looks at the flags together.
func (s *testRun) check() (status int, ok bool) {
	switch {
	case s.jobs < 1:
		return misuse("--jobs %d: at least one has to run", s.jobs), false
	case s.repeat < 1:
		return misuse("--repeat %d: they run at least once", s.repeat), false
	case s.retries < 0:
		return misuse("--retries %d is negative", s.retries), false
	case s.list && s.format+s.output != "":
		return misuse("--list has no results: --format and --output do not go with it"), false
	}
	if s.format == "" && s.output != "" {
		if s.format = suite.FormatOf(s.output); s.format == "" {
			return misuse("--output %s: its suffix is none of .tap .xml .json .jsonl, and there is no --format", s.output), false
		}
	}
	if _, known := suite.Formats[s.format]; s.format != "" && !known {
		return misuse("--format is tap, junit or json, not %q", s.format), false
	}
	return s.common()
}

func test(args []string) int {
	if sandbox.Inside() {
		return inTestLab(args)
	}
	var s testRun
	f := testVerb.flags()
	s.flags(f)
	if status, ok := testVerb.parse(f, args); !ok {
		return status
	}
	s.shuffled = f.Changed("shuffle")
	if status, ok := s.check(); !ok {
		return status
	}
	tests, status := s.find(f.Args())
	if status != exitOK {
		return status
	}
	if s.list {
		var names strings.Builder
		for _, t := range tests {
			fmt.Fprintln(&names, t.Name())
		}
		return show(names.String())
	}
	return s.runAll(tests)
}

// find reads the scripts and selects tests.
func (s *testRun) find(operands []string) ([]suite.Test, int) {
	var paths, values []string
	for _, a := range operands {
		if _, err := os.Stat(a); err != nil && strings.Contains(a, "=") {
			values = append(values, a)
		} else {
			paths = append(paths, a)
		}
	}
	if len(paths) == 0 {
		paths = []string{"."}
	}
	args, status, ok := arguments(values)
	if !ok {
		return nil, status
	}
	files, err := suite.Files(paths)
	if err != nil {
		return nil, misuse("%v", err)
	}
	run, err := pattern("--run", s.run)
	if err != nil {
		return nil, misuse("%v", err)
	}
	skip, err := pattern("--skip", s.skip)
	if err != nil {
		return nil, misuse("%v", err)
	}
	tests, status := collect(files, args)
	if status != exitOK {
		return nil, status
	}
	if tests = suite.Select(tests, run, skip); len(tests) == 0 {
		return nil, misuse("no test is left: nsscript test --list lists the names that --run and --skip match")
	}
	return s.arrange(tests)
}

// arrange takes this machine's part, which may have no test, as often and in the order
// that is wanted.
func (s *testRun) arrange(tests []suite.Test) ([]suite.Test, int) {
	if s.shard != "" {
		shard, err := suite.ParseShard(s.shard)
		if err != nil {
			return nil, misuse("--shard: %v", err)
		}
		tests = shard.Of(tests)
	}
	tests = suite.Repeat(tests, s.repeat)
	if s.shuffled {
		suite.Shuffle(tests, s.shuffle)
	}
	return tests, exitOK
}

// pattern compiles a flag's regular expression; nil for none.
func pattern(flag, text string) (*regexp.Regexp, error) {
	if text == "" {
		return nil, nil
	}
	re, err := regexp.Compile(text)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", flag, err)
	}
	return re, nil
}

// collect are the tests of files. Each file gets the arguments that it declares, and one
// that computes the names of its parameters those that no other file declares. A file
// that cannot be read as a script is a test, too, which will say so.
func collect(files []string, args map[string]string) (tests []suite.Test, status int) {
	declared, broken := make([]*script.Declared, len(files)), make([]string, len(files))
	known, open := map[string]bool{}, false
	for i, file := range files {
		declared[i] = &script.Declared{Tests: []script.Test{{}}}
		s := settings{file: file}
		if !s.read() {
			return nil, exitError
		}
		d, err := script.Declare(file, s.source)
		if err != nil {
			broken[i], open = err.Error(), true
			continue
		}
		declared[i] = d
		open = open || !d.Complete
		for name := range d.Params {
			known[name] = true
		}
	}
	for name := range args {
		if !known[name] && !open {
			return nil, misuse("no script has a parameter %s", name)
		}
	}
	for i, d := range declared {
		own := map[string]string{}
		for name, value := range args {
			if d.Params[name] || !d.Complete && !known[name] {
				own[name] = value
			}
		}
		for _, t := range d.Tests {
			var axes []suite.Axis
			for _, c := range t.Cases {
				if _, set := own[c.Param]; !set {
					axes = append(axes, suite.Axis{Param: c.Param, Values: c.Values})
				}
			}
			tests = append(tests, suite.Matrix(suite.Test{File: files[i], Func: t.Name, Args: own, Broken: broken[i]}, axes)...)
		}
	}
	return tests, exitOK
}

// runAll runs tests and tells what came of them.
func (s *testRun) runAll(tests []suite.Test) int {
	ctx, cancel := context.WithCancelCause(context.Background())
	defer cancel(nil)
	signals := make(chan os.Signal, 1)
	signal.Notify(signals, unix.SIGINT, unix.SIGTERM, unix.SIGHUP, unix.SIGQUIT)
	go func() {
		<-signals
		cancel(errInterrupted)
	}()
	reporters, err := s.reporters()
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
		return exitError
	}
	progress := s.progress(len(tests))
	r := suite.Runner{Jobs: s.jobs, Retries: s.retries, FailFast: s.failFast, Progress: progress.show,
		Test: func(ctx context.Context, t suite.Test) suite.Result {
			result, err := s.runTest(ctx, t)
			if err != nil {
				cancel(err)
			}
			return result
		},
		Tell: func(r suite.Result) {
			progress.clear()
			reporters.Tell(r)
		}}
	summary := r.Run(ctx, tests)
	progress.clear()
	return s.conclude(context.Cause(ctx), summary, reporters)
}

// conclude tells that the run has ended, and why before its end, if it has.
func (s *testRun) conclude(early error, summary suite.Summary, reporters reporters) int {
	status := testStatus(summary)
	switch {
	case errors.Is(early, errInterrupted):
		summary.Ended, status = early.Error(), exitInterrupted
		sayInterrupted(fmt.Sprintf(" after %s", plural(summary.Total(), "test")))
	case early != nil:
		summary.Ended, status = early.Error(), s.noLab(early)
	}
	if err := reporters.close(summary); err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: results: %v\n", err)
		return exitError
	}
	return status
}

// testStatus is the exit status after all tests have ended.
func testStatus(s suite.Summary) int {
	switch {
	case s.Count[suite.Error] > 0:
		return exitError
	case s.Count[suite.Fail]+s.Count[suite.Flaky] > 0:
		return exitCheckFailed
	case s.Total() > 0 && s.Count[suite.Skip] == s.Total():
		return exitSkipped
	}
	return exitOK
}

// progress is a line on a terminal that is written again and again.
type progress struct {
	on    bool
	total int
}

func (s *testRun) progress(total int) *progress {
	return &progress{on: isTerminal(os.Stderr) && !s.quiet, total: total}
}

// clear takes the line away, before something else is printed.
func (p *progress) clear() {
	if p.on {
		fmt.Fprint(os.Stderr, "\r\x1b[K")
	}
}

func (p *progress) show(ended, bad int) {
	if !p.on {
		return
	}
	failed := ""
	if bad > 0 {
		failed = fmt.Sprintf(", %d not well", bad)
	}
	fmt.Fprintf(os.Stderr, "\r\x1b[K%d of %s%s", ended, plural(p.total, "test"), failed)
}
