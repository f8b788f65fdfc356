package force

import (
	"cmp"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/braintree/lb/agent/score"
)

// Store is the set of forces in a folder. All methods may be called from several goroutines.
type Store struct {
	dir string

	write sync.Mutex // held for a whole change, file and map, so that changes happen one after the other

	mu     sync.RWMutex // protects forces; never held during I/O, so that readers do not wait for a slow disk
	forces map[key]Force
}

// Open reads the folder, which it makes when it is missing. A file that cannot be used is left where it is, reported in
// bad, and does not keep the others from being read.
func Open(dir string) (s *Store, bad []error, err error) {
	if err := os.MkdirAll(dir, 0o750); err != nil {
		return nil, nil, fmt.Errorf("make the folder for forced states: %w: make it writable for lb, or set agent.data_dir to another", err)
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		return nil, nil, fmt.Errorf("read the folder of forced states: %w: make it readable for lb, or set agent.data_dir to another", err)
	}
	s = &Store{dir: dir, forces: map[key]Force{}}
	for _, e := range entries {
		name := e.Name()
		if strings.HasPrefix(name, tempPrefix) {
			// Left by a crash in the middle of a write; whoever asked for it got no answer.
			if err := os.Remove(filepath.Join(dir, name)); err != nil && !errors.Is(err, fs.ErrNotExist) {
				bad = append(bad, fmt.Errorf("remove what a crash left: %w", err))
			}
			continue
		}
		if !strings.HasSuffix(name, suffix) {
			continue
		}
		f, err := readFile(dir, name)
		if err != nil {
			bad = append(bad, err)
			continue
		}
		s.forces[f.key()] = f
	}
	return s, bad, nil
}

// Put keeps a force; one of the same kind for the same service is replaced. When it returns nil the force is on disk. When it
// fails nothing has changed.
func (s *Store) Put(f Force) error {
	if err := f.validate(); err != nil {
		return err
	}
	f = f.Cleaned()
	s.write.Lock()
	defer s.write.Unlock()
	if err := writeFile(s.dir, f); err != nil {
		return fmt.Errorf("keep the force in %s: %w: nothing has changed; free space on that disk or make it writable, and try again", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.forces[f.key()] = f
	return nil
}

// Delete ends a force, gives it, and tells whether there was one. When it fails nothing has changed.
func (s *Store) Delete(service string, kind score.Kind) (f Force, existed bool, err error) {
	s.write.Lock()
	defer s.write.Unlock()
	k := key{service, kind}
	s.mu.RLock()
	f, existed = s.forces[k]
	s.mu.RUnlock()
	if !existed {
		return Force{}, false, nil
	}
	if err := removeFile(s.dir, f); err != nil {
		return f, true, fmt.Errorf("remove the force from %s: %w: it is still in effect; make that folder writable and try again", s.dir, err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.forces, k)
	return f, true, nil
}

// Expire takes the forces that have ended by themselves out of the set and their files away, and gives them in the order of All.
// A file that cannot be removed is an error, but its force has ended all the same: the next Open and Expire try again.
func (s *Store) Expire(now time.Time) ([]Force, error) {
	if !s.anyExpired(now) {
		return nil, nil
	}
	s.write.Lock()
	defer s.write.Unlock()
	var ended []Force
	var errs []error
	for _, f := range s.All() {
		if !f.Expired(now) {
			continue
		}
		s.mu.Lock()
		delete(s.forces, f.key())
		s.mu.Unlock()
		ended = append(ended, f)
		if err := removeFile(s.dir, f); err != nil {
			errs = append(errs, fmt.Errorf("remove the file of a force that has ended from %s: %w: make that folder writable, and delete the file", s.dir, err))
		}
	}
	return ended, errors.Join(errs...)
}

// anyExpired looks without waiting for changes under way: it is asked every second, and mostly in vain.
func (s *Store) anyExpired(now time.Time) bool {
	s.mu.RLock()
	defer s.mu.RUnlock()
	for _, f := range s.forces {
		if f.Expired(now) {
			return true
		}
	}
	return false
}

// InEffect is the force that decides the health of a service now.
func (s *Store) InEffect(service string, now time.Time) (Force, bool) {
	s.mu.RLock()
	defer s.mu.RUnlock()
	if len(s.forces) == 0 {
		return Force{}, false
	}
	var found []Force
	var overrides []score.Override
	for _, name := range []string{"", service} {
		for _, kind := range score.Kinds() {
			if f, ok := s.forces[key{name, kind}]; ok && !f.Expired(now) {
				found = append(found, f)
				overrides = append(overrides, f.Override())
			}
		}
	}
	i := score.Winning(overrides)
	if i < 0 {
		return Force{}, false
	}
	return found[i], true
}

// All lists every force, those that have ended since the last Expire too, sorted by service and then by strength.
func (s *Store) All() []Force {
	s.mu.RLock()
	defer s.mu.RUnlock()
	all := make([]Force, 0, len(s.forces))
	for _, f := range s.forces {
		all = append(all, f)
	}
	slices.SortFunc(all, func(a, b Force) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(slices.Index(score.Kinds(), a.Kind), slices.Index(score.Kinds(), b.Kind)))
	})
	return all
}
