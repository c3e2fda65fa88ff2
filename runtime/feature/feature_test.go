package feature

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

func TestMain(m *testing.M) { labtest.Main(m) }

// TestTable: each feature has a family that is listed, a noun, and a name of its own.
func TestTable(t *testing.T) {
	seen := map[string]bool{}
	for _, f := range All() {
		key := f.Family + " " + f.Name
		if seen[key] {
			t.Errorf("%s is there twice", key)
		}
		seen[key] = true
		if !slices.Contains(Families(), f.Family) || !strings.Contains(nouns[f.Family], "%s") {
			t.Errorf("%s: no such family", key)
		}
		if Find(f.Family, f.Name) != f {
			t.Errorf("Find does not find %s", key)
		}
	}
	if Find(Link, "nosuch") != nil {
		t.Error("Find finds nosuch")
	}
}

// witness asks the kernel for a feature by a program that has nothing to do with this
// package, and says whether its answer means that the feature is not there.
type witness struct {
	family  string
	program string                   // runs a batch of commands (-batch -), or is nft
	before  []string                 // commands
	command func(name string) string // "" when there is none
	undo    []string
	absent  []string // words of the answer
}

var witnesses = []witness{
	{Qdisc, "tc", nil, func(name string) string {
		if name == "ingress" || name == "clsact" {
			return "qdisc add dev lo " + name
		}
		return "qdisc add dev lo root " + name + map[string]string{
			"tbf": " rate 1mbit burst 10k latency 1s", "hfsc": " default 1", "ets": " bands 3", "red": " limit 60000 avpkt 1000",
			"choke": " limit 100 bandwidth 1mbit", "cbs": " idleslope 1 sendslope -1 hicredit 1 locredit -1",
			"gred": " setup DPs 3 default 1",
		}[name]
	}, []string{"qdisc del dev lo root", "qdisc del dev lo ingress", "qdisc del dev lo clsact"}, []string{"qdisc kind is unknown", "qdisc not found"}},
	{Filter, "tc", []string{"qdisc add dev lo ingress"}, func(name string) string {
		how, known := map[string]string{
			"u32": "u32 match u32 0 0", "flower": "flower", "matchall": "matchall", "basic": "basic", "fw": "handle 1 fw classid 1:1",
			"flow": "flow map key dst", "cgroup": "handle 1 cgroup", "route": "route from 1 classid 1:1",
		}[name]
		if !known {
			return ""
		}
		return "filter add dev lo ingress protocol ip " + how
	}, nil, []string{"classifier not found"}},
	{Action, "tc", nil, func(name string) string {
		how, known := map[string]string{
			"gact": "gact drop", "mirred": "mirred egress redirect dev lo", "police": "police rate 1mbit burst 10k", "vlan": "vlan pop",
			"nat": "nat ingress 192.0.2.1 192.0.2.2", "csum": "csum iph", "skbedit": "skbedit mark 1", "tunnel_key": "tunnel_key unset",
			"ct": "ct", "connmark": "connmark", "sample": "sample rate 1 group 1", "mpls": "mpls pop protocol ip", "simple": "simple sdata x",
			"pedit": "pedit ex munge ip ttl set 1", "ctinfo": "ctinfo dscp 0xfc000000",
		}[name]
		if !known {
			return ""
		}
		return "actions add action " + how
	}, nil, []string{"Failed to load TC action module", "Operation not supported"}},
	{Encap, "ip", []string{"link set lo up"}, func(name string) string {
		how, known := map[string]string{
			"mpls": "mpls 100", "ip": "ip id 1 dst 192.0.2.9", "seg6": "seg6 mode encap segs fc00::1", "seg6local": "seg6local action End",
		}[name]
		if !known {
			return ""
		}
		return "route add fc01::/64 encap " + how + " dev lo"
	}, []string{"route del fc01::/64"}, []string{"not supported", "not allowed", "No such"}},
	{Table, "nft", nil, func(name string) string { return "add table " + name + " t" }, nil, []string{"not supported"}},
	{Expression, "nft", nil, func(name string) string {
		how, known := map[string]string{
			"ct": "inet t c ct state new", "reject": "inet t c reject", "log": "inet t c log", "limit": "inet t c limit rate 1/second",
			"quota": "inet t c quota over 1 mbytes", "connlimit": "inet t c ct count over 1", "hash": "inet t c meta mark set jhash ip saddr mod 2",
			"numgen": "inet t c meta mark set numgen inc mod 2", "fib": "inet t c fib daddr type local", "socket": "inet t c socket mark 1",
			"queue": "inet t c queue num 1", "dup": "ip t c dup to 192.0.2.1", "fwd": "netdev t c fwd to lo",
		}[name]
		if !known {
			return ""
		}
		family, _, _ := strings.Cut(how, " ")
		return fmt.Sprintf("add table %s t; add chain %s t c; add rule %s", family, family, how)
	}, nil, []string{"No such file", "not supported"}},
	// The last: some kinds bring a device to every namespace that is made from then on.
	{Link, "ip", nil, func(name string) string {
		if name == "tun" || name == "tap" {
			return "tuntap add x-" + name + " mode " + name
		}
		return "link add x-" + name + " type " + name
	}, nil, []string{"Unknown device type", "Operation not supported", "open: No such file"}},
}

// run tries what the witness knows of, in a namespace of its own, and returns what the
// program said of each feature, "" where it was content.
func (w *witness) run(t *testing.T) map[*Feature]string {
	t.Helper()
	said := map[*Feature]string{}
	lines, at := append([]string{}, w.before...), map[int]*Feature{}
	for _, f := range All() {
		command := w.command(f.Name)
		switch {
		case f.Family != w.family || command == "":
			continue
		case w.program == "nft":
			said[f] = inNamespace(t, "", "nft", command)
			continue
		}
		said[f] = ""
		lines = append(lines, command)
		at[len(lines)] = f
		lines = append(lines, w.undo...)
	}
	if w.program == "nft" {
		return said
	}
	// An error stands before the line that says which command failed.
	rest := inNamespace(t, strings.Join(lines, "\n")+"\n", w.program, "-force", "-batch", "-")
	for _, m := range failedCommand.FindAllStringSubmatch(rest, -1) {
		n, _ := strconv.Atoi(m[2])
		if f := at[n]; f != nil {
			said[f] = m[1]
		}
	}
	return said
}

var failedCommand = regexp.MustCompile(`(?s)(.*?)Command failed -:(\d+)\n`)

func inNamespace(t *testing.T, input string, argv ...string) string {
	t.Helper()
	cmd := exec.Command("unshare", append([]string{"--net"}, argv...)...)
	cmd.Stdin = strings.NewReader(input)
	out, err := cmd.CombinedOutput()
	if err != nil && !errors.As(err, new(*exec.ExitError)) {
		t.Fatal(err)
	}
	return string(out)
}

// TestWitness holds the probes against what programs achieve.
func TestWitness(t *testing.T) {
	labtest.Need(t, "sandbox", "ip", "tc", "nft", "unshare")
	said, absent := map[*Feature]string{}, map[*Feature]bool{}
	for _, w := range witnesses {
		for f, words := range w.run(t) {
			said[f] = words
			absent[f] = slices.ContainsFunc(w.absent, func(s string) bool { return strings.Contains(words, s) })
		}
	}
	if len(said) < 90 {
		t.Errorf("only %d were tried", len(said))
	}
	// The programs have loaded what modules there are.
	err := inThrowaway(ReadKernel(), func(p *prober) {
		for f, words := range said {
			if found := p.find(f, true); (found.Status == Missing) != absent[f] {
				t.Errorf("%s %s is %s (%v); the program says: %s", f.Family, f.Name, found.Status, found.Why, words)
			}
		}
	})
	if err != nil {
		t.Fatal(err)
	}
}

// TestCheck: what is missing comes with advice.
func TestCheck(t *testing.T) {
	labtest.Need(t, "sandbox")
	missing := &Feature{Family: Link, Name: "nosuch", Config: "CONFIG_NOSUCH", Module: "nosuch"}
	missing.probe = func(p *prober) error { return p.link(missing) }
	if found := missing.Check(); found.Status != Missing || found.Advice == "" || found.Why == nil {
		t.Errorf("%+v", found)
	}
	if found := Find(Routing, "IPv6").Check(); found.Status == Present && found.Advice != "" {
		t.Errorf("%+v", found)
	}
}

// TestLoadsNothing: looking at everything loads no module and leaves nothing.
func TestLoadsNothing(t *testing.T) {
	labtest.Need(t, "sandbox")
	if found := Find(Link, "veth").Check(); found.Status != Present {
		t.Skipf("veth: %v", found) // else the first use of a module would be here
	}
	if _, err := Probe(ReadKernel(), All()); err != nil {
		t.Fatal(err)
	}
	labtest.NoLeaks(t)
	before := loaded(t)
	findings, err := Probe(ReadKernel(), All())
	if err != nil {
		t.Fatal(err)
	}
	for module := range loaded(t) {
		if !before[module] {
			t.Errorf("module %s was loaded", module)
		}
	}
	for _, f := range findings {
		if f.Status == Unloaded && before[f.Module] {
			t.Errorf("%s %s: module %s is loaded, and was called unloaded", f.Family, f.Name, f.Module)
		}
	}
}

func loaded(t *testing.T) map[string]bool {
	t.Helper()
	b, err := os.ReadFile("/proc/modules")
	if err != nil {
		return nil // a kernel without modules
	}
	return moduleNames(b, ' ')
}

// TestEverything: where a kernel has all, everything is found once its module is loaded.
func TestEverything(t *testing.T) {
	labtest.Need(t, "kernel")
	modules := []string{"-a"}
	for _, f := range All() {
		if f.Module != "" {
			modules = append(modules, f.Module)
		}
	}
	if out, err := exec.Command("modprobe", modules...).CombinedOutput(); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	findings, err := Probe(ReadKernel(), All())
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range findings {
		here := f.Status == Present
		if absent := f.Name == "rpl" || f.Name == "ioam6"; here == absent {
			t.Errorf("%s %s is %s: %v", f.Family, f.Name, f.Status, f.Why)
		}
	}
}

// TestFiles: what the files of a kernel say, and in which order they count.
func TestFiles(t *testing.T) {
	dummy, filtering, nexthops := Find(Link, "dummy"), Find(Bridge, "vlan_filtering"), Find(Routing, "nexthop objects")
	for _, c := range []struct {
		name    string
		feature *Feature
		files   map[string]string
		want    Status
		ask     bool
	}{
		{"nothing is known", dummy, nil, Missing, true},
		{"a module that is loaded", dummy, map[string]string{"proc/modules": "dummy 16384 0 - Live 0x0\n", "boot/config-1.2": "CONFIG_DUMMY=m\n"}, Present, true},
		{"a module that is not", dummy, map[string]string{"lib/modules/1.2/modules.dep": "kernel/drivers/net/dummy.ko.xz:\n"}, Unloaded, false},
		{"a module without its file", dummy, map[string]string{"boot/config-1.2": "CONFIG_DUMMY=m\n"}, Missing, false},
		{"built in", dummy, map[string]string{"boot/config-1.2": "CONFIG_DUMMY=y\n"}, Present, true},
		{"built in, by the list", dummy, map[string]string{"lib/modules/1.2/modules.builtin": "kernel/drivers/net/dummy.ko\n"}, Present, true},
		{"not set", dummy, map[string]string{"boot/config-1.2": "# CONFIG_DUMMY is not set\n"}, Missing, false},
		{"an option of a module that is not loaded", filtering, map[string]string{"boot/config-1.2": "CONFIG_BRIDGE_VLAN_FILTERING=y\n",
			"lib/modules/1.2/modules.dep": "kernel/net/bridge/bridge.ko: kernel/net/llc/llc.ko\n"}, Unloaded, false},
		{"an option that a module lacks", filtering, map[string]string{"boot/config-1.2": "CONFIG_BRIDGE=m\n",
			"lib/modules/1.2/modules.dep": "kernel/net/bridge/bridge.ko:\n"}, Missing, false},
		{"what can be no module", nexthops, map[string]string{"lib/modules/1.2/modules.dep": "kernel/a.ko:\n"}, Missing, true},
	} {
		root := t.TempDir()
		for name, text := range c.files {
			path := filepath.Join(root, name)
			if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
				t.Fatal(err)
			}
			if err := os.WriteFile(path, []byte(text), 0o644); err != nil {
				t.Fatal(err)
			}
		}
		if got, ask := readKernel(root, "1.2").status(c.feature); got != c.want || ask != c.ask {
			t.Errorf("%s: %s, ask %v; want %s, %v", c.name, got, ask, c.want, c.ask)
		}
	}
}

func TestPrograms(t *testing.T) {
	for _, p := range Programs() {
		if p.Package == "" || p.For == "" {
			t.Errorf("%s has no package, or is for nothing", p.Name)
		}
		if p.Path != "" && unix.Access(p.Path, unix.X_OK) != nil {
			t.Errorf("%s is not at %s", p.Name, p.Path)
		}
	}
}

// FuzzFiles: no file makes the parsers do more than return names.
func FuzzFiles(f *testing.F) {
	f.Add([]byte("CONFIG_DUMMY=y\n# CONFIG_IFB is not set\nCONFIG_X=\"=m\"\n"))
	f.Add([]byte("kernel/net/sched/sch_tbf.ko.xz: kernel/a-b.ko\n\n/\n"))
	f.Add([]byte("\x1f\x8b\x08\x00"))
	f.Fuzz(func(t *testing.T, b []byte) {
		for name, value := range parseConfig(unzipped(b)) {
			if !strings.HasPrefix(name, "CONFIG_") || value != "y" && value != "m" {
				t.Errorf("%q=%q", name, value)
			}
		}
		for _, end := range []byte{' ', ':', '\n'} {
			for name := range moduleNames(b, end) {
				if name == "" || strings.ContainsAny(name, "/\n-") {
					t.Errorf("a module %q", name)
				}
			}
		}
	})
}

// FuzzMessages: an answer of any bytes is read without a panic.
func FuzzMessages(f *testing.F) {
	f.Add([]byte{20, 0, 0, 0, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0, 0xfe, 0xff, 0xff, 0xff})
	f.Add([]byte{255, 255, 255, 255, 2, 0, 0, 0, 1, 0, 0, 0, 0, 0, 0, 0})
	f.Fuzz(func(t *testing.T, b []byte) {
		all, err := parseMessages(b)
		for _, m := range all {
			_, _ = m.ends(), m.errno()
			attribute(m.Data, unix.IFLA_LINKINFO, unix.IFLA_INFO_DATA)
		}
		if err == nil && len(b) >= unix.SizeofNlMsghdr && len(all) == 0 {
			t.Error("nothing was read")
		}
	})
}
