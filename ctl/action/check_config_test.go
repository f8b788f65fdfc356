package action

import (
	"bytes"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/braintree/lb/config"
)

// TestCheckConfigLooksForInterfacesOnABalancer uses an interface that no machine has.
func TestCheckConfigLooksForInterfacesOnABalancer(t *testing.T) {
	control := filepath.Join(t.TempDir(), "balancer.sock")
	vip := netip.MustParseAddr("192.0.2.1")
	cfg := &config.Config{
		Path:     "lb.toml",
		Balancer: config.Balancer{Control: control, Sync: config.Sync{Interface: "lb-none1"}},
		Clusters: []config.Cluster{{
			Name:  "web",
			VIPs:  []config.VIP{{Address: vip, Interface: "lb-none0"}, {Address: vip.Next()}},
			Relay: config.Relay{Enabled: true, Interfaces: []string{"lb-none2"}},
		}},
	}
	check := func() error {
		var out, errs bytes.Buffer
		return CheckConfig(t.Context(), Streams{Out: &out, Err: &errs}, func(string) (*config.Config, error) { return cfg, nil }, "lb.toml")
	}
	if err := check(); err != nil {
		t.Errorf("on a machine without lb balance: %v", err)
	}
	if err := os.WriteFile(control, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	err := check()
	if err == nil {
		t.Fatal("valid, although three interfaces are missing")
	}
	for _, want := range []string{
		`lb.toml: balancer.sync.interface = "lb-none1": this machine has no interface lb-none1: `,
		`lb.toml: clusters.web.vips[0].interface = "lb-none0": this machine has no interface lb-none0: `,
		`lb.toml: clusters.web.relay_interfaces = "lb-none2": this machine has no interface lb-none2: `,
	} {
		if !strings.Contains(err.Error(), want) {
			t.Errorf("no %q in\n%v", want, err)
		}
	}
}
