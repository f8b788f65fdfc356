package agent

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sse"
)

// pipes is a listener whose connections stay in a test's bubble, with its clock for their deadlines. What is written to one waits
// until it is read: no buffer of a kernel hides a slow reader.
type pipes struct {
	dialed chan net.Conn
	closed chan struct{}
	once   sync.Once
}

func (p *pipes) Accept() (net.Conn, error) {
	select {
	case c := <-p.dialed:
		return c, nil
	case <-p.closed:
		return nil, net.ErrClosed
	}
}

func (p *pipes) Close() error {
	p.once.Do(func() { close(p.closed) })
	return nil
}

func (p *pipes) Addr() net.Addr { return &net.UnixAddr{Name: "pipes", Net: "unix"} }

func (p *pipes) dial(context.Context, string, string) (net.Conn, error) {
	here, there := net.Pipe()
	p.dialed <- there
	return here, nil
}

// bubble is an agent in a bubble of synctest, with one service "web" that has one scripted dependency.
type bubble struct {
	*Agent
	pipes  *pipes
	client *http.Client
	probe  *probe
}

func newBubble(t *testing.T, interval time.Duration, s *scripted) *bubble {
	t.Helper()
	b := &bubble{Agent: &Agent{log: (&logged{}).logger(), opts: Options{Hostname: "app01"}}}
	cfg := configIn(t.TempDir(), config.Service{Name: "web"})
	var err error
	if b.forces, err = b.openForces(cfg); err != nil {
		t.Fatal(err)
	}
	b.scrape = b.newScrape()
	b.probe = newProbe("web", config.Check{Role: config.Dependency, Type: "scripted", Interval: interval, Timeout: interval / 2}, s, "app01", 0)
	svc := &service{name: "web", depends: []*probe{b.probe}}
	b.current.Store(&set{cfg: cfg, services: []*service{svc}, byName: map[string]*service{"web": svc}})
	ctx, cancel := context.WithCancel(context.Background())
	b.start(ctx, []*probe{b.probe})
	<-b.probe.ran
	b.streams.begin(b.lookUp)
	b.pipes = &pipes{dialed: make(chan net.Conn), closed: make(chan struct{})}
	b.client = &http.Client{Transport: &http.Transport{DialContext: b.pipes.dial, DisableKeepAlives: true}}
	server := b.newServer(overTCP)
	var wg sync.WaitGroup
	wg.Go(func() { b.streams.serve(ctx) })
	wg.Go(func() {
		if err := server.Serve(b.pipes); err != http.ErrServerClosed {
			t.Error(err)
		}
	})
	t.Cleanup(func() {
		cancel()
		b.await([]*probe{b.probe})
		stopping, stopped := context.WithTimeout(context.Background(), stopTime)
		defer stopped()
		shutdown(stopping, server)
		wg.Wait()
		b.client.CloseIdleConnections()
	})
	return b
}

// well is a dependency without failures.
func well() *scripted {
	return &scripted{run: func(context.Context, int) check.Result { return check.Result{OK: true} }}
}

func TestAStreamOutlivesTheServersDeadlinesAndHasAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, well())
		w := watch(t, b.client, "http://agent/web/watch", "")
		defer w.close()
		begun := time.Now()
		w.event()
		for n := 1; n <= 60; n++ { // the server's own deadlines are 10 s
			s, more := w.next()
			if !more {
				t.Fatalf("the stream ended after %s", time.Since(begun))
			}
			if at := time.Since(begun); s != (sent{comment: "heartbeat"}) || at != time.Duration(n)*sse.DefaultHeartbeat {
				t.Fatalf("at %s came %+v, want heartbeat %d", at, s, n)
			}
		}
	})
}

func TestAStreamBeatsAsItsClientAsks(t *testing.T) {
	for asked, want := range map[string]struct {
		header string
		every  time.Duration
	}{
		"?heartbeat=100ms": {"0.1", 100 * time.Millisecond},
		"?heartbeat=2.5s":  {"2.5", 2500 * time.Millisecond},
		"?heartbeat=1m":    {"60", time.Minute},
	} {
		t.Run(asked, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, time.Hour, well())
				r, err := b.client.Get("http://agent/web/watch" + asked)
				if err != nil {
					t.Fatal(err)
				}
				defer r.Body.Close()
				if got := r.Header.Get("X-Heartbeat"); got != want.header {
					t.Errorf("X-Heartbeat is %q, want %q", got, want.header)
				}
				w := &watcher{t, r.Body, bufio.NewScanner(r.Body)}
				w.event()
				begun := time.Now()
				for n := 1; n <= 3; n++ {
					if s, _ := w.next(); s.comment != "heartbeat" || time.Since(begun) != time.Duration(n)*want.every {
						t.Fatalf("at %s came %+v, want heartbeat %d", time.Since(begun), s, n)
					}
				}
			})
		})
	}
}

func TestAHeartbeatThatIsNoneIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, well())
		for _, asked := range []string{"99ms", "61s", "2", "-1s", "often", "%00"} {
			r, err := b.client.Get("http://agent/web/watch?heartbeat=" + asked)
			if err != nil {
				t.Fatal(err)
			}
			if body := bodyOf(t, r); r.StatusCode != http.StatusBadRequest || !strings.Contains(body, "write it as heartbeat=2s") {
				t.Errorf("heartbeat=%s: %s %q", asked, r.Status, body)
			}
		}
	})
}

func TestAResultThatGoesStaleIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &scripted{run: func(_ context.Context, n int) check.Result {
			if n == 2 {
				<-release
			}
			return check.Result{OK: true, Detail: "fine"}
		}}
		b := newBubble(t, 2*time.Second, s)
		result := time.Now()
		w := watch(t, b.client, "http://agent/web/watch", "")
		defer w.close()
		if e := w.event().health(t); e.Health != 100 {
			t.Fatalf("first %+v", e)
		}
		e := w.event().health(t)
		if after := time.Since(result); e.Health != 0 || e.Measured != 0 || after != 6*time.Second+1 || !strings.Contains(e.Reason, "no result for 6s") {
			t.Errorf("after %s: %+v, want 0 when the result is three intervals old", after, e)
		}
		close(release)
		if e := w.event().health(t); e.Health != 100 || e.Reason != "measured" {
			t.Errorf("with a new result: %+v", e)
		}
	})
}

func TestAnEqualResultIsNoEventAndKeepsTheServiceFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Second, well())
		w := watch(t, b.client, "http://agent/web/watch", "")
		defer w.close()
		w.event()
		for range 60 {
			if s, _ := w.next(); s.comment != "heartbeat" {
				t.Fatalf("%s: %+v", time.Now(), s)
			}
		}
		if _, counts := b.streams.state(); counts.events != 1 {
			t.Errorf("%d events, want 1", counts.events)
		}
	})
}

func TestTheExpiryOfAForceIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, well())
		w := watch(t, b.client, "http://agent/web/watch", "")
		defer w.close()
		w.event()
		begun := time.Now()
		for _, f := range []force.Force{
			{Kind: score.Up, Reason: "first", Expires: begun.Add(90 * time.Second)},
			{Kind: score.Down, Reason: "second", Expires: begun.Add(30 * time.Second)},
		} {
			f.Service, f.At = "web", begun
			if err := b.forces.Put(f); err != nil {
				t.Fatal(err)
			}
			b.forceChanged("web")
		}
		for i, want := range []string{"0s 100 up", "0s 0 down", "30s 100 up", "1m30s 100 none"} {
			e := w.event().health(t)
			kind := "none"
			if e.Forced != nil {
				kind = e.Forced.Kind
			}
			if got := fmt.Sprintf("%s %d %s", time.Since(begun), e.Health, kind); got != want {
				t.Errorf("event %d: %s, want %s", i, got, want)
			}
		}
	})
}

func TestASlowReaderIsCutOffAndOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, well())
		var health atomic.Int32
		b.streams.mu.Lock()
		b.streams.look = func(service string, _ time.Time) (view, bool) {
			return view{name: service, health: int(health.Load())}, true
		}
		b.streams.mu.Unlock()
		slow, quick := watch(t, b.client, "http://agent/web/watch", ""), watch(t, b.client, "http://agent/web/watch", "")
		defer slow.close()
		defer quick.close()
		slow.event()
		quick.event()
		begun := time.Now()
		for n := int32(1); n <= 3*maxRecent; n++ {
			health.Store(n)
			b.streams.refresh("web")
			if e := quick.event().health(t); e.Health != int(n) {
				t.Fatalf("the quick reader got %d, want %d", e.Health, n)
			}
		}
		if open, counts := b.streams.state(); open != 1 || counts.slow != 1 {
			t.Errorf("%d streams open, %d cut off; want 1 and 1", open, counts.slow)
		}
		// Its handler is still in the write that nobody reads, which has its deadline.
		time.Sleep(sse.WriteTimeout)
		synctest.Wait()
		var got int
		for {
			if _, more := slow.next(); !more {
				break
			}
			got++
		}
		if got > maxRecent || time.Since(begun) > sse.WriteTimeout {
			t.Errorf("the slow reader got %d events in %s", got, time.Since(begun))
		}
	})
}

func TestAReaderThatDoesNotReadAtAllIsCutOffAtItsDeadline(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, well())
		w := watch(t, b.client, "http://agent/web/watch", "")
		defer w.close()
		w.event()
		begun := time.Now()
		for open := 1; open > 0; open, _ = b.streams.state() {
			// The client's transport takes in 4096 bytes that nobody reads before it stops.
			if most := 4096/time.Duration(len(sse.Heartbeat))*sse.DefaultHeartbeat + sse.WriteTimeout; time.Since(begun) > most {
				t.Fatalf("the stream is open after %s", time.Since(begun))
			}
			time.Sleep(time.Second)
		}
	})
}
