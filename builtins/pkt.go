package builtins

import (
	"fmt"
	"maps"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
	"nsscript/runtime/packet"
	"nsscript/runtime/probe"
)

// Craft is a packet that is put together of layers. It never changes: "/" makes another.
type Craft struct {
	specs []packet.Spec
	env   *Env
}

var _ starlark.HasBinary = (*Craft)(nil)

// packet is what the layers make.
func (k *Craft) packet() (*Packet, error) {
	b, err := packet.Craft(k.specs)
	if err != nil {
		return nil, lab.Usage("", "pkt: %v", err)
	}
	p := &Packet{env: k.env, frame: probe.Frame{Data: b, Length: len(b)}, decoded: &packet.Packet{}}
	p.decoded.Decode(b, len(b), k.specs[0].Kind)
	return p, nil
}

func (k *Craft) String() string {
	p, err := k.packet()
	if err != nil {
		return err.Error()
	}
	return p.String()
}

// Type is what type() says.
func (k *Craft) Type() string { return "pkt" }

// Freeze does nothing: it never changes.
func (k *Craft) Freeze() {}

// Truth is True.
func (k *Craft) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (k *Craft) Hash() (uint32, error) {
	p, err := k.packet()
	if err != nil {
		return 0, err
	}
	return starlark.Bytes(p.frame.Data).Hash()
}

// CompareSameType compares the bytes.
func (k *Craft) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	a, err := k.packet()
	if err != nil {
		return false, err
	}
	b, err := y.(*Craft).packet()
	if err != nil {
		return false, err
	}
	return equality(op, string(a.frame.Data) == string(b.frame.Data), "pkt")
}

// AttrNames lists the attributes: those of the packet that it makes.
func (k *Craft) AttrNames() []string { return (&Packet{}).AttrNames() }

// Attr reads the packet that it makes.
func (k *Craft) Attr(name string) (starlark.Value, error) {
	p, err := k.packet()
	if err != nil {
		return nil, err
	}
	return p.Attr(name)
}

// MarshalJSON is the packet that it makes.
func (k *Craft) MarshalJSON() ([]byte, error) {
	p, err := k.packet()
	if err != nil {
		return nil, err
	}
	return p.MarshalJSON()
}

// Binary is "/": what is on the right is carried by what is on the left. Text and
// bytes are payload.
func (k *Craft) Binary(op syntax.Token, y starlark.Value, side starlark.Side) (starlark.Value, error) {
	if op != syntax.SLASH {
		return nil, nil
	}
	var more []packet.Spec
	switch y := y.(type) {
	case *Craft:
		more = y.specs
	case starlark.String:
		more = []packet.Spec{{Kind: packet.Payload, Data: []byte(y)}}
	case starlark.Bytes:
		more = []packet.Spec{{Kind: packet.Payload, Data: []byte(y)}}
	default:
		return nil, nil
	}
	specs := append(append([]packet.Spec(nil), k.specs...), more...)
	if side == starlark.Right {
		specs = append(append([]packet.Spec(nil), more...), k.specs...)
	}
	joined := &Craft{specs, k.env}
	_, err := joined.packet()
	return joined, err
}

// frame is what goes out by a link: the link's own address is the source that was left
// out.
func (k *Craft) frame(info *lab.LinkInfo) ([]byte, error) {
	specs := k.specs
	switch first := specs[0]; {
	case info.Ethernet() && first.Kind != packet.Ethernet:
		return nil, lab.Usage(fmt.Sprintf("like pkt.ether(dst=\"02:00:00:00:00:01\") / pkt.%s(…)", first.Kind), "send: a frame of %s begins with pkt.ether, not with pkt.%s", info.Name, first.Kind)
	case !info.Ethernet() && first.Kind == packet.Ethernet:
		return nil, lab.Usage("leave pkt.ether out", "send: %s has no Ethernet", info.Name)
	case first.Kind == packet.Ethernet && first.Fields["src"] == nil:
		fields := maps.Clone(first.Fields)
		fields["src"] = info.MAC.String()
		specs = append([]packet.Spec{{Kind: first.Kind, Fields: fields}}, specs[1:]...)
	}
	b, err := packet.Craft(specs)
	if err != nil {
		return nil, lab.Usage("", "send: %v", err)
	}
	return b, nil
}

// craftName is what a layer's builtin is called.
func craftName(k packet.Kind) string {
	if k == packet.Ethernet {
		return "pkt.ether"
	}
	return "pkt." + k.String()
}

// craftPages are what the builtins say of layers.
func craftDoc(k packet.Kind) (doc, example string) {
	const ether = "pkt.ether(dst=\"02:00:00:00:00:02\", src=\"02:00:00:00:00:01\")"
	const ip = "pkt.ip(src=\"10.0.0.1\", dst=\"10.0.0.2\")"
	switch k {
	case packet.Ethernet:
		return "Crafts an Ethernet header. \"/\" joins layers, the outermost first; text and bytes are payload. Lengths, checksums, " +
				"the numbers of next protocols and what else can be known is filled in, and what is given stays as it is given, so that wrong ones can be sent. " +
				"A source that is left out is the link's own when it is sent. What was crafted has the attributes of a packet.",
			"f = " + ether + " / pkt.ip(src=\"10.0.0.1\", dst=\"10.0.0.2\", ttl=3) / pkt.udp(sport=1, dport=2) / \"hello\"\n" +
				"expect.eq((f.eth.type, f.ip.length, f.ip.proto, f.udp.length, f.udp.checksum_ok), (0x800, 33, 17, 13, True))"
	case packet.VLAN:
		return "Crafts a VLAN tag (IEEE 802.1Q).", "f = " + ether + " / pkt.vlan(id=10, pcp=5) / " + ip + "\nexpect.eq((f.vlan.id, f.vlan.tpid, f.vlan.type), (10, 0x8100, 0x800))"
	case packet.MPLS:
		return "Crafts an entry of an MPLS label stack (RFC 3032); the bottom is known by what follows.",
			"f = " + ether + " / pkt.mpls(label=100) / pkt.mpls(label=200) / " + ip + "\nexpect.eq(f.mpls.labels, [100, 200])"
	case packet.ARP:
		return "Crafts an ARP packet (RFC 826), a request unless op= says otherwise.",
			"f = " + ether + " / pkt.arp(op=\"reply\", sha=\"02:00:00:00:00:01\", spa=\"10.0.0.1\", tha=\"02:00:00:00:00:02\", tpa=\"10.0.0.2\")\n" +
				"expect.eq((f.arp.op, f.summary), (2, \"ARP, Reply 10.0.0.1 is-at 02:00:00:00:00:01, length 28\"))"
	case packet.IPv4:
		return "Crafts an IPv4 header (RFC 791).", "f = pkt.ip(src=\"10.0.0.1\", dst=\"10.0.0.2\", df=True, checksum=1) / pkt.icmp()\nexpect.eq((f.ip.checksum_ok, f.icmp.checksum_ok), (False, True))"
	case packet.IPv6:
		return "Crafts an IPv6 header (RFC 8200).", "f = pkt.ipv6(src=\"fd00::1\", dst=\"fd00::2\", hop_limit=1) / pkt.udp(dport=53)\nexpect.eq((f.ipv6.payload_length, f.udp.checksum_ok), (8, True))"
	case packet.SRH:
		return "Crafts a segment routing header (RFC 8754), which follows pkt.ipv6.",
			"f = pkt.ipv6(src=\"fd00::1\", dst=\"fd00::2\") / pkt.srh(segments=[\"fd00::9\", \"fd00::2\"]) / pkt.udp()\nexpect.eq((f.srh.segments_left, f.udp.checksum_ok), (1, True))"
	case packet.ICMP:
		return "Crafts an ICMP header (RFC 792), an echo request unless type= says otherwise.", "f = " + ip + " / pkt.icmp(type=\"time-exceeded\") / " + ip + "\nexpect.eq((f.icmp.type, f.inner.ip.dst), (11, \"10.0.0.2\"))"
	case packet.ICMPv6:
		return "Crafts an ICMPv6 header (RFC 4443) or a message of neighbour discovery (RFC 4861), an echo request unless type= says otherwise.",
			"f = pkt.ipv6(src=\"fd00::1\", dst=\"ff02::1:ff00:2\", hop_limit=255) / pkt.icmpv6(type=\"nd-neighbor-solicit\", target=\"fd00::2\", lladdr=\"02:00:00:00:00:01\")\n" +
				"expect.eq((f.icmpv6.target, f.icmpv6.lladdr), (\"fd00::2\", \"02:00:00:00:00:01\"))"
	case packet.UDP:
		return "Crafts a UDP header (RFC 768).", "f = " + ip + " / pkt.udp(sport=1000, dport=2000, checksum=0) / \"hi\"\nexpect.eq((f.udp.checksum_ok, f.payload.text), (None, \"hi\"))"
	case packet.TCP:
		return "Crafts a TCP header (RFC 9293), a SYN unless flags= says otherwise.", "f = " + ip + " / pkt.tcp(dport=80, seq=7, mss=1400)\nexpect.eq((f.tcp.flags, f.tcp.mss, f.tcp.data_offset), (\"SYN\", 1400, 6))"
	case packet.VXLAN:
		return "Crafts a VXLAN header (RFC 7348), which follows pkt.udp; the destination port is 4789 unless given.",
			"f = " + ip + " / pkt.udp() / pkt.vxlan(vni=42) / " + ether + " / \"x\"\nexpect.eq((f.udp.dport, f.vxlan.vni, f.inner.eth.dst), (4789, 42, \"02:00:00:00:00:02\"))"
	case packet.GRE:
		return "Crafts a GRE header (RFC 2784), with a key and a sequence number where given.", "f = " + ip + " / pkt.gre(key=7) / " + ip + " / pkt.icmp()\nexpect.eq((f.gre.key, f.gre.seq, f.inner.icmp.type), (7, None, 8))"
	case packet.Geneve:
		return "Crafts a Geneve header (RFC 8926), which follows pkt.udp; the destination port is 6081 unless given.",
			"f = " + ip + " / pkt.udp() / pkt.geneve(vni=42) / " + ether + "\nexpect.eq((f.udp.dport, f.geneve.vni), (6081, 42))"
	}
	return "Crafts what the last layer carries; text and bytes after \"/\" are the same.", "f = " + ip + " / pkt.payload(\"hello\")\nexpect.eq(f.payload.length, 5)"
}

// fieldDoc is what is said of a parameter.
func fieldDoc(f *packet.Field) string {
	var words []string
	if f.Doc != "" {
		words = append(words, f.Doc)
	}
	if len(f.Names) > 0 {
		words = append(words, fmt.Sprintf("like %q", f.Names[0].Name))
	}
	if f.Auto {
		words = append(words, "filled in unless given")
	}
	if len(words) == 0 {
		return strings.ReplaceAll(f.Name, "_", " ")
	}
	return strings.Join(words, "; ")
}

// fieldTypes say what each format wants; the value itself is judged by the layer.
var fieldTypes = [...]*Type{
	packet.Number: fieldType("a number"), packet.Bool: fieldType("True or False"), packet.Address: fieldType("an IP address"),
	packet.Hardware: fieldType("a MAC address"), packet.Flags: fieldType("flags, or a number"), packet.Text: fieldType("a string"),
	packet.Bytes: fieldType("bytes"), packet.Seconds: fieldType("a number"), packet.List: fieldType("a list of addresses"),
}

func fieldType(what string) *Type {
	return &Type{Name: what, Convert: func(_ *Call, v starlark.Value) (any, error) {
		if value, ok := goValue(v); ok {
			return value, nil
		}
		seq, ok := v.(starlark.Sequence)
		if !ok {
			return nil, errType
		}
		list := []any{}
		for x := range starlark.Elements(seq) {
			value, ok := goValue(x)
			if !ok {
				return nil, errType
			}
			list = append(list, value)
		}
		return list, nil
	}}
}

var tPayload = &Type{Name: "text or bytes", Good: `"hello"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		return []byte(v), nil
	case starlark.Bytes:
		return []byte(v), nil
	}
	return nil, errType
}}

func pktSpecs() []*Spec {
	var specs []*Spec
	for _, k := range packet.CanCraft() {
		doc, example := craftDoc(k)
		s := &Spec{Name: craftName(k), Family: familyPackets, Returns: "pkt: a packet's attributes", Doc: doc, Example: example}
		if k == packet.Payload {
			s.Params = []Param{required("data", tPayload, "what it carries")}
			s.Fn = func(c *Call) (starlark.Value, error) {
				return &Craft{[]packet.Spec{{Kind: k, Data: get(c, "data", []byte(nil))}}, c.Env}, nil
			}
		} else {
			fields := packet.Fields(k)
			for i := range fields {
				if f := &fields[i]; f.Craftable() {
					def := ""
					if f.Default != 0 {
						def = fmt.Sprint(f.Default)
					}
					s.Params = append(s.Params, keyword(f.Name, fieldTypes[f.As], def, fieldDoc(f)))
				}
			}
			s.Fn = func(c *Call) (starlark.Value, error) { return c.craft(k) }
		}
		specs = append(specs, s)
	}
	return specs
}

// craft makes a layer, and judges its fields at once.
func (c *Call) craft(k packet.Kind) (starlark.Value, error) {
	s := packet.Spec{Kind: k, Fields: map[string]any{}}
	for _, p := range c.spec.Params {
		if v := c.values[c.at(p.Name)]; v != nil {
			s.Fields[p.Name] = v
		}
	}
	// A tag says of itself what it is in the header before it.
	if _, err := packet.Craft([]packet.Spec{{Kind: packet.Ethernet}, s}); err != nil {
		_, reason, _ := strings.Cut(err.Error(), ": ")
		return nil, lab.Usage("", "%s: %s", c.spec.Name, reason)
	}
	return &Craft{[]packet.Spec{s}, c.Env}, nil
}

// tFrame is what can be sent.
var tFrame = &Type{Name: "a frame: crafted, captured, or bytes", Good: `pkt.ether(dst="02:00:00:00:00:01") / "hello"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case *Craft, *Packet:
		return v, nil
	case starlark.Bytes:
		return v, nil
	}
	return nil, errType
}}

func sendSpecs() []*Spec {
	return []*Spec{{
		Name: "send", Family: familyPackets, Like: "tcpreplay -i DEV FILE",
		Doc: "Sends frames as they are by a link, which is up, one after another: crafted ones, captured ones again, or bytes. " +
			"On a link without Ethernet (tun, ipip) they begin with the IP header. The namespace itself does not see them but in captures.",
		Params: []Param{required("link", tLink, "by which"), required("frames", framesOf, "one, or a list of them")},
		Example: twoHosts + "cap = capture(b, proto=\"udp\")\n" +
			"send(a[\"eth0\"], pkt.ether(dst=b[\"eth0\"].mac) / pkt.ip(src=\"192.0.2.1\", dst=\"10.0.0.2\") / pkt.udp(sport=7, dport=9, checksum=1) / \"hello\")\n" +
			"p = cap.wait({\"udp.dport\": 9})\nexpect.eq((p.eth.src, p.payload.text, p.udp.checksum_ok), (a[\"eth0\"].mac, \"hello\", False))",
		Fn: func(c *Call) (starlark.Value, error) {
			k := get[*lab.Link](c, "link", nil)
			info, err := k.Info()
			if err != nil {
				return nil, err
			}
			var frames [][]byte
			var words []string
			for _, v := range all[starlark.Value](c, "frames") {
				b, err := frameBytes(v, info)
				if err != nil {
					return nil, err
				}
				var p packet.Packet
				first := packet.Ethernet
				if !info.Ethernet() {
					first = packet.IPv4
					if len(b) > 0 && b[0]>>4 == 6 {
						first = packet.IPv6
					}
				}
				p.Decode(b, len(b), first)
				frames, words = append(frames, b), append(words, p.Summary())
			}
			return nil, k.Send(c.Ctx, frames, words)
		},
	}}
}

// framesOf is one frame or several; bytes are a sequence, too.
var framesOf = &Type{Name: "a frame, or a list of frames", Good: tFrame.Good, Convert: func(c *Call, v starlark.Value) (any, error) {
	if _, one := v.(starlark.Bytes); one {
		return []any{v}, nil
	}
	return listOf(tFrame, "a frame, or a list of frames").Convert(c, v)
}}

// frameBytes are those that go out.
func frameBytes(v starlark.Value, info *lab.LinkInfo) ([]byte, error) {
	switch v := v.(type) {
	case *Craft:
		return v.frame(info)
	case *Packet:
		return v.bytes(), nil
	case starlark.Bytes:
		return []byte(v), nil
	}
	return nil, errType
}
