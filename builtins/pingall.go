package builtins

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// pair is who pings whom.
type pair struct {
	from *lab.Namespace
	to   Address
}

// tPair is a namespace, or a namespace and whom it pings.
var tPair = &Type{Name: "a namespace, or a pair of a namespace and an address", Good: "(blue, \"10.1.1.1\")", Convert: func(c *Call, v starlark.Value) (any, error) {
	tuple, ok := v.(starlark.Tuple)
	if !ok {
		ns, err := tNetns.Convert(c, v)
		if err != nil {
			return nil, err
		}
		return pair{from: ns.(*lab.Namespace)}, nil
	}
	if len(tuple) != 2 {
		return nil, fmt.Errorf("a pair has two items, not %d", len(tuple))
	}
	from, err := tNetnsRef.Convert(c, tuple[0])
	if err != nil {
		return nil, err
	}
	to, err := tHost.Convert(c, tuple[1])
	if err != nil {
		return nil, err
	}
	return pair{from.(*lab.Namespace), to.(Address)}, nil
}}

func pingAllSpecs() []*Spec {
	return []*Spec{{
		Name: "ping_all", Family: familyProbes, Returns: "ping_all: matrix lost total ok", Like: "pingall (Mininet)",
		Doc: "Pings from each namespace of a list to each other one, or from who to whom a list of pairs says, all at once, a thousand at a time. " +
			"matrix is a dict by source and destination with the result of each ping(), lost counts those without an answer. It prints as a table.",
		Params: []Param{
			required("targets", listOf(tPair, "a list of namespaces, or of pairs of a namespace and an address"), "who pings whom"),
			keyword("timeout", tDuration, "\"1s\"", "for each reply"), keyword("count", tCount, "1", "how many requests each"),
			keyword("interval", tDuration, "\"1s\"", "from one request to the next; 0 for no pause"),
			keyword("family", tFamily, "", "4 or 6, for namespaces"),
		},
		Example: "load(\"@topo\", \"star\")\nnet = star(3)\nr = ping_all(net.hosts)\nprint(r)\nexpect.eq((r.ok, r.lost, r.total), (True, 0, 6))\n" +
			"a, b = net.hosts[0], net.hosts[1]\nexpect(r.matrix[a.name][b.name].ok)\nexpect.eq(ping_all([(a, b), (b, \"192.0.2.1\")]).lost, 1)",
		Fn: pingAll,
	}}
}

func pingAll(c *Call) (starlark.Value, error) {
	pairs, err := meshed(get[[]any](c, "targets", nil))
	if err != nil {
		return nil, err
	}
	family := get(c, "family", 0)
	choose := lab.AddressesOf(family)
	list := make([]lab.Pinging, len(pairs))
	for i, p := range pairs {
		var dst netip.Addr
		if p.to.ns != nil && p.to.link == nil {
			dst, err = choose.For(p.to.ns, p.from)
		} else {
			dst, err = c.destination(p.to, p.from, family)
		}
		if err != nil {
			return nil, err
		}
		if err := c.needsLink(dst, "say %s%%eth0"); err != nil {
			return nil, err
		}
		list[i] = lab.Pinging{From: p.from, Request: probe.PingRequest{Dst: dst, Count: get(c, "count", 1),
			Timeout: c.span("timeout"), Interval: c.span("interval")}}
	}
	results, err := c.Env.Lab.PingAll(c.Ctx, list)
	if err != nil {
		return nil, err
	}
	return c.Env.pingedAll(pairs, results)
}

// meshed are the pairs of a list: of namespaces each with each other.
func meshed(list []any) ([]pair, error) {
	var pairs []pair
	alone := 0
	for _, x := range list {
		if !x.(pair).to.IsValid() {
			alone++
		}
	}
	if alone != 0 && alone != len(list) {
		return nil, lab.Usage("a namespace alone pings all others", "ping_all: targets are namespaces, or pairs, not both")
	}
	for _, x := range list {
		if alone == 0 {
			pairs = append(pairs, x.(pair))
			continue
		}
		for _, y := range list {
			if x.(pair).from != y.(pair).from {
				pairs = append(pairs, pair{x.(pair).from, Address{ns: y.(pair).from}})
			}
		}
	}
	if len(pairs) == 0 {
		return nil, lab.Usage("", "ping_all: there is nobody to ping")
	}
	return pairs, nil
}

// pingedAll is the result as a value.
func (env *Env) pingedAll(pairs []pair, results []probe.PingResult) (*Record, error) {
	matrix := starlark.NewDict(len(pairs))
	lost := 0
	for i, r := range results {
		if r.Received == 0 {
			lost++
		}
		from := starlark.String(pairs[i].from.String())
		row, found, err := matrix.Get(from)
		if err != nil {
			return nil, err
		}
		if !found {
			row = starlark.NewDict(1)
			if err := matrix.SetKey(from, row); err != nil {
				return nil, err
			}
		}
		if err := row.(*starlark.Dict).SetKey(starlark.String(pairs[i].to.String()), env.pinged(r)); err != nil {
			return nil, err
		}
	}
	rec := record("ping_all", pingAllText(pairs, results, lost), nil, field{"matrix", matrix},
		field{"lost", starlark.MakeInt(lost)}, field{"total", starlark.MakeInt(len(pairs))}, field{"ok", starlark.Bool(lost == 0)})
	rec.truth = lost == 0
	return rec, nil
}

// Limits of what ping_all prints.
const (
	mostColumns = 20
	mostLost    = 20
)

// pingAllText is a table of round-trip times, if there is room for it, and what
// became of the pings that were lost.
func pingAllText(pairs []pair, results []probe.PingResult, lost int) string {
	var sources, destinations []string
	cells := map[[2]string]string{}
	seen := map[string]bool{}
	for i, p := range pairs {
		from, to := p.from.String(), p.to.String()
		if !seen["from "+from] {
			sources = append(sources, from)
		}
		if !seen["to "+to] {
			destinations = append(destinations, to)
		}
		seen["from "+from], seen["to "+to] = true, true
		cells[[2]string{from, to}] = "lost"
		if results[i].Received > 0 {
			cells[[2]string{from, to}] = fmt.Sprintf("%.3f ms", results[i].Avg().Seconds()*1000)
		}
	}
	place := func(name string) int { // columns are in the order of the rows
		if i := slices.Index(sources, name); i >= 0 {
			return i
		}
		return len(sources)
	}
	slices.SortStableFunc(destinations, func(a, b string) int { return place(a) - place(b) })
	var parts []string
	if len(destinations) <= mostColumns {
		var rows [][]string
		for _, from := range sources {
			row := []string{from}
			for _, to := range destinations {
				if cell := cells[[2]string{from, to}]; cell != "" {
					row = append(row, cell)
				} else {
					row = append(row, "-")
				}
			}
			rows = append(rows, row)
		}
		parts = append(parts, Table(append([]string{""}, destinations...), rows))
	}
	parts = append(parts, fmt.Sprintf("%d of %d lost", lost, len(pairs)))
	shown := 0
	for i, r := range results {
		if r.Received > 0 {
			continue
		}
		if shown++; shown > mostLost {
			parts = append(parts, fmt.Sprintf("… %d more", lost-mostLost))
			break
		}
		reason := ""
		if r.Err != nil {
			reason = ": " + r.Err.Error()
		}
		parts = append(parts, fmt.Sprintf("%s → %s%s", pairs[i].from, pairs[i].to, reason))
	}
	return strings.Join(parts, "\n")
}
