package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/google/nftables"
	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// TableName is the table of family inet that all rules are in.
const TableName = "nsscript"

// Chain is a base chain of the table.
type Chain struct {
	Name     string
	Hook     Hook
	NAT      bool
	Priority string // in nft's words
	Policy   string // accept or drop
}

// Chains are all that the table can have, in nft's order of priorities.
var Chains = []Chain{
	{Name: "input", Hook: Input, Priority: "filter"}, {Name: "forward", Hook: Forward, Priority: "filter"}, {Name: "output", Hook: Output, Priority: "filter"},
	{Name: "prerouting", Hook: Prerouting, NAT: true, Priority: "dstnat"}, {Name: "nat_output", Hook: Output, NAT: true, Priority: "-100"},
	{Name: "postrouting", Hook: Postrouting, NAT: true, Priority: "srcnat"},
}

// ChainOf is the chain of that name.
func ChainOf(name string) Chain {
	return Chains[slices.IndexFunc(Chains, func(c Chain) bool { return c.Name == name })]
}

// Spec is the chain in nft's words.
func (c Chain) Spec() string {
	kind := "filter"
	if c.NAT {
		kind = "nat"
	}
	return "{ type " + kind + " hook " + string(c.Hook) + " priority " + c.Priority + "; policy " + c.Policy + "; }"
}

var (
	hooks = map[Hook]uint32{Prerouting: unix.NF_INET_PRE_ROUTING, Input: unix.NF_INET_LOCAL_IN, Forward: unix.NF_INET_FORWARD,
		Output: unix.NF_INET_LOCAL_OUT, Postrouting: unix.NF_INET_POST_ROUTING}
	priorities = map[string]int32{"filter": 0, "dstnat": -100, "-100": -100, "srcnat": 100} // enum nf_ip_hook_priorities
	ours       = Table{unix.NFPROTO_INET, TableName}
	table      = &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
)

func (c Chain) base() BaseChain {
	kind := "filter"
	if c.NAT {
		kind = "nat"
	}
	return BaseChain{Name: c.Name, Type: kind, Hook: hooks[c.Hook], Priority: priorities[c.Priority], Drop: c.Policy == "drop"}
}

// Change is what is to become so, all of it or nothing: nf_tables applies a batch as
// one transaction.
type Change struct {
	Create bool    // make the table, which must not be there
	Chains []Chain // make them, or change their policies
	Rules  []*Compiled
}

// Apply makes the change in the namespace that the calling thread is in.
func (ch Change) Apply() error {
	b := &Batch{}
	if ch.Create {
		b.Create(ours, false)
	}
	for _, chain := range ch.Chains {
		b.Chain(ours, chain.base())
	}
	for _, r := range ch.Rules {
		r.add(b)
	}
	return b.Apply()
}

// Counted is the rule as nft lists it, with its counter.
func (r *Compiled) Counted(f Found) string {
	return strings.TrimSpace(fmt.Sprintf("%s counter packets %d bytes %d %s", r.matches, f.Packets, f.Bytes, r.end))
}

// userdataTag is a type of a rule's user data that nft does not know, and skips.
const userdataTag userdata.Type = 0x4e

// add appends the rule to a batch, behind its sets.
func (r *Compiled) add(b *Batch) {
	sets, exprs := r.sets, r.exprs
	if len(sets) > 0 {
		exprs = slices.Clone(exprs)
	}
	for i, e := range exprs {
		if l, ok := e.(*expr.Lookup); ok {
			name, id := b.Set(ours, sets[0])
			exprs[i] = &expr.Lookup{SourceRegister: l.SourceRegister, SetName: name, SetID: id}
			sets = sets[1:]
		}
	}
	var data []byte
	if r.comment != "" {
		data = userdata.AppendString(data, userdata.TypeComment, r.comment)
	}
	b.Rule(ours, r.Chain, exprs, userdata.Append(data, userdataTag, binary.BigEndian.AppendUint32(nil, r.tag)))
}

// Found is a rule as the kernel has it.
type Found struct {
	Handle         uint64
	Packets, Bytes uint64
}

// Rules are the rules of a chain in the namespace that the calling thread is in, by
// their tags.
func Rules(chain string) (map[uint32]Found, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	rules, err := c.GetRules(table, &nftables.Chain{Name: chain})
	if err != nil {
		return nil, err
	}
	found := map[uint32]Found{}
	for _, r := range rules {
		tag, ok := tagOf(r.UserData)
		if !ok {
			continue
		}
		f := Found{Handle: r.Handle}
		for _, e := range r.Exprs {
			if counter, ok := e.(*expr.Counter); ok {
				f.Packets, f.Bytes = counter.Packets, counter.Bytes
			}
		}
		found[tag] = f
	}
	return found, nil
}

func tagOf(data []byte) (tag uint32, ok bool) {
	for len(data) >= 2 && len(data) >= 2+int(data[1]) {
		kind, value := userdata.Type(data[0]), data[2:2+data[1]]
		if kind == userdataTag && len(value) == 4 {
			return binary.BigEndian.Uint32(value), true
		}
		data = data[2+data[1]:]
	}
	return 0, false
}

// ErrGone says that the kernel has no such rule any more.
var ErrGone = errors.New("the kernel has no such rule any more")

// DeleteRule deletes the rule with a tag, and returns the handle that it had.
func DeleteRule(chain string, tag uint32) (handle uint64, err error) {
	found, err := Rules(chain)
	if err != nil {
		return 0, err
	}
	f, ok := found[tag]
	if !ok {
		return 0, ErrGone
	}
	c, err := nftables.New()
	if err != nil {
		return 0, err
	}
	if err := c.DelRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: chain}, Handle: f.Handle}); err != nil {
		return 0, err
	}
	return f.Handle, c.Flush()
}

// DeleteTable deletes the table with all that is in it.
func DeleteTable() error {
	b := &Batch{}
	b.Delete(ours)
	return b.Apply()
}
