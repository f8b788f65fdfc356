package tunnel

import (
	"net/netip"
	"slices"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"

	"github.com/braintree/lb/config"
)

func TestDesiredFor(t *testing.T) {
	type list = []string
	cluster := func(f config.Forwarding, vips, nodes list) config.Cluster {
		c := config.Cluster{Forwarding: f}
		for _, v := range addrs(vips...) {
			c.VIPs = append(c.VIPs, config.VIP{Address: v})
		}
		for _, n := range addrs(nodes...) {
			c.Nodes = append(c.Nodes, config.Node{Address: n})
		}
		return c
	}
	local := addrs("127.0.0.1", "::ffff:10.0.0.1", "10.8.0.1", "fd00::1", "fe80::1%eth0")
	tests := []struct {
		name     string
		clusters []config.Cluster
		want     Desired
	}{
		{"no cluster", nil, Desired{}},
		{"a node of the cluster", []config.Cluster{cluster(config.IPIP, list{"204.109.13.1"}, list{"10.0.0.2", "10.0.0.1"})},
			Desired{addrs("204.109.13.1"), addrs("10.0.0.1")}},
		{"not a node of the cluster", []config.Cluster{cluster(config.IPIP, list{"204.109.13.1"}, list{"10.0.0.2"})}, Desired{}},
		{"a node without tunnel forwarding", []config.Cluster{
			cluster(config.DR, list{"204.109.13.1"}, list{"10.0.0.1"}), cluster(config.NAT, list{"204.109.13.2"}, list{"10.0.0.1"}),
		}, Desired{}},
		{"sorted and without duplicates, over all clusters", []config.Cluster{
			cluster(config.IPIP, list{"204.109.13.8", "204.109.13.7"}, list{"10.8.0.1", "10.0.0.9"}),
			cluster(config.DR, list{"204.109.13.1"}, list{"10.0.0.1"}),
			cluster(config.IPIP, list{"204.109.13.7"}, list{"10.8.0.1", "10.0.0.1"}),
			cluster(config.IPIP, list{"204.109.13.2"}, list{"10.0.0.2"}),
		}, Desired{addrs("204.109.13.7", "204.109.13.8"), addrs("10.0.0.1", "10.8.0.1")}},
		{"IPv6 virtual IPs and nodes", []config.Cluster{
			cluster(config.IPIP, list{"fd09::100", "204.109.13.1"}, list{"fd00::1", "10.0.0.1"}),
		}, Desired{addrs("204.109.13.1", "fd09::100"), addrs("10.0.0.1", "fd00::1")}},
		{"a node address without the local zone", []config.Cluster{cluster(config.IPIP, list{"fd09::100"}, list{"fe80::1"})},
			Desired{addrs("fd09::100"), addrs("fe80::1")}},
		{"a loopback node address", []config.Cluster{cluster(config.IPIP, list{"204.109.13.1"}, list{"127.0.0.1"})},
			Desired{VIPs: addrs("204.109.13.1")}},
		{"virtual IPs of an IP version of which it is no node", []config.Cluster{
			cluster(config.IPIP, list{"fd09::100", "204.109.13.1"}, list{"10.0.0.1", "fd00::9"}),
		}, Desired{addrs("204.109.13.1"), addrs("10.0.0.1")}},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if d := cmp.Diff(tt.want, DesiredFor(tt.clusters, local), cmpopts.EquateComparable(netip.Addr{})); d != "" {
				t.Error(d)
			}
		})
	}
}

// Plan can set up what DesiredFor returns.
func TestPlanAcceptsDesiredFor(t *testing.T) {
	clusters := []config.Cluster{{
		Forwarding: config.IPIP, VIPs: []config.VIP{{Address: netip.MustParseAddr("204.109.13.1")}},
		Nodes: []config.Node{{Address: netip.MustParseAddr("fd00::1")}, {Address: netip.MustParseAddr("10.0.0.1")}},
	}}
	steps, err := Plan(freshState(), DesiredFor(clusters, addrs("10.0.0.1", "10.8.0.1", "fd00::1")))
	want := "write nftables table inet lb_agent: clamp the MSS of 204.109.13.1 to 1440 bytes" // from the MTU of eth0, not of wg0
	if err != nil || !slices.Contains(descriptions(steps), want) {
		t.Errorf("planned %q, %v; want %q", descriptions(steps), err, want)
	}
}

func TestLocalAddrsIncludesLoopback(t *testing.T) {
	local, err := LocalAddrs()
	if err != nil {
		t.Fatal(err)
	}
	if !slices.Contains(local, netip.MustParseAddr("127.0.0.1")) {
		t.Errorf("%v does not include 127.0.0.1", local)
	}
}
