package main

import (
	"context"
	"crypto/rand"
	"encoding/binary"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"nsscript/builtins"
	"nsscript/cmd/nsscript/early"
	"nsscript/runtime/event"
	"nsscript/runtime/inherit"
	"nsscript/runtime/iproute"
	"nsscript/runtime/lab"
	"nsscript/runtime/netns"
	"nsscript/runtime/sandbox"
	"nsscript/runtime/sandbox/again"
	"nsscript/runtime/script"
)

var runVerb = verb{
	name: "run", usage: "run FILE [name=value …]", short: "run a script in a private lab",
	long: `Runs the top level of a script in a private lab of its own and removes the lab.
FILE may be - for standard input. name=value sets what the script declares with
param().

For example:
  nsscript run scripts/examples/router.star -v
  nsscript run scripts/examples/leaf_spine.star hosts=16

Exit status: 0 all well; 1 a check failed; 2 the script is wrong or an operation
failed; 3 this machine can't; 4 skipped; 64 wrong use; 130 interrupted.`,
}

func init() { runVerb.run = run } // runVerb's function prints runVerb

// settings are what a run's flags say.
type settings struct {
	host, undo, force bool
	timeout           time.Duration
	maxSteps, seed    uint64
	color, events     string
	quiet, verbose    bool

	file, source string
	args         map[string]string
	seeded       bool // --seed was given
	signals      func() <-chan os.Signal
	recorded     event.Sink // --events
}

func (s *settings) limits(f *pflag.FlagSet) {
	f.DurationVar(&s.timeout, "timeout", 0, "end the script after this long (like 30s); 0 for never")
	f.Uint64Var(&s.maxSteps, "max-steps", 0, "end the script after so many steps of the interpreter; 0 for never")
	f.Uint64Var(&s.seed, "seed", 0, "draw MAC addresses from this seed; with --host another one each time unless given")
	f.StringVar(&s.color, "color", "auto", "auto, always or never")
	f.StringVar(&s.events, "events", "", "write every operation to this file, as lines of JSON")
}

func run(args []string) int {
	var s settings
	f := runVerb.flags()
	f.BoolVar(&s.host, "host", false, "act on the machine's own namespaces, as ip would; the result stays")
	f.BoolVar(&s.undo, "rm", false, "with --host: undo everything at the end")
	f.BoolVar(&s.force, "force", false, "with --host: may delete what this run did not make")
	s.limits(f)
	f.BoolVarP(&s.quiet, "quiet", "q", false, "print no closing line")
	f.BoolVarP(&s.verbose, "verbose", "v", false, "print every operation with the ip command that does the same")
	if status, ok := runVerb.parse(f, args); !ok {
		return status
	}
	if (s.undo || s.force) && !s.host {
		return misuse("--rm and --force go with --host")
	}
	s.seeded = f.Changed("seed")
	if status, ok := s.operands(f.Args()); !ok {
		return status
	}
	return s.execute(s.runScript)
}

// operands are the file and its name=value arguments.
func (s *settings) operands(args []string) (status int, ok bool) {
	if len(args) == 0 {
		return misuse("which script? nsscript FILE"), false
	}
	if status, ok := s.common(); !ok {
		return status, false
	}
	s.file = args[0]
	s.args, status, ok = arguments(args[1:])
	return status, ok
}

// common looks at the flags that verbs have in common.
func (s *settings) common() (status int, ok bool) {
	if s.color != "auto" && s.color != "always" && s.color != "never" {
		return misuse("--color is auto, always or never, not %q", s.color), false
	}
	if s.timeout < 0 {
		return misuse("--timeout %v is in the past", s.timeout), false
	}
	return exitOK, true
}

// arguments are those of the form name=value.
func arguments(words []string) (args map[string]string, status int, ok bool) {
	args = map[string]string{}
	for _, a := range words {
		name, value, found := strings.Cut(a, "=")
		if !found || name == "" {
			return nil, misuse("%q is no name=value", a), false
		}
		if _, twice := args[name]; twice {
			return nil, misuse("%s is given twice", name), false
		}
		args[name] = value
	}
	return args, exitOK, true
}

// execute runs fn in the private lab that it makes, or with --host where it is,
// in a process of its own that this one looks after.
func (s *settings) execute(fn func(st *sandbox.State) int) int {
	if !s.there() {
		return exitError
	}
	if !sandbox.Inside() {
		return s.lookAfter(nil)
	}
	s.signals = catchSignals()
	wd, _ := os.Getwd()
	st, err := sandbox.Enter(wd, filepath.Dir(s.file), os.TempDir())
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: private lab: %v\n", err)
		sandbox.Leave(exitCannot)
	}
	if !s.read() || !s.record() {
		st.Exit(exitError)
	}
	if !s.quiet {
		for _, line := range st.Reduced {
			fmt.Fprintf(os.Stderr, "nsscript: reduced: %s\n", line)
		}
	}
	go func() {
		netns.Pin() // entering namespaces is cheaper for a goroutine with a thread of its own
		early.Roomy(func() { st.Exit(fn(st)) }, st == nil)
	}()
	st.Reap(nil)
	return exitOK
}

// there tells whether there is a file to run, and says so when there is none.
func (s *settings) there() bool {
	if s.file == "-" {
		return true
	}
	_, err := os.Stat(s.file)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
	}
	return err == nil
}

// lookAfter starts the process that runs the script, unless it has been started,
// and waits for its end.
func (s *settings) lookAfter(started *again.Process) int {
	o := sandbox.Options{Host: s.host, Started: started}
	if !s.host {
		o.Message = inherit.Settings
	}
	status, err := sandbox.Run(o)
	if err != nil {
		return s.noLab(err)
	}
	return status
}

// noLab says why there is no private lab, or how it ended.
func (s *settings) noLab(err error) int {
	if errors.Is(err, sandbox.ErrInterrupted) {
		sayInterrupted("")
		return exitInterrupted
	}
	fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
	var crash *sandbox.Crash
	if !errors.As(err, &crash) {
		return exitCannot
	}
	if crash.Done != "" {
		fmt.Fprintf(os.Stderr, "nsscript: nobody has undone what it did:\n%s", crash.Done)
	}
	if os.Getenv("NSSCRIPT_DEBUG") != "" {
		fmt.Fprint(os.Stderr, crash.Words)
	}
	return exitError
}

// maxScript is how large a script may be.
const maxScript = 64 << 20

// read reads the script.
func (s *settings) read() bool {
	in := os.Stdin
	var err error
	if s.file != "-" {
		in, err = os.Open(s.file)
	}
	var b []byte
	if err == nil {
		b, err = io.ReadAll(io.LimitReader(in, maxScript+1))
	}
	if err == nil && len(b) > maxScript {
		err = fmt.Errorf("%s: a script of more than %d MiB", s.file, maxScript>>20)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
		return false
	}
	s.source = string(b)
	return true
}

// runScript makes the lab, runs the script in it and says how it went.
func (s *settings) runScript(st *sandbox.State) int {
	ctx, cancel := s.interruptible(st)
	defer cancel()
	paint := s.painter(os.Stderr)
	var trace event.Sink
	if s.verbose {
		trace = func(e event.Event) { fmt.Fprintln(os.Stderr, paint(dim, traceLine(e))) }
	}
	l, err := s.newLab(ctx, st, event.Tee(trace, s.journal(st)))
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
		return exitCannot
	}
	defer l.Close()
	var r *script.Runner
	o := s.options(l, os.Stdout)
	o.Failed = func(f builtins.CheckFailure) { fmt.Fprintln(os.Stderr, paint(red, "FAILED ")+r.ExplainCheck(f)) }
	if s.verbose {
		o.Note = func(format string, args ...any) { fmt.Fprintf(os.Stderr, format+"\n", args...) }
	}
	o.Stuck = s.stuck(l, st)
	r = script.New(o)
	result := r.Run(ctx, s.file, s.source)
	status := s.conclude(r, result, paint)
	if s.host {
		s.restore(l, status)
	}
	return status
}

func (s *settings) newLab(ctx context.Context, st *sandbox.State, sink event.Sink) (*lab.Lab, error) {
	sink = event.Tee(sink, s.recorded)
	return lab.New(ctx, lab.Options{Host: s.host, Force: s.force, Seed: s.drawFrom(), Events: sink, Machine: st.Message})
}

// journal keeps, on the machine itself, what has been done there.
func (s *settings) journal(st *sandbox.State) event.Sink {
	if st.Journal == nil {
		return nil
	}
	return func(e event.Event) {
		if commands := iproute.Commands(e, false); e.Err == nil && len(commands) > 0 {
			fmt.Fprintln(st.Journal, strings.Join(commands, "\n"))
		}
	}
}

func (s *settings) options(l *lab.Lab, out io.Writer) script.Options {
	return script.Options{Lab: l, Args: s.args, Out: out, Timeout: s.timeout, MaxSteps: s.maxSteps}
}

// drawFrom is the seed: on a machine's own network, where other runs have drawn theirs,
// another one each time unless --seed says which.
func (s *settings) drawFrom() uint64 {
	if !s.host || s.seeded {
		return s.seed
	}
	var b [8]byte
	_, _ = rand.Read(b[:]) // never fails (crypto/rand)
	return binary.NativeEndian.Uint64(b[:])
}

// stuck ends a run that does not end by itself when it has to.
func (s *settings) stuck(l *lab.Lab, st *sandbox.State) func(error) {
	return func(cause error) {
		status := exitError
		if errors.Is(cause, errInterrupted) {
			sayInterrupted("")
			status = exitInterrupted
		} else {
			fmt.Fprintf(os.Stderr, "%s: error: %s\n", s.file, strings.TrimSuffix(cause.Error(), ": "+builtins.ErrLimit.Error()))
		}
		if s.host {
			s.restore(l, status)
		}
		st.Exit(status)
	}
}

// traceLine is an operation as -v shows it.
func traceLine(e event.Event) string {
	line := iproute.Line(e)
	if line == "" {
		line = e.Op
	}
	pos := e.Pos.String()
	if pos == "" {
		pos = "lab"
	}
	took := "with the above"
	if e.Took > 0 {
		took = e.Took.Round(time.Microsecond).String()
	}
	text := fmt.Sprintf("%s: %s  (%s)", pos, line, took)
	if e.Err != nil {
		text += "  FAILED: " + e.Err.Error()
	}
	return text
}

// conclude prints the error that ended the script, if one did, and the closing
// line, and decides the exit status.
func (s *settings) conclude(r *script.Runner, result script.Result, paint func(int, string) string) int {
	status := exitOK
	var stop *builtins.Stop
	var skip *builtins.Skip
	var e *lab.Error
	errors.As(result.Err, &e)
	switch err := result.Err; {
	case err == nil, errors.As(err, &stop):
		if result.Failed > 0 {
			status = exitCheckFailed
		}
	case errors.As(err, &skip):
		fmt.Fprintf(os.Stderr, "%s: skipped: %s\n", skip.Pos, skip.Reason)
		switch {
		case result.Failed > 0:
			status = exitCheckFailed
		case result.Checks == 0:
			status = exitSkipped
		}
	case errors.Is(err, errInterrupted):
		sayInterrupted(" at " + strings.Replace(r.Explain(err), ": error: "+errInterrupted.Error(), "", 1))
		if result.Checks > 0 && !s.quiet {
			fmt.Fprintln(os.Stderr, closing(s.file, result, exitInterrupted, paint))
		}
		return exitInterrupted
	case errors.Is(err, unix.EPIPE):
		return exitBrokenPipe // as if SIGPIPE had ended it: nobody reads on
	case e != nil && e.Kind == builtins.KindArgument:
		text := r.Explain(err)
		if strings.HasPrefix(text, "error:") { // no place in the script: it is about the command line alone
			text = "nsscript: " + text
		}
		fmt.Fprintln(os.Stderr, paint(red, text))
		return exitUsage
	default:
		fmt.Fprintln(os.Stderr, paint(red, r.Explain(err)))
		status = exitError
		if e != nil && e.Kind == lab.KindMissing {
			status = exitCannot
		}
	}
	if s.quiet {
		return status
	}
	if n := len(result.Tests); n > 0 {
		fmt.Fprintf(os.Stderr, "%s defines %s that run does not call: %s\n", s.file, plural(n, "test"), strings.Join(result.Tests, ", "))
	}
	fmt.Fprintln(os.Stderr, closing(s.file, result, status, paint))
	return status
}

// closing is the last line of a run.
func closing(file string, r script.Result, status int, paint func(int, string) string) string {
	text := file + ": "
	failed := ""
	if r.Failed > 0 {
		failed = fmt.Sprintf("%d of %s failed", r.Failed, plural(r.Checks, "check"))
	}
	switch {
	case status == exitError || status == exitCannot || status == exitInterrupted:
		if failed == "" {
			failed = plural(r.Checks, "check")
		}
		ended := "error"
		if status == exitInterrupted {
			ended = errInterrupted.Error()
		}
		text += paint(red, ended) + " after " + failed
	case failed != "":
		text += paint(red, failed)
	case status == exitSkipped:
		text += "skipped"
	default:
		text += paint(green, fmt.Sprintf("%s, all well", plural(r.Checks, "check")))
	}
	return text
}

func plural(n int, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}

// restore undoes on the machine what a failed run did, or with --rm any run.
func (s *settings) restore(l *lab.Lab, status int) {
	if !s.undo && status == exitOK {
		return
	}
	ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
	defer cancel()
	lasting, err := l.Undo(ctx)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: not undone:\n%v\n", err)
	}
	for _, what := range lasting {
		fmt.Fprintf(os.Stderr, "nsscript: cannot be undone: %s\n", what)
	}
}

// Colours of a terminal (ECMA-48).
const (
	red   = 31
	green = 32
	dim   = 2
)

// painter colours text for a file when --color, NO_COLOR and the terminal say so.
func (s *settings) painter(f *os.File) func(int, string) string {
	on := s.color == "always" || s.color == "auto" && os.Getenv("NO_COLOR") == "" && isTerminal(f)
	return func(color int, text string) string {
		if !on {
			return text
		}
		return fmt.Sprintf("\x1b[%dm%s\x1b[0m", color, text)
	}
}
