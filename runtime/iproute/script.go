package iproute

import (
	"slices"
	"strconv"
	"strings"

	"nsscript/runtime/event"
)

// Script renders all events of a run as a POSIX shell script that builds the
// same lab; see [Commands] for exact. Comments say which line of the nsscript
// script each part does; source, which may be nil, returns the text of one. The
// programs that it ran are run too, since they may have changed the lab. Failed
// operations, probes and what the lab's own process does are comments.
func Script(events []event.Event, exact bool, source func(event.Pos) string) string {
	s := &script{exact: exact, source: source, at: "-", pids: map[string]string{}, own: map[string]bool{}}
	s.header(events)
	for _, e := range events {
		if e.Op == "faults end" {
			s.line("")
			s.line("# The script ended here, which ends all faults.")
			break
		}
		s.event(e)
	}
	return s.text.String()
}

type script struct {
	text   strings.Builder
	exact  bool
	source func(event.Pos) string
	at     string            // where in the nsscript script the text has come to
	noted  bool              // that addresses differ
	pids   map[string]string // of spawned programs, as the script numbers them
	own    map[string]bool   // namespaces with files that only nsscript's programs see
}

func (s *script) line(text string) { s.text.WriteString(text + "\n") }

func (s *script) header(events []event.Event) {
	s.line("#!/bin/sh")
	what := "The lab"
	for _, e := range events {
		if e.Pos.File != "" && !strings.HasPrefix(e.Pos.File, "@") { // which is of the library
			what += " of " + e.Pos.File
			break
		}
	}
	s.line(comment(what + ", built with iproute2. It changes the network it is run in, as root;"))
	s.line("# in namespaces that end with the shell, and without being root, it runs by")
	s.line("#   unshare -Urnmpf --mount-proc sh -c 'mount -t tmpfs tmpfs /run; sh THIS_FILE; exec sh -i'")
	if s.exact {
		s.line("# The root namespace must have no links yet, or their indexes may be in the way.")
	}
	s.line("set -e")
	s.line("PATH=$PATH:/usr/sbin:/sbin")
}

// event writes what an event did, below a comment that says which line asked.
func (s *script) event(e event.Event) {
	own := e.Op == "addr renew" && !s.exact
	if own && s.noted {
		return
	}
	if at := where(e.Pos); at != s.at {
		s.at = at
		s.line("")
		s.line(comment(at + s.quoted(e.Pos)))
	}
	if e.Err != nil {
		why, _, _ := strings.Cut(e.Err.Error(), "\n")
		s.line(comment("failed, so it is left out: " + Line(s.numbered(e)) + ": " + why))
		return
	}
	switch {
	case own:
		// It was drawn from the MAC address, which is another here.
		s.noted = true
		s.line("# The kernel's own IPv6 addresses (fe80::/64) are others than in the lab, and are")
		s.line("# checked before they can be used; with --exact they are the same.")
		return
	case isProbe(e), isNote(e), e.Op == "radvd", e.Op == "radvd stop":
		s.line(comment(Line(e)))
		return
	case e.Op == "process ready":
		s.line(awaitReady(e))
		return
	case e.Op == "process stop", e.Op == "process signal":
		s.line(signal(s.numbered(e)))
		return
	case e.Op == "exec", e.Op == "spawn":
		if failed(e) {
			s.line(comment("exit status " + e.Get("code") + ":"))
		}
		s.line(runProgram(s.numbered(e), failed(e) || s.own[e.NS]))
		return
	}
	if own := ownFile(e); own != "" {
		s.own[e.NS] = true
		s.line(comment(own))
		return
	}
	lines := Commands(e, s.exact)
	for _, l := range lines {
		s.line(l)
	}
	if lines == nil {
		s.line(comment("no command is known for: " + Line(e)))
	}
}

// isNote tells what is said beside the operations that it is made of.
func isNote(e event.Event) bool { return e.Op == "fault" || e.Op == "fault end" || e.Op == "step" }

// quoted is the script's line at a place, after a colon.
func (s *script) quoted(p event.Pos) string {
	if s.source == nil || p.File == "" {
		return ""
	}
	if line := strings.TrimSpace(s.source(p)); line != "" {
		return ": " + line
	}
	return ""
}

// numbered is an event about a spawned program with a number in place of its pid,
// which is another in every run.
func (s *script) numbered(e event.Event) event.Event {
	args := slices.Clone(e.Args)
	for i, a := range args {
		if a.Key != "pid" || a.Value == "" {
			continue
		}
		if e.Op == "spawn" || s.pids[a.Value] == "" {
			s.pids[a.Value] = strconv.Itoa(len(s.pids) + 1)
		}
		args[i].Value = s.pids[a.Value]
	}
	e.Args = args
	return e
}

// where is a place in a script as a comment names it.
func where(p event.Pos) string {
	if p.File == "" {
		return "the lab itself"
	}
	return p.File + ":" + strconv.Itoa(p.Line)
}
