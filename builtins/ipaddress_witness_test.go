package builtins

import (
	"bytes"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"math/rand/v2"
	"net/netip"
	"os/exec"
	"slices"
	"strings"
	"testing"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/labtest"
)

// The witness is Python's own ipaddress module: one process gets all questions
// as JSON and answers in JSON. What newer Pythons do otherwise than the Python at
// hand is left out of the comparison, and nothing else is, but for what the
// comment in ipaddress.go lists as different on purpose.

const ipWitnessScript = `
import ipaddress, itertools, json, sys

version = {'version': sys.version.split()[0], 'old': sys.version_info < (3, 11)}
if version['old']:
    json.dump(version, sys.stdout)
    sys.exit()

def show(x):
    if x is None or isinstance(x, bool): return x
    if isinstance(x, int): return str(x)
    if isinstance(x, bytes): return x.hex()
    if isinstance(x, (list, tuple)): return [show(y) for y in x]
    return str(x)

def answer(f):
    try:
        return show(f())
    except (ValueError, TypeError, IndexError):
        return 'error'

make = {'A': ipaddress.ip_address, 'I': ipaddress.ip_interface, 'N': ipaddress.ip_network,
        'L': lambda text: ipaddress.ip_network(text, strict=False)}
attrs = {'A': '''compressed exploded is_global is_link_local is_loopback is_multicast is_private is_reserved
    is_unspecified max_prefixlen packed reverse_pointer version ipv4_mapped scope_id sixtofour teredo is_site_local'''.split()}
attrs['I'] = attrs['A'] + 'ip network netmask hostmask with_prefixlen with_netmask with_hostmask'.split()
attrs['N'] = '''broadcast_address compressed exploded hostmask is_global is_link_local is_loopback is_multicast
    is_private is_reserved is_unspecified is_site_local max_prefixlen netmask network_address num_addresses prefixlen
    version with_hostmask with_netmask with_prefixlen'''.split()
attrs['L'] = attrs['N']

def few(it):
    return list(itertools.islice(it, 3))

def one(kind, text):
    try:
        x = make[kind](text)
    except ValueError:
        return None
    got = {'str': str(x)}
    if kind == 'L' and '/' in text and got['str'] == text:
        return got # is as N
    for name in attrs[kind]:
        if hasattr(type(x), name) or name in ('network', 'netmask', 'network_address', 'ip'):
            got[name] = answer(lambda: getattr(x, name))
    if kind in 'AI':
        got['int'] = answer(lambda: int(x))
        for by in (1, -1, 255, 1 << 31, 1 << 32, -(1 << 64), (1 << 128) - 1):
            got['+ %d' % by] = answer(lambda: x + by)
            got['- %d' % by] = answer(lambda: x - by)
    else:
        got['hosts'] = few(x.hosts())
        got['iter'] = few(x)
        for i in (0, 1, 7, -1, -2, -9, 1 << 32, -(1 << 64), (1 << 128) - 1, -(1 << 128)):
            got['[%d]' % i] = answer(lambda: x[i])
        if x.num_addresses <= 64:
            got['count'] = sum(1 for h in x.hosts())
            got['all'] = list(x.hosts())[-3:]
    if kind == 'N':
        for diff in (0, 1, 5, 40, -1):
            got['subnets %d' % diff] = answer(lambda: few(x.subnets(diff)))
            got['supernet %d' % diff] = answer(lambda: x.supernet(diff))
        for prefix in (0, 24, 32, 64, 128, 129):
            got['subnets to %d' % prefix] = answer(lambda: few(x.subnets(new_prefix=prefix)))
            got['supernet to %d' % prefix] = answer(lambda: x.supernet(new_prefix=prefix))
    return {k: show(v) for k, v in got.items()}

def two(kind, a, b):
    x, y = make[kind](a), make[kind](b)
    got = {'==': x == y, '!=': x != y}
    for op, f in (('<', lambda: x < y), ('<=', lambda: x <= y), ('>', lambda: x > y), ('>=', lambda: x >= y)):
        got[op] = answer(f)
    if kind == 'N':
        got['in'] = x.network_address in y
        for name in ('subnet_of', 'supernet_of', 'overlaps', 'address_exclude', 'compare_networks'):
            def call():
                v = getattr(x, name)(y)
                return list(v) if name == 'address_exclude' else v
            got[name] = answer(call)
    return {k: show(v) for k, v in got.items()}

asked = json.load(sys.stdin)
has = lambda name, text: getattr(ipaddress.ip_address(text), name)
sys.stdout.write(json.dumps({ # dump is slow
    'mapped text': '.' in str(ipaddress.ip_address('::ffff:1.2.3.4')),
    'mapped loopback': has('is_loopback', '::ffff:127.0.0.1'),
    'mapped flags': has('is_multicast', '::ffff:224.0.0.1'),
    'IANA 2024': has('is_private', '192.0.0.100'),
    'RFC 9637': has('is_private', '3fff::'),
    'ones': [one(*q) for q in asked['ones']],
    'twos': [two(*q) for q in asked['twos']],
    **version,
}))
`

type ipWitness struct {
	Version        string
	Old            bool
	MappedText     bool `json:"mapped text"`
	MappedLoopback bool `json:"mapped loopback"`
	MappedFlags    bool `json:"mapped flags"`
	IANA2024       bool `json:"IANA 2024"`
	RFC9637        bool `json:"RFC 9637"`
	Ones, Twos     []map[string]any
}

// knows says whether the Python at hand does with an attribute as newer ones do,
// for the value with this address, or for a network with this first and last one.
func (w *ipWitness) knows(kind, name string, first, last netip.Addr) bool {
	mapped := first.Is4In6() || last.Is4In6()
	switch name {
	case "is_private", "is_global":
		changed := func(prefixes []netip.Prefix) bool {
			return slices.ContainsFunc(prefixes, func(p netip.Prefix) bool {
				return p.Contains(first.Unmap()) || p.Contains(last.Unmap())
			})
		}
		return (!mapped || w.MappedFlags) &&
			(w.IANA2024 || !changed(ipWitnessIANA2024)) && (w.RFC9637 || !changed(ipWitnessRFC9637))
	case "is_loopback":
		return !mapped || w.MappedLoopback
	case "is_multicast", "is_reserved", "is_link_local", "is_unspecified":
		return !mapped || w.MappedFlags
	}
	if (kind == "A" || kind == "I") && first.Zone() != "" && (name == "exploded" || name == "reverse_pointer") {
		return kind == "I" && name == "exploded" && !mapped
	}
	if kind == "I" && name == "reverse_pointer" {
		return false
	}
	if kind == "I" && first.Is4In6() {
		return name != "exploded" && !strings.HasPrefix(name, "with_")
	}
	if kind == "N" && first.Zone() != "" {
		return name != "exploded"
	}
	return true
}

var (
	ipWitnessIANA2024 = ipPrefixes("192.0.0.0/24", "64:ff9b:1::/48", "2001::/23", "2002::/16")
	ipWitnessRFC9637  = ipPrefixes("3fff::/20")
)

// same compares two answers. The Pythons that write IPv4-mapped addresses in
// hexadecimal are forgiven that.
func (w *ipWitness) same(got, want any) bool {
	if gots, ok := got.([]any); ok {
		wants, ok := want.([]any)
		return ok && slices.EqualFunc(gots, wants, w.same)
	}
	if got == want {
		return true
	}
	g, ok1 := got.(string)
	p, ok2 := want.(string)
	if w.MappedText || !ok1 || !ok2 {
		return false
	}
	// The text may be an address/length or address/mask.
	return slices.EqualFunc(strings.Split(g, "/"), strings.Split(p, "/"), func(g, p string) bool {
		x, err1 := netip.ParseAddr(g)
		y, err2 := netip.ParseAddr(p)
		return g == p || err1 == nil && err2 == nil && x == y && x.Is4In6()
	})
}

func TestIPAddressPython(t *testing.T) {
	labtest.Need(t, "python3")
	type question []string
	var asked struct {
		Ones []question `json:"ones"`
		Twos []question `json:"twos"`
	}
	addrs, texts := ipWitnessCorpus()
	for _, text := range texts {
		for _, kind := range []string{"A", "N", "L", "I"} {
			if kind == "L" && !strings.Contains(text, "/") {
				continue // is as N
			}
			asked.Ones = append(asked.Ones, question{kind, text})
		}
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	pick := func() netip.Addr { return addrs[rnd.IntN(len(addrs))] }
	for range 1000 {
		a, b := pick(), pick()
		if rnd.IntN(2) == 0 { // near each other
			b = ipU128Of(a).xor(ipU128{lo: 1}.shl(uint(rnd.IntN(a.BitLen())))).addr(a.Is4())
		}
		m, n := rnd.IntN(a.BitLen()+1), rnd.IntN(b.BitLen()+1)
		asked.Twos = append(asked.Twos,
			question{"A", a.String(), b.String()},
			question{"N", ipMasked(a, m).String(), ipMasked(b, n).String()},
			question{"I", fmt.Sprintf("%s/%d", a, m), fmt.Sprintf("%s/%d", b, n)})
	}
	stdin, err := json.Marshal(asked)
	if err != nil {
		t.Fatal(err)
	}
	command := exec.CommandContext(t.Context(), "python3", "-c", ipWitnessScript)
	command.Stdin = bytes.NewReader(stdin)
	var stderr bytes.Buffer
	command.Stderr = &stderr
	stdout, err := command.Output()
	if err != nil {
		t.Fatalf("python3: %v\n%s", err, stderr.String())
	}
	var witness ipWitness
	if err := json.Unmarshal(stdout, &witness); err != nil {
		t.Fatal(err)
	}
	if witness.Old {
		labtest.Lacks(t, "python3", "Python "+witness.Version+" is too old to compare with: 3.11 is the first whose flags of networks are right")
	}
	if len(witness.Ones) != len(asked.Ones) || len(witness.Twos) != len(asked.Twos) {
		t.Fatal("python3 left questions out")
	}
	compared, good, unknown, wrong := 0, 0, 0, 0
	fail := func(format string, args ...any) {
		if wrong++; wrong < 40 {
			t.Errorf(format, args...)
		}
	}
	for i, q := range asked.Ones {
		kind, want := q[0], witness.Ones[i]
		x, err := ipWitnessMake(kind, q[1])
		if (err == nil) != (want != nil) {
			fail("%s(%q): error %v, Python: %v", kind, q[1], err, want["str"])
		}
		if err != nil || want == nil {
			continue
		}
		good++
		var first, last netip.Addr
		switch x := x.(type) {
		case *IPAddress:
			first, last = x.addr, x.addr
		case *IPInterface:
			first, last = x.addr, x.addr
		case *IPNetwork:
			kind, first, last = "N", x.addr, x.broadcast()
		}
		for name, want := range want {
			if !witness.knows(kind, name, first, last) {
				unknown++
				continue
			}
			compared++
			if got := ipWitnessAnswer(x, name); !witness.same(got, want) {
				fail("%s(%q) %s: %v, Python: %v", kind, q[1], name, got, want)
			}
		}
	}
	for i, q := range asked.Twos {
		x, err1 := ipWitnessMake(q[0], q[1])
		y, err2 := ipWitnessMake(q[0], q[2])
		if err1 != nil || err2 != nil {
			fail("%v: %v, %v", q, err1, err2)
			continue
		}
		for op, want := range witness.Twos[i] {
			compared++
			if got := ipWitnessPair(x, op, y); !witness.same(got, want) {
				fail("%s %s %s: %v, Python: %v", x, op, y, got, want)
			}
		}
	}
	t.Logf("Python %s: %d texts, %d values, %d pairs, %d answers compared, %d left out, %d differ",
		witness.Version, len(texts), good, len(asked.Twos), compared, unknown, wrong)
	if good < 4000 || compared < 100000 || unknown > compared/20 {
		t.Errorf("the comparison is not worth its name")
	}
}

// ipWitnessCorpus has addresses, and texts that are or are not addresses,
// networks and interfaces. It is the same each time.
func ipWitnessCorpus() (addrs []netip.Addr, texts []string) {
	rnd := rand.New(rand.NewPCG(3, 4))
	// Around the edges of all ranges that mean something.
	for _, prefix := range slices.Concat(ipPrivate, ipPrivateExcept, ipShared, ipReserved, ipSiteLocal,
		ipPrefixes("224.0.0.0/4", "ff00::/8", "2001::/32", "192.0.0.0/29", "2001:2::/48", "2001:10::/28", "::ffff:0:0/96")) {
		n := IPNetworkOf(prefix)
		addrs = append(addrs, n.addr, n.broadcast(), n.addr.Prev(), n.broadcast().Next())
	}
	for range 60 {
		var b4 [4]byte
		var b16 [16]byte
		for i := range b4 {
			b4[i] = byte(rnd.IntN(256))
		}
		for i := range b16 {
			b16[i] = byte(rnd.IntN(256))
		}
		addrs = append(addrs, netip.AddrFrom4(b4), netip.AddrFrom16(b16))
		// With runs of zeros, for the short form.
		for i := 0; i < 16; i += 2 {
			switch rnd.IntN(4) {
			case 0:
				b16[i] = 0
			case 1, 2:
				b16[i], b16[i+1] = 0, 0
			}
		}
		addrs = append(addrs, netip.AddrFrom16(b16))
		addrs = append(addrs, netip.AddrFrom16(netip.AddrFrom4(b4).As16())) // IPv4-mapped
	}
	addrs = slices.DeleteFunc(addrs, func(a netip.Addr) bool { return !a.IsValid() })

	texts = append(texts, "", " ", "/", "%", ":", "::", ":::", "::/0", "0.0.0.0/0", "1.2.3", "1.2.3.4.5", "1..2.3", "1.2.3.4.", ".1.2.3.4",
		"1.2.3.4 ", "\n1.2.3.4", "01.2.3.4", "1.2.3.00", "1.2.3.0", "256.1.1.1", "1.2.3.1000", "1.2.3.-4", "1.2.3.+4", "0x1.2.3.4", "1.2.3.４",
		"1::2::3", "1:2:3:4:5:6:7", "1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:9", "1:2:3:4:5:6:7::", "::2:3:4:5:6:7:8", "1::3:4:5:6:7:8", "::1:2:3:4:5:6:7:8",
		"1:2:3:4:5:6:7:8::", ":1:2:3:4:5:6:7:8", "1:2:3:4:5:6:7:8:", "1:2:3:4:5:6:7:", "12345::", "g::", "00001::", "::1.2.3.4", "1::1.2.3.4", "1:2:3:4:5:6:1.2.3.4",
		"1:2:3:4:5:6:7:1.2.3.4", "1:2:3:4:5:1.2.3.4", "::1.2.3.4:5", "1.2.3.4::", "::01.2.3.4", "::1.2.3", "::ffff:1.2.3.256", "::FFFF:1.2.3.4", "ABCD::", "[::1]", "::1%", "::1%a", "::1%%",
		"::1%a%b", "::1%a/64", "::1%a/b/64", "::%a/64", "fe80::%eth0.1/10", "fe80::1%25eth0", "::ffff:1.2.3.4%e", "::ffff:1.2.3.4%e/128", "1.2.3.4%e", "::1%é", "::1% ", "::1/64%e", "%e", "::%e", "fe80::1%e/127", "fe80::%e/127",
		"1.2.3.4/", "1.2.3.4//8", "1.2.3.4/8/8", "1.2.3.4/08", "1.2.3.4/00000000000000000000000000000000000000008", "1.2.3.4/33", "1.2.3.4/99999999999999999999999", "1.2.3.4/-1", "1.2.3.4/+8", "1.2.3.4/ 8", "1.2.3.4/8 ", "1.2.3.4/0x8",
		"1.2.3.4/255.255.255.0", "1.2.3.0/255.255.255.0", "1.2.3.0/0.0.0.255", "1.2.3.4/0.0.0.0", "1.2.3.4/255.255.255.255", "1.2.3.0/255.0.255.0", "1.2.3.0/0.255.0.255", "1.2.3.0/255.255.255.256", "1.2.3.0/255.255.255", "0.0.0.0/127.255.255.255", "0.0.0.0/128.0.0.0", "1.2.3.0/1.2.3.0", "1.2.3.0/::",
		"::/129", "::/128", "::/0128", "::/", "::/-1", "::/ffff::", "::/255.0.0.0", "::ffff:1.2.3.4/255.0.0.0", "::/8 ", "a/b", "/24", "4294967296", "1")
	for _, a := range addrs {
		texts = append(texts, a.String())
		if rnd.IntN(4) == 0 {
			texts = append(texts, a.StringExpanded())
		}
		for range 1 + rnd.IntN(2) {
			n := rnd.IntN(a.BitLen() + 1)
			texts = append(texts, fmt.Sprintf("%s/%d", a, n), ipMasked(a, n).String())
			if a.Is4() && rnd.IntN(3) == 0 {
				texts = append(texts, fmt.Sprintf("%s/%s", a, ipMasked(a, n).netmask()), fmt.Sprintf("%s/%s", a, ipMasked(a, n).hostmask()))
			}
		}
		texts = append(texts, ipMasked(a, a.BitLen()-rnd.IntN(4)).String())
	}
	// Damaged ones.
	for range 1000 {
		text := []byte(texts[rnd.IntN(len(texts))])
		if len(text) == 0 {
			continue
		}
		const chars = "0123456789abfF:./% -g"
		i := rnd.IntN(len(text))
		switch rnd.IntN(3) {
		case 0:
			text[i] = chars[rnd.IntN(len(chars))]
		case 1:
			text = slices.Delete(text, i, i+1)
		case 2:
			text = slices.Insert(text, i, chars[rnd.IntN(len(chars))])
		}
		texts = append(texts, strings.ToValidUTF8(string(text), "?"))
	}
	slices.Sort(texts)
	return addrs, slices.Compact(texts)
}

func ipWitnessMake(kind, text string) (starlark.HasAttrs, error) {
	switch v := starlark.String(text); kind {
	case "A":
		return NewIPAddress(v)
	case "I":
		return NewIPInterface(v)
	default:
		return NewIPNetwork(v, kind == "N")
	}
}

// ipWitnessAnswer answers as the script's one does.
func ipWitnessAnswer(x starlark.HasAttrs, name string) any {
	call := func(method, args string) any {
		return ipWitnessEval(fmt.Sprintf("x.%s(%s)", method, args), x, nil)
	}
	switch method, arg, _ := strings.Cut(name, " "); {
	case name == "str":
		return x.String()
	case name == "int":
		return call("int", "")
	case name == "hosts":
		return ipWitnessFew(call("hosts", ""))
	case name == "iter":
		return ipWitnessFew(x)
	case name == "count":
		return ipWitnessEval("str(len(x.hosts()))", x, nil)
	case name == "all":
		return ipWitnessFew(ipWitnessEval("x.hosts()[-3:]", x, nil))
	case name[0] == '[' || name[0] == '+' || name[0] == '-':
		return ipWitnessEval("x"+name, x, nil)
	case strings.HasPrefix(arg, "to "):
		return ipWitnessFew(call(method, "new_prefix="+arg[3:]))
	case arg != "":
		return ipWitnessFew(call(method, arg))
	}
	return ipWitnessEval("x."+name, x, nil)
}

// ipWitnessFew gives the first three elements of a sequence that ipWitnessEval
// left as it is.
func ipWitnessFew(v any) any {
	it, ok := v.(starlark.Iterable)
	if !ok {
		return v
	}
	iterator := it.Iterate()
	defer iterator.Done()
	few := []any{}
	for x := starlark.Value(nil); len(few) < 3 && iterator.Next(&x); {
		few = append(few, x.String())
	}
	return few
}

// ipWitnessPair answers as the script's two does.
func ipWitnessPair(x starlark.Value, op string, y starlark.Value) any {
	switch {
	case op == "in":
		return ipWitnessEval("x.network_address in y", x, y)
	case op[0] >= 'a':
		return ipWitnessEval("x."+op+"(y)", x, y)
	}
	return ipWitnessEval("x "+op+" y", x, y)
}

// ipWitnessEval evaluates an expression of x and y and gives what the script's
// show would; lazy sequences stay as they are.
func ipWitnessEval(expr string, x, y starlark.Value) any {
	f, ok := ipWitnessCompiled[expr]
	if !ok {
		var err error
		f, err = starlark.EvalOptions(&syntax.FileOptions{}, &starlark.Thread{}, "witness", "lambda x, y: "+expr, nil)
		if err != nil {
			return err.Error()
		}
		ipWitnessCompiled[expr] = f
	}
	if y == nil {
		y = starlark.None
	}
	v, err := starlark.Call(&starlark.Thread{}, f, starlark.Tuple{x, y}, nil)
	if err != nil {
		return "error"
	}
	return ipWitnessShow(v)
}

var ipWitnessCompiled = map[string]starlark.Value{}

func ipWitnessShow(v starlark.Value) any {
	switch v := v.(type) {
	case starlark.NoneType:
		return nil
	case starlark.Bool:
		return bool(v)
	case starlark.String:
		return string(v)
	case starlark.Bytes:
		return hex.EncodeToString([]byte(v))
	case *starlark.List, starlark.Tuple:
		all := []any{}
		for x := range starlark.Elements(v.(starlark.Iterable)) {
			all = append(all, ipWitnessShow(x))
		}
		return all
	case *ipSeq, *ipList:
		return v
	}
	return v.String()
}
