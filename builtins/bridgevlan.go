package builtins

import (
	"net/netip"
	"strings"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// tVNIs are segments of a VXLAN.
var tVNIs = rangeType("a segment (VNI), or a range of them", `"100-110"`, 0, 1<<24-1)

func (env *Env) vni(v *lab.VNI) *Record {
	return record("vni", v.String(), v, field{"link", env.link(v.Link)}, field{"vni", starlark.MakeInt(v.ID)}, field{"remote", addrText(v.Remote)})
}

// vlanGlobal is what a bridge does in one VLAN.
func (env *Env) vlanGlobal(v *lab.VLANGlobal) *Record {
	fields := []field{{"bridge", env.link(v.Bridge)}, {"vid", starlark.MakeInt(v.ID)}}
	words := []string{"vid " + starlark.MakeInt(v.ID).String()}
	for _, o := range lab.VLANGlobalOptions() {
		value := starlark.Value(starlark.None)
		if plain := env.optionValue(v.Values[o.Name]); plain != nil {
			value = plain
			words = append(words, o.Name+" "+word(plain))
		}
		fields = append(fields, field{o.Name, value})
	}
	return record("vlan_global", strings.Join(words, " "), nil, fields...)
}

func bridgeVLANSpecs() []*Spec {
	params := []Param{required("bridge", tLink, "which"), required("vid", tVIDs, "1 to 4094, or a range like \"10-20\"")}
	for _, o := range lab.VLANGlobalOptions() {
		params = append(params, keyword(o.Name, optionType(o), "", o.Doc))
	}
	return []*Spec{
		{
			Name: "bridge_vlan_global", Family: familyLinks, Like: "bridge vlan global set vid VLAN dev BRIDGE …",
			Doc: "Changes what a bridge does in a VLAN, or in a range of them, that it is itself a member of. What is not given stays. " +
				"Of a bridge without mcast_vlan_snooping=True the options have no effect. br.global_vlans lists them, times in seconds.",
			Params: params,
			Example: "br0 = bridge(\"br0\", vlan_filtering=True, mcast_vlan_snooping=True)\nbridge_vlan(br0, \"10-11\")\n" +
				"bridge_vlan_global(br0, 10, mcast_querier=True, mcast_query_interval=\"10s\", mcast_igmp_version=3)\n" +
				"expect.eq([(v.vid, v.mcast_querier, v.mcast_query_interval) for v in br0.global_vlans], [(1, False, 125.0), (10, True, 10.0), (11, False, 125.0)])",
			Fn: setVLANGlobal,
		},
		{
			Name: "vni", Family: familyLinks, Returns: "vni: link vni remote, or a list of them for a range", Like: "bridge vni add vni VNI dev VXLAN",
			Doc: "Lets a VXLAN that was made with external=True, vnifilter=True take part in a segment or in a range of them; of one that it takes part in " +
				"it changes the remote end. It drops what comes of others. vx.vnis lists them.",
			Params: []Param{
				required("link", tLink, "the VXLAN"), required("vni", tVNIs, "0 to 16777215, or a range like \"100-110\""),
				keyword("remote", tPlainAddress, "", "where frames to unknown addresses go"),
				keyword("group", tPlainAddress, "", "the multicast group where they go; the VXLAN needs a dev"),
				keyword("exist", tBool, "False", "take one that is there and equal; that it differs is an error"),
			},
			Example: "vx = vxlan(\"vx0\", external=True, vnifilter=True)\nvni(vx, 100, remote=\"10.0.0.2\")\nvni(vx, \"200-202\")\n" +
				"expect.eq([(v.vni, v.remote) for v in vx.vnis], [(100, \"10.0.0.2\"), (200, None), (201, None), (202, None)])\n" +
				"delete(vx.vnis[0])\nexpect.eq([v.vni for v in vx.vnis], [200, 201, 202])",
			Fn: addVNIs,
		},
	}
}

func setVLANGlobal(c *Call) (starlark.Value, error) {
	var options []lab.Chosen
	for _, o := range lab.VLANGlobalOptions() {
		if c.Given(o.Name) {
			options = append(options, lab.Chosen{Option: o, Given: c.values[c.at(o.Name)]})
		}
	}
	if options == nil {
		return nil, lab.Usage("like mcast_querier=True", "bridge_vlan_global: no option was given")
	}
	v := get(c, "vid", vids{})
	return nil, get[*lab.Link](c, "bridge", nil).SetVLANGlobal(c.Ctx, v.first, v.last, options)
}

func addVNIs(c *Call) (starlark.Value, error) {
	remote, group := get(c, "remote", netip.Addr{}), get(c, "group", netip.Addr{})
	switch {
	case remote.IsValid() && group.IsValid():
		return nil, lab.Usage("leave one of them out", "vni: remote and group exclude each other")
	case remote.IsMulticast():
		return nil, lab.Usage("groups are group=", "vni: remote: %v is a multicast group", remote)
	case group.IsValid() && !group.IsMulticast():
		return nil, lab.Usage("one host is remote=", "vni: group: %v is no multicast group", group)
	case group.IsValid():
		remote = group
	}
	v := get(c, "vni", vids{})
	made, err := get[*lab.Link](c, "link", nil).AddVNIs(c.Ctx, lab.VNISpec{First: v.first, Last: v.last, Remote: remote, Exist: get(c, "exist", false)})
	if err != nil {
		return nil, err
	}
	if v.first == v.last && len(made) == 1 {
		return c.Env.vni(made[0]), nil
	}
	return recordRows(c.Env, made, c.Env.vni), nil
}
