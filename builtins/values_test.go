package builtins

import (
	"testing"

	"go.starlark.net/starlark"
)

// TestRecordsAreKeys: records with equal fields are one value and one key of a
// dict; one that differs in a field or in its kind is another.
func TestRecordsAreKeys(t *testing.T) {
	make := func(kind, cidr string, flags ...string) *Record {
		return record(kind, cidr, nil, field{"cidr", starlark.String(cidr)}, field{"flags", strs(flags)})
	}
	a := make("address", "10.0.0.1/24", "permanent")
	for _, c := range []struct {
		other *Record
		same  bool
	}{
		{make("address", "10.0.0.1/24", "permanent"), true},
		{make("address", "10.0.0.2/24", "permanent"), false},
		{make("address", "10.0.0.1/24", "tentative"), false},
		{make("address", "10.0.0.1/24"), false},
		{make("route", "10.0.0.1/24", "permanent"), false},
		{record("address", "10.0.0.1/24", nil, field{"cidr", starlark.String("10.0.0.1/24")}), false},
	} {
		for _, pair := range [][2]*Record{{a, c.other}, {c.other, a}} {
			equal, err := starlark.Equal(pair[0], pair[1])
			if err != nil || equal != c.same {
				t.Errorf("%v == %v: %v, %v", pair[0], pair[1], equal, err)
			}
		}
		dict := starlark.NewDict(1)
		if err := dict.SetKey(a, starlark.True); err != nil {
			t.Fatal(err)
		}
		_, found, err := dict.Get(c.other)
		if err != nil || found != c.same {
			t.Errorf("%v as a key finds %v: %v, %v", c.other, a, found, err)
		}
	}
}
