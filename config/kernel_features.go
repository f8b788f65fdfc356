package config

import "slices"

// KernelFeatures says which features of IPVS a configuration uses.
type KernelFeatures struct {
	Persistence bool // a cluster has persistence
	Masq        bool // a cluster has forwarding = "nat", or lb serves a downpage itself
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
		Sync:    c.Balancer.Sync.Interface != "",
		Removal: anyCluster(func(c Cluster) bool { return c.OnFailure == RemoveFailed }),
	}
}
