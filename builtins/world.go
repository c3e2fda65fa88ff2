package builtins

import (
	"fmt"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// tFiles are the contents of files by their paths.
var tFiles = &Type{Name: "a dict of paths and texts", Good: `{"/etc/frr/frr.conf": "hostname r1\n"}`, Convert: func(c *Call, v starlark.Value) (any, error) {
	d, ok := v.(*starlark.Dict)
	if !ok {
		return nil, errType
	}
	files := map[string]string{}
	for _, item := range d.Items() {
		path, ok := starlark.AsString(item[0])
		if !ok {
			return nil, fmt.Errorf("a path is a string, got %s", describe(item[0]))
		}
		text, err := tText.Convert(c, item[1])
		if err != nil {
			return nil, fmt.Errorf("%s: got %s, want %s", path, describe(item[1]), tText.Name)
		}
		files[path] = text.(string)
	}
	return files, nil
}}

// tCPU is a number of processors.
var tCPU = &Type{Name: "a number of processors", Good: "0.5", Convert: func(_ *Call, v starlark.Value) (any, error) {
	n, ok := starlark.AsFloat(v)
	if !ok {
		return nil, errType
	}
	if !(n >= 0.01 && n <= 10000) {
		return nil, fmt.Errorf("%v is out of range: it is from 0.01 to 10000", v)
	}
	return n, nil
}}

// tDirectories are paths.
var tDirectories = listOf(tString, "a directory, or a list of them")

func worldSpecs() []*Spec {
	return []*Spec{{
		Name: "write_file", Family: familyNamespaces,
		Doc: "Gives a namespace a file of its own: only its programs see it, those that run already, too. " +
			"The path need not be there; what the machine has at it stays as it is. A second call replaces the content.",
		Params: []Param{
			required("ns", tNetnsRef, "whose programs see it"), required("path", tString, "an absolute path; none in /proc, /sys or /dev"),
			required("text", tText, "what is in it"),
		},
		Example: "r1 = netns(\"r1\")\nwrite_file(r1, \"/etc/motd.d/r1\", \"this is r1\\n\")\nexpect.eq(exec_in(r1, [\"cat\", \"/etc/motd.d/r1\"]).stdout, \"this is r1\\n\")\n" +
			"expect(not exec_in(netns(\"r2\"), [\"cat\", \"/etc/motd.d/r1\"], check=False).ok)",
		Fn: func(c *Call) (starlark.Value, error) {
			return nil, get[*lab.Namespace](c, "ns", nil).WriteFile(c.Ctx, get(c, "path", ""), get(c, "text", ""))
		},
	}}
}
