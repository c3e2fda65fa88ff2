package lab

import (
	"context"
	"time"
)

// CableEnd is an end of a cable and what becomes of what leaves there.
type CableEnd struct {
	Link          *Link
	Delay, Jitter time.Duration
	Loss          float64 // a share of 1
	Rate          float64 // bits per second; 0 for any
	Queue         time.Duration
	// Fallback: where the kernel has no netem, nftables loses packets, if there is no delay.
	Fallback bool
}

// Shape gives the ends of cables their properties, all or none: netem for delay and
// loss, and tbf for the rate, below that where there are both.
func Shape(ctx context.Context, ends []CableEnd) (*Shaping, error) {
	made := &Shaping{}
	for i := range ends {
		s, err := ends[i].shape(ctx)
		if err != nil {
			return nil, made.abandon(ctx, err)
		}
		made.Join(s)
	}
	return made, nil
}

func (e *CableEnd) shape(ctx context.Context) (*Shaping, error) {
	if err := e.Link.check(); err != nil {
		return nil, err
	}
	links := []*Link{e.Link}
	netem := QdiscSpec{Kind: QdiscKindOf("netem"), Fallback: e.Fallback}
	for _, o := range []struct {
		name  string
		given any
	}{{"delay", e.Delay}, {"jitter", e.Jitter}, {"loss", e.Loss}} {
		if isOn(o.given) {
			netem.Options = append(netem.Options, Chosen{netem.Kind.Option(o.name), o.given})
		}
	}
	var tbf QdiscSpec
	if e.Rate > 0 {
		var err error
		if tbf, err = e.bucket(); err != nil {
			return nil, err
		}
	}
	switch {
	case netem.Options == nil && e.Rate == 0:
		return &Shaping{Links: links}, nil
	case netem.Options == nil:
		return SetQdisc(ctx, links, tbf)
	}
	made, err := SetQdisc(ctx, links, netem)
	if err != nil || e.Rate == 0 {
		return made, err
	}
	if made.Handle != "" { // or nftables loses packets, and the root is free
		tbf.Parent = made.Handle + "1" // netem's one class
	}
	behind, err := SetQdisc(ctx, links, tbf)
	if err != nil {
		return nil, made.abandon(ctx, err)
	}
	made.back = append(made.back, behind.back...)
	return made, nil
}

// bucketTime is how long the bucket lasts at the rate: a busy machine's timers may be
// late by as much without anything lost of the rate.
const bucketTime = 10 * time.Millisecond

// bucket is the tbf of the rate; its bucket has room for two frames, too.
func (e *CableEnd) bucket() (QdiscSpec, error) {
	info, err := e.Link.Info()
	if err != nil {
		return QdiscSpec{}, err
	}
	kind := QdiscKindOf("tbf")
	burst := max(int(e.Rate/8*bucketTime.Seconds()), 2*(info.MTU+ethernetHeader))
	return QdiscSpec{Kind: kind, Options: []Chosen{{kind.Option("rate"), e.Rate}, {kind.Option("burst"), burst}, {kind.Option("latency"), e.Queue}}}, nil
}
