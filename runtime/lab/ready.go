package lab

import (
	"context"
	"errors"
	"fmt"
	"os"
	"regexp"
	"strconv"
	"strings"
	"time"

	"nsscript/runtime/process"
)

// Ready says when a program that was started is of use: one of Port, Line and
// Test is set.
type Ready struct {
	// Port is one that a socket of the namespace listens on, TCP or UDP.
	Port int
	// Line matches in what the program has printed on either stream.
	// ^ and $ are those of a line when it begins with (?m).
	Line *regexp.Regexp
	// Test tells, with what it found if not. It may wait; ctx ends when there is
	// no use in an answer any more.
	Test func(ctx context.Context, p *process.Process) (ok bool, found string, err error)
	// Timeout is how long the program has.
	Timeout time.Duration
}

// String says what is waited for.
func (r *Ready) String() string {
	switch {
	case r.Port != 0:
		return "port " + strconv.Itoa(r.Port)
	case r.Line != nil:
		return "its output matches " + r.pattern()
	}
	return "the script's function says so"
}

// pattern is Line as people write it.
func (r *Ready) pattern() string { return strings.TrimPrefix(r.Line.String(), "(?m)") }

// errEnded is why a wait for a program ends with the program.
var errEnded = errors.New("ended before it was ready")

// await waits until the program is ready; the program is still there when the
// error says that it is not, or that the wait was broken off.
func (ns *Namespace) await(outer context.Context, p *process.Process, ready *Ready) error {
	ctx, cancel := context.WithCancelCause(outer)
	defer cancel(nil)
	ctx, stop := context.WithTimeoutCause(ctx, ready.Timeout, Timeout(ready.Timeout))
	defer stop()
	go func() {
		select {
		case <-p.Done():
			cancel(errEnded)
		case <-ctx.Done():
		}
	}()
	test, found := ready.test(ns), "its function has not returned"
	for pause := time.Millisecond; ; pause = min(2*pause, 50*time.Millisecond) {
		ok, missing, err := test(ctx, p)
		switch {
		case err != nil && ctx.Err() == nil:
			return err
		case err == nil && ok:
			return nil
		case err == nil:
			found = missing
		}
		if ctx.Err() != nil || !sleep(ctx, pause) {
			break
		}
	}
	if outer.Err() != nil {
		return context.Cause(outer)
	}
	return ns.notReadyError(context.Cause(ctx), p, ready, found)
}

// notReadyError is the error of a program that did not get ready.
func (ns *Namespace) notReadyError(cause error, p *process.Process, ready *Ready, found string) error {
	what := quoted(p.Argv) + where(ns)
	if !errors.Is(cause, errEnded) {
		return &Error{Kind: KindTimeout, Op: fmt.Sprintf("%s is not ready after %v: %s%s", what, ready.Timeout, found, LastLines(p.Output())),
			Hint: "timeout= gives it longer"}
	}
	code, _ := p.Code()
	e := &Error{Kind: KindCommand, Op: fmt.Sprintf("%s %v: exit status %d%s", what, errEnded, code, LastLines(p.Output()))}
	if code == 0 {
		e.Hint = "spawn() is for a program that stays in the foreground; one that goes to the background by itself is for exec_in()"
	} else {
		e.Hint = ExitHint(p.Output())
	}
	return e
}

// test is what tells whether the program is ready.
func (r *Ready) test(ns *Namespace) func(context.Context, *process.Process) (bool, string, error) {
	switch {
	case r.Port != 0:
		return func(context.Context, *process.Process) (bool, string, error) {
			by, err := ns.listens(r.Port)
			return by != "", fmt.Sprintf("nothing listens on port %d", r.Port), err
		}
	case r.Line != nil:
		seen := int64(-1)
		return func(_ context.Context, p *process.Process) (bool, string, error) {
			found := fmt.Sprintf("its output does not match %q", r.pattern())
			printed := p.Printed()
			if printed == seen {
				return false, found, nil
			}
			seen = printed
			return r.Line.MatchString(strings.ReplaceAll(p.Output(), "\r\n", "\n")), found, nil
		}
	}
	return r.Test
}

// listens tells by which protocol a socket of the namespace listens on a port:
// a TCP socket in that state, or a UDP socket that is bound and not connected.
// Looking (proc_pid_net(5)) disturbs no server, as connecting to it would.
func (ns *Namespace) listens(port int) (protocol string, err error) {
	err = ns.do(func() error {
		for _, p := range []struct{ file, name, state string }{
			{"tcp", "TCP", "0A"}, {"tcp6", "TCP", "0A"}, {"udp", "UDP", "07"}, {"udp6", "UDP", "07"},
		} {
			table, err := os.ReadFile("/proc/thread-self/net/" + p.file)
			if err != nil && !errors.Is(err, os.ErrNotExist) { // a kernel without IPv6
				return err
			}
			if hasSocket(string(table), port, p.state) {
				protocol = p.name
				return nil
			}
		}
		return nil
	})
	if err != nil {
		return "", kernelError(err, "", "list sockets%s", where(ns))
	}
	return protocol, nil
}

// hasSocket looks through a table of /proc/net for a socket at a local port.
func hasSocket(table string, port int, state string) bool {
	suffix := fmt.Sprintf(":%04X", port)
	for line := range strings.Lines(table) {
		f := strings.Fields(line)
		if len(f) > 3 && strings.HasSuffix(f[1], suffix) && f[3] == state {
			return true
		}
	}
	return false
}

// taken says that a program cannot be waited for by a port.
func taken(ns *Namespace, port int, by string, err error) error {
	if err != nil {
		return err
	}
	return Usage("is the program running already? ready= can be a regular expression for what it prints, too",
		"a %s socket listens on port %d%s already", by, port, where(ns))
}
