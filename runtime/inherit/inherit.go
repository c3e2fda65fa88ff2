// Package inherit tells which sysctls a new network namespace copies from the machine
// and would have otherwise as the kernel starts with them. The outer process of a
// private lab asks it while it has nothing else to do, before its other packages are
// initialized (see package again), so that it imports next to nothing.
package inherit

import (
	"os"
	"syscall"
)

// Setting is a sysctl of one namespace: the path below /proc/sys, and a value.
type Setting struct {
	Key, Value string
}

// kernelDefaults are the values of settings that a new namespace, or a link in it,
// copies from the machine, as a kernel starts with them: ipv4_devconf and
// ipv4_devconf_dflt in net/ipv4/devinet.c, ipv6_devconf and ipv6_devconf_dflt in
// net/ipv6/addrconf.c, arp_tbl in net/ipv4/arp.c, nd_tbl in net/ipv6/ndisc.c. Those
// of net/ipv4/conf that are not listed are 0.
func kernelDefaults(dir string) string {
	switch dir {
	case "net/ipv4/conf/all":
		return ipv4Defaults
	case "net/ipv4/conf/default":
		return ipv4Defaults + " accept_source_route=1"
	case "net/ipv6/conf/all":
		return ipv6Defaults + " accept_dad=0"
	case "net/ipv6/conf/default":
		return ipv6Defaults + " accept_dad=1"
	case ipv4Neighbors:
		return neighborDefaults + " locktime=100"
	case ipv6Neighbors:
		return neighborDefaults + " locktime=0"
	}
	return ""
}

const ipv4Neighbors, ipv6Neighbors = "net/ipv4/neigh/default", "net/ipv6/neigh/default"

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

// defaultOf finds a key in a list of kernelDefaults.
func defaultOf(list, key string) (value string, listed bool) {
	for len(list) > 0 {
		end := 0
		for end < len(list) && list[end] > ' ' {
			end++
		}
		if word := list[:end]; len(word) > len(key) && word[:len(key)] == key && word[len(key)] == '=' {
			return word[len(key)+1:], true
		}
		list = list[min(end+1, len(list)):]
	}
	return "", false
}

// Settings describes, for the inner process, which sysctls new namespaces copy from
// the machine and would have to be set back: "inherit=" and the machine's
// net.core.devconf_inherit_init_net, and then a "key=value" each. It is to be called
// outside the private lab, where the kernel has these files at hand; a new /proc needs
// a millisecond or two to make them. "" when the calling process is itself in some
// namespace and does not see the machine's.
func Settings() string {
	inherit, err := ReadSysctl("net/core/devconf_inherit_init_net")
	if err != nil {
		return "" // only the machine's own namespace has this key
	}
	text := "inherit=" + inherit
	for _, s := range Copied(inherit) {
		text += " " + s.Key + "=" + s.Value
	}
	return text
}

// Copied are the settings of the calling thread's namespace that a new one
// copies and that differ from the kernel's defaults. inherit is the machine's
// net.core.devconf_inherit_init_net: IPv4 is copied unless it is 2, IPv6 only
// when it is 1 or 3 (Documentation/admin-guide/sysctl/net.rst). In a lab within a
// lab it is unknown, since only the machine's own namespace shows it.
func Copied(inherit string) []Setting {
	var changed []Setting
	if inherit != "2" {
		changed = append(differing("net/ipv4/conf/all"), differing("net/ipv4/conf/default")...)
	}
	if inherit == "1" || inherit == "3" || inherit == "" {
		changed = append(changed, differing("net/ipv6/conf/all")...)
		changed = append(changed, differing("net/ipv6/conf/default")...)
	}
	changed = append(changed, differing(ipv4Neighbors)...)
	return append(changed, differing(ipv6Neighbors)...)
}

func differing(dir string) []Setting {
	shown := dir
	entries, err := os.ReadDir("/proc/sys/" + shown)
	if err != nil && (dir == ipv4Neighbors || dir == ipv6Neighbors) {
		// Only the machine's own namespace shows it; lo has copied it.
		shown = dir[:len(dir)-len("default")] + "lo"
		entries, err = os.ReadDir("/proc/sys/" + shown)
	}
	if err != nil {
		return nil
	}
	const ipv4 = "net/ipv4/conf/"
	var changed []Setting
	defaults := kernelDefaults(dir)
	for _, e := range entries {
		want, listed := defaultOf(defaults, e.Name())
		if !listed {
			if dir[:len(ipv4)] != ipv4 {
				continue
			}
			want = "0"
		}
		got, err := ReadSysctl(shown + "/" + e.Name())
		if err != nil || got == want {
			continue
		}
		s := Setting{dir + "/" + e.Name(), want}
		if e.Name() == "forwarding" {
			// Forwarding changes others (inet_forward_change): it comes first.
			changed = append([]Setting{s}, changed...)
			continue
		}
		changed = append(changed, s)
	}
	return changed
}

// ReadSysctl reads a key, as a path below /proc/sys, in the calling thread's namespace.
func ReadSysctl(key string) (string, error) {
	fd, err := syscall.Open("/proc/sys/"+key, syscall.O_RDONLY|syscall.O_CLOEXEC, 0)
	if err != nil {
		return "", err
	}
	defer syscall.Close(fd)
	var b [4096]byte
	n, err := syscall.Read(fd, b[:])
	if err != nil {
		return "", err
	}
	for n > 0 && b[n-1] == '\n' {
		n--
	}
	return string(b[:n]), nil
}
