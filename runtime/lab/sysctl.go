package lab

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/feature"
	"nsscript/runtime/inherit"
)

// Sysctl returns the value of a per-namespace key ("net.ipv4.ip_forward", or
// with slashes, which names with dots in them need: "net/ipv4/conf/eth0.10/…").
func (ns *Namespace) Sysctl(ctx context.Context, key string) (string, error) {
	path, err := sysctlPath(key)
	if err != nil {
		return "", err
	}
	var value string
	err = ns.do(func() error {
		path = withDottedName(path)
		value, err = inherit.ReadSysctl(path)
		return err
	})
	if err != nil {
		return "", ns.sysctlError(err, "read", key, path)
	}
	return value, nil
}

// SetSysctl writes a per-namespace key, as `sysctl -w` does.
func (ns *Namespace) SetSysctl(ctx context.Context, key, value string) error {
	path, err := sysctlPath(key)
	if err != nil {
		return err
	}
	var before string
	if ns.lab.options.Host {
		_ = ns.do(func() error {
			path = withDottedName(path)
			before, _ = inherit.ReadSysctl(path)
			return nil
		})
	}
	lost := ns.keepSettings(path)
	start := time.Now()
	err = ns.do(func() error {
		path = withDottedName(path)
		return writeSysctl(path, value)
	})
	ns.lab.emit(ctx, "sysctl", ns, start, err, arg("key", path), arg("value", value))
	if err != nil {
		return ns.sysctlError(err, "set", key, path)
	}
	ns.lab.onUndo(func(ctx context.Context) error {
		err := ns.SetSysctl(ctx, path, before)
		if err == nil {
			err = lost.restore(ctx)
		}
		return err
	})
	return nil
}

// sysctlPath turns a key into a path below /proc/sys, as sysctl(8) does: the
// first separator tells which one is meant.
func sysctlPath(key string) (string, error) {
	path := strings.TrimPrefix(key, "/proc/sys/")
	if i := strings.IndexAny(path, "./"); i < 0 || path[i] == '.' {
		path = strings.Map(func(r rune) rune {
			switch r {
			case '.':
				return '/'
			case '/':
				return '.'
			}
			return r
		}, path)
	}
	if path != filepath.Clean(path) || !strings.HasPrefix(path, "net/") {
		return "", Usage(`such keys begin with "net.", like "net.ipv4.ip_forward"`, "sysctl %q is not a setting of a network namespace", key)
	}
	return path, nil
}

// withDottedName joins the parts of an interface's name that has dots in it
// (net/ipv4/conf/eth0/10/forwarding) when only that makes the key exist.
func withDottedName(path string) string {
	if unix.Access("/proc/sys/"+path, unix.F_OK) == nil {
		return path
	}
	parts := strings.Split(path, "/")
	if len(parts) < 6 || parts[2] != "conf" && parts[2] != "neigh" {
		return path
	}
	last := len(parts) - 1
	joined := strings.Join([]string{parts[0], parts[1], parts[2], strings.Join(parts[3:last], "."), parts[last]}, "/")
	if unix.Access("/proc/sys/"+joined, unix.F_OK) == nil {
		return joined
	}
	return path
}

// sysctlFeatures are what a kernel may lack, with the keys that it then lacks.
var sysctlFeatures = []struct{ keys, family, name string }{
	{"net/ipv6/", feature.Routing, "IPv6"}, {"net/mpls/", feature.Routing, "MPLS"}, {"net/bridge/", feature.Bridge, "br_netfilter"},
}

func (ns *Namespace) sysctlError(err error, verb, key, path string) error {
	for _, f := range sysctlFeatures {
		if errors.Is(err, unix.ENOENT) && strings.HasPrefix(path, f.keys) {
			if lacking := missing(err, f.family, f.name); lacking != nil {
				return lacking
			}
		}
	}
	hint := ""
	switch {
	case errors.Is(err, unix.ENOENT) && ns.hasKey(path):
		hint = "this kernel has nothing of that name"
	case errors.Is(err, unix.ENOENT):
		return Usage(ns.similarKeys(path), "sysctl %s does not exist%s, or is not per namespace", key, where(ns))
	case errors.Is(err, unix.EPERM) && path == "net/ipv4/tcp_congestion_control":
		hint = "only the machine itself may have it; net.ipv4.tcp_allowed_congestion_control lists the others"
	case errors.Is(err, unix.EACCES) && verb == "read":
		hint = "this key can only be written"
	case errors.Is(err, unix.EACCES), errors.Is(err, unix.EPERM):
		hint = "the kernel lets this key be changed only on the machine itself, or it is read-only"
	case errors.Is(err, unix.EROFS):
		hint = "/proc/sys is mounted read-only, as in containers"
	case errors.Is(err, unix.EINVAL):
		hint = "the value is not one that this key takes"
	}
	return kernelError(err, hint, "%s sysctl %s%s", verb, key, where(ns))
}

// hasKey tells whether there is a key in the namespace.
func (ns *Namespace) hasKey(path string) bool {
	return ns.do(func() error { return unix.Access("/proc/sys/"+path, unix.F_OK) }) == nil
}

// similarKeys proposes a key that exists in the same directory.
func (ns *Namespace) similarKeys(path string) string {
	var names []string
	_ = ns.do(func() error {
		entries, err := os.ReadDir("/proc/sys/" + filepath.Dir(path))
		for _, e := range entries {
			names = append(names, e.Name())
		}
		return err
	})
	if near := Nearest(filepath.Base(path), names); near != "" {
		return "did you mean " + strings.ReplaceAll(filepath.Dir(path), "/", ".") + "." + near + "?"
	}
	return ""
}
