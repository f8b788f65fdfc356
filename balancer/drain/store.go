package drain

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/braintree/lb/netx/recordstore"
)

// Store is the set of drains in a folder. All methods may be called from several goroutines.
type Store struct {
	kept *recordstore.Store[Key, Drain]
}

// records says how drains are kept: in drain.CLUSTER.ADDRESS, with both escaped, so that no name can leave the folder.
func records() recordstore.Kind[Key, Drain] {
	return recordstore.Kind[Key, Drain]{
		Name: "drain", ConfigKey: "balancer.data_dir", Fix: "drain again with `lb ctl drain`",
		Key: Drain.Key,
		FileName: func(d Drain) string {
			return "drain." + url.PathEscape(d.Cluster) + "." + url.PathEscape(d.Node.String())
		},
		Validate: Drain.checked, AfterLoad: Drain.resume,
	}
}

// Open reads the folder, which it makes when it is missing. A file that cannot be used is left where it is, reported in
// bad, and does not keep the others from being read.
func Open(dir string) (s *Store, bad []error, err error) {
	kept, bad, err := recordstore.Open(dir, records())
	return &Store{kept}, bad, err
}

// Read gives the drains of another process's folder, or of none, and touches nothing. What it cannot use it leaves out: it is that
// process's to report.
func Read(dir string) ([]Drain, error) {
	all, _, err := recordstore.Read(dir, records())
	return sorted(all), err
}

// NewMemory makes a set of drains that is in memory alone, to try out what a change does.
func NewMemory(drains []Drain) *Store { return &Store{recordstore.NewInMemory(drains, records())} }

// Put keeps a drain; one of the same node in the same cluster is replaced. When it returns nil the drain is on disk. When it
// fails nothing has changed.
func (s *Store) Put(d Drain) error { return s.kept.Put(d) }

// Delete ends a drain, gives it, and tells whether there was one. When it fails nothing has changed.
func (s *Store) Delete(k Key) (d Drain, existed bool, err error) { return s.kept.Delete(k) }

// Get gives the drain of a node of a cluster, where there is one that has not ended.
func (s *Store) Get(k Key, now time.Time) (Drain, bool) {
	d, ok := s.kept.Get(k)
	if !ok || d.Expired(now) {
		return Drain{}, false
	}
	return d, true
}

// Expire takes the drains that have ended by themselves out of the set and their files away, and gives them in the order of All.
// A file that cannot be removed is an error, but its drain has ended all the same.
func (s *Store) Expire(now time.Time) ([]Drain, error) {
	ended, err := s.kept.Expire(func(d Drain) bool { return d.Expired(now) })
	return sorted(ended), err
}

// All lists every drain, sorted by cluster and address.
func (s *Store) All() []Drain { return sorted(s.kept.All()) }

// PutAll keeps drains of different nodes or clusters, and gives those whose place they took. When it fails nothing has changed.
func (s *Store) PutAll(drains []Drain) (replaced []Drain, err error) {
	for i, d := range drains {
		before, had := s.kept.Get(d.Key())
		if err := s.Put(d); err != nil {
			return nil, errors.Join(err, s.takeBack(drains[:i], replaced))
		}
		if had {
			replaced = append(replaced, before)
		}
	}
	return replaced, nil
}

// takeBack ends drains, and gives back those whose place they took.
func (s *Store) takeBack(put, replaced []Drain) error {
	var errs []error
	for _, d := range put {
		if !slices.ContainsFunc(replaced, func(r Drain) bool { return r.Key() == d.Key() }) {
			_, _, err := s.Delete(d.Key())
			errs = append(errs, err)
		}
	}
	for _, d := range replaced {
		errs = append(errs, s.Put(d))
	}
	return errors.Join(errs...)
}

// Rename lets the drains of clusters follow them from their names to their new ones, none of which is a name of before. When it fails
// nothing has changed.
func (s *Store) Rename(names map[string]string) error {
	var old, moved []Drain
	for _, d := range s.All() {
		if to, renamed := names[d.Cluster]; renamed {
			old = append(old, d)
			d.Cluster = to
			moved = append(moved, d)
		}
	}
	if _, err := s.PutAll(moved); err != nil {
		return err
	}
	for _, d := range old {
		_, _, _ = s.Delete(d.Key()) // what stays is listed as a drain of no cluster
	}
	return nil
}

func sorted(all []Drain) []Drain {
	slices.SortFunc(all, func(a, b Drain) int { return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Node.Compare(b.Node)) })
	return all
}
