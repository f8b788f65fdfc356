//go:build bench

// Package bench measures what watching a fleet costs a balancer: scripts/bench balancer. docs/performance.md says what came out.
package bench

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/braintree/lb/balancer"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/ctl/daemon"
	"github.com/braintree/lb/netx/ipvs"
	"github.com/braintree/lb/netx/mark"
)

const (
	nodes    = 10 // of each cluster
	interval = time.Second

	// patience bounds the wait until everything is watched.
	patience = time.Minute
	// restTime is how long the balancer settles before it is measured, measureTime how long it is measured.
	restTime    = 5 * time.Second
	measureTime = 20 * time.Second
)

// TestMain is the balancer itself in the processes that the tests start.
func TestMain(m *testing.M) {
	port, err := strconv.ParseUint(os.Getenv("LB_BENCH_PORT"), 10, 16)
	if err != nil {
		os.Exit(m.Run())
	}
	clusters, err := strconv.Atoi(os.Getenv("LB_BENCH_CLUSTERS"))
	if err == nil {
		err = balance(uint16(port), clusters, config.WatchMode(os.Getenv("LB_BENCH_WATCH")))
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}

// balance runs a balancer of so many clusters of the fleet on tables in memory until its standard input ends.
func balance(port uint16, clusters int, how config.WatchMode) error {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := &config.Config{Balancer: config.Balancer{Listen: "127.0.0.1:0", Control: filepath.Join(dir, "lb.sock"), DataDir: filepath.Join(dir, "data")}}
	for c := range clusters {
		cluster := config.Cluster{
			Name: fmt.Sprintf("web%d", c), Mark: uint32(c + 1), Scheduler: "wlc", Forwarding: config.IPIP, CheckInterval: interval, CheckTimeout: interval / 2,
			Rise: 1, Fall: 2, DrainTimeout: time.Minute, Autostart: true, Watch: how,
			VIPs: []config.VIP{{Address: netip.AddrFrom4([4]byte{198, 18, byte(c >> 8), byte(c)}), Protocol: "tcp", Ports: []uint16{443}}},
		}
		for n := range nodes {
			cluster.Nodes = append(cluster.Nodes, config.Node{
				Address: netip.AddrFrom4([4]byte{127, byte(c >> 8), byte(c), byte(n + 1)}), Port: port, Path: "/" + cluster.Name + "/status",
			})
		}
		cfg.Clusters = append(cfg.Clusters, cluster)
	}
	daemon.TuneRuntime(cfg.Clusters) // as lb balance does
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // until its end
	}()
	b, err := balancer.New(ctx, balancer.Options{
		Load: func() (*config.Config, error) { return cfg, nil }, Table: ipvs.NewMemory(), Marks: mark.NewMemory(), Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// start runs a balancer of so many clusters of the fleet in a process of its own until the test ends.
func start(t *testing.T, f *fleet, clusters int, how config.WatchMode) procfs.Proc {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("LB_BENCH_PORT=%d", f.port), fmt.Sprintf("LB_BENCH_CLUSTERS=%d", clusters), "LB_BENCH_WATCH="+string(how))
	child.Stdout, child.Stderr = t.Output(), t.Output()
	stdin, err := child.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := child.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = stdin.Close()
		if err := child.Wait(); err != nil {
			t.Error(err)
		}
	})
	p, err := procfs.NewProc(child.Process.Pid)
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// until waits for a count to come to its goal.
func until(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit, tick := time.After(patience), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit:
			t.Fatalf("after %s still not: %s", patience, what)
		case <-tick.C:
		}
	}
}

// measured is what a process used in a while.
type measured struct {
	core           float64 // share of one
	resident, peak uint64  // bytes
}

func measure(t *testing.T, p procfs.Proc) measured {
	t.Helper()
	<-time.After(restTime)
	processor := func() float64 {
		stat, err := p.Stat()
		if err != nil {
			t.Fatal(err)
		}
		return stat.CPUTime()
	}
	before, begun := processor(), time.Now()
	<-time.After(measureTime)
	m := measured{core: (processor() - before) / time.Since(begun).Seconds()}
	status, err := p.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	m.resident, m.peak = status.VmRSS, status.VmHWM
	return m
}

func TestPolling(t *testing.T) {
	const clusters = 500
	f := newFleet(t, false)
	p := start(t, f, clusters, config.WatchPoll)
	until(t, "every node was polled twice", func() bool { return f.polls.Load() >= 2*clusters*nodes })
	before, begun := f.polls.Load(), time.Now()
	m := measure(t, p)
	perSecond := float64(f.polls.Load()-before) / time.Since(begun).Seconds()
	if perSecond < clusters*nodes*0.98 {
		t.Errorf("only %.0f polls a second", perSecond)
	}
	publish(t, "polled", clusters, fmt.Sprintf("%.0f polls/s, %.1f µs each; a core and 150 MiB: %s", perSecond, m.core/perSecond*1e6, verdict(m, 1)), m)
}

func TestStreams(t *testing.T) {
	for _, clusters := range []int{1, 10, 500} {
		t.Run(strconv.Itoa(clusters*nodes), func(t *testing.T) {
			f := newFleet(t, true)
			p := start(t, f, clusters, config.WatchAuto)
			all := int64(clusters * nodes)
			until(t, "every node's stream is open", func() bool { return f.open.Load() == all })
			<-time.After(restTime)
			before := f.polls.Load()
			m := measure(t, p)
			polls := f.polls.Load() - before
			publish(t, "streams", clusters, fmt.Sprintf("a heartbeat each %s, %d polls; 5 %% and 150 MiB: %s", interval, polls, verdict(m, 0.05)), m)
			if open := f.open.Load(); open != all || polls > all/100 {
				t.Errorf("%d streams are open, %d polls beside them", open, polls)
			}
		})
	}
}

// verdict compares with what is asked for. A goal that is missed is told in the table and fails nothing, for it may be the machine's fault.
func verdict(m measured, core float64) string {
	if m.core < core && m.peak < 150<<20 {
		return "met"
	}
	return "MISSED"
}

// publish shows a line of the table, and adds it to the file that LB_BENCH_OUT names.
func publish(t *testing.T, name string, clusters int, detail string, m measured) {
	t.Helper()
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(load), " ")
	line := fmt.Sprintf("%-8s %d nodes in %d clusters: %5.2f %% of a core, %.1f MiB resident (%.1f at most); %s; load average %s\n",
		name, clusters*nodes, clusters, m.core*100, float64(m.resident)/(1<<20), float64(m.peak)/(1<<20), detail, first)
	t.Log(line)
	path := os.Getenv("LB_BENCH_OUT")
	if path == "" {
		return
	}
	out, err := os.OpenFile(path, os.O_APPEND|os.O_CREATE|os.O_WRONLY, 0o644)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := out.WriteString(line); err != nil {
		t.Error(err)
	}
	if err := out.Close(); err != nil {
		t.Error(err)
	}
}
