package server

import (
	"bytes"
	"context"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/braintree/lb/agent/agenttest"
	"github.com/braintree/lb/agent/check"
	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/service"
	"github.com/braintree/lb/netx/sse"
)

func TestAStreamOutlivesTheServersTimeoutsAndHasAHeartbeat(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		w := b.watch(t)
		defer w.Close()
		begun := time.Now()
		w.NextEvent()
		for n := 1; n <= 60; n++ { // the server's timeouts are 10 s
			e, more := w.Next()
			if !more {
				t.Fatalf("the stream ended after %s", time.Since(begun))
			}
			if at := time.Since(begun); e != (agenttest.Event{Comment: "heartbeat"}) || at != time.Duration(n)*sse.DefaultHeartbeat {
				t.Fatalf("at %s received %+v, want heartbeat %d", at, e, n)
			}
		}
	})
}

func TestTheClientChoosesTheHeartbeat(t *testing.T) {
	for query, want := range map[string]struct {
		header string
		every  time.Duration
	}{
		"":                 {"1", sse.DefaultHeartbeat},
		"?heartbeat=100ms": {"0.1", 100 * time.Millisecond},
		"?heartbeat=2.5s":  {"2.5", 2500 * time.Millisecond},
		"?heartbeat=1m":    {"60", time.Minute},
	} {
		t.Run(query, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				b := newBubble(t, time.Hour, agenttest.Passing(), nil)
				w := agenttest.Watch(t, b.client, "http://agent/web/watch"+query, "")
				defer w.Close()
				if got := w.Header.Get("X-Heartbeat"); got != want.header {
					t.Errorf("X-Heartbeat is %q, want %q", got, want.header)
				}
				w.NextEvent()
				begun := time.Now()
				for n := 1; n <= 3; n++ {
					if e, _ := w.Next(); e.Comment != "heartbeat" || time.Since(begun) != time.Duration(n)*want.every {
						t.Fatalf("at %s received %+v, want heartbeat %d", time.Since(begun), e, n)
					}
				}
			})
		})
	}
}

// Streams that leave the agent the choice of the moment share its wake-ups. Older balancers, which do not, get what they always got.
func TestStreamsShareTheMomentsOfTheirHeartbeats(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		var moments []time.Time
		for n := range 3 {
			time.Sleep(time.Duration(n) * 70 * time.Millisecond)
			opened := time.Now()
			w := agenttest.Watch(t, b.client, "http://agent/web/watch?heartbeat=200ms&slowest=1.8s", "")
			defer w.Close()
			if got := w.Header.Get("X-Heartbeat"); got != "0.2" {
				t.Errorf("X-Heartbeat is %q, want what was asked for", got)
			}
			w.NextEvent()
			if e, _ := w.Next(); e.Comment != "heartbeat" || time.Since(opened) > 200*time.Millisecond {
				t.Fatalf("%s after it was opened: %+v, want a heartbeat", time.Since(opened), e)
			}
			moments = append(moments, time.Now())
		}
		for _, m := range moments {
			if m.Sub(moments[0])%(200*time.Millisecond) != 0 {
				t.Errorf("heartbeats at %v", moments)
			}
		}
	})
}

func TestTheAgentBoundsHeartbeatsOnlyOfThoseThatAcceptIt(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		for range maxStreams / 2 {
			s, _, err := b.opts.Streams.Subscribe("web", "", &b.quotas[TCP])
			if err != nil {
				t.Fatal(err)
			}
			defer b.opts.Streams.Unsubscribe(s)
			b.opts.Streams.Pace(s, 200*time.Millisecond, 1800*time.Millisecond)
		}
		for query, want := range map[string]string{
			"?heartbeat=200ms&slowest=1.8s":  "1.8",
			"?heartbeat=200ms&slowest=200ms": "0.2",
			"?heartbeat=200ms":               "0.2", // an older balancer
			"?heartbeat=1.8s":                "1.8",
			"":                               "1",
		} {
			w := agenttest.Watch(t, b.client, "http://agent/web/watch"+query, "")
			if got := w.Header.Get("X-Heartbeat"); got != want {
				t.Errorf("%q: X-Heartbeat is %q, want %q", query, got, want)
			}
			w.Close()
		}
	})
}

func TestAnInvalidHeartbeatIsRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		for _, interval := range []string{"99ms", "61s", "2", "-1s", "often", "%00"} {
			r, err := b.client.Get("http://agent/web/watch?heartbeat=" + interval)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || r.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte("write it as heartbeat=2s")) {
				t.Errorf("heartbeat=%s: %s %q", interval, r.Status, body)
			}
		}
		for _, slowest := range []string{"199ms", "61s", "2", "often"} {
			r, err := b.client.Get("http://agent/web/watch?heartbeat=200ms&slowest=" + slowest)
			if err != nil {
				t.Fatal(err)
			}
			body, err := io.ReadAll(r.Body)
			r.Body.Close()
			if err != nil || r.StatusCode != http.StatusBadRequest || !bytes.Contains(body, []byte("write it as slowest=2s")) {
				t.Errorf("slowest=%s: %s %q", slowest, r.Status, body)
			}
		}
	})
}

func TestStreamsBeyondTheQuotaAreRefused(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		for over, most := range map[Transport]int{TCP: maxStreams, Socket: maxSocketStreams} {
			for n := range most {
				s, _, err := b.opts.Streams.Subscribe("web", "", &b.quotas[over])
				if err != nil {
					t.Fatalf("after %d streams: %v", n, err)
				}
				defer b.opts.Streams.Unsubscribe(s)
			}
			w := httptest.NewRecorder()
			b.Handler(over).ServeHTTP(w, httptest.NewRequest("GET", "/web/watch", nil))
			if w.Code != 503 || w.Header().Get("Retry-After") != "1" || !strings.Contains(w.Body.String(), "poll GET /SERVICE/status") {
				t.Errorf("one stream too many: %d %v", w.Code, w.Header())
			}
			w = httptest.NewRecorder()
			b.Handler(over).ServeHTTP(w, httptest.NewRequest("GET", "/nope/watch", nil))
			if w.Code != 404 {
				t.Errorf("an unknown service: %d", w.Code)
			}
		}
	})
}

func TestAResultThatGoesStaleIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		release := make(chan struct{})
		s := &agenttest.Check{Do: func(_ context.Context, n int) check.Result {
			if n == 2 {
				<-release
			}
			return check.Result{OK: true, Detail: "fine"}
		}}
		b := newBubble(t, 2*time.Second, s, nil)
		result := time.Now()
		w := b.watch(t)
		defer w.Close()
		if e := w.NextEvent().Health(t); e.Health != 100 {
			t.Fatalf("first %+v", e)
		}
		e := w.NextEvent().Health(t)
		if after := time.Since(result); e.Health != 0 || e.Measured != 0 || after != 6*time.Second+1 ||
			!strings.Contains(e.Reason, "no result for 6s") {
			t.Errorf("after %s: %+v, want 0 when the result is three intervals old", after, e)
		}
		close(release)
		if e := w.NextEvent().Health(t); e.Health != 100 || e.Reason != "measured" {
			t.Errorf("with a new result: %+v", e)
		}
	})
}

func TestAnUnchangedResultIsNoEventAndKeepsTheServiceFresh(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Second, agenttest.Passing(), nil)
		w := b.watch(t)
		defer w.Close()
		w.NextEvent()
		for range 60 {
			if e, _ := w.Next(); e.Comment != "heartbeat" {
				t.Fatalf("%s: %+v", time.Now(), e)
			}
		}
		if n := b.opts.Streams.Counts(); n.Events != 1 {
			t.Errorf("%d events, want 1", n.Events)
		}
	})
}

func TestTheExpiryOfAForceIsAnEvent(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		w := b.watch(t)
		defer w.Close()
		w.NextEvent()
		begun := time.Now()
		for _, f := range []force.Force{
			{Kind: score.Up, Reason: "first", Expires: begun.Add(90 * time.Second)},
			{Kind: score.Down, Reason: "second", Expires: begun.Add(30 * time.Second)},
		} {
			f.Service, f.At = "web", begun
			if err := b.opts.Changes.Store.Put(f); err != nil {
				t.Fatal(err)
			}
			b.opts.Streams.Refresh("web")
		}
		for i, want := range []string{"0s 100 up", "0s 0 down", "30s 100 up", "1m30s 100 none"} {
			e := w.NextEvent().Health(t)
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

// maxLag is how many events a stream may lag behind, see package stream.
const maxLag = 32

func TestASlowReaderIsCutOffAndOthersAreNot(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		var health atomic.Int32
		b := newBubble(t, time.Hour, agenttest.Passing(), func(name string, _ time.Time) (service.View, bool) {
			return service.View{Name: name, Health: int(health.Load())}, true
		})
		slow, fast := b.watch(t), b.watch(t)
		defer slow.Close()
		defer fast.Close()
		slow.NextEvent()
		fast.NextEvent()
		begun := time.Now()
		for n := int32(1); n <= 3*maxLag; n++ {
			health.Store(n)
			b.opts.Streams.Refresh("web")
			if e := fast.NextEvent().Health(t); e.Health != int(n) {
				t.Fatalf("the fast reader got %d, want %d", e.Health, n)
			}
		}
		if n := b.opts.Streams.Counts(); n.Open != 1 || n.Slow != 1 {
			t.Errorf("%d streams open, %d cut off; want 1 and 1", n.Open, n.Slow)
		}
		// The handler of the slow reader is blocked in a write until its timeout.
		time.Sleep(sse.WriteTimeout)
		synctest.Wait()
		var got int
		for {
			if _, more := slow.Next(); !more {
				break
			}
			got++
		}
		if got > maxLag || time.Since(begun) > sse.WriteTimeout {
			t.Errorf("the slow reader got %d events in %s", got, time.Since(begun))
		}
	})
}

func TestAClientThatDoesNotReadIsCutOffAtTheWriteTimeout(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		b := newBubble(t, time.Hour, agenttest.Passing(), nil)
		w := b.watch(t)
		defer w.Close()
		w.NextEvent()
		begun := time.Now()
		for b.opts.Streams.Counts().Open > 0 {
			// The client's transport buffers 4096 bytes before it stops reading.
			if most := 4096/time.Duration(len(sse.Heartbeat))*sse.DefaultHeartbeat + sse.WriteTimeout; time.Since(begun) > most {
				t.Fatalf("the stream is open after %s", time.Since(begun))
			}
			time.Sleep(time.Second)
		}
	})
}
