package probe

import (
	"bufio"
	"context"
	"fmt"
	"io"
	"math"
	"net"
	"net/http"
	"strings"
	"time"

	"golang.org/x/net/http/httpguts"
	"golang.org/x/sys/unix"
)

// maxHeader is how much of an answer's header is read, in bytes, as of net/http.
const maxHeader = 10 << 20

// Plain tells whether nothing is to be written while the answer is read, nor by TLS:
// then the connection needs no goroutines of its own, whose words to each other cost
// more than the request does.
func (q *HTTPRequest) Plain() bool {
	return strings.HasPrefix(q.URL, "http:") && len(q.Body) == 0 && q.Header.Get("Upgrade") == ""
}

// askPlainly writes a request and reads the header of the answer; that of an
// interim one (RFC 9110 section 15.2) is passed over. The connection ends with
// the context until stop is called.
func askPlainly(ctx context.Context, conn net.Conn, request *http.Request) (answer *http.Response, stop func() bool, err error) {
	stop = context.AfterFunc(ctx, func() { _ = conn.SetDeadline(time.Unix(1, 0)) })
	if err := validHeader(request.Header); err != nil {
		return nil, stop, err
	}
	request.Close = true
	if err := request.Write(conn); err != nil {
		return nil, stop, err
	}
	limited := &io.LimitedReader{R: briefReader{conn}, N: maxHeader}
	from := bufio.NewReader(limited)
	for {
		answer, err = http.ReadResponse(from, request)
		if err != nil && limited.N <= 0 {
			err = fmt.Errorf("the header is larger than %d MiB", maxHeader>>20)
		}
		if err != nil || answer.StatusCode >= 200 || answer.StatusCode == http.StatusSwitchingProtocols {
			limited.N = math.MaxInt64
			return answer, stop, err
		}
	}
}

// validHeader is the check that http.Transport makes, and http.Request.Write does not.
func validHeader(h http.Header) error {
	for name, values := range h {
		if !httpguts.ValidHeaderFieldName(name) {
			return fmt.Errorf("net/http: invalid header field name %q", name)
		}
		for _, value := range values {
			if !httpguts.ValidHeaderFieldValue(value) {
				return fmt.Errorf("net/http: invalid header field value for %q", name)
			}
		}
	}
	return nil
}

// briefReader reads from a connection, for which it waits with the thread at first,
// as a ping does: most answers in a lab are there sooner than the runtime's poller
// would have woken another thread for them.
type briefReader struct{ net.Conn }

func (r briefReader) Read(p []byte) (int, error) {
	onSocket(r.Conn, func(fd int) {
		waitBriefly([]unix.PollFd{{Fd: int32(fd), Events: unix.POLLIN}}, time.Now().Add(briefly))
	})
	return r.Conn.Read(p)
}
