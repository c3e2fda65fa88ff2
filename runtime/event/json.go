package event

import (
	"encoding/json"
	"io"
)

// Record is an event as a line of JSON has it.
type Record struct {
	Op string `json:"op"`
	NS string `json:"ns,omitempty"` // left out for the root namespace
	// Args are pairs of a key and a value, in the operation's order; a key may
	// stand repeatedly.
	Args [][2]string `json:"args,omitempty"`
	File string      `json:"file,omitempty"`
	Line int         `json:"line,omitempty"`
	Col  int         `json:"col,omitempty"`
	// Took is in seconds; 0 where the record before says it, since both were done at
	// once.
	Took float64 `json:"took"`
	// Error is what the operation failed with.
	Error string `json:"error,omitempty"`
	// Commands are the command lines that do the same.
	Commands []string `json:"commands,omitempty"`
}

// JSONLines returns a sink that writes each event to w at once, as a line of JSON.
// commands says which command lines do the same as an event; failed is told of the
// first error of w, after which nothing is written any more.
func JSONLines(w io.Writer, commands func(Event) []string, failed func(error)) Sink {
	encoder := json.NewEncoder(w)
	encoder.SetEscapeHTML(false)
	broken := false
	return func(e Event) {
		if broken {
			return
		}
		r := Record{Op: e.Op, NS: e.NS, File: e.Pos.File, Line: e.Pos.Line, Col: e.Pos.Col, Took: e.Took.Seconds(), Commands: commands(e)}
		for _, a := range e.Args {
			r.Args = append(r.Args, [2]string{a.Key, a.Value})
		}
		if e.Err != nil {
			r.Error = e.Err.Error()
		}
		if err := encoder.Encode(r); err != nil {
			broken = true
			failed(err)
		}
	}
}
