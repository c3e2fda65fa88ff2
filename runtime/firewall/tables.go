package firewall

import (
	"github.com/google/nftables"
	"golang.org/x/sys/unix"
)

// families are nft's words for NFPROTO_*.
var families = map[byte]string{unix.NFPROTO_INET: "inet", unix.NFPROTO_IPV4: "ip", unix.NFPROTO_IPV6: "ip6", unix.NFPROTO_ARP: "arp",
	unix.NFPROTO_NETDEV: "netdev", unix.NFPROTO_BRIDGE: "bridge"}

// Words are the family and the name, as nft has them.
func (t Table) Words() string { return families[t.Family] + " " + t.Name }

// FamilyName is nft's word for the family.
func (t Table) FamilyName() string { return families[t.Family] }

// Tables lists the tables of the namespace that the calling thread is in.
func Tables() ([]Table, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	list, err := c.ListTables()
	var tables []Table
	for _, t := range list {
		tables = append(tables, Table{byte(t.Family), t.Name})
	}
	return tables, err
}

// Counter is a counter with a name.
type Counter struct {
	Name           string
	Packets, Bytes uint64
}

// Counters lists the named counters of a table, in the kernel's order.
func (t Table) Counters() ([]Counter, error) {
	c, err := nftables.New()
	if err != nil {
		return nil, err
	}
	objects, err := c.GetObjects(&nftables.Table{Family: nftables.TableFamily(t.Family), Name: t.Name})
	var counters []Counter
	for _, o := range objects {
		if counter, ok := o.(*nftables.CounterObj); ok {
			counters = append(counters, Counter{counter.Name, counter.Packets, counter.Bytes})
		}
	}
	return counters, err
}
