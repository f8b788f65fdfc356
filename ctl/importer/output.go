package importer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// output is an lb.toml under construction. It is kept as tables and lines so that each line can be traced to the source, and can be
// commented out when lb rejects it.
type output struct {
	head   []string // comments at the top
	tables []*table
	tail   []string // comments at the end
}

// table is one table of the output.
type table struct {
	name           string // such as services.webapp, with parts quoted where TOML requires it
	at             location
	commentsBefore []string // about the source above the table
	comments       []string // about the table, above its header
	lines          []*line
	disabled       string // why the table is commented out; "" if it is not
}

// line is one key of a table, or one entry of a list of tables.
type line struct {
	key      string // "" in a list
	value    string // as TOML
	comment  string // at the end of the line; "" is none
	at       location
	list     bool    // written as key = [ entries ]
	entries  []*line // of a list; an entry without a value is only a comment
	disabled string  // why the line is commented out; "" if it is not
	required bool    // if this line is disabled, the whole table is: it would mean something else without the line
	missing  string  // what the operator must add: the value is an example and is commented out; "" if the value is real
}

// set adds a key to a table.
func (t *table) set(at location, key, value, comment string) *line {
	l := &line{key: key, value: value, at: at, comment: comment}
	t.lines = append(t.lines, l)
	return l
}

// list returns the list of tables under key, creating it if needed.
func (t *table) list(at location, key string) *line {
	for _, l := range t.lines {
		if l.key == key && l.list {
			return l
		}
	}
	l := &line{key: key, at: at, list: true}
	t.lines = append(t.lines, l)
	return l
}

// origin is what a line of the written output belongs to.
type origin struct {
	table *table
	line  *line // nil for the table itself
}

// writer writes an output and records the origin of each line.
type writer struct {
	b             strings.Builder
	origins       []origin // by line, from 0
	forValidation bool     // write examples as values, so that lb can load the rest
}

// write returns the text and the origin of each line.
func (o *output) write(check bool) (string, []origin) {
	w := &writer{forValidation: check}
	for _, c := range o.head {
		w.comment(origin{}, c)
	}
	for _, t := range o.tables {
		if w.b.Len() > 0 {
			w.put(origin{}, "")
		}
		w.table(t)
	}
	if len(o.tail) > 0 {
		w.put(origin{}, "")
	}
	for _, c := range o.tail {
		w.comment(origin{}, c)
	}
	return w.b.String(), w.origins
}

func (w *writer) put(at origin, s string) {
	w.b.WriteString(strings.TrimRight(s, " ") + "\n")
	w.origins = append(w.origins, at)
}

// comment writes one comment line. The text comes from the source, so control characters and line ends are removed.
func (w *writer) comment(at origin, s string) {
	indent := s[:len(s)-len(strings.TrimLeft(s, " "))]
	w.put(at, "# "+indent+sanitize.Line(s, maxCommentLength))
}

// maxCommentLength limits a comment line, in bytes.
const maxCommentLength = 300

func (w *writer) table(t *table) {
	for _, c := range t.commentsBefore {
		w.comment(origin{}, c)
	}
	if len(t.commentsBefore) > 0 {
		w.put(origin{}, "")
	}
	at, prefix := origin{table: t}, ""
	for _, c := range t.comments {
		w.comment(at, c)
	}
	if t.disabled != "" {
		w.comment(at, fmt.Sprintf("Not converted (%s): %s", t.at, t.disabled))
		prefix = "#"
	}
	w.put(at, prefix+"["+t.name+"]")
	width := 0
	for _, l := range t.lines {
		width = max(width, len(l.key))
	}
	for _, l := range t.lines {
		w.line(t, l, prefix, width)
	}
}

// line writes a key, padded to width so that the table's values line up.
func (w *writer) line(t *table, l *line, prefix string, width int) {
	at := origin{t, l}
	if l.disabled != "" {
		w.comment(at, fmt.Sprintf("Not converted (%s): %s", l.at, l.disabled))
		prefix = "#"
	}
	if l.missing != "" && !w.forValidation {
		prefix = "#"
	}
	if !l.list {
		w.put(at, prefix+fmt.Sprintf("%-*s = ", width, l.key)+l.value+trailingComment(l.comment))
		return
	}
	if len(l.entries) == 0 {
		return
	}
	anyEnabled := false
	for _, e := range l.entries {
		anyEnabled = anyEnabled || e.value != "" && e.disabled == ""
	}
	if !anyEnabled {
		prefix = "#"
	}
	w.put(at, prefix+fmt.Sprintf("%-*s = [", width, l.key))
	for _, e := range l.entries {
		at, entryPrefix := origin{t, e}, prefix
		if e.disabled != "" {
			w.comment(at, fmt.Sprintf("  Not converted (%s): %s", e.at, e.disabled))
			entryPrefix = "#"
		}
		if e.value == "" {
			w.comment(at, "  "+e.comment)
			continue
		}
		w.put(at, entryPrefix+"  "+e.value+","+trailingComment(e.comment))
	}
	w.put(at, prefix+"]")
}

func trailingComment(text string) string {
	if text == "" {
		return ""
	}
	return " # " + sanitize.Line(text, maxCommentLength)
}

// String returns file:line.
func (p location) String() string { return p.file + ":" + strconv.Itoa(p.line) }

// bareKey matches a TOML key that needs no quotes.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// tableName returns the full name of a table under a parent.
func tableName(parent, name string) string {
	if !bareKey.MatchString(name) {
		name = basicString(name)
	}
	return parent + "." + name
}

// quoted returns s as a TOML string: a literal one where that avoids escapes, as in patterns.
func quoted(s string) string {
	plain := !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\'' })
	if strings.ContainsAny(s, `\"`) && plain {
		return "'" + s + "'"
	}
	return basicString(s)
}

// basicString returns s as a TOML string in double quotes.
func basicString(s string) string {
	var b strings.Builder
	b.WriteByte('"')
	for _, r := range s {
		switch {
		case r == '"' || r == '\\':
			b.WriteByte('\\')
			b.WriteRune(r)
		case r == '\n':
			b.WriteString(`\n`)
		case r == '\r':
			b.WriteString(`\r`)
		case r == '\t':
			b.WriteString(`\t`)
		case r < ' ' || r == 0x7f:
			fmt.Fprintf(&b, `\u%04X`, r)
		default:
			b.WriteRune(r)
		}
	}
	return b.String() + `"`
}

// duration returns d as lb.toml writes it: in seconds, or in milliseconds if it is not a whole number of seconds.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf(`"%ds"`, d/time.Second)
	}
	return fmt.Sprintf(`"%dms"`, d/time.Millisecond)
}

// inlineTable is a TOML inline table; keys keep their order.
type inlineTable struct{ parts []string }

func (t *inlineTable) set(key, value string) { t.parts = append(t.parts, key+" = "+value) }

func (t *inlineTable) String() string { return "{ " + strings.Join(t.parts, ", ") + " }" }

// stringList returns items as a TOML array of strings.
func stringList(items []string) string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = quoted(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
