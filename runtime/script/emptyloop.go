package script

import (
	"go.starlark.net/syntax"

	"nsscript/runtime/event"
)

// spinning corrects the place that a run had reached when it was ended. The
// interpreter knows of no place in a loop that calls and computes nothing (`while
// True: pass`), and names the last one before it.
func (r *Runner) spinning(at event.Pos) event.Pos {
	f := r.files[at.File]
	if f == nil {
		return at
	}
	if loop := loopAfter(f.Stmts, at, false); loop != nil {
		return posOf(loop.While)
	}
	return at
}

// loopAfter finds the empty loop that directly follows the statement with the given
// place, or the head of the function with it.
func loopAfter(block []syntax.Stmt, at event.Pos, previous bool) *syntax.WhileStmt {
	for _, s := range block {
		if loop, ok := s.(*syntax.WhileStmt); ok && previous && empty(loop) {
			return loop
		}
		start, end := s.Span()
		previous = start.Line <= int32(at.Line) && int32(at.Line) <= end.Line
		if !previous {
			continue
		}
		for _, b := range blocks(s) {
			first := len(b) > 0 && first(b) > int32(at.Line)
			if loop := loopAfter(b, at, first); loop != nil {
				return loop
			}
		}
	}
	return nil
}

// first is the line that a block begins with.
func first(block []syntax.Stmt) int32 {
	start, _ := block[0].Span()
	return start.Line
}

// blocks are the blocks of a statement.
func blocks(s syntax.Stmt) [][]syntax.Stmt {
	switch s := s.(type) {
	case *syntax.DefStmt:
		return [][]syntax.Stmt{s.Body}
	case *syntax.ForStmt:
		return [][]syntax.Stmt{s.Body}
	case *syntax.WhileStmt:
		return [][]syntax.Stmt{s.Body}
	case *syntax.IfStmt:
		return [][]syntax.Stmt{s.True, s.False}
	}
	return nil
}

// empty tells a loop whose condition and body neither call nor compute.
func empty(loop *syntax.WhileStmt) bool {
	switch loop.Cond.(type) {
	case *syntax.Literal, *syntax.Ident:
	default:
		return false
	}
	for _, s := range loop.Body {
		if _, ok := s.(*syntax.BranchStmt); !ok {
			return false
		}
	}
	return true
}
