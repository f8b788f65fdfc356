// Package crm reads what Pacemaker's own tools say: which machines there are, what runs where, what went wrong, and what each resource is told.
package crm

import (
	"encoding/xml"
	"fmt"
	"slices"
	"strings"
)

// Status is what crm_mon says, after the schema api/crm_mon-2.25.rng of Pacemaker 2.1.5. What a version of it leaves out is empty.
type Status struct {
	Coordinator string // the machine that decides for all; "" when none is elected
	Quorum      bool   // the coordinator sees a majority
	Fencing     bool   // stonith-enabled
	Maintenance bool   // Pacemaker lets everything be as it is
	StopAll     bool   // Pacemaker is told to run nothing
	NoQuorum    string // what happens without quorum: stop, freeze, ignore, demote or suicide
	Machines    []Machine
	Resources   []Resource // without the groups and clones that they are in, in one piece each
	Failures    []Failure
	Bans        []Ban
}

// Machine is one of Pacemaker's nodes.
type Machine struct {
	Name        string `xml:"name,attr"`
	Online      bool   `xml:"online,attr"`
	Standby     bool   `xml:"standby,attr"` // may run nothing
	Maintenance bool   `xml:"maintenance,attr"`
	Pending     bool   `xml:"pending,attr"` // it is joining
	Unclean     bool   `xml:"unclean,attr"` // nobody knows what it still runs: it is to be fenced
}

// Resource is one that an agent starts and stops.
type Resource struct {
	ID         string
	Agent      string   // class:provider:type
	Group      string   // "" is none
	Clone      string   // that it is an instance of; "" is none. All its instances are one Resource here
	Role       string   // Started, Stopped, and others for a moment
	TargetRole string   // what an operator said that it should be; "" is nothing
	Pending    string   // what is being done with it, such as Starting; "" is nothing
	On         []string // the machines that it runs on
	Blocked    bool     // Pacemaker can do nothing about it any more
	Managed    bool     // Pacemaker would do something about it
	Failed     bool
	Broken     []string // the machines where it is blocked or has failed
	Orphaned   bool     // it runs and is not in Pacemaker's configuration any more
}

// Failure is an action that failed and is not forgotten yet.
type Failure struct {
	Operation string `xml:"op_key,attr"` // such as cluster-webapp_monitor_5000
	Machine   string `xml:"node,attr"`
	Exit      string `xml:"exitstatus,attr"` // error, or another word of the OCF standard
	Status    string `xml:"status,attr"`     // Complete, or why there is no exit, such as "Timed Out"
	Reason    string `xml:"exitreason,attr"` // the agent's own words; may be ""
	When      string `xml:"last-rc-change,attr"`
}

// Complete is the Status of an action that ended by itself.
const Complete = "complete"

// Resource is the id of the resource whose action it was: the key without the action and its interval. An id may have underscores itself.
func (f Failure) Resource() string {
	id := f.Operation
	for range 2 {
		if i := strings.LastIndexByte(id, '_'); i >= 0 {
			id = id[:i]
		}
	}
	return id
}

// Why is the agent's own reason, or Pacemaker's word for what happened.
func (f Failure) Why() string {
	switch {
	case f.Reason != "":
		return f.Reason
	case f.Status != "" && f.Status != Complete:
		return f.Status // the exit is "error" then, whatever happened
	}
	return f.Exit
}

// Ban keeps a resource, or a group, from a machine.
type Ban struct {
	ID       string `xml:"id,attr"`
	Resource string `xml:"resource,attr"`
	Machine  string `xml:"node,attr"`
}

// Refusal is what a tool says when it knows nothing.
type Refusal struct {
	Code int    // its exit status, as crm_error lists them
	Text string // in one line
}

// NotConnected is the Code of a Refusal when Pacemaker does not run on this machine (crm_error 102).
const NotConnected = 102

// Error makes it an error.
func (r *Refusal) Error() string { return r.Text }

// The elements of crm_mon's answer that are read.
type (
	answer struct {
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
	// collection is all resources, a group, a clone, or a bundle with its replicas.
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

// StatusArguments are those by which crm_mon prints what ParseStatus reads, and no more.
func StatusArguments() []string {
	return []string{"--one-shot", "--output-as=xml", "--exclude=all", "--include=dc,options,nodes,resources,failures,bans"}
}

// ParseStatus reads what crm_mon prints with StatusArguments. A *Refusal is the tool's own word that it knows nothing.
func ParseStatus(text []byte) (Status, error) {
	var a answer
	if err := xml.Unmarshal(text, &a); err != nil {
		return Status{}, fmt.Errorf("read what crm_mon says: %w", err)
	}
	if a.Status.Code != 0 {
		said := a.Status.Message
		if n := len(a.Status.Errors); n > 0 {
			said = a.Status.Errors[n-1] // the last one names what it was for
		}
		return Status{}, &Refusal{Code: a.Status.Code, Text: strings.Join(strings.Fields(said), " ")}
	}
	s := Status{
		Coordinator: a.DC.Name, Quorum: a.DC.Quorum,
		Fencing: a.Options.Fencing, Maintenance: a.Options.Maintenance, StopAll: a.Options.StopAll, NoQuorum: a.Options.NoQuorum,
		Machines: a.Machines, Failures: a.Failures, Bans: a.Bans,
	}
	a.Resources.each(Resource{}, func(r Resource) {
		for i, known := range s.Resources {
			if r.Clone != "" && known.ID == r.ID {
				s.Resources[i] = known.with(r)
				return
			}
		}
		s.Resources = append(s.Resources, r)
	})
	return s, nil
}

// each calls do with each resource, which has the innermost group and the clone that it is in as inside has them.
func (c collection) each(inside Resource, do func(Resource)) {
	for _, e := range c.Resources {
		r := Resource{
			ID: e.ID, Agent: e.Agent, Group: inside.Group, Clone: inside.Clone, Role: e.Role, TargetRole: e.TargetRole, Pending: e.Pending,
			Blocked: e.Blocked, Managed: e.Managed, Failed: e.Failed, Orphaned: e.Orphaned,
		}
		for _, on := range e.On {
			r.On = append(r.On, on.Name)
		}
		if r.Blocked || r.Failed {
			r.Broken = r.On
		}
		do(r)
	}
	for _, g := range c.Groups {
		g.each(Resource{Group: g.ID, Clone: inside.Clone}, do)
	}
	for _, in := range c.Clones {
		in.each(Resource{Group: inside.Group, Clone: in.ID}, do)
	}
	for _, inner := range [][]collection{c.Bundles, c.Replicas} {
		for _, in := range inner {
			in.each(inside, do)
		}
	}
}

// with adds another instance of the same clone: what is the matter with one is the matter with all.
func (r Resource) with(other Resource) Resource {
	r.On, r.Broken = slices.Concat(r.On, other.On), slices.Concat(r.Broken, other.Broken)
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
