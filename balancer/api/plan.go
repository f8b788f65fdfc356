package api

import (
	"fmt"
	"strings"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
)

// Candidate is the body of POST /plan: a configuration, as the contents of files. Contents travel instead of a path because the daemon
// may lack the operator's permissions and has another working directory.
type Candidate struct {
	Files []config.File `json:"files"` // the main file, then what it includes
}

// Plan describes what would change in the kernel. It is the response to GET /plan and POST /plan.
type Plan struct {
	Refused     string       `json:"refused"`     // why a reload would change nothing; "": it would go through
	Forcible    bool         `json:"forcible"`    // the guard refuses: Changes are those of `lb ctl reload --force`
	Changes     []PlanChange `json:"changes"`     // to the kernel's tables
	Connections []Affected   `json:"connections"` // that the changes affect
	Notes       []string     `json:"notes"`       // what cannot be known yet, one sentence each
}

// PlanChange is one change to the kernel's tables.
type PlanChange struct {
	Kind    event.Kind `json:"kind"`   // of the event that the change would cause
	Change  string     `json:"change"` // as the log would show it
	Cluster string     `json:"cluster,omitempty"`
	Mark    uint32     `json:"mark,omitempty"`
	Node    string     `json:"node,omitempty"`
	Cause   string     `json:"cause,omitempty"`
}

// Affected describes the connections of a node that goes to weight 0 or leaves, alone or with its service.
type Affected struct {
	Cluster       string `json:"cluster,omitempty"`
	Mark          uint32 `json:"mark"`
	Node          string `json:"node"`
	ActiveConns   int    `json:"active_connections"`
	InactiveConns int    `json:"inactive_connections"`
	Fate          Fate   `json:"fate"`
	Limit         string `json:"limit,omitempty"` // the longest that they continue; "": until they end
}

// Fate is what happens to connections.
type Fate string

// The fates.
const (
	Continue Fate = "go_on"     // but no new ones arrive
	Break    Fate = "break_off" // with the node, or with its service
)

// NewPlan returns an empty plan, with lists that are empty rather than null in JSON.
func NewPlan() Plan {
	return Plan{Changes: []PlanChange{}, Connections: []Affected{}, Notes: []string{}}
}

// RefusedPlan is the plan of a reload that would change nothing, forced or not.
func RefusedPlan(err error) Plan {
	p := NewPlan()
	p.Refused = strings.ReplaceAll(err.Error(), "\n", "; ")
	return p
}

// String gives one line for each change, then the effect on connections.
func (p Plan) String() string {
	var b strings.Builder
	switch {
	case p.Forcible:
		fmt.Fprintf(&b, "a reload would be refused: %s\nwith --force it would do:\n", p.Refused)
	case p.Refused != "":
		return "a reload would be refused: " + p.Refused + "\n"
	}
	for _, c := range p.Changes {
		b.WriteString(c.Change + "\n")
	}
	if len(p.Changes) == 0 {
		b.WriteString("nothing to change\n")
	}
	for _, a := range p.Connections {
		fmt.Fprintf(&b, "connections: %s\n", a)
	}
	for _, n := range p.Notes {
		b.WriteString("note: " + n + "\n")
	}
	return b.String()
}

// String gives one line, such as "webapp, mark 7, node 10.0.0.2: 12 active, 3 inactive; they continue".
func (a Affected) String() string {
	where := fmt.Sprintf("mark %d, node %s: ", a.Mark, a.Node)
	if a.Cluster != "" {
		where = a.Cluster + ", " + where
	}
	if a.ActiveConns+a.InactiveConns == 0 {
		return where + "none"
	}
	where += fmt.Sprintf("%d active, %d inactive; ", a.ActiveConns, a.InactiveConns)
	switch {
	case a.Fate == Break:
		return where + "they break"
	case a.Limit != "":
		return where + "they continue for up to " + a.Limit
	}
	return where + "they continue"
}
