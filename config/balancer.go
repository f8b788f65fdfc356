package config

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
