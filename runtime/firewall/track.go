package firewall

import "golang.org/x/sys/unix"

// TrackTable is the table that makes a namespace track connections.
const TrackTable = "nsscript_conntrack"

// TrackRule is the rule in it, in nft's words.
const TrackRule = "ct state new"

// Track makes the namespace track the connections of IPv4 and IPv6: it does while there
// is a rule that looks at them (nf_ct_netns_get of nft_ct_get_init). The rule is in a
// chain that no packet comes to, so that it costs none of them anything but the tracking.
func Track() *Batch {
	t := Table{unix.NFPROTO_INET, TrackTable}
	c := &compiler{}
	_ = (&Rule{States: []string{"new"}}).connection(c) // TrackRule
	b := &Batch{}
	b.Create(t, false)
	b.Chain(t, BaseChain{Name: "track"})
	b.Rule(t, "track", c.exprs, nil)
	return b
}

// Untrack takes back what Track did.
func Untrack() *Batch {
	b := &Batch{}
	b.Delete(Table{unix.NFPROTO_INET, TrackTable})
	return b
}
