package lab

import (
	"context"
	"errors"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// setting is a sysctl of one namespace: the path below /proc/sys, and a value.
type setting struct {
	key, value string
}

// applySettings writes sysctls in the calling thread's namespace. Where /proc
// is read-only or has no such key (IPv6 may be absent) there is nothing to
// write; the sandbox has said so.
func applySettings(settings []setting) error {
	for _, s := range settings {
		err := writeSysctl(s.key, s.value)
		if errors.Is(err, unix.EROFS) || errors.Is(err, unix.EACCES) || errors.Is(err, unix.ENOENT) {
			continue
		}
		if err != nil {
			return &os.PathError{Op: "write", Path: "/proc/sys/" + s.key, Err: err}
		}
	}
	return nil
}

func (ns *Namespace) emitSettings(ctx context.Context, settings []setting) {
	for _, s := range settings {
		ns.lab.emit(ctx, "sysctl", ns, time.Now(), nil, arg("key", s.key), arg("value", s.value))
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

func readSysctl(key string) (string, error) {
	fd, err := unix.Open("/proc/sys/"+key, unix.O_RDONLY|unix.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer unix.Close(fd)
	var b [4096]byte
	n, err := unix.Read(fd, b[:])
	if err != nil {
		return "", err
	}
	return strings.TrimRight(string(b[:n]), "\n"), nil
}

// kernelDefaults are the values of net.ipv4.conf.* and net.ipv6.conf.* that a
// kernel starts with (ipv4_devconf and ipv4_devconf_dflt in net/ipv4/devinet.c,
// ipv6_devconf and ipv6_devconf_dflt in net/ipv6/addrconf.c). Those of IPv4 that
// are not listed are 0.
var kernelDefaults = map[string]map[string]string{
	"net/ipv4/conf/all": {
		"accept_redirects": "1", "send_redirects": "1", "secure_redirects": "1", "shared_media": "1",
		"igmpv2_unsolicited_report_interval": "10000", "igmpv3_unsolicited_report_interval": "1000",
		"arp_evict_nocarrier": "1",
	},
	"net/ipv4/conf/default": {
		"accept_redirects": "1", "send_redirects": "1", "secure_redirects": "1", "shared_media": "1",
		"igmpv2_unsolicited_report_interval": "10000", "igmpv3_unsolicited_report_interval": "1000",
		"arp_evict_nocarrier": "1", "accept_source_route": "1",
	},
	"net/ipv6/conf/all": ipv6Defaults, "net/ipv6/conf/default": ipv6Defaults,
}

// ipv6Defaults lists what machines are known to change; other keys of IPv6 are
// left as they were copied.
var ipv6Defaults = map[string]string{
	"forwarding": "0", "disable_ipv6": "0", "accept_ra": "1", "accept_redirects": "1", "autoconf": "1",
	"hop_limit": "64", "mtu": "1280", "use_tempaddr": "0", "dad_transmits": "1", "accept_source_route": "0",
	"accept_ra_defrtr": "1", "accept_ra_pinfo": "1", "accept_ra_rtr_pref": "1", "router_solicitations": "-1",
	"proxy_ndp": "0", "ndisc_notify": "0", "addr_gen_mode": "0", "keep_addr_on_down": "0",
	"ignore_routes_with_linkdown": "0", "seg6_enabled": "0",
}

// MachineSettings describes, for Options.Machine, which sysctls new namespaces
// copy from the machine and would have to be set back. It is to be called
// outside the private lab, where the kernel has these files at hand; a new
// /proc needs a millisecond or two to make them. "" when the calling process is
// itself in some namespace and does not see the machine's.
func MachineSettings() string {
	inherit, err := readSysctl("net/core/devconf_inherit_init_net")
	if err != nil {
		return "" // only the machine's own namespace has this key
	}
	text := []string{"inherit=" + inherit}
	for _, s := range copied(inherit) {
		text = append(text, s.key+"="+s.value)
	}
	return strings.Join(text, " ")
}

// copied are the settings of the calling thread's namespace that a new one
// copies and that differ from the kernel's defaults. inherit is the machine's
// net.core.devconf_inherit_init_net: IPv4 is copied unless it is 2, IPv6 only
// when it is 1 or 3 (Documentation/admin-guide/sysctl/net.rst). In a lab within a
// lab it is unknown, since only the machine's own namespace shows it.
func copied(inherit string) []setting {
	var changed []setting
	if inherit != "2" {
		changed = append(differing("net/ipv4/conf/all"), differing("net/ipv4/conf/default")...)
	}
	if inherit == "1" || inherit == "3" || inherit == "" {
		changed = append(changed, differing("net/ipv6/conf/all")...)
		changed = append(changed, differing("net/ipv6/conf/default")...)
	}
	return changed
}

// inherited are the settings that every namespace of the lab has to be given.
// Without the machine's own words it looks at the calling thread's namespace,
// which is fresh and so has copied them.
func inherited(machine func() string) []setting {
	said := ""
	if machine != nil {
		said = machine()
	}
	var changed []setting
	if said == "" {
		changed = copied("1")
	} else {
		for _, word := range strings.Fields(said)[1:] {
			key, value, _ := strings.Cut(word, "=")
			changed = append(changed, setting{key, value})
		}
	}
	// lo exists already and has copied the defaults of its namespace, but for what
	// the kernel sets for it (ipv6_add_dev in net/ipv6/addrconf.c).
	for _, s := range changed {
		if key, ok := strings.CutPrefix(s.key, "net/ipv4/conf/default/"); ok {
			changed = append(changed, setting{"net/ipv4/conf/lo/" + key, s.value})
		}
		if key, ok := strings.CutPrefix(s.key, "net/ipv6/conf/default/"); ok && key != "mtu" && key != "use_tempaddr" {
			changed = append(changed, setting{"net/ipv6/conf/lo/" + key, s.value})
		}
	}
	return changed
}

func differing(dir string) []setting {
	entries, err := os.ReadDir("/proc/sys/" + dir)
	if err != nil {
		return nil
	}
	var changed []setting
	for _, e := range entries {
		want, listed := kernelDefaults[dir][e.Name()]
		if !listed {
			if strings.HasPrefix(dir, "net/ipv6/") {
				continue
			}
			want = "0"
		}
		got, err := readSysctl(dir + "/" + e.Name())
		if err != nil || got == want {
			continue
		}
		s := setting{dir + "/" + e.Name(), want}
		if e.Name() == "forwarding" {
			// Forwarding changes others (inet_forward_change): it comes first.
			changed = append([]setting{s}, changed...)
			continue
		}
		changed = append(changed, s)
	}
	return changed
}
