package force

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/recordstore"
)

// Store is the set of forces in a folder. It is safe for concurrent use.
type Store struct {
	records *recordstore.Store[key, Force]
}

// storedForces describes the files.
func storedForces() recordstore.Kind[key, Force] {
	return recordstore.Kind[key, Force]{
		Name: "force", ConfigKey: "agent.data_dir", Fix: "force again with `lb ctl force`",
		Key: Force.key, FileName: fileName, Validate: Force.checked, Compare: compare,
	}
}

// fileName is the file of a force: all.KIND, or service.NAME.KIND with the name escaped, so that no name
// leads out of the folder and no service is mistaken for all of them.
func fileName(f Force) string {
	if f.Service == "" {
		return "all." + string(f.Kind)
	}
	return "service." + url.PathEscape(f.Service) + "." + string(f.Kind)
}

// Open reads the folder and creates it if it is missing. Files that cannot be used stay in place and are
// reported in bad; the others are read all the same.
func Open(dir string) (s *Store, bad []error, err error) {
	records, bad, err := recordstore.Open(dir, storedForces())
	return &Store{records}, bad, err
}

// Put stores a force and replaces one of the same kind for the same service. If it returns nil the force is
// on disk; if it fails nothing has changed.
func (s *Store) Put(f Force) error { return s.records.Put(f) }

// Delete ends a force and returns it, if there is one. If it fails nothing has changed.
func (s *Store) Delete(service string, kind score.Kind) (f Force, existed bool, err error) {
	return s.records.Delete(key{service, kind})
}

// Expire removes expired forces and their files, and returns them in the order of All. It returns an error if
// a file cannot be removed, but that force has ended all the same. The next Open and Expire retry.
func (s *Store) Expire(now time.Time) ([]Force, error) {
	return s.records.Expire(func(f Force) bool { return f.Expired(now) })
}

// InEffect returns the force that determines the health of a service now.
func (s *Store) InEffect(service string, now time.Time) (Force, bool) {
	var found []Force
	var overrides []score.Override
	s.records.View(func(get func(key) (Force, bool)) {
		for _, name := range []string{"", service} {
			for _, kind := range score.Kinds() {
				if f, ok := get(key{name, kind}); ok && !f.Expired(now) {
					found = append(found, f)
					overrides = append(overrides, f.Override())
				}
			}
		}
	})
	i := score.Winning(overrides)
	if i < 0 {
		return Force{}, false
	}
	return found[i], true
}

// Changes counts the changes of the set. While it stays the same, only time changes what is in effect.
func (s *Store) Changes() uint64 { return s.records.Revision() }

// All lists all forces by service and strength, including those that have expired since the last Expire.
func (s *Store) All() []Force { return s.records.All() }

// compare orders forces by service, and by strength within a service.
func compare(a, b Force) int {
	return cmp.Or(cmp.Compare(a.Service, b.Service),
		cmp.Compare(slices.Index(score.Kinds(), a.Kind), slices.Index(score.Kinds(), b.Kind)))
}
