package cluster

import (
	"cmp"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Reload pairs the clusters of a new configuration with those of a model: by name, and a renamed one by its mark.
type Reload struct {
	cfg     *config.Config
	next    []*Cluster // in the order of cfg
	gone    []*Cluster
	joined  []*Cluster
	running []*Cluster           // before the reload
	marks   map[ipvs.Mark]string // marks that running clusters lose in the reload, with the names of their clusters
}

// Match pairs a new configuration with the model. It changes nothing.
func (m *Model) Match(cfg *config.Config) *Reload {
	r := &Reload{cfg: cfg, next: make([]*Cluster, len(cfg.Clusters))}
	taken := map[*Cluster]bool{}
	for i, k := range cfg.Clusters {
		if c, err := m.Find(k.Name); err == nil {
			r.next[i], taken[c] = c, true
		}
	}
	for i, k := range cfg.Clusters {
		if r.next[i] != nil {
			continue
		}
		at := slices.IndexFunc(m.clusters, func(c *Cluster) bool { return !taken[c] && c.cfg.Mark == k.Mark })
		if at >= 0 {
			r.next[i], taken[m.clusters[at]] = m.clusters[at], true
			continue
		}
		r.next[i] = &Cluster{}
		r.joined = append(r.joined, r.next[i])
	}
	for _, c := range m.clusters {
		if !taken[c] {
			r.gone = append(r.gone, c)
		}
		if c.running {
			r.running = append(r.running, c)
		}
	}
	return r
}

// Gone returns the clusters that the new configuration does not have.
func (r *Reload) Gone() []*Cluster { return r.gone }

// Guard refuses a configuration that would remove more than half of the running clusters.
func (r *Reload) Guard() error {
	var names []string
	for _, c := range r.gone {
		if c.running {
			names = append(names, c.cfg.Name)
		}
	}
	if 2*len(names) <= len(r.running) {
		return nil
	}
	return fmt.Errorf(
		"refusing to remove %d of %d running clusters (%s): use `lb ctl reload --force` if this is intended, "+
			"or stop each of them first with `lb ctl cluster stop NAME`",
		len(names),
		len(r.running),
		strings.Join(names, ", "),
	)
}

// Renames returns the new names of renamed clusters, by their old ones.
func (r *Reload) Renames() map[string]string {
	names := map[string]string{}
	for i, c := range r.next {
		if was := c.cfg.Name; was != "" && was != r.cfg.Clusters[i].Name {
			names[was] = r.cfg.Clusters[i].Name
		}
	}
	return names
}

// Reconfigure gives the model the new configuration. Services go on: marks that running clusters lose are known to r until Retire.
func (m *Model) Reconfigure(now time.Time, r *Reload) {
	r.marks = map[ipvs.Mark]string{}
	for _, c := range r.running {
		for _, mark := range c.Marks() {
			r.marks[mark] = c.cfg.Name
		}
	}
	m.location, m.relayAddress, m.sync = r.cfg.Balancer.Location, r.cfg.Balancer.RelayAddress, r.cfg.Balancer.Sync
	m.timeouts = r.cfg.Balancer.Timeouts
	m.features = ipvs.Features(r.cfg.KernelFeatures())
	for i, c := range r.next {
		was := c.cfg
		c.cfg = r.cfg.Clusters[i]
		m.emit(reconfigure(now, c, was.Name)...)
	}
	for _, c := range r.gone {
		if c.running {
			stopped := c.report(now, event.ClusterStopped, event.Info, "cluster stops")
			stopped.Cause = "not in the new configuration"
			m.emit(stopped)
		}
	}
	m.clusters = slices.SortedFunc(slices.Values(r.next), func(a, b *Cluster) int { return cmp.Compare(a.cfg.Name, b.cfg.Name) })
	for _, c := range r.next {
		if c.running {
			for _, mark := range c.Marks() {
				delete(r.marks, mark)
			}
		}
	}
}

// reconfigure brings a cluster in line with its new configuration, and returns what there is to report. was is its name before; "" for a
// new one.
func reconfigure(now time.Time, c *Cluster, was string) []event.Report {
	joining := decide.State{}
	if c.running {
		joining = decide.Join(now)
	}
	old := c.nodes
	c.setNodes(joining)
	c.sites = newSites(c.cfg.Sites, c.sites)
	var reports []event.Report
	for _, n := range keepRemotes(c, old) {
		left := c.report(now, event.MemberLeft, event.Info, "another data centre's balancer no longer receives packets")
		reports = append(reports, aboutRemote(left, n, "in the new configuration, no site can list it, or it is a node"))
	}
	if was != "" && was != c.cfg.Name {
		renamed := c.report(now, event.ClusterRenamed, event.Info,
			"cluster renamed: it keeps the mark, nodes and weights of the old cluster")
		renamed.Old, renamed.New = was, c.cfg.Name
		reports = append(reports, renamed)
	}
	return reports
}

// Join starts what the new clusters of a reload need: one that the table has already is adopted if adopt is true; one with
// autostart begins to start.
func (l Lifecycle) Join(now time.Time, r *Reload, table []ipvs.Service, adopt bool) {
	for _, c := range r.joined {
		if _, ours := r.marks[c.Mark()]; !ours && adopt && hasMark(table, c.Mark()) {
			l.adopt(now, c, table)
		}
		l.autostart(now, c)
	}
}

// Retire retires the marks that a reload has taken from running clusters. Their services go once no marking rule leads to them.
func (l Lifecycle) Retire(r *Reload) {
	for mark, cluster := range r.marks {
		l.retired[mark] = retirement{cause: "a reload released this mark of cluster " + cluster, afterMarks: true}
	}
}
