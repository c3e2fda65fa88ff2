package iproute_test

import (
	"bytes"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"nsscript/runtime/event"
	"nsscript/runtime/labtest"
)

// The table of docs/coverage.md says of every word of iproute2's usage texts which
// builtin does it and on which kernels a test has done it, or why none does. The
// tests note what they do, where NSSCRIPT_EVENTS asks for it (`nsscript --events`):
//
//	NSSCRIPT_EVENTS=/tmp/noted/$(uname -r).jsonl go test ./...
//	NSSCRIPT_COVERAGE=/tmp/noted go test -run TestCoverage ./runtime/iproute
//
// The name of each file begins with the kernel's release. With NSSCRIPT_UPDATE=1
// the table is written anew.

// usage is a usage text and the commands that it is of.
type usage struct {
	program string
	help    string // the words that print it
	object  string // of the commands: "link add", "route" …
	kind    string // of link, for the options of a kind
	builtin string
}

const coverageFile = "../../docs/coverage.md"

// mark begins the table in that file; it goes on to the end.
const mark = "## Every word of iproute2\n"

func usages() []usage {
	list := []usage{
		{"ip", "netns help", "netns", "", "netns"},
		{"ip", "link help", "link", "", "set_link"},
	}
	for _, kind := range []string{"bridge", "bond", "vlan", "macvlan", "ipvlan", "vrf", "vxlan", "geneve", "gre", "gretap", "ip6gre", "ip6gretap",
		"ipip", "sit", "ip6tnl", "vti", "xfrm", "macsec"} {
		list = append(list, usage{"ip", "link help " + kind, "link", kind, kind})
	}
	return append(list,
		usage{"ip", "link help bridge_slave", "link", "bridge_slave", "bridge_port"},
		usage{"ip", "link help bond_slave", "link", "bond_slave", "set_link"},
		usage{"ip", "tuntap help", "tuntap", "", "tun, tap"},
		usage{"ip", "macsec help", "macsec", "", "macsec"},
		usage{"ip", "address help", "addr", "", "addr"},
		usage{"ip", "token help", "token", "", "addr"},
		usage{"ip", "route help", "route", "", "route"},
		usage{"ip", "rule help", "rule", "", "rule"},
		usage{"ip", "nexthop help", "nexthop", "", "nexthop"},
		usage{"ip", "neigh help", "neigh", "", "neighbor"},
		usage{"ip", "maddr help", "maddr", "", "maddr"},
		usage{"ip", "mroute help", "mroute", "", "ns.mroutes"},
		usage{"bridge", "link help", "link", "", "bridge_port"},
		usage{"bridge", "fdb help", "fdb", "", "fdb"},
		usage{"bridge", "mdb help", "mdb", "", "mdb"},
		usage{"bridge", "vlan help", "vlan", "", "bridge_vlan"},
		usage{"bridge", "vni help", "vni", "", "bridge_vlan"})
}

func (u usage) name() string { return u.program + " " + u.help }

// text is what the program prints.
func (u usage) text(t *testing.T) string {
	t.Helper()
	out, _ := exec.Command(u.program, strings.Fields(u.help)...).CombinedOutput()
	if !bytes.Contains(out, []byte("sage:")) {
		t.Fatalf("%s printed %q", u.name(), out)
	}
	return string(out)
}

// Usage texts write some options in short.
var (
	explained  = regexp.MustCompile(`<[^>]*>|[A-Za-z_.-]+:( |$)`)
	optionalNo = regexp.MustCompile(`\[no\]\s*([a-z][a-z0-9_-]*)`)
	literal    = regexp.MustCompile(`^([a-z][a-z0-9_.+-]*|6rd-[a-z_]+|[0-9.]+[A-Za-z]+|End(\.[A-Za-z0-9.]+)?)$`)
	separators = regexp.MustCompile(`[^A-Za-z0-9_.+-]+`)
	short      = strings.NewReplacer("[no][i|o]seq", "seq iseq oseq noseq noiseq nooseq",
		"[no][i|o]csum", "csum icsum ocsum nocsum noicsum noocsum", "no[i|o]key", "nokey noikey nookey", "[i|o]key", "key ikey okey")
)

// noise are words that explain, units, and values that many options share.
var noise = words(`help type on off first values are the defaults if nothing is specified for of rx queue default set_to as s ms string or and
	target 128-bit 256-bit 96-bit hex version hwid where name id any true false host list lst`)

// kindsListed are the kinds of links that some texts list.
var kindsListed = words(`amt bareudp bond bond_slave bridge bridge_slave dsa dummy erspan geneve gre gretap gtp ifb ip6erspan ip6gre ip6gretap ip6tnl ipip
	ipoib ipvlan ipvtap macsec macvlan macvtap netdevsim nlmon rmnet sit team team_slave vcan veth vti vxcan vxlan wwan xfrm virt_wifi`)

func words(text string) map[string]bool {
	set := map[string]bool{}
	for _, w := range strings.Fields(text) {
		set[w] = true
	}
	return set
}

// literals are the words of a usage text that stand in commands as they are.
func (u usage) literals(text string) []string {
	text = optionalNo.ReplaceAllString(short.Replace(explained.ReplaceAllString(text, " ")), "$1 no$1")
	skip := words(u.program + " " + u.object + " " + u.kind + " address")
	seen, list := map[string]bool{}, []string{}
	for _, w := range separators.Split(text, -1) {
		if seen[w] || noise[w] || skip[w] || !literal.MatchString(w) || u.kind == "" && u.object != "route" && kindsListed[w] {
			continue
		}
		seen[w] = true
		list = append(list, w)
	}
	return list
}

// of tells whether a command, without what says the namespace, is one of these.
func (u usage) of(command []string) bool {
	if len(command) < 2 || command[1] != u.object && !(u.object == "addr" && command[1] == "address") {
		return u.program == "bridge" && u.object == "link" && usage{"ip", "", "link", "bridge_slave", ""}.of(command)
	}
	if command[0] != u.program || u.kind == "" {
		return command[0] == u.program
	}
	i := slices.Index(command, "type")
	return i > 0 && i+1 < len(command) && command[i+1] == u.kind
}

// bare is a command without what says the namespace and the family.
func bare(command string) []string {
	w := strings.Fields(strings.NewReplacer("'", "", `"`, "").Replace(command))
	if len(w) > 4 && strings.Join(w[:3], " ") == "ip netns exec" {
		w = w[4:]
	}
	if len(w) > 2 && strings.HasPrefix(w[1], "--net=") {
		w = w[2:]
	}
	for len(w) > 3 && strings.HasPrefix(w[1], "-") {
		n := 2
		if w[1] == "-n" || w[1] == "-f" {
			n = 3
		}
		w = append(w[:1:1], w[n:]...)
	}
	return w
}

// noted are the words of commands that tests did, each with the kernels where one
// succeeded, by the name of the usage text.
func noted(t *testing.T, dir string, list []usage) map[string]map[string][]string {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if len(files) == 0 {
		t.Fatalf("%s has no *.jsonl", dir)
	}
	done := map[string]map[string][]string{}
	for _, u := range list {
		done[u.name()] = map[string][]string{}
	}
	for _, file := range files {
		kernel := strings.Join(strings.SplitN(filepath.Base(file), ".", 3)[:2], ".")
		note(t, file, list, func(u usage, word string) {
			if at := done[u.name()]; !slices.Contains(at[word], kernel) {
				at[word] = append(at[word], kernel)
			}
		})
	}
	return done
}

func note(t *testing.T, file string, list []usage, do func(u usage, word string)) {
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	seen := map[string]bool{}
	for d := json.NewDecoder(f); d.More(); {
		var e event.Record
		if err := d.Decode(&e); err != nil {
			t.Fatalf("%s: %v", file, err)
		}
		for _, command := range e.Commands {
			if e.Error != "" || seen[command] {
				continue
			}
			seen[command] = true
			w := bare(command)
			for _, u := range list {
				if u.of(w) {
					for _, word := range w[1:] {
						for _, part := range separators.Split(word, -1) {
							do(u, part)
						}
					}
				}
			}
		}
	}
}

// TestCoverage holds docs/coverage.md against what the tests did: each word that
// it says is tested has been in a command, and each word of iproute2 is in it.
func TestCoverage(t *testing.T) {
	dir := os.Getenv("NSSCRIPT_COVERAGE")
	if dir == "" {
		t.Skip("NSSCRIPT_COVERAGE is not set: nothing notes what the tests did")
	}
	labtest.Need(t, "iproute2-6.1")
	list := usages()
	done := noted(t, dir, list)
	document, err := os.ReadFile(coverageFile)
	if err != nil {
		t.Fatal(err)
	}
	head, table, _ := strings.Cut(string(document), mark)
	if os.Getenv("NSSCRIPT_UPDATE") != "" {
		if err := os.WriteFile(coverageFile, []byte(head+mark+written(t, list, done)), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	said := map[string]map[string]string{} // the last column
	for line := range strings.Lines(table) {
		cells := strings.Split(line, " | ")
		if len(cells) != 4 || !strings.HasPrefix(cells[0], "| `") {
			continue
		}
		name := strings.Trim(cells[0], "| `")
		if said[name] == nil {
			said[name] = map[string]string{}
		}
		for _, word := range strings.Fields(cells[2]) {
			said[name][strings.Trim(word, "`")] = strings.Trim(cells[3], " |\n")
		}
	}
	for _, u := range list {
		for _, word := range u.literals(u.text(t)) {
			status, known := said[u.name()][word]
			switch {
			case !known:
				t.Errorf("%s: %q is not in the table", u.name(), word)
			case tested(status) && len(done[u.name()][word]) == 0:
				t.Errorf("%s: %q was in no command that a test did", u.name(), word)
			case status == untested:
				t.Errorf("%s: %q is in no test, and nothing says why", u.name(), word)
			}
		}
	}
}

const untested = "in no test"

// tested tells a list of kernels from a reason.
func tested(status string) bool { return status != "" && status[0] >= '0' && status[0] <= '9' }

// written is the table: a line for all words of a text with the same answer.
func written(t *testing.T, list []usage, done map[string]map[string][]string) string {
	var b strings.Builder
	b.WriteString("\nWhat the usage texts of iproute2 6.1 name, by text: the builtin (or attribute) that does\n" +
		"it, and the kernels where a test did it and the kernel agreed, or why none does.\n\n" +
		"| usage text | builtin | words | tested on |\n|---|---|---|---|\n")
	for _, u := range list {
		by := map[string][]string{}
		for _, word := range u.literals(u.text(t)) {
			status := strings.Join(slices.Sorted(slices.Values(done[u.name()][word])), ", ")
			if status == "" {
				status = reason(u, word)
			}
			by[status] = append(by[status], "`"+word+"`")
		}
		for _, status := range slices.Sorted(maps.Keys(by)) {
			fmt.Fprintf(&b, "| `%s` | %s | %s | %s |\n", u.name(), u.builtin, strings.Join(by[status], " "), status)
		}
	}
	return b.String()
}

// reason is why a word is in no test.
func reason(u usage, word string) string {
	for _, r := range reasons {
		if (r.of == "" || r.of == u.name()) && words(r.words)[word] {
			return r.why
		}
	}
	return untested
}

// reasons is the closed list of what no test does.
var reasons = []struct{ of, words, why string }{
	{"", "show get save restore showdump xstats afstats monitor identify pids list-id", "reading: attributes of values do it"},
}
