// Package plan compares the kernel's tables with what they should be and lists what to change, for the dry run, the log, the tests and the kernel alike.
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

// The kinds of operations, in the order in which they are done within a mark.
const (
	PutService        Kind = iota // add a service, or edit it in place
	PutDestination                // add a node, or edit it in place
	DeleteDestination             // take a node out
	DeleteService                 // take a service out, with its nodes
)

// Op is one change to the IPVS table.
type Op struct {
	Kind        Kind
	Key         ipvs.Key
	Service     ipvs.Service     // PutService: what it becomes, without destinations
	OldService  ipvs.Service     // PutService, when Edit
	Destination ipvs.Destination // PutDestination: what it becomes; DeleteDestination: what goes
	Old         ipvs.Destination // PutDestination, when Edit
	Edit        bool             // it exists already
}

// Plan is a list of operations in the order in which they are done.
type Plan []Op

// Object names what an operation changes: a service, or a node of it.
type Object struct {
	Key  ipvs.Key
	Node netip.AddrPort // invalid for the service itself
}

// Object names what the operation changes.
func (o Op) Object() Object {
	if o.Kind == PutDestination || o.Kind == DeleteDestination {
		return Object{o.Key, id(o.Destination)}
	}
	return Object{Key: o.Key}
}

// String says it in a line, such as "mark 7: node 10.0.0.2 weight 92 → 0".
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

// String gives a line for each operation.
func (p Plan) String() string {
	var b strings.Builder
	for _, o := range p {
		b.WriteString(o.String())
		b.WriteByte('\n')
	}
	return b.String()
}

// Changes are what the operations do to a table.
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

// NodeName names a destination as operators read it: its address, and its port where it has one.
func NodeName(d ipvs.Destination) string {
	if d.Port == 0 {
		return d.Address.Unmap().String()
	}
	return id(d).String()
}

// Diff lists what turns the actual table into the wanted one. It touches services of owned marks only; an owned mark
// without a wanted service goes. Services and nodes that exist are edited in place, never taken out and put back. Within a mark
// what adds weight comes before what takes it away, and services go last of all, so that no step leaves less than before or after.
func Diff(wanted, actual []ipvs.Service, owned map[ipvs.Mark]bool) Plan {
	have := make(map[ipvs.Key]int, len(actual)) // where it is
	for i := range actual {
		have[actual[i].Key] = i
	}
	want := make(map[ipvs.Key]bool, len(wanted))
	var changed []pair
	room, none := 0, &ipvs.Service{} // for the operations of what changed: they are big, and growing a list of them takes longer than making them
	wanted = sorted(wanted)
	for i := range wanted {
		p := pair{want: &wanted[i], have: none}
		if !owned[p.want.Mark] || want[p.want.Key] {
			continue
		}
		want[p.want.Key] = true
		if at, exists := have[p.want.Key]; exists {
			p.have, p.exists = &actual[at], true
		}
		if !p.same() {
			changed = append(changed, p)
			room += 1 + max(len(p.want.Destinations), len(p.have.Destinations))
		}
	}
	p := make(Plan, 0, room)
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

// pair is a wanted service beside what the table has of it.
type pair struct {
	want, have *ipvs.Service
	exists     bool // else have is empty
}

// same tells whether nothing is to be done, as nearly always, without sorting copies.
func (p pair) same() bool {
	return p.exists && sameService(p.want, p.have) && sameList(p.want.Destinations, p.have.Destinations)
}

// appendOps lists what turns one service into another: first what gains, so that there is always somebody to take the traffic, then
// what loses, then what goes.
func (p pair) appendOps(ops Plan) Plan {
	key := p.want.Key
	if !p.exists || !sameService(p.want, p.have) {
		ops = append(ops, Op{Kind: PutService, Key: key, Service: bare(*p.want), OldService: bare(*p.have), Edit: p.exists})
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
			ops = append(ops, Op{Kind: PutDestination, Key: key, Destination: plain(*d), Old: plain(*was), Edit: edit})
		}
	}
	for _, d := range present {
		if _, stays := slices.BinarySearchFunc(wanted, d, compareAddresses); !stays {
			ops = append(ops, Op{Kind: DeleteDestination, Key: key, Destination: plain(d)})
		}
	}
	return ops
}

// Leaving says what becomes of a node that the kernel's table has and the config has not, first seen so at since: it goes to
// weight 0 and stays until it has no connection any more, or for the limit.
func Leaving(now, since time.Time, limit time.Duration, d ipvs.Destination) (ipvs.Destination, bool) {
	idle := d.Weight == 0 && d.ActiveConns == 0 && d.InactiveConns == 0
	if idle || d.Weight == 0 && now.Sub(since) >= limit {
		return ipvs.Destination{}, false
	}
	d.Weight = 0
	return d, true
}

// id identifies a destination within its service.
func id(d ipvs.Destination) netip.AddrPort {
	return netip.AddrPortFrom(d.Address.Unmap(), d.Port)
}

// plain is the destination without what the kernel counts.
func plain(d ipvs.Destination) ipvs.Destination {
	d.ActiveConns, d.InactiveConns, d.Stats = 0, 0, ipvs.Stats{}
	return d
}

func bare(s ipvs.Service) ipvs.Service {
	s.Destinations = nil
	return s
}

func sameService(a, b *ipvs.Service) bool {
	return a.Scheduler == b.Scheduler && a.Flags == b.Flags && a.Timeout == b.Timeout && a.Prefix == b.Prefix
}

func sameList(a, b []ipvs.Destination) bool {
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

// sorted gives the services by mark and family.
func sorted(services []ipvs.Service) []ipvs.Service {
	order := func(a, b ipvs.Service) int {
		return cmp.Or(cmp.Compare(a.Mark, b.Mark), cmp.Compare(a.Family, b.Family))
	}
	if slices.IsSortedFunc(services, order) {
		return services // as a table's are
	}
	services = slices.Clone(services)
	slices.SortStableFunc(services, order)
	return services
}

// byAddress gives the destinations by address. Of several with one address the first counts.
func byAddress(destinations []ipvs.Destination) []ipvs.Destination {
	ascends := true
	for i := 1; i < len(destinations) && ascends; i++ {
		ascends = compareAddresses(destinations[i-1], destinations[i]) < 0
	}
	if ascends {
		return destinations // as a table's are
	}
	destinations = slices.Clone(destinations)
	slices.SortStableFunc(destinations, compareAddresses)
	return slices.CompactFunc(destinations, func(a, b ipvs.Destination) bool { return id(a) == id(b) })
}

func compareAddresses(a, b ipvs.Destination) int { return id(a).Compare(id(b)) }
