package lab

import (
	"sync"

	"golang.org/x/sys/unix"
)

// kinds are the kinds of links that this package makes, in the order of the
// reference, each with the options of `ip link add type KIND` (ip-link(8);
// include/uapi/linux/if_link.h has the attributes). A kind is made when it is asked
// for: a lab has few of them.
var kinds = []kindEntry{
	{name: "veth", make: vethKind},
	{name: "bridge", make: bridgeKind},
	{name: "bond", make: bondKind},
	{name: "dummy", make: func() *Kind { return &Kind{Name: "dummy"} }},
	{name: "ifb", make: func() *Kind { return &Kind{Name: "ifb"} }},
	{name: "nlmon", make: func() *Kind { return &Kind{Name: "nlmon", NoMAC: true} }},
	{name: "vlan", make: vlanKind},
	{name: "macvlan", make: macvlanKind},
	{name: "ipvlan", make: ipvlanKind},
	{name: "macsec", make: macsecKind},
	{name: "vrf", make: vrfKind},
	{name: "vxlan", make: vxlanKind},
	{name: "geneve", make: geneveKind},
	{name: "gre", make: func() *Kind { return greKind("gre", false, false, false) }},
	{name: "gretap", make: func() *Kind { return greKind("gretap", false, true, false) }},
	{name: "erspan", make: func() *Kind { return greKind("erspan", false, true, true) }},
	{name: "ip6gre", make: func() *Kind { return greKind("ip6gre", true, false, false) }},
	{name: "ip6gretap", make: func() *Kind { return greKind("ip6gretap", true, true, false) }},
	{name: "ip6erspan", make: func() *Kind { return greKind("ip6erspan", true, true, true) }},
	{name: "ipip", make: ipipKind},
	{name: "sit", make: sitKind},
	{name: "ip6tnl", make: ip6tnlKind},
	{name: "vti", make: func() *Kind { return vtiKind("vti", 4) }},
	{name: "vti6", make: func() *Kind { return vtiKind("vti6", 6) }},
	{name: "xfrm", make: xfrmKind},
	{name: "tun", make: tunKind},
	{name: "wireguard", make: func() *Kind { return &Kind{Name: "wireguard", NoMAC: true, carrier: ofRequest} }},
}

type kindEntry struct {
	name string
	make func() *Kind
	once sync.Once
	kind *Kind
}

// KindOf finds a kind by its name; nil when this package makes none of it.
func KindOf(name string) *Kind {
	for i := range kinds {
		if e := &kinds[i]; e.name == name {
			e.once.Do(func() { e.kind = e.make() })
			return e.kind
		}
	}
	return nil
}

func vethKind() *Kind {
	return &Kind{Name: "veth", prefix: "eth"}
}

func vrfKind() *Kind {
	return &Kind{Name: "vrf", Options: []*Option{
		{Name: "table", Doc: "the routing table of its ports", Required: true, attr: unix.IFLA_VRF_TABLE, Value: Number{Size: 4, Min: 1, Max: 1<<32 - 1}},
	}}
}
