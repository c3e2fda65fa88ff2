package probe

import (
	"bytes"
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"io"
	"log"
	"net"
	"net/http"
	"net/netip"
	"os"
	"time"
)

// HTTPRequest says what to ask a web server for.
type HTTPRequest struct {
	Dialing
	Method string
	// URL is http or https; Dialing says where its host is.
	URL    string
	Header http.Header
	Body   []byte
	// TLS is for https; nil for the defaults.
	TLS *tls.Config
	// Timeout is for all of it.
	Timeout time.Duration
}

// HTTPResult is what came of an [HTTPRequest].
type HTTPResult struct {
	// Status is 0 without an answer.
	Status int
	Header http.Header
	Body   []byte
	Took   time.Duration
	// Err is why there was no answer, or only a part of one.
	Err error
}

// HTTP asks a web server once: it follows no redirection. What the network and the
// server do is in the result; the error is as that of [Ping].
func HTTP(outer context.Context, enter Enter, q HTTPRequest) (HTTPResult, error) {
	ctx, cancel := context.WithTimeout(outer, q.Timeout)
	defer cancel()
	began := time.Now()
	r, err := q.do(ctx, enter)
	r.Took = time.Since(began)
	if outer.Err() != nil {
		return r, context.Cause(outer)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		silence := &PingError{Kind: KindTimeout, After: q.Timeout}
		silence.explain(enter, q.To.Addr(), 0)
		err = silence
	}
	var known *PingError
	if errors.As(err, &known) && known.vague(q.To.Addr().Is6()) && known.Kind != KindTimeout {
		known.explain(enter, q.To.Addr(), 0)
	}
	r.Err = err
	return r, nil
}

// do asks by a connection of its own.
func (q *HTTPRequest) do(ctx context.Context, enter Enter) (r HTTPResult, err error) {
	request, err := http.NewRequestWithContext(ctx, q.Method, q.URL, bytes.NewReader(q.Body))
	if err != nil {
		return r, err
	}
	if len(q.Body) == 0 {
		request.Body, request.GetBody, request.ContentLength = nil, nil, 0
	}
	request.Header = q.Header
	if host := q.Header.Get("Host"); host != "" {
		request.Host = host
	}
	conn, err := dial(ctx, enter, q.Dialing)
	if err != nil {
		return r, err
	}
	defer conn.Close()
	quiet(conn)
	var answer *http.Response
	if q.Plain() {
		var stop func() bool
		answer, stop, err = askPlainly(ctx, conn, request)
		defer stop()
	} else {
		transport := &http.Transport{
			DialContext:       func(context.Context, string, string) (net.Conn, error) { return conn, nil },
			TLSClientConfig:   q.TLS,
			DisableKeepAlives: true, DisableCompression: true,
		}
		answer, err = transport.RoundTrip(request)
	}
	if err != nil {
		return r, ofConn(conn, err)
	}
	defer answer.Body.Close()
	r.Status, r.Header = answer.StatusCode, answer.Header
	if r.Body, err = io.ReadAll(io.LimitReader(answer.Body, MaxReply+1)); len(r.Body) > MaxReply {
		r.Body, err = r.Body[:MaxReply], fmt.Errorf("the body is larger than %d MiB", MaxReply>>20)
	}
	return r, err
}

// WebRequest is what a client of a web server asked for.
type WebRequest struct {
	Method string
	Path   string
	Query  string
	Host   string
	Header http.Header
	Body   []byte
	Remote netip.AddrPort
}

// WebAnswer is what it gets.
type WebAnswer struct {
	Status int
	Header http.Header
	Body   []byte
}

// ServeHTTP answers requests for a web server's pages, over TLS when there are
// certificates. Bodies of requests are read up to MaxReply.
func ServeHTTP(enter Enter, at netip.AddrPort, certificates *tls.Config, answer func(WebRequest) WebAnswer) (*Server, error) {
	s, l, err := listen(enter, at)
	if err != nil {
		return nil, err
	}
	web := &http.Server{
		ErrorLog:          log.New(io.Discard, "", 0),
		ReadHeaderTimeout: time.Minute,
		ConnContext: func(ctx context.Context, conn net.Conn) context.Context {
			return context.WithValue(ctx, connKey{}, conn)
		},
		Handler: http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
			if !s.begin() {
				return
			}
			defer s.busy.Done()
			respond(w, r, answer)
		}),
	}
	s.listener = web
	if certificates != nil {
		l = tls.NewListener(l, certificates)
	}
	go func() { _ = web.Serve(l) }()
	return s, nil
}

type connKey struct{}

// respond serves one request.
func respond(w http.ResponseWriter, r *http.Request, answer func(WebRequest) WebAnswer) {
	body, err := io.ReadAll(http.MaxBytesReader(w, r.Body, MaxReply))
	if err != nil {
		http.Error(w, err.Error(), http.StatusRequestEntityTooLarge)
		return
	}
	q := WebRequest{Method: r.Method, Path: r.URL.Path, Query: r.URL.RawQuery, Host: r.Host, Header: r.Header, Body: body}
	conn, _ := r.Context().Value(connKey{}).(net.Conn)
	if secure, ok := conn.(*tls.Conn); ok {
		conn = secure.NetConn()
	}
	onSocket(conn, func(fd int) { _, q.Remote = ends(fd) })
	a := answer(q)
	for name, values := range a.Header {
		w.Header()[name] = values
	}
	w.WriteHeader(a.Status)
	_, _ = w.Write(a.Body)
}
