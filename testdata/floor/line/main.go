// Command line is the floor for building line(N): the fastest way known (see the
// design notes on performance) to have N namespaces in a row, each joined to the
// next by veth, an IPv4 address on each end, ends and lo up. It starts itself
// again in the namespaces and with the mounts of a private lab, builds the line
// and ends.
//
//	line [-sysctl] [-print] [-check CMD] N
//
// Namespace i is n<i>, bound to /run/netns/n<i>; its link to the next is e1, to
// the previous e0. Link i has the i-th /30 of 10.0.0.0/8, its first address on e1
// and its second on e0.
//
//	-sysctl     net.ipv6.conf.default.accept_dad=0 in each namespace
//	-print      one line: the seconds the build took (monotonic), the CPU seconds
//	            of the process in that time, and its largest resident set in KiB
//	-check CMD  run CMD with sh in the lab at the end; its status is the program's
package main

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"runtime"
	"strconv"
	"syscall"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/testdata/floor/again"
)

// Link indexes are chosen, the same in each namespace.
const (
	loIndex = 1
	e0Index = 2
	e1Index = 3
)

// pin main to the first thread: /proc/1/ns/net follows that one.
func init() { runtime.LockOSThread() }

func main() {
	again.Sandboxed()

	var sysctl, show bool
	var check string
	args := os.Args[1:]
	for len(args) > 1 {
		switch {
		case args[0] == "-sysctl":
			sysctl = true
		case args[0] == "-print":
			show = true
		case args[0] == "-check" && len(args) > 2:
			check, args = args[1], args[1:]
		default:
			usage()
		}
		args = args[1:]
	}
	if len(args) != 1 {
		usage()
	}
	n := again.Number("N", args[0], 1<<22)

	go again.GrowTable(max(4096, n+64))
	if err := again.Mount(); err != nil {
		again.Fail("sandbox", err)
	}

	built := make(chan error)
	var took, cpu time.Duration
	go func() {
		runtime.LockOSThread() // and never unlocked: it ends in another namespace
		began, before := time.Now(), used()
		err := build(n, sysctl)
		took, cpu = time.Since(began), used()-before
		built <- err
	}()
	if err := <-built; err != nil {
		again.Fail("line", err)
	}
	if show {
		os.Stdout.WriteString("build " + seconds(took) + " s, cpu " + seconds(cpu) +
			" s, VmHWM " + highWater() + " KiB\n")
	}
	if check != "" {
		os.Exit(sh(check))
	}
}

func usage() {
	os.Stderr.WriteString("usage: line [-sysctl] [-print] [-check CMD] N\n")
	os.Exit(2)
}

// --- the line ------------------------------------------------------------------

// A node is a namespace and a NETLINK_ROUTE socket made in it, which stays there.
type node struct{ ns, route int }

func build(n int, sysctl bool) error {
	var m message
	var last node
	for i := range n {
		here, err := unshare(i, sysctl)
		if err != nil {
			return wrap("namespace", i, err)
		}
		if i > 0 {
			if err := join(&m, i-1, last, here); err != nil {
				return wrap("link", i-1, err)
			}
			// The namespace's descriptor stays open, one for each node.
			unix.Close(last.route)
		}
		last = here
	}
	m.reset()
	m.up(loIndex)
	if err := m.exchange(last.route); err != nil {
		return wrap("namespace", n-1, err)
	}
	return nil
}

// unshare takes this thread to a new namespace: no setns, before or after.
func unshare(i int, sysctl bool) (node, error) {
	const self = "/proc/thread-self/ns/net"
	var d node
	err := unix.Unshare(unix.CLONE_NEWNET)
	if err != nil {
		return d, err
	}
	if sysctl {
		if err := write("/proc/sys/net/ipv6/conf/default/accept_dad", "0"); err != nil {
			return d, err
		}
	}
	name := "/run/netns/n" + strconv.Itoa(i)
	if err := unix.Mknod(name, unix.S_IFREG|0o444, 0); err != nil {
		return d, err
	}
	if err := unix.Mount(self, name, "", unix.MS_BIND, ""); err != nil {
		return d, err
	}
	if d.ns, err = unix.Open(self, unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
		return d, err
	}
	d.route, err = unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, unix.NETLINK_ROUTE)
	return d, err
}

// join makes link i, from e1 of a to e0 of b: one send in each namespace.
func join(m *message, i int, a, b node) error {
	subnet := uint32(10<<24 + 4*i)

	m.reset()
	m.up(loIndex)
	m.begin(unix.RTM_NEWLINK, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m.link(e1Index, unix.IFF_UP)
	m.identity("e1", i, 1)
	info := m.nest(unix.IFLA_LINKINFO)
	m.text(unix.IFLA_INFO_KIND, "veth")
	data := m.nest(unix.IFLA_INFO_DATA)
	peer := m.nest(1) // VETH_INFO_PEER
	m.link(e0Index, 0)
	m.identity("e0", i, 2)
	m.u32(unix.IFLA_NET_NS_FD, uint32(b.ns))
	m.close(peer)
	m.close(data)
	m.close(info)
	m.done()
	m.address(e1Index, subnet+1)
	if err := m.exchange(a.route); err != nil {
		return err
	}

	// A peer cannot be made up.
	m.reset()
	m.up(e0Index)
	m.address(e0Index, subnet+2)
	return m.exchange(b.route)
}

// --- rtnetlink by hand -----------------------------------------------------------

// A message is a buffer of netlink messages that are sent at once.
type message struct {
	buf   []byte
	start int // of the message that is being written
	seq   uint32
	reply [8192]byte
}

var order = binary.NativeEndian

func (m *message) reset() { m.buf = m.buf[:0] }

func (m *message) begin(kind, flags uint16) {
	m.seq++
	m.start = len(m.buf)
	m.buf = append(m.buf, 0, 0, 0, 0)
	m.buf = order.AppendUint16(m.buf, kind)
	m.buf = order.AppendUint16(m.buf, flags|unix.NLM_F_REQUEST)
	m.buf = order.AppendUint32(m.buf, m.seq)
	m.buf = append(m.buf, 0, 0, 0, 0)
}

func (m *message) done() {
	order.PutUint32(m.buf[m.start:], uint32(len(m.buf)-m.start))
}

// link writes a struct ifinfomsg.
func (m *message) link(index, flags uint32) {
	m.buf = append(m.buf, 0, 0, 0, 0) // AF_UNSPEC, padding, type
	m.buf = order.AppendUint32(m.buf, index)
	m.buf = order.AppendUint32(m.buf, flags)
	m.buf = order.AppendUint32(m.buf, flags) // the mask
}

// identity writes the attributes both ends of link i have. One queue each way: more
// cost two RCU grace periods a link.
func (m *message) identity(name string, i int, end byte) {
	m.text(unix.IFLA_IFNAME, name)
	mac := m.nest(unix.IFLA_ADDRESS)
	m.buf = append(m.buf, 2)
	m.buf = binary.BigEndian.AppendUint32(m.buf, uint32(i))
	m.buf = append(m.buf, end)
	m.close(mac)
	m.u32(unix.IFLA_NUM_TX_QUEUES, 1)
	m.u32(unix.IFLA_NUM_RX_QUEUES, 1)
}

func (m *message) up(index uint32) {
	m.begin(unix.RTM_NEWLINK, 0)
	m.link(index, unix.IFF_UP)
	m.done()
}

// address writes a whole message that gives link index the address in its /30.
func (m *message) address(index, addr uint32) {
	m.begin(unix.RTM_NEWADDR, unix.NLM_F_CREATE|unix.NLM_F_EXCL)
	m.buf = append(m.buf, unix.AF_INET, 30, 0, unix.RT_SCOPE_UNIVERSE)
	m.buf = order.AppendUint32(m.buf, index)
	for _, kind := range [...]uint16{unix.IFA_LOCAL, unix.IFA_ADDRESS} {
		m.buf = order.AppendUint16(m.buf, 8)
		m.buf = order.AppendUint16(m.buf, kind)
		m.buf = binary.BigEndian.AppendUint32(m.buf, addr)
	}
	m.done()
}

func (m *message) nest(kind uint16) (at int) {
	at = len(m.buf)
	m.buf = append(m.buf, 0, 0)
	m.buf = order.AppendUint16(m.buf, kind)
	return at
}

// close ends the attribute that begins at at, and pads it.
func (m *message) close(at int) {
	order.PutUint16(m.buf[at:], uint16(len(m.buf)-at))
	for len(m.buf)%4 != 0 {
		m.buf = append(m.buf, 0)
	}
}

func (m *message) text(kind uint16, value string) {
	at := m.nest(kind)
	m.buf = append(m.buf, value...)
	m.buf = append(m.buf, 0)
	m.close(at)
}

func (m *message) u32(kind uint16, value uint32) {
	at := m.nest(kind)
	m.buf = order.AppendUint32(m.buf, value)
	m.close(at)
}

// exchange sends the buffer and reads the kernel's answers. Only the last message
// asks for one, but a message that fails has one in any case, and before that.
func (m *message) exchange(fd int) error {
	flags := m.buf[m.start+6:]
	order.PutUint16(flags, order.Uint16(flags)|unix.NLM_F_ACK)
	if _, err := unix.Write(fd, m.buf); err != nil {
		return err
	}
	for {
		n, err := unix.Read(fd, m.reply[:])
		if err != nil {
			return err
		}
		for b := m.reply[:n]; len(b) >= unix.NLMSG_HDRLEN; {
			size := int(order.Uint32(b))
			if size < unix.NLMSG_HDRLEN || size > len(b) {
				return errors.New("malformed answer")
			}
			if order.Uint16(b[4:]) == unix.NLMSG_ERROR && size >= unix.NLMSG_HDRLEN+4 {
				if e := int32(order.Uint32(b[unix.NLMSG_HDRLEN:])); e != 0 {
					return syscall.Errno(-e)
				}
				if order.Uint32(b[8:]) == m.seq {
					return nil
				}
			}
			b = b[min((size+3)&^3, len(b)):]
		}
	}
}

// --- the rest ------------------------------------------------------------------

func wrap(what string, i int, err error) error {
	return errors.New(what + " " + strconv.Itoa(i) + ": " + err.Error())
}

func write(path, text string) error {
	fd, err := unix.Open(path, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	_, err = unix.Write(fd, []byte(text))
	return err
}

// used returns the CPU time of this process.
func used() time.Duration {
	var r unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &r); err != nil {
		return 0
	}
	return time.Duration(r.Utime.Nano() + r.Stime.Nano())
}

func seconds(d time.Duration) string { return strconv.FormatFloat(d.Seconds(), 'f', 6, 64) }

func highWater() string {
	status, _ := os.ReadFile("/proc/self/status")
	_, rest, _ := bytes.Cut(status, []byte("VmHWM:"))
	if f := bytes.Fields(rest); len(f) > 0 {
		return string(f[0])
	}
	return "?"
}

// sh runs a command in the lab and returns its status.
func sh(command string) int {
	pid, err := syscall.ForkExec("/bin/sh", []string{"sh", "-c", command}, &syscall.ProcAttr{
		Env: os.Environ(), Files: []uintptr{0, 1, 2},
	})
	if err != nil {
		again.Fail("check", err)
	}
	var status syscall.WaitStatus
	for {
		if _, err = syscall.Wait4(pid, &status, 0, nil); err != syscall.EINTR {
			break
		}
	}
	if err != nil {
		again.Fail("check", err)
	}
	if status.Signaled() {
		return 128 + int(status.Signal())
	}
	return status.ExitStatus()
}
