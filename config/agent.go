package config

// agent reads [agent].
func (l *loader) agent(d *decoder) Agent {
	a := Agent{
		Listen:     readListener(d, "listen", defaultAgentListen),
		AgentCheck: readListener(d, "agent_check", defaultAgentCheck),
		Control:    control(d, defaultAgentControl),
		DataDir:    absolute(d, "data_dir", defaultDataDir),
		Access:     access(d),
		Tunnel:     Tunnel{Enabled: defaultTunnelEnabled},
	}
	if t, ok := d.table("tunnel"); ok {
		a.Tunnel.Enabled = t.boolean("enabled", defaultTunnelEnabled)
		a.Tunnel.WatchOnly = t.boolean("watch_only", defaultTunnelWatchOnly)
		if a.Tunnel.Enabled && a.Tunnel.WatchOnly {
			t.invalid("watch_only", "excludes enabled = true", "use enabled if lb should set up and repair the tunnel, "+
				"watch_only if someone else does")
		}
		t.done()
	}
	l.addListener(d, "listen", a.Listen)
	l.addListener(d, "agent_check", a.AgentCheck)
	d.done()
	return a
}
