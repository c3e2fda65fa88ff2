// Package feature knows what a kernel may have or lack of what labs use: each
// feature's name, the option that builds it in, the module that brings it, and a
// probe that asks the kernel, in a throwaway network namespace.
//
// A probe of what is a module loads that module, for the whole machine. So
// [Probe] first reads which modules there are, and asks the kernel only for what
// is in it already.
package feature

import (
	"fmt"
	"os/exec"
)

// Families of features.
const (
	Link       = "link"       // a kind of link, `ip link add type`
	Qdisc      = "qdisc"      // a queueing discipline, `tc qdisc`
	Filter     = "filter"     // a classifier, `tc filter`
	Match      = "match"      // an extended match, `tc filter … basic match`
	Action     = "action"     // `tc actions`
	Table      = "nft family" // a family of nft tables
	Chain      = "nft chain"  // a type of nft chains that is not filter
	Expression = "nft expr"   // what rules of nft are made of
	Conntrack  = "conntrack"
	Bridge     = "bridge" // what a bridge can do
	Routing    = "routing"
	Encap      = "encap" // of routes, `ip route … encap`
	IPsec      = "ipsec"
	Socket     = "socket"
	Diag       = "sock_diag" // of which sockets the kernel tells, `ss`
	Congestion = "tcp"       // congestion control
)

// Families lists the families in the order of the table.
func Families() []string {
	return []string{Link, Bridge, Routing, Encap, Qdisc, Filter, Match, Action, Table, Chain, Expression, Conntrack, IPsec, Socket, Diag, Congestion}
}

// nouns name a feature of a family in a sentence.
var nouns = map[string]string{
	Link: "links of kind %s", Qdisc: "qdisc %s", Filter: "filter %s", Match: "extended match %s", Action: "action %s",
	Table: "tables of nft of family %s", Chain: "chains of nft of type %s", Expression: "expression %s of nft",
	Conntrack: "%s", Bridge: "%s in bridges", Routing: "%s", Encap: "routes with encap %s", IPsec: "%s",
	Socket: "%s sockets", Diag: "list of %s sockets", Congestion: "TCP congestion control %s",
}

// Feature is something that a kernel may have or lack.
type Feature struct {
	Family, Name string
	// Config is the option of the kernel's configuration that builds it.
	Config string
	// Module has it where the kernel does not; "" where no module can have it.
	Module string

	probe func(*prober) error
}

// Find returns a feature of a family by its name, or nil.
func Find(family, name string) *Feature {
	for _, f := range All() {
		if f.Family == family && f.Name == name {
			return f
		}
	}
	return nil
}

// Lacking says that the kernel does not have it.
func (f *Feature) Lacking() string {
	return "this kernel has no " + fmt.Sprintf(nouns[f.Family], f.Name)
}

// Status tells whether a feature is there.
type Status string

// What a feature can be.
const (
	Present Status = "present"
	// Unloaded: a module that is not loaded. What uses the feature loads it.
	Unloaded Status = "module"
	Missing  Status = "missing"
)

// Finding is a feature of this machine's kernel.
type Finding struct {
	*Feature
	Status Status
	// Why is what the kernel answered, where something is missing.
	Why error
	// Advice says how to get what is missing; "" for what is there.
	Advice string
}

// advice says how to get the feature on a kernel.
func (f *Feature) advice(k *Kernel) string {
	switch module := f.Module; {
	case module != "" && k.Files[module]:
		return fmt.Sprintf("it needs %s: load its module, sudo modprobe %s", f.Config, module)
	case module != "" && k.Config[f.Config] == "m":
		return fmt.Sprintf("it needs %s: install the modules of kernel %s, and then: sudo modprobe %s", f.Config, k.Release, module)
	case module != "":
		return fmt.Sprintf("it needs %s (module %s): modprobe %s, or a kernel that has it, as Debian's linux-image-amd64 does", f.Config, module, module)
	}
	return fmt.Sprintf("it needs %s: a kernel that has it", f.Config)
}

// A Program is one that labs and lessons use and this package does not need.
type Program struct {
	Name string
	// Package is Debian's that has it.
	Package string
	// For says what it is good for.
	For string
}

// programs that scripts may want; no verb of nsscript needs one, but for what newuidmap
// and newgidmap do.
var programs = []Program{
	{"ip", "iproute2", "ip commands in scripts, and running what explain prints"},
	{"tc", "iproute2", "tc commands"},
	{"bridge", "iproute2", "bridge commands"},
	{"ss", "iproute2", "a list of sockets"},
	{"newuidmap", "uidmap", "labs of ordinary users with more than one user in them"},
	{"newgidmap", "uidmap", "labs of ordinary users with more than one group in them"},
	{"nft", "nftables", "rules in nft's own syntax"},
	{"iptables", "iptables", "rules in the older syntax"},
	{"conntrack", "conntrack", "looking at tracked connections"},
	{"tcpdump", "tcpdump", "captures beside the script"},
	{"tshark", "tshark", "decoding captures"},
	{"wg", "wireguard-tools", "WireGuard by hand"},
	{"ethtool", "ethtool", "offloads by hand"},
	{"ping", "iputils-ping", "the classic"},
	{"traceroute", "traceroute", "the classic"},
	{"dig", "bind9-dnsutils", "asking name servers"},
	{"curl", "curl", "asking web servers"},
	{"nc", "netcat-openbsd", "plain TCP and UDP"},
	{"socat", "socat", "sockets of every kind"},
	{"iperf3", "iperf3", "throughput between programs"},
	{"dnsmasq", "dnsmasq-base", "a DHCP and DNS server"},
	{"udhcpc", "udhcpc", "a DHCP client"},
	{"nginx", "nginx-light", "a web server"},
	{"radvd", "radvd", "router advertisements"},
	{"zebra", "frr", "FRR's routing daemons"},
	{"vtysh", "frr", "the shell of FRR"},
	{"bird", "bird2", "BIRD, a routing daemon"},
	{"swanctl", "strongswan-swanctl", "IPsec with IKE"},
	{"ovs-vsctl", "openvswitch-switch", "Open vSwitch"},
}

// PackageOf is Debian's package that has a program which labs use, or "".
func PackageOf(program string) string {
	for _, p := range programs {
		if p.Name == program {
			return p.Package
		}
	}
	return ""
}

// programDirs are where programs of the administrator and daemons are, beside what
// PATH says.
var programDirs = []string{"/usr/local/sbin", "/usr/sbin", "/sbin", "/usr/lib/frr"}

// FoundProgram is a program and where it is; Path is "" when it is missing.
type FoundProgram struct {
	Program
	Path string
}

// Programs looks for the optional programs.
func Programs() []FoundProgram {
	var all []FoundProgram
	for _, p := range programs {
		path, err := exec.LookPath(p.Name)
		for i := 0; err != nil && i < len(programDirs); i++ {
			path, err = exec.LookPath(programDirs[i] + "/" + p.Name)
		}
		if err != nil {
			path = ""
		}
		all = append(all, FoundProgram{p, path})
	}
	return all
}
