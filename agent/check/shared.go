package check

import (
	"sync"
	"time"
)

// sharedFor is how long one reading of the machine's figures serves all checks. The kernel itself averages the load every 5 s,
// and brings its counts of pages up to date once a second.
const sharedFor = time.Second

// shared are the figures that the checks of all services would else read each by itself.
type shared struct {
	load   latest[load]
	memory latest[memory]
}

// Shared gives a host whose load and memory are read at most once a second, however many checks ask.
func (h Host) Shared() Host {
	h.shared = &shared{}
	return h
}

// latest is a reading with its age.
type latest[T any] struct {
	mu    sync.Mutex // protects what follows; held while it is read, so that one read serves all who wait
	at    time.Time  // zero: it was never read
	value T
	err   error
}

// get gives the reading, or a new one when it is too old.
func (l *latest[T]) get(read func() (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() || time.Since(l.at) >= sharedFor {
		l.value, l.err = read()
		l.at = time.Now()
	}
	return l.value, l.err
}
