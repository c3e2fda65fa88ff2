package iproute

import "nsscript/runtime/event"

// wgSet has wg(8) read a key from its standard input, so that the command line,
// which everybody on the machine can read and a trace shows, does not have it.
func wgSet(e event.Event, _ bool) []command {
	c := command{words: append(inside(e), "wg", "set", e.Get("dev"))}
	for _, a := range without(e.Args, "dev") {
		c.words = append(c.words, a.Key)
		switch {
		case a.Key == "remove":
		case a.Key != "private-key" && a.Key != "preshared-key":
			c.words = append(c.words, a.Value)
		case a.Value == "":
			c.words = append(c.words, "/dev/null")
		default:
			c.words, c.input = append(c.words, "/dev/stdin"), a.Value
		}
	}
	return []command{c}
}
