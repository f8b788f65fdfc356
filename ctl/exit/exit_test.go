package exit

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"testing"

	"github.com/braintree/lb/balancer/client"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/action"
	"github.com/braintree/lb/ctl/usage"
	"github.com/braintree/lb/netx"
	"github.com/braintree/lb/netx/mark"
	"github.com/braintree/lb/netx/tunnel"
)

func TestStatusAndReport(t *testing.T) {
	one := config.Diagnostic{File: "lb.toml", Line: 3, Key: "a.b", Value: "1", Problem: "is wrong", Fix: "correct it"}
	two := config.Diagnostic{File: "lb.toml", Problem: "is odd", Fix: "look"}
	tests := map[string]struct {
		err    error
		status int
		text   string
	}{
		"nothing":      {nil, 0, ""},
		"any error":    {errors.New("no luck"), 1, "lb: no luck\n"},
		"service down": {action.ErrDown, 1, ""},
		"wrong usage":  {usage.Errorf("no flag %q", "-x"), 2, "lb: no flag \"-x\"\n"},
		"refused":      {fmt.Errorf("force: %w", &client.RefusedError{Text: "no"}), 2, "lb: force: no\n"},
		"no IPVS":      {fmt.Errorf("open: %w", netx.ErrNoIPVS), 69, "lb: open: " + netx.ErrNoIPVS.Error() + "\n"},
		"no nftables":  {fmt.Errorf("open: %w", mark.ErrNoNftables), 69, "lb: open: " + mark.ErrNoNftables.Error() + "\n"},
		"no ipip":      {tunnel.ErrNoIPIP, 69, "lb: " + tunnel.ErrNoIPIP.Error() + "\n"},
		"no ip6tnl":    {tunnel.ErrNoIP6Tnl, 69, "lb: " + tunnel.ErrNoIP6Tnl.Error() + "\n"},
		"no privilege": {fmt.Errorf("open: %w", netx.ErrNoPrivilege), 77, "lb: open: " + netx.ErrNoPrivilege.Error() + "\n"},
		"one error":    {config.Diagnostics{one}, 78, "lb: lb.toml:3: a.b = 1: is wrong: correct it\n"},
		"two errors": {fmt.Errorf("load: %w", config.Diagnostics{one, two}), 78,
			"lb: the configuration has 2 errors:\n  lb.toml:3: a.b = 1: is wrong: correct it\n  lb.toml: is odd: look\n"},
		"an OCF status": {Code(7), 7, ""},
	}
	for name, tt := range tests {
		t.Run(name, func(t *testing.T) {
			if got := Status(tt.err); got != tt.status {
				t.Errorf("status %d, want %d", got, tt.status)
			}
			var out bytes.Buffer
			Report(&out, tt.err)
			if out.String() != tt.text {
				t.Errorf("report %q, want %q", out.String(), tt.text)
			}
			if tt.err != nil && tt.status < 7 || tt.status > 60 {
				if !strings.Contains(Statuses, fmt.Sprintf("\n   %2d  ", tt.status)) {
					t.Errorf("the help does not explain status %d", tt.status)
				}
			}
		})
	}
}

func TestLitmusctlKeepsTheOriginalsStatuses(t *testing.T) {
	for name, tt := range map[string]struct {
		err    error
		status int
	}{
		"nothing":             {nil, 0},
		"any error":           {errors.New("no luck"), 1},
		"service down":        {action.ErrDown, 1},
		"wrong argument":      {usage.Errorf("cannot force %q", "sideways"), 2},
		"wrong option":        {&usage.Error{Text: "no flag", Option: true}, 1},
		"refused":             {fmt.Errorf("force: %w", &client.RefusedError{Text: "no"}), 2},
		"configuration":       {config.Diagnostics{{Problem: "is wrong"}}, 1},
		"kernel without IPVS": {fmt.Errorf("open: %w", netx.ErrNoIPVS), 1},
	} {
		if got := LitmusctlStatus(tt.err); got != tt.status {
			t.Errorf("%s: status %d, want %d", name, got, tt.status)
		}
		if !strings.Contains(LitmusctlStatuses, fmt.Sprintf("\n    %d  ", tt.status)) {
			t.Errorf("%s: the help does not explain status %d", name, tt.status)
		}
	}
}
