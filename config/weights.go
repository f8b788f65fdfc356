package config

import (
	"slices"
	"time"
)

// Mode says which nodes of a cluster get traffic.
type Mode string

// The modes.
const (
	ActiveActive  Mode = "active_active"  // all healthy nodes, in proportion to their weights
	ActivePassive Mode = "active_passive" // the first healthy node by priority, then by address
)

// AllDown is the policy of a cluster when no node has weight.
type AllDown string

// The policies.
const (
	RefuseAll AllDown = "none"     // new connections are refused
	ToPage    AllDown = "downpage" // the downpage answers
	HoldLast  AllDown = "hold"     // the last nodes to fail keep their weights
	AllIn     AllDown = "all_in"   // every node gets weight 1
)

// OnFailure is what becomes of the connections to a node that fails.
type OnFailure string

// The policies for connections to a failed node.
const (
	DrainFailed  OnFailure = "drain"  // it gets weight 0: no new connections
	RemoveFailed OnFailure = "remove" // it leaves the kernel's table: its connections end, or move to another node
)

// Weights configures how a cluster derives weights from health.
type Weights struct {
	Mode         Mode
	AllDown      AllDown
	OnFailure    OnFailure
	Downpage     Downpage
	SuspectShare int           // percentage of nodes with weight; if more fail to respond at once, their weights are held; 0: off
	SuspectTime  time.Duration // how long they are held
	DeadBand     int           // changes of health below this many points are ignored; 0: none are
	Slew         int           // maximum change of a weight, in points per second; 0: no maximum
}

// A health is 0 to 100. More than 100 % of the nodes cannot fail.
const (
	maxDeadBand     = 100
	maxSuspectShare = 99
)

// readWeights reads a cluster's keys about weights, which are in the cluster's own table.
func readWeights(d *decoder) Weights {
	w := Weights{
		Mode:         Mode(d.str("mode", string(defaultMode))),
		AllDown:      AllDown(d.str("all_down", string(defaultAllDown))),
		SuspectShare: int(d.integer("suspect_share", defaultSuspectShare, 0, maxSuspectShare)),
		SuspectTime:  d.duration("suspect_time", defaultSuspectTime),
		DeadBand:     int(d.integer("dead_band", defaultDeadBand, 0, maxDeadBand)),
		Slew:         int(d.integer("slew", defaultSlew, 0, maxNodeWeight)),
	}
	if !slices.Contains([]Mode{ActiveActive, ActivePassive}, w.Mode) {
		d.invalid("mode", "is not a mode", "use active_active or active_passive")
	}
	if !slices.Contains([]AllDown{RefuseAll, ToPage, HoldLast, AllIn}, w.AllDown) {
		d.invalid("all_down", "is not an all_down policy", "use none, downpage, hold or all_in")
	}
	if w.SuspectTime == 0 {
		d.invalid("suspect_time", "must be above 0s", `use a duration such as "60s"; suspect_share = 0 turns holding off`)
	}
	if w.Mode == ActivePassive && d.has("ramp_up_time") {
		d.warn("ramp_up_time", "has no effect with mode = \"active_passive\": the active node takes all traffic at once", "remove it")
	}
	w.Downpage = readDownpage(d, w.AllDown)
	return w
}

// readOnFailure reads on_failure. Its default depends on the virtual IPs.
func readOnFailure(d *decoder, c Cluster) OnFailure {
	flows := !c.OnePacket && slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Protocol == "udp" })
	def := defaultOnFailure
	if flows {
		def = defaultOnFailureUDP
	}
	o := OnFailure(d.str("on_failure", string(def)))
	switch {
	case o == DrainFailed && flows:
		d.warn("on_failure", "a UDP client that keeps its source port is sent to a failed node for as long as it sends",
			`use "remove", unless that is intended`)
	case o != DrainFailed && o != RemoveFailed:
		d.invalid("on_failure", "is not an on_failure policy", "use drain or remove")
	}
	return o
}
