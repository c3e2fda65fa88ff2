package process

import (
	"errors"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"
)

// TestMayEnter: a user may enter a folder that it, its groups or all may search, as
// well as all above it.
func TestMayEnter(t *testing.T) {
	top := t.TempDir()
	for dir := top; dir != "/"; dir = filepath.Dir(dir) {
		if info, err := os.Stat(dir); err != nil || info.Mode()&1 == 0 && dir != top && dir != filepath.Dir(top) {
			t.Skipf("%s is not for all", dir)
		}
	}
	owner, group := uint32(os.Geteuid()), uint32(os.Getegid())
	inner := filepath.Join(top, "a", "b")
	if err := os.MkdirAll(inner, 0o755); err != nil {
		t.Fatal(err)
	}
	for _, dir := range []string{filepath.Dir(top), top} {
		if err := os.Chmod(dir, 0o755); err != nil {
			t.Fatal(err)
		}
	}
	t.Cleanup(func() { _ = os.Chmod(filepath.Join(top, "a"), 0o755) }) // so that it can be removed
	const other = 54321
	for _, c := range []struct {
		mode     os.FileMode
		uid, gid uint32
		groups   []uint32
		may      bool
	}{
		{0o755, other, other, nil, true},
		{0o754, other, other, nil, false},
		{0o710, other, group, nil, true},
		{0o710, other, other, []uint32{group}, true},
		{0o701, other, group, nil, false},
		{0o600, 0, 0, nil, true},
	} {
		if err := os.Chmod(filepath.Dir(inner), c.mode); err != nil {
			t.Fatal(err)
		}
		for _, dir := range []string{inner, filepath.Dir(inner)} {
			if may := mayEnter(dir, &syscall.Credential{Uid: c.uid, Gid: c.gid, Groups: c.groups}); may != c.may {
				t.Errorf("%o, user %d of groups %d %v: %v (owner %d:%d)", c.mode, c.uid, c.gid, c.groups, may, owner, group)
			}
		}
	}
	err := checkDir(filepath.Join(top, "none"), nil)
	if noDir := (*NoDir)(nil); !errors.As(err, &noDir) || !errors.Is(err, unix.ENOENT) {
		t.Errorf("a folder that is not there: %v", err)
	}
}
