package event

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"github.com/braintree/lb/netx/logfile"
)

const (
	// FileName is the file in the balancer's data_dir; FileName.1 is its older part.
	FileName = "events.log"

	ringSize = 4096    // events kept in memory: those of a fleet of a thousand nodes that all fail and come back
	fileSize = 8 << 20 // bytes of one part of the file: some 30 000 events
	tailSize = 1 << 20 // bytes of the file that are read back at the start

	dirMode = 0o755
)

// Log is the events of one balancer. It may be used by several goroutines.
type Log struct {
	log  *slog.Logger
	file *logfile.File // nil: none is kept
	dir  string

	mu     sync.Mutex
	ring   []Event       // oldest first, numbered without gaps
	last   uint64        // number of the newest; 0: there never was one
	kept   uint64        // up to which the file has them
	lost   uint64        // events that are missing from the file
	more   chan struct{} // closed when an event comes; nil while nobody waits
	broken bool          // the file could not be written to the last time
}

// Open makes a log that keeps a file in dir, and goes on where the file ends; "" is none. A file that cannot be read is said and begun
// anew: no balancer stays down for its records.
func Open(dir string, log *slog.Logger) *Log {
	l := &Log{log: log, dir: dir}
	if dir == "" {
		return l
	}
	l.file = logfile.New(filepath.Join(dir, FileName), fileSize, 1)
	text, err := l.file.Tail(tailSize)
	if err != nil {
		log.Warn("the events before this start cannot be read: their numbers begin anew", "err", err)
	}
	l.ring = parse(text)
	if n := len(l.ring); n > 0 {
		l.last = l.ring[n-1].Number
	}
	l.kept = l.last
	return l
}

// parse reads the lines of a file. Of lines that are none, or whose numbers do not go up by one, what follows counts.
func parse(text []byte) []Event {
	var events []Event
	for line := range bytes.Lines(text) {
		var e Event
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
func (l *Log) Add(e Event) {
	e = e.cleaned()
	e.Time = e.Time.UTC().Round(0)
	l.mu.Lock()
	defer l.mu.Unlock()
	l.last++
	e.Number = l.last
	if len(l.ring) == 2*ringSize { // dropped by halves, so that an event costs no copy of all
		l.ring = append(l.ring[:0], l.ring[ringSize:]...)
	}
	l.ring = append(l.ring, e)
	if l.more != nil {
		close(l.more)
		l.more = nil
	}
}

// Last is the number of the newest event; 0: there is none.
func (l *Log) Last() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.last
}

// Since gives the events after the one with that number, oldest first, and how many of them are not kept any more. A number that is not
// reached yet is of another run, whose last events were lost: then all that are kept are given.
func (l *Log) Since(number uint64) (events []Event, missed uint64) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.since(number)
}

func (l *Log) since(number uint64) ([]Event, uint64) {
	if number > l.last {
		number = 0
	}
	kept := l.ring[max(len(l.ring)-ringSize, 0):]
	missed := uint64(0)
	if len(kept) == 0 {
		return nil, l.last - number
	}
	if first := kept[0].Number; number+1 < first {
		missed, number = first-number-1, first-1
	}
	return append([]Event(nil), kept[number+1-kept[0].Number:]...), missed
}

// Wait is Since once there is an event after that number, or until ctx ends.
func (l *Log) Wait(ctx context.Context, number uint64) ([]Event, uint64, error) {
	for {
		l.mu.Lock()
		if number > l.last {
			number = 0 // of another run
		}
		if number != l.last {
			events, missed := l.since(number)
			l.mu.Unlock()
			return events, missed, nil
		}
		if l.more == nil {
			l.more = make(chan struct{})
		}
		more := l.more
		l.mu.Unlock()
		select {
		case <-more:
		case <-ctx.Done():
			return nil, 0, ctx.Err()
		}
	}
}

// Run writes the file until ctx ends, and then what is left.
func (l *Log) Run(ctx context.Context) {
	if l.file == nil {
		return
	}
	for {
		events, missed, err := l.Wait(ctx, l.kept)
		if err != nil {
			events, missed = l.Since(l.kept)
		}
		l.write(events, missed)
		if err != nil {
			return
		}
	}
}

// write appends events to the file. Those that cannot be written are missing from it: the next ones are tried again.
func (l *Log) write(events []Event, missed uint64) {
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
	err := os.MkdirAll(l.dir, dirMode)
	if err == nil {
		err = l.file.Append(lines)
	}
	l.mu.Lock()
	l.kept = events[len(events)-1].Number
	l.lost += missed
	if err != nil {
		l.lost += uint64(len(events))
	}
	was := l.broken
	l.broken = err != nil
	lost := l.lost
	l.mu.Unlock()
	switch {
	case err != nil && !was:
		l.log.Error("events are missing from their file until it can be written again; everything else goes on", "err", err)
	case err == nil && was:
		l.log.Info("events are in their file again", "missing", lost)
	}
}

// Lost is how many events since the start are missing from the file.
func (l *Log) Lost() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.lost
}

// Now is an event of this moment.
func Now(kind Kind, text string) Event { return Event{Time: time.Now(), Kind: kind, Text: text} }
