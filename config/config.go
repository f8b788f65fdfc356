// Package config holds the configuration that all modes of lb share: its types, strict loading from TOML, defaults and validation.
package config

import (
	"net/netip"
	"path/filepath"
	"time"
)

// Config is a complete configuration, with defaults applied and validated.
type Config struct {
	Path     string    // the main file, as passed to Load
	Agent    Agent     // [agent]
	Services []Service // [services.NAME], sorted by name
	Balancer Balancer  // [balancer]
	Clusters []Cluster // [clusters.NAME], sorted by name
	Hooks    []Hook    // [hooks.NAME], sorted by name

	warnings Diagnostics
}

// Agent configures the daemon of an app node.
type Agent struct {
	Listen     string // TCP address for reads, "host:port" or ":port"
	Control    string // path of the Unix socket for changes
	AgentCheck string // TCP address for HAProxy's agent checks that send the service's name; "": none
	DataDir    string // folder for forces and their audit log
	Access
	Tunnel Tunnel // [agent.tunnel]
}

// Access says who may make changes on a daemon. Over its control socket, root and the daemon's own user always may.
type Access struct {
	ControlGroup  string // group whose members may make changes over the control socket; "": none
	TrustLoopback bool   // accept changes over TCP from 127.0.0.0/8 and ::1, as the originals did
	TokenFile     string // file with the bearer token for changes over TCP; "": none
	TLS           TLS    // [agent.tls], [balancer.tls]
}

// TLS makes a daemon serve TLS, in addition to plain HTTP, on its TCP address.
type TLS struct {
	CertFile     string // the daemon's certificate with its chain, in PEM; "": no TLS
	KeyFile      string // its private key
	ClientCAFile string // CAs whose client certificates authorise changes; "": none
}

// TunnelDir is the folder where the tunnel's set-up saves the settings that it replaces.
func (a Agent) TunnelDir() string { return filepath.Join(a.DataDir, "tunnel") }

// Tunnel configures whether the agent sets up its machine as an IPVS real server behind IPIP.
type Tunnel struct {
	Enabled   bool // set up at start and reload, watched and repaired; never undone at exit
	WatchOnly bool // watched, but not set up or repaired; excludes Enabled
}

// Service is a service whose health the agent measures.
type Service struct {
	Name       string
	AgentCheck string  // TCP address for HAProxy's agent checks of this service; "": none
	Depends    []Check // if one fails, the health is 0
	Metrics    []Check // their sum is the health
}

// Role says how the result of a check contributes to the health.
type Role string

// The roles of a check.
const (
	Dependency Role = "dependency"
	Metric     Role = "metric"
)

// Check is one entry of a service's depends or metrics. The keys that are specific to its type are in Options; the type's constructor in
// agent/check decodes them.
type Check struct {
	Role     Role
	Type     string
	Interval time.Duration // from one start to the next
	Timeout  time.Duration // of one run; below Interval
	Weight   int           // metrics only: the most that it adds to the health, 0–100
	Options  Options
}

// Balancer configures the daemon of a load balancer.
type Balancer struct {
	Listen  string // TCP address for reads, "host:port"
	Control string // path of the Unix socket for changes
	DataDir string // folder for drains, their audit log, and the event log
	Access
	OverrideDir  string     // folder with the folders up and down, whose files override the health of a cluster's nodes
	Sync         Sync       // [balancer.sync]
	Timeouts     Timeouts   // [balancer.timeouts]
	SetSysctls   bool       // set the IPVS settings that lb needs; false: only warn
	Location     string     // name of this data centre; "": none
	RelayAddress netip.Addr // where other data centres send packets; invalid: the address that they poll
}

// Sync configures the synchronisation of connections between the kernels of balancers.
type Sync struct {
	Interface string // to the other balancers, for multicast; "": no synchronisation
	ID        uint8  // balancers with the same ID form a group
}

// Timeouts are how long the kernel remembers connections without packets, in whole seconds; 0: as long as it does now.
type Timeouts struct {
	TCP    time.Duration // open
	TCPFin time.Duration // after a FIN
	UDP    time.Duration
}

// Cluster is one balanced service: virtual IPs, their mark, and the nodes behind it.
type Cluster struct {
	Name          string
	Mark          uint32 // fwmark, 1–4294967295, unique to the cluster
	Scheduler     string // an IPVS scheduler, such as wlc
	Forwarding    Forwarding
	CheckInterval time.Duration // between two polls of one node
	CheckTimeout  time.Duration // of one poll; below CheckInterval
	Rise          int           // consecutive usable responses that bring a failed node back, 1 or more
	Fall          int           // consecutive polls without a usable response that make a node fail, 1 or more
	RampUpTime    time.Duration // time from weight 1 to the full weight for a node that is new or back; 0: none
	MaxWeight     int           // upper limit of every node's weight; 0: none
	DrainTimeout  time.Duration // how long a node that left the configuration keeps its connections
	MinHealthy    int           // drains that would leave fewer healthy nodes are refused; 0: none are
	Autostart     bool          // start the cluster with the daemon
	Prefer        []string      // machines that Pacemaker should run it on, best first; empty: Pacemaker decides
	Watch         WatchMode
	VIPs          []VIP
	Nodes         []Node
	Relay         Relay
	Weights
	Balancing

	// Sending packets to other data centres.

	Sites              []Site
	NonEgressLocations []string // data centres that get no packets
	MaxDownTicks       int      // polls of a site for which a balancer that it no longer lists stays, at weight 0
}

// Balancing configures how the kernel chooses a node, in addition to the scheduler.
type Balancing struct {
	Fallback             bool          // sh, mh: connections that hash to a node with weight 0 go to another node
	HashPort             bool          // sh, mh: the hash includes the client's port
	Persistence          time.Duration // a client stays on its node this long, whole seconds; 0: off
	PersistenceNetmask   uint8         // leading bits of an address that identify a client, 1–32
	PersistenceNetmaskV6 uint8         // the same for IPv6, 1–128
	OnePacket            bool          // each packet is balanced on its own; UDP only
	MaxConnections       uint32        // a node above this gets no new connections; 0: no limit
	MinConnections       uint32        // until it is below this; 0: three quarters of MaxConnections
}

// Site is a balancer of another data centre that is polled for its clusters' weights. It is not a node: the balancers that its page lists
// get packets.
type Site struct {
	At netip.AddrPort
}

// Relay configures how a cluster receives packets from balancers of other data centres. They get a mark of their own. Its service has
// only the cluster's own nodes, so that no packet is forwarded to a data centre again.
type Relay struct {
	Enabled    bool
	Mark       uint32   // the cluster's mark plus relay_offset, also in other data centres
	Interfaces []string // where such packets arrive, after decapsulation; empty: tunl0 for IPv4, ip6tnl0 for IPv6
}

// InterfacesFor returns the interfaces where packets for a virtual IP arrive from other data centres.
func (r Relay) InterfacesFor(vip netip.Addr) []string {
	switch {
	case len(r.Interfaces) > 0:
		return r.Interfaces
	case vip.Is4():
		return []string{"tunl0"}
	}
	return []string{"ip6tnl0"}
}

// WatchMode says how a balancer gets readings of its nodes.
type WatchMode string

// The watch modes.
const (
	WatchAuto WatchMode = "auto" // by the stream of a node's agent if it has one, otherwise by polls
	WatchPoll WatchMode = "poll" // by polls
)

// Forwarding is how IPVS forwards a packet to a node.
type Forwarding string

// The forwarding methods.
const (
	IPIP Forwarding = "ipip" // tunnelled; the node replies to the client directly
	DR   Forwarding = "dr"   // on the same link, with another MAC address; the node replies directly
	NAT  Forwarding = "nat"  // addresses are translated; replies pass through the balancer
)

// VIP is a virtual IP, with the ports that belong to a cluster.
type VIP struct {
	Address   netip.Addr
	Interface string // where packets must arrive; "": any
	Protocol  string // tcp, udp or sctp
	Ports     []uint16
}

// Node is a real server and the URL of its health.
type Node struct {
	Address netip.Addr
	Port    uint16 // of the agent
	Path    string // of the health, such as /webapp/status

	Priority       int    // mode active_passive: the lowest comes first
	MaxWeight      int    // upper limit of this node's weight, in addition to the cluster's; 0: none
	MaxConnections uint32 // its own or the cluster's; 0: no limit
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
