package iproute_test

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"nsscript/runtime/event"
	"nsscript/runtime/labtest"
)

// The tables of docs/coverage.md say of every word of iproute2's usage texts which
// builtin does it and on which kernels a test has done it, or why none does. The
// tests note what they do, where NSSCRIPT_EVENTS asks for it (`nsscript --events`):
//
//	NSSCRIPT_EVENTS=/tmp/noted/own.jsonl go test -count=1 ./...
//	NSSCRIPT_NOTED=/tmp/noted .ci/kernel-tests
//	NSSCRIPT_COVERAGE=/tmp/noted go test -count=1 -run TestCoverage ./runtime/iproute
//
// The name of each file is that of the kernel: "own" is the machine's, whatever it
// is, "6.1" that of Debian. With NSSCRIPT_UPDATE=1 the tables are written anew.

const coverageFile = "../../docs/coverage.md"

// mark begins the tables in that file; they go on to the end.
const mark = "## Every word of iproute2\n"

// own is the machine's kernel: what is tested on it only, no other machine can hold
// the tables to.
const own = "own"

// doneWords are the words of commands that tests did, each with the kernels where
// one succeeded, by the name of the usage text.
type doneWords map[string]map[string][]string

// noted reads what tests did from the files of a folder, and names their kernels.
func noted(t *testing.T, dir string, list []usage) (done doneWords, kernels []string) {
	t.Helper()
	files, _ := filepath.Glob(filepath.Join(dir, "*.jsonl"))
	if len(files) == 0 {
		t.Fatalf("%s has no *.jsonl", dir)
	}
	done = doneWords{}
	for _, u := range list {
		done[u.name()] = map[string][]string{}
	}
	for _, file := range files {
		kernel := strings.TrimSuffix(filepath.Base(file), ".jsonl")
		kernels = append(kernels, kernel)
		for command := range commands(t, file) {
			done.add(list, bare(command), kernel)
		}
	}
	return done, kernels
}

// commands are those of the operations that succeeded. A program that was killed
// while it wrote may have left a part of a line.
func commands(t *testing.T, file string) map[string]bool {
	t.Helper()
	f, err := os.Open(file)
	if err != nil {
		t.Fatal(err)
	}
	defer f.Close()
	set := map[string]bool{}
	for lines := bufio.NewReader(f); ; {
		line, err := lines.ReadBytes('\n')
		var e event.Record
		if json.Unmarshal(line, &e) == nil && e.Error == "" {
			for _, command := range e.Commands {
				set[command] = true
			}
		}
		if err == io.EOF {
			return set
		}
		if err != nil {
			t.Fatal(err)
		}
	}
}

// add notes the words of a command that a test did on a kernel.
func (done doneWords) add(list []usage, command []string, kernel string) {
	for _, u := range list {
		if !u.of(command) {
			continue
		}
		words := done[u.name()]
		for _, argument := range u.arguments(command) {
			for _, word := range separators.Split(argument, -1) {
				for _, w := range append(synonyms[word], word) {
					if !slices.Contains(words[w], kernel) {
						words[w] = append(words[w], kernel)
					}
				}
			}
		}
	}
}

// said is what the tables say of the words of each usage text: the last column.
func said(document string) map[string]map[string]string {
	_, tables, _ := strings.Cut(document, mark)
	all, text := map[string]map[string]string{}, ""
	for line := range strings.Lines(tables) {
		if title, ok := strings.CutPrefix(line, "### `"); ok {
			text = strings.TrimRight(title, "`\n")
			all[text] = map[string]string{}
		}
		cells := strings.Split(strings.Trim(line, "|\n"), " | ")
		if len(cells) != 3 || !strings.HasPrefix(cells[0], " `") {
			continue
		}
		for _, word := range strings.Fields(cells[0]) {
			all[text][strings.Trim(word, "`")] = strings.TrimSpace(cells[2])
		}
	}
	return all
}

func readCoverage(t *testing.T) string {
	t.Helper()
	document, err := os.ReadFile(coverageFile)
	if err != nil {
		t.Fatal(err)
	}
	return string(document)
}

// tested tells a list of kernels from a reason.
func tested(where string) bool {
	return where == own || where != "" && where[0] >= '0' && where[0] <= '9'
}

// TestCoverageComplete: each word of iproute2 is in docs/coverage.md, and what that
// says to be in no test has one of the reasons that there are.
func TestCoverageComplete(t *testing.T) {
	labtest.Need(t, "iproute2-6.1", "bridge")
	words := said(readCoverage(t))
	for _, u := range usages() {
		for _, word := range u.literals(u.text(t)) {
			switch where := words[u.name()][word]; {
			case where == "":
				t.Errorf("%s: %q is not in the table", u.name(), word)
			case !tested(where) && where != reason(u, word):
				t.Errorf("%s: %q is in no test: %q is not the reason that the closed list has", u.name(), word, where)
			}
		}
	}
}

// TestCoverage holds docs/coverage.md against what the tests did: they have done
// each word on the kernels that it names. Of the machine's own kernel it only tells,
// since each machine has another one.
func TestCoverage(t *testing.T) {
	dir := os.Getenv("NSSCRIPT_COVERAGE")
	if dir == "" {
		t.Skip("NSSCRIPT_COVERAGE is not set: nothing notes what the tests did")
	}
	list := usages()
	done, kernels := noted(t, dir, list)
	document := readCoverage(t)
	if os.Getenv("NSSCRIPT_UPDATE") != "" {
		labtest.Need(t, "iproute2-6.1", "bridge")
		head, _, _ := strings.Cut(document, mark)
		if err := os.WriteFile(coverageFile, []byte(head+mark+written(t, list, done)), 0o666); err != nil {
			t.Fatal(err)
		}
		return
	}
	for text, words := range said(document) {
		for word, where := range words {
			if !tested(where) {
				continue
			}
			for kernel := range strings.SplitSeq(where, ", ") {
				switch {
				case slices.Contains(done[text][word], kernel):
				case kernel == own || !slices.Contains(kernels, kernel):
					t.Logf("%s: %q was in no test on %s", text, word, kernel)
				default:
					t.Errorf("%s: %q was in no command that a test did on %s", text, word, kernel)
				}
			}
		}
	}
}

const untested = "in no test"

// written are the tables: one for a text, with a line for all words of which the
// same is to be said.
func written(t *testing.T, list []usage, done doneWords) string {
	var b strings.Builder
	b.WriteString(introduction)
	for _, u := range list {
		fmt.Fprintf(&b, "\n### `%s`\n\n| words | builtin | tested on, or why not |\n|---|---|---|\n", u.name())
		by := map[[2]string][]string{}
		for _, word := range u.literals(u.text(t)) {
			row := [2]string{u.builtinOf(word), strings.Join(slices.Sorted(slices.Values(done[u.name()][word])), ", ")}
			if row[1] == "" {
				row = [2]string{"", reason(u, word)}
			}
			by[row] = append(by[row], "`"+word+"`")
		}
		rows := slices.SortedFunc(maps.Keys(by), func(x, y [2]string) int { return strings.Compare(x[1]+x[0], y[1]+y[0]) })
		for _, row := range rows {
			fmt.Fprintf(&b, "| %s | %s | %s |\n", strings.Join(by[row], " "), row[0], row[1])
		}
	}
	return b.String()
}

const introduction = `
What the usage texts of iproute2 6.1 name, a table for each: the builtin that does it,
and the kernels where a test did it and the kernel agreed, or why none does. 6.1 is
Debian's kernel (tier 3), "own" one that a developer's machine had (tier 2). The tests
note what they do, and the tables are written from these notes and held against them
(` + "`runtime/iproute/coverage_test.go`" + `).
`
