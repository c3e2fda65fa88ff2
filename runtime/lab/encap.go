package lab

import (
	"encoding/binary"
	"errors"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/feature"
)

// Encap is what a route or nexthop object puts around packets, or does to them: a
// lightweight tunnel (ip-route(8), "encap").
type Encap struct {
	kind  *encapKind
	data  []byte // the attributes in RTA_ENCAP
	ip    string // as `ip` takes it
	shown string // as it reads back, which differs for programs alone
	files []interface{ Close() error }
}

// String is the encapsulation in the words of `ip route`, without "encap".
func (e *Encap) String() string { return e.shown }

// close lets go of the programs that the kernel has by now, or has refused.
func (e *Encap) close() {
	if e == nil {
		return
	}
	for _, f := range e.files {
		f.Close()
	}
	e.files = nil
}

// tellsAll is false of programs: what reads back is not enough to make it again.
func (e *Encap) tellsAll() bool {
	return e.kind.name != "bpf" && !strings.Contains(e.shown, " endpoint ")
}

// attributes are the two that say it, whose numbers differ between routes and
// nexthop objects.
func (e *Encap) attributes(kind, data int) []byte {
	b := nl.NewRtAttr(kind, nl.Uint16Attr(e.kind.number)).Serialize()
	return append(b, nl.NewRtAttr(data|unix.NLA_F_NESTED, e.data).Serialize()...)
}

// encapKind is a kind of lightweight tunnel.
type encapKind struct {
	name   string
	number uint16 // LWTUNNEL_ENCAP_* of include/uapi/linux/lwtunnel.h
	parse  func(*encapWords) error
	show   func(ns *Namespace, data []byte) string
}

// encapKinds are made when the first one is asked for.
func encapKinds() []encapKind {
	return []encapKind{
		{"mpls", 1, parseMPLSEncap, showMPLSEncap},
		{"ip", 2, parseIPEncap, showIPEncap},
		{"ila", 3, parseILA, showILA},
		{"ip6", 4, parseIPEncap, showIPEncap},
		{"seg6", 5, parseSeg6, showSeg6},
		{"bpf", 6, parseBPFEncap, showBPFEncap},
		{"seg6local", 7, parseSeg6Local, showSeg6Local},
		{"rpl", 8, parseRPL, showRPL},
		{"ioam6", 9, parseIOAM6, showIOAM6},
		{"xfrm", 10, parseXFRMEncap, showXFRMEncap},
	}
}

func findEncap(is func(k *encapKind) bool) *encapKind {
	for _, k := range encapKinds() {
		if is(&k) {
			return &k
		}
	}
	return nil
}

// ParseEncap reads an encapsulation in the words of `ip route`, like "mpls 100/200"
// or "seg6 mode encap segs fc00::1". Its links are those of the namespace.
func (ns *Namespace) ParseEncap(text string) (*Encap, error) {
	w := &encapWords{ns: ns, rest: strings.Fields(text)}
	name, err := w.value("encap")
	if err != nil {
		return nil, err
	}
	w.name = name
	kind := findEncap(func(k *encapKind) bool { return k.name == name })
	if kind == nil {
		var names []string
		for _, k := range encapKinds() {
			names = append(names, k.name)
		}
		return nil, Usage("they are "+strings.Join(names, ", "), "encap: there is no kind %q", name)
	}
	if err := kind.parse(w); err != nil {
		(&Encap{files: w.files}).close()
		return nil, err
	}
	e := &Encap{kind: kind, data: w.data, files: w.files}
	e.shown = strings.TrimSpace(kind.name + " " + kind.show(ns, e.data))
	e.ip = e.shown
	if w.files != nil {
		e.ip = strings.Join(strings.Fields(text), " ")
	}
	return e, nil
}

// readEncap is an encapsulation that the kernel tells; nil when the route has none.
func (ns *Namespace) readEncap(number int, data []byte) *Encap {
	kind := findEncap(func(k *encapKind) bool { return int(k.number) == number })
	if kind == nil {
		return nil
	}
	e := &Encap{kind: kind, data: data, shown: strings.TrimSpace(kind.name + " " + kind.show(ns, data))}
	e.ip = e.shown
	return e
}

// missing says that the kernel lacks the kind, if that is what it answered.
func (e *Encap) missing(err error) error {
	if e == nil || !errors.Is(err, unix.EOPNOTSUPP) {
		return nil
	}
	return missing(err, feature.Encap, e.kind.name)
}

// encapWords are the words of an encapsulation that are to be read yet, and the
// attributes of those that have been.
type encapWords struct {
	ns    *Namespace
	name  string
	rest  []string
	data  []byte
	files []interface{ Close() error }
}

func (w *encapWords) usage(format string, args ...any) error {
	return Usage("it is as ip-route(8) has it", "encap "+strings.TrimSpace(w.name+": ")+" "+format, args...)
}

func (w *encapWords) add(kind int, data []byte) {
	w.data = append(w.data, nl.NewRtAttr(kind, data).Serialize()...)
}

// value is the next word, the value of an option.
func (w *encapWords) value(option string) (string, error) {
	if len(w.rest) == 0 {
		return "", w.usage("%s has no value", option)
	}
	word := w.rest[0]
	w.rest = w.rest[1:]
	return word, nil
}

// number is the next word as a whole number within bounds.
func (w *encapWords) number(option string, least, most uint64) (uint64, error) {
	word, err := w.value(option)
	if err != nil {
		return 0, err
	}
	return w.numeral(option, word, least, most)
}

func (w *encapWords) numeral(option, word string, least, most uint64) (uint64, error) {
	n, err := strconv.ParseUint(word, 0, 64)
	if err != nil && !errors.Is(err, strconv.ErrRange) {
		return 0, w.usage("%s: %q is no whole number", option, word)
	}
	if err != nil || n < least || n > most {
		return 0, w.usage("%s: %s is out of range: it is from %d to %d", option, word, least, most)
	}
	return n, nil
}

// address is the next word as an address of a family.
func (w *encapWords) address(option string, six bool) (netip.Addr, error) {
	word, err := w.value(option)
	if err != nil {
		return netip.Addr{}, err
	}
	return w.addressOf(option, word, six)
}

func (w *encapWords) addressOf(option, word string, six bool) (netip.Addr, error) {
	version := "IPv4"
	if six {
		version = "IPv6"
	}
	ip, err := netip.ParseAddr(word)
	if err != nil || ip.Is6() != six || ip.Zone() != "" {
		return ip, w.usage("%s: %q is no %s address", option, word, version)
	}
	return ip, nil
}

// word is the next word as one of some, by its place among them.
func (w *encapWords) word(option string, words []string) (int, error) {
	word, err := w.value(option)
	if err != nil {
		return 0, err
	}
	for i, known := range words {
		if known == word && word != "" {
			return i, nil
		}
	}
	var known []string
	for _, k := range words {
		if k != "" {
			known = append(known, k)
		}
	}
	return 0, w.usage("%s: there is no %q: they are %s", option, word, strings.Join(known, ", "))
}

// link is the next word as the index of a link.
func (w *encapWords) link(option string) (uint32, error) {
	word, err := w.value(option)
	if err != nil {
		return 0, err
	}
	k, err := w.ns.Link(word)
	if err != nil {
		return 0, err
	}
	if k == nil {
		return 0, w.usage("%s: there is no link %q%s", option, word, where(w.ns))
	}
	return uint32(k.index), nil
}

// each reads options, every one once at most.
func (w *encapWords) each(options map[string]func() error) error {
	seen := map[string]bool{}
	for len(w.rest) > 0 {
		name, _ := w.value("")
		option := options[name]
		switch {
		case option == nil:
			var names []string
			for known := range options {
				names = append(names, known)
			}
			if near := Nearest(name, names); near != "" {
				return w.usage("it has no word %q: did you mean %s?", name, near)
			}
			return w.usage("it has no word %q", name)
		case seen[name]:
			return w.usage("%s is given twice", name)
		}
		seen[name] = true
		if err := option(); err != nil {
			return err
		}
	}
	return nil
}

// byteOption makes the option of an attribute of one byte.
func (w *encapWords) byteOption(name string, attr int) func() error {
	return func() error {
		n, err := w.number(name, 0, 255)
		w.add(attr, []byte{byte(n)})
		return err
	}
}

// linkName is a link's name as the kernel's number says it.
func (ns *Namespace) linkName(index uint32) string {
	if k := ns.linkAt(int(index)); k != nil {
		return k.name
	}
	return fmt.Sprintf("if%d", index) // as `ip` does
}

// MPLS (RFC 3032; include/uapi/linux/mpls_iptunnel.h).

const mplsDst, mplsTTL = 1, 2

func parseMPLSEncap(w *encapWords) error {
	word, err := w.value("the labels")
	if err != nil {
		return err
	}
	labels, err := ParseLabels(word)
	if err != nil {
		return inOption("encap mpls", err)
	}
	w.add(mplsDst, labels.stack())
	return w.each(map[string]func() error{"ttl": w.byteOption("ttl", mplsTTL)})
}

func showMPLSEncap(_ *Namespace, data []byte) string {
	var words []string
	for kind, v := range attributes(data) {
		switch kind {
		case mplsDst:
			words = append([]string{parseStack(v).String()}, words...)
		case mplsTTL:
			words = append(words, "ttl", strconv.Itoa(u8(v)))
		}
	}
	return strings.Join(words, " ")
}

// Labels are MPLS labels, the outermost first.
type Labels []int

// maxLabel is the highest one, of 20 bits.
const maxLabel = 1<<20 - 1

// ParseLabels reads labels as `ip` writes them, "100/200".
func ParseLabels(text string) (Labels, error) {
	var labels Labels
	for _, word := range strings.Split(text, "/") {
		n, err := strconv.ParseUint(word, 0, 32)
		if err != nil || n > maxLabel {
			return nil, Usage(`like "100" or "100/200"`, "%q is no MPLS label: they are from 0 to %d", word, maxLabel)
		}
		labels = append(labels, int(n))
	}
	return labels, nil
}

func (l Labels) String() string {
	var words []string
	for _, n := range l {
		words = append(words, strconv.Itoa(n))
	}
	return strings.Join(words, "/")
}

// stack is the label stack on the wire; the last label has the bottom bit.
func (l Labels) stack() (b []byte) {
	for i, n := range l {
		entry := uint32(n) << 12
		if i == len(l)-1 {
			entry |= 1 << 8
		}
		b = binary.BigEndian.AppendUint32(b, entry)
	}
	return b
}

func parseStack(b []byte) (l Labels) {
	for ; len(b) >= 4; b = b[4:] {
		l = append(l, int(binary.BigEndian.Uint32(b)>>12))
	}
	return l
}

// Identifier-locator addressing (include/uapi/linux/ila.h).

const ilaLocator, ilaCsumMode, ilaIdentType, ilaHookType = 1, 7, 8, 9

var (
	ilaCsumModes  = []string{"adj-transport", "neutral-map", "no-action", "neutral-map-auto"}
	ilaIdentTypes = map[int]string{1: "luid", 32: "use-format"}
	ilaHookTypes  = []string{"output", "input"}
)

func parseILA(w *encapWords) error {
	word, err := w.value("the locator")
	if err != nil {
		return err
	}
	locator, err := netip.ParseAddr(word + "::")
	if err != nil || strings.Count(word, ":") != 3 {
		return w.usage("%q is no locator: it is of 64 bits, like 2001:db8:0:1", word)
	}
	b := locator.As16()
	w.add(ilaLocator, b[:8])
	choice := func(name string, attr int, words []string) func() error {
		return func() error {
			n, err := w.word(name, words)
			w.add(attr, []byte{byte(n)})
			return err
		}
	}
	idents := make([]string, 33)
	for n, name := range ilaIdentTypes {
		idents[n] = name
	}
	return w.each(map[string]func() error{
		"csum-mode":  choice("csum-mode", ilaCsumMode, ilaCsumModes),
		"ident-type": choice("ident-type", ilaIdentType, idents),
		"hook-type":  choice("hook-type", ilaHookType, ilaHookTypes),
	})
}

func showILA(_ *Namespace, data []byte) string {
	var words []string
	for kind, v := range attributes(data) {
		switch kind {
		case ilaLocator:
			var parts []string
			for ; len(v) >= 2; v = v[2:] {
				parts = append(parts, strconv.FormatUint(uint64(binary.BigEndian.Uint16(v)), 16))
			}
			words = append([]string{strings.Join(parts, ":")}, words...)
		case ilaCsumMode:
			words = append(words, "csum-mode", nameOf(ilaCsumModes, u8(v)))
		case ilaIdentType:
			if name := ilaIdentTypes[u8(v)]; name != "" {
				words = append(words, "ident-type", name)
			}
		case ilaHookType:
			words = append(words, "hook-type", nameOf(ilaHookTypes, u8(v)))
		}
	}
	return strings.Join(words, " ")
}

// xfrm interfaces (include/uapi/linux/lwtunnel.h).

const xfrmIfID, xfrmLink = 1, 2

func parseXFRMEncap(w *encapWords) error {
	given := false
	err := w.each(map[string]func() error{
		"if_id": func() error {
			n, err := w.number("if_id", 1, 1<<32-1)
			w.add(xfrmIfID, nl.Uint32Attr(uint32(n)))
			given = true
			return err
		},
		"link_dev": func() error {
			index, err := w.link("link_dev")
			w.add(xfrmLink, nl.Uint32Attr(index))
			return err
		},
	})
	if err == nil && !given {
		return w.usage("if_id is missing")
	}
	return err
}

func showXFRMEncap(ns *Namespace, data []byte) string {
	var words []string
	for kind, v := range attributes(data) {
		switch kind {
		case xfrmIfID:
			words = append(words, "if_id", strconv.FormatUint(uint64(u32(v)), 10))
		case xfrmLink:
			words = append(words, "link_dev", ns.linkName(u32(v)))
		}
	}
	return strings.Join(words, " ")
}
