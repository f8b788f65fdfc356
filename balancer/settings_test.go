package balancer

import (
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestRecommendedSysctlsFollowTheConfig(t *testing.T) {
	for _, c := range []struct {
		name string
		cfg  config.Config
		want string
	}{
		{"only tunnels", config.Config{Clusters: []config.Cluster{{Forwarding: config.IPIP}}}, "expire_nodest_conn=1 conntrack=0"},
		{"NAT and direct routing", config.Config{Clusters: []config.Cluster{{Forwarding: config.NAT}, {Forwarding: config.DR}}},
			"expire_nodest_conn=1"},
		{"NAT with nodes of both families", config.Config{Clusters: []config.Cluster{{Forwarding: config.NAT,
			Nodes: []config.Node{{Address: addr("10.0.0.1")}, {Address: addr("fd00::1")}}}}},
			"expire_nodest_conn=1 net.ipv4.ip_forward=1 net.ipv6.conf.all.forwarding=1"},
		{"persistence", config.Config{Clusters: []config.Cluster{{Balancing: config.Balancing{Persistence: time.Minute}}}},
			"expire_nodest_conn=1 expire_quiescent_template=1 conntrack=0"},
		{"sync", config.Config{Balancer: config.Balancer{Sync: config.Sync{Interface: "eth1"}}},
			"expire_nodest_conn=1 conntrack=0 backup_only=0"},
	} {
		var got []string
		for _, s := range ipvs.RecommendedSysctls(ipvs.Features(c.cfg.KernelFeatures())) {
			got = append(got, strings.TrimPrefix(s.Name, "net.ipv4.vs.")+"="+s.Value)
		}
		if strings.Join(got, " ") != c.want {
			t.Errorf("%s: %v, want %s", c.name, got, c.want)
		}
	}
}

func TestNeedsRestart(t *testing.T) {
	tests := []struct {
		name   string
		change func(*config.Balancer)
		want   bool
	}{
		{"no change", func(*config.Balancer) {}, false},
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
			if got := needsRestart(was, next); got != tt.want {
				t.Errorf("needs a restart: %t, want %t", got, tt.want)
			}
		})
	}
}

// Responses of lb's own downpage are masqueraded. A firewall that drops untracked packets would drop them.
func TestMasqueradingLeavesConnectionTrackingAlone(t *testing.T) {
	page := config.Weights{AllDown: config.ToPage, Downpage: config.Downpage{OwnPage: config.OwnPage{Page: true}}}
	tests := []struct {
		name    string
		cluster config.Cluster
		masq    bool
	}{
		{"tunnels", config.Cluster{Forwarding: config.IPIP}, false},
		{"NAT", config.Cluster{Forwarding: config.NAT}, true},
		{"tunnels, with lb's own downpage", config.Cluster{Forwarding: config.IPIP, Weights: page}, true},
		{"tunnels, with an unused downpage", config.Cluster{Forwarding: config.IPIP, Weights: config.Weights{Downpage: page.Downpage}},
			false},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			if masq := (&config.Config{Clusters: []config.Cluster{tt.cluster}}).KernelFeatures().Masq; masq != tt.masq {
				t.Errorf("masquerades: %t", masq)
			}
		})
	}
}
