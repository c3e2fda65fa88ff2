// Package script is the interpreter's host: it reads files, runs them against a
// lab, resolves load(), sets limits, and says what went wrong and where. Go
// programs that want to run lab scripts embed it.
package script

import (
	"context"
	"errors"
	"fmt"
	"io"
	"runtime"
	"strings"
	"sync"
	"time"
	"unicode/utf8"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"
	"golang.org/x/sys/unix"

	"nsscript/builtins"
	"nsscript/runtime/lab"
)

// Options of a run.
type Options struct {
	// Lab is where operations go. The caller closes it.
	Lab *lab.Lab
	// Args are the script's name=value arguments.
	Args map[string]string
	// Test is the function that is called after the top level, unless that failed; ""
	// for none.
	Test string
	// Cases say, for parameters that have cases, which of them it is.
	Cases map[string]int
	// Out is where print() writes.
	Out io.Writer
	// Failed is told of each failed check as it happens; nil for nobody.
	Failed func(builtins.CheckFailure)
	// Note is told what a user may want to know; nil for nobody.
	Note func(format string, args ...any)
	// Timeout limits the run's time; 0 for no limit.
	Timeout time.Duration
	// MaxSteps limits the interpreter's steps; 0 for no limit.
	MaxSteps uint64
	// Stuck is told why the run was to end, by a limit or by its context, when it
	// has not ended a second later: some builtins of Starlark, like max() of a
	// range, go on until they are done. nil waits.
	Stuck func(cause error)
	// MaxMemory limits the interpreter's heap in bytes; 0 for 4 GiB.
	MaxMemory uint64
}

// Limits that no script that means well meets.
const (
	maxDepth      = 10_000
	defaultMemory = 4 << 30
	quantum       = 1_000 // steps between looks at the limits
)

// Result is what came of a run.
type Result struct {
	// Checks counts expect and require, Failed those that did not hold.
	Checks, Failed int
	// Err is what ended the script before its end; nil when nothing did. A
	// failed require is a *builtins.Stop, skip() a *builtins.Skip.
	Err error
	// Tests are the names of the test functions that the script defines.
	Tests []string
	// Tested tells that Options.Test was called.
	Tested bool
}

// Runner runs one script.
type Runner struct {
	options Options
	env     *builtins.Env
	names   starlark.StringDict
	// override changes what is predeclared; nil outside tests.
	override func(starlark.StringDict)
	sources  map[string][]string // the lines of each file
	files    map[string]*syntax.File
	modules  map[string]*module // by path
	loaded   map[string]*module // by the name in the load statement
	steps    steps
}

// module is a loaded file: running, or done.
type module struct {
	globals starlark.StringDict
	err     error
	done    bool
}

var dialect = &syntax.FileOptions{Set: true, While: true, TopLevelControl: true, GlobalReassign: true, Recursion: true}

// New prepares a run.
func New(o Options) *Runner {
	if o.MaxMemory == 0 {
		o.MaxMemory = defaultMemory
	}
	return &Runner{options: o, sources: map[string][]string{}, files: map[string]*syntax.File{}, modules: map[string]*module{}, loaded: map[string]*module{}}
}

// Run runs a script: source is its text, path what messages call it and what
// load() and read_file() are relative to. It returns when the script has ended
// or ctx has, whose cause is then the error. A caller whose goroutine is locked to
// a thread of its own enters namespaces faster (netns.Pin).
func (r *Runner) Run(ctx context.Context, path, source string) Result {
	if r.options.Timeout > 0 {
		limit := &lab.Error{Op: fmt.Sprintf("the script ran longer than %v", r.options.Timeout), Kind: lab.KindTimeout,
			Err: builtins.ErrLimit, Hint: "--timeout sets this limit"}
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, r.options.Timeout, limit)
		defer cancel()
	}
	ctx, fail := context.WithCancelCause(ctx)
	defer fail(nil)
	r.env = &builtins.Env{Ctx: ctx, Lab: r.options.Lab, Out: r.options.Out, Args: r.options.Args, Cases: r.options.Cases,
		Failed: r.options.Failed, Note: r.options.Note, Place: r.named,
		Lines: func(file string) []string { return r.sources[file] }}
	r.env.NewThread = func(name string) *starlark.Thread { return r.thread(name, fail) }
	r.names = builtins.New(r.env)
	if r.override != nil {
		r.override(r.names)
	}
	go r.watchMemory(ctx, fail)
	defer r.watchEnd(ctx)()

	r.env.Lock()
	defer r.env.Unlock()
	result := Result{}
	afterwards, err := r.checkArgs(path, source)
	if result.Err = err; err == nil {
		t := r.thread("main", fail)
		stop := context.AfterFunc(ctx, func() { t.Cancel("interrupted") })
		var globals starlark.StringDict
		r.modules[canonical(path)] = &module{} // it cannot be loaded while it runs
		globals, result.Err = r.exec(t, path, source)
		if result.Err == nil {
			result.Err = afterwards()
		}
		result.Tests = r.tests(path, globals)
		if _, failed := r.env.Summary(); r.options.Test != "" && result.Err == nil && failed == 0 {
			result.Tested = true
			result.Err = callTest(t, globals, r.options.Test)
		}
		stop()
	}
	if ctx.Err() != nil && result.Err != nil && !isVerdict(result.Err) {
		result.Err = &located{err: context.Cause(ctx), at: result.Err}
	}
	r.env.EndTasks()
	if l := r.options.Lab; l != nil { // tests of the interpreter have none
		if err := l.EndFaults(context.WithoutCancel(r.env.Ctx)); err != nil && result.Err == nil {
			result.Err = err
		}
	}
	r.env.ReportDead()
	result.Checks, result.Failed = r.env.Summary()
	return result
}

// grace is how long a run may take to end when it has to.
const grace = time.Second

// watchEnd calls Stuck when the run goes on although ctx has ended. The run
// calls what it returns at its end.
func (r *Runner) watchEnd(ctx context.Context) (ended func()) {
	done := make(chan struct{})
	if r.options.Stuck != nil {
		go func() {
			select {
			case <-done:
				return
			case <-ctx.Done():
			}
			select {
			case <-done:
			case <-time.After(grace):
				r.options.Stuck(context.Cause(ctx))
			}
		}()
	}
	return sync.OnceFunc(func() { close(done) })
}

// isVerdict tells whether an error is the end that a script chose.
func isVerdict(err error) bool {
	var stop *builtins.Stop
	var skip *builtins.Skip
	return errors.As(err, &stop) || errors.As(err, &skip)
}

// located is the reason why a run was ended from outside, with the place that
// it had reached.
type located struct{ err, at error }

func (l *located) Error() string { return l.err.Error() }
func (l *located) Unwrap() error { return l.err }

// watchMemory ends a run whose heap grows beyond its limit.
func (r *Runner) watchMemory(ctx context.Context, fail context.CancelCauseFunc) {
	var used unix.Rusage
	var sample runtime.MemStats // the package runtime/metrics costs more at every start
	tick := time.NewTicker(50 * time.Millisecond)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return
		case <-tick.C:
		}
		// To read the heap's size stops the program: only where it can be that large.
		if unix.Getrusage(unix.RUSAGE_SELF, &used) == nil && uint64(used.Maxrss)<<10 < r.options.MaxMemory {
			continue
		}
		runtime.ReadMemStats(&sample)
		if sample.HeapAlloc > r.options.MaxMemory {
			fail(&lab.Error{Op: fmt.Sprintf("the script holds more than %d MiB of memory", r.options.MaxMemory>>20),
				Kind: "limit", Err: builtins.ErrLimit})
			return
		}
	}
}

// exec runs a file's top level.
func (r *Runner) exec(t *starlark.Thread, path, source string) (starlark.StringDict, error) {
	f, err := r.parse(path, source)
	if err != nil {
		return nil, err
	}
	program, err := starlark.FileProgram(f, r.names.Has)
	if err != nil {
		return nil, err
	}
	return builtins.Guard(func() (starlark.StringDict, error) { return program.Init(t, r.names) })
}

// parse parses a file once and keeps its text for messages.
func (r *Runner) parse(path, source string) (*syntax.File, error) {
	if f := r.files[path]; f != nil {
		return f, nil
	}
	source = strings.TrimPrefix(source, "\ufeff") // as some editors begin a file
	r.sources[path] = strings.Split(source, "\n")
	if err := checkText(path, source); err != nil {
		return nil, err
	}
	f, err := dialect.Parse(path, source, 0)
	if err != nil {
		return nil, err
	}
	r.files[path] = f
	return f, nil
}

// checkText refuses what is no text: Starlark's scanner takes a NUL byte for the end of
// the file, and would run half of it.
func checkText(path, source string) error {
	what, at := "is a NUL byte", strings.IndexByte(source, 0)
	if at < 0 && !utf8.ValidString(source) {
		what, at = "are bytes that are no UTF-8", strings.IndexFunc(source, func(c rune) bool { return c == utf8.RuneError })
	}
	if at < 0 {
		return nil
	}
	before := source[:at]
	line := before[strings.LastIndexByte(before, '\n')+1:]
	pos := syntax.MakePosition(&path, int32(strings.Count(before, "\n")+1), int32(utf8.RuneCountInString(line)+1))
	return syntax.Error{Pos: pos, Msg: "there " + what + " here: this is no text"}
}
