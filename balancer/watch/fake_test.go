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

// peer is an agent in a bubble of synctest, at the other end of pipes. Its zero value refuses connections.
type peer struct {
	mu      sync.Mutex // protects what follows
	mode    string     // "up", "hangs" (accepts and never answers), "" refuses
	refusal string     // the answer to who asks for a stream; "" is a stream
	beat    string     // X-Heartbeat; "" is what was asked for
	mute    bool       // streams send nothing more
	slow    bool       // who asks for a stream gets no answer
	health  int
	polls   []time.Duration // when it was polled, after begun
	opened  []time.Duration // when it was asked for streams
	streams map[net.Conn]chan string

	begun   time.Time
	serving sync.WaitGroup
}

// set changes what the peer does, and tells those who follow its streams about its health.
func (p *peer) set(change func(p *peer)) {
	p.mu.Lock()
	defer p.mu.Unlock()
	before := p.health
	change(p)
	if p.health != before {
		for _, s := range p.streams {
			s <- wire("1-1", healthData(p.health))
		}
	}
}

// cut ends all streams as a machine that resets its connections does.
func (p *peer) cut() {
	p.mu.Lock()
	defer p.mu.Unlock()
	for c := range p.streams {
		_ = c.Close()
	}
}

func (p *peer) counts() (polls, streams int) {
	p.mu.Lock()
	defer p.mu.Unlock()
	return len(p.polls), len(p.opened)
}

func (p *peer) dial(ctx context.Context, _, _ string) (net.Conn, error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.mode == "" {
		return nil, syscall.ECONNREFUSED
	}
	here, there := net.Pipe()
	p.serving.Go(func() {
		defer there.Close()
		for in := bufio.NewReader(there); ; {
			req, err := http.ReadRequest(in)
			if err != nil || !p.answer(there, req) {
				return
			}
		}
	})
	return here, nil
}

// answer tells whether the connection goes on.
func (p *peer) answer(c net.Conn, req *http.Request) bool {
	p.mu.Lock()
	mode, refusal, beat, first, slow := p.mode, p.refusal, p.beat, healthData(p.health), p.slow
	text := fmt.Sprintf("HTTP/1.1 200 OK\r\nX-Health: %d\r\nContent-Length: 0\r\n\r\n", p.health)
	follow := strings.HasSuffix(req.URL.Path, "/watch")
	events := make(chan string, 100)
	switch {
	case !follow:
		p.polls = append(p.polls, time.Since(p.begun))
	default:
		p.opened = append(p.opened, time.Since(p.begun))
		text = refusal
	}
	if follow && mode == "up" && refusal == "" && !slow {
		p.streams[c] = events
	}
	p.mu.Unlock()
	if mode == "hangs" || follow && slow {
		_, _ = c.Read(make([]byte, 1)) // until the other side gives up
		return false
	}
	if text != "" {
		_, err := fmt.Fprint(c, text)
		return err == nil
	}
	defer func() {
		p.mu.Lock()
		defer p.mu.Unlock()
		delete(p.streams, c)
	}()
	pace, err := time.ParseDuration(req.URL.Query().Get("heartbeat"))
	if err != nil {
		return false
	}
	if beat == "" {
		beat = fmt.Sprint(pace.Seconds())
	}
	if _, err := fmt.Fprintf(c, "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\nX-Heartbeat: %s\r\n\r\nretry: 1000\n%s", beat, wire("1-1", first)); err != nil {
		return false
	}
	ticker := time.NewTicker(pace)
	defer ticker.Stop()
	gone := make(chan struct{})
	p.serving.Go(func() { _, _ = c.Read(make([]byte, 1)); close(gone) })
	for {
		next := ": heartbeat\n\n"
		select {
		case <-gone:
			return false
		case next = <-events:
			ticker.Reset(pace)
		case <-ticker.C:
		}
		p.mu.Lock()
		mute := p.mute
		p.mu.Unlock()
		if mute {
			<-gone
			return false
		}
		if _, err := fmt.Fprint(c, next); err != nil {
			return false
		}
	}
}

// scene is a watcher of a peer at work, in a bubble.
type scene struct {
	*peer
	t       *testing.T
	watcher *Watcher
	mu      sync.Mutex // protects got
	got     []decide.Reading
}

// play watches a peer in a bubble, by a cluster's config with an interval of 2 s and a timeout of 1 s.
func play(t *testing.T, p *peer, c config.Cluster, f func(s *scene)) {
	synctest.Test(t, func(t *testing.T) {
		p.begun, p.streams = time.Now(), map[net.Conn]chan string{}
		c.Name, c.CheckInterval, c.CheckTimeout = "web", 2*time.Second, time.Second
		node := config.Node{Address: netip.MustParseAddr("10.0.0.1"), Port: 9293, Path: "/web/status"}
		s := &scene{peer: p, t: t, watcher: New(c, node, time.Now(), NewHeartbeatMonitor())}
		poller := NewHTTPPoller(node)
		poller.(*httpPoller).dial = p.dial
		ctx, cancel := context.WithCancel(t.Context())
		out := make(chan Update)
		var running sync.WaitGroup
		running.Go(func() { s.watcher.Run(ctx, poller, out) })
		running.Go(func() {
			for {
				select {
				case n := <-out:
					if n.From != s.watcher {
						t.Error("news of a stranger")
					}
					s.mu.Lock()
					s.got = append(s.got, n.Reading)
					s.mu.Unlock()
				case <-ctx.Done():
					return
				}
			}
		})
		defer func() { cancel(); running.Wait(); p.serving.Wait() }()
		f(s)
	})
}

// after waits.
func (s *scene) after(d time.Duration) {
	time.Sleep(d)
	synctest.Wait()
}

// readings gives those since the last call.
func (s *scene) readings() []decide.Reading {
	s.mu.Lock()
	defer s.mu.Unlock()
	got := s.got
	s.got = nil
	return got
}

// settle waits until the stream is open, and forgets what came until then.
func (s *scene) settle() {
	s.t.Helper()
	s.after(5 * time.Second)
	if !s.watcher.Streaming() {
		s.t.Fatal("no stream is open")
	}
	s.readings()
}
