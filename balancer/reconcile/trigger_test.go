package reconcile

import (
	"context"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/cluster"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/journal"
	"github.com/braintree/lb/balancer/kernel"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

// noInputs are inputs without drains, files and pages.
type noInputs struct{}

func (noInputs) Drains(time.Time) map[cluster.NodeKey]cluster.Drain { return nil }
func (noInputs) Overrides(time.Time, *cluster.Model)                {}
func (noInputs) Pages(context.Context, *cluster.Model)              {}

// stage is a reconciler on tables in memory, with one running cluster of two nodes, and a log of what it asks of the tables.
type stage struct {
	*Reconciler
	table *ipvs.Memory
	marks *mark.Memory
	did   []string
}

func newStage(t *testing.T) *stage {
	t.Helper()
	table, marks := ipvs.NewMemory(), mark.NewMemory()
	web := config.Cluster{
		Name: "web", Mark: 7, Scheduler: "wlc", CheckInterval: 2 * time.Second, CheckTimeout: time.Second, Rise: 1, Fall: 2,
		VIPs:  []config.VIP{{Address: netip.MustParseAddr("192.0.2.1"), Protocol: "tcp", Ports: []uint16{80}}},
		Nodes: []config.Node{{Address: netip.MustParseAddr("10.0.0.1")}, {Address: netip.MustParseAddr("10.0.0.2")}},
	}
	log := slog.New(slog.DiscardHandler)
	m := cluster.New(&config.Config{Clusters: []config.Cluster{web}})
	r := New(m, kernel.New(table, marks), NewReporter(log, journal.Open("", log)), noInputs{})
	s := &stage{Reconciler: r, table: table, marks: marks}
	table.SetFault(func(c ipvs.Call) error {
		s.did = append(s.did, strings.TrimSuffix(fmt.Sprintf("%s %s", c.Operation, c.Address), " invalid IP"))
		return nil
	})
	marks.SetFault(func(operation string) error { s.did = append(s.did, operation); return nil })
	return s
}

// observe gives the cluster a reading of each node.
func (s *stage) observe(health int) {
	c := s.Model.Clusters()[0]
	for _, n := range c.Nodes() {
		c.Observe(time.Now(), n, decide.Reading{At: time.Now(), Answered: true, Health: health})
	}
}

// TestTriggers holds what each trigger does to the kernel, in order, for a cluster that the kernel has: with the marking rules just looked
// at or
// overdue, and with or without a weight that a reading has changed. Whatever the trigger, the table ends as the model wants it.
func TestTriggers(t *testing.T) {
	const (
		marks   = "list marks, set marks"
		weights = "put destination 10.0.0.1, put destination 10.0.0.2"
		counts  = "count marks"
	)
	for _, tt := range []struct {
		trigger          Trigger
		overdue, changed bool
		want             string
	}{
		{Startup, false, false, "dump"},
		{Timer, false, false, "dump, " + counts},
		{Timer, true, false, marks + ", dump, " + counts},
		{Reading, false, true, weights + ", dump, " + counts},
		{Reading, true, true, weights + ", dump, " + marks + ", " + counts},
		{Order, false, false, "dump"},
		{Order, false, true, weights + ", dump"},
		{Order, true, false, marks + ", dump"},
		{Network, false, false, "dump"},
		{Network, true, false, marks + ", dump"},
		{NewServices, true, false, "dump"},
		{NewServices, true, true, weights + ", dump"},
		{NewMarks, false, false, marks + ", dump"},
		{NewMarks, true, true, weights + ", dump, " + marks},
		{Disturbance, false, false, marks},
		{Disturbance, true, false, marks},
	} {
		t.Run(fmt.Sprintf("%s, overdue %t, changed %t", tt.trigger, tt.overdue, tt.changed), func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				s := newStage(t)
				s.observe(50)
				s.Model.Lifecycle().Run(time.Now(), s.Model.Clusters()[0])
				s.Reconcile(t.Context(), Startup)
				if !s.Adopted() {
					t.Error("the first reconcile did not adopt what the kernel runs")
				}
				if tt.overdue {
					time.Sleep(MarkIntervals * s.Model.Interval())
				}
				want := 50
				if tt.changed {
					want = 40
					s.observe(want)
				}
				s.did = nil
				s.Reconcile(t.Context(), tt.trigger)
				if did := strings.Join(s.did, ", "); did != tt.want {
					t.Errorf("it did %s\nwant %s", did, tt.want)
				}
				if s.Model.Changed() {
					t.Error("the model still has weights that the kernel lacks")
				}
				s.table.SetFault(nil)
				services, err := s.table.Dump(t.Context())
				if err != nil || len(services) != 1 || int(services[0].Destinations[0].Weight) != want ||
					int(services[0].Destinations[1].Weight) != want {
					t.Errorf("the kernel has %+v, %v; want weights of %d", services, err, want)
				}
			})
		})
	}
}

func TestEveryTriggerHasARule(t *testing.T) {
	for trigger := Startup; trigger <= Disturbance; trigger++ {
		if trigger.String() == "" {
			t.Errorf("trigger %d has no rule", trigger)
		}
	}
	if len(triggerRules) != int(Disturbance)+1 {
		t.Errorf("%d rules for %d triggers", len(triggerRules), Disturbance+1)
	}
}

// TestTheFirstReconcileAdopts finds a cluster in the kernel before any reading: its weights stay.
func TestTheFirstReconcileAdopts(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.table.Seed(ipvs.Service{Key: ipvs.Key{Mark: 7, Family: ipvs.IPv4}, Scheduler: "wlc", Destinations: []ipvs.Destination{
			{Address: netip.MustParseAddr("10.0.0.1"), Forwarding: ipvs.Tunnel, Weight: 77},
			{Address: netip.MustParseAddr("10.0.0.2"), Forwarding: ipvs.Tunnel, Weight: 33},
		}})
		s.Reconcile(t.Context(), Order)
		if did := strings.Join(s.did, ", "); did != "list marks, set marks, dump" {
			t.Errorf("it did %s", did)
		}
		if c := s.Model.Clusters()[0]; !c.Running() {
			t.Error("the cluster is not adopted")
		}
	})
}

// TestAPreviewLeavesItsOriginalAlone plans on a model that has a start in progress and a changed weight.
func TestAPreviewLeavesItsOriginalAlone(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		s := newStage(t)
		s.observe(50)
		s.Model.Lifecycle().Run(time.Now(), s.Model.Clusters()[0])
		s.Reconcile(t.Context(), Startup)
		s.observe(40)
		s.did = nil
		p, err := s.Preview(t.Context(), noInputs{})
		if err != nil {
			t.Fatal(err)
		}
		plan, err := p.Next(t.Context())
		if err != nil || len(plan.Changes) != 2 || plan.Changes[0].Change != "mark 7: node 10.0.0.1 weight 50 → 40" {
			t.Errorf("plan %+v, %v", plan, err)
		}
		if did := strings.Join(s.did, ", "); did != "dump, list marks, list daemons, read timeouts" {
			t.Errorf("the preview did %s to the kernel; it may only read", did)
		}
		if !s.Model.Changed() {
			t.Error("the preview has taken the changed weight from the model")
		}
	})
}
