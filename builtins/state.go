package builtins

import (
	"slices"
	"strings"

	"go.starlark.net/starlark"
	"golang.org/x/sys/unix"

	"nsscript/runtime/lab"
)

func stateSpecs() []*Spec {
	return []*Spec{
		{
			Name: "state", Family: familyAddrs, Returns: "state",
			Doc: "Reads everything of a namespace as one value: links (with the options of their kinds, and those of ports), addrs, routes of all tables, " +
				"rules, neighbors, nexthops, vlans, fdb and mdb of bridges, maddrs that somebody made, mroutes, fous, qdiscs, classes and filters of tc, and the sysctls that a new namespace, or a new link in this one, would have otherwise. " +
				"Each is a list of records of plain values. What changes by itself is left out: counters, ages, lifetimes, states of learnt neighbours. " +
				"Two states of what is the same are equal.",
			Params:  []Param{required("ns", tNetnsRef, "of which namespace")},
			Example: "blue = netns(\"blue\")\ns = state(blue)\nexpect.eq([l.name for l in s.links], [\"lo\"])\nexpect.eq(s, state(blue))\nprint(json.encode(s))",
			Fn:      func(c *Call) (starlark.Value, error) { return c.Env.state(get[*lab.Namespace](c, "ns", nil)) },
		},
		{
			Name: "diff", Family: familyAddrs, Returns: "diff",
			Doc: "Compares two values of state(): .added, .removed and .changed are lists of what is new, gone and different. " +
				"Each has .what (\"link\", \"route\" …), .before and .after, records or None, and .fields, a dict of (before, after). " +
				"It is False when nothing differs, and prints a line for each difference, with \"+\", \"-\" or \"~\".",
			Params: []Param{required("before", tState, "an earlier state"), required("after", tState, "a later one")},
			Example: "a, b = veth(\"a\", \"b\")\nbefore = state(root)\naddr(a, \"10.0.0.1/24\")\nset_link(a, mtu=1400)\nd = diff(before, state(root))\n" +
				"expect.contains([(c.what, c.after.cidr) for c in d.added if c.what == \"addr\"], (\"addr\", \"10.0.0.1/24\"))\n" +
				"expect.eq(d.changed[0].fields[\"mtu\"], (1500, 1400))\nprint(d)\nexpect(not diff(before, before))",
			Fn: func(c *Call) (starlark.Value, error) {
				return c.Env.diff(get[*Record](c, "before", nil), get[*Record](c, "after", nil))
			},
		},
	}
}

// tState is what state() returned.
var tState = &Type{Name: "a state", Good: "state(ns)", Convert: func(_ *Call, v starlark.Value) (any, error) {
	if r, ok := v.(*Record); ok && r.kind == "state" {
		return r, nil
	}
	return nil, errType
}}

// stateTables are the tables of a state: what a row is called, and which fields make a
// row the same one when others have changed.
var stateTables = []struct {
	name, what string
	key        []string
	read       func(*stateReader) ([]*Record, error)
}{
	{"links", "link", []string{"name"}, (*stateReader).links},
	{"addrs", "addr", []string{"cidr", "peer", "link"}, (*stateReader).addrs},
	{"routes", "route", []string{"dst", "src_prefix", "family", "table", "tos", "metric", "type"}, (*stateReader).routes},
	{"rules", "rule", []string{"priority", "family"}, (*stateReader).rules},
	{"neighbors", "neighbor", []string{"ip", "dev", "proxy"}, (*stateReader).neighbors},
	{"nexthops", "nexthop", []string{"id"}, (*stateReader).nexthops},
	{"vlans", "vlan", []string{"port", "vid"}, (*stateReader).vlans},
	{"fdb", "fdb", []string{"mac", "port", "vlan", "dst", "master"}, (*stateReader).fdb},
	{"mdb", "mdb", []string{"bridge", "port", "group", "src", "vlan"}, (*stateReader).mdb},
	{"maddrs", "maddr", []string{"group", "link"}, (*stateReader).maddrs},
	{"mroutes", "mroute", []string{"src", "dst", "table"}, (*stateReader).mroutes},
	{"fous", "fou", []string{"port", "family"}, (*stateReader).fous},
	{"qdiscs", "qdisc", []string{"dev", "parent"}, (*stateReader).qdiscs},
	{"classes", "class", []string{"dev", "handle"}, (*stateReader).classes},
	{"filters", "filter", []string{"dev", "parent", "pref", "handle"}, (*stateReader).filters},
	{"sysctls", "sysctl", []string{"key"}, (*stateReader).sysctls},
}

// state reads the namespace.
func (env *Env) state(ns *lab.Namespace) (*Record, error) {
	env.Lab.Settle(env.Ctx) // after up(), the kernel needs a moment
	env.Lab.SettleIPv6(env.Ctx, ns)
	links, infos, err := ns.Links()
	if err != nil {
		return nil, err
	}
	reader := &stateReader{env: env, ns: ns, all: links, infos: infos}
	fields := []field{{"ns", starlark.String(ns.String())}}
	var lines []string
	for _, t := range stateTables {
		rows, err := t.read(reader)
		if err != nil {
			return nil, err
		}
		if t.name != "links" { // which have an order of their own
			slices.SortStableFunc(rows, func(a, b *Record) int { return strings.Compare(a.text, b.text) })
		}
		var items []starlark.Value
		for _, r := range rows {
			items = append(items, r)
			lines = append(lines, t.what+" "+r.text)
		}
		fields = append(fields, field{t.name, starlark.NewList(items)})
	}
	return record("state", strings.Join(lines, "\n"), nil, fields...), nil
}

// stateReader reads the tables of a namespace as records of plain values.
type stateReader struct {
	env   *Env
	ns    *lab.Namespace
	all   []*lab.Link
	infos []*lab.LinkInfo
	// shaped: some link has a qdisc that the kernel did not give it.
	shaped bool
}

// passing are fields that change by themselves.
var passing = []string{"expires", "timer", "latest_handshake", "rx_bytes", "tx_bytes", "valid", "preferred", "packets", "bytes", "wrong_if", "idle", "stats"}

// plain is a record where links and namespaces are their names, so that it stays what
// it was, and without what changes by itself.
func plain(r *Record) *Record {
	out := record(r.kind, r.text, nil)
	for _, n := range r.names {
		if _, method := r.fields[n].(*starlark.Builtin); method || slices.Contains(passing, n) {
			continue
		}
		out.names = append(out.names, n)
		out.fields[n] = plainOf(r.fields[n])
	}
	return out
}

func plainOf(v starlark.Value) starlark.Value {
	switch v := v.(type) {
	case *Link:
		return starlark.String(v.link.Name())
	case *Namespace:
		return starlark.String(v.ns.String())
	case *Record:
		return plain(v)
	case *starlark.List:
		items := make([]starlark.Value, v.Len())
		for i := range items {
			items[i] = plainOf(v.Index(i))
		}
		return starlark.NewList(items)
	}
	return v
}

// add adds a field to a record that is being made.
func (r *Record) add(name string, v starlark.Value) {
	r.names, r.fields[name] = append(r.names, name), v
}

// familyName is a route's family as `ip` names it.
func familyName(r *lab.Route) string {
	switch {
	case len(r.Label) > 0:
		return "mpls"
	case r.Dst.Addr().Is6():
		return "inet6"
	}
	return "inet"
}

// elsewhere are attributes of links that are tables of their own, or come and go.
var elsewhere = []string{"ns", "addrs", "stats", "qdiscs", "ports", "vlans", "fdb", "mdb"}

func (s *stateReader) links() ([]*Record, error) {
	var rows []*Record
	for i, k := range s.all {
		names, values, err := readLive(&Link{k, s.env}, elsewhere...)
		if err != nil {
			return nil, err
		}
		row := record("link", strings.Join(s.infos[i].Brief(shownName(k, s.infos[i])), " "), nil)
		row.names, row.fields = names, values
		rows = append(rows, plain(row))
	}
	return rows, nil
}

func (s *stateReader) addrs() ([]*Record, error) {
	list, err := s.ns.Addrs(nil)
	var rows []*Record
	for _, a := range list {
		lasting := *a
		lasting.Flags = slices.DeleteFunc(slices.Clone(a.Flags), func(f string) bool { return f == "tentative" })
		row := plain(s.env.address(&lasting))
		row.text += " dev " + a.Link.Name()
		rows = append(rows, row)
	}
	return rows, err
}

func (s *stateReader) routes() ([]*Record, error) {
	var rows []*Record
	for _, f := range []lab.RouteFilter{{}, {Table: unix.RT_TABLE_LOCAL}, {Family: unix.AF_MPLS}} {
		list, err := s.ns.Routes(f)
		if err != nil {
			return nil, err
		}
		for _, r := range list {
			lasting := *r
			lasting.Expires = 0
			row := plain(s.env.route(&lasting))
			row.add("family", starlark.String(familyName(r)))
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (s *stateReader) rules() ([]*Record, error) {
	list, err := s.ns.Rules(0)
	var rows []*Record
	for _, r := range list {
		row := plain(s.env.rule(r))
		if r.Family == unix.AF_INET6 {
			row.text = "inet6 " + row.text
		}
		rows = append(rows, row)
	}
	return rows, err
}

func plainRows[T any](list []T, as func(T) *Record) []*Record {
	var rows []*Record
	for _, o := range list {
		rows = append(rows, plain(as(o)))
	}
	return rows
}

// neighbors leaves out the states of those that were learnt, and those that have not
// been found.
func (s *stateReader) neighbors() ([]*Record, error) {
	list, err := s.ns.Neighbors()
	var rows []*Record
	for _, n := range list {
		lasting := *n
		if !n.Lasts() {
			lasting.State = 0
		}
		if n.MAC != nil || n.Proxy || n.Lasts() {
			rows = append(rows, plain(s.env.neighbor(&lasting)))
		}
	}
	return rows, err
}

func (s *stateReader) nexthops() ([]*Record, error) {
	list, err := s.ns.Nexthops()
	return plainRows(list, s.env.nexthop), err
}

func (s *stateReader) fous() ([]*Record, error) {
	list, err := s.ns.FOUs()
	return plainRows(list, s.env.fou), err
}

func (s *stateReader) vlans() ([]*Record, error) {
	var rows []*Record
	for i, k := range s.all {
		if s.infos[i].Kind != "bridge" {
			continue
		}
		list, err := k.BridgeVLANs()
		if err != nil {
			return nil, err
		}
		rows = append(rows, plainRows(list, s.env.vlan)...)
	}
	return rows, nil
}

// fdb is what all links have; what bridges have learnt has no state.
func (s *stateReader) fdb() ([]*Record, error) {
	list, err := s.ns.FDB()
	var rows []*Record
	for _, e := range list {
		lasting := *e
		if e.State == "stale" {
			lasting.State = "dynamic"
		}
		rows = append(rows, plain(s.env.fdbEntry(&lasting)))
	}
	return rows, err
}

func (s *stateReader) mdb() ([]*Record, error) {
	var rows []*Record
	for i, k := range s.all {
		if s.infos[i].Kind != "bridge" {
			continue
		}
		list, err := k.MDB()
		if err != nil {
			return nil, err
		}
		for _, e := range list {
			rows = append(rows, plain(s.env.mdbEntry(e)))
		}
	}
	return rows, nil
}

func (s *stateReader) qdiscs() ([]*Record, error) {
	var rows []*Record
	for _, k := range s.all {
		list, err := k.Qdiscs()
		if err != nil {
			return nil, err
		}
		for _, q := range list {
			s.shaped = s.shaped || q.Handle != "0:"
		}
		rows = append(rows, s.queued(k, list)...)
	}
	return rows, nil
}

// classes are those that can be made: others come with their qdiscs. Most namespaces
// have none, and need not be asked link by link.
func (s *stateReader) classes() ([]*Record, error) {
	var rows []*Record
	for _, k := range s.all {
		if !s.shaped {
			break
		}
		list, err := k.Classes()
		if err != nil {
			return nil, err
		}
		rows = append(rows, s.queued(k, slices.DeleteFunc(list, func(q *lab.Qdisc) bool { return q.Options == nil }))...)
	}
	return rows, nil
}

func (s *stateReader) filters() ([]*Record, error) {
	var rows []*Record
	for _, k := range s.all {
		if !s.shaped {
			break
		}
		list, err := k.Filters()
		if err != nil {
			return nil, err
		}
		for _, f := range list {
			if f.Kind == "u32" {
				f.Handle = "" // which says in which order they were made
			}
			row := plain(s.env.filter(f))
			row.add("dev", starlark.String(k.Name()))
			row.text = "dev " + k.Name() + " " + row.text
			rows = append(rows, row)
		}
	}
	return rows, nil
}

func (s *stateReader) queued(k *lab.Link, list []*lab.Qdisc) (rows []*Record) {
	for _, q := range list {
		row := plain(s.env.qdisc(q))
		row.add("dev", starlark.String(k.Name()))
		row.text = "dev " + k.Name() + " " + row.text
		rows = append(rows, row)
	}
	return rows
}

// maddrs are the groups that somebody made: what the kernel joins by itself follows
// from the links and addresses, which have those with autojoin, too.
func (s *stateReader) maddrs() ([]*Record, error) {
	list, err := s.ns.Memberships(nil)
	var rows []*Record
	for _, m := range list {
		if m.Static {
			rows = append(rows, plain(s.env.membership(m)))
		}
	}
	return rows, err
}

// mroutes are those that a multicast router made, not those that still wait for it.
func (s *stateReader) mroutes() ([]*Record, error) {
	list, err := s.ns.MRoutes()
	var rows []*Record
	for _, r := range list {
		if r.Resolved {
			rows = append(rows, plain(s.env.mroute(r)))
		}
	}
	return rows, err
}

func (s *stateReader) sysctls() ([]*Record, error) {
	list, err := s.ns.Sysctls()
	var rows []*Record
	for _, v := range list {
		rows = append(rows, record("sysctl", v.Key+" = "+v.Value, nil,
			field{"key", starlark.String(v.Key)}, field{"value", starlark.String(v.Value)}))
	}
	return rows, err
}

// diff compares two states, table by table.
func (env *Env) diff(before, after *Record) (*Record, error) {
	var added, removed, changed, lines []starlark.Value
	for _, t := range stateTables {
		old, fresh, err := differing(before.rows(t.name), after.rows(t.name))
		if err != nil {
			return nil, err
		}
		for _, r := range old {
			i := slices.IndexFunc(fresh, func(o *Record) bool { return keyOf(o, t.key) == keyOf(r, t.key) })
			if i < 0 {
				c := change(t.what, "-", r, nil, nil)
				removed, lines = append(removed, c), append(lines, c)
				continue
			}
			c := change(t.what, "~", r, fresh[i], t.key)
			changed, lines = append(changed, c), append(lines, c)
			fresh = slices.Delete(fresh, i, i+1)
		}
		for _, r := range fresh {
			c := change(t.what, "+", nil, r, nil)
			added, lines = append(added, c), append(lines, c)
		}
	}
	text := make([]string, len(lines))
	for i, l := range lines {
		text[i] = l.String()
	}
	d := record("diff", strings.Join(text, "\n"), nil, field{"added", env.lineRows(added)},
		field{"removed", env.lineRows(removed)}, field{"changed", env.lineRows(changed)})
	if d.truth = len(lines) > 0; !d.truth {
		d.text = "no difference"
	}
	return d, nil
}

// rows are those of a table of a state. A script cannot have changed them but for the
// list's length and order.
func (r *Record) rows(table string) []*Record {
	list, _ := r.fields[table].(*starlark.List)
	var rows []*Record
	for v := range list.Elements() {
		if row, ok := v.(*Record); ok {
			rows = append(rows, row)
		}
	}
	return rows
}

// differing leaves out of both lists what the other has, too.
func differing(before, after []*Record) (old, fresh []*Record, err error) {
	fresh = slices.Clone(after)
	for _, r := range before {
		i := 0
		for ; i < len(fresh); i++ {
			same, err := starlark.Equal(r, fresh[i])
			if err != nil {
				return nil, nil, err
			}
			if same {
				break
			}
		}
		if i == len(fresh) {
			old = append(old, r)
			continue
		}
		fresh = slices.Delete(fresh, i, i+1)
	}
	return old, fresh, nil
}

// keyOf is what makes the row that one.
func keyOf(r *Record, key []string) string {
	var b strings.Builder
	for _, n := range key {
		if v := r.fields[n]; v != nil {
			b.WriteString(v.String())
		}
		b.WriteByte('\n')
	}
	return b.String()
}

// change is one difference; key are the fields that need no mention.
func change(what, sign string, before, after *Record, key []string) *Record {
	text := sign + " " + what + " "
	fields := starlark.NewDict(0)
	row := func(r *Record) starlark.Value {
		if r == nil {
			return starlark.None
		}
		return r
	}
	switch {
	case before == nil:
		text += after.text
	case after == nil:
		text += before.text
	default:
		var words []string
		for _, n := range union(before.names, after.names) {
			was, is := anyValue(before.fields[n]), anyValue(after.fields[n])
			if same, err := starlark.Equal(was, is); err == nil && same {
				continue
			}
			_ = fields.SetKey(starlark.String(n), starlark.Tuple{was, is}) // a string has a hash
			words = append(words, n+" "+shown(was)+" → "+shown(is))
		}
		text += nameOf(before, key) + ": " + strings.Join(words, ", ")
	}
	return record("change", text, nil, field{"what", starlark.String(what)}, field{"before", row(before)},
		field{"after", row(after)}, field{"fields", fields})
}

// nameOf names a row that has changed by what stays: the first field by its value alone.
func nameOf(r *Record, key []string) string {
	var words []string
	for i, n := range key {
		v := r.fields[n]
		if v == nil || v == starlark.None || v == starlark.False {
			continue
		}
		if i > 0 {
			words = append(words, n)
		}
		words = append(words, shown(v))
	}
	return strings.Join(words, " ")
}

// shown is a value in a line.
func shown(v starlark.Value) string {
	if s, ok := starlark.AsString(v); ok {
		return s
	}
	return v.String()
}

func anyValue(v starlark.Value) starlark.Value {
	if v == nil {
		return starlark.None
	}
	return v
}

func union(a, b []string) []string {
	all := slices.Clone(a)
	for _, n := range b {
		if !slices.Contains(all, n) {
			all = append(all, n)
		}
	}
	return all
}
