//go:build lab

package e2e

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/balancer/api"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

// troubleConfig is the talk's setup, with what its faults need: a cluster with nat and a sync daemon beside it.
const troubleConfig = `
[agent.tunnel]
enabled = true

[services.webapp]
depends = [ { type = "http", url = "http://localhost:3000/heartbeat", interval = "2s", timeout = "1.8s" } ]

[balancer]
set_sysctls = false
sync = { interface = "sync0", id = 7 }

[clusters.webapp]
fwmark         = 7
scheduler      = "wrr"
check_interval = "1s"
ramp_up_time   = "0s"
autostart      = true
vips  = [ { address = "204.109.13.7", interface = "eth10", ports = [443] } ]
nodes = [ { address = "10.0.0.1" }, { address = "10.0.0.2" }, { address = "10.0.0.3" } ]

[clusters.shop]
fwmark         = 8
scheduler      = "wrr"
forwarding     = "nat"
check_interval = "1s"
ramp_up_time   = "0s"
autostart      = true
vips  = [ { address = "204.109.13.8", ports = [443] } ]
nodes = [
  { address = "10.0.0.1", path = "/webapp/status" }, { address = "10.0.0.2", path = "/webapp/status" },
  { address = "10.0.0.3", path = "/webapp/status" },
]
`

// troubleStage is a site with troubleConfig under load: short transactions to both clusters, and uploads to the tunnelled one.
type troubleStage struct {
	*testbed.Site
	t       *testing.T
	traffic []*testbed.Traffic
}

// shopVIP is the virtual IP of the cluster with nat.
var shopVIP = netip.MustParseAddr("204.109.13.8")

func newTroubleStage(t *testing.T) *troubleStage {
	t.Helper()
	s := &troubleStage{Site: newSite(t, nil), t: t}
	balancer := s.BalancerHost
	s.sh(balancer, "ip link add sync0 type dummy; ip address add 10.7.0.1/24 dev sync0; ip link set sync0 multicast on up",
		"ip address add 204.109.13.8/32 dev eth10", "sysctl -qw net.ipv4.ip_forward=1 net.ipv4.vs.expire_nodest_conn=1")
	for n, app := range s.Apps { // responses to nat return through the balancer
		s.sh(app.Host, fmt.Sprintf("ip rule add from 10.0.0.%d lookup 100", n+1),
			"ip route add 204.109.13.0/24 via 10.0.0.254 table 100; ip route add 10.0.0.0/24 dev eth0 table 100")
	}
	// Clients whose network drops ICMP never learn that the tunnel's packets are smaller.
	s.sh(s.Client, "nft add table inet block; nft add chain inet block in { type filter hook input priority 0 \\; }",
		"nft add rule inet block in meta l4proto icmp drop")
	if err := s.WriteConfig([]byte(troubleConfig)); err != nil {
		t.Fatal(err)
	}
	for _, app := range s.Apps {
		if err := app.Agent.Reload(); err != nil {
			t.Fatal(err)
		}
	}
	if err := errors.Join(s.Balancer.Stop(), s.Balancer.Start(t.Context())); err != nil { // set_sysctls needs a restart
		t.Fatal(err)
	}
	labtest.Eventually(t, timeout, "both clusters have all their weight", func() (bool, string) {
		return s.status("webapp").CombinedWeight == 300 && s.status("shop").CombinedWeight == 300, s.describe()
	})
	upload := testbed.NewRequester(s.Client, netip.AddrPortFrom(testbed.VIP, testbed.Port), patience)
	upload.Upload = 64 << 10
	for _, load := range []*testbed.Requester{
		testbed.NewRequester(s.Client, netip.AddrPortFrom(testbed.VIP, testbed.Port), patience),
		testbed.NewRequester(s.Client, netip.AddrPortFrom(shopVIP, testbed.Port), patience), upload,
	} {
		s.traffic = append(s.traffic, load.StartTraffic(t.Context(), 5))
	}
	return s
}

// patience is how long a client waits for a response.
const patience = 3 * time.Second

// sh runs lines on a host.
func (s *troubleStage) sh(h *lab.Host, lines ...string) {
	s.t.Helper()
	labtest.Run(s.t, h, "sh", "-ec", strings.Join(lines, "\n"))
}

// get decodes a response of the balancer.
func (s *troubleStage) get(path string, into any) {
	s.t.Helper()
	body, err := s.getJSON(path)
	if err == nil {
		err = json.Unmarshal(body, into)
	}
	if err != nil {
		s.t.Fatalf("GET %s: %v", path, err)
	}
}

func (s *troubleStage) getJSON(path string) ([]byte, error) {
	request, err := http.NewRequestWithContext(s.t.Context(), http.MethodGet, "http://balancer"+path, nil)
	if err != nil {
		return nil, err
	}
	request.Header.Set("Accept", "application/json")
	response, err := s.Balancer.Client().Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	return io.ReadAll(response.Body)
}

func (s *troubleStage) status(cluster string) (status api.ClusterStatus) {
	s.t.Helper()
	s.get("/cluster/"+cluster, &status)
	return status
}

// describe is what an operator sees of both clusters.
func (s *troubleStage) describe() string {
	return runLB(s.t, s.Site, s.BalancerHost, "ctl", "cluster", "status", "webapp") +
		runLB(s.t, s.Site, s.BalancerHost, "ctl", "cluster", "status", "shop")
}

// events returns the texts and causes of the events after a number, and the number of the last one.
func (s *troubleStage) events(since uint64) (lines string, last uint64) {
	s.t.Helper()
	var list api.EventList
	s.get(fmt.Sprintf("/events?since=%d", since), &list)
	var all strings.Builder
	for _, e := range list.Events {
		fmt.Fprintf(&all, "%s %s %s: %s %s → %s %s %s\n", e.Kind, e.Cluster, e.Node, e.Text, e.Old, e.New, e.Change, e.Cause)
	}
	return all.String(), list.Last
}

// counts sums up the results of all clients.
func (s *troubleStage) counts() (sum testbed.Counts) {
	for _, traffic := range s.traffic {
		c := traffic.Counts()
		sum.Answered, sum.Failed = sum.Answered+c.Answered, sum.Failed+c.Failed
		sum.Failures = append(sum.Failures, c.Failures...)
	}
	return sum
}

// healthy reports whether nothing is wrong in anybody's view, and clients have been served well since a time.
func (s *troubleStage) healthy(since time.Time) (bool, string) {
	for _, name := range []string{"webapp", "shop"} {
		if c := s.status(name); c.Trouble() || c.CombinedWeight != 300 {
			return false, s.describe()
		}
	}
	counts := s.counts()
	for _, f := range counts.Failures {
		if f.Sent.After(since) {
			return false, fmt.Sprintf("a request sent %s after: %v", f.Sent.Sub(since), f.Err)
		}
	}
	return true, ""
}
