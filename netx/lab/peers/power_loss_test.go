//go:build bench

package peers

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"slices"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/lab"
	"github.com/braintree/lb/netx/lab/labtest"
	"github.com/braintree/lb/netx/lab/testbed"
)

const (
	// patience is how long a client waits for a response. One that waited longer would be answered late: it sends its first packet again
	// after 1, 3 and 7 s, and by then the node may be out.
	patience = time.Second
	// firstGuess is the interval at which keepalived is measured first to find the one at which it costs as much as lb.
	firstGuess     = 300 * time.Millisecond
	fastestGuess   = 50 * time.Millisecond
	enoughGuesses  = 4
	similarPercent = 15
)

// TestPowerLoss prints how many requests a node's power loss costs under load: with lb and with keepalived by their defaults, and with
// keepalived at the interval at which it takes as much processor time as lb. lb has set the marks, and prepared the real servers.
func TestPowerLoss(t *testing.T) {
	o := testbed.Options{Binary: binary(t), Nodes: 3, Scheduler: "wrr", CheckInterval: 2 * time.Second}
	s, err := testbed.New(t.Context(), slog.New(slog.DiscardHandler), o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	p := &powerLoss{site: s, table: openTable(t, s.BalancerHost)}
	must(t, s.Balancer.Start(t.Context()))
	waitServing(t, p.table, len(s.Apps))
	r := newReport(t)
	r.line("a node's power loss under %d new connections per second, three real servers; lost is what had no response after %s",
		requestRate, patience)
	spent := idle(t, balancerPid(t))
	r.line("%s, %.2f %% of a core when idle", p.measure(t, "lb, defaults", 8), 100*spent)
	must(t, s.Balancer.Stop())

	stop := p.start(t, startKeepalivedByDefault, 0)
	r.line("%s", p.measure(t, "keepalived, defaults", 2))
	stop()
	interval := p.equalInterval(t, spent)
	stop, equal := p.startAndMeasure(t, interval)
	r.line("%s, %.2f %% of a core when idle", p.measure(t, fmt.Sprintf("keepalived, every %s", interval), 8), 100*equal)
	stop()
}

// equalInterval finds the interval at which keepalived takes about as much processor time as lb.
func (p *powerLoss) equalInterval(t *testing.T, spent float64) time.Duration {
	t.Helper()
	interval := firstGuess
	for range enoughGuesses {
		stop, got := p.startAndMeasure(t, interval)
		stop()
		if 100*max(got-spent, spent-got) < similarPercent*spent {
			break
		}
		interval = max(time.Duration(got/spent*float64(interval)).Round(10*time.Millisecond), fastestGuess)
	}
	return interval
}

// startAndMeasure starts keepalived and returns its processor time when nothing happens.
func (p *powerLoss) startAndMeasure(t *testing.T, interval time.Duration) (stop func(), spent float64) {
	t.Helper()
	stop = p.startAnd(t, startKeepalived, interval, func(pid int) { spent = idle(t, pid) })
	return stop, spent
}

// powerLoss is a site whose nodes lose their power.
type powerLoss struct {
	site  *testbed.Site
	table ipvs.Table
}

// start starts a program on the balancer in place of lb, and waits until all nodes have weight.
func (p *powerLoss) start(t *testing.T, program starter, interval time.Duration) (stop func()) {
	t.Helper()
	return p.startAnd(t, program, interval, func(int) {})
}

// startAnd also calls then with the program's process ID.
func (p *powerLoss) startAnd(t *testing.T, program starter, interval time.Duration, then func(pid int)) (stop func()) {
	t.Helper()
	labtest.Run(t, p.site.BalancerHost, "ipvsadm", "-C")
	var nodes []netip.Addr
	for _, app := range p.site.Apps {
		nodes = append(nodes, app.Address)
	}
	process := program(t, p.site.BalancerHost, []service{{mark, nodes}}, interval)
	waitServing(t, p.table, len(nodes))
	then(process.Pid())
	return func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		must(t, process.Stop(ctx))
	}
}

// measure cuts nodes off, one after the other, at different moments of a check interval, and returns the results as a line.
func (p *powerLoss) measure(t *testing.T, name string, losses int) string {
	t.Helper()
	client := testbed.NewRequester(p.site.Client, netip.AddrPortFrom(testbed.VIP, testbed.Port), patience)
	traffic := client.StartTraffic(t.Context(), requestRate)
	var took []time.Duration
	for n := range losses {
		app := p.site.Apps[n%len(p.site.Apps)]
		answered := traffic.Counts().ByNode[app.Host.Name()]
		labtest.Eventually(t, timeout, app.Host.Name()+" serves", func() (bool, string) {
			return traffic.Counts().ByNode[app.Host.Name()] > answered+requestRate/4, ""
		})
		<-time.After(time.Duration(n) * 470 * time.Millisecond)
		begun := time.Now()
		must(t, app.Host.Unplug())
		labtest.Eventually(t, timeout, app.Host.Name()+" is out", func() (bool, string) {
			return countWithWeight(p.table) == len(p.site.Apps)-1, ""
		})
		took = append(took, time.Since(begun))
		must(t, app.Host.Plug())
		waitServing(t, p.table, len(p.site.Apps))
	}
	counts := traffic.Stop()
	slices.Sort(took)
	return fmt.Sprintf("  %-26s out after %8s (%s to %s), %5.1f requests lost each time, %d of %d in all",
		name, took[len(took)/2].Round(time.Millisecond), took[0].Round(time.Millisecond), took[len(took)-1].Round(time.Millisecond),
		float64(counts.Failed)/float64(losses), counts.Failed, counts.Failed+counts.Answered)
}

// idle measures the processor time of a program when nothing happens, as a fraction of a core.
func idle(t *testing.T, pid int) float64 {
	t.Helper()
	<-time.After(settleTime)
	before, begun := usageBelow(t, pid), time.Now()
	<-time.After(measureTime)
	return float64(usageBelow(t, pid).processor-before.processor) / float64(time.Since(begun))
}

// balancerPid returns the process ID of lb balance.
func balancerPid(t *testing.T) int {
	t.Helper()
	processes, err := procfs.AllProcs()
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range processes {
		if line, err := p.CmdLine(); err == nil && len(line) > 1 && line[0] == binary(t) && slices.Contains(line, "balance") {
			return p.PID
		}
	}
	t.Fatal("lb balance does not run")
	return 0
}

// startKeepalivedByDefault starts keepalived with nothing configured that has a default.
func startKeepalivedByDefault(t *testing.T, load *lab.Host, services []service, _ time.Duration) *lab.Process {
	t.Helper()
	config := "global_defs {\n  router_id bench\n}\n"
	for _, s := range services {
		config += fmt.Sprintf("virtual_server fwmark %d {\n  lb_algo wrr\n  lb_kind TUN\n  protocol TCP\n", s.mark)
		for _, node := range s.nodes {
			config += fmt.Sprintf("  real_server %s 0 {\n    weight 100\n    HTTP_GET {\n      url {\n        path /webapp/status\n"+
				"        status_code 200\n      }\n      connect_port %d\n    }\n  }\n", node, agentPort)
		}
		config += "}\n"
	}
	return startChecker(t, load, config)
}
