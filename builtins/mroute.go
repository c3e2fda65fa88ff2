package builtins

import (
	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

func (env *Env) mroute(r *lab.MRoute) *Record {
	var oifs []starlark.Value
	for _, o := range r.Oifs {
		oifs = append(oifs, starlark.Tuple{env.link(o.Dev), starlark.MakeInt(o.TTL)})
	}
	state := "unresolved"
	if r.Resolved {
		state = "resolved"
	}
	return record("mroute", r.String(), r,
		field{"src", addrText(r.Src)}, field{"dst", addrText(r.Dst)}, field{"iif", env.link(r.IIF)}, field{"oifs", starlark.NewList(oifs)},
		field{"state", starlark.String(state)}, field{"table", starlark.MakeInt(r.Table)}, field{"packets", starlark.MakeUint64(r.Packets)},
		field{"bytes", starlark.MakeUint64(r.Bytes)}, field{"wrong_if", starlark.MakeUint64(r.WrongIF)}, field{"idle", seconds(r.Idle)})
}
