package config

import "time"

// readBalancer reads [balancer].
func readBalancer(d *decoder) Balancer {
	b := Balancer{
		Listen:      readListener(d, "listen", defaultBalancerListen),
		Control:     control(d, defaultBalancerControl),
		Access:      access(d),
		DataDir:     absolute(d, "data_dir", defaultBalancerDataDir),
		OverrideDir: absolute(d, "override_dir", defaultOverrideDir),
		SetSysctls:  d.boolean("set_sysctls", defaultSetSysctls),
		Sync:        readSync(d),
		Timeouts:    readTimeouts(d),
		Location:    readLocation(d, "location"), RelayAddress: relayAddress(d),
	}
	d.done()
	return b
}

// readSync reads [balancer.sync].
func readSync(d *decoder) Sync {
	var s Sync
	t, ok := d.table("sync")
	if !ok {
		return s
	}
	s.Interface = interfaceName(t, "interface", defaultSyncInterface)
	s.ID = uint8(t.integer("id", defaultSyncID, 0, maxSyncID))
	if s.Interface == "" && t.has("id") && s.ID != defaultSyncID {
		required(t, "interface", `name the interface to the other balancers: interface = "eth1"`)
	}
	t.done()
	return s
}

// maxSyncID is the highest sync ID: it is one byte in the kernel's messages.
const maxSyncID = 255

const (
	// maxIPVSTimeout is the limit of a kernel with 1000 ticks per second, rounded down: it counts them in 31 bits.
	maxIPVSTimeout = 24 * 24 * time.Hour
	// shortTCPTimeout is below the usual pauses of open connections.
	shortTCPTimeout = time.Minute
)

// readTimeouts reads [balancer.timeouts].
func readTimeouts(d *decoder) Timeouts {
	var o Timeouts
	t, ok := d.table("timeouts")
	if !ok {
		return o
	}
	for _, key := range []struct {
		name  string
		value *time.Duration
	}{{"tcp", &o.TCP}, {"tcp_fin", &o.TCPFin}, {"udp", &o.UDP}} {
		*key.value = t.duration(key.name, defaultIPVSTimeout)
		if *key.value%time.Second != 0 || *key.value > maxIPVSTimeout {
			t.invalid(key.name, "must be whole seconds, at most 576h", `use a duration such as "15m", or "0s" for the kernel's own`)
		}
	}
	if 0 < o.TCP && o.TCP < shortTCPTimeout && !t.failed("tcp") {
		t.warn("tcp", "breaks open connections that pause for longer", `use "15m", the kernel's default, unless that is intended`)
	}
	t.done()
	return o
}
