package builtins

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"sync"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/event"
	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// Server is a server of the lab. It is live.
type Server struct {
	kind   string
	ns     *lab.Namespace
	server *probe.Server
	env    *Env
	extra  []liveField // what a kind of server has beside

	pos event.Pos // where the script started it
	via []event.Pos

	mu       sync.Mutex
	requests []starlark.Value // the last ones
}

// liveField is a name and what asks for its value.
type liveField struct {
	name  string
	value func() starlark.Value
}

// mostRequests is how many requests a server remembers.
const mostRequests = 1000

func (s *Server) String() string {
	return fmt.Sprintf("%s %s in %s", s.kind, s.server.Addr, s.ns)
}

// Type is what type() says.
func (s *Server) Type() string { return s.kind }

// Freeze does nothing.
func (s *Server) Freeze() {}

// Truth is True.
func (s *Server) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (s *Server) Hash() (uint32, error) { return hashPointer(s) }

// CompareSameType: one server, one value.
func (s *Server) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, s == y.(*Server), s.kind)
}

// AttrNames lists the attributes.
func (s *Server) AttrNames() []string {
	names := []string{"ns", "addr", "port", "running", "requests", "stop"}
	for _, f := range s.extra {
		names = append(names, f.name)
	}
	return names
}

// Attr asks the server.
func (s *Server) Attr(name string) (starlark.Value, error) {
	switch name {
	case "ns":
		return s.env.namespace(s.ns), nil
	case "addr":
		if s.server.Addr.Addr().IsUnspecified() {
			return starlark.None, nil
		}
		return addrText(s.server.Addr.Addr()), nil
	case "port":
		return starlark.MakeInt(int(s.server.Addr.Port())), nil
	case "running":
		return starlark.Bool(s.server.Running()), nil
	case "requests":
		s.mu.Lock()
		defer s.mu.Unlock()
		return starlark.NewList(append([]starlark.Value{}, s.requests...)), nil
	case "stop":
		return serverStop.bound(s), nil
	}
	for _, f := range s.extra {
		if f.name == name {
			return f.value(), nil
		}
	}
	return nil, nil
}

// MarshalJSON is the server with its attributes.
func (s *Server) MarshalJSON() ([]byte, error) { return marshalLive(s) }

type serverMethod struct{ Spec }

var serverStop = serverMethod{Spec{Name: "server.stop", Doc: "Ends the server: its port is free when this returns."}}

func (m *serverMethod) bound(s *Server) starlark.Value {
	own := m.Spec
	own.Fn = func(c *Call) (starlark.Value, error) {
		return nil, c.Env.Lab.StopServer(c.Ctx, s.server)
	}
	return own.builtin(s.env)
}

// newServer is a server that has not begun.
func (c *Call) newServer() *Server {
	s := &Server{kind: c.spec.Name, ns: get[*lab.Namespace](c, "ns", nil), env: c.Env}
	s.pos, s.via = c.outermost()
	return s
}

// serverParams are what servers share.
func serverParams(more ...Param) []Param {
	return append([]Param{required("ns", tNetnsRef, "where"), required("port", intType("a port", "8080", 0, 65535), "which; 0 for any that is free")}, more...)
}

// listening is where a server listens: at all addresses of both families, or at one.
func (c *Call) listening() (netip.AddrPort, error) {
	ip, err := c.only("addr", netip.Addr{})
	return netip.AddrPortFrom(ip, uint16(get(c, "port", 0))), err
}

// note remembers a request.
func (s *Server) note(r starlark.Value) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.requests = append(s.requests, r)
	if len(s.requests) > mostRequests {
		s.requests = s.requests[1:]
	}
}

// call calls a function of the script; ok is false when it failed, or the run is
// over. A failure is reported as a failed check of the line that made the server.
func (s *Server) call(fn starlark.Callable, arg starlark.Value) (v starlark.Value, ok bool) {
	env := s.env
	env.Lock()
	defer env.Unlock()
	if env.Ctx.Err() != nil {
		return nil, false
	}
	t := env.NewThread(s.kind)
	defer context.AfterFunc(env.Ctx, func() { t.Cancel("interrupted") })()
	v, err := starlark.Call(t, fn, starlark.Tuple{arg}, nil)
	if err == nil {
		return v, true
	}
	s.failed(err)
	return nil, false
}

// failed reports an error of a function of the script; the interpreter is locked.
func (s *Server) failed(err error) {
	var stop *Stop
	if s.env.Ctx.Err() != nil || errors.As(err, &stop) { // which was reported
		return
	}
	f := CheckFailure{Check: s.kind, Text: "its function failed: " + cause(err).Error(), Pos: s.pos, Via: s.via}
	var ev *starlark.EvalError
	if errors.As(err, &ev) {
		for _, frame := range ev.CallStack {
			if frame.Pos.Line > 0 {
				f.Via = append(f.Via, event.Pos{File: frame.Pos.Filename(), Line: int(frame.Pos.Line), Col: int(frame.Pos.Col)})
			}
		}
	}
	s.env.report(f)
}

// words is what a function of the script answers: text, bytes, or None.
func (s *Server) words(v starlark.Value) []byte {
	switch v := v.(type) {
	case nil, starlark.NoneType:
		return nil
	case starlark.String:
		return append([]byte{}, v...)
	case starlark.Bytes:
		return append([]byte{}, v...)
	}
	s.env.Lock()
	defer s.env.Unlock()
	s.failed(lab.Usage("", "it returned %s, want a string, bytes or None", describe(v)))
	return nil
}

// requested is a request as a value.
func requested(r probe.Request) *Record {
	return record("request", fmt.Sprintf("%q from %s", r.Data, r.Remote), nil,
		field{"data", starlark.String(r.Data)}, field{"remote", starlark.String(r.Remote.String())})
}

// tReply is what a server answers.
var tReply = &Type{Name: "a string, bytes, or a function of the request", Good: `"hello\n"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v.(type) {
	case starlark.String, starlark.Bytes, starlark.Callable:
		return v, nil
	}
	return nil, errType
}}

func serverSpecs() []*Spec {
	addr := keyword("addr", tAddress, "", "one address to listen at; all, of both families, without")
	const returns = ": ns addr port running requests stop()"
	return []*Spec{
		{
			Name: "tcp_server", Family: familyProbes, Returns: "tcp_server" + returns, Like: "socat TCP-LISTEN:PORT,fork …",
			Doc: "Answers TCP connections until the lab ends, beside the script. Text is said to each client, whose connection is then closed; a function gets, for each piece " +
				"of data that comes, a request with data and remote (\"address:port\", as the server sees it) and returns what to answer, or None; without reply= all is echoed (RFC 862). " +
				"A connection is closed when the client closes it. requests are the last thousand. A function that fails counts as a failed check.",
			Params: serverParams(optional("reply", tReply, "", "text, or a function of the request"), addr),
			Example: "blue = netns(\"blue\")\nup(blue[\"lo\"])\ndef shout(r):\n    return r.data.upper()\ns = tcp_server(blue, 7, shout)\n" +
				"expect.eq(tcp(blue, \"127.0.0.1:7\", send=\"hello\").reply, \"HELLO\")\nexpect.eq(tcp(blue, \"[::1]:7\", send=\"hi\").reply, \"HI\")\n" +
				"expect.eq([r.data for r in s.requests], [\"hello\", \"hi\"])\nexpect.matches(s.requests[0].remote, \"^127.0.0.1:\")",
			Fn: func(c *Call) (starlark.Value, error) {
				s, reply := c.newServer(), get[starlark.Value](c, "reply", nil)
				at, err := c.listening()
				if err != nil {
					return nil, err
				}
				s.server, err = s.ns.ServeTCP(c.Ctx, at, s.talk(reply))
				return s, err
			},
		},
		{
			Name: "udp_server", Family: familyProbes, Returns: "udp_server" + returns, Like: "socat UDP-RECVFROM:PORT,fork …",
			Doc: "Answers datagrams until the lab ends, beside the script, from the address that they were sent to. Text is the answer to each; a function gets a request with data and remote " +
				"(\"address:port\", as the server sees it) and returns what to answer, or None for no answer; without reply= each is echoed (RFC 862). " +
				"requests are the last thousand. A function that fails counts as a failed check.",
			Params: serverParams(optional("reply", tReply, "", "text, or a function of the request"), addr),
			Example: "blue = netns(\"blue\")\nup(blue[\"lo\"])\ns = udp_server(blue, 7, lambda r: r.remote)\n" +
				"expect.eq(udp(blue, \"127.0.0.1:7\", sport=5000).reply, \"127.0.0.1:5000\")\nexpect.eq(s.requests[0].data, \"\")\ns.stop()\nexpect.eq(s.running, False)",
			Fn: func(c *Call) (starlark.Value, error) {
				s, reply := c.newServer(), get[starlark.Value](c, "reply", nil)
				at, err := c.listening()
				if err != nil {
					return nil, err
				}
				s.server, err = s.ns.ServeUDP(c.Ctx, at, s.answer(reply))
				return s, err
			},
		},
	}
}

// talk is what a TCP server does.
func (s *Server) talk(reply starlark.Value) probe.Talk {
	answer := s.answer(reply)
	_, function := reply.(starlark.Callable)
	greets := reply != nil && !function
	return func(r probe.Request) ([]byte, bool) {
		if r.Data == nil && !greets {
			return nil, false
		}
		return answer(r), greets
	}
}

// answer is what a server says to a request.
func (s *Server) answer(reply starlark.Value) func(probe.Request) []byte {
	return func(r probe.Request) []byte {
		request := requested(r)
		s.note(request)
		switch reply := reply.(type) {
		case nil:
			return append([]byte{}, r.Data...)
		case starlark.Callable:
			v, _ := s.call(reply, request)
			return s.words(v)
		}
		return s.words(reply)
	}
}
