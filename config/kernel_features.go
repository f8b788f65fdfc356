package config

import "slices"

// KernelFeatures says which features of IPVS a configuration uses.
type KernelFeatures struct {
	Persistence bool // a cluster has persistence
	Masq        bool // a cluster has forwarding = "nat", or lb serves a downpage itself
	NAT4        bool // a cluster with forwarding = "nat" has nodes with IPv4 addresses
	NAT6        bool // the same with IPv6
	Sync        bool // connections are synchronized between balancers
	Removal     bool // a cluster has on_failure = "remove"
}

// KernelFeatures returns the features that c uses.
func (c *Config) KernelFeatures() KernelFeatures {
	anyCluster := func(is func(Cluster) bool) bool { return slices.ContainsFunc(c.Clusters, is) }
	return KernelFeatures{
		Persistence: anyCluster(func(c Cluster) bool { return c.Persistence > 0 }),
		Masq: anyCluster(func(c Cluster) bool {
			return c.Forwarding == NAT || c.AllDown == ToPage && c.Downpage.Page
		}),
		NAT4:    anyCluster(func(c Cluster) bool { return hasNATNodes(c, false) }),
		NAT6:    anyCluster(func(c Cluster) bool { return hasNATNodes(c, true) }),
		Sync:    c.Balancer.Sync.Interface != "",
		Removal: anyCluster(func(c Cluster) bool { return c.OnFailure == RemoveFailed }),
	}
}

// hasNATNodes reports whether replies of nodes of one IP version pass through the balancer.
func hasNATNodes(c Cluster, v6 bool) bool {
	return c.Forwarding == NAT && slices.ContainsFunc(c.Nodes, func(n Node) bool { return n.Address.Is6() == v6 })
}
