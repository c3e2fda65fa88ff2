package builtins

import (
	"context"
	"fmt"
	"hash/fnv"
	"slices"
	"time"

	"go.starlark.net/starlark"
	"go.starlark.net/syntax"

	"nsscript/runtime/lab"
	"nsscript/runtime/process"
)

// Namespace is the handle of a network namespace. It is live: each attribute
// asks the kernel.
type Namespace struct {
	ns  *lab.Namespace
	env *Env
}

func (n *Namespace) String() string { return n.ns.String() }

// Type is what type() says.
func (n *Namespace) Type() string { return "netns" }

// Freeze does nothing: the kernel's object changes all the same.
func (n *Namespace) Freeze() {}

// Truth is True.
func (n *Namespace) Truth() starlark.Bool { return true }

// Hash makes it a key of a dict.
func (n *Namespace) Hash() (uint32, error) { return hashPointer(n.ns) }

func hashPointer(p any) (uint32, error) {
	h := fnv.New32a()
	fmt.Fprintf(h, "%p", p)
	return h.Sum32(), nil
}

// CompareSameType: one namespace, one value.
func (n *Namespace) CompareSameType(op syntax.Token, y starlark.Value, _ int) (bool, error) {
	return equality(op, n.ns == y.(*Namespace).ns, "netns")
}

// Get finds a link by name: ns["eth0"], "eth0" in ns.
func (n *Namespace) Get(k starlark.Value) (starlark.Value, bool, error) {
	name, ok := starlark.AsString(k)
	if !ok {
		return nil, false, lab.Usage(`like blue["eth0"]`, "a link of %s is named by a string, got %s", n.ns, describe(k))
	}
	link, err := n.ns.Link(name)
	if err != nil {
		return nil, false, err
	}
	if link == nil {
		return nil, false, n.noLink(name)
	}
	return &Link{link, n.env}, true, nil
}

// Has is "eth0" in ns, without the advice that Get has to gather when there is
// none.
func (n *Namespace) Has(k starlark.Value) (bool, error) {
	name, ok := starlark.AsString(k)
	if !ok {
		return false, nil
	}
	link, err := n.ns.Link(name)
	return link != nil, err
}

func (n *Namespace) noLink(name string) error {
	links, _, _ := n.ns.Links()
	var names []string
	for _, l := range links {
		names = append(names, l.Name())
	}
	hint := fmt.Sprintf("it has %v", names)
	if near := lab.Nearest(name, names); near != "" {
		hint = fmt.Sprintf("did you mean %q?", near)
	}
	return &lab.Error{Op: fmt.Sprintf("there is no link %q in %s", name, n.ns), Kind: lab.KindGone, Hint: hint}
}

var namespaceAttrs = []string{"name", "path", "links", "addrs", "routes", "rules", "neighbors", "nexthops", "mroutes", "maddrs", "fous", "sockets", "conntrack", "firewall"}

// AttrNames lists the attributes.
func (n *Namespace) AttrNames() []string { return namespaceAttrs }

// Attr asks the kernel.
func (n *Namespace) Attr(name string) (starlark.Value, error) {
	env, ns := n.env, n.ns
	switch name {
	case "name":
		return starlark.String(ns.String()), nil
	case "path":
		return starlark.String(ns.Path), nil
	case "links":
		env.Lab.Settle(env.Ctx) // after up(), the kernel needs a moment
		links, infos, err := ns.Links()
		if err != nil {
			return nil, err
		}
		return env.linkRows(links, infos), nil
	case "addrs":
		env.Lab.Settle(env.Ctx)
		addrs, err := ns.Addrs(nil)
		if err != nil {
			return nil, err
		}
		return env.addrRows(ns, addrs)
	case "routes":
		env.Lab.Settle(env.Ctx) // those of a link that lost its carrier are marked
		return listed(lines(env, env.route))(ns.Routes(lab.RouteFilter{}))
	case "rules":
		return listed(env.ruleRows)(ns.Rules(0))
	case "neighbors":
		return listed(lines(env, env.neighbor))(ns.Neighbors())
	case "nexthops":
		return listed(lines(env, env.nexthop))(ns.Nexthops())
	case "mroutes":
		return listed(lines(env, env.mroute))(ns.MRoutes())
	case "maddrs":
		return env.memberships(ns, nil)
	case "fous":
		return listed(lines(env, env.fou))(ns.FOUs())
	case "sockets":
		return listed(env.socketRows)(ns.Sockets())
	case "conntrack":
		list, err := ns.Connections()
		return env.connectionRows(list, ns.Tracks()), err
	case "firewall":
		if fw := ns.Firewall(); fw != nil {
			return &Firewall{fw, env}, nil
		}
		return starlark.None, nil
	}
	return nil, nil
}

// listed makes what is read from the kernel a list that prints as a table.
func listed[T any](rows func([]T) *starlark.List) func([]T, error) (starlark.Value, error) {
	return func(all []T, err error) (starlark.Value, error) {
		if err != nil {
			return nil, err
		}
		return rows(all), nil
	}
}

// lines are rows of a line each.
func lines[T any](env *Env, as func(T) *Record) func([]T) *starlark.List {
	return func(all []T) *starlark.List { return recordRows(env, all, as) }
}

// MarshalJSON is the namespace with all it has, but for what comes and goes by itself:
// sockets and tracked connections.
func (n *Namespace) MarshalJSON() ([]byte, error) {
	names, fields, err := readLive(n, "sockets", "conntrack")
	if err != nil {
		return nil, err
	}
	fields["links"] = whole{fields["links"].(*starlark.List)}
	return marshalFields(names, fields)
}

// marshalLive is a live value with every attribute.
func marshalLive(v starlark.HasAttrs) ([]byte, error) {
	names, fields, err := readLive(v)
	if err != nil {
		return nil, err
	}
	return marshalFields(names, fields)
}

// readLive reads every attribute of a live value but some.
func readLive(v starlark.HasAttrs, without ...string) (names []string, fields starlark.StringDict, err error) {
	fields = starlark.StringDict{}
	for _, name := range v.AttrNames() {
		if slices.Contains(without, name) {
			continue
		}
		value, err := v.Attr(name)
		if err != nil {
			return nil, nil, err
		}
		if value == nil {
			continue
		}
		names, fields[name] = append(names, name), value
	}
	return names, fields, nil
}

func (env *Env) namespace(ns *lab.Namespace) starlark.Value {
	if ns.IsRoot() {
		return env.root
	}
	return &Namespace{ns, env}
}

const familyNamespaces = "Namespaces and processes"

func namespaceSpecs() []*Spec {
	return []*Spec{
		{
			Name: "netns", Family: familyNamespaces, Returns: "netns", Like: "ip netns add NAME",
			Doc: "Makes a network namespace, bound at /run/netns/NAME. It has only lo, down. " +
				"With pid= or path= it is the handle of one that exists. A name that is left out is the next free ns0, ns1 …; " +
				"a name that is taken is an error unless exist=True, which returns the one that is there. " +
				"IPv6 addresses are usable at once: those that scripts add skip duplicate address detection (RFC 4862), and link-local ones are " +
				"made anew without it before the first probe, unless dad=True. What programs add themselves is subject to it; ready() waits for that. " +
				"Its programs (exec_in, spawn) see its own /sys, its name as hostname, an /etc/hosts in which the name of each namespace of the lab " +
				"has its global addresses, the dns_server of the lab in /etc/resolv.conf when there is one on port 53, and /etc/netns/NAME/* laid over /etc. " +
				"cpu, memory and pids limit them where the machine delegates a control group (cgroup v2).",
			Params: []Param{
				optional("name", tNamespaceName, "", "the name under /run/netns"),
				keyword("pid", tPID, "", "find the namespace of this process instead"),
				keyword("path", tString, "", "find the namespace at this path instead"),
				keyword("exist", tBool, "False", "take the one that is there"),
				keyword("files", tFiles, "", "files that only its programs see, as write_file() makes them"),
				keyword("private", tDirectories, "", "directories that its programs have to themselves, empty at first: where daemons keep sockets and process ids"),
				keyword("cpu", tCPU, "", "how many processors its programs may use together"),
				keyword("memory", tBytes, "", "how much memory, swap included"),
				keyword("pids", intType("a number of processes", "100", 1, 4194304), "", "how many processes and threads"),
				keyword("dad", tBool, "False", "leave duplicate address detection on"),
			},
			Example: "blue = netns(\"blue\")\nexpect.eq([l.name for l in blue.links], [\"lo\"])\nexpect.eq(blue[\"lo\"].up, False)",
			Fn: func(c *Call) (starlark.Value, error) {
				if c.Given("pid") && c.Given("path") {
					return nil, lab.Usage("", "netns takes pid= or path=, not both")
				}
				if c.Given("name") && (c.Given("pid") || c.Given("path")) {
					return nil, lab.Usage("", "netns takes a name for a new namespace; pid= and path= find one that exists")
				}
				ns, err := c.Env.Lab.AddNamespace(c.Ctx, lab.NamespaceSpec{
					Name: get(c, "name", ""), PID: get(c, "pid", 0), Path: get(c, "path", ""),
					Exist: get(c, "exist", false), DAD: get(c, "dad", false),
					Files: get[map[string]string](c, "files", nil), Private: all[string](c, "private"),
					Limits: process.Limits{CPU: get(c, "cpu", 0.0), Memory: int64(get(c, "memory", 0)), PIDs: get(c, "pids", 0)},
				})
				if err != nil {
					return nil, err
				}
				return c.Env.namespace(ns), nil
			},
		},
		{
			Name: "namespaces", Family: familyNamespaces, Returns: "list of netns", Like: "ip netns list",
			Doc:     "Lists the namespaces of this lab in the order they were made, without root.",
			Example: "netns(\"a\"), netns(\"b\")\nexpect.eq([ns.name for ns in namespaces()], [\"a\", \"b\"])",
			Fn: func(c *Call) (starlark.Value, error) {
				var list []starlark.Value
				for _, ns := range c.Env.Lab.Namespaces() {
					list = append(list, c.Env.namespace(ns))
				}
				return starlark.NewList(list), nil
			},
		},
		{
			Name: "delete", Family: familyNamespaces, Like: "ip … del",
			Doc: "Deletes what was made here: namespaces, links (a veth goes with its other end), addresses, routes, rules, nexthops, neighbours, VLANs and entries of bridges, groups, tracked connections, firewalls and their rules, tables of nft(); " +
				"a process is stopped. A deleted namespace lives on while a process is in it. " +
				"With --host, what this run did not make needs --force.",
			Params: []Param{variadic("objects", tAny, "what to delete")},
			Example: "blue = netns(\"blue\")\na, b = veth(\"a\", \"b\", peer_ns=blue)\ndelete(a)\n" +
				"expect(\"b\" not in blue)\ndelete(blue)\nexpect.eq(namespaces(), [])",
			Fn: func(c *Call) (starlark.Value, error) {
				for _, v := range all[starlark.Value](c, "objects") {
					if err := c.delete(v); err != nil {
						return nil, err
					}
				}
				return nil, nil
			},
		},
		{
			Name: "ready", Family: familyNamespaces, Like: "",
			Doc: "Waits until every link of the namespaces that is up runs and no address is tentative (RFC 4862), " +
				"or fails after the timeout. Checks and probes wait by themselves until links that were just set up pass packets.",
			Params: []Param{some("namespaces", tNetns, "where to look"),
				keyword("timeout", tDuration, "\"5s\"", "how long to wait, in seconds")},
			Example: "blue = netns(\"blue\")\nveth(\"a\", \"b\", peer_ns=blue, up=True)\nready(root, blue)\nexpect.eq(root[\"a\"].state, \"up\")",
			Fn: func(c *Call) (starlark.Value, error) {
				for _, ns := range all[*lab.Namespace](c, "namespaces") {
					if err := ns.Ready(c.Ctx, get(c, "timeout", 5*time.Second)); err != nil {
						return nil, err
					}
				}
				return nil, nil
			},
		},
	}
}

// delete deletes one object.
func (c *Call) delete(v starlark.Value) error {
	switch v := v.(type) {
	case *Namespace:
		return v.ns.Delete(c.Ctx)
	case *Link:
		return v.link.Delete(c.Ctx)
	case *Process:
		return c.Env.Lab.Stop(c.Ctx, v.process, 2*time.Second)
	case *Firewall:
		return v.fw.Delete(c.Ctx)
	case *FirewallRule:
		return v.rule.Delete(c.Ctx)
	case *NftTable:
		return v.table.Delete(c.Ctx)
	case *Shaping:
		return v.shaping.Undo(c.Ctx)
	case *Record:
		if o, ok := v.object.(interface{ Delete(context.Context) error }); ok {
			return o.Delete(c.Ctx)
		}
	}
	return lab.Usage("it takes what was made here: namespaces, links, addresses, routes, rules, nexthops, neighbours, VLANs, entries of bridges, firewalls, processes …", "%s cannot be deleted", describe(v))
}
