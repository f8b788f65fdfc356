package config

import (
	"fmt"
	"slices"
	"time"
)

// The bounds of what the kernel keeps of a service, as netx/ipvs checks them.
const (
	persistenceMost = 31 * 24 * time.Hour // ipvsadm's limit; the kernel's own clock wraps round after 49 days
	connectionsMost = 1<<31 - 1
	ipv4Bits        = 32
	ipv6Bits        = 128
)

// schedulerFlags are those that the kernel's sh and mh know.
var schedulerFlags = []string{"fallback", "port"}

// hardlyMeant says what schedulers do that who balances by health hardly means, and what to write instead.
var hardlyMeant = map[string]struct{ problem, fix string }{
	"rr":    {"ignores every weight but 0: nodes get equal shares whatever their health", "write wrr unless that is what you want"},
	"lc":    {"ignores every weight but 0: nodes get equal shares whatever their health", "write wlc unless that is what you want"},
	"dh":    {"sends all that is for one virtual IP to one node, and drops it while that node is at weight 0", "write mh or wlc unless that is what you want"},
	"lblc":  {"sends all that is for one virtual IP to one node until that one is overloaded: it is made for caches", "write wlc unless that is what you want"},
	"lblcr": {"sends all that is for one virtual IP to few nodes until those are overloaded: it is made for caches", "write wlc unless that is what you want"},
	"fo":    {"sends everything to the one node that has the highest weight: whenever healths change order, all new connections go elsewhere", "write wlc unless that is what you want"},
	"ovf":   {"takes a weight for a number of connections: the node with the highest weight gets all until it has as many", "write wlc unless that is what you want"},
}

// balancing reads how the kernel is to choose among the nodes.
func (l *loader) balancing(d *decoder, scheduler string) Balancing {
	b := Balancing{
		Persistence:          d.duration("persistence", defaultPersistence),
		PersistenceNetmask:   uint8(d.integer("persistence_netmask", defaultPersistenceNetmask, 1, ipv4Bits)),
		PersistenceNetmaskV6: uint8(d.integer("persistence_netmask_v6", defaultPersistenceNetmaskV6, 1, ipv6Bits)),
		OnePacket:            d.boolean("one_packet", defaultOnePacket),
		MaxConnections:       connections(d, "max_connections", defaultMaxConnections),
		MinConnections:       connections(d, "min_connections", defaultMinConnections),
	}
	if odd, ok := hardlyMeant[scheduler]; ok {
		l.warn(d, "scheduler", odd.problem, odd.fix)
	}
	hashes := scheduler == "sh" || scheduler == "mh"
	b.Fallback = hashes // as long as nothing else is said
	if d.has("scheduler_flags") {
		flags := d.strings("scheduler_flags")
		for i, f := range flags {
			if !slices.Contains(schedulerFlags, f) {
				d.mistakeAt(joinIndex(joinKey(d.path, "scheduler_flags"), i), f, "is not a scheduler's flag", `write "fallback" or "port"`)
			}
		}
		b.Fallback, b.HashPort = slices.Contains(flags, "fallback"), slices.Contains(flags, "port")
		switch {
		case len(flags) > 0 && !hashes:
			d.mistake("scheduler_flags", "is for the schedulers sh and mh alone, this one is "+scheduler, "remove it")
		case hashes && !b.Fallback && !d.faulty("scheduler_flags"):
			l.warn(d, "scheduler_flags", "lacks fallback: what hashes to a node at weight 0 is dropped", `add "fallback" unless that is what you want`)
		}
	}
	d.asked["scheduler_flags"] = true
	if b.Persistence%time.Second != 0 || b.Persistence > persistenceMost {
		d.mistake("persistence", "must be whole seconds, at most 744h", `write it as "5m"; "0s" is off`)
	}
	for _, key := range []string{"persistence_netmask", "persistence_netmask_v6"} {
		if d.has(key) && b.Persistence == 0 && !d.faulty(key) && !isWhole(d.values[key]) {
			d.mistake(key, "does nothing without persistence", `add persistence = "5m", or remove it`)
		}
	}
	switch {
	case b.MinConnections > b.MaxConnections && b.MaxConnections == 0:
		d.mistake("min_connections", "does nothing without max_connections", "add max_connections, or remove it")
	case b.MinConnections > b.MaxConnections:
		d.mistake("min_connections", fmt.Sprintf("is above max_connections, %d", b.MaxConnections), "write a lower number")
	}
	return b
}

// isWhole tells whether a netmask is that of a whole address, the default.
func isWhole(bits any) bool { return bits == int64(ipv4Bits) || bits == int64(ipv6Bits) }

// connections reads a number of connections, 0 for no limit.
func connections(d *decoder, key string, def uint32) uint32 {
	return uint32(d.integer(key, int64(def), 0, connectionsMost))
}

// onePacket reports one_packet on what is not UDP.
func onePacket(c Cluster, d *decoder) {
	if c.OnePacket && slices.ContainsFunc(c.VIPs, func(v VIP) bool { return v.Protocol != "udp" }) {
		d.mistake("one_packet", "is for UDP alone, and the cluster has virtual IPs of another protocol",
			"remove it, or give what is not UDP a cluster of its own")
	}
}

// limits reports nodes whose own limit is below what the cluster takes for few.
func limits(c Cluster, nodes []*decoder) {
	for i, n := range c.Nodes {
		if 0 < n.MaxConnections && n.MaxConnections < c.MinConnections && c.MinConnections <= c.MaxConnections {
			nodes[i].mistake("max_connections", fmt.Sprintf("is below the cluster's min_connections, %d", c.MinConnections),
				"write a higher number, or lower min_connections")
		}
	}
}

// sync reads [balancer.sync].
func sync(d *decoder) Sync {
	var s Sync
	t, ok := d.table("sync")
	if !ok {
		return s
	}
	s.Interface = interfaceName(t, "interface", defaultSyncInterface)
	s.ID = uint8(t.integer("id", defaultSyncID, 0, syncIDMost))
	if s.Interface == "" && t.has("id") && s.ID != defaultSyncID {
		required(t, "interface", `name the interface that leads to the other balancers: interface = "eth1"`)
	}
	t.done()
	return s
}
