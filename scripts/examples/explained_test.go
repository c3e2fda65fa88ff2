package examples_test

import (
	"os"
	"slices"
	"strconv"
	"strings"
	"testing"

	"nsscript/builtins"
	"nsscript/runtime/labtest"
)

// dump is a shell script that prints all that there is in a namespace. First it
// waits until the kernel has noticed every carrier and has finished duplicate
// address detection, since the two labs are not of the same age.
const dump = `
i=0
while [ $i -lt 60 ] && ip -6 addr show tentative | grep -q .; do sleep 0.05; i=$((i+1)); done
for l in $(ip -o link | sed 's/^[0-9]*: //;s/[@:].*//'); do ip link show dev $l >/dev/null; done
for c in "ip -j -d link" "ip -j -d addr" "ip -j -d -4 route show table all" "ip -j -d -6 route show table all" \
	"ip -j -d -4 rule" "ip -j -d -6 rule" "ip -j -d neigh show nud permanent" "ip -j neigh show proxy" "ip -j -d nexthop" \
	"bridge -j -d link" "bridge -j vlan" "bridge -j fdb"; do
	echo "== $c"
	$c
done
echo "== sysctl"
cd /proc/sys && grep -rs '' net | sort
`

// cleanedUp gives the kernel time to take apart namespaces whose last process the
// script has stopped.
const cleanedUp = "sleep 1"

// inherent are fields that differ between two labs that are equal.
var inherent = map[string]bool{
	// What is left of a lifetime, and timers of a bridge.
	"valid_life_time": true, "preferred_life_time": true, "expires": true, "updated": true, "used": true,
	"gc_timer": true, "hello_timer": true, "tcn_timer": true, "topology_change_timer": true,
	"forward_delay_timer": true, "message_age_timer": true, "hold_timer": true,
	// Numbers that a namespace gives to others when they first have to do with
	// each other, in whatever order, and the names that ip finds for them: the
	// same peer is told by its index (link_index) and by its own namespace.
	"link_netnsid": true, "link_netns": true,
}

// inherentSysctl are settings of that kind.
var inherentSysctl = []string{
	"tcp_fastopen_key", "stable_secret", // random
	"nf_conntrack_count", "nf_conntrack_buckets", "nf_conntrack_max", // of the machine
	"netdev_rss_key", "random", "neigh/default/gc_",
	"vrf/strict_mode", // there as soon as some test has made a VRF
}

// strip removes what is inherent and sorts the flags.
func strip(v any) any {
	switch v := v.(type) {
	case object:
		for k, x := range v {
			if inherent[k] {
				delete(v, k)
				continue
			}
			strip(x)
		}
	case []any:
		for _, x := range v {
			strip(x)
		}
	}
	return v
}

// sections splits the output of dump, by namespace and command.
func sections(out string) map[string]string {
	all := map[string]string{}
	ns, at := "", ""
	for line := range strings.Lines(out) {
		if name, ok := strings.CutPrefix(line, "@@ "); ok {
			ns, at = strings.TrimSpace(name), ""
		} else if what, ok := strings.CutPrefix(line, "== "); ok && ns != "" {
			at = ns + ": " + strings.TrimSpace(what)
			all[at] = ""
		} else if at != "" {
			all[at] += line
		}
	}
	return all
}

// TestExplained is the proof that an operation is what `nsscript explain` says:
// the lab that `explain --exact` builds with iproute2 is the one of nsscript.
func TestExplained(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	eachExample(t, func(t *testing.T, name string) { explained(t, source(t, name)) })
}

// TestExplainedBuiltins proves the same of the example of every builtin that
// changes a lab.
func TestExplainedBuiltins(t *testing.T) {
	needs(t, "iproute2", "ip", "bridge")
	needs(t, "util-linux", "unshare", "mount")
	limit := make(chan struct{}, 2)
	for _, s := range builtins.Specs() {
		switch s.Family {
		case "Namespaces and processes", "Links", "Addresses, routes, neighbours", "Probes":
		default:
			continue
		}
		if s.Example == "" {
			continue
		}
		t.Run(s.Name, func(t *testing.T) {
			t.Parallel()
			limit <- struct{}{}
			defer func() { <-limit }()
			explained(t, s.Example)
		})
	}
}

// TestExplainedWithFallbackDevices proves the same where every namespace has the
// devices that modules of tunnels bring (tunl0, gre0 …), as most machines do when
// somebody uses tunnels: their indexes are in the way of those that the lab chooses.
func TestExplainedWithFallbackDevices(t *testing.T) {
	labtest.Need(t, "kernel", "iproute2")
	const setting = "/proc/sys/net/core/fb_tunnels_only_for_init_net"
	before, err := os.ReadFile(setting)
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(setting, []byte("0"), 0o644); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.WriteFile(setting, before, 0o644) })
	var script string
	for _, s := range builtins.Specs() {
		if s.Name == "gre" || s.Name == "ip6tnl" {
			script += strings.NewReplacer(`netns("a"), netns("b")`, `netns("`+s.Name+`a"), netns("`+s.Name+`b")`).Replace(s.Example) + "\n"
		}
	}
	if o := run(t, script, binary, "-"); o.code != 0 { // loads the modules
		t.Fatalf("exit status %d, want 0\n%s", o.code, o.stderr)
	}
	explained(t, script+"expect(\"gre0\" in root and \"ip6tnl0\" in root)\n")
}

// explained compares the lab of a script with that of its explanation.
func explained(t *testing.T, script string) {
	t.Helper()
	// A program in a namespace first lets links and addresses settle, which
	// the explained script has to do as well.
	each := "\nfor _ns in [root] + namespaces():\n    print(\"@@ %s\\n%s\" % (_ns.name, exec_in(_ns, %s).stdout))\nprint(\"@@ \")\n"
	ours := run(t, script+strings.Replace(each, "exec_in(_ns, %s)", "exec_in(_ns, "+strconv.Quote(dump)+")", 1), binary, "-")
	if !lacking(t, ours) && ours.code != 0 {
		t.Fatalf("exit status %d, want 0\n%s", ours.code, ours.stderr)
	}
	exact := run(t, script+strings.Replace(each, "exec_in(_ns, %s)", `exec_in(_ns, ["true"])`, 1), binary, "explain", "--exact", "-")
	if exact.code != 0 {
		t.Fatalf("explain: exit status %d, want 0\n%s", exact.code, exact.stderr)
	}
	theirs := run(t, "", append(private(), "sh", "-c", `PATH=$PATH:/usr/sbin:/sbin
		mount -t tmpfs tmpfs /run && mkdir -p /run/netns && sh -c "$1$3" >&2 || exit 1
		echo "@@ root"; sh -c "$2"
		for ns in $(ls /run/netns); do echo "@@ $ns"; ip netns exec "$ns" sh -c "$2"; done`, "sh", exact.stdout, dump, "\n"+cleanedUp)...)
	if theirs.code != 0 {
		t.Fatalf("the script of explain --exact: exit status %d, want 0\n%s\n%s", theirs.code, exact.stdout, theirs.stderr)
	}
	// What hosts make of router advertisements is not made again.
	advertised := strings.Contains(script, "radvd(")
	got, want := sections(ours.stdout), sections(theirs.stdout)
	if len(got) == 0 {
		t.Fatal("nothing was read")
	}
	for what := range want {
		if _, ok := got[what]; !ok {
			t.Errorf("only iproute2 has %s", what)
		}
	}
	for what, text := range got {
		other, ok := want[what]
		switch {
		case advertised && (strings.HasSuffix(what, "-6 route show table all") || strings.HasSuffix(what, "sysctl")):
		case !ok:
			t.Errorf("only nsscript has %s", what)
		case strings.HasSuffix(what, "sysctl"):
			same(t, what, settings(text), settings(other))
		default:
			same(t, what, entries(t, what, text), entries(t, what, other))
		}
	}
}

// private is a command that runs another one in namespaces of its own.
func private() []string {
	if os.Geteuid() == 0 {
		return []string{"unshare", "-mpfn", "--mount-proc"}
	}
	return []string{"unshare", "-Urmpfn", "--mount-proc"}
}

// entries are the objects of a command's output that the script made.
func entries(t *testing.T, what, text string) []object {
	var out []object
	for _, o := range parse(t, text) {
		// A bridge learns from frames, and the frames of probes are not run again.
		if strings.HasSuffix(what, "fdb") && o["state"] != "permanent" {
			continue
		}
		if list, ok := o["addr_info"].([]any); ok {
			o["addr_info"] = slices.DeleteFunc(list, func(a any) bool { return a.(object)["dynamic"] == true })
		}
		out = append(out, strip(o).(object))
	}
	return out
}

// settings are the lines of sysctl's part.
func settings(text string) []object {
	var out []object
	for line := range strings.Lines(text) {
		key, value, ok := strings.Cut(strings.TrimSpace(line), ":")
		if ok && !slices.ContainsFunc(inherentSysctl, func(s string) bool { return strings.Contains(key, s) }) {
			out = append(out, object{key: value})
		}
	}
	return out
}
