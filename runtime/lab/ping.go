package lab

import (
	"context"
	"slices"
	"strconv"
	"time"

	"nsscript/runtime/event"
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
	result, err := ns.sendPing(ctx, r)
	if ns.lab.watched() {
		ns.lab.emit(ctx, "ping", ns, start, err, pingArgs(r)...)
	}
	return result, err
}

// sendPing pings by the socket that is kept for the namespace, if there may be one.
func (ns *Namespace) sendPing(ctx context.Context, r probe.PingRequest) (result probe.PingResult, err error) {
	socket := ns.lab.pings.take(ns, r.Dst.Unmap().Is6())
	if socket != nil {
		defer ns.lab.pings.give(socket)
		if socket.Open() {
			wait(ctx, func() { result, err = socket.Ping(ctx, socket.Enter, r) })
			return result, err
		}
	}
	enter, leave, err := ns.open()
	if err != nil {
		return result, err
	}
	defer leave()
	ping := probe.Ping
	if socket != nil {
		ping = socket.Ping
	}
	wait(ctx, func() { result, err = ping(ctx, enter, r) })
	return result, err
}

// Pinging is one ping of [Lab.PingAll].
type Pinging struct {
	From    *Namespace
	Request probe.PingRequest
}

// PingAll pings from many namespaces at once; see [probe.PingAll].
func (l *Lab) PingAll(ctx context.Context, list []Pinging) ([]probe.PingResult, error) {
	if slices.ContainsFunc(list, func(p Pinging) bool { return p.Request.Dst.Is6() }) {
		l.SettleIPv6(ctx, nil)
	} else {
		l.Settle(ctx)
	}
	enter := map[*Namespace]probe.Enter{}
	pings := make([]probe.Pinging, len(list))
	for i, p := range list {
		if err := p.From.check(); err != nil {
			return nil, err
		}
		if enter[p.From] == nil {
			in, leave, err := p.From.open()
			if err != nil {
				return nil, err
			}
			defer leave()
			enter[p.From] = in
		}
		pings[i] = probe.Pinging{Enter: enter[p.From], Request: p.Request}
	}
	start := time.Now()
	var results []probe.PingResult
	var err error
	wait(ctx, func() { results, err = probe.PingAll(ctx, pings) })
	if l.watched() {
		for _, p := range list {
			l.emit(ctx, "ping", p.From, start, err, pingArgs(p.Request)...)
		}
	}
	return results, err
}

// pingArgs are what differs from the defaults, times in seconds.
func pingArgs(r probe.PingRequest) []event.Arg {
	args := []event.Arg{arg("dst", r.Dst.String())}
	number := func(key string, n int) {
		if n != 0 {
			args = append(args, arg(key, strconv.Itoa(max(n, 0)))) // no payload is -1
		}
	}
	duration := func(key string, d time.Duration) {
		if d != 0 {
			args = append(args, arg(key, seconds(max(d, 0)))) // at once is below 0
		}
	}
	if !r.Any { // as many requests as it took
		number("count", r.Count)
		duration("interval", r.Interval)
	}
	number("size", r.Size)
	number("ttl", r.TTL)
	number("tos", r.TOS)
	duration("timeout", r.Timeout)
	if r.Src.IsValid() {
		args = append(args, arg("src", r.Src.String()))
	}
	if r.Dev != "" {
		args = append(args, arg("dev", r.Dev))
	}
	if r.DF {
		args = append(args, arg("df", ""))
	}
	return args
}
