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
	records *recordstore.Store[Key, Drain]
}

// recordFormat stores a drain in drain.CLUSTER.ADDRESS, with both escaped, so that no name can leave the directory.
func recordFormat() recordstore.Kind[Key, Drain] {
	return recordstore.Kind[Key, Drain]{
		Name: "drain", ConfigKey: "balancer.data_dir", Fix: "drain again with `lb ctl drain`",
		Key: Drain.Key,
		FileName: func(d Drain) string {
			return "drain." + url.PathEscape(d.Cluster) + "." + url.PathEscape(d.Node.String())
		},
		Validate: Drain.validated, Compare: compare, AfterLoad: Drain.withMonotonicExpiry,
	}
}

// Open loads the drains in a directory, which it creates if missing. An invalid file stays in place, is reported in bad, and does
// not prevent loading the others.
func Open(dir string) (s *Store, bad []error, err error) {
	records, bad, err := recordstore.Open(dir, recordFormat())
	return &Store{records}, bad, err
}

// Read returns the drains in another process's directory, which may be missing, and changes nothing. It skips invalid files: the other
// process reports them.
func Read(dir string) ([]Drain, error) {
	all, _, err := recordstore.Read(dir, recordFormat())
	return all, err
}

// Put stores a drain, replacing one with the same key. When it returns nil the drain is on disk; on failure nothing has changed.
func (s *Store) Put(d Drain) error { return s.records.Put(d) }

// Delete removes and returns a drain, if it exists. On failure nothing has changed.
func (s *Store) Delete(k Key) (d Drain, existed bool, err error) { return s.records.Delete(k) }

// Get returns a drain, unless it has expired.
func (s *Store) Get(k Key, now time.Time) (Drain, bool) {
	d, ok := s.records.Get(k)
	if !ok || d.Expired(now) {
		return Drain{}, false
	}
	return d, true
}

// Expire removes the expired drains with their files, and returns them in the order of All. If a file cannot be removed it returns an
// error, but the drain has ended nevertheless.
func (s *Store) Expire(now time.Time) ([]Drain, error) {
	return s.records.Expire(func(d Drain) bool { return d.Expired(now) })
}

// All returns all drains, sorted by cluster and address.
func (s *Store) All() []Drain { return s.records.All() }

// PutAll stores drains with different keys, and returns those that they replaced. On failure nothing has changed.
func (s *Store) PutAll(drains []Drain) (replaced []Drain, err error) {
	for i, d := range drains {
		old, exists := s.records.Get(d.Key())
		if err := s.Put(d); err != nil {
			return nil, errors.Join(err, s.rollBack(drains[:i], replaced))
		}
		if exists {
			replaced = append(replaced, old)
		}
	}
	return replaced, nil
}

// rollBack undoes a PutAll.
func (s *Store) rollBack(put, replaced []Drain) error {
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

// Rename moves drains from old to new names of clusters. No new name may be an old one, too. On failure nothing has changed.
func (s *Store) Rename(newNames map[string]string) error {
	var old, moved []Drain
	for _, d := range s.All() {
		if name, ok := newNames[d.Cluster]; ok {
			old = append(old, d)
			d.Cluster = name
			moved = append(moved, d)
		}
	}
	if _, err := s.PutAll(moved); err != nil {
		return err
	}
	for _, d := range old {
		_, _, _ = s.Delete(d.Key()) // on failure it is listed as a drain of an unknown cluster
	}
	return nil
}

// compare orders drains by cluster and address.
func compare(a, b Drain) int {
	return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Node.Compare(b.Node))
}
