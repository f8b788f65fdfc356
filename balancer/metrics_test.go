package balancer

import (
	"net/netip"
	"strings"
	"testing"
	"testing/synctest"
	"time"

	"github.com/prometheus/client_golang/prometheus/testutil/promlint"

	"github.com/braintree/lb/netx/ipvs"
)

func TestMetrics(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		r := newRig(t)
		r.fleet.set("10.0.0.1", 92)
		r.fleet.set("10.0.0.2", 0)
		r.fleet.set("10.0.0.3", connRefused)
		c := webapp("web", 7, 1, 2, 3)
		c.MaxWeight = 60
		r.boot(c, webapp("idle", 8, 1))
		r.start("web")
		r.wait(5 * time.Second)
		services, err := r.table.Dump(t.Context())
		if err != nil {
			t.Fatal(err)
		}
		services[0].Destinations[0].Stats = ipvs.Stats{Connections: 5, PacketsIn: 40, BytesIn: 4000, PacketsOut: 1, BytesOut: 2}
		services[0].Destinations[0].ActiveConns = 3
		services[0].Destinations[1].Weight = 9 // drift
		// Two destinations at one address that are not in the config.
		for _, port := range []uint16{0, 80} {
			services[0].Destinations = append(services[0].Destinations, ipvs.Destination{
				Address: netip.MustParseAddr("10.0.0.9"), Port: port, Forwarding: ipvs.Tunnel, Weight: 1, ActiveConns: 1,
			})
		}
		r.table.Seed(services...)
		r.wait(4 * time.Second)
		page := roundTrip(r.handler(), "GET", "/metrics", "")
		page, _, _ = strings.Cut(page[strings.Index(page, `| "`)+3:], "\"\n")
		page = strings.NewReplacer(`\n`, "\n", `\"`, `"`).Replace(page)
		problems, err := promlint.New(strings.NewReader(page)).Lint()
		if err != nil || len(problems) > 0 {
			t.Errorf("promlint: %v %v", problems, err)
		}
		series := map[string]string{}
		for line := range strings.Lines(page) {
			if at := strings.LastIndexByte(line, ' '); !strings.HasPrefix(line, "#") && at > 0 {
				series[line[:at]] = strings.TrimSpace(line[at:])
			}
		}
		for name, want := range map[string]string{ // "": any value
			`lb_balancer_cluster_running{cluster="web"}`: "1", `lb_balancer_cluster_running{cluster="idle"}`: "0",
			`lb_balancer_cluster_combined_weight{cluster="web"}`: "60", `lb_balancer_cluster_trouble{cluster="web"}`: "0",
			`lb_balancer_cluster_nodes{cluster="web"}`:                                        "3",
			`lb_balancer_node_health{cluster="web",node="10.0.0.1"}`:                          "92",
			`lb_balancer_node_weight{cluster="web",node="10.0.0.1"}`:                          "60",
			`lb_balancer_node_kernel_weight{cluster="web",node="10.0.0.1"}`:                   "60",
			`lb_balancer_node_state{cluster="web",node="10.0.0.1",state="up"}`:                "1",
			`lb_balancer_node_state{cluster="web",node="10.0.0.2",state="down"}`:              "1",
			`lb_balancer_node_state{cluster="web",node="10.0.0.9",state="leaving"}`:           "1",
			`lb_balancer_node_readings_total{cluster="web",node="10.0.0.1",outcome="up"}`:     "",
			`lb_balancer_node_readings_total{cluster="web",node="10.0.0.2",outcome="down"}`:   "",
			`lb_balancer_node_readings_total{cluster="web",node="10.0.0.3",outcome="silent"}`: "",
			`lb_balancer_node_readings_total{cluster="web",node="10.0.0.3",outcome="up"}`:     "0",
			`lb_balancer_node_reading_age_seconds{cluster="web",node="10.0.0.1"}`:             "",
			`lb_balancer_node_active_connections{cluster="web",node="10.0.0.1"}`:              "3",
			`lb_balancer_node_connections_total{cluster="web",node="10.0.0.1"}`:               "5",
			`lb_balancer_node_packets_total{cluster="web",direction="in",node="10.0.0.1"}`:    "40",
			`lb_balancer_node_bytes_total{cluster="web",direction="out",node="10.0.0.1"}`:     "2",
			`lb_balancer_node_active_connections{cluster="web",node="10.0.0.9 port 80"}`:      "1",
			`lb_balancer_kernel_operations_total{operation="put_service"}`:                    "1",
			`lb_balancer_kernel_operations_total{operation="remove_service"}`:                 "0",
			`lb_balancer_drift_repairs_total`:                                                 "3",
			`lb_balancer_kernel_errors_total`:                                                 "0",
			`lb_balancer_reloads_total{outcome="refused"}`:                                    "0",
			`lb_balancer_cycle_duration_seconds_count`:                                        "",
			`lb_balancer_hook_events_total{hook="page",outcome="delivered"}`:                  "3",
			`lb_balancer_event_streams`:                                                       "0",
			`lb_balancer_events_total`:                                                        "",
			`lb_balancer_events_unwritten_total`:                                              "0",
			`go_goroutines`:                                                                   "",
			`process_start_time_seconds`:                                                      "",
		} {
			if got, ok := series[name]; !ok || want != "" && got != want {
				t.Errorf("%s is %q, want %q", name, got, want)
			}
		}
	})
}
