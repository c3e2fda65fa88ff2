package lab

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// Kind is a kind of link (IFLA_INFO_KIND).
type Kind struct {
	Name    string
	Options []*Option
	// Lower tells whether a link of this kind has a lower link.
	Lower Lower
	// Config and Module are what a kernel needs for it.
	Config, Module string

	prefix string // of a name that is left out; "" for the kind's own
	// check refuses options that do not go together; nil refuses none.
	check func([]Chosen) error
	// lowerAttr says the lower link in IFLA_INFO_DATA; 0 when IFLA_LINK does.
	lowerAttr int
}

// Lower tells whether a kind has a lower link (`ip link add link LOWER`).
type Lower int

// The kinds of need for a lower link.
const (
	NoLower    Lower = iota
	NeedsLower       // `ip link add link PARENT`
	MayHaveDev       // `ip link add … type KIND dev DEV`
)

// KindOf finds a kind by its name; nil when this package makes none of it.
func KindOf(name string) *Kind {
	for _, k := range kinds {
		if k.Name == name {
			return k
		}
	}
	return nil
}

// Option finds an option by its name, or nil.
func (k *Kind) Option(name string) *Option {
	for _, o := range k.Options {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// read reads IFLA_INFO_DATA back.
func (k *Kind) read(data []byte) map[string]any {
	values := map[string]any{}
	for kind, v := range attributes(data) {
		for _, o := range k.Options {
			if value := o.in(kind, v); value != nil {
				values[o.Name] = value
			}
		}
	}
	return values
}

// in is the option's value when the attribute has it, or nil.
func (o *Option) in(attr int, data []byte) any {
	switch v := o.Value.(type) {
	case Addr:
		if v.six == attr {
			return v.read(data)
		}
	case Hops:
		if v.Inherited == attr && u8(data) == 1 {
			return "inherit"
		}
	}
	if o.attr != attr {
		return nil
	}
	return o.Value.read(data)
}

// AddLink makes a link of any kind but veth, in its namespace at once, also where
// its lower link is in another one.
func (l *Lab) AddLink(ctx context.Context, k *Kind, s LinkSpec, lower *Link, options []Chosen) (*Link, error) {
	if s.NS == nil {
		s.NS = l.Root
		if lower != nil {
			s.NS = lower.ns
		}
	}
	if err := k.checkLower(lower); err != nil {
		return nil, err
	}
	for _, o := range options {
		if err := o.Value.check(o.Given); err != nil {
			return nil, inOption(o.Name, err)
		}
	}
	if k.check != nil {
		if err := k.check(options); err != nil {
			return nil, inOption(k.Name, err)
		}
	}
	if err := s.nameAfter(k); err != nil {
		return nil, err
	}
	if _, err := s.complete(l); err != nil {
		return nil, err
	}
	index := s.NS.chooseIndexBeside(lower)
	start := time.Now()
	err := s.bear(k, &index, lower, options)
	taken := errors.Is(err, unix.EEXIST) && lower != nil && lower.ns != s.NS
	if index != 0 && (errors.Is(err, unix.EBUSY) || taken) {
		index = 0
		err = s.bear(k, &index, lower, options)
	}
	if l.watched() {
		l.emitBirth(ctx, k, &s, index, lower, options, start, err)
	}
	if err != nil {
		return nil, s.birthError(err, k, lower)
	}
	link := s.NS.adopt(index, &s)
	l.onUndo(link.Delete)
	s.emit(ctx, l)
	link.resetLink(ctx)
	return link, nil
}

// chooseIndexBeside is chooseIndex for a link on top of another one. It must not get
// that one's index, as in AddVeth; and older kernels (6.1) look for it in the
// namespace of the lower link, so it has to be free there, too.
func (ns *Namespace) chooseIndexBeside(lower *Link) int {
	index := ns.chooseIndex()
	if lower == nil || index == 0 {
		return index
	}
	if lower.ns != ns && index < lower.ns.next {
		index = lower.ns.next
		ns.next = index + 1
	}
	if index == lower.index {
		return ns.chooseIndex()
	}
	return index
}

func (k *Kind) checkLower(lower *Link) error {
	switch {
	case lower != nil:
		return lower.check()
	case k.Lower == NeedsLower:
		return Usage(fmt.Sprintf("%s(…, parent=eth0)", k.Name), "a %s is on top of another link", k.Name)
	}
	return nil
}

// inOption names the option in an error about its value.
func inOption(name string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	named := *e
	named.Op = name + ": " + e.Op
	return &named
}

// nameAfter gives a link without a name the next free one of its kind.
func (s *LinkSpec) nameAfter(k *Kind) (err error) {
	if s.Name != "" {
		return nil
	}
	prefix := k.prefix
	if prefix == "" {
		prefix = k.Name
	}
	s.Name, err = s.NS.freeLinkName(prefix)
	return err
}

func (l *Lab) emitBirth(ctx context.Context, k *Kind, s *LinkSpec, index int, lower *Link, options []Chosen, start time.Time, err error) {
	args := append([]event.Arg{arg("type", k.Name)}, s.args(index)...)
	for _, o := range options {
		name := o.Name
		if o.ip != "" {
			name = o.ip
		}
		args = append(args, optionArgs(name, o)...)
	}
	born := s.NS
	if lower != nil {
		if k.lowerAttr != 0 {
			args = append(args, arg("option dev", lower.name))
		} else {
			args = append(args, arg("link", lower.name))
		}
		if born = lower.ns; born != s.NS {
			args = append(args, arg("netns", nsArg(s.NS)))
		}
	}
	l.emit(ctx, "link add", born, start, err, args...)
}

// optionArgs are an option in `ip`'s words: its name and the first word, and then
// the others.
func optionArgs(name string, o Chosen) []event.Arg {
	words, named := o.Value.words(o.Given)
	if !named {
		name = ""
	}
	var args []event.Arg
	switch {
	case name != "" && len(words) > 0:
		args, words = append(args, arg("option "+name, words[0])), words[1:]
	case name != "":
		args = append(args, arg("option "+name, ""))
	}
	for _, w := range words {
		args = append(args, arg("option "+w, ""))
	}
	return args
}

// bear sends the birth and what follows it. The lower link is looked up in the
// namespace that is asked, so it is asked there, and the link is born in its own
// (IFLA_NET_NS_FD).
func (s *LinkSpec) bear(k *Kind, index *int, lower *Link, options []Chosen) error {
	r := newLink()
	msg, attrs := s.head(*index, s.Up)
	r.AddData(msg)
	for _, attr := range attrs {
		r.AddData(attr)
	}
	if s.Master != nil {
		r.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(s.Master.index))))
	}
	asked := s.NS.conn
	if lower != nil {
		if k.lowerAttr == 0 {
			r.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(lower.index))))
		}
		if lower.ns != s.NS {
			fd, err := s.NS.openFD()
			if err != nil {
				return err
			}
			defer unix.Close(fd)
			r.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd))))
			asked = lower.ns.conn
		}
	}
	r.AddData(k.info(lower, options))
	rest := func() []*nl.NetlinkRequest { return s.rest(*index, true) }
	if *index != 0 && asked == s.NS.conn {
		err := asked.do(append([]*nl.NetlinkRequest{r}, rest()...)...)
		if err != nil && !refusedFirst(err) {
			s.NS.remove(*index)
		}
		return err
	}
	if err := asked.do(r); err != nil {
		return err
	}
	if *index == 0 {
		var err error
		if *index, err = s.NS.indexOf(s.Name); err != nil {
			return err
		}
	}
	err := s.NS.conn.do(rest()...)
	if err != nil {
		s.NS.remove(*index)
		return &followUp{err}
	}
	return nil
}

// followUp is a refusal of what follows a birth that succeeded.
type followUp struct{ error }

func (f *followUp) Unwrap() error { return f.error }

// info is IFLA_LINKINFO. Options that are bits of one struct share its attribute.
func (k *Kind) info(lower *Link, options []Chosen) *nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(k.Name))
	var list []*nl.RtAttr
	if k.lowerAttr != 0 && lower != nil {
		list = append(list, nl.NewRtAttr(k.lowerAttr, nl.Uint32Attr(uint32(lower.index))))
	}
	bits := map[int]*nl.RtAttr{}
	for _, o := range options {
		for _, a := range o.Value.attributes(o.attr, o.Given) {
			_, isBit := o.Value.(Bit)
			if shared := bits[o.attr]; isBit && shared != nil {
				for i := range shared.Data {
					shared.Data[i] |= a.Data[i]
				}
				continue
			}
			if isBit {
				bits[o.attr] = a
			}
			list = append(list, a)
		}
	}
	if len(list) == 0 {
		return info
	}
	data := info.AddRtAttr(unix.IFLA_INFO_DATA, nil)
	for _, a := range list {
		data.AddChild(a)
	}
	return info
}

// birthError says what the kernel did not accept.
func (s *LinkSpec) birthError(err error, k *Kind, lower *Link) error {
	var later *followUp
	first := refusedFirst(err) && !errors.As(err, &later)
	switch {
	case errors.Is(err, unix.EEXIST) && first:
		if other, e := s.NS.Link(s.Name); e == nil && other != nil {
			return kernelError(err, "use another name", "make %s %s: there is a link of that name in %s", k.Name, s.Name, s.NS)
		}
		return kernelError(err, "there is one with the same options", "make %s %s%s", k.Name, s.Name, where(s.NS))
	case errors.Is(err, unix.EOPNOTSUPP) && first:
		if e := missing(err, feature.Link, k.Name); e != nil {
			return e
		}
		if e := missing(err, feature.Bridge, "vlan_filtering"); e != nil && k.Name == "bridge" {
			return e
		}
	}
	if detail := s.blame(err); detail != "" && !first {
		return kernelError(err, "", "make %s %s with %s", k.Name, s.Name, detail)
	}
	hint := mtuHint(err, s.MTU)
	if errors.Is(err, unix.ELOOP) {
		hint = "a bridge cannot be a port of another bridge"
	}
	return kernelError(err, hint, "make %s %s%s", k.Name, s.Name, where(s.NS))
}
