package server

import (
	"context"
	"net/http"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/agent/stream"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/audit"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// bubble is a server in a bubble of synctest, with one service "web" that has one scripted dependency.
type bubble struct {
	*Server
	client *http.Client
	log    *agenttest.Log
}

// newBubble starts a server with what it needs. find is where streams look for the service; nil: in the registry.
func newBubble(t *testing.T, interval time.Duration, c *agenttest.Check, find func(string, time.Time) (service.View, bool)) *bubble {
	t.Helper()
	log, hub, dir := &agenttest.Log{}, &stream.Hub{}, t.TempDir()
	store, _, err := force.Open(dir)
	if err != nil {
		t.Fatal(err)
	}
	cfg := config.Check{Role: config.Dependency, Type: "scripted", Interval: interval, Timeout: interval / 2}
	web := &service.Service{Name: "web", Depends: []*schedule.Job{schedule.NewJob("web", cfg, c, "app01", 0)}}
	registry := service.NewRegistry(
		&service.Set{Services: []*service.Service{web}, ByName: map[string]*service.Service{"web": web}}, store)
	if find == nil {
		find = registry.Find
	}
	b := &bubble{log: log, Server: New(Options{
		Services: registry, Streams: hub, Log: log.Logger(),
		Changes: &force.Changes{Store: store, Audit: audit.New(dir), Log: log.Logger(), Changed: hub.Refresh},
	})}
	jobs := schedule.New(log.Logger(), hub.Refresh)
	ctx, cancel := context.WithCancel(context.Background())
	jobs.Start(ctx, web.Depends)
	schedule.WaitForResults(ctx, time.Hour, web.Depends)
	hub.Open(find)
	pipes := agenttest.NewPipes()
	b.client = &http.Client{Transport: &http.Transport{DialContext: pipes.Dial, DisableKeepAlives: true}}
	server := b.HTTP(TCP)
	var wg sync.WaitGroup
	wg.Go(func() { hub.Run(ctx) })
	wg.Go(func() {
		if err := server.Serve(pipes); err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		jobs.Stop(web.Depends)
		jobs.Wait()
		stopping, stopped := context.WithTimeout(context.Background(), 3*time.Second)
		defer stopped()
		if server.Shutdown(stopping) != nil {
			server.Close()
		}
		wg.Wait()
		b.client.CloseIdleConnections()
	})
	return b
}

// watch opens a stream of the service.
func (b *bubble) watch(t *testing.T) *agenttest.Watcher {
	t.Helper()
	return agenttest.Watch(t, b.client, "http://agent/web/watch", "")
}
