// Package event keeps what a balancer did and saw, numbered and in order: the newest in memory for those who follow, all in a bounded file.
package event

import (
	"log/slog"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// Kind says what happened, in a word that programs may choose by.
type Kind string

// The kinds. Those of nodes that begin with "node_" and a state are made by NodeKind.
const (
	NodeUp      Kind = "node_up"
	NodeDown    Kind = "node_down"
	NodeRamping Kind = "node_ramping"
	NodeUnknown Kind = "node_unknown" // it has yet to answer
	NodeDrained Kind = "node_drained" // at weight 0 by an operator's word
	NodeHeld    Kind = "node_held"    // it keeps its weight although it fails
	NodePassive Kind = "node_passive" // it stands by for the active one
	NodeLeaving Kind = "node_leaving" // on its way out of the kernel's table
	NodeAdded   Kind = "node_added"   // to the kernel's table
	NodeRemoved Kind = "node_removed" // from the kernel's table
	NodeChanged Kind = "node_changed" // in the kernel's table, in something else than its weight
	Weight      Kind = "weight"       // of a node in the kernel's table

	DrainBegun   Kind = "drain_begun" // an operator drains a node
	DrainEnded   Kind = "drain_ended" // taken back
	DrainExpired Kind = "drain_expired"

	FileAppeared Kind = "file_appeared" // a cluster's up or down file, or what it says, is new
	FileGone     Kind = "file_gone"

	MemberJoined Kind = "member_joined" // another data centre's balancer is listed by a site
	MemberLeft   Kind = "member_left"
	SiteAnswers  Kind = "site_answers"
	SiteSilent   Kind = "site_silent"

	ClusterStarting Kind = "cluster_starting" // asked for; it waits for first answers of its nodes
	ClusterStarted  Kind = "cluster_started"
	ClusterStopped  Kind = "cluster_stopped"
	ClusterAdopted  Kind = "cluster_adopted"
	ClusterRenamed  Kind = "cluster_renamed"
	ClusterState    Kind = "cluster_state"   // ok, suspect (its nodes fell silent at once), or all_down
	ClusterStrange  Kind = "cluster_strange" // the kernel has the mark of a cluster that does not run
	ServiceAdded    Kind = "service_added"   // to the kernel's table
	ServiceChanged  Kind = "service_changed"
	ServiceRemoved  Kind = "service_removed"

	DriftRepaired Kind = "drift_repaired"
	KernelRefuses Kind = "kernel_refuses"
	KernelObeys   Kind = "kernel_obeys" // again
	MarksChanged  Kind = "marks_changed"
	SyncChanged   Kind = "sync_changed" // a sync daemon of the kernel was started or stopped

	ConfigReloaded  Kind = "config_reloaded"
	ConfigRefused   Kind = "config_refused"
	BalancerStarted Kind = "balancer_started"
	BalancerStopped Kind = "balancer_stopped"
)

// Kinds lists all of them, in the order of the documentation.
func Kinds() []Kind {
	return []Kind{
		NodeUp, NodeDown, NodeRamping, NodeUnknown, NodeDrained, NodeHeld, NodePassive, NodeLeaving, NodeAdded, NodeRemoved, NodeChanged, Weight,
		DrainBegun, DrainEnded, DrainExpired, FileAppeared, FileGone, MemberJoined, MemberLeft, SiteAnswers, SiteSilent,
		ClusterStarting, ClusterStarted, ClusterStopped, ClusterAdopted, ClusterRenamed, ClusterState, ClusterStrange, ServiceAdded, ServiceChanged, ServiceRemoved,
		DriftRepaired, KernelRefuses, KernelObeys, MarksChanged, SyncChanged,
		ConfigReloaded, ConfigRefused, BalancerStarted, BalancerStopped,
	}
}

// NodeKind is the kind of a node that came to be in a state, such as "up".
func NodeKind(state string) Kind { return Kind("node_" + state) }

// Event is one thing that happened.
type Event struct {
	Number  uint64    `json:"number"` // counts from 1, over restarts
	Time    time.Time `json:"time"`   // in UTC
	Kind    Kind      `json:"kind"`
	Text    string    `json:"text"` // what happened, for people
	Cluster string    `json:"cluster,omitempty"`
	Mark    uint32    `json:"mark,omitempty"`
	Node    string    `json:"node,omitempty"`   // its address
	Old     string    `json:"old,omitempty"`    // weight or state before, where one was
	New     string    `json:"new,omitempty"`    // weight or state since
	Change  string    `json:"change,omitempty"` // the change of the kernel's tables, as a plan says it
	Cause   string    `json:"cause,omitempty"`  // why
	Err     string    `json:"err,omitempty"`    // what the kernel or the file said
	Nodes   *Tally    `json:"nodes,omitempty"`  // of the cluster, where its nodes are what it is about
}

// Tally tells how a cluster's nodes are.
type Tally struct {
	Running bool `json:"running"` // whether the cluster is
	Up      int  `json:"up"`      // nodes that are not down
	All     int  `json:"all"`     // nodes of the config, and other data centres' balancers that get packets
	Weight  int  `json:"weight"`  // of all nodes together, as decided
}

// maxText bounds each text of an event, in bytes: much of it comes from outside.
const maxText = 500

// cleaned bounds the texts and keeps each in a line.
func (e Event) cleaned() Event {
	for _, s := range []*string{&e.Text, &e.Change, &e.Cause, &e.Err} {
		*s = sanitize.Line(*s, maxText)
	}
	return e
}

// Attrs are what a log has beside the text, with the keys of the house.
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
	if e.Change == "" { // else it has them
		add("old", e.Old)
		add("new", e.New)
	}
	add("cause", e.Cause)
	add("err", e.Err)
	return attrs
}
