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
	summary := Summary{Count: map[Outcome]int{}}
	results := make([]*Result, len(tests))
	var mu sync.Mutex // guards what follows, and calls of Tell and Progress
	next, told, ended, bad := 0, 0, 0, 0
	take := func() int {
		mu.Lock()
		defer mu.Unlock()
		next++
		return next - 1
	}
	done := func(i int, result Result) {
		mu.Lock()
		defer mu.Unlock()
		results[i] = &result
		summary.Count[result.Outcome]++
		ended++
		if result.Bad() {
			bad++
		}
		for ; told < len(tests) && results[told] != nil; told++ {
			r.Tell(*results[told])
		}
		if r.Progress != nil {
			r.Progress(ended, bad)
		}
	}
	var workers sync.WaitGroup
	for range min(r.Jobs, len(tests)) {
		workers.Go(func() {
			for i := take(); i < len(tests) && ctx.Err() == nil; i = take() {
				result := r.Test(ctx, tests[i])
				if ctx.Err() == nil {
					done(i, result)
				}
			}
		})
	}
	workers.Wait()
	for ; told < len(tests); told++ { // after an end too early there are gaps
		if results[told] != nil {
			r.Tell(*results[told])
		}
	}
	summary.Took = time.Since(began)
	return summary
}
