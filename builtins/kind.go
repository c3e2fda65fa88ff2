package builtins

import (
	"slices"

	"go.starlark.net/starlark"

	"nsscript/runtime/lab"
)

// kindPage is what the builtin of a kind of link says of it; its options are the
// kind's own (lab.Kind).
type kindPage struct {
	kind, doc, example string
}

// specs is the builtin of a kind of link, a family of its own: a lab has few kinds.
func (page *kindPage) specs() []*Spec { return []*Spec{page.spec(lab.KindOf(page.kind))} }

func (page *kindPage) spec(k *lab.Kind) *Spec {
	params := []Param{optional("name", tLinkName, "", "the next free one of its kind unless given")}
	var mandatory, options []Param
	where := "root"
	switch k.Lower {
	case lab.MayHaveDev:
		where = "the dev's, or root"
		options = append(options, keyword("dev", tLink, "", "the link that carries its packets, also of another namespace"))
	case lab.NeedsLower:
		where = "the parent's"
		mandatory = append(mandatory, Param{Name: "parent", Type: tLink, Required: true, KeywordOnly: true, Doc: "the link that it is on top of"})
	}
	if k.HasCarrier() {
		options = append(options, keyword("link_netns", tNetnsRef, "ns", "the namespace that carries its packets"))
	}
	for _, o := range k.Options {
		if o.Change {
			continue
		}
		p := Param{Name: o.Name, Type: optionType(o), Required: o.Required, KeywordOnly: true, Doc: o.Doc}
		if o.Required {
			mandatory = append(mandatory, p)
		} else {
			options = append(options, p)
		}
	}
	params = append(append(params, mandatory...), keyword("ns", tNetnsRef, where, "where it is born"))
	if hasPorts(k.Name) {
		params = append(params, keyword("ports", listOf(tLink, "a list of links"), "", "links that become its ports"))
	}
	return &Spec{
		Name: k.Name, Family: familyLinks, Returns: "link", Like: "ip link add NAME type " + k.Name,
		Doc:     page.doc + " It is down unless up=True. Options read back as attributes, times in seconds.",
		Params:  append(append(params, bornParams(k)...), options...),
		Example: page.example,
		Fn:      func(c *Call) (starlark.Value, error) { return c.newLink(k) },
	}
}

func (c *Call) newLink(k *lab.Kind) (starlark.Value, error) {
	s := c.linkSpec("")
	s.Name, s.NS = get(c, "name", ""), get[*lab.Namespace](c, "ns", nil)
	var lower *lab.Link
	switch {
	case k.Lower == lab.NeedsLower:
		lower = get[*lab.Link](c, "parent", nil)
	case k.Lower == lab.MayHaveDev && c.Given("dev"):
		lower = get[*lab.Link](c, "dev", nil)
	}
	if k.HasCarrier() {
		s.Carrier = get[*lab.Namespace](c, "link_netns", nil)
	}
	if s.Master != nil && s.NS == nil && lower == nil {
		s.NS = s.Master.NS()
	}
	if hasPorts(k.Name) {
		for _, p := range get[[]any](c, "ports", nil) {
			s.Ports = append(s.Ports, p.(*lab.Link))
		}
	}
	var options []lab.Chosen
	for _, o := range k.Options {
		if !o.Change && c.Given(o.Name) {
			options = append(options, lab.Chosen{Option: o, Given: c.values[c.at(o.Name)]})
		}
	}
	made, err := c.Env.Lab.AddLink(c.Ctx, k, s, lower, options)
	if err != nil {
		return nil, err
	}
	return &Link{made, c.Env}, nil
}

// hasPorts tells whether links of a kind have ports.
func hasPorts(kind string) bool { return kind == "bridge" || kind == "bond" || kind == "vrf" }

// bornParams are what every link constructor takes, but for what a kind has not or
// calls otherwise.
func bornParams(k *lab.Kind) []Param {
	return slices.DeleteFunc(linkParams(), func(p Param) bool {
		return p.Name == "mac" && k.NoMAC || k.Option(p.Name) != nil
	})
}

// newConfigured makes a link of a kind that is configured by messages of its own
// (generic netlink), or takes the one that is there and has that configuration. A link
// that cannot be configured is not left behind.
func (c *Call) newConfigured(k *lab.Kind, has func(*lab.Link) (bool, error), set func(*lab.Link) error) (starlark.Value, error) {
	made, err := c.newLink(k)
	if err != nil {
		return nil, err
	}
	link := made.(*Link).link
	if get(c, "exist", false) {
		if known, err := has(link); known || err != nil {
			return made, err
		}
	}
	if err := set(link); err != nil {
		_ = link.Delete(c.Ctx)
		return nil, err
	}
	return made, nil
}
