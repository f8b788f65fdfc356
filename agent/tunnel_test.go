package agent

import (
	"context"
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"sync"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/tunnel"
)

// fakeTunnel is a machine's tunnel. What is wanted is set up, except what a test takes away.
type fakeTunnel struct {
	mu      sync.Mutex
	calls   []string
	fail    error
	desired tunnel.Desired
	missing []netip.Addr
	changed func()
}

func (f *fakeTunnel) Up(_ context.Context, desired tunnel.Desired) ([]tunnel.Step, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.calls = append(f.calls, fmt.Sprint(desired.VIPs, desired.Nodes))
	f.desired = desired
	return nil, f.fail
}

func (f *fakeTunnel) State(context.Context) (tunnel.State, error) {
	f.mu.Lock()
	defer f.mu.Unlock()
	s := tunnel.State{
		Device: tunnel.Device{Kind: "ipip", Up: true},
		Links:  []tunnel.Link{{Name: "eth0", MTU: 1500, Addresses: []netip.Addr{netip.MustParseAddr("10.0.0.1")}}},
		Sysctls: map[string]string{
			"all/arp_ignore": "1", "all/arp_announce": "2", "tunl0/rp_filter": "2",
		},
		Clamp: &tunnel.MSSClamp{VIPs: f.desired.VIPs, MSS: 1440},
	}
	for _, v := range f.desired.VIPs {
		if !slices.Contains(f.missing, v) {
			s.VIPs = append(s.VIPs, tunnel.Address{Addr: v, Managed: true})
		}
	}
	return s, nil
}

func (f *fakeTunnel) Watch(ctx context.Context, changed func()) error {
	f.mu.Lock()
	f.changed = changed
	f.mu.Unlock()
	changed()
	<-ctx.Done()
	return nil
}

// take takes virtual IPs away, beyond repair.
func (f *fakeTunnel) take(vips ...string) {
	f.mu.Lock()
	f.missing = nil
	for _, v := range vips {
		f.missing = append(f.missing, netip.MustParseAddr(v))
	}
	changed := f.changed
	f.mu.Unlock()
	changed()
}

// watched reports whether the agent receives the kernel's notifications.
func (f *fakeTunnel) watched() bool {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.changed != nil
}

func ipipCluster(name string, f config.Forwarding, node, path string, vips ...string) config.Cluster {
	c := config.Cluster{Name: name, Forwarding: f, Nodes: []config.Node{
		{Address: netip.MustParseAddr("10.0.0.99"), Path: "/elsewhere/status"}, {Address: netip.MustParseAddr(node), Path: path},
	}}
	for _, a := range vips {
		c.VIPs = append(c.VIPs, config.VIP{Address: netip.MustParseAddr(a)})
	}
	return c
}

func localAddrs() []netip.Addr {
	return []netip.Addr{netip.MustParseAddr("127.0.0.1"), netip.MustParseAddr("::ffff:10.0.0.1")}
}

func TestTunnelGetsTheVirtualIPsOfThisMachinesClusters(t *testing.T) {
	cfg := configIn(shortDir(t), webapp("true"))
	cfg.Agent.Tunnel.Enabled = true
	cfg.Clusters = []config.Cluster{
		ipipCluster("a", config.IPIP, "10.0.0.1", "/webapp/status", "204.109.13.8", "204.109.13.7"),
		ipipCluster("b", config.IPIP, "10.0.0.1", "/webapp/status", "204.109.13.7"),
		ipipCluster("direct", config.DR, "10.0.0.1", "/webapp/status", "204.109.13.20"),
		ipipCluster("elsewhere", config.IPIP, "10.0.0.2", "/webapp/status", "204.109.13.21"),
	}
	b := &bench{log: &agenttest.Log{}, reload: make(chan struct{}, 1), cfg: cfg}
	kernel := &fakeTunnel{}
	o := b.options()
	o.LocalAddrs = func() ([]netip.Addr, error) { return localAddrs(), nil }
	o.Tunnel = kernel
	run := func(during func()) {
		t.Helper()
		a, err := New(t.Context(), o)
		if err != nil {
			t.Fatal(err)
		}
		ctx, cancel := context.WithCancel(t.Context())
		ended := make(chan error)
		go func() { ended <- a.Run(ctx) }()
		during()
		cancel()
		if err := <-ended; err != nil {
			t.Fatal(err)
		}
	}
	run(func() {
		b.reload <- struct{}{}
		eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded") == 1 })
	})
	if want := slices.Repeat([]string{"[204.109.13.7 204.109.13.8] [10.0.0.1]"}, 2); !slices.Equal(kernel.calls, want) {
		t.Errorf("Up was called with %q, want %q", kernel.calls, want)
	}

	kernel.fail = errors.New("no tunl0")
	if _, err := New(t.Context(), o); err == nil || !strings.Contains(err.Error(), "no tunl0") {
		t.Errorf("New = %v, want the error of Up", err)
	}
	cfg.Clusters = cfg.Clusters[3:]
	run(func() {})
	if b.log.Count("not a node of any cluster with ipip forwarding") != 1 || len(kernel.calls) != 3 {
		t.Errorf("calls %q, log:\n%s", kernel.calls, b.log)
	}
}

func TestServicesBehindAVirtualIP(t *testing.T) {
	cfg := &config.Config{Services: []config.Service{{Name: "webapp"}, {Name: "mail"}, {Name: "dns"}}}
	vip := netip.MustParseAddr
	web := ipipCluster("web", config.IPIP, "10.0.0.1", "/webapp/status", "192.0.2.1", "192.0.2.2")
	mail := ipipCluster("post", config.IPIP, "10.0.0.1", "//mail/status", "192.0.2.2", "192.0.2.3")
	other := ipipCluster("other", config.IPIP, "10.0.0.1", "/health", "192.0.2.4")
	for _, tt := range []struct {
		name     string
		clusters []config.Cluster
		want     map[netip.Addr][]string
	}{
		{"by the path of this machine's node entry",
			[]config.Cluster{web, ipipCluster("dns", config.DR, "10.0.0.1", "/dns/status", "192.0.2.1")},
			map[netip.Addr][]string{vip("192.0.2.1"): {"webapp"}, vip("192.0.2.2"): {"webapp"}}},
		{"shared by clusters, one of them not to be mapped", []config.Cluster{web, other}, map[netip.Addr][]string{
			vip("192.0.2.1"): {"webapp"}, vip("192.0.2.2"): {"webapp"}, vip("192.0.2.4"): {"webapp"},
		}},
		{"none can be mapped", []config.Cluster{mail, other}, map[netip.Addr][]string{
			vip("192.0.2.2"): {"webapp", "mail", "dns"}, vip("192.0.2.3"): {"webapp", "mail", "dns"},
			vip("192.0.2.4"): {"webapp", "mail", "dns"},
		}},
		{"not this machine's", []config.Cluster{ipipCluster("x", config.IPIP, "10.0.0.2", "/webapp/status", "192.0.2.1")},
			map[netip.Addr][]string{}},
	} {
		t.Run(tt.name, func(t *testing.T) {
			cfg.Clusters = tt.clusters
			got := servicesBehind(cfg, localAddrs())
			if d := cmp.Diff(tt.want, got, cmp.Comparer(func(a, b netip.Addr) bool { return a == b })); d != "" {
				t.Error(d)
			}
		})
	}
}

func TestAFaultOfTheTunnelTakesTheServicesBehindItDown(t *testing.T) {
	dir := shortDir(t)
	mail := webapp("true")
	mail.Name = "mail"
	cfg := configIn(dir, webapp("true"), mail)
	cfg.Agent.Tunnel.Enabled = true
	cfg.Clusters = []config.Cluster{
		ipipCluster("a", config.IPIP, "10.0.0.1", "/webapp/status", "192.0.2.1"),
		ipipCluster("b", config.IPIP, "10.0.0.1", "/mail/status", "192.0.2.2"),
	}
	kernel := &fakeTunnel{}
	b, _ := runningWith(t, cfg, func(o *Options) {
		o.Tunnel = kernel
		o.LocalAddrs = func() ([]netip.Addr, error) { return localAddrs(), nil }
	})
	get := func(path string, json bool) string { return getBody(t, b, path, json) }
	before := get("/webapp/status", false)
	list := get("/", false)
	eventually(t, "the tunnel is watched", kernel.watched)

	kernel.take("192.0.2.1")
	eventually(t, "webapp is down", func() bool {
		return strings.HasPrefix(get("/webapp/status", false), "Health: 0\nMeasured Health: 0\n")
	})
	if page := get("/webapp/status", false); !strings.Contains(page, "\nDependency::Tunnel(192.0.2.1 is not on tunl0): FAIL\n") {
		t.Errorf("status page:\n%s", page)
	}
	if page := get("/mail/status", false); !strings.HasPrefix(page, "Health: 85\n") || strings.Contains(page, "Tunnel") {
		t.Errorf("status page of the other service:\n%s", page)
	}
	for path, want := range map[string]string{
		"/": `"what": "192.0.2.1 is not on tunl0"`, "/webapp/status": `"tunnel": "192.0.2.1 is not on tunl0"`,
	} {
		if page := get(path, true); !strings.Contains(page, want) {
			t.Errorf("no %q in %s:\n%s", want, path, page)
		}
	}
	if page := get("/", false); !strings.HasSuffix(page, "\n tunnel: 192.0.2.1 is not on tunl0: no traffic for 192.0.2.1\n") {
		t.Errorf("list:\n%s", page)
	}
	metrics := get("/metrics", false)
	for _, want := range []string{
		`lb_agent_tunnel_up{vip="192.0.2.1"} 0`, `lb_agent_tunnel_up{vip="192.0.2.2"} 1`, "lb_agent_tunnel_drift_total 1",
		`lb_agent_health{service="webapp"} 0`,
	} {
		if !strings.Contains(metrics, want+"\n") {
			t.Errorf("no %s in the metrics", want)
		}
	}
	eventually(t, "the log says why", func() bool {
		return b.log.Count("service is down", "service=webapp", "tunnel: 192.0.2.1 is not on tunl0") == 1
	})

	kernel.take()
	eventually(t, "webapp is up again", func() bool { return get("/webapp/status", false) == before && get("/", false) == list })
}

// getBody returns the body of a page.
func getBody(t *testing.T, b *bench, path string, json bool) string {
	t.Helper()
	headers := []string{}
	if json {
		headers = append(headers, "Accept", "application/json")
	}
	return bodyOf(t, b.do(server.TCP, "GET", path, "", headers...))
}
