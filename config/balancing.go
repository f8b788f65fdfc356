package config

import (
	"fmt"
	"slices"
	"time"
)

// The kernel's bounds for a service, as netx/ipvs checks them.
const (
	maxPersistence     = 31 * 24 * time.Hour // ipvsadm's limit; the kernel's clock wraps around after 49 days
	maxConnectionLimit = 1<<31 - 1
	ipv4Bits           = 32
	ipv6Bits           = 128
)

// schedulerFlags are the flags of the kernel's sh and mh.
var schedulerFlags = []string{"fallback", "port"}

// discouragedSchedulers are schedulers that do not balance by health: what they do, and what to use instead.
var discouragedSchedulers = map[string]struct{ problem, instead string }{
	"rr":    {"ignores weights other than 0: every node gets an equal share, whatever its health", "wrr"},
	"lc":    {"ignores weights other than 0: every node gets an equal share, whatever its health", "wlc"},
	"dh":    {"sends all connections to one virtual IP to the same node, and drops them while its weight is 0", "mh or wlc"},
	"lblc":  {"sends all connections to one virtual IP to the same node until it is overloaded: it is meant for caches", "wlc"},
	"lblcr": {"sends all connections to one virtual IP to a few nodes until they are overloaded: it is meant for caches", "wlc"},
	"fo": {"sends all new connections to the node with the highest weight, so they move whenever another node becomes the healthiest",
		"wlc"},
	"ovf": {"treats the weight as a number of connections: the node with the highest weight gets all until it has that many", "wlc"},
}

// readBalancing reads how the kernel chooses a node.
func readBalancing(d *decoder, scheduler string) Balancing {
	b := Balancing{
		Persistence:          d.duration("persistence", defaultPersistence),
		PersistenceNetmask:   uint8(d.integer("persistence_netmask", defaultPersistenceNetmask, 1, ipv4Bits)),
		PersistenceNetmaskV6: uint8(d.integer("persistence_netmask_v6", defaultPersistenceNetmaskV6, 1, ipv6Bits)),
		OnePacket:            d.boolean("one_packet", defaultOnePacket),
		MaxConnections:       connections(d, "max_connections", defaultMaxConnections),
		MinConnections:       connections(d, "min_connections", defaultMinConnections),
	}
	if s, ok := discouragedSchedulers[scheduler]; ok {
		d.warn("scheduler", s.problem, "use "+s.instead+" unless that is intended")
	}
	hashes := scheduler == "sh" || scheduler == "mh"
	b.Fallback = hashes // the default of scheduler_flags
	if d.has("scheduler_flags") {
		flags := d.strings("scheduler_flags")
		for i, f := range flags {
			if !slices.Contains(schedulerFlags, f) {
				d.invalidAt(joinIndex(joinKey(d.path, "scheduler_flags"), i), f, "is not a scheduler flag", `use "fallback" or "port"`)
			}
		}
		b.Fallback, b.HashPort = slices.Contains(flags, "fallback"), slices.Contains(flags, "port")
		switch {
		case len(flags) > 0 && !hashes:
			d.invalid("scheduler_flags", "applies to the schedulers sh and mh only, not to "+scheduler, "remove it")
		case hashes && !b.Fallback && !d.failed("scheduler_flags"):
			d.warn("scheduler_flags", "lacks fallback: connections that hash to a node with weight 0 are dropped",
				`add "fallback" unless that is intended`)
		}
	}
	d.consumed["scheduler_flags"] = true
	if b.Persistence%time.Second != 0 || b.Persistence > maxPersistence {
		d.invalid("persistence", "must be whole seconds, at most 744h", `use "5m", or "0s" for off`)
	}
	for _, key := range []string{"persistence_netmask", "persistence_netmask_v6"} {
		if d.has(key) && b.Persistence == 0 && !d.failed(key) && !isFullNetmask(d.values[key]) {
			d.invalid(key, "has no effect without persistence", `add persistence = "5m", or remove it`)
		}
	}
	switch {
	case b.MinConnections > b.MaxConnections && b.MaxConnections == 0:
		d.invalid("min_connections", "has no effect without max_connections", "add max_connections, or remove it")
	case b.MinConnections > b.MaxConnections:
		d.invalid("min_connections", fmt.Sprintf("is above max_connections, %d", b.MaxConnections), "use a lower number")
	}
	return b
}

// isFullNetmask reports whether a netmask covers a whole address, as the default does.
func isFullNetmask(bits any) bool { return bits == int64(ipv4Bits) || bits == int64(ipv6Bits) }

// connections reads a limit of connections; 0: none.
func connections(d *decoder, key string, def uint32) uint32 {
	return uint32(d.integer(key, int64(def), 0, maxConnectionLimit))
}

// checkOnePacket reports one_packet in a cluster that is not UDP only.
func checkOnePacket(c Cluster, d *decoder) {
	if c.OnePacket && slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Protocol != "udp" }) {
		d.invalid("one_packet", "is for UDP only, but the cluster has virtual IPs of another protocol",
			"remove it, or move those virtual IPs to another cluster")
	}
}

// checkNodeLimits reports nodes with a max_connections below the cluster's min_connections.
func checkNodeLimits(c Cluster, nodes []*decoder) {
	for i, n := range c.Nodes {
		if 0 < n.MaxConnections && n.MaxConnections < c.MinConnections && c.MinConnections <= c.MaxConnections {
			nodes[i].invalid("max_connections", fmt.Sprintf("is below the cluster's min_connections, %d", c.MinConnections),
				"use a higher number, or lower min_connections")
		}
	}
}
