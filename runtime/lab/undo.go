package lab

import (
	"context"
	"errors"
	"slices"
)

// undo takes one change back.
type undo func(ctx context.Context) error

// onUndo remembers how to take back a change to the machine. A private lab
// remembers nothing: it ends with its process.
func (l *Lab) onUndo(u undo) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undos = append(l.undos, u)
}

// cannotUndo remembers a change to the machine that nothing can take back.
func (l *Lab) cannotUndo(what string) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lasting = append(l.lasting, what)
}

// Undo takes back, in reverse order, what this lab changed on the machine. It
// returns what cannot be taken back, in words, and the joined errors of what
// could not. What is gone already needs no undoing.
func (l *Lab) Undo(ctx context.Context) (lasting []string, err error) {
	l.mu.Lock()
	undos := l.undos
	lasting = l.lasting
	l.undos, l.lasting = nil, nil
	l.mu.Unlock()
	var failed []error
	for _, u := range slices.Backward(undos) {
		if err := u(ctx); err != nil && !isGone(err) {
			failed = append(failed, err)
		}
	}
	l.mu.Lock()
	l.undos = nil // undoing is not to be undone
	l.mu.Unlock()
	return lasting, errors.Join(failed...)
}
