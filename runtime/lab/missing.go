package lab

import "nsscript/runtime/feature"

// missing says that the kernel has no such feature, if so. It asks the kernel, and
// only after something that needs the feature was refused with err; nil means that
// the refusal has another reason.
func missing(err error, family, name string) error {
	f := feature.Find(family, name)
	if f == nil {
		return nil
	}
	if found := f.Check(); found.Status != feature.Missing {
		return nil
	}
	return lacks(err, f)
}

// lacks says that the kernel has no such feature, and what to do.
func lacks(err error, f *feature.Feature) error {
	return &Error{Op: f.Lacking(), Kind: KindMissing, Err: unwrapErrno(err), Hint: f.Check().Advice}
}
