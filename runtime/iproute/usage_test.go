package iproute_test

import (
	"bytes"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"
)

// usage is a usage text and the commands that it is of.
type usage struct {
	program string
	help    string // the words that print it; "TYPE" are the kinds that "link help" lists
	object  string // of the commands: "link", "route" …; "" are all objects
	kind    string // of link, for the options of a kind
	builtin string
}

func usages() []usage {
	list := []usage{
		{"ip", "help", "", "", ""},
		{"bridge", "help", "", "", ""},
		{"ip", "netns help", "netns", "", "netns"},
		{"ip", "link help", "link", "", "set_link"},
		{"ip", "link help TYPE", "link", "TYPE", ""},
	}
	for _, kind := range []string{"bridge", "bond", "vlan", "macvlan", "ipvlan", "vrf", "vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap",
		"ipip", "sit", "ip6tnl", "vti", "vti6", "erspan", "ip6erspan", "xfrm", "macsec"} {
		list = append(list, usage{"ip", "link help " + kind, "link", kind, kind})
	}
	return append(list,
		usage{"ip", "link help bridge_slave", "link", "bridge_slave", "bridge_port"},
		usage{"ip", "link help bond_slave", "link", "bond_slave", "set_link"},
		usage{"ip", "tuntap help", "tuntap", "", "tun, tap"},
		usage{"ip", "macsec help", "macsec", "", "macsec"},
		usage{"ip", "address help", "addr", "", "addr"},
		usage{"ip", "token help", "token", "", "set_link"},
		usage{"ip", "fou help", "fou", "", "fou"},
		usage{"ip", "route help", "route", "", "route"},
		usage{"ip", "rule help", "rule", "", "rule"},
		usage{"ip", "nexthop help", "nexthop", "", "nexthop"},
		usage{"ip", "neigh help", "neigh", "", "neighbor"},
		usage{"ip", "maddr help", "maddr", "", "maddr"},
		usage{"ip", "mroute help", "mroute", "", "ns.mroutes"},
		usage{"bridge", "link help", "link", "", "bridge_port"},
		usage{"bridge", "fdb help", "fdb", "", "fdb"},
		usage{"bridge", "mdb help", "mdb", "", "mdb"},
		usage{"bridge", "vlan help", "vlan", "", "bridge_vlan"},
		usage{"bridge", "vni help", "vni", "", "vni"})
}

func (u usage) name() string { return u.program + " " + u.help }

// builtinOf is the builtin that does a word.
func (u usage) builtinOf(word string) string {
	for _, b := range builtinsOf {
		if b.of == u.name() && words(b.words)[word] {
			return b.builtin
		}
	}
	return u.builtin
}

// builtinsOf are those of words that another builtin does than the most of a text.
var builtinsOf = []struct{ of, words, builtin string }{
	{"ip help", "address", "addr"},
	{"ip help", "link", "a builtin for each kind; set_link, up, down, rename, move, delete"},
	{"ip help", "maddress", "maddr"},
	{"ip help", "neighbor neighbour", "neighbor"},
	{"ip help", "netns", "netns"},
	{"ip help", "nexthop", "nexthop"},
	{"ip help", "route", "route, routes, route_get, flush"},
	{"ip help", "rule", "rule"},
	{"ip help", "tap tuntap", "tap, tun"},
	{"ip help", "macsec", "macsec"},
	{"ip help", "token", "token= of each kind's, set_link"},
	{"ip help", "fou", "fou"},
	{"bridge help", "link", "bridge_port"},
	{"bridge help", "fdb mdb", "fdb, mdb"},
	{"bridge help", "vlan", "bridge_vlan, bridge_vlan_global"},
	{"bridge help", "vni", "vni"},
	{"bridge vlan help", "global mcast_snooping mcast_querier mcast_igmp_version mcast_mld_version mcast_last_member_count mcast_last_member_interval " +
		"mcast_startup_query_count mcast_startup_query_interval mcast_membership_interval mcast_querier_interval mcast_query_interval mcast_query_response_interval",
		"bridge_vlan_global"},
	{"ip link help", "add index numtxqueues numrxqueues link-netns link-netnsid", "each kind's"},
	{"ip link help", "del delete", "delete"},
	{"ip link help", "up", "up"},
	{"ip link help", "down", "down"},
	{"ip link help", "netns", "ns= of each kind's, move"},
	{"ip address help", "del", "delete"},
	{"ip address help", "flush", "flush"},
	{"ip route help", "del", "delete"},
	{"ip route help", "flush root match exact", "flush"},
	{"ip route help", "get iif oif mark uid ipproto sport dport", "route_get"},
	{"ip rule help", "del", "delete"},
	{"ip nexthop help", "del", "delete"},
	{"ip neigh help", "del", "delete"},
	{"ip neigh help", "flush", "flush"},
	{"ip maddr help", "del", "delete"},
	{"ip netns help", "delete", "delete"},
	{"ip netns help", "exec cmd", "exec_in, spawn"},
	{"bridge fdb help", "del", "delete"},
	{"bridge mdb help", "del", "delete"},
	{"bridge vlan help", "del", "delete"},
	{"bridge vni help", "del", "delete"},
	{"ip fou help", "del", "delete"},
	{"ip macsec help", "add set del", "macsec, macsec_set"},
}

// text is what the program prints.
func (u usage) text(t *testing.T) string {
	t.Helper()
	out, _ := exec.Command(u.program, strings.Fields(strings.TrimSuffix(u.help, " TYPE"))...).CombinedOutput()
	if !bytes.Contains(out, []byte("sage:")) {
		t.Fatalf("%s printed %q", u.name(), out)
	}
	return string(out)
}

// Usage texts write some options in short.
var (
	explained  = regexp.MustCompile(`<[^>]*>|[A-Za-z_.-]+:( |$)`)
	optionalNo = regexp.MustCompile(`\[no\]\s*([a-z][a-z0-9_-]*)`)
	literal    = regexp.MustCompile(`^([a-z][a-z0-9_.+-]*|6rd-[a-z_]+|[0-9.]+[A-Za-z]+|End(\.[A-Za-z0-9.]+)?)$`)
	separators = regexp.MustCompile(`[^A-Za-z0-9_.+-]+`)
	short      = strings.NewReplacer("[no][i|o]seq", "seq iseq oseq noseq noiseq nooseq",
		"[no][i|o]csum", "csum icsum ocsum nocsum noicsum noocsum", "no[i|o]key", "nokey noikey nookey", "[i|o]key", "key ikey okey")
)

// noise are words that explain, units, and values that many options share.
var noise = words(`help type on off first values are the defaults if nothing is specified for of rx queue default set_to as s ms string or and
	target 128-bit 256-bit 96-bit hex version hwid where name id any true false host list lst`)

// kindsListed are the kinds of links that some texts list.
var kindsListed = words(`amt bareudp bond bond_slave bridge bridge_slave dsa dummy erspan geneve gre gretap gtp ifb ip6erspan ip6gre ip6gretap ip6tnl ipip
	ipoib ipvlan ipvtap macsec macvlan macvtap netdevsim nlmon rmnet sit team team_slave vcan veth vti vxcan vxlan wwan xfrm virt_wifi`)

// named are words before a name that somebody chose.
var named = words("dev name alias altname label")

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		set[w] = true
	}
	return set
}

// literals are the words of a usage text that stand in commands as they are.
func (u usage) literals(text string) []string {
	switch {
	case u.object == "":
		_, text, _ = strings.Cut(text, "OBJECT :=")
		text, _, _ = strings.Cut(text, "OPTIONS :=")
	case u.kind == "TYPE":
		_, text, _ = strings.Cut(text, "TYPE :=")
	}
	text = optionalNo.ReplaceAllString(short.Replace(explained.ReplaceAllString(text, " ")), "$1 no$1")
	skip := words(u.program + " " + u.object + " " + u.kind)
	skip["address"] = u.object == "addr"
	skip["broadcast"] = u.kind == "macvlan" // of an explanation
	seen, list := map[string]bool{}, []string{}
	for _, w := range separators.Split(text, -1) {
		if seen[w] || noise[w] || skip[w] || !literal.MatchString(w) || u.kind == "" && u.object != "" && u.object != "route" && kindsListed[w] {
			continue
		}
		seen[w] = true
		list = append(list, w)
	}
	return list
}

// of tells whether a command, without what says the namespace, is one of these.
func (u usage) of(command []string) bool {
	switch {
	case len(command) < 2:
		return false
	case u.program == "bridge" && u.object == "link" && command[0] == "ip":
		return usage{"ip", "", "link", "bridge_slave", ""}.of(command) // it does the same
	case command[0] != u.program:
		return false
	case u.object == "":
		return true
	case command[1] != u.object && !slices.Contains(synonyms[u.object], command[1]):
		return false
	case u.kind == "":
		return true
	}
	i := slices.Index(command, "type")
	return i > 0 && i+1 < len(command) && (command[i+1] == u.kind || u.kind == "TYPE")
}

// arguments are what a command that is of the text has to say about its words: of
// `ip link` what follows the kind is the kind's. What somebody named says nothing.
func (u usage) arguments(command []string) []string {
	i := slices.Index(command, "type")
	switch {
	case u.object == "":
		return command[1:2]
	case u.kind == "TYPE":
		return command[i+1 : i+2]
	case u.kind != "":
		command = command[i+1:]
	case u.object == "link" && i > 0 && command[0] == "ip" && u.program == "ip":
		command = command[:i]
	}
	var list []string
	for i, argument := range command[1:] {
		if !named[command[i]] {
			list = append(list, argument)
		}
	}
	return list
}

// synonyms are other names that usage texts have for the words that commands use.
var synonyms = map[string][]string{
	"addr": {"address"}, "neigh": {"neighbor", "neighbour"}, "maddr": {"maddress"}, "tuntap": {"tap"}, "del": {"delete"}, "delete": {"del"},
	"proto": {"protocol"}, "priority": {"pref"}, "lookup": {"table"}, "mcast_fast_leave": {"fastleave"}, "encap-udp6-csum": {"encap-csum6"}, "noencap-udp6-csum": {"noencap-csum6"},
}

// bare is a command without what says the namespace and the family.
func bare(command string) []string {
	w := strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(command))
	if len(w) > 4 && strings.Join(w[:3], " ") == "ip netns exec" {
		if w[4] != "ip" && w[4] != "bridge" {
			return []string{"ip", "netns", "exec", "cmd"}
		}
		w = w[4:]
	}
	if len(w) > 2 && strings.HasPrefix(w[1], "--net=") {
		w = w[2:]
	}
	for len(w) > 3 && strings.HasPrefix(w[1], "-") {
		n := 2
		if w[1] == "-n" || w[1] == "-f" {
			n = 3
		}
		w = append(w[:1:1], w[n:]...)
	}
	return w
}
