//go:build lab

package e2e

import (
	"net/netip"
	"strings"
	"testing"

	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

const allInOneConfig = `
[balancer]
set_sysctls = true

[clusters.web]
fwmark         = 7
scheduler      = "wrr"
check_interval = "1s"
ramp_up_time   = "0s"
autostart      = true
vips  = [ { address = "192.0.2.7", ports = [80] } ]
nodes = [ { address = "192.0.2.11" }, { address = "192.0.2.12" } ]
`

// TestBalancersThatAreEachOthersNodes runs the cluster on both balancers, as Pacemaker's clone does, and sends 500 connections. Those that
// the first balancer sends to the second must not be balanced again there.
func TestBalancersThatAreEachOthersNodes(t *testing.T) {
	const connections = 500
	f := newFlows(t, map[string]int{"load01": 11, "load02": 12})
	newFlowNode(t, f.hosts["load01"], "192.0.2.11")
	newFlowNode(t, f.hosts["load02"], "192.0.2.12")
	f.start(t, "load01", allInOneConfig, 2)
	f.start(t, "load02", allInOneConfig, 2)

	requester := testbed.NewRequester(f.client, netip.MustParseAddrPort(flowVIP+":80"), timeout)
	answered := map[string]int{}
	for i := range connections {
		node, err := requester.Transact(t.Context())
		if err != nil {
			t.Fatalf("connection %d of %d, after %v: %v\n%s", i+1, connections, answered, err,
				labtest.Run(t, f.hosts["load02"], "ipvsadm", "-Lnc"))
		}
		answered[node]++
	}
	if answered["load01"] != connections/2 || answered["load02"] != connections/2 {
		t.Errorf("answered by node: %v, want half each", answered)
	}
	entries := map[string]int{} // by the client's address and port, on both balancers
	for name, h := range f.hosts {
		list := labtest.Run(t, h, "ipvsadm", "-Lnc")
		here := strings.Count(list, "192.0.2.100:")
		if want := map[string]int{"load01": connections}[name]; here != want {
			t.Errorf("%s has %d entries, want %d", name, here, want)
		}
		for line := range strings.Lines(list) {
			if words := strings.Fields(line); len(words) == 6 && strings.HasPrefix(words[3], "192.0.2.100:") {
				entries[words[3]]++
			}
		}
	}
	for client, n := range entries {
		if n != 1 {
			t.Errorf("%s has %d entries", client, n)
		}
	}
	t.Logf("%d connections, %d entries, answered by %v", connections, len(entries), answered)
}
