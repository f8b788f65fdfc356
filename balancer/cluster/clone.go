package cluster

import (
	"maps"
	"slices"
)

// Clone returns a model that knows the same and shares nothing that either of them changes. TestCloneCopiesEverything fails for a
// field that this forgets.
func (m *Model) Clone() *Model {
	k := *m
	k.clusters = make([]*Cluster, len(m.clusters))
	for i, c := range m.clusters {
		k.clusters[i] = c.clone()
	}
	k.retired = maps.Clone(m.retired)
	k.pending = slices.Clone(m.pending)
	return &k
}

func (c *Cluster) clone() *Cluster {
	k := *c
	k.members = nil // scratch space
	k.held = slices.Clone(c.held)
	k.page = slices.Clone(c.page)
	k.leaving = leavingNodes{maps.Clone(c.leaving.since), maps.Clone(c.leaving.departed)}
	k.start = clonePointer(c.start)
	k.sites = make([]*Site, len(c.sites))
	sites := map[*Site]*Site{}
	for i, s := range c.sites {
		k.sites[i] = clonePointer(s)
		k.sites[i].members = slices.Clone(s.members)
		sites[s] = k.sites[i]
	}
	k.nodes = make(nodeList, len(c.nodes))
	for i, n := range c.nodes {
		k.nodes[i] = clonePointer(n)
		k.nodes[i].drain = clonePointer(n.drain)
		if n.remote != nil {
			k.nodes[i].remote = clonePointer(n.remote)
			k.nodes[i].remote.site = sites[n.remote.site]
		}
	}
	return &k
}

func clonePointer[T any](p *T) *T {
	if p == nil {
		return nil
	}
	k := *p
	return &k
}
