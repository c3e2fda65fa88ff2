package again

import (
	"testing"

	"golang.org/x/sys/unix"
)

// TestConfig: what the outer process says is what the inner one hears.
func TestConfig(t *testing.T) {
	for n := range 8 {
		want := Config{RawStderr: n&1 != 0, AwaitIDs: n&2 != 0, Host: n&4 != 0}
		if got, err := ParseConfig(want.String()); err != nil || got != want {
			t.Errorf("%q is %+v, not %+v (%v)", want.String(), got, want, err)
		}
	}
	for _, bad := range []string{"", "1", "r", " x", " r i"} {
		if _, err := ParseConfig(bad); err == nil {
			t.Errorf("%q is taken", bad)
		}
	}
}

// TestMemoryFile holds the number of the system call against x/sys's.
func TestMemoryFile(t *testing.T) {
	if memfdCreate() != unix.SYS_MEMFD_CREATE {
		t.Errorf("memfd_create is %d, not %d", unix.SYS_MEMFD_CREATE, memfdCreate())
	}
	f, err := memoryFile("x")
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	if _, err := f.WriteString("kept"); err != nil {
		t.Fatal(err)
	}
}
