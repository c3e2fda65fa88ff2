package feature

import (
	"errors"
	"fmt"
	"os"
	"slices"

	"github.com/vishvananda/netlink/nl"
	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
)

// errUnasked is what a probe says that cannot ask the kernel.
var errUnasked = errors.New("the kernel cannot be asked")

// errAbsent is why something is missing that no call refuses.
var errAbsent = errors.New("the kernel does not show it")

// Probe finds out which features the kernel has, without loading a module where
// files tell that it is one. It needs the right to make a network namespace, as a
// private lab has it; the error says that there was none, and the findings are then
// what files say.
func Probe(k *Kernel, features []*Feature) ([]Finding, error) {
	findings := make([]Finding, len(features))
	err := inThrowaway(k, func(p *prober) {
		for i, f := range features {
			findings[i] = p.find(f, false)
		}
	})
	if err != nil {
		for i, f := range features {
			findings[i].Feature = f
			findings[i].Status, _ = k.status(f)
		}
	}
	for i := range findings {
		if f := &findings[i]; f.Status == Missing {
			f.Advice = f.advice(k)
		}
	}
	return findings, err
}

// Check asks the kernel for one feature after something that needs it has failed.
// That attempt has loaded the module if there is one; so the kernel is asked in any
// case, and a module that is still not loaded counts as missing.
func (f *Feature) Check() Finding {
	k := ReadKernel()
	found := Finding{Feature: f}
	if err := inThrowaway(k, func(p *prober) { found = p.find(f, true) }); err != nil {
		found.Status, _ = k.status(f)
	}
	if found.Status == Unloaded {
		found.Status = Missing
	}
	if found.Status == Missing {
		found.Advice = f.advice(k)
	}
	return found
}

// inThrowaway runs fn in a network namespace that ends with it.
func inThrowaway(k *Kernel, fn func(*prober)) error {
	return netns.New(func() error {
		p := &prober{kernel: k, sockets: map[int]int{}}
		defer p.close()
		fn(p)
		return nil
	})
}

func (p *prober) find(f *Feature, force bool) Finding {
	status, ask := p.kernel.status(f)
	if !ask && !force {
		return Finding{Feature: f, Status: status}
	}
	switch err := f.probe(p); {
	case errors.Is(err, errUnasked):
		return Finding{Feature: f, Status: status}
	case err != nil:
		return Finding{Feature: f, Status: Missing, Why: err}
	}
	return Finding{Feature: f, Status: Present}
}

// prober asks the kernel, in the namespace of its thread, for things that are
// refused: what is refused for want of the feature is told by the errno. Nothing
// that it makes outlives the namespace.
type prober struct {
	kernel  *Kernel
	sockets map[int]int // by netlink protocol
	seq     uint32

	handle uint32             // of the last qdisc
	parent uint32             // of filters, once it was looked for
	prio   uint32             // of the last filter
	nft    map[*Feature]error // what nf_tables answered, once it was asked
	bridge map[int]bool       // the attributes of a bridge, once there is one
}

func (p *prober) close() {
	for _, fd := range p.sockets {
		unix.Close(fd)
	}
}

// message is a request and its position in a batch.
func message(kind, flags int, head []byte, attrs ...*nl.RtAttr) *nl.NetlinkRequest {
	r := &nl.NetlinkRequest{NlMsghdr: unix.NlMsghdr{Len: unix.SizeofNlMsghdr, Type: uint16(kind), Flags: uint16(flags) | unix.NLM_F_REQUEST}}
	r.AddRawData(head)
	for _, a := range attrs {
		r.RawData = append(r.RawData, a.Serialize()...)
	}
	return r
}

func (p *prober) socketFor(protocol int) (int, error) {
	if fd, ok := p.sockets[protocol]; ok {
		return fd, nil
	}
	fd, err := unix.Socket(unix.AF_NETLINK, unix.SOCK_RAW|unix.SOCK_CLOEXEC, protocol)
	if err != nil {
		return -1, err
	}
	// An answer that does not come must not hang the whole.
	if err := unix.SetsockoptTimeval(fd, unix.SOL_SOCKET, unix.SO_RCVTIMEO, &unix.Timeval{Sec: 5}); err != nil {
		unix.Close(fd)
		return -1, err
	}
	p.sockets[protocol] = fd
	return fd, nil
}

// ask sends one request and returns the kernel's refusal, or nil.
func (p *prober) ask(protocol int, r *nl.NetlinkRequest) error {
	if r.Flags&unix.NLM_F_DUMP != unix.NLM_F_DUMP {
		r.Flags |= unix.NLM_F_ACK
	}
	errs, _, err := p.batch(protocol, r)
	if err != nil {
		return err
	}
	return errs[0]
}

// batch sends requests in one packet and returns what was refused when the last one
// that is a dump or to be acknowledged has been answered, or the first one, without
// which the others make no sense, was refused; and the body of the last other message.
func (p *prober) batch(protocol int, requests ...*nl.NetlinkRequest) (errs []error, body []byte, err error) {
	fd, err := p.socketFor(protocol)
	if err != nil {
		return nil, nil, err
	}
	first, last := p.seq+1, uint32(0)
	var packet []byte
	for _, r := range requests {
		p.seq++
		r.Seq = p.seq
		if r.Flags&(unix.NLM_F_ACK|unix.NLM_F_DUMP) != 0 {
			last = p.seq
		}
		packet = append(packet, r.Serialize()...)
	}
	if err := unix.Sendto(fd, packet, 0, &unix.SockaddrNetlink{Family: unix.AF_NETLINK}); err != nil {
		return nil, nil, err
	}
	errs = make([]error, len(requests))
	b := make([]byte, 64<<10)
	for {
		n, _, err := unix.Recvfrom(fd, b, 0)
		if errors.Is(err, unix.EINTR) {
			continue
		}
		if err != nil {
			return nil, nil, fmt.Errorf("netlink: %w", err)
		}
		messages, err := parseMessages(b[:n])
		if err != nil {
			return nil, nil, err
		}
		for _, m := range messages {
			if m.Header.Seq < first || m.Header.Seq > p.seq {
				continue
			}
			if !m.ends() {
				body = slices.Clone(m.Data)
				continue
			}
			if errno := m.errno(); errno != 0 {
				errs[m.Header.Seq-first] = errno
			}
			if m.Header.Seq == last || errs[0] != nil {
				return errs, body, nil
			}
		}
	}
}

// refused tells whether err is one of the errnos that mean that the feature is not
// there; any other answer means that it is.
func refused(err error, absent ...unix.Errno) error {
	for _, errno := range absent {
		if errors.Is(err, errno) {
			return err
		}
	}
	return nil
}

// file is the probe of what shows in a file of the namespace.
func file(path string) func(*prober, *Feature) error {
	return func(*prober, *Feature) error {
		if _, err := os.Stat(path); err != nil {
			return errAbsent
		}
		return nil
	}
}

func (*prober) unasked(*Feature) error { return errUnasked }

// socket opens a socket of the kind.
func (*prober) socket(f *Feature) error {
	domain, kind, protocol := unix.AF_INET, unix.SOCK_STREAM, unix.IPPROTO_SCTP
	switch f.Name {
	case "packet":
		domain, kind, protocol = unix.AF_PACKET, unix.SOCK_RAW, 0
	case "mptcp":
		protocol = unix.IPPROTO_MPTCP
	}
	fd, err := unix.Socket(domain, kind|unix.SOCK_CLOEXEC, protocol)
	if err == nil {
		unix.Close(fd)
	}
	return err
}

// congestion gives a socket the algorithm.
func (*prober) congestion(f *Feature) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_STREAM|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(fd)
	return refused(unix.SetsockoptString(fd, unix.IPPROTO_TCP, unix.TCP_CONGESTION, f.Name), unix.ENOENT)
}

// tun opens the device that makes such links.
func (*prober) tun(*Feature) error {
	fd, err := unix.Open("/dev/net/tun", unix.O_RDWR|unix.O_CLOEXEC, 0)
	if err == unix.EACCES || err == unix.EPERM { // the kernel has it; the machine keeps it from this user
		return nil
	}
	if err != nil {
		return fmt.Errorf("/dev/net/tun: %w", err)
	}
	unix.Close(fd)
	return nil
}

// xfrm opens the socket that policies and states are set by.
func (p *prober) xfrm(*Feature) error {
	_, err := p.socketFor(unix.NETLINK_XFRM)
	return err
}
