package lab

import (
	_ "embed" // of a table that no formula makes
	"encoding/binary"
	"math"
	"strconv"
	"strings"
	"sync"
)

// The tables of tc-netem(8): values of a distribution with the mean 0 and the standard
// deviation netemScale, of which the kernel takes one by chance. They are those that tc
// reads from its files NAME.dist, made as iproute2's netem/*.c make those, to the last
// digit.

const (
	netemScale     = 8192  // NETEM_DIST_SCALE
	netemTableSize = 16384 // of which every fourth value is taken
)

// netemTables are made when they are first needed.
var netemTables = map[string]func() []byte{
	"normal":       sync.OnceValue(func() []byte { return netemTable(normalTable()) }),
	"pareto":       sync.OnceValue(func() []byte { return netemTable(paretoTable()) }),
	"paretonormal": sync.OnceValue(func() []byte { return netemTable(paretonormalTable()) }),
	"experimental": sync.OnceValue(func() []byte { return netemTable(experimentalTable()) }),
}

// netemDistributions are the tables' names.
var netemDistributions = Word{Words: []string{"normal", "pareto", "paretonormal", "experimental"}}

// netemTable is a table as the kernel takes it.
func netemTable(values []int) (b []byte) {
	for _, v := range values {
		b = binary.NativeEndian.AppendUint16(b, uint16(int16(max(v, math.MinInt16))))
	}
	return b
}

// normalTable is the inverse of the normal distribution; its first value is beyond what
// a table can have.
func normalTable() (values []int) {
	inverse := make([]float64, netemTableSize+1)
	for x := -10.0; x < 10.05; x += .00005 {
		below := .5 + float64(.5*math.Erf(x/math.Sqrt2)) // float64 keeps the two steps apart
		inverse[int(math.RoundToEven(netemTableSize*below))] = x
	}
	for i := 0; i < netemTableSize; i += 4 {
		values = append(values, int(math.RoundToEven(inverse[i]*netemScale)))
	}
	return values
}

// paretoTable is that of the Pareto distribution of the shape 3.
func paretoTable() (values []int) {
	const shape, mean, perDeviation, steps = 3.0, 1.5, 4.0 / 3, 65536
	for i := steps; i > 0; i -= 16 {
		v := 1/math.Pow(float64(i)/steps, 1/shape) - mean
		values = append(values, int(math.RoundToEven(min(v*(perDeviation*netemScale), math.MaxInt16))))
	}
	return values
}

// paretonormalTable is a quarter of the one and three of the other, which is close to
// what is measured on long paths.
func paretonormalTable() (values []int) {
	pareto := paretoTable()
	for i, v := range normalTable() {
		values = append(values, (v+3*pareto[i])/4)
	}
	return values
}

// Round-trip times that the authors of NIST Net have measured, which is in the public
// domain.
//
//go:embed netem_experimental.dist
var experimental string

func experimentalTable() (values []int) {
	for line := range strings.Lines(experimental) {
		if strings.HasPrefix(line, "#") {
			continue
		}
		for _, word := range strings.Fields(line) {
			v, _ := strconv.Atoi(word) // the test reads them all
			values = append(values, v)
		}
	}
	return values
}
