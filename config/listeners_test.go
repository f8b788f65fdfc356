package config

import "testing"

func TestAgentCheckPorts(t *testing.T) {
	cfg := load(t, write(t, `
		[agent]
		listen = "10.0.0.1:9293"
		agent_check = ":9300"
		[services.a]
		agent_check = "127.0.0.1:9293"
		metrics = [ { type = "constant", weight = 100 } ]
		[services.b]
		agent_check = "[::1]:9301"
		metrics = [ { type = "constant", weight = 100 } ]
		[services.c]
		agent_check = ""
		metrics = [ { type = "constant", weight = 100 } ]
	`))
	got := []string{cfg.Agent.AgentCheck, cfg.Services[0].AgentCheck, cfg.Services[1].AgentCheck, cfg.Services[2].AgentCheck}
	for i, want := range []string{":9300", "127.0.0.1:9293", "[::1]:9301", ""} {
		if got[i] != want {
			t.Errorf("port %d is %q, want %q", i, got[i], want)
		}
	}
}
