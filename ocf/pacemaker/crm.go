package pacemaker

import (
	"fmt"
	"strings"
)

// CRM formats the groups for `crm configure load update -`, which adds what is missing and changes what differs in one step. It writes no
// comments: they would become part of Pacemaker's configuration.
func CRM(groups []Group) []byte {
	var b strings.Builder
	for _, g := range groups {
		for _, r := range g.resources() {
			fmt.Fprintf(&b, "primitive %s %s%s%s", r.ID, r.Agent, crmSettings("params", r.Params), crmSettings("meta", r.Meta))
			for _, o := range r.Operations {
				fmt.Fprintf(&b, " \\\n    op %s interval=%s timeout=%s", o.Name, seconds(o.Interval), seconds(o.Timeout))
			}
			b.WriteByte('\n')
		}
		for _, c := range g.Clusters {
			fmt.Fprintf(&b, "clone %s %s\n", c.ID, c.Resource.ID)
		}
		fmt.Fprintf(&b, "group %s", g.ID)
		for _, r := range g.Addresses {
			b.WriteString(" " + r.ID)
		}
		b.WriteString(crmSettings("meta", g.Meta) + "\n")
		for _, c := range g.Clusters {
			fmt.Fprintf(&b, "colocation %s inf: %s %s\norder %s Optional: %s %s\n", c.ColocationID, g.ID, c.ID, c.OrderID, c.ID, g.ID)
		}
		for _, p := range g.Prefer {
			fmt.Fprintf(&b, "location %s %s %d: %s\n", p.ID, g.ID, p.Score, p.Node)
		}
	}
	return []byte(b.String())
}

// crmSettings formats a section of settings as its own line; nothing for no settings.
func crmSettings(section string, settings []Setting) string {
	if len(settings) == 0 {
		return ""
	}
	line := " \\\n    " + section
	for _, s := range settings {
		line += fmt.Sprintf(" %s=\"%s\"", s.Name, s.Value)
	}
	return line
}
