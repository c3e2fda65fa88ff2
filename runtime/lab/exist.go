package lab

import (
	"fmt"
	"slices"
	"strings"

	"nsscript/runtime/event"
)

// difference says in what the properties of an object that is there are not those
// that were asked for, in `ip`'s words; "" when all of these are. What was not
// asked for is the object's own matter.
func difference(asked, there []event.Arg) string {
	for _, a := range asked {
		want, have := valuesOf(asked, a.Key), valuesOf(there, a.Key)
		switch {
		case slices.EqualFunc(want, have, covers):
		case have == nil:
			return "it has no " + strings.TrimSpace(a.Key+" "+a.Value)
		default:
			return fmt.Sprintf("its %s is %s, not %s", a.Key, strings.Join(have, ", "), strings.Join(want, ", "))
		}
	}
	return ""
}

// covers tells whether what is there has all words of what was asked for, in their
// order: of a next hop, the kernel may add the link.
func covers(want, have string) bool {
	rest := strings.Fields(want)
	for _, word := range strings.Fields(have) {
		if len(rest) > 0 && rest[0] == word {
			rest = rest[1:]
		}
	}
	return len(rest) == 0
}

func valuesOf(args []event.Arg, key string) (values []string) {
	for _, a := range args {
		if a.Key == key {
			values = append(values, a.Value)
		}
	}
	return values
}

// differs is the error of exist=True where what is there is another than what was
// asked for; nil when it is the same.
func differs(what fmt.Stringer, asked, there []event.Arg) error {
	if d := difference(asked, there); d != "" {
		return Usage("replace=True makes it what is asked for", "%s is there, but %s", what, d)
	}
	return nil
}
