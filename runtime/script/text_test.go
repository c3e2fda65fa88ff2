package script

import (
	"context"
	"strings"
	"testing"
)

// ended is what a run printed, and the words that it ended with; it needs no lab.
func ended(source string) (printed, words string) {
	var out strings.Builder
	r := New(Options{Out: &out})
	if result := r.Run(context.Background(), "x.star", source); result.Err != nil {
		words = r.Explain(result.Err)
	}
	return out.String(), words
}

// TestNoText: what is no text is refused whole, where it stops being text.
func TestNoText(t *testing.T) {
	for _, c := range []struct{ source, want string }{
		{"print(1)\n\x00\nfail()\n", "x.star:2:1: error: there is a NUL byte here"},
		{"print(1) # é\x00\n", "x.star:1:13: error: there is a NUL byte here"},
		{"\x00\x00", "x.star:1:1: error: there is a NUL byte here"},
		{"print(1)\nx = \"\xff\"\n", "x.star:2:6: error: there are bytes that are no UTF-8 here"},
	} {
		if printed, words := ended(c.source); !strings.HasPrefix(words, c.want) || printed != "" {
			t.Errorf("%q: printed %q and ended with %q, want %q", c.source, printed, words, c.want)
		}
	}
}

// TestLongLine: a message shows the part of a line that it is about, and nothing that
// would upset a terminal; it takes no time that grows with the line's square.
func TestLongLine(t *testing.T) {
	_, words := ended(`x = "` + strings.Repeat("a", 1<<20) + "\x1b\" + 1\n")
	lines := strings.Split(words, "\n")
	if len(lines) < 3 || len(lines[1]) > 4*widest || strings.Contains(words, "\x1b") {
		t.Fatalf("got %.500q", words)
	}
	caret, shown := strings.IndexByte(lines[2], '^'), []rune(lines[1])
	if caret < 0 || caret >= len(shown) || shown[caret] != '+' {
		t.Errorf("the caret is not under the operator:\n%s\n%s", lines[1], lines[2])
	}
}

// TestMemoryNobodyHas: a list that no memory can hold is an error.
func TestMemoryNobodyHas(t *testing.T) {
	for _, source := range []string{"sorted(range(1<<62))", "parallel([lambda: sorted(range(1<<62))])", "catch(lambda: sorted(range(1<<62)))"} {
		if _, words := ended(source); !strings.Contains(words, "a value is asked for that no memory can hold") {
			t.Errorf("%s: ended with %q", source, words)
		}
	}
}
