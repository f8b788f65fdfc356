package agent

import (
	"bufio"
	"bytes"
	"context"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/schedule"
	"github.com/braintree/lb/agent/server"
	"github.com/braintree/lb/agent/service"

	"golang.org/x/sys/unix"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sse"
)

// Figures: go test -run '^$' -bench 'Event|Streams' -benchtime 2000x ./agent
//          go test -run '^$' -bench Heartbeats -benchtime 50x ./agent (each a fifth of a second)

// latencies are the latencies of single events.
type latencies []time.Duration

// at returns the quantile of a share from 0 to 1.
func (l latencies) at(share float64) time.Duration {
	sorted := slices.Sorted(slices.Values(l))
	return sorted[min(int(share*float64(len(sorted))), len(sorted)-1)]
}

func (l latencies) report(b *testing.B) {
	for name, share := range map[string]float64{"p50-µs": 0.5, "p99-µs": 0.99, "max-µs": 1} {
		b.ReportMetric(float64(l.at(share).Nanoseconds())/1e3, name)
	}
}

// forceToEvent forces a service n times, one at a time. The latencies are from the moment the force is in
// effect to its event, and from the request on the control socket, which includes writing the force to disk.
func forceToEvent(t testing.TB, n, others int) (fromEffect, fromRequest latencies) {
	dir := shortDir(t)
	b, _ := running(t, configIn(dir, webapp("true")))
	defer crowd(t, b, others)()
	w := agenttest.Watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", "")
	defer w.Close()
	w.NextEvent()
	transport := &http.Transport{DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, "unix", filepath.Join(dir, "agent.sock"))
	}}
	defer transport.CloseIdleConnections()
	post := func(query string) {
		answer, err := (&http.Client{Transport: transport}).Post("http://agent/webapp/health?"+query, "", nil)
		if err != nil {
			t.Error(err)
			return
		}
		if answer.StatusCode != 201 {
			t.Error(answer.Status)
		}
		io.Copy(io.Discard, answer.Body)
		answer.Body.Close()
	}
	for i := range n {
		if err := b.changes.Store.Put(force.Force{Service: "webapp", Kind: score.Health, Value: i % 50, At: time.Now()}); err != nil {
			t.Fatal(err)
		}
		begun := time.Now()
		b.publish("webapp")
		w.NextEvent()
		fromEffect = append(fromEffect, time.Since(begun))

		begun = time.Now()
		var posting sync.WaitGroup
		posting.Go(func() { post(fmt.Sprintf("health=%d", 50+i%50)) })
		w.NextEvent()
		fromRequest = append(fromRequest, time.Since(begun))
		posting.Wait()
	}
	return fromEffect, fromRequest
}

// resultToEvent runs a check that alternately passes and fails, for about n failures. The latencies are from
// the end of a run to its event.
func resultToEvent(t testing.TB, n, others int) (l latencies) {
	b, _ := running(t, configIn(shortDir(t), webapp("true")))
	ended := make([]atomic.Int64, 2*n+10) // by the number of the run, in nanoseconds
	epoch := time.Now()
	s := &agenttest.Check{Do: func(_ context.Context, run int) check.Result {
		if run < len(ended) {
			ended[run].Store(int64(time.Since(epoch)))
		}
		return check.Result{OK: run%2 == 0, Detail: fmt.Sprintf("run %d", run)}
	}}
	p := schedule.NewJob("webapp", config.Check{Role: config.Dependency, Type: "scripted", Interval: 10 * time.Millisecond,
		Timeout: 5 * time.Millisecond}, s, "app01", 0)
	ctx, cancel := context.WithCancel(context.Background())
	defer func() {
		cancel()
		b.jobs.Stop([]*schedule.Job{p})
	}()
	old := b.services.Current().ByName["webapp"]
	b.jobs.Start(ctx, []*schedule.Job{p})
	b.services.Replace(setOf(&service.Service{Name: "webapp", Depends: append([]*schedule.Job{p}, old.Depends...), Metrics: old.Metrics}))
	defer crowd(t, b, others)()
	w := agenttest.Watch(t, plainClient(t), "http://"+b.Addr().String()+"/webapp/watch", "")
	defer w.Close()
	w.NextEvent() // the current health
	for {
		e := w.NextEvent()
		now := time.Since(epoch)
		h := e.Health(t)
		if h.Health > 0 {
			continue
		}
		if strings.Contains(h.Reason, "no result for") {
			continue // the machine was too busy to run the check for three intervals
		}
		var run int
		if _, err := fmt.Sscanf(h.Reason, "Dependency::Scripted(x): run %d", &run); err != nil {
			t.Fatalf("reason %q: %v", h.Reason, err)
		}
		if run >= len(ended) {
			return l
		}
		l = append(l, now-time.Duration(ended[run].Load()))
	}
}

// crowd opens n further streams and discards what they send, until end is called.
func crowd(t testing.TB, b *bench, n int) (end func()) {
	return drain(open(t, b, n))
}

func open(t testing.TB, b *bench, n int) (conns []net.Conn) {
	t.Helper()
	for range n {
		c := dial(t, b)
		fmt.Fprintf(c, "GET /webapp/watch HTTP/1.1\r\nHost: app01\r\n\r\n")
		line, err := bufio.NewReaderSize(c, 16).ReadString('\n')
		if err != nil || line != "HTTP/1.1 200 OK\r\n" {
			t.Fatalf("stream %d: %q, %v", len(conns), line, err)
		}
		conns = append(conns, c)
	}
	return conns
}

func drain(conns []net.Conn) (end func()) {
	var reading sync.WaitGroup
	for _, c := range conns {
		reading.Go(func() { io.Copy(io.Discard, c) })
	}
	return func() {
		for _, c := range conns {
			c.Close()
		}
		reading.Wait()
	}
}

// maxLatency is far above the usual latency, so that the test passes on a busy machine. The benchmarks have
// the figures.
const maxLatency = 250 * time.Millisecond

func TestEventsFollowForcesAndResultsQuickly(t *testing.T) {
	fromEffect, fromRequest := forceToEvent(t, 50, 10)
	for name, l := range map[string]latencies{"force in effect": fromEffect, "request for a force": fromRequest,
		"result": resultToEvent(t, 25, 10)} {
		if got := l.at(0.5); len(l) < 20 || got > maxLatency {
			t.Errorf("from the %s to the event: median %s of %d events, want at most %s", name, got, len(l), maxLatency)
		}
	}
}

// arrival is a log that counts, at each force, whether a connection has data to read by then.
type arrival struct {
	conn         atomic.Pointer[net.TCPConn] // nil: not connected yet
	early, total atomic.Int32
}

func (a *arrival) Write(line []byte) (int, error) {
	c := a.conn.Load()
	if c == nil || !bytes.Contains(line, []byte("msg=forced ")) {
		return len(line), nil
	}
	a.total.Add(1)
	raw, err := c.SyscallConn()
	if err != nil {
		return 0, err
	}
	return len(line), raw.Control(func(fd uintptr) {
		if n, err := unix.IoctlGetInt(int(fd), unix.TIOCINQ); err == nil && n > 0 {
			a.early.Add(1)
		}
	})
}

// With one processor, no other goroutine can send the event while the handler logs. The runtime's scheduler
// is fair, so now and then the handler runs first.
func TestAnEventIsSentBeforeItsForceIsLogged(t *testing.T) {
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(1))
	const forces = 50
	var log arrival
	b, _ := runningWith(t, configIn(shortDir(t), webapp("true")), func(o *Options) { o.Log = slog.New(slog.NewTextHandler(&log, nil)) })
	c := dial(t, b)
	defer c.Close()
	fmt.Fprintf(c, "GET /webapp/watch HTTP/1.0\r\n\r\n")
	events := sse.NewReader(bufio.NewReader(c))
	event := func() {
		t.Helper()
		for {
			if e, err := events.Next(); err != nil || e.Name == "health" {
				if err != nil {
					t.Fatal(err)
				}
				return
			}
		}
	}
	event()
	log.conn.Store(c.(*net.TCPConn))
	for n := range forces {
		b.do(server.Socket, "POST", "/webapp/health", fmt.Sprintf("health=%d", n))
		event()
	}
	if early, total := log.early.Load(), log.total.Load(); total != forces || early < forces*4/5 {
		t.Errorf("of %d forces %d are in the log; the events of %d were sent before", forces, total, early)
	}
}

func BenchmarkForceToEvent(b *testing.B) {
	for _, others := range []int{0, 100} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			fromEffect, fromRequest := forceToEvent(b, b.N, others)
			fromEffect.report(b)
			b.ReportMetric(float64(fromRequest.at(0.5).Microseconds()), "request-p50-µs")
			b.ReportMetric(float64(fromRequest.at(0.99).Microseconds()), "request-p99-µs")
		})
	}
}

func BenchmarkResultToEvent(b *testing.B) {
	for _, others := range []int{0, 100} {
		b.Run(fmt.Sprintf("others=%d", others), func(b *testing.B) {
			resultToEvent(b, b.N, others).report(b)
		})
	}
}

// BenchmarkHeartbeats measures the processor time of a heartbeat, of the agent and both ends in the kernel: nobody reads them. The fewer
// there are, the more of it is waking up.
func BenchmarkHeartbeats(b *testing.B) {
	const interval = 200 * time.Millisecond
	for _, streams := range []int{2, 10, 100} {
		b.Run(fmt.Sprintf("streams=%d", streams), func(b *testing.B) {
			agent, _ := running(b, configIn(shortDir(b), webapp("true")))
			for range streams {
				c := dial(b, agent)
				defer c.Close()
				fmt.Fprintf(c, "GET /webapp/watch?heartbeat=%s&slowest=1m HTTP/1.0\r\n\r\n", interval)
				if line, err := bufio.NewReaderSize(c, 16).ReadString('\n'); err != nil || line != "HTTP/1.0 200 OK\r\n" {
					b.Fatalf("%q, %v", line, err)
				}
			}
			before := processorTime(b)
			tick := time.NewTicker(interval)
			defer tick.Stop()
			b.ResetTimer()
			for range b.N {
				<-tick.C
			}
			b.ReportMetric(float64((processorTime(b)-before).Microseconds())/float64(b.N*streams), "µs/heartbeat")
		})
	}
}

func processorTime(b *testing.B) time.Duration {
	var u unix.Rusage
	if err := unix.Getrusage(unix.RUSAGE_SELF, &u); err != nil {
		b.Fatal(err)
	}
	return time.Duration(u.Utime.Nano() + u.Stime.Nano())
}

// BenchmarkStreams measures the memory of an open stream, and the latency of an event with a thousand streams.
func BenchmarkStreams(b *testing.B) {
	const streams = 1000
	agent, _ := running(b, configIn(shortDir(b), webapp("true")))
	memory := func() uint64 {
		var m runtime.MemStats
		runtime.GC()
		runtime.ReadMemStats(&m)
		return m.HeapInuse + m.StackInuse
	}
	before := memory()
	conns := open(b, agent, streams)
	after := memory()
	defer drain(conns)()
	w := agenttest.Watch(b, plainClient(b), "http://"+agent.Addr().String()+"/webapp/watch", "")
	defer w.Close()
	w.NextEvent()
	for i := 0; b.Loop(); i++ {
		if err := agent.changes.Store.Put(force.Force{Service: "webapp", Kind: score.Health, Value: i % 2, At: time.Now()}); err != nil {
			b.Fatal(err)
		}
		agent.publish("webapp")
		w.NextEvent()
	}
	b.ReportMetric(float64(after-before)/streams, "B/stream")
}
