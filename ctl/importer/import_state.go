package importer

import (
	"fmt"
	"strings"

	"github.com/braintree/lb/config"
)

// importState is shared by all files of an import.
type importState struct {
	notes
	out             output
	sourceLines     map[string][]string // by file
	tables          map[string]*table   // by name; the last definition of each
	pendingComments []string            // written before the next table, or at the end
}

func newImportState() importState {
	return importState{sourceLines: map[string][]string{}, tables: map[string]*table{}}
}

// addSource records the text of a source file, so that comments can quote what is not converted.
func (c *importState) addSource(path, source string) {
	c.sourceLines[path] = strings.Split(source, "\n")
}

// beginTable starts a table of the output. As in the originals, the last definition of a name wins.
func (c *importState) beginTable(parent, name string, at location) *table {
	t := &table{name: tableName(parent, name), at: at, commentsBefore: c.pendingComments}
	c.pendingComments = nil
	if old := c.tables[t.name]; old != nil {
		old.disabled = "redefined at " + at.String() + "; the last definition wins"
		c.add(old.at, "[%s] not converted: %s", old.name, old.disabled)
	}
	c.tables[t.name] = t
	c.out.tables = append(c.out.tables, t)
	return t
}

// skipOutsideTables skips a part of the source that belongs to no table. Its comment appears above the next table.
func (c *importState) skipOutsideTables(at location, reason string) {
	c.pendingComments = append(c.pendingComments, c.skip(at, reason)...)
}

// skip notes that a part of the source is not converted, and returns a comment that quotes it.
func (c *importState) skip(at location, reason string) []string {
	const maxLines = 12
	lines := c.sourceLines[at.file][min(at.line, len(c.sourceLines[at.file]))-1 : min(at.end, len(c.sourceLines[at.file]))]
	c.add(at, "not converted: %s: %s", reason, strings.TrimSpace(lines[0]))
	out := []string{fmt.Sprintf("Not converted (%s): %s:", at, reason)}
	for i, line := range lines {
		if i == maxLines {
			return append(out, fmt.Sprintf("    … and %d more lines", len(lines)-i))
		}
		out = append(out, "    "+strings.ReplaceAll(line, "\t", "  "))
	}
	return out
}

// finish validates the output and returns the result.
func (c *importState) finish(checks config.CheckValidator) (Result, error) {
	c.out.tail = c.pendingComments
	return c.out.validate(&c.notes, checks)
}
