package lab

import (
	"context"
	"crypto/tls"
	"maps"
	"net/netip"
	"slices"
	"strconv"
	"time"

	"nsscript/runtime/event"
	"nsscript/runtime/probe"
)

// asking is what every probe does around its question: it waits for links to
// settle, enters the namespace while others may have the lab, and emits an event.
func (ns *Namespace) asking(ctx context.Context, op string, v6 bool, args []event.Arg, ask func(enter probe.Enter) error) error {
	return ns.askingHere(ctx, op, v6, args, func(enter probe.Enter) error { return aside(func() error { return ask(enter) }) })
}

// askingHere is asking for a probe that waits with its thread as long as answers are
// quick: in the script's own goroutine it needs no other one.
func (ns *Namespace) askingHere(ctx context.Context, op string, v6 bool, args []event.Arg, ask func(enter probe.Enter) error) error {
	if err := ns.check(); err != nil {
		return err
	}
	if v6 {
		ns.lab.SettleIPv6(ctx, nil)
	} else {
		ns.lab.Settle(ctx)
	}
	enter, leave, err := ns.open()
	if err != nil {
		return err
	}
	defer leave()
	start := time.Now()
	wait(ctx, func() { err = ask(enter) })
	ns.lab.emit(ctx, op, ns, start, err, args...)
	if err != nil {
		return probeError(ctx, err, op, ns)
	}
	return nil
}

// probeError is the error of what was no probe at all.
func probeError(ctx context.Context, err error, op string, ns *Namespace) error {
	if ctx.Err() != nil {
		return err
	}
	return kernelError(err, "", "%s%s", op, where(ns))
}

// TCP connects from the namespace and exchanges a few words; see [probe.TCP].
func (ns *Namespace) TCP(ctx context.Context, x probe.Exchange) (r probe.ExchangeResult, err error) {
	err = ns.asking(ctx, "tcp", x.To.Addr().Is6(), exchangeArgs(x), func(enter probe.Enter) (err error) {
		r, err = probe.TCP(ctx, enter, x)
		return err
	})
	return r, err
}

// UDP sends a datagram and waits for its answer; see [probe.UDP].
func (ns *Namespace) UDP(ctx context.Context, x probe.Exchange) (r probe.ExchangeResult, err error) {
	err = ns.asking(ctx, "udp", x.To.Addr().Is6(), exchangeArgs(x), func(enter probe.Enter) (err error) {
		r, err = probe.UDP(ctx, enter, x)
		return err
	})
	return r, err
}

func exchangeArgs(x probe.Exchange) []event.Arg {
	args := []event.Arg{arg("dst", x.To.Addr().String()), arg("port", strconv.Itoa(int(x.To.Port()))),
		arg("timeout", seconds(x.Timeout))}
	if x.Send != nil {
		args = append(args, arg("send", string(x.Send)))
	}
	if x.From.Addr().IsValid() {
		args = append(args, arg("src", x.From.Addr().String()))
	}
	if x.From.Port() != 0 {
		args = append(args, arg("sport", strconv.Itoa(int(x.From.Port()))))
	}
	return args
}

// seconds is a time as an event has it.
func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', -1, 64) }

// serve starts a server in the namespace. It ends with the lab.
func (ns *Namespace) serve(ctx context.Context, op string, at netip.AddrPort, start func(enter probe.Enter) (*probe.Server, error)) (*probe.Server, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	if at.Addr().Is6() {
		ns.lab.SettleIPv6(ctx, ns)
	}
	began := time.Now()
	s, err := start(ns.do)
	args := []event.Arg{arg("port", strconv.Itoa(int(at.Port())))}
	if at.Addr().IsValid() {
		args = append(args, arg("addr", at.Addr().String()))
	}
	ns.lab.emit(ctx, op, ns, began, err, args...)
	if err != nil {
		return nil, kernelError(err, "", "%s: listen on port %d%s", op, at.Port(), where(ns))
	}
	ns.lab.closers = append(ns.lab.closers, s.Stop)
	return s, nil
}

// ServeTCP answers TCP connections; see [probe.ServeTCP].
func (ns *Namespace) ServeTCP(ctx context.Context, at netip.AddrPort, talk probe.Talk) (*probe.Server, error) {
	return ns.serve(ctx, "tcp_server", at, func(enter probe.Enter) (*probe.Server, error) { return probe.ServeTCP(enter, at, talk) })
}

// ServeUDP answers datagrams; see [probe.ServeUDP].
func (ns *Namespace) ServeUDP(ctx context.Context, at netip.AddrPort, answer func(probe.Request) []byte) (*probe.Server, error) {
	return ns.serve(ctx, "udp_server", at, func(enter probe.Enter) (*probe.Server, error) { return probe.ServeUDP(enter, at, answer) })
}

// StopServer ends a server; the lab's end does that, too.
func (l *Lab) StopServer(ctx context.Context, s *probe.Server) error {
	wait(ctx, s.Close)
	if !slices.ContainsFunc(l.resolvers, func(r resolver) bool { return r.server == s }) {
		return nil
	}
	return l.resolveAll()
}

// HTTP asks a web server from the namespace; see [probe.HTTP]. Certificates are
// checked against the lab's own authority, unless the request says how.
func (ns *Namespace) HTTP(ctx context.Context, q probe.HTTPRequest) (r probe.HTTPResult, err error) {
	if q.TLS == nil {
		q.TLS = ns.lab.ca.Client()
	}
	args := []event.Arg{arg("method", q.Method), arg("url", q.URL), arg("timeout", seconds(q.Timeout))}
	for _, name := range slices.Sorted(maps.Keys(q.Header)) {
		for _, value := range q.Header[name] {
			args = append(args, arg("header", name+": "+value))
		}
	}
	if len(q.Body) > 0 {
		args = append(args, arg("body", string(q.Body)))
	}
	asking := ns.asking
	if q.Plain() {
		asking = ns.askingHere
	}
	err = asking(ctx, "http", q.To.Addr().Is6(), args, func(enter probe.Enter) (err error) {
		r, err = probe.HTTP(ctx, enter, q)
		return err
	})
	return r, err
}

// ServeHTTP answers web requests, over TLS with a certificate of the lab's own
// authority if secure; see [probe.ServeHTTP].
func (ns *Namespace) ServeHTTP(ctx context.Context, at netip.AddrPort, secure bool, answer func(probe.WebRequest) probe.WebAnswer) (*probe.Server, error) {
	var certificates *tls.Config
	if secure {
		ca, err := ns.lab.CA()
		if err != nil {
			return nil, err
		}
		certificates = ca.Server()
	}
	return ns.serve(ctx, "http_server", at, func(enter probe.Enter) (*probe.Server, error) {
		return probe.ServeHTTP(enter, at, certificates, answer)
	})
}

// CA is the lab's own certificate authority; the first who asks makes it.
func (l *Lab) CA() (*probe.CA, error) {
	if l.ca != nil {
		return l.ca, nil
	}
	ca, err := probe.NewCA()
	if err != nil {
		return nil, &Error{Op: "make a certificate authority", Err: err}
	}
	l.ca = ca
	return ca, nil
}

// DNS asks a name server from the namespace; see [probe.DNS].
func (ns *Namespace) DNS(ctx context.Context, q probe.DNSRequest) (r probe.DNSResult, err error) {
	args := []event.Arg{arg("name", q.Name), arg("type", q.Type), arg("server", q.To.Addr().String()),
		arg("port", strconv.Itoa(int(q.To.Port()))), arg("timeout", seconds(q.Timeout))}
	err = ns.asking(ctx, "dns", q.To.Addr().Is6(), args, func(enter probe.Enter) (err error) {
		r, err = probe.DNS(ctx, enter, q)
		return err
	})
	return r, err
}
