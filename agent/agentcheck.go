package agent

import (
	"time"

	"github.com/braintree/lb/agent/agentcheck"
	"github.com/braintree/lb/config"
)

// newAgentChecks returns the server for HAProxy's agent checks, without ports.
func (a *Agent) newAgentChecks() *agentcheck.Server {
	return agentcheck.New(agentcheck.Options{Listen: a.daemon().ListenTCP, Find: a.agentCheckState, Log: a.log})
}

// agentCheckPorts lists the configured ports for HAProxy's agent checks.
func agentCheckPorts(cfg *config.Config) []agentcheck.Port {
	var ports []agentcheck.Port
	if cfg.Agent.AgentCheck != "" {
		ports = append(ports, agentcheck.Port{Key: "agent.agent_check", Address: cfg.Agent.AgentCheck})
	}
	for _, s := range cfg.Services {
		if s.AgentCheck != "" {
			ports = append(ports, agentcheck.Port{Key: "services." + s.Name + ".agent_check", Address: s.AgentCheck, Service: s.Name})
		}
	}
	return ports
}

// agentCheckState is the state of a service as HAProxy gets it.
func (a *Agent) agentCheckState(name string) (agentcheck.State, bool) {
	v, ok := a.services.Find(name, time.Now())
	s := agentcheck.State{Health: v.Health, Measured: v.Measured}
	if v.Forced != nil {
		s.Forced = v.Forced.Kind
	}
	return s, ok
}
