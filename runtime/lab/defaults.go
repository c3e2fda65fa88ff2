package lab

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"

	"golang.org/x/sys/unix"

	"nsscript/runtime/inherit"
)

// setting is a sysctl of one namespace.
type setting = inherit.Setting

// applySettings writes sysctls in the calling thread's namespace. Where /proc
// is read-only or has no such key (IPv6 may be absent) there is nothing to
// write; the sandbox has said so.
func applySettings(settings []setting) error {
	for _, s := range settings {
		err := writeSysctl(s.Key, s.Value)
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "write", Path: "/proc/sys/" + s.Key, Err: err}
		}
	}
	return nil
}

func (ns *Namespace) emitSettings(ctx context.Context, settings []setting) {
	for _, s := range settings {
		ns.lab.emit(ctx, "sysctl", ns, inOnePacket, nil, arg("key", s.Key), arg("value", s.Value))
	}
}

func writeSysctl(key, value string) error {
	fd, err := unix.Open("/proc/sys/"+key, unix.O_WRONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return err
	}
	_, err = unix.Write(fd, []byte(value))
	unix.Close(fd)
	return err
}

// inherited are the settings that every namespace of the lab has to be given, and
// those of its links, whose keys have "default" for the link. Without the machine's
// own words it looks at the calling thread's namespace, which is fresh and so has
// copied them.
func inherited(told func() string) (spaces, links []setting) {
	said := ""
	if told != nil {
		said = told()
	}
	var changed []setting
	if said == "" {
		changed = inherit.Copied("1")
	} else {
		for _, word := range strings.Fields(said)[1:] {
			key, value, _ := strings.Cut(word, "=")
			changed = append(changed, setting{Key: key, Value: value})
		}
	}
	for _, s := range changed {
		dir, key := path.Split(s.Key)
		if isNeighborTable(dir) {
			links = append(links, s)
		} else {
			spaces = append(spaces, s)
		}
		if path.Base(dir) == "default" && !loOnly[dir+key] {
			// lo exists already and has copied the defaults of its namespace.
			spaces = append(spaces, setting{Key: ofLink(s.Key, "lo"), Value: s.Value})
		}
	}
	return spaces, links
}

// ofLink is the key of one link instead of the default's.
func ofLink(key, link string) string { return strings.Replace(key, "/default/", "/"+link+"/", 1) }

// loOnly are the defaults that the kernel does not give to lo (inetdev_init in
// net/ipv4/devinet.c, ipv6_add_dev in net/ipv6/addrconf.c).
var loOnly = map[string]bool{
	"net/ipv4/conf/default/disable_policy": true, "net/ipv4/conf/default/disable_xfrm": true,
	"net/ipv6/conf/default/mtu": true, "net/ipv6/conf/default/use_tempaddr": true, "net/ipv6/conf/default/accept_dad": true,
}

// resetLink gives a link that has just come into a namespace the kernel's own
// settings where it has copied the machine's.
func (k *Link) resetLink(ctx context.Context) {
	var settings []setting
	for _, s := range k.ns.lab.linkResets() {
		settings = append(settings, setting{Key: ofLink(s.Key, k.name), Value: s.Value})
	}
	if len(settings) == 0 {
		return
	}
	_ = k.ns.do(func() error { return applySettings(settings) })
	k.ns.emitSettings(ctx, settings)
}

func isNeighborTable(dir string) bool { return strings.HasSuffix(dir, "/neigh/default/") }
