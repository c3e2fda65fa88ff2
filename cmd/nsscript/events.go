package main

import (
	"fmt"
	"os"

	"nsscript/runtime/event"
	"nsscript/runtime/iproute"
)

// eventsVariable names a file that every run adds its events to, as --events does
// for one run.
const eventsVariable = "NSSCRIPT_EVENTS"

// record opens the files of --events and of NSSCRIPT_EVENTS. They stay open until
// the process ends: each line is written at once.
func (s *settings) record() bool {
	flag, err := recordIn(s.events, os.O_TRUNC)
	if err == nil {
		var all event.Sink
		all, err = recordIn(os.Getenv(eventsVariable), os.O_APPEND)
		s.recorded = event.Tee(flag, all)
	}
	if err != nil {
		fmt.Fprintf(os.Stderr, "nsscript: events: %v\n", err)
	}
	return err == nil
}

func recordIn(path string, how int) (event.Sink, error) {
	if path == "" {
		return nil, nil
	}
	f, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|how, 0o666)
	if err != nil {
		return nil, err
	}
	commands := func(e event.Event) []string { return iproute.Commands(e, true) }
	return event.JSONLines(f, commands, func(err error) {
		fmt.Fprintf(os.Stderr, "nsscript: events: %v; the file ends here\n", err)
	}), nil
}
