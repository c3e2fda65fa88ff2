package probe

import (
	"fmt"
	"net/netip"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of [PingError]. Those that a router, the destination or the namespace
// itself reported by ICMP have From; the others are the local kernel's answer
// to sending, or silence.
const (
	KindTimeout         = "timeout"          // no reply in time, and nobody says why
	KindNoNeighbor      = "no-neighbor"      // the next hop does not answer ARP or neighbour discovery
	KindNoRoute         = "no-route"         // ENETUNREACH: no route in the namespace
	KindBlackhole       = "blackhole"        // EINVAL: a blackhole route in the namespace
	KindUnreachable     = "unreachable"      // EHOSTUNREACH: an unreachable route in the namespace
	KindProhibited      = "prohibited"       // EACCES: a prohibit route here; or, with From, a filter there
	KindFiltered        = "filtered"         // EPERM: a firewall rule of the namespace
	KindTooBig          = "too-big"          // larger than the MTU, of the path (From) or as known here
	KindTTLExceeded     = "ttl-exceeded"     // From is the hop where the time to live ran out
	KindReassembly      = "reassembly"       // fragments were lost
	KindNetUnreachable  = "net-unreachable"  // From has no route
	KindHostUnreachable = "host-unreachable" // From cannot reach the destination
	KindPortUnreachable = "port-unreachable" // a firewall's reject, as a rule
	KindBadPacket       = "bad-packet"       // parameter problem
	KindNoBuffers       = "no-buffers"       // ENOBUFS: neighbour table or device queue full
	KindNoSource        = "no-source"        // EADDRNOTAVAIL: no address to send from
	KindRefused         = "refused"          // ECONNREFUSED: nobody listens there
	KindReset           = "reset"            // ECONNRESET, EPIPE: the other end has ended the connection
	KindNoHost          = "no-host"          // a name that leads to no address
	KindOther           = "other"
)

// PingError is why a request had no answer.
type PingError struct {
	// Kind is one of the Kind constants.
	Kind string
	// From is who sent the ICMP error; invalid if nobody did.
	From netip.Addr
	// Neighbor is the next hop, the destination or a gateway, that does not
	// resolve; with KindNoNeighbor only.
	Neighbor netip.Addr
	// MTU in bytes, IP header included; with KindTooBig, 0 if unknown.
	MTU int
	// Errno is what the kernel made of it; 0 for silence.
	Errno unix.Errno
	// Type and Code are the ICMP error's if From is valid (RFC 792, RFC 4443).
	Type, Code uint8
	// After is the timeout that passed in silence, or the time until somebody's
	// ICMP error came.
	After time.Duration

	text string
	note string // what may have to do with it
}

// NoHost is for a name that leads to no address, so that nothing was sent.
func NoHost(why error) *PingError { return &PingError{Kind: KindNoHost, text: why.Error()} }

// Unwrap gives the errno, so that errors.Is(err, unix.ENETUNREACH) holds.
func (e *PingError) Unwrap() error {
	if e.Errno == 0 {
		return nil
	}
	return e.Errno
}

// Error says what happened in a line, such as "no route, the network is unreachable (ENETUNREACH)"
// or "time to live exceeded, says 10.0.0.1".
func (e *PingError) Error() string {
	if e.note != "" {
		return e.words() + "; " + e.note
	}
	return e.words()
}

func (e *PingError) words() string {
	switch {
	case e.Kind == KindNoNeighbor:
		return e.neighborText()
	case e.Kind == KindTimeout && e.text == "":
		return fmt.Sprintf("no reply within %v", rounded(e.After))
	case e.Kind == KindTooBig && e.MTU > 0 && e.From.IsValid():
		return fmt.Sprintf("message too big for the path: MTU %d, says %v", e.MTU, e.From)
	case e.Kind == KindTooBig && e.MTU > 0:
		return fmt.Sprintf("message too big: MTU %d (EMSGSIZE)", e.MTU)
	case e.From.IsValid():
		return fmt.Sprintf("%s, says %v", e.text, e.From)
	case e.Errno == 0:
		return e.text
	}
	return fmt.Sprintf("%s (%s)", e.text, unix.ErrnoName(e.Errno))
}

// neighborText is Error for a next hop that does not resolve: by the kernel's
// word, or by the state of the neighbour table when the time was over.
func (e *PingError) neighborText() string {
	how := "ARP"
	if e.Neighbor.Is6() {
		how = "neighbour discovery"
	}
	if e.Errno == 0 {
		return fmt.Sprintf("%v did not answer %s within %v", e.Neighbor, how, rounded(e.After))
	}
	return fmt.Sprintf("%v did not answer %s (%s)", e.Neighbor, how, unix.ErrnoName(e.Errno))
}

// rounded is a time as people say it.
func rounded(d time.Duration) time.Duration {
	if d > 10*time.Millisecond {
		return d.Round(time.Millisecond)
	}
	return d
}

// meaning is how an errno or an ICMP error reads.
type meaning struct{ kind, text string }

// sendMeanings are the local kernel's refusals to send (fib_props in
// net/ipv4/fib_semantics.c for the errors of route types).
var sendMeanings = map[unix.Errno]meaning{
	unix.ENETUNREACH:   {KindNoRoute, "no route, the network is unreachable"},
	unix.EHOSTUNREACH:  {KindUnreachable, "unreachable by a route of this namespace"},
	unix.EACCES:        {KindProhibited, "prohibited by a route of this namespace"},
	unix.EINVAL:        {KindBlackhole, "blackhole route in this namespace"},
	unix.EPERM:         {KindFiltered, "filtered by a firewall rule of this namespace"},
	unix.EMSGSIZE:      {KindTooBig, "message too big"},
	unix.ENOBUFS:       {KindNoBuffers, "neighbour table or device queue full"},
	unix.EAGAIN:        {KindNoBuffers, "socket's send buffer full"},
	unix.EADDRNOTAVAIL: {KindNoSource, "no source address of this family"},
	unix.ENETDOWN:      {KindOther, "network is down"},
}

// sendError is the error for a request that the kernel did not send.
func sendError(errno unix.Errno) *PingError {
	m, known := sendMeanings[errno]
	if !known {
		m = meaning{KindOther, errno.Error()}
	}
	return &PingError{Kind: m.kind, Errno: errno, text: m.text}
}

// icmpKey finds an ICMP error's meaning.
type icmpKey struct {
	v6         bool
	icmp, code uint8
}

// icmpMeanings are ICMP errors by type and code: RFC 792, RFC 1812 section
// 5.2.7 and RFC 4443 section 3.
var icmpMeanings = map[icmpKey]meaning{
	{false, 3, 0}:  {KindNetUnreachable, "net unreachable"},
	{false, 3, 1}:  {KindHostUnreachable, "host unreachable"},
	{false, 3, 2}:  {KindHostUnreachable, "protocol unreachable"},
	{false, 3, 3}:  {KindPortUnreachable, "port unreachable"},
	{false, 3, 4}:  {KindTooBig, "message too big for the path"},
	{false, 3, 5}:  {KindHostUnreachable, "source route failed"},
	{false, 3, 6}:  {KindNetUnreachable, "net unknown"},
	{false, 3, 7}:  {KindHostUnreachable, "host unknown"},
	{false, 3, 9}:  {KindProhibited, "net prohibited"},
	{false, 3, 10}: {KindProhibited, "host prohibited"},
	{false, 3, 11}: {KindNetUnreachable, "net unreachable for this type of service"},
	{false, 3, 12}: {KindHostUnreachable, "host unreachable for this type of service"},
	{false, 3, 13}: {KindProhibited, "prohibited (filtered)"},
	{false, 11, 0}: {KindTTLExceeded, "time to live exceeded"},
	{false, 11, 1}: {KindReassembly, "fragments missing: reassembly time exceeded"},
	{true, 1, 0}:   {KindNetUnreachable, "net unreachable"},
	{true, 1, 1}:   {KindProhibited, "prohibited (filtered)"},
	{true, 1, 2}:   {KindNetUnreachable, "beyond the scope of the source address"},
	{true, 1, 3}:   {KindHostUnreachable, "host unreachable"},
	{true, 1, 4}:   {KindPortUnreachable, "port unreachable"},
	{true, 1, 5}:   {KindProhibited, "prohibited (source address policy)"},
	{true, 1, 6}:   {KindProhibited, "prohibited (reject route)"},
	{true, 2, 0}:   {KindTooBig, "message too big for the path"},
	{true, 3, 0}:   {KindTTLExceeded, "time to live exceeded"},
	{true, 3, 1}:   {KindReassembly, "fragments missing: reassembly time exceeded"},
}

// icmpMeaning is an ICMP error's meaning; every error has one.
func icmpMeaning(v6 bool, icmp, code uint8) meaning {
	if m, known := icmpMeanings[icmpKey{v6, icmp, code}]; known {
		return m
	}
	switch {
	case v6 && icmp == 4, !v6 && icmp == 12:
		return meaning{KindBadPacket, fmt.Sprintf("parameter problem (code %d)", code)}
	case v6 && icmp == 1, !v6 && icmp == 3:
		return meaning{KindHostUnreachable, fmt.Sprintf("unreachable (code %d)", code)}
	}
	return meaning{KindOther, fmt.Sprintf("ICMP error %d code %d", icmp, code)}
}

// icmpError is the error for a request that a queued ICMP error is about.
func icmpError(e *queuedError) *PingError {
	m := icmpMeaning(e.origin == unix.SO_EE_ORIGIN_ICMP6, e.icmpType, e.icmpCode)
	err := &PingError{
		Kind: m.kind, From: e.offender, Errno: e.errno,
		Type: e.icmpType, Code: e.icmpCode, text: m.text,
	}
	if m.kind == KindTooBig {
		err.MTU = int(e.info)
	}
	return err
}
