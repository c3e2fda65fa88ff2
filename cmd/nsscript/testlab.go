package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/builtins"
	"nsscript/runtime/event"
	"nsscript/runtime/inherit"
	"nsscript/runtime/lab"
	"nsscript/runtime/netns"
	"nsscript/runtime/sandbox"
	"nsscript/runtime/sandbox/again"
	"nsscript/runtime/script"
	"nsscript/runtime/suite"
)

// job is a test as its lab's process is told of it, on its command line.
type job struct {
	suite.Test

	Timeout  time.Duration
	MaxSteps uint64
	Seed     uint64
}

// overtime is how long a test may take, beyond its time, to end by itself.
const overtime = 5 * time.Second

// machineSettings are what labs want to know of the machine, read once for all tests.
var machineSettings = sync.OnceValue(inherit.Settings)

// runTest runs a test in a process of its own, which is its lab. The error says why
// there can be no labs here.
func (s *testRun) runTest(ctx context.Context, t suite.Test) (suite.Result, error) {
	result := suite.Result{Test: t, Began: time.Now()}
	if t.Broken != "" {
		result.End = suite.End{Outcome: suite.Error, Reason: t.Broken}
		return result, nil
	}
	output, reports, l, err := s.startTest(t)
	if err != nil {
		return result, err
	}
	overdue := make(chan struct{})
	defer context.AfterFunc(ctx, l.Kill)()
	if s.timeout > 0 {
		defer time.AfterFunc(s.timeout+overtime, func() {
			close(overdue)
			l.Kill()
		}).Stop()
	}
	var readers sync.WaitGroup
	var ended bool
	readers.Go(func() { result.Output = suite.ReadOutput(output) })
	readers.Go(func() { ended = readReports(reports, &result) })
	_, err = l.Wait()
	readers.Wait()
	output.Close()
	reports.Close()
	result.Took = time.Since(result.Began)
	switch {
	case ended:
	case isClosed(overdue):
		result.End = suite.End{Outcome: suite.Error, Reason: fmt.Sprintf("the test ran longer than %v and did not end by itself", s.timeout)}
	case err != nil:
		result.End = suite.End{Outcome: suite.Error, Reason: err.Error()}
	default:
		return result, errNoEnd(strings.TrimSpace(result.Output))
	}
	return result, nil
}

// errNoEnd is why a lab could not be entered, as its process printed it.
type errNoEnd string

func (e errNoEnd) Error() string { return string(e) }

func isClosed(c <-chan struct{}) bool {
	select {
	case <-c:
		return true
	default:
		return false
	}
}

// readReports reads what the lab's process reports, and tells whether it came to its end.
func readReports(f *os.File, result *suite.Result) (ended bool) {
	for d := json.NewDecoder(f); ; {
		var r suite.Report
		if d.Decode(&r) != nil {
			return ended
		}
		if r.Failure != "" {
			result.Failures = append(result.Failures, r.Failure)
		}
		if r.End != nil {
			result.End, ended = *r.End, true
		}
	}
}

// startTest starts the lab's process with two pipes, of which it gives the ends to read.
func (s *testRun) startTest(t suite.Test) (output, reports *os.File, l *sandbox.Lab, err error) {
	var mine, its []*os.File
	defer func() {
		for _, f := range its {
			f.Close()
		}
		if err != nil {
			for _, f := range mine {
				f.Close()
			}
		}
	}()
	for _, name := range []string{"output", "reports"} {
		r, w, err := pipe(name)
		if err != nil {
			return nil, nil, nil, err
		}
		mine, its = append(mine, r), append(its, w)
	}
	null, err := os.Open(os.DevNull)
	if err != nil {
		return nil, nil, nil, err
	}
	its = append(its, null)
	text, err := json.Marshal(job{t, s.timeout, s.maxSteps, s.seed})
	if err != nil {
		return nil, nil, nil, err
	}
	l, err = sandbox.Start(sandbox.Options{Message: machineSettings, Program: &again.Program{
		Args: []string{os.Args[0], testVerb.name, t.Name(), string(text)}, Input: null, Output: its[0], Report: its[1]}})
	return mine[0], mine[1], l, err
}

// pipe is a pipe whose end to write blocks, since programs that get it expect that.
func pipe(name string) (r, w *os.File, err error) {
	var fds [2]int
	if err := unix.Pipe2(fds[:], unix.O_CLOEXEC); err != nil {
		return nil, nil, os.NewSyscallError("pipe2", err)
	}
	if err := unix.SetNonblock(fds[0], true); err != nil {
		return nil, nil, os.NewSyscallError("fcntl", err)
	}
	return os.NewFile(uintptr(fds[0]), name), os.NewFile(uintptr(fds[1]), name), nil
}

// testLab is the process of one test's lab.
type testLab struct {
	settings
	job
	st      *sandbox.State
	reports *json.Encoder
	events  []event.Event // the last ones
	ended   sync.Once
}

// inTestLab is what the lab's process does.
func inTestLab(args []string) int {
	t := &testLab{}
	if len(args) != 2 || json.Unmarshal([]byte(args[1]), &t.job) != nil {
		return misuse("no test is given")
	}
	unix.CloseOnExec(again.ReportFD)
	t.reports = json.NewEncoder(os.NewFile(again.ReportFD, "reports"))
	t.file, t.args = t.job.File, t.Args
	t.timeout, t.maxSteps, t.seed = t.job.Timeout, t.MaxSteps, t.Seed
	wd, _ := os.Getwd()
	var err error
	if t.st, err = sandbox.Enter(wd, filepath.Dir(t.file), os.TempDir()); err != nil {
		fmt.Fprintf(os.Stderr, "private lab: %v\n", err)
		sandbox.Leave(exitCannot)
	}
	go func() {
		netns.Pin()
		t.run()
	}()
	t.st.Reap(nil)
	return exitOK
}

// run runs the test and reports what came of it.
func (t *testLab) run() {
	if !t.read() || !t.record() {
		t.end(suite.End{Outcome: suite.Error, Reason: "see what it printed"}, nil)
	}
	ctx := context.Background()
	l, err := t.newLab(ctx, t.st, t.keep)
	if err != nil {
		t.end(suite.End{Outcome: suite.Skip, Reason: err.Error()}, nil)
	}
	var r *script.Runner
	o := t.options(l, os.Stdout)
	o.Test, o.Cases = t.Func, t.Test.Cases
	o.Failed = func(f builtins.CheckFailure) { _ = t.reports.Encode(suite.Report{Failure: r.ExplainCheck(f)}) }
	o.Stuck = func(cause error) {
		t.end(suite.End{Outcome: suite.Error, Reason: t.file + ": error: " + cause.Error()}, nil)
	}
	r = script.New(o)
	result := r.Run(ctx, t.file, t.source)
	t.end(t.judge(r, result), r)
}

// mostEvents is how many of the last operations are told of a test that is not well.
const mostEvents = 10

// keep keeps the last events.
func (t *testLab) keep(e event.Event) {
	if t.events = append(t.events, e); len(t.events) == 10*mostEvents {
		t.events = append(t.events[:0], t.events[9*mostEvents:]...)
	}
}

// judge says what came of the run. A top level that fails is no failed test, if there is
// a test beside it: it could not be judged.
func (t *testLab) judge(r *script.Runner, result script.Result) suite.End {
	e := suite.End{Outcome: suite.Pass, Checks: result.Checks, Failed: result.Failed}
	var stop *builtins.Stop
	var skip *builtins.Skip
	var missing *lab.Error
	switch err := result.Err; {
	case err == nil, errors.As(err, &stop):
	case errors.As(err, &skip):
		e.Outcome, e.Reason = suite.Skip, skip.Reason
		if skip.Pos.File != "" {
			e.Reason += " (" + skip.Pos.String() + ")"
		}
	case errors.As(err, &missing) && missing.Kind == lab.KindMissing:
		e.Outcome, e.Reason = suite.Skip, missing.Error()
		if missing.Hint != "" {
			e.Reason += " (" + missing.Hint + ")"
		}
	default:
		e.Outcome, e.Reason = suite.Error, r.Explain(err)
	}
	if result.Failed > 0 && e.Outcome != suite.Error {
		e.Outcome = suite.Fail
	}
	if t.Func != "" && !result.Tested && (e.Outcome == suite.Fail || e.Outcome == suite.Error) {
		e.Outcome, e.SetUp = suite.Error, true
	}
	return e
}

// end reports the end, once, and ends the process.
func (t *testLab) end(e suite.End, r *script.Runner) {
	t.ended.Do(func() {
		if e.Outcome == suite.Fail || e.Outcome == suite.Error {
			for _, line := range t.st.Reduced {
				fmt.Fprintf(os.Stderr, "reduced: %s\n", line)
			}
			for _, last := range t.events[max(0, len(t.events)-mostEvents):] {
				e.Events = append(e.Events, traceLine(last))
			}
			if r != nil {
				e.Programs = r.Programs()
			}
		}
		_ = t.reports.Encode(suite.Report{End: &e})
		t.st.Exit(exitOK)
	})
}
