package builtins

import (
	"runtime"
	"testing"
	"time"

	"go.starlark.net/starlark"
)

// TestTablesAreForgotten: what is kept for printing a list goes with the list.
func TestTablesAreForgotten(t *testing.T) {
	env := &Env{}
	kept := env.rows([]starlark.Value{&Record{text: "a"}}, [][]string{{"as", "a", "table"}})
	for range 1000 {
		env.rows(nil, nil)
	}
	left := func() int {
		env.tables.mu.Lock()
		defer env.tables.mu.Unlock()
		return len(env.tables.of)
	}
	for deadline := time.Now().Add(10 * time.Second); left() > 1 && time.Now().Before(deadline); {
		runtime.GC()
		time.Sleep(time.Millisecond)
	}
	if n := left(); n != 1 {
		t.Errorf("%d tables are kept, of one list", n)
	}
	if got, _ := env.printed(kept); got != "as  a  table" {
		t.Errorf("printed %q", got)
	}
	if err := kept.Append(starlark.None); err != nil {
		t.Fatal(err)
	}
	if got, _ := env.printed(kept); got != "[a, None]" {
		t.Errorf("printed %q after a change", got)
	}
}
