// Package recordstore stores operators' overrides, such as forces and drains, as one small JSON file each, so that they
// survive restarts and crashes.
package recordstore

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/braintree/lb/netx/sanitize"
)

// Kind describes the records of a folder. V is stored as JSON.
type Kind[K comparable, V any] struct {
	Name      string             // of one record, in errors: "force"
	ConfigKey string             // the setting that names the folder: "agent.data_dir"
	Fix       string             // what to do about an unusable file: "force again with `lb ctl force`"
	Key       func(V) K          // identifies a record
	FileName  func(V) string     // without suffix; must be unique for each key
	Validate  func(V) (V, error) // returns the record in the form in which it is stored, or an error
	AfterLoad func(V) V          // transforms a record that was read from its file; nil keeps it as it is
	Compare   func(a, b V) int   // orders the records that Read, All and Expire return; nil: in no particular order
}

// Limits of the texts in an override, in bytes. A reason is one line that fits on a screen.
const (
	MaxReason = 500
	MaxWho    = 100
)

// Store is the set of records in a folder. It is safe for concurrent use.
type Store[K comparable, V any] struct {
	kind Kind[K, V]
	dir  string

	write sync.Mutex // held for a whole change, file and map, so that changes are serialised

	mu      sync.RWMutex // protects records; never held during I/O, so that readers do not wait for a slow disk
	records map[K]V

	revision atomic.Uint64 // of records; incremented after each change, while mu is held
}

// Open reads the folder and creates it if it is missing. Files that cannot be used stay in place and are reported in
// bad; the others are read all the same.
func Open[K comparable, V any](dir string, kind Kind[K, V]) (s *Store[K, V], bad []error, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, fmt.Errorf("create the folder for %ss: %w: make it writable for lb, or set %s to another",
			kind.Name, err, kind.ConfigKey)
	}
	s = &Store[K, V]{kind: kind, dir: dir, records: map[K]V{}}
	stale, bad, err := s.load()
	for _, name := range stale {
		// A crash interrupted a write that was never acknowledged.
		if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
			bad = append(bad, fmt.Errorf("remove a temporary file that a crash left behind: %w", err))
		}
	}
	return s, bad, err
}

// Read returns the records of a folder and changes nothing in it: the folder may belong to another process or be
// missing.
func Read[K comparable, V any](dir string, kind Kind[K, V]) (records []V, bad []error, err error) {
	s := &Store[K, V]{kind: kind, dir: dir, records: map[K]V{}}
	_, bad, err = s.load()
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil, nil
	}
	return s.All(), bad, err
}

// load reads the records into the set and returns the names of leftover temporary files.
func (s *Store[K, V]) load() (stale []string, bad []error, err error) {
	entries, err := os.ReadDir(s.dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the folder of %ss: %w: make it readable for lb, or set %s to another",
			s.kind.Name, err, s.kind.ConfigKey)
	}
	for _, e := range entries {
		name := e.Name()
		switch {
		case strings.HasPrefix(name, tempPrefix):
			stale = append(stale, name)
			continue
		case !strings.HasSuffix(name, fileSuffix):
			continue
		}
		v, err := s.kind.read(s.dir, name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		if s.kind.AfterLoad != nil {
			v = s.kind.AfterLoad(v)
		}
		s.records[s.kind.Key(v)] = v
	}
	return stale, bad, nil
}

// Put stores a record and replaces one with the same key. If it returns nil the record is on disk; if it fails nothing
// has changed.
func (s *Store[K, V]) Put(v V) error {
	v, err := s.kind.Validate(v)
	if err != nil {
		return err
	}
	s.write.Lock()
	defer s.write.Unlock()
	if err := s.writeFile(v); err != nil {
		return fmt.Errorf("store the %s in %s: %w: nothing has changed; free disk space or make the folder writable, and try again",
			s.kind.Name, s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.records[s.kind.Key(v)] = v
	s.revision.Add(1)
	return nil
}

// Delete removes a record and returns it; existed is false if there was none. If it fails nothing has changed.
func (s *Store[K, V]) Delete(k K) (v V, existed bool, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	if v, existed = s.Get(k); !existed {
		return v, false, nil
	}
	if err := s.kind.remove(s.dir, v); err != nil {
		return v, true, fmt.Errorf("remove the %s from %s: %w: it is still in effect; make the folder writable and try again",
			s.kind.Name, s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.records, k)
	s.revision.Add(1)
	return v, true, nil
}

// Expire removes the records for which expired is true, with their files, and returns them in the order of All. If a
// file cannot be removed it returns an error, but the record is gone from the set; the next Open reads it again.
func (s *Store[K, V]) Expire(expired func(V) bool) ([]V, error) {
	if !s.anyExpired(expired) {
		return nil, nil
	}
	s.write.Lock()
	defer s.write.Unlock()
	var removed []V
	var errs []error
	for _, v := range s.All() {
		if !expired(v) {
			continue
		}
		s.mu.Lock()
		delete(s.records, s.kind.Key(v))
		s.revision.Add(1)
		s.mu.Unlock()
		removed = append(removed, v)
		if err := s.kind.remove(s.dir, v); err != nil {
			errs = append(errs, fmt.Errorf("remove the file of an expired %s from %s: %w: make the folder writable and delete the file",
				s.kind.Name, s.dir, err))
		}
	}
	return removed, errors.Join(errs...)
}

// writeFile writes a record's file.
func (s *Store[K, V]) writeFile(v V) error {
	if old, existed := s.Get(s.kind.Key(v)); existed {
		return s.kind.write(s.dir, v, &old)
	}
	return s.kind.write(s.dir, v, nil)
}

// anyExpired does not wait for changes in progress: it is called every second and is mostly false.
func (s *Store[K, V]) anyExpired(expired func(V) bool) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, v := range s.records {
		if expired(v) {
			return true
		}
	}
	return false
}

// Revision counts the records put, deleted and expired since Open. While it stays the same, so do the records.
func (s *Store[K, V]) Revision() uint64 { return s.revision.Load() }

// Get returns the record with key k, if there is one.
func (s *Store[K, V]) Get(k K) (V, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	v, ok := s.records[k]
	return v, ok
}

// View calls f with a getter on a consistent view of the records; with no records it does not call f. Changes wait
// until f returns.
func (s *Store[K, V]) View(f func(get func(K) (V, bool))) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.records) > 0 {
		f(func(k K) (V, bool) { v, ok := s.records[k]; return v, ok })
	}
}

// All returns all records, in the order of Kind.Compare.
func (s *Store[K, V]) All() []V {
	s.mu.RLock()
	all := make([]V, 0, len(s.records))
	for _, v := range s.records {
		all = append(all, v)
	}
	s.mu.RUnlock()
	if s.kind.Compare != nil {
		slices.SortFunc(all, s.kind.Compare)
	}
	return all
}

// maxDuration is the longest time for which an override can be set; to last longer it must have no end.
const maxDuration = 366 * 24 * time.Hour

// ParseDuration parses how long an override lasts: a duration such as 90m or 1h30m, or whole days such as 3d, from 1s
// to 366d.
func ParseDuration(s string) (time.Duration, error) {
	fail := func() (time.Duration, error) {
		return 0, fmt.Errorf("for must be a duration from 1s to 366d, such as 90m, 2h or 3d, not %q", sanitize.Line(s, 40))
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
	if d < time.Second || d > maxDuration {
		return fail()
	}
	return d, nil
}
