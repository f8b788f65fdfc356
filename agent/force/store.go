package force

import (
	"cmp"
	"net/url"
	"slices"
	"time"

	"github.com/braintree/lb/agent/score"
	"github.com/braintree/lb/netx/recordstore"
)

// Store is the set of forces in a folder. All methods may be called from several goroutines.
type Store struct {
	kept *recordstore.Store[key, Force]
}

// records says how forces are kept.
func records() recordstore.Kind[key, Force] {
	return recordstore.Kind[key, Force]{
		Name: "force", ConfigKey: "agent.data_dir", Fix: "force again with `lb ctl force`",
		Key: Force.key, FileName: fileName, Validate: Force.checked,
	}
}

// fileName is where a force is kept: all.KIND, or service.NAME.KIND with the name escaped, so that no
// name can leave the folder and no service can be taken for all of them.
func fileName(f Force) string {
	if f.Service == "" {
		return "all." + string(f.Kind)
	}
	return "service." + url.PathEscape(f.Service) + "." + string(f.Kind)
}

// Open reads the folder, which it makes when it is missing. A file that cannot be used is left where it is, reported in
// bad, and does not keep the others from being read.
func Open(dir string) (s *Store, bad []error, err error) {
	kept, bad, err := recordstore.Open(dir, records())
	return &Store{kept}, bad, err
}

// Put keeps a force; one of the same kind for the same service is replaced. When it returns nil the force is on disk. When it
// fails nothing has changed.
func (s *Store) Put(f Force) error { return s.kept.Put(f) }

// Delete ends a force, gives it, and tells whether there was one. When it fails nothing has changed.
func (s *Store) Delete(service string, kind score.Kind) (f Force, existed bool, err error) {
	return s.kept.Delete(key{service, kind})
}

// Expire takes the forces that have ended by themselves out of the set and their files away, and gives them in the order of All.
// A file that cannot be removed is an error, but its force has ended all the same: the next Open and Expire try again.
func (s *Store) Expire(now time.Time) ([]Force, error) {
	ended, err := s.kept.Expire(func(f Force) bool { return f.Expired(now) })
	return sorted(ended), err
}

// InEffect is the force that decides the health of a service now.
func (s *Store) InEffect(service string, now time.Time) (Force, bool) {
	var found []Force
	var overrides []score.Override
	s.kept.View(func(get func(key) (Force, bool)) {
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

// Changes counts the changes of the set: as long as it stays the same, only time changes what is in effect.
func (s *Store) Changes() uint64 { return s.kept.Revision() }

// All lists every force, those that have ended since the last Expire too, sorted by service and then by strength.
func (s *Store) All() []Force { return sorted(s.kept.All()) }

func sorted(all []Force) []Force {
	slices.SortFunc(all, func(a, b Force) int {
		return cmp.Or(cmp.Compare(a.Service, b.Service), cmp.Compare(slices.Index(score.Kinds(), a.Kind), slices.Index(score.Kinds(), b.Kind)))
	})
	return all
}
