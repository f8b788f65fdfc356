// Package config holds the one TOML schema that every mode of lb shares: its types, strict loading, defaults and validation.
package config

import (
	"net/netip"
	"path/filepath"
	"time"
)

// Config is a whole configuration, loaded, defaulted and validated.
type Config struct {
	Path     string    // the main file, as given to Load
	Agent    Agent     // [agent]
	Services []Service // [services.NAME], sorted by name
	Balancer Balancer  // [balancer]
	Clusters []Cluster // [clusters.NAME], sorted by name
	Hooks    []Hook    // [hooks.NAME], sorted by name

	warnings Mistakes
}

// Agent configures the daemon of an app node.
type Agent struct {
	Listen     string // TCP address for reads, "host:port" or ":port"
	Control    string // path of the Unix socket for changes
	AgentCheck string // TCP address for HAProxy's agent checks that name the service; "" is none
	DataDir    string // folder for forced states
	Access
	Tunnel Tunnel // [agent.tunnel]
}

// Access says who may change something on a daemon. Over its control socket, root and the daemon's own user always may.
type Access struct {
	ControlGroup  string // of whose members the control socket takes changes, too; "" is none
	TrustLoopback bool   // take changes over TCP from 127.0.0.0/8 and ::1, as the originals did
	TokenFile     string // holds the token that lets who has it make changes over TCP; "" is none
	TLS           TLS    // [agent.tls], [balancer.tls]
}

// TLS makes a daemon answer TLS, beside plain HTTP, on its TCP address.
type TLS struct {
	CertFile     string // the daemon's certificate, with those between it and its CA; "" is no TLS
	KeyFile      string // its private key
	ClientCAFile string // certificates of the CAs whose clients may make changes; "" is none
}

// TunnelDir is the folder where the tunnel set-up keeps what it found, apart from the forces.
func (a Agent) TunnelDir() string { return filepath.Join(a.DataDir, "tunnel") }

// Tunnel configures what the agent sets up so that its machine can be an IPVS real server behind IPIP.
type Tunnel struct {
	Enabled bool // set up at start and at reload; never undone at exit
}

// Service is one thing whose health the agent measures.
type Service struct {
	Name       string
	AgentCheck string  // TCP address for HAProxy's agent checks of this service alone; "" is none
	Depends    []Check // all must be well, else health is 0
	Metrics    []Check // their values are summed up to the health
}

// Role tells what a check's result is used for.
type Role string

// The roles of a check.
const (
	Dependency Role = "dependency"
	Metric     Role = "metric"
)

// Check is one entry of a service's depends or metrics list. The keys that belong to its type alone stay in
// Options, for the type's own constructor in agent/check to decode strictly.
type Check struct {
	Role     Role
	Type     string
	Interval time.Duration // from one start to the next
	Timeout  time.Duration // for one run; below Interval
	Weight   int           // metrics only: the most that it adds to the health, 0–100
	Options  Section
}

// Balancer configures the daemon of a load balancer.
type Balancer struct {
	Listen  string // TCP address for reads, "host:port"
	Control string // path of the Unix socket for changes
	DataDir string // folder for drains, the record of who drained what, and that of events
	Access
	OverrideDir  string     // folder of the folders up and down, whose files overrule what the nodes of a cluster answer
	Sync         Sync       // [balancer.sync]
	SetSysctls   bool       // set the kernel's load-balancing settings that lb's promises rest on; otherwise it only warns
	Location     string     // the data centre that it stands in; "" has no name
	RelayAddress netip.Addr // that other data centres send packets to; invalid is the one that they ask
}

// Sync says where the kernel is to tell other balancers of its connections, and hear of theirs.
type Sync struct {
	Interface string // that leads to the other balancers, by multicast; "" is no synchronisation
	ID        uint8  // those with the same one tell each other
}

// Cluster is one balanced service: virtual IPs, their mark, and the nodes behind it.
type Cluster struct {
	Name          string
	Mark          uint32 // fwmark, 1–4294967295, used by one cluster only
	Scheduler     string // an IPVS scheduler, such as wlc
	Forwarding    Forwarding
	CheckInterval time.Duration // between two polls of one node
	CheckTimeout  time.Duration // for one poll; below CheckInterval
	Rise          int           // good polls in a row before a failed node counts again, 1 or more
	Fall          int           // polls without a usable answer in a row before a node counts as failed, 1 or more
	RampUpTime    time.Duration // from 1 to its full weight for a node that is new or back; 0 is at once
	MaxWeight     int           // cap on every node's weight; 0 is none
	DrainTimeout  time.Duration // how long a node that left the config keeps its connections
	MinHealthy    int           // a drain that would leave fewer healthy nodes is refused; 0 refuses none
	Autostart     bool          // run it when the daemon starts
	Prefer        []string      // balancers that a cluster manager should run it on, best first; none: it decides
	Watch         Watching      // how its nodes are watched
	VIPs          []VIP
	Nodes         []Node
	Relay         Relay
	Weights
	Balancing

	// The rest is about sending packets to other data centres.

	Sites              []Site
	NonEgressLocations []string // data centres that get none
	MaxDownTicks       int      // looks at a site for which a balancer that it does not list any more stays at weight 0, before it leaves
}

// Balancing is how the kernel chooses among the nodes, beside the scheduler.
type Balancing struct {
	Fallback             bool          // sh, mh: what hashes to a node at weight 0 goes to another one
	HashPort             bool          // sh, mh: clients are told apart by their port, too
	Persistence          time.Duration // a client sticks to its node that long, whole seconds; 0 is off
	PersistenceNetmask   uint8         // leading bits by which clients are told apart for that, 1–32
	PersistenceNetmaskV6 uint8         // the same for IPv6, 1–128
	OnePacket            bool          // each packet is balanced by itself; UDP only
	MaxConnections       uint32        // a node that has more gets no new ones; 0 is no limit
	MinConnections       uint32        // until it has fewer than this; 0 is three quarters of the limit
}

// Site is where a balancer of another data centre tells its clusters' weights. It is no node: what gets packets is what its page lists.
type Site struct {
	At netip.AddrPort
}

// Relay says how a cluster takes packets that balancers of other data centres send it: they get a mark of their own, whose service has
// the cluster's own nodes only, so that none is ever sent on to a data centre again.
type Relay struct {
	Enabled    bool
	Mark       uint32   // the cluster's mark plus an offset; also that of its page on other data centres' balancers
	Interfaces []string // that such packets come in by, when their tunnel is taken off; none is tunl0 for IPv4, ip6tnl0 for IPv6
}

// InterfacesFor are those that packets for a virtual IP come in by when another data centre's balancer sends them.
func (r Relay) InterfacesFor(vip netip.Addr) []string {
	switch {
	case len(r.Interfaces) > 0:
		return r.Interfaces
	case vip.Is4():
		return []string{"tunl0"}
	}
	return []string{"ip6tnl0"}
}

// Watching is how a balancer learns how its nodes are.
type Watching string

// The ways of watching.
const (
	WatchAuto Watching = "auto" // by the stream of a node's agent where it has one, else by polls
	WatchPoll Watching = "poll" // by polls
)

// Forwarding is how IPVS gets a packet to a node.
type Forwarding string

// The forwarding methods.
const (
	IPIP Forwarding = "ipip" // tunnelled; the node answers the client directly
	DR   Forwarding = "dr"   // same link layer, MAC address rewritten; the node answers directly
	NAT  Forwarding = "nat"  // addresses rewritten both ways; answers come back through the balancer
)

// VIP is a virtual IP with the ports on it that belong to a cluster.
type VIP struct {
	Address   netip.Addr
	Interface string // packets must come in here; "" is any
	Protocol  string // tcp, udp or sctp
	Ports     []uint16
}

// Node is a real server and where its health is asked.
type Node struct {
	Address netip.Addr
	Port    uint16 // of the agent
	Path    string // of the health page, such as /webapp/status

	Priority       int    // in an active/passive cluster: the lowest comes first
	MaxWeight      int    // cap on this node's weight, beside the cluster's; 0 is none
	MaxConnections uint32 // its own, or the cluster's; 0 is no limit
}

// Service returns the service of that name.
func (c *Config) Service(name string) (Service, bool) {
	for _, s := range c.Services {
		if s.Name == name {
			return s, true
		}
	}
	return Service{}, false
}

// Cluster returns the cluster of that name.
func (c *Config) Cluster(name string) (Cluster, bool) {
	for _, cl := range c.Clusters {
		if cl.Name == name {
			return cl, true
		}
	}
	return Cluster{}, false
}
