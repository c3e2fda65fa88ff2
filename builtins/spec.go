// Package builtins is the Starlark face of a lab: one file for each family of
// builtins, each builtin declared once as a [Spec].
package builtins

import (
	"fmt"
	"slices"
	"sort"
	"strings"
	"sync"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// Spec declares a builtin. Unpacking, `nsscript doc`, the reference page and
// the event of a call all read it.
type Spec struct {
	// Name is what scripts call it; a method of expect is "expect.eq".
	Name string
	// Family groups the reference page: "Links", "Addresses and routes" …
	Family string
	// Params are the parameters, required ones first.
	Params []Param
	// Returns says in a few words what comes back; empty for None.
	Returns string
	// Doc begins with a sentence that says what it does.
	Doc string
	// Like is the command that does the same, if there is one.
	Like string
	// Example is a script, run as a test.
	Example string
	// Fn does it.
	Fn func(c *Call) (starlark.Value, error)
}

// Param declares a parameter.
type Param struct {
	Name string
	Type *Type
	// Default is shown in the documentation; "" for None.
	Default  string
	Required bool
	// Variadic takes all remaining positional arguments.
	Variadic bool
	// Keywords takes all keyword arguments that no other parameter has, as they are
	// ([]starlark.Tuple).
	Keywords bool
	// KeywordOnly is not to be given by position.
	KeywordOnly bool
	Doc         string
}

// Type converts an argument, or says what was wanted.
type Type struct {
	// Name says what is wanted: "link", "address with prefix length" …
	Name string
	// Good is an example that a complaint shows.
	Good string
	// Range are the least and the greatest of the whole numbers that it takes; nil for
	// what is no number.
	Range *[2]int64
	// Convert returns the Go value, or an error that is a reason
	// ("300 is no byte of an IPv4 address"), or errType for a wrong type.
	Convert func(c *Call, v starlark.Value) (any, error)
}

func required(name string, t *Type, doc string) Param {
	return Param{Name: name, Type: t, Required: true, Doc: doc}
}

func optional(name string, t *Type, def, doc string) Param {
	return Param{Name: name, Type: t, Default: def, Doc: doc}
}

// keyword is an option that is given by its name only.
func keyword(name string, t *Type, def, doc string) Param {
	return Param{Name: name, Type: t, Default: def, KeywordOnly: true, Doc: doc}
}

// some are one argument or more.
func some(name string, t *Type, doc string) Param {
	return Param{Name: name, Type: t, Required: true, Variadic: true, Doc: doc}
}

func variadic(name string, t *Type, doc string) Param {
	return Param{Name: name, Type: t, Variadic: true, Doc: doc}
}

// family is some builtins that are declared together. Their names are there from
// the start; their Specs are made when one of them is called or asked for, since
// the time that this takes is most of what an empty script would need.
type family struct {
	names   []string
	specs   func() []*Spec
	methods bool // of values: no names by themselves
}

func newFamily(specs func() []*Spec, names ...string) *family {
	return &family{names: names, specs: sync.OnceValue(specs)}
}

// newMethods are the methods of a kind of values, "firewall.accept" …
func newMethods(specs func() []*Spec, kind string, names []string) *family {
	f := newFamily(specs)
	f.methods = true
	for _, n := range names {
		f.names = append(f.names, kind+"."+n)
	}
	return f
}

// spec is the Spec of one of the names.
func (f *family) spec(name string) *Spec {
	for _, s := range f.specs() {
		if s.Name == name {
			return s
		}
	}
	panic("no builtin " + name) // TestFamilies
}

// registry lists every builtin; a family adds its own here, in the order of its
// Specs. It is made when it is asked for: the process that only starts the private
// lab has no use for it.
var registry = sync.OnceValue(func() []*family {
	all := []*family{
		newFamily(namespaceSpecs, "netns", "namespaces", "delete", "ready"),
		newFamily(linkSpecs, "veth", "move", "up", "down", "rename", "set_link"),
		newFamily(bridgeSpecs, "bridge_port", "bridge_vlan", "fdb", "mdb"),
		newFamily(bridgeVLANSpecs, "bridge_vlan_global", "vni"),
		newFamily(wgSpecs, "wireguard", "wg_key", "wg_peer", "wg_set"),
		newFamily(fouSpecs, "fou"),
		newFamily(macsecSpecs, "macsec", "macsec_sa", "macsec_rx", "macsec_set"),
		newFamily(tunSpecs, "tap", "tun"),
		newFamily(addrSpecs, "addr"),
		newFamily(maddrSpecs, "maddr"),
		newFamily(routeSpecs, "route", "hop", "routes", "route_get"),
		newFamily(neighborSpecs, "neighbor"),
		newFamily(nexthopSpecs, "nexthop", "nexthop_buckets"),
		newFamily(ruleSpecs, "rule"),
		newFamily(sysctlSpecs, "sysctl", "flush"),
		newFamily(stateSpecs, "state", "diff"),
		newFamily(firewallSpecs, "firewall"),
		newMethods(firewallMethodSpecs, "firewall", firewallMethods),
		newFamily(conntrackSpecs, "conntrack_on"),
		newFamily(nftSpecs, "nft"),
		newFamily(shapeSpecs, "shape"),
		newFamily(tcSpecs, "tc.qdisc", "tc.class_", "tc.filter"),
		newFamily(faultSpecs, "partition", "blackhole", "flap", "during", "schedule"),
		newFamily(execSpecs, "exec_in", "spawn", "which"),
		newFamily(worldSpecs, "write_file"),
		newFamily(pingSpecs, "ping"),
		newFamily(radvdSpecs, "radvd"),
		newFamily(pingAllSpecs, "ping_all"),
		newFamily(throughputSpecs, "throughput"),
		newFamily(traceSpecs, "traceroute", "arping"),
		newFamily(exchangeSpecs, "tcp", "udp"),
		newFamily(serverSpecs, "tcp_server", "udp_server"),
		newFamily(httpSpecs, "http", "http_server"),
		newFamily(dnsSpecs, "dns", "dns_server"),
		newFamily(dhcpSpecs, "dhcp_client", "dhcp_server"),
		newFamily(captureSpecs, "capture"),
		newFamily(pktSpecs, "pkt.ether", "pkt.vlan", "pkt.mpls", "pkt.arp", "pkt.ip", "pkt.ipv6", "pkt.srh", "pkt.icmp", "pkt.icmpv6",
			"pkt.udp", "pkt.tcp", "pkt.vxlan", "pkt.gre", "pkt.geneve", "pkt.payload"),
		newFamily(sendSpecs, "send"),
		newFamily(checkSpecs("expect"), "expect", "expect.eq", "expect.ne", "expect.lt", "expect.le", "expect.gt", "expect.ge",
			"expect.contains", "expect.matches", "expect.fails", "expect.reachable", "expect.unreachable", "expect.eventually", "expect.always",
			"expect.packet", "expect.no_packet", "expect.path"),
		newFamily(checkSpecs("require"), "require", "require.eq", "require.ne", "require.lt", "require.le", "require.gt", "require.ge",
			"require.contains", "require.matches", "require.fails", "require.reachable", "require.unreachable", "require.eventually", "require.always",
			"require.packet", "require.no_packet", "require.path"),
		newFamily(flowSpecs, "catch", "fail", "skip", "sleep", "now", "param", "parallel"),
		newFamily(valueSpecs, "print", "table", "round", "struct"),
		newFamily(fileSpecs, "read_file", "env", "load"),
		newFamily(ipaddressSpecs, "ip_address", "ip_network", "ip_interface"),
		newFamily(reSpecs, "re.search", "re.findall", "re.sub", "re.split"),
	}
	for i := range kindPages {
		all = append(all, newFamily(kindPages[i].specs, kindPages[i].kind))
	}
	for i := range qdiscPages {
		all = append(all, newFamily(qdiscPages[i].specs, qdiscPages[i].kind))
	}
	return all
})

// Specs returns every builtin in the order of the reference page.
func Specs() []*Spec {
	var all []*Spec
	for _, f := range registry() {
		all = append(all, f.specs()...)
	}
	first := map[string]int{} // where a part of the page begins
	for i, s := range all {
		if _, known := first[s.Family]; !known {
			first[s.Family] = i
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return first[all[i].Family] < first[all[j].Family] })
	return all
}

// Find returns the Spec of a name, or nil and the name that was probably meant.
func Find(name string) (*Spec, string) {
	var names []string
	for _, f := range registry() {
		if slices.Contains(f.names, name) {
			return f.spec(name), ""
		}
		names = append(names, f.names...)
	}
	return nil, lab.Nearest(name, names)
}

// Signature is the call as the documentation shows it.
func (s *Spec) Signature() string {
	var parts []string
	star := false
	for _, p := range s.Params {
		text := p.Name
		switch {
		case p.Variadic:
			text, star = "*"+p.Name, true
		case p.Keywords:
			text = "**" + p.Name
		case p.KeywordOnly && !star:
			parts, star = append(parts, "*"), true
			fallthrough
		case !p.Required:
			def := p.Default
			if def == "" {
				def = "None"
			}
			text += "=" + def
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("%s(%s)", s.Name, strings.Join(parts, ", "))
}
