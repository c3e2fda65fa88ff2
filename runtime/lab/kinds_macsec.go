package lab

import (
	"encoding/binary"
	"fmt"
	"math"
	"strconv"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// macsecKind is MACsec (IEEE 802.1AE). Its keys are set by generic netlink
// ([Link.SetMACsec]).
func macsecKind() *Kind {
	return &Kind{Name: "macsec", Lower: NeedsLower, check: checkMACsec, Options: []*Option{
		{Name: "sci", Doc: "the secure channel's identifier, its MAC address and port 1 unless given", attr: unix.IFLA_MACSEC_SCI, Value: SCI{}},
		{Name: "port", Doc: "the port in the identifier, 1 to 65535", attr: unix.IFLA_MACSEC_PORT, Value: SCIPort{}},
		{Name: "cipher", Doc: "gcm-aes-128 (the default), gcm-aes-256, gcm-aes-xpn-128 or gcm-aes-xpn-256", attr: unix.IFLA_MACSEC_CIPHER_SUITE, Value: macsecCipher},
		{Name: "icvlen", Doc: "bytes of the integrity check value, 8 to 16; 16 unless given", attr: unix.IFLA_MACSEC_ICV_LEN, Value: Number{Size: 1, Min: 8, Max: 16}},
		{Name: "encrypt", Doc: "encrypt the frames, and not only protect them", attr: unix.IFLA_MACSEC_ENCRYPT, Value: onOffSwitch},
		{Name: "send_sci", Doc: "put the identifier into every frame; on unless False", attr: unix.IFLA_MACSEC_INC_SCI, Value: onOffSwitch},
		{Name: "end_station", Doc: "the identifier is that of the frame's source address; needs send_sci=False", attr: unix.IFLA_MACSEC_ES, Value: onOffSwitch},
		{Name: "scb", Doc: "single copy broadcast; needs send_sci=False", attr: unix.IFLA_MACSEC_SCB, Value: onOffSwitch},
		{Name: "protect", Doc: "send frames with a tag; on unless False", attr: unix.IFLA_MACSEC_PROTECT, Value: onOffSwitch},
		{Name: "replay", Doc: "drop frames that come too late; needs window", attr: unix.IFLA_MACSEC_REPLAY_PROTECT, Value: onOffSwitch},
		{Name: "window", Doc: "with replay: how many frames late one may be", attr: unix.IFLA_MACSEC_WINDOW, Value: Number{Size: 4, Max: math.MaxUint32}},
		{Name: "validate", Doc: "of received frames: strict (the default), check or disabled", attr: unix.IFLA_MACSEC_VALIDATION,
			Value: Word{Size: 1, Words: []string{"disabled", "check", "strict"}}},
		{Name: "encodingsa", Doc: "the association that frames are sent by, 0 to 3", attr: unix.IFLA_MACSEC_ENCODING_SA, Value: Number{Size: 1, Max: 3}},
		{Name: "offload", Doc: "off, phy or mac: who does it, the kernel or hardware", attr: unix.IFLA_MACSEC_OFFLOAD,
			Value: Word{Size: 1, Words: []string{"off", "phy", "mac"}}},
	}}
}

// macsecCipher are the cipher suites by their numbers (IEEE 802.1AE, table 14-1). The
// first one's is that by which the kernel says it, MACSEC_DEFAULT_CIPHER_ID.
var macsecCipher = Word{Size: 8, Words: []string{"gcm-aes-128", "gcm-aes-256", "gcm-aes-xpn-128", "gcm-aes-xpn-256"},
	values: []int{0x0080020001000001, 0x0080c20001000002, 0x0080c20001000003, 0x0080c20001000004}}

// maxXPNWindow is the greatest window of the suites with extended packet numbers
// (MACSEC_XPN_MAX_REPLAY_WINDOW).
const maxXPNWindow = 1<<30 - 1

// checkMACsec refuses what `ip` and the kernel do, and what the kernel does not
// change after the birth.
func checkMACsec(c chosen) error {
	if c.now != nil {
		for _, name := range []string{"sci", "port", "cipher", "icvlen", "offload"} {
			if c.given(name) != nil {
				return Usage("make another link", "%s is chosen when the link is made", name)
			}
		}
	}
	if err := c.exclude("sci", "port"); err != nil {
		return err
	}
	if err := c.exclude("send_sci", "end_station", "scb"); err != nil {
		return err
	}
	if c.given("sci") != nil && c.given("send_sci") == false {
		return Usage("leave sci out", "with send_sci=False the identifier is that of the link's address")
	}
	window, _ := c.given("window").(int)
	cipher, _ := c.is("cipher").(string)
	switch {
	case c.on("replay") && c.given("window") == nil:
		return Usage("like replay=True, window=0", "replay needs window")
	case !c.on("replay") && c.given("window") != nil:
		return Usage("add replay=True", "window needs replay")
	case isXPN(cipher) && window > maxXPNWindow:
		return Usage(fmt.Sprintf("with %s it is from 0 to %d", cipher, maxXPNWindow), "window: %d is out of range", window)
	}
	return nil
}

// isXPN tells whether a cipher suite has packet numbers of 64 bits (IEEE 802.1AEbw).
func isXPN(cipher string) bool { return cipher == "gcm-aes-xpn-128" || cipher == "gcm-aes-xpn-256" }

// SCIPort is the port of a secure channel identifier (int), which the kernel gives
// back as a part of that.
type SCIPort struct{}

func (SCIPort) attributes(attr int, v any) []*nl.RtAttr {
	return []*nl.RtAttr{nl.NewRtAttr(attr, binary.BigEndian.AppendUint16(nil, uint16(v.(int))))}
}

func (p SCIPort) gather(attr int, set map[int][]byte) any {
	if sci := set[unix.IFLA_MACSEC_SCI]; len(sci) == 8 {
		return be16(sci[6:])
	}
	if b := set[attr]; b != nil {
		return p.read(b)
	}
	return nil
}

func (SCIPort) read(b []byte) any { return be16(b) }

func (SCIPort) check(v any) error { return Number{Min: 1, Max: math.MaxUint16}.check(v) }

func (SCIPort) words(v any) ([]string, bool) { return []string{strconv.Itoa(v.(int))}, true }
