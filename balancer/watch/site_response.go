package watch

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"net/netip"
	"slices"

	"github.com/braintree/lb/balancer/decide"
	"github.com/braintree/lb/netx/sanitize"
)

const (
	// maxBalancers is how many balancers a page may list. A data centre has one at a time, and a page that gathers a continent's has a
	// dozen. The limit keeps others from filling the kernel's table.
	maxBalancers = 64
	// maxLocation is how much of a location's name is kept, in bytes.
	maxLocation = 40
)

// RemoteBalancer is another data centre's balancer of a cluster, as its pages list it.
type RemoteBalancer struct {
	Address  netip.Addr // where it receives packets
	Health   int        // combined weight of its nodes, 0–65536; 65536 stands for anything too large for a weight
	Location string     // the data centre; "" if not given
}

// siteEntry is the part of an element of the list in GET /fwmark/MARK that matters here.
type siteEntry struct {
	Address  *string  `json:"lb_ip_address"`
	Health   *float64 `json:"health"`
	Location *string  `json:"lb_source_location"`
}

// parseSite parses a page: a JSON list, as big_brother's interpol and lb serve it. One invalid element makes the whole page an error,
// as the rest of it cannot be trusted either. The result is sorted by address, without duplicates: of those the lowest health stays.
func parseSite(body []byte) ([]RemoteBalancer, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); !bytes.HasPrefix(trimmed, []byte("[")) {
		return nil, fmt.Errorf("not a JSON list: %s", sanitize.Line(fmt.Sprintf("%.30q", trimmed), 60))
	}
	var entries []siteEntry
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("parse JSON list: %s", sanitize.Line(err.Error(), 120))
	}
	if len(entries) > maxBalancers {
		return nil, fmt.Errorf("lists %d balancers, the limit is %d", len(entries), maxBalancers)
	}
	balancers := make([]RemoteBalancer, 0, len(entries))
	for i, e := range entries {
		b, err := e.balancer()
		if err != nil {
			return nil, fmt.Errorf("element %d: %w", i, err)
		}
		balancers = append(balancers, b)
	}
	slices.SortFunc(balancers, func(a, b RemoteBalancer) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Health, b.Health), cmp.Compare(a.Location, b.Location))
	})
	return slices.CompactFunc(balancers, func(a, b RemoteBalancer) bool { return a.Address == b.Address }), nil
}

func (e siteEntry) balancer() (RemoteBalancer, error) {
	var b RemoteBalancer
	switch {
	case e.Address == nil:
		return b, errors.New("lb_ip_address is missing")
	case e.Health == nil:
		return b, errors.New("health is missing")
	case *e.Health < 0:
		return b, fmt.Errorf("health %g is negative", *e.Health)
	}
	a, err := netip.ParseAddr(*e.Address)
	if err != nil || a.Zone() != "" || !a.Unmap().IsGlobalUnicast() {
		return b, fmt.Errorf("lb_ip_address %.60q is not a global unicast address", *e.Address)
	}
	b.Address = a.Unmap()
	b.Health = int(min(*e.Health, decide.MaxWeight+1))
	if e.Location != nil {
		b.Location = sanitize.Line(*e.Location, maxLocation)
	}
	return b, nil
}

// onBothPages returns the balancers listed on both pages: one on the page of the cluster's mark runs the cluster, one on the page of
// the relay mark accepts packets from other data centres. Of the two healths the lower counts: only the first page includes weight
// that a balancer sends to other data centres itself.
func onBothPages(cluster, relay []RemoteBalancer) []RemoteBalancer {
	var balancers []RemoteBalancer
	for _, b := range cluster {
		at, accepts := slices.BinarySearchFunc(relay, b.Address, func(r RemoteBalancer, a netip.Addr) int { return r.Address.Compare(a) })
		if accepts {
			b.Health = min(b.Health, relay[at].Health)
			balancers = append(balancers, b)
		}
	}
	return balancers
}
