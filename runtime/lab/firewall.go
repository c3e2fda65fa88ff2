package lab

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
	"nsscript/runtime/firewall"
)

// Firewall is the packet filter of a namespace: one table of nftables, of the family
// inet, that holds for IPv4 and IPv6 alike. Other tables, of nft or iptables, work
// beside it.
type Firewall struct {
	NS     *Namespace
	chains map[string]firewall.Chain
	rules  []*FirewallRule
	tags   uint32
	gone   bool
}

// FirewallRule is a rule of a Firewall. It is live.
type FirewallRule struct {
	Firewall *Firewall
	Rule     firewall.Rule
	compiled *firewall.Compiled
	gone     bool
}

// Expr is the rule in nft's words.
func (r *FirewallRule) Expr() string { return r.compiled.Text }

// Chain is the name of the chain that the rule is in.
func (r *FirewallRule) Chain() string { return r.compiled.Chain }

// FirewallPolicies are what the chains do with packets that no rule decides about,
// accept or drop, by hook; "" leaves a policy as it is, which of a new chain is accept.
type FirewallPolicies struct{ Input, Forward, Output string }

// SetFirewall makes the namespace's firewall, or changes the policies of the one that
// is there.
func (ns *Namespace) SetFirewall(ctx context.Context, p FirewallPolicies) (*Firewall, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	f := ns.firewall
	if f == nil {
		f = &Firewall{NS: ns, chains: map[string]firewall.Chain{}}
	}
	change := firewall.Change{Create: ns.firewall == nil}
	before := map[string]firewall.Chain{}
	for _, c := range []struct{ name, policy string }{{"input", p.Input}, {"forward", p.Forward}, {"output", p.Output}} {
		chain, known := f.chains[c.name]
		if !known {
			chain = firewall.ChainOf(c.name)
			chain.Policy = "accept"
		} else if c.policy == "" || c.policy == chain.Policy {
			continue
		}
		before[c.name] = chain
		if c.policy != "" {
			chain.Policy = c.policy
		}
		change.Chains = append(change.Chains, chain)
	}
	if len(change.Chains) == 0 {
		return f, nil
	}
	if err := f.apply(ctx, change, "set firewall"); err != nil {
		return nil, err
	}
	ns.firewall = f
	if change.Create {
		ns.lab.onUndo(f.Delete)
	} else {
		ns.lab.onUndo(func(ctx context.Context) error {
			back := firewall.Change{}
			for _, c := range before {
				back.Chains = append(back.Chains, c)
			}
			return f.apply(ctx, back, "set firewall")
		})
	}
	return f, nil
}

// Firewall is the namespace's firewall, or nil while it has none.
func (ns *Namespace) Firewall() *Firewall { return ns.firewall }

// NewRule checks a rule, which Add installs.
func (f *Firewall) NewRule(r firewall.Rule) (*FirewallRule, error) {
	f.tags++
	r.Tag = f.tags
	compiled, err := r.Compile()
	if err != nil {
		return nil, err
	}
	return &FirewallRule{Firewall: f, Rule: r, compiled: compiled}, nil
}

// Add installs rules behind those that there are, all of them or, after an error,
// none. The chains that they need and that there are not yet come with them.
func (f *Firewall) Add(ctx context.Context, rules ...*FirewallRule) error {
	if err := f.check(); err != nil {
		return err
	}
	var change firewall.Change
	for _, r := range rules {
		name := r.compiled.Chain
		_, known := f.chains[name]
		if !known && !slices.ContainsFunc(change.Chains, func(c firewall.Chain) bool { return c.Name == name }) {
			chain := firewall.ChainOf(name)
			chain.Policy = "accept"
			change.Chains = append(change.Chains, chain)
		}
		change.Rules = append(change.Rules, r.compiled)
	}
	if err := f.apply(ctx, change, "add rule"); err != nil {
		return err
	}
	f.rules = append(f.rules, rules...)
	for _, r := range rules {
		f.NS.lab.onUndo(r.Delete)
	}
	return nil
}

// apply makes a change, and remembers the chains that it made or changed.
func (f *Firewall) apply(ctx context.Context, change firewall.Change, what string) error {
	ns := f.NS
	if err := ns.check(); err != nil {
		return err
	}
	start := time.Now()
	err := ns.do(change.Apply)
	if ns.lab.watched() {
		ns.lab.emit(ctx, "nft", ns, start, err, changeWords(change)...)
	}
	if err != nil {
		return f.failed(err, what, change.Rules)
	}
	for _, c := range change.Chains {
		f.chains[c.Name] = c
	}
	return nil
}

// changeWords are the commands of nft that make a change, in one transaction.
func changeWords(change firewall.Change) []event.Arg {
	var args []event.Arg
	command := func(words ...string) { args = append(args, arg("command", strings.Join(words, " "))) }
	if change.Create {
		command("create table inet", firewall.TableName)
	}
	for _, c := range change.Chains {
		command("add chain inet", firewall.TableName, c.Name, c.Spec())
	}
	for _, r := range change.Rules {
		command("add rule inet", firewall.TableName, r.Chain, r.Text)
	}
	return args
}

// failed explains what the kernel refused.
func (f *Firewall) failed(err error, what string, rules []*firewall.Compiled) error {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return kernelError(err, "", "%s%s", what, where(f.NS))
	}
	if lacking := missing(errno, feature.Table, "inet"); lacking != nil {
		return lacking
	}
	if lacking := missing(errno, feature.Chain, "nat"); lacking != nil && anyNAT(rules) {
		return lacking
	}
	hint := ""
	switch {
	case errors.Is(errno, unix.EEXIST):
		hint = "there is a table inet " + firewall.TableName + " of another run: nft delete table inet " + firewall.TableName
	case errors.Is(errno, unix.EMSGSIZE), errors.Is(errno, unix.ENOBUFS):
		hint = fmt.Sprintf("%d rules are too many for one transaction here: raise net.core.wmem_max of the machine, or make several batches", len(rules))
	case errors.Is(errno, unix.ENOENT):
		hint = "another program has changed the table, or the kernel lacks an expression: see nsscript doctor"
	}
	text := ""
	if len(rules) == 1 {
		text = ": " + rules[0].Text
	}
	return kernelError(errno, hint, "%s%s%s", what, where(f.NS), text)
}

func anyNAT(rules []*firewall.Compiled) bool {
	for _, r := range rules {
		if firewall.ChainOf(r.Chain).NAT {
			return true
		}
	}
	return false
}

func (f *Firewall) check() error {
	if err := f.NS.check(); err != nil {
		return err
	}
	if f.gone {
		return &Error{Op: "the firewall of " + f.NS.String() + " was deleted", Kind: KindGone}
	}
	return nil
}

// Delete deletes the table with all of its rules.
func (f *Firewall) Delete(ctx context.Context) error {
	if err := f.check(); err != nil {
		return err
	}
	start := time.Now()
	err := f.NS.do(firewall.DeleteTable)
	f.NS.lab.emit(ctx, "nft", f.NS, start, err, arg("command", "delete table inet "+firewall.TableName))
	if err != nil {
		return f.failed(err, "delete firewall", nil)
	}
	f.gone, f.NS.firewall = true, nil
	return nil
}

// Rules are those that there are, in the order in which packets meet them: chain by
// chain.
func (f *Firewall) Rules() ([]*FirewallRule, error) {
	if err := f.check(); err != nil {
		return nil, err
	}
	var list []*FirewallRule
	for _, c := range firewall.Chains {
		if _, made := f.chains[c.Name]; !made {
			continue
		}
		found, err := f.found(c.Name)
		if err != nil {
			return nil, err
		}
		for _, r := range f.rules {
			if _, there := found[r.Rule.Tag]; there && r.compiled.Chain == c.Name {
				list = append(list, r)
			}
		}
	}
	return list, nil
}

func (f *Firewall) found(chain string) (found map[uint32]firewall.Found, err error) {
	if doErr := f.NS.do(func() error {
		found, err = firewall.Rules(chain)
		return nil
	}); doErr != nil {
		return nil, doErr
	}
	if err != nil {
		return nil, f.failed(err, "read firewall", nil)
	}
	return found, nil
}

// Counters are how many packets the rule has met, and their bytes.
func (r *FirewallRule) Counters() (packets, bytes uint64, err error) {
	if err := r.check(); err != nil {
		return 0, 0, err
	}
	found, err := r.Firewall.found(r.compiled.Chain)
	if err != nil {
		return 0, 0, err
	}
	there, ok := found[r.Rule.Tag]
	if !ok {
		return 0, 0, r.missing()
	}
	return there.Packets, there.Bytes, nil
}

func (r *FirewallRule) check() error {
	if err := r.Firewall.check(); err != nil {
		return err
	}
	if r.gone {
		return &Error{Op: fmt.Sprintf("the rule %q was deleted", r.compiled.Text), Kind: KindGone}
	}
	return nil
}

func (r *FirewallRule) missing() error {
	return &Error{Op: fmt.Sprintf("the rule %q is not there any more", r.compiled.Text), Kind: KindGone, Err: unix.ENOENT,
		Hint: "another program has deleted it"}
}

// Delete deletes the rule.
func (r *FirewallRule) Delete(ctx context.Context) error {
	if err := r.check(); err != nil {
		return err
	}
	ns := r.Firewall.NS
	start := time.Now()
	var deleteErr error
	var handle uint64
	err := ns.do(func() error {
		handle, deleteErr = firewall.DeleteRule(r.compiled.Chain, r.Rule.Tag)
		return nil
	})
	if err == nil {
		err = deleteErr
	}
	ns.lab.emit(ctx, "nft", ns, start, err, arg("command", fmt.Sprintf("delete rule inet %s %s handle %d", firewall.TableName, r.compiled.Chain, handle)))
	switch {
	case errors.Is(err, firewall.ErrGone):
		return r.missing()
	case err != nil:
		return r.Firewall.failed(err, "delete rule", []*firewall.Compiled{r.compiled})
	}
	r.gone = true
	return nil
}

// String is the table as nft lists it, with the counters of this moment.
func (f *Firewall) String() string {
	var b strings.Builder
	fmt.Fprintf(&b, "table inet %s {\n", firewall.TableName)
	for _, c := range firewall.Chains {
		chain, made := f.chains[c.Name]
		if !made {
			continue
		}
		found, err := f.found(c.Name)
		if f.gone || err != nil {
			continue
		}
		fmt.Fprintf(&b, "\tchain %s {\n\t\t%s\n", c.Name, strings.Trim(chain.Spec(), "{ }"))
		for _, r := range f.rules {
			if there, ok := found[r.Rule.Tag]; ok && r.compiled.Chain == c.Name {
				fmt.Fprintf(&b, "\t\t%s\n", r.compiled.Counted(there))
			}
		}
		b.WriteString("\t}\n")
	}
	return b.String() + "}"
}
