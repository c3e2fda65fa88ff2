package lab

import (
	"context"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
	"nsscript/runtime/firewall"
)

// NATType masquerades what leaves by a link, with a behaviour of RFC 4787, by a table of
// its own. Where the behaviour lets others begin, a rule of the firewall lets that pass.
func (f *Firewall) NATType(ctx context.Context, n firewall.NATType) (*NftTable, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	ns := f.NS
	n.Table = ns.lab.fenceName("nat_type")
	var pass *FirewallRule
	if n.Filtering != firewall.AddressAndPortDependent {
		var err error
		pass, err = f.NewRule(firewall.Rule{Hook: firewall.Forward, IIf: n.OIf, Protocols: []string{"udp"}, Translated: true, Verdict: firewall.Verdict{Name: "accept"}})
		if err != nil {
			return nil, err
		}
	}
	batch, words := n.Create()
	start := time.Now()
	err := ns.do(batch.Apply)
	var args []event.Arg
	for _, w := range words {
		args = append(args, arg("command", w))
	}
	ns.lab.emit(ctx, "nft", ns, start, err, args...)
	for _, lacking := range []struct{ family, name string }{{feature.Chain, "nat"}, {feature.Expression, "masq"}, {feature.Expression, "ct"}} {
		if err != nil {
			if e := missing(err, lacking.family, lacking.name); e != nil {
				return nil, e
			}
		}
	}
	if err != nil {
		return nil, kernelError(err, "", "set type of NAT%s", where(ns))
	}
	table := &NftTable{NS: ns, Table: firewall.Table{Family: unix.NFPROTO_IPV4, Name: n.Table}}
	ns.lab.onUndo(table.Delete)
	if pass != nil {
		if err := f.Add(ctx, pass); err != nil {
			return nil, err
		}
	}
	return table, nil
}
