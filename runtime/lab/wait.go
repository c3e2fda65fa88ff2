package lab

import (
	"context"
	"time"
)

// Only one goroutine at a time may be in the methods of a lab and of what belongs
// to it: handles are plain values, and an event sink is called by one at a time.
// Callers that share a lab keep each other apart by a lock, and since it should
// be free while one of them waits (for links to settle, for a program's end, for
// replies) they say with [WithWait] how to give it back meanwhile.

type waitKey struct{}

// WithWait returns a context under which everything that waits is done by during,
// which gives the callers' lock back, calls its argument and takes it again.
func WithWait(ctx context.Context, during func(wait func())) context.Context {
	return context.WithValue(ctx, waitKey{}, during)
}

// wait does what waits. fn must not touch the lab's values: others do.
func wait(ctx context.Context, fn func()) {
	if during, ok := ctx.Value(waitKey{}).(func(func())); ok {
		during(fn)
		return
	}
	fn()
}

// sleep waits; false means that the context ended first.
func sleep(ctx context.Context, d time.Duration) (whole bool) {
	wait(ctx, func() {
		t := time.NewTimer(d)
		defer t.Stop()
		select {
		case <-t.C:
			whole = true
		case <-ctx.Done():
		}
	})
	return whole
}

// aside runs fn in a goroutine of its own and waits for it. A script's goroutine is
// locked to its thread ([netns.Pin]), so that each word between it and another one costs
// a change of threads; here that is two, however many words fn needs. A panic in fn is
// the caller's.
func aside(fn func() error) error {
	var err error
	var panicked any
	done := make(chan struct{})
	go func() {
		defer close(done)
		defer func() { panicked = recover() }()
		err = fn()
	}()
	<-done
	if panicked != nil {
		panic(panicked)
	}
	return err
}
