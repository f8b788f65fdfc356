package balancer

import (
	"strings"
	"sync/atomic"
	"testing"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

func TestARefusedReloadCanBeForced(t *testing.T) {
	_, node := fakeAgent(t)
	cfg := daemonConfig(t, node)
	cfg.Clusters[0].Autostart = true
	o := options(cfg)
	var current atomic.Pointer[config.Config]
	current.Store(cfg)
	o.Load = func() (*config.Config, error) { return current.Load(), nil }
	ready := make(chan struct{})
	o.Ready = func() { close(ready) }
	b, _ := runDaemon(t, o)
	<-ready
	empty := *cfg
	empty.Clusters = nil
	current.Store(&empty)
	for _, tt := range []struct {
		socket, path, want string
		status             int
	}{
		{"", "/reload?force=true", "not accepted over TCP", 403},
		{cfg.Balancer.Control, "/reload?force=yes", "force must be true", 400},
		{cfg.Balancer.Control, "/reload", "lb ctl reload --force", 409},
		{cfg.Balancer.Control, "/reload?force=true", "reloaded", 200},
	} {
		if status, body := request(t, b, tt.socket, "POST", tt.path); status != tt.status || !strings.Contains(body, tt.want) {
			t.Errorf("POST %s: %d %q, want %d %q", tt.path, status, body, tt.status, tt.want)
		}
	}
	if services, err := o.Table.(*ipvs.Memory).Dump(t.Context()); err != nil || len(services) != 0 {
		t.Errorf("the table has %v, %v", services, err)
	}
	events, _ := b.engine.rec.Report.Journal.Since(0)
	if e := events[len(events)-1]; e.Kind != "config_reloaded" || !strings.HasSuffix(e.Cause, ", forced") {
		t.Errorf("the last event is %+v", e)
	}
}
