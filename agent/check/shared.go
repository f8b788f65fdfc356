package check

import (
	"sync"
	"time"
)

// sharedFor is how long a reading of the machine's load or memory serves all checks. The kernel updates the
// load average every 5 s and its page counters every second.
const sharedFor = time.Second

// shared are the readings that all checks of a type have in common.
type shared struct {
	load   latest[load]
	memory latest[memory]
}

// Shared returns a host whose load and memory are read at most once a second, regardless of the number of checks.
func (h Host) Shared() Host {
	h.shared = &shared{}
	return h
}

// latest caches a reading.
type latest[T any] struct {
	mu    sync.Mutex // protects the fields below; held during a read, so that concurrent callers share it
	at    time.Time  // when it was read; zero: never
	value T
	err   error
}

// get returns the cached reading, or a new one if that is too old.
func (l *latest[T]) get(read func() (T, error)) (T, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if l.at.IsZero() || time.Since(l.at) >= sharedFor {
		l.value, l.err = read()
		l.at = time.Now()
	}
	return l.value, l.err
}
