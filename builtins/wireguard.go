package builtins

import (
	"fmt"
	"net/netip"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// wgPair is a wg_key().
type wgPair struct{ private, public lab.WGKey }

func (env *Env) wgKey(private lab.WGKey) *Record {
	p := wgPair{private, private.Public()}
	return record("wg_key", p.public.String(), p,
		field{"private", starlark.String(private.String())}, field{"public", starlark.String(p.public.String())})
}

// wgKeyType is a key in base64, or that part of a wg_key().
func wgKeyType(what string, part func(wgPair) lab.WGKey) *Type {
	return &Type{Name: what, Good: "wg_key()", Convert: func(_ *Call, v starlark.Value) (any, error) {
		switch v := v.(type) {
		case *Record:
			if pair, ok := v.object.(wgPair); ok {
				return part(pair), nil
			}
		case starlark.String:
			key, err := lab.ParseWGKey(string(v))
			if err == nil && key.IsZero() {
				err = fmt.Errorf("all bytes of the key are zero")
			}
			return key, err
		}
		return nil, errType
	}}
}

var (
	tWGPrivate = wgKeyType("a private key or wg_key()", func(p wgPair) lab.WGKey { return p.private })
	tWGPublic  = wgKeyType("a public key or wg_key()", func(p wgPair) lab.WGKey { return p.public })
	tWGSecret  = orNone(tWGPrivate)
)

// orNone is a key, or False for none.
func orNone(t *Type) *Type {
	return &Type{Name: t.Name + ", or False", Good: t.Good, Convert: func(c *Call, v starlark.Value) (any, error) {
		if v == starlark.False {
			return lab.WGKey{}, nil
		}
		return t.Convert(c, v)
	}}
}

// tWGEndpoint is an address and a port: none of a namespace, since nobody knows yet
// who will ask.
var tWGEndpoint = &Type{Name: "an address and a port", Good: `"10.0.0.1:51820"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	text, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	a, err := netip.ParseAddrPort(text)
	if err != nil || a.Port() == 0 {
		return nil, lab.Usage(`like "10.0.0.1:51820" or "[fd00::1]:51820"`, "%s is no IP address with a port", v)
	}
	return netip.AddrPortFrom(a.Addr().Unmap(), a.Port()), nil
}}

// tKeepalive is a time in whole seconds.
var tKeepalive = &Type{Name: "a time in whole seconds", Good: "25", Convert: func(_ *Call, v starlark.Value) (any, error) {
	d, err := toDuration(v)
	if err != nil {
		return nil, err
	}
	if d%time.Second != 0 || d > 65535*time.Second {
		return nil, fmt.Errorf("%v is out of range: it is from 0 to 65535 whole seconds", d)
	}
	return d, nil
}}

var tWGPeers = recordsOf[lab.WGPeer]("wg_peer()", `[wg_peer(key, endpoint="10.0.0.2:51820", allowed_ips=["10.9.0.0/24"])]`)

// wgPeer is a peer that is wanted, or one that there is: then with what happened.
func (env *Env) wgPeer(p lab.WGPeer) *Record {
	endpoint, keepalive, preshared := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if p.Endpoint.IsValid() {
		endpoint = starlark.String(p.Endpoint.String())
	}
	if p.Keepalive != nil && *p.Keepalive != 0 {
		keepalive = seconds(*p.Keepalive)
	}
	if p.PresharedKey != nil && !p.PresharedKey.IsZero() {
		preshared = starlark.String(p.PresharedKey.String())
	}
	var allowed []string
	for _, a := range p.AllowedIPs {
		allowed = append(allowed, a.String())
	}
	handshake := starlark.Value(starlark.None)
	if !p.LastHandshake.IsZero() {
		handshake = starlark.Float(float64(p.LastHandshake.UnixNano()) / 1e9)
	}
	return record("wg_peer", "peer "+p.PublicKey.String(), p,
		field{"public_key", starlark.String(p.PublicKey.String())}, field{"endpoint", endpoint}, field{"allowed_ips", strs(allowed)},
		field{"keepalive", keepalive}, field{"preshared_key", preshared}, field{"latest_handshake", handshake},
		field{"rx_bytes", starlark.MakeUint64(p.RxBytes)}, field{"tx_bytes", starlark.MakeUint64(p.TxBytes)})
}

// wireguardAttrs are the attributes of a WireGuard link.
var wireguardAttrs = []string{"private_key", "public_key", "listen_port", "fwmark", "peers"}

func (l *Link) wireguard(name string) (starlark.Value, error) {
	d, err := l.link.WireGuard()
	if err != nil {
		return nil, err
	}
	key := func(k lab.WGKey) starlark.Value {
		if k.IsZero() {
			return starlark.None
		}
		return starlark.String(k.String())
	}
	switch name {
	case "private_key":
		return key(d.PrivateKey), nil
	case "public_key":
		return key(d.PublicKey), nil
	case "listen_port":
		return number(d.ListenPort), nil
	case "fwmark":
		return number(d.FwMark), nil
	}
	return recordRows(l.env, d.Peers, l.env.wgPeer), nil
}

func wgParams(peers string) []Param {
	return []Param{
		keyword("private_key", tWGSecret, "", "in base64, or a wg_key(); False for none"),
		keyword("port", tUint16, "", "the UDP port; 0 for any that is free; reads back as listen_port"),
		keyword("fwmark", tUint32, "", "mark of the encrypted packets, for rule(); 0 for none"),
		keyword("peers", tWGPeers, "", peers),
	}
}

func (c *Call) wgChange() lab.WGChange {
	return lab.WGChange{PrivateKey: pointer[lab.WGKey](c, "private_key"), ListenPort: pointer[int](c, "port"),
		FwMark: pointer[int](c, "fwmark"), Peers: get[[]lab.WGPeer](c, "peers", nil)}
}

// wireguardSpec is the builtin of the kind, with the keys and peers that ip(8)
// knows nothing of.
func wireguardSpec() *Spec {
	k := lab.KindOf("wireguard")
	page := kindPage{"wireguard", "Makes a WireGuard tunnel. Its packets leave from the namespace that it was born in, also when it is moved later; " +
		"that is link_netns where it is given. -v shows no keys; explain and --events have to.",
		"a, b = netns(\"a\"), netns(\"b\")\nveth(\"eth0\", \"eth0\", ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
			"ka, kb = wg_key(), wg_key()\n" +
			"wa = wireguard(\"wg0\", ns=a, private_key=ka, port=51820, addr=\"192.168.0.1/24\", up=True,\n" +
			"    peers=[wg_peer(kb, endpoint=\"10.0.0.2:51820\", allowed_ips=[\"192.168.0.2\"])])\n" +
			"wireguard(\"wg0\", ns=b, private_key=kb, port=51820, addr=\"192.168.0.2/24\", up=True, peers=[wg_peer(ka, allowed_ips=[\"192.168.0.1\"])])\n" +
			"expect.reachable(a, \"192.168.0.2\")\n" +
			"expect.eq((wa.public_key, wa.listen_port, wa.peers[0].endpoint), (ka.public, 51820, \"10.0.0.2:51820\"))\n" +
			"expect.gt(wa.peers[0].rx_bytes, 0)"}
	s := page.spec(k)
	s.Like = "ip link add NAME type wireguard; wg set NAME …"
	s.Params = append(s.Params, wgParams("a list of wg_peer()")...)
	s.Fn = func(c *Call) (starlark.Value, error) {
		return c.newConfigured(k,
			func(l *lab.Link) (bool, error) { return l.HasWireGuard(c.wgChange()) },
			func(l *lab.Link) error { return l.SetWireGuard(c.Ctx, c.wgChange()) })
	}
	return s
}

func wgSpecs() []*Spec {
	return []*Spec{
		wireguardSpec(),
		{
			Name: "wg_key", Family: familyLinks, Returns: "wg_key: private public", Like: "wg genkey",
			Doc: "Draws a pair of keys for WireGuard from --seed: of no use but in a lab. It prints as the public key. " +
				"With private=, it is the pair of that key. As a preshared_key the private one is taken.",
			Params:  []Param{keyword("private", tWGPrivate, "", "in base64")},
			Example: "k = wg_key()\nexpect.eq(wg_key(private=k.private).public, k.public)\nexpect.eq(str(k), k.public)",
			Fn: func(c *Call) (starlark.Value, error) {
				if private := pointer[lab.WGKey](c, "private"); private != nil {
					return c.Env.wgKey(*private), nil
				}
				return c.Env.wgKey(c.Env.Lab.NewWGKey()), nil
			},
		},
		{
			Name: "wg_peer", Family: familyLinks, Like: "wg set NAME peer KEY …",
			Returns: "wg_peer: public_key endpoint allowed_ips keepalive preshared_key latest_handshake rx_bytes tx_bytes",
			Doc: "Describes a peer of a WireGuard tunnel. latest_handshake (in seconds since 1970), rx_bytes and tx_bytes are those of wg.peers, " +
				"which asks the kernel each time.",
			Params: []Param{required("public_key", tWGPublic, "in base64, or a wg_key()"),
				keyword("endpoint", tWGEndpoint, "", "where it is; unless given it has to call first"),
				keyword("allowed_ips", listOf(tDst, "a subnet or a list of them"), "", "the addresses that it may send from, and is sent to"),
				keyword("keepalive", tKeepalive, "", "send something at this interval; 0 for never"),
				keyword("preshared_key", tWGSecret, "", "a second secret of both ends; False for none")},
			Example: "k = wg_key()\np = wg_peer(k, endpoint=\"[fd00::1]:51820\", allowed_ips=[\"10.0.0.0/8\", \"fd00::/8\"], keepalive=25)\n" +
				"expect.eq((p.public_key, p.endpoint, p.allowed_ips, p.keepalive), (k.public, \"[fd00::1]:51820\", [\"10.0.0.0/8\", \"fd00::/8\"], 25.0))",
			Fn: func(c *Call) (starlark.Value, error) {
				p := lab.WGPeer{PublicKey: get(c, "public_key", lab.WGKey{}), Endpoint: get(c, "endpoint", netip.AddrPort{}),
					Keepalive: pointer[time.Duration](c, "keepalive"), PresharedKey: pointer[lab.WGKey](c, "preshared_key")}
				if c.Given("allowed_ips") {
					p.AllowedIPs = []netip.Prefix{}
				}
				for _, a := range get[[]any](c, "allowed_ips", nil) {
					p.AllowedIPs = append(p.AllowedIPs, a.(netip.Prefix))
				}
				return c.Env.wgPeer(p), nil
			},
		},
		{
			Name: "wg_set", Family: familyLinks, Like: "wg set NAME …",
			Doc: "Changes a WireGuard tunnel's keys and peers, all or nothing. What is not given stays; a peer that there is gets what its wg_peer() says, " +
				"another is added.",
			Params: append(append([]Param{required("link", tLink, "which")}, wgParams("peers to add or to change")...),
				keyword("remove", listOf(tWGPublic, "a public key or a list of them"), "", "peers to remove"),
				keyword("replace_peers", tBool, "False", "no other peers than those of peers= stay")),
			Example: "k, p, q = wg_key(), wg_key(), wg_key()\nw = wireguard(\"wg0\", private_key=k, peers=[wg_peer(p)])\n" +
				"wg_set(w, port=4000, peers=[wg_peer(q, allowed_ips=\"10.0.0.0/8\")], remove=p)\n" +
				"expect.eq((w.listen_port, [(x.public_key, x.allowed_ips) for x in w.peers]), (4000, [(q.public, [\"10.0.0.0/8\"])]))",
			Fn: func(c *Call) (starlark.Value, error) {
				change := c.wgChange()
				change.Only = get(c, "replace_peers", false)
				for _, key := range get[[]any](c, "remove", nil) {
					change.Remove = append(change.Remove, key.(lab.WGKey))
				}
				return nil, get[*lab.Link](c, "link", nil).SetWireGuard(c.Ctx, change)
			},
		},
	}
}
