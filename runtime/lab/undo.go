package lab

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strconv"

	"golang.org/x/sys/unix"
)

// undo takes one change back.
type undo func(ctx context.Context) error

// onUndo remembers how to take back a change to the machine. A private lab
// remembers nothing: it ends with its process.
func (l *Lab) onUndo(u undo) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.undos = append(l.undos, u)
}

// cannotUndo remembers a change to the machine that nothing can take back.
func (l *Lab) cannotUndo(what string) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.lasting = append(l.lasting, what)
}

// Undo takes back, in reverse order, what this lab changed on the machine. It
// returns what cannot be taken back, in words, and the joined errors of what
// could not. What is gone already needs no undoing.
func (l *Lab) Undo(ctx context.Context) (lasting []string, err error) {
	l.mu.Lock()
	undos := l.undos
	lasting = l.lasting
	l.undos, l.lasting = nil, nil
	l.mu.Unlock()
	late := &[]undo{}
	ctx = context.WithValue(ctx, lateKey{}, late)
	var failed []error
	for _, u := range slices.Backward(undos) {
		failed = append(failed, remaining(u(ctx))...)
	}
	failed = append(failed, retry(ctx, *late)...)
	l.mu.Lock()
	l.undos = nil // undoing is not to be undone
	l.mu.Unlock()
	return lasting, errors.Join(failed...)
}

type lateKey struct{}

// orLate puts off what cannot be done yet to the end of undoing: a route may need
// a link or an address that an earlier change has taken away. Outside of Undo it
// returns the error.
func orLate(ctx context.Context, err error, again undo) error {
	late, ok := ctx.Value(lateKey{}).(*[]undo)
	if !ok || err == nil {
		return err
	}
	*late = append(*late, again)
	return nil
}

// retry does what was put off, as long as it gets on, and returns what still
// fails.
func retry(ctx context.Context, late []undo) (failed []error) {
	ctx = context.WithValue(ctx, lateKey{}, nil)
	for before := len(late) + 1; len(late) < before; {
		before, failed = len(late), nil
		late = slices.DeleteFunc(late, func(u undo) bool {
			err := remaining(u(ctx))
			failed = append(failed, err...)
			return len(err) == 0
		})
	}
	return failed
}

// remaining are the errors, of one that may be several, that do not say that the
// object is gone.
func remaining(err error) (all []error) {
	if several, ok := err.(interface{ Unwrap() []error }); ok {
		for _, e := range several.Unwrap() {
			all = append(all, remaining(e)...)
		}
		return all
	}
	if err != nil && !isGone(err) {
		all = append(all, err)
	}
	return all
}

// claim remembers that this run made an object, so that it may delete it.
func (l *Lab) claim(key string) {
	if !l.options.Host {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimed == nil {
		l.claimed = map[string]bool{}
	}
	l.claimed[key] = true
}

// mayDelete refuses to delete from the machine, without --force, what this run
// did not make.
func (l *Lab) mayDelete(key string, what fmt.Stringer) error {
	if !l.options.Host || l.options.Force {
		return nil
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.claimed[key] {
		return nil
	}
	return Usage("run with --force to delete it all the same", "%s was not made by this run", what)
}

// Keys of what has no handle: what makes each of its kind one in the kernel.

func (k *Link) addrKey(p netip.Prefix) string {
	return fmt.Sprintf("addr %v %d %s", k.ns.id, k.index, p)
}

func (r *Route) key() string {
	metric := r.Metric
	if metric == 0 && r.family() == unix.AF_INET6 {
		metric = 1024 // IP6_RT_PRIO_USER
	}
	table := r.Table
	if table == 0 {
		table = unix.RT_TABLE_MAIN
	}
	return fmt.Sprintf("route %v %s %d %d %d %v", r.NS.id, r.DstString()+strconv.Itoa(r.family()), table, metric, r.TOS, r.From)
}

func (r *Rule) key() string { return fmt.Sprintf("rule %v %d %s", r.NS.id, r.Family, r) }

func (n *Neighbor) key() string {
	return fmt.Sprintf("neigh %v %d %s %v", n.Dev.ns.id, n.Dev.index, n.IP, n.Proxy)
}

// foreignLinks names the machine's links that would end with the namespace:
// those that were moved there. Hardware returns to the first namespace.
func (ns *Namespace) foreignLinks() []string {
	if !ns.lab.options.Host || !ns.made || ns.root {
		return nil
	}
	var names []string
	links, infos, _ := ns.Links()
	for i, k := range links {
		if !k.made && k.index != loopback && infos[i].Kind != "" {
			names = append(names, k.name)
		}
	}
	return names
}
