package lab

import (
	"encoding/binary"
	"fmt"
	"net/netip"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Segment routing over IPv6 (RFC 8754, RFC 8986; include/uapi/linux/seg6*.h), source
// routes of RPL (RFC 6554) and IOAM (RFC 9486).

const (
	seg6SRH = 1 // SEG6_IPTUNNEL_SRH: an int, the mode, and the routing header

	seg6LocalAction, seg6LocalSRH, seg6LocalTable, seg6LocalNH4, seg6LocalNH6, seg6LocalIIF = 1, 2, 3, 4, 5, 6
	seg6LocalOIF, seg6LocalBPF, seg6LocalVRFTable, seg6LocalCounters, seg6LocalFlavors      = 7, 8, 9, 10, 11
	flavorOperation, flavorBlockBits, flavorFunctionBits                                    = 1, 2, 3
	srhFixed, hmacTLV, srhFlagHMAC                                                          = 8, 40, 1 << 3
	rplSRH                                                                                  = 1
	ioam6Mode, ioam6Dst, ioam6Trace, ioam6FreqK, ioam6FreqN, ioam6TraceSize, ioam6Inline    = 1, 2, 3, 4, 5, 8, 1
)

var (
	seg6Modes   = []string{"inline", "encap", "l2encap", "encap.red", "l2encap.red"}
	seg6Actions = []string{"", "End", "End.X", "End.T", "End.DX2", "End.DX6", "End.DX4", "End.DT6", "End.DT4", "End.B6",
		"End.B6.Encaps", "End.BM", "End.S", "End.AS", "End.AM", "End.BPF", "End.DT46"}
	seg6Flavors = []string{"", "psp", "usp", "usd", "next-csid"}
	ioam6Modes  = []string{"", "inline", "encap", "auto"}
)

// actionB6Encaps is the one action whose routing header is an outer one.
const actionB6Encaps = 10

// segments reads the segments "a,b,c" of a routing header.
func (w *encapWords) segments(most int) ([]netip.Addr, error) {
	word, err := w.value("segs")
	if err != nil {
		return nil, err
	}
	var list []netip.Addr
	for _, s := range strings.Split(word, ",") {
		ip, err := w.addressOf("segs", s, true)
		if err != nil {
			return nil, err
		}
		list = append(list, ip)
	}
	if len(list) > most {
		return nil, w.usage("segs: %d segments are too many: a routing header has room for %d", len(list), most)
	}
	return list, nil
}

// srh is a segment routing header (RFC 8754, section 2). One that is inserted has
// room for the packet's own destination.
func srh(segs []netip.Addr, hmac uint32, inserted bool) []byte {
	n := len(segs)
	if inserted {
		n++
	}
	size := srhFixed + 16*n
	if hmac != 0 {
		size += hmacTLV
	}
	b := make([]byte, size)
	b[1], b[2], b[3], b[4] = byte(size/8-1), 4, byte(n-1), byte(n-1)
	for i, s := range segs {
		copy(b[srhFixed+16*(n-1-i):], s.AsSlice())
	}
	if hmac != 0 {
		b[5] = srhFlagHMAC
		tlv := b[size-hmacTLV:]
		tlv[0], tlv[1] = 5, 38 // SR6_TLV_HMAC
		binary.BigEndian.PutUint32(tlv[4:], hmac)
	}
	return b
}

// maxSegments is how many the length of a routing header, in 8 bytes, has room for.
const maxSegments = (256*8 - srhFixed - hmacTLV) / 16

func showSRH(b []byte, inserted bool) string {
	if len(b) < srhFixed {
		return ""
	}
	last := 0
	if inserted {
		last = 1
	}
	var segs []string
	for i := int(b[4]); i >= last; i-- {
		if end := srhFixed + 16*(i+1); end <= len(b) {
			ip, _ := netip.AddrFromSlice(b[end-16 : end])
			segs = append(segs, ip.String())
		}
	}
	words := "segs " + strings.Join(segs, ",")
	if size := (int(b[1]) + 1) * 8; b[5]&srhFlagHMAC != 0 && size <= len(b) && size >= srhFixed+hmacTLV {
		words += " hmac " + strconv.FormatUint(uint64(binary.BigEndian.Uint32(b[size-hmacTLV+4:])), 10)
	}
	return words
}

func (w *encapWords) hmac() (uint32, error) {
	n, err := w.number("hmac", 1, 1<<32-1)
	return uint32(n), err
}

func parseSeg6(w *encapWords) error {
	mode, hmac := -1, uint32(0)
	var segs []netip.Addr
	err := w.each(map[string]func() (err error){
		"mode": func() (err error) { mode, err = w.word("mode", seg6Modes); return err },
		"segs": func() (err error) { segs, err = w.segments(maxSegments); return err },
		"hmac": func() (err error) { hmac, err = w.hmac(); return err },
	})
	switch {
	case err != nil:
		return err
	case mode < 0:
		return w.usage("mode is missing: it is %s", strings.Join(seg6Modes, ", "))
	case segs == nil:
		return w.usage("segs is missing: like segs fc00::1,fc00::2")
	}
	w.add(seg6SRH, append(nl.Uint32Attr(uint32(mode)), srh(segs, hmac, mode == 0)...))
	return nil
}

func showSeg6(_ *Namespace, data []byte) string {
	for kind, v := range attributes(data) {
		if kind == seg6SRH && len(v) > 4 {
			mode := int(u32(v))
			return "mode " + nameOf(seg6Modes, mode) + " " + showSRH(v[4:], mode == 0)
		}
	}
	return ""
}

func parseSeg6Local(w *encapWords) error {
	action, hmac := 0, uint32(0)
	var segs []netip.Addr
	table := func(name string, attr int) func() error {
		return func() error {
			word, err := w.value(name)
			if err != nil {
				return err
			}
			n, err := Table(word)
			w.add(attr, nl.Uint32Attr(uint32(n)))
			return inOption("encap seg6local: "+name, err)
		}
	}
	address := func(name string, attr int, six bool) func() error {
		return func() error {
			ip, err := w.address(name, six)
			w.add(attr, ip.AsSlice())
			return err
		}
	}
	link := func(name string, attr int) func() error {
		return func() error {
			index, err := w.link(name)
			w.add(attr, nl.Uint32Attr(index))
			return err
		}
	}
	err := w.each(map[string]func() error{
		"action": func() (err error) {
			action, err = w.word("action", seg6Actions)
			w.add(seg6LocalAction, nl.Uint32Attr(uint32(action)))
			return err
		},
		"table": table("table", seg6LocalTable), "vrftable": table("vrftable", seg6LocalVRFTable),
		"nh4": address("nh4", seg6LocalNH4, false), "nh6": address("nh6", seg6LocalNH6, true),
		"iif": link("iif", seg6LocalIIF), "oif": link("oif", seg6LocalOIF),
		"count":    func() error { w.add(seg6LocalCounters|unix.NLA_F_NESTED, zeroCounters()); return nil },
		"flavors":  w.flavors,
		"endpoint": func() error { return w.program(seg6LocalBPF, "seg6local") },
		"srh": func() (err error) {
			if word, _ := w.value("srh"); word != "segs" {
				return w.usage("srh: segs is missing")
			}
			if segs, err = w.segments(maxSegments); err != nil || len(w.rest) == 0 || w.rest[0] != "hmac" {
				return err
			}
			w.rest = w.rest[1:]
			hmac, err = w.hmac()
			return err
		},
	})
	if err == nil && action == 0 {
		return w.usage("action is missing: like action End")
	}
	if segs != nil {
		w.add(seg6LocalSRH, srh(segs, hmac, action != actionB6Encaps))
	}
	return err
}

// zeroCounters ask for counters: packets, bytes and errors.
func zeroCounters() (b []byte) {
	for _, kind := range []int{2, 3, 4} { // SEG6_LOCAL_CNT_PACKETS …
		b = append(b, attr(kind, make([]byte, 8))...)
	}
	return b
}

// flavors reads "psp,usd" and, for next-csid, the lengths of the locator's parts.
func (w *encapWords) flavors() error {
	word, err := w.value("flavors")
	if err != nil {
		return err
	}
	mask := uint32(0)
	for _, name := range strings.Split(word, ",") {
		i := slices.Index(seg6Flavors, name)
		if i < 1 || mask&(1<<i) != 0 {
			return w.usage("flavors: there is no %q, or it is given twice: they are %s", name, strings.Join(seg6Flavors[1:], ", "))
		}
		mask |= 1 << i
	}
	b := attr(flavorOperation, nl.Uint32Attr(mask))
	for _, length := range []struct {
		name string
		kind int
	}{{"lblen", flavorBlockBits}, {"nflen", flavorFunctionBits}} {
		if len(w.rest) == 0 || w.rest[0] != length.name {
			continue
		}
		w.rest = w.rest[1:]
		n, err := w.number(length.name, 8, 120)
		if err != nil {
			return err
		}
		b = append(b, attr(length.kind, []byte{byte(n)})...)
	}
	w.add(seg6LocalFlavors|unix.NLA_F_NESTED, b)
	return nil
}

func showSeg6Local(ns *Namespace, data []byte) string {
	part := map[int][]byte{}
	for kind, v := range attributes(data) {
		part[kind] = v
	}
	action := int(u32(part[seg6LocalAction]))
	words := []string{"action", nameOf(seg6Actions, action)}
	add := func(attr int, name string, value func(v []byte) string) {
		if v, ok := part[attr]; ok {
			words = append(words, name)
			if text := value(v); text != "" {
				words = append(words, text)
			}
		}
	}
	address := func(v []byte) string { ip, _ := netip.AddrFromSlice(v); return ip.String() }
	table := func(v []byte) string { return TableName(int(u32(v))) }
	link := func(v []byte) string { return ns.linkName(u32(v)) }
	add(seg6LocalSRH, "srh", func(v []byte) string { return showSRH(v, action != actionB6Encaps) })
	add(seg6LocalTable, "table", table)
	add(seg6LocalVRFTable, "vrftable", table)
	add(seg6LocalNH4, "nh4", address)
	add(seg6LocalNH6, "nh6", address)
	add(seg6LocalIIF, "iif", link)
	add(seg6LocalOIF, "oif", link)
	add(seg6LocalBPF, "endpoint", programName)
	add(seg6LocalCounters, "count", func([]byte) string { return "" })
	add(seg6LocalFlavors, "flavors", showFlavors)
	return strings.Join(words, " ")
}

func showFlavors(data []byte) string {
	var names, lengths []string
	for kind, v := range attributes(data) {
		switch kind {
		case flavorOperation:
			for i, name := range seg6Flavors {
				if i > 0 && u32(v)&(1<<i) != 0 {
					names = append(names, name)
				}
			}
		case flavorBlockBits:
			lengths = append(lengths, "lblen", strconv.Itoa(u8(v)))
		case flavorFunctionBits:
			lengths = append(lengths, "nflen", strconv.Itoa(u8(v)))
		}
	}
	return strings.Join(append([]string{strings.Join(names, ",")}, lengths...), " ")
}

// A source route of RPL is a routing header of type 3 (RFC 6554, section 3) whose
// addresses are whole; iproute2 gives the first one last.

func parseRPL(w *encapWords) error {
	var segs []netip.Addr
	err := w.each(map[string]func() error{
		"segs": func() (err error) { segs, err = w.segments((256*8 - srhFixed) / 16); return err },
	})
	if err != nil {
		return err
	}
	if segs == nil {
		return w.usage("segs is missing: like segs fc00::1,fc00::2")
	}
	b := []byte{0, byte(2 * len(segs)), 3, byte(len(segs)), 0, 0, 0, 0}
	for _, s := range slices.Backward(segs) {
		b = append(b, s.AsSlice()...)
	}
	w.add(rplSRH, b)
	return nil
}

func showRPL(_ *Namespace, data []byte) string {
	var segs []string
	for kind, v := range attributes(data) {
		if kind != rplSRH || len(v) < srhFixed {
			continue
		}
		for rest := v[srhFixed:]; len(rest) >= 16; rest = rest[16:] {
			ip, _ := netip.AddrFromSlice(rest[:16])
			segs = append(segs, ip.String())
		}
	}
	slices.Reverse(segs)
	return "segs " + strings.Join(segs, ",")
}

func parseIOAM6(w *encapWords) error {
	k, n, mode := uint64(1), uint64(1), ioam6Inline
	var dst netip.Addr
	var trace []byte
	err := w.each(map[string]func() (err error){
		"freq": func() error {
			word, err := w.value("freq")
			if err != nil {
				return err
			}
			first, second, _ := strings.Cut(word, "/")
			if k, err = w.numeral("freq", first, 1, 1000000); err == nil {
				n, err = w.numeral("freq", second, k, 1000000)
			}
			return err
		},
		"mode":   func() (err error) { mode, err = w.word("mode", ioam6Modes); return err },
		"tundst": func() (err error) { dst, err = w.address("tundst", true); return err },
		"trace":  func() (err error) { trace, err = w.ioam6Trace(); return err },
	})
	switch {
	case err != nil:
		return err
	case trace == nil:
		return w.usage("trace is missing: like trace prealloc type 0x800000 ns 1 size 12")
	case mode != ioam6Inline && !dst.IsValid():
		return w.usage("tundst is missing: the end of the tunnel")
	case mode == ioam6Inline && dst.IsValid():
		return w.usage("tundst goes with mode encap or auto")
	}
	w.add(ioam6FreqK, nl.Uint32Attr(uint32(k)))
	w.add(ioam6FreqN, nl.Uint32Attr(uint32(n)))
	w.add(ioam6Mode, []byte{byte(mode)})
	if dst.IsValid() {
		w.add(ioam6Dst, dst.AsSlice())
	}
	w.add(ioam6Trace, trace)
	return nil
}

// ioam6Trace is a struct ioam6_trace_hdr.
func (w *encapWords) ioam6Trace() ([]byte, error) {
	if word, _ := w.value("trace"); word != "prealloc" {
		return nil, w.usage("trace: prealloc is missing")
	}
	var kind, id, size uint64
	given := false
	read := map[string]func() (err error){
		"type": func() (err error) { kind, err = w.number("type", 1, 1<<24-1); return err },
		"ns":   func() (err error) { id, err = w.number("ns", 0, 65535); given = true; return err },
		"size": func() (err error) { size, err = w.number("size", 4, 244); return err },
	}
	for len(w.rest) > 0 && read[w.rest[0]] != nil {
		name, _ := w.value("")
		if err := read[name](); err != nil {
			return nil, err
		}
	}
	switch {
	case kind == 0 || !given || size == 0:
		return nil, w.usage("trace: like trace prealloc type 0x800000 ns 1 size 12")
	case size%4 != 0:
		return nil, w.usage("size: %d is no multiple of 4", size)
	}
	b := binary.BigEndian.AppendUint16(nil, uint16(id))
	b = append(b, 0, byte(size/4))
	return binary.BigEndian.AppendUint32(b, uint32(kind)<<8), nil
}

func showIOAM6(_ *Namespace, data []byte) string {
	part := map[int][]byte{}
	for kind, v := range attributes(data) {
		part[kind] = v
	}
	var words []string
	if k, n := u32(part[ioam6FreqK]), u32(part[ioam6FreqN]); k != n {
		words = append(words, "freq", fmt.Sprintf("%d/%d", k, n))
	}
	words = append(words, "mode", nameOf(ioam6Modes, u8(part[ioam6Mode])))
	if dst, ok := netip.AddrFromSlice(part[ioam6Dst]); ok && u8(part[ioam6Mode]) != ioam6Inline {
		words = append(words, "tundst", dst.String())
	}
	if t := part[ioam6Trace]; len(t) >= ioam6TraceSize {
		words = append(words, fmt.Sprintf("trace prealloc type %#x ns %d size %d", binary.BigEndian.Uint32(t[4:])>>8,
			binary.BigEndian.Uint16(t), int(t[3]&0x7f)*4))
	}
	return strings.Join(words, " ")
}
