package lab

import (
	"errors"
	"fmt"
	"io/fs"
	"strings"
	"time"

	"golang.org/x/sys/unix"
)

// Kinds of errors, for scripts that branch on them.
const (
	KindKernel  = "kernel"  // the kernel refused; Errno says why
	KindUsage   = "usage"   // the request makes no sense
	KindGone    = "gone"    // the object was deleted or taken away
	KindCommand = "command" // a program failed
	KindTimeout = "timeout" // it did not happen in time
	KindMissing = "missing" // this machine or its kernel lacks something
)

// Error is an operation of a lab that failed. errors.Is finds the errno in it.
type Error struct {
	// Op is what was tried, in words that a sentence can begin with
	// ("add address 10.1.1.1/24 to veth1 in blue").
	Op string
	// Kind is one of the constants above.
	Kind string
	// Err is the cause: a unix.Errno where the kernel refused.
	Err error
	// Words is the kernel's extended acknowledgement, which says more than
	// the errno; or "".
	Words string
	// Hint says what to do; or "".
	Hint string
}

func (e *Error) Error() string {
	var b strings.Builder
	b.WriteString(e.Op)
	if e.Err != nil {
		if e.Op != "" {
			b.WriteString(": ")
		}
		b.WriteString(describe(e.Err))
	}
	if e.Words != "" {
		b.WriteString(": ")
		b.WriteString(e.Words)
	}
	return b.String()
}

func (e *Error) Unwrap() error { return e.Err }

// Errno returns the symbolic name of the kernel's error in err ("EEXIST"), or "".
func Errno(err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) {
		return ""
	}
	return unix.ErrnoName(errno)
}

// describe adds the symbolic name to the words of an errno that err ends with.
func describe(err error) string {
	var errno unix.Errno
	if !errors.As(err, &errno) || !strings.HasSuffix(err.Error(), errno.Error()) {
		return err.Error()
	}
	if name := unix.ErrnoName(errno); name != "" {
		return fmt.Sprintf("%v (%s)", err, name)
	}
	return err.Error()
}

// Timeout is the cause (context.Cause) of a deadline that an operation was given:
// how long it had.
type Timeout time.Duration

func (t Timeout) Error() string { return "timed out after " + time.Duration(t).String() }

// Usage is an error in what was asked for, found before the kernel saw it.
func Usage(hint, format string, args ...any) *Error {
	return &Error{Kind: KindUsage, Op: fmt.Sprintf(format, args...), Hint: hint}
}

// kernelError wraps what the kernel answered to an operation.
func kernelError(err error, hint, format string, args ...any) *Error {
	e := &Error{Op: fmt.Sprintf(format, args...), Kind: KindKernel, Err: err, Hint: hint}
	var refused *refusal
	if errors.As(err, &refused) {
		e.Err, e.Words = refused.errno, refused.words
	}
	var errno unix.Errno
	if errors.As(e.Err, &errno) && e.Err.Error() == errno.Error() {
		e.Err = errno // joined with nothing
	}
	var inner *Error
	if errors.As(err, &inner) {
		e.Kind, e.Err, e.Words = inner.Kind, inner, ""
		if e.Hint == "" {
			e.Hint = inner.Hint
		}
	}
	if e.Hint == "" && errors.Is(e.Err, unix.EXFULL) {
		e.Hint = "a bridge has at most 1023 ports: connect another bridge, or a router"
	}
	var path *fs.PathError // a directory of the machine, like /run
	denied := errors.As(e.Err, &path) && errors.Is(path, fs.ErrPermission)
	if e.Hint == "" && (denied || errors.Is(e.Err, unix.EPERM)) {
		e.Hint = "with --host this needs root: run it with sudo, or without --host in a private lab"
	}
	return e
}
