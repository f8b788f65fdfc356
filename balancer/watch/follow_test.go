package watch

import (
	"bufio"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"net/netip"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/config"
)

// auto returns a cluster whose nodes are watched by their streams.
func auto(rise, fall int) config.Cluster {
	return config.Cluster{Watch: config.WatchAuto, Rise: rise, Fall: fall}
}

func TestStreamSendsChangesAtOnceAndNothingElse(t *testing.T) {
	watched(t, &fakeAgent{mode: "up", health: 92}, auto(1, 2), func(s *fixture) {
		s.awaitStream()
		polls, _ := s.counts()
		s.sleep(time.Hour)
		if got := s.readings(); len(got) != 0 {
			t.Errorf("got %v in an hour without changes", got)
		}
		if age := time.Since(s.watcher.LastSeen()); age > 2*time.Second {
			t.Errorf("the node was last seen %s ago", age)
		}
		for _, health := range []int{40, 0, 0, 100} {
			s.set(func(a *fakeAgent) { a.health = health })
			s.sleep(0)
		}
		got := s.readings()
		if len(got) != 3 || got[0].Health != 40 || got[1].Health != 0 || got[2].Health != 100 || !got[1].Answered ||
			got[2].Detail != "agent reported health 100" {
			t.Errorf("got %+v for three changes", got)
		}
		if now, streams := s.counts(); now != polls || streams != 1 {
			t.Errorf("%d polls and %d streams besides the stream", now-polls, streams-1)
		}
	})
}

// A node that vanishes has missed fall polls no later than with polling, and not before fall-1 intervals have passed.
func TestDeadNodeIsDetectedNoLaterThanByPolling(t *testing.T) {
	for _, how := range []config.WatchMode{config.WatchAuto, config.WatchPoll} {
		for fall := 1; fall <= 5; fall++ {
			t.Run(fmt.Sprintf("%s, fall %d", how, fall), func(t *testing.T) {
				c := auto(1, fall)
				c.Watch = how
				watched(t, &fakeAgent{mode: "up", health: 92}, c, func(s *fixture) {
					s.sleep(20 * time.Second)
					if s.watcher.Streaming() != (how == config.WatchAuto) {
						t.Fatalf("streaming: %v", s.watcher.Streaming())
					}
					s.readings()
					died := time.Now()
					s.set(func(a *fakeAgent) { a.mode, a.mute = "hangs", true })
					limit := time.Duration(fall)*2*time.Second + time.Second
					s.sleep(limit)
					missed := s.readings()
					if len(missed) < fall {
						t.Fatalf("after %s it has missed %d polls, want %d: %+v", limit, len(missed), fall, missed)
					}
					for _, r := range missed {
						if r.Answered || r.Health != 0 || !strings.Contains(r.Detail, "timeout after 1s") &&
							!strings.Contains(r.Detail, "no heartbeat for 4s") {
							t.Errorf("got %+v", r)
						}
					}
					if least := time.Duration(fall-1) * 2 * time.Second; missed[fall-1].At.Sub(died) < least {
						t.Errorf("failed after %s, polling takes %s at least", missed[fall-1].At.Sub(died), least)
					}
				})
			})
		}
	}
}

func TestMissingHeartbeatsDoNotFailANodeThatRespondsToPolls(t *testing.T) {
	watched(t, &fakeAgent{mode: "up", health: 92}, auto(1, 1), func(s *fixture) {
		s.awaitStream()
		s.set(func(a *fakeAgent) { a.mute = true })
		s.sleep(10 * time.Minute)
		for _, r := range s.readings() {
			if !r.Answered || r.Health != 92 {
				t.Errorf("got %+v", r)
			}
		}
		polls, streams := s.counts()
		if polls < 250 || streams < 10 || streams > 60 {
			t.Errorf("%d polls and %d streams in 10 minutes with streams that send nothing", polls, streams)
		}
		s.set(func(a *fakeAgent) { a.mute = false })
		s.sleep(time.Minute)
		if !s.watcher.Streaming() {
			t.Error("no stream although there are heartbeats again")
		}
	})
}

func TestStreamTarget(t *testing.T) {
	for page, want := range map[string]string{
		"/web/status":              "/web/watch?heartbeat= of web",
		"/web/status?a=b%2Fc":      "/web/watch?a=b%2Fc&heartbeat= of web",
		"/behind/a%20proxy/status": "/behind/a%20proxy/watch?heartbeat= of a proxy",
		"/web/health":              " of ",
		"/status":                  " of ",
	} {
		p := newHTTPPoller(netip.MustParseAddrPort("127.0.0.1:1"), page)
		if got := string(p.streamTarget) + " of " + p.service; got != want {
			t.Errorf("%s: got %q, want %q", page, got, want)
		}
		if _, err := p.openStream(t.Context(), pace{limit: heartbeatsPerTimeout*minHeartbeat - 1}); !errors.Is(err, errNoStream) {
			t.Errorf("got %v for a timeout too short for heartbeats", err)
		}
	}
}

func TestNodeWithoutUsableStreamIsPolled(t *testing.T) {
	stream := "HTTP/1.1 200 OK\r\nContent-Type: text/event-stream\r\n"
	tests := []struct {
		name, refusal, beat string
	}{
		{"404", "HTTP/1.1 404 Not Found\r\nContent-Length: 9\r\n\r\nNOT FOUND", ""},
		{"503", "HTTP/1.1 503 Service Unavailable\r\nRetry-After: 1\r\nContent-Length: 0\r\n\r\n", ""},
		{"a page", "HTTP/1.1 200 OK\r\nContent-Type: text/html\r\nContent-Length: 2\r\n\r\nok", ""},
		{"garbage", "what?\r\n\r\n", ""},
		{"a redirect", "HTTP/1.1 302 Found\r\nLocation: /web/status\r\nContent-Length: 0\r\n\r\n", ""},
		{"no heartbeat", stream + "\r\n", ""},
		{"in chunks", stream + "X-Heartbeat: 1\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n", ""},
		{"with a length", stream + "X-Heartbeat: 1\r\nContent-Length: 0\r\n\r\n", ""},
		{"heartbeat not numeric", "", "often"},
		{"heartbeat NaN", "", "NaN"},
		{"heartbeat too slow", "", "2.5"},
		{"heartbeat negative", "", "-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			watched(t, &fakeAgent{mode: "up", health: 92, refusal: tt.refusal, beat: tt.beat}, auto(1, 2), func(s *fixture) {
				s.sleep(10 * time.Minute)
				polls, streams := s.counts()
				if polls < 300 || polls > 302 || streams < 20 || streams > 60 || s.watcher.Streaming() {
					t.Errorf("%d polls, want one every 2 s; %d requests for the stream, want one every 15 to 30 s, some of them twice",
						polls, streams)
				}
				for _, r := range s.readings() {
					if r.Health != 92 {
						t.Errorf("got %+v", r)
					}
				}
				s.set(func(a *fakeAgent) { a.refusal, a.beat = "", "" })
				s.sleep(40 * time.Second)
				if !s.watcher.Streaming() {
					t.Error("not streaming from an agent that now has streams")
				}
			})
		})
	}
	t.Run("watch = poll", func(t *testing.T) {
		c := auto(1, 2)
		c.Watch = config.WatchPoll
		watched(t, &fakeAgent{mode: "up"}, c, func(s *fixture) {
			s.sleep(10 * time.Minute)
			if polls, streams := s.counts(); streams != 0 || polls < 300 {
				t.Errorf("%d polls and %d streams", polls, streams)
			}
		})
	})
}

// Some streams open too late when a whole fleet's are opened at once, or nodes are short of CPU.
func TestStreamThatDoesNotOpenInTimeIsRetriedWithBackoff(t *testing.T) {
	watched(t, &fakeAgent{mode: "up", health: 92, slow: true}, auto(1, 2), func(s *fixture) {
		s.sleep(10 * time.Minute)
		if _, streams := s.counts(); streams < 20 || streams > 60 {
			t.Errorf("a stream that never opens was requested %d times in 10 minutes", streams)
		}
	})
	watched(t, &fakeAgent{mode: "up", health: 92, slow: true}, auto(1, 2), func(s *fixture) {
		s.sleep(5 * time.Second)
		s.set(func(a *fakeAgent) { a.slow = false })
		s.sleep(8 * time.Second)
		if _, streams := s.counts(); !s.watcher.Streaming() || streams < 2 {
			t.Errorf("requested %d times in 13 s, streaming: %v", streams, s.watcher.Streaming())
		}
	})
}

func TestNodeIsPolledAtOnceWhenItsStreamEnds(t *testing.T) {
	watched(t, &fakeAgent{mode: "up", health: 92}, auto(1, 2), func(s *fixture) {
		s.awaitStream()
		s.sleep(time.Hour) // long-lived: it is retried soon
		before, _ := s.counts()
		s.set(func(a *fakeAgent) { a.mode = "" })
		s.cut()
		s.sleep(0)
		got := s.readings()
		if len(got) != 1 || got[0].Answered || got[0].Detail != "connection refused" {
			t.Fatalf("after the agent died: %+v", got)
		}
		s.sleep(1999 * time.Millisecond)
		if got := s.readings(); len(got) != 0 {
			t.Errorf("polled again within the interval: %+v", got)
		}
		s.sleep(time.Millisecond)
		if got := s.readings(); len(got) != 1 {
			t.Errorf("an interval later: %+v", got)
		}
		s.set(func(a *fakeAgent) { a.mode = "up" })
		s.sleep(4 * time.Second)
		if polls, _ := s.counts(); !s.watcher.Streaming() || polls-before > 2 {
			t.Errorf("after the agent came back: streaming %v, %d polls", s.watcher.Streaming(), polls-before)
		}
		// A stream that keeps ending is retried less and less often.
		_, first := s.counts()
		for range 600 {
			s.sleep(time.Second)
			s.cut()
		}
		if _, streams := s.counts(); streams-first < 20 || streams-first > 60 {
			t.Errorf("a stream that keeps ending was requested %d times in 10 minutes", streams-first)
		}
	})
}

// Readings above 0 count towards rise. A stream must not send them faster than polls would, and must send them without a change.
func TestNodeRisesOnAStreamAsByPolls(t *testing.T) {
	for rise := 1; rise <= 4; rise++ {
		t.Run(fmt.Sprint(rise), func(t *testing.T) {
			watched(t, &fakeAgent{mode: "up"}, auto(rise, 2), func(s *fixture) {
				s.awaitStream()
				back := time.Now()
				s.set(func(a *fakeAgent) { a.health = 1 })
				for health := 2; health <= 50; health++ { // a burst of changes counts once
					s.sleep(time.Millisecond)
					s.set(func(a *fakeAgent) { a.health = health })
				}
				s.sleep(time.Minute)
				got := s.readings()
				if rise == 1 {
					if len(got) != 50 {
						t.Errorf("%d readings, want every change", len(got))
					}
					return
				}
				if len(got) != rise || got[rise-1].Health != 50 {
					t.Fatalf("got %+v, want %d readings", got, rise)
				}
				took := got[rise-1].At.Sub(back)
				if least := time.Duration(rise-1) * 1500 * time.Millisecond; took < least || took > time.Duration(rise)*2*time.Second {
					t.Errorf("it was up after %s, want about an interval per reading after the first", took)
				}
				s.set(func(a *fakeAgent) { a.health = 60 })
				s.sleep(0)
				if got := s.readings(); len(got) != 1 || got[0].Health != 60 {
					t.Errorf("got %+v for a change after it was up", got)
				}
			})
		})
	}
}

func TestStreamEvents(t *testing.T) {
	up := healthFrame("1-1", healthData(92))
	tests := []struct {
		name, sent string
		want       string // the healths, "-" for a heartbeat, and the error at the end
	}{
		{"an event", up, "92: EOF"},
		{"heartbeats before the first event", ": heartbeat\n\n: heartbeat\n\n" + up, "- - 92: EOF"},
		{"an unknown event", "event: weather\ndata: rain\n\n" + up, "- 92: EOF"},
		{"its end", up + "event: end\ndata: the agent stops\n\n", "92: agent ended the stream: the agent stops"},
		{"an error", "event: error\ndata: year 10000\n\n", ": agent ended the stream: year 10000"},
		{"closed in the middle of an event", up + up[:len(up)-9], "92: EOF"},
		{"an event without an end", up + "data: " + strings.Repeat("x", 70000), "92: an event is longer than 64 KiB"},
		{"not JSON", up + healthFrame("1-2", "{"), "92: parse event"},
		{"another service", up + healthFrame("1-2", `{"service":"db","health":5}`), `92: event for service "db"`},
		{"odd ids", healthFrame(strings.Repeat("9", 1000), healthData(1)) + healthFrame("\x00", healthData(2)), "1 2: EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := streamOf(t, tt.sent)
			var got []string
			for {
				r, isEvent, err := s.Next()
				if err != nil {
					result := strings.Join(got, " ") + ": " + strings.Replace(err.Error(), "unexpected EOF", "EOF", 1)
					if !strings.HasPrefix(result, tt.want) {
						t.Errorf("got %q, want %q", result, tt.want)
					}
					return
				}
				if !isEvent {
					got = append(got, "-")
					continue
				}
				got = append(got, fmt.Sprint(r.Health))
			}
		})
	}
}

// streamOf returns a stream whose other end sends that and closes the connection.
func streamOf(t *testing.T, sent string) *stream {
	l := listenOn(t, "127.0.0.1:0")
	var sending sync.WaitGroup
	sending.Go(func() {
		there, err := l.Accept()
		if err != nil {
			return
		}
		defer there.Close()
		_, _ = io.WriteString(there, sent) // the reader may stop early
	})
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Close(); _ = l.Close(); sending.Wait() })
	return newStream(&limitedConn{Conn: here, remaining: math.MaxInt}, bufio.NewReaderSize(here, bufferSize), "web", 10*time.Second)
}

func TestStreamWithoutHeartbeatsTimesOut(t *testing.T) {
	for name, sent := range map[string]string{"nothing sent": "", "a byte at a time": "x"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				var sending sync.WaitGroup
				sending.Go(func() {
					for err := error(nil); err == nil && sent != ""; _, err = io.WriteString(there, sent) {
						time.Sleep(100 * time.Millisecond)
					}
				})
				s := newStream(&limitedConn{Conn: here, remaining: math.MaxInt}, bufio.NewReader(here), "web", 4*time.Second)
				start := time.Now()
				if _, _, err := s.Next(); !errors.Is(err, errNoHeartbeat) || time.Since(start) != s.timeout {
					t.Errorf("after %s: %v", time.Since(start), err)
				}
				s.Close()
				sending.Wait()
				_ = there.Close()
			})
		})
	}
}
