package main

import (
	"fmt"
	"os"
	"strings"

	"nsscript/builtins"
)

var docVerb = verb{
	name: "doc", usage: "doc [NAME]", short: "describe a builtin or a library function, with an example",
	long: `Prints the page of a builtin or of a function of the standard library, or the list
of all. With --markdown it prints the whole reference.

For example:
  nsscript doc veth
  nsscript doc @lab.connect`,
}

func init() { docVerb.run = doc }

func doc(args []string) int {
	markdown := false
	f := docVerb.flags()
	f.BoolVar(&markdown, "markdown", false, "print the whole reference as Markdown")
	if status, ok := docVerb.parse(f, args); !ok {
		return status
	}
	switch {
	case f.NArg() > 1:
		return misuse("doc takes one name")
	case markdown:
		return show(builtins.Reference())
	case f.NArg() == 0:
		return show(builtins.Index())
	}
	page, near := builtins.Page(f.Arg(0))
	if page == "" {
		if near != "" {
			near = ": did you mean " + near + "?"
		}
		fmt.Fprintf(os.Stderr, "nsscript: there is no builtin %s%s\n(nsscript doc lists them)\n", f.Arg(0), near)
		return exitUsage
	}
	return show(strings.TrimRight(page, "\n") + "\n")
}
