package importer

import (
	"fmt"
	"regexp"
	"strconv"
	"strings"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// output is an lb.toml in the making. It is kept as tables and lines, so that a line that turns out to be wrong can become a comment
// and still says where it came from.
type output struct {
	head   []string // comments at the top
	tables []*table
	tail   []string // comments at the end
}

// table is one table of the output.
type table struct {
	name           string // such as services.webapp, its parts quoted where TOML wants it
	at             location
	commentsBefore []string // comments that belong to what stood above it in the source
	comments       []string // above its name
	lines          []*line
	disabled       string // why it stands as a comment; "" when it does not
}

// line is one key of a table, or one entry of a list of tables.
type line struct {
	key      string // "" in a list
	value    string // as TOML
	comment  string // comment behind it; "" is none
	at       location
	list     bool    // key = [, the entries, ]
	entries  []*line // of a list; one without a value is a comment alone
	disabled string  // why it stands as a comment; "" when it does not
	required bool    // without it the table would mean something else: then the whole table is a comment
	missing  string  // what an operator has to add: the value is only an example, which stands as a comment; "" when it is a value
}

// set adds a key to a table.
func (t *table) set(at location, key, value, comment string) *line {
	l := &line{key: key, value: value, at: at, comment: comment}
	t.lines = append(t.lines, l)
	return l
}

// list returns the list of tables called key, made when it is not there yet.
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

// target is what stands in a line of the written output.
type origin struct {
	table *table
	line  *line // nil: the table itself
}

// writer writes an output and remembers what stands where.
type writer struct {
	b             strings.Builder
	origins       []origin // by line, from 0
	forValidation bool     // examples stand as values, so that the rest can be judged
}

// write returns the text of the output.
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

// comment writes one line of comment; the source is not trusted to be one.
func (w *writer) comment(at origin, s string) {
	indent := s[:len(s)-len(strings.TrimLeft(s, " "))]
	w.put(at, "# "+indent+sanitize.Line(s, maxCommentLength))
}

// commentMax bounds a line of comment, in bytes.
const maxCommentLength = 300

func (w *writer) table(t *table) {
	for _, c := range t.commentsBefore {
		w.comment(origin{}, c)
	}
	if len(t.commentsBefore) > 0 {
		w.put(origin{}, "")
	}
	at, off := origin{table: t}, ""
	for _, c := range t.comments {
		w.comment(at, c)
	}
	if t.disabled != "" {
		w.comment(at, fmt.Sprintf("Not carried over (%s): %s", t.at, t.disabled))
		off = "#"
	}
	w.put(at, off+"["+t.name+"]")
	width := 0
	for _, l := range t.lines {
		width = max(width, len(l.key))
	}
	for _, l := range t.lines {
		w.line(t, l, off, width)
	}
}

// line writes a key, padded so that the table's values stand below each other.
func (w *writer) line(t *table, l *line, off string, width int) {
	at := origin{t, l}
	if l.disabled != "" {
		w.comment(at, fmt.Sprintf("Not carried over (%s): %s", l.at, l.disabled))
		off = "#"
	}
	if l.missing != "" && !w.forValidation {
		off = "#"
	}
	if !l.list {
		w.put(at, off+fmt.Sprintf("%-*s = ", width, l.key)+l.value+trailingComment(l.comment))
		return
	}
	if len(l.entries) == 0 {
		return
	}
	alive := false
	for _, e := range l.entries {
		alive = alive || e.value != "" && e.disabled == ""
	}
	if !alive {
		off = "#"
	}
	w.put(at, off+fmt.Sprintf("%-*s = [", width, l.key))
	for _, e := range l.entries {
		at, mark := origin{t, e}, off
		if e.disabled != "" {
			w.comment(at, fmt.Sprintf("  Not carried over (%s): %s", e.at, e.disabled))
			mark = "#"
		}
		if e.value == "" {
			w.comment(at, "  "+e.comment)
			continue
		}
		w.put(at, mark+"  "+e.value+","+trailingComment(e.comment))
	}
	w.put(at, off+"]")
}

func trailingComment(why string) string {
	if why == "" {
		return ""
	}
	return " # " + sanitize.Line(why, maxCommentLength)
}

// String is the place as file:line.
func (p location) String() string { return p.file + ":" + strconv.Itoa(p.line) }

// bareKey is a key that needs no quotes.
var bareKey = regexp.MustCompile(`^[A-Za-z0-9_-]+$`)

// tableName is the name of a table below another one.
func tableName(parent, name string) string {
	if !bareKey.MatchString(name) {
		name = basicString(name)
	}
	return parent + "." + name
}

// quoted is s as a string of TOML: one without escapes where s has backslashes and can be written so, as patterns do.
func quoted(s string) string {
	plain := !strings.ContainsFunc(s, func(r rune) bool { return r < ' ' || r == 0x7f || r == '\'' })
	if strings.ContainsAny(s, `\"`) && plain {
		return "'" + s + "'"
	}
	return basicString(s)
}

// basic is s as a string of TOML in double quotes.
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

// duration is d as lb.toml writes times: in seconds, or in milliseconds when it is no whole number of them.
func duration(d time.Duration) string {
	if d%time.Second == 0 {
		return fmt.Sprintf(`"%ds"`, d/time.Second)
	}
	return fmt.Sprintf(`"%dms"`, d/time.Millisecond)
}

// inline is an inline table, key by key.
type inlineTable struct{ parts []string }

func (t *inlineTable) set(key, value string) { t.parts = append(t.parts, key+" = "+value) }

// String is the table as TOML.
func (t *inlineTable) String() string { return "{ " + strings.Join(t.parts, ", ") + " }" }

// stringList is a list of strings as TOML.
func stringList(items []string) string {
	out := make([]string, len(items))
	for i, s := range items {
		out[i] = quoted(s)
	}
	return "[" + strings.Join(out, ", ") + "]"
}
