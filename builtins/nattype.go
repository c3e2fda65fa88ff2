package builtins

import (
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/firewall"
	"nsscript/runtime/lab"
)

var tBehaviour = oneOf(firewall.Independent, firewall.AddressDependent, firewall.AddressAndPortDependent)

// natTypeSpec is firewall.nat_type; routed makes a lab with a firewall fw.
func natTypeSpec(routed string) *Spec {
	return &Spec{
		Name: "firewall.nat_type", Family: familyFirewall, Returns: "nft_table: ns family name counters", Like: "nft add table ip …",
		Doc: "Masquerades what leaves by a link over IPv4, and behaves for UDP as RFC 4787 says: a port inside is mapped to the same port outside whoever it sends to (\"endpoint_independent\"), " +
			"to another for each address (\"address_dependent\"), or for each address and port (\"address_and_port_dependent\"); and those may send to that port who are in the same sense known to the one inside. " +
			"A port is kept where it is free, except in the last case, where it is drawn. filtering= chooses who may send by itself: a usual home router is \"endpoint_independent\" with filtering=\"address_and_port_dependent\". " +
			"What may come in from outside passes the chain forward as well. It is a table of its own, which delete() takes.",
		Params: []Param{required("behaviour", tBehaviour, "of the mapping, and of the filter"), keyword("oif", tWord, "", "the link outside; has to be given"),
			keyword("filtering", tBehaviour, "", "who may send to a mapped port; as the mapping unless given"),
			keyword("timeout", tDuration, "\"5m\"", "how long a mapping lasts that nothing from inside renews")},
		Example: routed + "fw.nat_type(\"endpoint_independent\", oif=r[\"eth1\"])\nudp_server(b, 53, reply=lambda req: req.remote)\nudp_server(b, 54, reply=lambda req: req.remote)\n" +
			"expect.eq([udp(a, \"10.0.2.2:%d\" % p, send=\"x\", sport=4500).reply for p in (53, 54)], [\"10.0.2.1:4500\"] * 2)",
		Fn: func(c *Call) (starlark.Value, error) {
			oif, err := c.word("oif", c.self.fw.NS)
			if err != nil {
				return nil, err
			}
			if oif == "" {
				return nil, lab.Usage("a good one is oif=r[\"eth0\"]", "firewall.nat_type: oif= is missing")
			}
			timeout := get(c, "timeout", 5*time.Minute)
			if timeout < time.Second {
				return nil, lab.Usage("", "firewall.nat_type: timeout: %v is out of range: it is at least 1 s", timeout)
			}
			mapping := get(c, "behaviour", "")
			t, err := c.self.fw.NATType(c.Ctx, firewall.NATType{OIf: oif, Mapping: mapping, Filtering: get(c, "filtering", mapping), Timeout: timeout})
			if err != nil {
				return nil, err
			}
			return &NftTable{t, c.Env}, nil
		},
	}
}
