package action

import (
	"bytes"
	"errors"
	"net/netip"
	"testing"

	"github.com/braintree/lb/netx/tunnel"
)

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
