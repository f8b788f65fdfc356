package importer

import (
	"strings"
	"unicode/utf8"
)

// tokenKind is the kind of a token.
type tokenKind int

const (
	tokEnd     tokenKind = iota // end of file
	tokNewline                  // end of a line, or ;
	tokName                     // method, variable or keyword
	tokConst                    // class or other constant, including ::
	tokString
	tokWords // %w[…]; the words are in items
	tokSymbol
	tokLabel // name: before a value
	tokNumber
	tokRegexp
	tokOp
	tokDynamic // known only at run time: #{…}, `…`, <<HERE, @x
)

// token is one token of a Ruby file.
type token struct {
	kind         tokenKind
	text         string // a string without quotes, a name, or an operator
	flags        string // of a regexp
	items        []string
	line, end    int  // first and last line, from 1
	spaceBefore  bool // follows white space
	unterminated bool // the file ends inside the token
}

// is reports whether the token has this kind and text.
func (t token) is(kind tokenKind, text string) bool { return t.kind == kind && t.text == text }

// lexer splits Ruby source into tokens. It knows enough of the whole language to find the end of statements that the parser does not
// understand.
type lexer struct {
	src         string
	pos         int
	line        int
	tokens      []token
	heredocEnds []string // terminators of the heredocs that start after this line
}

// lex returns the tokens of a file. The last one is tokEnd.
func lex(src string) []token {
	lx := &lexer{src: strings.TrimPrefix(src, "\ufeff"), line: 1}
	for lx.next() {
	}
	lx.tokens = append(lx.tokens, token{kind: tokEnd, line: lx.line, end: lx.line})
	return lx.tokens
}

// rest returns the unread source.
func (lx *lexer) rest() string { return lx.src[lx.pos:] }

// peek returns the byte at offset i from the current position, 0 past the end.
func (lx *lexer) peek(i int) byte {
	if lx.pos+i < len(lx.src) {
		return lx.src[lx.pos+i]
	}
	return 0
}

// advance consumes n bytes.
func (lx *lexer) advance(n int) string {
	s := lx.src[lx.pos : lx.pos+n]
	lx.pos += n
	lx.line += strings.Count(s, "\n")
	return s
}

// afterValue reports whether the last token ends a value, so that the next one is an operator and cannot start a value.
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

// startOfLine reports whether the current position is the start of a line.
func (lx *lexer) startOfLine() bool { return lx.pos == 0 || lx.src[lx.pos-1] == '\n' }

// next consumes white space and one token. It returns false at the end of the file.
func (lx *lexer) next() bool {
	spaced := lx.skipSpace()
	if lx.pos >= len(lx.src) || lx.startOfLine() && endsProgram(lx.rest()) {
		return false
	}
	line := lx.line
	t, ok := lx.token(spaced)
	if ok {
		t.line, t.end, t.spaceBefore = line, lx.line, spaced
		if t.kind == tokNewline {
			t.end = line
		}
		lx.tokens = append(lx.tokens, t)
	}
	return true
}

// endsProgram reports whether the line is __END__, after which only data follows.
func endsProgram(rest string) bool {
	first, _, _ := strings.Cut(rest, "\n")
	return strings.TrimRight(first, "\r") == "__END__"
}

// skipSpace skips white space and comments, but not line ends. It reports whether it skipped anything.
func (lx *lexer) skipSpace() bool {
	from := lx.pos
	for lx.pos < len(lx.src) {
		switch c := lx.peek(0); {
		case c == ' ' || c == '\t' || c == '\r' || c == '\f' || c == '\v':
			lx.pos++
		case c == '\\' && (lx.peek(1) == '\n' || lx.peek(1) == '\r' && lx.peek(2) == '\n'):
			lx.advance(strings.IndexByte(lx.rest(), '\n') + 1)
		case c == '#':
			lx.pos += len(firstLine(lx.rest()))
		case c == '=' && lx.startOfLine() && strings.HasPrefix(lx.rest(), "=begin"):
			end := strings.Index(lx.rest(), "\n=end")
			if end < 0 {
				lx.advance(len(lx.rest()))
				continue
			}
			lx.advance(end + 1)
			lx.advance(len(firstLine(lx.rest())))
		default:
			return lx.pos > from
		}
	}
	return lx.pos > from
}

// firstLine returns s up to the first line end.
func firstLine(s string) string {
	first, _, _ := strings.Cut(s, "\n")
	return first
}

// token consumes one token.
func (lx *lexer) token(spaced bool) (token, bool) {
	c := lx.peek(0)
	value := !lx.afterValue()
	// After a name, a word that starts with an operator character may be an argument: `port -1`, `puts %w[a b]`.
	argument := !value && spaced && lx.peek(1) != ' ' && lx.tokens[len(lx.tokens)-1].kind == tokName
	switch {
	case c == '\n':
		lx.advance(1)
		lx.skipHeredocs()
		return token{kind: tokNewline}, true
	case c == ';':
		lx.advance(1)
		return token{kind: tokNewline}, true
	case c == '"', c == '\'', c == '`':
		return lx.quotedString(), true
	case isDigit(c) || c == '-' && isDigit(lx.peek(1)) && (value || argument):
		return lx.number(), true
	case isNameStart(c):
		return lx.name(), true
	case c == ':' && lx.peek(1) == ':' && isUpper(lx.peek(2)) && (value || argument):
		lx.advance(2)
		return lx.name(), true
	case c == ':' && (isNameStart(lx.peek(1)) || lx.peek(1) == '"' || lx.peek(1) == '\''):
		return lx.symbol(), true
	case c == '/' && (value || argument):
		lx.advance(1)
		return lx.regexp('/', '/'), true
	case c == '%' && (value || argument):
		if t, ok := lx.percent(); ok {
			return t, true
		}
	case strings.HasPrefix(lx.rest(), "<<") && (value || argument):
		if t, ok := lx.heredocStart(); ok {
			return t, true
		}
	case c == '?' && value && lx.peek(1) > ' ':
		lx.advance(1)
		_, n := utf8.DecodeRuneInString(lx.rest())
		lx.advance(n)
		return token{kind: tokDynamic, text: "?"}, true
	case c == '@' || c == '$':
		lx.advance(1)
		for isNamePart(lx.peek(0)) || lx.peek(0) == '@' {
			lx.advance(1)
		}
		return token{kind: tokDynamic, text: string(c)}, true
	}
	return lx.operator(), true
}

// operator consumes an operator. Only multi-character operators that affect later parsing are recognized as a whole.
func (lx *lexer) operator() token {
	for _, op := range []string{"=>", "::", "&&", "||", "==", "<<", "**", "->", "..", "&."} {
		if strings.HasPrefix(lx.rest(), op) {
			return token{kind: tokOp, text: lx.advance(len(op))}
		}
	}
	_, n := utf8.DecodeRuneInString(lx.rest())
	return token{kind: tokOp, text: lx.advance(n)}
}

func isDigit(c byte) bool     { return c >= '0' && c <= '9' }
func isUpper(c byte) bool     { return c >= 'A' && c <= 'Z' }
func isNameStart(c byte) bool { return c == '_' || isUpper(c) || c >= 'a' && c <= 'z' || c >= 0x80 }
func isNamePart(c byte) bool  { return isNameStart(c) || isDigit(c) }

// number consumes a number with its sign.
func (lx *lexer) number() token {
	n := 1
	for isNamePart(lx.peek(n)) || lx.peek(n) == '.' && isDigit(lx.peek(n+1)) {
		n++
	}
	return token{kind: tokNumber, text: lx.advance(n)}
}

// name consumes a name, a constant with its ::, or a label.
func (lx *lexer) name() token {
	kind := tokName
	if isUpper(lx.peek(0)) {
		kind = tokConst
	}
	n := 0
	for isNamePart(lx.peek(n)) || kind == tokConst && lx.peek(n) == ':' && lx.peek(n+1) == ':' && isUpper(lx.peek(n+2)) {
		if lx.peek(n) == ':' {
			n++
		}
		n++
	}
	if kind == tokName && (lx.peek(n) == '?' || lx.peek(n) == '!') && lx.peek(n+1) != '=' {
		n++
	}
	text := lx.advance(n)
	if lx.peek(0) == ':' && lx.peek(1) != ':' {
		lx.advance(1)
		return token{kind: tokLabel, text: text}
	}
	return token{kind: kind, text: text}
}

// symbol consumes :name or :"name".
func (lx *lexer) symbol() token {
	lx.advance(1)
	if c := lx.peek(0); c == '"' || c == '\'' {
		t := lx.quotedString()
		if t.kind == tokString {
			t.kind = tokSymbol
		}
		return t
	}
	n := 0
	for isNamePart(lx.peek(n)) {
		n++
	}
	if c := lx.peek(n); (c == '?' || c == '!' || c == '=') && lx.peek(n+1) != '=' && lx.peek(n+1) != '>' {
		n++
	}
	return token{kind: tokSymbol, text: lx.advance(n)}
}

// heredocStart consumes the start of a heredoc, whose text is in the lines below.
func (lx *lexer) heredocStart() (token, bool) {
	n := 2
	if lx.peek(n) == '-' || lx.peek(n) == '~' {
		n++
	}
	quote := lx.peek(n)
	if quote == '"' || quote == '\'' || quote == '`' {
		n++
	} else {
		quote = 0
	}
	from := n
	for isNamePart(lx.peek(n)) {
		n++
	}
	end := lx.src[lx.pos+from : lx.pos+n]
	if end == "" || quote == 0 && !isUpper(end[0]) && from == 2 || quote != 0 && lx.peek(n) != quote {
		return token{}, false
	}
	if quote != 0 {
		n++
	}
	lx.advance(n)
	lx.heredocEnds = append(lx.heredocEnds, end)
	return token{kind: tokDynamic, text: "<<"}, true
}

// skipHeredocs skips the texts of the heredocs that the last line started.
func (lx *lexer) skipHeredocs() {
	for _, end := range lx.heredocEnds {
		for lx.pos < len(lx.src) {
			body := firstLine(lx.rest())
			lx.advance(min(len(body)+1, len(lx.rest())))
			if strings.TrimSpace(body) == end {
				break
			}
		}
	}
	lx.heredocEnds = nil
}
