package lab

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"nsscript/runtime/event"
)

// existing finds, for exist=True, the link that has the name of one to be made; nil
// where there is none yet.
func (s *LinkSpec) existing() (*Link, error) {
	if !s.Exist {
		return nil, nil
	}
	return s.NS.Link(s.Name)
}

// is refuses a link that is there but is not what was asked for. What was not asked
// for is the link's own matter.
func (k *Link) is(s *LinkSpec, kind *Kind, lower *Link, options []Chosen) error {
	info, err := k.Info()
	if err != nil {
		return err
	}
	asked, there := s.properties(kind.Name), k.properties(info)
	if lower != nil {
		asked = append(asked, arg("parent", lower.String()))
		if parent, err := k.Parent(); err == nil && parent != nil {
			there = append(there, arg("parent", parent.String()))
		}
	}
	want := kind.read(serialize(merge(nil, options)))
	for _, o := range options {
		name := o.Name
		if a, ok := o.Value.(Addr); ok && a.Multicast {
			name = "remote" // as which it reads back
		}
		asked = append(asked, arg(name, shown(want[name], k.ns)))
		there = append(there, arg(name, shown(info.Options[name], k.ns)))
	}
	more, its := s.More.properties(info)
	asked, there = append(asked, more...), append(there, its...)
	d := difference(asked, there)
	if d == "" {
		d, err = k.lacks(s)
	}
	if err == nil && d != "" {
		err = Usage("delete it first, or ask for what it is", "%s is there, but %s", k, d)
	}
	return err
}

// shown is the value of an option in words; a link that the kernel says by its index
// by its name.
func shown(v any, ns *Namespace) string {
	switch v := v.(type) {
	case nil:
		return "none"
	case linkIndex:
		if k := ns.linkAt(int(v)); k != nil {
			return k.name
		}
		return "none"
	case *Link:
		return v.name
	case map[int]int:
		return "{" + strings.TrimSuffix(strings.TrimPrefix(strings.NewReplacer(":", ": ", " ", ", ").Replace(fmt.Sprint(v)), "map["), "]") + "}"
	}
	return fmt.Sprint(v)
}

// properties are those that were asked for.
func (s *LinkSpec) properties(kind string) []event.Arg {
	list := []event.Arg{arg("kind", kind)}
	if s.MTU != 0 {
		list = append(list, arg("mtu", strconv.Itoa(s.MTU)))
	}
	if s.given {
		list = append(list, arg("mac", s.MAC.String()))
	}
	if s.TxQLen >= 0 {
		list = append(list, arg("txqueuelen", strconv.Itoa(s.TxQLen)))
	}
	if s.TxQueues != 0 {
		list = append(list, arg("numtxqueues", strconv.Itoa(s.TxQueues)))
	}
	if s.RxQueues != 0 {
		list = append(list, arg("numrxqueues", strconv.Itoa(s.RxQueues)))
	}
	if s.Master != nil {
		list = append(list, arg("master", s.Master.name))
	}
	if s.Up {
		list = append(list, arg("state", "up"))
	}
	return list
}

// properties are those of the link.
func (k *Link) properties(info *LinkInfo) []event.Arg {
	list := []event.Arg{
		arg("kind", info.Kind), arg("mtu", strconv.Itoa(info.MTU)), arg("mac", info.MAC.String()),
		arg("txqueuelen", strconv.Itoa(info.TxQLen)), arg("numtxqueues", strconv.Itoa(info.Queues)), arg("numrxqueues", strconv.Itoa(info.RxQueues)),
	}
	master, state := "none", "down"
	if m := k.ns.linkAt(info.Master); m != nil {
		master = m.name
	}
	if info.Up() {
		state = "up"
	}
	return append(list, arg("master", master), arg("state", state))
}

// properties are those of a change, and what the link has of them.
func (c *LinkChange) properties(info *LinkInfo) (asked, there []event.Arg) {
	add := func(name, want, have string) {
		asked, there = append(asked, arg(name, want)), append(there, arg(name, have))
	}
	if c.Alias != nil {
		add("alias", strconv.Quote(*c.Alias), strconv.Quote(info.Alias))
	}
	if c.AltName != nil && !slices.Contains(info.AltNames, *c.AltName) {
		add("altname", *c.AltName, "none of that")
	}
	if c.Group != nil {
		add("group", strconv.Itoa(*c.Group), strconv.Itoa(info.Group))
	}
	for _, f := range c.switches() {
		if f.value != nil {
			add(f.name, onOff(*f.value), onOff(info.Flags&f.bit != 0 != f.not))
		}
	}
	for _, group := range c.Options {
		for _, o := range group.Options {
			want := group.Kind.read(serialize(merge(nil, []Chosen{o})))
			add(o.Name, fmt.Sprint(want[o.Name]), fmt.Sprint(info.Common()[o.Name]))
		}
	}
	return asked, there
}

// lacks names an address or a port that was asked for and that the link has not.
func (k *Link) lacks(s *LinkSpec) (string, error) {
	for _, p := range s.Ports {
		if master, err := p.Master(); err != nil || master != k {
			return "it has no port " + p.name, err
		}
	}
	if len(s.Addrs) == 0 {
		return "", nil
	}
	addrs, err := k.ns.Addrs(k)
	if err != nil {
		return "", err
	}
	for _, want := range s.Addrs {
		if !slices.ContainsFunc(addrs, func(a *Address) bool { return a.Prefix() == want.Prefix }) {
			return "it has no address " + want.Prefix.String(), nil
		}
	}
	return "", nil
}

// existingVeth finds a pair for exist=True; nil where neither end is there.
func existingVeth(a, b *LinkSpec) (ka, kb *Link, err error) {
	if ka, err = a.existing(); err != nil {
		return nil, nil, err
	}
	if kb, err = b.existing(); err != nil || ka == nil && kb == nil {
		return nil, nil, err
	}
	for _, end := range []struct {
		link, other *Link
		spec        *LinkSpec
	}{{ka, kb, a}, {kb, ka, b}} {
		if end.link == nil {
			return nil, nil, Usage("delete it first, or ask for what it is", "%s is there, but its other end is not %s in %s", end.other, end.spec.Name, end.spec.NS)
		}
		if err := end.link.is(end.spec, KindOf("veth"), nil, nil); err != nil {
			return nil, nil, err
		}
	}
	if peer, err := ka.Peer(); err != nil || peer != kb {
		return nil, nil, Usage("delete them first, or ask for what they are", "%s and %s are there, but are not the ends of one veth", ka, kb)
	}
	return ka, kb, nil
}
