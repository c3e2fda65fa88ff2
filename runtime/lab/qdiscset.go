package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// QdiscSpec is a queueing discipline that a link is to have, or a class of one.
type QdiscSpec struct {
	Kind *QdiscKind
	// Parent is where it goes: "1:10", or "" for the root (of ingress, its own place).
	Parent string
	// Handle is its number, "1:", or of a class "1:10"; "" for the next that is free.
	Handle  string
	Options []Chosen
	// Fallback: where the kernel has no netem, nftables loses packets, if that is all.
	Fallback bool
}

// Shaping is a change of how links queue their packets, which can be taken back.
type Shaping struct {
	Links []*Link
	// Handle is the number of the qdisc or class, of the last link.
	Handle string
	back   []undo
}

// Undo restores what was there before; a second time it does nothing, nor on a link
// that is gone.
func (s *Shaping) Undo(ctx context.Context) error {
	var failed []error
	for len(s.back) > 0 {
		last := s.back[len(s.back)-1]
		s.back = s.back[:len(s.back)-1]
		failed = append(failed, remaining(last(ctx))...)
	}
	return errors.Join(failed...)
}

// abandon takes back what was done of a change that failed.
func (s *Shaping) abandon(ctx context.Context, err error) error {
	if e := s.Undo(ctx); e != nil {
		return errors.Join(err, e)
	}
	return err
}

// Join makes one change of several: they are taken back in reverse order.
func (s *Shaping) Join(other *Shaping) {
	s.Links = append(s.Links, other.Links...)
	s.back = append(s.back, other.back...)
	other.back = nil
}

// SetQdisc gives each of the links a queueing discipline, as `tc qdisc replace` does:
// one of the same kind that is there is changed in place, so that packets that wait
// in it stay. All of the links get it or, after an error, none.
func SetQdisc(ctx context.Context, links []*Link, s QdiscSpec) (*Shaping, error) {
	made := &Shaping{}
	for _, k := range links {
		n, back, err := k.setQdisc(ctx, s)
		if err != nil {
			back, err = k.fallBack(ctx, s, err)
		}
		if err != nil {
			return nil, made.abandon(ctx, err)
		}
		made.Links, made.back, made.Handle = append(made.Links, k), append(made.back, back), n.name()
	}
	if len(links) > 0 {
		links[0].ns.lab.onUndo(made.Undo)
	}
	return made, nil
}

func (k *Link) setQdisc(ctx context.Context, s QdiscSpec) (tcNode, undo, error) {
	if err := k.check(); err != nil {
		return tcNode{}, nil, err
	}
	c := chosen{options: s.Options}
	if err := s.Kind.checkOptions(k, c); err != nil {
		return tcNode{}, nil, err
	}
	if s.Kind.complete != nil {
		c.options = s.Kind.complete(c)
	}
	parent, err := s.parent()
	if err != nil {
		return tcNode{}, nil, inOption("parent", err)
	}
	before, err := k.queueing()
	if err != nil {
		return tcNode{}, nil, err
	}
	handle, err := s.handle(before, parent)
	if err != nil {
		return tcNode{}, nil, inOption("handle", err)
	}
	n := tcNode{what: "qdisc", kind: s.Kind.Name, handle: handle, parent: parent, data: s.Kind.data(c), words: s.Kind.wordsOf(c)}
	back := func(ctx context.Context) error { return k.restoreQueueing(ctx, before, parent) }
	if err := k.replaceQdisc(ctx, before, n); err != nil {
		return tcNode{}, nil, k.qdiscError(err, &n)
	}
	if err := k.remember(n).understands(c); err != nil {
		return tcNode{}, nil, errors.Join(append([]error{err}, remaining(back(ctx))...)...)
	}
	return n, back, nil
}

// understands refuses what an old kernel has left out without a word.
func (q *Qdisc) understands(c chosen) error {
	for _, o := range c.options {
		if q == nil || o.since == "" || slices.ContainsFunc(q.Options, func(x QdiscOption) bool { return x.Name == o.Name }) {
			continue
		}
		return &Error{Op: fmt.Sprintf("this kernel's %s has no %s", q.Kind, o.Name), Kind: KindMissing, Hint: "Linux " + o.since + " and later has it"}
	}
	return nil
}

// parent is the number of the place.
func (s *QdiscSpec) parent() (uint32, error) {
	switch {
	case s.Kind.Ingress && s.Parent != "" && s.Parent != s.Kind.Name && s.Parent != "ingress":
		return 0, Usage("leave it out", "%s has a place of its own", s.Kind.Name)
	case s.Kind.Ingress:
		return tcIngress, nil
	case s.Parent == "":
		return tcRoot, nil
	}
	return parseTcHandle(s.Parent)
}

// handle is the number of the qdisc: what is asked for, that of one of its kind that is
// there, or the next that is free.
func (s *QdiscSpec) handle(before []tcNode, parent uint32) (uint32, error) {
	if s.Kind.Ingress {
		return tcIngress &^ 0xffff, nil
	}
	if s.Handle != "" {
		h, err := parseTcHandle(s.Handle)
		if err == nil && h&0xffff != 0 {
			err = Usage(`like "1:"`, "%q is a class's", s.Handle)
		}
		return h, err
	}
	taken := map[uint32]bool{}
	for _, n := range before {
		if n.what == "qdisc" {
			if n.parent == parent && n.kind == s.Kind.Name {
				return n.handle, nil
			}
			taken[n.handle] = true
		}
	}
	h := uint32(1 << 16)
	for taken[h] {
		h += 1 << 16
	}
	return h, nil
}

// qdiscError explains why the kernel did not take a qdisc or a class.
func (k *Link) qdiscError(err error, n *tcNode) error {
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EOPNOTSUPP) {
		if e := missing(err, feature.Qdisc, n.kind); e != nil && n.what == "qdisc" {
			return e
		}
	}
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT) && n.parent != tcRoot && n.parent != tcIngress:
		hint = fmt.Sprintf("is there a class %s? link.qdiscs and link.classes list what there is", tcHandle(n.parent))
	case errors.Is(err, unix.EOPNOTSUPP):
		hint = "the kernel does not change one of this kind in place: delete it first, or undo()"
	case errors.Is(err, unix.EEXIST) && n.parent == tcIngress:
		hint = "ingress and clsact share one place: delete the other"
	}
	return k.failed(err, hint, "set %s %s on %s", n.what, n.kind, k)
}

// tcKey names a qdisc, a class or a filter of the link.
func (k *Link) tcKey(what string, handle uint32) string {
	return fmt.Sprintf("%s %v %d %x", what, k.ns.id, k.index, handle)
}

// Delete takes a qdisc or a class off its link, with all below it.
func (q *Qdisc) Delete(ctx context.Context) error {
	k := q.Link
	if err := k.check(); err != nil {
		return err
	}
	if err := k.ns.lab.mayDelete(k.tcKey("qdisc", q.handle), q); err != nil {
		return err
	}
	if q.handle == 0 {
		return Usage("it comes with the link", "qdisc %s of %s cannot be deleted", q.Kind, k)
	}
	before, err := k.queueing()
	if err != nil {
		return err
	}
	n := tcNode{what: "qdisc", kind: q.Kind, handle: q.handle, parent: q.parent}
	if q.class {
		n.what = "class"
	}
	if err := k.dropNode(ctx, n); err != nil {
		return k.failed(err, "", "delete %s %s of %s", n.what, q.Handle, k)
	}
	k.ns.lab.onUndo(func(ctx context.Context) error { return k.restoreQueueing(ctx, before, q.parent) })
	return nil
}

// SetClass makes a class of a link's qdisc, or changes the one that is there, as `tc
// class replace` does.
func (k *Link) SetClass(ctx context.Context, s QdiscSpec) (*Shaping, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	c := chosen{options: s.Options}
	if err := s.Kind.checkOptions(k, c); err != nil {
		return nil, err
	}
	parent, err := parseTcHandle(s.Parent)
	if err != nil {
		return nil, inOption("parent", err)
	}
	handle, err := parseTcHandle(s.Handle)
	switch {
	case err != nil:
		return nil, inOption("classid", err)
	case handle&0xffff == 0:
		return nil, inOption("classid", Usage(`like "1:10"`, "%q is a qdisc's", s.Handle))
	case handle>>16 != parent>>16:
		return nil, inOption("classid", Usage("its first half is that of its qdisc", "%s is not below %s", s.Handle, s.Parent))
	}
	before, err := k.queueing()
	if err != nil {
		return nil, err
	}
	n := tcNode{what: "class", kind: s.Kind.Name, handle: handle, parent: parent, data: s.Kind.data(c), words: s.Kind.wordsOf(c)}
	if err := s.Kind.changes(before, n); err != nil {
		return nil, err
	}
	if err := k.putNode(ctx, "replace", n); err != nil {
		return nil, k.qdiscError(err, &n)
	}
	k.remember(n)
	made := &Shaping{Links: []*Link{k}, Handle: tcHandle(handle), back: []undo{func(ctx context.Context) error { return k.restoreClass(ctx, before, n) }}}
	k.ns.lab.onUndo(made.Undo)
	return made, nil
}

// changes refuses a change of a class that there is by parts that the kernel neither
// adds nor takes away.
func (q *QdiscKind) changes(before []tcNode, n tcNode) error {
	if q.fixed == nil {
		return nil
	}
	for _, is := range before {
		if is.what == "class" && is.handle == n.handle && q.fixed(is.data) != q.fixed(n.data) {
			return Usage("delete it first", "class %s has %s, and the kernel does not change which curves a class has", n.name(), strings.Join(is.words, " "))
		}
	}
	return nil
}

// tcNode is a qdisc, a class or a filter as it can be made again: the kernel's own
// options of it, and tc's words for them.
type tcNode struct {
	what, kind           string
	handle, parent, info uint32
	data                 []byte
	words                []string
	seen                 string   // the options as the kernel tells them
	mask                 string   // of a filter fw, behind its handle
	program              *os.File // of a filter bpf, kept open for when it is made again
}

// name is the handle, or "" of what has none.
func (n tcNode) name() string {
	if n.handle == 0 {
		return ""
	}
	return tcHandle(n.handle)
}

// remember keeps what a qdisc or class was asked for: the kernel does not tell all of
// it (the table of red, where each word of tc came from). It gives back what the kernel
// tells, or nil.
func (k *Link) remember(n tcNode) *Qdisc {
	k.ns.lab.claim(k.tcKey("qdisc", n.handle))
	list := k.Qdiscs
	if n.what == "class" {
		list = k.Classes
	}
	all, err := list()
	if err != nil {
		return nil
	}
	for _, q := range all {
		if q.handle == n.handle {
			n.seen, n.parent = q.seen(), q.parent
			k.recall(n)
			return q
		}
	}
	return nil
}

// recall keeps what a qdisc or class was asked for, and how the kernel has told it.
func (k *Link) recall(n tcNode) {
	if k.queued == nil {
		k.queued = map[uint32]tcNode{}
	}
	k.queued[n.handle] = n
}

// queueing is all that the link has but what comes by itself, in an order in which it
// can be made.
func (k *Link) queueing() ([]tcNode, error) {
	qdiscs, err := k.Qdiscs()
	if err != nil {
		return nil, err
	}
	var all []tcNode
	classful := false
	for _, q := range qdiscs {
		if q.handle == 0 { // made by the kernel itself
			continue
		}
		all = append(all, q.node("qdisc"))
		classful = classful || q.kind() == nil || q.kind().Classes != nil
	}
	if classful {
		classes, err := k.Classes()
		if err != nil {
			return nil, err
		}
		for _, q := range classes {
			if q.kind() != nil && q.handle&0xffff != 0 { // others come with the qdisc
				all = append(all, q.node("class"))
			}
		}
	}
	filters, err := k.filtersOf(all)
	if err != nil {
		return nil, err
	}
	return inOrder(append(all, filters...)), nil
}

// seen are its options as the kernel tells them, without what it counts.
func (q *Qdisc) seen() string {
	if kind := q.kind(); kind != nil && kind.again {
		return fmt.Sprint(q.Options)
	}
	return string(q.data)
}

// node is the qdisc or class as it can be made again.
func (q *Qdisc) node(what string) tcNode {
	known, found := q.Link.queued[q.handle]
	if found && known.what == what && known.kind == q.Kind && known.parent == q.parent && known.seen == q.seen() {
		return known
	}
	n := tcNode{what: what, kind: q.Kind, handle: q.handle, parent: q.parent, data: q.data, seen: q.seen()}
	if kind := q.kind(); kind != nil {
		c := kind.chosen(q.Options)
		n.words = kind.wordsOf(c)
		if kind.again {
			n.data = kind.data(c)
		}
	}
	return n
}

// inOrder sorts what has to be there first to the front: filters are last.
func inOrder(all []tcNode) (sorted []tcNode) {
	for len(all) > 0 {
		var rest []tcNode
		for _, n := range all {
			if slices.ContainsFunc(all, n.needs) {
				rest = append(rest, n)
			} else {
				sorted = append(sorted, n)
			}
		}
		if len(rest) == len(all) {
			return append(sorted, rest...)
		}
		all = rest
	}
	return sorted
}

// needs tells whether the other one has to be there first: a class's qdisc, what a node
// is below, and of a filter, all the rest.
func (n tcNode) needs(o tcNode) bool {
	switch {
	case o.what == "filter":
		return false
	case n.what == "filter":
		return true
	case n.handle == o.handle:
		return false
	}
	return n.parent == o.handle || o.what == "qdisc" && (n.what == "class" && o.handle == major(n.handle) || o.handle == major(n.parent))
}

// major is the handle of the qdisc of a class.
func major(handle uint32) uint32 { return handle &^ 0xffff }

// below are the qdisc at a place and all that is below it. All are in order.
func below(all []tcNode, parent uint32) (tree []tcNode) {
	qdiscs := map[uint32]bool{}
	for _, n := range all {
		switch {
		case n.what == "qdisc" && (n.parent == parent || n.parent != tcRoot && n.parent != tcIngress && qdiscs[major(n.parent)]):
			qdiscs[n.handle] = true
		case n.what == "class" && qdiscs[major(n.handle)], n.what == "filter" && qdiscs[major(n.parent)]:
		default:
			continue
		}
		tree = append(tree, n)
	}
	return tree
}

// Messages by what they are about: to make and to delete.
var tcMessages = map[string][2]int{
	"qdisc": {unix.RTM_NEWQDISC, unix.RTM_DELQDISC}, "class": {unix.RTM_NEWTCLASS, unix.RTM_DELTCLASS}, "filter": {unix.RTM_NEWTFILTER, unix.RTM_DELTFILTER},
}

func (k *Link) putNode(ctx context.Context, verb string, n tcNode) error {
	flags := unix.NLM_F_CREATE | unix.NLM_F_REPLACE
	if verb == "add" {
		flags = unix.NLM_F_CREATE | unix.NLM_F_EXCL
	}
	start := time.Now()
	r := tcRequest(tcMessages[n.what][0], flags, k.index, n.handle, n.parent, n.info)
	r.AddData(nl.NewRtAttr(tcaKind, nl.ZeroTerminated(n.kind)))
	if n.data != nil {
		options := nl.NewRtAttr(tcaOption, n.data)
		r.AddData(options)
	}
	err := k.ns.conn.do(r)
	k.ns.lab.emit(ctx, n.what+" "+verb, k.ns, start, err, k.tcArgs(n)...)
	return err
}

func (k *Link) dropNode(ctx context.Context, n tcNode) error {
	start := time.Now()
	r := tcRequest(tcMessages[n.what][1], 0, k.index, n.handle, n.parent, n.info)
	if n.what == "filter" {
		r.AddData(nl.NewRtAttr(tcaKind, nl.ZeroTerminated(n.kind)))
	}
	err := k.ns.conn.do(r)
	args := k.tcPlace(n)
	if n.what == "filter" {
		args = append(args, arg(n.kind, ""))
	}
	k.ns.lab.emit(ctx, n.what+" delete", k.ns, start, err, args...)
	return err
}

// tcArgs are a node in tc's words, in its order.
func (k *Link) tcArgs(n tcNode) []event.Arg {
	args := k.tcPlace(n)
	if n.what == "qdisc" && n.parent != tcIngress {
		args = append(args, arg("handle", tcHandle(n.handle)))
	}
	if n.what == "class" || n.parent != tcIngress {
		args = append(args, arg(n.kind, ""))
	}
	for _, w := range n.words {
		args = append(args, arg(w, ""))
	}
	return args
}

// tcPlace says which node it is, as tc takes it.
func (k *Link) tcPlace(n tcNode) []event.Arg {
	args := []event.Arg{arg("dev", k.name)}
	switch {
	case n.what == "qdisc" && n.parent == tcIngress:
		return append(args, arg(n.kind, "")) // which says the place, too
	case n.parent == tcRoot:
		args = append(args, arg("root", ""))
	default:
		args = append(args, arg("parent", tcHandle(n.parent)))
	}
	switch n.what {
	case "class":
		args = append(args, arg("classid", tcHandle(n.handle)))
	case "filter":
		args = append(args, n.filterArgs()...)
	}
	return args
}

// String is the change in a few words.
func (s *Shaping) String() string {
	var names []string
	for _, k := range s.Links {
		names = append(names, k.name)
	}
	return strings.Join(names, " ")
}
