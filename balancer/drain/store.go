package drain

import (
	"cmp"
	"errors"
	"net/url"
	"slices"
	"time"

	"github.com/braintree/lb/netx/keep"
)

// Store is the set of drains in a folder. All methods may be called from several goroutines.
type Store struct {
	kept *keep.Store[Key, Drain]
}

// records says how drains are kept: in drain.CLUSTER.ADDRESS, with both escaped, so that no name can leave the folder.
func records() keep.Sort[Key, Drain] {
	return keep.Sort[Key, Drain]{
		Name: "drain", Setting: "balancer.data_dir", Mend: "drain again with `lb ctl drain`",
		Key: Drain.Key,
		File: func(d Drain) string {
			return "drain." + url.PathEscape(d.Cluster) + "." + url.PathEscape(d.Node.String())
		},
		Check: Drain.checked, Loaded: Drain.resume,
	}
}

// Open reads the folder, which it makes when it is missing. A file that cannot be used is left where it is, reported in
// bad, and does not keep the others from being read.
func Open(dir string) (s *Store, bad []error, err error) {
	kept, bad, err := keep.Open(dir, records())
	return &Store{kept}, bad, err
}

// Read gives the drains of another process's folder, or of none, and touches nothing. What it cannot use it leaves out: it is that
// process's to report.
func Read(dir string) ([]Drain, error) {
	all, _, err := keep.Read(dir, records())
	return sorted(all), err
}

// Hold makes a set of drains that is in memory alone, to try out what a change does.
func Hold(drains []Drain) *Store { return &Store{keep.Hold(drains, records())} }

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

// Rename lets the drains of a cluster follow it to its new name. When it fails nothing has changed.
func (s *Store) Rename(from, to string) error {
	var moved []Drain
	for _, d := range s.All() {
		if d.Cluster != from {
			continue
		}
		d.Cluster = to
		if err := s.Put(d); err != nil {
			for _, back := range moved {
				_, _, deleteErr := s.Delete(back.Key())
				err = errors.Join(err, deleteErr)
			}
			return err
		}
		moved = append(moved, d)
	}
	for _, d := range moved {
		_, _, _ = s.Delete(Key{from, d.Node}) // what stays is listed as a drain of no cluster
	}
	return nil
}

func sorted(all []Drain) []Drain {
	slices.SortFunc(all, func(a, b Drain) int { return cmp.Or(cmp.Compare(a.Cluster, b.Cluster), a.Node.Compare(b.Node)) })
	return all
}
