package agent

import (
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/braintree/lb/agent/force"
	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/config"
)

// Streams come and go while forces change and the service leaves and returns: events stay in order, the last one is the truth, and
// nothing is left over.
func TestStreamsHoldWhileEverythingChanges(t *testing.T) {
	dir := shortDir(t)
	b, stop := running(t, configIn(dir, webapp("true")))
	done := make(chan struct{})
	var changing, reading sync.WaitGroup
	for kind := range 2 {
		changing.Go(func() {
			for i := range 50 {
				if err := b.forces.Put(force.Force{Service: "webapp", Kind: score.Health, Value: (10*kind + i) % 80, At: time.Now()}); err != nil {
					t.Error(err)
				}
				b.forceChanged([]string{"webapp", ""}[kind])
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
					readInOrder(t, b)
				}
			}
		})
	}
	changing.Wait()
	if err := b.forces.Put(force.Force{Service: "webapp", Kind: score.Health, Value: 81, At: time.Now()}); err != nil {
		t.Fatal(err)
	}
	b.forceChanged("webapp")
	s, first, err := b.streams.subscribe(overTCP, "webapp", "")
	if err != nil || !strings.Contains(string(first), `"health":81,`) {
		t.Errorf("at last: %q, %v", first, err)
	} else {
		b.streams.leave(s)
	}
	close(done)
	reading.Wait()
	if open, _ := b.streams.state(); open != 0 {
		t.Errorf("%d streams are left over", open)
	}
	if err := stop(); err != nil {
		t.Error(err)
	}
}

// readInOrder reads some events of one stream.
func readInOrder(t *testing.T, b *bench) {
	s, frame, err := b.streams.subscribe(overTCP, "webapp", "")
	if err != nil {
		return // the service is away
	}
	defer b.streams.leave(s)
	last := -1
	for range 5 {
		head, _, _ := strings.Cut(string(frame), "\n")
		_, number, _ := strings.Cut(head, "-")
		seq, err := strconv.Atoi(number)
		if err != nil || seq <= last {
			t.Errorf("event %q after number %d", frame, last)
			return
		}
		last = seq
		select {
		case frame = <-s.frames:
		case <-s.ended:
			return
		case <-time.After(time.Millisecond):
			return
		}
	}
}
