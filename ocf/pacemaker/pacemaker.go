// Package pacemaker generates Pacemaker's configuration from lb's: groups of resources, as input for crm, as a script of pcs commands, or
// as XML.
package pacemaker

import (
	"fmt"
	"net/netip"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/config"
)

// The resource agents, by Pacemaker's names.
const (
	clusterAgent = "ocf:braintree:bigbrother"
	addressAgent = "ocf:heartbeat:IPaddr2"
)

// The meta attributes of groups and resources.
const (
	// stickiness exceeds the highest preference score, because a move breaks connections: a balancer that comes back is no reason to move.
	stickiness = 1000
	// preferStep separates the scores of two machines in a list of preferences. The highest score is 32 times that.
	preferStep = 10
	// addressFailures: Pacemaker restores an address that was removed by hand on the same machine, but only this often.
	addressFailures = 3
	// clusterFailures: a restart of lb balance fits into the monitor's grace period. If lb balance stays away, the addresses move.
	clusterFailures = 1
	// failureTimeout is when Pacemaker forgets failures. With two balancers, each has to be eligible again before the other one fails.
	failureTimeout = 2 * time.Minute
)

// The timeouts are those that the meta-data of bigbrother and IPaddr2 recommend. A monitor's interval is how long a failure can go
// unnoticed.
var (
	// clusterOperations are the operations of a cluster.
	clusterOperations = []Operation{
		{Name: "start", Timeout: 30 * time.Second},
		{Name: "stop", Timeout: 30 * time.Second},
		{Name: "monitor", Interval: 5 * time.Second, Timeout: 20 * time.Second},
	}
	// addressOperations are the operations of a virtual IP.
	addressOperations = []Operation{
		{Name: "start", Timeout: 20 * time.Second},
		{Name: "stop", Timeout: 20 * time.Second},
		{Name: "monitor", Interval: 10 * time.Second, Timeout: 20 * time.Second},
	}
)

// Group is a set of virtual IPs, which run on one balancer, and their clusters, which run on every balancer. So the cluster already runs
// where its addresses move to, and a takeover takes no longer than moving an address.
type Group struct {
	ID        string
	Meta      []Setting
	Clusters  []Clone
	Addresses []Resource
	Prefer    []Preference
}

// Clone is a cluster's resource, which runs on every balancer. The group runs only where the clone does. When both start or stop, the
// cluster starts first and stops last, so an address is reachable only while its service is in the kernel. In the opposite order, the
// machine's own TCP stack would reset connections in between; if a packet reaches no machine, the client retransmits it instead.
type Clone struct {
	ID           string
	ColocationID string // of the constraint that the group runs where the clone does
	OrderID      string // of the constraint that the clone starts first
	Resource
}

// Resource is what a resource agent starts and stops.
type Resource struct {
	ID         string
	Agent      string // class:provider:type
	Params     []Setting
	Meta       []Setting
	Operations []Operation
}

// Setting is a name and a value, which contains no quotes, backslashes or control characters.
type Setting struct{ Name, Value string }

// Operation says how often Pacemaker runs an operation, and how long it may take. Interval 0: only when needed.
type Operation struct {
	Name     string
	Interval time.Duration
	Timeout  time.Duration
}

// Preference is a location constraint: the group runs on the eligible machine with the highest score.
type Preference struct {
	ID    string
	Node  string // Pacemaker's name of the machine
	Score int
}

// Paths are the paths that the resource agent needs. "" is lb's default.
type Paths struct {
	Config  string // the configuration
	Control string // lb balance's control socket
}

// Groups makes the groups of the named clusters, or of all if names is empty. Clusters that share an address have to run together, so they
// share a group, and naming one includes the others. Ids depend on names and addresses only: the same configuration gives the same ids.
func Groups(clusters []config.Cluster, names []string, paths Paths) ([]Group, error) {
	var groups []Group
	for _, set := range groupByAddress(clusters) {
		wanted := slices.ContainsFunc(set, func(c config.Cluster) bool { return slices.Contains(names, c.Name) })
		if len(names) > 0 && !wanted {
			continue
		}
		g, err := newGroup(set, paths)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// groupByAddress puts clusters that share addresses, directly or through other clusters, into one set. Sets, and the clusters in each,
// are sorted by name.
func groupByAddress(clusters []config.Cluster) [][]config.Cluster {
	byName := func(a, b config.Cluster) int { return strings.Compare(a.Name, b.Name) }
	var sets [][]config.Cluster
	for _, c := range clusters {
		joined := []config.Cluster{c}
		sets = slices.DeleteFunc(sets, func(set []config.Cluster) bool {
			shared := slices.ContainsFunc(set, func(other config.Cluster) bool { return shareAddress(c, other) })
			if shared {
				joined = append(joined, set...)
			}
			return shared
		})
		slices.SortFunc(joined, byName)
		sets = append(sets, joined)
	}
	slices.SortFunc(sets, func(a, b []config.Cluster) int { return byName(a[0], b[0]) })
	return sets
}

func shareAddress(a, b config.Cluster) bool {
	return slices.ContainsFunc(a.VIPs, func(v config.VIP) bool {
		return slices.ContainsFunc(b.VIPs, func(w config.VIP) bool { return v.Address == w.Address })
	})
}

// newGroup returns the group of clusters that share addresses.
func newGroup(set []config.Cluster, paths Paths) (Group, error) {
	name := set[0].Name
	g := Group{ID: "group-" + name, Meta: []Setting{
		{"resource-stickiness", fmt.Sprint(stickiness)},
		{"migration-threshold", fmt.Sprint(addressFailures)},
		{"failure-timeout", seconds(failureTimeout)},
	}}
	for _, c := range set {
		g.Clusters = append(g.Clusters, Clone{
			ID: "clone-" + c.Name, ColocationID: "with-" + c.Name, OrderID: "after-" + c.Name, Resource: clusterResource(c.Name, paths),
		})
	}
	var err error
	if g.Addresses, err = addressResources(set); err != nil {
		return g, err
	}
	prefer, err := preferences(set)
	if err != nil {
		return g, err
	}
	for i, node := range prefer {
		g.Prefer = append(g.Prefer, Preference{ID: fmt.Sprintf("prefer-%s-%d", name, i+1), Node: node,
			Score: preferStep * (len(prefer) - i)})
	}
	return g, g.checkValues()
}

func clusterResource(name string, paths Paths) Resource {
	r := Resource{
		ID: clusterID(name), Agent: clusterAgent,
		Params:     []Setting{{"cluster", name}},
		Meta:       []Setting{{"migration-threshold", fmt.Sprint(clusterFailures)}, {"failure-timeout", seconds(failureTimeout)}},
		Operations: clusterOperations,
	}
	if paths.Config != "" {
		r.Params = append(r.Params, Setting{"config", paths.Config})
	}
	if paths.Control != "" {
		r.Params = append(r.Params, Setting{"control", paths.Control})
	}
	return r
}

// addressResources makes one resource for each address, in the order of the configuration. Several VIPs may have the same address.
func addressResources(set []config.Cluster) ([]Resource, error) {
	interfaces := map[netip.Addr]string{}
	var order []netip.Addr
	for _, c := range set {
		for _, v := range c.VIPs {
			known, again := interfaces[v.Address]
			if again && known != "" && v.Interface != "" && known != v.Interface {
				return nil, fmt.Errorf("the virtual IP %s of %s has two interfaces, %s and %s, but IPaddr2 can put it on one only: "+
					"use the same interface for both",
					v.Address, c.Name, known, v.Interface)
			}
			if !again {
				order = append(order, v.Address)
			}
			if !again || known == "" {
				interfaces[v.Address] = v.Interface
			}
		}
	}
	var all []Resource
	for _, a := range order {
		r := Resource{
			// XML ids must not contain colons, and addresses contain no dashes.
			ID: "vip-" + strings.ReplaceAll(a.String(), ":", "-"), Agent: addressAgent,
			// A host prefix: a shorter one would add a route to the whole network by that interface.
			Params:     []Setting{{"ip", a.String()}, {"cidr_netmask", fmt.Sprint(a.BitLen())}},
			Operations: addressOperations,
		}
		if nic := interfaces[a]; nic != "" {
			r.Params = append(r.Params, Setting{"nic", nic})
		}
		all = append(all, r)
	}
	return all, nil
}

// preferences returns the machines that the clusters of a group prefer. Clusters of one group cannot prefer different machines.
func preferences(set []config.Cluster) ([]string, error) {
	var by config.Cluster
	for _, c := range set {
		if len(c.Prefer) == 0 {
			continue
		}
		if by.Name != "" && !slices.Equal(by.Prefer, c.Prefer) {
			return nil, fmt.Errorf("the clusters %s and %s share a virtual IP, so they run on the same machine, "+
				"but prefer different ones: give both the same prefer",
				by.Name, c.Name)
		}
		by = c
	}
	return by.Prefer, nil
}

// resources lists the resources of the group.
func (g Group) resources() []Resource {
	var all []Resource
	for _, c := range g.Clusters {
		all = append(all, c.Resource)
	}
	return append(all, g.Addresses...)
}

// plainValue matches values that crm, a shell and XML all read unchanged.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9 _./:@%+,=~-]+$`)

// checkValues rejects values, such as unusual paths, that one of the output forms would change.
func (g Group) checkValues() error {
	for _, r := range g.resources() {
		for _, s := range r.Params {
			if !plainValue.MatchString(s.Value) {
				return fmt.Errorf("%s of %s is %q, which not all of Pacemaker's tools accept: "+
					"use only letters, digits, spaces and _ . / : @ %% + , = ~ -",
					s.Name, r.ID, s.Value)
			}
		}
	}
	return nil
}

// seconds formats a duration for Pacemaker.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

// Has reports whether a cluster is in one of the groups.
func Has(groups []Group, cluster string) bool {
	return slices.ContainsFunc(groups, func(g Group) bool {
		return slices.ContainsFunc(g.Clusters, func(c Clone) bool { return c.Resource.ID == clusterID(cluster) })
	})
}

func clusterID(name string) string { return "cluster-" + name }
