package builtins

import (
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net/http"
	"net/netip"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"time"

	starjson "go.starlark.net/lib/json"
	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
	"nsscript/runtime/probe"
)

// tHeaders is a dict of header fields: a string each, or a list of them.
var tHeaders = &Type{Name: "a dict of strings", Good: `{"Accept": "text/html"}`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	d, ok := v.(*starlark.Dict)
	if !ok {
		return nil, errType
	}
	return headers(d)
}}

func headers(d *starlark.Dict) (http.Header, error) {
	h := http.Header{}
	for _, item := range d.Items() {
		name, ok := starlark.AsString(item[0])
		if !ok || name == "" || strings.ContainsAny(name, " :\r\n\x00") {
			return nil, fmt.Errorf("%s cannot name a header field", item[0])
		}
		values := []starlark.Value{item[1]}
		if list, ok := item[1].(*starlark.List); ok {
			values = slices.Collect(list.Elements())
		}
		for _, v := range values {
			text := word(v)
			if strings.ContainsAny(text, "\r\n\x00") {
				return nil, fmt.Errorf("%s: %s is more than a line", name, v)
			}
			h.Add(name, text)
		}
	}
	return h, nil
}

// headerDict is a header as a dict, whose names are in lower case.
func headerDict(h http.Header) *starlark.Dict {
	d := starlark.NewDict(len(h))
	names := []string{}
	for name := range h {
		names = append(names, name)
	}
	slices.Sort(names)
	for _, name := range names {
		_ = d.SetKey(starlark.String(strings.ToLower(name)), starlark.String(strings.Join(h[name], ", "))) // a string has a hash
	}
	return d
}

// tMethod is a method of HTTP (RFC 9110 section 9.1).
var tMethod = &Type{Name: "a method of HTTP", Good: `"GET"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	if s == "" || strings.Trim(s, "ABCDEFGHIJKLMNOPQRSTUVWXYZ-") != "" {
		return nil, fmt.Errorf("%q is no method", s)
	}
	return s, nil
}}

var tURL = &Type{Name: "a URL", Good: `"http://10.1.1.1/"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	u, err := url.Parse(s)
	if err != nil {
		return nil, err
	}
	if u.Scheme != "http" && u.Scheme != "https" || u.Hostname() == "" {
		return nil, fmt.Errorf("%q is no http or https URL", s)
	}
	return u, nil
}}

func httpSpecs() []*Spec {
	return []*Spec{
		{
			Name: "http", Family: familyProbes, Returns: "http: ok status headers body seconds error json()", Like: "curl -i -X METHOD URL",
			Doc: "Asks a web server once; no program is needed and no redirection followed. The URL's host is an address, a namespace's name, or one that dns() finds. " +
				"https checks the server's certificate against the throwaway authority of http_server(tls=True), or ca= (PEM); verify=False does not check. " +
				"ok says that the status is below 400; headers is a dict with names in lower case; json() decodes the body. " +
				"That nobody answers is a result (ok is False, status None, error says why) and not an error.",
			Params: []Param{
				required("ns", tNetnsRef, "who asks"), required("method", tMethod, "\"GET\", \"POST\" …"), required("url", tURL, "what for"),
				keyword("headers", tHeaders, "", "header fields"), keyword("body", tText, "", "what to send"),
				keyword("timeout", tDuration, "\"5s\"", "for all of it"), keyword("src", tAddress, "", "the source address"), keyword("sport", tPort, "", "the source port"),
				keyword("verify", tBool, "True", "check the server's certificate"), keyword("ca", tText, "the lab's own", "certificates (PEM) to check it against"),
			},
			Example: "a, b = netns(\"a\"), netns(\"b\")\nveth(ns=a, peer_ns=b, addr=\"10.0.0.1/24\", peer_addr=\"10.0.0.2/24\", up=True)\n" +
				"http_server(b, 80, {\"/hello\": \"hello\", \"/who\": lambda r: json.encode({\"you\": r.remote})})\n" +
				"expect.eq(http(a, \"GET\", \"http://10.0.0.2/hello\").body, \"hello\")\nexpect.eq(http(a, \"GET\", \"http://b/who\", sport=5000).json(), {\"you\": \"10.0.0.1:5000\"})\n" +
				"expect.eq(http(a, \"GET\", \"http://b/none\").status, 404)",
			Fn: func(c *Call) (starlark.Value, error) {
				q, err := c.webRequest()
				if lab.IsUnknownHost(err) {
					return c.Env.answered(q, probe.HTTPResult{Err: err}), nil
				}
				if err != nil {
					return nil, err
				}
				r, err := get[*lab.Namespace](c, "ns", nil).HTTP(c.Ctx, q)
				if err != nil {
					return nil, err
				}
				return c.Env.answered(q, r), nil
			},
		},
		{
			Name: "http_server", Family: familyProbes, Returns: "http_server: ns addr port running requests ca stop()", Like: "python3 -m http.server PORT",
			Doc: "Answers web requests until the lab ends, beside the script. routes is a dict of paths, one that ends in \"/\" standing for all below it, too, or one function for all. " +
				"A route is text or bytes, (status, text), (status, text, headers), or a function that gets a request (method path query host headers body remote) and returns one of these; " +
				"remote is \"address:port\", as the server sees it. A path without a route is answered with 404; a function that fails with 500, and it counts as a failed check. " +
				"With tls=True it has certificates of a throwaway authority for every name and address, whose own certificate is ca (PEM). requests are the last thousand.",
			Params: serverParams(optional("routes", tRoutes, "{}", "what to answer for which path"), keyword("tls", tBool, "False", "by https"),
				keyword("addr", tAddress, "", "one address to listen at; all, of both families, without")),
			Example: "blue = netns(\"blue\")\nup(blue[\"lo\"])\ns = http_server(blue, 443, {\"/\": (201, \"made\")}, tls=True)\n" +
				"r = http(blue, \"POST\", \"https://127.0.0.1/x\", body=\"y\")\nexpect.eq((r.status, r.body, s.requests[0].body), (201, \"made\", \"y\"))\n" +
				"expect.contains(http(blue, \"GET\", \"https://[::1]/\", ca=\"\").error, \"certificate\")",
			Fn: func(c *Call) (starlark.Value, error) {
				s, secure := c.newServer(), get(c, "tls", false)
				at, err := c.listening()
				if err != nil {
					return nil, err
				}
				pem := starlark.Value(starlark.None)
				s.extra = []liveField{{"ca", func() starlark.Value { return pem }}}
				if secure {
					ca, err := c.Env.Lab.CA()
					if err != nil {
						return nil, err
					}
					pem = starlark.String(ca.PEM)
				}
				s.server, err = s.ns.ServeHTTP(c.Ctx, at, secure, s.web(get[starlark.Value](c, "routes", nil)))
				return s, err
			},
		},
	}
}

// webRequest is what http() is asked to ask.
func (c *Call) webRequest() (q probe.HTTPRequest, err error) {
	u := get[*url.URL](c, "url", nil)
	q = probe.HTTPRequest{Method: get(c, "method", ""), URL: u.String(), Header: get(c, "headers", http.Header{}),
		Body: []byte(get(c, "body", "")), Timeout: get(c, "timeout", 5*time.Second)}
	port := map[string]int{"http": 80, "https": 443}[u.Scheme]
	if u.Port() != "" {
		if port, err = strconv.Atoi(u.Port()); err != nil || port < 1 || port > 65535 {
			return q, lab.Usage("", "http: url: %s is no port", u.Port())
		}
	}
	at, err := toHost(c, u.Hostname())
	if err != nil {
		return q, fmt.Errorf("http: url: %w", err)
	}
	host, err := c.destination(at.(Address), get[*lab.Namespace](c, "ns", nil), 0)
	if err != nil {
		return q, err
	}
	q.To, q.Timeout = netip.AddrPortFrom(host, uint16(port)), c.remaining(q.Timeout)
	if q.From, err = c.source(host); err != nil {
		return q, err
	}
	switch {
	case !get(c, "verify", true):
		q.TLS = &tls.Config{InsecureSkipVerify: true}
	case c.Given("ca"):
		pool := x509.NewCertPool()
		if pem := get(c, "ca", ""); !pool.AppendCertsFromPEM([]byte(pem)) && pem != "" {
			return q, lab.Usage("", "http: ca: there is no certificate in it")
		}
		q.TLS = &tls.Config{RootCAs: pool}
	}
	return q, nil
}

// answered is the result as a value.
func (env *Env) answered(q probe.HTTPRequest, r probe.HTTPResult) *Record {
	ok := r.Err == nil && r.Status < 400
	reason, text := starlark.Value(starlark.None), fmt.Sprintf("%s %s: %d, %d bytes in %.3f ms", q.Method, q.URL, r.Status, len(r.Body), r.Took.Seconds()*1000)
	if r.Err != nil {
		reason, text = starlark.String(r.Err.Error()), fmt.Sprintf("%s %s: %v", q.Method, q.URL, r.Err)
	}
	decode := starlark.NewBuiltin("http.json", func(t *starlark.Thread, b *starlark.Builtin, args starlark.Tuple, kwargs []starlark.Tuple) (starlark.Value, error) {
		if err := starlark.UnpackArgs(b.Name(), args, kwargs); err != nil {
			return nil, err
		}
		return starlark.Call(t, starjson.Module.Members["decode"], starlark.Tuple{starlark.String(r.Body)}, nil)
	})
	rec := record("http", text, nil, field{"ok", starlark.Bool(ok)}, field{"status", number(r.Status)}, field{"headers", headerDict(r.Header)},
		field{"body", starlark.String(r.Body)}, field{"seconds", seconds(r.Took)}, field{"error", reason}, field{"json", decode})
	rec.truth = ok
	return rec
}

// tRoutes is what a web server has.
var tRoutes = &Type{Name: "a dict of paths, or a function", Good: `{"/": "hello"}`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.Callable:
		return v, nil
	case *starlark.Dict:
		for _, item := range v.Items() {
			path, ok := starlark.AsString(item[0])
			if !ok || !strings.HasPrefix(path, "/") {
				return nil, fmt.Errorf("%s is no path, which begins with /", item[0])
			}
			if _, function := item[1].(starlark.Callable); function {
				continue
			}
			if _, err := webAnswer(item[1]); err != nil {
				return nil, fmt.Errorf("%s: %w", path, err)
			}
		}
		return v, nil
	}
	return nil, errType
}}

// webAnswer is a route that is no function, or what a function returned.
func webAnswer(v starlark.Value) (probe.WebAnswer, error) {
	a := probe.WebAnswer{Status: http.StatusOK, Header: http.Header{}}
	if parts, ok := v.(starlark.Tuple); ok {
		if len(parts) != 2 && len(parts) != 3 {
			return a, fmt.Errorf("%s is not (status, text) or (status, text, headers)", v)
		}
		status, ok := parts[0].(starlark.Int)
		n, small := status.Int64()
		if !ok || !small || n < 200 || n > 599 {
			return a, fmt.Errorf("%s is no status of HTTP: those of answers are from 200 to 599", parts[0])
		}
		a.Status, v = int(n), parts[1]
		if len(parts) == 3 {
			fields, ok := parts[2].(*starlark.Dict)
			if !ok {
				return a, fmt.Errorf("headers are a dict, not %s", describe(parts[2]))
			}
			var err error
			if a.Header, err = headers(fields); err != nil {
				return a, err
			}
		}
	}
	switch v := v.(type) {
	case starlark.String:
		a.Body = []byte(v)
	case starlark.Bytes:
		a.Body = []byte(v)
	default:
		return a, fmt.Errorf("got %s, want text, bytes, or (status, text)", describe(v))
	}
	return a, nil
}

// web is what a web server does.
func (s *Server) web(routes starlark.Value) func(probe.WebRequest) probe.WebAnswer {
	return func(q probe.WebRequest) probe.WebAnswer {
		request := record("request", fmt.Sprintf("%s %s from %s", q.Method, q.Path, q.Remote), nil,
			field{"method", starlark.String(q.Method)}, field{"path", starlark.String(q.Path)}, field{"query", starlark.String(q.Query)},
			field{"host", starlark.String(q.Host)}, field{"headers", headerDict(q.Header)}, field{"body", starlark.String(q.Body)},
			field{"remote", starlark.String(q.Remote.String())})
		s.note(request)
		v := s.route(routes, q.Path)
		if v == nil {
			return probe.WebAnswer{Status: http.StatusNotFound, Body: []byte("no route for " + q.Path + "\n")}
		}
		if fn, ok := v.(starlark.Callable); ok {
			if v, ok = s.call(fn, request); !ok {
				return probe.WebAnswer{Status: http.StatusInternalServerError, Body: []byte("the script's function failed\n")}
			}
		}
		s.env.Lock()
		defer s.env.Unlock()
		a, err := webAnswer(v)
		if err != nil {
			s.failed(lab.Usage("", "it returned something else: %v", err))
			return probe.WebAnswer{Status: http.StatusInternalServerError, Body: []byte(err.Error() + "\n")}
		}
		return a
	}
}

// route finds what a path leads to: the path itself, or the longest one that is
// above it; nil for nothing.
func (s *Server) route(routes starlark.Value, path string) starlark.Value {
	d, ok := routes.(*starlark.Dict)
	if !ok {
		return routes
	}
	s.env.Lock() // the script may change the dict
	defer s.env.Unlock()
	var found starlark.Value
	longest := -1
	for _, item := range d.Items() {
		p := string(item[0].(starlark.String))
		if p == path {
			return item[1]
		}
		if strings.HasSuffix(p, "/") && strings.HasPrefix(path, p) && len(p) > longest {
			found, longest = item[1], len(p)
		}
	}
	return found
}
