package importer

import (
	"fmt"
	"slices"
)

// statementSkipper finds the end of a statement that is not understood: the first line end outside all brackets and blocks.
type statementSkipper struct {
	brackets, blocks int
	loopDo           bool // the next do belongs to while, until or for
}

// skip consumes a statement that is not understood, including the end of its line. It returns a problem if the statement has no end.
func (p *rubyParser) skip() string {
	var s statementSkipper
	from := p.i
	for {
		t := p.peek()
		open := s.brackets > 0 || s.blocks > 0
		method := p.i > 0 && p.tokens[p.i-1].is(tokOp, ".")
		switch {
		case t.kind == tokEnd && open:
			return fmt.Sprintf("the statement that starts on line %d has no end: rest of the file skipped", p.tokens[from].line)
		case t.kind == tokEnd:
			return ""
		case t.unterminated:
			p.i = len(p.tokens) - 1
			return fmt.Sprintf("the string that starts on line %d has no end: rest of the file skipped", t.line)
		case !open && !method && p.i > from && (t.is(tokName, "end") || t.is(tokOp, "}")):
			return ""
		case !open && t.kind == tokNewline && !p.continues():
			p.next()
			return ""
		}
		s.track(t, p.i == from || p.startsExpression(p.tokens[p.i-1]), method)
		p.next()
	}
}

// track counts open brackets and blocks. begins is true if a value or statement can start at t, method if t is the name of a method.
func (s *statementSkipper) track(t token, begins, method bool) {
	switch {
	case t.kind == tokNewline:
		s.loopDo = false
	case t.kind == tokOp && (t.text == "(" || t.text == "[" || t.text == "{"):
		s.brackets++
	case t.kind == tokOp && (t.text == ")" || t.text == "]" || t.text == "}"):
		s.brackets = max(s.brackets-1, 0)
	case t.kind != tokName || method:
	case t.text == "end":
		s.blocks = max(s.blocks-1, 0)
	case t.text == "do" && s.loopDo:
		s.loopDo = false
	case slices.Contains([]string{"do", "def", "class", "module", "begin", "case"}, t.text):
		s.blocks++
	case begins && (t.text == "if" || t.text == "unless"):
		s.blocks++
	case begins && (t.text == "while" || t.text == "until") || t.text == "for":
		s.blocks++
		s.loopDo = true
	}
}

// startsExpression reports whether a statement or value can start after a token. There, if does not modify a preceding statement.
func (p *rubyParser) startsExpression(before token) bool {
	switch before.kind {
	case tokNewline, tokLabel:
		return true
	case tokOp:
		return !slices.Contains([]string{")", "]", "}"}, before.text)
	case tokName:
		return slices.Contains([]string{"then", "else", "do", "not", "and", "or", "return", "begin", "ensure"}, before.text)
	}
	return false
}

// continues reports whether the statement continues after the next line end: after a comma or an operator, or if the next line starts with
// a dot.
func (p *rubyParser) continues() bool {
	if p.i > 0 {
		last := p.tokens[p.i-1]
		if last.kind == tokOp && !slices.Contains([]string{")", "]", "}", "|"}, last.text) || last.kind == tokLabel {
			return true
		}
	}
	for i := p.i; ; i++ {
		switch t := p.tokens[i]; {
		case t.kind == tokNewline:
		default:
			return t.is(tokOp, ".") || t.is(tokOp, "&.")
		}
	}
}
