package early

// Roomy calls fn on a stack that has grown, in one step, to what a script needs. Each of
// the steps that it would take otherwise walks the stack and copies it. never is false,
// which the compiler must not know.
//
//go:noinline
func Roomy(fn func(), never bool) {
	if never {
		wide()
	}
	fn()
}

// wide widens the frame of its caller by its result, without anything being written there.
//
//go:noinline
func wide() (_ [24 << 10]byte) { return }
