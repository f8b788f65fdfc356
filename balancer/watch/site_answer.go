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
	// mostMembers is how many balancers one answer may list. A data centre has one at a time; an answer that gathers those of a
	// continent has a dozen, and the kernel's table must not be filled up from outside.
	mostMembers = 64
	// locationLength is how much of a location's name is kept, in bytes.
	locationLength = 40
)

// RemoteBalancer is a cluster of another data centre as its balancer tells it.
type RemoteBalancer struct {
	Address  netip.Addr // that packets are to be sent to
	Health   int        // combined weight of its own nodes, 0–65536; 65536 stands for all that is beyond a weight
	Location string     // the data centre; "" is not told
}

// siteEntry is an element of the list that GET /fwmark/MARK answers, as far as it matters here.
type siteEntry struct {
	Address  *string  `json:"lb_ip_address"`
	Health   *float64 `json:"health"`
	Location *string  `json:"lb_source_location"`
}

// parseSite reads a page: a JSON list, as big_brother's interpol and lb itself answer it. A page with anything odd in it is an error as a
// whole: half of what somebody says who is confused is worth nothing. Members are sorted by address, each once; of two with
// one address the lower health counts.
func parseSite(body []byte) ([]RemoteBalancer, error) {
	if trimmed := bytes.TrimLeft(body, " \t\r\n"); !bytes.HasPrefix(trimmed, []byte("[")) {
		return nil, fmt.Errorf("it is no JSON list but %s", sanitize.Line(fmt.Sprintf("%.30q", trimmed), 60))
	}
	var entries []siteEntry
	if err := json.Unmarshal(body, &entries); err != nil {
		return nil, fmt.Errorf("read it as a JSON list of clusters: %s", sanitize.Line(err.Error(), 120))
	}
	if len(entries) > mostMembers {
		return nil, fmt.Errorf("it lists %d balancers, more than %d", len(entries), mostMembers)
	}
	members := make([]RemoteBalancer, 0, len(entries))
	for i, e := range entries {
		m, err := e.member()
		if err != nil {
			return nil, fmt.Errorf("element %d of it: %w", i, err)
		}
		members = append(members, m)
	}
	slices.SortFunc(members, func(a, b RemoteBalancer) int {
		return cmp.Or(a.Address.Compare(b.Address), cmp.Compare(a.Health, b.Health), cmp.Compare(a.Location, b.Location))
	})
	return slices.CompactFunc(members, func(a, b RemoteBalancer) bool { return a.Address == b.Address }), nil
}

func (e siteEntry) member() (RemoteBalancer, error) {
	var m RemoteBalancer
	switch {
	case e.Address == nil:
		return m, errors.New("lb_ip_address is missing")
	case e.Health == nil:
		return m, errors.New("health is missing")
	case *e.Health < 0:
		return m, fmt.Errorf("health %g is below 0", *e.Health)
	}
	a, err := netip.ParseAddr(*e.Address)
	if err != nil || a.Zone() != "" || !a.Unmap().IsGlobalUnicast() {
		return m, fmt.Errorf("lb_ip_address %.60q is no address that packets can be sent to", *e.Address)
	}
	m.Address = a.Unmap()
	m.Health = int(min(*e.Health, decide.MaxWeight+1))
	if e.Location != nil {
		m.Location = sanitize.Line(*e.Location, locationLength)
	}
	return m, nil
}

// onBoth are the members of the two pages: who is on the page of the cluster's mark has it, who is on that of its relay takes packets from
// other data centres. Both tell the weight, and the lower one counts: a balancer that counts in what it sends elsewhere does
// so on the first page only.
func onBoth(cluster, relay []RemoteBalancer) []RemoteBalancer {
	var members []RemoteBalancer
	for _, m := range cluster {
		at, takes := slices.BinarySearchFunc(relay, m.Address, func(r RemoteBalancer, a netip.Addr) int { return r.Address.Compare(a) })
		if takes {
			m.Health = min(m.Health, relay[at].Health)
			members = append(members, m)
		}
	}
	return members
}
