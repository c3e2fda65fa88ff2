package lab

import (
	"context"
	"fmt"
	"net/netip"
	"strconv"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/probe"
)

// Throughput measures what goes through from the namespace to a server; see
// [probe.Throughput].
func (ns *Namespace) Throughput(ctx context.Context, server *Namespace, q probe.ThroughputRequest) (r probe.ThroughputResult, err error) {
	if err := server.check(); err != nil {
		return r, err
	}
	there, leave, err := server.open()
	if err != nil {
		return r, err
	}
	defer leave()
	args := []event.Arg{arg("dst", q.To.String()), arg("seconds", seconds(q.For)), arg("streams", strconv.Itoa(q.Streams))}
	if q.UDP {
		args = append(args, arg("udp", ""))
	}
	if q.Rate > 0 {
		args = append(args, arg("rate", strconv.FormatFloat(q.Rate, 'f', -1, 64)))
	}
	err = ns.asking(ctx, "throughput", q.To.Is6(), args, func(here probe.Enter) (err error) {
		r, err = probe.Throughput(ctx, here, there, q)
		return err
	})
	return r, err
}

// Traceroute finds the way to an address; see [probe.Traceroute].
func (ns *Namespace) Traceroute(ctx context.Context, q probe.TraceRequest) (r probe.TraceResult, err error) {
	args := []event.Arg{arg("dst", q.Dst.String()), arg("proto", q.Proto), arg("max_ttl", strconv.Itoa(q.MaxTTL)),
		arg("queries", strconv.Itoa(q.Queries)), arg("timeout", seconds(q.Timeout))}
	if q.Proto != "icmp" {
		args = append(args, arg("port", strconv.Itoa(q.Port)))
	}
	if q.Src.IsValid() {
		args = append(args, arg("src", q.Src.String()))
	}
	err = ns.asking(ctx, "traceroute", q.Dst.Is6(), args, func(enter probe.Enter) (err error) {
		r, err = probe.Traceroute(ctx, enter, q)
		return err
	})
	return r, err
}

// ARPing asks who has an address on a link; see [probe.ARP].
func (k *Link) ARPing(ctx context.Context, q probe.ARPRequest) (r probe.ARPResult, err error) {
	info, err := k.Info()
	if err != nil {
		return r, err
	}
	if len(info.MAC) != 6 {
		return r, Usage("", "%s has no MAC address, so that ARP is not for it", k)
	}
	if !info.Up() {
		return r, Usage(fmt.Sprintf("up(%s)", k.name), "%s is down", k)
	}
	q.Index, q.MAC = k.index, info.MAC
	args := []event.Arg{arg("dev", k.name), arg("dst", q.Dst.String()), arg("count", strconv.Itoa(q.Count)), arg("timeout", seconds(q.Timeout))}
	if q.Gratuitous {
		args = append(args, arg("gratuitous", ""))
	}
	if q.Src.IsValid() {
		args = append(args, arg("src", q.Src.String()))
	}
	err = k.ns.asking(ctx, "arping", false, args, func(enter probe.Enter) (err error) {
		r, err = probe.ARP(ctx, enter, q)
		return err
	})
	return r, err
}

// FirstIPv4 is the first IPv4 address of the link; invalid when it has none.
func (k *Link) FirstIPv4() (netip.Addr, error) {
	raw, err := k.ns.rawAddrs(unix.AF_INET)
	if err != nil {
		return netip.Addr{}, kernelError(err, "", "list addresses%s", where(k.ns))
	}
	for _, a := range raw {
		if a.index == k.index {
			return a.IP, nil
		}
	}
	return netip.Addr{}, nil
}

// Owners are the namespaces of the lab by their addresses.
func (l *Lab) Owners() (map[netip.Addr]*Namespace, error) {
	owners := map[netip.Addr]*Namespace{}
	for _, ns := range l.all() {
		if ns.gone != "" {
			continue
		}
		raw, err := ns.rawAddrs(unix.AF_UNSPEC)
		if err != nil {
			return nil, kernelError(err, "", "list addresses%s", where(ns))
		}
		for _, a := range raw {
			if !a.IP.IsLoopback() && !a.IP.IsLinkLocalUnicast() {
				owners[a.IP] = ns
			}
		}
	}
	return owners, nil
}
