// Package api holds the types of the agent's JSON responses.
package api

import (
	"net/netip"
	"time"

	"github.com/braintree/lb/netx/audit"
)

// Report is the response to GET /.
type Report struct {
	Version  string    `json:"version"`
	Services []Service `json:"services"`         // sorted by name
	Tunnel   *Tunnel   `json:"tunnel,omitempty"` // absent: [agent.tunnel] is off, or this machine is not a node of an ipip cluster
}

// Tunnel is the state of this machine's tunnel.
type Tunnel struct {
	VIPs      []netip.Addr  `json:"vips"`                 // that this machine receives packets for
	WatchOnly bool          `json:"watch_only"`           // lb repairs nothing
	Faults    []TunnelFault `json:"faults"`               // none: all is right
	Drifts    uint64        `json:"drifts"`               // changes by other programs since the agent started
	LastDrift *TunnelDrift  `json:"last_drift,omitempty"` // absent: none
}

// TunnelFault is why virtual IPs get no packets, or clients no replies from them.
type TunnelFault struct {
	Text string       `json:"text"`
	VIPs []netip.Addr `json:"vips"`
}

// TunnelDrift is a change of the tunnel by another program.
type TunnelDrift struct {
	At   time.Time `json:"at"`
	What string    `json:"what"` // what was wrong
}

// Service is the response to GET /SERVICE/status.
type Service struct {
	Name     string       `json:"name"`
	Health   int          `json:"health"`           // what balancers get, 0 to 100
	Measured int          `json:"measured"`         // the health without a force
	Forced   *Force       `json:"forced"`           // the force in effect; null: none
	Tunnel   string       `json:"tunnel,omitempty"` // the fault of the tunnel that makes measured 0; absent: none
	Depends  []Dependency `json:"depends"`
	Metrics  []Metric     `json:"metrics"`
}

// Force is an operator's override of the health.
type Force struct {
	Kind    string    `json:"kind"`            // down, up or health
	Value   *int      `json:"value,omitempty"` // the ceiling, for kind health only
	All     bool      `json:"all"`             // it applies to every service
	Reason  string    `json:"reason"`
	Who     string    `json:"who"`
	At      time.Time `json:"at"`
	Expires time.Time `json:"expires,omitzero"` // absent: never
}

// Dependency is a check that must pass.
type Dependency struct {
	Type    string `json:"type"`
	Display string `json:"display"`
	OK      bool   `json:"ok"`
	Result
}

// Metric is a check that contributes to the health.
type Metric struct {
	Type    string `json:"type"`
	Display string `json:"display"`
	OK      bool   `json:"ok"`    // the measurement succeeded
	Value   int    `json:"value"` // points it contributes
	Weight  int    `json:"weight"`
	Result
}

// Result is the latest result of a check.
type Result struct {
	Detail string   `json:"detail"`
	Age    *float64 `json:"age"` // seconds since the run ended; null: it has not run yet
	Stale  bool     `json:"stale"`
}

// HealthEvent is the data of an event of GET /SERVICE/watch.
type HealthEvent struct {
	Service  string    `json:"service"`
	Health   int       `json:"health"`   // what balancers get, 0 to 100
	Measured int       `json:"measured"` // the health without a force
	Forced   *Force    `json:"forced"`   // the force in effect; null: none
	Reason   string    `json:"reason"`   // what determines the health, in one line; "measured" when nothing is forced or failing
	At       time.Time `json:"at"`       // when the agent noticed the change
}

// Change is the response to a POST or DELETE of a force.
type Change struct {
	Change  audit.Change `json:"change"`            // forced or deleted
	Service string       `json:"service,omitempty"` // absent: every service
	Force
	AuditError string `json:"audit_error,omitempty"` // the change was made, but is missing from the audit log
}
