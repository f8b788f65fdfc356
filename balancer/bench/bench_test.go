//go:build bench

// Package bench measures what it costs a balancer to watch a fleet (scripts/bench balancer; docs/performance.md has the results).
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
	nodes    = 10 // per cluster
	interval = time.Second

	// startupTimeout bounds the wait until all nodes are watched.
	startupTimeout = time.Minute
	// A measurement takes measureTime, after the balancer had settleTime to become idle.
	settleTime  = 5 * time.Second
	measureTime = 20 * time.Second
)

// TestMain runs the balancer in the processes that the tests start.
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

// balance runs a balancer with tables in memory and that many clusters of the fleet, until standard input ends.
func balance(port uint16, clusters int, watch config.WatchMode) error {
	dir, err := os.MkdirTemp("", "lb")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	cfg := &config.Config{Balancer: config.Balancer{
		Listen: "127.0.0.1:0", Control: filepath.Join(dir, "lb.sock"), DataDir: filepath.Join(dir, "data"),
	}}
	for c := range clusters {
		cluster := config.Cluster{
			Name: fmt.Sprintf("web%d", c), Mark: uint32(c + 1), Scheduler: "wlc", Forwarding: config.IPIP,
			CheckInterval: interval, CheckTimeout: interval / 2, Rise: 1, Fall: 2, DrainTimeout: time.Minute, Autostart: true, Watch: watch,
			VIPs: []config.VIP{{Address: netip.AddrFrom4([4]byte{198, 18, byte(c >> 8), byte(c)}), Protocol: "tcp", Ports: []uint16{443}}},
		}
		for n := range nodes {
			cluster.Nodes = append(cluster.Nodes, config.Node{
				Address: netip.AddrFrom4([4]byte{127, byte(c >> 8), byte(c), byte(n + 1)}), Port: port,
				Path: "/" + cluster.Name + "/status",
			})
		}
		cfg.Clusters = append(cfg.Clusters, cluster)
	}
	daemon.TuneRuntime(cfg.Clusters) // as lb balance does
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	go func() {
		defer cancel()
		_, _ = io.Copy(io.Discard, os.Stdin) // until EOF
	}()
	b, err := balancer.New(ctx, balancer.Options{
		Load: func() (*config.Config, error) { return cfg, nil }, Table: ipvs.NewMemory(), Marks: mark.NewMemory(),
		Log: slog.New(slog.DiscardHandler),
	})
	if err != nil {
		return err
	}
	return b.Run(ctx)
}

// start runs balance in a child process until the test ends.
func start(t *testing.T, f *fleet, clusters int, watch config.WatchMode) procfs.Proc {
	t.Helper()
	child := exec.Command(os.Args[0])
	child.Env = append(os.Environ(), fmt.Sprintf("LB_BENCH_PORT=%d", f.port), fmt.Sprintf("LB_BENCH_CLUSTERS=%d", clusters),
		"LB_BENCH_WATCH="+string(watch))
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

// waitFor waits until done returns true.
func waitFor(t *testing.T, what string, done func() bool) {
	t.Helper()
	limit, tick := time.After(startupTimeout), time.NewTicker(100*time.Millisecond)
	defer tick.Stop()
	for !done() {
		select {
		case <-limit:
			t.Fatalf("not within %s: %s", startupTimeout, what)
		case <-tick.C:
		}
	}
}

// usage is what a process used during a measurement.
type usage struct {
	cpu            float64 // fraction of a core
	resident, peak uint64  // bytes
}

// processorTime returns the processor time of a process so far, in seconds.
func processorTime(t *testing.T, p procfs.Proc) float64 {
	t.Helper()
	stat, err := p.Stat()
	if err != nil {
		t.Fatal(err)
	}
	return stat.CPUTime()
}

func measure(t *testing.T, p procfs.Proc) usage {
	t.Helper()
	<-time.After(settleTime)
	before, start := processorTime(t, p), time.Now()
	<-time.After(measureTime)
	u := usage{cpu: (processorTime(t, p) - before) / time.Since(start).Seconds()}
	status, err := p.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	u.resident, u.peak = status.VmRSS, status.VmHWM
	return u
}

func TestPolling(t *testing.T) {
	const clusters = 500
	f := newFleet(t, false)
	p := start(t, f, clusters, config.WatchPoll)
	waitFor(t, "every node was polled twice", func() bool { return f.polls.Load() >= 2*clusters*nodes })
	before, start := f.polls.Load(), time.Now()
	u := measure(t, p)
	perSecond := float64(f.polls.Load()-before) / time.Since(start).Seconds()
	if perSecond < clusters*nodes*0.98 {
		t.Errorf("only %.0f polls per second", perSecond)
	}
	publish(t, "polled", clusters, fmt.Sprintf("%.0f polls/s, %.1f µs each; a core and 150 MiB: %s", perSecond, u.cpu/perSecond*1e6,
		goal(u, 1)), u)
}

func TestStreams(t *testing.T) {
	for _, clusters := range []int{1, 10, 20, 100, 500} {
		t.Run(strconv.Itoa(clusters*nodes), func(t *testing.T) {
			f := newFleet(t, true)
			p := start(t, f, clusters, config.WatchAuto)
			all := int64(clusters * nodes)
			waitFor(t, "every node's stream is open", func() bool { return f.open.Load() == all })
			<-time.After(settleTime)
			before := f.polls.Load()
			own, err := procfs.NewProc(os.Getpid())
			if err != nil {
				t.Fatal(err)
			}
			beats, start, sending := f.beats.Load(), time.Now(), processorTime(t, own)
			u := measure(t, p)
			sent, took := float64(f.beats.Load()-beats), time.Since(start).Seconds()
			polls := f.polls.Load() - before
			publish(t, "streams", clusters, fmt.Sprintf(
				"%.0f heartbeats/s, %.1f µs each here, %.1f µs in the server and both kernels; %d polls; 5 %% and 150 MiB: %s",
				sent/took, u.cpu*took/sent*1e6, (processorTime(t, own)-sending)/sent*1e6, polls, goal(u, 0.05)), u)
			if open := f.open.Load(); open != all || polls > all/100 {
				t.Errorf("%d streams open, %d polls", open, polls)
			}
		})
	}
}

// goal compares with the goals for CPU and memory. A missed goal does not fail the test: it may be the machine's fault.
func goal(u usage, cpu float64) string {
	if u.cpu < cpu && u.peak < 150<<20 {
		return "met"
	}
	return "MISSED"
}

// publish logs a line of the table, and appends it to the file LB_BENCH_OUT.
func publish(t *testing.T, name string, clusters int, detail string, u usage) {
	t.Helper()
	load, err := os.ReadFile("/proc/loadavg")
	if err != nil {
		t.Fatal(err)
	}
	first, _, _ := strings.Cut(string(load), " ")
	line := fmt.Sprintf("%-8s %d nodes in %d clusters: %5.2f %% of a core, %.1f MiB resident (%.1f at most); %s; load average %s\n",
		name, clusters*nodes, clusters, u.cpu*100, float64(u.resident)/(1<<20), float64(u.peak)/(1<<20), detail, first)
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
