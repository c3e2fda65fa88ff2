package lab

import (
	"context"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/probe"
)

// Advertise starts to send router advertisements on the link (RFC 4861), until
// they are stopped or the lab ends. A MAC address that is left out is the link's.
func (k *Link) Advertise(ctx context.Context, a probe.Advertisement) (*probe.Advertiser, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	k.ns.lab.SettleIPv6(ctx, k.ns)
	info, err := k.Info()
	if err != nil {
		return nil, err
	}
	if a.MAC == nil {
		a.MAC = info.MAC
	}
	if !k.hasLinkLocal() {
		return nil, &Error{Op: "radvd on " + k.String() + where(k.ns) + ": it has no link-local address", Err: unix.EADDRNOTAVAIL,
			Hint: "set the link up first; advertisements are sent from its address in fe80::/64"}
	}
	start := time.Now()
	s, err := probe.Advertise(k.ns.do, k.Name(), a)
	if k.ns.lab.watched() {
		k.ns.lab.emit(ctx, "radvd", k.ns, start, err, advertised(k, a)...)
	}
	if err != nil {
		return nil, &Error{Op: "radvd on " + k.String() + where(k.ns), Err: err}
	}
	k.ns.lab.autoconf = true
	k.ns.lab.closers = append(k.ns.lab.closers, func() { _ = s.Stop() })
	return s, nil
}

func (k *Link) hasLinkLocal() bool {
	raw, err := k.ns.rawAddrs(unix.AF_INET6)
	if err != nil {
		return false
	}
	for _, a := range raw {
		if a.index == k.index && a.IP.IsLinkLocalUnicast() {
			return true
		}
	}
	return false
}

// advertised is what an event says, in the words of radvd.conf(5).
func advertised(k *Link, a probe.Advertisement) []event.Arg {
	args := []event.Arg{arg("dev", k.Name())}
	for _, p := range a.Prefixes {
		args = append(args, arg("prefix", p.Prefix.String()))
	}
	texts := func(key string, n int, text func(i int) string) {
		var list []string
		for i := range n {
			list = append(list, text(i))
		}
		if n > 0 {
			args = append(args, arg(key, strings.Join(list, " ")))
		}
	}
	texts("route", len(a.Routes), func(i int) string { return a.Routes[i].String() })
	texts("RDNSS", len(a.DNS), func(i int) string { return a.DNS[i].String() })
	texts("DNSSL", len(a.Search), func(i int) string { return a.Search[i] })
	return args
}

// StopAdvertising ends what Advertise began.
func (l *Lab) StopAdvertising(ctx context.Context, s *probe.Advertiser, dev string) error {
	start := time.Now()
	err := s.Stop()
	l.emit(ctx, "radvd stop", nil, start, err, arg("dev", dev))
	if err != nil {
		return &Error{Op: "radvd on " + dev, Err: err}
	}
	return nil
}
