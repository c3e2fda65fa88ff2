// Package firewall is nftables without a program: rules in the terms of nft(8),
// compiled to the kernel's expressions (google/nftables) and, side by side, to nft's
// own syntax, so that what is shown is what is installed.
package firewall

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/google/nftables/expr"
)

// Hook is where in its way a packet meets a chain (nft(8), "hook").
type Hook string

// The hooks of the families ip, ip6 and inet.
const (
	Input       Hook = "input"
	Forward     Hook = "forward"
	Output      Hook = "output"
	Prerouting  Hook = "prerouting"
	Postrouting Hook = "postrouting"
)

// Range is addresses from one to another, both included; a prefix is one, too.
type Range struct{ First, Last netip.Addr }

// Ports are ports from one to another, both included.
type Ports struct{ First, Last uint16 }

// IsZero tells that there are none.
func (p Ports) IsZero() bool { return p == Ports{} }

func (p Ports) String() string {
	if p.First == p.Last {
		return strconv.Itoa(int(p.First))
	}
	return fmt.Sprintf("%d-%d", p.First, p.Last)
}

// Rule says for which packets to do what. What is left out matches all.
type Rule struct {
	Hook Hook
	// Family is 4 or 6 for packets of that family alone; 0 for both, unless an address
	// or a type of ICMP says it.
	Family   int
	Src, Dst []Range
	// Protocols by name: tcp udp icmp … ; ports need one that has some.
	Protocols    []string
	ICMPTypes    []string // in nft's words: echo-request …
	Sport, Dport []Ports
	// IIf and OIf are names of links; with a * at the end, all that begin so.
	IIf, OIf string
	States   []string // of the connection: new established related invalid untracked
	// Translated packets are those of connections whose destination NAT has changed.
	Translated bool
	Mark       *uint32
	Limit      string // in nft's words: "10/second", "over 100/minute burst 20"
	// Log writes a line to the kernel's log, which begins with Prefix.
	Log     bool
	Prefix  string
	Comment string
	Verdict Verdict

	// Tag finds the rule again among the kernel's.
	Tag uint32
}

// Compiled is a rule in the kernel's terms and in nft's words.
type Compiled struct {
	Chain string
	Text  string

	matches, end string // what stands before and behind the counter
	exprs        []expr.Any
	sets         []Set
	comment      string
	tag          uint32
}

// compiler collects both forms of a rule.
type compiler struct {
	words  []string
	exprs  []expr.Any
	sets   []Set
	family int  // that the rule is restricted to so far
	nf     bool // that the expressions restrict it to that family
	proto  bool // that the expressions restrict the protocol
}

func (c *compiler) say(words ...string)      { c.words = append(c.words, words...) }
func (c *compiler) add(exprs ...expr.Any)    { c.exprs = append(c.exprs, exprs...) }
func wrong(format string, args ...any) error { return fmt.Errorf(format, args...) }

// Compile checks a rule and translates it.
func (r *Rule) Compile() (*Compiled, error) {
	chain, err := r.chain()
	if err != nil {
		return nil, err
	}
	c := &compiler{}
	for _, step := range []func(*compiler) error{r.links, r.addresses, r.protocol, r.ports, r.connection, r.limit, r.log} {
		if err := step(c); err != nil {
			return nil, err
		}
	}
	matches := strings.Join(c.words, " ")
	c.words = nil
	c.add(&expr.Counter{})
	if err := r.Verdict.compile(c, r); err != nil {
		return nil, err
	}
	if r.Comment != "" {
		if len(r.Comment) > maxComment || strings.ContainsAny(r.Comment, "\"\n") {
			return nil, wrong("a comment has at most %d bytes, and neither quotes nor line ends", maxComment)
		}
		c.say("comment", `"`+r.Comment+`"`)
	}
	end := strings.Join(c.words, " ")
	return &Compiled{Chain: chain, Text: strings.TrimSpace(matches + " counter " + end), matches: matches, end: end, exprs: c.exprs, sets: c.sets, comment: r.Comment, tag: r.Tag}, nil
}

// maxComment is NFTNL_UDATA_COMMENT_MAXLEN without the byte that ends it.
const maxComment = 127

// chain is that of the rule's hook and kind.
func (r *Rule) chain() (string, error) {
	if !r.Verdict.nat() {
		switch r.Hook {
		case Input, Forward, Output:
			return string(r.Hook), nil
		}
		return "", wrong("hook: %q filters nothing; hooks are input, forward and output", r.Hook)
	}
	if r.Hook == Output {
		return "nat_output", nil
	}
	return string(r.Hook), nil
}

// links are the names of links.
func (r *Rule) links(c *compiler) error {
	for _, m := range []struct {
		name, key string
		meta      expr.MetaKey
		none      []Hook
	}{{r.IIf, "iifname", expr.MetaKeyIIFNAME, []Hook{Output, Postrouting}}, {r.OIf, "oifname", expr.MetaKeyOIFNAME, []Hook{Input, Prerouting}}} {
		if m.name == "" {
			continue
		}
		for _, h := range m.none {
			if h == r.Hook {
				return wrong("%sif: a packet at %s has none", m.key[:1], h)
			}
		}
		data := make([]byte, 16) // IFNAMSIZ
		if copy(data, m.name) == len(data) {
			return wrong("%sif: %q is longer than a link's name can be", m.key[:1], m.name)
		}
		if begin, wild := strings.CutSuffix(m.name, "*"); wild {
			data = []byte(begin)
		}
		c.say(m.key, `"`+m.name+`"`)
		c.add(&expr.Meta{Key: m.meta, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data})
	}
	return nil
}
