package lab

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

// birth is a link that is to be made.
type birth struct {
	LinkSpec
	kind    *Kind
	lower   *Link
	options []Chosen
	index   int // 0 for the kernel to choose
	// asked is the namespace that is asked to make it: that of the lower link or of
	// the tunnel's packets, where this is another one.
	asked *Namespace
}

// AddLink makes a link of any kind but veth, in its namespace at once, also where
// its lower link is in another one.
func (l *Lab) AddLink(ctx context.Context, k *Kind, s LinkSpec, lower *Link, options []Chosen) (*Link, error) {
	b := &birth{LinkSpec: s, kind: k, lower: lower, options: options}
	if err := b.complete(l); err != nil {
		return nil, err
	}
	if link, err := b.existing(); err != nil {
		return nil, err
	} else if link != nil {
		return link, link.is(&b.LinkSpec, k, lower, options)
	}
	late, up := b.takeLate(), b.waits()
	index := b.chooseIndex()
	b.index = index
	start := time.Now()
	err := b.bear()
	if err != nil && (b.withdraw(index) || b.asked.skipTaken(index)) {
		b.index = b.chooseIndex()
		err = b.bear()
	}
	if k.carrier == ofBirth {
		l.fallbacks[k.Name] = true
	}
	if l.watched() {
		b.emit(ctx, l, start, err)
	}
	if err != nil {
		return nil, b.failed(err)
	}
	link := b.NS.adopt(b.index, &b.LinkSpec)
	l.onUndo(link.Delete)
	b.LinkSpec.emit(ctx, l)
	link.resetLink(ctx)
	err = link.equip(ctx, b, late)
	if err == nil {
		err = link.finish(ctx, &b.LinkSpec, up)
	}
	if err != nil {
		_ = link.Delete(ctx)
		return nil, err
	}
	return link, nil
}

// takeLate takes away the options that need the ports to be there.
func (b *birth) takeLate() (late []Chosen) {
	if len(b.Ports) == 0 {
		return nil
	}
	b.options = slices.DeleteFunc(slices.Clone(b.options), func(o Chosen) bool {
		if o.late {
			late = append(late, o)
		}
		return o.late
	})
	return late
}

// equip gives the link its ports, and what needs them.
func (k *Link) equip(ctx context.Context, b *birth, late []Chosen) error {
	for _, p := range b.Ports {
		if err := p.Set(ctx, LinkChange{Master: k}); err != nil {
			return err
		}
	}
	if late == nil {
		return nil
	}
	_, err := k.setOptions(ctx, b.kind, late)
	return err
}

// complete fills in what was left out and refuses what cannot be.
func (b *birth) complete(l *Lab) error {
	if b.NS == nil {
		b.NS = l.Root
		switch {
		case b.lower != nil:
			b.NS = b.lower.ns
		case b.Carrier != nil:
			b.NS = b.Carrier
		}
	}
	if err := b.kind.checkLower(b.lower); err != nil {
		return err
	}
	if err := b.kind.checkOptions(chosen{b.options, nil, b.lower}); err != nil {
		return inOption(b.kind.Name, err)
	}
	if b.Exist && b.Name == "" {
		return Usage("like \""+b.kind.Name+"0\"", "exist=True needs a name")
	}
	if err := b.nameAfter(b.kind); err != nil {
		return err
	}
	b.noMAC = b.kind.NoMAC
	if _, err := b.LinkSpec.complete(l); err != nil {
		return err
	}
	return b.whom()
}

// whom chooses the namespace that is asked. A lower link is looked up in the one
// that is asked, so that it is that one's.
func (b *birth) whom() error {
	b.asked = b.NS
	if b.Carrier != nil {
		if err := b.Carrier.check(); err != nil {
			return err
		}
		b.asked = b.Carrier
	}
	if b.lower == nil {
		return nil
	}
	if b.Carrier != nil && b.lower.ns != b.Carrier {
		return Usage("leave link_netns out: it is where dev is", "dev %s is not in %s", b.lower, b.Carrier)
	}
	b.asked = b.lower.ns
	return nil
}

// moves tells whether it is born in the namespace that is asked and then moves.
func (b *birth) moves() bool { return b.asked != b.NS && b.kind.carrier == ofBirth }

// checkOptions refuses values out of range and options that do not go together.
func (k *Kind) checkOptions(c chosen) error {
	for _, o := range c.options {
		if err := o.Value.check(o.Given); err != nil {
			return inOption(o.Name, err)
		}
	}
	if k.check == nil {
		return nil
	}
	return k.check(c)
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

// chooseIndex is the namespace's choice for a link on top of another one. It must
// not get that one's index, as in AddVeth; and older kernels (6.1) look for it in
// the namespace that is asked, so it has to be free there, too.
func (b *birth) chooseIndex() int {
	index := b.NS.chooseIndex()
	if index == 0 || b.asked == b.NS && b.lower == nil {
		return index
	}
	if b.asked != b.NS && index < b.asked.next {
		index = b.asked.next
		b.NS.next = index + 1
	}
	if b.lower != nil && index == b.lower.index {
		return b.NS.chooseIndex()
	}
	return index
}

// emit reports the birth, and the move where there is one.
func (b *birth) emit(ctx context.Context, l *Lab, start time.Time, err error) {
	args := append([]event.Arg{arg("type", b.kind.Name)}, b.args(b.index)...)
	for _, o := range b.options {
		args = append(args, o.args()...)
	}
	if b.lower != nil {
		if b.kind.lowerAttr != 0 {
			args = append(args, arg("option dev", b.lower.name))
		} else {
			args = append(args, arg("link", b.lower.name))
		}
	}
	if b.asked != b.NS && !b.moves() {
		args = append(args, arg("netns", nsArg(b.NS)))
	}
	l.emit(ctx, "link add", b.asked, start, err, args...)
	if b.moves() && err == nil {
		l.emit(ctx, "link set", b.asked, start, nil, arg("dev", b.Name), arg("netns", nsArg(b.NS)))
	}
}

// args are the option in `ip`'s words: its name and the first word, and then the
// others.
func (o Chosen) args() []event.Arg {
	name := o.Name
	if o.ip != "" {
		name = o.ip
	}
	return optionArgs(name, o)
}

// bear sends the birth and what follows it.
func (b *birth) bear() error {
	if b.moves() {
		return b.bearAndMove()
	}
	r := b.request()
	if b.asked != b.NS {
		fd, err := b.NS.openFD()
		if err != nil {
			return err
		}
		defer unix.Close(fd)
		r.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd))))
	}
	if b.index != 0 && b.asked == b.NS {
		err := b.NS.conn.do(append([]*nl.NetlinkRequest{r}, b.rest(b.index, true)...)...)
		if err != nil && !refusedFirst(err) {
			b.NS.remove(b.index)
		}
		return err
	}
	if err := b.asked.conn.do(r); err != nil {
		return err
	}
	return b.follow(true)
}

// bearAndMove makes the link where its packets go, down, and moves it.
func (b *birth) bearAndMove() error {
	fd, err := b.NS.openFD()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	if err := b.asked.conn.do(b.request()); err != nil {
		return err
	}
	index := b.index
	if index == 0 {
		if index, err = b.asked.indexOf(b.Name); err != nil {
			return err
		}
	}
	move := setFlags(index, 0, 0)
	move.AddData(nl.NewRtAttr(unix.IFLA_NET_NS_FD, nl.Uint32Attr(uint32(fd))))
	if err := b.asked.conn.do(move); err != nil {
		b.asked.remove(index)
		return err
	}
	b.index = 0 // where that one is taken, the kernel chooses another
	return b.follow(false)
}

// follow sends what follows a birth that has been acknowledged.
func (b *birth) follow(born bool) (err error) {
	if b.index == 0 {
		if b.index, err = b.NS.indexOf(b.Name); err != nil {
			return err
		}
	}
	if err := b.NS.conn.do(b.rest(b.index, born)...); err != nil {
		b.NS.remove(b.index)
		return &followUp{err}
	}
	return nil
}

// request is the RTM_NEWLINK: also up and with its master, unless it moves.
func (b *birth) request() *nl.NetlinkRequest {
	r := newLink()
	msg, attrs := b.head(b.index, b.Up && !b.moves())
	r.AddData(msg)
	for _, attr := range attrs {
		r.AddData(attr)
	}
	if b.Master != nil && !b.moves() {
		r.AddData(nl.NewRtAttr(unix.IFLA_MASTER, nl.Uint32Attr(uint32(b.Master.index))))
	}
	if b.lower != nil && b.kind.lowerAttr == 0 {
		r.AddData(nl.NewRtAttr(unix.IFLA_LINK, nl.Uint32Attr(uint32(b.lower.index))))
	}
	r.AddData(b.info())
	return r
}

// followUp is a refusal of what follows a birth that succeeded.
type followUp struct{ error }

func (f *followUp) Unwrap() error { return f.error }

// info is IFLA_LINKINFO.
func (b *birth) info() *nl.RtAttr {
	var data []*nl.RtAttr
	if b.kind.lowerAttr != 0 && b.lower != nil {
		data = append(data, nl.NewRtAttr(b.kind.lowerAttr, nl.Uint32Attr(uint32(b.lower.index))))
	}
	return b.kind.info(merge(data, b.withInitial()))
}

// withInitial are the options with what `ip` says where they are left out.
func (b *birth) withInitial() []Chosen {
	c := chosen{options: b.options}
	var all []Chosen
	for _, o := range b.kind.Options {
		v := o.initial
		if c.on("external") {
			v = o.external
		}
		if v != nil && c.given(o.Name) == nil {
			all = append(all, Chosen{o, v})
		}
	}
	return append(all, b.options...)
}

// info is IFLA_LINKINFO with options as attributes.
func (k *Kind) info(data []*nl.RtAttr) *nl.RtAttr {
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_KIND, nl.NonZeroTerminated(k.Name))
	if len(data) == 0 {
		return info
	}
	list := info.AddRtAttr(unix.IFLA_INFO_DATA, nil)
	for _, a := range data {
		list.AddChild(a)
	}
	return info
}

// merge lays options over attributes: those that are bits in an attribute leave its
// other bits as they are.
func merge(list []*nl.RtAttr, options []Chosen) []*nl.RtAttr {
	for _, o := range options {
		for _, a := range o.Value.attributes(o.attr, o.Given) {
			list = put(list, a, o.mask(int(a.Type)))
		}
	}
	return list
}

// mask has the bits that the option means in an attribute; nil for all of them.
func (o *Option) mask(attr int) []byte {
	if v, ok := o.Value.(sharing); ok {
		return v.mask(attr &^ unix.NLA_F_NESTED)
	}
	return nil
}

func put(list []*nl.RtAttr, a *nl.RtAttr, mask []byte) []*nl.RtAttr {
	for i, other := range list {
		switch {
		case other.Type&^unix.NLA_F_NESTED != a.Type&^unix.NLA_F_NESTED:
			continue
		case mask == nil || len(other.Data) != len(a.Data):
			list[i] = a
		default:
			for n := range a.Data {
				other.Data[n] = other.Data[n]&^mask[n] | a.Data[n]
			}
		}
		return list
	}
	return append(list, a)
}

// lowerMTU is the hint where the link below lets no such large packets through.
func (b *birth) lowerMTU(err error) string {
	if b.lower == nil || b.MTU == 0 || !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ERANGE) {
		return ""
	}
	info, e := b.lower.Info()
	if e != nil || b.MTU <= info.MTU {
		return ""
	}
	return fmt.Sprintf("the MTU of %s is %d bytes, and no larger one goes on top of it", b.lower.name, info.MTU)
}

// failed says what the kernel did not accept.
func (b *birth) failed(err error) error {
	k, s := b.kind, &b.LinkSpec
	var later *followUp
	first := refusedFirst(err) && !errors.As(err, &later)
	switch {
	case errors.Is(err, unix.EEXIST) && first:
		if other, e := s.NS.Link(s.Name); e == nil && other != nil {
			return kernelError(err, "use another name", "make %s %s: there is a link of that name in %s", k.Name, s.Name, s.NS)
		}
		if b.moves() {
			if other, e := b.asked.Link(s.Name); e == nil && other != nil {
				return kernelError(err, "use another name: it is born there, and then moves", "make %s %s: there is a link of that name in %s", k.Name, s.Name, b.asked)
			}
		}
		hint := "there is one with the same options"
		if k.carrier == ofBirth {
			hint += "; what has neither remote nor local nor key is the kernel's own (gre0, tunl0, sit0, ip6tnl0 …)"
		}
		return kernelError(err, hint, "make %s %s%s", k.Name, s.Name, where(s.NS))
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
	if encap := (chosen{options: b.options}).given("encap"); errors.Is(err, unix.EINVAL) && (encap == "fou" || encap == "gue") {
		if e := missing(err, feature.Routing, "foo over UDP"); e != nil {
			return e
		}
	}
	hint := cmp.Or(mtuHint(err, s.MTU), b.lowerMTU(err))
	if errors.Is(err, unix.ELOOP) {
		hint = "a bridge cannot be a port of another bridge"
	}
	return kernelError(err, hint, "make %s %s%s", k.Name, s.Name, where(s.NS))
}
