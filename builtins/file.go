package builtins

import (
	"io"
	"os"
	"path/filepath"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

const maxFile = 64 << 20

func fileSpecs() []*Spec {
	return []*Spec{
		{
			Name: "read_file", Family: familyFlow, Returns: "its text",
			Doc:     "Reads a file, relative to the script that calls, up to 64 MiB.",
			Params:  []Param{required("path", tString, "the file")},
			Example: "expect.contains(read_file(\"/proc/net/dev\"), \"lo:\")",
			Fn: func(c *Call) (starlark.Value, error) {
				path := get(c, "path", "")
				if !filepath.IsAbs(path) {
					path = filepath.Join(filepath.Dir(c.Env.position(c.Thread).File), path)
				}
				return readFile(path)
			},
		},
		{
			Name: "env", Family: familyFlow, Returns: "a string, or the default",
			Doc:     "An environment variable.",
			Params:  []Param{required("name", tString, "its name"), optional("default", tAny, "", "when it is not set")},
			Example: "expect.ne(env(\"PATH\"), None)\nexpect.eq(env(\"NO_SUCH\", \"x\"), \"x\")",
			Fn: func(c *Call) (starlark.Value, error) {
				if v, ok := os.LookupEnv(get(c, "name", "")); ok {
					return starlark.String(v), nil
				}
				return get[starlark.Value](c, "default", starlark.None), nil
			},
		},
		{
			Name: "load", Family: familyFlow,
			Doc: "A statement, not a function: load(\"lib/topo.star\", \"ring\") runs a module once and takes names from it. " +
				"The path is relative to the file that loads; \"@lab\" and \"@topo\" are the standard library.",
			Example: "load(\"@lab\", \"host\")\nh1 = host(\"h1\")\nexpect(h1[\"lo\"].up)",
		},
	}
}

// readFile reads a file that has an end.
func readFile(path string) (starlark.Value, error) {
	st, err := os.Stat(path)
	if err != nil {
		return nil, &lab.Error{Op: "read_file", Kind: lab.KindUsage, Err: err}
	}
	if !st.Mode().IsRegular() {
		return nil, lab.Usage("", "read_file: %s is no regular file", path)
	}
	f, err := os.Open(path)
	if err != nil {
		return nil, &lab.Error{Op: "read_file", Kind: lab.KindUsage, Err: err}
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, maxFile+1))
	switch {
	case err != nil:
		return nil, &lab.Error{Op: "read_file", Kind: lab.KindUsage, Err: err}
	case len(b) > maxFile:
		return nil, lab.Usage("", "read_file: %s has more than %d MiB", path, maxFile>>20)
	}
	return starlark.String(b), nil
}

func ipaddressSpecs() []*Spec {
	return []*Spec{
		{
			Name: "ip_address", Family: familyValues, Returns: "IPAddress",
			Doc:     "An IP address to calculate with, as Python's ipaddress.ip_address: + 1, <, .packed, .is_private and more.",
			Params:  []Param{required("address", tAny, "a string, number or bytes")},
			Example: "expect.eq(str(ip_address(\"10.0.0.1\") + 1), \"10.0.0.2\")",
			Fn: func(c *Call) (starlark.Value, error) {
				return converted(NewIPAddress(get[starlark.Value](c, "address", nil)))
			},
		},
		{
			Name: "ip_network", Family: familyValues, Returns: "IPNetwork",
			Doc:     "A subnet, as Python's ipaddress.ip_network: .hosts(), .subnets(new_prefix=26), in and more.",
			Params:  []Param{required("network", tAny, "such as \"10.0.0.0/24\""), optional("strict", tBool, "True", "bits beyond the prefix length are an error")},
			Example: "net = ip_network(\"10.0.0.0/24\")\nexpect.eq(str(net.hosts()[0]), \"10.0.0.1\")\nexpect(\"10.0.0.7\" in net)",
			Fn: func(c *Call) (starlark.Value, error) {
				return converted(NewIPNetwork(get[starlark.Value](c, "network", nil), get(c, "strict", true)))
			},
		},
		{
			Name: "ip_interface", Family: familyValues, Returns: "IPInterface",
			Doc:     "An address in its subnet, as Python's ipaddress.ip_interface: .ip, .network and more.",
			Params:  []Param{required("interface", tAny, "such as \"10.0.0.1/24\"")},
			Example: "expect.eq(str(ip_interface(\"10.0.0.1/24\").network), \"10.0.0.0/24\")",
			Fn: func(c *Call) (starlark.Value, error) {
				return converted(NewIPInterface(get[starlark.Value](c, "interface", nil)))
			},
		},
	}
}

// converted keeps a nil pointer from becoming a value.
func converted[T starlark.Value](v T, err error) (starlark.Value, error) {
	if err != nil {
		return nil, lab.Usage("", "%v", err)
	}
	return v, nil
}
