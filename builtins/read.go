package builtins

import (
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// socketRows are sockets as `ss -tuan` prints them.
func (env *Env) socketRows(list []*lab.Socket) *starlark.List {
	var items []starlark.Value
	var cells [][]string
	for _, s := range list {
		remote := "*"
		if s.Remote.IsValid() {
			remote = s.Remote.String()
		}
		who := ""
		if s.PID != 0 {
			who = "pid=" + itoa(s.PID)
		}
		row := []string{s.Proto, strings.ToUpper(s.State), itoa(s.RecvQ), itoa(s.SendQ), s.Local.String(), remote, who}
		cells = append(cells, row)
		items = append(items, record("socket", strings.Join([]string{s.Proto, strings.ToUpper(s.State), s.Local.String(), remote}, " "), s,
			field{"proto", starlark.String(s.Proto)}, field{"state", starlark.String(s.State)}, field{"local", addrText(s.Local)},
			field{"remote", addrText(s.Remote)}, field{"dev", env.link(s.Dev)}, field{"pid", number(s.PID)},
			field{"inode", starlark.MakeUint64(s.Inode)}, field{"uid", starlark.MakeInt(s.UID)},
			field{"recv_q", starlark.MakeInt(s.RecvQ)}, field{"send_q", starlark.MakeInt(s.SendQ)}))
	}
	return env.rows(items, cells)
}

// Why a table of connections is empty: nothing makes the namespace track them, or there
// were none.
const (
	nothingTracked = "(nothing is tracked: a namespace tracks connections while a rule of its firewall looks at them, or NAT does: conntrack_on(ns))"
	noConnections  = "(no connections: what was there has been deleted, or has timed out)"
)

// connectionRows are tracked connections as `conntrack -L` prints them.
func (env *Env) connectionRows(list []*lab.Connection, tracked bool) *starlark.List {
	switch {
	case len(list) == 0 && tracked:
		return env.rows(nil, [][]string{{noConnections}})
	case len(list) == 0:
		return env.rows(nil, [][]string{{nothingTracked}})
	}
	var items []starlark.Value
	for _, e := range list {
		fields := append([]field{{"proto", starlark.String(e.Proto)}}, tupleFields(e.Orig)...)
		fields = append(fields,
			field{"reply", record("tuple", e.Reply.String(), nil, tupleFields(e.Reply)...)},
			field{"state", text(e.State)}, field{"status", strs(e.Status)}, field{"mark", starlark.MakeUint64(uint64(e.Mark))},
			field{"zone", number(e.Zone)}, field{"timeout", seconds(e.Timeout)})
		items = append(items, record("connection", e.String(), e, fields...))
	}
	return env.lineRows(items)
}

// tupleFields are those of one direction.
func tupleFields(t lab.Tuple) []field {
	sport, dport := starlark.Value(starlark.None), starlark.Value(starlark.None)
	if t.HasPorts {
		sport, dport = starlark.MakeInt(t.SPort), starlark.MakeInt(t.DPort)
	}
	kind, code, id := starlark.Value(starlark.None), starlark.Value(starlark.None), starlark.Value(starlark.None)
	if t.IsICMP {
		kind, code, id = starlark.MakeInt(t.Type), starlark.MakeInt(t.Code), starlark.MakeInt(t.ID)
	}
	return []field{{"src", addrText(t.Src)}, {"dst", addrText(t.Dst)}, {"sport", sport}, {"dport", dport},
		{"icmp_type", kind}, {"icmp_code", code}, {"icmp_id", id}}
}
