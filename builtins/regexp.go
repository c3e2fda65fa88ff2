package builtins

import (
	"regexp"

	"go.starlark.net/starlark"
)

// reParams are what the functions of re take.
func reParams(more ...Param) []Param {
	return append([]Param{required("pattern", tRegexp, "a regular expression (RE2)")}, more...)
}

// match is what a search found: a record of the whole and its groups.
func match(re *regexp.Regexp, s string, at []int) starlark.Value {
	if at == nil {
		return starlark.None
	}
	var groups []starlark.Value
	named := starlark.NewDict(0)
	for i := 0; i < len(at); i += 2 {
		v := starlark.Value(starlark.None)
		if at[i] >= 0 {
			v = starlark.String(s[at[i]:at[i+1]])
		}
		if i > 0 {
			groups = append(groups, v)
		}
		if name := re.SubexpNames()[i/2]; name != "" {
			_ = named.SetKey(starlark.String(name), v)
		}
	}
	return record("match", s[at[0]:at[1]], nil,
		field{"text", starlark.String(s[at[0]:at[1]])}, field{"groups", starlark.Tuple(groups)}, field{"named", named},
		field{"start", starlark.MakeInt(at[0])}, field{"end", starlark.MakeInt(at[1])})
}

func reSpecs() []*Spec {
	return []*Spec{
		{
			Name: "re.search", Family: familyValues, Returns: "match: text groups named start end; or None",
			Doc: "Finds the first match anywhere in a text.", Params: reParams(required("text", tString, "where to look")),
			Example: "m = re.search(r\"(\\d+) ms\", \"took 12 ms\")\nexpect.eq(m.groups, (\"12\",))",
			Fn: func(c *Call) (starlark.Value, error) {
				p, s := get[*regexp.Regexp](c, "pattern", nil), get(c, "text", "")
				return match(p, s, p.FindStringSubmatchIndex(s)), nil
			},
		},
		{
			Name: "re.findall", Family: familyValues, Returns: "list of match",
			Doc: "Finds all matches that do not overlap.", Params: reParams(required("text", tString, "where to look")),
			Example: "expect.eq([m.text for m in re.findall(r\"\\d+\", \"1 22 3\")], [\"1\", \"22\", \"3\"])",
			Fn: func(c *Call) (starlark.Value, error) {
				p, s := get[*regexp.Regexp](c, "pattern", nil), get(c, "text", "")
				var list []starlark.Value
				for _, at := range p.FindAllStringSubmatchIndex(s, -1) {
					list = append(list, match(p, s, at))
				}
				return starlark.NewList(list), nil
			},
		},
		{
			Name: "re.sub", Family: familyValues, Returns: "a string",
			Doc:     "Replaces all matches; $1 and ${name} stand for groups.",
			Params:  reParams(required("replacement", tString, "by what"), required("text", tString, "where")),
			Example: "expect.eq(re.sub(r\"(a)b\", \"$1\", \"abab\"), \"aa\")",
			Fn: func(c *Call) (starlark.Value, error) {
				return starlark.String(get[*regexp.Regexp](c, "pattern", nil).ReplaceAllString(get(c, "text", ""), get(c, "replacement", ""))), nil
			},
		},
		{
			Name: "re.split", Family: familyValues, Returns: "list of strings",
			Doc: "Splits a text at matches.", Params: reParams(required("text", tString, "what to split")),
			Example: "expect.eq(re.split(\",\\\\s*\", \"a, b,c\"), [\"a\", \"b\", \"c\"])",
			Fn: func(c *Call) (starlark.Value, error) {
				return strs(get[*regexp.Regexp](c, "pattern", nil).Split(get(c, "text", ""), -1)), nil
			},
		},
	}
}
