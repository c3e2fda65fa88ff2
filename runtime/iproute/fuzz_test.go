package iproute

import (
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"nsscript/runtime/event"
)

// recorder makes a shell print, instead of running them, the commands of a
// script: each word ended by a NUL, then the standard input between brackets.
const recorder = `
record() { printf '%s\000' "$@"; printf '['; cat; printf ']'; }
ip() { record ip "$@"; }
env() { record env "$@"; }
sysctl() { record sysctl "$@"; }
id() { printf 'group of %s.' "$2"; }
cd() { printf '%s\000' cd "$@"; }
`

// record runs the body of a script with the recorder, and nothing but cat.
func record(t *testing.T, shell, script string) string {
	_, body, ok := strings.Cut(script, "\nPATH=$PATH:/usr/sbin:/sbin\n")
	if !ok {
		t.Fatalf("no header: %s", script)
	}
	cat, err := exec.LookPath("cat")
	if err != nil {
		lacking(t, "cat", err.Error())
	}
	dir := t.TempDir()
	if err := os.Symlink(cat, filepath.Join(dir, "cat")); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(dir, "script")
	if err := os.WriteFile(file, []byte(recorder+"set -e\n"+body+"\nwait\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	cmd := exec.Command(shell, file)
	cmd.Env = []string{"PATH=" + dir, "LC_ALL=C"}
	out, err := cmd.CombinedOutput()
	if err != nil {
		t.Errorf("%s: %v: %s\n%s", shell, err, out, script)
	}
	return string(out)
}

// recorded is what record prints for one command.
func recorded(input string, words ...string) string {
	return strings.Join(words, "\x00") + "\x00[" + input + "]"
}

// tricky are words and texts that a shell would change if it could.
var tricky = []string{
	"plain", "", " ", "two words", "it's", `"`, "`id`", "$HOME", "$(id)", `\`, `a\`, "*", "?", "[a]", "~", "~root", "#x", "-n", "--", "=",
	"A=1", "%s%n", "!", "{a,b}", "a;b", "a&b", "a|b", "a>b", "<", "(", ")", "\n", "a\nb\n", "\t", "\r\n", "EOF", "EOF\n", "EOF\nEOF_\n", "''", "'\n",
	"é", "\u0101\n", "\xff", "\x81\x82", "\x1b[31m", "\u202e", "\x00", "a\x00b\n", "\\000\n", "if", "echo", "日本\n", "\\\n", "a\\\n",
}

// FuzzScript lets a shell read the script of events with arbitrary words in
// them and compares what it understands with what was meant.
func FuzzScript(f *testing.F) {
	for _, s := range tricky {
		f.Add(s, s)
	}
	shell, err := exec.LookPath("sh")
	if err != nil {
		f.Fatal(err)
	}
	f.Fuzz(func(t *testing.T, word, input string) {
		// Neither the kernel nor exec(2) takes a NUL, and neither an empty name.
		word = strings.ReplaceAll(word, "\x00", "")
		if strings.ContainsRune(word, '/') {
			t.Skip("names a file")
		}
		name := "n" + word
		events := []event.Event{
			{Op: "netns add", Args: []event.Arg{{Key: "name", Value: name}}, Pos: event.Pos{File: word, Line: 1}},
			{Op: "link set", NS: name, Args: []event.Arg{{Key: "dev", Value: word}, {Key: "alias", Value: word}}},
			{Op: "sysctl", NS: name, Args: []event.Arg{{Key: "key", Value: "net/x"}, {Key: "value", Value: word}}},
			{Op: "sysctl", Args: []event.Arg{{Key: "key", Value: "net/x"}, {Key: "value", Value: word}}},
			{Op: "exec", NS: name, Args: []event.Arg{{Key: "argv", Value: word}, {Key: "argv", Value: word}, {Key: "input", Value: input}}},
			{Op: "exec", NS: name, Args: []event.Arg{{Key: "argv", Value: "p"}, {Key: "env", Value: name + "=" + word}, {Key: "user", Value: "u" + word},
				{Key: "cwd", Value: name}, {Key: "input", Value: input}, {Key: "code", Value: "1"}}},
			{Op: "exec", NS: word, Args: []event.Arg{{Key: "argv", Value: word}}, Err: errors.New(input)},
			{Op: "ping", NS: name, Args: []event.Arg{{Key: "dst", Value: word}}},
			{Op: word + "?", NS: input, Args: []event.Arg{{Key: word, Value: input}}, Pos: event.Pos{File: input, Line: 1}},
			{Op: "exec", Args: []event.Arg{{Key: "argv", Value: "p"}, {Key: "env", Value: name + "=" + word}}, Pos: event.Pos{File: input, Line: 1}},
			{Op: "spawn", NS: name, Args: []event.Arg{{Key: "argv", Value: word}, {Key: "input", Value: input}}},
		}
		want := recorded("", "ip", "netns", "add", name) +
			recorded("", append(append([]string{"ip", "-n", name, "link", "set"}, device(word, "dev")...), "alias", word)...) +
			recorded("", "ip", "netns", "exec", name, "sysctl", "-qw", "net.x="+word) +
			recorded("", "sysctl", "-qw", "net.x="+word) +
			recorded(input, "ip", "netns", "exec", name, word, word) +
			"cd\x00" + name + "\x00" +
			recorded(input, "ip", "netns", "exec", name, "setpriv", "--reuid=u"+word, "--regid=group of u"+word+".", "--init-groups", "env", name+"="+word, "p") +
			recorded("", "env", name+"="+word, "p") +
			recorded(input, "ip", "netns", "exec", name, word)
		text := Script(events, false, nil)
		if got := record(t, shell, text); got != want {
			t.Errorf("a shell reads\n%q\ninstead of\n%q\nin\n%s", got, want, text)
		}
		for _, e := range events {
			if line := Line(e); !isPrintable(line) {
				t.Errorf("not printable: %q", line)
			}
		}
	})
}

// TestLineQuoting lets bash, which knows $'…', read what traces show.
func TestLineQuoting(t *testing.T) {
	bash, err := exec.LookPath("bash")
	if err != nil {
		lacking(t, "bash", err.Error())
	}
	var want, line strings.Builder
	for _, w := range tricky {
		w = strings.ReplaceAll(w, "\x00", "")
		line.WriteString(" " + quotePrintable(w))
		want.WriteString("<" + w + ">")
	}
	out, err := exec.Command(bash, "-c", "printf '<%s>'"+line.String()).CombinedOutput()
	if err != nil || string(out) != want.String() {
		t.Errorf("%v: got %q, want %q", err, out, want.String())
	}
}
