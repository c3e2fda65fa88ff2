package probe

import (
	"encoding/binary"
	"fmt"
	"os"
	"runtime"
	"sync/atomic"
	"unsafe"

	"golang.org/x/sys/unix"

	"nsscript/runtime/packet"
)

// A ring is an AF_PACKET socket whose packets the kernel writes into memory that is
// shared with the process (TPACKET_V2, Documentation/networking/packet_mmap.rst): no
// limit of a socket buffer applies, and each packet can be read at once. (V3 keeps
// packets back until a block is full or a timer has run, and fills a block for each
// run of the timer when there are few.) A packet longer than a slot, which
// segmentation offload makes, comes whole by the socket's queue beside the ring as
// far as that has room, else its end is cut off.

const (
	slotSize  = 2048
	blockSize = 1 << 16
	// Before a packet in its slot: tpacket2_hdr, sockaddr_ll and padding.
	slotHeader = 80
)

// Bits of tp_status (include/uapi/linux/if_packet.h).
const (
	statusUser          = 1 << 0
	statusCopy          = 1 << 1
	statusUnfinished    = 1 << 3 // TP_STATUS_CSUMNOTREADY
	statusVLAN          = 1 << 4
	statusVLANProtocol  = 1 << 6
	packetOutgoing      = 4 // PACKET_OUTGOING, of sll_pkttype
	hardwareEthernet    = 1 // ARPHRD_ETHER
	hardwareLoopback    = 772
	defaultVLANProtocol = 0x8100
)

type ring struct {
	file   *os.File
	fd     int
	memory []byte
	slot   int // bytes of one
	slots  int
	next   int    // the slot to read
	large  []byte // for packets longer than a slot

	received, dropped uint64 // by the kernel's count, the dropped among the received
	read              uint64 // slots that were read
}

// newRing opens a socket in the namespace that the calling thread is in, for one link
// or, when index is 0, for all of them now and later.
func newRing(index, snapLen, memory int) (*ring, error) {
	fd, err := unix.Socket(unix.AF_PACKET, unix.SOCK_RAW|unix.SOCK_CLOEXEC|unix.SOCK_NONBLOCK, 0)
	if err != nil {
		return nil, fmt.Errorf("packet socket: %w", err)
	}
	r := &ring{fd: fd, slot: slotSize}
	if snapLen > 0 {
		for r.slot = 128; r.slot < slotSize && r.slot < slotHeader+snapLen; {
			r.slot *= 2
		}
	}
	if err := r.open(index, snapLen, memory); err != nil {
		unix.Close(fd)
		return nil, err
	}
	r.file = os.NewFile(uintptr(fd), "packet socket")
	return r, nil
}

func (r *ring) open(index, snapLen, memory int) error {
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_VERSION, unix.TPACKET_V2); err != nil {
		return fmt.Errorf("packet ring: %w", err)
	}
	if err := unix.SetsockoptInt(r.fd, unix.SOL_PACKET, unix.PACKET_COPY_THRESH, 1); err != nil {
		return fmt.Errorf("packet ring: %w", err)
	}
	if unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) != nil { // which needs the machine's root
		_ = unix.SetsockoptInt(r.fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
	}
	if snapLen > 0 { // a filter that keeps so many bytes of every packet
		all := []unix.SockFilter{{Code: unix.BPF_RET | unix.BPF_K, K: uint32(snapLen)}}
		program := &unix.SockFprog{Len: 1, Filter: &all[0]}
		if err := unix.SetsockoptSockFprog(r.fd, unix.SOL_SOCKET, unix.SO_ATTACH_FILTER, program); err != nil {
			return fmt.Errorf("limit the length of packets: %w", err)
		}
	}
	blocks := max(memory/blockSize, 1)
	r.slots = blocks * (blockSize / r.slot)
	req := &unix.TpacketReq{Block_size: blockSize, Block_nr: uint32(blocks), Frame_size: uint32(r.slot), Frame_nr: uint32(r.slots)}
	if err := unix.SetsockoptTpacketReq(r.fd, unix.SOL_PACKET, unix.PACKET_RX_RING, req); err != nil {
		return fmt.Errorf("packet ring of %d KiB: %w", blocks*blockSize>>10, err)
	}
	var err error
	r.memory, err = unix.Mmap(r.fd, 0, blocks*blockSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
	if err != nil {
		return fmt.Errorf("map the packet ring: %w", err)
	}
	err = unix.Bind(r.fd, &unix.SockaddrLinklayer{Protocol: bigEndian(unix.ETH_P_ALL), Ifindex: index})
	if err != nil {
		_ = unix.Munmap(r.memory)
		return err
	}
	return nil
}

// bigEndian is a number as the network has it.
func bigEndian(n uint16) uint16 {
	return binary.NativeEndian.Uint16([]byte{byte(n >> 8), byte(n)})
}

// close ends a ring that nobody reads.
func (r *ring) close() {
	r.file.Close()
	r.unmap()
}

// unmap gives the memory back; the ring must not be read any more.
func (r *ring) unmap() { _ = unix.Munmap(r.memory) }

// status is that of the slot to be read.
func (r *ring) status() *uint32 {
	return (*uint32)(unsafe.Pointer(&r.memory[r.next*r.slot]))
}

// ready tells whether there is a packet to read.
func (r *ring) ready() bool { return atomic.LoadUint32(r.status())&statusUser != 0 }

// drain calls keep with every packet that is there. What a Frame refers to is only
// good until keep returns.
func (r *ring) drain(keep func(f *Frame)) {
	var f Frame
	for {
		status := r.status()
		s := atomic.LoadUint32(status)
		if s&statusUser == 0 {
			return
		}
		r.parse(s, r.memory[r.next*r.slot:(r.next+1)*r.slot], &f)
		keep(&f)
		atomic.StoreUint32(status, 0) // the kernel's again
		r.read++
		r.next = (r.next + 1) % r.slots
	}
}

// parse reads a slot: struct tpacket2_hdr, struct sockaddr_ll, the packet.
func (r *ring) parse(status uint32, b []byte, f *Frame) {
	n := binary.NativeEndian
	h := (*unix.Tpacket2Hdr)(unsafe.Pointer(&b[0]))
	address := b[32:52]
	*f = Frame{
		Index: int(n.Uint32(address[4:])), Time: int64(h.Sec)*1e9 + int64(h.Nsec), Length: int(h.Len),
		Protocol: binary.BigEndian.Uint16(address[2:]), Hardware: n.Uint16(address[8:]),
		Direction: packet.In, Unfinished: status&statusUnfinished != 0,
	}
	if address[10] == packetOutgoing {
		f.Direction = packet.Out
	}
	from := int(h.Mac)
	f.Data = b[from : from+int(h.Snaplen)]
	if status&statusCopy != 0 {
		f.Data = r.receive(f.Data)
	}
	if !f.Ethernet() {
		skip := min(int(h.Net)-int(h.Mac), len(f.Data))
		f.Data, f.Length = f.Data[skip:], f.Length-skip
		return
	}
	if status&statusVLAN != 0 {
		tpid := uint16(defaultVLANProtocol)
		if status&statusVLANProtocol != 0 {
			tpid = h.Vlan_tpid
		}
		f.tag(tpid, h.Vlan_tci)
	}
}

// receive takes a packet that is longer than a slot from the socket's queue.
func (r *ring) receive(cut []byte) []byte {
	if r.large == nil {
		r.large = make([]byte, 1<<17)
	}
	n, _, err := unix.Recvfrom(r.fd, r.large, unix.MSG_DONTWAIT)
	if err != nil {
		return cut
	}
	return r.large[:n]
}

// tag puts a VLAN tag back, which the kernel keeps beside the packet.
func (f *Frame) tag(tpid, tci uint16) {
	if len(f.Data) < 12 {
		return
	}
	whole := make([]byte, 0, len(f.Data)+4)
	whole = append(whole, f.Data[:12]...)
	whole = binary.BigEndian.AppendUint16(whole, tpid)
	whole = binary.BigEndian.AppendUint16(whole, tci)
	f.Data = append(whole, f.Data[12:]...)
	f.Length += 4
}

// catchUp reads what the kernel has counted so far: what is in the ring, and what it
// is just writing there.
func (r *ring) catchUp(keep func(f *Frame)) {
	r.count()
	r.drain(keep)
	for range 1000 {
		if r.read >= r.received-r.dropped {
			return
		}
		runtime.Gosched()
		r.drain(keep)
	}
}

// count asks the kernel how many packets it has seen and dropped since the last time.
func (r *ring) count() {
	if s, err := unix.GetsockoptTpacketStats(r.fd, unix.SOL_PACKET, unix.PACKET_STATISTICS); err == nil {
		r.received += uint64(s.Packets)
		r.dropped += uint64(s.Drops)
	}
}

// lost tells whether the link that the socket was bound to is no longer in its
// namespace.
func (r *ring) lost() bool {
	address, err := unix.Getsockname(r.fd)
	if err != nil {
		return true
	}
	a, ok := address.(*unix.SockaddrLinklayer)
	return ok && a.Ifindex < 0
}
