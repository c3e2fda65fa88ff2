package lab

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
)

const macsec = "macsec"

// Commands and attributes of the generic netlink family (include/uapi/linux/if_macsec.h).
const (
	macsecGet = iota // MACSEC_CMD_GET_TXSC
	macsecAddRXSC
	macsecDelRXSC
	macsecUpdRXSC
	macsecAddTXSA
	macsecDelTXSA
	macsecUpdTXSA
	macsecAddRXSA
	macsecDelRXSA
	macsecUpdRXSA
)

const (
	macsecIfindex  = 1 // MACSEC_ATTR_
	macsecRXSC     = 2
	macsecSA       = 3
	macsecTXSAList = 5
	macsecRXSCList = 6

	macsecRXSCSCI    = 1 // MACSEC_RXSC_ATTR_
	macsecRXSCActive = 2
	macsecRXSCSAList = 3

	macsecSAAN     = 1 // MACSEC_SA_ATTR_
	macsecSAActive = 2
	macsecSAPN     = 3
	macsecSAKey    = 4
	macsecSAKeyID  = 5
	macsecSAStats  = 6
	macsecSASSCI   = 8
	macsecSASalt   = 9
)

// MACsecStats are the names of an association's counters, by their attributes
// (MACSEC_SA_STATS_ATTR_).
var MACsecStats = []string{1: "in_pkts_ok", "in_pkts_invalid", "in_pkts_not_valid", "in_pkts_not_using_sa", "in_pkts_unused_sa",
	"out_pkts_protected", "out_pkts_encrypted"}

// MACsecSA is a secure association of a MACsec link. In a change without a key it is
// one that is there, of which nil leaves a thing as it is.
type MACsecSA struct {
	AN    int     // 0 to 3
	Key   []byte  // 16 or 32 bytes; never read
	KeyID []byte  // 16 bytes
	PN    *uint64 // the next packet's number, from 1; of 64 bits with the XPN suites
	On    *bool
	Salt  []byte  // XPN: 12 bytes; never read
	SSCI  *uint32 // XPN: the short identifier
	// Stats are its counters by MACsecStats, what the kernel counts of them.
	Stats map[string]uint64
}

// MACsecRX is a secure channel that a MACsec link receives.
type MACsecRX struct {
	SCI []byte // 8 bytes
	On  *bool
	SAs []MACsecSA
}

// MACsecState is what a MACsec link sends and receives by.
type MACsecState struct {
	TX []MACsecSA
	RX []MACsecRX
}

// MACsecChange is what is added, changed and taken away.
type MACsecChange struct {
	MACsecState
	RemoveTX []int
	RemoveRX [][]byte
}

// MACsec asks the kernel for the link's associations.
func (k *Link) MACsec() (*MACsecState, error) {
	if err := k.check(); err != nil {
		return nil, err
	}
	s := &MACsecState{}
	err := k.ns.generic(macsec, func(c *conn, family int) error {
		return c.dump(func() *nl.NetlinkRequest { return genericRequest(family, macsecGet, 0) }, func() { *s = MACsecState{} }, func(body []byte) error {
			s.read(body[min(len(body), unix.GENL_HDRLEN):], k.index)
			return nil
		})
	})
	if err != nil {
		return nil, k.notMACsec(err, "read %s", k)
	}
	return s, nil
}

// read reads a message of the dump, if it is of the link of an index.
func (s *MACsecState) read(b []byte, index int) {
	set := map[int][]byte{}
	for kind, v := range attributes(b) {
		set[kind] = v
	}
	if int(u32(set[macsecIfindex])) != index {
		return
	}
	s.TX = readMACsecSAs(set[macsecTXSAList])
	for _, v := range attributes(set[macsecRXSCList]) {
		rx := MACsecRX{On: new(bool)}
		for kind, b := range attributes(v) {
			switch kind {
			case macsecRXSCSCI:
				rx.SCI = slices.Clone(b)
			case macsecRXSCActive:
				*rx.On = u8(b) != 0
			case macsecRXSCSAList:
				rx.SAs = readMACsecSAs(b)
			}
		}
		s.RX = append(s.RX, rx)
	}
}

func readMACsecSAs(list []byte) (all []MACsecSA) {
	for _, v := range attributes(list) {
		sa := MACsecSA{On: new(bool), PN: new(uint64), Stats: map[string]uint64{}}
		for kind, b := range attributes(v) {
			switch kind {
			case macsecSAAN:
				sa.AN = u8(b)
			case macsecSAActive:
				*sa.On = u8(b) != 0
			case macsecSAPN:
				if *sa.PN = uint64(u32(b)); len(b) == 8 {
					*sa.PN = u64(b)
				}
			case macsecSAKeyID:
				sa.KeyID = slices.Clone(b)
			case macsecSASSCI: // in network byte order
				sa.SSCI = new(uint32)
				if len(b) == 4 {
					*sa.SSCI = binary.BigEndian.Uint32(b)
				}
			case macsecSAStats:
				for n, v := range attributes(b) {
					if n < len(MACsecStats) {
						sa.Stats[MACsecStats[n]] = uint64(u32(v))
					}
				}
			}
		}
		all = append(all, sa)
	}
	return all
}

// notMACsec explains a refusal: the link is of another kind.
func (k *Link) notMACsec(err error, format string, args ...any) error {
	return k.notOfKind(macsec, "MACsec", err, format, args...)
}

// macsecStep is one command of `ip macsec`.
type macsecStep struct {
	verb    string // add, set or del
	command int
	rx      *MACsecRX // nil for what is sent
	sa      *MACsecSA // nil for a channel itself
	xpn     bool
}

// SetMACsec changes what a MACsec link sends and receives by, all or nothing, but for
// keys that were taken away: an association with a key is added, or put in the place
// of the one of its number, one without changes that.
func (k *Link) SetMACsec(ctx context.Context, c MACsecChange) error {
	if err := k.check(); err != nil {
		return err
	}
	info, err := k.Info()
	if err != nil {
		return err
	}
	if info.Kind != macsec {
		return k.notMACsec(nil, "")
	}
	before, err := k.MACsec()
	if err != nil {
		return err
	}
	cipher, _ := info.Options["cipher"].(string)
	if err := c.check(cipher); err != nil {
		return err
	}
	plan, err := c.plan(k, before, isXPN(cipher))
	if err != nil {
		return err
	}
	for i, s := range plan.steps {
		start := time.Now()
		err := k.stepMACsec(s)
		k.ns.lab.emit(ctx, "macsec "+s.verb, k.ns, start, err, s.args(k)...)
		if err == nil {
			continue
		}
		err = k.failed(err, "", "%s %s of %s", s.verb, s, k)
		for _, back := range slices.Backward(plan.back[:i]) {
			err = errors.Join(err, k.backMACsec(back))
		}
		return err
	}
	if k.isForeign() {
		k.undoMACsec(plan.steps, plan.back)
	}
	return nil
}

// undoMACsec remembers how to take steps back. Keys that are gone nobody knows.
func (k *Link) undoMACsec(steps []macsecStep, back [][]macsecStep) {
	for i, s := range steps {
		if back[i] == nil {
			k.ns.lab.cannotUndo(fmt.Sprintf("macsec del %s of %s", s, k))
			continue
		}
		k.ns.lab.onUndo(func(context.Context) error { return k.backMACsec(back[i]) })
	}
}

// backMACsec takes a step back.
func (k *Link) backMACsec(back []macsecStep) error {
	for _, s := range back {
		if err := k.stepMACsec(s); err != nil && !errors.Is(err, unix.ENODEV) {
			return k.failed(err, "", "%s %s of %s", s.verb, s, k)
		}
	}
	return nil
}

// macsecPlan are the steps of a change and those that take each back, none for what
// nothing can: the kernel does not tell keys.
type macsecPlan struct {
	k     *Link
	xpn   bool
	steps []macsecStep
	back  [][]macsecStep
}

func (p *macsecPlan) add(s macsecStep, back ...macsecStep) {
	p.steps, p.back = append(p.steps, s), append(p.back, back)
}

// sa is a command for an association of a channel, or of what is sent (rx is nil).
func (p *macsecPlan) sa(verb string, rx *MACsecRX, sa MACsecSA) macsecStep {
	command := map[string]int{"add": macsecAddTXSA, "set": macsecUpdTXSA, "del": macsecDelTXSA}[verb]
	if rx != nil {
		command += macsecAddRXSA - macsecAddTXSA
	}
	return macsecStep{verb, command, rx, &sa, p.xpn}
}

// drop takes an association away: first it is turned off, for the kernel keeps one
// that is used.
func (p *macsecPlan) drop(rx *MACsecRX, sa MACsecSA) {
	off, on := false, true
	if sa.On != nil && *sa.On {
		p.add(p.sa("set", rx, MACsecSA{AN: sa.AN, On: &off}), p.sa("set", rx, MACsecSA{AN: sa.AN, On: &on}))
	}
	p.add(p.sa("del", rx, MACsecSA{AN: sa.AN}))
}

// associations adds and changes those of a channel, or of what is sent.
func (p *macsecPlan) associations(rx *MACsecRX, wanted, there []MACsecSA) error {
	off := false
	for _, sa := range wanted {
		i := slices.IndexFunc(there, func(s MACsecSA) bool { return s.AN == sa.AN })
		switch {
		case sa.Key == nil && i < 0:
			return Usage("give its key=", "%s has no association %d%s", p.k, sa.AN, ofChannel(rx))
		case sa.Key == nil:
			was := MACsecSA{AN: sa.AN, On: there[i].On}
			if sa.PN != nil {
				was.PN = there[i].PN
			}
			p.add(p.sa("set", rx, sa), p.sa("set", rx, was))
			continue
		case i >= 0:
			p.drop(rx, there[i])
		}
		p.add(p.sa("add", rx, sa), p.sa("set", rx, MACsecSA{AN: sa.AN, On: &off}), p.sa("del", rx, MACsecSA{AN: sa.AN}))
	}
	return nil
}

// channel adds or changes one that is received.
func (p *macsecPlan) channel(rx *MACsecRX, there []MACsecRX) error {
	i := slices.IndexFunc(there, func(r MACsecRX) bool { return bytes.Equal(r.SCI, rx.SCI) })
	if i < 0 {
		p.add(macsecStep{"add", macsecAddRXSC, rx, nil, p.xpn}, macsecStep{"del", macsecDelRXSC, &MACsecRX{SCI: rx.SCI}, nil, p.xpn})
		return p.associations(rx, rx.SAs, nil)
	}
	was := there[i]
	if rx.On != nil && *rx.On != *was.On {
		p.add(macsecStep{"set", macsecUpdRXSC, rx, nil, p.xpn}, macsecStep{"set", macsecUpdRXSC, &MACsecRX{SCI: rx.SCI, On: was.On}, nil, p.xpn})
	}
	return p.associations(rx, rx.SAs, was.SAs)
}

// plan are the steps of a change.
func (c *MACsecChange) plan(k *Link, before *MACsecState, xpn bool) (*macsecPlan, error) {
	p := &macsecPlan{k: k, xpn: xpn}
	for _, an := range c.RemoveTX {
		i := slices.IndexFunc(before.TX, func(s MACsecSA) bool { return s.AN == an })
		if i < 0 {
			return nil, Usage("", "%s has no association %d", k, an)
		}
		p.drop(nil, before.TX[i])
	}
	for _, sci := range c.RemoveRX {
		if !slices.ContainsFunc(before.RX, func(r MACsecRX) bool { return bytes.Equal(r.SCI, sci) }) {
			return nil, Usage("", "%s has no channel %x", k, sci)
		}
		p.add(macsecStep{"del", macsecDelRXSC, &MACsecRX{SCI: sci}, nil, xpn})
	}
	left := slices.DeleteFunc(slices.Clone(before.TX), func(s MACsecSA) bool { return slices.Contains(c.RemoveTX, s.AN) })
	if err := p.associations(nil, c.TX, left); err != nil {
		return nil, err
	}
	channels := slices.DeleteFunc(slices.Clone(before.RX), func(r MACsecRX) bool {
		return slices.ContainsFunc(c.RemoveRX, func(sci []byte) bool { return bytes.Equal(r.SCI, sci) })
	})
	for _, rx := range c.RX {
		if err := p.channel(&rx, channels); err != nil {
			return nil, err
		}
	}
	return p, nil
}

func ofChannel(rx *MACsecRX) string {
	if rx == nil {
		return ""
	}
	return " of channel " + hex.EncodeToString(rx.SCI)
}

// check holds keys and what belongs to them to the link's cipher suite.
func (c *MACsecChange) check(cipher string) error {
	if err := checkMACsecSAs(c.TX, cipher); err != nil {
		return inOption("tx", err)
	}
	seen := map[string]bool{}
	for _, rx := range c.RX {
		if seen[string(rx.SCI)] {
			return Usage("", "rx: channel %x is given twice", rx.SCI)
		}
		seen[string(rx.SCI)] = true
		if err := checkMACsecSAs(rx.SAs, cipher); err != nil {
			return inOption("rx", err)
		}
	}
	return nil
}

func checkMACsecSAs(all []MACsecSA, cipher string) error {
	bits := 128
	if strings.HasSuffix(cipher, "256") {
		bits = 256
	}
	seen := map[int]bool{}
	for _, sa := range all {
		extended := sa.Salt != nil || sa.SSCI != nil
		switch {
		case seen[sa.AN]:
			return Usage("", "association %d is given twice", sa.AN)
		case sa.Key != nil && len(sa.Key)*8 != bits:
			return Usage(fmt.Sprintf("it has %d hexadecimal digits", bits/4), "the key of association %d has %d bits; %s takes %d", sa.AN, len(sa.Key)*8, cipher, bits)
		case extended && !isXPN(cipher):
			return Usage(`like cipher="gcm-aes-xpn-128"`, "salt and ssci of association %d: the cipher %s has no extended packet numbers", sa.AN, cipher)
		case sa.Key != nil && isXPN(cipher) && (sa.Salt == nil || sa.SSCI == nil):
			return Usage("add salt= and ssci=", "association %d: %s takes a salt and an ssci", sa.AN, cipher)
		case sa.PN != nil && !isXPN(cipher) && *sa.PN > 1<<32-1:
			return Usage("it is from 1 to 4294967295", "pn of association %d: %d is out of range", sa.AN, *sa.PN)
		}
		seen[sa.AN] = true
	}
	return nil
}

// String is what a step is about.
func (s macsecStep) String() string {
	var words []string
	for _, a := range s.args(&Link{})[1:] {
		if a.Key == "on" || a.Key == "off" || a.Key == "pn" || a.Key == "xpn" || a.Key == "key" {
			break
		}
		words = append(words, strings.TrimSpace(a.Key+" "+a.Value))
	}
	return strings.Join(words, " ")
}

// args are the arguments of `ip macsec`.
func (s macsecStep) args(k *Link) []event.Arg {
	args := []event.Arg{arg("dev", k.name), arg("tx", "")}
	if s.rx != nil {
		args = []event.Arg{arg("dev", k.name), arg("rx", ""), arg("sci", hex.EncodeToString(s.rx.SCI))}
		if s.sa == nil && s.rx.On != nil {
			args = append(args, arg(onOff(*s.rx.On), ""))
		}
	}
	if s.sa == nil {
		return args
	}
	args = append(args, arg("sa", strconv.Itoa(s.sa.AN)))
	if s.sa.PN != nil {
		name := "pn"
		if s.xpn {
			name = "xpn"
		}
		args = append(args, arg(name, strconv.FormatUint(*s.sa.PN, 10)))
	}
	if s.sa.Salt != nil {
		args = append(args, arg("salt", hex.EncodeToString(s.sa.Salt)))
	}
	if s.sa.SSCI != nil {
		args = append(args, arg("ssci", fmt.Sprintf("%08x", *s.sa.SSCI)))
	}
	if s.sa.On != nil {
		args = append(args, arg(onOff(*s.sa.On), ""))
	}
	if s.sa.Key != nil {
		args = append(args, arg("key", hex.EncodeToString(s.sa.KeyID)+" "+hex.EncodeToString(s.sa.Key)))
	}
	return args
}

// stepMACsec sends one command.
func (k *Link) stepMACsec(s macsecStep) error {
	return k.ns.generic(macsec, func(c *conn, family int) error {
		r := genericRequest(family, s.command, 0)
		r.AddData(nl.NewRtAttr(macsecIfindex, nl.Uint32Attr(uint32(k.index))))
		if s.rx != nil {
			rx := nest(macsecRXSC)
			rx.AddRtAttr(macsecRXSCSCI, s.rx.SCI)
			if s.sa == nil && s.rx.On != nil {
				rx.AddRtAttr(macsecRXSCActive, nl.Uint8Attr(uint8(bit(*s.rx.On))))
			}
			r.AddData(rx)
		}
		if s.sa != nil {
			r.AddData(s.sa.attribute(s.xpn))
		}
		return c.do(r)
	})
}

func (sa *MACsecSA) attribute(xpn bool) *nl.RtAttr {
	a := nest(macsecSA)
	a.AddRtAttr(macsecSAAN, nl.Uint8Attr(uint8(sa.AN)))
	switch {
	case sa.PN == nil:
	case xpn:
		a.AddRtAttr(macsecSAPN, nl.Uint64Attr(*sa.PN))
	default:
		a.AddRtAttr(macsecSAPN, nl.Uint32Attr(uint32(*sa.PN)))
	}
	if sa.On != nil {
		a.AddRtAttr(macsecSAActive, nl.Uint8Attr(uint8(bit(*sa.On))))
	}
	if sa.Key != nil {
		a.AddRtAttr(macsecSAKeyID, sa.KeyID)
		a.AddRtAttr(macsecSAKey, sa.Key)
	}
	if sa.Salt != nil {
		a.AddRtAttr(macsecSASalt, sa.Salt)
	}
	if sa.SSCI != nil {
		a.AddRtAttr(macsecSASSCI, binary.BigEndian.AppendUint32(nil, *sa.SSCI))
	}
	return a
}

// HasMACsec tells whether the link has associations or channels already, which must
// then be those of a change; the kernel tells no keys, only their identifiers.
func (k *Link) HasMACsec(c MACsecChange) (known bool, err error) {
	s, err := k.MACsec()
	if err != nil || s.TX == nil && s.RX == nil {
		return false, err
	}
	if other := lacksSAs(c.TX, s.TX); other != "" {
		return true, Usage("macsec_set() changes it", "%s is there, but its tx %s", k, other)
	}
	for _, rx := range c.RX {
		i := slices.IndexFunc(s.RX, func(r MACsecRX) bool { return bytes.Equal(r.SCI, rx.SCI) })
		if i < 0 {
			return true, Usage("macsec_set() adds it", "%s is there, but it has no channel %x", k, rx.SCI)
		}
		if other := lacksSAs(rx.SAs, s.RX[i].SAs); other != "" {
			return true, Usage("macsec_set() changes it", "%s is there, but its channel %x %s", k, rx.SCI, other)
		}
		if rx.On != nil && *rx.On != *s.RX[i].On {
			return true, Usage("macsec_set() changes it", "%s is there, but its channel %x is %s", k, rx.SCI, onOff(*s.RX[i].On))
		}
	}
	return true, nil
}

// lacksSAs says what associations there are not, or not so; "" where they all are.
func lacksSAs(wanted, there []MACsecSA) string {
	for _, sa := range wanted {
		i := slices.IndexFunc(there, func(s MACsecSA) bool { return s.AN == sa.AN })
		switch {
		case i < 0:
			return fmt.Sprintf("has no association %d", sa.AN)
		case sa.KeyID != nil && !bytes.Equal(sa.KeyID, there[i].KeyID):
			return fmt.Sprintf("has another key in association %d", sa.AN)
		case sa.On != nil && *sa.On != *there[i].On:
			return fmt.Sprintf("has association %d %s", sa.AN, onOff(*there[i].On))
		}
	}
	return ""
}
