package main

import (
	"bufio"
	"errors"
	"os"

	"nsscript/runtime/suite"
)

// reporters tell results on standard output and, with --output, in a file.
type reporters []*reporter

type reporter struct {
	suite.Reporter
	w     *bufio.Writer
	file  *os.File
	quiet bool // says nothing at the end
}

func (s *testRun) reporters() (reporters, error) {
	out := &reporter{w: bufio.NewWriter(os.Stdout), file: os.Stdout}
	if s.format != "" && s.output == "" {
		out.Reporter = suite.New(s.format, out.w)
		return reporters{out}, nil
	}
	out.Reporter = &suite.Pretty{W: out.w, All: s.all, Paint: s.painter(os.Stdout)}
	out.quiet = s.quiet
	if s.output == "" {
		return reporters{out}, nil
	}
	f, err := os.Create(s.output)
	if err != nil {
		return nil, err
	}
	w := bufio.NewWriter(f)
	return reporters{out, {Reporter: suite.New(s.format, w), w: w, file: f}}, nil
}

// Tell tells each of them. What is wrong with a file they say at their end: a
// bufio.Writer keeps its first error.
func (rs reporters) Tell(result suite.Result) {
	for _, r := range rs {
		r.Reporter.Tell(result)
		_ = r.w.Flush()
	}
}

// close tells the end.
func (rs reporters) close(s suite.Summary) error {
	var errs []error
	for _, r := range rs {
		if !r.quiet {
			r.End(s)
		}
		errs = append(errs, r.w.Flush())
		if r.file != os.Stdout {
			errs = append(errs, r.file.Close())
		}
	}
	return errors.Join(errs...)
}
