package config

import (
	"errors"
	"regexp"
	"strconv"
	"strings"
	"unicode/utf8"
)

// nestingMax bounds how deep tables and arrays may stand in each other: far above any use, far below what could
// exhaust the stack.
const nestingMax = 64

// errNesting says that a file nests deeper than nestingMax.
var errNesting = errors.New("tables or arrays nested too deep")

// bareKey is a key that needs no quotes.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// joinKey is the path of a key in the table at path. Quotes keep it unambiguous: "a.b" and "a[0]" can be keys.
func joinKey(path, key string) string {
	if !bareKey.MatchString(key) {
		key = strconv.Quote(key)
	}
	if path == "" {
		return key
	}
	return path + "." + key
}

// joinIndex is the path of an element of the array at path, counted from 0.
func joinIndex(path string, i int) string { return path + "[" + strconv.Itoa(i) + "]" }

// positions maps the path of each key and array element of a TOML 1.1 document to its line, from 1.
//
// The decoder tells no positions, so this scanner finds them. It reads only as much of the syntax as it needs to
// follow keys: whether the document is right, the decoder has to say. In a document that is wrong it stops
// somewhere; it always ends, and errNesting with the line is its only error.
func positions(text string) (lines map[string]int, line int, err error) {
	s := &scanner{text: withoutMark(text), line: 1, lines: map[string]int{}, last: map[string]int{}}
	s.document()
	if s.tooDeep {
		return s.lines, s.line, errNesting
	}
	return s.lines, 0, nil
}

// withoutMark takes the byte order marks away that the decoder takes away.
func withoutMark(text string) string {
	for _, mark := range []string{"\xff\xfe", "\xfe\xff", "\xef\xbb\xbf"} {
		if rest, ok := strings.CutPrefix(text, mark); ok {
			return rest
		}
	}
	return text
}

// scanner is a position in a document. Its methods that read something return false when they cannot.
type scanner struct {
	text    string
	pos     int // of the next byte
	line    int // of that byte
	depth   int // of the value that is being read
	tooDeep bool
	lines   map[string]int
	last    map[string]int // for each array of tables, the index of its last element
}

// document reads statements: a table's header, or a key with its value.
func (s *scanner) document() {
	table := ""
	for {
		s.blank(true)
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
		s.blank(false)
		if s.pos < len(s.text) && s.text[s.pos] != '\n' {
			return
		}
	}
}

// header reads [a.b] or [[a.b]] and returns the path of the table that it opens.
func (s *scanner) header() (string, bool) {
	line := s.line
	s.pos++
	array := s.take('[')
	keys, ok := s.dottedKey()
	if !ok || !s.take(']') || array && !s.take(']') {
		return "", false
	}
	path := ""
	for i, key := range keys {
		path = joinKey(path, key)
		if i == len(keys)-1 {
			break
		}
		s.mark(path, line)
		if n, isArray := s.last[path]; isArray {
			path = joinIndex(path, n)
		}
	}
	if array {
		s.mark(path, line)
		n, again := s.last[path]
		if again {
			n++
		}
		s.last[path] = n
		path = joinIndex(path, n)
	}
	s.lines[path] = line // a table that was only implied so far has its line here
	return path, true
}

// keyValue reads a.b = value into the table at path.
func (s *scanner) keyValue(path string) bool {
	line := s.line
	keys, ok := s.dottedKey()
	if !ok || !s.take('=') {
		return false
	}
	for _, key := range keys {
		path = joinKey(path, key)
		s.mark(path, line)
	}
	return s.value(path)
}

// mark notes the line of path unless it is known.
func (s *scanner) mark(path string, line int) {
	if _, ok := s.lines[path]; !ok {
		s.lines[path] = line
	}
}

// dottedKey reads a.'b'."c" and the blanks around it.
func (s *scanner) dottedKey() ([]string, bool) {
	var keys []string
	for {
		s.blank(false)
		key, ok := s.key()
		if !ok {
			return nil, false
		}
		keys = append(keys, key)
		if len(keys) > nestingMax {
			s.tooDeep = true
			return nil, false
		}
		s.blank(false)
		if !s.take('.') {
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

// value reads any value; path is the path of its key.
func (s *scanner) value(path string) bool {
	s.blank(false)
	if s.pos >= len(s.text) {
		return false
	}
	switch s.text[s.pos] {
	case '"', '\'':
		return s.str()
	case '[', '{':
		if s.depth >= nestingMax {
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
		s.blank(true)
		if s.take(']') {
			return true
		}
		element := joinIndex(path, i)
		s.mark(element, s.line)
		start := s.pos
		if !s.value(element) {
			return false
		}
		s.blank(true)
		if !s.take(',') {
			return s.take(']')
		}
		if s.pos == start+1 {
			return false // a comma alone
		}
	}
}

// inlineTable reads {key = value, key = value}, over several lines, too, as TOML 1.1 allows.
func (s *scanner) inlineTable(path string) bool {
	s.pos++
	for {
		s.blank(true)
		if s.take('}') {
			return true
		}
		if !s.keyValue(path) {
			return false
		}
		s.blank(true)
		if !s.take(',') {
			return s.take('}')
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

// multilineStr reads a string between three quotes; up to two more quotes before the end belong to the string.
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
			for n := 0; n < 2 && s.take(quote[0]); n++ {
			}
			return true
		}
	}
	s.pos = len(s.text)
	return false
}

// blank skips spaces and comments, and line ends as well where newlines is set.
func (s *scanner) blank(newlines bool) {
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

// take skips c if it is next.
func (s *scanner) take(c byte) bool {
	if s.pos < len(s.text) && s.text[s.pos] == c {
		s.pos++
		return true
	}
	return false
}

// unescape resolves the escapes of a basic string. What is no escape stays as it is.
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
