// Package api holds the types that lb balance serves and accepts over HTTP: its JSON responses, the orders that change something,
// and the errors of orders.
package api

import (
	"errors"
	"fmt"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
)

// ErrStopping is the result of every order that still waits when the daemon shuts down.
var ErrStopping = errors.New("lb balance is stopping")

// NoClusterError reports that the configuration has no cluster of that name.
type NoClusterError struct{ Name string }

// Error returns the text of big_brother's response.
func (e *NoClusterError) Error() string { return fmt.Sprintf("Cluster %s not found", e.Name) }

// Status describes the whole balancer. It is the response to GET / in JSON.
type Status struct {
	Version      string          `json:"version"`
	Location     string          `json:"location,omitempty"`       // this data centre
	RelayAddress string          `json:"relay_address,omitempty"`  // where other data centres send packets; "": the address they polled
	KernelErrors int             `json:"kernel_errors"`            // rejected changes and failed reads since the start
	Problems     []Problem       `json:"problems"`                 // that concern every cluster
	Refused      *RefusedReload  `json:"reload_refused,omitempty"` // the last reload, if it was refused
	Clusters     []ClusterStatus `json:"clusters"`                 // by name
}

// RefusedReload is a reload that changed nothing.
type RefusedReload struct {
	At    time.Time `json:"at"`
	Error string    `json:"error"`
}

// ClusterStatus describes one cluster.
type ClusterStatus struct {
	Name           string         `json:"name"`
	Mark           uint32         `json:"mark"`
	RelayMark      uint32         `json:"relay_mark,omitempty"` // mark of packets from other data centres; 0: the cluster takes none
	Scheduler      string         `json:"scheduler"`
	Running        bool           `json:"running"`
	Mode           config.Mode    `json:"mode"`     // active_active or active_passive
	AllDown        config.AllDown `json:"all_down"` // the policy for a cluster without weight
	Notice         string         `json:"notice"`   // what is unusual, in one sentence; "": nothing
	Downpage       *NodeStatus    `json:"downpage"` // null: not in the kernel's table
	CombinedWeight int            `json:"combined_weight"`
	VIPs           []VIPStatus    `json:"vips"`       // in the configuration's order
	Nodes          []NodeStatus   `json:"nodes"`      // in the configuration's order, then nodes that are leaving
	LastError      string         `json:"last_error"` // what the kernel rejects at present; "": nothing
	Problems       []Problem      `json:"problems"`   // what else keeps clients from being served as configured, this cluster or every one
}

// Trouble reports whether clients may not be served as configured.
func (s ClusterStatus) Trouble() bool { return s.LastError != "" || len(s.Problems) > 0 }

// Configured counts the nodes that are not leaving: those of the configuration, and other data centres' balancers.
func (s ClusterStatus) Configured() int {
	n := 0
	for _, node := range s.Nodes {
		if node.State != StateLeaving {
			n++
		}
	}
	return n
}

// The states of a node that package decide does not have: they depend on the kernel's table.
const (
	StateDraining = "draining" // an operator drains it, and it still has connections
	StateLeaving  = "leaving"  // the kernel's table has it, the configuration does not
)

// NodeStatus describes one node of a cluster.
type NodeStatus struct {
	Address       string        `json:"address"`
	Site          string        `json:"site,omitempty"` // data centre of this balancer; "": a node of this data centre
	Port          uint16        `json:"port"`           // of the agent
	Health        *int          `json:"health"`         // of the last usable response; null: none yet
	Weight        int           `json:"weight"`         // as decided
	KernelWeight  *int          `json:"kernel_weight"`  // null: the kernel's table does not have the node
	State         string        `json:"state"`          // unknown, down, held, passive, ramping, up, drained, draining or leaving
	Why           string        `json:"why"`            // the reason for the weight, in one sentence
	Steps         []decide.Step `json:"steps"`          // the weight, stage by stage
	Drain         *DrainStatus  `json:"drain,omitempty"`
	ActiveConns   int           `json:"active_connections"`
	InactiveConns int           `json:"inactive_connections"`
	LastReading   *int64        `json:"last_reading_age_ms"` // since it arrived, or a stream last confirmed it; null: none yet
	Watched       string        `json:"watched"`             // "stream" or "poll"; "" for a node that is leaving
	Traffic       Traffic       `json:"traffic"`             // counted by the kernel since the node entered its table

	ReadAt   time.Time `json:"-"` // when LastReading began to count; zero: none yet
	Readings Readings  `json:"-"`
}

// Name is the node's address, followed by the data centre if the node is another data centre's balancer.
func (n NodeStatus) Name() string {
	if n.Site == "" {
		return n.Address
	}
	return n.Address + " (" + n.Site + ")"
}

// Traffic is what the kernel has counted for a node.
type Traffic struct {
	Connections uint64 `json:"connections"`
	PacketsIn   uint64 `json:"packets_in"`  // to the node
	PacketsOut  uint64 `json:"packets_out"` // from the node; 0 where it answers clients directly
	BytesIn     uint64 `json:"bytes_in"`
	BytesOut    uint64 `json:"bytes_out"`
}

// Readings counts what a node has reported since the balancer started.
type Readings struct {
	Up     uint64 // a health above 0
	Down   uint64 // health 0
	Silent uint64 // no usable response
}

// EventList is the response to GET /events in JSON.
type EventList struct {
	Events []event.Event `json:"events"` // oldest first
	Last   uint64        `json:"last"`   // number of the last event considered: continue from here
	Missed uint64        `json:"missed"` // events after the requested number that are no longer in memory
	More   bool          `json:"more"`   // newer events than Last exist
}

// ReloadResult is the response to POST /reload in JSON.
type ReloadResult struct {
	Reloaded bool     `json:"reloaded"`           // the new configuration is in effect
	Error    string   `json:"error,omitempty"`    // why it is not, or what the kernel does not have of it
	Warnings []string `json:"warnings,omitempty"` // what takes a restart, and the problems that stand
}

// Reload is a request to reload the configuration. The zero value is a SIGHUP.
type Reload struct {
	Force bool   // even if the new configuration removes more than half of the running clusters
	Who   string // the person or process that asked; "" is SIGHUP
}
