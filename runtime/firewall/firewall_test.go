package firewall

import (
	"net/netip"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
	"nsscript/runtime/netns"
)

func TestMain(m *testing.M) { labtest.Main(m) }

func addrs(texts ...string) (all []Range) {
	for _, t := range texts {
		first, last, span := strings.Cut(t, "-")
		if span {
			all = append(all, Range{netip.MustParseAddr(first), netip.MustParseAddr(last)})
			continue
		}
		if p, err := netip.ParsePrefix(t); err == nil {
			all = append(all, Prefix(p))
			continue
		}
		a := netip.MustParseAddr(t)
		all = append(all, Range{a, a})
	}
	return all
}

func to(text string) Range { return addrs(text)[0] }

func mark(n uint32) *uint32 { return &n }

var accept, drop = Verdict{Name: "accept"}, Verdict{Name: "drop"}

// rules are of each kind that there is, and what nft lists of them.
var rules = []struct {
	rule Rule
	want string
}{
	{Rule{Hook: Input, Verdict: drop}, "counter drop"},
	{Rule{Hook: Input, Src: addrs("10.0.0.1"), Verdict: accept}, "ip saddr 10.0.0.1 counter accept"},
	{Rule{Hook: Input, Src: addrs("10.0.0.0/8"), Dst: addrs("10.1.2.128/25"), Verdict: drop}, "ip saddr 10.0.0.0/8 ip daddr 10.1.2.128/25 counter drop"},
	{Rule{Hook: Input, Src: addrs("10.0.0.3-10.0.0.9"), Verdict: drop}, "ip saddr 10.0.0.3-10.0.0.9 counter drop"},
	{Rule{Hook: Input, Src: addrs("10.0.0.9", "10.0.0.1"), Verdict: drop}, "ip saddr { 10.0.0.1, 10.0.0.9 } counter drop"},
	{Rule{Hook: Input, Src: addrs("10.2.0.0/16", "10.0.0.1", "10.0.0.3-10.0.0.9", "255.255.255.255"), Verdict: drop},
		"ip saddr { 10.0.0.1, 10.0.0.3-10.0.0.9, 10.2.0.0/16, 255.255.255.255 } counter drop"},
	{Rule{Hook: Input, Src: addrs("2001:db8::/32"), Verdict: drop}, "ip6 saddr 2001:db8::/32 counter drop"},
	{Rule{Hook: Input, Dst: addrs("fe80::/10", "2001:db8::1"), Verdict: drop}, "ip6 daddr { 2001:db8::1, fe80::/10 } counter drop"},
	{Rule{Hook: Forward, Family: 6, Verdict: drop}, "meta nfproto ipv6 counter drop"},
	{Rule{Hook: Forward, IIf: "eth0", OIf: "veth*", Verdict: accept}, `iifname "eth0" oifname "veth*" counter accept`},
	{Rule{Hook: Input, Protocols: []string{"tcp"}, Verdict: accept}, "meta l4proto tcp counter accept"},
	{Rule{Hook: Input, Protocols: []string{"udp", "tcp"}, Verdict: accept}, "meta l4proto { tcp, udp } counter accept"},
	{Rule{Hook: Input, Protocols: []string{"tcp"}, Dport: []Ports{{80, 80}}, Verdict: accept}, "tcp dport 80 counter accept"},
	{Rule{Hook: Input, Protocols: []string{"udp"}, Sport: []Ports{{67, 68}}, Dport: []Ports{{1000, 2000}, {53, 53}}, Verdict: accept},
		"udp sport 67-68 udp dport { 53, 1000-2000 } counter accept"},
	{Rule{Hook: Input, Protocols: []string{"tcp", "udp"}, Dport: []Ports{{53, 53}}, Verdict: accept}, "meta l4proto { tcp, udp } th dport 53 counter accept"},
	{Rule{Hook: Input, ICMPTypes: []string{"echo-request"}, Verdict: drop}, "icmp type echo-request counter drop"},
	{Rule{Hook: Input, Protocols: []string{"icmpv6"}, ICMPTypes: []string{"nd-neighbor-solicit", "echo-request"}, Verdict: drop},
		"icmpv6 type { echo-request, nd-neighbor-solicit } counter drop"},
	{Rule{Hook: Input, Src: addrs("2001:db8::1"), ICMPTypes: []string{"echo-request"}, Verdict: drop}, "ip6 saddr 2001:db8::1 icmpv6 type echo-request counter drop"},
	{Rule{Hook: Forward, States: []string{"related", "established"}, Verdict: accept}, "ct state established,related counter accept"},
	{Rule{Hook: Input, Mark: mark(7), Verdict: accept}, "meta mark 0x00000007 counter accept"},
	{Rule{Hook: Input, Limit: "10/second", Verdict: accept}, "limit rate 10/second counter accept"},
	{Rule{Hook: Input, Limit: "over 100/minute burst 20", Verdict: drop}, "limit rate over 100/minute burst 20 packets counter drop"},
	{Rule{Hook: Input, Log: true, Prefix: "in: ", Comment: "why", Verdict: drop}, `log prefix "in: " counter drop comment "why"`},
	{Rule{Hook: Output, Verdict: Verdict{Name: "reject"}}, "counter reject"},
	{Rule{Hook: Output, Verdict: Verdict{Name: "reject", With: "admin-prohibited"}}, "counter reject with icmpx admin-prohibited"},
	{Rule{Hook: Output, Protocols: []string{"tcp"}, Dport: []Ports{{25, 25}}, Verdict: Verdict{Name: "reject", With: "tcp reset"}},
		"tcp dport 25 counter reject with tcp reset"},
	{Rule{Hook: Postrouting, OIf: "eth0", Verdict: Verdict{Name: "masquerade"}}, `oifname "eth0" counter masquerade`},
	{Rule{Hook: Postrouting, Protocols: []string{"udp"}, Verdict: Verdict{Name: "masquerade", Ports: Ports{1024, 2047}}},
		"meta l4proto udp counter masquerade to :1024-2047"},
	{Rule{Hook: Postrouting, Verdict: Verdict{Name: "masquerade", Random: true, Persistent: true}}, "counter masquerade random,persistent"},
	{Rule{Hook: Postrouting, Src: addrs("10.0.0.0/24"), Verdict: Verdict{Name: "snat", To: to("192.0.2.1"), FullyRandom: true}},
		"ip saddr 10.0.0.0/24 counter snat ip to 192.0.2.1 fully-random"},
	{Rule{Hook: Postrouting, Protocols: []string{"tcp"}, Verdict: Verdict{Name: "snat", To: to("192.0.2.1-192.0.2.3"), Ports: Ports{1000, 2000}}},
		"meta l4proto tcp counter snat ip to 192.0.2.1-192.0.2.3:1000-2000"},
	{Rule{Hook: Postrouting, Verdict: Verdict{Name: "snat", To: to("2001:db8::1")}}, "counter snat ip6 to 2001:db8::1"},
	{Rule{Hook: Prerouting, Protocols: []string{"tcp"}, Dport: []Ports{{8080, 8080}}, Verdict: Verdict{Name: "dnat", To: to("10.0.0.2"), Ports: Ports{80, 80}}},
		"tcp dport 8080 counter dnat ip to 10.0.0.2:80"},
	{Rule{Hook: Prerouting, Protocols: []string{"tcp"}, Dport: []Ports{{80, 80}}, Verdict: Verdict{Name: "dnat", To: to("2001:db8::2"), Ports: Ports{80, 80}}},
		"tcp dport 80 counter dnat ip6 to [2001:db8::2]:80"},
	{Rule{Hook: Output, Dst: addrs("10.0.0.1"), Verdict: Verdict{Name: "dnat", To: to("10.0.0.2")}}, "ip daddr 10.0.0.1 counter dnat ip to 10.0.0.2"},
	{Rule{Hook: Prerouting, Protocols: []string{"tcp"}, Dport: []Ports{{80, 80}}, Verdict: Verdict{Name: "redirect", Ports: Ports{8080, 8080}}},
		"tcp dport 80 counter redirect to :8080"},
	{Rule{Hook: Prerouting, Verdict: Verdict{Name: "redirect"}}, "counter redirect"},
}

// TestRules: what is said of each rule is what nft lists.
func TestRules(t *testing.T) {
	labtest.Need(t, "nft")
	err := netns.New(func() error {
		change := Change{Create: true}
		for _, c := range Chains {
			c.Policy = "accept"
			change.Chains = append(change.Chains, c)
		}
		for i, r := range rules {
			r.rule.Tag = uint32(i)
			compiled, err := r.rule.Compile()
			if err != nil {
				t.Errorf("%+v: %v", r.rule, err)
				continue
			}
			if compiled.Text != r.want {
				t.Errorf("%+v is %q, want %q", r.rule, compiled.Text, r.want)
			}
			change.Rules = append(change.Rules, compiled)
		}
		if err := change.Apply(); err != nil {
			t.Fatal(err)
		}
		listed := nft(t, "list", "table", "inet", TableName)
		for _, c := range change.Rules {
			// nft lists types of ICMP by number or by name as it likes; all else as it was.
			if !slices.Contains(listed, c.Text) {
				t.Errorf("nft does not list %q", c.Text)
			}
		}
		for _, c := range change.Chains {
			found, err := Rules(c.Name)
			if err != nil {
				t.Fatal(err)
			}
			want := 0
			for _, r := range change.Rules {
				if r.Chain == c.Name {
					want++
					if _, ok := found[r.tag]; !ok {
						t.Errorf("%s: %q is not found again", c.Name, r.Text)
					}
				}
			}
			if want != len(found) {
				t.Errorf("%s has %d rules, want %d", c.Name, len(found), want)
			}
		}
		if t.Failed() {
			t.Logf("nft lists:\n%s", strings.Join(listed, "\n"))
		}
		if _, err := DeleteRule("input", 0); err != nil {
			t.Error(err)
		}
		if _, err := DeleteRule("input", 0); err != ErrGone {
			t.Errorf("deleting a rule again says %v", err)
		}
		return DeleteTable()
	})
	if err != nil {
		t.Fatal(err)
	}
}

// counts are what differs from time to time; nft since 1.0.7 says bursts that are usual.
var counts = regexp.MustCompile(`(counter) packets \d+ bytes \d+|(limit rate [0-9a-z/ ]*) burst 5 packets`)

// nft is what it prints, a line each, without counts.
func nft(t *testing.T, args ...string) (lines []string) {
	t.Helper()
	out, err := exec.Command("nft", args...).CombinedOutput()
	if err != nil {
		t.Fatalf("nft %v: %v: %s", args, err, out)
	}
	for _, l := range strings.Split(string(out), "\n") {
		lines = append(lines, counts.ReplaceAllString(strings.TrimSpace(l), "$1$2"))
	}
	return lines
}

// TestWrongRules: what the kernel could not do is refused in words.
func TestWrongRules(t *testing.T) {
	for _, c := range []struct {
		rule Rule
		want string
	}{
		{Rule{Hook: "ingress", Verdict: drop}, `hook: "ingress" filters nothing`},
		{Rule{Hook: Input, OIf: "eth0", Verdict: drop}, "oif: a packet at input has none"},
		{Rule{Hook: Output, IIf: "eth0", Verdict: drop}, "iif: a packet at output has none"},
		{Rule{Hook: Input, IIf: "a-name-of-17-bytes", Verdict: drop}, "longer than a link's name"},
		{Rule{Hook: Input, Src: addrs("10.0.0.1", "::1"), Verdict: drop}, "saddr ::1 is of IPv6, and the rule is for IPv4"},
		{Rule{Hook: Input, Src: addrs("10.0.0.0/8", "10.0.0.1"), Verdict: drop}, "10.0.0.0/8 and 10.0.0.1 overlap"},
		{Rule{Hook: Input, Protocols: []string{"tpc"}, Verdict: drop}, `"tpc" is no protocol`},
		{Rule{Hook: Input, Dport: []Ports{{80, 80}}, Verdict: drop}, "ports need a protocol"},
		{Rule{Hook: Input, Protocols: []string{"icmp"}, Dport: []Ports{{80, 80}}, Verdict: drop}, "icmp has no ports"},
		{Rule{Hook: Input, ICMPTypes: []string{"ping"}, Verdict: drop}, `"ping" is no type of icmp`},
		{Rule{Hook: Input, States: []string{"open"}, Verdict: drop}, `"open" is no state`},
		{Rule{Hook: Input, Limit: "fast", Verdict: drop}, `"fast" is no limit`},
		{Rule{Hook: Input, Verdict: Verdict{Name: "reject", With: "tcp reset"}}, `add proto="tcp"`},
		{Rule{Hook: Input, Verdict: Verdict{Name: "reject", With: "never"}}, `"never" is no answer`},
		{Rule{Hook: Prerouting, Verdict: Verdict{Name: "masquerade"}}, "masquerade is done at postrouting, not at prerouting"},
		{Rule{Hook: Prerouting, Verdict: Verdict{Name: "dnat", To: to("10.0.0.1"), Ports: Ports{80, 80}}}, "a port needs a protocol"},
		{Rule{Hook: Prerouting, Src: addrs("::1"), Verdict: Verdict{Name: "dnat", To: to("10.0.0.1")}}, "to 10.0.0.1 is of IPv4, and the rule is for IPv6"},
		{Rule{Hook: Input, Comment: `"`, Verdict: drop}, "a comment has at most"},
	} {
		_, err := c.rule.Compile()
		if err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%+v says %v, want %q", c.rule, err, c.want)
		}
	}
}
