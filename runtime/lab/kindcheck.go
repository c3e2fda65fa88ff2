package lab

import (
	"fmt"
	"net/netip"
	"slices"
	"strings"
)

// chosen are options that a link is to get and, for a change, what it has now.
type chosen struct {
	options []Chosen
	now     map[string]any // nil at birth
	lower   *Link
}

// given finds what was given for an option, or nil.
func (c chosen) given(name string) any {
	for _, o := range c.options {
		if o.Name == name {
			return o.Given
		}
	}
	return nil
}

func (c chosen) on(name string) bool { return c.given(name) == true }

// is what the option will be: what is given or else what is there.
func (c chosen) is(name string) any {
	if v := c.given(name); v != nil {
		return v
	}
	return c.now[name]
}

// exclude refuses options that do not go together.
func (c chosen) exclude(names ...string) error {
	var found []string
	for _, name := range names {
		if v := c.given(name); v != nil && v != false {
			found = append(found, name)
		}
	}
	if len(found) > 1 {
		return Usage("leave one of them out", "%s and %s exclude each other", found[0], found[1])
	}
	return nil
}

// notExternal refuses, as `ip` does by forgetting them, options of a tunnel whose
// addresses routes and filters say.
func (c chosen) notExternal(allowed ...string) error {
	if !c.on("external") {
		return nil
	}
	for _, o := range c.options {
		if o.Name != "external" && !slices.Contains(allowed, o.Name) {
			return Usage("routes and filters say it", "%s has no meaning with external=True", o.Name)
		}
	}
	if c.lower != nil {
		return Usage("routes and filters say it", "dev has no meaning with external=True")
	}
	return nil
}

func checkTunnel(c chosen) error {
	for _, names := range [][]string{{"key", "ikey"}, {"key", "okey"}, {"seq", "iseq"}, {"seq", "oseq"}, {"csum", "icsum"}, {"csum", "ocsum"}} {
		if err := c.exclude(names...); err != nil {
			return err
		}
	}
	if err := c.notExternal("mode"); err != nil {
		return err
	}
	if ttl, ok := c.is("ttl").(int); ok && c.is("pmtudisc") == false {
		return Usage(`leave one of them out, or say ttl="inherit"`, "ttl %d wants path MTU discovery, which pmtudisc=False turns off", ttl)
	}
	if c.is("ignore_df") == true && c.is("pmtudisc") != false {
		return Usage("add pmtudisc=False", "ignore_df and path MTU discovery exclude each other")
	}
	if ip, ok := c.given("remote").(netip.Addr); ok && ip.Is4() && ip.IsMulticast() && c.is("local") == nil {
		return Usage("add local=", "remote is a multicast group: the tunnel needs a source address")
	}
	return nil
}

// checkSit holds the subnets of 6rd to what leaves room for an IPv4 address.
func checkSit(c chosen) error {
	prefix, _ := c.given("sixrd_prefix").(netip.Prefix)
	relay, _ := c.given("sixrd_relay_prefix").(netip.Prefix)
	switch {
	case prefix.IsValid() && prefix.Bits() > 32:
		return Usage(`like "2001:db8::/32"`, "sixrd_prefix: a prefix length of %d is out of range: it is from 0 to 32", prefix.Bits())
	case relay.IsValid() && !prefix.IsValid() && c.now == nil:
		return Usage("add sixrd_prefix=", "sixrd_relay_prefix alone has no meaning")
	}
	return checkTunnel(c)
}

// checkErspan wants, as the kernel does, numbered packets, and of each version its
// own options.
func checkErspan(c chosen) error {
	if err := checkTunnel(c); err != nil || c.on("external") {
		return err
	}
	if c.now == nil && !c.on("seq") && !c.on("iseq") && !c.on("oseq") {
		return Usage("add seq=True", "mirrored frames are numbered")
	}
	for _, o := range c.options {
		if n, ok := o.Given.(int); ok && n > maxErspanID && strings.HasSuffix(o.Name, "key") {
			return Usage(fmt.Sprintf("it is from 0 to %d", maxErspanID), "%s: %d is out of range", o.Name, n)
		}
	}
	version, _ := c.is("erspan_ver").(int)
	if c.is("erspan_ver") == nil {
		version = 1
	}
	for _, o := range c.options {
		its := map[string]int{"erspan": 1, "erspan_dir": 2, "erspan_hwid": 2}[o.Name]
		if its != 0 && its != version {
			return Usage("", "%s belongs to erspan_ver=%d, not %d", o.Name, its, version)
		}
	}
	return nil
}

// maxErspanID is the greatest session, which the key is.
const maxErspanID = 1023

func checkXfrm(c chosen) error {
	switch {
	case c.on("external") && (c.given("if_id") != nil || c.lower != nil):
		return Usage("leave them out", "external excludes if_id and dev")
	case c.now == nil && !c.on("external") && c.given("if_id") == nil:
		return Usage("like if_id=42, or external=True", "if_id is missing")
	}
	return nil
}

func checkGeneve(c chosen) error {
	if c.now != nil {
		return nil
	}
	if err := idOrExternal(c); err != nil {
		return err
	}
	switch {
	case !c.on("external") && c.given("remote") == nil:
		return Usage(`like remote="10.0.0.2", or external=True`, "remote is missing")
	case c.on("external") && c.given("remote") != nil:
		return Usage("leave one of them out", "remote and external exclude each other")
	case c.on("innerprotoinherit") && !c.on("external"):
		return Usage("add external=True", "innerprotoinherit needs external")
	}
	return nil
}

// idOrExternal refuses, as `ip` does, a tunnel without a segment and one that has a
// segment of its own although routes and filters say it.
func idOrExternal(c chosen) error {
	id, external := c.given("id") != nil, c.on("external")
	switch {
	case id && external:
		return Usage("leave one of them out", "id and external exclude each other")
	case !id && !external && c.now == nil:
		return Usage("like id=42, or external=True", "id is missing")
	}
	return nil
}

func checkVxlan(c chosen) error {
	if err := idOrExternal(c); err != nil {
		return err
	}
	if err := c.exclude("remote", "group"); err != nil {
		return err
	}
	if c.now == nil {
		switch {
		case c.on("vnifilter") && !c.on("external"):
			return Usage("add external=True", "vnifilter needs external")
		case c.given("group") != nil && c.lower == nil:
			return Usage("the link on which the group is joined, like dev=eth0", "group needs dev")
		}
	}
	return nil
}

func checkMacvlan(c chosen) error {
	if err := c.exclude("macaddr", "macaddr_add", "macaddr_del"); err != nil {
		return err
	}
	for _, name := range []string{"macaddr", "macaddr_add", "macaddr_del"} {
		if c.given(name) != nil && c.is("mode") != "source" {
			return Usage(`it belongs to mode="source"`, "%s: the mode is not source", name)
		}
	}
	return nil
}

// orList is a list as a sentence has it.
func orList(words []string) string {
	if len(words) < 2 {
		return strings.Join(words, "")
	}
	return strings.Join(words[:len(words)-1], ", ") + " or " + words[len(words)-1]
}
