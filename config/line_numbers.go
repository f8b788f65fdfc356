package config

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// maxNesting bounds the depth of tables and arrays: far above any use, far below what could exhaust the stack.
const maxNesting = 64

// errNesting reports a file with a depth above maxNesting.
var errNesting = errors.New("has tables or arrays nested too deeply")

// bareKey matches a key that needs no quotes.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// joinKey returns the path of a key in the table at path. Quotes keep it unambiguous: "a.b" and "a[0]" are possible keys.
func joinKey(path, key string) string {
	if !bareKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// joinIndex returns the path of an element of the array at path. i counts from 0.
func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// lineNumbers maps the path of each key and array element of a TOML 1.1 document to its line, from 1.
//
// The toml package gives no positions of keys, so this scanner finds them. It parses only enough of the syntax to follow keys and leaves
// validation to the toml package. In an invalid document it stops somewhere. Its only error is errNesting, with the line.
func lineNumbers(text string) (lines map[string]int, line int, err error) {
	s := &scanner{text: trimByteOrderMark(text), line: 1, lines: map[string]int{}, last: map[string]int{}}
	s.document()
	if s.tooDeep {
		return s.lines, s.line, errNesting
	}
	return s.lines, 0, nil
}

// trimByteOrderMark removes the byte order marks that the toml package removes.
func trimByteOrderMark(text string) string {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff", "\xef\xbb\xbf"} {
		if rest, ok := strings.CutPrefix(text, mark); ok {
			return rest
		}
	}
	return text
}

// scanner is a position in a document. Its reading methods return false on a syntax error.
type scanner struct {
	text    string
	pos     int // of the next byte
	line    int // of that byte
	depth   int // of the current value
	tooDeep bool
	lines   map[string]int
	last    map[string]int // index of the last element of each array of tables
}

// document reads table headers and key-value pairs.
func (s *scanner) document() {
	table := ""
	for {
		s.skipBlank(true)
		if s.pos >= len(s.text) {
			return
		}
		ok := false
		if s.text[s.pos] == '[' {
			table, ok = s.header()
		} else {
			ok = s.keyValue(table)
		}
		if !ok {
			return
		}
		s.skipBlank(false)
		if s.pos < len(s.text) && s.text[s.pos] != '\n' {
			return
		}
	}
}

// header reads [a.b] or [[a.b]] and returns the path of its table.
func (s *scanner) header() (string, bool) {
	line := s.line
	s.pos++
	array := s.consume('[')
	keys, ok := s.dottedKey()
	if !ok || !s.consume(']') || array && !s.consume(']') {
		return "", false
	}
	path := ""
	for i, key := range keys {
		path = joinKey(path, key)
		if i == len(keys)-1 {
			break
		}
		s.setLine(path, line)
		if n, isArray := s.last[path]; isArray {
			path = joinIndex(path, n)
		}
	}
	if array {
		s.setLine(path, line)
		n, again := s.last[path]
		if again {
			n++
		}
		s.last[path] = n
		path = joinIndex(path, n)
	}
	s.lines[path] = line // overrides the line of a table that was only implied before
	return path, true
}

// keyValue reads a.b = value into the table at path.
func (s *scanner) keyValue(path string) bool {
	line := s.line
	keys, ok := s.dottedKey()
	if !ok || !s.consume('=') {
		return false
	}
	for _, key := range keys {
		path = joinKey(path, key)
		s.setLine(path, line)
	}
	return s.value(path)
}

// setLine records the line of path unless it is known.
func (s *scanner) setLine(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// dottedKey reads a.'b'."c" and the spaces around it.
func (s *scanner) dottedKey() ([]string, bool) {
	var keys []string
	for {
		s.skipBlank(false)
		key, ok := s.key()
		if !ok {
			return nil, false
		}
		keys = append(keys, key)
		if len(keys) > maxNesting {
			s.tooDeep = true
			return nil, false
		}
		s.skipBlank(false)
		if !s.consume('.') {
			return keys, true
		}
	}
}

// key reads one bare or quoted key.
func (s *scanner) key() (string, bool) {
	if s.pos < len(s.text) && (s.text[s.pos] == '"' || s.text[s.pos] == '\'') {
		start := s.pos
		if !s.str() {
			return "", false
		}
		inner := s.text[start+1 : s.pos-1]
		if s.text[start] == '\'' {
			return inner, true
		}
		return unescape(inner), true
	}
	start := s.pos
	for s.pos < len(s.text) && isBare(s.text[s.pos]) {
		s.pos++
	}
	return s.text[start:s.pos], s.pos > start
}

func isBare(c byte) bool {
	return c == '_' || c == '-' || '0' <= c && c <= '9' || 'A' <= c && c <= 'Z' || 'a' <= c && c <= 'z'
}

// value reads a value; path is the path of its key.
func (s *scanner) value(path string) bool {
	s.skipBlank(false)
	if s.pos >= len(s.text) {
		return false
	}
	switch s.text[s.pos] {
	case '"', '\'':
		return s.str()
	case '[', '{':
		if s.depth >= maxNesting {
			s.tooDeep = true
			return false
		}
		s.depth++
		defer func() { s.depth-- }()
		if s.text[s.pos] == '[' {
			return s.array(path)
		}
		return s.inlineTable(path)
	}
	for s.pos < len(s.text) && !strings.ContainsRune(",]}#\r\n", rune(s.text[s.pos])) {
		s.pos++
	}
	return true
}

// array reads [value, value].
func (s *scanner) array(path string) bool {
	s.pos++
	for i := 0; ; i++ {
		s.skipBlank(true)
		if s.consume(']') {
			return true
		}
		element := joinIndex(path, i)
		s.setLine(element, s.line)
		start := s.pos
		if !s.value(element) {
			return false
		}
		s.skipBlank(true)
		if !s.consume(',') {
			return s.consume(']')
		}
		if s.pos == start+1 {
			return false // a lone comma
		}
	}
}

// inlineTable reads {key = value, key = value}. TOML 1.1 allows newlines in it.
func (s *scanner) inlineTable(path string) bool {
	s.pos++
	for {
		s.skipBlank(true)
		if s.consume('}') {
			return true
		}
		if !s.keyValue(path) {
			return false
		}
		s.skipBlank(true)
		if !s.consume(',') {
			return s.consume('}')
		}
	}
}

// str reads a string of any of the four kinds.
func (s *scanner) str() bool {
	quote := s.text[s.pos : s.pos+1]
	if strings.HasPrefix(s.text[s.pos:], quote+quote+quote) {
		return s.multilineStr(quote)
	}
	for s.pos++; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == quote[0]:
			s.pos++
			return true
		case c == '\n':
			return false
		case c == '\\' && quote == `"`:
			s.pos++
		}
	}
	s.pos = len(s.text)
	return false
}

// multilineStr reads a string between triple quotes. Up to two more quotes before the end belong to the string.
func (s *scanner) multilineStr(quote string) bool {
	for s.pos += 3; s.pos < len(s.text); s.pos++ {
		switch c := s.text[s.pos]; {
		case c == '\n':
			s.line++
		case c == '\\' && quote == `"`:
			if s.pos+1 < len(s.text) && s.text[s.pos+1] != '\n' {
				s.pos++
			}
		case strings.HasPrefix(s.text[s.pos:], quote+quote+quote):
			s.pos += 3
			for n := 0; n < 2 && s.consume(quote[0]); n++ {
			}
			return true
		}
	}
	s.pos = len(s.text)
	return false
}

// skipBlank skips spaces and comments, and newlines if newlines is true.
func (s *scanner) skipBlank(newlines bool) {
	for s.pos < len(s.text) {
		switch c := s.text[s.pos]; {
		case c == ' ' || c == '\t' || c == '\r':
			s.pos++
		case c == '#':
			for s.pos < len(s.text) && s.text[s.pos] != '\n' {
				s.pos++
			}
		case c == '\n' && newlines:
			s.pos++
			s.line++
		default:
			return
		}
	}
}

// consume skips c if it is next.
func (s *scanner) consume(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// unescape resolves the escapes of a basic string. Anything else stays as it is.
func unescape(s string) string {
	var b strings.Builder
	for i := 0; i < len(s); i++ {
		if s[i] != '\\' || i+1 == len(s) {
			b.WriteByte(s[i])
			continue
		}
		i++
		if at := strings.IndexByte("btnfre", s[i]); at >= 0 {
			b.WriteByte("\b\t\n\f\r\x1b"[at])
			continue
		}
		digits := map[byte]int{'x': 2, 'u': 4, 'U': 8}[s[i]]
		if digits == 0 || i+digits >= len(s) {
			b.WriteByte(s[i]) // \" and \\
			continue
		}
		n, err := strconv.ParseUint(s[i+1:i+1+digits], 16, 32)
		if err != nil || !utf8.ValidRune(rune(n)) {
			b.WriteByte(s[i])
			continue
		}
		b.WriteRune(rune(n))
		i += digits
	}
	return b.String()
}
