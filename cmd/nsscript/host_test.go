package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

// machine is a throwaway machine on which nsscript --host may do anything: a
// process in namespaces of its own, with shell commands to set it up, to run
// nsscript there ("$NS FILE …") and to look at it afterwards.
func machine(t *testing.T, shell string) outcome {
	t.Helper()
	labtest.Need(t, "sandbox", "iproute2", "mount", "sysctl", "sysfs")
	cmd := exec.Command("sh", "-e", "-c", `mount -t tmpfs tmpfs /run
mount -t sysfs sysfs /sys 2> /dev/null || true
ip link set lo up
`+shell)
	cmd.Dir = labtest.PublicDir(t)
	cmd.Env = append(os.Environ(), "NS="+labtest.Binary(t))
	cmd.SysProcAttr = labtest.UserNamespace()
	cmd.SysProcAttr.Cloneflags &^= unix.CLONE_NEWUSER
	cmd.SysProcAttr.UidMappings, cmd.SysProcAttr.GidMappings = nil, nil
	o := finish(t, cmd)
	t.Logf("stdout: %s\nstderr: %s", o.stdout, o.stderr)
	return o
}

// state prints everything about the machine's network and that of the
// namespaces that have names.
//
// settle waits until the kernel's workers have done what follows from links that
// came up: carriers are known, IPv6 addresses there and not tentative. What a run
// has undone settles, too: again prints what a command prints as soon as that is
// what the file before says, or after ten seconds.
var state = `settle() {
	for i in $(seq 100); do
		open=$(ip -6 -o addr show tentative
			ip -o link show up | grep LOWER_UP | grep -v LOOPBACK | while read -r _ name _; do
				name=${name%%[@:]*}
				ip -o link show dev $name | grep -q 'state UP' || echo $name
				[ $(cat /proc/sys/net/ipv6/conf/$name/disable_ipv6) = 1 ] || ip -6 -o addr show dev $name scope link | grep -q . || echo $name
			done)
		[ "$open" ] || return 0
		sleep 0.1
	done
	echo "not settled: $open" >&2
}
alike() {
	for f in before after; do
		tr '{},[]' '\n' < $f | grep -vE '^"(` + strings.Join(volatileKeys, "|") + `)":' | sort -u > $f.alike
	done
	cmp -s before.alike after.alike
}
again() {
	settle
	for i in $(seq 10); do
		$1 > after
		alike && break
		sleep 1
	done
	cat after
}
state() {
	for ns in "" $(ip netns list | cut -d' ' -f1 | sort); do
		echo "== $ns"
		run=${ns:+ip netns exec $ns}
		for what in "-d link" "-d addr" "route show table all" "-6 route show table all" "rule" "-6 rule" "neigh show nud permanent"; do
			$run ip -j $what
		done
		$run sh -c 'cd /proc/sys/net; grep . ipv4/ip_forward ipv4/conf/*/rp_filter ipv?/conf/*/forwarding ipv?/conf/*/accept_redirects ipv6/conf/*/disable_ipv6'
	done
	cut -d' ' -f4-7 /proc/self/mountinfo
}
`

// volatileKeys are what changes by itself in `ip -j`, and indexes: what is made
// again gets another one.
var volatileKeys = []string{"valid_life_time", "preferred_life_time", "gc_timer", "hello_timer", "tcn_timer", "topology_change_timer",
	"ifi_index", "ifindex", "link_index", "link_netnsid", "expires"}

// settled is a state without volatile keys.
func settled(t testing.TB, text string) string {
	t.Helper()
	var out strings.Builder
	for line := range strings.Lines(text) {
		var v any
		if !strings.HasPrefix(line, "[") || json.Unmarshal([]byte(line), &v) != nil {
			out.WriteString(line)
			continue
		}
		b, err := json.MarshalIndent(withoutKeys(v), "", " ")
		if err != nil {
			t.Fatal(err)
		}
		out.Write(append(b, '\n'))
	}
	return out.String()
}

func withoutKeys(v any) any {
	switch v := v.(type) {
	case map[string]any:
		for k, x := range v {
			if slices.Contains(volatileKeys, k) {
				delete(v, k)
				continue
			}
			v[k] = withoutKeys(x)
		}
	case []any:
		for i, x := range v {
			v[i] = withoutKeys(x)
		}
	}
	return v
}

// differences are the lines that only one of two texts has.
func differences(a, b string) string {
	as, bs := strings.Split(a, "\n"), strings.Split(b, "\n")
	var out strings.Builder
	for _, l := range as {
		if !slices.Contains(bs, l) {
			fmt.Fprintf(&out, "- %s\n", l)
		}
	}
	for _, l := range bs {
		if !slices.Contains(as, l) {
			fmt.Fprintf(&out, "+ %s\n", l)
		}
	}
	return out.String()
}

func TestHostPersistsAndSharesWithIP(t *testing.T) {
	script := scriptFile(t, `
blue = netns("blue")
green = netns("green", exist=True)        # made by ip netns add
same = netns(path="/run/netns/green")
expect(green == same, "one namespace, two handles")
expect.fails(lambda: netns("green"), "(?i)exist")
expect.eq([l.name for l in green.links], ["lo", "g0"])
v0, v1 = veth("v0", "v1", peer_ns=blue, addr="10.9.0.1/24", peer_addr="10.9.0.2/24", up=True)
up(v0, v1)
p = ping(root, "10.9.0.2")
expect(p.ok, p.error)
expect("p0" in root, "p0 is ip's")
addr(green["g0"], "10.8.0.1/24")
print(exec_in(green, "ip -o link show g0").stdout)
`)
	o := machine(t, `
ip netns add green
ip -n green link add g0 type veth peer name p0 netns $$
$NS --host `+script+`
echo "== after"
ip netns list | sort
ip netns exec blue ip -br addr show v1
ip -n green -br addr show g0
ip -br link show v0
test -e /sys/class/net/v0
grep -c /run/netns/blue /proc/self/mountinfo
ip netns del blue
ip netns list
`)
	if o.code != 0 {
		t.Fatalf("status %d", o.code)
	}
	_, after, _ := strings.Cut(o.stdout, "== after")
	holds(t, after, "blue", "green", "10.9.0.2/24", "10.8.0.1/24", "v0@")
}

// failing changes one thing of each kind and then fails.
const failing = `
blue = netns("blue")
move(root["m0"], blue)
v0, v1 = veth("v0", "v1", peer_ns=blue, addr="10.9.0.1/24", peer_addr="10.9.0.2/24", up=True)
up(v0, v1)
rename(root["r0"], "renamed")
br = bridge("br0", addr="10.7.0.1/24", up=True)
set_link(root["renamed"], mtu=1400, master=br, mac="02:00:00:00:00:77", alias="words", altname="another-name-for-r0")
up(root["renamed"])
sysctl(root, "net.ipv6.conf.k1.disable_ipv6", 1)
down(root["k0"])
addr(root["r1"], "10.6.0.1/24", "fd06::1/64")
sysctl(root, "net.ipv6.conf.r1.forwarding", 0)
up(root["r1"])
route(root, "192.0.2.0/24", via="10.5.0.9")
rule(root, src="10.1.0.0/16", table=7)
neighbor(root["k1"], "10.5.0.77", mac="02:00:00:00:00:99")
sysctl(root, "net.ipv4.ip_forward", 1)
sysctl(root, "net.ipv4.conf.k1.rp_filter", 2)
sysctl(root, "net.ipv6.conf.k0.disable_ipv6", 1)
sysctl(root, "net.ipv6.conf.all.disable_ipv6", 1)
sysctl(root, "net.ipv6.conf.all.forwarding", 1)
sysctl(netns("green", exist=True), "net.ipv4.ip_forward", "1")
delete(blue["v1"])
LAST
`

// foreign is what the machine has before nsscript comes.
var foreign = state + `
echo 0 > /proc/sys/net/ipv6/conf/default/accept_dad
echo 0 > /proc/sys/net/ipv6/conf/all/accept_dad
ip netns add green
ip link add m0 type veth peer name m1
ip link add r0 type veth peer name r1
ip link add k0 type veth peer name k1
ip addr add 10.5.0.1/24 dev k1
ip link set k0 up
ip link set k1 up
echo 1 > /proc/sys/net/ipv4/conf/k1/forwarding
echo 1 > /proc/sys/net/ipv6/conf/k1/forwarding
ip addr add fd05::1/64 nodad dev k1
ip addr add 10.4.0.1/24 brd + dev k0
ip addr add fd04::1/64 nodad dev k0
ip route add 198.51.100.0/24 via 10.5.0.8
ip route add 203.0.113.0/24 via 10.4.0.8 table 9
ip -6 route add 2001:db8::/32 via fd04::8
ip addr add 10.3.0.1/24 dev m0
settle
`

func TestHostUndoes(t *testing.T) {
	for _, c := range []struct {
		name, last, flags string
		code              int
		kept              bool
	}{
		{"error", "1 // 0", "", exitError, false},
		{"failed check", "expect(False)", "", exitCheckFailed, false},
		{"--rm", "", "--rm", exitOK, false},
		{"interrupted", `exec_in(root, "kill -INT $PPID; sleep 60")`, "", exitInterrupted, false},
		{"success stays", "", "", exitOK, true},
	} {
		t.Run(c.name, func(t *testing.T) {
			script := scriptFile(t, strings.Replace(failing, "LAST", c.last, 1))
			after := "again state"
			if c.kept {
				after = "settle; state"
			}
			o := machine(t, foreign+`
state > before
s=0; $NS --host `+c.flags+` `+script+` || s=$?
echo "status $s"
cat before; echo ====; `+after+`
`)
			before, after, _ := strings.Cut(o.stdout, "====\n")
			statusLine := fmt.Sprintf("status %d\n", c.code)
			holds(t, before, statusLine)
			_, before, _ = strings.Cut(before, statusLine)
			diff := differences(settled(t, before), settled(t, after))
			if c.kept {
				holds(t, diff, "renamed", "192.0.2.0", "br0")
				return
			}
			// /run/netns was made a mount of its own by ip already.
			if diff != "" {
				t.Errorf("not as it was:\n%s", diff)
			}
			if strings.Contains(o.stderr, "cannot be undone") || strings.Contains(o.stderr, "not undone") {
				t.Errorf("stderr: %s", o.stderr)
			}
		})
	}
}

func TestHostListsWhatItCannotUndo(t *testing.T) {
	script := scriptFile(t, `
flush(root, "neigh")
delete(root["m0"])
delete(netns("green", exist=True))
addr(root["k1"], "10.77.0.1/24")
fail("now")
`)
	o := machine(t, foreign+`
$NS --host --force `+script+` || true
ip -br addr show k1
`)
	holds(t, o.stderr, "cannot be undone: ", "flush neigh", "m0", "green")
	if strings.Contains(o.stdout, "10.77.0.1") {
		t.Error("the address was not undone")
	}
}

// TestHostUndoesAtTheWorstTime: in one long step of Starlark's, and when nobody
// reads what is printed.
func TestHostUndoesAtTheWorstTime(t *testing.T) {
	// The step ends by itself after hours.
	long := scriptFile(t, "netns('blue')\nmax(range(1 << 40))")
	piped := scriptFile(t, "netns('blue')\nfor i in range(100000):\n    print(i)")
	o := machine(t, `
$NS --host `+long+` & p=$!
for i in $(seq 600); do [ ! -e /run/netns/blue ] || break; sleep 0.1; done
sleep 0.3; kill -INT $p; s=0; wait $p || s=$?; echo "status $s"
ip netns list; ls /run/netns
$NS --host `+piped+` | head -1
ls /run/netns
echo end
`)
	holds(t, o.stdout, "status 130", "0\nend\n")
	if strings.Contains(o.stdout, "blue") {
		t.Error("blue was left")
	}
}

// TestHostCrash: of what a run leaves behind that had no chance to undo, there is
// a list.
func TestHostCrash(t *testing.T) {
	o := machine(t, `$NS --host `+scriptFile(t, "netns('blue')\nup(root['lo'])\nexec_in(root, 'kill -9 $PPID')")+` || echo "status $?"
ip netns list
`)
	holds(t, o.stdout, "status 2", "blue")
	holds(t, o.stderr, "ended by signal 9", "nobody has undone what it did:\nip netns add blue\nip link set lo up\n")
	if strings.Contains(o.stderr, "goroutine") {
		t.Error("a Go trace")
	}
}

// TestHostWithoutRoot: what an ordinary user may not do is said where, and how.
func TestHostWithoutRoot(t *testing.T) {
	labtest.Need(t, "userns")
	for _, c := range []struct{ script, want string }{
		{`veth("a", "b")`, "lab.star:2:1: error: make veth a and b: operation not permitted (EPERM)"},
		{`addr(root["lo"], "127.0.0.2/8")`, "lab.star:2:1: error: add address 127.0.0.2/8 to lo: operation not permitted (EPERM)"},
		{`netns("blue")`, "lab.star:2:1: "},
	} {
		o := runs(t, exitError, asOrdinary(nsscript(t, "--host", scriptFile(t, "\n"+c.script))))
		holds(t, o.stderr, c.want, "    "+c.script, "hint: ", "run it with sudo, or without --host in a private lab")
	}
}

// TestHostNetnsWithoutRoot: also on a machine where nobody has made a namespace
// before.
func TestHostNetnsWithoutRoot(t *testing.T) {
	labtest.Need(t, "nobody", "setpriv", "mount")
	cmd := nsscript(t, "--host", scriptFile(t, `netns("blue")`))
	cmd.Args = append([]string{"setpriv", "--reuid=65534", "--regid=65534", "--clear-groups"}, cmd.Args...)
	o := runs(t, exitError, inMounts(cmd, "mount -t tmpfs -o mode=755 tmpfs /run"))
	holds(t, o.stderr, "make namespace blue: ", "/run/netns: permission denied", "hint: ", "run it with sudo, or without --host in a private lab")
}

func TestHostForce(t *testing.T) {
	script := scriptFile(t, `
for name, what in [("link", lambda: root["m0"]), ("namespace", lambda: netns("green", exist=True)),
                   ("address", lambda: root["k1"].addrs[0]),
                   ("route", lambda: [r for r in root.routes if r.dst == "198.51.100.0/24"][0])]:
    print(name, catch(lambda: delete(what())))
mine = netns("mine")
a, b = veth("a", "b")
delete(a, mine)
`)
	o := machine(t, foreign+`
echo == careful
$NS --host `+script+`
ip netns list; ip -br addr show k1; ip -br link show m0; ip route
echo == forced
$NS --host --force `+script+`
ip netns list; ip -br addr; ip route
`)
	if o.code != 0 {
		t.Fatalf("status %d", o.code)
	}
	careful, forced, _ := strings.Cut(o.stdout, "== forced")
	holds(t, careful, "link link m0 was not made by this run", "namespace green was not made by this run", "green\n", "m0@", "10.5.0.1/24", "198.51.100.0/24")
	holds(t, forced, "link None", "namespace None", "address None")
	_, rest, _ := strings.Cut(forced, "route ")
	_, rest, _ = strings.Cut(rest, "\n")
	for _, gone := range []string{"green", "m0@", "10.5.0.1", "198.51.100.0"} {
		if strings.Contains(rest, gone) {
			t.Errorf("%s is still there:\n%s", gone, rest)
		}
	}
}

// TestMachineIsUntouched runs a script that changes everything, without --host.
func TestMachineIsUntouched(t *testing.T) {
	script := scriptFile(t, small+`
hub = netns("hub")
br = bridge("br0", ns=hub, up=True)
for i in range(20):
    _, p = veth("eth0", "p%d" % i, ns=netns("n%d" % i), peer_ns=hub, addr="10.0.0.%d/24" % (i + 1), up=True)
    set_link(p, master=br)
x, y = veth("m0", "y")
addr(x, "10.5.0.1/24")
rename(y, "k0") # down: kernels before 6.2 rename no other
up(x, y)
sysctl(root, "net.ipv4.ip_forward", 1)
sysctl(root, "net.ipv6.conf.all.forwarding", 1)
sysctl(root, "net.ipv4.conf.all.rp_filter", 2)
route(root, "default", via="10.5.0.9")
rule(root, src="10.1.0.0/16", table=7)
exec_in(root, "hostname other; mount -t tmpfs tmpfs /mnt; mkdir -p /run/x; ip netns add shell")
`)
	o := machine(t, foreign+`
sysctls() { (cd /proc/sys/net && grep -rs . . | grep -v nf_conntrack_count | sort); }
everything() { state; sysctls; hostname; ls -R /run; cat /proc/self/mountinfo; }
everything > before
$NS `+script+` > /dev/null
everything > after
cat before; echo ====; cat after
`)
	if o.code != 0 {
		t.Fatalf("status %d", o.code)
	}
	before, after, _ := strings.Cut(o.stdout, "====\n")
	if diff := differences(settled(t, before), settled(t, after)); diff != "" {
		t.Errorf("not as it was:\n%s", diff)
	}
	if len(before) < 10000 {
		t.Errorf("the witness sees only %d bytes", len(before))
	}
}
