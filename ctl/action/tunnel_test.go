package action

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"path/filepath"
	"testing"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/tunnel"
)

func TestTunnelIsNotUndoneWhileAnAgentWouldRepairIt(t *testing.T) {
	dir := t.TempDir()
	cfg := &config.Config{Agent: config.Agent{Control: filepath.Join(dir, "s"), DataDir: dir, Tunnel: config.Tunnel{Enabled: true}}}
	l, err := net.Listen("unix", cfg.Agent.Control)
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	var out bytes.Buffer
	if err := TunnelDown(t.Context(), &out, cfg); !errors.Is(err, errAgentRepairs) || out.Len() > 0 {
		t.Errorf("printed %q, %v", &out, err)
	}
}

func TestTunnelPrintsItsSteps(t *testing.T) {
	step := tunnel.Step{Action: tunnel.AddVIP, VIP: netip.MustParseAddr("204.109.13.7")}
	tests := map[string]struct {
		steps []tunnel.Step
		err   error
		out   string
	}{
		"all done":       {[]tunnel.Step{step}, nil, step.String() + "\n"},
		"nothing to do":  {nil, nil, "already set up\n"},
		"half done":      {[]tunnel.Step{step}, errors.New("no ipip"), step.String() + "\n"},
		"failed at once": {nil, errors.New("no privilege"), ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := printSteps(&out, "already set up", func() ([]tunnel.Step, error) { return tt.steps, tt.err })
			if !errors.Is(err, tt.err) {
				t.Errorf("error %v, want %v", err, tt.err)
			}
			if out.String() != tt.out {
				t.Errorf("printed %q, want %q", out.String(), tt.out)
			}
		})
	}
}
