package builtins

import (
	"context"
	"fmt"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

func exchangeParams() []Param {
	return []Param{
		required("ns", tNetnsRef, "who asks"), required("to", tEndpoint, "whom: \"address:port\", \"name:port\", or (namespace or link, port)"),
		keyword("send", tText, "", "what to say"), keyword("timeout", tDuration, "\"2s\"", "for all of it"),
		keyword("src", tAddress, "", "the source address"), keyword("sport", tPort, "", "the source port"),
	}
}

func exchangeSpecs() []*Spec {
	return []*Spec{
		{
			Name: "tcp", Family: familyProbes, Returns: "tcp: ok reply error seconds local remote", Like: "nc -N ADDRESS PORT",
			Doc: "Connects and closes the connection again; with send=, says something, then that this was all, and reads until the other end closes, too. " +
				"That nobody answers is a result (ok is False, error says why: refused, no route, no ARP answer, unreachable and by whom) and not an error. " +
				"local and remote are \"address:port\".",
			Params: exchangeParams(),
			Example: "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
				"tcp_server(b, 7)\nr = tcp(a, (b, 7), send=\"hello\")\nexpect.eq((r.ok, r.reply, r.remote), (True, \"hello\", \"10.0.0.2:7\"))\n" +
				"expect.contains(tcp(a, \"10.0.0.2:8\").error, \"connection refused\")",
			Fn: func(c *Call) (starlark.Value, error) { return c.exchange((*lab.Namespace).TCP) },
		},
		{
			Name: "udp", Family: familyProbes, Returns: "udp: ok reply error seconds local remote", Like: "nc -u ADDRESS PORT",
			Doc: "Sends one datagram and waits for one that answers it. That nobody answers is a result (ok is False, error says why: " +
				"port unreachable and by whom, no route, no reply in time) and not an error.",
			Params: exchangeParams(),
			Example: "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
				"udp_server(b, 7)\nexpect.eq(udp(a, \"10.0.0.2:7\", send=\"hello\", sport=5000).reply, \"hello\")\n" +
				"expect.contains(udp(a, \"10.0.0.2:8\").error, \"port unreachable, says 10.0.0.2\")",
			Fn: func(c *Call) (starlark.Value, error) { return c.exchange((*lab.Namespace).UDP) },
		},
	}
}

// exchange is what tcp() and udp() do.
func (c *Call) exchange(ask func(*lab.Namespace, context.Context, probe.Exchange) (probe.ExchangeResult, error)) (starlark.Value, error) {
	ns := get[*lab.Namespace](c, "ns", nil)
	to, err := c.endpoint("to", ns)
	if lab.IsUnknownHost(err) {
		return exchanged(c.spec.Name, get(c, "to", endpoint{}).String(), probe.ExchangeResult{Err: probe.NoHost(err)}), nil
	}
	if err != nil {
		return nil, err
	}
	from, err := c.source(to.Addr())
	if err != nil {
		return nil, err
	}
	x := probe.Exchange{Dialing: probe.Dialing{To: to, From: from}, Timeout: c.remaining(2 * time.Second)}
	if c.Given("send") {
		x.Send = []byte(get(c, "send", ""))
	}
	r, err := ask(ns, c.Ctx, x)
	if err != nil {
		return nil, err
	}
	return exchanged(c.spec.Name, to.String(), r), nil
}

// exchanged is the result as a value.
func exchanged(kind, to string, r probe.ExchangeResult) *Record {
	reason, text := starlark.Value(starlark.None), fmt.Sprintf("%s %s: %d bytes in %.3f ms", kind, to, len(r.Reply), r.Took.Seconds()*1000)
	if r.Err != nil {
		reason, text = starlark.String(r.Err.Error()), fmt.Sprintf("%s %s: %v", kind, to, r.Err)
	}
	rec := record(kind, text, nil, field{"ok", starlark.Bool(r.Err == nil)}, field{"reply", starlark.String(r.Reply)}, field{"error", reason},
		field{"seconds", seconds(r.Took)}, field{"local", endpointText(r.Local)}, field{"remote", endpointText(r.Remote)})
	rec.truth = r.Err == nil
	return rec
}
