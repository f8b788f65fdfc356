package agent

import (
	"time"

	"github.com/braintree/lb/agent/agentcheck"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/listen"
)

// daemon is the agent as it listens, with the sockets that it was given.
func (a *Agent) daemon() listen.Daemon {
	d := listener()
	d.Sockets = a.opts.Sockets
	return d
}

// newAgentChecks makes the server for HAProxy's agent checks, without ports.
func (a *Agent) newAgentChecks() *agentcheck.Server {
	return agentcheck.New(agentcheck.Options{Listen: a.daemon().ListenTCP, Look: a.agentCheckState, Log: a.log})
}

// agentCheckPorts lists the ports that a configuration has for HAProxy's agent checks.
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

// agentCheckState is how a service stands, for HAProxy.
func (a *Agent) agentCheckState(name string) (agentcheck.State, bool) {
	v, ok := a.lookUp(name, time.Now())
	s := agentcheck.State{Health: v.health, Measured: v.measured}
	if v.forced != nil {
		s.Forced = v.forced.Kind
	}
	return s, ok
}
