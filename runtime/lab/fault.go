package lab

import (
	"context"
	"errors"
	"slices"

	"nsscript/runtime/event"
)

// Fault is a disturbance of a lab that a script has begun and can end: then what was
// there before is there again. All end with the script.
type Fault struct {
	// Kind is how it was made: "partition", "blackhole", "flap", "down".
	Kind string
	// What says between whom, or of what.
	What string

	lab   *Lab
	undo  func(ctx context.Context) error
	ended bool
}

// beginFault notes a fault that has begun. With --host it is taken back like every
// other change.
func (l *Lab) beginFault(ctx context.Context, kind, what string, undo func(ctx context.Context) error) *Fault {
	f := &Fault{Kind: kind, What: what, lab: l, undo: undo}
	l.faults = append(l.faults, f)
	l.onUndo(f.Undo)
	l.Note(ctx, "fault", arg("kind", kind), arg("what", what))
	return f
}

// Active tells whether the fault has not been undone.
func (f *Fault) Active() bool { return !f.ended }

func (f *Fault) String() string { return f.Kind + " " + f.What }

// Undo ends the fault; once it has, it does nothing.
func (f *Fault) Undo(ctx context.Context) error {
	if f.ended {
		return nil
	}
	f.ended = true
	f.lab.faults = slices.DeleteFunc(f.lab.faults, func(o *Fault) bool { return o == f })
	err := errors.Join(remaining(f.undo(ctx))...)
	f.lab.Note(ctx, "fault end", arg("kind", f.Kind), arg("what", f.What))
	return err
}

// Faults are those that have not been undone, in the order in which they began.
func (l *Lab) Faults() []*Fault { return slices.Clone(l.faults) }

// EndFaults undoes all faults, the last first.
func (l *Lab) EndFaults(ctx context.Context) error {
	if len(l.faults) == 0 {
		return nil
	}
	l.Note(ctx, "faults end")
	var failed []error
	for _, f := range slices.Backward(l.Faults()) {
		failed = append(failed, f.Undo(ctx))
	}
	return errors.Join(failed...)
}

// Note tells the events of something that is no operation on the kernel by itself.
func (l *Lab) Note(ctx context.Context, op string, args ...event.Arg) {
	l.emit(ctx, op, nil, inOnePacket, nil, args...)
}

// SetDown sets links down. Undone, those are up again that were, with the routes and
// addresses that the kernel took away. It ends with the script only when that says so.
func (l *Lab) SetDown(ctx context.Context, links []*Link) (*Fault, error) {
	type state struct {
		link *Link
		up   bool
		kept kept
	}
	var before []state
	for _, k := range links {
		if err := k.check(); err != nil {
			return nil, err
		}
		s := state{link: k, up: k.isUp()}
		if s.up {
			l.Settle(ctx)
			s.kept = k.keepAlways()
		}
		if err := k.SetUp(ctx, false); err != nil {
			return nil, err
		}
		before = append(before, s)
	}
	return &Fault{Kind: "down", What: names(links), lab: l, undo: func(ctx context.Context) error {
		var failed []error
		for _, s := range slices.Backward(before) {
			if s.up {
				failed = append(failed, s.link.SetUp(ctx, true), s.kept.restore(ctx))
			}
		}
		return errors.Join(failed...)
	}}, nil
}

// Flapping begins to set a link down and up: down and up do it, and the fault's end
// restores what was there before.
func (k *Link) Flapping(ctx context.Context) (f *Fault, down, up func(ctx context.Context) error, err error) {
	if err := k.check(); err != nil {
		return nil, nil, nil, err
	}
	k.ns.lab.Settle(ctx)
	was, before := k.isUp(), k.keepAlways()
	down = func(ctx context.Context) error { return k.SetUp(ctx, false) }
	up = func(ctx context.Context) error { return errors.Join(k.SetUp(ctx, true), before.restore(ctx)) }
	restore := up
	if !was {
		restore = down
	}
	return k.ns.lab.beginFault(ctx, "flap", k.String(), restore), down, up, nil
}
