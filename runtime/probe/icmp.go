package probe

import "encoding/binary"

// Echo messages, the same in RFC 792 and RFC 4443 section 4 but for the types:
// type, code, checksum (2 bytes), identifier (2), sequence number (2), payload.
const (
	echoHeader     = 8
	echoRequest4   = 8
	echoReply4     = 0
	echoRequest6   = 128
	echoReply6     = 129
	ip4MinHeader   = 20
	maxQuotedBytes = 128 // what is read of a message: IPv4 header with options, echo header
)

// newEcho is an echo request with identifier id, no sequence number and no
// checksum, and payload bytes that count up.
func newEcho(v6 bool, id uint16, payload int) []byte {
	packet := make([]byte, echoHeader+payload)
	packet[0] = echoRequest4
	if v6 {
		packet[0] = echoRequest6
	}
	binary.BigEndian.PutUint16(packet[4:], id)
	for i := range payload {
		packet[echoHeader+i] = byte(i)
	}
	return packet
}

// stampEcho sets the sequence number; with sum, the checksum too, which the
// kernel does by itself on all but raw IPv4 sockets.
func stampEcho(packet []byte, seq uint16, sum bool) {
	binary.BigEndian.PutUint16(packet[6:], seq)
	if sum {
		packet[2], packet[3] = 0, 0
		binary.BigEndian.PutUint16(packet[2:], checksum(packet))
	}
}

// parseEcho reads identifier and sequence number of an echo message of the
// given type, in a reply or quoted in an error.
func parseEcho(b []byte, echo uint8) (id, seq uint16, ok bool) {
	if len(b) < echoHeader || b[0] != echo || b[1] != 0 {
		return 0, 0, false
	}
	return binary.BigEndian.Uint16(b[4:]), binary.BigEndian.Uint16(b[6:]), true
}

// skipIP4 is what follows the IPv4 header; empty if that is not whole.
func skipIP4(b []byte) []byte {
	if len(b) < ip4MinHeader || b[0]>>4 != 4 {
		return nil
	}
	header := int(b[0]&15) * 4
	if header < ip4MinHeader || header > len(b) {
		return nil
	}
	return b[header:]
}

// checksum is the Internet checksum (RFC 1071).
func checksum(b []byte) uint16 {
	var sum uint32
	for ; len(b) >= 2; b = b[2:] {
		sum += uint32(b[0])<<8 | uint32(b[1])
	}
	if len(b) == 1 {
		sum += uint32(b[0]) << 8
	}
	for sum > 0xffff {
		sum = sum>>16 + sum&0xffff
	}
	return ^uint16(sum)
}
