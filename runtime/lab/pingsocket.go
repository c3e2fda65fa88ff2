package lab

import (
	"slices"

	"nsscript/runtime/probe"
)

// pingSockets are the sockets of the latest pings, the last one at the end: the
// next ping from the same namespace is spared to open one.
type pingSockets []*pingSocket

type pingSocket struct {
	probe.Socket
	ns   *Namespace
	v6   bool
	busy bool
}

// maxPingSockets bounds how many descriptors that takes.
const maxPingSockets = 8

// take returns the socket for a ping, which give takes back; nil where there is to
// be none, and while another ping has it.
func (p *pingSockets) take(ns *Namespace, v6 bool) *pingSocket {
	if !ns.keepsSocket() {
		return nil
	}
	i := slices.IndexFunc(*p, func(s *pingSocket) bool { return s.ns == ns && s.v6 == v6 })
	if i < 0 {
		i = len(*p)
		*p = append(*p, &pingSocket{ns: ns, v6: v6})
	}
	s := (*p)[i]
	if s.busy {
		return nil
	}
	s.busy = true
	*p = append(slices.Delete(*p, i, i+1), s)
	return s
}

// give takes a socket back.
func (p *pingSockets) give(s *pingSocket) {
	s.busy = false
	if !s.Open() || !s.ns.keepsSocket() {
		p.close(func(other *pingSocket) bool { return other == s })
	}
	if len(*p) > maxPingSockets {
		over := len(*p) - maxPingSockets
		p.close(func(*pingSocket) bool { over--; return over >= 0 })
	}
}

// keepsSocket tells whether nobody can notice that a socket stays open: no program
// that could list it runs, and it does not put off the end of the namespace.
func (ns *Namespace) keepsSocket() bool {
	l := ns.lab
	return !l.options.Host && l.programs == 0 && len(l.procs) == 0 && ns.gone == "" && ns.conn.reopen == nil
}

// close closes sockets that no ping has; those that one has end with it.
func (p *pingSockets) close(which func(*pingSocket) bool) {
	*p = slices.DeleteFunc(*p, func(s *pingSocket) bool {
		if s.busy || !which(s) {
			return false
		}
		s.Close()
		return true
	})
}

// closePingSockets closes all, before somebody sees them.
func (l *Lab) closePingSockets() { l.pings.close(func(*pingSocket) bool { return true }) }
