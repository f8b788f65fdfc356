package watch

import (
	"context"
	"log/slog"
	"net"
	"net/http"
	"net/netip"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/agent"
	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// patience bounds waits for things that are immediate on an idle machine.
const patience = 30 * time.Second

// serveAgent runs a real agent with one service, web, of health 92. stop ends it and waits.
func serveAgent(t *testing.T, dir, listen string) (address net.Addr, stop func()) {
	t.Helper()
	cfg := &config.Config{
		Agent: config.Agent{
			Listen: listen, Control: filepath.Join(dir, "agent.sock"), DataDir: filepath.Join(dir, "data"),
			Access: config.Access{TrustLoopback: true},
		},
		Services: []config.Service{{Name: "web", Metrics: []config.Check{
			{Role: config.Metric, Type: "constant", Interval: time.Hour, Timeout: time.Second, Weight: 92, Options: config.NewOptions(nil)},
		}}},
	}
	ready := make(chan struct{})
	a, err := agent.New(t.Context(), agent.Options{
		Load: func() (*config.Config, error) { return cfg, nil }, Log: slog.New(slog.DiscardHandler), Hostname: "app01",
		Ready: func() { close(ready) },
	})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan error, 1)
	go func() { ended <- a.Run(ctx) }()
	<-ready
	stop = sync.OnceFunc(func() {
		cancel()
		if err := <-ended; err != nil {
			t.Errorf("the agent: %v", err)
		}
	})
	t.Cleanup(stop)
	return a.Addr(), stop
}

// request sends a request to a real agent, which must succeed.
func request(t *testing.T, method string, address net.Addr, target string) {
	t.Helper()
	req, err := http.NewRequestWithContext(t.Context(), method, "http://"+address.String()+target, nil)
	if err != nil {
		t.Fatal(err)
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	resp, err := client.Do(req)
	if err != nil {
		t.Fatal(err)
	}
	defer resp.Body.Close()
	if resp.StatusCode/100 != 2 {
		t.Fatalf("%s %s: %s", method, target, resp.Status)
	}
}

// With an interval of an hour, nobody waits for the next regular poll.
func TestTheEndOfARealStreamIsPolledAtOnce(t *testing.T) {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address, stop := serveAgent(t, dir, "127.0.0.1:0")
	at := netip.MustParseAddrPort(address.String())
	node, monitor := config.Node{Address: at.Addr(), Port: at.Port(), Path: "/web/status"}, NewHeartbeatMonitor()
	c := config.Cluster{Name: "web", CheckInterval: time.Hour, CheckTimeout: patience, Rise: 1, Fall: 2, Watch: config.WatchAuto}
	start := time.Now().Add(-New(c, node, time.Now(), monitor).phase()).Add(100 * time.Millisecond) // its phase is soon
	w := New(c, node, start, monitor)
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan Update)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { monitor.Run(ctx) })
	running.Go(func() { w.Run(ctx, NewHTTPPoller(node), out) })
	for end := time.After(patience); ; {
		select {
		case u := <-out:
			if !u.Reading.Answered {
				return
			}
			if w.Streaming() {
				stop()
			}
		case <-end:
			t.Fatal("timed out waiting for a poll after the agent's end")
		}
	}
}

func TestWatcherFollowsARealAgentThroughForcesAndARestart(t *testing.T) {
	dir, err := os.MkdirTemp("", "lb") // short enough for the name of a socket
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = os.RemoveAll(dir) })
	address, stop := serveAgent(t, dir, "127.0.0.1:0")
	at := netip.MustParseAddrPort(address.String())
	node := config.Node{Address: at.Addr(), Port: at.Port(), Path: "/web/status"}
	monitor := NewHeartbeatMonitor()
	w := New(config.Cluster{
		Name: "web", CheckInterval: 500 * time.Millisecond, CheckTimeout: 400 * time.Millisecond, Rise: 1, Fall: 2, Watch: config.WatchAuto,
	}, node, time.Now(), monitor)
	ctx, cancel := context.WithCancel(t.Context())
	out := make(chan Update)
	var running sync.WaitGroup
	defer running.Wait()
	defer cancel()
	running.Go(func() { monitor.Run(ctx) })
	running.Go(func() { w.Run(ctx, NewHTTPPoller(node), out) })
	await := func(what string, matches func(r decide.Reading) bool) {
		t.Helper()
		for end := time.After(patience); ; {
			select {
			case u := <-out:
				if matches(u.Reading) {
					return
				}
			case <-end:
				t.Fatalf("timed out waiting for %s", what)
			}
		}
	}
	byStream := func(health int) func(r decide.Reading) bool {
		return func(r decide.Reading) bool {
			return w.Streaming() && r.Answered && r.Health == health && !strings.Contains(r.Detail, "X-Health")
		}
	}
	await("the stream's first event", byStream(92))
	request(t, http.MethodPost, address, "/web/down?reason=apt+upgrades&who=kim")
	await("the force", func(r decide.Reading) bool {
		return byStream(0)(r) && r.Detail == "agent reported health 0, forced: apt upgrades" && r.Forced
	})
	request(t, http.MethodDelete, address, "/web/down")
	await("the end of the force", func(r decide.Reading) bool { return byStream(92)(r) && !r.Forced })
	stop()
	await("the agent's end", func(r decide.Reading) bool { return !r.Answered })
	_, _ = serveAgent(t, dir, address.String())
	await("the new agent", func(r decide.Reading) bool { return r.Health == 92 })
	await("the new agent's stream", byStream(92))
	request(t, http.MethodPost, address, "/web/health?health=17")
	await("a force on the new agent", byStream(17))
}
