// Package recordstore holds what operators ordered in a folder, one small file for each order, so that it survives restarts and crashes; and it replaces a
// single file in one step.
package recordstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// Sort says what kind of records a folder holds. V is kept as JSON.
type Kind[K comparable, V any] struct {
	Name      string             // of one record, in errors: "force"
	ConfigKey string             // of the configuration, that names the folder: "agent.data_dir"
	Fix       string             // what to do about a record whose file cannot be used: "force again with `lb ctl force`"
	Key       func(V) K          // there is one record for each
	FileName  func(V) string     // the name of its file, without suffix, another one for each key
	Validate  func(V) (V, error) // refuses what cannot be, and gives the record as it is kept
	AfterLoad func(V) V          // what becomes of a record that was read from its file; nil is nothing
}

// Store is the set of records in a folder. All methods may be called from several goroutines.
type Store[K comparable, V any] struct {
	sort Kind[K, V]
	dir  string // "" is none: the set is in memory alone

	write sync.Mutex // held for a whole change, file and map, so that changes happen one after the other

	mu      sync.RWMutex // protects records; never held during I/O, so that readers do not wait for a slow disk
	records map[K]V

	changes atomic.Uint64 // of records; counted after they were made, while mu is held
}

// Open reads the folder, which it makes when it is missing. A file that cannot be used is left where it is, reported in
// bad, and does not keep the others from being read.
func Open[K comparable, V any](dir string, sort Kind[K, V]) (s *Store[K, V], bad []error, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, fmt.Errorf("make the folder for %ss: %w: make it writable for lb, or set %s to another", sort.Name, err, sort.ConfigKey)
	}
	s = &Store[K, V]{sort: sort, dir: dir, records: map[K]V{}}
	left, bad, err := s.load()
	for _, name := range left {
		// Left by a crash in the middle of a write; whoever asked for it got no answer.
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, fmt.Errorf("remove what a crash left: %w", err))
		}
	}
	return s, bad, err
}

// Read gives what Open would, and touches nothing: the folder may be another process's, or missing.
func Read[K comparable, V any](dir string, sort Kind[K, V]) (records []V, bad []error, err error) {
	s := &Store[K, V]{sort: sort, dir: dir, records: map[K]V{}}
	_, bad, err = s.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	return s.All(), bad, err
}

// Hold makes a set that is in no folder: it begins with these records, and what becomes of them is forgotten with it.
func NewInMemory[K comparable, V any](records []V, sort Kind[K, V]) *Store[K, V] {
	s := &Store[K, V]{sort: sort, records: map[K]V{}}
	for _, v := range records {
		s.records[sort.Key(v)] = v
	}
	return s
}

// load reads the records into the set, and names the files that are half written.
func (s *Store[K, V]) load() (half []string, bad []error, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the folder of %ss: %w: make it readable for lb, or set %s to another", s.sort.Name, err, s.sort.ConfigKey)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, tempPrefix):
			half = append(half, name)
			continue
		case !strings.HasSuffix(name, suffix):
			continue
		}
		v, err := s.sort.read(s.dir, name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if s.sort.AfterLoad != nil {
			v = s.sort.AfterLoad(v)
		}
		s.records[s.sort.Key(v)] = v
	}
	return half, bad, nil
}

// Put keeps a record; one with the same key is replaced. When it returns nil the record is on disk. When it fails nothing has changed.
func (s *Store[K, V]) Put(v V) error {
	v, err := s.sort.Validate(v)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.store(v); err != nil {
		return fmt.Errorf("keep the %s in %s: %w: nothing has changed; free space on that disk or make it writable, and try again", s.sort.Name, s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[s.sort.Key(v)] = v
	s.changes.Add(1)
	return nil
}

// Delete ends a record, gives it, and tells whether there was one. When it fails nothing has changed.
func (s *Store[K, V]) Delete(k K) (v V, existed bool, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	if v, existed = s.Get(k); !existed {
		return v, false, nil
	}
	if err := s.erase(v); err != nil {
		return v, true, fmt.Errorf("remove the %s from %s: %w: it is still in effect; make that folder writable and try again", s.sort.Name, s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, k)
	s.changes.Add(1)
	return v, true, nil
}

// Expire takes the records that are over out of the set and their files away, and gives them in no order. A file that
// cannot be removed is an error, but its record has ended all the same: the next Open and Expire try again.
func (s *Store[K, V]) Expire(over func(V) bool) ([]V, error) {
	if !s.any(over) {
		return nil, nil
	}
	s.write.Lock()
	defer s.write.Unlock()
	var ended []V
	var errs []error
	for _, v := range s.All() {
		if !over(v) {
			continue
		}
		s.mu.Lock()
		delete(s.records, s.sort.Key(v))
		s.changes.Add(1)
		s.mu.Unlock()
		ended = append(ended, v)
		if err := s.erase(v); err != nil {
			errs = append(errs, fmt.Errorf("remove the file of a %s that has ended from %s: %w: make that folder writable, and delete the file", s.sort.Name, s.dir, err))
		}
	}
	return ended, errors.Join(errs...)
}

// store writes a record's file.
func (s *Store[K, V]) store(v V) error {
	if s.dir == "" {
		return nil
	}
	if before, had := s.Get(s.sort.Key(v)); had {
		return s.sort.write(s.dir, v, &before)
	}
	return s.sort.write(s.dir, v, nil)
}

// erase takes a record's file away.
func (s *Store[K, V]) erase(v V) error {
	if s.dir == "" {
		return nil
	}
	return s.sort.remove(s.dir, v)
}

// any looks without waiting for changes under way: it is asked every second, and mostly in vain.
func (s *Store[K, V]) any(over func(V) bool) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.records {
		if over(v) {
			return true
		}
	}
	return false
}

// Changes counts the records that were put, deleted and expired since Open: as long as it stays the same, so do the records.
func (s *Store[K, V]) Revision() uint64 { return s.changes.Load() }

// Get gives the record of a key, where there is one.
func (s *Store[K, V]) Get(k K) (V, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.records[k]
	return v, ok
}

// Look calls f with what gives the record of a key, all as of one moment. f must not be long, for changes wait for it.
func (s *Store[K, V]) View(f func(get func(K) (V, bool))) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.records) > 0 {
		f(func(k K) (V, bool) { v, ok := s.records[k]; return v, ok })
	}
}

// All lists every record, in no order.
func (s *Store[K, V]) All() []V {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]V, 0, len(s.records))
	for _, v := range s.records {
		all = append(all, v)
	}
	return all
}

// maxSpan is the longest time that an order is given for. What is to last longer has no end.
const maxSpan = 366 * 24 * time.Hour

// ParseSpan reads for how long an order is given: a duration such as 90m or 1h30m, or whole days such as 3d.
func ParseDuration(s string) (time.Duration, error) {
	fail := func() (time.Duration, error) {
		return 0, fmt.Errorf("for must be a time from 1s to 366d, such as 90m, 2h or 3d, not %q", sanitize.Line(s, 40))
	}
	var d time.Duration
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseUint(days, 10, 16)
		if err != nil {
			return fail()
		}
		d = time.Duration(n) * 24 * time.Hour
	} else {
		var err error
		if d, err = time.ParseDuration(s); err != nil {
			return fail()
		}
	}
	if d < time.Second || d > maxSpan {
		return fail()
	}
	return d, nil
}
