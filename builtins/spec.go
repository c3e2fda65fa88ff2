// Package builtins is the Starlark face of a lab: one file for each family of
// builtins, each builtin declared once as a [Spec].
package builtins

import (
	"fmt"
	"sort"
	"strings"
	"sync"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// Spec declares a builtin. Unpacking, `nsscript doc`, the reference page and
// the event of a call all read it.
type Spec struct {
	// Name is what scripts call it; a method of expect is "expect.eq".
	Name string
	// Family groups the reference page: "Links", "Addresses and routes" …
	Family string
	// Params are the parameters, required ones first.
	Params []Param
	// Returns says in a few words what comes back; empty for None.
	Returns string
	// Doc begins with a sentence that says what it does.
	Doc string
	// Like is the command that does the same, if there is one.
	Like string
	// Example is a script, run as a test.
	Example string
	// Fn does it.
	Fn func(c *Call) (starlark.Value, error)
}

// Param declares a parameter.
type Param struct {
	Name string
	Type *Type
	// Default is shown in the documentation; "" for None.
	Default  string
	Required bool
	// Variadic takes all remaining positional arguments.
	Variadic bool
	// KeywordOnly is not to be given by position.
	KeywordOnly bool
	Doc         string
}

// Type converts an argument, or says what was wanted.
type Type struct {
	// Name says what is wanted: "link", "address with prefix length" …
	Name string
	// Good is an example that a complaint shows.
	Good string
	// Convert returns the Go value, or an error that is a reason
	// ("300 is no byte of an IPv4 address"), or errType for a wrong type.
	Convert func(c *Call, v starlark.Value) (any, error)
}

func required(name string, t *Type, doc string) Param {
	return Param{Name: name, Type: t, Required: true, Doc: doc}
}

func optional(name string, t *Type, def, doc string) Param {
	return Param{Name: name, Type: t, Default: def, Doc: doc}
}

// keyword is an option that is given by its name only.
func keyword(name string, t *Type, def, doc string) Param {
	return Param{Name: name, Type: t, Default: def, KeywordOnly: true, Doc: doc}
}

func variadic(name string, t *Type, doc string) Param {
	return Param{Name: name, Type: t, Variadic: true, Doc: doc}
}

// registry lists every builtin; a family adds its own here. It is made when it is
// asked for: the process that only starts the private lab has no use for it.
var registry = sync.OnceValue(func() []*Spec {
	var all []*Spec
	for _, family := range []func() []*Spec{
		namespaceSpecs, linkSpecs, kindSpecs, addrSpecs, routeSpecs, ruleSpecs, sysctlSpecs, execSpecs, pingSpecs,
		checkSpecs, flowSpecs, valueSpecs, fileSpecs, ipaddressSpecs, reSpecs,
	} {
		all = append(all, family()...)
	}
	first := map[string]int{} // where a family begins
	for i, s := range all {
		if _, known := first[s.Family]; !known {
			first[s.Family] = i
		}
	}
	sort.SliceStable(all, func(i, j int) bool { return first[all[i].Family] < first[all[j].Family] })
	return all
})

// Specs returns every builtin in the order of the reference page.
func Specs() []*Spec { return registry() }

// Find returns the Spec of a name, or nil and the name that was probably meant.
func Find(name string) (*Spec, string) {
	var names []string
	for _, s := range registry() {
		if s.Name == name {
			return s, ""
		}
		names = append(names, s.Name)
	}
	return nil, lab.Nearest(name, names)
}

// Signature is the call as the documentation shows it.
func (s *Spec) Signature() string {
	var parts []string
	star := false
	for _, p := range s.Params {
		text := p.Name
		switch {
		case p.Variadic:
			text, star = "*"+p.Name, true
		case p.KeywordOnly && !star:
			parts, star = append(parts, "*"), true
			fallthrough
		case !p.Required:
			def := p.Default
			if def == "" {
				def = "None"
			}
			text += "=" + def
		}
		parts = append(parts, text)
	}
	return fmt.Sprintf("%s(%s)", s.Name, strings.Join(parts, ", "))
}
