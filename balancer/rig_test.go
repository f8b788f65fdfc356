package balancer

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"go.uber.org/goleak"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/balancer/watch"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// Values of fleet.set for a node that does not respond.
const (
	connRefused = -1 // refuses the connection
	timesOut    = -2 // accepts it, and never responds
)

// fleet is the nodes of a test: their health, and how often they have been polled.
type fleet struct {
	mu     sync.Mutex // protects the maps
	health map[netip.Addr]int
	polls  map[netip.Addr]int
}

func (f *fleet) set(address string, health int) {
	f.mu.Lock()
	defer f.mu.Unlock()
	f.health[addr(address)] = health
}

func (f *fleet) polled(address string) int {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.polls[addr(address)]
}

func (f *fleet) poller(n config.Node) watch.Poller { return &fakePoller{f, n.Address} }

type fakePoller struct {
	fleet *fleet
	node  netip.Addr
}

func (p *fakePoller) Poll(ctx context.Context) decide.Reading {
	p.fleet.mu.Lock()
	health, known := p.fleet.health[p.node]
	p.fleet.polls[p.node]++
	p.fleet.mu.Unlock()
	switch {
	case health == timesOut:
		<-ctx.Done()
		return decide.Reading{At: time.Now(), Detail: "timeout"}
	case health == connRefused || !known:
		return decide.Reading{At: time.Now(), Detail: "connection refused"}
	}
	return decide.Reading{At: time.Now(), Answered: true, Health: health, Detail: fmt.Sprintf("agent reported health %d", health)}
}

func (p *fakePoller) Close() {}

func addr(s string) netip.Addr { return netip.MustParseAddr(s) }

// webapp is a cluster of the nodes 10.0.0.N.
func webapp(name string, m uint32, nodes ...int) config.Cluster {
	c := config.Cluster{
		Name: name, Mark: m, Scheduler: "wlc", Forwarding: config.IPIP, CheckInterval: 2 * time.Second, CheckTimeout: time.Second,
		Rise: 1, Fall: 2, DrainTimeout: time.Minute,
		Weights: config.Weights{Mode: config.ActiveActive, AllDown: config.RefuseAll,
			Downpage: config.Downpage{Address: addr("169.254.254.254")}},
		VIPs: []config.VIP{{Address: addr("204.109.13.7"), Interface: "eth10", Protocol: "tcp", Ports: []uint16{uint16(m)}}},
	}
	for _, n := range nodes {
		c.Nodes = append(c.Nodes, config.Node{Address: addr(fmt.Sprintf("10.0.0.%d", n)), Port: 9293, Path: "/" + name + "/status"})
	}
	return c
}

// rig runs an engine on tables in memory, with fake nodes, in a synctest bubble.
type rig struct {
	t        *testing.T
	fleet    *fleet
	sites    *remoteSites
	balancer config.Balancer // the [balancer] section
	table    *ipvs.Memory
	marks    *mark.Memory
	log      *logs
	network  Network // nil: nobody reports the state of the machine's network
	engine   *engine
	dir      string // data_dir
	kill     func()
}

func newRig(t *testing.T) *rig {
	return &rig{
		t: t, fleet: &fleet{health: map[netip.Addr]int{}, polls: map[netip.Addr]int{}},
		sites: &remoteSites{lists: map[netip.Addr][]watch.RemoteBalancer{}},
		table: ipvs.NewMemory(), marks: mark.NewMemory(), log: &logs{}, dir: t.TempDir(),
	}
}

// boot starts an engine, as the daemon does, and waits for the first readings. The tables stay as they are.
func (r *rig) boot(clusters ...config.Cluster) {
	r.t.Helper()
	r.engine = newEngine(Options{
		Table: r.table, Marks: r.marks, NewPoller: r.fleet.poller, NewSitePoller: r.sites.poller, Network: r.network,
		Log: slog.New(slog.NewTextHandler(r.log, nil)),
	})
	if err := r.engine.drains.open(r.dir); err != nil {
		r.t.Fatal(err)
	}
	r.engine.configure(&config.Config{Balancer: r.balancer, Clusters: clusters})
	ctx, cancel := context.WithCancel(r.t.Context())
	go r.engine.run(ctx)
	r.kill = func() { cancel(); <-r.engine.done }
	r.t.Cleanup(r.kill)
	synctest.Wait()
	r.wait(50 * time.Millisecond)
}

func (r *rig) wait(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

func (r *rig) start(name string) {
	r.t.Helper()
	if changed, err := r.engine.Start(r.t.Context(), name, "test"); !changed || err != nil {
		r.t.Fatalf("start %s: changed %v, %v", name, changed, err)
	}
}

// block keeps the engine's goroutine busy until unblock is called. unblock waits until that goroutine is idle again.
func (r *rig) block() (unblock func()) {
	r.t.Helper()
	blocked, release := make(chan struct{}), make(chan struct{})
	go func() {
		_ = r.engine.do(context.Background(), func(context.Context) { close(blocked); <-release })
	}()
	<-blocked
	return func() { close(release); synctest.Wait() }
}

// dump prints the table: "7 wlc 10.0.0.1=100 10.0.0.2=0".
func (r *rig) dump() string {
	r.t.Helper()
	services, err := r.table.Dump(context.Background())
	if err != nil {
		r.t.Fatal(err)
	}
	var lines []string
	for _, s := range services {
		line := fmt.Sprintf("%d %s", s.Mark, s.Scheduler)
		for _, d := range s.Destinations {
			line += fmt.Sprintf(" %s=%d", d.Address, d.Weight)
		}
		lines = append(lines, line)
	}
	return strings.Join(lines, "\n")
}

func (r *rig) wantTable(want string) {
	r.t.Helper()
	if got := r.dump(); got != want {
		r.t.Fatalf("the kernel has\n%s\nwant\n%s\nlog:\n%s", got, want, r.log)
	}
}

func (r *rig) wantLog(words ...string) {
	r.t.Helper()
	for _, w := range words {
		if !strings.Contains(r.log.String(), w) {
			r.t.Errorf("the log does not contain %q:\n%s", w, r.log)
		}
	}
}

// logs collects log output.
type logs struct {
	mu  sync.Mutex // protects buf
	buf bytes.Buffer
}

func (l *logs) Write(p []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.Write(p)
}

func (l *logs) String() string {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.buf.String()
}

// seed puts a service of the nodes 10.0.0.N into the table, as an earlier run or another program would: weights by N.
func (r *rig) seed(m ipvs.Mark, scheduler string, weights map[int]ipvs.Weight) {
	s := ipvs.Service{Key: ipvs.Key{Mark: m, Family: ipvs.IPv4}, Scheduler: scheduler}
	for n, w := range weights {
		s.Destinations = append(s.Destinations, ipvs.Destination{Address: addr(fmt.Sprintf("10.0.0.%d", n)), Forwarding: ipvs.Tunnel,
			Weight: w})
	}
	r.table.Seed(s)
}

var errBusy = errors.New("device or resource busy")
