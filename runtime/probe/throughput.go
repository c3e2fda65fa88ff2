package probe

import (
	"context"
	"encoding/binary"
	"errors"
	"net"
	"net/netip"
	"os"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"
)

// ThroughputRequest says how to measure what goes through between two namespaces.
type ThroughputRequest struct {
	// To is an address of the server; the port is chosen.
	To netip.Addr
	// UDP sends datagrams at Rate instead of a stream as fast as it goes.
	UDP bool
	// For is how long to send.
	For time.Duration
	// Streams is how many connections at once.
	Streams int
	// Rate limits all streams together, in bits per second; 0 for no limit, which
	// UDP does not have.
	Rate float64
}

// ThroughputResult is what came of it.
type ThroughputResult struct {
	// Bytes of payload came in the time that Took says.
	Bytes int64
	Took  time.Duration
	// Retransmits counts segments that TCP sent again (tcpi_total_retrans).
	Retransmits int
	// Loss is the share of datagrams that did not come, from 0 to 1, and Jitter
	// the smoothed difference of their transit times (RFC 3550 section 6.4.1); UDP.
	Loss   float64
	Jitter time.Duration
	// Err is why nothing could be sent.
	Err *PingError
}

// BitsPerSecond is the rate at which payload came.
func (r ThroughputResult) BitsPerSecond() float64 {
	if r.Took <= 0 {
		return 0
	}
	return float64(r.Bytes) * 8 / r.Took.Seconds()
}

// settingUp is how long the connections may take.
const settingUp = 5 * time.Second

// Throughput measures what goes through from one namespace to another. That there is
// no connection is in the result; the error is as that of [Ping].
func Throughput(ctx context.Context, client, server Enter, q ThroughputRequest) (ThroughputResult, error) {
	measure := measureTCP
	if q.UDP {
		measure = measureUDP
	}
	r, err := measure(ctx, client, server, q)
	if ctx.Err() != nil {
		return r, context.Cause(ctx)
	}
	if errors.Is(err, context.DeadlineExceeded) || errors.Is(err, os.ErrDeadlineExceeded) {
		err = &PingError{Kind: KindTimeout, After: settingUp}
	}
	if errors.As(err, &r.Err) {
		if r.Err.vague(q.To.Is6()) {
			r.Err.explain(client, q.To, 0)
		}
		return r, nil
	}
	return r, err
}

// pipe is one connection, both of its ends.
type pipe struct {
	sends, receives net.Conn
	received        atomic.Int64
}

func closeStreams(streams []*pipe) {
	for _, s := range streams {
		for _, end := range []net.Conn{s.sends, s.receives} {
			if end != nil {
				_ = end.Close()
			}
		}
	}
}

// connectStreams makes the connections of a TCP measurement.
func connectStreams(ctx context.Context, client, server Enter, q ThroughputRequest) (streams []*pipe, err error) {
	s, l, err := listen(server, netip.AddrPortFrom(q.To, 0))
	if err != nil {
		return nil, err
	}
	defer s.Stop()
	ctx, cancel := context.WithTimeout(ctx, settingUp)
	defer cancel()
	defer context.AfterFunc(ctx, s.Stop)()
	for range q.Streams {
		x := &pipe{}
		streams = append(streams, x)
		if x.sends, err = dial(ctx, client, Dialing{To: s.Addr}); err != nil {
			return streams, err
		}
		quiet(x.sends)
		if x.receives, err = l.Accept(); err != nil {
			return streams, err
		}
	}
	return streams, nil
}

func measureTCP(ctx context.Context, client, server Enter, q ThroughputRequest) (r ThroughputResult, err error) {
	streams, err := connectStreams(ctx, client, server, q)
	defer func() { closeStreams(streams) }()
	if err != nil {
		return r, err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var busy sync.WaitGroup
	for _, s := range streams {
		s := s
		if q.Rate > 0 {
			onSocket(s.sends, func(fd int) {
				_ = unix.SetsockoptUint64(fd, unix.SOL_SOCKET, unix.SO_MAX_PACING_RATE, uint64(q.Rate/8/float64(q.Streams)))
			})
		}
		busy.Go(func() { pour(s.sends) })
		busy.Go(func() { s.drain() })
	}
	began := time.Now()
	select {
	case <-time.After(q.For):
	case <-ctx.Done():
	}
	r.Took = time.Since(began)
	for _, s := range streams {
		r.Bytes += s.received.Load()
		onSocket(s.sends, func(fd int) {
			if info, err := unix.GetsockoptTCPInfo(fd, unix.IPPROTO_TCP, unix.TCP_INFO); err == nil {
				r.Retransmits += int(info.Total_retrans)
			}
		})
		_ = s.sends.(*net.TCPConn).SetLinger(0) // what is under way is of no use any more
	}
	closeStreams(streams)
	busy.Wait()
	return r, nil
}

// chunk is how much a stream reads and writes at once.
const chunk = 256 << 10

// pour writes until the connection is closed.
func pour(conn net.Conn) {
	data := make([]byte, chunk)
	for {
		if _, err := conn.Write(data); err != nil {
			return
		}
	}
}

// drain reads and counts until the connection is closed.
func (s *pipe) drain() {
	data := make([]byte, chunk)
	for {
		n, err := s.receives.Read(data)
		s.received.Add(int64(n))
		if err != nil {
			return
		}
	}
}

// datagram is the payload in bytes: one that a path of 1500 has room for, and most
// tunnels.
const datagram = 1400

// flow is one stream of datagrams.
type flow struct {
	sent, received, bytes int64
	jitter                float64 // nanoseconds
	err                   error
}

// straggling is how long datagrams that were sent last may take.
const straggling = 500 * time.Millisecond

func measureUDP(ctx context.Context, client, server Enter, q ThroughputRequest) (r ThroughputResult, err error) {
	flows := make([]*flow, q.Streams)
	var busy sync.WaitGroup
	began := time.Now()
	for i := range flows {
		flows[i] = &flow{}
		busy.Go(func() { flows[i].err = flows[i].run(ctx, client, server, q) })
	}
	busy.Wait()
	r.Took = min(time.Since(began), q.For)
	var sent, received int64
	for _, f := range flows {
		if f.err != nil {
			return r, f.err
		}
		sent, received, r.Bytes = sent+f.sent, received+f.received, r.Bytes+f.bytes
		r.Jitter = max(r.Jitter, time.Duration(f.jitter))
	}
	if sent > 0 {
		r.Loss = float64(max(sent-received, 0)) / float64(sent)
	}
	return r, nil
}

// run sends and receives one stream.
func (f *flow) run(ctx context.Context, client, server Enter, q ThroughputRequest) error {
	file, addr, err := bound(server, unix.SOCK_DGRAM, netip.AddrPortFrom(q.To, 0))
	if err != nil {
		return err
	}
	defer file.Close()
	onSocket(file, func(fd int) {
		if unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUFFORCE, 4<<20) != nil {
			_ = unix.SetsockoptInt(fd, unix.SOL_SOCKET, unix.SO_RCVBUF, 4<<20)
		}
	})
	receives, err := net.FilePacketConn(file)
	if err != nil {
		return err
	}
	defer receives.Close()
	sends, err := dial(ctx, client, Dialing{To: addr, UDP: true})
	if err != nil {
		return err
	}
	defer sends.Close()
	defer context.AfterFunc(ctx, func() { _ = receives.SetReadDeadline(time.Unix(1, 0)) })()
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.receive(receives)
	}()
	err = f.send(ctx, sends, q)
	_ = receives.SetReadDeadline(time.Now().Add(straggling))
	<-done
	return err
}

// send sends at the rate that is asked for.
func (f *flow) send(ctx context.Context, conn net.Conn, q ThroughputRequest) error {
	data := make([]byte, datagram)
	gap := time.Duration(datagram * 8 * float64(q.Streams) / q.Rate * float64(time.Second))
	began := time.Now()
	for ctx.Err() == nil {
		now := time.Since(began)
		if now >= q.For {
			return nil
		}
		if due := time.Duration(f.sent) * gap; due > now {
			time.Sleep(min(due-now, q.For-now))
			continue
		}
		binary.BigEndian.PutUint64(data, uint64(time.Since(began)))
		_, err := conn.Write(data)
		var errno unix.Errno
		switch {
		case errors.As(err, &errno) && (errno == unix.ENOBUFS || errno == unix.EAGAIN): // it is lost
		case err != nil:
			return ofConn(conn, err)
		}
		f.sent++
	}
	return nil
}

// receive counts what comes, and how unevenly.
func (f *flow) receive(conn net.PacketConn) {
	data := make([]byte, 1<<16)
	began, last := time.Now(), time.Duration(0)
	for {
		n, _, err := conn.ReadFrom(data)
		if err != nil {
			return
		}
		if n < 8 {
			continue
		}
		transit := time.Since(began) - time.Duration(binary.BigEndian.Uint64(data))
		if f.received++; f.received > 1 {
			f.jitter += (float64((transit - last).Abs()) - f.jitter) / 16
		}
		f.bytes += int64(n)
		last = transit
	}
}
