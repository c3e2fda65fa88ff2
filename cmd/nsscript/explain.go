package main

import (
	"fmt"
	"os"

	"nsscript/builtins"
	"nsscript/runtime/event"
	"nsscript/runtime/iproute"
	"nsscript/runtime/sandbox"
	"nsscript/runtime/script"
)

var explainVerb = verb{
	name: "explain", usage: "explain FILE [name=value …]", short: "print the ip commands that build the same lab",
	long: `Runs a script in a private lab and prints a shell script of ip and sysctl commands
that builds the same lab, with the script's lines as comments. What the script
itself prints goes to standard error.

For example:
  nsscript explain scripts/examples/two_hosts.star
  nsscript explain --exact scripts/examples/blue.star > blue.sh`,
}

func init() { explainVerb.run = explain }

func explain(args []string) int {
	var s settings
	exact := false
	f := explainVerb.flags()
	f.BoolVar(&exact, "exact", false, "add what makes it equal to the last detail: MAC addresses, indexes, queues")
	s.limits(f)
	if status, ok := explainVerb.parse(f, args); !ok {
		return status
	}
	if status, ok := s.operands(f.Args()); !ok {
		return status
	}
	return s.execute(func(st *sandbox.State) int {
		ctx, cancel := s.interruptible(st)
		defer cancel()
		var events []event.Event
		l, err := s.newLab(ctx, st, func(e event.Event) { events = append(events, e) })
		if err != nil {
			fmt.Fprintf(os.Stderr, "nsscript: %v\n", err)
			return exitCannot
		}
		defer l.Close()
		var r *script.Runner
		o := s.options(l, os.Stderr)
		o.Failed = func(f builtins.CheckFailure) { fmt.Fprintln(os.Stderr, "FAILED "+r.ExplainCheck(f)) }
		o.Stuck = s.stuck(l, st)
		r = script.New(o)
		status := s.conclude(r, r.Run(ctx, s.file, s.source), s.painter(os.Stderr))
		return max(status, show(iproute.Script(events, exact, r.Source)))
	})
}
