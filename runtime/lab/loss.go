package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
	"nsscript/runtime/firewall"
)

// isLossAlone tells whether nothing but a loss, each packet's by itself, is asked for:
// that nftables can do, too.
func (s *QdiscSpec) isLossAlone() bool {
	return s.Kind.Name == "netem" && s.Parent == "" && len(s.Options) == 1 && s.Options[0].Name == "loss"
}

// fallBack is what nftables does in place of a netem that the kernel has not.
func (k *Link) fallBack(ctx context.Context, s QdiscSpec, refused error) (undo, error) {
	var e *Error
	if !errors.As(refused, &e) || e.Kind != KindMissing || s.Kind.Name != "netem" {
		return nil, refused
	}
	if !s.isLossAlone() {
		if s.Fallback {
			e.Hint = "nftables can lose packets, but not delay or change them; " + e.Hint
		}
		return nil, refused
	}
	if !s.Fallback {
		e.Hint = "with fallback=True nftables loses the packets; " + e.Hint
		return nil, refused
	}
	was := k.loss
	if err := k.lose(ctx, shareOf(s.Options[0].Given)); err != nil {
		return nil, err
	}
	return func(ctx context.Context) error { return k.lose(ctx, was) }, nil
}

// lose makes nftables drop a share of what the link sends.
func (k *Link) lose(ctx context.Context, share uint32) error {
	if err := k.check(); err != nil {
		return err
	}
	start := time.Now()
	l := firewall.Loss{Table: fmt.Sprintf("nsscript_loss_%d", k.index), Link: k.name, Share: share}
	before := k.loss > 0
	err := k.ns.do(func() error { return l.Apply(before) })
	var args []event.Arg
	for _, w := range l.Words(before) {
		args = append(args, arg("command", w))
	}
	if args != nil {
		k.ns.lab.emit(ctx, "nft", k.ns, start, err, args...)
	}
	if err != nil {
		for _, f := range [][2]string{{feature.Table, "netdev"}, {feature.Expression, "numgen"}} {
			if e := missing(err, f[0], f[1]); e != nil {
				return e
			}
		}
		return k.failed(err, "it needs the egress hook of nftables, Linux 5.16", "lose packets of %s", k)
	}
	k.loss = share
	return nil
}
