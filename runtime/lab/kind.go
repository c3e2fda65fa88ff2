package lab

import (
	"errors"

	"nsscript/runtime/event"
)

// Kind is a kind of link (IFLA_INFO_KIND).
type Kind struct {
	Name    string
	Options []*Option
	// Lower tells whether a link of this kind has a lower link.
	Lower Lower
	// NoMAC is one that has no MAC address to choose.
	NoMAC bool

	prefix string // of a name that is left out; "" for the kind's own
	// check refuses options that do not go together; nil refuses none.
	check func(chosen) error
	// lowerAttr says the lower link in IFLA_INFO_DATA; 0 when IFLA_LINK does.
	lowerAttr int
	// carrier is which namespace carries a tunnel's packets.
	carrier carrier
	// whole: the kernel takes a change of the options as a whole, so that what is not
	// said ends; `ip` says again what is there.
	whole bool
	// said are options that `ip` wants to be said with every change.
	said []string
}

// carrier is which namespace, of a link that is born in another one than it is asked
// for in, carries its packets (src_net in the kernel's newlink).
type carrier int

const (
	noCarrier carrier = iota
	ofRequest         // the one that is asked
	ofBirth           // the one that it is born in, so that it has to move from there
)

// HasCarrier tells whether its packets may go by another namespace than its own
// (`ip link add … link-netns NS`).
func (k *Kind) HasCarrier() bool { return k.carrier != noCarrier }

// Lower tells whether a kind has a lower link (`ip link add link LOWER`).
type Lower int

// The kinds of need for a lower link.
const (
	NoLower    Lower = iota
	NeedsLower       // `ip link add link PARENT`
	MayHaveDev       // `ip link add … type KIND dev DEV`
)

// Option finds an option by its name, or nil; no kind has none.
func (k *Kind) Option(name string) *Option {
	if k == nil {
		return nil
	}
	for _, o := range k.Options {
		if o.Name == name {
			return o
		}
	}
	return nil
}

// read reads IFLA_INFO_DATA back.
func (k *Kind) read(data []byte) map[string]any {
	if len(k.Options) == 0 {
		return nil
	}
	set := map[int][]byte{}
	for kind, v := range attributes(data) {
		set[kind] = v
	}
	values := map[string]any{}
	for _, o := range k.Options {
		if v := o.in(set); v != nil {
			values[o.Name] = v
		}
	}
	return values
}

// in is the option's value in a set of attributes, or nil.
func (o *Option) in(set map[int][]byte) any {
	if o.Change {
		return nil
	}
	if v, ok := o.Value.(spread); ok {
		return v.gather(o.attr, set)
	}
	if b, ok := set[o.attr]; ok {
		return o.Value.read(b)
	}
	return nil
}

// inOption names the option in an error about its value.
func inOption(name string, err error) error {
	var e *Error
	if !errors.As(err, &e) {
		return err
	}
	named := *e
	named.Op = name + ": " + e.Op
	return &named
}

// optionArgs are an option in `ip`'s words: its name and the first word, and then
// the others.
func optionArgs(name string, o Chosen) []event.Arg {
	words, named := o.Value.words(o.Given)
	if !named {
		name = ""
	}
	var args []event.Arg
	switch {
	case name != "" && len(words) > 0:
		args, words = append(args, arg("option "+name, words[0])), words[1:]
	case name != "":
		args = append(args, arg("option "+name, ""))
	}
	for _, w := range words {
		args = append(args, arg("option "+w, ""))
	}
	return args
}
