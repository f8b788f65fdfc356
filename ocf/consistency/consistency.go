// Package consistency compares where Pacemaker, lb balance and the kernel say that clusters run, and says how to fix differences.
package consistency

import (
	"net/netip"
	"slices"
	"strings"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/ocf/crm"
)

// Views are what each of them reports, read on one machine at about one time.
type Views struct {
	Machine   string // Pacemaker's name for this machine
	Config    Config
	Pacemaker Pacemaker
	Daemon    Daemon
	Kernel    Kernel
}

// Config is the configuration of lb.
type Config struct {
	Path     string
	Clusters []config.Cluster
	Marks    map[string]uint32 // of each cluster, as far as the file can be parsed at all
	Invalid  string            // why the configuration cannot be used; Clusters is then empty. "": it can
}

// Pacemaker is what Pacemaker's tools report.
type Pacemaker struct {
	Error         *Finding // why they report nothing; nil: they do
	Status        crm.Status
	Configuration crm.Configuration
}

// Daemon is what lb balance reports.
type Daemon struct {
	Error  string // why it does not respond, and what to do; "": it does
	Status api.Status
}

// Kernel is the state of the kernel.
type Kernel struct {
	Services  []ipvs.Service
	Rules     []mark.Rule
	Addresses []Address
}

// Address is an address of an interface of this machine.
type Address struct {
	Interface string
	Address   netip.Addr
}

// Level says whether a finding needs attention. Its values are part of the JSON output.
type Level string

// The levels.
const (
	Problem Level = "trouble" // the views differ, or clients are not served as they should be
	Note    Level = "note"    // intended by an operator, or over; worth knowing at a takeover
)

// Finding is one difference from the normal state.
type Finding struct {
	Level Level  `json:"level"`
	Code  string `json:"code"` // stable, for programs
	Text  string `json:"says"` // what differs
	Fix   string `json:"do"`   // what to do about it
}

func problem(code, text, fix string) Finding { return Finding{Problem, code, text, fix} }

func note(code, text, fix string) Finding { return Finding{Note, code, text, fix} }

// Report is the result of a comparison.
type Report struct {
	Machine  string    `json:"machine"`
	Agree    bool      `json:"agree"` // there is no problem
	Machines []Machine `json:"machines"`
	Findings []Finding `json:"findings"` // that concern all clusters
	Clusters []Cluster `json:"clusters"` // by name
}

// Machine is one of Pacemaker's nodes. Its state is online, standby, maintenance, joining, unclean or offline.
type Machine struct {
	Name  string `json:"name"`
	State string `json:"state"`
}

// Cluster compares the views of one cluster.
type Cluster struct {
	Name      string     `json:"name"`
	Mark      uint32     `json:"mark"` // 0: unknown
	Pacemaker Placement  `json:"pacemaker"`
	Daemon    string     `json:"lb_balance"` // running, stopped, unknown or silent
	Kernel    Forwarding `json:"kernel"`
	Addresses []VIP      `json:"addresses"`
	Findings  []Finding  `json:"findings"`
}

// Placement says where Pacemaker runs a resource.
type Placement struct {
	Resource string   `json:"resource"` // its id; "": Pacemaker does not have it
	State    string   `json:"state"`    // here, elsewhere, nowhere, absent or silent
	Machines []string `json:"machines"`
}

// The states of a placement.
const (
	here            = "here"
	elsewhere       = "elsewhere"
	nowhere         = "nowhere"
	absent          = "absent" // not in Pacemaker
	pacemakerSilent = "silent" // Pacemaker does not respond
)

// String completes "Pacemaker runs it": here, nowhere, on load02.
func (p Placement) String() string {
	switch {
	case p.State == elsewhere, len(p.Machines) > 1:
		return "on " + strings.Join(p.Machines, " and ")
	case p.State == absent:
		return "nowhere (not configured)"
	case p.State == pacemakerSilent:
		return "on an unknown machine"
	}
	return p.State
}

// The states of a cluster in lb balance.
const (
	running      = "running"
	stopped      = "stopped"
	unknown      = "unknown" // lb balance does not have it
	daemonSilent = "silent"  // lb balance does not respond
)

// Forwarding is what the kernel does for a cluster.
type Forwarding struct {
	Service  bool `json:"service"`  // the kernel has a service for the mark
	Nodes    int  `json:"nodes"`    // in its table
	Weighted int  `json:"weighted"` // with a weight above 0
}

// VIP says where a virtual IP of a cluster is.
type VIP struct {
	Address    string    `json:"address"`
	Pacemaker  Placement `json:"pacemaker"`
	Interfaces []string  `json:"interfaces"` // of this machine that have it
}

// The resource agents of clusters and of virtual IPs.
const (
	clusterAgent = "ocf:braintree:bigbrother"
	addressAgent = "ocf:heartbeat:IPaddr2"
)

// Compare compares the views of the named clusters, or of all if names is empty.
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
	r.Agree = !hasProblem(r.Findings) && !slices.ContainsFunc(r.Clusters, func(c Cluster) bool { return hasProblem(c.Findings) })
	return r
}

func hasProblem(findings []Finding) bool {
	return slices.ContainsFunc(findings, func(f Finding) bool { return f.Level == Problem })
}

// names returns the names of all clusters in any view, sorted.
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

// clusterOf returns the name of the cluster that a resource runs: its parameter or, for a resource that is no longer in Pacemaker's
// configuration, the name in the id that lb gives resources.
func (v Views) clusterOf(r crm.Resource) string {
	if name := v.Pacemaker.Configuration.Params[r.ID]["cluster"]; name != "" {
		return name
	}
	return strings.TrimPrefix(r.ID, "cluster-")
}

// cluster compares the views of one cluster.
func (v Views) cluster(name string) Cluster {
	f := v.facts(name)
	c := Cluster{
		Name: name, Mark: f.mark, Pacemaker: f.placement, Daemon: f.daemon, Kernel: f.kernel,
		Addresses: []VIP{}, Findings: v.membershipFindings(f),
	}
	c.Findings = append(c.Findings, v.resourceFindings(f.resource)...)
	c.Findings = append(c.Findings, v.cloneFindings(f)...)
	c.Findings = append(c.Findings, v.placementFindings(f)...)
	addresses := v.addresses(f)
	for _, a := range addresses {
		c.Addresses = append(c.Addresses, a.VIP)
		c.Findings = append(c.Findings, v.addressFindings(f, a)...)
	}
	c.Findings = append(c.Findings, v.historyFindings(f, addresses)...)
	return c
}
