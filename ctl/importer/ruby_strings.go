package importer

import (
	"strconv"
	"strings"
	"unicode/utf8"
)

// closer is what ends a text that begins with open, as in %q(…).
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

// body reads up to the end of a text whose beginning has been read, and the end. Backslashes stay as they are. run tells that the text
// holds #{…}.
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

// quotedString reads a string in ' or " or `.
func (lx *lexer) quotedString() token {
	quote := lx.peek(0)
	lx.advance(1)
	return lx.labelOrString(lx.stringBody(quote, quote, quote == '"'), quote)
}

// finish tells a string that is a key, as in "weight": 50, from others, and one that is run.
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

// text reads the rest of a string and resolves its escapes: all of them, or those of single quotes alone.
func (lx *lexer) stringBody(open, end byte, escapes bool) token {
	s, dynamic, closed := lx.delimited(open, end)
	t := token{kind: tokString, unterminated: !closed}
	if !escapes {
		t.text = strings.NewReplacer(`\\`, `\`, `\`+string(rune(open)), string(rune(open)), `\`+string(rune(end)), string(rune(end))).Replace(s)
		return t
	}
	var ok bool
	if t.text, ok = unescape(s); dynamic || !ok {
		t.kind = tokDynamic
	}
	return t
}

// unescape resolves the escapes of a string in double quotes; false for one that this does not know, or that gives no UTF-8.
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

// escape resolves the escape whose backslash stands before s, and returns how many bytes it has.
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
		return 1, true // the string goes on in the next line
	}
	if i := strings.IndexByte(letters, c); i >= 0 {
		b.WriteByte(meaning[i])
		return 1, true
	}
	_, n := utf8.DecodeRuneInString(s)
	b.WriteString(s[:n])
	return n, true
}

// regexp reads the rest of a regular expression.
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

// percent reads %q(…), %Q(…), %(…), %w[…], %i[…], %r{…}, %x(…), %s(…); false when it is none.
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
