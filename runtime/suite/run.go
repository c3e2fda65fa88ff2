package suite

import (
	"context"
	"sync"
	"time"
)

// Runner runs tests, several at once.
type Runner struct {
	// Jobs is how many tests run at once.
	Jobs int
	// Retries is how often a test that is not well is run again. One that passes then is
	// flaky.
	Retries int
	// FailFast begins no more tests after one that failed or is an error.
	FailFast bool
	// Test runs one. It ends early when its context does.
	Test func(context.Context, Test) Result
	// Tell is told each result, in the order of the tests, as soon as all before it
	// have been told.
	Tell func(Result)
	// Progress is told how many tests have ended, in whatever order, and how many of
	// them badly; nil for nobody.
	Progress func(ended, bad int)
}

// Run runs tests until all have ended, or ctx has: those that were running then, and
// those that were not begun, have no result.
func (r *Runner) Run(ctx context.Context, tests []Test) Summary {
	began := time.Now()
	b := &board{Runner: r, tests: tests, results: make([]*Result, len(tests)), summary: Summary{Count: map[Outcome]int{}}}
	var workers sync.WaitGroup
	for range min(r.Jobs, len(tests)) {
		workers.Go(func() {
			for i, ok := b.take(); ok && ctx.Err() == nil; i, ok = b.take() {
				result := r.attempt(ctx, tests[i])
				if ctx.Err() == nil {
					b.put(i, result)
				}
			}
		})
	}
	workers.Wait()
	b.tellRest()
	b.summary.Took = time.Since(began)
	b.summary.Left = len(tests) - b.summary.Total()
	return b.summary
}

// attempt runs a test until it is well, or has been run often enough. The result of a
// flaky test has the details of its first attempt.
func (r *Runner) attempt(ctx context.Context, t Test) Result {
	first := r.Test(ctx, t)
	first.Attempts = 1
	result := first
	for n := 2; n <= r.Retries+1 && result.Bad() && t.Broken == "" && ctx.Err() == nil; n++ {
		result = r.Test(ctx, t)
		result.Attempts = n
	}
	if result.Attempts > 1 && !result.Bad() {
		first.Outcome, first.Attempts = Flaky, result.Attempts
		return first
	}
	return result
}

// board is who runs what, and what came of it.
type board struct {
	*Runner
	tests []Test

	mu      sync.Mutex // guards what follows, and calls of Tell and Progress
	next    int
	results []*Result
	told    int
	bad     int
	stopped bool
	summary Summary
}

// take is the next test; ok is false when there is none, or none is to be begun.
func (b *board) take() (i int, ok bool) {
	b.mu.Lock()
	defer b.mu.Unlock()
	if b.stopped || b.next == len(b.tests) {
		return 0, false
	}
	b.next++
	return b.next - 1, true
}

func (b *board) put(i int, r Result) {
	b.mu.Lock()
	defer b.mu.Unlock()
	b.results[i] = &r
	b.summary.Count[r.Outcome]++
	if r.Bad() {
		b.bad++
	}
	b.stopped = b.stopped || b.FailFast && (r.Outcome == Fail || r.Outcome == Error)
	for ; b.told < len(b.tests) && b.results[b.told] != nil; b.told++ {
		b.Tell(*b.results[b.told])
	}
	if b.Progress != nil {
		b.Progress(b.summary.Total(), b.bad)
	}
}

// tellRest tells what is left when a run ended too early: there are gaps then.
func (b *board) tellRest() {
	for ; b.told < len(b.tests); b.told++ {
		if r := b.results[b.told]; r != nil {
			b.Tell(*r)
		}
	}
}
