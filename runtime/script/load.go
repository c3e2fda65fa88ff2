package script

import (
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/builtins"
	"nsscript/builtins/std"
	"nsscript/runtime/lab"
)

// load runs a module, once, and freezes its globals. It is called with the
// interpreter lock held.
func (r *Runner) load(t *starlark.Thread, name string) (starlark.StringDict, error) {
	path, source, err := r.find(t.CallFrame(0).Pos.Filename(), name)
	if err != nil {
		return nil, err
	}
	m := r.modules[canonical(path)]
	if m == nil {
		m = &module{}
		r.modules[canonical(path)] = m
		m.globals, m.err = r.exec(t, path, source)
		m.globals.Freeze()
		m.done = true
	}
	r.loaded[name] = m
	if !m.done {
		return nil, lab.Usage("modules may not load each other in a circle", "load cycle: %s is being loaded already", path)
	}
	return m.globals, m.err
}

// canonical is what a file is called whatever way leads to it.
func canonical(path string) string {
	if strings.HasPrefix(path, "@") {
		return path
	}
	if abs, err := filepath.Abs(path); err == nil {
		path = abs
	}
	if real, err := filepath.EvalSymlinks(path); err == nil {
		path = real
	}
	return path
}

// find reads the module that a file means by a name.
func (r *Runner) find(from, name string) (path, source string, err error) {
	if lib, ok := strings.CutPrefix(name, "@"); ok {
		text, err := std.Read(lib)
		if err != nil {
			return "", "", unknownLibrary(name)
		}
		return name, text, nil
	}
	path = name
	if !filepath.IsAbs(name) {
		path = filepath.Join(filepath.Dir(from), name)
	}
	b, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return "", "", lab.Usage(fmt.Sprintf("it is looked for beside %s; the standard library is %s", from, strings.Join(std.Names(), " ")), "there is no file %s", path)
	}
	if err != nil {
		return "", "", &lab.Error{Kind: lab.KindUsage, Err: err}
	}
	return path, string(b), nil
}

func unknownLibrary(name string) error {
	hint := "there are " + strings.Join(std.Names(), " and ")
	if near := lab.Nearest(name, std.Names()); near != "" {
		hint = "did you mean " + near + "?"
	}
	return lab.Usage(hint, "the standard library has no %s", name)
}

// checkArgs refuses a name=value that no param() declares, before anything is
// built. It reads the main file and, without running them, what that loads. A
// computed name is known only when the script has run: afterwards checks then.
func (r *Runner) checkArgs(path, source string) (afterwards func() error, err error) {
	afterwards = func() error { return nil }
	if len(r.options.Args) == 0 {
		return afterwards, nil
	}
	known, complete := map[string]bool{}, true
	r.declared(path, source, known, &complete, map[string]bool{})
	if complete {
		return afterwards, r.refuseUnknown(path, known)
	}
	return func() error {
		maps.Copy(known, r.env.Asked)
		return r.refuseUnknown(path, known)
	}, nil
}

// refuseUnknown complains about a name=value that is not among the names.
func (r *Runner) refuseUnknown(path string, known map[string]bool) error {
	var names []string
	for n := range known {
		names = append(names, n)
	}
	sort.Strings(names)
	for _, arg := range slices.Sorted(maps.Keys(r.options.Args)) {
		if known[arg] {
			continue
		}
		hint := "this script takes none"
		if len(names) > 0 {
			hint = "it has " + strings.Join(names, ", ")
		}
		if near := lab.Nearest(arg, names); near != "" {
			hint = "did you mean " + near + "="
		}
		return &lab.Error{Kind: builtins.KindArgument, Op: fmt.Sprintf("%s has no parameter %s", path, arg), Hint: hint}
	}
	return nil
}

// declared collects the names of param("name", …) calls. Files that cannot be
// read or parsed are left to the run, which says where.
func (r *Runner) declared(path, source string, known map[string]bool, complete *bool, seen map[string]bool) {
	if seen[path] {
		return
	}
	seen[path] = true
	f, err := r.parse(path, source)
	if err != nil {
		*complete = false
		return
	}
	syntax.Walk(f, func(n syntax.Node) bool {
		switch n := n.(type) {
		case *syntax.LoadStmt:
			if path, source, err := r.find(path, n.ModuleName()); err == nil {
				r.declared(path, source, known, complete, seen)
			}
		case *syntax.CallExpr:
			if id, ok := n.Fn.(*syntax.Ident); ok && id.Name == "param" {
				if name := firstArgument(n); name != "" {
					known[name] = true
				} else {
					*complete = false
				}
			}
		}
		return true
	})
}

// firstArgument is the literal string that a call is given first, or as name=.
func firstArgument(call *syntax.CallExpr) string {
	for i, a := range call.Args {
		if b, ok := a.(*syntax.BinaryExpr); ok && b.Op == syntax.EQ {
			if id, ok := b.X.(*syntax.Ident); !ok || id.Name != "name" {
				continue
			}
			a = b.Y
		} else if i > 0 {
			continue
		}
		if lit, ok := a.(*syntax.Literal); ok {
			if s, ok := lit.Value.(string); ok {
				return s
			}
		}
	}
	return ""
}
