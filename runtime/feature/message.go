package feature

import (
	"encoding/binary"
	"errors"

	"golang.org/x/sys/unix"
)

// answer is a netlink message of the kernel.
type answer struct {
	Header unix.NlMsghdr
	Data   []byte
}

// parseMessages splits what a netlink socket received.
func parseMessages(b []byte) (all []answer, err error) {
	for len(b) >= unix.SizeofNlMsghdr {
		h := unix.NlMsghdr{Len: binary.NativeEndian.Uint32(b), Type: binary.NativeEndian.Uint16(b[4:]),
			Flags: binary.NativeEndian.Uint16(b[6:]), Seq: binary.NativeEndian.Uint32(b[8:])}
		if int(h.Len) < unix.SizeofNlMsghdr || int(h.Len) > len(b) {
			return nil, errors.New("netlink: a message does not fit")
		}
		all = append(all, answer{h, b[unix.SizeofNlMsghdr:h.Len]})
		b = b[min((int(h.Len)+3)&^3, len(b)):]
	}
	return all, nil
}

// ends tells whether the message is the last one about its request.
func (m answer) ends() bool {
	return m.Header.Type == unix.NLMSG_ERROR || m.Header.Type == unix.NLMSG_DONE
}

// errno is what a message that ends says of the request; 0 for success.
func (m answer) errno() unix.Errno {
	if len(m.Data) < 4 {
		return 0
	}
	return unix.Errno(-int32(binary.NativeEndian.Uint32(m.Data)))
}

// attribute finds one among attributes, by path.
func attribute(b []byte, path ...uint16) []byte {
	for _, want := range path {
		found := []byte(nil)
		eachAttribute(b, func(kind uint16, v []byte) {
			if kind == want {
				found = v
			}
		})
		if found == nil {
			return nil
		}
		b = found
	}
	return b
}

func eachAttribute(b []byte, fn func(kind uint16, v []byte)) {
	for len(b) >= unix.SizeofRtAttr {
		length := int(binary.NativeEndian.Uint16(b))
		if length < unix.SizeofRtAttr || length > len(b) {
			return
		}
		fn(binary.NativeEndian.Uint16(b[2:])&^(unix.NLA_F_NESTED|unix.NLA_F_NET_BYTEORDER), b[unix.SizeofRtAttr:length:length])
		b = b[min((length+3)&^3, len(b)):]
	}
}
