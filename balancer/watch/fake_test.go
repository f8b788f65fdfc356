package watch

import (
	"bufio"
	"context"
	"fmt"
	"net"
	"net/http"
	"net/netip"
	"strings"
	"sync"
	"syscall"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/config"
)

// fakeAgent is an agent at the other end of in-memory pipes, for tests in a synctest bubble. Its zero value refuses connections.
type fakeAgent struct {
	mu      sync.Mutex // protects the fields below
	mode    string     // "up"; "hangs": accepts and never responds; "": refuses connections; "gone": does not even accept them
	refusal string     // the response to a request for a stream; "": a stream
	beat    string     // X-Heartbeat; "": the interval requested
	mute    bool       // streams send nothing any more
	slow    bool       // requests for a stream get no response
	closes  bool       // closes connections after a response
	slowest bool       // streams have the slowest heartbeats that their clients accept; else those asked for, as from older agents
	health  int
	polls   []time.Duration // times of the polls, after start
	opened  []time.Duration // times of the requests for a stream
	asked   []time.Duration // the heartbeats that they asked for
	streams map[net.Conn]chan string

	start   time.Time
	serving sync.WaitGroup
}

// set changes what the agent does, and sends a changed health to its streams.
func (a *fakeAgent) set(change func(a *fakeAgent)) {
	a.mu.Lock()
	defer a.mu.Unlock()
	before := a.health
	change(a)
	if a.health != before {
		for _, s := range a.streams {
			s <- healthFrame("1-1", healthData(a.health))
		}
	}
}

// cut closes the connections of all streams.
func (a *fakeAgent) cut() {
	a.mu.Lock()
	defer a.mu.Unlock()
	for c := range a.streams {
		_ = c.Close()
	}
}

func (a *fakeAgent) counts() (polls, streams int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	return len(a.polls), len(a.opened)
}

func (a *fakeAgent) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	a.mu.Lock()
	defer a.mu.Unlock()
	if a.mode == "" {
		return nil, syscall.ECONNREFUSED
	}
	if a.mode == "gone" {
		a.mu.Unlock()
		<-ctx.Done()
		a.mu.Lock()
		return nil, ctx.Err()
	}
	here, there := net.Pipe()
	a.serving.Go(func() {
		defer there.Close()
		for in := bufio.NewReader(there); ; {
			req, err := http.ReadRequest(in)
			if err != nil || !a.respond(there, req) {
				return
			}
		}
	})
	return here, nil
}

// respond reports whether the connection stays open.
func (a *fakeAgent) respond(c net.Conn, req *http.Request) bool {
	a.mu.Lock()
	mode, refusal, beat, first, slow := a.mode, a.refusal, a.beat, healthData(a.health), a.slow
	text := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Health: %d\r\nContent-Length: 0\r\n\r\n", a.health)
	isStream := strings.HasSuffix(req.URL.Path, "/watch")
	beats := req.URL.Query().Get("heartbeat")
	if a.slowest {
		beats = req.URL.Query().Get("slowest")
	}
	pace, _ := time.ParseDuration(beats)
	closes := a.closes
	events := make(chan string, 100)
	switch {
	case !isStream:
		a.polls = append(a.polls, time.Since(a.start))
	default:
		a.opened = append(a.opened, time.Since(a.start))
		asked, _ := time.ParseDuration(req.URL.Query().Get("heartbeat"))
		a.asked = append(a.asked, asked)
		text = refusal
	}
	if isStream && mode == "up" && refusal == "" && !slow {
		a.streams[c] = events
	}
	a.mu.Unlock()
	if mode == "hangs" || mode == "gone" || isStream && slow {
		_, _ = c.Read(make([]byte, 1)) // until the other side closes it
		return false
	}
	if text != "" {
		_, err := fmt.Fprint(c, text)
		return err == nil && !closes
	}
	defer func() {
		a.mu.Lock()
		defer a.mu.Unlock()
		delete(a.streams, c)
	}()
	if pace <= 0 {
		return false
	}
	if beat == "" {
		beat = fmt.Sprint(pace.Seconds())
	}
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Heartbeat: %s\r\n\r\nretry: 1000\n%s", beat,
		healthFrame("1-1", first)); err != nil {
		return false
	}
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	gone := make(chan struct{})
	a.serving.Go(func() { _, _ = c.Read(make([]byte, 1)); close(gone) })
	for {
		next := ": heartbeat\n\n"
		select {
		case <-gone:
			return false
		case next = <-events:
			ticker.Reset(pace)
		case <-ticker.C:
		}
		a.mu.Lock()
		mute := a.mute
		a.mu.Unlock()
		if mute {
			continue
		}
		if _, err := fmt.Fprint(c, next); err != nil {
			return false
		}
	}
}

// fixture is a running watcher of a fakeAgent.
type fixture struct {
	*fakeAgent
	t       *testing.T
	watcher *Watcher
	mu      sync.Mutex // protects got
	got     []decide.Reading
}

// watched runs f in a synctest bubble with a watcher of the agent, which has an interval of 2 s and a timeout of 1 s.
func watched(t *testing.T, a *fakeAgent, c config.Cluster, f func(s *fixture)) {
	synctest.Test(t, func(t *testing.T) {
		a.start, a.streams = time.Now(), map[net.Conn]chan string{}
		c.Name, c.CheckInterval, c.CheckTimeout = "web", 2*time.Second, time.Second
		node := config.Node{Address: netip.MustParseAddr("10.0.0.1"), Port: 9293, Path: "/web/status"}
		s := &fixture{fakeAgent: a, t: t, watcher: New(c, node, time.Now(), NewHeartbeatMonitor())}
		poller := NewHTTPPoller(node)
		poller.(*httpPoller).dial = a.dial
		ctx, cancel := context.WithCancel(t.Context())
		out := make(chan Update)
		var running sync.WaitGroup
		running.Go(func() { s.watcher.Run(ctx, poller, out) })
		running.Go(func() {
			for {
				select {
				case u := <-out:
					if u.From != s.watcher {
						t.Error("an update from another watcher")
					}
					s.mu.Lock()
					s.got = append(s.got, u.Reading)
					s.mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		})
		defer func() { cancel(); running.Wait(); a.serving.Wait() }()
		f(s)
	})
}

// sleep waits for d and for everything that happens then.
func (s *fixture) sleep(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// readings returns the readings since the last call.
func (s *fixture) readings() []decide.Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// awaitStream waits until the stream is open, and discards the readings until then.
func (s *fixture) awaitStream() {
	s.t.Helper()
	s.sleep(5 * time.Second)
	if !s.watcher.Streaming() {
		s.t.Fatal("no stream is open")
	}
	s.readings()
}
