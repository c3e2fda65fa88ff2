package script_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"nsscript/builtins"
	"nsscript/runtime/lab"
	"nsscript/runtime/labtest"
)

// badValues are values of an option just out of range, as a script has them, and the
// words for the range.
func badValues(v lab.Value) (bad []string, words string) {
	numbers := func(least, most int) ([]string, string) {
		return []string{fmt.Sprint(least - 1), fmt.Sprint(most + 1)}, fmt.Sprintf("from %d to %d", least, most)
	}
	switch v := v.(type) {
	case lab.Number:
		return numbers(v.Min, v.Max)
	case lab.SCIPort:
		return numbers(1, 65535)
	case lab.Hops:
		return numbers(0, 255)
	case lab.Inheritable:
		if v.Max >= 0 {
			return numbers(0, v.Max)
		}
	case lab.Time:
		bad = []string{fmt.Sprintf("%q", fmt.Sprint(int((v.Max+time.Second)/time.Second))+"s")}
		if v.Min >= 10*time.Millisecond {
			bad = append(bad, `"0s"`)
		}
		return bad, fmt.Sprintf("from %v to %v s", v.Min.Seconds(), v.Max.Seconds())
	}
	return nil, ""
}

// badInputHead is what such scripts begin with.
const badInputHead = `a, b = veth("a", "b")
gone = netns("gone")
delete(gone)
def no(make, words):
    err = catch(make)
    if err == None:
        expect(False, "%s: no error" % words)
        return
    said = "%s\n%s" % (err.message, err.hint)
    for w in words:
        if w not in said:
            expect(False, "%s: no %r in %s" % (words, w, said))
    if "badinput" not in str(err.pos):
        expect(False, "%s: position %s" % (said, err.pos))
`

// badInput is a script that gives every option of every kind values that it does not
// take.
func badInput() (text string, cases int) {
	var b strings.Builder
	b.WriteString(badInputHead)
	for _, s := range builtins.Specs() {
		k := lab.KindOf(s.Name)
		if k == nil || !slices.ContainsFunc(s.Params, func(p builtins.Param) bool { return p.Name == "exist" }) || k.Name == "tun" || k.Name == "veth" {
			continue
		}
		others := ""
		if k.Lower == lab.NeedsLower {
			others += ", parent=a"
		}
		with := func(o *lab.Option) string {
			text := others
			for _, word := range strings.Split(labtest.KindNeeds[k.Name], ", ") {
				if name, _, given := strings.Cut(word, "="); given && (o == nil || o.Name != name) {
					text += ", " + word
				}
			}
			return text
		}
		call := func(o *lab.Option, value, words string) {
			cases++
			fmt.Fprintf(&b, "no(lambda: %s(\"x\", %s=%s%s), [%q, %q, %s])\n", k.Name, o.Name, value, with(o), k.Name+": ", o.Name+": ", words)
		}
		for _, o := range k.Options {
			if o.Change {
				continue
			}
			values, words := badValues(o.Value)
			for _, v := range values {
				call(o, v, fmt.Sprintf("\"is out of range\", %q", words))
			}
			call(o, "gone", `"got "`)
		}
		for _, bad := range [][2]string{{"mtu=67", "mtu: 67 is out of range"}, {"mtu=65536", "mtu: 65536 is out of range"}, {`addr="10.0.0.1/33"`, "at most 32"},
			{"txqueuelen=-1", "txqueuelen: -1 is out of range"}, {"numtxqueues=4097", "numtxqueues: 4097 is out of range"}, {"ns=gone", "gone"}} {
			cases++
			fmt.Fprintf(&b, "no(lambda: %s(\"x\", %s%s), [%q])\n", k.Name, bad[0], with(nil), bad[1])
		}
	}
	b.WriteString("expect.eq([l.name for l in root.links], [\"lo\", \"a\", \"b\"])\nprint(\"all\")\n")
	return b.String(), cases
}

// TestBadInput: every option of every kind of link with a value out of its range, or
// of a wrong type, and every kind with what no link has and in a namespace that was
// deleted: an error with a position that names the option and the range, and no link.
func TestBadInput(t *testing.T) {
	text, cases := badInput()
	o := job{Path: "badinput.star", Source: text}.start(t)
	if o.Ended != "" || !strings.Contains(o.Out, "all") || len(o.Reports) > 0 {
		t.Fatal(o.Ended, o.Reports, o.Out)
	}
	if cases < 300 {
		t.Errorf("only %d cases", cases)
	}
}
