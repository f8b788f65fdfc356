// Package plan compares the kernel's tables with the wanted state and lists the operations that turn one into the other.
package plan

import (
	"cmp"
	"fmt"
	"net/netip"
	"slices"
	"strings"
	"time"

	"github.com/braintree/lb/netx/ipvs"
)

// Kind is what an operation does.
type Kind uint8

// The kinds of operations, in the order in which they apply within a mark.
const (
	PutService        Kind = iota // add a service, or edit it in place
	PutDestination                // add a node, or edit it in place
	DeleteDestination             // remove a node
	DeleteService                 // remove a service with its nodes
)

// Op is one change to the IPVS table.
type Op struct {
	Kind        Kind
	Key         ipvs.Key
	Service     ipvs.Service     // PutService: the new state, without destinations
	OldService  ipvs.Service     // PutService with Edit
	Destination ipvs.Destination // PutDestination: the new state; DeleteDestination: the node to remove
	Old         ipvs.Destination // PutDestination with Edit, DeleteDestination
	Edit        bool             // it exists already: edit it in place
}

// Plan is a list of operations in the order in which they apply.
type Plan []Op

// Object identifies what an operation changes: a service, or one of its nodes.
type Object struct {
	Key  ipvs.Key
	Node netip.AddrPort // invalid for the service itself
}

// Object returns what the operation changes.
func (o Op) Object() Object {
	if o.Kind == PutDestination || o.Kind == DeleteDestination {
		return Object{o.Key, addrPort(o.Destination)}
	}
	return Object{Key: o.Key}
}

// String returns one line, such as "mark 7: node 10.0.0.2 weight 92 → 0". Events record it.
func (o Op) String() string {
	switch o.Kind {
	case PutService:
		if o.Edit {
			return fmt.Sprintf("%s: service %s", o.Key, serviceChange(o.OldService, o.Service))
		}
		return fmt.Sprintf("%s: add service, %s", o.Key, describeService(o.Service))
	case PutDestination:
		if o.Edit {
			return fmt.Sprintf("%s: node %s %s", o.Key, NodeName(o.Destination), destinationChange(o.Old, o.Destination))
		}
		return fmt.Sprintf("%s: add node %s weight %d, %s", o.Key, NodeName(o.Destination), o.Destination.Weight, o.Destination.Forwarding)
	case DeleteDestination:
		return fmt.Sprintf("%s: remove node %s", o.Key, NodeName(o.Destination))
	}
	return fmt.Sprintf("%s: remove service", o.Key)
}

// String returns one line per operation.
func (p Plan) String() string {
	var b strings.Builder
	for _, o := range p {
		b.WriteString(o.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Changes returns the operations as changes to a table.
func (p Plan) Changes() []ipvs.Change {
	changes := make([]ipvs.Change, len(p))
	for i, o := range p {
		switch o.Kind {
		case PutService:
			changes[i] = ipvs.PutService(o.Service)
		case PutDestination:
			changes[i] = ipvs.PutDestination(o.Key, o.Destination)
		case DeleteDestination:
			changes[i] = ipvs.DeleteDestination(o.Key, o.Destination.Address, o.Destination.Port)
		case DeleteService:
			changes[i] = ipvs.DeleteService(o.Key)
		}
		changes[i].AssumeNew = !o.Edit
	}
	return changes
}

// NodeName returns a destination's address, with its port if it has one.
func NodeName(d ipvs.Destination) string {
	if d.Port == 0 {
		return d.Address.Unmap().String()
	}
	return addrPort(d).String()
}

// Diff returns the operations that turn the actual table into the wanted one. It changes services of owned marks only, and deletes
// those that are not wanted. It edits existing services and nodes in place: deleting and adding them again would drop connections.
// Within a mark, weight is added before it is removed, and services are deleted last, so that no intermediate state has less
// capacity than both the old and the new one.
func Diff(wanted, actual []ipvs.Service, owned map[ipvs.Mark]bool) Plan {
	have := make(map[ipvs.Key]int, len(actual)) // index in actual
	for i := range actual {
		have[actual[i].Key] = i
	}
	want := make(map[ipvs.Key]bool, len(wanted))
	var changed []pair
	// Operations are large: growing a list of them takes longer than computing them.
	capacity, absent := 0, &ipvs.Service{}
	wanted = sorted(wanted)
	for i := range wanted {
		p := pair{want: &wanted[i], have: absent}
		if !owned[p.want.Mark] || want[p.want.Key] {
			continue
		}
		want[p.want.Key] = true
		if at, exists := have[p.want.Key]; exists {
			p.have, p.exists = &actual[at], true
		}
		if !p.same() {
			changed = append(changed, p)
			capacity += 1 + max(len(p.want.Destinations), len(p.have.Destinations))
		}
	}
	p := make(Plan, 0, capacity)
	for _, c := range changed {
		p = c.appendOps(p)
	}
	for _, s := range sorted(actual) {
		if owned[s.Mark] && !want[s.Key] {
			p = append(p, Op{Kind: DeleteService, Key: s.Key})
		}
	}
	return p
}

// pair is a wanted service and its state in the actual table.
type pair struct {
	want, have *ipvs.Service
	exists     bool // in the actual table; otherwise have is empty
}

// same reports whether there is nothing to do, the usual case, without sorting copies.
func (p pair) same() bool {
	return p.exists && sameService(p.want, p.have) && sameDestinations(p.want.Destinations, p.have.Destinations)
}

// appendOps appends the operations for one service: first those that add weight, so that there is always a node to take the
// traffic, then those that reduce it, then the deletions.
func (p pair) appendOps(ops Plan) Plan {
	key := p.want.Key
	if !p.exists || !sameService(p.want, p.have) {
		ops = append(ops, Op{Kind: PutService, Key: key, Service: withoutDestinations(*p.want), OldService: withoutDestinations(*p.have),
			Edit: p.exists})
	}
	wanted, present := byAddress(p.want.Destinations), byAddress(p.have.Destinations)
	for _, losing := range []bool{false, true} {
		for i := range wanted {
			d, was := &wanted[i], &ipvs.Destination{}
			at, edit := slices.BinarySearchFunc(present, *d, compareAddresses)
			if edit {
				was = &present[at]
			}
			if loses := edit && d.Weight < was.Weight; loses != losing || edit && sameDestination(d, was) {
				continue
			}
			ops = append(ops, Op{Kind: PutDestination, Key: key, Destination: withoutCounters(*d), Old: withoutCounters(*was), Edit: edit})
		}
	}
	for _, d := range present {
		if _, stays := slices.BinarySearchFunc(wanted, d, compareAddresses); !stays {
			ops = append(ops, Op{Kind: DeleteDestination, Key: key, Destination: withoutCounters(d), Old: withoutCounters(d)})
		}
	}
	return ops
}

// Leaving returns the wanted state of a node that is in the kernel's table but has not been in the config since the given time: weight
// 0. keep is false once it has no connections left, or limit has passed.
func Leaving(now, since time.Time, limit time.Duration, d ipvs.Destination) (_ ipvs.Destination, keep bool) {
	idle := d.Weight == 0 && d.ActiveConns == 0 && d.InactiveConns == 0
	if idle || d.Weight == 0 && now.Sub(since) >= limit {
		return ipvs.Destination{}, false
	}
	d.Weight = 0
	return d, true
}

// addrPort identifies a destination within its service.
func addrPort(d ipvs.Destination) netip.AddrPort {
	return netip.AddrPortFrom(d.Address.Unmap(), d.Port)
}

// withoutCounters returns the destination without the kernel's counters.
func withoutCounters(d ipvs.Destination) ipvs.Destination {
	d.ActiveConns, d.InactiveConns, d.Stats = 0, 0, ipvs.Stats{}
	return d
}

func withoutDestinations(s ipvs.Service) ipvs.Service {
	s.Destinations = nil
	return s
}

func sameService(a, b *ipvs.Service) bool {
	return a.Scheduler == b.Scheduler && a.Flags == b.Flags && a.Timeout == b.Timeout && a.Prefix == b.Prefix
}

func sameDestinations(a, b []ipvs.Destination) bool {
	if len(a) != len(b) {
		return false
	}
	for i := range a {
		if a, b := &a[i], &b[i]; a.Address.Unmap() != b.Address.Unmap() || a.Port != b.Port || !sameDestination(a, b) {
			return false
		}
	}
	return true
}

func sameDestination(a, b *ipvs.Destination) bool {
	return a.Forwarding == b.Forwarding && a.Weight == b.Weight && a.Upper == b.Upper && a.Lower == b.Lower && a.Encap == b.Encap
}

// sorted returns the services by mark and family.
func sorted(services []ipvs.Service) []ipvs.Service {
	order := func(a, b ipvs.Service) int {
		return cmp.Or(cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Family, b.Family))
	}
	if slices.IsSortedFunc(services, order) {
		return services // the usual case
	}
	services = slices.Clone(services)
	slices.SortStableFunc(services, order)
	return services
}

// byAddress returns the destinations by address. Of duplicates it keeps the first.
func byAddress(destinations []ipvs.Destination) []ipvs.Destination {
	ascending := true
	for i := 1; i < len(destinations) && ascending; i++ {
		ascending = compareAddresses(destinations[i-1], destinations[i]) < 0
	}
	if ascending {
		return destinations // the usual case
	}
	destinations = slices.Clone(destinations)
	slices.SortStableFunc(destinations, compareAddresses)
	return slices.CompactFunc(destinations, func(a, b ipvs.Destination) bool { return addrPort(a) == addrPort(b) })
}

func compareAddresses(a, b ipvs.Destination) int { return addrPort(a).Compare(addrPort(b)) }
