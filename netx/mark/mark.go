// Package mark manages the nftables maps that set the firewall mark of a cluster on packets to its virtual IPs.
package mark

import (
	"context"
	"net/netip"

	"github.com/braintree/lb/netx/ipvs"
)

// Rule marks packets of one protocol to one address and port.
type Rule struct {
	Address   netip.Addr
	Interface string // incoming; "" means any
	Protocol  string // tcp, udp or sctp
	Port      uint16
	Mark      ipvs.Mark
}

// Table is the set of marking rules in the kernel. Implementations are safe for concurrent use.
type Table interface {
	// List returns the kernel's rules, sorted; none if the table is absent.
	List(ctx context.Context) ([]Rule, error)
	// Set replaces the kernel's rules by these, in one transaction; it writes nothing if they are equal.
	Set(ctx context.Context, rules []Rule) error
	// Remove deletes the whole table; it is no error if it is absent.
	Remove(ctx context.Context) error
	// Counts returns, sorted, what the rules have marked and what of it has arrived at IPVS; none if the kernel does not count.
	Counts(ctx context.Context) ([]Count, error)
	// Watch calls changed at its start and whenever another program may have changed the table, until ctx ends.
	Watch(ctx context.Context, changed func()) error
	// Writes returns the number of transactions that changed something.
	Writes() int
}
