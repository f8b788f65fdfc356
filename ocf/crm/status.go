// Package crm parses the output of Pacemaker's tools: its machines, what runs where, failures, and the configuration.
package crm

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Status is the output of crm_mon, by the schema api/crm_mon-2.25.rng of Pacemaker 2.1.5. What another version omits is empty.
type Status struct {
	Coordinator string // the machine that decides for all; "": none is elected
	Quorum      bool   // the coordinator reaches a majority
	Fencing     bool   // stonith-enabled
	Maintenance bool   // Pacemaker neither monitors nor moves anything
	StopAll     bool   // Pacemaker runs nothing
	NoQuorum    string // what happens without quorum: stop, freeze, ignore, demote or suicide
	Machines    []Machine
	Resources   []Resource // flat: groups and clones are attributes here
	Failures    []Failure
	Bans        []Ban
}

// Machine is one of Pacemaker's nodes.
type Machine struct {
	Name        string `xml:"name,attr"`
	Online      bool   `xml:"online,attr"`
	Standby     bool   `xml:"standby,attr"` // it may run nothing
	Maintenance bool   `xml:"maintenance,attr"`
	Pending     bool   `xml:"pending,attr"` // it is joining
	Unclean     bool   `xml:"unclean,attr"` // what it runs is unknown: it has to be fenced
}

// Resource is what a resource agent starts and stops.
type Resource struct {
	ID         string
	Agent      string   // class:provider:type
	Group      string   // "": none
	Clone      string   // "": none. All instances of a clone are one Resource here
	Role       string   // Started, Stopped, or a transitional role
	TargetRole string   // the role that an operator asked for; "": none
	Pending    string   // the operation in progress, such as Starting; "": none
	On         []string // the machines that it runs on
	Blocked    bool     // Pacemaker has given up on it
	Managed    bool     // Pacemaker acts on it
	Failed     bool
	FailedOn   []string // the machines where it is blocked or has failed
	Orphaned   bool     // it runs but is no longer in Pacemaker's configuration
}

// Failure is a failed operation that has not been cleaned up.
type Failure struct {
	Operation string `xml:"op_key,attr"` // such as cluster-webapp_monitor_5000
	Machine   string `xml:"node,attr"`
	Exit      string `xml:"exitstatus,attr"` // error, or another status of the OCF standard
	Status    string `xml:"status,attr"`     // Complete, or why there is no exit status, such as "Timed Out"
	Reason    string `xml:"exitreason,attr"` // the agent's message; may be ""
	When      string `xml:"last-rc-change,attr"`
}

// Complete is the Status of an operation that ran to its end.
const Complete = "complete"

// Resource returns the id of the resource: the operation key without the action and the interval. An id may contain underscores.
func (f Failure) Resource() string {
	id := f.Operation
	for range 2 {
		if i := strings.LastIndexByte(id, '_'); i >= 0 {
			id = id[:i]
		}
	}
	return id
}

// Cause returns the agent's message or, without one, Pacemaker's status.
func (f Failure) Cause() string {
	switch {
	case f.Reason != "":
		return f.Reason
	case f.Status != "" && f.Status != Complete:
		return f.Status // Exit is then always "error"
	}
	return f.Exit
}

// Ban keeps a resource or group off a machine.
type Ban struct {
	ID       string `xml:"id,attr"`
	Resource string `xml:"resource,attr"`
	Machine  string `xml:"node,attr"`
}

// ToolError is the error that a tool reports in its output.
type ToolError struct {
	Code int    // its exit status, as listed by crm_error
	Text string // one line
}

// NotConnected is the Code of a ToolError when Pacemaker does not run on this machine (crm_error 102).
const NotConnected = 102

// Error returns the text.
func (e *ToolError) Error() string { return e.Text }

// The elements of crm_mon's output that lb reads.
type (
	result struct {
		XMLName xml.Name `xml:"pacemaker-result"`
		DC      struct {
			Name   string `xml:"name,attr"`
			Quorum bool   `xml:"with_quorum,attr"`
		} `xml:"summary>current_dc"`
		Options struct {
			Fencing     bool   `xml:"stonith-enabled,attr"`
			NoQuorum    string `xml:"no-quorum-policy,attr"`
			Maintenance bool   `xml:"maintenance-mode,attr"`
			StopAll     bool   `xml:"stop-all-resources,attr"`
		} `xml:"summary>cluster_options"`
		Machines  []Machine  `xml:"nodes>node"`
		Resources collection `xml:"resources"`
		Failures  []Failure  `xml:"failures>failure"`
		Bans      []Ban      `xml:"bans>ban"`
		Status    struct {
			Code    int      `xml:"code,attr"`
			Message string   `xml:"message,attr"`
			Errors  []string `xml:"errors>error"`
		} `xml:"status"`
	}
	// collection is the list of all resources, a group, a clone, a bundle or a replica.
	collection struct {
		ID        string            `xml:"id,attr"`
		Resources []resourceElement `xml:"resource"`
		Groups    []collection      `xml:"group"`
		Clones    []collection      `xml:"clone"`
		Bundles   []collection      `xml:"bundle"`
		Replicas  []collection      `xml:"replica"`
	}
	resourceElement struct {
		ID         string `xml:"id,attr"`
		Agent      string `xml:"resource_agent,attr"`
		Role       string `xml:"role,attr"`
		TargetRole string `xml:"target_role,attr"`
		Pending    string `xml:"pending,attr"`
		Blocked    bool   `xml:"blocked,attr"`
		Managed    bool   `xml:"managed,attr"`
		Failed     bool   `xml:"failed,attr"`
		Orphaned   bool   `xml:"orphaned,attr"`
		On         []struct {
			Name string `xml:"name,attr"`
		} `xml:"node"`
	}
)

// StatusArguments are the arguments that make crm_mon print what ParseStatus reads, and no more.
func StatusArguments() []string {
	return []string{"--one-shot", "--output-as=xml", "--exclude=all", "--include=dc,options,nodes,resources,failures,bans"}
}

// ParseStatus parses the output of crm_mon with StatusArguments. An error that crm_mon reports is a *ToolError.
func ParseStatus(text []byte) (Status, error) {
	var x result
	if err := xml.Unmarshal(text, &x); err != nil {
		return Status{}, fmt.Errorf("parse the output of crm_mon: %w", err)
	}
	if x.Status.Code != 0 {
		message := x.Status.Message
		if n := len(x.Status.Errors); n > 0 {
			message = x.Status.Errors[n-1] // the last one names the failed step
		}
		return Status{}, &ToolError{Code: x.Status.Code, Text: strings.Join(strings.Fields(message), " ")}
	}
	s := Status{
		Coordinator: x.DC.Name, Quorum: x.DC.Quorum,
		Fencing: x.Options.Fencing, Maintenance: x.Options.Maintenance, StopAll: x.Options.StopAll, NoQuorum: x.Options.NoQuorum,
		Machines: x.Machines, Failures: x.Failures, Bans: x.Bans,
	}
	x.Resources.forEach(Resource{}, func(r Resource) {
		for i, known := range s.Resources {
			if r.Clone != "" && known.ID == r.ID {
				s.Resources[i] = known.merge(r)
				return
			}
		}
		s.Resources = append(s.Resources, r)
	})
	return s, nil
}

// forEach calls do with each resource. parent has the group and clone that the collection is in.
func (c collection) forEach(parent Resource, do func(Resource)) {
	for _, e := range c.Resources {
		r := Resource{
			ID: e.ID, Agent: e.Agent, Group: parent.Group, Clone: parent.Clone, Role: e.Role, TargetRole: e.TargetRole, Pending: e.Pending,
			Blocked: e.Blocked, Managed: e.Managed, Failed: e.Failed, Orphaned: e.Orphaned,
		}
		for _, on := range e.On {
			r.On = append(r.On, on.Name)
		}
		if r.Blocked || r.Failed {
			r.FailedOn = r.On
		}
		do(r)
	}
	for _, g := range c.Groups {
		g.forEach(Resource{Group: g.ID, Clone: parent.Clone}, do)
	}
	for _, clone := range c.Clones {
		clone.forEach(Resource{Group: parent.Group, Clone: clone.ID}, do)
	}
	for _, collections := range [][]collection{c.Bundles, c.Replicas} {
		for _, inner := range collections {
			inner.forEach(parent, do)
		}
	}
}

// merge adds another instance of the same clone: a problem of one instance is a problem of the clone.
func (r Resource) merge(other Resource) Resource {
	r.On, r.FailedOn = slices.Concat(r.On, other.On), slices.Concat(r.FailedOn, other.FailedOn)
	slices.Sort(r.On)
	if other.Role == "Started" || r.Role == "" {
		r.Role = other.Role
	}
	if r.Pending == "" {
		r.Pending = other.Pending
	}
	r.Blocked, r.Managed = r.Blocked || other.Blocked, r.Managed && other.Managed
	r.Failed, r.Orphaned = r.Failed || other.Failed, r.Orphaned || other.Orphaned
	return r
}

// Resource returns the resource of that id.
func (s Status) Resource(id string) (Resource, bool) {
	for _, r := range s.Resources {
		if r.ID == id {
			return r, true
		}
	}
	return Resource{}, false
}
