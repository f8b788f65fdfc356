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

// auto is a cluster that follows streams.
func auto(rise, fall int) config.Cluster {
	return config.Cluster{Watch: config.WatchAuto, Rise: rise, Fall: fall}
}

func TestAStreamTellsChangesAtOnceAndNothingElse(t *testing.T) {
	play(t, &peer{mode: "up", health: 92}, auto(1, 2), func(s *scene) {
		s.settle()
		polls, _ := s.counts()
		s.after(time.Hour)
		if got := s.readings(); len(got) != 0 {
			t.Errorf("an hour without changes gave %v", got)
		}
		if age := time.Since(s.watcher.Heard()); age > 2*time.Second {
			t.Errorf("the last sign of life is %s old", age)
		}
		for _, health := range []int{40, 0, 0, 100} {
			s.set(func(p *peer) { p.health = health })
			s.after(0)
		}
		got := s.readings()
		if len(got) != 3 || got[0].Health != 40 || got[1].Health != 0 || got[2].Health != 100 || !got[1].Answered || got[2].Detail != "health 100" {
			t.Errorf("three changes gave %+v", got)
		}
		if now, streams := s.counts(); now != polls || streams != 1 {
			t.Errorf("%d polls and %d streams beside the stream", now-polls, streams-1)
		}
	})
}

// When a node has vanished, it is silent for fall polls no later than polling would have found out, and a little later than that at the
// soonest when nothing was sent for fall-1 intervals.
func TestADeadNodeIsNoticedNoLaterThanByPolling(t *testing.T) {
	for _, how := range []config.WatchMode{config.WatchAuto, config.WatchPoll} {
		for fall := 1; fall <= 5; fall++ {
			t.Run(fmt.Sprintf("%s, fall %d", how, fall), func(t *testing.T) {
				c := auto(1, fall)
				c.Watch = how
				play(t, &peer{mode: "up", health: 92}, c, func(s *scene) {
					s.after(20 * time.Second)
					if s.watcher.Streams() != (how == config.WatchAuto) {
						t.Fatalf("streams: %v", s.watcher.Streams())
					}
					s.readings()
					died := time.Now()
					s.set(func(p *peer) { p.mode, p.mute = "hangs", true })
					most := time.Duration(fall)*2*time.Second + time.Second
					s.after(most)
					silent := s.readings()
					if len(silent) < fall {
						t.Fatalf("after %s it was silent %d times, want %d: %+v", most, len(silent), fall, silent)
					}
					for _, r := range silent {
						if r.Answered || r.Health != 0 || !strings.Contains(r.Detail, "timeout after 1s") && !strings.Contains(r.Detail, "no heartbeat for 4s") {
							t.Errorf("got %+v", r)
						}
					}
					if soonest := time.Duration(fall-1) * 2 * time.Second; silent[fall-1].At.Sub(died) < soonest {
						t.Errorf("given up after %s, though polling gives it %s", silent[fall-1].At.Sub(died), soonest)
					}
				})
			})
		}
	}
}

func TestHeartbeatsThatStayAwayAreNoSilenceWhereAPollIsAnswered(t *testing.T) {
	play(t, &peer{mode: "up", health: 92}, auto(1, 1), func(s *scene) {
		s.settle()
		s.set(func(p *peer) { p.mute = true })
		s.after(10 * time.Minute)
		for _, r := range s.readings() {
			if !r.Answered || r.Health != 92 {
				t.Errorf("got %+v", r)
			}
		}
		polls, streams := s.counts()
		if polls < 250 || streams < 10 || streams > 60 {
			t.Errorf("%d polls and %d streams in 10 minutes of streams that never say a word", polls, streams)
		}
		s.set(func(p *peer) { p.mute = false })
		s.after(time.Minute)
		if !s.watcher.Streams() {
			t.Error("no stream though they beat again")
		}
	})
}

func TestTheStreamIsBesideTheStatusPage(t *testing.T) {
	for page, want := range map[string]string{
		"/web/status":              "/web/watch?heartbeat= of web",
		"/web/status?a=b%2Fc":      "/web/watch?a=b%2Fc&heartbeat= of web",
		"/behind/a%20proxy/status": "/behind/a%20proxy/watch?heartbeat= of a proxy",
		"/web/health":              " of ",
		"/status":                  " of ",
	} {
		p := newHTTPPoller(netip.MustParseAddrPort("127.0.0.1:1"), page)
		if got := string(p.stream) + " of " + p.service; got != want {
			t.Errorf("beside %s there is %q, want %q", page, got, want)
		}
		if _, err := p.Open(t.Context(), beatsPerLease*quickestHeartbeat-1); !errors.Is(err, errNoStream) {
			t.Errorf("a lease with no room for heartbeats gave %v", err)
		}
	}
}

func TestWhatHasNoUsableStreamIsPolled(t *testing.T) {
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
		{"of a length", stream + "X-Heartbeat: 1\r\nContent-Length: 0\r\n\r\n", ""},
		{"heartbeats that are no number", "", "often"},
		{"heartbeats that are not a number", "", "NaN"},
		{"heartbeats too seldom", "", "2.5"},
		{"heartbeats that go backwards", "", "-1"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			play(t, &peer{mode: "up", health: 92, refusal: tt.refusal, beat: tt.beat}, auto(1, 2), func(s *scene) {
				s.after(10 * time.Minute)
				polls, streams := s.counts()
				if polls < 300 || polls > 302 || streams < 20 || streams > 60 || s.watcher.Streams() {
					t.Errorf("%d polls, want one each 2 s; %d tries of the stream, want one each 15 to 30 s, some twice", polls, streams)
				}
				for _, r := range s.readings() {
					if r.Health != 92 {
						t.Errorf("got %+v", r)
					}
				}
				s.set(func(p *peer) { p.refusal, p.beat = "", "" })
				s.after(40 * time.Second)
				if !s.watcher.Streams() {
					t.Error("an agent that got streams is not followed")
				}
			})
		})
	}
	t.Run("by the config", func(t *testing.T) {
		c := auto(1, 2)
		c.Watch = config.WatchPoll
		play(t, &peer{mode: "up"}, c, func(s *scene) {
			s.after(10 * time.Minute)
			if polls, streams := s.counts(); streams != 0 || polls < 300 {
				t.Errorf("%d polls and %d streams", polls, streams)
			}
		})
	})
}

// When a fleet's streams are all opened at once, or its nodes are short of processors, some take too long.
func TestAStreamThatDoesNotOpenInTimeIsTriedSoonAndThenLessOften(t *testing.T) {
	play(t, &peer{mode: "up", health: 92, slow: true}, auto(1, 2), func(s *scene) {
		s.after(10 * time.Minute)
		if _, streams := s.counts(); streams < 20 || streams > 60 {
			t.Errorf("a stream that never opens was tried %d times in 10 minutes", streams)
		}
	})
	play(t, &peer{mode: "up", health: 92, slow: true}, auto(1, 2), func(s *scene) {
		s.after(5 * time.Second)
		s.set(func(p *peer) { p.slow = false })
		s.after(8 * time.Second)
		if _, streams := s.counts(); !s.watcher.Streams() || streams < 2 {
			t.Errorf("tried %d times in 13 s, streams: %v", streams, s.watcher.Streams())
		}
	})
}

func TestAStreamThatEndsIsPolledAtOnceAndTriedAgain(t *testing.T) {
	play(t, &peer{mode: "up", health: 92}, auto(1, 2), func(s *scene) {
		s.settle()
		s.after(time.Hour) // it has lived: the next try comes soon
		before, _ := s.counts()
		s.set(func(p *peer) { p.mode = "" })
		s.cut()
		s.after(0)
		got := s.readings()
		if len(got) != 1 || got[0].Answered || got[0].Detail != "connection refused" {
			t.Fatalf("right after the agent died: %+v", got)
		}
		s.after(1999 * time.Millisecond)
		if got := s.readings(); len(got) != 0 {
			t.Errorf("asked again before an interval was over: %+v", got)
		}
		s.after(time.Millisecond)
		if got := s.readings(); len(got) != 1 {
			t.Errorf("an interval later: %+v", got)
		}
		s.set(func(p *peer) { p.mode = "up" })
		s.after(4 * time.Second)
		if polls, _ := s.counts(); !s.watcher.Streams() || polls-before > 2 {
			t.Errorf("after the agent came back: streams %v, %d polls", s.watcher.Streams(), polls-before)
		}
		// One that always dies is tried less and less often.
		_, first := s.counts()
		for range 600 {
			s.after(time.Second)
			s.cut()
		}
		if _, streams := s.counts(); streams-first < 20 || streams-first > 60 {
			t.Errorf("a stream that always ends was tried %d times in 10 minutes", streams-first)
		}
	})
}

// Readings above 0 count towards rise. Those of a stream must not come faster than polls would, and must come although nothing changes.
func TestANodeRisesOnAStreamAsByPolls(t *testing.T) {
	for rise := 1; rise <= 4; rise++ {
		t.Run(fmt.Sprint(rise), func(t *testing.T) {
			play(t, &peer{mode: "up"}, auto(rise, 2), func(s *scene) {
				s.settle()
				back := time.Now()
				s.set(func(p *peer) { p.health = 1 })
				for health := 2; health <= 50; health++ { // a storm of changes counts once
					s.after(time.Millisecond)
					s.set(func(p *peer) { p.health = health })
				}
				s.after(time.Minute)
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
					t.Errorf("it rose in %s, want about an interval for each reading behind the first", took)
				}
				s.set(func(p *peer) { p.health = 60 })
				s.after(0)
				if got := s.readings(); len(got) != 1 || got[0].Health != 60 {
					t.Errorf("a change after it rose gave %+v", got)
				}
			})
		})
	}
}

func TestWhatAStreamMaySend(t *testing.T) {
	up := wire("1-1", healthData(92))
	tests := []struct {
		name, sent string
		want       string // the readings' healths, and how it ends
	}{
		{"an event", up, "92: EOF"},
		{"heartbeats before the first event", ": heartbeat\n\n: heartbeat\n\n" + up, "- - 92: EOF"},
		{"an event nobody knows", "event: weather\ndata: rain\n\n" + up, "- 92: EOF"},
		{"its end", up + "event: end\ndata: the agent stops\n\n", "92: the agent ends the stream: the agent stops"},
		{"an error", "event: error\ndata: year 10000\n\n", ": the agent ends the stream: year 10000"},
		{"closed in the middle of an event", up + up[:len(up)-9], "92: EOF"},
		{"an event without an end", up + "data: " + strings.Repeat("x", 70000), "92: an event is longer than 64 KiB"},
		{"not JSON", up + wire("1-2", "{"), "92: an event that cannot be read"},
		{"another service", up + wire("1-2", `{"service":"db","health":5}`), `92: an event about "db"`},
		{"odd ids", wire(strings.Repeat("9", 1000), healthData(1)) + wire("\x00", healthData(2)), "1 2: EOF"},
	}
	for _, tt := range tests {
		t.Run(tt.name, func(t *testing.T) {
			s := streamOf(t, tt.sent)
			var got []string
			for {
				r, news, err := s.Next()
				if err != nil {
					if result := strings.Join(got, " ") + ": " + err.Error(); !strings.HasPrefix(strings.Replace(result, "unexpected EOF", "EOF", 1), tt.want) {
						t.Errorf("got %q, want %q", result, tt.want)
					}
					return
				}
				if !news {
					got = append(got, "-")
					continue
				}
				got = append(got, fmt.Sprint(r.Health))
			}
		})
	}
}

// streamOf is a stream that has sent that, and then closes.
func streamOf(t *testing.T, sent string) *Stream {
	l := listenOn(t, "127.0.0.1:0")
	var sending sync.WaitGroup
	sending.Go(func() {
		there, err := l.Accept()
		if err != nil {
			return
		}
		defer there.Close()
		_, _ = io.WriteString(there, sent) // all of it, or as much as was wanted
	})
	here, err := net.Dial("tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = here.Close(); _ = l.Close(); sending.Wait() })
	return newStream(&bounded{Conn: here, left: math.MaxInt}, bufio.NewReaderSize(here, bufferSize), "web", 10*time.Second)
}

func TestASilentOrTricklingStreamLivesForItsLease(t *testing.T) {
	for name, sent := range map[string]string{"silent": "", "a byte at a time": "x"} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				here, there := net.Pipe()
				var sending sync.WaitGroup
				sending.Go(func() {
					for err := error(nil); err == nil && sent != ""; _, err = io.WriteString(there, sent) {
						time.Sleep(100 * time.Millisecond)
					}
				})
				s := newStream(&bounded{Conn: here, left: math.MaxInt}, bufio.NewReader(here), "web", 4*time.Second)
				begun := time.Now()
				if _, _, err := s.Next(); !errors.Is(err, errLease) || time.Since(begun) != s.lease {
					t.Errorf("after %s: %v", time.Since(begun), err)
				}
				s.Close()
				sending.Wait()
				_ = there.Close()
			})
		})
	}
}
