// Package event defines what a balancer records about itself: the kinds of events, and an event with its texts.
package event

import (
	"log/slog"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// FileName is the file in the balancer's data_dir that holds the events; FileName.1 is its older part.
const FileName = "events.log"

// Kind is the kind of an event, a word that programs filter by.
type Kind string

// The kinds. NodeKind makes those that consist of "node_" and a state.
const (
	NodeUp      Kind = "node_up"
	NodeDown    Kind = "node_down"
	NodeRamping Kind = "node_ramping"
	NodeUnknown Kind = "node_unknown" // no response yet
	NodeDrained Kind = "node_drained" // at weight 0 by an operator's order
	NodeHeld    Kind = "node_held"    // keeps its weight although it does not respond
	NodePassive Kind = "node_passive" // stands by for the active node
	NodeLeaving Kind = "node_leaving" // drains before lb removes it from the kernel's table
	NodeAdded   Kind = "node_added"   // to the kernel's table
	NodeRemoved Kind = "node_removed" // from the kernel's table
	NodeChanged Kind = "node_changed" // in the kernel's table, other than its weight
	Weight      Kind = "weight"       // of a node in the kernel's table

	DrainBegun   Kind = "drain_begun" // an operator drains a node
	DrainEnded   Kind = "drain_ended" // by an operator's order
	DrainExpired Kind = "drain_expired"

	FileAppeared Kind = "file_appeared" // a cluster's up or down file is new or has changed
	FileGone     Kind = "file_gone"

	MemberJoined Kind = "member_joined" // a site lists another data centre's balancer
	MemberLeft   Kind = "member_left"
	SiteAnswers  Kind = "site_answers"
	SiteSilent   Kind = "site_silent"

	ClusterStarting  Kind = "cluster_starting" // waits for the first readings of its nodes
	ClusterStarted   Kind = "cluster_started"
	ClusterStopped   Kind = "cluster_stopped"
	ClusterAdopted   Kind = "cluster_adopted"
	ClusterRenamed   Kind = "cluster_renamed"
	ClusterState     Kind = "cluster_state"   // ok, suspect (too many nodes fell silent at once), or all_down
	ClusterUnmanaged Kind = "cluster_strange" // unmanaged: the kernel has the mark of a cluster that lb did not start
	ServiceAdded     Kind = "service_added"   // to the kernel's table
	ServiceChanged   Kind = "service_changed"
	ServiceRemoved   Kind = "service_removed"

	DriftRepaired Kind = "drift_repaired"
	KernelRejects Kind = "kernel_refuses"
	KernelAccepts Kind = "kernel_obeys"  // accepts changes again
	ProblemFound  Kind = "problem_found" // clients may not be served as configured
	ProblemSolved Kind = "problem_solved"
	MarksChanged  Kind = "marks_changed"
	SyncChanged   Kind = "sync_changed" // lb started or stopped a sync daemon of the kernel

	TimeoutsChanged Kind = "timeouts_changed" // lb set the kernel's timeouts of connections
	SettingChanged  Kind = "setting_changed"  // lb set a setting of the kernel (sysctl)

	ConfigReloaded  Kind = "config_reloaded"
	ConfigRefused   Kind = "config_refused"
	BalancerStarted Kind = "balancer_started"
	BalancerStopped Kind = "balancer_stopped"
)

// Kinds lists all kinds, in the order of docs/events.md.
func Kinds() []Kind {
	return []Kind{
		NodeUp, NodeDown, NodeRamping, NodeUnknown, NodeDrained, NodeHeld, NodePassive, NodeLeaving, NodeAdded, NodeRemoved, NodeChanged,
		Weight, DrainBegun, DrainEnded, DrainExpired, FileAppeared, FileGone, MemberJoined, MemberLeft, SiteAnswers, SiteSilent,
		ClusterStarting, ClusterStarted, ClusterStopped, ClusterAdopted, ClusterRenamed, ClusterState, ClusterUnmanaged,
		ServiceAdded, ServiceChanged, ServiceRemoved, DriftRepaired, KernelRejects, KernelAccepts, ProblemFound, ProblemSolved,
		MarksChanged, SyncChanged, TimeoutsChanged, SettingChanged,
		ConfigReloaded, ConfigRefused, BalancerStarted, BalancerStopped,
	}
}

// NodeKind is the kind for a node that has entered a state, such as "up".
func NodeKind(state string) Kind { return Kind("node_" + state) }

// Event is one thing that happened.
type Event struct {
	Number  uint64    `json:"number"` // counts from 1, across restarts
	Time    time.Time `json:"time"`   // UTC
	Kind    Kind      `json:"kind"`
	Text    string    `json:"text"` // what happened, for people
	Cluster string    `json:"cluster,omitempty"`
	Mark    uint32    `json:"mark,omitempty"`
	Node    string    `json:"node,omitempty"`   // its address
	Old     string    `json:"old,omitempty"`    // previous weight or state
	New     string    `json:"new,omitempty"`    // new weight or state
	Change  string    `json:"change,omitempty"` // the change to the kernel's tables, as a plan prints it
	Cause   string    `json:"cause,omitempty"`
	Err     string    `json:"err,omitempty"`   // the error of the kernel or the file
	Nodes   *Tally    `json:"nodes,omitempty"` // of the cluster, for events about its nodes
}

// Tally sums up the nodes of a cluster.
type Tally struct {
	Running bool `json:"running"` // the cluster runs
	Up      int  `json:"up"`      // nodes that are not down
	All     int  `json:"all"`     // nodes of the configuration, and other data centres' balancers that receive packets
	Weight  int  `json:"weight"`  // sum of the decided weights
}

// Now returns an event of this moment.
func Now(kind Kind, text string) Event { return Event{Time: time.Now(), Kind: kind, Text: text} }

// Report is an event that has yet to be logged and recorded.
type Report struct {
	Event
	Level Level
}

// Level is the importance of an event. Its values equal those of slog.Level.
type Level int

// The levels.
const (
	Debug Level = -4
	Info  Level = 0
	Warn  Level = 4
	Error Level = 8
)

// maxText bounds each text of an event, in bytes: much of it comes from other programs.
const maxText = 500

// Sanitized returns e with each text bounded and on one line.
func (e Event) Sanitized() Event {
	for _, s := range []*string{&e.Text, &e.Change, &e.Cause, &e.Err} {
		*s = sanitize.Line(*s, maxText)
	}
	return e
}

// Attrs returns the attributes of a log line.
func (e Event) Attrs() []slog.Attr {
	var attrs []slog.Attr
	add := func(key, value string) {
		if value != "" {
			attrs = append(attrs, slog.String(key, value))
		}
	}
	add("change", e.Change)
	if e.Mark != 0 {
		attrs = append(attrs, slog.Uint64("mark", uint64(e.Mark)))
	}
	add("cluster", e.Cluster)
	add("node", e.Node)
	if e.Change == "" { // Change repeats them
		add("old", e.Old)
		add("new", e.New)
	}
	add("cause", e.Cause)
	add("err", e.Err)
	return attrs
}
