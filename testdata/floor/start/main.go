// Command start is the floor for nsscript's start-up: it starts itself again in
// the namespaces of a private lab, as nsscript does, and ends. No mount is made.
package main

import "nsscript/testdata/floor/again"

func main() { again.Sandboxed() }
