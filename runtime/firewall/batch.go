package firewall

import (
	"encoding/binary"
	"errors"
	"fmt"
	"slices"

	"github.com/google/nftables/expr"
	"github.com/google/nftables/userdata"
	"golang.org/x/sys/unix"
)

// Batch is a transaction of nf_tables: all of its messages or none of them. It is one
// packet, of which the kernel answers the last message alone, and those that it
// refuses: a batch of nftables.Conn has every message answered and every rule sent
// back, which takes longer than making them.
type Batch struct {
	data []byte
	seq  uint32
	sets uint32 // that have been numbered
	err  error  // of an expression that cannot be encoded
}

// Table is a table by its family (NFPROTO_*) and name.
type Table struct {
	Family byte
	Name   string
}

const nfMessage = unix.NFNL_SUBSYS_NFTABLES << 8

// begin starts a message and returns where it starts.
func (b *Batch) begin(kind, flags uint16, family byte) int {
	if b.data == nil && kind != unix.NFNL_MSG_BATCH_BEGIN {
		b.end(b.begin(unix.NFNL_MSG_BATCH_BEGIN, 0, unix.AF_UNSPEC))
	}
	at := len(b.data)
	b.seq++
	b.data = binary.NativeEndian.AppendUint32(b.data, 0) // end fills it in
	b.data = binary.NativeEndian.AppendUint16(b.data, kind)
	b.data = binary.NativeEndian.AppendUint16(b.data, flags|unix.NLM_F_REQUEST)
	b.data = binary.NativeEndian.AppendUint32(b.data, b.seq)
	b.data = binary.NativeEndian.AppendUint32(b.data, 0)
	resource := uint16(0) // struct nfgenmsg
	if kind == unix.NFNL_MSG_BATCH_BEGIN || kind == unix.NFNL_MSG_BATCH_END {
		resource = unix.NFNL_SUBSYS_NFTABLES
	}
	b.data = binary.BigEndian.AppendUint16(append(b.data, family, 0), resource)
	return at
}

func (b *Batch) end(at int) {
	binary.NativeEndian.PutUint32(b.data[at:], uint32(len(b.data)-at))
}

// attribute appends one; value is padded to 4 bytes.
func (b *Batch) attribute(kind uint16, value []byte) {
	b.data = binary.NativeEndian.AppendUint16(b.data, uint16(4+len(value)))
	b.data = binary.NativeEndian.AppendUint16(b.data, kind)
	b.data = append(b.data, value...)
	for len(b.data)%4 != 0 {
		b.data = append(b.data, 0)
	}
}

func (b *Batch) text(kind uint16, s string) { b.attribute(kind, append([]byte(s), 0)) }
func (b *Batch) number(kind uint16, n uint32) {
	b.attribute(kind, binary.BigEndian.AppendUint32(nil, n))
}

func (b *Batch) wide(kind uint16, n uint64) { b.attribute(kind, binary.BigEndian.AppendUint64(nil, n)) }

// nested appends an attribute that holds those that fill appends.
func (b *Batch) nested(kind uint16, fill func()) {
	at := len(b.data)
	b.attribute(kind|unix.NLA_F_NESTED, nil)
	fill()
	binary.NativeEndian.PutUint16(b.data[at:], uint16(len(b.data)-at))
}

// Create makes a table, which must not be there. With owner (NFT_TABLE_F_OWNER, since
// 5.12) it belongs to the socket that sends the batch: nobody else can change or flush
// it, and it ends with the socket.
func (b *Batch) Create(t Table, owner bool) {
	at := b.begin(nfMessage|unix.NFT_MSG_NEWTABLE, unix.NLM_F_CREATE|unix.NLM_F_EXCL, t.Family)
	b.text(unix.NFTA_TABLE_NAME, t.Name)
	if owner {
		b.number(unix.NFTA_TABLE_FLAGS, tableOwner)
	}
	b.end(at)
}

const tableOwner = 2 // NFT_TABLE_F_OWNER

// Delete deletes a table with all that is in it.
func (b *Batch) Delete(t Table) {
	at := b.begin(nfMessage|unix.NFT_MSG_DELTABLE, 0, t.Family)
	b.text(unix.NFTA_TABLE_NAME, t.Name)
	b.end(at)
}

// Chain makes a base chain, or changes the policy of one; one without a hook only
// holds rules.
func (b *Batch) Chain(t Table, c BaseChain) {
	at := b.begin(nfMessage|unix.NFT_MSG_NEWCHAIN, unix.NLM_F_CREATE, t.Family)
	b.text(unix.NFTA_CHAIN_TABLE, t.Name)
	b.text(unix.NFTA_CHAIN_NAME, c.Name)
	if c.Type != "" {
		b.nested(unix.NFTA_CHAIN_HOOK, func() {
			b.number(unix.NFTA_HOOK_HOOKNUM, c.Hook)
			b.number(unix.NFTA_HOOK_PRIORITY, uint32(c.Priority))
			if c.Device != "" {
				b.text(unix.NFTA_HOOK_DEV, c.Device)
			}
		})
		policy := uint32(1) // NF_ACCEPT
		if c.Drop {
			policy = 0
		}
		b.number(unix.NFTA_CHAIN_POLICY, policy)
		b.text(unix.NFTA_CHAIN_TYPE, c.Type)
	}
	b.end(at)
}

// BaseChain is a chain in the kernel's terms.
type BaseChain struct {
	Name     string
	Type     string // "filter", "nat"; "" for one without a hook
	Hook     uint32 // NF_INET_*, NF_ARP_*, NF_NETDEV_*
	Priority int32
	Device   string // of the family netdev
	Drop     bool   // the policy
}

// Set is a set, with its elements or without.
type Set struct {
	Name     string // "" for an anonymous one
	KeyType  uint32 // nft's number of the type
	KeyLen   int
	Interval bool
	Elements []Element
}

// Element is a key of a set; of an interval's end the first key that is not in it.
type Element struct {
	Key []byte
	End bool
}

// Set makes a set, and returns what a rule of the same batch finds it by.
func (b *Batch) Set(t Table, s Set) (name string, id uint32) {
	b.sets++
	flags, name := uint32(0), s.Name
	if name == "" {
		flags, name = unix.NFT_SET_ANONYMOUS|unix.NFT_SET_CONSTANT, "__set%d"
	}
	if s.Interval {
		flags |= unix.NFT_SET_INTERVAL
	}
	at := b.begin(nfMessage|unix.NFT_MSG_NEWSET, unix.NLM_F_CREATE, t.Family)
	b.text(unix.NFTA_SET_TABLE, t.Name)
	b.text(unix.NFTA_SET_NAME, name)
	b.number(unix.NFTA_SET_FLAGS, flags)
	b.number(unix.NFTA_SET_KEY_TYPE, s.KeyType)
	b.number(unix.NFTA_SET_KEY_LEN, uint32(s.KeyLen))
	b.number(unix.NFTA_SET_ID, b.sets)
	if s.Name == "" {
		b.nested(unix.NFTA_SET_DESC, func() { b.number(unix.NFTA_SET_DESC_SIZE, uint32(len(s.Elements))) })
	}
	b.attribute(unix.NFTA_SET_USERDATA, userdata.AppendUint32(nil, userdata.NFTNL_UDATA_SET_KEYBYTEORDER, 2)) // big-endian, as nft has it
	b.end(at)
	b.Elements(t, name, b.sets, true, s.Elements)
	return name, b.sets
}

// mostElements is how many elements a message takes: the attribute that holds them has
// 64 KiB at most, and one of IPv6 36 bytes.
const mostElements = 1024

// Elements adds elements to a set, or deletes them; id is 0 for a set that was there
// before the batch.
func (b *Batch) Elements(t Table, set string, id uint32, add bool, elements []Element) {
	kind, flags := uint16(nfMessage|unix.NFT_MSG_NEWSETELEM), uint16(unix.NLM_F_CREATE)
	if !add {
		kind, flags = nfMessage|unix.NFT_MSG_DELSETELEM, 0
	}
	for chunk := range slices.Chunk(elements, mostElements) {
		at := b.begin(kind, flags, t.Family)
		b.text(unix.NFTA_SET_ELEM_LIST_TABLE, t.Name)
		b.text(unix.NFTA_SET_ELEM_LIST_SET, set)
		if id != 0 {
			b.number(unix.NFTA_SET_ELEM_LIST_SET_ID, id)
		}
		b.nested(unix.NFTA_SET_ELEM_LIST_ELEMENTS, func() {
			for _, e := range chunk {
				b.nested(unix.NFTA_LIST_ELEM, func() {
					if e.End {
						b.number(unix.NFTA_SET_ELEM_FLAGS, unix.NFT_SET_ELEM_INTERVAL_END)
					}
					b.nested(unix.NFTA_SET_ELEM_KEY, func() { b.attribute(unix.NFTA_DATA_VALUE, e.Key) })
				})
			}
		})
		b.end(at)
	}
}

// Rule appends a rule to a chain.
func (b *Batch) Rule(t Table, chain string, exprs []expr.Any, data []byte) {
	at := b.begin(nfMessage|unix.NFT_MSG_NEWRULE, unix.NLM_F_CREATE|unix.NLM_F_APPEND, t.Family)
	b.text(unix.NFTA_RULE_TABLE, t.Name)
	b.text(unix.NFTA_RULE_CHAIN, chain)
	b.nested(unix.NFTA_RULE_EXPRESSIONS, func() {
		for _, e := range exprs {
			if own, ok := e.(interface{ append(b *Batch) }); ok {
				own.append(b)
				continue
			}
			encoded, err := expr.Marshal(t.Family, e)
			b.err = errors.Join(b.err, err)
			b.attribute(unix.NFTA_LIST_ELEM|unix.NLA_F_NESTED, encoded)
		}
	})
	if data != nil {
		b.attribute(unix.NFTA_RULE_USERDATA, data)
	}
	b.end(at)
}

// forward is nft's "fwd to", which google/nftables lacks: the link whose index is in a
// register sends the frame.
type forward struct {
	expr.Any
	register uint32
}

func (f forward) append(b *Batch) {
	b.expression("fwd", func() { b.number(1, f.register) }) // NFTA_FWD_SREG_DEV
}

// tracked loads a part of a connection's tuple; of google/nftables' Ct those of addresses
// that have a length (NFT_CT_SRC_IP) have no direction.
type tracked struct {
	expr.Any
	key, direction, register uint32
}

func (t tracked) append(b *Batch) {
	b.expression("ct", func() {
		b.number(unix.NFTA_CT_KEY, t.key)
		b.number(unix.NFTA_CT_DREG, t.register)
		b.attribute(unix.NFTA_CT_DIRECTION, []byte{byte(t.direction)})
	})
}

// expression appends an expression of a rule.
func (b *Batch) expression(name string, fill func()) {
	b.nested(unix.NFTA_LIST_ELEM, func() {
		b.text(unix.NFTA_EXPR_NAME, name)
		b.nested(unix.NFTA_EXPR_DATA, fill)
	})
}

// Open opens a socket for batches in the namespace that the calling thread is in.
func Open() (int, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_NETFILTER)
	if err != nil {
		return -1, fmt.Errorf("netlink socket: %w", err)
	}
	_ = unix.SetsockoptInt(fd, unix.SOL_NETLINK, unix.NETLINK_CAP_ACK, 1)
	return fd, nil
}

// Apply sends the batch in the namespace that the calling thread is in.
func (b *Batch) Apply() error {
	fd, err := Open()
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return b.Send(fd)
}

// Send sends the batch and returns the first error of the kernel's. It may be sent
// again, by other sockets too.
func (b *Batch) Send(fd int) error {
	if b.err != nil || b.data == nil {
		return b.err
	}
	packet, last := b.closed()
	// Without CAP_NET_ADMIN on the machine net.core.wmem_max is the limit.
	if size := 2 * len(packet); size > 128<<10 && unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUFFORCE, size) != nil {
		_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_SNDBUF, size)
	}
	for {
		err := unix.Sendto(fd, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK})
		if err == nil {
			break
		}
		if err != unix.EINTR {
			return err
		}
	}
	return answers(fd, last)
}

// closed is the packet with the batch's end, where the last message before asks for an
// answer, and the number of that message.
func (b *Batch) closed() (packet []byte, last uint32) {
	sized := &Batch{data: slices.Clone(b.data), seq: b.seq}
	at := 0
	for next := 0; next < len(sized.data); next += int(binary.NativeEndian.Uint32(sized.data[next:])) {
		at = next
	}
	flags := binary.NativeEndian.Uint16(sized.data[at+6:])
	binary.NativeEndian.PutUint16(sized.data[at+6:], flags|unix.NLM_F_ACK)
	sized.end(sized.begin(unix.NFNL_MSG_BATCH_END, 0, unix.AF_UNSPEC))
	return sized.data, b.seq
}

// answers reads what the kernel said of a batch, which it had done before send
// returned: nothing is waited for.
func answers(fd int, last uint32) error {
	var failed error
	done := false
	buffer := make([]byte, 16<<10)
	for {
		n, _, err := unix.Recvfrom(fd, buffer, unix.MSG_DONTWAIT)
		switch {
		case err == unix.EINTR, err == unix.ENOBUFS: // of more refusals than there is room for
			continue
		case err == unix.EAGAIN && failed == nil && !done:
			return errors.New("nf_tables did not answer")
		case err == unix.EAGAIN:
			return failed
		case err != nil:
			return err
		}
		for m := buffer[:n]; len(m) >= unix.SizeofNlMsghdr+4; {
			size := int(binary.NativeEndian.Uint32(m))
			if size < unix.SizeofNlMsghdr || size > len(m) {
				break
			}
			if kind := binary.NativeEndian.Uint16(m[4:]); kind == unix.NLMSG_ERROR {
				if errno := -int32(binary.NativeEndian.Uint32(m[unix.SizeofNlMsghdr:])); errno != 0 && failed == nil {
					failed = unix.Errno(errno)
				}
				done = done || binary.NativeEndian.Uint32(m[8:]) == last
			}
			m = m[min((size+3)&^3, len(m)):]
		}
	}
}
