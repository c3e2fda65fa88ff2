package main

import (
	"encoding/binary"
	"fmt"
	"os"
	"strconv"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"nsscript/runtime/labtest"
)

// TestRules holds every selector and action of a rule against what `ip` reads.
func TestRules(t *testing.T) {
	testRouting(t, []routingCase{
		{`rule(root, priority=100, src="10.9.0.0/16", dst="10.8.0.0/16", iif="a", oif=c, mark="0x10/0xff", tos=16, ipproto="tcp", sport="80-90", dport=443,
		uidrange="0-0", invert=True, table=77, suppress_prefixlength=0, suppress_ifgroup=9, tun_id=7, realms="3/4", proto="static")`, "rule",
			`{"priority": 100, "not": null, "src": "10.9.0.0", "srclen": 16, "dst": "10.8.0.0", "dstlen": 16, "tos": "0x10", "fwmark": "0x10", "fwmask": "0xff",
			"iif": "a", "oif": "c", "uid_start": 0, "uid_end": 0, "ipproto": "tcp", "sport_start": 80, "sport_end": 90, "dport": 443, "tun_id": 7, "table": "77",
			"suppress_prefixlen": 0, "suppress_ifgroup": "9", "flow_from": "3", "flow_to": "4", "protocol": "static"}`,
			`{"priority": 100, "invert": true, "src": "10.9.0.0/16", "dst": "10.8.0.0/16", "tos": 16, "mark": 16, "iif": "a", "oif": "c", "uidrange": "0-0",
			"ipproto": "tcp", "sport": "80-90", "dport": "443", "tun_id": 7, "table": 77, "suppress_prefixlength": 0, "suppress_ifgroup": 9, "realms": "3/4",
			"proto": "static", "action": "lookup", "l3mdev": false, "family": "inet"}`},
		{`rule(root, priority=101, l3mdev=True)`, "rule", `{"priority": 101, "l3mdev": null}`, `{"l3mdev": true, "table": null}`},
		{`rule(root, priority=102, action="blackhole", mark=7)`, "rule", `{"priority": 102, "action": "blackhole", "fwmark": "0x7"}`, `{"action": "blackhole"}`},
		{`rule(root, priority=103, action="nop")`, "rule", `{"priority": 103, "nop": null}`, `{"action": "nop"}`},
		{`rule(root, priority=104, goto=32766)`, "rule", `{"priority": 104, "goto": 32766}`, `{"action": "goto", "goto": 32766}`},
		{`rule(root, priority=105, action="unreachable", src="fd00::/8")`, "-6 rule", `{"priority": 105, "src": "fd00::", "srclen": 8, "action": "unreachable"}`, `{"family": "inet6"}`},
		{`rule(root, priority=106, action="prohibit", family=6, ipproto="ipv6-icmp")`, "-6 rule", `{"priority": 106, "action": "prohibit", "ipproto": "ipv6-icmp"}`, `{"action": "prohibit"}`},
		{`rule(root, src="10.9.0.1", table=4294967295)`, "rule", `{"priority": 32765, "src": "10.9.0.1", "table": "4294967295"}`, `{"priority": 32765, "src": "10.9.0.1/32", "table": 4294967295}`},
	})
}

// TestNeighbors holds every option of a neighbour against what `ip` reads.
func TestNeighbors(t *testing.T) {
	testRouting(t, []routingCase{
		{`neighbor(a, "10.0.0.9", "02:00:00:00:00:09")`, "neigh", `{"dst": "10.0.0.9", "dev": "a", "lladdr": "02:00:00:00:00:09", "state": ["PERMANENT"]}`, `{"state": "permanent", "proto": "unspec"}`},
		{`neighbor(a, "10.0.0.9", "02:00:00:00:00:09", nud="stale", proto="static")`, "neigh", `{"dst": "10.0.0.9", "state": ["STALE"], "protocol": "static"}`, `{"state": "stale", "proto": "static"}`},
		{`neighbor(a, "10.0.0.9", "02:00:00:00:00:09", nud="reachable")`, "neigh", `{"dst": "10.0.0.9", "state": ["REACHABLE"]}`, `{"state": "reachable"}`},
		{`neighbor(a, "10.0.0.9", "02:00:00:00:00:09", nud="noarp")`, "neigh show nud noarp", `{"dst": "10.0.0.9", "state": ["NOARP"]}`, `{"state": "noarp"}`},
		{`neighbor(a, "fd00::9", "02:00:00:00:00:09", router=True, extern_learn=True)`, "neigh", `{"dst": "fd00::9", "router": null, "extern_learn": null, "state": ["PERMANENT"]}`,
			`{"router": true, "extern_learn": true}`},
		{`neighbor(a, "10.0.0.9", managed=True)`, "neigh show nud all", `{"dst": "10.0.0.9", "managed": null}`, `{"managed": true}`},
		{`neighbor(a, "10.0.0.9", use=True, nud="none")`, "neigh show nud all", `{"dst": "10.0.0.9", "dev": "a"}`, `{"mac": null}`},
		{`neighbor(a, "10.0.0.9", proxy=True)`, "neigh show proxy", `{"dst": "10.0.0.9", "dev": "a", "proxy": null}`, `{"proxy": true}`},
		{`neighbor(a, "fd00::9", proxy=True)`, "-6 neigh show proxy", `{"dst": "fd00::9", "dev": "a", "proxy": null}`, `{"proxy": true}`},
	})
}

// TestAddresses holds every option of an address against what `ip` reads, on a link
// that is up and on one that is down.
func TestAddresses(t *testing.T) {
	cases := []routingCase{
		{`addr(c, "10.3.0.1/24", broadcast="+", label="c:x", scope="link", metric=77)`, "addr show dev c",
			`{"family": "inet", "local": "10.3.0.1", "prefixlen": 24, "broadcast": "10.3.0.255", "scope": "link", "label": "c:x", "metric": 77}`,
			`{"broadcast": "10.3.0.255", "label": "c:x", "scope": "link", "metric": 77, "valid": null, "preferred": null}`},
		{`addr(c, "10.3.0.1/24", broadcast="-", scope=200)`, "addr show dev c", `{"local": "10.3.0.1", "broadcast": "10.3.0.0", "scope": "site"}`, `{"scope": "site"}`},
		{`addr(c, "10.3.0.1/24", broadcast="10.3.0.7")`, "addr show dev c", `{"local": "10.3.0.1", "broadcast": "10.3.0.7"}`, `{"broadcast": "10.3.0.7"}`},
		{`addr(c, "10.3.0.1/32", peer="10.3.0.9/32", noprefixroute=True)`, "addr show dev c", `{"local": "10.3.0.1", "address": "10.3.0.9", "prefixlen": 32, "noprefixroute": true}`,
			`{"peer": "10.3.0.9", "flags": ["noprefixroute"]}`},
		{`addr(c, "239.3.0.1/32", autojoin=True)`, "addr show dev c", `{"local": "239.3.0.1", "autojoin": true}`, `{"flags": ["autojoin"]}`},
		{`addr(c, "fd03::1/64", home=True, mngtmpaddr=True, metric=44)`, "addr show dev c", `{"family": "inet6", "local": "fd03::1", "home": true, "mngtmpaddr": true, "nodad": true, "metric": 44}`,
			`{"flags": ["home", "nodad", "mngtmpaddr"], "metric": 44}`},
		{`addr(c, "fd03::1/64", peer="fd03::9/64")`, "addr show dev c", `{"local": "fd03::1", "address": "fd03::9"}`, `{"peer": "fd03::9"}`},
		{`addr(c, "fd03::1/64", preferred=0, valid="forever")`, "addr show dev c", `{"local": "fd03::1", "deprecated": true, "preferred_life_time": 0, "valid_life_time": 4294967295}`,
			`{"preferred": 0, "valid": null}`},
		{`addr(c, "fe80::77/64")`, "addr show dev c", `{"local": "fe80::77", "scope": "link"}`, `{"scope": "link"}`},
	}
	testRouting(t, cases)
	for i := range cases {
		cases[i].make = "down(c) and " + cases[i].make
	}
	testRouting(t, cases)
}

// TestMulticastRoutes: what a multicast router has made is what `ip mroute` shows.
func TestMulticastRoutes(t *testing.T) {
	labtest.Need(t, "iproute2", "root")
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	runs(t, exitOK, nsscript(t, scriptFile(t, routingLab+fmt.Sprintf(`
router = spawn(root, [%q, str(a.index), str(c.index)], env={%q: "1"})
require.eventually(lambda: "ready" in router.output, timeout="50s")
shown = json.decode(exec_in(root, "ip -j mroute").stdout)
expect.eq([(r.src, r.dst, r.iif.name, [(o[0].name, o[1]) for o in r.oifs], r.state) for r in root.mroutes],
          [(r["src"], r["dst"], r["iif"], [(o["oif"], o["ttl"]) for o in r["multipath"]], r["state"]) for r in shown])
expect.eq(str(root.mroutes[0]), "(10.0.0.9,239.1.2.3) Iif: a Oifs: c (ttl 5) State: resolved")
expect.eq(netns("other").mroutes, [])
`, self, multicastRouter))))
}

// multicastRouter is the variable that makes this test binary a multicast router of
// the links whose indexes are its arguments, until it is killed.
const multicastRouter = "NSSCRIPT_TEST_MULTICAST_ROUTER"

func init() {
	if os.Getenv(multicastRouter) == "" {
		return
	}
	if err := routeMulticast(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	fmt.Println("ready")
	for {
		time.Sleep(time.Hour)
	}
}

// Options of a multicast router's socket (linux/mroute.h).
const (
	mrtInit         = 200
	mrtAddVif       = 202
	mrtAddMfc       = 204
	viffUseIfindex  = 8
	mostInterfaces  = 32
	sizeOfInterface = 16
)

// routeMulticast sends what 10.0.0.9 sends to 239.1.2.3 from the first link to the
// second.
func routeMulticast(links []string) error {
	fd, err := unix.Socket(unix.AF_INET, unix.SOCK_RAW, unix.IPPROTO_IGMP)
	if err != nil {
		return err
	}
	if err := unix.SetsockoptInt(fd, unix.IPPROTO_IP, mrtInit, 1); err != nil {
		return fmt.Errorf("MRT_INIT: %w", err)
	}
	for i, link := range links {
		index, err := strconv.Atoi(link)
		if err != nil {
			return err
		}
		vif := make([]byte, sizeOfInterface) // struct vifctl
		binary.NativeEndian.PutUint16(vif, uint16(i))
		vif[2], vif[3] = viffUseIfindex, 1
		binary.NativeEndian.PutUint32(vif[8:], uint32(index))
		if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, mrtAddVif, string(vif)); err != nil {
			return fmt.Errorf("MRT_ADD_VIF: %w", err)
		}
	}
	mfc := append([]byte{10, 0, 0, 9, 239, 1, 2, 3}, make([]byte, 2+mostInterfaces+2+4*4)...) // struct mfcctl
	mfc[11] = 5                                                                               // the least TTL to the second
	if err := unix.SetsockoptString(fd, unix.IPPROTO_IP, mrtAddMfc, string(mfc)); err != nil {
		return fmt.Errorf("MRT_ADD_MFC: %w", err)
	}
	return nil
}
