// Package early starts the inner process of a run as soon as can be: while the
// packages of this process are still being initialized, so that both processes do
// that at once. For that it imports next to nothing (see package again).
package early

import (
	"os"

	"nsscript/runtime/sandbox/again"
)

// Started is the inner process that runs the script; nil where the command line is
// something else, which is then for main to say, or where there can be no lab. It
// dies with the first thread, that of package initialization and of main.
var Started = start(os.Args[1:])

func start(args []string) *again.Process {
	if again.Inside() || !Runs(args) {
		return nil
	}
	p, err := again.Start(again.Config{AwaitIDs: os.Geteuid() != 0})
	if err != nil {
		return nil // main tries again, and says why not
	}
	return p
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

func isVerb(word string) bool { return word == "doc" || word == "doctor" || word == "help" }
