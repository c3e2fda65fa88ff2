package lab

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"slices"
	"sync"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"
)

// conn is a NETLINK_ROUTE socket of one namespace. It belongs to that namespace
// for life, so it works from any thread, and it keeps the namespace alive: it
// is the one descriptor that a namespace costs.
//
// The kernel works on a message within sendto(2), so the answer is there when
// that returns: waiting for it costs nothing.
type conn struct {
	fd     int
	strict bool // it dumps what is asked for and no more (NETLINK_GET_STRICT_CHK)
	seq    uint32
	// reopen makes the socket for each use, where the conn must not keep the
	// namespace alive; nil where it has one.
	reopen func() (int, error)
}

// use makes sure of the socket; the caller calls done afterwards.
func (c *conn) use() (done func(), err error) {
	if c.reopen == nil {
		return func() {}, nil
	}
	if c.fd, err = c.reopen(); err != nil {
		return nil, err
	}
	return func() { c.close(); c.strict = false }, nil
}

// refusal is a message that the kernel did not accept.
type refusal struct {
	errno unix.Errno
	words string // the extended acknowledgement, or ""
	index int    // which message of the batch
}

func (r *refusal) Error() string {
	if r.words == "" {
		return describe(r.errno)
	}
	return describe(r.errno) + ": " + r.words
}

func (r *refusal) Unwrap() error { return r.errno }

// openConn opens the socket in the calling thread's namespace.
func openConn() (*conn, error) { return openNetlink(unix.NETLINK_ROUTE) }

// openNetlink opens a socket of any netlink protocol in the calling thread's
// namespace.
func openNetlink(protocol int) (*conn, error) {
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return nil, fmt.Errorf("netlink socket: %w", err)
	}
	c := &conn{fd: fd}
	if err := c.option(unix.NETLINK_EXT_ACK); err != nil {
		c.close()
		return nil, err
	}
	return c, nil
}

// option switches on one of the options of netlink(7).
func (c *conn) option(option int) error {
	if err := unix.SetsockoptInt(c.fd, unix.SOL_NETLINK, option, 1); err != nil {
		return fmt.Errorf("netlink socket option %d: %w", option, err)
	}
	return nil
}

func (c *conn) close() {
	if c.fd >= 0 {
		unix.Close(c.fd)
		c.fd = -1
	}
}

// buffers are shared by all conns: a namespace should not hold 64 KiB.
var buffers = sync.Pool{New: func() any { b := make([]byte, 64<<10); return &b }}

// request starts a message. Flags beside NLM_F_REQUEST are added by do and dump.
func request(kind int, flags int) *nl.NetlinkRequest {
	return &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{
		Len:   unix.SizeofNlMsghdr,
		Type:  uint16(kind),
		Flags: uint16(flags) | unix.NLM_F_REQUEST,
	}}
}

// do sends the requests in one packet and waits for the kernel to have done
// them in order. It goes on after one that failed; the first failure is
// returned, as a *refusal.
func (c *conn) do(requests ...*nl.NetlinkRequest) error {
	if len(requests) == 0 {
		return nil
	}
	return c.batch(requests, func([]byte) {})
}

// batch is do, with what the kernel says of the objects beside that it is done.
func (c *conn) batch(requests []*nl.NetlinkRequest, each func(body []byte)) error {
	done, err := c.use()
	if err != nil {
		return err
	}
	defer done()
	first := c.seq + 1
	var packet []byte
	for i, r := range requests {
		c.seq++
		r.Seq = c.seq
		if i == len(requests)-1 {
			r.Flags |= unix.NLM_F_ACK
		}
		packet = append(packet, r.Serialize()...)
	}
	if err := c.send(packet); err != nil {
		return err
	}
	var failed error
	err = c.receive(func(h *unix.NlMsghdr, body []byte) (bool, error) {
		if h.Seq < first {
			return false, nil // an answer to something that was given up
		}
		if h.Type != unix.NLMSG_ERROR {
			each(body)
			return false, nil
		}
		if r := parseAck(h, body); r != nil && failed == nil {
			r.index = int(h.Seq - first)
			failed = r
		}
		return h.Seq == c.seq, nil
	})
	return errors.Join(failed, err)
}

// echo sends a request that makes something and returns what was made, as the
// kernel tells everybody who listens (NLM_F_ECHO); nil where it tells nothing. A
// second request, in the same packet, may ask for it instead.
func (c *conn) echo(requests ...*nl.NetlinkRequest) (made []byte, err error) {
	requests[0].Flags |= unix.NLM_F_ECHO
	err = c.batch(requests, func(body []byte) { made = slices.Clone(body) })
	return made, err
}

// get sends one request and returns the one message that answers it.
func (c *conn) get(r *nl.NetlinkRequest) ([]byte, error) {
	done, err := c.use()
	if err != nil {
		return nil, err
	}
	defer done()
	c.seq++
	r.Seq = c.seq
	if err := c.send(r.Serialize()); err != nil {
		return nil, err
	}
	var answer []byte
	err = c.receive(func(h *unix.NlMsghdr, body []byte) (bool, error) {
		if h.Seq != c.seq {
			return false, nil
		}
		if h.Type == unix.NLMSG_ERROR {
			if refused := parseAck(h, body); refused != nil {
				return true, refused
			}
			return true, nil
		}
		answer = slices.Clone(body)
		return true, nil
	})
	return answer, err
}

// dump asks for a whole table and calls each with every message's body, which
// is valid only during the call. A dump that a change interrupted is repeated.
func (c *conn) dump(make func() *nl.NetlinkRequest, reset func(), each func(body []byte) error) error {
	done, err := c.use()
	if err != nil {
		return err
	}
	defer done()
	if !c.strict { // a namespace of which nobody reads a table does without it
		if err := c.option(unix.NETLINK_GET_STRICT_CHK); err != nil {
			return err
		}
		c.strict = true
	}
	for range 8 {
		interrupted, err := c.dumpOnce(make(), each)
		if err != nil || !interrupted {
			return err
		}
		reset()
	}
	return fmt.Errorf("the table changed during each of 8 readings")
}

func (c *conn) dumpOnce(r *nl.NetlinkRequest, each func(body []byte) error) (interrupted bool, err error) {
	c.seq++
	r.Seq = c.seq
	r.Flags |= unix.NLM_F_DUMP
	if err := c.send(r.Serialize()); err != nil {
		return false, err
	}
	var failed error
	err = c.receive(func(h *unix.NlMsghdr, body []byte) (bool, error) {
		if h.Seq != c.seq {
			return false, nil
		}
		interrupted = interrupted || h.Flags&unix.NLM_F_DUMP_INTR != 0
		switch h.Type {
		case unix.NLMSG_DONE:
			return true, nil
		case unix.NLMSG_ERROR:
			if refused := parseAck(h, body); refused != nil {
				return true, refused
			}
			return true, nil
		}
		if failed == nil {
			failed = each(body) // read on, else the rest would answer the next request
		}
		return false, nil
	})
	return interrupted, errors.Join(err, failed)
}

func (c *conn) send(packet []byte) error {
	if c.fd < 0 {
		return unix.EBADF
	}
	for { // without an address the kernel is meant, and nothing is made to hold one
		_, err := unix.Write(c.fd, packet)
		if err != unix.EINTR {
			return err
		}
	}
}

// receive reads messages until each says that it was the last.
func (c *conn) receive(each func(h *unix.NlMsghdr, body []byte) (last bool, err error)) error {
	buffer := buffers.Get().(*[]byte)
	defer buffers.Put(buffer)
	for {
		n, err := unix.Read(c.fd, *buffer)
		if err == unix.EINTR {
			continue
		}
		if err != nil {
			return fmt.Errorf("netlink: %w", err)
		}
		for b := (*buffer)[:n]; len(b) >= unix.SizeofNlMsghdr; {
			h := parseHeader(b)
			if int(h.Len) < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
				return fmt.Errorf("netlink: a message of %d bytes in %d", h.Len, len(b))
			}
			if last, err := each(&h, b[unix.SizeofNlMsghdr:h.Len]); last || err != nil {
				return err
			}
			b = b[min(align4(int(h.Len)), len(b)):]
		}
	}
}

func parseHeader(b []byte) unix.NlMsghdr {
	return unix.NlMsghdr{
		Len:   binary.NativeEndian.Uint32(b[0:]),
		Type:  binary.NativeEndian.Uint16(b[4:]),
		Flags: binary.NativeEndian.Uint16(b[6:]),
		Seq:   binary.NativeEndian.Uint32(b[8:]),
		Pid:   binary.NativeEndian.Uint32(b[12:]),
	}
}

func align4(n int) int { return (n + 3) &^ 3 }

// parseAck reads an NLMSG_ERROR (include/uapi/linux/netlink.h): the errno, the
// header of the request and, with NETLINK_EXT_ACK, attributes that explain.
// It returns nil for an acknowledgement.
func parseAck(h *unix.NlMsghdr, body []byte) *refusal {
	if len(body) < 4 {
		return &refusal{errno: unix.EBADMSG}
	}
	errno := -int32(binary.NativeEndian.Uint32(body))
	if errno == 0 {
		return nil
	}
	r := &refusal{errno: unix.Errno(errno)}
	const tlvs = 4 + unix.SizeofNlMsghdr
	if h.Flags&unix.NLM_F_ACK_TLVS == 0 || len(body) < tlvs {
		return r
	}
	rest := body[tlvs:]
	if h.Flags&unix.NLM_F_CAPPED == 0 {
		// The whole request stands before the attributes.
		length := int(binary.NativeEndian.Uint32(body[4:]))
		if 4+align4(length) > len(body) {
			return r
		}
		rest = body[4+align4(length):]
	}
	for kind, value := range attributes(rest) {
		if kind == unix.NLMSGERR_ATTR_MSG {
			r.words = cstring(value)
		}
	}
	return r
}

// attributes walks rtattrs; one that does not fit ends the walk.
func attributes(b []byte) func(yield func(kind int, value []byte) bool) {
	return func(yield func(int, []byte) bool) {
		for len(b) >= unix.SizeofRtAttr {
			length := int(binary.NativeEndian.Uint16(b))
			kind := int(binary.NativeEndian.Uint16(b[2:])) &^ (unix.NLA_F_NESTED | unix.NLA_F_NET_BYTEORDER)
			if length < unix.SizeofRtAttr || length > len(b) {
				return
			}
			if !yield(kind, b[unix.SizeofRtAttr:length]) {
				return
			}
			b = b[min(align4(length), len(b)):]
		}
	}
}

// Values of attributes; a short one reads as 0 instead of panicking.

func u8(b []byte) int {
	if len(b) < 1 {
		return 0
	}
	return int(b[0])
}

func u16(b []byte) int {
	if len(b) < 2 {
		return 0
	}
	return int(binary.NativeEndian.Uint16(b))
}

func u32(b []byte) uint32 {
	if len(b) < 4 {
		return 0
	}
	return binary.NativeEndian.Uint32(b)
}

func u64(b []byte) uint64 {
	if len(b) < 8 {
		return 0
	}
	return binary.NativeEndian.Uint64(b)
}

// cstring is a text that a NUL byte ends, if there is one.
func cstring(b []byte) string {
	text, _, _ := bytes.Cut(b, []byte{0})
	return string(text)
}
