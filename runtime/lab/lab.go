// Package lab is the kernel face of a lab: namespaces, links, addresses, routes
// and what runs in them, one file for each noun of the kernel. A method does
// one operation on the real kernel at once and returns what came of it.
package lab

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"os"
	"slices"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/event"
	"nsscript/runtime/netns"
	"nsscript/runtime/probe"
	"nsscript/runtime/process"
	"nsscript/runtime/world"
)

// RunDir is where named namespaces are bound, as ip-netns(8) has it.
const RunDir = "/run/netns"

// Options of a [Lab].
type Options struct {
	// Host: the lab is the machine itself. New namespaces are left as the
	// kernel makes them, indexes are the kernel's choice, and every change is
	// remembered so that [Lab.Undo] can take it back.
	Host bool
	// Force allows a Host lab to delete what it did not make.
	Force bool
	// Seed determines the MAC addresses; equal seeds, equal addresses.
	Seed uint64
	// Events gets every operation; nil for nobody.
	Events event.Sink
	// Machine returns what inherit.Settings said outside the lab; nil or ""
	// makes the lab find out by itself.
	Machine func() string
}

// Lab is a set of namespaces around a root namespace. One goroutine at a time may
// call its methods and those of what belongs to it (see [WithWait]).
type Lab struct {
	// Root is the namespace that the lab was made in.
	Root *Namespace

	options Options
	spaces  []*Namespace
	byID    map[netns.ID]*Namespace
	rng     *rand.Rand
	unnamed int            // the first number that a namespace without a name may get
	fresh   pending[*Link] // set up and not known to pass packets
	probing map[*Link]bool // and may still detect duplicate addresses
	// arriving are namespaces whose IPv6 addresses may not receive yet.
	arriving pending[*Namespace]
	procs    []*process.Process
	closers  []func() // of servers in the lab's process
	autoconf bool     // hosts may make addresses by themselves
	programs int      // that run to their end now
	runs     int      // programs that have run, and may have changed any link
	// born is what skipFallbacks found in the first newborn namespace.
	born  struct{ fallbacks, next int }
	pings pingSockets // kept for the next pings
	// fallbacks are the kinds of tunnels that this lab has made, whose modules bring
	// devices into each namespace by themselves.
	fallbacks map[string]bool
	ca        *probe.CA  // of TLS servers; nil until there is one
	resolvers []resolver // name servers

	faults     []*Fault     // that have not been undone
	following  []*partition // that have not been healed
	partitions int          // how many there have been

	// What programs see of the machine; nil until there was one.
	world *world.World
	hosts *hostTable // nil with --host, too
	// groups are the control groups of limits; nil until there was one.
	groups *process.Groups

	mu      sync.Mutex // guards what follows: a stuck script is undone from outside
	undos   []undo
	lasting []string // what cannot be undone, in words
	claimed map[string]bool

	usual      map[string]string // sysctls of a new namespace by path, once they were read
	resets     func() []setting  // sysctls that a new namespace must get
	linkResets func() []setting  // and a new link in it
	begin      func()            // gives the root what a booted machine has, once
}

// New makes a lab whose root is the calling process's network namespace. In a
// private lab the root gets what a booted machine has: lo up, and the kernel's
// own defaults for sysctls.
func New(ctx context.Context, o Options) (*Lab, error) {
	l := &Lab{
		options:   o,
		byID:      map[netns.ID]*Namespace{},
		fresh:     pending[*Link]{},
		arriving:  pending[*Namespace]{},
		probing:   map[*Link]bool{},
		fallbacks: map[string]bool{},
		rng:       rand.New(rand.NewPCG(o.Seed, 0x6e73736372697074)),
	}
	fd, err := netns.Open("/proc/self/ns/net")
	if err != nil {
		return nil, err
	}
	defer unix.Close(fd)
	c, err := openConn()
	if err != nil {
		return nil, err
	}
	l.Root = &Namespace{lab: l, Path: "/proc/1/ns/net", conn: c, root: true, dad: o.Host}
	if self, err := os.Readlink("/proc/self"); err == nil && !o.Host {
		l.Root.Path = "/proc/" + self + "/ns/net" // another number in an outer /proc
	}
	if l.Root.id, err = netns.IDOf(fd); err != nil {
		return nil, err
	}
	l.byID[l.Root.id] = l.Root
	l.resets, l.begin = func() []setting { return nil }, func() {}
	l.linkResets = l.resets
	if o.Host {
		return l, nil
	}
	both := sync.OnceValues(func() (spaces, links []setting) { return inherited(o.Machine) })
	l.resets = func() []setting { spaces, _ := both(); return spaces }
	l.linkResets = func() []setting { _, links := both(); return links }
	l.begin = sync.OnceFunc(func() { l.boot(ctx) })
	return l, nil
}

// boot gives the root namespace of a private lab the kernel's own defaults and
// sets its lo up. There is nothing that a caller could do when it fails; the
// script's own operations then say what is wrong.
func (l *Lab) boot(ctx context.Context) {
	settings := l.resets()
	_ = applySettings(settings)
	l.Root.emitSettings(ctx, settings)
	start := time.Now()
	err := l.Root.conn.do(setFlags(1, unix.IFF_UP, unix.IFF_UP))
	l.emit(ctx, "link set", l.Root, start, err, arg("dev", "lo"), arg("up", ""))
}

// Close stops the lab's processes and lets go of its namespaces. In a private
// lab the end of the process does that and more; Close serves programs that go
// on, and --host.
func (l *Lab) Close() {
	for _, p := range l.procs {
		p.Kill()
	}
	for _, end := range l.closers {
		end()
	}
	l.closePingSockets()
	if l.groups != nil {
		l.groups.Close()
		l.groups = nil
	}
	if l.hosts != nil {
		l.hosts.close()
		l.hosts = nil
	}
	if l.world != nil {
		l.world.Close()
	}
	for _, ns := range l.all() {
		ns.strip()
		ns.leaveGroup()
		for _, k := range ns.links {
			_ = k.LetGo()
		}
		ns.conn.close()
	}
}

// manyNamespaces is when a lab counts as large: soon enough before the first
// doubling of the table of descriptors, at 64.
const manyNamespaces = 16

// growDescriptorTable makes the process's table of descriptors large at once.
// Each doubling of the table of a process with threads waits for an RCU grace
// period (7 to 11 ms in one call of socket(2)); here that happens once and
// beside the building. A small lab does without: its end would wait for it.
func growDescriptorTable() {
	go func() {
		want := 4095
		var limit unix.Rlimit
		if unix.Getrlimit(unix.RLIMIT_NOFILE, &limit) == nil && limit.Cur <= uint64(want) {
			want = int(limit.Cur) - 1
		}
		if fd, err := unix.FcntlInt(0, unix.F_DUPFD_CLOEXEC, want); err == nil {
			unix.Close(fd)
		}
	}()
}

// Namespaces returns those that were made or named in this lab, in order, without
// the root. One whose name another program has deleted is none of them any more.
func (l *Lab) Namespaces() []*Namespace {
	return slices.DeleteFunc(slices.Clone(l.spaces), func(ns *Namespace) bool { return !ns.named() })
}

func (l *Lab) all() []*Namespace { return append([]*Namespace{l.Root}, l.spaces...) }

// Host tells whether the lab is the machine itself.
func (l *Lab) Host() bool { return l.options.Host }

// newMAC draws a MAC address: unicast, locally administered (IEEE 802).
func (l *Lab) newMAC() net.HardwareAddr {
	n := l.rng.Uint64()
	return net.HardwareAddr{byte(n)&^1 | 2, byte(n >> 8), byte(n >> 16), byte(n >> 24), byte(n >> 32), byte(n >> 40)}
}

// arg makes an argument of an event.
func arg(key, value string) event.Arg { return event.Arg{Key: key, Value: value} }

// inOnePacket is the start of an operation that went to the kernel in one packet
// with the one before it: how long it took by itself nobody knows.
var inOnePacket time.Time

// emit reports an operation that began at start.
func (l *Lab) emit(ctx context.Context, op string, ns *Namespace, start time.Time, err error, args ...event.Arg) {
	if l.options.Events == nil {
		return
	}
	name := ""
	if ns != nil && !ns.root {
		name = ns.String()
	}
	e := event.Event{Op: op, NS: name, Args: args, Pos: event.PosOf(ctx), Err: err}
	if start != inOnePacket {
		e.Took = max(time.Since(start), 1)
	}
	l.options.Events(e)
}

// watched tells whether somebody reads events; building their arguments is
// spared otherwise.
func (l *Lab) watched() bool { return l.options.Events != nil }

// where names a namespace in errors: " in blue", or nothing for the root.
func where(ns *Namespace) string {
	if ns.root {
		return ""
	}
	return fmt.Sprintf(" in %s", ns)
}
