package suite

import (
	"fmt"
	"hash/fnv"
	"math/rand/v2"
	"slices"
	"strconv"
	"strings"
)

// Shard is one of several parts of a suite, each for another machine.
type Shard struct{ Index, Count int } // the first is 1

// ParseShard reads I/N.
func ParseShard(s string) (Shard, error) {
	i, n, _ := strings.Cut(s, "/")
	index, err := strconv.Atoi(i)
	count, err2 := strconv.Atoi(n)
	if err != nil || err2 != nil || index < 1 || index > count {
		return Shard{}, fmt.Errorf("%q is no part I/N, like 1/4 to 4/4", s)
	}
	return Shard{index, count}, nil
}

// Of are the tests of that part. Which part a test belongs to depends on its name
// alone: adding one moves no other.
func (s Shard) Of(tests []Test) []Test {
	return slices.DeleteFunc(slices.Clone(tests), func(t Test) bool {
		h := fnv.New32a()
		h.Write([]byte(t.Name()))
		return int(h.Sum32()%uint32(s.Count)) != s.Index-1
	})
}

// Repeat is the suite n times, one after the other.
func Repeat(tests []Test, n int) []Test {
	all := tests
	for round := 2; round <= n; round++ {
		for _, t := range tests {
			t.Round = round
			all = append(all, t)
		}
	}
	return all
}

// Shuffle orders tests by a seed; the same one gives the same order.
func Shuffle(tests []Test, seed uint64) {
	rand.New(rand.NewPCG(seed, 0)).Shuffle(len(tests), func(i, j int) { tests[i], tests[j] = tests[j], tests[i] })
}
