package probe

import (
	"errors"
	"fmt"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/vishvananda/netlink"
	vnetns "github.com/vishvananda/netns"
	"golang.org/x/sys/unix"
)

// The kernel tests run in namespaces that vanish with the process: the test
// binary starts itself again in them, so that nothing of the machine is
// touched and no root is needed.

const insideMark = "NSSCRIPT_PROBE_TEST_INSIDE"

// noKernelTests is why kernel tests are skipped; empty if they run.
var noKernelTests = "the tests were not started again in their own namespaces"

func TestMain(m *testing.M) {
	if os.Getenv(insideMark) != "" {
		noKernelTests = ""
		os.Exit(m.Run())
	}
	code, err := runInside()
	if err == nil {
		os.Exit(code)
	}
	noKernelTests = "no namespaces to test in: " + err.Error()
	os.Exit(m.Run())
}

// runInside runs the test binary in its own namespaces: as root without a user
// namespace, if that is refused or for others with one.
func runInside() (code int, err error) {
	runtime.LockOSThread() // Pdeathsig is bound to the thread
	defer runtime.UnlockOSThread()
	err = unix.EPERM
	if os.Getuid() == 0 {
		code, err = startInside(&syscall.SysProcAttr{})
	}
	if err == nil {
		return code, nil
	}
	return startInside(&syscall.SysProcAttr{
		Cloneflags:  unix.CLONE_NEWUSER,
		UidMappings: []syscall.SysProcIDMap{{HostID: os.Getuid(), Size: 1}},
		GidMappings: []syscall.SysProcIDMap{{HostID: os.Getgid(), Size: 1}},
	})
}

func startInside(attr *syscall.SysProcAttr) (code int, err error) {
	attr.Cloneflags |= unix.CLONE_NEWNET | unix.CLONE_NEWNS
	attr.Pdeathsig = unix.SIGKILL
	cmd := exec.Command("/proc/self/exe", os.Args[1:]...)
	cmd.Args[0] = os.Args[0]
	cmd.Stdin, cmd.Stdout, cmd.Stderr = os.Stdin, os.Stdout, os.Stderr
	cmd.Env = append(os.Environ(), insideMark+"=1")
	cmd.SysProcAttr = attr
	err = cmd.Run()
	var exit *exec.ExitError
	if errors.As(err, &exit) {
		return exit.ExitCode(), nil
	}
	return 0, err
}

// testNS is a throwaway network namespace.
type testNS struct {
	t    testing.TB
	fd   int
	link *netlink.Handle
}

// lacking skips for want of something of the machine, or fails when the environment
// says that it has to be there.
func lacking(t testing.TB, what, why string) {
	t.Helper()
	if slices.Contains(strings.Split(os.Getenv("NSSCRIPT_REQUIRE"), ","), what) {
		t.Fatal(why)
	}
	t.Skip(why)
}

// newNS makes a namespace with lo up, no duplicate address detection and few
// limits on ICMP errors. Ping sockets are not allowed in it, the kernel's
// default.
func newNS(t testing.TB) *testNS {
	t.Helper()
	if noKernelTests != "" {
		lacking(t, "sandbox", noKernelTests)
	}
	ns := &testNS{t: t}
	err := onOwnThread(func() (err error) {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return err
		}
		ns.fd, err = unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
		return err
	})
	ns.must(err, "new namespace")
	t.Cleanup(func() { _ = unix.Close(ns.fd) })
	ns.link, err = netlink.NewHandleAt(vnetns.NsHandle(ns.fd))
	ns.must(err, "netlink")
	t.Cleanup(ns.link.Close)
	for _, name := range []string{"all", "default"} {
		ns.sysctl("net/ipv6/conf/"+name+"/accept_dad", "0")
		ns.sysctl("net/ipv4/conf/"+name+"/rp_filter", "0")
	}
	// Not icmp_ratelimit=0: that empties the bucket of ip_error(), which then
	// keeps "unreachable" back for a second (inet_peer_xrlim_allow).
	ns.sysctl("net/ipv4/icmp_ratemask", "0")
	ns.sysctl("net/ipv6/icmp/ratelimit", "0")
	ns.up("lo")
	return ns
}

// enter is the Enter of the namespace: there and back on a locked thread.
func (ns *testNS) enter(fn func() error) error {
	runtime.LockOSThread()
	back, err := unix.Open("/proc/thread-self/ns/net", unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	defer unix.Close(back)
	if err := unix.Setns(ns.fd, unix.CLONE_NEWNET); err != nil {
		return err
	}
	err = fn()
	if bad := unix.Setns(back, unix.CLONE_NEWNET); bad != nil {
		return bad // and the thread stays locked, to die
	}
	runtime.UnlockOSThread()
	return err
}

// onOwnThread runs fn on a thread that is thrown away.
func onOwnThread(fn func() error) error {
	done := make(chan error)
	go func() {
		runtime.LockOSThread()
		done <- fn()
	}()
	return <-done
}

// must ends the test on an error.
func (ns *testNS) must(err error, what string) {
	ns.t.Helper()
	if err != nil {
		ns.t.Fatalf("%s: %v", what, err)
	}
}

// sysctl sets one of the namespace's; where that is not allowed (read-only
// /proc in a container) the test is skipped.
func (ns *testNS) sysctl(key, value string) {
	ns.t.Helper()
	err := ns.enter(func() error {
		return os.WriteFile(filepath.Join("/proc/sys", key), []byte(value), 0)
	})
	if errors.Is(err, unix.EROFS) {
		lacking(ns.t, "sysctl", "sysctl "+key+": "+err.Error())
	}
	ns.must(err, "sysctl "+key)
}

// allow allows ping sockets.
func (ns *testNS) allow() *testNS {
	ns.sysctl("net/ipv4/ping_group_range", "0 0")
	return ns
}

// forward makes it a router.
func (ns *testNS) forward() *testNS {
	ns.sysctl("net/ipv4/ip_forward", "1")
	ns.sysctl("net/ipv6/conf/all/forwarding", "1")
	return ns
}

func (ns *testNS) up(name string) {
	ns.t.Helper()
	link, err := ns.link.LinkByName(name)
	ns.must(err, "link "+name)
	ns.must(ns.link.LinkSetUp(link), "up "+name)
}

// addr adds addresses to a link.
func (ns *testNS) addr(name string, cidrs ...string) {
	ns.t.Helper()
	link, err := ns.link.LinkByName(name)
	ns.must(err, "link "+name)
	for _, cidr := range cidrs {
		a, err := netlink.ParseAddr(cidr)
		ns.must(err, cidr)
		ns.must(ns.link.AddrAdd(link, a), "address "+cidr)
	}
}

// mtu sets a link's MTU.
func (ns *testNS) mtu(name string, mtu int) {
	ns.t.Helper()
	link, err := ns.link.LinkByName(name)
	ns.must(err, "link "+name)
	ns.must(ns.link.LinkSetMTU(link, mtu), "mtu")
}

// route adds a route of a type (unix.RTN_UNICAST …), via a gateway if given.
func (ns *testNS) route(dst, via string, kind int) {
	ns.t.Helper()
	to, err := netlink.ParseIPNet(dst)
	ns.must(err, dst)
	r := &netlink.Route{Dst: to, Type: kind}
	if via != "" {
		r.Gw = netip.MustParseAddr(via).AsSlice()
	}
	ns.must(ns.link.RouteAdd(r), "route "+dst)
}

var vethNumber atomic.Int32

// join connects two namespaces by a veth pair, with names and addresses.
func join(a *testNS, aName string, aAddrs []string, b *testNS, bName string, bAddrs []string) {
	a.t.Helper()
	attrs := netlink.NewLinkAttrs()
	attrs.Name, attrs.NumTxQueues, attrs.NumRxQueues = aName, 1, 1
	veth := &netlink.Veth{
		LinkAttrs: attrs, PeerName: bName, PeerNamespace: netlink.NsFd(b.fd),
		PeerNumTxQueues: 1, PeerNumRxQueues: 1,
		PeerHardwareAddr: []byte{2, 0, 0, 0, 1, byte(vethNumber.Add(1))},
	}
	a.must(a.link.LinkAdd(veth), fmt.Sprintf("veth %s %s", aName, bName))
	a.up(aName)
	b.up(bName)
	a.addr(aName, aAddrs...)
	b.addr(bName, bAddrs...)
	a.settle(aName)
	b.settle(bName)
}

// settle lets linkwatch run, by asking for the link, and waits for addresses:
// they do not work before a kernel worker has run (addrconf_dad_work), even
// with accept_dad=0; with IFA_F_NODAD they do not even look tentative.
func (ns *testNS) settle(name string) {
	ns.t.Helper()
	for deadline := time.Now().Add(atMost); time.Now().Before(deadline); time.Sleep(time.Millisecond) {
		// Some kernels take a second to announce a carrier, and the link-local
		// address comes after that.
		link, err := ns.link.LinkByName(name)
		ns.must(err, "settle "+name)
		addrs := ns.addrs(link)
		announced := link.Attrs().OperState == netlink.OperUp &&
			slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.IP.IsLinkLocalUnicast() })
		if announced && !slices.ContainsFunc(addrs, func(a netlink.Addr) bool { return a.Flags&unix.IFA_F_TENTATIVE != 0 }) {
			// The flag goes before the local route comes: a request that takes
			// the rtnl lock waits for the worker.
			ns.must(ns.link.LinkSetUp(link), "settle "+name)
			return
		}
	}
	ns.t.Fatalf("%s: addresses stay tentative", name)
}

// addrs lists a link's IPv6 addresses; a change during the listing repeats it.
func (ns *testNS) addrs(link netlink.Link) []netlink.Addr {
	ns.t.Helper()
	for range 100 {
		addrs, err := ns.link.AddrList(link, unix.AF_INET6)
		if !errors.Is(err, netlink.ErrDumpInterrupted) {
			ns.must(err, "addresses of "+link.Attrs().Name)
			return addrs
		}
	}
	ns.t.Fatal("the addresses do not stop changing")
	return nil
}

// pair is two namespaces joined: 10.0.1.1 and fd00:1::1 on a's eth0,
// 10.0.1.2 and fd00:1::2 on b's.
func pair(t testing.TB) (a, b *testNS) {
	t.Helper()
	a, b = newNS(t).allow(), newNS(t)
	join(a, "eth0", []string{"10.0.1.1/24", "fd00:1::1/64"},
		b, "eth0", []string{"10.0.1.2/24", "fd00:1::2/64"})
	return a, b
}

// routed is routedFrom a namespace that allows ping sockets.
func routed(t testing.TB) (a, r, b *testNS) {
	t.Helper()
	a = newNS(t).allow()
	r, b = routedFrom(t, a)
	return a, r, b
}

// routedFrom is a (10.0.1.1, fd00:1::1), a router r (.2 and ::2 towards a, .1 and
// ::1 towards b) and b (10.0.2.2, fd00:2::2), with routes between them.
func routedFrom(t testing.TB, a *testNS) (r, b *testNS) {
	t.Helper()
	r, b = newNS(t).forward(), newNS(t)
	join(a, "eth0", []string{"10.0.1.1/24", "fd00:1::1/64"},
		r, "left", []string{"10.0.1.2/24", "fd00:1::2/64"})
	join(r, "right", []string{"10.0.2.1/24", "fd00:2::1/64"},
		b, "eth0", []string{"10.0.2.2/24", "fd00:2::2/64"})
	a.route("0.0.0.0/0", "10.0.1.2", unix.RTN_UNICAST)
	a.route("::/0", "fd00:1::2", unix.RTN_UNICAST)
	b.route("0.0.0.0/0", "10.0.2.1", unix.RTN_UNICAST)
	b.route("::/0", "fd00:2::1", unix.RTN_UNICAST)
	return r, b
}
