package lab_test

import (
	"context"
	"os"
	"runtime"
	"testing"
	"time"

	"nsscript/runtime/lab"
	"nsscript/runtime/labtest"
)

// TestCaptureHundred: a capture of 100 links is one call, with a goroutine for each and
// no threads; it leaves nothing behind.
func TestCaptureHundred(t *testing.T) {
	labtest.NoLeaks(t)
	l := newLab(t)
	ctx := context.Background()
	a, b := namespace(t, l, "a"), namespace(t, l, "b")
	var at []lab.CapturePoint
	for range 50 {
		x, y, err := l.AddVeth(ctx, spec(a), spec(b))
		if err != nil {
			t.Fatal(err)
		}
		at = append(at, lab.CapturePoint{Link: x}, lab.CapturePoint{Link: y})
	}
	goroutines, threads := runtime.NumGoroutine(), tasks(t)
	c, err := l.StartCapture(ctx, lab.CaptureSpec{At: at})
	if err != nil {
		t.Fatal(err)
	}
	if n := runtime.NumGoroutine() - goroutines; n > len(at) {
		t.Errorf("%d goroutines", n)
	}
	frame := make([]byte, 60)
	frame[12], frame[13] = 0x88, 0xb5
	for _, p := range at {
		if err := p.Link.Send(ctx, [][]byte{frame, frame}, nil); err != nil {
			t.Fatal(err)
		}
	}
	seen := map[int]int{}
	for _, f := range c.Frames(0) {
		if f.Length == 60 && f.Protocol == 0x88b5 {
			seen[f.Point]++
		}
	}
	for i := range at {
		if seen[i] != 4 { // two that go and two that come
			t.Errorf("%s: %d packets", at[i], seen[i])
		}
	}
	if n := tasks(t) - threads; n > len(at)/4 {
		t.Errorf("%d threads more", n)
	}
	c.Halt(ctx)
	for deadline := time.Now().Add(10 * time.Second); runtime.NumGoroutine() > goroutines; time.Sleep(time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatalf("%d goroutines more", runtime.NumGoroutine()-goroutines)
		}
	}
}

func tasks(t *testing.T) int {
	t.Helper()
	entries, err := os.ReadDir("/proc/self/task")
	if err != nil {
		t.Fatal(err)
	}
	return len(entries)
}

// TestCaptureEndsWithLab: a capture that nobody stopped ends with its lab.
func TestCaptureEndsWithLab(t *testing.T) {
	labtest.Need(t, "sandbox")
	labtest.NoLeaks(t)
	l, err := lab.New(context.Background(), lab.Options{})
	if err != nil {
		t.Fatal(err)
	}
	c, err := l.StartCapture(context.Background(), lab.CaptureSpec{At: []lab.CapturePoint{{NS: l.Root}}})
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if c.Running() {
		t.Error("it runs")
	}
}
