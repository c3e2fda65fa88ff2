// Command nsscript runs scripts that describe networks of namespaces, on the
// real kernel, in a private lab that needs no root and leaves nothing behind.
package main

import (
	"errors"
	"fmt"
	"io"
	"os"
	"runtime/debug"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"nsscript/cmd/nsscript/early"
	"nsscript/runtime/lab"
	"nsscript/runtime/sandbox"
)

// Exit statuses.
const (
	exitOK          = 0
	exitCheckFailed = 1
	exitError       = 2   // the script is wrong, or an operation failed
	exitCannot      = 3   // this machine can't
	exitSkipped     = 4   // everything was skipped
	exitUsage       = 64  // EX_USAGE of sysexits.h
	exitInterrupted = 130 // 128 + SIGINT
	exitBrokenPipe  = 141 // 128 + SIGPIPE
)

// verb is a subcommand.
type verb struct {
	name, usage, short string
	long               string
	run                func(args []string) int
}

func verbs() []verb { return []verb{runVerb, testVerb, explainVerb, docVerb, doctorVerb} }

func main() {
	if early.Started != nil {
		os.Exit((&settings{}).lookAfter(early.Started))
	}
	status := dispatch(os.Args[1:])
	if sandbox.Inside() {
		sandbox.Leave(status)
	}
	os.Exit(status)
}

// dispatch finds the verb; a first word that is none is a file to run.
func dispatch(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, help())
		return exitUsage
	}
	switch args[0] {
	case "-h", "--help", "help":
		return show(help())
	case "--version":
		return show(version())
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.run(args[1:])
		}
	}
	if !isScript(args[0]) {
		hint := "nsscript --help lists the verbs"
		if near := lab.Nearest(args[0], verbNames()); near != "" {
			hint = "did you mean " + near + "?"
		}
		fmt.Fprintf(os.Stderr, "nsscript: %q is neither a verb nor a file (%s)\n", args[0], hint)
		return exitUsage
	}
	return runVerb.run(args)
}

// isScript tells whether a first word may be a script: a flag, or a file, also
// one that is said to be a file by its path or its suffix.
func isScript(word string) bool {
	_, err := os.Stat(word)
	return !errors.Is(err, os.ErrNotExist) || strings.HasPrefix(word, "-") || strings.ContainsAny(word, "./")
}

func verbNames() []string {
	names := []string{"help"}
	for _, v := range verbs() {
		names = append(names, v.name)
	}
	return names
}

func help() string {
	var b strings.Builder
	b.WriteString(`nsscript runs scripts that build networks of Linux namespaces and verify how they
behave: in a private lab, without root, with nothing left behind.

  nsscript FILE [name=value …]    the same as nsscript run FILE …

`)
	for _, v := range verbs() {
		fmt.Fprintf(&b, "  nsscript %-28s %s\n", v.usage, v.short)
	}
	b.WriteString("  nsscript --version\n\nnsscript VERB --help says more, and lists the flags. For example: nsscript scripts/examples/blue.star\n")
	return b.String()
}

// flags makes a verb's flag set, whose --help prints the verb's page.
func (v *verb) flags() *pflag.FlagSet {
	f := pflag.NewFlagSet(v.name, pflag.ContinueOnError)
	f.SetOutput(io.Discard)
	f.SortFlags = false
	return f
}

// parse parses flags; when it returns false the verb ends with the status.
func (v *verb) parse(f *pflag.FlagSet, args []string) (status int, ok bool) {
	err := f.Parse(args)
	switch {
	case err == pflag.ErrHelp:
		text := fmt.Sprintf("nsscript %s\n\n%s\n", v.usage, v.long)
		if usages := f.FlagUsages(); usages != "" {
			text += "\nFlags:\n" + usages
		}
		return show(text), false
	case err != nil:
		fmt.Fprintf(os.Stderr, "nsscript: %v%s\n(nsscript %s --help lists the flags)\n", err, nearFlag(f, args), v.name)
		return exitUsage, false
	}
	return exitOK, true
}

// nearFlag proposes the flag that an unknown one probably means.
func nearFlag(f *pflag.FlagSet, args []string) string {
	var names []string
	f.VisitAll(func(x *pflag.Flag) { names = append(names, x.Name) })
	for _, a := range args {
		name, long := strings.CutPrefix(a, "--")
		name, _, _ = strings.Cut(name, "=")
		if long && f.Lookup(name) == nil && !slices.Contains(names, name) {
			if near := lab.Nearest(name, names); near != "" {
				return ": did you mean --" + near + "?"
			}
		}
	}
	return ""
}

// show prints what was asked for.
func show(text string) int {
	_, err := io.WriteString(os.Stdout, text)
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
		return exitError
	}
	return exitOK
}

// version names the release that was built, or what it was built from.
func version() string {
	text := "nsscript"
	info, ok := debug.ReadBuildInfo()
	if !ok {
		return text + "\n"
	}
	text += " " + info.Main.Version
	for _, s := range info.Settings {
		if s.Key == "vcs.revision" {
			text += " " + s.Value
		}
	}
	return text + " " + info.GoVersion + "\n"
}

// misuse complains about the command line.
func misuse(format string, args ...any) int {
	fmt.Fprintf(os.Stderr, "nsscript: "+format+"\n(nsscript --help lists the verbs)\n", args...)
	return exitUsage
}

// isTerminal tells whether a file is a terminal.
func isTerminal(f *os.File) bool {
	_, err := unix.IoctlGetTermios(int(f.Fd()), unix.TCGETS)
	return err == nil
}
