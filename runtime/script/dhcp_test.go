package script_test

import (
	"os"
	"path/filepath"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// TestDHCPTshark: Wireshark reads from the messages of our client and server what the
// script gave and got, and finds nothing wrong with them.
func TestDHCPTshark(t *testing.T) {
	labtest.Need(t, "tshark")
	dir := labtest.PublicDir(t)
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	runIn(t, dir, `
r, h = netns("r"), netns("h")
lan, eth0 = veth("lan", "eth0", ns=r, peer_ns=h, mac="02:00:00:00:00:01", peer_mac="02:00:00:00:00:02", addr="10.0.0.1/24", up=True)
dhcp_server(lan, router=lan, domain="lab", mtu=1400, lease="10m", routes={"10.9.0.0/15": "10.0.0.3"}, options={43: b"x" * 300})
ready(r, h)
cap = capture(eth0, proto="udp")
dhcp_client(eth0, timeout="60s", hostname="laptop", client_id="me").release()
expect.packet(cap, {"udp.sport": 68, "ip.dst": "10.0.0.1"}, timeout="60s")
cap.save("dhcp.pcapng")
`)
	seen := map[string]bool{}
	for _, line := range tshark(t, filepath.Join(dir, "dhcp.pcapng"), "dhcp.option.dhcp", "eth.dst", "ip.src", "ip.dst", "udp.srcport", "dhcp.ip.your", "dhcp.option.hostname",
		"dhcp.option.dhcp_server_id", "dhcp.option.subnet_mask", "dhcp.option.ip_address_lease_time", "dhcp.option.interface_mtu", "_ws.malformed", "ip.checksum.status") {
		seen[line] = true // one may be there twice, on a busy machine
	}
	const everybody, server, client = "ff:ff:ff:ff:ff:ff", "02:00:00:00:00:01", "02:00:00:00:00:02"
	want := []string{
		"1|" + everybody + "|0.0.0.0|255.255.255.255|68|0.0.0.0|laptop||||||2",
		"2|" + client + "|10.0.0.1|10.0.0.2|67|10.0.0.2||10.0.0.1|255.255.255.0|600|1400||2",
		"3|" + everybody + "|0.0.0.0|255.255.255.255|68|0.0.0.0|laptop|10.0.0.1|||||2",
		"5|" + client + "|10.0.0.1|10.0.0.2|67|10.0.0.2||10.0.0.1|255.255.255.0|600|1400||2",
		"7|" + server + "|10.0.0.2|10.0.0.1|68|0.0.0.0||10.0.0.1|||||2",
	}
	for _, w := range want {
		if !seen[w] {
			t.Errorf("no %q", w)
		}
	}
	if len(seen) != len(want) || t.Failed() {
		t.Errorf("tshark has\n%s", strings.Join(tshark(t, filepath.Join(dir, "dhcp.pcapng")), "\n"))
		for line := range seen {
			t.Log(line)
		}
	}
}
