package lab

import (
	"context"
	"time"

	"nsscript/runtime/probe"
)

// Ping sends ICMP echo requests from the namespace; no program is needed. That
// nobody answers is a result and not an error.
func (ns *Namespace) Ping(ctx context.Context, r probe.PingRequest) (probe.PingResult, error) {
	if err := ns.check(); err != nil {
		return probe.PingResult{}, err
	}
	if r.Dst.Is6() {
		ns.lab.SettleIPv6(ctx, nil)
	} else {
		ns.lab.Settle(ctx)
	}
	start := time.Now()
	result, err := probe.Ping(ctx, ns.do, r)
	if ns.lab.watched() {
		ns.lab.emit(ctx, "ping", ns, start, err, arg("dst", r.Dst.String()))
	}
	return result, err
}
