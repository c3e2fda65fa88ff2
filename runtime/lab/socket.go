package lab

import (
	"cmp"
	"encoding/binary"
	"errors"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/feature"
)

// Socket is a TCP, UDP or raw socket of a namespace at one moment (ss(8)).
type Socket struct {
	Proto string // "tcp", "udp" or "raw"
	State string // as ss prints it, in lower case: "listen", "estab", "unconn" …
	// Local and Remote are the addresses. The port of a raw socket is the number of
	// its protocol. Remote is the zero value where there is none.
	Local, Remote netip.AddrPort
	Dev           *Link  // it is bound to, or nil
	PID           int    // of a process of the lab that has it open, or 0
	Inode         uint64 // 0 when no process has it open any more
	UID           int    // its owner, as the lab's user namespace counts
	RecvQ, SendQ  int    // bytes; of a listening socket, connections that wait and may
}

// socketStates are the states of include/net/tcp_states.h as ss prints them.
var socketStates = []string{"unknown", "estab", "syn-sent", "syn-recv", "fin-wait-1", "fin-wait-2", "time-wait", "unconn",
	"close-wait", "last-ack", "listen", "closing", "new-syn-recv"}

// diagProtos are what is listed, in that order.
var diagProtos = []struct {
	name  string
	proto byte
}{{"tcp", unix.IPPROTO_TCP}, {"udp", unix.IPPROTO_UDP}, {"raw", unix.IPPROTO_RAW}}

// Sockets lists the namespace's TCP, UDP and raw sockets, ordered by protocol and
// addresses. A kernel that does not tell of raw sockets has none in the list.
func (ns *Namespace) Sockets() ([]*Socket, error) {
	ns.lab.closePingSockets()
	var all []*Socket
	err := ns.netlink(unix.NETLINK_SOCK_DIAG, func(c *conn) error {
		for _, p := range diagProtos {
			for _, family := range []byte{unix.AF_INET, unix.AF_INET6} {
				list, err := ns.socketsOf(c, p.name, p.proto, family)
				if err != nil {
					return err
				}
				all = append(all, list...)
			}
		}
		return nil
	})
	if err != nil {
		return nil, kernelError(err, "", "list sockets%s", where(ns))
	}
	slices.SortStableFunc(all, (*Socket).compare)
	if len(all) > 0 {
		owners := socketOwners()
		for _, s := range all {
			s.PID = owners[s.Inode]
		}
	}
	return all, nil
}

func (s *Socket) compare(o *Socket) int {
	index := func(s *Socket) int {
		return slices.IndexFunc(diagProtos, func(p struct {
			name  string
			proto byte
		}) bool {
			return p.name == s.Proto
		})
	}
	return cmp.Or(cmp.Compare(index(s), index(o)), s.Local.Compare(o.Local), s.Remote.Compare(o.Remote), cmp.Compare(s.Inode, o.Inode))
}

// socketsOf asks for the sockets of a protocol and family (sock_diag(7)).
func (ns *Namespace) socketsOf(c *conn, name string, proto, family byte) ([]*Socket, error) {
	const byFamily = 20 // SOCK_DIAG_BY_FAMILY
	const allStates = 1<<13 - 1
	var list []*Socket
	err := c.dump(func() *nl.NetlinkRequest {
		r := request(byFamily, 0)
		head := binary.NativeEndian.AppendUint32([]byte{family, proto, 0, 0}, allStates)
		r.AddRawData(append(head, make([]byte, 48)...)) // struct inet_diag_req_v2
		return r
	}, func() { list = nil }, func(body []byte) error {
		if s, index, ok := parseSocket(body); ok {
			s.Proto, s.Dev = name, ns.linkAt(index)
			list = append(list, s)
		}
		return nil
	})
	if errors.Is(err, unix.ENOENT) {
		if name == "raw" {
			return nil, nil
		}
		if e := missing(err, feature.Diag, name); e != nil {
			return nil, e
		}
	}
	return list, err
}

// sizeofDiagMsg is that of struct inet_diag_msg (include/uapi/linux/inet_diag.h).
const sizeofDiagMsg = 72

// parseSocket reads a struct inet_diag_msg; index is the link it is bound to, or 0.
func parseSocket(b []byte) (s *Socket, index int, ok bool) {
	if len(b) < sizeofDiagMsg {
		return nil, 0, false
	}
	size := 4
	if b[0] == unix.AF_INET6 {
		size = 16
	}
	local, _ := netip.AddrFromSlice(b[8 : 8+size])
	remote, _ := netip.AddrFromSlice(b[24 : 24+size])
	s = &Socket{
		State: nameOf(socketStates, int(b[1])),
		Local: netip.AddrPortFrom(local, binary.BigEndian.Uint16(b[4:])),
		RecvQ: int(u32(b[56:])), SendQ: int(u32(b[60:])), UID: int(u32(b[64:])), Inode: uint64(u32(b[68:])),
	}
	if port := binary.BigEndian.Uint16(b[6:]); port != 0 || !remote.IsUnspecified() {
		s.Remote = netip.AddrPortFrom(remote, port)
	}
	return s, int(u32(b[40:])), true
}

// socketOwners finds, for each inode of a socket, the process that has it open; of
// several that with the lowest id. Processes that end meanwhile have none.
func socketOwners() map[uint64]int {
	owners := map[uint64]int{}
	dirs, _ := filepath.Glob("/proc/[0-9]*") // the pattern is good
	for _, dir := range dirs {
		fds, err := os.ReadDir(dir + "/fd")
		if err != nil {
			continue
		}
		pid := 0
		for _, fd := range fds {
			target, err := os.Readlink(dir + "/fd/" + fd.Name())
			text, isSocket := strings.CutPrefix(target, "socket:[")
			if err != nil || !isSocket {
				continue
			}
			inode, err := strconv.ParseUint(strings.TrimSuffix(text, "]"), 10, 64)
			if err != nil {
				continue
			}
			if pid == 0 {
				pid = pidIn(dir)
			}
			if other := owners[inode]; other == 0 || pid < other {
				owners[inode] = pid
			}
		}
	}
	return owners
}

// pidIn is the id, as the lab counts, of the process with that directory: the last
// of NSpid (proc(5)), since /proc may be an outer one.
func pidIn(dir string) int {
	pid, _ := strconv.Atoi(filepath.Base(dir))
	status, err := os.ReadFile(dir + "/status")
	if err != nil {
		return pid
	}
	for line := range strings.Lines(string(status)) {
		if ids, ok := strings.CutPrefix(line, "NSpid:"); ok {
			if f := strings.Fields(ids); len(f) > 0 {
				pid, _ = strconv.Atoi(f[len(f)-1])
			}
			break
		}
	}
	return pid
}
