// Package early runs a script's inner process from the initialization of this one, and
// ends with it: a run needs nothing of the packages that are initialized after this
// one, which takes longer than all the rest. For that it imports next to nothing (see
// package again).
package early

import (
	"os"
	"syscall"

	"nsscript/runtime/inherit"
	"nsscript/runtime/sandbox/again"
)

// Started is the inner process that runs the script, when there is something left to
// do or to say about it: it wants ranges of ids, or it has crashed. nil where the
// command line is something else, which is then for main to say, or where there can be
// no lab. It dies with the first thread, that of package initialization and of main.
var Started *again.Process

func init() { Roomy(func() { Started = start(os.Args[1:]) }, os.Args == nil) }

func start(args []string) *again.Process {
	if again.Inside() || !Runs(args) {
		return nil
	}
	p, err := again.Start(again.Config{AwaitIDs: os.Geteuid() != 0})
	if err != nil {
		return nil // main tries again, and says why not
	}
	if p.AwaitIDs {
		if mayHaveRanges() {
			return p
		}
		if p.MapOneID() != nil {
			p.Signal(syscall.SIGKILL)
			_, _ = p.Wait()
			p.Close()
			return nil
		}
	}
	p.Watch()
	p.Tell(inherit.Settings())
	status, err := p.Wait()
	if err != nil || !p.Announced() {
		return p
	}
	os.Stderr.Write(p.Words()) // not a crash, yet somebody wrote there: lose nothing
	os.Exit(status.ExitStatus())
	return nil
}

// mayHaveRanges tells whether there is a program that gives a user ranges of ids.
func mayHaveRanges() bool {
	const executable = 1 // X_OK
	path := os.Getenv("PATH")
	for from, i := 0, 0; i <= len(path); i++ {
		if i < len(path) && path[i] != ':' {
			continue
		}
		if syscall.Access(path[from:i]+"/newuidmap", executable) == nil {
			return true
		}
		from = i + 1
	}
	return false
}

// Runs tells whether these arguments run a script in a private lab. Whatever is
// wrong with them the inner process says as well as the outer one.
func Runs(args []string) bool {
	if len(args) == 0 {
		return false
	}
	for _, a := range args {
		if a == "-h" || a == "--help" || a == "--version" || begins(a, "--host") || begins(a, "-test.") { // a test binary's
			return false
		}
	}
	if args[0] == "run" || args[0] == "explain" {
		return len(args) > 1
	}
	info, err := os.Stat(args[0])
	return err == nil && !info.IsDir() && !isVerb(args[0]) || begins(args[0], "-")
}

// begins is strings.HasPrefix, whose package is not initialized yet.
func begins(s, prefix string) bool { return len(s) >= len(prefix) && s[:len(prefix)] == prefix }

func isVerb(word string) bool {
	return word == "test" || word == "doc" || word == "doctor" || word == "help"
}
