package iproute

import (
	"fmt"
	"strconv"
	"strings"
	"unicode/utf8"
)

// join makes a command line of words.
func join(words []string, quote func(string) string) string {
	quoted := make([]string, len(words))
	for i, w := range words {
		quoted[i] = quote(w)
	}
	return strings.Join(quoted, " ")
}

// quote writes a word so that a POSIX shell reads it as it is.
func quote(word string) string {
	if word != "" && strings.IndexFunc(word, special) < 0 {
		return word
	}
	return "'" + strings.ReplaceAll(word, "'", `'\''`) + "'"
}

// special tells whether a shell may read a character as more than itself.
func special(r rune) bool {
	switch {
	case r >= 'a' && r <= 'z', r >= 'A' && r <= 'Z', r >= '0' && r <= '9':
		return false
	}
	return !strings.ContainsRune("_@%+=:,./-", r)
}

// quotePrintable is quote for what is shown on a terminal, in one line: a word
// with characters that are not printable is written as $'…' (POSIX.1-2024, and
// most shells long before).
func quotePrintable(word string) string {
	if isPrintable(word) {
		return quote(word)
	}
	return "$'" + escape(word, `'`) + "'"
}

func isPrintable(s string) bool {
	return utf8.ValidString(s) && strings.IndexFunc(s, func(r rune) bool { return !strconv.IsPrint(r) }) < 0
}

// escape writes what is not printable, backslashes and the special characters
// with backslashes, as $'…' and the format of printf(1) have them.
func escape(s, more string) string {
	var b strings.Builder
	for i := 0; i < len(s); {
		r, size := utf8.DecodeRuneInString(s[i:])
		part := s[i : i+size]
		i += size
		switch {
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\t':
			b.WriteString(`\t`)
		case r == '\\' || strings.ContainsRune(more, r):
			b.WriteString(`\` + part)
		case r == utf8.RuneError && size == 1, !strconv.IsPrint(r):
			for _, c := range []byte(part) {
				fmt.Fprintf(&b, `\%03o`, c)
			}
		default:
			b.WriteString(part)
		}
	}
	return b.String()
}

// comment makes a comment of text, whatever is in it.
func comment(text string) string {
	if !isPrintable(text) {
		text = escape(text, "")
	}
	return "# " + text
}
