package lab

import (
	"cmp"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/feature"
)

const fou = "fou"

// Commands, attributes and types of the generic netlink family
// (include/uapi/linux/fou.h).
const (
	fouAdd = 1 // FOU_CMD_ADD
	fouDel = 2
	fouGet = 3

	fouPort     = 1 // FOU_ATTR_PORT
	fouAF       = 2
	fouIPProto  = 3
	fouType     = 4
	fouLocal4   = 6
	fouLocal6   = 7
	fouPeer4    = 8
	fouPeer6    = 9
	fouPeerPort = 10
	fouIfindex  = 11

	fouDirect = 1 // FOU_ENCAP_DIRECT
	fouGUE    = 2
)

// FOU is a UDP port whose datagrams the kernel takes the header off ("foo over UDP",
// ip-fou(8)): the other end of a tunnel with encap.
type FOU struct {
	NS       *Namespace
	Family   int // AF_INET or AF_INET6
	Port     int
	Proto    int  // the IP protocol of what is inside; or
	GUE      bool // generic UDP encapsulation (draft-ietf-intarea-gue), which says it itself
	Local    netip.Addr
	Peer     netip.Addr
	PeerPort int
	Dev      *Link
}

// FOUType is the format, as `ip -d` names it on a tunnel: fou or gue.
func (f *FOU) FOUType() string {
	if f.GUE {
		return "gue"
	}
	return fou
}

// String is the port as `ip fou show` prints it.
func (f *FOU) String() string {
	var w []string
	for _, a := range f.args() {
		if a.Key != "family" {
			w = append(w, strings.TrimSpace(a.Key+" "+a.Value))
		}
	}
	return strings.Join(w, " ")
}

// args are the arguments of `ip fou add`.
func (f *FOU) args() []event.Arg {
	args := f.place()
	if f.GUE {
		args = append(args, arg("gue", ""))
	} else {
		args = append(args, arg("ipproto", strconv.Itoa(f.Proto)))
	}
	return args
}

// place is what tells one port from another.
func (f *FOU) place() []event.Arg {
	args := []event.Arg{arg("family", "inet"), arg("port", strconv.Itoa(f.Port))}
	if f.Family == unix.AF_INET6 {
		args[0].Value = "inet6"
	}
	if f.Local.IsValid() {
		args = append(args, arg("local", f.Local.String()))
	}
	if f.Peer.IsValid() {
		args = append(args, arg("peer", f.Peer.String()), arg("peer_port", strconv.Itoa(f.PeerPort)))
	}
	if f.Dev != nil {
		args = append(args, arg("dev", f.Dev.name))
	}
	return args
}

func (f *FOU) key() string {
	var words []string
	for _, a := range f.place() {
		words = append(words, a.Value)
	}
	return fmt.Sprintf("fou %v %s", f.NS.id, strings.Join(words, " "))
}

// AddFOU makes a port, as `ip fou add` does; with exist it takes the one that is there.
func (ns *Namespace) AddFOU(ctx context.Context, f FOU, exist bool) (*FOU, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	f.NS = ns
	if f.Dev != nil {
		if err := f.Dev.In(ns, "dev"); err != nil {
			return nil, err
		}
	}
	if exist {
		if there, err := f.there(); err != nil || there != nil {
			return there, err
		}
	}
	if err := f.change(ctx, fouAdd); err != nil {
		hint := ""
		if errors.Is(err, unix.EADDRINUSE) || errors.Is(err, unix.EALREADY) {
			hint = "something has the port: exist=True takes one that is there"
		}
		return nil, ns.fouError(err, hint, "add fou %s%s", &f, where(ns))
	}
	ns.lab.claim(f.key())
	ns.lab.onUndo(func(ctx context.Context) error { return f.change(ctx, fouDel) })
	return &f, nil
}

// there is the port of that place, if it takes the same off.
func (f *FOU) there() (*FOU, error) {
	all, err := f.NS.FOUs()
	for _, there := range all {
		if there.key() != f.key() {
			continue
		}
		if there.GUE != f.GUE || there.Proto != f.Proto {
			return nil, Usage("delete it first", "there is fou %s, not %s", there, f)
		}
		return there, nil
	}
	return nil, err
}

// Delete gives the port up.
func (f *FOU) Delete(ctx context.Context) error {
	if err := f.NS.check(); err != nil {
		return err
	}
	if err := f.NS.lab.mayDelete(f.key(), f); err != nil {
		return err
	}
	if err := f.change(ctx, fouDel); err != nil {
		return f.NS.fouError(err, "", "delete fou %s%s", f, where(f.NS))
	}
	f.NS.lab.onUndo(func(ctx context.Context) error { return f.change(ctx, fouAdd) })
	return nil
}

func (f *FOU) change(ctx context.Context, command int) error {
	op, args := "fou add", f.args()
	if command == fouDel {
		op, args = "fou delete", f.place()
	}
	start := time.Now()
	err := f.NS.generic(fou, func(c *conn, family int) error {
		r := genericRequest(family, command, 0)
		r.AddRawData(f.attributes())
		return c.do(r)
	})
	f.NS.lab.emit(ctx, op, f.NS, start, err, args...)
	return err
}

func (f *FOU) attributes() (b []byte) {
	add := func(kind int, v []byte) { b = append(b, attr(kind, v)...) }
	address := func(four, six int, ip netip.Addr) {
		switch {
		case ip.Is4():
			add(four, ip.AsSlice())
		case ip.IsValid():
			add(six, ip.AsSlice())
		}
	}
	add(fouPort, binary.BigEndian.AppendUint16(nil, uint16(f.Port)))
	add(fouAF, []byte{byte(f.Family)})
	if f.GUE {
		add(fouType, []byte{fouGUE})
	} else {
		add(fouType, []byte{fouDirect})
		add(fouIPProto, []byte{byte(f.Proto)})
	}
	address(fouLocal4, fouLocal6, f.Local)
	address(fouPeer4, fouPeer6, f.Peer)
	if f.Peer.IsValid() {
		add(fouPeerPort, binary.BigEndian.AppendUint16(nil, uint16(f.PeerPort)))
	}
	if f.Dev != nil {
		add(fouIfindex, nl.Uint32Attr(uint32(f.Dev.index)))
	}
	return b
}

// fouError explains a refusal: the kernel has no such ports before its module is loaded,
// which nothing but a person does.
func (ns *Namespace) fouError(err error, hint, format string, args ...any) error {
	switch {
	case errors.Is(err, unix.ENOENT):
		if e := missing(err, feature.Routing, "foo over UDP"); e != nil {
			return e
		}
	case errors.Is(err, unix.EPERM) && !ns.lab.options.Host:
		hint = "the kernel lets only the machine's root do that: run it as root, without a user namespace around it"
	}
	return kernelError(err, hint, format, args...)
}

// FOUs lists the ports, in order: none where the kernel has no such thing.
func (ns *Namespace) FOUs() (all []*FOU, err error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	err = ns.generic(fou, func(c *conn, family int) error {
		return c.dump(func() *nl.NetlinkRequest { return genericRequest(family, fouGet, 0) }, func() { all = nil }, func(body []byte) error {
			all = append(all, ns.parseFOU(body[min(len(body), unix.GENL_HDRLEN):]))
			return nil
		})
	})
	if errors.Is(err, unix.ENOENT) || errors.Is(err, unix.EPERM) { // in a user namespace nobody can have made one
		return nil, nil
	}
	if err != nil {
		return nil, kernelError(err, "", "list FOU ports%s", where(ns))
	}
	slices.SortStableFunc(all, func(a, b *FOU) int { return cmp.Or(a.Port-b.Port, a.Family-b.Family) })
	return all, nil
}

func (ns *Namespace) parseFOU(b []byte) *FOU {
	f := &FOU{NS: ns, Family: unix.AF_INET}
	address := func(b []byte) (ip netip.Addr) {
		if ip, _ = netip.AddrFromSlice(b); ip.IsUnspecified() {
			return netip.Addr{}
		}
		return ip
	}
	port := func(b []byte) int { return int(binary.BigEndian.Uint16(append(b[:len(b):len(b)], 0, 0))) }
	for kind, v := range attributes(b) {
		switch kind {
		case fouPort:
			f.Port = port(v)
		case fouAF:
			f.Family = u8(v)
		case fouIPProto:
			f.Proto = u8(v)
		case fouType:
			f.GUE = u8(v) == fouGUE
		case fouLocal4, fouLocal6:
			f.Local = address(v)
		case fouPeer4, fouPeer6:
			f.Peer = address(v)
		case fouPeerPort:
			f.PeerPort = port(v)
		case fouIfindex:
			f.Dev = ns.linkAt(int(u32(v)))
		}
	}
	return f
}
