package packet

import (
	"bytes"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var sameAddr = cmpopts.EquateComparable(netip.Addr{}, netip.Prefix{})

// TestDHCP: what is written is read again, with options that are longer than one
// can be on the wire.
func TestDHCP(t *testing.T) {
	ip := netip.MustParseAddr
	m := &DHCP{Reply: true, XID: 0xdeadbeef, Secs: 7, Broadcast: true, CIAddr: ip("10.0.0.1"), YIAddr: ip("10.0.0.2"), SIAddr: ip("10.0.0.3"), GIAddr: ip("10.0.0.4"),
		CHAddr: MAC{2, 0, 0, 0, 0, 1}, Options: DHCPOptions{DHCPMessageType: {byte(DHCPAck)}, DHCPSubnetMask: {255, 255, 254, 0}, 43: bytes.Repeat([]byte("x"), 600), 80: {}}}
	m.Options.SetAddrs(DHCPRouter, ip("10.0.0.5"), ip("10.0.0.6"))
	m.Options.SetTime(DHCPLeaseTime, time.Hour)
	routes := []DHCPRoute{{netip.MustParsePrefix("10.9.0.0/15"), ip("10.0.0.5")}, {netip.MustParsePrefix("0.0.0.0/0"), ip("10.0.0.6")}, {netip.MustParsePrefix("192.0.2.1/32"), netip.Addr{}}}
	m.Options.SetRoutes(routes)
	got, err := ParseDHCP(m.Bytes())
	if err != nil {
		t.Fatal(err)
	}
	if d := cmp.Diff(m, got, sameAddr); d != "" {
		t.Errorf("(-wrote +read)\n%s", d)
	}
	if bits, ok := got.Options.PrefixLen(); bits != 23 || !ok {
		t.Errorf("prefix length %d, %v", bits, ok)
	}
	routes[0].Dst = routes[0].Dst.Masked()
	if d := cmp.Diff(routes, got.Options.Routes(), sameAddr); d != "" {
		t.Errorf("routes (-want +got)\n%s", d)
	}
	if lease, _ := got.Options.Time(DHCPLeaseTime); lease != time.Hour || got.Type() != DHCPAck || got.Type().String() != "ack" {
		t.Errorf("lease time %v, type %v", lease, got.Type())
	}
}

// TestDHCPOverload: options may go on in the fields file and sname.
func TestDHCPOverload(t *testing.T) {
	m := &DHCP{CHAddr: MAC{2}, Options: DHCPOptions{DHCPMessageType: {1}, dhcpOverload: {3}}}
	b := m.Bytes()
	copy(b[dhcpFile:], []byte{DHCPDomain, 2, 'a', 'b', DHCPHostName, 1, 'h', dhcpEnd})
	copy(b[dhcpSname:], []byte{DHCPDomain, 1, 'c', dhcpEnd})
	got, err := ParseDHCP(b)
	if err != nil || got.Options.Text(DHCPDomain) != "abc" || got.Options.Text(DHCPHostName) != "h" || got.Options[dhcpOverload] != nil {
		t.Errorf("%v, %v", got, err)
	}
}

// TestDHCPMalformed: each is an error that says what is wrong.
func TestDHCPMalformed(t *testing.T) {
	good := (&DHCP{Options: DHCPOptions{DHCPMessageType: {1}}}).Bytes()
	change := func(at int, to ...byte) []byte {
		b := bytes.Clone(good)
		copy(b[at:], to)
		return b
	}
	for want, b := range map[string][]byte{
		"are no DHCP message": good[:239], "magic cookie": change(dhcpFixed, 0), "op 3": change(0, 3), "hardware type 6": change(1, 6),
		"addresses of 8 bytes": change(2, 8), "option 53 is longer": good[:dhcpFixed+4+2], "option 12 is longer": change(dhcpFixed+4+3, 12, 200),
	} {
		if _, err := ParseDHCP(b); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("got %v, want %q", err, want)
		}
	}
	for _, mask := range [][]byte{nil, {255}, {255, 0, 255, 0}} {
		if bits, ok := (DHCPOptions{DHCPSubnetMask: mask}).PrefixLen(); ok {
			t.Errorf("mask %v has %d bits", mask, bits)
		}
	}
	for _, v := range [][]byte{{33, 1, 2, 3, 4, 5, 1, 2, 3, 4}, {24, 1, 2, 3, 4}, {24}} {
		if r := (DHCPOptions{DHCPClasslessRoutes: v}).Routes(); r != nil {
			t.Errorf("%v has routes %v", v, r)
		}
	}
}

// FuzzDHCP: nothing that comes breaks the reader, and what it read it writes so that
// it reads the same.
func FuzzDHCP(f *testing.F) {
	f.Add((&DHCP{Options: DHCPOptions{DHCPMessageType: {1}, 43: bytes.Repeat([]byte{1}, 300), DHCPClasslessRoutes: {24, 10, 0, 0, 1, 2, 3, 4}}}).Bytes())
	f.Fuzz(func(t *testing.T, b []byte) {
		m, err := ParseDHCP(b)
		if err != nil {
			return
		}
		_, _ = m.Options.PrefixLen()
		_, _, _ = m.Options.Routes(), m.Options.Addrs(DHCPDNS), m.Options.Text(DHCPDomain)
		again, err := ParseDHCP(m.Bytes())
		if err != nil {
			t.Fatal(err)
		}
		if d := cmp.Diff(m, again, sameAddr); d != "" {
			t.Errorf("(-first +again)\n%s", d)
		}
	})
}
