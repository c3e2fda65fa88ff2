package iproute

import "nsscript/runtime/event"

func Line(e event.Event) string                      { return e.Op }
func Script(events []event.Event, exact bool) string { return "" }
