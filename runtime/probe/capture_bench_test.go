package probe

import (
	"bufio"
	"fmt"
	"os/exec"
	"strings"
	"syscall"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/packet"
)

// stream sends full-size packets by a's eth0 at 1 Gbit/s.
func stream(b *testing.B, ns *testNS) {
	b.Helper()
	frame, err := packet.Craft([]packet.Spec{
		{Kind: packet.Ethernet, Fields: map[string]any{"dst": "02:00:00:00:00:02", "src": "02:00:00:00:00:01"}},
		{Kind: packet.IPv4, Fields: map[string]any{"src": "192.0.2.1", "dst": "192.0.2.2"}},
		{Kind: packet.UDP, Fields: map[string]any{"dport": 9}},
		{Kind: packet.Payload, Data: make([]byte, 1472)},
	})
	ns.must(err, "craft")
	const batch = 32
	frames := make([][]byte, batch)
	for i := range frames {
		frames[i] = frame
	}
	index, each := ns.index("eth0"), time.Duration(len(frame)*8) // nanoseconds at 1 bit/ns
	b.SetBytes(int64(len(frame)))
	began, sent := time.Now(), 0
	next := began
	for b.Loop() {
		if sent++; sent%batch != 0 {
			continue
		}
		if _, err := Send(ns.enter, index, true, frames); err != nil {
			b.Fatal(err)
		}
		// What the machine was too slow for is not sent the faster later.
		if next = next.Add(batch * each); time.Since(next) > time.Millisecond {
			next = time.Now()
		}
		time.Sleep(time.Until(next))
	}
	b.ReportMetric(float64(sent)*float64(len(frame))*8/time.Since(began).Seconds()/1e6, "Mbit/s")
}

// cpu is the time that a process has used so far.
func cpu(who int) time.Duration {
	var u unix.Rusage
	_ = unix.Getrusage(who, &u)
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkCaptureGigabit records a stream of 1 Gbit/s, whole packets; none may be
// lost. The CPU time is that of sender and capture.
func BenchmarkCaptureGigabit(b *testing.B) {
	from, to := pair(b)
	c := to.capture(CaptureRequest{Match: where(b, "udp.dport", 9), Memory: 1 << 30}, "eth0")
	before := cpu(unix.RUSAGE_SELF)
	stream(b, from)
	used := cpu(unix.RUSAGE_SELF) - before
	s := c.Stats()[0]
	b.ReportMetric(float64(s.Dropped+s.Unkept), "lost")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
	if got := len(c.Frames(0)); s.Dropped > 0 || got < b.N/32*32 {
		b.Errorf("%d of %d recorded, %+v", got, b.N, s)
	}
}

// BenchmarkCaptureGigabitTcpdump is the same by tcpdump, which writes to /dev/null.
func BenchmarkCaptureGigabitTcpdump(b *testing.B) {
	path, err := exec.LookPath("tcpdump")
	if err != nil {
		b.Skip("no program tcpdump (Debian's package tcpdump)")
	}
	from, to := pair(b)
	cmd := exec.Command(path, "-n", "-i", "eth0", "-w", "/dev/null", "udp", "port", "9")
	stderr, err := cmd.StderrPipe()
	to.must(err, "pipe")
	to.must(to.enter(cmd.Start), "tcpdump")
	lines := bufio.NewScanner(stderr)
	for lines.Scan() && !strings.Contains(lines.Text(), "listening on") {
	}
	before := cpu(unix.RUSAGE_SELF)
	stream(b, from)
	used := cpu(unix.RUSAGE_SELF) - before
	_ = cmd.Process.Signal(syscall.SIGINT)
	lost := -1
	for lines.Scan() {
		if strings.Contains(lines.Text(), "dropped by kernel") {
			_, _ = fmt.Sscan(lines.Text(), &lost)
		}
	}
	_ = cmd.Wait()
	used += cmd.ProcessState.UserTime() + cmd.ProcessState.SystemTime()
	b.ReportMetric(float64(lost), "lost")
	b.ReportMetric(float64(used.Microseconds())/float64(b.N), "cpu-µs/op")
}

// BenchmarkCaptureStart begins and ends a capture of one link.
func BenchmarkCaptureStart(b *testing.B) {
	ns, _ := pair(b)
	index := ns.index("eth0")
	for b.Loop() {
		c, err := StartCapture(CaptureRequest{Points: []CapturePoint{{ns.enter, index}}})
		ns.must(err, "capture")
		c.Stop()
	}
}
