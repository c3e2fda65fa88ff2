package lab

import (
	"encoding/binary"
	"encoding/hex"
	"fmt"
	"net/netip"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// Tunnels of IPv4 and IPv6 whose link has external=True: LWTUNNEL_IP_* and
// LWTUNNEL_IP6_* of include/uapi/linux/lwtunnel.h, which have the same numbers.
const (
	tunnelID, tunnelDst, tunnelSrc, tunnelTTL, tunnelTOS, tunnelFlags, tunnelOpts = 1, 2, 3, 4, 5, 6, 8

	optsGeneve, optsVXLAN, optsERSPAN                 = 1, 2, 3
	geneveClass, geneveType, geneveData               = 1, 2, 3
	vxlanGBP                                          = 1
	erspanVersion, erspanIndex, erspanDir, erspanHWID = 1, 2, 3, 4
)

// tunnelFlagBits are those that a route may set (TUNNEL_* of if_tunnel.h).
var tunnelFlagBits = []struct {
	name string
	bit  uint16
}{{"key", 0x04}, {"csum", 0x01}, {"seq", 0x08}}

// tunnelNames are what the families call the time to live and the type of service.
func tunnelNames(six bool) (ttl, tos string) {
	if six {
		return "hoplimit", "tc"
	}
	return "ttl", "tos"
}

func parseIPEncap(w *encapWords) error {
	six := w.name == "ip6"
	ttl, tos := tunnelNames(six)
	var flags uint16
	address := func(name string, attr int) func() error {
		return func() error {
			ip, err := w.address(name, six)
			w.add(attr, ip.AsSlice())
			return err
		}
	}
	options := map[string]func() error{
		"id": func() error {
			n, err := w.number("id", 0, 1<<64-1)
			w.add(tunnelID, binary.BigEndian.AppendUint64(nil, n))
			return err
		},
		"src": address("src", tunnelSrc), "dst": address("dst", tunnelDst),
		ttl: w.byteOption(ttl, tunnelTTL), tos: w.byteOption(tos, tunnelTOS),
		"geneve_opts": w.tunnelOptions("geneve_opts", geneveOptions),
		"vxlan_opts":  w.tunnelOptions("vxlan_opts", vxlanOptions),
		"erspan_opts": w.tunnelOptions("erspan_opts", erspanOptions),
	}
	for _, f := range tunnelFlagBits {
		options[f.name] = func() error { flags |= f.bit; return nil }
	}
	err := w.each(options)
	if flags != 0 {
		w.add(tunnelFlags, binary.BigEndian.AppendUint16(nil, flags))
	}
	return err
}

// tunnelOptions makes the option of a tunnel's own options, of which there is one
// kind.
func (w *encapWords) tunnelOptions(name string, parse func(w *encapWords, text string) ([]byte, error)) func() error {
	return func() error {
		text, err := w.value(name)
		if err != nil {
			return err
		}
		for kind := range attributes(w.data) {
			if kind == tunnelOpts {
				return w.usage("%s: a tunnel has options of one kind", name)
			}
		}
		nested, err := parse(w, text)
		if err != nil {
			return err
		}
		if diesOfTunnelOptions() {
			return &Error{Op: fmt.Sprintf("encap %s: %s", w.name, name), Kind: KindMissing,
				Err: fmt.Errorf("kernels since 6.15 crash when a route has them"), Hint: "a kernel before 6.15 takes them"}
		}
		w.add(tunnelOpts|unix.NLA_F_NESTED, nested)
		return nil
	}
}

// diesOfTunnelOptions tells whether routes with options of a tunnel end the whole
// machine. It cannot be tried, so the version has to tell: since 6.15 the copy of
// the options is checked against a size that is not set yet, under the lock that
// all of rtnetlink needs.
func diesOfTunnelOptions() bool {
	var name unix.Utsname
	if unix.Uname(&name) != nil {
		return true
	}
	return diesSince(unix.ByteSliceToString(name.Release[:]))
}

func diesSince(release string) bool {
	var major, minor int
	if _, err := fmt.Sscanf(release, "%d.%d", &major, &minor); err != nil {
		return true
	}
	return major > 6 || major == 6 && minor >= 15
}

func nested(kind int, attrs []byte) []byte {
	return nl.NewRtAttr(kind|unix.NLA_F_NESTED, attrs).Serialize()
}

func attr(kind int, data []byte) []byte { return nl.NewRtAttr(kind, data).Serialize() }

// geneveOptions reads "class:type:data" in decimal and hexadecimal (RFC 8926),
// several with commas.
func geneveOptions(w *encapWords, text string) (b []byte, err error) {
	for _, option := range strings.Split(text, ",") {
		parts := strings.Split(option, ":")
		if len(parts) != 3 {
			return nil, w.usage("geneve_opts: %q is no class:type:data", option)
		}
		class, err := w.numeral("the class of geneve_opts", parts[0], 0, 65535)
		if err != nil {
			return nil, err
		}
		kind, err := w.numeral("the type of geneve_opts", parts[1], 0, 255)
		if err != nil {
			return nil, err
		}
		data, err := hex.DecodeString(parts[2])
		if err != nil || len(data)%4 != 0 || len(data) == 0 || len(data) > 124 {
			return nil, w.usage("geneve_opts: %q is no data: it is of 4, 8 … 124 bytes in hexadecimal", parts[2])
		}
		one := attr(geneveClass, binary.BigEndian.AppendUint16(nil, uint16(class)))
		one = append(append(one, attr(geneveType, []byte{byte(kind)})...), attr(geneveData, data)...)
		b = append(b, nested(optsGeneve, one)...)
	}
	return b, nil
}

func vxlanOptions(w *encapWords, text string) ([]byte, error) {
	gbp, err := w.numeral("vxlan_opts", text, 0, 1<<32-1)
	return nested(optsVXLAN, attr(vxlanGBP, nl.Uint32Attr(uint32(gbp)))), err
}

// erspanOptions reads "version:index:dir:hwid"; version 1 has an index, version 2
// the others.
func erspanOptions(w *encapWords, text string) (b []byte, err error) {
	parts := strings.Split(text, ":")
	if len(parts) < 2 || len(parts) > 4 {
		return nil, w.usage("erspan_opts: %q is no version:index:dir:hwid", text)
	}
	for i, part := range parts {
		if part == "" {
			continue
		}
		name := []string{"version", "index", "dir", "hwid"}[i]
		most := []uint64{2, 1<<32 - 1, 1, 63}[i]
		n, err := w.numeral("the "+name+" of erspan_opts", part, 0, most)
		if err != nil {
			return nil, err
		}
		if i+1 == erspanIndex {
			b = append(b, attr(erspanIndex, binary.BigEndian.AppendUint32(nil, uint32(n)))...)
			continue
		}
		b = append(b, attr(i+1, []byte{byte(n)})...)
	}
	return nested(optsERSPAN, b), nil
}

func showIPEncap(_ *Namespace, data []byte) string {
	var words []string
	six := false
	for kind, v := range attributes(data) {
		six = six || (kind == tunnelDst || kind == tunnelSrc) && len(v) == 16
	}
	ttl, tos := tunnelNames(six)
	for kind, v := range attributes(data) {
		name := map[int]string{tunnelDst: "dst", tunnelSrc: "src", tunnelTTL: ttl, tunnelTOS: tos}[kind]
		switch kind {
		case tunnelID:
			if len(v) == 8 && binary.BigEndian.Uint64(v) != 0 {
				words = append(words, "id", strconv.FormatUint(binary.BigEndian.Uint64(v), 10))
			}
		case tunnelDst, tunnelSrc:
			if ip, ok := netip.AddrFromSlice(v); ok && !ip.IsUnspecified() {
				words = append(words, name, ip.String())
			}
		case tunnelTTL, tunnelTOS:
			if u8(v) != 0 {
				words = append(words, name, strconv.Itoa(u8(v)))
			}
		case tunnelFlags:
			for _, f := range tunnelFlagBits {
				if len(v) == 2 && binary.BigEndian.Uint16(v)&f.bit != 0 {
					words = append(words, f.name)
				}
			}
		case tunnelOpts:
			words = append(words, showTunnelOptions(v)...)
		}
	}
	return strings.Join(words, " ")
}

func showTunnelOptions(data []byte) (words []string) {
	var geneve []string
	for kind, nested := range attributes(data) {
		part, inGeneve := map[int][]byte{}, kind == optsGeneve
		for kind, v := range attributes(nested) {
			part[kind] = v
			// The kernel tells several options of Geneve one after the other.
			if class := part[geneveClass]; inGeneve && kind == geneveData && len(class) == 2 {
				geneve = append(geneve, fmt.Sprintf("%d:%d:%x", binary.BigEndian.Uint16(class), u8(part[geneveType]), v))
			}
		}
		switch kind {
		case optsVXLAN:
			words = append(words, "vxlan_opts", strconv.FormatUint(uint64(u32(part[vxlanGBP])), 10))
		case optsERSPAN:
			words = append(words, "erspan_opts", showERSPAN(part))
		}
	}
	if geneve != nil {
		words = append(words, "geneve_opts", strings.Join(geneve, ","))
	}
	return words
}

func showERSPAN(part map[int][]byte) string {
	text := strconv.Itoa(u8(part[erspanVersion])) + ":"
	if index := part[erspanIndex]; len(index) == 4 {
		return text + strconv.FormatUint(uint64(binary.BigEndian.Uint32(index)), 10)
	}
	return text + fmt.Sprintf(":%d:%d", u8(part[erspanDir]), u8(part[erspanHWID]))
}
