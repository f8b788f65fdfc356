package plan

import (
	"net/netip"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

func service(m ipvs.Mark, scheduler string, ds ...ipvs.Destination) ipvs.Service {
	return ipvs.Service{Key: ipvs.Key{Mark: m, Family: ipvs.IPv4}, Scheduler: scheduler, Destinations: ds}
}

func node(address string, weight ipvs.Weight) ipvs.Destination {
	return ipvs.Destination{Address: netip.MustParseAddr(address), Forwarding: ipvs.Tunnel, Weight: weight}
}

func marks(ms ...ipvs.Mark) map[ipvs.Mark]bool {
	owned := map[ipvs.Mark]bool{}
	for _, m := range ms {
		owned[m] = true
	}
	return owned
}

func TestPlanOutput(t *testing.T) {
	limited := node("10.0.0.1", 5)
	limited.Forwarding, limited.Upper, limited.Lower = ipvs.Route, 100, 50
	gue := node("10.0.0.1", 5)
	gue.Encap = ipvs.Encap{Type: ipvs.GUE, Port: 6080}
	sticky := service(7, "mh", node("10.0.0.1", 5))
	sticky.Flags, sticky.Timeout = ipvs.Persistent|ipvs.SchedFallback, 5*time.Minute
	v6 := service(7, "wlc")
	v6.Family = ipvs.IPv6
	tests := []struct {
		name           string
		wanted, actual []ipvs.Service
		owned          map[ipvs.Mark]bool
		want           string
	}{
		{"nothing to do", []ipvs.Service{service(7, "wlc", node("10.0.0.1", 5))}, []ipvs.Service{service(7, "wlc", node("10.0.0.1", 5))},
			marks(7), ""},
		{"an empty table", []ipvs.Service{service(7, "wlc", node("10.0.0.2", 92), node("10.0.0.10", 0), node("10.0.0.9", 3))}, nil,
			marks(7),
			"mark 7: add service, scheduler wlc\n" +
				"mark 7: add node 10.0.0.2 weight 92, tunnel\nmark 7: add node 10.0.0.9 weight 3, tunnel\n" +
				"mark 7: add node 10.0.0.10 weight 0, tunnel\n"},
		{"weight is added before it is removed",
			[]ipvs.Service{service(7, "wlc", node("10.0.0.2", 0), node("10.0.0.3", 9), node("10.0.0.5", 1))},
			[]ipvs.Service{service(7, "wlc", node("10.0.0.1", 0), node("10.0.0.2", 92), node("10.0.0.3", 8))}, marks(7),
			"mark 7: node 10.0.0.3 weight 8 → 9\nmark 7: add node 10.0.0.5 weight 1, tunnel\n" +
				"mark 7: node 10.0.0.2 weight 92 → 0\nmark 7: remove node 10.0.0.1\n"},
		{"a service is edited in place", []ipvs.Service{service(7, "wlc", node("10.0.0.1", 5))},
			[]ipvs.Service{service(7, "rr", node("10.0.0.1", 5))}, marks(7),
			"mark 7: service scheduler rr → wlc\n"},
		{"flags and persistence", []ipvs.Service{sticky}, []ipvs.Service{service(7, "rr", node("10.0.0.1", 5))}, marks(7),
			"mark 7: service scheduler rr → scheduler mh (fallback), persistent for 5m0s\n"},
		{"a node's other settings", []ipvs.Service{service(7, "wlc", node("10.0.0.1", 5))}, []ipvs.Service{service(7, "wlc", limited)},
			marks(7),
			"mark 7: node 10.0.0.1 forwarding route → tunnel, connection limits 100/50 → 0/0\n"},
		{"another encapsulation", []ipvs.Service{service(7, "wlc", node("10.0.0.1", 5))}, []ipvs.Service{service(7, "wlc", gue)}, marks(7),
			"mark 7: node 10.0.0.1 encapsulation gue port 6080 flags 0x0 → ipip\n"},
		{"services are deleted last", []ipvs.Service{service(8, "wlc", node("10.0.0.1", 5))},
			[]ipvs.Service{service(7, "wlc", node("10.0.0.1", 5))}, marks(7, 8),
			"mark 8: add service, scheduler wlc\nmark 8: add node 10.0.0.1 weight 5, tunnel\nmark 7: remove service\n"},
		{"foreign marks stay", []ipvs.Service{service(9, "rr")}, []ipvs.Service{service(7, "rr"), service(8, "rr", node("10.0.0.1", 5))},
			marks(7), "mark 7: remove service\n"},
		{"one mark, two families", nil, []ipvs.Service{v6, service(7, "rr")}, marks(7),
			"mark 7: remove service\nmark 7 (IPv6): remove service\n"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if diff := cmp.Diff(tt.want, Diff(tt.wanted, tt.actual, tt.owned).String()); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestLeavingNodeKeepsItsConnections(t *testing.T) {
	since := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	tests := []struct {
		name             string
		age              time.Duration
		weight           ipvs.Weight
		active, inactive int
		keep             bool
	}{
		{"first its weight becomes 0, even without connections", 0, 9, 0, 0, true},
		{"first its weight becomes 0, even after the limit", time.Hour, 9, 3, 0, true},
		{"active connections keep it", 59 * time.Second, 0, 1, 0, true},
		{"inactive ones too", 59 * time.Second, 0, 0, 1, true},
		{"without connections it is removed", 0, 0, 0, 0, false},
		{"after the limit it is removed", time.Minute, 0, 1, 1, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			d := node("10.0.0.1", tt.weight)
			d.ActiveConns, d.InactiveConns = tt.active, tt.inactive
			got, keep := Leaving(since.Add(tt.age), since, time.Minute, d)
			if keep != tt.keep || got.Weight != 0 {
				t.Errorf("keep %v at weight %d, want %v at 0", keep, got.Weight, tt.keep)
			}
		})
	}
}

func TestMarkPlanOutput(t *testing.T) {
	rule := func(port uint16, m ipvs.Mark) mark.Rule {
		return mark.Rule{Address: netip.MustParseAddr("204.109.13.7"), Protocol: "tcp", Port: port, Mark: m}
	}
	eth := rule(443, 7)
	eth.Interface = "eth10"
	got := ""
	for _, o := range DiffMarks([]mark.Rule{eth, rule(80, 8), rule(22, 2)}, []mark.Rule{rule(80, 7), rule(25, 3), rule(22, 2)}) {
		got += o.String() + "\n"
	}
	want := "mark 3: remove tcp 204.109.13.7:25\nmark 7: add tcp 204.109.13.7:443 on eth10\nmark 7 → 8: tcp 204.109.13.7:80\n"
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}
}
