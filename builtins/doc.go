package builtins

import (
	"fmt"
	"slices"
	"strings"

	starjson "go.starlark.net/lib/json"
	starmath "go.starlark.net/lib/math"
	"go.starlark.net/syntax"

	"nsscript/builtins/std"
	"nsscript/runtime/lab"
	"nsscript/runtime/packet"
)

// Index lists every builtin and library function, a line each.
func Index() string {
	var b strings.Builder
	family := ""
	for _, s := range Specs() {
		if s.Family != family {
			if family != "" {
				b.WriteByte('\n')
			}
			family = s.Family
			b.WriteString(family + "\n")
		}
		b.WriteString(indexLine(s.Name, s.Doc))
	}
	for _, f := range libraryFunctions() {
		if f.lib != family {
			family = f.lib
			fmt.Fprintf(&b, "\n%s\n", family)
		}
		b.WriteString(indexLine(f.name, f.doc))
	}
	return b.String()
}

// indexLine is a name with the first sentence of what it does, in lines of 80 columns.
func indexLine(name, doc string) string {
	const column = 23
	text := strings.ReplaceAll(wrap(firstSentence(doc), 80-column), "\n", "\n"+strings.Repeat(" ", column))
	return fmt.Sprintf("  %-20s %s\n", name, text)
}

func firstSentence(doc string) string {
	if i := strings.Index(doc, ". "); i >= 0 {
		doc = doc[:i+1]
	}
	first, _, _ := strings.Cut(doc, "\n")
	return first
}

// Page is the page of a builtin ("veth", "expect.eq"), of a library ("@lab"), of a
// library's function ("@lab.connect", "connect") or of a live value ("link"); ""
// and a proposal when there is none.
func Page(name string) (page, near string) {
	s, near := Find(name)
	if s != nil {
		return strings.TrimRight(s.page()+"\n"+valuePage(name), "\n") + "\n", ""
	}
	if page := valuePage(name); page != "" {
		return page, ""
	}
	if m := findMethod(name); m != nil {
		return m.page(), ""
	}
	if slices.Contains(std.Names(), name) {
		return libraryPage(name), ""
	}
	for _, f := range libraryFunctions() {
		if name == f.name || name == f.lib+"."+f.name {
			return f.page(), ""
		}
		if near == "" && lab.Nearest(strings.TrimPrefix(name, f.lib+"."), []string{f.name}) != "" {
			near = f.lib + "." + f.name
		}
	}
	return "", near
}

func (s *Spec) page() string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n", s.Signature(), wrap(s.Doc, 80))
	if len(s.Params) > 0 {
		b.WriteString("\n")
		for _, p := range s.Params {
			fmt.Fprintf(&b, "  %-22s %s\n", p.Name, strings.ReplaceAll(wrap(p.about(), 80-25), "\n", "\n"+strings.Repeat(" ", 25)))
		}
	}
	if s.Returns != "" {
		fmt.Fprintf(&b, "\nReturns %s.\n", s.Returns)
	}
	if s.Like != "" {
		fmt.Fprintf(&b, "\nLike: %s\n", s.Like)
	}
	if s.Example != "" {
		fmt.Fprintf(&b, "\nExample:\n%s\n", indent(s.Example))
	}
	return b.String()
}

// about is what a parameter takes and what it is for, said once where both say the same.
func (p Param) about() string {
	if strings.Contains(p.Type.Name, p.Doc) {
		return p.Type.Name
	}
	return p.Type.Name + ": " + p.Doc
}

func indent(text string) string { return "    " + strings.ReplaceAll(text, "\n", "\n    ") }

// wrap breaks a paragraph into lines.
func wrap(text string, width int) string {
	var lines []string
	line := ""
	for _, w := range strings.Fields(text) {
		if line != "" && len(line)+1+len(w) > width {
			lines, line = append(lines, line), ""
		}
		if line != "" {
			line += " "
		}
		line += w
	}
	return strings.Join(append(lines, line), "\n")
}

// Reference is docs/reference.md.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Reference\n\nEvery builtin and every function of the standard library. This page is generated\n" +
		"from the code: `nsscript doc --markdown > docs/reference.md`.\n")
	family := ""
	for _, s := range Specs() {
		if s.Family != family {
			family = s.Family
			fmt.Fprintf(&b, "\n## %s\n", family)
		}
		b.WriteString(s.markdown())
	}
	b.WriteString("\n## Methods of values\n\nThose of a firewall stand with it. A server is what tcp_server(), udp_server(), http_server(), dns_server() and dhcp_server() return.\n")
	for _, s := range methodSpecs() {
		b.WriteString(s.markdown())
	}
	for _, f := range libraryFunctions() {
		if f.lib != family {
			family = f.lib
			fmt.Fprintf(&b, "\n## `load(%q, …)`\n\n%s\n", family, libraryDoc(f.lib))
		}
		fmt.Fprintf(&b, "\n### %s\n\n`%s`\n\n%s\n", f.name, f.signature, f.doc)
	}
	return b.String()
}

func (s *Spec) markdown() string {
	var b strings.Builder
	fmt.Fprintf(&b, "\n### %s\n\n`%s`", s.Name, s.Signature())
	if s.Returns != "" {
		fmt.Fprintf(&b, " → %s", s.Returns)
	}
	fmt.Fprintf(&b, "\n\n%s\n", s.Doc)
	if s.Like != "" {
		fmt.Fprintf(&b, "\nLike `%s`.\n", s.Like)
	}
	if len(s.Params) > 0 {
		b.WriteString("\n| parameter | what | |\n|---|---|---|\n")
		for _, p := range s.Params {
			fmt.Fprintf(&b, "| `%s` | %s | %s |\n", p.Name, p.Doc, strings.ReplaceAll(p.Type.Name, "|", "\\|"))
		}
	}
	if s.Example != "" {
		fmt.Fprintf(&b, "\n```python\n%s\n```\n", s.Example)
	}
	return b.String()
}

// libraryFunction is a public function of the standard library.
type libraryFunction struct {
	lib, name, signature, doc string
}

// valuePage says what a live value has.
func valuePage(name string) string {
	switch name {
	case "root":
		return "root\n\nThe lab's root namespace, a netns: private by default, with lo up as on a booted\nmachine; the machine's own with --host.\n"
	case "netns":
		return attributes(name, namespaceAttrs)
	case "link":
		return attributes(name, linkAttrs)
	case "process":
		return attributes(name, (&Process{}).AttrNames()) + "\n" + modulePage(name)
	case "packet":
		return attributes(name, (&Packet{capture: &lab.Capture{}}).AttrNames()) + layerFields()
	case "json":
		return attributes("module json, that of Starlark,", starjson.Module.Members.Keys())
	case "math":
		return attributes("module math, that of Starlark,", starmath.Module.Members.Keys())
	}
	return modulePage(name)
}

// modulePage lists the functions of a module, or the methods of a kind of values; ""
// when there are none.
func modulePage(name string) string {
	var b strings.Builder
	for _, s := range append(Specs(), methodSpecs()...) {
		if strings.HasPrefix(s.Name, name+".") {
			b.WriteString(indexLine(s.Name, s.Doc))
		}
	}
	if b.Len() == 0 {
		return ""
	}
	return name + " has\n\n" + b.String()
}

// layerFields lists the fields of every layer of a packet.
func layerFields() string {
	var b strings.Builder
	b.WriteString("\nIts layers have\n\n")
	for _, name := range packet.Names() {
		l := PacketLayer{kind: packet.KindOf(name)}
		fmt.Fprintf(&b, "  %-10s %s\n", name, strings.ReplaceAll(wrap(strings.Join(l.AttrNames(), " "), 64), "\n", "\n             "))
	}
	return b.String()
}

func attributes(name string, attrs []string) string {
	return fmt.Sprintf("A %s has\n\n%s\n", name, indent(wrap(strings.Join(attrs, " "), 72)))
}

// libraryPage is a library with its functions.
func libraryPage(lib string) string {
	var b strings.Builder
	fmt.Fprintf(&b, "%s\n\n%s\n\n", lib, libraryDoc(lib))
	for _, f := range libraryFunctions() {
		if f.lib == lib {
			fmt.Fprintf(&b, "  %-20s %s\n", f.name, firstSentence(f.doc))
		}
	}
	return b.String()
}

func (f *libraryFunction) page() string {
	return fmt.Sprintf("load(%q, %q)\n%s\n\n%s\n", f.lib, f.name, f.signature, f.doc)
}

// libraryFunctions reads them off the libraries' source.
func libraryFunctions() []*libraryFunction {
	var all []*libraryFunction
	for _, lib := range std.Names() {
		f := libraryFile(lib)
		for _, stmt := range f.Stmts {
			def, ok := stmt.(*syntax.DefStmt)
			if !ok || strings.HasPrefix(def.Name.Name, "_") {
				continue
			}
			var params []string
			for _, p := range def.Params {
				params = append(params, paramText(p))
			}
			all = append(all, &libraryFunction{lib, def.Name.Name,
				fmt.Sprintf("%s(%s)", def.Name.Name, strings.Join(params, ", ")), docstring(def.Body)})
		}
	}
	return all
}

func libraryFile(lib string) *syntax.File {
	source, err := std.Read(strings.TrimPrefix(lib, "@"))
	if err != nil {
		panic(err) // the library is embedded
	}
	f, err := (&syntax.FileOptions{}).Parse(lib, source, 0)
	if err != nil {
		panic(err) // and tested
	}
	return f
}

func libraryDoc(lib string) string { return docstring(libraryFile(lib).Stmts) }

// docstring is the text that a body begins with, without its indentation.
func docstring(body []syntax.Stmt) string {
	if len(body) == 0 {
		return ""
	}
	e, ok := body[0].(*syntax.ExprStmt)
	if !ok {
		return ""
	}
	lit, ok := e.X.(*syntax.Literal)
	if !ok {
		return ""
	}
	text, _ := lit.Value.(string)
	return strings.TrimSpace(strings.ReplaceAll(text, "\n    ", "\n"))
}

func paramText(e syntax.Expr) string {
	switch e := e.(type) {
	case *syntax.Ident:
		return e.Name
	case *syntax.UnaryExpr:
		if e.X == nil {
			return e.Op.String()
		}
		return e.Op.String() + paramText(e.X)
	case *syntax.BinaryExpr:
		return paramText(e.X) + "=" + paramText(e.Y)
	case *syntax.Literal:
		return e.Raw
	}
	return "…"
}
