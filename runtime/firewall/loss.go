package firewall

import (
	"fmt"
	"math"

	"github.com/google/nftables"
	"github.com/google/nftables/binaryutil"
	"github.com/google/nftables/expr"
)

// Loss drops a share of what a link sends, by chance, in a table of its own: what netem
// does where there is one.
type Loss struct {
	Table, Link string
	// Share is of 2³²-1.
	Share uint32
}

// Apply makes the table in the namespace that the calling thread is in, in the place of
// one that was there (before); a share of 0 takes it away.
func (l Loss) Apply(before bool) error {
	c, err := nftables.New()
	if err != nil {
		return err
	}
	table := &nftables.Table{Family: nftables.TableFamilyNetdev, Name: l.Table}
	if before {
		c.DelTable(table)
	}
	if l.Share > 0 {
		accept := nftables.ChainPolicyAccept
		c.AddTable(table)
		chain := c.AddChain(&nftables.Chain{Table: table, Name: "egress", Type: nftables.ChainTypeFilter, Hooknum: nftables.ChainHookEgress,
			Priority: nftables.ChainPriorityFilter, Policy: &accept, Device: l.Link})
		c.AddRule(&nftables.Rule{Table: table, Chain: chain, Exprs: []expr.Any{
			&expr.Numgen{Register: 1, Modulus: math.MaxUint32, Type: 1}, // NFT_NG_RANDOM
			&expr.Byteorder{SourceRegister: 1, DestRegister: 1, Op: expr.ByteorderHton, Len: 4, Size: 4},
			&expr.Cmp{Op: expr.CmpOpLt, Register: 1, Data: binaryutil.BigEndian.PutUint32(l.Share)},
			&expr.Counter{}, &expr.Verdict{Kind: expr.VerdictDrop},
		}})
	}
	return c.Flush()
}

// Words are the same in nft's words.
func (l Loss) Words(before bool) (words []string) {
	if before {
		words = append(words, "delete table netdev "+l.Table)
	}
	if l.Share > 0 {
		words = append(words, "add table netdev "+l.Table,
			fmt.Sprintf("add chain netdev %s egress { type filter hook egress device %q priority filter; policy accept; }", l.Table, l.Link),
			fmt.Sprintf("add rule netdev %s egress numgen random mod %d < %d counter drop", l.Table, uint32(math.MaxUint32), l.Share))
	}
	return words
}
