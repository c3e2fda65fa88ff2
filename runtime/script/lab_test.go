package script_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"runtime"
	"strings"
	"testing"
	"time"

	"nsscript/builtins"
	"nsscript/runtime/event"
	"nsscript/runtime/inherit"
	"nsscript/runtime/iproute"
	"nsscript/runtime/lab"
	"nsscript/runtime/netns"
	"nsscript/runtime/sandbox"
	"nsscript/runtime/script"
)

// job is a script that a process of its own runs in a private lab of its own:
// no test sees what another has built.
type job struct {
	Dir          string // where it runs
	Path, Source string
	Args         map[string]string
	Timeout      time.Duration
	MaxSteps     uint64
	MaxMemory    uint64
}

// outcome is what came of a job.
type outcome struct {
	Out            string   // what print() printed
	Reports        []string // failed checks and the error, as a user reads them
	Checks, Failed int
	Ended          string // "" at its end, or "error", "stop", "skip: REASON"
	Tests          []string
	Notes          []string
}

const jobVariable = "NSSCRIPT_TEST_JOB"

func init() {
	if os.Getenv(jobVariable) != "" {
		runtime.LockOSThread() // sandbox.Run's child dies with this thread
	}
}

func TestMain(m *testing.M) {
	if text := os.Getenv(jobVariable); text != "" {
		os.Exit(serve(text))
	}
	os.Exit(m.Run())
}

// serve runs the job that the environment describes: as the outer process it
// makes the lab, as the inner one it runs the script.
func serve(text string) int {
	if !sandbox.Inside() {
		status, err := sandbox.Run(sandbox.Options{RawStderr: true, Message: inherit.Settings})
		if err != nil {
			fmt.Fprintln(os.Stderr, err)
			return 3
		}
		return status
	}
	os.Unsetenv(jobVariable)
	st, err := sandbox.Enter(os.TempDir())
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		return 3
	}
	done := make(chan struct{})
	var o outcome
	go func() {
		defer close(done)
		netns.Pin()
		var j job
		if err := json.Unmarshal([]byte(text), &j); err != nil {
			panic(err)
		}
		o = j.run(st)
	}()
	st.Reap(done)
	if err := json.NewEncoder(os.Stdout).Encode(o); err != nil {
		panic(err)
	}
	st.Exit(0)
	return 0
}

// run runs the script in this process.
func (j *job) run(st *sandbox.State) (o outcome) {
	ctx := context.Background()
	l, err := lab.New(ctx, lab.Options{Machine: st.Message, Events: recorded()})
	if err != nil {
		return outcome{Ended: "error", Reports: []string{err.Error()}}
	}
	defer l.Close()
	var out bytes.Buffer
	var r *script.Runner
	r = script.New(script.Options{Lab: l, Args: j.Args, Out: &out, Timeout: j.Timeout, MaxSteps: j.MaxSteps, MaxMemory: j.MaxMemory,
		Failed: func(f builtins.CheckFailure) { o.Reports = append(o.Reports, r.ExplainCheck(f)) },
		Note:   func(format string, args ...any) { o.Notes = append(o.Notes, fmt.Sprintf(format, args...)) },
	})
	result := r.Run(ctx, j.Path, j.Source)
	o.Out, o.Checks, o.Failed, o.Tests = out.String(), result.Checks, result.Failed, result.Tests
	var stop *builtins.Stop
	var skip *builtins.Skip
	switch {
	case errors.As(result.Err, &stop):
		o.Ended = "stop"
	case errors.As(result.Err, &skip):
		o.Ended = "skip: " + skip.Reason
	case result.Err != nil:
		o.Ended = "error"
		o.Reports = append(o.Reports, r.Explain(result.Err))
	}
	return o
}

// recorded adds what the tests did to the file that NSSCRIPT_EVENTS names, as
// nsscript does; docs/coverage.md is held against it.
func recorded() event.Sink {
	path := os.Getenv("NSSCRIPT_EVENTS")
	if path == "" {
		return nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o666)
	if err != nil {
		panic(err)
	}
	return event.JSONLines(f, func(e event.Event) []string { return iproute.Commands(e, true) }, func(err error) { panic(err) })
}

// start runs the job in a new process. Where no private lab can be made, the
// test is skipped, unless NSSCRIPT_REQUIRE says that this machine can.
func (j job) start(t *testing.T) outcome {
	t.Helper()
	text, err := json.Marshal(j)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(context.Background(), 3*time.Minute) // on a busy machine, too
	defer cancel()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	cmd := exec.CommandContext(ctx, self)
	cmd.Dir = j.Dir
	cmd.Env = append(os.Environ(), jobVariable+"="+string(text))
	var stdout, stderr bytes.Buffer
	cmd.Stdout, cmd.Stderr = &stdout, &stderr
	err = cmd.Run()
	var o outcome
	switch {
	case cmd.ProcessState != nil && cmd.ProcessState.ExitCode() == 3 && !strings.Contains(os.Getenv("NSSCRIPT_REQUIRE"), "sandbox"):
		t.Skip(stderr.String())
	case err != nil:
		t.Fatalf("%v\n%s%s", err, stdout.String(), stderr.String())
	}
	if err := json.Unmarshal(stdout.Bytes(), &o); err != nil {
		t.Fatalf("%v in %q\n%s", err, stdout.String(), stderr.String())
	}
	return o
}
