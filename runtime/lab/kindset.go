package lab

import (
	"context"
	"errors"
	"slices"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

// Kinds are what gives a link options that can be changed: its own kind, and
// what it is as a port of its master; nil where there is none.
func (k *Link) Kinds() (own, port *Kind, err error) {
	info, err := k.Info()
	if err != nil {
		return nil, nil, err
	}
	return KindOf(info.Kind), portKindOf(info.PortKind), nil
}

// portKindOf finds what a port of a kind of master is.
func portKindOf(master string) *Kind {
	if master == "bond" {
		return bondPortKind()
	}
	return nil
}

// isPort tells whether a kind is that of ports.
func (k *Kind) isPort() bool { return strings.HasSuffix(k.Name, "_slave") }

// optionData are the attributes of the link's options, as they are now.
func (k *Link) optionData(kind *Kind) ([]*nl.RtAttr, error) {
	body, err := k.ns.conn.get(getLink(k.index, ""))
	if err != nil {
		return nil, k.failed(err, "", "read link %s", k)
	}
	if len(body) < unix.SizeofIfInfomsg {
		return nil, nil
	}
	if kind.isCommon() {
		var list []*nl.RtAttr
		for a, v := range attributes(body[unix.SizeofIfInfomsg:]) {
			list = append(list, nl.NewRtAttr(a, slices.Clone(v)))
		}
		return list, nil
	}
	place := unix.IFLA_INFO_DATA
	if kind.isPort() {
		place = unix.IFLA_INFO_SLAVE_DATA
	}
	var list []*nl.RtAttr
	for a, info := range attributes(body[unix.SizeofIfInfomsg:]) {
		if a != unix.IFLA_LINKINFO {
			continue
		}
		for a, data := range attributes(info) {
			if a != place {
				continue
			}
			for a, v := range attributes(data) {
				list = append(list, nl.NewRtAttr(a, slices.Clone(v)))
			}
		}
	}
	return list, nil
}

// setOptions changes options of a link's kind, as `ip link set LINK type KIND …`
// does, all or none.
func (k *Link) setOptions(ctx context.Context, kind *Kind, options []Chosen) (undo, error) {
	before, err := k.optionData(kind)
	if err != nil {
		return nil, err
	}
	now := kind.read(serialize(before))
	if err := k.checkChange(kind, options, now); err != nil {
		return nil, err
	}
	back := func(context.Context) error {
		if err := k.putOptions(kind, kind.back(before, options)); err != nil {
			return k.failed(err, "", "restore options of %s", k)
		}
		return nil
	}
	args := k.changeArgs(kind, options, now)
	start := time.Now()
	err = k.putOptions(kind, kind.change(before, options))
	k.ns.lab.emit(ctx, "link set", k.ns, start, err, args...)
	if err != nil {
		if len(options) > 1 {
			_ = back(ctx)
		}
		return nil, k.optionError(err, kind, options)
	}
	k.ns.lab.unsettle(k)
	return back, nil
}

func serialize(list []*nl.RtAttr) []byte {
	var b []byte
	for _, a := range list {
		b = append(b, a.Serialize()...)
	}
	return b
}

func (k *Link) checkChange(kind *Kind, options []Chosen, now map[string]any) error {
	for _, o := range options {
		if other, ok := o.Given.(*Link); ok && other != nil {
			if err := other.In(k.ns, o.Name); err != nil {
				return err
			}
		}
	}
	if now == nil {
		now = map[string]any{}
	}
	if err := kind.checkOptions(chosen{options, now, nil}); err != nil {
		return inOption("set_link", err)
	}
	return nil
}

// change are the attributes that make a change.
func (k *Kind) change(before []*nl.RtAttr, options []Chosen) []*nl.RtAttr {
	if !k.whole {
		return merge(nil, options)
	}
	list := make([]*nl.RtAttr, len(before))
	for i, a := range before {
		list[i] = nl.NewRtAttr(int(a.Type), slices.Clone(a.Data))
	}
	return merge(list, options)
}

// back are the attributes that take it back: what was there or, where the kernel
// said nothing, zeros. What is only a change leaves nothing to take back.
func (k *Kind) back(before []*nl.RtAttr, options []Chosen) []*nl.RtAttr {
	if k.whole {
		return before
	}
	var list []*nl.RtAttr
	for _, o := range options {
		if v, ok := o.Value.(restored); ok {
			list = append(list, v.back(o, before)...)
			continue
		}
		if o.Change {
			continue
		}
		for _, a := range o.Value.attributes(o.attr, o.Given) {
			kind := int(a.Type) &^ unix.NLA_F_NESTED
			was := nl.NewRtAttr(int(a.Type), make([]byte, len(a.Data)))
			if a.Type&unix.NLA_F_NESTED != 0 {
				was.Data = nil
			}
			for _, b := range before {
				if int(b.Type) == kind {
					was.Data = slices.Clone(b.Data)
				}
			}
			mask := o.mask(kind)
			for i := range mask {
				if i < len(was.Data) {
					was.Data[i] &= mask[i]
				}
			}
			list = put(list, was, mask)
		}
	}
	return list
}

// restored is a Value whose attribute as it was, among those before a change to o, would
// not set it back.
type restored interface {
	back(o Chosen, before []*nl.RtAttr) []*nl.RtAttr
}

func dataOf(list []*nl.RtAttr, attr int) []byte {
	for _, a := range list {
		if int(a.Type)&^unix.NLA_F_NESTED == attr {
			return a.Data
		}
	}
	return nil
}

// putOptions sends options of the link, or of the port that it is.
func (k *Link) putOptions(kind *Kind, data []*nl.RtAttr) error {
	if len(data) == 0 {
		return nil
	}
	r := setFlags(k.index, 0, 0)
	if kind.isCommon() {
		for _, a := range data {
			r.AddData(a)
		}
		return k.ns.conn.do(r)
	}
	if !kind.isPort() {
		r.AddData(kind.info(data))
		return k.ns.conn.do(r)
	}
	info := nl.NewRtAttr(unix.IFLA_LINKINFO, nil)
	info.AddRtAttr(unix.IFLA_INFO_SLAVE_KIND, nl.NonZeroTerminated(strings.TrimSuffix(kind.Name, "_slave")))
	info.AddRtAttr(unix.IFLA_INFO_SLAVE_DATA, serialize(data))
	r.AddData(info)
	return k.ns.conn.do(r)
}

// changeArgs are a change in `ip`'s words, with what it wants to be said each time.
func (k *Link) changeArgs(kind *Kind, options []Chosen, now map[string]any) []event.Arg {
	args := []event.Arg{arg("dev", k.name)}
	if !kind.isCommon() {
		args = append(args, arg("type", kind.Name))
	}
	c := chosen{options: options}
	var all []Chosen
	for _, name := range kind.said {
		if v := now[name]; v != nil && c.given(name) == nil {
			all = append(all, Chosen{kind.Option(name), v})
		}
	}
	for _, o := range append(all, options...) {
		args = append(args, o.args()...)
	}
	if kind.Name == "xfrm" {
		if dev, err := k.Parent(); err == nil && dev != nil {
			args = append(args, arg("option dev", dev.name))
		}
	}
	return args
}

// optionError explains why the kernel did not change options.
func (k *Link) optionError(err error, kind *Kind, options []Chosen) error {
	var names []string
	for _, o := range options {
		names = append(names, o.Name)
	}
	hint := ""
	switch {
	case errors.Is(err, unix.ENOTEMPTY):
		hint = "take its ports off first: set_link(port, master=False)"
	case errors.Is(err, unix.EINVAL) && kind == tokenKind():
		hint = "it is for a link that takes routers' advertisements: no lo, no sysctl forwarding without accept_ra=2"
	case errors.Is(err, unix.EBUSY), errors.Is(err, unix.EPERM) && kind.Name == "bond":
		hint = "down(link) first"
	case errors.Is(err, unix.EOPNOTSUPP):
		hint = "the kernel does not change that of a link of this kind"
	}
	return k.failed(err, hint, "set %s of %s", strings.Join(names, ", "), k)
}
