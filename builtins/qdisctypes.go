package builtins

import (
	"fmt"
	"math"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// listTyped is a list of values of a type, or one, as a Go slice.
func listTyped[T any](t *Type, name, good string) *Type {
	return &Type{Name: name, Good: good, Convert: func(c *Call, v starlark.Value) (any, error) {
		return listAs[T](c, listOf(t, name), v)
	}}
}

// tShare is a share: "5%", or a fraction of 1.
var tShare = &Type{Name: "a share: a percentage, or from 0 to 1", Good: `"5%"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if s, ok := starlark.AsString(v); ok {
		text, isPercent := strings.CutSuffix(strings.TrimSpace(s), "%")
		f, err := strconv.ParseFloat(strings.TrimSpace(text), 64)
		if err != nil || !isPercent {
			return nil, fmt.Errorf("%q is no percentage", s)
		}
		if !(f >= 0 && f <= 100) {
			return nil, fmt.Errorf("%s is out of range: it is from 0%% to 100%%", s)
		}
		return f / 100, nil
	}
	f, ok := starlark.AsFloat(v)
	if !ok {
		return nil, errType
	}
	if !(f >= 0 && f <= 1) {
		return nil, fmt.Errorf("%v is out of range: a fraction is from 0 to 1, and a percentage is written \"%v%%\"", v, v)
	}
	return f, nil
}}

var sizeWords = sync.OnceValue(func() *regexp.Regexp {
	return regexp.MustCompile(`^([0-9.]+) ?([kmg]?)(b|bit|)$`)
})

// tSize is a number of bytes, or a string with a unit as tc(8) has them: of 1024.
var tSize = &Type{Name: "bytes, or a size with a unit", Good: `"64kb"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	if i, ok := v.(starlark.Int); ok {
		n, ok := i.Int64()
		if !ok || n < 0 || n > math.MaxUint32 {
			return nil, fmt.Errorf("%s is out of range: it is from 0 to %d", i, uint32(math.MaxUint32))
		}
		return int(n), nil
	}
	s, ok := starlark.AsString(v)
	if !ok {
		return nil, errType
	}
	m := sizeWords().FindStringSubmatch(strings.ToLower(s))
	if m == nil {
		return nil, fmt.Errorf("%q is no size", s)
	}
	f, err := strconv.ParseFloat(m[1], 64)
	if err != nil {
		return nil, fmt.Errorf("%q is no size", s)
	}
	f *= map[string]float64{"": 1, "k": 1 << 10, "m": 1 << 20, "g": 1 << 30}[m[2]]
	if m[3] == "bit" {
		f /= 8
	}
	if f != math.Trunc(f) || f > math.MaxUint32 {
		return nil, fmt.Errorf("%q is no whole number of bytes up to 4 GiB", s)
	}
	return int(f), nil
}}

// tCurve is a service curve: (m1, d, m2), or a rate alone.
var tCurve = &Type{Name: "a rate, or (rate, time, rate)", Good: `("5mbit", "10ms", "1mbit")`, Convert: func(c *Call, v starlark.Value) (any, error) {
	t, ok := v.(starlark.Tuple)
	if !ok {
		m2, err := tBitrate.Convert(c, v)
		if err != nil {
			return nil, err
		}
		return []float64{0, 0, m2.(float64)}, nil
	}
	if len(t) != 3 {
		return nil, errType
	}
	curve := make([]float64, 3)
	for i, part := range []*Type{tBitrate, tUnitDuration, tBitrate} {
		if n, ok := t[i].(starlark.Int); ok && n.Sign() == 0 { // no rate has that, but a slope
			continue
		}
		x, err := part.Convert(c, t[i])
		if err != nil {
			return nil, err
		}
		switch x := x.(type) {
		case float64:
			curve[i] = x
		case time.Duration:
			curve[i] = x.Seconds()
		}
	}
	return curve, nil
}}

// tSeed is a number of 64 bits without a sign.
var tSeed = &Type{Name: "a whole number from 0 to 18446744073709551615", Good: "42", Convert: func(_ *Call, v starlark.Value) (any, error) {
	n, ok := v.(starlark.Int)
	if !ok {
		return nil, errType
	}
	u, ok := n.Uint64()
	if !ok {
		return nil, fmt.Errorf("%v is out of range: it is from 0 to %d", n, uint64(math.MaxUint64))
	}
	return u, nil
}}

// tClass is the number of a class below its qdisc.
var tClass = &Type{Name: "a class, or its number", Good: `"1:30"`, Convert: func(c *Call, v starlark.Value) (any, error) {
	s, ok := starlark.AsString(v)
	if !ok {
		return tUint16.Convert(c, v)
	}
	_, minor, found := strings.Cut(s, ":")
	if !found {
		minor = s
	}
	n, err := strconv.ParseUint(minor, 16, 16)
	if err != nil {
		return nil, fmt.Errorf("%q is no class", s)
	}
	return int(n), nil
}}

// tTcPlace is a qdisc or a class: its handle as tc has it, or what made it.
var tTcPlace = &Type{Name: "a qdisc or class, or its handle", Good: `"1:10"`, Convert: func(_ *Call, v starlark.Value) (any, error) {
	switch v := v.(type) {
	case starlark.String:
		return string(v), nil
	case *Shaping:
		return v.shaping.Handle, nil
	case *Record:
		if q, ok := v.object.(*lab.Qdisc); ok {
			return q.Handle, nil
		}
	}
	return nil, errType
}}
