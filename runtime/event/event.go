// Package event says what a lab did: one [Event] for each operation on the
// kernel. Sinks (a trace on the terminal, the iproute2 rendering of `explain`)
// read them. It imports nothing of the project.
package event

import (
	"context"
	"fmt"
	"time"
)

// Pos is a place in a script. The zero Pos means that no script asked.
type Pos struct {
	File string
	Line int
	Col  int
}

func (p Pos) String() string {
	if p.File == "" {
		return ""
	}
	return fmt.Sprintf("%s:%d:%d", p.File, p.Line, p.Col)
}

// Arg is one named argument of an operation, as text in iproute2's own words
// (an address with its prefix length, a flag as "on" or "off").
type Arg struct {
	Key, Value string
}

// Event is one operation on the kernel, finished.
type Event struct {
	// Op names the operation in the words of iproute2: "netns add",
	// "link add", "link set", "addr add", "route add", "sysctl" …
	Op string
	// NS is the name of the namespace acted in, empty for the root namespace.
	NS string
	// Args are the operation's arguments with what was left to the runtime
	// (names, indexes, MAC addresses) filled in. A key may stand repeatedly.
	Args []Arg
	// Pos is where in the script the operation was asked for.
	Pos Pos
	// Took is how long the kernel needed; 0 where the operation before says it, since
	// both were done at once.
	Took time.Duration
	// Err is what came of it; nil when it succeeded.
	Err error
}

// Get returns the first argument named key, or "".
func (e Event) Get(key string) string {
	for _, a := range e.Args {
		if a.Key == key {
			return a.Value
		}
	}
	return ""
}

// All returns every argument named key, in order.
func (e Event) All(key string) []string {
	var all []string
	for _, a := range e.Args {
		if a.Key == key {
			all = append(all, a.Value)
		}
	}
	return all
}

// Has tells whether there is an argument named key.
func (e Event) Has(key string) bool {
	for _, a := range e.Args {
		if a.Key == key {
			return true
		}
	}
	return false
}

// Sink receives events one after another. A nil Sink is a no-op.
type Sink func(Event)

// Tee sends every event to all sinks that are not nil; nil if there is none.
func Tee(sinks ...Sink) Sink {
	var real []Sink
	for _, s := range sinks {
		if s != nil {
			real = append(real, s)
		}
	}
	switch len(real) {
	case 0:
		return nil
	case 1:
		return real[0]
	}
	return func(e Event) {
		for _, s := range real {
			s(e)
		}
	}
}

type posKey struct{}

// WithPos returns a context that carries the position of the script that is
// being served. pos is called only when an event needs it.
func WithPos(ctx context.Context, pos func() Pos) context.Context {
	return context.WithValue(ctx, posKey{}, pos)
}

// PosOf returns the position that ctx carries, or the zero Pos.
func PosOf(ctx context.Context) Pos {
	if pos, ok := ctx.Value(posKey{}).(func() Pos); ok {
		return pos()
	}
	return Pos{}
}
