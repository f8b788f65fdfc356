// Package consistency compares what Pacemaker, lb balance and the kernel say about where clusters run, and words what to do where they differ.
package consistency

import (
	"net/netip"
	"slices"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/ocf/crm"
)

// Views are what each of them says, seen from one machine at about one time.
type Views struct {
	Machine   string // Pacemaker's name for this one
	Config    Config
	Pacemaker Pacemaker
	Daemon    Daemon
	Kernel    Kernel
}

// Config is what lb.toml says.
type Config struct {
	Path     string
	Clusters []config.Cluster
	Marks    map[string]uint32 // of each cluster, as far as the file can be read at all
	Broken   string            // what is wrong with it, and Clusters are not known then; "" is nothing
}

// Pacemaker is what its tools say.
type Pacemaker struct {
	Trouble *Finding // why they say nothing; nil: they answered
	Status  crm.Status
	Told    crm.Configuration
}

// Daemon is what lb balance says.
type Daemon struct {
	Trouble string // why it says nothing, and what to do; "": it answered
	Status  api.Status
}

// Kernel is what the kernel has.
type Kernel struct {
	Services  []ipvs.Service
	Rules     []mark.Rule
	Addresses []Address
}

// Address is one that an interface of this machine has.
type Address struct {
	Interface string
	Address   netip.Addr
}

// Level says how much a finding matters.
type Level string

// The levels.
const (
	Trouble Level = "trouble" // they do not agree, or clients are not served as they should be
	Note    Level = "note"    // somebody wanted it so, or it is over; good to know at a takeover
)

// Finding is one thing that is not as on a good day.
type Finding struct {
	Level Level  `json:"level"`
	Code  string `json:"code"` // for programs; it stays the same
	Says  string `json:"says"` // what is the matter, and who says so
	Do    string `json:"do"`   // what to do about it
}

// Report is how the views compare.
type Report struct {
	Machine  string    `json:"machine"`
	Agree    bool      `json:"agree"` // there is no trouble
	Machines []Machine `json:"machines"`
	Findings []Finding `json:"findings"` // about all clusters at once
	Clusters []Cluster `json:"clusters"` // by name
}

// Machine is one of Pacemaker's, in a word: online, standby, maintenance, joining, unclean or offline.
type Machine struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// Cluster is where one runs, as each of them says.
type Cluster struct {
	Name      string     `json:"name"`
	Mark      uint32     `json:"mark"` // 0: nothing tells it
	Pacemaker Where      `json:"pacemaker"`
	Daemon    string     `json:"lb_balance"` // running, stopped, unknown or silent
	Kernel    Forwarding `json:"kernel"`
	Addresses []VIP      `json:"addresses"`
	Findings  []Finding  `json:"findings"`
}

// Where is where Pacemaker runs a resource.
type Where struct {
	Resource string   `json:"resource"` // its id; "": it has none
	State    string   `json:"state"`    // here, elsewhere, nowhere, absent or silent
	Machines []string `json:"machines"`
}

// Forwarding is what the kernel does for a cluster.
type Forwarding struct {
	Service  bool `json:"service"`  // it has one for the mark
	Nodes    int  `json:"nodes"`    // in its table
	Weighted int  `json:"weighted"` // those that get connections
}

// VIP is where a virtual IP of a cluster is.
type VIP struct {
	Address    string   `json:"address"`
	Pacemaker  Where    `json:"pacemaker"`
	Interfaces []string `json:"interfaces"` // of this machine that have it
}

// The words for who says what.
const (
	here      = "here"
	elsewhere = "elsewhere"
	nowhere   = "nowhere"
	absent    = "absent"
	silent    = "silent"

	running = "running"
	stopped = "stopped"
	unknown = "unknown"
)

// clusterAgent is the agent of a cluster, and addressAgent that of an address.
const (
	clusterAgent = "ocf:braintree:bigbrother"
	addressAgent = "ocf:heartbeat:IPaddr2"
)

// Compare compares the views of the clusters with these names, or of all for none.
func Compare(v Views, names []string) Report {
	r := Report{Machine: v.Machine, Machines: []Machine{}, Findings: v.general(), Clusters: []Cluster{}}
	for _, m := range v.Pacemaker.Status.Machines {
		r.Machines = append(r.Machines, Machine{Name: m.Name, State: stateOf(m)})
	}
	for _, name := range v.names() {
		if len(names) == 0 || slices.Contains(names, name) {
			r.Clusters = append(r.Clusters, v.cluster(name))
		}
	}
	r.Agree = !troubled(r.Findings) && !slices.ContainsFunc(r.Clusters, func(c Cluster) bool { return troubled(c.Findings) })
	return r
}

func troubled(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Trouble })
}

// names are those of all clusters that any of them knows, sorted.
func (v Views) names() []string {
	var names []string
	for _, c := range v.Config.Clusters {
		names = append(names, c.Name)
	}
	for name := range v.Config.Marks {
		names = append(names, name)
	}
	for _, c := range v.Daemon.Status.Clusters {
		names = append(names, c.Name)
	}
	for _, r := range v.Pacemaker.Status.Resources {
		if r.Agent == clusterAgent {
			names = append(names, v.clusterOf(r))
		}
	}
	slices.Sort(names)
	return slices.Compact(names)
}

// clusterOf is the name of the cluster that a resource is: as it is told or, for one that was taken out of the configuration, as lb names its resources.
func (v Views) clusterOf(r crm.Resource) string {
	if name := v.Pacemaker.Told.Params[r.ID]["cluster"]; name != "" {
		return name
	}
	return nameOf(r.ID)
}
