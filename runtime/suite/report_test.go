package suite

import (
	"bytes"
	"encoding/json"
	"encoding/xml"
	"errors"
	"io"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nsscript/runtime/labtest"
)

// written is what a format makes of results.
func written(format string, s Summary, results ...Result) string {
	var b bytes.Buffer
	r := New(format, &b)
	for _, result := range results {
		r.Tell(result)
	}
	r.End(s)
	return b.String()
}

func TestFormats(t *testing.T) {
	for format, suffixes := range Formats {
		golden(t, "results"+suffixes[0], written(format, summary(), results()...))
		if got := FormatOf("dir/x" + suffixes[0]); got != format {
			t.Errorf("%s is %q", suffixes[0], got)
		}
	}
	if got := FormatOf("xml"); got != "" {
		t.Errorf("xml is %q", got)
	}
}

// TestProve: Perl's consumer of TAP reads it.
func TestProve(t *testing.T) {
	labtest.Need(t, "prove")
	for want, text := range map[string]string{
		"Failed tests:  2-3, 5": written("tap", summary(), results()...),
		"Result: PASS":          written("tap", Summary{}, results()[0], results()[3]),
		"Bailout called":        written("tap", Summary{Ended: "interrupted # so"}, results()[0]),
		"Result: NOTESTS":       written("tap", Summary{}),
		"Failed 1/1 subtests":   written("tap", Summary{}, awkward()),
	} {
		file := t.TempDir() + "/results.tap"
		writeFile(t, file, text)
		out, _ := exec.Command("prove", "-e", "cat", file).CombinedOutput() // its status is that of the tests
		if !strings.Contains(string(out), want) || strings.Contains(string(out), "Parse errors") && want != "Bailout called" {
			t.Errorf("prove does not say %q but:\n%s\nof:\n%s", want, out, text)
		}
	}
}

// awkward is a result with what formats have to escape.
func awkward() Result {
	r := results()[1]
	r.File, r.Output = "a#b \\ \"c\" & <d>_test.star", "\n\n  - ---\n...\n]]>\x00\xff\ufffe\ttab: |\n"
	r.Reason = "# SKIP \n & more"
	return r
}

// schema is what junit-10.xsd of Jenkins' xunit-plugin allows, of what we write: an
// element's attributes (those with ! have to be there) and children.
var schema = map[string]struct{ attributes, children string }{
	"testsuites": {"name time tests failures errors", "testsuite"},
	"testsuite":  {"name! tests! failures! errors! time skipped timestamp", "testcase"},
	"testcase":   {"name! time classname", "skipped error failure system-out"},
	"skipped":    {"type message", ""},
	"error":      {"type message", ""},
	"failure":    {"type message", ""},
	"system-out": {"", ""},
}

// schemaTime is the schema's type of times.
var schemaTime = regexp.MustCompile(`^(([0-9]{0,3},)*[0-9]{3}|[0-9]{0,3})*(\.[0-9]{0,3})?$`)

func TestJUnitSchema(t *testing.T) {
	for _, text := range []string{written("junit", summary(), append(results(), awkward())...), written("junit", Summary{}, results()[0]), written("junit", Summary{})} {
		d := xml.NewDecoder(strings.NewReader(text))
		var path []string
		for {
			token, err := d.Token()
			if errors.Is(err, io.EOF) {
				break
			}
			if err != nil {
				t.Fatalf("%v in:\n%s", err, text)
			}
			switch token := token.(type) {
			case xml.StartElement:
				checkElement(t, path, token)
				path = append(path, token.Name.Local)
			case xml.EndElement:
				path = path[:len(path)-1]
			}
		}
	}
}

func checkElement(t *testing.T, path []string, e xml.StartElement) {
	t.Helper()
	name := e.Name.Local
	if parents := len(path); parents == 0 && name != "testsuites" ||
		parents > 0 && !slices.Contains(strings.Fields(schema[path[parents-1]].children), name) {
		t.Errorf("<%s> is in %q", name, path)
	}
	given := map[string]string{}
	for _, a := range e.Attr {
		given[a.Name.Local] = a.Value
	}
	for _, a := range strings.Fields(schema[name].attributes) {
		a, must := strings.CutSuffix(a, "!")
		if _, is := given[a]; must && !is {
			t.Errorf("<%s> has no %s", name, a)
		}
		if a == "time" && !schemaTime.MatchString(given[a]) {
			t.Errorf("<%s> has the time %q", name, given[a])
		}
		delete(given, a)
	}
	if len(given) > 0 {
		t.Errorf("<%s> has %v", name, given)
	}
}

// TestJSON: each test begins and ends once, and each file, too, as consumers of
// `go test -json` want it.
func TestJSON(t *testing.T) {
	text := written("json", summary(), append(results(), awkward())...)
	open, ended := map[[2]string]bool{}, 0
	for line := range strings.Lines(text) {
		var l jsonLine
		d := json.NewDecoder(strings.NewReader(line))
		d.DisallowUnknownFields()
		if err := d.Decode(&l); err != nil {
			t.Fatalf("%v: %s", err, line)
		}
		key := [2]string{l.Package, l.Test}
		switch l.Action {
		case "start", "run":
			open[key] = true
		case "output":
			if !open[key] {
				t.Errorf("output of none: %s", line)
			}
		case "pass", "fail", "skip":
			if !open[key] || l.Elapsed == nil || l.Time.IsZero() {
				t.Errorf("an end of none, or without a time: %s", line)
			}
			delete(open, key)
			ended++
		default:
			t.Errorf("what is %s?", line)
		}
	}
	if len(open) > 0 || ended != 7+3 {
		t.Errorf("%d ended, not %v:\n%s", ended, open, text)
	}
}
