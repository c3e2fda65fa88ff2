package builtins

import (
	"slices"
	"strconv"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// tUserName is a user or a group, by name or number.
var tUserName = &Type{Name: "a name or a number", Good: `"nobody"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		if v != "" {
			return string(v), nil
		}
	case starlark.Int:
		n, err := tUID.Convert(nil, v)
		if err != nil {
			return nil, err
		}
		return strconv.Itoa(n.(int)), nil
	}
	return nil, errType
}}

var tUID = intType("a number", "1000", 0, 1<<31-1)

// tunAttrs are what such a link has beside its options: who may open it, where
// somebody may, and what is done with the other end.
func (l *Link) tunAttr(name string, info *lab.LinkInfo) starlark.Value {
	if info.Kind != "tun" {
		return nil
	}
	if (name == "user" || name == "user_group") && info.Options[name] == nil {
		return starlark.None
	}
	if !l.link.Held() {
		return nil
	}
	for _, m := range tunMethods {
		if m.Name == "link."+name {
			bound := *m
			bound.Fn = func(c *Call) (starlark.Value, error) { return tunFn[m.Name](c, l.link) }
			return bound.builtin(l.env)
		}
	}
	return nil
}

// tunNames are the names that tunAttr knows.
func (l *Link) tunNames(info *lab.LinkInfo) []string {
	if info.Kind != "tun" {
		return nil
	}
	names := []string{}
	for _, n := range []string{"user", "user_group"} {
		if info.Options[n] == nil {
			names = append(names, n)
		}
	}
	if l.link.Held() {
		names = append(names, "read", "write", "close")
	}
	return names
}

var tunMethods = []*Spec{
	{Name: "link.read", Returns: "bytes, or None", Doc: "Returns the next packet (tun) or frame (tap) that the link sent; None when there is none in time.", Params: []Param{keyword("timeout", tDuration, "", "at most so long")}},
	{Name: "link.write", Doc: "Makes the link receive a packet (tun) or a frame (tap).", Params: []Param{required("packet", tFrame, "what the link receives")}},
	{Name: "link.close", Doc: "Lets go of the link's other end: it loses its carrier, and goes unless it is persistent."},
}

var tunFn = map[string]func(*Call, *lab.Link) (starlark.Value, error){
	"link.read": func(c *Call, k *lab.Link) (starlark.Value, error) {
		packet, err := k.ReadPacket(c.Ctx, pointer[time.Duration](c, "timeout"))
		if err != nil || packet == nil {
			return starlark.None, err
		}
		return starlark.Bytes(packet), nil
	},
	"link.write": func(c *Call, k *lab.Link) (starlark.Value, error) {
		info, err := k.Info()
		if err != nil {
			return nil, err
		}
		b, err := frameBytes(get[starlark.Value](c, "packet", nil), info)
		if err != nil {
			return nil, err
		}
		return nil, k.WritePacket(c.Ctx, b)
	},
	"link.close": func(_ *Call, k *lab.Link) (starlark.Value, error) { return nil, k.LetGo() },
}

func tunSpecs() []*Spec {
	spec := func(name, what, example string) *Spec {
		params := []Param{optional("name", tLinkName, "", "the next free "+name+"0, "+name+"1 … unless given"), keyword("ns", tNetnsRef, "root", "where it is born")}
		params = append(params, slices.DeleteFunc(linkParams(), func(p Param) bool {
			// Their group is another, and the driver knows how many queues they have.
			return name == "tun" && p.Name == "mac" || slices.Contains([]string{"group", "numtxqueues", "numrxqueues"}, p.Name)
		})...)
		return &Spec{
			Name: name, Family: familyLinks, Returns: "link: read() write() close()", Like: "ip tuntap add dev NAME mode " + name,
			Doc: "Makes a " + what + " link, whose other end is a file that the script holds: t.read(timeout=) is the next one that was sent by the link, " +
				"as bytes, or None when none comes until the timeout; t.write(b) makes the link receive one, bytes or what pkt makes; t.close() lets go of the file, " +
				"so that a program can open it. With hold=False the script does not open it at all. The link stays until it is deleted. " +
				"Options read back as attributes, group as user_group. With exist=True the script opens the other end of the link that is there.",
			Params: append(params,
				keyword("user", tUserName, "", "who may open the other end"), keyword("group", tUserName, "", "a group whose members may"),
				keyword("pi", tBool, "False", "each begins with a struct tun_pi (flags and EtherType)"),
				keyword("vnet_hdr", tBool, "False", "each begins with a struct virtio_net_hdr"),
				keyword("multi_queue", tBool, "False", "several programs may open the other end at once"),
				keyword("hold", tBool, "True", "the script opens the other end")),
			Example: example,
			Fn: func(c *Call) (starlark.Value, error) {
				s := lab.TunSpec{TAP: name == "tap", User: get(c, "user", ""), Group: get(c, "group", ""), PI: get(c, "pi", false),
					VNetHdr: get(c, "vnet_hdr", false), MultiQueue: get(c, "multi_queue", false), Hold: get(c, "hold", true)}
				s.LinkSpec = c.linkSpec("")
				s.Name, s.NS = get(c, "name", ""), get[*lab.Namespace](c, "ns", nil)
				if s.Master != nil && s.NS == nil {
					s.NS = s.Master.NS()
				}
				k, err := c.Env.Lab.AddTun(c.Ctx, s)
				if err != nil {
					return nil, err
				}
				return &Link{k, c.Env}, nil
			},
		}
	}
	return []*Spec{
		spec("tap", "TAP (Ethernet)",
			"t = tap(\"tap0\", addr=\"10.0.0.1/24\", mac=\"02:00:00:00:00:01\")\nsysctl(root, \"net.ipv6.conf.tap0.disable_ipv6\", 1)\nup(t)\n"+
				"ping(root, \"10.0.0.2\", timeout=\"1ms\")\nfor _ in range(10):\n    frame = t.read(timeout=\"5s\")\n    if frame[12:14] == b\"\\x08\\x06\":   # ARP\n        break\n"+
				"expect.eq(frame[:6], b\"\\xff\\xff\\xff\\xff\\xff\\xff\")\nexpect.eq((t.mode, t.pi, t.persist), (\"tap\", False, True))\ndown(t)\nt.close()"),
		spec("tun", "TUN (IP)",
			"t = tun(\"tun0\", addr=\"10.0.0.1/24\")\nsysctl(root, \"net.ipv6.conf.tun0.disable_ipv6\", 1)\nup(t)\n"+
				"ping(root, \"10.0.0.2\", timeout=\"1ms\")\npacket = t.read(timeout=\"5s\")\nexpect.eq(packet[16:20], b\"\\x0a\\x00\\x00\\x02\")\n"+
				"expect.eq(t.read(timeout=\"1ms\"), None)\ndown(t)\nt.close()"),
	}
}
