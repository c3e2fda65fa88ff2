package lab

import (
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"golang.org/x/sys/unix"

	"nsscript/runtime/inherit"
	"nsscript/runtime/netns"
)

// Lasts tells whether the entry stays as it is by itself: a user made it.
func (n *Neighbor) Lasts() bool { return n.Proxy || n.State&(unix.NUD_PERMANENT|unix.NUD_NOARP) != 0 }

// FDB lists the entries of all forwarding databases, as `bridge fdb show` does.
func (ns *Namespace) FDB() ([]*FDBEntry, error) {
	if err := ns.check(); err != nil {
		return nil, err
	}
	bodies, err := ns.bodies(unix.RTM_GETNEIGH, append([]byte{unix.AF_BRIDGE}, make([]byte, unix.SizeofNdMsg-1)...))
	if err != nil {
		return nil, kernelError(err, "", "list forwarding databases%s", where(ns))
	}
	var all []*FDBEntry
	for _, body := range bodies {
		if e := ns.parseFDB(body); e != nil {
			all = append(all, e)
		}
	}
	return all, nil
}

// Setting is a sysctl with a value, as [Namespace.SetSysctl] takes them.
type Setting struct{ Key, Value string }

// Sysctls lists, by key, the namespace's sysctls that are not what a new namespace
// has. Those of a link are held against what a new link in this one would get.
func (ns *Namespace) Sysctls() ([]Setting, error) {
	var values map[string]string
	if err := ns.do(func() error { values = readSysctls(); return nil }); err != nil {
		return nil, kernelError(err, "", "read sysctls%s", where(ns))
	}
	usual, err := ns.lab.usualSysctls(values)
	if err != nil {
		return nil, kernelError(err, "", "read the sysctls of a new namespace")
	}
	var all []Setting
	for _, path := range slices.Sorted(maps.Keys(values)) {
		want, known := usual[path]
		if general := sysctlOfNewLinks(path); !known && general != "" {
			want, known = values[general]
		}
		if known && want == values[path] || !known || movesByItself(path) {
			continue
		}
		key := path
		if !strings.Contains(path, ".") {
			key = strings.ReplaceAll(path, "/", ".")
		}
		all = append(all, Setting{key, values[path]})
	}
	return all, nil
}

// movesByItself tells of keys that are not settings: counts, and an MTU that follows
// the link's.
func movesByItself(path string) bool {
	return strings.HasSuffix(path, "_count") || strings.HasPrefix(path, "net/ipv6/conf/") && filepath.Base(path) == "mtu"
}

// sysctlOfNewLinks is the key that a link's own is copied from, or "" for one that is of
// no link.
func sysctlOfNewLinks(path string) string {
	parts := strings.Split(path, "/")
	if len(parts) != 5 || parts[2] != "conf" && parts[2] != "neigh" {
		return ""
	}
	parts[3] = "default"
	return strings.Join(parts, "/")
}

// usualSysctls are those of a new namespace. They are read again when there are keys
// that it did not have: a module brings its own.
func (l *Lab) usualSysctls(values map[string]string) (map[string]string, error) {
	missing := func(path string) bool {
		_, known := l.usual[path]
		return !known && sysctlOfNewLinks(path) == ""
	}
	if l.usual != nil && !slices.ContainsFunc(slices.Collect(maps.Keys(values)), missing) {
		return l.usual, nil
	}
	err := netns.New(func() error {
		if err := applySettings(l.resets()); err != nil {
			return err
		}
		l.usual = readSysctls()
		return nil
	})
	return l.usual, err
}

// readSysctls reads what of net.* can be read in the calling thread's namespace, by
// path below /proc/sys.
func readSysctls() map[string]string {
	values := map[string]string{}
	// What cannot be read says nothing: keys to write to, secrets that are not set.
	_ = fs.WalkDir(os.DirFS("/proc/sys"), "net", func(path string, d fs.DirEntry, err error) error {
		if err == nil && d.Type().IsRegular() {
			if value, err := inherit.ReadSysctl(path); err == nil {
				values[path] = value
			}
		}
		return nil
	})
	return values
}
