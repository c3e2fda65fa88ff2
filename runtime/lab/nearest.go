package lab

import "strings"

// Nearest returns the candidate that a misspelt word most likely means, or "":
// the one at the least edit distance (insertion, deletion, change, swap of
// neighbours), if that is at most a third of the word and at least 1 is allowed;
// else the shortest that begins with the word. Of several at one distance it is one
// that lacks letters or has some more, as words typed in haste do, before one that has
// others; then the first by name. A word that is a candidate is not misspelt.
func Nearest(word string, candidates []string) string {
	best, least := "", 2*max(1, len(word)/3)+2
	for _, c := range candidates {
		d := 2 * distance(word, c)
		if d == 0 {
			return ""
		}
		if !within(word, c) && !within(c, word) {
			d++
		}
		if d < least || d == least && best != "" && c < best {
			best, least = c, d
		}
	}
	if best != "" || len(word) < 3 {
		return best
	}
	// A word cut short: "ageing" for ageing_time.
	for _, c := range candidates {
		if strings.HasPrefix(c, word) && (best == "" || len(c) < len(best)) {
			best = c
		}
	}
	return best
}

// within tells whether all letters of a are in b, in that order.
func within(a, b string) bool {
	for i := range len(a) {
		at := strings.IndexByte(b, a[i])
		if at < 0 {
			return false
		}
		b = b[at+1:]
	}
	return true
}

// distance is the optimal string alignment distance.
func distance(a, b string) int {
	before, last, row := make([]int, len(b)+1), make([]int, len(b)+1), make([]int, len(b)+1)
	for j := range last {
		last[j] = j
	}
	for i := 1; i <= len(a); i++ {
		row[0] = i
		for j := 1; j <= len(b); j++ {
			change := 1
			if a[i-1] == b[j-1] {
				change = 0
			}
			row[j] = min(last[j]+1, row[j-1]+1, last[j-1]+change)
			if i > 1 && j > 1 && a[i-1] == b[j-2] && a[i-2] == b[j-1] {
				row[j] = min(row[j], before[j-2]+1)
			}
		}
		before, last, row = last, row, before
	}
	return last[len(b)]
}
