package importer

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is what a token of Ruby is.
type tokenKind int

const (
	tokEnd     tokenKind = iota // of the file
	tokNewline                  // a line's end, or ;
	tokName                     // of a method, a variable, or a keyword
	tokConst                    // of a class or another constant, with its ::
	tokString
	tokWords // %w[…]; its words are in items
	tokSymbol
	tokLabel // name: in front of a value
	tokNumber
	tokRegexp
	tokOp
	tokRun // what has to be run to be known: #{…}, `…`, <<HERE, @x
)

// token is one token of a Ruby file.
type token struct {
	kind      tokenKind
	text      string // what it stands for: a string without quotes, a name, an operator
	flags     string // of a regular expression
	items     []string
	line, end int  // first and last line, from 1
	spaced    bool // white space stands in front of it
	broken    bool // it has no end: the file ends within it
}

// is tells whether a token is that operator or name.
func (t token) is(kind tokenKind, text string) bool { return t.kind == kind && t.text == text }

// lexer splits a Ruby file into tokens: those of the whole language, as far as it takes to find the end of what is not understood.
type lexer struct {
	src     string
	pos     int
	line    int
	tokens  []token
	heredoc []string // ends of the texts that begin behind this line
}

// lex splits a Ruby file. The last token is a tokEnd.
func lex(src string) []token {
	lx := &lexer{src: strings.TrimPrefix(src, "\ufeff"), line: 1}
	for lx.next() {
	}
	lx.tokens = append(lx.tokens, token{kind: tokEnd, line: lx.line, end: lx.line})
	return lx.tokens
}

// rest is what is not read yet.
func (lx *lexer) rest() string { return lx.src[lx.pos:] }

// at is the byte i places ahead, 0 behind the end.
func (lx *lexer) at(i int) byte {
	if lx.pos+i < len(lx.src) {
		return lx.src[lx.pos+i]
	}
	return 0
}

// take reads n bytes on.
func (lx *lexer) take(n int) string {
	s := lx.src[lx.pos : lx.pos+n]
	lx.pos += n
	lx.line += strings.Count(s, "\n")
	return s
}

// afterValue tells whether the last token ends a value, so that what follows is an operator and not the beginning of another value.
func (lx *lexer) afterValue() bool {
	if len(lx.tokens) == 0 {
		return false
	}
	switch t := lx.tokens[len(lx.tokens)-1]; t.kind {
	case tokNewline, tokLabel:
		return false
	case tokOp:
		return t.text == ")" || t.text == "]" || t.text == "}"
	default:
		return true
	}
}

// startOfLine tells whether nothing of this line is read yet.
func (lx *lexer) startOfLine() bool { return lx.pos == 0 || lx.src[lx.pos-1] == '\n' }

// next reads one token, or white space; false at the end of the file.
func (lx *lexer) next() bool {
	spaced := lx.space()
	if lx.pos >= len(lx.src) || lx.startOfLine() && endsProgram(lx.rest()) {
		return false
	}
	line := lx.line
	t, ok := lx.token(spaced)
	if ok {
		t.line, t.end, t.spaced = line, lx.line, spaced
		if t.kind == tokNewline {
			t.end = line
		}
		lx.tokens = append(lx.tokens, t)
	}
	return true
}

// endsProgram tells whether a line says that what follows is data.
func endsProgram(rest string) bool {
	first, _, _ := strings.Cut(rest, "\n")
	return strings.TrimRight(first, "\r") == "__END__"
}

// space skips white space and comments, but no line's end.
func (lx *lexer) space() bool {
	from := lx.pos
	for lx.pos < len(lx.src) {
		switch c := lx.at(0); {
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			lx.pos++
		case c == '\\' && (lx.at(1) == '\n' || lx.at(1) == '\r' && lx.at(2) == '\n'):
			lx.take(strings.IndexByte(lx.rest(), '\n') + 1)
		case c == '#':
			lx.pos += len(firstLine(lx.rest()))
		case c == '=' && lx.startOfLine() && strings.HasPrefix(lx.rest(), "=begin"):
			end := strings.Index(lx.rest(), "\n=end")
			if end < 0 {
				lx.take(len(lx.rest()))
				continue
			}
			lx.take(end + 1)
			lx.take(len(firstLine(lx.rest())))
		default:
			return lx.pos > from
		}
	}
	return lx.pos > from
}

// firstLine is s up to the end of its line.
func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// token reads one token.
func (lx *lexer) token(spaced bool) (token, bool) {
	c := lx.at(0)
	value := !lx.afterValue()
	// Behind a name, a word that begins with a mark may be an argument of it: `port -1`, `puts %w[a b]`.
	argument := !value && spaced && lx.at(1) != ' ' && lx.tokens[len(lx.tokens)-1].kind == tokName
	switch {
	case c == '\n':
		lx.take(1)
		lx.bodies()
		return token{kind: tokNewline}, true
	case c == ';':
		lx.take(1)
		return token{kind: tokNewline}, true
	case c == '"', c == '\'', c == '`':
		return lx.quotedString(), true
	case isDigit(c) || c == '-' && isDigit(lx.at(1)) && (value || argument):
		return lx.number(), true
	case isNameStart(c):
		return lx.name(), true
	case c == ':' && lx.at(1) == ':' && isUpper(lx.at(2)) && (value || argument):
		lx.take(2)
		return lx.name(), true
	case c == ':' && (isNameStart(lx.at(1)) || lx.at(1) == '"' || lx.at(1) == '\''):
		return lx.symbol(), true
	case c == '/' && (value || argument):
		lx.take(1)
		return lx.regexp('/', '/'), true
	case c == '%' && (value || argument):
		if t, ok := lx.percent(); ok {
			return t, true
		}
	case strings.HasPrefix(lx.rest(), "<<") && (value || argument):
		if t, ok := lx.here(); ok {
			return t, true
		}
	case c == '?' && value && lx.at(1) > ' ':
		lx.take(1)
		_, n := utf8.DecodeRuneInString(lx.rest())
		lx.take(n)
		return token{kind: tokRun, text: "?"}, true
	case c == '@' || c == '$':
		lx.take(1)
		for isNamePart(lx.at(0)) || lx.at(0) == '@' {
			lx.take(1)
		}
		return token{kind: tokRun, text: string(c)}, true
	}
	return lx.operator(), true
}

// operator reads an operator: those of several characters that matter to what follows, else one character.
func (lx *lexer) operator() token {
	for _, op := range []string{"=>", "::", "&&", "||", "==", "<<", "**", "->", "..", "&."} {
		if strings.HasPrefix(lx.rest(), op) {
			return token{kind: tokOp, text: lx.take(len(op))}
		}
	}
	_, n := utf8.DecodeRuneInString(lx.rest())
	return token{kind: tokOp, text: lx.take(n)}
}

func isDigit(c byte) bool     { return c >= '0' && c <= '9' }
func isUpper(c byte) bool     { return c >= 'A' && c <= 'Z' }
func isNameStart(c byte) bool { return c == '_' || isUpper(c) || c >= 'a' && c <= 'z' || c >= 0x80 }
func isNamePart(c byte) bool  { return isNameStart(c) || isDigit(c) }

// number reads a number, with its sign.
func (lx *lexer) number() token {
	n := 1
	for isNamePart(lx.at(n)) || lx.at(n) == '.' && isDigit(lx.at(n+1)) {
		n++
	}
	return token{kind: tokNumber, text: lx.take(n)}
}

// name reads a name, a constant with its ::, or a label.
func (lx *lexer) name() token {
	kind := tokName
	if isUpper(lx.at(0)) {
		kind = tokConst
	}
	n := 0
	for isNamePart(lx.at(n)) || kind == tokConst && lx.at(n) == ':' && lx.at(n+1) == ':' && isUpper(lx.at(n+2)) {
		if lx.at(n) == ':' {
			n++
		}
		n++
	}
	if kind == tokName && (lx.at(n) == '?' || lx.at(n) == '!') && lx.at(n+1) != '=' {
		n++
	}
	text := lx.take(n)
	if lx.at(0) == ':' && lx.at(1) != ':' {
		lx.take(1)
		return token{kind: tokLabel, text: text}
	}
	return token{kind: kind, text: text}
}

// symbol reads :name or :"name".
func (lx *lexer) symbol() token {
	lx.take(1)
	if c := lx.at(0); c == '"' || c == '\'' {
		t := lx.quotedString()
		if t.kind == tokString {
			t.kind = tokSymbol
		}
		return t
	}
	n := 0
	for isNamePart(lx.at(n)) {
		n++
	}
	if c := lx.at(n); (c == '?' || c == '!' || c == '=') && lx.at(n+1) != '=' && lx.at(n+1) != '>' {
		n++
	}
	return token{kind: tokSymbol, text: lx.take(n)}
}

// here reads the beginning of a text that stands in the lines below.
func (lx *lexer) here() (token, bool) {
	n := 2
	if lx.at(n) == '-' || lx.at(n) == '~' {
		n++
	}
	quote := lx.at(n)
	if quote == '"' || quote == '\'' || quote == '`' {
		n++
	} else {
		quote = 0
	}
	from := n
	for isNamePart(lx.at(n)) {
		n++
	}
	end := lx.src[lx.pos+from : lx.pos+n]
	if end == "" || quote == 0 && !isUpper(end[0]) && from == 2 || quote != 0 && lx.at(n) != quote {
		return token{}, false
	}
	if quote != 0 {
		n++
	}
	lx.take(n)
	lx.heredoc = append(lx.heredoc, end)
	return token{kind: tokRun, text: "<<"}, true
}

// bodies skips the texts that begin behind the line that has just ended.
func (lx *lexer) bodies() {
	for _, end := range lx.heredoc {
		for lx.pos < len(lx.src) {
			body := firstLine(lx.rest())
			lx.take(min(len(body)+1, len(lx.rest())))
			if strings.TrimSpace(body) == end {
				break
			}
		}
	}
	lx.heredoc = nil
}
