package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"

	"golang.org/x/sys/unix"

	"nsscript/runtime/inherit"
)

// lostSettings is what writing one setting of a machine's interfaces may take
// along: net.ipv4.ip_forward and the "all" of a key write that of every interface
// and other keys, too (inet_forward_change in net/ipv4/devinet.c, addrconf_fixup_*
// in net/ipv6/addrconf.c), and IPv6 addresses and routes go when it is switched
// off.
type lostSettings struct {
	ns     *Namespace
	dirs   []string // below /proc/sys
	values []setting
	links  []kept
}

// keepSettings remembers what writing path may change beside it; nil where that
// is nothing, or nothing is to be undone.
func (ns *Namespace) keepSettings(path string) *lostSettings {
	if !ns.lab.options.Host {
		return nil
	}
	s := &lostSettings{ns: ns}
	switch {
	case path == "net/ipv4/ip_forward", strings.HasPrefix(path, "net/ipv4/conf/"):
		s.dirs = []string{"net/ipv4/conf"}
	case strings.HasPrefix(path, "net/ipv6/conf/"):
		s.dirs = []string{"net/ipv6/conf"}
	default:
		return nil
	}
	_ = ns.do(func() error {
		s.dirs = interfacesIn(s.dirs[0])
		s.values = settingsIn(s.dirs)
		return nil
	})
	if filepath.Base(path) == "disable_ipv6" {
		links, _, _ := ns.Links()
		belongings := ns.belongings()
		for _, k := range links {
			s.links = append(s.links, belongings.of(k, false))
		}
	}
	return s
}

// keepLinkSettings remembers the settings of one link, which end when it moves.
func (k *Link) keepLinkSettings() *lostSettings {
	s := &lostSettings{ns: k.ns}
	for _, dir := range []string{"net/ipv4/conf", "net/ipv4/neigh", "net/ipv6/conf", "net/ipv6/neigh", "net/mpls/conf"} {
		s.dirs = append(s.dirs, filepath.Join(dir, k.name))
	}
	_ = k.ns.do(func() error {
		s.values = settingsIn(s.dirs)
		return nil
	})
	return s
}

// interfacesIn lists the directories of interfaces.
func interfacesIn(dir string) []string {
	interfaces, _ := os.ReadDir("/proc/sys/" + dir)
	dirs := make([]string, len(interfaces))
	for i, e := range interfaces {
		dirs[i] = filepath.Join(dir, e.Name())
	}
	return dirs
}

// settingsIn reads the settings in directories of the calling thread's namespace;
// some, like stable_secret, cannot be read before they are set.
func settingsIn(dirs []string) (all []setting) {
	for _, dir := range dirs {
		keys, _ := os.ReadDir(filepath.Join("/proc/sys", dir))
		for _, k := range keys {
			path := filepath.Join(dir, k.Name())
			if value, err := inherit.ReadSysctl(path); err == nil {
				all = append(all, setting{Key: path, Value: value})
			}
		}
	}
	return all
}

// restore writes what is not as it was, after the setting itself was written.
func (s *lostSettings) restore(ctx context.Context) error {
	if s == nil {
		return nil
	}
	var failed []error
	err := s.ns.do(func() error {
		now := map[string]string{}
		for _, n := range settingsIn(s.dirs) {
			now[n.Key] = n.Value
		}
		for _, was := range s.values {
			value, exists := now[was.Key]
			if !exists || value == was.Value {
				continue
			}
			if err := writeSysctl(was.Key, was.Value); err != nil && !errors.Is(err, unix.ENOENT) {
				failed = append(failed, s.ns.sysctlError(err, "set", was.Key, was.Key))
			}
		}
		return nil
	})
	failed = append(failed, err)
	for _, k := range s.links {
		failed = append(failed, k.restore(ctx))
	}
	return errors.Join(failed...)
}
