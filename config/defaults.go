package config

import "time"

// The defaults of all optional keys, and the reason for each. lb.toml shows them to the operator; a test compares the two.
const (
	// litmus_paper's port, on every address: the load balancers must reach it.
	defaultAgentListen = ":9293"
	// /run exists before any daemon and is empty after a boot; systemd's RuntimeDirectory=lb creates the folder.
	defaultAgentControl = "/run/lb/agent.sock"
	// Not below /run: a node that was forced down must stay down after a reboot.
	defaultDataDir = "/var/lib/lb/agent"
	// Off: only fleets with HAProxy need it.
	defaultAgentCheck = ""
	// Off: it lets every local process force a service, as in the originals.
	defaultTrustLoopback = false
	// Root only: a group may have more members than expected.
	defaultControlGroup = ""
	// No token and no TLS: only the operator can create the secrets.
	defaultFile = ""
	// Off: an agent that measures should not change its machine's network unless told to.
	defaultTunnelEnabled = false
	// Off: only the operator knows whether someone else set up the tunnel.
	defaultTunnelWatchOnly = false

	// big_brother's port, on loopback only: it serves operators and monitoring on this machine.
	defaultBalancerListen = "127.0.0.1:9292"
	// Next to the configuration, where operators look. A file there survives a reboot, as an operator's decision should.
	defaultOverrideDir = "/etc/lb"
	// Off: sysctls belong to the machine's administrator. lb warns about unsafe ones at every start.
	defaultSetSysctls = false
	// Most services run in one data centre, which needs no name.
	defaultLocation = ""
	// The address where another data centre polls a balancer usually accepts packets as well, even if it moves with the service.
	defaultRelayAddress = ""
	// Not below /run: a drained node must stay drained when its balancer reboots.
	defaultBalancerDataDir = "/var/lib/lb/balancer"
	// Next to the agent's: both may run on one machine.
	defaultBalancerControl = "/run/lb/balancer.sock"
	// Longer than sending a page or mail takes, and shorter than an operator waits.
	defaultHookTimeout = 10 * time.Second
	// One passive check for each cluster.
	defaultHookService = "{cluster}"

	// Together with the balancer's 2 s, a failure shows within 5 s; a check every 3 s costs a service next to nothing.
	defaultInterval = 3 * time.Second
	// Longer than any healthy response, and over before the next run.
	defaultTimeout = 2 * time.Second

	// Suits long and short connections alike; the talk uses it.
	defaultScheduler = "wlc"
	// Works across routers, and nodes reply to clients directly.
	defaultForwarding = IPIP
	// As in the talk; big_brother's own default is 1 s.
	defaultCheckInterval = 2 * time.Second
	// One usable response is enough: ramp_up_time limits the traffic at first.
	defaultRise = 1
	// A single lost packet must not remove a node.
	defaultFall = 2
	// Time to fill caches and pools before the full share arrives; as in big_brother.
	defaultRampUpTime = time.Minute
	// No limit: the weight is the health.
	defaultMaxWeight = 0
	// All nodes share the traffic.
	defaultMode = ActiveActive
	// Clients get a refusal at once. The other policies need a downpage, or send clients to nodes that do not respond.
	defaultAllDown = RefuseAll
	// Connections may outlive a failure that is short, or of the check alone.
	defaultOnFailure = DrainFailed
	// UDP has no end by which a client would leave a node, and no error that it would get from one that is dead.
	defaultOnFailureUDP = RemoveFailed
	// As in big_brother. The address is in no network: a server needs it on its loopback interface.
	defaultDownpage = "169.254.254.254"
	// None: no IPv6 address is known to be unused.
	defaultDownpage6 = ""
	// Off: the operator decides whether clients see a page that lb serves.
	defaultPage = false
	// Long enough not to overload nodes that come back, short enough for people to wait.
	defaultRetryAfter = 30 * time.Second
	// Off: if a rack fails, holding the weights of its nodes loses requests. Only the operator knows whether the balancer's own network
	// is more likely to fail.
	defaultSuspectShare = 0
	// Longer than a switch or spanning tree needs to recover, and a cluster manager to move the service.
	defaultSuspectTime = time.Minute
	// Off: a weight that follows health at once is never wrong for long.
	defaultDeadBand = 0
	defaultSlew     = 0
	// Equal: the address decides.
	defaultPriority = 0
	// Most requests are over long before that, and a node that left the file should leave the kernel in the end.
	defaultDrainTimeout = 5 * time.Minute
	// Draining the last healthy node is usually a mistake; --force allows it.
	defaultMinHealthy = 1
	// Off: the cluster manager starts clusters. Two balancers that both start one would compete for its address.
	defaultAutostart = false
	// Off: accepting packets from other data centres is the operator's decision.
	defaultRelay = false
	// DefaultRelayOffset is big_brother's, so that both can run together, and far from marks that operators choose. It is exported for
	// package salvage.
	DefaultRelayOffset = 10000
	// The balancer's default port.
	defaultSitePort = 9292
	// A balancer that its site no longer lists leaves at once, like a node that left the configuration; as in big_brother.
	defaultMaxDownTicks = 0

	// A stream reports changes at once and costs next to nothing in between; nodes without a stream are polled.
	defaultWatch = WatchAuto

	// Off: a client that stays on its node works against the weights.
	defaultPersistence = 0 * time.Second
	// A client is a whole address. A shorter netmask is for clients behind a proxy with many addresses.
	defaultPersistenceNetmask   = ipv4Bits
	defaultPersistenceNetmaskV6 = ipv6Bits
	// Off: only protocols with one request packet and one response packet can do without connections.
	defaultOnePacket = false
	// Off: the weight already reflects capacity.
	defaultMaxConnections = 0
	// The kernel's default: three quarters of max_connections.
	defaultMinConnections = 0
	// Off: the operator has to choose the network, because the messages are neither encrypted nor authenticated.
	defaultSyncInterface = ""
	// One group of balancers on a network needs no ID of its own.
	defaultSyncID = 0

	// Left as the kernel has it: its timeouts concern the services of other programs, too.
	defaultIPVSTimeout = 0 * time.Second

	// Any interface.
	defaultInterface = ""
	// Nearly every service uses TCP.
	defaultProtocol = "tcp"

	// The agent's default port.
	defaultNodePort = 9293
)

// defaultTimeoutFor returns the default timeout of a check: half of the interval if defaultTimeout does not fit into it.
func defaultTimeoutFor(interval time.Duration) time.Duration {
	if interval <= defaultTimeout {
		return interval / 2
	}
	return defaultTimeout
}

// defaultCheckTimeoutFor returns the default check_timeout of a cluster: half of the check_interval, so that a hung node is known well
// before the next poll.
func defaultCheckTimeoutFor(interval time.Duration) time.Duration { return interval / 2 }

// defaultNodePath returns the path where an agent serves the health of the service that is named like the cluster.
func defaultNodePath(cluster string) string { return "/" + cluster + "/status" }
