package builtins

import (
	"errors"
	"fmt"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
)

// NftTable is a table that nft() has loaded. It is live.
type NftTable struct {
	table *lab.NftTable
	env   *Env
}

func (t *NftTable) String() string { return t.table.String() }

// Type is what type() says.
func (t *NftTable) Type() string { return "nft_table" }

// Freeze does nothing.
func (t *NftTable) Freeze() {}

// Truth is True.
func (t *NftTable) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (t *NftTable) Hash() (uint32, error) { return starlark.String(t.String()).Hash() }

// CompareSameType: one table of a namespace, one value.
func (t *NftTable) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, *t.table == *y.(*NftTable).table, "nft_table")
}

// AttrNames lists the attributes.
func (t *NftTable) AttrNames() []string { return []string{"ns", "family", "name", "counters"} }

// Attr asks the kernel for the counters.
func (t *NftTable) Attr(name string) (starlark.Value, error) {
	switch name {
	case "ns":
		return t.env.namespace(t.table.NS), nil
	case "family":
		return starlark.String(t.table.Table.FamilyName()), nil
	case "name":
		return starlark.String(t.table.Table.Name), nil
	case "counters":
		list, err := t.table.Counters()
		if err != nil {
			return nil, err
		}
		counters := starlark.NewDict(len(list))
		for _, c := range list {
			r := record("counter", fmt.Sprintf("packets %d bytes %d", c.Packets, c.Bytes), nil,
				field{"packets", starlark.MakeUint64(c.Packets)}, field{"bytes", starlark.MakeUint64(c.Bytes)})
			if err := counters.SetKey(starlark.String(c.Name), r); err != nil {
				return nil, err
			}
		}
		return counters, nil
	}
	return nil, nil
}

// MarshalJSON is the table with its counters.
func (t *NftTable) MarshalJSON() ([]byte, error) { return marshalLive(t) }

func nftSpecs() []*Spec {
	return []*Spec{{
		Name: "nft", Family: familyFirewall, Returns: "list of nft_table: ns family name counters", Like: "nft -f FILE",
		Doc: "Loads a text in nft's own syntax by the program nft (package nftables): all of it or, where there is a mistake, nothing, and what was there before stays. " +
			"A mistake is told with its line in the script. It returns the tables that the text names; .counters is a dict of their named counters, each with packets and bytes. delete() takes a table. " +
			"The table of firewall() stays beside, unless the text flushes the ruleset; partitions stay even then.",
		Params: []Param{required("ns", tNetnsRef, "where"), required("text", tString, "what nft -f would read")},
		Example: twoHosts + "t = nft(b, '''\ntable inet mine {\n    counter pings {}\n    chain input {\n        type filter hook input priority 0;\n" +
			"        icmp type echo-request counter name pings accept\n    }\n}\n''')[0]\nping(a, b)\nexpect.eq(t.counters[\"pings\"].packets, 1)",
		Fn: func(c *Call) (starlark.Value, error) {
			tables, err := get[*lab.Namespace](c, "ns", nil).LoadNft(c.Ctx, get(c, "text", ""))
			var refused *lab.NftError
			if errors.As(err, &refused) {
				return nil, c.placed(refused)
			}
			if err != nil {
				return nil, err
			}
			var items []starlark.Value
			for _, t := range tables {
				items = append(items, &NftTable{t, c.Env})
			}
			return c.Env.lineRows(items), nil
		},
	}}
}

// placed is what nft complains of, at its places in the script where the text stands
// there, else by the text's own lines.
func (c *Call) placed(refused *lab.NftError) error {
	lines := strings.Split(get(c, "text", ""), "\n")
	at := c.Env.position(c.Thread)
	var parts []string
	for _, x := range refused.Complaints {
		place := fmt.Sprintf("line %d of the text", x.Line)
		if n := c.Env.lineOf(at.File, at.Line, lines, x.Line-1); n > 0 {
			place = fmt.Sprintf("%s:%d", at.File, n)
		}
		parts = append(parts, place+": "+x.Text+"\n"+x.Excerpt)
	}
	return &lab.Error{Kind: lab.KindCommand, Op: "nft: " + strings.Join(parts, "\n"), Hint: "nothing of it was loaded"}
}

// lineOf is the number of the line of a script's file where one of some lines of text
// stands, near a line of the call; 0 when there is none. The first and the last may have
// quotes and more beside them.
func (env *Env) lineOf(file string, near int, text []string, which int) int {
	if env.Lines == nil || which >= len(text) {
		return 0
	}
	source := env.Lines(file)
	best := 0
	for i := range source {
		if i < which || i-which+len(text) > len(source) {
			continue
		}
		same := true
		for j, line := range text {
			of := strings.TrimRight(source[i-which+j], "\r")
			same = same && (of == line || (j == 0 || j == len(text)-1) && strings.Contains(of, line))
		}
		if n := i + 1; same && (best == 0 || abs(n-near) < abs(best-near)) {
			best = n
		}
	}
	return best
}

func abs(n int) int { return max(n, -n) }
