package probe

import (
	"context"
	"errors"
	"sync"
)

// Pinging is one ping of [PingAll].
type Pinging struct {
	Enter   Enter
	Request PingRequest
}

// atOnce is how many pings of PingAll are under way at most; each has a socket.
const atOnce = 1000

// PingAll pings from many namespaces at once, a thousand at a time: all requests
// are sent before any reply is waited for. The results are in the order of the
// list. The error is like that of [Ping], for the first that is no ping at all.
func PingAll(ctx context.Context, list []Pinging) ([]PingResult, error) {
	results := make([]PingResult, 0, len(list))
	for len(list) > 0 {
		n := min(len(list), atOnce)
		some, err := pingBatch(ctx, list[:n])
		if err != nil {
			return nil, err
		}
		results, list = append(results, some...), list[n:]
	}
	return results, nil
}

func pingBatch(ctx context.Context, list []Pinging) ([]PingResult, error) {
	pingers := make([]*pinger, 0, len(list))
	defer func() {
		for _, p := range pingers {
			p.sock.close()
		}
	}()
	for _, x := range list {
		p := newPinger(x.Request)
		if err := p.req.possible(ctx); err != nil {
			return nil, err
		}
		var err error
		if p.sock, err = openSocket(x.Enter, &p.req, false); err != nil {
			return nil, err
		}
		pingers = append(pingers, p)
		p.prepare()
		p.launch()
	}
	if err := finish(ctx, pingers); err != nil {
		return nil, err
	}
	results := make([]PingResult, len(list))
	for i, p := range pingers {
		p.explain(list[i].Enter)
		results[i] = p.res
	}
	return results, nil
}

// finish runs pings whose first request is on its way to their end. Most replies
// are there already; the others are waited for together.
func finish(ctx context.Context, pingers []*pinger) error {
	var wg sync.WaitGroup
	errs := make([]error, len(pingers))
	for i, p := range pingers {
		if p.replies(); p.done() {
			continue
		}
		next := p.last.Add(p.req.Interval)
		wg.Go(func() { errs[i] = p.run(ctx, next) })
	}
	wg.Wait()
	return errors.Join(errs...)
}
