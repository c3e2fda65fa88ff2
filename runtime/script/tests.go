package script

import (
	"context"
	"errors"
	"fmt"
	"strconv"
	"strings"

	"go.starlark.net/resolve"
	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/builtins"
)

// Declared is what a script says of itself without being run.
type Declared struct {
	// Tests are its test functions, in the order of the file.
	Tests []Test
	// Params are the names that its param() calls declare, as far as they are written
	// out; Complete tells that all are.
	Params   map[string]bool
	Complete bool
}

// Test is a test function.
type Test struct {
	Name string
	// Cases are the parameters with cases that matter to it: those of the top level,
	// of functions that are no tests, of loaded files, and its own.
	Cases []Cases
}

// Cases are the values of a parameter that are to be tested, as they are shown.
type Cases struct {
	Param  string
	Values []string
}

// Declare reads a script. The error, if any, is as a user wants to read it. A script
// without test functions has one test, whose name is "".
func Declare(path, source string) (*Declared, error) {
	r := New(Options{})
	r.env = &builtins.Env{Ctx: context.Background()}
	r.names = builtins.New(r.env)
	f, err := r.parse(path, source)
	if err != nil {
		return nil, errors.New(r.Explain(err))
	}
	d := &Declared{Params: map[string]bool{}, Complete: true}
	r.declared(path, source, d.Params, &d.Complete, map[string]bool{})
	common, own, err := r.cases(path, f)
	if err != nil {
		return nil, err
	}
	for _, name := range testFunctions(f) {
		d.Tests = append(d.Tests, Test{name, append(common[:len(common):len(common)], own[name]...)})
	}
	if d.Tests == nil {
		d.Tests = []Test{{"", common}}
	}
	return d, nil
}

// testFunctions are the names of the functions test_… that a file's top level defines,
// also in its if and for statements.
func testFunctions(f *syntax.File) []string {
	var names []string
	seen := map[string]bool{}
	for _, s := range f.Stmts {
		syntax.Walk(s, func(n syntax.Node) bool {
			def, ok := n.(*syntax.DefStmt)
			if !ok {
				return true
			}
			if name := def.Name.Name; strings.HasPrefix(name, "test_") && !seen[name] {
				seen[name] = true
				names = append(names, name)
			}
			return false // functions inside are nobody's tests
		})
	}
	return names
}

// tests are the test functions that the top level has really defined.
func (r *Runner) tests(path string, globals starlark.StringDict) []string {
	var names []string
	if f := r.files[path]; f != nil {
		for _, name := range testFunctions(f) {
			if globals.Has(name) {
				names = append(names, name)
			}
		}
	}
	return names
}

// callTest calls a test function. One that the top level has left undefined, in the
// other branch of an if, is none for this machine or these parameters.
func callTest(t *starlark.Thread, globals starlark.StringDict, name string) error {
	fn, ok := globals[name]
	if !ok {
		return &builtins.Skip{Reason: "the top level did not define " + name}
	}
	_, err := builtins.Guard(func() (starlark.Value, error) { return starlark.Call(t, fn, nil, nil) })
	return err
}

// cases finds param(…, cases=…): in a test function it is for that test alone.
func (r *Runner) cases(path string, f *syntax.File) (common []Cases, own map[string][]Cases, err error) {
	own = map[string][]Cases{}
	seen := map[string]bool{path: true}
	var visit func(path, test string, n syntax.Node)
	visit = func(path, test string, root syntax.Node) {
		syntax.Walk(root, func(n syntax.Node) bool {
			switch n := n.(type) {
			case *syntax.DefStmt:
				if n != root && test == "" && strings.HasPrefix(n.Name.Name, "test_") {
					visit(path, n.Name.Name, n)
					return false
				}
			case *syntax.LoadStmt:
				module, source, missing := r.find(path, n.ModuleName())
				if missing != nil || seen[module] {
					return true // the run says what is wrong
				}
				seen[module] = true
				if f, bad := r.parse(module, source); bad == nil {
					visit(module, "", f)
				}
			case *syntax.CallExpr:
				c, bad := r.casesOf(n)
				switch {
				case bad != nil:
					err = bad
				case c != nil && test == "":
					common = merge(common, *c)
				case c != nil:
					own[test] = merge(own[test], *c)
				}
			}
			return err == nil
		})
	}
	visit(path, "", f)
	return common, own, err
}

// merge adds a parameter that is declared for the first time.
func merge(all []Cases, c Cases) []Cases {
	for _, other := range all {
		if other.Param == c.Param {
			return all
		}
	}
	return append(all, c)
}

// casesOf are the cases of a call of param(), nil when it is another or has none. They
// are computed without the script: of nothing but constants and Starlark's functions.
func (r *Runner) casesOf(call *syntax.CallExpr) (*Cases, error) {
	fn, ok := call.Fn.(*syntax.Ident)
	name := firstArgument(call)
	if !ok || fn.Name != "param" || name == "" {
		return nil, nil
	}
	for _, a := range call.Args {
		b, ok := a.(*syntax.BinaryExpr)
		if !ok || b.Op != syntax.EQ {
			continue
		}
		if id, ok := b.X.(*syntax.Ident); !ok || id.Name != "cases" {
			continue
		}
		start, _ := b.Y.Span()
		t := &starlark.Thread{Name: "cases"}
		t.SetMaxExecutionSteps(1 << 20)
		v, err := builtins.Guard(func() (starlark.Value, error) { return starlark.EvalExprOptions(dialect, t, b.Y, nil) })
		list, ok := v.(starlark.Sequence)
		var names resolve.ErrorList
		if errors.As(err, &names) {
			err = errors.New(names[0].Msg)
		}
		if err == nil && (!ok || list.Len() == 0) {
			err = errors.New("they are no list of values")
		}
		if err != nil {
			text := fmt.Sprintf("param: cases of %s: %v", name, err)
			return nil, errors.New(r.message(posOf(start), text, "they are read before the script is run: write them out, like cases=[1280, 1500]"))
		}
		return &Cases{name, labels(list)}, nil
	}
	return nil, nil
}

// labels are values as the names of tests have them, each once.
func labels(list starlark.Sequence) []string {
	var all []string
	times := map[string]int{}
	for v := range starlark.Elements(list) {
		text := v.String()
		if s, ok := starlark.AsString(v); ok && strconv.Quote(s) == `"`+s+`"` {
			text = s
		}
		if runes := []rune(text); len(runes) > 60 {
			text = string(runes[:60]) + "…"
		}
		if times[text]++; times[text] > 1 {
			text += "#" + strconv.Itoa(times[text])
		}
		all = append(all, text)
	}
	return all
}

// Programs are those that the script has started with spawn(), with the last lines of
// what they printed.
func (r *Runner) Programs() []string { return r.env.Programs() }
