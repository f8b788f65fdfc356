package api

import (
	"errors"
	"fmt"
	"net/netip"
	"strings"
	"time"
)

// DrainOrder is a request to drain or resume a node.
type DrainOrder struct {
	Cluster string // "": every cluster that has the node
	Node    netip.Addr
	Reason  string
	Who     string        // as the client claims
	Peer    string        // as the kernel reports
	For     time.Duration // after which the drain expires; 0: never
	Force   bool          // even if it leaves a cluster with fewer healthy nodes than its min_healthy
}

// DrainStatus describes a drain of a node.
type DrainStatus struct {
	Reason  string    `json:"reason"`
	Who     string    `json:"who"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires,omitzero"` // absent: the drain lasts until it is resumed
}

// DrainReport is one element of the response to GET /drains.
type DrainReport struct {
	Cluster string `json:"cluster"`
	Node    string `json:"node"`
	DrainStatus
	Stale       bool `json:"stale,omitempty"` // the configuration lacks the cluster or the node: the drain takes effect once it is back
	ActiveConns int  `json:"active_connections"`
}

// DrainAction is what a DrainOrder did.
type DrainAction string

// The actions.
const (
	Drained   DrainAction = "drained"
	Undrained DrainAction = "undrained" // resumed
)

// DrainChange is the response to a DrainOrder.
type DrainChange struct {
	Change     DrainAction   `json:"change"`
	Drains     []DrainReport `json:"drains"`
	AuditError string        `json:"audit_error,omitempty"` // the change took effect but is missing from the audit log
	Error      string        `json:"error,omitempty"`       // the change is recorded but not all of it is in effect
}

// String describes the change to people, one line for each cluster.
func (c DrainChange) String() string {
	var b strings.Builder
	for _, d := range c.Drains {
		b.WriteString(d.Node + " is ")
		if c.Change == Undrained {
			b.WriteString("no longer ")
		}
		b.WriteString("drained in " + d.Cluster)
		if c.Change == Drained && !d.Expires.IsZero() {
			b.WriteString(", until " + d.Expires.Format(time.RFC3339))
		}
		b.WriteByte('\n')
	}
	if c.AuditError != "" {
		b.WriteString("The change took effect, but: " + c.AuditError + "\n")
	}
	if c.Error != "" {
		b.WriteString("Error: " + c.Error + "\n")
	}
	return b.String()
}

// NoNodeError reports that a cluster, or every cluster, lacks a node.
type NoNodeError struct {
	Cluster string // "": every cluster
	Node    netip.Addr
	Nodes   []string // the nodes that exist
}

// Error lists the nodes that exist.
func (e *NoNodeError) Error() string {
	if e.Cluster == "" {
		return fmt.Sprintf("no cluster has a node %s; the nodes are %s", e.Node, strings.Join(e.Nodes, ", "))
	}
	return fmt.Sprintf("cluster %s has no node %s; its nodes are %s", e.Cluster, e.Node, strings.Join(e.Nodes, ", "))
}

// NotDrainedError reports that there is no drain to end.
type NotDrainedError struct{ DrainOrder }

// Error names the node.
func (e *NotDrainedError) Error() string {
	if e.Cluster == "" {
		return e.Node.String() + " is not drained in any cluster"
	}
	return fmt.Sprintf("%s is not drained in cluster %s", e.Node, e.Cluster)
}

// TooFewError reports that a drain would leave a cluster with too few healthy nodes.
type TooFewError struct {
	Cluster     string
	Node        netip.Addr
	Left, Least int // healthy nodes without Node; the cluster's min_healthy
}

// Error ends with what to do about it.
func (e *TooFewError) Error() string {
	return fmt.Sprintf("without %s cluster %s has %d healthy nodes, below its min_healthy of %d: "+
		"resume another node first, or use --force (force=true)", e.Node, e.Cluster, e.Left, e.Least)
}

// IncompleteError reports that an order is in effect, but not all of it.
type IncompleteError struct {
	Done string // what is done, such as "reloaded"
	Err  error  // the rest
}

// Error says what is done, and why the rest is not.
func (e *IncompleteError) Error() string {
	return e.Done + ", but not all of it is in effect: " + strings.ReplaceAll(e.Err.Error(), "\n", "; ")
}

// Unwrap returns the cause.
func (e *IncompleteError) Unwrap() error { return e.Err }

// Incomplete makes an *IncompleteError; nil if err is nil.
func Incomplete(done string, err error) error {
	if err == nil {
		return nil
	}
	return &IncompleteError{done, err}
}

// UnrecordedError reports that a change took effect but is missing from the audit log.
type UnrecordedError struct{ Err error }

// Error gives the cause.
func (e *UnrecordedError) Error() string { return "the change took effect, but: " + e.Err.Error() }

// Unwrap returns the cause.
func (e *UnrecordedError) Unwrap() error { return e.Err }

// Unrecorded joins the errors of an audit log into an *UnrecordedError; nil if there are none.
func Unrecorded(errs []error) error {
	if err := errors.Join(errs...); err != nil {
		return &UnrecordedError{err}
	}
	return nil
}

// InvalidError reports an invalid order: the client's fault, not the disk's.
type InvalidError struct{ Err error }

// Error gives the reason.
func (e *InvalidError) Error() string { return e.Err.Error() }

// Unwrap returns the reason.
func (e *InvalidError) Unwrap() error { return e.Err }
