package importer

import (
	"fmt"
	"slices"
	"strings"
)

// statement is a statement of a litmus_paper configuration in Ruby.
type statement struct {
	at         location
	name       string  // such as port, service, depends; "" if skipped
	args       []value // named arguments become a mapping at the end
	body       []statement
	skipReason string // why the statement cannot be converted; "" if it can
}

// rubyParser parses declarations: calls of known methods with literal arguments. It skips every other statement, after finding where the
// statement ends.
type rubyParser struct {
	file   string
	tokens []token
	i      int
}

// unsupportedError says why a statement is not a declaration.
type unsupportedError struct{ reason string }

func (u *unsupportedError) Error() string { return u.reason }

// topLevelMethods can be called at the top level of a configuration.
var topLevelMethods = []string{"include_files", "port", "data_directory", "cache_location", "cache_ttl"} // in ConfigurationFile

// serviceMethods can be called on the parameter of a service block.
var serviceMethods = []string{"depends", "measure_health", "measure_health_with_args"} // in Service

// maxNesting limits lists within lists.
const maxNesting = 20

// parseRuby returns the statements of a file.
func parseRuby(file, source string) []statement {
	p := &rubyParser{file: file, tokens: lex(source)}
	return p.statements("")
}

func (p *rubyParser) peek() token { return p.tokens[p.i] }

// next consumes a token. The last token, tokEnd, is never consumed.
func (p *rubyParser) next() token {
	t := p.tokens[p.i]
	if t.kind != tokEnd {
		p.i++
	}
	return t
}

// accept consumes the token if it is the given one.
func (p *rubyParser) accept(kind tokenKind, text string) bool {
	if p.peek().is(kind, text) {
		p.next()
		return true
	}
	return false
}

func (p *rubyParser) skipNewlines() {
	for p.peek().kind == tokNewline {
		p.next()
	}
}

// statements parses up to the end of the file or of the enclosing block. param is the block's parameter, "" at the top level.
func (p *rubyParser) statements(param string) []statement {
	var out []statement
	for {
		p.skipNewlines()
		t := p.peek()
		if t.kind == tokEnd || param != "" && (t.is(tokName, "end") || t.is(tokOp, "}")) {
			return out
		}
		from := p.i
		s, err := p.statement(param)
		if err != nil {
			p.i = from
			s = statement{skipReason: err.Error()}
			if unterminated := p.skip(); unterminated != "" {
				s.skipReason = unterminated
			}
		}
		s.at = location{p.file, p.tokens[from].line, p.tokens[max(from, p.i-1)].end}
		if p.tokens[p.i-1].kind == tokNewline && p.i-1 > from {
			s.at.end = p.tokens[p.i-2].end
		}
		out = append(out, s)
	}
}

// statement parses one statement, including the end of its line.
func (p *rubyParser) statement(param string) (statement, error) {
	t := p.next()
	if t.kind != tokName {
		return statement{}, p.unsupported(t)
	}
	s := statement{name: t.text}
	switch {
	case param == "" && t.text == "service":
		return p.service()
	case param == "" && slices.Contains(topLevelMethods, t.text):
	case param != "" && t.text == param && p.accept(tokOp, "."):
		m := p.next()
		if m.kind != tokName || !slices.Contains(serviceMethods, m.text) {
			return s, &unsupportedError{fmt.Sprintf("litmus_paper's services have no method %q", m.text)}
		}
		s.name = m.text
	default:
		return s, p.unsupported(t)
	}
	var err error
	if s.args, err = p.arguments(); err != nil {
		return s, err
	}
	return s, p.endOfStatement()
}

// service parses `service NAME do |s| … end`, after the word service.
func (p *rubyParser) service() (statement, error) {
	s := statement{name: "service"}
	var err error
	if s.args, err = p.arguments(); err != nil {
		return s, err
	}
	end := token{kind: tokName, text: "end"}
	if p.accept(tokOp, "{") {
		end = token{kind: tokOp, text: "}"}
	} else if !p.accept(tokName, "do") {
		return s, p.unsupported(p.peek())
	}
	p.skipNewlines()
	if !p.accept(tokOp, "|") {
		return s, &unsupportedError{"the block has no parameter: expected do |s|"}
	}
	param := p.next()
	if param.kind != tokName || !p.accept(tokOp, "|") {
		return s, &unsupportedError{"the block's parameter must be a single name: expected do |s|"}
	}
	s.body = p.statements(param.text)
	if !p.accept(end.kind, end.text) {
		return s, &unsupportedError{"the service block has no end"}
	}
	return s, p.endOfStatement()
}

// endOfStatement consumes the end of the line. It leaves the end of a block.
func (p *rubyParser) endOfStatement() error {
	switch t := p.peek(); {
	case t.kind == tokEnd, t.is(tokName, "end"), t.is(tokOp, "}"):
		return nil
	case t.kind == tokNewline:
		p.next()
		return nil
	default:
		return p.unsupported(t)
	}
}

// arguments parses the arguments of a call, with or without parentheses. Named arguments become a mapping at the end.
func (p *rubyParser) arguments() ([]value, error) {
	parens := p.accept(tokOp, "(")
	var out []value
	named := value{kind: mapping}
	for {
		if parens || len(out)+len(named.pairs) > 0 {
			p.skipNewlines() // after a comma
		}
		if parens && p.accept(tokOp, ")") {
			break
		}
		key, v, err := p.argument(0)
		if err != nil {
			return nil, err
		}
		switch {
		case key != nil:
			named.set(*key)
			named.at = key.at
		case len(named.pairs) > 0:
			return nil, &unsupportedError{"positional argument after named arguments"}
		default:
			out = append(out, v)
		}
		if p.accept(tokOp, ",") {
			continue
		}
		if parens {
			p.skipNewlines()
			if !p.accept(tokOp, ")") {
				return nil, p.unsupported(p.peek())
			}
		}
		break
	}
	if len(named.pairs) > 0 {
		out = append(out, named)
	}
	return out, nil
}

// argument parses a value, or a name and a value: `:name => value` or `name: value`.
func (p *rubyParser) argument(depth int) (*pair, value, error) {
	t := p.peek()
	if t.kind == tokLabel {
		p.next()
		p.skipNewlines()
		v, err := p.value(depth)
		return &pair{t.text, p.location(t), v}, v, err
	}
	v, err := p.value(depth)
	if err != nil || !p.accept(tokOp, "=>") {
		return nil, v, err
	}
	if v.kind != text {
		return nil, v, &unsupportedError{"an argument's name must be a symbol or a string"}
	}
	p.skipNewlines()
	key := v.text
	v, err = p.value(depth)
	return &pair{key, p.location(t), v}, v, err
}

func (p *rubyParser) location(t token) location { return location{p.file, t.line, t.end} }

// value parses a literal.
func (p *rubyParser) value(depth int) (value, error) {
	t := p.next()
	v := value{at: p.location(t), text: t.text}
	if depth > maxNesting {
		return v, &unsupportedError{"lists are nested too deeply"}
	}
	if t.unterminated {
		return v, p.unsupported(t)
	}
	switch {
	case t.kind == tokString || t.kind == tokSymbol:
		v.kind = text
	case t.kind == tokNumber:
		v.kind = number
	case t.kind == tokConst:
		v.kind = class
	case t.kind == tokRegexp:
		v.kind, v.flags = pattern, t.flags
	case t.kind == tokWords:
		v.kind = list
		for _, word := range t.items {
			v.items = append(v.items, value{kind: text, at: v.at, text: word})
		}
	case t.is(tokName, "true"), t.is(tokName, "false"):
		v.kind = boolean
	case t.is(tokName, "nil"):
		v.kind = null
	case t.is(tokOp, "["):
		return p.elements(v, depth, "]")
	case t.is(tokOp, "{"):
		return p.elements(v, depth, "}")
	default:
		return v, p.unsupported(t)
	}
	return v, nil
}

// elements parses a list or mapping up to end.
func (p *rubyParser) elements(v value, depth int, end string) (value, error) {
	v.kind = list
	if end == "}" {
		v.kind = mapping
	}
	for {
		p.skipNewlines()
		if p.accept(tokOp, end) {
			return v, nil
		}
		key, item, err := p.argument(depth + 1)
		switch {
		case err != nil:
			return v, err
		case (key != nil) != (v.kind == mapping):
			return v, p.unsupported(p.peek())
		case key != nil:
			v.set(*key)
		default:
			v.items = append(v.items, item)
		}
		p.skipNewlines()
		if !p.accept(tokOp, ",") && !p.peek().is(tokOp, end) {
			return v, p.unsupported(p.peek())
		}
	}
}

// unsupported says why a statement is skipped, judging by the token that is not part of a declaration.
func (p *rubyParser) unsupported(t token) error {
	reason := fmt.Sprintf("unsupported Ruby code: %q", t.text)
	switch {
	case t.unterminated:
		reason = fmt.Sprintf("the string that starts on line %d has no end", t.line)
	case t.kind == tokDynamic, t.kind == tokWords:
		reason = "value is known only at run time"
	case t.kind == tokEnd || t.kind == tokNewline:
		reason = "incomplete statement"
	case t.kind == tokConst:
		reason = "Ruby constant"
	case strings.HasPrefix(t.text, "require"), t.is(tokName, "load"):
		reason = "loads Ruby code"
	case slices.Contains([]string{"class", "module", "def", "include", "extend", "alias"}, t.text):
		reason = "custom Ruby code"
	case slices.Contains([]string{"if", "unless", "case", "while", "until", "for"}, t.text):
		reason = "conditional or repeated code"
	}
	return &unsupportedError{reason}
}
