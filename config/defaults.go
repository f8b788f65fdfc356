package config

import "time"

// The defaults of every key that may be left out, and why each is what it is. lb.toml shows them to the operator, and
// a test compares the two.
const (
	// The port of litmus_paper, on every address: the load balancers must reach it.
	defaultAgentListen = ":9293"
	// /run is there before any daemon and empty after a boot, and systemd's RuntimeDirectory=lb makes the folder.
	defaultAgentControl = "/run/lb/agent.sock"
	// A node that was forced down must still be down after a reboot, so not below /run.
	defaultDataDir = "/var/lib/lb/agent"
	// HAProxy can use the agent instead of IPVS, or in front of the services; most fleets need only one of them.
	defaultAgentCheck = ""
	// The originals let any local process force a service; who needs that has to say so.
	defaultTrustLoopback = false
	// Who is not root has to be named: a group is easily larger than one thinks.
	defaultControlGroup = ""
	// No token and no TLS: what proves who asks over TCP are secrets that only the operator can make.
	defaultFile = ""
	// A daemon that measures should not change the network of its machine unasked.
	defaultTunnelEnabled = false

	// The port of big_brother, for this machine alone: reads there are for operators and the cluster manager.
	defaultBalancerListen = "127.0.0.1:9292"
	// Beside the configuration, where an operator looks; a file there outlives a reboot, as a decision should, and lb only reads it.
	defaultOverrideDir = "/etc/lb"
	// The machine's settings are its administrator's; what is not safe is said at every start.
	defaultSetSysctls = false
	// Most services stand in one data centre, which needs no name.
	defaultLocation = ""
	// Who can ask a balancer for its weights can mostly send packets to the same address, also when that is one that moves with the service.
	defaultRelayAddress = ""
	// A node that is being repaired must not get traffic because its balancer was rebooted, so not below /run.
	defaultBalancerDataDir = "/var/lib/lb/balancer"
	// Beside the agent's, for both may run on one machine.
	defaultBalancerControl = "/run/lb/balancer.sock"
	// Longer than a page or a mail takes, and short beside what an operator waits for.
	defaultHookTimeout = 10 * time.Second
	// A passive check for each cluster.
	defaultHookService = "{cluster}"

	// With the balancer's 2 s a failure is seen within 5 s, and a check every 3 s costs a service next to nothing.
	defaultInterval = 3 * time.Second
	// Longer than any healthy answer takes, and over before the next run is due.
	defaultTimeout = 2 * time.Second

	// Follows long and short connections alike, and it is the talk's choice.
	defaultScheduler = "wlc"
	// Works across routers, and answers go to the client directly.
	defaultForwarding = IPIP
	// What the talk uses; big_brother's own default is a second.
	defaultCheckInterval = 2 * time.Second
	// One good answer is proof enough: ramp_up_time guards against too much trust.
	defaultRise = 1
	// A single lost packet must not empty a node; two in a row are no accident.
	defaultFall = 2
	// Time to fill caches and pools before the full share comes; it is big_brother's, too.
	defaultRampUpTime = time.Minute
	// No cap: the weight is the health.
	defaultMaxWeight = 0
	// What a load balancer is for.
	defaultMode = ActiveActive
	// Whoever has no server of last resort gets the truth: a refusal at once. The other policies send clients to nodes that do not answer.
	defaultAllDown = RefuseAll
	// big_brother's; it is in no network, so who wants the page puts the address on the balancer's or another machine's lo.
	defaultDownpage = "169.254.254.254"
	// No IPv6 address is as free of meaning as that.
	defaultDownpage6 = ""
	// A page of lb's own has words that are not the operator's: who wants it says so.
	defaultPage = false
	// Long enough not to add to the load of nodes that come back, short enough for people to wait.
	defaultRetryAfter = 30 * time.Second
	// Off: a rack that really dies takes many nodes with it, and to hold them then costs requests. Only the operator knows whether the
	// balancer's own network is likelier to fail than that.
	defaultSuspectShare = 0
	// Longer than a switch or spanning tree takes to come back, and a cluster manager to move the service.
	defaultSuspectTime = time.Minute
	// Off: a weight that follows its node at once is never wrong for long.
	defaultDeadBand = 0
	defaultSlew     = 0
	// All the same: the address decides.
	defaultPriority = 0
	// Most requests are over long before that, and a node that leaves the file should leave the kernel some day.
	defaultDrainTimeout = 5 * time.Minute
	// The last node that works is hardly ever meant; who means it says so.
	defaultMinHealthy = 1
	// The cluster manager starts clusters: two balancers that both start one would fight for its address.
	defaultAutostart = false
	// Who takes in packets from other data centres should know it.
	defaultRelay = false
	// DefaultRelayOffset is big_brother's, so that both may stand side by side, and far from the marks that people give. A relay is also looked for where
	// the rest of the file cannot be read.
	DefaultRelayOffset = 10000
	// The balancer's.
	defaultSitePort = 9292
	// What a site does not list any more is gone, and leaves like a node that left the configuration; as in big_brother.
	defaultMaxDownTicks = 0

	// Changes come at once, and cost next to nothing between them; what has no stream is polled anyway.
	defaultWatch = WatchAuto

	// A client's connections are independent of each other, and each one that sticks works against the weights.
	defaultPersistence = 0 * time.Second
	// Clients are whole addresses. Shorter ones are for clients behind many addresses of one proxy.
	defaultPersistenceNetmask   = ipv4Bits
	defaultPersistenceNetmaskV6 = ipv6Bits
	// An answer has to find its way back to the client's port: only who asks and is answered in one packet each can do without.
	defaultOnePacket = false
	// What a node can take its weight tells; a limit in numbers is for who knows one.
	defaultMaxConnections = 0
	// The kernel's own choice, three quarters of the limit.
	defaultMinConnections = 0
	// The interface between balancers is for their operator to name: the messages are neither encrypted nor signed.
	defaultSyncInterface = ""
	// One group of balancers on a network needs no number.
	defaultSyncID = 0

	// Any interface.
	defaultInterface = ""
	// What nearly every service speaks.
	defaultProtocol = "tcp"

	// Where the agent listens by default.
	defaultNodePort = 9293
)

// defaultTimeoutFor is the timeout of a check whose interval is given and whose timeout is not: half of an interval
// that the usual timeout would not fit in.
func defaultTimeoutFor(interval time.Duration) time.Duration {
	if interval <= defaultTimeout {
		return interval / 2
	}
	return defaultTimeout
}

// defaultCheckTimeoutFor is the check_timeout of a cluster: half of its check_interval, so that a node that hangs is
// known as such well before it is asked again.
func defaultCheckTimeoutFor(interval time.Duration) time.Duration { return interval / 2 }

// defaultNodePath is where an agent tells the health of the service that has the cluster's own name.
func defaultNodePath(cluster string) string { return "/" + cluster + "/status" }
