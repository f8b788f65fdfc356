package doctor

import (
	"net/netip"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/machine"
)

func TestDoctorExaminesTheBalancersNetwork(t *testing.T) {
	cfg := &config.Config{Clusters: []config.Cluster{
		{Name: "api", Forwarding: config.NAT, Nodes: []config.Node{{Address: netip.MustParseAddr("10.0.0.1")}},
			VIPs: []config.VIP{{Address: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"}}},
		{Name: "web", Forwarding: config.IPIP, VIPs: []config.VIP{{Address: netip.MustParseAddr("192.0.2.1"), Interface: "eth0"}}},
	}}
	s := &machine.State{Links: []machine.Link{{Index: 2, Name: "eth0", Up: true}}}
	if got := lines(examineNetwork(cfg, s)); got != "good: the interfaces of virtual IPs are there and up\n" {
		t.Errorf("ip_forward is among the settings, so here all is good: %s", got)
	}
	s.Links[0].Name, s.Renamed = "wan0", map[string]string{"eth0": "wan0"}
	const want = "bad:  vips.interface: interface eth0 is now named wan0: packets for 192.0.2.1 get no mark, and clients no answer " +
		"(api, web): " +
		"clients may not be served\n  → correct vips.interface, or rename the interface back\n"
	if diff := cmp.Diff(want, lines(merge(examineNetwork(cfg, s)))); diff != "" {
		t.Errorf("(-want +got):\n%s", diff)
	}
}
