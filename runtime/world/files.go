package world

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// PathError says at which path something could not be laid.
type PathError struct {
	Path string
	Err  error
}

func (e *PathError) Error() string { return e.Path + ": " + e.Err.Error() }
func (e *PathError) Unwrap() error { return e.Err }

// CheckPath refuses what cannot be laid over: a path is absolute, names no directory
// by its end, and is none of the kernel's.
func CheckPath(path string) error {
	switch {
	case !filepath.IsAbs(path):
		return fmt.Errorf("%q is not absolute: it begins with /", path)
	case strings.ContainsRune(path, 0):
		return fmt.Errorf("%q has a NUL byte", path)
	case filepath.Clean(path) == "/":
		return errors.New("/ is the root of all files")
	}
	for _, dir := range []string{"/proc", "/sys", "/dev"} {
		if clean := filepath.Clean(path); clean == dir || strings.HasPrefix(clean, dir+"/") {
			return fmt.Errorf("%s is the kernel's: what is in it cannot be replaced", dir)
		}
	}
	return nil
}

// Furnish gives the view files by their paths, which are clean, and directories of its
// own, also for the programs that run in it already. Its error is a [*PathError].
func (v *View) Furnish(files map[string]string, private []string) error {
	return v.Do(-1, func() error {
		for _, dir := range private {
			if v.Given(dir) {
				continue
			}
			if err := v.private(dir); err != nil {
				return &PathError{Path: dir, Err: err}
			}
		}
		return v.lay(files)
	})
}

// Given tells whether something was laid at a path.
func (v *View) Given(path string) bool {
	_, given := v.own[path]
	return given
}

// lay lays files over what is at their paths. It runs in the view, as the rest here.
func (v *View) lay(files map[string]string) error {
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := v.layFile(path, files[path]); err != nil {
			return &PathError{Path: path, Err: err}
		}
		v.own[path] = true
	}
	return nil
}

func (v *View) layFile(path, text string) error {
	info, err := v.stat(path)
	switch {
	case err == nil && info.IsDir():
		return unix.EISDIR
	case err == nil && v.own[path]:
		return os.WriteFile(path, []byte(text), 0o644)
	case err == nil:
		return bindNew(path, text, info)
	case !errors.Is(err, fs.ErrNotExist):
		return bare(err)
	}
	shared, err := v.makeRoom(path)
	if err != nil {
		return err
	}
	if err := os.WriteFile(path, nil, 0o644); err != nil {
		return bare(err)
	}
	if !shared {
		return bare(os.WriteFile(path, []byte(text), 0o644))
	}
	if info, err = os.Stat(path); err != nil {
		return bare(err)
	}
	return bindNew(path, text, info)
}

// bindNew makes a file with the mode and, where the lab has that user, the owner of
// another, and binds it over that.
func bindNew(path, text string, like fs.FileInfo) error {
	return scratch(func(dir string) error {
		source := filepath.Join(dir, "file")
		if err := os.WriteFile(source, []byte(text), 0o600); err != nil {
			return bare(err)
		}
		takeAfter(source, like)
		return bind(source, path)
	})
}

// private covers a directory with an empty one, or makes it.
func (v *View) private(dir string) error {
	info, err := v.stat(dir)
	mode := "mode=1777"
	switch {
	case err == nil && !info.IsDir():
		return unix.ENOTDIR
	case err == nil:
		mode = fmt.Sprintf("mode=%o", info.Mode().Perm())
	case !errors.Is(err, fs.ErrNotExist):
		return bare(err)
	default:
		if _, err := v.makeRoom(dir); err != nil {
			return err
		}
		if err := os.Mkdir(dir, 0o755); err != nil {
			return bare(err)
		}
	}
	if err := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, mode); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	if info != nil {
		takeAfter(dir, info)
	}
	v.own[dir] = true
	v.free = append(v.free, real(dir))
	return nil
}

// layEtc lays what is in a directory of /etc/netns over /etc.
func (v *View) layEtc(from string) error {
	entries, err := os.ReadDir(from)
	if err != nil {
		return nil // there is none
	}
	for _, e := range entries {
		source, path := filepath.Join(from, e.Name()), filepath.Join("/etc", e.Name())
		if err := v.layOver(source, path); err != nil {
			return &PathError{Path: source, Err: fmt.Errorf("lay it over %s: %w", path, err)}
		}
		v.own[path] = false
	}
	return nil
}

// layOver binds a file or a directory over another, which is made if need be.
func (v *View) layOver(source, path string) error {
	info, err := os.Stat(source)
	if err != nil {
		return bare(err)
	}
	there, err := os.Stat(path)
	if err == nil && there.IsDir() != info.IsDir() {
		if info.IsDir() {
			return unix.ENOTDIR
		}
		return unix.EISDIR
	}
	if err != nil {
		if _, err := v.makeRoom(path); err != nil {
			return err
		}
		if info.IsDir() {
			err = os.Mkdir(path, 0o755)
		} else {
			err = os.WriteFile(path, nil, 0o644)
		}
		if err != nil {
			return bare(err)
		}
	}
	return unix.Mount(source, path, "", unix.MS_BIND|unix.MS_REC, "")
}

func bind(source, path string) error { return unix.Mount(source, path, "", unix.MS_BIND, "") }

// scratchDir is where nothing is laid, and which no other mount namespace shares.
const scratchDir = "/sys"

// scratch runs fn with a directory on a tmpfs; what fn has bound stays when that
// is no longer seen.
func scratch(fn func(dir string) error) error {
	if err := unix.Mount("tmpfs", scratchDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	return errors.Join(fn(scratchDir), unix.Unmount(scratchDir, unix.MNT_DETACH))
}

// takeAfter gives a file the mode of another and its owner; the lab may not have
// that user.
func takeAfter(path string, like fs.FileInfo) {
	if st, ok := like.Sys().(*syscall.Stat_t); ok {
		_ = os.Chown(path, int(st.Uid), int(st.Gid))
	}
	_ = os.Chmod(path, like.Mode().Perm())
}

// bare is the reason in an error that says where, since who asked says that.
func bare(err error) error {
	var at *fs.PathError
	if errors.As(err, &at) {
		return at.Err
	}
	return err
}
