package importer

import (
	"fmt"
	"strings"

	"github.com/braintree/lb/config"
)

// carrier is what every import carries along from file to file.
type importState struct {
	notes
	out             output
	sourceLines     map[string][]string // of each source file
	tables          map[string]*table   // the last one of each name
	pendingComments []string            // comments for the next table, or the end
}

func newImportState() importState {
	return importState{sourceLines: map[string][]string{}, tables: map[string]*table{}}
}

// keep remembers a source file's text, to show what of it is left out.
func (c *importState) addSource(path, source string) {
	c.sourceLines[path] = strings.Split(source, "\n")
}

// begin begins a table of the output. As in the originals, the last one of a name counts.
func (c *importState) beginTable(parent, name string, at location) *table {
	t := &table{name: tableName(parent, name), at: at, commentsBefore: c.pendingComments}
	c.pendingComments = nil
	if old := c.tables[t.name]; old != nil {
		old.disabled = "it is defined again at " + at.String() + ", and the last one counts"
		c.add(old.at, "[%s] is not carried over: %s", old.name, old.disabled)
	}
	c.tables[t.name] = t
	c.out.tables = append(c.out.tables, t)
	return t
}

// setAside leaves something out that belongs to no table: it is shown above the next one.
func (c *importState) skipOutsideTables(at location, reason string) {
	c.pendingComments = append(c.pendingComments, c.skip(at, reason)...)
}

// leaveOut notes what is left out, and gives the comment that shows it.
func (c *importState) skip(at location, reason string) []string {
	const maxLines = 12 // lines
	lines := c.sourceLines[at.file][min(at.line, len(c.sourceLines[at.file]))-1 : min(at.end, len(c.sourceLines[at.file]))]
	c.add(at, "not carried over: %s: %s", reason, strings.TrimSpace(lines[0]))
	out := []string{fmt.Sprintf("Not carried over (%s): %s:", at, reason)}
	for i, line := range lines {
		if i == maxLines {
			return append(out, fmt.Sprintf("    … and %d more lines", len(lines)-i))
		}
		out = append(out, "    "+strings.ReplaceAll(line, "\t", "  "))
	}
	return out
}

// judge ends an import.
func (c *importState) finish(checks config.CheckValidator) (Result, error) {
	c.out.tail = c.pendingComments
	return c.out.validate(&c.notes, checks)
}
