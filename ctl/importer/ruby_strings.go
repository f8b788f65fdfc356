package importer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// closingDelimiter returns the delimiter that ends a literal opened by open, as in %q(…).
func closingDelimiter(open byte) byte {
	switch open {
	case '(':
		return ')'
	case '[':
		return ']'
	case '{':
		return '}'
	case '<':
		return '>'
	}
	return open
}

// delimited consumes a literal's text and its closing delimiter; the opening one is already consumed. Backslashes are kept. dynamic reports
// whether the text contains #{…}.
func (lx *lexer) delimited(open, end byte) (s string, dynamic, closed bool) {
	from, depth := lx.pos, 0
	for lx.pos < len(lx.src) {
		switch c := lx.peek(0); {
		case c == '\\' && lx.pos+1 < len(lx.src):
			lx.advance(2)
			continue
		case c == '#' && lx.peek(1) == '{':
			dynamic = true
		case c == end && depth == 0:
			s = lx.src[from:lx.pos]
			lx.advance(1)
			return s, dynamic, true
		case c == end:
			depth--
		case c == open && open != end:
			depth++
		}
		lx.advance(1)
	}
	return lx.src[from:], dynamic, false
}

// quotedString consumes a string in ', " or `.
func (lx *lexer) quotedString() token {
	quote := lx.peek(0)
	lx.advance(1)
	return lx.labelOrString(lx.stringBody(quote, quote, quote == '"'), quote)
}

// labelOrString turns a string into a label if it is a key, as in "weight": 50, and a backquoted one into tokDynamic.
func (lx *lexer) labelOrString(t token, quote byte) token {
	if quote == '`' {
		t.kind = tokDynamic
	}
	if t.kind == tokString && lx.peek(0) == ':' && lx.peek(1) != ':' && !lx.afterValue() {
		lx.advance(1)
		t.kind = tokLabel
	}
	return t
}

// stringBody consumes the rest of a string and resolves its escapes: all of them, or only those of single quotes.
func (lx *lexer) stringBody(open, end byte, escapes bool) token {
	s, dynamic, closed := lx.delimited(open, end)
	t := token{kind: tokString, unterminated: !closed}
	if !escapes {
		opening, closing := string(rune(open)), string(rune(end))
		t.text = strings.NewReplacer(`\\`, `\`, `\`+opening, opening, `\`+closing, closing).Replace(s)
		return t
	}
	var ok bool
	if t.text, ok = unescape(s); dynamic || !ok {
		t.kind = tokDynamic
	}
	return t
}

// unescape resolves the escapes of a double-quoted string. It returns false for unknown escapes and for a result that is not UTF-8.
func unescape(s string) (string, bool) {
	var b strings.Builder
	for {
		plain, rest, found := strings.Cut(s, `\`)
		b.WriteString(plain)
		if !found || rest == "" {
			return b.String(), utf8.ValidString(b.String())
		}
		n, ok := escape(&b, rest)
		if !ok {
			return "", false
		}
		s = rest[n:]
	}
}

// escape resolves the escape sequence in s, which starts after the backslash, and returns its length in bytes.
func escape(b *strings.Builder, s string) (int, bool) {
	const letters, meaning = "nrtsea0bfv", "\n\r\t \x1b\a\x00\b\f\v"
	c := s[0]
	switch {
	case c == 'u' && len(s) >= 5:
		n, err := strconv.ParseUint(s[1:5], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) {
			return 0, false
		}
		b.WriteRune(rune(n))
		return 5, true
	case c == 'x' && len(s) >= 3:
		n, err := strconv.ParseUint(s[1:3], 16, 8)
		if err != nil || n >= utf8.RuneSelf {
			return 0, false
		}
		b.WriteByte(byte(n))
		return 3, true
	case c == 'u' || c == 'x' || c == 'c' || c == 'C' || c == 'M' || isDigit(c) && c != '0' || c == '0' && len(s) > 1 && isDigit(s[1]):
		return 0, false
	case c == '\n':
		return 1, true // the string continues on the next line
	}
	if i := strings.IndexByte(letters, c); i >= 0 {
		b.WriteByte(meaning[i])
		return 1, true
	}
	_, n := utf8.DecodeRuneInString(s)
	b.WriteString(s[:n])
	return n, true
}

// regexp consumes the rest of a regular expression.
func (lx *lexer) regexp(open, end byte) token {
	s, dynamic, closed := lx.delimited(open, end)
	t := token{kind: tokRegexp, text: strings.ReplaceAll(s, `\/`, "/"), unterminated: !closed}
	for c := lx.peek(0); c >= 'a' && c <= 'z'; c = lx.peek(0) {
		t.flags += lx.advance(1)
	}
	if dynamic {
		t.kind = tokDynamic
	}
	return t
}

// percent consumes %q(…), %Q(…), %(…), %w[…], %i[…], %r{…}, %x(…) or %s(…). It returns false if this is not one.
func (lx *lexer) percent() (token, bool) {
	n, letter := 1, lx.peek(1)
	if strings.IndexByte("qQwWiIrxs", letter) >= 0 && letter != 0 {
		n++
	} else {
		letter = 'Q'
	}
	open := lx.peek(n)
	if open <= ' ' || open == '=' || isNamePart(open) {
		return token{}, false
	}
	lx.advance(n + 1)
	end := closingDelimiter(open)
	switch letter {
	case 'r':
		return lx.regexp(open, end), true
	case 'q', 'Q':
		return lx.stringBody(open, end, letter == 'Q'), true
	case 's':
		t := lx.stringBody(open, end, false)
		t.kind = tokSymbol
		return t, true
	}
	s, dynamic, closed := lx.delimited(open, end)
	t := token{kind: tokWords, items: strings.Fields(s), unterminated: !closed}
	if letter == 'x' || dynamic && (letter == 'W' || letter == 'I') || strings.Contains(s, `\`) {
		t.kind = tokDynamic
	}
	return t, true
}
