// Command nsscript runs scripts that describe networks of namespaces, on the
// real kernel, in a private lab that needs no root and leaves nothing behind.
package main

import (
	"fmt"
	"io"
	"os"
	"slices"
	"strings"

	"github.com/spf13/pflag"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
	"nsscript/runtime/netns"
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
)

func init() {
	// /proc/1/ns/net of a lab is the namespace of the first thread: it stays
	// with main, which enters no other.
	netns.Pin()
}

// verb is a subcommand.
type verb struct {
	name, usage, short string
	long               string
	run                func(args []string) int
}

func verbs() []verb { return []verb{runVerb, explainVerb, docVerb} }

func main() { os.Exit(dispatch(os.Args[1:])) }

// dispatch finds the verb; a first word that is none is a file to run.
func dispatch(args []string) int {
	if len(args) == 0 {
		fmt.Fprint(os.Stderr, help())
		return exitUsage
	}
	switch args[0] {
	case "-h", "--help", "help":
		fmt.Print(help())
		return exitOK
	}
	for _, v := range verbs() {
		if v.name == args[0] {
			return v.run(args[1:])
		}
	}
	return runVerb.run(args)
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
	b.WriteString("\nnsscript VERB --help says more. For example: nsscript scripts/examples/blue.star\n")
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
		fmt.Printf("nsscript %s\n\n%s\n", v.usage, v.long)
		if usages := f.FlagUsages(); usages != "" {
			fmt.Printf("\nFlags:\n%s", usages)
		}
		return exitOK, false
	case err != nil:
		return misuse("%v%s", err, nearFlag(f, args)), false
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
