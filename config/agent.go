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
		t.done()
	}
	l.addListener(d, "listen", a.Listen)
	l.addListener(d, "agent_check", a.AgentCheck)
	d.done()
	return a
}
