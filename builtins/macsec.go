package builtins

import (
	"encoding/hex"
	"fmt"
	"math"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// hexType is a number of bytes in hexadecimal digits; one of least digits is filled
// up with zeros at its end, as `ip` does it.
func hexType(what, good string, least int, lengths ...int) *Type {
	return &Type{Name: what, Good: good, Convert: func(_ *Call, v starlark.Value) (any, error) {
		s, ok := starlark.AsString(v)
		if !ok {
			return nil, errType
		}
		longest := lengths[len(lengths)-1]
		digits := s
		if least > 0 && len(s) >= least && len(s) < 2*longest {
			digits += strings.Repeat("0", 2*longest-len(s))
		}
		b, err := hex.DecodeString(digits)
		for _, n := range lengths {
			if err == nil && len(b) == n {
				return b, nil
			}
		}
		return nil, fmt.Errorf("%q is not %s", s, what)
	}}
}

var (
	tAN          = intType("the number of an association", "0", 0, 3)
	tMACsecKey   = hexType("32 or 64 hexadecimal digits", `"000102030405060708090a0b0c0d0e0f"`, 0, 16, 32)
	tMACsecKeyID = hexType("up to 32 hexadecimal digits", `"01"`, 1, 16)
	tSalt        = hexType("24 hexadecimal digits", `"000102030405060708090a0b"`, 0, 12)
)

// tPacketNumber is a whole number of up to 64 bits.
var tPacketNumber = &Type{Name: "a packet number", Good: "1", Convert: func(_ *Call, v starlark.Value) (any, error) {
	n, ok := v.(starlark.Int)
	if !ok {
		return nil, errType
	}
	pn, ok := n.Uint64()
	if !ok || pn == 0 {
		return nil, fmt.Errorf("%s is out of range: it is from 1 to %d", n, uint64(math.MaxUint64))
	}
	return pn, nil
}}

// recordsOf is a list of records that describe objects of one type.
func recordsOf[T any](what, good string) *Type {
	return &Type{Name: "a list of " + what, Good: good, Convert: func(_ *Call, v starlark.Value) (any, error) {
		seq, ok := v.(starlark.Sequence)
		if !ok {
			return nil, errType
		}
		list := []T{}
		for x := range starlark.Elements(seq) {
			r, ok := x.(*Record)
			if !ok {
				return nil, errType
			}
			object, ok := r.object.(T)
			if !ok {
				return nil, errType
			}
			list = append(list, object)
		}
		return list, nil
	}}
}

var (
	tMACsecSAs = recordsOf[lab.MACsecSA]("macsec_sa()", `[macsec_sa(0, key="000102030405060708090a0b0c0d0e0f")]`)
	tMACsecRXs = recordsOf[lab.MACsecRX]("macsec_rx()", `[macsec_rx(other.sci, sa=[macsec_sa(0, key="000102030405060708090a0b0c0d0e0f")])]`)
)

// macsecSA is an association that is wanted, or one that there is: then with its
// counters and without its key.
func (env *Env) macsecSA(sa lab.MACsecSA) *Record {
	bytes := func(b []byte) starlark.Value {
		if b == nil {
			return starlark.None
		}
		return starlark.String(hex.EncodeToString(b))
	}
	pn, on, ssci := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if sa.PN != nil {
		pn = starlark.MakeUint64(*sa.PN)
	}
	if sa.On != nil {
		on = starlark.Bool(*sa.On)
	}
	if sa.SSCI != nil {
		ssci = starlark.MakeUint64(uint64(*sa.SSCI))
	}
	var counts []field
	words := []string{}
	for _, name := range lab.MACsecStats {
		if n, counted := sa.Stats[name]; counted {
			counts = append(counts, field{name, starlark.MakeUint64(n)})
			words = append(words, fmt.Sprintf("%s=%d", name, n))
		}
	}
	stats := record("macsec_stats", strings.Join(words, " "), nil, counts...)
	return record("macsec_sa", fmt.Sprintf("sa %d", sa.AN), sa, field{"an", starlark.MakeInt(sa.AN)}, field{"key", bytes(sa.Key)}, field{"id", bytes(sa.KeyID)},
		field{"pn", pn}, field{"on", on}, field{"salt", bytes(sa.Salt)}, field{"ssci", ssci}, field{"stats", stats})
}

// macsecRX is a channel that is wanted, or one that there is.
func (env *Env) macsecRX(rx lab.MACsecRX) *Record {
	on := starlark.Value(starlark.None)
	if rx.On != nil {
		on = starlark.Bool(*rx.On)
	}
	sci := hex.EncodeToString(rx.SCI)
	return record("macsec_rx", "rx "+sci, rx, field{"sci", starlark.String(sci)}, field{"on", on}, field{"sa", recordRows(env, rx.SAs, env.macsecSA)})
}

// macsecAttrs are the attributes of a MACsec link beside its options.
var macsecAttrs = []string{"tx", "rx"}

func (l *Link) macsec(name string) (starlark.Value, error) {
	s, err := l.link.MACsec()
	if err != nil {
		return nil, err
	}
	if name == "tx" {
		return recordRows(l.env, s.TX, l.env.macsecSA), nil
	}
	return recordRows(l.env, s.RX, l.env.macsecRX), nil
}

func macsecParams() []Param {
	return []Param{
		keyword("tx", tMACsecSAs, "", "a list of macsec_sa(): the keys to send by"),
		keyword("rx", tMACsecRXs, "", "a list of macsec_rx(): whom to receive from"),
	}
}

func (c *Call) macsecChange() lab.MACsecChange {
	return lab.MACsecChange{MACsecState: lab.MACsecState{TX: get[[]lab.MACsecSA](c, "tx", nil), RX: get[[]lab.MACsecRX](c, "rx", nil)}}
}

// macsecSpec is the builtin of the kind, with the keys that `ip link` knows nothing of.
func macsecSpec() *Spec {
	k := lab.KindOf("macsec")
	page := kindPage{"macsec", "Makes a MACsec link (IEEE 802.1AE): frames on the parent are protected, and with encrypt=True encrypted, by the keys of tx, " +
		"and those taken that the keys of rx fit. The options sci, port, cipher, icvlen and offload stay as they are at its birth.",
		"a, b = netns(\"a\"), netns(\"b\")\nla, lb = veth(\"eth0\", \"eth0\", ns=a, peer_ns=b, up=True)\n" +
			"ka, kb = \"11\" * 16, \"22\" * 16\n" +
			"ma = macsec(\"ms0\", parent=la, encrypt=True, tx=[macsec_sa(0, key=ka)], addr=\"10.0.0.1/24\", up=True)\n" +
			"mb = macsec(\"ms0\", parent=lb, encrypt=True, tx=[macsec_sa(0, key=kb)], addr=\"10.0.0.2/24\", up=True,\n" +
			"    rx=[macsec_rx(ma.sci, sa=[macsec_sa(0, key=ka)])])\n" +
			"macsec_set(ma, rx=[macsec_rx((mb.mac, 1), sa=[macsec_sa(0, key=kb)])])\n" +
			"expect.reachable(a, \"10.0.0.2\")\n" +
			"expect.eq((ma.encrypt, ma.port, ma.rx[0].sci), (True, 1, mb.sci))\n" +
			"expect.gt(mb.rx[0].sa[0].stats.in_pkts_ok, 0)"}
	s := page.spec(k)
	s.Like = "ip link add link PARENT NAME type macsec; ip macsec add NAME …"
	s.Params = append(s.Params, macsecParams()...)
	s.Fn = func(c *Call) (starlark.Value, error) {
		return c.newConfigured(k,
			func(l *lab.Link) (bool, error) { return l.HasMACsec(c.macsecChange()) },
			func(l *lab.Link) error { return l.SetMACsec(c.Ctx, c.macsecChange()) })
	}
	return s
}

func macsecSpecs() []*Spec {
	const key = "key=\"000102030405060708090a0b0c0d0e0f\""
	return []*Spec{
		macsecSpec(),
		{
			Name: "macsec_sa", Family: familyLinks, Like: "ip macsec add NAME tx sa AN …",
			Returns: "macsec_sa: an key id pn on salt ssci stats",
			Doc: "Describes a secure association of a MACsec link: a key, and the number of the next packet. The kernel tells no key and no salt: in .tx and .rx they are None. " +
				"stats are its counters: in_pkts_ok in_pkts_invalid in_pkts_not_valid in_pkts_not_using_sa in_pkts_unused_sa, or out_pkts_protected out_pkts_encrypted.",
			Params: []Param{required("an", tAN, "its number, 0 to 3"),
				keyword("key", tMACsecKey, "", "of the cipher's 128 or 256 bits, in hexadecimal; without one macsec_set() changes the association that there is"),
				keyword("id", tMACsecKeyID, "", "the key's identifier; the association's number unless given"),
				keyword("pn", tPacketNumber, "", "the next packet's number, 1 to 2³²-1, with gcm-aes-xpn-… to 2⁶⁴-1; 1 unless given"),
				keyword("on", tBool, "", "use it; True for one with a key unless given"),
				keyword("salt", tSalt, "", "with gcm-aes-xpn-…: 96 bits in hexadecimal"),
				keyword("ssci", tUint32, "", "with gcm-aes-xpn-…: the short identifier of its channel")},
			Example: "s = macsec_sa(1, " + key + ", pn=7)\nexpect.eq((s.an, s.id, s.pn, s.on), (1, \"01\" + \"00\" * 15, 7, True))",
			Fn:      func(c *Call) (starlark.Value, error) { return c.macsecAssociation() },
		},
		{
			Name: "macsec_rx", Family: familyLinks, Returns: "macsec_rx: sci on sa", Like: "ip macsec add NAME rx sci SCI …",
			Doc: "Describes whom a MACsec link receives from.",
			Params: []Param{required("sci", tSCI, "the secure channel: the sender's .sci, or its MAC address and port"),
				keyword("sa", tMACsecSAs, "", "a list of macsec_sa(): the keys that it sends by"),
				keyword("on", tBool, "", "receive; on unless False")},
			Example: "r = macsec_rx((\"02:00:00:00:00:01\", 1), sa=[macsec_sa(0, " + key + ")])\nexpect.eq((r.sci, len(r.sa)), (\"0200000000010001\", 1))",
			Fn: func(c *Call) (starlark.Value, error) {
				return c.Env.macsecRX(lab.MACsecRX{SCI: get[[]byte](c, "sci", nil), On: pointer[bool](c, "on"), SAs: get[[]lab.MACsecSA](c, "sa", nil)}), nil
			},
		},
		{
			Name: "macsec_set", Family: familyLinks, Like: "ip macsec add|set|del NAME …",
			Doc: "Changes a MACsec link's keys and whom it receives from, all or nothing. An association with a key is added, or put in the place of that of its number; " +
				"one without a key changes pn and on of that. Which association frames are sent by is set_link(link, encodingsa=).",
			Params: append(append([]Param{required("link", tLink, "which")}, macsecParams()...),
				keyword("remove_tx", listOf(tAN, "a number or a list of them"), "", "the numbers of associations to take away"),
				keyword("remove_rx", listOf(tSCI, "a secure channel or a list of them"), "", "channels to take away, with their keys")),
			Example: "a, b = veth(\"a\", \"b\", up=True)\nm = macsec(\"ms0\", parent=a, tx=[macsec_sa(0, " + key + ")])\n" +
				"macsec_set(m, tx=[macsec_sa(0, on=False), macsec_sa(1, key=\"22\" * 16)], rx=[macsec_rx((\"02:00:00:00:00:09\", 5))])\nset_link(m, encodingsa=1)\n" +
				"expect.eq([(s.an, s.on) for s in m.tx], [(0, False), (1, True)])\n" +
				"macsec_set(m, remove_tx=0, remove_rx=m.rx[0].sci)\n" +
				"expect.eq(([s.an for s in m.tx], len(m.rx)), ([1], 0))",
			Fn: func(c *Call) (starlark.Value, error) {
				change := c.macsecChange()
				change.RemoveTX, change.RemoveRX = all[int](c, "remove_tx"), all[[]byte](c, "remove_rx")
				return nil, get[*lab.Link](c, "link", nil).SetMACsec(c.Ctx, change)
			},
		},
	}
}

// macsecAssociation fills in what one with a key has unless it is given.
func (c *Call) macsecAssociation() (starlark.Value, error) {
	sa := lab.MACsecSA{AN: get(c, "an", 0), Key: get[[]byte](c, "key", nil), KeyID: get[[]byte](c, "id", nil),
		PN: pointer[uint64](c, "pn"), On: pointer[bool](c, "on"), Salt: get[[]byte](c, "salt", nil)}
	if n := pointer[int](c, "ssci"); n != nil {
		ssci := uint32(*n)
		sa.SSCI = &ssci
	}
	if sa.Key == nil {
		for _, name := range []string{"id", "salt", "ssci"} {
			if c.Given(name) {
				return nil, lab.Usage("add key=", "macsec_sa: %s belongs to a key", name)
			}
		}
		return c.Env.macsecSA(sa), nil
	}
	if sa.KeyID == nil {
		sa.KeyID = make([]byte, 16)
		sa.KeyID[0] = byte(sa.AN)
	}
	if sa.PN == nil {
		sa.PN = new(uint64)
		*sa.PN = 1
	}
	if sa.On == nil {
		sa.On = new(bool)
		*sa.On = true
	}
	return c.Env.macsecSA(sa), nil
}
