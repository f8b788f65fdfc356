// Package pacemaker writes a cluster manager's configuration from lb's: which groups of resources there are to be, for crm, for pcs
// and as XML. It decides and prints; the tools are for the operator to run.
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

// The agents, as Pacemaker names them.
const (
	clusterAgent = "ocf:braintree:bigbrother"
	addressAgent = "ocf:heartbeat:IPaddr2"
)

// What a group is told, and why.
const (
	// A move costs connections, so a balancer that comes back is no reason for one: above the sum of all that preferences can add.
	stickiness = 1000
	// Between two names of a list of preferences. The highest score is 32 times that.
	preferStep = 10
	// An address that somebody took away by hand is put back where it was, but not for ever.
	addressFailures = 3
	// lb balance is back within the monitor's patience when it only restarts. When it is not, the addresses go where another one runs.
	clusterFailures = 1
	// What is over is forgotten after this: with two balancers, each has to be allowed again before the other one fails.
	failureTimeout = 2 * time.Minute
)

// The agent's own meta-data and that of IPaddr2 advise these; the monitors' intervals are how long a failure goes unnoticed.
var (
	// clusterOperations are those of a cluster of lb.
	clusterOperations = []Operation{
		{Name: "start", Timeout: 30 * time.Second},
		{Name: "stop", Timeout: 30 * time.Second},
		{Name: "monitor", Interval: 5 * time.Second, Timeout: 20 * time.Second},
	}
	// addressOperations are those of a virtual IP.
	addressOperations = []Operation{
		{Name: "start", Timeout: 20 * time.Second},
		{Name: "stop", Timeout: 20 * time.Second},
		{Name: "monitor", Interval: 10 * time.Second, Timeout: 20 * time.Second},
	}
)

// Group is what belongs together: virtual IPs, which run on one balancer, and their clusters of lb, which run on every one. So a cluster need
// not be started where its addresses are to go, and a move takes as long as that of a bare address.
type Group struct {
	ID        string
	Meta      []Setting
	Clusters  []Clone
	Addresses []Resource
	Prefer    []Preference
}

// Clone is a resource that runs on every balancer. The group is only where it runs (With is that rule's id). Where both start or stop, the
// cluster is started first and stopped last (After is that rule's id), so an address answers only while its service is in the kernel. The other way round,
// the machine's own TCP would refuse, with a reset, every connection that comes in between; a packet to an address that is on no machine is sent
// again by the client instead.
type Clone struct {
	ID    string
	With  string
	After string
	Resource
}

// Resource is one that an agent starts and stops.
type Resource struct {
	ID         string
	Agent      string // class:provider:type
	Params     []Setting
	Meta       []Setting
	Operations []Operation
}

// Setting is a name and its value, which has no quotes, backslashes or control characters.
type Setting struct{ Name, Value string }

// Operation says how often Pacemaker runs an action, and how long it may take. Interval 0 is: only where it is needed.
type Operation struct {
	Name     string
	Interval time.Duration
	Timeout  time.Duration
}

// Preference has a group run rather on one machine than on others: the one with the highest score of those that can.
type Preference struct {
	ID    string
	Node  string // by Pacemaker's name for it
	Score int
}

// Place says where the balancers have what the agent needs; what is empty is at lb's default.
type Place struct {
	Config  string // path of the configuration
	Control string // of lb balance's control socket
}

// Groups makes the groups of the clusters with these names, or of all for none. Clusters that share an address can run in one place only and
// are one group, so that one of them brings the others along. The ids come from names and addresses alone, so the same configuration always
// gives the same.
func Groups(clusters []config.Cluster, names []string, at Place) ([]Group, error) {
	var groups []Group
	for _, set := range together(clusters) {
		wanted := slices.ContainsFunc(set, func(c config.Cluster) bool { return slices.Contains(names, c.Name) })
		if len(names) > 0 && !wanted {
			continue
		}
		g, err := group(set, at)
		if err != nil {
			return nil, err
		}
		groups = append(groups, g)
	}
	return groups, nil
}

// together puts clusters that share addresses, with each other or by way of a third one, into one set. Sets, and the clusters in each, are
// sorted by name.
func together(clusters []config.Cluster) [][]config.Cluster {
	byName := func(a, b config.Cluster) int { return strings.Compare(a.Name, b.Name) }
	var sets [][]config.Cluster
	for _, c := range clusters {
		joined := []config.Cluster{c}
		sets = slices.DeleteFunc(sets, func(set []config.Cluster) bool {
			meet := slices.ContainsFunc(set, func(other config.Cluster) bool { return shareAddress(c, other) })
			if meet {
				joined = append(joined, set...)
			}
			return meet
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

// group makes the group of clusters that run together.
func group(set []config.Cluster, at Place) (Group, error) {
	name := set[0].Name
	g := Group{ID: "group-" + name, Meta: []Setting{
		{"resource-stickiness", fmt.Sprint(stickiness)},
		{"migration-threshold", fmt.Sprint(addressFailures)},
		{"failure-timeout", seconds(failureTimeout)},
	}}
	for _, c := range set {
		g.Clusters = append(g.Clusters, Clone{
			ID: "clone-" + c.Name, With: "with-" + c.Name, After: "after-" + c.Name, Resource: clusterResource(c.Name, at),
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
		g.Prefer = append(g.Prefer, Preference{ID: fmt.Sprintf("prefer-%s-%d", name, i+1), Node: node, Score: preferStep * (len(prefer) - i)})
	}
	return g, g.carried()
}

func clusterResource(name string, at Place) Resource {
	r := Resource{
		ID: clusterID(name), Agent: clusterAgent,
		Params:     []Setting{{"cluster", name}},
		Meta:       []Setting{{"migration-threshold", fmt.Sprint(clusterFailures)}, {"failure-timeout", seconds(failureTimeout)}},
		Operations: clusterOperations,
	}
	if at.Config != "" {
		r.Params = append(r.Params, Setting{"config", at.Config})
	}
	if at.Control != "" {
		r.Params = append(r.Params, Setting{"control", at.Control})
	}
	return r
}

// addressResources makes a resource for each address, in the order of the configuration. Several entries may be about one address.
func addressResources(set []config.Cluster) ([]Resource, error) {
	interfaces := map[netip.Addr]string{}
	var order []netip.Addr
	for _, c := range set {
		for _, v := range c.VIPs {
			known, again := interfaces[v.Address]
			if again && known != "" && v.Interface != "" && known != v.Interface {
				return nil, fmt.Errorf("the virtual IP %s of %s comes in by %s and by %s, and IPaddr2 puts it on one of them: write one interface for it",
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
			// An id of XML has no colons, and an address no dashes.
			ID: "vip-" + strings.ReplaceAll(a.String(), ":", "-"), Agent: addressAgent,
			// As wide as the address alone, or the balancer would take its network to be on that link.
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

// preferences returns where the clusters of a group should run. One group has one list.
func preferences(set []config.Cluster) ([]string, error) {
	var by config.Cluster
	for _, c := range set {
		if len(c.Prefer) == 0 {
			continue
		}
		if by.Name != "" && !slices.Equal(by.Prefer, c.Prefer) {
			return nil, fmt.Errorf("the clusters %s and %s share a virtual IP, so they run in the same place, and prefer different ones: give both the same prefer",
				by.Name, c.Name)
		}
		by = c
	}
	return by.Prefer, nil
}

// resources are all that an agent starts and stops.
func (g Group) resources() []Resource {
	var all []Resource
	for _, c := range g.Clusters {
		all = append(all, c.Resource)
	}
	return append(all, g.Addresses...)
}

// plainValue is what a value may have so that crm, the shell and XML all read it as it is meant.
var plainValue = regexp.MustCompile(`^[A-Za-z0-9 _./:@%+,=~-]+$`)

// carried refuses values, such as odd paths, that one of the forms could not carry.
func (g Group) carried() error {
	for _, r := range g.resources() {
		for _, s := range r.Params {
			if !plainValue.MatchString(s.Value) {
				return fmt.Errorf("%s of %s would be %q, and Pacemaker's tools do not all take such characters: use letters, digits and _ . / : @ %% + , = ~ - only",
					s.Name, r.ID, s.Value)
			}
		}
	}
	return nil
}

// seconds writes a duration as Pacemaker reads it.
func seconds(d time.Duration) string { return fmt.Sprintf("%ds", int(d.Seconds())) }

// Has tells whether a cluster is in one of the groups.
func Has(groups []Group, cluster string) bool {
	return slices.ContainsFunc(groups, func(g Group) bool {
		return slices.ContainsFunc(g.Clusters, func(c Clone) bool { return c.Resource.ID == clusterID(cluster) })
	})
}

func clusterID(name string) string { return "cluster-" + name }
