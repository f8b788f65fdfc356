package config

import (
	"testing"

	"github.com/google/go-cmp/cmp"
)

func TestAccessOfBothDaemons(t *testing.T) {
	cfg := load(t, write(t, `
		[agent]
		control_group = "ops"
		token_file = "/etc/lb/token"
		[agent.tls]
		cert_file = "/etc/lb/cert.pem"
		key_file = "/etc/lb/key.pem"
		client_ca_file = "/etc/lb/ca.pem"
		[balancer]
		trust_loopback = true
		control_group = "100"
		tls = { cert_file = "/c", key_file = "/k", client_ca_file = "" }
	`))
	agent := Access{
		ControlGroup: "ops", TokenFile: "/etc/lb/token",
		TLS: TLS{CertFile: "/etc/lb/cert.pem", KeyFile: "/etc/lb/key.pem", ClientCAFile: "/etc/lb/ca.pem"},
	}
	balancer := Access{TrustLoopback: true, ControlGroup: "100", TLS: TLS{CertFile: "/c", KeyFile: "/k"}}
	if diff := cmp.Diff([]Access{agent, balancer}, []Access{cfg.Agent.Access, cfg.Balancer.Access}); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
