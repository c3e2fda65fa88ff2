package probe

import (
	"encoding/binary"
	"fmt"

	"golang.org/x/sys/unix"
)

// Send sends frames as they are by a link, whose index is that in the namespace. On a
// link without Ethernet they begin with the IP header. It returns how many went out.
func Send(enter Enter, index int, ethernet bool, frames [][]byte) (sent int, err error) {
	fd := -1
	err = enter(func() (err error) {
		fd, err = unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC, 0) // 0: it receives nothing
		return err
	})
	if err != nil {
		return 0, fmt.Errorf("packet socket: %w", err)
	}
	defer unix.Close(fd)
	for _, b := range frames {
		to := &unix.SockaddrLinklayer{Ifindex: index, Protocol: bigEndian(etherType(b, ethernet))}
		if err := unix.Sendto(fd, b, 0, to); err != nil {
			return sent, err
		}
		sent++
	}
	return sent, nil
}

// etherType is what a frame says that it carries.
func etherType(b []byte, ethernet bool) uint16 {
	switch {
	case ethernet && len(b) >= 14:
		return binary.BigEndian.Uint16(b[12:])
	case !ethernet && len(b) > 0 && b[0]>>4 == 6:
		return unix.ETH_P_IPV6
	}
	return unix.ETH_P_IP
}
