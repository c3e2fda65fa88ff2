// Package std is the standard library of lab scripts, in Starlark: convenience
// on the primitives, whose source teaches.
package std

import (
	"embed"
	"sort"
	"strings"
)

//go:embed *.star
var files embed.FS

// Read returns the source of a library by its name without the "@".
func Read(name string) (string, error) {
	b, err := files.ReadFile(name + ".star")
	return string(b), err
}

// Names lists the libraries as load() takes them: "@lab", "@topo".
func Names() []string {
	entries, _ := files.ReadDir(".")
	var names []string
	for _, e := range entries {
		names = append(names, "@"+strings.TrimSuffix(e.Name(), ".star"))
	}
	sort.Strings(names)
	return names
}

// Defines returns the library that has a function, or "".
func Defines(function string) string {
	for _, name := range Names() {
		source, err := Read(strings.TrimPrefix(name, "@"))
		if err == nil && !strings.HasPrefix(function, "_") && strings.Contains("\n"+source, "\ndef "+function+"(") {
			return name
		}
	}
	return ""
}
