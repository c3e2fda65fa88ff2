package builtins

import (
	"encoding/json"
	"runtime"
	"slices"
	"sync"
	"weak"

	"go.starlark.net/starlark"
)

// tables remembers how lists of kernel objects print. They are lists like any
// other, since Starlark compares by type before it asks a value: nothing else
// would equal the list that a script writes.
type tables struct {
	mu sync.Mutex
	of map[weak.Pointer[starlark.List]]table
}

// table is what a list held when it was read, and its cells in print.
type table struct {
	items []starlark.Value
	cells [][]string
}

// rows makes a list of kernel objects that prints as a table, as long as it
// lives and is not changed. Both are of the moment at which they were read.
func (env *Env) rows(items []starlark.Value, cells [][]string) *starlark.List {
	list := starlark.NewList(items)
	key := weak.Make(list)
	t := &env.tables
	t.mu.Lock()
	defer t.mu.Unlock()
	if t.of == nil {
		t.of = map[weak.Pointer[starlark.List]]table{}
	}
	t.of[key] = table{slices.Clone(items), cells}
	runtime.AddCleanup(list, t.forget, key)
	return list
}

func (t *tables) forget(key weak.Pointer[starlark.List]) {
	t.mu.Lock()
	defer t.mu.Unlock()
	delete(t.of, key)
}

// lineRows are records that print a line each.
func (env *Env) lineRows(items []starlark.Value) *starlark.List {
	var cells [][]string
	for _, item := range items {
		cells = append(cells, []string{item.String()})
	}
	return env.rows(items, cells)
}

// printed is a value as print() shows it; table tells whether that is one of kernel
// objects.
func (env *Env) printed(v starlark.Value) (shown string, table bool) {
	if s, ok := starlark.AsString(v); ok {
		return s, false
	}
	list, ok := v.(*starlark.List)
	if !ok {
		return v.String(), false
	}
	env.tables.mu.Lock()
	t, known := env.tables.of[weak.Make(list)]
	env.tables.mu.Unlock()
	if !known || !t.holds(list) {
		return v.String(), false
	}
	return Table(nil, t.cells), true
}

// holds tells whether the list has the items that the table was made of.
func (t table) holds(list *starlark.List) bool {
	if list.Len() != len(t.items) {
		return false
	}
	for i, item := range t.items {
		if list.Index(i) != item {
			return false
		}
	}
	return true
}

// whole is a list that is JSON with all that its items have, where one of links
// is else that of their names.
type whole struct{ *starlark.List }

// MarshalJSON lists the items.
func (w whole) MarshalJSON() ([]byte, error) {
	parts := []json.RawMessage{}
	for item := range w.Elements() {
		part, err := item.(json.Marshaler).MarshalJSON()
		if err != nil {
			return nil, err
		}
		parts = append(parts, part)
	}
	return json.Marshal(parts)
}
