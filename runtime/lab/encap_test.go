package lab

import (
	"encoding/hex"
	"strings"
	"testing"
)

// TestEncapWords: an encapsulation reads back as it was written, and the bytes are
// those that iproute2 sends. For ila, rpl and ioam6 there is no kernel to ask.
func TestEncapWords(t *testing.T) {
	ns := &Namespace{conn: &conn{fd: -1}, root: true}
	for _, c := range []struct{ words, data string }{
		{"mpls 100/200 ttl 3", "0c000100 00064000 000c8100 05000200 03000000"},
		{"ip id 7 dst 10.0.0.9 src 10.0.0.1 tos 8 ttl 4 key csum seq", ""},
		{"ip6 id 18446744073709551615 dst fd00::9 tc 8 hoplimit 4 key", ""},
		{"ila 2001:db8:0:1 csum-mode neutral-map ident-type luid hook-type output", ""},
		{"ila 2001:db8:0:1", "0c000100 20010db800000001"},
		{"seg6 mode encap segs fc00::1,fc00::2", ""},
		{"seg6 mode inline segs fc00::1", "30000100 00000000 00040401 01000000 00000000000000000000000000000000 fc000000000000000000000000000001"},
		{"seg6 mode encap segs fc00::1 hmac 7", "48000100 01000000 00070400 00080000 fc000000000000000000000000000001 05260000 00000007" + strings.Repeat("00", 32)},
		{"seg6local action End.B6.Encaps srh segs fc00::1,fc00::2 hmac 9", ""},
		{"seg6local action End.DT46 vrftable 77 count flavors psp,usp,usd,next-csid lblen 48 nflen 16", ""},
		{"seg6local action End.DX4 nh4 10.0.0.9", "08000100 06000000 08000400 0a000009"},
		{"rpl segs fd00::3,fd00::4", "2c000100 00040302 00000000 fd000000000000000000000000000004 fd000000000000000000000000000003"},
		{"ioam6 freq 1/3 mode encap tundst fd00::7 trace prealloc type 0x800000 ns 5 size 12",
			"08000400 01000000 08000500 03000000 05000100 02000000 14000200 fd000000000000000000000000000007 0c000300 00050003 80000000"},
		{"ioam6 mode inline trace prealloc type 0x1 ns 0 size 244", ""},
		{"xfrm if_id 7", "08000100 07000000"},
	} {
		e, err := ns.ParseEncap(c.words)
		if err != nil {
			t.Errorf("%s: %v", c.words, err)
			continue
		}
		if e.String() != c.words {
			t.Errorf("%s reads back as %s", c.words, e)
		}
		if want := strings.ReplaceAll(c.data, " ", ""); want != "" && hex.EncodeToString(e.data) != want {
			t.Errorf("%s is\n%x, not\n%s", c.words, e.data, want)
		}
	}
}

// TestTunnelOptionsWords: what some kernels must not see is understood all the same.
func TestTunnelOptionsWords(t *testing.T) {
	for words, parse := range map[string]func(*encapWords, string) ([]byte, error){
		"geneve_opts 1:2:01020304,3:4:05060708": geneveOptions,
		"vxlan_opts 4294967295":                 vxlanOptions,
		"erspan_opts 1:99":                      erspanOptions,
		"erspan_opts 2::1:63":                   erspanOptions,
	} {
		name, text, _ := strings.Cut(words, " ")
		nested, err := parse(&encapWords{name: "ip"}, text)
		if shown := strings.Join(showTunnelOptions(nested), " "); err != nil || shown != words {
			t.Errorf("%s %s reads back as %q (%v)", name, text, shown, err)
		}
	}
	for release, dies := range map[string]bool{"6.1.0-44-amd64": false, "6.14.9": false, "6.15.0-rc1": true, "6.18.44": true, "7.0": true, "5.10": false, "odd": true} {
		if diesSince(release) != dies {
			t.Errorf("%s: %v", release, !dies)
		}
	}
}

// FuzzEncap gives the reader of words any words, and those of attributes any bytes.
func FuzzEncap(f *testing.F) {
	f.Add("seg6local action End srh segs fc00::1 hmac 1 flavors psp lblen 9", uint8(7), []byte{8, 0, 1, 0, 1, 0, 0, 0})
	f.Add("ioam6 trace prealloc size 4 type 1 ns", uint8(9), []byte{12, 0, 3, 0, 0, 5, 0, 3, 128, 0, 0, 0})
	f.Add("ip id 1 geneve_opts 1:2:", uint8(2), []byte{8, 0, 8, 128, 4, 0, 1, 128})
	f.Fuzz(func(_ *testing.T, words string, kind uint8, data []byte) {
		ns := &Namespace{conn: &conn{fd: -1}, root: true}
		if !strings.Contains(words, "obj") && !strings.Contains(words, "pinned") {
			_, _ = ns.ParseEncap(words)
		}
		if e := ns.readEncap(int(kind), data); e != nil {
			_ = e.String()
		}
	})
}
