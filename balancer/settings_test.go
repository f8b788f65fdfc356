package balancer

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestSettingsFollowWhatIsUsed(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  config.Config
		want string
	}{
		{"tunnels alone", config.Config{Clusters: []config.Cluster{{Forwarding: config.IPIP}}}, "expire_nodest_conn=1 conntrack=0"},
		{"NAT beside", config.Config{Clusters: []config.Cluster{{Forwarding: config.NAT}, {Forwarding: config.DR}}}, "expire_nodest_conn=1"},
		{"clients that stick", config.Config{Clusters: []config.Cluster{{Balancing: config.Balancing{Persistence: time.Minute}}}},
			"expire_nodest_conn=1 expire_quiescent_template=1 conntrack=0"},
		{"sync", config.Config{Balancer: config.Balancer{Sync: config.Sync{Interface: "eth1"}}}, "expire_nodest_conn=1 conntrack=0 backup_only=0"},
	} {
		var got []string
		for _, s := range ipvs.RecommendedSysctls(ipvs.Features(c.cfg.KernelFeatures())) {
			got = append(got, s.Name+"="+s.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, wanted %s", c.name, got, c.want)
		}
	}
}

// A reload takes over where other data centres send packets to, so that it does not call for a restart.
func TestOnlyWhatTakesARestartCallsForOne(t *testing.T) {
	tests := []struct {
		name   string
		change func(*config.Balancer)
		calls  bool
	}{
		{"nothing", func(*config.Balancer) {}, false},
		{"location", func(b *config.Balancer) { b.Location = "dc2" }, false},
		{"relay_address", func(b *config.Balancer) { b.RelayAddress = netip.MustParseAddr("10.9.0.2") }, false},
		{"override_dir", func(b *config.Balancer) { b.OverrideDir = "/srv/lb" }, false},
		{"sync", func(b *config.Balancer) { b.Sync.Interface = "eth1" }, false},
		{"token_file", func(b *config.Balancer) { b.TokenFile = "/etc/lb/token" }, false},
		{"listen", func(b *config.Balancer) { b.Listen = ":9292" }, true},
		{"control", func(b *config.Balancer) { b.Control = "/run/lb.sock" }, true},
		{"control_group", func(b *config.Balancer) { b.ControlGroup = "ops" }, true},
		{"data_dir", func(b *config.Balancer) { b.DataDir = "/srv/lb" }, true},
		{"set_sysctls", func(b *config.Balancer) { b.SetSysctls = true }, true},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			var was config.Balancer
			next := was
			tt.change(&next)
			if calls := needsRestart(was, next); calls != tt.calls {
				t.Errorf("a restart is called for: %t", calls)
			}
		})
	}
}

// What lb's own page answers is masqueraded, and a firewall that drops what connection tracking does not know would drop it.
func TestAClusterThatMasqueradesLeavesConnectionTrackingAlone(t *testing.T) {
	page := config.Weights{AllDown: config.ToPage, Downpage: config.Downpage{OwnPage: config.OwnPage{Page: true}}}
	tests := []struct {
		name    string
		cluster config.Cluster
		masq    bool
	}{
		{"by tunnels", config.Cluster{Forwarding: config.IPIP}, false},
		{"by NAT", config.Cluster{Forwarding: config.NAT}, true},
		{"by tunnels, with a page of lb's own", config.Cluster{Forwarding: config.IPIP, Weights: page}, true},
		{"by tunnels, with a page that is not used", config.Cluster{Forwarding: config.IPIP, Weights: config.Weights{Downpage: page.Downpage}}, false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if masq := (&config.Config{Clusters: []config.Cluster{tt.cluster}}).KernelFeatures().Masq; masq != tt.masq {
				t.Errorf("masquerades: %t", masq)
			}
		})
	}
}
