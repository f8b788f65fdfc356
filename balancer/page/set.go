package page

import (
	"context"
	"log/slog"
	"net/netip"
	"slices"
	"sync"

	"github.com/braintree/lb/config"
	"github.com/braintree/lb/netx/ipvs"
)

// Wanted is a page to serve.
type Wanted struct {
	Cluster   string
	Content   *Content
	Addresses []netip.Addr // to listen on, one of each IP version
}

// Set serves the pages of several clusters, each known by a key. One goroutine uses it at a time.
type Set[K comparable] struct {
	log     *slog.Logger
	serving sync.WaitGroup
	served  map[K]*served
}

type served struct {
	Wanted
	server *server
	stop   context.CancelFunc
}

// NewSet returns a set that serves nothing.
func NewSet[K comparable](log *slog.Logger) *Set[K] {
	return &Set[K]{log: log, served: map[K]*served{}}
}

// LoadAll reads the pages of the clusters with page = true, by the cluster's name.
func LoadAll(clusters []config.Cluster) (map[string]*Content, error) {
	contents := map[string]*Content{}
	for _, c := range clusters {
		if !c.Downpage.Page || c.AllDown != config.ToPage {
			continue
		}
		content, err := load(c)
		if err != nil {
			return nil, err
		}
		contents[c.Name] = content
	}
	return contents, nil
}

// Serve serves the wanted page for a key until ctx ends. A page that is served already keeps its listeners unless its addresses change.
func (s *Set[K]) Serve(ctx context.Context, key K, w Wanted) error {
	if old := s.served[key]; old != nil {
		if slices.Equal(old.Addresses, w.Addresses) {
			if old.Content != w.Content {
				old.Content = w.Content
				old.server.setContent(w.Content)
			}
			return nil
		}
		s.Close(key)
	}
	server, err := newServer(ctx, w.Cluster, w.Addresses, w.Content, s.log)
	if err != nil {
		return err
	}
	ctx, stop := context.WithCancel(ctx)
	s.served[key] = &served{w, server, stop}
	s.serving.Go(func() { server.Run(ctx) })
	return nil
}

// Addresses returns the addresses where the page for a key is served; none if it is not.
func (s *Set[K]) Addresses(key K) []netip.AddrPort {
	old := s.served[key]
	if old == nil {
		return nil
	}
	var addresses []netip.AddrPort
	for _, family := range []ipvs.Family{ipvs.IPv4, ipvs.IPv6} {
		if at := old.server.Address(family); at.IsValid() {
			addresses = append(addresses, at)
		}
	}
	return addresses
}

// Close stops serving the page for a key.
func (s *Set[K]) Close(key K) {
	if old := s.served[key]; old != nil {
		old.stop()
		delete(s.served, key)
	}
}

// CloseOthers stops serving the pages for which keep returns false.
func (s *Set[K]) CloseOthers(keep func(K) bool) {
	for key := range s.served {
		if !keep(key) {
			s.Close(key)
		}
	}
}

// Wait waits until no page is served.
func (s *Set[K]) Wait() { s.serving.Wait() }
