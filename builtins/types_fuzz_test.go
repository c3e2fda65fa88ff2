package builtins

import (
	"errors"
	"testing"
	"time"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// converters are the types whose arguments are texts or numbers.
var converters = []*Type{tString, tBool, tMTU, tUint32, tByte, tTTL, tCount, tPriority, tLinkName, tNamespaceName, tMAC,
	tDuration, tUnitDuration, tPrefix, tPrefixes, tDst, tAddress, tFamily, tTable, tScope, tRouteType, tProtocol, tAction, tHost,
	tPorts, tRegexp, tArgv, tMark, tUIDs, tWord, tNumber, tEnviron, tHops, tMaster, tNetns, tLink, tCallable}

// FuzzConvert gives every converter any text and number: it returns a value or
// says why not, in words and without a panic.
func FuzzConvert(f *testing.F) {
	for _, s := range []string{"", "10.1.1.1/24", "fe80::1%eth0", "250ms", "0x10/0xff", "80-90", "default", "02:00:00:00:00:01", "main", "^a+", "1e400", "\x00", "9-1"} {
		f.Add(s, int64(7), 0.5)
	}
	f.Fuzz(func(t *testing.T, text string, n int64, x float64) {
		c := &Call{Env: &Env{}, spec: &Spec{Name: "f"}}
		values := []starlark.Value{starlark.String(text), starlark.MakeInt64(n), starlark.Float(x), starlark.Bytes(text),
			starlark.NewList([]starlark.Value{starlark.String(text), starlark.MakeInt64(n)}), starlark.Tuple{starlark.Float(x)}, starlark.None}
		for _, typ := range converters {
			for _, v := range values {
				got, err := c.convert(Param{Name: "p", Type: typ}, "p", v)
				checkConverted(t, typ, v, got, err)
			}
		}
	})
}

func checkConverted(t *testing.T, typ *Type, v starlark.Value, got any, err error) {
	t.Helper()
	var e *lab.Error
	if err != nil {
		if !errors.As(err, &e) || e.Error() == "" {
			t.Errorf("%s of %s: %v", typ.Name, v, err)
		}
		return
	}
	if d, ok := got.(time.Duration); ok && d < 0 {
		t.Errorf("%s of %s is %v", typ.Name, v, d)
	}
}
