package builtins

import (
	"fmt"
	"math"
	"strings"

	"go.starlark.net/starlark"
	"go.starlark.net/starlarkstruct"

	"nsscript/runtime/lab"
)

const familyValues = "Values"

func valueSpecs() []*Spec {
	return []*Spec{
		{
			Name: "print", Family: familyValues,
			Doc: "Prints values. A list of kernel objects that an attribute or routes() returned prints as a table of what was there when it was read, " +
				"unless the script has changed it; str() and \"%s\" write it as any list.",
			Params:  []Param{variadic("values", tAny, "what to print"), keyword("sep", tString, "", "between values: a space, or a newline where a value is a table or has several lines")},
			Example: "print(\"links:\")\nprint(root.links)",
			Fn: func(c *Call) (starlark.Value, error) {
				var parts []string
				sep := " "
				for _, v := range all[starlark.Value](c, "values") {
					text, table := c.Env.printed(v)
					if table || strings.Contains(strings.TrimSuffix(text, "\n"), "\n") {
						sep = "\n"
					}
					parts = append(parts, text)
				}
				_, err := fmt.Fprintln(c.Env.Out, strings.Join(parts, get(c, "sep", sep)))
				return nil, err
			},
		},
		{
			Name: "table", Family: familyValues, Returns: "a string",
			Doc: "Lays rows out in columns: a list of lists, or of dicts and records, whose names head the columns.",
			Params: []Param{required("rows", tAny, "the rows"),
				keyword("header", listOf(tString, "a list of strings"), "", "the columns' names, or of which fields to show")},
			Example: "print(table([[\"a\", 1], [\"b\", 22]], header=[\"name\", \"n\"]))\nexpect.eq(table([[\"x\", 1]]), \"x  1\")",
			Fn:      tableFn,
		},
		{
			Name: "round", Family: familyValues, Returns: "a float, or an int without digits",
			Doc:     "Rounds to a number of digits after the point, half to even.",
			Params:  []Param{required("x", tNumber, "the number"), optional("digits", intType("a number of digits", "2", -300, 300), "", "after the point")},
			Example: "expect.eq(round(3.14159, 2), 3.14)\nexpect.eq(round(2.5), 2)",
			Fn: func(c *Call) (starlark.Value, error) {
				x := get(c, "x", 0.0)
				if !c.Given("digits") {
					return starlark.NumberToInt(starlark.Float(math.RoundToEven(x)))
				}
				scale := math.Pow(10, float64(get(c, "digits", 0)))
				return starlark.Float(math.RoundToEven(x*scale) / scale), nil
			},
		},
		{
			Name: "struct", Family: familyValues, Returns: "struct",
			Doc:     "Makes a value with named fields: struct(a=1).a.",
			Example: "s = struct(name=\"h1\", n=2)\nexpect.eq((s.name, s.n), (\"h1\", 2))",
		},
	}
}

var tNumber = &Type{Name: "a number", Convert: func(_ *Call, v starlark.Value) (any, error) {
	f, ok := starlark.AsFloat(v)
	if !ok {
		return nil, errType
	}
	if math.IsNaN(f) || math.IsInf(f, 0) {
		return nil, fmt.Errorf("%v is not finite", v)
	}
	return f, nil
}}

func tableFn(c *Call) (starlark.Value, error) {
	rows, ok := get[starlark.Value](c, "rows", nil).(starlark.Iterable)
	if !ok {
		return nil, lab.Usage("like table([[\"a\", 1]])", "table: rows: want a list")
	}
	var header []string
	for _, h := range get[[]any](c, "header", nil) {
		header = append(header, h.(string))
	}
	var cells [][]string
	for row := range starlark.Elements(rows) {
		line, names, err := rowCells(row, header)
		if err != nil {
			return nil, err
		}
		if header == nil {
			header = names
		}
		cells = append(cells, line)
	}
	return starlark.String(Table(header, cells)), nil
}

// rowCells are the cells of one row: of a list its items, of a dict or record
// the fields that names lists, or all.
func rowCells(row starlark.Value, names []string) (cells, fields []string, err error) {
	cell := func(v starlark.Value) {
		s, ok := starlark.AsString(v)
		if !ok && v != nil {
			s = v.String()
		}
		if v == starlark.None {
			s = "-"
		}
		cells = append(cells, s)
	}
	switch row := row.(type) {
	case *starlark.Dict:
		if names == nil {
			for _, k := range row.Keys() {
				names = append(names, word(k))
			}
		}
		for _, n := range names {
			v, _, _ := row.Get(starlark.String(n))
			cell(v)
		}
		return cells, names, nil
	case starlark.Iterable:
		for v := range starlark.Elements(row) {
			cell(v)
		}
		return cells, nil, nil
	case starlark.HasAttrs:
		if names == nil {
			names = row.AttrNames()
		}
		for _, n := range names {
			v, err := row.Attr(n)
			if err != nil {
				return nil, nil, err
			}
			cell(v)
		}
		return cells, names, nil
	}
	return nil, nil, lab.Usage("a row is a list, a dict or a record", "table: a row is %s", describe(row))
}

// newStruct is the struct builtin; it takes any names, so no Spec unpacks it.
func newStruct() *starlark.Builtin { return starlark.NewBuiltin("struct", starlarkstruct.Make) }
