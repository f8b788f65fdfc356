package ctl

import (
	"bytes"
	"context"
	"errors"
	"net/netip"
	"testing"

	"github.com/braintree/lb/netx/tunnel"
)

// setup notes what it was asked for and answers with steps.
type setup struct {
	steps []tunnel.Step
	err   error
	up    []netip.Addr
	down  bool
}

func (s *setup) Up(_ context.Context, want tunnel.Desired) ([]tunnel.Step, error) {
	s.up = want.VIPs
	return s.steps, s.err
}

func (s *setup) Down(context.Context) ([]tunnel.Step, error) {
	s.down = true
	return s.steps, s.err
}

func TestTunnelPrintsItsSteps(t *testing.T) {
	vip := netip.MustParseAddr("204.109.13.7")
	step := tunnel.Step{Action: tunnel.AddVIP, VIP: vip}
	tests := map[string]struct {
		setup setup
		undo  bool
		out   string
		err   string
	}{
		"up":           {setup: setup{steps: []tunnel.Step{step}}, out: step.String() + "\n"},
		"up again":     {out: "all is set up already\n"},
		"up, half":     {setup: setup{steps: []tunnel.Step{step}, err: errors.New("no ipip")}, out: step.String() + "\n", err: "no ipip"},
		"undo":         {setup: setup{steps: []tunnel.Step{step}}, undo: true, out: step.String() + "\n"},
		"undo again":   {undo: true, out: "nothing is set up\n"},
		"undo, failed": {setup: setup{err: errors.New("no privilege")}, undo: true, err: "no privilege"},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			var out bytes.Buffer
			err := Tunnel(t.Context(), &out, &tt.setup, tunnel.Desired{VIPs: []netip.Addr{vip}}, tt.undo)
			wantError(t, err, tt.err)
			if out.String() != tt.out {
				t.Errorf("printed %q, want %q", out.String(), tt.out)
			}
			if tt.setup.down != tt.undo || (len(tt.setup.up) == 1) == tt.undo {
				t.Errorf("undo %v asked for %+v", tt.undo, tt.setup)
			}
		})
	}
}
