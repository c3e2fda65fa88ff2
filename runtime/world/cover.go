package world

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"nsscript/runtime/netns"
)

// makeRoom makes a name possible that is not there, and the directories above it.
// What is in the way (a link that leads nowhere) is removed from the view. In the /run
// of a private lab names are made as they are, and every view has them: shared.
func (v *View) makeRoom(path string) (shared bool, err error) {
	above := filepath.Dir(path)
	for {
		info, err := os.Stat(above)
		if err == nil && !info.IsDir() {
			return false, unix.ENOTDIR
		}
		if err == nil {
			break
		}
		if !errors.Is(err, fs.ErrNotExist) || above == "/" {
			return false, bare(err)
		}
		above = filepath.Dir(above)
	}
	above = real(above)
	shared = !v.isFree(above) && v.isLabs(above)
	if !shared && !v.isFree(above) {
		if err := v.cover(above); err != nil {
			return false, err
		}
		v.free = append(v.free, above)
	}
	// A link that leads nowhere, here or above.
	for at := path; at != above && at != "/"; at = filepath.Dir(at) {
		if info, err := os.Lstat(at); err == nil && info.Mode()&fs.ModeSymlink != 0 {
			if _, err := os.Stat(at); errors.Is(err, fs.ErrNotExist) {
				if err := os.Remove(at); err != nil {
					return false, bare(err)
				}
			}
		}
	}
	return shared, bare(os.MkdirAll(filepath.Dir(path), 0o755))
}

// isLabs tells whether a directory is of the lab's own /run, and not of what the
// machine lends it there.
func (v *View) isLabs(dir string) bool {
	return !v.world.host && strings.HasPrefix(dir+"/", "/run/") && sameDevice(dir, "/run")
}

// stat is os.Stat, for which a directory that the lab may not look into is empty.
func (v *View) stat(path string) (fs.FileInfo, error) {
	info, err := os.Stat(path)
	if !errors.Is(err, fs.ErrPermission) {
		return info, err
	}
	for dir := filepath.Dir(path); dir != "/"; dir = filepath.Dir(dir) {
		if info, e := os.Stat(dir); e != nil || !info.IsDir() {
			continue
		}
		if e := unix.Mount("tmpfs", dir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); e != nil {
			return nil, err
		}
		v.free = append(v.free, real(dir))
		break
	}
	return os.Stat(path)
}

// isFree tells whether names can be made in a directory: it is the view's own, and not
// of another file system that is mounted there.
func (v *View) isFree(dir string) bool {
	return slices.ContainsFunc(v.free, func(free string) bool {
		return (dir == free || strings.HasPrefix(dir, strings.TrimSuffix(free, "/")+"/")) && sameDevice(dir, free)
	})
}

func sameDevice(a, b string) bool {
	var one, other unix.Stat_t
	return unix.Stat(a, &one) == nil && unix.Stat(b, &other) == nil && one.Dev == other.Dev
}

// cover puts a directory in the place of another that has all that is in it, and where
// names can be made: an overlay (overlayfs, which user namespaces may mount from Linux
// 5.11 on), or else a tmpfs that each name is bound into. That is also the way for
// what is a tmpfs itself: there are sockets, which an overlay has not.
func (v *View) cover(dir string) error {
	in, err := os.Open(dir)
	if err != nil {
		return bare(err)
	}
	defer in.Close()
	info, err := in.Stat()
	if err != nil {
		return bare(err)
	}
	below, err := mountsBelow(dir)
	if err != nil {
		return err
	}
	defer below.close()
	var fsKind unix.Statfs_t
	if err := unix.Fstatfs(int(in.Fd()), &fsKind); err != nil {
		return err
	}
	if fsKind.Type == unix.TMPFS_MAGIC || overlay(in, dir, info) != nil {
		return throughTmpfs(in, dir, info)
	}
	return below.show(dir)
}

// overlay mounts an overlay on a directory.
func overlay(in *os.File, dir string, info fs.FileInfo) error {
	return scratch(func(at string) error {
		upper, work := filepath.Join(at, "upper"), filepath.Join(at, "work")
		for _, d := range []string{upper, work} {
			if err := os.Mkdir(d, 0o755); err != nil {
				return err
			}
		}
		takeAfter(upper, info)
		options := fmt.Sprintf("lowerdir=/proc/self/fd/%d,upperdir=%s,workdir=%s", in.Fd(), upper, work)
		err := unix.Mount("overlay", dir, "overlay", 0, options+",userxattr")
		if err != nil { // which is for user namespaces, from Linux 5.11 on
			err = unix.Mount("overlay", dir, "overlay", 0, options)
		}
		return err
	})
}

// throughTmpfs mounts a tmpfs on a directory and shows in it what was there.
func throughTmpfs(in *os.File, dir string, info fs.FileInfo) error {
	entries, err := in.ReadDir(-1)
	if err != nil {
		return bare(err)
	}
	sys, err := unix.OpenTree(unix.AT_FDCWD, scratchDir, unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE)
	if err != nil {
		return fmt.Errorf("clone %s: %w", scratchDir, err)
	}
	defer unix.Close(sys)
	if err := unix.Mount("tmpfs", scratchDir, "tmpfs", unix.MS_NOSUID|unix.MS_NODEV, "mode=755"); err != nil {
		return fmt.Errorf("mount a tmpfs: %w", err)
	}
	takeAfter(scratchDir, info)
	for _, e := range entries {
		at := filepath.Join(scratchDir, e.Name())
		if filepath.Join(dir, e.Name()) == scratchDir { // which is covered now
			if err = os.Mkdir(at, 0o755); err == nil {
				err = unix.MoveMount(sys, "", unix.AT_FDCWD, at, unix.MOVE_MOUNT_F_EMPTY_PATH)
			}
		} else {
			err = showEntry(int(in.Fd()), e, at)
		}
		if err != nil {
			return errors.Join(fmt.Errorf("show %s: %w", e.Name(), err), unix.Unmount(scratchDir, unix.MNT_DETACH))
		}
	}
	if err := unix.Mount(scratchDir, dir, "", unix.MS_MOVE, ""); err != nil {
		return errors.Join(fmt.Errorf("move a tmpfs: %w", err), unix.Unmount(scratchDir, unix.MNT_DETACH))
	}
	if dir == "/" {
		return netns.ReenterView()
	}
	return nil
}

// showEntry shows an entry of the directory that fd refers to at a path.
func showEntry(fd int, e fs.DirEntry, path string) error {
	source := fmt.Sprintf("/proc/self/fd/%d/%s", fd, e.Name())
	if e.Type()&fs.ModeSymlink != 0 {
		target, err := os.Readlink(source)
		if err != nil {
			return err
		}
		return os.Symlink(target, path)
	}
	var err error
	if e.IsDir() {
		err = os.Mkdir(path, 0o755)
	} else {
		err = os.WriteFile(path, nil, 0o644)
	}
	if err != nil {
		return err
	}
	return unix.Mount(source, path, "", unix.MS_BIND|unix.MS_REC, "")
}

// hidden are mounts that a cover would hide: where, and a descriptor of each.
type hidden []struct {
	path string
	fd   int
}

// mountsBelow finds the mounts below a directory, the outermost ones
// (/proc/PID/mountinfo, proc(5)).
func mountsBelow(dir string) (hidden, error) {
	text, err := os.ReadFile("/proc/thread-self/mountinfo")
	if err != nil {
		return nil, err
	}
	var paths []string
	for line := range strings.Lines(string(text)) {
		f := strings.Fields(line)
		if len(f) < 5 {
			continue
		}
		path := unescape(f[4])
		if path != dir && strings.HasPrefix(path, strings.TrimSuffix(dir, "/")+"/") {
			paths = append(paths, path)
		}
	}
	slices.Sort(paths)
	var found hidden
	last := ""
	for _, path := range paths {
		if last != "" && (path == last || strings.HasPrefix(path, last+"/")) {
			continue
		}
		fd, err := unix.Open(path, unix.O_PATH|unix.O_CLOEXEC, 0)
		if err != nil {
			continue // it is hidden already
		}
		last = path
		found = append(found, struct {
			path string
			fd   int
		}{path, fd})
	}
	return found, nil
}

// show shows the mounts again, on the cover of dir.
func (h hidden) show(dir string) error {
	if dir == "/" {
		if err := netns.ReenterView(); err != nil {
			return err
		}
	}
	for _, m := range h {
		// /proc may be one of them, so that the paths of descriptors are not there yet.
		tree, err := unix.OpenTree(m.fd, "", unix.OPEN_TREE_CLONE|unix.OPEN_TREE_CLOEXEC|unix.AT_RECURSIVE|unix.AT_EMPTY_PATH)
		if err != nil {
			return fmt.Errorf("show %s: %w", m.path, err)
		}
		err = unix.MoveMount(tree, "", unix.AT_FDCWD, m.path, unix.MOVE_MOUNT_F_EMPTY_PATH)
		unix.Close(tree)
		if err != nil {
			return fmt.Errorf("show %s: %w", m.path, err)
		}
	}
	return nil
}

func (h hidden) close() {
	for _, m := range h {
		unix.Close(m.fd)
	}
}

// unescape undoes what mountinfo does to blanks: \040 and its like.
func unescape(path string) string {
	var b strings.Builder
	for i := 0; i < len(path); i++ {
		if path[i] == '\\' && i+3 < len(path) {
			if n, err := strconv.ParseUint(path[i+1:i+4], 8, 8); err == nil {
				b.WriteByte(byte(n))
				i += 3
				continue
			}
		}
		b.WriteByte(path[i])
	}
	return b.String()
}

// real is a path without symbolic links.
func real(path string) string {
	if resolved, err := filepath.EvalSymlinks(path); err == nil {
		return resolved
	}
	return path
}
