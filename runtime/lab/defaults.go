package lab

import (
	"context"
	"errors"
	"os"
	"path"
	"strings"

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
		ns.lab.emit(ctx, "sysctl", ns, inOnePacket, nil, arg("key", s.key), arg("value", s.value))
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

// kernelDefaults are the values of settings that a new namespace, or a link in it,
// copies from the machine, as a kernel starts with them: ipv4_devconf and
// ipv4_devconf_dflt in net/ipv4/devinet.c, ipv6_devconf and ipv6_devconf_dflt in
// net/ipv6/addrconf.c, arp_tbl in net/ipv4/arp.c, nd_tbl in net/ipv6/ndisc.c. Those
// of net/ipv4/conf that are not listed are 0.
var kernelDefaults = map[string]string{
	"net/ipv4/conf/all":      ipv4Defaults,
	"net/ipv4/conf/default":  ipv4Defaults + " accept_source_route=1",
	"net/ipv6/conf/all":      ipv6Defaults + " accept_dad=0",
	"net/ipv6/conf/default":  ipv6Defaults + " accept_dad=1",
	"net/ipv4/neigh/default": neighborDefaults + " locktime=100",
	"net/ipv6/neigh/default": neighborDefaults + " locktime=0",
}

const ipv4Defaults = `accept_redirects=1 send_redirects=1 secure_redirects=1 shared_media=1
	igmpv2_unsolicited_report_interval=10000 igmpv3_unsolicited_report_interval=1000
	arp_evict_nocarrier=1`

// ipv6Defaults are those of 6.1 to 6.18 whose value neither the kernel's
// configuration nor the memory decides.
const ipv6Defaults = `accept_ra=1 accept_ra_defrtr=1 accept_ra_from_local=0 accept_ra_min_hop_limit=1
	accept_ra_min_lft=0 accept_ra_mtu=1 accept_ra_pinfo=1 accept_ra_rt_info_max_plen=0
	accept_ra_rt_info_min_plen=0 accept_ra_rtr_pref=1 accept_redirects=1 accept_source_route=0
	accept_untracked_na=0 addr_gen_mode=0 autoconf=1 dad_transmits=1 disable_ipv6=0
	disable_policy=0 drop_unicast_in_l2_multicast=0 drop_unsolicited_na=0 enhanced_dad=1
	force_forwarding=0 force_mld_version=0 force_tllao=0 forwarding=0 hop_limit=64
	ignore_routes_with_linkdown=0 ioam6_enabled=0 ioam6_id=65535 ioam6_id_wide=4294967295
	keep_addr_on_down=0 max_addresses=16 max_desync_factor=600
	mldv1_unsolicited_report_interval=10000 mldv2_unsolicited_report_interval=1000 mtu=1280
	ndisc_evict_nocarrier=1 ndisc_notify=0 ndisc_tclass=0 optimistic_dad=0 proxy_ndp=0
	ra_defrtr_metric=1024 ra_honor_pio_life=0 ra_honor_pio_pflag=0 regen_max_retry=3
	regen_min_advance=2 router_probe_interval=60 router_solicitation_delay=1
	router_solicitation_interval=4 router_solicitation_max_interval=3600 router_solicitations=-1
	rpl_seg_enabled=0 seg6_enabled=0 seg6_require_hmac=0 suppress_frag_ndisc=1
	temp_prefered_lft=86400 temp_valid_lft=604800 use_oif_addrs_only=0 use_optimistic=0
	use_tempaddr=0`

// neighborDefaults are a link's timers, and how often and how many.
const neighborDefaults = `anycast_delay=100 app_solicit=0 base_reachable_time_ms=30000 delay_first_probe_time=5
	gc_stale_time=60 interval_probe_time_ms=5000 mcast_resolicit=0 mcast_solicit=3
	proxy_delay=80 proxy_qlen=64 retrans_time_ms=1000 ucast_solicit=3 unres_qlen_bytes=212992`

// defaultsOf reads a list of kernelDefaults.
func defaultsOf(dir string) map[string]string {
	values := map[string]string{}
	for _, word := range strings.Fields(kernelDefaults[dir]) {
		key, value, _ := strings.Cut(word, "=")
		values[key] = value
	}
	return values
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
	changed = append(changed, differing("net/ipv4/neigh/default")...)
	return append(changed, differing("net/ipv6/neigh/default")...)
}

// inherited are the settings that every namespace of the lab has to be given, and
// those of its links, whose keys have "default" for the link. Without the machine's
// own words it looks at the calling thread's namespace, which is fresh and so has
// copied them.
func inherited(machine func() string) (spaces, links []setting) {
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
	for _, s := range changed {
		dir, key := path.Split(s.key)
		if isNeighborTable(dir) {
			links = append(links, s)
		} else {
			spaces = append(spaces, s)
		}
		if path.Base(dir) == "default" && !loOnly[dir+key] {
			// lo exists already and has copied the defaults of its namespace.
			spaces = append(spaces, setting{ofLink(s.key, "lo"), s.value})
		}
	}
	return spaces, links
}

func isNeighborTable(dir string) bool { return strings.HasSuffix(dir, "/neigh/default/") }

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
		settings = append(settings, setting{ofLink(s.key, k.name), s.value})
	}
	if len(settings) == 0 {
		return
	}
	_ = k.ns.do(func() error { return applySettings(settings) })
	k.ns.emitSettings(ctx, settings)
}

func differing(dir string) []setting {
	shown := dir
	entries, err := os.ReadDir("/proc/sys/" + shown)
	if err != nil && isNeighborTable(dir+"/") {
		// Only the machine's own namespace shows it; lo has copied it.
		shown = ofLink(dir+"/", "lo")
		entries, err = os.ReadDir("/proc/sys/" + shown)
	}
	if err != nil {
		return nil
	}
	var changed []setting
	defaults := defaultsOf(dir)
	for _, e := range entries {
		want, listed := defaults[e.Name()]
		if !listed {
			if !strings.HasPrefix(dir, "net/ipv4/conf/") {
				continue
			}
			want = "0"
		}
		got, err := readSysctl(path.Join(shown, e.Name()))
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
