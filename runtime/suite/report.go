package suite

import (
	"fmt"
	"io"
	"strings"
	"unicode/utf8"
)

// Reporter tells results as they come.
type Reporter interface {
	// Tell tells one result.
	Tell(Result)
	// End tells that there will be no more, and why, if there should have been.
	End(Summary)
}

// Formats are the formats that machines read, with the suffixes of their files.
var Formats = map[string][]string{"tap": {".tap"}, "junit": {".xml"}, "json": {".json", ".jsonl"}}

// New makes a reporter of a format; it panics on another name.
func New(format string, w io.Writer) Reporter {
	switch format {
	case "tap":
		return &tap{w: w}
	case "junit":
		return &junit{w: w}
	case "json":
		return newJSON(w)
	}
	panic("suite: no format " + format)
}

// FormatOf is the format that a file's name says, or "".
func FormatOf(file string) string {
	for format, suffixes := range Formats {
		for _, s := range suffixes {
			if strings.HasSuffix(file, s) {
				return format
			}
		}
	}
	return ""
}

// text is what both XML 1.0 and YAML 1.2 have characters for; others are U+FFFD.
func text(s string) string {
	return strings.Map(func(c rune) rune {
		switch {
		case c == '\n' || c == '\t':
			return c
		case c < 0x20, c >= 0x7f && c < 0xa0, c == 0xfffe, c == 0xffff:
			return utf8.RuneError
		}
		return c
	}, strings.ToValidUTF8(s, string(utf8.RuneError)))
}

// headline is what a test that is not well says in a line.
func headline(r Result) string {
	words := r.Reason
	switch {
	case r.Outcome == Flaky:
		return fmt.Sprintf("it passed only at attempt %d", r.Attempts)
	case len(r.Failures) > 0 && (r.Outcome == Fail || words == ""):
		words = r.Failures[0]
	}
	words, _, _ = strings.Cut(words, "\n")
	if r.SetUp {
		words = "set-up: " + words
	}
	return words
}
