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
	"github.com/mdlayher/netlink"
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
	hooks = map[Hook]*nftables.ChainHook{Input: nftables.ChainHookInput, Forward: nftables.ChainHookForward, Output: nftables.ChainHookOutput,
		Prerouting: nftables.ChainHookPrerouting, Postrouting: nftables.ChainHookPostrouting}
	priorities = map[string]*nftables.ChainPriority{"filter": nftables.ChainPriorityFilter, "dstnat": nftables.ChainPriorityNATDest,
		"-100": nftables.ChainPriorityNATDest, "srcnat": nftables.ChainPriorityNATSource}
	table = &nftables.Table{Family: nftables.TableFamilyINet, Name: TableName}
)

func (c Chain) chain() *nftables.Chain {
	policy, kind := nftables.ChainPolicyAccept, nftables.ChainTypeFilter
	if c.Policy == "drop" {
		policy = nftables.ChainPolicyDrop
	}
	if c.NAT {
		kind = nftables.ChainTypeNAT
	}
	return &nftables.Chain{Table: table, Name: c.Name, Type: kind, Hooknum: hooks[c.Hook], Priority: priorities[c.Priority], Policy: &policy}
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
	c, err := nftables.New(nftables.WithSockOptions(roomy(len(ch.Rules))))
	if err != nil {
		return err
	}
	if ch.Create {
		c.CreateTable(table)
	}
	for _, chain := range ch.Chains {
		c.AddChain(chain.chain())
	}
	for _, r := range ch.Rules {
		if err := r.send(c); err != nil {
			return err
		}
	}
	return c.Flush()
}

// Counted is the rule as nft lists it, with its counter.
func (r *Compiled) Counted(f Found) string {
	return strings.TrimSpace(fmt.Sprintf("%s counter packets %d bytes %d %s", r.matches, f.Packets, f.Bytes, r.end))
}

// mostPerRule is about the most bytes that a rule takes in a message, and in the
// kernel's echo of it.
const mostPerRule = 2048

// roomy makes a socket's buffers large enough for a batch of so many rules, which is
// one message. Without CAP_NET_ADMIN on the machine net.core.wmem_max is the limit.
func roomy(rules int) nftables.SockOption {
	return func(conn *netlink.Conn) error {
		if rules < 64 { // the kernel's own buffers do
			return nil
		}
		return errors.Join(conn.SetWriteBuffer(rules*mostPerRule), conn.SetReadBuffer(rules*mostPerRule))
	}
}

// userdataTag is a type of a rule's user data that nft does not know, and skips.
const userdataTag userdata.Type = 0x4e

func (r *Compiled) send(c *nftables.Conn) error {
	sets := r.sets
	exprs := slices.Clone(r.exprs)
	for i, e := range exprs {
		l, ok := e.(*expr.Lookup)
		if !ok {
			continue
		}
		set := *sets[0].set
		set.Table = table
		if err := c.AddSet(&set, sets[0].elements); err != nil {
			return err
		}
		exprs[i] = &expr.Lookup{SourceRegister: l.SourceRegister, SetName: set.Name, SetID: set.ID}
		sets = sets[1:]
	}
	var data []byte
	if r.comment != "" {
		data = userdata.AppendString(data, userdata.TypeComment, r.comment)
	}
	data = userdata.Append(data, userdataTag, binary.BigEndian.AppendUint32(nil, r.tag))
	c.AddRule(&nftables.Rule{Table: table, Chain: &nftables.Chain{Name: r.Chain, Table: table}, Exprs: exprs, UserData: data})
	return nil
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
	c, err := nftables.New()
	if err != nil {
		return err
	}
	c.DelTable(table)
	return c.Flush()
}
