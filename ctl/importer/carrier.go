package importer

import (
	"fmt"
	"strings"

	"github.com/braintree/lb/config"
)

// carrier is what every import carries along from file to file.
type carrier struct {
	notes
	out    output
	lines  map[string][]string // of each source file
	tables map[string]*table   // the last one of each name
	loose  []string            // comments for the next table, or the end
}

func newCarrier() carrier {
	return carrier{lines: map[string][]string{}, tables: map[string]*table{}}
}

// keep remembers a source file's text, to show what of it is left out.
func (c *carrier) keep(path, source string) { c.lines[path] = strings.Split(source, "\n") }

// begin begins a table of the output. As in the originals, the last one of a name counts.
func (c *carrier) begin(parent, name string, at place) *table {
	t := &table{name: tableName(parent, name), at: at, before: c.loose}
	c.loose = nil
	if old := c.tables[t.name]; old != nil {
		old.off = "it is defined again at " + at.String() + ", and the last one counts"
		c.add(old.at, "[%s] is not carried over: %s", old.name, old.off)
	}
	c.tables[t.name] = t
	c.out.tables = append(c.out.tables, t)
	return t
}

// setAside leaves something out that belongs to no table: it is shown above the next one.
func (c *carrier) setAside(at place, reason string) {
	c.loose = append(c.loose, c.leaveOut(at, reason)...)
}

// leaveOut notes what is left out, and gives the comment that shows it.
func (c *carrier) leaveOut(at place, reason string) []string {
	const shownMax = 12 // lines
	lines := c.lines[at.file][min(at.line, len(c.lines[at.file]))-1 : min(at.end, len(c.lines[at.file]))]
	c.add(at, "not carried over: %s: %s", reason, strings.TrimSpace(lines[0]))
	out := []string{fmt.Sprintf("Not carried over (%s): %s:", at, reason)}
	for i, line := range lines {
		if i == shownMax {
			return append(out, fmt.Sprintf("    … and %d more lines", len(lines)-i))
		}
		out = append(out, "    "+strings.ReplaceAll(line, "\t", "  "))
	}
	return out
}

// judge ends an import.
func (c *carrier) judge(checks config.CheckValidator) (Result, error) {
	c.out.tail = c.loose
	return c.out.judge(&c.notes, checks)
}
