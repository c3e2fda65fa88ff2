package firewall

import (
	"fmt"
	"slices"
	"time"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// NATType is the behaviour of a NAT for UDP over IPv4 in the terms of RFC 4787: which
// port of the outside a port of the inside is mapped to, and who may send to it. Each
// depends on nothing ("endpoint_independent"), on the address of the other side
// ("address_dependent"), or on its port, too ("address_and_port_dependent"). Connection
// tracking by itself filters in the last way; the others are maps that each packet on its
// way out renews, in a table of the family ip.
type NATType struct {
	Table              string
	OIf                string
	Mapping, Filtering string
	Timeout            time.Duration // of a mapping that nothing renews
}

// Kinds of behaviour, the most open first.
const (
	Independent             = "endpoint_independent"
	AddressDependent        = "address_dependent"
	AddressAndPortDependent = "address_and_port_dependent"
)

// nft's numbers of types (include/datatype.h of nftables), and of their concatenations.
const (
	typeAddr, typePort = 7, 13
	typeBits           = 6
)

// mapSet is a map, or a set, that packets add to.
type mapSet struct {
	name                   string
	keyType, keyLen        uint32
	dataType, dataLen      uint32 // 0 for a set
	keyWords, mappingWords string
}

func concatenated(types ...uint32) (kind, size uint32) {
	for _, t := range types {
		kind, size = kind<<typeBits|t, size+4
	}
	if len(types) == 1 && types[0] == typePort {
		size = 2
	}
	return kind, size
}

// mostMappings is the size of a map, as nft has it unless told.
const mostMappings = 65535

func (b *Batch) dynamic(t Table, m mapSet, timeout time.Duration) {
	b.sets++
	flags := uint32(unix.NFT_SET_EVAL | unix.NFT_SET_TIMEOUT)
	if m.dataLen > 0 {
		flags |= unix.NFT_SET_MAP
	}
	at := b.begin(nfMessage|unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, t.Family)
	b.text(unix.NFTA_SET_TABLE, t.Name)
	b.text(unix.NFTA_SET_NAME, m.name)
	b.number(unix.NFTA_SET_FLAGS, flags)
	b.number(unix.NFTA_SET_KEY_TYPE, m.keyType)
	b.number(unix.NFTA_SET_KEY_LEN, m.keyLen)
	b.number(unix.NFTA_SET_ID, b.sets)
	data := userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, 2)
	if m.dataLen > 0 {
		b.number(unix.NFTA_SET_DATA_TYPE, m.dataType)
		b.number(unix.NFTA_SET_DATA_LEN, m.dataLen)
		data = userdata.AppendUint32(data, userdata.NFTNL_UDATA_SET_DATABYTEORDER, 2)
	}
	b.wide(unix.NFTA_SET_TIMEOUT, uint64(timeout.Milliseconds()))
	b.nested(unix.NFTA_SET_DESC, func() { b.number(unix.NFTA_SET_DESC_SIZE, mostMappings) })
	b.attribute(unix.NFTA_SET_USERDATA, data)
	b.end(at)
}

// Registers of 32 bits that a concatenation fills one after the other; the first is also
// the first of 128 bits.
var slots = []uint32{1, 9, 10, 11}

// natting writes the table twice: as a batch, and in nft's words.
type natting struct {
	*NATType
	batch Batch
	words []string
}

func (w *natting) table() Table { return Table{unix.NFPROTO_IPV4, w.Table} }

func (w *natting) say(format string, args ...any) {
	w.words = append(w.words, fmt.Sprintf(format, args...))
}

// Create makes the table.
func (n *NATType) Create() (*Batch, []string) {
	w := &natting{NATType: n}
	w.batch.Create(w.table(), false)
	w.say("create table ip %s", n.Table)
	for _, m := range n.maps() {
		w.batch.dynamic(w.table(), m, n.Timeout)
		what := "set"
		if m.dataLen > 0 {
			what = "map"
		}
		w.say("add %s ip %s %s { type %s; size %d; flags dynamic,timeout; timeout %dms; }", what, n.Table, m.name, m.keyWords+m.mappingWords, mostMappings, n.Timeout.Milliseconds())
	}
	for _, c := range []struct {
		name, kind, hook, words string
		number                  uint32
		priority                int32
	}{{"prerouting", "nat", "prerouting", "dstnat", unix.NF_INET_PRE_ROUTING, -100}, {"postrouting", "nat", "postrouting", "srcnat", unix.NF_INET_POST_ROUTING, 100},
		{"renew", "filter", "postrouting", "srcnat + 10", unix.NF_INET_POST_ROUTING, 110}} {
		w.batch.Chain(w.table(), BaseChain{Name: c.name, Type: c.kind, Hook: c.number, Priority: c.priority})
		w.say("add chain ip %s %s { type %s hook %s priority %s; }", n.Table, c.name, c.kind, c.hook, c.words)
	}
	w.arriving()
	w.leaving()
	w.renewing()
	return &w.batch, w.words
}

// maps are those that the behaviour needs.
func (n *NATType) maps() (maps []mapSet) {
	pair, pairLen := concatenated(typeAddr, typePort)
	port, portLen := concatenated(typePort)
	if n.Mapping != AddressAndPortDependent {
		m := mapSet{name: "mapping", dataType: port, dataLen: portLen, keyWords: "ipv4_addr . inet_service", mappingWords: " : inet_service"}
		m.keyType, m.keyLen = pair, pairLen
		if n.Mapping == AddressDependent {
			m.keyType, m.keyLen = concatenated(typeAddr, typePort, typeAddr)
			m.keyWords += " . ipv4_addr"
			maps = append(maps, mapSet{name: "inside", keyType: pair, keyLen: pairLen, keyWords: "ipv4_addr . inet_service"})
		}
		maps = append(maps, m, mapSet{name: "taken", keyType: port, keyLen: portLen, keyWords: "inet_service"})
	}
	if n.Filtering != AddressAndPortDependent {
		m := mapSet{name: "endpoint", dataType: pair, dataLen: pairLen, keyType: port, keyLen: portLen, keyWords: "inet_service", mappingWords: " : ipv4_addr . inet_service"}
		if n.Filtering == AddressDependent {
			m.keyType, m.keyLen = concatenated(typePort, typeAddr)
			m.keyWords += " . ipv4_addr"
		}
		maps = append(maps, m)
	}
	return maps
}

func (w *natting) rule(chain, words string, exprs ...expr.Any) {
	w.batch.Rule(w.table(), chain, exprs, nil)
	w.say("add rule ip %s %s %s", w.Table, chain, words)
}

// through matches a link, and UDP alone.
func (w *natting) through(out, udp bool) (words string, exprs []expr.Any) {
	key, name := expr.MetaKeyIIFNAME, "iifname"
	if out {
		key, name = expr.MetaKeyOIFNAME, "oifname"
	}
	data := make([]byte, unix.IFNAMSIZ)
	copy(data, w.OIf)
	words = fmt.Sprintf("%s \"%s\" ", name, w.OIf)
	exprs = []expr.Any{&expr.Meta{Key: key, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: data}}
	if udp {
		words += "meta l4proto udp "
		exprs = append(exprs, &expr.Meta{Key: expr.MetaKeyL4PROTO, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{unix.IPPROTO_UDP}})
	}
	return words, exprs
}

func field(base expr.PayloadBase, at, size uint32, slot int) expr.Any {
	return &expr.Payload{Base: base, Offset: at, Len: size, DestRegister: slots[slot]}
}

const network, transport = expr.PayloadBaseNetworkHeader, expr.PayloadBaseTransportHeader

// arriving leads what comes for a mapped port inside.
func (w *natting) arriving() {
	if w.Filtering == AddressAndPortDependent {
		return
	}
	words, exprs := w.through(false, true)
	words += "counter dnat ip to udp dport"
	exprs = append(exprs, &expr.Counter{}, field(transport, 2, 2, 0))
	if w.Filtering == AddressDependent {
		words += " . ip saddr"
		exprs = append(exprs, field(network, 12, 4, 1))
	}
	exprs = append(exprs, &expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: "endpoint"},
		&expr.NAT{Type: expr.NATTypeDestNAT, Family: unix.NFPROTO_IPV4, RegAddrMin: slots[0], RegAddrMax: slots[0], RegProtoMin: slots[1], RegProtoMax: slots[1], Specified: true})
	w.rule("prerouting", words+" map @endpoint", exprs...)
}

// leaving gives what goes out the port that it is mapped to, or one that nobody else is.
func (w *natting) leaving() {
	if w.Mapping == AddressAndPortDependent {
		words, exprs := w.through(true, false)
		w.rule("postrouting", words+"counter masquerade fully-random", append(exprs, &expr.Counter{}, &expr.Masq{FullyRandom: true})...)
		return
	}
	words, exprs := w.through(true, true)
	words += "counter masquerade to :ip saddr . udp sport"
	exprs = append(exprs, &expr.Counter{}, field(network, 12, 4, 0), field(transport, 0, 2, 1))
	if w.Mapping == AddressDependent {
		words += " . ip daddr"
		exprs = append(exprs, field(network, 16, 4, 2))
	}
	w.rule("postrouting", words+" map @mapping", append(exprs, &expr.Lookup{SourceRegister: 1, DestRegister: 1, IsDestRegSet: true, SetName: "mapping"},
		&expr.Masq{ToPorts: true, RegProtoMin: 1, RegProtoMax: 1})...)

	if w.Mapping == AddressDependent { // another address needs another port, also where the first could not be kept
		words, exprs = w.through(true, true)
		w.rule("postrouting", words+"ip saddr . udp sport @inside counter masquerade fully-random", append(exprs, field(network, 12, 4, 0), field(transport, 0, 2, 1),
			&expr.Lookup{SourceRegister: 1, SetName: "inside"}, &expr.Counter{}, &expr.Masq{FullyRandom: true})...)
	}
	words, exprs = w.through(true, true)
	w.rule("postrouting", words+"udp sport @taken counter masquerade fully-random", append(exprs, field(transport, 0, 2, 0),
		&expr.Lookup{SourceRegister: 1, SetName: "taken"}, &expr.Counter{}, &expr.Masq{FullyRandom: true})...)

	words, exprs = w.through(true, false)
	w.rule("postrouting", words+"counter masquerade", append(exprs, &expr.Counter{}, &expr.Masq{})...)
}

// NFT_CT_SRC_IP and NFT_CT_DST_IP.
const ctSrcIP, ctDstIP = 19, 20

// origin is a part of the tuple that the first packet had, outside the port that it got.
func origin(key, register uint32) expr.Any { return tracked{key: key, register: register} }
func outside(register uint32) expr.Any {
	return tracked{key: unix.NFT_CT_PROTO_DST, direction: 1, register: register}
}

// renewing notes, once it is known, what a packet from inside was mapped to.
func (w *natting) renewing() {
	update := func(set, words string, exprs []expr.Any, data uint32) {
		matches, all := w.through(true, true)
		all = append(all, &expr.Ct{Key: expr.CtKeyDIRECTION, Register: 1}, &expr.Cmp{Op: expr.CmpOpEq, Register: 1, Data: []byte{0}})
		w.rule("renew", matches+"ct direction original update @"+set+" { "+words+" }",
			append(append(all, exprs...), &expr.Dynset{SrcRegKey: 1, SrcRegData: data, SetName: set, Operation: unix.NFT_DYNSET_OP_UPDATE})...)
	}
	if w.Mapping != AddressAndPortDependent {
		words, exprs := "ct original ip saddr . ct original proto-src", []expr.Any{origin(ctSrcIP, slots[0]), origin(unix.NFT_CT_PROTO_SRC, slots[1])}
		if w.Mapping == AddressDependent {
			update("inside", words, slices.Clone(exprs), 0)
			words, exprs = words+" . ct original ip daddr", append(exprs, origin(ctDstIP, slots[2]))
		}
		update("mapping", words+" : ct reply proto-dst", append(exprs, outside(2)), 2)
		update("taken", "ct reply proto-dst", []expr.Any{outside(slots[0])}, 0)
	}
	if w.Filtering != AddressAndPortDependent {
		words, exprs := "ct reply proto-dst", []expr.Any{outside(slots[0])}
		if w.Filtering == AddressDependent {
			words, exprs = words+" . ct original ip daddr", append(exprs, origin(ctDstIP, slots[1]))
		}
		update("endpoint", words+" : ct original ip saddr . ct original proto-src", append(exprs,
			origin(ctSrcIP, 2), origin(unix.NFT_CT_PROTO_SRC, 13)), 2)
	}
}
