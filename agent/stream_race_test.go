package agent

import (
	"bufio"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/agent/stream"
	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/sse"
)

// Streams open and close while forces change and the service is removed and added: events stay in order, the
// last one is correct, and no stream is left.
func TestStreamsStayConsistentWhileEverythingChanges(t *testing.T) {
	dir := shortDir(t)
	b, stop := running(t, configIn(dir, webapp("true")))
	done, clients := make(chan struct{}), plainClient(t)
	var changing, reading sync.WaitGroup
	for kind := range 2 {
		changing.Go(func() {
			for i := range 50 {
				if err := b.changes.Store.Put(force.Force{Service: "webapp", Kind: score.Health, Value: (10*kind + i) % 80,
					At: time.Now()}); err != nil {
					t.Error(err)
				}
				b.publish([]string{"webapp", ""}[kind])
			}
		})
	}
	changing.Go(func() {
		for i := range 6 {
			cfg := configIn(dir, webapp("true"))
			if i%2 == 0 {
				cfg = configIn(dir, config.Service{Name: "other", Metrics: []config.Check{constant(7)}})
			}
			b.configure(cfg, nil)
			b.reload <- struct{}{}
			eventually(t, "the reload is done", func() bool { return b.log.Count("msg=reloaded") == i+1 })
		}
	})
	for range 8 {
		reading.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					readInOrder(t, b, clients)
				}
			}
		})
	}
	changing.Wait()
	if err := b.changes.Store.Put(force.Force{Service: "webapp", Kind: score.Health, Value: 81, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	b.publish("webapp")
	s, first, err := b.streams.Subscribe("webapp", "", &stream.Quota{Max: 1})
	if err != nil || !strings.Contains(string(first), `"health":81,`) {
		t.Errorf("in the end: %q, %v", first, err)
	} else {
		b.streams.Unsubscribe(s)
	}
	close(done)
	reading.Wait()
	eventually(t, "all streams are closed", func() bool { return b.streams.Counts().Open == 0 })
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// readInOrder reads some events of one stream.
func readInOrder(t *testing.T, b *bench, c *http.Client) {
	response, err := c.Get("http://" + b.Addr().String() + "/webapp/watch?heartbeat=100ms")
	if err != nil {
		t.Error(err)
		return
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusNotFound {
		return // the service is removed
	}
	events := sse.NewReader(bufio.NewReader(response.Body))
	last := -1
	for range 5 {
		e, err := events.Next()
		if err != nil || e.Name != "health" { // the service was removed, or no event came in time
			return
		}
		_, number, _ := strings.Cut(e.ID, "-")
		seq, err := strconv.Atoi(number)
		if err != nil || seq <= last {
			t.Errorf("event %q after number %d", e.ID, last)
			return
		}
		last = seq
	}
}
