// Package journal keeps the events of a balancer, numbered and in order: the newest in memory for readers, all in a file of bounded size.
package journal

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"

	"github.com/braintree/lb/balancer/event"
	"github.com/braintree/lb/netx/logfile"
)

const (
	ringSize = 4096    // events kept in memory: a fleet of a thousand nodes that all fail and recover
	fileSize = 8 << 20 // bytes of one part of the file: some 30 000 events
	tailSize = 1 << 20 // bytes of the file that Open reads back

	dirMode = 0o755
)

// Journal holds the events of one balancer. Its methods may be called from several goroutines.
type Journal struct {
	log  *slog.Logger
	file *logfile.File // nil: no file
	dir  string

	mu     sync.Mutex
	ring   []event.Event // oldest first, numbered without gaps
	last   uint64        // number of the newest; 0: there never was one
	saved  uint64        // number up to which the file has them
	lost   uint64        // events missing from the file
	wake   chan struct{} // closed when an event arrives; nil while no reader waits
	broken bool          // the last write to the file failed
}

// Open returns a journal with its file in dir, or without a file if dir is "". Numbers continue where the file ends. A file that cannot be
// read is reported and started anew: a balancer must not stay down because of its records.
func Open(dir string, log *slog.Logger) *Journal {
	j := &Journal{log: log, dir: dir}
	if dir == "" {
		return j
	}
	j.file = logfile.New(filepath.Join(dir, event.FileName), fileSize, 1)
	text, err := j.file.Tail(tailSize)
	if err != nil {
		log.Warn("cannot read earlier events: event numbers restart at 1", "err", err)
	}
	j.ring = parse(text)
	if n := len(j.ring); n > 0 {
		j.last = j.ring[n-1].Number
	}
	j.saved = j.last
	return j
}

// parse reads the lines of a file. It skips invalid lines; at a gap in the numbers it drops what came before the gap.
func parse(text []byte) []event.Event {
	var events []event.Event
	for line := range bytes.Lines(text) {
		var e event.Event
		if json.Unmarshal(line, &e) != nil || e.Number == 0 {
			continue
		}
		if n := len(events); n > 0 && e.Number != events[n-1].Number+1 {
			events = events[:0]
		}
		if len(events) == ringSize {
			events = append(events[:0], events[1:]...)
		}
		events = append(events, e)
	}
	return events
}

// Add numbers an event and keeps it. It never waits for the disk or for a reader.
func (j *Journal) Add(e event.Event) {
	e = e.Sanitized()
	e.Time = e.Time.UTC().Round(0)
	j.mu.Lock()
	defer j.mu.Unlock()
	j.last++
	e.Number = j.last
	if len(j.ring) == 2*ringSize { // dropped by halves, so that one event does not cost a copy of all
		j.ring = append(j.ring[:0], j.ring[ringSize:]...)
	}
	j.ring = append(j.ring, e)
	if j.wake != nil {
		close(j.wake)
		j.wake = nil
	}
}

// Last is the number of the newest event; 0 if there is none.
func (j *Journal) Last() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.last
}

// Since returns the events after the one with that number, oldest first, and how many of them are no longer in memory. A number that
// has not been reached belongs to an earlier run whose last events were lost: Since then returns every event in memory.
func (j *Journal) Since(number uint64) (events []event.Event, missed uint64) {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.since(number)
}

func (j *Journal) since(number uint64) ([]event.Event, uint64) {
	if number > j.last {
		number = 0
	}
	kept := j.ring[max(len(j.ring)-ringSize, 0):]
	missed := uint64(0)
	if len(kept) == 0 {
		return nil, j.last - number
	}
	if first := kept[0].Number; number+1 < first {
		missed, number = first-number-1, first-1
	}
	return append([]event.Event(nil), kept[number+1-kept[0].Number:]...), missed
}

// Wait returns what Since returns once an event after that number exists. It returns the context's error when ctx ends first.
func (j *Journal) Wait(ctx context.Context, number uint64) ([]event.Event, uint64, error) {
	for {
		j.mu.Lock()
		if number > j.last {
			number = 0 // of an earlier run
		}
		if number != j.last {
			events, missed := j.since(number)
			j.mu.Unlock()
			return events, missed, nil
		}
		if j.wake == nil {
			j.wake = make(chan struct{})
		}
		wake := j.wake
		j.mu.Unlock()
		select {
		case <-wake:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// Start writes the events to the file until stop is called, which returns when all of them are written.
func (j *Journal) Start() (stop func()) {
	ctx, cancel := context.WithCancel(context.Background())
	var writing sync.WaitGroup
	writing.Go(func() { j.run(ctx) })
	return func() {
		cancel()
		writing.Wait()
	}
}

func (j *Journal) run(ctx context.Context) {
	if j.file == nil {
		return
	}
	for {
		events, missed, err := j.Wait(ctx, j.saved)
		if err != nil {
			events, missed = j.Since(j.saved)
		}
		j.write(events, missed)
		if err != nil {
			return
		}
	}
}

// write appends events to the file. Events that cannot be written are lost to the file; the next write tries again.
func (j *Journal) write(events []event.Event, missed uint64) {
	if len(events) == 0 {
		return
	}
	var lines []byte
	for _, e := range events {
		line, err := json.Marshal(e)
		if err != nil { // only a time beyond the year 9999
			line = fmt.Appendf(nil, `{"number":%d}`, e.Number)
		}
		lines = append(append(lines, line...), '\n')
	}
	err := os.MkdirAll(j.dir, dirMode)
	if err == nil {
		err = j.file.Append(lines)
	}
	j.mu.Lock()
	j.saved = events[len(events)-1].Number
	j.lost += missed
	if err != nil {
		j.lost += uint64(len(events))
	}
	wasBroken := j.broken
	j.broken = err != nil
	lost := j.lost
	j.mu.Unlock()
	switch {
	case err != nil && !wasBroken:
		j.log.Error("cannot write events to their file; lb retries with the next event, everything else continues", "err", err)
	case err == nil && wasBroken:
		j.log.Info("events are written to their file again", "missing", lost)
	}
}

// Lost counts the events since the start that are missing from the file.
func (j *Journal) Lost() uint64 {
	j.mu.Lock()
	defer j.mu.Unlock()
	return j.lost
}

// Deliveries count what became of the events that a reader of the journal, such as a hook, delivers elsewhere.
type Deliveries struct {
	Delivered uint64
	Failed    uint64 // for good
	Lost      uint64 // because the reader was too slow
}
